%% Queues as users meet them: by the wrapper, by plain calls from nodes without it, between nodes,
%% through kills, on a full disk.
-module(queue_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{items, [],
      [items_leave_in_the_order_of_arrival, every_kind_of_term_comes_out_as_it_went_in,
       compressed_items_come_out_as_they_went_in, items_of_many_sizes_pass,
       what_is_no_queue_is_badarg, results_and_exceptions_are_as_documented,
       bounds_are_kept, the_oldest_are_dropped, options_stay_in_the_file,
       looking_takes_nothing_out, folds_look_at_all, a_fold_stops_where_it_is_told_to,
       a_fold_that_fails_loses_nothing, erase_takes_all, info_tells, the_names_of_old_work,
       batches_and_casts, a_name_is_enough, what_is_given_is_checked]},
     {leases, [],
      [an_item_belongs_to_one_process, what_a_process_held_comes_back_when_it_ends,
       what_a_node_held_comes_back_when_it_is_killed, a_delay_is_kept,
       worn_out_items_are_put_aside, dead_letters_have_a_queue, try_pop_gives_back_on_an_exception,
       a_call_that_is_given_up_gets_nothing, a_plain_call_that_is_given_up_gets_nothing,
       many_who_wait_get_one_each, a_subscriber_gets_what_it_can_bear,
       a_subscriber_that_stops_gives_back, a_lost_connection_ends_a_subscription]},
     {processes, [],
      [a_queue_in_a_supervision_tree, a_registered_queue_is_called_by_its_name,
       its_end_is_heard, its_name_outlives_the_daemon, a_name_has_one_file]},
     {life, [],
      [many_producers_keep_their_order, what_was_acknowledged_outlives_kills,
       a_second_daemon_is_told_who_has_the_file, a_full_disk_refuses_pushes_only]}].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Node = emmap_test:start_node(Config, #{application => [{daemon, external}, {node, D}]}),
    [{daemon, Daemon}, {client, Node} | Config].

end_per_suite(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

%% Runs Fun(Q) on the client node with a new queue of the case's own.
with(Config, Case, Fun) ->
    with(Config, Case, 0, [], Fun).

with(Config, Case, Size, Options, Fun) ->
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open(atom_to_list(Case), Size, Options),
        Fun(Q),
        emmap_queue:close(Q)
    end).

%%% Items.

items_leave_in_the_order_of_arrival(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        nil = emmap_queue:pop(Q),
        ok = emmap_queue:push(Q, one),
        ok = emmap_queue:push_many(Q, [two, three]),
        ok = emmap_queue:push_many(Q, []),
        3 = emmap_queue:length(Q),
        one = emmap_queue:pop(Q),
        {ok, two} = emmap_queue:pop_wait(Q, 0),
        {ok, [three]} = emmap_queue:pop_many(Q, 9),
        {ok, []} = emmap_queue:pop_many(Q, 9),
        {ok, []} = emmap_queue:pop_many(Q, 9, 10),
        empty = emmap_queue:pop_wait(Q, 10),
        true = emmap_queue:is_empty(Q)
    end).

every_kind_of_term_comes_out_as_it_went_in(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Terms = [nil, [], "text", <<>>, <<1, 2, 3>>, <<1:3>>, 0, -1, 255, 256, 1 bsl 31,
                 -(1 bsl 63), 1 bsl 64, -(1 bsl 4000), 1.5, -0.0, a, 'ä', '', true, {}, {1}, #{},
                 #{a => #{b => [1 | 2]}}, [1, 2, 3], [300], lists:seq(1, 500), [[[[]]]],
                 self(), make_ref(), fun erlang:node/0, fun(X) -> X + length(Config) end,
                 list_to_tuple(lists:seq(1, 300)), {error, full}, {'$emmap_zip', <<1>>},
                 {'$emmap_zip', term_to_binary(x)}, empty],
        [ok = emmap_queue:push(Q, T) || T <- Terms],
        [{ok, T} = emmap_queue:pop_wait(Q, 0) || T <- Terms],
        ok = emmap_queue:push_many(Q, Terms),
        {ok, Terms} = emmap_queue:pop_many(Q, length(Terms))
    end).

compressed_items_come_out_as_they_went_in(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Item = {zip, lists:duplicate(10000, a)},
        [ok = emmap_queue:push(Q, Item, Level) || Level <- lists:seq(0, 9)],
        #{bytes := Bytes} = emmap_queue:info(Q),
        true = Bytes < 10 * 20000,
        Item = emmap_queue:peek_front(Q),
        {ok, [{1, Item}]} = emmap_queue:peek_many(Q, 1),
        {ok, Id, 1, Item} = emmap_queue:take(Q),
        ok = emmap_queue:ack(Q, Id),
        Item = emmap_queue:try_pop(Q, fun(I) -> I end),
        {ok, [Item, Item]} = emmap_queue:pop_many(Q, 2),
        6 = emmap_queue:pop(Q, 0, fun(I, N) when I =:= Item -> {cont, N + 1} end)
    end).

items_of_many_sizes_pass(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Sizes = [1, 100, 4000, 4096, 8200, 65536, 300000, 1000000, 20000000, 7],
        [ok = emmap_queue:push(Q, binary:copy(<<N>>, Size)) || {N, Size} <- numbered(Sizes)],
        [begin
             Item = emmap_queue:pop(Q),
             Item = binary:copy(<<N>>, Size)
         end || {N, Size} <- numbered(Sizes)],
        {error, {limit, max_frame}} = emmap_queue:push(Q, binary:copy(<<1>>, 70000000)),
        nil = emmap_queue:pop(Q)
    end).

numbered(List) ->
    lists:zip(lists:seq(1, length(List)), List).

what_is_no_queue_is_badarg(Config) ->
    on(?config(client, Config), fun() ->
        C = {F, 1} = emmap:open_counters("no_queue", 1),
        {error, {wrong_kind, counters}} = emmap_queue:push(F, a),
        {error, {wrong_kind, counters}} = emmap_queue:open("no_queue", 0, []),
        {'EXIT', {badarg, _}} = (catch emmap_queue:push({a, b, c}, a)),
        {'EXIT', {{wrong_kind, counters}, _}} = (catch emmap_queue:pop(F)),
        {'EXIT', {noproc, _}} = (catch emmap_queue:pop(nobody_of_that_name)),
        ok = emmap:close_counters(C),
        {error, {not_a, queue}} = emmap_queue:open("no_queue", 0, []),
        {error, enoent} = emmap_queue:push("no_such_file", a)
    end).

results_and_exceptions_are_as_documented(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        {'EXIT', {badarg, _}} = (catch emmap_queue:pop_many(Q, 0)),
        {'EXIT', {badarg, _}} = (catch emmap_queue:pop_wait(Q, -1)),
        {'EXIT', {badarg, _}} = (catch emmap_queue:push_many(Q, [a | b])),
        {'EXIT', {badarg, _}} = (catch emmap_queue:push_many(Q, a)),
        {'EXIT', {badarg, _}} = (catch emmap_queue:push(Q, a, 10)),
        {'EXIT', {badarg, _}} = (catch emmap_queue:take(Q, 0, 0)),
        {'EXIT', {badarg, _}} = (catch emmap_queue:peek(Q, 0, no_fun)),
        {error, not_leased} = emmap_queue:ack(Q, 1),
        {error, {not_leased, [1, 2]}} = emmap_queue:ack_many(Q, [1, 2]),
        ok = emmap_queue:ack_many(Q, []),
        ok = emmap_queue:close(Q),
        ok = emmap_queue:close(Q),
        {error, closed} = emmap_queue:push(Q, a),
        {'EXIT', {closed, _}} = (catch emmap_queue:pop(Q)),
        ok
    end).

bounds_are_kept(Config) ->
    with(Config, ?FUNCTION_NAME, 4000, [fixed_size], fun(Q) ->
        Item = binary:copy(<<"x">>, 900),
        [ok = emmap_queue:push(Q, Item) || _ <- lists:seq(1, 4)],
        {error, full} = emmap_queue:push(Q, Item),
        {error, full} = emmap_queue:push(Q, binary:copy(<<"x">>, 5000)),
        Item = emmap_queue:pop(Q),
        ok = emmap_queue:push(Q, Item),
        {ok, _} = emmap_queue:open(atom_to_list(bounds_are_kept), 0, [{max_bytes, infinity}]),
        ok = emmap_queue:push(Q, Item)
    end).

the_oldest_are_dropped(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{max_items, 3}, {overflow, drop_head}], fun(Q) ->
        ok = emmap_queue:push_many(Q, [1, 2, 3]),
        {ok, 1, 1, 1} = emmap_queue:take(Q),
        ok = emmap_queue:push(Q, 4),
        {ok, [{3, 3}, {4, 4}]} = emmap_queue:peek_many(Q, 9),
        {error, full} = emmap_queue:push_many(Q, [5, 6, 7]),
        #{dropped := 1, items := 3} = emmap_queue:info(Q)
    end).

