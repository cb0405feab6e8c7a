#include "proto/term.h"

#include <ei.h>

/* ei knows no end of a buffer and recurses on what a length says, so term_check passes over every
 * byte first. How deep a term is nested does not matter to it: all it keeps is the number of terms
 * that are still due. What it has passed, ei decodes safely, a head at a time. */

struct walk {
    const uint8_t *at;
    size_t left;
};

static bool pass(struct walk *w, size_t n)
{
    if (n > w->left)
        return false;
    w->at += n;
    w->left -= n;
    return true;
}

static bool is_character(uint64_t c)
{
    return c < 0xd800 || (c > 0xdfff && c <= 0x10ffff);
}

/* As strict as the peers: one that is sent an atom it cannot read closes the connection. */
static bool utf8_atom(const uint8_t *at, size_t len)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000}; /* by the bytes that follow */
    size_t chars = 0;
    for (size_t i = 0; i < len; chars++) {
        const uint8_t lead = at[i++];
        const size_t more = lead < 0x80       ? 0
                            : lead >> 5 == 6  ? 1
                            : lead >> 4 == 14 ? 2
                            : lead >> 3 == 30 ? 3
                                              : 4;
        if (more == 4 || more > len - i)
            return false;
        uint32_t c = more == 0 ? lead : lead & (0x3fu >> more);
        for (const size_t end = i + more; i < end; i++) {
            if (at[i] >> 6 != 2)
                return false;
            c = c << 6 | (at[i] & 0x3fu);
        }
        if (c < least[more] || !is_character(c))
            return false;
    }
    return chars <= 255;
}

/* An atom after its tag. */
static bool pass_atom(struct walk *w, uint8_t tag)
{
    const bool small = tag == ERL_SMALL_ATOM_EXT || tag == ERL_SMALL_ATOM_UTF8_EXT;
    const bool utf8 = tag == ERL_ATOM_UTF8_EXT || tag == ERL_SMALL_ATOM_UTF8_EXT;
    const uint8_t *head = w->at;
    if (!pass(w, small ? 1 : 2))
        return false;
    size_t len = small ? head[0] : get_be16(head);
    const uint8_t *name = w->at;
    if (!pass(w, len))
        return false;
    return utf8 ? utf8_atom(name, len) : len <= 255;
}

static bool is_atom_tag(uint8_t tag)
{
    return tag == ERL_ATOM_EXT || tag == ERL_SMALL_ATOM_EXT || tag == ERL_ATOM_UTF8_EXT ||
           tag == ERL_SMALL_ATOM_UTF8_EXT;
}

static bool pass_whole_atom(struct walk *w)
{
    const uint8_t *tag = w->at;
    return pass(w, 1) && is_atom_tag(*tag) && pass_atom(w, *tag);
}

/* The node of a pid, port or reference, then n bytes. */
static bool pass_identity(struct walk *w, size_t n)
{
    return pass_whole_atom(w) && pass(w, n);
}

static bool pass_reference(struct walk *w, size_t creation)
{
    const uint8_t *head = w->at;
    if (!pass(w, 2))
        return false;
    size_t words = get_be16(head);
    return words >= 1 && words <= 5 && pass_identity(w, creation + 4 * words);
}

static bool pass_export(struct walk *w)
{
    if (!pass_whole_atom(w) || !pass_whole_atom(w))
        return false;
    const uint8_t *arity = w->at;
    return pass(w, 2) && arity[0] == ERL_SMALL_INTEGER_EXT;
}

/* `head` bytes of length, then `extra` bytes, then as many as the length says. */
static bool pass_counted(struct walk *w, size_t head, size_t extra)
{
    const uint8_t *at = w->at;
    if (!pass(w, head + extra))
        return false;
    size_t len = head == 1 ? at[0] : head == 2 ? get_be16(at) : get_be32(at);
    return pass(w, len);
}

/* The elements of a list and its tail, the pairs of a map, ...: as many terms, `each` a count. */
static bool pass_arity(struct walk *w, size_t head, uint32_t each, uint32_t more, uint32_t *terms)
{
    const uint8_t *at = w->at;
    if (!pass(w, head))
        return false;
    uint64_t n = (uint64_t)(head == 1 ? at[0] : get_be32(at)) * each + more;
    if (n > w->left)
        return false;
    *terms = (uint32_t)n;
    return true;
}

