/* Chance that can be had again: what a seed and a number give is the same each time. */
#ifndef FUZZ_DICE_H
#define FUZZ_DICE_H

#include <stdbool.h>
#include <stdint.h>

struct dice {
    uint64_t state;
};

struct dice dice_of(uint64_t seed, uint64_t number);

uint64_t dice_word(struct dice *d);
uint64_t dice_below(struct dice *d, uint64_t n); /* 0 to n - 1 */
bool dice_one_in(struct dice *d, uint64_t n);

#endif
