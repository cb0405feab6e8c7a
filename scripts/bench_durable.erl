%% Durable objects beside a Redis that syncs always, a disk_log that syncs each entry, and what the
%% disk does alone: scripts/bench durable. A figure is operations a second, the median of the
%% rounds; the last column says how many syncs of the journal a thousand operations took.
-module(bench_durable).

-export([main/3]).

-import(bench, [counted/3, rotate/2]).

-define(PROCESSES, [1, 8, 64, 256]).

main(Rounds, Ms, RedisPort) ->
    logger:set_primary_config(level, error),
    {ok, _} = application:ensure_all_started(emmap),
    {ok, Redis} = eredis:start_link("127.0.0.1", RedisPort),
    {ok, Log} = disk_log:open([{name, log}, {file, "log"}]),
    Works = works(Redis, Log),
    Rows = [{Work, Procs, Contenders} || {Work, Contenders} <- Works, Procs <- ?PROCESSES],
    Figures = lists:append([round(N, Rounds, Ms, Rows) || N <- lists:seq(1, Rounds)]),
    print(Rows, Figures),
    application:stop(emmap),
    halt(0).

works(Redis, Log) ->
    Counters = emmap:open_counters("durable_hits", 1, [{durability, sync}]),
    {ok, Queue} = emmap_queue:open("durable_queue", 0, [{durability, sync}]),
    Item = binary:copy(<<3>>, 100),
    Entry = fun() -> ok = disk_log:log(Log, Item), ok = disk_log:sync(Log) end,
    [{"increment",
      [{emmap, fun() -> {ok, _} = emmap:inc_counter(Counters, 0) end},
       {redis, fun() -> {ok, _} = eredis:q(Redis, ["INCR", "hits"]) end},
       {disk_log, Entry}]},
     {"push + pop of 100 B",
      [{emmap, fun() -> ok = emmap_queue:push(Queue, Item), _ = emmap_queue:pop(Queue) end},
       {redis, fun() -> {ok, _} = eredis:q(Redis, ["LPUSH", "queue", Item]),
                        {ok, _} = eredis:q(Redis, ["RPOP", "queue"]) end},
       {disk_log, fun() -> Entry(), Entry() end}]}].

%% Each contender for some time; the disk alone, by one who writes and syncs a page again and again.
round(N, Rounds, Ms, Rows) ->
    io:format(standard_error, "round ~b of ~b~n", [N, Rounds]),
    [{disk, 1, disk, disk_alone(Ms), none}]
        ++ [measured(Work, Procs, Name, Ms, Fun)
            || {Work, Procs, Contenders} <- Rows, {Name, Fun} <- rotate(N, Contenders)].

measured(Work, Procs, Name, Ms, Fun) ->
    _ = counted(Procs, Ms div 10, Fun),
    #{journal := #{syncs := Before}} = emmap:info(),
    {Micros, Count} = timer:tc(fun() -> counted(Procs, Ms, Fun) end),
    #{journal := #{syncs := After}} = emmap:info(),
    Syncs = case Name of
                emmap -> (After - Before) * 1000 / Count;
                _ -> none
            end,
    {Work, Procs, Name, Count * 1000000 / Micros, Syncs}.

disk_alone(Ms) ->
    Size = 1 bsl 20,
    {ok, File} = file:open("alone", [raw, read, write, binary]),
    ok = file:pwrite(File, 0, binary:copy(<<0>>, Size)),
    ok = file:sync(File),
    Page = binary:copy(<<7>>, 4096),
    Write = fun Write(End, N) ->
                ok = file:pwrite(File, N * 4096 rem Size, Page),
                ok = file:datasync(File),
                case erlang:monotonic_time(millisecond) < End of
                    true -> Write(End, N + 1);
                    false -> N + 1
                end
            end,
    {Micros, Count} = timer:tc(fun() -> Write(erlang:monotonic_time(millisecond) + Ms, 0) end),
    ok = file:close(File),
    Count * 1000000 / Micros.

%% Telling. / Redis: how much more emmap does; / 1: than itself with one process.

print(Rows, Figures) ->
    io:format("The disk alone, one page and one fdatasync at a time: ~b a second~n~n",
              [round(rate(disk, 1, disk, Figures))]),
    io:format("~-22s ~5s ~10s ~13s ~10s ~9s ~9s ~7s~n",
              ["a second", "procs", "emmap", "Redis always", "disk_log", "/ Redis", "/ 1 proc.",
               "syncs/k"]),
    [print_row(Work, Procs, Figures) || {Work, Procs, _} <- Rows].

print_row(Work, Procs, Figures) ->
    [Emmap, Redis, Log] = [rate(Work, Procs, Name, Figures) || Name <- [emmap, redis, disk_log]],
    io:format("~-22s ~5b ~10b ~13b ~10b ~9.2f ~9.1f ~7.1f~n",
              [Work, Procs, round(Emmap), round(Redis), round(Log), Emmap / Redis,
               Emmap / rate(Work, 1, emmap, Figures),
               median([S || {W, P, emmap, _, S} <- Figures, W =:= Work, P =:= Procs])]).

rate(Work, Procs, Name, Figures) ->
    median([Rate || {W, P, N, Rate, _} <- Figures, W =:= Work, P =:= Procs, N =:= Name]).

median(Values) ->
    lists:nth((length(Values) + 1) div 2, lists:sort(Values)).
