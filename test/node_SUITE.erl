%% emmapd as an Erlang node: real epmd, real peers, no wrapper; and peers that are none.
-module(node_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{messages, [],
      [ping_answers_pong, it_is_a_hidden_node, a_call_is_answered, a_cast_is_done,
       a_sent_request_is_answered_later, multi_call_is_answered, a_bare_gen_call_is_answered, nobody_stops_it,
       other_messages_are_ignored, a_call_of_no_name_exits_noproc, casts_and_calls_keep_their_order,
       a_call_that_timed_out_leaves_no_message, an_unknown_request_is_named,
       a_request_of_no_form_is_badarg, a_thousand_processes_call_at_once,
       metrics_tell_what_was_asked]},
     {monitors, [],
      [a_monitor_is_silent_while_it_lives, a_monitor_of_no_name_is_noproc,
       a_monitor_of_a_dead_pid_is_noproc, a_monitor_tells_the_end_of_the_daemon,
       a_link_to_a_dead_pid_is_noproc, spawning_an_unknown_function_is_undef,
       a_monitored_spawn_is_undef, rpc_of_an_unknown_function_is_undef,
       exit_signals_to_dead_pids_are_ignored]},
     {connections, [],
      [several_nodes_share_a_counter, a_node_that_disconnects_comes_back,
       what_a_lost_node_opened_is_stale, a_second_node_of_the_same_name_replaces_the_first,
       a_wrong_cookie_is_refused, a_peer_may_have_a_cookie_of_its_own, an_idle_connection_outlives_four_ticks,
       a_long_frame_is_refused_and_the_connection_lives, a_long_name_serves_long_names]},
     {registration, [],
      [a_taken_name_ends_with_status_3, it_registers_again_when_epmd_comes_back,
       it_starts_epmd_where_there_is_none]},
     {process, [],
      [sigterm_ends_it_in_order, sigint_ends_it_in_order, what_was_done_at_the_end_was_answered,
       sighup_opens_the_log_anew, end_of_input_ends_it, a_cookie_comes_by_standard_input,
       help_names_every_option, the_version_is_told, an_unknown_option_is_named,
       a_wrong_value_is_named, a_missing_cookie_is_named, a_wrong_cookie_of_a_peer_is_named,
       a_missing_prefix_is_named,
       standard_output_has_one_line]},
     {hostile, [],
      [silence_is_closed_at_the_deadline, dripping_bytes_are_closed_at_the_deadline,
       half_open_connections_make_room, a_giant_name_is_closed, garbage_before_the_cookie_is_closed,
       a_wrong_digest_is_closed, a_giant_frame_is_not_kept, damaged_frames_hurt_only_their_sender,
       deep_terms_hurt_only_their_sender, a_peer_that_stops_reading_gets_all_answers_later,
       a_peer_that_never_reads_again_is_dropped]}].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Daemon = emmap_test:start_daemon(Config, #{}),
    Node = emmap_test:start_node(Config, #{}),
    [{daemon, Daemon}, {client, Node} | Config].

end_per_suite(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

%%% Messages.

ping_answers_pong(Config) ->
    at(Config, fun(D) -> pong = net_adm:ping(D) end).

it_is_a_hidden_node(Config) ->
    at(Config, fun(D) ->
        pong = net_adm:ping(D),
        true = lists:member(D, nodes(hidden)),
        [] = nodes()
    end).

a_call_is_answered(Config) ->
    at(Config, fun(D) -> pong = gen_server:call({emmap, D}, ping) end).

a_cast_is_done(Config) ->
    at(Config, fun(D) ->
        Id = counters(D, ?FUNCTION_NAME, 1),
        ok = gen_server:cast({emmap, D}, {inc_counter, Id, 0, 5}),
        {ok, 1, 0, none} = call(D, {barrier, Id}),
        {ok, 5} = call(D, {read_counter, Id, 0})
    end).

a_sent_request_is_answered_later(Config) ->
    at(Config, fun(D) ->
        Request = gen_server:send_request({emmap, D}, ping),
        {reply, pong} = gen_server:receive_response(Request, ?DEADLINE)
    end).

multi_call_is_answered(Config) ->
    at(Config, fun(D) -> {[{D, pong}], []} = gen_server:multi_call([D], emmap, ping) end).

a_bare_gen_call_is_answered(Config) ->
    at(Config, fun(D) ->
        Tag = {any, [term], <<"here">>},
        {emmap, D} ! {'$gen_call', {self(), Tag}, ping},
        receive {Tag, pong} -> ok after ?DEADLINE -> error(deadline) end
    end).

nobody_stops_it(Config) ->
    at(Config, fun(D) ->
        Server = rpc:call(D, erlang, whereis, [emmap]),
        [true = exit(Server, Reason) || Reason <- [kill, shutdown, {any, term}]],
        {error, {unknown_system_msg, suspend}} = sys:suspend({emmap, D}),
        {'EXIT', {{_, {error, {unknown_system_msg, {terminate, normal}}}}, _}} =
            (catch gen_server:stop({emmap, D})),
        pong = call(D, ping),
        Server = rpc:call(D, erlang, whereis, [emmap])
    end).

other_messages_are_ignored(Config) ->
    at(Config, fun(D) ->
        [{emmap, D} ! Junk || Junk <- junk()],
        pong = call(D, ping)
    end).

junk() ->
    [hello, 1, -1, 1.5, 1 bsl 4000, <<>>, <<1:3>>, binary:copy(<<"x">>, 1000000), {}, [], [a | b],
     #{a => b}, self(), make_ref(), fun lists:map/2, fun() -> ok end, "string",
     list_to_tuple(lists:seq(1, 300)),
     {'$gen_call', hello, ping}, {'$gen_call', {self()}, ping}, {'$gen_call', {self(), tag}},
     {'$gen_call', {hello, tag}, ping}, {'$gen_cast'}, {'$gen_cast', <<"x">>}, {'$gen_cast', []},
     {'$emmap', hello}, {'$emmap', self(), x, []}, {'$emmap', self(), 1, hello},
     {'$emmap', self(), 1, [hello]}, {'$emmap', self(), 1, [{self(), make_ref()}]},
     {'$emmap_cancel', hello}, {'$emmap_cancel', make_ref()}].

a_call_of_no_name_exits_noproc(Config) ->
    at(Config, fun(D) ->
        try gen_server:call({nosuch, D}, ping) of
            Answer -> error({answered, Answer})
        catch
            exit:{noproc, _} -> ok
        end
    end).

casts_and_calls_keep_their_order(Config) ->
    at(Config, fun(D) ->
        Id = counters(D, ?FUNCTION_NAME, 1),
        [begin
             ok = gen_server:cast({emmap, D}, {set_counter, Id, 0, N}),
             {ok, N} = call(D, {set_counter, Id, 0, -N})
         end || N <- lists:seq(1, 1000)]
    end).

a_call_that_timed_out_leaves_no_message(Config) ->
    at(Config, fun(D) ->
        [catch gen_server:call({emmap, D}, ping, 0) || _ <- lists:seq(1, 100)],
        pong = call(D, ping), % answers come in order: a late one would be here by now
        receive Stray -> error({stray, Stray}) after 0 -> ok end
    end).

an_unknown_request_is_named(Config) ->
    at(Config, fun(D) ->
        [{error, {unknown_request, Name}} = call(D, Request)
         || {Name, Request} <- [{frobnicate, frobnicate}, {frobnicate, {frobnicate, 1}},
                                {ping, {ping, 1}}, {pread, pread}, {pread, {pread, 1}},
                                {inc_counter, {inc_counter, 1, 2, 3, 4, 5, 6, 7}},
                                {'жук', {'жук', []}}]]
    end).

a_request_of_no_form_is_badarg(Config) ->
    at(Config, fun(D) ->
        [{error, badarg} = call(D, Request)
         || Request <- [1, 1.5, <<"ping">>, "ping", [], #{ping => 1}, self(), {}, {1, 2},
                        {<<"ping">>}]]
    end).

a_thousand_processes_call_at_once(Config) ->
    at(Config, fun(D) ->
        Id = counters(D, ?FUNCTION_NAME, 1),
        Ten = fun() -> [{ok, _} = call(D, {inc_counter, Id, 0}) || _ <- lists:seq(1, 10)] end,
        _ = emmap_test:in_parallel(lists:duplicate(1000, Ten)),
        {ok, 10000} = call(D, {read_counter, Id, 0})
    end).

%% Two nodes, each with requests of its own on one object.
metrics_tell_what_was_asked(Config) ->
    #{node := D} = ?config(daemon, Config),
    Other = emmap_test:start_node(Config, #{}),
    at(Config, fun(_) ->
        Id = counters(D, ?FUNCTION_NAME, 1),
        Before = of_client(call(D, metrics)),
        [{ok, _} = call(D, {inc_counter, Id, 0}) || _ <- lists:seq(1, 70)],
        [{error, badarg} = call(D, {inc_counter, Id, 1}) || _ <- lists:seq(1, 3)],
        [gen_server:cast({emmap, D}, {inc_counter, Id, N rem 2}) || N <- lists:seq(1, 10)],
        {error, {unknown_request, nonsense}} = call(D, nonsense),
        {ok, [{ok, 75}, {error, badarg}]} =
            call(D, {batch, [{inc_counter, Id, 0}, {inc_counter, Id, 1}]}),
        After = of_client(call(D, metrics)),
        % 85 on the object, one of none, and the first `metrics': no text counts itself
        [87, 10, 87] = [maps:get(Key, After) - maps:get(Key, Before)
                        || Key <- [requests, errors, measured]]
    end),
    on(Other, fun() ->
        [{ok, 76} = call(D, {read_counter, atom_to_list(?FUNCTION_NAME), 0}) || _ <- lists:seq(1, 5)],
        {error, enoent} = call(D, {read_counter, "nothing", 0}),
        Text = call(D, metrics),
        #{requests := 6, errors := 1, measured := 6} = of_client(Text),
        [90, 9, 90] = [of_object(Text, ?FUNCTION_NAME, Name)
                       || Name <- ["requests_total", "errors_total",
                                   "request_duration_seconds_count"]],
        #{ops := 7, errors := 1, latency_us := #{p50 := P50, p99 := P99, max := Most},
          waiting := 0, in_flight := 0, idle_ms := _} = listed(call(D, clients)),
        true = P50 =< P99 andalso P99 =< Most
    end),
    ok = emmap_test:stop_node(Other).

listed(Clients) ->
    [Client] = [Client || #{node := Node} = Client <- Clients, Node =:= node()],
    Client.

of_client(Text) ->
    Value = fun(Name) ->
        sample(Text, ["emmap_client_", Name, "\\{client=\"", atom_to_list(node()), "\"\\}"])
    end,
    #{requests => Value("requests_total"), errors => Value("errors_total"),
      measured => Value("request_duration_seconds_count")}.

of_object(Text, File, Name) ->
    sample(Text, ["emmap_object_", Name, "\\{object=\"[^\"]*/", atom_to_list(File),
                  "\",kind=\"counters\"\\}"]).

sample(Text, Series) ->
    {match, [Value]} = re:run(Text, ["^", Series, " ([0-9]+)$"],
                              [multiline, {capture, all_but_first, list}]),
    list_to_integer(Value).

%%% Monitors, links, spawning.

a_monitor_is_silent_while_it_lives(Config) ->
    at(Config, fun(D) ->
        Monitor = monitor(process, {emmap, D}),
        pong = call(D, ping),
        true = demonitor(Monitor, [flush, info])
    end).

a_monitor_of_no_name_is_noproc(Config) ->
    at(Config, fun(D) ->
        Monitor = monitor(process, {nosuch, D}),
        noproc = down(Monitor, {nosuch, D})
    end).

a_monitor_of_a_dead_pid_is_noproc(Config) ->
    at(Config, fun(D) ->
        Dead = emmap_wire:pid(D),
        noproc = down(monitor(process, Dead), Dead)
    end).

a_monitor_tells_the_end_of_the_daemon(Config) ->
    #{node := D, program := Program} = emmap_test:daemon(Config),
    Pid = emmap_program:os_pid(Program),
    at(Config, D, fun(_) ->
        Monitor = monitor(process, {emmap, D}),
        pong = call(D, ping),
        [] = os:cmd("kill -TERM " ++ integer_to_list(Pid)),
        noconnection = down(Monitor, {emmap, D})
    end).

a_link_to_a_dead_pid_is_noproc(Config) ->
    at(Config, fun(D) ->
        process_flag(trap_exit, true),
        Dead = emmap_wire:pid(D),
        true = link(Dead),
        noproc = exited(Dead)
    end).

spawning_an_unknown_function_is_undef(Config) ->
    at(Config, fun(D) ->
        process_flag(trap_exit, true),
        Pid = spawn_link(D, lists, reverse, [[1]]),
        D = node(Pid),
        {undef, [{lists, reverse, [[1]], []}]} = exited(Pid)
    end).

a_monitored_spawn_is_undef(Config) ->
    at(Config, fun(D) ->
        {Pid, Monitor} = spawn_monitor(D, lists, reverse, [[1]]),
        {undef, [{lists, reverse, [[1]], []}]} = down(Monitor, Pid)
    end).

rpc_of_an_unknown_function_is_undef(Config) ->
    at(Config, fun(D) ->
        {badrpc, {'EXIT', {undef, _}}} = rpc:call(D, lists, reverse, [[1]])
    end).

exit_signals_to_dead_pids_are_ignored(Config) ->
    at(Config, fun(D) ->
        [exit(emmap_wire:pid(D), Reason) || Reason <- [normal, kill, {any, term}]],
        pong = call(D, ping)
    end).

%%% Connections.

several_nodes_share_a_counter(Config) ->
    #{node := D} = ?config(daemon, Config),
    Hundred = fun() ->
        Id = counters(D, several_nodes, 1),
        [{ok, _} = call(D, {inc_counter, Id, 0}) || _ <- lists:seq(1, 100)]
    end,
    Nodes = [emmap_test:node(Config) || _ <- [1, 2, 3]],
    _ = emmap_test:in_parallel([fun() -> on(Node, Hundred) end || Node <- Nodes]),
    at(Config, fun(_) -> {ok, 300} = call(D, {read_counter, "several_nodes", 0}) end).

a_node_that_disconnects_comes_back(Config) ->
    at(Config, fun(D) ->
        [begin
             pong = call(D, ping),
             true = erlang:disconnect_node(D)
         end || _ <- lists:seq(1, 20)],
        pong = call(D, ping)
    end).

what_a_lost_node_opened_is_stale(Config) ->
    at(Config, fun(D) ->
        Id = counters(D, ?FUNCTION_NAME, 1),
        {ok, 0} = call(D, {inc_counter, Id, 0}),
        true = erlang:disconnect_node(D),
        {error, stale} = call(D, {inc_counter, Id, 0}),
        ok = call(D, {close, Id})
    end).

a_second_node_of_the_same_name_replaces_the_first(Config) ->
    #{node := D} = ?config(daemon, Config),
    Cookie = ?config(cookie, Config),
    Name = list_to_atom(emmap_test:unique("twin") ++ "@localhost"),
    [First, Second] = [emmap_test:node(Config, #{node => nonode}) || _ <- [1, 2]],
    Enter = fun() ->
        {ok, _} = net_kernel:start(Name, #{name_domain => shortnames, dist_listen => false,
                                           hidden => true}),
        true = erlang:set_cookie(Cookie),
        pong = call(D, ping)
    end,
    on(First, Enter),
    Lost = fun() ->
        true = monitor_node(D, true),
        receive {nodedown, D} -> ok after ?DEADLINE -> error(deadline) end
    end,
    [ok, pong] = emmap_test:in_parallel([fun() -> on(First, Lost) end,
                                         fun() -> on(Second, Enter) end]),
    on(Second, fun() -> pong = call(D, ping) end).

a_wrong_cookie_is_refused(Config) ->
    #{node := D, program := Program} = ?config(daemon, Config),
    Stranger = emmap_test:node(Config, #{cookie => wrong}),
    pang = on(Stranger, fun() -> net_adm:ping(D) end),
    #{node := Name} = Stranger,
    [] = emmap_program:await_line(Program, ["warning .*", atom_to_list(Name), ".*cookie"]),
    at(Config, fun(_) -> pong = call(D, ping) end).

a_peer_may_have_a_cookie_of_its_own(Config) ->
    [One, Other, Third] = Names = [new_name() || _ <- [1, 2, 3]],
    Files = [cookie_file(Config, Cookie) || Cookie <- ["of_one", "of_other"]],
    Args = lists:append([["--peer-cookie", lists:concat([Name, "=", File])]
                         || {Name, File} <- lists:zip([One, Other], Files)]),
    #{node := D} = emmap_test:daemon(Config, #{args => Args}),
    General = ?config(cookie, Config),
    Ping = fun(Name, Cookie) ->
        Node = emmap_test:start_node(Config, #{node => Name, cookie => Cookie}),
        Answer = on(Node, fun() -> net_adm:ping(D) end),
        ok = emmap_test:stop_node(Node),
        ok = until(fun() ->
            {ok, Known} = emmap_test:epmd_names(?config(epmd, Config)),
            not lists:keymember(short(Name), 1, Known)
        end),
        Answer
    end,
    [pong, pong, pong] = lists:zipwith(Ping, Names, [of_one, of_other, General]),
    [pang, pang, pang] = lists:zipwith(Ping, Names, [General, of_one, of_one]),
    pong = Ping(Third, General).

cookie_file(Config, Cookie) ->
    File = filename:join(?config(dir, Config), emmap_test:unique(Cookie)),
    ok = file:write_file(File, Cookie),
    ok = file:change_mode(File, 8#600),
    File.

an_idle_connection_outlives_four_ticks(Config) ->
    #{node := D} = ?config(daemon, Config),
    Node = emmap_test:node(Config, #{args => ["-kernel", "net_ticktime", "4"]}),
    on(Node, fun() ->
        4 = net_kernel:get_net_ticktime(),
        pong = call(D, ping),
        true = monitor_node(D, true),
        receive {nodedown, D} -> error(nodedown) after 7000 -> ok end
    end).

a_long_frame_is_refused_and_the_connection_lives(Config) ->
    #{node := D} = emmap_test:daemon(Config, #{args => ["--max-frame", "1048576"]}),
    at(Config, D, fun(_) ->
        {ok, Id, _} = call(D, {open, "long_frame", 0, 4194304, [create, write]}),
        true = monitor_node(D, true),
        {error, {limit, max_frame}} = call(D, {pwrite, Id, 0, binary:copy(<<"x">>, 2097152)}),
        {error, {limit, max_frame}} = call(D, {pread, Id, 0, 2097152}),
        ok = call(D, {pwrite, Id, 0, binary:copy(<<"y">>, 1000000)}),
        {ok, <<"yy">>} = call(D, {pread, Id, 999998, 2}),
        receive {nodedown, D} -> error(nodedown) after 0 -> ok end
    end).

a_long_name_serves_long_names(Config) ->
    #{node := D} = emmap_test:daemon(Config, #{long => true}),
    Node = emmap_test:node(Config, #{long => true}),
    on(Node, fun() -> pong = call(D, ping) end).

%%% Registration.

a_taken_name_ends_with_status_3(Config) ->
    #{node := D} = ?config(daemon, Config),
    {3, Lines} = run(emmap_test:daemon_args(Config, #{node => D, data_dir => ?config(dir, Config)}),
                     Config),
    {match, _} = re:run(Lines, [short(D), ".* is taken"]),
    at(Config, fun(_) -> pong = call(D, ping) end).

it_registers_again_when_epmd_comes_back(Config0) ->
    Port = emmap_test:free_port(),
    Config = [{epmd, Port} | Config0],
    First = emmap_test:start_epmd(Port),
    #{node := D, port := DaemonPort} = emmap_test:daemon(Config),
    {ok, [{_, DaemonPort}]} = emmap_test:epmd_names(Port),
    ok = emmap_test:stop_epmd(First),
    Second = emmap_test:start_epmd(Port),
    ok = until(fun() -> {ok, [{short(D), DaemonPort}]} =:= emmap_test:epmd_names(Port) end),
    Node = emmap_test:node(Config),
    on(Node, fun() -> pong = call(D, ping) end),
    ok = emmap_test:stop_node(Node),
    ok = emmap_test:stop_epmd(Second).

it_starts_epmd_where_there_is_none(Config) ->
    Port = emmap_test:free_port(),
    {error, econnrefused} = emmap_test:epmd_names(Port),
    try
        Daemon = #{node := D} = emmap_test:start_daemon(Config, #{owner => self(), epmd => Port}),
        {ok, [{Name, _}]} = emmap_test:epmd_names(Port),
        Name = short(D),
        emmap_test:stop_daemon(Daemon)
    after
        os:cmd("epmd -port " ++ integer_to_list(Port) ++ " -kill")
    end,
    ok = until(fun() -> {error, econnrefused} =:= emmap_test:epmd_names(Port) end).

%%% The process.

sigterm_ends_it_in_order(Config) ->
    ends_in_order("TERM", Config).

sigint_ends_it_in_order(Config) ->
    ends_in_order("INT", Config).

ends_in_order(Signal, Config) ->
    Daemon = #{node := D, program := Program} = emmap_test:daemon(Config),
    at(Config, D, fun(_) ->
        Id = counters(D, Signal, 1),
        {ok, 0} = call(D, {inc_counter, Id, 0, 42})
    end),
    ok = emmap_program:signal(Program, Signal),
    0 = emmap_program:await_exit(Program),
    {ok, Names} = emmap_test:epmd_names(?config(epmd, Config)),
    false = lists:keymember(short(D), 1, Names),
    42 = counter_in_file(Daemon, Signal).

what_was_done_at_the_end_was_answered(Config) ->
    Daemon = #{node := D, program := Program} = emmap_test:daemon(Config),
    Pid = integer_to_list(emmap_program:os_pid(Program)),
    Answered = at(Config, D, fun(_) ->
        Id = counters(D, "at_the_end", 1),
        Increments = [gen_server:send_request({emmap, D}, {inc_counter, Id, 0})
                      || _ <- lists:seq(1, 10000)],
        {reply, {ok, 0}} = gen_server:receive_response(hd(Increments), ?DEADLINE),
        [] = os:cmd("kill -TERM " ++ Pid),
        Answers = [gen_server:receive_response(R, ?DEADLINE) || R <- tl(Increments)],
        1 + length([ok || {reply, {ok, _}} <- Answers])
    end),
    0 = emmap_program:await_exit(Program),
    Answered = counter_in_file(Daemon, "at_the_end").

sighup_opens_the_log_anew(Config) ->
    Log = filename:join(?config(dir, Config), "emmapd.log"),
    #{program := Program} = emmap_test:daemon(Config, #{args => ["--log-file", Log]}),
    ok = until(fun() -> has_line(Log, "notice .* is ready") end),
    ok = file:rename(Log, Log ++ ".1"),
    ok = emmap_program:signal(Program, "HUP"),
    ok = until(fun() -> filelib:is_regular(Log) end),
    ok = emmap_program:signal(Program, "TERM"),
    0 = emmap_program:await_exit(Program),
    true = has_line(Log, "notice stopping").

has_line(File, Pattern) ->
    {ok, Text} = file:read_file(File),
    match =:= re:run(Text, Pattern, [{capture, none}]).

end_of_input_ends_it(Config) ->
    Args = emmap_test:daemon_args(Config, #{node => new_name(), data_dir => ?config(dir, Config)}),
    Pipe = start(["/bin/sh", "-c", "head -n 1 | \"$0\" \"$@\"", emmap_test:daemon_path() | Args],
                 Config),
    _ = emmap_program:await_line(Pipe, "^ready "),
    ok = emmap_program:send(Pipe, "\n"),
    0 = emmap_program:await_exit(Pipe).

a_cookie_comes_by_standard_input(Config) ->
    Args = emmap_test:daemon_args(Config, #{node => D = new_name(), cookie_file => "-",
                                            data_dir => ?config(dir, Config)}),
    Program = start([emmap_test:daemon_path() | Args], Config),
    ok = emmap_program:send(Program, [atom_to_list(?config(cookie, Config)), "\n"]),
    _ = emmap_program:await_line(Program, "^ready "),
    at(Config, D, fun(_) -> pong = call(D, ping) end).

help_names_every_option(Config) ->
    {0, Lines} = run(["--help"], Config),
    [{match, _} = re:run(Lines, ["^ +", Option, "\\b"], [multiline])
     || Option <- ["--name", "--sname", "--cookie-file", "--data-dir", "--allow-path", "--listen",
                   "--port", "--max-frame", "--log-file", "--log-level", "--stop-on-eof",
                   "--version", "--help"]].

the_version_is_told(Config) ->
    {0, Lines} = run(["--version"], Config),
    {match, _} = re:run(Lines, "^emmapd \\d+\\.\\d+\\.\\d+$").

an_unknown_option_is_named(Config) ->
    {2, Lines} = run(["--frobnicate"], Config),
    {match, _} = re:run(Lines, "frobnicate").

a_wrong_value_is_named(Config) ->
    [begin
         {2, Lines} = run([Option, Value], Config),
         {match, _} = re:run(Lines, [Option, ".*", Value])
     end || {Option, Value} <- [{"--port", "65536"}, {"--port", "x"}, {"--port", "-1"},
                                {"--max-frame", "1"}, {"--max-frame", "18446744073709551616"},
                                {"--log-level", "loud"}, {"--allow-path", "relative"},
                                {"--listen", "nowhere"}]].

a_missing_cookie_is_named(Config) ->
    Missing = filename:join(?config(dir, Config), "no_cookie"),
    {Status, Lines} = run(emmap_test:daemon_args(Config, #{node => new_name(), cookie_file => Missing,
                                                           data_dir => ?config(dir, Config)}),
                          Config),
    4 = Status,
    {match, _} = re:run(Lines, Missing).

a_wrong_cookie_of_a_peer_is_named(Config) ->
    File = cookie_file(Config, "of_a"),
    Open = cookie_file(Config, "of_b"),
    ok = file:change_mode(Open, 8#644),
    D = new_name(),
    Args = emmap_test:daemon_args(Config, #{node => D, data_dir => ?config(dir, Config)}),
    [begin
         Given = [["--peer-cookie", Value] || Value <- Values],
         {Status, Lines} = run(Args ++ lists:append(Given), Config),
         {match, _} = re:run(Lines, ["^emmapd: --peer-cookie ", Named], [multiline])
     end || {Status, Named, Values} <-
                [{2, "a@localhost: ", ["a@localhost"]},
                 {2, "a@x.y: .* no dot", ["a@x.y=" ++ File]},
                 {2, "a b@localhost: ", ["a b@localhost=" ++ File]},
                 {2, "a@localhost=.*already", ["a@localhost=" ++ File, "a@localhost=" ++ Open]},
                 {2, [atom_to_list(D), ": .*itself"], [lists:concat([D, "=", File])]},
                 {4, ["a@localhost: ", File, "x: "], ["a@localhost=" ++ File ++ "x"]},
                 {4, ["b@localhost: ", Open, ": .*read"], ["a@localhost=" ++ File,
                                                           "b@localhost=" ++ Open]}]].

a_missing_prefix_is_named(Config) ->
    Missing = filename:join(?config(dir, Config), "no_prefix"),
    Args = emmap_test:daemon_args(Config, #{node => new_name(), data_dir => ?config(dir, Config)}),
    {1, Lines} = run(Args ++ ["--allow-path", Missing], Config),
    {match, _} = re:run(Lines, ["--allow-path ", Missing]).

standard_output_has_one_line(Config) ->
    Args = emmap_test:daemon_args(Config, #{node => D = new_name(),
                                            data_dir => ?config(dir, Config)}),
    Program = start(["/bin/sh", "-c", "exec \"$0\" \"$@\" 2>/dev/null", emmap_test:daemon_path()
                     | Args], Config),
    _ = emmap_program:await_line(Program, "^ready "),
    at(Config, D, fun(_) -> pong = call(D, ping) end),
    ok = emmap_program:signal(Program, "TERM"),
    0 = emmap_program:await_exit(Program),
    [<<"ready ", _/binary>>] = emmap_program:lines(Program).

%%% Peers that are none.

silence_is_closed_at_the_deadline(Config) ->
    #{port := Port} = emmap_test:daemon(Config, #{args => ["--handshake-timeout", "500"]}),
    Socket = emmap_wire:connect(Port),
    false = emmap_wire:is_closed(Socket, 300),
    true = emmap_wire:is_closed(Socket, 5000).

dripping_bytes_are_closed_at_the_deadline(Config) ->
    #{port := Port} = emmap_test:daemon(Config, #{args => ["--handshake-timeout", "500"]}),
    Socket = emmap_wire:connect(Port),
    ok = inet:setopts(Socket, [{packet, raw}]),
    Started = erlang:monotonic_time(millisecond),
    ok = drip(Socket, <<0, 100, $N, 0:480>>),
    true = erlang:monotonic_time(millisecond) - Started < 3000.

%% A byte each 100 ms until the other side has enough.
drip(Socket, <<Byte, Bytes/binary>>) ->
    _ = gen_tcp:send(Socket, [Byte]),
    case gen_tcp:recv(Socket, 0, 100) of
        {error, timeout} -> drip(Socket, Bytes);
        {error, _} -> ok
    end.

half_open_connections_make_room(Config) ->
    #{node := D, port := Port} = emmap_test:daemon(Config, #{args => ["--max-half-open", "4"]}),
    Sockets = [emmap_wire:connect(Port) || _ <- lists:seq(1, 20)],
    at(Config, D, fun(_) -> pong = call(D, ping) end),
    [true = emmap_wire:is_closed(Socket, 1000) || Socket <- lists:sublist(Sockets, 15)].

a_giant_name_is_closed(Config) ->
    Socket = emmap_wire:connect(port(Config)),
    ok = gen_tcp:send(Socket, [$N, binary:copy(<<"x">>, 65000)]),
    true = emmap_wire:is_closed(Socket, 2000),
    at(Config, fun(D) -> pong = call(D, ping) end).

garbage_before_the_cookie_is_closed(Config) ->
    rand:seed(exsss, 1),
    [begin
         Socket = emmap_wire:connect(port(Config)),
         ok = gen_tcp:send(Socket, rand:bytes(N * 7)),
         true = emmap_wire:is_closed(Socket, 2000)
     end || N <- lists:seq(1, 40)],
    at(Config, fun(D) -> pong = call(D, ping) end).

a_wrong_digest_is_closed(Config) ->
    Socket = emmap_wire:connect(port(Config)),
    ok = emmap_wire:send_name(Socket, 'stranger@localhost'),
    ok = emmap_wire:answer_challenge(Socket, wrong, closed).

%% Its length promises 4 GiB; what comes of it takes no memory.
a_giant_frame_is_not_kept(Config) ->
    #{rss := Before} = at(Config, fun(D) -> call(D, info) end),
    {Socket, _} = join(Config),
    ok = inet:setopts(Socket, [{packet, raw}]),
    ok = gen_tcp:send(Socket, <<16#FFFFFFFF:32, 112, 131>>),
    MiB = binary:copy(<<"x">>, 1 bsl 20),
    [gen_tcp:send(Socket, MiB) || _ <- lists:seq(1, 100)],
    #{rss := After} = at(Config, fun(D) -> call(D, info) end),
    true = After - Before < 16 bsl 20,
    gen_tcp:close(Socket).

damaged_frames_hurt_only_their_sender(Config) ->
    rand:seed(exsss, 2),
    Whole = iolist_to_binary([112, term_to_binary({6, emmap_wire:pid('sender@localhost'), '', emmap}),
                              term_to_binary({'$gen_call', {emmap_wire:pid('sender@localhost'), 1},
                                              {pread, "nothing", [{0, 1}, {2, 3}]}})]),
    [send_frame(damaged(Whole), Config) || _ <- lists:seq(1, 300)],
    [send_frame(binary:part(Whole, 0, N), Config) || N <- lists:seq(1, byte_size(Whole) - 1)],
    at(Config, fun(D) -> pong = call(D, ping) end).

damaged(Bytes) ->
    At = rand:uniform(byte_size(Bytes)) - 1,
    <<Before:At/binary, _, After/binary>> = Bytes,
    <<Before/binary, (rand:uniform(256) - 1), After/binary>>.

deep_terms_hurt_only_their_sender(Config) ->
    {_, Pid} = Sender = join(Config),
    Deep = lists:foldl(fun(_, Inner) -> [Inner] end, deep, lists:seq(1, 100000)),
    send_term(Sender, {'$gen_call', {Pid, 1}, Deep}),
    send_term(Sender, Deep),
    at(Config, fun(D) -> pong = call(D, ping) end).

a_peer_that_stops_reading_gets_all_answers_later(Config) ->
    Daemon = #{node := D} = emmap_test:daemon(Config, #{args => ["--max-unsent", "1048576"]}),
    {Socket, Pid, Id} = reader(Daemon, Config),
    #{rss := Before} = at(Config, D, fun(_) -> call(D, info) end),
    [ok = emmap_wire:call(Socket, Pid, N, {pread, Id, 0, 262144}) || N <- lists:seq(1, 200)],
    #{rss := After} = at(Config, D, fun(_) -> call(D, info) end),
    true = After - Before < 16 bsl 20,
    Answers = [emmap_wire:receive_message(Socket) || _ <- lists:seq(1, 200)],
    true = lists:seq(1, 200) =:= [N || {{2, '', _}, {N, {ok, <<_:262144/binary>>}}} <- Answers],
    ok.

a_peer_that_never_reads_again_is_dropped(Config) ->
    Args = ["--max-unsent", "1048576", "--unsent-timeout", "500"],
    Daemon = #{node := D} = emmap_test:daemon(Config, #{args => Args}),
    {Socket, Pid, Id} = reader(Daemon, Config),
    [ok = emmap_wire:call(Socket, Pid, N, {pread, Id, 0, 262144}) || N <- lists:seq(1, 200)],
    at(Config, D, fun(_) ->
        until(fun() -> [node()] =:= [Name || #{node := Name} <- call(D, clients)] end)
    end),
    ok = gen_tcp:close(Socket).

%%% Internal.

%% Runs the fun with the daemon's name on the suite's client node.
at(Config, Fun) ->
    #{node := D} = ?config(daemon, Config),
    at(Config, D, Fun).

at(Config, D, Fun) ->
    on(?config(client, Config), fun() -> Fun(D) end).

call(D, Request) ->
    gen_server:call({emmap, D}, Request, ?DEADLINE).

counters(D, Name, N) ->
    {ok, Id, #{count := N}} = call(D, {open_counters, lists:concat([Name]), N}),
    Id.

counter_in_file(#{data_dir := Dir}, Name) ->
    {ok, <<"EMMAP01\n", 1:64/little, Value:64/little, _/binary>>} =
        file:read_file(filename:join(Dir, Name)),
    Value.

down(Monitor, Object) ->
    receive
        {'DOWN', Monitor, process, Object, Reason} -> Reason
    after ?DEADLINE -> error(deadline)
    end.

exited(Pid) ->
    receive
        {'EXIT', Pid, Reason} -> Reason
    after ?DEADLINE -> error(deadline)
    end.

short(Node) ->
    hd(string:split(atom_to_list(Node), "@")).

new_name() ->
    list_to_atom(emmap_test:unique("emmapd") ++ "@localhost").

port(Config) ->
    maps:get(port, ?config(daemon, Config)).

start([Path | Args], Config) ->
    emmap_program:start(Path, Args, #{owner => self(), env => environment(Config)}).

%% Runs emmapd to its end: its status and all that it has printed.
run(Args, Config) ->
    Program = start([emmap_test:daemon_path() | Args], Config),
    Status = emmap_program:await_exit(Program),
    {Status, lists:join("\n", emmap_program:lines(Program))}.

environment(Config) ->
    [{"ERL_EPMD_PORT", integer_to_list(?config(epmd, Config))}, {"HOME", ?config(dir, Config)}].

join(Config) ->
    join(?config(daemon, Config), Config).

join(#{port := Port}, Config) ->
    Name = list_to_atom(emmap_test:unique("by_hand") ++ "@localhost"),
    {emmap_wire:join(Port, Name, ?config(cookie, Config)), emmap_wire:pid(Name)}.

send_frame(Bytes, Config) ->
    {Socket, _} = join(Config),
    _ = gen_tcp:send(Socket, Bytes),
    ok = gen_tcp:close(Socket).

send_term({Socket, Pid}, Term) ->
    emmap_wire:send(Socket, {6, Pid, '', emmap}, {message, Term}).

%% A peer by hand that has a region of 256 KiB open, whose pages are in memory.
reader(Daemon, Config) ->
    {Socket, Pid} = join(Daemon, Config),
    ok = emmap_wire:call(Socket, Pid, open, {open, "read", 0, 262144, [create, write]}),
    {_, {open, {ok, Id, _}}} = emmap_wire:receive_message(Socket),
    ok = emmap_wire:call(Socket, Pid, write, {pwrite, Id, 0, binary:copy(<<"x">>, 262144)}),
    {_, {write, ok}} = emmap_wire:receive_message(Socket),
    {Socket, Pid, Id}.
