%% Regions: each function, option and error, by the wrapper and by plain calls.
-module(region_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

-import(emmap_face, [in/3]).
-import(emmap_test, [on/2]).

-define(MAX, 16#7fffffffffffffff).
-define(MIN, -16#8000000000000000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    emmap_face:groups(
      [pread_gives_what_pwrite_put, pread_is_short_at_the_end_and_eof_past_it,
       many_preads_in_one, many_pwrites_in_one, pwrite_takes_iodata,
       pwrite_past_the_end_changes_nothing, positions_near_two_to_64_are_badarg,
       wrong_types_are_badarg, a_large_region_travels_whole,
       resize_keeps_bytes_and_fills_with_zeros, resize_doubles_by_at_most_max_inc_size,
       a_fixed_size_stays, growth_by_one_handle_is_seen_by_all, allocate_makes_it_long_enough,
       advice_is_taken, sync_flush_and_datasync_answer_ok,
       atomics_answer_the_old_value, sums_wrap, atomics_are_little_endian_in_the_file,
       atomics_know_only_64_bits, unaligned_atomics_are_refused, atomics_past_the_end_are_badarg,
       a_handle_without_write_changes_nothing, a_closed_handle_stays_closed,
       by_name_is_the_same_object, nobody_has_it_open, a_missing_file_is_enoent,
       create_needs_write, truncate_needs_write, truncate_empties, open_tells_what_exists,
       length_0_opens_the_whole_file, another_length_is_a_mismatch, fit_takes_another_length,
       size_is_for_new_files, an_offset_begins_the_region_exactly,
       private_changes_stay_private, anonymous_regions_have_no_file, the_last_handle_unlinks,
       the_mode_is_that_of_chmod, accepted_options_change_nothing,
       what_no_kernel_gives_is_enotsup, a_durable_region_says_so, unknown_options_are_refused,
       options_may_be_pairs, names_are_utf_8, names_that_lead_out_are_refused,
       what_is_no_file_is_refused, two_handles_see_each_other, other_programs_see_it,
       a_batch_answers_in_order, a_batch_in_a_batch_is_badarg, info_counts, an_owner_takes_its_handle_along,
       counter_requests_on_a_region_are_refused])
        ++ [{wire_only, [], [lines_are_read_by_position, truncate_cuts_to_a_size, casts_are_counted,
                             a_bad_option_is_named, an_old_id_is_stale, the_daemon_tells_of_itself,
                             clients_are_listed, objects_are_listed]},
            {trouble, [], [a_full_disk_is_enospc_and_all_else_goes_on,
                           a_file_cut_by_others_is_eio_and_the_daemon_lives,
                           too_many_handles_are_a_limit, too_many_objects_are_a_limit]}].

init_per_suite(Config) ->
    emmap_face:start(Config).

end_per_suite(Config) ->
    emmap_face:stop(Config).

%%% Reading and writing.

pread_gives_what_pwrite_put(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 4096),
        {ok, <<0:4096/unit:8>>} = Do(pread, [F, 0, 4096]),
        ok = Do(pwrite, [F, 0, <<"hello">>]),
        ok = Do(pwrite, [F, 4091, <<"world">>]),
        {ok, <<"hello">>} = Do(pread, [F, 0, 5]),
        {ok, <<"llo", 0>>} = Do(pread, [F, 2, 4]),
        {ok, <<"world">>} = Do(pread, [F, 4091, 5])
    end).

pread_is_short_at_the_end_and_eof_past_it(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 10),
        ok = Do(pwrite, [F, 0, "0123456789"]),
        {ok, <<"89">>} = Do(pread, [F, 8, 100]),
        {ok, <<"9">>} = Do(pread, [F, 9, 16#7fffffff]),
        eof = Do(pread, [F, 10, 1]),
        eof = Do(pread, [F, 1 bsl 62, 1])
    end).

many_preads_in_one(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 10),
        ok = Do(pwrite, [F, 0, "0123456789"]),
        {ok, [<<"01">>, eof, <<"89">>]} = Do(pread, [F, [{0, 2}, {10, 5}, {8, 5}]]),
        {ok, []} = Do(pread, [F, []]),
        badarg = Do(pread, [F, [{0, 2}, {-1, 5}]]),
        badarg = Do(pread, [F, [{0, 2} | {1, 1}]])
    end).

many_pwrites_in_one(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 10),
        ok = Do(pwrite, [F, [{0, "ab"}, {8, <<"yz">>}, {1, ["B"]}]]),
        ok = Do(pwrite, [F, []]),
        {ok, <<"aB", 0:48, "yz">>} = Do(pread, [F, 0, 10]),
        {error, {1, badarg}} = Do(pwrite, [F, [{0, "c"}, {10, "d"}, {2, "e"}]]),
        {ok, <<"cB", 0>>} = Do(pread, [F, 0, 3])
    end).

