%% Queues as users meet them: items in, items out, looking, bounds; by the wrapper, by plain calls
%% to the daemon, by calls to a registered queue. Leases are lease_SUITE's.
-module(queue_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

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
      [items_leave_in_the_order_of_arrival, every_kind_of_term_comes_out_as_it_went_in,
       items_of_many_sizes_pass, lists_of_items_are_pushed_whole, looking_takes_nothing_out,
       looking_begins_where_it_is_told_to, bounds_are_kept, bytes_are_bounded,
       the_oldest_are_dropped, what_is_not_ready_is_not_dropped, options_stay_in_the_file,
       erase_takes_all, info_tells, a_wrong_request_changes_nothing, items_outlive_their_handles,
       many_producers_keep_their_order, consumers_share_what_producers_push])
    ++ [{functions, [],
         [compressed_items_come_out_as_they_went_in, what_is_no_queue_is_badarg,
          results_and_exceptions_are_as_documented, folds_look_at_all,
          a_fold_stops_where_it_is_told_to, a_fold_that_fails_loses_nothing,
          folds_by_name_take_all, the_names_of_old_work, batches_and_casts,
          a_lost_connection_tells_of_lost_casts, a_file_goes_with_its_last_handle,
          a_handle_ends_with_its_owner, a_file_that_is_made_has_its_mode,
          another_daemon_may_be_asked, a_queue_keeps_its_durability, a_handle_is_of_its_node, what_is_given_is_checked,
          a_queue_in_a_supervision_tree]},
        {messages, [],
         [a_name_is_enough, a_batch_is_answered_in_order, casts_are_done_in_order,
          a_wrong_request_is_named, an_item_that_fits_in_fits_out,
          damaged_requests_hurt_only_their_sender, giant_lists_are_refused_or_done]},
        {life, [],
         [two_nodes_share_a_queue, a_second_daemon_is_told_who_has_the_file,
          a_file_that_is_no_queue_is_untouched, a_full_disk_refuses_pushes_only]}].

init_per_suite(Config) ->
    emmap_queue_face:start(Config).

end_per_suite(Config) ->
    emmap_queue_face:stop(Config).

%%% By every face.

items_leave_in_the_order_of_arrival(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        nil = Q(pop, []),
        ok = Q(push, [one]),
        ok = Q(push_many, [[two, three]]),
        ok = Q(push_many, [[]]),
        3 = Q(length, []),
        one = Q(pop, []),
        {ok, two} = Q(pop_wait, [0]),
        {ok, [three]} = Q(pop_many, [9]),
        {ok, []} = Q(pop_many, [9]),
        {ok, []} = Q(pop_many, [9, 10]),
        empty = Q(pop_wait, [10]),
        empty = Q(take, []),
        {ok, []} = Q(take_many, [9, 0]),
        0 = Q(length, [])
    end).

every_kind_of_term_comes_out_as_it_went_in(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Terms = terms(),
        [ok = Q(push, [T]) || T <- Terms],
        [{ok, T} = Q(pop_wait, [0]) || T <- Terms],
        ok = Q(push_many, [Terms]),
        {ok, [First | _]} = Q(peek_many, [1]),
        true = First =:= {length(Terms) + 1, hd(Terms)},
        {ok, Terms} = Q(pop_many, [length(Terms)])
    end).

terms() ->
    Local = length(pid_to_list(self())),
    [nil, [], "text", <<>>, <<1, 2, 3>>, <<1:3>>, 0, -1, 255, 256, 1 bsl 31, -(1 bsl 63), 1 bsl 64,
     -(1 bsl 4000), 1.5, -0.0, a, 'ä', '', binary_to_atom(binary:copy(<<"ü"/utf8>>, 255)), true, {},
     {1}, #{}, #{a => #{b => [1 | 2]}}, [1, 2, 3], [300], lists:seq(1, 500), [a | b], [[[[]]]],
     self(), make_ref(), fun erlang:node/0, fun(X) -> X + Local end, {error, full}, {error, badarg},
     list_to_tuple(lists:seq(1, 300)), maps:from_list([{N, N} || N <- lists:seq(1, 100)]),
     empty, {ok, a}, {reply, a}, lists:foldl(fun(N, Inner) -> {N, Inner} end, deep, lists:seq(1, 10000))].

items_of_many_sizes_pass(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Sizes = [1, 100, 4000, 4096, 8200, 65536, 300000, 1000000, 20000000, 7],
        [ok = Q(push, [sized(N, Size)]) || {N, Size} <- numbered(Sizes)],
        [true = Q(pop, []) =:= sized(N, Size) || {N, Size} <- numbered(Sizes)],
        {error, {limit, max_frame}} = Q(push, [sized(1, 70000000)]),
        nil = Q(pop, [])
    end).

sized(N, Size) ->
    binary:copy(<<N>>, Size).

numbered(List) ->
    lists:zip(lists:seq(1, length(List)), List).

lists_of_items_are_pushed_whole(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{max_items, 1000}], fun(Q) ->
        ok = Q(push_many, [lists:seq(1, 255)]), % on the wire a string
        ok = Q(push_many, [lists:seq(256, 900)]),
        {error, full} = Q(push_many, [lists:seq(1, 101)]),
        900 = Q(length, []),
        ok = Q(push_many, [lists:seq(901, 1000)]),
        {ok, Items} = Q(pop_many, [2000]),
        true = Items =:= lists:seq(1, 1000)
    end).

looking_takes_nothing_out(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        {ok, []} = Q(peek_many, [1]),
        ok = Q(push_many, [[a, b, c]]),
        {ok, [{1, a}, {2, b}]} = Q(peek_many, [2]),
        {ok, [{1, a}, {2, b}, {3, c}]} = Q(peek_many, [9]),
        {ok, 1, 1, a} = Q(take, []),
        {ok, [{2, b}, {3, c}]} = Q(peek_many, [9]),
        ok = Q(bury, [1]),
        {ok, [{1, 1, a}]} = Q(peek_buried, [9]),
        2 = Q(length, []),
        {ok, [{2, 1, b}, {3, 1, c}]} = Q(take_many, [9])
    end).

