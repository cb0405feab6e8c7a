#include "fuzz/mutation.h"

#include <ei.h>

#include "fuzz/corpus.h"
#include "fuzz/part.h"
#include "proto/reply.h"
#include "proto/term.h"

/* Nothing grows by mutations beyond `LARGE`; most stay below `USUAL`. */
enum { USUAL = 4096, LARGE = 128 * 1024, ATOM_MOST = 255 };

static size_t most(struct dice *d)
{
    return dice_one_in(d, 500) ? LARGE : USUAL;
}

static struct span whole(const struct buf *b)
{
    return span_of(b->at, b->len);
}

static struct span bytes_of(const struct buf *b, struct part p)
{
    return span_of(b->at + p.at, p.len);
}

void mutation_put(struct buf *b, size_t at, size_t n, struct span bytes)
{
    const size_t after = b->len - at - n;
    if (bytes.len > n)
        must(buf_grow(b, bytes.len - n) != NULL);
    if (after > 0)
        memmove(b->at + at + bytes.len, b->at + at + n, after);
    if (bytes.len > 0)
        memcpy(b->at + at, bytes.at, bytes.len);
    b->len = at + bytes.len + after;
}

static void put_part(struct buf *b, struct part p, const struct buf *bytes)
{
    mutation_put(b, p.at, p.len, whole(bytes));
}

/* --- what may come in place of a term --------------------------------------------------------- */

static void put_integer(struct dice *d, struct buf *out)
{
    static const int64_t known[] = {0,
                                    1,
                                    2,
                                    -1,
                                    7,
                                    8,
                                    127,
                                    128,
                                    255,
                                    256,
                                    4095,
                                    4096,
                                    65535,
                                    65536,
                                    INT32_MAX,
                                    INT32_MIN,
                                    UINT32_MAX,
                                    1LL << 32,
                                    1LL << 40,
                                    1LL << 48,
                                    INT64_MAX,
                                    INT64_MIN,
                                    INT64_MAX - 7,
                                    INT64_MAX / 8};
    switch (dice_below(d, 4)) {
    case 0: reply_uint64(out, dice_word(d)); break;
    case 1: reply_int64(out, (int64_t)dice_below(d, 64)); break;
    case 2: reply_uint64(out, UINT64_MAX - dice_below(d, 3)); break;
    default: reply_int64(out, known[dice_below(d, sizeof known / sizeof known[0])]); break;
    }
}

static void put_string(struct dice *d, struct buf *out)
{
    const size_t n = dice_one_in(d, 50) ? 65535 : dice_below(d, 40);
    const uint8_t head[] = {ERL_STRING_EXT, (uint8_t)(n >> 8), (uint8_t)n};
    const uint8_t first = (uint8_t)dice_word(d);
    buf_put(out, head, sizeof head);
    for (size_t i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)(first + i);
        buf_put(out, &byte, 1);
    }
}

