%% @doc Keeps emmapd running, in one of three ways.
%%
%% `own': beside this node, with its rights and in its directory; it ends when its standard input
%% closes, so however this node ends. Its log lines become events of logger. When it ends before
%% that, it is started again, after a pause that doubles up to a limit.
%% `shared': started unless it runs; then it belongs to nobody and stays.
%% `external': somebody else starts it; here only its cookie is looked after.
-module(emmap_daemon).
-behaviour(gen_server).

-export([start_link/0]).
-export([kill/0]).
-export([init/1]).
-export([handle_call/3]).
-export([handle_cast/2]).
-export([handle_info/2]).
-export([terminate/2]).

%% Pure parts
-export([args/3]).
-export([log_event/1]).

-record(daemon, {mode :: emmap_config:mode(),
                 node :: node(),
                 cookie :: atom(),
                 port :: port() | undefined,
                 os_pid :: pos_integer() | undefined,
                 started_ms = 0 :: integer(),
                 pause_ms :: pos_integer(),
                 monitor :: reference() | undefined,
                 %% the last line of the log, which tells why it ended
                 last = <<>> :: binary()}).

-define(STOP_MS, 5000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], [{timeout, infinity}]).

%% @doc Kills our own daemon, which hangs; it will be started again.
-spec kill() -> ok.
kill() ->
    gen_server:cast(?MODULE, kill).

-spec init([]) -> {ok, #daemon{}} | {stop, term()}.
init([]) ->
    process_flag(trap_exit, true),
    Mode = emmap_config:get(daemon),
    {First, _} = emmap_config:get(restart_backoff),
    D = #daemon{mode = Mode, node = emmap_config:get(node), pause_ms = First, cookie = nocookie},
    case begun(Mode, D) of
        {ok, Running} -> {ok, Running};
        {error, Reason} -> {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), #daemon{}) -> {noreply, #daemon{}}.
handle_call(_, _From, D) ->
    {noreply, D}.

-spec handle_cast(kill, #daemon{}) -> {noreply, #daemon{}}.
handle_cast(kill, #daemon{os_pid = OsPid} = D) ->
    ok = signal("KILL", OsPid),
    {noreply, D}.

-spec handle_info(term(), #daemon{}) -> {noreply, #daemon{}}.
handle_info({Port, {data, {_, Line}}}, #daemon{port = Port} = D) ->
    {noreply, line(Line, D)};
handle_info({Port, {exit_status, Status}}, #daemon{port = Port, node = Node} = D) ->
    Text = io_lib:format("ended with status ~b and is started again", [Status]),
    ok = emmap_log:event(warning, #{daemon => Node, text => Text}),
    {noreply, again(D#daemon{port = undefined, os_pid = undefined})};
handle_info({'DOWN', Monitor, process, _, _}, #daemon{monitor = Monitor} = D) ->
    {noreply, again(D)};
handle_info(start, #daemon{mode = own} = D) ->
    {noreply, restarted(start_own(D), D)};
handle_info(start, #daemon{mode = shared} = D) ->
    {noreply, restarted(start_shared(D), D)};
handle_info(_, D) ->
    {noreply, D}.

%% @doc An own daemon is asked to end in good order, and waited for.
-spec terminate(term(), #daemon{}) -> ok.
terminate(_Reason, #daemon{port = Port, os_pid = OsPid}) when is_port(Port) ->
    ok = signal("TERM", OsPid),
    receive
        {Port, {exit_status, _}} -> ok
    after ?STOP_MS ->
        signal("KILL", OsPid)
    end;
terminate(_Reason, _D) ->
    ok.

%% Starting for the first time: whatever is wrong ends the start of the application.

begun(own, D) ->
    %% the daemon first: it starts epmd where there is none
    Cookie = own_cookie(),
    maybe_ready(start_own(D#daemon{cookie = Cookie}));
begun(Mode, D) ->
    case read_cookie(Mode, emmap_config:get(cookie_file), is_alive()) of
        {error, Reason} -> {error, Reason};
        Found -> begun(Mode, Found, D)
    end.

begun(external, Found, D) ->
    maybe_distributed(cookie(Found), D);
begun(shared, Found, D) ->
    case start_shared(D) of
        {ok, Started} -> maybe_distributed(cookie(Found), Started);
        {error, Reason} -> {error, Reason}
    end.

maybe_ready({ok, #daemon{cookie = Cookie} = D}) ->
    case await_ready(D) of
        {ok, Ready} -> maybe_distributed(Cookie, Ready);
        {error, Reason} -> {error, {emmapd, Reason}}
    end;
maybe_ready({error, Reason}) ->
    {error, Reason}.

maybe_distributed(Cookie, #daemon{node = Node} = D) ->
    case emmap_net:ensure_distributed() of
        ok ->
            _ = Cookie =:= none orelse erlang:set_cookie(Node, Cookie),
            {ok, watched(D)};
        {error, Reason} ->
            _ = terminate(Reason, D),
            {error, Reason}
    end.

%% A node that has a cookie meets a daemon of its cluster with that, unless told otherwise.
read_cookie(external, default, true) -> none;
read_cookie(_Mode, File, _IsAlive) -> emmap_net:read_cookie(File).

cookie({ok, Cookie}) -> Cookie;
cookie(none) -> none.

own_cookie() ->
    case is_alive() of
        true -> erlang:get_cookie();
        false -> emmap_net:secret()
    end.

%% A shared daemon has no port to tell its end.
watched(#daemon{mode = shared, node = Node} = D) ->
    D#daemon{monitor = erlang:monitor(process, {emmap, Node})};
watched(D) ->
    D.

await_ready(#daemon{port = Port} = D) ->
    receive
        {Port, {data, {_, <<"ready ", _/binary>>}}} -> {ok, D};
        {Port, {data, {_, Line}}} -> await_ready(line(Line, D));
        {Port, {exit_status, Status}} -> {error, {exit_status, Status, D#daemon.last}}
    after emmap_config:get(connect_timeout) ->
        _ = terminate(timeout, D),
        {error, timeout}
    end.

%% Starting again.

again(#daemon{pause_ms = Pause, started_ms = Started} = D) ->
    {First, Longest} = emmap_config:get(restart_backoff),
    Now = case now_ms() - Started > Longest of
              true -> First; % it ran for a while: a new series
              false -> Pause
          end,
    _ = erlang:send_after(Now, self(), start),
    D#daemon{pause_ms = min(2 * Now, Longest)}.

restarted({ok, D}, _) ->
    watched(D);
restarted({error, Reason}, #daemon{node = Node} = D) ->
    ok = emmap_log:event(error, #{daemon => Node, text => emmap_error:text(Reason)}),
    again(D).

%% The process.

start_own(#daemon{node = Node, cookie = Cookie} = D) ->
    Path = path(),
    Options = [{args, args(own, Node, config())}, {line, 4096}, binary, exit_status,
               stderr_to_stdout, use_stdio, hide],
    try open_port({spawn_executable, Path}, Options) of
        Port ->
            true = port_command(Port, [atom_to_binary(Cookie), $\n]),
            {os_pid, OsPid} = erlang:port_info(Port, os_pid),
            {ok, D#daemon{port = Port, os_pid = OsPid, started_ms = now_ms(), last = <<>>}}
    catch
        error:Reason -> {error, {emmapd, {Path, Reason}}}
    end.

start_shared(#daemon{node = Node} = D) ->
    case emmap_net:is_registered(Node) of
        true -> {ok, D#daemon{started_ms = now_ms()}};
        false -> detach(Node, D#daemon{started_ms = now_ms()})
    end.

%% It lives in a session of its own, and writes its log to a file: our pipe is there for its first
%% words only, the line `ready' or what is wrong.
detach(Node, D) ->
    Path = path(),
    Script = "exec setsid --fork \"$0\" \"$@\" </dev/null 2>&1",
    Args = ["-c", Script, Path | args(shared, Node, config())],
    case filelib:is_regular(Path) of
        true ->
            Options = [{args, Args}, {line, 4096}, binary, eof],
            await_detached(open_port({spawn_executable, "/bin/sh"}, Options), Node, <<>>, D);
        false ->
            {error, {emmapd, {Path, enoent}}}
    end.

