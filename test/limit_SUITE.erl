%% The daemon's limits as their users meet them: small ones, reached by plain calls of one node or of
%% two. What is refused has changed nothing, what was there goes on, and room comes back.
-module(limit_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_queue_face, [call/2]).

-define(OBJECT, 1048576).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{bytes, [],
      [a_region_is_limited, a_file_that_is_too_long_is_refused, memory_is_limited, counters_are_limited,
       a_queue_is_limited, a_queue_of_the_nif_library_is_limited, all_objects_are_limited]},
     {all_nodes, [],
      [handles_of_all_are_limited, leases_of_all_are_limited, waits_of_all_are_limited,
       subscriptions_of_all_are_limited, waiting_requests_of_all_are_limited]},
     {host, [],
      [connections_are_limited, descriptors_are_kept_back, names_that_nobody_has_open_make_room,
       without_descriptors_connections_wait]},
     {told, [],
      [info_tells_the_limits]}].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Args = ["--max-object-bytes", integer_to_list(?OBJECT),
            "--max-mapped", integer_to_list(3 * ?OBJECT),
            "--max-all-handles", "9", "--max-all-leases", "4", "--max-all-waiting", "3",
            "--max-all-subscribers", "2"],
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{args => Args}),
    [One, Two] = [emmap_test:start_node(Config, #{}) || _ <- [1, 2]],
    [{daemon, Daemon}, {d, D}, {one, One}, {two, Two} | Config].

end_per_suite(Config) ->
    [ok = emmap_test:stop_node(?config(Node, Config)) || Node <- [one, two]],
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

%% Nothing is left to the next case.
end_per_testcase(_Case, Config) ->
    [on(?config(Node, Config), fun() -> close_all(?config(d, Config)) end) || Node <- [one, two]],
    ok.

%%% Bytes of an object, and of all.

a_region_is_limited(Config) ->
    one(Config, fun(D) ->
        Options = [create, write],
        {error, {limit, max_object_bytes}} = call(D, {open, "region", 0, ?OBJECT + 1, Options}),
        {error, enoent} = call(D, {open, "region", 0, 0, []}),
        F = opened(D, {open, "region", 0, 4096, Options}),
        ok = call(D, {pwrite, F, 0, "kept"}),
        {error, {limit, max_object_bytes}} = call(D, {resize, F, ?OBJECT + 1}),
        {error, {limit, max_object_bytes}} = call(D, {allocate, F, ?OBJECT, 1}),
        {error, {limit, max_object_bytes}} =
            call(D, {open, "region", 0, ?OBJECT + 1, [write, truncate]}),
        #{size := 4096} = call(D, {info, F}),
        {ok, <<"kept">>} = call(D, {pread, F, 0, 4}),
        {ok, ?OBJECT} = call(D, {resize, F, ?OBJECT}),
        {error, {limit, max_object_bytes}} = call(D, {resize, F, 0}),
        ok = call(D, {pwrite, F, ?OBJECT - 1, "x"})
    end).

a_file_that_is_too_long_is_refused(Config) ->
    File = in_data_dir(Config, "long"),
    Bytes = binary:copy(<<"x">>, ?OBJECT + 1),
    ok = file:write_file(File, Bytes),
    one(Config, fun(D) ->
        {error, {limit, max_object_bytes}} = call(D, {open, "long", 0, 0, [write]}),
        {error, {limit, max_object_bytes}} = call(D, {open, "long", 0, 0, [private]})
    end),
    {ok, Bytes} = file:read_file(File),
    ok.

memory_is_limited(Config) ->
    one(Config, fun(D) ->
        {error, {limit, max_object_bytes}} = call(D, {open, "", 0, ?OBJECT + 1, [anon, write]}),
        F = opened(D, {open, "", 0, ?OBJECT, [anon, write]}),
        ok = call(D, {pwrite, F, ?OBJECT - 1, "x"})
    end).

counters_are_limited(Config) ->
    Most = (?OBJECT - 16) div 8,
    one(Config, fun(D) ->
        {error, {limit, max_object_bytes}} = call(D, {open_counters, "counters", Most + 1}),
        {error, enoent} = call(D, {open_counters, "counters", 0}),
        C = opened(D, {open_counters, "counters", 8}),
        {ok, 0} = call(D, {inc_counter, C, 7, 5}),
        {error, {limit, max_object_bytes}} = call(D, {open_counters, "counters", Most + 1}),
        {ok, 5} = call(D, {read_counter, C, 7}),
        {error, badarg} = call(D, {read_counter, C, 8}),
        _ = opened(D, {open_counters, "counters", Most}),
        {ok, 0} = call(D, {inc_counter, C, Most - 1})
    end).

%% Pushes get the error, all else goes on; what is consumed makes room.
a_queue_is_limited(Config) ->
    Item = fun(N) -> {N, binary:copy(<<"q">>, 20000)} end,
    one(Config, fun(D) ->
        Q = opened(D, {open_queue, "queue", 0, []}),
        N = push_until_refused(D, Q, Item, 1),
        #{items := N, ready := N, next_id := Next, file_size := Size} = call(D, {info, Q}),
        {N, true} = {Next - 1, Size =< ?OBJECT},
        {error, {limit, max_object_bytes}} = call(D, {push_many, Q, [Item(0), Item(0)]}),
        {error, {limit, max_object_bytes}} = call(D, {push, Q, binary:copy(<<"q">>, 2 * ?OBJECT)}),
        N = call(D, {length, Q}),
        {ok, 1, 1, First} = call(D, {take, Q}),
        First = Item(1),
        ok = call(D, {ack, Q, 1}),
        [begin Got = Item(I), Got = call(D, {pop, Q}) end || I <- lists:seq(2, N)],
        nil = call(D, {pop, Q}),
        ok = until(fun() -> call(D, {push, Q, Item(N + 1)}) =:= ok end),
        Last = Item(N + 1),
        Last = call(D, {pop, Q})
    end).

a_queue_of_the_nif_library_is_limited(Config) ->
    File = in_data_dir(Config, "nif"),
    Old = convert_SUITE:old_file([term_to_binary(job)]),
    ok = file:write_file(File, Old),
    Fill = fill_up(Config),
    one(Config, fun(D) ->
        {error, {limit, max_mapped}} = call(D, {open_queue, "nif", 0, []}),
        {ok, Old} = file:read_file(File),
        [ok = call(D, {close, F}) || F <- Fill],
        _ = opened(D, {open_queue, "nif", 0, []})
    end).

all_objects_are_limited(Config) ->
    [F | _] = fill_up(Config),
    two(Config, fun(D) ->
        {error, {limit, max_mapped}} = call(D, {open, "one_more", 0, 1, [create, write]}),
        {error, enoent} = call(D, {open, "one_more", 0, 0, []}),
        {error, {limit, max_mapped}} = call(D, {open_counters, "one_more", 1}),
        {error, {limit, max_mapped}} = call(D, {open_queue, "one_more", 0, []}),
        {error, {limit, max_mapped}} = call(D, {open, "", 0, 1, [anon, write]}),
        {error, enoent} = call(D, {open, "one_more", 0, 0, []}),
        #{mapped := 3 * ?OBJECT} = call(D, info)
    end),
    one(Config, fun(D) -> ok = call(D, {truncate, F, ?OBJECT - 4096}) end),
    two(Config, fun(D) ->
        G = opened(D, {open, "one_more", 0, 4095, [create, write]}),
        {error, {limit, max_mapped}} = call(D, {resize, G, 4097}),
        {ok, 4096} = call(D, {resize, G, 4096})
    end).

%%% What all nodes have together.

handles_of_all_are_limited(Config) ->
    Open = {open, "handles", 0, 64, [create, write]},
    one(Config, fun(D) -> [_ = opened(D, Open) || _ <- lists:seq(1, 4)] end),
    two(Config, fun(D) ->
        [F | _] = [opened(D, Open) || _ <- lists:seq(1, 5)],
        {error, {limit, max_all_handles}} = call(D, {open, "other", 0, 64, [create, write]}),
        ok = call(D, {close, F}),
        {error, enoent} = call(D, {open, "other", 0, 64, []}),
        _ = opened(D, Open)
    end),
    one(Config, fun(D) -> {error, {limit, max_all_handles}} = call(D, Open) end).

leases_of_all_are_limited(Config) ->
    Ref = one(Config, fun(D) ->
        Q = opened(D, {open_queue, "leases", 0, []}),
        ok = call(D, {push_many, Q, [a, b, c, d, e, f]}),
        {ok, 1, 1, a} = call(D, {take, Q}),
        {ok, 2, 1, b} = call(D, {take, Q}),
        make_ref()
    end, #{stays => true}),
    two(Config, fun(D) ->
        Q = opened(D, {open_queue, "leases", 0, []}),
        {error, {limit, max_all_leases}} = call(D, {subscribe, Q, Ref, 3}),
        {ok, [{3, 1, c}, {4, 1, d}]} = call(D, {take_many, Q, 9}),
        {error, {limit, max_all_leases}} = call(D, {take, Q}),
        {error, {limit, max_all_leases}} = call(D, {take, Q, infinity}),
        ok = call(D, {ack, Q, 3}),
        {ok, 5, 1, e} = call(D, {take, Q})
    end).

waits_of_all_are_limited(Config) ->
    Pop = {pop_wait, "waits", infinity},
    one(Config, fun(D) ->
        Q = opened(D, {open_queue, "waits", 0, []}),
        _ = wait_for(D, Pop, 2),
        ok = until(fun() -> maps:get(waiting, call(D, {info, Q})) =:= 2 end)
    end, #{stays => true}),
    two(Config, fun(D) ->
        Q = opened(D, {open_queue, "waits", 0, []}),
        [Third] = wait_for(D, Pop, 1),
        ok = until(fun() -> maps:get(waiting, call(D, {info, Q})) =:= 3 end),
        {error, {limit, max_all_waiting}} = call(D, Pop),
        ok = call(D, {push_many, Q, [a, b, c]}),
        {ok, c} = answer(Third),
        _ = wait_for(D, Pop, 1),
        ok = until(fun() -> maps:get(waiting, call(D, {info, Q})) =:= 1 end)
    end).

subscriptions_of_all_are_limited(Config) ->
    one(Config, fun(D) ->
        Q = opened(D, {open_queue, "subscriptions", 0, []}),
        [ok = call(D, {subscribe, Q, make_ref(), 1}) || _ <- [1, 2]]
    end, #{stays => true}),
    two(Config, fun(D) ->
        Q = opened(D, {open_queue, "subscriptions", 0, []}),
        {error, {limit, max_all_subscribers}} = call(D, {subscribe, Q, make_ref(), 1})
    end).

%% A sync waits for a worker, and counts as long.
waiting_requests_of_all_are_limited(Config) ->
    Args = ["--max-all-pending", "1"],
    #{node := D} = emmap_test:daemon(Config, #{args => Args, data_dir => in_data_dir(Config, "pending")}),
    Clients = [emmap_test:node(Config) || _ <- [1, 2]],
    [F, G] = [on(Client, fun() -> opened(D, {open, "f", 0, 4096, [create, write]}) end)
              || Client <- Clients],
    Syncs = fun(Id) -> fun() -> syncs(D, Id, 200) end end,
    Answers = emmap_test:in_parallel([fun() -> on(Client, Syncs(Id)) end
                                      || {Client, Id} <- lists:zip(Clients, [F, G])]),
    All = lists:append(Answers),
    400 = length(All),
    [] = lists:usort(All) -- [ok, {error, {limit, max_all_pending}}],
    true = lists:member(ok, All),
    true = lists:member({error, {limit, max_all_pending}}, All),
    on(hd(Clients), fun() -> ok = call(D, {sync, F}) end).

%%% Connections and descriptors.

connections_are_limited(Config) ->
    Daemon = #{node := D} = emmap_test:daemon(Config, #{args => ["--max-connections", "2"]}),
    [First, Second, Third] = [emmap_test:node(Config) || _ <- [1, 2, 3]],
    [pong = on(Node, fun() -> call(D, ping) end) || Node <- [First, Second]],
    Refused = fun() -> false = net_kernel:connect_node(D) end,
    _ = [on(Third, Refused) || _ <- lists:seq(1, 30)],
    pong = on(First, fun() -> call(D, ping) end),
    Again = fun() -> true = erlang:disconnect_node(D), pong = call(D, ping) end,
    ok = on(Second, fun() -> true = erlang:disconnect_node(D), ok end),
    ok = on(Third, fun() -> until(fun() -> net_kernel:connect_node(D) end) end),
    pong = on(Third, Again),
    #{program := Program} = Daemon,
    Told = [L || L <- emmap_program:lines(Program), nomatch =/= binary:match(L, <<"max_connections">>)],
    true = length(Told) >= 1 andalso length(Told) =< 20,
    ok.

%% Objects get none of the last 16 of 64; connections and further handles do.
descriptors_are_kept_back(Config) ->
    #{node := D} = with_descriptors(Config, 64, ["--reserve-fds", "16"]),
    [First | Others] = [emmap_test:node(Config) || _ <- lists:seq(1, 5)],
    Open = fun(N) -> call(D, {open, lists:concat(["few", N]), 0, 8, [create, write]}) end,
    {N, F} = on(First, fun() ->
        {Ids, Refused} = lists:splitwith(fun({ok, _, _}) -> true; (_) -> false end,
                                         [Open(N) || N <- lists:seq(1, 60)]),
        [{error, {limit, reserve_fds}}] = lists:usort(Refused),
        [{ok, Id, _} | _] = Ids,
        {length(Ids), Id}
    end),
    true = N > 10 andalso N < 48,
    [pong = on(Node, fun() -> call(D, ping) end) || Node <- Others],
    on(First, fun() ->
        {error, enoent} = call(D, {open, lists:concat(["few", N + 1]), 0, 0, []}),
        {error, {limit, reserve_fds}} = call(D, {open_counters, "few_counters", 1}),
        {error, {limit, reserve_fds}} = call(D, {open_queue, "few_queue", 0, []}),
        {error, enoent} = call(D, {open, "few_queue", 0, 0, []}),
        _ = opened(D, {open, "few1", 0, 0, [write]}),
        _ = opened(D, {open, "", 0, 8, [anon, write]}),
        ok = call(D, {pwrite, F, 0, "x"}),
        ok = call(D, {close, F}),
        #{limits := #{reserve_fds := 16}, fds := Fds} = call(D, info),
        true = Fds =< 64
    end).

%% Of many sets of counters that are used by their names each finds a descriptor.
names_that_nobody_has_open_make_room(Config) ->
    #{node := D} = with_descriptors(Config, 64, ["--reserve-fds", "16"]),
    on(emmap_test:node(Config), fun() ->
        Names = [lists:concat(["named", N]) || N <- lists:seq(1, 150)],
        [begin
             C = opened(D, {open_counters, Name, 1}),
             ok = call(D, {close, C})
         end || Name <- Names],
        [{ok, 0} = call(D, {inc_counter, Name, 0}) || Name <- Names],
        [{ok, 1} = call(D, {inc_counter, Name, 0}) || Name <- lists:reverse(Names)],
        #{objects := Objects} = call(D, info),
        true = Objects > 5 andalso Objects < 48
    end).

%% Who finds no descriptor waits, and the daemon sleeps meanwhile. (A file that is there takes the last
%% one; to make one takes two.)
without_descriptors_connections_wait(Config) ->
    Names = [lists:concat(["all", N]) || N <- lists:seq(1, 60)],
    #{node := D, program := Program} = with_descriptors(Config, 48, ["--reserve-fds", "0"]),
    [ok = file:write_file(in_data_dir(Config, Name), "12345678") || Name <- Names],
    [One, Two] = [emmap_test:node(Config) || _ <- [1, 2]],
    Ids = on(One, fun() ->
        Answers = [call(D, {open, Name, 0, 8, [write]}) || Name <- Names],
        [] = lists:usort([A || {error, _} = A <- Answers]) -- [{error, emfile}, {error, {limit, reserve_fds}}],
        [Id || {ok, Id, _} <- Answers]
    end),
    Connecting = emmap_apps:in_background(Two, [fun() -> net_kernel:connect_node(D) end]),
    [] = emmap_program:await_line(Program, "cannot accept a connection for now"),
    OsPid = emmap_program:os_pid(Program),
    on(One, fun() ->
        #{uptime_ms := From} = call(D, info),
        Cpu = cpu_ms(OsPid),
        ok = until(fun() -> maps:get(uptime_ms, call(D, info)) > From + 1000 end),
        true = cpu_ms(OsPid) - Cpu < 500,
        [ok = call(D, {close, Id}) || Id <- Ids]
    end),
    [{true, _}] = emmap_apps:await(Connecting),
    pong = on(Two, fun() -> call(D, ping) end).

%%% What is told.

info_tells_the_limits(Config) ->
    Given = ["--max-connections", "77", "--max-half-open", "7", "--max-unsent", "70000",
             "--max-subscribers", "17", "--max-all-pending-bytes", "7777", "--reserve-fds", "5"],
    #{node := D} = emmap_test:daemon(Config, #{args => Given}),
    #{limits := Limits} = one(Config, fun(_) -> call(D, info) end),
    #{max_connections := 77, max_half_open := 7, max_unsent := 70000, max_subscribers := 17,
      max_all_pending_bytes := 7777, reserve_fds := 5, max_objects := 10000} = Limits,
    [] = options() -- [atom_to_list(Limit) || Limit <- maps:keys(Limits)],
    ok.

%% The names of all limits among the options, as Limits has them.
options() ->
    Lines = string:lexemes(os:cmd([emmap_test:daemon_path(), " --help"]), "\n"),
    [lists:flatten(string:replace(Name, "-", "_", all))
     || Line <- Lines,
        {match, [Name]} <- [re:run(Line, "^  --((max|reserve)-[a-z-]+)", [{capture, [1], list}])]].

%%% Internal.

%% A daemon that may have so many open files.
with_descriptors(Config, N, Args) ->
    emmap_test:daemon(Config, #{args => Args, descriptors => N}).

%% What the program has used of a processor.
cpu_ms(OsPid) ->
    {ok, Stat} = file:read_file(["/proc/", integer_to_list(OsPid), "/stat"]),
    [_, Behind] = string:split(Stat, ") ", trailing),
    Fields = string:lexemes(Behind, " "),
    10 * lists:sum([binary_to_integer(lists:nth(N, Fields)) || N <- [12, 13]]).

one(Config, Fun) ->
    one(Config, Fun, #{}).

one(Config, Fun, Options) ->
    on_node(?config(one, Config), ?config(d, Config), Fun, Options).

two(Config, Fun) ->
    on_node(?config(two, Config), ?config(d, Config), Fun, #{}).

%% What the calling process holds ends with it, unless it stays.
on_node(Node, D, Fun, #{stays := true}) ->
    on(Node, fun() ->
        Self = self(),
        Ref = make_ref(),
        Pid = spawn(fun() -> Self ! {Ref, attempt(Fun, D)}, receive never -> ok end end),
        true = register_stays(Pid),
        receive {Ref, {ok, Result}} -> Result; {Ref, Failed} -> error(Failed) end
    end);
on_node(Node, D, Fun, #{}) ->
    on(Node, fun() -> Fun(D) end).

attempt(Fun, D) ->
    try {ok, Fun(D)} catch Class:Reason:Stack -> {Class, Reason, Stack} end.

register_stays(Pid) ->
    put_all([Pid | persistent_term:get(?MODULE, [])]).

put_all(Pids) ->
    persistent_term:put(?MODULE, Pids) =:= ok.

%% Ends who stayed, and closes the handles: these the daemon closes with the connection.
close_all(D) ->
    [exit(Pid, kill) || Pid <- persistent_term:get(?MODULE, [])],
    true = put_all([]),
    _ = erlang:disconnect_node(D),
    ok = until(fun() -> gone(D) end).

gone(D) ->
    Node = node(),
    case [C || #{node := N} = C <- call(D, clients), N =:= Node] of
        [#{handles := 0, leases := 0, subscribers := 0}] -> true;
        Other -> Other
    end.

opened(D, Request) ->
    case call(D, Request) of
        {ok, Id, _} -> Id;
        Other -> error({not_opened, Request, Other})
    end.

%% Regions that take all that may be mapped.
fill_up(Config) ->
    one(Config, fun(D) ->
        [opened(D, {open, "", 0, ?OBJECT, [anon, write]}) || _ <- [1, 2, 3]]
    end).

push_until_refused(D, Q, Item, N) ->
    case call(D, {push, Q, Item(N)}) of
        ok -> push_until_refused(D, Q, Item, N + 1);
        {error, {limit, max_object_bytes}} -> N - 1
    end.

wait_for(D, Request, N) ->
    Self = self(),
    [begin
         Ref = make_ref(),
         true = register_stays(spawn(fun() -> Self ! {Ref, call(D, Request)} end)),
         Ref
     end || _ <- lists:seq(1, N)].

answer(Ref) ->
    receive {Ref, Answer} -> Answer after 20000 -> error(deadline) end.

syncs(D, Id, N) ->
    Requests = [gen_server:send_request({emmap, D}, {sync, Id}) || _ <- lists:seq(1, N)],
    [begin {reply, Answer} = gen_server:receive_response(R, 20000), Answer end || R <- Requests].

in_data_dir(Config, Name) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    filename:join(Dir, Name).
