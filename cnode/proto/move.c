#include "proto/move.h"

#include <ei.h>

#include "proto/entry.h"
#include "proto/handle.h"
#include "proto/lease.h"
#include "proto/line.h"
#include "proto/reply.h"
#include "proto/want.h"
#include "sys/log.h"

static struct entry *entry_of(struct object *o)
{
    return (void *)((char *)o - offsetof(struct entry, object));
}

/* --- items that wait for it ------------------------------------------------------------------ */

static bool room_for_one(struct move *m)
{
    if (m->end < m->cap)
        return true;
    if (m->first == m->end)
        m->first = m->end = 0;
    const size_t cap = m->end < 16 ? 16 : 2 * m->end;
    struct item **aside = reallocarray(m->aside, cap, sizeof(struct item *));
    if (aside == NULL)
        return false;
    m->aside = aside;
    m->cap = cap;
    return true;
}

enum err move_put_aside(struct object *o, const struct turn *t, struct item *item)
{
    struct move *m = &entry_of(o)->desk.move;
    if (queue_options(o)->dead_letter[0] == '\0' || !room_for_one(m))
        return queue_bury(o, t, item);
    queue_hold(o, item);
    item->user = NULL; /* nobody has it */
    m->aside[m->end++] = item;
    return OK;
}

void move_look(struct object *o, uint64_t now_ms)
{
    const struct turn t = {.now_ms = now_ms, .may_wait = true};
    struct entry *e = entry_of(o);
    if (o->kind != OBJECT_QUEUE || o->failed || queue_options(o)->dead_letter[0] == '\0')
        return;
    if (strcmp(queue_options(o)->dead_letter, e->seen.options.dead_letter) != 0)
        e->desk.move.changed = true;
    for (struct item *i = queue_item_from(o, 0); i != NULL; i = queue_item_from(o, i->seq + 1)) {
        if (i->state == ITEM_READY && lease_is_worn_out(o, i))
            (void)move_put_aside(o, &t, i);
    }
}

/* --- requests to the other queue ------------------------------------------------------------- */

static struct entry *entry_of_number(const struct server *s, uint64_t number)
{
    for (struct entry *e = s->entries; e != NULL; e = e->next)
        if (e->desk.move.step != MOVE_REST && e->desk.move.number == number)
            return e;
    return NULL;
}

/* The handle in {ok, Id, Info}, NULL in other replies. */
static struct handle *handle_in(struct server *s, struct span reply)
{
    struct term t = term_in(reply);
    struct handle *h;
    if (term_tag(&t) != ERL_SMALL_TUPLE_EXT || term_tuple(&t) != 3 || !term_is_atom(&t, "ok"))
        return NULL;
    return handle_find(s->own, term_uint64(&t), &h) == OK ? h : NULL;
}

/* Once, until all items arrive again. */
static void complain(struct entry *e, const char *why)
{
    struct move *m = &e->desk.move;
    if (m->complained)
        return;
    m->complained = true;
    log_warning("\"%s\": its dead-letter queue \"%s\" %s: items are buried", e->path,
                e->seen.options.dead_letter, why);
}

static void unusable(struct entry *e)
{
    if (e->server->stopping)
        return; /* nothing is buried for that */
    e->desk.move.opens_at = uv_now(e->server->loop) + MOVE_PAUSE_MS;
    complain(e, "cannot be used");
}

/* It has to be another queue than this. */
static void opened(struct entry *e, struct span reply)
{
    struct move *m = &e->desk.move;
    struct handle *h = handle_in(e->server, reply);
    if (h != NULL && h->entry == e) {
        line_close(h);
        h = NULL;
    }
    m->to = h == NULL ? 0 : h->id;
    if (h == NULL)
        unusable(e);
    m->step = MOVE_READS;
}

/* {ok, [ok, {error, full}, ..., ok]}: the last is that of the sync. */
static void sent(struct entry *e, struct span reply)
{
    struct move *m = &e->desk.move;
    struct term t = term_in(reply);
    bool synced = false;
    size_t arrived = 0;
    if (term_tuple(&t) == 2 && term_is_atom(&t, "ok") && term_list(&t) == (int)m->n + 1) {
        for (size_t i = 0; i < m->n; i++) {
            m->arrived[i] = term_is_atom(&t, "ok");
            if (!m->arrived[i])
                term_any(&t);
        }
        synced = term_is_atom(&t, "ok");
    }
    for (size_t i = 0; i < m->n; i++) {
        m->arrived[i] &= synced;
        arrived += m->arrived[i];
    }
    if (arrived == m->n)
        m->complained = false;
    else
        complain(e, synced ? "does not take all" : "cannot be written");
    m->failed |= !synced;
    m->step = MOVE_ENDS;
}

