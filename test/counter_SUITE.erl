%% Counters: each function, option and error, by the wrapper and by plain calls.
-module(counter_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2]).

-define(MAX, 16#7fffffffffffffff).
-define(MIN, -16#8000000000000000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    emmap_face:groups(
      [changes_answer_the_old_value, sums_wrap, only_64_bits_are_known, many_at_once_answer_in_order,
       many_at_once_are_all_or_none, all_are_read_at_once, an_index_out_of_range_is_badarg,
       wrong_types_are_badarg, a_file_with_fewer_grows, a_file_with_more_opens_whole,
       zero_opens_as_many_as_there_are, zero_needs_a_file, the_file_is_as_the_library_writes_it,
       a_file_of_the_library_opens, a_foreign_file_is_refused_and_kept,
       a_damaged_file_is_refused_and_kept, by_name_it_opens_itself, a_read_only_handle_changes_nothing,
       a_closed_handle_stays_closed, region_requests_are_refused, the_last_handle_unlinks,
       the_mode_is_that_of_chmod, an_owner_takes_its_handle_along, a_durable_set_of_counters_says_so,
       options_of_regions_are_refused, two_handles_see_each_other, readers_see_no_part_of_an_update,
       processes_count_together, info_tells_the_count, sync_and_flush_answer_ok])
        ++ [{wrapper_only, [], [one_counter_without_a_count, open_raises_what_it_cannot_open,
                                a_handle_is_a_pair, close_counters_is_for_ever,
                                casts_are_done_at_the_barrier, a_barrier_tells_failures_once]}].

init_per_suite(Config) ->
    emmap_face:start(Config).

end_per_suite(Config) ->
    emmap_face:stop(Config).

%%% Counting.

changes_answer_the_old_value(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 4),
        {ok, 0} = Do(inc_counter, [C, 3]),
        {ok, 1} = Do(inc_counter, [C, 3, 1000]),
        {ok, 1001} = Do(dec_counter, [C, 3]),
        {ok, 1000} = Do(dec_counter, [C, 3, 2000]),
        {ok, -1000} = Do(inc_counter, [C, 3, -5]),
        {ok, -1005} = Do(set_counter, [C, 3, 42]),
        {ok, 42} = Do(read_counter, [C, 3]),
        [{ok, 0} = Do(read_counter, [C, I]) || I <- [0, 1, 2]]
    end).

sums_wrap(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 1),
        {ok, 0} = Do(set_counter, [C, 0, ?MAX]),
        {ok, ?MAX} = Do(inc_counter, [C, 0]),
        {ok, ?MIN} = Do(dec_counter, [C, 0]),
        {ok, ?MAX} = Do(dec_counter, [C, 0, ?MIN]),
        {ok, [-1]} = Do(update_counters, [C, [{0, ?MIN}]]),
        {ok, ?MAX} = Do(read_counter, [C, 0])
    end).

only_64_bits_are_known(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 1),
        [begin
             badarg = Do(inc_counter, [C, 0, V]),
             badarg = Do(dec_counter, [C, 0, V]),
             badarg = Do(set_counter, [C, 0, V]),
             badarg = Do(update_counters, [C, [{0, V}]])
         end || V <- [?MAX + 1, ?MIN - 1, 1 bsl 64, -(1 bsl 100)]],
        {ok, 0} = Do(read_counter, [C, 0]),
        [{ok, _} = Do(set_counter, [C, 0, V]) || V <- [?MAX, ?MIN]],
        {ok, ?MIN} = Do(read_counter, [C, 0])
    end).

many_at_once_answer_in_order(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 300),
        {ok, [0, 0, 5]} = Do(update_counters, [C, [{2, 5}, {0, -1}, {2, 1}]]),
        {ok, []} = Do(update_counters, [C, []]),
        {ok, [6, -1, 6]} = Do(read_counters, [C, [2, 0, 2]]),
        {ok, []} = Do(read_counters, [C, []]),
        Small = lists:seq(0, 255), % travels as a string
        {ok, [-1, 0, 6 | _]} = Do(read_counters, [C, Small]),
        {ok, Olds} = Do(update_counters, [C, [{I, I} || I <- lists:seq(0, 299)]]),
        300 = length(Olds),
        {ok, [299]} = Do(read_counters, [C, [299]])
    end).

