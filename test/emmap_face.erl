%% The same requests through two faces: the wrapper's functions, and gen_server:call as PROTOCOL.md
%% says. A case written for a face holds for both.
-module(emmap_face).

-export([start/1, stop/1, groups/1]).
-export([in/3, file/2]).

-include_lib("common_test/include/ct.hrl").

%% A daemon and a node that reaches it by both faces; `face' is set by each group.
start(Config0) ->
    Config = emmap_test:start(Config0),
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Node = emmap_test:start_node(Config, #{application => [{daemon, external}, {node, D}]}),
    [{daemon, Daemon}, {client, Node} | Config].

stop(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

groups(Cases) ->
    [{wrapper, [], Cases}, {wire, [], Cases}].

%% Runs Fun(Do, File) on the client node. Do(Function, Arguments) is a request by the group's face,
%% where every way to say that the caller is wrong is `badarg'; File is a name of this case's own.
in(Config, Case, Fun) ->
    #{node := D} = ?config(daemon, Config),
    Face = maps:get(proplists:get_value(name, ?config(tc_group_properties, Config)),
                    #{wrapper => fun wrapper/3, wire => fun wire/3}),
    File = file(Config, Case),
    emmap_test:on(?config(client, Config), fun() ->
        Fun(fun(Function, Args) -> Face(D, Function, Args) end, File),
        ok
    end).

file(Config, Case) ->
    lists:concat([Case, ".", proplists:get_value(name, ?config(tc_group_properties, Config))]).

%% Internal.

wrapper(_D, Function, Args) ->
    try apply(emmap, Function, Args)
    catch error:badarg -> badarg
    end.

wire(D, Function, Args) ->
    case gen_server:call({emmap, D}, list_to_tuple([Function | Args]), infinity) of
        {error, badarg} -> badarg;
        {error, {bad_option, _}} -> badarg;
        Reply -> Reply
    end.
