%% @doc Files mapped into memory, owned by emmapd, a node of its own.
%%
%% Regions are bytes, counters persistent 64-bit integers. A handle is a file descriptor of module
%% `file', too: file:pread/3, file:write/2, file:position/2 and the others work on it. Every
%% process of the node that opened it may use it; it opens itself again after a restart of the
%% daemon. Where a function takes an object, the name of a file does as well, unless the function
%% uses the cursor.
%%
%% A function with a tagged result fails with `{error, Reason}', one with a bare result with an
%% exception of class error and the same Reason. A caller's mistake is `badarg' everywhere, and
%% without the application `{not_started, emmap}'. emmap:format_error/1 explains reasons. Queues are module emmap_queue's.
-module(emmap).

-include_lib("kernel/include/file.hrl").

%% Regions
-export([open/2]).
-export([open/4]).
-export([close/1]).
-export([pread/2]).
-export([pread/3]).
-export([pwrite/2]).
-export([pwrite/3]).
-export([read/2]).
-export([read_line/1]).
-export([write/2]).
-export([position/2]).
-export([resize/1]).
-export([resize/2]).
-export([truncate/1]).
-export([allocate/3]).
-export([advise/4]).
-export([flush/1]).
-export([sync/1]).
-export([datasync/1]).

%% Integers in regions
-export([patomic_add/3]).
-export([patomic_sub/3]).
-export([patomic_and/3]).
-export([patomic_or/3]).
-export([patomic_xor/3]).
-export([patomic_xchg/3]).
-export([patomic_cas/4]).
-export([patomic_read_integer/2]).
-export([patomic_write_integer/3]).

%% Counters
-export([open_counters/1]).
-export([open_counters/2]).
-export([open_counters/3]).
-export([close_counters/1]).
-export([inc_counter/2]).
-export([inc_counter/3]).
-export([dec_counter/2]).
-export([dec_counter/3]).
-export([set_counter/3]).
-export([read_counter/2]).
-export([update_counters/2]).
-export([read_counters/1]).
-export([read_counters/2]).

%% Blocks
-export([init_block_storage/2]).
-export([store_block/2]).
-export([store_blocks/2]).
-export([read_block/2]).
-export([read_blocks/1]).
-export([read_blocks/2]).
-export([read_blocks/3]).
-export([free_block/2]).
-export([free_blocks/2]).
-export([repair_block_storage/1]).
-export([repair_block_storage/2]).
-export([repair_block_storage/3]).

%% Batches, casts, time limits
-export([call/2]).
-export([call/3]).
-export([send_request/2]).
-export([batch/1]).
-export([batch/2]).
-export([cast/2]).
-export([barrier/1]).

%% Operations
-export([info/0]).
-export([info/1]).
-export([list/0]).
-export([list/1]).
-export([clients/0]).
-export([clients/1]).
-export([metrics/0]).
-export([metrics/1]).
-export([ping/0]).
-export([which_node/0]).
-export([snapshot/2]).
-export([restore/2]).
-export([format_error/1]).

-export_type([handle/0, counters/0, object/0, name/0, request/0, reason/0, info/0, open_info/0]).

-type handle() :: emmap_handle:handle().
-type counters() :: {handle(), non_neg_integer()}.
-type name() :: string() | binary().
-type object() :: handle() | counters() | name().
%% A request as in PROTOCOL.md, without its object: `{inc_counter, 0, 5}', `sync'.
-type request() :: atom() | tuple().
-type reason() :: emmap_error:reason().
-type info() :: #{atom() => term()}.
-type open_info() :: #{exist := boolean(), size := non_neg_integer(), id := pos_integer(),
                       kind := atom(), _ => _}.
-type position() :: non_neg_integer().
-type int64() :: -16#8000000000000000..16#7fffffffffffffff.
-type index() :: non_neg_integer().
-type address() :: non_neg_integer().

%% Regions.

%% @doc Opens a file whole: see open/4 with offset and length 0.
-spec open(name(), [emmap_options:option()]) -> {ok, handle(), open_info()} | {error, reason()}.
open(Name, Options) ->
    opened(emmap_open:region(Name, 0, 0, Options), open, [Name, Options]).

