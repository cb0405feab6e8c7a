#include "proto/held.h"

#include "proto/reply.h"
#include "store/journal.h"

/* In the order in which they came; a group is never less than that of the one before, so that of
 * one peer none overtakes another. */
struct held {
    struct held *next, *prev;
    uint64_t group;
    struct client *client;
    struct entry *entry;
    uint64_t since_ns;
    bool failed;
    bool message; /* `reply` is a whole term to request.to */
    struct request request;
    struct span reply;
    size_t len;
    uint8_t bytes[];
};

bool held_must(const struct entry *e, uint64_t *group)
{
    const struct object *o = &e->object;
    if (o->durable == NULL)
        return false;
    *group = object_group(o);
    return e->held_count > 0 || journal_look(object_journal(o), *group) != OK;
}

bool held_has_room(const struct client *c)
{
    return !c->held_short && c->held_bytes <= c->server->options.max_frame;
}

static struct span keep(struct held *h, struct span bytes)
{
    uint8_t *to = h->bytes + h->len;
    if (bytes.len > 0)
        memcpy(to, bytes.at, bytes.len);
    h->len += bytes.len;
    return span_of(to, bytes.len);
}

static struct held *held_new(struct client *c, struct entry *e, size_t bytes, uint64_t group)
{
    struct server *s = c->server;
    struct held *h = calloc(1, sizeof *h + bytes);
    if (h == NULL)
        return NULL;
    h->client = c;
    h->entry = e;
    if (e != NULL)
        e->held_count++;
    h->group = s->held_group > group ? s->held_group : group;
    s->held_group = h->group;
    c->held_count++;
    c->held_bytes += sizeof *h + bytes;
    if (journal_failed(s->journal)) /* which it tells once: this is too late for that */
        uv_async_send(&s->journal_told);
    DL_APPEND(s->held, h);
    return h;
}

enum err held_until(const struct held_answer *a, uint64_t group)
{
    const struct request *r = a->request;
    const size_t bytes = r->from.len + r->to.len + r->tag.len + a->reply.len;
    struct held *h = held_new(r->client, a->entry, bytes, group);
    if (h == NULL)
        return ERR_ENOMEM;
    h->since_ns = a->since_ns;
    h->failed = a->failed;
    h->request = *r;
    h->request.from = keep(h, r->from);
    h->request.to = keep(h, r->to);
    h->request.tag = keep(h, r->tag);
    h->request.term = span_of(NULL, 0);
    h->reply = keep(h, a->reply);
    return ERR_WAIT;
}

enum err held_answer(const struct held_answer *a)
{
    const struct request *r = a->request;
    uint64_t group;
    if (!held_must(a->entry, &group))
        return OK;
    if (r->batch != NULL)
        batch_shows(r->batch, group);
    return r->batch == NULL && r->to.len > 0 ? held_until(a, group) : OK;
}

bool held_message(struct client *c, struct entry *e, struct span to, struct span term,
                  uint64_t group)
{
    struct held *h = held_new(c, e, to.len + term.len, group);
    if (h == NULL)
        return false;
    h->message = true;
    h->request.client = c;
    h->request.to = keep(h, to);
    h->reply = keep(h, term);
    return true;
}

static void send_message(const struct held *h)
{
    struct client *c = h->client;
    if (c->gone)
        return;
    struct buf *out = c->outlet.begin(c->conn, h->request.to);
    reply_raw(out, h->reply);
    if (out->failed)
        c->outlet.undo(c->conn);
    else
        c->outlet.end(c->conn);
}

static void answer(const struct held *h, enum err result)
{
    uint8_t room[REPLY_ERROR_MOST];
    struct buf error = buf_in(room, sizeof room);
    if (result != OK)
        reply_error(&error, result);
    if (h->entry != NULL) {
        const uint64_t now_ns = uv_hrtime();
        const struct sample one =
            stats_sample(now_ns - h->since_ns, now_ns, h->failed || result != OK);
        call_count(h->client, h->entry, &one);
    }
    request_answer(&h->request, result == OK ? h->reply : span_of(error.at, error.len));
}

static void release(struct held *h, enum err result)
{
    struct client *c = h->client;
    DL_DELETE(c->server->held, h);
    if (h->entry != NULL)
        h->entry->held_count--;
    if (!h->message)
        answer(h, result);
    else if (result == OK)
        send_message(h);
    c->held_count--;
    c->held_short = false;
    c->held_bytes -= sizeof *h + h->len;
    free(h);
    if (held_has_room(c))
        client_has_room(c);
    client_release(c);
}

void held_release(struct server *s)
{
    while (s->held != NULL) {
        const enum err e = journal_look(s->journal, s->held->group); /* NOLINT: as below */
        if (e == ERR_WAIT)
            return;
        release(s->held, e); /* NOLINT: it takes itself out */
    }
}

void held_forget(struct server *s, const struct entry *e)
{
    struct held *h;
    DL_FOREACH(s->held, h)
    {
        if (h->entry == e)
            h->entry = NULL;
    }
}
