/* A queue file as opening reads it, and beyond: every record up to the end, with its payload.
 *
 * The items before the frontier are those that opening keeps in memory, of both logs; those behind
 * it are read in the main log. What opening passes over is known by its gaps. A file that cannot be
 * opened for one wrong bit in its superblock, or since its end is missing, is put right in a copy,
 * so that what is left of it can be told. */
#include <inttypes.h>

#include "store/check.h"
#include "store/queue_inside.h"
#include "sys/guard.h"
#include "sys/hash.h"

static const struct turn patient = {.may_wait = true};

enum { PLACES = 1024 }; /* records between two calls of progress */

struct walker {
    struct checking *k;
    struct object *o;
    uint64_t steps;
    bool moved_on; /* the queue was used meanwhile, and space of what is done used again */
};

static uint64_t offset_of(const struct object *o, unsigned log, uint64_t pos)
{
    uint64_t left;
    const uint64_t offset = log_offset(&o->queue->logs[log], pos, &left);
    return offset == NO_POSITION ? CHECK_NONE : offset;
}

/* A checkpoint has been since: granules that were given up may have other records by now. */
static bool has_moved_on(const struct walker *w)
{
    const struct queue *q = w->o->queue;
    uint64_t seqs[2] = {0};
    if (!w->k->c->in_use)
        return false;
    for (unsigned i = 0; i < 2; i++)
        (void)guard_copy(&seqs[i], w->o->map.at + header_slot_at(q->limits, i), sizeof seqs[i]);
    return seqs[q->slot_seq & 1] != q->slot_seq ||
           header_is_newer(seqs[~q->slot_seq & 1], q->slot_seq);
}

static void lose(struct walker *w, unsigned log, uint64_t pos, uint64_t seq, uint64_t count,
                 const char *what)
{
    if (count == 0)
        return;
    if (has_moved_on(w))
        w->moved_on = true;
    else
        check_tell(w->k, &(struct check_finding){.damage = true,
                                                 .id = seq == 0 ? CHECK_NONE : seq,
                                                 .count = count,
                                                 .offset = offset_of(w->o, log, pos),
                                                 .what = what});
}

static void note(struct checking *k, uint64_t id, uint64_t offset, const char *what)
{
    check_tell(k, &(struct check_finding){.id = id, .offset = offset, .what = what});
}

static void step(struct walker *w, uint64_t pos)
{
    const struct recordlog *log = &w->o->queue->logs[LOG_MAIN];
    if (w->steps++ % PLACES == 0)
        check_progress(w->k, pos - log->head, log->tail - log->head);
}

/* --- the pages of the first granule ---------------------------------------------------------- */

static bool is_zero(const uint8_t *page, size_t len)
{
    while (len > 0 && page[len - 1] == 0)
        len--;
    return len == 0;
}

static bool is_whole(const struct object *o, uint64_t at, bool *zero)
{
    uint8_t page[4096];
    must(o->queue->limits->page <= sizeof page);
    if (!guard_copy(page, o->map.at + at, o->queue->limits->page))
        return false;
    *zero = is_zero(page, o->queue->limits->page);
    return header_check(o->queue, page, at);
}

/* A page that is not whole beside one that is: a power cut while it was written, or damage. */
static void look_at_pages(struct checking *k, const struct object *o)
{
    const struct queue *q = o->queue;
    bool zero = false;
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t slot = header_slot_at(q->limits, i);
        const uint64_t options = header_options_at(q->limits, i);
        if ((q->slot_seq & 1) != i && !is_whole(o, slot, &zero) && !zero)
            note(k, CHECK_NONE, slot, "this header slot is not whole, the other one serves");
        if (q->opt_seq > 0 && (q->opt_seq & 1) != i && !is_whole(o, options, &zero) && !zero)
            note(k, CHECK_NONE, options, "this options page is not whole, the other one serves");
    }
    if (q->opt_seq == 0)
        check_tell(k, &(struct check_finding){.damage = true,
                                              .id = CHECK_NONE,
                                              .offset = header_options_at(q->limits, 0),
                                              .what = "neither options page is whole: the queue "
                                                      "has no options"});
}

/* --- what opening found ---------------------------------------------------------------------- */

/* Gaps behind the frontier are met again. */
static void tell_gaps(struct walker *w)
{
    const struct queue *q = w->o->queue;
    for (unsigned log = 0; log < LOGS; log++)
        for (size_t i = 0; i < q->gaps[log].n; i++) {
            const struct gap *gap = &q->gaps[log].list[i];
            if (log == LOG_SHELF || gap->seq < q->front_seq)
                lose(w, log, gap->pos, gap->seq, gap->count,
                     log == LOG_SHELF ? "this record of the shelf is damaged"
                                      : "this record is damaged");
        }
}

