%% @doc Large reads and writes, cut into pieces so that no small request waits long behind them.
%%
%% Two pieces of a call are under way at a time: one travels while the other is copied. In the
%% lane's line they take turns with those of other callers.
-module(emmap_pieces).

-export([pread/3]).
-export([preads/2]).
-export([pwrite/3]).
-export([pwrites/2]).
-export([cut/3]).

-define(READ, 262144).
-define(WRITE, 131072).

-type object() :: emmap_request:object().

%% @doc As the request pread: `{ok, Bin}', short at the end, or `eof'.
-spec pread(object(), non_neg_integer(), non_neg_integer()) -> emmap_request:outcome().
pread(Obj, Pos, Len) when is_integer(Pos), is_integer(Len), Pos >= 0, Len > ?READ ->
    read_on(Obj, Pos, Len, queue:new(), []);
pread(Obj, Pos, Len) ->
    emmap_request:call(Obj, {pread, Pos, Len}).

%% @doc As the request pread with a list: `{ok, [Bin | eof]}'.
-spec preads(object(), [{non_neg_integer(), non_neg_integer()}]) -> emmap_request:outcome().
preads(Obj, List) ->
    case total(List, fun(Len) when is_integer(Len), Len >= 0 -> Len end) of
        badarg -> {ok, {error, badarg}};
        Bytes when Bytes =< ?READ -> emmap_request:call(Obj, {pread, List});
        _ -> read_each(Obj, List, [])
    end.

%% @doc As the request pwrite; up to 128 KiB it happens at one instant.
%% The last piece goes first: where it does not fit, nothing has changed.
-spec pwrite(object(), non_neg_integer(), binary()) -> emmap_request:outcome().
pwrite(Obj, Pos, Data) when is_integer(Pos), Pos >= 0, byte_size(Data) > ?WRITE ->
    Pieces = [{pwrite, Pos + At, binary:part(Data, At, Len)}
              || {At, Len} <- cut(0, byte_size(Data), ?WRITE)],
    case emmap_request:call(Obj, lists:last(Pieces)) of
        {ok, ok} -> write_on(Obj, lists:droplast(Pieces), queue:new());
        Outcome -> Outcome
    end;
pwrite(Obj, Pos, Data) ->
    emmap_request:call(Obj, {pwrite, Pos, Data}).

%% @doc As the request pwrite with a list of binaries: `ok' or `{error, {Done, Reason}}'.
-spec pwrites(object(), [{non_neg_integer(), binary()}]) -> emmap_request:outcome().
pwrites(Obj, List) ->
    case total(List, fun(Data) -> byte_size(Data) end) of
        badarg -> {ok, {error, badarg}};
        Bytes when Bytes =< ?WRITE -> emmap_request:call(Obj, {pwrite, List});
        _ -> write_each(Obj, List, 0)
    end.

%% @doc The pieces of at most Size bytes, as positions and lengths.
-spec cut(non_neg_integer(), non_neg_integer(), pos_integer()) ->
          [{non_neg_integer(), pos_integer()}].
cut(_Pos, 0, _Size) -> [];
cut(Pos, Len, Size) when Len =< Size -> [{Pos, Len}];
cut(Pos, Len, Size) -> [{Pos, Size} | cut(Pos + Size, Len - Size, Size)].

%% Internal.

total(List, Size) ->
    try lists:sum([Size(What) || {Pos, What} <- List, is_position(Pos)]) of
        Bytes -> Bytes
    catch
        error:_ -> badarg
    end.

is_position(Pos) when is_integer(Pos), Pos >= 0 -> true.

%% `Sent' has the tickets of the pieces under way with their lengths, `Read' what came, last first.
read_on(Obj, Pos, Left, Sent, Read) ->
    case queue:len(Sent) < 2 andalso Left > 0 of
        true ->
            Len = min(Left, ?READ),
            Ticket = emmap_request:send(Obj, {pread, Pos, Len}),
            read_on(Obj, Pos + Len, Left - Len, queue:in({Ticket, Len}, Sent), Read);
        false ->
            read_next(Obj, Pos, Left, queue:out(Sent), Read)
    end.

read_next(_Obj, _Pos, _Left, {empty, _}, Read) ->
    joined(Read);
read_next(Obj, Pos, Left, {{value, {Ticket, Len}}, Sent}, Read) ->
    case emmap_request:await(Ticket) of
        {ok, {ok, Bin}} when byte_size(Bin) =:= Len ->
            read_on(Obj, Pos, Left, Sent, [Bin | Read]);
        Last ->
            ok = abandon([T || {T, _} <- queue:to_list(Sent)]),
            read_end(Last, Read)
    end.

read_end({ok, {ok, Bin}}, Read) -> joined([Bin | Read]);
read_end({ok, eof}, [_ | _] = Read) -> joined(Read);
read_end(Outcome, _Read) -> Outcome.

joined(Read) ->
    {ok, {ok, iolist_to_binary(lists:reverse(Read))}}.

read_each(_Obj, [], Read) ->
    {ok, {ok, lists:reverse(Read)}};
read_each(Obj, [{Pos, Len} | List], Read) ->
    case pread(Obj, Pos, Len) of
        {ok, {ok, Bin}} -> read_each(Obj, List, [Bin | Read]);
        {ok, eof} -> read_each(Obj, List, [eof | Read]);
        Outcome -> Outcome
    end.

write_on(Obj, [Piece | Pieces], Sent) ->
    More = queue:in(emmap_request:send(Obj, Piece), Sent),
    case queue:len(More) < 2 of
        true -> write_on(Obj, Pieces, More);
        false -> write_next(Obj, Pieces, queue:out(More))
    end;
write_on(Obj, [], Sent) ->
    write_next(Obj, [], queue:out(Sent)).

write_next(_Obj, [], {empty, _}) ->
    {ok, ok};
write_next(Obj, Pieces, {{value, Ticket}, Sent}) ->
    case emmap_request:await(Ticket) of
        {ok, ok} ->
            write_on(Obj, Pieces, Sent);
        Outcome ->
            ok = abandon(queue:to_list(Sent)),
            Outcome
    end.

abandon(Tickets) ->
    lists:foreach(fun emmap_request:abandon/1, Tickets).

write_each(_Obj, [], _Done) ->
    {ok, ok};
write_each(Obj, [{Pos, Data} | List], Done) ->
    case pwrite(Obj, Pos, Data) of
        {ok, ok} -> write_each(Obj, List, Done + 1);
        {ok, {error, Reason}} -> {ok, {error, {Done, Reason}}};
        Outcome -> Outcome
    end.
