/* Damage in trusted parts: in records, states, JUMPs, slots of a legal image that was recovered;
 * and anywhere in one that was not. */
#include <stdio.h>

#include "sweep/look.h"
#include "sweep/run.h"

enum { HIT_MOST = 72 };

enum kind {
    HURT_RECORDS, /* of a recovered file: every other item comes out */
    HURT_OLDER,   /* the older slot of a recovered file: everything comes out */
    HURT_NEWER,   /* its newer one: what was freed since then is gone */
    HURT_SIZE,    /* the file's end is missing */
    HURT_ANYTHING,
    HURTS
};

struct range {
    uint64_t from, to;
};

/* A record of the recovered file. */
struct target {
    uint64_t seq; /* 0: a JUMP */
    unsigned log;
    bool there;
    struct range in_file;
};

static struct {
    struct image image;
    uint64_t newer; /* where the slot is */
    struct target targets[MODEL_ITEMS];
    size_t n;
    struct range hits[8];
    size_t n_hits;
    bool came[MODEL_ITEMS];
} hurt;

static bool overlap(const struct range *a, const struct range *b)
{
    return a->from < b->to && b->from < a->to;
}

static bool is_hit(const struct target *p)
{
    for (size_t i = 0; i < hurt.n_hits; i++)
        if (overlap(&hurt.hits[i], &p->in_file))
            return true;
    return false;
}

/* --- doing harm --------------------------------------------------------------------------------
 */

static void hit(uint64_t at)
{
    const uint64_t lens[] = {1, 8, 1 + below(HIT_MOST)};
    const uint64_t how = below(3);
    const uint64_t len = lens[below(3)];
    const uint64_t to = at + len < hurt.image.size ? at + len : hurt.image.size;
    if (hurt.n_hits == sizeof hurt.hits / sizeof hurt.hits[0])
        return;
    hurt.hits[hurt.n_hits++] = (struct range){.from = at, .to = to};
    for (uint64_t i = at; i < to; i++)
        hurt.image.bytes[i] = (uint8_t)(how == 0   ? 0
                                        : how == 1 ? chance_word()
                                                   : hurt.image.bytes[i] ^ 1U << below(8));
}

/* Half of the hits go into headers and states. */
static void hit_record(void)
{
    if (hurt.n == 0)
        return;
    const struct range *r = &hurt.targets[below(hurt.n)].in_file;
    hit(r->from + below(one_in(2) ? sizeof(struct record_fields) : r->to - r->from));
}

static void harm(enum kind kind)
{
    const uint64_t page = side_limits.page;
    const uint64_t hits = 1 + below(3);
    hurt.n_hits = 0;
    switch (kind) {
    case HURT_RECORDS:
        for (uint64_t i = 0; i < hits; i++)
            hit_record();
        break;
    case HURT_OLDER: hit(3 * page - hurt.newer + below(page - HIT_MOST)); break;
    case HURT_NEWER: hit(hurt.newer + below(page)); break;
    case HURT_SIZE:
        hurt.image.size = (uint32_t)below(hurt.image.size);
        memset(hurt.image.bytes + hurt.image.size, 0, DISK_CAP - hurt.image.size);
        break;
    case HURT_ANYTHING:
        for (uint64_t i = 0; i < 2 * hits; i++)
            hit(below(hurt.image.size));
        break;
    case HURTS: break;
    }
}

/* --- what comes out ----------------------------------------------------------------------------
 */

/* The record of this item is not what it was: one that was undone may stand in for it. */
static bool may_be_former(uint64_t seq)
{
    bool known = false;
    for (size_t i = 0; i < hurt.n; i++) {
        known |= hurt.targets[i].seq == seq;
        if (hurt.targets[i].seq == seq && is_hit(&hurt.targets[i]))
            return true;
    }
    return !known;
}

static void came(const struct side *s, const struct record *r)
{
    if (!look_same(s, r->seq, r->bytes) &&
        !(look_former(s, r->seq, r->bytes) && may_be_former(r->seq)))
        violation("after damage item %ju comes out with other bytes", (uintmax_t)r->seq);
    else if (hurt.came[r->seq])
        violation("after damage item %ju comes out twice", (uintmax_t)r->seq);
    else
        hurt.came[r->seq] = true;
}

static void drain_front(const struct side *s, struct object *o)
{
    struct record r;
    enum err e = OK;
    while ((e == OK || e == ERR_CHECKPOINT) && !run.violated) {
        e = queue_front(o, &side_now, &r);
        if (e == OK)
            came(s, &r);
        if (e == OK)
            e = queue_pop(o, &side_now, &r);
        else if (e == ERR_CHECKPOINT && checkpoint_whole(o, side_now.now_ms, false) != OK)
            violation("after damage no checkpoint is possible");
    }
    if (e != ERR_EMPTY && !run.violated)
        violation("after damage: %s in front", err_atom(e));
}

