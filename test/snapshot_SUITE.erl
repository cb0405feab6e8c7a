%% Copies of objects that others use meanwhile: each is a state that the object had, and opens
%% elsewhere. EMMAP_SNAPSHOTS says how often under load (8). The cases with a small disk need root.
-module(snapshot_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2, until/1]).
-import(emmap_queue_face, [call/2]).

-define(ITEMS, 1000).   % of a queue or a store, at least
-define(LONG, 4096).    % bytes of each
-define(PLACES, 200).   % of a region, counters
-define(APART, 262144). % from one to the next, bytes
-define(MIB, 1048576).

suite() ->
    [{timetrap, {seconds, 180 + 20 * rounds()}}].

all() ->
    [every_kind_under_load, others_are_answered_meanwhile, a_kill_leaves_no_snapshot,
     a_full_disk_leaves_no_snapshot, a_disk_that_cannot_be_written_is_erofs,
     a_page_that_cannot_be_read_is_eio_for_the_snapshot,
     functions_take_names_of_this_node, by_rpc_and_erpc, as_requests_of_others,
     a_registered_queue_is_itself_under_its_name_only].

rounds() ->
    list_to_integer(os:getenv("EMMAP_SNAPSHOTS", "8")).

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(dir, Config), emmap_test:unique(Case)),
    ok = filelib:ensure_path(Dir),
    [{under, Dir} | Config].

end_per_testcase(_, Config) ->
    emmap_small_disk:remove_all(?config(dir, Config)).

%%% Under load.

%% Two nodes with four processes each change objects without a pause, those of one node are
%% durable. A second daemon opens what was copied.
every_kind_under_load(Config) ->
    Dir = ?config(under, Config),
    [#{node := D} = Daemon, #{node := Elsewhere} = Other] =
        [emmap_test:daemon(Config, #{data_dir => filename:join(Dir, Name),
                                     args => ["--allow-path", Dir]}) || Name <- ["data", "other"]],
    Client = emmap_test:node(Config),
    Loads = [{emmap_test:node(Config), Kind, Durability}
             || Durability <- [default, sync], Kind <- [region, counters, blocks, queue]],
    Files = [{Kind, file(Dir, Kind, Durability)} || {_, Kind, Durability} <- Loads],
    [ok = on(Node, fun() -> start_load(D, Kind, file(Dir, Kind, Durability), Durability) end)
     || {Node, Kind, Durability} <- Loads],
    Steps = [begin
        To = filename:join(Dir, emmap_test:unique("copy")), % another name, another object
        {Before, Copied, After} = copied(Client, D, Elsewhere, Kind, File, To),
        true = is_a_state(Kind, Copied),
        true = Before =< measure(Kind, Copied),
        true = measure(Kind, Copied) =< After,
        ok = file:delete(To),
        After - Before
    end || _ <- lists:seq(1, rounds()), {Kind, File} <- Files],
    Done = [on(Node, fun() -> stop_load(Kind, Durability) end)
            || {Node, Kind, Durability} <- Loads],
    ct:pal("~b snapshots, changes while they were made: ~w; changes in all: ~w",
           [length(Steps), Steps, Done]),
    true = lists:sum(Steps) > length(Steps),
    _ = emmap_test:stop_daemon(Other),
    _ = emmap_test:stop_daemon(Daemon).

file(Dir, Kind, Durability) ->
    filename:join([Dir, "data", lists:concat([Kind, ".", Durability])]).

