#include "proto/line.h"

#include "proto/call.h"
#include "proto/desk.h"
#include "proto/detached.h"
#include "proto/held.h"
#include "proto/lease.h"
#include "proto/ops.h"
#include "proto/registry.h"
#include "proto/reply.h"
#include "proto/waiter.h"
#include "store/journal.h"
#include "store/snapshot.h"
#include "sys/log.h"
#include "sys/os.h"

/* What is to be done next with the first in a line. To open takes two visits to a worker: one finds
 * the file, then the loop sees whether that is open already under another name, the second maps
 * it. */
enum step { TO_RUN, TO_FIND, TO_ATTACH };

/* What a request that waits adds to its client's counts, and to those of all. The engine's own
 * closings add none to these: a handle has brought the memory for its end. */
struct load {
    uint32_t requests;
    size_t bytes;
    size_t batch_bytes;
    uint32_t openings;
};

struct pending {
    struct pending *next, *prev;
    UT_hash_handle hh; /* in the client's `waiting`, by request.to */
    bool indexed;
    struct entry *entry;
    struct request request; /* its spans are views of `bytes` */
    bool under_way;         /* a worker has it, or its name is being saved */
    bool cancelled;         /* meanwhile: nobody waits for its answer */
    struct handle *closes;  /* the engine's own: close this handle */
    bool closed;            /* which has been closed meanwhile */
    enum step step;
    struct open *open;
    struct call call;
    enum err result;
    struct buf reply;
    struct job job;
    struct load load;
    struct saving saving; /* of the name as a process */
    size_t len;
    uint8_t bytes[];
};

/* --- into the line and out of it ------------------------------------------------------------- */

static void append(struct entry *e, struct pending *p)
{
    p->entry = e;
    DL_APPEND(e->first, p);
    e->waiting++;
}

static void take_out(struct pending *p)
{
    struct entry *e = p->entry;
    DL_DELETE(e->first, p); /* NOLINT: it is in there */
    e->waiting--;
}

/* The handle is there, or will not be. */
static void end_opening(struct pending *p)
{
    p->request.client->opening_count -= p->load.openings;
    p->request.client->server->all.openings -= p->load.openings;
    p->load.openings = 0;
}

static void pending_free(struct pending *p)
{
    struct client *c = p->request.client;
    end_opening(p);
    if (p->indexed)
        HASH_DEL(c->waiting, p);
    if (p->open != NULL)
        object_drop(&p->open->opening);
    free(p->open);
    call_fini(&p->call);
    buf_fini(&p->reply);
    c->pending_count--;
    c->pending_bytes -= p->load.bytes;
    c->batch_bytes -= p->load.batch_bytes;
    c->server->all.pending -= p->load.requests;
    c->server->all.pending_bytes -= p->load.bytes + p->load.batch_bytes;
    free(p);
    client_release(c);
}

static struct span keep(struct pending *p, struct span bytes)
{
    uint8_t *to = p->bytes + p->len;
    if (bytes.len > 0)
        memcpy(to, bytes.at, bytes.len);
    p->len += bytes.len;
    return span_of(to, bytes.len);
}

static struct load load_of(const struct request *r, const struct open *open)
{
    return (struct load){.requests = 1,
                         .bytes = r->term.len + r->from.len + r->to.len + r->tag.len,
                         .batch_bytes = r->batch != NULL ? batch_bytes(r->batch) : 0,
                         .openings = open != NULL};
}

/* Handles are counted here, before the opening may make or truncate a file. */
static enum err admit_opening(const struct client *c)
{
    const struct server_options *limits = &c->server->options;
    const struct totals *all = &c->server->all;
    if (c->handle_count + c->opening_count >= limits->max_handles)
        return ERR_MAX_HANDLES;
    return all->handles + all->openings < limits->max_all_handles ? OK : ERR_MAX_ALL_HANDLES;
}

/* All batches of a client together may hold what the largest one does, a frame of items and a frame
 * of replies. */
static enum err admit_load(const struct client *c, struct load load)
{
    const struct server_options *limits = &c->server->options;
    const struct totals *all = &c->server->all;
    const bool room = c->pending_count < limits->max_pending &&
                      c->pending_bytes + load.bytes <= limits->max_pending_bytes &&
                      c->batch_bytes + load.batch_bytes <= 2 * limits->max_frame;
    const bool room_in_all =
        all->pending < limits->max_all_pending &&
        all->pending_bytes + load.bytes + load.batch_bytes <= limits->max_all_pending_bytes;
    if (c->pending_count > 0 && !room)
        return ERR_MAX_PENDING;
    return all->pending == 0 || room_in_all ? OK : ERR_MAX_ALL_PENDING;
}

