#include "sys/buf.h"

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_fini(struct buf *b)
{
    free(b->at);
    *b = (struct buf){.max = b->max};
}

uint8_t *buf_grow(struct buf *b, size_t n)
{
    if (n <= b->cap - b->len)
        return b->at + b->len;
    if (n > b->max || b->len > b->max - n) {
        b->failed = true;
        return NULL;
    }
    size_t cap = b->cap < 512 ? 1024 : b->cap * 2;
    if (cap < b->len + n)
        cap = b->len + n;
    if (cap > b->max)
        cap = b->max;
    uint8_t *at = realloc(b->at, cap);
    if (at == NULL) {
        b->failed = true;
        return NULL;
    }
    b->at = at;
    b->cap = cap;
    return b->at + b->len;
}

bool buf_put(struct buf *b, const void *bytes, size_t n)
{
    if (n == 0)
        return true;
    uint8_t *to = buf_grow(b, n);
    if (to == NULL)
        return false;
    memcpy(to, bytes, n);
    b->len += n;
    return true;
}

void buf_cut(struct buf *b, size_t len)
{
    must(len <= b->len);
    b->len = len;
    b->failed = false;
}

void buf_drop(struct buf *b, size_t n)
{
    must(n <= b->len);
    if (n > 0 && n < b->len)
        memmove(b->at, b->at + n, b->len - n);
    b->len -= n;
}

void buf_relax(struct buf *b, size_t keep)
{
    if (b->len == 0 && b->cap > keep) {
        free(b->at);
        b->at = NULL;
        b->cap = 0;
    }
}
