/* One execution after the other, whoever makes the inputs: libFuzzer (libfuzzer.c), or the corpus
 * that is kept (replay.c).
 *
 * An execution must break none of the target's rules, nor last more than 50 ms; nothing may be
 * left of a life. Where executions build on each other the inputs of the life that is under way are
 * in a file fuzz-TARGET-PID.inputs, which stays where anything is wrong, and is itself an input:
 * the whole life again. */
#ifndef FUZZ_DRIVER_H
#define FUZZ_DRIVER_H

#include "sys/bytes.h"

void driver_begin(void);
void driver_run(struct span input);

/* driver_end tells what was done. With `all` it must have come to all that the target counts. */
void driver_end(bool all);

uint64_t driver_executions(void);

#endif