static enum err admit(const struct client *c, struct load load)
{
    if (c == c->server->own)
        return OK; /* which bounds itself */
    const enum err e = load.openings > 0 ? admit_opening(c) : OK;
    return e == OK ? admit_load(c, load) : e;
}

static void add_load(struct client *c, struct load load)
{
    c->pending_count++;
    c->pending_bytes += load.bytes;
    c->batch_bytes += load.batch_bytes;
    c->opening_count += load.openings;
    struct totals *all = &c->server->all;
    all->pending += load.requests;
    all->pending_bytes += load.bytes + load.batch_bytes;
    all->openings += load.openings;
}

/* By the reference of a call its waiting request is found again; others cannot be taken back. */
static void index_reference(struct pending *p)
{
    struct client *c = p->request.client;
    struct pending *other;
    if (p->request.to.len == 0 || p->request.batch != NULL)
        return;
    HASH_FIND(hh, c->waiting, p->request.to.at, p->request.to.len, other);
    if (other != NULL)
        return;
    HASH_ADD_KEYPTR(hh, c->waiting, p->request.to.at, p->request.to.len, p);
    p->indexed = true;
}

enum err line_wait(struct entry *e, const struct request *r, struct open *open, uint64_t since_ns)
{
    const struct load load = load_of(r, open);
    struct client *c = r->client;
    enum err why = admit(c, load);
    if (why != OK)
        return why;
    struct pending *p = calloc(1, sizeof *p + load.bytes);
    if (p == NULL)
        return ERR_ENOMEM;
    p->request = (struct request){.client = c,
                                  .term = keep(p, r->term),
                                  .from = keep(p, r->from),
                                  .to = keep(p, r->to),
                                  .tag = keep(p, r->tag),
                                  .batch = r->batch,
                                  .in_envelope = r->in_envelope};
    p->open = open;
    p->step = open != NULL ? TO_FIND : TO_RUN;
    p->call.since_ns = since_ns;
    buf_init(&p->reply, c->server->options.max_frame);
    index_reference(p);
    p->load = load;
    add_load(c, load);
    append(e, p);
    return OK;
}

void line_take_back(struct client *c, struct span ref)
{
    struct pending *p;
    HASH_FIND(hh, c->waiting, ref.at, ref.len, p);
    if (p == NULL)
        return;
    if (p->under_way) {
        p->cancelled = true;
        return;
    }
    take_out(p);
    pending_free(p);
}

/* --- the end of a request -------------------------------------------------------------------- */

static void replace_reply(struct pending *p, enum err e)
{
    p->result = e;
    buf_cut(&p->reply, 0);
    reply_error(&p->reply, e);
}

/* What a worker holds for the call is popped or taken, if somebody waits for it. */
static void settle(struct pending *p)
{
    const bool wanted = !p->cancelled && !p->request.client->gone;
    const enum err e = lease_settle_call(&p->call, p->result, wanted);
    if (e != p->result)
        replace_reply(p, e);
}

/* To open is of no object yet; the engine's own closings are no requests. */
static void note(struct pending *p)
{
    if (p->request.term.len == 0)
        return;
    p->call.client = p->request.client;
    if (p->call.op == NULL)
        p->call.entry = NULL;
    call_note(&p->call, p->result);
}

/* What the answer shows may not be durable yet. Of a snapshot it is: its file has waited for that.
 */
static enum err hold(const struct pending *p)
{
    if (p->call.op != NULL && (p->call.op->flags & OP_COPIES) != 0)
        return OK;
    const struct held_answer a = {.request = &p->request,
                                  .entry = p->entry,
                                  .since_ns = p->call.since_ns,
                                  .failed = p->result != OK || p->call.refused,
                                  .reply = span_of(p->reply.at, p->reply.len)};
    return p->call.op == NULL || p->cancelled ? OK : held_answer(&a);
}

