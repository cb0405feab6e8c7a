#include "fuzz/target.h"

#include "sys/hash.h"

uint8_t *target_copy(struct span bytes)
{
    uint8_t *copy = malloc(bytes.len);
    must(copy != NULL || bytes.len == 0);
    if (bytes.len > 0)
        memcpy(copy, bytes.at, bytes.len);
    return copy;
}

struct dice target_dice(struct span input)
{
    return dice_of(hash_bytes(0, input.at, input.len), 0);
}
