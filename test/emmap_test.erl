%% The world of a suite: an epmd of its own, daemons, nodes, waiting with a deadline.
%%
%% Nothing touches the machine's own epmd, home or data: each suite has a port for its epmd and a
%% directory, names hold the pid of the test's VM, and all client code runs on peer nodes, so that
%% the test's VM stays without a name. What a suite starts ends with the suite, what a case starts
%% with the case.
-module(emmap_test).

-export([start/1, stop/1]).
-export([start_epmd/1, stop_epmd/1, epmd_names/1]).
-export([daemon_path/0, daemon/1, daemon/2, daemon_args/2, start_daemon/2, await_ready/1]).
-export([stop_daemon/1, restart_daemon/1, launch_again/1, kill_daemon/1, armed_kill/1]).
-export([node/1, node/2, start_node/2, stop_node/1, application/1, on/2]).
-export([unique/1, free_port/0, until/1, until/2, spin/1, in_parallel/1]).

-define(DEADLINE, 20000).
-define(ON_NODE, 120000).

%% start adds to a suite's configuration: {dir, Dir}, {epmd, Port}, {cookie, Cookie}.
start(Config) ->
    Dir = string:trim(os:cmd("mktemp -d")),
    Port = free_port(),
    Cookie = unique("cookie"),
    CookieFile = filename:join(Dir, "cookie"),
    ok = file:write_file(CookieFile, Cookie),
    ok = file:change_mode(CookieFile, 8#600),
    Epmd = start_epmd(Port),
    [{dir, Dir}, {epmd, Port}, {epmd_program, Epmd}, {cookie, list_to_atom(Cookie)} | Config].

stop(Config) ->
    ok = stop_epmd(proplists:get_value(epmd_program, Config)),
    ok = file:del_dir_r(proplists:get_value(dir, Config)).

%% epmd does not look at its standard input, so a shell does, and ends it with the test's VM.
start_epmd(Port) ->
    Script = "epmd -address 127.0.0.1 -port $0 & echo epmd $!; read _; kill -KILL $!",
    Shell = emmap_program:start("/bin/sh", ["-c", Script, integer_to_list(Port)], #{}),
    [Pid] = emmap_program:await_line(Shell, "^epmd (\\d+)$"),
    ok = until(fun() -> {error, econnrefused} =/= epmd_names(Port) end),
    {Shell, Pid}.

stop_epmd({Shell, Pid}) ->
    _ = os:cmd(["kill -KILL ", Pid, " 2>/dev/null"]),
    emmap_program:stop(Shell).

%% The names that an epmd knows: {ok, [{Name, Port}]}, or {error, econnrefused}; another error where
%% it ends meanwhile.
epmd_names(Port) ->
    case gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]) of
        {ok, Socket} ->
            _ = gen_tcp:send(Socket, <<1:16, $n>>),
            case receive_all(Socket, <<>>) of
                {ok, <<_:32, Lines/binary>>} -> {ok, names(Lines)};
                Other -> {error, Other}
            end;
        {error, Reason} ->
            {error, Reason}
    end.

names(Lines) ->
    {match, Names} = re:run([Lines, "name none at port 0\n"], "name (\\S+) at port (\\d+)\n",
                            [global, {capture, all_but_first, list}]),
    [{Name, list_to_integer(P)} || [Name, P] <- lists:droplast(Names)].

%% The program under test: that of the environment (EMMAP_DAEMON), or the application's.
daemon_path() ->
    case os:getenv("EMMAP_DAEMON") of
        false -> filename:join(code:priv_dir(emmap), "emmapd");
        Path -> filename:absname(Path)
    end.

