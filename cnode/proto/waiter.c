#include "proto/waiter.h"

#include "proto/held.h"
#include "proto/lease.h"
#include "proto/reply.h"

bool waiter_is_able(const struct waiter *w)
{
    return !w->gone && !w->closed && !w->served && (!w->subscription || w->unacked < w->credit);
}

bool waiter_has_room(const struct waiter *w)
{
    struct client *c = w->request.client;
    if (c->gone || (c->outlet.has_room(c->conn) && held_has_room(c)))
        return true;
    c->held_up = true;
    return false;
}

static bool leases(enum want_kind kind)
{
    return kind == WANT_TAKE || kind == WANT_TAKE_MANY;
}

enum err waiter_want(const struct waiter *w, struct want *want)
{
    const struct client *c = w->request.client;
    enum err limit = OK;
    const uint64_t most = leases(w->want.kind) ? lease_room(c, &limit) : UINT64_MAX;
    if (c->gone)
        return ERR_CLOSED;
    if (most == 0)
        return limit;
    *want = w->want;
    if (want->max > most)
        want->max = most;
    return OK;
}

/* Credit is as good as leases: what a subscription may be given is promised. */
static uint64_t unused_credit(const struct waiter *w)
{
    return w->subscription && w->credit > w->unacked ? w->credit - w->unacked : 0;
}

static void count_credit(struct client *c, uint64_t was, uint64_t is)
{
    c->credit += is - was;
    c->server->all.credit += is - was;
}

/* Changes something of it that may make it able or not. */
static void count(struct waiter *w, bool was_able)
{
    struct desk *d = &w->entry->desk;
    d->able = d->able + waiter_is_able(w) - was_able;
}

/* --- in and out ------------------------------------------------------------------------------ */

static struct span keep(struct waiter *w, struct span bytes)
{
    uint8_t *to = w->bytes + w->len;
    if (bytes.len > 0)
        memcpy(to, bytes.at, bytes.len);
    w->len += bytes.len;
    return span_of(to, bytes.len);
}

static struct waiter *waiter_new(struct entry *e, const struct request *r)
{
    struct waiter *w = calloc(1, sizeof *w + r->from.len + r->to.len + r->tag.len);
    if (w == NULL)
        return NULL;
    w->entry = e;
    w->request = (struct request){.client = r->client,
                                  .from = keep(w, r->from),
                                  .to = keep(w, r->to),
                                  .tag = keep(w, r->tag),
                                  .batch = r->batch,
                                  .in_envelope = r->in_envelope};
    return w;
}

static struct waiter **list_of(const struct waiter *w)
{
    struct desk *d = &w->entry->desk;
    return w->sated ? &d->sated : &d->first;
}

static void join_line(struct waiter *w)
{
    struct desk *d = &w->entry->desk;
    DL_APPEND(d->first, w);
    if (w->holder != NULL)
        DL_APPEND2(w->holder->waiters, w, prev_of, next_of);
    count(w, false);
    if (w->subscription) {
        d->subscribers++;
        w->request.client->subscriber_count++;
        w->request.client->server->all.subscribers++;
    } else {
        d->waiting++;
        w->request.client->waiter_count++;
        w->request.client->server->all.waiters++;
        w->request.client->waiter_bytes += w->len;
    }
    desk_tend_soon(w->entry);
}

static void index_reference(struct waiter *w)
{
    struct client *c = w->request.client;
    const struct span to = w->request.to;
    struct waiter *other;
    if (to.len == 0 || w->request.batch != NULL)
        return;
    HASH_FIND(hh, c->waiters, to.at, to.len, other);
    if (other != NULL)
        return;
    HASH_ADD_KEYPTR(hh, c->waiters, w->request.to.at, w->request.to.len, w);
    w->indexed = true;
}

