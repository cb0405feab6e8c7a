/* Checkpoints (FORMAT.md 2.5, 2.6): what the slot says was true before the first durable point
 * began; what it frees is free after the second. In between the queue goes on.
 *
 * Order, with the object's owner in brackets: copies to the shelf [a worker, alone]; capture [the
 * loop]; durable point [beside]; slot [the loop]; durable point [beside]; give up what is free [the
 * loop]; holes [beside]; the end of the file [a worker, alone]. */
#include <stdlib.h>

#include "store/journal.h"
#include "store/queue_inside.h"
#include "sys/guard.h"
#include "sys/os.h"

/* --- copies ---------------------------------------------------------------------------------- */

static struct item *first_uncopied(const struct queue *q, unsigned log)
{
    struct item *item = q->items.logs[log];
    while (item != NULL && item->copy != NO_POSITION)
        item = item->next;
    return item;
}

/* The span of a log that its first item holds, and what of that is still wanted. */
static uint64_t window_end(const struct queue *q, unsigned log)
{
    return log == LOG_MAIN ? q->front_pos : q->logs[LOG_SHELF].tail;
}

static bool wants_copy(const struct queue *q, unsigned log, const struct item *first,
                       uint64_t copied)
{
    const uint64_t most = log == LOG_MAIN ? q->limits->window : q->limits->shelf;
    if (first == NULL)
        return false;
    const uint64_t span = window_end(q, log) - first->pos;
    return span > most && (q->items.bytes[log] - copied) * 2 < span;
}

/* What the item is. Its state word may be damaged: to copy that would make it look whole. */
static uint64_t state_of_item(const struct item *item)
{
    return state_value(item->state == ITEM_BURIED ? STATE_BURIED : STATE_AVAILABLE, item->attempts,
                       item->until);
}

/* The copy has the payload's hash from its original: damage of the payload stays what it is. */
static enum err copy_to_shelf(struct object *o, const struct turn *t, struct item *item)
{
    struct record_fields f;
    struct spot at;
    uint64_t pos;
    const uint64_t size = item->size;
    enum err e = record_head(o, t, item->log, item->pos, &f, &at);
    if (e == OK && (f.seq != item->seq || record_size(f.length) != size))
        e = ERR_DAMAGED;
    if (e == OK)
        e = record_payload(o, t, &f, &at);
    if (e == OK)
        e = record_reserve(o, t, LOG_SHELF, &size, 1);
    if (e == OK)
        e = record_ready(o, t, at.offset, size);
    if (e != OK)
        return e;
    const struct draft d = {.kind = f.kind,
                            .seq = f.seq,
                            .time = f.time,
                            .state = state_of_item(item),
                            .item = span_of(o->map.at + at.offset + sizeof f, f.length),
                            .payload_hash = &f.payload_hash};
    e = record_append(o, t, LOG_SHELF, &d, &pos);
    if (e == OK)
        item->copy = pos;
    return e;
}

/* A damaged item is passed over, as when it is delivered; but while somebody has it, it stays. */
static enum err lose(struct object *o, const struct turn *t, struct item *item)
{
    struct record r;
    if (item->state == ITEM_LEASED)
        return ERR_DAMAGED;
    enum err e = queue_read(o, t, item, &r);
    return e == ERR_DAMAGED ? OK : e;
}

/* Copies the first records of a log while it is worth it. Where there is no space for that nothing
 * is copied. */
static void shelve(struct object *o, unsigned log)
{
    struct queue *q = o->queue;
    const struct turn t = {.now_ms = q->checkpoint.now_ms, .may_wait = true};
    uint64_t copied = 0;
    struct item *item = first_uncopied(q, log);
    while (wants_copy(q, log, item, copied) && copied < q->limits->shelve_most) {
        struct item *next = item->next;
        const uint64_t size = item->size;
        enum err e = copy_to_shelf(o, &t, item);
        copied += e == OK ? size : 0;
        if (e == ERR_DAMAGED)
            e = lose(o, &t, item);
        if (e != OK)
            return;
        item = next;
    }
}

/* --- capture --------------------------------------------------------------------------------- */

/* The head of the shelf is the first item or copy that lives there. Copies are made in order, so
 * the first of each log has its copy first. */
