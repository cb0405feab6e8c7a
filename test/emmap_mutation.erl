%% Valid streams of a peer, each with one thing wrong in it, over real sockets.
-module(emmap_mutation).

-export([run/3]).

%% So many mutations by a peer of this number, always the same for the same number: what was sent,
%% and how often the daemon hung up.
run(Context0, Number, N) ->
    _ = rand:seed(exsss, Number),
    Context = Context0#{name => list_to_atom(lists:concat(["mutant", Number, "@localhost"]))},
    Counts = #{mutations => 0, greetings => 0, frames => 0, hung_up => 0},
    go_on(N, none, Context, Counts).

%% Internal.

go_on(0, Socket, _, Counts) ->
    ok = leave(Socket),
    Counts;
go_on(N, Socket, Context, Counts) ->
    case rand:uniform(10) of
        1 -> go_on(N - 1, Socket, Context, greet(Context, Counts));
        _ -> say(N - 1, Socket, Context, Counts)
    end.

%% A handshake is a connection of its own.
greet(Context, Counts) ->
    Socket = emmap_hostile:connect(Context),
    _ = gen_tcp:send(Socket, mutated(greeting())),
    ok = gen_tcp:close(Socket),
    count(greetings, count(mutations, Counts)).

%% What a name, a complement, a reply to a challenge look like; nobody listens to the answers.
greeting() ->
    <<_, _/binary>> = Hello = emmap_hostile:hello(<<"mutant@localhost">>),
    Reply = <<21:16, $r, 4711:32, (rand:bytes(16))/binary>>,
    Old = <<23:16, $n, 5:16, 16#df7fbd:32, "mutant@localhost">>,
    Complement = <<9:16, $c, 13:32, 7:32>>,
    case rand:uniform(2) of
        1 -> <<Hello/binary, Reply/binary>>;
        2 -> <<Old/binary, Complement/binary, Reply/binary>>
    end.

%% One that is still connected goes on: what is wrong in a frame may be within what it says only.
say(N, none, Context, Counts) ->
    {ok, Socket} = joined(Context, 100),
    say(N, Socket, Context, Counts);
say(N, Socket, Context, Counts0) ->
    Frames = frames(Context),
    Good = element(rand:uniform(tuple_size(Frames)), Frames),
    Bad = mutated(element(rand:uniform(tuple_size(Frames)), Frames)),
    Counts = count(frames, count(mutations, Counts0)),
    case gen_tcp:send(Socket, [Good, Bad, Good]) of
        ok -> listen(N, Socket, Context, Counts);
        {error, _} -> hung_up(N, Socket, Context, Counts)
    end.

listen(N, Socket, Context, Counts) ->
    case gen_tcp:recv(Socket, 0, 0) of
        {ok, _} -> listen(N, Socket, Context, Counts);
        {error, timeout} -> perhaps_leave(N, Socket, Context, Counts);
        {error, _} -> hung_up(N, Socket, Context, Counts)
    end.

%% It may stand within a frame that was too long: then nothing that follows is looked at.
perhaps_leave(N, Socket, Context, Counts) ->
    case rand:uniform(8) of
        1 -> ok = leave(Socket), go_on(N, none, Context, Counts);
        _ -> go_on(N, Socket, Context, Counts)
    end.

hung_up(N, Socket, Context, Counts) ->
    ok = leave(Socket),
    go_on(N, none, Context, count(hung_up, Counts)).

leave(none) -> ok;
leave(Socket) -> gen_tcp:close(Socket).

