#include <ei.h>

#include "proto/call.h"
#include "proto/lease.h"
#include "proto/ops.h"
#include "proto/reply.h"
#include "proto/waiter.h"
#include "proto/want.h"

/* A longer list is a worker's. */
enum { LIST_HERE = 2000 };

static struct turn turn_of(const struct call *c)
{
    return (struct turn){.now_ms = c->now_ms, .may_wait = c->may_wait};
}

static enum err reply_done(struct call *c, enum err e)
{
    if (e == OK)
        reply_atom(c->out, "ok");
    return e;
}

/* --- pushing --------------------------------------------------------------------------------- */

/* What comes in must be able to come out. */
static enum err check_lengths(const struct call *c, const struct span *items, size_t n)
{
    const size_t most = want_longest(c->server->options.max_frame);
    for (size_t i = 0; i < n; i++)
        if (items[i].len > most)
            return ERR_MAX_FRAME;
    return OK;
}

static enum err push(struct call *c, const struct span *items, size_t n)
{
    const struct turn t = turn_of(c);
    uint64_t first;
    enum err e = check_lengths(c, items, n);
    if (e == OK)
        e = queue_push(c->object, &t, items, n, &first);
    for (size_t i = 0; e == OK && i < n; i++)
        c->bytes_in += items[i].len;
    return reply_done(c, e);
}

enum err op_push(struct call *c)
{
    return push(c, &c->args[1].bytes, 1);
}

/* A list of small numbers arrives as a string of bytes: each becomes a term again. */
static enum err push_string(struct call *c, struct span bytes)
{
    struct span *items = malloc(bytes.len * sizeof *items);
    uint8_t *terms = malloc(2 * bytes.len);
    enum err e = items == NULL || terms == NULL ? ERR_ENOMEM : OK;
    for (size_t i = 0; e == OK && i < bytes.len; i++) {
        terms[2 * i] = ERL_SMALL_INTEGER_EXT;
        terms[2 * i + 1] = bytes.at[i];
        items[i] = span_of(terms + 2 * i, 2);
    }
    if (e == OK)
        e = push(c, items, bytes.len);
    free(terms);
    free(items);
    return e;
}

static enum err push_list(struct call *c, struct term *t, size_t n)
{
    struct span *items = malloc((n > 0 ? n : 1) * sizeof *items);
    if (items == NULL)
        return ERR_ENOMEM;
    for (size_t i = 0; i < n; i++)
        items[i] = term_any(t);
    if (n > 0)
        term_list_end(t);
    enum err e = t->bad ? ERR_BADARG : push(c, items, n);
    free(items);
    return e;
}

enum err op_push_many(struct call *c)
{
    struct term t = term_in(c->args[1].bytes);
    if (term_tag(&t) == ERL_STRING_EXT)
        return push_string(c, term_string(&t));
    const int n = term_list(&t);
    if (n > LIST_HERE && !c->may_wait)
        return ERR_WOULD_BLOCK;
    return push_list(c, &t, (size_t)n);
}

/* By the daemon itself: what another queue has given up. */
enum err op_move_in(struct call *c)
{
    const struct turn t = turn_of(c);
    struct origin from = {.seq = c->args[2].u, .attempts = c->args[3].u};
    uint64_t seq;
    if (c->args[1].bytes.len != sizeof from.uuid)
        return ERR_BADARG;
    memcpy(from.uuid, c->args[1].bytes.at, sizeof from.uuid);
    return reply_done(c, queue_push_moved(c->object, &t, &from, c->args[4].bytes, &seq));
}

/* --- popping and taking ---------------------------------------------------------------------- */

static bool is_lease(enum want_kind kind)
{
    return kind == WANT_TAKE || kind == WANT_TAKE_MANY;
}

/* Those who wait already come first. */
static bool has_to_stand_behind(const struct call *c)
{
    return !c->may_wait && c->entry->desk.able > 0;
}

