#include "proto/lease.h"

#include "proto/desk.h"
#include "proto/entry.h"
#include "proto/waiter.h"
#include "proto/want.h"

bool lease_is_of(const struct lease *l, const struct client *c, struct span pid)
{
    return l != NULL && l->holder != NULL && holder_is(l->holder, c, pid);
}

/* --- by reference ---------------------------------------------------------------------------- */

static struct grant *grant_of(struct client *c, struct span ref)
{
    struct grant *g;
    HASH_FIND(hh, c->grants, ref.at, ref.len, g);
    if (g != NULL)
        return g;
    g = calloc(1, sizeof *g + ref.len);
    if (g == NULL)
        return NULL;
    g->client = c;
    g->len = ref.len;
    memcpy(g->ref, ref.at, ref.len);
    HASH_ADD_KEYPTR(hh, c->grants, g->ref, g->len, g);
    return g;
}

static void leave_grant(struct lease *l)
{
    struct grant *g = l->grant;
    if (g == NULL)
        return;
    l->grant = NULL;
    DL_DELETE2(g->leases, l, prev_granted, next_granted);
    if (g->leases != NULL)
        return;
    HASH_DEL(g->client->grants, g);
    free(g);
}

void lease_take_back(struct client *c, struct span ref)
{
    struct grant *g;
    HASH_FIND(hh, c->grants, ref.at, ref.len, g);
    while (g != NULL) {
        struct lease *l = g->leases;
        const bool last = l->next_granted == NULL;
        leave_grant(l);
        lease_return(l, true);
        if (last)
            g = NULL;
    }
}

/* --- the time of a lease --------------------------------------------------------------------- */

void lease_restart(struct lease *l, uint64_t lease_ms)
{
    struct desk *d = &l->entry->desk;
    heap_remove(&d->lease_ends, &l->node);
    l->ms = lease_ms;
    if (lease_ms == LEASE_UNSET)
        lease_ms = queue_options(&l->entry->object)->lease_ms;
    uint64_t end;
    if (lease_ms > 0 && server_time_after(lease_ms, &end) &&
        heap_reserve(&d->lease_ends, d->lease_ends.n + 1))
        heap_add(&d->lease_ends, &l->node, end);
}

/* --- begin and end --------------------------------------------------------------------------- */

static void begin(struct lease *l, const struct lessee *to, struct holder *h, struct grant *g)
{
    struct desk *d = &to->entry->desk;
    l->entry = to->entry;
    l->holder = h;
    l->subscription = to->subscription;
    DL_APPEND(h->leases, l);
    DL_APPEND2(d->leases, l, prev_here, next_here);
    h->client->lease_count++;
    h->client->server->all.leases++;
    if (g != NULL) {
        l->grant = g;
        DL_APPEND2(g->leases, l, prev_granted, next_granted);
    }
    if (to->subscription != NULL)
        waiter_took(to->subscription);
    lease_restart(l, to->lease_ms);
}

/* Back as if it had never been delivered; where that has to wait for a disk, as it is. */
static void unsee(struct entry *e, struct item *item)
{
    const struct turn t = {.now_ms = server_now_ms(e->server)};
    if (!e->object.failed && queue_unsee(&e->object, &t, item) != OK && !e->object.failed)
        queue_release(&e->object, &t, item, 0);
}

/* Nobody is there to hold it. */
static void give_up(struct lease *l, struct entry *e)
{
    l->item->user = NULL;
    unsee(e, l->item);
    free(l);
    desk_tend_soon(e);
}

void lease_give_up(struct lease *list, struct entry *e)
{
    struct lease *l;
    struct lease *next;
    LL_FOREACH_SAFE2(list, l, next, next_of_call)
    give_up(l, e);
}

/* A call makes the newest the first. */
static struct lease *in_order(struct lease *list)
{
    struct lease *ordered = NULL;
    struct lease *l;
    struct lease *next;
    LL_FOREACH_SAFE2(list, l, next, next_of_call)
    {
        LL_PREPEND2(ordered, l, next_of_call);
    }
    return ordered;
}

void lease_settle(struct lease *list, const struct lessee *to)
{
    struct holder *h = list == NULL ? NULL : holder_of(to->client, to->pid);
    struct grant *g = h != NULL && to->ref.len > 0 ? grant_of(to->client, to->ref) : NULL;
    struct lease *l;
    struct lease *next;
    list = in_order(list);
    LL_FOREACH_SAFE2(list, l, next, next_of_call)
    {
        if (h == NULL)
            give_up(l, to->entry);
        else
            begin(l, to, h, g);
    }
}

static uint64_t left(uint64_t most, uint64_t has)
{
    return has < most ? most - has : 0;
}