%% @doc Opens the bytes Offset..Length-1 of a file as a region. Length is the size of the file in
%% bytes; 0 stands for what it has, or for `{size, N}' where it is made.
-spec open(name(), non_neg_integer(), non_neg_integer(), [emmap_options:option()]) ->
          {ok, handle(), open_info()} | {error, reason()}.
open(Name, Offset, Length, Options) ->
    opened(emmap_open:region(Name, Offset, Length, Options), open,
           [Name, Offset, Length, Options]).

%% @doc Closes the handle for ever; again and again is fine. What was acknowledged is kept.
-spec close(handle()) -> ok.
close(F) ->
    case emmap_open:close(F) of
        ok -> ok;
        badarg -> emmap_error:badarg(?MODULE, close, [F], none)
    end.

%% @doc Len bytes from Pos on, fewer at the end; `eof' at or past it.
-spec pread(object(), position(), non_neg_integer()) -> {ok, binary()} | eof | {error, reason()}.
pread(Obj, Pos, Len) ->
    tagged(emmap_pieces:pread(Obj, Pos, Len), pread, [Obj, Pos, Len]).

%% @doc Many reads in one message.
-spec pread(object(), [{position(), non_neg_integer()}]) ->
          {ok, [binary() | eof]} | {error, reason()}.
pread(Obj, List) ->
    tagged(emmap_pieces:preads(Obj, List), pread, [Obj, List]).

%% @doc Writes the bytes at Pos; past the end it is badarg. Up to 128 KiB it happens at one
%% instant for all who read.
-spec pwrite(object(), position(), iodata()) -> ok | {error, reason()}.
pwrite(Obj, Pos, Data) ->
    tagged(with_binary(Data, fun(Bin) -> emmap_pieces:pwrite(Obj, Pos, Bin) end),
           pwrite, [Obj, Pos, Data]).

%% @doc Many writes in one message, in order. After an error Done of them are done.
-spec pwrite(object(), [{position(), iodata()}]) ->
          ok | {error, {Done :: non_neg_integer(), reason()}}.
pwrite(Obj, List) ->
    tagged(with_binaries(List, fun(Bins) -> emmap_pieces:pwrites(Obj, Bins) end),
           pwrite, [Obj, List]).

%% @doc Up to Len bytes from the cursor on, which moves. Two readers of one handle never get the
%% same bytes.
-spec read(handle(), non_neg_integer()) -> {ok, binary()} | eof | {error, reason()}.
read(F, Len) ->
    tagged(emmap_cursor:read(F, Len), read, [F, Len]).

%% @doc The line at the cursor with its `\n'; `\r\n' becomes `\n'. The last may have none.
-spec read_line(handle()) -> {ok, binary()} | eof | {error, reason()}.
read_line(F) ->
    tagged(emmap_cursor:read_line(F), read_line, [F]).

%% @doc Writes at the cursor, which moves.
-spec write(handle(), iodata()) -> ok | {error, reason()}.
write(F, Data) ->
    tagged(with_binary(Data, fun(Bin) -> emmap_cursor:write(F, Bin) end), write, [F, Data]).

%% @doc Puts the cursor somewhere within 0..size and tells where that is. `{eof, N}' and
%% `{eof, -N}' are both N before the end.
-spec position(handle(), Where) -> {ok, position()} | {error, reason()} when
      Where :: position() | bof | cur | eof | {bof | cur | eof, integer()}.
position(F, Where) ->
    tagged(emmap_cursor:position(F, Where), position, [F, Where]).