static enum err serve(struct call *c, struct want w)
{
    const struct turn t = turn_of(c);
    const size_t from = c->out->len;
    if (w.max == 0 || (c->in_batch && w.timeout_ms > 0))
        return ERR_BADARG;
    enum err e = object_writable(c->object);
    if (e != OK)
        return e;
    if (is_lease(w.kind) && c->leases_left == 0)
        return c->leases_limit;
    if (is_lease(w.kind) && w.max > c->leases_left)
        w.max = c->leases_left;
    c->want = w;
    if (has_to_stand_behind(c))
        return ERR_WAIT;
    e = want_serve(c->object, &t, &w, c->out, &c->leased);
    if (e == ERR_CHECKPOINT || (e == ERR_EMPTY && w.timeout_ms > 0))
        return ERR_WAIT;
    if (e == ERR_EMPTY)
        want_nothing(&w, c->out);
    c->bytes_out += c->out->len - from;
    return e == ERR_EMPTY ? OK : e;
}

static uint64_t number(const struct call *c, int i, uint64_t otherwise)
{
    return c->argc > i ? c->args[i].u : otherwise;
}

enum err op_pop(struct call *c)
{
    return serve(c, (struct want){.kind = WANT_POP, .max = 1});
}

enum err op_pop_wait(struct call *c)
{
    return serve(c, (struct want){.kind = WANT_POP_WAIT, .max = 1, .timeout_ms = c->args[1].u});
}

enum err op_pop_many(struct call *c)
{
    return serve(c, (struct want){
                        .kind = WANT_POP_MANY, .max = c->args[1].u, .timeout_ms = number(c, 2, 0)});
}

enum err op_take(struct call *c)
{
    return serve(c, (struct want){.kind = WANT_TAKE,
                                  .max = 1,
                                  .timeout_ms = number(c, 1, 0),
                                  .lease_ms = number(c, 2, LEASE_UNSET)});
}

enum err op_take_many(struct call *c)
{
    return serve(c, (struct want){.kind = WANT_TAKE_MANY,
                                  .max = c->args[1].u,
                                  .timeout_ms = number(c, 2, 0),
                                  .lease_ms = number(c, 3, LEASE_UNSET)});
}

/* --- what becomes of leased items ------------------------------------------------------------ */

typedef enum err decide(struct call *c, const struct turn *t, struct item *item);

static enum err do_ack(struct call *c, const struct turn *t, struct item *item)
{
    return queue_ack(c->object, t, item);
}

static enum err do_release(struct call *c, const struct turn *t, struct item *item)
{
    const uint64_t delay_ms = c->op->args[2] == 'u' ? c->args[2].u : 0;
    return lease_bring_back(c->object, t, item, delay_ms);
}

static enum err do_unsee(struct call *c, const struct turn *t, struct item *item)
{
    return queue_unsee(c->object, t, item);
}

static enum err do_bury(struct call *c, const struct turn *t, struct item *item)
{
    return queue_bury(c->object, t, item);
}

/* Does the caller decide about the item? A buried one anybody may ack. */
static bool may_decide(const struct call *c, const struct item *item, decide *what)
{
    if (item->state == ITEM_BURIED)
        return what == do_ack;
    return item->state == ITEM_LEASED && item->user != NULL &&
           lease_is_of(item->user, c->client, c->from);
}

/* The lease is over with the item's; the loop frees it. */
static enum err decide_one(struct call *c, const struct turn *t, uint64_t id, decide *what)
{
    struct item *item = queue_find(c->object, id);
    if (item == NULL || !may_decide(c, item, what))
        return ERR_NOT_LEASED;
    struct lease *l = item->state == ITEM_LEASED ? item->user : NULL;
    enum err e = what(c, t, item);
    if (e != OK || l == NULL)
        return e;
    if (what != do_ack && item->user == l)
        item->user = NULL;
    l->item = NULL;
    LL_PREPEND2(c->ended, l, next_of_call);
    return OK;
}

static enum err decide_this(struct call *c, decide *what)
{
    const struct turn t = turn_of(c);
    enum err e = object_writable(c->object);
    return reply_done(c, e == OK ? decide_one(c, &t, c->args[1].u, what) : e);
}

/* A number of the list; those of a string are bytes. */
static uint64_t next_id(struct term *t, struct span string, int i)
{
    return string.at != NULL ? string.at[i] : term_uint64(t);
}

/* All that can be wrong, and whether any would have to wait for a disk, before the first is
 * decided: what is half done cannot be done again by a worker. */