looking_begins_where_it_is_told_to(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [lists:seq(1, 10)]),
        {ok, 1, 1, 1} = Q(take, []),
        {ok, [{4, 4}, {5, 5}]} = Q(request, [{peek_many, 2, 4}]),
        {ok, [{4, 4}, {3, 3}]} = Q(request, [{rpeek_many, 2, 4}]),
        {ok, [{10, 10}]} = Q(request, [{peek_many, 9, 10}]),
        {ok, []} = Q(request, [{peek_many, 9, 11}]),
        {ok, [{10, 10}, {9, 9}]} = Q(request, [{rpeek_many, 2, 1 bsl 63}]),
        {ok, [{2, 2}]} = Q(request, [{rpeek_many, 9, 2}]),
        {ok, []} = Q(request, [{rpeek_many, 9, 1}])
    end).

bounds_are_kept(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{max_items, 3}], fun(Q) ->
        ok = Q(push_many, [[1, 2]]),
        {error, full} = Q(push_many, [[3, 4]]),
        ok = Q(push, [3]),
        {error, full} = Q(push, [4]),
        {ok, 1, 1, 1} = Q(take, []),
        ok = Q(bury, [1]),
        {error, full} = Q(push, [4]), % the buried count
        ok = Q(ack, [1]),
        ok = Q(push, [4]),
        {error, full} = Q(push, [5]),
        2 = Q(pop, []),
        ok = Q(push, [5]),
        ok = Q(configure, [[{max_items, infinity}]]),
        ok = Q(push, [6]),
        {ok, [3, 4, 5, 6]} = Q(pop_many, [9])
    end).

bytes_are_bounded(Config) ->
    with(Config, ?FUNCTION_NAME, 4000, [fixed_size], fun(Q) ->
        Item = sized(1, 900),
        [ok = Q(push, [Item]) || _ <- lists:seq(1, 4)],
        {error, full} = Q(push, [Item]),
        {error, full} = Q(push, [sized(1, 5000)]),
        Item = Q(pop, []),
        ok = Q(push, [Item]),
        {error, full} = Q(push, [Item]),
        #{max_bytes := 4000, overflow := reject, bytes := Bytes} = Q(info, []),
        true = Bytes =< 4000,
        ok = Q(configure, [[{max_bytes, infinity}]]),
        ok = Q(push, [sized(1, 5000)])
    end).

the_oldest_are_dropped(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{max_items, 3}, {overflow, drop_head}], fun(Q) ->
        ok = Q(push_many, [[1, 2, 3]]),
        ok = Q(push, [4]),
        ok = Q(push_many, [[5, 6]]),
        {ok, [{4, 4}, {5, 5}, {6, 6}]} = Q(peek_many, [9]),
        {error, full} = Q(push_many, [[7, 8, 9, 10]]), % more than there can be
        ok = Q(push_many, [[7, 8, 9]]),
        #{dropped := 6, items := 3, popped := 0} = Q(info, []),
        {ok, [7, 8, 9]} = Q(pop_many, [9])
    end).

what_is_not_ready_is_not_dropped(Config) ->
    with(Config, ?FUNCTION_NAME, 0, [{max_items, 3}, {overflow, drop_head}], fun(Q) ->
        ok = Q(push_many, [[1, 2, 3]]),
        {ok, 1, 1, 1} = Q(take, []),
        ok = Q(push, [4]),
        {ok, [{3, 3}, {4, 4}]} = Q(peek_many, [9]),
        {error, full} = Q(push_many, [[5, 6, 7]]),
        {ok, [{3, 3}, {4, 4}]} = Q(peek_many, [9]),
        {ok, [{3, 1, 3}, {4, 1, 4}]} = Q(take_many, [9]),
        {error, full} = Q(push, [5]),
        ok = Q(release, [1]),
        ok = Q(push, [5]), % in the place of the one that is back
        ok = Q(ack_many, [[3, 4]]),
        {ok, [5]} = Q(pop_many, [9])
    end).

options_stay_in_the_file(Config) ->
    Given = [{max_items, 7}, {max_bytes, 100000}, {lease_ms, 5000}, {max_attempts, 4},
             {overflow, drop_head}, {dead_letter, "others"}],
    with(Config, ?FUNCTION_NAME, 0, Given, fun(_) -> ok end),
    with(Config, ?FUNCTION_NAME, 0, [{max_items, infinity}], fun(Q) ->
        #{max_items := infinity, max_bytes := 100000, lease_ms := 5000, max_attempts := 4,
          overflow := drop_head, dead_letter := Others} = Q(info, []),
        <<"others">> = filename:basename(Others),
        ok = Q(configure, [[{dead_letter, none}, {max_attempts, infinity}, {lease_ms, infinity}]]),
        #{dead_letter := none, max_attempts := infinity, lease_ms := infinity,
          max_bytes := 100000} = Q(info, [])
    end).

erase_takes_all(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [lists:seq(1, 100)]),
        {ok, [{1, 1, 1}, {2, 1, 2}, {3, 1, 3}]} = Q(take_many, [3]),
        ok = Q(bury, [2]),
        ok = Q(release, [3, 3600000]),
        ok = Q(erase, []),
        {error, not_leased} = Q(ack, [1]),
        {ok, []} = Q(peek_buried, [9]),
        {ok, 0} = Q(kick, [9]),
        nil = Q(pop, []),
        #{items := 0, ready := 0, leased := 0, buried := 0, delayed := 0, bytes := 0,
          next_id := 101} = Q(info, []),
        ok = Q(push, [new]),
        {ok, 101, 1, new} = Q(take, [])
    end).

