#include "sweep/look.h"

#include <stdio.h>
#include <stdlib.h>

#include "sweep/run.h"

static char why[240];

enum err look_open(struct object *o, const struct image *image, char refused[QUEUE_WHY])
{
    struct disk_file *scratch = disk_scratch(image);
    refused[0] = '\0';
    *o = (struct object){.kind = OBJECT_QUEUE, .map = disk_map(scratch)};
    return queue_open(o, &side_limits, "image", side_now.now_ms, refused);
}

void look_close(struct object *o)
{
    queue_forget(o->queue);
    free(o->queue->name);
    free(o->queue);
    o->queue = NULL;
}

/* --- the logs, record by record ----------------------------------------------------------------
 */

static bool same_payload(const struct side *s, const struct record_fields *f,
                         const uint8_t *payload)
{
    uint8_t expected[MODEL_LONGEST];
    const size_t len = model_payload(&s->model.items[f->seq].content, expected);
    return f->length == len && memcmp(expected, payload, len) == 0;
}

static bool is_content(const struct content *c, struct span bytes)
{
    uint8_t expected[MODEL_LONGEST];
    const size_t len = model_payload(c, expected);
    return bytes.len == c->len && memcmp(expected + (len - c->len), bytes.at, bytes.len) == 0;
}

bool look_same(const struct side *s, uint64_t seq, struct span bytes)
{
    return seq > 0 && seq < s->model.tail && is_content(&s->model.items[seq].content, bytes);
}

bool look_former(const struct side *s, uint64_t seq, struct span bytes)
{
    for (unsigned i = 0; i < 4; i++)
        if (seq > 0 && seq < MODEL_ITEMS && is_content(&s->model.items[seq].former[i], bytes))
            return true;
    return false;
}

static bool see_item(struct side *s, struct object *o, const struct record_fields *f,
                     const struct spot *at)
{
    const struct queue *q = o->queue;
    const uint64_t value = f->state & ((UINT64_C(1) << 40) - 1);
    snprintf(why, sizeof why, "the state or number of the record of item %ju", (uintmax_t)f->seq);
    if (!state_fits(f->header_hash, f->state) || f->seq >= s->seen_tail || f->seq == 0)
        return false;
    snprintf(why, sizeof why, "item %ju was touched beyond the frontier", (uintmax_t)f->seq);
    if (at->log == LOG_MAIN && at->pos >= q->front_pos && f->state != 0)
        return false;
    if (state_of(f->state) == STATE_DONE)
        return true;
    snprintf(why, sizeof why, "item %ju %s", (uintmax_t)f->seq,
             f->seq < s->model.low   ? "comes back"
             : s->seen[f->seq].there ? "is there twice"
                                     : "is not what was pushed");
    if (f->seq < s->model.low || s->seen[f->seq].there ||
        record_payload(o, &side_now, f, at) != OK ||
        !same_payload(s, f, o->map.at + at->offset + sizeof *f))
        return false;
    s->seen[f->seq] = (struct sight){.there = true, .value = value};
    return true;
}

static bool see_record(struct side *s, struct object *o, unsigned log, uint64_t *pos)
{
    struct record_fields f;
    struct spot at;
    snprintf(why, sizeof why, "the record at %ju of log %u is bad", (uintmax_t)*pos, log);
    if (record_head(o, &side_now, log, *pos, &f, &at) != OK)
        return false;
    *pos += record_size(f.length);
    return f.kind == RECORD_JUMP || see_item(s, o, &f, &at);
}

const char *look_see(struct side *s, struct object *o)
{
    const struct queue *q = o->queue;
    s->seen_tail = q->logs[LOG_MAIN].tail_seq;
    snprintf(why, sizeof why, "tail %ju is not possible", (uintmax_t)s->seen_tail);
    if (s->seen_tail > s->model.tail)
        return why;
    for (uint64_t seq = s->model.low; seq < s->seen_tail; seq++)
        s->seen[seq].there = false;
    for (unsigned log = 0; log < LOGS; log++)
        for (uint64_t pos = q->logs[log].head; pos < q->logs[log].tail;)
            if (!see_record(s, o, log, &pos))
                return why;
    return NULL;
}

/* --- what the queue tells ----------------------------------------------------------------------
 */

/* Does what the queue tells agree with what is in its logs? */
static bool counts_agree(const struct side *s, struct object *o)
{
    struct queue_info i;
    uint64_t there = 0;
    queue_look(o, &i);
    for (uint64_t seq = s->model.low; seq < s->seen_tail; seq++)
        there += s->seen[seq].there;
    const uint64_t gone = i.popped + i.acked + i.dropped + i.dead;
    snprintf(why, sizeof why,
             "%ju items are told, %ju there, %ju gone of %ju pushed, %ju damaged, %ju leased",
             (uintmax_t)i.items, (uintmax_t)there, (uintmax_t)gone, (uintmax_t)i.pushed,
             (uintmax_t)i.damaged, (uintmax_t)i.leased);
    return i.items == there && i.damaged == 0 && i.leased == 0 && gone + there == i.pushed &&
           i.ready + i.delayed + i.buried == there && i.file_size == o->map.size;
}

