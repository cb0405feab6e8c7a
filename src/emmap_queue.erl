%% @doc Persistent queues of Erlang terms, owned by emmapd: any number of producers and consumers, on
%% any number of nodes of a host.
%%
%% A queue is a handle from open/3, the name of its file, a process of start_link/4 (pid or name),
%% or `{Name, Node}'. Items leave in the order of arrival; each has a number that is never used
%% again. take/1 leases one to the calling process, until that acks, releases or buries it or ends;
%% then it is ready again at its old place.
%%
%% A function with a tagged result fails with `{error, Reason}', one with a bare result with an
%% exception of class error and the same Reason; emmap:format_error/1 explains reasons.
-module(emmap_queue).

%% length/1 and erase/1 are the names that users of other queues know.
-compile({no_auto_import, [length/1, erase/1]}).

%% Opening and closing
-export([open/3]).
-export([close/1]).
-export([flush/1]).
-export([sync/1]).
-export([erase/1]).

%% Putting in
-export([push/2]).
-export([push/3]).
-export([push_many/2]).
-export([push_async/2]).
-export([enqueue/2]).
-export([barrier/1]).

%% Taking out
-export([pop/1]).
-export([pop/3]).
-export([pop_wait/2]).
-export([pop_many/2]).
-export([pop_many/3]).
-export([dequeue/1]).
-export([pop_and_purge/1]).
-export([try_pop/2]).
-export([try_dequeue/2]).
-export([try_pop_and_purge/2]).

%% Leases
-export([take/1]).
-export([take/2]).
-export([take/3]).
-export([take_many/2]).
-export([take_many/3]).
-export([take_many/4]).
-export([ack/2]).
-export([ack_many/2]).
-export([release/2]).
-export([release/3]).
-export([release_many/2]).
-export([touch/2]).
-export([bury/2]).
-export([kick/2]).
-export([peek_buried/2]).

%% Subscriptions
-export([subscribe/2]).
-export([unsubscribe/2]).

%% Looking
-export([peek_front/1]).
-export([peek_back/1]).
-export([peek_many/2]).
-export([inspect/1]).
-export([peek/3]).
-export([rpeek/3]).
-export([length/1]).
-export([is_empty/1]).
-export([purge/1]).
-export([metadata/1]).
-export([info/1]).

%% A queue in one's own supervision tree
-export([start_link/1]).
-export([start_link/4]).
-export([child_spec/1]).

-export_type([queue/0, id/0, subscription/0, options/0, reason/0]).

-type queue() :: emmap_handle:handle() | emmap:name() | pid() | atom() | {atom(), node()}.
-type id() :: pos_integer().
-type subscription() :: reference().
-type options() :: [emmap_options:queue_option()].
-type reason() :: emmap_error:reason().
-type step(S) :: fun((Item :: term(), S) -> {cont, S} | {halt, S}).
-type lease() :: pos_integer() | infinity | default.
-type start_args() :: {atom(), emmap:name(), non_neg_integer(), options()}.

%% Opening and closing.

%% @doc Opens a queue; its file is made if it is missing. Size (bytes) is the bound of a
%% `fixed_size' queue and of no meaning else. Options that are given are kept in the file.
-spec open(emmap:name(), non_neg_integer(), options()) -> {ok, queue()} | {error, reason()}.
open(Name, Size, Options) ->
    case emmap_open:queue(Name, Size, Options) of
        {ok, Q, _Info} -> {ok, Q};
        Outcome -> emmap_result:tagged(Outcome, {?MODULE, open, [Name, Size, Options]})
    end.

%% @doc Closes the handle for ever; again and again is fine. The queue stays open for others, and
%% what is leased stays leased. A process of start_link/4 is stopped instead, and a name has nothing
%% to close: badarg.
-spec close(emmap_handle:handle()) -> ok.
close(Q) ->
    case emmap_open:close(Q) of
        ok -> ok;
        badarg -> emmap_error:badarg(?MODULE, close, [Q], none)
    end.

%% @doc Write-back to the disk begins.
-spec flush(queue()) -> ok | {error, reason()}.
flush(Q) ->
    tagged(Q, flush, flush, [Q]).

%% @doc All acknowledged changes are on the disk.
-spec sync(queue()) -> ok | {error, reason()}.
sync(Q) ->
    tagged(Q, sync, sync, [Q]).

%% @doc Takes everything out, leased and buried items too; done on the disk.
-spec erase(queue()) -> ok | {error, reason()}.
erase(Q) ->
    tagged(Q, erase, erase, [Q]).

%% Putting in.

%% @doc Appends an item. `full': the queue is bounded, and it does not fit.
-spec push(queue(), Item :: term()) -> ok | {error, full | reason()}.
push(Q, Item) ->
    tagged(Q, {push, emmap_item:pack(Item)}, push, [Q, Item]).

