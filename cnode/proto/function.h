/* The functions of the modules emmap and emmap_queue, for who calls them as if they were here
 * (rpc): which request such a call is, and what it gives for the reply. */
#ifndef PROTO_FUNCTION_H
#define PROTO_FUNCTION_H

#include "proto/mfa.h"
#include "proto/server.h"

/* How the reply becomes a value; FUNCTION_NONE: there is no such function. All but the tagged
 * ones raise the reason of an {error, Reason}. */
enum function_gives {
    FUNCTION_NONE,
    FUNCTION_BADARG, /* it raises that at once */
    FUNCTION_TAGGED, /* as it is, errors too */
    FUNCTION_BARE,
    FUNCTION_ITEM,   /* {ok, Item} or empty: the item or nil */
    FUNCTION_FIRST,  /* {ok, [{Id, Item}]}: the item or nil */
    FUNCTION_IS_ZERO /* a number: is it 0? */
};

/* function_request appends the request of a call. */
enum function_gives function_request(const struct server *s, const struct mfa *f,
                                     struct buf *request);

/* function_value appends the value; false: the reason that is raised. */
bool function_value(enum function_gives gives, struct span reply, struct buf *out);

#endif
