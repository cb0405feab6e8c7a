/* What is fuzzed, one target a program: it makes inputs, changes them, runs them, and says what is
 * wrong by must(). What it does depends on nothing but its inputs since the life began. */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include "fuzz/dice.h"
#include "sys/buf.h"

struct target {
    const char *name;
    uint64_t life; /* so many executions from begin to end */
    bool builds;   /* on what those before have left */
    void (*begin)(void);
    void (*end)(void);
    void (*make)(struct dice *d, struct buf *input);
    void (*change)(struct dice *d, struct buf *input); /* of at least one byte */
    void (*run)(struct span input);
    void (*count)(void (*each)(const char *what, uint64_t times)); /* what inputs led to */
};

extern const struct target target;

enum {
    TARGET_INPUT_MOST = 1 << 20,
    TARGET_CHALLENGE = 0x5a5a5a5a, /* of each handshake, and each byte that should be random */
};
#define TARGET_COOKIE "secret"

/* The bytes are one term. */
bool target_is_term(struct span bytes);

/* Text for people: UTF-8, with no control characters but the ends of lines; an escape where a
 * terminal is steered. */
bool target_is_text(struct span bytes, bool steers);

/* A copy in a block of its own, so that a read beyond it is seen. */
uint8_t *target_copy(struct span bytes);

/* Chance that comes from the input itself. */
struct dice target_dice(struct span input);

#endif
