%% Random operations of four processes on two nodes on a block store, new openings and ends of the
%% daemon among them, against a map: EMMAP_RUNS says how many runs (300). And very many blocks, with
%% four processes at work at once: EMMAP_OPS says how many operations (100000).
-module(block_prop_SUITE).

-compile([export_all, nowarn_export_all]).

-import(proper_types, [frequency/1, list/1, oneof/1, range/2, resize/2]).
-import(emmap_test, [on/2]).

-define(CLIENTS, 4).
-define(FAR, (1 bsl 64 - 1)).

suite() ->
    [{timetrap, {seconds, 120 + runs()}}].

all() ->
    [a_store_is_what_its_model_is, a_large_store_is_what_its_model_is].

runs() ->
    list_to_integer(os:getenv("EMMAP_RUNS", "300")).

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

a_store_is_what_its_model_is(Config) ->
    Daemon = #{node := D} = emmap_test:daemon(Config),
    Application = [{daemon, external}, {node, D}, {connect_timeout, 200}],
    Nodes = [emmap_test:node(Config, #{application => Application}) || _ <- [a, b]],
    put(stage, #{daemon => Daemon, nodes => Nodes, run => 0}),
    Output = fun(Format, Args) -> ct:log(Format, Args) end,
    case proper:quickcheck(prop_store(), [{numtests, runs()}, {on_output, Output}, long_result]) of
        true -> ok;
        Counterexample -> ct:fail("~p", [Counterexample])
    end.

prop_store() ->
    proper:forall(setting(), fun(Setting) ->
        proper:forall(resize(60, list(step())), fun(Steps) ->
            Result = guarded(fun() -> run(Setting, Steps) end),
            proper:whenfail(fun() -> ct:log("~p~n~p", [Setting, Result]) end,
                            fun() -> proper:aggregate([name(Step) || Step <- Steps], Result =:= ok) end)
        end)
    end).

guarded(Fun) ->
    try Fun()
    catch Class:Reason:Stack -> {Class, Reason, Stack}
    end.

name({_, Op}) when is_tuple(Op) -> element(1, Op);
name({_, Op}) -> Op;
name(Step) -> Step.

%%% What can be done.

%% Bytes of a block, and how many slots there are at most.
setting() ->
    {oneof([1, 7, 8, 100, 4096, 5000]), oneof([infinity, infinity, 1, 10, 64, 65]),
     oneof([default, default, sync])}.

step() ->
    frequency([{40, {range(1, ?CLIENTS), op()}}, {2, reopen}, {1, kill}]).

op() ->
    frequency([{10, store}, {4, {store_many, range(0, 70)}},
               {6, {read, address()}}, {3, {read_many, resize(20, list(address()))}},
               {8, {free, address()}}, {4, {free_many, resize(20, list(address()))}},
               {2, {list, address(), range(0, 100)}}, {1, list_all}, {1, repair}]).

address() ->
    frequency([{20, range(0, 20)}, {10, range(0, 140)}, {1, ?FAR}, {1, range(0, ?FAR)}]).

%%% Very many: each process has blocks of its own, a table has all that are there. What a process
%%% frees it takes out before, so that an address which is given out twice is found.

-define(MANY, 100000).

a_large_store_is_what_its_model_is(Config) ->
    Daemon = #{node := D} = emmap_test:daemon(Config),
    Ops = list_to_integer(os:getenv("EMMAP_OPS", "100000")) div ?CLIENTS,
    Node = emmap_test:node(Config, #{application => [{daemon, external}, {node, D}]}),
    ok = on(Node, fun() ->
        {ok, F, _} = emmap:open("many", 0, 0, [create, write]),
        ok = emmap:init_block_storage(F, 64),
        Table = ets:new(blocks, [public, {write_concurrency, true}]),
        Work = fun(Me) -> work(F, Table, Me, Ops, [], 0) end,
        Workers = [spawn_monitor(fun() -> Work(Me) end) || Me <- lists:seq(1, ?CLIENTS)],
        [receive {'DOWN', Ref, _, _, Reason} -> normal = Reason end || {_, Ref} <- Workers],
        true = emmap:read_blocks(F) =:= lists:reverse(lists:sort(ets:tab2list(Table))),
        #{blocks := Blocks} = emmap:info(F),
        Blocks = ets:info(Table, size),
        ok
    end),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

%% Up to its share of many, then as much is freed as stored.
work(_, _, _, Ops, _, _) when Ops =< 0 -> ok;
work(F, Table, Me, Ops, Mine, N) ->
    Some = rand:uniform(100),
    Least = ?MANY div ?CLIENTS,
    case rand:uniform(3) of
        1 ->
            Blocks = [block(Me bsl 28 + Ops * 128 + I, 64) || I <- lists:seq(1, Some)],
            As = emmap:store_blocks(F, Blocks),
            true = lists:all(fun(One) -> ets:insert_new(Table, One) end, lists:zip(As, Blocks)),
            work(F, Table, Me, Ops - Some, As ++ Mine, N + Some);
        2 ->
            As = lists:sublist(Mine, min(N, Some)),
            Found = emmap:read_blocks(F, As),
            Found = [ets:lookup_element(Table, A, 2) || A <- As],
            work(F, Table, Me, Ops - Some, lists:nthtail(length(As), Mine) ++ As, N);
        3 when N < Least, Ops > Least ->
            work(F, Table, Me, Ops, Mine, N);
        3 ->
            {As, Rest} = lists:split(min(N, Some), Mine),
            [true = ets:delete(Table, A) || A <- As],
            true = [true || _ <- As] =:= emmap:free_blocks(F, As),
            work(F, Table, Me, Ops - Some, Rest, N - length(As))
    end.

%%% Doing it.

run({Size, Most, Durability}, Steps) ->
    #{run := Run, nodes := [A, B]} = Stage = get(stage),
    File = lists:concat(["blocks", Run]),
    put(stage, Stage#{run := Run + 1}),
    Open = fun() -> open(File, Size, Most, Durability) end,
    Clients = [client(Node, Open) || Node <- [A, B, A, B]],
    {_, Model} = lists:foldl(fun(Step, {N, Model}) ->
        {N + 100, step(Step, N, Size, Most, list_to_tuple(Clients), Model)}
    end, {0, #{}}, Steps),
    All = ask(hd(Clients), list_all),
    All = expected_all(Model),
    lists:foreach(fun stop/1, Clients).

open(File, Size, Most, Durability) ->
    Options = [create, write, {durability, Durability}]
        ++ [fixed_size || Most =/= infinity],
    Length = case Most of
        infinity -> 0;
        _ -> 2 * 4096 + Most * (8 + (Size + 7) div 8 * 8)
    end,
    {ok, F, _} = again(fun() -> emmap:open(File, 0, Length, Options) end),
    ok = again(fun() -> emmap:init_block_storage(F, Size) end),
    F.

%% N numbers what is stored.
step(reopen, _, _, _, Clients, Model) ->
    [ok = ask(Client, reopen) || Client <- tuple_to_list(Clients)],
    Model;
step(kill, _, _, _, _, Model) ->
    #{daemon := Daemon} = Stage = get(stage),
    ok = emmap_test:kill_daemon(Daemon),
    put(stage, Stage#{daemon := emmap_test:restart_daemon(Daemon)}),
    Model;
step({C, Op}, N, Size, Most, Clients, Model) ->
    Blocks = [block(N + I, Size) || I <- lists:seq(1, count(Op))],
    {Expected, Then} = expected(Op, Blocks, Most, Model),
    Answer = ask(element(C, Clients), {Op, Blocks}),
    {Expected, Expected, _} = {Answer, Expected, Op},
    Then.

count(store) -> 1;
count({store_many, N}) -> N;
count(_) -> 0.

block(N, Size) ->
    binary:part(binary:copy(<<N:32, (erlang:phash2(N)):32>>, Size div 8 + 1), 0, Size).

%%% The model: a map, and the lowest addresses that are free.

expected(store, [Block], Most, Model) ->
    case lowest(1, Most, Model) of
        [A] -> {A, Model#{A => Block}};
        full -> {{error, full}, Model}
    end;
expected({store_many, N}, Blocks, Most, Model) ->
    case lowest(N, Most, Model) of
        full -> {{error, full}, Model};
        As -> {As, maps:merge(Model, maps:from_list(lists:zip(As, Blocks)))}
    end;
expected({read, A}, _, _, Model) ->
    {maps:get(A, Model, eof), Model};
expected({read_many, As}, _, _, Model) ->
    {[maps:get(A, Model, eof) || A <- As], Model};
expected({free, A}, _, _, Model) ->
    {is_map_key(A, Model), maps:remove(A, Model)};
expected({free_many, As}, _, _, Model) ->
    lists:mapfoldl(fun(A, Now) -> {is_map_key(A, Now), maps:remove(A, Now)} end, Model, As);
expected({list, Start, Count}, _, _, Model) ->
    {lists:sublist([Block || {A, _} = Block <- lists:sort(maps:to_list(Model)), A >= Start], Count), Model};
expected(list_all, _, _, Model) ->
    {expected_all(Model), Model};
expected(repair, _, _, Model) ->
    {#{blocks => maps:size(Model), lost => [], freed => 0, next => eof}, Model}.

expected_all(Model) ->
    lists:reverse(lists:sort(maps:to_list(Model))).

lowest(N, Most, Model) when is_integer(Most), N > Most - map_size(Model) -> full;
lowest(N, _, Model) -> lowest(N, 0, Model, []).

lowest(0, _, _, Found) -> lists:reverse(Found);
lowest(N, A, Model, Found) when is_map_key(A, Model) -> lowest(N, A + 1, Model, Found);
lowest(N, A, Model, Found) -> lowest(N - 1, A + 1, Model, [A | Found]).

%%% A client: a process on a node, with a handle of its own.

client(#{peer := Peer} = Node, Open) ->
    {Peer, on(Node, fun() -> begun(Open) end), Node}.

begun(Open) ->
    Self = self(),
    Pid = spawn(fun() ->
        F = Open(),
        Self ! {self(), open},
        serve(Open, F)
    end),
    receive {Pid, open} -> Pid end.

serve(Open, F) ->
    receive
        {From, Ref, reopen} ->
            ok = closed(F),
            New = Open(),
            From ! {Ref, ok},
            serve(Open, New);
        {From, Ref, stop} ->
            From ! {Ref, closed(F)};
        {From, Ref, Request} ->
            From ! {Ref, again(fun() -> done(F, Request) end)},
            serve(Open, F)
    end.

ask({_, Pid, Node}, Request) ->
    on(Node, fun() ->
        Ref = monitor(process, Pid),
        Pid ! {self(), Ref, Request},
        receive
            {Ref, Answer} -> demonitor(Ref, [flush]), Answer;
            {'DOWN', Ref, process, _, Reason} -> {died, Reason}
        end
    end).

stop(Client) ->
    ok = ask(Client, stop).

closed(F) ->
    case emmap:close(F) of
        {error, {nodedown, _}} -> ok;
        Answer -> Answer
    end.

%% A daemon that was killed is there again soon. Nothing was under way when it was, so what went to
%% it without an answer has not been done.
again(Fun) ->
    try Fun() of
        {error, {Lost, _}} when Lost =:= not_connected; Lost =:= nodedown -> again(Fun);
        Answer -> Answer
    catch
        error:{Lost, _} when Lost =:= not_connected; Lost =:= nodedown -> again(Fun)
    end.

done(F, {store, [Block]}) -> emmap:store_block(F, Block);
done(F, {{store_many, _}, Blocks}) -> emmap:store_blocks(F, Blocks);
done(F, {{read, A}, _}) -> emmap:read_block(F, A);
done(F, {{read_many, As}, _}) -> emmap:read_blocks(F, As);
done(F, {{free, A}, _}) -> emmap:free_block(F, A);
done(F, {{free_many, As}, _}) -> emmap:free_blocks(F, As);
done(F, {{list, Start, Count}, _}) -> listed(F, Start, Count);
done(F, {list_all, _}) -> emmap:read_blocks(F);
done(F, list_all) -> emmap:read_blocks(F);
done(F, {repair, _}) ->
    case emmap:repair_block_storage(F, []) of
        {ok, Found} -> Found;
        Error -> Error
    end.

%% A piece may be shorter than asked for.
listed(F, Start, Count) ->
    case emmap:read_blocks(F, Start, Count) of
        {Blocks, eof} -> Blocks;
        {Blocks, _} when length(Blocks) =:= Count -> Blocks;
        {Blocks, Next} when is_integer(Next) -> listed_on(F, Next, Count, Blocks);
        Error -> Error
    end.

listed_on(F, Next, Count, Blocks) ->
    case listed(F, Next, Count - length(Blocks)) of
        More when is_list(More) -> Blocks ++ More;
        Error -> Error
    end.
