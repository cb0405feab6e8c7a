%% @doc Node names, cookies, and distribution for a node that has none.
%%
%% A node without distribution gets a hidden name on the loopback address, no listener and no
%% entry in epmd; nothing is written into its user's home.
-module(emmap_net).

-export([check/1]).
-export([ensure_distributed/0]).
-export([own_daemon/0]).
-export([shared_daemon/0]).
-export([is_node_name/1]).
-export([has_long_name/1]).
-export([is_registered/1]).
-export([secret/0]).
-export([read_cookie/1]).

%% @doc Whether this node is distributed or may be made so.
-spec check(emmap_config:config()) ->
          ok | {error, not_distributed | {start_distribution, mnesia_running}}.
check(#{start_distribution := Allowed}) ->
    case {is_alive(), Allowed, is_mnesia_running()} of
        {true, _, _} -> ok;
        {false, false, _} -> {error, not_distributed};
        %% mnesia takes its node's name once, and waits for ever under another
        {false, true, true} -> {error, {start_distribution, mnesia_running}};
        {false, true, false} -> ok
    end.

%% @doc Gives this node a hidden name unless it has one.
-spec ensure_distributed() -> ok | {error, {start_distribution, term()}}.
ensure_distributed() ->
    case is_alive() of
        true -> ok;
        false -> started(with_a_cookie(fun start_hidden/0))
    end.

%% @doc A name for the daemon of this node, another one at each call.
-spec own_daemon() -> node().
own_daemon() ->
    name("emmap_", loopback()).

-spec shared_daemon() -> node().
shared_daemon() ->
    list_to_atom("emmap@" ++ loopback()).

-spec is_node_name(atom()) -> boolean().
is_node_name(Node) ->
    case string:split(atom_to_list(Node), "@") of
        [[_ | _], [_ | _]] -> true;
        _ -> false
    end.

-spec has_long_name(node()) -> boolean().
has_long_name(Node) ->
    lists:member($., host(Node)).

%% @doc Whether epmd on its host knows the node.
-spec is_registered(node()) -> boolean().
is_registered(Node) ->
    [Name, Host] = string:split(atom_to_list(Node), "@"),
    case erl_epmd:port_please(Name, Host, 1000) of
        {port, _, _} -> true;
        _ -> false
    end.

%% @doc 32 characters that nobody guesses.
-spec secret() -> atom().
secret() ->
    list_to_atom(random(32)).

%% @doc The cookie in a file; `default' is ~/.erlang.cookie, which need not be there.
-spec read_cookie(file:name_all() | default) ->
          {ok, atom()} | none | {error, {cookie_file, file:name_all(), file:posix() | badarg}}.
read_cookie(default) ->
    case read_cookie(default_cookie_file()) of
        {ok, Cookie} -> {ok, Cookie};
        {error, _} -> none
    end;
read_cookie(File) ->
    case file:read_file(File) of
        {ok, Text} -> {ok, binary_to_atom(string:trim(Text), latin1)};
        {error, Reason} -> {error, {cookie_file, File, Reason}}
    end.

%% Internal.

is_mnesia_running() ->
    whereis(mnesia_sup) =/= undefined.

loopback() ->
    case net_kernel:longnames() of
        true -> "127.0.0.1";
        _ -> "localhost"
    end.

host(Node) ->
    [_, Host] = string:split(atom_to_list(Node), "@"),
    Host.

name(Prefix, Host) ->
    list_to_atom(Prefix ++ os:getpid() ++ "_" ++ random(10) ++ "@" ++ Host).

start_hidden() ->
    Name = name("emmap_c", "localhost"),
    Options = #{name_domain => shortnames, dist_listen => false, hidden => true},
    net_kernel:start(Name, Options).

started({ok, _}) ->
    emmap_log:event(notice, #{text => ["this node had no name and is now ", atom_to_list(node())]});
started({error, {already_started, _}}) ->
    ok; % somebody else did it meanwhile
started({error, Reason}) ->
    {error, {start_distribution, Reason}}.

%% Without a cookie file the kernel would write one into the home, which may not be writable.
%% It looks into XDG_CONFIG_HOME, too: for this moment that is a directory of our own.
with_a_cookie(Start) ->
    case filelib:is_regular(default_cookie_file()) of
        true -> Start();
        false -> with_private_config(Start)
    end.

with_private_config(Start) ->
    Dir = filename:join(temporary_dir(), "emmap_" ++ os:getpid() ++ "_" ++ random(10)),
    File = filename:join([Dir, "erlang", ".erlang.cookie"]),
    Old = [{Key, os:getenv(Key)} || Key <- ["XDG_CONFIG_HOME", "HOME"]],
    try
        ok = private_dir(Dir),
        ok = private_dir(filename:dirname(File)),
        ok = file:write_file(File, atom_to_list(secret())),
        ok = file:change_mode(File, 8#400),
        true = os:putenv("XDG_CONFIG_HOME", Dir),
        _ = os:getenv("HOME") =:= false andalso os:putenv("HOME", Dir),
        Start()
    catch
        error:{badmatch, {error, Reason}} -> {error, {Dir, Reason}}
    after
        lists:foreach(fun restore_env/1, Old),
        _ = file:del_dir_r(Dir)
    end.

private_dir(Dir) ->
    case file:make_dir(Dir) of
        ok -> file:change_mode(Dir, 8#700);
        {error, Reason} -> {error, Reason}
    end.

restore_env({Key, false}) -> os:unsetenv(Key);
restore_env({Key, Value}) -> os:putenv(Key, Value).

temporary_dir() ->
    os:getenv("TMPDIR", "/tmp").

default_cookie_file() ->
    filename:join(home(), ".erlang.cookie").

home() ->
    case init:get_argument(home) of
        {ok, [[Home | _] | _]} -> Home;
        _ -> os:getenv("HOME", "/")
    end.

%% The kernel's source of chance: `rand' can be guessed and crypto need not be installed.
random(Length) ->
    {ok, Source} = file:open("/dev/urandom", [read, raw, binary]),
    {ok, Bytes} = file:read(Source, Length),
    ok = file:close(Source),
    [lists:nth(1 + Byte rem 32, "abcdefghijkmnpqrstuvwxyz23456789") || <<Byte>> <= Bytes].
