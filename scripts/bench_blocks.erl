%% Block stores with few and with many blocks, beside an ets and a dets table that a gen_server of a
%% second BEAM node has: scripts/bench blocks. A figure is what is done a second, the median of the
%% rounds. What is stored is freed again, so that each store keeps its number of blocks.
-module(bench_blocks).
-behaviour(gen_server).

-export([main/3]).
-export([start/4, init/1, handle_call/3, handle_cast/2]).

-import(bench, [rate/3, rotate/2, medians/1, rate_text/1, ratio_text/2]).

-define(BATCH, 100).

%% Rounds of so many milliseconds, with a thousand blocks and with so many millions.
main(Rounds, Ms, Millions) ->
    logger:set_primary_config(level, error),
    %% 64 requests of 400 KiB are more than a client may let wait
    ok = application:load(emmap),
    ok = application:set_env(emmap, daemon_args, ["--max-pending-bytes", "67108864"]),
    {ok, _} = application:ensure_all_started(emmap),
    {ok, _, Second} = peer:start_link(#{name => peer:random_name("tables"), host => "localhost", args => args()}),
    Rows = [{title(Work, Size, N), Procs, Contenders}
            || Size <- [64, 4096], N <- [1000, Millions * 1000000],
               Stores <- [stores(Second, Size, N)],
               {Work, Do} <- works(Size, N),
               Contenders <- [[{Name, fun() -> Do(Store) end} || {Name, Store} <- Stores]],
               Procs <- [1, 64]],
    Figures = lists:append([round(N, Rounds, Ms, Rows) || N <- lists:seq(1, Rounds)]),
    print(Rows, medians(Figures)),
    application:stop(emmap),
    halt(0).

args() ->
    ["-setcookie", atom_to_list(erlang:get_cookie()), "-pa", filename:dirname(code:which(?MODULE))].

title(Work, Size, N) ->
    lists:flatten(io_lib:format("~s, ~b B, ~b blocks", [Work, Size, N])).

%% A dets table has 2 GiB at most, and an ets table has to have room in memory.
stores(Second, Size, N) ->
    tell("filling: ~b blocks of ~b bytes", [N, Size]),
    [{emmap, filled(Size, N)}]
        ++ [{ets, started(Second, ets, Size, N)} || N * (Size + 200) < 8 bsl 30]
        ++ [{dets, started(Second, dets, Size, N)} || N * (Size + 40) < 1500 bsl 20].

filled(Size, N) ->
    {ok, F, _} = emmap:open(lists:concat(["blocks", Size, "_", N]), 0, 0, [create, write]),
    ok = emmap:init_block_storage(F, Size),
    ok = fill(fun(Blocks) -> _ = emmap:store_blocks(F, Blocks), ok end, Size, N),
    {emmap, F}.

fill(_, _, 0) -> ok;
fill(Store, Size, N) ->
    Some = min(N, 1000),
    ok = Store([<<(N - I):64, 0:((Size - 8) * 8)>> || I <- lists:seq(1, Some)]),
    fill(Store, Size, N - Some).

started(Second, Kind, Size, N) ->
    {ok, Pid} = erpc:call(Second, ?MODULE, start, [Kind, Size, N, filename:absname("table")], infinity),
    {server, Pid}.

works(Size, N) ->
    Block = binary:copy(<<7>>, Size),
    Blocks = lists:duplicate(?BATCH, Block),
    Any = fun() -> rand:uniform(N) - 1 end,
    [{"store + free", fun(S) -> true = free(S, store(S, Block)) end},
     {"read", fun(S) -> <<_:Size/binary>> = read(S, Any()) end},
     {"store + free 100", fun(S) -> [true | _] = free_all(S, store_all(S, Blocks)) end},
     {"read 100", fun(S) -> [_ | _] = read_all(S, [Any() || _ <- Blocks]) end}].

store({emmap, F}, Block) -> emmap:store_block(F, Block);
store({server, S}, Block) -> hd(ask(S, {store, [Block]})).

read({emmap, F}, A) -> emmap:read_block(F, A);
read({server, S}, A) -> hd(ask(S, {read, [A]})).

free({emmap, F}, A) -> emmap:free_block(F, A);
free({server, S}, A) -> hd(ask(S, {free, [A]})).

store_all({emmap, F}, Blocks) -> emmap:store_blocks(F, Blocks);
store_all({server, S}, Blocks) -> ask(S, {store, Blocks}).

read_all({emmap, F}, As) -> emmap:read_blocks(F, As);
read_all({server, S}, As) -> ask(S, {read, As}).

free_all({emmap, F}, As) -> emmap:free_blocks(F, As);
free_all({server, S}, As) -> ask(S, {free, As}).

ask(Server, Request) ->
    gen_server:call(Server, Request, infinity).

round(N, Rounds, Ms, Rows) ->
    tell("round ~b of ~b", [N, Rounds]),
    [{Work, Procs, Name, rate(Procs, Ms, Fun)}
     || {Work, Procs, Contenders} <- Rows, {Name, Fun} <- rotate(N, Contenders)].

tell(Format, Args) ->
    io:format(standard_error, Format ++ "~n", Args).

print(Rows, Medians) ->
    io:format("~-42s ~5s ~10s ~10s ~10s ~7s ~7s~n",
              ["a second", "procs", "emmap", "ets", "dets", "/ ets", "/ dets"]),
    [begin
         [Emmap, Ets, Dets] = [maps:get({Work, Procs, Name}, Medians, none) || Name <- [emmap, ets, dets]],
         io:format("~-42s ~5b ~10s ~10s ~10s ~7s ~7s~n",
                   [Work, Procs, rate_text(Emmap), rate_text(Ets), rate_text(Dets),
                    ratio_text(Emmap, Ets), ratio_text(Emmap, Dets)])
     end || {Work, Procs, _} <- Rows].

%% The reference: a table, what is free, and where it ends.

start(Kind, Size, N, Path) ->
    gen_server:start(?MODULE, {Kind, Size, N, lists:concat([Path, Size, "_", N])}, [{timeout, infinity}]).

init({Kind, Size, N, Path}) ->
    Table = {Kind, made(Kind, Path)},
    Fill = fun(Blocks) -> {reply, _, State} = handle_call({store, Blocks}, none, get(state)),
                          put(state, State), ok end,
    _ = put(state, {Table, [], 0}),
    ok = fill(Fill, Size, N),
    {ok, erase(state)}.

made(ets, _) -> ets:new(blocks, []);
made(dets, Path) -> {ok, Table} = dets:open_file(make_ref(), [{file, Path}]), Table.

handle_call({store, Blocks}, _From, {{Kind, Table} = T, Free, Next}) ->
    {As, {StillFree, End}} = lists:mapfoldl(fun address/2, {Free, Next}, Blocks),
    _ = Kind:insert(Table, lists:zip(As, Blocks)),
    {reply, As, {T, StillFree, End}};
handle_call({read, As}, _From, {{Kind, Table}, _, _} = State) ->
    {reply, [case Kind:lookup(Table, A) of [{_, Block}] -> Block; [] -> eof end || A <- As], State};
handle_call({free, As}, _From, {{Kind, Table} = T, Free, Next}) ->
    [_ = Kind:delete(Table, A) || A <- As],
    {reply, [true || _ <- As], {T, As ++ Free, Next}}.

handle_cast(_, State) ->
    {noreply, State}.

address(_, {[A | Free], Next}) -> {A, {Free, Next}};
address(_, {[], Next}) -> {Next, {[], Next + 1}}.
