#include "sweep/store.h"

#include <string.h>

#include "sweep/run.h"

enum { MANY = 6 };

static bool must_be(bool is_so, const char *what)
{
    if (!is_so)
        violation("while it runs: %s", what);
    return is_so;
}

/* Did it work? If not, the object has failed, or there is no room. */
static bool worked(const struct store *s, enum err e)
{
    must_be(e == OK || e == ERR_ENOSPC || (e == ERR_EIO && s->live->failed), err_atom(e));
    return e == OK;
}

/* What block_find must give; it sets the bits that were lost. */
static unsigned lowest(struct slots *s, uint64_t *addresses, unsigned n)
{
    unsigned found = 0;
    for (uint64_t a = 0; a < s->capacity && found < n; a++) {
        if (s->slots[a].bit)
            continue;
        if (slots_whole(s, a))
            s->slots[a].bit = true;
        else
            addresses[found++] = a;
    }
    return found;
}

/* --- operations ------------------------------------------------------------------------------ */

static bool put(struct store *s, uint64_t a)
{
    struct slots *m = &s->slots;
    uint8_t bytes[SLOT_LONGEST];
    slots_begin(m);
    m->storing = a;
    m->over_torn = slots_value(m, a) == SLOT_TORN;
    m->last++;
    memcpy(bytes, slots_bytes(m, m->last), m->size); /* images are looked at meanwhile */
    if (m->over_torn)
        slots_change(m, a, SLOT_FREE);
    slots_change(m, a, m->last);
    const bool is = worked(s, block_put(s->live, a, bytes));
    slots_end(m);
    m->slots[a].bit = true;
    return is;
}

static bool grow(struct store *s)
{
    const uint64_t before = block_capacity(s->live);
    slots_begin(&s->slots);
    enum err e = block_grow(s->live, 1 + below(1500));
    const uint64_t after = block_capacity(s->live);
    s->slots.capacity = after;
    slots_end(&s->slots);
    run.reached[FULL] += e == ERR_ENOSPC;
    must_be(e == OK ? after > before : after == before, "a growth by nothing");
    if (e == OK && s->live->durable != NULL)
        s->slots.durable_capacity = after;
    return worked(s, e);
}

/* Room is looked for by the bits: what they do not know of is met only then. */
static bool find(struct store *s, unsigned n, uint64_t *addresses)
{
    for (;;) {
        uint64_t expected[MANY];
        const bool known = n <= s->slots.capacity - slots_used(&s->slots);
        enum err e = block_find(s->live, n, true, addresses);
        const unsigned found = known && !s->live->failed ? lowest(&s->slots, expected, n) : 0;
        if (e == ERR_FULL && found < n) {
            if (!grow(s))
                return false;
            continue;
        }
        if (!worked(s, e))
            return false;
        return must_be(found == n && memcmp(addresses, expected, n * sizeof expected[0]) == 0,
                       "other addresses than the lowest");
    }
}

static void store_many(struct store *s, unsigned n)
{
    uint64_t addresses[MANY];
    if (!find(s, n, addresses))
        return;
    for (unsigned i = 0; i < n; i++)
        if (!put(s, addresses[i]))
            return;
}

static void read_one(struct store *s, uint64_t a)
{
    static uint8_t bytes[SLOT_LONGEST];
    struct slot *slot = &s->slots.slots[a];
    const uint64_t value = slots_value(&s->slots, a);
    bool there;
    enum err e = block_read(s->live, a, one_in(2), bytes, &there);
    if (value == SLOT_TORN) {
        must_be(e == ERR_CORRUPT, "what is torn is read");
        return;
    }
    if (a < s->slots.capacity && !s->live->failed)
        slot->bit = value != SLOT_FREE;
    must_be(e == OK && there == (value != SLOT_FREE), "nothing is read, or what is not there");
    if (there)
        must_be(memcmp(bytes, slots_bytes(&s->slots, value), s->slots.size) == 0, "another block");
}

static void free_one(struct store *s, uint64_t a)
{
    struct slots *m = &s->slots;
    const bool was = slots_value(m, a) != SLOT_FREE;
    bool freed;
    slots_begin(m);
    slots_change(m, a, SLOT_FREE);
    const bool is = worked(s, block_free(s->live, a, one_in(2), &freed));
    slots_end(m);
    m->slots[a].bit = false;
    if (is)
        must_be(freed == was, "what is not there is freed, or the other way round");
}

static void walk(struct store *s)
{
    uint64_t a = 0;
    for (uint64_t expected = 0; expected < s->slots.capacity; expected++) {
        bool found;
        if (!s->slots.slots[expected].bit)
            continue;
        enum err e = block_next(s->live, a, one_in(2), &a, &found);
        if (!must_be(e == OK && found && a == expected, "a walk finds something else"))
            return;
        a++;
    }
}

static void repair(struct store *s, bool dry)
{
    struct slots *m = &s->slots;
    struct block_repair r;
    struct block_repair expected = {.next = below(m->capacity + 1)};
    const uint64_t from = expected.next;
    const uint64_t count = one_in(4) ? UINT64_MAX : below(m->capacity + 2);
    slots_begin(m);
    for (; expected.next < m->capacity && expected.next - from < count; expected.next++) {
        const uint64_t a = expected.next;
        expected.blocks += slots_whole(m, a);
        expected.unknown += slots_whole(m, a) && !m->slots[a].bit;
        if (slots_value(m, a) == SLOT_TORN)
            expected.lost[expected.torn++] = a;
        if (!dry && slots_value(m, a) == SLOT_TORN)
            slots_change(m, a, SLOT_FREE);
        if (!dry)
            m->slots[a].bit = slots_whole(m, a);
    }
    enum err e = block_repair(s->live, from, count, dry, &r);
    slots_end(m);
    run.reached[REPAIR] += e == OK && !dry && (r.unknown > 0 || r.torn > 0);
    if (worked(s, e))
        must_be(memcmp(&r, &expected, sizeof r) == 0, "a repair meets something else");
}

void store_do(struct store *s, enum store_op op)
{
    if (!slots_have_room(&s->slots))
        return;
    switch (op) {
    case STORE: store_many(s, 1); break;
    case STORE_MANY: store_many(s, 2 + (unsigned)below(MANY - 1)); break;
    case READ: read_one(s, below(SLOTS)); break;
    case FREE: free_one(s, below(s->slots.capacity + 2)); break;
    case GROW: (void)grow(s); break;
    case WALK: walk(s); break;
    case REPAIR_PIECE:
    case DRY_RUN: repair(s, op == DRY_RUN); break;
    case STORE_OPS: break;
    }
    run.ops++;
}

void store_compare(struct store *s)
{
    must_be(block_capacity(s->live) == s->slots.capacity, "another capacity");
    must_be(block_used(s->live) == slots_used(&s->slots), "another number of blocks");
    must_be(block_fits(s->live), "the file is of another size");
}
