%% How a node behaves: one list of cases, run against a node of Erlang's own with a stand-in for
%% what emmapd serves (group beam), and against emmapd (group emmapd). What differs is no case here;
%% PROTOCOL.md has it.
-module(beam_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2]).
-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).

-define(DEADLINE, 20000).
-define(SHORT, 50). % a time that is meant to pass

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, beam}, {group, emmapd}].

groups() ->
    [{Kind, [], rpc() ++ erpc() ++ spawning() ++ exits() ++ monitors() ++ links() ++ calls()
      ++ messages() ++ questions() ++ connections()} || {group, Kind} <- all()].

rpc() ->
    [rpc_calls_a_function, rpc_hands_the_arguments_over, rpc_carries_any_term,
     rpc_of_an_unknown_function_is_undef, rpc_of_an_unknown_module_is_undef,
     rpc_of_another_arity_is_undef, rpc_of_bytes_keeps_them_in_the_stack,
     rpc_of_a_function_that_raises_tells_why_and_where, rpc_of_a_function_that_exits_tells_why,
     rpc_applies_a_function, rpc_of_a_fun_of_another_arity_is_badarity, rpc_gives_up_at_once,
     rpc_gives_up_after_a_time, rpc_waits_with_the_function, rpc_cast_is_done,
     rpc_cast_of_an_unknown_function_is_nothing, rpc_async_call_is_answered_later,
     rpc_nb_yield_does_not_wait, rpc_multicall_names_the_bad_nodes,
     rpc_multicall_of_an_unknown_function_is_undef, rpc_multicall_gives_up,
     rpc_block_call_calls_a_function, rpc_block_call_of_an_unknown_function_is_undef,
     rpc_pinfo_looks_at_a_process, rpc_abcast_sends, rpc_sbcast_names_who_is_not_there,
     rpc_eval_everywhere_is_done, rpc_to_no_node_is_nodedown, rpc_to_a_node_that_ends_is_nodedown].

erpc() ->
    [erpc_calls_a_function, erpc_calls_an_external_fun, erpc_exits_as_the_function_does,
     erpc_raises_what_the_function_raises,
     erpc_of_an_unknown_function_is_undef, erpc_gives_up_at_once, erpc_gives_up_after_a_time,
     erpc_to_no_node_is_noconnection, erpc_to_a_node_that_ends_is_noconnection,
     erpc_of_no_function_is_badarg, erpc_request_is_received, erpc_request_is_waited_for,
     erpc_request_is_checked, erpc_request_raises_what_the_function_raises,
     erpc_request_that_is_abandoned_leaves_no_message, erpc_requests_are_told_apart,
     erpc_multicall_tells_of_each_node, erpc_multicall_gives_up, erpc_cast_is_done,
     erpc_multicast_is_done].

spawning() ->
    [a_spawned_function_ends_normal, a_spawned_process_is_of_that_node,
     a_spawned_unknown_function_ends_undef, a_linked_unknown_function_sends_undef,
     a_spawned_function_that_raises_ends_with_reason_and_stack, a_plain_spawn_sends_nothing,
     spawn_opt_takes_what_concerns_the_process, a_spawn_request_is_replied_to,
     a_spawn_request_has_its_own_tag, a_spawn_request_without_reply, a_spawn_request_of_errors_only,
     a_spawn_request_of_success_only, a_spawn_request_links_and_monitors,
     a_spawn_request_may_be_abandoned, a_monitor_of_a_spawn_has_its_tag,
     a_spawned_external_fun_ends_normal, a_hundred_spawns_each_end].

exits() ->
    [kill_ends_it_killed, an_exit_ends_it_with_that_reason, exit_normal_is_ignored,
     a_process_that_waits_ends_with_its_function, a_killed_process_takes_nothing,
     the_crash_of_a_linked_process_ends_it, kill_by_a_link_is_a_reason_like_others,
     the_normal_end_of_a_linked_process_does_not,
     an_unlinked_process_lives_on, its_end_ends_a_linked_process, its_end_is_trapped,
     exits_of_the_dead_are_ignored, exit_normal_of_the_server_is_ignored,
     a_message_to_it_is_ignored, a_new_group_leader_changes_nothing].

monitors() ->
    [a_monitor_by_name_is_silent, a_monitor_by_pid_is_silent, a_monitor_of_no_name_is_noproc,
     a_monitor_of_a_dead_pid_is_noproc, a_monitor_has_its_tag, a_monitor_that_was_flushed_is_gone,
     a_demonitored_process_ends_in_silence, each_monitor_hears_of_the_end,
     a_monitor_hears_of_the_end_of_the_node, a_monitor_hears_of_the_disconnection,
     a_monitor_is_an_alias].

links() ->
    [a_link_is_silent, a_link_may_be_undone_twice, a_link_to_a_dead_pid_is_noproc,
     a_link_to_a_dead_pid_ends_who_does_not_trap, the_linked_server_outlives_who_crashes,
     a_link_hears_of_the_disconnection, a_link_hears_of_the_end_of_the_node].

calls() ->
    [a_call_by_name_is_answered, a_call_by_pid_is_answered, a_cast_is_done,
     a_request_is_received, a_request_is_waited_for, requests_are_told_apart,
     a_request_to_no_name_is_noproc, multi_call_names_the_bad_nodes, multi_call_gives_up,
     a_call_of_no_name_exits_noproc, a_call_to_no_node_exits_nodedown,
     a_call_to_a_node_that_ends_exits_nodedown, a_call_that_gives_up_leaves_no_message,
     a_reply_to_a_dead_alias_vanishes, casts_and_calls_keep_their_order, a_call_carries_its_trace].

messages() ->
    [unknown_messages_are_ignored, messages_to_nobody_are_ignored, send_takes_its_options,
     send_does_not_connect_where_it_must_not].

questions() ->
    [whereis_tells_the_pid, registered_names_the_servers, processes_has_the_servers,
     is_process_alive_tells_the_living_from_the_dead, process_info_tells_the_name,
     process_info_tells_the_links, process_info_tells_the_monitors, process_info_tells_the_queue,
     process_info_of_the_dead_is_undefined, process_info_of_a_nameless_process,
     process_info_takes_lists, process_info_tells_who_traps_exits,
     a_pid_of_another_node_is_badarg, what_is_no_name_is_badarg, sys_tells_state_and_status,
     node_is_its_name, the_release_is_a_number,
     an_unknown_fact_is_badarg, the_process_of_the_system_is_told, the_memory_is_told,
     the_applications_are_told, an_environment_has_defaults, the_shell_is_there,
     the_ticktime_is_told].

connections() ->
    [net_adm_ping_answers_pong, it_is_a_hidden_node, monitor_node_tells_the_disconnection,
     monitor_node_is_undone, monitor_nodes_tells_up_and_down, a_node_that_disconnects_comes_back,
     several_nodes_connect_at_once, a_node_that_was_killed_comes_back,
     a_pid_of_an_earlier_life_is_dead].

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

