%% @doc The lane: all traffic of this node with one daemon goes through one process.
%%
%% Requests of concurrent callers travel together. While no envelope is under way the first item
%% leaves at once, with what else has come; while one is, items are gathered, and its answer sends
%% the next before its replies are handed out. So a lone caller waits for nobody, and many callers
%% share their messages. The order of each process's requests is kept.
%%
%% A lane begins by connecting: items wait, each for at most connect_timeout. It ends with its
%% connection, `{shutdown, {nodedown, Node}}', which frees every waiting caller at once; requests
%% are never repeated here. A lane that nobody waits for and that cannot connect ends, too.
%%
%% It is registered under the name of its daemon's node. Messages to it:
%%   {small | out | in, Bytes, {Pid, Ref, Request}}   a call, waiting at the alias Ref
%%   {small | out | in, Bytes, {Pid, [], Request}}    a cast
%%   {relay, {small | out | in, Bytes, {Pid, Ref, Request}}}   answered as a gen_server answers
%%   {cancel, Ref}                                    the caller waits no longer
%%   nudge                                            the daemon is said to be there
-module(emmap_lane).

%% For callers
-export([call/5]).
-export([send/3]).
-export([await/2]).
-export([abandon/1]).
-export([cast/4]).
-export([relay/3]).
-export([nudge/1]).

%% For the supervisor and sys
-export([start_link/1]).
-export([init/2]).
-export([system_continue/3]).
-export([system_terminate/4]).
-export([system_code_change/4]).

-export_type([kind/0, weight/0, entry/0, ticket/0, outcome/0]).

%% `small': in an envelope; `out', `in': alone, as bulk to or from the daemon.
-type kind() :: small | out | in.
-type weight() :: {kind(), Bytes :: non_neg_integer()}.
-type entry() :: {pid(), reference() | [], Request :: term()}.
-opaque ticket() :: {node(), pid(), reference()}.
-type failure() :: {not_connected, node()} | {nodedown, node()}.
-type outcome() :: {ok, Reply :: term()} | {error, failure()} | timeout.

%% An envelope is full with so many entries, or with so many bytes of requests and replies.
-define(FULL_COUNT, 512).
-define(FULL_BYTES, 65536).

%% How often the scheduler is given away for more to come in.
-define(YIELDS, 4).

-define(FIRST_PAUSE, 20).
-define(LONGEST_PAUSE, 1000).

-record(lane, {node :: node(),
               to :: {emmap, node()},
               parent :: pid(),
               board :: emmap_board:board(),
               monitor :: reference() | undefined,
               %% so many have got their late answers, and are worth some yields
               hoped = 0 :: non_neg_integer(),
               yields = 0 :: non_neg_integer(),
               %% envelopes are numbered 1, 2, ...; bulk -1, -2, ...
               sent = 0 :: non_neg_integer(),
               flight = none :: none | [entry()],
               full = queue:new() :: queue:queue([entry()]),
               lines = emmap_line:new() :: emmap_line:lines(),
               last_bulk = 0 :: integer(),
               bulk = #{} :: #{integer() => {emmap_line:side(), emmap_line:item()}},
               relays = #{} :: #{reference() => reference()}}).

%% Callers.

%% @doc The request of a process, in most cases the caller, and its reply. `not_connected': it was
%% never sent; `nodedown': it may have been done; `timeout': too, unless it still waited here or in a
%% line of the daemon.
-spec call(pid(), node(), weight(), term(), timeout()) -> outcome().
call(Pid, Node, Weight, Request, Timeout) ->
    case attempt(Pid, Node, Weight, Request, Timeout) of
        not_sent ->
            %% the lane ended just before: one more try, with a new one
            known(attempt(Pid, Node, Weight, Request, Timeout), Node);
        Outcome ->
            Outcome
    end.

%% @doc The first half of a call.
-spec send(node(), weight(), term()) -> ticket().
send(Node, Weight, Request) ->
    send(self(), Node, Weight, Request).

