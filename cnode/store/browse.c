/* Looking through a queue without changing it. */
#include "store/queue_inside.h"

/* A loop turn looks at so many items or records, then a worker goes on. */
enum { STEPS = 2000 };

struct walk {
    struct object *o;
    const struct turn *t;
    unsigned steps;
};

static enum err step(struct walk *w)
{
    return w->steps++ < STEPS || w->t->may_wait ? OK : ERR_WOULD_BLOCK;
}

/* The record of an item in memory; ERR_DAMAGED: it has none to show. */
static enum err show(const struct walk *w, struct item *item, struct record *r)
{
    struct record_fields f;
    struct spot at;
    enum err e = record_head(w->o, w->t, item->log, item->pos, &f, &at);
    if (e == OK)
        e = f.seq == item->seq ? record_payload(w->o, w->t, &f, &at) : ERR_DAMAGED;
    if (e == OK)
        queue_fill(w->o, &f, &at, item, r);
    return e;
}

/* --- items in memory ------------------------------------------------------------------------- */

static enum err next_item(struct walk *w, uint64_t from, enum item_state state, struct record *r)
{
    const struct items *all = &w->o->queue->items;
    for (size_t i = items_place(all, from); i < all->n; i++) {
        struct item *item = all->by_seq[i].item;
        enum err e = step(w);
        if (e == OK && (item == NULL || item->state != state))
            continue;
        if (e == OK)
            e = show(w, item, r);
        if (e != ERR_DAMAGED)
            return e;
    }
    return ERR_EMPTY;
}

static enum err previous_item(struct walk *w, uint64_t to, struct record *r)
{
    const struct items *all = &w->o->queue->items;
    const size_t end = to == UINT64_MAX ? all->n : items_place(all, to + 1);
    for (size_t i = end; i-- > all->first;) {
        struct item *item = all->by_seq[i].item;
        enum err e = step(w);
        if (e == OK && (item == NULL || item->state != ITEM_READY))
            continue;
        if (e == OK)
            e = show(w, item, r);
        if (e != ERR_DAMAGED)
            return e;
    }
    return ERR_EMPTY;
}

/* --- behind the frontier --------------------------------------------------------------------- */

static struct hint start(const struct queue *q, const struct hint *hint, uint64_t seq)
{
    const bool good = hint->seq >= q->front_seq && hint->seq <= seq;
    return good ? *hint : (struct hint){.pos = q->front_pos, .seq = q->front_seq};
}

/* Moves to the record of an item at or behind the place; ERR_EMPTY: at the tail. */
static enum err settle(struct walk *w, struct hint *here, struct record_fields *f, struct spot *at)
{
    const struct recordlog *log = &w->o->queue->logs[LOG_MAIN];
    while (here->pos < log->tail) {
        enum err e = record_head(w->o, w->t, LOG_MAIN, here->pos, f, at);
        if (e == OK && f->kind == RECORD_JUMP) {
            here->pos += record_size(f->length);
            continue;
        }
        if (e == ERR_DAMAGED)
            e = queue_resync(w->o, w->t, LOG_MAIN, here->seq, &here->pos, f, at);
        if (e == OK)
            here->seq = f->seq;
        return e;
    }
    return ERR_EMPTY;
}

static enum err next_behind(struct walk *w, uint64_t from, struct record *r)
{
    struct queue *q = w->o->queue;
    struct hint here = start(q, &q->forward, from);
    struct record_fields f;
    struct spot at;
    for (;;) {
        enum err e = settle(w, &here, &f, &at);
        if (e == OK && f.seq >= from && state_fits(f.header_hash, f.state)) {
            q->forward = here;
            e = record_payload(w->o, w->t, &f, &at);
            if (e == OK)
                queue_fill(w->o, &f, &at, NULL, r);
            if (e != ERR_DAMAGED)
                return e;
        }
        if (e == OK)
            e = step(w);
        if (e != OK && e != ERR_DAMAGED) {
            q->forward = here.seq >= q->front_seq && e != ERR_EMPTY ? here : q->forward;
            return e;
        }
        here.pos += record_size(f.length);
        here.seq = f.seq + 1;
    }
}

/* From the tail the records lead back, each to the one before; where one does not, the way is
 * looked for from the frontier. */
