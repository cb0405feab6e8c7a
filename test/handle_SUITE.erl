%% Handles of the wrapper as file descriptors: the module `file' works on them, and the cursor.
-module(handle_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-compile([export_all, nowarn_export_all]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [file_pread_and_pwrite_work, file_read_and_write_move_the_cursor, file_position_moves_the_cursor,
     a_position_outside_is_badarg, lines_end_with_a_newline, the_last_line_may_have_none,
     a_long_line_is_read_whole, file_truncate_cuts_at_the_cursor, file_allocate_and_advise_work,
     file_sync_and_datasync_work, file_close_is_for_ever, a_cursor_beyond_the_end_reads_eof,
     a_write_past_the_end_leaves_the_cursor, two_readers_never_get_the_same_bytes,
     two_handles_have_two_cursors, a_handle_is_no_handle_on_another_node,
     what_is_no_handle_is_badarg, a_name_has_no_cursor, a_badarg_names_the_argument,
     a_badarg_of_open_names_the_option, direct_reads_are_copies, a_batch_spans_objects,
     a_batch_of_rubbish_is_badarg, a_request_is_sent_and_answered_later, a_call_has_a_time_limit,
     a_barrier_waits_for_all_casts, info_of_everything, errors_have_a_text].

init_per_suite(Config) ->
    emmap_face:start(Config).

end_per_suite(Config) ->
    emmap_face:stop(Config).

%%% The module `file'.

file_pread_and_pwrite_work(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        ok = file:pwrite(F, 0, "0123456789"),
        {ok, <<"345">>} = file:pread(F, 3, 3),
        {ok, <<"89">>} = file:pread(F, 8, 3),
        eof = file:pread(F, 10, 1),
        ok = file:pwrite(F, [{0, "ab"}, {8, "yz"}]),
        {ok, [<<"ab">>, <<"yz">>, eof]} = file:pread(F, [{0, 2}, {8, 2}, {10, 1}])
    end).

file_read_and_write_move_the_cursor(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        ok = file:write(F, "hello"),
        ok = file:write(F, [<<"wor">>, $l, "d"]),
        {ok, 0} = file:position(F, bof),
        {ok, <<"hell">>} = file:read(F, 4),
        {ok, <<"oworld">>} = file:read(F, 100),
        eof = file:read(F, 1)
    end).

file_position_moves_the_cursor(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        [{ok, Pos} = file:position(F, Where)
         || {Where, Pos} <- [{5, 5}, {{cur, 2}, 7}, {{cur, -3}, 4}, {cur, 4}, {eof, 10}, {bof, 0},
                             {{bof, 3}, 3}, {{eof, 2}, 8}, {{eof, -2}, 8}, {{eof, 0}, 10}]]
    end).

a_position_outside_is_badarg(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        {ok, 5} = emmap:position(F, 5),
        [badarg = raised(fun() -> emmap:position(F, Where) end)
         || Where <- [11, -1, {cur, 6}, {cur, -6}, {eof, 11}, {eof, -11}, {bof, -1}, {bof, 1 bsl 70}, a,
                      {a, 1}, 1.0]],
        {ok, 5} = emmap:position(F, cur)
    end).

lines_end_with_a_newline(Config) ->
    with_region(Config, ?FUNCTION_NAME, 16, fun(F) ->
        ok = file:pwrite(F, 0, "one\n\r\nthree\r\nx\n"),
        {ok, <<"one\n">>} = file:read_line(F),
        {ok, <<"\n">>} = file:read_line(F),
        {ok, <<"three\n">>} = file:read_line(F),
        {ok, <<"x\n">>} = file:read_line(F),
        {ok, <<0>>} = file:read_line(F),
        eof = file:read_line(F)
    end).

the_last_line_may_have_none(Config) ->
    with_region(Config, ?FUNCTION_NAME, 8, fun(F) ->
        ok = file:pwrite(F, 0, "one\ntail"),
        {ok, <<"one\n">>} = file:read_line(F),
        {ok, 4} = file:position(F, cur),
        {ok, <<"tail">>} = file:read_line(F),
        eof = file:read_line(F)
    end).

