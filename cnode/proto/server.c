#include "proto/server.h"

#include <ei.h>
#include <time.h>

#include "proto/call.h"
#include "proto/gather.h"
#include "proto/held.h"
#include "proto/lease.h"
#include "proto/line.h"
#include "proto/registry.h"
#include "proto/reply.h"
#include "proto/waiter.h"
#include "sys/guard.h"
#include "sys/os.h"

enum { COUNTED_BITS = 31, LAG_EACH_MS = 1000 };

/* --- the server ------------------------------------------------------------------------------ */

/* The clock of the machine may be set while we run. */
static void look_at_clock(struct server *s)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t wall_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    s->wall_ms = wall_ms - (int64_t)uv_now(s->loop);
}

/* How late a timer comes tells how long the loop was held up. */
static void on_lag_timer(uv_timer_t *timer)
{
    struct server *s = timer->data;
    const uint64_t now = uv_hrtime();
    const uint64_t due = s->lag_due_ns;
    s->loop_lag_us = now > due ? (now - due) / 1000 : 0;
    look_at_clock(s);
    s->kept_most = UINT32_MAX;
    if (s->client_left)
        os_give_memory_back();
    s->client_left = false;
    s->lag_due_ns = uv_hrtime() + (uint64_t)LAG_EACH_MS * 1000000;
}

static void start_lag_timer(struct server *s)
{
    uv_timer_init(s->loop, &s->lag_timer);
    s->lag_timer.data = s;
    s->lag_due_ns = uv_hrtime() + (uint64_t)LAG_EACH_MS * 1000000;
    uv_timer_start(&s->lag_timer, on_lag_timer, LAG_EACH_MS, LAG_EACH_MS);
    uv_unref((uv_handle_t *)&s->lag_timer);
}

/* Queues are tended when all that has arrived is answered, before the loop waits again. */
void server_tend(struct server *s)
{
    desk_tend_all(s);
    if (s->ready_batches != NULL) {
        batch_go_on_all(s);
        desk_tend_all(s);
    }
    if (s->journal != NULL) /* the end is not near */
        journal_kick(s->journal);
    gather_send(s);
}

bool server_has_more(const struct server *s)
{
    return s->soon != NULL || s->ready_batches != NULL;
}

static void start_desks(struct server *s)
{
    uv_timer_init(s->loop, &s->due_timer);
    s->due_timer.data = s;
    uv_unref((uv_handle_t *)&s->due_timer);
}

/* --- the journal ----------------------------------------------------------------------------- */

/* By one of its threads. */
static void tell_of_journal(void *arg)
{
    struct server *s = arg;
    uv_async_send(&s->journal_told);
}

/* Some have failed: all, if the journal has. */
static void fail_durables(struct server *s)
{
    struct entry *e;
    DL_FOREACH(s->entries, e)
    {
        if (e->busy || e->object.durable == NULL)
            continue;
        entry_look(e);
        if (e->object.kind == OBJECT_QUEUE)
            desk_tend_soon(e);
    }
}

static void on_journal(uv_async_t *told)
{
    struct server *s = told->data;
    held_release(s);
    const uint64_t failures = journal_failures(s->journal);
    if (journal_failed(s->journal) || failures != s->journal_failures)
        fail_durables(s);
    s->journal_failures = failures;
    server_rest(s);
}

/* Snapshots are over. */
static void on_copied(uv_async_t *copied)
{
    struct server *s = copied->data;
    struct entry *e;
    struct entry *next;
    DL_FOREACH_SAFE(s->entries, e, next)
    line_copied(e);
}

static enum err open_copied(struct server *s)
{
    if (uv_async_init(s->loop, &s->copied, on_copied) != 0)
        return ERR_EMFILE;
    s->copied.data = s;
    uv_unref((uv_handle_t *)&s->copied);
    return OK;
}

