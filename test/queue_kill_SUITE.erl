%% A daemon that is killed again and again while two nodes work on one queue: nothing acknowledged is
%% lost, nothing comes twice that was done, nothing is in two hands at a time. EMMAP_KILLS says how
%% often (50).
-module(queue_kill_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_queue_face, [call/2]).

-define(DEADLINE, 20000).
-define(QUEUE, "kills").
-define(DEAD, "kills.dead").

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
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Application = [{daemon, external}, {node, D}, {connect_timeout, 200}],
    Functions = emmap_test:node(Config, #{application => Application}),
    Plain = emmap_test:node(Config),
    on(Functions, fun() -> [open(I) || I <- [1, 2]] end),
    Workers = [{Functions, functions, fun(F, Args) -> functions(1, F, Args) end},
               {Functions, functions, fun(F, Args) -> functions(2, F, Args) end},
               {Plain, plain, fun(F, Args) -> plain(D, F, Args) end},
               {Plain, plain, fun(F, Args) -> plain(D, F, Args) end}],
    {Last, Events} = lists:foldl(fun(Round, {Now, Before}) ->
        {Next, New} = round(Round, Now, Plain, Workers),
        {Next, New ++ Before}
    end, {Daemon, []}, lists:seq(1, kills())),
    {Left, Dead} = on(Plain, fun() -> {left(D), dead(D)} end),
    _ = emmap_test:stop_daemon(Last),
    check(Events, Left, Dead),
    all_kinds_ran(Events).

%% One handle of a worker's own for all lives of the daemon: a barrier tells of the handle's casts.
open(I) ->
    {ok, Q} = emmap_queue:open(?QUEUE, 0, [{max_attempts, 3}, {dead_letter, ?DEAD}]),
    persistent_term:put({?MODULE, I}, Q).

%%% One life of the daemon.

round(Round, Daemon = #{node := D}, Plain, Workers) ->
    Target = rand:uniform(400),
    Before = on(Plain, fun() -> pushed(D) end),
    [ok = until(fun() -> on(Node, fun() -> answers(Q) end) end) || {Node, _, Q} <- Workers],
    Working = [in_background(Node, fun() -> work(Face, Q, {Round, I}) end)
               || {I, {Node, Face, Q}} <- lists:zip(lists:seq(1, length(Workers)), Workers)],
    ok = until(fun() -> on(Plain, fun() -> pushed(D) end) >= Before + Target end),
    ok = emmap_test:kill_daemon(Daemon),
    Events = lists:append([collect(W) || W <- Working]),
    Next = emmap_test:restart_daemon(Daemon),
    ok = until(fun() -> on(Plain, fun() -> (catch call(D, ping)) =:= pong end) end),
    ok = until(fun() -> on(Plain, fun() -> is_at_rest(D) end) end),
    {Next, Events}.

%% Who has to wait for a connection while others work may not get it any more.
answers(Q) ->
    is_list(element(2, Q(peek_many, [1]))).

%% What was on its way to the dead letters is there.
is_at_rest(D) ->
    #{damaged := 0, leased := Leased} = call(D, {info, ?QUEUE}),
    Leased =:= 0.

pushed(D) ->
    maps:get(pushed, call(D, {info, ?QUEUE})).

in_background(#{peer := Peer}, Fun) ->
    Self = self(),
    spawn_link(fun() -> Self ! {self(), peer:call(Peer, erlang, apply, [Fun, []], infinity)} end).

collect(Worker) ->
    receive {Worker, Events} -> Events after ?DEADLINE -> error(deadline) end.

functions(I, Function, Args) ->
    try apply(emmap_queue, Function, [persistent_term:get({?MODULE, I}) | Args])
    catch error:Reason -> {error, Reason}
    end.

plain(D, subscribe, [Credit]) ->
    Sub = make_ref(),
    case plain(D, subscribe, [Sub, Credit]) of
        ok -> {ok, Sub};
        Error -> Error
    end;
plain(D, Function, Args) ->
    try call(D, list_to_tuple([Function, ?QUEUE | Args]))
    catch exit:{Reason, _} -> {error, Reason}
    end.

%%% A worker: its events, until the daemon is lost.

work(Face, Q, Who) ->
    work(list_to_tuple(kinds(Face)), Q, Who, 1, []).

work(Kinds, Q, Who, N, Events) ->
    Kind = element(rand:uniform(tuple_size(Kinds)), Kinds),
    case step(Kind, Q, {Who, N}) of
        {on, New} -> work(Kinds, Q, Who, N + 1, New ++ [{ran, Kind} | Events]);
        {lost, New} -> New ++ Events
    end.

kinds(plain) ->
    [push, push, push, push, push_many, pop_wait, pop_many, ack, ack, release, delay, ack_many, bury,
     kick, subscribe];
kinds(functions) ->
    kinds(plain) ++ [push, push_async, fold, try_pop].

step(push, Q, Item) ->
    pushes(Q(push, [Item]), [Item]);
step(push_many, Q, Item) ->
    Items = three(Item),
    pushes(Q(push_many, [Items]), Items);
step(push_async, Q, Item) ->
    Items = three(Item),
    [ok = Q(push_async, [I]) || I <- Items],
    pushes(Q(barrier, []), Items);
step(pop_wait, Q, _) ->
    case Q(pop_wait, [0]) of
        {ok, Item} -> {on, [{done, Item, now_ns()}]};
        empty -> {on, []};
        {error, Reason} -> {lost, unknown(Reason, 1)}
    end;
step(pop_many, Q, _) ->
    case Q(pop_many, [3]) of
        {ok, Items} -> {on, [{done, Item, now_ns()} || Item <- Items]};
        {error, Reason} -> {lost, unknown(Reason, 3)}
    end;
step(ack, Q, _) ->
    taken(Q, Q(take, []), {ack, []}, done);
step(release, Q, _) ->
    taken(Q, Q(take, []), {release, []}, returned);
step(delay, Q, _) ->
    taken(Q, Q(take, []), {release, [1]}, returned);
step(bury, Q, _) ->
    taken(Q, Q(take, []), {bury, []}, returned);
step(ack_many, Q, _) ->
    case Q(take_many, [3]) of
        {ok, Taken} ->
            Since = now_ns(),
            Ids = [Id || {Id, _, _} <- Taken],
            settled([Item || {_, _, Item} <- Taken], Since, now_ns(), Q(ack_many, [Ids]), done);
        {error, Reason} ->
            lost(Reason)
    end;
step(kick, Q, _) ->
    on_or_lost(Q(kick, [5]));
step(subscribe, Q, _) ->
    case Q(subscribe, [2]) of
        {ok, Sub} -> subscribed(Q, Sub, 3, []);
        {error, Reason} -> lost(Reason)
    end;
step(fold, Q, _) ->
    _ = erase(handled),
    folded(Q(pop, [0, fun handle/2]), handled());
step(try_pop, Q, _) ->
    _ = erase(handled),
    folded(Q(try_pop, [fun(Item) -> handle(Item, 0) end]), handled()).

three({Who, N}) ->
    [{Who, {N, I}} || I <- [1, 2, 3]].

pushes(ok, Items) ->
    {on, [{pushed, Item} || Item <- Items]};
pushes({error, Reason}, Items) ->
    true = is_loss(Reason),
    {lost, [{perhaps_pushed, Item} || Item <- Items]}.

%% What never ran took nothing along.
unknown({nodedown, _}, N) -> [{unknown, N}];
unknown({not_connected, _}, _) -> [].

lost(Reason) ->
    true = is_loss(Reason),
    {lost, []}.

on_or_lost({error, Reason}) -> lost(Reason);
on_or_lost(_) -> {on, []}.

%% A touch is a round trip in which others might get it.
taken(Q, {ok, Id, _, Item}, {Settle, Args}, What) ->
    Since = now_ns(),
    case Q(touch, [Id]) of
        ok -> settled([Item], Since, now_ns(), Q(Settle, [Id | Args]), What);
        {error, Reason} -> lost(Reason)
    end;
taken(_Q, empty, _, _) ->
    {on, []};
taken(_Q, {error, Reason}, _, _) ->
    lost(Reason).

%% `held': from when to when the item was surely this worker's.
settled(Items, Since, Until, ok, done) ->
    {on, [{held, Item, Since, Until} || Item <- Items] ++ [{done, Item, Until} || Item <- Items]};
settled(Items, Since, Until, ok, returned) ->
    {on, [{held, Item, Since, Until} || Item <- Items]};
settled(Items, Since, Until, {error, Reason}, What) ->
    true = is_loss(Reason), % not `not_leased'
    {lost, [{held, Item, Since, Until} || Item <- Items]
           ++ [{perhaps_done, Item} || Item <- Items, What =:= done]}.

%% Some items, as they come; what comes after them goes back.
subscribed(Q, Sub, 0, Events) ->
    {Next, New} = on_or_lost(Q(unsubscribe, [Sub])),
    forget(Sub),
    {Next, New ++ Events};
subscribed(Q, Sub, N, Events) ->
    receive
        {emmap_queue, Sub, Id, Attempt, Item} ->
            case taken(Q, {ok, Id, Attempt, Item}, {ack, []}, done) of
                {on, New} -> subscribed(Q, Sub, N - 1, New ++ Events);
                {lost, New} -> {lost, New ++ Events}
            end;
        {'DOWN', Sub, process, _, _} ->
            {lost, Events}
    after 5 ->
        subscribed(Q, Sub, 0, Events)
    end.

forget(Sub) ->
    receive {emmap_queue, Sub, _, _, _} -> forget(Sub) after 0 -> ok end.

%% A few items of a fold: each is this one's while it is handled. On the way out they are known
%% here, whatever becomes of the fold.
handle(Item, N) when N < 3 ->
    Since = now_ns(),
    _ = erlang:yield(),
    put(handled, [{held, Item, Since, now_ns()} | handled()]),
    {cont, N + 1};
handle(_Item, N) ->
    {halt, N}.

handled() ->
    case get(handled) of undefined -> []; Held -> Held end.

folded({error, Reason}, Held) ->
    true = is_loss(Reason),
    {lost, Held ++ [{perhaps_done, Item} || {held, Item, _, _} <- Held]};
folded(_, Held) ->
    {on, Held ++ [{done, Item, Until} || {held, Item, _, Until} <- Held]}.

is_loss({nodedown, _}) -> true;
is_loss({not_connected, _}) -> true;
is_loss({lease_lost, _}) -> true; % with the connection
is_loss({casts, #{failed := 0}}) -> true;
is_loss(_) -> false.

%% Of the host's clock that never jumps: the same for all its nodes.
now_ns() ->
    os:perf_counter(nanosecond).

%%% What must hold afterwards.

left(D) ->
    ok = until(fun() -> is_all_ready(D) end),
    Items = all_of(D, 1),
    {ok, Popped} = call(D, {pop_many, ?QUEUE, 1 bsl 40}),
    true = Items =:= Popped,
    #{items := 0, damaged := 0} = call(D, {info, ?QUEUE}),
    Popped.

is_all_ready(D) ->
    {ok, _} = call(D, {kick, ?QUEUE, 1 bsl 40}),
    #{items := Items, ready := Ready} = call(D, {info, ?QUEUE}),
    Items =:= Ready.

all_of(D, From) ->
    case call(D, {peek_many, ?QUEUE, 1000, From}) of
        {ok, []} -> [];
        {ok, Items} -> [Item || {_, Item} <- Items] ++ all_of(D, element(1, lists:last(Items)) + 1)
    end.

%% Some may be there twice. The file is made for the first.
dead(D) ->
    case call(D, {pop_many, ?DEAD, 1 bsl 40}) of
        {ok, Items} -> lists:usort(Items);
        {error, enoent} -> []
    end.

check(Events, Left, Dead) ->
    Pushed = [Item || {pushed, Item} <- Events],
    Done = [Item || {done, Item, _} <- Events],
    Unknown = lists:sum([N || {unknown, N} <- Events]),
    ct:pal("~b pushed, ~b done, ~b left, ~b dead, at most ~b in lost answers",
           [length(Pushed), length(Done), length(Left), length(Dead), Unknown]),
    [] = twice(Pushed),
    [] = twice(Done ++ Left ++ Dead), % what was done never came again
    Known = sets:from_list(Pushed ++ [Item || {perhaps_pushed, Item} <- Events]),
    [] = [Item || Item <- Done ++ Left ++ Dead, not sets:is_element(Item, Known)],
    Found = sets:from_list(Done ++ Left ++ Dead ++ [Item || {perhaps_done, Item} <- Events]),
    Missing = [Item || Item <- Pushed, not sets:is_element(Item, Found)],
    true = length(Missing) =< Unknown,
    true = Dead =/= [] orelse kills() < 20,
    ok = in_order(Left),
    one_hand_at_a_time(Events).

%% In a few lives of the daemon, chance may leave one out.
all_kinds_ran(Events) ->
    Ran = lists:usort([Kind || {ran, Kind} <- Events]),
    [] = [Kind || Kind <- kinds(functions), kills() >= 20, not lists:member(Kind, Ran)],
    ok.

twice(Items) ->
    Sorted = lists:sort(Items),
    Sorted -- lists:usort(Sorted).

%% Of each worker what is left is in the order in which it was pushed.
in_order(Left) ->
    Whos = lists:usort([Who || {Who, _} <- Left]),
    [] = [Who || Who <- Whos, place([N || {W, N} <- Left, W =:= Who])],
    ok.

place(Ns) ->
    Order = [case N of {Many, I} -> {Many, I}; One -> {One, 0} end || N <- Ns],
    Order =/= lists:sort(Order).

%% Nobody got an item while another surely had it.
one_hand_at_a_time(Events) ->
    Held = [{Item, Since, Until} || {held, Item, Since, Until} <- Events],
    Sorted = lists:sort(Held),
    [] = [{A, B} || {{Item, _, Until} = A, {Item, Since, _} = B}
                        <- lists:zip(Sorted, tl(Sorted) ++ [none_after()]), Since < Until],
    Ends = maps:from_list([{Item, Until} || {Item, _, Until} <- Sorted]), % the last of each
    [] = [Item || {done, Item, At} <- Events, At < maps:get(Item, Ends, At)],
    ok.

none_after() ->
    {none, 0, 0}.
