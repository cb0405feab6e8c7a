%% Mixed load on queues, counters, regions and block stores, default and durable ones. A worker is a process on a
%% client node; what it was told comes back to the test as events, for emmap_load_model to compare
%% with what is found when the daemon has been killed or power was cut.
%%
%% An object is {Class, Kind}, the class being its durability. Events: what was acknowledged, with
%% its time, which is `synced' where the answer said that it is on the disk; what may have been
%% done; {synced, Object, Since}: what was acknowledged before that is; {lost, Reason, Time}.
-module(emmap_load).

-export([classes/0, open/0, start/4, pushed/1, events/1, kinds/0, summary/1]).
-export([ids/1, found/2, shortened/2]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_queue_face, [call/2]).

-define(DEADLINE, 30000).
-define(COUNTERS, 8).
-define(PAGE, 4096).
-define(WORDS, 511). % of a page; the last one is another place
-define(BIG, (1 bsl 20 + 16 * ?PAGE)). % more than the journal takes as one change
-define(BIG_AT, (1 bsl 20)).
-define(WORKERS, 4).
-define(REGION, (6 bsl 20)).
-define(SMALL, (1 bsl 16)).
-define(LONG, 2000). % items of a queue, blocks of a store; half of them stay
-define(BLOCK, 200).
-define(NEW, "new.").

classes() ->
    [default, sync].

%% Handles of this node, for all lives of the daemon.
open() ->
    persistent_term:put(?MODULE, maps:from_list([{O, handle(O, name(O))} || O <- objects()])).

%% The workers of a round, half of them on a node with handles, half on one without the application.
%% Each works until the daemon or a file fails. All of them can: who has to wait for a connection
%% first may not get it any more.
start(Functions, Plain, D, Round) ->
    ok = until(fun() -> on(Functions, fun() -> (catch emmap:ping()) =:= pong end) end),
    Ids = on(Plain, fun() -> ids(D) end),
    [in_background(Node, Face, {Round, I})
     || {I, Node, Face} <- [{1, Functions, functions}, {2, Functions, functions},
                            {3, Plain, {plain, D, Ids}}, {4, Plain, {plain, D, Ids}}]].

%% How much has been done: the items that were ever pushed.
pushed(D) ->
    case call(D, {info, name({default, queue})}) of
        #{pushed := N} -> N;
        {error, {limit, max_pending}} -> pushed(D) % others of this node are at work
    end.

%% All that they were told, after their end.
events(Workers) ->
    lists:append([receive {Worker, Events} -> Events after ?DEADLINE -> error(deadline) end
                  || Worker <- Workers]).

%% What workers do.
kinds() ->
    lists:usort(kinds(pushes) ++ kinds(pops)).

summary(Events) ->
    Count = fun(Tag) -> length([E || E <- Events, element(1, E) =:= Tag]) end,
    io_lib:format("~b pushed, ~b done, ~b counted, ~b written, ~b synced, ~b made",
                  lists:map(Count, [pushed, done, added, wrote, synced, created])).

%%% The objects by their two faces.

objects() ->
    [{Class, Kind} || Class <- classes(), Kind <- [queue, counters, region, blocks]].

name({Class, Kind}) ->
    lists:concat([Class, ".", Kind]).

dead_name(Class) ->
    name({Class, dead}).

options({Class, queue}) ->
    [{max_attempts, 3}, {dead_letter, dead_name(Class)}, {durability, Class}];
options({Class, counters}) ->
    [{durability, Class}];
options({Class, Kind}) when Kind =:= region; Kind =:= blocks ->
    [create, write, {durability, Class}].

handle({_, queue} = O, Name) ->
    {ok, Q} = emmap_queue:open(Name, 0, options(O)),
    Q;
handle({_, counters} = O, Name) ->
    emmap:open_counters(Name, ?COUNTERS, options(O));
handle({_, region} = O, Name) ->
    {ok, F, _} = emmap:open(Name, 0, file_size(Name), options(O)),
    F;
handle({_, blocks} = O, Name) ->
    {ok, F, _} = emmap:open(Name, 0, 0, options(O)),
    ok = emmap:init_block_storage(F, ?BLOCK),
    F.

functions() ->
    Handles = persistent_term:get(?MODULE),
    fun(O, Function, Args) ->
        try by_function(O, maps:get(O, Handles), Function, Args)
        catch
            error:{cannot_open_file, _, Reason} -> {error, Reason};
            error:{badmatch, {error, Reason}} -> {error, Reason};
            error:Reason -> {error, Reason}
        end
    end.

by_function(O, _H, create, [Name]) ->
    _ = by_function(O, handle(O, Name), close, []),
    ok;
by_function(_O, H, synced, [Requests]) ->
    emmap:batch([{H, Request} || Request <- Requests] ++ [sync]);
by_function({_, queue}, Q, Function, Args) ->
    apply(emmap_queue, Function, [Q | Args]);
by_function({_, counters}, C, close, []) ->
    emmap:close_counters(C);
by_function({_, blocks}, F, Function, Args) when Function =/= close, Function =/= sync ->
    case apply(emmap, Function, [F | Args]) of
        {error, _} = Error -> Error;
        Result -> {ok, Result}
    end;
by_function(_O, H, Function, Args) ->
    apply(emmap, Function, [H | Args]).

plain(D, Ids) ->
    fun(O, Function, Args) ->
        try by_message(D, O, maps:get(O, Ids), Function, Args)
        catch exit:{Reason, _} -> {error, Reason}
        end
    end.

%% They belong to the calling process's node, in this life of the daemon.
ids(D) ->
    maps:from_list([begin
                        {ok, Id, _} = opened(D, O, name(O)),
                        {O, Id}
                    end || O <- objects()]).

opened(D, {_, queue} = O, Name) ->
    call(D, {open_queue, Name, 0, options(O)});
opened(D, {_, counters} = O, Name) ->
    call(D, {open_counters, Name, ?COUNTERS, options(O)});
opened(D, {_, region} = O, Name) ->
    call(D, {open, Name, 0, file_size(Name), options(O)});
opened(D, {_, blocks} = O, Name) ->
    case call(D, {open, Name, 0, 0, options(O)}) of
        {ok, Id, Info} -> ok = call(D, {init_block_storage, Id, ?BLOCK}), {ok, Id, Info};
        Error -> Error
    end.

file_size(?NEW ++ _) -> ?SMALL;
file_size(_) -> ?REGION.

by_message(D, O, _Id, create, [Name]) ->
    case opened(D, O, Name) of
        {ok, Id, _} -> _ = (catch call(D, {close, Id})), ok;
        Error -> Error
    end;
by_message(D, _O, Id, synced, [Requests]) ->
    call(D, {batch, [list_to_tuple([Function, Id | Args])
                     || [Function | Args] <- lists:map(fun tuple_to_list/1, Requests)] ++ [sync]});
by_message(D, _O, Id, Function, Args) ->
    call(D, list_to_tuple([Function, Id | Args])).

%%% A worker.

in_background(#{peer := Peer}, Face, Who) ->
    Self = self(),
    Work = fun() -> work(Face, Who) end,
    spawn_link(fun() -> Self ! {self(), peer:call(Peer, erlang, apply, [Work, []], infinity)} end).

work(Face, {Round, I} = Who) ->
    Ask = case Face of functions -> functions(); {plain, D, Ids} -> plain(D, Ids) end,
    Kinds = list_to_tuple(kinds(case (Round + I) rem 2 of 0 -> pushes; 1 -> pops end)),
    work(Kinds, Ask, Who, 1, []).

work(Kinds, Ask, Who, N, Events) ->
    Kind = one_of(Kinds),
    Class = one_of(list_to_tuple(classes())),
    case step(Kind, Ask, Class, {Who, N}) of
        {on, New} -> work(Kinds, Ask, Who, N + 1, New ++ [{ran, Kind} | Events]);
        {lost, New} -> New ++ Events
    end.

one_of(Tuple) ->
    element(rand:uniform(tuple_size(Tuple)), Tuple).

%% Half of the workers add more to the queues than they take, the others less.
kinds(pushes) ->
    often([push, push, push, push, push, push_many, push_many, pop, ack, release]) ++ rarely();
kinds(pops) ->
    often([push, push, push_many, pop, pop, pop_many, pop_many, ack, ack, release]) ++ rarely().

often(Kinds) ->
    lists:append(lists:duplicate(4, Kinds ++ [inc, inc, update, page, page, word, word_atomic, store, store, free])).

rarely() ->
    [push_synced, pop_synced, inc_synced, page_synced, sync, bury, kick, big, big_synced,
     create, store_synced].

step(push, Ask, Class, Key) ->
    pushed(Class, Ask({Class, queue}, push, [item(Key)]), [Key]);
step(push_many, Ask, Class, Key) ->
    Keys = three(Key),
    pushed(Class, Ask({Class, queue}, push_many, [lists:map(fun item/1, Keys)]), Keys);
step(push_synced, Ask, Class, Key) ->
    Keys = three(Key),
    synced(Ask, {Class, queue}, [{push, item(K)} || K <- Keys],
           fun(_, At) -> [{pushed, Class, K, At} || K <- Keys] end, perhaps_pushed(Class, Keys));
step(pop, Ask, Class, _) ->
    told(Ask({Class, queue}, pop_wait, [0]),
         fun(Reply, At) -> done(Class, popped(Reply), At) end, [{unknown, Class, 1}]);
step(pop_many, Ask, Class, _) ->
    told(Ask({Class, queue}, pop_many, [3]),
         fun({ok, Items}, At) -> done(Class, Items, At) end, [{unknown, Class, 3}]);
step(pop_synced, Ask, Class, _) ->
    synced(Ask, {Class, queue}, [{pop_wait, 0}, {pop_wait, 0}],
           fun(Replies, At) -> done(Class, lists:flatmap(fun popped/1, Replies), At) end,
           [{unknown, Class, 2}]);
step(ack, Ask, Class, _) ->
    taken(Ask, Class, ack_many, fun(Items, At) -> done(Class, Items, At) end);
step(release, Ask, Class, _) ->
    taken(Ask, Class, release_many, fun(_, _) -> [] end);
step(bury, Ask, Class, _) ->
    case Ask({Class, queue}, take, []) of
        {ok, Id, _, _} -> told(Ask({Class, queue}, bury, [Id]), fun(ok, _) -> [] end, []);
        Reply -> told(Reply, fun(empty, _) -> [] end, [])
    end;
step(kick, Ask, Class, _) ->
    told(Ask({Class, queue}, kick, [5]), fun({ok, _}, _) -> [] end, []);
step(inc, Ask, Class, _) ->
    added(Class, Ask, inc_counter, increment());
step(update, Ask, Class, _) ->
    Changes = [increment(), increment()],
    told(Ask({Class, counters}, update_counters, [Changes]),
         fun({ok, [_, _]}, At) -> [{added, Class, I, D, At} || {I, D} <- Changes] end,
         [{perhaps_added, Class, I, D} || {I, D} <- Changes]);
step(inc_synced, Ask, Class, _) ->
    {I, D} = increment(),
    synced(Ask, {Class, counters}, [{inc_counter, I, D}],
           fun([{ok, _}], At) -> [{added, Class, I, D, At}] end, [{perhaps_added, Class, I, D}]);
step(page, Ask, Class, Key) ->
    written(Ask, Class, page, Key);
step(big, Ask, Class, Key) ->
    written(Ask, Class, big, Key);
step(word, Ask, Class, Key) ->
    written(Ask, Class, word, Key);
step(word_atomic, Ask, Class, Key) ->
    Place = place(word, Key),
    wrote(Ask({Class, region}, patomic_write_integer, [at(Place), value(Key)]), Class, Place, Key);
step(page_synced, Ask, Class, Key) ->
    Place = place(page, Key),
    synced(Ask, {Class, region}, [{pwrite, at(Place), bytes(Place, Key)}],
           fun([ok], At) -> [{wrote, Class, Place, value(Key), At}] end,
           [{perhaps_wrote, Class, Place, value(Key)}]);
step(big_synced, Ask, Class, Key) ->
    {big, _} = Place = place(big, Key),
    Word = {pwrite, at(Place), <<(value(Key) - 1):64/little>>},
    {Next, New} = synced(Ask, {Class, region}, [Word, {pwrite, at(Place), bytes(Place, Key)}],
                         fun([ok, ok], At) -> [{wrote, Class, Place, value(Key), At}] end,
                         [{perhaps_wrote, Class, Place, value(Key)}]),
    {Next, [{perhaps_wrote, Class, Place, value(Key) - 1} | New]};
step(store, Ask, Class, Key) ->
    Keys = three(Key),
    told(Ask({Class, blocks}, store_blocks, [lists:map(fun block/1, Keys)]),
         fun({ok, As}, At) -> stored(Class, As, Keys, At) end, perhaps_stored(Class, Keys));
step(store_synced, Ask, Class, Key) ->
    Keys = three(Key),
    synced(Ask, {Class, blocks}, [{store_block, block(K)} || K <- Keys],
           fun(Replies, At) -> stored(Class, [A || {ok, A} <- Replies], Keys, At) end,
           perhaps_stored(Class, Keys));
step(free, Ask, Class, _) ->
    case own_blocks(Class) of
        [] ->
            {on, []};
        [{A, Key} | Rest] ->
            put({blocks, Class}, Rest),
            told(Ask({Class, blocks}, free_block, [A]),
                 fun({ok, true}, At) -> [{freed, Class, Key, At}] end, [{perhaps_freed, Class, Key}])
    end;
step(sync, Ask, Class, _) ->
    Object = {Class, one_of({queue, counters, region, blocks})},
    Since = now_ns(),
    told(Ask(Object, sync, []), fun(ok, _) -> [{synced, Object, Since}] end, []);
step(create, Ask, Class, {{Round, I}, N}) ->
    Object = {Class, one_of({queue, counters, region})},
    Name = lists:concat([?NEW, name(Object), ".", Round, ".", I, ".", N]),
    told(Ask(Object, create, [Name]), fun(ok, _) -> [{created, Name}] end, []).

%% What was answered, or the loss and what may have been done all the same.
told({error, Reason}, _Events, Perhaps) ->
    lost(Reason, Perhaps);
told(Reply, Events, _Perhaps) ->
    {on, Events(Reply, now_ns())}.

%% Too much waits already, as it may behind a great write: refused, and the work goes on. Only such
%% a write goes in pieces, of which some may have been done.
lost({limit, max_pending}, Perhaps) ->
    {on, [Event || {perhaps_wrote, _, _, _} = Event <- Perhaps]};
lost(Reason, Perhaps) ->
    {true, _} = {is_loss(Reason), Reason},
    {lost, [{lost, Reason, now_ns()} | Perhaps]}.

is_loss({nodedown, _}) -> true;
is_loss({not_connected, _}) -> true;
is_loss({lease_lost, _}) -> true; % with the connection
is_loss(eio) -> true; % power is gone, the daemon still there
is_loss(_) -> false.

%% A batch that ends in a sync.
synced(Ask, Object, Requests, Events, Perhaps) ->
    case Ask(Object, synced, [Requests]) of
        {ok, Replies} ->
            {Done, [Sync]} = lists:split(length(Requests), Replies),
            case {[Reason || {error, Reason} <- Done], Sync} of
                {[], ok} -> {on, Events(Done, synced)};
                {[], {error, {limit, max_pending}}} -> {on, Events(Done, now_ns())};
                {[], {error, Reason}} -> lost(Reason, Events(Done, now_ns()));
                {[{limit, max_pending} | _], _} -> {on, Perhaps};
                {[Reason | _], _} -> lost(Reason, Perhaps)
            end;
        {error, Reason} ->
            lost(Reason, Perhaps)
    end.

pushed(Class, Reply, Keys) ->
    told(Reply, fun(ok, At) -> [{pushed, Class, Key, At} || Key <- Keys] end,
         perhaps_pushed(Class, Keys)).

perhaps_pushed(Class, Keys) ->
    [{perhaps_pushed, Class, Key} || Key <- Keys].

popped(empty) -> [];
popped({ok, Item}) -> [Item].

done(Class, Items, At) ->
    [{done, Class, key(Item), At} || Item <- Items].

taken(Ask, Class, Settle, Events) ->
    case Ask({Class, queue}, take_many, [3]) of
        {ok, Taken} ->
            Items = [Item || {_, _, Item} <- Taken],
            told(Ask({Class, queue}, Settle, [[Id || {Id, _, _} <- Taken]]),
                 fun(ok, At) -> Events(Items, At) end,
                 [{perhaps_done, Class, Key} || {done, _, Key, _} <- Events(Items, synced)]);
        {error, Reason} ->
            lost(Reason, [])
    end.

%% Where this worker has stored what.
own_blocks(Class) ->
    case get({blocks, Class}) of
        undefined -> [];
        Blocks -> Blocks
    end.

stored(Class, As, Keys, At) ->
    New = lists:zip(As, Keys),
    _ = put({blocks, Class}, New ++ own_blocks(Class)),
    [{stored, Class, Key, A, At} || {A, Key} <- New].

perhaps_stored(Class, Keys) ->
    [{perhaps_stored, Class, Key} || Key <- Keys].

increment() ->
    {rand:uniform(?COUNTERS) - 1, rand:uniform(5)}.

added(Class, Ask, Function, {I, D}) ->
    told(Ask({Class, counters}, Function, [I, D]),
         fun({ok, _}, At) -> [{added, Class, I, D, At}] end, [{perhaps_added, Class, I, D}]).

written(Ask, Class, Kind, Key) ->
    Place = place(Kind, Key),
    wrote(Ask({Class, region}, pwrite, [at(Place), bytes(Place, Key)]), Class, Place, Key).

wrote(Reply, Class, Place, Key) ->
    told(Reply, fun(ok, At) -> [{wrote, Class, Place, value(Key), At}] end,
         [{perhaps_wrote, Class, Place, value(Key)}]).

%% Of the host's clock that never jumps: the same for all its nodes.
now_ns() ->
    os:perf_counter(nanosecond).

%%% Items and bytes tell whose they are.

three({Who, N}) ->
    [{Who, {N, I}} || I <- [1, 2, 3]].

item(Key) ->
    {Key, pad(Key)}.

key({Key, Pad}) ->
    true = Pad =:= pad(Key),
    Key.

block(Key) ->
    Bytes = term_to_binary(Key),
    <<Bytes/binary, 0:((?BLOCK - byte_size(Bytes)) * 8)>>.

%% Most are short; one in fifty is longer than a granule of the file.
pad(Key) ->
    Hash = erlang:phash2(Key, 1 bsl 20),
    Longest = case Hash rem 50 of 0 -> 100000; _ -> 1000 end,
    binary:copy(<<Hash:32>>, Hash rem Longest div 4).

%% Each worker has places of its own in a region, and writes greater and greater words there.
place(Kind, {{_Round, I}, _N}) ->
    {Kind, I}.

places() ->
    [{Kind, I} || Kind <- [page, word, big], I <- lists:seq(1, ?WORKERS)].

at({page, I}) -> I * ?PAGE;
at({word, I}) -> I * ?PAGE + 8 * ?WORDS;
at({big, I}) -> ?BIG_AT + (I - 1) * ?BIG.

words({page, _}) -> ?WORDS;
words({word, _}) -> 1;
words({big, _}) -> ?BIG div 8.

value({{Round, _I}, N}) ->
    Round bsl 32 + 2 * N.

bytes(Place, Key) ->
    binary:copy(<<(value(Key)):64/little>>, words(Place)).

%%% What is there, with nobody at work.

%% What the objects hold, and the names of the files that were made; those are removed. The calling
%% process's node has the objects open from then on.
found(D, Dir) ->
    Ids = maps:to_list(ids(D)),
    [#{durability := Class} = call(D, {info, Id}) || {{Class, _}, Id} <- Ids],
    Objects = [{O, contents(D, O, Id)} || {O, Id} <- Ids],
    Dead = [{{Class, dead}, dead(D, Dir, dead_name(Class))} || Class <- classes()],
    maps:from_list([{new, new(D, Dir)} | Objects ++ Dead]).

%% The same without the first items of long queues.
shortened(D, Found) ->
    maps:map(fun
        ({_, queue} = O, Items) when length(Items) > ?LONG -> shortened(D, name(O), Items);
        ({_, blocks} = O, Blocks) when length(Blocks) > ?LONG -> thinned(D, name(O), Blocks);
        (_, Content) -> Content
    end, Found).

shortened(D, Q, Items) ->
    {ok, Popped} = call(D, {pop_many, Q, length(Items) - ?LONG div 2}),
    {First, Rest} = lists:split(length(Popped), Items),
    true = lists:map(fun key/1, Popped) =:= [Key || {_, Key} <- First],
    ok = call(D, {sync, Q}),
    Rest.

thinned(D, Name, Blocks) ->
    {Gone, Rest} = lists:split(length(Blocks) - ?LONG div 2, Blocks),
    {ok, Freed} = call(D, {free_blocks, Name, [A || {A, _} <- Gone]}),
    true = lists:all(fun(Was) -> Was end, Freed),
    ok = call(D, {sync, Name}),
    Rest.

contents(D, {_, queue}, Id) ->
    ok = until(fun() -> is_all_ready(D, Id) end),
    items(D, Id, 1);
contents(D, {_, counters}, Id) ->
    {ok, Values} = call(D, {read_counters, Id}),
    Values;
contents(D, {_, region}, Id) ->
    [{Place, runs(D, Id, Place)} || Place <- places()];
contents(D, {_, blocks}, Id) ->
    ok = repaired(D, Id, 0),
    blocks(D, Id, 0).

repaired(_, _, eof) ->
    ok;
repaired(D, Id, From) ->
    {ok, #{next := Next}} = call(D, {repair_block_storage, Id, [{from, From}]}),
    repaired(D, Id, Next).

blocks(_, _, eof) ->
    [];
blocks(D, Id, From) ->
    {ok, Blocks, Next} = call(D, {read_blocks, Id, From, 1000}),
    [{A, Key} || {A, Block} <- Blocks, Key <- [binary_to_term(Block)], Block =:= block(Key) orelse error(A)]
        ++ blocks(D, Id, Next).

%% What was on its way to the dead letters is there.
is_all_ready(D, Id) ->
    {ok, _} = call(D, {kick, Id, 1 bsl 40}),
    #{items := Items, ready := Ready, damaged := 0} = call(D, {info, Id}),
    Items =:= Ready.

items(D, Id, From) ->
    case call(D, {peek_many, Id, 1000, From}) of
        {ok, []} ->
            [];
        {ok, Items} ->
            [{N, key(Item)} || {N, Item} <- Items]
                ++ items(D, Id, element(1, lists:last(Items)) + 1)
    end.

%% Their file is made for the first.
dead(D, Dir, Name) ->
    case filelib:is_regular(filename:join(Dir, Name)) of
        true -> [Key || {_, Key} <- items(D, Name, 1)];
        false -> []
    end.

%% The words of a place: [{Value, HowMany}].
runs(D, Id, Place) ->
    {ok, Bytes} = call(D, {pread, Id, at(Place), 8 * words(Place)}),
    First = binary:part(Bytes, 0, 8),
    case binary:copy(First, words(Place)) of
        Bytes -> [{binary:decode_unsigned(First, little), words(Place)}];
        _ -> lists:foldr(fun count/2, [], [V || <<V:64/little>> <= Bytes])
    end.

count(V, [{V, N} | Runs]) -> [{V, N + 1} | Runs];
count(V, Runs) -> [{V, 1} | Runs].

%% Each opens as what it was made; nothing else is there.
new(D, Dir) ->
    {ok, Names} = file:list_dir(Dir),
    Known = [".emmap"] ++ lists:map(fun name/1, objects()) ++ lists:map(fun dead_name/1, classes()),
    New = Names -- Known,
    [ok = opens(D, string:split(Name, ".", all), Name) || Name <- New],
    [ok = file:delete(filename:join(Dir, Name)) || Name <- New],
    New.

opens(D, ["new", _Class, Kind | _], Name) ->
    ok = is_as_made(D, list_to_atom(Kind), Name).

is_as_made(D, queue, Name) ->
    {ok, Id, _} = call(D, {open_queue, Name, 0, []}),
    #{items := 0, pushed := 0} = call(D, {info, Id}),
    call(D, {close, Id});
is_as_made(D, counters, Name) ->
    {ok, Id, #{count := ?COUNTERS}} = call(D, {open_counters, Name, 0}),
    {ok, Values} = call(D, {read_counters, Id}),
    true = lists:all(fun(V) -> V =:= 0 end, Values),
    call(D, {close, Id});
is_as_made(D, region, Name) ->
    {ok, Id, #{size := ?SMALL}} = call(D, {open, Name, 0, 0, [read]}),
    {ok, Bytes} = call(D, {pread, Id, 0, ?SMALL}),
    true = Bytes =:= <<0:(8 * ?SMALL)>>,
    call(D, {close, Id}).