options_stay_in_the_file(Config) ->
    Given = [{max_items, 7}, {max_bytes, 100000}, {lease_ms, 5000}, {max_attempts, 4},
             {overflow, drop_head}],
    with(Config, ?FUNCTION_NAME, 0, Given, fun(_) -> ok end),
    with(Config, ?FUNCTION_NAME, 0, [{max_items, infinity}], fun(Q) ->
        #{max_items := infinity, max_bytes := 100000, lease_ms := 5000, max_attempts := 4,
          overflow := drop_head} = emmap_queue:info(Q)
    end).

looking_takes_nothing_out(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        nil = emmap_queue:peek_front(Q),
        nil = emmap_queue:peek_back(Q),
        ok = emmap_queue:push_many(Q, [a, b, c]),
        a = emmap_queue:peek_front(Q),
        a = emmap_queue:inspect(Q),
        c = emmap_queue:peek_back(Q),
        {ok, [{1, a}, {2, b}]} = emmap_queue:peek_many(Q, 2),
        {ok, 1, 1, a} = emmap_queue:take(Q),
        {ok, [{2, b}, {3, c}]} = emmap_queue:peek_many(Q, 9),
        2 = emmap_queue:length(Q)
    end).

folds_look_at_all(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        All = lists:seq(1, 1000),
        ok = emmap_queue:push_many(Q, All),
        {ok, Leased} = emmap_queue:take_many(Q, 5),
        ok = emmap_queue:release_many(Q, [Id || {Id, _, _} <- Leased, Id =/= 3]),
        Seen = lists:delete(3, All),
        Collect = fun(Item, Items) -> {cont, [Item | Items]} end,
        Seen = lists:reverse(emmap_queue:peek(Q, [], Collect)),
        Seen = emmap_queue:rpeek(Q, [], Collect),
        Seen = lists:reverse(emmap_queue:pop(Q, [], Collect)),
        0 = emmap_queue:length(Q),
        #{items := 1, leased := 1} = emmap_queue:info(Q)
    end).

