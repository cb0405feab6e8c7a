/* Terms: what term_check passes every reader must read, to its end and never beyond; what the
 * readers make of it must be terms again. */
#include <ei.h>

#include "dist/self.h"
#include "fuzz/corpus.h"
#include "fuzz/mutation.h"
#include "fuzz/part.h"
#include "fuzz/target.h"
#include "fuzz/text.h"
#include "proto/print.h"
#include "proto/reply.h"
#include "proto/term.h"

enum { OUT_MOST = 8 << 20, SKIP_DEPTH = 1000 };

static struct self self;
static uint64_t passed, refused, iodata, names;

static void begin(void)
{
    text_self(&self);
}

static void end(void)
{
}

/* --- making ----------------------------------------------------------------------------------- */

static void change(struct dice *d, struct buf *input)
{
    const bool sound = target_is_term(span_of(input->at, input->len));
    if (sound && !dice_one_in(d, 4))
        mutation_gentle(d, input);
    else
        mutation_rough(d, input);
}

static void make(struct dice *d, struct buf *input)
{
    const struct span term = corpus_term(d);
    const uint64_t times = dice_below(d, 5);
    buf_put(input, term.at, term.len);
    for (uint64_t i = 0; i < times && input->len > 0; i++)
        change(d, input);
}

/* --- the bytes as a whole --------------------------------------------------------------------- */

/* ei recurses, and believes a fun's size, which we do not read: it is asked about the rest. */
static bool ei_reads(struct span term)
{
    uint32_t openings = 0;
    size_t at = 0;
    while (at < term.len && openings < SKIP_DEPTH && term.at[at] != ERL_NEW_FUN_EXT) {
        const struct span rest = span_of(term.at + at, term.len - at);
        openings += part_head(rest) < 6 && rest.at[0] != ERL_NIL_EXT;
        at += part_head(rest);
    }
    return at == term.len;
}

static void ei_agrees(struct span term)
{
    int index = 0;
    if (!ei_reads(term))
        return;
    must(ei_skip_term((const char *)term.at, &index) == 0);
    must((size_t)index == term.len);
}

static void no_part_is_whole(struct span term, struct dice *d)
{
    const size_t lens[] = {term.len - 1, dice_below(d, term.len)};
    for (size_t i = 0; i < 2; i++) {
        uint8_t *copy = target_copy(span_of(term.at, lens[i]));
        must(term_check(span_of(copy, lens[i])) == 0);
        free(copy);
    }
}

/* --- the cursor ------------------------------------------------------------------------------- */

/* Each reads in its own way what stands at the cursor. */
static void (*const readers[])(struct term *, struct buf *);

static void read_tuple(struct term *t, struct buf *work)
{
    (void)work;
    must(term_tuple(t) >= 0);
}

static void read_list(struct term *t, struct buf *work)
{
    (void)work;
    must(term_list(t) >= 0);
}

static void read_list_end(struct term *t, struct buf *work)
{
    (void)work;
    term_list_end(t);
}

static void read_map(struct term *t, struct buf *work)
{
    (void)work;
    must(term_map(t) >= 0);
}

/* UTF-8 of at most 255 characters. */
static bool is_name(struct span utf8)
{
    size_t characters = 0;
    for (size_t at = 0, n; at < utf8.len; at += n, characters++) {
        uint32_t c;
        n = print_character(span_of(utf8.at + at, utf8.len - at), &c);
        if (n == 0)
            return false;
    }
    return characters <= 255;
}

static void read_atom(struct term *t, struct buf *work)
{
    char name[TERM_ATOM_BYTES];
    (void)work;
    term_atom(t, name);
    must(memchr(name, '\0', sizeof name) != NULL && (!t->bad || name[0] == '\0'));
    must(is_name(span_text(name)));
}

static void read_atom_bytes(struct term *t, struct buf *work)
{
    (void)work;
    must(term_atom_bytes(t).len < TERM_ATOM_BYTES);
}

static void read_int64(struct term *t, struct buf *work)
{
    (void)work;
    must(term_int64(t) == 0 || !t->bad);
}

static void read_uint64(struct term *t, struct buf *work)
{
    (void)work;
    must(term_uint64(t) == 0 || !t->bad);
}

static void read_binary(struct term *t, struct buf *work)
{
    const struct span bytes = term_binary(t);
    buf_put(work, bytes.at, bytes.len);
}

