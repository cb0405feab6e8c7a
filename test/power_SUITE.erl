%% Power that is cut at any moment under load, for real: file systems on loop devices are shut down
%% without their log being written, mounted again, and all files opened again. EMMAP_CUTS says how
%% often on each kind of file system (6). Needs root and loop devices.
-module(power_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_queue_face, [call/2]).

suite() ->
    [{timetrap, {seconds, 60 + 15 * cuts()}}].

all() ->
    [nothing_durable_is_lost_on_ext4, nothing_durable_is_lost_on_xfs].

cuts() ->
    list_to_integer(os:getenv("EMMAP_CUTS", "6")).

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

nothing_durable_is_lost_on_ext4(Config) ->
    on_disk(ext4, Config).

nothing_durable_is_lost_on_xfs(Config) ->
    on_disk(xfs, Config).

on_disk(Kind, Config) ->
    Disk = emmap_disk:start(Config, Kind),
    try cut_often(Config, Disk) after emmap_disk:stop(Disk) end.

cut_often(Config, Disk) ->
    Daemon = #{node := D} = emmap_test:daemon(Config, #{data_dir => data_dir(Disk)}),
    Application = [{daemon, external}, {node, D}, {connect_timeout, 200}],
    Functions = emmap_test:node(Config, #{application => Application}),
    Plain = emmap_test:node(Config),
    ok = on(Functions, fun emmap_load:open/0),
    Base = on(Plain, fun() -> emmap_load:found(D, data_dir(Disk)) end),
    {Last, _, Ran, Lost} = lists:foldl(fun(Round, {Now, Before, Kinds, Sum}) ->
        {Next, After, Events, New} = cut(Round, Disk, Now, Functions, Plain, Before),
        {Next, After, lists:usort([Kind || {ran, Kind} <- Events] ++ Kinds), Sum + New}
    end, {Daemon, Base, [], 0}, lists:seq(1, cuts())),
    _ = emmap_test:stop_daemon(Last),
    [] = [Kind || Kind <- emmap_load:kinds(), cuts() >= 6, not lists:member(Kind, Ran)],
    true = Lost > 0. % else nothing was cut

data_dir(Disk) ->
    filename:join(emmap_disk:directory(Disk), "data").

%% One life of the file system.
cut(Round, Disk, Daemon = #{node := D}, Functions, Plain, Base) ->
    Target = rand:uniform(4000),
    Before = pushed(Plain, D),
    Cutter = emmap_disk:arm(Disk),
    Workers = emmap_load:start(Functions, Plain, D, Round),
    ok = until(fun() -> pushed(Plain, D) >= Before + Target end),
    At = os:perf_counter(nanosecond),
    ok = emmap_disk:cut(Cutter),
    ok = emmap_test:kill_daemon(Daemon),
    Events = emmap_load:events(Workers),
    [] = [Loss || {lost, _, Time} = Loss <- Events, Time < At],
    ok = emmap_disk:mount_again(Disk),
    [ok = cut_again(Disk, Daemon, Plain) || Round rem 3 =:= 0, _ <- lists:seq(1, rand:uniform(3))],
    Next = emmap_test:restart_daemon(Daemon),
    ok = until(fun() -> on(Plain, fun() -> (catch call(D, ping)) =:= pong end) end),
    Found = on(Plain, fun() -> emmap_load:found(D, data_dir(Disk)) end),
    ok = emmap_load_model:check(power, Base, Events, Found),
    Lost = emmap_load_model:lost(Base, Events, Found),
    ct:pal("cut ~b: ~s; ~b not durable and lost", [Round, emmap_load:summary(Events), Lost]),
    {Next, on(Plain, fun() -> emmap_load:shortened(D, Found) end), Events, Lost}.

%% The same while the daemon recovers what it finds, at its start or when all is opened.
cut_again(Disk, #{node := D} = Daemon, Plain) ->
    Cutter = emmap_disk:arm(Disk),
    Next = emmap_test:launch_again(Daemon),
    Opening = case rand:uniform(2) of
        1 ->
            none;
        2 ->
            _ = emmap_test:await_ready(Next),
            spawn_monitor(fun() -> on(Plain, fun() -> catch emmap_load:ids(D) end) end)
    end,
    ok = emmap_test:spin(os:perf_counter(nanosecond) + rand:uniform(30000000)),
    ok = emmap_disk:cut(Cutter),
    ok = ended(Next),
    ok = opened(Opening),
    emmap_disk:mount_again(Disk).

%% It may have ended by itself just before, with nothing to read.
ended(#{program := Program}) ->
    _ = catch emmap_program:signal(Program, "KILL"),
    _ = emmap_program:await_exit(Program),
    emmap_program:stop(Program).

opened(none) -> ok;
opened({_, Monitor}) -> receive {'DOWN', Monitor, process, _, _} -> ok end.

pushed(Plain, D) ->
    on(Plain, fun() -> emmap_load:pushed(D) end).
