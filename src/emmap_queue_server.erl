%% @doc A queue as a process of one's own tree: it opens at start and closes at its end. It only
%% lends its handle, so that leases and waits belong to who calls.
%%
%% What is sent to it as a call of gen_server (the requests of PROTOCOL.md without their object, and
%% `peek') is done for the caller by a helper: one that waits is in nobody's way, and one whose
%% caller dies is taken back. Leases are for processes of this node: the daemon sees their end.
%% Compressed items come out as they were pushed; for another node's caller only by `pop' and
%% `peek', for the rest is what emmap_queue asks there, which undoes it itself.
%%
%% As a cast come changes that need no answer. All else is logged and ignored. Where the handle ends
%% for ever (an `auto_unlink' file goes with the daemon) so does the process, with reason `closed'.
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
    case emmap_open:queue(File, Size, owned(Options)) of
        {ok, Q, _Info} -> {ok, #{name => Name, queue => Q}};
        {ok, {error, Reason}} -> {stop, Reason};
        {error, Reason} -> {stop, Reason};
        timeout -> {stop, timeout}
    end.

-spec handle_call(term(), gen_server:from(), state()) ->
          {reply, term(), state()} | {noreply, state()} | {stop, closed, term(), state()}.
handle_call(Request, From, #{queue := Q} = S) ->
    case emmap_handle:id(Q) of
        closed when Request =:= '$emmap_handle' -> {stop, closed, Q, S};
        closed -> {stop, closed, {error, closed}, S};
        _ -> called(Request, From, S)
    end.

-spec handle_cast(term(), state()) -> {noreply, state()} | {stop, closed, state()}.
handle_cast(Request, #{queue := Q} = S) ->
    case needs_no_answer(Request) andalso emmap_request:cast(Q, Request) of
        ok -> {noreply, S};
        false -> {noreply, stray(Request, S)};
        {error, closed} -> {stop, closed, S}
    end.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info(Message, S) ->
    {noreply, stray(Message, S)}.

-spec terminate(term(), state()) -> ok.
terminate(_Reason, #{queue := Q}) ->
    _ = try emmap_open:close(Q)
        catch
            _:_ -> closed % without the application the daemon has done it
        end,
    ok.

%% Internal.

%% The daemon closes it, too, should this process be killed. Of two owners the last one counts.
owned(Options) when length(Options) >= 0 -> Options ++ [{owner, self()}]; % a proper list
owned(NoOptions) -> NoOptions.

called('$emmap_handle', _From, #{queue := Q} = S) ->
    {reply, Q, S};
called(Request, From, #{queue := Q} = S) when is_atom(Request); is_tuple(Request) ->
    _ = spawn(fun() -> help(Q, Request, From) end),
    {noreply, S};
called(Request, _From, S) ->
    {reply, {error, badarg}, stray(Request, S)}.

%% Of leases it is no use: who sent the cast nobody knows.
needs_no_answer({push, _}) -> true;
needs_no_answer({push_many, _}) -> true;
needs_no_answer({kick, _}) -> true;
needs_no_answer(Request) -> lists:member(Request, [erase, flush, sync]).

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
    case asked({peek_many, 1}, Caller, Q) of
        {ok, [{_Id, Item}]} -> emmap_item:unpack(Item);
        {ok, []} -> nil;
        Error -> Error
    end;
done(Request, Caller, Q) ->
    case kind(Request) of
        leasing when node(Caller) =/= node() -> {error, enotsup};
        not_ours -> {error, {unknown_request, name(Request)}};
        _ -> as_pushed(Request, node(Caller), asked(Request, Caller, Q))
    end.

as_pushed(Request, Node, Reply) when Node =:= node(); Request =:= pop ->
    emmap_item:unpack_reply(Request, Reply);
as_pushed(_Request, _Node, Reply) ->
    Reply.

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
        error:Reason -> {error, Reason};
        exit:_ -> {error, {not_started, emmap}} % it is being stopped
    end.

%% Of another node's process the daemon knows nothing here: the helper stands for it.
own_or(Caller) when node(Caller) =:= node() -> Caller;
own_or(_Caller) -> self().