init_per_group(Kind, Config) ->
    Client = emmap_test:start_node(Config, #{}),
    Target = start_target(Kind, Config, #{start => start}),
    [{client, Client}, {kind, Kind}, {target, Target} | Config].

end_per_group(Kind, Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    stop_target(Kind, ?config(target, Config)).

%%% rpc.

rpc_calls_a_function(Config) ->
    at(Config, fun(T) -> pong = rpc:call(T, emmap, ping, []) end).

rpc_hands_the_arguments_over(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        {ok, 0} = rpc:call(T, emmap, inc_counter, [C, 0, 300]),
        {ok, 300} = rpc:call(T, emmap, inc_counter, [C, 0, 1], ?DEADLINE),
        {ok, 301} = rpc:call(T, emmap, read_counter, [C, 0])
    end).

rpc_carries_any_term(Config) ->
    at(Config, fun(T) ->
        Q = queue(T, ?FUNCTION_NAME),
        [begin
             ok = rpc:call(T, emmap_queue, push, [Q, Term]),
             {ok, Term} = rpc:call(T, emmap_queue, pop_wait, [Q, 0])
         end || Term <- terms()]
    end).

rpc_of_an_unknown_function_is_undef(Config) ->
    at(Config, fun(T) ->
        {badrpc, {'EXIT', {undef, [{emmap, nosuch, [1, {a}], []}]}}} =
            rpc:call(T, emmap, nosuch, [1, {a}])
    end).

rpc_of_an_unknown_module_is_undef(Config) ->
    at(Config, fun(T) ->
        {badrpc, {'EXIT', {undef, [{nosuch, f, [], []}]}}} = rpc:call(T, nosuch, f, [])
    end).

rpc_of_another_arity_is_undef(Config) ->
    at(Config, fun(T) ->
        {badrpc, {'EXIT', {undef, [{emmap, ping, [a, b, c, d], []}]}}} =
            rpc:call(T, emmap, ping, [a, b, c, d])
    end).

%% A list of bytes is another term on the wire.
rpc_of_bytes_keeps_them_in_the_stack(Config) ->
    at(Config, fun(T) ->
        {badrpc, {'EXIT', {undef, [{emmap, nosuch, [1, 2, 3], []}]}}} =
            rpc:call(T, emmap, nosuch, [1, 2, 3])
    end).

rpc_of_a_function_that_raises_tells_why_and_where(Config) ->
    at(Config, fun(T) ->
        {badrpc, {'EXIT', {enoent, [Head | _]}}} = rpc:call(T, emmap_queue, length, ["nosuch"]),
        ok = is_of(Head, length, ["nosuch"])
    end).

rpc_of_a_function_that_exits_tells_why(Config) ->
    at(Config, fun(T) ->
        {badrpc, {'EXIT', {noproc, {sys, get_state, [nosuch]}}}} =
            rpc:call(T, sys, get_state, [nosuch])
    end).

rpc_applies_a_function(Config) ->
    at(Config, fun(T) ->
        pong = rpc:call(T, erlang, apply, [emmap, ping, []]),
        pong = rpc:call(T, erlang, apply, [fun emmap:ping/0, []])
    end).

rpc_of_a_fun_of_another_arity_is_badarity(Config) ->
    at(Config, fun(T) ->
        Ping = fun emmap:ping/0,
        {badrpc, {'EXIT', {{badarity, {Ping, [a]}}, [_ | _]}}} = rpc:call(T, erlang, apply, [Ping, [a]]),
        {badrpc, {'EXIT', {{badarity, {Ping, "b"}}, [_ | _]}}} = rpc:call(T, erlang, apply, [Ping, "b"]),
        {Pid, Monitor} = spawn_monitor(T, erlang, apply, [Ping, [a]]),
        {{badarity, {Ping, [a]}}, [_ | _]} = down(Monitor, Pid)
    end).

rpc_gives_up_at_once(Config) ->
    gives_up(Config, ?FUNCTION_NAME, fun(T, Args) ->
        {badrpc, timeout} = rpc:call(T, emmap_queue, pop_wait, Args, 0)
    end).

rpc_gives_up_after_a_time(Config) ->
    gives_up(Config, ?FUNCTION_NAME, fun(T, Args) ->
        {badrpc, timeout} = rpc:call(T, emmap_queue, pop_wait, Args, ?SHORT)
    end).

rpc_waits_with_the_function(Config) ->
    at(Config, fun(T) ->
        Q = queue(T, ?FUNCTION_NAME),
        {Pid, Monitor} = spawn_monitor(fun() ->
            exit({result, rpc:call(T, emmap_queue, pop_wait, [Q, infinity])})
        end),
        ok = until_waiting(T, Q, 1),
        ok = call(T, {push, Q, item}),
        {result, {ok, item}} = down(Monitor, Pid)
    end).

rpc_cast_is_done(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        true = rpc:cast(T, emmap, inc_counter, [C, 0, 1]),
        ok = until_counter(T, C, 1)
    end).

rpc_cast_of_an_unknown_function_is_nothing(Config) ->
    at(Config, fun(T) ->
        true = rpc:cast(T, emmap, nosuch, []),
        pong = rpc:call(T, emmap, ping, [])
    end).

rpc_async_call_is_answered_later(Config) ->
    at(Config, fun(T) ->
        Keys = [rpc:async_call(T, emmap, ping, []), rpc:async_call(T, emmap, nosuch, [])],
        [pong, {badrpc, {'EXIT', {undef, [{emmap, nosuch, [], []}]}}}] =
            [rpc:yield(Key) || Key <- Keys]
    end).

rpc_nb_yield_does_not_wait(Config) ->
    at(Config, fun(T) ->
        Q = queue(T, ?FUNCTION_NAME),
        Key = rpc:async_call(T, emmap_queue, pop_wait, [Q, infinity]),
        timeout = rpc:nb_yield(Key),
        timeout = rpc:nb_yield(Key, ?SHORT),
        ok = call(T, {push, Q, item}),
        {value, {ok, item}} = rpc:nb_yield(Key, ?DEADLINE)
    end).

rpc_multicall_names_the_bad_nodes(Config) ->
    at(Config, fun(T) ->
        Nobody = nobody(),
        {[pong], [Nobody]} = rpc:multicall([T, Nobody], emmap, ping, [])
    end).

rpc_multicall_of_an_unknown_function_is_undef(Config) ->
    at(Config, fun(T) ->
        {[{badrpc, {'EXIT', {undef, [{emmap, nosuch, [a], []}]}}}], []} =
            rpc:multicall([T], emmap, nosuch, [a])
    end).

rpc_multicall_gives_up(Config) ->
    gives_up(Config, ?FUNCTION_NAME, fun(T, Args) ->
        {[], [T]} = rpc:multicall([T], emmap_queue, pop_wait, Args, ?SHORT)
    end).

rpc_block_call_calls_a_function(Config) ->
    at(Config, fun(T) -> pong = rpc:block_call(T, emmap, ping, []) end).

rpc_block_call_of_an_unknown_function_is_undef(Config) ->
    at(Config, fun(T) ->
        {badrpc, {'EXIT', {undef, [{emmap, nosuch, [a], []} | _]}}} =
            rpc:block_call(T, emmap, nosuch, [a])
    end).

rpc_pinfo_looks_at_a_process(Config) ->
    at(Config, fun(T) ->
        Server = server(T),
        {registered_name, emmap} = lists:keyfind(registered_name, 1, rpc:pinfo(Server)),
        {registered_name, emmap} = rpc:pinfo(Server, registered_name),
        [{message_queue_len, 0}, {registered_name, emmap}] =
            rpc:pinfo(Server, [message_queue_len, registered_name])
    end).

rpc_abcast_sends(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        abcast = rpc:abcast([T], emmap, {'$gen_cast', {inc_counter, C, 0, 1}}),
        ok = until_counter(T, C, 1)
    end).

rpc_sbcast_names_who_is_not_there(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        {[T], []} = rpc:sbcast([T], emmap, {'$gen_cast', {inc_counter, C, 0, 1}}),
        {[], [T]} = rpc:sbcast([T], nosuch, hello),
        ok = until_counter(T, C, 1)
    end).

rpc_eval_everywhere_is_done(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        abcast = rpc:eval_everywhere([T], emmap, inc_counter, [C, 0, 1]),
        ok = until_counter(T, C, 1)
    end).

rpc_to_no_node_is_nodedown(Config) ->
    at(Config, fun(_) -> {badrpc, nodedown} = rpc:call(nobody(), emmap, ping, []) end).

rpc_to_a_node_that_ends_is_nodedown(Config) ->
    with_mortal(Config, fun(T, Kill) ->
        Q = queue(T, ?FUNCTION_NAME),
        Key = rpc:async_call(T, emmap_queue, pop_wait, [Q, infinity]),
        ok = until_waiting(T, Q, 1),
        ok = Kill(),
        {badrpc, nodedown} = rpc:yield(Key),
        {badrpc, nodedown} = rpc:call(T, emmap, ping, [])
    end).

%%% erpc.

erpc_calls_a_function(Config) ->
    at(Config, fun(T) ->
        pong = erpc:call(T, emmap, ping, []),
        pong = erpc:call(T, emmap, ping, [], ?DEADLINE)
    end).

erpc_calls_an_external_fun(Config) ->
    at(Config, fun(T) -> pong = erpc:call(T, fun emmap:ping/0) end).

erpc_exits_as_the_function_does(Config) ->
    at(Config, fun(T) ->
        {exit, {exception, {noproc, {sys, get_state, [nosuch]}}}} =
            caught(fun() -> erpc:call(T, sys, get_state, [nosuch]) end)
    end).

erpc_raises_what_the_function_raises(Config) ->
    at(Config, fun(T) ->
        {error, {exception, enoent, [Head | _]}} =
            caught(fun() -> erpc:call(T, emmap_queue, length, ["nosuch"]) end),
        ok = is_of(Head, length, ["nosuch"])
    end).

erpc_of_an_unknown_function_is_undef(Config) ->
    at(Config, fun(T) ->
        {error, {exception, undef, [{emmap, nosuch, [x], []}]}} =
            caught(fun() -> erpc:call(T, emmap, nosuch, [x]) end)
    end).

erpc_gives_up_at_once(Config) ->
    gives_up(Config, ?FUNCTION_NAME, fun(T, Args) ->
        {error, {erpc, timeout}} = caught(fun() -> erpc:call(T, emmap_queue, pop_wait, Args, 0) end)
    end).

erpc_gives_up_after_a_time(Config) ->
    gives_up(Config, ?FUNCTION_NAME, fun(T, Args) ->
        {error, {erpc, timeout}} =
            caught(fun() -> erpc:call(T, emmap_queue, pop_wait, Args, ?SHORT) end)
    end).

erpc_to_no_node_is_noconnection(Config) ->
    at(Config, fun(_) ->
        {error, {erpc, noconnection}} = caught(fun() -> erpc:call(nobody(), emmap, ping, []) end)
    end).

erpc_to_a_node_that_ends_is_noconnection(Config) ->
    with_mortal(Config, fun(T, Kill) ->
        Q = queue(T, ?FUNCTION_NAME),
        Request = erpc:send_request(T, emmap_queue, pop_wait, [Q, infinity]),
        ok = until_waiting(T, Q, 1),
        ok = Kill(),
        {error, {erpc, noconnection}} =
            caught(fun() -> erpc:receive_response(Request, ?DEADLINE) end)
    end).

erpc_of_no_function_is_badarg(Config) ->
    at(Config, fun(T) ->
        [{error, {erpc, badarg}} = caught(fun() -> erpc:call(T, Module, Function, Args) end)
         || {Module, Function, Args} <- [{1, ping, []}, {emmap, "ping", []}, {emmap, ping, none}]]
    end).

erpc_request_is_received(Config) ->
    at(Config, fun(T) ->
        pong = erpc:receive_response(erpc:send_request(T, emmap, ping, [])),
        pong = erpc:receive_response(erpc:send_request(T, emmap, ping, []), ?DEADLINE)
    end).

erpc_request_is_waited_for(Config) ->
    at(Config, fun(T) ->
        Q = queue(T, ?FUNCTION_NAME),
        Request = erpc:send_request(T, emmap_queue, pop_wait, [Q, infinity]),
        no_response = erpc:wait_response(Request, 0),
        no_response = erpc:wait_response(Request, ?SHORT),
        ok = call(T, {push, Q, item}),
        {response, {ok, item}} = erpc:wait_response(Request, ?DEADLINE)
    end).

erpc_request_is_checked(Config) ->
    at(Config, fun(T) ->
        Request = erpc:send_request(T, emmap, ping, []),
        no_response = erpc:check_response({unrelated, message}, Request),
        receive
            Message -> {response, pong} = erpc:check_response(Message, Request)
        after ?DEADLINE -> error(deadline)
        end
    end).

erpc_request_raises_what_the_function_raises(Config) ->
    at(Config, fun(T) ->
        Request = erpc:send_request(T, emmap_queue, length, ["nosuch"]),
        {error, {exception, enoent, [Head | _]}} =
            caught(fun() -> erpc:receive_response(Request) end),
        ok = is_of(Head, length, ["nosuch"])
    end).

erpc_request_that_is_abandoned_leaves_no_message(Config) ->
    gives_up(Config, ?FUNCTION_NAME, fun(T, Args) ->
        Request = erpc:send_request(T, emmap_queue, pop_wait, Args),
        {error, {erpc, timeout}} = caught(fun() -> erpc:receive_response(Request, 0) end)
    end).

erpc_requests_are_told_apart(Config) ->
    at(Config, fun(T) ->
        Q = queue(T, ?FUNCTION_NAME),
        Waits = erpc:send_request(T, emmap_queue, pop_wait, [Q, infinity], waits,
                                  erpc:reqids_new()),
        Both = erpc:send_request(T, emmap, ping, [], pings, Waits),
        2 = erpc:reqids_size(Both),
        {pong, pings, Rest} = erpc:receive_response(Both, ?DEADLINE, true),
        ok = call(T, {push, Q, item}),
        {{response, {ok, item}}, waits, Empty} = erpc:wait_response(Rest, ?DEADLINE, true),
        no_request = erpc:wait_response(Empty, 0, true)
    end).

erpc_multicall_tells_of_each_node(Config) ->
    at(Config, fun(T) ->
        [{ok, pong}, {error, {erpc, noconnection}}] =
            erpc:multicall([T, nobody()], emmap, ping, []),
        [{error, {exception, undef, [{emmap, nosuch, [], []}]}}] =
            erpc:multicall([T], emmap, nosuch, [])
    end).

erpc_multicall_gives_up(Config) ->
    gives_up(Config, ?FUNCTION_NAME, fun(T, Args) ->
        [{error, {erpc, timeout}}] = erpc:multicall([T], emmap_queue, pop_wait, Args, ?SHORT)
    end).

erpc_cast_is_done(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        ok = erpc:cast(T, emmap, inc_counter, [C, 0, 1]),
        ok = until_counter(T, C, 1)
    end).

erpc_multicast_is_done(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        ok = erpc:multicast([T, nobody()], emmap, inc_counter, [C, 0, 1]),
        ok = until_counter(T, C, 1)
    end).

%%% Spawning.

a_spawned_function_ends_normal(Config) ->
    at(Config, fun(T) ->
        {Pid, Monitor} = spawn_monitor(T, emmap, ping, []),
        normal = down(Monitor, Pid)
    end).

a_spawned_process_is_of_that_node(Config) ->
    at(Config, fun(T) ->
        Pids = [spawn(T, emmap, ping, []) || _ <- lists:seq(1, 100)],
        [T] = lists:usort([node(Pid) || Pid <- Pids]),
        100 = length(lists:usort(Pids))
    end).

a_spawned_unknown_function_ends_undef(Config) ->
    at(Config, fun(T) ->
        {Pid, Monitor} = spawn_monitor(T, emmap, nosuch, [1, x]),
        {undef, [{emmap, nosuch, [1, x], []}]} = down(Monitor, Pid)
    end).

a_linked_unknown_function_sends_undef(Config) ->
    at(Config, fun(T) ->
        process_flag(trap_exit, true),
        Pid = spawn_link(T, nosuch, f, [[1]]),
        {undef, [{nosuch, f, [[1]], []}]} = exited(Pid)
    end).

a_spawned_function_that_raises_ends_with_reason_and_stack(Config) ->
    at(Config, fun(T) ->
        {Pid, Monitor} = spawn_monitor(T, emmap_queue, length, ["nosuch"]),
        {enoent, [Head | _]} = down(Monitor, Pid),
        ok = is_of(Head, length, ["nosuch"])
    end).

a_plain_spawn_sends_nothing(Config) ->
    at(Config, fun(T) ->
        Pids = [spawn(T, emmap, ping, []), spawn(T, emmap, nosuch, []),
                spawn(T, emmap_queue, length, ["nosuch"])],
        [ok = until_dead(T, Pid) || Pid <- Pids]
    end).

spawn_opt_takes_what_concerns_the_process(Config) ->
    at(Config, fun(T) ->
        {Pid, Monitor} = spawn_opt(T, emmap, ping, [],
                                   [monitor, {priority, high}, {min_heap_size, 500},
                                    {fullsweep_after, 5}, {message_queue_data, off_heap}]),
        normal = down(Monitor, Pid)
    end).

a_spawn_request_is_replied_to(Config) ->
    at(Config, fun(T) ->
        Request = spawn_request(T, emmap, ping, [], [monitor]),
        {ok, Pid} = replied(spawn_reply, Request),
        normal = down(Request, Pid)
    end).

a_spawn_request_has_its_own_tag(Config) ->
    at(Config, fun(T) ->
        Tag = {my, "tag"},
        Request = spawn_request(T, emmap, ping, [], [{reply_tag, Tag}]),
        {ok, Pid} = replied(Tag, Request),
        T = node(Pid)
    end).

a_spawn_request_without_reply(Config) ->
    at(Config, fun(T) ->
        Request = spawn_request(T, emmap, ping, [], [monitor, {reply, no}]),
        normal = ended(Request)
    end).

a_spawn_request_of_errors_only(Config) ->
    at(Config, fun(T) ->
        Request = spawn_request(T, emmap, ping, [], [monitor, {reply, error_only}]),
        normal = ended(Request),
        Failing = spawn_request(nobody(), emmap, ping, [], [{reply, error_only}]),
        {error, noconnection} = replied(spawn_reply, Failing)
    end).

a_spawn_request_of_success_only(Config) ->
    at(Config, fun(T) ->
        Request = spawn_request(T, emmap, ping, [], [{reply, success_only}]),
        _ = spawn_request(nobody(), emmap, ping, [], [{reply, success_only}]),
        {ok, _} = replied(spawn_reply, Request)
    end).

a_spawn_request_links_and_monitors(Config) ->
    at(Config, fun(T) ->
        process_flag(trap_exit, true),
        Request = spawn_request(T, emmap, nosuch, [], [link, monitor]),
        {ok, Pid} = replied(spawn_reply, Request),
        {undef, [{emmap, nosuch, [], []}]} = down(Request, Pid),
        {undef, [{emmap, nosuch, [], []}]} = exited(Pid)
    end).

%% Where the reply was faster it is there.
a_spawn_request_may_be_abandoned(Config) ->
    at(Config, fun(T) ->
        Request = spawn_request(T, emmap, ping, [], [monitor, link]),
        case spawn_request_abandon(Request) of
            true -> ok;
            false -> {ok, Pid} = replied(spawn_reply, Request), normal = down(Request, Pid)
        end,
        false = spawn_request_abandon(Request)
    end).

a_monitor_of_a_spawn_has_its_tag(Config) ->
    at(Config, fun(T) ->
        Request = spawn_request(T, emmap, ping, [], [{monitor, [{tag, over}]}]),
        {ok, Pid} = replied(spawn_reply, Request),
        receive
            {over, Request, process, Pid, normal} -> ok
        after ?DEADLINE -> error(deadline)
        end
    end).

a_spawned_external_fun_ends_normal(Config) ->
    at(Config, fun(T) ->
        {Pid, Monitor} = spawn_monitor(T, fun emmap:ping/0),
        normal = down(Monitor, Pid)
    end).

a_hundred_spawns_each_end(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        Spawned = [spawn_monitor(T, emmap, inc_counter, [C, 0, 1]) || _ <- lists:seq(1, 100)],
        [normal = down(Monitor, Pid) || {Pid, Monitor} <- Spawned],
        {ok, 100} = call(T, {read_counter, C, 0})
    end).

%%% Exit signals to spawned processes, and theirs.

kill_ends_it_killed(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(_, _, {Pid, Monitor}) ->
        true = exit(Pid, kill),
        killed = down(Monitor, Pid)
    end).

an_exit_ends_it_with_that_reason(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, _, {Pid, Monitor}) ->
        true = exit(Pid, {any, "reason", T}),
        {any, "reason", T} = down(Monitor, Pid)
    end).

exit_normal_is_ignored(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, Q, {Pid, Monitor}) ->
        true = exit(Pid, normal),
        true = rpc:call(T, erlang, is_process_alive, [Pid]),
        ok = call(T, {push, Q, item}),
        normal = down(Monitor, Pid)
    end).

a_process_that_waits_ends_with_its_function(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, Q, {Pid, Monitor}) ->
        ok = call(T, {push, Q, item}),
        normal = down(Monitor, Pid),
        0 = call(T, {length, Q})
    end).

