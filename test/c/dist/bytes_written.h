/* Bytes of a protocol, put together piece by piece. */
#ifndef DIST_BYTES_WRITTEN_H
#define DIST_BYTES_WRITTEN_H

#include <assert.h>

#include "sys/bytes.h"

struct bytes {
    uint8_t at[16384];
    size_t len;
};

static inline void add(struct bytes *b, const void *at, size_t n)
{
    assert(n <= sizeof b->at - b->len);
    if (n > 0)
        memcpy(b->at + b->len, at, n);
    b->len += n;
}

static inline void add_span(struct bytes *b, struct span s)
{
    add(b, s.at, s.len);
}

static inline void add_text(struct bytes *b, const char *text)
{
    add_span(b, span_text(text));
}

static inline void add_u8(struct bytes *b, unsigned v)
{
    const uint8_t byte = (uint8_t)v;
    add(b, &byte, 1);
}

static inline void add_u16(struct bytes *b, size_t v)
{
    uint8_t bytes[2];
    put_be16(bytes, (uint16_t)v);
    add(b, bytes, sizeof bytes);
}

static inline void add_u32(struct bytes *b, size_t v)
{
    uint8_t bytes[4];
    put_be32(bytes, (uint32_t)v);
    add(b, bytes, sizeof bytes);
}

static inline struct span bytes_span(const struct bytes *b)
{
    return span_of(b->at, b->len);
}

#endif
