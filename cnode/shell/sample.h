/* Rates: what an object has done, compared with what it had when the console looked before. */
#ifndef SHELL_SAMPLE_H
#define SHELL_SAMPLE_H

#include "sys/bytes.h"

enum sample_of { SAMPLE_OPS, SAMPLE_IN, SAMPLE_OUT, SAMPLE_PUSHED, SAMPLE_POPPED, SAMPLE_COUNTS };

struct sample;

struct samples {
    struct sample *all; /* in the order of their keys */
    size_t n;
    uint64_t ms;
};

void samples_fini(struct samples *s);

/* samples_rate: a second, since the look before. False where that is not known. `info` is the
 * object's map. */
bool samples_rate(const struct samples *s, struct span info, enum sample_of what, uint64_t now_ms,
                  uint64_t *rate);

/* samples_take keeps what the list of infos says, unless the last look is less than a second ago:
 * a rate over a shorter time would tell nothing. */
void samples_take(struct samples *s, struct span list, uint64_t now_ms);

#endif
