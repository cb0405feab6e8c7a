%% An operating-system process as a test sees it: the lines it prints, its signals, its end.
%% It is killed when its owner ends, and sees end of file when the test's VM does.
-module(emmap_program).
-behaviour(gen_server).

-export([start/3]).
-export([os_pid/1]).
-export([await_line/2]).
-export([lines/1]).
-export([running/1]).
-export([send/2]).
-export([signal/2]).
-export([await_exit/1]).
-export([stop/1]).

-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(DEADLINE, 20000).

-record(state, {port, os_pid, lines = [], status = running, awaited = []}).

%% Runs Path. Options: owner (a process), env ([{Name, Value | false}]), cd.
%% Standard error comes with standard output.
start(Path, Args, Options) ->
    {ok, Program} = gen_server:start(?MODULE, {Path, Args, Options}, []),
    Program.

os_pid(Program) ->
    gen_server:call(Program, os_pid).

%% The first line that matches the regular expression, printed already or still to come, as the list
%% of its groups. Fails where the program ends without one, or at the deadline.
await_line(Program, Pattern) ->
    case gen_server:call(Program, {await, {line, Pattern}}, ?DEADLINE) of
        {ended, Status, Lines} -> error({no_line, Pattern, Status, Lines});
        Groups -> Groups
    end.

lines(Program) ->
    gen_server:call(Program, lines).

running(Program) ->
    gen_server:call(Program, status) =:= running.

%% Bytes to its standard input.
send(Program, Bytes) ->
    gen_server:call(Program, {send, Bytes}).

%% A signal by its name: "KILL", "TERM", "STOP", ...
signal(Program, Name) ->
    [] = os:cmd(["kill -", Name, " ", integer_to_list(os_pid(Program))]),
    ok.

%% The exit status; 128 + N where signal N ended it.
await_exit(Program) ->
    gen_server:call(Program, {await, exit}, ?DEADLINE).

%% Kills it where it still runs, and forgets it.
stop(Program) ->
    gen_server:stop(Program).

init({Path, Args, Options}) ->
    process_flag(trap_exit, true),
    _ = [monitor(process, Owner) || #{owner := Owner} <- [Options]],
    Port = open_port({spawn_executable, Path},
                     [{args, Args}, {env, maps:get(env, Options, [])}, {line, 65536}, binary,
                      exit_status, stderr_to_stdout, use_stdio
                      | [{cd, Dir} || #{cd := Dir} <- [Options]]]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    {ok, #state{port = Port, os_pid = Pid}}.

handle_call(os_pid, _From, S) ->
    {reply, S#state.os_pid, S};
handle_call(lines, _From, S) ->
    {reply, lists:reverse(S#state.lines), S};
handle_call(status, _From, S) ->
    {reply, S#state.status, S};
handle_call({send, Bytes}, _From, S) ->
    true = port_command(S#state.port, Bytes),
    {reply, ok, S};
handle_call({await, What}, From, S) ->
    {noreply, answer(S#state{awaited = [{From, What} | S#state.awaited]})}.

handle_cast(_, S) ->
    {noreply, S}.

handle_info({Port, {data, {_, Line}}}, #state{port = Port} = S) ->
    {noreply, answer(S#state{lines = [Line | S#state.lines]})};
handle_info({Port, {exit_status, Status}}, #state{port = Port} = S) ->
    {noreply, answer(S#state{status = Status})};
handle_info({'DOWN', _, process, _, _}, S) ->
    {stop, normal, S};
handle_info({'EXIT', _, _}, S) ->
    {noreply, S}.

terminate(_Reason, #state{status = running, os_pid = Pid}) ->
    os:cmd("kill -KILL " ++ integer_to_list(Pid) ++ " 2>/dev/null");
terminate(_Reason, _S) ->
    ok.

%% Internal.

answer(#state{awaited = Awaited} = S) ->
    S#state{awaited = [A || {From, What} = A <- Awaited, not answered(From, seen(What, S))]}.

answered(_From, nothing) -> false;
answered(From, Answer) -> gen_server:reply(From, Answer), true.

seen(exit, #state{status = running}) -> nothing;
seen(exit, #state{status = Status}) -> Status;
seen({line, Pattern}, #state{lines = Lines, status = Status}) ->
    case first_match(lists:reverse(Lines), Pattern) of
        nothing when Status =/= running -> {ended, Status, lists:reverse(Lines)};
        Found -> Found
    end.

first_match([], _Pattern) ->
    nothing;
first_match([Line | Lines], Pattern) ->
    case re:run(Line, Pattern, [{capture, all_but_first, list}]) of
        {match, Groups} -> Groups;
        match -> [];
        nomatch -> first_match(Lines, Pattern)
    end.
