%% What logger tells on a node, kept for a test to look at.
-module(emmap_events).

-export([collect/0, seen/0, texts/1]).
-export([log/2]).

%% From here on the events of this node are kept.
collect() ->
    Self = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> keep(Self) end),
    receive
        {Pid, ready} -> true = erlang:demonitor(Monitor, [flush]), ok;
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    end.

%% All of them, in the order of their arrival.
seen() ->
    [Event || {_, Event} <- ets:tab2list(?MODULE)].

%% The lines of those that have the domain of the application, each with its level.
texts(Events) ->
    [{Level, text(Event)} || #{level := Level, meta := #{domain := [emmap | _]}} = Event <- Events].

log(Event, _Config) ->
    ets:insert(?MODULE, {erlang:unique_integer([monotonic]), Event}).

%% Internal.

keep(Starter) ->
    ?MODULE = ets:new(?MODULE, [named_table, ordered_set, public]),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => all}),
    Starter ! {self(), ready},
    receive stop -> ok end.

text(#{msg := {report, Report}, meta := #{report_cb := Format}}) ->
    {Text, Args} = Format(Report),
    unicode:characters_to_binary(io_lib:format(Text, Args)).
