%% @doc Requests on objects: the object's id is put in, the lane carries it, and a handle whose id
%% is of an earlier connection is opened again and its request repeated (it provably did not run).
%%
%% A request is what PROTOCOL.md lists, without its object: `{inc_counter, 0, 5}', `sync'.
-module(emmap_request).

-include_lib("kernel/include/file.hrl").

-export([is_object/1]).
-export([is_request/1]).
-export([is_cast/1]).
-export([call/2]).
-export([call/3]).
-export([call_as/3]).
-export([to_node/2]).
-export([to_node/3]).
-export([cast/2]).
-export([barrier/1]).
-export([send_request/2]).
-export([name/2]).

%% For requests that are sent in pieces
-export([send/2]).
-export([await/1]).
-export([abandon/1]).

%% For batches
-export([current_target/1]).
-export([with_object/2]).

-export_type([object/0, request/0, outcome/0, ticket/0]).

-type object() :: emmap_handle:handle() | {emmap_handle:handle(), non_neg_integer()}
                | string() | binary().
-type request() :: atom() | tuple().
-type outcome() :: emmap_lane:outcome().
-type ticket() :: {object(), request(), emmap_lane:ticket() | outcome()}.

%% @doc Whether requests can be made on this: a name, or a handle of this node, be it closed.
-spec is_object(term()) -> boolean().
is_object(Obj) ->
    target(Obj) =/= {error, badarg}.

%% @doc Whether this may be asked of an object. What ends its id or takes its casts' failures goes
%% through the handle, which has to know.
-spec is_request(term()) -> boolean().
is_request(Request) when is_tuple(Request), Request =/= {} -> is_request(element(1, Request));
is_request(Request) -> (is_atom(Request) orelse is_tuple(Request))
                           andalso Request =/= close andalso Request =/= barrier.

%% @doc Whether this may be asked without an answer. What waits is not done for a long time, and no
%% barrier waits for it.
-spec is_cast(term()) -> boolean().
is_cast(Request) ->
    is_request(Request) andalso waiting_time(Request) =:= 0.

%% @doc The daemon's reply to a request on an object, within `call_timeout'.
-spec call(object(), request()) -> outcome().
call(Obj, Request) ->
    call(Obj, Request, emmap_config:get(call_timeout)).

-spec call(object(), request(), timeout()) -> outcome().
call(Obj, Request, Timeout) ->
    call(self(), Obj, Request, Timeout).

%% @doc The same for another process of this node, whose request it is for the daemon: what it
%% leases belongs to that.
-spec call_as(pid(), object(), request()) -> outcome().
call_as(Pid, Obj, Request) ->
    call(Pid, Obj, Request, emmap_config:get(call_timeout)).

%% @doc The reply to a request as it goes over the wire.
-spec to_node(node(), term()) -> outcome().
to_node(Node, Request) ->
    to_node(Node, Request, emmap_config:get(call_timeout)).

-spec to_node(node(), term(), timeout()) -> outcome().
to_node(Node, Request, Timeout) ->
    to_node(self(), Node, Request, Timeout).

%% @doc A request without a reply. Without a connection, or where the object cannot be opened
%% again, it is lost, and the next barrier tells.
-spec cast(emmap_handle:handle(), request()) -> ok | {error, closed | badarg}.
cast(F, Request) ->
    case current_id(F) of
        {ok, Id} ->
            Wire = with_object(Request, Id),
            ok = emmap_lane:cast(emmap_handle:node(F), emmap_handle:board(F),
                                 emmap_weight:of_request(Wire), Wire),
            emmap_handle:count_cast(F);
        {error, lost} ->
            emmap_handle:count_cast(F);
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc Waits until all casts of this handle so far are done; the lost are told with the failed.
-spec barrier(emmap_handle:handle()) -> outcome().
barrier(F) ->
    case emmap_handle:is_handle(F) of
        true -> barrier(F, emmap_handle:casts(F));
        false -> {ok, {error, badarg}}
    end.

