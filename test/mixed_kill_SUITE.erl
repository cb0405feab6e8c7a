%% A daemon that is killed again and again while two nodes work on objects of each kind:
%% nothing acknowledged is lost, nothing is corrupt. EMMAP_KILLS says how often (50).
-module(mixed_kill_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_queue_face, [call/2]).

suite() ->
    [{timetrap, {seconds, 120 + 5 * kills()}}].

all() ->
    [nothing_acknowledged_is_lost].

kills() ->
    list_to_integer(os:getenv("EMMAP_KILLS", "50")).

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

nothing_acknowledged_is_lost(Config) ->
    Daemon = #{node := D} = emmap_test:daemon(Config),
    Application = [{daemon, external}, {node, D}, {connect_timeout, 200}],
    Functions = emmap_test:node(Config, #{application => Application}),
    Plain = emmap_test:node(Config),
    ok = on(Functions, fun emmap_load:open/0),
    Base = found(Plain, Daemon),
    {Last, _, Ran} = lists:foldl(fun(Round, {Now, Before, Kinds}) ->
        {Next, After, Events} = kill(Round, Now, Functions, Plain, Before),
        {Next, After, lists:usort([Kind || {ran, Kind} <- Events] ++ Kinds)}
    end, {Daemon, Base, []}, lists:seq(1, kills())),
    _ = emmap_test:stop_daemon(Last),
    [] = [Kind || Kind <- emmap_load:kinds(), kills() >= 20, not lists:member(Kind, Ran)],
    ok.

%% One life of the daemon.
kill(Round, Daemon = #{node := D}, Functions, Plain, Base) ->
    Target = rand:uniform(400),
    Before = pushed(Plain, D),
    Workers = emmap_load:start(Functions, Plain, D, Round),
    ok = until(fun() -> pushed(Plain, D) >= Before + Target end),
    At = os:perf_counter(nanosecond),
    ok = emmap_test:kill_daemon(Daemon),
    Events = emmap_load:events(Workers),
    [] = [Loss || {lost, _, Time} = Loss <- Events, Time < At],
    Next = emmap_test:restart_daemon(Daemon),
    ok = until(fun() -> on(Plain, fun() -> (catch call(D, ping)) =:= pong end) end),
    Found = found(Plain, Next),
    ct:pal("kill ~b: ~s", [Round, emmap_load:summary(Events)]),
    ok = emmap_load_model:check(kill, Base, Events, Found),
    {Next, on(Plain, fun() -> emmap_load:shortened(D, Found) end), Events}.

found(Plain, #{node := D, data_dir := Dir}) ->
    on(Plain, fun() -> emmap_load:found(D, Dir) end).

pushed(Plain, D) ->
    on(Plain, fun() -> emmap_load:pushed(D) end).
