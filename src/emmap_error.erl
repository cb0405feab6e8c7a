%% @doc Errors as people read them, and the exceptions of module emmap.
-module(emmap_error).

-export([badarg/4]).
-export([raise/4]).
-export([not_started/0]).
-export([text/1]).

%% Called by the shell and by loggers, for exceptions that name this module in error_info
-export([format_error/2]).

-export_type([reason/0, limit/0]).

-type reason() ::
        file:posix() | closed | not_open | fixed_size | alignment | full | not_leased
      | {not_connected | nodedown, node()}
      | {size_mismatch, non_neg_integer(), non_neg_integer()}
      | {not_a | wrong_kind, atom()}
      | {damaged, binary()} | {locked, term()} | {needs_journal, binary()}
      | {limit, limit()} | {corrupt, term()}
      | {already_registered, atom()} | {invalid_file_header, binary()}
      | {not_leased, [pos_integer()]} | {lease_lost, pos_integer()}
      | {casts, #{failed := non_neg_integer(), lost := non_neg_integer(), first := term()}}
      | term().

%% Options of the daemon.
-type limit() ::
        max_frame | max_unsent | max_objects | max_object_bytes | max_mapped | reserve_fds
      | max_handles | max_pending | max_leases | max_waiting | max_subscribers
      | max_all_handles | max_all_pending | max_all_leases | max_all_waiting | max_all_subscribers.

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
text({needs_journal, Dir}) ->
    format("the journal in ~ts has changes of this file: start a daemon with that data directory, "
           "or give them up with emmapd forget-journal", [Dir]);
text({locked, unknown}) ->
    "the file is in use by another program; nodes of a host share it by {daemon, shared}";
text({locked, Who}) ->
    format("the file is in use by ~0tp; nodes of a host share it by {daemon, shared}", [Who]);
text({damaged, Text}) ->
    format("the file is damaged: ~ts", [Text]);
text({corrupt, Where}) ->
    format("what is stored at ~0tp is not what was written", [Where]);
text({already_registered, Name}) ->
    format("another file's queue is registered as ~ts", [Name]);
text({not_leased, Ids}) ->
    format("these items are not leased to this process, or not any more: ~0tp", [Ids]);
text({lease_lost, Id}) ->
    format("the lease of item ~0tp was lost with a connection: the item comes again", [Id]);
text({block_size, N}) ->
    format("the block store has blocks of ~b bytes", [N]);
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
        none -> emmap_domain:wrong(Module, Function, Args)
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
kind({limit, max_frame}) -> "longer than a message may be (the daemon's limit max_frame)";
kind({limit, max_object_bytes}) ->
    "the object would be longer than the daemon's limit max_object_bytes";
kind({limit, reserve_fds}) ->
    "no descriptor is left for another file (the daemon's limit reserve_fds)";
kind({limit, Limit}) -> format("the daemon's limit ~ts is reached", [Limit]).

plain(closed) -> "the handle is closed";
plain(stale) -> "the id is of an earlier connection";
plain(not_open) -> "nobody has this file open, and by name it does not open by itself";
plain(fixed_size) -> "the size is fixed";
plain(alignment) -> "the position in the file is not a multiple of 8";
plain(full) -> "there is no room for more: the object is bounded";
plain(not_leased) -> "the item is not leased to this process, or not any more";
plain(badarg) -> "a wrong argument";
plain(enotsup) -> "not supported here";
plain(Posix) ->
    case file:format_error(Posix) of
        "unknown POSIX error" ++ _ -> atom_to_list(Posix);
        Text -> Text
    end.