static enum err open_journal(struct server *s, char why[SERVER_WHY])
{
    const struct server_options *o = &s->options;
    const uint64_t group = o->journal_size / 4;
    char damage[JOURNAL_WHY] = "";
    s->journal_limits = journal_limits;
    s->journal_limits.half = o->journal_size;
    if (group < s->journal_limits.group)
        s->journal_limits.group = group;
    if (uv_async_init(s->loop, &s->journal_told, on_journal) != 0)
        return ERR_EMFILE;
    s->journal_told.data = s;
    uv_unref((uv_handle_t *)&s->journal_told);
    const struct journal_options options = {.data_dir = o->data_dir,
                                            .paths = s->paths,
                                            .limits = &s->journal_limits,
                                            .node = o->node,
                                            .adopts = o->adopts_journals,
                                            .threads = true,
                                            .notify = tell_of_journal,
                                            .arg = s};
    s->journal = journal_new(&options);
    enum err e = s->journal == NULL ? ERR_ENOMEM : journal_start(s->journal, damage);
    if (e != OK && e != ERR_LOCKED)
        snprintf(why, SERVER_WHY, "the journal in %s/.emmap cannot be replayed: %s%s%s",
                 o->data_dir, err_text(e), damage[0] != '\0' ? ": " : "", damage);
    return e == ERR_LOCKED ? OK : e;
}

uint64_t server_now_ms(const struct server *s)
{
    return (uint64_t)((int64_t)uv_now(s->loop) + s->wall_ms);
}

bool server_time_after(uint64_t ms, uint64_t *at)
{
    return add_u64(uv_hrtime() / 1000000 + 1, ms, at);
}

/* 28 bits of this life, never 0, above those that are counted. */
static uint64_t first_id_of_life(void)
{
    uint32_t life;
    os_random(&life, sizeof life);
    return ((uint64_t)(life & 0x0fffffff) | 1) << COUNTED_BITS;
}

static void free_own(struct server *s)
{
    journal_free(s->journal);
    registry_free(s->registry);
    move_client_free(s->own);
    paths_close(s->paths);
    free(s);
}

enum err server_open(uv_loop_t *loop, const struct server_options *options, struct server **opened,
                     char why[SERVER_WHY])
{
    why[0] = '\0';
    struct server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_ENOMEM;
    enum err e = paths_open(options->data_dir, options->allowed, &s->paths);
    if (e != OK) {
        free(s);
        return e;
    }
    guard_install();
    map_limit(options->max_object_bytes, options->max_mapped);
    s->loop = loop;
    s->own = move_client_new(s);
    s->options = *options;
    s->registry = registry_open(s);
    e = s->own == NULL || s->registry == NULL ? ERR_ENOMEM : open_copied(s);
    if (e == OK)
        e = open_journal(s, why);
    if (e != OK) {
        free_own(s);
        return e;
    }
    look_at_clock(s);
    s->next_id = first_id_of_life();
    s->next_watch = 1;
    s->kept_most = UINT32_MAX;
    s->started_ms = uv_now(loop);
    buf_init(&s->scratch, options->max_frame);
    buf_init(&s->late, options->max_frame);
    start_lag_timer(s);
    start_desks(s);
    *opened = s;
    return OK;
}

void server_rest(struct server *s)
{
    if (!s->stopping || s->entries != NULL || s->ready_batches != NULL || s->stopped == NULL)
        return;
    held_release(s);
    if (s->held != NULL) { /* of an object that failed, which did not wait for its last group */
        journal_kick(s->journal);
        uv_ref((uv_handle_t *)&s->journal_told);
        return;
    }
    void (*stopped)(void *) = s->stopped;
    s->stopped = NULL;
    journal_free(s->journal);
    s->journal = NULL;
    gather_send(s);
    uv_close((uv_handle_t *)&s->journal_told, NULL);
    uv_close((uv_handle_t *)&s->copied, NULL);
    uv_close((uv_handle_t *)&s->lag_timer, NULL);
    uv_close((uv_handle_t *)&s->due_timer, NULL);
    stopped(s->stopped_arg);
}

static void close_handles(struct client *c)
{
    struct handle *h;
    struct handle *next;
    DL_FOREACH_SAFE(c->handles, h, next)
    line_close(h);
}