/* Out of everything but the worker's hands. */
static void leave(struct waiter *w)
{
    struct desk *d = &w->entry->desk;
    struct client *c = w->request.client;
    const bool was_able = waiter_is_able(w);
    w->gone = true;
    count(w, was_able);
    DL_DELETE(*list_of(w), w);
    heap_remove(&d->wait_ends, &w->node);
    if (w->indexed)
        HASH_DEL(c->waiters, w);
    if (w->subscription) {
        d->subscribers--;
        c->subscriber_count--;
        c->server->all.subscribers--;
        count_credit(c, unused_credit(w), 0);
    } else {
        d->waiting--;
        c->waiter_count--;
        c->server->all.waiters--;
        c->waiter_bytes -= w->len;
    }
    if (w->holder != NULL) {
        DL_DELETE2(w->holder->waiters, w, prev_of, next_of);
        holder_rest(w->holder);
    }
    w->holder = NULL;
}

/* Leases of a subscription that is over are leases like any other. */
static void detach_leases(struct waiter *w)
{
    struct lease *l;
    if (!w->subscription || w->holder == NULL)
        return;
    DL_FOREACH(w->holder->leases, l)
    {
        if (l->subscription == w)
            l->subscription = NULL;
    }
}

/* It has left; where a worker is at it, that frees it. */
static void release(struct waiter *w)
{
    struct client *c = w->request.client;
    if (w->served)
        return;
    free(w);
    client_release(c);
}

static void end(struct waiter *w)
{
    detach_leases(w);
    leave(w);
    release(w);
}

/* --- requests -------------------------------------------------------------------------------- */

static bool really_waits(const struct request *r, const struct want *want)
{
    return want->timeout_ms > 0 && r->to.len > 0;
}

static void set_deadline(struct waiter *w)
{
    struct desk *d = &w->entry->desk;
    uint64_t end_ms;
    if (w->want.timeout_ms != FOREVER && server_time_after(w->want.timeout_ms, &end_ms))
        heap_add(&d->wait_ends, &w->node, end_ms);
}

/* What a waiting request keeps, those of a client on average: a caller, and a tag of any length. */
enum { BYTES_EACH = 256 };

static enum err admit_waiter(const struct client *c)
{
    const struct server *s = c->server;
    const uint64_t most = s->options.max_waiting;
    const bool fits = c->waiter_count == 0 || c->waiter_bytes <= most * BYTES_EACH;
    if (c->waiter_count >= most || !fits)
        return ERR_MAX_WAITING;
    return s->all.waiters < s->options.max_all_waiting ? OK : ERR_MAX_ALL_WAITING;
}

/* One that does not wait, but for the checkpoint or for others before it, is not watched. */
enum err waiter_join(struct entry *e, const struct call *c, const struct request *r)
{
    struct client *client = r->client;
    struct desk *d = &e->desk;
    const enum err refused = admit_waiter(client);
    if (refused != OK)
        return refused;
    if (client->gone)
        return ERR_CLOSED;
    struct waiter *w = waiter_new(e, r);
    if (w == NULL || !heap_reserve(&d->wait_ends, d->wait_ends.n + 1)) {
        free(w);
        return ERR_ENOMEM;
    }
    w->want = c->want;
    w->took_ns = uv_hrtime() - c->since_ns;
    w->handle = c->handle == NULL ? 0 : c->handle->id;
    if (!really_waits(r, &w->want)) {
        w->want.timeout_ms = 0;
    } else {
        w->holder = holder_of(client, r->from);
        if (w->holder == NULL) {
            free(w);
            return ERR_ENOMEM;
        }
        set_deadline(w);
    }
    index_reference(w);
    join_line(w);
    return OK;
}

void waiter_wait_no_more(struct waiter *w)
{
    heap_remove(&w->entry->desk.wait_ends, &w->node);
    w->want.timeout_ms = 0;
}

/* What it gets may not be durable yet. */
static enum err hold(const struct waiter *w, struct span reply, bool failed)
{
    const struct held_answer a = {.request = &w->request,
                                  .entry = w->entry,
                                  .since_ns = uv_hrtime() - w->took_ns,
                                  .failed = failed,
                                  .reply = reply};
    return w->entry->busy ? OK : held_answer(&a);
}

