#include "proto/reply.h"

#include <ei.h>

enum { SMALL_TERM = 32 }; /* bytes of any term below that has a fixed size */

void reply_atom(struct buf *out, const char *name)
{
    int n = 0;
    uint8_t *at = buf_grow(out, strlen(name) + SMALL_TERM);
    if (at == NULL)
        return;
    if (ei_encode_atom_as((char *)at, &n, name, ERLANG_UTF8, ERLANG_UTF8) != 0)
        out->failed = true; /* longer than an atom can be */
    out->len += (size_t)n;
}

void reply_int64(struct buf *out, int64_t v)
{
    int n = 0;
    uint8_t *at = buf_grow(out, SMALL_TERM);
    if (at == NULL)
        return;
    ei_encode_longlong((char *)at, &n, v);
    out->len += (size_t)n;
}

void reply_uint64(struct buf *out, uint64_t v)
{
    int n = 0;
    uint8_t *at = buf_grow(out, SMALL_TERM);
    if (at == NULL)
        return;
    ei_encode_ulonglong((char *)at, &n, v);
    out->len += (size_t)n;
}

void reply_tuple(struct buf *out, int arity)
{
    int n = 0;
    uint8_t *at = buf_grow(out, SMALL_TERM);
    if (at == NULL)
        return;
    ei_encode_tuple_header((char *)at, &n, arity);
    out->len += (size_t)n;
}

void reply_map(struct buf *out, int pairs)
{
    int n = 0;
    uint8_t *at = buf_grow(out, SMALL_TERM);
    if (at == NULL)
        return;
    ei_encode_map_header((char *)at, &n, pairs);
    out->len += (size_t)n;
}

static void put_counted(struct buf *out, uint8_t tag, size_t n)
{
    uint8_t head[5] = {tag};
    must(n <= UINT32_MAX);
    put_be32(head + 1, (uint32_t)n);
    buf_put(out, head, sizeof head);
}

void reply_list(struct buf *out, uint32_t n)
{
    if (n > 0)
        put_counted(out, ERL_LIST_EXT, n);
}

void reply_nil(struct buf *out)
{
    buf_put(out, &(uint8_t){ERL_NIL_EXT}, 1);
}

void reply_raw(struct buf *out, struct span term)
{
    buf_put(out, term.at, term.len);
}

uint8_t *reply_bytes(struct buf *out, size_t n)
{
    if (n > UINT32_MAX)
        out->failed = true;
    if (n > UINT32_MAX || buf_grow(out, n + 5) == NULL)
        return NULL;
    put_counted(out, ERL_BINARY_EXT, n);
    out->len += n;
    return out->at + out->len - n;
}

size_t reply_bytes_begin(struct buf *out)
{
    put_counted(out, ERL_BINARY_EXT, 0);
    return out->len;
}

void reply_bytes_end(struct buf *out, size_t begin)
{
    if (!out->failed)
        put_be32(out->at + begin - 4, (uint32_t)(out->len - begin));
}

void reply_binary(struct buf *out, struct span bytes)
{
    uint8_t *to = reply_bytes(out, bytes.len);
    if (to != NULL && bytes.len > 0)
        memcpy(to, bytes.at, bytes.len);
}

void reply_text(struct buf *out, const char *text)
{
    reply_binary(out, span_text(text));
}

size_t reply_list_begin(struct buf *out)
{
    put_counted(out, ERL_LIST_EXT, 0);
    return out->len;
}

/* An empty list has no LIST_EXT: its head is taken back. */
void reply_list_end(struct buf *out, size_t begin, uint32_t n)
{
    if (out->failed)
        return;
    if (n == 0)
        out->len = begin - 5;
    else
        put_be32(out->at + begin - 4, n);
    reply_nil(out);
}

void reply_ok(struct buf *out)
{
    reply_tuple(out, 2);
    reply_atom(out, "ok");
}

void reply_ok_int64(struct buf *out, int64_t v)
{
    reply_ok(out);
    reply_int64(out, v);
}

void reply_reason(struct buf *out, enum err e)
{
    static const char *const wrapped_in[] = {
        [ERR_LIMIT] = "limit", [ERR_NOT_A] = "not_a", [ERR_WRONG_KIND] = "wrong_kind"};
    switch (err_shape(e)) {
    case ERR_PLAIN: break;
    case ERR_LIMIT:
    case ERR_NOT_A:
    case ERR_WRONG_KIND:
        reply_tuple(out, 2);
        reply_atom(out, wrapped_in[err_shape(e)]);
        break;
    case ERR_HELD:
        reply_tuple(out, 2);
        reply_atom(out, err_atom(e));
        reply_atom(out, "unknown");
        return;
    case ERR_DETAIL: break;
    }
    reply_atom(out, err_atom(e));
}

void reply_error(struct buf *out, enum err e)
{
    reply_tuple(out, 2);
    reply_atom(out, "error");
    reply_reason(out, e);
}

void reply_key_atom(struct buf *out, const char *key, const char *value)
{
    reply_atom(out, key);
    reply_atom(out, value);
}

void reply_key_uint64(struct buf *out, const char *key, uint64_t value)
{
    reply_atom(out, key);
    reply_uint64(out, value);
}

void reply_key_text(struct buf *out, const char *key, const char *value)
{
    reply_atom(out, key);
    reply_text(out, value);
}