%% @doc The same, compressed (0 to 9, as term_to_binary/2). Here it is undone when the item comes
%% out; who talks to the daemon without this module gets `{'$emmap_zip', Binary}'.
-spec push(queue(), Item :: term(), Level :: 0..9) -> ok | {error, full | reason()}.
push(Q, Item, Level) when is_integer(Level), Level >= 0, Level =< 9 ->
    tagged(Q, {push, emmap_item:pack(Item, Level)}, push, [Q, Item, Level]);
push(Q, Item, Level) ->
    emmap_error:badarg(?MODULE, push, [Q, Item, Level], none).

%% @doc Appends items in order, all or none.
-spec push_many(queue(), [Item :: term()]) -> ok | {error, full | reason()}.
push_many(Q, Items) ->
    try [emmap_item:pack(Item) || Item <- Items] of
        Packed -> tagged(Q, {push_many, Packed}, push_many, [Q, Items])
    catch
        error:_ -> emmap_error:badarg(?MODULE, push_many, [Q, Items], none)
    end.

%% @doc Appends an item without an answer; barrier/1 tells what became of such.
-spec push_async(queue(), Item :: term()) -> ok | {error, closed}.
push_async(Q, Item) ->
    case emmap_access:cast(emmap_access:to(Q), {push, emmap_item:pack(Item)}) of
        {error, badarg} -> emmap_error:badarg(?MODULE, push_async, [Q, Item], none);
        Result -> Result
    end.

%% @doc Waits until all that was sent without an answer by this handle is done.
-spec barrier(queue()) -> ok | {error, {casts, map()} | reason()}.
barrier(Q) ->
    emmap_result:tagged(emmap_access:barrier(emmap_access:to(Q)), {?MODULE, barrier, [Q]}).

%% @doc As push/2.
-spec enqueue(queue(), Item :: term()) -> ok | {error, full | reason()}.
enqueue(Q, Item) ->
    tagged(Q, {push, emmap_item:pack(Item)}, enqueue, [Q, Item]).

%% Taking out.

%% @doc The first item, or `nil'. An answer that gets lost takes its item along; take/1 does not.
-spec pop(queue()) -> Item :: term() | nil.
pop(Q) ->
    item_or_nil(bare(Q, {pop_wait, 0}, pop, [Q])).

%% @doc The first item, waited for at most so many milliseconds.
-spec pop_wait(queue(), timeout()) -> {ok, Item :: term()} | empty | {error, reason()}.
pop_wait(Q, Timeout) ->
    tagged(Q, {pop_wait, Timeout}, pop_wait, [Q, Timeout]).

%% @doc At most Max of the first items, and at most 10,000.
-spec pop_many(queue(), pos_integer()) -> {ok, [Item :: term()]} | {error, reason()}.
pop_many(Q, Max) ->
    tagged(Q, {pop_many, Max}, pop_many, [Q, Max]).

%% @doc The same; the first of them is waited for.
-spec pop_many(queue(), pos_integer(), timeout()) -> {ok, [Item :: term()]} | {error, reason()}.
pop_many(Q, Max, Timeout) ->
    tagged(Q, {pop_many, Max, Timeout}, pop_many, [Q, Max, Timeout]).

