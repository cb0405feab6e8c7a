/* Processes of peers that hold items or wait for some: each monitored once, so that what it has
 * goes back the moment it ends. */
#ifndef PROTO_HOLDER_H
#define PROTO_HOLDER_H

#include "proto/engine.h"

struct holder {
    UT_hash_handle hh; /* of the client, by pid */
    UT_hash_handle by_number;
    uint64_t number; /* of the monitor */
    struct client *client;
    struct lease *leases;
    struct waiter *waiters;
    bool idle;
    bool ended; /* the process has; freed with the last thing it has */
    bool ending;
    struct holder *next, *prev; /* of the idle */
    size_t len;
    uint8_t pid[];
};

/* holder_of finds the process, or begins to watch it. NULL without memory, where it is known to
 * have ended, and for no process at all, as a cast has none. */
struct holder *holder_of(struct client *c, struct span pid);

/* The same, only of one that is watched already. */
struct holder *holder_find(struct client *c, struct span pid);

bool holder_is(const struct holder *h, const struct client *c, struct span pid);

/* holder_rest: something that it had is over. One that has nothing is kept a while, for it will
 * probably come again. */
void holder_rest(struct holder *h);

/* The process with this monitor has ended; nothing happens for another number. */
void holder_down(struct client *c, uint64_t number);

/* All of a client's, for its connection is lost. */
void holder_down_all(struct client *c);

#endif
