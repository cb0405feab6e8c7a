/* Opening a queue file (FORMAT.md 2.7): which slot counts, what of the logs is to be trusted, what
 * of the records behind it is whole. A crash in here changes nothing: the file says the same again.
 */
#include <stdlib.h>

#include "store/queue_inside.h"
#include "sys/guard.h"
#include "sys/hash.h"
#include "sys/log.h"
#include "sys/os.h"

static const struct turn patient = {.may_wait = true};

/* --- a new file ------------------------------------------------------------------------------ */

static bool write_at(int fd, const void *from, size_t len, uint64_t at)
{
    return os_write_all(fd, from, len, (off_t)at) == 0;
}

static struct superblock superblock_of(const struct queue *q)
{
    struct superblock super = {
        .version = QUEUE_VERSION, .granule = q->limits->granule, .created = q->created};
    memcpy(super.magic, QUEUE_MAGIC, sizeof super.magic);
    memcpy(super.uuid, q->uuid, sizeof super.uuid);
    super.hash = hash_bytes(0, &super, offsetof(struct superblock, hash));
    return super;
}

/* The first slot: an empty main log of one granule. Positions begin with a granule's size, so that
 * 0 is none. */
static void first_slot(const struct queue *q, uint8_t *page)
{
    const uint64_t begin = q->limits->granule;
    const struct extent_fields extent = {.granule = header_granules(q->limits), .count = 1};
    struct slot_fields f = {.slot_seq = 1, .front_pos = begin, .front_seq = 1};
    f.logs[LOG_MAIN] = (struct log_fields){
        .base = begin, .head = begin, .head_seq = 1, .tail = begin, .tail_seq = 1, .n_extents = 1};
    f.logs[LOG_SHELF] = (struct log_fields){.base = begin, .head = begin, .tail = begin};
    memset(page, 0, q->limits->page);
    memcpy(page, &f, sizeof f);
    memcpy(page + sizeof f, &extent, sizeof extent);
    header_seal(q, page, header_slot_at(q->limits, 1));
}

uint64_t queue_new_size(const struct queue_limits *limits)
{
    return (uint64_t)(header_granules(limits) + 1) * limits->granule;
}

enum err queue_make(int fd, const struct queue_limits *limits, const struct queue_change *options,
                    uint64_t now_ms)
{
    const uint64_t size = queue_new_size(limits);
    struct queue q = {.limits = limits, .created = now_ms};
    os_random(q.uuid, sizeof q.uuid);
    q.seed = hash_bytes(0, q.uuid, sizeof q.uuid);
    const struct superblock super = superblock_of(&q);
    uint8_t *page = malloc(limits->page);
    if (page == NULL)
        return ERR_ENOMEM;
    enum err e = header_write_options(&q, 1, &options->to, page);
    bool done = e == OK && os.allocate(fd, 0, (off_t)size) == 0 &&
                write_at(fd, page, limits->page, header_options_at(limits, 1));
    first_slot(&q, page);
    done = done && write_at(fd, page, limits->page, header_slot_at(limits, 1)) &&
           write_at(fd, &super, sizeof super, 0);
    if (e == OK && !done)
        e = err_last();
    free(page);
    return e;
}

/* --- the slot -------------------------------------------------------------------------------- */

/* The tail is in the last extent, and a JUMP has room there. */
static bool tail_fits(const struct recordlog *log)
{
    if (log->n == 0)
        return log->tail == log->end;
    return log->tail >= log->table[log->n - 1].pos && log->tail + JUMP_BYTES <= log->end;
}

