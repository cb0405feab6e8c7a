%% A process that works on a queue as it is told, and keeps what comes to it meanwhile.
-module(emmap_queue_client).

-export([start/3, stop/1, do/2, do_at/2, begin_wait/2, events/2]).

-define(DEADLINE, 10000).

-type event() :: {answer, term()} | {item, pos_integer(), pos_integer(), term()} | lost.
-type face() :: handle | name | wire | registered | server.

-export_type([event/0, face/0]).

-record(client, {face :: face(), queue :: target(), sub = none :: reference() | none,
                 events = [] :: [event()]}).

%% By the functions, or by calls of gen_server to the daemon.
-type target() :: {functions, emmap_queue:queue()} | {wire, node(), string()}.

%% Opens the file (handle, server: a process of start_link/4), or uses it by its name, by that of its
%% process in the daemon, by plain calls.
-spec start(string(), face(), node()) -> pid().
start(File, Face, D) ->
    Self = self(),
    Pid = spawn(fun() ->
        Target = target(Face, File, D),
        Self ! {self(), ready},
        loop(#client{face = Face, queue = Target})
    end),
    receive {Pid, ready} -> Pid after ?DEADLINE -> error(deadline) end.

target(handle, File, _D) ->
    {ok, Q} = emmap_queue:open(File, 0, []),
    {functions, Q};
target(name, File, _D) ->
    {functions, File};
target(wire, File, D) ->
    {wire, D, File};
target(registered, File, D) ->
    {functions, {list_to_atom(File), D}};
target(server, File, _D) ->
    Name = list_to_atom(File ++ pid_to_list(self())),
    {ok, _} = emmap_queue:start_link(Name, File, 0, []),
    {functions, Name}.

%% By force.
stop(Pid) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok after ?DEADLINE -> error(deadline) end.

%% What the operation gives.
do(Pid, Op) ->
    await(tell(Pid, {do, Op})).

%% Each client begins its operation at that time (os:perf_counter(nanosecond)); what they give.
-spec do_at(integer(), [{pid(), term()}]) -> [term()].
do_at(At, Ops) ->
    [await(Told) || Told <- [tell(Pid, {do_at, At, Op}) || {Pid, Op} <- Ops]].

%% Its answer is an event.
begin_wait(Pid, Op) ->
    Pid ! {wait, Op},
    ok.

%% The next N events.
-spec events(pid(), pos_integer()) -> [event()].
events(Pid, N) ->
    await(tell(Pid, {events, N})).

%%% The process.

tell(Pid, What) ->
    Monitor = monitor(process, Pid),
    Pid ! {What, self(), Monitor},
    Monitor.

await(Monitor) ->
    receive
        {Monitor, Answer} ->
            true = demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, process, _, Reason} ->
            error({client_ended, Reason})
    end.