a_killed_process_takes_nothing(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, Q, {Pid, Monitor}) ->
        true = exit(Pid, kill),
        killed = down(Monitor, Pid),
        ok = call(T, {push, Q, item}),
        1 = call(T, {length, Q})
    end).

the_crash_of_a_linked_process_ends_it(Config) ->
    with_linked(Config, ?FUNCTION_NAME, fun(_, _, {Pid, Monitor}, Client) ->
        Client ! {then, fun() -> exit(crash) end},
        crash = down(Monitor, Pid)
    end).

%% Only exit/2 kills.
kill_by_a_link_is_a_reason_like_others(Config) ->
    with_linked(Config, ?FUNCTION_NAME, fun(_, _, {Pid, Monitor}, Client) ->
        Client ! {then, fun() -> exit(kill) end},
        kill = down(Monitor, Pid)
    end).

the_normal_end_of_a_linked_process_does_not(Config) ->
    with_linked(Config, ?FUNCTION_NAME, fun(T, Q, {Pid, Monitor}, Client) ->
        Client ! {then, fun() -> ok end},
        true = lists:member(down(monitor(process, Client), Client), [normal, noproc]),
        true = rpc:call(T, erlang, is_process_alive, [Pid]),
        ok = call(T, {push, Q, item}),
        normal = down(Monitor, Pid)
    end).