/* The delayed and the buried. */
static void drain_rest(const struct side *s, struct object *o)
{
    struct item *item;
    while ((item = queue_item_from(o, 0)) != NULL && !run.violated) {
        struct record r;
        enum err e = queue_read(o, &side_now, item, &r);
        if (e == OK)
            came(s, &r);
        if (e == OK)
            e = queue_ack(o, &side_now, item);
        if (e != OK && e != ERR_DAMAGED)
            violation("after damage: %s behind", err_atom(e));
    }
}

static void drain(const struct side *s, struct object *o)
{
    struct queue_info i;
    memset(hurt.came, 0, sizeof hurt.came);
    queue_look(o, &i);
    if (i.items > i.pushed || i.ready > i.items)
        violation("after damage %ju items are told of %ju", (uintmax_t)i.items,
                  (uintmax_t)i.pushed);
    drain_front(s, o);
    drain_rest(s, o);
    queue_look(o, &i);
    if (i.items != 0 && !run.violated)
        violation("after damage %ju items stay", (uintmax_t)i.items);
}

static bool has_come(const struct target *p)
{
    return p->seq != 0 && hurt.came[p->seq];
}

/* Every item that was not hit, and no other, came out (but one whose state is nothing but zeros
 * now); what did not is counted. Of the shelf it cannot be told how many there were. */
static void compare(const struct side *s, uint64_t damaged)
{
    uint64_t missing[LOGS] = {0};
    uint64_t hits = 0;
    uint64_t strangers = 0;
    for (uint64_t seq = 1; seq < s->model.tail; seq++)
        strangers += hurt.came[seq];
    for (size_t i = 0; i < hurt.n; i++) {
        const struct target *p = &hurt.targets[i];
        hits += is_hit(p);
        strangers -= has_come(p) && (p->there || is_hit(p));
        if (!p->there || has_come(p))
            continue;
        missing[p->log]++;
        if (!is_hit(p))
            violation("after damage item %ju, which is whole, is lost", (uintmax_t)p->seq);
    }
    if (strangers != 0)
        violation("after damage an item came back");
    if (damaged < missing[LOG_MAIN] + (missing[LOG_SHELF] > 0) || damaged > hits)
        violation("after damage of %ju records %ju items are missing, %ju told", (uintmax_t)hits,
                  (uintmax_t)(missing[LOG_MAIN] + missing[LOG_SHELF]), (uintmax_t)damaged);
    run.reached[LOSS] += missing[LOG_MAIN] + missing[LOG_SHELF];
}

static bool spares_all_else(enum kind kind)
{
    return kind == HURT_RECORDS || kind == HURT_OLDER;
}

static void open_harmed(struct side *s, enum kind kind)
{
    char refused[QUEUE_WHY];
    struct queue_info i;
    struct object o;
    enum err e = look_open(&o, &hurt.image, refused);
    run.images++;
    if (e != OK) {
        run.reached[REFUSAL]++;
        if (e != ERR_DAMAGED || refused[0] == '\0' || spares_all_else(kind))
            violation("after damage it is refused with %s: %s", err_atom(e), refused);
        return;
    }
    drain(s, &o);
    queue_look(&o, &i);
    if (!run.violated && spares_all_else(kind))
        compare(s, i.damaged);
    look_close(&o);
}

/* --- a file to be hurt -------------------------------------------------------------------------
 */

static void note_targets(const struct side *s, struct object *o, unsigned log)
{
    const struct recordlog *l = &o->queue->logs[log];
    struct record_fields f;
    struct spot at;
    for (uint64_t pos = l->head; pos < l->tail && hurt.n < MODEL_ITEMS;) {
        if (record_head(o, &side_now, log, pos, &f, &at) != OK)
            return;
        const uint64_t size = record_size(f.length);
        hurt.targets[hurt.n++] =
            (struct target){.seq = f.kind == RECORD_JUMP ? 0 : f.seq,
                            .log = log,
                            .there = f.kind != RECORD_JUMP && f.seq >= s->model.low &&
                                     s->seen[f.seq].there && state_of(f.state) != STATE_DONE,
                            .in_file = {.from = at.offset, .to = at.offset + size}};
        pos += size;
    }
}

/* All that the recovered file holds is in its trusted part. */
static bool recovered(struct side *s)
{
    char refused[QUEUE_WHY];
    struct object o;
    if (look_open(&o, &hurt.image, refused) != OK)
        return false;
    const bool whole = look_see(s, &o) == NULL;
    hurt.n = 0;
    for (unsigned log = 0; whole && log < LOGS; log++)
        note_targets(s, &o, log);
    memcpy(hurt.image.bytes, o.map.at, sizeof hurt.image.bytes);
    hurt.image.size = (uint32_t)o.map.size;
    hurt.newer = header_slot_at(&side_limits, o.queue->slot_seq);
    look_close(&o);
    return whole;
}

void look_at_damage(struct side *s)
{
    const enum kind kind = (enum kind)below(HURTS);
    disk_cut(&s->disk, (enum cut)below(CUTS), &hurt.image);
    hurt.n = 0;
    if (kind <= HURT_NEWER && !recovered(s))
        return;
    harm(kind);
    open_harmed(s, kind);
}
