-module(emmap_pieces_tests).
-include_lib("eunit/include/eunit.hrl").

cuts_test_() ->
    [?_assertEqual(Pieces, emmap_pieces:cut(Pos, Len, Size))
     || {Pos, Len, Size, Pieces} <- [{0, 0, 4, []},
                                     {0, 3, 4, [{0, 3}]},
                                     {0, 4, 4, [{0, 4}]},
                                     {0, 5, 4, [{0, 4}, {4, 1}]},
                                     {7, 12, 4, [{7, 4}, {11, 4}, {15, 4}]}]].

the_pieces_are_the_whole_test() ->
    Cuts = [{Pos, Len, emmap_pieces:cut(Pos, Len, Size)}
            || Pos <- [0, 1, 100], Len <- lists:seq(0, 40), Size <- [1, 7, 8, 40, 41]],
    lists:foreach(fun({Pos, Len, Pieces}) -> is_whole(Pos, Len, Pieces) end, Cuts).

is_whole(Pos, Len, Pieces) ->
    ?assertEqual(lists:seq(Pos, Pos + Len - 1),
                 lists:append([lists:seq(P, P + L - 1) || {P, L} <- Pieces])).
