/* Terms: valid ones, cut ones, and every one that differs from a valid one by a byte. */
#include "proto/term.h"

#include <sys/mman.h>

#include "support/check.h"
#include "support/terms.h"

#define RAW(text) span_of(text, sizeof(text) - 1)

/* --- valid terms ----------------------------------------------------------------------------- */

enum { MOST = 80 };

static struct span valid[MOST];
static unsigned count;

static void keep(struct span term)
{
    uint8_t *copy = malloc(term.len);
    must(count < MOST && copy != NULL && term.len > 0);
    memcpy(copy, term.at, term.len);
    valid[count++] = span_of(copy, term.len);
}

/* As ei encodes it. */
#define KEEP(call)                                                                                 \
    do {                                                                                           \
        ei_x_buff x;                                                                               \
        must(ei_x_new(&x) == 0 && (call) == 0);                                                    \
        keep(span_of(x.buff, (size_t)x.index));                                                    \
        ei_x_free(&x);                                                                             \
    } while (0)

static void keep_numbers(void)
{
    static const long long integers[] = {0,         1,         255,       256,      -1,
                                         INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++)
        KEEP(ei_x_encode_longlong(&x, integers[i]));
    KEEP(ei_x_encode_ulonglong(&x, UINT64_MAX));
    KEEP(ei_x_encode_double(&x, -1.5));
    KEEP(ei_x_encode_double(&x, 0.0));
    keep(RAW("\x63"
             "1.50000000000000000000e+00\0\0\0\0\0"));
    keep(RAW("\x63"
             "-1.5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    keep(RAW("\x6f\0\0\0\x0a\1abcdefghij"));
    keep(RAW("\x6e\x09\0abcdefghi"));
}

static void keep_atoms(void)
{
    char wide[255 * 4 + 1] = "";
    for (int i = 0; i < 255; i++)
        memcpy(wide + (size_t)i * 4, "\xf0\x9f\x90\x9d", 5);
    KEEP(ei_x_encode_atom(&x, "hello"));
    KEEP(ei_x_encode_atom(&x, ""));
    KEEP(ei_x_encode_atom_as(&x, "gr\xc3\xbc\xc3\x9f", ERLANG_UTF8, ERLANG_UTF8));
    KEEP(ei_x_encode_atom_as(&x, "gr\xfc\xdf", ERLANG_LATIN1, ERLANG_LATIN1));
    KEEP(ei_x_encode_atom_as(&x, wide, ERLANG_UTF8, ERLANG_UTF8));
    keep(RAW("\x64\0\5hello"));
    keep(RAW("\x73\5hello"));
}

static void keep_bytes(void)
{
    KEEP(ei_x_encode_string(&x, "a string"));
    KEEP(ei_x_encode_string(&x, ""));
    KEEP(ei_x_encode_binary(&x, "some bytes", 10));
    KEEP(ei_x_encode_binary(&x, "", 0));
    KEEP(ei_x_encode_bitstring(&x, "abc", 0, 21));
    keep(RAW("\x4d\0\0\0\1\x08"
             "a"));
}

static void keep_containers(void)
{
    keep(make_term("{}"));
    keep(make_term("[]"));
    keep(make_term("{a,[b,{c,1,\"two\"},[]],[[[]]],{{},{{}}}}"));
    keep(RAW("l\0\0\0\2a\1w\1aw\1b"));
    keep(make_term("{pwrite,17,4096,[\"ab\",[\"cd\",101],\"e\"]}"));
    keep(RAW("\x6c\0\0\0\2jjm\0\0\0\1x"));
    keep(RAW("\x74\0\0\0\2w\1aa\1w\1bt\0\0\0\0"));
    keep(RAW("\x69\0\0\0\2a\1a\2"));
    uint8_t many[5 + 300 * 2] = "i\0\0\1\x2c";
    for (size_t i = 5; i < sizeof many; i++)
        many[i] = i % 2 == 0 ? 7 : 'a';
    keep(span_of(many, sizeof many));
}

static void keep_identities(void)
{
    erlang_pid pid = {.node = "client@localhost", .num = 9, .serial = 1, .creation = 77777};
    erlang_port port = {.node = "client@localhost", .id = (uint64_t)1 << 40, .creation = 77777};
    erlang_ref ref = {.node = "client@localhost", .len = 5, .n = {1, 2, 3, 4, 5}, .creation = 7};
    KEEP(ei_x_encode_pid(&x, &pid));
    KEEP(ei_x_encode_port(&x, &port));
    KEEP(ei_x_encode_ref(&x, &ref));
    ref.len = 1;
    KEEP(ei_x_encode_ref(&x, &ref));
    keep(RAW("\x67w\1nNNNNSSSS\1"));         /* PID_EXT */
    keep(RAW("\x66w\1nNNNN\1"));             /* PORT_EXT */
    keep(RAW("\x59w\1nNNNNCCCC"));           /* NEW_PORT_EXT */
    keep(RAW("\x65w\1nNNNN\1"));             /* REFERENCE_EXT */
    keep(RAW("\x72\0\3w\1n\1NNNNNNNNNNNN")); /* NEW_REFERENCE_EXT */
}

static void keep_functions(void)
{
    keep(RAW("\x71w\5listsw\3mapa\2"));
    /* size, arity, uniq, index, 2 free variables; module, old index, old uniq, pid, variables */
    keep(RAW("\x70\0\0\0\x3e\1UUUUUUUUUUUUUUUU\0\0\0\7\0\0\0\2"
             "w\1ma\7b\0\0\1\0Xw\1nNNNNSSSSCCCCa\1h\1w\1v"));
}

static int setup(void **state)
{
    (void)state;
    count = 0;
    keep_numbers();
    keep_atoms();
    keep_bytes();
    keep_containers();
    keep_identities();
    keep_functions();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    while (count > 0)
        free((void *)(uintptr_t)valid[--count].at);
    return 0;
}

/* --- looking at all of a term ---------------------------------------------------------------- */

/* Reads what stands at the cursor by the functions for other types, on copies of it, which may go
 * bad but nowhere else. */
static void read_wrongly(struct term t)
{
    char name[TERM_ATOM_BYTES];
    struct buf scratch;
    struct term copies[] = {t, t, t, t, t, t, t, t};
    buf_init(&scratch, 1 << 20);
    term_int64(&copies[0]);
    term_uint64(&copies[1]);
    term_atom(&copies[2], name);
    term_iodata(&copies[3], &scratch);
    term_name(&copies[4], &scratch);
    term_atom_bytes(&copies[5]);
    term_is_atom(&copies[6], "hello");
    term_list_end(&copies[7]);
    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++)
        assert_true(copies[i].index <= t.end);
    buf_fini(&scratch);
}

/* Reads one part by the function for its type; how many parts are inside. */
static int read_part(struct term *t)
{
    char name[TERM_ATOM_BYTES];
    read_wrongly(*t);
    switch (term_tag(t)) {
    case ERL_SMALL_TUPLE_EXT:
    case ERL_LARGE_TUPLE_EXT: return term_tuple(t);
    case ERL_LIST_EXT: return term_list(t) + 1;
    case ERL_NIL_EXT: return term_list(t);
    case ERL_MAP_EXT: return 2 * term_map(t);
    case ERL_BINARY_EXT: term_binary(t); return 0;
    case ERL_STRING_EXT: term_string(t); return 0;
    case ERL_ATOM_EXT:
    case ERL_SMALL_ATOM_EXT:
    case ERL_ATOM_UTF8_EXT:
    case ERL_SMALL_ATOM_UTF8_EXT: term_atom(t, name); return 0;
    default: term_any(t); return 0;
    }
}

/* Reads all of a term by the cursor. Is there a fun in it? */
static bool read_all(struct span term)
{
    bool has_fun = false;
    struct term t = term_in(term);
    for (int parts = 1; parts > 0; parts--) {
        has_fun |= term_tag(&t) == ERL_NEW_FUN_EXT;
        parts += read_part(&t);
        assert_false(t.bad);
    }
    assert_true(term_done(&t));
    return has_fun;
}

/* A copy of the bytes at the end of memory: reading on behind them, also by ei, is a fault. */
static struct span at_the_edge(struct span bytes)
{
    static const size_t size = 1 << 16;
    static uint8_t *edge;
    if (edge == NULL) {
        edge = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(edge != MAP_FAILED && mprotect(edge + size, size, PROT_NONE) == 0);
    }
    must(bytes.len <= size);
    uint8_t *to = edge + size - bytes.len;
    memcpy(to, bytes.at, bytes.len);
    return span_of(to, bytes.len);
}

/* Checks the bytes. What passes is read by the cursor and by ei, to the same end. */
static size_t check(struct span bytes)
{
    const struct span exact = at_the_edge(bytes);
    const size_t len = term_check(exact);
    if (len == 0)
        return 0;
    assert_true(len <= bytes.len);
    const struct span alone = at_the_edge(span_of(bytes.at, len));
    assert_int_equal(term_check(alone), len);
    const bool has_fun = read_all(alone);
    int index = 0;
    /* the length that a fun says it has is not ours to judge */
    if (!has_fun && (ei_skip_term((const char *)alone.at, &index) != 0 || (size_t)index != len))
        fail_msg("ei ends at %d, not at %zu", index, len);
    return len;
}

static void valid_terms_pass_whole(void **state)
{
    (void)state;
    assert_true(count > 40);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(check(valid[i]), valid[i].len);
        int index = 0;
        assert_int_equal(ei_skip_term((const char *)valid[i].at, &index), 0);
        assert_int_equal(index, valid[i].len);
    }
}