static bool load_log(struct queue *q, unsigned which, const struct log_fields *f,
                     const uint8_t *extents)
{
    struct recordlog *log = &q->logs[which];
    const uint32_t most = header_extents_most(q->limits);
    *log = (struct recordlog){.which = which,
                              .granule = q->limits->granule,
                              .base = f->base,
                              .head = f->head,
                              .head_seq = f->head_seq,
                              .tail = f->tail,
                              .tail_seq = f->tail_seq,
                              .end = f->base,
                              .table = log->table};
    for (uint32_t i = 0; i < f->n_extents; i++) {
        struct extent_fields e;
        memcpy(&e, extents + i * sizeof e, sizeof e);
        if (e.count == 0 || !space_is_free(&q->space, e.granule, e.count))
            return false;
        space_mark(&q->space, e.granule, e.count, GRANULE_USED);
        log_add(log, e.granule, e.count, most);
    }
    return f->base <= f->head && f->head <= f->tail && tail_fits(log) &&
           (f->base | f->head | f->tail) % 8 == 0 && f->base % q->limits->granule == 0;
}

static bool is_possible(const struct queue *q, const struct slot_fields *f)
{
    const struct log_fields *main_log = &f->logs[LOG_MAIN];
    const struct log_fields *shelf = &f->logs[LOG_SHELF];
    const uint32_t most = header_extents_most(q->limits);
    if (main_log->n_extents > most || shelf->n_extents > most - main_log->n_extents)
        return false;
    /* of each chain the last is the greatest, or load_log and adopt refuse it */
    const uint64_t all = main_log->tail | main_log->tail_seq | shelf->tail | f->last;
    return all < TOO_FAR && f->front_pos % 8 == 0;
}

/* Takes over what a slot says, if that can be. */
static bool adopt(struct queue *q, const uint8_t *page)
{
    struct slot_fields f;
    memcpy(&f, page, sizeof f);
    if (!is_possible(q, &f))
        return false;
    const uint32_t head_granules = header_granules(q->limits);
    space_mark(&q->space, 0, q->space.n, GRANULE_HOLE);
    space_mark(&q->space, 0, head_granules, GRANULE_USED);
    const uint8_t *extents = page + sizeof f;
    for (unsigned i = 0; i < LOGS; i++) {
        if (!load_log(q, i, &f.logs[i], extents))
            return false;
        extents += f.logs[i].n_extents * sizeof(struct extent_fields);
    }
    const struct log_fields *log = &f.logs[LOG_MAIN];
    if (f.front_pos < log->head || f.front_pos > log->tail || f.front_seq < log->head_seq ||
        f.front_seq > log->tail_seq || log->head_seq == 0 || log->n_extents == 0)
        return false;
    q->slot_seq = f.slot_seq;
    q->epoch = f.epoch;
    q->front_pos = f.front_pos;
    q->front_seq = f.front_seq;
    q->logs[LOG_MAIN].last = f.last;
    q->popped = f.popped;
    q->acked = f.acked;
    q->dropped = f.dropped;
    q->dead = f.dead;
    q->damaged = f.damaged;
    return true;
}

/* The number of a slot, 0 where there is none. */
static uint64_t read_slot(const struct object *o, unsigned i, uint8_t *page)
{
    const struct queue *q = o->queue;
    const uint64_t at = header_slot_at(q->limits, i);
    uint64_t slot_seq;
    if (!guard_copy(page, o->map.at + at, q->limits->page) || !header_check(q, page, at))
        return 0;
    memcpy(&slot_seq, page, sizeof slot_seq);
    return (slot_seq & 1) == i ? slot_seq : 0;
}

/* The newer slot counts; where it is damaged, the older. */
static enum err choose_slot(struct object *o, char why[QUEUE_WHY])
{
    struct queue *q = o->queue;
    const uint32_t page = q->limits->page;
    uint8_t *pages = malloc(2 * (size_t)page);
    if (pages == NULL)
        return ERR_ENOMEM;
    const uint64_t seqs[2] = {read_slot(o, 0, pages), read_slot(o, 1, pages + page)};
    const unsigned newer = header_is_newer(seqs[1], seqs[0]);
    bool good = seqs[newer] > 0 && adopt(q, pages + (size_t)newer * page);
    if (!good && seqs[!newer] > 0) {
        good = adopt(q, pages + (size_t)!newer * page);
        if (good)
            log_warning("queue \"%s\": header slot %c is damaged, the older one serves", q->name,
                        newer ? 'B' : 'A');
    }
    free(pages);
    if (!good)
        snprintf(why, QUEUE_WHY, "neither header slot is whole");
    return good ? OK : ERR_DAMAGED;
}

