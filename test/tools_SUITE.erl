%% The subcommands of emmapd, as somebody types them, on files that a daemon has made.
-module(tools_SUITE).

-include_lib("common_test/include/ct.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_tool, [run/1, run/2]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [each_tool_has_a_help, wrong_use_is_told].

init_per_suite(Config) ->
    emmap_test:start(Config).

end_per_suite(Config) ->
    emmap_test:stop(Config).

%%% The frame.

each_tool_has_a_help(_Config) ->
    {0, List, <<>>} = run(["help"]),
    {match, Names} = re:run(List, "(?m)^  emmapd ([a-z-]+) ", [global, {capture, all_but_first, list}]),
    true = length(Names) >= 2,
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
                            {["repair-journal"], "repair-journal: an argument is missing\nusage: emmapd"},
                            {["repair-journal", "a", "b"], "repair-journal b: one argument too many"},
                            {["repair-journal", "--any", "a"], "repair-journal --any: no such option"}]].
