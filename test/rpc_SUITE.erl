%% What emmapd serves to rpc and erpc beyond what any node does (beam_SUITE): the requests of the
%% table as functions, whose leases are whose, what tools ask of it.
-module(rpc_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).

-define(DEADLINE, 20000).
-define(SHORT, 50). % a time that is meant to pass

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [a_bare_node_needs_nothing_of_ours, erl_call_is_answered, functions_give_what_the_wire_does,
     every_function_of_the_wrapper_is_served, bare_functions_raise, an_item_may_look_like_an_error,
     a_handle_is_of_the_node_that_opened_it, a_queue_is_called_by_its_registered_name,
     a_lease_is_the_callers, a_lease_ends_with_the_caller, a_lease_ends_with_the_callers_node,
     a_wait_that_is_given_up_leaves_the_line, a_caller_that_dies_leaves_the_line,
     a_spawned_wait_ends_with_its_parent, many_callers_wait_at_once, many_callers_count_at_once,
     long_values_travel, functions_of_the_same_caller_keep_their_order,
     the_state_of_a_queue_is_told, figures_are_the_same_by_rpc, processes_are_told_of,
     a_process_tells_of_its_links_and_monitors, the_node_tells_of_itself].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Daemon = emmap_test:start_daemon(Config, #{}),
    Node = emmap_test:start_node(Config, #{}),
    [{daemon, Daemon}, {client, Node} | Config].

end_per_suite(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

%%% From anywhere.

a_bare_node_needs_nothing_of_ours(Config) ->
    #{node := D} = ?config(daemon, Config),
    Expression = io_lib:format("{ok, _, _} = rpc:call('~s', emmap, open_counters, [\"bare\", 1]), "
                               "{ok, 0} = rpc:call('~s', emmap, inc_counter, [\"bare\", 0, 5]), "
                               "io:put_chars(io_lib:print(rpc:call('~s', emmap, inc_counter, "
                               "[\"bare\", 0]))), halt().", [D, D, D]),
    "{ok,5}" = command(Config, "erl -noinput -sname '~s' -setcookie ~s -eval '~s'",
                       [emmap_test:unique("bare") ++ "@localhost", ?config(cookie, Config),
                        lists:append(string:replace(Expression, "'", "'\\''", all))]).

erl_call_is_answered(Config) ->
    "pong" = erl_call(Config, "emmap ping"),
    "{ok, " ++ _ = erl_call(Config, "emmap open_counters [\"called\",2]"),
    "{ok, 0}" = erl_call(Config, "emmap inc_counter [\"called\",1,7]"),
    "{ok, 7}" = erl_call(Config, "emmap read_counter [\"called\",1]"),
    "{badrpc, {'EXIT', {undef, [{emmap, nosuch, [1], []}]}}}" =
        erl_call(Config, "emmap nosuch [1]").

erl_call(Config, Call) ->
    #{node := D} = ?config(daemon, Config),
    [Program | _] = filelib:wildcard(filename:join([code:root_dir(), "erts-*", "bin", "erl_call"])),
    command(Config, "~s -sname ~s -c ~s -a '~s'", [Program, D, ?config(cookie, Config), Call]).

command(Config, Format, Args) ->
    Command = lists:flatten(io_lib:format("ERL_EPMD_PORT=~b HOME=~s " ++ Format,
                                          [?config(epmd, Config), ?config(dir, Config) | Args])),
    string:trim(os:cmd(Command)).

%%% Functions.

functions_give_what_the_wire_does(Config) ->
    at(Config, fun(D) ->
        Name = lists:concat([?FUNCTION_NAME]),
        {ok, Id, #{kind := region}} =
            erpc:call(D, emmap, open, [Name, 0, 64, [create, read, write]]),
        ok = rpc:call(D, emmap, pwrite, [Id, 0, <<"hello">>]),
        {ok, <<"hello">>} = erpc:call(D, emmap, pread, [Id, 0, 5]),
        {ok, <<"hello">>} = call(D, {pread, Name, 0, 5}),
        {ok, 0} = erpc:call(D, emmap, patomic_add, [Id, 8, 3]),
        {ok, [pong, {ok, 3}]} =
            erpc:call(D, emmap, batch, [[ping, {patomic_read_integer, Id, 8}]]),
        {ok, 128} = erpc:call(D, emmap, resize, [Id]),
        {error, alignment} = erpc:call(D, emmap, patomic_add, [Id, 9, 3]),
        {error, badarg} = rpc:call(D, emmap, patomic_add, [Id, foo, 3]),
        ok = erpc:call(D, emmap, close, [Id]),
        {error, closed} = erpc:call(D, emmap, pread, [Id, 0, 1])
    end).

%% Each takes what a call of the wrong kind gets: the function is there.
every_function_of_the_wrapper_is_served(Config) ->
    Here = [{emmap, F, A} || {F, A} <- emmap:module_info(exports)]
        ++ [{emmap_queue, F, A} || {F, A} <- emmap_queue:module_info(exports)],
    Left = on(?config(client, Config), fun() ->
        #{node := D} = ?config(daemon, Config),
        lists:usort([{M, F, A} || {M, F, A} <- Here, is_undef(D, M, F, A)])
    end),
    Unserved = lists:usort([{M, F} || {M, F, _} <- Left]),
    [] = Unserved -- wrapper_alone().

%% What takes a fun or compresses, has a cursor, is many requests, or is of processes of the calling
%% node.
wrapper_alone() ->
    [{emmap, F} || F <- [module_info, batch, call, cast, send_request, format_error, position, read,
                         read_blocks, read_line, repair_block_storage, truncate, write]]
        ++ [{emmap_queue, F} || F <- [module_info, barrier, child_spec, peek, pop, push, push_async,
                                      rpeek, start_link, subscribe, try_dequeue, try_pop,
                                      try_pop_and_purge]].

is_undef(D, M, F, A) ->
    case rpc:call(D, M, F, lists:duplicate(A, [])) of
        {badrpc, {'EXIT', {undef, _}}} -> true;
        _ -> false
    end.

bare_functions_raise(Config) ->
    at(Config, fun(D) ->
        {badrpc, {'EXIT', {enoent, [{emmap_queue, length, 1, _}]}}} =
            rpc:call(D, emmap_queue, length, ["nosuch"]),
        try erpc:call(D, emmap_queue, pop, ["nosuch"]) of
            Got -> error({got, Got})
        catch
            error:{exception, enoent, [{emmap_queue, pop, 1, _}]} -> ok
        end
    end).

an_item_may_look_like_an_error(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, []),
        [ok = erpc:call(D, emmap_queue, push, [Q, T]) || T <- [{error, x}, nil]],
        {error, x} = erpc:call(D, emmap_queue, peek_front, [Q]),
        {error, x} = erpc:call(D, emmap_queue, pop, [Q]),
        {ok, nil} = erpc:call(D, emmap_queue, pop_wait, [Q, 0]),
        nil = erpc:call(D, emmap_queue, pop, [Q]),
        true = erpc:call(D, emmap_queue, is_empty, [Q]),
        empty = erpc:call(D, emmap_queue, pop_wait, [Q, 0])
    end).

a_handle_is_of_the_node_that_opened_it(Config) ->
    #{node := D} = ?config(daemon, Config),
    Id = at(Config, fun(_) ->
        {ok, Id, _} = erpc:call(D, emmap, open_counters, [lists:concat([?FUNCTION_NAME])]),
        {ok, 0} = call(D, {inc_counter, Id, 0}),
        Id
    end),
    Other = emmap_test:node(Config),
    on(Other, fun() -> {error, stale} = erpc:call(D, emmap, inc_counter, [Id, 0]) end),
    at(Config, fun(_) -> {ok, 1} = erpc:call(D, emmap, inc_counter, [Id, 0]) end),
    emmap_test:stop_node(Other).

a_queue_is_called_by_its_registered_name(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, [{register, a_name}]),
        ok = rpc:call(D, emmap_queue, push, [a_name, job]),
        job = rpc:call(D, emmap_queue, peek_front, [Q]),
        job = gen_server:call({a_name, D}, pop)
    end).

%%% Leases and lines.

a_lease_is_the_callers(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, []),
        ok = erpc:call(D, emmap_queue, push, [Q, job]),
        {ok, Id, 1, job} = erpc:call(D, emmap_queue, take, [Q]),
        [{error, not_leased}] = emmap_test:in_parallel(
            [fun() -> erpc:call(D, emmap_queue, ack, [Q, Id]) end]),
        ok = call(D, {ack, Q, Id}), % by whatever way it comes
        0 = erpc:call(D, emmap_queue, length, [Q])
    end).

a_lease_ends_with_the_caller(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, []),
        ok = erpc:call(D, emmap_queue, push, [Q, job]),
        [{ok, _, 1, job}] = emmap_test:in_parallel(
            [fun() -> rpc:call(D, emmap_queue, take, [Q]) end]),
        {ok, _, 2, job} = rpc:call(D, emmap_queue, take, [Q, ?DEADLINE])
    end).