pwrite_takes_iodata(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 4096),
        Data = ["a", [<<"b">>, [], [$c | <<"d">>]], <<>>, lists:duplicate(100, $e)],
        ok = Do(pwrite, [F, 7, Data]),
        Bytes = iolist_to_binary(Data),
        {ok, Bytes} = Do(pread, [F, 7, byte_size(Bytes)]),
        ok = Do(pwrite, [F, 0, <<>>]),
        ok = Do(pwrite, [F, 0, []])
    end).

pwrite_past_the_end_changes_nothing(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 10),
        badarg = Do(pwrite, [F, 5, <<"123456">>]),
        badarg = Do(pwrite, [F, 10, <<"1">>]),
        badarg = Do(pwrite, [F, 11, <<"1">>]),
        {ok, <<0:80>>} = Do(pread, [F, 0, 10])
    end).

positions_near_two_to_64_are_badarg(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 16),
        [begin
             badarg = Do(pwrite, [F, Pos, <<"x">>]),
             badarg = Do(patomic_add, [F, Pos, 1]),
             true = lists:member(Do(resize, [F, Pos]), [{error, efbig}, badarg])
         end || Pos <- [(1 bsl 63), (1 bsl 64) - 8, (1 bsl 64) - 1, 1 bsl 64, 1 bsl 80]],
        [badarg = Do(pread, [F, Pos, 1]) || Pos <- [1 bsl 64, 1 bsl 80, -1]],
        {ok, <<0:128>>} = Do(pread, [F, 0, 16])
    end).

wrong_types_are_badarg(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 16),
        [badarg = Do(Function, [F | Args])
         || {Function, Args} <-
                [{pread, [a, 1]}, {pread, [0, -1]}, {pread, [0.0, 1]}, {pread, [a]},
                 {pread, [[{0}]]}, {pread, [[{0, a}]]}, {pread, [<<"x">>]},
                 {pwrite, [0, a]}, {pwrite, [-1, <<>>]}, {pwrite, [0, [a]]}, {pwrite, [0, [256]]},
                 {pwrite, [0, [<<"x">> | a]]}, {pwrite, [0, <<1:3>>]}, {pwrite, [[{0}]]},
                 {pwrite, [[{0, <<"a">>} | b]]}, {resize, [-1]}, {resize, [a]}, {allocate, [0, a]},
                 {allocate, [-1, 1]}, {advise, [0, 1, hope]}, {advise, [0, 1, 7]},
                 {patomic_add, [0, a]}, {patomic_add, [a, 1]}, {patomic_cas, [0, a, 1]},
                 {patomic_cas, [0, 1, 1.0]}, {patomic_read_integer, [<<"0">>]},
                 {patomic_write_integer, [0, "1"]}]],
        [badarg = Do(pread, [Obj, 0, 1]) || Obj <- [an_atom, 1.5, {}, #{}, self()]]
    end).

a_large_region_travels_whole(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 20000000),
        Bytes = rand:bytes(19999999),
        ok = Do(pwrite, [F, 1, Bytes]),
        {ok, Seen} = Do(pread, [F, 1, 19999999]),
        true = Seen =:= Bytes
    end).

%%% Sizes.

resize_keeps_bytes_and_fills_with_zeros(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 100),
        ok = Do(pwrite, [F, 90, <<"0123456789">>]),
        {ok, 10000} = Do(resize, [F, 10000]),
        {ok, <<"0123456789", 0:80>>} = Do(pread, [F, 90, 20]),
        {ok, <<0>>} = Do(pread, [F, 9999, 5]),
        {ok, 95} = Do(resize, [F, 95]),
        {ok, <<"01234">>} = Do(pread, [F, 90, 10]),
        {ok, 100} = Do(resize, [F, 100]),
        {ok, <<"01234", 0:40>>} = Do(pread, [F, 90, 10])
    end).

resize_doubles_by_at_most_max_inc_size(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, F, _} = Do(open, [File, 0, 4096, [create, write, {max_inc_size, 6000}]]),
        {ok, 8192} = Do(resize, [F, 0]),
        {ok, 14192} = Do(resize, [F, 0])
    end).

a_fixed_size_stays(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, F, _} = Do(open, [File, 0, 4096, [create, write, fixed_size]]),
        {error, fixed_size} = Do(resize, [F, 8192]),
        {error, fixed_size} = Do(resize, [F, 0]),
        {error, fixed_size} = Do(allocate, [F, 0, 8192]),
        ok = Do(allocate, [F, 0, 4096]),
        eof = Do(pread, [F, 4096, 1])
    end).

growth_by_one_handle_is_seen_by_all(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 100),
        G = region(Do, File, 0),
        {ok, 1000000} = Do(resize, [F, 1000000]),
        ok = Do(pwrite, [G, 999999, <<"x">>]),
        {ok, <<"x">>} = Do(pread, [F, 999999, 1]),
        {ok, 50} = Do(resize, [G, 50]),
        eof = Do(pread, [F, 50, 1])
    end).

allocate_makes_it_long_enough(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 100),
        ok = Do(allocate, [F, 50, 20]),
        eof = Do(pread, [F, 100, 1]),
        ok = Do(allocate, [F, 100, 4000]),
        {ok, <<0>>} = Do(pread, [F, 4099, 2])
    end).

