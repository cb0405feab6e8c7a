%% Durable objects as a user meets them: through the wrapper and by plain calls, over kills of the
%% daemon, with journals that are damaged, left behind or elsewhere.
-module(durable_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [each_kind_outlives_a_kill, items_in_every_state_outlive_a_kill, an_orderly_end_leaves_plain_files,
     many_processes_share_commits, a_batch_is_one_commit, casts_are_settled_by_a_barrier,
     a_subscriber_works_on_a_durable_queue, dead_letters_go_between_durable_queues,
     a_region_grows_shrinks_and_takes_big_writes, the_strongest_handle_counts,
     a_second_daemon_is_refused_with_the_owner_s_name, a_journal_elsewhere_is_named,
     an_own_daemon_adopts_what_was_left, a_moved_file_needs_its_journal,
     a_damaged_journal_is_repaired_by_hand, what_is_not_a_file_is_not_durable,
     halves_are_used_again].

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(dir, Config), atom_to_list(Case)),
    ok = filelib:ensure_path(Dir),
    [{data, Dir} | Config].

end_per_testcase(_, _) ->
    ok.

%%% What a case has: a daemon, and a node with the wrapper.

world(Config) ->
    world(Config, []).

world(Config, Args) ->
    Daemon = emmap_test:start_daemon(Config, #{data_dir => ?config(data, Config), args => Args}),
    {Daemon, client(Config, Daemon)}.

client(Config, #{node := D}) ->
    emmap_test:node(Config, #{application => [{daemon, external}, {node, D},
                                              {connect_timeout, 10000}]}).

again(Daemon) ->
    ok = emmap_test:kill_daemon(Daemon),
    emmap_test:restart_daemon(Daemon).

counters(Name, N) ->
    emmap:open_counters(Name, N, [{durability, sync}]).

queue(Name) ->
    {ok, Q} = emmap_queue:open(Name, 0, [{durability, sync}]),
    Q.

region(Name, Size) ->
    {ok, F, _} = emmap:open(Name, 0, Size, [create, write, {durability, sync}]),
    F.

journal() ->
    maps:get(journal, emmap:info()).

%% A handle is good on its node only, and does not come back from a way through another.
keep(Handles) ->
    persistent_term:put(?MODULE, Handles).

kept() ->
    persistent_term:get(?MODULE).

%%% Over a kill.

