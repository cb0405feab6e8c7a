%% @doc What a request weighs for the lane: the bytes of the heavier way, its message or its reply.
%%
%% Light ones share an envelope, heavy ones travel alone. How heavy the items are that a queue will
%% answer with nobody knows before: they are guessed, and what did not fit beside others goes alone.
-module(emmap_weight).

-export([of_request/1]).
-export([alone/2]).

%% Beyond this a message travels alone, as bulk.
-define(SMALL, 8192).
%% An item, its number and what is around them.
-define(ITEM, 1024).
%% The most that is guessed.
-define(ANSWER, 262144).

%% @doc A request as it goes over the wire: its object in second place.
-spec of_request(term()) -> emmap_lane:weight().
of_request({pread, _, _, Len}) when is_integer(Len), Len > ?SMALL -> {in, Len};
of_request({pread, _, _, Len}) when is_integer(Len) -> {small, 64 + Len};
of_request({pwrite, _, _, Data}) when is_binary(Data) -> by_size(64 + byte_size(Data));
of_request({pread, _, _} = List) -> heavier(answer(List), 64);
of_request({push, _, Item}) -> by_size(64 + erlang:external_size(Item));
of_request({batch, Requests} = Batch) -> heavier(answers(Requests), erlang:external_size(Batch));
of_request(Request) when is_atom(Request) -> {small, 64};
of_request(Request) -> heavier(answer(Request), erlang:external_size(Request)).

%% @doc What it weighs alone, if its answer may have been too long for an envelope; `none': it was
%% alone, or its answers are short.
-spec alone(term(), emmap_lane:weight()) -> emmap_lane:weight() | none.
alone(Request, {small, _}) when is_tuple(Request) ->
    case answer(Request) of
        0 -> none;
        _ -> {in, ?ANSWER}
    end;
alone(_Request, _Weight) ->
    none.

%% Internal.

by_size(Bytes) when Bytes > ?SMALL -> {out, Bytes};
by_size(Bytes) -> {small, Bytes}.

heavier(In, Out) when In > Out, In > ?SMALL -> {in, In};
heavier(In, Out) when In > Out -> {small, In};
heavier(_In, Out) -> by_size(Out).

answers(Requests) when length(Requests) >= 0 -> % a proper list
    lists:sum([answer(Request) || Request <- Requests]);
answers(_) ->
    0.

%% The bytes of an answer that may be long, 0 of all others.
answer({pread, _, _, Len}) when is_integer(Len) -> Len;
answer({pread, _, List}) when length(List) >= 0 -> lists:sum([N || {_, N} <- List, is_integer(N)]);
answer({pop, _}) -> ?ITEM;
answer({pop_wait, _, _}) -> ?ITEM;
answer(Request) when is_tuple(Request), tuple_size(Request) > 1 ->
    answer(element(1, Request), Request);
answer(_) -> 0.

answer(take, _) -> ?ITEM;
answer(Name, Request) when Name =:= pop_many; Name =:= take_many; Name =:= peek_many;
                           Name =:= rpeek_many; Name =:= peek_buried ->
    of_many(Request);
answer(_, _) -> 0.

of_many(Request) when tuple_size(Request) > 2, is_integer(element(3, Request)) ->
    min(?ANSWER, max(1, element(3, Request)) * ?ITEM);
of_many(_) -> 0.