/* It is done, and in the line no more; its reply stands in p->reply. */
static void conclude_request(struct pending *p)
{
    end_opening(p);
    if (p->call.op != NULL && p->entry->object.kind == OBJECT_QUEUE)
        settle(p);
    const enum err result = p->result;
    const enum err held = hold(p);
    if (held == ERR_ENOMEM)
        replace_reply(p, held);
    lease_give(&p->call, held != ERR_ENOMEM);
    if (held == ERR_WAIT)
        call_note_later(&p->call);
    else
        note(p);
    if (result == OK && p->call.op != NULL && p->call.op->done != NULL)
        p->call.op->done(&p->call);
    const struct span reply = span_of(p->reply.at, p->reply.len);
    if (p->request.batch != NULL)
        batch_go_on(p->request.batch, reply);
    else if (p->request.to.len == 0)
        cast_done(&p->request, reply);
    else if (!p->cancelled && held != ERR_WAIT)
        request_answer(&p->request, reply);
    pending_free(p);
}

static void finish(struct pending *p)
{
    take_out(p);
    conclude_request(p);
}

static void fail(struct pending *p, enum err e)
{
    replace_reply(p, e);
    finish(p);
}

/* --- in a worker ----------------------------------------------------------------------------- */

static void start(struct pending *p, void (*run)(struct job *), void (*done)(struct job *))
{
    p->entry->busy = true;
    p->under_way = true;
    p->entry->in_flight++;
    p->request.client->in_flight++;
    p->job.run = run;
    p->job.done = done;
    work_submit(p->entry->server->loop, &p->job);
}

static void stop(struct pending *p)
{
    if (!p->under_way)
        return;
    p->under_way = false;
    p->entry->in_flight--;
    p->request.client->in_flight--;
}

static struct pending *of_job(struct job *job)
{
    return (struct pending *)(void *)((char *)job - offsetof(struct pending, job));
}

/* --- beside the line: snapshots that are being made ------------------------------------------- */

static void end_copy(struct pending *p)
{
    struct server *s = p->entry->server;
    DL_DELETE(p->entry->copies, p); /* NOLINT: it is in there */
    if (--s->copying == 0)
        uv_unref((uv_handle_t *)&s->copied);
    stop(p);
    p->result = op_snapshot_end(&p->call);
    if (p->result != OK)
        replace_reply(p, p->result);
    conclude_request(p);
}

/* The copy needs the object no more than others do. The loop goes on until it is over, and has
 * heard of that in vain where it is already. */
static void stand_beside(struct pending *p)
{
    struct server *s = p->entry->server;
    take_out(p);
    DL_APPEND(p->entry->copies, p);
    if (s->copying++ == 0)
        uv_ref((uv_handle_t *)&s->copied);
    if (snapshot_is_over(p->call.snapshot))
        end_copy(p);
}

static void end_copies(struct entry *e)
{
    struct pending *p;
    struct pending *next;
    DL_FOREACH_SAFE(e->copies, p, next)
    {
        if (snapshot_is_over(p->call.snapshot))
            end_copy(p);
    }
}

void line_copied(struct entry *e)
{
    if (e->busy || e->copies == NULL)
        return;
    line_hold(e);
    line_go_on(e);
}

/* The worker has given the object back. Until go_on nobody else works through the line, so that
 * what a finished request sets off can neither overtake nor free it. */
void line_hold(struct entry *e)
{
    e->busy = false;
    e->held = true;
    end_copies(e);
    entry_look(e);
}

void line_go_on(struct entry *e)
{
    e->held = false;
    if (desk_has_work(e))
        desk_tend_soon(e);
    line_go(e);
}

/* After a request of the line it is the turn of the desk, or one that is never empty would leave it
 * no time for those who wait and for checkpoints. */
static void let_desk_go_on(struct entry *e)
{
    e->held = false;
    if (desk_has_work(e))
        desk_tend(e);
    line_go(e);
}

/* It has found nothing: from here on it waits among those who wait for items. */
static void join_waiters(struct pending *p)
{
    enum err e = p->cancelled ? OK : waiter_join(p->entry, &p->call, &p->request);
    if (e != OK) {
        fail(p, e);
        return;
    }
    take_out(p);
    pending_free(p);
}

/* The call has been run, to whatever end. */
static void end_run(struct pending *p)
{
    if (p->result == ERR_WAIT && (p->call.op->flags & OP_COPIES) != 0) {
        stand_beside(p);
        return;
    }
    stop(p);
    switch (p->result) {
    case ERR_WAIT: join_waiters(p); break;
    case ERR_CHECKPOINT: desk_stall(p->entry); break; /* and then again */
    default: finish(p);
    }
}

