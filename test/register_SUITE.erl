%% Queues that are processes of the daemon: called, monitored and linked to as any process, by nodes
%% that have nothing of ours; their names outlive who gave them, and the daemon.
-module(register_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_queue_face, [call/2]).

-define(DEADLINE, 20000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{calls, [],
      [a_node_without_anything_of_ours_calls_it, the_functions_reach_it_by_name,
       casts_and_sent_requests_reach_it, multi_call_reaches_it, requests_are_those_of_queues,
       a_lease_is_the_callers]},
     {ties, [],
      [a_monitor_hears_the_end, a_monitor_that_is_no_more_hears_nothing,
       a_monitor_of_no_name_is_noproc, a_link_hears_the_end, a_lost_daemon_is_nodedown]},
     {names, [],
      [a_name_has_one_file, a_file_has_one_name, a_name_that_is_given_up_is_free,
       names_of_the_daemon_are_not_given, strange_names_are_names, a_name_outlives_its_giver,
       a_name_outlives_the_daemon, a_name_that_is_given_up_stays_so,
       a_file_that_has_gone_keeps_its_name]}].

init_per_suite(Config) ->
    emmap_face:start(Config).

end_per_suite(Config) ->
    emmap_face:stop(Config).

%%% Calls.

%% By functions of OTP alone: what runs on that node is gen_server.
a_node_without_anything_of_ours_calls_it(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, bare),
    #{peer := Peer} = emmap_test:node(Config),
    Call = fun(Request) -> peer:call(Peer, gen_server, call, [{bare, D}, Request], ?DEADLINE) end,
    ok = Call({push, {some, term}}),
    ok = Call({push_many, [a, b]}),
    3 = Call(length),
    {some, term} = Call(pop),
    {ok, a} = Call({pop_wait, 5000}),
    {ok, 3, 1, b} = Call({take, 5000}),
    {ok, 3, 2, b} = Call({take, 5000}), % who took it first has ended
    #{kind := queue, registered := <<"bare">>, items := 1} = Call(info),
    ok = Call(erase),
    nil = Call(pop),
    Loaded = peer:call(Peer, code, all_loaded, []),
    [emmap_test] = [Module || {Module, _} <- Loaded,
                              lists:prefix("emmap", atom_to_list(Module)),
                              Module =/= emmap_queue_face].

the_functions_reach_it_by_name(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, functions),
    on(?config(client, Config), fun() ->
        Q = {functions, D},
        ok = emmap_queue:push(Q, a),
        ok = emmap_queue:push(Q, zipped, 9),
        ok = emmap_queue:push_many(Q, [c, d]),
        a = emmap_queue:peek_front(Q),
        d = emmap_queue:peek_back(Q),
        4 = emmap_queue:length(Q),
        a = emmap_queue:pop(Q),
        {ok, 2, 1, zipped} = emmap_queue:take(Q),
        ok = emmap_queue:touch(Q, 2),
        ok = emmap_queue:ack(Q, 2),
        {ok, Sub} = emmap_queue:subscribe(Q, 1),
        receive {emmap_queue, Sub, 3, 1, c} -> ok after ?DEADLINE -> error(deadline) end,
        ok = emmap_queue:unsubscribe(Q, Sub),
        #{items := 2} = emmap_queue:info(Q),
        {'EXIT', {badarg, _}} = (catch emmap_queue:pop_many(Q, 0)),
        {'EXIT', {noproc, _}} = (catch emmap_queue:pop({nobody, D})),
        {'EXIT', {{nodedown, _}, _}} = (catch emmap_queue:pop({nobody, 'no_node@localhost'})),
        ok = emmap_queue:erase(Q)
    end).

casts_and_sent_requests_reach_it(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, casts),
    on(emmap_test:node(Config), fun() ->
        Waiting = gen_server:send_request({casts, D}, {take, infinity}),
        [ok = gen_server:cast({casts, D}, {push, N}) || N <- lists:seq(1, 100)],
        {reply, {ok, 1, 1, 1}} = gen_server:receive_response(Waiting, ?DEADLINE),
        ok = gen_server:cast({casts, D}, {kick, 1}),
        ok = gen_server:cast({casts, D}, nonsense),
        ok = gen_server:call({casts, D}, {ack, 1}),
        {ok, Items} = gen_server:call({casts, D}, {pop_many, 1000}),
        true = Items =:= lists:seq(2, 100),
        #{acked := 1} = gen_server:call({casts, D}, info)
    end).