%% @doc Takes items out one after the other while Fun answers `{cont, S}'. The present item stays
%% on `{halt, S}' and on an exception. Others get the items after it, meanwhile: at most 100 at a
%% time are leased to this process. Each is acked when Fun is done with it, by a request whose reply
%% comes to this process and is awaited at the end of these: Fun must not receive what it does not
%% know. Raises `{lease_lost, Id}' where an item was not this process's any more: it comes again, or
%% somebody erased the queue.
-spec pop(queue(), S, step(S)) -> S.
pop(Q, S, Fun) when is_function(Fun, 2) ->
    fold(emmap_fold:pop(emmap_access:to(Q), S, Fun), pop, [Q, S, Fun]);
pop(Q, S, Fun) ->
    emmap_error:badarg(?MODULE, pop, [Q, S, Fun], none).

%% @doc As pop/1.
-spec dequeue(queue()) -> Item :: term() | nil.
dequeue(Q) ->
    item_or_nil(bare(Q, {pop_wait, 0}, dequeue, [Q])).

%% @doc As pop/1: space comes back by itself.
-spec pop_and_purge(queue()) -> Item :: term() | nil.
pop_and_purge(Q) ->
    item_or_nil(bare(Q, {pop_wait, 0}, pop_and_purge, [Q])).

%% @doc Fun's result for the first item, which is gone only if Fun returns; `nil' without one. Fun
%% runs here, and nobody else gets the item meanwhile. Raises `{lease_lost, Id}' where the
%% connection broke: the item comes again.
-spec try_pop(queue(), fun((Item :: term()) -> T)) -> T | nil.
try_pop(Q, Fun) ->
    try_pop(Q, Fun, try_pop).

%% @doc As try_pop/2.
-spec try_dequeue(queue(), fun((Item :: term()) -> T)) -> T | nil.
try_dequeue(Q, Fun) ->
    try_pop(Q, Fun, try_dequeue).

%% @doc As try_pop/2: space comes back by itself.
-spec try_pop_and_purge(queue(), fun((Item :: term()) -> T)) -> T | nil.
try_pop_and_purge(Q, Fun) ->
    try_pop(Q, Fun, try_pop_and_purge).

%% Leases.

%% @doc Leases the first item to the calling process. Attempt counts deliveries, from 1.
-spec take(queue()) -> {ok, id(), Attempt :: pos_integer(), Item :: term()} | empty
                     | {error, reason()}.
take(Q) ->
    tagged(Q, take, take, [Q]).

%% @doc The same, waited for.
-spec take(queue(), timeout()) -> {ok, id(), Attempt :: pos_integer(), Item :: term()} | empty
                                | {error, reason()}.
take(Q, Timeout) ->
    tagged(Q, {take, Timeout}, take, [Q, Timeout]).

%% @doc The same, leased for so many milliseconds.
-spec take(queue(), timeout(), lease()) ->
          {ok, id(), Attempt :: pos_integer(), Item :: term()} | empty | {error, reason()}.
take(Q, Timeout, Lease) ->
    tagged(Q, {take, Timeout, Lease}, take, [Q, Timeout, Lease]).

%% @doc Leases at most Max of the first items, and at most 10,000.
-spec take_many(queue(), pos_integer()) ->
          {ok, [{id(), Attempt :: pos_integer(), Item :: term()}]} | {error, reason()}.
take_many(Q, Max) ->
    tagged(Q, {take_many, Max}, take_many, [Q, Max]).

-spec take_many(queue(), pos_integer(), timeout()) ->
          {ok, [{id(), Attempt :: pos_integer(), Item :: term()}]} | {error, reason()}.
take_many(Q, Max, Timeout) ->
    tagged(Q, {take_many, Max, Timeout}, take_many, [Q, Max, Timeout]).

-spec take_many(queue(), pos_integer(), timeout(), lease()) ->
          {ok, [{id(), Attempt :: pos_integer(), Item :: term()}]} | {error, reason()}.
take_many(Q, Max, Timeout, Lease) ->
    tagged(Q, {take_many, Max, Timeout, Lease}, take_many, [Q, Max, Timeout, Lease]).

%% @doc A leased item is done; a buried one, by anyone.
-spec ack(queue(), id()) -> ok | {error, not_leased | reason()}.
ack(Q, Id) ->
    tagged(Q, {ack, Id}, ack, [Q, Id]).

%% @doc The same of many: those that are not leased to this process are named, the others done.
-spec ack_many(queue(), [id()]) -> ok | {error, {not_leased, [id()]} | reason()}.
ack_many(Q, Ids) ->
    tagged(Q, {ack_many, Ids}, ack_many, [Q, Ids]).

%% @doc A leased item is ready again, at its old place.
-spec release(queue(), id()) -> ok | {error, not_leased | reason()}.
release(Q, Id) ->
    tagged(Q, {release, Id}, release, [Q, Id]).

%% @doc The same after so many milliseconds, rounded up to a second.
-spec release(queue(), id(), Delay :: non_neg_integer()) -> ok | {error, not_leased | reason()}.
release(Q, Id, Delay) ->
    tagged(Q, {release, Id, Delay}, release, [Q, Id, Delay]).

-spec release_many(queue(), [id()]) -> ok | {error, {not_leased, [id()]} | reason()}.
release_many(Q, Ids) ->
    tagged(Q, {release_many, Ids}, release_many, [Q, Ids]).

%% @doc The time of the lease begins anew.
-spec touch(queue(), id()) -> ok | {error, not_leased | reason()}.
touch(Q, Id) ->
    tagged(Q, {touch, Id}, touch, [Q, Id]).

%% @doc Puts a leased item aside, for peek_buried/2 and kick/2.
-spec bury(queue(), id()) -> ok | {error, not_leased | reason()}.
bury(Q, Id) ->
    tagged(Q, {bury, Id}, bury, [Q, Id]).

%% @doc At most Max of the buried items, oldest first, are ready again, as if never delivered.
-spec kick(queue(), pos_integer()) -> {ok, non_neg_integer()} | {error, reason()}.
kick(Q, Max) ->
    tagged(Q, {kick, Max}, kick, [Q, Max]).

-spec peek_buried(queue(), pos_integer()) ->
          {ok, [{id(), Attempt :: non_neg_integer(), Item :: term()}]} | {error, reason()}.
peek_buried(Q, Max) ->
    tagged(Q, {peek_buried, Max}, peek_buried, [Q, Max]).

%% Subscriptions.

%% @doc Items come as messages `{emmap_queue, Sub, Id, Attempt, Item}', leased to this process, at
%% most Credit of them not acked; the credits of all subscriptions of this node together are bounded
%% by the daemon's max_leases. `{'DOWN', Sub, process, _, _}': the connection was lost, subscribe
%% again. `{emmap_queue, Sub, {error, Reason}}': the queue has failed, the subscription is over, and
%% only its monitor is left, for erlang:demonitor/1. Items that were pushed compressed come as
%% `{'$emmap_zip', Binary}'.
-spec subscribe(queue(), Credit :: pos_integer()) -> {ok, subscription()} | {error, reason()}.
subscribe(Q, Credit) ->
    emmap_result:tagged(emmap_subscription:subscribe(emmap_access:to(Q), Credit),
                        {?MODULE, subscribe, [Q, Credit]}).

