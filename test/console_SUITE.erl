%% The remote shell as an operator sees it: `erl -remsh` in real terminals, which tmux holds.
-module(console_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [it_greets_and_prompts, a_hidden_node_gets_a_prompt, a_nameless_node_gets_a_prompt,
     commands_show_the_daemon, commands_show_what_objects_hold, help_tells_what_there_is,
     long_lines_fit_the_terminal, the_terminal_may_change_its_size,
     tab_completes_commands_and_names, a_syntax_error_is_told, a_line_may_have_many_lines,
     what_changes_data_needs_unlock, names_beyond_ascii_are_shown, the_history_is_the_clients,
     a_key_ends_top, control_c_ends_top, control_c_ends_a_request_that_waits,
     cancel_ends_a_request_that_waits, the_answer_comes_while_a_line_is_typed,
     two_operators_are_at_work, another_job_is_another_console, a_killed_job_harms_nobody,
     a_job_that_waits_is_interrupted, quit_leaves, an_operator_that_vanishes_harms_nobody].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Daemon = emmap_test:start_daemon(Config, #{}),
    Client = emmap_test:start_node(Config, #{}),
    [{daemon, Daemon}, {client, Client}, {tmux, start_tmux(Config)} | Config].

end_per_suite(Config) ->
    ok = stop_tmux(?config(tmux, Config)),
    ok = emmap_test:stop_node(?config(client, Config)),
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

end_per_testcase(_Case, Config) ->
    _ = tmux(?config(tmux, Config), ["kill-session -a -t keep"]),
    Config.

%% Prompts.

it_greets_and_prompts(Config) ->
    T = terminal(Config),
    await(T, "\nemmapd \\S+ on \\S+, up [0-9.]+ \\S+\\.  help\\(\\)\\. for help, quit\\(\\)\\. to leave\\.\nemmap>").

a_hidden_node_gets_a_prompt(Config) ->
    await(terminal(Config, #{args => "-hidden"}), "\nemmap>").

a_nameless_node_gets_a_prompt(Config) ->
    T = terminal(Config, #{args => "-nameless"}),
    await(T, "\nemmap>"),
    type(T, "ping()."),
    await(T, "\npong\n").

%% Commands.

commands_show_the_daemon(Config) ->
    Name = counters(Config),
    T = terminal(Config),
    type(T, "info()."),
    await(T, "\nnode +" ++ atom_to_list(daemon_node(Config)) ++ "\n"),
    type(T, "list()."),
    await(T, "\nNAME +KIND +SIZE +HANDLES +REQUESTS +ERRORS +P99 +IDLE\n"),
    await(T, "\n" ++ Name ++ " +counters +"),
    type(T, "clients()."),
    await(T, "\nNODE +SINCE +HANDLES"),
    await(T, "\nops_[^\n]+ ms +0 +0 +0 +0 +"),
    type(T, "log(debug)."),
    await(T, "\nok\n"),
    type(T, "log(notice)."),
    type(T, "log(loud)."),
    await(T, "\nerror: log takes error, warning, notice, info or debug\n").

commands_show_what_objects_hold(Config) ->
    Jobs = queue(Config, [{order, N} || N <- [1, 2, 3]]),
    Hits = counters(Config),
    Region = region(Config, <<"hello, world">>),
    T = terminal(Config),
    type(T, "queues()."),
    await(T, "\nNAME +ITEMS +LEASED +BURIED +WAITING +OLDEST +PUSH/S +POP/S +ON DISK\n"),
    await(T, "\n" ++ Jobs ++ " +3 +0 +0 +0 +[^\n]+128 KiB\n"),
    type(T, ["peek(\"", Jobs, "\", 2)."]),
    await(T, "\n#1  {order,1}\n#2  {order,2}\nemmap>"),
    type(T, ["info(\"", Jobs, "\")."]),
    await(T, "\nqueue     3 items, 3 ready, "),
    type(T, ["counters(\"", Hits, "\")."]),
    await(T, "\nINDEX  VALUE\n    0      0\n    1      7\n"),
    type(T, ["info(\"", Hits, "\")."]),
    await(T, "\ncounters  2 x 64 bit, 1 handle from 1 node, "),
    type(T, ["region(\"", Region, "\", 0, 12)."]),
    await(T, "\n00000000  68 65 6c 6c 6f 2c 20 77  6f 72 6c 64 +\\|hello, world\\|\n"),
    type(T, ["peek(\"", Jobs, "x\", 2)."]),
    await(T, "\nerror: enoent \\(no such file or directory\\)\n").

help_tells_what_there_is(Config) ->
    T = terminal(Config),
    type(T, "help()."),
    await(T, "\n  peek\\(Obj, Max\\) +the first items of a queue\n"),
    type(T, "help(push)."),
    await(T, "\n  push\\(Obj, Term\\) +append an item; unlock\\(\\) first\n").

long_lines_fit_the_terminal(Config) ->
    Jobs = queue(Config, [lists:seq(100000, 100040), [$a || _ <- lists:seq(1, 60)]]),
    T = terminal(Config, #{columns => 60}),
    type(T, ["peek_many(\"", Jobs, "\", 10)."]),
    await(T, "\n +\\[100000,100001,[^\n]+,100007,\n +100008,").

the_terminal_may_change_its_size(Config) ->
    T = terminal(Config, #{columns => 60}),
    resize(T, 130),
    type(T, "ping()."),
    await(T, "\npong\n"),
    type(T, "help()."),
    await(T, "\n  [^\n]{100,130}\n").

%% Typing.

tab_completes_commands_and_names(Config) ->
    Jobs = queue(Config, []),
    T = terminal(Config),
    type_only(T, "qui"),
    key(T, "Tab"),
    await(T, "emmap> quit\\(\\)"),
    key(T, "C-u"),
    type_only(T, "pus"),
    key(T, "Tab"),
    await(T, "emmap> push"),
    key(T, "Tab"),
    await(T, "\npush +push_many"),
    type_only(T, ["(\"", lists:droplast(Jobs)]),
    key(T, "Tab"),
    await(T, "emmap> push\\(\"" ++ Jobs ++ "\"").

a_syntax_error_is_told(Config) ->
    T = terminal(Config),
    type(T, "push(jobs"),
    type(T, "."),
    await(T, "\nerror: expected , or \\), not the end\n"),
    type(T, "info(X)."),
    await(T, "\nerror: expected a term, not a variable\n"),
    type(T, "lst()."),
    await(T, "\nerror: there is no command lst; did you mean list\\?\n"),
    type(T, "16#g."),
    await(T, "\nerror: the client cannot read this: "),
    type(T, "ping()."),
    await(T, "\npong\n").

a_line_may_have_many_lines(Config) ->
    T = terminal(Config),
    type(T, "ping("),
    type(T, "), ping()"),
    type(T, "."),
    await(T, "\npong\npong\n").

what_changes_data_needs_unlock(Config) ->
    Jobs = queue(Config, [a]),
    T = terminal(Config),
    type(T, ["pop(\"", Jobs, "\")."]),
    await(T, "\nerror: pop changes data; enter unlock\\(\\)\\. first\n"),
    type(T, ["unlock(), push(\"", Jobs, "\", {a, \"b\", <<1>>, #{}}), pop(\"", Jobs, "\")."]),
    await(T, "\nok\na\nemmap!"),
    [{a, "b", <<1>>, #{}}] = items(Config, Jobs),
    type(T, ["lock(), pop(\"", Jobs, "\")."]),
    await(T, "first\nemmap>").

names_beyond_ascii_are_shown(Config) ->
    Jobs = queue(Config, [<<"grün"/utf8>>], emmap_test:unique("öl")),
    T = terminal(Config),
    type(T, ["peek(\"", Jobs, "\", 1)."]),
    await(T, "\n#1  <<\"grün\"/utf8>>\n"),
    type(T, "queues()."),
    await(T, "\n" ++ Jobs ++ " +1 ").

the_history_is_the_clients(Config) ->
    T = terminal(Config),
    type(T, "ping()."),
    await(T, "\npong\n"),
    key(T, "Up"),
    await(T, "pong\nemmap> ping\\(\\)\\."),
    key(T, "Enter"),
    await(T, "\npong\nemmap> ping\\(\\)\\.\npong\n").

%% What goes on until it is ended.

a_key_ends_top(Config) ->
    Jobs = queue(Config, []),
    T = terminal(Config),
    type(T, "top()."),
    await(T, "open objects, the busiest first; a key ends this\nNAME +KIND +REQUESTS/S"),
    [ok = call(Config, {push, Jobs, N}) || N <- lists:seq(1, 10)],
    await(T, "\n" ++ Jobs ++ " +queue +[1-9]"),
    await(T, "\n" ++ Jobs ++ " +queue +0"),
    1 = occurrences(T, "open objects"),
    key(T, "Up"),
    await(T, "\nemmap>"),
    type(T, "ping()."),
    await(T, "\npong\n").

control_c_ends_top(Config) ->
    T = terminal(Config),
    type(T, "top()."),
    await(T, "open objects"),
    key(T, "C-c"),
    await(T, "\nemmap>"),
    type(T, "ping()."),
    await(T, "\npong\n").

control_c_ends_a_request_that_waits(Config) ->
    Jobs = queue(Config, []),
    T = terminal(Config),
    type(T, ["unlock(), pop_wait(\"", Jobs, "\", infinity)."]),
    await(T, "\npop_wait waits; cancel\\(\\)\\. ends it\n"),
    key(T, "C-c"),
    await(T, "\nerror: pop_wait was interrupted\nemmap!"),
    type(T, ["push(\"", Jobs, "\", a), length(\"", Jobs, "\")."]),
    await(T, "\nok\n1\n").

cancel_ends_a_request_that_waits(Config) ->
    Jobs = queue(Config, []),
    T = terminal(Config),
    type(T, ["unlock(), take(\"", Jobs, "\", infinity)."]),
    await(T, "\ntake waits; "),
    type(T, "cancel()."),
    await(T, "\nerror: take was interrupted\nemmap!").

the_answer_comes_while_a_line_is_typed(Config) ->
    Jobs = queue(Config, []),
    T = terminal(Config),
    type(T, ["unlock(), pop_wait(\"", Jobs, "\", infinity)."]),
    await(T, "\npop_wait waits; "),
    type_only(T, "pin"),
    await(T, "emmap! pin"),
    ok = call(Config, {push, Jobs, {late, 1}}),
    await(T, "\n{ok,{late,1}}\nemmap! pin"),
    type(T, "g()."),
    await(T, "\npong\n").

%% Operators and their jobs.

two_operators_are_at_work(Config) ->
    Jobs = queue(Config, []),
    [One, Other] = [terminal(Config), terminal(Config)],
    type(One, ["unlock(), pop_wait(\"", Jobs, "\", infinity)."]),
    await(One, "\npop_wait waits"),
    type(Other, ["push(\"", Jobs, "\", a)."]),
    await(Other, "\nerror: push changes data"),
    type(Other, ["unlock(), push(\"", Jobs, "\", b)."]),
    await(Other, "\nok\nemmap!"),
    await(One, "\n{ok,b}\n").

another_job_is_another_console(Config) ->
    T = terminal(Config),
    type(T, "unlock()."),
    await(T, "\nemmap!"),
    switch(T, ["r '", atom_to_list(daemon_node(Config)), "'"]),
    type(T, "c"),
    await(T, "\nemmapd [^\n]+\nemmap>"),
    type(T, "ping()."),
    await(T, "\npong\nemmap>"),
    switch(T, "c 1"),
    type(T, "ping()."),
    await(T, "\npong\nemmap!").

a_killed_job_harms_nobody(Config) ->
    T = terminal(Config),
    type(T, "top()."),
    await(T, "open objects"),
    switch(T, "k"),
    type(T, ["r '", atom_to_list(daemon_node(Config)), "'"]),
    await(T, "--> r [^\n]+\n --> $"),
    type(T, "c"),
    await(T, "\nemmap>"),
    type(T, "ping()."),
    await(T, "\npong\n").

a_job_that_waits_is_interrupted(Config) ->
    Jobs = queue(Config, []),
    T = terminal(Config, #{args => ""}),
    type(T, ["unlock(), pop_wait(\"", Jobs, "\", infinity)."]),
    await(T, "\npop_wait waits; "),
    switch(T, "i"),
    type(T, "c"),
    await(T, "\nerror: pop_wait was interrupted\n").

quit_leaves(Config) ->
    T = terminal(Config),
    type(T, "quit()."),
    await(T, "\\*\\*\\* Shell process terminated! \\(\\^G to start new job\\) \\*\\*\\*"),
    pong = call(Config, ping).

an_operator_that_vanishes_harms_nobody(Config) ->
    Jobs = queue(Config, []),
    T = terminal(Config),
    type(T, ["unlock(), pop_wait(\"", Jobs, "\", infinity)."]),
    await(T, "\npop_wait waits; "),
    _ = tmux(?config(tmux, Config), ["kill-session -t ", name(T)]),
    until(fun() -> maps:get(waiting, call(Config, {info, Jobs})) =:= 0 end),
    ok = call(Config, {push, Jobs, a}),
    [a] = items(Config, Jobs).

%% Internal: what is in the daemon.

daemon_node(Config) ->
    #{node := Node} = ?config(daemon, Config),
    Node.

call(Config, Request) ->
    Node = daemon_node(Config),
    on(?config(client, Config), fun() -> gen_server:call({emmap, Node}, Request) end).

queue(Config, Items) ->
    queue(Config, Items, emmap_test:unique("jobs")).

queue(Config, Items, Name) ->
    {ok, _, _} = call(Config, {open_queue, Name, 0, []}),
    ok = call(Config, {push_many, Name, Items}),
    Name.

items(Config, Name) ->
    {ok, Items} = call(Config, {peek_many, Name, 100}),
    [Item || {_, Item} <- Items].

counters(Config) ->
    Name = emmap_test:unique("hits"),
    {ok, _, _} = call(Config, {open_counters, Name, 2}),
    {ok, 0} = call(Config, {inc_counter, Name, 1, 7}),
    Name.

region(Config, Bytes) ->
    Name = emmap_test:unique("region"),
    {ok, _, _} = call(Config, {open, Name, 0, 4096, [create, read, write]}),
    ok = call(Config, {pwrite, Name, 0, Bytes}),
    Name.

%% Internal: terminals. The server of tmux is this suite's own and ends with the test's VM.

start_tmux(Config) ->
    Socket = filename:join(?config(dir, Config), "tmux"),
    Script = "tmux -u -f /dev/null -S \"$0\" new-session -d -s keep cat && echo up;"
             " read _; tmux -S \"$0\" kill-server",
    Shell = emmap_program:start("/bin/sh", ["-c", Script, Socket],
                                #{env => [{"ERL_EPMD_PORT", integer_to_list(?config(epmd, Config))},
                                          {"HOME", ?config(dir, Config)}, {"LC_ALL", "C.UTF-8"},
                                          {"TERM", "screen"}, {"TMUX", false}]}),
    [] = emmap_program:await_line(Shell, "^up$"),
    #{socket => Socket, shell => Shell}.

stop_tmux(#{shell := Shell}) ->
    ok = emmap_program:send(Shell, <<"\n">>),
    _ = emmap_program:await_exit(Shell),
    emmap_program:stop(Shell).

tmux(#{socket := Socket}, Command) ->
    os:cmd(["tmux -u -S ", Socket, " ", Command, " 2>&1"]).

terminal(Config) ->
    terminal(Config, #{}).

%% A terminal at its first prompt. ^C is the shell's, not the emulator's: +Bc.
terminal(Config, Options) ->
    Name = emmap_test:unique("ops"),
    Tmux = ?config(tmux, Config),
    [] = tmux(Tmux, ["new-session -d -s ", Name, " -x ",
                     integer_to_list(maps:get(columns, Options, 80)), " -y 40 ",
                     quoted(["erl +Bc ", node_args(Name, maps:get(args, Options, "")),
                             " -setcookie ", atom_to_list(?config(cookie, Config)),
                             " -remsh ", atom_to_list(daemon_node(Config))])]),
    T = #{tmux => Tmux, name => Name},
    await(T, "\nemmap>"),
    T.

node_args(_Name, "-nameless") -> "";
node_args(Name, Args) -> ["-sname ", Name, "@localhost ", Args].

%% Text as one word of the shell's, whatever this VM's encoding of commands is.
quoted(Text) ->
    Bytes = binary_to_list(unicode:characters_to_binary(Text)),
    ["\"$(printf '", [io_lib:format("\\~3.8.0b", [Byte]) || Byte <- Bytes], "')\""].

name(#{name := Name}) ->
    Name.

type(T, Text) ->
    type_only(T, Text),
    key(T, "Enter").

type_only(#{tmux := Tmux, name := Name}, Text) ->
    [] = tmux(Tmux, ["send-keys -t ", Name, " -l -- ", quoted(Text)]).

key(#{tmux := Tmux, name := Name}, Key) ->
    [] = tmux(Tmux, ["send-keys -t ", Name, " ", Key]).

resize(#{tmux := Tmux, name := Name}, Columns) ->
    [] = tmux(Tmux, ["resize-window -t ", Name, " -x ", integer_to_list(Columns)]).

switch(T, Command) ->
    key(T, "C-g"),
    await(T, "User switch command\n --> $"),
    type(T, Command),
    await(T, " --> [^\n]+\n").

%% All lines, those that have left the screen too, without the empty ones at the end.
screen(#{tmux := Tmux, name := Name}) ->
    string:trim(tmux(Tmux, ["capture-pane -p -S - -t ", Name]), trailing).

%% Waits until the screen shows this; `$' is behind the last thing on it.
await(T, Pattern) ->
    until(fun() -> shows(T, Pattern) orelse screen(T) end).

shows(T, Pattern) ->
    Text = unicode:characters_to_binary(["\n", screen(T), " \n"]),
    Regex = unicode:characters_to_binary(string:replace(Pattern, "$", "\\s*$")),
    re:run(Text, Regex, [unicode, {capture, none}]) =:= match.

occurrences(T, Text) ->
    length(string:split(screen(T), Text, all)) - 1.
