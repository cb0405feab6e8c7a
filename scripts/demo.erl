%% Reads lines as they would be typed into `erl`, shows each with its result, and ends with status 1
%% at the first one that does not go as it says.
-module(demo).

-export([main/0]).

main() ->
    logger:set_primary_config(level, error),
    lines(1, erl_eval:new_bindings()).

lines(N, Bindings) ->
    case io:get_line("") of
        eof -> halt(0);
        Line -> lines(N + 1, line(N, string:trim(Line), Bindings))
    end.

line(N, Line, Bindings) ->
    io:format("~b> ~ts~n", [N, Line]),
    {ok, Tokens, _} = erl_scan:string(Line),
    {ok, Exprs} = erl_parse:parse_exprs(Tokens),
    try erl_eval:exprs(Exprs, Bindings) of
        {value, Value, After} ->
            io:format("~tP~n", [Value, 9]),
            After
    catch
        Class:Reason ->
            io:format("** exception ~p: ~tp~n", [Class, Reason]),
            halt(1)
    end.