copied(Client, D, Elsewhere, Kind, File, To) ->
    on(Client, fun() ->
        Before = measure(Kind, state(D, Kind, File)),
        {ok, #{size := Size}} = call(D, {snapshot, File, To}),
        After = measure(Kind, state(D, Kind, File)),
        Size = filelib:file_size(To),
        {Before, state(Elsewhere, Kind, To), After}
    end).

%% What is in the file, in its order.
state(D, region, File) ->
    {ok, Id, _} = call(D, {open, File, 0, 0, [read]}),
    {ok, Words} = call(D, {pread, Id, [{I * ?APART, 8} || I <- places()]}),
    ok = call(D, {close, Id}),
    [Value || <<Value:64/little>> <- Words];
state(D, counters, File) ->
    {ok, Values} = call(D, {read_counters, File, counters()}),
    Values;
state(D, blocks, File) ->
    lists:sort([Number || {_, <<Number:64, _/binary>>} <- blocks(D, File, 0)]);
state(D, queue, File) ->
    {ok, Items} = call(D, {peek_many, File, 10 * ?ITEMS}),
    [Number || {_, {Number, _}} <- Items].

blocks(D, File, From) ->
    case call(D, {read_blocks, File, From, ?ITEMS * 2}) of
        {ok, Blocks, eof} -> Blocks;
        {ok, Blocks, Next} -> Blocks ++ blocks(D, File, Next)
    end.

%% Pass K has come to one place: those behind it, in its direction, have K - 1. Of numbers in a row
%% none is missing.
is_a_state(Kind, Values) when Kind =:= region; Kind =:= counters ->
    ?PLACES = length(Values),
    K = lists:max(Values),
    {New, Old} = lists:splitwith(fun(V) -> V =:= K end, in_order(K, Values)),
    lists:all(fun(V) -> V =:= K - 1 end, Old) andalso New =/= [];
is_a_state(_, [First | _] = Numbers) ->
    N = length(Numbers),
    Numbers =:= lists:seq(First, First + N - 1) andalso (N =:= ?ITEMS orelse N =:= ?ITEMS + 1).

in_order(K, List) when K rem 2 =:= 1 -> List;
in_order(_, List) -> lists:reverse(List).

measure(Kind, Values) when Kind =:= region; Kind =:= counters -> lists:sum(Values);
measure(_, Numbers) -> lists:max(Numbers).

places() -> lists:seq(0, ?PLACES - 1).

counters() -> [I * ?APART div 8 || I <- places()].

%%% A process that changes one object, each time when the last change was answered.

start_load(D, Kind, File, Durability) ->
    Self = self(),
    Options = [{durability, Durability}],
    Worker = spawn(fun() ->
        register(name(Kind, Durability), self()),
        Start = begin_load(D, Kind, File, Options),
        Self ! {self(), ready},
        load(fun(N) -> change(D, Kind, N, Start) end, 0)
    end),
    receive {Worker, ready} -> ok end.

stop_load(Kind, Durability) ->
    name(Kind, Durability) ! {stop, self()},
    receive {stopped, N} -> N end.

name(Kind, Durability) -> list_to_atom(lists:concat([Kind, "_", Durability])).

load(Change, N) ->
    receive
        {stop, From} -> From ! {stopped, N}
    after 0 ->
        Change(N),
        load(Change, N + 1)
    end.

begin_load(D, region, File, Options) ->
    {ok, Id, _} = call(D, {open, File, 0, ?PLACES * ?APART, [create, write | Options]}),
    [ok = call(D, {pwrite, Id, I * ?APART, <<1:64/little>>}) || I <- places()],
    Id;
begin_load(D, counters, File, Options) ->
    {ok, Id, _} = call(D, {open_counters, File, ?PLACES * ?APART div 8, Options}),
    {ok, _} = call(D, {update_counters, Id, [{I, 1} || I <- counters()]}),
    {Id, list_to_tuple(counters())};
begin_load(D, blocks, File, Options) ->
    {ok, Id, _} = call(D, {open, File, 0, 0, [create, write | Options]}),
    ok = call(D, {init_block_storage, Id, ?LONG}),
    [put(N, store(D, Id, N)) || N <- lists:seq(1, ?ITEMS)],
    Id;
begin_load(D, queue, File, Options) ->
    {ok, Id, _} = call(D, {open_queue, File, 0, Options}),
    ok = call(D, {push_many, Id, [item(N) || N <- lists:seq(1, ?ITEMS)]}),
    Id.

change(D, region, N, Id) ->
    {K, I} = place(N),
    ok = call(D, {pwrite, Id, I * ?APART, <<K:64/little>>});
change(D, counters, N, {Id, Counters}) ->
    {K, I} = place(N),
    {ok, Old} = call(D, {inc_counter, Id, element(I + 1, Counters)}),
    K = Old + 1;
change(D, blocks, N, Id) ->
    put(?ITEMS + N + 1, store(D, Id, ?ITEMS + N + 1)),
    {ok, true} = call(D, {free_block, Id, erase(N + 1)});
change(D, queue, N, Id) ->
    ok = call(D, {push, Id, item(?ITEMS + N + 1)}),
    {First, _} = call(D, {pop, Id}),
    First = N + 1.

%% Pass 2 goes from the last to the first, pass 3 back, ...
place(N) ->
    K = N div ?PLACES + 2,
    {K, lists:nth(N rem ?PLACES + 1, in_order(K, places()))}.

store(D, Id, N) ->
    {ok, A} = call(D, {store_block, Id, <<N:64, 0:((?LONG - 8) * 8)>>}),
    A.

item(N) -> {N, <<0:(?LONG * 8)>>}.

%%% Meanwhile.

others_are_answered_meanwhile(Config) ->
    Dir = ?config(under, Config),
    #{node := D} = Daemon = emmap_test:daemon(Config, #{data_dir => Dir}),
    Client = emmap_test:node(Config),
    make_big(filename:join(Dir, "big"), 256),
    {Same, Others} = on(Client, fun() ->
        {ok, Id, _} = call(D, {open, <<"big">>, 0, 0, [write]}),
        {ok, Counters, _} = call(D, {open_counters, <<"counters">>, 8}),
        Asked = gen_server:send_request({emmap, D}, {snapshot, Id, <<"copy">>}),
        ok = until_at_work(D, Id),
        count_until(Asked, {0, 0}, fun({Same, Others}) ->
            ok = call(D, {pwrite, Id, Same * 4999 rem (256 * ?MIB - 8), <<"changed">>}),
            {ok, Others} = call(D, {inc_counter, Counters, 0}),
            {Same + 1, Others + 1}
        end)
    end),
    ct:pal("answered while 256 MiB were copied: ~b changes of them, ~b of another object",
           [Same, Others]),
    true = Same >= 50,
    %% and none of these is in it
    true = is_big(filename:join(Dir, "copy"), 256),
    false = is_big(filename:join(Dir, "big"), 256),
    _ = emmap_test:stop_daemon(Daemon).

until_at_work(D, Id) ->
    case call(D, {info, Id}) of
        #{in_flight := 1} -> ok;
        #{} -> until_at_work(D, Id)
    end.

count_until(Asked, N, Do) ->
    case gen_server:wait_response(Asked, 0) of
        timeout ->
            count_until(Asked, Do(N), Do);
        {reply, {ok, #{size := 268435456}}} ->
            N
    end.

%% So many MiB, each with its number.
make_big(File, MiB) ->
    ok = file:write_file(File, [mib(N) || N <- lists:seq(1, MiB)]).

mib(N) -> binary:copy(<<N:64, "0123456789abcdef0123456789abcdef0123456789abcdef01234567">>, 16384).

is_big(File, MiB) ->
    {ok, Bytes} = file:read_file(File),
    Bytes =:= iolist_to_binary([mib(N) || N <- lists:seq(1, MiB)]).

a_kill_leaves_no_snapshot(Config) ->
    Dir = ?config(under, Config),
    Client = emmap_test:node(Config),
    Daemon = emmap_test:start_daemon(Config, #{data_dir => Dir}),
    make_big(filename:join(Dir, "big"), 256),
    Last = killed(Config, Client, Daemon, 5),
    _ = emmap_test:stop_daemon(Last).

%% It may be faster than who kills it; then it is whole.
killed(_Config, _Client, Daemon, 0) ->
    Daemon;
killed(Config, Client, #{node := D, data_dir := Dir} = Daemon, N) ->
    ok = on(Client, fun() ->
        {ok, Id, _} = call(D, {open, <<"big">>, 0, 0, [write]}),
        Self = self(),
        spawn(fun() -> Self ! catch call(D, {snapshot, Id, <<"copy">>}) end),
        until_at_work(D, Id)
    end),
    ok = emmap_test:kill_daemon(Daemon),
    Names = lists:sort(filelib:wildcard("{*,.emmap-*}", Dir)),
    Next = emmap_test:restart_daemon(Daemon),
    case Names of
        ["big", "copy"] ->
            true = is_big(filename:join(Dir, "copy"), 256),
            ok = file:delete(filename:join(Dir, "copy")),
            killed(Config, Client, Next, N);
        ["big"] ->
            killed(Config, Client, Next, N - 1)
    end.

%%% Disks.

a_full_disk_leaves_no_snapshot(Config) ->
    Disk = emmap_small_disk:tmpfs(filename:join(?config(under, Config), "disk"), 12 * 1024),
    Dir = emmap_small_disk:dir(Disk),
    #{node := D} = Daemon = emmap_test:daemon(Config, #{data_dir => Dir}),
    Client = emmap_test:node(Config),
    make_big(filename:join(Dir, "big"), 8),
    on(Client, fun() ->
        {ok, Id, _} = call(D, {open, <<"big">>, 0, 0, [write]}),
        {error, enospc} = call(D, {snapshot, Id, <<"copy">>}),
        {error, enospc} = call(D, {restore, <<"copy">>, <<"big">>}),
        {ok, ["big"]} = file:list_dir_all(Dir),
        ok = call(D, {pwrite, Id, 0, <<"changed">>}),
        ok = call(D, {sync, Id}),
        #{read_only := false} = call(D, {info, Id}),
        ok = call(D, {close, Id})
    end),
    _ = emmap_test:stop_daemon(Daemon),
    ok = emmap_small_disk:remove(Disk).

a_disk_that_cannot_be_written_is_erofs(Config) ->
    Under = ?config(under, Config),
    Disk = emmap_small_disk:tmpfs(filename:join(Under, "disk"), 1024),
    Dir = emmap_small_disk:dir(Disk),
    #{node := D} = Daemon = emmap_test:daemon(Config, #{
        data_dir => filename:join(Under, "data"), args => ["--allow-path", Dir]}),
    ok = file:write_file(filename:join(Dir, "from"), <<"12345">>),
    [] = os:cmd("mount -o remount,ro " ++ Dir),
    on(emmap_test:node(Config), fun() ->
        {ok, Id, _} = call(D, {open_counters, <<"c">>, 8}),
        {error, erofs} = call(D, {snapshot, Id, filename:join(Dir, "to")}),
        {error, erofs} = call(D, {restore, filename:join(Dir, "to"), <<"c">>}),
        %% from there it can be read
        ok = call(D, {restore, <<"to">>, filename:join(Dir, "from")})
    end),
    {ok, <<"12345">>} = file:read_file(filename:join([Under, "data", "to"])),
    _ = emmap_test:stop_daemon(Daemon),
    ok = emmap_small_disk:remove(Disk).

a_page_that_cannot_be_read_is_eio_for_the_snapshot(Config) ->
    Under = ?config(under, Config),
    Disk = emmap_small_disk:loop(filename:join(Under, "disk"), 32),
    Dir = emmap_small_disk:dir(Disk),
    make_big(filename:join(Dir, "big"), 4),
    ok = emmap_small_disk:cold(Disk),
    #{node := D} = Daemon = emmap_test:daemon(Config, #{
        data_dir => filename:join(Under, "data"), args => ["--allow-path", Dir]}),
    on(emmap_test:node(Config), fun() ->
        {ok, Id, _} = call(D, {open, filename:join(Dir, "big"), 0, 0, [write]}),
        {ok, <<1:64>>} = call(D, {pread, Id, 0, 8}),
        ok = emmap_small_disk:break_reads(Disk),
        {error, eio} = call(D, {snapshot, Id, <<"to">>}),
        {error, enoent} = call(D, {restore, <<"new">>, <<"to">>}),
        %% the object goes on with what it has
        #{read_only := false} = call(D, {info, Id}),
        ok = call(D, {pwrite, Id, 0, <<1:64>>}),
        ok = emmap_small_disk:heal(Disk),
        {ok, #{size := 4194304}} = call(D, {snapshot, Id, <<"to">>}),
        ok = call(D, {close, Id})
    end),
    true = is_big(filename:join([Under, "data", "to"]), 4),
    _ = emmap_test:stop_daemon(Daemon),
    ok = emmap_small_disk:remove(Disk).

%%% Faces.

functions_take_names_of_this_node(Config) ->
    Node = emmap_test:node(Config, #{application => [{daemon, own}]}),
    on(Node, fun() ->
        {ok, F, _} = emmap:open("f", 0, 64, [create, write]),
        ok = emmap:pwrite(F, 0, <<"some">>),
        {ok, #{size := 64}} = emmap:snapshot(F, "f.bak"),
        {error, eexist} = emmap:snapshot(F, <<"f.bak">>),
        {error, enoent} = emmap:snapshot("no such", "to"),
        {error, not_open} = emmap:snapshot("f.bak", "to"),
        ok = emmap:pwrite(F, 0, <<"more">>),
        {error, eexist} = emmap:restore("f", "f.bak"),
        ok = emmap:restore("g", "f.bak"),
        {ok, G, _} = emmap:open("g", [read]),
        {ok, <<"some">>} = emmap:pread(G, 0, 4),
        C = emmap:open_counters("c", 3),
        {ok, 0} = emmap:inc_counter(C, 0, 5),
        {ok, #{size := 40}} = emmap:snapshot(C, "c.bak"),
        ok = emmap:restore("c2", "c.bak"),
        {ok, [5, 0, 0]} = emmap:call("c2", read_counters),
        {ok, Q} = emmap_queue:open("q", 0, []),
        ok = emmap_queue:push(Q, item),
        {ok, #{size := _}} = emmap:snapshot(Q, "q.bak"),
        ok = emmap:restore("q2", "q.bak"),
        item = emmap_queue:pop("q2"),
        {ok, A, _} = emmap:open("", 0, 100, [anon, write]),
        ok = emmap:pwrite(A, 50, <<"any">>),
        {ok, #{size := 100}} = emmap:snapshot(A, "a.bak"),
        {ok, <<_:50/binary, "any", _/binary>>} = file:read_file("a.bak"),
        [badarg = badarg(Fun) || Fun <- [fun() -> emmap:snapshot(F, "") end,
                                         fun() -> emmap:snapshot(F, to) end,
                                         fun() -> emmap:snapshot(7, "to") end,
                                         fun() -> emmap:restore(F, "f.bak") end,
                                         fun() -> emmap:restore("new", 7) end,
                                         fun() -> emmap:cast(F, {snapshot, <<"to">>}) end]],
        [ok = emmap:close(H) || H <- [F, G, A]],
        {error, closed} = emmap:snapshot(F, "late")
    end).

badarg(Fun) ->
    try Fun() catch error:badarg -> badarg end.

by_rpc_and_erpc(Config) ->
    #{node := D} = Daemon = emmap_test:daemon(Config, #{data_dir => ?config(under, Config)}),
    on(emmap_test:node(Config), fun() ->
        {ok, Id, _} = rpc:call(D, emmap, open_counters, [<<"c">>, 2]),
        {ok, #{size := 32}} = rpc:call(D, emmap, snapshot, [Id, "one"]),
        {ok, #{size := 32}} = erpc:call(D, emmap, snapshot, ["c", "two"]),
        {error, eexist} = erpc:call(D, emmap, snapshot, ["c", "two"]),
        ok = erpc:call(D, emmap, restore, ["three", "two"]),
        {error, eexist} = rpc:call(D, emmap, restore, ["three", "two"])
    end),
    _ = emmap_test:stop_daemon(Daemon).

%% Casts, batches and those who wait no more.
as_requests_of_others(Config) ->
    Dir = ?config(under, Config),
    #{node := D} = Daemon = emmap_test:daemon(Config, #{data_dir => Dir}),
    Client = emmap_test:node(Config),
    on(Client, fun() ->
        {ok, Id, _} = call(D, {open_counters, <<"c">>, 2}),
        ok = gen_server:cast({emmap, D}, {snapshot, Id, <<"one">>}),
        ok = until(fun() -> maps:get(in_flight, call(D, {info, Id})) =:= 0 end),
        true = filelib:is_file(filename:join(Dir, "one")),
        {ok, [{ok, 0}, {ok, #{size := 32}}, {error, eexist}, {ok, 1}]} =
            call(D, {batch, [{inc_counter, Id, 0}, {snapshot, Id, <<"two">>},
                             {snapshot, Id, <<"two">>}, {inc_counter, Id, 0}]}),
        {ok, [1, 0]} = begin
            {ok, _, _} = call(D, {open_counters, <<"two">>, 0}),
            call(D, {read_counters, <<"two">>})
        end,
        {Pid, Monitor} = spawn_monitor(fun() -> call(D, {snapshot, Id, <<"three">>}) end),
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, _} -> ok end,
        pong = call(D, ping)
    end),
    _ = emmap_test:stop_daemon(Daemon).

a_registered_queue_is_itself_under_its_name_only(Config) ->
    Dir = ?config(under, Config),
    #{node := D} = Daemon = emmap_test:daemon(Config, #{data_dir => Dir}),
    on(emmap_test:node(Config), fun() ->
        {ok, _, _} = call(D, {open_queue, <<"q">>, 0, [{register, jobs}, {max_items, 7}]}),
        ok = gen_server:call({jobs, D}, {push, first}),
        {ok, _} = gen_server:call({jobs, D}, {snapshot, <<"q.bak">>}),
        ok = call(D, {restore, <<"r">>, <<"q.bak">>}),
        ok = gen_server:call({jobs, D}, {push, second}),
        #{registered := none, max_items := 7, items := 1} = call(D, {info, <<"r">>}),
        {error, {already_registered, jobs}} =
            call(D, {open_queue, <<"r">>, 0, [{register, jobs}]}),
        2 = gen_server:call({jobs, D}, length),
        {ok, _, _} = call(D, {open_queue, <<"r">>, 0, [{register, others}]}),
        first = gen_server:call({others, D}, pop)
    end),
    _ = emmap_test:stop_daemon(Daemon),
    %% the file is lost, and comes back from the copy
    ok = file:delete(filename:join(Dir, "q")),
    Next = emmap_test:restart_daemon(Daemon),
    on(emmap_test:node(Config), fun() ->
        ok = call(D, {restore, <<"q">>, <<"q.bak">>}),
        [first, nil] = [gen_server:call({jobs, D}, pop) || _ <- [1, 2]]
    end),
    _ = emmap_test:stop_daemon(Next).
