#include "proto/want.h"

#include "proto/lease.h"
#include "proto/move.h"
#include "proto/reply.h"
#include "store/failed.h"
#include "sys/guard.h"

/* Left free behind each item, for the ends of lists and tuples and what a message has around; and
 * what a reply has before its first. */
enum { SPARE = 2048, BEFORE = 64 };

size_t want_longest(size_t max_frame)
{
    return max_frame - SPARE - BEFORE;
}

static enum err put_bytes_of(struct object *o, struct buf *out, struct span item)
{
    uint8_t *to = buf_grow(out, item.len + SPARE);
    if (to == NULL)
        return ERR_MAX_FRAME;
    if (!guard_copy(to, item.at, item.len))
        return object_page_failed(o);
    if (term_check(span_of(to, item.len)) != item.len)
        return ERR_DAMAGED;
    out->len += item.len;
    return OK;
}

enum err want_put(struct object *o, struct buf *out, enum want_shape shape, const struct record *r,
                  unsigned attempt)
{
    const size_t from = out->len;
    if (out->failed)
        return ERR_MAX_FRAME;
    if (shape != SHAPE_ITEM) {
        reply_tuple(out, shape == SHAPE_WITH_ID ? 2 : 3);
        reply_uint64(out, r->seq);
    }
    if (shape == SHAPE_WITH_ATTEMPT)
        reply_uint64(out, attempt);
    enum err e = put_bytes_of(o, out, r->bytes);
    if (e != OK)
        buf_cut(out, from);
    return e;
}

static bool is_take(enum want_kind kind)
{
    return kind == WANT_TAKE || kind == WANT_TAKE_MANY || kind == WANT_MESSAGES;
}

/* The next that may be delivered: one that has been too often is put aside. */
static enum err front(struct object *o, const struct turn *t, struct record *r)
{
    enum err e = queue_front(o, t, r);
    while (e == OK && r->item != NULL && lease_is_worn_out(o, r->item)) {
        e = move_put_aside(o, t, r->item);
        if (e == OK)
            e = queue_front(o, t, r);
    }
    return e;
}

static enum err take(struct object *o, const struct turn *t, const struct record *r,
                     struct lease **leased)
{
    struct item *item;
    struct lease *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_ENOMEM;
    enum err e = t->may_wait ? queue_hold_front(o, t, r, &item) : queue_take(o, t, r, &item);
    if (e != OK) {
        free(l);
        return e;
    }
    l->item = item;
    item->user = l;
    LL_PREPEND2(*leased, l, next_of_call);
    return OK;
}

static enum err pop_or_take(struct object *o, const struct turn *t, const struct want *w,
                            const struct record *r, struct lease **leased)
{
    return is_take(w->kind) || t->may_wait ? take(o, t, r, leased) : queue_pop(o, t, r);
}

/* One item: first the reply, for one that does not fit must stay. */
static enum err serve_one(struct object *o, const struct turn *t, const struct want *w,
                          enum want_shape shape, struct buf *out, struct lease **leased)
{
    struct record r;
    const size_t from = out->len;
    enum err e = front(o, t, &r);
    if (e == OK)
        e = want_put(o, out, shape, &r, r.attempts + 1);
    if (e == OK)
        e = pop_or_take(o, t, w, &r, leased);
    if (e != OK)
        buf_cut(out, from);
    return e;
}

static enum err serve_many(struct object *o, const struct turn *t, const struct want *w,
                           struct buf *out, struct lease **leased)
{
    const enum want_shape shape = w->kind == WANT_POP_MANY ? SHAPE_ITEM : SHAPE_WITH_ATTEMPT;
    uint32_t n = 0;
    enum err e = OK;
    reply_ok(out);
    const size_t begin = reply_list_begin(out);
    while (n < w->max && n < WANT_MOST && e == OK) {
        e = serve_one(o, t, w, shape, out, leased);
        n += e == OK;
    }
    reply_list_end(out, begin, n);
    return n > 0 && e != ERR_EIO ? OK : e;
}

