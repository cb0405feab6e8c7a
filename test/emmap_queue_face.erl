%% The same requests on a queue through three faces: the functions of emmap_queue, gen_server:call
%% to the daemon, and gen_server:call to the queue itself as a registered process. A case written
%% for a face holds for all.
-module(emmap_queue_face).

-export([start/1, stop/1, groups/1]).
-export([with/3, with/5, file/2, call/2]).

-include_lib("common_test/include/ct.hrl").

%% A daemon and a node that reaches it by all faces; which of them, each group says.
start(Config) ->
    emmap_face:start(Config).

stop(Config) ->
    emmap_face:stop(Config).

groups(Cases) ->
    [{Face, [], Cases} || Face <- [wrapper, wire, registered]].

%% Runs Fun(Q) on the client node with a new queue of the case's own. Q(Function, Arguments) is a
%% request on it by the group's face, from whatever process calls it; the caller's mistakes are
%% `badarg' and other errors `{error, Reason}', exceptions or not. Q(configure, [Options]) opens
%% the file once more with these, and closes that; Q(request, [Request]) is one that
%% emmap_queue has no function for.
with(Config, Case, Fun) ->
    with(Config, Case, 0, [], Fun).

with(Config, Case, Size, Options, Fun) ->
    #{node := D} = ?config(daemon, Config),
    Face = face(Config),
    File = file(Config, Case),
    emmap_test:on(?config(client, Config), fun() ->
        Q = open(Face, D, File, Size, Options),
        Fun(fun(Function, Args) -> ask(Face, D, File, Q, Function, Args) end),
        ok = close(Face, D, File, Q)
    end).

file(Config, Case) ->
    lists:concat([Case, ".", face(Config)]).

%% A request over the wire, as it is.
call(D, Request) ->
    gen_server:call({emmap, D}, Request, infinity).

%% Internal.

%% A case that is no group's takes the wrapper.
face(Config) ->
    case proplists:get_value(name, ?config(tc_group_properties, Config)) of
        Face when Face =:= wire; Face =:= registered -> Face;
        _ -> wrapper
    end.

open(wrapper, _D, File, Size, Options) ->
    {ok, Q} = emmap_queue:open(File, Size, Options),
    Q;
open(wire, D, File, Size, Options) ->
    {ok, Id, #{kind := queue}} = call(D, {open_queue, File, Size, Options}),
    Id;
open(registered, D, File, Size, Options) ->
    Name = list_to_atom(File),
    ok = call(D, {close, open(wire, D, File, Size, [{register, Name} | Options])}),
    {Name, D}.

close(wrapper, _D, _File, Q) ->
    emmap_queue:close(Q);
close(wire, D, _File, Id) ->
    call(D, {close, Id});
close(registered, D, File, _Q) ->
    call(D, {close, open(wire, D, File, 0, [{register, none}])}).

ask(Face, D, File, Q, configure, [Options]) when Face =:= wrapper ->
    {ok, Again} = emmap_queue:open(File, 0, Options),
    true = Again =/= Q,
    close(Face, D, File, Again);
ask(_Face, D, File, _Q, configure, [Options]) ->
    call(D, {close, open(wire, D, File, 0, Options)});
ask(wrapper, _D, _File, Q, request, [Request]) ->
    said(emmap:call(Q, Request));
ask(Face, D, _File, Q, request, [Request]) ->
    [Function | Args] = tuple_to_list(Request),
    said(ask_wire(Face, D, Q, Function, Args));
ask(wrapper, _D, _File, Q, Function, Args) ->
    try apply(emmap_queue, Function, [Q | Args])
    catch
        error:badarg -> badarg;
        error:Reason -> {error, Reason}
    end;
ask(Face, D, _File, Q, subscribe, [Credit]) ->
    Sub = make_ref(),
    case said(ask_wire(Face, D, Q, subscribe, [Sub, Credit])) of
        ok -> {ok, Sub};
        Error -> Error
    end;
ask(Face, D, _File, Q, Function, Args) ->
    said(ask_wire(Face, D, Q, Function, Args)).

ask_wire(wire, D, Id, Function, Args) ->
    call(D, list_to_tuple([Function, Id | Args]));
ask_wire(registered, _D, Q, Function, []) ->
    gen_server:call(Q, Function, infinity);
ask_wire(registered, _D, Q, Function, Args) ->
    gen_server:call(Q, list_to_tuple([Function | Args]), infinity).

said({error, badarg}) -> badarg;
said({error, {bad_option, _}}) -> badarg;
said({error, {unknown_request, _}}) -> badarg;
said(Reply) -> Reply.