info_tells(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        #{items := 0, bytes := 0, first_id := 1, next_id := 1} = Q(info, []),
        ok = Q(push_many, [lists:seq(1, 6)]),
        1 = Q(pop, []),
        {ok, [{2, 1, 2}, {3, 1, 3}, {4, 1, 4}, {5, 1, 5}]} = Q(take_many, [4]),
        ok = Q(bury, [3]),
        ok = Q(release, [4, 3600000]),
        ok = Q(ack, [5]),
        #{kind := queue, items := 4, ready := 1, leased := 1, buried := 1, delayed := 1,
          pushed := 6, popped := 1, acked := 1, dropped := 0, dead := 0, damaged := 0,
          first_id := 2, next_id := 7, waiting := 0, subscribers := 0, bytes := Bytes,
          oldest_ms := Oldest, head := Head, tail := Tail, next_tail := Tail, size := Size,
          file_size := Size, read_only := false, durability := default} = Q(info, []),
        true = Bytes > 0,
        true = is_integer(Oldest) andalso Oldest >= 0 andalso Oldest < 60000,
        true = Head < Tail
    end).

a_wrong_request_changes_nothing(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [[a, b, c]]),
        {ok, 1, 1, a} = Q(take, []),
        Before = state(Q),
        _ = [{Request, badarg} = {Request, Q(Function, Args)}
             || {Function, Args} = Request <- wrong_requests()],
        Before = state(Q),
        {error, not_leased} = Q(ack, [2]),
        {error, not_leased} = Q(ack, [4711]),
        {error, {not_leased, [2, 4711]}} = Q(ack_many, [[2, 4711]]),
        Before = state(Q),
        ok = Q(ack, [1])
    end).

state(Q) ->
    {Q(peek_many, [9]), maps:with([items, ready, leased, buried, delayed, waiting, subscribers,
                                   pushed, popped, acked], Q(info, []))}.

wrong_requests() ->
    [{push_many, [x]}, {push_many, [[x | y]]}, {push_many, [{x}]},
     {pop_wait, [-1]}, {pop_wait, [soon]}, {pop_wait, [1.0]}, {pop_wait, [1 bsl 64]},
     {pop_many, [0]}, {pop_many, [-1]}, {pop_many, [all]}, {pop_many, [1 bsl 64]},
     {pop_many, [1, -1]}, {pop_many, [1, never]},
     {take, [-1]}, {take, [soon]}, {take, [0, 0]}, {take, [0, -1]}, {take, [0, long]},
     {take_many, [0]}, {take_many, [1, -1]}, {take_many, [1, 0, 0]}, {take_many, [[1]]},
     {ack, [a]}, {ack, [-1]}, {ack, [1 bsl 64]}, {ack, [1.0]}, {ack, ["1"]},
     {ack_many, [1]}, {ack_many, [[1, a]]}, {ack_many, [[1 | 1]]}, {ack_many, [[1, -1]]},
     {release, [a]}, {release, [1, -1]}, {release, [1, soon]}, {release, [1, 1 bsl 64]},
     {release_many, [a]}, {release_many, [[1, b]]},
     {touch, [a]}, {bury, [-1]}, {kick, [0]}, {kick, [all]},
     {peek_many, [0]}, {peek_many, [-1]}, {peek_buried, [0]}, {peek_buried, [x]},
     {subscribe, [0]}, {subscribe, [-1]}, {subscribe, [many]}].

items_outlive_their_handles(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = Q(push_many, [[a, b, c]]),
        a = Q(pop, []),
        {ok, 2, 1, b} = Q(take, [])
    end),
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        %% its holder, a process of the first part, has ended
        ok = until(fun() -> Q(length, []) =:= 2 end),
        {ok, [{2, 2, b}, {3, 1, c}]} = Q(take_many, [9])
    end).

many_producers_keep_their_order(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        _ = emmap_test:in_parallel([fun() -> produce(Q, P, 200) end || P <- lists:seq(1, 16)]),
        {ok, Items} = Q(pop_many, [10000]),
        3200 = length(Items),
        [true = of_producer(P, Items) =:= lists:seq(1, 200) || P <- lists:seq(1, 16)]
    end).

produce(Q, P, N) ->
    [ok = Q(push, [{P, I}]) || I <- lists:seq(1, N)].

of_producer(P, Items) ->
    [N || {P1, N} <- Items, P1 =:= P].

%% Each consumer sees each producer's items in order, and together they see each once.
consumers_share_what_producers_push(Config) ->
    with(Config, ?FUNCTION_NAME, fun(Q) ->
        Consumers = [fun() -> consume(Q, []) end || _ <- lists:seq(1, 8)],
        Producers = [fun() -> produce(Q, P, 100) end || P <- lists:seq(1, 8)],
        Ender = fun() ->
            ok = until(fun() -> maps:get(popped, Q(info, [])) >= 800 end),
            ok = Q(push_many, [[last || _ <- Consumers]])
        end,
        Results = emmap_test:in_parallel([Ender | Producers] ++ Consumers),
        Got = lists:nthtail(9, Results),
        [true = of_producer(P, Items) =:= lists:sort(of_producer(P, Items))
         || Items <- Got, P <- lists:seq(1, 8)],
        true = lists:sort(lists:append(Got)) =:= [{P, N} || P <- lists:seq(1, 8),
                                                            N <- lists:seq(1, 100)]
    end).

consume(Q, Got) ->
    case Q(pop_wait, [?DEADLINE]) of
        {ok, last} -> lists:reverse(Got);
        {ok, Item} -> consume(Q, [Item | Got])
    end.

%%% What only the functions do.

