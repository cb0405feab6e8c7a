%% What emmapd may do, and who may see its secrets: as the kernel tells it.
-module(privilege_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{rights, [],
      [root_is_refused_unless_told, an_own_daemon_has_the_rights_of_its_node,
       what_it_makes_is_for_its_owner_alone, new_privileges_are_ruled_out]},
     {cookie, [],
      [a_cookie_file_that_others_may_read_is_refused, a_cookie_file_of_another_user_is_refused,
       cookies_are_nowhere_but_in_locked_pages, a_cookie_of_standard_input_is_in_a_locked_page]},
     {sandbox, [],
      [it_is_on_unless_told, every_kind_of_request_works_in_it, the_kernel_refuses_what_is_outside,
       it_is_off_with_a_word]}].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Node = emmap_test:start_node(Config, #{}),
    [{client, Node} | Config].

end_per_suite(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    emmap_test:stop(Config).

%%% Rights.

%% As anybody else it needs no telling.
root_is_refused_unless_told(Config) ->
    Args = arguments(Config, #{}) -- ["--allow-root"],
    Program = start(emmap_test:daemon_path(), Args, Config),
    case string:trim(os:cmd("id -u")) of
        "0" ->
            5 = emmap_program:await_exit(Program),
            [<<"emmapd: it must not run as root", Text/binary>>] = emmap_program:lines(Program),
            {_, _} = binary:match(Text, <<"--allow-root">>);
        _ ->
            [] = emmap_program:await_line(Program, "^ready ")
    end,
    Told = start(emmap_test:daemon_path(), arguments(Config, #{}), Config),
    [] = emmap_program:await_line(Told, "^ready ").

an_own_daemon_has_the_rights_of_its_node(Config) ->
    N = emmap_apps:node(Config, []),
    Elsewhere = filename:join(?config(dir, Config), emmap_test:unique("elsewhere")),
    on(N, fun() ->
        {ok, F, _} = emmap:open(Elsewhere, 0, 4096, [create, write]),
        ok = emmap:pwrite(F, 0, <<"hello">>),
        ok = emmap:close(F)
    end),
    {ok, <<"hello", _/binary>>} = file:read_file(Elsewhere),
    "2" = status(emmap_apps:os_pid(N), "Seccomp").

%% However loose the umask of whoever starts it is.
what_it_makes_is_for_its_owner_alone(Config) ->
    Dir = filename:join(?config(dir, Config), emmap_test:unique("data")),
    Log = filename:join(?config(dir, Config), "loose.log"),
    D = new_name(),
    Args = arguments(Config, #{node => D, data_dir => Dir, args => ["--log-file", Log]}),
    Program = start("/bin/sh", ["-c", "umask 0; exec \"$0\" \"$@\"", emmap_test:daemon_path() | Args],
                    Config),
    [] = emmap_program:await_line(Program, "^ready "),
    at(Config, fun() ->
        {ok, Id, _} = call(D, {open, "plain", 0, 4096, [create, write]}),
        {ok, _, _} = call(D, {open, "chosen", 0, 4096, [create, write, {chmod, 8#664}]}),
        {ok, _, _} = call(D, {open_queue, "jobs", 0, [{register, jobs}]}),
        ok = call(D, {pwrite, Id, 0, <<"hello">>})
    end),
    8#700 = mode(Dir),
    8#600 = mode(Log),
    8#600 = mode(filename:join(Dir, "plain")),
    8#664 = mode(filename:join(Dir, "chosen")),
    8#600 = mode(filename:join(Dir, "jobs")),
    8#700 = mode(filename:join(Dir, ".emmap")),
    {ok, Files} = file:list_dir(filename:join(Dir, ".emmap")),
    [8#600 = mode(filename:join([Dir, ".emmap", File])) || File <- Files],
    true = Files =/= [].

new_privileges_are_ruled_out(Config) ->
    ["1" = status(os_pid(emmap_test:daemon(Config, #{args => ["--sandbox", Sandbox]})), "NoNewPrivs")
     || Sandbox <- ["on", "off"]].

%%% The cookie.

a_cookie_file_that_others_may_read_is_refused(Config) ->
    File = cookie_file(Config, "open_cookie", "secret"),
    [begin
         ok = file:change_mode(File, Mode),
         refused_cookie(File, "others than its owner may read", Config)
     end || Mode <- [8#640, 8#604, 8#440, 8#666]],
    ok = file:change_mode(File, 8#400),
    #{} = emmap_test:daemon(Config, #{cookie_file => File}).

%% Only root can give a file away; anybody else can read no other's that is private.
a_cookie_file_of_another_user_is_refused(Config) ->
    File = cookie_file(Config, "foreign_cookie", "secret"),
    case file:change_owner(File, 65534) of
        ok -> refused_cookie(File, "belongs to another user", Config);
        {error, eperm} -> #{} = emmap_test:daemon(Config, #{cookie_file => File})
    end.

refused_cookie(File, Why, Config) ->
    Program = start(emmap_test:daemon_path(), arguments(Config, #{cookie_file => File}), Config),
    4 = emmap_program:await_exit(Program),
    [Line] = emmap_program:lines(Program),
    {match, _} = re:run(Line, [File, ": .*", Why]).

%% Not in a buffer, on a stack or in a context of MD5, after nodes were let in and shut out.
cookies_are_nowhere_but_in_locked_pages(Config) ->
    Peer = new_name(),
    Own = list_to_atom(emmap_test:unique("of_a_peer")),
    Option = lists:concat([Peer, "=", cookie_file(Config, "of_a_peer", Own)]),
    #{node := D, port := Port} = Daemon = emmap_test:daemon(Config, #{args => ["--peer-cookie", Option]}),
    at(Config, fun() -> pong = call(D, ping) end),
    _ = emmap_wire:join(Port, Peer, Own),
    Socket = emmap_wire:connect(Port),
    ok = emmap_wire:send_name(Socket, 'stranger@localhost'),
    ok = emmap_wire:answer_challenge(Socket, wrong, closed),
    only_in_locked_pages(atom_to_binary(?config(cookie, Config)), os_pid(Daemon)),
    only_in_locked_pages(atom_to_binary(Own), os_pid(Daemon)).

a_cookie_of_standard_input_is_in_a_locked_page(Config) ->
    D = new_name(),
    Program = start(emmap_test:daemon_path(), arguments(Config, #{node => D, cookie_file => "-"}), Config),
    ok = emmap_program:send(Program, [atom_to_list(?config(cookie, Config)), "\n"]),
    _ = emmap_program:await_line(Program, "^ready "),
    at(Config, fun() -> pong = call(D, ping) end),
    only_in_locked_pages(atom_to_binary(?config(cookie, Config)), emmap_program:os_pid(Program)).

only_in_locked_pages(Secret, OsPid) ->
    Found = [Flags || {Begin, End, Flags} <- mappings(OsPid), is_in_memory(Secret, Begin, End, OsPid)],
    [[] = ["dd", "lo"] -- string:lexemes(Flags, " ") || Flags <- Found],
    true = Found =/= [].

%% Those that can be read: {Begin, End, Flags}.
mappings(OsPid) ->
    {ok, Smaps} = file:read_file(lists:concat(["/proc/", OsPid, "/smaps"])),
    {match, Found} = re:run(Smaps, "^([0-9a-f]+)-([0-9a-f]+) r.*$(?:\n(?![0-9a-f]+-).*$)*?\nVmFlags: (.*)$",
                            [global, multiline, {capture, all_but_first, list}]),
    [{list_to_integer(Begin, 16), list_to_integer(End, 16), Flags} || [Begin, End, Flags] <- Found,
     list_to_integer(End, 16) < 1 bsl 63].

is_in_memory(Secret, Begin, End, OsPid) ->
    {ok, Memory} = file:open(lists:concat(["/proc/", OsPid, "/mem"]), [read, raw, binary]),
    Found = is_in_pieces(Secret, Begin, End, Memory),
    ok = file:close(Memory),
    Found.

%% Pieces that overlap by more than a secret. What the kernel shows nobody (vvar) is passed over.
is_in_pieces(_Secret, Begin, End, _Memory) when Begin >= End ->
    false;
is_in_pieces(Secret, Begin, End, Memory) ->
    Piece = 1 bsl 20,
    case file:pread(Memory, Begin, min(Piece + 4096, End - Begin)) of
        {ok, Bytes} ->
            binary:match(Bytes, Secret) =/= nomatch
                orelse is_in_pieces(Secret, Begin + Piece, End, Memory);
        _ ->
            false
    end.

%%% The sandbox.

it_is_on_unless_told(Config) ->
    #{program := Program} = Daemon = emmap_test:daemon(Config, #{args => ["--log-level", "info"]}),
    "2" = status(os_pid(Daemon), "Seccomp"),
    [] = emmap_program:await_line(Program, "sandbox: files on, .*system calls on").

every_kind_of_request_works_in_it(Config) ->
    Prefix = filename:join(?config(dir, Config), emmap_test:unique("prefix")),
    ok = file:make_dir(Prefix),
    #{node := D} = emmap_test:daemon(Config, #{args => ["--allow-path", Prefix]}),
    Beside = filename:join(Prefix, "beside"),
    Outside = filename:join(?config(dir, Config), "outside"),
    at(Config, fun() ->
        {ok, F, _} = call(D, {open, "region", 0, 4096, [create, write]}),
        ok = call(D, {pwrite, F, 0, <<"hello">>}),
        {ok, _} = call(D, {resize, F, 1048576}),
        {ok, <<"hello">>} = call(D, {pread, F, 0, 5}),
        ok = call(D, {sync, F}),
        {ok, _, _} = call(D, {open, "gone", 0, 4096, [create, write, auto_unlink]}),
        {ok, _, _} = call(D, {open, Beside, 0, 4096, [create, write]}),
        {error, eacces} = call(D, {open, Outside, 0, 4096, [create, write]}),
        {ok, C, _} = call(D, {open_counters, "counters", 4}),
        {ok, 0} = call(D, {inc_counter, C, 3, 42}),
        {ok, Durable, _} = call(D, {open_counters, "durable", 2, [{durability, sync}]}),
        {ok, 0} = call(D, {inc_counter, Durable, 0}),
        {ok, Q, _} = call(D, {open_queue, "queue", 0, [{register, jobs}]}),
        [ok = call(D, {push, Q, binary:copy(<<N>>, 10000)}) || N <- lists:seq(1, 200)],
        [<<N, _:9999/binary>> = call(D, {pop, Q}) || N <- lists:seq(1, 200)],
        ok = call(D, {sync, Q}),
        #{rss := Rss, fds := Fds} = call(D, info),
        true = Rss > 0 andalso Fds > 0,
        true = is_binary(call(D, metrics))
    end),
    true = filelib:is_regular(Beside),
    false = filelib:is_regular(Outside).

%% The daemon itself sees nothing wrong with the path of its log. Where that leads meanwhile is not
%% where it was allowed to write, and the one to say so is the kernel, even to root.
the_kernel_refuses_what_is_outside(Config) ->
    Dir = filename:join(?config(dir, Config), emmap_test:unique("log")),
    Outside = filename:join(?config(dir, Config), emmap_test:unique("outside")),
    Log = filename:join(Dir, "log"),
    [ok = file:make_dir(Made) || Made <- [Dir, Outside]],
    #{program := Program} = emmap_test:daemon(Config, #{args => ["--log-file", Log]}),
    ok = file:rename(Dir, Dir ++ ".old"),
    ok = file:make_symlink(Outside, Dir),
    ok = emmap_program:signal(Program, "HUP"),
    ok = until(fun() ->
        {ok, Text} = file:read_file(filename:join(Dir ++ ".old", "log")),
        re:run(Text, "error cannot open the log anew: Permission denied", [{capture, none}]) =:= match
    end),
    {ok, []} = file:list_dir(Outside).

it_is_off_with_a_word(Config) ->
    #{node := D, program := Program} = Daemon =
        emmap_test:daemon(Config, #{args => ["--sandbox", "off"]}),
    "0" = status(os_pid(Daemon), "Seccomp"),
    [] = emmap_program:await_line(Program, "^notice sandbox off, as told$"),
    at(Config, fun() -> pong = call(D, ping) end).

%%% Internal.

at(Config, Fun) ->
    on(?config(client, Config), Fun).

call(D, Request) ->
    gen_server:call({emmap, D}, Request, ?DEADLINE).

new_name() ->
    list_to_atom(emmap_test:unique("emmapd") ++ "@localhost").

arguments(Config, Options) ->
    emmap_test:daemon_args(Config, maps:merge(#{node => new_name(),
                                                data_dir => ?config(dir, Config)}, Options)).

start(Path, Args, Config) ->
    emmap_program:start(Path, Args, #{owner => self(),
                                      env => [{"ERL_EPMD_PORT", integer_to_list(?config(epmd, Config))},
                                              {"HOME", ?config(dir, Config)}]}).

cookie_file(Config, Name, Cookie) ->
    File = filename:join(?config(dir, Config), Name),
    ok = file:write_file(File, lists:concat([Cookie])),
    ok = file:change_mode(File, 8#600),
    File.

os_pid(#{program := Program}) ->
    emmap_program:os_pid(Program).

%% A line of the process's status.
status(OsPid, Key) ->
    {ok, Status} = file:read_file(lists:concat(["/proc/", OsPid, "/status"])),
    {match, [Value]} = re:run(Status, ["^", Key, ":\\s+(\\S+)$"],
                              [multiline, {capture, all_but_first, list}]),
    Value.

mode(Path) ->
    {ok, #file_info{mode = Mode}} = file:read_file_info(Path),
    Mode band 8#777.
