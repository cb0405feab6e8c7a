/* The hash of everything that checks bytes on a disk: XXH3 with 64 bits. */
#ifndef SYS_HASH_H
#define SYS_HASH_H

#include "sys/bytes.h"

uint64_t hash_bytes(uint64_t seed, const void *at, size_t len);

/* hash_two: of two pieces, as if they stood together. */
uint64_t hash_two(uint64_t seed, struct span first, struct span second);

#endif
