/* What a queue must be, as plain arrays: each item, and the options, with what they have been since
 * the last durable point. */
#ifndef SWEEP_MODEL_H
#define SWEEP_MODEL_H

#include "store/queue.h"

enum { MODEL_ITEMS = 3000, MODEL_VERSIONS = 32, MODEL_LONGEST = 1024 };

struct version {
    uint64_t time;
    uint64_t value;
};

struct history {
    unsigned n;
    struct version versions[MODEL_VERSIONS];
};

/* The values of an item are its state word's without the check; of what is done only that counts.
 */
enum { MODEL_DONE = 1 };

struct model_item {
    struct content {
        uint32_t tag; /* its bytes follow from it */
        uint32_t len;
        struct origin origin; /* seq 0: it was pushed here */
    } content, former[4];     /* of the same number, in pushes that were undone */
    uint64_t moved_to;        /* its number in the other queue, once it is durable there */
    bool leased;              /* in memory only, as the delay's end is */
    bool moving;
    bool awake;
    struct history states;
};

struct model {
    uint64_t low;          /* all before are durably done */
    uint64_t durable_tail; /* items before it were pushed before the last durable point */
    uint64_t tail;         /* the next to be pushed */
    uint64_t used;         /* of the places */
    uint64_t now;
    struct history options; /* see model_options */
    struct {                /* the operation under way */
        bool on;
        uint64_t time;
        uint64_t tail; /* before it */
    } op;
    struct model_item items[MODEL_ITEMS];
};

void model_init(struct model *m);

/* The last value. */
uint64_t history_value(const struct history *h);
bool history_has_room(const struct history *h);
bool history_is_there(const struct history *h); /* not done */
void history_add(struct history *h, uint64_t time, uint64_t value);

/* history_forget: the last value of that time is durable. history_restart: this is the value now;
 * after a power cut no other was ever there. */
void history_forget(struct history *h, uint64_t time);
void history_restart(struct history *h, uint64_t time, uint64_t value, bool power);

/* Is there room for one more version of all that are not done? */
bool model_has_room(const struct model *m);

void model_change(struct model *m, struct history *h, uint64_t value);

/* A new item at the tail. */
struct model_item *model_push(struct model *m, uint32_t len);

/* All that was done until this time, and all pushes before this tail, are durable. */
void model_durable(struct model *m, uint64_t time, uint64_t tail);

/* What an image shows of an item. */
struct sight {
    bool there;
    uint64_t value;
};

/* model_refuses says what is wrong with an image: NULL for nothing. The array holds what is seen of
 * the items low to tail - 1. */
const char *model_refuses(const struct model *m, const struct sight *seen, uint64_t tail,
                          bool killed);
bool model_allows_options(const struct model *m, const struct queue_options *o, bool killed);

/* From now on this is what there is. */
void model_become(struct model *m, const struct sight *seen, uint64_t tail,
                  const struct queue_options *o, bool power);

/* The options that a value stands for: 0 none, else at most so many items, and what then. */
void model_options(uint64_t value, struct queue_options *o);
uint64_t model_most(uint64_t value);
bool model_drops(uint64_t value);
enum { MODEL_OPTIONS = 1024 }; /* values */

/* The payload in the file; the length. */
size_t model_payload(const struct content *content, uint8_t *bytes);

#endif
