%% Leases: who has an item, how it comes back, who gets the next one; by the wrapper, by plain calls
%% to the daemon, by calls to a registered queue.
-module(lease_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_queue_face, [with/3, with/5, call/2]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    emmap_queue_face:groups(
      [an_item_belongs_to_one_process, an_acked_item_is_done, lists_are_acked_but_for_strangers,
       a_released_item_is_in_its_old_place, an_unseen_delivery_does_not_count, a_delay_is_kept,
       a_lease_ends_in_time, a_lease_has_the_time_of_the_queue, a_touched_lease_lasts,
       what_a_process_held_comes_back_when_it_ends, an_item_changes_hands_at_once, buried_items_are_anyones,
       worn_out_items_are_put_aside, dead_letters_have_a_queue,
       dead_letters_without_a_queue_are_buried, who_waits_first_is_served_first,
       who_waits_gets_what_comes_back, who_waits_is_answered_in_time, who_ends_waits_no_more,
       a_request_does_not_overtake_those_who_wait, many_who_wait_get_one_each,
       a_subscriber_gets_what_it_can_bear, a_subscription_gets_another_credit,
       subscribers_take_turns, a_subscriber_that_ends_gives_back,
       a_subscriber_that_stops_gives_back])
    ++ [{functions, [],
         [try_pop_gives_back_on_an_exception, try_pop_leases_without_limit,
          a_lost_lease_is_told_by_try_pop, a_lost_daemon_is_told_as_a_lost_lease, a_lease_outlives_the_handle,
          a_call_that_is_given_up_gets_nothing,
          a_cancel_that_crosses_loses_nothing, what_was_not_seen_was_not_delivered,
          a_lost_connection_ends_a_subscription, a_closed_queue_ends_a_subscription]},
        {messages, [],
         [a_plain_call_that_is_given_up_gets_nothing, what_is_kept_stays_leased]},
        {losses, [],
         [what_a_node_held_comes_back_when_it_is_killed,
          what_a_node_held_comes_back_when_it_disconnects,
          what_was_held_comes_back_with_the_daemon, a_delay_outlives_the_daemon,
          who_waits_is_told_of_the_end, leases_are_limited,
          kept_leases_of_subscriptions_are_limited]}].

init_per_suite(Config) ->
    emmap_queue_face:start(Config).

end_per_suite(Config) ->
    emmap_queue_face:stop(Config).

%%% By every face: what becomes of an item.

an_item_belongs_to_one_process(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push, [job]),
        {ok, 1, 1, job} = Q(take, []),
        elsewhere(fun() ->
            [{error, not_leased} = Q(Function, [1]) || Function <- [ack, release, bury, touch]],
            {error, not_leased} = Q(release, [1, 1000]),
            {error, {not_leased, [1]}} = Q(ack_many, [[1]]),
            {error, {not_leased, [1]}} = Q(release_many, [[1]]),
            empty = Q(take, [])
        end),
        ok = Q(touch, [1]),
        ok = Q(ack, [1])
    end).

an_acked_item_is_done(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [[a, b]]),
        {ok, 1, 1, a} = Q(take, []),
        {ok, 2, 1, b} = Q(take, [0]),
        ok = Q(ack, [1]),
        [{error, not_leased} = Q(Function, [1]) || Function <- [ack, release, bury, touch]],
        ok = Q(release, [2]),
        [{error, not_leased} = Q(Function, [2]) || Function <- [ack, release, bury, touch]],
        #{items := 1, ready := 1, leased := 0, acked := 1, popped := 0} = Q(info, [])
    end).

lists_are_acked_but_for_strangers(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [lists:seq(1, 600)]),
        {ok, Taken} = Q(take_many, [600]),
        true = Taken =:= [{N, 1, N} || N <- lists:seq(1, 600)],
        ok = Q(ack_many, [[1, 2, 3]]),
        ok = Q(ack_many, [[]]),
        {error, {not_leased, [1, 601, 5]}} = Q(ack_many, [[1, 4, 601, 5, 5]]),
        {error, {not_leased, [4, 3]}} = Q(release_many, [[6, 4, 300, 3]]),
        ok = Q(release_many, [lists:seq(301, 600)]),
        {ok, [{6, 6}, {300, 300}, {301, 301}]} = Q(peek_many, [3]),
        ok = Q(ack_many, [lists:seq(7, 299)]),
        #{items := 302, leased := 0, ready := 302, acked := 298} = Q(info, [])
    end).

a_released_item_is_in_its_old_place(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [[a, b, c]]),
        {ok, [{1, 1, a}, {2, 1, b}]} = Q(take_many, [2]),
        ok = Q(release, [2]),
        ok = Q(release, [1]),
        {ok, 1, 2, a} = Q(take, []),
        {ok, [b, c]} = Q(pop_many, [9]),
        ok = Q(release_many, [[1]]),
        {ok, 1, 3, a} = Q(take, [])
    end).

