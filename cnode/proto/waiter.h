/* Those who wait for items of a queue: pops and takes with time, and subscriptions, in one line,
 * first come, first served. */
#ifndef PROTO_WAITER_H
#define PROTO_WAITER_H

#include "proto/desk.h"
#include "proto/holder.h"
#include "proto/want.h"

struct waiter {
    struct waiter *next, *prev; /* in the line */
    UT_hash_handle hh;          /* of the client, by request.to; not of a subscription */
    bool indexed;
    struct entry *entry;
    struct holder *holder; /* NULL: an item of a batch or a cast that does not really wait */
    struct waiter *next_of, *prev_of;
    uint64_t handle; /* by which it came; 0: by name */
    struct want want;
    uint64_t took_ns; /* until it joined the line: to wait for items is no work */
    struct request request;
    struct heap_node node; /* when its time is over */
    bool served;           /* a worker is at it */
    bool gone;             /* nobody waits for it any more; freed when the worker is done */
    bool closed;           /* its handle is; it is told so soon */
    bool sated;            /* a subscription without credit: in desk.sated, not in the line */
    bool subscription;
    uint64_t credit;
    uint64_t unacked;
    size_t len;
    uint8_t bytes[];
};

/* waiter_join puts a request at the end of the line that found nothing. ERR_MAX_WAITING,
 * ERR_MAX_ALL_WAITING, ERR_ENOMEM. */
enum err waiter_join(struct entry *e, const struct call *c, const struct request *r);

/* waiter_subscribe begins a subscription under a reference; again: another credit.
 * ERR_MAX_LEASES: with what it holds all unused credit of the client would be more than it may
 * hold. ERR_MAX_SUBSCRIBERS. The same of all clients. */
enum err waiter_subscribe(struct call *c, struct span ref, uint64_t credit);

/* waiter_unsubscribe ends it; NOT_LEASED-like ERR_BADARG: there is none. Its leases are detached,
 * and returned unless `keep`; their numbers go to `ids` then. */
enum err waiter_unsubscribe(struct call *c, struct span ref, bool keep, struct buf *ids,
                            uint32_t *n);

/* May something be given to it now? */
bool waiter_is_able(const struct waiter *w);

/* Does its peer read what it is sent, and is not too much kept for it until it is durable? If not,
 * client_has_room tells when that is over. */
bool waiter_has_room(const struct waiter *w);

/* waiter_want is what it wants of the items that its client may have. ERR_CLOSED: that has gone.
 * ERR_MAX_LEASES, ERR_MAX_ALL_LEASES: it may hold no more. */
enum err waiter_want(const struct waiter *w, struct want *want);

/* Its time is over while a worker looks for it: it gets what that finds. */
void waiter_wait_no_more(struct waiter *w);

/* waiter_answer ends a waiter with a reply; waiter_fail with an error. */
void waiter_answer(struct waiter *w, struct span reply);
void waiter_fail(struct waiter *w, enum err why);

/* A worker looks for something to give to it; and has done so: false, nobody waits any more. */
void waiter_begin_service(struct waiter *w);
bool waiter_end_service(struct waiter *w);

/* waiter_give hands over what want_serve has made. */
void waiter_give(struct waiter *w, struct span reply, struct lease *leased);

/* A lease of a subscription begins, ends; all leases of a queue are void. */
void waiter_took(struct waiter *w);
void waiter_acked(struct waiter *w);
void waiter_forget_leases(struct desk *d);

/* All of a holder's; all of a queue's; those that came by a handle. The last may be within an
 * answer: requests are told by waiter_fail_closed, when the desk is tended. */
void waiter_end_all(struct holder *h);
void waiter_fail_all(struct desk *d, enum err why);
void waiter_end_handle(struct entry *e, uint64_t handle);
void waiter_fail_closed(struct desk *d);

/* Does anybody wait that came by no handle? */
bool waiter_by_name(const struct desk *d);

/* A call of this reference was cancelled. */
void waiter_take_back(struct client *c, struct span ref);

#endif
