%% A node made of a socket, byte by byte: what no real node would send or leave unread.
-module(emmap_wire).

-export([connect/1, join/3]).
-export([send_name/2, answer_challenge/3]).
-export([pid/1, send/3, receive_message/1, call/4]).
-export([is_closed/2]).

%% What a hidden node of OTP 25 offers, without atom cache, fragments and spawning.
-define(FLAGS, 16#407074f9c).
-define(DEADLINE, 20000).
-define(PASS_THROUGH, 112).

%% A socket to a daemon that has said nothing yet. Frames of the handshake have two bytes of length.
connect(Port) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port,
                                   [binary, {active, false}, {packet, 2}, {nodelay, true}]),
    Socket.

%% A socket that has passed the handshake under that name. Frames have four bytes of length.
join(Port, Name, Cookie) ->
    Socket = connect(Port),
    ok = send_name(Socket, Name),
    ok = answer_challenge(Socket, Cookie, ok),
    ok = inet:setopts(Socket, [{packet, 4}]),
    Socket.

send_name(Socket, Name) ->
    Bytes = atom_to_binary(Name),
    gen_tcp:send(Socket, <<$N, ?FLAGS:64, 7:32, (byte_size(Bytes)):16, Bytes/binary>>).

%% Passes with `ok'; `closed' is what a wrong cookie gets.
answer_challenge(Socket, Cookie, Expected) ->
    {ok, <<"sok">>} = gen_tcp:recv(Socket, 0, ?DEADLINE),
    {ok, <<$N, _:64, Challenge:32, _/binary>>} = gen_tcp:recv(Socket, 0, ?DEADLINE),
    ok = gen_tcp:send(Socket, [<<$r, 4711:32>>, digest(Cookie, Challenge)]),
    Digest = digest(Cookie, 4711),
    case gen_tcp:recv(Socket, 0, ?DEADLINE) of
        {ok, <<$a, Digest:16/binary>>} when Expected =:= ok -> ok;
        {error, closed} when Expected =:= closed -> ok
    end.

%% A process of the node Name.
pid(Name) ->
    Bytes = atom_to_binary(Name),
    binary_to_term(<<131, 88, 119, (byte_size(Bytes)), Bytes/binary, 1:32, 0:32, 7:32>>).

%% One frame: a control message and, if it has one, its message.
send(Socket, Control, none) ->
    gen_tcp:send(Socket, [?PASS_THROUGH, term_to_binary(Control)]);
send(Socket, Control, {message, Message}) ->
    gen_tcp:send(Socket, [?PASS_THROUGH, term_to_binary(Control), term_to_binary(Message)]).

%% The next message to a process of ours, past ticks and other control messages.
receive_message(Socket) ->
    case gen_tcp:recv(Socket, 0, ?DEADLINE) of
        {ok, <<?PASS_THROUGH, Terms/binary>>} ->
            {Control, Used} = binary_to_term(Terms, [used]),
            case binary:part(Terms, Used, byte_size(Terms) - Used) of
                <<>> -> receive_message(Socket);
                Message -> {Control, binary_to_term(Message)}
            end;
        {ok, <<>>} ->
            receive_message(Socket)
    end.

%% Sends a call from Pid and leaves its answer unread; Tag comes back with it.
call(Socket, Pid, Tag, Request) ->
    send(Socket, {6, Pid, '', emmap}, {message, {'$gen_call', {Pid, Tag}, Request}}).

%% Does the other side close it within that time? What it still sends is passed over.
is_closed(Socket, Deadline) ->
    ok = inet:setopts(Socket, [{packet, raw}]),
    drained(Socket, erlang:monotonic_time(millisecond) + Deadline).

%% Internal.

digest(Cookie, Challenge) ->
    erlang:md5([atom_to_list(Cookie), integer_to_list(Challenge)]).

drained(Socket, End) ->
    case gen_tcp:recv(Socket, 0, max(0, End - erlang:monotonic_time(millisecond))) of
        {ok, _} -> drained(Socket, End);
        {error, timeout} -> false;
        {error, _} -> true
    end.
