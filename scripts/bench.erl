%% The measurements behind scripts/bench. Each contender does the same work for the same time; a
%% round has all of them in turn, and what is told is the median of the rounds.
-module(bench).

-export([main/4]).

%% The second BEAM node: a counter, and bytes that it holds.
-export([start_reference/0, init/1, handle_call/3, handle_cast/2]).

-define(SIZE, 16 bsl 20).

main(Rounds, Ms, RedisPort, Json) ->
    logger:set_primary_config(level, error),
    {ok, _} = application:ensure_all_started(emmap),
    World = world(RedisPort),
    Rows = [{Work, Procs, Contenders} || {Work, Counts, Contenders} <- works(World),
                                         Procs <- Counts],
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
    Daemon = {emmap, emmap:which_node()},
    {ok, Id, _} = gen_server:call(Daemon, {open_counters, filename:absname("hits"), 0}),
    #{reference => {?MODULE, Reference}, redis => Redis, counters => Counters, region => Region,
      daemon => Daemon, id => Id}.

works(#{reference := Ref, redis := Redis, counters := C, region := F, daemon := D, id := Id}) ->
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
           Verb <- [pread, pwrite]].

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
    io:format("~-30s ~5s ~11s ~11s ~11s ~11s ~8s ~8s~n",
              ["a second", "procs", "wrapper", "plain call", "2nd BEAM", "Redis", "/ BEAM",
               "/ Redis"]),
    [print_row(Work, Procs, [maps:get({Work, Procs, Name}, Medians, none)
                             || Name <- [wrapper, plain_call, beam, redis]])
     || {Work, Procs, _} <- Rows].

print_row(Work, Procs, [Wrapper, _, Beam, Redis] = Rates) ->
    io:format("~-30s ~5b ~11s ~11s ~11s ~11s ~8s ~8s~n",
              [Work, Procs | [rate_text(Rate) || Rate <- Rates]]
              ++ [ratio_text(Wrapper, Beam), ratio_text(Wrapper, Redis)]).

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
    {ok, {0, #{64 => binary:copy(<<1>>, 64), 4096 => binary:copy(<<1>>, 4096),
               1 bsl 20 => binary:copy(<<1>>, 1 bsl 20)}}}.

handle_call(inc, _From, {N, Bytes}) ->
    {reply, {ok, N}, {N + 1, Bytes}};
handle_call({pread, _Pos, Len}, _From, {_, Bytes} = State) ->
    {reply, {ok, maps:get(Len, Bytes)}, State};
handle_call({pwrite, _Pos, Data}, _From, {N, Bytes}) ->
    {reply, ok, {N, Bytes#{byte_size(Data) => Data}}}.

handle_cast(_, State) ->
    {noreply, State}.
