%% `emmapd bench-disk`: what it tells is measured, and nothing is left behind.
-module(tools_bench_disk_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_tool, [run/1, run/2]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [the_text_has_all, json_has_all_and_adds_up, it_takes_as_long_as_it_may, memory_is_told,
     nothing_is_left_behind, what_cannot_be_measured_is_told].

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

directory(Config, Name) ->
    Dir = filename:join(?config(dir, Config), Name),
    ok = file:make_dir(Dir),
    Dir.

is_empty(Dir) ->
    {ok, []} = file:list_dir(Dir),
    ok.

the_text_has_all(Config) ->
    Dir = directory(Config, "text"),
    {0, Text, <<>>} = run(["bench-disk", "--seconds", "1", Dir]),
    [{Line, {match, _}} = {Line, re:run(Text, Line, [multiline])}
     || Line <- ["^" ++ Dir ++ ": \\w+, served by emmapd$", "^  space can be allocated +yes$",
                 "^  files can be locked +yes$", "^  holes can be punched +(yes|no: .*)$",
                 "^  files have attributes +(yes|no: .*)$", "^  files without a name +(yes|no)$",
                 "^  append 4 KiB, fdatasync +median +\\d+ us, p99 +\\d+ us \\(\\d+ times\\)$",
                 "^  append 4 KiB, fsync +median ", "^    1 callers: +\\d+ a second ",
                 "^    8 callers: ", "^   64 callers: ", "^  256 callers: "]],
    is_empty(Dir).

%% The median is no more than the 99th of a hundred; many callers of one sync are served faster.
json_has_all_and_adds_up(Config) ->
    Dir = directory(Config, "json"),
    {0, Json, <<>>} = run(["bench-disk", "--json", "--seconds", "1", Dir]),
    Syncs = [[_, _], [_, _]] =
        numbers(Json, "\"f\\w*sync\":{\"n\":\\d+,\"median_us\":([\\d.]+),\"p99_us\":([\\d.]+)}"),
    Groups = numbers(Json, "{\"callers\":(\\d+),\"commits_per_second\":(\\d+),\"n\":\\d+,"
                           "\"median_us\":([\\d.]+),\"p99_us\":([\\d.]+)}"),
    [1.0, 8.0, 64.0, 256.0] = [Callers || [Callers | _] <- Groups],
    [true = Median > 0 andalso Median =< P99 || [Median, P99] <- Syncs ++ [[M, P] || [_, _, M, P] <- Groups]],
    Rates = [Rate || [_, Rate | _] <- Groups],
    true = hd(Rates) < lists:last(Rates),
    [{match, _} = re:run(Json, ["\"", Key, "\":(true|false)[,}]"])
     || Key <- ["served", "in_memory", "unnamed_files", "fallocate", "ofd_locks", "attributes", "punch"]],
    {match, _} = re:run(Json, "^{\"file_system\":\"\\w+\",.*]}\n$"),
    is_empty(Dir).

numbers(Text, Pattern) ->
    {match, Found} = re:run(Text, Pattern, [global, {capture, all_but_first, list}]),
    [[number(Word) || Word <- Words] || Words <- Found].

number(Word) ->
    case string:to_float(Word) of
        {Float, []} -> Float;
        {error, no_float} -> float(list_to_integer(Word))
    end.

it_takes_as_long_as_it_may(Config) ->
    Dir = directory(Config, "long"),
    Begun = erlang:monotonic_time(millisecond),
    {0, _, <<>>} = run(["bench-disk", "--json", "--seconds", "2", Dir]),
    true = erlang:monotonic_time(millisecond) - Begun >= 1500.

memory_is_told(_Config) ->
    Dir = string:trim(os:cmd("mktemp -d -p /dev/shm")),
    try
        {0, Text, <<>>} = run(["bench-disk", "--seconds", "1", Dir]),
        {match, _} = re:run(Text, ": tmpfs, served by emmapd\n"),
        {match, _} = re:run(Text, "is in memory: its syncs keep nothing over a power cut\n"),
        is_empty(Dir)
    after
        file:del_dir(Dir)
    end.

nothing_is_left_behind(Config) ->
    Dir = directory(Config, "killed"),
    Bench = emmap_program:start(emmap_test:daemon_path(), ["bench-disk", "--seconds", "600", Dir], #{}),
    Descriptors = lists:concat(["ls -l /proc/", emmap_program:os_pid(Bench), "/fd"]),
    ok = emmap_test:until(fun() ->
        match =:= re:run(os:cmd(Descriptors), Dir ++ "/[^ ]+ \\(deleted\\)", [{capture, none}])
    end),
    is_empty(Dir),
    ok = emmap_program:signal(Bench, "KILL"),
    137 = emmap_program:await_exit(Bench),
    ok = emmap_program:stop(Bench),
    is_empty(Dir).

what_cannot_be_measured_is_told(Config) ->
    Dir = directory(Config, "not"),
    File = filename:join(Dir, "file"),
    ok = file:write_file(File, "x"),
    [begin
         {2, <<>>, Said} = run(["bench-disk" | Args]),
         {match, _} = re:run(Said, Why)
     end || {Args, Why} <- [{[filename:join(Dir, "none")], "none: No such file"},
                            {[File], "file: Not a directory"},
                            {["--seconds", "0", Dir], "a number from 1 to 3600"},
                            {["/proc"], "emmapd: /proc: "}]],
    {2, <<>>, Said} = run(["bench-disk", Dir], "ulimit -f 100 && \"$@\" 2>\"$said\""),
    {match, _} = re:run(Said, "not: File too large"),
    {ok, ["file"]} = file:list_dir(Dir).
