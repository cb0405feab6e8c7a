#include "sys/hash.h"

#define XXH_STATIC_LINKING_ONLY /* a state on the stack */
#include <xxhash.h>

uint64_t hash_bytes(uint64_t seed, const void *at, size_t len)
{
    return XXH3_64bits_withSeed(at, len, seed);
}

uint64_t hash_two(uint64_t seed, struct span first, struct span second)
{
    if (first.len == 0)
        return hash_bytes(seed, second.at, second.len);
    XXH3_state_t state;
    XXH3_64bits_reset_withSeed(&state, seed);
    XXH3_64bits_update(&state, first.at, first.len);
    XXH3_64bits_update(&state, second.at, second.len);
    return XXH3_64bits_digest(&state);
}
