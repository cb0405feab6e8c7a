-module(emmap_options_tests).
-include_lib("eunit/include/eunit.hrl").

every_option_of_a_region_is_known_test_() ->
    Flags = [read, write, create, truncate, shared, private, anon, fit, fixed_size, auto_unlink,
             sync, shared_validate, direct, populate, nonblock, noreserve, uninitialized, hugetlb,
             huge_2mb, huge_1gb, nocache, lock, nolock, debug],
    Pairs = [{size, 0}, {max_inc_size, 1}, {chmod, 8#644}, {durability, sync},
             {durability, default}, {owner, self()}, {node, 'a@b'}],
    [{lists:flatten(io_lib:format("~0p", [Option])),
      ?_assertEqual(ok, emmap_options:check(region, [Option]))}
     || Option <- Flags ++ Pairs ++ [{F, Bool} || F <- Flags, Bool <- [true, false]]].

what_is_wrong_is_named_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Option])),
      ?_assertEqual({bad_option, Option}, emmap_options:check(region, [read, Option, write]))}
     || Option <- [fixed, {address, 4096}, {size, -1}, {size, a}, {max_inc_size, 0},
                   {chmod, 8#1000}, {durability, often}, {owner, me}, {node, nowhere},
                   {read, maybe}, nothing, {nothing, false}, {nothing, true}, 17, "read", {}]].

options_that_are_no_list_are_named_test_() ->
    [?_assertEqual({bad_option, read}, emmap_options:check(region, read)),
     ?_assertEqual({bad_option, tail}, emmap_options:check(region, [read | tail]))].

counters_take_few_options_test_() ->
    [?_assertEqual(ok, emmap_options:check(counters, [read, auto_unlink, {chmod, 8#600},
                                                      {durability, sync}, {owner, self()},
                                                      {node, 'a@b'}])),
     ?_assertEqual({bad_option, write}, emmap_options:check(counters, [write])),
     ?_assertEqual({bad_option, {size, 8}}, emmap_options:check(counters, [{size, 8}]))].

the_daemon_is_not_told_which_it_is_test() ->
    Options = [read, {node, 'a@b'}, write],
    ?assertEqual('a@b', emmap_options:node(Options)),
    ?assertEqual(default, emmap_options:node([read])),
    ?assertEqual([read, write], emmap_options:for_daemon(Options)).

opening_again_neither_makes_nor_sizes_a_file_test() ->
    Given = [create, {truncate, true}, {size, 5}, fit, fixed_size, {chmod, 8#600},
             write, {max_inc_size, 7}, {owner, self()}, {populate, false}],
    ?assertEqual({ok, [write, {max_inc_size, 7}, {owner, self()}]},
                 emmap_options:reopening(Given)).

what_ended_with_the_daemon_is_never_opened_again_test_() ->
    [?_assertEqual(never, emmap_options:reopening([write, Option]))
     || Option <- [private, anon, auto_unlink, {private, true}]].

an_option_switched_off_is_as_if_not_there_test() ->
    ?assertEqual({ok, [write]}, emmap_options:reopening([write, {private, false}])).
