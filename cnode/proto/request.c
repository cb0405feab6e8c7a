#include <ei.h>

#include "proto/call.h"
#include "proto/desk.h"
#include "proto/gather.h"
#include "proto/held.h"
#include "proto/lease.h"
#include "proto/line.h"
#include "proto/reply.h"
#include "proto/waiter.h"

/* Does this request have to be behind others on its object, or behind a disk? */
static bool must_wait(const struct call *c)
{
    const struct entry *e = c->entry;
    if (entry_is_open(e) && (c->op->flags & OP_LOOKS) != 0)
        return false;
    return e->busy || e->first != NULL || e->desk.stalled || !entry_is_open(e);
}

static enum outcome refuse(struct call *c, enum err e)
{
    reply_error(c->out, e);
    call_note(c, e);
    return ANSWERED;
}

/* Into the line; where the object is idle, to a worker. What only this request had called up goes
 * again if it may not wait. */
static enum outcome wait(struct call *c, const struct request *r, struct open *open)
{
    struct entry *e = c->entry;
    const bool idle = !e->busy && e->first == NULL && !e->desk.stalled;
    enum err why = line_wait(e, r, open, c->since_ns);
    if (why != OK) {
        free(open);
        refuse(c, why);
        line_rest(e);
        return ANSWERED;
    }
    if (idle)
        line_begin(e);
    return WAITS;
}

static enum outcome run_opening(struct call *c, const struct request *r)
{
    struct open *open;
    if (!open_of_call(c, &open)) {
        call_note(c, ERR_BADARG);
        return ANSWERED;
    }
    const char *path = open->opening.sharing == MAP_OF_FILE ? open->path : NULL;
    c->entry = path == NULL ? NULL : entry_of_path(c->server, path);
    if (c->entry == NULL)
        c->entry = entry_new(c->server, path);
    if (c->entry == NULL) {
        free(open);
        return refuse(c, ERR_ENOMEM);
    }
    return wait(c, r, open);
}

/* It has found nothing: it waits among those who wait for items. */
static enum outcome join_waiters(struct call *c, const struct request *r)
{
    enum err e = waiter_join(c->entry, c, r);
    return e == OK ? WAITS : refuse(c, e);
}

/* The answer stands in c->out from there on; a cast has none that anybody waits for. */
static enum outcome answer_or_hold(struct call *c, const struct request *r, size_t from, enum err e)
{
    const struct held_answer a = {.request = r,
                                  .entry = c->entry,
                                  .since_ns = c->since_ns,
                                  .failed = e != OK || c->refused,
                                  .reply = buf_since(c->out, from)};
    const bool shows = !c->out->failed && (c->op->flags & OP_LOOKS) == 0;
    const enum err held = shows ? held_answer(&a) : OK;
    lease_give(c, held != ERR_ENOMEM);
    if (held == OK) {
        call_note(c, e);
        return ANSWERED;
    }
    buf_cut(c->out, from);
    if (held == ERR_ENOMEM)
        return refuse(c, held);
    call_note_later(c);
    return WAITS;
}

static enum outcome run_on_object(struct call *c, const struct request *r)
{
    enum err e = call_resolve(c, NULL);
    if (c->op->args[0] == 'c' && (e == ERR_CLOSED || e == ERR_STALE)) {
        reply_atom(c->out, "ok");
        call_note(c, OK);
        return ANSWERED;
    }
    if (e == OK && call_is_in_vain(c))
        e = ERR_CLOSED;
    if (e != OK)
        return refuse(c, e);
    if (must_wait(c))
        return wait(c, r, NULL);
    const bool looks = (c->op->flags & OP_LOOKS) != 0; /* a worker may have the object */
    if (!looks && c->entry->object.durable != NULL && !held_has_room(c->client))
        return refuse(c, ERR_MAX_PENDING);
    const size_t from = c->out->len;
    e = call_do(c);
    if (e == ERR_WOULD_BLOCK || e == ERR_CHECKPOINT)
        return wait(c, r, NULL);
    if (c->op->kind == OBJECT_QUEUE) {
        e = lease_settle_call(c, e, true);
        desk_tend_soon(c->entry);
    }
    if (e == ERR_WAIT)
        return join_waiters(c, r);
    const enum outcome outcome = answer_or_hold(c, r, from, e);
    if (e == OK && c->op->done != NULL)
        c->op->done(c);
    return outcome;
}

