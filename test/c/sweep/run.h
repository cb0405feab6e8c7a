/* One sweep: what it is to do, what it has done, what it found. */
#ifndef SWEEP_RUN_H
#define SWEEP_RUN_H

#include <stdbool.h>
#include <stdint.h>

/* What a sweep has to come by, or its images prove less than they seem to. */
enum reached {
    GROWTH,
    SHRINK,
    HOLE,
    COPY,
    DELAY_OVER,
    DROP,
    DROP_AHEAD,
    FULL,
    OPTIONS,
    MOVE,
    FAILED_SYNC,
    FAILED_OPENING,
    LOSS,
    REFUSAL,
    BESIDE,
    TURN,
    BIG_WRITE,
    RESIZE,
    FAILED_PART,
    FAILED_JOURNAL,
    FAILED_START,
    KEPT,
    RECLAIMED,
    REJOINED,
    STRANGER,
    OLD_COPY,
    TORN,
    CUT_AND_STARTED,
    TORN_BLOCK,
    LOST_BIT,
    REPAIR,
    HALF_MADE,
    SWAPPED,
    REACHED
};

enum program { SWEEP_QUEUE = 1, SWEEP_JOURNAL = 2, SWEEP_BLOCKS = 4 };

struct run {
    enum program program;
    uint64_t life; /* its seed; the next has the next number */
    uint64_t images, images_most;
    uint64_t fails_every; /* one sync in so many; 0: none */
    uint64_t ops, reopenings, sequences;
    uint64_t reached[REACHED];
    bool violated;
};

extern struct run run;

/* Told once, with how to come there again. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

bool run_goes_on(void);

/* A line about all of it; false: something was never reached. */
bool run_tell(double seconds);

uint64_t chance_word(void);
uint64_t below(uint64_t n); /* 0 to n - 1 */
bool one_in(uint64_t n);
void chance_begin(uint64_t seed);

/* By the clock; of a word of the command line, NULL: the first. */
double run_seconds(void);
uint64_t run_seed(const char *text);

#endif