static void close_other(struct entry *e)
{
    struct move *m = &e->desk.move;
    struct handle *h;
    if (m->to != 0 && handle_find(e->server->own, m->to, &h) == OK)
        line_close(h);
    m->to = 0;
}

static void answered(struct server *s, uint64_t number, struct span reply)
{
    struct entry *e = entry_of_number(s, number);
    struct handle *left;
    if (e == NULL) { /* the queue was closed meanwhile */
        left = handle_in(s, reply);
        if (left != NULL)
            line_close(left);
        return;
    }
    e->desk.move.number = 0;
    if (e->desk.move.step == MOVE_OPENS)
        opened(e, reply);
    else
        sent(e, reply);
    if (s->stopping)
        close_other(e);
    desk_tend_soon(e);
}

static void ask(struct entry *e, struct span request)
{
    struct server *s = e->server;
    struct buf number;
    struct buf reply;
    buf_init(&number, 64);
    buf_init(&reply, s->options.max_frame);
    e->desk.move.number = s->next_watch++;
    reply_uint64(&number, e->desk.move.number);
    const struct span to = span_of(number.at, number.len);
    const struct request r = {.client = s->own, .term = request, .from = to, .to = to, .tag = to};
    if (request_run(&r, &reply) == ANSWERED)
        answered(s, e->desk.move.number, span_of(reply.at, reply.len));
    buf_fini(&reply);
    buf_fini(&number);
}

static void open_other(struct entry *e)
{
    struct buf request;
    buf_init(&request, SIZE_MAX);
    reply_tuple(&request, 4);
    reply_atom(&request, "open_queue");
    reply_text(&request, queue_options(&e->object)->dead_letter);
    reply_uint64(&request, 0);
    reply_nil(&request);
    e->desk.move.step = MOVE_OPENS;
    e->desk.move.to = 0;
    e->desk.move.failed = false;
    ask(e, span_of(request.at, request.len));
    buf_fini(&request);
}

static void send_items(struct entry *e)
{
    struct move *m = &e->desk.move;
    m->step = MOVE_SENDS;
    ask(e, span_of(m->request.at, m->request.len));
    buf_fini(&m->request);
}

/* --- in a worker that has the object -----------------------------------------------------------
 */

static enum err put_request(struct object *o, struct move *m, const struct record *r)
{
    struct queue_info info;
    const size_t from = m->request.len;
    queue_look(o, &info);
    reply_tuple(&m->request, 6);
    reply_atom(&m->request, "move_in");
    reply_uint64(&m->request, m->to);
    reply_binary(&m->request, span_of(info.uuid, sizeof info.uuid));
    reply_uint64(&m->request, r->seq);
    reply_uint64(&m->request, r->item->attempts);
    enum err e = want_put(o, &m->request, SHAPE_ITEM, r, 0);
    if (e != OK)
        buf_cut(&m->request, from);
    return e;
}

static void read_item(struct object *o, struct move *m, const struct turn *t, struct item *item)
{
    struct record r;
    enum err e = queue_read(o, t, item, &r);
    if (e == ERR_DAMAGED)
        return; /* and gone */
    if (e == OK)
        e = put_request(o, m, &r);
    if (e == OK)
        m->items[m->n++] = item;
    else if (e == ERR_DAMAGED)
        (void)queue_damaged(o, t, &r);
    else if (!o->failed)
        (void)queue_bury(o, t, item);
}

static void read_items(struct entry *e)
{
    const struct turn t = {.now_ms = e->desk.now_ms, .may_wait = true};
    struct move *m = &e->desk.move;
    while (m->first < m->end && m->n < MOVE_MANY && m->request.len < MOVE_BYTES)
        read_item(&e->object, m, &t, m->aside[m->first++]);
}

static struct entry *of_job(struct job *job)
{
    return (void *)((char *)job - offsetof(struct entry, desk.move.job));
}

static void run_reads(struct job *job)
{
    struct entry *e = of_job(job);
    struct move *m = &e->desk.move;
    m->n = 0;
    buf_init(&m->request, SIZE_MAX);
    reply_tuple(&m->request, 2);
    reply_atom(&m->request, "batch");
    const size_t begin = reply_list_begin(&m->request);
    read_items(e);
    reply_atom(&m->request, "sync");
    reply_list_end(&m->request, begin, (uint32_t)m->n + 1);
}

static void run_ends(struct job *job)
{
    struct entry *e = of_job(job);
    struct move *m = &e->desk.move;
    const struct turn t = {.now_ms = e->desk.now_ms, .may_wait = true};
    for (size_t i = 0; i < m->n && !e->object.failed; i++) {
        if (m->arrived[i])
            (void)queue_dead(&e->object, &t, m->items[i]);
        else
            (void)queue_bury(&e->object, &t, m->items[i]);
    }
    m->n = 0;
}

static void ran(struct job *job)
{
    struct entry *e = of_job(job);
    line_hold(e);
    line_go_on(e);
}