/* What could not be held is not told: it gets {error, enomem}. */
static void answer(struct waiter *w, struct span reply, bool failed, enum err held)
{
    struct request r = w->request;
    uint8_t room[REPLY_ERROR_MOST];
    struct buf error = buf_in(room, sizeof room);
    if (held == ERR_ENOMEM) {
        reply_error(&error, held);
        reply = span_of(error.at, error.len);
        failed = true;
    }
    const struct sample one = stats_sample(w->took_ns, uv_hrtime(), failed);
    if (held != ERR_WAIT)
        call_count(r.client, w->entry, &one);
    leave(w);
    if (held == ERR_WAIT)
        ;
    else if (r.batch != NULL)
        batch_go_on(r.batch, reply);
    else if (r.to.len > 0)
        request_answer(&r, reply);
    else
        cast_done(&r, reply);
    release(w);
}

void waiter_answer(struct waiter *w, struct span reply)
{
    answer(w, reply, false, hold(w, reply, false));
}

/* {emmap_queue, Ref, {error, Reason}} to the subscriber. */
static void tell_subscriber(struct waiter *w, enum err why)
{
    struct client *c = w->request.client;
    if (c->gone)
        return;
    struct buf *out = c->outlet.begin(c->conn, w->request.from);
    reply_tuple(out, 3);
    reply_atom(out, "emmap_queue");
    reply_raw(out, w->request.to);
    reply_error(out, why);
    if (out->failed)
        c->outlet.undo(c->conn);
    else
        c->outlet.end(c->conn);
}

void waiter_begin_service(struct waiter *w)
{
    const bool was_able = waiter_is_able(w);
    w->served = true;
    w->entry->in_flight++;
    w->request.client->in_flight++;
    w->request.client->pending_count++;
    count(w, was_able);
}

bool waiter_end_service(struct waiter *w)
{
    const bool was_able = waiter_is_able(w);
    const bool there = !w->gone;
    w->served = false;
    w->entry->in_flight--;
    w->request.client->in_flight--;
    w->request.client->pending_count--;
    count(w, was_able);
    if (!there)
        release(w);
    return there;
}

void waiter_fail(struct waiter *w, enum err why)
{
    if (w->subscription) {
        tell_subscriber(w, why);
        end(w);
        return;
    }
    uint8_t room[REPLY_ERROR_MOST];
    struct buf error = buf_in(room, sizeof room);
    reply_error(&error, why);
    const struct span reply = span_of(error.at, error.len);
    answer(w, reply, true, hold(w, reply, true));
}

/* --- what is given --------------------------------------------------------------------------- */

static struct lessee lessee_of(struct waiter *w)
{
    const bool may_come_back = w->request.in_envelope && !w->subscription;
    return (struct lessee){.entry = w->entry,
                           .client = w->request.client,
                           .pid = w->request.from,
                           .ref = may_come_back ? w->request.to : span_of(NULL, 0),
                           .subscription = w->subscription ? w : NULL,
                           .lease_ms = w->want.lease_ms};
}

/* {emmap_queue, Ref, Id, Attempt, Item}: of the last three `element` is a tuple. */
static void put_message(struct buf *out, const struct waiter *w, struct span element)
{
    struct term t = term_in(element);
    term_tuple(&t);
    reply_tuple(out, 5);
    reply_atom(out, "emmap_queue");
    reply_raw(out, w->request.to);
    for (int i = 0; i < 3; i++)
        reply_raw(out, term_any(&t));
}

static bool hold_message(const struct waiter *w, struct span element, uint64_t group)
{
    struct client *c = w->request.client;
    struct buf term;
    buf_init(&term, c->server->options.max_frame);
    put_message(&term, w, element);
    const bool held = !term.failed &&
                      held_message(c, w->entry, w->request.from, span_of(term.at, term.len), group);
    buf_fini(&term);
    c->held_short = !held && c->held_count > 0;
    return held;
}

