%% @doc The tree: the daemon's keeper, the watchdog, the lanes, the reopener.
%%
%% rest_for_one: when the keeper fails, its daemon ends with it and every connection is lost
%% anyway; lanes tell the watchdog of themselves when they start.
-module(emmap_sup).
-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = emmap_board:init(),
    {ok, {#{strategy => rest_for_one, intensity => 5, period => 10},
          [worker(emmap_daemon, 10000),
           worker(emmap_watchdog, 1000),
           #{id => emmap_lane_sup, start => {emmap_lane_sup, start_link, []}, type => supervisor},
           worker(emmap_reopen, 1000)]}}.

%% Internal.

worker(Module, ShutdownMs) ->
    #{id => Module, start => {Module, start_link, []}, shutdown => ShutdownMs}.
