%% A daemon that is killed, or that hangs: nothing acknowledged is lost, nobody waits for nothing.
-module(kill_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_apps, [os_pid/1, guard/1, signal/2, restarted/1, replaced/2, kept/1]).
-import(emmap_apps, [in_background/2, await_calls/2, await/1]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{handles, [],
      [a_handle_opens_again_at_its_offset, a_deleted_file_is_enoent,
       what_ended_with_the_daemon_is_closed, a_closed_handle_stays_closed,
       processes_that_come_at_once_open_a_handle_once, a_batch_opens_its_handles_again,
       a_sent_request_opens_its_handle_again, a_file_that_shrank_is_read_to_its_new_end]},
     {losses, [],
      [what_was_acknowledged_while_many_count_is_kept, what_was_acknowledged_to_writers_is_kept,
       a_request_that_was_sent_ahead_ends_too, lost_casts_are_counted_once,
       pauses_between_restarts_grow, a_stopped_daemon_that_goes_on_in_time_loses_nothing]}].

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

%%% Handles.

a_handle_opens_again_at_its_offset(Config) ->
    #{work := Dir} = N = emmap_apps:node(Config, []),
    Bytes = [binary:copy(<<".">>, 100), "offset", <<0:512>>],
    ok = file:write_file(filename:join(Dir, "file"), Bytes),
    F = on(N, fun() ->
        {ok, F, _} = emmap:open("file", 100, 0, [write]),
        {ok, <<"offset">>} = emmap:pread(F, 0, 6),
        kept(F)
    end),
    _ = restarted(N),
    on(N, fun() ->
        {ok, <<"offset">>} = emmap:pread(F, 0, 6),
        ok = emmap:pwrite(F, 0, <<"OFF">>)
    end),
    {ok, <<_:98/binary, "..OFFset", _/binary>>} = file:read_file(filename:join(Dir, "file")).

a_deleted_file_is_enoent(Config) ->
    #{work := Dir} = N = emmap_apps:node(Config, []),
    {F, C} = on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 4096, [create, write]),
        kept({F, emmap:open_counters("counters")})
    end),
    [ok = file:delete(filename:join(Dir, Name)) || Name <- ["file", "counters"]],
    _ = restarted(N),
    on(N, fun() ->
        {error, enoent} = emmap:pread(F, 0, 1),
        {error, enoent} = emmap:pwrite(F, 0, <<"x">>),
        {error, enoent} = emmap:inc_counter(C, 0)
    end),
    {ok, []} = file:list_dir(Dir),
    %% the handle is not closed: a file that comes back is found
    ok = file:write_file(filename:join(Dir, "file"), "back"),
    on(N, fun() -> {ok, <<"back">>} = emmap:pread(F, 0, 10) end).

what_ended_with_the_daemon_is_closed(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 8, [create, write]),
        ok = emmap:pwrite(F, 0, <<"original">>)
    end),
    Handles = on(N, fun() ->
        {ok, Private, _} = emmap:open("file", 0, 8, [write, private]),
        ok = emmap:pwrite(Private, 0, <<"mine">>),
        {ok, Anonymous, _} = emmap:open("none", 0, 8, [write, anon]),
        {ok, Unlinked, _} = emmap:open("gone", 0, 8, [create, write, auto_unlink]),
        {Counters, _} = emmap:open_counters("gone too", 1, [auto_unlink]),
        kept([Private, Anonymous, Unlinked, Counters])
    end),
    _ = restarted(N),
    on(N, fun() ->
        [{error, closed} = emmap:pread(F, 0, 1) || F <- Handles],
        [{error, closed} = emmap:cast(F, {pwrite, 0, <<"x">>}) || F <- Handles],
        [{error, closed} = emmap:barrier(F) || F <- Handles],
        [ok = emmap:close(F) || F <- Handles],
        {ok, G, _} = emmap:open("file", [read]),
        {ok, <<"original">>} = emmap:pread(G, 0, 8)
    end).

a_closed_handle_stays_closed(Config) ->
    N = emmap_apps:node(Config, []),
    F = on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 8, [create, write]),
        ok = emmap:close(F),
        kept(F)
    end),
    _ = restarted(N),
    on(N, fun() ->
        {error, closed} = emmap:pread(F, 0, 1),
        ok = emmap:close(F),
        [] = emmap:list()
    end).

