/* Changes of a queue: pushes, what becomes of items, options. */
#include "store/failed.h"
#include "store/queue_inside.h"
#include "sys/guard.h"
#include "sys/log.h"

#include <stdlib.h>

const struct queue_limits queue_limits = {.granule = 64 << 10,
                                          .page = 4096,
                                          .window = 8 << 20,
                                          .shelf = 4 << 20,
                                          .shelve_most = 4 << 20,
                                          .consumption = 32 << 20,
                                          .checkpoint = 8 << 20,
                                          .checkpoint_ms = 1000,
                                          .punch_ms = 1000,
                                          .punch_run = 16};

const char *queue_name(const struct object *o)
{
    return o->queue->name;
}

enum err queue_failed(struct object *o)
{
    return object_page_failed(o);
}

/* Linux tells of a write that failed once, to whoever asks first: the next one is told only when
 * everybody can see it. */
enum err queue_sync(struct object *o)
{
    struct queue *q = o->queue;
    pthread_mutex_lock(&q->syncs);
    if (!o->failed && map_sync(&o->map) != OK)
        (void)object_sync_failed(o);
    const bool failed = o->failed;
    pthread_mutex_unlock(&q->syncs);
    return failed ? ERR_EIO : OK;
}

void queue_changed(struct queue *q, const struct turn *t, uint64_t bytes)
{
    if (q->checkpoint.changed_ms == 0)
        q->checkpoint.changed_ms = t->now_ms > 0 ? t->now_ms : 1;
    q->checkpoint.bytes += bytes;
}

const struct queue_options *queue_options(const struct object *o)
{
    return &o->queue->options;
}

/* --- what is lost ---------------------------------------------------------------------------- */

