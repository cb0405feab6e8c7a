/* Files of counters of which any byte may be wrong: refused, untouched, or every counter is what
 * stands at its place, changes alone, and stays when there are more of them.
 *
 * Input: 8 bytes that say how it is used, then the file. */
#include "fuzz/memory.h"
#include "fuzz/mutation.h"
#include "fuzz/target.h"
#include "store/counter.h"

enum { HEAD = 8, USES_MOST = 20, MODEL_MOST = MEMORY_MOST / 8 };

static int64_t model[MODEL_MOST];
static uint64_t refusals, openings, changes, growths, too_many;

static void make(struct dice *d, struct buf *input)
{
    uint8_t header[COUNTER_HEADER];
    const uint64_t how = dice_word(d);
    const uint64_t n = dice_below(d, 40);
    const uint64_t words = n + dice_below(d, 5) - dice_below(d, n < 2 ? 1 : 2);
    counter_header(n, header);
    buf_put(input, &how, HEAD);
    buf_put(input, header, sizeof header);
    for (uint64_t i = 0; i < words; i++) {
        const uint64_t value = dice_one_in(d, 2) ? dice_below(d, 100) : dice_word(d);
        buf_put(input, &value, sizeof value);
    }
}

/* Mostly the header. */
static void change(struct dice *d, struct buf *input)
{
    if (input->len < HEAD + COUNTER_HEADER || dice_one_in(d, 4))
        mutation_rough(d, input);
    else
        input->at[HEAD + 8 + dice_below(d, 8)] ^= (uint8_t)(1U << dice_below(d, 8));
}

/* --- what must hold --------------------------------------------------------------------------- */

/* As FORMAT.md has it. */
static bool is_file(struct span file, uint64_t *n)
{
    if (file.len < 16 || memcmp(file.at, "EMMAP01\n", 8) != 0)
        return false;
    *n = get_le64(file.at + 8);
    return *n <= (file.len - 16) / 8;
}

static void compare(struct object *o)
{
    int64_t v;
    for (uint64_t i = 0; i < o->count; i++)
        must(counter_get(o, i, &v) == OK && v == model[i]);
    must(counter_get(o, o->count, &v) == ERR_BADARG);
    must(counter_get(o, UINT64_MAX, &v) == ERR_BADARG);
}

static int64_t result(enum word_op op, int64_t old, int64_t v)
{
    switch (op) {
    case WORD_ADD: return (int64_t)((uint64_t)old + (uint64_t)v);
    case WORD_SUB: return (int64_t)((uint64_t)old - (uint64_t)v);
    case WORD_AND: return old & v;
    case WORD_OR: return old | v;
    case WORD_XOR: return old ^ v;
    default: return v;
    }
}

static void change_counter(struct dice *d, struct object *o)
{
    const uint64_t i = dice_below(d, o->count + 1);
    const enum word_op op = (enum word_op)dice_below(d, WORD_CAS);
    const int64_t v = (int64_t)dice_word(d);
    int64_t old = 0;
    const enum err e = counter_put(o, i, op, v, &old);
    must(e == (i < o->count ? OK : ERR_BADARG));
    if (e != OK)
        return;
    must(old == model[i]);
    model[i] = result(op, old, v);
    changes++;
}

static void grow(struct dice *d, struct object *o)
{
    const uint64_t before = o->count;
    const uint64_t n = before + 1 + dice_below(d, dice_one_in(d, 10) ? 2 * MODEL_MOST : 20);
    const enum err e = counter_grow(o, n);
    const bool fits = counter_file_size(n) <= MEMORY_MOST;
    must(e == (fits ? OK : ERR_ENOSPC) && o->count == (fits ? n : before));
    too_many += !fits;
    growths += fits;
    for (uint64_t i = before; i < o->count; i++)
        model[i] = 0;
}

/* --- running ---------------------------------------------------------------------------------- */

static void use(struct dice *d, struct object *o)
{
    for (uint64_t times = dice_below(d, USES_MOST); times > 0; times--) {
        if (dice_one_in(d, 5))
            grow(d, o);
        else
            change_counter(d, o);
    }
    compare(o);
}

static void run(struct span input)
{
    struct object o = {.kind = OBJECT_COUNTERS};
    uint64_t how;
    uint64_t due = 0;
    if (input.len < HEAD || input.len - HEAD > MEMORY_MOST)
        return;
    memcpy(&how, input.at, HEAD);
    struct dice d = dice_of(how, 0);
    const struct span file = span_of(input.at + HEAD, input.len - HEAD);
    memory_set(file);
    o.map = memory_map();
    const enum err e = counter_count(&o.map, &o.count);
    must(span_equal(memory_bytes(), file));
    if (!is_file(file, &due)) {
        must(e == ERR_FILE_HEADER);
        refusals++;
        return;
    }
    must(e == OK && o.count == due);
    openings++;
    for (uint64_t i = 0; i < o.count; i++)
        model[i] = (int64_t)get_le64(file.at + 16 + 8 * i);
    compare(&o);
    use(&d, &o);
    must(counter_count(&o.map, &due) == OK && due == o.count); /* the next opening's */
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("refused", refusals);
    each("opened", openings);
    each("changes", changes);
    each("growths", growths);
    each("too many", too_many);
}

const struct target target = {.name = "counters",
                              .life = 100000,
                              .begin = memory_begin,
                              .end = memory_end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
