/* What a queue must be, as plain arrays: each item with its states since the last durable point, by
 * the time of the change. */
#ifndef SWEEP_MODEL_H
#define SWEEP_MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum { MODEL_ITEMS = 3000, MODEL_VERSIONS = 32 };

/* A state word's value without its check; the attempts of what is done do not matter. */
enum { MODEL_DONE = 1 };

struct version {
    uint64_t time;
    uint64_t value;
};

struct model_item {
    uint32_t tag; /* its bytes follow from it */
    uint32_t len;
    bool leased; /* in memory only, as the delay's end is */
    bool awake;
    unsigned n;
    struct version versions[MODEL_VERSIONS];
};

struct model {
    struct model_item items[MODEL_ITEMS];
    uint64_t low;          /* all before are durably done */
    uint64_t durable_tail; /* items before it were pushed before the last durable point */
    uint64_t tail;         /* the next to be pushed */
    uint64_t now;
    struct { /* the operation under way */
        bool on;
        uint64_t time;
        uint64_t tail; /* before it */
    } op;
};

void model_init(struct model *m);
uint64_t model_value(const struct model_item *item);

/* Is there room for more versions, of this item, of all that are not done? */
bool model_has_room(const struct model_item *item);
bool model_have_room(const struct model *m);

void model_change(struct model *m, uint64_t seq, uint64_t value);

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

/* From now on this is what there is. */
void model_become(struct model *m, const struct sight *seen, uint64_t tail, bool power);

void model_fill(uint8_t *bytes, uint32_t len, uint32_t tag);

#endif