void server_stop(struct server *s, void (*stopped)(void *arg), void *arg)
{
    must(!s->stopping);
    s->stopping = true;
    struct client *c;
    struct client *next_client;
    DL_FOREACH_SAFE(s->clients, c, next_client)
    close_handles(c);
    struct entry *e;
    struct entry *next;
    DL_FOREACH(s->entries, e)
    move_stop(e);
    DL_FOREACH_SAFE(s->entries, e, next)
    line_rest(e);
    s->stopped = stopped;
    s->stopped_arg = arg;
    server_rest(s);
}

void server_close(struct server *s)
{
    must(s->entries == NULL);
    buf_fini(&s->scratch);
    buf_fini(&s->late);
    heap_fini(&s->due);
    free_own(s);
}

/* --- processes ------------------------------------------------------------------------------- */

uint32_t client_process(const struct client *c, struct span name)
{
    struct term t = term_in(name);
    if (term_is_atom(&t, "emmap"))
        return PROCESS_EMMAP;
    const struct process *p = registry_named(c->server, name);
    return p == NULL ? 0 : p->number;
}

bool client_has_process(const struct client *c, uint32_t process)
{
    return process == PROCESS_EMMAP || registry_numbered(c->server, process) != NULL;
}

void server_each_process(const struct server *s,
                         void (*each)(void *arg, uint32_t process, const char *name), void *arg)
{
    registry_each(s->registry, each, arg);
}

bool server_state_request(const struct server *s, uint32_t process, struct buf *request)
{
    const struct process *p = registry_numbered(s, process);
    if (process != PROCESS_EMMAP && p == NULL)
        return false;
    reply_tuple(request, p == NULL ? 1 : 2);
    reply_atom(request, "info");
    if (p != NULL)
        reply_text(request, p->path);
    return true;
}

uint64_t server_process_waiting(struct server *s, uint32_t process)
{
    const struct process *p = registry_numbered(s, process);
    const struct entry *e = p == NULL ? NULL : entry_of_path(s, p->path);
    return e == NULL ? 0 : e->waiting;
}

const char *server_version(const struct server *s)
{
    return s->options.version;
}

/* Any request opens it; its reply goes to nobody. */
static void warm_up(struct server *s, const struct process *p)
{
    struct buf term;
    buf_init(&term, SIZE_MAX);
    reply_tuple(&term, 2);
    reply_atom(&term, "length");
    reply_text(&term, p->path);
    const struct request r = {.client = s->own, .term = span_of(term.at, term.len)};
    request_cast(&r);
    buf_fini(&term);
}

bool client_watch(struct client *c, uint32_t process)
{
    struct server *s = c->server;
    const struct process *p = registry_numbered(s, process);
    if (p == NULL || s->stopping)
        return true;
    const struct entry *e = entry_of_path(s, p->path);
    if (e != NULL && e->desk.failed)
        return false;
    if (e == NULL)
        warm_up(s, p);
    return true;
}

/* --- clients --------------------------------------------------------------------------------- */

struct client *client_open(struct server *s, struct span node, const struct outlet *outlet,
                           void *conn)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL || (c->node = strndup((const char *)node.at, node.len)) == NULL) {
        free(c);
        return NULL;
    }
    c->server = s;
    c->outlet = *outlet;
    c->conn = conn;
    c->since_ms = uv_now(s->loop);
    c->first_id = s->next_id;
    c->stats.last_ns = uv_hrtime();
    gather_begin(c);
    DL_PREPEND(s->clients, c);
    return c;
}

void client_release(struct client *c)
{
    if (!c->gone || c->handle_count > 0 || c->pending_count > 0 || c->waiter_count > 0 ||
        c->subscriber_count > 0 || c->ready_batches > 0 || c->held_count > 0 || c->holders != NULL)
        return;
    DL_DELETE(c->server->clients, c);
    c->server->client_left = true;
    free(c->node);
    free(c);
}

