/* The numbers of a main log have no gaps. So where items are missing, done ones without bytes stand
 * for them; and since nothing behind the frontier may be done, the frontier comes to lie behind the
 * last of these. Items that were on the shelf go there again, where gaps do not matter. */
#include "store/rebuild.h"

#include "store/queue_inside.h"
#include "sys/os.h"

/* --- the plan -------------------------------------------------------------------------------- */

void rebuild_plan_for(struct rebuild_plan *p, struct object *o)
{
    *p = (struct rebuild_plan){.options = *queue_options(o), .front_seq = o->queue->front_seq};
    queue_header(o, &p->header);
    queue_look(o, &p->info);
}

static void miss(struct rebuild_plan *p, uint64_t next)
{
    const bool gap = p->last_seq > 0 ? p->last_seq + 1 < next : p->front_seq < next;
    if (gap && next > p->front_seq)
        p->front_seq = next;
}

void rebuild_plan_item(struct rebuild_plan *p, const struct check_item *item)
{
    if (item->shelved)
        return;
    miss(p, item->seq);
    p->last_seq = item->seq;
    const bool touched = item->attempts > 0 || item->state != ITEM_READY;
    if (touched && item->seq >= p->front_seq)
        p->front_seq = item->seq + 1;
}

void rebuild_plan_end(struct rebuild_plan *p)
{
    miss(p, p->info.next_id);
    p->next_seq = p->info.next_id > p->last_seq ? p->info.next_id : p->last_seq + 1;
}

/* --- records --------------------------------------------------------------------------------- */

static enum err append(struct rebuild *r, unsigned log, const struct draft *d, uint64_t *pos)
{
    const uint64_t size = record_size(d->item.len);
    enum err e = record_reserve(&r->object, &r->turn, log, &size, 1);
    if (e == OK)
        e = record_append(&r->object, &r->turn, log, d, pos);
    if (e == OK && log == LOG_MAIN)
        r->object.queue->logs[LOG_MAIN].tail_seq++;
    return e;
}

static void pass_front(struct rebuild *r)
{
    struct queue *q = r->object.queue;
    const struct recordlog *log = &q->logs[LOG_MAIN];
    if (log->tail_seq <= r->front_seq)
        queue_move_front(q, log->tail, log->tail_seq);
}

static enum err fill_up_to(struct rebuild *r, uint64_t seq)
{
    struct recordlog *log = &r->object.queue->logs[LOG_MAIN];
    enum err e = OK;
    while (e == OK && log->tail_seq < seq) {
        uint64_t pos;
        const struct draft done = {
            .kind = RECORD_ITEM, .seq = log->tail_seq, .state = state_value(STATE_DONE, 0, 0)};
        if (r->fillers == 0)
            return ERR_EFBIG;
        r->fillers--;
        e = append(r, LOG_MAIN, &done, &pos);
        pass_front(r);
    }
    return e;
}

/* The first number of the main log, and with it the first that a push would get. */
static void begin_at(struct rebuild *r, uint64_t seq)
{
    struct queue *q = r->object.queue;
    struct recordlog *log = &q->logs[LOG_MAIN];
    if (r->from_seq > 0)
        return;
    r->from_seq = seq;
    log->head_seq = log->tail_seq = seq;
    queue_move_front(q, log->tail, seq);
}

static enum err remember(struct rebuild *r, const struct check_item *item, unsigned log,
                         uint64_t pos, uint64_t until)
{
    struct items *all = &r->object.queue->items;
    if (!items_room(all))
        return ERR_ENOMEM;
    struct item *known =
        items_add(all, item->seq, log, pos, (uint32_t)record_size(item->payload.len));
    known->time = item->pushed_ms;
    known->attempts = item->attempts;
    known->until = until;
    items_set(all, known, item->state);
    return OK;
}

enum err rebuild_item(struct rebuild *r, const struct rebuild_plan *p,
                      const struct check_item *item)
{
    const bool shelf = item->shelved && r->from_seq == 0;
    const unsigned log = shelf ? LOG_SHELF : LOG_MAIN;
    const unsigned state = item->state == ITEM_BURIED ? STATE_BURIED : STATE_AVAILABLE;
    const uint64_t until = item->until_ms > 0 ? (item->until_ms - p->header.created_ms) / 1000 : 0;
    const struct draft d = {.kind = item->moved ? RECORD_MOVED : RECORD_ITEM,
                            .seq = item->seq,
                            .time = item->pushed_ms,
                            .state = state_value(state, item->attempts, until),
                            .item = item->payload};
    uint64_t pos;
    enum err e = OK;
    if (!shelf) {
        begin_at(r, item->seq);
        e = fill_up_to(r, item->seq);
    }
    if (e == OK)
        e = append(r, log, &d, &pos);
    if (e != OK || (!shelf && item->seq >= r->front_seq))
        return e;
    pass_front(r);
    return remember(r, item, log, pos, until);
}

/* --- the file -------------------------------------------------------------------------------- */

enum err rebuild_open(struct rebuild *r, int fd, const struct rebuild_plan *p, uint64_t now_ms)
{
    const struct queue_change options = {.to = p->options};
    struct stat st;
    char why[QUEUE_WHY];
    *r = (struct rebuild){.object = {.kind = OBJECT_QUEUE, .map = {.fd = -1}},
                          .turn = {.now_ms = now_ms, .may_wait = true},
                          .front_seq = p->front_seq,
                          .fillers = p->info.file_size / sizeof(struct record_fields)};
    enum err e = queue_make(fd, &queue_limits, &options, p->header.created_ms);
    if (e == OK && os.fstat(fd, &st) != 0)
        e = err_last();
    if (e != OK) {
        os.close(fd);
        return e;
    }
    e = map_open(&r->object.map, fd, (uint64_t)st.st_size, true, MAP_OF_FILE);
    return e == OK ? queue_open(&r->object, &queue_limits, "", now_ms, why) : e;
}

/* What is gone is damaged, unless it was done. */
static void settle_totals(struct queue *q, const struct rebuild_plan *p)
{
    const struct queue_info *i = &p->info;
    const uint64_t done = i->popped + i->acked + i->dropped + i->dead;
    const uint64_t items = q->items.live + (q->logs[LOG_MAIN].tail_seq - q->front_seq);
    q->popped = i->popped;
    q->acked = i->acked;
    q->dropped = i->dropped;
    q->dead = i->dead;
    const uint64_t pushed = p->next_seq - 1;
    q->damaged = pushed > items + done ? pushed - items - done : 0;
}

enum err rebuild_close(struct rebuild *r, const struct rebuild_plan *p)
{
    struct object *o = &r->object;
    begin_at(r, p->next_seq);
    enum err e = fill_up_to(r, p->next_seq);
    if (e != OK)
        return e;
    settle_totals(o->queue, p);
    o->queue->checkpoint.now_ms = r->turn.now_ms;
    queue_close(o);
    return o->failed ? ERR_EIO : OK;
}

void rebuild_drop(struct rebuild *r)
{
    object_close(&r->object);
}
