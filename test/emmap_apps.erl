%% Nodes that run the application, and the daemons that belong to them.
-module(emmap_apps).

-export([node/2, node/3, prepared/2, start/2]).
-export([shared/2, shared_data/1]).
-export([os_pid/1, guard/1, signal/2, runs/1, await_end/1, restarted/1, replaced/2]).
-export([await_calls/2, waits_for_a_reply/1, in_background/2, await/1]).
-export([kept/1]).

-import(emmap_test, [on/2, until/1]).

%% A node of emmap_test that ends with the calling process, with the application started under this
%% environment, and its events kept.
node(Config, Environment) ->
    node(Config, Environment, #{}).

node(Config, Environment, Options) ->
    N = prepared(Config, Options),
    {ok, _} = start(N, Environment),
    ok = guard(os_pid(N)),
    N.

%% The same node before the application is started.
prepared(Config, Options) ->
    N = emmap_test:node(Config, Options),
    ok = on(N, fun() -> emmap_events:collect() end),
    N.

start(N, Environment) ->
    on(N, fun() -> emmap_test:application(Environment) end).

%% The environment of nodes that share a daemon of the calling case's own.
shared(Config, More) ->
    Node = list_to_atom(emmap_test:unique("emmapd") ++ "@localhost"),
    Dir = filename:join(proplists:get_value(dir, Config), emmap_test:unique("shared")),
    ok = file:make_dir(Dir),
    [{daemon, shared}, {node, Node}, {data_dir, Dir}, {daemon_args, ["--allow-root"]},
     {cookie_file, filename:join(proplists:get_value(dir, Config), "cookie")} | More].

shared_data(Environment) ->
    proplists:get_value(data_dir, Environment).

%% The daemon's process.

os_pid(N) ->
    on(N, fun() -> #{os_pid := OsPid} = emmap:info(), OsPid end).

%% This daemon ends, whatever happens, with the calling process.
guard(OsPid) ->
    Case = self(),
    _ = spawn(fun() ->
            Monitor = monitor(process, Case),
            receive {'DOWN', Monitor, process, _, _} -> end_daemon(OsPid) end
        end),
    ok.

signal(Name, OsPid) ->
    [] = os:cmd(lists:concat(["kill -", Name, " ", OsPid])),
    ok.

%% Whether the process is there; one that only waits for its parent to look is not.
runs(OsPid) ->
    case file:read_file(lists:concat(["/proc/", OsPid, "/stat"])) of
        {ok, Stat} -> binary:match(Stat, <<") Z ">>) =:= nomatch;
        {error, _} -> false
    end.

await_end(OsPid) ->
    until(fun() -> not runs(OsPid) end).

%% Kills the daemon; returns when the node works with the next one.
restarted(N) ->
    OsPid = os_pid(N),
    ok = signal("KILL", OsPid),
    replaced(N, OsPid).

%% Returns when the node works with another daemon than this one: the pid of that.
replaced(N, OsPid) ->
    until(fun() -> not lists:member(known_pid(N), [none, OsPid]) end),
    New = os_pid(N),
    ok = guard(New),
    New.

%% Processes on the node.

%% Starts the funs there, a process each, linked to nobody; await gives their results.
in_background(N, Funs) ->
    on(N, fun() ->
        {Waiter, _} = spawn_monitor(fun() -> gather(Funs) end),
        Waiter ! {start, self()},
        receive {started, Pids} -> #{node => N, waiter => Waiter, pids => Pids} end
    end).

%% Their results in order, each with the time at which it came, in ms of the node's clock.
await(#{node := N, waiter := Waiter}) ->
    on(N, fun() ->
        Monitor = monitor(process, Waiter),
        Waiter ! {results, self()},
        receive
            {results, Results} -> Results;
            {'DOWN', Monitor, process, _, Reason} -> error(Reason)
        end
    end).

%% Returns when all of them wait for the daemon's answer.
await_calls(N, #{pids := Pids}) ->
    until(fun() -> on(N, fun() -> lists:all(fun waits_for_a_reply/1, Pids) end) end).

%% Does this process, on its own node, wait for the daemon's answer?
waits_for_a_reply(Pid) ->
    process_info(Pid, [status, current_function])
        =:= [{status, waiting}, {current_function, {emmap_lane, receive_reply, 4}}].

%% A handle that leaves its node for the test, to come back later, must still be held there.
kept(Handle) ->
    ok = persistent_term:put({?MODULE, make_ref()}, Handle),
    Handle.

%% Internal.

end_daemon(OsPid) ->
    case file:read_file(lists:concat(["/proc/", OsPid, "/comm"])) of
        {ok, <<"emmapd", _/binary>>} -> os:cmd(lists:concat(["kill -KILL ", OsPid]));
        _ -> ended
    end.

known_pid(N) ->
    on(N, fun() ->
        try emmap:info() of
            #{os_pid := Pid} -> Pid
        catch
            error:{Why, _} when Why =:= nodedown; Why =:= not_connected -> none
        end
    end).

gather(Funs) ->
    Started = [spawn_monitor(fun() -> exit({result, now_ms(Fun())}) end) || Fun <- Funs],
    receive {start, Starter} -> Starter ! {started, [Pid || {Pid, _} <- Started]} end,
    Results = [receive
                   {'DOWN', Monitor, process, _, {result, Result}} -> Result;
                   {'DOWN', Monitor, process, _, Reason} -> now_ms({'EXIT', Reason})
               end || {_, Monitor} <- Started],
    receive {results, To} -> To ! {results, Results} end.

now_ms(Result) ->
    {Result, erlang:monotonic_time(millisecond)}.