static void what_follows_a_term_is_not_of_it(void **state)
{
    (void)state;
    uint8_t bytes[2048];
    for (unsigned i = 0; i < count; i++) {
        memcpy(bytes, valid[i].at, valid[i].len);
        memset(bytes + valid[i].len, 0xff, 16);
        assert_int_equal(term_check(span_of(bytes, valid[i].len + 16)), valid[i].len);
    }
}

static void cut_terms_are_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < count; i++)
        for (size_t len = 0; len < valid[i].len; len++)
            assert_int_equal(check(span_of(valid[i].at, len)), 0);
}

/* The inside of a long name is like its beginning. */
static size_t to_mutate(size_t len)
{
    return len < 120 ? len : 120;
}

static void terms_with_a_wrong_byte_are_read_to_their_end_or_refused(void **state)
{
    (void)state;
    uint8_t bytes[2048];
    unsigned passed = 0, refused = 0;
    for (unsigned i = 0; i < count; i++) {
        memcpy(bytes, valid[i].at, valid[i].len);
        for (size_t at = 0; at < to_mutate(valid[i].len); at++) {
            for (int byte = 0; byte < 256; byte++) {
                bytes[at] = (uint8_t)byte;
                if (check(span_of(bytes, valid[i].len)) > 0)
                    passed++;
                else
                    refused++;
            }
            bytes[at] = valid[i].at[at];
        }
    }
    assert_true(passed > 10000 && refused > 10000);
}