static uint64_t shelf_head(const struct queue *q)
{
    uint64_t head = q->logs[LOG_SHELF].tail;
    const struct item *first = first_uncopied(q, LOG_SHELF);
    if (first != NULL)
        head = first->pos;
    for (unsigned log = 0; log < LOGS; log++)
        if (q->items.logs[log] != NULL && q->items.logs[log]->copy < head)
            head = q->items.logs[log]->copy;
    return head;
}

static struct log_fields fields_of(const struct recordlog *log, uint64_t head, uint64_t head_seq)
{
    const bool main_log = log->which == LOG_MAIN;
    return (struct log_fields){.base = log->base,
                               .head = head,
                               .head_seq = main_log ? head_seq : 0,
                               .tail = log->tail,
                               .tail_seq = main_log ? log->tail_seq : 0,
                               .n_extents = log->n};
}

/* What opening will find again is not counted. */
static uint64_t damaged_before(const struct queue *q, const uint64_t heads[LOGS])
{
    uint64_t n = q->damaged;
    for (unsigned log = 0; log < LOGS; log++)
        for (size_t i = q->gaps[log].n; i-- > 0 && q->gaps[log].list[i].pos >= heads[log];)
            n -= q->gaps[log].list[i].count;
    return n;
}

/* The extents as they will be when what is before the heads has gone. */
static size_t put_extents(struct queue *q, unsigned which, uint64_t head, struct log_fields *f,
                          uint8_t *to)
{
    struct recordlog log = q->logs[which];
    log.table = q->tables[1];
    memcpy(log.table, q->logs[which].table, log.n * sizeof *log.table);
    log_trim(&log, head, NULL);
    f->base = log.base;
    f->n_extents = log.n;
    for (uint32_t i = 0; i < log.n; i++) {
        const struct extent_fields e = {.granule = log.table[i].granule,
                                        .count = log.table[i].count};
        memcpy(to + i * sizeof e, &e, sizeof e);
    }
    return log.n * sizeof(struct extent_fields);
}

static void capture(struct queue *q, bool everything_goes)
{
    struct checkpoint_state *c = &q->checkpoint;
    const struct item *first = first_uncopied(q, LOG_MAIN);
    const struct recordlog *main_log = &q->logs[LOG_MAIN];
    struct slot_fields f = {.epoch = q->epoch,
                            .flags = c->clean ? SLOT_CLOSED_CLEANLY : 0,
                            .front_pos = q->front_pos,
                            .front_seq = q->front_seq,
                            .last = main_log->last};
    c->heads[LOG_MAIN] = first != NULL ? first->pos : q->front_pos;
    c->head_seq = first != NULL ? first->seq : q->front_seq;
    c->heads[LOG_SHELF] = shelf_head(q);
    if (everything_goes) {
        f.front_pos = c->heads[LOG_MAIN] = main_log->tail;
        f.front_seq = c->head_seq = main_log->tail_seq;
        c->heads[LOG_SHELF] = q->logs[LOG_SHELF].tail;
    }
    c->front_pos = f.front_pos;
    f.popped = q->popped;
    f.acked = q->acked;
    f.dropped = q->dropped;
    f.dead = q->dead;
    f.damaged = damaged_before(q, c->heads);
    memset(c->page, 0, q->limits->page);
    size_t at = sizeof f;
    for (unsigned i = 0; i < LOGS; i++) {
        f.logs[i] = fields_of(&q->logs[i], c->heads[i], c->head_seq);
        at += put_extents(q, i, c->heads[i], &f.logs[i], c->page + at);
    }
    memcpy(c->page, &f, sizeof f);
    c->changed_ms = 0;
    c->bytes = 0;
    c->wanted = false;
    c->held_back = false;
}

/* It goes over the older of the two slots. */
static enum err write_slot(struct object *o)
{
    struct queue *q = o->queue;
    uint8_t *page = q->checkpoint.page;
    const uint64_t slot_seq = header_next(q->slot_seq);
    const uint64_t at = header_slot_at(q->limits, slot_seq);
    memcpy(page, &slot_seq, sizeof slot_seq);
    header_seal(q, page, at);
    if (put_bytes(o, at, page, q->limits->page) != OK)
        return queue_failed(o);
    q->slot_seq = slot_seq;
    return OK;
}

/* --- what is free now ------------------------------------------------------------------------ */

