%% Many nodes that mean well: each a scripted peer whose processes wait for items in all ways, with
%% a little traffic, so that each of them gets some and waits again.
-module(emmap_crowd).

-export([run/3, print/1, rises/1]).

-define(QUEUES, 10).
-define(EACH_MS, 200). % a node counts and pushes once in that time
-define(SAMPLES, 40).
-define(DEADLINE, 60000).
-define(SLACK_BYTES, (4 bsl 20)).

%% #{nodes, waiters}: so many nodes, with so many waiters in all; for so many ms. A list of samples
%% #{ms, rss, fds, waiting, answers}, in order, the first when all wait.
run(Context, #{nodes := Nodes, waiters := Waiters}, Ms) ->
    Watcher = emmap_hostile:join(Context#{name => 'watcher@localhost'}),
    [{ok, _, _} = call(Watcher, {open_queue, queue(Q), 0, []}) || Q <- lists:seq(0, ?QUEUES - 1)],
    {ok, _, _} = call(Watcher, {open_counters, "load.counters", ?QUEUES}),
    Answers = counters:new(1, [write_concurrency]),
    Pids = [start_node(Context, I, Waiters div Nodes, Answers) || I <- lists:seq(1, Nodes)],
    ok = until_waiting(Watcher, Waiters div Nodes * Nodes),
    Start = erlang:monotonic_time(millisecond),
    Samples = sample(Watcher, Start, max(50, Ms div ?SAMPLES), Start + Ms, Answers, []),
    [unlink(Pid) || Pid <- Pids],
    [exit(Pid, kill) || Pid <- Pids],
    ok = gen_tcp:close(Watcher),
    Samples.

%% As a table, to whoever sees the standard output.
print(Samples) ->
    io:format(user, "~n~8s ~10s ~6s ~8s ~10s~n", ["s", "rss, KiB", "fds", "waiting", "answers"]),
    [io:format(user, "~8.1f ~10b ~6b ~8b ~10b~n", [Ms / 1000, Rss div 1024, Fds, Waiting, Answers])
     || #{ms := Ms, rss := Rss, fds := Fds, waiting := Waiting, answers := Answers} <- Samples],
    ok.

%% What has risen from the first quarter to the last, or has not moved though it should: the most
%% that each needs is compared, so that what comes and goes is no rise.
rises(Samples) ->
    Quarter = length(Samples) div 4,
    {First, _} = lists:split(max(1, Quarter), Samples),
    Last = lists:nthtail(length(Samples) - max(1, Quarter), Samples),
    Most = fun(Key, Some) -> lists:max([maps:get(Key, Sample) || Sample <- Some]) end,
    [rss || Most(rss, Last) > Most(rss, First) + ?SLACK_BYTES]
    ++ [fds || Most(fds, Last) > Most(fds, First)]
    ++ [waiting || Most(waiting, Last) > Most(waiting, First)]
    ++ [no_answers || Most(answers, Last) =:= Most(answers, First)].

%% Internal.

queue(Q) ->
    lists:concat(["load.", Q rem ?QUEUES]).

call(Socket, Request) ->
    Context = #{name => 'watcher@localhost'},
    ok = gen_tcp:send(Socket, emmap_hostile:call_frame(Context, 1, tag, Request)),
    ok = inet:setopts(Socket, [{packet, 4}]),
    Reply = reply(Socket),
    ok = inet:setopts(Socket, [{packet, raw}]),
    Reply.

reply(Socket) ->
    case emmap_wire:receive_message(Socket) of
        {_, {tag, Reply}} -> Reply;
        _ -> reply(Socket)
    end.

waiting(Watcher) ->
    lists:sum([Waiting + Subscribers
               || Q <- lists:seq(0, ?QUEUES - 1),
                  #{waiting := Waiting, subscribers := Subscribers} <- [call(Watcher, {info, queue(Q)})]]).

until_waiting(Watcher, N) ->
    emmap_test:until(fun() -> waiting(Watcher) >= N * 9 div 10 orelse {waiting, waiting(Watcher)} end, ?DEADLINE).

sample(Watcher, Start, EachMs, End, Answers, Samples) ->
    #{rss := Rss, fds := Fds} = call(Watcher, info),
    Now = erlang:monotonic_time(millisecond),
    Sample = #{ms => Now - Start, rss => Rss, fds => Fds, waiting => waiting(Watcher),
               answers => counters:get(Answers, 1)},
    receive after EachMs -> ok end,
    case Now < End of
        true -> sample(Watcher, Start, EachMs, End, Answers, [Sample | Samples]);
        false -> lists:reverse([Sample | Samples])
    end.

%%% A node.

%% One after the other: of half open connections there are only so many.
start_node(Context, I, Waiters, Answers) ->
    Self = self(),
    Pid = spawn_link(fun() -> begin_node(Self, Context, I, Waiters, Answers) end),
    receive {Pid, waits} -> Pid end.

begin_node(Starter, Context0, I, Waiters, Answers) ->
    Context = Context0#{name => list_to_atom(lists:concat(["load", I, "@localhost"]))},
    Socket = emmap_hostile:join(Context),
    Node = #{socket => Socket, context => Context, queue => queue(I), number => I, answers => Answers},
    [ok = wait(Node, N) || N <- lists:seq(1, Waiters)],
    ok = inet:setopts(Socket, [{packet, 4}, {active, true}]),
    Starter ! {self(), waits},
    _ = erlang:send_after(rand:uniform(?EACH_MS), self(), turn),
    live(Node).

live(#{socket := Socket} = Node) ->
    receive
        turn ->
            _ = erlang:send_after(?EACH_MS, self(), turn),
            ok = request(Node, 0, counted, {inc_counter, "load.counters", maps:get(number, Node) rem ?QUEUES, 1}),
            ok = request(Node, 0, pushed, {push, maps:get(queue, Node), <<"a little item">>});
        {tcp, Socket, Frame} ->
            ok = hear(Node, Frame);
        {tcp_closed, Socket} ->
            exit(closed)
    end,
    live(Node).

%% Each third of them in one of the ways.
wait(#{queue := Queue} = Node, N) ->
    request(Node, N, {waiter, N}, case N rem 3 of
        0 -> {pop_wait, Queue, infinity};
        1 -> {take, Queue, infinity};
        2 -> {subscribe, Queue, emmap_hostile:reference(maps:get(context, Node), N), 2}
    end).

request(#{socket := Socket, context := Context}, Process, Tag, Request) ->
    Frame = <<_:32, Bytes/binary>> = emmap_hostile:call_frame(Context, Process, Tag, Request),
    {ok, [{packet, Packet}]} = inet:getopts(Socket, [packet]),
    gen_tcp:send(Socket, case Packet of
        4 -> Bytes;
        0 -> Frame
    end).

hear(Node, <<112, Terms/binary>>) ->
    {_, Used} = binary_to_term(Terms, [used]),
    case Terms of
        <<_:Used/binary>> -> ok; % a monitor
        <<_:Used/binary, Message/binary>> -> answered(Node, binary_to_term(Message))
    end;
hear(_, <<>>) ->
    ok.

answered(Node, {{waiter, N}, {ok, _}}) ->
    ok = counters:add(maps:get(answers, Node), 1, 1),
    wait(Node, N);
answered(#{queue := Queue} = Node, {{waiter, N}, {ok, Id, _, _}}) ->
    ok = counters:add(maps:get(answers, Node), 1, 1),
    ok = request(Node, N, acked, {ack, Queue, Id}),
    wait(Node, N);
answered(#{queue := Queue} = Node, {emmap_queue, Ref, Id, _, _}) ->
    ok = counters:add(maps:get(answers, Node), 1, 1),
    request(Node, emmap_hostile:number_of(Ref), acked, {ack, Queue, Id});
answered(_, {Tag, Reply}) when Tag =:= counted, element(1, Reply) =:= ok; Reply =:= ok ->
    ok.