an_unseen_delivery_does_not_count(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{max_attempts, 2}], fun(Q) ->
        ok = Q(push, [a]),
        _ = [begin
                 {ok, 1, 1, a} = Q(take, []),
                 ok = Q(request, [{release_many, [1], unseen}])
             end || _ <- lists:seq(1, 5)],
        {ok, 1, 1, a} = Q(take, [])
    end).

a_delay_is_kept(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [[a, b]]),
        {ok, 1, 1, a} = Q(take, []),
        Started = erlang:monotonic_time(millisecond),
        ok = Q(release, [1, 500]),
        #{delayed := 1, ready := 1} = Q(info, []),
        {ok, [{2, b}]} = Q(peek_many, [9]),
        {ok, 2, 1, b} = Q(take, []),
        {ok, 1, 2, a} = Q(take, [?DEADLINE]),
        Passed = erlang:monotonic_time(millisecond) - Started,
        true = Passed >= 500 andalso Passed < 5000,
        ok = Q(release, [1, 0]),
        {ok, 1, 3, a} = Q(take, [])
    end).

a_lease_ends_in_time(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push, [a]),
        Started = erlang:monotonic_time(millisecond),
        {ok, 1, 1, a} = Q(take, [0, 300]),
        {ok, 1, 2, a} = Q(take, [?DEADLINE, infinity]),
        Passed = erlang:monotonic_time(millisecond) - Started,
        true = Passed >= 300 andalso Passed < 5000,
        ok = Q(release, [1]),
        %% an expired holder learns of it
        elsewhere(fun() ->
            {ok, 1, 3, a} = Q(take, [0, 50]),
            ok = until(fun() -> Q(length, []) =:= 1 end),
            [{error, not_leased} = Q(Function, [1]) || Function <- [ack, release, touch, bury]]
        end)
    end).

a_lease_has_the_time_of_the_queue(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{lease_ms, 300}], fun(Q) ->
        ok = Q(push, [a]),
        {ok, [{1, 1, a}]} = Q(take_many, [1]),
        {ok, 1, 2, a} = Q(take, [?DEADLINE, default]),
        {ok, 1, 3, a} = Q(take, [?DEADLINE, infinity]),
        empty = Q(take, [400]), % longer than the queue's
        ok = Q(ack, [1])
    end).

a_touched_lease_lasts(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push, [a]),
        {ok, 1, 1, a} = Q(take, [0, 1000]),
        Waiter = waiter(Q, take, [infinity]),
        End = erlang:monotonic_time(millisecond) + 1500,
        ok = touched_until(Q, End),
        false = is_answered(Waiter),
        Last = erlang:monotonic_time(millisecond),
        {ok, 1, 2, a} = answer(Waiter),
        true = erlang:monotonic_time(millisecond) - Last >= 700
    end).

%% Waits by a request of which is known that nothing comes of it.
touched_until(Q, End) ->
    ok = Q(touch, [1]),
    case erlang:monotonic_time(millisecond) < End of
        true -> empty = Q(pop_wait, [50]), touched_until(Q, End);
        false -> ok
    end.

%% Not with the next thing that happens to the daemon, or its clock that ticks each second.
an_item_changes_hands_at_once(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push, [job]),
        First = waiter(Q, take, [infinity]),
        {ok, 1, 1, job} = answer(First),
        Begin = erlang:monotonic_time(millisecond),
        _ = lists:foldl(fun(Attempt, {Holder, _}) ->
            Next = waiter(Q, take, [infinity]),
            ok = until(fun() -> maps:get(waiting, Q(info, [])) =:= 1 end),
            true = exit(Holder, kill),
            {ok, 1, Attempt, job} = answer(Next),
            Next
        end, First, lists:seq(2, 60)),
        true = erlang:monotonic_time(millisecond) - Begin < ?DEADLINE
    end).

what_a_process_held_comes_back_when_it_ends(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [[a, b, c]]),
        elsewhere(fun() -> {ok, [_, _]} = Q(take_many, [2]) end),
        {ok, [{1, 2, a}]} = Q(take_many, [1, ?DEADLINE]),
        {ok, [{2, 2, b}, {3, 1, c}]} = Q(take_many, [9, ?DEADLINE]),
        #{leased := 3} = Q(info, [])
    end).

buried_items_are_anyones(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [[a, b, c, d]]),
        {ok, [_, _, _]} = Q(take_many, [3]),
        [ok = Q(bury, [Id]) || Id <- [3, 1, 2]],
        {ok, [{1, 1, a}, {2, 1, b}, {3, 1, c}]} = Q(peek_buried, [9]),
        {ok, [{1, 1, a}]} = Q(peek_buried, [1]),
        {error, not_leased} = Q(release, [1]),
        {error, not_leased} = Q(bury, [1]),
        elsewhere(fun() -> ok = Q(ack, [2]) end),
        {ok, 1} = Q(kick, [1]),
        {ok, 1, 1, a} = Q(take, []),
        {ok, 1} = Q(kick, [9]),
        {ok, 0} = Q(kick, [9]),
        {ok, [{3, 1, c}, {4, 1, d}]} = Q(take_many, [9])
    end).

