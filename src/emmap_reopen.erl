%% @doc Opens handles again whose id is of an earlier connection: one reopening at a time for a
%% handle, many handles at once.
-module(emmap_reopen).
-behaviour(gen_server).

-export([start_link/0]).
-export([reopen/3]).
-export([init/1]).
-export([handle_call/3]).
-export([handle_cast/2]).
-export([handle_info/2]).

%% Who waits for the reopening of which handle, by the monitor of the process that does it.
-type waiters() :: #{emmap_handle:handle() => {reference(), [gen_server:from()]}}.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Opens the object anew, unless the handle's id is no longer the stale one.
%% Final answers are `closed' and the errors of open, such as `enoent'.
-spec reopen(emmap_handle:handle(), Stale :: pos_integer(), timeout()) ->
          ok | {error, term()} | timeout.
reopen(F, Stale, Timeout) ->
    case {emmap_handle:id(F), emmap_handle:reopening(F)} of
        {Stale, never} -> end_for_ever(F);
        {Stale, _} -> ask({reopen, F, Stale}, Timeout);
        {closed, _} -> {error, closed};
        {_New, _} -> ok
    end.

-spec init([]) -> {ok, waiters()}.
init([]) ->
    {ok, #{}}.

-spec handle_call({reopen, emmap_handle:handle(), pos_integer()}, gen_server:from(), waiters()) ->
          {noreply, waiters()} | {reply, ok, waiters()}.
handle_call({reopen, F, Stale}, From, Waiters) ->
    case {emmap_handle:id(F), Waiters} of
        {_, #{F := {Monitor, Others}}} ->
            {noreply, Waiters#{F := {Monitor, [From | Others]}}};
        {Stale, _} ->
            {_, Monitor} = spawn_monitor(fun() -> exit({reopened, open(F, Stale)}) end),
            {noreply, Waiters#{F => {Monitor, [From]}}};
        _ ->
            {reply, ok, Waiters}
    end.

-spec handle_cast(term(), waiters()) -> {noreply, waiters()}.
handle_cast(_, Waiters) ->
    {noreply, Waiters}.

-spec handle_info(term(), waiters()) -> {noreply, waiters()}.
handle_info({'DOWN', Monitor, process, _, Reason}, Waiters) ->
    [{F, Froms}] = [{F, Froms} || {F, {M, Froms}} <- maps:to_list(Waiters), M =:= Monitor],
    lists:foreach(fun(From) -> gen_server:reply(From, result(Reason)) end, Froms),
    {noreply, maps:remove(F, Waiters)};
handle_info(_, Waiters) ->
    {noreply, Waiters}.

%% Internal.

ask(Request, Timeout) ->
    try
        gen_server:call(?MODULE, Request, Timeout)
    catch
        exit:{timeout, _} -> timeout
    end.

result({reopened, Result}) -> Result;
result(Reason) -> {error, Reason}.

end_for_ever(F) ->
    _ = emmap_handle:close(F),
    {error, closed}.

%% In a process of its own.
open(F, Stale) ->
    Node = emmap_handle:node(F),
    case emmap_request:to_node(Node, emmap_handle:reopening(F), infinity) of
        {ok, {ok, Id, _Info}} -> renewed(F, Stale, Id, Node);
        {ok, {error, Reason}} -> {error, Reason};
        {error, Reason} -> {error, Reason}
    end.

%% What is not needed any more is closed: the old id, or the new one of a handle closed meanwhile.
renewed(F, Stale, Id, Node) ->
    Unneeded = case emmap_handle:renew(F, Stale, Id) of
                   true -> Stale;
                   false -> Id
               end,
    _ = emmap_request:to_node(Node, {close, Unneeded}, infinity),
    ok.
