%% @doc A handle: `#file_descriptor{module = emmap}', good for every process of this node.
%%
%% What changes is in an array of atomics, so that the term itself never does: the daemon's
%% present id for the object (0: closed for ever), the cursor, the epoch of the connection that
%% the id belongs to, and the counts of casts. On another node the array is not there.
-module(emmap_handle).

-include_lib("kernel/include/file.hrl").

-export([new/4]).
-export([is_handle/1]).
-export([node/1]).
-export([board/1]).
-export([offset/1]).
-export([reopening/1]).

-export([id/1]).
-export([is_current/1]).
-export([renew/3]).
-export([close/1]).

-export([cursor/1]).
-export([move/3]).
-export([rewind/2]).

-export([count_cast/1]).
-export([casts/1]).
-export([settle/3]).

-export_type([handle/0, reopening/0]).

-record(handle, {slots :: atomics:atomics_ref(),
                 node :: node(),
                 board :: emmap_board:board(),
                 offset :: non_neg_integer(),
                 reopening :: reopening()}).

-type handle() :: #file_descriptor{}.
%% The request that opens the object again; `never' where it ended with the daemon.
-type reopening() :: tuple() | never.

-define(ID, 1).
-define(CURSOR, 2).
-define(EPOCH, 3).
%% casts sent; of these, those that the present id's count cannot contain; the count of casts done
%% under the present id at its last barrier
-define(SENT, 4).
-define(SETTLED, 5).
-define(DONE, 6).
-define(SLOTS, 6).

-define(CLOSED, 0).

%% @doc A handle on what the daemon has just opened under Id, from Offset of the file on.
-spec new(node(), pos_integer(), non_neg_integer(), reopening()) -> handle().
new(Node, Id, Offset, Reopening) ->
    Board = emmap_board:of_node(Node),
    Slots = atomics:new(?SLOTS, []),
    ok = atomics:put(Slots, ?EPOCH, emmap_board:epoch(Board)),
    ok = atomics:put(Slots, ?ID, Id),
    #file_descriptor{module = emmap,
                     data = #handle{slots = Slots, node = Node, board = Board,
                                    offset = Offset, reopening = Reopening}}.

%% @doc Whether this is a handle, and of this node.
-spec is_handle(term()) -> boolean().
is_handle(#file_descriptor{module = emmap, data = #handle{slots = Slots}}) ->
    try atomics:get(Slots, ?ID) of
        _ -> true
    catch
        error:badarg -> false
    end;
is_handle(_) ->
    false.

-spec node(handle()) -> node().
node(#file_descriptor{data = #handle{node = Node}}) ->
    Node.

-spec board(handle()) -> emmap_board:board().
board(#file_descriptor{data = #handle{board = Board}}) ->
    Board.

-spec offset(handle()) -> non_neg_integer().
offset(#file_descriptor{data = #handle{offset = Offset}}) ->
    Offset.

-spec reopening(handle()) -> reopening().
reopening(#file_descriptor{data = #handle{reopening = Reopening}}) ->
    Reopening.

%% @doc The daemon's id for the object. `foreign': the handle is another node's, or none.
-spec id(term()) -> pos_integer() | closed | foreign.
id(#file_descriptor{data = #handle{slots = Slots}}) ->
    try atomics:get(Slots, ?ID) of
        ?CLOSED -> closed;
        Id -> Id
    catch
        error:badarg -> foreign
    end;
id(_) ->
    foreign.

%% @doc Whether the id is of the present connection: `yes', `no' (it will be stale), or `down'
%% (there is no connection).
-spec is_current(handle()) -> yes | no | down.
is_current(#file_descriptor{data = #handle{slots = Slots, board = Board}}) ->
    case emmap_board:epoch(Board) of
        0 -> down;
        Epoch -> same(Epoch, atomics:get(Slots, ?EPOCH))
    end.

%% @doc The object was opened again. False: it has been closed or renewed meanwhile.
-spec renew(handle(), Old :: pos_integer(), New :: pos_integer()) -> boolean().
renew(#file_descriptor{data = #handle{slots = Slots, board = Board}}, Old, New) ->
    Epoch = emmap_board:epoch(Board),
    case atomics:compare_exchange(Slots, ?ID, Old, New) of
        ok ->
            ok = atomics:add(Slots, ?SETTLED, atomics:exchange(Slots, ?DONE, 0)),
            ok = atomics:put(Slots, ?EPOCH, Epoch),
            true;
        _ ->
            false
    end.

%% @doc Closes the handle for ever; answers the id it had.
-spec close(handle()) -> pos_integer() | closed | foreign.
close(#file_descriptor{data = #handle{slots = Slots}}) ->
    try atomics:exchange(Slots, ?ID, ?CLOSED) of
        ?CLOSED -> closed;
        Id -> Id
    catch
        error:badarg -> foreign
    end.

-spec cursor(handle()) -> non_neg_integer().
cursor(#file_descriptor{data = #handle{slots = Slots}}) ->
    atomics:get(Slots, ?CURSOR).

%% @doc Moves the cursor, unless another process has moved it from there already.
-spec move(handle(), From :: non_neg_integer(), To :: non_neg_integer()) -> boolean().
move(#file_descriptor{data = #handle{slots = Slots}}, From, To) ->
    atomics:compare_exchange(Slots, ?CURSOR, From, To) =:= ok.

%% @doc Puts the cursor there.
-spec rewind(handle(), non_neg_integer()) -> ok.
rewind(#file_descriptor{data = #handle{slots = Slots}}, To) ->
    atomics:put(Slots, ?CURSOR, To).

%% @doc One cast more. Counted when it has been sent: so a barrier of another process never takes
%% one for lost that is still to come.
-spec count_cast(handle()) -> ok.
count_cast(#file_descriptor{data = #handle{slots = Slots}}) ->
    atomics:add(Slots, ?SENT, 1).

%% @doc How many casts have been sent through this handle.
-spec casts(handle()) -> non_neg_integer().
casts(#file_descriptor{data = #handle{slots = Slots}}) ->
    atomics:get(Slots, ?SENT).

%% @doc A barrier behind the first Sent casts told that Done were done under the present id.
%% Answers how many are lost; each is told once.
-spec settle(handle(), Sent :: non_neg_integer(), Done :: non_neg_integer()) -> non_neg_integer().
settle(#file_descriptor{data = #handle{slots = Slots}} = F, Sent, Done) ->
    Settled = atomics:get(Slots, ?SETTLED),
    Lost = max(0, Sent - Settled - Done),
    case atomics:compare_exchange(Slots, ?SETTLED, Settled, Settled + Lost) of
        ok ->
            ok = atomics:put(Slots, ?DONE, Done),
            Lost;
        _ ->
            settle(F, Sent, Done)
    end.

%% Internal.

same(Epoch, Epoch) -> yes;
same(_, _) -> no.