/* What needs the object without a checkpoint beside it. */
static bool needs_rest(const struct pending *p)
{
    return (p->call.op->flags & OP_ALONE) != 0 && desk_is_under_way(p->entry);
}

static void run_call(struct job *job)
{
    struct pending *p = of_job(job);
    p->call.may_wait = true;
    p->result = call_do(&p->call);
}

static void call_ran(struct job *job)
{
    struct pending *p = of_job(job);
    struct entry *e = p->entry;
    line_hold(e);
    if (e->object.kind == OBJECT_CLOSED)
        entry_closed(e);
    end_run(p);
    let_desk_go_on(e);
}

/* --- opening --------------------------------------------------------------------------------- */

static void run_find(struct job *job)
{
    struct pending *p = of_job(job);
    p->result = object_find(p->entry->server->paths, &p->open->opening);
}

/* The answer tells how long a queue is and how many counters there are. */
static enum err wait_for_journal(const struct object *o)
{
    return o->durable == NULL ? OK : journal_wait(object_journal(o), object_group(o));
}

static void run_attach(struct job *job)
{
    struct pending *p = of_job(job);
    struct object *o = &p->entry->object;
    p->result = object_attach(o, &p->open->opening);
    if (p->result == OK)
        move_look(o, p->open->opening.now_ms);
    if (p->result == OK && !p->open->opening.by_name)
        p->result = wait_for_journal(o);
}

static void move(struct pending *p, struct entry *to)
{
    take_out(p);
    append(to, p);
    p->call.entry = to;
}

/* Another entry has this file under another name: from now on this name is that entry's. */
static void merge(struct entry *from, struct entry *into)
{
    while (from->first != NULL)
        move(from->first, into);
    if (!entry_call_also(into, from->path))
        log_warning("\"%s\": no memory for a second name", from->path);
}

/* Which entry the file belongs to that the name has led to. NULL without memory. */
static struct entry *place(struct pending *p)
{
    struct entry *e = p->entry;
    const struct opening *o = &p->open->opening;
    if (o->sharing != MAP_OF_FILE)
        return e;
    struct entry *owner = entry_of_inode(e->server, o->dev, o->ino);
    if (owner == e)
        return e;
    if (e->object.kind == OBJECT_CLOSED) {
        if (owner == NULL)
            return e;
        merge(e, owner);
        return owner;
    }
    /* the name has got another file since e was opened */
    if (strcmp(e->path, p->open->path) == 0)
        detached_note(e);
    if (owner == NULL)
        owner = entry_new(e->server, p->open->path);
    else if (!entry_call_also(owner, p->open->path))
        owner = NULL;
    if (owner != NULL)
        move(p, owner);
    return owner;
}

static void reply_refused(struct pending *p)
{
    const struct opening *o = &p->open->opening;
    struct buf *out = &p->reply;
    reply_tuple(out, 2);
    reply_atom(out, "error");
    reply_tuple(out, p->result == ERR_SIZE_MISMATCH ? 3 : 2);
    reply_atom(out, err_atom(p->result));
    if (p->result == ERR_SIZE_MISMATCH) {
        reply_uint64(out, o->actual);
        reply_uint64(out, o->wanted);
    } else if (p->result == ERR_DAMAGED) {
        reply_text(out, o->why);
    } else if (p->result == ERR_NEEDS_JOURNAL) {
        reply_text(out, o->needs);
    } else if (p->result == ERR_LOCKED && o->owner[0] != '\0') {
        reply_text(out, o->owner);
    } else if (p->result == ERR_LOCKED) {
        reply_atom(out, "unknown");
    } else if (p->result == ERR_REGISTERED) {
        reply_atom(out, p->open->change->to.registered);
    } else {
        reply_binary(out, span_of(o->header, o->header_len));
    }
}

/* The errors that tell more than their name. */
static void refuse(struct pending *p, enum err why)
{
    p->result = why;
    reply_refused(p);
    finish(p);
}

/* What only a name keeps open is closed, the longest unused of it. */
static bool close_idle(struct server *s)
{
    struct entry *idle = entry_idle(s);
    if (idle == NULL)
        return false;
    idle->kept = false;
    line_rest(idle);
    return true;
}

/* Descriptors run short where an object gets one of the last: from then on fewer objects are kept
 * open for their names. Connections come and go, so that is forgotten after a while. */