multi_call_reaches_it(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, multi),
    on(emmap_test:node(Config), fun() ->
        {[{D, ok}], []} = gen_server:multi_call([D], multi, {push, a}, ?DEADLINE),
        {[{D, a}], []} = gen_server:multi_call([D], multi, pop, ?DEADLINE),
        {[], [D]} = gen_server:multi_call([D], nobody, pop, ?DEADLINE)
    end).

requests_are_those_of_queues(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, theirs),
    on(emmap_test:node(Config), fun() ->
        [{Request, {error, {unknown_request, _}}} = {Request, gen_server:call({theirs, D}, Request)}
         || Request <- [ping, list, clients, nonsense, {nonsense, 1}, {batch, [{push, a}]}, push,
                        {open_queue, "x", 0, []}, {close, 1}, {move_in, <<0:128>>, 1, 1, a}]],
        [{Request, {error, badarg}} = {Request, gen_server:call({theirs, D}, Request)}
         || Request <- [{ack, x}, {pop_many, 0}, {take, soon}, "text", 1, #{}, {}, {{pop}, 1}]],
        {theirs, D} ! stray,
        {theirs, D} ! {'$gen_call', not_from, pop},
        0 = gen_server:call({theirs, D}, length)
    end).

a_lease_is_the_callers(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, leases),
    on(emmap_test:node(Config), fun() ->
        ok = gen_server:call({leases, D}, {push, a}),
        {ok, 1, 1, a} = gen_server:call({leases, D}, take),
        [{error, not_leased}] =
            emmap_test:in_parallel([fun() -> gen_server:call({leases, D}, {ack, 1}) end]),
        %% the same item by its other ways
        ok = call(D, {touch, "a_lease_is_the_callers", 1}),
        ok = gen_server:call({leases, D}, {ack, 1})
    end).

%%% Ties.

a_monitor_hears_the_end(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, ending),
    on(emmap_test:node(Config), fun() ->
        First = monitor(process, {ending, D}),
        Second = monitor(process, {ending, D}),
        Waiting = gen_server:send_request({ending, D}, {take, infinity}),
        ok = gen_server:call({ending, D}, {push, a}), % it is silent while it lives
        {reply, {ok, 1, 1, a}} = gen_server:receive_response(Waiting, ?DEADLINE),
        unregistered(D, a_monitor_hears_the_end),
        [normal, normal] = [down(Monitor, {ending, D}) || Monitor <- [First, Second]],
        {'EXIT', {noproc, _}} = (catch gen_server:call({ending, D}, pop)),
        ok = call(D, {ack, "a_monitor_hears_the_end", 1}) % the queue is as it was
    end).

a_monitor_that_is_no_more_hears_nothing(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, unheard),
    on(emmap_test:node(Config), fun() ->
        Gone = monitor(process, {unheard, D}),
        There = monitor(process, {unheard, D}),
        true = demonitor(Gone),
        unregistered(D, a_monitor_that_is_no_more_hears_nothing),
        normal = down(There, {unheard, D}),
        receive {'DOWN', Gone, _, _, _} -> error(heard) after 0 -> ok end
    end).

a_monitor_of_no_name_is_noproc(Config) ->
    #{node := D} = ?config(daemon, Config),
    on(emmap_test:node(Config), fun() ->
        noproc = down(monitor(process, {nobody, D}), {nobody, D})
    end).

%% The daemon tells nobody its queues' pids; they are numbered from 2^20, and whoever asks for a
%% process of it learns the rest.
a_link_hears_the_end(Config) ->
    #{node := D} = emmap_test:daemon(Config, own(Config)),
    on(emmap_test:node(Config), fun() ->
        {ok, _, _} = call(D, {open_queue, "linked", 0, [{register, linked}]}),
        _ = process_flag(trap_exit, true),
        Queue = pid_of(1 bsl 20, spawn(D, nothing, nothing, [])),
        Other = pid_of((1 bsl 20) + 1, Queue),
        true = link(Queue),
        true = link(Other),
        receive {'EXIT', Other, noproc} -> ok after ?DEADLINE -> error(deadline) end,
        ok = gen_server:call(Queue, {push, a}),
        {ok, _, _} = call(D, {open_queue, "linked", 0, [{register, none}]}),
        receive {'EXIT', Queue, normal} -> ok after ?DEADLINE -> error(deadline) end
    end).

pid_of(Number, Pid) ->
    Bytes = term_to_binary(Pid),
    Head = byte_size(Bytes) - 12,
    <<Before:Head/binary, _:32, Rest:8/binary>> = Bytes,
    binary_to_term(<<Before/binary, Number:32, Rest/binary>>).

a_lost_daemon_is_nodedown(Config) ->
    Daemon = #{node := D} = emmap_test:start_daemon(Config, own(Config)),
    N = emmap_test:node(Config),
    Waiting = emmap_apps:in_background(N, [
        fun() ->
            {ok, _, _} = call(D, {open_queue, "lost", 0, [{register, lost}]}),
            down(monitor(process, {lost, D}), {lost, D})
        end,
        fun() -> catch gen_server:call({lost, D}, {take, infinity}, infinity) end]),
    on(N, fun() -> ok = until(fun() -> waits(lost, D) end) end),
    ok = emmap_test:kill_daemon(Daemon),
    [{First, _}, {Second, _}] = emmap_apps:await(Waiting),
    noconnection = First,
    {'EXIT', {Why, _}} = Second,
    true = Why =:= {nodedown, D} orelse Why =:= noproc. % it was asked before it was registered

waits(Name, D) ->
    try gen_server:call({Name, D}, info) of
        #{} -> true
    catch
        exit:_ -> false
    end.

%%% Names.

a_name_has_one_file(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, one),
    on(?config(client, Config), fun() ->
        {error, {already_registered, one}} = emmap_queue:open("another", 0, [{register, one}]),
        {error, enoent} = call(D, {length, "another"}), % nothing was made
        {ok, Q} = emmap_queue:open("a_name_has_one_file", 0, [{register, one}]),
        ok = emmap_queue:push(Q, a),
        a = emmap_queue:pop({one, D}),
        ok = emmap_queue:close(Q)
    end).

a_file_has_one_name(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, first_name),
    on(?config(client, Config), fun() ->
        Monitor = monitor(process, {first_name, D}),
        {ok, Q} = emmap_queue:open("a_file_has_one_name", 0, [{register, second_name}]),
        normal = down(Monitor, {first_name, D}),
        ok = emmap_queue:push({second_name, D}, a),
        {'EXIT', {noproc, _}} = (catch emmap_queue:pop({first_name, D})),
        #{registered := <<"second_name">>} = emmap_queue:info(Q),
        ok = emmap_queue:close(Q)
    end).

a_name_that_is_given_up_is_free(Config) ->
    #{node := D} = ?config(daemon, Config),
    registered(Config, ?FUNCTION_NAME, free),
    on(?config(client, Config), fun() ->
        ok = emmap_queue:push({free, D}, a),
        unregistered(D, a_name_that_is_given_up_is_free),
        {ok, Q} = emmap_queue:open("its_next_file", 0, [{register, free}]),
        nil = emmap_queue:pop({free, D}),
        ok = emmap_queue:close(Q),
        a = call(D, {pop, "a_name_that_is_given_up_is_free"})
    end).

names_of_the_daemon_are_not_given(Config) ->
    #{node := D} = ?config(daemon, Config),
    on(?config(client, Config), fun() ->
        [{error, {bad_option, {register, Name}}} =
             call(D, {open_queue, "not_given", 0, [{register, Name}]})
         || Name <- [emmap, net_kernel, "text", <<"binary">>, 1]],
        {error, enoent} = call(D, {length, "not_given"})
    end).

strange_names_are_names(Config) ->
    #{node := D} = ?config(daemon, Config),
    on(?config(client, Config), fun() ->
        Names = ['', ' ', 'a\tb', 'a\nb', 'a\\x', 'ä', '日本',
                 binary_to_atom(binary:copy(<<"ü"/utf8>>, 255))],
        [begin
             File = lists:concat(["strange", N]),
             case call(D, {open_queue, File, 0, [{register, Name}]}) of
                 {ok, _, _} ->
                     ok = gen_server:call({Name, D}, {push, N}),
                     N = gen_server:call({Name, D}, pop),
                     unregistered(D, File);
                 {error, {bad_option, {register, Name}}} ->
                     '' = Name
             end
         end || {N, Name} <- lists:zip(lists:seq(1, length(Names)), Names)]
    end).

a_name_outlives_its_giver(Config) ->
    #{node := D} = ?config(daemon, Config),
    Giver = emmap_test:node(Config),
    on(Giver, fun() ->
        {ok, _, _} = call(D, {open_queue, "outlives", 0, [{register, orphan}]})
    end),
    ok = emmap_test:stop_node(Giver),
    on(?config(client, Config), fun() ->
        ok = until(fun() -> maps:get(handles, call(D, {info, "outlives"})) =:= 0 end),
        ok = gen_server:call({orphan, D}, {push, a}),
        a = gen_server:call({orphan, D}, pop)
    end).

a_name_outlives_the_daemon(Config) ->
    Daemon = #{node := D} = emmap_test:start_daemon(Config, own(Config)),
    N = emmap_test:node(Config),
    on(N, fun() ->
        {ok, _, _} = call(D, {open_queue, "q", 0, [{register, lasting}]}),
        {ok, _, _} = call(D, {open_queue, "r", 0, [{register, 'as\tlasting'}]}),
        ok = gen_server:call({lasting, D}, {push, kept}),
        ok = gen_server:call({'as\tlasting', D}, {push, kept_too})
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Again = emmap_test:restart_daemon(Daemon),
    on(N, fun() ->
        ok = until(fun() -> (catch gen_server:call({lasting, D}, length)) =:= 1 end),
        kept = gen_server:call({lasting, D}, pop),
        Monitor = monitor(process, {'as\tlasting', D}),
        {ok, _, _} = call(D, {open_queue, "r", 0, [{register, none}]}),
        normal = down(Monitor, {'as\tlasting', D})
    end),
    _ = emmap_test:stop_daemon(Again),
    ok.

a_name_that_is_given_up_stays_so(Config) ->
    Daemon = #{node := D} = emmap_test:start_daemon(Config, own(Config)),
    N = emmap_test:node(Config),
    on(N, fun() ->
        {ok, _, _} = call(D, {open_queue, "given", 0, [{register, given}]}),
        ok = gen_server:call({given, D}, {push, a}),
        unregistered(D, "given")
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Again = emmap_test:restart_daemon(Daemon),
    on(N, fun() ->
        ok = until(fun() -> (catch call(D, ping)) =:= pong end),
        {'EXIT', {noproc, _}} = (catch gen_server:call({given, D}, length)),
        a = call(D, {pop, "given"})
    end),
    _ = emmap_test:stop_daemon(Again),
    ok.

%% It is somebody's mistake, and he hears of it at each call; the name waits for the file.
a_file_that_has_gone_keeps_its_name(Config) ->
    Daemon = #{node := D, data_dir := Dir} = emmap_test:start_daemon(Config, own(Config)),
    N = emmap_test:node(Config),
    on(N, fun() ->
        {ok, _, _} = call(D, {open_queue, "gone", 0, [{register, gone}]}),
        ok = gen_server:call({gone, D}, {push, a})
    end),
    _ = emmap_test:stop_daemon(Daemon),
    File = filename:join(Dir, "gone"),
    ok = file:rename(File, File ++ ".away"),
    Again = emmap_test:restart_daemon(Daemon),
    on(N, fun() ->
        ok = until(fun() -> (catch call(D, ping)) =:= pong end),
        {error, enoent} = gen_server:call({gone, D}, pop),
        {error, enoent} = gen_server:call({gone, D}, {push, b})
    end),
    ok = file:rename(File ++ ".away", File),
    on(N, fun() -> a = gen_server:call({gone, D}, pop) end),
    _ = emmap_test:stop_daemon(Again),
    ok.

%%% Internal.

%% Names are the data directory's: a daemon of a case's own has one of its own.
own(Config) ->
    #{data_dir => filename:join(?config(dir, Config), emmap_test:unique("data"))}.

%% A new queue of the case's own, registered; nobody has it open.
registered(Config, Case, Name) ->
    #{node := D} = ?config(daemon, Config),
    on(?config(client, Config), fun() ->
        {ok, Id, _} = call(D, {open_queue, atom_to_list(Case), 0, [{register, Name}]}),
        ok = call(D, {close, Id})
    end).

unregistered(D, File) ->
    {ok, Id, _} = call(D, {open_queue, lists:concat([File]), 0, [{register, none}]}),
    ok = call(D, {close, Id}).

down(Monitor, Object) ->
    receive
        {'DOWN', Monitor, process, Object, Reason} -> Reason
    after ?DEADLINE -> error(deadline)
    end.
