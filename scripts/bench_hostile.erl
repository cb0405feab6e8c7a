%% How long a client's calls take beside peers that mean no good: with these at emmapd, and with the
%% same ones at a listener that reads and does nothing else, in turn. What the machine's cores have
%% to do for the senders costs the client something in any case: only the ratio tells what emmapd adds.
-module(bench_hostile).

-export([main/1]).
-export([listen/0, load/3]).

-define(ROUNDS, 6).
-define(MS, 300).
-define(SENDERS, 4).

main(Part) ->
    logger:set_primary_config(level, error),
    {ok, _} = application:ensure_all_started(emmap),
    D = emmap:which_node(),
    {ok, Id, _} = gen_server:call({emmap, D}, {open_counters, filename:absname("hits"), 1}),
    {ok, _, _} = gen_server:call({emmap, D}, {open_queue, filename:absname("queue"), 0, [{register, jobs}]}),
    _ = [{ok, _, _} = gen_server:call({emmap, D}, {open_counters, filename:absname("c" ++ integer_to_list(N)), 1})
         || N <- lists:seq(1, 100)],
    Call = fun() -> {ok, _} = gen_server:call({emmap, D}, {inc_counter, Id, 0, 1}) end,
    Context = #{node => D, cookie => erlang:get_cookie(), queue => filename:absname("queue"), jobs => jobs},
    {ok, Idle, IdleNode} = other_node("idle"),
    {ok, Loader, LoadNode} = other_node("load"),
    Targets = [{emmapd, Context#{port => port_of(D)}},
               {idle, Context#{port => erpc:call(IdleNode, ?MODULE, listen, []), idle => true}}],
    Kinds = [Kind || Kind <- kinds(), string:find(atom_to_list(Kind), Part) =/= nomatch],
    _ = latencies(Call, ?MS),
    Figures = [{Kind, Target, beside(LoadNode, Kind, Where, Call)}
               || N <- lists:seq(1, ?ROUNDS), Kind <- [nothing | Kinds], {Target, Where} <- turned(N, Targets)],
    ok = print([nothing | Kinds], Figures),
    [ok = peer:stop(Peer) || Peer <- [Idle, Loader]],
    application:stop(emmap),
    halt(0).

kinds() ->
    [connections, silent_connections, greetings, noise, unknown_controls, casts_without_end, calls_without_end,
     monitors_of_emmap, monitors_of_a_queue, cancels_of_nothing, exits_of_everybody, messages_to_nobody,
     pings_of_net_kernel, ticks_without_end, system_messages, calls_of_other_nodes, a_spawn_storm, an_rpc_storm,
     links_to_spawned, consoles_without_end, lists_without_end, metrics_without_end, envelopes_of_lists,
     batches_without_end].

other_node(Name) ->
    peer:start_link(#{name => peer:random_name(Name), host => "localhost",
                      args => ["-setcookie", atom_to_list(erlang:get_cookie()), "-hidden",
                               "-pa", filename:dirname(code:which(?MODULE))]}).

port_of(Node) ->
    [Name, _] = string:split(atom_to_list(Node), "@"),
    {port, Port, _} = erl_epmd:port_please(Name, {127, 0, 0, 1}),
    Port.

turned(N, List) when N rem 2 =:= 0 -> List;
turned(_, List) -> lists:reverse(List).

%%% The client.

beside(_, nothing, _, Call) ->
    latencies(Call, ?MS);
beside(LoadNode, Kind, Context, Call) ->
    Load = spawn_link(LoadNode, ?MODULE, load, [self(), Kind, Context]),
    receive {Load, ready} -> ok end,
    Figures = latencies(Call, ?MS),
    Monitor = monitor(process, Load),
    unlink(Load),
    exit(Load, kill),
    receive {'DOWN', Monitor, process, Load, _} -> ok end,
    ok = alone(),
    Figures.

%% What the load has sent is done, and nobody else connected.
alone() ->
    case gen_server:call({emmap, emmap:which_node()}, clients, infinity) of
        [_] -> ok;
        _ -> receive after 10 -> alone() end
    end.

latencies(Call, Ms) ->
    timed(Call, erlang:monotonic_time(millisecond) + Ms, []).

timed(Call, End, Took) ->
    Start = erlang:monotonic_time(),
    Call(),
    Now = erlang:monotonic_time(),
    One = erlang:convert_time_unit(Now - Start, native, microsecond),
    case erlang:convert_time_unit(Now, native, millisecond) < End of
        true -> timed(Call, End, [One | Took]);
        false -> [One | Took]
    end.

%%% The listener that does nothing.

listen() ->
    Self = self(),
    _ = spawn(fun() ->
        {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}, {backlog, 128}]),
        {ok, Port} = inet:port(Listener),
        Self ! {port, Port},
        accept(Listener)
    end),
    receive {port, Port} -> Port end.

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Reader = spawn(fun() -> receive go -> discard(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Reader),
    Reader ! go,
    accept(Listener).

discard(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, _} -> discard(Socket);
        {error, _} -> gen_tcp:close(Socket)
    end.

%%% The load: until it is killed, and its senders with it.

load(Client, Kind, Context) ->
    Self = self(),
    Senders = [spawn_link(fun() -> sender(Self, Kind, Context, N) end) || N <- lists:seq(1, ?SENDERS)],
    [receive {Sender, begun} -> ok end || Sender <- Senders],
    Client ! {Self, ready},
    receive never -> ok end.

sender(Load, Kind, Context0, N) ->
    Name = list_to_atom(lists:concat(["load", N, "_", erlang:unique_integer([positive]), "@localhost"])),
    Context = Context0#{name => Name},
    Begun = fun() -> Load ! {self(), begun} end,
    case Kind of
        connections -> Begun(), connects(Context, <<>>);
        greetings -> Begun(), connects(Context, emmap_hostile:hello(atom_to_binary(Name)));
        noise -> Begun(), connects(Context, rand:bytes(100));
        silent_connections -> Begun(), holds(Context, []);
        _ -> Socket = joined(Context), Begun(), sends(Socket, chunk(Kind, Context), Context)
    end.

joined(#{idle := true} = Context) -> active(emmap_hostile:connect(Context));
joined(Context) -> active(emmap_hostile:join(Context)).

%% What is on its way when its sender is killed goes with it: megabytes of requests, of up to a minute.
active(Socket) ->
    ok = inet:setopts(Socket, [{active, true}, {linger, {true, 0}}]),
    Socket.

chunk(Kind, Context) ->
    Bytes = iolist_to_binary(emmap_hostile:frames(Kind, Context)),
    binary:copy(Bytes, max(1, 60000 div byte_size(Bytes))).

sends(Socket, Chunk, Context) ->
    Next = case gen_tcp:send(Socket, Chunk) of
        ok -> Socket;
        {error, _} -> joined(Context)
    end,
    ok = flush(),
    sends(Next, Chunk, Context).

flush() ->
    receive _ -> flush() after 0 -> ok end.

connects(Context, Bytes) ->
    Socket = emmap_hostile:connect(Context),
    _ = gen_tcp:send(Socket, Bytes),
    ok = gen_tcp:close(Socket),
    connects(Context, Bytes).

%% No more than a hundred each, so that no machine runs out of ports.
holds(Context, Sockets) when length(Sockets) > 100 ->
    [gen_tcp:close(Socket) || Socket <- Sockets],
    holds(Context, []);
holds(Context, Sockets) ->
    holds(Context, [emmap_hostile:connect(Context) | Sockets]).

%%% Telling: of all rounds' calls together, for a busy machine has moods that outlast a round.

print(Kinds, Figures) ->
    io:format("~-22s ~30s ~30s~n~-22s ~10s ~10s ~8s ~10s ~10s ~8s ~9s~n",
              ["microseconds", "load on emmapd", "load on one that does nothing", "beside", "p50", "p99", "calls",
               "p50", "p99", "calls", "p99 / p99"]),
    [print_kind(Kind, Figures) || Kind <- Kinds],
    ok.

print_kind(Kind, Figures) ->
    [{P50, P99, Calls}, {Idle50, Idle99, IdleCalls}] =
        [summary(lists:append([Took || {K, T, Took} <- Figures, K =:= Kind, T =:= Target]))
         || Target <- [emmapd, idle]],
    io:format("~-22s ~10b ~10b ~8b ~10b ~10b ~8b ~9.2f~n",
              [Kind, P50, P99, Calls, Idle50, Idle99, IdleCalls, P99 / Idle99]).

summary(Took) ->
    Sorted = lists:sort(Took),
    Part = fun(P) -> lists:nth(ceil(length(Sorted) * P), Sorted) end,
    {Part(0.5), Part(0.99), length(Sorted)}.