%% A daemon that ends with the calling process. Options: node (default: a new short name), args,
%% data_dir, cookie_file, epmd (its port), descriptors (as many as it may have).
daemon(Config) ->
    daemon(Config, #{}).

daemon(Config, Options) ->
    start_daemon(Config, Options#{owner => self()}).

%% A daemon that lives until stop_daemon: #{node, port, program, data_dir, options, config}.
start_daemon(Config, Options) ->
    await_ready(start_program(Config, Options)).

start_program(Config, Options0) ->
    Options = maps:merge(#{node => node_name("emmapd", Options0),
                           data_dir => filename:join(proplists:get_value(dir, Config), "data")},
                         Options0),
    Port = maps:get(epmd, Options, proplists:get_value(epmd, Config)),
    {Path, Args} = command(daemon_args(Config, Options), Options),
    Program = emmap_program:start(Path, Args,
                                  Options#{env => [{"ERL_EPMD_PORT", integer_to_list(Port)},
                                                   {"HOME", proplists:get_value(dir, Config)}]}),
    #{program => Program, node => maps:get(node, Options), options => Options, config => Config,
      data_dir => maps:get(data_dir, Options)}.

command(Args, #{descriptors := N}) ->
    Script = "ulimit -n " ++ integer_to_list(N) ++ " && exec \"$0\" \"$@\"",
    {"/bin/sh", ["-c", Script, daemon_path() | Args]};
command(Args, _Options) ->
    {daemon_path(), Args}.

await_ready(#{program := Program, node := Node} = Daemon) ->
    [Name, Port] = emmap_program:await_line(Program, "^ready (\\S+) (\\d+)$"),
    Node = list_to_atom(Name),
    Daemon#{port => list_to_integer(Port)}.

daemon_args(Config, #{node := Node, data_dir := DataDir} = Options) ->
    CookieFile = filename:join(proplists:get_value(dir, Config), "cookie"),
    Kind = case Options of
        #{long := true} -> "--name";
        _ -> "--sname"
    end,
    [Kind, atom_to_list(Node), "--data-dir", DataDir, "--stop-on-eof", "--allow-root",
     "--cookie-file", maps:get(cookie_file, Options, CookieFile) | maps:get(args, Options, [])].

%% The orderly end: by SIGTERM, with status 0. What it has printed.
stop_daemon(#{program := Program}) ->
    ok = emmap_program:signal(Program, "TERM"),
    Status = emmap_program:await_exit(Program),
    Lines = emmap_program:lines(Program),
    ok = emmap_program:stop(Program),
    {0, _} = {Status, Lines},
    Lines.

%% Ends it in no order at all.
kill_daemon(#{program := Program}) ->
    ok = emmap_program:signal(Program, "KILL"),
    137 = emmap_program:await_exit(Program),
    emmap_program:stop(Program).

%% The same, prepared: the fun kills it at that time (os:perf_counter(nanosecond)).
armed_kill(#{program := Program}) ->
    OsPid = integer_to_list(emmap_program:os_pid(Program)),
    Killer = emmap_program:start("/bin/sh", ["-c", "echo armed; read _; kill -KILL $0", OsPid], #{}),
    [] = emmap_program:await_line(Killer, "^armed$"),
    fun(At) ->
        ok = spin(At),
        ok = emmap_program:send(Killer, <<"
">>),
        137 = emmap_program:await_exit(Program),
        ok = emmap_program:stop(Killer),
        emmap_program:stop(Program)
    end.

%% The same daemon once more, after its end.
restart_daemon(Daemon) ->
    await_ready(launch_again(Daemon)).

%% The same, not yet ready, which it may never be.
launch_again(#{config := Config, options := Options}) ->
    start_program(Config, Options).

%% A node that ends with the calling process; it works in a directory of its own. Options: node (its
%% name; `nonode' has none), long, cookie, args, env, home, work (the directory), application
%% ([{Key, Value}]: emmap is started with these).
node(Config) ->
    node(Config, #{}).

node(Config, Options) ->
    start_node(Config, Options#{start => start_link}).

%% A node that lives until stop_node: #{peer, node, work}.
start_node(Config, Options) ->
    Start = maps:get(start, Options, start),
    {ok, Peer, Node} = named(peer:Start(peer_options(Config, Options))),
    Work = maps:get(work, Options, filename:join(proplists:get_value(dir, Config), unique("work"))),
    N = #{peer => Peer, node => Node, work => Work},
    ok = filelib:ensure_path(Work),
    ok = on(N, fun() -> file:set_cwd(Work) end),
    _ = [start_application(N, Environment) || #{application := Environment} <- [Options]],
    N.

stop_node(#{peer := Peer}) ->
    peer:stop(Peer).

%% Starts emmap on this node in that environment.
application(Environment) ->
    Full = maps:merge(#{daemon_path => daemon_path()}, maps:from_list(Environment)),
    ok = application:set_env([{emmap, maps:to_list(Full)}], [{persistent, true}]),
    application:ensure_all_started(emmap).

%% Runs the fun on the node; its result, or the same exception.
on(#{peer := Peer}, Fun) ->
    case peer:call(Peer, erlang, apply, [fun attempt/1, [Fun]], ?ON_NODE) of
        {ok, Result} -> Result;
        {Class, Reason, Stack} -> erlang:raise(Class, Reason, Stack)
    end.

%% A name that nobody else has.
unique(Prefix) ->
    lists:concat([Prefix, "_", os:getpid(), "_", erlang:unique_integer([positive])]).

free_port() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Port.

%% Asks again and again until the answer is true; fails at the deadline.
until(Fun) ->
    until(Fun, ?DEADLINE).

until(Fun, Deadline) ->
    until_then(Fun, erlang:monotonic_time(millisecond) + Deadline).

%% Until that time of os:perf_counter(nanosecond): a timer is too coarse.
spin(At) ->
    case os:perf_counter(nanosecond) < At of
        true -> spin(At);
        false -> ok
    end.

%% Runs all funs at the same time, each in a process of its own; their results in order.
in_parallel(Funs) ->
    Started = [spawn_monitor(fun() -> exit({result, Fun()}) end) || Fun <- Funs],
    [receive
         {'DOWN', Monitor, process, Pid, {result, Result}} -> Result;
         {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
     end || {Pid, Monitor} <- Started].

%% Internal.

receive_all(Socket, Got) ->
    case gen_tcp:recv(Socket, 0, ?DEADLINE) of
        {ok, More} -> receive_all(Socket, <<Got/binary, More/binary>>);
        {error, closed} -> {ok, Got}
    end.

node_name(Prefix, Options) ->
    list_to_atom(unique(Prefix) ++ host(Options)).

host(#{long := true}) -> "@127.0.0.1";
host(_) -> "@localhost".

named({ok, Peer}) -> {ok, Peer, nonode@nohost};
named(Started) -> Started.

peer_options(Config, Options) ->
    Dir = proplists:get_value(dir, Config),
    Base = #{connection => standard_io, wait_boot => ?DEADLINE,
             args => ["-pa" | code_paths()] ++ maps:get(args, Options, []),
             env => [{"ERL_EPMD_PORT", integer_to_list(proplists:get_value(epmd, Config))},
                     {"HOME", maps:get(home, Options, Dir)} | maps:get(env, Options, [])]},
    case maps:get(node, Options, node_name("client", Options)) of
        nonode -> Base;
        Node -> named_options(Base, Node, proplists:get_value(cookie, Config), Options)
    end.

named_options(#{args := Args} = Base, Node, Cookie, Options) ->
    [Name, Host] = string:split(atom_to_list(Node), "@"),
    Base#{name => Name, host => Host, longnames => maps:get(long, Options, false),
          args => ["-setcookie", atom_to_list(maps:get(cookie, Options, Cookie)) | Args]}.

code_paths() ->
    [filename:absname(filename:dirname(code:which(?MODULE)))
     | [Dir || Dir <- [code:lib_dir(emmap, ebin)], is_list(Dir)]].

start_application(Node, Environment) ->
    {ok, _} = on(Node, fun() -> application(Environment) end).

attempt(Fun) ->
    try
        {ok, Fun()}
    catch
        Class:Reason:Stack -> {Class, Reason, Stack}
    end.

until_then(Fun, End) ->
    case Fun() of
        true ->
            ok;
        Last ->
            erlang:monotonic_time(millisecond) < End orelse error({deadline, Last}),
            receive after 20 -> until_then(Fun, End) end
    end.
