%% @doc Two lines of bulk, out (to the daemon) and in (from it), beside the lane's envelopes.
%%
%% Of each at most 256 KiB are under way, and one item always may be. What a process sends while
%% something of it stands in a line stands in the same line behind it, so that its order is kept.
%% An item may have to wait for an envelope in which earlier requests of its process travel: it
%% then carries that envelope's number. Pure data; the lane does the sending.
-module(emmap_line).

-export([new/0]).
-export([is_empty/1]).
-export([has/2]).
-export([add/3]).
-export([next/2]).
-export([done/2]).
-export([remove/2]).

-export_type([lines/0, item/0, side/0]).

-type side() :: out | in.
-type item() :: {small | side(), Bytes :: non_neg_integer(), emmap_lane:entry()}.

-record(line, {under_way = 0 :: non_neg_integer(),
               waiting = queue:new() :: queue:queue({After :: non_neg_integer(), item()})}).
-record(lines, {out = #line{} :: #line{},
                in = #line{} :: #line{},
                %% the processes that stand in a line, and how many of their items
                pids = #{} :: #{pid() => {side(), pos_integer()}}}).

-opaque lines() :: #lines{}.

-define(UNDER_WAY, 262144).

-spec new() -> lines().
new() ->
    #lines{}.

%% @doc Nothing waits; something may still be under way.
-spec is_empty(lines()) -> boolean().
is_empty(#lines{pids = Pids}) ->
    Pids =:= #{}.

%% @doc Whether something of this process waits.
-spec has(pid(), lines()) -> boolean().
has(Pid, #lines{pids = Pids}) ->
    is_map_key(Pid, Pids).

%% @doc Puts the item at the end of its line; it leaves after the envelope of this number.
-spec add(item(), After :: non_neg_integer(), lines()) -> lines().
add({Kind, _, {Pid, _, _}} = Item, After, #lines{pids = Pids} = Lines) ->
    {Side, N} = place(Kind, maps:get(Pid, Pids, none)),
    Line = #line{waiting = Waiting} = line(Side, Lines),
    Longer = Line#line{waiting = queue:in({After, Item}, Waiting)},
    put_line(Side, Longer, Lines#lines{pids = Pids#{Pid => {Side, N + 1}}}).

%% @doc Takes out what may leave now, given the number of the last envelope that has left.
-spec next(Sent :: non_neg_integer(), lines()) -> {side(), item(), lines()} | none.
next(Sent, Lines) ->
    case next_of(out, Sent, Lines) of
        none -> next_of(in, Sent, Lines);
        Next -> Next
    end.

%% @doc The item that left this line is answered.
-spec done({side(), Bytes :: non_neg_integer()}, lines()) -> lines().
done({Side, Bytes}, Lines) ->
    Line = #line{under_way = N} = line(Side, Lines),
    put_line(Side, Line#line{under_way = N - Bytes}, Lines).

%% @doc Takes the call with this reference out of its line, or says that it is not there.
-spec remove(reference(), lines()) -> {ok, lines()} | none.
remove(Ref, Lines) ->
    case remove_of(out, Ref, Lines) of
        none -> remove_of(in, Ref, Lines);
        Found -> Found
    end.

%% Internal.

place(_, {Side, N}) -> {Side, N};
place(in, none) -> {in, 0};
place(_, none) -> {out, 0}.

line(out, #lines{out = Line}) -> Line;
line(in, #lines{in = Line}) -> Line.

put_line(out, Line, Lines) -> Lines#lines{out = Line};
put_line(in, Line, Lines) -> Lines#lines{in = Line}.

next_of(Side, Sent, Lines) ->
    Line = #line{waiting = Waiting} = line(Side, Lines),
    case queue:peek(Waiting) of
        {value, {After, {_, Bytes, _} = Item}} when After =< Sent ->
            leave(Item, room(Line, Bytes), Side, Line, Lines);
        _ ->
            none
    end.

room(#line{under_way = 0}, _) -> true;
room(#line{under_way = N}, Bytes) -> N + Bytes =< ?UNDER_WAY.

leave(_Item, false, _Side, _Line, _Lines) ->
    none;
leave({_, Bytes, {Pid, _, _}} = Item, true, Side, Line, Lines) ->
    #line{under_way = N, waiting = Waiting} = Line,
    Left = Line#line{under_way = N + Bytes, waiting = queue:drop(Waiting)},
    {Side, Item, put_line(Side, Left, forget(Pid, Lines))}.

forget(Pid, #lines{pids = Pids} = Lines) ->
    case Pids of
        #{Pid := {_, 1}} -> Lines#lines{pids = maps:remove(Pid, Pids)};
        #{Pid := {Side, N}} -> Lines#lines{pids = Pids#{Pid := {Side, N - 1}}}
    end.

remove_of(Side, Ref, Lines) ->
    Line = #line{waiting = Waiting} = line(Side, Lines),
    case [Pid || {_, {_, _, {Pid, R, _}}} <- queue:to_list(Waiting), R =:= Ref] of
        [Pid] ->
            Others = queue:filter(fun({_, {_, _, {_, R, _}}}) -> R =/= Ref end, Waiting),
            {ok, put_line(Side, Line#line{waiting = Others}, forget(Pid, Lines))};
        [] ->
            none
    end.
