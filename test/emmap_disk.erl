%% A file system on a loop device in memory, made for the test, whose power can be cut.
%%
%% What a cut loses: what the page cache and the buffers of the file system's log hold. What reached
%% the loop device's file stays, each page whole; in which order pages get there, and which do
%% before the cut, is chance. So a cut leaves any subset of the pages written since the last sync,
%% each in some version that it had. It does not tear a page, and no disk forgets or reorders what
%% a flush has promised: for those the crash images of test/c/sweep are there.
-module(emmap_disk).

-export([start/2, stop/1, directory/1]).
-export([arm/1, cut/1, mount_again/1]).

-define(MEMORY, "2g").
-define(IMAGE, "1g").

%% Of this kind (ext4, xfs). Fails where the host has no root or no loop devices for us.
start(Config, Kind) ->
    is_root() orelse error({needs_root, "file systems are mounted on loop devices"}),
    Base = filename:join(proplists:get_value(dir, Config), emmap_test:unique(atom_to_list(Kind))),
    Guard = emmap_program:start("/bin/sh", ["-c", guard(), Base], #{}),
    [] = emmap_program:await_line(Guard, "^guarding$"),
    Disk = #{base => Base, guard => Guard, options => options(Kind), cutter => cutter()},
    ok = run("mkdir -p $0/memory $0/disk; mount -t tmpfs -o size=" ?MEMORY " none $0/memory;"
             "truncate -s " ?IMAGE " $0/memory/image; " ++ make(Kind), [Base]),
    ok = mount(Disk),
    Disk.

%% Nothing is left of it.
stop(#{base := Base, guard := Guard}) ->
    ok = emmap_program:send(Guard, <<"\n">>),
    0 = emmap_program:await_exit(Guard),
    ok = emmap_program:stop(Guard),
    {ok, Mounts} = file:read_file("/proc/mounts"),
    nomatch = binary:match(Mounts, list_to_binary(Base)),
    ok.

directory(#{base := Base}) ->
    filename:join(Base, "disk").

%% From now on pages go to the disk at random.
arm(#{cutter := Path} = Disk) ->
    Seed = integer_to_list(rand:uniform(1 bsl 32)),
    Cutter = emmap_program:start(Path, [directory(Disk), Seed], #{}),
    [] = emmap_program:await_line(Cutter, "^armed$"),
    Cutter.

%% From then on each call on the file system fails.
cut(Cutter) ->
    ok = emmap_program:send(Cutter, <<"\n">>),
    [] = emmap_program:await_line(Cutter, "^cut$"),
    0 = emmap_program:await_exit(Cutter),
    emmap_program:stop(Cutter).

%% Power is back: the file system recovers by its log. Nobody has files there open.
mount_again(#{base := Base} = Disk) ->
    ok = run("umount $0/disk", [Base]),
    mount(Disk).

%% Internal.

is_root() ->
    string:trim(os:cmd("id -u")) =:= "0".

mount(#{base := Base, options := Options}) ->
    run("mount -o loop," ++ Options ++ " $0/memory/image $0/disk", [Base]).

make(ext4) -> "mkfs.ext4 -q -F $0/memory/image";
make(xfs) -> "mkfs.xfs -q $0/memory/image".

%% The shortest time in which ext4 writes its log by itself: there is more in it at a cut.
options(ext4) -> "commit=1";
options(xfs) -> "defaults".

%% Goes with the test's VM, too: it reads to the end of its input. Whoever has files open then goes
%% the same way.
guard() ->
    "echo guarding; read _; cd /; umount -l $0/disk 2>/dev/null; umount -l $0/memory && rm -r $0".

run(Script, Args) ->
    Line = "PATH=$PATH:/usr/sbin:/sbin; " ++ Script,
    Shell = emmap_program:start("/bin/sh", ["-ec", Line | Args], #{}),
    Status = emmap_program:await_exit(Shell),
    Said = emmap_program:lines(Shell),
    ok = emmap_program:stop(Shell),
    Status =:= 0 orelse error({Script, Status, Said}),
    ok.

%% CMake's, built where it is missing or old; as long as that takes.
cutter() ->
    Root = filename:dirname(filename:dirname(proplists:get_value(source, module_info(compile)))),
    Said = os:cmd("cd " ++ Root ++ " && cmake --preset release && "
                  "cmake --build --preset release --target power_cut && echo built"),
    lists:suffix("built\n", Said) orelse error({power_cut, Said}),
    filename:join(Root, "build/release/test/c/power_cut").
