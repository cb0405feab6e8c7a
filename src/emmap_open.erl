%% @doc Opening and closing.
-module(emmap_open).

-include_lib("kernel/include/file.hrl").

-export([region/4]).
-export([counters/3]).
-export([queue/3]).
-export([close/1]).

-type opened() :: {ok, emmap_handle:handle(), emmap:open_info()} | emmap_request:outcome().

%% @doc A file, or a part of it, as bytes.
-spec region(term(), term(), term(), term()) -> opened().
region(Name, Offset, Length, Options) ->
    open(region, Name, Options,
         fun(Wire, Rest) -> {open, Wire, Offset, Length, Rest} end,
         fun(Wire, Rest) -> {open, Wire, Offset, 0, Rest} end).

%% @doc A file of counters.
-spec counters(term(), term(), term()) -> opened().
counters(Name, N, Options) ->
    open(counters, Name, Options,
         fun(Wire, Rest) -> {open_counters, Wire, N, Rest} end,
         fun(Wire, Rest) -> {open_counters, Wire, 0, Rest} end).

%% @doc A queue.
-spec queue(term(), term(), term()) -> opened().
queue(Name, Size, Options) ->
    open(queue, Name, Options,
         fun(Wire, Rest) -> {open_queue, Wire, Size, Rest} end,
         fun(Wire, Rest) -> {open_queue, Wire, 0, Rest} end).

%% @doc Closed is closed, whether the daemon hears of it or not: it forgets the handles of a
%% connection with the connection.
-spec close(term()) -> ok | badarg.
close({#file_descriptor{} = F, _Count}) ->
    close(F);
close(F) ->
    case emmap_handle:is_handle(F) of
        true -> close(F, emmap_handle:close(F));
        false -> badarg
    end.

%% Internal.

%% Memory needs no name.
name(Name, Options) when Name =:= ""; Name =:= <<>> ->
    case lists:any(fun(Option) -> Option =:= anon orelse Option =:= {anon, true} end, Options) of
        true -> <<"anon">>;
        false -> Name
    end;
name(Name, _Options) ->
    Name.

%% `First' makes the request from the name and the options on the wire, `Again' the one for opening
%% again.
open(Kind, Name, Options, First, Again) ->
    case emmap_options:check(Kind, Options) of
        ok -> open_checked(Kind, name(Name, Options), Options, First, Again);
        BadOption -> {ok, {error, BadOption}}
    end.

open_checked(Kind, Name, Options, First, Again) ->
    Node = daemon(Options),
    Names = owner_of_names(Node, emmap_config:get(node)),
    case emmap_name:to_wire(Name, Names) of
        badarg ->
            {ok, {error, badarg}};
        Wire ->
            Rest = emmap_options:for_daemon(Options, Names),
            open_on(Node, First(Wire, Rest), reopening(Kind, Wire, Rest, Again))
    end.

daemon(Options) ->
    case emmap_options:node(Options) of
        default -> emmap_config:get(node);
        Node -> Node
    end.

owner_of_names(Node, Node) ->
    case emmap_config:get(daemon) of
        own -> own;
        _ -> other
    end;
owner_of_names(_, _) ->
    other.

reopening(Kind, Wire, Options, Again) ->
    case emmap_options:reopening(Kind, Options) of
        never -> never;
        {ok, Rest} -> Again(Wire, Rest)
    end.

open_on(Node, Request, Reopening) ->
    case emmap_request:to_node(Node, Request) of
        {ok, {ok, Id, Info}} -> {ok, emmap_handle:new(Node, Id, offset(Request), Reopening), Info};
        Outcome -> Outcome
    end.

offset({open, _, Offset, _, _}) -> Offset;
offset({open_counters, _, _, _}) -> 0;
offset({open_queue, _, _, _}) -> 0.

close(_F, closed) ->
    ok;
close(F, Id) ->
    _ = emmap_request:to_node(emmap_handle:node(F), {close, Id}),
    ok.