static void start(struct entry *e, void (*run)(struct job *), void (*done)(struct job *))
{
    e->busy = true;
    e->desk.move.job.run = run;
    e->desk.move.job.done = done;
    work_submit(e->server->loop, &e->desk.move.job);
}

static void have_read(struct job *job)
{
    struct move *m = &of_job(job)->desk.move;
    memset(m->arrived, 0, sizeof m->arrived);
    m->step = m->n == 0 || m->to == 0 ? MOVE_ENDS : MOVE_SENDS;
    ran(job);
}

static void have_ended(struct job *job)
{
    struct entry *e = of_job(job);
    struct move *m = &e->desk.move;
    m->idle_until = uv_now(e->server->loop) + MOVE_IDLE_MS;
    m->step = MOVE_REST;
    ran(job);
}

/* --- one after the other --------------------------------------------------------------------- */

static void begin(struct entry *e)
{
    struct move *m = &e->desk.move;
    const bool idle = m->first == m->end;
    const bool long_idle = idle && m->idle_until <= uv_now(e->server->loop);
    if (m->changed || m->failed || long_idle)
        close_other(e);
    if (m->changed) {
        m->complained = false;
        m->opens_at = 0;
    }
    m->changed = false;
    if (!idle && m->to == 0 && m->opens_at <= uv_now(e->server->loop))
        open_other(e);
    else if (!idle)
        start(e, run_reads, have_read);
}

/* A daemon that stops leaves where it is what it has not sent: that is moved after the next
 * opening. */
void move_tend(struct entry *e)
{
    struct move *m = &e->desk.move;
    if (m->number != 0 || (e->server->stopping && m->step != MOVE_ENDS))
        return; /* an answer is waited for, or nothing any more */
    switch (m->step) {
    case MOVE_REST: begin(e); break;
    case MOVE_READS: start(e, run_reads, have_read); break;
    case MOVE_SENDS: send_items(e); break;
    case MOVE_ENDS:
        buf_fini(&m->request);
        start(e, run_ends, have_ended);
        break;
    case MOVE_OPENS: break;
    }
}

static bool is_sent(const struct move *m)
{
    return (m->step == MOVE_SENDS && m->number != 0) || m->step == MOVE_ENDS;
}

bool move_is_under_way(const struct entry *e)
{
    const struct move *m = &e->desk.move;
    return e->server->stopping ? is_sent(m) : m->step != MOVE_REST;
}

/* What has been sent is answered before its handle is closed. A worker may read m->to. */
void move_stop(struct entry *e)
{
    const struct move *m = &e->desk.move;
    struct handle *h;
    if (m->to != 0 && !is_sent(m) && handle_find(e->server->own, m->to, &h) == OK)
        line_close(h);
}

uint64_t move_due(const struct entry *e)
{
    const struct move *m = &e->desk.move;
    return m->step == MOVE_REST && m->to != 0 ? m->idle_until : UINT64_MAX;
}

void move_forget(struct entry *e)
{
    struct move *m = &e->desk.move;
    close_other(e);
    buf_fini(&m->request);
    free(m->aside);
    m->aside = NULL;
    m->first = m->end = m->cap = 0;
    m->step = MOVE_REST;
    m->number = 0;
    m->n = 0;
}

/* --- the daemon as a client --------------------------------------------------------------------
 */

struct self_client {
    struct client client;
    struct buf answer;
};

static struct buf *own_begin(void *conn, struct span to)
{
    struct self_client *own = conn;
    (void)to;
    buf_cut(&own->answer, 0);
    return &own->answer;
}

/* {Number, Reply} */
static void own_end(void *conn)
{
    struct self_client *own = conn;
    struct term t = term_in(span_of(own->answer.at, own->answer.len));
    term_tuple(&t);
    const uint64_t number = term_uint64(&t);
    answered(own->client.server, number, term_any(&t));
}

static void own_undo(void *conn)
{
    (void)conn;
}

static void own_monitor(void *conn, struct span pid, uint64_t number)
{
    (void)conn;
    (void)pid;
    (void)number;
}

static bool own_has_room(void *conn)
{
    (void)conn;
    return true;
}

struct client *move_client_new(struct server *s)
{
    struct self_client *own = calloc(1, sizeof *own);
    if (own == NULL)
        return NULL;
    own->client = (struct client){.server = s,
                                  .conn = own,
                                  .outlet = {.begin = own_begin,
                                             .end = own_end,
                                             .undo = own_undo,
                                             .monitor = own_monitor,
                                             .demonitor = own_monitor,
                                             .has_room = own_has_room}};
    buf_init(&own->answer, SIZE_MAX);
    return &own->client;
}

void move_client_free(struct client *c)
{
    struct self_client *own = (struct self_client *)(void *)c;
    if (own == NULL)
        return;
    buf_fini(&own->answer);
    free(own);
}