/* A page that was not written whole must not become so by words of the next that goes there: its
 * hash has to go. */
static void spoil(struct object *o, uint64_t at)
{
    static const uint64_t none;
    (void)put_bytes(o, at + o->queue->limits->page - sizeof none, &none, sizeof none);
}

/* Without a whole page of options the queue serves without bounds: nothing is lost by that. */
static enum err choose_options(struct object *o)
{
    struct queue *q = o->queue;
    uint8_t *page = malloc(q->limits->page);
    if (page == NULL)
        return ERR_ENOMEM;
    q->opt_seq = 0;
    q->options = (struct queue_options){.max_items = 0};
    for (unsigned i = 0; i < 2; i++) {
        struct queue_options options;
        uint64_t opt_seq;
        const uint64_t at = header_options_at(q->limits, i);
        if (!guard_copy(page, o->map.at + at, q->limits->page) || !header_check(q, page, at)) {
            if (o->map.writable)
                spoil(o, at);
            continue;
        }
        header_read_options(q->limits, page, &options, &opt_seq);
        if ((opt_seq & 1) != i || !header_is_newer(opt_seq, q->opt_seq))
            continue;
        q->opt_seq = opt_seq;
        q->options = options;
    }
    free(page);
    if (q->opt_seq == 0)
        log_warning("queue \"%s\": its options are damaged; it has none now", q->name);
    return OK;
}

/* --- records --------------------------------------------------------------------------------- */

/* Where the scan of the main log has come to. */
struct scan {
    uint64_t pos;
    uint64_t seq;
};

typedef enum err visit(struct object *o, const struct record_fields *f, const struct spot *at);

/* Past a damaged place to the next record, or to the tail. What is lost before the frontier and
 * what is lost behind it are two gaps: only the second is still to be passed over. */
static enum err skip(struct object *o, struct scan *s)
{
    struct queue *q = o->queue;
    const struct recordlog *log = &q->logs[LOG_MAIN];
    struct record_fields f;
    struct spot at;
    struct scan to = *s;
    enum err e = queue_resync(o, &patient, LOG_MAIN, s->seq, &to.pos, &f, &at);
    if (e != OK && e != ERR_EMPTY)
        return e;
    to.seq = f.seq;
    if (e == ERR_EMPTY)
        to = (struct scan){.pos = log->tail, .seq = log->tail_seq};
    if (s->pos < q->front_pos && q->front_pos < to.pos && s->seq <= q->front_seq)
        to = (struct scan){.pos = q->front_pos, .seq = q->front_seq};
    queue_lost(q, LOG_MAIN, s->pos, s->seq, to.seq - s->seq);
    *s = to;
    return OK;
}

static enum err visit_item(struct object *o, struct scan *s, const struct record_fields *f,
                           const struct spot *at, visit *call)
{
    struct queue *q = o->queue;
    queue_lost(q, LOG_MAIN, s->pos, s->seq, f->seq - s->seq);
    if (!state_fits(f->header_hash, f->state))
        queue_lost(q, LOG_MAIN, at->pos, f->seq, 1);
    else if (call(o, f, at) != OK)
        return ERR_ENOMEM;
    *s = (struct scan){.pos = s->pos + record_size(f->length), .seq = f->seq + 1};
    return OK;
}

/* Walks the main log, which is to be trusted so far: position and number where it ends. */
static enum err walk(struct object *o, struct scan *s, struct scan to, visit *call)
{
    enum err e = OK;
    while (e == OK && s->pos < to.pos) {
        struct record_fields f;
        struct spot at;
        e = record_head(o, &patient, LOG_MAIN, s->pos, &f, &at);
        if (e == OK && f.kind == RECORD_JUMP)
            s->pos += record_size(f.length);
        else if (e == OK && f.seq >= s->seq && f.seq < to.seq)
            e = visit_item(o, s, &f, &at, call);
        else if (e == OK || e == ERR_DAMAGED)
            e = skip(o, s);
    }
    return e;
}

