-module(emmap_weight_tests).
-include_lib("eunit/include/eunit.hrl").

big() -> binary:copy(<<1>>, 100000).

what_is_short_both_ways_travels_with_others_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Request])),
      ?_assertMatch({small, Bytes} when Bytes < 8192, emmap_weight:of_request(Request))}
     || Request <- [ping, {info, 7}, {inc_counter, 7, 0, 1}, {push, 7, item}, {pread, 7, 0, 100},
                    {pop, 7}, {pop_wait, 7, infinity}, {take, 7}, {take, 7, 0, default},
                    {peek_many, 7, 1}, {ack, <<"name">>, 9}, {ack_many, 7, [1, 2, 3]},
                    {batch, [{push, 7, a}, {pop_wait, 7, 0}]}]].

long_messages_go_alone_test_() ->
    [?_assertMatch({out, Bytes} when Bytes >= 100000, emmap_weight:of_request(Request))
     || Request <- [{push, 7, big()}, {push_many, 7, [big(), small]}, {pwrite, 7, 0, big()},
                    {batch, [{push, 7, big()}, {pop_wait, 7, 0}]}]].

long_answers_go_alone_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Request])),
      ?_assertMatch({in, Bytes} when Bytes > 8192, emmap_weight:of_request(Request))}
     || Request <- [{pread, 7, 0, 100000}, {pread, 7, [{0, 50000}, {9, 50000}]}, {pop_many, 7, 100},
                    {take_many, 7, 100, 0, infinity}, {peek_many, 7, 100}, {rpeek_many, 7, 100, 5},
                    {peek_buried, 7, 100}, {pop_many, 7, 1 bsl 200},
                    {batch, [{pop_wait, 7, 0} || _ <- lists:seq(1, 100)]}]].

%% Sixteen of them leave room for other requests in an envelope.
pops_weigh_more_than_they_say_test() ->
    {small, Push} = emmap_weight:of_request({push, 7, a}),
    {small, Pop} = emmap_weight:of_request({pop_wait, 7, 0}),
    ?assert(Pop > 5 * Push).

what_has_answers_without_bound_may_go_alone_test_() ->
    [?_assertMatch({in, _}, emmap_weight:alone(Request, {small, 1024}))
     || Request <- [{pop, 7}, {pop_wait, 7, 0}, {take, 7}, {peek_many, 7, 1}]].

what_changes_something_before_it_fails_is_not_sent_again_test_() ->
    [?_assertEqual(none, emmap_weight:alone(Request, {small, 1024}))
     || Request <- [ping, {push, 7, a}, {batch, [{pop_wait, 7, 0}]}, {ack_many, 7, [1]},
                    {release_many, 7, [1]}]].

what_was_alone_is_not_sent_again_test() ->
    Request = {pop_many, 7, 100},
    ?assertEqual(none, emmap_weight:alone(Request, emmap_weight:of_request(Request))).

%% The daemon says what is wrong with them.
what_makes_no_sense_has_a_weight_too_test_() ->
    [?_assertMatch({small, _}, emmap_weight:of_request(Request))
     || Request <- [{}, {pop_many, 7}, {pop_many, 7, all}, {peek_many, 7, -1}, {batch, all},
                    {batch, [a | b]}, {batch, [ping, {}, 17]}, {pread, 7, [{0, 1} | x]},
                    {pread, 7, x}, {take}]].