%% A name that comes anew too often while its last connection is still there is not let in: another.
joined(Context, Tries) ->
    Name = list_to_atom(emmap_test:unique("mutant") ++ "@localhost"),
    try
        {ok, emmap_hostile:join(Context#{name => Name})}
    catch
        error:_ when Tries > 0 -> joined(Context, Tries - 1)
    end.

%% What peers send, in each of its forms.
frames(Context) ->
    case get(frames) of
        undefined ->
            Frames = list_to_tuple(recorded(Context)),
            _ = put(frames, Frames),
            Frames;
        Frames ->
            Frames
    end.

recorded(#{queue := Queue} = Context) ->
    [emmap_hostile:call_frame(Context, 1, N, Request) || {N, Request} <- lists:enumerate(requests(Queue))]
    ++ [iolist_to_binary(emmap_hostile:frames(Name, Context))
        || Name <- [casts_without_end, monitors_of_emmap, cancels_of_nothing, pings_of_net_kernel,
                    system_messages, calls_of_other_nodes, a_spawn_storm, an_rpc_storm, links_to_spawned,
                    consoles_without_end, exits_of_everybody, ticks_without_end]].

requests(Queue) ->
    [ping, info, clients, list, {open_counters, "mutant.counters", 4}, {inc_counter, "mutant.counters", 1, 5},
     {update_counters, "mutant.counters", [{0, 1}, {1, -1}]}, {read_counters, "mutant.counters"},
     {open, "mutant.region", 0, 4096, [create, write, {max_inc_size, 8192}, {chmod, 8#600}]},
     {pread, "mutant.region", 0, 100}, {pwrite, "mutant.region", [{0, <<"abc">>}, {17, ["d", <<"ef">>]}]},
     {patomic_cas, "mutant.region", 8, 0, 1}, {read_line, "mutant.region", 0},
     {open, "mutant.blocks", 0, 0, [create, write, {max_inc_size, 8192}, {chmod, 8#600}]},
     {init_block_storage, "mutant.blocks", 16}, {store_block, "mutant.blocks", <<"sixteen bytes...">>},
     {store_blocks, "mutant.blocks", [<<"sixteen bytes...">>, ["sixteen ", <<"more....">>]]},
     {read_block, "mutant.blocks", 0}, {read_blocks, "mutant.blocks", [0, 1, 1000]},
     {read_blocks, "mutant.blocks", 0, 10}, {free_block, "mutant.blocks", 1},
     {free_blocks, "mutant.blocks", [0, 1, 1000]},
     {repair_block_storage, "mutant.blocks", [dry_run, {from, 1}, {count, 10}]},
     {open_queue, "mutant.queue", 0, [{max_items, 100}, {overflow, drop_head}, {lease_ms, 1000}]},
     {push, "mutant.queue", #{a => [1, 2.5, <<"three">>], 'четыре' => {5, 1 bsl 70}}},
     {push_many, "mutant.queue", [a, "b", <<"c">>]}, {pop_many, "mutant.queue", 2, 10},
     {take, "mutant.queue", 10, 1000}, {ack, "mutant.queue", 1}, {release, "mutant.queue", 1, 10},
     {peek_many, Queue, 3}, {pop_wait, Queue, 50},
     {batch, [{read_counter, "mutant.counters", 0}, {length, Queue}, ping]}].

%%% Mutations.

mutated(Bytes) ->
    At = rand:uniform(byte_size(Bytes)) - 1,
    <<Before:At/binary, Byte, After/binary>> = Bytes,
    case rand:uniform(8) of
        1 -> <<Before/binary, (Byte bxor (1 bsl (rand:uniform(8) - 1))), After/binary>>;
        2 -> <<Before/binary, (rand:uniform(256) - 1), After/binary>>;
        3 -> <<Before/binary, After/binary>>;
        4 -> <<Before/binary, Byte, (rand:bytes(rand:uniform(8)))/binary, After/binary>>;
        5 -> Before;
        6 -> overwritten(Before, <<Byte, After/binary>>, element(rand:uniform(6), odd()));
        7 -> <<Before/binary, Byte, After/binary, Before/binary>>;
        8 -> right_length(mutated(Bytes))
    end.

odd() ->
    {<<-1:32>>, <<0:32>>, <<16#7fffffff:32>>, <<16#80000000:32>>, <<-1:16>>, <<-1:64>>}.

overwritten(Before, After, With) ->
    Rest = max(0, byte_size(After) - byte_size(With)),
    <<Before/binary, With/binary, (binary:part(After, byte_size(After), -Rest))/binary>>.

%% What is wrong then lies in the term, not in the frame.
right_length(<<_:32, Rest/binary>>) -> <<(byte_size(Rest)):32, Rest/binary>>;
right_length(Bytes) -> Bytes.

count(What, Counts) ->
    maps:update_with(What, fun(N) -> N + 1 end, Counts).
