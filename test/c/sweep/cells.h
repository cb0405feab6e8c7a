/* What a file of words must be: counters, a region. Each word, and the size, with what they have
 * been since the last durable point. */
#ifndef SWEEP_CELLS_H
#define SWEEP_CELLS_H

#include "store/object.h"
#include "sweep/model.h"

enum { CELLS = 512 };

struct cells {
    uint64_t now;
    uint64_t least, most; /* of the size, in words */
    struct history size;  /* in words */
    struct history words[CELLS];
};

void cells_init(struct cells *c, uint64_t size, uint64_t most);

uint64_t cells_size(const struct cells *c);
uint64_t cells_word(const struct cells *c, uint64_t word);

/* Is there room for one more version of all? */
bool cells_have_room(const struct cells *c);

/* The next change; what it changes. Words that are cut off are 0. */
void cells_begin(struct cells *c);
void cells_set(struct cells *c, uint64_t word, uint64_t value);
void cells_write(struct cells *c, uint64_t pos, const uint8_t *bytes, size_t len);
void cells_resize(struct cells *c, uint64_t size);

/* All until this time is durable. */
void cells_durable(struct cells *c, uint64_t time);

/* cells_refuse says what is wrong with the object of an image; NULL for nothing. cells_become: that
 * is what there is. */
const char *cells_refuse(const struct cells *c, const struct object *o);
void cells_become(struct cells *c, const struct object *o, bool power);

#endif
