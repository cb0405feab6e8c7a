%% @doc How requests reach a queue, whatever it was named by: a handle, the name of its file, a
%% process of this node that has it open and lends its handle, or another node's process, which is
%% the queue itself (a registered one of a daemon) or has it open there.
-module(emmap_access).

-export([is_process/1]).
-export([has_handle/1]).
-export([to/1]).
-export([call/2]).
-export([cast/2]).
-export([barrier/1]).
-export([daemon/1]).

%% For requests whose replies are awaited later
-export([send/2]).
-export([await/1]).
-export([connection/1]).

-export_type([access/0, ticket/0]).

-type access() :: {object, emmap_request:object()} | {process, pid() | {atom(), node()}}.
-type ticket() :: {sent, emmap_request:ticket()} | {answered, emmap_request:outcome()}.

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

%% @doc The first half of a call. A process of another node is waited for at once.
-spec send(access(), emmap_request:request()) -> ticket().
send({object, Obj}, Request) -> {sent, emmap_request:send(Obj, Request)};
send(Process, Request) -> {answered, call(Process, Request)}.

%% @doc The second half.
-spec await(ticket()) -> emmap_request:outcome().
await({sent, Ticket}) -> emmap_request:await(Ticket);
await({answered, Outcome}) -> Outcome.

%% @doc The number of the connection that requests go by. Leases end with theirs. A process of
%% another node is reached without one of ours: 0.
-spec connection(access()) -> non_neg_integer().
connection({process, _}) -> 0;
connection(Access) -> emmap_board:epoch(emmap_board:of_node(daemon(Access))).

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