many_at_once_are_all_or_none(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 3),
        [badarg = Do(update_counters, [C, Updates])
         || Updates <- [[{0, 1}, {3, 1}], [{0, 1}, {-1, 1}], [{0, 1}, {1, a}], [{0, 1}, {1}],
                        [{0, 1} | {1, 1}], [{0, 1}, {1, 1 bsl 63}], [{0, 1}, 7], {0, 1}, a]],
        {ok, [0, 0, 0]} = Do(read_counters, [C])
    end).

all_are_read_at_once(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 1000),
        {ok, 0} = Do(set_counter, [C, 999, -9]),
        {ok, Values} = Do(read_counters, [C]),
        true = Values =:= lists:duplicate(999, 0) ++ [-9]
    end).

an_index_out_of_range_is_badarg(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 4),
        [begin
             badarg = Do(inc_counter, [C, I]),
             badarg = Do(inc_counter, [C, I, 1]),
             badarg = Do(dec_counter, [C, I]),
             badarg = Do(set_counter, [C, I, 1]),
             badarg = Do(read_counter, [C, I]),
             badarg = Do(read_counters, [C, [0, I]])
         end || I <- [4, -1, 1 bsl 61, 1 bsl 63, (1 bsl 64) - 1, 1 bsl 64]],
        {ok, [0, 0, 0, 0]} = Do(read_counters, [C])
    end).

wrong_types_are_badarg(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 4),
        [badarg = Do(Function, [C | Args])
         || {Function, Args} <-
                [{inc_counter, [a]}, {inc_counter, [0, a]}, {inc_counter, [0.0]}, {set_counter, [0, 1.0]},
                 {read_counter, [<<"0">>]}, {read_counters, [a]}, {read_counters, [[a]]},
                 {read_counters, [[0 | 1]]}, {dec_counter, [{}, 1]}]],
        [badarg = Do(inc_counter, [Obj, 0]) || Obj <- [an_atom, 1.5, {}, #{}, self()]]
    end).

%%% Files.

a_file_with_fewer_grows(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 2),
        {ok, 0} = Do(set_counter, [C, 1, 7]),
        {ok, Larger, 1000} = open(Do, File, 1000, []),
        {ok, 7} = Do(read_counter, [Larger, 1]),
        {ok, 0} = Do(inc_counter, [Larger, 999]),
        {ok, 1} = Do(read_counter, [C, 999]) % the handle from before sees the new ones
    end).

a_file_with_more_opens_whole(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        _ = counters(Do, File, 10),
        {ok, C, 10} = open(Do, File, 3, []),
        {ok, 0} = Do(inc_counter, [C, 9])
    end).

zero_opens_as_many_as_there_are(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        _ = counters(Do, File, 10),
        {ok, _, 10} = open(Do, File, 0, [])
    end).

zero_needs_a_file(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {error, enoent} = open(Do, File, 0, []),
        {error, enoent} = open(Do, "no/such/directory", 5, [])
    end).

the_file_is_as_the_library_writes_it(Config) ->
    Path = path(Config, ?FUNCTION_NAME),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 3),
        {ok, 0} = Do(set_counter, [C, 1, -2]),
        {ok, 0} = Do(set_counter, [C, 2, 16#0102030405060708]),
        {ok, <<"EMMAP01\n", 3:64/little, 0:64, -2:64/signed-little, 8, 7, 6, 5, 4, 3, 2, 1,
               _/binary>>} = file:read_file(Path)
    end).

a_file_of_the_library_opens(Config) ->
    ok = write(Config, ?FUNCTION_NAME, <<"EMMAP01\n", 2:64/little, 41:64/little, -1:64/little>>),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, C, 2} = open(Do, File, 1, []),
        {ok, [41, -1]} = Do(read_counters, [C]),
        {ok, 41} = Do(inc_counter, [C, 0])
    end).