%% @doc The second half.
-spec await(ticket(), timeout()) -> outcome().
await({Node, Pid, Ref}, Timeout) ->
    known(receive_reply(Node, Pid, Ref, Timeout), Node).

%% @doc Nobody waits for this reply any more.
-spec abandon(ticket()) -> ok.
abandon({_Node, Pid, Ref}) ->
    _ = give_up(Pid, Ref),
    ok.

%% @doc A request without a reply. The caller waits, as a call does, once more than `max_casts'
%% are unsent.
-spec cast(node(), emmap_board:board(), weight(), term()) -> ok.
cast(Node, Board, {Kind, Bytes}, Request) ->
    Most = emmap_config:get(max_casts),
    Unsent = emmap_board:cast(Board),
    pid(Node) ! {Kind, Bytes, {self(), [], Request}},
    case Unsent > Most of
        true -> _ = call(self(), Node, {small, 64}, ping, infinity), ok;
        false -> ok
    end.

%% @doc A request whose answer gen_server:receive_response/2 and its like await.
-spec relay(node(), weight(), term()) -> reference().
relay(Node, {Kind, Bytes}, Request) ->
    Pid = pid(Node),
    Ref = erlang:monitor(process, Pid, [{alias, demonitor}]),
    Pid ! {relay, {Kind, Bytes, {self(), Ref, Request}}},
    Ref.

%% @doc The daemon is said to be there: connect now.
-spec nudge(node()) -> ok.
nudge(Node) ->
    pid(Node) ! nudge,
    ok.

attempt(Pid, Node, Weight, Request, Timeout) ->
    {Node, Lane, Ref} = send(Pid, Node, Weight, Request),
    receive_reply(Node, Lane, Ref, Timeout).

send(Pid, Node, {Kind, Bytes}, Request) ->
    Lane = pid(Node),
    Ref = erlang:monitor(process, Lane, [{alias, reply_demonitor}]),
    Lane ! {Kind, Bytes, {Pid, Ref, Request}},
    {Node, Lane, Ref}.

receive_reply(Node, Pid, Ref, Timeout) ->
    receive
        {Ref, Reply} -> {ok, Reply};
        {failed, Ref, Reason} -> {error, Reason};
        {'DOWN', Ref, process, _, Reason} -> why(Reason, Node)
    after Timeout ->
        give_up(Pid, Ref)
    end.

why(noproc, _Node) -> not_sent;
why({shutdown, {not_connected, _}}, _Node) -> not_sent;
why(_, Node) -> {error, {nodedown, Node}}.

known(not_sent, Node) -> {error, {not_connected, Node}};
known(Outcome, _Node) -> Outcome.

give_up(Pid, Ref) ->
    true = erlang:demonitor(Ref, [flush]),
    receive
        {Ref, Reply} -> {ok, Reply};
        {failed, Ref, Reason} -> {error, Reason}
    after 0 ->
        Pid ! {cancel, Ref},
        timeout
    end.

pid(Node) ->
    case whereis(Node) of
        undefined -> emmap_lane_sup:start_lane(Node);
        Pid -> Pid
    end.

%% The process.

-spec start_link(node()) -> {ok, pid()} | {error, {already_started, pid()}}.
start_link(Node) ->
    proc_lib:start_link(?MODULE, init, [self(), Node], infinity, [{message_queue_data, off_heap}]).

-spec init(pid(), node()) -> ok | no_return().
init(Parent, Node) ->
    try register(Node, self()) of
        true -> started(Parent, Node)
    catch
        error:badarg -> proc_lib:init_ack({error, {already_started, whereis(Node)}})
    end.

started(Parent, Node) ->
    Board = emmap_board:of_node(Node),
    ok = emmap_board:disconnected(Board),
    ok = emmap_watchdog:watch(Node),
    proc_lib:init_ack({ok, self()}),
    connect(?FIRST_PAUSE, queue:new(),
            #lane{node = Node, to = {emmap, Node}, parent = Parent, board = Board}).

-spec system_continue(pid(), [sys:dbg_opt()], {connecting | loop, [term()]}) -> no_return().
system_continue(_Parent, _Debug, {connecting, [Retry, Waiting, S]}) ->
    connecting(Retry, Waiting, S);
system_continue(_Parent, _Debug, {loop, [Open, N, Bytes, S]}) ->
    loop(Open, N, Bytes, S).

-spec system_terminate(term(), pid(), [sys:dbg_opt()], term()) -> no_return().
system_terminate(Reason, _Parent, _Debug, _State) ->
    exit(Reason).

-spec system_code_change(term(), module(), term(), term()) -> {ok, term()}.
system_code_change(State, _Module, _OldVsn, _Extra) ->
    {ok, State}.

%% Connecting. `Retry' is {under_way, Pause} or {at, Time, Pause}; `Waiting' has {Deadline, Item}.

