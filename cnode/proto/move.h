/* Items that were delivered too often go to the queue's dead-letter queue (FORMAT.md 2.3): pushed
 * there, made durable there, only then done here. Where that cannot be, they are buried here. The
 * daemon is a client of its own for that. */
#ifndef PROTO_MOVE_H
#define PROTO_MOVE_H

#include "proto/engine.h"
#include "sys/work.h"

enum { MOVE_MANY = 64, MOVE_BYTES = 1 << 20, MOVE_IDLE_MS = 5000, MOVE_PAUSE_MS = 1000 };

enum move_step { MOVE_REST, MOVE_OPENS, MOVE_READS, MOVE_SENDS, MOVE_ENDS };

struct move {
    /* Of who has the object: the items to be moved, in order. */
    struct item **aside;
    size_t first, end, cap; /* those from `first` on, before `end` */
    bool changed;           /* options: the other queue may be another one now */

    enum move_step step;
    uint64_t number;     /* of the request under way; its answer comes to it */
    uint64_t to;         /* the handle of the other queue; 0: it cannot be used */
    bool failed;         /* which is to be opened again before it is used again */
    uint64_t idle_until; /* then it is closed; loop time */
    uint64_t opens_at;   /* not before: an opening has failed just now */
    bool complained;     /* the log knows that items are buried */
    struct item *items[MOVE_MANY];
    bool arrived[MOVE_MANY];
    size_t n;
    struct buf request;
    struct job job;
};

/* move_put_aside: the item is not delivered any more. Any thread that has the object. */
enum err move_put_aside(struct object *o, const struct turn *t, struct item *item);

/* move_look puts all aside that an earlier life of the queue has left behind. In a worker that has
 * the object, once it has been opened. */
void move_look(struct object *o, uint64_t now_ms);

/* What is to be done next, if no worker has the object; a worker may have it afterwards. */
void move_tend(struct entry *e);

/* Are items on their way, so that closing the queue now would send them twice? It comes to an end
 * of its own accord, with line_rest behind it. */
bool move_is_under_way(const struct entry *e);

/* The server stops: no move begins any more, and the other queue is let go. */
void move_stop(struct entry *e);

/* When there is something to be done though nothing happens; UINT64_MAX: never. */
uint64_t move_due(const struct entry *e);

/* The items of the queue are no more, or it has failed: what was on its way is in the file. */
void move_forget(struct entry *e);

/* The client that the daemon itself is. NULL without memory. */
struct client *move_client_new(struct server *s);
void move_client_free(struct client *c);

#endif
