-module(emmap_daemon_tests).
-include_lib("eunit/include/eunit.hrl").

config() ->
    #{data_dir => "/d", allow_paths => ["/a", <<"/b">>], cookie_file => default,
      log_level => info, daemon_args => ["--max-frame", "1000000"]}.

an_own_daemon_ends_with_its_node_test() ->
    ?assertEqual(["--sname", "x@localhost", "--data-dir", "/d", "--log-level", "info",
                  "--allow-path", "/a", "--allow-path", <<"/b">>,
                  "--cookie-file", "-", "--stop-on-eof", "--allow-root", "--adopt-journals",
                  "--max-frame", "1000000"],
                 emmap_daemon:args(own, 'x@localhost', config())).

a_shared_daemon_stays_test() ->
    Args = emmap_daemon:args(shared, 'x@127.0.0.1', (config())#{cookie_file => "/c"}),
    ?assertEqual(["--name", "x@127.0.0.1"], lists:sublist(Args, 2)),
    ?assertNot(lists:member("--stop-on-eof", Args)),
    ?assertNot(lists:member("--allow-root", Args)),
    ?assert(lists:prefix(["--cookie-file", "/c", "--log-file", "/d/emmapd.log"],
                         lists:nthtail(10, Args))).

no_cookie_is_on_the_command_line_test() ->
    Args = emmap_daemon:args(own, 'x@localhost', config()),
    ?assertEqual("-", hd(tl(lists:dropwhile(fun(A) -> A =/= "--cookie-file" end, Args)))).

lines_of_its_log_are_events_test_() ->
    [?_assertEqual(Event, emmap_daemon:log_event(Line))
     || {Line, Event} <- [{<<"error disk on fire">>, {error, <<"disk on fire">>}},
                          {<<"warning hot">>, {warning, <<"hot">>}},
                          {<<"notice warm">>, {notice, <<"warm">>}},
                          {<<"info mild">>, {info, <<"mild">>}},
                          {<<"debug cool">>, {debug, <<"cool">>}},
                          {<<"emmapd: no such option">>, {notice, <<"emmapd: no such option">>}},
                          {<<"errors">>, {notice, <<"errors">>}},
                          {<<>>, {notice, <<>>}}]].