compressed_items_come_out_as_they_went_in(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        Item = {zip, lists:duplicate(10000, a)},
        [ok = emmap_queue:push(Q, Item, Level) || Level <- lists:seq(0, 9)],
        #{bytes := Bytes} = emmap_queue:info(Q),
        true = Bytes < 10 * 20000,
        Item = emmap_queue:peek_front(Q),
        Item = emmap_queue:peek_back(Q),
        {ok, [{1, Item}]} = emmap_queue:peek_many(Q, 1),
        {ok, Id, 1, Item} = emmap_queue:take(Q),
        ok = emmap_queue:bury(Q, Id),
        {ok, [{Id, 1, Item}]} = emmap_queue:peek_buried(Q, 1),
        ok = emmap_queue:ack(Q, Id),
        Item = emmap_queue:try_pop(Q, fun(I) -> I end),
        {ok, [{Id3, 1, Item}]} = emmap_queue:take_many(Q, 1),
        ok = emmap_queue:ack(Q, Id3),
        {ok, [Item, Item]} = emmap_queue:pop_many(Q, 2),
        5 = emmap_queue:pop(Q, 0, fun(I, N) when I =:= Item -> {cont, N + 1} end),
        %% what only looks like one of these is an item like any other
        Alike = [{'$emmap_zip', <<1>>}, {'$emmap_zip', term_to_binary(x)}, {'$emmap_zip', a}],
        [ok = emmap_queue:push(Q, Like) || Like <- Alike],
        ok = emmap_queue:push_many(Q, Alike),
        {ok, Got} = emmap_queue:pop_many(Q, 6),
        Got = Alike ++ Alike
    end).

what_is_no_queue_is_badarg(Config) ->
    on(?config(client, Config), fun() ->
        C = {F, 1} = emmap:open_counters("no_queue", 1),
        {error, {wrong_kind, counters}} = emmap_queue:push(F, a),
        {error, {wrong_kind, counters}} = emmap_queue:open("no_queue", 0, []),
        {'EXIT', {badarg, _}} = (catch emmap_queue:push({a, b, c}, a)),
        {'EXIT', {badarg, _}} = (catch emmap_queue:pop(4711)),
        {'EXIT', {{wrong_kind, counters}, _}} = (catch emmap_queue:pop(F)),
        {'EXIT', {noproc, _}} = (catch emmap_queue:pop(nobody_of_that_name)),
        ok = emmap:close_counters(C),
        {error, {not_a, queue}} = emmap_queue:open("no_queue", 0, []),
        {error, enoent} = emmap_queue:push("no_such_file", a)
    end).

results_and_exceptions_are_as_documented(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        [{'EXIT', {badarg, _}} = (catch apply(emmap_queue, Function, [Q | Args]))
         || {Function, Args} <- [{push, [a, 10]}, {push, [a, -1]}, {peek, [0, no_fun]},
                                 {rpeek, [0, fun(_) -> ok end]}, {pop, [0, no_fun]},
                                 {try_pop, [fun() -> ok end]}]],
        ok = emmap_queue:close(Q),
        ok = emmap_queue:close(Q),
        [{error, closed} = apply(emmap_queue, Function, [Q | Args])
         || {Function, Args} <- [{push, [a]}, {push, [a, 1]}, {push_many, [[a]]}, {push_async, [a]},
                                 {enqueue, [a]}, {pop_wait, [0]}, {pop_many, [1]}, {take, []},
                                 {take_many, [1]}, {ack, [1]}, {ack_many, [[1]]}, {release, [1]},
                                 {release, [1, 1]}, {release_many, [[1]]}, {touch, [1]},
                                 {bury, [1]}, {kick, [1]}, {peek_buried, [1]}, {peek_many, [1]},
                                 {subscribe, [1]}, {erase, []}, {flush, []}, {sync, []},
                                 {barrier, []}]],
        [{'EXIT', {closed, _}} = (catch apply(emmap_queue, Function, [Q | Args]))
         || {Function, Args} <- [{pop, []}, {dequeue, []}, {pop_and_purge, []}, {peek_front, []},
                                 {peek_back, []}, {inspect, []}, {length, []}, {is_empty, []},
                                 {purge, []}, {info, []}, {metadata, []},
                                 {try_pop, [fun(I) -> I end]},
                                 {pop, [0, fun(_, N) -> {cont, N} end]},
                                 {peek, [0, fun(_, N) -> {cont, N} end]},
                                 {rpeek, [0, fun(_, N) -> {cont, N} end]}]]
    end).

folds_look_at_all(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        All = lists:seq(1, 1000),
        ok = emmap_queue:push_many(Q, All),
        {ok, Leased} = emmap_queue:take_many(Q, 5),
        ok = emmap_queue:release_many(Q, [Id || {Id, _, _} <- Leased, Id =/= 3]),
        Seen = lists:delete(3, All),
        Seen = lists:reverse(emmap_queue:peek(Q, [], fun collect/2)),
        Seen = emmap_queue:rpeek(Q, [], fun collect/2),
        [1, 2] = lists:reverse(emmap_queue:peek(Q, [], fun
            (4, Items) -> {halt, Items};
            (Item, Items) -> {cont, [Item | Items]}
        end)),
        Seen = lists:reverse(emmap_queue:pop(Q, [], fun collect/2)),
        0 = emmap_queue:length(Q),
        #{items := 1, leased := 1} = emmap_queue:info(Q)
    end).

collect(Item, Items) ->
    {cont, [Item | Items]}.

a_fold_stops_where_it_is_told_to(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 250)),
        Until = fun(120, S) -> {halt, S}; (Item, S) -> {cont, S + Item} end,
        7140 = emmap_queue:pop(Q, 0, Until),
        {ok, 120, 2, 120} = emmap_queue:take(Q),
        {ok, 121, 1, 121} = emmap_queue:take(Q),
        #{leased := 2, ready := 129} = emmap_queue:info(Q)
    end).

