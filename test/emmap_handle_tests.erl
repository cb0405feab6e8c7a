-module(emmap_handle_tests).
-include_lib("eunit/include/eunit.hrl").
-include_lib("kernel/include/file.hrl").

-define(NODE, 'daemon@localhost').

handle_test_() ->
    {foreach, fun setup/0, fun teardown/1,
     [fun a_closed_handle_stays_closed/0,
      fun only_one_reader_moves_the_cursor/0,
      fun a_handle_is_renewed_from_its_stale_id_only/0,
      fun a_closed_handle_is_not_renewed/0,
      fun an_id_is_current_under_its_connection_only/0,
      fun every_cast_is_settled_once/0,
      fun casts_of_a_broken_connection_are_lost/0,
      fun casts_done_before_a_restart_are_not_lost/0]}.

%% Boards live with the application's tree; here with this process.
setup() ->
    Owner = spawn(fun() -> ok = emmap_board:init(), receive stop -> ok end end),
    wait_for_table(Owner),
    Owner.

wait_for_table(Owner) ->
    case ets:whereis(emmap_board) of
        undefined -> erlang:yield(), wait_for_table(Owner);
        _ -> ok
    end.

teardown(Owner) ->
    Monitor = monitor(process, Owner),
    Owner ! stop,
    receive {'DOWN', Monitor, process, _, _} -> ok end.

new(Id) ->
    emmap_handle:new(?NODE, Id, 0, never).

a_closed_handle_stays_closed() ->
    F = new(7),
    ?assertEqual(7, emmap_handle:id(F)),
    ?assertEqual(7, emmap_handle:close(F)),
    ?assertEqual(closed, emmap_handle:id(F)),
    ?assertEqual(closed, emmap_handle:close(F)).

only_one_reader_moves_the_cursor() ->
    F = new(7),
    ?assertEqual(0, emmap_handle:cursor(F)),
    ?assert(emmap_handle:move(F, 0, 10)),
    ?assertNot(emmap_handle:move(F, 0, 20)),
    ?assertEqual(10, emmap_handle:cursor(F)),
    ok = emmap_handle:rewind(F, 3),
    ?assertEqual(3, emmap_handle:cursor(F)).

a_handle_is_renewed_from_its_stale_id_only() ->
    F = new(7),
    ?assertNot(emmap_handle:renew(F, 6, 8)),
    ?assertEqual(7, emmap_handle:id(F)),
    ?assert(emmap_handle:renew(F, 7, 8)),
    ?assertEqual(8, emmap_handle:id(F)).

a_closed_handle_is_not_renewed() ->
    F = new(7),
    7 = emmap_handle:close(F),
    ?assertNot(emmap_handle:renew(F, 7, 8)),
    ?assertEqual(closed, emmap_handle:id(F)).

an_id_is_current_under_its_connection_only() ->
    Board = emmap_board:of_node(?NODE),
    ok = emmap_board:connected(Board),
    F = new(7),
    ?assertEqual(yes, emmap_handle:is_current(F)),
    ok = emmap_board:disconnected(Board),
    ?assertEqual(down, emmap_handle:is_current(F)),
    ok = emmap_board:connected(Board),
    ?assertEqual(no, emmap_handle:is_current(F)),
    true = emmap_handle:renew(F, 7, 8),
    ?assertEqual(yes, emmap_handle:is_current(F)).

cast(F, N) ->
    lists:foreach(fun(_) -> ok = emmap_handle:count_cast(F) end, lists:seq(1, N)),
    emmap_handle:casts(F).

every_cast_is_settled_once() ->
    F = new(7),
    ?assertEqual(0, emmap_handle:settle(F, cast(F, 10), 10)),
    ?assertEqual(0, emmap_handle:settle(F, cast(F, 5), 15)),
    %% more done than seen: another process cast meanwhile
    ?assertEqual(0, emmap_handle:settle(F, 15, 17)).

casts_of_a_broken_connection_are_lost() ->
    F = new(7),
    Sent = cast(F, 10),
    true = emmap_handle:renew(F, 7, 8),
    ?assertEqual(10, emmap_handle:settle(F, Sent, 0)),
    ?assertEqual(0, emmap_handle:settle(F, cast(F, 3), 3)).

casts_done_before_a_restart_are_not_lost() ->
    F = new(7),
    ?assertEqual(0, emmap_handle:settle(F, cast(F, 10), 10)),
    _ = cast(F, 4),
    true = emmap_handle:renew(F, 7, 8),
    ?assertEqual(4, emmap_handle:settle(F, cast(F, 6), 6)),
    ?assertEqual(0, emmap_handle:settle(F, cast(F, 1), 7)).

what_is_no_handle_test_() ->
    [?_assertNot(emmap_handle:is_handle(What))
     || What <- [a, "file", {file_descriptor, emmap, x}, #file_descriptor{module = prim_file},
                 #file_descriptor{module = emmap, data = make_ref()}]].
