%% @doc Items as they travel: one that was pushed with a compression level as a marked binary, which
%% is undone here.
-module(emmap_item).

-export([pack/1]).
-export([pack/2]).
-export([unpack/1]).
-export([unpack_reply/2]).

%% In external term format, compressed.
-define(ZIPPED(Bin), {'$emmap_zip', Bin}).

%% @doc What looks like a compressed item is wrapped once more.
-spec pack(term()) -> term().
pack(?ZIPPED(Bin) = Item) when is_binary(Bin) -> pack(Item, 0);
pack(Item) -> Item.

-spec pack(term(), 0..9) -> term().
pack(Item, Level) -> ?ZIPPED(term_to_binary(Item, [{compressed, Level}])).

%% @doc What only looks like a compressed item, because it was pushed without this module, stays as
%% it is. Whoever may push may make atoms here, compressed or not: all are of one cookie.
-spec unpack(term()) -> term().
unpack(?ZIPPED(Bin) = Item) when is_binary(Bin) ->
    try
        binary_to_term(Bin)
    catch
        error:badarg -> Item
    end;
unpack(Item) ->
    Item.

%% @doc The same with the items in the daemon's reply to a request.
-spec unpack_reply(emmap_request:request(), Reply :: term()) -> term().
unpack_reply(Request, Reply) when is_tuple(Request), Request =/= {} ->
    in_reply(element(1, Request), Reply);
unpack_reply(Request, Reply) ->
    in_reply(Request, Reply).

%% Internal.

in_reply(pop, Item) ->
    unpack(Item);
in_reply(pop_wait, {ok, Item}) ->
    {ok, unpack(Item)};
in_reply(pop_many, {ok, Items}) ->
    {ok, [unpack(Item) || Item <- Items]};
in_reply(take, {ok, Id, Attempt, Item}) ->
    {ok, Id, Attempt, unpack(Item)};
in_reply(Name, {ok, Items}) when Name =:= take_many; Name =:= peek_buried ->
    {ok, [{Id, Attempt, unpack(Item)} || {Id, Attempt, Item} <- Items]};
in_reply(Name, {ok, Items}) when Name =:= peek_many; Name =:= rpeek_many ->
    {ok, [{Id, unpack(Item)} || {Id, Item} <- Items]};
in_reply(_Name, Reply) ->
    Reply.