static void settle_copies(struct queue *q)
{
    for (unsigned log = 0; log < LOGS; log++) {
        struct item *item = q->items.logs[log];
        while (item != NULL && item->copy != NO_POSITION) {
            struct item *next = item->next;
            items_shelve(&q->items, item, item->copy);
            item = next;
        }
    }
}

static void give_up(struct queue *q)
{
    const struct checkpoint_state *c = &q->checkpoint;
    for (unsigned i = 0; i < LOGS; i++) {
        q->logs[i].head = c->heads[i];
        log_trim(&q->logs[i], c->heads[i], &q->space);
    }
    q->logs[LOG_MAIN].head_seq = c->head_seq;
    q->durable_front = c->front_pos;
    queue_forget_lost(q);
}

/* Long runs of free granules that have space on the disk. */
static void plan_punches(struct queue *q)
{
    struct checkpoint_state *c = &q->checkpoint;
    struct space *s = &q->space;
    uint32_t run = 0;
    c->n_punches = 0;
    if (c->now_ms < c->punched_ms + q->limits->punch_ms && c->now_ms >= c->punched_ms)
        return;
    for (uint32_t i = 0; i <= s->n && c->n_punches < PUNCHES; i++) {
        if (i < s->n && s->use[i] == GRANULE_FREE) {
            run++;
            continue;
        }
        if (run >= q->limits->punch_run) {
            c->punches[c->n_punches++] = (struct punch){.granule = i - run, .count = run};
            space_mark(s, i - run, run, GRANULE_RETIRED);
        }
        run = 0;
    }
    if (c->n_punches > 0)
        c->punched_ms = c->now_ms;
}

/* That it fails is no error: the space is used again all the same. What the journal has of a hole
 * would need its space again. */
static void punch(struct object *o)
{
    const struct queue *q = o->queue;
    const struct checkpoint_state *c = &q->checkpoint;
    if (o->durable != NULL && journal_floor(o->durable) != OK)
        return;
    for (size_t i = 0; i < c->n_punches; i++)
        (void)os.punch(o->map.fd, (off_t)((uint64_t)c->punches[i].granule * q->limits->granule),
                       (off_t)((uint64_t)c->punches[i].count * q->limits->granule));
}

static void punched(struct queue *q)
{
    const struct checkpoint_state *c = &q->checkpoint;
    for (size_t i = 0; i < c->n_punches; i++)
        space_mark(&q->space, c->punches[i].granule, c->punches[i].count, GRANULE_HOLE);
}

static uint32_t to_cut(const struct queue *q)
{
    const uint32_t free_at_end = space_at_end(&q->space);
    return free_at_end > q->space.n / 2 ? free_at_end : 0;
}

static void cut(struct object *o)
{
    struct queue *q = o->queue;
    const uint32_t n = q->space.n - to_cut(q);
    if (object_resize(o, (uint64_t)n * q->limits->granule) == OK)
        space_resize(&q->space, n);
}

/* --- one after the other --------------------------------------------------------------------- */

static enum checkpoint wait_for(struct queue *q, enum checkpoint_step step)
{
    q->checkpoint.step = step;
    q->checkpoint.ran = false;
    const bool alone = step == STEP_SHELVE || step == STEP_CUT;
    return alone ? CHECKPOINT_ALONE : CHECKPOINT_BESIDE;
}

static enum checkpoint rest(struct queue *q)
{
    q->checkpoint.step = STEP_REST;
    return CHECKPOINT_REST;
}

static enum checkpoint begin_sync(struct object *o)
{
    capture(o->queue, false);
    return wait_for(o->queue, STEP_SYNC);
}

/* While opening no space is taken: the slot that was read may be in the cache only, and what it
 * does not name still be named by the one on the disk. */
static enum checkpoint begin(struct object *o)
{
    const struct queue *q = o->queue;
    if (q->checkpoint.opening)
        return begin_sync(o);
    for (unsigned log = 0; log < LOGS; log++)
        if (wants_copy(q, log, first_uncopied(q, log), 0))
            return wait_for(o->queue, STEP_SHELVE);
    return begin_sync(o);
}

static enum checkpoint after_holes(struct object *o)
{
    return to_cut(o->queue) > 0 ? wait_for(o->queue, STEP_CUT) : rest(o->queue);
}