a_foreign_file_is_refused_and_kept(Config) ->
    Foreign = binary:copy(<<"Precious">>, 100),
    ok = write(Config, ?FUNCTION_NAME, Foreign),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {error, {invalid_file_header, Header}} = open(Do, File, 8, []),
        <<"Precious", _/binary>> = iolist_to_binary(Header),
        {error, not_open} = Do(inc_counter, [File, 0])
    end),
    {ok, Foreign} = file:read_file(path(Config, ?FUNCTION_NAME)),
    ok.

a_damaged_file_is_refused_and_kept(Config) ->
    Whole = <<"EMMAP01\n", 4:64/little, 1:64/little, 2:64/little, 3:64/little, 4:64/little>>,
    Damaged = [<<>>, <<"EMMAP01">>, <<"EMMAP01\n">>, <<"EMMAP02\n", 4:64/little, 0:256>>,
               <<"EMMAP01\n", 4:64, 0:256>>, <<"EMMAP01\n", -1:64, 0:256>>,
               <<"EMMAP01\n", (1 bsl 61):64/little, 0:256>>,
               <<"EMMAP01\n", ((1 bsl 61) - 2):64/little, 0:256>>
               | [binary:part(Whole, 0, N) || N <- [1, 12, 16, 40, 47]]],
    Files = [begin
                 Case = lists:concat([?FUNCTION_NAME, N]),
                 ok = write(Config, Case, Bytes),
                 {emmap_face:file(Config, Case), Bytes}
             end || {N, Bytes} <- lists:enumerate(Damaged)],
    in(Config, ?FUNCTION_NAME, fun(Do, _) ->
        [{error, _} = open(Do, File, 0, []) || {File, _} <- Files],
        [{error, _} = open(Do, File, 4, []) || {File, _} <- Files],
        [{error, _} = Do(inc_counter, [File, 0]) || {File, _} <- Files]
    end),
    #{data_dir := Dir} = ?config(daemon, Config),
    [{ok, Bytes} = file:read_file(filename:join(Dir, File)) || {File, Bytes} <- Files],
    ok.

by_name_it_opens_itself(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {error, enoent} = Do(inc_counter, [File, 0]),
        C = counters(Do, File, 2),
        {ok, 0} = Do(inc_counter, [C, 1]),
        ok = close(Do, C),
        {ok, 1} = Do(inc_counter, [File, 1]),
        {ok, 2} = Do(read_counter, [list_to_binary(File), 1]),
        {ok, [0, 2]} = Do(read_counters, [File])
    end).

%%% Handles and options.

a_read_only_handle_changes_nothing(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        _ = counters(Do, File, 2),
        {ok, C, 2} = open(Do, File, 0, [read]),
        [{error, eacces} = Do(Function, [C | Args])
         || {Function, Args} <- [{inc_counter, [0]}, {inc_counter, [0, 1]}, {dec_counter, [0]},
                                 {set_counter, [0, 1]}, {update_counters, [[{0, 1}]]}]],
        {ok, [0, 0]} = Do(read_counters, [C])
    end).

a_closed_handle_stays_closed(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 2),
        ok = close(Do, C),
        ok = close(Do, C),
        [{error, closed} = Do(Function, [C | Args])
         || {Function, Args} <- [{inc_counter, [0]}, {read_counter, [0]}, {read_counters, []},
                                 {update_counters, [[{0, 1}]]}, {sync, []}]]
    end).

region_requests_are_refused(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 2),
        [{error, {wrong_kind, counters}} = Do(Function, [Obj | Args])
         || Obj <- [handle(C), File],
            {Function, Args} <- [{pread, [0, 8]}, {pwrite, [0, <<"x">>]}, {patomic_add, [0, 1]}]],
        {error, {wrong_kind, counters}} = Do(resize, [handle(C), 4096]),
        {ok, [0, 0]} = Do(read_counters, [C])
    end).