static bool pass_small_integer(struct walk *w)
{
    const uint8_t *tag = w->at;
    if (!pass(w, 1))
        return false;
    return *tag == ERL_SMALL_INTEGER_EXT ? pass(w, 1) : *tag == ERL_INTEGER_EXT && pass(w, 4);
}

static bool pass_pid(struct walk *w)
{
    const uint8_t *tag = w->at;
    if (!pass(w, 1))
        return false;
    return *tag == ERL_PID_EXT ? pass_identity(w, 9)
                               : *tag == ERL_NEW_PID_EXT && pass_identity(w, 12);
}

/* Its free variables are terms inside. The size that it says it has is of no use to anybody. */
static bool pass_fun(struct walk *w, uint32_t *terms)
{
    enum { SIZE = 4, ARITY = 1, UNIQ = 16, INDEX = 4, FREE = 4 };
    const uint8_t *at = w->at;
    if (!pass(w, SIZE + ARITY + UNIQ + INDEX + FREE))
        return false;
    if (!pass_whole_atom(w) || !pass_small_integer(w) || !pass_small_integer(w) || !pass_pid(w))
        return false;
    *terms = get_be32(at + SIZE + ARITY + UNIQ + INDEX);
    return *terms <= w->left;
}

static bool pass_bits(struct walk *w)
{
    const uint8_t *at = w->at; /* length, bits of the last byte */
    if (!pass(w, 5))
        return false;
    const uint32_t len = get_be32(at);
    return (len == 0) == (at[4] == 0) && at[4] <= 8 && pass(w, len);
}

static const uint8_t *after_digits(const uint8_t *at)
{
    while (*at >= '0' && *at <= '9')
        at++;
    return at;
}

/* 31 bytes: D.D or D.DeD, each D some digits, and a zero byte. */
static bool pass_float_text(struct walk *w)
{
    const uint8_t *at = w->at;
    if (!pass(w, 31) || at[30] != 0)
        return false;
    at += *at == '-';
    const uint8_t *end = after_digits(at);
    if (end == at || *end != '.')
        return false;
    at = end + 1;
    end = after_digits(at);
    if (end == at)
        return false;
    if (*end == 'e') {
        at = end + 1;
        at += *at == '+' || *at == '-';
        end = after_digits(at);
    }
    return end > at && *end == 0;
}

static bool pass_float(struct walk *w)
{
    const uint8_t *at = w->at;
    return pass(w, 8) && (get_be16(at) & 0x7ff0) != 0x7ff0; /* NaN, infinite */
}

/* One term without the terms inside it; their number in *terms. */
static bool pass_head(struct walk *w, uint32_t *terms)
{
    const uint8_t *tag = w->at;
    *terms = 0;
    if (!pass(w, 1))
        return false;
    switch (*tag) {
    case ERL_SMALL_INTEGER_EXT: return pass(w, 1);
    case ERL_INTEGER_EXT: return pass(w, 4);
    case ERL_FLOAT_EXT: return pass_float_text(w);
    case NEW_FLOAT_EXT: return pass_float(w);
    case ERL_ATOM_EXT:
    case ERL_SMALL_ATOM_EXT:
    case ERL_ATOM_UTF8_EXT:
    case ERL_SMALL_ATOM_UTF8_EXT: return pass_atom(w, *tag);
    case ERL_REFERENCE_EXT:
    case ERL_PORT_EXT: return pass_identity(w, 5);
    case ERL_NEW_PORT_EXT: return pass_identity(w, 8);
    case ERL_V4_PORT_EXT: return pass_identity(w, 12);
    case ERL_PID_EXT: return pass_identity(w, 9);
    case ERL_NEW_PID_EXT: return pass_identity(w, 12);
    case ERL_NEW_REFERENCE_EXT: return pass_reference(w, 1);
    case ERL_NEWER_REFERENCE_EXT: return pass_reference(w, 4);
    case ERL_NIL_EXT: return true;
    case ERL_STRING_EXT: return pass_counted(w, 2, 0);
    case ERL_BINARY_EXT: return pass_counted(w, 4, 0);
    case ERL_BIT_BINARY_EXT: return pass_bits(w);
    case ERL_SMALL_BIG_EXT: return pass_counted(w, 1, 1);
    case ERL_LARGE_BIG_EXT: return pass_counted(w, 4, 1);
    case ERL_EXPORT_EXT: return pass_export(w);
    case ERL_SMALL_TUPLE_EXT: return pass_arity(w, 1, 1, 0, terms);
    case ERL_LARGE_TUPLE_EXT: return pass_arity(w, 4, 1, 0, terms);
    case ERL_LIST_EXT: return pass_arity(w, 4, 1, 1, terms);
    case ERL_MAP_EXT: return pass_arity(w, 4, 2, 0, terms);
    case ERL_NEW_FUN_EXT: return pass_fun(w, terms);
    default: return false;
    }
}

