%% Block stores: each function, option and error, by the wrapper and by plain calls.
-module(block_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

-define(PAGE, 4096).
-define(SIZE, 12).
-define(SLOT, 24). % 8 bytes and the block, in multiples of 8

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    emmap_face:groups(
      [blocks_are_read_as_stored, the_lowest_free_address_comes_first, many_are_stored_all_or_none,
       what_is_not_there_is_eof, blocks_are_listed_piece_by_piece, a_store_grows_as_it_needs,
       a_store_of_fixed_size_is_full, wrong_requests_are_badarg, without_a_store_there_are_no_blocks,
       a_file_of_something_else_is_kept, a_store_has_one_size, a_store_is_no_region_any_more,
       other_kinds_are_no_store, a_store_is_found_again, by_name_it_opens_itself,
       a_read_only_handle_reads, a_store_is_ours_alone, a_torn_block_is_told_and_repaired,
       a_damaged_header_is_told, a_cut_file_is_an_error, processes_share_a_store,
       a_durable_store_says_so, info_tells_the_kind, a_batch_stores_and_reads])
        ++ [{wrapper_only, [], [all_blocks_are_listed_backwards, repair_has_three_forms,
                                a_cast_stores_too, after_a_kill_it_is_repaired]}].

init_per_suite(Config) ->
    emmap_face:start(Config).

end_per_suite(Config) ->
    emmap_face:stop(Config).

%%% Storing, reading, freeing.

blocks_are_read_as_stored(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        Blocks = [block(N) || N <- lists:seq(0, 299)],
        true = lists:seq(0, 299) =:= [Do(store_block, [F, Block]) || Block <- Blocks],
        Blocks = [Do(read_block, [F, A]) || A <- lists:seq(0, 299)],
        Blocks = Do(read_blocks, [F, lists:seq(0, 299)]),
        300 = Do(store_block, [F, ["io", [<<"lis">>, "t"], "123456"]]),
        <<"iolist123456">> = Do(read_block, [F, 300])
    end).

the_lowest_free_address_comes_first(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        _ = Do(store_blocks, [F, [block(N) || N <- lists:seq(0, 199)]]),
        true = Do(free_block, [F, 150]),
        [true, true, false] = Do(free_blocks, [F, [3, 70, 3]]),
        [3, 70, 150, 200] = [Do(store_block, [F, block(A)]) || A <- [3, 70, 150, 200]],
        true = [block(A) || A <- lists:seq(0, 200)] =:= Do(read_blocks, [F, lists:seq(0, 200)])
    end).

many_are_stored_all_or_none(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        [] = Do(store_blocks, [F, []]),
        [badarg = Do(store_blocks, [F, Blocks])
         || Blocks <- [[block(1), <<"short">>], [block(1), a], [block(1) | block(2)], block(1), a,
                       [block(1), <<(block(2))/binary, 0>>]]],
        [0, 1] = Do(store_blocks, [F, [block(1), block(2)]]),
        {[{0, _}, {1, _}], eof} = Do(read_blocks, [F, 0, 100])
    end).

what_is_not_there_is_eof(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        0 = Do(store_block, [F, block(0)]),
        [begin
             eof = Do(read_block, [F, A]),
             false = Do(free_block, [F, A])
         end || A <- [1, 63, 4096, 262144, 1 bsl 31 + 1, 1 bsl 63, (1 bsl 64) - 1]],
        [<<_:?SIZE/binary>>, eof] = Do(read_blocks, [F, [0, 1 bsl 40]]),
        true = Do(free_block, [F, 0]),
        eof = Do(read_block, [F, 0]),
        false = Do(free_block, [F, 0])
    end).

blocks_are_listed_piece_by_piece(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        {[], eof} = Do(read_blocks, [F, 0, 10]),
        _ = Do(store_blocks, [F, [block(N) || N <- lists:seq(0, 99)]]),
        _ = Do(free_blocks, [F, lists:seq(10, 89)]),
        {[], 0} = Do(read_blocks, [F, 0, 0]),
        {First, Next} = Do(read_blocks, [F, 0, 15]),
        true = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 90, 91, 92, 93, 94] =:= [A || {A, _} <- First],
        {Second, eof} = Do(read_blocks, [F, Next, 1000]),
        [95, 96, 97, 98, 99] = [A || {A, _} <- Second],
        true = lists:all(fun({A, Block}) -> Block =:= block(A) end, First ++ Second),
        {[], eof} = Do(read_blocks, [F, 100, 10]),
        {[], eof} = Do(read_blocks, [F, (1 bsl 64) - 1, 10])
    end).

