%% @doc From the outcome of a request to what a function gives: a tagged result, a bare one, an
%% exception.
-module(emmap_result).

-export([tagged/2]).
-export([bare/2]).

%% The function that was called, for what an exception tells.
-type called() :: {module(), atom(), [term()]}.

%% @doc A reply whose errors are results, except for the caller's own mistakes.
-spec tagged(emmap_request:outcome(), called()) -> term().
tagged({ok, {error, Reason} = Error}, {Module, Function, Args}) ->
    case mistake(Reason) of
        no -> Error;
        Cause -> emmap_error:badarg(Module, Function, Args, Cause)
    end;
tagged({ok, Reply}, _Called) ->
    Reply;
tagged({error, Reason}, _Called) ->
    {error, Reason};
tagged(timeout, Called) ->
    exit({timeout, Called}).

%% @doc A reply whose errors are exceptions.
-spec bare(emmap_request:outcome(), called()) -> term().
bare(Outcome, {Module, Function, Args} = Called) ->
    case tagged(Outcome, Called) of
        {error, Reason} -> emmap_error:raise(Module, Function, Args, Reason);
        Reply -> Reply
    end.

%% Internal.

mistake(badarg) -> none;
mistake({bad_option, _} = Cause) -> Cause;
mistake({unknown_request, _}) -> none;
mistake(_) -> no.
