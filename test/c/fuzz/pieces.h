/* Several things as one input: `length:32, bytes` each, big-endian. */
#ifndef FUZZ_PIECES_H
#define FUZZ_PIECES_H

#include "fuzz/dice.h"
#include "sys/buf.h"

enum { PIECES_MOST = 64 };

/* A length that ends them. */
#define PIECES_END UINT32_MAX

/* pieces_next cuts the next off. One whose length lies reaches to the end. */
bool pieces_next(struct span *rest, struct span *piece);

void pieces_put(struct buf *to, struct span piece);

/* pieces_change makes others of them: one is changed, made anew, left out, repeated, or comes
 * elsewhere. At most PIECES_MOST are left. */
typedef void pieces_make(struct dice *d, struct buf *piece);
void pieces_change(struct dice *d, struct buf *input, pieces_make *make, pieces_make *change);

#endif