%% Neither call blocks: the kernel sets the connection up and keeps the message meanwhile. The
%% answer to the ping tells that requests will be understood.
connect(Pause, Waiting, #lane{to = To} = S) ->
    Monitor = erlang:monitor(process, To),
    To ! {'$emmap_gather', self()},
    To ! {'$emmap', self(), 0, [{self(), Monitor, ping}]},
    connecting({under_way, Pause}, Waiting, S#lane{monitor = Monitor}).

connecting({at, Time, Pause} = Retry, Waiting, S) ->
    case {queue:is_empty(Waiting), Time - now_ms()} of
        {true, _} -> exit({shutdown, {not_connected, S#lane.node}});
        {false, Left} when Left =< 0 -> connect(Pause, Waiting, S);
        {false, _} -> connecting_loop(Retry, Waiting, S)
    end;
connecting(Retry, Waiting, S) ->
    connecting_loop(Retry, Waiting, S).

connecting_loop(Retry, Waiting, #lane{monitor = Monitor} = S) ->
    receive
        {'$emmap', 0, [pong], []} ->
            connected(Waiting, S);
        {'DOWN', Monitor, process, _, _} ->
            {under_way, Pause} = Retry,
            Next = {at, now_ms() + Pause, min(2 * Pause, ?LONGEST_PAUSE)},
            connecting(Next, Waiting, S);
        nudge ->
            connecting(sooner(Retry), Waiting, S);
        {relay, Item} ->
            {Own, S1} = relayed(Item, S),
            connecting(Retry, wait(Own, Waiting), S1);
        {Kind, _, {_, _, _}} = Item when Kind =:= small; Kind =:= out; Kind =:= in ->
            connecting(Retry, wait(Item, Waiting), S);
        {cancel, Ref} ->
            connecting(Retry, without(Ref, Waiting), S);
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, S#lane.parent, ?MODULE, [],
                                  {connecting, [Retry, Waiting, S]});
        Other ->
            connecting(Retry, Waiting, relay_message(Other, S))
    after time_left(Retry, Waiting) ->
        connecting(Retry, expire(now_ms(), Waiting, S), S)
    end.

sooner({at, _, Pause}) -> {at, now_ms(), Pause};
sooner(Retry) -> Retry.

wait(Item, Waiting) ->
    queue:in({deadline(emmap_config:get(connect_timeout)), Item}, Waiting).

deadline(infinity) -> infinity;
deadline(Ms) -> now_ms() + Ms.

without(Ref, Waiting) ->
    queue:filter(fun({_, {_, _, {_, R, _}}}) -> R =/= Ref end, Waiting).

time_left({under_way, _}, Waiting) ->
    time_left(queue:peek(Waiting));
time_left({at, Time, _}, Waiting) ->
    min(max(0, Time - now_ms()), time_left(queue:peek(Waiting))).

time_left({value, {Deadline, _}}) when is_integer(Deadline) -> max(0, Deadline - now_ms());
time_left(_) -> infinity.

expire(Now, Waiting, #lane{node = Node, board = Board} = S) ->
    case queue:peek(Waiting) of
        {value, {Deadline, {_, _, {_, Ref, _}}}} when Deadline =< Now ->
            _ = case Ref of
                    [] -> emmap_board:casts_left(Board, 1);
                    _ -> Ref ! {failed, Ref, {not_connected, Node}}
                end,
            expire(Now, queue:drop(Waiting), S);
        _ ->
            Waiting
    end.

connected(Waiting, #lane{board = Board} = S) ->
    ok = emmap_board:connected(Board),
    Items = [Item || {_, Item} <- queue:to_list(Waiting)],
    {Open, N, Bytes, S1} =
        lists:foldl(fun(Item, {Open, N, Bytes, Acc}) -> item(Item, Open, N, Bytes, Acc) end,
                    {[], 0, 0, S}, Items),
    loop(Open, N, Bytes, S1).

now_ms() ->
    erlang:monotonic_time(millisecond).

%% Connected. `Open' is the envelope that is gathered, its last entry first, N long.

loop(Open, N, Bytes, #lane{flight = Flight} = S) ->
    receive
        {small, More, Entry} ->
            next(small(More, Entry, Open, N, Bytes, S));
        {'$emmap', Id, Replies, Late} when Id > 0 ->
            answered(Replies, Late, Open, N, Bytes, S);
        {'$emmap_late', Answers} ->
            lists:foreach(fun({Ref, _} = Answer) -> Ref ! Answer end, Answers),
            loop(Open, N, Bytes, S#lane{hoped = length(Answers), yields = ?YIELDS});
        Other ->
            other(Other, Open, N, Bytes, S)
    after patience(Flight, Open) ->
        next(leave(Open, N, Bytes, S))
    end.

%% Those who have just got their late answers together may all call again, and are scheduled before
%% this process: a few yields let one envelope take what would else be three.
leave(Open, N, Bytes, #lane{hoped = Hoped, yields = Yields} = S) when N < Hoped, Yields > 0 ->
    _ = erlang:yield(),
    {Open, N, Bytes, S#lane{yields = Yields - 1}};
leave(Open, N, Bytes, S) ->
    send_envelope(Open, N, Bytes, S#lane{yields = 0}).

%% Without an envelope under way an open one leaves as soon as the mailbox is empty.
patience(none, [_ | _]) -> 0;
patience(_, _) -> infinity.

next({Open, N, Bytes, S}) ->
    loop(Open, N, Bytes, S).

%% The next envelope first: the daemon works while replies are handed out.
answered(Replies, Late, Open, N, Bytes, #lane{flight = Entries} = S) ->
    {Open1, N1, Bytes1, S1} = send_envelope(Open, N, Bytes, S#lane{flight = none}),
    ok = refused_casts(Entries, Replies, S),
    ok = hand_out(Entries, Replies, Late),
    loop(Open1, N1, Bytes1, S1).

other({Kind, _, {_, _, _}} = Item, Open, N, Bytes, S) when Kind =:= out; Kind =:= in ->
    next(item(Item, Open, N, Bytes, S));
other({relay, Item}, Open, N, Bytes, S) ->
    {Own, S1} = relayed(Item, S),
    next(item(Own, Open, N, Bytes, S1));
other({'$emmap', Id, Replies, Late}, Open, N, Bytes, S) when Id < 0 ->
    loop(Open, N, Bytes, bulk_answered(Id, Replies, Late, S));
other({cancel, Ref}, Open, N, Bytes, S) ->
    next(cancel(Ref, Open, N, Bytes, S));
other({'DOWN', Monitor, process, _, _}, _, _, _, #lane{monitor = Monitor} = S) ->
    ok = emmap_board:disconnected(S#lane.board),
    exit({shutdown, {nodedown, S#lane.node}});
other({'DOWN', Ref, process, _, _}, Open, N, Bytes, #lane{relays = Relays} = S) ->
    %% the process whose request we relay is dead
    next(cancel(Ref, Open, N, Bytes, S#lane{relays = maps:remove(Ref, Relays)}));
other({system, From, Request}, Open, N, Bytes, S) ->
    sys:handle_system_msg(Request, From, S#lane.parent, ?MODULE, [],
                          {loop, [Open, N, Bytes, S]});
other(Message, Open, N, Bytes, S) ->
    loop(Open, N, Bytes, relay_message(Message, S)).

item({small, More, Entry}, Open, N, Bytes, S) ->
    small(More, Entry, Open, N, Bytes, S);
item({_, _, {Pid, _, _}} = Bulk, Open, N, Bytes, #lane{lines = Lines} = S) ->
    After = last_envelope_with(Pid, Open, S),
    {Open, N, Bytes, pump(S#lane{lines = emmap_line:add(Bulk, After, Lines)})}.

small(More, {Pid, _, _} = Entry, Open, N, Bytes, #lane{lines = Lines} = S) ->
    case emmap_line:is_empty(Lines) orelse not emmap_line:has(Pid, Lines) of
        true ->
            full([Entry | Open], N + 1, Bytes + More, S);
        false ->
            %% behind its own bulk
            {Open, N, Bytes, S#lane{lines = emmap_line:add({small, More, Entry}, 0, Lines)}}
    end.

full(Open, N, Bytes, S) when N < ?FULL_COUNT, Bytes < ?FULL_BYTES ->
    {Open, N, Bytes, S};
full(Open, _N, _Bytes, #lane{flight = none} = S) ->
    {[], 0, 0, pump(post(lists:reverse(Open), S))};
full(Open, _N, _Bytes, #lane{full = Full} = S) ->
    {[], 0, 0, S#lane{full = queue:in(lists:reverse(Open), Full)}}.

send_envelope(Open, N, Bytes, #lane{full = Full} = S) ->
    case queue:out(Full) of
        {{value, Entries}, Rest} ->
            {Open, N, Bytes, pump(post(Entries, S#lane{full = Rest}))};
        {empty, _} when Open =:= [] ->
            {[], 0, 0, S};
        {empty, _} ->
            {[], 0, 0, pump(post(lists:reverse(Open), S))}
    end.

%% An answer with noconnect is followed by the monitor's message: nothing is to be done here.
post(Entries, #lane{to = To, sent = Sent} = S) ->
    _ = erlang:send(To, {'$emmap', self(), Sent + 1, Entries}, [noconnect]),
    ok = count_casts(Entries, S),
    S#lane{sent = Sent + 1, flight = Entries}.

count_casts(Entries, #lane{board = Board}) ->
    case emmap_board:unsent_casts(Board) of
        0 -> ok;
        _ -> emmap_board:casts_left(Board, length([[] || {_, [], _} <- Entries]))
    end.

%% Replies.

hand_out(Entries, {error, _} = Error, _) ->
    hand_out(Entries, [Error || {_, Ref, _} <- Entries, Ref =/= []], []);
hand_out(Entries, Replies, []) ->
    hand_out(Entries, Replies);
hand_out(Entries, Replies, Late) ->
    hand_out(without_late(0, Entries, Late), Replies).

hand_out([{_, [], _} | Entries], Replies) ->
    hand_out(Entries, Replies);
hand_out([{_, Ref, _} | Entries], [Reply | Replies]) ->
    Ref ! {Ref, Reply},
    hand_out(Entries, Replies);
hand_out([], []) ->
    ok.

%% Nothing was done of a message that was too long.
refused_casts(Entries, {error, _}, #lane{node = Node}) ->
    lists:foreach(fun({_, [], Request}) when is_integer(element(2, Request)) ->
                          emmap_board:refused(Node, element(2, Request));
                     (_) ->
                          ok
                  end, Entries);
refused_casts(_Entries, _Replies, _S) ->
    ok.

%% Those who are late get their answers from the daemon itself, at their aliases, or here, where
%% several are due at once.
without_late(_N, Entries, []) -> Entries;
without_late(N, [_ | Entries], [N | Late]) -> without_late(N + 1, Entries, Late);
without_late(N, [Entry | Entries], Late) -> [Entry | without_late(N + 1, Entries, Late)].

%% Bulk.

pump(#lane{lines = Lines} = S) ->
    case emmap_line:is_empty(Lines) of
        true -> S;
        false -> pump(emmap_line:next(S#lane.sent, Lines), S)
    end.

pump(none, S) ->
    S;
pump({Side, {_, _, Entry} = Item, Lines}, #lane{to = To, last_bulk = Last, bulk = Bulk} = S) ->
    _ = erlang:send(To, {'$emmap', self(), Last - 1, [Entry]}, [noconnect]),
    ok = count_casts([Entry], S),
    pump(S#lane{lines = Lines, last_bulk = Last - 1, bulk = Bulk#{Last - 1 => {Side, Item}}}).

bulk_answered(Id, Replies, Late, #lane{lines = Lines, bulk = Bulk} = S) ->
    {{Side, {_, Bytes, Entry}}, Rest} = maps:take(Id, Bulk),
    S1 = pump(S#lane{lines = emmap_line:done({Side, Bytes}, Lines), bulk = Rest}),
    ok = refused_casts([Entry], Replies, S),
    ok = hand_out([Entry], Replies, Late),
    S1.

%% The number of the last unsent envelope in which something of this process travels, 0: none.
last_envelope_with(Pid, Open, #lane{sent = Sent, full = Full}) ->
    Unsent = queue:to_list(Full) ++ [Open],
    Numbered = lists:zip(lists:seq(Sent + 1, Sent + length(Unsent)), Unsent),
    lists:max([0 | [Number || {Number, Entries} <- Numbered, lists:keymember(Pid, 1, Entries)]]).

%% Cancelling: what has not left never runs; of the rest the daemon is told.

cancel(Ref, Open, N, Bytes, #lane{lines = Lines} = S) ->
    case {lists:keytake(Ref, 2, Open), emmap_line:remove(Ref, Lines)} of
        {{value, _, Rest}, _} -> {Rest, N - 1, Bytes, S};
        {false, {ok, Fewer}} -> {Open, N, Bytes, pump(S#lane{lines = Fewer})};
        {false, none} -> {Open, N, Bytes, cancel_sent(Ref, S)}
    end.

cancel_sent(Ref, #lane{to = To, full = Full} = S) ->
    case lists:any(fun(Entries) -> lists:keymember(Ref, 2, Entries) end, queue:to_list(Full)) of
        true ->
            S#lane{full = queue:filter(fun(Es) -> [lists:keydelete(Ref, 2, Es)] end, Full)};
        false ->
            _ = erlang:send(To, {'$emmap_cancel', Ref}, [noconnect]),
            S
    end.

%% Relays: the request travels under an alias of the lane's own, which also watches the caller.

relayed({Kind, Bytes, {Pid, Ref, Request}}, #lane{relays = Relays} = S) ->
    Own = erlang:monitor(process, Pid, [{alias, reply_demonitor}]),
    {{Kind, Bytes, {Pid, Own, Request}}, S#lane{relays = Relays#{Own => Ref}}}.

relay_message({Own, Reply}, S) when is_reference(Own) -> relay_answer(Own, Reply, S);
relay_message({failed, Own, Reason}, S) -> relay_answer(Own, {error, Reason}, S);
relay_message({'DOWN', Own, process, _, _}, S) -> forget_relay(Own, S);
relay_message(_, S) -> S.

-dialyzer({no_improper_lists, relay_answer/3}).
relay_answer(Own, Reply, #lane{relays = Relays} = S) ->
    case maps:take(Own, Relays) of
        {Ref, Rest} ->
            Ref ! {[alias | Ref], Reply},
            S#lane{relays = Rest};
        error ->
            S
    end.

forget_relay(Own, #lane{relays = Relays} = S) ->
    S#lane{relays = maps:remove(Own, Relays)}.
