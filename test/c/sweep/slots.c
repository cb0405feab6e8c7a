#include "sweep/slots.h"

#include <stdio.h>
#include <string.h>

#include "store/format.h"
#include "sweep/disk.h"
#include "sweep/run.h"

static char why[240];

/* --- what there is --------------------------------------------------------------------------- */

uint32_t slots_file_most(uint32_t size)
{
    const uint32_t len = 2 * BLOCK_PAGE + SLOTS_MADE * (8 + (uint32_t)align_up(size, 8));
    return len < DISK_CAP ? (uint32_t)align_up(len, DISK_SECTOR) : DISK_CAP;
}

void slots_init(struct slots *s, uint32_t size)
{
    memset(s, 0, sizeof *s);
    must(size <= SLOT_LONGEST);
    s->size = size;
    s->now = 1;
    s->last = SLOT_BLOCK;
    s->storing = SLOTS;
    for (uint64_t a = 0; a < SLOTS; a++)
        history_add(&s->slots[a].history, s->now, SLOT_FREE);
}

uint64_t slots_value(const struct slots *s, uint64_t a)
{
    return history_value(&s->slots[a].history);
}

bool slots_whole(const struct slots *s, uint64_t a)
{
    return slots_value(s, a) >= SLOT_BLOCK;
}

uint64_t slots_used(const struct slots *s)
{
    uint64_t used = 0;
    for (uint64_t a = 0; a < s->capacity; a++)
        used += s->slots[a].bit;
    return used;
}

bool slots_have_free(const struct slots *s)
{
    for (uint64_t a = 0; a < s->capacity; a++)
        if (!s->slots[a].bit && !slots_whole(s, a))
            return true;
    return false;
}

bool slots_have_room(const struct slots *s)
{
    for (uint64_t a = 0; a < SLOTS; a++)
        if (!history_has_room(&s->slots[a].history) || s->slots[a].n_tempted > SLOTS_TEMPTED / 2)
            return false;
    return true;
}

/* --- changes --------------------------------------------------------------------------------- */

void slots_begin(struct slots *s)
{
    s->now++;
    s->op_on = true;
    s->op_time = s->now;
}

void slots_end(struct slots *s)
{
    s->op_on = false;
    s->storing = SLOTS;
    s->over_torn = false;
}

void slots_change(struct slots *s, uint64_t a, uint64_t value)
{
    if (slots_value(s, a) != value)
        history_add(&s->slots[a].history, s->now, value);
}

void slots_cut(struct slots *s, uint64_t capacity)
{
    slots_begin(s);
    for (uint64_t a = capacity; a < SLOTS; a++)
        slots_change(s, a, SLOT_FREE);
    slots_end(s);
}

static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    v = (v ^ v >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    return v ^ v >> 32;
}

/* Of most blocks each word is one of two, so that one can complete another. */
const uint8_t *slots_bytes(const struct slots *s, uint64_t value)
{
    static uint8_t bytes[SLOT_LONGEST + 8];
    for (uint64_t i = 0; i * 8 < s->size; i++) {
        const bool alike = value % 4 != 3;
        const uint64_t word = mix(i * 1000 + (alike ? mix(value) >> i % 60 & 1 : value << 20));
        memcpy(bytes + i * 8, &word, sizeof word);
    }
    return bytes;
}

/* --- durable points -------------------------------------------------------------------------- */

static void tempt(struct slot *slot, uint64_t value)
{
    for (unsigned i = 0; i < slot->n_tempted; i++)
        if (slot->tempted[i] == value)
            return;
    must(slot->n_tempted < SLOTS_TEMPTED);
    if (value >= SLOT_BLOCK)
        slot->tempted[slot->n_tempted++] = value;
}

static void durable(struct slot *slot, uint64_t time)
{
    const struct history before = slot->history;
    history_forget(&slot->history, time);
    if (slot->history.versions[0].value != SLOT_TORN && !slot->remnant) {
        slot->n_tempted = 0;
        return;
    }
    for (unsigned i = 0; i < before.n - slot->history.n; i++)
        tempt(slot, before.versions[i].value);
}

void slots_durable(struct slots *s, uint64_t time, uint64_t capacity)
{
    for (uint64_t a = 0; a < SLOTS; a++) {
        s->slots[a].remnant &= a >= capacity;
        durable(&s->slots[a], time);
    }
    if (capacity > s->durable_capacity)
        s->durable_capacity = capacity;
}

/* --- an image -------------------------------------------------------------------------------- */

struct seen {
    enum { NONE, WHOLE, CORRUPT } what;
    bool bit;
};