advice_is_taken(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 100000),
        ok = Do(pwrite, [F, 5000, <<"here">>]),
        [ok = Do(advise, [F, 100, 50000, Advice])
         || Advice <- [normal, sequential, random, no_reuse, will_need, dont_need]],
        {ok, <<"here">>} = Do(pread, [F, 5000, 4])
    end).

sync_flush_and_datasync_answer_ok(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 100000),
        ok = Do(pwrite, [F, 5000, <<"here">>]),
        ok = Do(flush, [F]),
        ok = Do(sync, [F]),
        ok = Do(datasync, [F]),
        ok = Do(sync, [File])
    end).

%%% Atomics.

atomics_answer_the_old_value(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        {ok, 0} = Do(patomic_add, [F, 8, 10]),
        {ok, 10} = Do(patomic_sub, [F, 8, 4]),
        {ok, 6} = Do(patomic_and, [F, 8, 3]),
        {ok, 2} = Do(patomic_or, [F, 8, 5]),
        {ok, 7} = Do(patomic_xor, [F, 8, 1]),
        {ok, 6} = Do(patomic_xchg, [F, 8, -100]),
        {true, -100} = Do(patomic_cas, [F, 8, -100, 99]),
        {false, 99} = Do(patomic_cas, [F, 8, -100, 5]),
        {ok, 99} = Do(patomic_read_integer, [F, 8]),
        ok = Do(patomic_write_integer, [F, 8, -7]),
        {ok, -7} = Do(patomic_read_integer, [F, 8]),
        {ok, <<0:64, -7:64/signed-little, 0:384>>} = Do(pread, [F, 0, 64])
    end).

sums_wrap(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        ok = Do(patomic_write_integer, [F, 0, ?MAX]),
        {ok, ?MAX} = Do(patomic_add, [F, 0, 1]),
        {ok, ?MIN} = Do(patomic_sub, [F, 0, 1]),
        {ok, ?MAX} = Do(patomic_add, [F, 0, ?MIN]),
        {ok, -1} = Do(patomic_sub, [F, 0, ?MIN]),
        {ok, ?MAX} = Do(patomic_read_integer, [F, 0])
    end).

atomics_are_little_endian_in_the_file(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 16),
        ok = Do(patomic_write_integer, [F, 8, 16#0102030405060708]),
        {ok, <<8, 7, 6, 5, 4, 3, 2, 1>>} = Do(pread, [F, 8, 8])
    end).

atomics_know_only_64_bits(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 16),
        [begin
             [badarg = Do(Function, [F, 0, V])
              || Function <- [patomic_add, patomic_sub, patomic_and, patomic_or, patomic_xor,
                              patomic_xchg, patomic_write_integer]],
             badarg = Do(patomic_cas, [F, 0, V, 0]),
             badarg = Do(patomic_cas, [F, 0, 0, V])
         end || V <- [?MAX + 1, ?MIN - 1, 1 bsl 64, -(1 bsl 100)]],
        [{ok, _} = Do(patomic_xchg, [F, 0, V]) || V <- [?MAX, ?MIN, 0]],
        {ok, <<0:128>>} = Do(pread, [F, 0, 16])
    end).

unaligned_atomics_are_refused(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        [begin
             [{error, alignment} = Do(Function, [F, Pos, 1])
              || Function <- [patomic_add, patomic_sub, patomic_and, patomic_or, patomic_xor,
                              patomic_xchg, patomic_write_integer]],
             {error, alignment} = Do(patomic_cas, [F, Pos, 0, 1]),
             {error, alignment} = Do(patomic_read_integer, [F, Pos])
         end || Pos <- [1, 4, 7, 9]],
        {ok, G, _} = Do(open, [File, 4, 64, [write]]),
        {error, alignment} = Do(patomic_add, [G, 0, 1]), % it is the position in the file that counts
        {ok, 0} = Do(patomic_add, [G, 4, 1]),
        {ok, 1} = Do(patomic_read_integer, [F, 8])
    end).

atomics_past_the_end_are_badarg(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 20),
        [badarg = Do(patomic_add, [F, Pos, 1]) || Pos <- [16, 24, 1 bsl 40, -8]],
        badarg = Do(patomic_cas, [F, 16, 0, 1]),
        badarg = Do(patomic_read_integer, [F, 16]),
        {ok, <<0:160>>} = Do(pread, [F, 0, 20])
    end).

%%% Handles and names.

a_handle_without_write_changes_nothing(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        W = region(Do, File, 64),
        {ok, F, _} = Do(open, [File, 0, 0, [read]]),
        {ok, G, _} = Do(open, [File, 0, 0, []]),
        [{error, eacces} = Do(Function, [Handle | Args])
         || Handle <- [F, G],
            {Function, Args} <-
                [{pwrite, [0, <<"x">>]}, {patomic_add, [0, 1]}, {patomic_cas, [0, 0, 1]},
                 {patomic_write_integer, [0, 1]}, {resize, [128]}, {allocate, [0, 128]}]],
        {error, eacces} = Do(pwrite, [F, [{0, <<"x">>}]]),
        {ok, 0} = Do(patomic_read_integer, [F, 0]),
        ok = Do(sync, [F]),
        ok = Do(pwrite, [W, 0, <<"x">>]),
        {ok, <<"x">>} = Do(pread, [F, 0, 1])
    end).

