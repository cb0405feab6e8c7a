%% @doc Items as they travel: one that was pushed with a compression level as a marked binary, which
%% is undone here.
-module(emmap_item).

-export([pack/1]).
-export([pack/2]).
-export([unpack/1]).

%% In external term format, compressed.
-define(ZIPPED(Bin), {'$emmap_zip', Bin}).

%% @doc What looks like a compressed item is wrapped once more.
-spec pack(term()) -> term().
pack(?ZIPPED(Bin) = Item) when is_binary(Bin) -> pack(Item, 0);
pack(Item) -> Item.

-spec pack(term(), 0..9) -> term().
pack(Item, Level) -> ?ZIPPED(term_to_binary(Item, [{compressed, Level}])).

-spec unpack(term()) -> term().
unpack(?ZIPPED(Bin)) when is_binary(Bin) -> binary_to_term(Bin);
unpack(Item) -> Item.
