%% What emmapd serves, on a node of Erlang's own: the process `emmap' and the modules `emmap' and
%% `emmap_queue', with counters and queues that are kept in memory. Just enough of it that the same
%% calls can be made to both.
-module(emmap_stand_in).
-behaviour(gen_server).

-export([start/0, serve/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(SERVED, [{emmap, [{ping, 0}, {list, 0}, {open_counters, 2}, {inc_counter, 3},
                          {read_counter, 2}]},
                 {emmap_queue, [{open, 3}, {push, 2}, {pop, 1}, {pop_wait, 2}, {length, 1}]}]).

%% Starts it on this node, which has no application emmap then.
start() ->
    _ = [load(Module, Functions) || {Module, Functions} <- ?SERVED],
    {ok, _} = gen_server:start({local, emmap}, ?MODULE, [], []),
    ok.

%% The body of each served function: a request to the process. Where a bare result is due an error
%% is raised.
serve(Module, Function, Args) ->
    case {gen_server:call(emmap, request(Function, Args), infinity), Function} of
        {{error, Reason}, Bare} when Bare =:= pop; Bare =:= length ->
            erlang:raise(error, Reason, [{Module, Function, Args, []}]);
        {Reply, _} ->
            Reply
    end.

%% The process. Its state has the objects by their names, and the names by ids.

init([]) ->
    process_flag(trap_exit, true), % a client that dies does it no harm
    {ok, #{}}.

handle_call(ping, _From, S) ->
    {reply, pong, S};
handle_call(list, _From, S) ->
    {reply, [#{name => Name} || Name <- maps:keys(S), is_binary(Name)], S};
handle_call({open_counters, Name, _}, _From, S) ->
    open(Name, {counters, #{}}, S);
handle_call({open_queue, Name, _, _}, _From, S) ->
    open(Name, {queue, [], []}, S);
handle_call({_, Obj, _} = Request, From, S) ->
    run(Request, name(Obj, S), From, S);
handle_call({_, Obj} = Request, From, S) ->
    run(Request, name(Obj, S), From, S);
handle_call({_, Obj, _, _} = Request, From, S) ->
    run(Request, name(Obj, S), From, S).

handle_cast(Request, S) ->
    {reply, _, Changed} = handle_call(Request, nobody, S),
    {noreply, Changed}.

handle_info({late, Name, From}, S) ->
    #{Name := {queue, Items, Waiting}} = S,
    _ = [gen_server:reply(From, empty) || lists:member(From, Waiting)],
    {noreply, S#{Name := {queue, Items, lists:delete(From, Waiting)}}};
handle_info(_, S) ->
    {noreply, S}.

%% Internal.

%% A module whose functions are all served.
load(Module, Functions) ->
    Forms = [{attribute, 1, module, Module}, {attribute, 1, export, Functions}
             | [function(Module, Function, Arity) || {Function, Arity} <- Functions]],
    {ok, Module, Code} = compile:forms(Forms, []),
    {module, Module} = code:load_binary(Module, "stand_in", Code).

function(Module, Function, Arity) ->
    Args = [{var, 1, list_to_atom("A" ++ integer_to_list(N))} || N <- lists:seq(1, Arity)],
    List = lists:foldr(fun(Arg, Rest) -> {cons, 1, Arg, Rest} end, {nil, 1}, Args),
    Body = {call, 1, {remote, 1, {atom, 1, ?MODULE}, {atom, 1, serve}},
            [{atom, 1, Module}, {atom, 1, Function}, List]},
    {function, 1, Function, Arity, [{clause, 1, Args, [], [Body]}]}.

request(Function, []) -> Function;
request(open, Args) -> list_to_tuple([open_queue | Args]);
request(Function, Args) -> list_to_tuple([Function | Args]).

name(Id, S) when is_integer(Id) -> maps:get(Id, S, none);
name(Name, _) -> iolist_to_binary(Name).

open(Name0, New, S) ->
    Name = name(Name0, S),
    Id = erlang:unique_integer([positive]),
    {reply, {ok, Id, #{id => Id}}, S#{Id => Name, Name => maps:get(Name, S, New)}}.

run(Request, Name, From, S) ->
    case S of
        #{Name := Object} -> run_on(Request, Name, Object, From, S);
        #{} -> {reply, {error, enoent}, S}
    end.

run_on({inc_counter, _, I, D}, Name, {counters, Values}, _, S) ->
    Old = maps:get(I, Values, 0),
    {reply, {ok, Old}, S#{Name := {counters, Values#{I => Old + D}}}};
run_on({read_counter, _, I}, _, {counters, Values}, _, S) ->
    {reply, {ok, maps:get(I, Values, 0)}, S};
run_on({length, _}, _, {queue, Items, _}, _, S) ->
    {reply, length(Items), S};
run_on({info, _}, _, {queue, _, Waiting}, _, S) ->
    {reply, #{waiting => length(alive(Waiting))}, S};
run_on({push, _, Item}, Name, {queue, Items, Waiting}, _, S) ->
    {reply, ok, S#{Name := push(Item, Items, alive(Waiting))}};
run_on({pop, _}, Name, {queue, [Item | Items], _}, _, S) ->
    {reply, Item, S#{Name := {queue, Items, []}}};
run_on({pop, _}, _, {queue, [], _}, _, S) ->
    {reply, nil, S};
run_on({pop_wait, _, _}, Name, {queue, [Item | Items], _}, _, S) ->
    {reply, {ok, Item}, S#{Name := {queue, Items, []}}};
run_on({pop_wait, _, Timeout}, Name, {queue, [], Waiting}, From, S) ->
    _ = [erlang:send_after(Timeout, self(), {late, Name, From}) || Timeout =/= infinity],
    {noreply, S#{Name := {queue, [], Waiting ++ [From]}}}.

push(Item, Items, []) ->
    {queue, Items ++ [Item], []};
push(Item, [], [First | Waiting]) ->
    gen_server:reply(First, {ok, Item}),
    {queue, [], Waiting}.

alive(Waiting) ->
    [From || {Pid, _} = From <- Waiting, node(Pid) =/= node() orelse is_process_alive(Pid)].