an_unlinked_process_lives_on(Config) ->
    with_linked(Config, ?FUNCTION_NAME, fun(T, Q, {Pid, Monitor}, Client) ->
        Client ! {then, fun() -> unlink(Pid), exit(crash) end},
        true = lists:member(down(monitor(process, Client), Client), [crash, noproc]),
        true = rpc:call(T, erlang, is_process_alive, [Pid]),
        ok = call(T, {push, Q, item}),
        normal = down(Monitor, Pid)
    end).

its_end_ends_a_linked_process(Config) ->
    with_linked(Config, ?FUNCTION_NAME, fun(_, _, {Pid, Monitor}, Client) ->
        Linked = monitor(process, Client),
        true = exit(Pid, crash),
        crash = down(Monitor, Pid),
        crash = down(Linked, Client)
    end).

its_end_is_trapped(Config) ->
    at(Config, fun(T) ->
        process_flag(trap_exit, true),
        Q = queue(T, ?FUNCTION_NAME),
        Pid = spawn_link(T, emmap_queue, pop_wait, [Q, infinity]),
        ok = until_waiting(T, Q, 1),
        true = exit(Pid, kill),
        killed = exited(Pid),
        normal = exited(spawn_link(T, emmap, ping, []))
    end).

exits_of_the_dead_are_ignored(Config) ->
    at(Config, fun(T) ->
        Dead = dead(T),
        [true = exit(Dead, Reason) || Reason <- [normal, kill, {any, term}]]
    end).