%% @doc Doubles the file, or adds `max_inc_size' where that is less. The new size.
-spec resize(handle()) -> {ok, non_neg_integer()} | {error, reason()}.
resize(F) ->
    tagged(emmap_cursor:on_handle(F, {resize, 0}), resize, [F]).

%% @doc Gives the file another size; 0 as in resize/1.
-spec resize(handle(), non_neg_integer()) -> {ok, non_neg_integer()} | {error, reason()}.
resize(F, Size) ->
    tagged(emmap_cursor:on_handle(F, {resize, Size}), resize, [F, Size]).

%% @doc Cuts the file at the cursor.
-spec truncate(handle()) -> ok | {error, reason()}.
truncate(F) ->
    tagged(emmap_cursor:truncate(F), truncate, [F]).

%% @doc Makes the file at least Offset + Length bytes long, with the space on the disk.
-spec allocate(handle(), non_neg_integer(), non_neg_integer()) -> ok | {error, reason()}.
allocate(F, Offset, Length) ->
    tagged(emmap_cursor:on_handle(F, {allocate, Offset, Length}), allocate, [F, Offset, Length]).

%% @doc Tells the kernel how these bytes will be used.
-spec advise(handle(), non_neg_integer(), non_neg_integer(), Advice) ->
          ok | {error, reason()} when
      Advice :: normal | sequential | random | no_reuse | will_need | dont_need.
advise(F, Offset, Length, Advice) ->
    tagged(emmap_cursor:on_handle(F, {advise, Offset, Length, Advice}), advise,
           [F, Offset, Length, Advice]).

%% @doc Write-back to the disk begins.
-spec flush(object()) -> ok | {error, reason()}.
flush(Obj) ->
    tagged(emmap_request:call(Obj, flush), flush, [Obj]).

%% @doc All acknowledged changes of the object are on the disk when it returns.
-spec sync(object()) -> ok | {error, reason()}.
sync(Obj) ->
    tagged(emmap_request:call(Obj, sync), sync, [Obj]).

%% @doc As sync/1.
-spec datasync(object()) -> ok | {error, reason()}.
datasync(Obj) ->
    tagged(emmap_request:call(Obj, datasync), datasync, [Obj]).

%% Integers in regions: 64 bits, signed, little-endian, at positions that are multiples of 8 in
%% the file (else `{error, alignment}'). Sums wrap.

%% @doc Adds V; the value before.
-spec patomic_add(object(), position(), int64()) -> {ok, int64()} | {error, reason()}.
patomic_add(Obj, Pos, V) ->
    tagged(emmap_request:call(Obj, {patomic_add, Pos, V}), patomic_add, [Obj, Pos, V]).

%% @doc Subtracts V; the value before.
-spec patomic_sub(object(), position(), int64()) -> {ok, int64()} | {error, reason()}.
patomic_sub(Obj, Pos, V) ->
    tagged(emmap_request:call(Obj, {patomic_sub, Pos, V}), patomic_sub, [Obj, Pos, V]).

%% @doc Bitwise and with V; the value before.
-spec patomic_and(object(), position(), int64()) -> {ok, int64()} | {error, reason()}.
patomic_and(Obj, Pos, V) ->
    tagged(emmap_request:call(Obj, {patomic_and, Pos, V}), patomic_and, [Obj, Pos, V]).

%% @doc Bitwise or with V; the value before.
-spec patomic_or(object(), position(), int64()) -> {ok, int64()} | {error, reason()}.
patomic_or(Obj, Pos, V) ->
    tagged(emmap_request:call(Obj, {patomic_or, Pos, V}), patomic_or, [Obj, Pos, V]).

%% @doc Bitwise exclusive or with V; the value before.
-spec patomic_xor(object(), position(), int64()) -> {ok, int64()} | {error, reason()}.
patomic_xor(Obj, Pos, V) ->
    tagged(emmap_request:call(Obj, {patomic_xor, Pos, V}), patomic_xor, [Obj, Pos, V]).

%% @doc Puts V; the value before.
-spec patomic_xchg(object(), position(), int64()) -> {ok, int64()} | {error, reason()}.
patomic_xchg(Obj, Pos, V) ->
    tagged(emmap_request:call(Obj, {patomic_xchg, Pos, V}), patomic_xchg, [Obj, Pos, V]).

%% @doc Puts New where Old is; tells whether it was, and what was there.
-spec patomic_cas(object(), position(), int64(), int64()) ->
          {true, int64()} | {false, int64()} | {error, reason()}.
patomic_cas(Obj, Pos, Old, New) ->
    tagged(emmap_request:call(Obj, {patomic_cas, Pos, Old, New}), patomic_cas,
           [Obj, Pos, Old, New]).

-spec patomic_read_integer(object(), position()) -> {ok, int64()} | {error, reason()}.
patomic_read_integer(Obj, Pos) ->
    tagged(emmap_request:call(Obj, {patomic_read_integer, Pos}), patomic_read_integer,
           [Obj, Pos]).

