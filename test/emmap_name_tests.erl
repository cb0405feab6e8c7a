-module(emmap_name_tests).
-include_lib("eunit/include/eunit.hrl").

names_of_an_own_daemon_are_absolute_test() ->
    {ok, Dir} = file:get_cwd(),
    Expected = unicode:characters_to_binary(filename:join(Dir, "jobs")),
    ?assertEqual(Expected, emmap_name:to_wire("jobs", own)),
    ?assertEqual(Expected, emmap_name:to_wire(<<"jobs">>, own)),
    ?assertEqual(<<"/jobs">>, emmap_name:to_wire("/jobs", own)).

names_of_others_are_left_alone_test() ->
    ?assertEqual(<<"jobs">>, emmap_name:to_wire("jobs", other)),
    ?assertEqual(<<"../jobs">>, emmap_name:to_wire(<<"../jobs">>, other)).

names_are_utf8_test_() ->
    [?_assertEqual(<<"gr", 195, 188, 195, 159, "e">>, emmap_name:to_wire("gr\374\337e", other)),
     ?_assertEqual(<<228, 187, 149, 228, 186, 139>>, emmap_name:to_wire([16#4ed5, 16#4e8b], other)),
     {"bytes stay bytes", ?_assertEqual(<<255, 254>>, emmap_name:to_wire(<<255, 254>>, other))}].

what_is_no_name_is_badarg_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Name])),
      ?_assertEqual(badarg, emmap_name:to_wire(Name, own))}
     || Name <- [[], <<>>, jobs, 7, {a}, "a\0b", <<"a", 0, "b">>, ["deep", "list"], [-1],
                 [16#d800], [16#110000], "improper" ++ tail]].