worn_out_items_are_put_aside(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{max_attempts, 3}], fun(Q) ->
        ok = Q(push, [bad]),
        elsewhere(fun() -> {ok, 1, 1, bad} = Q(take, []) end), % it ends,
        {ok, 1, 2, bad} = Q(take, [?DEADLINE, 50]),            % is too late,
        {ok, 1, 3, bad} = Q(take, [?DEADLINE]),                % gives it back
        ok = Q(release, [1, 1000]),
        {ok, [{1, 3, bad}]} = Q(peek_buried, [9]),
        empty = Q(take, []),
        {ok, 1} = Q(kick, [9]),
        {ok, 1, 1, bad} = Q(take, []),
        ok = Q(configure, [[{max_attempts, 1}]]),
        ok = Q(release, [1]),
        {ok, [{1, 1, bad}]} = Q(peek_buried, [9])
    end).

dead_letters_have_a_queue(Config) ->
    Dead = emmap_queue_face:file(Config, "dead"),
    Options = [{max_attempts, 1}, {dead_letter, Dead}],
    #{node := D} = ?config(daemon, Config),
    with(Config, ?FUNCTION_NAME, 0, Options, fun(Q) ->
        ok = Q(push_many, [lists:seq(1, 200)]),
        elsewhere(fun() -> {ok, [_ | _]} = Q(take_many, [200]) end),
        ok = until(fun() -> maps:get(dead, Q(info, [])) =:= 200 end),
        {ok, Items} = call(D, {pop_many, Dead, 1000}),
        true = Items =:= lists:seq(1, 200),
        #{items := 0, buried := 0, leased := 0} = Q(info, [])
    end).

dead_letters_without_a_queue_are_buried(Config) ->
    #{node := D, data_dir := Dir} = ?config(daemon, Config),
    Full = emmap_queue_face:file(Config, "full"),
    ok = file:write_file(filename:join(Dir, "no_queue"), "a text"),
    with(Config, ?FUNCTION_NAME, 0, [{max_attempts, 1}, {dead_letter, "no_queue"}], fun(Q) ->
        ok = Q(push_many, [[a, b, c]]),
        {ok, 1, 1, a} = Q(take, []),
        ok = Q(release, [1]),
        ok = until(fun() -> Q(peek_buried, [9]) =:= {ok, [{1, 1, a}]} end),
        {ok, _, _} = call(D, {open_queue, Full, 0, [{max_items, 1}]}),
        ok = Q(configure, [[{dead_letter, Full}]]),
        {ok, [_, _]} = Q(take_many, [2]),
        ok = Q(release_many, [[2, 3]]),
        ok = until(fun() -> Q(peek_buried, [9]) =:= {ok, [{1, 1, a}, {3, 1, c}]} end),
        {ok, [b]} = call(D, {pop_many, Full, 9}),
        #{dead := 1, items := 2, buried := 2} = Q(info, [])
    end).

%%% By every face: those who wait.

who_waits_first_is_served_first(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Requests = [{pop_wait, [infinity]}, {take, [infinity]}, {pop_many, [2, infinity]},
                    {take_many, [2, ?DEADLINE]}, {pop_wait, [?DEADLINE]}],
        Waiters = in_line(Q, Requests),
        ok = Q(push, [1]),
        ok = Q(push_many, [[2, 3]]),
        [{ok, 1}, {ok, 2, 1, 2}, {ok, [3]}] = [answer(W) || W <- lists:sublist(Waiters, 3)],
        false = is_answered(lists:nth(4, Waiters)),
        ok = Q(push_many, [[4, 5, 6]]),
        [{ok, [{4, 1, 4}, {5, 1, 5}]}, {ok, 6}] = [answer(W) || W <- lists:nthtail(3, Waiters)]
    end).

who_waits_gets_what_comes_back(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [[a, b, c, d]]),
        {ok, [_, _, _]} = Q(take_many, [3]),
        {ok, 4, 1, d} = Q(take, [0, 300]),
        Waiters = in_line(Q, lists:duplicate(4, {take, [infinity]})),
        ok = Q(release, [2]),
        {ok, 2, 2, b} = answer(hd(Waiters)),
        {ok, 4, 2, d} = answer(lists:nth(2, Waiters)), % its time is over
        ok = Q(bury, [1]),
        {ok, 1} = Q(kick, [1]),
        {ok, 1, 1, a} = answer(lists:nth(3, Waiters)),
        ok = Q(release, [3, 100]),
        {ok, 3, 2, c} = answer(lists:nth(4, Waiters))
    end).