await_detached(Port, Node, Last, D) ->
    receive
        {Port, {data, {_, <<"ready ", _/binary>>}}} ->
            true = port_close(Port),
            {ok, D};
        {Port, {data, {_, Line}}} ->
            await_detached(Port, Node, Line, D);
        {Port, eof} ->
            true = port_close(Port),
            %% another node may have started it at the same moment
            case emmap_net:is_registered(Node) of
                true -> {ok, D};
                false -> {error, {emmapd, {exit_status, 1, Last}}}
            end
    after emmap_config:get(connect_timeout) ->
        true = port_close(Port),
        {error, {emmapd, timeout}}
    end.

path() ->
    case emmap_config:get(daemon_path) of
        default -> filename:join(priv_dir(), "emmapd");
        Path -> Path
    end.

priv_dir() ->
    case code:priv_dir(emmap) of
        {error, bad_name} ->
            Ebin = filename:dirname(code:which(?MODULE)),
            filename:join(filename:dirname(Ebin), "priv");
        Dir ->
            Dir
    end.

config() ->
    maps:from_list([{Key, emmap_config:get(Key)}
                    || Key <- [data_dir, allow_paths, cookie_file, log_level, daemon_args]]).

%% @doc The command line of emmapd.
-spec args(own | shared, node(), map()) -> [string() | binary()].
args(Mode, Node, #{data_dir := Dir, allow_paths := Paths, log_level := Level,
                   daemon_args := More} = Config) ->
    [name_option(Node), atom_to_list(Node), "--data-dir", Dir, "--log-level", atom_to_list(Level)]
        ++ lists:append([["--allow-path", Path] || Path <- Paths])
        ++ mode_args(Mode, Config)
        ++ More.