static struct seen seen[SLOTS];
static uint8_t bytes_seen[SLOTS][SLOT_LONGEST];

static const char *wrong(uint64_t a, const char *what, uint64_t value)
{
    snprintf(why, sizeof why, "address %ju: %s; %ju was last", (uintmax_t)a, what,
             (uintmax_t)value);
    return why;
}

/* The bits, by walking; then what each address has. */
static const char *see_bits(struct object *o)
{
    uint64_t used = 0;
    bool found;
    for (uint64_t a = 0; a < SLOTS; a++)
        seen[a].bit = false;
    for (uint64_t a = 0;; a++, used++) {
        if (block_next(o, a, one_in(2), &a, &found) != OK)
            return "a walk fails";
        if (!found)
            return used == block_used(o) ? NULL : "as many are used as not there";
        if (a >= block_capacity(o))
            return "a walk leads beyond the capacity";
        seen[a].bit = true;
    }
}

static const char *see(struct object *o)
{
    if (block_capacity(o) > SLOTS)
        return "more slots than the file has room for";
    const char *bad = see_bits(o);
    for (uint64_t a = 0; a < SLOTS && bad == NULL; a++) {
        bool there;
        enum err e = block_read(o, a, one_in(2), bytes_seen[a], &there);
        if ((e != OK && e != ERR_CORRUPT) || (e != OK && there))
            return wrong(a, err_atom(e), 0);
        seen[a].what = e == ERR_CORRUPT ? CORRUPT : there ? WHOLE : NONE;
    }
    return bad;
}

static bool stands_for(const struct slots *s, uint64_t a, uint64_t value)
{
    switch (value) {
    case SLOT_FREE: return seen[a].what == NONE;
    case SLOT_TORN: return seen[a].what == CORRUPT;
    default:
        return seen[a].what == WHOLE && memcmp(bytes_seen[a], slots_bytes(s, value), s->size) == 0;
    }
}

/* Of a kill only the last version, and within an operation the one before it. */
static bool is_open(const struct slots *s, const struct history *h, unsigned i, bool killed)
{
    const uint64_t until = s->op_on ? s->op_time : s->now + 1;
    for (unsigned k = i + 1; killed && k < h->n; k++)
        if (h->versions[k].time < until)
            return false;
    return true;
}

/* The version that is met last, or -1. */
static int version_met(const struct slots *s, uint64_t a, bool killed)
{
    const struct history *h = &s->slots[a].history;
    for (unsigned i = h->n; i > 0; i--)
        if (is_open(s, h, i - 1, killed) && stands_for(s, a, h->versions[i - 1].value))
            return (int)i - 1;
    return -1;
}

/* Something was stored there since the last durable point: words of it may be missing. */
static bool may_be_torn(const struct slot *slot)
{
    if (slot->remnant)
        return true;
    for (unsigned i = 1; i < slot->history.n; i++)
        if (slot->history.versions[i].value >= SLOT_BLOCK)
            return true;
    return false;
}

static uint64_t tempted(const struct slots *s, uint64_t a)
{
    const struct slot *slot = &s->slots[a];
    for (unsigned i = 0; i < slot->n_tempted; i++)
        if (stands_for(s, a, slot->tempted[i]))
            return slot->tempted[i];
    return SLOT_FREE;
}

/* Which value that is: false for none of those that may be. */
static bool value_met(const struct slots *s, uint64_t a, bool killed, uint64_t *value)
{
    const int version = version_met(s, a, killed);
    if (version >= 0) {
        *value = s->slots[a].history.versions[version].value;
        return true;
    }
    if (killed)
        return false;
    *value = seen[a].what == CORRUPT ? SLOT_TORN : tempted(s, a);
    return seen[a].what == CORRUPT ? may_be_torn(&s->slots[a]) : *value >= SLOT_BLOCK;
}

static const char *what_is(uint64_t a)
{
    static const char *const names[] = {"nothing there", "another block", "corrupt"};
    return names[seen[a].what];
}

/* A bit follows its block. */
static const char *refuse_values(const struct slots *s, bool killed)
{
    uint64_t value;
    for (uint64_t a = 0; a < SLOTS; a++) {
        if (!value_met(s, a, killed, &value))
            return wrong(a, what_is(a), slots_value(s, a));
        if (killed && a == s->storing && seen[a].bit && !s->slots[a].bit && seen[a].what != WHOLE)
            return wrong(a, "a bit before its block", slots_value(s, a));
        run.reached[TORN_BLOCK] += seen[a].what == CORRUPT;
        run.reached[LOST_BIT] += seen[a].what == WHOLE && !seen[a].bit;
    }
    return NULL;
}

