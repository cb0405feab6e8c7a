-module(emmap_config_tests).
-include_lib("eunit/include/eunit.hrl").

%% The environment is put back after each test.
config_test_() ->
    {foreach, fun() -> application:get_all_env(emmap) end, fun restore/1,
     [{"defaults of an own daemon", fun defaults_of_own/0},
      {"defaults of a shared daemon", fun defaults_of_shared/0},
      {"an own daemon has another name each time", fun names_differ/0}
      | [{lists:flatten(io_lib:format("~0p", [Wrong])), fun() -> is_refused(Wrong) end}
         || Wrong <- [{daemon, mine}, {node, nowhere}, {node, "a@b"}, {data_dir, 7},
                      {data_dir, ""}, {allow_paths, "/a"}, {start_distribution, yes},
                      {connect_timeout, -1}, {call_timeout, never}, {restart_backoff, 100},
                      {restart_backoff, {200, 100}}, {max_casts, 0}, {hang_timeout, 5},
                      {hang_timeout, infinity}, {cookie_file, []}, {daemon_path, no},
                      {daemon_args, [arg]}, {log_level, loud}]]]}.

restore(Old) ->
    [ok = application:unset_env(emmap, Key) || {Key, _} <- application:get_all_env(emmap)],
    [ok = application:set_env(emmap, Key, Value) || {Key, Value} <- Old].

defaults_of_own() ->
    {ok, Dir} = file:get_cwd(),
    {ok, Config} = emmap_config:load(),
    ?assertMatch(#{daemon := own, data_dir := Dir, allow_paths := ["/"],
                   start_distribution := true, connect_timeout := 5000, call_timeout := infinity,
                   restart_backoff := {100, 5000}, max_casts := 10000, hang_timeout := 30000,
                   cookie_file := default, daemon_path := default, daemon_args := [],
                   log_level := notice}, Config),
    ?assertMatch("emmap_" ++ _, atom_to_list(maps:get(node, Config))).

defaults_of_shared() ->
    ok = application:set_env(emmap, daemon, shared),
    ?assertMatch({ok, #{daemon := shared, node := 'emmap@localhost', allow_paths := [],
                        data_dir := "/var/lib/emmap"}}, emmap_config:load()).

names_differ() ->
    {ok, #{node := One}} = emmap_config:load(),
    {ok, #{node := Other}} = emmap_config:load(),
    ?assertNotEqual(One, Other).

is_refused({Key, Value}) ->
    ok = application:set_env(emmap, Key, Value),
    ?assertEqual({error, {bad_config, Key, Value}}, emmap_config:load()).

without_the_application_test() ->
    ?assertError({not_started, emmap}, emmap_config:get(node)).