/* {ok, Item}, {ok, Id, Attempt, Item} */
static enum err serve_tuple(struct object *o, const struct turn *t, const struct want *w,
                            struct buf *out, struct lease **leased)
{
    struct record r;
    enum err e = front(o, t, &r);
    if (e != OK)
        return e;
    reply_tuple(out, w->kind == WANT_TAKE ? 4 : 2);
    reply_atom(out, "ok");
    if (w->kind == WANT_TAKE) {
        reply_uint64(out, r.seq);
        reply_uint64(out, r.attempts + 1);
    }
    e = want_put(o, out, SHAPE_ITEM, &r, 0);
    return e == OK ? pop_or_take(o, t, w, &r, leased) : e;
}

/* A longer answer is a worker's. */
static bool is_long(const struct object *o, const struct want *w)
{
    enum { HERE = 1000 };
    return w->max > HERE && queue_ready_items(o) > HERE;
}

static enum err serve(struct object *o, const struct turn *t, const struct want *w, struct buf *out,
                      struct lease **leased)
{
    const size_t from = out->len;
    enum err e = OK;
    switch (w->kind) {
    case WANT_POP: e = serve_one(o, t, w, SHAPE_ITEM, out, leased); break;
    case WANT_MESSAGES: e = serve_one(o, t, w, SHAPE_WITH_ATTEMPT, out, leased); break;
    case WANT_POP_WAIT:
    case WANT_TAKE: e = serve_tuple(o, t, w, out, leased); break;
    case WANT_POP_MANY:
    case WANT_TAKE_MANY: e = serve_many(o, t, w, out, leased); break;
    }
    if (e != OK)
        buf_cut(out, from);
    return e;
}

/* The next is no term: a file may hold anything. */
static enum err drop_front(struct object *o, const struct turn *t)
{
    struct record r;
    enum err e = front(o, t, &r);
    return e == OK ? queue_damaged(o, t, &r) : e;
}

enum err want_serve(struct object *o, const struct turn *t, const struct want *w, struct buf *out,
                    struct lease **leased)
{
    enum { DROPPED_HERE = 1000 };
    int dropped = 0;
    if (out->failed)
        return ERR_MAX_FRAME;
    if (!t->may_wait && is_long(o, w))
        return ERR_WOULD_BLOCK;
    for (;;) {
        enum err e = serve(o, t, w, out, leased);
        if (e != ERR_DAMAGED)
            return e;
        if (!t->may_wait && dropped++ >= DROPPED_HERE)
            return ERR_WOULD_BLOCK;
        e = drop_front(o, t);
        if (e != OK)
            return e;
    }
}

static enum err settle(struct object *o, const struct turn *t, enum want_kind kind, bool wanted,
                       struct item *item)
{
    const struct record r = queue_record_of(item);
    if (o->failed)
        return ERR_EIO;
    if (!wanted)
        return queue_release(o, t, item, 0);
    return is_take(kind) ? queue_take(o, t, &r, &item) : queue_pop(o, t, &r);
}

enum err want_settle(struct object *o, uint64_t now_ms, enum want_kind kind, bool wanted,
                     struct lease **leased)
{
    const struct turn t = {.now_ms = now_ms, .may_wait = true}; /* a worker has just been there */
    struct lease *l;
    struct lease *next;
    enum err e = OK;
    if (wanted && is_take(kind)) {
        LL_FOREACH2(*leased, l, next_of_call)
        e = e == OK ? settle(o, &t, kind, true, l->item) : e;
        if (e == OK)
            return OK;
        wanted = false; /* the object has failed */
    }
    LL_FOREACH_SAFE2(*leased, l, next, next_of_call)
    {
        l->item->user = NULL;
        if (e == OK)
            e = settle(o, &t, kind, wanted, l->item);
        free(l);
    }
    *leased = NULL;
    return e;
}

void want_nothing(const struct want *w, struct buf *out)
{
    switch (w->kind) {
    case WANT_POP: reply_atom(out, "nil"); break;
    case WANT_POP_WAIT:
    case WANT_TAKE: reply_atom(out, "empty"); break;
    default: reply_ok(out); reply_nil(out);
    }
}