static uint64_t until_ms(const struct queue *q, const struct item *item)
{
    return item != NULL && item->state == ITEM_DELAYED ? q->created + item->until * 1000 : 0;
}

static enum err give(struct walker *w, const struct record_fields *f, const struct spot *at,
                     struct item *item)
{
    const struct checking *k = w->k;
    struct record r;
    w->k->counts.things++;
    if (k->c->item == NULL)
        return OK;
    queue_fill(w->o, f, at, item, &r);
    const struct check_item seen = {.seq = r.seq,
                                    .pushed_ms = r.time,
                                    .attempts = r.attempts,
                                    .state = item == NULL ? ITEM_READY : item->state,
                                    .until_ms = until_ms(w->o->queue, item),
                                    .shelved = at->log == LOG_SHELF,
                                    .moved = f->kind == RECORD_MOVED,
                                    .payload =
                                        span_of(w->o->map.at + at->offset + sizeof *f, f->length),
                                    .bytes = r.bytes};
    return k->c->item(k->c->arg, &seen);
}

static enum err look_at_item(struct walker *w, struct item *item)
{
    struct record_fields f;
    struct spot at;
    enum err e = record_head(w->o, &patient, item->log, item->pos, &f, &at);
    if (e == OK)
        e = f.seq == item->seq ? record_payload(w->o, &patient, &f, &at) : ERR_DAMAGED;
    if (e == OK)
        return give(w, &f, &at, item);
    if (e == ERR_DAMAGED)
        lose(w, item->log, item->pos, item->seq, 1, "its bytes are not what was pushed");
    return e == ERR_DAMAGED ? OK : e;
}

static enum err walk_items(struct walker *w)
{
    const struct items *all = &w->o->queue->items;
    enum err e = OK;
    for (size_t i = all->first; e == OK && i < all->n; i++) {
        struct item *item = all->by_seq[i].item;
        if (item == NULL)
            continue;
        step(w, item->log == LOG_MAIN ? item->pos : w->o->queue->logs[LOG_MAIN].head);
        e = look_at_item(w, item);
    }
    return e;
}

/* --- behind the frontier --------------------------------------------------------------------- */

struct here {
    uint64_t pos;
    uint64_t seq;
};

/* As a consumer would pass over it. */
static enum err skip(struct walker *w, struct here *p, const char *what)
{
    const struct recordlog *log = &w->o->queue->logs[LOG_MAIN];
    struct record_fields f;
    struct spot at;
    struct here to = *p;
    enum err e = queue_resync(w->o, &patient, LOG_MAIN, p->seq, &to.pos, &f, &at);
    if (e != OK && e != ERR_EMPTY)
        return e;
    if (e == OK)
        to.seq = f.seq;
    else
        to = (struct here){.pos = log->tail, .seq = log->tail_seq};
    lose(w, LOG_MAIN, p->pos, p->seq, to.seq - p->seq, what);
    *p = to;
    return OK;
}

static enum err look_at_record(struct walker *w, struct here *p, const struct record_fields *f,
                               const struct spot *at)
{
    lose(w, LOG_MAIN, p->pos, p->seq, f->seq - p->seq, "the record before this is missing");
    *p = (struct here){.pos = p->pos + record_size(f->length), .seq = f->seq + 1};
    const bool fits = state_fits(f->header_hash, f->state);
    if (fits && w->k->c->in_use && state_of(f->state) != STATE_AVAILABLE) {
        w->moved_on = true;
        return OK;
    }
    if (!fits || state_of(f->state) != STATE_AVAILABLE) {
        lose(w, LOG_MAIN, at->pos, f->seq, 1, "its state word is damaged");
        return OK;
    }
    const enum err e = record_payload(w->o, &patient, f, at);
    if (e == ERR_DAMAGED)
        lose(w, LOG_MAIN, at->pos, f->seq, 1, "its bytes are not what was pushed");
    return e == OK ? give(w, f, at, NULL) : e == ERR_DAMAGED ? OK : e;
}

static enum err walk_backlog(struct walker *w)
{
    const struct queue *q = w->o->queue;
    const struct recordlog *log = &q->logs[LOG_MAIN];
    struct here p = {.pos = q->front_pos, .seq = q->front_seq};
    enum err e = OK;
    while (e == OK && p.pos < log->tail) {
        struct record_fields f;
        struct spot at;
        step(w, p.pos);
        e = record_head(w->o, &patient, LOG_MAIN, p.pos, &f, &at);
        if (e == OK && f.kind == RECORD_JUMP)
            p.pos += record_size(f.length);
        else if (e == OK && f.seq >= p.seq && f.seq < log->tail_seq)
            e = look_at_record(w, &p, &f, &at);
        else if (e == OK || e == ERR_DAMAGED)
            e = skip(w, &p, "this record is damaged");
    }
    if (e == OK)
        lose(w, LOG_MAIN, log->tail, p.seq, log->tail_seq - p.seq,
             "the records before the end are missing");
    return e;
}

