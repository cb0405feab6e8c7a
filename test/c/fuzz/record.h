/* The inputs of a life as a file, so that they can be run again whatever became of the process: the
 * file is mapped, and removed where nothing was wrong.
 *
 *   "fuzz TARGET\n" padded to 128 bytes, then the inputs as pieces (fuzz/pieces.h) */
#ifndef FUZZ_RECORD_H
#define FUZZ_RECORD_H

#include "sys/bytes.h"

void record_open(const char *target);
void record_close(void);

/* record_begin forgets what was before. record_add: false where the life should end. */
void record_begin(void);
bool record_add(struct span input);

/* Are these the bytes of such a file, of this target? record_each goes through its inputs. */
bool record_is(struct span file, const char *target);
void record_each(struct span file, void (*each)(struct span input));

#endif
