%% `emmapd convert` on files as the NIF library lays them out; a daemon opens what it has made.
-module(tools_convert_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2]).
-import(emmap_tool, [run/1, run/2]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [blocks_are_at_the_translated_addresses, a_store_that_was_never_used_is_empty,
     a_converted_store_goes_on, the_map_tells_each_address, another_number_of_levels_is_refused,
     damaged_masks_are_refused_and_can_be_passed_over, a_queue_keeps_its_items_and_their_time,
     the_old_file_is_only_read, what_is_there_is_not_overwritten, what_needs_no_conversion_is_told,
     a_file_in_use_is_refused, without_space_nothing_is_left, wrong_use_is_told].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Node = emmap_test:start_node(Config, #{application => [{daemon, external}, {node, D}]}),
    [{daemon, Daemon}, {client, Node} | Config].

end_per_suite(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

%%% Old block files, by section 5.1 of FORMAT.md.

%% Stored: so many were stored, one after the other; Freed: the places of those that were freed.
old_blocks(Levels, Size, Stored, Freed) ->
    F = #{size => Size, stored => Stored, freed => maps:from_keys(Freed, freed)},
    {Tree, Last} = case Stored of
        0 -> {[], -1};
        _ -> {group(Levels, 0, F), mask_at(Levels, Stored - 1, F)}
    end,
    iolist_to_binary([<<Size:32/little, 16#abcd:32, Last:64/little-signed>>, Tree,
                      binary:copy(<<255>>, 100)]).

group(N, First, F) ->
    Width = places(N - 1),
    Counts = [count(First + I * Width, Width, F) || I <- lists:seq(0, 63)],
    Free = mask([C < Width || C <- Counts]),
    Used = [<<(mask([C > 0 || C <- Counts])):64/little>> || N > 1],
    Below = [case N of
                 1 -> block(P, F);
                 _ -> group(N - 1, P, F)
             end || I <- lists:seq(0, 63), P <- [First + I * Width], P < maps:get(stored, F)],
    [<<Free:64/little>>, Used, Below].

places(N) -> 1 bsl (6 * N).

count(First, Width, F) ->
    length([P || P <- lists:seq(First, First + Width - 1), is_stored(P, F)]).

is_stored(P, #{stored := Stored, freed := Freed}) ->
    P < Stored andalso not is_map_key(P, Freed).

mask(Bools) ->
    lists:foldr(fun(true, M) -> M * 2 + 1; (false, M) -> M * 2 end, 0, Bools).

len(0, #{size := Size}) -> Size;
len(1, F) -> 8 + 64 * len(0, F);
len(N, F) -> 16 + 64 * len(N - 1, F).

mask_at(1, _, _) -> 0;
mask_at(N, P, F) -> 16 + P div places(N - 1) * len(N - 1, F) + mask_at(N - 1, P rem places(N - 1), F).

block(P, #{size := Size}) ->
    binary:part(binary:copy(<<P:32, "block">>, Size div 9 + 1), 0, Size).

%% The library's number of a place, with three levels.
address(P) ->
    <<X:6, Y:6, Z:6>> = <<P:18>>,
    <<A:18>> = <<Z:6, Y:6, X:6>>,
    A.

%%% Files.

path(Config, Name) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    filename:join(Dir, Name).

old(Config, Name, Bytes) ->
    Path = path(Config, Name),
    ok = file:write_file(Path, Bytes),
    Path.

%% Nothing is made in the directory, and the old file stays.
refused(Config, Status, Args, Why) ->
    Before = names(Config),
    {Status, _, Said} = run(["convert" | Args]),
    {match, _} = re:run(Said, Why),
    Before = names(Config),
    ok.

names(Config) ->
    {ok, Names} = file:list_dir(path(Config, "")),
    lists:sort(Names).

%%% Blocks.

blocks_are_at_the_translated_addresses(Config) ->
    [begin
         Freed = [P || P <- [0, 3, 63, 4095], P < Stored] ++ [P || P <- lists:seq(64, 127), P < Stored],
         Kept = lists:seq(0, Stored - 1) -- Freed,
         Name = lists:concat(["blocks_", Size, "_", Stored]),
         Old = old(Config, Name ++ ".old", old_blocks(3, Size, Stored, Freed)),
         {0, Said, <<>>} = run(["convert", "--blocks", Old, path(Config, Name)]),
         {match, _} = re:run(Said, lists:concat(["a block store with ", length(Kept), " blocks of ",
                                                 Size, " bytes\n"])),
         Blocks = [{P, block(P, #{size => Size})} || P <- Kept],
         on(?config(client, Config), fun() ->
             {ok, F, _} = emmap:open(Name, [write]),
             ok = emmap:init_block_storage(F, Size),
             true = lists:reverse(Blocks) =:= emmap:read_blocks(F),
             [eof = emmap:read_block(F, P) || P <- Freed],
             {ok, #{blocks := N, lost := [], freed := 0}} = emmap:repair_block_storage(F, []),
             N = length(Kept),
             emmap:close(F)
         end)
     end || {Size, Stored} <- [{5, 1}, {5, 4300}, {13, 130}, {1000, 70}, {4096, 65}]].

a_store_that_was_never_used_is_empty(Config) ->
    Old = old(Config, "new.old", old_blocks(3, 22, 0, [])),
    {0, _, <<>>} = run(["convert", "--blocks", Old, path(Config, "new")]),
    on(?config(client, Config), fun() ->
        {ok, F, _} = emmap:open("new", [write]),
        {error, {block_size, 22}} = emmap:init_block_storage(F, 23),
        [] = emmap:read_blocks(F),
        0 = emmap:store_block(F, binary:copy(<<1>>, 22)),
        emmap:close(F)
    end).

a_converted_store_goes_on(Config) ->
    Old = old(Config, "goes_on.old", old_blocks(3, 9, 200, [7, 150])),
    {0, _, <<>>} = run(["convert", "--blocks", Old, path(Config, "goes_on")]),
    on(?config(client, Config), fun() ->
        {ok, F, _} = emmap:open("goes_on", [write]),
        [7, 150, 200] = [emmap:store_block(F, <<"123456789">>) || _ <- [1, 2, 3]],
        true = emmap:free_block(F, 0),
        emmap:close(F)
    end).

the_map_tells_each_address(Config) ->
    Kept = lists:seq(0, 4199) -- [1, 70],
    Old = old(Config, "map.old", old_blocks(3, 4, 4200, [1, 70])),
    Lines = iolist_to_binary([io_lib:format("~b ~b~n", [address(P), P]) || P <- Kept]),
    {0, Lines, <<>>} = run(["convert", "--blocks", "--map", "-", Old, path(Config, "map1")]),
    Map = path(Config, "map.txt"),
    {0, _, <<>>} = run(["convert", "--blocks", "--map", Map, Old, path(Config, "map2")]),
    {ok, Lines} = file:read_file(Map),
    refused(Config, 1, ["--blocks", "--map", Map, Old, path(Config, "map3")], "map.txt: File exists"),
    refused(Config, 2, ["--blocks", "--map", path(Config, "no/map"), Old, path(Config, "map3")],
            "no/map: No such file"),
    {ok, Lines} = file:read_file(Map),
    Before = names(Config),
    {2, _, Said} = run(["convert", "--blocks", "--map", "-", Old, path(Config, "map3")],
                       "\"$@\" 2>\"$said\" >/dev/full"),
    {match, _} = re:run(Said, "emmapd: -: No space left"),
    Before = names(Config).

another_number_of_levels_is_refused(Config) ->
    [begin
         Name = lists:concat(["levels", Levels]),
         Old = old(Config, Name ++ ".old", old_blocks(Levels, 30, 50, [])),
         [refused(Config, 1, ["--blocks", "--levels", integer_to_list(Other), Old, path(Config, Name)],
                  lists:concat(["no block store of the NIF library with ", Other, " levels: "]))
          || Other <- lists:seq(1, 5), Other =/= Levels],
         {0, _, <<>>} = run(["convert", "--blocks", "--levels", integer_to_list(Levels), Old,
                             path(Config, Name)])
     end || Levels <- [1, 2, 3, 4]].

damaged_masks_are_refused_and_can_be_passed_over(Config) ->
    <<Head:16/binary, Free:64, Used:64, Rest/binary>> = old_blocks(3, 11, 40, [2]),
    [begin
         Name = lists:concat(["damaged", N]),
         Old = old(Config, Name ++ ".old", Bytes),
         refused(Config, 1, ["--blocks", Old, path(Config, Name)], Why),
         {0, Said, <<>>} = run(["convert", "--blocks", "--lowest-only", Old, path(Config, Name)]),
         {match, _} = re:run(Said, lists:concat(["with ", Kept, " blocks"]))
     end || {N, Bytes, Why, Kept} <-
                [{1, <<Head/binary, 0:64, Used:64, Rest/binary>>, "byte 16: the mask of what is free", 39},
                 {2, <<Head/binary, Free:64, 0:64, Rest/binary>>, "byte 24: the mask of what is used", 39},
                 {3, <<Head/binary, Free:64, Used:64, (binary:part(Rest, 0, 24 + 20 * 11))/binary>>,
                  "byte 48: the mask knows a block behind the end", 19}]].

%%% Queues.

a_queue_keeps_its_items_and_their_time(Config) ->
    Terms = [{job, N, binary:copy(<<N>>, N rem 300)} || N <- lists:seq(1, 2000)],
    Old = old(Config, "queue.old", convert_SUITE:old_file([term_to_binary(T) || T <- Terms])),
    Then = 1600000000,
    ok = file:write_file_info(Old, #file_info{mtime = Then}, [{time, posix}]),
    {0, Said, <<>>} = run(["convert", Old, path(Config, "queue")]),
    {match, _} = re:run(Said, "queue: a queue of 2000 items\n$"),
    %% its first record
    {ok, <<_:65536/binary, _:32, 1:32/little, 1:64/little, Time:64/little, _/binary>>} =
        file:read_file(path(Config, "queue")),
    Time = Then * 1000,
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open("queue", 0, []),
        {ok, Terms} = emmap_queue:pop_many(Q, 3000),
        emmap_queue:close(Q)
    end).

the_old_file_is_only_read(Config) ->
    [begin
         Old = old(Config, Name ++ ".old", Bytes),
         ok = file:change_mode(Old, 8#640),
         ok = file:write_file_info(Old, #file_info{mtime = 1500000000}, [{time, posix}]),
         {ok, Before} = file:read_file_info(Old, [raw, {time, posix}]),
         {0, _, <<>>} = run(["convert" | Args] ++ [Old, path(Config, Name)]),
         {ok, After} = file:read_file_info(Old, [raw, {time, posix}]),
         true = Before#file_info{atime = 0} =:= After#file_info{atime = 0},
         {ok, Bytes} = file:read_file(Old),
         {ok, #file_info{mode = Mode, links = 1}} = file:read_file_info(path(Config, Name)),
         8#640 = Mode band 8#7777
     end || {Name, Args, Bytes} <- [{"read_b", ["--blocks"], old_blocks(3, 8, 99, [])},
                                    {"read_q", [], convert_SUITE:old_file([term_to_binary(a)])}]].

%%% What is refused.

what_is_there_is_not_overwritten(Config) ->
    Blocks = old(Config, "taken.b", old_blocks(3, 8, 99, [])),
    Queue = old(Config, "taken.q", convert_SUITE:old_file([term_to_binary(a)])),
    New = old(Config, "taken", "precious"),
    Link = path(Config, "taken.link"),
    ok = file:make_symlink("nowhere", Link),
    [refused(Config, 1, Args ++ [Taken], "taken[.a-z]*: the file exists")
     || Args <- [["--blocks", Blocks], [Queue]], Taken <- [New, Link, Blocks, Queue]],
    {ok, <<"precious">>} = file:read_file(New),
    refused(Config, 2, [Queue, path(Config, "no/where")], "no/where: no such file"),
    refused(Config, 2, [Queue, path(Config, "dir") ++ "/"], "dir/: ").

what_needs_no_conversion_is_told(Config) ->
    #{node := D} = ?config(daemon, Config),
    on(?config(client, Config), fun() ->
        {C, 3} = emmap:open_counters("needs.c", 3),
        ok = emmap:close_counters(C),
        {ok, Q} = emmap_queue:open("needs.q", 0, []),
        ok = emmap_queue:close(Q),
        {ok, F, _} = emmap:open("needs.b", [create, write, {size, 1}]),
        ok = emmap:init_block_storage(F, 9),
        ok = emmap:close(F),
        {emmap, D} ! nothing
    end),
    _ = old(Config, "needs.r", "some bytes"),
    [refused(Config, 1, [path(Config, Name), path(Config, "needs.new")], Why)
     || {Name, Why} <- [{"needs.c", "such as ours already"}, {"needs.q", "emmapd's own"},
                        {"needs.b", "emmapd's own"}, {"needs.r", "need --blocks"}]],
    [refused(Config, 1, ["--blocks", path(Config, Name), path(Config, "needs.new")],
             "no block store of the NIF library")
     || Name <- ["needs.c", "needs.q", "needs.b", "needs.r"]],
    refused(Config, 2, [path(Config, "needs.none"), path(Config, "needs.new")], "No such file"),
    refused(Config, 2, [path(Config, ""), path(Config, "needs.new")], "is a directory").

a_file_in_use_is_refused(Config) ->
    Old = old(Config, "in_use.old", old_blocks(3, 8, 99, [])),
    Client = ?config(client, Config),
    on(Client, fun() ->
        Opener = self(),
        Holder = spawn(fun() ->
            {ok, F, _} = emmap:open("in_use.old", [read]),
            Opener ! opened,
            receive {stop, From} -> ok = emmap:close(F), From ! closed end
        end),
        true = register(holder, Holder),
        receive opened -> ok end
    end),
    refused(Config, 2, ["--blocks", Old, path(Config, "in_use")], "in_use.old: .* has it open; close it"),
    on(Client, fun() ->
        holder ! {stop, self()},
        receive closed -> ok end
    end),
    ok = emmap_test:until(fun() ->
        element(1, run(["convert", "--blocks", Old, path(Config, "in_use")])) =:= 0
    end).

%% As if the disk were full: no file may be longer than so many KiB.
without_space_nothing_is_left(Config) ->
    Blocks = old(Config, "space.b", old_blocks(3, 1000, 150, [])),
    Queue = old(Config, "space.q", convert_SUITE:old_file([term_to_binary(binary:copy(<<1>>, 90000))
                                                           || _ <- [1, 2, 3]])),
    Before = names(Config),
    [begin
         Script = "ulimit -f " ++ KiB ++ " && \"$@\" 2>\"$said\"",
         {2, _, Said} = run(["convert" | Args], Script),
         {match, _} = re:run(Said, "space: "),
         Before = names(Config)
     end || {KiB, Args} <-
                [{N, [Old | Rest]} || N <- ["4", "50", "100"],
                                      {Old, Rest} <- [{"--blocks", ["--map", path(Config, "space.map"),
                                                                    Blocks, path(Config, "space")]},
                                                      {Queue, [path(Config, "space")]}]]].

wrong_use_is_told(Config) ->
    Old = old(Config, "wrong.old", old_blocks(3, 8, 9, [])),
    New = path(Config, "wrong"),
    [refused(Config, 2, Args, Why)
     || {Args, Why} <- [{["--levels", "2", Old, New], "for --blocks"},
                        {["--map", "-", Old, New], "for --blocks"},
                        {["--lowest-only", Old, New], "for --blocks"},
                        {["--blocks", "--levels", "0", Old, New], "a number from 1 to 5"},
                        {["--blocks", "--levels", "6", Old, New], "a number from 1 to 5"},
                        {["--blocks", "--levels", "x", Old, New], "a number from 1 to 5"},
                        {["--blocks", Old], "an argument is missing"}]].
