%% @doc Subscriptions of the calling process: its reference is a monitor of the daemon, so that the
%% loss of the connection is told by its name.
-module(emmap_subscription).

-export([subscribe/2]).
-export([unsubscribe/2]).

%% @doc `{ok, {ok, Sub}}', or what the daemon has against it.
-spec subscribe(emmap_access:access(), term()) -> emmap_request:outcome().
subscribe(Queue, Credit) ->
    Sub = erlang:monitor(process, {emmap, emmap_access:daemon(Queue)}),
    try emmap_access:call(Queue, {subscribe, Sub, Credit}) of
        {ok, ok} ->
            lasting(Queue, Sub, Credit);
        Outcome ->
            true = erlang:demonitor(Sub, [flush]),
            Outcome
    catch
        Class:Reason:Stack ->
            true = erlang:demonitor(Sub, [flush]),
            erlang:raise(Class, Reason, Stack)
    end.

%% @doc Ends it. The items that this process has received go back, those that it has not yet go back
%% as if never delivered, and nothing of it is left in the mailbox. `ok' also where it is over
%% already and this process was not told yet. After an error, which is badarg where it is no
%% subscription of this process on this queue, nothing has changed.
-spec unsubscribe(emmap_access:access(), term()) -> emmap_request:outcome().
unsubscribe(Queue, Sub) ->
    case emmap_access:call(Queue, {unsubscribe, Sub, keep}) of
        {ok, {ok, Ids}} ->
            Unseen = forget(Sub),
            give_back(Queue, Ids -- Unseen, Unseen);
        Outcome ->
            over_or(Outcome, Sub, emmap_access:daemon(Queue))
    end.

%% Internal.

%% A monitor that was set while there was no connection is over before the subscription begins.
lasting(Queue, Sub, Credit) ->
    receive
        {'DOWN', Sub, process, _, _} ->
            _ = emmap_access:call(Queue, {unsubscribe, Sub}),
            _ = drop_messages(Sub),
            subscribe(Queue, Credit)
    after 0 ->
        {ok, {ok, Sub}}
    end.

%% What waits to be received tells that it is over.
over_or(Outcome, Sub, Daemon) ->
    receive
        {'DOWN', Sub, process, {emmap, Daemon}, _} -> over(Sub);
        {emmap_queue, Sub, {error, _}} -> over(Sub)
    after 0 ->
        Outcome
    end.

over(Sub) ->
    _ = forget(Sub),
    {ok, ok}.

%% The numbers of the items that were not received yet.
forget(Sub) ->
    true = erlang:demonitor(Sub, [flush]),
    drop_messages(Sub).

drop_messages(Sub) ->
    receive
        {emmap_queue, Sub, Id, _Attempt, _Item} -> [Id | drop_messages(Sub)];
        {emmap_queue, Sub, {error, _}} -> drop_messages(Sub)
    after 0 ->
        []
    end.

%% Some may have come back by themselves meanwhile.
give_back(Queue, Seen, Unseen) ->
    _ = [emmap_access:call(Queue, {release_many, Seen}) || Seen =/= []],
    _ = [emmap_access:call(Queue, {release_many, Unseen, unseen}) || Unseen =/= []],
    {ok, ok}.
