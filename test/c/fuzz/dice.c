#include "fuzz/dice.h"

/* splitmix64 */
uint64_t dice_word(struct dice *d)
{
    d->state += 0x9e3779b97f4a7c15;
    uint64_t z = d->state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

struct dice dice_of(uint64_t seed, uint64_t number)
{
    struct dice first = {.state = seed};
    return (struct dice){.state = dice_word(&first) ^ number * 0xd1342543de82ef95};
}

uint64_t dice_below(struct dice *d, uint64_t n)
{
    return dice_word(d) % n;
}

bool dice_one_in(struct dice *d, uint64_t n)
{
    return dice_below(d, n) == 0;
}