/* --- repair ---------------------------------------------------------------------------------- */

/* After it the map says what there is, nothing is torn, and the lowest free address comes first. */
static const char *refuse_repaired(struct object *o, const struct seen *before)
{
    uint64_t lowest = 0;
    uint64_t a;
    const char *bad = see(o);
    for (a = 0; a < SLOTS && bad == NULL; a++) {
        const bool was = before[a].what == WHOLE;
        if (seen[a].bit != was || seen[a].what != (was ? WHOLE : NONE))
            return wrong(a, "not repaired", before[a].what);
    }
    while (lowest < block_capacity(o) && seen[lowest].what == WHOLE)
        lowest++;
    if (bad != NULL)
        return bad;
    enum err e = block_find(o, 1, true, &a);
    if (lowest == block_capacity(o))
        return e == ERR_FULL ? NULL : "a place where there is none";
    return e == OK && a == lowest ? NULL : "not the lowest free address";
}

static const char *refuse_repair(struct object *o)
{
    static struct seen before[SLOTS];
    struct block_repair r;
    uint64_t whole = 0;
    uint64_t torn = 0;
    memcpy(before, seen, sizeof before);
    for (uint64_t a = 0; a < SLOTS; a++) {
        whole += seen[a].what == WHOLE;
        torn += seen[a].what == CORRUPT;
    }
    if (block_repair(o, 0, UINT64_MAX, false, &r) != OK)
        return "it cannot be repaired";
    if (r.blocks != whole || r.torn != torn || r.next != block_capacity(o))
        return "a repair has met something else";
    return refuse_repaired(o, before);
}

static const char *store_one(const struct slots *s, struct object *o)
{
    uint64_t a;
    bool there;
    uint8_t bytes[SLOT_LONGEST];
    enum err e = block_find(o, 1, true, &a);
    if (e == ERR_FULL)
        return NULL;
    if (e == OK)
        e = block_put(o, a, slots_bytes(s, SLOT_BLOCK + 1));
    if (e == OK)
        e = block_read(o, a, true, bytes, &there);
    return e == OK && there && memcmp(bytes, slots_bytes(s, SLOT_BLOCK + 1), s->size) == 0
               ? NULL
               : "a block cannot be stored";
}

const char *slots_refuse(const struct slots *s, struct object *o, bool killed)
{
    if (block_size(o) != s->size)
        return "blocks of another size";
    if (block_capacity(o) < (killed && !s->op_on ? s->capacity : s->durable_capacity))
        return "fewer slots than there were";
    const char *bad = see(o);
    if (bad == NULL)
        bad = refuse_values(s, killed);
    if (bad == NULL && one_in(4))
        bad = refuse_repair(o);
    return bad != NULL ? bad : store_one(s, o);
}

const char *slots_refuse_damaged(const struct slots *s, struct object *o)
{
    uint64_t value;
    if (block_size(o) != s->size)
        return "blocks of another size";
    const char *bad = see(o);
    for (uint64_t a = 0; a < SLOTS && bad == NULL; a++)
        if (seen[a].what == WHOLE && !value_met(s, a, false, &value))
            bad = wrong(a, what_is(a), slots_value(s, a));
    if (bad == NULL)
        bad = refuse_repair(o);
    return bad != NULL ? bad : store_one(s, o);
}

/* --- what there is then ---------------------------------------------------------------------- */

static void become(struct slots *s, uint64_t a, uint64_t value, bool power)
{
    struct slot *slot = &s->slots[a];
    if (power)
        slot->remnant = a >= s->capacity;
    const bool tempts = value == SLOT_TORN || slot->remnant;
    if (power && !tempts)
        slot->n_tempted = 0;
    for (unsigned i = 0; power && tempts && i < slot->history.n; i++)
        tempt(slot, slot->history.versions[i].value);
    history_restart(&slot->history, s->now, value, power);
    slot->bit = seen[a].bit;
}

const char *slots_become(struct slots *s, struct object *o, bool power)
{
    uint64_t value;
    const char *bad = see(o);
    s->now++;
    s->capacity = block_capacity(o);
    if (power)
        s->durable_capacity = s->capacity;
    for (uint64_t a = 0; a < SLOTS && bad == NULL; a++) {
        if (value_met(s, a, false, &value))
            become(s, a, value, power);
        else
            bad = wrong(a, what_is(a), slots_value(s, a));
    }
    slots_end(s);
    return bad;
}
