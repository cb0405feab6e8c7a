#include "proto/gather.h"

#include "proto/reply.h"
#include "proto/term.h"

/* Longer ones are not worth a copy; so many bytes are sent before the turn ends. */
enum { REPLY_MOST = 4096, REF_MOST = 4096, BYTES_MOST = 65536 };

void gather_begin(struct client *c)
{
    buf_init(&c->gathered.answers, BYTES_MOST + REPLY_MOST + REF_MOST);
}

void gather_for(struct client *c, struct span pid)
{
    uint8_t *copy = malloc(pid.len);
    if (copy == NULL)
        return;
    memcpy(copy, pid.at, pid.len);
    free(c->gathered.by);
    c->gathered.by = copy;
    c->gathered.by_len = pid.len;
}

static void send_alone(const struct client *c, struct span to, struct span answer)
{
    reply_raw(c->outlet.begin(c->conn, to), answer);
    c->outlet.end(c->conn);
}

/* False: there is no room for all of them. */
static bool send_together(const struct client *c)
{
    const struct gathered *g = &c->gathered;
    struct buf *out = c->outlet.begin(c->conn, span_of(g->by, g->by_len));
    reply_tuple(out, 2);
    reply_atom(out, "$emmap_late");
    reply_list(out, g->count);
    reply_raw(out, span_of(g->answers.at, g->answers.len));
    reply_nil(out);
    const bool fits = !out->failed;
    if (fits)
        c->outlet.end(c->conn);
    else
        c->outlet.undo(c->conn);
    return fits;
}

static void send_each(struct client *c)
{
    struct term t = term_in(span_of(c->gathered.answers.at, c->gathered.answers.len));
    for (uint32_t i = 0; i < c->gathered.count; i++) {
        struct term answer = t;
        term_tuple(&answer);
        const struct span to = term_any(&answer);
        send_alone(c, to, term_any(&t));
    }
}

static void send_all(struct client *c)
{
    struct gathered *g = &c->gathered;
    if (g->count == 1 || !send_together(c))
        send_each(c);
    g->count = 0;
    buf_cut(&g->answers, 0);
}

static void leave(struct client *c)
{
    if (!c->gathered.listed)
        return;
    c->gathered.listed = false;
    LL_DELETE2(c->server->gathering, c, gathered.next);
}

bool gather_answer(const struct request *r, struct span reply)
{
    struct client *c = r->client;
    struct gathered *g = &c->gathered;
    if (!r->in_envelope || g->by == NULL || reply.len > REPLY_MOST)
        return false;
    const size_t begin = g->answers.len;
    reply_tuple(&g->answers, 2);
    reply_raw(&g->answers, r->tag);
    reply_raw(&g->answers, reply);
    if (g->answers.failed) {
        buf_cut(&g->answers, begin);
        return false;
    }
    g->count++;
    if (g->answers.len > BYTES_MOST)
        send_all(c);
    if (!g->listed)
        LL_PREPEND2(c->server->gathering, c, gathered.next);
    g->listed = true;
    return true;
}

void gather_send(struct server *s)
{
    while (s->gathering != NULL) {
        struct client *c = s->gathering;
        leave(c);
        send_all(c);
        buf_relax(&c->gathered.answers, REPLY_MOST);
    }
}

void gather_forget(struct client *c)
{
    leave(c);
    free(c->gathered.by);
    c->gathered.by = NULL;
    buf_fini(&c->gathered.answers);
}