/* So many characters, each of one to four bytes. */
static void put_atom(struct dice *d, size_t n, struct buf *out)
{
    static const char *const characters[] = {"x", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    const char *one = characters[dice_below(d, 4)];
    const size_t len = n * strlen(one);
    const uint8_t head[] = {ERL_ATOM_UTF8_EXT, (uint8_t)(len >> 8), (uint8_t)len};
    buf_put(out, head, sizeof head);
    for (size_t i = 0; i < n; i++)
        buf_put(out, one, strlen(one));
}

/* The characters of a name one by one, in place of a string. */
static void put_characters(struct dice *d, struct buf *out)
{
    const uint32_t n = (uint32_t)dice_below(d, 30);
    reply_list(out, n);
    for (uint32_t i = 0; i < n; i++)
        reply_uint64(out, dice_one_in(d, 5) ? dice_below(d, 0x120000) : 'a' + dice_below(d, 26));
    reply_nil(out);
}

static void put_substitute(struct dice *d, struct buf *out)
{
    switch (dice_below(d, 10)) {
    case 0:
    case 1: put_integer(d, out); break;
    case 2: put_string(d, out); break;
    case 3: put_atom(d, ATOM_MOST, out); break;
    case 4: put_characters(d, out); break;
    default: reply_raw(out, corpus_part(d)); break;
    }
}

/* --- gentle ----------------------------------------------------------------------------------- */

static bool is_integer(uint8_t tag)
{
    return tag == ERL_SMALL_INTEGER_EXT || tag == ERL_INTEGER_EXT || tag == ERL_SMALL_BIG_EXT;
}

static bool holds_terms(uint8_t tag)
{
    return tag == ERL_SMALL_TUPLE_EXT || tag == ERL_LIST_EXT || tag == ERL_MAP_EXT ||
           tag == ERL_LARGE_TUPLE_EXT;
}

static void replace(struct dice *d, struct buf *term, struct buf *work)
{
    put_substitute(d, work);
    put_part(term, part_pick(d, whole(term), NULL), work);
}

static void replace_integer(struct dice *d, struct buf *term, struct buf *work)
{
    const struct part p = part_pick(d, whole(term), is_integer);
    if (!is_integer(term->at[p.at]))
        return;
    put_integer(d, work);
    put_part(term, p, work);
}

/* One term of it in place of another; where one holds the other, the outer is gone. */
static void move(struct dice *d, struct buf *term, struct buf *work)
{
    const struct part from = part_pick(d, whole(term), NULL);
    const struct part to = part_pick(d, whole(term), NULL);
    reply_raw(work, bytes_of(term, from));
    put_part(term, to, work);
}

static void swap(struct dice *d, struct buf *term, struct buf *work)
{
    struct part a = part_pick(d, whole(term), NULL);
    struct part b = part_pick(d, whole(term), NULL);
    if (a.at > b.at) {
        const struct part first = b;
        b = a;
        a = first;
    }
    if (a.at + a.len > b.at)
        return;
    reply_raw(work, bytes_of(term, a));
    const size_t middle = work->len;
    reply_raw(work, bytes_of(term, b));
    mutation_put(term, b.at, b.len, span_of(work->at, middle));
    mutation_put(term, a.at, a.len, span_of(work->at + middle, work->len - middle));
}

static void put_opening(uint64_t kind, struct buf *out)
{
    switch (kind) {
    case 0: reply_list(out, 1); break;
    case 1: reply_tuple(out, 1); break;
    default:
        reply_map(out, 1);
        reply_nil(out);
        break;
    }
}

/* Deep inside of lists, tuples, maps. */
static void nest(struct dice *d, struct buf *term, struct buf *work)
{
    const struct part p = part_pick(d, whole(term), NULL);
    const uint64_t kind = dice_below(d, 3);
    const uint64_t depth = 1 + dice_below(d, dice_one_in(d, 20) ? most(d) / 6 : 4);
    for (uint64_t i = 0; i < depth; i++)
        put_opening(kind, work);
    reply_raw(work, bytes_of(term, p));
    for (uint64_t i = 0; kind == 0 && i < depth; i++)
        reply_nil(work);
    put_part(term, p, work);
}

/* How many elements; a map's are two terms each. */
static uint32_t count_at(const uint8_t *head)
{
    return head[0] == ERL_SMALL_TUPLE_EXT ? head[1] : get_be32(head + 1);
}

static void set_count(uint8_t *head, uint32_t n)
{
    if (head[0] == ERL_SMALL_TUPLE_EXT)
        head[1] = (uint8_t)n;
    else
        put_be32(head + 1, n);
}

static size_t elements_len(struct span at, uint32_t n)
{
    size_t len = 0;
    for (uint32_t i = 0; i < n; i++)
        len += term_check(span_of(at.at + len, at.len - len));
    return len;
}

static uint32_t terms_each(uint8_t tag)
{
    return tag == ERL_MAP_EXT ? 2 : 1;
}

/* The same element again and again in front of the others. */
static void repeat(struct dice *d, struct buf *term, struct buf *work)
{
    const struct part p = part_pick(d, whole(term), holds_terms);
    uint8_t *head = term->at + p.at;
    if (!holds_terms(*head))
        return;
    const uint32_t n = count_at(head);
    const bool is_small = *head == ERL_SMALL_TUPLE_EXT;
    const struct dice again = *d;
    for (uint32_t i = 0; i < terms_each(*head); i++)
        put_substitute(d, work);
    uint64_t times = 1 + dice_below(d, dice_one_in(d, 20) ? most(d) / work->len + 1 : 3);
    if (is_small && n + times > UINT8_MAX)
        times = UINT8_MAX - n;
    buf_cut(work, 0);
    for (uint64_t i = 0; i < times; i++) {
        *d = again;
        for (uint32_t k = 0; k < terms_each(*head); k++)
            put_substitute(d, work);
    }
    set_count(head, n + (uint32_t)times);
    mutation_put(term, p.at + part_head(bytes_of(term, p)), 0, whole(work));
}

static void leave_out(struct dice *d, struct buf *term, struct buf *work)
{
    const struct part p = part_pick(d, whole(term), holds_terms);
    uint8_t *head = term->at + p.at;
    (void)work;
    if (!holds_terms(*head) || count_at(head) == 0)
        return;
    const size_t inner = p.at + part_head(bytes_of(term, p));
    const size_t len =
        elements_len(span_of(term->at + inner, term->len - inner), terms_each(*head));
    set_count(head, count_at(head) - 1);
    mutation_put(term, inner, len, span_of(NULL, 0));
}

void mutation_gentle(struct dice *d, struct buf *term)
{
    static void (*const ways[])(struct dice *, struct buf *, struct buf *) = {
        replace, replace, replace_integer, replace_integer, move, swap, nest, repeat, leave_out,
    };
    struct buf work;
    if (term->len > LARGE)
        return;
    buf_init(&work, 4 * LARGE + (1 << 20));
    ways[dice_below(d, sizeof ways / sizeof ways[0])](d, term, &work);
    must(!work.failed);
    buf_fini(&work);
}

/* --- rough ------------------------------------------------------------------------------------ */

static void flip(struct dice *d, struct buf *b)
{
    b->at[dice_below(d, b->len)] ^= (uint8_t)(1 << dice_below(d, 8));
}

static void set_byte(struct dice *d, struct buf *b)
{
    static const uint8_t known[] = {0,   1,   2,   4,   5,   106, 107, 108, 104, 105, 109, 110, 111,
                                    119, 118, 116, 112, 113, 131, 127, 128, 254, 255, 88,  90,  80};
    const uint8_t byte = known[dice_below(d, sizeof known)];
    b->at[dice_below(d, b->len)] = dice_one_in(d, 3) ? (uint8_t)dice_word(d) : byte;
}

static uint32_t odd_count(struct dice *d, uint32_t now)
{
    static const uint32_t known[] = {0,         255,        256,      65535,          65536,
                                     INT32_MAX, UINT32_MAX, 1u << 31, UINT32_MAX - 4, 1u << 30,
                                     1u << 24,  100000};
    return dice_one_in(d, 2) ? now + (uint32_t)dice_below(d, 5) - 2
                             : known[dice_below(d, sizeof known / sizeof known[0])];
}

static void set_number(struct dice *d, uint8_t *at, size_t n)
{
    uint32_t now = n == 1 ? at[0] : n == 2 ? get_be16(at) : get_be32(at);
    now = odd_count(d, now);
    if (n == 1)
        at[0] = (uint8_t)now;
    else if (n == 2)
        put_be16(at, (uint16_t)now);
    else
        put_be32(at, now);
}

/* A length or a count, where the bytes are still a term; else any two or four bytes. */
static void set_length(struct dice *d, struct buf *b)
{
    static const size_t widths[] = {1, 2, 4};
    const bool is_term = term_check(whole(b)) == b->len;
    const struct part p = is_term ? part_pick(d, whole(b), NULL) : (struct part){0};
    const struct part count = is_term ? part_count(bytes_of(b, p)) : (struct part){0};
    size_t n = count.len;
    size_t at = p.at + count.at;
    if (n == 0) {
        n = widths[dice_below(d, 3)];
        if (b->len < n)
            return;
        at = dice_below(d, b->len - n + 1);
    }
    set_number(d, b->at + at, n);
}

static void cut_short(struct dice *d, struct buf *b)
{
    b->len = 1 + dice_below(d, b->len);
}

static struct part any_piece(struct dice *d, size_t len)
{
    const size_t at = dice_below(d, len);
    const size_t n = 1 + dice_below(d, dice_one_in(d, 3) ? len - at : (len - at) / 8 + 1);
    return (struct part){.at = at, .len = n};
}

static void cut_out(struct dice *d, struct buf *b)
{
    const struct part p = any_piece(d, b->len);
    if (p.len < b->len)
        mutation_put(b, p.at, p.len, span_of(NULL, 0));
}

static void put_in(struct dice *d, struct buf *b)
{
    uint8_t bytes[16];
    const size_t n = 1 + dice_below(d, sizeof bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)dice_word(d);
    mutation_put(b, dice_below(d, b->len + 1), 0, span_of(bytes, n));
}

static void splice(struct dice *d, struct buf *b)
{
    const struct span other = corpus_term(d);
    const struct part from = any_piece(d, other.len);
    const struct part to = any_piece(d, b->len);
    const size_t over = dice_one_in(d, 2) ? to.len : 0;
    mutation_put(b, to.at, over, span_of(other.at + from.at, from.len));
}

/* The same piece many times. */
static void stutter(struct dice *d, struct buf *b)
{
    struct buf work;
    const struct part p = any_piece(d, b->len);
    const uint64_t fit = most(d) / p.len + 1;
    const uint64_t times = 1 + dice_below(d, fit < 4 || dice_one_in(d, 20) ? fit : 4);
    buf_init(&work, LARGE + p.len * 2);
    for (uint64_t i = 0; i < times; i++)
        buf_put(&work, b->at + p.at, p.len);
    mutation_put(b, p.at, 0, whole(&work));
    buf_fini(&work);
}

/* An atom that is no UTF-8, or longer than it may be or than there are bytes. */
static void put_bad(struct dice *d, struct buf *out)
{
    static const char *const bad[] = {
        "w\2\xc0\x80",       "w\3\xed\xa0\x80", "w\4\xf4\x90\x80\x80",
        "w\1\xc3",           "w\2\xc3(",        "s\1\xff",
        "v\0\2\xff\xfe",     "d\1\1aaaaaaaaaa", "w\4\xf8\x88\x80\x80",
        "v\xff\xffzzzzzzzz",
    };
    const size_t n = dice_below(d, 1 + sizeof bad / sizeof bad[0]);
    if (n == sizeof bad / sizeof bad[0])
        put_atom(d, ATOM_MOST + 1 + dice_below(d, 3), out);
    else
        buf_put(out, bad[n], strlen(bad[n] + 2) + 2);
}

static void put_bad_atom(struct dice *d, struct buf *b)
{
    struct buf atom;
    const bool is_term = term_check(whole(b)) == b->len;
    const struct part p = is_term ? part_pick(d, whole(b), NULL) : any_piece(d, b->len);
    buf_init(&atom, LARGE);
    put_bad(d, &atom);
    put_part(b, p, &atom);
    buf_fini(&atom);
}

void mutation_rough(struct dice *d, struct buf *bytes)
{
    static void (*const ways[])(struct dice *, struct buf *) = {
        flip,    set_byte, set_length, set_length, cut_short,
        cut_out, put_in,   splice,     stutter,    put_bad_atom,
    };
    if (bytes->len > 0 && bytes->len < LARGE)
        ways[dice_below(d, sizeof ways / sizeof ways[0])](d, bytes);
}
