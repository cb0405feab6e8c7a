/* How messages go wrong. */
#ifndef FUZZ_MUTATION_H
#define FUZZ_MUTATION_H

#include "fuzz/dice.h"
#include "sys/buf.h"

/* mutation_gentle makes another sound term of a sound one: what is in it is exchanged, repeated,
 * nested, left out. */
void mutation_gentle(struct dice *d, struct buf *term);

/* mutation_rough changes any bytes: bits, lengths, counts, pieces cut out or put in. Where they are
 * a term it knows where its lengths are. */
void mutation_rough(struct dice *d, struct buf *bytes);

/* mutation_put replaces n bytes; those that come must not be of the buffer. */
void mutation_put(struct buf *b, size_t at, size_t n, struct span bytes);

#endif