who_waits_is_answered_in_time(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Started = erlang:monotonic_time(millisecond),
        Requests = [{pop_wait, [200]}, {take, [200]}, {pop_many, [9, 200]}, {take_many, [9, 200]}],
        Waiters = in_line(Q, Requests),
        [empty, empty, {ok, []}, {ok, []}] = [answer(W) || W <- Waiters],
        Passed = erlang:monotonic_time(millisecond) - Started,
        true = Passed >= 200 andalso Passed < 5000,
        #{waiting := 0} = Q(info, []),
        ok = Q(push, [a]),
        a = Q(pop, [])
    end).

who_ends_waits_no_more(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        [{First, _}, {Second, _}, Third] = in_line(Q, lists:duplicate(3, {take, [infinity]})),
        true = exit(First, kill),
        ok = until(fun() -> waiting(Q) =:= 2 end),
        true = exit(Second, kill),
        ok = until(fun() -> waiting(Q) =:= 1 end),
        ok = Q(push, [a]),
        {ok, 1, 1, a} = answer(Third)
    end).

%% What does not wait finds nothing while items are due to others.
a_request_does_not_overtake_those_who_wait(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Waiters = in_line(Q, lists:duplicate(50, {pop_wait, [infinity]})),
        ok = Q(push_many, [lists:seq(1, 51)]),
        {ok, 51} = Q(pop_wait, [?DEADLINE]),
        true = [{ok, N} || N <- lists:seq(1, 50)] =:= [answer(W) || W <- Waiters]
    end).

many_who_wait_get_one_each(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        N = 1000,
        Waiters = [waiter(Q, pop_wait, [infinity]) || _ <- lists:seq(1, N)],
        ok = until(fun() -> waiting(Q) =:= N end),
        [ok = Q(push, [I]) || I <- lists:seq(1, N)],
        Got = [I || W <- Waiters, {ok, I} <- [answer(W)]],
        true = lists:sort(Got) =:= lists:seq(1, N),
        #{items := 0, waiting := 0, popped := N} = Q(info, [])
    end).

%%% By every face: subscriptions.

a_subscriber_gets_what_it_can_bear(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [lists:seq(1, 6)]),
        {ok, Sub} = Q(subscribe, [2]),
        1 = delivered(Sub, 1, 1),
        2 = delivered(Sub, 2, 1),
        #{leased := 2, ready := 4, subscribers := 1, waiting := 0} = Q(info, []),
        false = has_message(Sub),
        ok = Q(ack_many, [[1, 2]]),
        3 = delivered(Sub, 3, 1),
        4 = delivered(Sub, 4, 1),
        ok = Q(release, [3]),
        3 = delivered(Sub, 3, 2),
        ok = Q(bury, [4]),
        5 = delivered(Sub, 5, 1),
        {ok, 6, 1, 6} = Q(take, []), % not by the subscription,
        #{leased := 3} = Q(info, []),
        ok = Q(ack, [6]),            % so this gives no credit
        ok = Q(push, [7]),
        #{ready := 1} = Q(info, []),
        false = has_message(Sub),
        ok = Q(unsubscribe, [Sub]),
        #{leased := 0, ready := 3, subscribers := 0} = Q(info, [])
    end).

%% With the same reference on the wire; the wrapper has one for each.
a_subscription_gets_another_credit(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Sub = make_ref(),
        ok = Q(request, [{subscribe, Sub, 1}]),
        ok = Q(push_many, [lists:seq(1, 5)]),
        1 = delivered(Sub, 1, 1),
        ok = Q(request, [{subscribe, Sub, 3}]),
        2 = delivered(Sub, 2, 1),
        3 = delivered(Sub, 3, 1),
        #{subscribers := 1, leased := 3} = Q(info, []),
        ok = Q(request, [{subscribe, Sub, 1}]),
        ok = Q(ack_many, [[1, 2]]),
        #{leased := 1, ready := 2} = Q(info, []),
        false = has_message(Sub),
        ok = Q(ack, [3]),
        4 = delivered(Sub, 4, 1)
    end).

subscribers_take_turns(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Subs = [Sub || _ <- [1, 2, 3], {ok, Sub} <- [Q(subscribe, [10])]],
        ok = Q(push_many, [lists:seq(1, 9)]),
        #{subscribers := 3, leased := 9} = Q(info, []),
        [ok = shared(Sub, First) || {Sub, First} <- lists:zip(Subs, [1, 2, 3])],
        [ok = Q(unsubscribe, [Sub]) || Sub <- Subs],
        #{subscribers := 0, leased := 0, ready := 9} = Q(info, [])
    end).

shared(Sub, First) ->
    [Id = delivered(Sub, Id, 1) || Id <- [First, First + 3, First + 6]],
    ok.