the_last_handle_unlinks(Config) ->
    Path = path(Config, ?FUNCTION_NAME),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, C, 2} = open(Do, File, 2, [auto_unlink]),
        true = filelib:is_regular(Path),
        ok = close(Do, C),
        false = filelib:is_regular(Path)
    end).

the_mode_is_that_of_chmod(Config) ->
    Path = path(Config, ?FUNCTION_NAME),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, _, 1} = open(Do, File, 1, [{chmod, 8#644}]),
        {ok, _, 1} = open(Do, File ++ "2", 1, []),
        "644\n600\n" = os:cmd(["stat -c %a ", Path, " ", Path, "2"])
    end).

an_owner_takes_its_handle_along(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {Owner, Monitor} = spawn_monitor(fun() -> receive stop -> ok end end),
        {ok, C, 1} = open(Do, File, 1, [{owner, Owner}]),
        {ok, 0} = Do(inc_counter, [C, 0]),
        Owner ! stop,
        receive {'DOWN', Monitor, _, _, normal} -> ok end,
        ok = emmap_test:until(fun() -> {error, closed} =:= Do(read_counter, [C, 0]) end)
    end).

a_durable_set_of_counters_says_so(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, Plain, 2} = open(Do, File, 2, [{durability, default}]),
        #{durability := default} = Do(info, [Plain]),
        {ok, C, 2} = open(Do, File, 2, [{durability, sync}]),
        #{durability := sync} = Do(info, [Plain]),
        {ok, 0} = Do(inc_counter, [C, 1, 7]),
        {ok, 7} = Do(read_counter, [Plain, 1]),
        ok = Do(close, [C]),
        #{durability := default} = Do(info, [Plain])
    end).

options_of_regions_are_refused(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        [badarg = open(Do, File, 2, [Option])
         || Option <- [write, create, truncate, private, anon, fit, fixed_size, {size, 5}, shared,
                       frobnicate, {durability, x}, {chmod, -1}, {owner, me}]],
        [badarg = open(Do, File, N, []) || N <- [-1, a, 1.0, 1 bsl 64]],
        badarg = open(Do, File, 2, read),
        {error, enoent} = open(Do, File, 0, [])
    end).

%%% Sharing.

two_handles_see_each_other(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 1),
        {ok, D, 1} = open(Do, File, 1, []),
        {ok, 0} = Do(inc_counter, [C, 0]),
        {ok, 1} = Do(inc_counter, [D, 0]),
        ok = close(Do, C),
        {ok, 2} = Do(read_counter, [D, 0])
    end).

%% Money moves between accounts; whoever reads them all finds all of it.
readers_see_no_part_of_an_update(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 10),
        {ok, 0} = Do(set_counter, [C, 0, 1000]),
        Move = fun() ->
            [{ok, [_, _]} = Do(update_counters, [C, [{rand:uniform(10) - 1, -1}, {rand:uniform(10) - 1, 1}]])
             || _ <- lists:seq(1, 500)]
        end,
        Count = fun() ->
            [begin {ok, Values} = Do(read_counters, [C]), 1000 = lists:sum(Values) end
             || _ <- lists:seq(1, 500)]
        end,
        _ = emmap_test:in_parallel([Move, Count, Move, Count])
    end).

processes_count_together(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 1),
        Count = fun() -> [begin {ok, Old} = Do(inc_counter, [C, 0]), Old end || _ <- lists:seq(1, 500)] end,
        Olds = lists:append(emmap_test:in_parallel(lists:duplicate(8, Count))),
        true = lists:seq(0, 3999) =:= lists:sort(Olds) % each value was handed out once
    end).

info_tells_the_count(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 12),
        #{kind := counters, count := 12, handles := 1, durability := default} = Do(info, [C])
    end).

sync_and_flush_answer_ok(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        C = counters(Do, File, 12),
        {ok, 0} = Do(inc_counter, [C, 0]),
        [ok = Do(Function, [C]) || Function <- [flush, sync, datasync]]
    end).

