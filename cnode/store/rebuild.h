/* A new queue file with items of another: their numbers, times, deliveries and states stay. */
#ifndef STORE_REBUILD_H
#define STORE_REBUILD_H

#include "store/check.h"

struct rebuild {
    struct object object;
    struct turn turn;
    uint64_t from_seq;  /* the first number in the main log; 0: none is there yet */
    uint64_t front_seq; /* items before it are in memory when the queue is opened */
    uint64_t fillers;   /* how many more may be needed */
};

/* What has to be known of the other before; a first look through it finds `front_seq` out. */
struct rebuild_plan {
    struct queue_options options;
    struct queue_header header;
    struct queue_info info;
    uint64_t front_seq; /* its frontier, or the first item behind the last number that is missing
                           behind that */
    uint64_t last_seq;  /* of the item that was seen last */
    uint64_t next_seq;  /* of the next push */
};

/* rebuild_plan_for takes over what an open queue says; rebuild_plan_item is told of each item, in
 * order; rebuild_plan_end: these were all. */
void rebuild_plan_for(struct rebuild_plan *p, struct object *o);
void rebuild_plan_item(struct rebuild_plan *p, const struct check_item *item);
void rebuild_plan_end(struct rebuild_plan *p);

/* rebuild_open makes the queue in an empty file, whose descriptor it takes over, also on failure.
 * rebuild_item appends; in order of numbers. ERR_EFBIG: between two numbers are more than the
 * other file has room for. rebuild_close ends the file; it is not yet synced by name. After an
 * error rebuild_drop. */
enum err rebuild_open(struct rebuild *r, int fd, const struct rebuild_plan *p, uint64_t now_ms);
enum err rebuild_item(struct rebuild *r, const struct rebuild_plan *p,
                      const struct check_item *item);
enum err rebuild_close(struct rebuild *r, const struct rebuild_plan *p);
void rebuild_drop(struct rebuild *r);

#endif
