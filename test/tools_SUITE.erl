%% The subcommands of emmapd, as somebody types them, on files that a daemon has made.
-module(tools_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2]).
-import(emmap_tool, [run/1, run/2]).

-define(TERMS, [{mail, "ada"}, <<"bytes">>, #{a => [1.5, -1]}, "é", 'an atom', [], {}]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [each_tool_has_a_help, wrong_use_is_told,
     sound_files_are_sound, info_tells_what_a_file_is, a_dump_has_every_item, json_has_one_object_a_line,
     a_dump_of_a_region_leaves_zeros_out, a_reader_that_goes_ends_a_dump,
     files_in_use_are_refused, live_looks_at_a_file_in_use,
     live_looks_at_what_changes,
     a_durable_file_is_looked_at_with_its_journal, a_journal_is_looked_at, what_is_no_file_is_told,
     damaged_queues_keep_what_is_whole, damaged_blocks_keep_what_is_whole,
     damaged_counters_keep_what_is_there,
     damaged_journals_are_told_where_the_daemon_refuses_them,
     damaged_queues_of_the_nif_library_are_told,
     repair_refuses_and_leaves_nothing, repair_of_what_is_sound_is_a_copy,
     repair_of_a_durable_file_has_its_journal, the_journal_of_a_cut_file_counts_up_to_its_end].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Made = filename:join(?config(dir, Config), "made"),
    Daemon = emmap_test:start_daemon(Config, #{data_dir => Made}),
    Client = client(Config, Daemon),
    on(Client, fun make_all/0),
    ok = emmap_test:stop_node(Client),
    _ = emmap_test:stop_daemon(Daemon),
    ok = file:write_file(filename:join(Made, "nif"), nif_queue([a, {b, "c"}])),
    [{made, Made} | Config].

end_per_suite(Config) ->
    emmap_test:stop(Config).

client(Config, #{node := D}) ->
    emmap_test:start_node(Config, #{application => [{daemon, external}, {node, D}]}).

%% A file of each kind, with what there can be in it.
make_all() ->
    {ok, Q} = emmap_queue:open("queue", 0, [{max_items, 1000}, {lease_ms, 60000}, {dead_letter, "dead"}]),
    ok = emmap_queue:push_many(Q, ?TERMS),
    {ok, 1, 1, _} = emmap_queue:take(Q),
    {ok, 2, 1, _} = emmap_queue:take(Q),
    {ok, 3, 1, _} = emmap_queue:take(Q),
    {ok, 4, 1, _} = emmap_queue:take(Q),
    ok = emmap_queue:bury(Q, 2),
    ok = emmap_queue:release(Q, 3, 3600000),
    ok = emmap_queue:release(Q, 1),
    ok = emmap_queue:ack(Q, 4),
    ok = emmap_queue:close(Q),
    C = emmap:open_counters("counters", 5),
    {ok, _} = emmap:inc_counter(C, 1, 17),
    {ok, _} = emmap:inc_counter(C, 3, -4),
    ok = emmap:close_counters(C),
    {ok, B, _} = emmap:open("blocks", 0, 65536, [create, read, write, fit]),
    ok = emmap:init_block_storage(B, 8),
    [_, A, _] = emmap:store_blocks(B, [<<"block  1">>, <<"block  2">>, <<"block  3">>]),
    true = emmap:free_block(B, A),
    ok = emmap:close(B),
    {ok, R, _} = emmap:open("region", 0, 65536, [create, read, write, fit]),
    ok = emmap:pwrite(R, 4096, <<"hello">>),
    ok = emmap:close(R).

%% A queue of the NIF library.
nif_queue(Terms) ->
    Records = << <<(nif_record(term_to_binary(T)))/binary>> || T <- Terms >>,
    Tail = 16 + byte_size(Records),
    <<(Tail + 100):32, 16:32, Tail:32, Tail:32, Records/binary, 0:(100 * 8)>>.

nif_record(Binary) ->
    Pad = (byte_size(Binary) + 8) rem 8,
    Size = byte_size(Binary) + 8 + Pad,
    <<Size:32, Binary/binary, 0:(Pad * 8), Size:32>>.

made(Config, Name) ->
    filename:join(?config(made, Config), Name).

%% The lines of a dump that are terms, read back.
terms(Output) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Output), 1),
    read(Tokens, []).

read([], Terms) ->
    lists:reverse(Terms);
read(Tokens, Terms) ->
    {Form, [Dot | Rest]} = lists:splitwith(fun(T) -> element(1, T) =/= dot end, Tokens),
    {ok, Term} = erl_parse:parse_term(Form ++ [Dot]),
    read(Rest, [Term | Terms]).

%%% The frame.

each_tool_has_a_help(_Config) ->
    {0, List, <<>>} = run(["help"]),
    {match, Names} = re:run(List, "(?m)^  emmapd ([a-z-]+) ", [global, {capture, all_but_first, list}]),
    true = length(Names) >= 5,
    [begin
         {0, Help, <<>>} = run(["help", Name]),
         {0, Help, <<>>} = run([Name, "--help"]),
         {match, _} = re:run(Help, "^usage: emmapd " ++ Name ++ " ")
     end || [Name] <- Names],
    {0, Whole, <<>>} = run(["--help"]),
    {match, _} = re:run(Whole, "  emmapd repair-journal DATA_DIR: ").

wrong_use_is_told(_Config) ->
    [begin
         {2, <<>>, Said} = run(Args),
         {match, _} = re:run(Said, Why)
     end || {Args, Why} <- [{["nothing"], "emmapd: nothing: no such subcommand"},
                            {["help", "nothing"], "no such subcommand"},
                            {["check"], "emmapd: check: an argument is missing\nusage: emmapd check"},
                            {["dump", "a", "b"], "emmapd: dump b: one argument too many"},
                            {["dump", "--most", "x", "a"], "dump x: --most: a number from 1 to"},
                            {["dump", "--most"], "dump --most: a value is missing"},
                            {["info", "--any", "a"], "info --any: no such option"}]].

what_is_no_file_is_told(Config) ->
    Dir = ?config(dir, Config),
    Fifo = filename:join(Dir, "fifo"),
    [] = os:cmd("mkfifo " ++ Fifo),
    [{2, <<>>, _} = run([Tool, Path])
     || Tool <- ["check", "dump", "info"],
        Path <- [Dir, Fifo, filename:join(Dir, "nothing")]],
    {2, <<>>, Said} = run(["check", "--kind", "any", made(Config, "queue")]),
    {match, _} = re:run(Said, "a kind is ").

%%% Sound files.

sound_files_are_sound(Config) ->
    Names = [{"queue", "queue, 6 items: sound"}, {"counters", "counters, 5 counters: sound"},
             {"blocks", "blocks, 2 blocks: sound"}, {"nif", "nif_queue, 2 items: sound"},
             {"region", "region, 65536 bytes: no checksums, nothing to check"}],
    Files = [{made(Config, Name), Line} || {Name, Line} <- Names],
    {0, Output, <<>>} = run(["check" | [Path || {Path, _} <- Files]]),
    Output = iolist_to_binary([[Path, ": ", Line, "\n"] || {Path, Line} <- Files]),
    {0, <<>>, <<>>} = run(["check", "--quiet" | [Path || {Path, _} <- Files]]).

info_tells_what_a_file_is(Config) ->
    {0, Queue, <<>>} = run(["info", made(Config, "queue")]),
    [{match, _} = re:run(Queue, "(?m)^" ++ Line ++ "$")
     || Line <- ["kind: queue", "version: 1", "uuid: [0-9a-f]{32}", "items: 6", "ready: 4", "delayed: 1",
                 "buried: 1", "pushed: 7", "acked: 1", "max_items: 1000", "lease_ms: 60000",
                 "overflow: reject", "durable: false", "dead_letter: .*/dead", "closed_cleanly: true"]],
    {0, Blocks, <<>>} = run(["info", made(Config, "blocks"), "--json"]),
    {match, _} = re:run(Blocks, "^\\{\"file\":\".*\",\"kind\":\"blocks\",\"size\":65536,\"version\":1,"
                                "\"uuid\":\"[0-9a-f]+\",\"created\":[0-9]+,\"closed_cleanly\":true,\"block_size\":8,"
                                "\"capacity\":3584,\"used\":2\\}\n$"),
    {0, Counters, <<>>} = run(["info", "--json", made(Config, "counters")]),
    {match, _} = re:run(Counters, "\"kind\":\"counters\",\"size\":56,\"counters\":5\\}").

a_dump_has_every_item(Config) ->
    {0, Queue, <<>>} = run(["dump", made(Config, "queue")]),
    [T1, T2, T3, _, T5, T6, T7] = ?TERMS,
    [{1, At, 1, ready, T1}, {2, At2, 1, buried, T2}, {3, _, 1, {delayed, Until}, T3},
     {5, _, 0, ready, T5}, {6, _, 0, ready, T6}, {7, _, 0, ready, T7}] = terms(Queue),
    true = abs(erlang:system_time(millisecond) - At) < 600000 andalso At2 >= At,
    true = Until > At + 3500000 andalso Until < At + 3700000,
    {0, Counters, <<>>} = run(["dump", made(Config, "counters")]),
    [{0, 0}, {1, 17}, {2, 0}, {3, -4}, {4, 0}] = terms(Counters),
    {0, Blocks, <<>>} = run(["dump", made(Config, "blocks")]),
    [{0, <<"block  1">>}, {2, <<"block  3">>}] = terms(Blocks),
    {0, Nif, <<>>} = run(["dump", made(Config, "nif")]),
    [{1, 0, 0, ready, a}, {2, 0, 0, ready, {b, "c"}}] = terms(Nif),
    {0, Short, <<>>} = run(["dump", "--most", "3", made(Config, "queue")]),
    {match, _} = re:run(Short, "(?m)^\\{1,[0-9]+,1,ready,\\{mai?l?,?\\.\\.\\.").

json_has_one_object_a_line(Config) ->
    {0, Queue, <<>>} = run(["dump", "--json", made(Config, "queue")]),
    [First | _] = Lines = string:lexemes(Queue, "\n"),
    6 = length(Lines),
    {match, _} = re:run(First, "^\\{\"seq\":1,\"pushed\":[0-9]+,\"attempts\":1,\"state\":\"ready\","
                               "\"term\":\"\\{mail,\\\\\"ada\\\\\"\\}\"\\}$"),
    {match, _} = re:run(lists:nth(3, Lines), "\"state\":\"delayed\",\"until\":[0-9]+,\"term\""),
    {0, <<"{\"index\":0,\"value\":0}\n{\"index\":1,\"value\":17}\n", _/binary>>, <<>>} =
        run(["dump", "--json", made(Config, "counters")]),
    {0, <<"{\"address\":0,\"size\":8,\"bytes\":\"626c6f636b202031\"}\n", _/binary>>, <<>>} =
        run(["dump", "--json", made(Config, "blocks")]).

a_dump_of_a_region_leaves_zeros_out(Config) ->
    {0, Region, <<>>} = run(["dump", made(Config, "region")]),
    [{4096, <<"hello", 0:(59 * 8)>>}] = terms(Region),
    {0, <<"{\"offset\":4096,\"size\":64,\"bytes\":\"68656c6c6f00", _/binary>>, <<>>} =
        run(["dump", "--json", made(Config, "region")]).

%% By SIGPIPE, as other programs.
a_reader_that_goes_ends_a_dump(Config) ->
    Long = filename:join(?config(dir, Config), "long"),
    ok = file:write_file(Long, <<"EMMAP01\n", 100000:64/little, 0:(100000 * 64)>>),
    {0, <<"{0,0}.\n">>, <<>>} = run(["dump", Long], "\"$@\" 2>\"$said\" | head -n 1").

%%% Files in use.

files_in_use_are_refused(Config) ->
    {Daemon, Client, Dir} = world(Config, "in_use"),
    #{node := Node} = Daemon,
    on(Client, fun() -> keep_all_open() end),
    {2, <<>>, Said} = run(["check", filename:join(Dir, "queue")]),
    {match, _} = re:run(Said, ["queue: ", atom_to_list(Node), " has it open; --live"]),
    [{2, <<>>, _} = run([Tool, filename:join(Dir, Name)])
     || Tool <- ["check", "dump", "info"], Name <- ["queue", "counters", "blocks", "region"]],
    _ = emmap_test:stop_daemon(Daemon),
    {0, _, <<>>} = run(["check" | [filename:join(Dir, N) || N <- ["queue", "counters", "blocks"]]]).

live_looks_at_a_file_in_use(Config) ->
    {Daemon, Client, Dir} = world(Config, "live"),
    #{node := Node} = Daemon,
    on(Client, fun() -> keep_all_open() end),
    {0, Output, <<>>} = run(["check", "--live" | [filename:join(Dir, N)
                                                  || N <- ["queue", "counters", "blocks", "region"]]]),
    {match, _} = re:run(Output, "queue, 3 items: sound\n"),
    {0, Info, <<>>} = run(["info", "--live", filename:join(Dir, "queue")]),
    {match, _} = re:run(Info, ["(?m)^held_by: ", atom_to_list(Node), "$"]),
    {0, Dump, <<>>} = run(["dump", "--live", filename:join(Dir, "queue")]),
    [{1, _, 0, ready, a}, {2, _, 0, ready, b}, {3, _, 0, ready, c}] = terms(Dump),
    on(Client, fun() ->
        {ok, Q} = emmap_queue:open("queue", 0, []),
        {ok, [a, b, c]} = emmap_queue:pop_many(Q, 10)
    end),
    _ = emmap_test:stop_daemon(Daemon).

%% Space is used again all the time; nothing that is taken meanwhile is damage.
live_looks_at_what_changes(Config) ->
    {Daemon, Client, Dir} = world(Config, "busy"),
    on(Client, fun() -> spawn(fun be_busy/0), ok end),
    Files = [filename:join(Dir, N) || N <- ["queue", "blocks"]],
    ok = emmap_test:until(fun() -> lists:all(fun filelib:is_regular/1, Files) end),
    [{0, _, <<>>} = run([Tool, "--live", File], "\"$@\" 2>\"$said\" | grep -a damaged; exit ${PIPESTATUS[0]}")
     || _ <- lists:seq(1, 20), File <- Files, Tool <- ["check", "dump"]],
    ok = emmap_test:stop_node(Client),
    _ = emmap_test:stop_daemon(Daemon),
    {0, _, <<>>} = run(["check" | Files]).

be_busy() ->
    {ok, Q} = emmap_queue:open("queue", 0, []),
    {ok, B, _} = emmap:open("blocks", 0, 65536, [create, read, write, fit]),
    ok = emmap:init_block_storage(B, 8),
    _ = [0 = emmap:store_block(B, <<"12345678">>) || emmap:read_block(B, 0) =:= eof],
    be_busy(Q, B, 0).

be_busy(Q, B, N) ->
    Item = binary:copy(<<N:64>>, 20000),
    ok = emmap_queue:push_many(Q, [Item || _ <- lists:seq(1, 8)]),
    A = emmap:store_block(B, <<N:64>>),
    {ok, [_ | _]} = emmap_queue:pop_many(Q, 8),
    true = emmap:free_block(B, A),
    be_busy(Q, B, N + 1).

world(Config, Name) ->
    Dir = filename:join(?config(dir, Config), Name),
    Daemon = emmap_test:daemon(Config, #{data_dir => Dir}),
    #{node := D} = Daemon,
    {Daemon, emmap_test:node(Config, #{application => [{daemon, external}, {node, D}]}), Dir}.

%% A process of the node's has the handles.
keep_all_open() ->
    Self = self(),
    Keeper = spawn(fun() ->
        {ok, Q} = emmap_queue:open("queue", 0, []),
        ok = emmap_queue:push_many(Q, [a, b, c]),
        C = emmap:open_counters("counters", 3),
        {ok, B, _} = emmap:open("blocks", 0, 65536, [create, read, write, fit]),
        ok = emmap:init_block_storage(B, 8),
        0 = emmap:store_block(B, <<"12345678">>),
        {ok, R, _} = emmap:open("region", 0, 65536, [create, read, write, fit]),
        Self ! {self(), open},
        receive {done, C, R} -> ok end
    end),
    receive {Keeper, open} -> ok after 20000 -> error(not_open) end.

%%% Durable objects.

a_durable_file_is_looked_at_with_its_journal(Config) ->
    {Daemon, Client, Dir} = world(Config, "durable"),
    on(Client, fun() ->
        {ok, Q} = emmap_queue:open("queue", 0, [{durability, sync}]),
        ok = emmap_queue:push_many(Q, [a, b, c]),
        a = emmap_queue:pop(Q)
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Queue = filename:join(Dir, "queue"),
    {0, Dump, <<>>} = run(["dump", Queue]),
    [{2, _, 0, ready, b}, {3, _, 0, ready, c}] = terms(Dump),
    {0, Info, <<>>} = run(["info", Queue]),
    {match, _} = re:run(Info, "(?m)^journal: .*/\\.emmap$"),
    ok = file:rename(filename:join(Dir, ".emmap"), filename:join(Dir, "elsewhere")),
    {2, _, Said} = run(["check", Queue]),
    {match, _} = re:run(Said, "the journal in .*/\\.emmap has changes of it, and cannot be read; --alone"),
    {0, _, <<>>} = run(["check", "--alone", Queue]).

a_journal_is_looked_at(Config) ->
    {Daemon, Client, Dir} = world(Config, "journal"),
    on(Client, fun() ->
        C = emmap:open_counters("counters", 3, [{durability, sync}]),
        [{ok, _} = emmap:inc_counter(C, 0) || _ <- lists:seq(1, 20)]
    end),
    ok = emmap_test:kill_daemon(Daemon),
    %% the one that is written to
    Halves = [Half || Name <- ["j0", "j1"], Half <- [filename:join([Dir, ".emmap", Name])],
                      begins(Half, <<"EMMAPJ1\n">>)],
    [{J, Records}] = [{Half, Records} || Half <- Halves, {0, Dump, <<>>} <- [run(["dump", Half])],
                                         Records <- [terms(Dump)], Records =/= []],
    {0, Check, <<>>} = run(["check", J]),
    {match, _} = re:run(Check, "j[01]: journal, [0-9]+ groups: sound"),
    [<<"counters">>] = lists:usort([filename:basename(Name) || {_, _, open, _, Name} <- Records]),
    20 = length([W || {_, _, write, 16, 8} = W <- Records]),
    {0, _, <<>>} = run(["info", J]),
    %% a group in the middle
    flip(J, 6 * 4096 + 40),
    {1, Damaged, <<>>} = run(["check", J]),
    {match, _} = re:run(Damaged, "at byte 24576: a group is not whole, and one that came after it is").

begins(Path, Magic) ->
    {ok, File} = file:open(Path, [read, raw, binary]),
    {ok, Bytes} = file:read(File, byte_size(Magic)),
    ok = file:close(File),
    Bytes =:= Magic.

flip(Path, At) ->
    {ok, File} = file:open(Path, [read, write, raw, binary]),
    {ok, <<Byte>>} = file:pread(File, At, 1),
    ok = file:pwrite(File, At, <<(Byte bxor 1)>>),
    ok = file:close(File).

%%% Damaged files: check, dump, repair and the daemon say the same of each.

damaged_queues_keep_what_is_whole(Config) ->
    Sound = made_queue(Config),
    Records = records(Sound),
    Items = lists:seq(1, 10),
    [agree(Config, "queue", Name, Damage(Sound, Records), #{lost => Lost, keeps => Items -- Lost, opens => Opens})
     || {Name, Damage, Lost, Opens} <- queue_damages(Records)].

%% {Name, what is done to the file, which items that costs, does a daemon open it}.
queue_damages(Records) ->
    #{3 := {At3, Size3}, 6 := {At6, _}} = Records,
    Fields = [{length, 0}, {kind, 4}, {seq, 8}, {time, 16}, {back, 24}, {epoch, 28}, {payload_hash, 32},
              {header_hash, 36}, {state, 40}, {payload, 48}, {last_byte, Size3 - 4}],
    Superblock = [{version, 8}, {granule, 12}, {uuid, 20}, {created, 33}, {hash, 60}],
    Page = 4096,
    [{{flipped, Field}, fun(B, _) -> flipped(B, At3 + Offset) end, [3], true} || {Field, Offset} <- Fields] ++
    [{{flipped, Field}, fun(B, _) -> flipped(B, Offset) end, [], false} || {Field, Offset} <- Superblock] ++
    [{{flipped, slot, At}, fun(B, _) -> flipped(B, At) end, [], true} || At <- [4096 + 20, 8192 + 20]] ++
    [{{zeroed, page, At}, fun(B, _) -> zeroed(B, At) end, touching(Records, [At]), true}
     || At <- lists:seq(65536 + Page, 65536 + 11 * Page, Page)] ++
    [{swapped, fun(B, _) -> swapped(B, 65536 + 2 * Page, 65536 + 7 * Page) end,
      touching(Records, [65536 + 2 * Page, 65536 + 7 * Page]), true},
     {{cut, in_an_item}, fun(B, _) -> binary:part(B, 0, At6 + 2000) end, [6, 7, 8, 9, 10], false},
     {{cut, between_items}, fun(B, _) -> binary:part(B, 0, At6) end, [6, 7, 8, 9, 10], false}].

%% Items that have bytes in these pages.
touching(Records, Pages) ->
    [Seq || {Seq, {At, Size}} <- lists:sort(maps:to_list(Records)),
            lists:any(fun(P) -> At < P + 4096 andalso P < At + Size end, Pages)].

%% Ten items of 5000 bytes, of which the first were delivered, and the second is buried.
made_queue(Config) ->
    {Daemon, Client, Dir} = world(Config, emmap_test:unique("queue")),
    on(Client, fun() ->
        {ok, Q} = emmap_queue:open("queue", 0, [{max_items, 77}]),
        ok = emmap_queue:push_many(Q, [item(N) || N <- lists:seq(1, 10)]),
        [{ok, N, 1, _} = emmap_queue:take(Q) || N <- [1, 2, 3]],
        ok = emmap_queue:bury(Q, 2),
        [ok = emmap_queue:release(Q, N) || N <- [1, 3]],
        ok = emmap_queue:close(Q)
    end),
    _ = emmap_test:stop_daemon(Daemon),
    {ok, Bytes} = file:read_file(filename:join(Dir, "queue")),
    Bytes.

item(N) ->
    binary:copy(<<(N + 64)>>, 5000).

%% #{Seq => {Offset, Size}}: a new queue's records stand one behind the other.
records(Bytes) ->
    records(Bytes, 65536, #{}).

records(Bytes, At, Found) ->
    case binary:part(Bytes, At, 48) of
        <<Length:32/little, 1:32/little, Seq:64/little, _/binary>> ->
            Size = 48 + (Length + 7) div 8 * 8,
            records(Bytes, At + Size, Found#{Seq => {At, Size}});
        _ ->
            Found
    end.

flipped(Bytes, At) ->
    <<Before:At/binary, Byte, Behind/binary>> = Bytes,
    <<Before/binary, (Byte bxor 1), Behind/binary>>.

zeroed(Bytes, At) ->
    <<Before:At/binary, _:4096/binary, Behind/binary>> = Bytes,
    <<Before/binary, 0:(4096 * 8), Behind/binary>>.

swapped(Bytes, A, B) ->
    <<Before:A/binary, One:4096/binary, _/binary>> = Bytes,
    Between = binary:part(Bytes, A + 4096, B - A - 4096),
    <<_:B/binary, Two:4096/binary, Behind/binary>> = Bytes,
    <<Before/binary, Two/binary, Between/binary, One/binary, Behind/binary>>.

damaged_blocks_keep_what_is_whole(Config) ->
    {ok, Sound} = file:read_file(made(Config, "blocks")),
    [agree(Config, "blocks", Name, Damage(Sound), #{lost => Lost, keeps => [0, 2] -- Lost, opens => Opens})
     || {Name, Damage, Lost, Opens} <-
            [{{flipped, Field}, fun(B) -> flipped(B, At) end, Lost, Opens}
             || {Field, At, Lost, Opens} <- [{version, 8, [], false}, {block_size, 12, [], false},
                                             {uuid, 16, [], false}, {created, 32, [], false},
                                             {hash, 56, [], false}, {bit, 4096, [], true},
                                             {word, 8192, [0], true}, {data, 8200, [0], true},
                                             {word_of_another, 8192 + 32, [2], true}]] ++
            [{zeroed_map, fun(B) -> zeroed(B, 4096) end, [], true},
             {{cut, in_a_block}, fun(B) -> binary:part(B, 0, 8192 + 40) end, [2], true},
             {{cut, before_a_block}, fun(B) -> binary:part(B, 0, 8192 + 32) end, [2], true}]].

damaged_counters_keep_what_is_there(Config) ->
    {ok, Sound} = file:read_file(made(Config, "counters")),
    [agree(Config, "counters", Name, Damage(Sound), #{lost => Lost, keeps => lists:seq(0, 4) -- Lost, opens => false})
     || {Name, Damage, Lost} <-
            [{{flipped, magic}, fun(B) -> flipped(B, 3) end, []},
             {another_version, fun(<<_:8/binary, Rest/binary>>) -> <<"EMMAP02\n", Rest/binary>> end, []},
             {more_than_there_are, fun(<<M:8/binary, _:64, Rest/binary>>) -> <<M/binary, 6:64/little, Rest/binary>> end, [5]},
             {more_than_there_can_be, fun(B) -> flipped(B, 15) end, []},
             {{cut, in_a_counter}, fun(B) -> binary:part(B, 0, 16 + 3 * 8 + 4) end, [3, 4]},
             {{cut, between_counters}, fun(B) -> binary:part(B, 0, 16 + 2 * 8) end, [2, 3, 4]}]].

%% A file of this kind, damaged so. A note says of what nothing is lost.
agree(Config, Kind, Name, Bytes, #{lost := Lost, keeps := Keeps, opens := Opens}) ->
    Dir = filename:join(?config(dir, Config), emmap_test:unique("damaged")),
    ok = filelib:ensure_path(Dir),
    File = filename:join(Dir, Kind),
    New = filename:join(Dir, "new"),
    ok = file:write_file(File, Bytes),
    Status = case Lost =:= [] andalso Opens of true -> 0; false -> 1 end,
    {Name, {Status, Check, <<>>}} = {Name, run(["check", "--kind", Kind, File])},
    {Name, Lost} = {Name, lost(Check)},
    {Name, {Status, Dump, <<>>}} = {Name, run(["dump", "--kind", Kind, File])},
    {Name, Lost} = {Name, lost(Dump)},
    Kept = terms(Dump),
    {Name, Keeps} = {Name, [element(1, T) || T <- Kept]},
    {Name, {0, Repair, <<>>}} = {Name, run(["repair", "--kind", Kind, "--to", New, File])},
    {Name, Lost} = {Name, lost(Repair)},
    {ok, Bytes} = file:read_file(File),
    {Name, {0, _, <<>>}} = {Name, run(["check", New])},
    {0, New1, <<>>} = run(["dump", New]),
    {Name, Kept} = {Name, terms(New1)},
    {1, <<>>, _} = run(["repair", "--kind", Kind, "--to", New, File]),
    daemon_agrees(Config, Dir, Kind, Name, Kept, Opens).

%% The numbers in lines like "damaged: items 6 to 10 at byte 1".
lost(Output) ->
    case re:run(Output, "(?m)damaged: (?:item|block|counter)s? ([0-9]+)(?: to ([0-9]+))?",
                [global, {capture, all_but_first, list}]) of
        nomatch -> [];
        {match, Found} -> lists:sort(lists:append([numbers(F) || F <- Found]))
    end.

numbers([One]) ->
    [list_to_integer(One)];
numbers([First, Last]) ->
    lists:seq(list_to_integer(First), list_to_integer(Last)).

daemon_agrees(Config, Dir, Kind, Name, Kept, Opens) ->
    Daemon = emmap_test:start_daemon(Config, #{data_dir => Dir}),
    Client = client(Config, Daemon),
    {Name, true} = {Name, same(Kept, on(Client, fun() -> content(Kind, "new") end))},
    Old = on(Client, fun() -> content(Kind, Kind) end),
    {Name, Opens} = {Name, same(Kept, Old)},
    ok = emmap_test:stop_node(Client),
    _ = emmap_test:stop_daemon(Daemon).

same(Kept, {ok, Terms}) ->
    lists:sort([{element(1, T), element(tuple_size(T), T)} || T <- Kept]) =:= lists:sort(Terms);
same(_Kept, {error, _}) ->
    false.

%% {ok, [{Number, Term}]} that a client gets of it.
content("queue", Name) ->
    case emmap_queue:open(Name, 0, []) of
        {ok, Q} ->
            {ok, Buried} = emmap_queue:peek_buried(Q, 100),
            Ready = take_all(Q),
            #{max_items := 77} = emmap_queue:info(Q),
            {ok, [{N, T} || {N, _, T} <- Buried] ++ Ready};
        Error ->
            Error
    end;
content("counters", Name) ->
    try emmap:open_counters(Name, 0) of
        C ->
            #{count := N} = emmap:info(C),
            {ok, [{I, V} || I <- lists:seq(0, N - 1), {ok, V} <- [emmap:read_counter(C, I)]]}
    catch
        error:{invalid_file_header, Name, _} = Reason -> {error, Reason}
    end;
content("blocks", Name) ->
    {ok, B, _} = emmap:open(Name, [read, write]),
    case emmap:init_block_storage(B, 8) of
        ok -> {ok, [{A, V} || A <- lists:seq(0, 3), V <- [emmap:read_block(B, A)], is_binary(V)]};
        Error -> Error
    end.

take_all(Q) ->
    case emmap_queue:take(Q) of
        {ok, N, _, T} -> [{N, T} | take_all(Q)];
        empty -> []
    end.

%% A group of one change is a page, the first stands at 4096.
damaged_journals_are_told_where_the_daemon_refuses_them(Config) ->
    {Dir, Half} = made_journal(Config),
    {ok, Sound} = file:read_file(filename:join([Dir, ".emmap", Half])),
    Last = last_page(Sound),
    [journal_agrees(Config, Dir, Half, Name, Damage(Sound), At)
     || {Name, Damage, At} <- [{sound, fun(B) -> B end, none},
                               {{flipped, in_the_middle}, fun(B) -> flipped(B, 6 * 4096 + 40) end, 6 * 4096},
                               {{flipped, its_number}, fun(B) -> flipped(B, 7 * 4096) end, 7 * 4096},
                               {{flipped, the_last}, fun(B) -> flipped(B, Last + 40) end, none},
                               {{flipped, the_header}, fun(B) -> flipped(B, 34) end, 0},
                               {zeroed, fun(B) -> zeroed(B, 6 * 4096) end, 6 * 4096},
                               {swapped, fun(B) -> swapped(B, 5 * 4096, 7 * 4096) end, 5 * 4096},
                               {cut, fun(B) -> binary:part(B, 0, 8 * 4096) end, 8 * 4096}]].

last_page(Bytes) ->
    lists:last([At || At <- lists:seq(4096, 60 * 4096, 4096), binary:part(Bytes, At, 8) =/= <<0:64>>]).

%% The directory as a daemon that was killed has left it, and which half it wrote to.
made_journal(Config) ->
    Dir = filename:join(?config(dir, Config), "journals"),
    Daemon = emmap_test:daemon(Config, #{data_dir => Dir, args => ["--journal-size", "8388608"]}),
    on(client(Config, Daemon), fun() ->
        C = emmap:open_counters("counters", 3, [{durability, sync}]),
        [{ok, _} = emmap:inc_counter(C, 0) || _ <- lists:seq(1, 20)]
    end),
    ok = emmap_test:kill_daemon(Daemon),
    [Half] = [H || H <- ["j0", "j1"], {0, <<_, _/binary>>, <<>>} <- [run(["dump", filename:join([Dir, ".emmap", H])])],
                   begins(filename:join([Dir, ".emmap", H]), <<"EMMAPJ1\n">>)],
    {Dir, Half}.

journal_agrees(Config, From, Half, Name, Bytes, At) ->
    Dir = filename:join(?config(dir, Config), emmap_test:unique("journal")),
    [] = os:cmd("cp -a " ++ From ++ " " ++ Dir),
    File = filename:join([Dir, ".emmap", Half]),
    ok = file:write_file(File, Bytes),
    {Status, Check, <<>>} = run(["check", File]),
    {Name, At} = {Name, told_at(Status, Check)},
    Args = emmap_test:daemon_args(Config, #{node => list_to_atom(emmap_test:unique("journal") ++ "@localhost"),
                                            data_dir => Dir, args => ["--journal-size", "8388608"]}),
    {Name, At} = {Name, refused_at(Config, Args, Half)},
    {0, _, <<>>} = run(["repair-journal", Dir]),
    {Name, none} = {Name, refused_at(Config, Args, Half)}.

told_at(0, _Check) ->
    none;
told_at(1, Check) ->
    {match, [At]} = re:run(Check, "damaged: (?:group [0-9]+ )?at byte ([0-9]+): ", [{capture, all_but_first, list}]),
    list_to_integer(At).

%% A daemon that starts ends at once, for its standard input is closed.
refused_at(Config, Args, Half) ->
    Script = "ERL_EPMD_PORT=" ++ integer_to_list(?config(epmd, Config)) ++ " \"$@\" 2>\"$said\" </dev/null",
    case run(Args, Script) of
        {0, _, _} ->
            none;
        {1, _, Said} ->
            {match, [At]} = re:run(Said, Half ++ ", offset ([0-9]+)", [{capture, all_but_first, list}]),
            list_to_integer(At)
    end.

damaged_queues_of_the_nif_library_are_told(Config) ->
    Dir = filename:join(?config(dir, Config), "nifs"),
    ok = filelib:ensure_path(Dir),
    Sound = nif_queue([a, {b, "c"}, d]),
    At = 16 + byte_size(nif_record(term_to_binary(a))),
    File = filename:join(Dir, "queue"),
    [begin
         ok = file:write_file(File, Bytes),
         {1, Check, <<>>} = run(["check", "--kind", "nif_queue", File]),
         {match, _} = re:run(Check, ["damaged: item 2 at byte ", integer_to_list(At), ": this is no record"]),
         {1, Dump, <<>>} = run(["dump", "--kind", "nif_queue", File]),
         [{1, 0, 0, ready, a}] = terms(Dump),
         {0, Plain, <<>>} = run(["check", File]),
         {match, _} = re:run(Plain, ": region, "),
         {2, <<>>, _} = run(["repair", "--kind", "nif_queue", "--to", File ++ ".new", File]),
         {error, {not_a, queue}} = opened(Config, Dir, "queue")
     end || Bytes <- [flipped(Sound, At + 3), flipped(Sound, At + 4), binary:replace(Sound, <<"c">>, <<>>)]].

opened(Config, Dir, Name) ->
    Daemon = emmap_test:start_daemon(Config, #{data_dir => Dir}),
    Client = client(Config, Daemon),
    Result = on(Client, fun() -> emmap_queue:open(Name, 0, []) end),
    ok = emmap_test:stop_node(Client),
    _ = emmap_test:stop_daemon(Daemon),
    Result.

%%% Repair.

repair_refuses_and_leaves_nothing(Config) ->
    Dir = filename:join(?config(dir, Config), "refused"),
    ok = filelib:ensure_path(Dir),
    Queue = made(Config, "queue"),
    New = filename:join(Dir, "new"),
    There = filename:join(Dir, "there"),
    Zeros = filename:join(Dir, "zeros"),
    ok = file:write_file(There, "something"),
    ok = file:write_file(Zeros, <<0:(200000 * 8)>>),
    [begin
         {Status, _, Said} = run(["repair" | Args]),
         {match, _} = re:run(Said, Why)
     end || {Status, Args, Why} <- [{2, [Queue], "repair --to: the new file is missing"},
                                    {1, ["--to", There, Queue], "there: the file exists"},
                                    {1, ["--to", Queue, Queue], "queue: the file exists"},
                                    {2, ["--to", Dir ++ "/no/new", Queue], "new: no such file"},
                                    {2, ["--to", Dir ++ "/", Queue], "is a directory"},
                                    {1, ["--to", New, "--kind", "queue", Zeros], "nothing of it can be read"},
                                    {1, ["--to", New, "--kind", "blocks", Zeros], "nothing of it can be read"},
                                    {2, ["--to", New, made(Config, "nif")], "converted, not repaired"},
                                    {2, ["--to", New, Dir], "is a directory"}]],
    {ok, Left} = file:list_dir(Dir),
    ["there", "zeros"] = lists:sort(Left),
    {ok, <<"something">>} = file:read_file(There).

repair_of_what_is_sound_is_a_copy(Config) ->
    [begin
         New = filename:join(?config(dir, Config), emmap_test:unique("copy")),
         {0, Told, <<>>} = run(["repair", made(Config, Name), "--to", New]),
         {match, _} = re:run(Told, [" kept, 0 lost\n$"]),
         {0, Old, <<>>} = run(["dump", made(Config, Name)]),
         {0, Old, <<>>} = run(["dump", New]),
         {ok, #file_info{mode = Mode, size = Size}} = file:read_file_info(made(Config, Name)),
         {ok, #file_info{mode = Mode, size = NewSize}} = file:read_file_info(New),
         true = Name =:= "queue" orelse NewSize =:= Size
     end || Name <- ["queue", "counters", "blocks", "region"]].

%% With what its journal has of it.
%% Behind the end there is a change, too, and it was made first.
the_journal_of_a_cut_file_counts_up_to_its_end(Config) ->
    {Daemon, Client, Dir} = world(Config, "cut"),
    on(Client, fun() ->
        {ok, F, _} = emmap:open("region", 0, 70000, [create, write, {durability, sync}]),
        ok = emmap:pwrite(F, 60000, <<"late">>),
        ok = emmap:pwrite(F, 100, <<"early">>)
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Region = filename:join(Dir, "region"),
    {ok, Io} = file:open(Region, [read, write, raw]),
    ok = file:pwrite(Io, 100, <<0:40>>), % as if it had not come to the disk
    {ok, _} = file:position(Io, 50000),
    ok = file:truncate(Io),
    ok = file:close(Io),
    {1, Said, _} = run(["check", Region]),
    {match, _} = re:run(Said, "its journal has changes behind the end"),
    {_, _, _} = run(["repair", Region, "--to", Region ++ ".new"]),
    {ok, Bytes} = file:read_file(Region ++ ".new"),
    {50000, <<"early">>} = {byte_size(Bytes), binary:part(Bytes, 100, 5)}.

repair_of_a_durable_file_has_its_journal(Config) ->
    {Daemon, Client, Dir} = world(Config, "mended"),
    on(Client, fun() ->
        {ok, Q} = emmap_queue:open("queue", 0, [{durability, sync}]),
        ok = emmap_queue:push_many(Q, [a, b, c]),
        a = emmap_queue:pop(Q),
        C = emmap:open_counters("counters", 2, [{durability, sync}]),
        {ok, 0} = emmap:inc_counter(C, 1, 7)
    end),
    ok = emmap_test:kill_daemon(Daemon),
    [{0, _, <<>>} = run(["repair", filename:join(Dir, N), "--to", filename:join(Dir, N ++ ".new")])
     || N <- ["queue", "counters"]],
    {0, Queue, <<>>} = run(["dump", filename:join(Dir, "queue.new")]),
    [{2, _, 0, ready, b}, {3, _, 0, ready, c}] = terms(Queue),
    {0, Counters, <<>>} = run(["dump", filename:join(Dir, "counters.new")]),
    [{0, 0}, {1, 7}] = terms(Counters).