/* Who was passed over may have its turn; or is to be told that it is lost. */
static void tend_those_in_line(struct server *s)
{
    struct entry *e;
    DL_FOREACH(s->entries, e)
    {
        if (e->desk.able > 0)
            desk_tend_soon(e);
    }
}

/* What the peer has sent is still done, in its lines; its handles are closed behind that. */
void client_close(struct client *c)
{
    c->gone = true;
    gather_forget(c);
    free(c->deferral); /* nobody waits for that, as for what has not been read */
    c->deferral = NULL;
    c->pending_count++; /* so that it is not freed while we walk what it has */
    holder_down_all(c);
    tend_those_in_line(c->server);
    close_handles(c);
    c->pending_count--;
    client_release(c);
}

void client_has_room(struct client *c)
{
    if (!c->held_up)
        return;
    c->held_up = false;
    tend_those_in_line(c->server);
}

void client_down(struct client *c, uint64_t number)
{
    struct watch *w;
    HASH_FIND(hh, c->server->watches, &number, sizeof number, w);
    if (w != NULL && w->handle->client == c)
        line_close(w->handle);
    else if (w == NULL)
        holder_down(c, number);
}

void client_demonitor(struct client *c, struct span ref)
{
    if (c->waiting != NULL)
        line_take_back(c, ref);
    if (c->waiters != NULL)
        waiter_take_back(c, ref);
}

/* --- messages -------------------------------------------------------------------------------- */

static void ignore(struct client *c)
{
    c->server->unknown_messages++;
}

static bool is_pid(struct span term)
{
    return term.len > 0 && (term.at[0] == ERL_NEW_PID_EXT || term.at[0] == ERL_PID_EXT);
}

static bool is_reference(struct span term)
{
    return term.len > 0 &&
           (term.at[0] == ERL_NEWER_REFERENCE_EXT || term.at[0] == ERL_NEW_REFERENCE_EXT);
}

/* {Pid, Tag} */
static bool caller_of(struct term *t, struct request *r)
{
    if (term_tag(t) != ERL_SMALL_TUPLE_EXT || term_tuple(t) != 2)
        return false;
    r->from = term_any(t);
    r->tag = term_any(t);
    if (t->bad || !is_pid(r->from))
        return false;
    const struct span alias = term_alias(r->tag);
    r->to = alias.len > 0 ? alias : r->from;
    return true;
}

static void answer_call(const struct request *r)
{
    struct client *c = r->client;
    struct buf *out = c->outlet.begin(c->conn, r->to);
    reply_tuple(out, 2);
    reply_raw(out, r->tag);
    if (request_run(r, out) == WAITS)
        c->outlet.undo(c->conn);
    else
        c->outlet.end(c->conn);
}

/* {'$gen_call', {Pid, Tag}, Request} */
static void on_call(struct client *c, struct term *t)
{
    struct request r = {.client = c};
    if (!caller_of(t, &r)) {
        ignore(c);
        return;
    }
    r.term = term_any(t);
    answer_call(&r);
}

/* {'$gen_cast', Request} */
static void on_cast(struct client *c, struct term *t)
{
    struct request r = {.client = c, .term = term_any(t)};
    request_cast(&r);
}

/* Of a list of entries that is not a list of entries nothing is done. */
static bool entries_are_right(struct term t, int n)
{
    for (int i = 0; i < n; i++) {
        if (term_tag(&t) != ERL_SMALL_TUPLE_EXT || term_tuple(&t) != 3)
            return false;
        if (!is_pid(term_any(&t)))
            return false;
        struct span ref = term_any(&t);
        if (!is_reference(ref) && ref.at[0] != ERL_NIL_EXT)
            return false;
        term_any(&t);
    }
    if (n > 0)
        term_list_end(&t);
    return !t.bad;
}

/* Entries that are left when the time of an envelope is over: they are done, and answered, one by
 * one. */
struct deferral {
    struct term entries;
    int left;
    char bytes[];
};

