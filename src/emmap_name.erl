%% @doc Names of files, as they are written in requests: UTF-8 binaries.
-module(emmap_name).

-export([to_wire/2]).
-export([is_name/1]).

%% @doc For the daemon `own' beside this node names are made absolute by this node's working
%% directory; others know what a name is relative to. `badarg': not a name.
-spec to_wire(term(), own | other) -> binary() | badarg.
to_wire(Name, Daemon) ->
    case is_name(Name) of
        true -> utf8(absolute(Name, Daemon));
        false -> badarg
    end.

%% @doc A string, whatever its characters, or a binary; not empty and without NUL.
-spec is_name(term()) -> boolean().
is_name(<<>>) -> false;
is_name([]) -> false;
is_name(Name) when is_binary(Name) -> binary:match(Name, <<0>>) =:= nomatch;
is_name(Name) when is_list(Name) -> is_text(Name) andalso not lists:member(0, Name);
is_name(_) -> false.

%% Internal.

is_text(Name) ->
    io_lib:char_list(Name).

absolute(Name, own) -> filename:absname(Name);
absolute(Name, other) -> Name.

utf8(Name) when is_binary(Name) -> Name;
utf8(Name) -> <<<<Char/utf8>> || Char <- Name>>.
