-module(emmap_error_tests).
-include_lib("eunit/include/eunit.hrl").

%% Every reason of the contract, and a word that its line must have.
reasons() ->
    [{not_distributed, "-sname"},
     {{start_distribution, mnesia_running}, "mnesia"},
     {{start_distribution, eperm}, "eperm"},
     {{bad_config, hang_timeout, soon}, "hang_timeout"},
     {{not_started, emmap}, "ensure_all_started"},
     {{not_connected, 'd@h'}, "nothing was sent"},
     {{not_connected, 'd@h'}, "the same cookie"},
     {{nodedown, 'd@h'}, "may or may not"},
     {{emmapd, {exit_status, 2, <<"no such option">>}}, "no such option"},
     {{emmapd, {exit_status, 2, <<>>}}, "status 2"},
     {{emmapd, {"/x/emmapd", enoent}}, "/x/emmapd: no such file"},
     {{emmapd, timeout}, "ready in time"},
     {{cookie_file, "/x", eacces}, "permission denied"},
     {{cannot_open_file, "hits", enoent}, "hits: no such file"},
     {{invalid_file_header, "hits", <<"GIF8">>}, "GIF8"},
     {{invalid_file_header, <<"GIF8">>}, "GIF8"},
     {{casts, #{failed => 3, lost => 4, first => badarg}}, "3 casts failed (the first: badarg), 4"},
     {{size_mismatch, 10, 20}, "10 bytes, not 20"},
     {{not_a, counters}, "counters"},
     {{not_a, regular_file}, "not a regular file"},
     {{wrong_kind, region}, "region"},
     {{limit, max_frame}, "longer than a message"},
     {{limit, max_leases}, "max_leases"},
     {{limit, max_all_leases}, "limit max_all_leases is reached"},
     {{limit, max_object_bytes}, "longer than the daemon's limit max_object_bytes"},
     {{limit, reserve_fds}, "no descriptor is left"},
     {{locked, unknown}, "another program"},
     {{not_leased, [3, 4]}, "[3,4]"},
     {{lease_lost, 7}, "item 7"},
     {{locked, 'd@h'}, "shared"},
     {{damaged, <<"slot A">>}, "slot A"},
     {{corrupt, 17}, "17"},
     {{already_registered, jobs}, "jobs"},
     {{block_size, 64}, "64"},
     {{needs_journal, "/j"}, "/j"},
     {{bad_option, foo}, "foo"},
     {{bad_option, create}, "create is no option here, or not without write"},
     {{unknown_request, foo}, "foo"},
     {{2, badarg}, "after 2"},
     {closed, "closed"}, {stale, "earlier connection"}, {not_open, "open"},
     {fixed_size, "fixed"}, {alignment, "multiple of 8"}, {full, "room"},
     {not_leased, "leased"}, {badarg, "argument"}, {enotsup, "supported"},
     {enoent, "no such file"}, {enospc, "no space"}, {unheard_of, "unheard_of"},
     {{some, [other, "term"]}, "other"}].

every_reason_is_one_line_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Reason])),
      fun() ->
              Text = emmap:format_error(Reason),
              ?assert(io_lib:char_list(Text)),
              ?assertNot(lists:member($\n, Text)),
              ?assertNotEqual(nomatch, string:find(Text, Word))
      end} || {Reason, Word} <- reasons()].

an_error_tuple_is_taken_too_test() ->
    ?assertEqual(emmap:format_error(closed), emmap:format_error({error, closed})).

