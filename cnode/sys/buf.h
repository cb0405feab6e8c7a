/* A growing buffer of bytes with a stated maximum. Appending never fails half way: what does not
 * fit sets `failed`, which stays until the buffer is cut back or cleared. */
#ifndef SYS_BUF_H
#define SYS_BUF_H

#include "sys/bytes.h"

struct buf {
    uint8_t *at;
    size_t len;
    size_t cap;
    size_t max;
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);

/* buf_in: one in memory of the caller's, for what has to be said without any. No buf_fini. */
static inline struct buf buf_in(uint8_t *at, size_t max)
{
    return (struct buf){.at = at, .cap = max, .max = max};
}

/* buf_grow makes room for n more bytes and returns where they go, or NULL (and `failed`) where
 * the maximum or the memory does not allow it. The length is unchanged. */
uint8_t *buf_grow(struct buf *b, size_t n);

/* buf_put appends; false as buf_grow. */
bool buf_put(struct buf *b, const void *bytes, size_t n);

/* buf_since: the bytes from here to the end, good until the buffer grows. */
static inline struct span buf_since(const struct buf *b, size_t from)
{
    return span_from(span_of(b->at, b->len), from);
}

/* buf_cut shortens the buffer to len bytes and clears `failed`. */
void buf_cut(struct buf *b, size_t len);

/* buf_drop removes n bytes at the front. */
void buf_drop(struct buf *b, size_t n);

/* buf_relax gives memory beyond `keep` bytes back where the buffer is empty. */
void buf_relax(struct buf *b, size_t keep);

#endif
