%% Pages that fail under clients at work: files are cut off and written anew, holes are read on a
%% file system without space, and each such access is a SIGBUS in the daemon. It must live, answer
%% each call, and objects whose files nobody touches must never err.
-module(emmap_storm).

-export([run/2]).

-import(emmap_test, [on/2, until/2]).

-define(SIZE, 262144).
-define(ANSWER, 20000).
-define(STORM, 1800000).

%% Until there were so many faults. What was done, as a map.
run(Config, Faults) ->
    Dir = filename:join(proplists:get_value(dir, Config), emmap_test:unique("storm")),
    Roomy = emmap_small_disk:tmpfs(Dir ++ "/roomy", 32768),
    Full = emmap_small_disk:tmpfs(Dir ++ "/full", 4096),
    try
        storm(Config, emmap_small_disk:dir(Roomy), emmap_small_disk:dir(Full), Faults)
    after
        ok = emmap_small_disk:remove(Roomy),
        emmap_small_disk:remove(Full)
    end.

%% Internal.

storm(Config, Roomy, Full, Faults) ->
    Args = ["--allow-path", proplists:get_value(dir, Config)],
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{args => Args}),
    Nodes = [emmap_test:start_node(Config, #{}) || _ <- [1, 2]],
    Cut = [{Kind, filename:join(Roomy, Kind)} || Kind <- [region, counters, queue]],
    Holes = [{region_to_read, filename:join(Full, "region")},
             {counters_to_read, filename:join(Full, "counters")}],
    Sound = [{region, filename:join(Roomy, "sound")}, {region, filename:join(Full, "sound")},
             {counters, filename:join(Full, "sound_counters")}, {region, "sound"},
             {counters, "sound_counters"}, {queue, "sound_queue"}],
    ok = prepare(hd(Nodes), D, Cut ++ Holes ++ Sound),
    ok = settled(Cut ++ Holes),
    Whole = [{File, read(File)} || {_, File} <- Cut],
    Background = [work(N, D, Cut ++ Holes, Sound) || N <- Nodes],
    Breakers = [breaker(fun() -> cut_all(Whole) end),
                breaker(fun() -> swap_holes(Nodes, Full, [File || {_, File} <- Holes]) end)],
    ok = until(fun() -> lists:sum(faults(Nodes)) >= Faults end, ?STORM),
    Cuts = [stop_breaker(B) || B <- Breakers],
    [on(N, fun() -> persistent_term:put(storm_is_over, true) end) || N <- Nodes],
    Calls = [[Calls || {{calls, Calls}, _} <- emmap_apps:await(B)] || B <- Background],
    [Expected] = lists:usort([length(C) || C <- Calls]),
    Expected = 2 * length(Cut ++ Holes) + length(Sound), % each worker came to its end
    true = lists:all(fun(N) -> N > 0 end, lists:append(Calls)),
    Seen = faults(Nodes),
    ok = restored(hd(Nodes), D, Whole, Cut),
    [ok = emmap_test:stop_node(N) || N <- Nodes],
    _ = emmap_test:stop_daemon(Daemon), % with status 0
    [true = N > 0 || N <- Seen],
    #{faults => Seen, cuts => Cuts, calls => lists:sum(lists:append(Calls))}.

%%% Objects.

prepare(Node, D, Objects) ->
    on(Node, fun() ->
        [begin
             {ok, Id, _} = call(D, open(made(Kind), File)),
             [ok = filled(call(D, change(made(Kind), Id, I))) || I <- lists:seq(1, 20)],
             ok = call(D, {sync, Id}),
             ok = call(D, {close, Id})
         end || {Kind, File} <- Objects],
        ok
    end).

filled({ok, _}) -> ok;
filled(ok) -> ok.

made(region_to_read) -> region;
made(counters_to_read) -> counters;
made(Kind) -> Kind.

%% Closed, with all in the files: then no daemon has them.
settled(Objects) ->
    [true = filelib:is_regular(File) || {_, File} <- Objects],
    ok.

open(region, File) -> {open, File, 0, 0, [create, write, {size, ?SIZE}]};
open(region_to_read, File) -> {open, File, 0, 0, [read]};
open(counters, File) -> {open_counters, File, ?SIZE div 8};
open(counters_to_read, File) -> {open_counters, File, 0, [read]};
open(queue, File) -> {open_queue, File, 0, []}.

change(region, Id, I) -> {pwrite, Id, I * 7919 rem (?SIZE - 8), <<I:64>>};
change(counters, Id, I) -> {inc_counter, Id, I * 997 rem (?SIZE div 8)};
change(queue, Id, I) -> {push, Id, {I, binary:copy(<<"x">>, 2000)}}.

look(Kind, Id, I) when Kind =:= region; Kind =:= region_to_read ->
    {pread, Id, I * 7919 rem (?SIZE - 8), 8};
look(Kind, Id, I) when Kind =:= counters; Kind =:= counters_to_read ->
    {read_counter, Id, I * 997 rem (?SIZE div 8)};
look(queue, Id, _) ->
    {pop, Id}.

%%% Clients: on each node two for each object that is broken, one for each that is not.

work(Node, D, Broken, Sound) ->
    on(Node, fun() -> persistent_term:put(storm, counters:new(2, [])) end),
    Rough = [fun() -> {calls, rough(D, Kind, File, none, I, 0)} end
             || {Kind, File} <- Broken, I <- [1, 2]],
    Smooth = [fun() -> {calls, smooth(D, Kind, File)} end || {Kind, File} <- Sound],
    emmap_apps:in_background(Node, Rough ++ Smooth).

%% Each call is answered; with an error the object is opened again, sooner or later.
rough(D, Kind, File, Id, I, Calls) ->
    case persistent_term:get(storm_is_over, false) of
        true -> Calls;
        false when Id =:= none -> rough(D, Kind, File, reopened(D, Kind, File), I, Calls + 1);
        false -> rough(D, Kind, File, tried(D, Kind, Id, I), I + 1, Calls + 2)
    end.

reopened(D, Kind, File) ->
    case call(D, open(Kind, File)) of
        {ok, Id, _} -> Id;
        {error, _} -> none
    end.

tried(D, Kind, Id, I) ->
    _ = [call(D, change(Kind, Id, I)) || Kind =:= made(Kind)],
    case call(D, look(Kind, Id, I)) of
        {error, eio} ->
            ok = counters:add(persistent_term:get(storm), place(Kind), 1),
            given_up(D, Id, I);
        Other when Other =:= eof; element(1, Other) =:= error ->
            given_up(D, Id, 0); % opened when the file was short, or none of its kind
        _ ->
            Id
    end.

%% Faults of files that were cut, and of holes without space.
place(Kind) ->
    case made(Kind) of Kind -> 1; _ -> 2 end.

%% Most faults come in a row, from an object that has failed.
given_up(_D, Id, I) when I rem 4 =/= 0 ->
    Id;
given_up(D, Id, _I) ->
    ok = call(D, {close, Id}),
    none.

smooth(D, Kind, File) ->
    {ok, Id, _} = call(D, open(Kind, File)),
    Calls = smooth_until_over(D, Kind, Id, 1),
    ok = call(D, {sync, Id}),
    ok = call(D, {close, Id}),
    Calls.

smooth_until_over(D, Kind, Id, I) ->
    ok = filled(call(D, change(Kind, Id, I))),
    ok = sound(Kind, I, call(D, look(Kind, Id, I))),
    case persistent_term:get(storm_is_over, false) of
        true -> I * 2;
        false -> smooth_until_over(D, Kind, Id, I + 1)
    end.

sound(region, _, {ok, <<_:8/binary>>}) -> ok; % the node beside writes, too
sound(counters, _, {ok, V}) when V > 0 -> ok;
sound(queue, _, {_, <<_:2000/binary>>}) -> ok.

call(D, Request) ->
    gen_server:call({emmap, D}, Request, ?ANSWER).

faults(Nodes) ->
    Each = [on(N, fun() ->
                C = persistent_term:get(storm),
                {counters:get(C, 1), counters:get(C, 2)}
            end) || N <- Nodes],
    {Cut, Holes} = lists:unzip(Each),
    [lists:sum(Cut), lists:sum(Holes)].

%%% Breakers.

breaker(Break) ->
    Self = self(),
    spawn_link(fun() -> break(Self, Break, 0) end).

break(Owner, Break, N) ->
    receive
        stop -> Owner ! {broken, self(), N}
    after 0 ->
        ok = Break(),
        break(Owner, Break, N + 1)
    end.

stop_breaker(Pid) ->
    Pid ! stop,
    receive {broken, Pid, N} -> N end.

%% Cut to nothing, cut in the middle, whole again.
cut_all(Whole) ->
    [begin
         ok = cut(File, 0),
         ok = cut(File, byte_size(Bytes) div 2),
         ok = rewrite(File, Bytes)
     end || {File, Bytes} <- Whole],
    ok.

%% All pages go, somebody else takes the space, and the files are holes until that was noticed.
swap_holes(Nodes, Dir, Files) ->
    Sizes = [filelib:file_size(File) || File <- Files],
    Ballast = filename:join(Dir, "ballast"),
    _ = [ok = cut(File, 0) || File <- Files],
    ok = fill(Ballast),
    _ = [ok = cut(File, Size) || {File, Size} <- lists:zip(Files, Sizes)],
    [_, Before] = faults(Nodes),
    ok = until(fun() -> lists:last(faults(Nodes)) > Before end, ?ANSWER),
    cut(Ballast, max(0, filelib:file_size(Ballast) - lists:sum(Sizes) div 2)).

cut(File, Size) ->
    {ok, Fd} = file:open(File, [read, write, raw]),
    {ok, Size} = file:position(Fd, Size),
    ok = file:truncate(Fd),
    file:close(Fd).

rewrite(File, Bytes) ->
    {ok, Fd} = file:open(File, [read, write, raw]),
    ok = file:pwrite(Fd, 0, Bytes),
    file:close(Fd).

fill(File) ->
    {ok, Fd} = file:open(File, [append, raw]),
    {error, enospc} = fill_all(Fd),
    file:close(Fd).

fill_all(Fd) ->
    case file:write(Fd, <<0:32768>>) of
        ok -> fill_all(Fd);
        Error -> Error
    end.

read(File) ->
    {ok, Bytes} = file:read_file(File),
    Bytes.

%%% Afterwards.

%% What was broken is usable once its file is whole.
restored(Node, D, Whole, Objects) ->
    [ok = rewrite(File, Bytes) || {File, Bytes} <- Whole],
    on(Node, fun() ->
        [begin
             {ok, Id, _} = call(D, open(Kind, File)),
             ok = filled(call(D, change(Kind, Id, 3))),
             ok = call(D, {sync, Id}),
             ok = call(D, {close, Id})
         end || {Kind, File} <- Objects],
        ok
    end).