/* --- behind the end -------------------------------------------------------------------------- */

/* A whole record there was pushed in this life of the queue, or in one that no slot tells of any
 * more. The first may be left by a power cut that took what was before it. */
static void tell_behind(const struct walker *w, const struct record_fields *f,
                        const struct spot *at)
{
    const bool later = f->epoch > w->o->queue->epoch;
    const bool lost = later && !w->k->c->behind;
    check_tell(w->k,
               &(struct check_finding){
                   .damage = later,
                   .id = f->seq,
                   .count = lost ? 1 : 0,
                   .offset = at->offset,
                   .what = later ? "this item is of a later life than the header slot"
                                 : "behind the end of the records stands a whole one: "
                                   "a power cut took what was before it, or that is damaged"});
}

static enum err give_behind(const struct walker *w, const struct record_fields *f,
                            const struct spot *at)
{
    const struct check *c = w->k->c;
    const struct check_item seen = {
        .seq = f->seq,
        .pushed_ms = f->time,
        .attempts = state_attempts(f->state),
        .state = state_of(f->state) == STATE_BURIED ? ITEM_BURIED : ITEM_READY,
        .moved = f->kind == RECORD_MOVED,
        .payload = span_of(w->o->map.at + at->offset + sizeof *f, f->length),
        .bytes = record_item(w->o, f, at)};
    if (!c->behind)
        return OK;
    w->k->counts.things++;
    return c->item != NULL ? c->item(c->arg, &seen) : OK;
}

static enum err look_behind(const struct walker *w, const struct record_fields *f,
                            const struct spot *at)
{
    if (!state_fits(f->header_hash, f->state) || state_of(f->state) == STATE_DONE)
        return OK;
    tell_behind(w, f, at);
    return give_behind(w, f, at);
}

/* The log went on in another extent, if that is free by all that is known. */
static void follow(const struct walker *w, const struct record_fields *f, const struct spot *at)
{
    struct queue *q = w->o->queue;
    struct recordlog *log = &q->logs[LOG_MAIN];
    struct extent_fields to;
    const uint32_t most = header_extents_most(q->limits) - q->logs[LOG_SHELF].n;
    if (guard_copy(&to, w->o->map.at + at->offset + sizeof *f, sizeof to) && to.count > 0 &&
        at->pos + record_size(f->length) == log->end &&
        space_is_free(&q->space, to.granule, to.count) && log_add(log, to.granule, to.count, most))
        space_mark(&q->space, to.granule, to.count, GRANULE_USED);
}

/* Records whose numbers rise, whatever stands between them. */
static enum err walk_behind(struct walker *w)
{
    const struct queue *q = w->o->queue;
    const struct recordlog *log = &q->logs[LOG_MAIN];
    struct here p = {.pos = log->tail, .seq = log->tail_seq};
    enum err e = OK;
    while (e == OK && p.pos < log->end) {
        struct record_fields f;
        struct spot at;
        e = record_head(w->o, &patient, LOG_MAIN, p.pos, &f, &at);
        if (e == OK)
            e = f.epoch >= q->epoch && f.seq >= p.seq ? record_payload(w->o, &patient, &f, &at)
                                                      : ERR_DAMAGED;
        if (e != OK) {
            e = e == ERR_DAMAGED ? OK : e;
            p.pos += 8;
            continue;
        }
        if (f.kind == RECORD_JUMP)
            follow(w, &f, &at);
        else
            e = look_behind(w, &f, &at);
        p.seq = f.seq + (record_is_item(&f) ? 1 : 0);
        p.pos += record_size(f.length);
    }
    return e;
}

/* --- a file that cannot be opened ------------------------------------------------------------ */

static bool hash_fits(const struct superblock *s)
{
    return s->hash == hash_bytes(0, s, offsetof(struct superblock, hash));
}

/* A slot that is whole by this uuid: then the uuid is right. */
static bool slot_fits(const struct map *m, const struct superblock *s, unsigned i, uint8_t *page)
{
    const struct queue q = {.limits = &queue_limits,
                            .seed = hash_bytes(0, s->uuid, sizeof s->uuid)};
    const uint64_t at = header_slot_at(&queue_limits, i);
    return m->size >= at + queue_limits.page && guard_copy(page, m->at + at, queue_limits.page) &&
           header_check(&q, page, at);
}