/* Whatever has been touched is before the frontier. */
static enum err find_frontier(struct object *o, const struct record_fields *f,
                              const struct spot *at)
{
    struct queue *q = o->queue;
    if (f->state != 0 && at->pos >= q->front_pos)
        queue_move_front(q, at->pos + record_size(f->length), f->seq + 1);
    return OK;
}

/* An item that is not done. */
static enum err remember(struct object *o, const struct record_fields *f, const struct spot *at)
{
    struct queue *q = o->queue;
    if (state_of(f->state) == STATE_DONE)
        return OK;
    if (!items_room(&q->items))
        return ERR_ENOMEM;
    struct item *item =
        items_add(&q->items, f->seq, at->log, at->pos, (uint32_t)record_size(f->length));
    item->time = f->time;
    item->attempts = state_attempts(f->state);
    item->until = state_until(f->state);
    const bool delayed = item->until > 0 && q->created + item->until * 1000 > q->checkpoint.now_ms;
    items_set(&q->items, item,
              state_of(f->state) == STATE_BURIED ? ITEM_BURIED
              : delayed                          ? ITEM_DELAYED
                                                 : ITEM_READY);
    return OK;
}

/* The extent that a JUMP behind the checkpoint leads to, if it can be one. */
static bool follow(struct object *o, const struct record_fields *f, const struct spot *at)
{
    struct queue *q = o->queue;
    struct recordlog *log = &q->logs[LOG_MAIN];
    struct extent_fields to;
    const uint64_t end = log->end;
    const uint32_t most = header_extents_most(q->limits) - q->logs[LOG_SHELF].n;
    if (!guard_copy(&to, o->map.at + at->offset + sizeof *f, sizeof to) || to.count == 0 ||
        at->pos + record_size(f->length) != end ||
        !space_is_free(&q->space, to.granule, to.count) ||
        !log_add(log, to.granule, to.count, most))
        return false;
    space_mark(&q->space, to.granule, to.count, GRANULE_USED);
    log->tail = end;
    return true;
}

/* One record behind the checkpoint's tail counts only if all of it fits. */
static enum err accept(struct object *o, bool *accepted)
{
    struct queue *q = o->queue;
    struct recordlog *log = &q->logs[LOG_MAIN];
    struct record_fields f;
    struct spot at;
    *accepted = false;
    enum err e = record_head(o, &patient, LOG_MAIN, log->tail, &f, &at);
    if (e == OK && (f.epoch != q->epoch || f.seq != log->tail_seq))
        return OK;
    if (e == OK)
        e = record_payload(o, &patient, &f, &at);
    if (e != OK)
        return e == ERR_DAMAGED ? OK : e;
    if (log->tail + record_size(f.length) >= TOO_FAR || log->tail_seq + 1 >= TOO_FAR)
        return OK;
    if (f.kind == RECORD_JUMP) {
        *accepted = follow(o, &f, &at);
        return OK;
    }
    if (!state_fits(f.header_hash, f.state) ||
        log->end - log->tail < record_size(f.length) + JUMP_BYTES)
        return OK;
    *accepted = true;
    log->last = log->tail;
    log->tail += record_size(f.length);
    log->tail_seq++;
    return find_frontier(o, &f, &at);
}

/* The end of the records: the first that does not fit. */
static enum err find_tail(struct object *o)
{
    bool accepted = true;
    enum err e = OK;
    while (e == OK && accepted)
        e = accept(o, &accepted);
    return e;
}

