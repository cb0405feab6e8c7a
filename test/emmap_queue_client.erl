%% A process that works on a queue as it is told, and keeps what comes to it meanwhile.
-module(emmap_queue_client).

-export([start/2, stop/1, do/2, begin_wait/2, events/2]).

-define(DEADLINE, 10000).

-type event() :: {answer, term()} | {item, pos_integer(), pos_integer(), term()} | lost.

-record(client, {queue :: emmap_queue:queue(), sub = none :: reference() | none,
                 events = [] :: [event()]}).

%% Opens the file (handle), or uses it by its name.
start(File, Face) ->
    Self = self(),
    Pid = spawn(fun() ->
        Queue = case Face of
            handle -> {ok, Q} = emmap_queue:open(File, 0, []), Q;
            name -> File
        end,
        Self ! {self(), ready},
        loop(#client{queue = Queue})
    end),
    receive {Pid, ready} -> Pid after ?DEADLINE -> error(deadline) end.

%% By force.
stop(Pid) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok after ?DEADLINE -> error(deadline) end.

%% What the operation gives.
do(Pid, Op) ->
    ask(Pid, {do, Op}).

%% Its answer is an event.
begin_wait(Pid, Op) ->
    Pid ! {wait, Op},
    ok.

%% The next N events.
-spec events(pid(), pos_integer()) -> [event()].
events(Pid, N) ->
    ask(Pid, {events, N}).

%%% The process.

ask(Pid, What) ->
    Monitor = monitor(process, Pid),
    Pid ! {What, self(), Monitor},
    receive
        {Monitor, Answer} ->
            true = demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, process, Pid, Reason} ->
            error({client_ended, Reason})
    end.

loop(#client{queue = Q} = C) ->
    receive
        {{do, Op}, From, Ref} ->
            {Answer, Next} = perform(Op, C),
            From ! {Ref, Answer},
            loop(Next);
        {{events, N}, From, Ref} ->
            {Events, Next} = first_events(N, C),
            From ! {Ref, Events},
            loop(Next);
        {wait, Op} ->
            loop(event({answer, simple(attempt(Q, Op))}, C));
        Message ->
            loop(event(of_message(Message, C), C))
    end.

event(Event, #client{events = Events} = C) ->
    C#client{events = Events ++ [Event]}.

of_message({emmap_queue, Sub, Id, Attempt, Item}, #client{sub = Sub}) -> {item, Id, Attempt, emmap_item:unpack(Item)};
of_message({'DOWN', Sub, process, _, _}, #client{sub = Sub}) -> lost;
of_message(Other, _) -> {stray, Other}.

first_events(N, #client{events = Events} = C) when length(Events) >= N ->
    {First, Rest} = lists:split(N, Events),
    {First, C#client{events = Rest}};
first_events(N, C) ->
    receive
        {wait, _} = Wait -> self() ! Wait, first_events(N, C);
        Message when element(1, Message) =:= emmap_queue; element(1, Message) =:= 'DOWN' ->
            first_events(N, event(of_message(Message, C), C))
    after ?DEADLINE ->
        {C#client.events, C#client{events = []}}
    end.

%%% Operations.

perform({subscribe, Credit}, #client{queue = Q} = C) ->
    case attempt(Q, {subscribe, Credit}) of
        {ok, Sub} -> {ok, C#client{sub = Sub}};
        Error -> {simple(Error), C}
    end;
perform(unsubscribe, #client{queue = Q, sub = Sub} = C) ->
    {simple(attempt(Q, {unsubscribe, Sub})), C#client{sub = none}};
perform(events, #client{events = Events} = C) ->
    {Events, C};
perform(close, #client{queue = Q} = C) ->
    {emmap_queue:close(Q), C};
perform({open, File}, C) ->
    {ok, Q} = emmap_queue:open(File, 0, []),
    {ok, C#client{queue = Q}};
perform(Op, #client{queue = Q} = C) ->
    {simple(attempt(Q, Op)), C}.

attempt(Q, Op) ->
    try run(Q, Op)
    catch Class:Reason -> {Class, Reason}
    end.

run(Q, {push_async, Item}) ->
    ok = emmap_queue:push_async(Q, Item),
    emmap_queue:barrier(Q);
run(Q, {fold, Nth, How}) ->
    emmap_queue:pop(Q, {1, []}, fun(Item, {N, Items}) ->
        case {N, How} of
            {Nth, halt} -> {halt, {N, Items}};
            {Nth, throw} -> throw(stop);
            _ -> {cont, {N + 1, Items ++ [Item]}}
        end
    end);
run(Q, {try_pop, ok}) ->
    emmap_queue:try_pop(Q, fun(Item) -> {had, Item} end);
run(Q, {try_pop, throw}) ->
    emmap_queue:try_pop(Q, fun(_) -> throw(stop) end);
run(Q, {peek, Max}) ->
    emmap_queue:peek(Q, {Max, []}, fun show/2);
run(Q, {rpeek, Max}) ->
    emmap_queue:rpeek(Q, {Max, []}, fun show/2);
run(Q, give_up) ->
    given_up(Q, emmap_queue:is_empty(Q));
run(Q, Op) when is_atom(Op) ->
    emmap_queue:Op(Q);
run(Q, Op) ->
    [Function | Args] = tuple_to_list(Op),
    apply(emmap_queue, Function, [Q | Args]).

show(Item, {1, Items}) -> {halt, {0, Items ++ [Item]}};
show(Item, {N, Items}) -> {cont, {N - 1, Items ++ [Item]}}.

%% A process waits and is killed.
given_up(Q, false) ->
    emmap_queue:pop_wait(Q, infinity);
given_up(Q, true) ->
    {Pid, Monitor} = spawn_monitor(fun() -> emmap_queue:pop_wait(Q, infinity) end),
    receive {'DOWN', Monitor, process, Pid, Reason} -> {ended, Reason}
    after 5 ->
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, Reason} -> Reason end
    end.

simple({error, {casts, #{failed := 1, first := full}}}) -> {error, full};
simple({error, {nodedown, _}}) -> {error, lost};
simple({error, {not_connected, _}}) -> {error, lost};
simple(Answer) -> Answer.