%% @doc A request whose reply gen_server:receive_response/2 and its like await.
-spec send_request(object(), request()) -> {ok, reference()} | {error, badarg}.
send_request(Obj, Request) ->
    case current_target(Obj) of
        {error, badarg} ->
            {error, badarg};
        {error, Reason} ->
            {ok, answered_at_once({error, Reason})};
        {ok, Node, Id} ->
            Wire = with_object(Request, Id),
            {ok, emmap_lane:relay(Node, emmap_weight:of_request(Wire), Wire)}
    end.

%% @doc The first half of a call.
-spec send(object(), request()) -> ticket().
send(Obj, Request) ->
    case target(Obj) of
        {ok, Node, Id} ->
            Wire = with_object(Request, Id),
            {Obj, Request, emmap_lane:send(Node, emmap_weight:of_request(Wire), Wire)};
        Error ->
            {Obj, Request, {ok, Error}}
    end.

%% @doc The second half.
-spec await(ticket()) -> outcome().
await({_, _, {ok, _} = Outcome}) ->
    Outcome;
await({Obj, Request, Ticket}) ->
    case emmap_lane:await(Ticket, emmap_config:get(call_timeout)) of
        {ok, {error, stale}} -> call(Obj, Request); % from the beginning, with opening again
        Outcome -> Outcome
    end.

%% @doc Nobody waits for this reply any more.
-spec abandon(ticket()) -> ok.
abandon({_, _, {ok, _}}) -> ok;
abandon({_, _, Ticket}) -> emmap_lane:abandon(Ticket).

%% @doc Where a request on this object goes, and the object's word in it: an id of the present
%% connection, for which the daemon is waited for where there is none.
-spec current_target(object()) ->
          {ok, node(), pos_integer() | binary()} | {error, term()}.
