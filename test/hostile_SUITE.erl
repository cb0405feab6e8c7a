%% Peers that mean no good, one a case: a client beside them is served all the time, at once, and when
%% they are gone the daemon is what it was. emmap_hostile has the scripts.
-module(hostile_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1, until/2]).

-define(DEADLINE, 20000).
-define(AT_ONCE, 1000). % ms: a call beside a hostile peer, on a machine that has other work, too
-define(MOST_BYTES, (64 bsl 20)).

suite() ->
    [{timetrap, {minutes, 5}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{before_the_cookie, [],
      [silence, dripping_bytes, a_flood_of_connections, a_flood_of_silent_connections,
      a_flood_of_greetings, a_flood_of_wrong_digests, giant_handshakes, empty_handshakes,
      other_protocols, noise_before_the_cookie, names_of_no_form, replies_before_a_name,
      frames_before_the_cookie, greetings_cut_short, one_name_again_and_again]},
     {behind_the_cookie, [],
      [giant_frames, lengths_that_lie, half_frames, a_frame_that_never_ends,
      frames_of_no_bytes_and_of_one, deep_terms, huge_arities, atoms_of_1020_bytes,
      atoms_of_256_characters, big_integers, terms_cut_short, compressed_and_cached_terms,
      unlinks_by_odd_ids, control_messages_of_every_op]},
     {floods, [],
      [unknown_controls, casts_without_end, monitors_of_emmap, cancels_of_nothing,
      exits_of_everybody, messages_to_nobody, pings_of_net_kernel, ticks_without_end,
      system_messages, calls_of_other_nodes, a_spawn_storm, an_rpc_storm, links_to_spawned,
      consoles_without_end, lists_without_end, metrics_without_end, envelopes_of_lists,
      batches_without_end, monitors_by_the_million, links_by_the_hundred_thousand]},
     {holding, [],
      [a_reader_that_stops, waits_by_the_thousand, spawned_waits_by_the_thousand,
      waits_with_giant_tags, erpc_with_giant_tags, leases_by_the_thousand,
      subscriptions_by_the_thousand, handles_by_the_thousand, owners_by_the_thousand,
      files_by_the_hundred, giant_batches]},
     {mutations, [],
      [mutated_bytes_hurt_only_their_sender]},
     {load, [],
      [many_nodes_and_waiters_cost_what_they_are]}].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Daemon = emmap_test:start_daemon(Config, #{args => ["--handshake-timeout", "1000"]}),
    Node = emmap_test:start_node(Config, #{}),
    [{daemon, Daemon}, {client, Node} | Config].

end_per_suite(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

%%% One a script.

silence(Config) -> hostile(Config, ?FUNCTION_NAME).
dripping_bytes(Config) -> hostile(Config, ?FUNCTION_NAME).
a_flood_of_connections(Config) -> hostile(Config, ?FUNCTION_NAME).
a_flood_of_silent_connections(Config) -> hostile(Config, ?FUNCTION_NAME).
a_flood_of_greetings(Config) -> hostile(Config, ?FUNCTION_NAME).
a_flood_of_wrong_digests(Config) -> hostile(Config, ?FUNCTION_NAME).
giant_handshakes(Config) -> hostile(Config, ?FUNCTION_NAME).
empty_handshakes(Config) -> hostile(Config, ?FUNCTION_NAME).
other_protocols(Config) -> hostile(Config, ?FUNCTION_NAME).
noise_before_the_cookie(Config) -> hostile(Config, ?FUNCTION_NAME).
names_of_no_form(Config) -> hostile(Config, ?FUNCTION_NAME).
replies_before_a_name(Config) -> hostile(Config, ?FUNCTION_NAME).
frames_before_the_cookie(Config) -> hostile(Config, ?FUNCTION_NAME).
greetings_cut_short(Config) -> hostile(Config, ?FUNCTION_NAME).
one_name_again_and_again(Config) -> hostile(Config, ?FUNCTION_NAME).
giant_frames(Config) -> hostile(Config, ?FUNCTION_NAME).
lengths_that_lie(Config) -> hostile(Config, ?FUNCTION_NAME).
half_frames(Config) -> hostile(Config, ?FUNCTION_NAME).
a_frame_that_never_ends(Config) -> hostile(Config, ?FUNCTION_NAME).
frames_of_no_bytes_and_of_one(Config) -> hostile(Config, ?FUNCTION_NAME).
deep_terms(Config) -> hostile(Config, ?FUNCTION_NAME).
huge_arities(Config) -> hostile(Config, ?FUNCTION_NAME).
atoms_of_1020_bytes(Config) -> hostile(Config, ?FUNCTION_NAME).
atoms_of_256_characters(Config) -> hostile(Config, ?FUNCTION_NAME).
big_integers(Config) -> hostile(Config, ?FUNCTION_NAME).
terms_cut_short(Config) -> hostile(Config, ?FUNCTION_NAME).
compressed_and_cached_terms(Config) -> hostile(Config, ?FUNCTION_NAME).
unlinks_by_odd_ids(Config) -> hostile(Config, ?FUNCTION_NAME).
control_messages_of_every_op(Config) -> hostile(Config, ?FUNCTION_NAME).
unknown_controls(Config) -> hostile(Config, ?FUNCTION_NAME).
casts_without_end(Config) -> hostile(Config, ?FUNCTION_NAME).
monitors_of_emmap(Config) -> hostile(Config, ?FUNCTION_NAME).
cancels_of_nothing(Config) -> hostile(Config, ?FUNCTION_NAME).
exits_of_everybody(Config) -> hostile(Config, ?FUNCTION_NAME).
messages_to_nobody(Config) -> hostile(Config, ?FUNCTION_NAME).
pings_of_net_kernel(Config) -> hostile(Config, ?FUNCTION_NAME).
ticks_without_end(Config) -> hostile(Config, ?FUNCTION_NAME).
system_messages(Config) -> hostile(Config, ?FUNCTION_NAME).
calls_of_other_nodes(Config) -> hostile(Config, ?FUNCTION_NAME).
a_spawn_storm(Config) -> hostile(Config, ?FUNCTION_NAME).
an_rpc_storm(Config) -> hostile(Config, ?FUNCTION_NAME).
links_to_spawned(Config) -> hostile(Config, ?FUNCTION_NAME).
consoles_without_end(Config) -> hostile(Config, ?FUNCTION_NAME).
lists_without_end(Config) -> hostile(Config, ?FUNCTION_NAME).
metrics_without_end(Config) -> hostile(Config, ?FUNCTION_NAME).
envelopes_of_lists(Config) -> hostile(Config, ?FUNCTION_NAME).
batches_without_end(Config) -> hostile(Config, ?FUNCTION_NAME).
monitors_by_the_million(Config) -> hostile(Config, ?FUNCTION_NAME).
links_by_the_hundred_thousand(Config) -> hostile(Config, ?FUNCTION_NAME).
a_reader_that_stops(Config) -> hostile(Config, ?FUNCTION_NAME).
waits_by_the_thousand(Config) -> hostile(Config, ?FUNCTION_NAME).
spawned_waits_by_the_thousand(Config) -> hostile(Config, ?FUNCTION_NAME).
waits_with_giant_tags(Config) -> hostile(Config, ?FUNCTION_NAME).
erpc_with_giant_tags(Config) -> hostile(Config, ?FUNCTION_NAME).
leases_by_the_thousand(Config) -> hostile(Config, ?FUNCTION_NAME).
subscriptions_by_the_thousand(Config) -> hostile(Config, ?FUNCTION_NAME).
handles_by_the_thousand(Config) -> hostile(Config, ?FUNCTION_NAME).
owners_by_the_thousand(Config) -> hostile(Config, ?FUNCTION_NAME).
files_by_the_hundred(Config) -> hostile(Config, ?FUNCTION_NAME).
giant_batches(Config) -> hostile(Config, ?FUNCTION_NAME).

%%% Streams that were right, with something wrong in them.

mutated_bytes_hurt_only_their_sender(Config) ->
    N = number("EMMAP_MUTATIONS", 2000),
    _ = ct:timetrap(60000 + N * 20),
    beside(Config, fun(Context) ->
        Workers = 4,
        Sent = emmap_test:in_parallel([fun() -> emmap_mutation:run(Context, I, N div Workers) end
                                       || I <- lists:seq(1, Workers)]),
        All = #{mutations := Done} = lists:foldl(fun sum/2, #{}, Sent),
        io:format(user, "~n~p~n", [All]),
        true = Done =:= N div Workers * Workers
    end).

sum(Some, All) ->
    maps:merge_with(fun(_, A, B) -> A + B end, Some, All).

%%% Many that mean well.

many_nodes_and_waiters_cost_what_they_are(Config) ->
    Ms = number("EMMAP_LOAD_MS", 3000),
    _ = ct:timetrap(Ms + 120000),
    Size = #{nodes => number("EMMAP_LOAD_NODES", 50), waiters => number("EMMAP_LOAD_WAITERS", 2000)},
    beside(Config, fun(Context) ->
        Samples = emmap_crowd:run(Context, Size, Ms),
        ok = emmap_crowd:print(Samples),
        [] = emmap_crowd:rises(Samples)
    end).

%%% Internal.

hostile(Config, Name) ->
    beside(Config, fun(Context) -> emmap_hostile:attack(Name, Context) end).

%% Runs the fun in a process of its own, whose sockets end with it, beside a client that calls all
%% the time.
beside(Config, Fun) ->
    #{node := D, port := Port} = ?config(daemon, Config),
    Context = #{node => D, port => Port, cookie => ?config(cookie, Config), queue => "hostile.queue",
                jobs => hostile_jobs},
    Before = at(Config, fun(_) -> rested(D) end),
    at(Config, fun(_) -> start_probe(D) end),
    Result = attempt(Fun, Context),
    Probed = at(Config, fun(_) -> stop_probe() end),
    ct:pal("before ~p~nbeside ~p", [Before, Probed]),
    ok = Result,
    ok = served_at_once(Probed, Before),
    at(Config, fun(_) -> until_rested(D, Before) end).

attempt(Fun, Context) ->
    try
        _ = emmap_test:in_parallel([fun() -> Fun(Context) end]),
        ok
    catch
        error:Reason -> {error, Reason}
    end.

served_at_once(#{calls := Calls, worst_ms := Worst, most_rss := Most}, #{rss := Rss}) ->
    true = Calls > 0,
    {worst_ms, true} = {worst_ms, Worst < ?AT_ONCE},
    {megabytes, true, _} = {megabytes, Most - Rss < ?MOST_BYTES, (Most - Rss) bsr 20},
    ok.

%% On the client's node. The queue is open and registered, and has nothing.
rested(D) ->
    {ok, Id, _} = call(D, {open_queue, "hostile.queue", 0, [{register, hostile_jobs}]}),
    ok = call(D, {close, Id}),
    {ok, _} = call(D, {read_counter, counter(D), 0}),
    maps:with([rss, fds, objects], call(D, info)).

%% An id of the client's connection, which no other may cost it.
counter(D) ->
    case persistent_term:get(counter, none) of
        none ->
            {ok, Id, _} = call(D, {open_counters, "good.counter", 1}),
            persistent_term:put(counter, Id),
            Id;
        Id ->
            Id
    end.

start_probe(D) ->
    true = register(probe, spawn(fun() -> probe(D, counter(D), 0, 0, 0) end)),
    ok.

probe(D, Id, Calls, Worst, Most) ->
    Start = erlang:monotonic_time(),
    {ok, _} = call(D, {inc_counter, Id, 0, 1}),
    #{rss := Rss} = call(D, info),
    Took = erlang:convert_time_unit(erlang:monotonic_time() - Start, native, millisecond),
    receive
        {stop, From} ->
            From ! {probed, #{calls => Calls + 1, worst_ms => max(Worst, Took), most_rss => max(Most, Rss)}}
    after 1 ->
        probe(D, Id, Calls + 1, max(Worst, Took), max(Most, Rss))
    end.

stop_probe() ->
    Monitor = monitor(process, probe),
    probe ! {stop, self()},
    receive
        {probed, Result} -> true = demonitor(Monitor, [flush]), Result;
        {'DOWN', Monitor, process, _, Reason} -> error({probe, Reason})
    after ?DEADLINE -> error(deadline)
    end.

%% The peers' connections are gone, and with them all that was theirs.
until_rested(D, #{rss := Rss, fds := Fds, objects := Objects}) ->
    ok = until(fun() -> [maps:get(node, Client) || Client <- call(D, clients)] =:= [node()]
                        orelse {clients, call(D, clients)} end),
    ok = until(fun() ->
        #{waiting := Waiting, subscribers := Subscribers, leased := Leased, handles := Handles} =
            call(D, {info, "hostile.queue"}),
        {0, 0, 0, 0} =:= {Waiting, Subscribers, Leased, Handles}
            orelse {queue, Waiting, Subscribers, Leased, Handles}
    end),
    ok = until(fun() ->
        #{rss := Rss1, fds := Fds1, objects := Objects1} = call(D, info),
        (Rss1 - Rss < ?MOST_BYTES andalso Fds1 - Fds =< max(0, Objects1 - Objects))
            orelse {left, (Rss1 - Rss) bsr 20, Fds1 - Fds, Objects1 - Objects}
    end),
    [] = [Process || Process <- rpc:call(D, erlang, processes, []), not is_known(D, Process)],
    ok.

%% emmap, net_kernel, rex and the queue; and the process that answers this.
is_known(D, Process) ->
    rpc:call(D, erlang, is_process_alive, [Process]) =:= false
        orelse rpc:call(D, erlang, process_info, [Process, registered_name]) =/= [].

%% Runs the fun with the daemon's name on the suite's client node.
at(Config, Fun) ->
    #{node := D} = ?config(daemon, Config),
    on(?config(client, Config), fun() -> Fun(D) end).

call(D, Request) ->
    gen_server:call({emmap, D}, Request, ?DEADLINE).

number(Variable, Default) ->
    list_to_integer(os:getenv(Variable, integer_to_list(Default))).
