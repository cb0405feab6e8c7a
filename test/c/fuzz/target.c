#include "fuzz/target.h"

#include "proto/print.h"
#include "proto/term.h"
#include "sys/hash.h"

bool target_is_term(struct span bytes)
{
    return bytes.len > 0 && term_check(bytes) == bytes.len;
}

static bool is_control(uint32_t c)
{
    return c < ' ' || (c >= 0x7f && c < 0xa0);
}

bool target_is_text(struct span bytes, bool steers)
{
    for (size_t at = 0, n; at < bytes.len; at += n) {
        uint32_t c;
        n = print_character(span_of(bytes.at + at, bytes.len - at), &c);
        if (n == 0 || (is_control(c) && c != '\n' && !(steers && c == 0x1b)))
            return false;
    }
    return true;
}

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
