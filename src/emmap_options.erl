%% @doc Options of open: one validating clause an option.
-module(emmap_options).

-export([check/2]).
-export([node/1]).
-export([for_daemon/2]).
-export([reopening/2]).

-export_type([option/0, counters_option/0, queue_option/0, kind/0]).

-type option() ::
        read | write | create | truncate | shared | private | anon | fit | fixed_size
      | auto_unlink | sync | shared_validate | direct | populate | nonblock | noreserve
      | uninitialized | hugetlb | huge_2mb | huge_1gb | nocache | lock | nolock | debug
      | {size, non_neg_integer()} | {max_inc_size, pos_integer()} | {chmod, 0..8#777}
      | {durability, default | sync} | {owner, pid()} | {node, node()}.
-type counters_option() ::
        read | auto_unlink | {chmod, 0..8#777} | {durability, default | sync}
      | {owner, pid()} | {node, node()}.
-type queue_option() ::
        fixed_size | auto_unlink | {chmod, 0..8#777} | {durability, default | sync}
      | {owner, pid()} | {node, node()}
      | {max_items, pos_integer() | infinity} | {max_bytes, pos_integer() | infinity}
      | {overflow, reject | drop_head} | {lease_ms, pos_integer() | infinity}
      | {max_attempts, 1..1023 | infinity} | {dead_letter, emmap:name() | none}
      | {register, atom()}
      | read | write | create | shared | lock | nolock | debug | nocache. % of no effect
-type kind() :: region | counters | queue.

%% @doc All options are known to this kind of object, or the first that is not.
-spec check(kind(), term()) -> ok | {bad_option, term()}.
check(_Kind, []) ->
    ok;
check(Kind, [Option | Rest]) ->
    case is_of_kind(Kind, Option) andalso is_valid(plain(Option)) of
        true -> check(Kind, Rest);
        false -> {bad_option, Option}
    end;
check(_Kind, NoList) ->
    {bad_option, NoList}.

%% @doc The daemon that is asked for.
-spec node([option() | queue_option()]) -> node() | default.
node(Options) ->
    proplists:get_value(node, Options, default).

%% @doc What the daemon is told: which node it is, it knows; names of files as it reads them.
-spec for_daemon([option() | queue_option()], own | other) -> [option() | queue_option()].
for_daemon(Options, Names) ->
    [on_wire(Option, Names) || Option <- Options, key(Option) =/= node].

%% @doc The options for opening again after the daemon was restarted: nothing that makes, empties
%% or sizes a file, and of a queue nothing that its file keeps. `never': what the handle had ended
%% with the daemon.
-spec reopening(kind(), [option() | queue_option()]) -> {ok, [option() | queue_option()]} | never.
reopening(Kind, Options) ->
    Plain = [plain(Option) || Option <- Options, plain(Option) =/= off],
    case [O || O <- Plain, lists:member(O, [private, anon, auto_unlink])] of
        [] -> {ok, [O || O <- Plain, is_for_each_opening(Kind, key(O))]};
        _ -> never
    end.

%% Internal.

is_for_each_opening(queue, Key) ->
    Key =:= owner;
is_for_each_opening(_Kind, Key) ->
    not lists:member(Key, [create, truncate, size, fit, chmod]).

on_wire({dead_letter, Name}, Names) when Name =/= none ->
    {dead_letter, emmap_name:to_wire(Name, Names)};
on_wire(Option, _Names) ->
    Option.

is_of_kind(region, Option) ->
    not is_of_queues(key(Option));
is_of_kind(queue, Option) ->
    is_of_queues(key(Option)) orelse
        lists:member(key(Option), [read, write, create, shared, lock, nolock, debug, nocache,
                                   fixed_size, auto_unlink, chmod, durability, owner, node]);
is_of_kind(counters, Option) ->
    lists:member(key(Option), [read, auto_unlink, chmod, durability, owner, node]).

is_of_queues(Key) ->
    lists:member(Key, [max_items, max_bytes, overflow, lease_ms, max_attempts, dead_letter,
                       register]).

key(Option) when is_tuple(Option), tuple_size(Option) > 0 -> element(1, Option);
key(Option) -> Option.

%% `{a, true}' is `a', and `{a, false}' as if it were not there.
plain({Flag, true}) -> Flag;
plain({Flag, false}) when is_atom(Flag) ->
    case is_valid(Flag) of
        true -> off;
        false -> {Flag, false}
    end;
plain(Option) -> Option.

is_valid(off) -> true;
is_valid(read) -> true;
is_valid(write) -> true;
is_valid(create) -> true;
is_valid(truncate) -> true;
is_valid(shared) -> true;
is_valid(private) -> true;
is_valid(anon) -> true;
is_valid(fit) -> true;
is_valid(fixed_size) -> true;
is_valid(auto_unlink) -> true;
is_valid(sync) -> true;
is_valid(shared_validate) -> true;
is_valid(direct) -> true;
is_valid(populate) -> true;
is_valid(nonblock) -> true;
is_valid(noreserve) -> true;
is_valid(uninitialized) -> true;
is_valid(hugetlb) -> true;
is_valid(huge_2mb) -> true;
is_valid(huge_1gb) -> true;
is_valid(nocache) -> true;
is_valid(lock) -> true;
is_valid(nolock) -> true;
is_valid(debug) -> true;
is_valid({size, N}) -> is_integer(N) andalso N >= 0;
is_valid({max_inc_size, N}) -> is_integer(N) andalso N > 0;
is_valid({chmod, Mode}) -> is_integer(Mode) andalso Mode >= 0 andalso Mode =< 8#777;
is_valid({durability, D}) -> D =:= default orelse D =:= sync;
is_valid({owner, Pid}) -> is_pid(Pid) andalso erlang:node(Pid) =:= erlang:node();
is_valid({max_items, N}) -> is_bound(N);
is_valid({max_bytes, N}) -> is_bound(N);
is_valid({overflow, What}) -> What =:= reject orelse What =:= drop_head;
is_valid({lease_ms, N}) -> is_bound(N);
is_valid({max_attempts, N}) -> N =:= infinity orelse is_bound(N) andalso N =< 1023;
is_valid({dead_letter, Name}) -> Name =:= none orelse emmap_name:is_name(Name);
is_valid({register, Name}) -> is_atom(Name);
is_valid({node, Node}) -> is_atom(Node) andalso emmap_net:is_node_name(Node);
is_valid(_) -> false.

is_bound(infinity) -> true;
is_bound(N) -> is_integer(N) andalso N > 0.
