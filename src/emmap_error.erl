%% @doc Errors as people read them, and the exceptions of module emmap.
-module(emmap_error).

-export([badarg/4]).
-export([raise/4]).
-export([not_started/0]).
-export([text/1]).

%% Called by the shell and by loggers, for exceptions that name this module in error_info
-export([format_error/2]).

-export_type([reason/0]).

-include_lib("kernel/include/file.hrl").

-type reason() ::
        file:posix() | closed | not_open | fixed_size | alignment | full | not_leased
      | {not_connected | nodedown, node()}
      | {size_mismatch, non_neg_integer(), non_neg_integer()}
      | {not_a | wrong_kind, atom()}
      | {damaged, binary()} | {locked, term()} | {limit, atom()} | {corrupt, term()}
      | {already_registered, atom()} | {invalid_file_header, binary()}
      | {not_leased, [pos_integer()]} | {lease_lost, pos_integer()}
      | {casts, #{failed := non_neg_integer(), lost := non_neg_integer(), first := term()}}
      | term().

%% @doc Raises badarg from Module:Function(Args), Module one of ours. The cause, where one is known,
%% is what the shell shows of it.
-spec badarg(module(), atom(), [term()], none | {bad_option, term()}) -> no_return().
badarg(Module, Function, Args, Cause) ->
    raise(Module, Function, Args, {badarg, Cause}).

%% @doc Raises any reason from Module:Function(Args).
-spec raise(module(), atom(), [term()], {badarg, term()} | term()) -> no_return().
raise(Module, Function, Args, {badarg, Cause}) ->
    raise_at({Module, Function, Args}, badarg, #{module => ?MODULE, cause => Cause});
raise(Module, Function, Args, Reason) ->
    raise_at({Module, Function, Args}, Reason, #{module => ?MODULE}).

%% @doc Raises `{not_started, emmap}'.
-spec not_started() -> no_return().
not_started() ->
    erlang:error({not_started, emmap}, none, [{error_info, #{module => ?MODULE}}]).

%% @doc One line on what happened and, where there is something, on what to do.
-spec text(reason()) -> string().
text(not_distributed) ->
    "this node is not distributed, and start_distribution is false: start it with -sname or "
        "-name, or allow emmap to give it a hidden name";
text({start_distribution, mnesia_running}) ->
    "mnesia runs on this node, which has no name, and would hang if it got one: start the node "
        "with -sname or -name, or mnesia after emmap";
text({start_distribution, Reason}) ->
    format("distribution cannot be started: ~0tp", [Reason]);
text({bad_config, Key, Value}) ->
    format("the value ~0tp of the environment variable ~ts of application emmap makes no sense",
           [Value, Key]);
text({not_started, emmap}) ->
    "application emmap is not running: application:ensure_all_started(emmap)";
text({not_connected, Node}) ->
    format("~ts cannot be reached, nothing was sent: does it run, with the same cookie?", [Node]);
text({nodedown, Node}) ->
    format("the connection to ~ts was lost; the request may or may not have been done", [Node]);
text({emmapd, Why}) ->
    format("emmapd does not start: ~ts", [why(Why)]);
text({cookie_file, File, Reason}) ->
    format("the cookie file ~ts: ~ts", [File, text(Reason)]);
text({cannot_open_file, Name, Reason}) ->
    format("~ts: ~ts", [Name, text(Reason)]);
text({invalid_file_header, Name, Header}) ->
    format("~ts is no file of counters: it begins with ~0tp", [Name, Header]);
text({invalid_file_header, Header}) ->
    format("no file of counters: it begins with ~0tp", [Header]);
text({casts, #{failed := Failed, lost := Lost, first := First}}) ->
    format("~b casts failed (the first: ~0tp), ~b were lost with a connection",
           [Failed, First, Lost]);
text({size_mismatch, Actual, Wanted}) ->
    format("the file has ~b bytes, not ~b: open with fit, or with length 0", [Actual, Wanted]);
text({Why, _} = Reason) when Why =:= not_a; Why =:= wrong_kind; Why =:= limit ->
    kind(Reason);
text({locked, Who}) ->
    format("the file is in use by ~0tp; nodes of a host share it by {daemon, shared}", [Who]);
text({damaged, Text}) ->
    format("the file is damaged: ~ts", [Text]);
text({corrupt, Where}) ->
    format("what is stored at ~0tp is not what was written", [Where]);
text({already_registered, Name}) ->
    format("another queue is registered as ~ts", [Name]);
text({not_leased, Ids}) ->
    format("these items are not leased to this process, or not any more: ~0tp", [Ids]);
text({lease_lost, Id}) ->
    format("the lease of item ~0tp was lost with a connection: the item comes again", [Id]);
text({block_size, N}) ->
    format("the block store has blocks of ~b bytes", [N]);
text({needs_journal, Dir}) ->
    format("the file is durable by a journal in ~ts", [Dir]);
text({bad_option, Option}) when Option =:= create; Option =:= truncate ->
    format("~ts is no option here, or not without write", [Option]);
text({bad_option, Option}) ->
    format("~0tp is no option here, or has a wrong value", [Option]);
text({unknown_request, Name}) ->
    format("~0tp is no request, or has another number of arguments", [Name]);
text({Done, Reason}) when is_integer(Done) ->
    format("after ~b were done: ~ts", [Done, text(Reason)]);
text(Reason) when is_atom(Reason) ->
    plain(Reason);
text(Reason) ->
    format("~0tp", [Reason]).

%% @doc What is wrong with which argument (EEP 54).
-spec format_error(term(), erlang:stacktrace()) -> #{pos_integer() | general => unicode:chardata()}.
format_error(badarg, [{Module, Function, Args, Info} | _]) when is_list(Args) ->
    case maps:get(cause, proplists:get_value(error_info, Info, #{}), none) of
        {bad_option, Option} -> #{length(Args) => text({bad_option, Option})};
        none when Module =:= emmap -> wrong(Function, Args);
        none -> wrong_of_queue(Args)
    end;
format_error(Reason, _Stack) ->
    #{general => text(Reason)}.

%% Internal.

raise_at({Module, Function, Args}, Reason, Info) ->
    {current_stacktrace, [_Here | Callers]} = process_info(self(), current_stacktrace),
    Ours = [?MODULE, emmap_result, Module],
    Outside = lists:dropwhile(fun({M, _, _, _}) -> lists:member(M, Ours) end, Callers),
    erlang:raise(error, Reason, [{Module, Function, Args, [{error_info, Info}]} | Outside]).

format(Format, Args) ->
    lists:flatten(io_lib:format(Format, Args)).

why({exit_status, Status, <<>>}) -> format("it ended with status ~b", [Status]);
why({exit_status, _Status, Text}) -> Text;
why(timeout) -> "it did not become ready in time";
why({Path, Reason}) -> format("~ts: ~ts", [Path, text(Reason)]);
why(Why) -> format("~0tp", [Why]).

kind({not_a, regular_file}) -> "not a regular file";
kind({not_a, Kind}) -> format("the file is not of the kind ~ts", [Kind]);
kind({wrong_kind, Kind}) -> format("the object is of the kind ~ts", [Kind]);
kind({limit, Limit}) -> format("the daemon's limit ~ts is reached", [Limit]).

plain(closed) -> "the handle is closed";
plain(stale) -> "the id is of an earlier connection";
plain(not_open) -> "nobody has this file open, and by name it does not open by itself";
plain(fixed_size) -> "the size is fixed";
plain(alignment) -> "the position in the file is not a multiple of 8";
plain(full) -> "there is no room for more";
plain(not_leased) -> "the item is not leased to this process, or not any more";
plain(badarg) -> "a wrong argument";
plain(enotsup) -> "not supported here";
plain(Posix) ->
    case file:format_error(Posix) of
        "unknown POSIX error" ++ _ -> atom_to_list(Posix);
        Text -> Text
    end.

wrong_of_queue([Q | _]) ->
    case emmap_queue:is_queue(Q) of
        true -> #{general => "an argument is of the wrong type or out of range"};
        false -> #{1 => "neither a handle of this node nor a name nor a process"}
    end.

%% What the arguments of each function must be; the rest is right by type and was refused by the
%% object: a position past the end, an index that is not there.
wrong(Function, Args) ->
    Numbered = lists:zip3(lists:seq(1, length(Args)), Args, domains(Function, length(Args))),
    case [{N, Text} || {N, Arg, Domain} <- Numbered, (Text = check(Domain, Arg)) =/= ok] of
        [] -> refused(Numbered);
        Wrong -> maps:from_list(Wrong)
    end.

refused(Numbered) ->
    case [N || {N, _, Domain} <- Numbered, refusable(Domain)] of
        [] -> #{general => "refused by the object"};
        [N | _] -> #{N => "outside the object"}
    end.

refusable(Domain) ->
    lists:member(Domain, [position, positions, index, indices, deltas, where]).

domains(open, 2) -> [name, options];
domains(open, 4) -> [name, natural, natural, options];
domains(open_counters, N) -> lists:sublist([name, natural, options], N);
domains(pread, 2) -> [object, positions];
domains(pread, 3) -> [object, position, natural];
domains(pwrite, 2) -> [object, positions];
domains(pwrite, 3) -> [object, position, iodata];
domains(read, 2) -> [handle, natural];
domains(write, 2) -> [handle, iodata];
domains(position, 2) -> [handle, where];
domains(resize, 2) -> [handle, natural];
domains(allocate, 3) -> [handle, natural, natural];
domains(advise, 4) -> [handle, natural, natural, advice];
domains(patomic_cas, 4) -> [object, position, int64, int64];
domains(patomic_read_integer, 2) -> [object, position];
domains(update_counters, 2) -> [object, deltas];
domains(read_counters, 2) -> [object, indices];
domains(batch, 2) -> [object, requests];
domains(batch, 1) -> [requests];
domains(cast, 2) -> [handle, request];
domains(Function, 2) when Function =:= call; Function =:= send_request -> [object, request];
domains(call, 3) -> [object, request, any];
domains(Function, N) when Function =:= inc_counter; Function =:= dec_counter;
                          Function =:= set_counter; Function =:= read_counter ->
    lists:sublist([object, index, int64], N);
domains(Function, 1) when Function =:= read_line; Function =:= truncate; Function =:= resize;
                          Function =:= barrier; Function =:= close ->
    [handle];
domains(_Patomic, 3) -> [object, position, int64];
domains(_Function, N) -> [object | lists:duplicate(max(0, N - 1), any)].

check(any, _) -> ok;
check(object, Arg) -> one_of(is_object(Arg), "neither a handle of this node nor a name");
check(handle, Arg) -> one_of(is_handle(Arg), "not a handle of this node");
check(name, Arg) -> one_of(emmap_name:is_name(Arg), "not a name: a string or a binary, not empty");
check(natural, Arg) -> one_of(is_natural(Arg), "not a non-negative integer");
check(position, Arg) -> one_of(is_natural(Arg), "not a non-negative integer");
check(index, Arg) -> one_of(is_natural(Arg), "not a non-negative integer");
check(int64, Arg) -> one_of(is_int64(Arg), "not an integer of 64 bits");
check(iodata, Arg) -> one_of(is_iodata(Arg), "not iodata");
check(positions, Arg) -> one_of(are_pairs(Arg), "not a list of pairs with positions");
check(deltas, Arg) -> one_of(are_pairs(Arg), "not a list of pairs of index and integer");
check(indices, Arg) -> one_of(is_list(Arg) andalso lists:all(fun is_natural/1, Arg),
                              "not a list of non-negative integers");
check(options, Arg) -> one_of(is_list(Arg), "not a list of options");
check(requests, Arg) -> one_of(is_proper(Arg), "not a list of requests");
check(request, Arg) -> one_of(is_atom(Arg) orelse is_tuple(Arg), "not a request");
check(advice, Arg) -> one_of(is_advice(Arg), "not an advice that file:advise/4 knows");
check(where, Arg) -> one_of(is_where(Arg), "not a position: N, bof, cur, eof or a pair of these").

one_of(true, _) -> ok;
one_of(false, Text) -> Text.

is_object({F, Count}) when is_integer(Count) -> is_handle(F);
is_object(Obj) -> is_handle(Obj) orelse emmap_name:is_name(Obj).

is_handle({F, Count}) when is_integer(Count) -> emmap_handle:is_handle(F);
is_handle(F) -> emmap_handle:is_handle(F).

is_proper(List) -> is_list(List) andalso is_integer(catch length(List)).

is_natural(N) -> is_integer(N) andalso N >= 0.

is_int64(N) -> is_integer(N) andalso N >= -(1 bsl 63) andalso N < 1 bsl 63.

is_iodata(Data) ->
    try iolist_size(Data) of
        _ -> true
    catch
        error:badarg -> false
    end.

are_pairs(List) ->
    is_list(List) andalso lists:all(fun({At, _}) -> is_natural(At); (_) -> false end, List).

is_advice(Advice) ->
    lists:member(Advice, [normal, sequential, random, no_reuse, will_need, dont_need]).

is_where(N) when is_integer(N) -> true;
is_where({From, N}) -> is_integer(N) andalso is_where(From) andalso is_atom(From);
is_where(From) -> lists:member(From, [bof, cur, eof]).
