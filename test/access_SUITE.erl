%% How queues are reached: as processes of one's own tree, from the processes of other nodes, through
%% lost connections, by many with big items at once.
-module(access_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [a_lease_is_of_who_calls_the_process, who_waits_is_in_nobodys_way, who_dies_waits_no_more,
     a_killed_process_leaves_no_handle, a_process_outlives_the_daemon, its_handle_is_its_own,
     what_a_process_is_started_with_is_checked, stray_casts_are_ignored, its_owner_is_itself,
     a_process_ends_with_its_handle, a_supervisor_starts_it_again, it_outlives_the_application,
     who_asks_for_a_time_waits_no_longer, processes_of_other_nodes_may_use_it,
     casts_need_a_handle,
     what_the_handle_must_know_is_no_request, a_wrong_time_limit_does_nothing,
     a_cast_does_not_wait, a_cast_that_is_too_long_has_failed,
     items_by_hand_come_out_as_they_went_in, big_items_come_to_all_who_ask, compressed_or_only_alike,
     a_subscription_begins_with_the_connection, a_lost_subscription_ends_quietly,
     a_subscription_is_of_one_process, a_subscription_is_of_one_queue, a_foreign_monitor_stays,
     a_failed_queue_tells_its_subscribers,
     an_answer_that_is_none_is_an_exception,
     a_fold_leaves_what_it_has_lost, a_fold_is_deaf_to_the_casts_of_others,
     an_item_that_is_gone_is_told_by_a_fold, a_fold_leases_without_limit, funs_may_use_the_queue,
     an_exception_of_a_fun_is_kept].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Options = #{application => [{daemon, external}, {node, D}]},
    [{daemon, Daemon}, {options, Options}, {client, emmap_test:start_node(Config, Options)} | Config].

end_per_suite(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

%% Runs Fun(Q) on the client node with a new queue of the case's own.
with_handle(Config, Case, Fun) ->
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open(atom_to_list(Case), 0, []),
        Fun(Q),
        ok = emmap_queue:close(Q)
    end).

%% The same with a process, registered under the case's name.
with_process(Config, Case, Fun) ->
    on(?config(client, Config), fun() ->
        {ok, Pid} = emmap_queue:start_link(Case, atom_to_list(Case), 0, []),
        Fun(Pid),
        ok = gen_server:stop(Pid)
    end).

%% In a process of its own, which ends with it.
elsewhere(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({result, Fun()}) end),
    result(Pid, Monitor).

result(Pid, Monitor) ->
    receive {'DOWN', Monitor, process, Pid, {result, Result}} -> Result
    after ?DEADLINE -> error(deadline)
    end.

is(Q, Key, Value) ->
    until(fun() -> maps:get(Key, emmap_queue:info(Q)) =:= Value end).

mailbox() ->
    {messages, Messages} = process_info(self(), messages),
    Messages.

%%% Processes of one's own tree.

a_lease_is_of_who_calls_the_process(Config) ->
    with_process(Config, ?FUNCTION_NAME, fun(Pid) ->
        ok = emmap_queue:push_many(Pid, [a, b]),
        {ok, 1, 1, a} = gen_server:call(Pid, {take, 0}),
        {error, not_leased} = elsewhere(fun() -> gen_server:call(Pid, {ack, 1}) end),
        {error, not_leased} = elsewhere(fun() -> emmap_queue:ack(Pid, 1) end),
        ok = emmap_queue:ack(Pid, 1),
        {ok, 2, 1, b} = elsewhere(fun() -> gen_server:call(Pid, {take, 0}) end),
        {ok, 2, 2, b} = emmap_queue:take(Pid, ?DEADLINE),
        ok = gen_server:call(Pid, {ack, 2})
    end).

who_waits_is_in_nobodys_way(Config) ->
    with_process(Config, ?FUNCTION_NAME, fun(Pid) ->
        {Waiter, Monitor} =
            spawn_monitor(fun() -> exit({result, gen_server:call(Pid, {pop_wait, infinity}, infinity)}) end),
        ok = is(Pid, waiting, 1),
        nil = gen_server:call(Pid, pop),
        nil = gen_server:call(Pid, peek),
        ok = gen_server:call(Pid, {push, a}),
        {ok, a} = result(Waiter, Monitor)
    end).

who_dies_waits_no_more(Config) ->
    with_process(Config, ?FUNCTION_NAME, fun(Pid) ->
        Waiter = spawn(fun() -> gen_server:call(Pid, {take, infinity}, infinity) end),
        ok = is(Pid, waiting, 1),
        true = exit(Waiter, kill),
        ok = is(Pid, waiting, 0),
        ok = emmap_queue:push(Pid, a),
        {ok, 1, 1, a} = emmap_queue:take(Pid)
    end).

a_killed_process_leaves_no_handle(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        process_flag(trap_exit, true),
        {ok, Pid} = emmap_queue:start_link(killed, atom_to_list(a_killed_process_leaves_no_handle), 0, []),
        #{handles := 2} = emmap_queue:info(Q),
        true = exit(Pid, kill),
        ok = is(Q, handles, 1)
    end).

a_process_outlives_the_daemon(Config) ->
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Node = emmap_test:start_node(Config, #{application => [{daemon, external}, {node, D}]}),
    on(Node, fun() ->
        {ok, Pid} = gen_server:start({local, jobs}, emmap_queue_server, {jobs, "outlives", 0, []}, []),
        ok = emmap_queue:push_many(Pid, [a, b])
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Next = emmap_test:restart_daemon(Daemon),
    on(Node, fun() ->
        ok = until(fun() -> (catch emmap_queue:length(jobs)) =:= 2 end),
        a = emmap_queue:pop(jobs),
        b = gen_server:call(jobs, pop),
        ok = gen_server:stop(jobs)
    end),
    ok = emmap_test:stop_node(Node),
    _ = emmap_test:stop_daemon(Next),
    ok.

its_handle_is_its_own(Config) ->
    with_process(Config, ?FUNCTION_NAME, fun(Pid) ->
        [{error, {unknown_request, Name}} = gen_server:call(Pid, Request)
         || {Name, Request} <- [{close, close}, {barrier, barrier}, {batch, {batch, [length]}},
                                {nonsense, {nonsense, 1}}]],
        [{error, badarg} = gen_server:call(Pid, Request) || Request <- ["no request", {}]],
        {'EXIT', {badarg, _}} = (catch emmap_queue:close(Pid)),
        0 = emmap_queue:length(Pid)
    end).

what_a_process_is_started_with_is_checked(Config) ->
    on(?config(client, Config), fun() ->
        process_flag(trap_exit, true),
        {error, {bad_option, foo}} = emmap_queue:start_link(checked, "checked", 0, [foo]),
        {error, {bad_option, foo}} = emmap_queue:start_link(checked, "checked", 0, foo),
        {error, badarg} = emmap_queue:start_link(checked, "", 0, []),
        undefined = whereis(checked)
    end).

%% None of them ends the process, takes an item or is counted for the barrier.
stray_casts_are_ignored(Config) ->
    with_process(Config, ?FUNCTION_NAME, fun(Pid) ->
        ok = emmap_queue:push(Pid, a),
        [ok = gen_server:cast(Pid, Stray)
         || Stray <- [close, barrier, take, {take, infinity}, {take_many, 9}, {subscribe, make_ref(), 1},
                      pop, {pop_wait, infinity}, {ack, 1}, {batch, [erase]}, info, nonsense,
                      {nonsense, 1}, {}, "stray", '$emmap_handle']],
        ok = gen_server:cast(Pid, {push, b}),
        ok = gen_server:cast(Pid, {push_many, [c, d]}),
        ok = emmap_queue:barrier(Pid),
        #{items := 4, ready := 4, waiting := 0, subscribers := 0} = emmap_queue:info(Pid),
        ok = gen_server:cast(Pid, erase),
        0 = emmap_queue:length(Pid)
    end).

its_owner_is_itself(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        {Other, Monitor} = spawn_monitor(fun() -> receive stop -> ok end end),
        {ok, Pid} = emmap_queue:start_link(owner, "its_owner_is_itself", 0, [{owner, Other}]),
        Other ! stop,
        receive {'DOWN', Monitor, process, Other, _} -> ok after ?DEADLINE -> error(deadline) end,
        ok = emmap_queue:push(Pid, a),
        true = unlink(Pid),
        true = exit(Pid, kill),
        ok = is(Q, handles, 1)
    end).

a_process_ends_with_its_handle(Config) ->
    #{node := D} = ?config(daemon, Config),
    on(?config(client, Config), fun() ->
        process_flag(trap_exit, true),
        [begin
             {ok, Pid} = emmap_queue:start_link(ending, "ending", 0, [auto_unlink]),
             ok = emmap_queue:push(ending, a),
             ok = reconnected(D),
             {error, closed} = emmap_queue:push(ending, b),
             {error, closed} = Use(),
             receive {'EXIT', Pid, closed} -> ok after ?DEADLINE -> error(deadline) end
         end || Use <- [fun() -> emmap_queue:push(ending, c) end,
                        fun() -> gen_server:call(ending, {push, c}) end,
                        fun() -> ok = gen_server:cast(ending, {push, c}), {error, closed} end]],
        ok
    end).

a_supervisor_starts_it_again(Config) ->
    #{node := D} = ?config(daemon, Config),
    on(?config(client, Config), fun() ->
        {ok, Supervisor} = supervisor:start_link(?MODULE, {kept, "kept", 0, [auto_unlink]}),
        ok = emmap_queue:push(kept, a),
        First = whereis(kept),
        ok = reconnected(D),
        ok = until(fun() -> (catch emmap_queue:push(kept, b)) =:= ok end),
        true = First =/= whereis(kept),
        b = emmap_queue:pop(kept),
        true = exit(whereis(kept), kill),
        ok = until(fun() -> (catch emmap_queue:push(kept, c)) =:= ok end),
        true = unlink(Supervisor),
        ok = gen_server:stop(Supervisor),
        undefined = whereis(kept),
        [] = [1 || #{name := Name} <- emmap:list(), filename:basename(Name) =:= <<"kept">>]
    end).

%% The supervisor of this suite: a queue of one's own tree.
init(Args) ->
    {ok, {#{intensity => 10, period => 1}, [emmap_queue:child_spec(Args)]}}.

%% It answers, and ends in order.
it_outlives_the_application(Config) ->
    Node = emmap_test:start_node(Config, ?config(options, Config)),
    on(Node, fun() ->
        {ok, Pid} = emmap_queue:start_link(outlives, "outlives_it", 0, []),
        ok = application:stop(emmap),
        {error, {not_started, emmap}} = gen_server:call(Pid, {push, a}),
        {'EXIT', {{not_started, emmap}, _}} = (catch emmap_queue:push(outlives, a)),
        ok = gen_server:stop(Pid)
    end),
    ok = emmap_test:stop_node(Node).

who_asks_for_a_time_waits_no_longer(Config) ->
    #{node := D} = ?config(daemon, Config),
    #{node := Client} = ?config(client, Config),
    on(?config(client, Config), fun() ->
        {ok, _} = gen_server:start({local, timely}, emmap_queue_server, {timely, "timely", 0, []}, [])
    end),
    Application = [{daemon, external}, {node, D}, {call_timeout, 100}],
    Other = emmap_test:start_node(Config, #{application => Application}),
    on(Other, fun() ->
        {'EXIT', {timeout, {emmap_queue, pop_wait, _}}} = (catch emmap_queue:pop_wait("timely", infinity)),
        {'EXIT', {timeout, {gen_server, call, [_, _, 100]}}} =
            (catch emmap_queue:pop_wait({timely, Client}, infinity)),
        ok
    end),
    ok = emmap_test:stop_node(Other),
    on(?config(client, Config), fun() -> ok = gen_server:stop(timely) end).

%% A lease cannot be given to a process whose end the daemon does not see from here.
processes_of_other_nodes_may_use_it(Config) ->
    #{node := Client} = ?config(client, Config),
    Other = emmap_test:start_node(Config, ?config(options, Config)),
    Self = self(),
    on(?config(client, Config), fun() ->
        {ok, _} = gen_server:start({local, jobs}, emmap_queue_server, {jobs, "of_others", 0, []}, [])
    end),
    Jobs = {jobs, Client},
    on(Other, fun() ->
        ok = emmap_queue:push_many(Jobs, [a, {'$emmap_zip', <<1>>}]),
        ok = emmap_queue:push(Jobs, c, 9),
        a = emmap_queue:peek_front(Jobs),
        {ok, [a, {'$emmap_zip', <<1>>}, c]} = emmap_queue:pop_many(Jobs, 9),
        {error, enotsup} = emmap_queue:take(Jobs),
        {error, enotsup} = emmap_queue:subscribe(Jobs, 1),
        {'EXIT', {enotsup, _}} = (catch emmap_queue:try_pop(Jobs, fun(I) -> I end)),
        [] = mailbox()
    end),
    _ = spawn_link(fun() ->
        Self ! {popped, on(Other, fun() -> emmap_queue:pop_wait(Jobs, infinity) end)}
    end),
    on(?config(client, Config), fun() ->
        ok = is(jobs, waiting, 1),
        ok = emmap_queue:push(jobs, d)
    end),
    receive {popped, {ok, d}} -> ok after ?DEADLINE -> error(deadline) end,
    on(Other, fun() -> _ = spawn(fun() -> emmap_queue:pop_wait(Jobs, infinity) end) end),
    on(?config(client, Config), fun() -> ok = is(jobs, waiting, 1) end),
    ok = emmap_test:stop_node(Other),
    on(?config(client, Config), fun() ->
        ok = is(jobs, waiting, 0),
        ok = gen_server:stop(jobs)
    end).

%%% Items.

casts_need_a_handle(Config) ->
    #{node := D} = ?config(daemon, Config),
    with_process(Config, ?FUNCTION_NAME, fun(Pid) ->
        ok = emmap_queue:push_async(Pid, a),
        ok = emmap_queue:push_async(casts_need_a_handle, b),
        ok = emmap_queue:barrier(Pid),
        [a, b] = emmap_queue:rpeek(Pid, [], fun(I, Is) -> {cont, [I | Is]} end),
        [{'EXIT', {badarg, _}} = (catch Fun(Q))
         || Q <- ["casts_need_a_handle", {casts_need_a_handle, D}],
            Fun <- [fun(X) -> emmap_queue:push_async(X, c) end, fun emmap_queue:barrier/1]]
    end).

what_the_handle_must_know_is_no_request(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap:cast(Q, {ack, 4711}),
        [{'EXIT', {badarg, [{emmap, Function, [Q | _], _} | _]}} = (catch emmap:Function(Q, Wrap(Request)))
         || Request <- [close, barrier, {close}, {barrier}],
            {Function, Wrap} <- [{call, fun(R) -> R end}, {cast, fun(R) -> R end},
                                 {send_request, fun(R) -> R end}, {batch, fun(R) -> [R] end}]],
        {error, {casts, #{failed := 1}}} = emmap_queue:barrier(Q),
        0 = emmap_queue:length(Q),
        {'EXIT', {badarg, [{emmap_queue, barrier, _, _} | _]}} = (catch emmap_queue:barrier({Q, 1})),
        {'EXIT', {badarg, [{emmap_queue, open, _, _} | _] = Stack}} =
            (catch emmap_queue:open("no_size", 0, [fixed_size])),
        [2] = maps:keys(emmap_error:format_error(badarg, Stack))
    end).

a_wrong_time_limit_does_nothing(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        [begin
             {'EXIT', {badarg, [{emmap, call, _, _} | _] = Stack}} =
                 (catch emmap:call(Q, {push, a}, Timeout)),
             [3] = maps:keys(emmap_error:format_error(badarg, Stack))
         end || Timeout <- [-1, foo, 1.0, 16#100000000]],
        0 = emmap_queue:length(Q),
        ok = emmap:call(Q, {push, a}, 16#ffffffff),
        a = emmap_queue:pop(Q)
    end).

a_cast_does_not_wait(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        [{'EXIT', {badarg, _}} = (catch emmap:cast(Q, Request))
         || Request <- [{pop_wait, infinity}, {pop_wait, 1}, {pop_many, 1, 1}, {take, infinity},
                        {take, 1, default}, {take_many, 1, 1}, {take_many, 1, 1, infinity}]],
        ok = emmap_queue:push(Q, a),
        ok = emmap:cast(Q, {pop_wait, 0}),
        ok = emmap_queue:barrier(Q),
        #{items := 0, waiting := 0} = emmap_queue:info(Q)
    end).

a_cast_that_is_too_long_has_failed(Config) ->
    #{node := D} = ?config(daemon, Config),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        Long = binary:copy(<<1>>, 70000000),
        ok = emmap_queue:push_async(Q, Long),
        ok = emmap_queue:push_async(Q, a),
        {error, {casts, #{failed := 1, lost := 0, first := {limit, max_frame}}}} =
            emmap_queue:barrier(Q),
        ok = emmap_queue:barrier(Q), % it is told once
        ok = emmap:cast(Q, {ack, 4711}),
        ok = emmap_queue:push_async(Q, Long),
        {error, {casts, #{failed := 2, lost := 0, first := not_leased}}} = emmap_queue:barrier(Q),
        ok = reconnected(D), % the next id has counts of its own
        ok = emmap_queue:push_async(Q, b),
        ok = emmap_queue:barrier(Q),
        {ok, [a, b]} = emmap_queue:pop_many(Q, 9)
    end).

%% Together their answers are longer than a message may be.
big_items_come_to_all_who_ask(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        Numbers = lists:seq(1, 6),
        [ok = emmap_queue:push(Q, {N, binary:copy(<<N>>, 15000000)}) || N <- Numbers],
        Got = emmap_test:in_parallel([fun() ->
            {N, Bytes} = emmap_queue:pop(Q),
            15000000 = byte_size(Bytes),
            N
        end || _ <- Numbers]),
        Numbers = lists:sort(Got),
        0 = emmap_queue:length(Q)
    end).

items_by_hand_come_out_as_they_went_in(Config) ->
    #{node := Client} = ?config(client, Config),
    Other = emmap_test:start_node(Config, ?config(options, Config)),
    on(?config(client, Config), fun() ->
        {ok, _} = gen_server:start({local, by_hand}, emmap_queue_server, {by_hand, "by_hand", 0, []}, [])
    end),
    Items = [text, {'$emmap_zip', term_to_binary(like)}],
    [on(Node, fun() ->
         [by_hand({by_hand, Client}, Item, Request) || Item <- Items, Request <- Requests]
     end) || {Node, Requests} <- [{?config(client, Config), asking()}, {Other, [pop]}]],
    on(Other, fun() ->
        [begin
             ok = emmap_queue:push({by_hand, Client}, Item, 5),
             Item = emmap_queue:peek_front({by_hand, Client}),
             Item = emmap_queue:pop({by_hand, Client})
         end || Item <- Items]
    end),
    on(?config(client, Config), fun() -> ok = gen_server:stop(by_hand) end),
    ok = emmap_test:stop_node(Other).

asking() ->
    [pop, {pop_wait, 0}, {pop_many, 1}, take, {take, 0}, {take_many, 1}].

by_hand(Q, Item, Request) ->
    ok = emmap_queue:push(Q, Item, 5),
    Item = gen_server:call(Q, peek),
    _ = [{ok, [{_, Item}]} = gen_server:call(Q, {Peek, 1})
         || Request =/= pop, Peek <- [peek_many, rpeek_many]],
    case gen_server:call(Q, Request) of
        Item -> ok;
        {ok, Item} -> ok;
        {ok, [Item]} -> ok;
        {ok, Id, 1, Item} -> buried_by_hand(Q, Id, Item);
        {ok, [{Id, 1, Item}]} -> buried_by_hand(Q, Id, Item)
    end.

buried_by_hand(Q, Id, Item) ->
    ok = gen_server:call(Q, {bury, Id}),
    {ok, [{Id, 1, Item}]} = gen_server:call(Q, {peek_buried, 1}),
    ok = gen_server:call(Q, {ack, Id}).

%% Pushed without this module, and with it.
compressed_or_only_alike(Config) ->
    #{node := D} = ?config(daemon, Config),
    Name = atom_to_list(?FUNCTION_NAME),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        Junk = {'$emmap_zip', <<"junk">>},
        ok = gen_server:call({emmap, D}, {push, Name, Junk}),
        ok = emmap_queue:push(Q, Junk),
        ok = emmap_queue:push(Q, text, 5),
        {'$emmap_zip', _} = gen_server:call({emmap, D}, {pop, Name}),
        Junk = emmap_queue:pop(Q),
        {'$emmap_zip', Ext} = gen_server:call({emmap, D}, {pop, Name}),
        text = binary_to_term(Ext)
    end).

%%% Subscriptions.

%% The daemon is not there when its monitor is set, and there when the request arrives.
a_subscription_begins_with_the_connection(Config) ->
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Node = emmap_test:start_node(Config, #{application => [{daemon, external}, {node, D}]}),
    Self = self(),
    on(Node, fun() -> ok = persistent_term:put(queue, element(2, emmap_queue:open("begins", 0, []))) end),
    ok = emmap_test:kill_daemon(Daemon),
    _ = spawn_link(fun() -> Self ! {done, on(Node, fun subscribe_at_last/0)} end),
    on(Node, fun() -> ok = until(fun() -> is_connecting(D) end) end),
    Next = emmap_test:restart_daemon(Daemon),
    receive {done, ok} -> ok after ?DEADLINE -> error(deadline) end,
    ok = emmap_test:stop_node(Node),
    _ = emmap_test:stop_daemon(Next),
    ok.

%% A lane with somebody in it.
is_connecting(D) ->
    whereis(D) =/= undefined andalso persistent_term:get(subscribing, no) =:= yes.

subscribe_at_last() ->
    Q = persistent_term:get(queue),
    ok = persistent_term:put(subscribing, yes),
    {ok, Sub} = subscribed(Q),
    [] = mailbox(), % its monitor is not over
    ok = emmap_queue:push(Q, a),
    receive {emmap_queue, Sub, Id, 1, a} -> ok = emmap_queue:ack(Q, Id) after ?DEADLINE -> error(deadline) end,
    #{subscribers := 1} = emmap_queue:info(Q), % and it is the only one
    ok = emmap_queue:unsubscribe(Q, Sub),
    [] = mailbox(),
    ok.

subscribed(Q) ->
    case emmap_queue:subscribe(Q, 1) of
        {ok, Sub} -> {ok, Sub};
        {error, {_, _}} -> subscribed(Q)
    end.

a_lost_subscription_ends_quietly(Config) ->
    #{node := D} = ?config(daemon, Config),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push(Q, a),
        {ok, Sub} = emmap_queue:subscribe(Q, 2),
        ok = until(fun() -> length(mailbox()) =:= 1 end),
        true = erlang:disconnect_node(D),
        ok = until(fun() -> length(mailbox()) =:= 2 end),
        ok = emmap_queue:unsubscribe(Q, Sub),
        [] = mailbox(),
        {ok, 1, 2, a} = emmap_queue:take(Q, ?DEADLINE)
    end).

a_subscription_is_of_one_process(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        {ok, Sub} = emmap_queue:subscribe(Q, 1),
        {'EXIT', {badarg, _}} = elsewhere(fun() -> catch emmap_queue:unsubscribe(Q, Sub) end),
        [{'EXIT', {badarg, _}} = (catch emmap_queue:unsubscribe(Q, Other)) || Other <- [make_ref(), me]],
        #{subscribers := 1} = emmap_queue:info(Q),
        ok = emmap_queue:unsubscribe(Q, Sub),
        {'EXIT', {badarg, _}} = (catch emmap_queue:unsubscribe(Q, Sub))
    end).

a_subscription_is_of_one_queue(Config) ->
    #{node := D} = ?config(daemon, Config),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        {ok, Other} = emmap_queue:open("of_another_queue", 0, []),
        {ok, Sub} = emmap_queue:subscribe(Q, 2),
        ok = emmap_queue:push(Q, a),
        {'EXIT', {badarg, _}} = (catch emmap_queue:unsubscribe(Other, Sub)),
        ok = emmap_queue:push(Q, b),
        [ok = receive {emmap_queue, Sub, Id, 1, Item} -> emmap_queue:ack(Q, Id)
              after ?DEADLINE -> error(deadline)
              end || {Id, Item} <- [{1, a}, {2, b}]],
        true = erlang:disconnect_node(D),
        receive {'DOWN', Sub, process, _, _} -> ok after ?DEADLINE -> error(deadline) end,
        ok = emmap_queue:close(Other)
    end).

%% Whether it tells of an end already or not.
a_foreign_monitor_stays(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        Pid = spawn(fun() -> receive stop -> ok end end),
        Monitor = monitor(process, Pid),
        {'EXIT', {badarg, _}} = (catch emmap_queue:unsubscribe(Q, Monitor)),
        Pid ! stop,
        ok = until(fun() -> length(mailbox()) =:= 1 end),
        {'EXIT', {badarg, _}} = (catch emmap_queue:unsubscribe(Q, Monitor)),
        [{'DOWN', Monitor, process, Pid, normal}] = mailbox()
    end).

%% Its file is cut off by somebody else. Who has heard of it has no subscription any more.
a_failed_queue_tells_its_subscribers(Config) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    File = filename:join(Dir, "a_failed_queue_tells_its_subscribers"),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        {ok, Heard} = emmap_queue:subscribe(Q, 2),
        {ok, Unheard} = emmap_queue:subscribe(Q, 2),
        {ok, Cut} = file:open(File, [read, write, raw]),
        ok = file:truncate(Cut),
        ok = file:close(Cut),
        {error, eio} = emmap_queue:push(Q, a),
        receive {emmap_queue, Heard, {error, eio}} -> ok after ?DEADLINE -> error(deadline) end,
        {'EXIT', {badarg, _}} = (catch emmap_queue:unsubscribe(Q, Heard)),
        ok = emmap_queue:unsubscribe(Q, Unheard),
        [] = mailbox()
    end).

%%% Folds.

an_answer_that_is_none_is_an_exception(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 20)),
        [{'EXIT', {function_clause, _}} = (catch emmap_queue:Fold(Q, 0, fun(_, _) -> next end))
         || Fold <- [pop, peek, rpeek]],
        #{ready := 20, leased := 0} = emmap_queue:info(Q),
        {ok, [{1, 2, 1}, {2, 1, 2}]} = emmap_queue:take_many(Q, 2)
    end).

%% The connection is another one when Fun returns.
a_fold_leaves_what_it_has_lost(Config) ->
    #{node := D} = ?config(daemon, Config),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 30)),
        Self = self(),
        Fold = fun(Queue) ->
            emmap_queue:pop(Queue, 0, fun(I, N) ->
                Self ! {seen, I},
                ok = case N of 2 -> is(Q, acked, I - 1), reconnected(D); _ -> ok end,
                {cont, N + 1}
            end)
        end,
        {'EXIT', {{lease_lost, 3}, _}} = (catch Fold(Q)),
        [{seen, 1}, {seen, 2}, {seen, 3}] = mailbox(),
        {'EXIT', {{lease_lost, 5}, _}} = (catch Fold("a_fold_leaves_what_it_has_lost")),
        [{seen, 3}, {seen, 4}, {seen, 5}] = lists:nthtail(3, mailbox()),
        {ok, Items} = emmap_queue:pop_many(Q, 100, ?DEADLINE),
        true = Items =:= lists:seq(5, 30)
    end).

reconnected(D) ->
    true = erlang:disconnect_node(D),
    until(fun() -> (catch emmap:ping()) =:= pong end).

a_fold_is_deaf_to_the_casts_of_others(Config) ->
    #{node := D} = ?config(daemon, Config),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 3)),
        elsewhere(fun() -> ok = emmap:cast(Q, {ack, 4711}) end),
        6 = emmap_queue:pop(Q, 0, fun(I, N) -> {cont, N + I} end),
        {error, {casts, #{failed := 1, lost := 0, first := not_leased}}} = emmap_queue:barrier(Q),
        ok = emmap_queue:push_many(Q, lists:seq(1, 3)),
        ok = emmap_queue:push_async(Q, 0), % done or not, it is told as lost
        ok = reconnected(D),
        6 = emmap_queue:pop(Q, 0, fun(I, N) -> {cont, N + I} end),
        {error, {casts, #{failed := 0, lost := 1}}} = emmap_queue:barrier(Q)
    end).

an_item_that_is_gone_is_told_by_a_fold(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 8)),
        {'EXIT', {{lease_lost, 3}, _}} = (catch emmap_queue:pop(Q, 0, fun(I, N) ->
            ok = case I of 3 -> elsewhere(fun() -> emmap_queue:erase(Q) end); _ -> ok end,
            {cont, N + 1}
        end)),
        #{items := 0, acked := 2} = emmap_queue:info(Q),
        [] = mailbox()
    end).

a_fold_leases_without_limit(Config) ->
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open("without_limit", 0, [{lease_ms, 50}]),
        ok = emmap_queue:push_many(Q, [a, b]),
        [b, a] = emmap_queue:pop(Q, [], fun(I, Items) ->
            empty = emmap_queue:pop_wait(Q, 200), % nothing comes back
            {cont, [I | Items]}
        end),
        #{items := 0, acked := 2} = emmap_queue:info(Q),
        ok = emmap_queue:close(Q)
    end).

funs_may_use_the_queue(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 200)),
        Sum = fun(I, N) -> {cont, N + I} end,
        %% the first ten are this one's, the rest the inner one's
        {55, 20045} = emmap_queue:pop(Q, {0, 0}, fun(I, {Mine, Inner}) ->
            {cont, {Mine + I, emmap_queue:pop(Q, Inner, Sum)}}
        end),
        ok = emmap_queue:push_many(Q, [a, b, c]),
        {a, {b, c}} = emmap_queue:try_pop(Q, fun(a) ->
            {a, emmap_queue:try_pop(Q, fun(b) -> {b, emmap_queue:pop(Q)} end)}
        end),
        1 = emmap_queue:pop(Q, 1, Sum),
        #{items := 0} = emmap_queue:info(Q)
    end).

%% Nothing can be given back without the application.
an_exception_of_a_fun_is_kept(Config) ->
    [begin
         Node = emmap_test:start_node(Config, ?config(options, Config)),
         on(Node, fun() ->
             {ok, Q} = emmap_queue:open("exceptions", 0, []),
             ok = emmap_queue:push_many(Q, [a, b]),
             {caught, Class, mine, [{?MODULE, _, _, _} | _]} =
                 try Use(Q, fun(_) ->
                     ok = application:stop(emmap),
                     erlang:Class(mine)
                 end)
                 catch C:R:Stack -> {caught, C, R, Stack}
                 end
         end),
         ok = emmap_test:stop_node(Node)
     end || Class <- [error, exit, throw],
            Use <- [fun emmap_queue:try_pop/2,
                    fun(Q, Fun) -> emmap_queue:pop(Q, 0, fun(I, _) -> Fun(I) end) end]].
