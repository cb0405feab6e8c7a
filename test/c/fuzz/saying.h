/* Frames as a hostile node may send them. */
#ifndef FUZZ_SAYING_H
#define FUZZ_SAYING_H

#include "fuzz/dice.h"
#include "sys/buf.h"

/* saying_make appends the content of a frame: one of the corpus, mostly gone wrong. saying_change
 * makes another one of it, if it is one. */
void saying_make(struct dice *d, struct buf *frame);
void saying_change(struct dice *d, struct buf *frame);

/* saying_parts finds the terms in a frame's content; false: there are none. */
bool saying_parts(struct span frame, struct span *control, struct span *message);

/* saying_put appends a frame's content, from its terms. */
void saying_put(struct span control, struct span message, struct buf *frame);

#endif