static struct request next_entry(struct client *c, struct term *t)
{
    struct request r = {.client = c, .in_envelope = true};
    term_tuple(t);
    r.from = term_any(t);
    r.to = r.tag = term_any(t);
    r.term = term_any(t);
    if (!is_reference(r.to))
        r.to = r.tag = span_of(NULL, 0);
    return r;
}

static void put_late(struct buf *late, uint32_t *count, int i)
{
    reply_int64(late, i);
    (*count)++;
}

/* False without memory: then they are done at once. */
static bool defer(struct client *c, struct term t, int left)
{
    const size_t len = (size_t)(t.end - t.index);
    must(c->deferral == NULL); /* who is behind is not handed anything */
    struct deferral *d = malloc(sizeof *d + len);
    if (d == NULL)
        return false;
    memcpy(d->bytes, t.buf + t.index, len);
    d->entries = term_in(span_of(d->bytes, len));
    d->left = left;
    c->deferral = d;
    return true;
}

/* Surveys take as long as there are objects, and somebody asks for them again and again. A client
 * has a fiftieth of the loop for them, and some at once; whoever has had more pauses until that
 * is made up for, but never long: others on his node wait with him. */
enum { SURVEY_PART = 50, SURVEYS_AT_ONCE_NS = 10 * 1000 * 1000, PAUSE_MOST_NS = 100 * 1000 * 1000 };

void client_surveyed(struct client *c, uint64_t took_ns)
{
    const uint64_t now = uv_hrtime();
    const uint64_t share = (now - c->surveyed_ns) / SURVEY_PART;
    c->surveyed_ns = now;
    c->survey_level_ns -= share < c->survey_level_ns ? share : c->survey_level_ns;
    c->survey_level_ns += took_ns;
    if (c->survey_level_ns <= SURVEYS_AT_ONCE_NS)
        return;
    const uint64_t pause = (c->survey_level_ns - SURVEYS_AT_ONCE_NS) * SURVEY_PART;
    c->pause_end_ns = now + (pause < PAUSE_MOST_NS ? pause : PAUSE_MOST_NS);
    c->survey_level_ns = pause < PAUSE_MOST_NS ? c->survey_level_ns : SURVEYS_AT_ONCE_NS;
}

uint64_t client_pause_ms(const struct client *c)
{
    enum { MS = 1000 * 1000 };
    if (c->pause_end_ns == 0)
        return 0;
    const uint64_t now = uv_hrtime();
    return c->pause_end_ns > now ? (c->pause_end_ns - now + MS - 1) / MS : 0;
}

/* After `done` entries. A few are done in any case: that the system gave the processor to somebody
 * else is no reason to split them. */
static bool has_had_its_turn(const struct client *c, int done, uint64_t end_ns)
{
    enum { A_FEW = 8 };
    return c->yielded > 0 || client_pause_ms(c) > 0 ||
           (done > 0 && done % A_FEW == 0 && uv_hrtime() > end_ns);
}

/* Does the entries in order. The replies are appended to out, the numbers of those that wait, or
 * are left, to late. */
static void run_entries(struct client *c, struct term *t, int n, struct buf *out, struct buf *late,
                        uint32_t *replies, uint32_t *lates)
{
    const uint64_t end_ns = uv_hrtime() + SLICE_NS;
    bool left = false;
    for (int i = 0; i < n; i++) {
        left = left || (has_had_its_turn(c, i, end_ns) && defer(c, *t, n - i));
        const struct request r = next_entry(c, t);
        const bool is_call = r.to.len > 0;
        if (!left && !is_call)
            request_cast(&r);
        else if (is_call && (left || request_run(&r, out) == WAITS))
            put_late(late, lates, i);
        else if (is_call)
            (*replies)++;
    }
}

bool client_is_behind(const struct client *c)
{
    return c->yielded > 0 || c->deferral != NULL;
}

void client_go_on(struct client *c)
{
    struct deferral *d = c->deferral;
    const uint64_t end_ns = uv_hrtime() + SLICE_NS;
    if (d == NULL || c->server->stopping)
        return;
    for (int done = 0; d->left > 0 && !has_had_its_turn(c, done, end_ns); done++) {
        const struct request r = next_entry(c, &d->entries);
        d->left--;
        if (r.to.len == 0)
            request_cast(&r);
        else
            answer_call(&r);
    }
    if (d->left > 0)
        return;
    c->deferral = NULL;
    free(d);
}