a_closed_handle_stays_closed(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        ok = Do(close, [F]),
        ok = Do(close, [F]),
        [{error, closed} = Do(Function, [F | Args])
         || {Function, Args} <-
                [{pread, [0, 1]}, {pread, [[{0, 1}]]}, {pwrite, [0, <<"x">>]}, {resize, [128]},
                 {flush, []}, {sync, []}, {datasync, []}, {patomic_add, [0, 1]},
                 {patomic_read_integer, [0]}, {allocate, [0, 1]}, {advise, [0, 1, normal]}]]
    end).

by_name_is_the_same_object(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        ok = Do(pwrite, [File, 0, <<"by name">>]),
        {ok, <<"by name">>} = Do(pread, [F, 0, 7]),
        {ok, <<"by">>} = Do(pread, [list_to_binary(File), 0, 2]),
        {ok, 0} = Do(patomic_add, [File, 8, 5]),
        {ok, 5} = Do(patomic_read_integer, [F, 8])
    end).

nobody_has_it_open(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {error, Reason} = Do(pread, ["nowhere", 0, 1]),
        true = lists:member(Reason, [enoent, not_open]),
        F = region(Do, File, 64),
        ok = Do(close, [F]),
        {error, not_open} = Do(pread, [File, 0, 1]),
        {error, not_open} = Do(pwrite, [File, 0, <<"x">>])
    end).

%%% Options of open.

a_missing_file_is_enoent(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {error, enoent} = Do(open, [File, 0, 0, [read]]),
        {error, enoent} = Do(open, [File, 0, 64, [write]]),
        {error, enoent} = Do(open, ["no/such/directory", 0, 64, [create, write]])
    end).

create_needs_write(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        badarg = Do(open, [File, 0, 64, [create]]),
        {error, enoent} = Do(open, [File, 0, 0, [read]])
    end).

truncate_needs_write(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        ok = Do(pwrite, [F, 0, <<"kept">>]),
        badarg = Do(open, [File, 0, 64, [truncate]]),
        {ok, <<"kept">>} = Do(pread, [F, 0, 4])
    end).

