%% What a queue is: a list of items, a line of those who wait. Each operation says what it answers,
%% what the waiting are told, and the queue after it.
-module(queue_model).

-export([new/2, do/3, end_client/2, restart/2, together/2, killed/3, info/1, seen/1]).
-export([ids/1, leased/2, is_waiting/2, is_subscribed/2, has_worn_out/1, waiting/1, dead/1]).
-export([has_units/1, is_hasty/1, is_bounded/1, has_dead_letter/1]).

%% A record of 100 bytes: what bounds of bytes are tried with.
-define(UNIT, 160).

-record(item, {id :: pos_integer(), term :: term(), attempts = 0 :: non_neg_integer(),
               state = ready :: ready | dozing | delayed | buried | {leased, client(), by()}}).
-record(waiter, {client :: client(), want :: term()}).
-record(subscriber, {client :: client(), credit :: pos_integer()}).
-record(queue, {max_items = infinity :: pos_integer() | infinity,
                overflow = reject :: reject | drop_head,
                max_bytes = infinity :: pos_integer() | infinity,
                max_attempts = infinity :: pos_integer() | infinity,
                lease_ms = infinity :: pos_integer() | infinity,
                has_units = false :: boolean(), % all items are such
                has_dead_letter = false :: boolean(),
                items = [] :: [#item{}], % by id
                next = 1 :: pos_integer(),
                line = [] :: [#waiter{} | #subscriber{}],
                dead = [] :: [term()],
                popped = 0 :: non_neg_integer(),
                acked = 0 :: non_neg_integer(),
                dropped = 0 :: non_neg_integer(),
                was_killed = false :: boolean()}). % then only the sum of these is exact

-type client() :: pos_integer().
-type by() :: call | subscription.
-type told() :: {client(), emmap_queue_client:event()}.

new(Options, HasDeadLetter) ->
    configured(Options, #queue{has_dead_letter = HasDeadLetter,
                               has_units = lists:keymember(max_bytes, 1, Options)}).

configured(Options, Q0) ->
    lists:foldl(fun({Name, Value}, Q) -> option(Name, Value, Q) end, Q0, Options).

option(max_items, N, Q) -> Q#queue{max_items = N};
option(max_bytes, N, Q) -> Q#queue{max_bytes = N};
option(overflow, What, Q) -> Q#queue{overflow = What};
option(max_attempts, N, Q) -> Q#queue{max_attempts = N};
option(lease_ms, N, Q) -> Q#queue{lease_ms = N}.

%% The answer, what others are told, the queue.
-spec do(client(), term(), #queue{}) -> {term(), [told()], #queue{}}.
do(C, Op, Q) ->
    {Answer, Q1} = op(Op, C, Q),
    {Told, Q2} = serve(rejoin(Q, Q1)),
    {Later, Q3} = serve(awake(Q2)),
    {Answer, Told ++ Later, Q3}.

%% A short delay is over.
awake(#queue{items = Items} = Q) ->
    Q#queue{items = [case I of
                         #item{state = dozing} -> I#item{state = ready};
                         _ -> I
                     end || I <- Items]}.

end_client(C, #queue{line = Line} = Q) ->
    Stay = Q#queue{line = [W || W <- Line, client(W) =/= C]},
    Back = lists:foldl(fun come_back/2, Stay, leased(C, Q)),
    {Told, Q2} = serve(Back),
    {ok, Told, Q2}.

%% The daemon ends, and begins again.
restart(How, #queue{line = Line} = Q) ->
    Back = lists:foldl(fun(#item{id = Id}, Acc) ->
        set(Id, fun(I) -> I#item{state = ready} end, Acc)
    end, Q#queue{line = []}, [I || #item{state = {leased, _, _}} = I <- Q#queue.items]),
    Moved = move_worn_out(Back),
    {ok, [{client(W), lost(W)} || W <- Line],
     Moved#queue{was_killed = Q#queue.was_killed orelse How =:= kill}}.

move_worn_out(#queue{has_dead_letter = false} = Q) ->
    Q;
move_worn_out(Q) ->
    lists:foldl(fun put_aside/2, Q, [I#item.id || I <- ready_items(Q), worn_out(I, Q)]).

%% What may come of operations at the same time, one after the other in any order: their answers
%% as they are listed here, and the queue.
-spec together([{client(), term()}], #queue{}) -> [{[term()], #queue{}}].
together(Ops, Q) ->
    [in_order(Order, Q) || Order <- orders(lists:zip(lists:seq(1, length(Ops)), Ops))].

in_order(Order, Q0) ->
    {Answers, Q} = lists:mapfoldl(fun({I, {C, Op}}, Acc) ->
        {Answer, _, Next} = do(C, Op, Acc),
        {{I, Answer}, Next}
    end, Q0, Order),
    {[Answer || {_, Answer} <- lists:sort(Answers)], Q}.

orders([]) -> [[]];
orders(List) -> [[First | Rest] || First <- List, Rest <- orders(List -- [First])].

%% The same where the daemon is killed meanwhile, and answers got lost: the queues that may be there
%% then. Of an operation without an answer the beginning may have been done.
-spec killed([{client(), term()}], [term()], #queue{}) -> [#queue{}].
killed(Ops, Answers, Q) ->
    Ways = chosen([[{C, Part, Answer} || Part <- parts(Op, Answer)]
                   || {{C, Op}, Answer} <- lists:zip(Ops, Answers)]),
    lists:usort([Last || Way <- Ways, Order <- orders(Way), Then <- done_as_answered(Order, Q),
                         {ok, [], Last} <- [restart(kill, Then)]]).

chosen([]) -> [[]];
chosen([Parts | Rest]) -> [[Part | Others] || Part <- Parts, Others <- chosen(Rest)].

done_as_answered([], Q) ->
    [Q];
done_as_answered([{_, nothing, _} | Rest], Q) ->
    done_as_answered(Rest, Q);
done_as_answered([{C, Op, Answer} | Rest], Q) ->
    case do(C, Op, Q) of
        {Answer, [], Next} -> done_as_answered(Rest, Next);
        {_, [], Next} when Answer =:= {error, lost} -> done_as_answered(Rest, Next);
        _ -> []
    end.

parts(Op, {error, lost}) -> [nothing | parts(Op)];
parts(_, {error, unsent}) -> [nothing];
parts(Op, _) -> [Op].

parts({push, T}) -> parts({push_many, [T]});
parts({push_many, Ts}) ->
    [{begun, lists:sublist(Ts, N), 0, Ts} || N <- lists:seq(1, length(Ts))]
        ++ [{begun, Ts, Dropped, Ts} || Dropped <- lists:seq(1, length(Ts))]
        ++ [{push_many, Ts}];
parts({Many, N}) when Many =:= pop_many; Many =:= take_many; Many =:= kick ->
    [{Many, Part} || Part <- lists:seq(1, N)];
parts({ack_many, Ids}) -> [{ack_many, lists:sublist(Ids, N)} || N <- lists:seq(1, length(Ids))];
parts(Op) -> [Op].

lost(#waiter{}) -> {answer, {error, lost}};
lost(#subscriber{}) -> lost.

info(#queue{items = Items, line = Line, next = Next} = Q) ->
    maps:merge(#{items => length(Items), ready => length(ready_items(Q)), pushed => Next - 1, damaged => 0,
                 leased => length([I || #item{state = {leased, _, _}} = I <- Items]),
                 delayed => length([I || #item{state = delayed} = I <- Items]),
                 buried => length([I || #item{state = buried} = I <- Items]),
                 waiting => length([W || #waiter{} = W <- Line]),
                 subscribers => length([S || #subscriber{} = S <- Line]),
                 first_id => lists:min([Next | ids(Q)]), next_id => Next,
                 gone => Next - 1 - length(Items)},
               maps:merge(totals(Q), bytes(Q))).

totals(#queue{was_killed = true}) ->
    #{};
totals(#queue{popped = Popped, acked = Acked, dropped = Dropped, dead = Dead}) ->
    #{popped => Popped, acked => Acked, dropped => Dropped, dead => length(Dead)}.

bytes(#queue{has_units = true, items = Items}) -> #{bytes => ?UNIT * length(Items)};
bytes(_) -> #{}.

%% What anybody can see of it.
seen(Q) ->
    #{info => info(Q), ready => [{Id, T} || #item{id = Id, term = T} <- ready_items(Q)],
      buried => buried_items(Q)}.

buried_items(#queue{items = Items}) ->
    [{Id, A, T} || #item{id = Id, state = buried, attempts = A, term = T} <- Items].

ids(#queue{items = Items}) -> [Id || #item{id = Id} <- Items].

ready(Q) -> [T || #item{term = T} <- ready_items(Q)].

leased(C, #queue{items = Items}) -> [Id || #item{id = Id, state = {leased, Who, _}} <- Items, Who =:= C].

is_waiting(C, #queue{line = Line}) -> [W || #waiter{client = Who} = W <- Line, Who =:= C] =/= [].

is_subscribed(C, #queue{line = Line}) ->
    [S || #subscriber{client = Who} = S <- Line, Who =:= C] =/= [].

%% An item that the next who asks will put aside.
has_worn_out(Q) -> [I || I <- ready_items(Q), worn_out(I, Q)] =/= [].

has_units(#queue{has_units = HasUnits}) -> HasUnits.

%% Leases of no time of their own end at once.
is_hasty(#queue{lease_ms = Ms}) -> Ms =:= 1.

is_bounded(Q) -> most(Q) =/= infinity.

has_dead_letter(#queue{has_dead_letter = Has}) -> Has.

waiting(#queue{line = Line}) -> [client(W) || W <- Line].

dead(#queue{dead = Dead}) -> lists:reverse(Dead).

client(#waiter{client = C}) -> C;
client(#subscriber{client = C}) -> C.

%%% Items.

ready_items(#queue{items = Items}) -> [I || #item{state = ready} = I <- Items].

set(Id, Change, #queue{items = Items} = Q) ->
    Item = lists:keyfind(Id, #item.id, Items),
    Q#queue{items = lists:keyreplace(Id, #item.id, Items, Change(Item))}.

remove(Id, #queue{items = Items} = Q) ->
    Q#queue{items = lists:keydelete(Id, #item.id, Items)}.

worn_out(#item{attempts = N}, #queue{max_attempts = Max}) -> N >= Max. % infinity is more than all

put_aside(Id, #queue{has_dead_letter = true, dead = Dead} = Q) ->
    #item{term = Term} = lists:keyfind(Id, #item.id, Q#queue.items),
    (remove(Id, Q))#queue{dead = [Term | Dead]};
put_aside(Id, Q) ->
    set(Id, fun(I) -> I#item{state = buried} end, Q).

come_back(Id, Q) -> come_back(Id, ready, Q).

come_back(Id, State, Q) ->
    case worn_out(lists:keyfind(Id, #item.id, Q#queue.items), Q) of
        true -> put_aside(Id, Q);
        false -> set(Id, fun(I) -> I#item{state = State} end, Q)
    end.

%% The first that may be delivered.
front(Q) ->
    case ready_items(Q) of
        [] -> {none, Q};
        [#item{id = Id} = Item | _] ->
            case worn_out(Item, Q) of
                true -> front(put_aside(Id, Q));
                false -> {Item, Q}
            end
    end.

most(#queue{max_bytes = infinity, max_items = Max}) -> Max;
most(#queue{max_bytes = Bytes, max_items = Max}) -> min(Bytes div ?UNIT, Max). % infinity is more

add(Terms, #queue{items = Items} = Q) ->
    Max = most(Q),
    case Max =/= infinity andalso length(Items) + length(Terms) - Max of
        Over when is_integer(Over), Over > 0, Terms =/= [] -> add_over(Terms, Over, Max, Q);
        _ -> {ok, append(Terms, Q)}
    end.

add_over(Terms, Over, Max, #queue{overflow = drop_head} = Q) when length(Terms) =< Max ->
    case length(ready_items(Q)) >= Over of
        true -> {ok, append(Terms, drop(Over, Q))};
        false -> {{error, full}, Q}
    end;
add_over(_, _, _, Q) ->
    {{error, full}, Q}.

drop(N, #queue{dropped = Dropped} = Q) ->
    First = [Id || #item{id = Id} <- lists:sublist(ready_items(Q), N)],
    lists:foldl(fun remove/2, Q#queue{dropped = Dropped + length(First)}, First).

append(Terms, #queue{items = Items, next = Next} = Q) ->
    New = [#item{id = Id, term = T} || {Id, T} <- lists:zip(lists:seq(Next, Next + length(Terms) - 1),
                                                           Terms)],
    Q#queue{items = Items ++ New, next = Next + length(Terms)}.

pop_one(Q0) ->
    case front(Q0) of
        {none, Q} -> {none, Q};
        {#item{id = Id, term = T}, #queue{popped = N} = Q} ->
            {{ok, T}, (remove(Id, Q))#queue{popped = N + 1}}
    end.

%% Taken, and then done with.
handle_one(Q0) ->
    case pop_one(Q0) of
        {none, Q} -> {none, Q};
        {Got, #queue{popped = N, acked = M} = Q} -> {Got, Q#queue{popped = N - 1, acked = M + 1}}
    end.

acked(Id, #queue{acked = N} = Q) ->
    (remove(Id, Q))#queue{acked = N + 1}.

take_one(C, By, Q0) ->
    case front(Q0) of
        {none, Q} -> {none, Q};
        {#item{id = Id, term = T, attempts = N}, Q} ->
            Taken = fun(I) -> I#item{state = {leased, C, By}, attempts = N + 1} end,
            {{ok, Id, N + 1, T}, set(Id, Taken, Q)}
    end.

many(_, 0, Q) ->
    {[], Q};
many(One, N, Q0) ->
    case One(Q0) of
        {none, Q} -> {[], Q};
        {First, Q1} -> {Rest, Q} = many(One, N - 1, Q1), {[First | Rest], Q}
    end.

%%% Operations.

op({push, T}, _, Q) -> add([T], Q);
op({push, T, _Level}, _, Q) -> add([T], Q);
op({push_async, T}, _, Q0) ->
    case add([T], Q0) of
        {ok, Q} -> {ok, Q};
        {{error, full}, Q} -> {{error, {full, 1}}, Q}
    end;
op({push_many, Ts}, _, Q) -> add(Ts, Q);
op(pop, _, Q0) ->
    case pop_one(Q0) of
        {none, Q} -> {nil, Q};
        {{ok, T}, Q} -> {T, Q}
    end;
op({pop_wait, _}, _, Q) -> or_empty(pop_one(Q), empty);
op(give_up, _, Q) -> or_empty(pop_one(Q), killed);
op({pop_many, N, _}, C, Q) -> op({pop_many, N}, C, Q);
op({pop_many, N}, _, Q0) ->
    {Got, Q} = many(fun pop_one/1, N, Q0),
    {{ok, [T || {ok, T} <- Got]}, Q};
op({fold, Nth, How}, C, Q0) ->
    {Got, Q1} = many(fun handle_one/1, Nth - 1, Q0),
    Terms = [T || {ok, T} <- Got],
    case take_one(C, call, Q1) of
        {none, Q} -> {{length(Terms) + 1, Terms}, Q};
        {{ok, Id, _, _}, Q} when How =:= halt -> {{Nth, Terms}, come_back(Id, Q)};
        {{ok, Id, _, _}, Q} -> {{How, stop}, come_back(Id, Q)}
    end;
op({try_pop, ok}, _, Q0) ->
    case handle_one(Q0) of
        {none, Q} -> {nil, Q};
        {{ok, T}, Q} -> {{had, T}, Q}
    end;
op({try_pop, Class}, C, Q0) ->
    case take_one(C, call, Q0) of
        {none, Q} -> {nil, Q};
        {{ok, Id, _, _}, Q} -> {{Class, stop}, come_back(Id, Q)}
    end;
op(take, C, Q) -> op({take, 0, default}, C, Q);
op({take, _}, C, Q) -> op({take, 0, default}, C, Q);
op({take, _, Lease}, C, Q0) ->
    {Answer, Q} = or_empty(take_one(C, call, Q0), empty),
    {Answer, expire(Lease, [Answer || Answer =/= empty], Q)};
op({take_many, N}, C, Q) -> op({take_many, N, 0, default}, C, Q);
op({take_many, N, _}, C, Q) -> op({take_many, N, 0, default}, C, Q);
op({take_many, N, _, Lease}, C, Q0) ->
    {Got, Q} = many(fun(Q1) -> take_one(C, call, Q1) end, N, Q0),
    {{ok, [{Id, Attempt, T} || {ok, Id, Attempt, T} <- Got]}, expire(Lease, Got, Q)};
op({show, N}, C, Q0) -> % with the attempts, which stay what they are
    {{ok, Shown}, Q} = op({take_many, N, 0, infinity}, C, Q0),
    Unsee = fun(I) -> I#item{state = ready, attempts = I#item.attempts - 1} end,
    {Shown, lists:foldl(fun({Id, _, _}, Acc) -> set(Id, Unsee, Acc) end, Q, Shown)};
op({ack, Id}, C, Q) -> decide(Id, C, fun acked/2, [buried], Q);
op({release, Id}, C, Q) -> decide(Id, C, fun come_back/2, [], Q);
op({release, Id, Ms}, C, Q) when Ms < 1000 ->
    decide(Id, C, fun(I, Q1) -> come_back(I, dozing, Q1) end, [], Q);
op({release, Id, _Hours}, C, Q) -> decide(Id, C, fun(I, Q1) -> come_back(I, delayed, Q1) end, [], Q);
op({bury, Id}, C, Q) -> decide(Id, C, fun(I, Q1) -> set(I, fun buried/1, Q1) end, [], Q);
op({touch, Id}, C, Q) -> decide(Id, C, fun(_, Q1) -> Q1 end, [], Q);
op({ack_many, Ids}, C, Q) -> decide_many(ack, Ids, C, Q);
op({release_many, Ids}, C, Q) -> decide_many(release, Ids, C, Q);
op({kick, N}, _, #queue{items = Items} = Q) ->
    Ids = lists:sublist([Id || #item{id = Id, state = buried} <- Items], N),
    {{ok, length(Ids)}, lists:foldl(fun(Id, Acc) ->
        set(Id, fun(I) -> I#item{state = ready, attempts = 0} end, Acc)
    end, Q, Ids)};
op({peek_buried, N}, _, Q) -> {{ok, lists:sublist(buried_items(Q), N)}, Q};
op(peek_front, _, Q) -> {first_or_nil(ready(Q)), Q};
op(peek_back, _, Q) -> {first_or_nil(lists:reverse(ready(Q))), Q};
op({peek_many, N}, _, Q) ->
    {{ok, lists:sublist([{Id, T} || #item{id = Id, term = T} <- ready_items(Q)], N)}, Q};
op({peek, N}, _, Q) -> {looked(N, ready(Q)), Q};
op({rpeek, N}, _, Q) -> {looked(N, lists:reverse(ready(Q))), Q};
op(length, _, Q) -> {length(ready_items(Q)), Q};
op(is_empty, _, Q) -> {ready_items(Q) =:= [], Q};
op(erase, _, #queue{items = Items, dropped = N} = Q) ->
    {ok, Q#queue{items = [], dropped = N + length(Items)}};
op(sync, _, Q) -> {ok, Q};
op(metadata, _, Q) -> {maps:with([items, ready], info(Q)), Q};
op({configure, Options}, _, Q) -> {ok, move_worn_out(configured(Options, Q))};
op({begun, Ts, Dropped, All}, _, Q) ->
    case add(All, Q) of
        {ok, _} -> {ok, drop(Dropped, append(Ts, Q))};
        Full -> Full
    end;
op({flight, Steps}, C, Q0) ->
    {Answers, Q} = lists:mapfoldl(fun(Step, Q1) -> op(Step, C, Q1) end, Q0, Steps),
    Full = length([Step || {{cast, _} = Step, {error, full}} <- lists:zip(Steps, Answers)]),
    {{[sent(Step, Answer) || {Step, Answer} <- lists:zip(Steps, Answers)],
      case Full of 0 -> ok; _ -> {error, {full, Full}} end}, Q};
op({Many, Steps}, C, Q) when Many =:= batch; Many =:= pipeline ->
    lists:mapfoldl(fun(Step, Q1) -> op(Step, C, Q1) end, Q, Steps);
op({cast, T}, _, Q) -> add([T], Q);
op({enqueue, T}, _, Q) -> add([T], Q);
op({Try, How}, C, Q) when Try =:= try_dequeue; Try =:= try_pop_and_purge -> op({try_pop, How}, C, Q);
op({subscribe, Credit}, C, #queue{line = Line} = Q) ->
    {ok, Q#queue{line = Line ++ [#subscriber{client = C, credit = Credit}]}};
op(unsubscribe, C, #queue{line = Line} = Q) ->
    Ids = [Id || #item{id = Id, state = {leased, Who, subscription}} <- Q#queue.items, Who =:= C],
    Left = Q#queue{line = [W || W <- Line, client(W) =/= C]},
    {ok, lists:foldl(fun come_back/2, Left, Ids)};
op({wait, Want}, C, #queue{line = Line} = Q) ->
    {ok, Q#queue{line = Line ++ [#waiter{client = C, want = Want}]}};
op(Op, C, Q) ->
    op(same_as(Op), C, Q).

same_as(dequeue) -> pop;
same_as(pop_and_purge) -> pop;
same_as(inspect) -> peek_front;
same_as(purge) -> is_empty;
same_as(flush) -> sync.

sent({cast, _}, _) -> ok;
sent(_, Answer) -> Answer.

%% Those of 1 ms are over at once.
expire(Lease, Got, #queue{lease_ms = Ms} = Q) ->
    case Lease =:= 1 orelse Lease =:= default andalso Ms =:= 1 of
        true -> lists:foldl(fun come_back/2, Q, [Id || {ok, Id, _, _} <- Got]);
        false -> Q
    end.

or_empty({none, Q}, Empty) -> {Empty, Q};
or_empty(Got, _) -> Got.

first_or_nil([]) -> nil;
first_or_nil([T | _]) -> T.

looked(N, Terms) ->
    First = lists:sublist(Terms, N),
    {N - length(First), First}.

buried(Item) -> Item#item{state = buried}.

%% By the holder, or by anybody in these states.
decide(Id, C, Change, States, #queue{items = Items} = Q) ->
    case lists:keyfind(Id, #item.id, Items) of
        #item{state = {leased, C, _}} -> {ok, Change(Id, Q)};
        #item{state = State} -> case lists:member(State, States) of
                                    true -> {ok, Change(Id, Q)};
                                    false -> {{error, not_leased}, Q}
                                end;
        false -> {{error, not_leased}, Q}
    end.

decide_many(What, Ids, C, Q0) ->
    {Refused, Q} = lists:foldl(fun(Id, {No, Q1}) ->
        case op({What, Id}, C, Q1) of
            {ok, Q2} -> {No, Q2};
            {_, Q2} -> {[Id | No], Q2}
        end
    end, {[], Q0}, Ids),
    case lists:reverse(Refused) of
        [] -> {ok, Q};
        Not -> {{error, {not_leased, Not}}, Q}
    end.

%%% The line.

%% A subscriber without credit is in no line; with some it stands behind the others.
rejoin(Before, #queue{line = Line} = Q) ->
    Back = [S || #subscriber{} = S <- Line, lists:member(S, Before#queue.line),
                 is_able(S, Q), not is_able(S, Before)],
    Q#queue{line = (Line -- Back) ++ Back}.

%% First come, first served; a subscriber goes behind the others.
serve(#queue{line = Line} = Q0) ->
    case [W || W <- Line, is_able(W, Q0)] of
        [] -> {[], Q0};
        [W | _] ->
            case front(Q0) of
                {none, Q} -> {[], Q};
                {_, Q} ->
                    {Told, Served} = give(W, Q#queue{line = Line -- [W]}),
                    {More, Last} = serve(Served),
                    {[Told | More], Last}
            end
    end.

is_able(#waiter{}, _) -> true;
is_able(#subscriber{client = C, credit = Credit}, #queue{items = Items}) ->
    length([I || #item{state = {leased, Who, subscription}} = I <- Items, Who =:= C]) < Credit.

give(#waiter{client = C, want = Want}, Q0) ->
    {Answer, Q} = op(Want, C, Q0),
    {{C, {answer, Answer}}, Q};
give(#subscriber{client = C} = S, Q0) ->
    {{ok, Id, Attempt, T}, #queue{line = Line} = Q} = take_one(C, subscription, Q0),
    {{C, {item, Id, Attempt, T}}, Q#queue{line = Line ++ [S]}}.