a_lease_ends_with_the_callers_node(Config) ->
    #{node := D} = ?config(daemon, Config),
    Q = lists:concat([?FUNCTION_NAME]),
    Other = emmap_test:node(Config),
    on(Other, fun() ->
        queue(D, ?FUNCTION_NAME, []),
        ok = erpc:call(D, emmap_queue, push, [Q, job]),
        {ok, _, 1, job} = erpc:call(D, emmap_queue, take, [Q])
    end),
    emmap_test:stop_node(Other),
    at(Config, fun(_) -> {ok, _, 2, job} = erpc:call(D, emmap_queue, take, [Q, ?DEADLINE]) end).

a_wait_that_is_given_up_leaves_the_line(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, []),
        {badrpc, timeout} = rpc:call(D, emmap_queue, pop_wait, [Q, infinity], ?SHORT),
        ok = erpc:call(D, emmap_queue, push, [Q, job]),
        1 = erpc:call(D, emmap_queue, length, [Q])
    end).

a_caller_that_dies_leaves_the_line(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, []),
        {Pid, Monitor} = spawn_monitor(fun() -> rpc:call(D, emmap_queue, take, [Q, infinity]) end),
        until(fun() -> waiting(D, Q) =:= 1 end),
        exit(Pid, kill),
        receive {'DOWN', Monitor, _, _, killed} -> ok end,
        until(fun() -> waiting(D, Q) =:= 0 end),
        ok = erpc:call(D, emmap_queue, push, [Q, job]),
        1 = erpc:call(D, emmap_queue, length, [Q])
    end).