-spec patomic_write_integer(object(), position(), int64()) -> ok | {error, reason()}.
patomic_write_integer(Obj, Pos, V) ->
    tagged(emmap_request:call(Obj, {patomic_write_integer, Pos, V}), patomic_write_integer,
           [Obj, Pos, V]).

%% Counters, numbered from 0. Those that change one answer the value before.

%% @doc One counter.
-spec open_counters(name()) -> counters().
open_counters(Name) ->
    counters(emmap_open:counters(Name, 1, []), open_counters, [Name]).

%% @doc At least N counters: a file with fewer grows, one with more opens whole; 0: as many as
%% there are. Raises `{cannot_open_file, Name, Reason}' or `{invalid_file_header, Name, Header}'.
-spec open_counters(name(), non_neg_integer()) -> counters().
open_counters(Name, N) ->
    counters(emmap_open:counters(Name, N, []), open_counters, [Name, N]).

-spec open_counters(name(), non_neg_integer(), [emmap_options:counters_option()]) -> counters().
open_counters(Name, N, Options) ->
    counters(emmap_open:counters(Name, N, Options), open_counters, [Name, N, Options]).

-spec close_counters(counters()) -> ok.
close_counters(C) ->
    case emmap_open:close(C) of
        ok -> ok;
        badarg -> emmap_error:badarg(?MODULE, close_counters, [C], none)
    end.

%% @doc Adds 1; the value before.
-spec inc_counter(object(), index()) -> {ok, int64()} | {error, reason()}.
inc_counter(C, I) ->
    tagged(emmap_request:call(C, {inc_counter, I}), inc_counter, [C, I]).

%% @doc Adds D; the value before. So D = 1000 hands out a range of a thousand.
-spec inc_counter(object(), index(), int64()) -> {ok, int64()} | {error, reason()}.
inc_counter(C, I, D) ->
    tagged(emmap_request:call(C, {inc_counter, I, D}), inc_counter, [C, I, D]).

%% @doc Subtracts 1; the value before.
-spec dec_counter(object(), index()) -> {ok, int64()} | {error, reason()}.
dec_counter(C, I) ->
    tagged(emmap_request:call(C, {dec_counter, I}), dec_counter, [C, I]).

%% @doc Subtracts D; the value before.
-spec dec_counter(object(), index(), int64()) -> {ok, int64()} | {error, reason()}.
dec_counter(C, I, D) ->
    tagged(emmap_request:call(C, {dec_counter, I, D}), dec_counter, [C, I, D]).

%% @doc Puts V; the value before.
-spec set_counter(object(), index(), int64()) -> {ok, int64()} | {error, reason()}.
set_counter(C, I, V) ->
    tagged(emmap_request:call(C, {set_counter, I, V}), set_counter, [C, I, V]).

-spec read_counter(object(), index()) -> {ok, int64()} | {error, reason()}.
read_counter(C, I) ->
    tagged(emmap_request:call(C, {read_counter, I}), read_counter, [C, I]).

%% @doc Adds to many at once, all or none; no client of this daemon sees a part. The values before.
-spec update_counters(object(), [{index(), int64()}]) -> {ok, [int64()]} | {error, reason()}.
update_counters(C, List) ->
    tagged(emmap_request:call(C, {update_counters, List}), update_counters, [C, List]).

%% @doc All counters, of one instant for the clients of this daemon.
-spec read_counters(object()) -> {ok, [int64()]} | {error, reason()}.
read_counters(C) ->
    tagged(emmap_request:call(C, read_counters), read_counters, [C]).

%% @doc These counters, of one instant for the clients of this daemon.
-spec read_counters(object(), [index()]) -> {ok, [int64()]} | {error, reason()}.
read_counters(C, Is) ->
    tagged(emmap_request:call(C, {read_counters, Is}), read_counters, [C, Is]).

%% Blocks.

%% @doc Makes a store of blocks of Size bytes, 1 to 16 MiB, of a region from offset 0 whose bytes are
%% all 0; one that is there with this size is kept, with another it is `{error, {block_size, N}}',
%% and `{error, {not_a, blocks}}' where there is something else.
-spec init_block_storage(object(), pos_integer()) -> ok | {error, reason()}.
init_block_storage(F, Size) ->
    tagged(emmap_request:call(F, {init_block_storage, Size}), init_block_storage, [F, Size]).

