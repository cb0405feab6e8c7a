#include "sys/hash.h"

#include <xxhash.h>

uint64_t hash_bytes(uint64_t seed, const void *at, size_t len)
{
    return XXH3_64bits_withSeed(at, len, seed);
}