%%% The file.

a_store_grows_as_it_needs(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, F, _} = Do(open, [File, 0, 0, [create, write, {max_inc_size, 8192}]]),
        ok = Do(init_block_storage, [F, 1000]),
        [begin
             A = Do(store_block, [F, <<A:8000>>]),
             #{size := Size} = Do(info, [F]),
             true = Size =< 2 * ?PAGE + (A + 1) * 1008 + 8192
         end || A <- lists:seq(0, 99)],
        true = lists:seq(100, 299) =:= Do(store_blocks, [F, [<<A:8000>> || A <- lists:seq(100, 299)]]),
        [<<A:8000>> = Do(read_block, [F, A]) || A <- [0, 99, 100, 299]]
    end).

a_store_of_fixed_size_is_full(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, F, _} = Do(open, [File, 0, 2 * ?PAGE + 2 * ?SLOT, [create, write, fixed_size]]),
        ok = Do(init_block_storage, [F, ?SIZE]),
        {error, full} = Do(store_blocks, [F, [block(N) || N <- [0, 1, 2]]]),
        [0, 1] = Do(store_blocks, [F, [block(0), block(1)]]),
        {error, full} = Do(store_block, [F, block(2)]),
        true = Do(free_block, [F, 0]),
        0 = Do(store_block, [F, block(3)])
    end).

wrong_requests_are_badarg(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        0 = Do(store_block, [F, block(0)]),
        [badarg = Do(Function, [F | Args])
         || {Function, Args} <-
                [{store_block, [<<>>]}, {store_block, [<<0:88>>]}, {store_block, [<<0:104>>]},
                 {store_block, [a]}, {store_block, [<<0:95>>]}, {read_block, [-1]}, {read_block, [a]},
                 {read_block, [1 bsl 64]}, {read_block, [0.0]}, {read_blocks, [[0, -1]]},
                 {read_blocks, [[0 | 1]]}, {read_blocks, [0, -1]}, {read_blocks, [a, 1]},
                 {free_block, [-1]}, {free_blocks, [[a]]}, {free_blocks, [a]},
                 {init_block_storage, [0]}, {init_block_storage, [-1]}, {init_block_storage, [a]},
                 {init_block_storage, [16 bsl 20 + 1]}, {repair_block_storage, [a]},
                 {repair_block_storage, [[{from, -1}]]}, {repair_block_storage, [[{count, a}]]},
                 {repair_block_storage, [[frobnicate]]}]],
        {[{0, _}], eof} = Do(read_blocks, [F, 0, 100])
    end).

without_a_store_there_are_no_blocks(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, F, _} = Do(open, [File, 0, 100000, [create, write]]),
        [{error, {not_a, blocks}} = Do(Function, [F | Args]) || {Function, Args} <- requests()],
        ok = Do(pwrite, [F, 0, <<"a region">>]),
        [{error, {not_a, blocks}} = Do(Function, [F | Args]) || {Function, Args} <- requests()],
        {ok, <<"a region">>} = plain(Do(pread, [F, 0, 8]))
    end).

a_file_of_something_else_is_kept(Config) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        [begin
             Name = lists:concat([File, N]),
             ok = file:write_file(filename:join(Dir, Name), Bytes),
             {ok, F, _} = Do(open, [Name, 0, 0, [write]]),
             {error, {not_a, blocks}} = Do(init_block_storage, [F, ?SIZE]),
             ok = Do(close, [F]),
             {ok, Bytes} = file:read_file(filename:join(Dir, Name))
         end || {N, Bytes} <- lists:enumerate([<<0:80000, 1>>, <<1, 0:80000>>, <<"EMMAP01\n", 0:64>>,
                                               <<0:(8 * 4096), 1, 0:(8 * 4096)>>, <<"x">>])]
    end).

a_store_has_one_size(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        0 = Do(store_block, [F, block(0)]),
        ok = Do(init_block_storage, [F, ?SIZE]),
        {error, {block_size, ?SIZE}} = Do(init_block_storage, [F, ?SIZE + 1]),
        true = block(0) =:= Do(read_block, [F, 0])
    end).