/* Which items were lost here nobody can tell. */
static enum err skip_on_shelf(struct object *o, uint64_t *pos)
{
    struct queue *q = o->queue;
    struct record_fields f;
    struct spot at;
    uint64_t next = *pos;
    enum err e = queue_resync(o, &patient, LOG_SHELF, 0, &next, &f, &at);
    if (e != OK && e != ERR_EMPTY)
        return e;
    queue_lost(q, LOG_SHELF, *pos, 0, 1);
    *pos = e == OK ? next : q->logs[LOG_SHELF].tail;
    return OK;
}

/* Only items before the frontier are there. */
static enum err visit_shelved(struct object *o, const struct record_fields *f,
                              const struct spot *at)
{
    struct queue *q = o->queue;
    const bool known = f->seq > 0 && f->seq < q->front_seq;
    if (known && state_fits(f->header_hash, f->state))
        return remember(o, f, at);
    queue_lost(q, LOG_SHELF, at->pos, known ? f->seq : 0, 1);
    return OK;
}

/* Of a number that is there twice the first place is believed. */
static void lose_repeated(struct queue *q)
{
    struct items *all = &q->items;
    items_sort(all);
    for (size_t i = 1; i < all->n; i++) {
        const struct item *item = all->by_seq[i].item;
        if (item->seq != all->by_seq[i - 1].seq)
            continue;
        queue_lost(q, item->log, item->pos, item->seq, 1);
        items_remove_at(all, i);
    }
}

static enum err walk_shelf(struct object *o)
{
    struct queue *q = o->queue;
    const struct recordlog *log = &q->logs[LOG_SHELF];
    enum err e = OK;
    for (uint64_t pos = log->head; e == OK && pos < log->tail;) {
        struct record_fields f;
        struct spot at;
        e = record_head(o, &patient, LOG_SHELF, pos, &f, &at);
        if (e == ERR_DAMAGED) {
            e = skip_on_shelf(o, &pos);
            continue;
        }
        if (e == OK && f.kind != RECORD_JUMP)
            e = visit_shelved(o, &f, &at);
        pos += record_size(f.length);
    }
    lose_repeated(q);
    return e;
}

/* --- what was read is stored again -------------------------------------------------------------
 */

static enum err store_again(struct object *o, uint64_t offset)
{
    if (put_bytes(o, offset, o->map.at + offset, 8) != OK)
        return queue_failed(o);
    return OK;
}

static uint64_t stride(const struct queue *q)
{
    return q->limits->page < q->limits->granule ? q->limits->page : q->limits->granule;
}

static enum err store_log_again(struct object *o, unsigned which, uint64_t from, uint64_t to)
{
    const struct queue *q = o->queue;
    const uint64_t step = stride(q);
    enum err e = OK;
    for (uint64_t pos = from / step * step; e == OK && pos < to; pos += step) {
        uint64_t left;
        const uint64_t offset = log_offset(&q->logs[which], pos, &left);
        must(offset != NO_POSITION);
        e = store_again(o, offset);
    }
    return e;
}

/* An earlier sync that failed can have left pages clean in the cache that are not on the disk: one
 * word of each makes it dirty, and the next sync write it. */
static enum err store_all_again(struct object *o, uint64_t scanned, uint64_t old_tail)
{
    const struct queue *q = o->queue;
    const struct recordlog *main_log = &q->logs[LOG_MAIN];
    const struct recordlog *shelf = &q->logs[LOG_SHELF];
    const uint64_t pages = (uint64_t)QUEUE_PAGES * q->limits->page;
    enum err e = OK;
    for (uint64_t at = q->limits->page; e == OK && at < pages; at += stride(q))
        e = store_again(o, at);
    if (e == OK)
        e = store_log_again(o, LOG_MAIN, main_log->head, scanned);
    if (e == OK)
        e = store_log_again(o, LOG_MAIN, old_tail, main_log->tail);
    return e == OK ? store_log_again(o, LOG_SHELF, shelf->head, shelf->tail) : e;
}

