%% A recorded stream of frames, sent to a daemon under callgrind: scripts/instructions.
-module(instructions).

-export([main/1]).

%% instructions PORT COOKIE KIND COUNT: so many requests of a kind; the queue and the counters are
%% opened before.
main([Port, Cookie, Kind, Count]) ->
    Node = 'stream@localhost',
    Socket = emmap_wire:join(list_to_integer(Port), Node, list_to_atom(Cookie)),
    Pid = emmap_wire:pid(Node),
    Counters = opened(Socket, Pid, {open_counters, "c", 8}),
    Queue = opened(Socket, Pid, {open_queue, "q", 0, []}),
    Frames = [frame(F) || F <- chunk(list_to_atom(Kind), Pid, Counters, Queue)],
    run(Socket, Frames, list_to_integer(Count) div 100),
    gen_tcp:close(Socket).

opened(Socket, Pid, Request) ->
    ok = emmap_wire:call(Socket, Pid, tag, Request),
    {_, {tag, {ok, Id, _}}} = emmap_wire:receive_message(Socket),
    Id.

frame(Bytes) ->
    [<<(iolist_size(Bytes)):32>>, Bytes].

%% The frames of 100 requests.
chunk(calls, Pid, Counters, _) ->
    lists:append([call(Pid, N, {inc_counter, Counters, 1, 5}) || N <- lists:seq(1, 100)]);
chunk(envelopes, Pid, Counters, _) ->
    [envelope(Pid, [{inc_counter, Counters, 1, 5} || _ <- lists:seq(1, 10)])
     || _ <- lists:seq(1, 10)];
chunk(queue, Pid, _, Queue) ->
    Item = binary:copy(<<"x">>, 100),
    [envelope(Pid, lists:append([[{push, Queue, Item}, {pop_wait, Queue, 0}]
                                 || _ <- lists:seq(1, 5)])) || _ <- lists:seq(1, 10)].

reference(N) ->
    <<131, 90, 3:16, 119, 16, "stream@localhost", 7:32, N:32, 1:32, 2:32>>.

%% gen_server:call, as it arrives: a monitor, the call, the monitor's end.
call(Pid, N, Request) ->
    Ref = binary_to_term(reference(N)),
    [[112, term_to_binary({19, Pid, emmap, Ref})],
     [112, term_to_binary({6, Pid, '', emmap}),
      term_to_binary({'$gen_call', {Pid, [alias | Ref]}, Request})],
     [112, term_to_binary({20, Pid, emmap, Ref})]].

envelope(Pid, Requests) ->
    Entries = [{Pid, binary_to_term(reference(1)), R} || R <- Requests],
    [112, term_to_binary({6, Pid, '', emmap}), term_to_binary({'$emmap', Pid, 1, Entries})].

run(_, _, 0) ->
    ok;
run(Socket, Frames, Left) ->
    ok = inet:setopts(Socket, [{packet, raw}]),
    ok = gen_tcp:send(Socket, Frames),
    ok = inet:setopts(Socket, [{packet, 4}]),
    answers(Socket, 100),
    run(Socket, Frames, Left - 1).

%% Whatever the daemon says beside answers is passed over.
answers(_, 0) ->
    ok;
answers(Socket, Left) ->
    answers(Socket, Left - answered(emmap_wire:receive_message(Socket))).

answered({_, {'$emmap', 1, Replies, _Late}}) ->
    lists:foreach(fun is_good/1, Replies),
    length(Replies);
answered({_, {_, Reply}}) ->
    is_good(Reply),
    1.

is_good(ok) -> ok;
is_good({ok, _}) -> ok.