a_fold_that_fails_loses_nothing(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, [a, b, c]),
        {'EXIT', {because, _}} =
            (catch emmap_queue:pop(Q, 0, fun(a, S) -> {cont, S}; (b, _) -> error(because) end)),
        thrown = (catch emmap_queue:pop(Q, 0, fun(b, _) -> throw(thrown) end)),
        {ok, [b, c]} = emmap_queue:pop_many(Q, 9)
    end).

folds_by_name_take_all(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push_many(Q, lists:seq(1, 150)),
        Name = atom_to_list(folds_by_name_take_all),
        150 = length(emmap_queue:peek(Name, [], fun collect/2)),
        150 = length(emmap_queue:pop(Name, [], fun collect/2)),
        #{items := 0, acked := 150} = emmap_queue:info(Name)
    end).

the_names_of_old_work(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        nil = emmap_queue:peek_front(Q),
        nil = emmap_queue:peek_back(Q),
        nil = emmap_queue:inspect(Q),
        [ok = emmap_queue:enqueue(Q, Item) || Item <- [a, b, c, d, e, f]],
        a = emmap_queue:peek_front(Q),
        a = emmap_queue:inspect(Q),
        f = emmap_queue:peek_back(Q),
        a = emmap_queue:dequeue(Q),
        b = emmap_queue:pop_and_purge(Q),
        {got, c} = emmap_queue:try_dequeue(Q, fun(I) -> {got, I} end),
        {got, d} = emmap_queue:try_pop_and_purge(Q, fun(I) -> {got, I} end),
        {got, e} = emmap_queue:try_pop(Q, fun(I) -> {got, I} end),
        [false, false] = [emmap_queue:is_empty(Q), emmap_queue:purge(Q)],
        f = emmap_queue:pop(Q),
        [true, true] = [emmap_queue:is_empty(Q), emmap_queue:purge(Q)],
        [nil = emmap_queue:Try(Q, fun(I) -> {got, I} end)
         || Try <- [try_pop, try_dequeue, try_pop_and_purge]],
        [nil, nil] = [emmap_queue:dequeue(Q), emmap_queue:pop_and_purge(Q)],
        #{head := _, tail := _, next_tail := _, size := _} = emmap_queue:metadata(Q),
        #{kind := queue} = emmap:info(Q),
        ok = emmap_queue:flush(Q),
        ok = emmap_queue:sync(Q)
    end).