a_subscriber_that_ends_gives_back(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [[a, b, c]]),
        Self = self(),
        Subscriber = spawn(fun() ->
            {ok, Sub} = Q(subscribe, [2]),
            a = delivered(Sub, 1, 1),
            b = delivered(Sub, 2, 1),
            Self ! {self(), has_two},
            receive stop -> ok end
        end),
        receive {Subscriber, has_two} -> ok after ?DEADLINE -> error(deadline) end,
        Subscriber ! stop,
        ok = until(fun() -> maps:get(subscribers, Q(info, [])) =:= 0 end),
        {ok, [{1, 2, a}, {2, 2, b}, {3, 1, c}]} = Q(take_many, [9])
    end).

a_subscriber_that_stops_gives_back(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [lists:seq(1, 3)]),
        {ok, Sub} = Q(subscribe, [3]),
        [N = delivered(Sub, N, 1) || N <- [1, 2, 3]],
        ok = Q(ack, [2]),
        ok = Q(unsubscribe, [Sub]),
        {error, not_leased} = Q(ack, [1]),
        {ok, [{1, 2, 1}, {3, 2, 3}]} = Q(take_many, [9]),
        ok = Q(push, [4]),
        1 = Q(length, []), % what it had been sent is here by now
        false = has_message(Sub)
    end).

%%% What only the functions do.

try_pop_gives_back_on_an_exception(Config) ->
    on_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, [a, b]),
        thrown = (catch emmap_queue:try_pop(Q, fun(a) ->
            b = emmap_queue:peek_front(Q),
            throw(thrown)
        end)),
        {'EXIT', {because, _}} = (catch emmap_queue:try_dequeue(Q, fun(a) -> error(because) end)),
        {'EXIT', gone} = (catch emmap_queue:try_pop_and_purge(Q, fun(a) -> exit(gone) end)),
        {a, 1} = emmap_queue:try_pop(Q, fun(a) -> {a, maps:get(leased, emmap_queue:info(Q))} end),
        {ok, [b]} = emmap_queue:pop_many(Q, 9)
    end).

try_pop_leases_without_limit(Config) ->
    on_handle(Config, ?FUNCTION_NAME, [{lease_ms, 50}], fun(Q) ->
        ok = emmap_queue:push(Q, a),
        empty = emmap_queue:try_pop(Q, fun(a) -> emmap_queue:pop_wait(Q, 300) end),
        #{items := 0, acked := 1} = emmap_queue:info(Q)
    end).

%% Also where it was the only one.
a_lease_outlives_the_handle(Config) ->
    File = atom_to_list(?FUNCTION_NAME),
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open(File, 0, []),
        ok = emmap_queue:push_many(Q, [a, b]),
        {ok, Id, 1, a} = emmap_queue:take(Q),
        ok = emmap_queue:close(Q),
        {ok, Again} = emmap_queue:open(File, 0, []),
        elsewhere(fun() -> {ok, [{_, 1, b}]} = emmap_queue:take_many(Again, 2) end),
        ok = emmap_queue:ack(Again, Id),
        ok = emmap_queue:close(Again)
    end).

a_lost_lease_is_told_by_try_pop(Config) ->
    #{node := D} = ?config(daemon, Config),
    on_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push(Q, a),
        {'EXIT', {{lease_lost, 1}, _}} = (catch emmap_queue:try_pop(Q, fun(a) ->
            true = erlang:disconnect_node(D),
            ok = until(fun() -> (catch emmap:ping()) =:= pong end)
        end)),
        {ok, 1, 2, a} = emmap_queue:take(Q, ?DEADLINE)
    end).

a_lost_daemon_is_told_as_a_lost_lease(Config) ->
    #{node := D} = emmap_test:daemon(Config, #{}),
    Application = [{daemon, external}, {node, D}, {connect_timeout, 100}],
    on(emmap_test:node(Config, #{application => Application}), fun() ->
        {ok, Q} = emmap_queue:open("lost", 0, []),
        ok = emmap_queue:push(Q, a),
        {'EXIT', {{lease_lost, 1}, _}} = (catch emmap_queue:try_pop(Q, fun(a) ->
            #{os_pid := Pid} = emmap:info(),
            [] = os:cmd("kill -KILL " ++ integer_to_list(Pid)),
            ok = until(fun() -> {error, {not_connected, D}} =:= emmap:call(Q, length) end)
        end)),
        ok
    end).

a_call_that_is_given_up_gets_nothing(Config) ->
    on_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        [{'EXIT', {timeout, {emmap, call, [Q, Request, 50]}}} = (catch emmap:call(Q, Request, 50))
         || Request <- [{take, infinity}, {pop_wait, infinity}, {pop_many, 9, infinity}]],
        ok = until(fun() -> waiting_by(Q) =:= 0 end),
        ok = emmap_queue:push(Q, a),
        a = emmap_queue:pop(Q)
    end).

