/* Leases: which process has which item. An item's lease belongs to who has the object: while a
 * worker does, the loop leaves it alone. */
#ifndef PROTO_LEASE_H
#define PROTO_LEASE_H

#include "proto/holder.h"

struct lease {
    struct lease *next_of_call; /* in call.leased or call.ended */
    struct item *item;          /* NULL: done */
    struct entry *entry;
    struct holder *holder;
    struct lease *next, *prev;           /* of the holder */
    struct lease *next_here, *prev_here; /* of the queue */
    struct grant *grant;
    struct lease *next_granted, *prev_granted;
    struct waiter *subscription; /* whose credit it uses, or NULL */
    struct heap_node node;       /* when it is over */
    uint64_t ms;                 /* how long it lasts; 0: without end */
    bool over;                   /* the item goes back as soon as it can; in desk.over */
    bool unseen;                 /* and its delivery does not count */
};

/* What was leased to one call, for a cancel that crosses with its answer. */
struct grant {
    UT_hash_handle hh; /* of the client */
    struct client *client;
    struct lease *leases;
    size_t len;
    uint8_t ref[];
};

/* May this process decide about the item? Any thread that has the object. */
bool lease_is_of(const struct lease *l, const struct client *c, struct span pid);

/* Who gets new leases. */
struct lessee {
    struct entry *entry;
    struct client *client;
    struct span pid;
    struct span ref; /* of a call that can be cancelled; empty: none */
    struct waiter *subscription;
    uint64_t lease_ms;
};

/* lease_settle gives the new leases of a call to their holder; where that cannot be, the items go
 * back. lease_give_up: they do, as if they had never been delivered, for nobody is told of them.
 * lease_free: the item has been dealt with. */
void lease_settle(struct lease *list, const struct lessee *to);
void lease_give_up(struct lease *list, struct entry *e);
void lease_free(struct lease *l);

/* So many items more the client may be given or promised: what it holds and the unused credit of
 * its subscriptions stay within max_leases together, those of all clients within max_all_leases.
 * *limit: the error of the one that allows no more. */
uint64_t lease_room(const struct client *c, enum err *limit);

/* May the client hold these, too? Workers may have looked for it in several queues at once. What a
 * subscription takes was promised to it. */
enum err lease_fit(const struct client *c, enum want_kind kind, const struct lease *list);

/* lease_settle_call: of a request that has been done, on the loop. Is its answer `wanted` still?
 * Gives the result, which another one may follow from. lease_give then gives the caller what he has
 * taken, if he is `told` of it. */
enum err lease_settle_call(struct call *c, enum err result, bool wanted);
void lease_give(struct call *c, bool told);

/* lease_return lets the item go back to its queue: at once, or as soon as no worker has it. */
void lease_return(struct lease *l, bool unseen);

/* lease_return_over: of those that could not go back yet so many at most; true: all have. */
bool lease_return_over(struct entry *e, int most);

/* lease_restart: its time begins anew. */
void lease_restart(struct lease *l, uint64_t lease_ms);

/* All of a holder's. */
void lease_end_all(struct holder *h);

/* A call of this reference was cancelled. */
void lease_take_back(struct client *c, struct span ref);

/* An item comes back from a delivery: ready, or after too many of these put aside. */
enum err lease_bring_back(struct object *o, const struct turn *t, struct item *item,
                          uint64_t delay_ms);

/* Was the item delivered as often as it may be? */
bool lease_is_worn_out(const struct object *o, const struct item *item);

#endif
