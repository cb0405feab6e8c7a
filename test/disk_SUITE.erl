%% What happens to an object whose disk errs, or whose file others take away: the same rows for
%% regions, counters and queues. On small disks of the suite's own, so it needs root.
-module(disk_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).

suite() ->
    [{timetrap, {seconds, 300}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{Kind, [], rows()} || Kind <- [region, counters, queue]]
        ++ [{daemon, [], [a_data_directory_that_is_gone_is_enoent, the_names_of_queues_cannot_be_kept,
                          a_link_of_another_user_is_refused, links_and_devices_are_refused,
                          faults_by_the_hundred_end_nothing]}].

rows() ->
    [a_failed_sync_is_final_until_the_disk_is_well, a_page_that_cannot_be_read_is_eio,
     a_full_disk_refuses_growth_only, a_file_that_may_not_grow_is_efbig,
     a_file_that_was_cut_is_eio_until_it_is_opened_again, a_read_only_file_system_is_erofs,
     a_removed_file_is_detached, a_renamed_file_is_detached_until_it_is_back,
     a_replaced_file_is_another_object, a_second_daemon_meets_the_first,
     a_killed_owner_is_no_obstacle].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    [{client, emmap_test:start_node(Config, #{})} | Config].

end_per_suite(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    emmap_test:stop(Config).

init_per_group(Group, Config) ->
    [{kind, Group} | Config].

end_per_group(_, _Config) ->
    ok.

%% Each case has a daemon, whose data directory is on the machine's disk, and another object there
%% that must never notice anything. `under' is where the case's own disk is.
init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(dir, Config), emmap_test:unique(Case)),
    ok = filelib:ensure_path(Dir),
    [{under, Dir} | Config].

%% Also what a case that was cut off has left mounted.
end_per_testcase(_, Config) ->
    emmap_small_disk:remove_all(?config(dir, Config)).

%%% Rows.

a_failed_sync_is_final_until_the_disk_is_well(Config) ->
    with_disk(Config, fun emmap_small_disk:loop/2, 32, fun(T, Disk) ->
        File = file(Disk, "object"),
        Id = opened(T, File),
        ok = changed(T, Id, 1),
        ok = emmap_small_disk:break_writes(Disk),
        {error, eio} = ask(T, {sync, Id}),
        {error, eio} = ask(T, {sync, Id}),
        {error, eio} = ask(T, {batch_of_one, {sync, Id}}),
        refused = changed(T, Id, 2),
        true = seen(T, Id, 1),
        #{read_only := true} = ask(T, {info, Id}),
        1 = told(T, [File, "\": fdatasync: No space left on device; read-only until"]),
        %% while the disk errs no opening can trust it
        {error, eio} = ask(T, open(T, File)),
        ok = ask(T, {close, Id}),
        {error, eio} = ask(T, open(T, File)),
        ok = emmap_small_disk:heal(Disk),
        Again = opened(T, File),
        true = seen(T, Again, 1),
        ok = changed(T, Again, 2),
        ok = ask(T, {sync, Again}),
        ok = ask(T, {close, Again}),
        %% and it is on the disk
        ok = emmap_small_disk:cold(Disk),
        Cold = opened(T, File),
        true = seen(T, Cold, 1),
        true = seen(T, Cold, 2),
        ok = ask(T, {close, Cold})
    end).

%% An opening of a queue touches its first 32 MiB.
a_page_that_cannot_be_read_is_eio(Config) ->
    with_disk(Config, fun emmap_small_disk:loop/2, 80, fun(T0, Disk) ->
        T = T0#{item => 4000000},
        Last = case ?config(kind, Config) of queue -> 10; _ -> 3 end,
        File = file(Disk, "object"),
        First = opened(T, File),
        [ok = changed(T, First, I) || I <- lists:seq(1, Last)],
        ok = ask(T, {close, First}),
        ok = emmap_small_disk:cold(Disk),
        Id = opened(T, File),
        ok = emmap_small_disk:break_reads(Disk),
        {error, eio} = ask(T, look(T, Id, Last)),
        refused = changed(T, Id, 1),
        {error, eio} = ask(T, {sync, Id}),
        1 = told(T, [File, "\": a page of the file cannot be used"]),
        ok = emmap_small_disk:heal(Disk),
        Again = opened(T, File),
        [true = seen(T, Again, I) || I <- lists:seq(1, Last)],
        ok = changed(T, Again, Last + 1),
        ok = ask(T, {sync, Again}),
        [ok = ask(T, {close, I}) || I <- [Id, Again]]
    end).

a_full_disk_refuses_growth_only(Config) ->
    with_disk(Config, fun emmap_small_disk:tmpfs/2, 24576, fun(T, Disk) ->
        File = file(Disk, "object"),
        Id = opened(T, File),
        ok = changed(T, Id, 1),
        ok = emmap_small_disk:fill(Disk),
        {error, enospc} = grown(T, File, Id),
        {error, enospc} = grown(T, File, Id),
        1 = told(T, [File, "\": fallocate: No space left on device; it cannot grow"]),
        {error, enospc} = ask(T, open(T, file(Disk, "another"))),
        {error, enoent} = file:read_file_info(file(Disk, "another")),
        true = seen(T, Id, 1),
        ok = ask(T, {sync, Id}),
        #{read_only := false} = ask(T, {info, Id}),
        ok = emmap_small_disk:drain(Disk),
        ok = grown(T, File, Id),
        true = seen(T, Id, 1),
        ok = ask(T, {sync, Id}),
        ok = ask(T, {close, Id})
    end).

%% RLIMIT_FSIZE, whose signal ends a process that does not expect it.
a_file_that_may_not_grow_is_efbig(Config) ->
    T = start(Config, #{limit => 4 * 1024 * 1024}),
    File = filename:join(?config(under, Config), "object"),
    Id = opened(T, File),
    ok = changed(T, Id, 1),
    {error, efbig} = grown(T, File, Id),
    1 = told(T, [File, "\": fallocate: File too large; it cannot grow"]),
    true = seen(T, Id, 1),
    ok = ask(T, {sync, Id}),
    ok = ask(T, {close, Id}),
    stop(T).

a_file_that_was_cut_is_eio_until_it_is_opened_again(Config) ->
    T = start(Config, #{}),
    File = filename:join(?config(under, Config), "object"),
    Id = opened(T, File),
    [ok = changed(T, Id, I) || I <- [1, 2]],
    {ok, Whole} = file:read_file(File),
    ok = cut(File),
    {error, eio} = ask(T, look(T, Id, 2)),
    refused = changed(T, Id, 1),
    {error, eio} = ask(T, {sync, Id}),
    1 = told(T, [File, "\": a page of the file cannot be used"]),
    ok = file:write_file(File, Whole),
    Again = opened(T, File),
    [true = seen(T, Again, I) || I <- [1, 2]],
    ok = changed(T, Again, 3),
    ok = ask(T, {sync, Again}),
    [ok = ask(T, {close, I}) || I <- [Id, Again]],
    stop(T).

a_read_only_file_system_is_erofs(Config) ->
    with_disk(Config, fun emmap_small_disk:tmpfs/2, 6144, fun(T, #{dir := Dir} = Disk) ->
        File = file(Disk, "object"),
        Id = opened(T, File),
        ok = changed(T, Id, 1),
        ok = ask(T, {close, Id}),
        [] = os:cmd("mount -o remount,ro " ++ Dir),
        {error, erofs} = ask(T, open(T, file(Disk, "another"))),
        {error, erofs} = ask(T, open(T, File)),
        [begin
             {ok, Reader, _} = ask(T, Open),
             true = seen(T, Reader, 1),
             {error, eacces} = ask(T, change(T, Reader, 2)),
             ok = ask(T, {close, Reader})
         end || Open <- open_to_read(T, File)],
        [] = os:cmd("mount -o remount,rw " ++ Dir),
        Again = opened(T, File),
        true = seen(T, Again, 1),
        ok = ask(T, {close, Again})
    end).

a_removed_file_is_detached(Config) ->
    T = start(Config, #{}),
    File = filename:join(?config(under, Config), "object"),
    Id = opened(T, File),
    #{detached := false} = ask(T, {info, Id}),
    ok = file:delete(File),
    #{detached := true} = ask(T, {info, Id}),
    #{detached := true} = ask(T, {info, Id}),
    1 = told(T, [File, "\": the name leads to another file by now, or to none"]),
    ok = changed(T, Id, 1),
    true = seen(T, Id, 1),
    ok = ask(T, {sync, Id}),
    New = opened(T, File),
    false = seen(T, New, 1),
    #{detached := false} = ask(T, {info, New}),
    true = seen(T, Id, 1),
    [ok = ask(T, {close, I}) || I <- [Id, New]],
    stop(T).

a_renamed_file_is_detached_until_it_is_back(Config) ->
    T = start(Config, #{}),
    File = filename:join(?config(under, Config), "object"),
    Id = opened(T, File),
    ok = file:rename(File, File ++ ".moved"),
    ok = ask(T, {sync, Id}),
    #{detached := true} = ask(T, {info, Id}),
    1 = told(T, [File, "\": the name leads to another file by now, or to none"]),
    ok = changed(T, Id, 1),
    ok = file:rename(File ++ ".moved", File),
    ok = ask(T, {sync, Id}),
    #{detached := false} = ask(T, {info, Id}),
    Same = opened(T, File),
    true = seen(T, Same, 1),
    [ok = ask(T, {close, I}) || I <- [Id, Same]],
    stop(T).

a_replaced_file_is_another_object(Config) ->
    T = start(Config, #{}),
    File = filename:join(?config(under, Config), "object"),
    Other = opened(T, File ++ ".new"),
    ok = changed(T, Other, 1),
    ok = ask(T, {close, Other}),
    Id = opened(T, File),
    ok = file:rename(File ++ ".new", File),
    New = opened(T, File),
    1 = told(T, [File, "\": the name leads to another file by now, or to none"]),
    true = seen(T, New, 1),
    false = seen(T, Id, 1),
    #{detached := true} = ask(T, {info, Id}),
    #{detached := false} = ask(T, {info, New}),
    ok = changed(T, New, 2),
    true = seen(T, File, 2), % by name, too
    false = seen(T, Id, 2),
    [ok = ask(T, {close, I}) || I <- [Id, New]],
    stop(T).

%% A queue is one daemon's; the others are shared, but not with who has a queue's lock.
a_second_daemon_meets_the_first(Config) ->
    T = start(Config, #{}),
    Second = start(Config, #{}),
    File = filename:join(?config(under, Config), "object"),
    Id = opened(T, File),
    ok = changed(T, Id, 1),
    case ?config(kind, Config) of
        queue ->
            Who = atom_to_binary(maps:get(node, T)),
            [{error, {locked, Who}} = ask(Second, open(T#{kind := Kind}, File))
             || Kind <- [region, counters, queue]];
        _ ->
            {error, {locked, unknown}} = ask(Second, {open_queue, File, 0, []}),
            Shared = opened(Second, File),
            true = seen(Second, Shared, 1),
            ok = changed(Second, Shared, 2),
            true = seen(T, Id, 2)
    end,
    ok = ask(T, {close, Id}),
    Now = opened(Second, File),
    true = seen(Second, Now, 1),
    stop(Second),
    stop(T).

a_killed_owner_is_no_obstacle(Config) ->
    T = #{daemon := Daemon} = start(Config, #{}),
    File = filename:join(?config(under, Config), "object"),
    Id = opened(T, File),
    ok = changed(T, Id, 1),
    ok = emmap_test:kill_daemon(Daemon),
    Next = start(Config, #{}),
    Again = opened(Next, File),
    true = seen(Next, Again, 1),
    ok = changed(Next, Again, 2),
    stop(Next).

%%% The daemon.

a_data_directory_that_is_gone_is_enoent(Config) ->
    Data = filename:join(?config(under, Config), "data"),
    T = start(Config, #{data_dir => Data}),
    {ok, Q, _} = ask(T, {open_queue, "q", 0, []}),
    ok = file:del_dir_r(Data),
    [{error, enoent} = ask(T, open(T#{kind := Kind}, "new")) || Kind <- [region, counters, queue]],
    {error, enoent} = ask(T, {open, "new", 0, 0, [read]}),
    {error, enoent} = ask(T, {open_queue, "q2", 0, [{register, lost_q2}]}),
    ok = ask(T, {push, Q, x}), % what is open goes on
    x = ask(T, {pop, Q}),
    pong = ask(T, ping),
    stop(T).

%% The directory takes no new files: what cannot be kept is not answered with ok.
the_names_of_queues_cannot_be_kept(Config) ->
    with_data_disk(Config, 6144, fun(T, #{dir := Dir} = Disk) ->
        {ok, Q, _} = ask(T, {open_queue, "q", 0, []}),
        ok = emmap_small_disk:fill(Disk),
        {error, enospc} = ask(T, {open_queue, "q", 0, [{register, disk_suite_jobs}]}),
        #{registered := none} = ask(T, {info, Q}),
        ok = emmap_small_disk:drain(Disk),
        {ok, _, _} = ask(T, {open_queue, "q", 0, [{register, disk_suite_jobs}]}),
        #{registered := <<"disk_suite_jobs">>} = ask(T, {info, Q}),
        {ok, Kept} = file:read_file(filename:join(Dir, ".emmap/registered")),
        {match, _} = re:run(Kept, "^disk_suite_jobs\t")
    end).

%% A user who may write into the directory links a file there that he must not change.
a_link_of_another_user_is_refused(Config) ->
    T = start(Config, #{}),
    Dir = ?config(under, Config),
    [Theirs, Linked, Ours, OursToo] = [filename:join(Dir, F) || F <- ["a", "b", "c", "d"]],
    ok = file:write_file(Theirs, <<"EMMAP01\n", 1:64/little, 7:64/little>>),
    ok = file:change_owner(Theirs, 65534),
    ok = file:write_file(Ours, <<"EMMAP01\n", 1:64/little, 7:64/little>>),
    {ok, Alone, _} = ask(T, {open_counters, Theirs, 1}),
    {ok, 7} = ask(T, {read_counter, Alone, 0}),
    ok = ask(T, {close, Alone}),
    ok = file:make_link(Theirs, Linked),
    ok = file:make_link(Ours, OursToo),
    [{error, eacces} = ask(T, Open)
     || File <- [Theirs, Linked],
        Open <- [{open, File, 0, 0, [read]}, {open, File, 0, 0, [write]}, {open_counters, File, 1},
                 {open_queue, File, 0, []}, {read_counter, File, 0}]],
    [{ok, _, _} = ask(T, {open_counters, File, 1}) || File <- [Ours, OursToo]],
    ok = file:delete(Linked),
    {ok, _, _} = ask(T, {open_counters, Theirs, 1}),
    stop(T).

%% Whatever is no file within the allowed directories.
links_and_devices_are_refused(Config) ->
    T = start(Config, #{}),
    Dir = ?config(under, Config),
    Outside = string:trim(os:cmd("mktemp -p " ++ filename:dirname(?config(dir, Config)))),
    ok = file:write_file(Outside, <<0:512>>),
    [] = os:cmd(["cd ", Dir, " && mkfifo fifo && mknod null c 1 3 && mkdir dir && ln -s ", Outside,
                 " out && ln -s ../../", filename:basename(Outside), " up && ln -s /proc/self/mem mem"]),
    [begin
         Path = filename:join(Dir, Name),
         [{error, Reason} = ask(T, Open)
          || Open <- [{open, Path, 0, 0, [write]}, {open_counters, Path, 1},
                      {open_queue, Path, 0, []}]]
     end || {Name, Reason} <- [{"fifo", {not_a, regular_file}}, {"null", {not_a, regular_file}},
                               {"dir", {not_a, regular_file}}, {"out", eacces}, {"up", eacces},
                               {"mem", eacces}, {"../../" ++ filename:basename(Outside), eacces}]],
    {ok, <<0:512>>} = file:read_file(Outside),
    ok = file:delete(Outside),
    stop(T).

%% scripts/soak sigbus has more of them.
faults_by_the_hundred_end_nothing(Config) ->
    ct:timetrap({seconds, 1900}),
    Faults = list_to_integer(os:getenv("EMMAP_FAULTS", "300")),
    Done = emmap_storm:run(Config, Faults),
    ct:pal("~w", [Done]),
    {comment, lists:flatten(io_lib:format("~w", [Done]))}.

%%% Internal.

%% A daemon and another object on it, that is none of the case's: #{daemon, node, kind, bystander}.
%% Options: data_dir, limit (the longest file that it may write, in bytes).
start(Config, Options) ->
    Daemon = #{node := D} = start_daemon(Config, Options),
    T = #{daemon => Daemon, node => D, kind => ?config(kind, Config), client => ?config(client, Config)},
    {ok, Bystander, _} = ask(T, {open_counters, emmap_test:unique("bystander"), 1}),
    T#{bystander => Bystander}.

start_daemon(Config, Options) ->
    Limit = maps:get(limit, Options, infinity),
    Args = ["--allow-path", ?config(dir, Config)],
    Daemon = emmap_test:start_daemon(Config, maps:merge(#{args => Args}, maps:with([data_dir], Options))),
    ok = limit(Daemon, Limit),
    Daemon.

limit(_Daemon, infinity) ->
    ok;
limit(#{program := Program}, Bytes) ->
    [] = os:cmd(io_lib:format("prlimit --pid ~b --fsize=~b", [emmap_program:os_pid(Program), Bytes])),
    ok.

%% The other object has never noticed anything.
stop(#{daemon := Daemon, bystander := Bystander} = T) ->
    {ok, 0} = ask(T, {inc_counter, Bystander, 0}),
    ok = ask(T, {sync, Bystander}),
    #{errors := 0, read_only := false} = ask(T, {info, Bystander}),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

with_disk(Config, Make, Size, Fun) ->
    Disk = Make(filename:join(?config(under, Config), "disk"), Size),
    try
        T = start(Config, #{}),
        Fun(T, Disk),
        stop(T)
    after
        emmap_small_disk:remove(Disk)
    end.

with_data_disk(Config, KiB, Fun) ->
    Disk = #{dir := Dir} = emmap_small_disk:tmpfs(filename:join(?config(under, Config), "disk"), KiB),
    try
        T = start(Config, #{data_dir => Dir}),
        Fun(T, Disk),
        stop(T)
    after
        emmap_small_disk:remove(Disk)
    end.

file(Disk, Name) ->
    filename:join(emmap_small_disk:dir(Disk), Name).

ask(#{client := Client, node := D}, {batch_of_one, Request}) ->
    {ok, [Reply]} = on(Client, fun() -> gen_server:call({emmap, D}, {batch, [Request]}, infinity) end),
    Reply;
ask(#{client := Client, node := D}, Request) ->
    on(Client, fun() -> gen_server:call({emmap, D}, Request, infinity) end).

%% How many lines of the log have these words, once there is one.
told(#{daemon := #{program := Program}}, Words) ->
    Text = unicode:characters_to_binary(Words),
    Count = fun() ->
        length([1 || Line <- emmap_program:lines(Program), binary:match(Line, Text) =/= nomatch])
    end,
    ok = until(fun() -> Count() > 0 end),
    Count().

cut(File) ->
    {ok, Fd} = file:open(File, [read, write, raw]),
    ok = file:truncate(Fd),
    file:close(Fd).

%% An object of each kind: its pages are far enough from each other that none is read ahead.

open(#{kind := region}, File) -> {open, File, 0, 4194304, [create, write]};
open(#{kind := counters}, File) -> {open_counters, File, 500000};
open(#{kind := queue}, File) -> {open_queue, File, 0, []};
open(_, File) -> {open, File, 0, 4096, [create, write]}.

open_to_read(#{kind := region}, File) -> [{open, File, 0, 0, [read]}];
open_to_read(#{kind := counters}, File) -> [{open_counters, File, 0, [read]}];
open_to_read(#{kind := queue}, _File) -> [].

opened(T, File) ->
    {ok, Id, _} = ask(T, open(T, File)),
    Id.

change(#{kind := region}, Id, I) -> {pwrite, Id, I * 1000000, <<I:64>>};
change(#{kind := counters}, Id, I) -> {set_counter, Id, I * 120000, I};
change(#{kind := queue} = T, Id, I) ->
    {push, Id, {I, binary:copy(<<I:64>>, maps:get(item, T, 1000000) div 8)}}.

changed(T, Id, I) ->
    case ask(T, change(T, Id, I)) of
        ok -> ok;
        {ok, _} -> ok;
        {error, eio} -> refused
    end.

look(#{kind := region}, Id, I) -> {pread, Id, I * 1000000, 8};
look(#{kind := counters}, Id, I) -> {read_counter, Id, I * 120000};
look(#{kind := queue}, Id, I) -> {peek_many, Id, 1, I}.

seen(#{kind := Kind} = T, Id, I) ->
    case {Kind, ask(T, look(T, Id, I))} of
        {region, {ok, Bytes}} -> Bytes =:= <<I:64>>;
        {counters, {ok, V}} -> V =:= I;
        {queue, {ok, [{I, Item}]}} -> {push, Id, Item} =:= change(T, Id, I);
        {queue, {ok, []}} -> false
    end.

%% By 8 MiB; of counters at an opening.
grown(#{kind := region} = T, _File, Id) ->
    case ask(T, {resize, Id, 12582912}) of
        {ok, 12582912} -> ok;
        Error -> Error
    end;
grown(#{kind := counters} = T, File, _Id) ->
    case ask(T, {open_counters, File, 1500000}) of
        {ok, Id, _} -> ask(T, {close, Id});
        Error -> Error
    end;
grown(#{kind := queue} = T, _File, Id) ->
    ask(T, {push, Id, binary:copy(<<0>>, 8388608)}).