exit_normal_of_the_server_is_ignored(Config) ->
    at(Config, fun(T) ->
        Server = server(T),
        true = exit(Server, normal),
        pong = gen_server:call(Server, ping)
    end).

a_message_to_it_is_ignored(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, Q, {Pid, Monitor}) ->
        [Pid ! Term || Term <- terms()],
        ok = call(T, {push, Q, item}),
        normal = down(Monitor, Pid)
    end).

a_new_group_leader_changes_nothing(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, Q, {Pid, Monitor}) ->
        true = group_leader(self(), Pid),
        ok = call(T, {push, Q, item}),
        normal = down(Monitor, Pid)
    end).

%%% Monitors.

a_monitor_by_name_is_silent(Config) ->
    at(Config, fun(T) ->
        [silent(T, monitor(process, {Name, T})) || Name <- [emmap, net_kernel]]
    end).

a_monitor_by_pid_is_silent(Config) ->
    at(Config, fun(T) -> silent(T, monitor(process, server(T))) end).

silent(T, Monitor) ->
    pong = call(T, ping),
    true = demonitor(Monitor, [flush, info]).

a_monitor_of_no_name_is_noproc(Config) ->
    at(Config, fun(T) -> noproc = down(monitor(process, {nosuch, T}), {nosuch, T}) end).

a_monitor_of_a_dead_pid_is_noproc(Config) ->
    at(Config, fun(T) ->
        Dead = dead(T),
        noproc = down(monitor(process, Dead), Dead)
    end).

a_monitor_has_its_tag(Config) ->
    at(Config, fun(T) ->
        Monitor = monitor(process, {nosuch, T}, [{tag, gone}]),
        receive
            {gone, Monitor, process, {nosuch, T}, noproc} -> ok
        after ?DEADLINE -> error(deadline)
        end
    end).

a_monitor_that_was_flushed_is_gone(Config) ->
    at(Config, fun(T) ->
        Monitor = monitor(process, {nosuch, T}),
        pong = call(T, ping), % it has ended by now
        false = demonitor(Monitor, [flush, info])
    end).

a_demonitored_process_ends_in_silence(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, _, {Pid, Monitor}) ->
        true = demonitor(Monitor, [info]),
        true = exit(Pid, kill),
        ok = until_dead(T, Pid)
    end).

each_monitor_hears_of_the_end(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(_, _, {Pid, First}) ->
        More = [monitor(process, Pid) || _ <- lists:seq(1, 20)],
        {Heard, Undone} = lists:split(10, More),
        [true = demonitor(Monitor) || Monitor <- Undone],
        true = exit(Pid, stop),
        [stop = down(Monitor, Pid) || Monitor <- [First | Heard]]
    end).

a_monitor_hears_of_the_end_of_the_node(Config) ->
    with_mortal(Config, fun(T, Kill) ->
        Objects = [{emmap, T}, server(T)],
        Monitors = [monitor(process, Object) || Object <- Objects],
        pong = call(T, ping),
        ok = Kill(),
        [noconnection = down(Monitor, Object) || {Monitor, Object} <- lists:zip(Monitors, Objects)]
    end).

a_monitor_hears_of_the_disconnection(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, _, {Pid, Monitor}) ->
        Named = monitor(process, {emmap, T}),
        true = erlang:disconnect_node(T),
        noconnection = down(Named, {emmap, T}),
        noconnection = down(Monitor, Pid)
    end).

a_monitor_is_an_alias(Config) ->
    at(Config, fun(T) ->
        Monitor = monitor(process, {emmap, T}, [{alias, reply_demonitor}]),
        {emmap, T} ! {'$gen_call', {self(), [alias | Monitor]}, ping},
        receive {[alias | Monitor], pong} -> ok after ?DEADLINE -> error(deadline) end,
        false = demonitor(Monitor, [info])
    end).

%%% Links.

a_link_is_silent(Config) ->
    at(Config, fun(T) ->
        process_flag(trap_exit, true),
        Server = server(T),
        true = link(Server),
        pong = call(T, ping),
        true = unlink(Server)
    end).

a_link_may_be_undone_twice(Config) ->
    at(Config, fun(T) ->
        Server = server(T),
        [true = Fun(Server) || Fun <- [fun link/1, fun link/1, fun unlink/1, fun unlink/1,
                                       fun link/1, fun unlink/1]]
    end).

a_link_to_a_dead_pid_is_noproc(Config) ->
    at(Config, fun(T) ->
        process_flag(trap_exit, true),
        Dead = dead(T),
        true = link(Dead),
        noproc = exited(Dead)
    end).

a_link_to_a_dead_pid_ends_who_does_not_trap(Config) ->
    at(Config, fun(T) ->
        Dead = dead(T),
        {Pid, Monitor} = spawn_monitor(fun() -> link(Dead), receive after infinity -> ok end end),
        noproc = down(Monitor, Pid)
    end).

the_linked_server_outlives_who_crashes(Config) ->
    at(Config, fun(T) ->
        Server = server(T),
        {Pid, Monitor} = spawn_monitor(fun() ->
            link(Server),
            pong = call(T, ping),
            exit(crash)
        end),
        crash = down(Monitor, Pid),
        pong = call(T, ping),
        Server = server(T)
    end).

a_link_hears_of_the_disconnection(Config) ->
    at(Config, fun(T) ->
        process_flag(trap_exit, true),
        Server = server(T),
        true = link(Server),
        true = erlang:disconnect_node(T),
        noconnection = exited(Server)
    end).

a_link_hears_of_the_end_of_the_node(Config) ->
    with_mortal(Config, fun(T, Kill) ->
        process_flag(trap_exit, true),
        Server = server(T),
        true = link(Server),
        pong = call(T, ping),
        ok = Kill(),
        noconnection = exited(Server)
    end).

%%% gen_server.

a_call_by_name_is_answered(Config) ->
    at(Config, fun(T) ->
        pong = gen_server:call({emmap, T}, ping),
        pong = gen_server:call({emmap, T}, ping, ?DEADLINE)
    end).

a_call_by_pid_is_answered(Config) ->
    at(Config, fun(T) -> pong = gen_server:call(server(T), ping) end).

a_cast_is_done(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        ok = gen_server:cast({emmap, T}, {inc_counter, C, 0, 1}),
        ok = gen_server:cast(server(T), {inc_counter, C, 0, 1}),
        {ok, 2} = call(T, {read_counter, C, 0})
    end).

a_request_is_received(Config) ->
    at(Config, fun(T) ->
        {reply, pong} = gen_server:receive_response(gen_server:send_request({emmap, T}, ping),
                                                    ?DEADLINE)
    end).

a_request_is_waited_for(Config) ->
    at(Config, fun(T) ->
        Q = queue(T, ?FUNCTION_NAME),
        Request = gen_server:send_request({emmap, T}, {pop_wait, Q, infinity}),
        timeout = gen_server:wait_response(Request, ?SHORT),
        ok = call(T, {push, Q, item}),
        receive
            Message -> {reply, {ok, item}} = gen_server:check_response(Message, Request)
        after ?DEADLINE -> error(deadline)
        end
    end).