%% The daemon is stopped while the call goes out and is given up; then it finds call and cancel one
%% behind the other, and has answered before it knows that nobody waits.
a_cancel_that_crosses_loses_nothing(Config) ->
    #{node := D, program := Program} = ?config(daemon, Config),
    File = atom_to_list(?FUNCTION_NAME),
    on(?config(client, Config), fun() -> {ok, _, _} = call(D, {open_queue, File, 0, []}) end),
    _ = [begin
             on(?config(client, Config), fun() -> ok = call(D, {push, File, a}) end),
             ok = emmap_program:signal(Program, "STOP"),
             on(?config(client, Config), fun() ->
                 {'EXIT', {timeout, _}} = (catch emmap:call(File, {take, infinity}, 50))
             end),
             ok = emmap_program:signal(Program, "CONT"),
             on(?config(client, Config), fun() ->
                 ok = until(fun() -> call(D, {length, File}) =:= 1 end),
                 {ok, Round, 1, a} = emmap_queue:take(File, 0),
                 ok = emmap_queue:ack(File, Round)
             end)
         end || Round <- [1, 2, 3]],
    ok.

what_was_not_seen_was_not_delivered(Config) ->
    on_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 3)),
        {ok, Sub} = emmap_queue:subscribe(Q, 3),
        1 = delivered(Sub, 1, 1),
        ok = until(fun() -> process_info(self(), message_queue_len) =:= {message_queue_len, 2} end),
        ok = emmap_queue:unsubscribe(Q, Sub),
        {message_queue_len, 0} = process_info(self(), message_queue_len),
        {ok, [{1, 2, 1}, {2, 1, 2}, {3, 1, 3}]} = emmap_queue:take_many(Q, 9)
    end).

a_lost_connection_ends_a_subscription(Config) ->
    #{node := D} = ?config(daemon, Config),
    on_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        {ok, Sub} = emmap_queue:subscribe(Q, 3),
        ok = emmap_queue:push(Q, a),
        a = delivered(Sub, 1, 1),
        true = erlang:disconnect_node(D),
        receive {'DOWN', Sub, process, _, _} -> ok after ?DEADLINE -> error(deadline) end,
        ok = until(fun() -> (catch emmap:ping()) =:= pong end),
        {ok, Again} = emmap_queue:subscribe(Q, 3),
        a = delivered(Again, 1, 2),
        {error, not_leased} = elsewhere(fun() -> emmap_queue:ack(Q, 1) end),
        ok = emmap_queue:ack(Q, 1)
    end).

a_closed_queue_ends_a_subscription(Config) ->
    on_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        {ok, Other} = emmap_queue:open(atom_to_list(a_closed_queue_ends_a_subscription), 0, []),
        {ok, Sub} = emmap_queue:subscribe(Other, 3),
        ok = emmap_queue:push(Q, a),
        a = delivered(Sub, 1, 1),
        Waiter = waiter(fun(F, A) -> apply(emmap_queue, F, [Other | A]) end, take, [infinity]),
        ok = until(fun() -> waiting_by(Q) =:= 1 end),
        ok = emmap_queue:close(Other),
        {error, closed} = answer(Waiter),
        #{subscribers := 0, waiting := 0, leased := 1} = emmap_queue:info(Q),
        ok = emmap_queue:push(Q, b),
        1 = emmap_queue:length(Q),
        false = has_message(Sub),
        ok = emmap_queue:ack(Q, 1), % closing ends no lease
        b = emmap_queue:pop(Q)
    end).

%%% What only messages do.

a_plain_call_that_is_given_up_gets_nothing(Config) ->
    #{node := D} = ?config(daemon, Config),
    Name = atom_to_list(?FUNCTION_NAME),
    on(?config(client, Config), fun() ->
        {ok, Id, _} = call(D, {open_queue, Name, 0, [{register, given_up}]}),
        [{'EXIT', {timeout, _}} = (catch gen_server:call({Process, D}, Request, 50))
         || {Process, Request} <- [{emmap, {pop_wait, Id, infinity}}, {emmap, {take, Name, infinity}},
                                   {given_up, {take, infinity}}]],
        ok = until(fun() -> maps:get(waiting, call(D, {info, Id})) =:= 0 end),
        ok = call(D, {push, Id, a}),
        a = call(D, {pop, Id}),
        ok = call(D, {close, Id})
    end).

what_is_kept_stays_leased(Config) ->
    #{node := D} = ?config(daemon, Config),
    Name = atom_to_list(?FUNCTION_NAME),
    on(?config(client, Config), fun() ->
        {ok, Id, _} = call(D, {open_queue, Name, 0, []}),
        ok = call(D, {push_many, Id, [a, b, c]}),
        Sub = make_ref(),
        ok = call(D, {subscribe, Id, Sub, 2}),
        a = delivered(Sub, 1, 1),
        b = delivered(Sub, 2, 1),
        {ok, Kept} = call(D, {unsubscribe, Id, Sub, keep}),
        [1, 2] = lists:sort(Kept),
        ok = call(D, {ack, Id, 1}),
        ok = call(D, {release_many, Id, [2], unseen}),
        {ok, [{2, 1, b}, {3, 1, c}]} = call(D, {take_many, Id, 9})
    end).

%%% Losses.

