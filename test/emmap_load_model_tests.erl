-module(emmap_load_model_tests).
-include_lib("eunit/include/eunit.hrl").

%% What was there, and changes before (at 100) and after a sync (at 200).
base() ->
    #{{default, queue} => [{4, old(1)}, {6, old(2)}], {default, dead} => [old(0)],
      {default, counters} => [10, 20], {default, region} => [{{page, 1}, [{5, 511}]}],
      {default, blocks} => [{0, old(3)}, {1, old(4)}, {5, old(5)}], new => []}.

events() ->
    [{done, default, old(1), 100}, {pushed, default, new(1), 100}, {pushed, default, new(2), 300},
     {done, default, new(1), 300}, {pushed, default, new(3), 400},
     {perhaps_pushed, default, new(4)},
     {added, default, 0, 3, 100}, {added, default, 0, 4, 300}, {perhaps_added, default, 1, 2},
     {wrote, default, {page, 1}, 6, 100}, {wrote, default, {page, 1}, 7, 300},
     {perhaps_wrote, default, {page, 1}, 8}, {created, "new.one"},
     {stored, default, new(5), 2, 100}, {freed, default, old(3), 100},
     {stored, default, new(6), 3, 300}, {freed, default, new(5), 300},
     {perhaps_stored, default, new(7)}, {perhaps_freed, default, old(4)}]
        ++ [{synced, {default, Kind}, 200} || Kind <- [queue, counters, region, blocks]].

old(N) -> {{1, 1}, N}.
new(N) -> {{2, 1}, N}.

found() ->
    found([{6, old(2)}, {8, new(2)}, {9, new(3)}], [old(0)], [17, 20], [{7, 511}]).

found(Queue, Dead, Counters, Words) ->
    #{{default, queue} => Queue, {default, dead} => Dead, {default, counters} => Counters,
      {default, region} => [{{page, 1}, Words}],
      {default, blocks} => [{1, old(4)}, {3, new(6)}, {5, old(5)}], new => ["new.one"]}.

check(Crash, Found) ->
    emmap_load_model:check(Crash, base(), events(), Found).

all_that_was_acknowledged_test() ->
    ok = check(kill, found()),
    ok = check(power, found()),
    ?assertEqual(0, emmap_load_model:lost(base(), events(), found())).

what_was_under_way_may_be_there_test() ->
    ok = check(kill, (found())#{{default, blocks} => [{3, new(6)}, {5, old(5)}, {6, new(7)}]}),
    Found = found([{6, old(2)}, {8, new(2)}, {9, new(3)}, {10, new(4)}], [old(0)], [17, 22],
                  [{8, 100}, {7, 411}]),
    ok = check(kill, Found).

power_may_take_what_was_not_durable_test_() ->
    [?_test(begin
                ok = check(power, Found),
                ?assertEqual(Lost, emmap_load_model:lost(base(), events(), Found)),
                ?assertError(_, check(kill, Found))
            end)
     || {Lost, Found} <- [{1, (found())#{{default, queue} => [{6, old(2)}, {8, new(2)}]}},
                          {2, (found())#{{default, queue} => [{6, old(2)}]}},
                          {1, (found())#{{default, queue} => [{6, old(2)}, {7, new(1)}, {8, new(2)},
                                                              {9, new(3)}]}},
                          {4, (found())#{{default, counters} => [13, 20]}},
                          {1, (found())#{{default, blocks} => [{5, old(5)}]}},
                          {1, (found())#{{default, blocks} => [{2, new(5)}, {3, new(6)}, {5, old(5)}]}},
                          {0, (found())#{{default, region} => [{{page, 1}, [{6, 1}, {7, 510}]}]}}]].

faults() ->
    [{{default, queue}, [{8, new(2)}, {9, new(3)}]},                         % an item is gone
     {{default, queue}, [{6, old(2)}, {9, new(3)}]},                         % one before another
     {{default, queue}, [{4, old(1)}, {6, old(2)}, {8, new(2)}, {9, new(3)}]}, % a pop is undone
     {{default, queue}, [{6, old(2)}, {8, new(2)}, {9, new(3)}, {10, new(3)}]}, % twice
     {{default, queue}, [{6, old(2)}, {8, new(3)}, {9, new(2)}]},            % the wrong order
     {{default, queue}, [{7, old(2)}, {8, new(2)}, {9, new(3)}]},            % another number
     {{default, queue}, [{6, old(2)}, {8, new(2)}, {9, new(3)}, {10, new(9)}]}, % nobody's
     {{default, dead}, []},
     {{default, dead}, [old(0), old(1)]},                                    % it was done
     {{default, counters}, [12, 20]},
     {{default, counters}, [18, 20]},
     {{default, counters}, [17, 23]},
     {{default, region}, [{{page, 1}, [{7, 510}, {5, 1}]}]},                 % an old word
     {{default, region}, [{{page, 1}, [{7, 510}, {9, 1}]}]},                 % nobody's
     {{default, blocks}, [{3, new(6)}]},                                     % a block is gone
     {{default, blocks}, [{0, old(3)}, {3, new(6)}, {5, old(5)}]},           % a free is undone
     {{default, blocks}, [{2, new(6)}, {5, old(5)}]},                        % another address
     {{default, blocks}, [{3, new(6)}, {4, new(6)}, {5, old(5)}]},           % twice
     {{default, blocks}, [{3, new(6)}, {5, old(5)}, {6, new(9)}]},           % nobody's
     {new, []}].

each_fault_is_found_test_() ->
    [?_assertError(_, check(Crash, (found())#{What => Content}))
     || {What, Content} <- faults(), Crash <- [kill, power]].

an_answer_that_got_lost_took_its_item_along_test() ->
    Found = (found())#{{default, queue} => [{8, new(2)}, {9, new(3)}]},
    ok = emmap_load_model:check(kill, base(), [{unknown, default, 1} | events()], Found).

of_a_durable_object_all_is_there_test() ->
    Durable = fun(Map) ->
        maps:from_list([{case O of {default, Kind} -> {sync, Kind}; _ -> O end, Content}
                        || {O, Content} <- maps:to_list(Map)])
    end,
    Events = [setelement(2, E, sync) || E <- events(), element(2, E) =:= default],
    ok = emmap_load_model:check(power, Durable(base()), Events, Durable(found())),
    Short = (found())#{{default, queue} => [{6, old(2)}, {8, new(2)}]},
    ?assertError(_, emmap_load_model:check(power, Durable(base()), Events, Durable(Short))).