truncate_empties(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        ok = Do(pwrite, [F, 0, <<"gone">>]),
        ok = Do(close, [F]),
        {ok, G, #{exist := _, size := 32}} = Do(open, [File, 0, 32, [write, truncate]]),
        {ok, <<0:256>>} = Do(pread, [G, 0, 100])
    end).

open_tells_what_exists(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, _, #{exist := false, size := 64, kind := region, id := Id}} =
            Do(open, [File, 0, 64, [create, write]]),
        {ok, _, #{exist := true, size := 64, id := Other}} =
            Do(open, [File, 0, 64, [create, write]]),
        true = is_integer(Id) andalso Id =/= Other
    end).

length_0_opens_the_whole_file(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        _ = region(Do, File, 12345),
        {ok, G, #{size := 12345}} = Do(open, [File, 0, 0, [read]]),
        {ok, <<0>>} = Do(pread, [G, 12344, 10])
    end).

another_length_is_a_mismatch(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        _ = region(Do, File, 100),
        {error, {size_mismatch, 100, 200}} = Do(open, [File, 0, 200, [write]]),
        {error, {size_mismatch, 100, 50}} = Do(open, [File, 0, 50, [write]]),
        {ok, _, #{size := 100}} = Do(open, [File, 0, 100, [write]])
    end).

fit_takes_another_length(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        _ = region(Do, File, 100),
        {ok, F, _} = Do(open, [File, 0, 50, [write, fit]]),
        {ok, _} = Do(pread, [F, 0, 10]),
        {ok, G, #{size := 200}} = Do(open, [File, 0, 200, [write, fit]]),
        ok = Do(pwrite, [G, 199, <<"x">>])
    end).

size_is_for_new_files(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, _, #{size := 300}} = Do(open, [File, 0, 0, [create, write, {size, 300}]]),
        {ok, _, #{size := 300}} = Do(open, [File, 0, 0, [write]])
    end).

an_offset_begins_the_region_exactly(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 10000),
        ok = Do(pwrite, [F, 5000, <<"here">>]),
        {ok, G, _} = Do(open, [File, 5000, 10000, [write]]),
        {ok, <<"here">>} = Do(pread, [G, 0, 4]),
        {ok, <<0>>} = Do(pread, [G, 4999, 10]),
        eof = Do(pread, [G, 5000, 1]),
        badarg = Do(pwrite, [G, 4999, <<"xy">>]),
        ok = Do(pwrite, [G, 4999, <<"x">>]),
        {ok, <<"x">>} = Do(pread, [F, 9999, 1])
    end).

private_changes_stay_private(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 100),
        ok = Do(pwrite, [F, 0, <<"shared">>]),
        {ok, G, _} = Do(open, [File, 0, 0, [write, private]]),
        {ok, <<"shared">>} = Do(pread, [G, 0, 6]),
        ok = Do(pwrite, [G, 0, <<"secret">>]),
        {ok, <<"secret">>} = Do(pread, [G, 0, 6]),
        {ok, <<"shared">>} = Do(pread, [F, 0, 6]),
        ok = Do(close, [G]),
        {ok, <<"shared">>} = Do(pread, [F, 0, 6])
    end).

anonymous_regions_have_no_file(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, Nameless, _} = Do(open, ["", 0, 8, [anon, write]]),
        ok = Do(close, [Nameless]),
        {ok, F, #{size := 100}} = Do(open, [File, 0, 100, [anon, write]]),
        ok = Do(pwrite, [F, 0, <<"memory">>]),
        {ok, <<"memory">>} = Do(pread, [F, 0, 6]),
        {ok, 5} = Do(resize, [F, 5]),
        {ok, <<"memor">>} = Do(pread, [F, 0, 100]),
        {error, enoent} = Do(open, [File, 0, 0, [read]])
    end).

the_last_handle_unlinks(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, F, _} = Do(open, [File, 0, 100, [create, write, auto_unlink]]),
        {ok, G, _} = Do(open, [File, 0, 0, [read]]),
        ok = Do(close, [F]),
        {ok, <<0>>} = Do(pread, [G, 0, 1]),
        ok = Do(close, [G]),
        {error, enoent} = Do(open, [File, 0, 0, [read]])
    end).

the_mode_is_that_of_chmod(Config) ->
    Path = path(Config, ?FUNCTION_NAME),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, _, _} = Do(open, [File, 0, 100, [create, write, {chmod, 8#640}]]),
        {ok, _, _} = Do(open, [File ++ "2", 0, 100, [create, write]]),
        8#640 = mode(Path),
        8#600 = mode(Path ++ "2")
    end).

accepted_options_change_nothing(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, F, _} = Do(open, [File, 0, 100, [create, write, read, shared, direct, populate, nonblock,
                                              noreserve, uninitialized, nocache, lock, nolock, debug,
                                              shared_validate, {durability, default}]]),
        ok = Do(pwrite, [F, 0, <<"x">>]),
        {ok, <<"x", 0>>} = Do(pread, [F, 0, 2])
    end).

what_no_kernel_gives_is_enotsup(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        [{error, enotsup} = Do(open, [File, 0, 4096, [create, write, Hint]])
         || Hint <- [hugetlb, huge_2mb, huge_1gb]],
        {error, enoent} = Do(open, [File, 0, 0, [read]])
    end).

a_durable_region_says_so(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        [begin
             {ok, F, _} = Do(open, [File, 0, 4096, [create, write, Durable]]),
             #{durability := sync} = Do(info, [F]),
             ok = Do(pwrite, [F, 10, <<"kept">>]),
             {ok, <<"kept">>} = Do(pread, [F, 10, 4]),
             ok = Do(close, [F])
         end || Durable <- [{durability, sync}, sync]]
    end).

unknown_options_are_refused(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        [badarg = Do(open, [File, 0, 4096, [create, write, Option]])
         || Option <- [frobnicate, fixed, {address, 4096}, {size, -1}, {size, a}, size, {chmod, -1},
                       {chmod, 8#10000}, {durability, maybe}, {max_inc_size, 0}, {owner, me},
                       {write, perhaps}, {a, b, c}, {}, 17, "write", <<"write">>, [write]]],
        badarg = Do(open, [File, 0, 4096, [create, write | read]]),
        badarg = Do(open, [File, 0, 4096, write]),
        badarg = Do(open, [File, -1, 4096, [create, write]]),
        badarg = Do(open, [File, 0, a, [create, write]]),
        badarg = Do(open, [File, 8192, 4096, [create, write]]),
        {error, enoent} = Do(open, [File, 0, 0, [read]])
    end).

options_may_be_pairs(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, F, _} = Do(open, [File, 0, 100, [{create, true}, {write, true}, {fixed_size, false}]]),
        {ok, 200} = Do(resize, [F, 200]),
        {ok, G, _} = Do(open, [File, 0, 0, [{write, false}]]),
        {error, eacces} = Do(pwrite, [G, 0, <<"x">>])
    end).

%%% Names.

names_are_utf_8(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File0) ->
        File = File0 ++ "-жук-ü",
        F = region(Do, File, 64),
        ok = Do(pwrite, [F, 0, <<"here">>]),
        {ok, <<"here">>} = Do(pread, [unicode:characters_to_binary(File), 0, 4]),
        {ok, <<"here">>} = Do(pread, [File, 0, 4])
    end).

names_that_lead_out_are_refused(Config) ->
    Link = path(Config, ?FUNCTION_NAME),
    ok = filelib:ensure_dir(Link),
    ok = file:make_symlink("/etc", Link),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        [{error, Reason} = Do(open, [Name, 0, 0, Options])
         || {Name, Reason} <- [{"../out", eacces}, {"./../../out", eacces}, {"/etc/passwd", eacces},
                               {lists:duplicate(5000, $a), enametoolong},
                               {lists:duplicate(300, $a), enametoolong}],
            Options <- [[read], [create, write, {size, 64}]]],
        {error, Out} = Do(open, [File ++ "/passwd", 0, 0, [read]]),
        true = lists:member(Out, [eacces, exdev, eloop]),
        [badarg = Do(open, [Name, 0, 64, [create, write]])
         || Name <- ["", <<>>, "a" ++ [0] ++ "b", <<"a", 0, "b">>, 17, name, [a], [-1]]]
    end).

what_is_no_file_is_refused(Config) ->
    Path = path(Config, ?FUNCTION_NAME),
    ok = filelib:ensure_path(Path),
    [] = os:cmd(["mkfifo ", Path, ".fifo"]),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {error, {not_a, regular_file}} = Do(open, [File, 0, 0, [read]]),
        {error, {not_a, regular_file}} = Do(open, [File ++ ".fifo", 0, 0, [read]]),
        {error, {not_a, regular_file}} = Do(open, [File ++ ".fifo", 0, 64, [create, write]]),
        {error, enotdir} = Do(open, [File ++ ".fifo/x", 0, 64, [create, write]])
    end).

%%% Sharing.

two_handles_see_each_other(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        G = region(Do, File, 0),
        ok = Do(pwrite, [F, 0, <<"from f">>]),
        {ok, <<"from f">>} = Do(pread, [G, 0, 6]),
        {ok, 0} = Do(patomic_add, [G, 8, 3]),
        {ok, 3} = Do(patomic_add, [F, 8, 3]),
        ok = Do(close, [F]),
        {ok, 6} = Do(patomic_read_integer, [G, 8])
    end).

other_programs_see_it(Config) ->
    Path = path(Config, ?FUNCTION_NAME),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 6),
        ok = Do(pwrite, [F, 0, <<"here\n">>]),
        "here\n" = os:cmd("head -n 1 " ++ Path),
        [] = os:cmd("printf there | dd of=" ++ Path ++ " conv=notrunc status=none"),
        {ok, <<"there", 0>>} = Do(pread, [F, 0, 10])
    end).

