%% @doc The application's environment: read and checked once, when the application starts.
-module(emmap_config).

-export([load/0]).
-export([store/1]).
-export([erase/0]).
-export([get/1]).
-export([is_timeout/1]).

-export_type([config/0, mode/0]).

-type mode() :: own | shared | external.
-type config() :: #{daemon := mode(),
                    node := node(),
                    data_dir := file:name_all(),
                    allow_paths := [file:name_all()],
                    start_distribution := boolean(),
                    connect_timeout := timeout(),
                    call_timeout := timeout(),
                    restart_backoff := {pos_integer(), pos_integer()},
                    max_casts := pos_integer(),
                    hang_timeout := pos_integer(),
                    cookie_file := file:name_all() | default,
                    daemon_path := file:name_all() | default,
                    daemon_args := [string() | binary()],
                    log_level := error | warning | notice | info | debug}.

%% @doc The environment with defaults, or the first value that makes no sense.
-spec load() -> {ok, config()} | {error, {bad_config, Key :: atom(), Value :: term()}}.
load() ->
    Mode = application:get_env(emmap, daemon, own),
    load(defaults(Mode), #{}).

%% @doc From here on the configuration is there for every process of this node.
-spec store(config()) -> ok.
store(Config) ->
    persistent_term:put(?MODULE, Config).

-spec erase() -> ok.
erase() ->
    _ = persistent_term:erase(?MODULE),
    ok.

%% @doc One value. Raises `{not_started, emmap}' where the application does not run.
-spec get(atom()) -> term().
get(Key) ->
    case persistent_term:get(?MODULE, not_started) of
        not_started -> emmap_error:not_started();
        #{Key := Value} -> Value
    end.

%% @doc Whether a process can wait so long for a message.
-spec is_timeout(term()) -> boolean().
is_timeout(infinity) -> true;
is_timeout(V) -> is_integer(V) andalso V >= 0 andalso V =< 16#ffffffff.

%% Internal.

load([], Config) ->
    {ok, Config};
load([{Key, Default} | Rest], Config) ->
    Value = application:get_env(emmap, Key, Default),
    case is_valid(Key, Value) of
        true -> load(Rest, Config#{Key => Value});
        false -> {error, {bad_config, Key, Value}}
    end.

defaults(Mode) ->
    [{daemon, own},
     {node, default_node(Mode)},
     {data_dir, default_data_dir(Mode)},
     {allow_paths, default_allow_paths(Mode)},
     {start_distribution, true},
     {connect_timeout, 5000},
     {call_timeout, infinity},
     {restart_backoff, {100, 5000}},
     {max_casts, 10000},
     {hang_timeout, 30000},
     {cookie_file, default},
     {daemon_path, default},
     {daemon_args, []},
     {log_level, notice}].

default_node(own) -> emmap_net:own_daemon();
default_node(_) -> emmap_net:shared_daemon().

default_data_dir(own) ->
    {ok, Dir} = file:get_cwd(),
    Dir;
default_data_dir(_) ->
    "/var/lib/emmap".

default_allow_paths(own) -> ["/"];
default_allow_paths(_) -> [].

is_valid(daemon, V) -> lists:member(V, [own, shared, external]);
is_valid(node, V) -> is_atom(V) andalso emmap_net:is_node_name(V);
is_valid(data_dir, V) -> is_path(V);
is_valid(allow_paths, V) -> is_list(V) andalso lists:all(fun is_path/1, V);
is_valid(start_distribution, V) -> is_boolean(V);
is_valid(connect_timeout, V) -> is_timeout(V);
is_valid(call_timeout, V) -> is_timeout(V);
is_valid(restart_backoff, {First, Longest}) -> is_positive(First) andalso is_integer(Longest)
                                                   andalso First =< Longest;
is_valid(restart_backoff, _) -> false;
is_valid(max_casts, V) -> is_positive(V);
is_valid(hang_timeout, V) -> is_integer(V) andalso V >= 6;
is_valid(cookie_file, V) -> V =:= default orelse is_path(V);
is_valid(daemon_path, V) -> V =:= default orelse is_path(V);
is_valid(daemon_args, V) -> is_list(V) andalso lists:all(fun is_path/1, V);
is_valid(log_level, V) -> lists:member(V, [error, warning, notice, info, debug]).

is_positive(V) -> is_integer(V) andalso V > 0.

is_path(V) -> (is_binary(V) andalso V =/= <<>>) orelse (is_list(V) andalso is_text(V)).

is_text([]) -> false;
is_text(V) -> is_binary(catch unicode:characters_to_binary(V)).
