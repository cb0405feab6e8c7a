%% Peers that mean no good, each a script over sockets of its own. `attack' runs one against a
%% daemon until it has done its worst; `frames' is what those that only send say again and again,
%% so that the same can be said to somebody who does not listen.
-module(emmap_hostile).

-export([attack/2, frames/2]).
-export([connect/1, join/1, hello/1, call_frame/4, reference/2, number_of/1]).

-define(DEADLINE, 20000).
-define(PASS_THROUGH, 112).
-define(FLAGS, 16#507074fbc).

%% Context: #{port, cookie, queue (the name of an open one), jobs (the name it is registered by)}.

%%% Before the cookie.

attack(silence, Context) ->
    all_closed([connect(Context) || _ <- lists:seq(1, 30)]);
attack(dripping_bytes, Context) ->
    [drip(connect(Context), Bytes) || Bytes <- [hello(long_name()), hello(<<"a@b">>)]];
attack(a_flood_of_connections, Context) ->
    [gen_tcp:close(connect(Context)) || _ <- lists:seq(1, 2000)];
attack(a_flood_of_silent_connections, Context) ->
    Sockets = [connect(Context) || _ <- lists:seq(1, 400)],
    all_closed(lists:sublist(Sockets, 300));
attack(a_flood_of_greetings, Context) ->
    all_closed([greeted(Context, N) || N <- lists:seq(1, 300)]);
attack(a_flood_of_wrong_digests, Context) ->
    all_closed([begin
                    S = greeted(Context, N),
                    _ = gen_tcp:send(S, packet(<<$r, 1:32, N:128>>)),
                    S
                end || N <- lists:seq(1, 300)]);
attack(giant_handshakes, Context) ->
    all_closed([said(Context, [<<Len:16>>, binary:copy(<<"N">>, 100000)])
                || Len <- [16#ffff, 16#8000, 16#7fff, 4097]]);
attack(empty_handshakes, Context) ->
    all_closed([said(Context, binary:copy(<<0:16>>, N)) || N <- lists:seq(1, 50)]);
attack(other_protocols, Context) ->
    all_closed([said(Context, Bytes)
                || Bytes <- [<<"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n">>, <<"*1\r\n$4\r\nPING\r\n">>,
                             <<22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3>>, <<"SSH-2.0-OpenSSH_9.2\r\n">>,
                             <<"put 0 0 60 3\r\nabc\r\n">>]]);
attack(noise_before_the_cookie, Context) ->
    all_closed([said(Context, [<<1:8>>, rand:bytes(rand:uniform(3000))]) || _ <- lists:seq(1, 300)]);
attack(names_of_no_form, Context) ->
    all_closed([said(Context, hello(Name))
                || Name <- [<<>>, <<"@">>, <<"a">>, <<"a@">>, <<"@b">>, <<"a@b@c">>, <<0>>, <<"a@b", 0>>,
                            <<"a\n@b">>, <<255, 254, "@b">>, binary:copy(<<"a">>, 1000),
                            <<"a@", (binary:copy(<<"b">>, 2000))/binary>>]]);
attack(replies_before_a_name, Context) ->
    all_closed([said(Context, packet(<<Tag, 0:32, 0:128>>)) || Tag <- lists:seq(0, 255), Tag =/= $N]);
attack(frames_before_the_cookie, Context) ->
    all_closed([said(Context, binary:copy(call_frame(Context, 1, 1, ping), 50))
                || _ <- lists:seq(1, 20)]);
attack(greetings_cut_short, Context) ->
    Bytes = hello(<<"short@localhost">>),
    [gen_tcp:close(said(Context, binary:part(Bytes, 0, N))) || N <- lists:seq(1, byte_size(Bytes) - 1)];
attack(one_name_again_and_again, Context) ->
    Same = Context#{name => 'again@localhost'},
    [begin
         S = greeted_as(Same),
         _ = finished(S, Same)
     end || _ <- lists:seq(1, 50)];

%%% Behind the cookie: lengths, forms and sizes.

attack(giant_frames, Context) ->
    S = join(Context),
    _ = gen_tcp:send(S, <<16#ffffffff:32>>),
    send_much(S, binary:copy(<<131>>, 65536), 400);
attack(lengths_that_lie, Context) ->
    [said_joined(Context, frame(message_head(Context), Bytes)) || Bytes <- lies()];
attack(half_frames, Context) ->
    Sockets = [begin
                   S = join(Context#{name => list_to_atom(lists:concat(["half", N, "@localhost"]))}),
                   _ = gen_tcp:send(S, [<<(32 bsl 20):32>>, binary:copy(<<131>>, 300000)]),
                   S
               end || N <- lists:seq(1, 50)],
    ok = another_is_served(Context),
    [gen_tcp:close(S) || S <- Sockets];
attack(a_frame_that_never_ends, Context) ->
    S = join(Context),
    _ = gen_tcp:send(S, <<(32 bsl 20):32, ?PASS_THROUGH, 131>>),
    send_much(S, binary:copy(<<0>>, 65536), 300),
    another_is_served(Context);
attack(frames_of_no_bytes_and_of_one, Context) ->
    [said_joined(Context, [binary:copy(<<0:32>>, 1000), <<1:32, Byte>>]) || Byte <- lists:seq(0, 255, 5)];
attack(deep_terms, Context) ->
    [said_joined(Context, frame(message_head(Context), Deep)) || Deep <- deep()];
attack(huge_arities, Context) ->
    [said_joined(Context, frame(message_head(Context), Bytes))
     || Bytes <- [<<105, 500000:32, (binary:copy(<<106>>, 500000))/binary>>,
                  <<108, 500000:32, (binary:copy(<<97, 1>>, 500000))/binary, 106>>,
                  <<116, 200000:32, (binary:copy(<<97, 1, 106>>, 200000))/binary>>,
                  <<105, 16#ffffffff:32>>, <<108, 16#7fffffff:32>>, <<116, 16#80000000:32>>]];
attack(atoms_of_1020_bytes, Context) ->
    Long = unicode:characters_to_binary(lists:duplicate(255, 16#1f40d)),
    Atom = <<118, 1020:16, Long/binary>>,
    From = <<88, Atom/binary, 1:32, 0:32, 7:32>>,
    To = <<118, 5:16, "emmap">>,
    S = join(Context),
    [ok = gen_tcp:send(S, frame(control([<<97, 6>>, Pid, Atom, Name]), Message))
     || Pid <- [From, term(pid(Context, 1))], Name <- [Atom, To],
        Message <- [Atom, message(Context, 1, binary_to_atom(Long)),
                    <<104, 3, 119, 9, "$gen_call", 104, 2, From/binary, Atom/binary,
                      104, 2, Atom/binary, Atom/binary>>]],
    answers(S, Context);
attack(atoms_of_256_characters, Context) ->
    [said_joined(Context, frame(control([<<97, 6>>, term(pid(Context, 1)), <<119, 0>>, Atom]), <<106>>))
     || Atom <- [<<118, 256:16, (binary:copy(<<"a">>, 256))/binary>>,
                 <<118, 1024:16, (unicode:characters_to_binary(lists:duplicate(256, 16#1f40d)))/binary>>,
                 <<118, 65535:16, (binary:copy(<<"a">>, 65535))/binary>>, <<119, 2, 255, 255>>]];
attack(big_integers, Context) ->
    S = join(Context),
    [ok = gen_tcp:send(S, call_frame(Context, 1, 1, Request))
     || Sign <- [1, -1], Bits <- [63, 64, 65, 2000, 1000000], Big <- [Sign * (1 bsl Bits)],
        Request <- [{pread, Big, Big, Big}, {inc_counter, "none", Big, Big}, {pop_wait, "none", Big},
                    {open, "none", Big, Big, []}, {take, maps:get(queue, Context), 0, Big}]],
    answers(S, Context);
attack(terms_cut_short, Context) ->
    <<_:32, Whole/binary>> = call_frame(Context, 1, 1, {pread, "none", [{1, 2}, {3, 4.5}]}),
    [said_joined(Context, [<<N:32>>, binary:part(Whole, 0, N)])
     || N <- lists:seq(1, byte_size(Whole) - 1, 2)];
attack(compressed_and_cached_terms, Context) ->
    Zip = term_to_binary(lists:duplicate(100000, 0), [compressed]),
    [said_joined(Context, [<<(byte_size(Bytes)):32>>, Bytes])
     || Bytes <- [<<?PASS_THROUGH, Zip/binary>>, <<131, 68, 0>>, <<131, 68, 255, 1:2000>>,
                  <<131, 69, 1:64, 1:64, 0>>, <<131, 70, 1:64, 0:64>>,
                  <<?PASS_THROUGH, 131, 80, 16#ffffffff:32, 1:64>>]];
attack(unlinks_by_odd_ids, Context) ->
    [said_joined(Context, frame(control([<<97, 35>>, Id, term(pid(Context, 1)), term(emmap_pid(Context))])))
     || Id <- [<<97, 0>>, <<98, -1:32>>, <<110, 8, 0, -1:64>>, <<110, 8, 1, -1:64>>, <<110, 255, 0, 1:2040>>,
               <<111, 100000:32, 0, 1:800000>>, <<110, 0, 0>>, <<70, 1.5:64/float>>, <<106>>, <<119, 1, "x">>,
               <<109, 8:32, 1:64>>]];
attack(control_messages_of_every_op, Context) ->
    [said_joined(Context, frame(control([<<97, Op>> | lists:duplicate(Arity, term(pid(Context, 1)))])))
     || Op <- lists:seq(0, 40), Arity <- [0, 2, 3, 5]];

%%% Floods of what is allowed.

attack(Name, Context) when Name =:= unknown_controls; Name =:= casts_without_end;
                           Name =:= monitors_of_emmap; Name =:= cancels_of_nothing;
                           Name =:= exits_of_everybody; Name =:= messages_to_nobody;
                           Name =:= pings_of_net_kernel; Name =:= ticks_without_end;
                           Name =:= system_messages; Name =:= calls_of_other_nodes ->
    S = join(Context),
    sends(S, frames(Name, Context), 100000),
    answers(S, Context);
attack(Name, Context) when Name =:= a_spawn_storm; Name =:= an_rpc_storm;
                           Name =:= links_to_spawned; Name =:= consoles_without_end ->
    S = join(Context),
    sends(S, frames(Name, Context), 20000),
    answers(S, Context);
attack(Name, Context) when Name =:= lists_without_end; Name =:= metrics_without_end;
                           Name =:= envelopes_of_lists; Name =:= batches_without_end ->
    S = join(Context),
    sends(S, frames(Name, Context), 500),
    answers(S, Context);
attack(monitors_by_the_million, Context) ->
    S = join(Context),
    sends_each(S, 1000000, fun(N) -> monitor_frame(Context, N) end),
    answers(S, Context);
attack(links_by_the_hundred_thousand, Context) ->
    S = join(Context),
    Queue = jobs_pid(Context, S),
    sends_each(S, 150000, fun(N) -> frame(control([<<97, 1>>, term(pid(Context, N)), term(Queue)])) end),
    answers(S, Context);

%%% Holding what others need.

attack(a_reader_that_stops, Context) ->
    S = join(Context),
    {ok, Id, _} = call(S, Context, {open, "hostile.read", 0, 1 bsl 20, [create, write]}),
    ok = call(S, Context, {pwrite, Id, 0, binary:copy(<<"x">>, 1 bsl 20)}),
    [_ = gen_tcp:send(S, call_frame(Context, 1, N, {pread, Id, 0, 1 bsl 20})) || N <- lists:seq(1, 200)],
    another_is_served(Context);
attack(waits_by_the_thousand, Context) ->
    holds(Context, 20000, fun(N) -> {N, {pop_wait, maps:get(queue, Context), infinity}} end);
attack(spawned_waits_by_the_thousand, Context) ->
    S = join(Context),
    Args = [maps:get(queue, Context), infinity],
    sends_each(S, 20000, fun(N) -> spawn_frame(Context, N, {emmap_queue, pop_wait, 2}, Args) end),
    answers(S, Context);
attack(waits_with_giant_tags, Context) ->
    S = join(Context),
    Tag = binary:copy(<<"t">>, 1 bsl 20),
    sends_each(S, 100, fun(N) ->
        call_frame(Context, N, {N, Tag}, {pop_wait, maps:get(queue, Context), infinity})
    end),
    ok = answers(S, Context),
    ok = inet:setopts(S, [{active, false}]),
    #{waiting := Waiting} = call(S, Context, {info, maps:get(queue, Context)}),
    true = Waiting > 10 andalso Waiting < 60;
attack(erpc_with_giant_tags, Context) ->
    S = join(Context),
    Args = [binary:copy(<<"r">>, 1 bsl 20), emmap_queue, pop_wait, [maps:get(queue, Context), infinity]],
    sends_each(S, 100, fun(N) -> spawn_frame(Context, N, {erpc, execute_call, 4}, Args) end),
    ok = answers(S, Context),
    ok = inet:setopts(S, [{active, false}]),
    #{waiting := Waiting} = call(S, Context, {info, maps:get(queue, Context)}),
    true = Waiting > 10 andalso Waiting < 60;
attack(leases_by_the_thousand, Context) ->
    Queue = maps:get(queue, Context),
    S = join(Context),
    ok = call(S, Context, {push_many, Queue, lists:seq(1, 20000)}),
    sends_each(S, 20000, fun(N) -> call_frame(Context, N rem 5000, N, {take, Queue}) end),
    ok = answers(S, Context),
    ok = inet:setopts(S, [{active, false}]),
    #{leased := 20000} = call(S, Context, {info, Queue}),
    ok = another_is_served(Context),
    ok = call(S, Context, {erase, Queue});
attack(subscriptions_by_the_thousand, Context) ->
    holds(Context, 12000, fun(N) ->
        {N rem 3000, {subscribe, maps:get(queue, Context), reference(Context, N), 1}}
    end);
attack(handles_by_the_thousand, Context) ->
    holds(Context, 20000, fun(N) -> {N, {open_counters, "hostile.counters", 8}} end);
attack(owners_by_the_thousand, Context) ->
    holds(Context, 20000, fun(N) ->
        {N, {open_counters, "hostile.counters", 8, [{owner, pid(Context, N)}]}}
    end);
attack(files_by_the_hundred, Context) ->
    holds(Context, 500, fun(N) -> {N, {open_counters, lists:concat(["hostile.", N rem 250]), 8}} end);
attack(giant_batches, Context) ->
    S = join(Context),
    [ok = gen_tcp:send(S, call_frame(Context, 1, 1, {batch, Requests}))
     || Requests <- [lists:duplicate(100000, ping), lists:duplicate(1000, {batch, [ping]}),
                     lists:duplicate(100000, {pop_wait, maps:get(queue, Context), infinity}), [a | b]]],
    answers(S, Context).

%% Bytes to be sent again and again to a peer that has passed the handshake.
frames(unknown_controls, _) ->
    frame(control([<<97, 250>>, <<106>>]));
frames(casts_without_end, Context) ->
    frame(message_head(Context), term({'$gen_cast', {inc_counter, "none", 1}}));
frames(calls_without_end, Context) ->
    call_frame(Context, 1, 1, ping);
frames(monitors_of_emmap, Context) ->
    frame(control([<<97, 19>>, term(pid(Context, 1)), <<119, 5, "emmap">>, term(reference(Context, 1))]));
frames(monitors_of_a_queue, Context) ->
    iolist_to_binary([monitor_frame(Context, N) || N <- lists:seq(1, 1000)]);
frames(cancels_of_nothing, Context) ->
    Ref = reference(Context, 4711),
    [frame(message_head(Context), term({'$emmap_cancel', Ref})),
     frame(control([<<97, 20>>, term(pid(Context, 1)), <<119, 5, "emmap">>, term(Ref)]))];
frames(exits_of_everybody, Context) ->
    [frame(control([<<97, 8>>, term(pid(Context, 1)), of_daemon(Context, N), <<119, 4, "kill">>]))
     || N <- lists:seq(0, 20)];
frames(messages_to_nobody, Context) ->
    frame(control([<<97, 6>>, term(pid(Context, 1)), <<119, 0>>, <<119, 6, "nosuch">>]), term(hello));
frames(pings_of_net_kernel, Context) ->
    Message = {'$gen_call', {pid(Context, 1), tag}, {is_auth, node()}},
    frame(control([<<97, 6>>, term(pid(Context, 1)), <<119, 0>>, <<119, 10, "net_kernel">>]), term(Message));
frames(ticks_without_end, _) ->
    binary:copy(<<0:32>>, 20);
frames(system_messages, Context) ->
    [frame(message_head(Context), term({system, {pid(Context, 1), tag}, Request}))
     || Request <- [get_state, suspend, {replace_state, x}]];
frames(calls_of_other_nodes, Context) ->
    Other = wire_pid(<<"third@localhost">>, 1),
    frame(message_head(Context), term({'$gen_call', {Other, 1}, {pop_wait, maps:get(queue, Context), 1}}));
frames(a_spawn_storm, Context) ->
    spawn_frame(Context, 1, {lists, reverse, 1}, [[1]]);
frames(an_rpc_storm, Context) ->
    spawn_frame(Context, 1, {erpc, execute_call, 4}, [res, emmap, ping, []]);
frames(links_to_spawned, Context) ->
    [spawn_frame(Context, 1, {emmap, ping, 0}, []),
     frame(control([<<97, 1>>, term(pid(Context, 1)), of_daemon(Context, 20)]))];
frames(consoles_without_end, Context) ->
    spawn_frame(Context, 1, {erpc, execute_call, 4}, [res, shell, start, []]);
frames(lists_without_end, Context) ->
    call_frame(Context, 1, 1, list);
frames(metrics_without_end, Context) ->
    call_frame(Context, 1, 1, metrics);
frames(envelopes_of_lists, Context) ->
    Entries = [{pid(Context, 1), reference(Context, 1), list} || _ <- lists:seq(1, 200)],
    frame(message_head(Context), term({'$emmap', pid(Context, 1), 1, Entries}));
frames(batches_without_end, Context) ->
    call_frame(Context, 1, 1, {batch, lists:duplicate(1000, ping)});
frames(noise, _) ->
    <<0, 0, 0, 40, (rand:bytes(40))/binary>>.

%%% Sockets.

connect(#{port := Port}) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port,
                                   [binary, {active, false}, {nodelay, true}, {send_timeout, ?DEADLINE},
                                    {send_timeout_close, true}]),
    Socket.

said(Context, Bytes) ->
    Socket = connect(Context),
    _ = gen_tcp:send(Socket, Bytes),
    Socket.

join(#{cookie := Cookie, port := Port} = Context) ->
    Socket = emmap_wire:join(Port, name(Context), Cookie),
    ok = inet:setopts(Socket, [{packet, raw}, {send_timeout, ?DEADLINE}, {send_timeout_close, true}]),
    Socket.

%% Another node each time, which says these bytes and is gone.
said_joined(Context, Bytes) ->
    Socket = join(Context#{name => list_to_atom(emmap_test:unique("other") ++ "@localhost")}),
    _ = gen_tcp:send(Socket, Bytes),
    gen_tcp:close(Socket).

greeted(Context, N) ->
    said(Context, hello(iolist_to_binary(["greeter", integer_to_list(N), "@localhost"]))).

greeted_as(#{port := Port} = Context) ->
    Socket = emmap_wire:connect(Port),
    ok = emmap_wire:send_name(Socket, name(Context)),
    Socket.

%% One that came too often is not let in.
finished(Socket, #{cookie := Cookie}) ->
    try
        emmap_wire:answer_challenge(Socket, Cookie, ok)
    catch
        error:{Kind, {error, closed}} when Kind =:= badmatch; Kind =:= case_clause -> refused
    end.

%% Each of them is closed by the other side, in time.
all_closed(Sockets) ->
    [true = emmap_wire:is_closed(Socket, ?DEADLINE) || Socket <- Sockets],
    ok.

drip(Socket, <<Byte, Rest/binary>>) ->
    case gen_tcp:send(Socket, [Byte]) of
        ok ->
            case gen_tcp:recv(Socket, 1, 30) of
                {error, timeout} -> drip(Socket, Rest);
                {ok, _} -> drip(Socket, Rest);
                {error, _} -> closed
            end;
        {error, _} ->
            closed
    end;
drip(Socket, <<>>) ->
    all_closed([Socket]).

send_much(_, _, 0) -> ok;
send_much(Socket, Bytes, N) ->
    case gen_tcp:send(Socket, Bytes) of
        ok -> send_much(Socket, Bytes, N - 1);
        {error, _} -> ok
    end.

%% So many times, however many answers come meanwhile.
sends(Socket, Frames, N) ->
    Bytes = iolist_to_binary(Frames),
    Each = max(1, 60000 div byte_size(Bytes)),
    Some = binary:copy(Bytes, Each),
    ok = inet:setopts(Socket, [{active, true}]),
    sends_some(Socket, Some, N div Each).

sends_some(_, _, N) when N < 0 -> ok;
sends_some(Socket, Some, N) ->
    ok = gen_tcp:send(Socket, Some),
    ok = flush(Socket),
    sends_some(Socket, Some, N - 1).

sends_each(Socket, N, Frame) ->
    ok = inet:setopts(Socket, [{active, true}]),
    sends_from(Socket, 1, N, Frame).

sends_from(_, From, N, _) when From > N -> ok;
sends_from(Socket, From, N, Frame) ->
    To = min(N, From + max(1, 60000 div byte_size(Frame(From))) - 1),
    ok = gen_tcp:send(Socket, [Frame(I) || I <- lists:seq(From, To)]),
    ok = flush(Socket),
    sends_from(Socket, To + 1, N, Frame).

flush(Socket) ->
    receive
        {tcp, Socket, _} -> flush(Socket);
        {tcp_closed, Socket} -> error(closed)
    after 0 -> ok
    end.

%% All that was sent has been done when this is answered, among whatever else comes.
answers(Socket, Context) ->
    ok = inet:setopts(Socket, [{active, true}]),
    Mark = integer_to_binary(erlang:unique_integer([positive])),
    Tag = <<"all-that-was-sent-", Mark/binary>>,
    ok = gen_tcp:send(Socket, call_frame(Context, 1, Tag, ping)),
    hears(Socket, Tag, <<>>).

hears(Socket, Bytes, Before) ->
    receive
        {tcp, Socket, Data} ->
            All = <<Before/binary, Data/binary>>,
            case binary:match(All, Bytes) of
                nomatch ->
                    Kept = min(byte_size(All), byte_size(Bytes)),
                    hears(Socket, Bytes, binary:part(All, byte_size(All), -Kept));
                _ ->
                    ok
            end;
        {tcp_closed, Socket} ->
            error(closed)
    after 3 * ?DEADLINE -> error(deadline)
    end.

another_is_served(Context) ->
    Other = Context#{name => list_to_atom(emmap_test:unique("another") ++ "@localhost")},
    Socket = join(Other),
    pong = call(Socket, Other, ping),
    gen_tcp:close(Socket).

%% Asks for so many things at once, reads what comes, and looks whether another peer is served.
holds(Context, N, Ask) ->
    S = join(Context),
    sends_each(S, N, fun(I) ->
        {Process, Request} = Ask(I),
        call_frame(Context, Process, I, Request)
    end),
    ok = answers(S, Context),
    another_is_served(Context).

call(Socket, Context, Request) ->
    ok = gen_tcp:send(Socket, call_frame(Context, 1, reply_to_this, Request)),
    {reply_to_this, Reply} = heard(Socket),
    Reply.

%% The next {Tag, Reply}, past all else.
heard(Socket) ->
    ok = inet:setopts(Socket, [{active, false}, {packet, 4}]),
    Heard = heard_frame(Socket),
    ok = inet:setopts(Socket, [{packet, raw}]),
    Heard.

heard_frame(Socket) ->
    case emmap_wire:receive_message(Socket) of
        {_, {Tag, Reply}} -> {Tag, Reply};
        _ -> heard_frame(Socket)
    end.

%%% Bytes.

packet(Bytes) ->
    <<(byte_size(Bytes)):16, Bytes/binary>>.

hello(Name) ->
    packet(<<$N, ?FLAGS:64, 7:32, (byte_size(Name)):16, Name/binary>>).

long_name() ->
    <<"a@", (binary:copy(<<"b">>, 250))/binary>>.

name(#{name := Name}) -> Name;
name(_) -> 'hostile@localhost'.

pid(Context, N) ->
    wire_pid(atom_to_binary(name(Context)), N).

wire_pid(Node, N) ->
    binary_to_term(<<131, 88, 119, (byte_size(Node)), Node/binary, (N band 16#7fff):32, (N bsr 15):32, 7:32>>).

reference(Context, N) ->
    Node = atom_to_binary(name(Context)),
    binary_to_term(<<131, 90, 3:16, 119, (byte_size(Node)), Node/binary, 7:32, 0:32, (N bsr 32):32, N:32>>).

%% The number that was given to reference/2.
number_of(Reference) ->
    Bytes = term_to_binary(Reference),
    binary:decode_unsigned(binary:part(Bytes, byte_size(Bytes), -4)).

%% What stands for a process of the daemon: its name is known, its creation is guessed.
of_daemon(#{node := Node}, N) ->
    Name = atom_to_binary(Node),
    <<88, 119, (byte_size(Name)), Name/binary, N:32, 0:32, 7:32>>.

emmap_pid(#{node := Node}) ->
    wire_pid(atom_to_binary(Node), 1).

%% The registered queue's own pid, which the daemon tells.
jobs_pid(#{jobs := Jobs} = Context, Socket) ->
    Message = {'$gen_call', {pid(Context, 1), where}, {call, erlang, whereis, [Jobs], user}},
    ok = gen_tcp:send(Socket, frame(control([<<97, 6>>, term(pid(Context, 1)), <<119, 0>>, <<119, 3, "rex">>]),
                                    term(Message))),
    {where, Pid} = heard(Socket),
    Pid.

term(Term) ->
    <<131, Bytes/binary>> = term_to_binary(Term),
    Bytes.

control(Elements) ->
    iolist_to_binary([<<104, (length(Elements))>> | Elements]).

message_head(Context) ->
    control([<<97, 6>>, term(pid(Context, 1)), <<119, 0>>, <<119, 5, "emmap">>]).

frame(Control) ->
    <<(2 + byte_size(Control)):32, ?PASS_THROUGH, 131, Control/binary>>.

frame(Control, Message) ->
    <<(3 + byte_size(Control) + byte_size(Message)):32, ?PASS_THROUGH, 131, Control/binary, 131,
      Message/binary>>.

message(Context, Tag, Request) ->
    term({'$gen_call', {pid(Context, 1), Tag}, Request}).

call_frame(Context, Process, Tag, Request) ->
    frame(message_head(Context), term({'$gen_call', {pid(Context, Process), Tag}, Request})).

spawn_frame(Context, N, Function, Args) ->
    frame(control([<<97, 29>>, term(reference(Context, N)), term(pid(Context, 1)), term(pid(Context, 2)),
                   term(Function), term([monitor])]), term(Args)).

monitor_frame(#{jobs := Jobs} = Context, N) ->
    frame(control([<<97, 19>>, term(pid(Context, N)), term(Jobs), term(reference(Context, N))])).

lies() ->
    [<<109, -1:32>>, <<109, 16#7fffffff:32, "abc">>, <<107, 65535:16, "abc">>, <<108, -1:32>>, <<105, -1:32>>,
     <<116, -1:32, 106>>, <<77, -1:32, 8>>, <<77, 1:32, 9, 0>>, <<77, 0:32, 1>>, <<110, 255, 0>>, <<111, -1:32, 0>>,
     <<118, 65535:16>>, <<119, 255>>, <<90, 65535:16, 119, 1, "a">>, <<90, 0:16, 119, 1, "a", 0:32>>,
     <<112, -1:32, 0, 0:128>>, <<113, 119, 1, "a", 119, 1, "b", 98, -1:32>>, <<104, 255>>, <<70, 0:8>>, <<255>>,
     <<>>, <<106, 106>>].

deep() ->
    [binary:copy(<<108, 1:32>>, 100000), binary:copy(<<104, 1>>, 1000000), binary:copy(<<116, 1:32>>, 100000),
     <<(binary:copy(<<104, 1>>, 300))/binary, 106>>,
     <<(binary:copy(<<108, 1:32, 106>>, 100000))/binary, 106>>,
     <<(binary:copy(<<104, 2, 106>>, 300))/binary, 106>>].
