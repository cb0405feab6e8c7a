%% @doc The lanes, one for each daemon in use. A lane is started by whoever needs it, lives as
%% long as its connection, and is not restarted: the next request starts another.
-module(emmap_lane_sup).
-behaviour(supervisor).

-export([start_link/0]).
-export([start_lane/1]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc The lane to this node, started unless it is there.
%% Raises `{not_started, emmap}' where the application does not run.
-spec start_lane(node()) -> pid().
start_lane(Node) ->
    try supervisor:start_child(?MODULE, [Node]) of
        {ok, Pid} when is_pid(Pid) -> Pid;
        {error, {already_started, Pid}} -> Pid
    catch
        exit:_ -> emmap_error:not_started()
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, {#{strategy => simple_one_for_one},
          [#{id => lane, start => {emmap_lane, start_link, []}, restart => temporary,
             shutdown => 1000}]}}.
