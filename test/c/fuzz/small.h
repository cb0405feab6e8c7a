/* An engine that stays small and fast, whatever is asked of it: no large files, no large mappings,
 * no syncs, low limits. */
#ifndef FUZZ_SMALL_H
#define FUZZ_SMALL_H

#include "support/peer.h"

enum { SMALL_FRAME = 64 * 1024 };

void small_open(struct host *h);
void small_close(struct host *h);

#endif
