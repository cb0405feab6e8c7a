%% Many requests: casts, requests sent ahead, batches, time limits, owners; nothing grows.
-module(traffic_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_apps, [os_pid/1, signal/2, replaced/2, kept/1]).
-import(emmap_apps, [in_background/2, await_calls/2, await/1]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{casts, [],
      [casts_and_calls_of_a_process_keep_their_order, a_barrier_is_of_its_handle,
       failed_casts_are_told_once, unsent_casts_are_bounded, large_casts_keep_their_order]},
     {ahead, [],
      [responses_are_received_waited_for_and_checked, responses_come_by_label_from_a_collection,
       a_sent_request_on_a_closed_handle_is_answered, requests_sent_ahead_keep_their_order,
       a_dead_sender_s_request_does_no_harm]},
     {limits, [],
      [a_call_that_timed_out_leaves_no_message, a_request_that_still_waits_is_cancelled,
       a_call_has_a_limit_of_its_own]},
     {batches, [],
      [requests_of_a_batch_fail_alone, a_batch_of_two_daemons_is_badarg,
       a_batch_of_a_thousand_is_answered_in_order]},
     {owners, [],
      [an_object_closes_with_its_owner, a_handle_without_owner_outlives_its_opener,
       an_auto_unlink_file_goes_with_its_owner, a_dead_owner_leaves_nothing_open]},
     {information, [],
      [info_of_the_daemon_has_its_keys, info_of_objects_has_its_keys, clients_are_listed,
       metrics_are_the_same_figures, opening_and_closing_leaves_nothing_behind]}].

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

%%% Casts.

casts_and_calls_of_a_process_keep_their_order(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters", 8),
        emmap_test:in_parallel([fun() ->
            [begin
                 ok = emmap:cast(C, {set_counter, I, Round}),
                 {ok, Round} = emmap:inc_counter(C, I)
             end || Round <- lists:seq(1, 1000)]
        end || I <- lists:seq(0, 7)])
    end).