a_long_line_is_read_whole(Config) ->
    with_region(Config, ?FUNCTION_NAME, 1000000, fun(F) ->
        Line = <<(binary:copy(<<"x">>, 999989))/binary, $\n>>,
        ok = file:pwrite(F, 0, [Line, "next line\n"]),
        {ok, Line} = file:read_line(F),
        {ok, <<"next line\n">>} = file:read_line(F)
    end).

file_truncate_cuts_at_the_cursor(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        ok = file:pwrite(F, 0, "0123456789"),
        {ok, 4} = file:position(F, 4),
        ok = file:truncate(F),
        {ok, <<"0123">>} = file:pread(F, 0, 100),
        {ok, 4} = file:position(F, eof)
    end).

file_allocate_and_advise_work(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        ok = file:allocate(F, 0, 65536),
        {ok, 65536} = file:position(F, eof),
        [ok = file:advise(F, 0, 65536, A)
         || A <- [normal, sequential, random, no_reuse, will_need, dont_need]]
    end).

file_sync_and_datasync_work(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        ok = file:write(F, "x"),
        ok = file:sync(F),
        ok = file:datasync(F)
    end).

file_close_is_for_ever(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        ok = file:close(F),
        ok = file:close(F),
        [{error, closed} = apply(file, Function, [F | Args])
         || {Function, Args} <- [{read, [1]}, {write, ["x"]}, {pread, [0, 1]}, {pwrite, [0, "x"]},
                                 {read_line, []}, {position, [bof]}, {position, [eof]}, {truncate, []},
                                 {sync, []}, {datasync, []}, {allocate, [0, 1]},
                                 {advise, [0, 1, normal]}]],
        {error, closed} = emmap:flush(F),
        {error, closed} = emmap:resize(F),
        closed = raised(fun() -> emmap:info(F) end)
    end).

%%% The cursor.

a_cursor_beyond_the_end_reads_eof(Config) ->
    with_region(Config, ?FUNCTION_NAME, 100, fun(F) ->
        {ok, 90} = emmap:position(F, 90),
        {ok, 50} = emmap:resize(F, 50),
        eof = emmap:read(F, 1),
        eof = emmap:read_line(F)
    end).

a_write_past_the_end_leaves_the_cursor(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        {ok, 8} = emmap:position(F, 8),
        badarg = raised(fun() -> emmap:write(F, "long") end),
        {ok, 8} = emmap:position(F, cur),
        ok = emmap:write(F, "89"),
        {ok, 10} = emmap:position(F, cur)
    end).

two_readers_never_get_the_same_bytes(Config) ->
    with_region(Config, ?FUNCTION_NAME, 8000, fun(F) ->
        ok = emmap:pwrite(F, 0, [<<N:64>> || N <- lists:seq(1, 1000)]),
        Read = fun Read(Seen) ->
            case emmap:read(F, 8) of
                {ok, <<N:64>>} -> Read([N | Seen]);
                eof -> Seen
            end
        end,
        Seen = emmap_test:in_parallel(lists:duplicate(4, fun() -> Read([]) end)),
        true = lists:seq(1, 1000) =:= lists:sort(lists:append(Seen))
    end).

two_handles_have_two_cursors(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        {ok, G, _} = emmap:open(atom_to_list(?FUNCTION_NAME), [read]),
        ok = emmap:write(F, "01234"),
        {ok, <<"01">>} = emmap:read(G, 2),
        {ok, 5} = emmap:position(F, cur),
        {ok, 2} = emmap:position(G, cur)
    end).

%%% What is no handle.