%% @doc Ends a subscription of this process: what is not acked goes back; messages of it that were
%% not received yet are dropped, and their deliveries do not count. The subscription of another
%% process is badarg.
-spec unsubscribe(queue(), subscription()) -> ok | {error, reason()}.
unsubscribe(Q, Sub) ->
    emmap_result:tagged(emmap_subscription:unsubscribe(emmap_access:to(Q), Sub),
                        {?MODULE, unsubscribe, [Q, Sub]}).

%% Looking.

%% @doc The first item, which stays, or `nil'.
-spec peek_front(queue()) -> Item :: term() | nil.
peek_front(Q) ->
    first(bare(Q, {peek_many, 1}, peek_front, [Q])).

%% @doc The last item, or `nil'.
-spec peek_back(queue()) -> Item :: term() | nil.
peek_back(Q) ->
    first(bare(Q, {rpeek_many, 1}, peek_back, [Q])).

%% @doc At most Max of the first items, with their numbers.
-spec peek_many(queue(), pos_integer()) -> {ok, [{id(), Item :: term()}]} | {error, reason()}.
peek_many(Q, Max) ->
    tagged(Q, {peek_many, Max}, peek_many, [Q, Max]).

%% @doc As peek_front/1.
-spec inspect(queue()) -> Item :: term() | nil.
inspect(Q) ->
    first(bare(Q, {peek_many, 1}, inspect, [Q])).