static enum err one_back(struct walk *w, const struct record_fields *f, struct hint *here)
{
    const struct queue *q = w->o->queue;
    struct record_fields before;
    struct spot at;
    const uint64_t distance = (uint64_t)f->back * 8;
    if (here->seq == q->front_seq)
        return ERR_EMPTY;
    if (distance == 0 || distance > here->pos - q->front_pos)
        return ERR_DAMAGED;
    const uint64_t pos = here->pos - distance;
    enum err e = record_head(w->o, w->t, LOG_MAIN, pos, &before, &at);
    if (e == OK && (!record_is_item(&before) || before.seq + 1 != here->seq))
        e = ERR_DAMAGED;
    if (e == OK)
        *here = (struct hint){.pos = pos, .seq = before.seq};
    return e;
}

/* The last record that is `to` or less, from the frontier on. */
static enum err search_last(struct walk *w, uint64_t to, struct hint *found)
{
    const struct queue *q = w->o->queue;
    struct hint here = {.pos = q->front_pos, .seq = q->front_seq};
    struct record_fields f;
    struct spot at;
    *found = (struct hint){.seq = 0};
    enum err e = w->t->may_wait ? OK : ERR_WOULD_BLOCK;
    while (e == OK) {
        e = settle(w, &here, &f, &at);
        if (e == OK && f.seq > to)
            e = ERR_EMPTY;
        if (e != OK)
            break;
        *found = here;
        here.pos += record_size(f.length);
        here.seq = f.seq + 1;
    }
    return e == ERR_EMPTY && found->seq > 0 ? OK : e;
}

static struct hint last_known(const struct queue *q, uint64_t to)
{
    const struct recordlog *log = &q->logs[LOG_MAIN];
    if (q->backward.seq >= q->front_seq && q->backward.seq >= to)
        return q->backward;
    return (struct hint){.pos = log->last, .seq = log->tail_seq - 1};
}

/* Goes to the last record that is `to` or less. */
static enum err find_last(struct walk *w, uint64_t to, struct hint *here, struct record_fields *f,
                          struct spot *at)
{
    const struct queue *q = w->o->queue;
    *here = last_known(q, to);
    if (here->pos < q->front_pos)
        return search_last(w, to, here);
    for (;;) {
        enum err e = record_head(w->o, w->t, LOG_MAIN, here->pos, f, at);
        if (e == OK && (!record_is_item(f) || f->seq != here->seq))
            e = ERR_DAMAGED;
        if (e == OK && f->seq <= to)
            return OK;
        if (e == OK)
            e = one_back(w, f, here);
        if (e == OK)
            e = step(w);
        if (e == ERR_DAMAGED)
            return search_last(w, to, here);
        if (e != OK)
            return e;
    }
}

static enum err previous_behind(struct walk *w, uint64_t to, struct record *r)
{
    struct queue *q = w->o->queue;
    struct hint here;
    struct record_fields f;
    struct spot at;
    while (to >= q->front_seq) {
        enum err e = find_last(w, to, &here, &f, &at);
        if (e == OK)
            e = record_head(w->o, w->t, LOG_MAIN, here.pos, &f, &at);
        if (e == OK)
            q->backward = here;
        if (e == OK)
            e = record_payload(w->o, w->t, &f, &at);
        if (e == OK)
            queue_fill(w->o, &f, &at, NULL, r);
        if (e != ERR_DAMAGED)
            return e;
        to = here.seq - 1;
    }
    return ERR_EMPTY;
}

/* --- what others ask ------------------------------------------------------------------------- */

enum err queue_next(struct object *o, const struct turn *t, uint64_t from, struct record *r)
{
    const struct queue *q = o->queue;
    struct walk w = {.o = o, .t = t};
    enum err e = from < q->front_seq ? next_item(&w, from, ITEM_READY, r) : ERR_EMPTY;
    if (e != ERR_EMPTY || q->front_seq >= q->logs[LOG_MAIN].tail_seq)
        return e;
    return next_behind(&w, from, r);
}

enum err queue_previous(struct object *o, const struct turn *t, uint64_t to, struct record *r)
{
    const struct queue *q = o->queue;
    struct walk w = {.o = o, .t = t};
    enum err e = ERR_EMPTY;
    if (to >= q->front_seq && q->front_seq < q->logs[LOG_MAIN].tail_seq)
        e = previous_behind(&w, to, r);
    return e == ERR_EMPTY ? previous_item(&w, to, r) : e;
}

enum err queue_next_buried(struct object *o, const struct turn *t, uint64_t from, struct record *r)
{
    struct walk w = {.o = o, .t = t};
    return next_item(&w, from, ITEM_BURIED, r);
}