%% What the shell shows of a badarg: the argument and why.
arguments_are_named_test_() ->
    [{lists:flatten(io_lib:format("~s ~0p", [Function, Args])),
      fun() ->
              Explained = explained(emmap, Function, Args, none),
              ?assertEqual([Argument], maps:keys(Explained)),
              ?assertNotEqual(nomatch, string:find(maps:get(Argument, Explained), Word))
      end} || {Function, Args, Argument, Word} <-
                  [{pread, [foo, 0, 1], 1, "handle"},
                   {pread, ["f", -1, 1], 2, "non-negative"},
                   {pread, ["f", 0, x], 3, "non-negative"},
                   {pwrite, ["f", 0, [a]], 3, "iodata"},
                   {pwrite, ["f", 9, <<>>], 2, "outside"},
                   {read, ["f", 1], 1, "handle"},
                   {open, [{x}, []], 1, "name"},
                   {open, ["", []], 1, "empty"},
                   {open, ["f", 0, -1, []], 3, "non-negative"},
                   {open_counters, ["f", -1], 2, "non-negative"},
                   {inc_counter, ["c", 99], 2, "outside"},
                   {inc_counter, ["c", 0, 1 bsl 63], 3, "64 bits"},
                   {update_counters, ["c", [{0, 1}, x]], 2, "pairs"},
                   {read_counters, ["c", [a]], 2, "integers"},
                   {patomic_add, ["f", 0, 1.0], 3, "64 bits"},
                   {patomic_cas, ["f", 0, x, 1], 3, "64 bits"},
                   {call, ["f", 3], 2, "request"},
                   {call, ["f", close], 2, "functions"},
                   {call, ["f", sync, -1], 3, "milliseconds"},
                   {send_request, ["f", {barrier}], 2, "functions"},
                   {sync, [17], 1, "handle"}]].

arguments_of_queues_are_named_test_() ->
    Fun = fun(_) -> ok end,
    [{lists:flatten(io_lib:format("~s ~0p", [Function, Args])),
      fun() ->
              Explained = explained(emmap_queue, Function, Args, none),
              ?assertEqual([Argument], maps:keys(Explained)),
              ?assertNotEqual(nomatch, string:find(maps:get(Argument, Explained), Word))
      end} || {Function, Args, Argument, Word} <-
                  [{push, [17, x], 1, "process"},
                   {push, ["q", x, 10], 3, "level"},
                   {push_many, ["q", [a | b]], 2, "list"},
                   {push_async, ["q", x], 1, "handle"},
                   {barrier, [{jobs, 'a@b'}], 1, "handle"},
                   {close, [self()], 1, "handle"},
                   {open, [{q}, 0, []], 1, "name"},
                   {open, ["q", -1, []], 2, "non-negative"},
                   {open, ["q", 0, [fixed_size]], 2, "fixed_size"},
                   {pop_wait, ["q", soon], 2, "milliseconds"},
                   {pop_many, ["q", 0], 2, "positive"},
                   {pop_many, ["q", 1, -1], 3, "milliseconds"},
                   {take, ["q", 0, 0], 3, "default"},
                   {take_many, ["q", 1, 0, never], 4, "default"},
                   {ack, ["q", a], 2, "integer"},
                   {ack_many, ["q", [1, a]], 2, "list"},
                   {release, ["q", 1, -1], 3, "integer"},
                   {release_many, ["q", 1], 2, "list"},
                   {kick, ["q", 0], 2, "positive"},
                   {peek_many, ["q", 0], 2, "positive"},
                   {subscribe, ["q", 0], 2, "positive"},
                   {unsubscribe, ["q", me], 2, "reference"},
                   {unsubscribe, ["q", make_ref()], 2, "no subscription"},
                   {try_pop, ["q", fun erlang:max/2], 2, "one argument"},
                   {pop, ["q", 0, Fun], 3, "two arguments"},
                   {rpeek, [pid, 0, Fun], 3, "two arguments"}]].

a_wrong_option_is_named_test() ->
    ?assertEqual(#{2 => "foo is no option here, or has a wrong value"},
                 explained(emmap, open, ["f", [foo]], {bad_option, foo})).

explained(Module, Function, Args, Cause) ->
    try emmap_error:badarg(Module, Function, Args, Cause)
    catch
        error:badarg:Stack ->
            ?assertMatch([{Module, Function, Args, _} | _], Stack),
            emmap_error:format_error(badarg, Stack)
    end.
