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
    ?assertEqual([read, write], emmap_options:for_daemon(Options, own)).

opening_again_neither_makes_nor_sizes_a_file_test() ->
    Given = [create, {truncate, true}, {size, 5}, fit, fixed_size, {chmod, 8#600},
             write, {max_inc_size, 7}, {owner, self()}, {populate, false}],
    ?assertEqual({ok, [fixed_size, write, {max_inc_size, 7}, {owner, self()}]},
                 emmap_options:reopening(region, Given)).

what_ended_with_the_daemon_is_never_opened_again_test_() ->
    [?_assertEqual(never, emmap_options:reopening(region, [write, Option]))
     || Option <- [private, anon, auto_unlink, {private, true}]].

an_option_switched_off_is_as_if_not_there_test() ->
    ?assertEqual({ok, [write]}, emmap_options:reopening(region, [write, {private, false}])).

queues_keep_their_options_in_the_file_test() ->
    Given = [{max_items, 5}, {register, jobs}, {chmod, 8#600}, {owner, self()}, fixed_size, write],
    ?assertEqual({ok, [{owner, self()}]}, emmap_options:reopening(queue, Given)),
    ?assertEqual(never, emmap_options:reopening(queue, [auto_unlink])),
    ?assertEqual(never, emmap_options:reopening(queue, [{auto_unlink, true}])),
    ?assertEqual({ok, []}, emmap_options:reopening(queue, [{auto_unlink, false}])).

every_option_of_a_queue_is_known_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Option])),
      ?_assertEqual(ok, emmap_options:check(queue, [Option]))}
     || Option <- [fixed_size, auto_unlink, {chmod, 8#644}, {durability, sync}, {owner, self()},
                   {node, 'a@b'}, {max_items, 1}, {max_items, infinity}, {max_bytes, 1 bsl 40},
                   {max_bytes, infinity}, {overflow, reject}, {overflow, drop_head}, {lease_ms, 1},
                   {lease_ms, infinity}, {max_attempts, 1023}, {max_attempts, infinity},
                   {dead_letter, "dead"}, {dead_letter, <<"dead">>}, {dead_letter, none},
                   {register, jobs}, {register, none}, read, write, create, shared, lock, nolock,
                   debug, nocache, {read, true}, {auto_unlink, false}]].

what_is_no_option_of_a_queue_is_named_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Option])),
      ?_assertEqual({bad_option, Option}, emmap_options:check(queue, [{max_items, 9}, Option]))}
     || Option <- [private, anon, truncate, fit, {size, 1}, {max_inc_size, 1}, direct, populate,
                   {max_items, 0}, {max_items, many}, {max_bytes, 0}, {overflow, drop_tail},
                   {lease_ms, 0}, {max_attempts, 0}, {max_attempts, 1024}, {dead_letter, dead},
                   {dead_letter, ""}, {register, "jobs"}, {private, true}, jobs]].

options_of_queues_are_of_queues_alone_test_() ->
    [?_assertEqual({bad_option, Option}, emmap_options:check(Kind, [Option]))
     || Kind <- [region, counters],
        Option <- [{max_items, 1}, {register, jobs}, {dead_letter, none}, {lease_ms, 1}]].

%% As every name of a file: absolute for the daemon of this node, else as it is; UTF-8.
the_name_of_the_dead_letter_queue_is_a_name_test() ->
    Own = unicode:characters_to_binary(filename:absname("tot.ö")),
    ?assertEqual([{dead_letter, Own}], emmap_options:for_daemon([{dead_letter, "tot.ö"}], own)),
    ?assertEqual([{dead_letter, <<"tot.ö"/utf8>>}],
                 emmap_options:for_daemon([{dead_letter, "tot.ö"}], other)),
    ?assertEqual([{dead_letter, none}], emmap_options:for_daemon([{dead_letter, none}], own)).
