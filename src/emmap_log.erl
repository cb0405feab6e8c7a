%% @doc Events for logger, with domain `[emmap]'.
%%
%% The kernel's default handler passes only domains that it knows; while the application runs it
%% passes ours, too. A handler filter `emmap' of the user's own making is left alone.
-module(emmap_log).

-export([start/0]).
-export([stop/0]).
-export([event/2]).
-export([format/1]).

-spec start() -> ok.
start() ->
    Ours = {fun logger_filters:domain/2, {log, sub, [emmap]}},
    _ = logger:add_handler_filter(default, ?MODULE, Ours),
    ok.

-spec stop() -> ok.
stop() ->
    _ = logger:remove_handler_filter(default, ?MODULE),
    ok.

%% @doc `text' says what happened, `daemon' to which node; other keys are details.
-spec event(logger:level(), #{text := unicode:chardata(), atom() => term()}) -> ok.
event(Level, Report) ->
    logger:log(Level, Report, #{domain => [emmap], report_cb => fun ?MODULE:format/1}).

%% @doc A report in one line.
-spec format(logger:report()) -> {io:format(), [term()]}.
format(#{daemon := Node, text := Text}) -> {"~ts: ~ts", [Node, Text]};
format(#{text := Text}) -> {"emmap: ~ts", [Text]};
format(Report) -> {"~tp", [Report]}.