/* A snapshot still has to read what is free now. What it holds back is due when it is over. */
static enum checkpoint after_slot(struct object *o)
{
    struct queue *q = o->queue;
    settle_copies(q);
    give_up(q);
    if (o->snapshot != NULL) {
        q->checkpoint.held_back = true;
        return rest(q);
    }
    plan_punches(q);
    return q->checkpoint.n_punches > 0 ? wait_for(q, STEP_PUNCH) : after_holes(o);
}

/* Also when the clock was set back: nobody knows how long ago the change was. */
static bool is_due(const struct object *o, uint64_t now_ms)
{
    const uint64_t due = checkpoint_due(o);
    return due > 0 && (due <= now_ms || now_ms < o->queue->checkpoint.changed_ms);
}

enum checkpoint checkpoint_go(struct object *o, uint64_t now_ms, bool force)
{
    struct queue *q = o->queue;
    struct checkpoint_state *c = &q->checkpoint;
    must(c->step == STEP_REST || c->ran);
    c->now_ms = now_ms;
    if (c->step != STEP_REST && o->failed)
        return rest(q); /* the copies that were made count for nothing */
    switch (c->step) {
    case STEP_REST: return !o->failed && (force || is_due(o, now_ms)) ? begin(o) : CHECKPOINT_REST;
    case STEP_SHELVE: return begin_sync(o);
    case STEP_SYNC: return write_slot(o) == OK ? wait_for(q, STEP_SLOT) : rest(q);
    case STEP_SLOT: return after_slot(o);
    case STEP_PUNCH: punched(q); return after_holes(o);
    case STEP_CUT: break;
    }
    return rest(q);
}

void checkpoint_run(struct object *o)
{
    struct checkpoint_state *c = &o->queue->checkpoint;
    switch (c->step) {
    case STEP_SHELVE:
        shelve(o, LOG_MAIN);
        shelve(o, LOG_SHELF);
        break;
    case STEP_SYNC:
    case STEP_SLOT: (void)object_sync(o); break;
    case STEP_PUNCH: punch(o); break;
    case STEP_CUT: cut(o); break;
    case STEP_REST: break;
    }
    c->ran = true;
}

bool checkpoint_under_way(const struct object *o)
{
    return o->queue->checkpoint.step != STEP_REST;
}

uint64_t checkpoint_due(const struct object *o)
{
    const struct queue *q = o->queue;
    const struct checkpoint_state *c = &q->checkpoint;
    if (o->failed || c->step != STEP_REST)
        return 0;
    const bool holds_back = c->held_back && o->snapshot == NULL;
    if (c->wanted || holds_back || c->bytes >= q->limits->checkpoint)
        return 1;
    return c->changed_ms > 0 ? c->changed_ms + q->limits->checkpoint_ms : 0;
}

enum err checkpoint_whole(struct object *o, uint64_t now_ms, bool clean)
{
    must(!checkpoint_under_way(o));
    o->queue->checkpoint.clean = clean;
    enum checkpoint next = checkpoint_go(o, now_ms, true);
    while (next != CHECKPOINT_REST) {
        checkpoint_run(o);
        next = checkpoint_go(o, now_ms, false);
    }
    o->queue->checkpoint.clean = false;
    return o->failed ? ERR_EIO : OK;
}

/* --- erase ----------------------------------------------------------------------------------- */

/* The slot says that nothing is there; only when that is durable memory forgets. */
enum err queue_erase(struct object *o, uint64_t now_ms)
{
    struct queue *q = o->queue;
    struct queue_info before;
    must(!checkpoint_under_way(o));
    enum err e = object_writable(o);
    queue_look(o, &before);
    if (e == OK)
        e = object_sync(o);
    if (e != OK)
        return e;
    q->dropped += before.items;
    q->checkpoint.now_ms = now_ms;
    capture(q, true);
    e = write_slot(o);
    if (e == OK)
        e = object_sync(o);
    if (e != OK) {
        q->dropped -= before.items;
        return e;
    }
    items_fini(&q->items);
    queue_move_front(q, q->logs[LOG_MAIN].tail, q->logs[LOG_MAIN].tail_seq);
    give_up(q);
    for (unsigned log = 0; log < LOGS; log++)
        q->gaps[log].n = q->gaps[log].before = q->gaps[log].lost_ahead = 0;
    return OK;
}
