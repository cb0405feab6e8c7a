/* Items for who wants some: out of the queue, into a reply. */
#ifndef PROTO_WANT_H
#define PROTO_WANT_H

#include "proto/engine.h"

/* want_serve appends the reply with what is ready now; of several items as many as fit, but
 * WANT_MOST at most. New leases are added to *leased. Any thread that has the object; more than a
 * few items are a worker's (ERR_WOULD_BLOCK).
 * A worker (t->may_wait) only holds the items: until want_settle they are as they were.
 * ERR_EMPTY, ERR_CHECKPOINT: nothing is, see queue_front. ERR_MAX_FRAME: the next item does not fit
 * a reply; it stays. WANT_MESSAGES: the elements of messages, see waiter.c. */
enum { WANT_MOST = 10000 };
enum err want_serve(struct object *o, const struct turn *t, const struct want *w, struct buf *out,
                    struct lease **leased);

/* want_settle pops or takes what a worker holds, on the loop; or, where nobody waits any more, lets
 * it go. What is left in *leased are leases. */
enum err want_settle(struct object *o, uint64_t now_ms, enum want_kind kind, bool wanted,
                     struct lease **leased);

/* The longest item for which every reply has room. */
size_t want_longest(size_t max_frame);

/* The reply where there is nothing. */
void want_nothing(const struct want *w, struct buf *out);

/* Does an item of the queue fit? An element of a list of {Id, Item}, of {Id, Attempt, Item}, or the
 * item alone; false: it does not fit, and out is as it was. ERR_EIO: a page failed. ERR_DAMAGED: it
 * is no term. */
enum want_shape { SHAPE_ITEM, SHAPE_WITH_ID, SHAPE_WITH_ATTEMPT };
enum err want_put(struct object *o, struct buf *out, enum want_shape shape, const struct record *r,
                  unsigned attempt);

#endif