%% @doc Fun with each ready item in order, while it answers `{cont, S}'.
-spec peek(queue(), S, step(S)) -> S.
peek(Q, S, Fun) when is_function(Fun, 2) ->
    fold(emmap_fold:peek(emmap_access:to(Q), S, Fun), peek, [Q, S, Fun]);
peek(Q, S, Fun) ->
    emmap_error:badarg(?MODULE, peek, [Q, S, Fun], none).

%% @doc The same from the last to the first.
-spec rpeek(queue(), S, step(S)) -> S.
rpeek(Q, S, Fun) when is_function(Fun, 2) ->
    fold(emmap_fold:rpeek(emmap_access:to(Q), S, Fun), rpeek, [Q, S, Fun]);
rpeek(Q, S, Fun) ->
    emmap_error:badarg(?MODULE, rpeek, [Q, S, Fun], none).

%% @doc How many items pop could have now.
-spec length(queue()) -> non_neg_integer().
length(Q) ->
    bare(Q, length, length, [Q]).

-spec is_empty(queue()) -> boolean().
is_empty(Q) ->
    bare(Q, length, is_empty, [Q]) =:= 0.

%% @doc As is_empty/1: space comes back by itself.
-spec purge(queue()) -> boolean().
purge(Q) ->
    bare(Q, length, purge, [Q]) =:= 0.

%% @doc As info/1.
-spec metadata(queue()) -> emmap:info().
metadata(Q) ->
    bare(Q, info, metadata, [Q]).

%% @doc Counts, bounds, positions in the file; see API.
-spec info(queue()) -> emmap:info().
info(Q) ->
    bare(Q, info, info, [Q]).

%% A queue in one's own supervision tree.

%% @doc As start_link/4.
-spec start_link(start_args()) -> gen_server:start_ret().
start_link({Name, File, Size, Options}) ->
    start_link(Name, File, Size, Options).

%% @doc A process registered as Name that opens the queue at start and closes it at its end.
-spec start_link(atom(), emmap:name(), non_neg_integer(), options()) -> gen_server:start_ret().
start_link(Name, File, Size, Options) ->
    emmap_queue_server:start_link(Name, File, Size, Options).

-spec child_spec(start_args()) -> supervisor:child_spec().
child_spec({Name, _File, _Size, _Options} = Args) ->
    #{id => Name, start => {?MODULE, start_link, [Args]}, type => worker}.

%% Internal.

tagged(Q, Request, Function, Args) ->
    emmap_result:tagged(ask(Q, Request), {?MODULE, Function, Args}).

bare(Q, Request, Function, Args) ->
    emmap_result:bare(ask(Q, Request), {?MODULE, Function, Args}).

ask(Q, Request) ->
    case emmap_access:call(emmap_access:to(Q), Request) of
        {ok, Reply} -> {ok, emmap_item:unpack_reply(Request, Reply)};
        Outcome -> Outcome
    end.

item_or_nil({ok, Item}) -> Item;
item_or_nil(empty) -> nil.

first({ok, [{_Id, Item}]}) -> Item;
first({ok, []}) -> nil.

%% A fold's result may be anything; only its errors are ours.
fold({ok, Result}, _Function, _Args) -> Result;
fold({error, _} = Error, Function, Args) -> emmap_result:bare({ok, Error}, {?MODULE, Function, Args});
fold(timeout, Function, Args) -> exit({timeout, {?MODULE, Function, Args}}).

try_pop(Q, Fun, Function) when is_function(Fun, 1) ->
    fold(emmap_fold:try_pop(emmap_access:to(Q), Fun), Function, [Q, Fun]);
try_pop(Q, Fun, Function) ->
    emmap_error:badarg(?MODULE, Function, [Q, Fun], none).
