%% The measurements behind scripts/bench. Each contender does the same work for the same time; a
%% round has all of them in turn, and what is told is the median of the rounds.
-module(bench).

-export([main/6]).

%% For the other modules of scripts/bench.
-export([counted/3, rate/3, rotate/2, medians/1, rate_text/1, ratio_text/2]).

%% The second BEAM node: a counter, bytes that it holds, a queue.
-export([start_reference/0, init/1, handle_call/3, handle_cast/2]).

-define(SIZE, 16 bsl 20).

%% Part: only the rows that have it in their names.
main(Rounds, Ms, Part, RedisPort, BeanstalkPort, Json) ->
    logger:set_primary_config(level, error),
    {ok, _} = application:ensure_all_started(emmap),
    World = (world(RedisPort))#{beanstalk => BeanstalkPort},
    Rows = [{Work, Procs, Contenders} || {Work, Counts, Contenders} <- works(World),
                                         string:find(Work, Part) =/= nomatch, Procs <- Counts],
    Figures = lists:append([round(N, Rounds, Ms, Rows) || N <- lists:seq(1, Rounds)]),
    Medians = medians(Figures),
    print(Rows, Medians),
    ok = file:write_file(Json, json(Figures)),
    io:format("~nRaw figures: build/~ts~n", [filename:basename(Json)]),
    application:stop(emmap),
    halt(0).

world(RedisPort) ->
    {ok, _, Reference} = peer:start_link(#{name => peer:random_name("reference"),
                                           host => "localhost",
                                           args => ["-setcookie", atom_to_list(erlang:get_cookie()),
                                                    "-pa", filename:dirname(code:which(?MODULE))]}),
    {ok, _} = erpc:call(Reference, ?MODULE, start_reference, []),
    {ok, Redis} = eredis:start_link("127.0.0.1", RedisPort),
    Counters = emmap:open_counters("hits", 1),
    {ok, Region, #{id := _}} = emmap:open("bytes", 0, ?SIZE, [create, read, write]),
    ok = emmap:pwrite(Region, 0, binary:copy(<<1>>, ?SIZE)),
    {ok, Queue} = emmap_queue:open("queue", 0, []),
    Daemon = {emmap, emmap:which_node()},
    {ok, Id, _} = gen_server:call(Daemon, {open_counters, filename:absname("hits"), 0}),
    #{reference => {?MODULE, Reference}, redis => Redis, counters => Counters, region => Region,
      queue => Queue, daemon => Daemon, id => Id}.

