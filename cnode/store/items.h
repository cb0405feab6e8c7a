/* The items before the frontier that are not done: found by number, the ready ones in order, each
 * log's by position. */
#ifndef STORE_ITEMS_H
#define STORE_ITEMS_H

#include "store/queue.h"
#include "store/recordlog.h"

/* One that is gone leaves its number, so that numbers are found by halving all the same. */
struct numbered {
    uint64_t seq;
    struct item *item; /* NULL: gone */
};

struct items {
    struct numbered *by_seq; /* ascending */
    size_t first;            /* none before it */
    size_t n;                /* places used */
    size_t cap;
    size_t live;
    struct heap ready;   /* by seq */
    struct heap delayed; /* by until */
    size_t leased;
    size_t buried;
    struct item *logs[LOGS]; /* utlist heads */
    uint64_t bytes[LOGS];    /* of the records */
    uint64_t ready_bytes;    /* of those that are ready */
    struct item *free;       /* a few that are used again */
    size_t free_count;
};

void items_fini(struct items *all);

/* items_room makes sure that items_add will succeed once. */
bool items_room(struct items *all);

/* items_add: an item with a greater number than all before, in no state yet; zeros but for its
 * place at the end of the log. */
struct item *items_add(struct items *all, uint64_t seq, unsigned log, uint64_t pos, uint32_t size);

/* items_sort: numbers were added out of order, perhaps one twice: by number, log and position. */
void items_sort(struct items *all);

void items_set(struct items *all, struct item *item, enum item_state state);
void items_remove(struct items *all, struct item *item);
void items_remove_at(struct items *all, size_t place); /* in by_seq */

/* items_shelve: it is on the shelf now, at its end. */
void items_shelve(struct items *all, struct item *item, uint64_t pos);

struct item *items_find(const struct items *all, uint64_t seq);

/* The place in by_seq of the least number that is seq or more, gone or not. */
size_t items_place(const struct items *all, uint64_t seq);

#endif
