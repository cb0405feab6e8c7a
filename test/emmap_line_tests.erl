-module(emmap_line_tests).
-include_lib("eunit/include/eunit.hrl").

-define(KIB, 1024).

%% Processes here are names for bookkeeping only.
pids() ->
    [list_to_pid("<0." ++ integer_to_list(N) ++ ".0>") || N <- [901, 902, 903]].

item(Kind, Kib, Pid, Request) ->
    {Kind, Kib * ?KIB, {Pid, make_ref(), Request}}.

added(Items) ->
    lists:foldl(fun(Item, Lines) -> emmap_line:add(Item, 0, Lines) end, emmap_line:new(), Items).

%% The requests that leave now.
leaving(Sent, Lines) ->
    case emmap_line:next(Sent, Lines) of
        none -> {[], Lines};
        {_Side, {_, _, {_, _, Request}}, Rest} ->
            {Others, End} = leaving(Sent, Rest),
            {[Request | Others], End}
    end.

nothing_leaves_an_empty_line_test() ->
    ?assertEqual(none, emmap_line:next(0, emmap_line:new())),
    ?assert(emmap_line:is_empty(emmap_line:new())).

each_side_has_256_kib_under_way_test() ->
    [A, B, C] = pids(),
    Lines = added([item(out, 128, A, a), item(out, 128, B, b), item(out, 128, C, c)]),
    {Left, After} = leaving(0, Lines),
    ?assertEqual([a, b], Left),
    ?assertEqual([c], element(1, leaving(0, emmap_line:done({out, 128 * ?KIB}, After)))).

the_other_side_has_room_of_its_own_test() ->
    [A, B, _] = pids(),
    Lines = added([item(out, 256, A, a), item(in, 256, B, b)]),
    ?assertEqual([a, b], element(1, leaving(0, Lines))).

one_item_is_always_admitted_test() ->
    [A, B, _] = pids(),
    {Left, _} = leaving(0, added([item(out, 5000, A, big), item(out, 1, B, small)])),
    ?assertEqual([big], Left).

a_process_stands_in_one_line_in_its_order_test() ->
    [A, B, _] = pids(),
    Lines = added([item(out, 256, B, b1), item(out, 256, A, a1), item(in, 1, A, a2),
                   item(small, 1, A, a3)]),
    {Left, Waiting} = leaving(0, Lines),
    ?assertEqual([b1], Left),
    ?assert(emmap_line:has(A, Waiting)),
    ?assertNot(emmap_line:has(B, Waiting)),
    {Then, _} = leaving(0, emmap_line:done({out, 256 * ?KIB}, Waiting)),
    ?assertEqual([a1], Then).

an_item_waits_for_its_envelope_test() ->
    [A | _] = pids(),
    Lines = emmap_line:add(item(out, 1, A, a), 5, emmap_line:new()),
    ?assertEqual(none, emmap_line:next(4, Lines)),
    ?assertMatch({out, {out, ?KIB, _}, _}, emmap_line:next(5, Lines)).

what_is_removed_never_leaves_test() ->
    [A, B, _] = pids(),
    {_, _, {_, Ref, _}} = Item = item(in, 1, A, a),
    {ok, Lines} = emmap_line:remove(Ref, added([Item, item(in, 1, B, b)])),
    ?assertEqual([b], element(1, leaving(0, Lines))),
    ?assertNot(emmap_line:has(A, Lines)),
    ?assertEqual(none, emmap_line:remove(Ref, Lines)).

an_empty_line_forgets_its_processes_test() ->
    Items = [item(out, 1, Pid, N) || Pid <- pids(), N <- [1, 2, 3]],
    {_, Lines} = leaving(0, added(Items)),
    ?assert(emmap_line:is_empty(Lines)).
