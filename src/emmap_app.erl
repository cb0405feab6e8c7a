%% @doc Starting and stopping.
%%
%% A start that fails names its reason: `not_distributed', `{start_distribution, mnesia_running}',
%% `{bad_config, Key, Value}', `{emmapd, Why}'; emmap:format_error/1 explains each.
-module(emmap_app).
-behaviour(application).

-export([start/2]).
-export([stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case emmap_config:load() of
        {ok, Config} -> start(Config);
        {error, Reason} -> {error, Reason}
    end.

-spec stop(term()) -> ok.
stop(_State) ->
    forget().

%% Internal.

start(Config) ->
    case emmap_net:check(Config) of
        ok ->
            ok = emmap_config:store(Config),
            ok = emmap_log:start(),
            started(emmap_sup:start_link());
        {error, Reason} ->
            {error, Reason}
    end.

started({ok, Pid}) ->
    {ok, Pid};
started({error, Reason}) ->
    ok = forget(),
    {error, first_cause(Reason)}.

forget() ->
    ok = emmap_log:stop(),
    emmap_config:erase().

first_cause({shutdown, {failed_to_start_child, _, Reason}}) -> Reason;
first_cause(Reason) -> Reason.
