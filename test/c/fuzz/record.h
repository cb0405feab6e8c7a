/* The inputs of a life as a file, so that they can be run again whatever became of the process: the
 * file is mapped, and removed where nothing was wrong.
 *
 *   "fuzz TARGET seed SEED execution NUMBER\n" padded to 128 bytes, then `len:32, input` each */
#ifndef FUZZ_RECORD_H
#define FUZZ_RECORD_H

#include "sys/bytes.h"

void record_open(const char *target);
void record_close(void);

/* record_begin forgets what was before. record_add: false where the life should end. */
void record_begin(uint64_t seed);
bool record_add(uint64_t number, struct span input);

/* record_each reads a file; false: it is none of this target. */
bool record_each(const char *path, const char *target, void (*each)(struct span input));

#endif