a_store_is_no_region_any_more(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        {ok, G, _} = Do(open, [File, 0, 0, [write]]),
        0 = Do(store_block, [F, block(0)]),
        [{error, {wrong_kind, blocks}} = Do(Function, [H | Args])
         || H <- [F, G],
            {Function, Args} <- [{pwrite, [5000, <<"x">>]}, {patomic_add, [4096, 1]}, {resize, [0]},
                                 {patomic_write_integer, [0, 1]}, {allocate, [0, 1000000]}]],
        {ok, <<"EMMAPB1\n">>} = plain(Do(pread, [G, 0, 8])),
        [ok = Do(Function, [F]) || Function <- [flush, sync]],
        true = block(0) =:= Do(read_block, [G, 0])
    end).

other_kinds_are_no_store(Config) ->
    #{node := D} = ?config(daemon, Config),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, Id, _} = emmap_queue_face:call(D, {open_queue, File ++ "q", 0, []}),
        {ok, Cs, _} = emmap_queue_face:call(D, {open_counters, File ++ "c", 2}),
        [{error, {wrong_kind, Kind}} = emmap_queue_face:call(D, list_to_tuple([Function, Obj | Args]))
         || {Obj, Kind} <- [{Id, queue}, {Cs, counters}], {Function, Args} <- requests()],
        F = store(Do, File),
        [{error, {wrong_kind, blocks}} = emmap_queue_face:call(D, Request)
         || Request <- [{push, File, x}, {inc_counter, File, 0}, {open_queue, File, 0, []}]],
        0 = Do(store_block, [F, block(0)])
    end).

a_store_is_found_again(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        _ = Do(store_blocks, [F, [block(N) || N <- lists:seq(0, 9)]]),
        true = Do(free_block, [F, 4]),
        ok = Do(close, [F]),
        {ok, G, #{exist := true}} = Do(open, [File, 0, 0, [write]]),
        eof = Do(read_block, [G, 4]),
        true = block(5) =:= Do(read_block, [G, 5]),
        4 = Do(store_block, [G, block(4)]),
        10 = Do(store_block, [G, block(10)])
    end).

by_name_it_opens_itself(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {error, enoent} = Do(read_block, [File, 0]),
        F = store(Do, File),
        0 = Do(store_block, [File, block(0)]),
        ok = Do(close, [F]),
        true = block(0) =:= Do(read_block, [File, 0]),
        1 = Do(store_block, [list_to_binary(File), block(1)]),
        {[{0, _}, {1, _}], eof} = Do(read_blocks, [File, 0, 10])
    end).

a_read_only_handle_reads(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        0 = Do(store_block, [F, block(0)]),
        ok = Do(close, [F]),
        {ok, G, _} = Do(open, [File, 0, 0, [read]]),
        true = block(0) =:= Do(read_block, [G, 0]),
        [{error, eacces} = Do(Function, [G | Args])
         || {Function, Args} <- [{store_block, [block(1)]}, {free_block, [0]},
                                 {init_block_storage, [?SIZE]}, {repair_block_storage, [[]]}]],
        true = block(0) =:= Do(read_block, [G, 0])
    end).

%% By a second daemon, which has the same file under another name.
a_store_is_ours_alone(Config) ->
    #{data_dir := Dir, node := D} = ?config(daemon, Config),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        0 = Do(store_block, [F, block(0)])
    end),
    Other = emmap_test:start_daemon(Config, #{args => ["--allow-path", Dir]}),
    #{node := E} = Other,
    Path = filename:join(Dir, emmap_face:file(Config, ?FUNCTION_NAME)),
    emmap_test:on(?config(client, Config), fun() ->
        Who = atom_to_binary(D),
        case emmap_queue_face:call(E, {open, Path, 0, 0, [write]}) of
            {ok, Id, _} -> {error, {locked, Who}} = emmap_queue_face:call(E, {read_block, Id, 0});
            {error, {locked, Who}} -> ok
        end,
        ok
    end),
    _ = emmap_test:stop_daemon(Other),
    ok.

%%% Damage.

a_torn_block_is_told_and_repaired(Config) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        [0, 1, 2] = Do(store_blocks, [F, [block(N) || N <- [0, 1, 2]]]),
        ok = overwrite(filename:join(Dir, File), 2 * ?PAGE + ?SLOT + 8, <<"torn">>),
        {error, {corrupt, 1}} = Do(read_block, [F, 1]),
        {error, {corrupt, 1}} = Do(read_blocks, [F, [0, 1, 2]]),
        {[{0, _}, {2, _}], eof} = Do(read_blocks, [F, 0, 10]),
        #{blocks := 2, lost := [1], freed := 0, next := eof} = Do(repair_block_storage, [F, [dry_run]]),
        {error, {corrupt, 1}} = Do(read_block, [F, 1]),
        #{blocks := 1, lost := [], freed := 0, next := 1} =
            Do(repair_block_storage, [F, [{from, 0}, {count, 1}]]),
        #{blocks := 1, lost := [1], freed := 1, next := eof} =
            Do(repair_block_storage, [F, [{from, 1}]]),
        eof = Do(read_block, [F, 1]),
        ok = overwrite(filename:join(Dir, File), ?PAGE, <<0>>), % the map forgets them
        #{blocks := 2, lost := [], freed := 0} = Do(repair_block_storage, [F, []]),
        1 = Do(store_block, [F, block(7)])
    end).

