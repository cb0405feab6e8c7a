-module(emmap_item_tests).
-include_lib("eunit/include/eunit.hrl").

items() ->
    [nil, [], {a, "b", <<"c">>, 1.5, #{d => [e]}}, fun erlang:node/0, self(),
     lists:duplicate(1000, same), {'$emmap_zip', <<>>}, {'$emmap_zip', <<"junk">>},
     {'$emmap_zip', term_to_binary(x)}, {'$emmap_zip', term_to_binary({'$emmap_zip', <<1>>})},
     {'$emmap_zip', not_binary}, {'$emmap_zip'}].

every_item_comes_out_as_it_went_in_test_() ->
    [?_assertEqual(Item, emmap_item:unpack(emmap_item:pack(Item))) || Item <- items()].

and_by_every_level_test_() ->
    [?_assertEqual(Item, emmap_item:unpack(emmap_item:pack(Item, Level)))
     || Item <- items(), Level <- lists:seq(0, 9)].

what_is_not_compressed_travels_as_it_is_test() ->
    ?assertEqual({mail, 7}, emmap_item:pack({mail, 7})),
    ?assertEqual({'$emmap_zip', not_binary}, emmap_item:pack({'$emmap_zip', not_binary})).

compressing_makes_it_shorter_test() ->
    Item = lists:duplicate(10000, again),
    {'$emmap_zip', Bin} = emmap_item:pack(Item, 9),
    ?assert(byte_size(Bin) < erlang:external_size(Item) div 10).

%% Pushed by someone else, by a plain message.
what_only_looks_compressed_stays_as_it_is_test_() ->
    [?_assertEqual({'$emmap_zip', Bin}, emmap_item:unpack({'$emmap_zip', Bin}))
     || Bin <- [<<>>, <<"junk">>, <<131>>, <<131, 104, 255>>,
                binary:part(term_to_binary(lists:seq(1, 100)), 0, 50)]].
