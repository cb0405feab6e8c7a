-module(emmap_cursor_tests).
-include_lib("eunit/include/eunit.hrl").

%% With the cursor at 10 of 100.
places_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Where])),
      ?_assertEqual(Place, emmap_cursor:place(Where, 10, 100))}
     || {Where, Place} <- [{0, 0}, {42, 42}, {bof, 0}, {cur, 10}, {eof, 100},
                           {{bof, 5}, 5}, {{cur, 5}, 15}, {{cur, -5}, 5},
                           {{eof, 4}, 96}, {{eof, -4}, 96}, {{eof, 0}, 100},
                           {-1, -1}, {{bof, -1}, -1},
                           {middle, badarg}, {{bof, a}, badarg}, {{1, 2}, badarg}, {"", badarg}]].

lines_end_with_a_newline_alone_test_() ->
    [?_assertEqual(Shown, emmap_cursor:line(Stored))
     || {Stored, Shown} <- [{<<"a\r\n">>, <<"a\n">>}, {<<"a\n">>, <<"a\n">>},
                            {<<"last">>, <<"last">>}, {<<"\r\n">>, <<"\n">>}, {<<"\n">>, <<"\n">>},
                            {<<"a\r">>, <<"a\r">>}, {<<"a\rb\n">>, <<"a\rb\n">>},
                            {<<"a\r\r\n">>, <<"a\r\n">>}]].