a_damaged_header_is_told(Config) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        0 = Do(store_block, [F, block(0)]),
        ok = Do(close, [F]),
        ok = overwrite(filename:join(Dir, File), 12, <<99>>),
        {ok, G, _} = Do(open, [File, 0, 0, [write]]),
        [{error, {damaged, <<"header: ", _/binary>>}} = Do(Function, [G | Args])
         || {Function, Args} <- requests()],
        ok = overwrite(filename:join(Dir, File), 12, <<?SIZE>>),
        true = block(0) =:= Do(read_block, [G, 0])
    end).

a_cut_file_is_an_error(Config) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        _ = Do(store_blocks, [F, [block(N) || N <- lists:seq(0, 999)]]),
        {ok, Io} = file:open(filename:join(Dir, File), [read, write, raw]),
        {ok, _} = file:position(Io, 2 * ?PAGE),
        ok = file:truncate(Io),
        ok = file:close(Io),
        {error, eio} = Do(read_block, [F, 999]),
        {error, eio} = Do(store_block, [F, block(0)]),
        ok = Do(close, [F]),
        {ok, G, _} = Do(open, [File, 0, 0, [write]]),
        eof = Do(read_block, [G, 999]),
        0 = Do(store_block, [G, block(0)])
    end).

%% In the background, from the first request on.
after_a_kill_it_is_repaired(Config) ->
    #{node := D} = Daemon = emmap_test:start_daemon(Config, #{}),
    Store = fun(Name) ->
        {ok, _, _} = emmap_queue_face:call(D, {open, Name, 0, 0, [create, write]}),
        ok = emmap_queue_face:call(D, {init_block_storage, Name, ?SIZE}),
        {ok, _} = emmap_queue_face:call(D, {store_blocks, Name, [block(N) || N <- lists:seq(0, 99999)]}),
        ok
    end,
    Client = ?config(client, Config),
    ok = emmap_test:on(Client, fun() -> Store("walked") end),
    ok = emmap_test:kill_daemon(Daemon),
    #{data_dir := Dir} = Again = emmap_test:restart_daemon(Daemon),
    Path = filename:join(Dir, "walked"),
    ok = overwrite(Path, ?PAGE, <<0>>), % the map forgets eight
    ok = overwrite(Path, 2 * ?PAGE + 20000 * ?SLOT + 8, <<"torn">>),
    emmap_test:on(Client, fun() ->
        true = block(99999) =:= element(2, emmap_queue_face:call(D, {read_block, "walked", 99999})),
        emmap_test:until(fun() ->
            #{blocks := Blocks} = emmap_queue_face:call(D, {info, "walked"}),
            Blocks =:= 99999
        end),
        eof = emmap_queue_face:call(D, {read_block, "walked", 20000}),
        ok
    end),
    _ = emmap_test:stop_daemon(Again),
    ok.

%%% Together.

processes_share_a_store(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        Work = fun() ->
            [begin
                 Block = block(rand:uniform(1 bsl 60)),
                 A = Do(store_block, [F, Block]),
                 Block = Do(read_block, [F, A]),
                 case rand:uniform(2) of
                     1 -> [];
                     2 -> true = Do(free_block, [F, A]), []
                 end,
                 A
             end || _ <- lists:seq(1, 300)]
        end,
        _ = emmap_test:in_parallel(lists:duplicate(4, Work)),
        #{lost := [], freed := 0, blocks := N} = Do(repair_block_storage, [F, []]),
        {All, eof} = Do(read_blocks, [F, 0, 10000]),
        N = length(All)
    end).

a_durable_store_says_so(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        {ok, F, _} = Do(open, [File, 0, 0, [create, write, {durability, sync}]]),
        ok = Do(init_block_storage, [F, ?SIZE]),
        #{durability := sync} = Do(info, [F]),
        true = lists:seq(0, 99) =:= Do(store_blocks, [F, [block(N) || N <- lists:seq(0, 99)]]),
        true = Do(free_block, [F, 7]),
        7 = Do(store_block, [F, block(7)]),
        true = block(7) =:= Do(read_block, [F, 7])
    end).

