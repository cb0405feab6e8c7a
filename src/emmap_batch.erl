%% @doc Many requests in one message. Each succeeds or fails alone.
-module(emmap_batch).

-include_lib("kernel/include/file.hrl").

-export([run/1]).

-type item() :: {emmap_request:object(), emmap_request:request()} | sync.
%% An item ready to go, or answered here already.
-type prepared() :: {wire, node(), Id :: pos_integer() | binary(), term()} | sync | {reply, term()}.

%% @doc The replies in order. A bare `sync' as the last item covers all objects before it.
%% `badarg': the items are no list of requests, or their objects are of different daemons.
-spec run([item()]) -> emmap_request:outcome().
run(Items) ->
    case prepare(Items, none, []) of
        badarg -> {ok, {error, badarg}};
        Prepared -> run(Items, Prepared, lists:usort([Node || {wire, Node, _, _} <- Prepared]))
    end.

%% Internal.

%% Most batches are of one object: where the last request went is remembered.
-spec prepare(term(), none | {emmap_request:object(), term()}, [prepared()]) -> [prepared()] | badarg.
prepare([], _Last, Prepared) ->
    lists:reverse(Prepared);
prepare([sync], _Last, [_ | _] = Prepared) ->
    lists:reverse(Prepared, [sync]);
prepare([{Obj, Request} | Items], Last, Prepared) ->
    case emmap_request:is_request(Request) andalso target(Obj, Last) of
        false -> badarg;
        {error, badarg} -> badarg;
        Target -> prepare(Items, {Obj, Target}, [prepared(Target, Request) | Prepared])
    end;
prepare(_, _, _) ->
    badarg.

target(Obj, {Obj, Target}) -> Target;
target(Obj, _Last) -> emmap_request:current_target(Obj).

prepared({ok, Node, Id}, Request) -> {wire, Node, Id, emmap_request:with_object(Request, Id)};
prepared({error, _} = Error, _Request) -> {reply, Error}.

run(_Items, Prepared, []) ->
    {ok, {ok, weave(Prepared, [ok || sync <- Prepared])}}; % nothing is left to sync
run(Items, Prepared, [Node]) ->
    Wires = [Wire || {wire, _, _, Wire} <- Prepared] ++ [sync || sync <- Prepared],
    case emmap_request:to_node(Node, {batch, Wires}) of
        {ok, {ok, Replies}} -> repeat_stale(Items, Prepared, weave(Prepared, Replies));
        Outcome -> Outcome
    end;
run(_Items, _Prepared, _Nodes) ->
    {ok, {error, badarg}}.

weave([{reply, Reply} | Prepared], Replies) -> [Reply | weave(Prepared, Replies)];
weave([_ | Prepared], [Reply | Replies]) -> [Reply | weave(Prepared, Replies)];
weave([], []) -> [].

%% Of a handle whose id was stale no request ran: it is opened again, and they run in a second
%% batch.
repeat_stale(Items, Prepared, Replies) ->
    case lists:member({error, stale}, Replies) of
        false ->
            {ok, {ok, Replies}};
        true ->
            Reopened = maps:from_list([{Obj, reopen(Obj, Id)}
                                       || {Obj, Id} <- stale(Items, Prepared, Replies)]),
            second(Items, [outcome(I, R, Reopened) || {I, R} <- lists:zip(Items, Replies)])
    end.

stale(Items, Prepared, Replies) ->
    lists:usort([{Obj, Id} || {{Obj, _}, {wire, _, Id, _}, {error, stale}}
                                  <- lists:zip3(Items, Prepared, Replies)]).

reopen({#file_descriptor{} = F, _Count}, Id) ->
    reopen(F, Id);
reopen(#file_descriptor{} = F, Id) ->
    case emmap_reopen:reopen(F, Id, emmap_config:get(call_timeout)) of
        timeout -> {error, stale}; % nothing ran, and nothing can be said of the object
        Result -> Result
    end.

outcome({Obj, _}, {error, stale}, Reopened) ->
    case Reopened of
        #{Obj := ok} -> again;
        #{Obj := Error} -> Error
    end;
outcome(sync, Reply, Reopened) ->
    case lists:member(ok, maps:values(Reopened)) of
        true -> again;
        false -> Reply
    end;
outcome(_Item, Reply, _Reopened) ->
    Reply.

second(Items, Outcomes) ->
    case [Item || {Item, again} <- lists:zip(Items, Outcomes)] of
        [] ->
            {ok, {ok, Outcomes}};
        Again ->
            case run(Again) of
                {ok, {ok, Second}} -> {ok, {ok, merge(Outcomes, Second)}};
                Outcome -> Outcome
            end
    end.

merge([again | Outcomes], [Reply | Second]) -> [Reply | merge(Outcomes, Second)];
merge([Reply | Outcomes], Second) -> [Reply | merge(Outcomes, Second)];
merge([], []) -> [].