%%% Batches, information, owners.

a_batch_answers_in_order(Config) ->
    #{node := D} = ?config(daemon, Config),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        Requests = [{pwrite, 0, <<"abc">>}, {pread, 1, 2}, {patomic_add, 8, 1}, {pread, 64, 1},
                    {patomic_add, 9, 1}, {pwrite, 64, <<"x">>}, {frobnicate, 1}, {pread, 0, 1}, sync],
        {ok, [ok, {ok, <<"bc">>}, {ok, 0}, eof, {error, alignment}, {error, badarg},
              {error, {unknown_request, frobnicate}}, {ok, <<"a">>}, ok]} = batch(Do, D, F, Requests),
        {ok, []} = batch(Do, D, F, [])
    end).

a_batch_in_a_batch_is_badarg(Config) ->
    #{node := D} = ?config(daemon, Config),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        {error, badarg} = gen_server:call({emmap, D}, {batch, not_a_list}),
        {ok, [{error, badarg}]} = gen_server:call({emmap, D}, {batch, [{batch, []}]}),
        {ok, <<0>>} = Do(pread, [F, 0, 1])
    end).

info_counts(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        G = region(Do, File, 0),
        #{ops := Ops, errors := Errors, bytes_in := In, bytes_out := Out} = Do(info, [F]),
        ok = Do(pwrite, [F, 0, <<"0123456789">>]),
        {ok, <<"0123">>} = Do(pread, [F, 0, 4]),
        {error, alignment} = Do(patomic_add, [F, 1, 1]),
        #{name := Name, kind := region, size := 64, durability := default, handles := 2, clients := 1,
          ops := Ops3, errors := Errors1, bytes_in := In10, bytes_out := Out4,
          latency_us := #{p50 := P50, p99 := P99, max := Most}, waiting := 0, idle_ms := _,
          read_only := false} = Do(info, [File]),
        true = is_binary(Name),
        {true, _} = {P50 =< P99 andalso P99 =< Most, {P50, P99, Most}},
        true = Ops3 - Ops >= 3,
        [1, 4] = [Errors1 - Errors, Out4 - Out],
        true = In10 - In >= 10,
        ok = Do(close, [G])
    end).

an_owner_takes_its_handle_along(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {Owner, Monitor} = spawn_monitor(fun() -> receive stop -> ok end end),
        {ok, F, _} = Do(open, [File, 0, 64, [create, write, {owner, Owner}]]),
        ok = Do(pwrite, [F, 0, <<"x">>]),
        Owner ! stop,
        receive {'DOWN', Monitor, _, _, normal} -> ok end,
        ok = emmap_test:until(fun() -> {error, closed} =:= Do(pread, [F, 0, 1]) end)
    end).

