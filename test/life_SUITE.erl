%% The life of the application: own, shared and external daemons, the names of nodes, the log.
-module(life_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_apps, [prepared/2, os_pid/1, guard/1, signal/2, runs/1, await_end/1]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{own, [],
      [an_own_daemon_has_a_name_of_its_node, an_own_daemon_ends_with_its_node,
       an_own_daemon_works_in_the_directory_of_its_node,
       an_own_daemon_works_with_the_rights_of_its_node, the_cookie_is_on_no_command_line,
       the_levels_of_its_log_are_those_of_logger, a_daemon_that_refuses_its_options_is_quoted,
       without_the_application_every_call_says_so]},
     {names, [],
      [a_nameless_node_gets_a_hidden_name, two_shells_see_each_others_shared_writes]},
     {shared, [],
      [a_shared_daemon_serves_node_after_node, two_nodes_that_start_at_once_have_one_daemon,
       relative_names_are_of_the_data_directory, a_killed_shared_daemon_is_started_again,
       a_lost_node_loses_its_handles, a_missing_cookie_file_is_named]},
     {others, [],
      [an_external_daemon_is_left_running, an_option_names_another_daemon,
       a_handle_is_of_its_node_only]}].

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

%%% Own daemons.

an_own_daemon_has_a_name_of_its_node(Config) ->
    N = emmap_apps:node(Config, []),
    {Name, OsPid} = on(N, fun() -> {emmap:which_node(), os:getpid()} end),
    match = re:run(atom_to_list(Name), "^emmap_" ++ OsPid ++ "_[a-z0-9]{10}@localhost$",
                   [{capture, none}]),
    on(N, fun() ->
        pong = emmap:ping(),
        Name = emmap:which_node(),
        #{node := Name} = emmap:info()
    end),
    true = runs(os_pid(N)).

an_own_daemon_ends_with_its_node(Config) ->
    N = emmap_apps:node(Config, []),
    OsPid = os_pid(N),
    ok = emmap_test:stop_node(N),
    ok = await_end(OsPid).

an_own_daemon_works_in_the_directory_of_its_node(Config) ->
    #{work := Dir} = N = emmap_apps:node(Config, []),
    Other = filename:join(Dir, "other"),
    ok = file:make_dir(Other),
    on(N, fun() ->
        write("file", <<"first">>),
        ok = file:set_cwd(Other),
        write("file", <<"second">>),
        write(filename:join(Dir, "absolute"), <<"third">>),
        write(<<"../binary">>, <<"fourth">>)
    end),
    [{ok, Text} = file:read_file(filename:join(Dir, Name))
     || {Name, Text} <- [{"file", <<"first">>}, {"other/file", <<"second">>},
                         {"absolute", <<"third">>}, {"binary", <<"fourth">>}]].