static enum err send_message(struct waiter *w, struct span element)
{
    struct client *c = w->request.client;
    uint64_t group;
    if (held_must(w->entry, &group))
        return hold_message(w, element, group) ? OK : ERR_ENOMEM;
    struct buf *out = c->outlet.begin(c->conn, w->request.from);
    put_message(out, w, element);
    const bool fits = !out->failed;
    if (fits)
        c->outlet.end(c->conn);
    else
        c->outlet.undo(c->conn);
    return fits ? OK : ERR_MAX_UNSENT;
}

/* Behind the others, so that all get their turn. */
static void to_the_end(struct waiter *w)
{
    DL_DELETE(*list_of(w), w);
    DL_APPEND(*list_of(w), w);
}

/* Without memory the subscription waits for that of what is kept for its client, and is over only
 * where nothing is: so its end overtakes no item. */
static void give_message(struct waiter *w, struct span reply, struct lease *leased)
{
    const struct lessee to = lessee_of(w);
    const enum err e = send_message(w, reply);
    if (e == OK) {
        lease_settle(leased, &to);
        to_the_end(w);
        return;
    }
    lease_give_up(leased, w->entry);
    if (e == ERR_MAX_UNSENT || waiter_has_room(w))
        waiter_fail(w, e);
}

void waiter_give(struct waiter *w, struct span reply, struct lease *leased)
{
    w->entry->stats.bytes_out += reply.len;
    if (w->subscription) {
        give_message(w, reply, leased);
        return;
    }
    const struct lessee to = lessee_of(w);
    const enum err held = hold(w, reply, false);
    if (held == ERR_ENOMEM)
        lease_give_up(leased, w->entry);
    else
        lease_settle(leased, &to);
    answer(w, reply, false, held);
}

/* --- subscriptions --------------------------------------------------------------------------- */

static struct waiter *find_subscription(const struct call *c, struct span ref)
{
    const struct holder *h = holder_find(c->client, c->from);
    struct waiter *w = h == NULL ? NULL : h->waiters;
    while (w != NULL &&
           !(w->subscription && w->entry == c->entry && span_equal(w->request.to, ref)))
        w = w->next_of;
    return w;
}

/* Leaves the line without credit, joins its end with some. */
static void place(struct waiter *w)
{
    const bool sated = w->unacked >= w->credit;
    if (sated == w->sated)
        return;
    DL_DELETE(*list_of(w), w);
    w->sated = sated;
    DL_APPEND(*list_of(w), w);
}

static void set_credit(struct waiter *w, uint64_t credit)
{
    const bool was_able = waiter_is_able(w);
    const uint64_t was = unused_credit(w);
    w->credit = credit;
    count_credit(w->request.client, was, unused_credit(w));
    count(w, was_able);
    place(w);
    desk_tend_soon(w->entry);
}

/* May the subscription, or a new one, have so much? */
static enum err admit_credit(const struct client *c, const struct waiter *w, uint64_t credit)
{
    enum err limit;
    const uint64_t unacked = w == NULL ? 0 : w->unacked;
    const uint64_t had = w == NULL ? 0 : unused_credit(w);
    const uint64_t unused = credit > unacked ? credit - unacked : 0;
    return unused <= had || unused - had <= lease_room(c, &limit) ? OK : limit;
}

static enum err admit_subscriber(const struct client *c)
{
    const struct server *s = c->server;
    if (c->subscriber_count >= s->options.max_subscribers)
        return ERR_MAX_SUBSCRIBERS;
    return s->all.subscribers < s->options.max_all_subscribers ? OK : ERR_MAX_ALL_SUBSCRIBERS;
}

enum err waiter_subscribe(struct call *c, struct span ref, uint64_t credit)
{
    struct client *client = c->client;
    const struct request r = {.client = client, .from = c->from, .to = ref};
    struct waiter *w = find_subscription(c, ref);
    enum err refused = admit_credit(client, w, credit);
    if (refused == OK && w == NULL)
        refused = admit_subscriber(client);
    if (refused != OK)
        return refused;
    if (w != NULL) {
        set_credit(w, credit);
        return OK;
    }
    struct holder *h = holder_of(client, c->from);
    w = h == NULL ? NULL : waiter_new(c->entry, &r);
    if (w == NULL) {
        if (h != NULL)
            holder_rest(h);
        return ERR_ENOMEM;
    }
    w->subscription = true;
    w->holder = h;
    w->credit = credit;
    count_credit(client, 0, credit);
    w->handle = c->handle == NULL ? 0 : c->handle->id;
    w->want = (struct want){.kind = WANT_MESSAGES, .max = 1, .lease_ms = LEASE_UNSET};
    join_line(w);
    return OK;
}