processes_that_come_at_once_open_a_handle_once(Config) ->
    N = emmap_apps:node(Config, []),
    C = on(N, fun() -> kept(emmap:open_counters("counters")) end),
    [begin
         _ = restarted(N),
         on(N, fun() ->
             Olds = emmap_test:in_parallel([fun() -> emmap:inc_counter(C, 0) end
                                            || _ <- lists:seq(1, 200)]),
             Expected = [{ok, I} || I <- lists:seq(Before, Before + 199)],
             Expected = lists:sort(Olds),
             [#{handles := 1}] = emmap:list()
         end)
     end || Before <- [0, 200, 400]].

a_batch_opens_its_handles_again(Config) ->
    N = emmap_apps:node(Config, []),
    {F, G, C} = on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 8, [create, write]),
        {ok, G, _} = emmap:open("none", 0, 8, [write, anon]),
        kept({F, G, emmap:open_counters("counters")})
    end),
    _ = restarted(N),
    on(N, fun() ->
        {ok, [ok, {error, closed}, {ok, 0}, {ok, <<"x">>}, ok]} =
            emmap:batch([{F, {pwrite, 0, <<"x">>}}, {G, {pread, 0, 1}}, {C, {inc_counter, 0}},
                         {F, {pread, 0, 1}}, sync])
    end).

a_sent_request_opens_its_handle_again(Config) ->
    N = emmap_apps:node(Config, []),
    C = on(N, fun() -> kept(emmap:open_counters("counters")) end),
    _ = restarted(N),
    on(N, fun() ->
        Request = emmap:send_request(C, {inc_counter, 0, 2}),
        {reply, {ok, 0}} = gen_server:receive_response(Request, ?DEADLINE)
    end).

a_file_that_shrank_is_read_to_its_new_end(Config) ->
    #{work := Dir} = N = emmap_apps:node(Config, []),
    F = on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 100000, [create, write]),
        {ok, 100000} = emmap:position(F, eof),
        kept(F)
    end),
    OsPid = os_pid(N),
    ok = signal("KILL", OsPid),
    ok = file:write_file(filename:join(Dir, "file"), "short"),
    _ = replaced(N, OsPid),
    on(N, fun() ->
        {ok, <<"short">>} = emmap:pread(F, 0, 100),
        eof = emmap:read(F, 1),
        eof = emmap:pread(F, 99999, 1)
    end).

%%% Losses.

what_was_acknowledged_while_many_count_is_kept(Config) ->
    N = emmap_apps:node(Config, []),
    OsPid = os_pid(N),
    C = on(N, fun() -> kept(emmap:open_counters("counters")) end),
    Counting = in_background(N, lists:duplicate(16, fun() -> count_until_lost(C, 0) end)),
    ok = until(fun() ->
        {ok, Value} = on(N, fun() -> emmap:read_counter(C, 0) end),
        Value > 5000
    end),
    ok = signal("KILL", OsPid),
    _ = replaced(N, OsPid),
    on(N, fun() -> persistent_term:put(stop_counting, true) end),
    Counts = [Count || {Count, _} <- await(Counting)],
    Acknowledged = lists:sum([A || {A, _} <- Counts]),
    Sent = lists:sum([S || {_, S} <- Counts]),
    true = Sent > Acknowledged, % some were under way
    {ok, Value} = on(N, fun() -> emmap:read_counter(C, 0) end),
    {true, true} = {Acknowledged =< Value, Value =< Sent}.

%% How many increments were acknowledged, and how many sent.
count_until_lost(C, N) ->
    case emmap:inc_counter(C, 0) of
        {ok, _} ->
            case persistent_term:get(stop_counting, false) of
                true -> {N + 1, N + 1};
                false -> count_until_lost(C, N + 1)
            end;
        {error, {nodedown, _}} ->
            {N, N + 1}
    end.

what_was_acknowledged_to_writers_is_kept(Config) ->
    N = emmap_apps:node(Config, []),
    OsPid = os_pid(N),
    F = on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 8 * 4096, [create, write]),
        kept(F)
    end),
    Writers = in_background(N, [fun() -> write_until_lost(F, 4096 * W, 0) end
                                || W <- lists:seq(0, 7)]),
    ok = until(fun() ->
        {ok, <<Last:64, _/binary>>} = on(N, fun() -> emmap:pread(F, 0, 4096) end),
        Last > 200
    end),
    ok = signal("KILL", OsPid),
    _ = replaced(N, OsPid),
    on(N, fun() -> persistent_term:put(stop_counting, true) end),
    Last = [L || {L, _} <- await(Writers)],
    Pages = on(N, fun() ->
        {ok, Pages} = emmap:pread(F, [{4096 * W, 4096} || W <- lists:seq(0, 7)]),
        Pages
    end),
    %% each page holds its writer's last acknowledged text, or the one that was under way
    [true = lists:member(Page, [page(L), page(L + 1)]) || {L, Page} <- lists:zip(Last, Pages)].

write_until_lost(F, At, Last) ->
    case emmap:pwrite(F, At, page(Last + 1)) of
        ok ->
            case persistent_term:get(stop_counting, false) of
                true -> Last + 1;
                false -> write_until_lost(F, At, Last + 1)
            end;
        {error, {nodedown, _}} ->
            Last
    end.

