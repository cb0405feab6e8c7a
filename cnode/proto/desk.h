/* What an open queue has beside its line of requests: who waits for items, who has some, what is to
 * be done at a time, and its checkpoints; and a block store, while it is repaired. All on the loop.
 */
#ifndef PROTO_DESK_H
#define PROTO_DESK_H

#include "proto/move.h"

struct desk {
    struct waiter *first; /* the line of those who wait */
    struct waiter *sated; /* subscriptions without credit; they join the line when they have some */
    uint32_t waiting;     /* of them, requests */
    uint32_t subscribers; /* and subscriptions */
    uint32_t able;        /* to whom an item could be given */
    struct lease *leases;
    struct lease *over; /* those whose items have to go back yet */
    struct heap wait_ends;
    struct heap lease_ends;
    bool failed; /* and all have been told */
    bool closes; /* some wait by a handle that is closed */

    struct heap_node due; /* in server.due */
    bool soon;
    struct desk *next_soon, *prev_soon;

    bool checkpoint_wanted;
    bool beside_runs;
    bool stalled; /* the first of the line waits for the end of a checkpoint */
    struct job beside;
    struct job alone;
    struct waiter *served; /* by a worker; NULL: that does a step of the checkpoint */
    struct want want;      /* of whom is served */
    struct buf reply;
    struct lease *leased;
    uint64_t now_ms;
    enum err result;
    struct move move; /* items on their way to the dead-letter queue */
};

/* The object has become a queue. False without memory. */
bool desk_open(struct entry *e);

/* The queue is closed: who waits is told, leases are forgotten. */
void desk_close(struct entry *e);

/* The object has failed, and is not begun anew yet: all are told, once. */
void desk_fail(struct entry *e);

/* The items that were leased are no more. */
void desk_forget_leases(struct entry *e);

/* Has somebody items of it; or waits for some, or are some on their way to another queue, too? */
bool desk_has_leases(const struct entry *e);
bool desk_is_used(const struct entry *e);

/* desk_tend_soon: what is to be done for the queue now is done before the loop waits again, but not
 * within an answer: desk_tend_all does it, for all. */
void desk_tend_soon(struct entry *e);
void desk_tend_all(struct server *s);
void desk_tend(struct entry *e);

/* Is there more than requests? While no worker has the object. */
bool desk_has_work(const struct entry *e);

/* Is a checkpoint under way? What needs the object to itself then waits, first in its line: */
bool desk_is_under_way(const struct entry *e);
void desk_stall(struct entry *e);

/* The timer of all queues. */
void desk_on_due(uv_timer_t *timer);

#endif