static void spare_descriptors(const struct pending *p)
{
    enum { FEWER = 4, CLOSED_FOR_ONE = 2 };
    struct server *s = p->entry->server;
    const int fd = p->entry->object.map.fd;
    if (p->result == OK && fd >= 0 && os_is_scarce(fd))
        s->kept_most = s->entry_count > FEWER ? s->entry_count - FEWER : 0;
    const bool none_left = p->result == ERR_RESERVE_FDS || p->result == ERR_EMFILE;
    for (int i = 0; i < CLOSED_FOR_ONE && (none_left || s->entry_count >= s->kept_most); i++)
        (void)close_idle(s);
}

static void fail_to_open(struct pending *p)
{
    spare_descriptors(p);
    registry_complain(p->entry, p->result);
    fail(p, p->result);
}

static void found(struct job *job)
{
    struct pending *p = of_job(job);
    struct entry *e = p->entry;
    line_hold(e);
    stop(p);
    p->step = TO_ATTACH;
    if (p->result == ERR_ENOENT && p->open->taken)
        refuse(p, ERR_REGISTERED);
    else if (p->result != OK)
        fail_to_open(p);
    line_go_on(e);
}

static void reply_opened(struct pending *p, const struct handle *h)
{
    struct buf *out = &p->reply;
    const struct entry *e = p->entry;
    const bool counters = h->kind == OBJECT_COUNTERS;
    const bool queue = h->kind == OBJECT_QUEUE;
    reply_tuple(out, 3);
    reply_atom(out, "ok");
    reply_uint64(out, h->id);
    reply_map(out, counters || queue ? 5 : 4);
    reply_key_atom(out, "exist", p->open->opening.exist ? "true" : "false");
    reply_key_uint64(out, "size", e->object.map.size - h->offset);
    reply_key_uint64(out, "id", h->id);
    reply_key_atom(out, "kind", entry_kind_name(h->kind));
    if (counters)
        reply_key_uint64(out, "count", e->object.count);
    if (queue)
        reply_key_uint64(out, "length", e->seen.queue.ready);
}

static enum err give_handle(struct pending *p)
{
    struct client *c = p->request.client;
    struct entry *e = p->entry;
    const struct open *o = p->open;
    if (c->gone || p->cancelled || c->server->stopping)
        return ERR_CLOSED;
    entry_look(p->entry);
    struct handle *h = handle_new(c, e, o->opening.kind, o->opening.write);
    if (h == NULL)
        return ERR_ENOMEM;
    h->offset = o->opening.offset;
    h->fixed_size = o->fixed_size;
    h->durable = o->durable;
    e->durables += h->durable;
    h->max_inc_size = o->max_inc_size;
    e->auto_unlink |= o->auto_unlink;
    if (o->owner_len > 0 && !handle_own(h, span_of(o->owner, o->owner_len))) {
        handle_free(h);
        return ERR_ENOMEM;
    }
    reply_opened(p, h);
    return OK;
}

/* The opening is over, one way or the other. */
static void conclude(struct pending *p)
{
    struct entry *e = p->entry;
    const bool asked = !p->open->opening.by_name;
    stop(p);
    if (p->result == OK && asked)
        p->result = give_handle(p);
    if (p->result == OK && !asked) {
        e->kept = true;
        p->step = TO_RUN; /* what named the object can be done now */
    } else if (p->result == ERR_SIZE_MISMATCH || p->result == ERR_DAMAGED ||
               p->result == ERR_LOCKED || p->result == ERR_NEEDS_JOURNAL ||
               (p->result == ERR_FILE_HEADER && asked)) {
        refuse(p, p->result);
    } else if (p->result == OK) {
        finish(p);
    } else {
        fail(p, p->result);
    }
    line_go_on(e);
}

/* --- under a name as a process ---------------------------------------------------------------- */

/* The name is kept before the file is changed. */
static enum err claim_name(struct pending *p)
{
    struct open *o = p->open;
    const char *name = o->change->to.registered;
    return name[0] == '\0' ? OK : registry_claim(p->entry, o->path, name, &o->claimed);
}

/* The file may have got so many names meanwhile that this one was forgotten. */
static void keep_path(struct pending *p)
{
    const char *path = p->open->path;
    if (entry_of_path(p->entry->server, path) == NULL && !entry_call_also(p->entry, path))
        log_warning("\"%s\": no memory for a name", path);
}