a_fold_stops_where_it_is_told_to(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 250)),
        Until = fun(120, S) -> {halt, S}; (Item, S) -> {cont, S + Item} end,
        7140 = emmap_queue:pop(Q, 0, Until),
        {ok, 120, 2, 120} = emmap_queue:take(Q),
        {ok, 121, 1, 121} = emmap_queue:take(Q)
    end).

a_fold_that_fails_loses_nothing(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, [a, b, c]),
        {'EXIT', {because, _}} =
            (catch emmap_queue:pop(Q, 0, fun(a, S) -> {cont, S}; (b, _) -> error(because) end)),
        {ok, [b, c]} = emmap_queue:pop_many(Q, 9)
    end).

erase_takes_all(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 100)),
        {ok, Id, 1, 1} = emmap_queue:take(Q),
        {ok, Id2, 1, 2} = emmap_queue:take(Q),
        ok = emmap_queue:bury(Q, Id2),
        ok = emmap_queue:erase(Q),
        {error, not_leased} = emmap_queue:ack(Q, Id),
        {ok, []} = emmap_queue:peek_buried(Q, 9),
        #{items := 0, next_id := 101} = emmap_queue:info(Q),
        ok = emmap_queue:push(Q, new),
        new = emmap_queue:pop(Q)
    end).

info_tells(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 5)),
        1 = emmap_queue:pop(Q),
        {ok, 2, 1, 2} = emmap_queue:take(Q),
        {ok, 3, 1, 3} = emmap_queue:take(Q),
        ok = emmap_queue:bury(Q, 3),
        #{kind := queue, items := 4, ready := 2, leased := 1, buried := 1, pushed := 5,
          popped := 1, acked := 0, first_id := 2, next_id := 6, waiting := 0, head := Head,
          tail := Tail, next_tail := Tail, size := Size, file_size := Size} = emmap_queue:info(Q),
        true = Head < Tail,
        true = emmap_queue:metadata(Q) =/= #{},
        #{kind := queue} = emmap:info(Q)
    end).