requests_are_told_apart(Config) ->
    at(Config, fun(T) ->
        Q = queue(T, ?FUNCTION_NAME),
        Waits = gen_server:send_request({emmap, T}, {pop_wait, Q, infinity}, waits,
                                        gen_server:reqids_new()),
        Both = gen_server:send_request({emmap, T}, ping, pings, Waits),
        {{reply, pong}, pings, Rest} = gen_server:receive_response(Both, ?DEADLINE, true),
        ok = call(T, {push, Q, item}),
        {{reply, {ok, item}}, waits, _} = gen_server:receive_response(Rest, ?DEADLINE, true)
    end).

a_request_to_no_name_is_noproc(Config) ->
    at(Config, fun(T) ->
        Request = gen_server:send_request({nosuch, T}, ping),
        {error, {noproc, {nosuch, T}}} = gen_server:receive_response(Request, ?DEADLINE)
    end).

multi_call_names_the_bad_nodes(Config) ->
    at(Config, fun(T) ->
        Nobody = nobody(),
        {[{T, pong}], [Nobody]} = gen_server:multi_call([T, Nobody], emmap, ping),
        {[], [T]} = gen_server:multi_call([T], nosuch, ping)
    end).

multi_call_gives_up(Config) ->
    gives_up(Config, ?FUNCTION_NAME, fun(T, [Q, Timeout]) ->
        {[], [T]} = gen_server:multi_call([T], emmap, {pop_wait, Q, Timeout}, ?SHORT)
    end).

a_call_of_no_name_exits_noproc(Config) ->
    at(Config, fun(T) ->
        {exit, {noproc, {gen_server, call, [{nosuch, T}, ping]}}} =
            caught(fun() -> gen_server:call({nosuch, T}, ping) end)
    end).

a_call_to_no_node_exits_nodedown(Config) ->
    at(Config, fun(_) ->
        Nobody = nobody(),
        {exit, {{nodedown, Nobody}, {gen_server, call, [{emmap, Nobody}, ping]}}} =
            caught(fun() -> gen_server:call({emmap, Nobody}, ping) end)
    end).

a_call_to_a_node_that_ends_exits_nodedown(Config) ->
    with_mortal(Config, fun(T, Kill) ->
        Q = queue(T, ?FUNCTION_NAME),
        {Pid, Monitor} = spawn_monitor(fun() ->
            gen_server:call({emmap, T}, {pop_wait, Q, infinity}, infinity)
        end),
        ok = until_waiting(T, Q, 1),
        ok = Kill(),
        {{nodedown, T}, {gen_server, call, _}} = down(Monitor, Pid)
    end).

a_call_that_gives_up_leaves_no_message(Config) ->
    gives_up(Config, ?FUNCTION_NAME, fun(T, [Q, Timeout]) ->
        [{exit, {timeout, {gen_server, call, _}}} =
             caught(fun() -> gen_server:call({emmap, T}, {pop_wait, Q, Timeout}, Ms) end)
         || Ms <- [0, ?SHORT]]
    end).

a_reply_to_a_dead_alias_vanishes(Config) ->
    at(Config, fun(T) ->
        Alias = alias(),
        Ask = fun() -> {emmap, T} ! {'$gen_call', {self(), [alias | Alias]}, ping} end,
        Ask(),
        receive {[alias | Alias], pong} -> ok after ?DEADLINE -> error(deadline) end,
        true = unalias(Alias),
        Ask()
    end).

casts_and_calls_keep_their_order(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        [begin
             ok = gen_server:cast({emmap, T}, {inc_counter, C, 0, 1}),
             N = call(T, {read_counter, C, 0})
         end || N <- [{ok, I} || I <- lists:seq(1, 300)]]
    end).

%% A token goes with what is sent; it is set anew, for a message that is received brings its own.
a_call_carries_its_trace(Config) ->
    at(Config, fun(T) ->
        C = counters(T, ?FUNCTION_NAME),
        pong = traced(fun() -> call(T, ping) end),
        ok = traced(fun() -> gen_server:cast({emmap, T}, {inc_counter, C, 0, 1}) end),
        {ok, 1} = traced(fun() -> rpc:call(T, emmap, read_counter, [C, 0]) end),
        {Pid, Monitor} = traced(fun() -> spawn_monitor(T, emmap, ping, []) end),
        normal = down(Monitor, Pid),
        noproc = down(traced(fun() -> monitor(process, Pid) end), Pid)
    end).

traced(Fun) ->
    _ = seq_trace:set_token(label, 17),
    Result = Fun(),
    _ = seq_trace:set_token([]),
    Result.

%%% Messages.

unknown_messages_are_ignored(Config) ->
    at(Config, fun(T) -> [{emmap, T} ! Term || Term <- terms()] end).

messages_to_nobody_are_ignored(Config) ->
    at(Config, fun(T) -> [To ! hello || To <- [{nosuch, T}, dead(T)]] end).

send_takes_its_options(Config) ->
    at(Config, fun(T) ->
        pong = call(T, ping),
        [ok = erlang:send(To, hello, Options)
         || To <- [{emmap, T}, {nosuch, T}, server(T)],
            Options <- [[], [nosuspend], [noconnect], [nosuspend, noconnect]]],
        true = erlang:send_nosuspend({emmap, T}, hello),
        true = erlang:send_nosuspend({emmap, T}, hello, [noconnect])
    end).

send_does_not_connect_where_it_must_not(Config) ->
    at(Config, fun(T) ->
        ok = disconnect(T),
        noconnect = erlang:send({emmap, T}, hello, [noconnect]),
        false = lists:member(T, nodes(connected))
    end).

%%% What it tells of its processes and itself.

whereis_tells_the_pid(Config) ->
    at(Config, fun(T) ->
        Server = server(T),
        T = node(Server),
        Server = server(T),
        undefined = rpc:call(T, erlang, whereis, [nosuch])
    end).

registered_names_the_servers(Config) ->
    at(Config, fun(T) ->
        Names = rpc:call(T, erlang, registered, []),
        [true = lists:member(Name, Names) || Name <- [emmap, net_kernel]],
        false = lists:member(nosuch, Names)
    end).

processes_has_the_servers(Config) ->
    at(Config, fun(T) ->
        Pids = rpc:call(T, erlang, processes, []),
        [true = lists:member(rpc:call(T, erlang, whereis, [Name]), Pids)
         || Name <- [emmap, net_kernel]],
        [T] = lists:usort([node(Pid) || Pid <- Pids])
    end).

is_process_alive_tells_the_living_from_the_dead(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, _, {Pid, Monitor}) ->
        true = rpc:call(T, erlang, is_process_alive, [server(T)]),
        true = rpc:call(T, erlang, is_process_alive, [Pid]),
        true = exit(Pid, kill),
        killed = down(Monitor, Pid),
        false = rpc:call(T, erlang, is_process_alive, [Pid])
    end).

process_info_tells_the_name(Config) ->
    at(Config, fun(T) ->
        [{registered_name, Name} =
             rpc:call(T, erlang, process_info, [rpc:call(T, erlang, whereis, [Name]),
                                                registered_name])
         || Name <- [emmap, net_kernel]]
    end).

process_info_tells_the_links(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, _, {Pid, Monitor}) ->
        Links = fun() -> rpc:call(T, erlang, process_info, [Pid, links]) end,
        true = link(Pid),
        ok = until(fun() -> Links() =:= {links, [self()]} end),
        true = unlink(Pid),
        ok = until(fun() -> Links() =:= {links, []} end),
        true = exit(Pid, kill),
        killed = down(Monitor, Pid)
    end).