static void name_saved(struct saving *w, enum err result)
{
    struct pending *p = (void *)((char *)w - offsetof(struct pending, saving));
    line_hold(p->entry);
    if (result == OK)
        keep_path(p);
    p->result = result;
    conclude(p);
}

/* The queue is open; true: its line goes on when its name is on disk. */
static bool save_name(struct pending *p)
{
    struct entry *e = p->entry;
    struct open *o = p->open;
    p->saving.done = name_saved;
    if ((o->change->given & QUEUE_REGISTERED) == 0 ||
        !registry_change(e, o->change->to.registered, &p->saving))
        return false;
    o->claimed = false;
    e->busy = true; /* nobody has the object, but nobody gets it either */
    e->held = false;
    return true;
}

static void attached(struct job *job)
{
    struct pending *p = of_job(job);
    struct entry *e = p->entry;
    line_hold(e);
    if (e->object.kind == OBJECT_CLOSED)
        entry_closed(e);
    if (p->result == OK && e->object.kind == OBJECT_QUEUE && !desk_open(e))
        p->result = ERR_ENOMEM;
    if (p->result != OK && p->open->claimed)
        registry_unclaim(e->server, p->open->change->to.registered);
    if (p->result != OK)
        registry_complain(e, p->result);
    spare_descriptors(p);
    if (p->result != OK || !save_name(p))
        conclude(p);
}

/* Is there room for one more open object? One that only a name keeps open makes room. */
static bool room_for(struct entry *e)
{
    struct server *s = e->server;
    if (e->object.kind != OBJECT_CLOSED || e->counted)
        return true;
    if (s->entry_count >= s->options.max_objects && !close_idle(s))
        return false;
    e->counted = true;
    s->entry_count++;
    return true;
}

/* NOLINTNEXTLINE(misc-no-recursion): to another entry, which then is the file's own */
static void attach(struct pending *p)
{
    struct entry *e = p->entry;
    const struct opening *o = &p->open->opening;
    struct entry *owner = place(p);
    enum err taken = OK;
    if (owner == NULL) {
        fail(p, ERR_ENOMEM);
    } else if (owner != e) {
        line_go(owner);
    } else if (o->by_name && e->object.kind != OBJECT_CLOSED) {
        p->step = TO_RUN; /* open under another name */
    } else if (!room_for(e)) {
        fail(p, ERR_MAX_OBJECTS);
    } else if (desk_is_under_way(e)) {
        desk_stall(e);
    } else if ((taken = claim_name(p)) == ERR_REGISTERED) {
        refuse(p, taken);
    } else if (taken != OK) {
        fail(p, taken);
    } else {
        if (e->object.failed && e->object.kind == OBJECT_QUEUE)
            desk_fail(e); /* its items will be others */
        if (o->sharing == MAP_OF_FILE && e->indexed == NULL)
            entry_index(e, o->dev, o->ino);
        p->open->opening.durable = p->open->durable || e->durables > 0;
        start(p, run_attach, attached);
    }
}

/* --- the first of the line ------------------------------------------------------------------- */

static void open_by_name(struct pending *p)
{
    p->open = open_of_name(p->entry->server, p->entry->path);
    if (p->open == NULL)
        fail(p, ERR_ENOMEM);
    else
        start(p, run_find, found);
}

/* Where the name of the process belongs to another file, none is made. */
static void find(struct pending *p)
{
    struct open *o = p->open;
    const char *name = o->change->to.registered;
    o->taken = name[0] != '\0' && registry_has_other(p->entry, name);
    o->opening.create &= !o->taken;
    start(p, run_find, found);
}

/* Decodes the request again: what it means may have changed while it waited. */
static enum err decode(struct pending *p)
{
    struct client *client = p->request.client;
    struct call *c = &p->call;
    if (c->op != NULL)
        return OK;
    c->server = client->server;
    c->client = client;
    c->from = p->request.from;
    c->ref = p->request.to;
    c->in_batch = p->request.batch != NULL;
    c->in_envelope = p->request.in_envelope;
    c->out = &p->reply;
    buf_init(&c->scratch, c->server->options.max_frame);
    call_begin(c);
    if (!op_decode(c, p->request.term)) { /* it could be once: memory */
        c->op = NULL;
        return ERR_ENOMEM;
    }
    enum err e = call_resolve(c, p->entry);
    c->entry = p->entry;
    return e;
}

