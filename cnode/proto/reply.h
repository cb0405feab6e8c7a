/* A reply under construction: terms appended to a buffer. What does not fit sets the buffer's
 * `failed`, which sticks, so a reply is checked once, at its end. */
#ifndef PROTO_REPLY_H
#define PROTO_REPLY_H

#include "sys/buf.h"
#include "sys/err.h"

void reply_atom(struct buf *out, const char *name);
void reply_int64(struct buf *out, int64_t v);
void reply_uint64(struct buf *out, uint64_t v);
void reply_binary(struct buf *out, struct span bytes);
void reply_text(struct buf *out, const char *text); /* as a binary */

/* Containers: the elements follow. A list ends with reply_nil; with n = 0 it is only that. */
void reply_tuple(struct buf *out, int arity);
void reply_list(struct buf *out, uint32_t n);
void reply_nil(struct buf *out);
void reply_map(struct buf *out, int pairs);

/* A term as it came. */
void reply_raw(struct buf *out, struct span term);

/* A binary of n bytes that the caller fills; NULL where it does not fit. */
uint8_t *reply_bytes(struct buf *out, size_t n);

/* A binary whose length is known at its end: reply_bytes_begin, the bytes, reply_bytes_end. */
size_t reply_bytes_begin(struct buf *out);
void reply_bytes_end(struct buf *out, size_t begin);

/* A list whose length is known at its end: reply_list_begin, the elements, reply_list_end. */
size_t reply_list_begin(struct buf *out);
void reply_list_end(struct buf *out, size_t begin, uint32_t n);

/* {ok, V}, of which the caller appends V; {ok, Integer}; the reason of an error; {error, Reason}.
 */
void reply_ok(struct buf *out);
void reply_ok_int64(struct buf *out, int64_t v);
void reply_reason(struct buf *out, enum err e);
void reply_error(struct buf *out, enum err e);
enum { REPLY_ERROR_MOST = 256 };

/* Map entries: a key and its value. */
void reply_key_atom(struct buf *out, const char *key, const char *value);
void reply_key_uint64(struct buf *out, const char *key, uint64_t value);
void reply_key_text(struct buf *out, const char *key, const char *value);

#endif
