%% @doc A queue as a process of one's own tree: it opens at start and closes at its end. It only
%% lends its handle, so that leases and waits belong to who calls.
%%
%% What is sent to it as a call of gen_server (the requests of PROTOCOL.md without their object, and
%% `peek') is done for the caller by a helper: one that waits is in nobody's way, and one whose
%% caller dies is taken back. Leases are for processes of this node: the daemon sees their end.
-module(emmap_queue_server).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

-export([start_link/4]).
-export([handle/1]).
-export([init/1]).
-export([handle_call/3]).
-export([handle_cast/2]).
-export([handle_info/2]).
-export([terminate/2]).

-type state() :: #{name := atom(), queue := emmap_handle:handle()}.

-spec start_link(atom(), term(), term(), term()) -> gen_server:start_ret().
start_link(Name, File, Size, Options) ->
    gen_server:start_link({local, Name}, ?MODULE, {Name, File, Size, Options}, []).

%% @doc The handle of a queue's process on this node.
-spec handle(pid() | atom()) -> emmap_handle:handle().
handle(Server) ->
    gen_server:call(Server, '$emmap_handle', emmap_config:get(call_timeout)).

-spec init({atom(), term(), term(), term()}) -> {ok, state()} | {stop, term()}.
init({Name, File, Size, Options}) ->
    _ = process_flag(trap_exit, true),
    %% the daemon closes it, too, should this process be killed
    case emmap_open:queue(File, Size, [{owner, self()} | Options]) of
        {ok, Q, _Info} -> {ok, #{name => Name, queue => Q}};
        {ok, {error, Reason}} -> {stop, Reason};
        {error, Reason} -> {stop, Reason};
        timeout -> {stop, timeout}
    end.

-spec handle_call(term(), gen_server:from(), state()) ->
          {reply, term(), state()} | {noreply, state()}.
handle_call('$emmap_handle', _From, #{queue := Q} = S) ->
    {reply, Q, S};
handle_call(Request, From, #{queue := Q} = S) when is_atom(Request); is_tuple(Request) ->
    _ = spawn(fun() -> help(Q, Request, From) end),
    {noreply, S};
handle_call(Request, _From, S) ->
    {reply, {error, badarg}, stray(Request, S)}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(Request, #{queue := Q} = S) when is_atom(Request); is_tuple(Request) ->
    _ = emmap_request:cast(Q, Request),
    {noreply, S};
handle_cast(Request, S) ->
    {noreply, stray(Request, S)}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info(Message, S) ->
    {noreply, stray(Message, S)}.

-spec terminate(term(), state()) -> ok.
terminate(_Reason, #{queue := Q}) ->
    _ = emmap_open:close(Q),
    ok.

%% Internal.

stray(Message, #{name := Name} = S) ->
    ?LOG_WARNING(#{what => "stray message", queue => Name, message => Message},
                 #{domain => [emmap]}),
    S.

help(Q, Request, {Caller, _} = From) ->
    Helper = self(),
    _ = spawn(fun() -> end_with(Caller, Helper) end),
    gen_server:reply(From, done(Request, Caller, Q)).

end_with(Caller, Helper) ->
    OfCaller = erlang:monitor(process, Caller),
    OfHelper = erlang:monitor(process, Helper),
    receive
        {'DOWN', OfCaller, process, _, _} -> exit(Helper, kill);
        {'DOWN', OfHelper, process, _, _} -> true
    end.

done(peek, Caller, Q) ->
    case done({peek_many, 1}, Caller, Q) of
        {ok, [{_Id, Item}]} -> emmap_item:unpack(Item);
        {ok, []} -> nil;
        Error -> Error
    end;
done(pop, Caller, Q) ->
    emmap_item:unpack(asked(pop, Caller, Q));
done(Request, Caller, Q) ->
    case kind(Request) of
        leasing when node(Caller) =/= node() -> {error, enotsup};
        not_ours -> {error, {unknown_request, name(Request)}};
        _ -> asked(Request, Caller, Q)
    end.

%% The handle, its counts and its end are this process's own.
kind(Request) ->
    case name(Request) of
        Name when Name =:= take; Name =:= take_many; Name =:= subscribe -> leasing;
        Name when Name =:= close; Name =:= barrier; Name =:= batch -> not_ours;
        _ -> plain
    end.

name(Request) when is_atom(Request) -> Request;
name({}) -> {};
name(Request) -> element(1, Request).

asked(Request, Caller, Q) ->
    try emmap_request:call_as(own_or(Caller), Q, Request) of
        {ok, Reply} -> Reply;
        {error, _} = Error -> Error;
        timeout -> {error, timeout}
    catch
        error:Reason -> {error, Reason} % the application is being stopped
    end.

%% Of another node's process the daemon knows nothing here: the helper stands for it.
own_or(Caller) when node(Caller) =:= node() -> Caller;
own_or(_Caller) -> self().