works(#{reference := Ref, redis := Redis, counters := C, region := F, daemon := D, id := Id} = World) ->
    [{"increment", [1, 8, 64],
      [{wrapper, fun() -> {ok, _} = emmap:inc_counter(C, 0) end},
       {plain_call, fun() -> {ok, _} = gen_server:call(D, {inc_counter, Id, 0}) end},
       {beam, fun() -> {ok, _} = gen_server:call(Ref, inc) end},
       {redis, fun() -> {ok, _} = eredis:q(Redis, ["INCR", "hits"]) end}]},
     {"increments, batches of 100", [1, 8, 64],
      [{wrapper, batch_of(C, 100)},
       {redis, pipeline_of(Redis, 100)}]}]
    ++ [{lists:concat([Verb, " of ", Name]), Counts,
         [{wrapper, transfer(Verb, F, Bytes)},
          {beam, reference_transfer(Verb, Ref, Bytes)}]}
        || {Bytes, Name, Counts} <- [{64, "64 B", [1, 8, 64]}, {4096, "4 KiB", [1, 8, 64]},
                                     {1 bsl 20, "1 MiB", [1]}],
           Verb <- [pread, pwrite]]
    ++ queue_works(World).

%% Pairs: one item in, one out.
queue_works(#{reference := Ref, redis := Redis, queue := Q, beanstalk := Port}) ->
    Items = lists:duplicate(100, binary:copy(<<3>>, 100)),
    [{"push + pop of " ++ Name, [1, 8, 64],
      [{wrapper, fun() -> ok = emmap_queue:push(Q, Item), _ = emmap_queue:pop(Q) end},
       {beam, fun() -> ok = gen_server:call(Ref, {push, Item}), _ = gen_server:call(Ref, pop) end},
       {redis, fun() -> {ok, _} = eredis:q(Redis, ["LPUSH", "queue", Item]),
                        {ok, _} = eredis:q(Redis, ["RPOP", "queue"]) end}]}
     || {Name, Item} <- items()]
    ++ [{"push + take + ack of " ++ Name, [1, 8, 64],
         [{wrapper, fun() -> ok = emmap_queue:push(Q, Item), take_and_ack(Q) end},
          {beanstalkd, fun() -> put_reserve_delete(Port, Item) end}]}
        || {Name, Item} <- items()]
    ++ [{Name, [1, 8, 64], [{wrapper, Fun}, {redis, pair_pipeline_of(Redis, 100)}]}
        || {Name, Fun} <- [{"push_many + pop_many of 100", fun() -> push_and_pop_many(Q, Items) end},
                           {"batch of 100 push, 100 pop", pairs_of(Q, 100)}]]
    ++ [{"..._many of 100: push, take, ack", [1, 8, 64],
         [{wrapper, fun() -> ok = emmap_queue:push_many(Q, Items), take_and_ack_many(Q) end}]}].

items() ->
    [{"100 B", binary:copy(<<3>>, 100)}, {"1 KiB", binary:copy(<<3>>, 1024)}].

take_and_ack(Q) ->
    {ok, Id, _, _} = emmap_queue:take(Q, infinity),
    ok = emmap_queue:ack(Q, Id).

push_and_pop_many(Q, Items) ->
    ok = emmap_queue:push_many(Q, Items),
    {ok, [_ | _]} = emmap_queue:pop_many(Q, length(Items)).

take_and_ack_many(Q) ->
    {ok, Taken} = emmap_queue:take_many(Q, 100, infinity),
    ok = emmap_queue:ack_many(Q, [Id || {Id, _, _} <- Taken]).

pairs_of(Q, N) ->
    Requests = lists:duplicate(N, {push, binary:copy(<<3>>, 100)}) ++
        lists:duplicate(N, {pop_wait, 0}),
    fun() -> {ok, [_ | _]} = emmap:batch(Q, Requests) end.

pair_pipeline_of(Redis, N) ->
    Requests = lists:duplicate(N, ["LPUSH", "queue", binary:copy(<<3>>, 100)]) ++
        lists:duplicate(N, ["RPOP", "queue"]),
    fun() -> [_ | _] = eredis:qp(Redis, Requests) end.

%% A connection a process, as its clients do.
put_reserve_delete(Port, Item) ->
    Socket = case get(beanstalk) of
                 undefined ->
                     {ok, New} = gen_tcp:connect({127, 0, 0, 1}, Port,
                                                 [binary, {active, false}, {nodelay, true},
                                                  {packet, line}]),
                     put(beanstalk, New),
                     New;
                 Old ->
                     Old
             end,
    ok = gen_tcp:send(Socket, ["put 0 0 60 ", integer_to_list(byte_size(Item)), "\r\n", Item, "\r\n"]),
    {ok, <<"INSERTED", _/binary>>} = gen_tcp:recv(Socket, 0),
    ok = gen_tcp:send(Socket, "reserve\r\n"),
    {ok, <<"RESERVED ", Reserved/binary>>} = gen_tcp:recv(Socket, 0),
    [Id, Bytes] = binary:split(Reserved, [<<" ">>, <<"\r\n">>], [global, trim]),
    ok = inet:setopts(Socket, [{packet, raw}]),
    {ok, _} = gen_tcp:recv(Socket, binary_to_integer(Bytes) + 2),
    ok = inet:setopts(Socket, [{packet, line}]),
    ok = gen_tcp:send(Socket, ["delete ", Id, "\r\n"]),
    {ok, <<"DELETED", _/binary>>} = gen_tcp:recv(Socket, 0).

batch_of(C, N) ->
    Requests = lists:duplicate(N, {inc_counter, 0, 1}),
    fun() -> {ok, [_ | _]} = emmap:batch(C, Requests) end.

pipeline_of(Redis, N) ->
    Requests = lists:duplicate(N, ["INCR", "hits"]),
    fun() -> [_ | _] = eredis:qp(Redis, Requests) end.

transfer(pread, F, Bytes) ->
    fun() -> {ok, _} = emmap:pread(F, position(Bytes), Bytes) end;
transfer(pwrite, F, Bytes) ->
    Data = binary:copy(<<2>>, Bytes),
    fun() -> ok = emmap:pwrite(F, position(Bytes), Data) end.

reference_transfer(pread, Ref, Bytes) ->
    fun() -> {ok, _} = gen_server:call(Ref, {pread, position(Bytes), Bytes}) end;
reference_transfer(pwrite, Ref, Bytes) ->
    Data = binary:copy(<<2>>, Bytes),
    fun() -> ok = gen_server:call(Ref, {pwrite, position(Bytes), Data}) end.

position(Bytes) ->
    Bytes * rand:uniform(?SIZE div Bytes) - Bytes.

%% Measuring.

round(N, Rounds, Ms, Rows) ->
    io:format(standard_error, "round ~b of ~b~n", [N, Rounds]),
    [{Work, Procs, Name, rate(Procs, Ms, Fun)}
     || {Work, Procs, Contenders} <- Rows, {Name, Fun} <- rotate(N, Contenders)].

%% So that nobody always goes first.
rotate(N, List) ->
    {Front, Back} = lists:split(N rem length(List), List),
    Back ++ Front.

%% Operations a second of so many processes, after a tenth of the time to warm up.
rate(Procs, Ms, Fun) ->
    _ = counted(Procs, Ms div 10, Fun),
    {Micros, Count} = timer:tc(fun() -> counted(Procs, Ms, Fun) end),
    Count * 1000000 / Micros.

counted(Procs, Ms, Fun) ->
    Stop = atomics:new(1, []),
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), loop(Fun, Stop, 0)} end)
            || _ <- lists:seq(1, Procs)],
    receive after Ms -> atomics:put(Stop, 1, 1) end,
    lists:sum([receive {Pid, Count} -> Count end || Pid <- Pids]).

