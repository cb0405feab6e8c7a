/* How far a long run has come: a line on standard error where that is a terminal. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *name; /* of what is worked on */
    int64_t (*clock_ms)(void);
    bool shows;
    bool shown; /* there is a line to be wiped out */
    int64_t next_ms;
};

/* progress_begin: nothing is shown in the first second. progress_at: so much of all is done.
 * progress_end wipes the line out, as must be done before anything else is written. */
void progress_begin(struct progress *p, const char *name, int64_t (*clock_ms)(void));
void progress_at(struct progress *p, uint64_t done, uint64_t all);
void progress_end(struct progress *p);

/* The clock for it: milliseconds that never go back. */
int64_t progress_clock(void);

#endif