%% @doc Stores a block, which has the store's size, at the lowest free address; the file grows where
%% there is none, or it is `{error, full}' with `fixed_size'. The address.
-spec store_block(object(), iodata()) -> address() | {error, reason()}.
store_block(F, Block) ->
    untagged(emmap_request:call(F, {store_block, Block}), store_block, [F, Block]).

%% @doc Stores all of the blocks, or none. Their addresses.
-spec store_blocks(object(), [iodata()]) -> [address()] | {error, reason()}.
store_blocks(F, Blocks) ->
    untagged(emmap_request:call(F, {store_blocks, Blocks}), store_blocks, [F, Blocks]).

%% @doc The block at an address, `eof' where there is none. What a power cut has torn is
%% `{error, {corrupt, Address}}' until it is freed, or repair_block_storage/1 has been there.
-spec read_block(object(), address()) -> binary() | eof | {error, reason()}.
read_block(F, Address) ->
    untagged(emmap_request:call(F, {read_block, Address}), read_block, [F, Address]).

%% @doc The blocks at these addresses, `eof' for each that is not there; or all blocks of the store
%% where no addresses are given: see read_blocks/1.
-spec read_blocks(object(), [address()]) -> [binary() | eof] | {error, reason()}.
read_blocks(F, Addresses) ->
    untagged(emmap_request:call(F, {read_blocks, Addresses}), read_blocks, [F, Addresses]).

%% @doc All blocks with their addresses, the highest first; without what is torn. They are read
%% piece by piece, not in one instant.
-spec read_blocks(object()) -> [{address(), binary()}] | {error, reason()}.
read_blocks(F) ->
    read_all(F, 0, []).

%% @doc So many blocks at most from address Start on, the lowest first, and where to go on.
-spec read_blocks(object(), address(), non_neg_integer()) ->
          {[{address(), binary()}], address() | eof} | {error, reason()}.
read_blocks(F, Start, Count) ->
    case tagged(emmap_request:call(F, {read_blocks, Start, Count}), read_blocks, [F, Start, Count]) of
        {ok, Blocks, Next} -> {Blocks, Next};
        Error -> Error
    end.

%% @doc Frees an address; was there something?
-spec free_block(object(), address()) -> boolean() | {error, reason()}.
free_block(F, Address) ->
    untagged(emmap_request:call(F, {free_block, Address}), free_block, [F, Address]).

%% @doc The same for many.
-spec free_blocks(object(), [address()]) -> [boolean()] | {error, reason()}.
free_blocks(F, Addresses) ->
    untagged(emmap_request:call(F, {free_blocks, Addresses}), free_blocks, [F, Addresses]).

%% @doc Looks at all blocks: such as the store's map did not know any more are known again, torn ones
%% are freed. After a power cut only there can be any. It is done piece by piece, other requests come
%% between.
-spec repair_block_storage(object()) -> ok | {error, reason()}.
repair_block_storage(F) ->
    repair_from(F, 0).

%% @doc The same for Count addresses from Start on; where to go on.
-spec repair_block_storage(object(), address(), non_neg_integer()) ->
          address() | eof | {error, reason()}.
repair_block_storage(F, Start, Count) ->
    case repair_block_storage(F, [{from, Start}, {count, Count}]) of
        {ok, #{next := Next}} -> Next;
        Error -> Error
    end.

%% @doc The same with options: how many blocks are whole, which are torn, how many of these were
%% freed, and where to go on: after Count addresses, 1000 torn ones or 64 MiB. `dry_run' changes
%% nothing.
-spec repair_block_storage(object(), [{from, address()} | {count, non_neg_integer()} | dry_run]) ->
          {ok, #{blocks := non_neg_integer(), lost := [address()], freed := non_neg_integer(),
                 next := address() | eof}}
        | {error, reason()}.
repair_block_storage(F, Options) ->
    tagged(emmap_request:call(F, {repair_block_storage, Options}), repair_block_storage, [F, Options]).

%% Batches, casts, time limits.

%% @doc The daemon's reply to a request as it is. `close' and `barrier' are no requests but the
%% functions: the handle has to know.
-spec call(object(), request()) -> Reply :: term() | {error, reason()}.
call(Obj, Request) ->
    checked_call(Obj, Request, emmap_config:get(call_timeout), [Obj, Request]).

%% @doc The same within Timeout milliseconds, then exit with `{timeout, {emmap, call, Args}}'; the
%% request may still be done.
-spec call(object(), request(), timeout()) -> Reply :: term() | {error, reason()}.
call(Obj, Request, Timeout) ->
    checked_call(Obj, Request, Timeout, [Obj, Request, Timeout]).

