/* A term within a term, as a place in its bytes. */
#ifndef FUZZ_PART_H
#define FUZZ_PART_H

#include "fuzz/dice.h"
#include "sys/bytes.h"

struct part {
    size_t at;
    size_t len;
};

/* All take a term that has passed term_check. */

/* part_head: the bytes before the terms inside it; all bytes of a term that has none. */
size_t part_head(struct span term);

/* part_count is where the number of its elements, or of its bytes, stands; length 0: nowhere. */
struct part part_count(struct span term);

/* part_pick: any of the terms in it, itself too; of those that `fits` where there is one. */
struct part part_pick(struct dice *d, struct span term, bool (*fits)(uint8_t tag));

#endif
