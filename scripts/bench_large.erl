%% What is large: long traffic, a long backlog, a big file; and how long an item is without an owner.
-module(bench_large).

-export([main/1]).

-define(ITEM, binary:copy(<<3>>, 100)).

%% Millions: pairs of the traffic, and items of the backlog. As many GiB divided by a thousandth of
%% that is the big file.
main(Millions) ->
    logger:set_primary_config(level, error),
    {ok, _} = application:ensure_all_started(emmap),
    traffic(Millions * 1000000),
    backlog(Millions * 1000000),
    reopening("long"),
    big(Millions),
    lost_consumers(),
    application:stop(emmap),
    halt(0).

%% The file that so many pairs leave behind, beside one leased and one buried item.
traffic(N) ->
    {ok, Q} = emmap_queue:open("traffic", 0, []),
    ok = emmap_queue:push_many(Q, lists:duplicate(12, ?ITEM)),
    {ok, [{Buried, 1, _}, {_Leased, 1, _}]} = emmap_queue:take_many(Q, 2),
    ok = emmap_queue:bury(Q, Buried),
    Requests = lists:append(lists:duplicate(100, [{push, ?ITEM}, {pop_wait, 0}])),
    {Micros, ok} = timer:tc(fun() -> pairs(Q, N div 100, Requests) end),
    #{items := 12, leased := 1, buried := 1, file_size := Size} = emmap_queue:info(Q),
    tell("file after ~b pairs at a backlog of 10, one item leased, one buried: ~.1f MiB (~b pairs/s)",
         [N, Size / 1048576, N * 1000000 div Micros]),
    ok = emmap_queue:erase(Q),
    ok = emmap_queue:close(Q).

pairs(_, 0, _) -> ok;
pairs(Q, N, Requests) -> {ok, _} = emmap:batch(Q, Requests), pairs(Q, N - 1, Requests).

%% What a push and a pop cost behind few and behind many items; in turn.
backlog(N) ->
    [Short, Long] = [begin
                         {ok, Q} = emmap_queue:open(Name, 0, []),
                         ok = fill(Q, Items),
                         Q
                     end || {Name, Items} <- [{"short", 100}, {"long", N}]],
    Rounds = [{cost(Short), cost(Long)} || _ <- lists:seq(1, 15)],
    ShortCost = median([S || {S, _} <- Rounds]),
    LongCost = median([L || {_, L} <- Rounds]),
    tell("push + pop at a backlog of 100: ~.1f us, of ~b: ~.1f us, ratio ~.2f",
         [ShortCost, N, LongCost, median([L / S || {S, L} <- Rounds])]),
    ok = emmap_queue:close(Short),
    ok = emmap_queue:close(Long).

fill(_, N) when N =< 0 -> ok;
fill(Q, N) -> ok = emmap_queue:push_many(Q, lists:duplicate(min(N, 1000), ?ITEM)), fill(Q, N - 1000).

cost(Q) ->
    Pairs = 5000,
    {Micros, _} = timer:tc(fun() ->
        [begin ok = emmap_queue:push(Q, ?ITEM), _ = emmap_queue:pop(Q) end || _ <- lists:seq(1, Pairs)]
    end),
    Micros / Pairs.

%% As many GiB, by items of 1 MiB.
big(GiB) ->
    {ok, Q} = emmap_queue:open("big", 0, []),
    Item = rand:bytes(1 bsl 20),
    [ok = emmap_queue:push(Q, Item) || _ <- lists:seq(1, GiB * 1024)],
    ok = emmap_queue:sync(Q),
    reopening("big").

%% After the daemon was killed; the application starts it anew.
reopening(Name) ->
    {ok, #{os_pid := Pid}} = info(),
    _ = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    ok = await_other(Pid),
    {Micros, {ok, Q}} = timer:tc(fun() -> emmap_queue:open(Name, 0, []) end),
    #{items := Items, file_size := Size} = emmap_queue:info(Q),
    tell("reopening of ~b items, ~.1f GiB, after kill -9: ~.3f s",
         [Items, Size / (1 bsl 30), Micros / 1000000]),
    ok = emmap_queue:erase(Q),
    ok = emmap_queue:close(Q).

info() ->
    try {ok, #{}} = {ok, emmap:info()}
    catch _:_ -> none
    end.

await_other(Pid) ->
    case info() of
        {ok, #{os_pid := Other}} when Other =/= Pid -> ok;
        _ -> receive after 10 -> await_other(Pid) end
    end.

%% From the end of a process that has an item leased until another has it.
lost_consumers() ->
    {ok, Q} = emmap_queue:open("lost", 0, []),
    ok = emmap_queue:push(Q, ?ITEM),
    Millis = [lost_consumer(Q) || _ <- lists:seq(1, 200)],
    tell("a killed consumer's item with another: median ~.2f ms, longest ~.2f ms",
         [median(Millis), lists:max(Millis)]).

lost_consumer(Q) ->
    Self = self(),
    Owner = spawn(fun() ->
        {ok, _, _, _} = emmap_queue:take(Q),
        Self ! {self(), has_it},
        receive never -> ok end
    end),
    receive {Owner, has_it} -> ok end,
    Next = spawn_link(fun() ->
        {ok, Id, _, _} = emmap_queue:take(Q, infinity),
        Self ! {self(), erlang:monotonic_time()},
        ok = emmap_queue:release(Q, Id)
    end),
    ok = await_waiting(Q),
    Killed = erlang:monotonic_time(),
    exit(Owner, kill),
    Got = receive {Next, At} -> At end,
    Monitor = monitor(process, Next),
    receive {'DOWN', Monitor, process, Next, _} -> ok end,
    erlang:convert_time_unit(Got - Killed, native, microsecond) / 1000.

await_waiting(Q) ->
    case emmap_queue:info(Q) of
        #{waiting := 1} -> ok;
        _ -> await_waiting(Q)
    end.

median(List) ->
    lists:nth((length(List) + 1) div 2, lists:sort(List)).

tell(Format, Args) ->
    io:format(Format ++ "~n", Args).
