%% Random operations of one to four processes on two nodes, ends of processes and of the daemon among
%% them, against a plain model of a queue. EMMAP_RUNS says how many runs (300).
-module(queue_prop_SUITE).

-compile([export_all, nowarn_export_all]).

-import(proper_statem, [commands/2, more_commands/2, run_commands/2]).
-import(proper_types, [frequency/1, integer/0, list/1, oneof/1, range/2, resize/2, term/0]).
-import(emmap_test, [on/2, until/1]).

-define(DEADLINE, 20000).

-record(state, {queue, clients :: pos_integer()}).

suite() ->
    [{timetrap, {seconds, 120 + runs()}}].

all() ->
    [a_queue_is_what_its_model_is].

runs() ->
    list_to_integer(os:getenv("EMMAP_RUNS", "300")).

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

a_queue_is_what_its_model_is(Config) ->
    Daemon = #{node := D} = emmap_test:daemon(Config),
    Application = [{daemon, external}, {node, D}],
    put(stage, #{daemon => Daemon, run => 0,
                 nodes => [emmap_test:node(Config, #{application => Application}) || _ <- [a, b]]}),
    Output = fun(Format, Args) -> ct:log(Format, Args) end,
    case proper:quickcheck(prop_queue(), [{numtests, runs()}, {on_output, Output}, long_result]) of
        true -> ok;
        Counterexample -> ct:fail("~p", [Counterexample])
    end.

%% Debian's PropEr comes without its macros: these are the functions behind them. It is too old to be
%% let see an exception.
prop_queue() ->
    proper:forall(setting(), fun({Clients, Options}) ->
        proper:forall(more_commands(2, commands(?MODULE, initial(Clients, Options))), fun(Commands) ->
            Result = guarded(fun() -> run(Clients, Options, Commands) end),
            proper:whenfail(fun() -> ct:log("~p~n~p", [Options, Result]) end,
                            fun() -> proper:aggregate(names(Commands), Result =:= ok) end)
        end)
    end).

run(Clients, Options, Commands) ->
    begin_run(Clients, Options),
    {_History, Last, Result} = run_commands(?MODULE, Commands),
    End = case Result of
        ok -> end_run(Last);
        _ -> Result
    end,
    leave(),
    End.

guarded(Fun) ->
    try Fun()
    catch Class:Reason:Stack -> {Class, Reason, Stack}
    end.

names(Commands) ->
    [case Call of
         {call, _, do, [_, Op]} when is_atom(Op) -> Op;
         {call, _, do, [_, Op]} -> element(1, Op);
         {call, _, Name, _} -> Name
     end || {set, _, Call} <- Commands].

%%% What can be done.

setting() ->
    {range(1, 4),
     frequency([{2, []}, {1, [{max_items, range(1, 8)}]},
                {1, [{max_items, range(1, 8)}, {overflow, drop_head}]},
                {1, [{max_attempts, range(1, 3)}]},
                {1, [{max_attempts, range(1, 3)}, dead_letter]}])}.

initial(Clients, Options) ->
    #state{clients = Clients,
           queue = queue_model:new(Options, lists:member(dead_letter, Options))}.

initial_state() ->
    initial(1, []).

command(#state{clients = Clients, queue = Q} = S) ->
    Idle = [C || C <- lists:seq(1, Clients), not queue_model:is_waiting(C, Q)],
    frequency([{60 div length(Idle), {call, ?MODULE, do, [C, op(C, S)]}} || C <- Idle]
              ++ [{2, {call, ?MODULE, end_client, [range(1, Clients)]}},
                  {1, {call, ?MODULE, kill, []}}]
              ++ [{1, {call, ?MODULE, oneof([reopen, stop]), []}}
                  || queue_model:waiting(Q) =:= []]).

op(C, #state{queue = Q} = S) ->
    frequency(common_ops(S)
              ++ [{N, Op} || {N, Op, true} <- [
                      {2, unsubscribe, queue_model:is_subscribed(C, Q)},
                      {3, {subscribe, range(1, 4)}, not queue_model:is_subscribed(C, Q)},
                      {5, {wait, oneof([{pop_wait, infinity}, {take, infinity},
                                        {pop_many, few(), infinity}])},
                       not queue_model:is_subscribed(C, Q)},
                      {3, {push_async, item()}, face(C) =:= handle},
                      {1, give_up, not queue_model:has_worn_out(Q)},
                      {2, {fold, few(), oneof([halt, throw])}, not queue_model:has_worn_out(Q)}]]).

common_ops(S) ->
    [{20, {push, item()}}, {2, {push, item(), range(0, 9)}}, 
     {4, {push_many, resize(8, list(item()))}},
     {4, pop}, {2, {pop_wait, range(0, 5)}}, {2, {pop_many, few()}},
     {2, {try_pop, oneof([ok, throw])}},
     {8, take}, {4, {take_many, few()}}, {1, {take, 0, 1}},
     {6, {ack, id(S)}}, {2, {ack_many, resize(6, list(id(S)))}},
     {4, {release, id(S)}}, {2, {release_many, resize(6, list(id(S)))}},
     {1, {release, id(S), 3600000}}, {2, {touch, id(S)}}, {3, {bury, id(S)}},
     {2, {kick, few()}}, {1, {peek_buried, few()}},
     {1, peek_front}, {1, peek_back}, {1, {peek_many, few()}}, {1, {peek, few()}},
     {1, {rpeek, few()}}, {1, length}, {1, is_empty}, {1, sync}, {1, erase}].

few() -> range(1, 12).

item() -> oneof([nil, integer(), resize(8, term()), large()]).

large() -> proper_types:bind(range(0, 70000), fun(N) -> <<0:(8 * N)>> end, false).

%% Of what is there, or of what never was or is no more.
id(#state{queue = Q}) ->
    oneof([range(1, 20) | queue_model:ids(Q)]).

precondition(#state{clients = Clients, queue = Q}, {call, _, do, [C, Op]}) ->
    C =< Clients andalso not queue_model:is_waiting(C, Q) andalso may(Op, C, Q);
precondition(#state{clients = Clients}, {call, _, end_client, [C]}) ->
    C =< Clients;
precondition(_, {call, _, kill, []}) ->
    true;
precondition(#state{queue = Q}, {call, _, _, []}) ->
    queue_model:waiting(Q) =:= [].

may({wait, _}, C, Q) -> not queue_model:is_subscribed(C, Q);
may({subscribe, _}, C, Q) -> not queue_model:is_subscribed(C, Q);
may({push_async, _}, C, _) -> face(C) =:= handle;
may(unsubscribe, C, Q) -> queue_model:is_subscribed(C, Q);
may({fold, _, _}, _, Q) -> not queue_model:has_worn_out(Q);
may(give_up, _, Q) -> not queue_model:has_worn_out(Q);
may(_, _, _) -> true.

next_state(#state{} = S, _Answer, Call) ->
    {_, _, Q} = expected(S, Call),
    S#state{queue = Q}.

expected(#state{queue = Q}, {call, _, do, [C, Op]}) -> queue_model:do(C, Op, Q);
expected(#state{queue = Q}, {call, _, end_client, [C]}) -> queue_model:end_client(C, Q);
expected(#state{queue = Q}, {call, _, reopen, []}) -> {ok, [], Q};
expected(#state{queue = Q}, {call, _, _, []}) -> queue_model:restart(Q).

%% The answer, what those who wait are told, and how much there is then.
postcondition(#state{} = S, Call, Answer) ->
    case guarded(fun() -> differences(S, Call, Answer) end) of
        [] -> true;
        Differences -> ct:log("~p~n~p~nafter ~p", [Call, Differences, S]), false
    end.

differences(S, Call, Answer) ->
    {Expected, Told, Q} = expected(S, Call),
    Info = queue_model:info(Q),
    [{answer, Answer, Expected} || Answer =/= Expected]
        ++ [{told, C, Events, ToC} || {C, ToC} <- by_client(Told),
                                      (Events = events(C, length(ToC))) =/= ToC]
        ++ case settle(Call, S, Info) of
               Info -> [];
               Other -> [{info, Other, Info}]
           end.

by_client(Told) ->
    [{C, [Event || {Who, Event} <- Told, Who =:= C]} || C <- lists:usort([C || {C, _} <- Told])].

%% What a process leaves behind, what is moved and what ends in time is seen to soon; all else is
%% done when it is answered.
settle(Call, S, Expected) ->
    Keys = maps:keys(Expected),
    case is_at_once(Call, S) of
        true -> info(Keys);
        false -> settle_until(Keys, Expected, erlang:monotonic_time(millisecond) + ?DEADLINE)
    end.

is_at_once({call, _, do, [_, {wait, _}]}, _) -> false;
is_at_once({call, _, do, [_, {take, 0, 1}]}, _) -> false;
is_at_once({call, _, do, [_, give_up]}, _) -> false;
is_at_once({call, _, do, _} = Call, S) ->
    {_, _, Q} = expected(S, Call),
    length(queue_model:dead(Q)) =:= length(queue_model:dead(S#state.queue));
is_at_once(_, _) -> false.

settle_until(Keys, Expected, End) ->
    case info(Keys) of
        Expected -> Expected;
        Info ->
            case erlang:monotonic_time(millisecond) < End of
                true -> settle_until(Keys, Expected, End);
                false -> Info
            end
    end.

%%% Doing it.

begin_run(Clients, Options0) ->
    #{nodes := [A, B], run := Run} = Stage = get(stage),
    File = lists:concat(["queue", Run]),
    Dead = File ++ ".dead",
    Options = [case O of dead_letter -> {dead_letter, Dead}; _ -> O end || O <- Options0],
    ok = on(A, fun() ->
        {ok, Q} = emmap_queue:open(File, 0, Options),
        emmap_queue:close(Q)
    end),
    Watcher = {A, on(A, fun() -> emmap_queue_client:start(File, handle) end)},
    Nodes = #{1 => A, 2 => B, 3 => A, 4 => B},
    put(stage, Stage#{run := Run + 1, file => File, dead_letter => Dead, watcher => Watcher,
                      clients => maps:from_list([{C, start_client(C, File, maps:get(C, Nodes))}
                                                 || C <- lists:seq(1, Clients)])}),
    ok.

start_client(C, File, Node) ->
    {Node, on(Node, fun() -> emmap_queue_client:start(File, face(C)) end)}.

%% One uses the file by its name.
face(4) -> name;
face(_) -> handle.

do(C, {wait, Want}) ->
    {Node, Pid} = client(C),
    guarded(fun() -> on(Node, fun() -> emmap_queue_client:begin_wait(Pid, Want) end) end);
do(C, Op) ->
    guarded(fun() -> ask(C, Op) end).

ask(C, Op) ->
    {Node, Pid} = client(C),
    on(Node, fun() -> emmap_queue_client:do(Pid, Op) end).

events(C, N) ->
    {Node, Pid} = client(C),
    on(Node, fun() -> emmap_queue_client:events(Pid, N) end).

client(C) ->
    maps:get(C, maps:get(clients, get(stage))).

watch(Op) ->
    {Node, Pid} = maps:get(watcher, get(stage)),
    on(Node, fun() -> emmap_queue_client:do(Pid, Op) end).

info(Keys) ->
    maps:with(Keys, watch(info)).

end_client(C) ->
    guarded(fun() -> replace(C) end).

replace(C) ->
    #{clients := Clients, file := File} = Stage = get(stage),
    {Node, Pid} = client(C),
    ok = on(Node, fun() -> emmap_queue_client:stop(Pid) end),
    put(stage, Stage#{clients := Clients#{C := start_client(C, File, Node)}}),
    ok.

reopen() ->
    guarded(fun reopen_all/0).

reopen_all() ->
    #{clients := Clients, file := File} = get(stage),
    [ok = ask(C, close) || C <- maps:keys(Clients), face(C) =:= handle],
    ok = watch(close),
    ok = watch({open, File}),
    [ok = ask(C, {open, File}) || C <- maps:keys(Clients), face(C) =:= handle],
    ok.

kill() ->
    guarded(fun() -> restart(fun emmap_test:kill_daemon/1) end).

stop() ->
    guarded(fun() -> restart(fun emmap_test:stop_daemon/1) end).

restart(End) ->
    #{daemon := Daemon, nodes := Nodes, clients := Clients} = Stage = get(stage),
    _ = End(Daemon),
    put(stage, Stage#{daemon := #{node := D} = emmap_test:restart_daemon(Daemon)}),
    [ok = until(fun() -> on(Node, fun() -> (catch gen_server:call({emmap, D}, ping)) =:= pong end) end)
     || Node <- Nodes],
    ok = until(fun() -> is_integer(watch(length)) end),
    [{_, true} = {C, is_integer(ask(C, length))} || C <- maps:keys(Clients)], % what a cast does not do
    ok.

end_run(#state{queue = Q, clients = Clients}) ->
    #{nodes := [A | _], dead_letter := Dead} = get(stage),
    Idle = [C || C <- lists:seq(1, Clients), not queue_model:is_waiting(C, Q)],
    Strays = lists:append([ask(C, events) || C <- Idle]),
    {{ok, Ready}, _, _} = queue_model:do(watcher, {pop_many, 1000}, Q),
    {ok, Left} = watch({pop_many, 1000}),
    Moved = on(A, fun() ->
        case queue_model:dead(Q) of
            [] -> [];
            _ ->
                {ok, DeadQ} = emmap_queue:open(Dead, 0, []),
                {ok, Items} = emmap_queue:pop_many(DeadQ, 1000),
                ok = emmap_queue:close(DeadQ),
                Items
        end
    end),
    case {Strays, Left, lists:sort(Moved)} =:= {[], Ready, lists:sort(queue_model:dead(Q))} of
        true -> ok;
        false -> {{strays, Strays}, {left, Left, Ready}, {moved, Moved, queue_model:dead(Q)}}
    end.

leave() ->
    #{clients := Clients, watcher := {A, Watcher}, file := File, dead_letter := Dead,
      daemon := #{data_dir := Dir}} = get(stage),
    [ok = on(Node, fun() -> emmap_queue_client:stop(Pid) end) || {Node, Pid} <- maps:values(Clients)],
    ok = on(A, fun() -> emmap_queue_client:stop(Watcher) end),
    [_ = file:delete(filename:join(Dir, Name)) || Name <- [File, Dead]],
    ok.