/* {'$emmap', Lane, Id, Entries}: answered by {'$emmap', Id, Replies, Late} */
static void on_envelope(struct client *c, struct term *t)
{
    struct span lane = term_any(t);
    struct span id = term_any(t);
    const int n = term_list(t);
    uint32_t replies = 0;
    uint32_t lates = 0;
    if (t->bad || !is_pid(lane) || !entries_are_right(*t, n)) {
        ignore(c);
        return;
    }
    struct buf *late = &c->server->late;
    buf_cut(late, 0);
    struct buf *out = c->outlet.begin(c->conn, lane);
    reply_tuple(out, 4);
    reply_atom(out, "$emmap");
    reply_raw(out, id);
    const size_t begin = reply_list_begin(out);
    run_entries(c, t, n, out, late, &replies, &lates);
    reply_list_end(out, begin, replies);
    reply_list(out, lates);
    reply_raw(out, span_of(late->at, late->len));
    reply_nil(out);
    c->outlet.end(c->conn);
}

/* {'$emmap_cancel', Ref} */
static void on_cancel(struct client *c, struct term *t)
{
    struct span ref = term_any(t);
    if (!is_reference(ref))
        return;
    client_demonitor(c, ref);
    lease_take_back(c, ref);
}

/* {'$emmap_gather', Pid} */
static void on_gather(struct client *c, struct term *t)
{
    struct span pid = term_any(t);
    if (is_pid(pid))
        gather_for(c, pid);
    else
        ignore(c);
}

static const struct {
    const char *name;
    int arity;
    void (*on)(struct client *c, struct term *t);
} messages[] = {
    {"$emmap", 4, on_envelope},      {"$gen_call", 3, on_call},       {"$gen_cast", 2, on_cast},
    {"$emmap_cancel", 2, on_cancel}, {"$emmap_gather", 2, on_gather},
};

/* --- messages to a registered queue: the requests on objects, without the object ----------------
 */

/* Puts the queue's name in second place. False: no request on an object. */
static bool with_object(struct buf *to, struct span request, const struct process *p)
{
    bool known;
    struct term t = term_in(request);
    const int tag = term_tag(&t);
    const bool is_tuple = tag == ERL_SMALL_TUPLE_EXT || tag == ERL_LARGE_TUPLE_EXT;
    const int arity = is_tuple ? term_tuple(&t) : 1;
    struct term raw = t;
    const struct span name = term_atom_bytes(&t);
    const struct op *op = t.bad || arity < 1 ? NULL : op_find(name, arity, &known);
    if (op == NULL || op->args[0] != 'o')
        return false;
    reply_tuple(to, arity + 1);
    reply_raw(to, term_any(&raw));
    reply_text(to, p->path);
    for (int i = 1; i < arity; i++)
        reply_raw(to, term_any(&raw));
    return !to->failed;
}

/* As op_decode says it. */
static void reply_unknown(struct buf *out, struct span request)
{
    struct term t = term_in(request);
    const int tag = term_tag(&t);
    if (tag == ERL_SMALL_TUPLE_EXT || tag == ERL_LARGE_TUPLE_EXT)
        term_tuple(&t);
    struct term name = t;
    term_atom_bytes(&t);
    if (t.bad) {
        reply_error(out, ERR_BADARG);
        return;
    }
    reply_tuple(out, 2);
    reply_atom(out, "error");
    reply_tuple(out, 2);
    reply_atom(out, "unknown_request");
    reply_raw(out, term_any(&name));
}