loop(Fun, Stop, Count) ->
    case atomics:get(Stop, 1) of
        0 -> Fun(), loop(Fun, Stop, Count + 1);
        1 -> Count
    end.

medians(Figures) ->
    Sorted = lists:foldl(fun({Work, Procs, Name, Rate}, Acc) ->
                             maps:update_with({Work, Procs, Name},
                                              fun(Rates) -> [Rate | Rates] end, [Rate], Acc)
                         end, #{}, Figures),
    maps:map(fun(_, Rates) -> lists:nth((length(Rates) + 1) div 2, lists:sort(Rates)) end, Sorted).

%% Telling. A ratio above 1: the wrapper does more.

print(Rows, Medians) ->
    io:format("~-33s ~5s ~11s ~11s ~11s ~11s ~11s ~8s ~8s ~8s~n",
              ["a second", "procs", "wrapper", "plain call", "2nd BEAM", "Redis", "beanstalkd",
               "/ BEAM", "/ Redis", "/ beanst."]),
    [print_row(Work, Procs, [maps:get({Work, Procs, Name}, Medians, none)
                             || Name <- [wrapper, plain_call, beam, redis, beanstalkd]])
     || {Work, Procs, _} <- Rows].

print_row(Work, Procs, [Wrapper, _, Beam, Redis, Beanstalkd] = Rates) ->
    io:format("~-33s ~5b ~11s ~11s ~11s ~11s ~11s ~8s ~8s ~8s~n",
              [Work, Procs | [rate_text(Rate) || Rate <- Rates]]
              ++ [ratio_text(Wrapper, Other) || Other <- [Beam, Redis, Beanstalkd]]).

rate_text(none) -> "-";
rate_text(Rate) -> integer_to_list(round(Rate)).

ratio_text(_, none) -> "-";
ratio_text(Rate, Other) -> float_to_list(Rate / Other, [{decimals, 2}]).

json(Figures) ->
    Lines = [io_lib:format("{\"work\": \"~s\", \"processes\": ~b, \"contender\": \"~s\", "
                           "\"per_second\": ~.1f}", [Work, Procs, Name, Rate])
             || {Work, Procs, Name, Rate} <- Figures],
    ["[\n", lists:join(",\n", Lines), "\n]\n"].

%% The reference.

start_reference() ->
    gen_server:start({local, ?MODULE}, ?MODULE, [], []).

init([]) ->
    put(queue, queue:new()),
    {ok, {0, #{64 => binary:copy(<<1>>, 64), 4096 => binary:copy(<<1>>, 4096),
               1 bsl 20 => binary:copy(<<1>>, 1 bsl 20)}}}.

handle_call(inc, _From, {N, Bytes}) ->
    {reply, {ok, N}, {N + 1, Bytes}};
handle_call({push, Item}, _From, State) ->
    _ = put(queue, queue:in(Item, get(queue))),
    {reply, ok, State};
handle_call(pop, _From, State) ->
    case queue:out(get(queue)) of
        {{value, Item}, Rest} -> _ = put(queue, Rest), {reply, Item, State};
        {empty, _} -> {reply, nil, State}
    end;
handle_call({pread, _Pos, Len}, _From, {_, Bytes} = State) ->
    {reply, {ok, maps:get(Len, Bytes)}, State};
handle_call({pwrite, _Pos, Data}, _From, {N, Bytes}) ->
    {reply, ok, {N, Bytes#{byte_size(Data) => Data}}}.

handle_cast(_, State) ->
    {noreply, State}.