%%% What only the wrapper has.

one_counter_without_a_count(Config) ->
    at(Config, fun() ->
        {_, 1} = C = emmap:open_counters("one"),
        {ok, 0} = emmap:inc_counter(C, 0)
    end).

open_raises_what_it_cannot_open(Config) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    ok = file:write_file(filename:join(Dir, "foreign"), binary:copy(<<"Precious">>, 10)),
    at(Config, fun() ->
        {cannot_open_file, "no/such", enoent} = raised(fun() -> emmap:open_counters("no/such") end),
        {cannot_open_file, "none", enoent} = raised(fun() -> emmap:open_counters("none", 0) end),
        {invalid_file_header, "foreign", Header} = raised(fun() -> emmap:open_counters("foreign", 1) end),
        <<"Precious", _/binary>> = iolist_to_binary(Header),
        {cannot_open_file, "x", enoent} =
            raised(fun() -> emmap:open_counters("x", 0, [{durability, sync}]) end)
    end).

a_handle_is_a_pair(Config) ->
    at(Config, fun() ->
        {F, 5} = C = emmap:open_counters("pair", 5),
        {ok, 0} = emmap:inc_counter(F, 0),
        {ok, 1} = emmap:read_counter(C, 0),
        #{count := 5} = emmap:info(C),
        [badarg = raised(fun() -> emmap:inc_counter(Wrong, 0) end)
         || Wrong <- [{F}, {5, F}, {F, 5, 5}, setelement(2, F, other)]]
    end).

close_counters_is_for_ever(Config) ->
    at(Config, fun() ->
        C = emmap:open_counters("closed", 5),
        ok = emmap:close_counters(C),
        ok = emmap:close_counters(C),
        {error, closed} = emmap:inc_counter(C, 0),
        {error, closed} = emmap:cast(C, {inc_counter, 0})
    end).

casts_are_done_at_the_barrier(Config) ->
    at(Config, fun() ->
        C = emmap:open_counters("casts", 5),
        [ok = emmap:cast(C, {inc_counter, 3, 1}) || _ <- lists:seq(1, 100000)],
        ok = emmap:barrier(C),
        {ok, 100000} = emmap:read_counter(C, 3)
    end).

a_barrier_tells_failures_once(Config) ->
    at(Config, fun() ->
        C = emmap:open_counters("failures", 5),
        [ok = emmap:cast(C, {inc_counter, I, 1}) || I <- [0, 5, 1, -1]],
        {error, {casts, #{failed := 2, lost := 0, first := badarg}}} = emmap:barrier(C),
        ok = emmap:barrier(C),
        {ok, [1, 1, 0, 0, 0]} = emmap:read_counters(C)
    end).

%%% Internal.

in(Config, Case, Fun) ->
    emmap_face:in(Config, Case, Fun).

at(Config, Fun) ->
    on(?config(client, Config), fun() -> Fun(), ok end).

counters(Do, File, N) ->
    {ok, C, N} = open(Do, File, N, []),
    C.

%% {ok, C, Count} | {error, Reason} | badarg, by both faces.
open(Do, File, N, Options) ->
    try Do(open_counters, [File, N, Options]) of
        {ok, Id, #{count := Count, kind := counters}} -> {ok, Id, Count};
        {_, Count} = C when is_integer(Count) -> {ok, C, Count};
        Refused -> Refused
    catch
        error:{cannot_open_file, File, Reason} -> {error, Reason};
        error:{invalid_file_header, File, Header} -> {error, {invalid_file_header, Header}}
    end.

close(Do, {_, _} = C) -> Do(close_counters, [C]);
close(Do, Id) -> Do(close, [Id]).

handle({F, _}) -> F;
handle(Id) -> Id.

raised(Fun) ->
    try Fun() of
        Result -> error({returned, Result})
    catch
        error:Reason -> Reason
    end.

path(Config, Case) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    filename:join(Dir, emmap_face:file(Config, Case)).

write(Config, Case, Bytes) ->
    file:write_file(path(Config, Case), Bytes).