a_spawned_wait_ends_with_its_parent(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, []),
        Self = self(),
        Parent = spawn(fun() ->
            Self ! {waits, spawn_link(D, emmap_queue, pop_wait, [Q, infinity])},
            receive never -> ok end
        end),
        Waits = receive {waits, Pid} -> Pid end,
        Monitor = monitor(process, Waits),
        until(fun() -> waiting(D, Q) =:= 1 end),
        exit(Parent, shutdown),
        receive {'DOWN', Monitor, process, Waits, shutdown} -> ok end,
        0 = waiting(D, Q)
    end).

many_callers_wait_at_once(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, []),
        N = 500,
        Waits = fun() -> erpc:call(D, emmap_queue, pop_wait, [Q, ?DEADLINE]) end,
        Pushes = fun() ->
            until(fun() -> waiting(D, Q) =:= N end),
            erpc:call(D, emmap_queue, push_many, [Q, lists:seq(1, N)])
        end,
        [ok | Got] = emmap_test:in_parallel([Pushes | lists:duplicate(N, Waits)]),
        true = lists:sort(Got) =:= [{ok, I} || I <- lists:seq(1, N)]
    end).

many_callers_count_at_once(Config) ->
    at(Config, fun(D) ->
        Name = lists:concat([?FUNCTION_NAME]),
        {ok, _, _} = rpc:call(D, emmap, open_counters, [Name]),
        Old = emmap_test:in_parallel(
            lists:duplicate(1000, fun() -> rpc:call(D, emmap, inc_counter, [Name, 0]) end)),
        true = lists:sort(Old) =:= [{ok, N} || N <- lists:seq(0, 999)]
    end).

long_values_travel(Config) ->
    at(Config, fun(D) ->
        Name = lists:concat([?FUNCTION_NAME]),
        Size = 20 bsl 20,
        {ok, _, _} = erpc:call(D, emmap, open, [Name, 0, Size, [create, read, write]]),
        Bytes = binary:copy(<<"0123456789abcdef">>, Size div 16),
        ok = erpc:call(D, emmap, pwrite, [Name, 0, Bytes]),
        {ok, Bytes} = erpc:call(D, emmap, pread, [Name, 0, Size])
    end).

functions_of_the_same_caller_keep_their_order(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, []),
        [true = rpc:cast(D, emmap_queue, push, [Q, N]) || N <- lists:seq(1, 500)],
        ok = call(D, {push, Q, 501}),
        {ok, Got} = erpc:call(D, emmap_queue, pop_many, [Q, 1000]),
        true = Got =:= lists:seq(1, 501)
    end).

%%% What tools ask.