static enum err check_ids(struct call *c, struct term t, struct span string, int n)
{
    const struct turn turn = turn_of(c);
    enum err e = n > LIST_HERE && !c->may_wait ? ERR_WOULD_BLOCK : OK;
    for (int i = 0; i < n && e == OK; i++) {
        struct item *item = queue_find(c->object, next_id(&t, string, i));
        if (item != NULL && !t.bad)
            e = queue_ready(c->object, &turn, item);
    }
    if (n > 0 && string.at == NULL && e == OK)
        term_list_end(&t);
    return e == OK && t.bad ? ERR_BADARG : e;
}

/* {error, {not_leased, Ids}}, unless there are none. */
static void reply_refused(struct call *c, const struct buf *ids, uint32_t n)
{
    if (n == 0) {
        reply_atom(c->out, "ok");
        return;
    }
    c->refused = true;
    reply_tuple(c->out, 2);
    reply_atom(c->out, "error");
    reply_tuple(c->out, 2);
    reply_atom(c->out, "not_leased");
    reply_list(c->out, n);
    reply_raw(c->out, span_of(ids->at, ids->len));
    reply_nil(c->out);
}

static enum err decide_list(struct call *c, struct term *t, struct span string, int n, decide *what)
{
    struct buf refused;
    uint32_t n_refused = 0;
    enum err e = OK;
    const struct turn patient = {.now_ms = c->now_ms, .may_wait = true};
    buf_init(&refused, c->server->options.max_frame);
    for (int i = 0; i < n && e == OK; i++) {
        const uint64_t id = next_id(t, string, i);
        e = decide_one(c, &patient, id, what);
        if (e == ERR_NOT_LEASED) {
            reply_uint64(&refused, id);
            n_refused++;
            e = OK;
        }
    }
    if (e == OK)
        reply_refused(c, &refused, n_refused);
    buf_fini(&refused);
    return e;
}

static enum err decide_many(struct call *c, decide *what)
{
    struct term t = term_in(c->args[1].bytes);
    const bool is_string = term_tag(&t) == ERL_STRING_EXT;
    const struct span string = is_string ? term_string(&t) : span_of(NULL, 0);
    const int n = is_string ? (int)string.len : term_list(&t);
    enum err e = object_writable(c->object);
    if (e == OK)
        e = check_ids(c, t, string, n);
    return e == OK ? decide_list(c, &t, string, n, what) : e;
}

enum err op_ack(struct call *c)
{
    return decide_this(c, do_ack);
}

enum err op_ack_many(struct call *c)
{
    return decide_many(c, do_ack);
}

enum err op_release(struct call *c)
{
    return decide_this(c, do_release);
}

enum err op_release_many(struct call *c)
{
    if (c->argc == 2)
        return decide_many(c, do_release);
    struct term how = term_in(c->args[2].bytes);
    return term_is_atom(&how, "unseen") ? decide_many(c, do_unsee) : ERR_BADARG;
}

enum err op_bury(struct call *c)
{
    return decide_this(c, do_bury);
}

/* Nothing of the file: only on the loop, whose the times are. */
enum err op_touch(struct call *c)
{
    struct item *item = queue_find(c->object, c->args[1].u);
    if (item == NULL || item->state != ITEM_LEASED || !may_decide(c, item, do_release))
        return ERR_NOT_LEASED;
    struct lease *l = item->user;
    if (l->over)
        return ERR_NOT_LEASED;
    lease_restart(l, l->ms);
    return reply_done(c, OK);
}

enum err op_kick(struct call *c)
{
    const struct turn t = turn_of(c);
    struct record r = {.seq = 0};
    uint64_t n = 0;
    enum err e = c->args[1].u == 0 ? ERR_BADARG : object_writable(c->object);
    if (e == OK && !c->may_wait)
        return ERR_WOULD_BLOCK;
    while (e == OK && n < c->args[1].u) {
        e = queue_next_buried(c->object, &t, r.seq + 1, &r);
        if (e == OK)
            e = queue_kick(c->object, &t, r.item);
        n += e == OK;
    }
    if (e != OK && e != ERR_EMPTY)
        return e;
    reply_ok(c->out);
    reply_uint64(c->out, n);
    return OK;
}

