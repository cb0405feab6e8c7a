%% @doc Finds daemons that hang: a stopped or stuck one keeps its connection, and the kernel's
%% ticks do not see it once much is pending.
%%
%% Each daemon with a lane gets a ping each sixth of `hang_timeout'; one that answers none for
%% `hang_timeout' is killed and restarted where it is our own, else disconnected. Both free all
%% callers. The pings are sent from here, as a busy connection may suspend a lane; one that cannot
%% be sent is no answer either.
-module(emmap_watchdog).
-behaviour(gen_server).

-export([start_link/0]).
-export([watch/1]).
-export([init/1]).
-export([handle_call/3]).
-export([handle_cast/2]).
-export([handle_info/2]).

-record(watchdog, {timeout :: pos_integer(),
                   %% when each daemon was last known to be alive, by the monitor of its lane
                   alive = #{} :: #{node() => {Lane :: reference(), Ms :: integer()}}}).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Watches the daemon of this node for as long as the calling lane lives.
-spec watch(node()) -> ok.
watch(Node) ->
    gen_server:cast(?MODULE, {watch, Node, self()}).

-spec init([]) -> {ok, #watchdog{}}.
init([]) ->
    Timeout = emmap_config:get(hang_timeout),
    {ok, _} = timer:send_interval(Timeout div 6, tick),
    {ok, #watchdog{timeout = Timeout}}.

-spec handle_call(term(), gen_server:from(), #watchdog{}) -> {noreply, #watchdog{}}.
handle_call(_, _From, W) ->
    {noreply, W}.

-spec handle_cast({watch, node(), pid()}, #watchdog{}) -> {noreply, #watchdog{}}.
handle_cast({watch, Node, Lane}, #watchdog{alive = Alive} = W) ->
    _ = case Alive of
            #{Node := {Old, _}} -> erlang:demonitor(Old, [flush]);
            #{} -> true
        end,
    {noreply, W#watchdog{alive = Alive#{Node => {erlang:monitor(process, Lane), now_ms()}}}}.

-spec handle_info(term(), #watchdog{}) -> {noreply, #watchdog{}}.
handle_info({{?MODULE, Node}, pong}, #watchdog{alive = Alive} = W) ->
    case Alive of
        #{Node := {Lane, _}} -> {noreply, W#watchdog{alive = Alive#{Node := {Lane, now_ms()}}}};
        #{} -> {noreply, W}
    end;
handle_info(tick, #watchdog{alive = Alive} = W) ->
    {noreply, W#watchdog{alive = maps:map(fun(Node, A) -> check(Node, A, W) end, Alive)}};
handle_info({'DOWN', Lane, process, _, _}, #watchdog{alive = Alive} = W) ->
    {noreply, W#watchdog{alive = maps:filter(fun(_, {L, _}) -> L =/= Lane end, Alive)}};
handle_info(_, W) ->
    {noreply, W}.

%% Internal.

check(Node, {Lane, Last}, #watchdog{timeout = Timeout}) ->
    case now_ms() - Last >= Timeout of
        true ->
            ok = hung(Node, emmap_config:get(daemon), emmap_config:get(node)),
            {Lane, now_ms()};
        false ->
            ok = ping(Node),
            {Lane, Last}
    end.

ping(Node) ->
    Call = {'$gen_call', {self(), {?MODULE, Node}}, ping},
    _ = erlang:send({emmap, Node}, Call, [nosuspend, noconnect]),
    ok.

hung(Node, own, Node) ->
    ok = report(Node, "gives no sign of life and is killed"),
    emmap_daemon:kill();
hung(Node, _, _) ->
    ok = report(Node, "gives no sign of life and is disconnected"),
    _ = erlang:disconnect_node(Node),
    ok.

report(Node, What) ->
    emmap_log:event(error, #{daemon => Node, text => What}).

now_ms() ->
    erlang:monotonic_time(millisecond).