process_info_tells_the_monitors(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, _, {Pid, Monitor}) ->
        Watchers = fun() -> rpc:call(T, erlang, process_info, [Pid, monitored_by]) end,
        ok = until(fun() -> Watchers() =:= {monitored_by, [self()]} end),
        true = demonitor(Monitor),
        ok = until(fun() -> Watchers() =:= {monitored_by, []} end),
        {monitors, Monitors} = rpc:call(T, erlang, process_info, [server(T), monitors]),
        true = is_list(Monitors)
    end).

process_info_tells_the_queue(Config) ->
    at(Config, fun(T) ->
        {message_queue_len, 0} =
            rpc:call(T, erlang, process_info, [server(T), message_queue_len])
    end).

process_info_of_the_dead_is_undefined(Config) ->
    at(Config, fun(T) ->
        Dead = dead(T),
        [undefined = rpc:call(T, erlang, process_info, [Dead | More])
         || More <- [[], [links], [message_queue_len]]]
    end).

process_info_of_a_nameless_process(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, _, {Pid, Monitor}) ->
        [] = rpc:call(T, erlang, process_info, [Pid, registered_name]),
        false = lists:keymember(registered_name, 1, rpc:call(T, erlang, process_info, [Pid])),
        true = exit(Pid, kill),
        killed = down(Monitor, Pid)
    end).

process_info_takes_lists(Config) ->
    at(Config, fun(T) ->
        Server = server(T),
        [] = rpc:call(T, erlang, process_info, [Server, []]),
        [{status, waiting}, {registered_name, emmap}] =
            rpc:call(T, erlang, process_info, [Server, [status, registered_name]]),
        {badrpc, {'EXIT', {badarg, [{erlang, process_info, _, _} | _]}}} =
            rpc:call(T, erlang, process_info, [Server, [status, nosuch]])
    end).

process_info_tells_who_traps_exits(Config) ->
    with_waiting(Config, ?FUNCTION_NAME, fun(T, _, {Pid, Monitor}) ->
        [{trap_exit, true}, {trap_exit, false}] =
            [rpc:call(T, erlang, process_info, [P, trap_exit]) || P <- [server(T), Pid]],
        true = exit(Pid, kill),
        killed = down(Monitor, Pid)
    end).

a_pid_of_another_node_is_badarg(Config) ->
    at(Config, fun(T) ->
        [{badrpc, {'EXIT', {badarg, [{erlang, Function, _, _} | _]}}} =
             rpc:call(T, erlang, Function, [self()])
         || Function <- [is_process_alive, process_info]]
    end).

what_is_no_name_is_badarg(Config) ->
    at(Config, fun(T) ->
        [{badrpc, {'EXIT', {badarg, [{erlang, whereis, _, _} | _]}}} =
             rpc:call(T, erlang, whereis, [Name]) || Name <- ["emmap", 1, {emmap, T}]]
    end).

sys_tells_state_and_status(Config) ->
    at(Config, fun(T) ->
        Server = server(T),
        {status, Server, {module, _}, [_, running, _, _, _]} = sys:get_status({emmap, T}),
        {status, Server, {module, _}, [_, running, _, _, _]} = sys:get_status(Server),
        true = is_map(sys:get_state({emmap, T}))
    end).

node_is_its_name(Config) ->
    at(Config, fun(T) -> T = rpc:call(T, erlang, node, []) end).

the_release_is_a_number(Config) ->
    at(Config, fun(T) ->
        true = list_to_integer(rpc:call(T, erlang, system_info, [otp_release])) >= 25
    end).

an_unknown_fact_is_badarg(Config) ->
    at(Config, fun(T) ->
        {badrpc, {'EXIT', {badarg, [{erlang, system_info, _, _} | _]}}} =
            rpc:call(T, erlang, system_info, [nosuch])
    end).

the_process_of_the_system_is_told(Config) ->
    #{os_pid := OsPid} = ?config(target, Config),
    at(Config, fun(T) -> OsPid = rpc:call(T, os, getpid, []) end).

the_memory_is_told(Config) ->
    at(Config, fun(T) ->
        {total, Bytes} = lists:keyfind(total, 1, rpc:call(T, erlang, memory, [])),
        [true = N > 0 || N <- [Bytes, rpc:call(T, erlang, memory, [total])]]
    end).

the_applications_are_told(Config) ->
    at(Config, fun(T) ->
        [_ | _] = Applications = rpc:call(T, application, which_applications, []),
        [true = is_atom(Name) andalso is_list(Text) andalso is_list(Version)
         || {Name, Text, Version} <- Applications]
    end).

an_environment_has_defaults(Config) ->
    at(Config, fun(T) ->
        undefined = rpc:call(T, application, get_env, [stdlib, nosuch]),
        {default, [1]} = rpc:call(T, application, get_env, [stdlib, nosuch, {default, [1]}])
    end).

the_shell_is_there(Config) ->
    at(Config, fun(T) ->
        {module, shell} = rpc:call(T, code, ensure_loaded, [shell]),
        {error, nofile} = rpc:call(T, code, ensure_loaded, [nosuch])
    end).

the_ticktime_is_told(Config) ->
    at(Config, fun(T) ->
        true = is_integer(rpc:call(T, net_kernel, get_net_ticktime, []))
    end).

%%% Connections.

net_adm_ping_answers_pong(Config) ->
    at(Config, fun(T) ->
        pong = net_adm:ping(T),
        pang = net_adm:ping(nobody())
    end).

it_is_a_hidden_node(Config) ->
    at(Config, fun(T) ->
        pong = net_adm:ping(T),
        {ok, _} = pg:start(?MODULE),
        ok = pg:join(?MODULE, group, self()),
        [true, false] = [lists:member(T, nodes(Kind)) || Kind <- [hidden, visible]],
        [] = global:registered_names(),
        [Self] = pg:get_members(?MODULE, group),
        Self = self()
    end).

monitor_node_tells_the_disconnection(Config) ->
    at(Config, fun(T) ->
        pong = net_adm:ping(T),
        true = monitor_node(T, true),
        true = erlang:disconnect_node(T),
        receive {nodedown, T} -> ok after ?DEADLINE -> error(deadline) end
    end).

monitor_node_is_undone(Config) ->
    at(Config, fun(T) ->
        pong = net_adm:ping(T),
        true = monitor_node(T, true),
        true = monitor_node(T, false),
        ok = disconnect(T)
    end).

monitor_nodes_tells_up_and_down(Config) ->
    at(Config, fun(T) ->
        pong = net_adm:ping(T),
        Kind = [{node_type, hidden}],
        ok = net_kernel:monitor_nodes(true, Kind),
        true = erlang:disconnect_node(T),
        receive {nodedown, T, Kind} -> ok after ?DEADLINE -> error(deadline) end,
        pong = net_adm:ping(T),
        receive {nodeup, T, Kind} -> ok after ?DEADLINE -> error(deadline) end,
        ok = net_kernel:monitor_nodes(false, Kind)
    end).

a_node_that_disconnects_comes_back(Config) ->
    at(Config, fun(T) ->
        [begin
             pong = call(T, ping),
             ok = disconnect(T),
             pong = rpc:call(T, emmap, ping, [])
         end || _ <- lists:seq(1, 10)]
    end).

several_nodes_connect_at_once(Config) ->
    #{node := T} = ?config(target, Config),
    C = at(Config, fun(_) -> counters(T, ?FUNCTION_NAME) end),
    Nodes = [emmap_test:node(Config) || _ <- [1, 2, 3]],
    Ten = fun() ->
        [{ok, _} = rpc:call(T, emmap, inc_counter, [C, 0, 1]) || _ <- lists:seq(1, 10)],
        [] = nodes()
    end,
    _ = emmap_test:in_parallel([fun() -> on(Node, Ten) end || Node <- Nodes]),
    at(Config, fun(_) -> {ok, 30} = call(T, {read_counter, C, 0}) end).

