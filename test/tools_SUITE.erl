%% The subcommands of emmapd, as somebody types them, on files that a daemon has made.
-module(tools_SUITE).

-include_lib("common_test/include/ct.hrl").

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
     a_durable_file_is_looked_at_with_its_journal, a_journal_is_looked_at, what_is_no_file_is_told].

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
                                "\"uuid\":\"[0-9a-f]+\",\"created\":[0-9]+,\"block_size\":8,"
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