static void queue_call(struct client *c, const struct process *p, struct term *t)
{
    struct request r = {.client = c};
    struct buf request;
    if (!caller_of(t, &r)) {
        ignore(c);
        return;
    }
    const struct span asked = term_any(t);
    buf_init(&request, SIZE_MAX);
    const bool good = with_object(&request, asked, p);
    r.term = span_of(request.at, request.len);
    struct buf *out = c->outlet.begin(c->conn, r.to);
    reply_tuple(out, 2);
    reply_raw(out, r.tag);
    if (!good) {
        reply_unknown(out, asked);
        call_refused(c);
    }
    if (good && request_run(&r, out) == WAITS)
        c->outlet.undo(c->conn);
    else
        c->outlet.end(c->conn);
    buf_fini(&request);
}

static void queue_cast(struct client *c, const struct process *p, struct term *t)
{
    struct buf request;
    buf_init(&request, SIZE_MAX);
    if (with_object(&request, term_any(t), p)) {
        const struct request r = {.client = c, .term = span_of(request.at, request.len)};
        request_cast(&r);
    } else {
        ignore(c);
    }
    buf_fini(&request);
}

static void queue_message(struct client *c, const struct process *p, struct span message)
{
    struct term t = term_in(message);
    const int arity = term_tag(&t) == ERL_SMALL_TUPLE_EXT ? term_tuple(&t) : 0;
    if (p != NULL && arity == 3 && term_is_atom(&t, "$gen_call"))
        queue_call(c, p, &t);
    else if (p != NULL && arity == 2 && term_is_atom(&t, "$gen_cast"))
        queue_cast(c, p, &t);
    else
        ignore(c);
}

void client_message(struct client *c, uint32_t process, struct span message)
{
    struct term t = term_in(message);
    if (c->server->stopping)
        return;
    if (process != PROCESS_EMMAP) {
        queue_message(c, registry_numbered(c->server, process), message);
        return;
    }
    const int arity = term_tag(&t) == ERL_SMALL_TUPLE_EXT ? term_tuple(&t) : 0;
    for (size_t i = 0; arity > 0 && i < sizeof messages / sizeof messages[0]; i++) {
        if (messages[i].arity == arity && term_is_atom(&t, messages[i].name)) {
            messages[i].on(c, &t);
            return;
        }
    }
    ignore(c);
}

/* --- messages that were too long ---------------------------------------------------------------
 */

/* The next whole term of a message that is cut off somewhere. */
static bool next_whole(struct span *left, struct span *term)
{
    const size_t len = term_check(*left);
    if (len == 0)
        return false;
    *term = span_of(left->at, len);
    *left = span_of(left->at + len, left->len - len);
    return true;
}

static void refuse_call(struct client *c, struct span left)
{
    struct span from;
    struct buf reply;
    struct request r = {.client = c};
    if (!next_whole(&left, &from))
        return;
    struct term t = term_in(from);
    if (!caller_of(&t, &r))
        return;
    buf_init(&reply, 256);
    call_refused(c);
    reply_error(&reply, ERR_MAX_FRAME);
    request_answer(&r, span_of(reply.at, reply.len));
    buf_fini(&reply);
}

static void refuse_envelope(struct client *c, struct span left)
{
    struct span lane;
    struct span id;
    if (!next_whole(&left, &lane) || !next_whole(&left, &id) || !is_pid(lane))
        return;
    call_refused(c);
    struct buf *out = c->outlet.begin(c->conn, lane);
    reply_tuple(out, 4);
    reply_atom(out, "$emmap");
    reply_raw(out, id);
    reply_error(out, ERR_MAX_FRAME);
    reply_nil(out);
    c->outlet.end(c->conn);
}

void client_too_long(struct client *c, struct span head)
{
    struct span name;
    if (head.len < 2 || head.at[0] != ERL_SMALL_TUPLE_EXT)
        return;
    const int arity = head.at[1];
    struct span left = span_of(head.at + 2, head.len - 2);
    if (!next_whole(&left, &name))
        return;
    struct term t = term_in(name);
    if (arity == 3 && term_is_atom(&t, "$gen_call"))
        refuse_call(c, left);
    else if (arity == 4 && term_is_atom(&t, "$emmap"))
        refuse_envelope(c, left);
}
