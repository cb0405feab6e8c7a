/* The hash of everything that checks bytes on a disk: XXH3 with 64 bits. */
#ifndef SYS_HASH_H
#define SYS_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(uint64_t seed, const void *at, size_t len);

#endif