the_names_of_old_work(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:enqueue(Q, a),
        ok = emmap_queue:enqueue(Q, b),
        ok = emmap_queue:enqueue(Q, c),
        ok = emmap_queue:enqueue(Q, d),
        a = emmap_queue:dequeue(Q),
        b = emmap_queue:pop_and_purge(Q),
        {got, c} = emmap_queue:try_dequeue(Q, fun(I) -> {got, I} end),
        {got, d} = emmap_queue:try_pop_and_purge(Q, fun(I) -> {got, I} end),
        nil = emmap_queue:try_pop(Q, fun(I) -> {got, I} end),
        true = emmap_queue:purge(Q),
        ok = emmap_queue:flush(Q),
        ok = emmap_queue:sync(Q)
    end).

batches_and_casts(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        {ok, [ok, {ok, a}, empty, 0, ok]} =
            emmap:batch(Q, [{push, a}, {pop_wait, 0}, {pop_wait, 0}, length, sync]),
        {ok, [{error, badarg}]} = emmap:batch(Q, [{pop_wait, 1}]),
        [ok = emmap_queue:push_async(Q, N) || N <- lists:seq(1, 10000)],
        ok = emmap_queue:barrier(Q),
        10000 = emmap_queue:length(Q),
        {ok, Items} = emmap_queue:pop_many(Q, 20000),
        Items = lists:seq(1, 10000),
        ok = emmap:cast(Q, {ack, 4711}),
        {error, {casts, #{failed := 1, first := not_leased}}} = emmap_queue:barrier(Q)
    end).

a_name_is_enough(Config) ->
    #{node := D} = ?config(daemon, Config),
    with(Config, ?FUNCTION_NAME, fun(Q) -> ok = emmap_queue:push(Q, a) end),
    on(?config(client, Config), fun() ->
        Name = "a_name_is_enough",
        {ok, 1, 1, a} = emmap_queue:take(Name),
        ok = emmap_queue:ack(Name, 1),
        ok = gen_server:call({emmap, D}, {push, Name, b}),
        b = gen_server:call({emmap, D}, {pop, Name}),
        nil = gen_server:call({emmap, D}, {pop, Name})
    end).

what_is_given_is_checked(Config) ->
    on(?config(client, Config), fun() ->
        [{'EXIT', {badarg, _}} = (catch emmap_queue:open("checked", 0, [Option]))
         || Option <- [private, anon, truncate, nonsense, {max_items, 0}, {max_attempts, 1024},
                       {overflow, both}, {lease_ms, -1}, {owner, me}]],
        {'EXIT', {badarg, _}} = (catch emmap_queue:open("", 0, [])),
        {'EXIT', {badarg, _}} = (catch emmap_queue:open("checked", 0, [fixed_size])),
        {'EXIT', {badarg, _}} = (catch emmap_queue:open("checked", -1, [])),
        ok
    end).

%%% Leases.

an_item_belongs_to_one_process(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push(Q, job),
        {ok, Id, 1, job} = emmap_queue:take(Q),
        [{error, not_leased}, {error, not_leased}, {error, not_leased}] =
            elsewhere(fun() -> [emmap_queue:ack(Q, Id), emmap_queue:release(Q, Id),
                                emmap_queue:bury(Q, Id)] end),
        empty = emmap_queue:take(Q),
        ok = emmap_queue:touch(Q, Id),
        ok = emmap_queue:ack(Q, Id),
        {error, not_leased} = emmap_queue:touch(Q, Id)
    end).

elsewhere(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({result, Fun()}) end),
    receive {'DOWN', Monitor, process, Pid, {result, Result}} -> Result after ?DEADLINE -> error(deadline) end.

what_a_process_held_comes_back_when_it_ends(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, [a, b]),
        {ok, _} = elsewhere(fun() -> emmap_queue:take_many(Q, 2) end),
        {ok, 1, 2, a} = emmap_queue:take(Q, ?DEADLINE),
        {ok, 2, 2, b} = emmap_queue:take(Q, ?DEADLINE)
    end).

what_a_node_held_comes_back_when_it_is_killed(Config) ->
    #{node := D} = ?config(daemon, Config),
    Name = atom_to_list(?FUNCTION_NAME),
    with(Config, ?FUNCTION_NAME, fun(Q) -> ok = emmap_queue:push(Q, job) end),
    Other = emmap_test:start_node(Config, #{}), % without anything of ours
    Os = on(Other, fun() ->
        Self = self(),
        spawn(fun() -> Self ! gen_server:call({emmap, D}, {take, Name}), receive after infinity -> ok end end),
        receive {ok, 1, 1, job} -> os:getpid() end
    end),
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        empty = emmap_queue:take(Q),
        Self = self(),
        Waiter = spawn(fun() -> Self ! {self(), emmap_queue:take(Q, infinity)} end),
        ok = until(fun() -> maps:get(waiting, emmap_queue:info(Q)) =:= 1 end),
        [] = os:cmd("kill -9 " ++ Os),
        receive {Waiter, {ok, 1, 2, job}} -> ok after ?DEADLINE -> error(deadline) end
    end),
    _ = (catch emmap_test:stop_node(Other)),
    ok.

a_delay_is_kept(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push(Q, later),
        {ok, Id, 1, later} = emmap_queue:take(Q),
        ok = emmap_queue:release(Q, Id, 500),
        empty = emmap_queue:take(Q),
        #{delayed := 1} = emmap_queue:info(Q),
        {ok, Id, 2, later} = emmap_queue:take(Q, ?DEADLINE)
    end).

worn_out_items_are_put_aside(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{max_attempts, 2}], fun(Q) ->
        ok = emmap_queue:push(Q, bad),
        {ok, 1, 1, bad} = elsewhere(fun() -> emmap_queue:take(Q) end),
        {ok, 1, 2, bad} = elsewhere(fun() -> emmap_queue:take(Q, ?DEADLINE) end),
        ok = until(fun() -> emmap_queue:peek_buried(Q, 9) =:= {ok, [{1, 2, bad}]} end),
        {ok, 1} = emmap_queue:kick(Q, 9),
        {ok, 1, 1, bad} = emmap_queue:take(Q)
    end).