current_target({#file_descriptor{} = F, _Count}) ->
    current_target(F);
current_target(#file_descriptor{} = F) ->
    case current_id(F) of
        {ok, Id} ->
            {ok, emmap_handle:node(F), Id};
        {error, lost} ->
            _ = to_node(emmap_handle:node(F), ping),
            _ = current_id(F),
            target(F);
        Error ->
            Error
    end;
current_target(Name) ->
    target(Name).

%% @doc The name of another file, as the daemon of this object knows it.
-spec name(object(), term()) -> binary() | badarg.
name(Obj, Name) ->
    Default = emmap_config:get(node),
    Daemon = case target(Obj) of
        {ok, Node, _} when Node =/= Default -> other;
        _ -> daemon_of_names()
    end,
    emmap_name:to_wire(Name, Daemon).

%% @doc The request as it goes over the wire: its object in second place.
-spec with_object(request(), pos_integer() | binary()) -> term().
with_object(Request, Id) when is_atom(Request) -> {Request, Id};
with_object({batch, _} = Batch, _Id) -> Batch;
with_object(Request, Id) when tuple_size(Request) > 0 -> erlang:insert_element(2, Request, Id);
with_object(Request, _Id) -> Request. % the daemon says what is wrong with it

%% Internal.

waiting_time({pop_wait, Time}) -> Time;
waiting_time({pop_many, _, Time}) -> Time;
waiting_time({take, Time}) -> Time;
waiting_time({take, Time, _}) -> Time;
waiting_time({take_many, _, Time}) -> Time;
waiting_time({take_many, _, Time, _}) -> Time;
waiting_time({snapshot, _}) -> infinity;
waiting_time(_) -> 0.

barrier(F, Sent) ->
    case call(F, barrier) of
        {ok, {ok, Done, Failed, First}} ->
            {Refused, New} = emmap_board:told_refused(emmap_handle:node(F), emmap_handle:id(F)),
            Lost = emmap_handle:settle(F, Sent, Done + Refused),
            {ok, settled(Lost, Failed + New, first(First, New))};
        Other ->
            Other
    end.

%% Where a request on this object goes, and the object's word in it.
target({#file_descriptor{} = F, _Count}) ->
    target(F);
target(#file_descriptor{module = emmap} = F) ->
    case emmap_handle:id(F) of
        closed -> {error, closed};
        foreign -> {error, badarg};
        Id -> {ok, emmap_handle:node(F), Id}
    end;
target(Name) ->
    case emmap_name:to_wire(Name, daemon_of_names()) of
        badarg -> {error, badarg};
        Wire -> {ok, emmap_config:get(node), Wire}
    end.

daemon_of_names() ->
    case emmap_config:get(daemon) of
        own -> own;
        _ -> other
    end.

call(Pid, Obj, Request, Timeout) ->
    case target(Obj) of
        {ok, Node, Id} ->
            Outcome = to_node(Pid, Node, with_object(Request, Id), Timeout),
            answer(Outcome, Pid, Obj, Id, Request, Timeout);
        Error ->
            {ok, Error}
    end.

to_node(Pid, Node, Request, Timeout) ->
    Start = erlang:monotonic_time(millisecond),
    Weight = emmap_weight:of_request(Request),
    case emmap_lane:call(Pid, Node, Weight, Request, Timeout) of
        {ok, {error, {limit, max_frame}}} = Refused ->
            alone(emmap_weight:alone(Request, Weight), Pid, Node, Request, left(Timeout, Start), Refused);
        Outcome ->
            Outcome
    end.

%% Its answer did not fit beside those of others: it was not done.
alone(none, _Pid, _Node, _Request, _Timeout, Refused) ->
    Refused;
alone(Weight, Pid, Node, Request, Timeout, _Refused) ->
    emmap_lane:call(Pid, Node, Weight, Request, Timeout).

answer({ok, {error, stale}}, Pid, {#file_descriptor{} = F, _}, Id, Request, Timeout) ->
    again(Pid, F, Id, Request, Timeout);
answer({ok, {error, stale}}, Pid, #file_descriptor{} = F, Id, Request, Timeout) ->
    again(Pid, F, Id, Request, Timeout);
answer(Outcome, _Pid, _Obj, _Id, _Request, _Timeout) ->
    Outcome.

again(Pid, F, Stale, Request, Timeout) ->
    Start = erlang:monotonic_time(millisecond),
    case emmap_reopen:reopen(F, Stale, Timeout) of
        ok -> call(Pid, F, Request, left(Timeout, Start));
        {error, {Why, Node}} when Why =:= nodedown; Why =:= not_connected ->
            {error, {not_connected, Node}}; % the request itself never ran
        {error, Reason} -> {ok, {error, Reason}};
        timeout -> timeout
    end.

left(infinity, _Start) -> infinity;
left(Timeout, Start) -> max(0, Timeout - (erlang:monotonic_time(millisecond) - Start)).

%% The id of a handle that the present connection knows.
current_id(F) ->
    case emmap_handle:is_handle(F) andalso emmap_handle:id(F) of
        false -> {error, badarg};
        closed -> {error, closed};
        Id -> current_id(emmap_handle:is_current(F), F, Id)
    end.

current_id(yes, _F, Id) ->
    {ok, Id};
current_id(down, F, _Id) ->
    ok = emmap_lane:nudge(emmap_handle:node(F)),
    {error, lost};
current_id(no, F, Id) ->
    case emmap_reopen:reopen(F, Id, emmap_config:get(call_timeout)) of
        ok -> current_id(F);
        {error, closed} -> {error, closed};
        _ -> {error, lost}
    end.

%% To an alias of one's own, in the form of a gen_server's answer. An alias comes with a monitor of
%% another process: init is always there.
-dialyzer({no_improper_lists, answered_at_once/1}).
answered_at_once(Reply) ->
    Ref = erlang:monitor(process, init, [{alias, demonitor}]),
    Ref ! {[alias | Ref], Reply},
    Ref.

first(none, New) when New > 0 -> {limit, max_frame};
first(First, _New) -> First.

settled(0, 0, _First) ->
    ok;
settled(Lost, Failed, First) ->
    {error, {casts, #{failed => Failed, lost => Lost, first => First}}}.
