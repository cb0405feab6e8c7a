%% @doc A queue as a process of one's own tree: it opens at start and closes at its end. It only
%% lends its handle, so that leases and waits belong to who calls; what is sent to it as a call of
%% gen_server it does itself.
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

-spec start_link(atom(), term(), term(), term()) -> gen_server:start_ret().
start_link(Name, File, Size, Options) ->
    gen_server:start_link({local, Name}, ?MODULE, {Name, File, Size, Options}, []).

%% @doc The handle of a queue's process on this node.
-spec handle(pid() | atom()) -> emmap_handle:handle().
handle(Server) ->
    gen_server:call(Server, '$emmap_handle', infinity).

-spec init({atom(), term(), term(), term()}) -> {ok, map()} | {stop, term()}.
init({Name, File, Size, Options}) ->
    _ = process_flag(trap_exit, true),
    case emmap_open:queue(File, Size, Options) of
        {ok, Q, _Info} -> {ok, #{name => Name, queue => Q}};
        {ok, {error, Reason}} -> {stop, Reason};
        {error, Reason} -> {stop, Reason};
        timeout -> {stop, timeout}
    end.

-spec handle_call(term(), gen_server:from(), map()) -> {reply, term(), map()}.
handle_call('$emmap_handle', _From, #{queue := Q} = S) ->
    {reply, Q, S};
handle_call(peek, _From, #{queue := Q} = S) ->
    {reply, emmap_queue:peek_front(Q), S};
handle_call(Request, _From, #{queue := Q} = S) when is_atom(Request); is_tuple(Request) ->
    {reply, reply(emmap_request:call(Q, Request)), S};
handle_call(Request, _From, S) ->
    {reply, {error, badarg}, stray(Request, S)}.

-spec handle_cast(term(), map()) -> {noreply, map()}.
handle_cast(Request, #{queue := Q} = S) when is_atom(Request); is_tuple(Request) ->
    _ = emmap_request:cast(Q, Request),
    {noreply, S};
handle_cast(Request, S) ->
    {noreply, stray(Request, S)}.

-spec handle_info(term(), map()) -> {noreply, map()}.
handle_info(Message, S) ->
    {noreply, stray(Message, S)}.

-spec terminate(term(), map()) -> ok.
terminate(_Reason, #{queue := Q}) ->
    _ = emmap_open:close(Q),
    ok.

%% Internal.

reply({ok, Reply}) -> Reply;
reply({error, _} = Error) -> Error;
reply(timeout) -> {error, timeout}.

stray(Message, #{name := Name} = S) ->
    ?LOG_WARNING(#{what => "stray message", queue => Name, message => Message},
                 #{domain => [emmap]}),
    S.