dead_letters_have_a_queue(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{max_attempts, 1}, {dead_letter, "dead"}], fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 200)),
        {ok, Taken} = elsewhere(fun() -> emmap_queue:take_many(Q, 200) end),
        200 = length(Taken),
        ok = until(fun() -> maps:get(dead, emmap_queue:info(Q)) =:= 200 end),
        {ok, Dead} = emmap_queue:pop_many("dead", 1000),
        Dead = lists:seq(1, 200),
        #{items := 0, buried := 0} = emmap_queue:info(Q)
    end).

try_pop_gives_back_on_an_exception(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, [a, b]),
        thrown = (catch emmap_queue:try_pop(Q, fun(a) -> b = emmap_queue:peek_front(Q), throw(thrown) end)),
        {'EXIT', {because, _}} = (catch emmap_queue:try_pop(Q, fun(a) -> error(because) end)),
        {ok, a, 3} = emmap_queue:try_pop(Q, fun(a) ->
            {ok, a, maps:get(leased, emmap_queue:info(Q)) + 2}
        end),
        {ok, [b]} = emmap_queue:pop_many(Q, 9)
    end).

a_call_that_is_given_up_gets_nothing(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        {'EXIT', {timeout, _}} = (catch emmap:call(Q, {take, infinity}, 50)),
        ok = until(fun() -> maps:get(waiting, emmap_queue:info(Q)) =:= 0 end),
        ok = emmap_queue:push(Q, a),
        a = emmap_queue:pop(Q)
    end).

a_plain_call_that_is_given_up_gets_nothing(Config) ->
    #{node := D} = ?config(daemon, Config),
    Name = atom_to_list(?FUNCTION_NAME),
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        {'EXIT', {timeout, _}} = (catch gen_server:call({emmap, D}, {pop_wait, Name, infinity}, 50)),
        ok = until(fun() -> maps:get(waiting, emmap_queue:info(Q)) =:= 0 end),
        ok = emmap_queue:push(Q, a),
        a = emmap_queue:pop(Q)
    end).

many_who_wait_get_one_each(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Self = self(),
        N = 1000,
        [spawn(fun() -> Self ! {got, emmap_queue:pop_wait(Q, infinity)} end)
         || _ <- lists:seq(1, N)],
        ok = until(fun() -> maps:get(waiting, emmap_queue:info(Q)) =:= N end),
        [ok = emmap_queue:push(Q, I) || I <- lists:seq(1, N)],
        Got = [receive {got, {ok, I}} -> I after ?DEADLINE -> error(deadline) end
               || _ <- lists:seq(1, N)],
        true = lists:sort(Got) =:= lists:seq(1, N),
        0 = emmap_queue:length(Q)
    end).