/* Of no object, or of many. */
static enum outcome run_here(struct call *c, const struct request *r)
{
    const size_t from = c->out->len;
    const bool failed = c->out->failed;
    if ((c->op->flags & OP_BATCH) != 0)
        return r->batch != NULL ? refuse(c, ERR_BADARG) : batch_run(r, c->args[0].bytes, c->out);
    call_note(c, call_checked(c->out, from, failed, c->op->run(c)));
    if ((c->op->flags & OP_SURVEYS) != 0)
        client_surveyed(c->client, uv_hrtime() - c->since_ns);
    return ANSWERED;
}

enum outcome request_run(const struct request *r, struct buf *out)
{
    struct call c = {.server = r->client->server,
                     .client = r->client,
                     .from = r->from,
                     .ref = r->to,
                     .in_batch = r->batch != NULL,
                     .in_envelope = r->in_envelope,
                     .since_ns = uv_hrtime(),
                     .out = out};
    buf_init(&c.scratch, c.server->options.max_frame);
    enum outcome outcome = ANSWERED;
    call_begin(&c);
    if (!op_decode(&c, r->term))
        call_note(&c, ERR_BADARG);
    else
        outcome = (c.op->flags & OP_HERE) != 0    ? run_here(&c, r)
                  : (c.op->flags & OP_OPENS) != 0 ? run_opening(&c, r)
                                                  : run_on_object(&c, r);
    call_fini(&c);
    return outcome;
}

void request_answer(const struct request *r, struct span reply)
{
    struct client *c = r->client;
    if (c->gone || r->to.len == 0 || gather_answer(r, reply))
        return;
    struct buf *out = c->outlet.begin(c->conn, r->to);
    const size_t from = out->len;
    reply_tuple(out, 2);
    reply_raw(out, r->tag);
    reply_raw(out, reply);
    if (out->failed) {
        buf_cut(out, from);
        reply_tuple(out, 2);
        reply_raw(out, r->tag);
        reply_error(out, ERR_MAX_UNSENT);
    }
    c->outlet.end(c->conn);
}

void request_cast(const struct request *r)
{
    enum { KEEP = 65536 };
    struct buf *scratch = &r->client->server->scratch;
    buf_cut(scratch, 0);
    if (request_run(r, scratch) == ANSWERED)
        cast_done(r, span_of(scratch->at, scratch->len));
    buf_cut(scratch, 0);
    buf_relax(scratch, KEEP);
}

/* The handle that a request names, whatever else is wrong with it. */
static struct handle *named_handle(const struct request *r)
{
    struct handle *h;
    struct term t = term_in(r->term);
    if (term_tuple(&t) < 2)
        return NULL;
    term_atom_bytes(&t);
    uint64_t id = term_uint64(&t);
    return !t.bad && handle_find(r->client, id, &h) == OK ? h : NULL;
}

void cast_done(const struct request *r, struct span reply)
{
    struct handle *h = named_handle(r);
    if (h == NULL)
        return;
    h->casts.done++;
    struct term t = term_in(reply);
    if (term_tag(&t) != ERL_SMALL_TUPLE_EXT || term_tuple(&t) != 2 || !term_is_atom(&t, "error"))
        return;
    if (h->casts.failed++ > 0)
        return;
    struct span reason = term_any(&t);
    h->casts.first_len = reason.len <= sizeof h->casts.first ? reason.len : 0;
    if (h->casts.first_len > 0)
        memcpy(h->casts.first, reason.at, reason.len);
}