a_barrier_is_of_its_handle(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        D = emmap:open_counters("counters"),
        ok = emmap:cast(C, {inc_counter, 17}),
        ok = emmap:barrier(D),
        {error, {casts, #{failed := 1}}} = emmap:barrier(C)
    end).

failed_casts_are_told_once(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        {ok, _, _} = emmap:open("file", 0, 8, [create, write]),
        {ok, F, _} = emmap:open("file", [read]),
        [ok = emmap:cast(F, Request) || Request <- [{pread, 0, 1}, {pwrite, 0, <<"x">>}, sync,
                                                    {pread, 9, 1}, {pwrite, 9, <<"x">>}]],
        {error, {casts, #{failed := 2, lost := 0, first := eacces}}} = emmap:barrier(F),
        ok = emmap:barrier(F),
        [ok = emmap:cast(F, Request) || Request <- [{frobnicate, 1}, {pread, 0, nothing}]],
        {error, {casts, #{failed := 2, lost := 0}}} = emmap:barrier(F),
        ok = emmap:barrier(F),
        ok = emmap:cast(F, {pwrite, 0, <<"x">>}),
        {error, {casts, #{failed := 1, lost := 0, first := eacces}}} = emmap:barrier(F),
        ok = emmap:barrier(F)
    end).

%% Of eight processes that cast to a daemon that stands still each ends up waiting, and no more than
%% the bound, one cast of each and one envelope under way are on the road.
unsent_casts_are_bounded(Config) ->
    N = emmap_apps:node(Config, [{max_casts, 1000}]),
    OsPid = os_pid(N),
    C = on(N, fun() -> kept(emmap:open_counters("counters")) end),
    ok = signal("STOP", OsPid),
    Casters = in_background(N, lists:duplicate(8, fun() -> cast_many(C, 20000) end)),
    ok = await_calls(N, Casters),
    Sent = on(N, fun() -> cast_count(C) end),
    {true, Sent} = {Sent >= 1000 andalso Sent =< 1000 + 8 + 512, Sent},
    Memory = on(N, fun() -> lane_memory() end),
    {true, Memory} = {Memory < 2000000, Memory},
    ok = signal("CONT", OsPid),
    [ok = Result || {Result, _} <- await(Casters)],
    on(N, fun() ->
        ok = emmap:barrier(C),
        {ok, 160000} = emmap:read_counter(C, 0)
    end).

cast_many(_C, 0) -> ok;
cast_many(C, N) -> ok = emmap:cast(C, {inc_counter, 0}), cast_many(C, N - 1).

%% Casts whose function has returned.
cast_count({F, _}) ->
    emmap_handle:casts(F).

lane_memory() ->
    {memory, Bytes} = process_info(whereis(emmap:which_node()), memory),
    Bytes.

large_casts_keep_their_order(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 1 bsl 20, [create, write]),
        [begin
             ok = emmap:cast(F, {pwrite, 0, binary:copy(<<Round>>, 1 bsl 17)}),
             ok = emmap:cast(F, {pwrite, 1000, <<"small">>}),
             {ok, <<Round, "small", Round>>} = emmap:pread(F, 999, 7)
         end || Round <- lists:seq(1, 100)],
        ok = emmap:barrier(F)
    end).

%%% Requests sent ahead.

responses_are_received_waited_for_and_checked(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        Send = fun() -> emmap:send_request(C, {inc_counter, 0}) end,
        {reply, {ok, 0}} = gen_server:receive_response(Send(), ?DEADLINE),
        {reply, {ok, 1}} = gen_server:wait_response(Send(), ?DEADLINE),
        Request = Send(),
        no_reply = gen_server:check_response(hello, Request),
        Message = receive Any -> Any after ?DEADLINE -> error(deadline) end,
        {reply, {ok, 2}} = gen_server:check_response(Message, Request),
        {reply, {error, badarg}} =
            gen_server:receive_response(emmap:send_request(C, {inc_counter, -1}), ?DEADLINE),
        nothing_is_left()
    end).

responses_come_by_label_from_a_collection(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters", 100),
        Add = fun(I, Requests) ->
            gen_server:reqids_add(emmap:send_request(C, {inc_counter, I, I}), I, Requests)
        end,
        Requests = lists:foldl(Add, gen_server:reqids_new(), lists:seq(0, 99)),
        100 = gen_server:reqids_size(Requests),
        Labels = collect(Requests),
        Labels = lists:seq(0, 99), % one daemon answers in order
        {ok, Labels} = emmap:read_counters(C),
        nothing_is_left()
    end).

collect(Requests) ->
    case gen_server:receive_response(Requests, ?DEADLINE, true) of
        {{reply, {ok, 0}}, Label, Rest} -> [Label | collect(Rest)];
        no_request -> []
    end.

a_sent_request_on_a_closed_handle_is_answered(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        ok = emmap:close_counters(C),
        Request = emmap:send_request(C, {inc_counter, 0}),
        {reply, {error, closed}} = gen_server:receive_response(Request, ?DEADLINE),
        nothing_is_left()
    end).

requests_sent_ahead_keep_their_order(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        Requests = [emmap:send_request(C, {inc_counter, 0}) || _ <- lists:seq(1, 5000)],
        {ok, 5000} = emmap:read_counter(C, 0),
        [{reply, {ok, Old}} = gen_server:receive_response(Request, ?DEADLINE)
         || {Old, Request} <- lists:zip(lists:seq(0, 4999), Requests)]
    end).

a_dead_sender_s_request_does_no_harm(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        [begin
             {_, Monitor} = spawn_monitor(fun() -> emmap:send_request(C, {inc_counter, 0}) end),
             receive {'DOWN', Monitor, process, _, normal} -> ok end
         end || _ <- lists:seq(1, 100)],
        {ok, Done} = emmap:read_counter(C, 0),
        true = Done =< 100,
        pong = emmap:ping()
    end).

%%% Time limits.

a_call_that_timed_out_leaves_no_message(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        [raised(fun() -> emmap:call(C, {inc_counter, 0}, 0) end) || _ <- lists:seq(1, 1000)],
        {ok, Done} = emmap:read_counter(C, 0), % behind all that were sent
        true = Done =< 1000,
        nothing_is_left()
    end).

%% The first is under way in an envelope, the second waits for its answer and never leaves.
a_request_that_still_waits_is_cancelled(Config) ->
    {N, C, OsPid} = stopped(Config, []),
    First = in_background(N, [fun() -> emmap:inc_counter(C, 0, 1) end]),
    ok = await_calls(N, First),
    on(N, fun() ->
        {exit, {timeout, _}} = raised(fun() -> emmap:call(C, {inc_counter, 0, 10}, 50) end)
    end),
    ok = signal("CONT", OsPid),
    [{{ok, 0}, _}] = await(First),
    {ok, 1} = on(N, fun() -> emmap:read_counter(C, 0) end).

a_call_has_a_limit_of_its_own(Config) ->
    {N, C, OsPid} = stopped(Config, [{call_timeout, 500}]),
    Waiting = in_background(N, [fun() -> emmap:call(C, {inc_counter, 0}, Limit) end
                                || Limit <- [infinity, ?DEADLINE]]),
    ok = await_calls(N, Waiting),
    on(N, fun() -> % call_timeout is over twice when this one ends
        {exit, {timeout, _}} = raised(fun() -> emmap:inc_counter(C, 0) end),
        {exit, {timeout, _}} = raised(fun() -> emmap:inc_counter(C, 0) end)
    end),
    ok = signal("CONT", OsPid),
    [{ok, 0}, {ok, 1}] = lists:sort([Result || {Result, _} <- await(Waiting)]).

stopped(Config, Environment) ->
    N = emmap_apps:node(Config, Environment),
    C = on(N, fun() -> kept(emmap:open_counters("counters")) end),
    OsPid = os_pid(N),
    ok = signal("STOP", OsPid),
    {N, C, OsPid}.

%%% Batches.

requests_of_a_batch_fail_alone(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        {ok, F, _} = emmap:open("file", 0, 8, [create, write]),
        ok = emmap:close(F),
        {ok, [{ok, 0}, {error, badarg}, {error, {unknown_request, frobnicate}}, {error, closed},
              {error, {wrong_kind, counters}}, {error, not_open}, {ok, 1}, ok]} =
            emmap:batch([{C, {inc_counter, 0}}, {C, {inc_counter, 1}}, {C, {frobnicate, 1, 2}},
                         {F, {pread, 0, 1}}, {C, {pread, 0, 1}}, {"file", {pread, 0, 1}},
                         {C, {inc_counter, 0}}, sync])
    end).

a_batch_of_two_daemons_is_badarg(Config) ->
    N = emmap_apps:node(Config, []),
    #{node := Other} = emmap_test:daemon(Config),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        D = emmap:open_counters("counters", 1, [{node, Other}]),
        Batch = [{X, {inc_counter, 0}} || X <- [C, D]],
        {error, badarg} = raised(fun() -> emmap:batch(Batch) end),
        [{ok, 0} = emmap:read_counter(X, 0) || X <- [C, D]]
    end).

a_batch_of_a_thousand_is_answered_in_order(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        Expected = {ok, [{ok, I} || I <- lists:seq(0, 999)]},
        Expected = emmap:batch(C, lists:duplicate(1000, {inc_counter, 0}))
    end).

%%% Owners.

an_object_closes_with_its_owner(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        Owner = spawn(fun() -> receive stop -> ok end end),
        C = emmap:open_counters("counters", 1, [{owner, Owner}]),
        {ok, F, _} = emmap:open("file", 0, 8, [create, write, {owner, Owner}]),
        {ok, 0} = emmap:inc_counter(C, 0), % by another process than the owner
        [_, _] = emmap:list(),
        Owner ! stop,
        ok = until(fun() -> emmap:list() =:= [] end),
        {error, closed} = emmap:inc_counter(C, 0),
        {error, closed} = emmap:pread(F, 0, 1),
        1 = value_of("counters")
    end).

a_handle_without_owner_outlives_its_opener(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        [C] = emmap_test:in_parallel([fun() -> emmap:open_counters("counters") end]),
        {ok, 0} = emmap:inc_counter(C, 0)
    end).

an_auto_unlink_file_goes_with_its_owner(Config) ->
    #{work := Dir} = N = emmap_apps:node(Config, []),
    on(N, fun() ->
        Owner = spawn(fun() -> receive stop -> ok end end),
        {ok, _, _} = emmap:open("file", 0, 8, [create, write, auto_unlink, {owner, Owner}]),
        true = filelib:is_regular(filename:join(Dir, "file")),
        Owner ! stop,
        ok = until(fun() -> not filelib:is_regular(filename:join(Dir, "file")) end)
    end).

a_dead_owner_leaves_nothing_open(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        {Owner, Monitor} = spawn_monitor(fun() -> ok end),
        receive {'DOWN', Monitor, process, Owner, normal} -> ok end,
        _ = emmap:open("file", 0, 8, [create, write, {owner, Owner}]),
        ok = until(fun() -> emmap:list() =:= [] end)
    end).

%%% Information.

info_of_the_daemon_has_its_keys(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        Node = emmap:which_node(),
        #{node := Node, version := _, protocol := _, os_pid := OsPid, uptime_ms := Uptime,
          objects := 0, clients := 1, rss := Rss, mapped := 0, fds := Fds, loop_lag_us := _,
          journal := #{}, workers := #{running := _, waiting := _}, limits := #{}} = emmap:info(),
        true = is_integer(OsPid) andalso Uptime >= 0 andalso Rss > 100000 andalso Fds > 3,
        _ = emmap:open_counters("counters"),
        #{objects := 1, mapped := Mapped} = emmap:info(Node),
        true = Mapped > 0
    end).

info_of_objects_has_its_keys(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        {ok, F, _} = emmap:open("file", 0, 100, [create, write]),
        C = emmap:open_counters("counters", 3),
        ok = emmap:pwrite(F, 0, <<"12345">>),
        #{kind := region, size := 100, ops := Ops, bytes_in := In} = Region = emmap:info(F),
        true = Ops >= 1 andalso In >= 5,
        #{kind := counters, count := 3} = Counters = emmap:info(C),
        [[] = keys() -- maps:keys(Info) || Info <- [Region, Counters | emmap:list()]],
        [#{name := Name} = emmap:info(X) || {X, #{name := Name}} <- [{F, Region}, {C, Counters}]],
        true = lists:sort([N1 || #{name := N1} <- emmap:list()])
            =:= lists:sort([maps:get(name, I) || I <- [Region, Counters]])
    end).

keys() ->
    [name, kind, size, durability, handles, clients, ops, errors, bytes_in, bytes_out, latency_us,
     waiting, in_flight, idle_ms, read_only, detached].

clients_are_listed(Config) ->
    Shared = emmap_apps:shared(Config, []),
    Nodes = [emmap_apps:node(Config, Shared) || _ <- [1, 2]],
    [on(N, fun() -> [emmap:open_counters("counters") || _ <- lists:seq(1, Handles)] end)
     || {N, Handles} <- lists:zip(Nodes, [1, 2])],
    Clients = on(hd(Nodes), fun emmap:clients/0),
    [[] = [node, since_ms, ops, errors, bytes_in, bytes_out, latency_us, handles, leases, waiting,
           in_flight, subscribers, idle_ms]
         -- maps:keys(Client) || Client <- Clients],
    Counted = [{to_atom(Name), Handles} || #{node := Name, handles := Handles} <- Clients],
    [] = Counted -- lists:zip([Name || #{node := Name} <- Nodes], [1, 2]),
    2 = length(Counted).

metrics_are_the_same_figures(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        C = emmap:open_counters("counters"),
        {ok, Q} = emmap_queue:open("a \"queue\"", 0, []),
        [{ok, _} = emmap:inc_counter(C, 0) || _ <- lists:seq(1, 20)],
        ok = emmap_queue:push_many(Q, [a, b, c]),
        {ok, Id, 1, a} = emmap_queue:take(Q),
        ok = emmap_queue:ack(Q, Id),
        b = emmap_queue:pop(Q),
        {error, not_leased} = emmap_queue:ack(Q, Id),
        Text = emmap:metrics(emmap:which_node()),
        [] = [Line || Line <- binary:split(Text, <<"\n">>, [global, trim]), not is_line(Line)],
        [20, 5, 1, 3, 1, 1, 1] =
            [sample(Text, Name, File)
             || {Name, File} <- [{"object_requests_total", "counters"},
                                 {"object_requests_total", "queue"}, {"object_errors_total", "queue"},
                                 {"queue_pushed_total", "queue"}, {"queue_popped_total", "queue"},
                                 {"queue_acked_total", "queue"}, {"queue_ready", "queue"}]],
        #{ops := 20, errors := 0} = emmap:info(C),
        #{ops := 5, errors := 1, pushed := 3, popped := 1, acked := 1, ready := 1} = emmap:info(Q),
        true = is_binary(emmap:metrics())
    end).

is_line(Line) ->
    Sample = "^[a-z_]+({([a-z]+=\"([^\"\\\\]|\\\\.)*\",?)+})? [0-9]+([.][0-9]+)?$",
    re:run(Line, ["^# |", Sample], [{capture, none}]) =:= match.

%% Of the object whose name ends so, perhaps with a quote.
sample(Text, Name, File) ->
    {match, [Value]} = re:run(Text, ["^emmap_", Name, "{object=\".*", File, "(?:\\\\\")?\",.*} (.*)$"],
                              [multiline, {capture, all_but_first, list}]),
    list_to_integer(Value).

opening_and_closing_leaves_nothing_behind(Config) ->
    N = emmap_apps:node(Config, []),
    on(N, fun() ->
        open_and_close(100),
        Before = emmap:info(),
        open_and_close(1500),
        ok = until(fun() -> emmap:list() =:= [] end),
        After = emmap:info(),
        #{fds := Fds, objects := 0, mapped := Mapped} = Before,
        #{fds := Fds, objects := 0, mapped := Mapped} = After,
        Growth = maps:get(rss, After) - maps:get(rss, Before),
        {true, Growth} = {Growth =< 8 bsl 20, Growth}
    end).

open_and_close(Times) ->
    emmap_test:in_parallel([fun() ->
        Name = integer_to_list(I),
        [begin
             {ok, F, _} = emmap:open(Name, 0, 4096, [create, write, {owner, self()}]),
             C = emmap:open_counters(Name ++ "c", 1, [auto_unlink]),
             ok = emmap:close(F),
             ok = emmap:close_counters(C)
         end || _ <- lists:seq(1, Times div 2)]
    end || I <- lists:seq(1, 8)]).

%%% Internal.

value_of(Name) ->
    {ok, Value} = emmap:read_counter(Name, 0),
    Value.

raised(Fun) ->
    try Fun() of
        Result -> {no_exception, Result}
    catch
        Class:Reason -> {Class, Reason}
    end.

nothing_is_left() ->
    receive Stray -> error({stray, Stray}) after 0 -> ok end.

to_atom(Node) when is_atom(Node) -> Node;
to_atom(Node) -> binary_to_atom(Node).