static bool mend_superblock(const struct map *m, struct superblock *s, uint8_t *page)
{
    if (!check_mend_header((uint8_t *)s) && !slot_fits(m, s, 0, page) && !slot_fits(m, s, 1, page))
        return false;
    memcpy(s->magic, QUEUE_MAGIC, sizeof s->magic);
    s->version = QUEUE_VERSION;
    s->granule = queue_limits.granule;
    s->hash = hash_bytes(0, s, offsetof(struct superblock, hash));
    return true;
}

/* The bytes of the file that the tables of a slot name. */
static uint64_t size_named(const uint8_t *page)
{
    struct slot_fields f;
    memcpy(&f, page, sizeof f);
    uint64_t most = 2; /* granules */
    const uint64_t n = (uint64_t)f.logs[LOG_MAIN].n_extents + f.logs[LOG_SHELF].n_extents;
    for (uint64_t i = 0; i < n && i < header_extents_most(&queue_limits); i++) {
        struct extent_fields e;
        memcpy(&e, page + sizeof f + i * sizeof e, sizeof e);
        const uint64_t end = (uint64_t)e.granule + e.count;
        most = end > most ? end : most;
    }
    return most * queue_limits.granule;
}

/* What is missing at the end is zeros in the copy. */
static enum err add_end(struct checking *k, const struct superblock *s, uint8_t *page)
{
    uint64_t size = 0;
    for (unsigned i = 0; i < 2; i++)
        if (slot_fits(&k->map, s, i, page) && size_named(page) > size)
            size = size_named(page);
    if (size <= k->map.size)
        return OK;
    check_tell(k, &(struct check_finding){.damage = true,
                                          .id = CHECK_NONE,
                                          .offset = k->map.size,
                                          .what = "the file is cut: records were behind its end"});
    return map_resize(&k->map, size);
}

/* ERR_DAMAGED: nothing can be done. */
static enum err mend(struct checking *k)
{
    struct superblock s;
    uint8_t page[4096];
    must(queue_limits.page == sizeof page && sizeof s == CHECK_HEADER);
    enum err e = check_map(k, true);
    if (e != OK)
        return e;
    if (k->map.size < sizeof s || !guard_copy(&s, k->map.at, sizeof s))
        return ERR_DAMAGED;
    if (!hash_fits(&s) && !mend_superblock(&k->map, &s, page))
        return ERR_DAMAGED;
    if (s.version != QUEUE_VERSION || s.granule != queue_limits.granule)
        return ERR_ENOTSUP;
    if (!guard_copy(k->map.at, &s, sizeof s))
        return ERR_EIO;
    e = add_end(k, &s, page);
    k->map.writable = false;
    return e;
}

/* --- all of it ------------------------------------------------------------------------------- */

static void tell_whole(struct checking *k, const char *why)
{
    check_tell(k, &(struct check_finding){
                      .damage = true, .id = CHECK_NONE, .offset = CHECK_NONE, .what = why});
}

static enum err open_to_look(struct checking *k, struct object *o)
{
    char why[QUEUE_WHY] = "it does not begin as a queue does";
    *o = (struct object){.kind = OBJECT_QUEUE, .map = k->map};
    enum err e = queue_is_one(&k->map) ? queue_open_to_look(o, &queue_limits, k->c->now_ms, why)
                                       : ERR_DAMAGED;
    if (e != ERR_DAMAGED)
        return e;
    tell_whole(k, why);
    e = mend(k);
    if (e != OK)
        return e;
    *o = (struct object){.kind = OBJECT_QUEUE, .map = k->map};
    return queue_open_to_look(o, &queue_limits, k->c->now_ms, why);
}

static enum err walk(struct walker *w)
{
    tell_gaps(w);
    enum err e = walk_items(w);
    if (e == OK)
        e = walk_backlog(w);
    if (e == OK && w->moved_on)
        note(w->k, CHECK_NONE, CHECK_NONE, "it was used meanwhile: what was taken is not shown");
    return e == OK && !w->k->c->in_use ? walk_behind(w) : e;
}

enum err check_queue(struct checking *k)
{
    struct object o;
    struct walker w = {.k = k, .o = &o};
    enum err e = open_to_look(k, &o);
    if (e != OK)
        return e == ERR_DAMAGED ? OK : e;
    if (k->c->store != NULL)
        k->c->store(k->c->arg, &o);
    look_at_pages(k, &o);
    if (!k->c->head)
        e = walk(&w);
    queue_close(&o);
    return e;
}
