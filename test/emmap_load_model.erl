%% What must be there of a load (emmap_load) after the daemon was killed or power was cut, and what
%% must not.
-module(emmap_load_model).

-export([check/4, lost/3]).

%% Base and Found: what emmap_load found before and afterwards. Fails where something acknowledged
%% is not there, something is there twice, or what nobody wrote is there. After `kill' all that was
%% acknowledged counts; after `power' what is durable, or was before a completed sync.
check(Crash, Base, Events, Found) ->
    [ok = queue(Class, kept(Crash, {Class, queue}, Events), Base, of_class(Class, Events), Found)
     || {Class, queue} <- maps:keys(Base)],
    [ok = counters(kept(Crash, {Class, counters}, Events), maps:get({Class, counters}, Base),
                   of_class(Class, Events), maps:get({Class, counters}, Found))
     || {Class, counters} <- maps:keys(Base)],
    [ok = region(kept(Crash, {Class, region}, Events), maps:get({Class, region}, Base),
                 of_class(Class, Events), maps:get({Class, region}, Found))
     || {Class, region} <- maps:keys(Base)],
    [ok = blocks(kept(Crash, {Class, blocks}, Events), maps:get({Class, blocks}, Base),
                 of_class(Class, Events), maps:get({Class, blocks}, Found))
     || {Class, blocks} <- maps:keys(Base)],
    [] = [Name || {created, Name} <- Events] -- maps:get(new, Found),
    ok.