a_node_that_was_killed_comes_back(Config) ->
    #{node := T} = ?config(target, Config),
    Name = new_name("again"),
    Ping = fun() -> pong = rpc:call(T, emmap, ping, []) end,
    First = emmap_test:node(Config, #{node => Name}),
    pong = on(First, Ping),
    ok = kill(on(First, fun os:getpid/0)),
    ok = until_forgotten(Name, Config),
    pong = on(emmap_test:node(Config, #{node => Name}), Ping).

a_pid_of_an_earlier_life_is_dead(Config) ->
    Kind = ?config(kind, Config),
    #{node := T, os_pid := OsPid} = start_target(Kind, Config, #{owner => self()}),
    Old = at(Config, fun(_) ->
        Server = server(T),
        true = monitor_node(T, true),
        ok = kill(OsPid),
        receive {nodedown, T} -> Server after ?DEADLINE -> error(deadline) end
    end),
    ok = until_forgotten(T, Config),
    #{node := T} = start_target(Kind, Config, #{owner => self(), node => T}),
    at(Config, fun(_) ->
        process_flag(trap_exit, true),
        New = server(T),
        true = Old =/= New,
        noproc = down(monitor(process, Old), Old),
        true = link(Old),
        noproc = exited(Old),
        Old ! hello,
        true = exit(Old, kill),
        [false, true] = [rpc:call(T, erlang, is_process_alive, [Pid]) || Pid <- [Old, New]]
    end).

%%% Internal.

%% A target: #{node, os_pid}, and what stops it. With an owner, or started by start_link, it ends
%% with the calling process.
start_target(beam, Config, Options0) ->
    Options = maps:merge(#{node => new_name("beam"), args => ["-hidden"], start => start_link},
                         Options0),
    Node = #{node := T} = emmap_test:start_node(Config, Options),
    on(Node, fun() ->
        ok = logger:set_primary_config(level, none), % processes are meant to crash there
        ok = emmap_stand_in:start()
    end),
    #{node => T, os_pid => on(Node, fun os:getpid/0), program => Node};
start_target(emmapd, Config, Options) ->
    Daemon = #{node := T, program := Program} = emmap_test:start_daemon(Config, Options),
    #{node => T, os_pid => integer_to_list(emmap_program:os_pid(Program)), program => Daemon}.

stop_target(beam, #{program := Node}) -> emmap_test:stop_node(Node);
stop_target(emmapd, #{program := Daemon}) -> emmap_test:stop_daemon(Daemon).

%% Runs the fun with the target's name on the client. Behind it the target still answers, and no
%% message is left.
at(Config, Fun) ->
    #{node := T} = ?config(target, Config),
    on(?config(client, Config), fun() ->
        Result = Fun(T),
        pong = call(T, ping),
        receive Stray -> error({stray, Stray}) after 0 -> Result end
    end).

%% The same with a target of the case's own, and how to kill it.
with_mortal(Config, Fun) ->
    #{node := T, os_pid := OsPid} = start_target(?config(kind, Config), Config,
                                                 #{owner => self()}),
    at(Config, fun(_) -> Fun(T, fun() -> kill(OsPid) end) end).

%% With a process that was spawned there and waits for an item of the queue.
with_waiting(Config, Name, Fun) ->
    at(Config, fun(T) ->
        Q = queue(T, Name),
        Waiting = spawn_monitor(T, emmap_queue, pop_wait, [Q, infinity]),
        ok = until_waiting(T, Q, 1),
        Fun(T, Q, Waiting)
    end).

%% The same; it is linked to a process of the client, which does in the end what it is sent.
with_linked(Config, Name, Fun) ->
    at(Config, fun(T) ->
        Q = queue(T, Name),
        Self = self(),
        Client = spawn(fun() ->
            Self ! {self(), spawn_link(T, emmap_queue, pop_wait, [Q, infinity])},
            receive {then, Last} -> Last() end
        end),
        Pid = receive {Client, P} -> P after ?DEADLINE -> error(deadline) end,
        ok = until_waiting(T, Q, 1),
        Fun(T, Q, {Pid, monitor(process, Pid)}, Client)
    end).

%% A call that gives up on a pop that ends later, without a message.
gives_up(Config, Name, Fun) ->
    at(Config, fun(T) ->
        Q = queue(T, Name),
        Fun(T, [Q, 4 * ?SHORT]),
        until_waiting(T, Q, 0)
    end).

call(T, Request) ->
    gen_server:call({emmap, T}, Request, ?DEADLINE).

%% Objects are used by name, which outlives a connection.
counters(T, Name) ->
    {ok, _, _} = call(T, {open_counters, atom_to_list(Name), 1}),
    atom_to_list(Name).

queue(T, Name) ->
    {ok, _, _} = call(T, {open_queue, atom_to_list(Name), 0, []}),
    atom_to_list(Name).

until_waiting(T, Q, N) ->
    until(fun() -> #{waiting := Waiting} = call(T, {info, Q}), Waiting =:= N end).

until_counter(T, C, N) ->
    until(fun() -> {ok, N} =:= call(T, {read_counter, C, 0}) end).

until_dead(T, Pid) ->
    until(fun() -> not rpc:call(T, erlang, is_process_alive, [Pid]) end).

until_forgotten(Name, Config) ->
    [Alive, _] = string:split(atom_to_list(Name), "@"),
    until(fun() ->
        {ok, Names} = emmap_test:epmd_names(?config(epmd, Config)),
        not lists:keymember(Alive, 1, Names)
    end).

server(T) ->
    Pid = rpc:call(T, erlang, whereis, [emmap]),
    true = is_pid(Pid),
    Pid.

%% A process of that node that has ended.
dead(T) ->
    {Pid, Monitor} = spawn_monitor(T, emmap, ping, []),
    normal = down(Monitor, Pid),
    Pid.

disconnect(T) ->
    true = erlang:disconnect_node(T),
    until(fun() -> not lists:member(T, nodes(connected)) end).

kill(OsPid) ->
    [] = os:cmd("kill -KILL " ++ OsPid),
    ok.

nobody() ->
    new_name("nobody").

new_name(Prefix) ->
    list_to_atom(emmap_test:unique(Prefix) ++ "@localhost").

caught(Fun) ->
    try Fun() of
        Result -> {result, Result}
    catch
        Class:Reason -> {Class, Reason}
    end.

%% An entry of a stack for a function of emmap_queue; it has the arguments or their number.
is_of({emmap_queue, Function, Args, Location}, Function, Args) when is_list(Location) -> ok;
is_of({emmap_queue, Function, Arity, Location}, Function, Args)
  when Arity =:= length(Args), is_list(Location) -> ok.

down(Monitor, Object) ->
    receive
        {'DOWN', Monitor, process, Object, Reason} -> Reason
    after ?DEADLINE -> error(deadline)
    end.

ended(Monitor) ->
    receive
        {'DOWN', Monitor, process, _, Reason} -> Reason
    after ?DEADLINE -> error(deadline)
    end.

exited(Pid) ->
    receive
        {'EXIT', Pid, Reason} -> Reason
    after ?DEADLINE -> error(deadline)
    end.

replied(Tag, Request) ->
    receive
        {Tag, Request, Result, Value} -> {Result, Value}
    after ?DEADLINE -> error(deadline)
    end.

terms() ->
    [hello, 'жук', 1, -1, 255, 256, 1.5, 1 bsl 4000, <<>>, <<1:3>>, binary:copy(<<"x">>, 100000), {},
     [], [1, 2, 3], [a | b], #{a => b}, self(), make_ref(), fun lists:map/2, "string",
     list_to_tuple(lists:seq(1, 300))].