a_subscriber_gets_what_it_can_bear(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 5)),
        {ok, Sub} = emmap_queue:subscribe(Q, 2),
        1 = delivered(Sub, 1),
        2 = delivered(Sub, 2),
        #{leased := 2, ready := 3, subscribers := 1} = emmap_queue:info(Q),
        ok = emmap_queue:ack_many(Q, [1, 2]),
        3 = delivered(Sub, 3),
        4 = delivered(Sub, 4),
        ok = emmap_queue:release(Q, 3),
        receive {emmap_queue, Sub, 3, 2, 3} -> ok after ?DEADLINE -> error(deadline) end,
        ok = emmap_queue:unsubscribe(Q, Sub),
        #{leased := 0, ready := 3, subscribers := 0} = emmap_queue:info(Q)
    end).

delivered(Sub, Id) ->
    receive {emmap_queue, Sub, Id, 1, Item} -> Item after ?DEADLINE -> error(deadline) end.

a_subscriber_that_stops_gives_back(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 3)),
        {ok, Sub} = emmap_queue:subscribe(Q, 3),
        1 = delivered(Sub, 1),
        ok = until(fun() -> {message_queue_len, N} = process_info(self(), message_queue_len), N =:= 2 end),
        ok = emmap_queue:unsubscribe(Q, Sub),
        {message_queue_len, 0} = process_info(self(), message_queue_len),
        %% what was in the mailbox was seen by nobody
        {ok, [{1, 2, 1}, {2, 1, 2}, {3, 1, 3}]} = emmap_queue:take_many(Q, 9)
    end).

a_lost_connection_ends_a_subscription(Config) ->
    #{node := D} = ?config(daemon, Config),
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        {ok, Sub} = emmap_queue:subscribe(Q, 3),
        true = erlang:disconnect_node(D),
        receive {'DOWN', Sub, process, _, _} -> ok after ?DEADLINE -> error(deadline) end
    end).

%%% Processes.

