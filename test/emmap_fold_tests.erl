-module(emmap_fold_tests).
-include_lib("eunit/include/eunit.hrl").

items(N, Size) ->
    [{Id, 1, binary:copy(<<1>>, Size)} || Id <- lists:seq(1, N)].

%% About a megabyte at a time, or a hundred.
many_small_ones_test() ->
    ?assertEqual(100, emmap_fold:next_many(10, items(10, 10))),
    ?assertEqual(100, emmap_fold:next_many(100, items(100, 10))).

few_big_ones_test() ->
    ?assertEqual(10, emmap_fold:next_many(10, items(10, 100000))),
    ?assertEqual(2, emmap_fold:next_many(10, items(10, 500000))).

one_giant_test() ->
    ?assertEqual(1, emmap_fold:next_many(10, items(1, 5000000))).

they_become_more_again_step_by_step_test() ->
    ?assertEqual(10, emmap_fold:next_many(1, items(1, 10))),
    ?assertEqual(100, emmap_fold:next_many(10, items(10, 10))).