%% @doc Sends a request for gen_server:receive_response/2, wait_response/2, check_response/2 and
%% reqids_add/3.
%% What gen_server calls opaque is a reference, and the lane answers to it in its form.
-dialyzer({nowarn_function, send_request/2}).
-spec send_request(object(), request()) -> gen_server:request_id().
send_request(Obj, Request) ->
    case emmap_request:is_request(Request) andalso emmap_request:send_request(Obj, Request) of
        {ok, RequestId} -> RequestId;
        _ -> emmap_error:badarg(?MODULE, send_request, [Obj, Request], none)
    end.

%% @doc Many requests on one object in one message; the replies in order. Each succeeds or fails
%% alone, and requests of others may be done between.
-spec batch(object(), [request()]) -> {ok, [term()]} | {error, reason()}.
batch(Obj, Requests) when length(Requests) >= 0 -> % a proper list
    tagged(emmap_batch:run([{Obj, Request} || Request <- Requests]), batch, [Obj, Requests]);
batch(Obj, Requests) ->
    emmap_error:badarg(?MODULE, batch, [Obj, Requests], none).

%% @doc Many requests on objects of one daemon. A bare `sync' as the last covers them all.
-spec batch([{object(), request()} | sync]) -> {ok, [term()]} | {error, reason()}.
batch(Items) ->
    tagged(emmap_batch:run(Items), batch, [Items]).

%% @doc A request without a reply, done at most once. Where too many are unsent the caller waits.
%% One that would wait for items is badarg.
-spec cast(handle() | counters(), request()) -> ok | {error, closed}.
cast(H, Request) ->
    case emmap_request:is_cast(Request) andalso emmap_request:cast(handle(H), Request) of
        ok -> ok;
        {error, closed} -> {error, closed};
        _ -> emmap_error:badarg(?MODULE, cast, [H, Request], none)
    end.

%% @doc Waits until every earlier cast of this handle is done. Failures are told once, to the first
%% barrier; `lost': they were on a connection that broke.
-spec barrier(handle() | counters()) ->
          ok | {error, {casts, #{failed := non_neg_integer(), lost := non_neg_integer(),
                                 first := term()}} | reason()}.
barrier(H) ->
    tagged(emmap_request:barrier(handle(H)), barrier, [H]).

%% Operations.

%% @doc The daemon: node, version, uptime, limits and more, see API.
-spec info() -> info().
info() ->
    info(which_node()).

%% @doc A daemon, or an object.
-spec info(node() | object()) -> info().
info(Node) when is_atom(Node) ->
    bare(emmap_request:to_node(Node, info), info, [Node]);
info(Obj) ->
    bare(emmap_request:call(Obj, info), info, [Obj]).

%% @doc The open objects.
-spec list() -> [info()].
list() ->
    list(which_node()).

-spec list(node()) -> [info()].
list(Node) ->
    bare(emmap_request:to_node(Node, list), list, [Node]).

%% @doc The connected nodes: what each has asked, errors, latency, handles and more.
-spec clients() -> [info()].
clients() ->
    clients(which_node()).

-spec clients(node()) -> [info()].
clients(Node) ->
    bare(emmap_request:to_node(Node, clients), clients, [Node]).

%% @doc The same figures as text for Prometheus (exposition format 0.0.4). Of many objects only the
%% oldest are told of one by one; the sums by kind have all.
-spec metrics() -> binary().
metrics() ->
    metrics(which_node()).

-spec metrics(node()) -> binary().
metrics(Node) ->
    bare(emmap_request:to_node(Node, metrics), metrics, [Node]).

-spec ping() -> pong.
ping() ->
    bare(emmap_request:to_node(which_node(), ping), ping, []).

%% @doc The daemon's node: `gen_server:call({emmap, emmap:which_node()}, info)'.
-spec which_node() -> node().
which_node() ->
    emmap_config:get(node).