what_a_node_held_comes_back_when_it_is_killed(Config) ->
    comes_back(Config, ?FUNCTION_NAME, fun(Other) ->
        Os = on(Other, fun() -> os:getpid() end),
        [] = os:cmd("kill -9 " ++ Os)
    end).

what_a_node_held_comes_back_when_it_disconnects(Config) ->
    #{node := D} = ?config(daemon, Config),
    comes_back(Config, ?FUNCTION_NAME, fun(Other) ->
        true = on(Other, fun() -> erlang:disconnect_node(D) end)
    end).

comes_back(Config, Case, Lose) ->
    #{node := D} = ?config(daemon, Config),
    Name = atom_to_list(Case),
    Client = ?config(client, Config),
    Other = emmap_test:node(Config),
    on(Client, fun() ->
        {ok, _, _} = call(D, {open_queue, Name, 0, []}),
        ok = call(D, {push_many, Name, [job, another]})
    end),
    on(Other, fun() ->
        held(D, {take, Name}, {ok, 1, 1, job}),
        held(D, {take, Name}, {ok, 2, 1, another})
    end),
    #{pids := _} = Waiting = emmap_apps:in_background(Client, [fun() ->
        call(D, {take_many, Name, 9, infinity})
    end]),
    on(Client, fun() ->
        ok = until(fun() -> maps:get(waiting, call(D, {info, Name})) =:= 1 end)
    end),
    ok = case Lose(Other) of _ -> ok end,
    [{{ok, Items}, _}] = emmap_apps:await(Waiting),
    true = lists:member({1, 2, job}, Items) orelse lists:member({2, 2, another}, Items),
    on(Client, fun() ->
        ok = until(fun() -> call(D, {length, Name}) =:= 2 end),
        {ok, [job, another]} = call(D, {pop_many, Name, 9})
    end).

%% A process that takes and stays.
held(D, Request, Expected) ->
    Self = self(),
    Pid = spawn(fun() ->
        Self ! {self(), call(D, Request)},
        receive never -> ok end
    end),
    receive {Pid, Expected} -> ok after ?DEADLINE -> error(deadline) end.

