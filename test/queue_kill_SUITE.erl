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
    Functions = emmap_test:node(Config, #{application => [{daemon, external}, {node, D}]}),
    Plain = emmap_test:node(Config),
    on(Functions, fun() ->
        {ok, Q} = emmap_queue:open(?QUEUE, 0, []),
        persistent_term:put(?MODULE, Q) % one handle for all lives of the daemon
    end),
    Workers = [{Functions, fun functions/2}, {Functions, fun functions/2},
               {Plain, fun(F, Args) -> plain(D, F, Args) end},
               {Plain, fun(F, Args) -> plain(D, F, Args) end}],
    {Last, Events} = lists:foldl(fun(Round, {Now, Before}) ->
        {Next, New} = round(Round, Now, Plain, Workers),
        {Next, Before ++ New}
    end, {Daemon, []}, lists:seq(1, kills())),
    Left = on(Plain, fun() -> left(D) end),
    _ = emmap_test:stop_daemon(Last),
    check(Events, Left).

%%% One life of the daemon.

round(Round, Daemon = #{node := D}, Plain, Workers) ->
    Target = rand:uniform(400),
    Before = on(Plain, fun() -> pushed(D) end),
    Working = [in_background(Node, fun() -> work(Q, {Round, I}) end)
               || {I, {Node, Q}} <- lists:zip(lists:seq(1, length(Workers)), Workers)],
    ok = until(fun() -> on(Plain, fun() -> pushed(D) end) >= Before + Target end),
    ok = emmap_test:kill_daemon(Daemon),
    Events = lists:append([collect(W) || W <- Working]),
    Next = emmap_test:restart_daemon(Daemon),
    ok = until(fun() -> on(Plain, fun() -> (catch call(D, ping)) =:= pong end) end),
    #{damaged := 0, leased := 0} = on(Plain, fun() -> call(D, {info, ?QUEUE}) end),
    {Next, Events}.

pushed(D) ->
    maps:get(pushed, call(D, {info, ?QUEUE})).

in_background(#{peer := Peer}, Fun) ->
    Self = self(),
    spawn_link(fun() -> Self ! {self(), peer:call(Peer, erlang, apply, [Fun, []], infinity)} end).

collect(Worker) ->
    receive {Worker, Events} -> Events after ?DEADLINE -> error(deadline) end.

functions(Function, Args) ->
    apply(emmap_queue, Function, [persistent_term:get(?MODULE) | Args]).

plain(D, Function, Args) ->
    try call(D, list_to_tuple([Function, ?QUEUE | Args]))
    catch exit:{Reason, _} -> {error, Reason}
    end.

%%% A worker: its events, until the daemon is lost.

work(Q, Who) ->
    ok = until(fun() -> is_list(element(2, Q(peek_many, [1]))) end),
    work(Q, Who, 1, []).

work(Q, Who, N, Events) ->
    case step(Q, {Who, N}, rand:uniform(10)) of
        {on, New} -> work(Q, Who, N + 1, New ++ Events);
        {lost, New} -> New ++ Events
    end.

step(Q, Item, Dice) when Dice =< 4 ->
    pushes(Q(push, [Item]), [Item]);
step(Q, {Who, N}, 5) ->
    Items = [{Who, {N, I}} || I <- [1, 2, 3]],
    pushes(Q(push_many, [Items]), Items);
step(Q, _, 6) ->
    case Q(pop_wait, [0]) of
        {ok, Item} -> {on, [{done, Item, now_ns()}]};
        empty -> {on, []};
        {error, _} -> {lost, [{unknown, 1}]}
    end;
step(Q, _, 7) ->
    case Q(pop_many, [3]) of
        {ok, Items} -> {on, [{done, Item, now_ns()} || Item <- Items]};
        {error, _} -> {lost, [{unknown, 3}]}
    end;
step(Q, _, 8) ->
    taken(Q, Q(take, []), ack, done);
step(Q, _, 9) ->
    taken(Q, Q(take, []), release, returned);
step(Q, _, 10) ->
    case Q(take_many, [3]) of
        {ok, Taken} ->
            Since = now_ns(),
            Ids = [Id || {Id, _, _} <- Taken],
            settled([Item || {_, _, Item} <- Taken], Since, now_ns(), Q(ack_many, [Ids]), done);
        {error, _} ->
            {lost, []}
    end.

pushes(ok, Items) -> {on, [{pushed, Item} || Item <- Items]};
pushes({error, _}, Items) -> {lost, [{perhaps_pushed, Item} || Item <- Items]}.

%% A touch is a round trip in which others might get it.
taken(Q, {ok, Id, _, Item}, Settle, What) ->
    Since = now_ns(),
    case Q(touch, [Id]) of
        ok -> settled([Item], Since, now_ns(), Q(Settle, [Id]), What);
        {error, Reason} -> true = is_loss(Reason), {lost, []}
    end;
taken(_Q, empty, _, _) ->
    {on, []};
taken(_Q, {error, _}, _, _) ->
    {lost, []}.

%% `held': from when to when the item was surely this worker's.
settled(Items, Since, Until, ok, done) ->
    {on, [{held, Item, Since, Until} || Item <- Items] ++ [{done, Item, Until} || Item <- Items]};
settled(Items, Since, Until, ok, returned) ->
    {on, [{held, Item, Since, Until} || Item <- Items]};
settled(Items, Since, Until, {error, Reason}, What) ->
    true = is_loss(Reason), % not `not_leased'
    {lost, [{held, Item, Since, Until} || Item <- Items]
           ++ [{perhaps_done, Item} || Item <- Items, What =:= done]}.

is_loss({nodedown, _}) -> true;
is_loss({not_connected, _}) -> true;
is_loss(_) -> false.

%% Of the host's clock that never jumps: the same for all its nodes.
now_ns() ->
    os:perf_counter(nanosecond).

%%% What must hold afterwards.

left(D) ->
    Items = all_of(D, 1),
    {ok, Popped} = call(D, {pop_many, ?QUEUE, 1 bsl 40}),
    true = Items =:= Popped,
    #{items := 0, damaged := 0} = call(D, {info, ?QUEUE}),
    Popped.

all_of(D, From) ->
    case call(D, {peek_many, ?QUEUE, 1000, From}) of
        {ok, []} -> [];
        {ok, Items} -> [Item || {_, Item} <- Items] ++ all_of(D, element(1, lists:last(Items)) + 1)
    end.

check(Events, Left) ->
    Pushed = [Item || {pushed, Item} <- Events],
    Done = [Item || {done, Item, _} <- Events],
    Unknown = lists:sum([N || {unknown, N} <- Events]),
    ct:pal("~b pushed, ~b done, ~b left, at most ~b in lost answers",
           [length(Pushed), length(Done), length(Left), Unknown]),
    [] = Pushed -- lists:usort(Pushed),
    [] = twice(Done ++ Left), % what was done never came again
    Known = sets:from_list(Pushed ++ [Item || {perhaps_pushed, Item} <- Events]),
    [] = [Item || Item <- Done ++ Left, not sets:is_element(Item, Known)],
    Found = sets:from_list(Done ++ Left ++ [Item || {perhaps_done, Item} <- Events]),
    Missing = [Item || Item <- Pushed, not sets:is_element(Item, Found)],
    true = length(Missing) =< Unknown,
    ok = in_order(Left),
    one_hand_at_a_time(Events).

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