static enum item_state state_for(const struct queue *q, uint64_t value)
{
    if (state_of(value) == STATE_BURIED)
        return ITEM_BURIED;
    const bool over = q->created + state_until(value) * 1000 <= side_now.now_ms;
    return state_until(value) == 0 || over ? ITEM_READY : ITEM_DELAYED;
}

/* What is before the frontier is in memory as its record has it. */
static bool memory_agrees(const struct side *s, const struct object *o)
{
    const struct queue *q = o->queue;
    for (uint64_t seq = s->model.low; seq < s->seen_tail && seq < q->front_seq; seq++) {
        const struct item *item = queue_find(o, seq);
        const struct sight *seen = &s->seen[seq];
        snprintf(why, sizeof why, "item %ju is not in memory as in its record", (uintmax_t)seq);
        if ((item != NULL) != seen->there)
            return false;
        if (item != NULL &&
            (item->attempts != state_attempts(seen->value) ||
             item->until != state_until(seen->value) || item->state != state_for(q, seen->value)))
            return false;
    }
    return true;
}

static bool is_next(const struct side *s, const struct object *o, uint64_t seq)
{
    return s->seen[seq].there && state_for(o->queue, s->seen[seq].value) == ITEM_READY;
}

static bool shows(const struct side *s, enum err e, const struct record *r, uint64_t seq)
{
    snprintf(why, sizeof why, "walking gives %s, item %ju, not %ju", err_atom(e),
             (uintmax_t)(e == OK ? r->seq : 0), (uintmax_t)seq);
    return e == OK && r->seq == seq && look_same(s, seq, r->bytes) &&
           r->attempts == state_attempts(s->seen[seq].value);
}

/* All that are ready, in order and back. */
static bool walks_agree(const struct side *s, struct object *o)
{
    struct record r;
    uint64_t last = 0;
    for (uint64_t seq = s->model.low; seq < s->seen_tail; seq++) {
        if (!is_next(s, o, seq))
            continue;
        enum err e = queue_next(o, &side_now, last + 1, &r);
        if (!shows(s, e, &r, seq))
            return false;
        last = seq;
    }
    if (queue_next(o, &side_now, last + 1, &r) != ERR_EMPTY)
        return shows(s, ERR_EMPTY, &r, last + 1);
    for (uint64_t seq = s->seen_tail; seq-- > s->model.low;) {
        if (!is_next(s, o, seq))
            continue;
        enum err e = queue_previous(o, &side_now, last, &r);
        if (!shows(s, e, &r, seq))
            return false;
        last = seq - 1;
    }
    return true;
}

const char *look_inspect(struct side *s, struct object *o, bool killed)
{
    const char *wrong = look_see(s, o);
    if (wrong == NULL && (!counts_agree(s, o) || !memory_agrees(s, o)))
        wrong = why;
    if (wrong == NULL && one_in(4) && !walks_agree(s, o))
        wrong = why;
    if (wrong == NULL)
        wrong = model_refuses(&s->model, s->seen, s->seen_tail, killed);
    if (wrong == NULL && !model_allows_options(&s->model, queue_options(o), killed))
        wrong = "options that it never had, or has no more";
    return wrong;
}

void look_at(struct side *s, const struct image *image, bool killed)
{
    char refused[QUEUE_WHY];
    struct object o;
    enum err e = look_open(&o, image, refused);
    run.images++;
    if (e != OK) {
        violation("after a %s it does not open: %s %s", killed ? "kill" : "power cut", err_atom(e),
                  refused);
        return;
    }
    const char *wrong = look_inspect(s, &o, killed);
    if (wrong != NULL)
        violation("after a %s: %s", killed ? "kill" : "power cut", wrong);
    look_close(&o);
}

/* --- all sides at once -------------------------------------------------------------------------
 */

static bool may_be_done(const struct side *s, uint64_t seq)
{
    const struct history *h = &s->model.items[seq].states;
    for (unsigned i = 0; i < h->n; i++)
        if ((h->versions[i].value & 3) == MODEL_DONE)
            return true;
    return false;
}

/* An item that moved is in the one queue, or in the other, or was consumed there. */
void look_compare_sides(void)
{
    const struct side *from = &sides[0];
    const struct side *to = &sides[1];
    for (uint64_t seq = from->model.low; seq < from->seen_tail; seq++) {
        const uint64_t there = from->model.items[seq].moved_to;
        if (there == 0 || from->seen[seq].there || there < to->model.low)
            continue;
        if (there >= to->seen_tail || (!to->seen[there].there && !may_be_done(to, there)))
            violation("item %ju has moved, and is in neither queue", (uintmax_t)seq);
    }
}

static void look_all(void (*take)(const struct disk_file *, struct image *), bool killed)
{
    static struct image image;
    for (unsigned i = 0; i < sides_used && !run.violated; i++) {
        take(&sides[i].disk, &image);
        look_at(&sides[i], &image, killed && !sides[i].live.failed);
    }
    if (sides_used == SIDES && !run.violated)
        look_compare_sides();
}

static void any_cut(const struct disk_file *f, struct image *image)
{
    disk_cut(f, (enum cut)below(CUTS), image);
}

void look_after_cut(void)
{
    look_all(any_cut, false);
}

void look_after_kill(void)
{
    look_all(disk_kill, true);
}