each_kind_outlives_a_kill(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        {C, Q, F} = {counters("c", 4), queue("q"), region("f", 8192)},
        [#{durability := sync} = emmap:info(O) || O <- [C, Q, F]],
        {ok, 0} = emmap:inc_counter(C, 2, 40),
        {ok, [40, 0]} = emmap:update_counters(C, [{2, 2}, {3, -1}]),
        ok = emmap_queue:push_many(Q, [a, b, c]),
        a = emmap_queue:pop(Q),
        ok = emmap:pwrite(F, 100, <<"there">>),
        {ok, 0} = emmap:patomic_add(F, 8, 5),
        ok = emmap:sync(F),
        #{state := ready, objects := 3} = journal(),
        keep({C, Q, F})
    end),
    Next = again(Daemon),
    on(Client, fun() ->
        {C, Q, F} = kept(),
        {ok, [0, 0, 42, -1]} = emmap:read_counters(C),
        {ok, [{2, b}, {3, c}]} = emmap_queue:peek_many(Q, 10),
        {ok, <<"there">>} = emmap:pread(F, 100, 5),
        {ok, 5} = emmap:patomic_read_integer(F, 8),
        [#{durability := sync} = emmap:info(O) || O <- [C, Q, F]]
    end),
    _ = emmap_test:stop_daemon(Next),
    ok.

items_in_every_state_outlive_a_kill(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        Q = queue("q"),
        ok = emmap_queue:push_many(Q, [done, buried, delayed, leased, ready]),
        {ok, Taken} = emmap_queue:take_many(Q, 4, 0),
        [1, 2, 3, 4] = [Id || {Id, 1, _} <- Taken],
        ok = emmap_queue:ack(Q, 1),
        ok = emmap_queue:bury(Q, 2),
        ok = emmap_queue:release(Q, 3, 3600000),
        keep(Q)
    end),
    Next = again(Daemon),
    on(Client, fun() ->
        Q = kept(),
        #{items := 4, ready := 2, buried := 1, delayed := 1, leased := 0} = emmap_queue:info(Q),
        {ok, 4, 2, leased} = emmap_queue:take(Q, 0),
        {ok, 5, 1, ready} = emmap_queue:take(Q, 0),
        {ok, 1} = emmap_queue:kick(Q, 10),
        {ok, 2, 1, buried} = emmap_queue:take(Q, 0)
    end),
    _ = emmap_test:stop_daemon(Next),
    ok.

an_orderly_end_leaves_plain_files(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() -> {ok, 0} = emmap:inc_counter(counters("c", 1), 0, 9) end),
    _ = emmap_test:stop_daemon(Daemon),
    File = filename:join(?config(data, Config), "c"),
    {ok, <<"EMMAP01\n", 1:64/little, 9:64/little>>} = file:read_file(File),
    %% another daemon may have it now, with its own journal or none
    Other = #{node := D} = emmap_test:start_daemon(Config, #{data_dir => ?config(dir, Config)}),
    on(client(Config, Other), fun() ->
        {ok, 9} = emmap:read_counter(emmap:open_counters("an_orderly_end_leaves_plain_files/c", 0), 0),
        D = emmap:which_node()
    end),
    _ = emmap_test:stop_daemon(Other),
    ok.

%%% Commits.

many_processes_share_commits(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        C = counters("c", 1),
        #{groups := Before} = journal(),
        _ = emmap_test:in_parallel([fun() -> [{ok, _} = emmap:inc_counter(C, 0) || _ <- lists:seq(1, 50)] end
                                    || _ <- lists:seq(1, 64)]),
        #{groups := After} = journal(),
        {ok, 3200} = emmap:read_counter(C, 0),
        true = After - Before < 1600
    end),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

a_batch_is_one_commit(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        {C, Q} = {counters("c", 1), queue("q")},
        #{groups := Before} = journal(),
        Requests = [{C, {inc_counter, 0, 1}} || _ <- lists:seq(1, 100)]
            ++ [{Q, {push, I}} || I <- lists:seq(1, 100)],
        {ok, Replies} = emmap:batch(Requests),
        200 = length(Replies),
        #{groups := After} = journal(),
        true = After - Before =< 3 %% that of a checkpoint may come between
    end),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

casts_are_settled_by_a_barrier(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        C = counters("c", 1),
        [ok = emmap:cast(C, {inc_counter, 0, 1}) || _ <- lists:seq(1, 1000)],
        ok = emmap:barrier(C),
        keep(C)
    end),
    Next = again(Daemon),
    on(Client, fun() ->
        C = kept(),
        {ok, 1000} = emmap:read_counter(C, 0)
    end),
    _ = emmap_test:stop_daemon(Next),
    ok.

%%% Queues.

a_subscriber_works_on_a_durable_queue(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        Q = queue("q"),
        {ok, Sub} = emmap_queue:subscribe(Q, 10),
        _ = [ok = emmap_queue:push(Q, I) || I <- lists:seq(1, 100)],
        Items = [receive {emmap_queue, Sub, Id, 1, Item} -> ok = emmap_queue:ack(Q, Id), Item end
                 || _ <- lists:seq(1, 100)],
        Items = lists:seq(1, 100),
        #{items := 0, acked := 100} = emmap_queue:info(Q)
    end),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

dead_letters_go_between_durable_queues(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        Dead = queue("dead"),
        {ok, Q} = emmap_queue:open("q", 0, [{durability, sync}, {max_attempts, 1}, {dead_letter, "dead"}]),
        ok = emmap_queue:push(Q, poison),
        {ok, 1, 1, poison} = emmap_queue:take(Q, 0),
        ok = emmap_queue:release(Q, 1),
        {ok, poison} = emmap_queue:pop_wait(Dead, 20000)
    end),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

a_region_grows_shrinks_and_takes_big_writes(Config) ->
    {Daemon, Client} = world(Config, ["--journal-size", "8388608"]),
    Big = binary:copy(<<"0123456789abcdef">>, 4 bsl 16),
    on(Client, fun() ->
        F = region("f", 4096),
        ok = emmap:pwrite(F, 4000, <<"before">>),
        {ok, 8 bsl 20} = emmap:resize(F, 8 bsl 20),
        ok = emmap:pwrite(F, 4 bsl 20, <<"old">>),
        ok = emmap:call(F, {pwrite, 1 bsl 20, Big}),
        ok = emmap:pwrite(F, 7 bsl 20, <<"cut off">>),
        {ok, 6 bsl 20} = emmap:resize(F, 6 bsl 20),
        ok = emmap:pwrite(F, 100, <<"after">>),
        keep(F)
    end),
    Next = again(Daemon),
    on(Client, fun() ->
        F = kept(),
        #{size := Size} = emmap:info(F),
        6 bsl 20 = Size,
        {ok, <<"before">>} = emmap:pread(F, 4000, 6),
        {ok, <<"after">>} = emmap:pread(F, 100, 5),
        {ok, Big} = emmap:pread(F, 1 bsl 20, byte_size(Big))
    end),
    _ = emmap_test:stop_daemon(Next),
    ok.

%% Many times what the journal has room for, with an object that is touched once.
halves_are_used_again(Config) ->
    {Daemon, Client} = world(Config, ["--journal-size", "8388608"]),
    on(Client, fun() ->
        {C, F} = {counters("c", 1), region("f", 1 bsl 20)},
        {ok, 0} = emmap:inc_counter(C, 0, 7),
        _ = [ok = emmap:pwrite(F, 0, binary:copy(<<I>>, 128 bsl 10)) || I <- lists:seq(1, 250)],
        #{generation := Generation, kept := 0} = journal(),
        true = Generation > 3,
        keep({C, F})
    end),
    Next = again(Daemon),
    on(Client, fun() ->
        {C, F} = kept(),
        {ok, 7} = emmap:read_counter(C, 0),
        {ok, <<250, 250>>} = emmap:pread(F, 128 bsl 10 - 2, 2)
    end),
    _ = emmap_test:stop_daemon(Next),
    ok.

%%% Which objects.

the_strongest_handle_counts(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        {ok, Plain, _} = emmap:open("f", 0, 4096, [create, write]),
        #{durability := default} = emmap:info(Plain),
        Durable = region("f", 4096),
        #{durability := sync} = emmap:info(Plain),
        #{groups := Before} = journal(),
        ok = emmap:pwrite(Plain, 0, <<"x">>),
        #{groups := After} = journal(),
        true = After > Before,
        ok = emmap:close(Durable),
        #{durability := default} = emmap:info(Plain),
        ok = emmap:pwrite(Plain, 0, <<"y">>),
        #{groups := Last} = journal(),
        ok = emmap:pwrite(Plain, 0, <<"z">>),
        #{groups := Last} = journal()
    end),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

what_is_not_a_file_is_not_durable(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        [badarg = (catch error_of(fun() -> emmap:open("f", 0, 64, [create, write, Kind, {durability, sync}]) end))
         || Kind <- [private, anon]]
    end),
    _ = emmap_test:stop_daemon(Daemon),
    ok.

error_of(Fun) ->
    try Fun() of
        {error, Reason} -> Reason
    catch
        error:Reason -> Reason
    end.

%%% Other daemons, other places.

a_second_daemon_is_refused_with_the_owner_s_name(Config) ->
    {#{node := First} = Daemon, Client} = world(Config),
    on(Client, fun() -> region("f", 64) end),
    Second = emmap_test:start_daemon(Config, #{data_dir => ?config(data, Config)}),
    Owner = atom_to_binary(First),
    Other = client(Config, Second),
    on(Other, fun() ->
        {error, {locked, Owner}} = emmap:open("f", 0, 64, [write]),
        {error, {locked, Owner}} = emmap:open("new", 0, 64, [create, write, {durability, sync}]),
        {ok, _, _} = emmap:open("plain", 0, 64, [create, write]),
        #{state := locked} = journal()
    end),
    _ = emmap_test:stop_daemon(Daemon),
    on(Other, fun() ->
        F = region("f", 64),
        ok = emmap:pwrite(F, 0, <<"mine">>),
        #{state := ready} = journal()
    end),
    _ = emmap_test:stop_daemon(Second),
    ok.

a_journal_elsewhere_is_named(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() -> ok = emmap:pwrite(region("f", 64), 0, <<"kept">>) end),
    ok = emmap_test:kill_daemon(Daemon),
    Dir = ?config(data, Config),
    Journal = list_to_binary(filename:join(Dir, ".emmap")),
    Other = emmap_test:start_daemon(Config, #{data_dir => ?config(dir, Config)}),
    Name = filename:join(filename:basename(Dir), "f"),
    on(client(Config, Other), fun() ->
        {error, {needs_journal, Journal} = Reason} = emmap:open(Name, 0, 64, [write]),
        {error, {needs_journal, Journal}} = emmap:open(Name, 0, 64, [write, {durability, sync}]),
        true = is_list(unicode:characters_to_list(emmap:format_error(Reason)))
    end),
    %% given up by hand: what the file has is there, as after a power cut
    {0, _} = emmapd(Config, ["forget-journal", filename:join(Dir, "f")]),
    on(client(Config, Other), fun() -> {ok, _, _} = emmap:open(Name, 0, 64, [write]) end),
    _ = emmap_test:stop_daemon(Other),
    ok.

an_own_daemon_adopts_what_was_left(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() -> {ok, 0} = emmap:inc_counter(counters("c", 1), 0, 5) end),
    ok = emmap_test:kill_daemon(Daemon),
    Dir = ?config(data, Config),
    Other = emmap_test:start_daemon(Config, #{data_dir => ?config(dir, Config),
                                              args => ["--adopt-journals"]}),
    on(client(Config, Other), fun() ->
        C = counters(filename:join(filename:basename(Dir), "c"), 1),
        {ok, 5} = emmap:inc_counter(C, 0, 1),
        #{durability := sync} = emmap:info(C)
    end),
    _ = emmap_test:stop_daemon(Other),
    ok.

a_moved_file_needs_its_journal(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() -> ok = emmap:pwrite(region("f", 64), 0, <<"kept">>) end),
    ok = emmap_test:kill_daemon(Daemon),
    Dir = ?config(data, Config),
    ok = file:rename(filename:join(Dir, "f"), filename:join(Dir, "g")),
    Next = emmap_test:restart_daemon(Daemon),
    on(Client, fun() ->
        {error, enoent} = emmap:open("f", 0, 64, [write]),
        {error, {needs_journal, _}} = emmap:open("g", 0, 64, [write])
    end),
    _ = emmap_test:stop_daemon(Next),
    ok.

%%% A damaged journal.

a_damaged_journal_is_repaired_by_hand(Config) ->
    {Daemon, Client} = world(Config),
    on(Client, fun() ->
        C = counters("c", 1),
        [{ok, _} = emmap:inc_counter(C, 0) || _ <- lists:seq(1, 20)],
        keep(C)
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Dir = ?config(data, Config),
    %% a group of one increment is a page
    damage(filename:join([Dir, ".emmap", "j0"]), filename:join([Dir, ".emmap", "j1"]), 6 * 4096 + 40),
    {1, Lines} = emmapd(Config, ["--allow-root", "--sname", atom_to_list(maps:get(node, Daemon)),
                                 "--data-dir", Dir, "--cookie-file", filename:join(?config(dir, Config), "cookie")]),
    {match, _} = re:run(Lines, "j[01], offset 24576"),
    {0, Repaired} = emmapd(Config, ["repair-journal", Dir]),
    {match, _} = re:run(Repaired, "cut at offset 24576"),
    {0, Sound} = emmapd(Config, ["repair-journal", Dir]),
    {match, _} = re:run(Sound, "nothing is damaged"),
    Next = emmap_test:restart_daemon(Daemon),
    on(Client, fun() ->
        C = kept(),
        %% what was cut off is lost; the file may have got it by itself
        {ok, N} = emmap:read_counter(C, 0),
        true = N > 0 andalso N =< 20
    end),
    _ = emmap_test:stop_daemon(Next),
    ok.

%% In the half that is written.
damage(J0, J1, At) ->
    {ok, <<_:32/binary, G0:64/little, _/binary>>} = file:read_file(J0),
    {ok, <<_:32/binary, G1:64/little, _/binary>>} = file:read_file(J1),
    {ok, File} = file:open(case G0 > G1 of true -> J0; false -> J1 end, [read, write, raw, binary]),
    {ok, <<Byte>>} = file:pread(File, At, 1),
    ok = file:pwrite(File, At, <<(Byte bxor 1)>>),
    ok = file:close(File).

%% Runs emmapd to its end: its status, and what it has printed.
emmapd(Config, Args) ->
    Program = emmap_program:start(emmap_test:daemon_path(), Args,
                                  #{env => [{"ERL_EPMD_PORT", integer_to_list(?config(epmd, Config))},
                                            {"HOME", ?config(dir, Config)}]}),
    Status = emmap_program:await_exit(Program),
    Lines = lists:join("\n", emmap_program:lines(Program)),
    ok = emmap_program:stop(Program),
    {Status, iolist_to_binary(Lines)}.
