%% @doc What the arguments of our functions must be: for what the shell shows of a badarg.
-module(emmap_domain).

-export([wrong/3]).

%% @doc Which arguments are wrong, and why, by their numbers. Where all are right by type, one was
%% refused by the object: a position past the end, an index that is not there.
-spec wrong(emmap | emmap_queue, atom(), [term()]) -> #{pos_integer() | general => string()}.
wrong(Module, Function, Args) ->
    Domains = domains(Module, Function, length(Args)),
    Numbered = lists:zip3(lists:seq(1, length(Args)), Args, Domains),
    case [{N, Text} || {N, Arg, Domain} <- Numbered, (Text = check(Domain, Arg)) =/= ok] of
        [] -> refused(Numbered);
        Wrong -> maps:from_list(Wrong)
    end.

%% Internal.

refused(Numbered) ->
    case [{N, Text} || {N, _, Domain} <- Numbered, (Text = refusal(Domain)) =/= none] of
        [] -> #{general => "refused by the object"};
        [{N, Text} | _] -> #{N => Text}
    end.

refusal(subscription) ->
    "no subscription of this process on this queue";
refusal(size) ->
    "no size for this queue: one with fixed_size needs it above 0";
refusal(Domain) ->
    case lists:member(Domain, [position, positions, index, indices, deltas, where]) of
        true -> "outside the object";
        false -> none
    end.

domains(emmap, Function, N) -> of_object(Function, N);
domains(emmap_queue, Function, N) -> of_queue(Function, N).

of_object(open, 2) -> [name, options];
of_object(open, 4) -> [name, natural, natural, options];
of_object(open_counters, N) -> lists:sublist([name, natural, options], N);
of_object(pread, 2) -> [object, positions];
of_object(pread, 3) -> [object, position, natural];
of_object(pwrite, 2) -> [object, positions];
of_object(pwrite, 3) -> [object, position, iodata];
of_object(read, 2) -> [handle, natural];
of_object(write, 2) -> [handle, iodata];
of_object(position, 2) -> [handle, where];
of_object(resize, 2) -> [handle, natural];
of_object(allocate, 3) -> [handle, natural, natural];
of_object(advise, 4) -> [handle, natural, natural, advice];
of_object(patomic_cas, 4) -> [object, position, int64, int64];
of_object(patomic_read_integer, 2) -> [object, position];
of_object(update_counters, 2) -> [object, deltas];
of_object(read_counters, 2) -> [object, indices];
of_object(init_block_storage, 2) -> [object, positive];
of_object(store_block, 2) -> [object, iodata];
of_object(store_blocks, 2) -> [object, list];
of_object(Function, 2) when Function =:= read_block; Function =:= free_block -> [object, natural];
of_object(Function, 2) when Function =:= read_blocks; Function =:= free_blocks -> [object, indices];
of_object(Function, 3) when Function =:= read_blocks; Function =:= repair_block_storage ->
    [object, natural, natural];
of_object(repair_block_storage, 2) -> [object, list];
of_object(snapshot, 2) -> [object, name];
of_object(restore, 2) -> [name, name];
of_object(batch, 2) -> [object, requests];
of_object(batch, 1) -> [requests];
of_object(cast, 2) -> [handle, cast];
of_object(Function, 2) when Function =:= call; Function =:= send_request -> [object, request];
of_object(call, 3) -> [object, request, time_limit];
of_object(Function, N) when Function =:= inc_counter; Function =:= dec_counter;
                          Function =:= set_counter; Function =:= read_counter ->
    lists:sublist([object, index, int64], N);
of_object(Function, 1) when Function =:= read_line; Function =:= truncate; Function =:= resize;
                          Function =:= barrier; Function =:= close ->
    [handle];
of_object(_Patomic, 3) -> [object, position, int64];
of_object(_Function, N) -> [object | lists:duplicate(max(0, N - 1), any)].

of_queue(open, 3) -> [name, size, options];
of_queue(close, 1) -> [handle];
of_queue(barrier, 1) -> [queue_with_handle];
of_queue(push_async, 2) -> [queue_with_handle, any];
of_queue(push, 3) -> [queue, any, level];
of_queue(push_many, 2) -> [queue, list];
of_queue(Fold, 3) when Fold =:= pop; Fold =:= peek; Fold =:= rpeek -> [queue, any, function_2];
of_queue(Try, 2) when Try =:= try_pop; Try =:= try_dequeue; Try =:= try_pop_and_purge ->
    [queue, function_1];