/* --- looking --------------------------------------------------------------------------------- */

typedef enum err step(struct object *o, const struct turn *t, uint64_t seq, struct record *r);

/* The next in this direction; false: there is none. */
static bool move_on(step *to, uint64_t *seq)
{
    if (to == queue_previous ? *seq == 0 : *seq == UINT64_MAX)
        return false;
    *seq = to == queue_previous ? *seq - 1 : *seq + 1;
    return true;
}

static enum err look(struct call *c, step *to, uint64_t seq, enum want_shape shape)
{
    const struct turn t = turn_of(c);
    const size_t from = c->out->len;
    const uint64_t max = c->args[1].u;
    uint32_t n = 0;
    enum err e = max == 0 || seq == 0 ? ERR_BADARG : OK;
    if (e == OK && max > LIST_HERE && !c->may_wait)
        return ERR_WOULD_BLOCK;
    reply_ok(c->out);
    const size_t begin = reply_list_begin(c->out);
    while (e == OK && n < max) {
        struct record r;
        e = to(c->object, &t, seq, &r);
        const bool found = e == OK;
        if (found)
            e = want_put(c->object, c->out, shape, &r, r.attempts);
        n += e == OK;
        if (found && e == ERR_DAMAGED)
            e = OK; /* told when it comes up for delivery */
        seq = e == OK ? r.seq : seq;
        if (e == OK && !move_on(to, &seq))
            break;
    }
    reply_list_end(c->out, begin, n);
    c->bytes_out += c->out->len - from;
    return e == ERR_EMPTY || (e == ERR_MAX_FRAME && n > 0) ? OK : e;
}

enum err op_peek_many(struct call *c)
{
    return look(c, queue_next, number(c, 2, 1), SHAPE_WITH_ID);
}

enum err op_rpeek_many(struct call *c)
{
    return look(c, queue_previous, number(c, 2, UINT64_MAX), SHAPE_WITH_ID);
}

enum err op_peek_buried(struct call *c)
{
    return look(c, queue_next_buried, 1, SHAPE_WITH_ATTEMPT);
}

enum err op_length(struct call *c)
{
    struct queue_info info;
    queue_look(c->object, &info);
    reply_uint64(c->out, info.ready);
    return OK;
}

enum err op_erase(struct call *c)
{
    if (!c->may_wait)
        return ERR_WOULD_BLOCK;
    return reply_done(c, queue_erase(c->object, c->now_ms));
}

void op_erase_done(struct call *c)
{
    move_forget(c->entry);
    desk_forget_leases(c->entry);
}

/* --- subscriptions --------------------------------------------------------------------------- */

static bool is_reference(struct span term)
{
    return term.len > 0 &&
           (term.at[0] == ERL_NEWER_REFERENCE_EXT || term.at[0] == ERL_NEW_REFERENCE_EXT);
}

enum err op_subscribe(struct call *c)
{
    const uint64_t credit = c->args[2].u;
    if (!is_reference(c->args[1].bytes) || credit == 0 || c->from.len == 0)
        return ERR_BADARG;
    enum err e = object_writable(c->object);
    if (e == OK)
        e = waiter_subscribe(c, c->args[1].bytes, credit);
    return reply_done(c, e);
}

static void reply_ids(struct call *c, const struct buf *ids, uint32_t n)
{
    reply_ok(c->out);
    reply_list(c->out, n);
    reply_raw(c->out, span_of(ids->at, ids->len));
    reply_nil(c->out);
}

enum err op_unsubscribe(struct call *c)
{
    struct buf ids;
    uint32_t n = 0;
    const bool keep = c->argc == 3;
    struct term how = term_in(c->args[2].bytes);
    if (!is_reference(c->args[1].bytes) || (keep && !term_is_atom(&how, "keep")))
        return ERR_BADARG;
    buf_init(&ids, c->server->options.max_frame);
    enum err e = waiter_unsubscribe(c, c->args[1].bytes, keep, &ids, &n);
    if (e == OK && keep)
        reply_ids(c, &ids, n);
    else if (e == OK)
        reply_atom(c->out, "ok");
    buf_fini(&ids);
    return e;
}
