%% @doc How requests reach a queue, whatever it was named by: a handle, the name of its file, a
%% process of this node that has it open and lends its handle, or another node's process, which is
%% the queue itself (a registered one of a daemon) or has it open there.
-module(emmap_access).

-include_lib("kernel/include/file.hrl").

-export([is_process/1]).
-export([has_handle/1]).
-export([to/1]).
-export([call/2]).
-export([cast/2]).
-export([barrier/1]).
-export([handle/1]).
-export([daemon/1]).

-export_type([access/0]).

-type access() :: {object, emmap_request:object()} | {process, pid() | {atom(), node()}}.

%% @doc Whether this names a process, be there one or not.
-spec is_process(term()) -> boolean().
is_process([]) -> false;
is_process(Q) when is_pid(Q); is_atom(Q) -> true;
is_process({Name, Node}) -> is_atom(Name) andalso is_atom(Node);
is_process(_) -> false.

%% @doc Whether there is a handle of this node behind it, as casts need.
-spec has_handle(term()) -> boolean().
has_handle(Q) ->
    emmap_handle:is_handle(Q) orelse is_process(Q) andalso is_here(Q).

%% @doc Exits as gen_server:call/3 does where the process is not there. What names no queue is found
%% out by the first request.
-spec to(term()) -> access().
to(Q) ->
    case is_process(Q) of
        false -> {object, Q};
        true -> to(Q, is_here(Q))
    end.

%% @doc The reply to a request.
-spec call(access(), emmap_request:request()) -> emmap_request:outcome().
call({object, Obj}, Request) ->
    emmap_request:call(Obj, Request);
call({process, Process}, Request) ->
    {ok, gen_server:call(Process, Request, emmap_config:get(call_timeout))}.

%% @doc A request without a reply, by the handle.
-spec cast(access(), emmap_request:request()) -> ok | {error, closed | badarg}.
cast({object, Obj}, Request) -> emmap_request:cast(Obj, Request);
cast({process, _}, _Request) -> {error, badarg}.

%% @doc Waits until all casts by the handle are done.
-spec barrier(access()) -> emmap_request:outcome().
barrier({object, Obj}) -> emmap_request:barrier(Obj);
barrier({process, _}) -> {ok, {error, badarg}}.

-spec handle(access()) -> emmap_handle:handle() | none.
handle({object, #file_descriptor{} = F}) -> F;
handle(_) -> none.

%% @doc The node of the daemon that has the queue.
-spec daemon(access()) -> node().
daemon({process, {_Name, Node}}) ->
    Node;
daemon({process, Pid}) ->
    node(Pid);
daemon({object, Obj}) ->
    case emmap_handle:is_handle(Obj) of
        true -> emmap_handle:node(Obj);
        false -> emmap_config:get(node)
    end.

%% Internal.

is_here(Pid) when is_pid(Pid) -> node(Pid) =:= node();
is_here({_Name, Node}) -> Node =:= node();
is_here(_Name) -> true.

to({Name, _Node}, true) -> {object, emmap_queue_server:handle(Name)};
to(Q, true) -> {object, emmap_queue_server:handle(Q)};
to(Q, false) -> {process, Q}.
