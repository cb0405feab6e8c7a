%% Queue files of the NIF library: written by its layout, opened as queues of ours.
-module(convert_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [on/2]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [items_come_out_in_order, every_length_of_term_is_found, compressed_terms_are_kept,
     an_empty_queue_is_one, an_append_that_was_cut_off_is_ignored, what_is_none_is_left_alone,
     the_old_file_stays, a_name_opens_no_old_file, another_old_file_is_in_the_way, a_file_in_use_waits].

init_per_suite(Config0) ->
    Config = emmap_test:start(Config0),
    Daemon = #{node := D} = emmap_test:start_daemon(Config, #{}),
    Node = emmap_test:start_node(Config, #{application => [{daemon, external}, {node, D}]}),
    [{daemon, Daemon}, {client, Node} | Config].

end_per_suite(Config) ->
    ok = emmap_test:stop_node(?config(client, Config)),
    _ = emmap_test:stop_daemon(?config(daemon, Config)),
    emmap_test:stop(Config).

%% Header: size, head, tail, next_tail. A record: its size, the term, zeros, its size again.
old_file(Binaries) ->
    old_file(Binaries, <<>>).

old_file(Binaries, Behind) ->
    Records = << <<(record(B))/binary>> || B <- Binaries >>,
    Tail = 16 + byte_size(Records),
    Size = Tail + byte_size(Behind) + 100,
    <<Size:32, 16:32, Tail:32, (Tail + byte_size(Behind)):32, Records/binary, Behind/binary,
      0:(100 * 8)>>.

record(Binary) ->
    Pad = (byte_size(Binary) + 8) rem 8,
    Size = byte_size(Binary) + 8 + Pad,
    <<Size:32, Binary/binary, 0:(Pad * 8), Size:32>>.

path(Config, Name) ->
    #{data_dir := Dir} = ?config(daemon, Config),
    filename:join(Dir, Name).

%% The items that a file has once it is opened as a queue.
items(Config, Name, File) ->
    ok = file:write_file(path(Config, Name), File),
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open(Name, 0, []),
        #{damaged := 0, items := N} = emmap_queue:info(Q),
        {ok, Items} = emmap_queue:pop_many(Q, max(1, N)),
        nil = emmap_queue:pop(Q),
        ok = emmap_queue:push(Q, new),
        new = emmap_queue:pop(Q),
        ok = emmap_queue:close(Q),
        Items
    end).

items_come_out_in_order(Config) ->
    Terms = [{job, N, binary:copy(<<N>>, N rem 300)} || N <- lists:seq(1, 5000)],
    Terms = items(Config, "ordered", old_file([term_to_binary(T) || T <- Terms])).

every_length_of_term_is_found(Config) ->
    Terms = [binary:copy(<<0>>, N) || N <- lists:seq(0, 64)] ++ [[], {}, 1.5, -1, 1 bsl 70, a, self(),
             make_ref(), #{a => 1}, "text", <<1:3>>, fun erlang:node/0, [a | b]],
    Terms = items(Config, "lengths", old_file([term_to_binary(T) || T <- Terms])).

compressed_terms_are_kept(Config) ->
    Terms = [lists:duplicate(N, {a, b, c}) || N <- lists:seq(30, 90)],
    Zipped = [term_to_binary(T, [compressed]) || T <- Terms],
    [<<131, 80, _/binary>> = Z || Z <- Zipped],
    Terms = items(Config, "zipped", old_file(Zipped)).

an_empty_queue_is_one(Config) ->
    [] = items(Config, "empty", old_file([])).

an_append_that_was_cut_off_is_ignored(Config) ->
    [a] = items(Config, "cut", old_file([term_to_binary(a)], <<0, 0, 0, 16, 131, 100>>)).

what_is_none_is_left_alone(Config) ->
    Good = old_file([term_to_binary(a), term_to_binary({b, c})]),
    <<Head:16/binary, Size:32, Rest/binary>> = Good,
    Files = [<<>>, <<1, 2, 3>>, <<0:1024>>, binary:copy(<<"x">>, 1000), crypto_free(1000),
             binary:part(Good, 0, 30),
             <<Head/binary, (Size + 8):32, Rest/binary>>,
             <<Head/binary, 0:32, Rest/binary>>,
             <<Head/binary, 16#ffffffff:32, Rest/binary>>,
             binary:replace(Good, <<131>>, <<132>>),
             old_file([<<131, 104, 3, 97, 1>>]), old_file([<<131, 108, 255, 255, 255, 255>>]),
             old_file([<<131, 97, 1, 0>>]),
             old_file([term_to_binary(a), <<131, 80, 0, 0, 0, 0, 0, 0>>])],
    [begin
         Name = "none" ++ integer_to_list(N),
         ok = file:write_file(path(Config, Name), File),
         on(?config(client, Config), fun() ->
             {N, {error, {not_a, queue}}} = {N, emmap_queue:open(Name, 0, [])}
         end),
         {ok, File} = file:read_file(path(Config, Name)),
         false = filelib:is_file(path(Config, Name ++ ".nif"))
     end || {N, File} <- lists:zip(lists:seq(1, length(Files)), Files)].

%% Bytes without a pattern, the same each time.
crypto_free(N) ->
    {Bytes, _} = lists:mapfoldl(fun(_, S0) -> rand:uniform_s(256, S0) end,
                                rand:seed_s(exsss, 7), lists:seq(1, N)),
    << <<(B - 1)>> || B <- Bytes >>.

the_old_file_stays(Config) ->
    File = old_file([term_to_binary(kept)]),
    [kept] = items(Config, "stays", File),
    {ok, File} = file:read_file(path(Config, "stays.nif")),
    {ok, <<"EMMAPQ1\n", _/binary>>} = file:read_file(path(Config, "stays")),
    {ok, Names} = file:list_dir(filename:dirname(path(Config, "stays"))),
    [] = [Name || ".emmap-" ++ _ = Name <- Names].

%% Such a file has nothing by which a request by name would know it: it has to be opened once.
a_name_opens_no_old_file(Config) ->
    File = old_file([term_to_binary(a), term_to_binary(b)]),
    ok = file:write_file(path(Config, "by_name"), File),
    on(?config(client, Config), fun() ->
        {error, not_open} = emmap_queue:take("by_name")
    end),
    {ok, File} = file:read_file(path(Config, "by_name")),
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open("by_name", 0, []),
        ok = emmap_queue:close(Q),
        {ok, 1, 1, a} = emmap_queue:take("by_name"),
        ok = emmap_queue:ack("by_name", 1),
        b = emmap_queue:pop("by_name")
    end),
    {ok, File} = file:read_file(path(Config, "by_name.nif")).

another_old_file_is_in_the_way(Config) ->
    File = old_file([term_to_binary(a)]),
    ok = file:write_file(path(Config, "way.nif"), <<"mine">>),
    ok = file:write_file(path(Config, "way"), File),
    on(?config(client, Config), fun() -> {error, eexist} = emmap_queue:open("way", 0, []) end),
    {ok, File} = file:read_file(path(Config, "way")),
    {ok, <<"mine">>} = file:read_file(path(Config, "way.nif")).

a_file_in_use_waits(Config) ->
    File = old_file([term_to_binary(a)]),
    ok = file:write_file(path(Config, "used"), File),
    Other = #{node := Node} = emmap_test:daemon(Config), % both use the same directory
    on(?config(client, Config), fun() ->
        {ok, _, _} = gen_server:call({emmap, Node}, {open, "used", 0, 0, [read]}),
        {error, {locked, _}} = emmap_queue:open("used", 0, []),
        {ok, F, _} = emmap:open("used", [read]),
        {error, {wrong_kind, region}} = emmap_queue:open("used", 0, []),
        ok = emmap:close(F)
    end),
    {ok, File} = file:read_file(path(Config, "used")),
    _ = emmap_test:stop_daemon(Other),
    on(?config(client, Config), fun() ->
        {ok, Q} = emmap_queue:open("used", 0, []),
        a = emmap_queue:pop(Q)
    end).