page(I) ->
    binary:copy(<<I:64>>, 512).

a_request_that_was_sent_ahead_ends_too(Config) ->
    N = emmap_apps:node(Config, []),
    OsPid = os_pid(N),
    Daemon = on(N, fun emmap:which_node/0),
    C = on(N, fun() -> kept(emmap:open_counters("counters")) end),
    ok = signal("STOP", OsPid),
    Waiting = in_background(N, [fun() ->
        Request = emmap:send_request(C, {inc_counter, 0}),
        gen_server:receive_response(Request, infinity)
    end]),
    [Pid] = maps:get(pids, Waiting),
    ok = until(fun() -> on(N, fun() -> waits_in(Pid, gen) end) end),
    ok = signal("KILL", OsPid),
    [{{error, {Reason, _}}, _}] = await(Waiting),
    {shutdown, {nodedown, Daemon}} = Reason.

lost_casts_are_counted_once(Config) ->
    N = emmap_apps:node(Config, []),
    OsPid = os_pid(N),
    {C, D} = on(N, fun() ->
        C = emmap:open_counters("counters"),
        [ok = emmap:cast(C, {inc_counter, 0}) || _ <- lists:seq(1, 5)],
        ok = emmap:barrier(C),
        kept({C, emmap:open_counters("others")})
    end),
    ok = signal("STOP", OsPid),
    on(N, fun() -> [ok = emmap:cast(C, {inc_counter, 0}) || _ <- lists:seq(1, 10)] end),
    ok = signal("KILL", OsPid),
    _ = replaced(N, OsPid),
    on(N, fun() ->
        [ok = emmap:cast(C, {inc_counter, 0}) || _ <- lists:seq(1, 3)],
        {error, {casts, #{lost := 10, failed := 0, first := none}}} = emmap:barrier(C),
        ok = emmap:barrier(C),
        ok = emmap:barrier(D),
        {ok, 8} = emmap:read_counter(C, 0)
    end).

%% The daemon's program is a link that leads to one that fails, and back.
pauses_between_restarts_grow(Config) ->
    Link = filename:join(?config(dir, Config), emmap_test:unique("program")),
    ok = file:make_symlink(emmap_test:daemon_path(), Link),
    N = emmap_apps:node(Config, [{daemon_path, Link}, {restart_backoff, {50, 200}},
                                 {connect_timeout, 1000}]),
    F = on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 8, [create, write]),
        kept(F)
    end),
    Daemon = on(N, fun emmap:which_node/0),
    ok = relink(os:find_executable("false"), Link),
    ok = signal("KILL", os_pid(N)),
    ok = until(fun() -> length(ends(N)) >= 6 end),
    Times = [T div 1000 || T <- lists:sublist(ends(N), 6)],
    Pauses = lists:zipwith(fun(A, B) -> B - A end, lists:droplast(Times), tl(Times)),
    [true = Pause >= Least || {Pause, Least} <- lists:zip(Pauses, [50, 100, 200, 200, 200])],
    {error, {not_connected, Daemon}} = on(N, fun() -> emmap:pread(F, 0, 1) end),
    ok = relink(emmap_test:daemon_path(), Link),
    ok = until(fun() -> {ok, <<0>>} =:= on(N, fun() -> emmap:pread(F, 0, 1) end) end),
    ok = guard(os_pid(N)).

relink(Target, Link) ->
    ok = file:make_symlink(Target, Link ++ ".new"),
    file:rename(Link ++ ".new", Link).

%% When the log told that the daemon ended, in µs.
ends(N) ->
    on(N, fun() ->
        [Time || #{meta := #{time := Time}} = Event <- emmap_events:seen(),
                 [{warning, Text}] <- [emmap_events:texts([Event])],
                 binary:match(Text, <<"is started again">>) =/= nomatch]
    end).

a_stopped_daemon_that_goes_on_in_time_loses_nothing(Config) ->
    N = emmap_apps:node(Config, [{hang_timeout, 30000}]),
    OsPid = os_pid(N),
    C = on(N, fun() -> kept(emmap:open_counters("counters")) end),
    ok = signal("STOP", OsPid),
    Waiting = in_background(N, lists:duplicate(8, fun() -> emmap:inc_counter(C, 0) end)),
    ok = await_calls(N, Waiting),
    ok = signal("CONT", OsPid),
    Expected = [{ok, I} || I <- lists:seq(0, 7)],
    Expected = lists:sort([Result || {Result, _} <- await(Waiting)]),
    OsPid = os_pid(N).

%%% Internal.

waits_in(Pid, Module) ->
    [{status, Status}, {current_function, {M, _, _}}] =
        process_info(Pid, [status, current_function]),
    {waiting, Module} =:= {Status, M}.
