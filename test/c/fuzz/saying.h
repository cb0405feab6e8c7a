/* Frames as a hostile node may send them. */
#ifndef FUZZ_SAYING_H
#define FUZZ_SAYING_H

#include "fuzz/dice.h"
#include "sys/buf.h"

/* Fills in the marks of a term (see fuzz/text.h) with what the daemon has told; leaves what it
 * likes. */
typedef void saying_fill(struct dice *d, struct buf *term);

/* saying_make appends the content of a frame: one of the corpus, mostly gone wrong. */
void saying_make(struct dice *d, saying_fill *fill, struct buf *frame);

/* saying_put appends a frame's content, from its terms. */
void saying_put(struct span control, struct span message, struct buf *frame);

#endif