%% How many pushes, pops, increments, stores and frees were acknowledged and yet are as if they had not been, at
%% least; 0 after `kill'.
lost(Base, Events, Found) ->
    sum([pushes_and_pops(of_class(Class, Events),
                         [Key || {_, Key} <- maps:get({Class, queue}, Found)]
                             ++ maps:get({Class, dead}, Found))
         || {Class, queue} <- maps:keys(Base)])
        + sum([increments(of_class(Class, Events), maps:get({Class, counters}, Base),
                          maps:get({Class, counters}, Found))
               || {Class, counters} <- maps:keys(Base)])
        + sum([stores_and_frees(of_class(Class, Events),
                                [Key || {_, Key} <- maps:get({Class, blocks}, Found)])
               || {Class, blocks} <- maps:keys(Base)]).

%% Internal.

pushes_and_pops(Events, There) ->
    Done = [Key || {done, _, Key, _} <- Events],
    Gone = sets:from_list(Done ++ [Key || {perhaps_done, _, Key} <- Events] ++ There),
    Lost = [Key || Key <- pushed(Events), not sets:is_element(Key, Gone)],
    Unknown = sum([N || {unknown, _, N} <- Events]),
    Again = sets:size(sets:intersection(sets:from_list(Done), sets:from_list(There))),
    max(0, length(Lost) - Unknown) + Again.

stores_and_frees(Events, There) ->
    Freed = freed(Events),
    length(([Key || {stored, _, Key, _, _} <- Events] -- Freed) -- There)
        + length([Key || {freed, _, Key, _} <- Events, lists:member(Key, There)]).

freed(Events) ->
    [Key || {freed, _, Key, _} <- Events] ++ [Key || {perhaps_freed, _, Key} <- Events].

%% Of counters by whose sum less is there than was added.
increments(Events, Base, Found) ->
    max(0, sum([D || {added, _, _, D, _} <- Events]) + sum(Base) - sum(Found)).

%% Does what was acknowledged at that time have to be there?
kept(kill, _Object, _Events) ->
    fun(_At) -> true end;
kept(power, {sync, _}, _Events) ->
    fun(_At) -> true end;
kept(power, Object, Events) ->
    Last = lists:max([0 | [Since || {synced, O, Since} <- Events, O =:= Object]]),
    fun(At) -> At =:= synced orelse At < Last end.

of_class(Class, Events) ->
    [Event || Event <- Events, element(2, Event) =:= Class].

queue(Class, Kept, Base, Events, Found) ->
    Old = maps:get({Class, queue}, Base),
    Left = maps:get({Class, queue}, Found),
    Keys = [Key || {_, Key} <- Left],
    Dead = maps:get({Class, dead}, Found),
    NewDead = Dead -- maps:get({Class, dead}, Base),
    [] = maps:get({Class, dead}, Base) -- Dead,
    Done = [Key || {done, _, Key, _} <- Events],
    DoneForEver = [Key || {done, _, Key, At} <- Events, Kept(At)],
    [] = twice(Done),
    [] = twice(DoneForEver ++ Keys),
    [] = twice(DoneForEver ++ lists:usort(NewDead)),
    ok = known(Old, Events, Done ++ Keys ++ NewDead),
    ok = in_order(Old, Left),
    ok = nothing_missing(Kept, Class, Old, Events, Keys, Dead).

twice(Keys) ->
    Sorted = lists:sort(Keys),
    Sorted -- lists:usort(Sorted).

known(Old, Events, Keys) ->
    Known = sets:from_list([Key || {_, Key} <- Old] ++ pushed(Events)
                           ++ [Key || {perhaps_pushed, _, Key} <- Events]),
    [] = [Key || Key <- Keys, not sets:is_element(Key, Known)],
    ok.

pushed(Events) ->
    [Key || {pushed, _, Key, _} <- Events].

%% What was there has kept its number; what came is behind it, each worker's in the order in which
%% it pushed.
in_order(Old, Left) ->
    Before = maps:from_list([{Key, Id} || {Id, Key} <- Old]),
    {Stayed, Came} = lists:partition(fun({_, Key}) -> is_map_key(Key, Before) end, Left),
    [] = [Key || {Id, Key} <- Stayed, Id =/= maps:get(Key, Before)],
    Left = Stayed ++ Came,
    [ok = sorted(lists:reverse(Places)) || Places <- maps:values(by_worker([K || {_, K} <- Came]))],
    ok.

by_worker(Keys) ->
    lists:foldl(fun({Who, N}, Workers) ->
        maps:update_with(Who, fun(Places) -> [place(N) | Places] end, [place(N)], Workers)
    end, #{}, Keys).

place({N, I}) -> {N, I};
place(N) -> {N, 0}.

sorted(Places) ->
    true = Places =:= lists:sort(Places),
    ok.

%% What had to be there and is in no hand, and what is missing before something in the queue that was
%% pushed later: these are in answers that got lost. (A dead letter tells nothing of what was pushed
%% before it: its queue was synced when it came, that from which it came was not.)
nothing_missing(Kept, Class, Old, Events, Left, Dead) ->
    Gone = sets:from_list(Left ++ Dead ++ [Key || {done, _, Key, _} <- Events]
                          ++ [Key || {perhaps_done, _, Key} <- Events]),
    Last = maps:map(fun(_, Places) -> lists:max(Places) end, by_worker(Left)),
    Before = fun({Who, N}) -> place(N) < maps:get(Who, Last, {0, 0}) end,
    Must = [{was_there, Key} || {_, Key} <- Old]
        ++ [{kept, Key} || {pushed, _, Key, At} <- Events, Kept(At)]
        ++ [{before_another, Key} || {pushed, _, Key, At} <- Events, not Kept(At), Before(Key)],
    Missing = [Why || {_, Key} = Why <- Must, not sets:is_element(Key, Gone)],
    Unknown = sum([N || {unknown, _, N} <- Events]),
    {_, true, _} = {Class, length(Missing) =< Unknown, Missing},
    ok.

%% Nothing was ever taken off.
counters(Kept, Base, Events, Found) ->
    [{true, _} = {Value >= Old + sum([D || {added, _, C, D, At} <- Events, C =:= I, Kept(At)])
                  andalso Value =< Old + sum([D || {added, _, C, D, _} <- Events, C =:= I])
                                   + sum([D || {perhaps_added, _, C, D} <- Events, C =:= I]),
                  {counter, I, Old, Value}}
     || {I, Old, Value} <- lists:zip3(lists:seq(0, length(Base) - 1), Base, Found)],
    ok.

sum(Numbers) ->
    lists:sum(Numbers).

%% Each word is one that was written there, none older than what had to be kept.
region(Kept, Base, Events, Found) ->
    [ok = words(Place, least(Kept, Place, Events), sent(Place, Events), Old, New)
     || {{Place, Old}, {Place, New}} <- lists:zip(Base, Found)],
    ok.

least(Kept, Place, Events) ->
    lists:max([0 | [V || {wrote, _, P, V, At} <- Events, P =:= Place, Kept(At)]]).

sent(Place, Events) ->
    sets:from_list([V || {wrote, _, P, V, _} <- Events, P =:= Place]
                   ++ [V || {perhaps_wrote, _, P, V} <- Events, P =:= Place]).

words(_Place, _Least, _Sent, [], []) ->
    ok;
words(Place, Least, Sent, [{Old, N} | Olds], [{New, M} | News]) ->
    {true, _} = {New >= Least andalso (New =:= Old orelse sets:is_element(New, Sent)),
                 {word, Place, New, Old, Least}},
    Both = min(N, M),
    words(Place, Least, Sent, rest(Old, N - Both, Olds), rest(New, M - Both, News)).

rest(_, 0, Runs) -> Runs;
rest(Value, N, Runs) -> [{Value, N} | Runs].

%% Each block is where it was stored, or where nobody was told. What was kept is there, unless it was
%% freed; what was freed and kept so is not.
blocks(Kept, Base, Events, Found) ->
    Places = maps:from_list([{Key, A} || {A, Key} <- Base]
                            ++ [{Key, A} || {stored, _, Key, A, _} <- Events]
                            ++ [{Key, any} || {perhaps_stored, _, Key} <- Events]),
    [{true, _} = {lists:member(maps:get(Key, Places, none), [A, any]), {block, A, Key}}
     || {A, Key} <- Found],
    There = sets:from_list([Key || {_, Key} <- Found]),
    Freed = sets:from_list(freed(Events)),
    Must = [Key || {_, Key} <- Base] ++ [Key || {stored, _, Key, _, At} <- Events, Kept(At)],
    [] = [Key || Key <- Must, not sets:is_element(Key, Freed), not sets:is_element(Key, There)],
    [] = [Key || {freed, _, Key, At} <- Events, Kept(At), sets:is_element(Key, There)],
    true = sets:size(There) =:= length(Found),
    ok.