info_tells_the_kind(Config) ->
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        [0, 1, 2] = Do(store_blocks, [F, [block(N) || N <- [0, 1, 2]]]),
        true = Do(free_block, [F, 1]),
        #{kind := blocks, block_size := ?SIZE, blocks := 2, free := Free} = Do(info, [F]),
        true = Free >= 1
    end).

a_batch_stores_and_reads(Config) ->
    #{node := D} = ?config(daemon, Config),
    in(Config, ?FUNCTION_NAME, fun(Do, File) ->
        F = store(Do, File),
        Id = case F of _ when is_integer(F) -> F; _ -> File end,
        {ok, [{ok, 0}, {ok, [1, 2]}, {ok, Block}, {ok, true}, eof]} =
            emmap_queue_face:call(D, {batch, [{store_block, Id, block(0)},
                                              {store_blocks, Id, [block(1), block(2)]},
                                              {read_block, Id, 2}, {free_block, Id, 0},
                                              {read_block, Id, 0}]}),
        true = Block =:= block(2)
    end).

%%% What only the wrapper has.

all_blocks_are_listed_backwards(Config) ->
    at(Config, fun() ->
        {ok, F, _} = emmap:open("listed", 0, 0, [create, write]),
        {error, {not_a, blocks}} = emmap:read_blocks(F),
        ok = emmap:init_block_storage(F, 1000),
        [] = emmap:read_blocks(F),
        Blocks = [<<N:8000>> || N <- lists:seq(0, 999)],
        _ = emmap:store_blocks(F, Blocks), % more than one piece
        true = emmap:free_block(F, 500),
        All = emmap:read_blocks(F),
        true = lists:seq(999, 0, -1) -- [500] =:= [A || {A, _} <- All],
        true = lists:all(fun({A, <<N:8000>>}) -> A =:= N end, All)
    end).

repair_has_three_forms(Config) ->
    at(Config, fun() ->
        {ok, F, _} = emmap:open("repaired", 0, 0, [create, write]),
        ok = emmap:init_block_storage(F, 12),
        _ = emmap:store_blocks(F, [block(N) || N <- lists:seq(0, 9)]),
        ok = emmap:repair_block_storage(F),
        5 = emmap:repair_block_storage(F, 0, 5),
        eof = emmap:repair_block_storage(F, 5, 100000),
        {ok, #{blocks := 10}} = emmap:repair_block_storage(F, [dry_run])
    end).

a_cast_stores_too(Config) ->
    at(Config, fun() ->
        {ok, F, _} = emmap:open("cast", 0, 0, [create, write]),
        ok = emmap:init_block_storage(F, 12),
        [ok = emmap:cast(F, {store_block, block(N)}) || N <- lists:seq(0, 99)],
        ok = emmap:barrier(F),
        true = block(99) =:= emmap:read_block(F, 99)
    end).

%%% Internal.

%% A function's result and a reply tell the same: {ok, Value} or the value itself.
in(Config, Case, Fun) ->
    emmap_face:in(Config, Case, fun(Ask, File) ->
        Fun(fun(Function, Args) -> bare(Function, Ask(Function, Args)) end, File)
    end).

bare(open, Reply) -> Reply;
bare(_, {ok, Blocks, Next}) -> {Blocks, Next};
bare(_, {ok, Value}) -> Value;
bare(_, Reply) -> Reply.

plain(Value) -> {ok, Value}.

at(Config, Fun) ->
    emmap_test:on(?config(client, Config), fun() -> Fun(), ok end).

store(Do, File) ->
    {ok, F, _} = Do(open, [File, 0, 0, [create, write]]),
    ok = Do(init_block_storage, [F, ?SIZE]),
    F.

block(N) ->
    <<N:64, (erlang:phash2(N)):32>>.

requests() ->
    [{store_block, [block(0)]}, {store_blocks, [[block(0)]]}, {read_block, [0]}, {read_blocks, [[0]]},
     {read_blocks, [0, 1]}, {free_block, [0]}, {free_blocks, [[0]]}, {repair_block_storage, [[]]}].

overwrite(Path, At, Bytes) ->
    {ok, Io} = file:open(Path, [read, write, raw]),
    ok = file:pwrite(Io, At, Bytes),
    file:close(Io).