counter_requests_on_a_region_are_refused(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = region(Do, File, 64),
        [{error, {wrong_kind, region}} = Do(Function, [F | Args])
         || {Function, Args} <- [{inc_counter, [0]}, {inc_counter, [0, 1]}, {dec_counter, [0]},
                                 {set_counter, [0, 1]}, {read_counter, [0]}, {read_counters, []},
                                 {read_counters, [[0]]}, {update_counters, [[{0, 1}]]}]]
    end).

%%% What only the wire has.

lines_are_read_by_position(Config) ->
    wire(Config, ?FUNCTION_NAME, fun(Call, File) ->
        {ok, F, _} = Call({open, File, 0, 16, [create, write]}),
        ok = Call({pwrite, F, 0, <<"one\n\r\nthree\nend!">>}),
        {ok, <<"one\n">>, 4} = Call({read_line, F, 0}),
        {ok, <<"\r\n">>, 6} = Call({read_line, F, 4}),
        {ok, <<"three\n">>, 12} = Call({read_line, F, 6}),
        {ok, <<"end!">>, 16} = Call({read_line, F, 12}),
        eof = Call({read_line, F, 16}),
        eof = Call({read_line, F, 1000})
    end).

truncate_cuts_to_a_size(Config) ->
    wire(Config, ?FUNCTION_NAME, fun(Call, File) ->
        {ok, F, _} = Call({open, File, 0, 16, [create, write]}),
        ok = Call({truncate, F, 10}),
        ok = Call({truncate, F, 20}),
        {ok, <<0:80>>} = Call({pread, F, 0, 20}),
        {ok, R, _} = Call({open, File, 0, 0, [read]}),
        {error, eacces} = Call({truncate, R, 5})
    end).

casts_are_counted(Config) ->
    #{node := D} = ?config(daemon, Config),
    wire(Config, ?FUNCTION_NAME, fun(Call, File) ->
        {ok, F, _} = Call({open, File, 0, 16, [create, write]}),
        [gen_server:cast({emmap, D}, Cast)
         || Cast <- [{pwrite, F, 0, <<"x">>}, {patomic_add, F, 1, 1}, {pwrite, F, 99, <<"x">>},
                     {patomic_add, F, 8, 1}]],
        {ok, 4, 2, alignment} = Call({barrier, F}),
        {ok, 4, 0, none} = Call({barrier, F})
    end).

a_bad_option_is_named(Config) ->
    wire(Config, ?FUNCTION_NAME, fun(Call, File) ->
        [{error, {bad_option, Option}} = Call({open, File, 0, 16, [create, write, Option]})
         || Option <- [fixed, {address, 5}, frobnicate, {size, -1}, {chmod, a}, 17]]
    end).

an_old_id_is_stale(Config) ->
    wire(Config, ?FUNCTION_NAME, fun(Call, _) ->
        [{error, stale} = Call({pread, Id, 0, 1}) || Id <- [1, 4711, 1 bsl 50]],
        ok = Call({close, 4711})
    end).

the_daemon_tells_of_itself(Config) ->
    #{node := D, program := Program} = ?config(daemon, Config),
    Pid = emmap_program:os_pid(Program),
    wire(Config, ?FUNCTION_NAME, fun(Call, _) ->
        #{node := D, version := Version, protocol := Protocol, os_pid := Pid, uptime_ms := Up,
          objects := Objects, clients := 1, rss := Rss, mapped := Mapped, fds := Fds,
          loop_lag_us := _, journal := _, workers := _, limits := #{max_frame := 67108864}} =
            Call(info),
        true = is_binary(Version) orelse is_list(Version),
        true = is_integer(Protocol),
        true = Up >= 0 andalso Objects >= 0 andalso Rss > 0 andalso Mapped >= 0 andalso Fds > 0
    end).