static void read_string(struct term *t, struct buf *work)
{
    const struct span bytes = term_string(t);
    buf_put(work, bytes.at, bytes.len);
}

static void read_any(struct term *t, struct buf *work)
{
    const struct span bytes = term_any(t);
    reply_raw(work, bytes);
}

static void read_iodata(struct term *t, struct buf *work)
{
    const struct span bytes = term_iodata(t, work);
    iodata += !t->bad && bytes.len > 0;
}

static void read_name(struct term *t, struct buf *work)
{
    const struct span bytes = term_name(t, work);
    names += !t->bad && bytes.len > 0;
}

static void read_if_atom(struct term *t, struct buf *work)
{
    (void)work;
    if (term_is_atom(t, "a"))
        must(!t->bad);
}

static void (*const readers[])(struct term *, struct buf *) = {
    read_any,  read_iodata, read_name,       read_tuple,  read_list,   read_list_end, read_map,
    read_atom, read_int64,  read_atom_bytes, read_uint64, read_binary, read_string,   read_if_atom,
};

static void check_cursor(const struct term *before, const struct term *t)
{
    must(t->index >= before->index && t->index <= t->end);
    must(!before->bad || (t->bad && t->index == before->index));
}

/* Any reader at the place; one that has failed stays failed and where it is. */
static void read_by_all(struct span term, size_t at)
{
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
        struct buf work;
        struct term t = term_in(term);
        t.index = (int)at;
        struct term before = t;
        buf_init(&work, OUT_MOST);
        readers[i](&t, &work);
        check_cursor(&before, &t);
        before = t;
        if (t.bad)
            readers[i](&t, &work);
        check_cursor(&before, &t);
        buf_fini(&work);
    }
}

/* Head by head to the end. */
static void step(struct term *t, struct buf *work)
{
    switch (term_tag(t)) {
    case ERL_SMALL_TUPLE_EXT:
    case ERL_LARGE_TUPLE_EXT: read_tuple(t, work); break;
    case ERL_LIST_EXT: read_list(t, work); break;
    case ERL_MAP_EXT: read_map(t, work); break;
    case ERL_NIL_EXT: read_list_end(t, work); break;
    case ERL_ATOM_EXT:
    case ERL_SMALL_ATOM_EXT:
    case ERL_ATOM_UTF8_EXT:
    case ERL_SMALL_ATOM_UTF8_EXT: read_atom(t, work); break;
    default: term_any(t); break;
    }
}

static void walk(struct span term)
{
    struct term t = term_in(term);
    struct buf work;
    buf_init(&work, OUT_MOST);
    while (!term_done(&t)) {
        const int before = t.index;
        step(&t, &work);
        must(!t.bad && t.index > before);
    }
    buf_fini(&work);
}

static void read_somewhere(struct span term, struct dice *d)
{
    for (int i = 0; i < 2; i++)
        read_by_all(term, i == 0 ? 0 : part_pick(d, term, NULL).at);
}

/* --- pids, references, tags ------------------------------------------------------------------- */

static void read_identities(struct span term)
{
    uint32_t id;
    uint64_t number;
    const struct span node = self_node_of_pid(term);
    must(node.len < TERM_ATOM_BYTES);
    if (self_is_pid(&self, term, &id))
        must(span_equal(node, span_text(self.name)));
    self_is_ref(&self, term, &number);
    const struct span alias = term_alias(term);
    must(alias.len < term.len && (alias.len == 0 || term_check(alias) == alias.len));
}

/* --- running ---------------------------------------------------------------------------------- */

static void read_term(struct span term, struct dice *d)
{
    must(term_check(term) == term.len);
    no_part_is_whole(term, d);
    ei_agrees(term);
    walk(term);
    read_somewhere(term, d);
    read_identities(term);
}

static void run(struct span input)
{
    struct dice d = target_dice(input);
    uint8_t *copy = target_copy(input);
    const size_t len = term_check(span_of(copy, input.len));
    free(copy);
    must(len <= input.len);
    refused += len == 0;
    if (len == 0)
        return;
    passed++;
    copy = target_copy(span_of(input.at, len));
    read_term(span_of(copy, len), &d);
    free(copy);
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("passed", passed);
    each("refused", refused);
    each("iodata", iodata);
    each("names", names);
}

const struct target target = {.name = "term",
                              .life = 100000,
                              .begin = begin,
                              .end = end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
