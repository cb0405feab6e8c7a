%% Runs a subcommand of the emmapd under test to its end.
-module(emmap_tool).

-export([run/1, run/2]).

%% {Status, what it wrote to standard output, what to standard error}.
run(Args) ->
    run(Args, "\"$@\" 2>\"$said\"").

%% The same in a shell of its own: $@ is the command, what it says goes to the file $said.
run(Args, Script) ->
    Said = string:trim(os:cmd("mktemp")),
    Port = erlang:open_port({spawn_executable, "/bin/bash"},
                            [{args, ["-c", Script, "bash", emmap_test:daemon_path() | Args]},
                             {env, [{"said", Said}]}, binary, exit_status, use_stdio]),
    {Status, Output} = collect(Port, []),
    {ok, Errors} = file:read_file(Said),
    ok = file:delete(Said),
    {Status, Output, Errors}.

collect(Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(Output)}
    end.