loop(#client{queue = Q} = C) ->
    receive
        {{do, Op}, From, Ref} ->
            {Answer, Next} = perform(Op, C),
            From ! {Ref, Answer},
            loop(Next);
        {{do_at, At, Op}, From, Ref} ->
            ok = emmap_test:spin(At),
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
perform(close, #client{face = server, queue = {functions, Name}} = C) ->
    {gen_server:stop(Name), C};
perform(close, #client{face = handle, queue = {functions, Q}} = C) ->
    {emmap_queue:close(Q), C};
perform({open, File, D}, #client{face = Face} = C) ->
    {ok, C#client{queue = target(Face, File, D)}};
perform(Op, #client{queue = Q} = C) ->
    {simple(attempt(Q, Op)), C}.

attempt(Q, Op) ->
    try run(Q, Op)
    catch
        exit:{{nodedown, _} = Reason, {gen_server, call, _}} -> {error, Reason};
        Class:Reason -> {Class, Reason}
    end.

run(Q, give_up) ->
    given_up(Q, run(Q, length));
run(Q, metadata) ->
    maps:with([items, ready], run_info(Q, metadata));
run(Q, {flight, Steps}) ->
    Answers = [run(Q, Step) || Step <- Steps],
    {Answers, run(Q, barrier)};
run({functions, Q}, Op) ->
    run_function(Q, Op);
run({wire, D, File}, Op) ->
    run_wire(D, File, Op).

run_function(Q, {cast, Item}) ->
    emmap_queue:push_async(Q, Item);
run_function(Q, {push_async, Item}) ->
    ok = emmap_queue:push_async(Q, Item),
    emmap_queue:barrier(Q);
run_function(Q, {fold, Nth, How}) ->
    emmap_queue:pop(Q, {1, []}, fun(Item, {N, Items}) ->
        case {N, How} of
            {Nth, halt} -> {halt, {N, Items}};
            {Nth, Class} -> erlang:raise(Class, stop, []);
            _ -> {cont, {N + 1, Items ++ [Item]}}
        end
    end);
run_function(Q, {Try, ok}) when Try =:= try_pop; Try =:= try_dequeue; Try =:= try_pop_and_purge ->
    emmap_queue:Try(Q, fun(Item) -> {had, Item} end);
run_function(Q, {Try, Class}) when Try =:= try_pop; Try =:= try_dequeue; Try =:= try_pop_and_purge ->
    emmap_queue:Try(Q, fun(_) -> erlang:raise(Class, stop, []) end);
run_function(Q, {peek, Max}) ->
    emmap_queue:peek(Q, {Max, []}, fun show/2);
run_function(Q, {rpeek, Max}) ->
    emmap_queue:rpeek(Q, {Max, []}, fun show/2);
run_function(Q, {batch, Steps}) ->
    {ok, Replies} = emmap:batch(Q, Steps),
    unzip(Replies);
run_function({Name, D}, {pipeline, Steps}) when is_atom(Name), is_atom(D) ->
    in_a_row([gen_server:send_request({Name, D}, Step) || Step <- Steps]);
run_function(Q, {pipeline, Steps}) ->
    in_a_row([emmap:send_request(Q, Step) || Step <- Steps]);
run_function(Q, {show, Max}) ->
    {ok, Items} = emmap_queue:take_many(Q, Max, 0, infinity),
    _ = [ok = emmap:call(Q, {release_many, [Id || {Id, _, _} <- Items], unseen}) || Items =/= []],
    Items;
run_function(_Q, {configure, File, Options}) ->
    {ok, Q} = emmap_queue:open(File, 0, Options),
    emmap_queue:close(Q);
run_function(Q, Op) when is_atom(Op) ->
    emmap_queue:Op(Q);
run_function(Q, Op) ->
    [Function | Args] = tuple_to_list(Op),
    apply(emmap_queue, Function, [Q | Args]).

run_wire(D, File, {subscribe, Credit}) ->
    Sub = monitor(process, {emmap, D}),
    case call(D, {subscribe, File, Sub, Credit}) of
        ok -> {ok, Sub};
        Error -> Error
    end;
run_wire(D, File, {unsubscribe, Sub}) ->
    true = demonitor(Sub, [flush]),
    call(D, {unsubscribe, File, Sub});
run_wire(D, File, {batch, Steps}) ->
    {ok, Replies} = call(D, {batch, [on_file(Step, File) || Step <- Steps]}),
    unzip(Replies);
run_wire(D, File, {pipeline, Steps}) ->
    in_a_row([gen_server:send_request({emmap, D}, on_file(Step, File)) || Step <- Steps]);
run_wire(D, _File, {configure, File, Options}) ->
    {ok, Id, _} = call(D, {open_queue, File, 0, Options}),
    call(D, {close, Id});
run_wire(D, File, Op) ->
    unzip(call(D, on_file(Op, File))).

call(D, Request) ->
    emmap_queue_face:call(D, Request).

on_file(Op, File) when is_atom(Op) -> {Op, File};
on_file(Op, File) -> erlang:insert_element(2, Op, File).

in_a_row(Requests) ->
    [begin
         {reply, Reply} = gen_server:receive_response(R, ?DEADLINE),
         unzip(Reply)
     end || R <- Requests].

%% As the functions hand items out, wherever they are in a reply.
unzip({'$emmap_zip', _} = Item) -> emmap_item:unpack(Item);
unzip(Tuple) when is_tuple(Tuple) -> list_to_tuple(unzip(tuple_to_list(Tuple)));
unzip([First | Rest]) -> [unzip(First) | unzip(Rest)];
unzip(Other) -> Other.

show(Item, {1, Items}) -> {halt, {0, Items ++ [Item]}};
show(Item, {N, Items}) -> {cont, {N - 1, Items ++ [Item]}}.

run_info({functions, Q}, Name) -> emmap_queue:Name(Q);
run_info({wire, D, File}, _Name) -> call(D, {info, File}).

%% A process waits in line and is killed.
given_up(Q, 0) ->
    Before = waiting(Q),
    {Pid, Monitor} = spawn_monitor(fun() -> run(Q, {pop_wait, infinity}) end),
    ok = emmap_test:until(fun() -> waiting(Q) =:= Before + 1 end),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, Reason} -> Reason end;
given_up(Q, _) ->
    run(Q, {pop_wait, infinity}).

waiting(Q) ->
    maps:get(waiting, run_info(Q, info)).

simple({Answers, Barrier}) when is_list(Answers) -> {Answers, simple(Barrier)};
simple({error, {casts, #{failed := N, lost := 0, first := full}}}) -> {error, {full, N}};
simple({error, {nodedown, _}}) -> {error, lost};
simple({error, {not_connected, _}}) -> {error, unsent};
simple(Answer) -> Answer.