%% @doc Makes the new file To, a copy of the object as it is at one instant, for all that ask this
%% daemon; the object goes on meanwhile. When it returns the file is complete and on the disk, of
%% Size bytes; on an error, such as `eexist', there is none. An object has one snapshot at a time:
%% `ebusy'.
-spec snapshot(object(), name()) -> {ok, #{size := non_neg_integer()}} | {error, reason()}.
snapshot(Obj, To) ->
    Outcome = case emmap_request:name(Obj, To) of
        badarg -> {ok, {error, badarg}};
        Wire -> emmap_request:call(Obj, {snapshot, Wire})
    end,
    tagged(Outcome, snapshot, [Obj, To]).

%% @doc Makes the new file Name of From, a snapshot or another file that nobody has open. It is seen
%% first whether that is whole: `{damaged, Text}', `{invalid_file_header, Bytes}'. `eexist': there
%% is a file Name already, which stays as it is.
-spec restore(name(), name()) -> ok | {error, reason()}.
restore(Name, From) ->
    Outcome = case {emmap_request:name(Name, Name), emmap_request:name(From, From)} of
        {To, Of} when To =:= badarg; Of =:= badarg -> {ok, {error, badarg}};
        {To, Of} -> emmap_request:to_node(which_node(), {restore, To, Of})
    end,
    tagged(Outcome, restore, [Name, From]).

%% @doc One line on what happened and what to do.
-spec format_error(reason()) -> string().
format_error({error, Reason}) ->
    emmap_error:text(Reason);
format_error(Reason) ->
    emmap_error:text(Reason).

%% Internal.

opened({ok, F, Info}, _Function, _Args) -> {ok, F, Info};
opened(Outcome, Function, Args) -> tagged(Outcome, Function, Args).

counters({ok, F, #{count := Count}}, _Function, _Args) ->
    {F, Count};
counters({ok, {error, {invalid_file_header, Header}}}, Function, [Name | _] = Args) ->
    emmap_error:raise(?MODULE, Function, Args, {invalid_file_header, Name, Header});
counters(Outcome, Function, [Name | _] = Args) ->
    case tagged(Outcome, Function, Args) of
        {error, Reason} -> emmap_error:raise(?MODULE, Function, Args, {cannot_open_file, Name, Reason})
    end.

tagged(Outcome, Function, Args) ->
    emmap_result:tagged(Outcome, {?MODULE, Function, Args}).

bare(Outcome, Function, Args) ->
    emmap_result:bare(Outcome, {?MODULE, Function, Args}).

%% `{ok, Result}' is the result alone.
untagged(Outcome, Function, Args) ->
    case tagged(Outcome, Function, Args) of
        {ok, Result} -> Result;
        Other -> Other
    end.

repair_from(F, Start) ->
    case repair_block_storage(F, [{from, Start}]) of
        {ok, #{next := eof}} -> ok;
        {ok, #{next := Next}} -> repair_from(F, Next);
        Error -> Error
    end.

read_all(F, Start, Later) ->
    case read_blocks(F, Start, 1 bsl 20) of
        {error, _} = Error -> Error;
        {Blocks, eof} -> lists:reverse(Blocks, Later);
        {Blocks, Next} -> read_all(F, Next, lists:reverse(Blocks, Later))
    end.

as_it_is({ok, Reply}, _Function, _Args) -> Reply;
as_it_is(Outcome, Function, Args) -> tagged(Outcome, Function, Args).

checked_call(Obj, Request, Timeout, Args) ->
    case emmap_request:is_request(Request) andalso emmap_config:is_timeout(Timeout)
        andalso emmap_request:is_object(Obj) of
        true -> as_it_is(emmap_request:call(Obj, Request, Timeout), call, Args);
        false -> emmap_error:badarg(?MODULE, call, Args, none)
    end.

handle({F, _Count}) -> F;
handle(F) -> F.

with_binary(Data, Write) ->
    try iolist_to_binary(Data) of
        Bin -> Write(Bin)
    catch
        error:badarg -> {ok, {error, badarg}}
    end.

with_binaries(List, Write) ->
    try [{Pos, iolist_to_binary(Data)} || {Pos, Data} <- List] of
        Bins when length(Bins) =:= length(List) -> Write(Bins);
        _ -> {ok, {error, badarg}}
    catch
        error:_ -> {ok, {error, badarg}}
    end.