batches_and_casts(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        {ok, [ok, {ok, a}, empty, 0, ok]} =
            emmap:batch(Q, [{push, a}, {pop_wait, 0}, {pop_wait, 0}, length, sync]),
        {ok, [{error, badarg}]} = emmap:batch(Q, [{pop_wait, 1}]),
        [ok = emmap_queue:push_async(Q, N) || N <- lists:seq(1, 10000)],
        ok = emmap_queue:barrier(Q),
        10000 = emmap_queue:length(Q),
        {ok, Items} = emmap_queue:pop_many(Q, 20000),
        true = Items =:= lists:seq(1, 10000),
        ok = emmap:cast(Q, {ack, 4711}),
        {error, {casts, #{failed := 1, first := not_leased}}} = emmap_queue:barrier(Q),
        ok = emmap_queue:barrier(Q)
    end).

a_lost_connection_tells_of_lost_casts(Config) ->
    #{node := D} = ?config(daemon, Config),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        ok = emmap_queue:push(Q, kept),
        true = erlang:disconnect_node(D),
        _ = [ok = emmap_queue:push_async(Q, N) || N <- lists:seq(1, 10)],
        ok = until(fun() -> (catch emmap:ping()) =:= pong end),
        Lost = case emmap_queue:barrier(Q) of
                   ok -> 0;
                   {error, {casts, #{failed := 0, lost := N}}} -> N
               end,
        {ok, [kept | Casts]} = emmap_queue:pop_many(Q, 100),
        true = Casts =:= lists:seq(Lost + 1, 10)
    end).

a_file_goes_with_its_last_handle(Config) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    File = filename:join(Dir, "unlinked"),
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open("unlinked", 0, [auto_unlink]),
        {ok, Second} = emmap_queue:open("unlinked", 0, []),
        ok = emmap_queue:push(Q, a),
        ok = emmap_queue:close(Q),
        true = filelib:is_file(File),
        a = emmap_queue:pop(Second),
        ok = emmap_queue:close(Second),
        ok = until(fun() -> not filelib:is_file(File) end),
        {error, enoent} = emmap_queue:push("unlinked", b)
    end).

a_handle_ends_with_its_owner(Config) ->
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        Owner = spawn(fun() -> receive stop -> ok end end),
        {ok, Owned} = emmap_queue:open("a_handle_ends_with_its_owner", 0, [{owner, Owner}]),
        ok = emmap_queue:push(Owned, a),
        Owner ! stop,
        ok = until(fun() -> maps:get(handles, emmap_queue:info(Q)) =:= 1 end),
        {error, closed} = emmap_queue:push(Owned, b),
        {ok, [a]} = emmap_queue:pop_many(Q, 9)
    end).

a_file_that_is_made_has_its_mode(Config) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    on(?config(client, Config), fun() ->
        [begin
             {ok, Q} = emmap_queue:open(Name, 0, Options),
             ok = emmap_queue:close(Q),
             {ok, #file_info{mode = Full}} = file:read_file_info(filename:join(Dir, Name)),
             {Options, Mode} = {Options, Full band 8#777}
         end || {Name, Options, Mode} <- [{"plain", [], 8#600}, {"group", [{chmod, 8#640}], 8#640},
                                          {"group", [{chmod, 8#600}], 8#640}]]
    end).

another_daemon_may_be_asked(Config) ->
    Dir = filename:join(?config(dir, Config), "of_another_daemon"),
    ok = filelib:ensure_path(Dir),
    Daemon = #{node := D} = emmap_test:daemon(Config, #{data_dir => Dir}),
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open("elsewhere", 0, [{node, D}]),
        ok = emmap_queue:push(Q, a),
        {error, enoent} = emmap_queue:push("elsewhere", b),
        {ok, Id, 1, a} = emmap_queue:take(Q),
        ok = emmap_queue:ack(Q, Id),
        {error, {not_connected, 'nobody@localhost'}} =
            emmap_queue:open("elsewhere", 0, [{node, 'nobody@localhost'}]),
        ok = emmap_queue:close(Q)
    end),
    true = filelib:is_file(filename:join(Dir, "elsewhere")),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

a_queue_keeps_its_durability(Config) ->
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open("durable", 0, [{durability, sync}]),
        ok = emmap_queue:push(Q, a),
        ok = emmap_queue:close(Q),
        {ok, Again} = emmap_queue:open("durable", 0, []),
        #{durability := sync, items := 1} = emmap_queue:info(Again),
        {ok, Other} = emmap_queue:open("durable", 0, [{durability, default}]),
        #{durability := default} = emmap_queue:info(Again),
        [a, nil] = [emmap_queue:pop(H) || H <- [Other, Again]],
        [ok, ok] = [emmap_queue:close(H) || H <- [Other, Again]]
    end).

a_handle_is_of_its_node(Config) ->
    #{node := D} = ?config(daemon, Config),
    Other = emmap_test:node(Config, #{application => [{daemon, external}, {node, D}]}),
    Q = on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open("of_its_node", 0, []),
        ok = emmap_queue:push(Q, a),
        ok = persistent_term:put(a_handle_is_of_its_node, Q),
        Q
    end),
    on(Other, fun() ->
        [{'EXIT', {badarg, _}} = (catch apply(emmap_queue, Function, [Q | Args]))
         || {Function, Args} <- [{push, [b]}, {push_async, [b]}, {barrier, []}, {pop, []},
                                 {take, []}, {ack, [1]}, {length, []}, {subscribe, [1]},
                                 {pop, [0, fun(_, N) -> {cont, N} end]},
                                 {try_pop, [fun(I) -> I end]}, {close, []}]]
    end),
    on(?config(client, Config), fun() ->
        Kept = persistent_term:get(a_handle_is_of_its_node),
        {ok, [a]} = emmap_queue:pop_many(Kept, 9),
        ok = emmap_queue:close(Kept)
    end).

what_is_given_is_checked(Config) ->
    on(?config(client, Config), fun() ->
        [{'EXIT', {badarg, _}} = (catch emmap_queue:open("checked", 0, Options))
         || Options <- [[Option] || Option <- wrong_options()] ++ [no_list, [a | b]]],
        [{'EXIT', {badarg, _}} = (catch emmap_queue:open(Name, Size, []))
         || {Name, Size} <- [{"", 0}, {<<>>, 0}, {name, 0}, {"a\0b", 0}, {"checked", -1},
                             {"checked", a}, {"checked", 1.0}]],
        {'EXIT', {badarg, _}} = (catch emmap_queue:open("checked", 0, [fixed_size])),
        {error, enoent} = emmap_queue:push("checked", a)
    end).

wrong_options() ->
    [private, anon, truncate, nonsense, {nonsense, 1}, fit, {size, 1}, {max_items, 0},
     {max_items, -1}, {max_items, many}, {max_items, 1 bsl 64}, {max_bytes, 0}, {max_bytes, a},
     {max_attempts, 0}, {max_attempts, 1024}, {overflow, both}, {lease_ms, -1}, {lease_ms, 0},
     {dead_letter, a}, {dead_letter, ""}, {dead_letter, 1}, {register, "name"}, {register, emmap},
     {owner, me}, {chmod, 8#1000}, {durability, perhaps}].

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
        ok = gen_server:cast(Pid, "stray"),
        c = emmap_queue:pop(Pid),
        {error, {already_started, Pid}} = emmap_queue:start_link(jobs_of_mine, "tree", 0, []),
        ok = gen_server:stop(Pid),
        [] = [1 || #{name := Name} <- emmap:list(), filename:basename(Name) =:= <<"tree">>]
    end).

%%% What only messages do.

a_name_is_enough(Config) ->
    #{node := D} = ?config(daemon, Config),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) -> ok = emmap_queue:push(Q, a) end),
    on(?config(client, Config), fun() ->
        Name = "a_name_is_enough",
        {ok, 1, 1, a} = emmap_queue:take(Name),
        ok = emmap_queue:ack(Name, 1),
        ok = call(D, {push, Name, b}),
        ok = call(D, {push, list_to_binary(Name), c}),
        b = call(D, {pop, Name}),
        c = call(D, {pop, Name}),
        nil = call(D, {pop, Name}),
        {error, enoent} = call(D, {push, "never_made", a}),
        {error, eacces} = call(D, {push, "../outside", a})
    end).

a_batch_is_answered_in_order(Config) ->
    with_wire(Config, ?FUNCTION_NAME, fun(D, Id, Name) ->
        {ok, [ok, ok, {ok, 1, 1, a}, ok, b, nil, 0, ok]} =
            call(D, {batch, [{push, Id, a}, {push, Name, b}, {take, Id}, {ack, Name, 1}, {pop, Id},
                             {pop, Id}, {length, Id}, sync]}),
        {ok, [{error, badarg}, {error, badarg}, ok, {error, {unknown_request, pop}}]} =
            call(D, {batch, [{pop_wait, Id, 1}, {take, Id, infinity}, {push, Id, c}, {pop}]}),
        {ok, [{ok, c}, empty]} = call(D, {batch, [{pop_wait, Id, 0}, {pop_wait, Id, 0}]})
    end).

casts_are_done_in_order(Config) ->
    with_wire(Config, ?FUNCTION_NAME, fun(D, Id, _Name) ->
        [ok = gen_server:cast({emmap, D}, {push, Id, N}) || N <- lists:seq(1, 1000)],
        ok = gen_server:cast({emmap, D}, {ack, Id, 4711}),
        ok = gen_server:cast({emmap, D}, {pop, Id}),
        {ok, 1002, 1, not_leased} = call(D, {barrier, Id}),
        {ok, Items} = call(D, {pop_many, Id, 2000}),
        true = Items =:= lists:seq(2, 1000)
    end).

a_wrong_request_is_named(Config) ->
    with_wire(Config, ?FUNCTION_NAME, fun(D, Id, Name) ->
        [{error, {unknown_request, _}} = call(D, Request)
         || Request <- [{push, Id}, {push, Id, a, b, c, d}, {pop, Id, 1, 2}, pop, {take},
                        {dequeue, Id}, {move_in, Id, <<0:128>>, 1, 1, a}]],
        [{error, badarg} = call(D, Request)
         || Request <- [{push, {Id}, a}, {push, -1, a}, {push, [0, 1], a}, {push, <<>>, a},
                        {subscribe, Id, not_a_reference, 1}, {unsubscribe, Id, make_ref()},
                        {unsubscribe, Id, make_ref(), drop}, {release_many, Id, [1], twice},
                        {peek_many, Id, 1, 0}, {rpeek_many, Id, 1, a}]],
        {error, {bad_option, {max_items, 0}}} = call(D, {open_queue, Name, 0, [{max_items, 0}]}),
        {error, {bad_option, private}} = call(D, {open_queue, Name, 0, [private]}),
        {error, {wrong_kind, queue}} = call(D, {pread, Id, 0, 1}),
        {error, {wrong_kind, queue}} = call(D, {inc_counter, Name, 0}),
        {error, {wrong_kind, queue}} = call(D, {open_counters, Name, 1}),
        0 = call(D, {length, Id})
    end).

%% Around the longest message: what is taken in comes out in every way, and what would not is
%% refused.
an_item_that_fits_in_fits_out(Config) ->
    Max = 65536,
    Daemon = #{node := D} = emmap_test:daemon(Config, #{args => ["--max-frame", "65536"]}),
    on(?config(client, Config), fun() ->
        {ok, Id, _} = call(D, {open_queue, "edge", 0, []}),
        Taken = [Size || Size <- lists:seq(Max - 3000, Max, 40), edge(D, Id, sized(1, Size))],
        true = Taken =/= [],
        true = lists:max(Taken) < Max - 40,
        true = Taken =:= lists:seq(Max - 3000, lists:max(Taken), 40),
        #{items := 0, leased := 0} = call(D, {info, Id})
    end),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

edge(D, Id, Item) ->
    case call(D, {push, Id, Item}) of
        ok ->
            {ok, [{N, Item}]} = call(D, {peek_many, Id, 9}),
            {ok, [{N, Item}]} = call(D, {rpeek_many, Id, 9}),
            {ok, N, 1, Item} = call(D, {take, Id}),
            ok = call(D, {release, Id, N}),
            {ok, [{N, 2, Item}]} = call(D, {take_many, Id, 9}),
            ok = call(D, {bury, Id, N}),
            {ok, [{N, 2, Item}]} = call(D, {peek_buried, Id, 9}),
            {ok, 1} = call(D, {kick, Id, 1}),
            Sub = make_ref(),
            ok = call(D, {subscribe, Id, Sub, 1}),
            receive {emmap_queue, Sub, N, 1, Item} -> ok after ?DEADLINE -> error(deadline) end,
            ok = call(D, {unsubscribe, Id, Sub}),
            {ok, [Item]} = call(D, {pop_many, Id, 9}),
            true;
        {error, {limit, max_frame}} ->
            false
    end.

damaged_requests_hurt_only_their_sender(Config) ->
    rand:seed(exsss, 3),
    with_wire(Config, ?FUNCTION_NAME, fun(D, Id, _) -> ok = call(D, {push, Id, kept}) end),
    Name = "damaged_by_hand",
    Sender = emmap_wire:pid('sender@localhost'),
    Frames = [iolist_to_binary([112, term_to_binary({6, Sender, '', emmap}),
                                term_to_binary({'$gen_call', {Sender, 1}, Request})])
              || Request <- [{open_queue, Name, 0, [{max_items, 9}, {dead_letter, "x"}]},
                             {push_many, Name, [a, 1 bsl 70, <<"binary">>, [1, 2, 3]]},
                             {take_many, Name, 3, 1000, default},
                             {ack_many, Name, [1, 2, 1 bsl 40]},
                             {release_many, Name, [1, 2], unseen}]],
    [send_frame(damaged(Frame), Config) || Frame <- Frames, _ <- lists:seq(1, 60)],
    [send_frame(binary:part(Frame, 0, N), Config)
     || Frame <- Frames, N <- lists:seq(60, byte_size(Frame) - 1, 7)],
    on(?config(client, Config), fun() ->
        #{node := D} = ?config(daemon, Config),
        {ok, kept} = call(D, {pop_wait, atom_to_list(damaged_requests_hurt_only_their_sender), 0}),
        pong = call(D, ping)
    end).

damaged(Bytes) ->
    At = rand:uniform(byte_size(Bytes)) - 1,
    <<Before:At/binary, _, After/binary>> = Bytes,
    <<Before/binary, (rand:uniform(256) - 1), After/binary>>.

send_frame(Bytes, Config) ->
    #{port := Port} = ?config(daemon, Config),
    Name = list_to_atom(emmap_test:unique("by_hand") ++ "@localhost"),
    Socket = emmap_wire:join(Port, Name, ?config(cookie, Config)),
    _ = gen_tcp:send(Socket, Bytes),
    ok = gen_tcp:close(Socket).

giant_lists_are_refused_or_done(Config) ->
    with_wire(Config, ?FUNCTION_NAME, fun(D, Id, _) ->
        Many = lists:seq(1, 200000),
        ok = call(D, {push_many, Id, Many}),
        {error, badarg} = call(D, {push_many, Id, Many ++ improper}),
        200000 = call(D, {length, Id}),
        {error, {not_leased, Refused}} = call(D, {ack_many, Id, Many}),
        true = Refused =:= Many,
        Taken = [call(D, {take_many, Id, 1 bsl 63}) || _ <- lists:seq(1, 20)],
        true = [[{N, 1, N} || N <- lists:seq(From, From + 9999)]
                || From <- lists:seq(1, 200000, 10000)] =:= [Items || {ok, Items} <- Taken],
        ok = call(D, {release_many, Id, Many, unseen}),
        true = Many =:= lists:append([Items || _ <- lists:seq(1, 20),
                                               {ok, Items} <- [call(D, {pop_many, Id, 200000})]])
    end).

%%% Life.

two_nodes_share_a_queue(Config) ->
    #{node := D} = ?config(daemon, Config),
    Other = emmap_test:node(Config),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) -> ok = emmap_queue:push(Q, from_one) end),
    on(Other, fun() ->
        {ok, Id, #{exist := true, length := 1}} =
            call(D, {open_queue, "two_nodes_share_a_queue", 0, []}),
        from_one = call(D, {pop, Id}),
        ok = call(D, {push, Id, from_other})
    end),
    with_handle(Config, ?FUNCTION_NAME, fun(Q) ->
        from_other = emmap_queue:pop(Q),
        #{clients := 2, handles := 2} = emmap_queue:info(Q)
    end).

a_second_daemon_is_told_who_has_the_file(Config) ->
    #{data_dir := Dir, node := D} = ?config(daemon, Config),
    Second = #{node := D2} = emmap_test:daemon(Config, #{data_dir => Dir}),
    with_handle(Config, ?FUNCTION_NAME, fun(_) ->
        {error, {locked, Who}} = call(D2, {open_queue, atom_to_list(?FUNCTION_NAME), 0, []}),
        true = Who =:= unknown orelse Who =:= atom_to_binary(D)
    end),
    _ = emmap_test:stop_daemon(Second),
    ok.

a_file_that_is_no_queue_is_untouched(Config) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open("sound", 0, []),
        ok = emmap_queue:push(Q, a),
        ok = emmap_queue:close(Q)
    end),
    {ok, Sound} = file:read_file(filename:join(Dir, "sound")),
    Files = [{"text", <<"a text of somebody's\n">>, {not_a, queue}},
             {"zeros", binary:copy(<<0>>, 65536), {not_a, queue}},
             {"cut", binary:part(Sound, 0, 100), damaged},
             {"cut later", binary:part(Sound, 0, 20000), damaged},
             {"flipped", flipped(20, Sound), damaged}],
    [ok = file:write_file(filename:join(Dir, Name), Bytes) || {Name, Bytes, _} <- Files],
    on(?config(client, Config), fun() ->
        [{Name, Expected} = {Name, refusal(emmap_queue:open(Name, 0, []))}
         || {Name, _, Expected} <- Files]
    end),
    [{ok, Bytes} = file:read_file(filename:join(Dir, Name)) || {Name, Bytes, _} <- Files].

refusal({error, {damaged, Text}}) when is_binary(Text), Text =/= <<>> -> damaged;
refusal({error, Reason}) -> Reason.

flipped(At, Bytes) ->
    <<Before:At/binary, Byte, After/binary>> = Bytes,
    <<Before/binary, (Byte bxor 1), After/binary>>.

a_full_disk_refuses_pushes_only(Config) ->
    Dir = filename:join(?config(dir, Config), "full_queue"),
    ok = filelib:ensure_path(Dir),
    [] = os:cmd("mount -t tmpfs -o size=1m none " ++ Dir),
    try
        Daemon = #{node := D} = emmap_test:start_daemon(Config, #{data_dir => Dir}),
        on(?config(client, Config), fun() -> on_full_disk(D) end),
        _ = emmap_test:stop_daemon(Daemon)
    after
        os:cmd("umount -l " ++ Dir)
    end.

on_full_disk(D) ->
    {ok, Q, _} = call(D, {open_queue, "q", 0, []}),
    Item = sized(1, 3000),
    N = fill(D, Q, Item, 0),
    true = N > 100,
    {error, enospc} = call(D, {push, Q, Item}),
    {error, enospc} = call(D, {push_many, Q, [small, Item]}),
    N = call(D, {length, Q}),
    {error, enospc} = call(D, {open_queue, "another", 0, []}),
    {ok, 1, 1, Item} = call(D, {take, Q}),
    ok = call(D, {ack, Q, 1}),
    {ok, [{2, 1, Item}, {3, 1, Item}]} = call(D, {take_many, Q, 2}),
    ok = call(D, {release, Q, 2}),
    ok = call(D, {bury, Q, 3}),
    {ok, 1} = call(D, {kick, Q, 1}),
    {ok, Items} = call(D, {pop_many, Q, 1000}),
    true = length(Items) =:= N - 1,
    nil = call(D, {pop, Q}),
    ok = until(fun() -> call(D, {push, Q, Item}) =:= ok end),
    Item = call(D, {pop, Q}),
    #{damaged := 0, read_only := false} = call(D, {info, Q}).

fill(D, Q, Item, N) ->
    case call(D, {push, Q, Item}) of
        ok -> fill(D, Q, Item, N + 1);
        {error, enospc} -> N
    end.

%%% Internal.

with_handle(Config, Case, Fun) ->
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open(atom_to_list(Case), 0, []),
        Fun(Q),
        ok = emmap_queue:close(Q)
    end).

with_wire(Config, Case, Fun) ->
    #{node := D} = ?config(daemon, Config),
    on(?config(client, Config), fun() ->
        Name = atom_to_list(Case),
        {ok, Id, _} = call(D, {open_queue, Name, 0, []}),
        Fun(D, Id, Name),
        ok = call(D, {close, Id})
    end).