static void decode_closing(struct pending *p)
{
    bool known;
    struct handle *h = p->closes;
    p->call.server = h->client->server;
    p->call.client = h->client;
    p->call.op = op_find(span_text("close"), 1, &known);
    p->call.handle = h;
    p->call.entry = p->entry;
    p->call.out = &p->reply;
}

/* Somebody was faster: the handle is closed already. */
static void finish_closed(struct pending *p)
{
    p->call.op = NULL;
    reply_atom(&p->reply, "ok");
    finish(p);
}

static void run(struct pending *p, bool blocks)
{
    if (p->closed) {
        finish_closed(p);
        return;
    }
    if (p->closes != NULL) {
        decode_closing(p);
    } else {
        enum err e = decode(p);
        if (e == ERR_CLOSED && p->call.op->args[0] == 'c') {
            finish_closed(p);
            return;
        }
        if (e != OK) {
            fail(p, e);
            return;
        }
        if (p->entry->object.kind == OBJECT_CLOSED && (p->call.op->flags & OP_MAKES) == 0) {
            open_by_name(p);
            return;
        }
    }
    if (p->cancelled || call_is_in_vain(&p->call)) {
        fail(p, ERR_CLOSED);
        return;
    }
    p->call.may_wait = false; /* a worker may have tried it before */
    p->result = blocks ? ERR_WOULD_BLOCK : call_do(&p->call);
    if (p->result == ERR_WOULD_BLOCK && needs_rest(p))
        desk_stall(p->entry);
    else if (p->result == ERR_WOULD_BLOCK)
        start(p, run_call, call_ran);
    else
        end_run(p);
}

static void step(struct pending *p, bool blocks) /* NOLINT(misc-no-recursion) */
{
    switch (p->step) {
    case TO_FIND: find(p); break;
    case TO_ATTACH: attach(p); break;
    case TO_RUN: run(p, blocks); break;
    }
}

void line_begin(struct entry *e)
{
    step(e->first, true);
}

/* Does what stands in the line until one needs a worker. */
void line_go(struct entry *e) /* NOLINT(misc-no-recursion) */
{
    if (e->held)
        return;
    e->held = true;
    while (!e->busy && !e->desk.stalled && e->first != NULL)
        step(e->first, false); /* NOLINT: it takes what it ends out of the list */
    e->held = false;
    line_rest(e);
}

/* --- closing --------------------------------------------------------------------------------- */

struct pending *line_closing(void)
{
    return calloc(1, sizeof(struct pending));
}

void line_closing_free(struct pending *p)
{
    if (p->closes == NULL) {
        free(p);
    } else {
        p->closes = NULL;
        p->closed = true;
    }
}

void line_close(struct handle *h)
{
    struct pending *p = h->closing;
    if (p->closes != NULL)
        return;
    p->closes = h;
    p->request.client = h->client;
    buf_init(&p->reply, SIZE_MAX);
    add_load(h->client, p->load);
    struct entry *e = h->entry;
    const bool idle = !e->busy && e->first == NULL;
    append(e, p);
    if (idle)
        line_go(e);
}

static struct entry *of_resting(struct job *job)
{
    return (struct entry *)(void *)((char *)job - offsetof(struct entry, resting));
}

static void run_rest(struct job *job)
{
    struct entry *e = of_resting(job);
    entry_end(e);
}

static void rested(struct job *job)
{
    struct entry *e = of_resting(job);
    line_hold(e);
    entry_closed(e);
    line_go_on(e);
}

void line_rest(struct entry *e)
{
    struct server *s = e->server;
    const bool kept = e->kept && (!e->detached || registry_of(e) != NULL);
    /* a lease ends with its holder, a snapshot by itself */
    const bool stays = kept || desk_has_leases(e) || e->copies != NULL;
    if (e->busy || e->held || e->first != NULL || e->handle_count > 0 ||
        (e->object.kind != OBJECT_CLOSED && (move_is_under_way(e) || (stays && !s->stopping))))
        return;
    if (e->object.kind == OBJECT_CLOSED && e->copies != NULL)
        return; /* which were given up, and will be over soon */
    if (e->object.kind == OBJECT_CLOSED) {
        entry_free(e);
        server_rest(s);
    } else if (desk_is_under_way(e)) {
        desk_stall(e);
    } else {
        e->busy = true;
        e->sync_at_end = s->stopping;
        e->resting.run = run_rest;
        e->resting.done = rested;
        work_submit(s->loop, &e->resting);
    }
}
