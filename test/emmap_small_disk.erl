%% Small disks for tests, which can be filled, broken and healed. They need root.
%%
%% A loop disk is an ext4 in a sparse file on a tmpfs of its own. While that tmpfs is full the disk
%% fails to write what it has not written before: EIO, as from a broken disk. Where the file is cut
%% off it fails to read.
-module(emmap_small_disk).

-export([tmpfs/2, loop/2, remove/1, remove_all/1]).
-export([dir/1, fill/1, drain/1]).
-export([break_writes/1, break_reads/1, heal/1, cold/1]).

%% A tmpfs of so many KiB; a loop disk of so many MiB.
tmpfs(Dir, KiB) ->
    ok = filelib:ensure_path(Dir),
    ok = run(["mount -t tmpfs -o size=", integer_to_list(KiB), "k none ", Dir]),
    #{kind => tmpfs, dir => Dir}.

loop(Dir, MiB) ->
    #{dir := Backing} = tmpfs(Dir ++ ".backing", 4 * MiB * 1024),
    Image = filename:join(Backing, "image"),
    ok = run(["truncate -s ", integer_to_list(MiB), "M ", Image]),
    ok = run(["mkfs.ext4 -q -m 0 -O ^has_journal -E lazy_itable_init=0 ", Image]),
    ok = filelib:ensure_path(Dir),
    Disk = #{kind => loop, dir => Dir, backing => Backing, image => Image},
    ok = mount(Disk),
    Disk.

remove(#{kind := tmpfs, dir := Dir}) ->
    run(["umount -l ", Dir]);
remove(#{kind := loop, dir := Dir, backing := Backing}) ->
    ok = run(["umount -l ", Dir]),
    run(["umount -l ", Backing]).

%% All that is mounted beneath the directory.
remove_all(Dir) ->
    {ok, Mounts} = file:read_file("/proc/mounts"),
    Beneath = [At || Line <- binary:split(Mounts, <<"\n">>, [global]),
                     [_, At | _] <- [binary:split(Line, <<" ">>, [global])],
                     string:prefix(At, [Dir, "/"]) =/= nomatch],
    _ = [ok = run(["umount -l ", At]) || At <- lists:reverse(Beneath)],
    ok.

dir(#{dir := Dir}) ->
    Dir.

%% Takes all free space, and gives it back.
fill(#{dir := Dir}) ->
    _ = os:cmd(["dd if=/dev/zero bs=4k of=", Dir, "/ballast 2>/dev/null"]),
    ok.

drain(#{dir := Dir}) ->
    file:delete(filename:join(Dir, "ballast")).

break_writes(#{kind := loop, backing := Backing}) ->
    fill(#{dir => Backing}).

%% What is not in memory cannot be read. Before, all is written.
break_reads(#{kind := loop, image := Image}) ->
    ok = run(["sync -f ", Image]),
    ok = run(["cp --sparse=always ", Image, " ", Image, ".whole"]),
    run(["truncate -s 0 ", Image]).

heal(#{kind := loop, backing := Backing, image := Image}) ->
    _ = drain(#{dir => Backing}),
    case filelib:is_file(Image ++ ".whole") of
        true ->
            ok = run(["cat ", Image, ".whole > ", Image]),
            file:delete(Image ++ ".whole");
        false ->
            ok
    end.

%% Nothing of it is in memory any more. No file of it is open.
cold(#{kind := loop, dir := Dir} = Disk) ->
    ok = run(["umount ", Dir]),
    mount(Disk).

%% Internal.

%% Little is read ahead, so that there is something that is not in memory.
mount(#{dir := Dir, image := Image}) ->
    ok = run(["mount -o loop ", Image, " ", Dir]),
    run(["blockdev --setra 64 $(findmnt -n -o SOURCE ", Dir, ")"]).

run(Command) ->
    case os:cmd([Command, " 2>&1 && echo done"]) of
        "done\n" -> ok;
        Text -> error({Command, Text})
    end.