of_queue(Function, 2) when Function =:= pop_wait; Function =:= take -> [queue, timeout];
of_queue(take, 3) -> [queue, timeout, lease];
of_queue(Function, N) when Function =:= pop_many; Function =:= take_many ->
    lists:sublist([queue, positive, timeout, lease], N);
of_queue(release, 3) -> [queue, natural, natural];
of_queue(Function, 2) when Function =:= ack; Function =:= release; Function =:= touch;
                           Function =:= bury ->
    [queue, natural];
of_queue(Function, 2) when Function =:= ack_many; Function =:= release_many -> [queue, naturals];
of_queue(Function, 2) when Function =:= kick; Function =:= peek_many; Function =:= peek_buried;
                           Function =:= subscribe ->
    [queue, positive];
of_queue(unsubscribe, 2) -> [queue, subscription];
of_queue(_Function, N) -> [queue | lists:duplicate(N - 1, any)].

check(any, _) -> ok;
check(object, Arg) -> one_of(is_object(Arg), "neither a handle of this node nor a name");
check(handle, Arg) -> one_of(is_handle(Arg), "not a handle of this node");
check(name, Arg) -> one_of(emmap_name:is_name(Arg), "not a name: a string or a binary, not empty");
check(natural, Arg) -> one_of(is_natural(Arg), "not a non-negative integer");
check(size, Arg) -> one_of(is_natural(Arg), "not a non-negative integer");
check(position, Arg) -> one_of(is_natural(Arg), "not a non-negative integer");
check(index, Arg) -> one_of(is_natural(Arg), "not a non-negative integer");
check(int64, Arg) -> one_of(is_int64(Arg), "not an integer of 64 bits");
check(iodata, Arg) -> one_of(is_iodata(Arg), "not iodata");
check(positions, Arg) -> one_of(are_pairs(Arg), "not a list of pairs with positions");
check(deltas, Arg) -> one_of(are_pairs(Arg), "not a list of pairs of index and integer");
check(indices, Arg) -> one_of(are_naturals(Arg), "not a list of non-negative integers");
check(queue, Arg) -> one_of(emmap_access:is_process(Arg) orelse is_object(Arg),
                            "neither a handle of this node nor a name nor a process");
check(queue_with_handle, Arg) -> one_of(emmap_access:has_handle(Arg),
                                        "neither a handle nor a process of this node");
check(level, Arg) -> one_of(is_natural(Arg) andalso Arg =< 9, "not a level: 0 to 9");
check(list, Arg) -> one_of(is_proper(Arg), "not a list");
check(function_1, Arg) -> one_of(is_function(Arg, 1), "not a function of one argument");
check(function_2, Arg) -> one_of(is_function(Arg, 2), "not a function of two arguments");
check(positive, Arg) -> one_of(is_natural(Arg) andalso Arg > 0, "not a positive integer");
check(naturals, Arg) -> one_of(are_naturals(Arg), "not a list of non-negative integers");
check(timeout, Arg) -> one_of(is_natural(Arg) orelse Arg =:= infinity,
                              "not a time: milliseconds or infinity");
check(lease, Arg) -> one_of(is_lease(Arg), "not a time: milliseconds above 0, infinity or default");
check(subscription, Arg) -> one_of(is_reference(Arg), "not a reference");
check(options, Arg) -> one_of(is_list(Arg), "not a list of options");
check(time_limit, Arg) -> one_of(emmap_config:is_timeout(Arg),
                                 "not a time: milliseconds below 2^32, or infinity");
check(requests, Arg) -> one_of(is_proper(Arg), "not a list of requests");
check(request, Arg) -> one_of(emmap_request:is_request(Arg),
                              "not a request; close and barrier are functions");
check(cast, Arg) -> one_of(emmap_request:is_cast(Arg),
                           "not a request, or one that waits; close and barrier are functions");
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

are_naturals(List) -> is_proper(List) andalso lists:all(fun is_natural/1, List).

is_lease(Ms) -> is_natural(Ms) andalso Ms > 0 orelse Ms =:= infinity orelse Ms =:= default.

is_int64(N) -> is_integer(N) andalso N >= -(1 bsl 63) andalso N < 1 bsl 63.

is_iodata(Data) ->
    try iolist_size(Data) of
        _ -> true
    catch
        error:badarg -> false
    end.

are_pairs(List) ->
    is_proper(List) andalso lists:all(fun({At, _}) -> is_natural(At); (_) -> false end, List).

is_advice(Advice) ->
    lists:member(Advice, [normal, sequential, random, no_reuse, will_need, dont_need]).

is_where(N) when is_integer(N) -> true;
is_where({From, N}) -> is_integer(N) andalso is_where(From) andalso is_atom(From);
is_where(From) -> lists:member(From, [bof, cur, eof]).