what_was_held_comes_back_with_the_daemon(Config) ->
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Client = emmap_test:node(Config),
    on(Client, fun() ->
        {ok, Id, _} = call(D, {open_queue, "q", 0, [{max_attempts, 2}]}),
        ok = call(D, {push_many, Id, [a, b, c, d, e]}),
        {ok, [{1, 1, a}, {2, 1, b}]} = call(D, {take_many, Id, 2}),
        ok = call(D, {release, Id, 2}),
        {ok, 2, 2, b} = call(D, {take, Id}),
        {ok, 3, 1, c} = call(D, {take, Id}),
        ok = call(D, {bury, Id, 3}),
        {ok, 4, 1, d} = call(D, {take, Id}),
        ok = call(D, {ack, Id, 4})
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Again = emmap_test:restart_daemon(Daemon),
    on(Client, fun() ->
        ok = until(fun() -> (catch call(D, ping)) =:= pong end),
        {error, not_leased} = call(D, {ack, "q", 1}),
        {ok, [{1, 2, a}, {5, 1, e}]} = call(D, {take_many, "q", 9}),
        {ok, [{2, 2, b}, {3, 1, c}]} = call(D, {peek_buried, "q", 9})
    end),
    _ = emmap_test:stop_daemon(Again),
    ok.

a_delay_outlives_the_daemon(Config) ->
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Client = emmap_test:node(Config),
    Started = erlang:monotonic_time(millisecond),
    on(Client, fun() ->
        {ok, Id, _} = call(D, {open_queue, "delayed", 0, []}),
        ok = call(D, {push_many, Id, [a, b]}),
        {ok, [_, _]} = call(D, {take_many, Id, 2}),
        ok = call(D, {release, Id, 1, 2000}),
        ok = call(D, {release, Id, 2, 3600000})
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Again = emmap_test:restart_daemon(Daemon),
    on(Client, fun() ->
        ok = until(fun() -> (catch call(D, ping)) =:= pong end),
        #{delayed := 2, ready := 0} = call(D, {info, "delayed"}),
        {ok, 1, 2, a} = call(D, {take, "delayed", ?DEADLINE}),
        empty = call(D, {take, "delayed"})
    end),
    true = erlang:monotonic_time(millisecond) - Started >= 2000,
    _ = emmap_test:stop_daemon(Again),
    ok.

who_waits_is_told_of_the_end(Config) ->
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Client = emmap_test:node(Config),
    on(Client, fun() -> {ok, _, _} = call(D, {open_queue, "ending", 0, []}) end),
    Waiting = emmap_apps:in_background(Client, [fun() -> catch call(D, {take, "ending", infinity}) end
                                                || _ <- lists:seq(1, 10)]),
    on(Client, fun() ->
        ok = until(fun() -> maps:get(waiting, call(D, {info, "ending"})) =:= 10 end)
    end),
    ok = emmap_test:kill_daemon(Daemon),
    [{'EXIT', {{nodedown, D}, _}} = Result || {Result, _} <- emmap_apps:await(Waiting)],
    ok.

leases_are_limited(Config) ->
    Args = ["--max-leases", "3", "--max-waiting", "2", "--max-subscribers", "1"],
    #{node := D} = emmap_test:daemon(Config, #{args => Args}),
    on(emmap_test:node(Config), fun() ->
        {ok, Id, _} = call(D, {open_queue, "limited", 0, []}),
        ok = call(D, {push_many, Id, [a, b, c, d]}),
        {ok, [_, _, _]} = call(D, {take_many, Id, 9}),
        {error, {limit, max_leases}} = call(D, {take, Id}),
        ok = call(D, {ack, Id, 1}),
        {ok, 4, 1, d} = call(D, {take, Id}),
        Q = fun(Function, Args1) -> call(D, list_to_tuple([Function, Id | Args1])) end,
        _ = in_line(Q, lists:duplicate(2, {pop_wait, [infinity]})),
        {error, {limit, max_waiting}} = call(D, {pop_wait, Id, 1000}),
        Sub = make_ref(),
        {error, {limit, max_leases}} = call(D, {subscribe, Id, Sub, 1}),
        ok = call(D, {ack_many, Id, [2, 3]}),
        ok = call(D, {subscribe, Id, Sub, 1}),
        {error, {limit, max_subscribers}} = call(D, {subscribe, Id, make_ref(), 1}),
        {error, {limit, max_leases}} = call(D, {subscribe, Id, Sub, 3}),
        ok = call(D, {subscribe, Id, Sub, 2})
    end).

%% What a subscription leaves behind counts as what was taken does.
kept_leases_of_subscriptions_are_limited(Config) ->
    #{node := D} = emmap_test:daemon(Config, #{args => ["--max-leases", "3"]}),
    on(emmap_test:node(Config), fun() ->
        {ok, Id, _} = call(D, {open_queue, "kept", 0, []}),
        ok = call(D, {push_many, Id, lists:seq(1, 9)}),
        First = make_ref(),
        ok = call(D, {subscribe, Id, First, 2}),
        [1, 2] = [delivered(First, N, 1) || N <- [1, 2]],
        {ok, [1, 2]} = call(D, {unsubscribe, Id, First, keep}),
        Second = make_ref(),
        {error, {limit, max_leases}} = call(D, {subscribe, Id, Second, 2}),
        ok = call(D, {subscribe, Id, Second, 1}),
        3 = delivered(Second, 3, 1),
        {error, {limit, max_leases}} = call(D, {take, Id}),
        ok = call(D, {ack, Id, 1}),
        {ok, 4, 1, 4} = call(D, {take, Id}),
        {error, {limit, max_leases}} = call(D, {take, Id}),
        ok = call(D, {unsubscribe, Id, Second}),
        {ok, 3, 2, 3} = call(D, {take, Id}),
        #{leased := 3} = call(D, {info, Id})
    end).

%%% Internal.

on_handle(Config, Case, Fun) ->
    on_handle(Config, Case, [], Fun).

on_handle(Config, Case, Options, Fun) ->
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open(atom_to_list(Case), 0, Options),
        Fun(Q),
        ok = emmap_queue:close(Q)
    end).

%% The fun's result in a process of its own, which has ended then.
elsewhere(Fun) ->
    hd(emmap_test:in_parallel([Fun])).

%% A process that waits for the answer to a request, and stays alive for an hour with what it gets.
waiter(Q, Function, Args) ->
    Self = self(),
    Ref = make_ref(),
    Pid = spawn(fun() ->
        Self ! {Ref, Q(Function, Args)},
        receive never -> ok after 3600000 -> ok end
    end),
    {Pid, Ref}.

%% The same for many, one behind the other in line.
in_line(Q, Requests) ->
    Before = waiting(Q),
    [begin
         Waiter = waiter(Q, Function, Args),
         ok = until(fun() -> waiting(Q) =:= Before + N end),
         Waiter
     end || {N, {Function, Args}} <- lists:zip(lists:seq(1, length(Requests)), Requests)].

waiting(Q) ->
    maps:get(waiting, Q(info, [])).

waiting_by(Handle) ->
    maps:get(waiting, emmap_queue:info(Handle)).

answer({_Pid, Ref}) ->
    receive {Ref, Answer} -> Answer after ?DEADLINE -> error(deadline) end.

is_answered({_Pid, Ref}) ->
    receive {Ref, _} -> true after 0 -> false end.

delivered(Sub, Id, Attempt) ->
    receive
        {emmap_queue, Sub, Id, Attempt, Item} -> Item
    after ?DEADLINE -> error({deadline, process_info(self(), messages)})
    end.

has_message(Sub) ->
    receive {emmap_queue, Sub, _, _, _} -> true after 0 -> false end.