size_t term_check(struct span at)
{
    struct walk w = {.at = at.at, .left = at.len};
    size_t due = 1;
    while (due > 0) {
        uint32_t inside;
        if (due > w.left || !pass_head(&w, &inside))
            return 0;
        due = due - 1 + inside;
    }
    return at.len - w.left;
}

struct term term_in(struct span checked)
{
    must(checked.len <= INT32_MAX);
    return (struct term){.buf = (const char *)checked.at, .index = 0, .end = (int)checked.len};
}

int term_tag(const struct term *t)
{
    return t->index < t->end ? (uint8_t)t->buf[t->index] : 0;
}

/* May ei read a term of this kind here? */
static bool ready(struct term *t, bool of_this_kind)
{
    if (t->bad || !of_this_kind)
        t->bad = true;
    return !t->bad;
}

int term_tuple(struct term *t)
{
    int tag = term_tag(t);
    int arity = 0;
    if (ready(t, tag == ERL_SMALL_TUPLE_EXT || tag == ERL_LARGE_TUPLE_EXT))
        t->bad = ei_decode_tuple_header(t->buf, &t->index, &arity) != 0;
    return arity;
}

int term_list(struct term *t)
{
    int tag = term_tag(t);
    int count = 0;
    if (ready(t, tag == ERL_LIST_EXT || tag == ERL_NIL_EXT))
        t->bad = ei_decode_list_header(t->buf, &t->index, &count) != 0;
    return count;
}

void term_list_end(struct term *t)
{
    if (ready(t, term_tag(t) == ERL_NIL_EXT))
        t->index++;
}

int term_map(struct term *t)
{
    int pairs = 0;
    if (ready(t, term_tag(t) == ERL_MAP_EXT))
        t->bad = ei_decode_map_header(t->buf, &t->index, &pairs) != 0;
    return pairs;
}

void term_atom(struct term *t, char *name)
{
    name[0] = '\0';
    if (ready(t, is_atom_tag((uint8_t)term_tag(t))))
        t->bad = ei_decode_atom_as(t->buf, &t->index, name, TERM_ATOM_BYTES, ERLANG_UTF8, NULL,
                                   NULL) != 0;
}

struct span term_atom_bytes(struct term *t)
{
    const uint8_t tag = (uint8_t)term_tag(t);
    if (!ready(t, is_atom_tag(tag)))
        return span_of(NULL, 0);
    const uint8_t *at = (const uint8_t *)t->buf + t->index;
    const bool small = tag == ERL_SMALL_ATOM_EXT || tag == ERL_SMALL_ATOM_UTF8_EXT;
    const size_t head = small ? 2 : 3;
    const size_t len = small ? at[1] : get_be16(at + 1);
    t->index += (int)(head + len);
    return span_of(at + head, len);
}

bool term_is_atom(struct term *t, const char *name)
{
    struct term next = *t;
    if (!span_equal(term_atom_bytes(&next), span_text(name)) || next.bad)
        return false;
    *t = next;
    return true;
}

static bool is_integer_tag(int tag)
{
    return tag == ERL_SMALL_INTEGER_EXT || tag == ERL_INTEGER_EXT || tag == ERL_SMALL_BIG_EXT ||
           tag == ERL_LARGE_BIG_EXT;
}

int64_t term_int64(struct term *t)
{
    long long v = 0;
    if (ready(t, is_integer_tag(term_tag(t))))
        t->bad = ei_decode_longlong(t->buf, &t->index, &v) != 0;
    return t->bad ? 0 : v;
}

uint64_t term_uint64(struct term *t)
{
    unsigned long long v = 0;
    if (ready(t, is_integer_tag(term_tag(t))))
        t->bad = ei_decode_ulonglong(t->buf, &t->index, &v) != 0;
    return t->bad ? 0 : v;
}

static struct span counted(struct term *t, int tag, size_t head)
{
    if (!ready(t, term_tag(t) == tag))
        return span_of(NULL, 0);
    const uint8_t *at = (const uint8_t *)t->buf + t->index;
    size_t len = head == 4 ? get_be32(at + 1) : get_be16(at + 1);
    t->index += (int)(1 + head + len);
    return span_of(at + 1 + head, len);
}

