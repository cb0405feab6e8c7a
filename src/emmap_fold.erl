%% @doc Going through a queue: looking, and taking out under lease.
-module(emmap_fold).

-export([pop/3]).
-export([peek/3]).
-export([rpeek/3]).
-export([try_pop/2]).

-type queue() :: emmap_request:object().
-type step(S) :: fun((Item :: term(), S) -> {cont, S} | {halt, S}).
-type outcome(T) :: {ok, T} | {error, term()} | timeout.

%% So many at a time.
-define(MANY, 100).

%% @doc Takes items until Fun halts or none is ready. Each is done with when Fun has answered
%% `cont'; the present one stays on `halt' and on an exception, and the rest goes back unseen.
-spec pop(queue(), S, step(S)) -> outcome(S).
pop(Q, S, Fun) ->
    case emmap_request:call(Q, {take_many, ?MANY, 0, infinity}) of
        {ok, {ok, []}} -> settled(Q, S);
        {ok, {ok, Items}} -> pop(Items, Q, S, Fun);
        Other -> failed(Other)
    end.

%% @doc Shows the ready items in order, until Fun halts.
-spec peek(queue(), S, step(S)) -> outcome(S).
peek(Q, S, Fun) ->
    look(Q, peek_many, fun(Id) -> Id + 1 end, {peek_many, ?MANY}, S, Fun).

%% @doc The same from the last back to the first.
-spec rpeek(queue(), S, step(S)) -> outcome(S).
rpeek(Q, S, Fun) ->
    look(Q, rpeek_many, fun(Id) -> Id - 1 end, {rpeek_many, ?MANY}, S, Fun).

%% @doc Fun with the first item; the item is gone only if Fun returns. `nil' without one.
-spec try_pop(queue(), fun((term()) -> T)) -> outcome(T | nil) | {lease_lost, pos_integer()}.
try_pop(Q, Fun) ->
    case emmap_request:call(Q, {take, 0, infinity}) of
        {ok, empty} -> {ok, nil};
        {ok, {ok, Id, _Attempt, Item}} -> try_item(Q, Id, Item, Fun);
        Other -> failed(Other)
    end.

%% Internal.

pop([], Q, S, Fun) ->
    pop(Q, S, Fun);
pop([{Id, _Attempt, Item} | Rest], Q, S, Fun) ->
    try Fun(emmap_item:unpack(Item), S) of
        {cont, Next} ->
            ok = done(Q, Id),
            pop(Rest, Q, Next, Fun);
        {halt, Last} ->
            ok = give_back(Q, Id, Rest),
            settled(Q, Last)
    catch
        Class:Reason:Stack ->
            ok = give_back(Q, Id, Rest),
            _ = settled(Q, S),
            erlang:raise(Class, Reason, Stack)
    end.

%% By a handle nothing has to be waited for before the end.
done(Q, Id) when is_tuple(Q) ->
    case emmap_request:cast(Q, {ack, Id}) of
        ok -> ok;
        {error, _} -> ok % the handle was closed: the item comes again
    end;
done(Q, Id) ->
    _ = emmap_request:call(Q, {ack, Id}),
    ok.

give_back(Q, Id, Rest) ->
    _ = emmap_request:call(Q, {release_many, [Other || {Other, _, _} <- Rest], unseen}),
    _ = emmap_request:call(Q, {release, Id}),
    ok.

settled(Q, S) when is_tuple(Q) ->
    case emmap_request:barrier(Q) of
        {ok, ok} -> {ok, S};
        Other -> failed(Other)
    end;
settled(_Q, S) ->
    {ok, S}.

look(Q, Name, Next, Request, S, Fun) ->
    case emmap_request:call(Q, Request) of
        {ok, {ok, []}} ->
            {ok, S};
        {ok, {ok, Items}} ->
            case show(Items, S, Fun) of
                {halt, Last} ->
                    {ok, Last};
                {cont, Last, Id} ->
                    case Next(Id) of
                        0 -> {ok, Last};
                        From -> look(Q, Name, Next, {Name, ?MANY, From}, Last, Fun)
                    end
            end;
        Other ->
            failed(Other)
    end.

show([{Id, Item} | Rest], S, Fun) ->
    case Fun(emmap_item:unpack(Item), S) of
        {halt, Last} -> {halt, Last};
        {cont, Last} when Rest =:= [] -> {cont, Last, Id};
        {cont, Last} -> show(Rest, Last, Fun)
    end.

try_item(Q, Id, Item, Fun) ->
    try Fun(emmap_item:unpack(Item)) of
        Result ->
            case emmap_request:call(Q, {ack, Id}) of
                {ok, ok} -> {ok, Result};
                _ -> {lease_lost, Id} % it comes again
            end
    catch
        Class:Reason:Stack ->
            _ = emmap_request:call(Q, {release, Id}),
            erlang:raise(Class, Reason, Stack)
    end.

failed({ok, {error, _} = Error}) -> Error;
failed({error, _} = Error) -> Error;
failed(timeout) -> timeout.