enum err waiter_unsubscribe(struct call *c, struct span ref, bool keep_leases, struct buf *ids,
                            uint32_t *n)
{
    struct waiter *w = find_subscription(c, ref);
    if (w == NULL)
        return ERR_BADARG;
    struct lease *l;
    struct lease *next;
    DL_FOREACH_SAFE(w->holder->leases, l, next)
    {
        if (l->subscription != w || l->over)
            continue;
        reply_uint64(ids, l->item->seq);
        (*n)++;
        if (!keep_leases)
            lease_return(l, false);
    }
    end(w);
    return OK;
}

static void set_unacked(struct waiter *w, uint64_t n)
{
    const bool was_able = waiter_is_able(w);
    const uint64_t was = unused_credit(w);
    w->unacked = n;
    count_credit(w->request.client, was, unused_credit(w));
    count(w, was_able);
    place(w);
}

void waiter_took(struct waiter *w)
{
    set_unacked(w, w->unacked + 1);
}

void waiter_acked(struct waiter *w)
{
    set_unacked(w, w->unacked - 1);
    desk_tend_soon(w->entry);
}

/* The longest without credit stands first. */
void waiter_forget_leases(struct desk *d)
{
    struct waiter *w;
    struct waiter *next;
    struct lease *l;
    DL_FOREACH2(d->leases, l, next_here)
    l->subscription = NULL;
    DL_FOREACH2(d->over, l, next_here)
    l->subscription = NULL;
    DL_FOREACH(d->first, w)
    {
        if (w->subscription)
            set_unacked(w, 0);
    }
    DL_FOREACH_SAFE(d->sated, w, next)
    set_unacked(w, 0);
}

/* --- the end of many ------------------------------------------------------------------------- */

void waiter_end_all(struct holder *h)
{
    while (h->waiters != NULL)
        end(h->waiters); /* NOLINT: it takes itself out */
}

void waiter_fail_all(struct desk *d, enum err why)
{
    while (d->first != NULL)
        waiter_fail(d->first, why); /* NOLINT: it takes itself out */
    while (d->sated != NULL)
        waiter_fail(d->sated, why); /* NOLINT */
}

static void set_closed(struct waiter *w)
{
    const bool was_able = waiter_is_able(w);
    w->closed = true;
    count(w, was_able);
    w->entry->desk.closes = true;
    desk_tend_soon(w->entry);
}

static void end_handle(struct waiter *first, uint64_t handle)
{
    struct waiter *w;
    struct waiter *next;
    DL_FOREACH_SAFE(first, w, next)
    {
        if (w->handle == handle && w->subscription)
            end(w);
        else if (w->handle == handle)
            set_closed(w);
    }
}

void waiter_end_handle(struct entry *e, uint64_t handle)
{
    end_handle(e->desk.first, handle);
    end_handle(e->desk.sated, handle);
}

static bool any_by_name(const struct waiter *w)
{
    while (w != NULL && w->handle != 0)
        w = w->next;
    return w != NULL;
}

bool waiter_by_name(const struct desk *d)
{
    return any_by_name(d->first) || any_by_name(d->sated);
}

void waiter_fail_closed(struct desk *d)
{
    struct waiter *w;
    struct waiter *next;
    if (!d->closes)
        return;
    d->closes = false;
    DL_FOREACH_SAFE(d->first, w, next)
    {
        d->closes |= w->closed && w->served;
        if (w->closed && !w->served)
            waiter_fail(w, ERR_CLOSED);
    }
}

void waiter_take_back(struct client *c, struct span ref)
{
    struct waiter *w;
    HASH_FIND(hh, c->waiters, ref.at, ref.len, w);
    if (w != NULL)
        end(w);
}