/* The first gap at the position or behind it. */
static size_t gap_place(const struct gaps *gaps, uint64_t pos)
{
    size_t from = 0;
    size_t to = gaps->n;
    while (from < to) {
        const size_t mid = from + (to - from) / 2;
        if (gaps->list[mid].pos < pos)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* Without memory for it the gap is only not found in this list: counted again after an opening. */
static void note_gap(struct gaps *gaps, size_t place, struct gap gap, bool ahead)
{
    if (gaps->n == gaps->cap) {
        const size_t cap = gaps->cap < 8 ? 16 : gaps->cap * 2;
        struct gap *list = reallocarray(gaps->list, cap, sizeof *list);
        if (list == NULL)
            return;
        gaps->list = list;
        gaps->cap = cap;
    }
    memmove(gaps->list + place + 1, gaps->list + place, (gaps->n - place) * sizeof gap);
    gaps->list[place] = gap;
    gaps->n++;
    gaps->before += !ahead;
    gaps->lost_ahead += ahead ? gap.count : 0;
}

static void report(struct queue *q, uint64_t seq, uint64_t count)
{
    q->damaged += count;
    if (seq == 0)
        log_error("queue \"%s\": a damaged item is passed over", q->name);
    else if (count == 1)
        log_error("queue \"%s\": item %ju is damaged and passed over", q->name, (uintmax_t)seq);
    else
        log_error("queue \"%s\": items %ju to %ju are damaged and passed over", q->name,
                  (uintmax_t)seq, (uintmax_t)(seq + count - 1));
}

void queue_lost(struct queue *q, unsigned log, uint64_t pos, uint64_t seq, uint64_t count)
{
    struct gaps *gaps = &q->gaps[log];
    const size_t place = gap_place(gaps, pos);
    const bool known = place < gaps->n && gaps->list[place].pos == pos;
    if (count == 0 || known)
        return;
    report(q, seq, count);
    note_gap(gaps, place, (struct gap){.pos = pos, .seq = seq, .count = count},
             log == LOG_MAIN && seq >= q->front_seq);
}

/* Numbers rise with positions: the gaps before the frontier come first. */
static void pass_gaps(struct gaps *gaps, size_t to)
{
    while (gaps->before < to)
        gaps->lost_ahead -= gaps->list[gaps->before++].count;
}

void queue_move_front(struct queue *q, uint64_t pos, uint64_t seq)
{
    struct gaps *gaps = &q->gaps[LOG_MAIN];
    q->front_pos = pos;
    q->front_seq = seq;
    q->front_time = 0;
    while (gaps->before < gaps->n && gaps->list[gaps->before].seq < seq)
        pass_gaps(gaps, gaps->before + 1);
}

void queue_forget_lost(struct queue *q)
{
    for (unsigned log = 0; log < LOGS; log++) {
        struct gaps *gaps = &q->gaps[log];
        const size_t gone = gap_place(gaps, q->logs[log].head);
        pass_gaps(gaps, gone);
        gaps->before -= gone;
        gaps->n -= gone;
        if (gone > 0)
            memmove(gaps->list, gaps->list + gone, gaps->n * sizeof *gaps->list);
    }
}

/* Damaged items behind the frontier, as far as they have been seen. */
static uint64_t lost_ahead(const struct queue *q)
{
    return q->gaps[LOG_MAIN].lost_ahead;
}

/* Of those behind the frontier. */
static uint64_t items_ahead(const struct queue *q)
{
    return q->logs[LOG_MAIN].tail_seq - q->front_seq - lost_ahead(q);
}

/* Where the next record can begin: in one that is whole there is no other. */
static enum err step(struct object *o, const struct turn *t, uint64_t *pos, struct record_fields *f)
{
    struct spot at;
    enum err e = record_head(o, t, LOG_MAIN, *pos, f, &at);
    if (e == OK)
        e = record_payload(o, t, f, &at);
    if (e == OK)
        *pos += f->kind == RECORD_JUMP ? JUMP_BYTES : record_size(f->length);
    else if (e == ERR_DAMAGED)
        *pos += 8;
    return e;
}

/* A record and what follows it without a gap. */
struct chain {
    uint64_t pos;   /* where to look next */
    uint64_t end;   /* of the last one */
    uint64_t next;  /* the number that comes then */
    uint32_t epoch; /* of the last one */
    uint32_t last;  /* of the last that is not older */
    uint64_t later; /* the first of a later life; NO_POSITION: none yet */
    bool undone;    /* a lesser number was found */
};

static enum err follow_chain(struct object *o, const struct turn *t,
                             const struct record_fields *from, uint64_t most, struct chain *c)
{
    const struct queue *q = o->queue;
    while (c->pos <= c->end && c->pos < most && c->last != q->epoch) {
        const uint64_t here = c->pos;
        struct record_fields f;
        enum err e = step(o, t, &c->pos, &f);
        if (e != OK && e != ERR_DAMAGED)
            return e;
        if (e != OK || f.epoch < c->epoch)
            continue;
        if (f.epoch > from->epoch && c->later == NO_POSITION)
            c->later = here;
        c->undone = f.epoch > c->epoch && f.seq < c->next;
        if (c->undone)
            return OK;
        if (here == c->end) {
            c->end += record_size(f.length);
            c->next = f.seq + record_is_item(&f);
            c->epoch = f.epoch;
        }
        c->last = f.epoch;
    }
    return OK;
}

/* Does what is known hold for a search from there? */
static bool is_of_use(const struct lesser *l, const struct chain *c, uint64_t tail)
{
    return l->tail == tail && l->epoch == c->epoch && l->from <= c->pos && c->pos <= l->to &&
           l->first >= c->pos && l->least_pos >= c->pos;
}

/* Looks behind the chain until a lesser number is known or there is none. What was looked at is not
 * looked at again for the next damaged place. */
static enum err look_behind(struct object *o, const struct turn *t, uint64_t most,
                            const struct chain *c)
{
    struct queue *q = o->queue;
    struct lesser *l = &q->lesser;
    const uint64_t tail = q->logs[LOG_MAIN].tail;
    if (!is_of_use(l, c, tail))
        *l = (struct lesser){.from = c->pos,
                             .to = c->pos,
                             .tail = tail,
                             .epoch = c->epoch,
                             .first = NO_POSITION,
                             .least = UINT64_MAX,
                             .least_pos = NO_POSITION};
    while (l->least >= c->next && !l->over && l->to < most) {
        const uint64_t here = l->to;
        struct record_fields f;
        enum err e = step(o, t, &l->to, &f);
        if (e != OK && e != ERR_DAMAGED)
            return e;
        if (e != OK || f.epoch < l->epoch)
            continue;
        if (f.epoch > l->epoch && l->first == NO_POSITION)
            l->first = here;
        if (f.epoch > l->epoch && f.seq < l->least) {
            l->least = f.seq;
            l->least_pos = here;
        }
        l->over = f.epoch == q->epoch; /* what this life wrote is in order */
    }
    return OK;
}

/* A JUMP may pass over records that a power cut undid; where it is damaged they come to light. Such
 * a record, or one that follows it without a gap, is known by one of a later life with a lesser
 * number, that comes less than the longest record behind it. *until: the first of a later life, if
 * so; NO_POSITION: it was not undone. */
static enum err find_lesser(struct object *o, const struct turn *t,
                            const struct record_fields *from, uint64_t pos, uint64_t *until)
{
    const struct queue *q = o->queue;
    const uint64_t tail = q->logs[LOG_MAIN].tail;
    const uint64_t longest = pos + record_size(RECORD_LONGEST);
    const uint64_t most = longest < tail ? longest : tail;
    struct chain c = {.pos = pos,
                      .end = pos,
                      .next = from->seq,
                      .epoch = from->epoch,
                      .last = from->epoch,
                      .later = NO_POSITION};
    enum err e = follow_chain(o, t, from, most, &c);
    uint64_t to = c.pos;
    if (e == OK && !c.undone && c.pos < most && c.last != q->epoch) {
        e = look_behind(o, t, most, &c);
        to = q->lesser.to;
        c.undone = q->lesser.least < c.next;
        c.later = c.later == NO_POSITION ? q->lesser.first : c.later;
    }
    if (e != OK)
        return e;
    const bool undone = c.undone || (to >= tail && q->logs[LOG_MAIN].tail_seq < c.next);
    *until = !undone ? NO_POSITION : c.later == NO_POSITION ? tail : c.later;
    return OK;
}

/* Is there a record at *pos to go on with? ERR_DAMAGED: no, *pos is where to look next. */
static enum err check_place(struct object *o, const struct turn *t, unsigned log, uint64_t seq,
                            uint64_t *pos, struct record_fields *f, struct spot *at)
{
    const uint64_t end_seq = log == LOG_MAIN ? o->queue->logs[log].tail_seq : UINT64_MAX;
    uint64_t until = NO_POSITION;
    uint64_t next = *pos + 8;
    enum err e = record_head(o, t, log, *pos, f, at);
    if (e == OK && f->seq < seq)
        e = ERR_DAMAGED;
    if (e == OK && log == LOG_MAIN)
        e = record_payload(o, t, f, at);
    if (e == OK && log == LOG_MAIN)
        e = find_lesser(o, t, f, *pos, &until);
    if (e != OK && e != ERR_DAMAGED)
        return e;
    if (e == OK && until == NO_POSITION && record_is_item(f) && f->seq < end_seq)
        return OK;
    if (e == OK)
        next = until == NO_POSITION ? *pos + record_size(f->length) : until;
    *pos = next;
    return ERR_DAMAGED;
}

enum err queue_resync(struct object *o, const struct turn *t, unsigned log, uint64_t seq,
                      uint64_t *pos, struct record_fields *f, struct spot *at)
{
    const uint64_t tail = o->queue->logs[log].tail;
    uint64_t p = *pos + 8;
    if (!t->may_wait)
        return ERR_WOULD_BLOCK;
    while (p < tail) {
        enum err e = check_place(o, t, log, seq, &p, f, at);
        if (e == OK)
            *pos = p;
        if (e != ERR_DAMAGED)
            return e;
    }
    return ERR_EMPTY;
}

/* --- pushing --------------------------------------------------------------------------------- */

static uint64_t stored_items(const struct queue *q)
{
    return q->items.live + items_ahead(q);
}

static uint64_t stored_bytes(const struct queue *q)
{
    return q->items.bytes[LOG_MAIN] + q->items.bytes[LOG_SHELF] +
           (q->logs[LOG_MAIN].tail - q->front_pos);
}

/* What a push needs, and what has to go for it. */
struct demand {
    uint64_t items;
    uint64_t bytes;
};

static uint64_t over(uint64_t stored, uint64_t more, uint64_t most)
{
    return most > 0 && stored + more > most ? stored + more - most : 0;
}

static bool fits(const struct queue *q, struct demand d)
{
    return over(stored_items(q), d.items, q->options.max_items) == 0 &&
           over(stored_bytes(q), d.bytes, q->options.max_bytes) == 0;
}

/* Would it fit if all that is ready were dropped? */
static bool can_fit(const struct queue *q, struct demand d)
{
    const struct items *all = &q->items;
    const uint64_t bytes = all->bytes[LOG_MAIN] + all->bytes[LOG_SHELF] - all->ready_bytes;
    return over(all->live - all->ready.n, d.items, q->options.max_items) == 0 &&
           over(bytes, d.bytes, q->options.max_bytes) == 0;
}

/* More than so many are a worker's to drop. */
enum { DROPS_HERE = 2000 };

/* Can the push come first, and all that it drops then? Their states can be stored without waiting
 * if so. ERR_CHECKPOINT: some only after the next checkpoint. */
static enum err check_droppable(struct object *o, const struct turn *t, struct demand d)
{
    const struct queue *q = o->queue;
    const uint64_t items = over(stored_items(q), d.items, q->options.max_items);
    const uint64_t bytes = over(stored_bytes(q), d.bytes, q->options.max_bytes);
    struct demand freed = {.items = 0};
    struct record r = {.seq = 0};
    enum err e = OK;
    while (e == OK && (freed.items < items || freed.bytes < bytes)) {
        if (freed.items == DROPS_HERE && !t->may_wait)
            return ERR_WOULD_BLOCK;
        e = queue_next(o, t, r.seq + 1, &r);
        if (e == OK && r.item == NULL && r.pos >= q->durable_front + q->limits->consumption)
            e = ERR_CHECKPOINT;
        freed.items++;
        freed.bytes += r.size;
    }
    return e == ERR_EMPTY ? OK : e; /* what is ready is enough */
}

static const struct turn at_any_price = {.may_wait = true};

/* Drops the oldest that are ready and before `end` until so much fits; ERR_CHECKPOINT as
 * queue_front. */
static enum err drop(struct object *o, const struct turn *t, struct demand d, uint64_t end)
{
    struct queue *q = o->queue;
    struct record r;
    const struct turn patient = {.now_ms = t->now_ms, .may_wait = true};
    enum err e = OK;
    while (e == OK && !fits(q, d)) {
        e = queue_front(o, &patient, &r);
        if (e == OK && (r.seq >= end || fits(q, d))) /* a JUMP that was passed can be enough */
            return OK;
        if (e == OK)
            e = queue_pop(o, &patient, &r);
        if (e == OK) {
            q->popped--;
            q->dropped++;
        }
    }
    return e;
}

/* What is due after the push, and nothing of it: the end of an extent that it left may be too much
 * for now. */
static enum err drop_over(struct object *o, const struct turn *t, uint64_t first)
{
    enum err e = drop(o, t, (struct demand){.items = 0}, first);
    return e == ERR_EIO ? e : OK;
}

/* Where so much has to go that it takes checkpoints, what can go now goes before the push, which is
 * tried again then. */
static enum err drop_ahead(struct object *o, const struct turn *t, struct demand d)
{
    enum err e = check_droppable(o, t, d);
    if (e != ERR_CHECKPOINT)
        return e;
    return t->may_wait ? drop(o, t, d, UINT64_MAX) : ERR_WOULD_BLOCK;
}

static uint64_t *sizes_of(const struct span *items, size_t n, size_t prefix, uint64_t *one,
                          struct demand *d)
{
    uint64_t *sizes = n == 1 ? one : malloc(n * sizeof *sizes);
    *d = (struct demand){.items = n};
    for (size_t i = 0; sizes != NULL && i < n; i++) {
        sizes[i] = record_size(items[i].len + prefix);
        d->bytes += sizes[i];
    }
    return sizes;
}

/* Everything that can be wrong, before the first store, and the first drop. */
static enum err make_room(struct object *o, const struct turn *t, const uint64_t *sizes, size_t n,
                          struct demand d)
{
    struct queue *q = o->queue;
    enum err e = object_writable(o);
    const bool is_over = !fits(q, d);
    if (e == OK && is_over && !(q->options.drop_head && can_fit(q, d)))
        e = ERR_FULL;
    if (e == OK)
        e = record_reserve(o, t, LOG_MAIN, sizes, n);
    return e == OK && is_over ? drop_ahead(o, t, d) : e;
}

/* The pages that will be stored into; once they are there, nothing turns back any more. */
static enum err check_tail(struct object *o, const struct turn *t, uint64_t first, uint64_t bytes)
{
    struct queue *q = o->queue;
    const struct recordlog *log = &q->logs[LOG_MAIN];
    const uint64_t granule = q->limits->granule;
    uint64_t left = 0;
    const uint64_t offset = log_offset(log, log->tail, &left);
    const bool here = left >= first + JUMP_BYTES;
    const uint64_t most = here ? (bytes < left ? bytes : left) : JUMP_BYTES;
    enum err e = record_ready(o, t, offset, most);
    if (e != OK || log->next.count == 0 || (here && bytes + JUMP_BYTES <= left))
        return e;
    const uint64_t next = log->next.count * granule;
    return record_ready(o, t, log->next.granule * granule, bytes < next ? bytes : next);
}

static enum err append_all(struct object *o, const struct turn *t, const struct draft *like,
                           const struct span *items, size_t n)
{
    struct recordlog *log = &o->queue->logs[LOG_MAIN];
    const struct turn patient = {.now_ms = t->now_ms, .may_wait = true};
    struct draft d = *like;
    enum err e = OK;
    uint64_t pos;
    d.time = t->now_ms;
    for (size_t i = 0; i < n && e == OK; i++) {
        d.item = items[i];
        d.seq = log->tail_seq;
        e = record_append(o, &patient, LOG_MAIN, &d, &pos);
        log->tail_seq += e == OK;
    }
    return e;
}

static enum err push(struct object *o, const struct turn *t, const struct draft *like,
                     const struct span *items, size_t n, uint64_t *first)
{
    struct queue *q = o->queue;
    struct demand d;
    uint64_t one;
    for (size_t i = 0; i < n; i++)
        if (items[i].len > RECORD_LONGEST - sizeof(struct origin_fields))
            return ERR_MAX_FRAME;
    uint64_t *sizes = sizes_of(items, n, like->prefix.len, &one, &d);
    if (sizes == NULL)
        return ERR_ENOMEM;
    enum err e = make_room(o, t, sizes, n, d);
    if (e == OK)
        e = check_tail(o, t, sizes[0], d.bytes);
    if (sizes != &one)
        free(sizes);
    if (e != OK)
        return e;
    *first = q->logs[LOG_MAIN].tail_seq;
    const bool big = object_pass(o, d.bytes);
    e = append_all(o, t, like, items, n);
    if (big && object_passed(o, e) != OK)
        e = queue_failed(o);
    queue_changed(q, t, d.bytes);
    return e == OK && q->options.drop_head ? drop_over(o, t, *first) : e;
}

enum err queue_push(struct object *o, const struct turn *t, const struct span *items, size_t n,
                    uint64_t *first)
{
    const struct draft like = {.kind = RECORD_ITEM};
    *first = o->queue->logs[LOG_MAIN].tail_seq;
    return n == 0 ? object_writable(o) : push(o, t, &like, items, n, first);
}

enum err queue_push_moved(struct object *o, const struct turn *t, const struct origin *from,
                          struct span item, uint64_t *seq)
{
    struct origin_fields f = {.seq = from->seq, .attempts = from->attempts};
    memcpy(f.uuid, from->uuid, sizeof f.uuid);
    const struct draft like = {.kind = RECORD_MOVED, .prefix = span_of(&f, sizeof f)};
    return push(o, t, &like, &item, 1, seq);
}

/* --- the front ------------------------------------------------------------------------------- */

void queue_fill(const struct object *o, const struct record_fields *f, const struct spot *at,
                struct item *item, struct record *r)
{
    *r = (struct record){.seq = f->seq,
                         .time = f->time,
                         .attempts = item != NULL ? item->attempts : state_attempts(f->state),
                         .bytes = record_item(o, f, at),
                         .item = item,
                         .pos = at->pos,
                         .size = (uint32_t)record_size(f->length)};
}

static void advance(struct queue *q, const struct record *r)
{
    queue_move_front(q, r->pos + r->size, r->seq + 1);
}

enum err queue_ready(struct object *o, const struct turn *t, const struct item *item)
{
    const struct queue *q = o->queue;
    uint64_t left;
    const uint64_t head = sizeof(struct record_fields);
    enum err e = record_ready(o, t, log_offset(&q->logs[item->log], item->pos, &left), head);
    if (e == OK && item->copy != NO_POSITION)
        e = record_ready(o, t, log_offset(&q->logs[LOG_SHELF], item->copy, &left), head);
    return e;
}

/* Stores the state of an item, also in its copy; both or nothing. */
static enum err set_item(struct object *o, const struct turn *t, const struct item *item,
                         uint64_t value)
{
    enum err e = queue_ready(o, t, item);
    if (e == OK)
        e = record_set_state(o, &at_any_price, item->log, item->pos, value);
    if (e == OK && item->copy != NO_POSITION)
        e = record_set_state(o, &at_any_price, LOG_SHELF, item->copy, value);
    return e;
}

/* Takes an item out whose record is not what was pushed. */
static void lose_item(struct object *o, struct item *item)
{
    struct queue *q = o->queue;
    queue_lost(q, item->log, item->pos, item->seq, 1);
    items_remove(&q->items, item);
}

/* Its header is good: done, so that it is never seen again. */
enum err queue_damaged(struct object *o, const struct turn *t, const struct record *r)
{
    struct queue *q = o->queue;
    const uint64_t done = state_value(STATE_DONE, r->attempts, 0);
    enum err e = r->item != NULL ? set_item(o, t, r->item, done)
                                 : record_set_state(o, t, LOG_MAIN, r->pos, done);
    if (e != OK)
        return e;
    report(q, r->seq, 1);
    queue_changed(q, t, r->size);
    if (r->item != NULL)
        items_remove(&q->items, r->item);
    else
        advance(q, r);
    return OK;
}

enum err queue_read(struct object *o, const struct turn *t, struct item *item, struct record *r)
{
    struct record_fields f;
    struct spot at;
    enum err e = record_head(o, t, item->log, item->pos, &f, &at);
    if (e == ERR_DAMAGED || (e == OK && f.seq != item->seq)) {
        lose_item(o, item);
        return ERR_DAMAGED;
    }
    if (e != OK)
        return e;
    queue_fill(o, &f, &at, item, r);
    e = record_payload(o, t, &f, &at);
    if (e != ERR_DAMAGED)
        return e;
    e = queue_damaged(o, t, r);
    return e == OK ? ERR_DAMAGED : e;
}

/* Over what is damaged at the frontier to the next record of an item, or to the tail. */
static enum err pass_over(struct object *o, const struct turn *t)
{
    struct queue *q = o->queue;
    const struct recordlog *log = &q->logs[LOG_MAIN];
    struct record_fields f;
    struct spot at;
    uint64_t pos = q->front_pos;
    enum err e = queue_resync(o, t, LOG_MAIN, q->front_seq, &pos, &f, &at);
    if (e != OK && e != ERR_EMPTY)
        return e;
    const uint64_t seq = e == OK ? f.seq : log->tail_seq;
    queue_lost(q, LOG_MAIN, q->front_pos, q->front_seq, seq - q->front_seq);
    queue_move_front(q, e == OK ? pos : log->tail, seq);
    return OK;
}

/* A state word that does not fit: nobody knows what had become of the item. */
static void lose_state(struct object *o, const struct record_fields *f, const struct spot *at)
{
    struct queue *q = o->queue;
    struct record r;
    queue_lost(q, LOG_MAIN, at->pos, f->seq, 1);
    queue_fill(o, f, at, NULL, &r);
    advance(q, &r);
}

/* At the tail no record is due, whatever stands there: a slot may promise more than there are. */
static enum err head_at_front(struct object *o, const struct turn *t, struct record_fields *f,
                              struct spot *at)
{
    const struct queue *q = o->queue;
    const bool is_before_tail = q->front_pos < q->logs[LOG_MAIN].tail;
    return is_before_tail ? record_head(o, t, LOG_MAIN, q->front_pos, f, at) : ERR_DAMAGED;
}

/* The record at the frontier; ERR_DAMAGED: it was passed over, there is another one now. */
static enum err read_frontier(struct object *o, const struct turn *t, struct record *r)
{
    struct queue *q = o->queue;
    struct record_fields f;
    struct spot at;
    enum err e = head_at_front(o, t, &f, &at);
    while (e == OK && f.kind == RECORD_JUMP) {
        q->front_pos += record_size(f.length);
        e = head_at_front(o, t, &f, &at);
    }
    /* what is beyond has not been touched: recovery relies on it */
    if (q->front_pos >= q->durable_front + q->limits->consumption) {
        q->checkpoint.wanted = true;
        return ERR_CHECKPOINT;
    }
    if (e == OK && f.seq != q->front_seq)
        e = ERR_DAMAGED;
    if (e == ERR_DAMAGED) {
        e = pass_over(o, t);
        return e == OK ? ERR_DAMAGED : e;
    }
    if (e != OK)
        return e;
    q->front_time = f.time;
    if (!state_fits(f.header_hash, f.state) || state_of(f.state) != STATE_AVAILABLE) {
        lose_state(o, &f, &at);
        return ERR_DAMAGED;
    }
    queue_fill(o, &f, &at, NULL, r);
    e = record_payload(o, t, &f, &at);
    if (e != ERR_DAMAGED)
        return e;
    e = queue_damaged(o, t, r);
    return e == OK ? ERR_DAMAGED : e;
}

static enum err next_at_front(struct object *o, const struct turn *t, struct record *r)
{
    struct queue *q = o->queue;
    struct heap_node *first = heap_first(&q->items.ready);
    if (first != NULL)
        return queue_read(o, t, (void *)((char *)first - offsetof(struct item, node)), r);
    if (q->front_seq >= q->logs[LOG_MAIN].tail_seq)
        return ERR_EMPTY;
    return read_frontier(o, t, r);
}

enum err queue_front(struct object *o, const struct turn *t, struct record *r)
{
    enum { PASSED_MOST = 1000 }; /* of a turn that may not wait */
    unsigned passed = 0;
    enum err e;
    do
        e = t->may_wait || passed++ < PASSED_MOST ? next_at_front(o, t, r) : ERR_WOULD_BLOCK;
    while (e == ERR_DAMAGED);
    return e;
}

/* --- what becomes of an item ----------------------------------------------------------------- */

static unsigned once_more(unsigned attempts)
{
    return attempts < ATTEMPTS_MOST ? attempts + 1 : attempts;
}

enum err queue_pop(struct object *o, const struct turn *t, const struct record *r)
{
    struct queue *q = o->queue;
    const uint64_t done = state_value(STATE_DONE, once_more(r->attempts), 0);
    enum err e = r->item != NULL ? set_item(o, t, r->item, done)
                                 : record_set_state(o, t, LOG_MAIN, r->pos, done);
    if (e != OK)
        return e;
    q->popped++;
    queue_changed(q, t, r->size);
    if (r->item != NULL)
        items_remove(&q->items, r->item);
    else
        advance(q, r);
    return OK;
}

/* The record at the frontier gets an item in memory. */
static struct item *pass_frontier(struct queue *q, const struct record *r)
{
    struct item *item = items_add(&q->items, r->seq, LOG_MAIN, r->pos, r->size);
    item->time = r->time;
    item->attempts = r->attempts;
    advance(q, r);
    return item;
}

static enum err take_frontier(struct object *o, const struct turn *t, const struct record *r,
                              uint64_t value, struct item **item)
{
    struct queue *q = o->queue;
    if (!items_room(&q->items))
        return ERR_ENOMEM;
    enum err e = record_set_state(o, t, LOG_MAIN, r->pos, value);
    if (e != OK)
        return e;
    *item = pass_frontier(q, r);
    return OK;
}

enum err queue_hold_front(struct object *o, const struct turn *t, const struct record *r,
                          struct item **item)
{
    struct queue *q = o->queue;
    *item = r->item;
    if (r->item == NULL && !items_room(&q->items))
        return ERR_ENOMEM;
    if (r->item == NULL) {
        *item = pass_frontier(q, r);
        queue_changed(q, t, r->size);
    }
    items_set(&q->items, *item, ITEM_LEASED);
    return OK;
}

struct record queue_record_of(struct item *item)
{
    return (struct record){.seq = item->seq,
                           .time = item->time,
                           .attempts = item->attempts,
                           .item = item,
                           .pos = item->pos,
                           .size = item->size};
}

enum err queue_take(struct object *o, const struct turn *t, const struct record *r,
                    struct item **item)
{
    struct queue *q = o->queue;
    const unsigned attempts = once_more(r->attempts);
    const uint64_t value = state_value(STATE_AVAILABLE, attempts, 0);
    enum err e = OK;
    *item = r->item;
    if (r->item == NULL)
        e = take_frontier(o, t, r, value, item);
    else
        e = set_item(o, t, r->item, value);
    if (e != OK)
        return e;
    queue_changed(q, t, r->item == NULL ? r->size : 0);
    (*item)->attempts = attempts;
    (*item)->until = 0;
    items_set(&q->items, *item, ITEM_LEASED);
    return OK;
}

struct item *queue_find(const struct object *o, uint64_t seq)
{
    return items_find(&o->queue->items, seq);
}

struct item *queue_item_from(const struct object *o, uint64_t seq)
{
    const struct items *all = &o->queue->items;
    size_t i = items_place(all, seq);
    while (i < all->n && all->by_seq[i].item == NULL)
        i++;
    return i < all->n ? all->by_seq[i].item : NULL;
}

static enum err finish(struct object *o, const struct turn *t, struct item *item, uint64_t *count)
{
    struct queue *q = o->queue;
    enum err e = set_item(o, t, item, state_value(STATE_DONE, item->attempts, 0));
    if (e != OK)
        return e;
    (*count)++;
    queue_changed(q, t, item->size);
    items_remove(&q->items, item);
    return OK;
}

enum err queue_ack(struct object *o, const struct turn *t, struct item *item)
{
    return finish(o, t, item, &o->queue->acked);
}

enum err queue_dead(struct object *o, const struct turn *t, struct item *item)
{
    return finish(o, t, item, &o->queue->dead);
}

/* Stores what the item is to be, and makes it that. */
static enum err become(struct object *o, const struct turn *t, struct item *item,
                       enum item_state state, unsigned stored, unsigned attempts, uint64_t until)
{
    struct queue *q = o->queue;
    enum err e = set_item(o, t, item, state_value(stored, attempts, until));
    if (e != OK)
        return e;
    item->attempts = attempts;
    item->until = until;
    items_set(&q->items, item, state);
    queue_changed(q, t, 0);
    return OK;
}

/* Seconds after the making of the file, rounded up. */
static uint64_t until_of(const struct queue *q, uint64_t now_ms, uint64_t delay_ms)
{
    uint64_t at;
    const uint64_t since = now_ms > q->created ? now_ms - q->created : 0;
    if (!add_u64(since, delay_ms, &at) || at / 1000 >= UNTIL_MOST)
        return UNTIL_MOST;
    return (at + 999) / 1000;
}

enum err queue_release(struct object *o, const struct turn *t, struct item *item, uint64_t delay_ms)
{
    struct queue *q = o->queue;
    if (delay_ms > 0)
        return become(o, t, item, ITEM_DELAYED, STATE_AVAILABLE, item->attempts,
                      until_of(q, t->now_ms, delay_ms));
    items_set(&q->items, item, ITEM_READY);
    return OK;
}

enum err queue_unsee(struct object *o, const struct turn *t, struct item *item)
{
    const unsigned attempts = item->attempts > 0 ? item->attempts - 1 : 0;
    return become(o, t, item, ITEM_READY, STATE_AVAILABLE, attempts, 0);
}

enum err queue_bury(struct object *o, const struct turn *t, struct item *item)
{
    return become(o, t, item, ITEM_BURIED, STATE_BURIED, item->attempts, 0);
}

enum err queue_kick(struct object *o, const struct turn *t, struct item *item)
{
    return become(o, t, item, ITEM_READY, STATE_AVAILABLE, 0, 0);
}

void queue_hold(struct object *o, struct item *item)
{
    items_set(&o->queue->items, item, ITEM_LEASED);
}

/* --- delays ---------------------------------------------------------------------------------- */

uint64_t queue_wakes_at(const struct object *o)
{
    const struct heap_node *first = heap_first(&o->queue->items.delayed);
    return first == NULL ? 0 : o->queue->created + first->key * 1000;
}

size_t queue_wake(struct object *o, uint64_t now_ms, size_t most)
{
    struct queue *q = o->queue;
    size_t n = 0;
    for (; n < most && q->items.delayed.n > 0 && queue_wakes_at(o) <= now_ms; n++) {
        struct heap_node *first = heap_first(&q->items.delayed);
        items_set(&q->items, (void *)((char *)first - offsetof(struct item, node)), ITEM_READY);
    }
    return n;
}

/* --- options --------------------------------------------------------------------------------- */

static void apply(const struct queue_change *c, struct queue_options *to)
{
    const struct queue_options *from = &c->to;
    if (c->given & QUEUE_MAX_ITEMS)
        to->max_items = from->max_items;
    if (c->given & QUEUE_MAX_BYTES)
        to->max_bytes = from->max_bytes;
    if (c->given & QUEUE_LEASE_MS)
        to->lease_ms = from->lease_ms;
    if (c->given & QUEUE_MAX_ATTEMPTS)
        to->max_attempts = from->max_attempts;
    if (c->given & QUEUE_OVERFLOW)
        to->drop_head = from->drop_head;
    if (c->given & QUEUE_FIXED_SIZE)
        to->fixed_size = from->fixed_size;
    if (c->given & QUEUE_DURABLE)
        to->durable = from->durable;
    if (c->given & QUEUE_DEAD_LETTER)
        memcpy(to->dead_letter, from->dead_letter, sizeof to->dead_letter);
    if (c->given & QUEUE_REGISTERED)
        memcpy(to->registered, from->registered, sizeof to->registered);
}

enum err queue_configure(struct object *o, const struct queue_change *change)
{
    struct queue *q = o->queue;
    struct queue_options to = q->options;
    apply(change, &to);
    if (change->given == 0)
        return OK;
    const uint64_t opt_seq = header_next(q->opt_seq);
    uint8_t *page = malloc(q->limits->page);
    enum err e = page == NULL ? ERR_ENOMEM : object_writable(o);
    if (e == OK)
        e = header_write_options(q, opt_seq, &to, page);
    if (e == OK && put_bytes(o, header_options_at(q->limits, opt_seq), page, q->limits->page) != OK)
        e = queue_failed(o);
    free(page);
    if (e == OK)
        e = object_sync(o);
    if (e != OK)
        return e;
    q->opt_seq = opt_seq;
    q->options = to;
    return OK;
}

/* --- information ----------------------------------------------------------------------------- */

/* Of the least item that is there: one in memory knows, that at the frontier if it was looked at.
 */
static uint64_t oldest_time(struct object *o)
{
    static const struct turn glance = {.may_wait = false};
    struct queue *q = o->queue;
    struct record_fields f;
    struct spot at;
    if (q->items.live > 0)
        return q->items.by_seq[q->items.first].item->time;
    if (q->front_seq == q->logs[LOG_MAIN].tail_seq || q->front_time > 0)
        return q->front_time;
    if (!o->failed && record_head(o, &glance, LOG_MAIN, q->front_pos, &f, &at) == OK &&
        record_is_item(&f))
        q->front_time = f.time;
    return q->front_time;
}

uint64_t queue_ready_items(const struct object *o)
{
    return o->queue->items.ready.n + items_ahead(o->queue);
}

void queue_look(struct object *o, struct queue_info *info)
{
    struct queue *q = o->queue;
    const struct recordlog *log = &q->logs[LOG_MAIN];
    const uint64_t ahead = items_ahead(q);
    const struct items *all = &q->items;
    *info = (struct queue_info){
        .items = all->live + ahead,
        .ready = all->ready.n + ahead,
        .leased = all->leased,
        .delayed = all->delayed.n,
        .buried = all->buried,
        .bytes = stored_bytes(q),
        .pushed = log->tail_seq - 1,
        .popped = q->popped,
        .acked = q->acked,
        .dropped = q->dropped,
        .dead = q->dead,
        .damaged = q->damaged,
        .oldest_time = oldest_time(o),
        .first_id = all->live > 0 ? all->by_seq[all->first].seq : q->front_seq,
        .next_id = log->tail_seq,
        .head = log->head,
        .tail = log->tail,
        .file_size = o->map.size,
    };
    memcpy(info->uuid, q->uuid, sizeof info->uuid);
}
