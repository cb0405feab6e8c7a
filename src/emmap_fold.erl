%% @doc Going through a queue: looking, and taking out under lease.
-module(emmap_fold).

-export([pop/3]).
-export([peek/3]).
-export([rpeek/3]).
-export([try_pop/2]).
-export([next_many/2]).

-type step(S) :: fun((Item :: term(), S) -> {cont, S} | {halt, S}).
-type outcome(T) :: {ok, T} | {error, term()} | timeout.

%% So many at a time, at most; so many first, when nobody knows how big they are; and such that they
%% make about so many bytes.
-define(MOST, 100).
-define(FIRST, 10).
-define(BYTES, 1048576).

-record(pop, {queue :: emmap_access:access(),
              many = ?FIRST :: pos_integer(),
              step :: step(term())}).

%% What is on its way to be done with, last first; all of it was taken by this connection.
-record(batch, {connection :: non_neg_integer(),
                acks = [] :: [{Id :: pos_integer(), emmap_access:ticket()}]}).

%% @doc Takes items until Fun halts or none is ready. Each is done with when Fun has answered
%% `cont'; the present one stays on `halt' and on an exception, and the rest goes back unseen. An
%% ack leaves when its item is done with, and is awaited at the end of the batch.
-spec pop(emmap_access:access(), S, step(S)) -> outcome(S).
pop(Queue, S, Fun) ->
    pop(S, #pop{queue = Queue, step = Fun}).

%% @doc Shows the ready items in order, until Fun halts.
-spec peek(emmap_access:access(), S, step(S)) -> outcome(S).
peek(Queue, S, Fun) ->
    look(Queue, peek_many, {peek_many, ?FIRST}, S, Fun).

%% @doc The same from the last back to the first.
-spec rpeek(emmap_access:access(), S, step(S)) -> outcome(S).
rpeek(Queue, S, Fun) ->
    look(Queue, rpeek_many, {rpeek_many, ?FIRST}, S, Fun).

%% @doc Fun with the first item; the item is gone only if Fun returns. `nil' without one.
-spec try_pop(emmap_access:access(), fun((term()) -> T)) -> outcome(T | nil).
try_pop(Queue, Fun) ->
    case emmap_access:call(Queue, {take, 0, infinity}) of
        {ok, empty} -> {ok, nil};
        {ok, {ok, Id, _Attempt, Item}} -> try_item(Queue, Id, Item, Fun);
        Other -> failed(Other)
    end.

%% @doc How many to ask for, after these were the answer to so many.
-spec next_many(pos_integer(), [term(), ...]) -> pos_integer().
next_many(Many, Items) when is_integer(Many) ->
    Wanted = length(Items) * ?BYTES div erlang:external_size(Items),
    max(1, min(Wanted, min(?MOST, 10 * Many))).

%% Internal.

pop(S, #pop{queue = Queue, many = Many} = P) ->
    case emmap_access:call(Queue, {take_many, Many, 0, infinity}) of
        {ok, {ok, []}} ->
            {ok, S};
        {ok, {ok, Items}} ->
            Batch = #batch{connection = emmap_access:connection(Queue)},
            each(Items, S, Batch, P#pop{many = next_many(Many, Items)});
        Other ->
            failed(Other)
    end.

each([], S, Batch, P) ->
    next(S, Batch, P);
each([{Id, _Attempt, Item} | Rest] = Items, S, Batch, #pop{step = Fun} = P) ->
    try answer(Fun(emmap_item:unpack(Item), S)) of
        {cont, Next} ->
            done(Id, Rest, Next, Batch, P);
        {halt, Last} ->
            ok = give_back(Items, P),
            settled(Last, Batch)
    catch
        Class:Reason:Stack ->
            ok = whatever(fun() -> give_back(Items, P) end),
            ok = whatever(fun() -> settled(S, Batch) end),
            erlang:raise(Class, Reason, Stack)
    end.

%% An answer that is none is an exception of Fun's.
answer({cont, _} = Answer) -> Answer;
answer({halt, _} = Answer) -> Answer.

done(Id, Rest, S, #batch{connection = Connection, acks = Acks}, #pop{queue = Queue} = P) ->
    Batch = #batch{connection = Connection,
                   acks = [{Id, emmap_access:send(Queue, {ack, Id})} | Acks]},
    case emmap_access:connection(Queue) of
        Connection ->
            each(Rest, S, Batch, P);
        _ ->
            %% it broke, and others may have the rest by now
            ok = unseen(Rest, P),
            next(S, Batch, P)
    end.

next(S, Batch, P) ->
    case settled(S, Batch) of
        {ok, S} -> pop(S, P);
        Failed -> Failed
    end.

%% S, if all that Fun is done with is done. Of what is not, the first is told.
settled(S, #batch{acks = Acks}) ->
    lists:foldr(fun({Id, Ticket}, Result) ->
                    first_failed(Result, acked(emmap_access:await(Ticket), Id))
                end, {ok, S}, Acks).

first_failed(Result, ok) -> Result;
first_failed({ok, _}, Failed) -> Failed;
first_failed(Failed, _) -> Failed.

give_back([{Id, _, _} | Rest], #pop{queue = Queue} = P) ->
    _ = emmap_access:call(Queue, {release, Id}),
    unseen(Rest, P).

unseen([], _P) ->
    ok;
unseen(Items, #pop{queue = Queue}) ->
    _ = emmap_access:call(Queue, {release_many, [Id || {Id, _, _} <- Items], unseen}),
    ok.

look(Queue, Name, Request, S, Fun) ->
    case emmap_access:call(Queue, Request) of
        {ok, {ok, []}} -> {ok, S};
        {ok, {ok, Items}} -> look_on(Queue, Name, element(2, Request), Items, show(Items, S, Fun), Fun);
        Other -> failed(Other)
    end.

look_on(_Queue, _Name, _Many, _Items, {halt, S}, _Fun) ->
    {ok, S};
look_on(Queue, Name, Many, Items, {cont, S}, Fun) ->
    {Id, _} = lists:last(Items),
    case beyond(Name, Id) of
        0 -> {ok, S};
        From -> look(Queue, Name, {Name, next_many(Many, Items), From}, S, Fun)
    end.

beyond(peek_many, Id) -> Id + 1;
beyond(rpeek_many, Id) -> Id - 1.

show([], S, _Fun) ->
    {cont, S};
show([{_Id, Item} | Rest], S, Fun) ->
    case answer(Fun(emmap_item:unpack(Item), S)) of
        {cont, Next} -> show(Rest, Next, Fun);
        {halt, Last} -> {halt, Last}
    end.

try_item(Queue, Id, Item, Fun) ->
    try Fun(emmap_item:unpack(Item)) of
        Result ->
            case acked(emmap_access:call(Queue, {ack, Id}), Id) of
                ok -> {ok, Result};
                Failed -> Failed
            end
    catch
        Class:Reason:Stack ->
            ok = whatever(fun() -> emmap_access:call(Queue, {release, Id}) end),
            erlang:raise(Class, Reason, Stack)
    end.

%% Without a connection the lease is gone, too. After nodedown nobody knows.
acked({ok, ok}, _Id) -> ok;
acked({ok, {error, not_leased}}, Id) -> {error, {lease_lost, Id}};
acked({error, {not_connected, _}}, Id) -> {error, {lease_lost, Id}};
acked(Other, _Id) -> failed(Other).

%% What is done after an exception of Fun's must not replace it.
whatever(Fun) ->
    try Fun() of
        _ -> ok
    catch
        _:_ -> ok
    end.

failed({ok, {error, _} = Error}) -> Error;
failed({error, _} = Error) -> Error;
failed(timeout) -> timeout.
