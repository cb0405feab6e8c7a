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

%% A fold that takes out. `held': the handle's id under which its leases began; they are gone when
%% it has another.
-record(pop, {queue :: emmap_access:access(),
              handle :: emmap_handle:handle() | none,
              held = none :: pos_integer() | closed | foreign | none,
              many = ?FIRST :: pos_integer(),
              step :: step(term())}).

%% @doc Takes items until Fun halts or none is ready. Each is done with when Fun has answered
%% `cont'; the present one stays on `halt' and on an exception, and the rest goes back unseen.
-spec pop(emmap_access:access(), S, step(S)) -> outcome(S).
pop(Queue, S, Fun) ->
    pop(S, #pop{queue = Queue, handle = emmap_access:handle(Queue), step = Fun}).

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
        {ok, {ok, []}} -> settled(S, P);
        {ok, {ok, Items}} -> each(Items, S, held(P#pop{many = next_many(Many, Items)}));
        Other -> failed(Other)
    end.

each([], S, P) ->
    pop(S, P);
each([{Id, _Attempt, Item} | Rest] = Items, S, #pop{step = Fun} = P) ->
    try answer(Fun(emmap_item:unpack(Item), S)) of
        {cont, Next} ->
            done(Id, Rest, Next, P);
        {halt, Last} ->
            ok = give_back(Items, P),
            settled(Last, P)
    catch
        Class:Reason:Stack ->
            ok = give_back(Items, P),
            _ = settled(S, P),
            erlang:raise(Class, Reason, Stack)
    end.

%% An answer that is none is an exception of Fun's.
answer({cont, _} = Answer) -> Answer;
answer({halt, _} = Answer) -> Answer.

%% By a handle the acks are not waited for before the end.
done(Id, Rest, S, #pop{handle = none, queue = Queue} = P) ->
    case acked(Queue, Id) of
        ok -> each(Rest, S, P);
        Failed -> Failed
    end;
done(Id, Rest, S, #pop{handle = F} = P) ->
    _ = emmap_request:cast(F, {ack, Id}),
    case still_held(P) of
        true -> each(Rest, S, P);
        false -> lost(S, P)
    end.

held(#pop{handle = none} = P) -> P;
held(#pop{handle = F} = P) -> P#pop{held = emmap_handle:id(F)}.

still_held(#pop{handle = F, held = Id}) ->
    emmap_handle:id(F) =:= Id andalso emmap_handle:is_current(F) =:= yes.

%% The connection broke, and others may have the rest by now: it is left. If all that was done has
%% been acked, the fold goes on.
lost(S, P) ->
    case settled(S, P) of
        {ok, S} -> pop(S, P);
        Failed -> Failed
    end.

give_back([{Id, _, _} | Rest], #pop{queue = Queue}) ->
    _ = emmap_access:call(Queue, {release, Id}),
    _ = [emmap_access:call(Queue, {release_many, [Other || {Other, _, _} <- Rest], unseen})
         || Rest =/= []],
    ok.

settled(S, #pop{handle = none}) ->
    {ok, S};
settled(S, #pop{handle = F}) ->
    case emmap_request:barrier(F) of
        {ok, ok} -> {ok, S};
        Other -> failed(Other)
    end.

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
            case acked(Queue, Id) of
                ok -> {ok, Result};
                Failed -> Failed
            end
    catch
        Class:Reason:Stack ->
            _ = emmap_access:call(Queue, {release, Id}),
            erlang:raise(Class, Reason, Stack)
    end.

%% Without a connection the lease is gone, too. After nodedown nobody knows.
acked(Queue, Id) ->
    case emmap_access:call(Queue, {ack, Id}) of
        {ok, ok} -> ok;
        {ok, {error, not_leased}} -> {error, {lease_lost, Id}};
        {error, {not_connected, _}} -> {error, {lease_lost, Id}};
        Other -> failed(Other)
    end.

failed({ok, {error, _} = Error}) -> Error;
failed({error, _} = Error) -> Error;
failed(timeout) -> timeout.