struct span term_binary(struct term *t)
{
    return counted(t, ERL_BINARY_EXT, 4);
}

struct span term_string(struct term *t)
{
    return counted(t, ERL_STRING_EXT, 2);
}

/* Copies what stands at the cursor and is no list; a byte, a binary or a string of bytes. */
static void copy_bytes(struct term *t, struct buf *scratch)
{
    struct span bytes;
    uint8_t byte;
    switch (term_tag(t)) {
    case ERL_BINARY_EXT: bytes = term_binary(t); break;
    case ERL_STRING_EXT: bytes = term_string(t); break;
    case ERL_SMALL_INTEGER_EXT:
        byte = (uint8_t)term_int64(t);
        bytes = span_of(&byte, 1);
        break;
    default: t->bad = true; return;
    }
    if (!buf_put(scratch, bytes.at, bytes.len))
        t->bad = true;
}

static void flatten(struct term *t, struct buf *scratch)
{
    uint32_t due[TERM_IODATA_DEPTH + 1]; /* elements and tails */
    int depth = 0;
    due[0] = 1;
    while (depth >= 0 && !t->bad) {
        if (due[depth] == 0) {
            depth--;
            continue;
        }
        due[depth]--;
        const bool tail = depth > 0 && due[depth] == 0;
        const int tag = term_tag(t);
        if (tag == ERL_NIL_EXT) {
            t->index++;
        } else if (tag == ERL_LIST_EXT && depth < TERM_IODATA_DEPTH) {
            due[++depth] = (uint32_t)term_list(t) + 1;
        } else if (tag == ERL_LIST_EXT || (tail && tag == ERL_SMALL_INTEGER_EXT)) {
            t->bad = true; /* too deep; a byte is an element only */
        } else {
            copy_bytes(t, scratch);
        }
    }
}

struct span term_iodata(struct term *t, struct buf *scratch)
{
    if (term_tag(t) == ERL_BINARY_EXT)
        return term_binary(t);
    if (term_tag(t) == ERL_STRING_EXT)
        return term_string(t);
    const size_t from = scratch->len;
    if (ready(t, term_tag(t) == ERL_LIST_EXT || term_tag(t) == ERL_NIL_EXT))
        flatten(t, scratch);
    return t->bad ? span_of(NULL, 0) : buf_since(scratch, from);
}

static void put_utf8(struct buf *to, uint64_t c)
{
    uint8_t b[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        b[i] = (uint8_t)(0x80 | (c & 0x3f));
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    b[0] = (uint8_t)(lead[n] | c);
    buf_put(to, b, n);
}

struct span term_name(struct term *t, struct buf *scratch)
{
    if (term_tag(t) == ERL_BINARY_EXT)
        return term_binary(t);
    const size_t from = scratch->len;
    if (term_tag(t) == ERL_STRING_EXT) {
        struct span latin1 = term_string(t);
        for (size_t i = 0; i < latin1.len; i++)
            put_utf8(scratch, latin1.at[i]);
    } else {
        const int n = term_list(t);
        for (int i = 0; i < n && !t->bad; i++) {
            uint64_t c = term_uint64(t);
            if (!is_character(c))
                t->bad = true;
            else
                put_utf8(scratch, c);
        }
        if (n > 0)
            term_list_end(t);
    }
    if (t->bad || scratch->failed)
        t->bad = true;
    return t->bad ? span_of(NULL, 0) : buf_since(scratch, from);
}

struct span term_any(struct term *t)
{
    if (!ready(t, t->index < t->end))
        return span_of(NULL, 0);
    const uint8_t *at = (const uint8_t *)t->buf + t->index;
    size_t len = term_check(span_of(at, (size_t)(t->end - t->index)));
    must(len > 0); /* the cursor moves over checked bytes only */
    t->index += (int)len;
    return span_of(at, len);
}

struct span term_alias(struct span tag)
{
    struct term t = term_in(tag);
    if (term_tag(&t) != ERL_LIST_EXT || term_list(&t) != 1 || !term_is_atom(&t, "alias"))
        return span_of(NULL, 0);
    const int kind = term_tag(&t);
    const bool reference = kind == ERL_NEWER_REFERENCE_EXT || kind == ERL_NEW_REFERENCE_EXT;
    return reference ? term_any(&t) : span_of(NULL, 0);
}

bool term_done(const struct term *t)
{
    return !t->bad && t->index == t->end;
}