/* A copy of the file may have holes where the next stores go. */
static enum err back_tail(struct object *o, const struct recordlog *log)
{
    uint64_t left = 0;
    const uint64_t offset = log_offset(log, log->tail, &left);
    return offset == NO_POSITION ? OK : map_back(&o->map, offset, left);
}

static enum err back_stores_to_come(struct object *o)
{
    const struct queue *q = o->queue;
    enum err e = map_back(&o->map, 0, (uint64_t)QUEUE_PAGES * q->limits->page);
    for (unsigned i = 0; e == OK && i < LOGS; i++)
        e = back_tail(o, &q->logs[i]);
    return e;
}

/* --- all of it ------------------------------------------------------------------------------- */

/* How far the main log was looked at: what opening has to store again. */
struct reach {
    uint64_t scanned;  /* from the head on */
    uint64_t old_tail; /* and from there on */
};

static enum err read_logs(struct object *o, struct reach *reach)
{
    struct queue *q = o->queue;
    struct recordlog *log = &q->logs[LOG_MAIN];
    const uint64_t old_tail = log->tail;
    const uint64_t most = q->front_pos + q->limits->consumption;
    const uint64_t limit = most < old_tail ? most : old_tail;
    struct scan s = {.pos = log->head, .seq = log->head_seq};
    struct scan again = s;
    enum err e = walk(o, &s, (struct scan){.pos = limit, .seq = log->tail_seq}, find_frontier);
    if (e == OK && s.pos == old_tail)
        queue_lost(q, LOG_MAIN, s.pos, s.seq, log->tail_seq - s.seq);
    if (e == OK)
        e = find_tail(o);
    const struct scan front = {.pos = q->front_pos, .seq = q->front_seq};
    if (e == OK)
        e = walk(o, &again, front, remember);
    if (e == OK)
        e = walk_shelf(o);
    /* the last state word that was read may be beyond the limit */
    const uint64_t read = limit + sizeof(struct record_fields);
    *reach = (struct reach){.scanned = read < old_tail ? read : old_tail, .old_tail = old_tail};
    return e;
}

/* What was done after the last checkpoint is in no total: it counts as acked. */
static void settle_totals(struct object *o)
{
    struct queue *q = o->queue;
    struct queue_info now;
    queue_look(o, &now);
    const uint64_t gone = now.pushed - now.items - now.damaged;
    const uint64_t told = q->popped + q->acked + q->dropped + q->dead;
    if (gone > told && gone <= now.pushed)
        q->acked += gone - told;
}

static enum err read_superblock(struct object *o, char why[QUEUE_WHY])
{
    struct queue *q = o->queue;
    struct superblock super;
    const uint64_t least = (uint64_t)header_granules(q->limits) * q->limits->granule;
    why[0] = '\0';
    if (!header_read_superblock(&o->map, &super))
        snprintf(why, QUEUE_WHY, "the superblock is not whole");
    else if (super.version != QUEUE_VERSION)
        snprintf(why, QUEUE_WHY, "version %u of the format is not known here", super.version);
    else if (super.granule != q->limits->granule)
        snprintf(why, QUEUE_WHY, "granules of %u bytes are not known here", super.granule);
    else if (o->map.size < least)
        snprintf(why, QUEUE_WHY, "the file is shorter than its header");
    if (why[0] != '\0')
        return ERR_DAMAGED;
    memcpy(q->uuid, super.uuid, sizeof q->uuid);
    q->seed = hash_bytes(0, q->uuid, sizeof q->uuid);
    q->created = super.created;
    return OK;
}