/* --- limits ---------------------------------------------------------------------------------- */

/* depth times `open`, then `inside`, then depth times `close`. */
static size_t check_nested(struct span open, struct span inside, struct span close, size_t depth)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    for (size_t i = 0; i < depth; i++)
        buf_put(&b, open.at, open.len);
    buf_put(&b, inside.at, inside.len);
    for (size_t i = 0; i < depth; i++)
        buf_put(&b, close.at, close.len);
    const size_t len = term_check(span_of(b.at, b.len));
    assert_true(len == 0 || len == b.len);
    if (len > 0 && depth <= 256) /* ei recurses */
        check(span_of(b.at, b.len));
    buf_fini(&b);
    return len;
}

static void terms_are_as_deep_as_they_like(void **state)
{
    (void)state;
    const struct {
        struct span open, inside, close;
    } rows[] = {
        {RAW("h\1"), RAW("a\1"), RAW("")},
        {RAW("h\2a\1"), RAW("h\0"), RAW("")},
        {RAW("h\2"), RAW("a\1"), RAW("a\1")},
        {RAW("i\0\0\0\1"), RAW("j"), RAW("")},
        {RAW("l\0\0\0\1"), RAW("j"), RAW("j")},
        {RAW("l\0\0\0\1a\1"), RAW("j"), RAW("")}, /* in the tail */
        {RAW("t\0\0\0\1a\1"), RAW("j"), RAW("")},
        {RAW("t\0\0\0\1"), RAW("j"), RAW("a\1")}, /* as a key */
        {RAW("p\0\0\0\x1d\1UUUUUUUUUUUUUUUU\0\0\0\7\0\0\0\1w\1ma\1a\1Xw\1nNNNNSSSSCCCC"), RAW("j"),
         RAW("")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static const size_t depths[] = {0, 1, 2, 255, 256, 257, 1000, 300000};
        for (size_t k = 0; k < sizeof depths / sizeof depths[0]; k++)
            assert_true(check_nested(rows[i].open, rows[i].inside, rows[i].close, depths[k]) > 0);
    }
}

static void counts_beyond_the_bytes_are_refused(void **state)
{
    (void)state;
    const struct span rows[] = {
        RAW("h\3a\1a\2"),
        RAW("h\xffjjjj"),
        RAW("i\xff\xff\xff\xffjjjj"),
        RAW("i\x80\0\0\0jjjj"),
        RAW("i\0\0\0\5jjjj"),
        RAW("l\xff\xff\xff\xffjjjj"), /* and a tail: 2^32 */
        RAW("l\x7f\xff\xff\xffjjjj"),
        RAW("l\0\0\0\4jjjj"),
        RAW("t\x80\0\0\0jjjj"), /* pairs: 2^32 */
        RAW("t\xff\xff\xff\xffjjjj"),
        RAW("t\0\0\0\3jjjjj"),
        RAW("k\xff\xff"
            "aaaa"),
        RAW("k\0\5aaaa"),
        RAW("m\xff\xff\xff\xff"
            "aaaa"),
        RAW("m\0\0\0\5aaaa"),
        RAW("M\xff\xff\xff\xff\1aaaa"),
        RAW("M\0\0\0\5\1aaaa"),
        RAW("n\xff\0aaaa"),
        RAW("n\5\0aaaa"),
        RAW("o\xff\xff\xff\xff\0aaaa"),
        RAW("o\xff\xff\xff\xfe\0aaaa"),
        RAW("d\xff\xff"
            "aaaa"),
        RAW("v\xff\xff"
            "aaaa"),
        RAW("w\xff"
            "aaaa"),
        RAW("s\5aaaa"),
        RAW("r\xff\xffw\1n\1NNNN"),
        RAW("Z\0\6w\1nCCCCNNNNNNNNNNNNNNNNNNNNNNNN"),
        RAW("Z\0\0w\1nCCCC"),
        RAW("p\0\0\0\x40\1UUUUUUUUUUUUUUUU\0\0\0\7\xff\xff\xff\xffw\1ma\1a\1Xw\1nNNNNSSSSCCCC"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (check(rows[i]) != 0)
            fail_msg("row %zu passed", i);
}

/* All tags but those of terms that travel, whatever follows. */
static void other_kinds_are_refused(void **state)
{
    (void)state;
    static const char kinds[] = "abcFdsvwjlhitkmMnogXfYxegrZpqY";
    uint8_t bytes[128];
    for (int fill = 0; fill < 256; fill++) {
        memset(bytes, fill, sizeof bytes);
        for (int tag = 0; tag < 256; tag++) {
            bytes[0] = (uint8_t)tag;
            if (tag == 0 || strchr(kinds, tag) == NULL)
                assert_int_equal(check(span_of(bytes, sizeof bytes)), 0);
        }
    }
    assert_int_equal(check(RAW("\x83w\1a")), 0);                                /* a version byte */
    assert_int_equal(check(RAW("P\0\0\0\3\x78\x9c\x2b\x4f\x4c\1\0\2M\1A")), 0); /* compressed */
    assert_int_equal(check(RAW("R\0")), 0);                                     /* atom cache */
    assert_int_equal(check(RAW("u\0\0\0\0gw\1nNNNNSSSS\1w\1ma\1a\1")), 0);      /* FUN_EXT */
}

static void wrong_parts_are_refused(void **state)
{
    (void)state;
    const struct span rows[] = {
        RAW("Xa\1NNNNSSSSCCCC"), /* a node that is no atom */
        RAW("Zk\0\1nCCCCNNNN"),
        RAW("qw\1mw\1fw\1a"), /* an arity that is no integer */
        RAW("qw\1ma\1a\1"),
        RAW("M\0\0\0\0\1"), /* bits of no byte */
        RAW("M\0\0\0\1\0a"),
        RAW("M\0\0\0\1\x09"
            "a"),
        RAW("F\x7f\xf0\0\0\0\0\0\0"), /* infinite */
        RAW("F\xff\xf0\0\0\0\0\0\0"),
        RAW("F\x7f\xf8\0\0\0\0\0\0"), /* no number */
        RAW("c1.5 \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        RAW("c15\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        RAW("c.5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        RAW("c1.\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        RAW("c1.5e\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        RAW("c1.5e+\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        RAW("c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        RAW("c1.500000000000000000000000000000"), /* without an end */
        RAW("p\0\0\0\x1d\1UUUUUUUUUUUUUUUU\0\0\0\7\0\0\0\0a\1a\1a\1Xw\1nNNNNSSSSCCCC"),
        RAW("p\0\0\0\x1d\1UUUUUUUUUUUUUUUU\0\0\0\7\0\0\0\0w\1mj\1a\1Xw\1nNNNNSSSSCCCC"),
        RAW("p\0\0\0\x1d\1UUUUUUUUUUUUUUUU\0\0\0\7\0\0\0\0w\1ma\1a\1jw\1nNNNNSSSSCCCC"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (check(rows[i]) != 0)
            fail_msg("row %zu passed", i);
}

/* --- atoms ----------------------------------------------------------------------------------- */

/* An ATOM_UTF8_EXT or ATOM_EXT of n times these bytes. */
static size_t check_atom(uint8_t tag, const char *character, size_t n, char *name)
{
    struct buf b;
    uint8_t head[3] = {tag};
    put_be16(head + 1, (uint16_t)(strlen(character) * n));
    buf_init(&b, 2000);
    buf_put(&b, head, sizeof head);
    for (size_t i = 0; i < n; i++)
        buf_put(&b, character, strlen(character));
    const size_t len = check(span_of(b.at, b.len));
    struct term t = term_in(span_of(b.at, len));
    if (len > 0)
        term_atom(&t, name);
    buf_fini(&b);
    return len;
}

static void atoms_have_255_characters_at_most(void **state)
{
    (void)state;
    static const char *const characters[] = {"a", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x90\x9d"};
    for (size_t i = 0; i < 4; i++) {
        char name[TERM_ATOM_BYTES];
        for (size_t n = 0; n <= 255; n++) {
            assert_int_equal(check_atom(ERL_ATOM_UTF8_EXT, characters[i], n, name),
                             3 + n * (i + 1));
            assert_int_equal(strlen(name), n * (i + 1));
        }
        assert_int_equal(check_atom(ERL_ATOM_UTF8_EXT, characters[i], 256, name), 0);
        assert_int_equal(check_atom(ERL_ATOM_UTF8_EXT, characters[i], 300, name), 0);
    }
    char name[TERM_ATOM_BYTES];
    assert_int_equal(check_atom(ERL_ATOM_EXT, "\xfc", 255, name), 258);
    assert_int_equal(strlen(name), 510); /* Latin-1 becomes UTF-8 */
    assert_int_equal(check_atom(ERL_ATOM_EXT, "\xfc", 256, name), 0);
    assert_int_equal(check_atom(ERL_ATOM_EXT, "a", 256, name), 0);
}

static void atoms_are_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool good;
    } rows[] = {
        {"\x7f", true},
        {"\xc2\x80", true},
        {"\xdf\xbf", true},
        {"\xe0\xa0\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\xef\xbf\xbf", true},
        {"\xf0\x90\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\x80", false}, /* nothing begins so */
        {"\xbf", false},
        {"\xfe", false},
        {"\xff", false},
        {"\xf8\x88\x80\x80", false},
        {"\xc3", false}, /* cut */
        {"\xe2\x82", false},
        {"\xf0\x9f\x90", false},
        {"\xc3(", false}, /* goes on wrongly */
        {"\xe2\x82(", false},
        {"\xe2(\xac", false},
        {"\xf0\x9f\x90(", false},
        {"\xc3\xc3", false},
        {"\xc0\x80", false}, /* longer than need be */
        {"\xc1\xbf", false},
        {"\xe0\x9f\xbf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xed\xa0\x80", false}, /* surrogates */
        {"\xed\xbf\xbf", false},
        {"\xf4\x90\x80\x80", false}, /* beyond Unicode */
        {"\xf7\xbf\xbf\xbf", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[TERM_ATOM_BYTES], text[32];
        snprintf(text, sizeof text, "%sx", rows[i].bytes);
        if ((check_atom(ERL_ATOM_UTF8_EXT, rows[i].bytes, 1, name) > 0) != rows[i].good)
            fail_msg("row %zu", i);
        assert_int_equal(check_atom(ERL_ATOM_UTF8_EXT, text, 1, name) > 0, rows[i].good);
        assert_true(check_atom(ERL_ATOM_EXT, rows[i].bytes, 1, name) > 0); /* Latin-1 */
    }
}

static void atoms_are_compared_without_being_read(void **state)
{
    (void)state;
    struct term t = term_in(RAW("w\2okd\0\2okw\3oksw\1oa\1"));
    assert_true(term_is_atom(&t, "ok"));
    assert_false(term_is_atom(&t, "o"));
    assert_false(term_is_atom(&t, "oks"));
    assert_int_equal(t.index, 4);
    assert_true(term_is_atom(&t, "ok"));
    assert_false(term_is_atom(&t, "ok"));
    assert_true(span_equal(term_atom_bytes(&t), span_text("oks")));
    assert_true(term_is_atom(&t, "o"));
    assert_false(term_is_atom(&t, ""));
    assert_false(t.bad);
    assert_int_equal(term_uint64(&t), 1);
    assert_false(term_is_atom(&t, "ok")); /* at the end */
    assert_true(term_done(&t));
}

/* --- integers -------------------------------------------------------------------------------- */

static void integers_of_64_bits_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool fits, fits_unsigned;
        int64_t v;
    } rows[] = {
        {"a\0", 2, true, true, 0},
        {"a\377", 2, true, true, 255},
        {"b\0\0\1\0", 5, true, true, 256},
        {"b\377\377\377\377", 5, true, false, -1},
        {"b\200\0\0\0", 5, true, false, INT32_MIN},
        {"n\4\0\0\0\0\200", 7, true, true, (int64_t)1 << 31},
        {"n\10\0\377\377\377\377\377\377\377\177", 11, true, true, INT64_MAX},
        {"n\10\1\0\0\0\0\0\0\0\200", 11, true, false, INT64_MIN},
        {"n\10\0\0\0\0\0\0\0\0\200", 11, false, true, INT64_MIN}, /* 2^63 */
        {"n\10\1\1\0\0\0\0\0\0\200", 11, false, false, 0},
        {"n\10\0\377\377\377\377\377\377\377\377", 11, false, true, -1},
        {"n\11\0\0\0\0\0\0\0\0\0\1", 12, false, false, 0}, /* 2^64 */
        {"n\1\0\5", 4, true, true, 5},
        {"n\1\1\5", 4, true, false, -5},
        {"o\0\0\0\1\0\5", 7, true, true, 5},
        {"j", 1, false, false, 0},
        {"m\0\0\0\0", 5, false, false, 0},
        {"F\0\0\0\0\0\0\0\0", 9, false, false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct span bytes = span_of(rows[i].bytes, rows[i].len);
        assert_int_equal(check(bytes), rows[i].len);
        struct term s = term_in(bytes), u = term_in(bytes);
        assert_true(term_int64(&s) == (rows[i].fits ? rows[i].v : 0));
        assert_true(term_uint64(&u) == (rows[i].fits_unsigned ? (uint64_t)rows[i].v : 0));
        if (s.bad == rows[i].fits || u.bad == rows[i].fits_unsigned)
            fail_msg("row %zu", i);
    }
}

/* --- the cursor ------------------------------------------------------------------------------ */

static void parts_are_read_in_order(void **state)
{
    (void)state;
    char name[TERM_ATOM_BYTES];
    struct span bytes = RAW("h\4l\0\0\0\2a\1k\0\2hijt\0\0\0\1w\1km\0\0\0\2byw\3endj");
    assert_int_equal(check(bytes), bytes.len);
    struct term t = term_in(bytes);
    assert_int_equal(term_tuple(&t), 4);
    assert_int_equal(term_list(&t), 2);
    assert_int_equal(term_int64(&t), 1);
    assert_true(span_equal(term_string(&t), span_text("hi")));
    term_list_end(&t);
    assert_int_equal(term_map(&t), 1);
    assert_true(span_equal(term_any(&t), RAW("w\1k")));
    assert_true(span_equal(term_binary(&t), span_text("by")));
    term_atom(&t, name);
    assert_string_equal(name, "end");
    assert_false(term_done(&t));
    assert_int_equal(term_list(&t), 0);
    assert_true(term_done(&t));
    assert_int_equal(term_tag(&t), 0);
    term_any(&t);
    assert_true(t.bad);
}

static void an_improper_list_does_not_end(void **state)
{
    (void)state;
    struct term t = term_in(RAW("l\0\0\0\1a\1a\2"));
    assert_int_equal(term_list(&t), 1);
    assert_int_equal(term_int64(&t), 1);
    term_list_end(&t);
    assert_true(t.bad);
}

static void what_is_bad_stays_so_and_where_it_was(void **state)
{
    (void)state;
    static const char *const all[] = {"h\1a\1", "l\0\0\0\1a\1j", "t\0\0\0\0", "w\1a",
                                      "a\1",    "m\0\0\0\1a",    "k\0\1a",    "j"};
    static const size_t lens[] = {4, 8, 5, 3, 2, 6, 4, 1};
    for (size_t i = 0; i < 8; i++) {
        char name[TERM_ATOM_BYTES] = "before";
        struct buf scratch;
        struct term t = term_in(span_of(all[i], lens[i]));
        buf_init(&scratch, 100);
        t.bad = true;
        assert_int_equal(term_tuple(&t), 0);
        assert_int_equal(term_list(&t), 0);
        assert_int_equal(term_map(&t), 0);
        assert_int_equal(term_int64(&t), 0);
        assert_int_equal(term_uint64(&t), 0);
        term_list_end(&t);
        term_atom(&t, name);
        assert_string_equal(name, "");
        assert_int_equal(term_binary(&t).len, 0);
        assert_int_equal(term_string(&t).len, 0);
        assert_int_equal(term_any(&t).len, 0);
        assert_int_equal(term_atom_bytes(&t).len, 0);
        assert_int_equal(term_iodata(&t, &scratch).len, 0);
        assert_int_equal(term_name(&t, &scratch).len, 0);
        assert_false(term_is_atom(&t, "a"));
        assert_int_equal(t.index, 0);
        assert_true(t.bad);
        assert_false(term_done(&t));
        buf_fini(&scratch);
    }
}

/* --- iodata and names ------------------------------------------------------------------------ */

struct flat {
    struct span term;
    const char *text; /* NULL: it is none */
};

static void flattened(const struct flat *row, struct span (*flatten)(struct term *, struct buf *))
{
    struct buf scratch;
    buf_init(&scratch, 1000);
    assert_int_equal(check(row->term), row->term.len);
    assert_true(buf_put(&scratch, "before", 6));
    struct term t = term_in(row->term);
    struct span bytes = flatten(&t, &scratch);
    assert_int_equal(t.bad, row->text == NULL);
    if (row->text != NULL) {
        assert_true(term_done(&t));
        assert_int_equal(bytes.len, strlen(row->text));
        assert_memory_equal(bytes.at, row->text, bytes.len);
    }
    assert_memory_equal(scratch.at, "before", 6);
    buf_fini(&scratch);
}

static void iodata_is_flattened(void **state)
{
    (void)state;
    const struct flat rows[] = {
        {RAW("m\0\0\0\2ab"), "ab"},
        {RAW("m\0\0\0\0"), ""},
        {RAW("k\0\2ab"), "ab"},
        {RAW("j"), ""},
        {RAW("l\0\0\0\1m\0\0\0\0j"), ""},
        {RAW("l\0\0\0\2m\0\0\0\0a\x61j"), "a"},
        {RAW("l\0\0\0\4m\0\0\0\2abk\0\2cda\x65jj"), "abcde"},
        {RAW("l\0\0\0\2l\0\0\0\1l\0\0\0\1a\x61jja\x62j"), "ab"},
        {RAW("l\0\0\0\1a\x61m\0\0\0\2bc"), "abc"}, /* [$a|<<"bc">>] */
        {RAW("l\0\0\0\1a\x61k\0\2bc"), "abc"},     /* [$a|"bc"] */
        {RAW("l\0\0\0\1a\x61l\0\0\0\1a\x62m\0\0\0\1c"), "abc"},
        {RAW("l\0\0\0\1jj"), ""},
        {RAW("l\0\0\0\1a\x61"
             "a\x62"),
         NULL}, /* [$a|$b] */
        {RAW("l\0\0\0\2m\0\0\0\1al\0\0\0\1a\x61"
             "a\x62j"),
         NULL},
        {RAW("l\0\0\0\1b\0\0\1\0j"), NULL},
        {RAW("l\0\0\0\1b\xff\xff\xff\xffj"), NULL},
        {RAW("l\0\0\0\1w\1aj"), NULL},
        {RAW("l\0\0\0\2a\x61h\0j"), NULL},
        {RAW("l\0\0\0\1M\0\0\0\1\1aj"), NULL},
        {RAW("l\0\0\0\1a\1w\1a"), NULL},
        {RAW("a\x61"), NULL},
        {RAW("w\1a"), NULL},
        {RAW("h\0"), NULL},
        {RAW("M\0\0\0\1\1a"), NULL},
        {RAW("F\0\0\0\0\0\0\0\0"), NULL},
        {RAW("t\0\0\0\0"), NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        flattened(&rows[i], term_iodata);
}

static void iodata_is_256_deep_at_most(void **state)
{
    (void)state;
    for (int depth = TERM_IODATA_DEPTH - 1; depth < TERM_IODATA_DEPTH + 3; depth++) {
        struct buf b, scratch;
        buf_init(&b, 10000);
        buf_init(&scratch, 10000);
        for (int i = 0; i < depth; i++)
            buf_put(&b, "l\0\0\0\2a\x61", 7);
        buf_put(&b, "m\0\0\0\1z", 6);
        for (int i = 0; i < depth; i++)
            buf_put(&b, "j", 1);
        assert_int_equal(term_check(span_of(b.at, b.len)), b.len);
        struct term t = term_in(span_of(b.at, b.len));
        struct span bytes = term_iodata(&t, &scratch);
        assert_int_equal(term_done(&t), depth <= TERM_IODATA_DEPTH);
        if (depth <= TERM_IODATA_DEPTH) {
            assert_int_equal(bytes.len, depth + 1);
            assert_int_equal(bytes.at[0], 'a');
            assert_int_equal(bytes.at[depth], 'z');
        }
        buf_fini(&scratch);
        buf_fini(&b);
    }
}

static void too_much_iodata_is_bad(void **state)
{
    (void)state;
    struct buf scratch;
    struct term t = term_in(RAW("l\0\0\0\2m\0\0\0\3abcm\0\0\0\3defj"));
    buf_init(&scratch, 5);
    assert_int_equal(term_iodata(&t, &scratch).len, 0);
    assert_true(t.bad);
    buf_fini(&scratch);
}

static void names_are_utf8(void **state)
{
    (void)state;
    const struct flat rows[] = {
        {RAW("m\0\0\0\3gr\xfc"), "gr\xfc"}, /* a binary as it is */
        {RAW("m\0\0\0\0"), ""},
        {RAW("k\0\3gr\xfc"), "gr\xc3\xbc"}, /* Latin-1 */
        {RAW("k\0\2\x7f\x80"), "\x7f\xc2\x80"},
        {RAW("j"), ""},
        {RAW("l\0\0\0\1a\x61j"), "a"},
        {RAW("l\0\0\0\3b\0\0\7\377b\0\0\10\0b\0\0\377\377j"), "\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
        {RAW("l\0\0\0\2b\0\1\0\0b\0\20\377\377j"), "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
        {RAW("l\0\0\0\2b\0\0\327\377b\0\0\340\0j"), "\xed\x9f\xbf\xee\x80\x80"},
        {RAW("l\0\0\0\1b\0\0\330\0j"), NULL}, /* surrogates */
        {RAW("l\0\0\0\1b\0\0\337\377j"), NULL},
        {RAW("l\0\0\0\1b\0\21\0\0j"), NULL},
        {RAW("l\0\0\0\1b\377\377\377\377j"), NULL},
        {RAW("l\0\0\0\1n\10\0\0\0\0\0\1\0\0\0j"), NULL},
        {RAW("l\0\0\0\1a\x61"
             "a\x62"),
         NULL},
        {RAW("l\0\0\0\1a\x61m\0\0\0\1b"), NULL},
        {RAW("l\0\0\0\1jj"), NULL},
        {RAW("w\1a"), NULL},
        {RAW("a\x61"), NULL},
        {RAW("h\0"), NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        flattened(&rows[i], term_name);
}

static void a_name_that_does_not_fit_is_bad(void **state)
{
    (void)state;
    struct buf scratch;
    struct term t = term_in(RAW("k\0\3gr\xfc"));
    buf_init(&scratch, 3);
    assert_int_equal(term_name(&t, &scratch).len, 0);
    assert_true(t.bad);
    buf_fini(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(valid_terms_pass_whole),
        TEST(what_follows_a_term_is_not_of_it),
        TEST(cut_terms_are_refused),
        TEST(terms_with_a_wrong_byte_are_read_to_their_end_or_refused),
        cmocka_unit_test(terms_are_as_deep_as_they_like),
        cmocka_unit_test(counts_beyond_the_bytes_are_refused),
        cmocka_unit_test(other_kinds_are_refused),
        cmocka_unit_test(wrong_parts_are_refused),
        cmocka_unit_test(atoms_have_255_characters_at_most),
        cmocka_unit_test(atoms_are_utf8),
        cmocka_unit_test(atoms_are_compared_without_being_read),
        cmocka_unit_test(integers_of_64_bits_are_read),
        cmocka_unit_test(parts_are_read_in_order),
        cmocka_unit_test(an_improper_list_does_not_end),
        cmocka_unit_test(what_is_bad_stays_so_and_where_it_was),
        cmocka_unit_test(iodata_is_flattened),
        cmocka_unit_test(iodata_is_256_deep_at_most),
        cmocka_unit_test(too_much_iodata_is_bad),
        cmocka_unit_test(names_are_utf8),
        cmocka_unit_test(a_name_that_does_not_fit_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
