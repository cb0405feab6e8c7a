#include "fuzz/text.h"

#include <ctype.h>
#include <ei.h>

#include "proto/reply.h"
#include "support/peer.h"

const char *const text_node = "emmap@localhost";
const char *const text_peer = "client@localhost";

void text_self(struct self *self)
{
    self_init(self, text_node, 4711);
}

static const char *skip(const char *at)
{
    while (*at == ' ' || *at == ',')
        at++;
    return at;
}

/* Up to the closing character; *n bytes. */
static const char *until(const char *at, char closing, size_t *n)
{
    const char *end = strchr(at, closing);
    must(end != NULL);
    *n = (size_t)(end - at);
    return end + 1;
}

static void put_atom(struct span name, struct buf *out)
{
    const uint8_t head[] = {ERL_SMALL_ATOM_UTF8_EXT, (uint8_t)name.len};
    buf_put(out, head, sizeof head);
    buf_put(out, name.at, name.len);
}

static void put_string(struct span bytes, struct buf *out)
{
    const uint8_t head[] = {ERL_STRING_EXT, (uint8_t)(bytes.len >> 8), (uint8_t)bytes.len};
    if (bytes.len == 0) {
        reply_nil(out);
        return;
    }
    buf_put(out, head, sizeof head);
    buf_put(out, bytes.at, bytes.len);
}

static const char *put_hex(const char *at, struct buf *out)
{
    for (; *at != '>'; at++) {
        if (*at == ' ')
            continue;
        const char digits[] = {at[0], at[1], '\0'};
        const uint8_t byte = (uint8_t)strtoul(digits, NULL, 16);
        buf_put(out, &byte, 1);
        at++;
    }
    return at + 1;
}

static const char *put_variable(const char *at, struct buf *out)
{
    struct self self;
    uint8_t bytes[SELF_REF_BYTES + SELF_PID_BYTES];
    char *end;
    if (*at == '<')
        return put_hex(at + 1, out);
    const unsigned long n = strtoul(at + 1, &end, 10);
    text_self(&self);
    switch (*at) {
    case 'p': reply_raw(out, peer_pid((uint32_t)n)); break;
    case 'r': reply_raw(out, peer_ref(n)); break;
    case 'e': reply_raw(out, self_pid(&self, (uint32_t)n, bytes)); break;
    case 'm': reply_raw(out, self_ref(&self, n, bytes)); break;
    case 'i': reply_int64(out, TEXT_MARK); break;
    case 's': reply_raw(out, self_pid(&self, TEXT_MARK, bytes)); break;
    case 'k': reply_raw(out, self_ref(&self, TEXT_MARK, bytes)); break;
    default: must(false);
    }
    return end;
}

static const char *put_tuple(const char *at, struct buf *out)
{
    const size_t head = out->len;
    reply_tuple(out, 0);
    for (at = skip(at); *at != '}'; at = skip(at)) {
        at = text_term(at, out);
        out->at[head + 1]++;
    }
    return at + 1;
}

static const char *put_list(const char *at, struct buf *out)
{
    const uint8_t empty[] = {ERL_LIST_EXT, 0, 0, 0, 0};
    const size_t head = out->len;
    at = skip(at);
    if (*at == ']') {
        reply_nil(out);
        return at + 1;
    }
    buf_put(out, empty, sizeof empty);
    for (; *at != ']' && *at != '|'; at = skip(at)) {
        at = text_term(at, out);
        out->at[head + 4]++;
    }
    if (*at == '|')
        return skip(text_term(skip(at + 1), out)) + 1;
    reply_nil(out);
    return at + 1;
}

static const char *put_map(const char *at, struct buf *out)
{
    const size_t head = out->len;
    reply_map(out, 0);
    for (at = skip(at); *at != '}'; at = skip(at)) {
        at = skip(text_term(at, out));
        must(strncmp(at, "=>", 2) == 0);
        at = text_term(skip(at + 2), out);
        out->at[head + 4]++;
    }
    return at + 1;
}

static const char *put_plain(const char *at, struct buf *out)
{
    char *end;
    if (isdigit((unsigned char)*at) || *at == '-') {
        reply_int64(out, strtoll(at, &end, 10));
        return end;
    }
    const size_t n = strcspn(at, " ,{}[]|=");
    must(n > 0);
    put_atom(span_of(at, n), out);
    return at + n;
}

static const char *put_term(const char *at, struct buf *out)
{
    size_t n;
    const char *end;
    if (strncmp(at, "<<\"", 3) == 0) {
        end = until(at + 3, '"', &n);
        reply_binary(out, span_of(at + 3, n));
        return end + 2;
    }
    switch (*at) {
    case '{': return put_tuple(at + 1, out);
    case '[': return put_list(at + 1, out);
    case '#': return put_map(at + 2, out);
    case '$': return put_variable(at + 1, out);
    case '"':
        end = until(at + 1, '"', &n);
        put_string(span_of(at + 1, n), out);
        return end;
    case '\'':
        end = until(at + 1, '\'', &n);
        put_atom(span_of(at + 1, n), out);
        return end;
    default: return put_plain(at, out);
    }
}

const char *text_term(const char *text, struct buf *out)
{
    return skip(put_term(text, out));
}
