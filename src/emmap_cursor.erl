%% @doc What a handle does that its bare object does not: reading and writing at the cursor, and
%% the requests that take no name.
%%
%% The cursor lives in the handle; requests name their position. Whoever moves it first has the
%% bytes, the other reads again from where it is then.
-module(emmap_cursor).

-export([on_handle/2]).
-export([read/2]).
-export([read_line/1]).
-export([write/2]).
-export([position/2]).
-export([truncate/1]).

%% Pure parts
-export([place/3]).
-export([line/1]).

-type outcome() :: emmap_request:outcome().
-define(BADARG, {ok, {error, badarg}}).

%% @doc A request that needs a handle.
-spec on_handle(term(), emmap_request:request()) -> outcome().
on_handle(F, Request) ->
    case emmap_handle:is_handle(F) of
        true -> emmap_request:call(F, Request);
        false -> ?BADARG
    end.

-spec read(term(), term()) -> outcome().
read(F, Len) ->
    case emmap_handle:is_handle(F) of
        true -> read_at(F, emmap_handle:cursor(F), Len);
        false -> ?BADARG
    end.

-spec read_line(term()) -> outcome().
read_line(F) ->
    case emmap_handle:is_handle(F) of
        true -> read_line_at(F, emmap_handle:cursor(F));
        false -> ?BADARG
    end.

%% @doc The place is taken before the bytes are written, so that no other writer gets it, and given
%% back where they could not be written.
-spec write(term(), binary()) -> outcome().
write(F, Data) ->
    case emmap_handle:is_handle(F) of
        true -> write_at(F, emmap_handle:cursor(F), Data);
        false -> ?BADARG
    end.

-spec position(term(), term()) -> outcome().
position(F, Where) ->
    case on_handle(F, info) of
        {ok, #{size := Whole}} ->
            Size = max(0, Whole - emmap_handle:offset(F)), % info tells of the file
            put_cursor(F, place(Where, emmap_handle:cursor(F), Size), Size);
        Outcome -> Outcome
    end.

-spec truncate(term()) -> outcome().
truncate(F) ->
    on_handle(F, {truncate, emmap_handle:is_handle(F) andalso emmap_handle:cursor(F)}).

%% @doc Where the cursor is to go, given where it is and the size.
-spec place(term(), non_neg_integer(), non_neg_integer()) -> integer() | badarg.
place(N, _Cursor, _Size) when is_integer(N) -> N;
place(bof, _Cursor, _Size) -> 0;
place(cur, Cursor, _Size) -> Cursor;
place(eof, _Cursor, Size) -> Size;
place({bof, N}, _Cursor, _Size) when is_integer(N) -> N;
place({cur, N}, Cursor, _Size) when is_integer(N) -> Cursor + N;
place({eof, N}, _Cursor, Size) when is_integer(N) -> Size - abs(N);
place(_, _Cursor, _Size) -> badarg.

%% @doc A line as it is handed out: `\r\n' at its end is `\n'.
-spec line(binary()) -> binary().
line(Line) ->
    Before = byte_size(Line) - 2,
    case Line of
        <<Text:Before/binary, "\r\n">> -> <<Text/binary, $\n>>;
        _ -> Line
    end.

%% Internal.

read_at(F, Cursor, Len) ->
    case emmap_pieces:pread(F, Cursor, Len) of
        {ok, {ok, Bin}} = Outcome ->
            case emmap_handle:move(F, Cursor, Cursor + byte_size(Bin)) of
                true -> Outcome;
                false -> read(F, Len)
            end;
        Outcome ->
            Outcome
    end.

read_line_at(F, Cursor) ->
    case emmap_request:call(F, {read_line, Cursor}) of
        {ok, {ok, Line, Next}} ->
            case emmap_handle:move(F, Cursor, Next) of
                true -> {ok, {ok, line(Line)}};
                false -> read_line(F)
            end;
        Outcome ->
            Outcome
    end.

write_at(F, Cursor, Data) ->
    End = Cursor + byte_size(Data),
    case emmap_handle:move(F, Cursor, End) of
        true -> written(emmap_pieces:pwrite(F, Cursor, Data), F, Cursor, End);
        false -> write(F, Data)
    end.

written({ok, ok}, _F, _Cursor, _End) ->
    {ok, ok};
written(Outcome, F, Cursor, End) ->
    _ = emmap_handle:move(F, End, Cursor),
    Outcome.

put_cursor(F, Place, Size) when is_integer(Place), Place >= 0, Place =< Size ->
    ok = emmap_handle:rewind(F, Place),
    {ok, {ok, Place}};
put_cursor(_F, _Place, _Size) ->
    ?BADARG.