a_handle_is_no_handle_on_another_node(Config) ->
    #{node := D} = ?config(daemon, Config),
    Other = emmap_test:node(Config, #{application => [{daemon, external}, {node, D}]}),
    F = emmap_test:on(?config(client, Config), fun() ->
        {ok, F, _} = emmap:open(atom_to_list(?FUNCTION_NAME), 0, 10, [create, write]),
        F
    end),
    emmap_test:on(Other, fun() ->
        [badarg = raised(Use) || Use <- [fun() -> emmap:pread(F, 0, 1) end,
                                         fun() -> emmap:read(F, 1) end,
                                         fun() -> emmap:pwrite(F, 0, "x") end,
                                         fun() -> emmap:position(F, bof) end]],
        ok
    end).

what_is_no_handle_is_badarg(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        [badarg = raised(fun() -> apply(emmap, Function, [Wrong | Args]) end)
         || Wrong <- [an_atom, 17, self(), {}, #{}, setelement(3, F, other), {F}],
            {Function, Args} <- [{pread, [0, 1]}, {pwrite, [0, "x"]}, {read, [1]}, {write, ["x"]},
                                 {position, [bof]}, {close, []}, {resize, []}, {sync, []},
                                 {patomic_add, [0, 1]}, {cast, [sync]}, {barrier, []}, {call, [ping]}]]
    end).

a_name_has_no_cursor(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(_) ->
        Name = atom_to_list(?FUNCTION_NAME),
        ok = emmap:pwrite(Name, 0, "x"),
        [badarg = raised(fun() -> apply(emmap, Function, [Name | Args]) end)
         || {Function, Args} <- [{read, [1]}, {write, ["x"]}, {read_line, []}, {position, [bof]},
                                 {truncate, []}, {cast, [{pwrite, 0, "x"}]}, {barrier, []}]]
    end).

a_badarg_names_the_argument(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        #{2 := _} = explained(emmap, pwrite, [F, -1, "x"])
    end).

a_badarg_of_open_names_the_option(Config) ->
    at(Config, fun() ->
        Options = [create, write, {colour, blue}],
        #{4 := Text} = explained(emmap, open, ["anything", 0, 10, Options]),
        true = string:find(io_lib:format("~ts", [Text]), "colour") =/= nomatch
    end).

direct_reads_are_copies(Config) ->
    at(Config, fun() ->
        {ok, F, _} = emmap:open("direct", 0, 100000, [create, write, direct]),
        ok = emmap:pwrite(F, 0, binary:copy(<<"a">>, 100000)),
        {ok, Bin} = emmap:pread(F, 0, 100000),
        ok = emmap:pwrite(F, 0, binary:copy(<<"b">>, 100000)),
        true = Bin =:= binary:copy(<<"a">>, 100000),
        ok = emmap:close(F),
        true = Bin =:= binary:copy(<<"a">>, 100000)
    end).

%%% Batches, requests, time limits.

a_batch_spans_objects(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        C = emmap:open_counters("batch", 2),
        {ok, [ok, {ok, 0}, {ok, <<"x">>}, {error, badarg}, ok]} =
            emmap:batch([{F, {pwrite, 0, "x"}}, {C, {inc_counter, 0, 5}}, {F, {pread, 0, 1}},
                         {C, {inc_counter, 2}}, sync]),
        {ok, [{ok, 5}, ok]} = emmap:batch(C, [{read_counter, 0}, sync]),
        {ok, []} = emmap:batch([])
    end).

a_batch_of_rubbish_is_badarg(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        [badarg = raised(fun() -> emmap:batch(Items) end)
         || Items <- [a, [a], [{F, 17}], [{17, sync}], [{F, {pwrite, 0, "x"}} | a]]],
        [badarg = raised(fun() -> emmap:batch(F, Items) end) || Items <- [a, [17], [sync | a]]],
        {ok, <<0>>} = emmap:pread(F, 0, 1)
    end).

a_request_is_sent_and_answered_later(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        Ids = [emmap:send_request(F, {pread, N, 1}) || N <- lists:seq(0, 9)],
        [{reply, {ok, <<0>>}} = gen_server:receive_response(Id, 5000) || Id <- Ids],
        Wait = emmap:send_request(F, {pwrite, 0, <<"x">>}),
        {reply, ok} = gen_server:wait_response(Wait, 5000),
        Collection = gen_server:reqids_add(emmap:send_request(F, {pread, 0, 1}), label,
                                           gen_server:reqids_new()),
        {{reply, {ok, <<"x">>}}, label, _} = gen_server:receive_response(Collection, 5000, true)
    end).

a_call_has_a_time_limit(Config) ->
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        {ok, <<0>>} = emmap:call(F, {pread, 0, 1}, 5000),
        {ok, <<0>>} = emmap:call(F, {pread, 0, 1}),
        {error, {unknown_request, frobnicate}} = emmap:call(F, {frobnicate, 1}),
        try emmap:call(F, {pread, 0, 1}, 0) of
            {ok, <<0>>} -> ok % an answer in no time at all is no mistake
        catch
            exit:{timeout, {emmap, call, [F, {pread, 0, 1}, 0]}} -> ok
        end,
        pong = emmap:ping(),
        receive Stray -> error({stray, Stray}) after 0 -> ok end
    end).

a_barrier_waits_for_all_casts(Config) ->
    with_region(Config, ?FUNCTION_NAME, 80000, fun(F) ->
        [ok = emmap:cast(F, {pwrite, 8 * N, <<N:64>>}) || N <- lists:seq(0, 9999)],
        ok = emmap:barrier(F),
        Whole = << <<N:64>> || N <- lists:seq(0, 9999) >>,
        {ok, Whole} = emmap:pread(F, 0, 80000),
        ok = emmap:cast(F, {pwrite, 80000, <<"x">>}),
        {error, {casts, #{failed := 1, first := badarg}}} = emmap:barrier(F)
    end).

%%% Operations.

info_of_everything(Config) ->
    #{node := D} = ?config(daemon, Config),
    with_region(Config, ?FUNCTION_NAME, 10, fun(F) ->
        D = emmap:which_node(),
        #{node := D, uptime_ms := _} = emmap:info(),
        #{node := D} = emmap:info(D),
        #{kind := region, size := 10} = emmap:info(F),
        #{kind := region, size := 10} = emmap:info(atom_to_list(?FUNCTION_NAME)),
        true = lists:any(fun(#{size := Size}) -> Size =:= 10 end, emmap:list()),
        true = length(emmap:list(D)) > 0,
        true = lists:any(fun(#{node := Node}) -> Node =:= node() end, emmap:clients()),
        true = length(emmap:clients(D)) > 0,
        pong = emmap:ping(),
        enoent = raised(fun() -> emmap:info("there is none") end)
    end).

errors_have_a_text(Config) ->
    at(Config, fun() ->
        [begin
             Text = unicode:characters_to_list(emmap:format_error(Reason)),
             true = length(Text) > 5,
             false = lists:member($\n, Text)
         end || Reason <- [{not_connected, node()}, {nodedown, node()}, {not_started, emmap}, badarg,
                           closed, eacces, fixed_size, alignment, enoent, enospc, eio, erofs, emfile,
                           {size_mismatch, 1, 2}, {not_a, regular_file}, {locked, "who"},
                           {wrong_kind, region}, not_open, {limit, max_frame}, enotsup,
                           not_distributed, {start_distribution, mnesia_running},
                           {casts, #{failed => 1, lost => 2, first => eio}}, something_else,
                           {any, [term]}]]
    end).

%%% Internal.

at(Config, Fun) ->
    emmap_test:on(?config(client, Config), fun() -> Fun(), ok end).

%% Runs Fun(F) on the client node, F a new region of that size whose file has the name of the case.
with_region(Config, Case, Size, Fun) ->
    at(Config, fun() ->
        {ok, F, #{size := Size}} = emmap:open(atom_to_list(Case), 0, Size, [create, read, write]),
        Fun(F)
    end).

raised(Fun) ->
    try Fun() of
        Result -> error({returned, Result})
    catch
        error:Reason -> Reason
    end.

%% What the shell would say about the arguments of a call that is badarg: #{Position => Text}.
explained(Module, Function, Args) ->
    try apply(Module, Function, Args) of
        Result -> error({returned, Result})
    catch
        error:badarg:Stack ->
            {Module, Function, Args, Info} = hd(Stack),
            #{module := Explainer} = ErrorInfo = proplists:get_value(error_info, Info, #{}),
            Explainer:(maps:get(function, ErrorInfo, format_error))(badarg, Stack)
    end.
