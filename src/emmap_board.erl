%% @doc What a lane shows to every process of the node: how many casts it has not sent yet, and
%% under which epoch (a number of each connection, 0 without one) it works.
%%
%% A node's board is made once and outlives its lanes, so that handles keep it. Beside it stand the
%% casts that were too long to be taken in: the daemon does not count these.
-module(emmap_board).

-export([init/0]).
-export([of_node/1]).
-export([connected/1]).
-export([disconnected/1]).
-export([epoch/1]).
-export([cast/1]).
-export([casts_left/2]).
-export([unsent_casts/1]).
-export([refused/2]).
-export([told_refused/2]).

-export_type([board/0]).

-opaque board() :: atomics:atomics_ref().

-define(UNSENT, 1).
-define(EPOCH, 2).

%% @doc The table of boards, owned by the caller.
-spec init() -> ok.
init() ->
    ?MODULE = ets:new(?MODULE, [named_table, public, {read_concurrency, true}]),
    ok.

-spec of_node(node()) -> board().
of_node(Node) ->
    case ets:lookup(?MODULE, Node) of
        [{Node, Board}] ->
            Board;
        [] ->
            %% of two that come at once one is second: both take the first one's
            _ = ets:insert_new(?MODULE, {Node, atomics:new(2, [])}),
            of_node(Node)
    end.

%% @doc A connection begins; nothing is unsent.
-spec connected(board()) -> ok.
connected(Board) ->
    atomics:put(Board, ?EPOCH, erlang:unique_integer([positive, monotonic])).

%% @doc There is no connection; what was unsent is lost.
-spec disconnected(board()) -> ok.
disconnected(Board) ->
    ok = atomics:put(Board, ?EPOCH, 0),
    atomics:put(Board, ?UNSENT, 0).

%% @doc The present connection's number, 0 where there is none.
-spec epoch(board()) -> non_neg_integer().
epoch(Board) ->
    atomics:get(Board, ?EPOCH).

%% @doc Counts one cast on its way to the lane; answers how many there are.
-spec cast(board()) -> integer().
cast(Board) ->
    atomics:add_get(Board, ?UNSENT, 1).

%% @doc So many casts have left.
-spec casts_left(board(), non_neg_integer()) -> ok.
casts_left(Board, N) ->
    atomics:sub(Board, ?UNSENT, N).

-spec unsent_casts(board()) -> integer().
unsent_casts(Board) ->
    atomics:get(Board, ?UNSENT).

%% @doc A cast on the object of this id was too long to be taken in.
-spec refused(node(), Id :: term()) -> ok.
refused(Node, Id) ->
    _ = ets:update_counter(?MODULE, {Node, Id}, [{2, 1}, {3, 1}], {{Node, Id}, 0, 0}),
    ok.

%% @doc How many such there were, and how many of them nobody was told of before.
-spec told_refused(node(), Id :: term()) -> {non_neg_integer(), non_neg_integer()}.
told_refused(Node, Id) ->
    try ets:update_counter(?MODULE, {Node, Id}, [{2, 0}, {3, 0}, {3, 1, 0, 0}]) of
        [All, New, 0] -> {All, New}
    catch
        error:badarg -> {0, 0}
    end.