uint64_t lease_room(const struct client *c, enum err *limit)
{
    const struct server_options *most = &c->server->options;
    const struct totals *all = &c->server->all;
    const uint64_t own = left(most->max_leases, c->lease_count + c->credit);
    const uint64_t of_all = left(most->max_all_leases, all->leases + all->credit);
    *limit = own <= of_all ? ERR_MAX_LEASES : ERR_MAX_ALL_LEASES;
    return own <= of_all ? own : of_all;
}

enum err lease_fit(const struct client *c, enum want_kind kind, const struct lease *list)
{
    const struct lease *l;
    enum err limit;
    uint64_t n = 0;
    if (kind != WANT_TAKE && kind != WANT_TAKE_MANY)
        return OK;
    LL_FOREACH2(list, l, next_of_call)
    n++;
    return n <= lease_room(c, &limit) ? OK : limit;
}

enum err lease_settle_call(struct call *c, enum err result, bool wanted)
{
    struct lease *l;
    struct lease *next;
    if (result == OK)
        result = lease_fit(c->client, c->want.kind, c->leased);
    if (c->may_wait && c->leased != NULL) {
        const enum err settled =
            want_settle(c->object, c->now_ms, c->want.kind, wanted && result == OK, &c->leased);
        result = result == OK ? settled : result;
    }
    if (result != OK)
        lease_give(c, false);
    LL_FOREACH_SAFE2(c->ended, l, next, next_of_call)
    lease_free(l);
    c->ended = NULL;
    return result;
}

void lease_give(struct call *c, bool told)
{
    const struct lessee to = {.entry = c->entry,
                              .client = c->client,
                              .pid = c->from,
                              .ref = c->in_envelope ? c->ref : span_of(NULL, 0),
                              .lease_ms = c->want.lease_ms};
    if (told)
        lease_settle(c->leased, &to);
    else
        lease_give_up(c->leased, c->entry);
    c->leased = NULL;
}

static struct lease **list_of(const struct lease *l)
{
    struct desk *d = &l->entry->desk;
    return l->over ? &d->over : &d->leases;
}

void lease_free(struct lease *l)
{
    struct desk *d = &l->entry->desk;
    struct holder *h = l->holder;
    if (l->item != NULL && l->item->user == l)
        l->item->user = NULL;
    if (l->subscription != NULL)
        waiter_acked(l->subscription);
    leave_grant(l);
    heap_remove(&d->lease_ends, &l->node);
    DL_DELETE2(*list_of(l), l, prev_here, next_here);
    DL_DELETE(h->leases, l);
    h->client->lease_count--;
    h->client->server->all.leases--;
    free(l);
    holder_rest(h);
}

bool lease_is_worn_out(const struct object *o, const struct item *item)
{
    const uint32_t most = queue_options(o)->max_attempts;
    return most > 0 && item->attempts >= most;
}

enum err lease_bring_back(struct object *o, const struct turn *t, struct item *item,
                          uint64_t delay_ms)
{
    return lease_is_worn_out(o, item) ? move_put_aside(o, t, item)
                                      : queue_release(o, t, item, delay_ms);
}

/* Where a disk would have to be waited for it is ready in memory: what has to be stored is seen to
 * when it comes up for delivery. */
static void bring_back(struct lease *l, bool unseen)
{
    struct entry *e = l->entry;
    const struct turn t = {.now_ms = server_now_ms(e->server)};
    if (unseen)
        unsee(e, l->item);
    else if (!e->object.failed && lease_bring_back(&e->object, &t, l->item, 0) != OK &&
             !e->object.failed)
        queue_release(&e->object, &t, l->item, 0);
    lease_free(l);
}

static void return_later(struct lease *l, bool unseen)
{
    struct desk *d = &l->entry->desk;
    DL_DELETE2(d->leases, l, prev_here, next_here);
    heap_remove(&d->lease_ends, &l->node);
    l->over = true;
    l->unseen = unseen;
    DL_APPEND2(d->over, l, prev_here, next_here);
}

void lease_return(struct lease *l, bool unseen)
{
    struct entry *e = l->entry;
    desk_tend_soon(e);
    if (l->over)
        return;
    if (e->busy || e->object.kind != OBJECT_QUEUE)
        return_later(l, unseen);
    else
        bring_back(l, unseen);
}

bool lease_return_over(struct entry *e, int most)
{
    for (; e->desk.over != NULL && most > 0; most--)
        bring_back(e->desk.over, e->desk.over->unseen);
    return e->desk.over == NULL;
}

void lease_end_all(struct holder *h)
{
    enum { AT_ONCE = 1000 };
    struct lease *l;
    struct lease *next;
    int n = 0;
    DL_FOREACH_SAFE(h->leases, l, next)
    {
        if (l->over)
            continue;
        desk_tend_soon(l->entry);
        if (n++ < AT_ONCE)
            lease_return(l, false);
        else
            return_later(l, false);
    }
}