the_state_of_a_queue_is_told(Config) ->
    at(Config, fun(D) ->
        queue(D, ?FUNCTION_NAME, [{register, told}]),
        ok = gen_server:call({told, D}, {push, job}),
        #{ready := 1, registered := <<"told">>} = sys:get_state({told, D}),
        Pid = erpc:call(D, erlang, whereis, [told]),
        {status, Pid, {module, emmap_queue}, [[], running, Pid, [], #{ready := 1}]} =
            sys:get_status(Pid),
        #{ready := 1} = erpc:call(D, sys, get_state, [told]),
        {status, Pid, _, _} = erpc:call(D, sys, get_status, [Pid]),
        #{uptime_ms := _} = sys:get_state({emmap, D}),
        {badrpc, {'EXIT', {noproc, {sys, get_state, [nosuch]}}}} =
            rpc:call(D, sys, get_state, [nosuch])
    end).

figures_are_the_same_by_rpc(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, []),
        [Keys, Keys] = [lists:sort(maps:keys(Info))
                        || Info <- [call(D, {info, Q}), erpc:call(D, emmap_queue, info, [Q])]],
        [Node, Node] = [lists:sort(maps:keys(Info))
                        || Info <- [call(D, info), erpc:call(D, emmap, info, [D])]],
        [#{node := _} | _] = erpc:call(D, emmap, clients, []),
        [#{name := _} | _] = erpc:call(D, emmap, list, [D]),
        <<"# ", _/binary>> = erpc:call(D, emmap, metrics, []),
        D = erpc:call(D, emmap, which_node, [])
    end).

processes_are_told_of(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, [{register, present}]),
        Waits = spawn(D, emmap_queue, pop_wait, [Q, infinity]),
        Pid = erpc:call(D, erlang, whereis, [present]),
        All = erpc:call(D, erlang, processes, []),
        [] = [Pid, Waits] -- All,
        [] = [emmap, net_kernel, rex, present] -- erpc:call(D, erlang, registered, []),
        true = lists:all(fun(P) -> node(P) =:= D end, All),
        true = erpc:call(D, erlang, is_process_alive, [Waits]),
        exit(Waits, kill),
        false = erpc:call(D, erlang, is_process_alive, [Waits]),
        undefined = erpc:call(D, erlang, process_info, [Waits]),
        undefined = erpc:call(D, erlang, whereis, [absent])
    end).

a_process_tells_of_its_links_and_monitors(Config) ->
    at(Config, fun(D) ->
        Q = queue(D, ?FUNCTION_NAME, [{register, tied}]),
        Pid = erpc:call(D, erlang, whereis, [tied]),
        Self = self(),
        link(Pid),
        Monitor = monitor(process, Pid),
        {registered_name, tied} = rpc:pinfo(Pid, registered_name),
        {links, [Self]} = rpc:pinfo(Pid, links),
        {monitored_by, [Self]} = rpc:pinfo(Pid, monitored_by),
        [{message_queue_len, 0}, {status, waiting}] =
            rpc:pinfo(Pid, [message_queue_len, status]),
        {badrpc, {'EXIT', {badarg, _}}} = rpc:pinfo(Pid, nosuch),
        unlink(Pid),
        demonitor(Monitor),
        {links, []} = rpc:pinfo(Pid, links),
        ok = call(D, {push, Q, job}),
        {ok, _, _, job} = call(D, {take, Q}), % so it watches this process
        {monitors, Watched} = rpc:pinfo(erpc:call(D, erlang, whereis, [emmap]), monitors),
        true = lists:member({process, Self}, Watched)
    end).

the_node_tells_of_itself(Config) ->
    at(Config, fun(D) ->
        D = erpc:call(D, erlang, node, []),
        "emmapd " ++ _ = erpc:call(D, erlang, system_info, [system_version]),
        {_, _} = string:to_integer(erpc:call(D, erlang, system_info, [otp_release])),
        Total = proplists:get_value(total, erpc:call(D, erlang, memory, [])),
        true = Total > 1000000,
        [{emmap, _, Version}] = erpc:call(D, application, which_applications, []),
        #{version := Binary} = call(D, info),
        Version = binary_to_list(Binary),
        #{os_pid := OsPid} = call(D, info),
        OsPid = list_to_integer(erpc:call(D, os, getpid, []))
    end).

%% Internal.

at(Config, Fun) ->
    #{node := D} = ?config(daemon, Config),
    on(?config(client, Config), fun() -> Fun(D) end).

call(D, Request) ->
    gen_server:call({emmap, D}, Request, ?DEADLINE).

queue(D, Function, Options) ->
    Name = lists:concat([Function]),
    {ok, _, _} = erpc:call(D, emmap_queue, open, [Name, 0, Options]),
    Name.

waiting(D, Q) ->
    #{waiting := N} = call(D, {info, Q}),
    N.
