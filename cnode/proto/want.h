/* Items for who wants some: out of the queue, into a reply. */
#ifndef PROTO_WANT_H
#define PROTO_WANT_H

#include "proto/engine.h"

/* want_serve appends the reply with what is ready now; of several items as many as fit. New leases
 * are added to *leased. Any thread that has the object.
 * ERR_EMPTY, ERR_CHECKPOINT: nothing is, see queue_front. ERR_MAX_FRAME: the next item does not fit
 * a reply; it stays. WANT_MESSAGES: the elements of messages, see waiter.c. */
enum err want_serve(struct object *o, const struct turn *t, const struct want *w, struct buf *out,
                    struct lease **leased);

/* The longest item for which every reply has room. */
size_t want_longest(size_t max_frame);

/* The reply where there is nothing. */
void want_nothing(const struct want *w, struct buf *out);

/* Does an item of the queue fit? An element of a list of {Id, Item}, of {Id, Attempt, Item}, or the
 * item alone; false: it does not fit, and out is as it was. ERR_EIO: a page failed. */
enum want_shape { SHAPE_ITEM, SHAPE_WITH_ID, SHAPE_WITH_ATTEMPT };
enum err want_put(struct object *o, struct buf *out, enum want_shape shape, const struct record *r,
                  unsigned attempt);

#endif