clients_are_listed(Config) ->
    wire(Config, ?FUNCTION_NAME, fun(Call, _) ->
        Me = node(),
        [#{node := Me, since_ms := Since, handles := Handles, bytes_in := In, bytes_out := Out}] =
            Call(clients),
        true = Since >= 0 andalso Handles >= 0 andalso In > 0 andalso Out > 0
    end).

objects_are_listed(Config) ->
    wire(Config, ?FUNCTION_NAME, fun(Call, File) ->
        {ok, F, _} = Call({open, File, 0, 16, [create, write]}),
        Listed = fun() -> [I || #{name := Name} = I <- Call(list),
                                string:find(Name, File) =/= nomatch] end,
        [#{kind := region, size := 16}] = Listed(),
        ok = Call({close, F}),
        [] = Listed()
    end).

%%% Trouble.

a_full_disk_is_enospc_and_all_else_goes_on(Config) ->
    Dir = filename:join(?config(dir, Config), "full"),
    ok = filelib:ensure_path(Dir),
    D = on_small_disk(Dir, "1m", Config),
    call(Config, D, fun(Call) ->
        {ok, F, _} = Call({open, "f", 0, 65536, [create, write]}),
        {ok, C, _} = Call({open_counters, "c", 1}),
        ok = Call({pwrite, F, 0, <<"kept">>}),
        {error, enospc} = Call({resize, F, 4194304}),
        {error, enospc} = Call({allocate, F, 0, 4194304}),
        {error, enospc} = Call({open, "g", 0, 4194304, [create, write]}),
        {error, enoent} = Call({open, "g", 0, 0, [read]}),
        {error, enospc} = Call({open_counters, "d", 1000000}),
        {ok, <<"kept">>} = Call({pread, F, 0, 4}),
        #{size := 65536} = Call({info, F}),
        {ok, 0} = Call({inc_counter, C, 0}),
        {ok, 131072} = Call({resize, F, 131072}),
        ok = Call({sync, F})
    end).

a_file_cut_by_others_is_eio_and_the_daemon_lives(Config) ->
    #{node := D, data_dir := Dir} = ?config(daemon, Config),
    Truncate = fun(Name) -> [] = os:cmd(["truncate -s 0 ", filename:join(Dir, Name)]) end,
    call(Config, D, fun(Call) ->
        {ok, F, _} = Call({open, "cut", 0, 65536, [create, write]}),
        {ok, G, _} = Call({open, "whole", 0, 65536, [create, write]}),
        {ok, C, _} = Call({open_counters, "cut_counters", 1000}),
        ok = Call({pwrite, F, 0, binary:copy(<<"x">>, 65536)}),
        Truncate("cut"),
        Truncate("cut_counters"),
        {error, eio} = Call({pread, F, 40000, 4}),
        {error, eio} = Call({pwrite, F, 40000, <<"x">>}),
        {error, eio} = Call({patomic_add, F, 40000, 1}),
        {error, eio} = Call({inc_counter, C, 900}),
        ok = Call({pwrite, G, 40000, <<"fine">>}),
        {ok, <<"fine">>} = Call({pread, G, 40000, 4}),
        ok = Call({close, F}),
        pong = Call(ping)
    end).

too_many_handles_are_a_limit(Config) ->
    #{node := D} = emmap_test:daemon(Config, #{args => ["--max-handles", "3"]}),
    call(Config, D, fun(Call) ->
        Open = {open, "handles", 0, 64, [create, write]},
        [F | _] = [begin {ok, Id, _} = Call(Open), Id end || _ <- [1, 2, 3]],
        {error, {limit, max_handles}} = Call(Open),
        ok = Call({close, F}),
        {ok, _, _} = Call(Open)
    end).

too_many_objects_are_a_limit(Config) ->
    #{node := D} = emmap_test:daemon(Config, #{args => ["--max-objects", "3"]}),
    call(Config, D, fun(Call) ->
        Open = fun(N) -> Call({open, lists:concat(["object", N]), 0, 64, [create, write]}) end,
        [F | _] = [begin {ok, Id, _} = Open(N), Id end || N <- [1, 2, 3]],
        {error, {limit, max_objects}} = Open(4),
        ok = Call({close, F}),
        {ok, _, _} = Open(4)
    end).

%%% Internal.

%% A handle of the file, which is made where Size is given.
region(Do, File, 0) ->
    {ok, F, _} = Do(open, [File, 0, 0, [read, write]]),
    F;
region(Do, File, Size) ->
    {ok, F, #{size := Size}} = Do(open, [File, 0, Size, [create, read, write]]),
    F.

%% A batch on one object, by the face that the handle is of.
batch(_Do, D, Id, Requests) when is_integer(Id) ->
    Full = [if is_atom(R) -> {R, Id};
               true -> list_to_tuple([element(1, R), Id | tl(tuple_to_list(R))])
            end || R <- Requests],
    gen_server:call({emmap, D}, {batch, Full});
batch(Do, _D, F, Requests) ->
    Do(batch, [F, Requests]).

wire(Config, Case, Fun) ->
    #{node := D} = ?config(daemon, Config),
    call(Config, D, fun(Call) -> Fun(Call, atom_to_list(Case)) end).

%% Runs the fun on the suite's client, with calls to the daemon D.
call(Config, D, Fun) ->
    on(?config(client, Config), fun() ->
        Fun(fun(Request) -> gen_server:call({emmap, D}, Request, infinity) end),
        ok
    end).

path(Config, Case) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    filename:join(Dir, emmap_face:file(Config, Case)).

mode(Path) ->
    list_to_integer(string:trim(os:cmd("stat -c %a " ++ Path)), 8).

%% A daemon whose data directory is a file system of its own, which ends with it.
on_small_disk(Dir, Size, Config) ->
    D = list_to_atom(emmap_test:unique("emmapd") ++ "@localhost"),
    Args = emmap_test:daemon_args(Config, #{node => D, data_dir => Dir}),
    Script = "mount -t tmpfs -o size=" ++ Size ++ " emmap " ++ Dir ++ " && exec \"$0\" \"$@\"",
    Program = emmap_program:start(os:find_executable("unshare"),
                                  ["-rm", "/bin/sh", "-c", Script, emmap_test:daemon_path() | Args],
                                  #{owner => self(),
                                    env => [{"ERL_EPMD_PORT", integer_to_list(?config(epmd, Config))}]}),
    _ = emmap_test:await_ready(#{program => Program, node => D}),
    D.