a_queue_in_a_supervision_tree(Config) ->
    on(?config(client, Config), fun() ->
        #{start := {M, F, A}} = emmap_queue:child_spec({jobs_of_mine, "tree", 0, []}),
        {ok, Pid} = apply(M, F, A),
        ok = emmap_queue:push(jobs_of_mine, a),
        ok = emmap_queue:push(Pid, b),
        {ok, 1, 1, a} = emmap_queue:take(Pid),
        ok = emmap_queue:ack(jobs_of_mine, 1),
        ok = gen_server:call(Pid, {push, c}),
        b = gen_server:call(Pid, pop),
        c = gen_server:call(Pid, peek),
        #{items := 1} = gen_server:call(Pid, info),
        Pid ! stray,
        c = emmap_queue:pop(Pid),
        ok = gen_server:stop(Pid),
        [] = [1 || #{name := Name} <- emmap:list(), filename:basename(Name) =:= <<"tree">>]
    end).

%% By a node without anything of ours.
a_registered_queue_is_called_by_its_name(Config) ->
    #{node := D} = ?config(daemon, Config),
    with(Config, ?FUNCTION_NAME, 0, [{register, called}], fun(Q) ->
        ok = emmap_queue:push({called, D}, a),
        {ok, 1, 1, a} = emmap_queue:take({called, D}),
        ok = emmap_queue:ack(Q, 1)
    end),
    Plain = emmap_test:node(Config),
    on(Plain, fun() ->
        ok = gen_server:call({called, D}, {push, hi}),
        ok = gen_server:cast({called, D}, {push, ho}),
        hi = gen_server:call({called, D}, pop),
        {ok, ho} = gen_server:call({called, D}, {pop_wait, 5000}),
        #{kind := queue, registered := <<"called">>} = gen_server:call({called, D}, info),
        {error, {unknown_request, ping}} = gen_server:call({called, D}, ping),
        {error, {unknown_request, nonsense}} = gen_server:call({called, D}, nonsense),
        {error, badarg} = gen_server:call({called, D}, {ack, x})
    end).

its_end_is_heard(Config) ->
    #{node := D} = ?config(daemon, Config),
    with(Config, ?FUNCTION_NAME, 0, [{register, ending}], fun(_) ->
        Monitor = monitor(process, {ending, D}),
        Gone = monitor(process, {ending, D}),
        true = demonitor(Gone),
        None = monitor(process, {nobody, D}),
        receive {'DOWN', None, process, {nobody, D}, noproc} -> ok after ?DEADLINE -> error(deadline) end,
        {ok, _} = emmap_queue:open(atom_to_list(its_end_is_heard), 0, [{register, none}]),
        receive {'DOWN', Monitor, process, {ending, D}, normal} -> ok after ?DEADLINE -> error(deadline) end,
        receive {'DOWN', Gone, _, _, _} -> error(not_demonitored) after 0 -> ok end,
        {'EXIT', {noproc, _}} = (catch gen_server:call({ending, D}, pop)),
        ok
    end).

its_name_outlives_the_daemon(Config) ->
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Plain = emmap_test:start_node(Config, #{}),
    on(Plain, fun() ->
        {ok, _, _} = gen_server:call({emmap, D}, {open_queue, "q", 0, [{register, lasting}]}),
        ok = gen_server:call({lasting, D}, {push, kept})
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Again = emmap_test:restart_daemon(Daemon),
    on(Plain, fun() ->
        ok = until(fun() -> (catch gen_server:call({lasting, D}, length)) =:= 1 end),
        kept = gen_server:call({lasting, D}, pop)
    end),
    ok = emmap_test:stop_node(Plain),
    _ = emmap_test:stop_daemon(Again),
    ok.

a_name_has_one_file(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{register, one}], fun(_) ->
        {error, {already_registered, one}} = emmap_queue:open("another", 0, [{register, one}]),
        {ok, _} = emmap_queue:open(atom_to_list(a_name_has_one_file), 0, [{register, one}]),
        {'EXIT', {badarg, _}} = (catch emmap_queue:open("another", 0, [{register, emmap}])),
        ok
    end).

%%% Life.

many_producers_keep_their_order(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        emmap_test:in_parallel([fun() -> [ok = emmap_queue:push(Q, {P, N}) || N <- lists:seq(1, 200)] end
                                || P <- lists:seq(1, 16)]),
        {ok, Items} = emmap_queue:pop_many(Q, 10000),
        3200 = length(Items),
        [true = [N || {P1, N} <- Items, P1 =:= P] =:= lists:seq(1, 200) || P <- lists:seq(1, 16)]
    end).

%% Two nodes push, pop and take while the daemon is killed: what was acknowledged is there, once.
what_was_acknowledged_outlives_kills(Config) ->
    Own = emmap_test:start_daemon(Config, #{}),
    #{node := D} = Own,
    Options = #{application => [{daemon, external}, {node, D}]},
    A = emmap_test:start_node(Config, Options),
    B = emmap_test:start_node(Config, Options),
    {_, Pushed, Gone, Unknown} =
        lists:foldl(fun(Round, {Daemon, Pushed0, Gone0, Unknown0}) ->
            Workers = [in_background(N, fun() -> work({Round, I}) end)
                       || {N, I} <- [{A, 1}, {A, 2}, {B, 3}, {B, 4}]],
            ok = until(fun() -> on(A, fun() -> pushed(D) end) >= 300 * Round end),
            ok = emmap_test:kill_daemon(Daemon),
            Results = [collect(W) || W <- Workers],
            Next = emmap_test:restart_daemon(Daemon),
            {Next, Pushed0 ++ lists:append([P || {P, _, _} <- Results]),
             Gone0 ++ lists:append([G || {_, G, _} <- Results]),
             Unknown0 ++ lists:append([U || {_, _, U} <- Results])}
        end, {Own, [], [], []}, lists:seq(1, rounds())),
    Rest = on(A, fun() ->
        {ok, Q} = emmap_queue:open("kills", 0, []),
        #{damaged := 0} = emmap_queue:info(Q),
        {ok, All} = emmap_queue:pop_many(Q, 1000000),
        All
    end),
    ct:pal("~b pushed, ~b popped or acked, ~b unknown, ~b left",
           [length(Pushed), length(Gone), length(Unknown), length(Rest)]),
    [] = Gone -- lists:usort(Gone),       % nobody got what another had
    [] = Rest -- lists:usort(Rest),
    Left = sets:from_list(Rest),
    [] = [I || I <- Gone, sets:is_element(I, Left)],
    Seen = sets:from_list(Gone ++ Rest),
    Lost = [I || I <- Pushed, not sets:is_element(I, Seen)],
    true = length(Lost) =< length(Unknown), % pops whose answers were lost
    ok = emmap_test:stop_node(A),
    ok = emmap_test:stop_node(B).

pushed(D) ->
    try gen_server:call({emmap, D}, {info, "kills"}) of
        #{pushed := N} -> N;
        {error, _} -> 0
    catch
        exit:_ -> 0
    end.

rounds() ->
    list_to_integer(os:getenv("EMMAP_KILLS", "10")).

in_background(#{peer := Peer}, Fun) ->
    Self = self(),
    spawn_link(fun() -> Self ! {self(), peer:call(Peer, erlang, apply, [Fun, []], infinity)} end).

collect(Worker) ->
    receive {Worker, Result} -> Result after ?DEADLINE -> error(deadline) end.

%% Until the connection is lost: what was pushed, what was taken out, how many pops are unknown.
work(Who) ->
    case emmap_queue:open("kills", 0, []) of
        {ok, Q} -> work(Q, Who, 1, [], [], []);
        {error, _} -> work(Who)
    end.

work(Q, Who, N, Pushed, Gone, Unknown) ->
    Item = {Who, N},
    case emmap_queue:push(Q, Item) of
        ok ->
            case N rem 3 of
                0 -> popped(emmap_queue:pop_wait(Q, 0), Q, Who, N, [Item | Pushed], Gone, Unknown);
                1 -> taken(emmap_queue:take(Q), Q, Who, N, [Item | Pushed], Gone, Unknown);
                2 -> work(Q, Who, N + 1, [Item | Pushed], Gone, Unknown)
            end;
        {error, _} ->
            {Pushed, Gone, Unknown}
    end.

popped({ok, Got}, Q, Who, N, Pushed, Gone, Unknown) ->
    work(Q, Who, N + 1, Pushed, [Got | Gone], Unknown);
popped(empty, Q, Who, N, Pushed, Gone, Unknown) ->
    work(Q, Who, N + 1, Pushed, Gone, Unknown);
popped({error, _}, _Q, Who, N, Pushed, Gone, Unknown) ->
    {Pushed, Gone, [{Who, N} | Unknown]}.

taken({ok, Id, _, Got}, Q, Who, N, Pushed, Gone, Unknown) ->
    case emmap_queue:ack(Q, Id) of
        ok -> work(Q, Who, N + 1, Pushed, [Got | Gone], Unknown);
        {error, _} -> {Pushed, Gone, [{Who, N} | Unknown]}
    end;
taken(empty, Q, Who, N, Pushed, Gone, Unknown) ->
    work(Q, Who, N + 1, Pushed, Gone, Unknown);
taken({error, _}, _Q, _Who, _N, Pushed, Gone, Unknown) ->
    {Pushed, Gone, Unknown}.

a_second_daemon_is_told_who_has_the_file(Config) ->
    #{data_dir := Dir, node := D} = ?config(daemon, Config),
    Second = #{node := D2} = emmap_test:start_daemon(Config, #{data_dir => Dir}),
    with(Config, ?FUNCTION_NAME, fun(_) ->
        {error, {locked, Who}} =
            gen_server:call({emmap, D2}, {open_queue, atom_to_list(?FUNCTION_NAME), 0, []}),
        true = Who =:= unknown orelse Who =:= atom_to_binary(D)
    end),
    _ = emmap_test:stop_daemon(Second),
    ok.

a_full_disk_refuses_pushes_only(Config) ->
    Dir = filename:join(?config(dir, Config), "full_queue"),
    ok = filelib:ensure_path(Dir),
    [] = os:cmd("mount -t tmpfs -o size=1m none " ++ Dir),
    try
        Daemon = #{node := D} = emmap_test:start_daemon(Config, #{data_dir => Dir}),
        Call = fun(Request) -> gen_server:call({emmap, D}, Request, infinity) end,
        on(?config(client, Config), fun() ->
            {ok, Q, _} = Call({open_queue, "q", 0, []}),
            Item = binary:copy(<<"x">>, 3000),
            N = fill(Call, Q, Item, 0),
            true = N > 100,
            {error, enospc} = Call({push, Q, Item}),
            {ok, 1, 1, Item} = Call({take, Q}),
            ok = Call({ack, Q, 1}),
            {ok, Items} = Call({pop_many, Q, 1000}),
            true = length(Items) =:= N - 1,
            ok = until(fun() -> Call({push, Q, Item}) =:= ok end),
            Item = Call({pop, Q})
        end),
        _ = emmap_test:stop_daemon(Daemon)
    after
        os:cmd("umount -l " ++ Dir)
    end.

fill(Call, Q, Item, N) ->
    case Call({push, Q, Item}) of
        ok -> fill(Call, Q, Item, N + 1);
        {error, enospc} -> N
    end.