name_option(Node) ->
    case emmap_net:has_long_name(Node) of
        true -> "--name";
        false -> "--sname"
    end.

mode_args(own, _) ->
    %% root's node has said by being root's that it may
    ["--cookie-file", "-", "--stop-on-eof", "--allow-root", "--adopt-journals"];
mode_args(shared, #{data_dir := Dir, cookie_file := File}) ->
    Cookie = case File of
                 default -> [];
                 _ -> ["--cookie-file", File]
             end,
    Cookie ++ ["--log-file", filename:join(Dir, "emmapd.log")].

signal(_Name, undefined) ->
    ok;
signal(Name, OsPid) ->
    _ = os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(OsPid)),
    ok.

%% Its words.

line(<<"ready ", _/binary>>, #daemon{node = Node} = D) ->
    ok = emmap_lane:nudge(Node),
    D;
line(Line, #daemon{node = Node} = D) ->
    {Level, Text} = log_event(Line),
    ok = emmap_log:event(Level, #{daemon => Node, text => Text}),
    D#daemon{last = Text}.

%% @doc Level and text of a line of the daemon's log; what is not of its form is a notice.
-spec log_event(binary()) -> {logger:level(), binary()}.
log_event(<<"error ", Text/binary>>) -> {error, Text};
log_event(<<"warning ", Text/binary>>) -> {warning, Text};
log_event(<<"notice ", Text/binary>>) -> {notice, Text};
log_event(<<"info ", Text/binary>>) -> {info, Text};
log_event(<<"debug ", Text/binary>>) -> {debug, Text};
log_event(Line) -> {notice, Line}.

now_ms() ->
    erlang:monotonic_time(millisecond).