/* All that the file says; nothing is stored. */
static enum err read_all(struct object *o, uint64_t now_ms, struct reach *reach,
                         char why[QUEUE_WHY])
{
    struct queue *q = o->queue;
    const uint32_t most = 2 * header_extents_most(q->limits);
    const uint64_t granules = o->map.size / q->limits->granule;
    pthread_mutex_init(&q->syncs, NULL);
    enum err e = granules < UINT32_MAX ? read_superblock(o, why) : ERR_EFBIG;
    if (e == OK)
        e = space_open(&q->space, (uint32_t)granules);
    q->tables[0] = malloc(2 * (size_t)most * sizeof(struct extent));
    q->tables[1] = malloc((size_t)most * sizeof(struct extent));
    q->checkpoint.page = malloc(q->limits->page);
    if (q->tables[0] == NULL || q->tables[1] == NULL || q->checkpoint.page == NULL)
        return ERR_ENOMEM;
    q->logs[LOG_MAIN].table = q->tables[0];
    q->logs[LOG_SHELF].table = q->tables[0] + most;
    q->checkpoint.now_ms = now_ms;
    if (e == OK)
        e = choose_slot(o, why);
    if (e == OK)
        e = choose_options(o);
    if (e == OK)
        e = read_logs(o, reach);
    if (e == OK)
        settle_totals(o);
    return e;
}

enum err recover(struct object *o, uint64_t now_ms, char why[QUEUE_WHY])
{
    struct queue *q = o->queue;
    struct reach reach;
    enum err e = read_all(o, now_ms, &reach, why);
    if (e == OK)
        e = store_all_again(o, reach.scanned, reach.old_tail);
    if (e == OK)
        e = back_stores_to_come(o);
    if (e != OK)
        return e;
    q->durable_front = q->front_pos;
    q->epoch++;
    q->lesser = (struct lesser){.tail = 0};
    q->checkpoint.opening = true;
    e = checkpoint_whole(o, now_ms, false);
    q->checkpoint.opening = false;
    return e;
}

void queue_forget(struct queue *q)
{
    pthread_mutex_destroy(&q->syncs);
    items_fini(&q->items);
    space_close(&q->space);
    for (unsigned log = 0; log < LOGS; log++)
        free(q->gaps[log].list);
    free(q->tables[0]);
    free(q->tables[1]);
    free(q->checkpoint.page);
    *q = (struct queue){.limits = q->limits, .name = q->name};
}

static enum err look(struct object *o, uint64_t now_ms, char why[QUEUE_WHY])
{
    struct reach unused;
    return read_all(o, now_ms, &unused, why);
}

static enum err open_by(struct object *o, const struct queue_limits *limits, const char *name,
                        uint64_t now_ms, char why[QUEUE_WHY],
                        enum err (*read)(struct object *o, uint64_t now_ms, char why[QUEUE_WHY]))
{
    o->queue = calloc(1, sizeof *o->queue);
    if (o->queue == NULL)
        return ERR_ENOMEM;
    o->queue->limits = limits;
    o->queue->name = strdup(name);
    enum err e = ERR_ENOMEM;
    if (o->queue->name != NULL) {
        e = read(o, now_ms, why);
        if (e == OK)
            return OK;
        queue_forget(o->queue);
    }
    free(o->queue->name);
    free(o->queue);
    o->queue = NULL;
    return e;
}

enum err queue_open(struct object *o, const struct queue_limits *limits, const char *name,
                    uint64_t now_ms, char why[QUEUE_WHY])
{
    return o->map.writable ? open_by(o, limits, name, now_ms, why, recover) : ERR_EACCES;
}

enum err queue_open_to_look(struct object *o, const struct queue_limits *limits, uint64_t now_ms,
                            char why[QUEUE_WHY])
{
    must(!o->map.writable);
    return open_by(o, limits, "", now_ms, why, look);
}

enum err queue_recover(struct object *o, uint64_t now_ms, char why[QUEUE_WHY])
{
    must(!checkpoint_under_way(o));
    queue_forget(o->queue);
    o->failed = false;
    enum err e = recover(o, now_ms, why);
    if (e != OK)
        o->failed = true;
    return e;
}

void queue_close(struct object *o)
{
    must(!checkpoint_under_way(o));
    if (object_writable(o) == OK)
        (void)checkpoint_whole(o, o->queue->checkpoint.now_ms, true);
    queue_forget(o->queue);
    free(o->queue->name);
    free(o->queue);
    o->queue = NULL;
}
