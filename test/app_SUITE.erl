%% The application on real nodes: its three kinds of daemon, and what happens when one of all the
%% processes ends.
-module(app_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

-import(emmap_test, [node/2, on/2, until/1]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{start, [],
      [an_own_daemon_serves_a_named_node, an_own_daemon_serves_a_node_without_a_name,
       an_own_daemon_serves_long_names, an_own_daemon_works_in_the_node_s_directory,
       an_own_daemon_ends_with_the_application, an_own_daemon_ends_with_its_node,
       it_starts_again_after_a_stop, no_home_is_needed, nothing_is_written_into_the_home,
       mnesia_forbids_a_new_name, mnesia_lives_beside_it, without_distribution_it_says_so,
       nothing_works_before_the_start, a_wrong_value_is_named, a_missing_program_is_named,
       the_daemon_s_log_becomes_events]},
     {restart, [],
      [handles_open_again_after_kill_9, a_handle_opened_with_truncate_keeps_the_file,
       a_cursor_survives, private_handles_are_closed, a_file_that_has_gone_is_enoent,
       a_daemon_that_does_not_start_is_tried_again, casts_that_are_lost_are_told,
       increments_under_kill_9_add_up, no_acknowledged_write_is_lost]},
     {waiting, [],
      [waiting_calls_end_with_the_daemon, a_stopped_daemon_is_restarted_and_frees_its_callers,
       a_stopped_external_daemon_is_disconnected, a_call_s_time_limit_holds_while_it_is_stopped,
       call_timeout_holds_for_every_function, an_absent_daemon_is_not_connected,
       a_daemon_that_comes_later_is_found]},
     {sharing, [],
      [two_nodes_count_on_one_counter, a_shared_daemon_outlives_its_starter,
       two_plain_nodes_see_each_other_s_writes, a_wrong_cookie_is_told]},
     {load, [],
      [a_flood_of_casts_is_bounded, many_opens_and_closes_leak_nothing,
       a_large_read_does_not_hold_up_small_calls]}].

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

%%% Starting and stopping.

an_own_daemon_serves_a_named_node(Config) ->
    on(own(Config), fun() ->
        Me = node(),
        "emmap_" ++ _ = atom_to_list(emmap:which_node()),
        use("file"),
        Me = node(),
        [] = nodes()
    end).

an_own_daemon_serves_a_node_without_a_name(Config) ->
    on(node(Config, #{node => nonode}), fun() ->
        nonode@nohost = node(),
        {ok, _} = emmap_test:application([]),
        "emmap_c" ++ _ = atom_to_list(node()),
        use("file"),
        [] = nodes()
    end),
    {ok, Names} = emmap_test:epmd_names(?config(epmd, Config)),
    [] = [Name || {"emmap_c" ++ _ = Name, _} <- Names].

an_own_daemon_serves_long_names(Config) ->
    on(node(Config, #{long => true, application => []}), fun() ->
        [_, "127.0.0.1"] = string:split(atom_to_list(emmap:which_node()), "@"),
        use("file")
    end).

an_own_daemon_works_in_the_node_s_directory(Config) ->
    Node = #{work := Work} = own(Config),
    Other = filename:join(?config(dir, Config), "elsewhere"),
    on(Node, fun() ->
        use("beside"),
        use(Other)
    end),
    [true = filelib:is_regular(File) || File <- [filename:join(Work, "beside"), Other]].

an_own_daemon_ends_with_the_application(Config) ->
    on(own(Config), fun() ->
        Pid = os_pid(),
        ok = application:stop(emmap),
        false = is_running(Pid)
    end).

an_own_daemon_ends_with_its_node(Config) ->
    Node = emmap_test:start_node(Config, #{application => []}),
    {Daemon, Beam} = on(Node, fun() -> {os_pid(), os:getpid()} end),
    true = is_running(Daemon),
    signal("KILL", Beam),
    ok = until(fun() -> not is_running(Daemon) end).

it_starts_again_after_a_stop(Config) ->
    on(own(Config), fun() ->
        use("file"),
        ok = application:stop(emmap),
        {not_started, emmap} = raised(fun() -> emmap:ping() end),
        {ok, _} = application:ensure_all_started(emmap),
        {ok, F, #{exist := true}} = emmap:open("file", []),
        {ok, <<"used">>} = emmap:pread(F, 0, 4)
    end).

no_home_is_needed(Config) ->
    [on(node(Config, #{node => nonode, env => [{"HOME", Home}]}), fun() ->
         {ok, _} = emmap_test:application([]),
         use("file")
     end) || Home <- [false, "/nonexistent"]].

nothing_is_written_into_the_home(Config) ->
    Home = filename:join(?config(dir, Config), "home"),
    ok = file:make_dir(Home),
    on(node(Config, #{node => nonode, home => Home}), fun() ->
        {ok, _} = emmap_test:application([]),
        use("file"),
        Home = os:getenv("HOME")
    end),
    {ok, []} = file:list_dir_all(Home).

mnesia_forbids_a_new_name(Config) ->
    on(node(Config, #{node => nonode}), fun() ->
        ok = application:start(mnesia),
        {error, {emmap, Failure}} = emmap_test:application([]),
        {{start_distribution, mnesia_running}, _} = Failure,
        nonode@nohost = node(),
        {_, _} = {text, emmap:format_error({start_distribution, mnesia_running})}
    end).

mnesia_lives_beside_it(Config) ->
    on(node(Config, #{}), fun() ->
        ok = application:start(mnesia),
        {ok, _} = emmap_test:application([]),
        use("file"),
        {atomic, ok} = mnesia:create_table(t, []),
        {atomic, ok} = mnesia:transaction(fun() -> mnesia:write({t, 1, 2}) end)
    end).

without_distribution_it_says_so(Config) ->
    on(node(Config, #{node => nonode}), fun() ->
        {error, {emmap, {not_distributed, _}}} =
            emmap_test:application([{start_distribution, false}]),
        nonode@nohost = node()
    end).

nothing_works_before_the_start(Config) ->
    on(node(Config, #{}), fun() ->
        [{not_started, emmap} = raised(fun() -> apply(emmap, Function, Args) end)
         || {Function, Args} <- [{open, ["f", []]}, {open, ["f", 0, 1, [create, write]]}, {ping, []},
                                 {open_counters, ["c", 1]}, {pread, ["f", 0, 1]}, {info, []},
                                 {inc_counter, ["c", 0]}, {which_node, []}, {list, []}]]
    end).

a_wrong_value_is_named(Config) ->
    on(node(Config, #{}), fun() ->
        [begin
             application:load(emmap),
             {error, {emmap, {{bad_config, Key, Value}, _}}} = emmap_test:application([{Key, Value}]),
             ok = application:unset_env(emmap, Key, [{persistent, true}])
         end || {Key, Value} <- [{daemon, mine}, {node, "emmap"}, {node, emmap}, {data_dir, []},
                                 {start_distribution, maybe}, {connect_timeout, -1},
                                 {call_timeout, soon}, {restart_backoff, 100},
                                 {restart_backoff, {5000, 100}}, {max_casts, 0}, {hang_timeout, 0},
                                 {daemon_args, [a]}, {log_level, loud}]]
    end).

a_missing_program_is_named(Config) ->
    on(node(Config, #{}), fun() ->
        {error, {emmap, {Reason, _}}} = emmap_test:application([{daemon_path, "/no/such/emmapd"}]),
        true = string:find(emmap:format_error(Reason), "/no/such/emmapd") =/= nomatch
    end).

the_daemon_s_log_becomes_events(Config) ->
    on(node(Config, #{}), fun() ->
        ok = logger:add_handler(?MODULE, ?MODULE, #{config => self()}),
        ok = logger:set_primary_config(level, all),
        {ok, _} = emmap_test:application([]),
        await_event("is ready"),
        signal("KILL", os_pid()),
        await_event("started again"),
        await_event("is ready")
    end).

%% A handler of logger.
log(#{meta := #{domain := [emmap | _]}} = Event, #{config := Pid}) ->
    Pid ! {event, logger_formatter:format(Event, #{single_line => true})};
log(_, _) ->
    ok.

await_event(Text) ->
    receive
        {event, Event} ->
            case string:find(unicode:characters_to_list(Event), Text) of
                nomatch -> await_event(Text);
                _ -> ok
            end
    after ?DEADLINE -> error({no_event, Text})
    end.

%%% The daemon ends.

handles_open_again_after_kill_9(Config) ->
    on(own(Config), fun() ->
        {ok, F, _} = emmap:open("region", 0, 100, [create, write]),
        C = emmap:open_counters("counters", 8),
        ok = emmap:pwrite(F, 0, <<"kept">>),
        {ok, 0} = emmap:inc_counter(C, 7, 70),
        [begin
             Pid = os_pid(),
             signal("KILL", Pid),
             ok = until(fun() -> not is_running(Pid) end),
             {ok, <<"kept">>} = eventually(fun() -> emmap:pread(F, 0, 4) end),
             {ok, 70} = eventually(fun() -> emmap:read_counter(C, 7) end),
             true = os_pid() =/= Pid
         end || _ <- [1, 2, 3]],
        ok = emmap:pwrite(F, 0, <<"more">>),
        {ok, [{ok, <<"more">>}]} = emmap:batch(F, [{pread, 0, 4}])
    end).

a_handle_opened_with_truncate_keeps_the_file(Config) ->
    on(own(Config), fun() ->
        use("file"),
        {ok, F, _} = emmap:open("file", 0, 100, [create, write, truncate, {chmod, 8#600}]),
        ok = emmap:pwrite(F, 0, <<"acknowledged">>),
        {ok, 200} = emmap:resize(F, 200),
        restart(),
        {ok, <<"acknowledged">>} = eventually(fun() -> emmap:pread(F, 0, 12) end),
        #{size := 200} = emmap:info(F)
    end).

a_cursor_survives(Config) ->
    on(own(Config), fun() ->
        {ok, F, _} = emmap:open("lines", 0, 8, [create, write]),
        ok = emmap:write(F, "one\ntwo\n"),
        {ok, 0} = emmap:position(F, bof),
        {ok, <<"one\n">>} = emmap:read_line(F),
        restart(),
        {ok, <<"two\n">>} = eventually(fun() -> emmap:read_line(F) end)
    end).

private_handles_are_closed(Config) ->
    on(own(Config), fun() ->
        use("file"),
        Handles = [begin {ok, F, _} = emmap:open(Name, 0, 100, Options), F end
                   || {Name, Options} <- [{"file", [write, private]}, {"none", [write, anon]},
                                          {"brief", [create, write, auto_unlink]}]],
        restart(),
        [{error, closed} = eventually(fun() -> emmap:pread(F, 0, 1) end) || F <- Handles]
    end).

a_file_that_has_gone_is_enoent(Config) ->
    on(own(Config), fun() ->
        {ok, F, _} = emmap:open("going", 0, 100, [create, write]),
        C = emmap:open_counters("gone", 2),
        {ok, 0} = emmap:inc_counter(C, 0),
        [ok = file:delete(Name) || Name <- ["going", "gone"]],
        restart(),
        {error, enoent} = eventually(fun() -> emmap:pread(F, 0, 1) end),
        {error, enoent} = eventually(fun() -> emmap:inc_counter(C, 0) end),
        false = filelib:is_regular("gone")
    end).

a_daemon_that_does_not_start_is_tried_again(Config) ->
    Program = filename:join(?config(dir, Config), "emmapd_copy"),
    {ok, _} = file:copy(emmap_test:daemon_path(), Program),
    ok = file:change_mode(Program, 8#700),
    Node = node(Config, #{application => [{daemon_path, Program}, {restart_backoff, {50, 200}},
                                          {connect_timeout, 100}]}),
    on(Node, fun() ->
        {ok, F, _} = emmap:open("file", 0, 100, [create, write]),
        ok = emmap:pwrite(F, 0, <<"kept">>),
        Daemon = emmap:which_node(),
        ok = file:rename(Program, Program ++ ".away"),
        signal("KILL", os_pid()),
        ok = until(fun() -> {error, {not_connected, Daemon}} =:= emmap:pread(F, 0, 4) end),
        {error, {not_connected, Daemon}} = emmap:open("other", 0, 100, [create, write]),
        ok = file:rename(Program ++ ".away", Program),
        {ok, <<"kept">>} = eventually(fun() -> emmap:pread(F, 0, 4) end)
    end).

casts_that_are_lost_are_told(Config) ->
    on(own(Config), fun() ->
        C = emmap:open_counters("casts", 1),
        Pid = os_pid(),
        signal("STOP", Pid),
        [ok = emmap:cast(C, {inc_counter, 0}) || _ <- lists:seq(1, 1000)],
        signal("KILL", Pid),
        {error, {casts, #{lost := Lost, failed := 0}}} =
            eventually(fun() -> emmap:barrier(C) end),
        true = Lost > 0 andalso Lost =< 1000,
        ok = emmap:barrier(C),
        {ok, Value} = emmap:read_counter(C, 0),
        true = Value =< 1000 andalso Value >= 1000 - Lost
    end).

%% Each process counts what it has sent and what was acknowledged; what is in doubt lies between.
increments_under_kill_9_add_up(Config) ->
    on(own(Config), fun() ->
        C = emmap:open_counters("under_fire", 1),
        Shooter = fun() ->
            [begin
                 ok = emmap_test:until(fun() -> has_reached(300 * N, C) end),
                 signal("KILL", eventually(fun os_pid/0))
             end || N <- lists:seq(1, 5)],
            {0, 0}
        end,
        End = erlang:monotonic_time(millisecond) + 2000,
        Counted = emmap_test:in_parallel([Shooter | lists:duplicate(8, fun() -> increments(C, End) end)]),
        Sent = lists:sum([S || {S, _} <- Counted]),
        Acknowledged = lists:sum([A || {_, A} <- Counted]),
        {ok, Value} = eventually(fun() -> emmap:read_counter(C, 0) end),
        {true, _, _, _} = {Acknowledged =< Value andalso Value =< Sent, Acknowledged, Value, Sent},
        true = Acknowledged > 1000
    end).

has_reached(Least, C) ->
    case emmap:read_counter(C, 0) of
        {ok, Value} -> Value >= Least;
        {error, _} -> false
    end.

increments(C, End) ->
    increments(C, End, 0, 0).

increments(C, End, Sent, Acknowledged) ->
    case erlang:monotonic_time(millisecond) < End of
        false ->
            {Sent, Acknowledged};
        true ->
            case emmap:inc_counter(C, 0) of
                {ok, _} -> increments(C, End, Sent + 1, Acknowledged + 1);
                {error, {nodedown, _}} -> increments(C, End, Sent + 1, Acknowledged);
                {error, {not_connected, _}} -> increments(C, End, Sent, Acknowledged)
            end
    end.

no_acknowledged_write_is_lost(Config) ->
    on(own(Config), fun() ->
        {ok, F, _} = emmap:open("slots", 0, 8000, [create, write]),
        Killer = spawn_link(fun() ->
            receive kill -> signal("KILL", os_pid()) end
        end),
        Last = lists:foldl(fun(N, Last) ->
            N =:= 500 andalso (Killer ! kill),
            case emmap:pwrite(F, 8 * N, <<(N + 1):64>>) of
                ok -> [N | Last];
                {error, _} -> Last
            end
        end, [], lists:seq(0, 999)),
        {ok, Bytes} = eventually(fun() -> emmap:pread(F, 0, 8000) end),
        true = length(Last) >= 500,
        [true = <<(N + 1):64>> =:= binary:part(Bytes, 8 * N, 8) || N <- Last]
    end).

%%% Waiting.

waiting_calls_end_with_the_daemon(Config) ->
    on(own(Config), fun() ->
        {ok, F, _} = emmap:open("file", 0, 100, [create, write]),
        Daemon = emmap:which_node(),
        Pid = os_pid(),
        signal("STOP", Pid),
        Kill = fun() ->
            true = register(?FUNCTION_NAME, self()),
            Waiting = [receive {calls, Caller} -> Caller end || _ <- lists:seq(1, 50)],
            ok = emmap_test:until(fun() -> lists:all(fun emmap_apps:waits_for_a_reply/1, Waiting) end),
            signal("KILL", Pid),
            erlang:monotonic_time(millisecond)
        end,
        Wait = fun() ->
            ok = emmap_test:until(fun() -> whereis(?FUNCTION_NAME) =/= undefined end),
            ?FUNCTION_NAME ! {calls, self()},
            {error, {nodedown, Daemon}} = emmap:pread(F, 0, 1),
            erlang:monotonic_time(millisecond)
        end,
        [Killed | Ended] = emmap_test:in_parallel([Kill | lists:duplicate(50, Wait)]),
        true = lists:max(Ended) - Killed < 1000,
        {ok, <<0>>} = eventually(fun() -> emmap:pread(F, 0, 1) end)
    end).

a_stopped_daemon_is_restarted_and_frees_its_callers(Config) ->
    HangMs = 1800,
    on(node(Config, #{application => [{hang_timeout, HangMs}]}), fun() ->
        {ok, F, _} = emmap:open("file", 0, 1 bsl 20, [create, write]),
        Daemon = emmap:which_node(),
        Pid = os_pid(),
        signal("STOP", Pid),
        Started = erlang:monotonic_time(millisecond),
        MiB = binary:copy(<<"x">>, 1 bsl 20),
        Write = fun() ->
            {error, {nodedown, Daemon}} = emmap:pwrite(F, 0, MiB)
        end,
        Limited = fun() ->
            {timeout, {emmap, call, _}} = exited(fun() -> emmap:call(F, {pread, 0, 1}, 500) end),
            true = erlang:monotonic_time(millisecond) - Started < 1000
        end,
        _ = emmap_test:in_parallel([Limited | lists:duplicate(24, Write)]),
        Freed = erlang:monotonic_time(millisecond) - Started,
        {true, _} = {Freed < HangMs + 2 * HangMs div 6 + 500, Freed},
        {ok, _} = eventually(fun() -> emmap:pread(F, 0, 1) end),
        false = is_running(Pid)
    end).

a_stopped_external_daemon_is_disconnected(Config) ->
    #{node := Daemon, program := Program} = emmap_test:daemon(Config),
    Environment = [{daemon, external}, {node, Daemon}, {hang_timeout, 900}],
    Node = node(Config, #{application => Environment}),
    on(Node, fun() -> use("external") end),
    ok = emmap_program:signal(Program, "STOP"),
    {error, {nodedown, Daemon}} = on(Node, fun() -> emmap:call("external", {pread, 0, 1}) end),
    ok = emmap_program:signal(Program, "CONT"),
    on(Node, fun() ->
        {ok, F, _} = eventually(fun() -> emmap:open("external", [read]) end),
        {ok, <<"used">>} = emmap:pread(F, 0, 4)
    end),
    true = emmap_program:running(Program).

a_call_s_time_limit_holds_while_it_is_stopped(Config) ->
    on(own(Config), fun() ->
        {ok, F, _} = emmap:open("file", 0, 100, [create, write]),
        Pid = os_pid(),
        signal("STOP", Pid),
        Call = fun() ->
            {timeout, {emmap, call, [F, {pread, 0, 1}, 300]}} =
                exited(fun() -> emmap:call(F, {pread, 0, 1}, 300) end)
        end,
        _ = emmap_test:in_parallel(lists:duplicate(20, Call)),
        signal("CONT", Pid),
        {ok, <<0>>} = emmap:pread(F, 0, 1),
        receive Stray -> error({stray, Stray}) after 0 -> ok end
    end).

call_timeout_holds_for_every_function(Config) ->
    on(node(Config, #{application => [{call_timeout, 300}]}), fun() ->
        {ok, F, _} = emmap:open("file", 0, 100, [create, write]),
        C = emmap:open_counters("counters", 1),
        Pid = os_pid(),
        signal("STOP", Pid),
        [{timeout, {emmap, Function, _}} = exited(fun() -> apply(emmap, Function, Args) end)
         || {Function, Args} <- [{pread, [F, 0, 1]}, {pwrite, [F, 0, "x"]}, {inc_counter, [C, 0]},
                                 {sync, [F]}, {info, [F]}, {ping, []}]],
        signal("CONT", Pid),
        pong = eventually(fun emmap:ping/0)
    end).

an_absent_daemon_is_not_connected(Config) ->
    Daemon = list_to_atom(emmap_test:unique("absent") ++ "@localhost"),
    Environment = [{daemon, external}, {node, Daemon}, {connect_timeout, 300}],
    on(node(Config, #{application => Environment}), fun() ->
        Started = erlang:monotonic_time(millisecond),
        {error, {not_connected, Daemon}} = emmap:open("file", []),
        {cannot_open_file, "c", {not_connected, Daemon}} =
            raised(fun() -> emmap:open_counters("c", 1) end),
        {not_connected, Daemon} = raised(fun() -> emmap:info() end),
        true = erlang:monotonic_time(millisecond) - Started < 3000
    end).

a_daemon_that_comes_later_is_found(Config) ->
    Daemon = list_to_atom(emmap_test:unique("late") ++ "@localhost"),
    Environment = [{daemon, external}, {node, Daemon}, {connect_timeout, 200}],
    Node = node(Config, #{application => Environment}),
    on(Node, fun() -> {error, {not_connected, Daemon}} = emmap:open("late", []) end),
    _ = emmap_test:daemon(Config, #{node => Daemon}),
    on(Node, fun() ->
        {ok, _, _} = eventually(fun() -> emmap:open("late", 0, 100, [create, write]) end)
    end).

%%% Sharing.

two_nodes_count_on_one_counter(Config) ->
    Environment = shared(Config),
    Nodes = [node(Config, #{}) || _ <- [1, 2]],
    Count = fun() ->
        {ok, _} = emmap_test:application(Environment),
        C = emmap:open_counters("both", 1),
        Increments = fun() -> [{ok, _} = emmap:inc_counter(C, 0) || _ <- lists:seq(1, 10000)], ok end,
        _ = emmap_test:in_parallel(lists:duplicate(8, Increments)),
        os_pid()
    end,
    [Pid, Pid] = emmap_test:in_parallel([fun() -> on(Node, Count) end || Node <- Nodes]),
    {ok, 160000} = on(hd(Nodes), fun() -> emmap:read_counter("both", 0) end),
    ended(Pid).

a_shared_daemon_outlives_its_starter(Config) ->
    Environment = shared(Config),
    [First, Second] = [emmap_test:start_node(Config, #{application => Environment}) || _ <- [1, 2]],
    Pid = on(First, fun() -> use("shared"), os_pid() end),
    Pid = on(Second, fun os_pid/0),
    ok = emmap_test:stop_node(First),
    {ok, <<"used">>} = on(Second, fun() ->
        {ok, F, _} = emmap:open("shared", [read]),
        emmap:pread(F, 0, 4)
    end),
    ok = emmap_test:stop_node(Second),
    true = is_running(Pid),
    ended(Pid).

two_plain_nodes_see_each_other_s_writes(Config) ->
    Work = filename:join(?config(dir, Config), "plain"),
    [One, Two] = [node(Config, #{node => nonode, work => Work}) || _ <- [1, 2]],
    Open = fun(Key, Options) -> % a handle stays on its node
        {ok, _} = emmap_test:application([]),
        {ok, F, _} = emmap:open("seen", 0, 100, [create, write | Options]),
        persistent_term:put(Key, F)
    end,
    Write = fun(Key, Bytes) -> emmap:pwrite(persistent_term:get(Key), 0, Bytes) end,
    Read = fun(Key) -> emmap:pread(persistent_term:get(Key), 0, 9) end,
    ok = on(One, fun() -> Open(shared, [shared]) end),
    ok = on(Two, fun() -> Open(shared, [shared]), Open(private, [private]) end),
    ok = on(One, fun() -> Write(shared, <<"from one\n">>) end),
    {ok, <<"from one\n">>} = on(Two, fun() -> Read(shared) end),
    "from one\n" = os:cmd("head -n 1 " ++ filename:join(Work, "seen")),
    ok = on(Two, fun() -> Write(shared, <<"from two\n">>) end),
    {ok, <<"from two\n">>} = on(One, fun() -> Read(shared) end),
    ok = on(Two, fun() -> Write(private, <<"a secret\n">>) end),
    {ok, <<"from two\n">>} = on(One, fun() -> Read(shared) end),
    {ok, <<"a secret\n">>} = on(Two, fun() -> Read(private) end),
    "from two\n" = os:cmd("head -n 1 " ++ filename:join(Work, "seen")).

a_wrong_cookie_is_told(Config) ->
    #{node := Daemon} = emmap_test:daemon(Config),
    File = filename:join(?config(dir, Config), "other_cookie"),
    ok = file:write_file(File, "other"),
    Environment = [{daemon, external}, {node, Daemon}, {cookie_file, File}, {connect_timeout, 300}],
    on(node(Config, #{application => Environment}), fun() ->
        {error, {not_connected, Daemon}} = emmap:open("file", [])
    end).

%%% Load.

a_flood_of_casts_is_bounded(Config) ->
    on(node(Config, #{application => [{max_casts, 2000}]}), fun() ->
        C = emmap:open_counters("flood", 1),
        Flood = fun() -> [ok = emmap:cast(C, {inc_counter, 0}) || _ <- lists:seq(1, 50000)], ok end,
        Watched = spawn_link(fun() -> longest_mailbox(0) end),
        _ = emmap_test:in_parallel(lists:duplicate(4, Flood)),
        Watched ! {tell, self()},
        Longest = receive {longest, N} -> N end,
        {true, _} = {Longest =< 2000 + 4 + 10, Longest},
        ok = emmap:barrier(C),
        {ok, 200000} = emmap:read_counter(C, 0)
    end).

%% The longest mailbox of any process but the asking ones, until told to tell.
longest_mailbox(Longest) ->
    receive
        {tell, From} -> From ! {longest, Longest}
    after 0 ->
        Lengths = [N || Pid <- processes(), {message_queue_len, N} <- [process_info(Pid, message_queue_len)]],
        longest_mailbox(lists:max([Longest | Lengths]))
    end.

many_opens_and_closes_leak_nothing(Config) ->
    on(own(Config), fun() ->
        use("file"),
        Pid = os_pid(),
        Cycle = fun() ->
            {ok, F, _} = emmap:open("file", [write]),
            ok = emmap:close(F)
        end,
        times(20000, Cycle),
        {Fds, Rss, Memory, Ports, Processes, Atoms} = held(Pid),
        times(80000, Cycle),
        {Fds, Rss2, Memory2, Ports, Processes, Atoms} = held(Pid),
        {true, _, _} = {Rss2 - Rss < 2 bsl 20, Rss, Rss2},
        {true, _, _} = {Memory2 - Memory < 2 bsl 20, Memory, Memory2}
    end).

held(Pid) ->
    _ = [garbage_collect(P) || P <- processes()],
    {ok, Fds} = file:list_dir(["/proc/", integer_to_list(Pid), "/fd"]),
    #{rss := Rss} = emmap:info(),
    {length(Fds), Rss, erlang:memory(total), length(erlang:ports()), length(processes()),
     erlang:system_info(atom_count)}.

a_large_read_does_not_hold_up_small_calls(Config) ->
    on(own(Config), fun() ->
        {ok, F, _} = emmap:open("large", 0, 64 bsl 20, [create, write]),
        C = emmap:open_counters("small", 1),
        ok = emmap:pwrite(F, 0, binary:copy(<<"x">>, 64 bsl 20)),
        Large = fun() ->
            [{ok, <<_:(64 bsl 20)/binary>>} = emmap:pread(F, 0, 64 bsl 20) || _ <- lists:seq(1, 5)],
            {large, erlang:monotonic_time(millisecond)}
        end,
        Small = fun() ->
            [begin
                 {Us, {ok, _}} = timer:tc(fun() -> emmap:inc_counter(C, 0) end),
                 Us
             end || _ <- lists:seq(1, 2000)]
        end,
        [{large, _}, Times] = emmap_test:in_parallel([Large, Small]),
        {true, _} = {lists:max(Times) < 1000000, lists:max(Times)}
    end).

%%% Internal.

own(Config) ->
    node(Config, #{application => []}).

shared(Config) ->
    Daemon = list_to_atom(emmap_test:unique("shared") ++ "@localhost"),
    [{daemon, shared}, {node, Daemon}, {daemon_args, ["--allow-root"]},
     {cookie_file, filename:join(?config(dir, Config), "cookie")},
     {data_dir, filename:join(?config(dir, Config), "shared")}].

%% Writes into a file and reads it again.
use(Name) ->
    {ok, F, _} = emmap:open(Name, 0, 100, [create, write]),
    ok = emmap:pwrite(F, 0, <<"used">>),
    {ok, <<"used">>} = emmap:pread(F, 0, 4),
    ok = emmap:close(F).

os_pid() ->
    #{os_pid := Pid} = emmap:info(),
    Pid.

restart() ->
    Pid = os_pid(),
    signal("KILL", Pid),
    ok = until(fun() -> not is_running(Pid) end).

%% The result once the daemon is there again.
eventually(Fun) ->
    eventually(Fun, erlang:monotonic_time(millisecond) + ?DEADLINE).

eventually(Fun, End) ->
    Result = try Fun() catch error:Reason -> {error, Reason} end,
    case Result of
        {error, {Gone, _}} when Gone =:= nodedown; Gone =:= not_connected ->
            erlang:monotonic_time(millisecond) < End orelse error({deadline, Result}),
            eventually(Fun, End);
        _ ->
            Result
    end.

raised(Fun) ->
    try Fun() of
        Result -> error({returned, Result})
    catch
        error:Reason -> Reason
    end.

exited(Fun) ->
    try Fun() of
        Result -> error({returned, Result})
    catch
        exit:Reason -> Reason
    end.

times(0, _Fun) -> ok;
times(N, Fun) -> Fun(), times(N - 1, Fun).

signal(Name, Pid) when is_integer(Pid) -> signal(Name, integer_to_list(Pid));
signal(Name, Pid) -> [] = os:cmd(["kill -", Name, " ", Pid]), ok.

%% A process that waits to be reaped does not run.
is_running(Pid) ->
    case file:read_file(["/proc/", integer_to_list(Pid), "/stat"]) of
        {ok, Stat} -> nomatch =:= re:run(Stat, "\\) Z ");
        {error, _} -> false
    end.

ended(Pid) ->
    signal("TERM", Pid),
    until(fun() -> not is_running(Pid) end).