an_own_daemon_works_with_the_rights_of_its_node(Config) ->
    #{work := Dir} = N = emmap_apps:node(Config, []),
    on(N, fun() -> write("file", <<"x">>) end),
    {ok, #file_info{uid = Uid, gid = Gid, mode = Mode}} =
        file:read_file_info(filename:join(Dir, "file")),
    {ok, #file_info{uid = Uid, gid = Gid}} = file:read_file_info(Dir),
    8#600 = Mode band 8#777.

the_cookie_is_on_no_command_line(Config) ->
    N = emmap_apps:node(Config, []),
    Cookie = on(N, fun() -> erlang:get_cookie(emmap:which_node()) end),
    {ok, CommandLine} = file:read_file(lists:concat(["/proc/", os_pid(N), "/cmdline"])),
    {_, _} = binary:match(CommandLine, <<"--stop-on-eof">>),
    nomatch = binary:match(CommandLine, atom_to_binary(Cookie)).

the_levels_of_its_log_are_those_of_logger(Config) ->
    N = prepared(Config, #{}),
    ok = on(N, fun() -> logger:set_primary_config(level, info) end),
    {ok, _} = emmap_apps:start(N, [{log_level, info}]),
    ok = guard(os_pid(N)),
    {Daemon, Node} = on(N, fun() -> {emmap:which_node(), node()} end),
    ok = await_event(N, notice, [Daemon, ": ", Daemon, " is ready at port "]),
    ok = await_event(N, info, [Daemon, ": ", Node, " connected"]).

a_daemon_that_refuses_its_options_is_quoted(Config) ->
    {emmapd, {exit_status, _, Text}} = refused(Config, [{daemon_args, ["--nonsense"]}]),
    {_, _} = binary:match(Text, <<"--nonsense">>).

without_the_application_every_call_says_so(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 4096, [create, write]),
        C = emmap:open_counters("counters"),
        ok = application:stop(emmap),
        Calls = every_call(F, C),
        [] = exported() -- [{Function, length(Args)} || {Function, Args} <- Calls],
        [{Function, not_started} = {Function, outcome(Function, Args)} || {Function, Args} <- Calls]
    end).

exported() ->
    emmap:module_info(exports) -- [{module_info, 0}, {module_info, 1}, {format_error, 1}].

every_call(F, C) ->
    [{open, ["f", []]}, {open, ["f", 0, 0, []]},
     {pread, [F, [{0, 1}]]}, {pread, [F, 0, 1]}, {pwrite, [F, [{0, "x"}]]}, {pwrite, [F, 0, "x"]},
     {read, [F, 1]}, {read_line, [F]}, {write, [F, "x"]}, {position, [F, eof]}, {position, [F, 0]},
     {resize, [F]}, {resize, [F, 1]}, {truncate, [F]}, {allocate, [F, 0, 1]},
     {advise, [F, 0, 1, normal]}, {flush, [F]}, {sync, [F]}, {datasync, [F]}]
    ++ [{Atomic, [F, 0, 1]} || Atomic <- [patomic_add, patomic_sub, patomic_and, patomic_or,
                                          patomic_xor, patomic_xchg, patomic_write_integer]]
    ++ [{patomic_cas, [F, 0, 1, 2]}, {patomic_read_integer, [F, 0]},
        {open_counters, ["c"]}, {open_counters, ["c", 1]}, {open_counters, ["c", 1, []]},
        {inc_counter, [C, 0]}, {inc_counter, [C, 0, 1]},
        {dec_counter, [C, 0]}, {dec_counter, [C, 0, 1]}, {set_counter, [C, 0, 1]},
        {read_counter, [C, 0]}, {update_counters, [C, [{0, 1}]]}, {read_counters, [C]},
        {read_counters, [C, [0]]},
        {init_block_storage, [F, 8]}, {store_block, [F, "x"]}, {store_blocks, [F, ["x"]]},
        {read_block, [F, 0]}, {read_blocks, [F]}, {read_blocks, [F, [0]]}, {read_blocks, [F, 0, 1]},
        {free_block, [F, 0]}, {free_blocks, [F, [0]]}, {repair_block_storage, [F]},
        {repair_block_storage, [F, []]}, {repair_block_storage, [F, 0, 1]},
        {snapshot, [F, "copy"]}, {restore, ["file", "copy"]},
        {call, [F, sync]}, {call, [F, sync, 1000]}, {send_request, [F, sync]},
        {batch, [F, [sync]]}, {batch, [[{F, sync}]]}, {cast, [C, {inc_counter, 0}]}, {barrier, [C]},
        {info, []}, {info, [F]}, {info, ["f"]}, {list, []}, {list, ['d@localhost']},
        {clients, []}, {clients, ['d@localhost']},
        {metrics, []}, {metrics, ['d@localhost']}, {ping, []}, {which_node, []},
        {close, [F]}, {close_counters, [C]}].

outcome(Function, Args) ->
    try apply(emmap, Function, Args) of
        Result -> Result
    catch
        error:{not_started, emmap} -> not_started;
        Class:Reason -> {Class, Reason}
    end.

%%% Names of nodes.

a_nameless_node_gets_a_hidden_name(Config) ->
    N = emmap_apps:node(Config, [], #{node => nonode}),
    {Name, OsPid, Daemon} = on(N, fun() -> {node(), os:getpid(), emmap:which_node()} end),
    match = re:run(atom_to_list(Name), "^emmap_c" ++ OsPid ++ "_[a-z0-9]{10}@localhost$",
                   [{capture, none}]),
    Notice = iolist_to_binary(["emmap: this node had no name and is now ", atom_to_list(Name)]),
    [{notice, Notice}] = [Line || {_, Text} = Line <- texts(N),
                                  binary:match(Text, <<"had no name">>) =/= nomatch],
    {ok, Names} = emmap_test:epmd_names(?config(epmd, Config)),
    true = lists:keymember(alive(Daemon), 1, Names),
    false = lists:keymember(alive(Name), 1, Names),
    on(N, fun() ->
        [] = nodes(),
        [Daemon] = nodes(connected),
        [#{node := Seen}] = emmap:clients(),
        true = lists:member(Seen, [Name, atom_to_binary(Name)])
    end).

two_shells_see_each_others_shared_writes(Config) ->
    Head = "head -1 " ++ filename:join(?config(dir, Config), "seen"),
    [One, Two] = [shell(Config) || _ <- [1, 2]],
    Open = "{ok, F, _} = emmap:open(\"seen\", 0, 4096, [create, write, shared]), open",
    [ok = answer(Shell, Open, "> open$") || Shell <- [One, Two]],
    ok = answer(One, "{wrote, emmap:pwrite(F, 0, <<\"hello\\nworld\\n\">>)}", "{wrote,ok}"),
    ok = answer(Two, "{read, emmap:pread(F, 0, 5)}", "{read,{ok,<<\"hello\">>}}"),
    "hello\n" = os:cmd(Head),
    [ok = answer(Shell, "{ok, P, _} = emmap:open(\"seen\", 0, 4096, [write, private]), private",
                 "> private$") || Shell <- [One, Two]],
    ok = answer(One, "{emmap:pwrite(P, 0, <<\"mine!\">>), emmap:pread(P, 0, 5)}",
                "{ok,{ok,<<\"mine!\">>}}"),
    ok = answer(Two, "{its_own, emmap:pread(P, 0, 5)}", "{its_own,{ok,<<\"hello\">>}}"),
    "hello\n" = os:cmd(Head).

%% A shell as a person starts it, without a name.
shell(Config) ->
    Path = lists:flatten(io_lib:format("~p", [emmap_test:daemon_path()])),
    Environment = [{"ERL_EPMD_PORT", integer_to_list(?config(epmd, Config))},
                   {"HOME", ?config(dir, Config)}],
    Shell = emmap_program:start(os:find_executable("erl"),
                                ["-pa", filename:dirname(code:which(emmap)),
                                 "-emmap", "daemon_path", Path],
                                #{owner => self(), cd => ?config(dir, Config), env => Environment}),
    ok = answer(Shell, "{started, application:ensure_all_started(emmap)}", "{started,{ok,"),
    Shell.

answer(Shell, Expression, Pattern) ->
    ok = emmap_program:send(Shell, [Expression, ".\n"]),
    [] = emmap_program:await_line(Shell, Pattern),
    ok.

%%% Shared daemons.

a_shared_daemon_serves_node_after_node(Config) ->
    Shared = emmap_apps:shared(Config, []),
    First = emmap_apps:node(Config, Shared),
    OsPid = os_pid(First),
    Second = emmap_apps:node(Config, Shared),
    OsPid = os_pid(Second),
    on(First, fun() -> write("file", <<"first">>) end),
    on(First, fun() -> ok = application:stop(emmap) end),
    ok = emmap_test:stop_node(First),
    on(Second, fun() -> {ok, <<"first">>} = read("file", 5) end),
    ok = emmap_test:stop_node(Second),
    Third = emmap_apps:node(Config, Shared),
    OsPid = os_pid(Third),
    {ok, Log} = file:read_file(filename:join(emmap_apps:shared_data(Shared), "emmapd.log")),
    {_, _} = binary:match(Log, <<" is ready at port ">>).

two_nodes_that_start_at_once_have_one_daemon(Config) ->
    Shared = emmap_apps:shared(Config, []),
    Nodes = [prepared(Config, #{}) || _ <- [1, 2]],
    [{ok, _}, {ok, _}] = emmap_test:in_parallel([fun() -> emmap_apps:start(N, Shared) end
                                                || N <- Nodes]),
    [OsPid, OsPid] = [os_pid(N) || N <- Nodes],
    ok = guard(OsPid).

relative_names_are_of_the_data_directory(Config) ->
    Shared = emmap_apps:shared(Config, []),
    #{work := Dir} = N = emmap_apps:node(Config, Shared),
    Data = emmap_apps:shared_data(Shared),
    on(N, fun() ->
        write("relative", <<"one">>),
        write(filename:join(Data, "absolute"), <<"two">>),
        {error, eacces} = emmap:open(filename:join(Dir, "elsewhere"), 0, 8, [create, write]),
        {error, eacces} = emmap:open("../elsewhere", 0, 8, [create, write])
    end),
    [{ok, Text} = file:read_file(filename:join(Data, Name))
     || {Name, Text} <- [{"relative", <<"one">>}, {"absolute", <<"two">>}]].

a_killed_shared_daemon_is_started_again(Config) ->
    Shared = emmap_apps:shared(Config, []),
    Nodes = [emmap_apps:node(Config, Shared) || _ <- [1, 2]],
    Handles = [on(N, fun() ->
                   C = emmap:open_counters("hits"),
                   {ok, _} = emmap:inc_counter(C, 0),
                   {N, emmap_apps:kept(C)}
               end) || N <- Nodes],
    Old = os_pid(hd(Nodes)),
    ok = signal("KILL", Old),
    [New, New] = [emmap_apps:replaced(N, Old) || N <- Nodes],
    [{ok, 2} = on(N, fun() -> emmap:read_counter(C, 0) end) || {N, C} <- Handles].

a_lost_node_loses_its_handles(Config) ->
    Shared = emmap_apps:shared(Config, []),
    [Stays, Goes] = [emmap_apps:node(Config, Shared) || _ <- [1, 2]],
    on(Stays, fun() -> emmap:open_counters("both") end),
    on(Goes, fun() ->
        [emmap:open_counters("both") || _ <- [1, 2, 3]],
        {ok, _, _} = emmap:open("its own", 0, 8, [create, write])
    end),
    [{<<"both">>, 4}, {<<"its own">>, 1}] = on(Stays, fun handles/0),
    [_, _] = on(Stays, fun() -> emmap:clients() end),
    ok = emmap_test:stop_node(Goes),
    ok = until(fun() -> [{<<"both">>, 1}] =:= on(Stays, fun handles/0) end),
    [_] = on(Stays, fun() -> emmap:clients() end).

handles() ->
    lists:sort([{filename:basename(Name), Handles}
                || #{name := Name, handles := Handles} <- emmap:list()]).

a_missing_cookie_file_is_named(Config) ->
    Path = filename:join(?config(dir, Config), "no such file"),
    Shared = emmap_apps:shared(Config, []),
    {cookie_file, Path, enoent} =
        refused(Config, lists:keystore(cookie_file, 1, Shared, {cookie_file, Path})).

%%% Daemons of others.

an_external_daemon_is_left_running(Config) ->
    #{node := Daemon, program := Program} = emmap_test:daemon(Config),
    N = prepared(Config, #{}),
    {ok, _} = emmap_apps:start(N, [{daemon, external}, {node, Daemon}]),
    pong = on(N, fun emmap:ping/0),
    ok = on(N, fun() -> application:stop(emmap) end),
    ok = emmap_test:stop_node(N),
    true = emmap_program:running(Program).

an_option_names_another_daemon(Config) ->
    #{node := Other, data_dir := Data} =
        emmap_test:daemon(Config, #{data_dir => filename:join(?config(dir, Config), "other")}),
    #{work := Dir} = N = emmap_apps:node(Config, []),
    on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 5, [create, write]),
        {ok, G, _} = emmap:open("file", 0, 5, [create, write, {node, Other}]),
        C = emmap:open_counters("counters", 2, [{node, Other}]),
        [ok, ok] = [emmap:pwrite(H, 0, Text) || {H, Text} <- [{F, <<"own..">>}, {G, <<"other">>}]],
        {ok, 0} = emmap:inc_counter(C, 1, 5),
        ok = emmap:cast(C, {inc_counter, 1}),
        ok = emmap:barrier(C),
        {ok, 6} = emmap:read_counter(C, 1),
        [<<"file">>] = [filename:basename(Name) || #{name := Name} <- emmap:list()],
        [_, _] = emmap:list(Other),
        [#{handles := 2}] = emmap:clients(Other),
        #{node := Other} = emmap:info(Other),
        badarg = reason(fun() -> emmap:batch([{F, sync}, {G, sync}]) end)
    end),
    {ok, <<"own..">>} = file:read_file(filename:join(Dir, "file")),
    {ok, <<"other">>} = file:read_file(filename:join(Data, "file")).

a_handle_is_of_its_node_only(Config) ->
    Shared = emmap_apps:shared(Config, []),
    [One, Two] = [emmap_apps:node(Config, Shared) || _ <- [1, 2]],
    {F, C} = on(One, fun() ->
        {ok, F, _} = emmap:open("file", 0, 4096, [create, write]),
        emmap_apps:kept({F, emmap:open_counters("counters")})
    end),
    on(Two, fun() ->
        [{Call, badarg} = {Call, reason(fun() -> apply(emmap, Function, Args) end)}
         || {Function, Args} = Call <- every_call(F, C), lists:member(hd(Args ++ [none]), [F, C])],
        badarg = reason(fun() -> emmap:batch([{F, sync}]) end)
    end),
    on(One, fun() ->
        {ok, <<0>>} = emmap:pread(F, 0, 1),
        {ok, 0} = emmap:read_counter(C, 0)
    end).

%%% Internal.

%% Why the application does not start under this environment.
refused(Config, Environment) ->
    N = prepared(Config, #{}),
    Reason = refusal(emmap_apps:start(N, Environment)),
    on(N, fun() ->
        [_ | _] = emmap:format_error(Reason),
        {not_started, emmap} = reason(fun emmap:ping/0)
    end),
    Reason.

refusal({error, {emmap, {Reason, _Start}}}) ->
    Reason.

%% The reason of the exception that must come.
reason(Fun) ->
    try Fun() of
        Result -> {no_exception, Result}
    catch
        error:Reason -> Reason
    end.

write(Name, Text) ->
    {ok, F, _} = emmap:open(Name, 0, byte_size(Text), [create, write]),
    ok = emmap:pwrite(F, 0, Text),
    ok = emmap:close(F).

read(Name, Length) ->
    {ok, F, _} = emmap:open(Name, [read]),
    Result = emmap:pread(F, 0, Length),
    ok = emmap:close(F),
    Result.

texts(N) ->
    on(N, fun() -> emmap_events:texts(emmap_events:seen()) end).

%% An event of this level whose line begins so.
await_event(N, Level, Words) ->
    Begin = iolist_to_binary([to_text(Word) || Word <- Words]),
    until(fun() ->
        [] =/= [Text || {L, Text} <- texts(N), L =:= Level, string:prefix(Text, Begin) =/= nomatch]
    end).

to_text(Word) when is_atom(Word) -> atom_to_binary(Word);
to_text(Word) -> Word.

alive(Node) ->
    hd(string:split(atom_to_list(Node), "@")).

host(Node) ->
    lists:last(string:split(atom_to_list(Node), "@")).
