%% Random operations of one to four processes on two nodes, ends of processes and of the daemon among
%% them, against a plain model of a queue. EMMAP_RUNS says how many runs (300).
-module(queue_prop_SUITE).

-compile([export_all, nowarn_export_all]).

-import(proper_statem, [commands/2, run_commands/2]).
-import(proper_types, [frequency/1, integer/0, list/1, oneof/1, range/2, resize/2, term/0]).
-import(emmap_test, [on/2, until/1]).

-define(DEADLINE, 20000).

-define(LONGEST, 50). % about as many commands has a run in the end
-define(HOUR, 3600000).
-define(UNIT, 160). % a record of an item of units

-record(state, {queue, faces :: [emmap_queue_client:face()]}). % of the clients 1, 2, ...

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
    Application = [{daemon, external}, {node, D}, {connect_timeout, 200}],
    put(ran, #{}),
    put(stage, #{daemon => Daemon, run => 0,
                 nodes => [emmap_test:node(Config, #{application => Application}) || _ <- [a, b]]}),
    Output = fun(Format, Args) -> ct:log(Format, Args) end,
    Options = [{numtests, runs()}, {max_size, ?LONGEST}, {on_output, Output}, long_result],
    case proper:quickcheck(prop_queue(), Options) of
        true -> all_ran();
        Counterexample -> ct:fail("~p", [Counterexample])
    end.

%% In few runs chance may leave one out.
all_ran() ->
    ct:log("~p", [lists:sort(maps:to_list(get(ran)))]),
    [] = [Name || Name <- all_names(), runs() >= 100, not maps:is_key(Name, get(ran))],
    ok.

ran(Name) ->
    put(ran, maps:update_with(Name, fun(N) -> N + 1 end, 1, get(ran))).

all_names() ->
    all_ops() ++ faces()
        ++ [reopen, stop, kill, end_client, together, together_killed, answered_in_kill, lost_in_kill,
            last_kill].

%% Debian's PropEr comes without its macros: these are the functions behind them. It is too old to be
%% let see an exception.
prop_queue() ->
    proper:forall(setting(), fun({Faces, Options}) ->
        proper:forall(commands(?MODULE, initial(Faces, Options)), fun(Commands) ->
            Result = guarded(fun() -> run(Faces, Options, Commands) end),
            proper:whenfail(fun() -> ct:log("~p~n~p~n~p", [Faces, Options, Result]) end,
                            fun() -> proper:aggregate(names(Commands), Result =:= ok) end)
        end)
    end).

%% After operations at the same time the state may be another than the commands were made for, and
%% not allow the next: then this is the end of the run.
run(Faces, Options, Commands) ->
    begin_run(Faces, Options),
    {_History, Last, Result} = run_commands(?MODULE, Commands),
    End = case Result of
        ok -> end_run(Last);
        {precondition, false} -> end_run(Last);
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
         {call, _, do, [_, Op]} -> name(Op);
         {call, _, Name, _} -> Name
     end || {set, _, Call} <- Commands].

%% An operation by its function and number of arguments.
name({release, _, Ms}) when Ms =/= ?HOUR -> short_delay; % or what makes one
name(Op) when is_atom(Op) -> Op;
name({wait, Op}) -> {wait, element(1, Op)};
name(Op) when tuple_size(Op) =:= 2 -> element(1, Op);
name(Op) -> {element(1, Op), tuple_size(Op)}.

%%% What can be done.

setting() ->
    {proper_types:bind(range(1, 4), fun(N) -> proper_types:vector(N, oneof(faces())) end, false),
     frequency([{2, []},
                {1, [{max_items, range(1, 8)}]},
                {1, [{max_items, range(1, 8)}, {overflow, drop_head}]},
                {1, [{max_items, range(1, 8)}, {overflow, drop_head}, {max_attempts, range(1, 3)}]},
                {1, [max_bytes()]},
                {1, [max_bytes(), {overflow, drop_head}]},
                {1, [max_bytes(), fixed_size]},
                {1, [{lease_ms, oneof([1, ?HOUR])}]},
                {1, [{max_attempts, range(1, 3)}]},
                {1, [{max_attempts, range(1, 3)}, dead_letter]}])}.

faces() -> [handle, registered, wire, server, name].

%% So many units, and no doubt about it.
max_bytes() ->
    proper_types:bind(range(1, 8), fun(N) -> {max_bytes, N * ?UNIT + ?UNIT div 2} end, false).

initial(Faces, Options) ->
    #state{faces = Faces,
           queue = queue_model:new(proplists:delete(fixed_size, Options -- [dead_letter]),
                                   lists:member(dead_letter, Options))}.

initial_state() ->
    initial([handle], []).

command(#state{queue = Q} = S) ->
    Clients = clients(S),
    Idle = [C || C <- Clients, not queue_model:is_waiting(C, Q)],
    frequency([{120 div length(Idle), {call, ?MODULE, do, [C, op(C, S)]}} || C <- Idle]
              ++ [{3, {call, ?MODULE, end_client, [oneof(Clients)]}},
                  {1, {call, ?MODULE, kill, []}}]
              ++ [{4, {call, ?MODULE, oneof([reopen, stop]), []}}
                  || queue_model:waiting(Q) =:= []]
              ++ [Together || length(Clients) > 1, may_together(Q),
                              Together <- [{12, {call, ?MODULE, together, [at_once(S)]}},
                                           {4, {call, ?MODULE, together_killed,
                                                [range(-500, 700), at_once(S)]}}]]).

clients(#state{faces = Faces}) -> lists:seq(1, length(Faces)).

face(C, #state{faces = Faces}) -> lists:nth(C, Faces).

op(C, S) ->
    frequency([{N, Op} || {N, Op} <- all_ops(C, S), may(Op, C, S)]).

all_ops() ->
    lists:usort([name(Op) || {_, Op} <- all_ops(1, initial_state())]).

%% Each with its weight.
all_ops(C, S) ->
    ops_that_put(S) ++ ops_that_take() ++ ops_of_leases(C, S) ++ ops_that_look()
        ++ [{2, {Many, steps(steps_of_one(S))}} || Many <- [batch, pipeline]]
        ++ [{4, {flight, steps([{4, {cast, item(S)}} | steps_of_one(S)])}}, {2, {configure, changes(S)}}, {10, unsubscribe},
            {3, {subscribe, range(1, 4)}}, {1, sync}, {1, flush}, {1, erase}].

ops_that_put(S) ->
    [{20, {push, item(S)}}, {2, {push, item(S), range(0, 9)}}, {2, {enqueue, item(S)}},
     {4, {push_many, resize(8, list(item(S)))}}, {3, {push_async, item(S)}}].

ops_that_take() ->
    [{4, pop}, {1, dequeue}, {1, pop_and_purge}, {2, {pop_wait, wait_ms()}}, {2, {pop_many, few()}},
     {1, {pop_many, few(), wait_ms()}},
     {2, {try_pop, how()}}, {1, {try_dequeue, how()}}, {1, {try_pop_and_purge, how()}},
     {2, {fold, few(), oneof([halt, throw, error, exit])}}, {1, give_up},
     {8, take}, {2, {take, wait_ms()}}, {2, {take, wait_ms(), lease()}},
     {2, {take_many, few()}}, {2, {take_many, few(), wait_ms()}},
     {2, {take_many, few(), wait_ms(), lease()}},
     {2, {wait, {pop_wait, forever()}}}, {2, {wait, {take, forever()}}},
     {1, {wait, {pop_many, few(), forever()}}}, {1, {wait, {take_many, few(), forever()}}}].

ops_of_leases(C, #state{queue = Q} = S) ->
    [{6, {ack, id(S)}}, {2, {ack_many, resize(6, list(id(S)))}},
     {4, {release, id(S)}}, {2, {release_many, resize(6, list(id(S)))}},
     {1, {release, id(S), ?HOUR}}, {1, short_delay(queue_model:leased(C, Q))},
     {2, {touch, id(S)}}, {3, {bury, id(S)}}, {2, {kick, few()}}].

ops_that_look() ->
    [{2, Op} || Op <- [peek_front, inspect, peek_back, {peek_many, few()}, {peek, few()}, {rpeek, few()},
                       {peek_buried, few()}, length, is_empty, purge, metadata]].

%% A delay that ends takes up to a second.
short_delay(Ids) -> {release, oneof([1 | Ids]), range(1, 300)}.

how() -> oneof([ok, throw, error, exit]).

wait_ms() -> range(0, 5).

forever() -> oneof([infinity, ?HOUR]).

lease() -> oneof([default, infinity, ?HOUR, 1]).

changes(#state{queue = Q}) ->
    [oneof([{max_items, oneof([infinity, range(1, 8)])}, {overflow, oneof([reject, drop_head])},
            {max_attempts, oneof([infinity, range(1, 3)])},
            {lease_ms, frequency([{2, infinity}, {2, ?HOUR}, {1, 1}])}
            | [max_bytes() || queue_model:has_units(Q)]])].

%% Requests of one client that it does not wait for one by one: they are done in order.
steps(Steps) ->
    resize(6, list(frequency(Steps))).

steps_of_one(S) ->
    [{3, {push, item(S)}}, {1, {push_many, resize(4, list(item(S)))}}, {2, {pop_wait, 0}},
     {1, {pop_many, few()}}, {3, take}, {1, {take_many, few()}}, {2, {ack, id(S)}},
     {2, {release, id(S)}}, {1, {bury, id(S)}}, {1, {kick, few()}}, {1, length},
     {1, {peek_many, few()}}, {1, {peek_buried, few()}}].

%% Two or three clients, each with an operation that is done in one instant.
at_once(S) ->
    Sets = [Set || Set <- subsets(clients(S)), length(Set) > 1, length(Set) < 4],
    proper_types:bind(oneof(Sets), fun(Set) -> [{C, instant_op(S)} || C <- Set] end, false).

instant_op(S) ->
    frequency(steps_of_one(S)
              ++ [{1, {pop_wait, 20}}, {1, {take, 20}}, {1, {pop_many, few(), 20}},
                  {1, {ack_many, resize(6, list(id(S)))}}, {1, {release, id(S), ?HOUR}},
                  {1, {touch, id(S)}}, {1, erase}]).

subsets([]) -> [[]];
subsets([First | Rest]) -> [Set || Others <- subsets(Rest), Set <- [Others, [First | Others]]].

few() -> range(1, 12).

item(#state{queue = Q}) ->
    case queue_model:has_units(Q) of
        true -> unit();
        false -> oneof([nil, integer(), resize(8, term()), large()])
    end.

unit() -> proper_types:bind(range(0, 1000), fun(N) -> <<N:800>> end, false).

large() -> proper_types:bind(range(0, 70000), fun(N) -> <<0:(8 * N)>> end, false).

%% Of what is there, or of what never was or is no more.
id(#state{queue = Q}) ->
    oneof([range(1, 20) | queue_model:ids(Q)]).

precondition(#state{queue = Q} = S, {call, _, do, [C, Op]}) ->
    lists:member(C, clients(S)) andalso not queue_model:is_waiting(C, Q) andalso may(Op, C, S);
precondition(S, {call, _, end_client, [C]}) ->
    lists:member(C, clients(S));
precondition(_, {call, _, kill, []}) ->
    true;
precondition(#state{queue = Q} = S, {call, _, together, [Ops]}) ->
    may_together(Q) andalso [C || {C, _} <- Ops] -- clients(S) =:= [];
precondition(S, {call, _, together_killed, [_, Ops]}) ->
    precondition(S, {call, ?MODULE, together, [Ops]});
precondition(#state{queue = Q}, {call, _, _, []}) ->
    queue_model:waiting(Q) =:= [].

may(Op, C, #state{queue = Q} = S) ->
    is_of(name(Op), face(C, S)) andalso may_now(Op, C, Q).

%% What the functions have beside the requests, and what needs a handle.
is_of(Name, Face) when Name =:= push_async; Name =:= flight ->
    Face =:= handle orelse Face =:= server;
is_of(batch, Face) -> Face =/= registered andalso Face =/= server;
is_of(pipeline, Face) -> Face =/= server;
is_of(Name, wire) -> not lists:member(Name, functions_only());
is_of(_, _) -> true.

functions_only() ->
    [{push, 3}, enqueue, dequeue, pop_and_purge, inspect, purge, {fold, 3}, try_pop, try_dequeue,
     try_pop_and_purge, peek_front, peek_back, peek, rpeek, is_empty].

may_now(unsubscribe, C, Q) -> queue_model:is_subscribed(C, Q);
may_now({subscribe, _}, C, Q) ->
    not queue_model:is_subscribed(C, Q) andalso not queue_model:is_hasty(Q);
may_now({wait, Op}, C, Q) ->
    not queue_model:is_subscribed(C, Q)
        andalso not (queue_model:is_hasty(Q) andalso lists:member(element(1, Op), [take, take_many]));
may_now({touch, _}, _, Q) -> not queue_model:is_hasty(Q);
may_now({fold, _, _}, _, Q) -> not queue_model:has_worn_out(Q);
may_now(give_up, _, Q) -> not queue_model:has_worn_out(Q);
may_now({configure, _}, _, Q) -> queue_model:waiting(Q) =:= [];
may_now({push, _, _}, _, Q) -> not queue_model:has_units(Q);
may_now({Many, _}, _, Q) when Many =:= batch; Many =:= pipeline; Many =:= flight ->
    queue_model:waiting(Q) =:= [] andalso not queue_model:is_hasty(Q)
        andalso not (queue_model:has_dead_letter(Q) andalso queue_model:is_bounded(Q));
may_now(_, _, _) -> true.

%% Nothing but the operations is under way.
may_together(Q) ->
    queue_model:waiting(Q) =:= [] andalso not queue_model:is_hasty(Q)
        andalso not queue_model:has_dead_letter(Q).

next_state(#state{} = S, Answer, Call) ->
    S#state{queue = queue_after(S, Answer, Call)}.

%% Of operations at the same time the answers tell the order; before there are answers, any will do.
queue_after(#state{queue = Q} = S, Answer, {call, _, together, [Ops]}) ->
    case explained(S, Answer, {call, ?MODULE, together, [Ops]}) of
        [Then | _] -> Then;
        [] -> element(2, hd(queue_model:together(Ops, Q)))
    end;
queue_after(#state{queue = Q} = S, Answer, {call, _, together_killed, [_, Ops]} = Call) ->
    case explained(S, Answer, Call) of
        [Then | _] -> Then;
        [] ->
            {_, Then} = hd(queue_model:together(Ops, Q)),
            {ok, _, Restarted} = queue_model:restart(kill, Then),
            Restarted
    end;
queue_after(S, _Answer, Call) ->
    {_, _, Q} = expected(S, Call),
    Q.

%% The queues that there may be after these answers, and that look like this.
explained(#state{queue = Q}, {Answers, Seen}, {call, _, together, [Ops]}) when is_list(Answers) ->
    [Then || {Given, Then} <- queue_model:together(Ops, Q), Given =:= Answers,
             looks_like(Then, Seen)];
explained(#state{queue = Q}, {Answers, Shown, Seen}, {call, _, together_killed, [_, Ops]}) ->
    [Then || Restarted <- queue_model:killed(Ops, Answers, Q),
             {Items, [], Then} <- [queue_model:do(watcher, {show, 1000}, Restarted)],
             Items =:= Shown, looks_like(Then, Seen)];
explained(_, _, _) ->
    [].

looks_like(Q, #{info := Info} = Seen) ->
    #{info := Expected} = All = queue_model:seen(Q),
    All =:= Seen#{info := maps:with(maps:keys(Expected), Info)}.

expected(#state{queue = Q}, {call, _, do, [C, Op]}) -> queue_model:do(C, Op, Q);
expected(#state{queue = Q}, {call, _, end_client, [C]}) -> queue_model:end_client(C, Q);
expected(#state{queue = Q}, {call, _, reopen, []}) -> {ok, [], Q};
expected(#state{queue = Q}, {call, _, How, []}) -> queue_model:restart(How, Q).

%% The answer, what those who wait are told, and how much there is then.
postcondition(#state{} = S, {call, _, Together, _} = Call, Answer)
  when Together =:= together; Together =:= together_killed ->
    case guarded(fun() -> explained(S, Answer, Call) end) of
        [_ | _] -> note_order(S, Answer, Call), true;
        Nothing -> ct:log("~p~nnot explained: ~p~n~p~nafter ~p", [Call, Nothing, Answer, S]), false
    end;
postcondition(#state{} = S, Call, Answer) ->
    case guarded(fun() -> differences(S, Call, Answer) end) of
        [] -> true;
        Differences -> ct:log("~p~n~p~nafter ~p", [Call, Differences, S]), false
    end.

%% Some answers show that the operations were not done in the order in which they are listed: how
%% many, the log tells.
note_order(#state{queue = Q}, {Answers, Seen}, {call, _, together, [Ops]}) ->
    {Given, Then} = hd(queue_model:together(Ops, Q)),
    [ran(not_in_order) || not (Given =:= Answers andalso looks_like(Then, Seen))];
note_order(_, _, _) ->
    [].

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

is_at_once({call, _, do, [_, Op]} = Call, S) ->
    {_, _, Q} = expected(S, Call),
    not takes_time(Op) andalso not queue_model:is_hasty(Q)
        andalso length(queue_model:dead(Q)) =:= length(queue_model:dead(S#state.queue));
is_at_once(_, _) ->
    false.

takes_time({wait, _}) -> true;
takes_time({take, _, 1}) -> true;
takes_time({take_many, _, _, 1}) -> true;
takes_time({release, _, Ms}) -> Ms < 1000;
takes_time({configure, _}) -> true; % worn-out items may be moved
takes_time(give_up) -> true;
takes_time(_) -> false.

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

begin_run(Faces, Options) ->
    #{nodes := [A, B], run := Run} = Stage = get(stage),
    File = lists:concat(["queue", Run]),
    put(stage, Stage#{run := Run + 1, file => File, dead_letter => File ++ ".dead", faces => Faces}),
    ok = on(A, fun() -> make(File, Options, lists:member(registered, Faces)) end),
    Nodes = lists:sublist([A, B, A, B], length(Faces)),
    Clients = [start_client(Face, Node) || {Face, Node} <- lists:zip(Faces, Nodes)],
    put(stage, (get(stage))#{watcher => start_client(handle, A),
                             clients => maps:from_list(lists:zip(lists:seq(1, length(Faces)), Clients))}),
    lists:foreach(fun ran/1, Faces).

make(File, Options, IsRegistered) ->
    {Size, Rest} = size_of(Options),
    {ok, Q} = emmap_queue:open(File, Size,
                               [option(O, File) || O <- Rest]
                               ++ [{register, list_to_atom(File)} || IsRegistered]),
    emmap_queue:close(Q).

size_of(Options) ->
    case lists:member(fixed_size, Options) of
        true -> {proplists:get_value(max_bytes, Options), proplists:delete(max_bytes, Options)};
        false -> {0, Options}
    end.

option(dead_letter, File) -> {dead_letter, File ++ ".dead"};
option(Option, _File) -> Option.

start_client(Face, Node) ->
    #{file := File, daemon := #{node := D}} = get(stage),
    {Node, on(Node, fun() -> emmap_queue_client:start(File, Face, D) end)}.

do(C, {wait, Want} = Op) ->
    ran(name(Op)),
    {Node, Pid} = client(C),
    guarded(fun() -> on(Node, fun() -> emmap_queue_client:begin_wait(Pid, Want) end) end);
do(C, Op) ->
    ran(name(Op)),
    guarded(fun() -> ask(C, of_client(Op)) end).

of_client({configure, Options}) -> {configure, maps:get(file, get(stage)), Options};
of_client(Op) -> Op.

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
    maps:with(Keys, all_info()).

all_info() ->
    #{popped := Popped, acked := Acked, dropped := Dropped, dead := Dead} = Info = watch(info),
    Info#{gone => Popped + Acked + Dropped + Dead}.

%% What anybody can see, as queue_model:seen/1.
seen() ->
    {ok, Ready} = watch({peek_many, 1000}),
    {ok, Buried} = watch({peek_buried, 1000}),
    #{info => all_info(), ready => Ready, buried => Buried}.

together(Ops) ->
    ran(together),
    guarded(fun() -> {do_at(from_now(1000), Ops), seen()} end).

%% The daemon is killed so many microseconds after the clients have begun.
together_killed(Us, Ops) ->
    ran(together_killed),
    guarded(fun() ->
        Answers = restart(fun(Daemon) -> killed_after(Us, Ops, Daemon) end),
        lists:foreach(fun ran/1, [in_kill(Answer) || Answer <- Answers]),
        {Answers, watch({show, 1000}), seen()}
    end).

killed_after(Us, Ops, Daemon) ->
    Kill = emmap_test:armed_kill(Daemon),
    At = from_now(5000),
    Doing = in_background(fun() -> do_at(At, Ops) end),
    ok = Kill(At + 1000 * Us),
    receive {Doing, Answers} -> Answers after ?DEADLINE -> error(deadline) end.

from_now(Us) ->
    os:perf_counter(nanosecond) + 1000 * Us. % the clock of all nodes of the host

in_kill({error, lost}) -> lost_in_kill;
in_kill({error, unsent}) -> unsent_in_kill;
in_kill(_) -> answered_in_kill.

do_at(At, Ops) ->
    #{nodes := [A | _]} = get(stage),
    Pids = [{element(2, client(C)), Op} || {C, Op} <- Ops],
    on(A, fun() -> emmap_queue_client:do_at(At, Pids) end).

in_background(Fun) ->
    Self = self(),
    Stage = get(stage),
    spawn_link(fun() -> put(stage, Stage), Self ! {self(), Fun()} end).

end_client(C) ->
    ran(end_client),
    guarded(fun() -> replace(C) end).

replace(C) ->
    #{faces := Faces} = get(stage),
    {Node, _} = client(C),
    ok = stop_client(C),
    #{clients := Clients} = Stage = get(stage),
    put(stage, Stage#{clients := Clients#{C => start_client(lists:nth(C, Faces), Node)}}),
    ok.

stop_client(C) ->
    #{clients := Clients} = Stage = get(stage),
    {Node, Pid} = client(C),
    ok = on(Node, fun() -> emmap_queue_client:stop(Pid) end),
    put(stage, Stage#{clients := maps:remove(C, Clients)}),
    ok.

reopen() ->
    ran(reopen),
    guarded(fun reopen_all/0).

reopen_all() ->
    #{file := File, faces := Faces, daemon := #{node := D}} = get(stage),
    Opened = [C || {C, Face} <- lists:zip(lists:seq(1, length(Faces)), Faces),
                   Face =:= handle orelse Face =:= server],
    [ok = ask(C, close) || C <- Opened],
    ok = watch(close),
    ok = watch({open, File, D}),
    [ok = ask(C, {open, File, D}) || C <- Opened],
    ok.

kill() ->
    ran(kill),
    guarded(fun() -> restart(fun emmap_test:kill_daemon/1) end).

stop() ->
    ran(stop),
    guarded(fun() -> restart(fun(Daemon) -> _ = emmap_test:stop_daemon(Daemon), ok end) end).

restart(End) ->
    #{daemon := Daemon, nodes := Nodes, clients := Clients} = Stage = get(stage),
    Result = End(Daemon),
    put(stage, Stage#{daemon := #{node := D} = emmap_test:restart_daemon(Daemon)}),
    [ok = until(fun() -> on(Node, fun() -> (catch gen_server:call({emmap, D}, ping)) =:= pong end) end)
     || Node <- Nodes],
    ok = until(fun() -> is_integer(watch(length)) end),
    %% what a cast does not do
    [ok = until(fun() -> is_integer(ask(C, length)) end) || C <- maps:keys(Clients)],
    Result.

%% Nothing came that was not told of; and with the clients gone, after a kick and, now and then, after
%% one more kill, everything is there.
end_run(#state{queue = Q} = S) ->
    Idle = [C || C <- clients(S), not queue_model:is_waiting(C, Q)],
    Strays = lists:append([ask(C, events) || C <- Idle]),
    Alone = lists:foldl(fun alone/2, S, clients(S)),
    Kicked = without_clients({call, ?MODULE, do, [watcher, {kick, 1000}]}, Alone),
    Last = case maps:get(run, get(stage)) rem 10 of
        0 -> ran(last_kill), without_clients({call, ?MODULE, kill, []}, Kicked);
        _ -> Kicked
    end,
    case {Strays, looks_like(Last#state.queue, Seen = seen()), moved(Last)} of
        {[], true, true} -> ok;
        Wrong -> {Wrong, Seen, queue_model:seen(Last#state.queue)}
    end.

%% The next one ends when the queue has dealt with this.
alone(C, S) ->
    checked({call, ?MODULE, end_client, [C]}, stop_client(C), S).

without_clients({call, _, do, [watcher, Op]} = Call, S) -> checked(Call, watch(Op), S);
without_clients({call, _, kill, []} = Call, S) -> checked(Call, kill(), S).

%% What others would be told does not matter any more.
checked(Call, Answer, S) ->
    {Answer, _, Q} = expected(S, Call),
    Expected = queue_model:info(Q),
    Expected = settle_until(maps:keys(Expected), Expected, erlang:monotonic_time(millisecond) + ?DEADLINE),
    S#state{queue = Q}.

moved(#state{queue = Q}) ->
    #{nodes := [A | _], dead_letter := Dead} = get(stage),
    Expected = queue_model:dead(Q),
    Moved = on(A, fun() -> dead_letters(Dead, Expected) end),
    lists:sort(Moved) =:= lists:sort(Expected) orelse {Moved, Expected}.

dead_letters(_, []) ->
    [];
dead_letters(Dead, _) ->
    {ok, Q} = emmap_queue:open(Dead, 0, []),
    {ok, Items} = emmap_queue:pop_many(Q, 1000),
    ok = emmap_queue:close(Q),
    Items.

leave() ->
    #{clients := Clients, watcher := {A, Watcher}, file := File, dead_letter := Dead, faces := Faces,
      daemon := #{data_dir := Dir}} = get(stage),
    [ok = stop_client(C) || C <- maps:keys(Clients)],
    [ok = watch({configure, File, [{register, none}]}) || lists:member(registered, Faces)],
    ok = on(A, fun() -> emmap_queue_client:stop(Watcher) end),
    [_ = file:delete(filename:join(Dir, Name)) || Name <- [File, Dead]],
    ok.
