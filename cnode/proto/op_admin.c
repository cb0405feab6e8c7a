#include <stdio.h>
#include <unistd.h>

#include "proto/call.h"
#include "proto/figures.h"
#include "proto/line.h"
#include "proto/ops.h"
#include "proto/registry.h"
#include "proto/reply.h"
#include "proto/waiter.h"
#include "sys/log.h"

enum { PROTOCOL = 1 };

/* --- the end of a handle --------------------------------------------------------------------- */

/* Only the file that the object is, not one that has got its name since. */
static void unlink_file(struct entry *e)
{
    int fd;
    struct stat st;
    if (path_open(e->server->paths, e->path, 0, &fd) != OK)
        return;
    const bool same =
        fstat(fd, &st) == 0 && st.st_dev == e->object.dev && st.st_ino == e->object.ino;
    close(fd);
    if (same && path_unlink(e->server->paths, e->path) != OK)
        log_warning("\"%s\": cannot be removed", e->path);
}

/* Whoever holds items keeps the queue open: a lease ends with its process; and so does who waits
 * for some by its name. A registered queue needs nobody. */
static bool is_held(const struct entry *e)
{
    const bool used = (desk_has_leases(e) || waiter_by_name(&e->desk)) && !e->auto_unlink;
    return e->object.kind == OBJECT_QUEUE && !e->server->stopping &&
           (used || registry_of(e) != NULL);
}

/* Items are on their way out of it, or a snapshot is being made: line_rest closes it behind that.
 */
static bool closes_later(const struct entry *e)
{
    const bool moves = e->object.kind == OBJECT_QUEUE && move_is_under_way(e);
    return !e->auto_unlink && (moves || e->copies != NULL);
}

/* Other handles stay that do not ask for it. */
static bool is_last_durable(const struct call *c)
{
    const struct entry *e = c->entry;
    return c->handle->durable && e->durables == 1 && e->object.durable != NULL &&
           e->object.kind != OBJECT_QUEUE;
}

enum err op_close(struct call *c)
{
    struct entry *e = c->entry;
    const bool last = e->handle_count == 1;
    if (!last && is_last_durable(c)) {
        if (!c->may_wait)
            return ERR_WOULD_BLOCK;
        (void)object_relax(&e->object);
    } else if (last && !c->may_wait && is_held(e)) {
        e->kept = true;
    } else if (last && (c->may_wait || !closes_later(e))) {
        if (!c->may_wait) {
            e->sync_at_end = e->server->stopping;
            return ERR_WOULD_BLOCK;
        }
        if (e->auto_unlink && e->path[0] != '\0')
            unlink_file(e);
        entry_end(e);
    }
    reply_atom(c->out, "ok");
    return OK;
}

void op_close_done(struct call *c)
{
    struct entry *e = c->entry;
    if (e->object.kind == OBJECT_QUEUE)
        waiter_end_handle(e, c->handle->id);
    handle_free(c->handle);
    if (e->object.kind == OBJECT_CLOSED)
        entry_closed(e);
}

enum err op_barrier(struct call *c)
{
    struct handle *h = c->handle;
    struct buf *out = c->out;
    reply_tuple(out, 4);
    reply_atom(out, "ok");
    reply_uint64(out, h->casts.done);
    reply_uint64(out, h->casts.failed);
    if (h->casts.failed > 0 && h->casts.first_len > 0)
        reply_raw(out, span_of(h->casts.first, h->casts.first_len));
    else
        reply_atom(out, h->casts.failed > 0 ? "error" : "none");
    h->casts.failed = 0;
    return OK;
}

/* --- information ----------------------------------------------------------------------------- */

enum err op_ping(struct call *c)
{
    reply_atom(c->out, "pong");
    return OK;
}

static uint32_t clients_of(const struct entry *e)
{
    const uint64_t serial = ++e->server->count_serial;
    uint32_t n = 0;
    for (struct handle *h = e->handles; h != NULL; h = h->next_here) {
        n += h->client->count_mark != serial;
        h->client->count_mark = serial;
    }
    return n;
}

static void reply_latency(struct buf *out, const struct stats *s)
{
    reply_atom(out, "latency_us");
    reply_map(out, 3);
    reply_key_uint64(out, "p50", stats_percentile_us(s, 500));
    reply_key_uint64(out, "p99", stats_percentile_us(s, 990));
    reply_key_uint64(out, "max", stats_max_us(s));
}

static void reply_key_bound(struct buf *out, const char *key, uint64_t bound)
{
    if (bound == 0)
        reply_key_atom(out, key, "infinity");
    else
        reply_key_uint64(out, key, bound);
}

static void reply_key_name(struct buf *out, const char *key, const char *name)
{
    if (name[0] == '\0')
        reply_key_atom(out, key, "none");
    else
        reply_key_text(out, key, name);
}

static void reply_queue(struct buf *out, const struct entry *e, const struct object_figures *f)
{
    const struct queue_info *q = &f->queue;
    const struct queue_options *o = &e->seen.options;
    const struct process *p = registry_of(e);
    reply_key_uint64(out, "items", q->items);
    reply_key_uint64(out, "ready", q->ready);
    reply_key_uint64(out, "bytes", q->bytes);
    reply_key_uint64(out, "leased", q->leased);
    reply_key_uint64(out, "delayed", q->delayed);
    reply_key_uint64(out, "buried", q->buried);
    reply_key_uint64(out, "subscribers", f->subscribers);
    reply_key_uint64(out, "oldest_ms", f->oldest_ms);
    reply_key_uint64(out, "pushed", q->pushed);
    reply_key_uint64(out, "popped", q->popped);
    reply_key_uint64(out, "acked", q->acked);
    reply_key_uint64(out, "dropped", q->dropped);
    reply_key_uint64(out, "dead", q->dead);
    reply_key_uint64(out, "damaged", q->damaged);
    reply_key_uint64(out, "first_id", q->first_id);
    reply_key_uint64(out, "next_id", q->next_id);
    reply_key_uint64(out, "file_size", q->file_size);
    reply_key_name(out, "registered", p == NULL ? "" : p->name);
    reply_key_uint64(out, "head", q->head);
    reply_key_uint64(out, "tail", q->tail);
    reply_key_uint64(out, "next_tail", q->tail);
    reply_key_bound(out, "max_items", o->max_items);
    reply_key_bound(out, "max_bytes", o->max_bytes);
    reply_key_atom(out, "overflow", o->drop_head ? "drop_head" : "reject");
    reply_key_bound(out, "lease_ms", o->lease_ms);
    reply_key_bound(out, "max_attempts", o->max_attempts);
    reply_key_name(out, "dead_letter", o->dead_letter);
}

static int keys_of(enum object_kind kind)
{
    enum { OF_ALL = 16, OF_COUNTERS = 1, OF_BLOCKS = 3, OF_QUEUE = 27 };
    switch (kind) {
    case OBJECT_COUNTERS: return OF_ALL + OF_COUNTERS;
    case OBJECT_BLOCKS: return OF_ALL + OF_BLOCKS;
    case OBJECT_QUEUE: return OF_ALL + OF_QUEUE;
    default: return OF_ALL;
    }
}

static void reply_object(struct buf *out, struct entry *e)
{
    struct object_figures f;
    figures_of_object(e, &f);
    reply_map(out, keys_of(f.kind));
    reply_key_text(out, "name", f.name);
    reply_key_atom(out, "kind", entry_kind_name(f.kind));
    reply_key_uint64(out, "size", f.size);
    reply_key_atom(out, "durability", e->seen.durable ? "sync" : "default");
    reply_key_uint64(out, "handles", f.handles);
    reply_key_uint64(out, "clients", clients_of(e));
    reply_key_uint64(out, "ops", f.ops);
    reply_key_uint64(out, "errors", f.stats->errors);
    reply_key_uint64(out, "bytes_in", f.stats->bytes_in);
    reply_key_uint64(out, "bytes_out", f.stats->bytes_out);
    reply_latency(out, f.stats);
    reply_key_uint64(out, "waiting", f.waiting);
    reply_key_uint64(out, "in_flight", f.in_flight);
    reply_key_uint64(out, "idle_ms", f.idle_ms);
    reply_key_atom(out, "read_only", f.read_only ? "true" : "false");
    reply_key_atom(out, "detached", f.detached ? "true" : "false");
    if (f.kind == OBJECT_COUNTERS)
        reply_key_uint64(out, "count", f.count);
    if (f.kind == OBJECT_BLOCKS) {
        reply_key_uint64(out, "block_size", f.block_size);
        reply_key_uint64(out, "blocks", f.blocks);
        reply_key_uint64(out, "free", f.free);
    }
    if (f.kind == OBJECT_QUEUE)
        reply_queue(out, e, &f);
}

enum err op_info_object(struct call *c)
{
    reply_object(c->out, c->entry);
    return OK;
}

enum err op_list(struct call *c)
{
    const size_t begin = reply_list_begin(c->out);
    uint32_t n = 0;
    for (struct entry *e = c->server->entries; e != NULL; e = e->next) {
        if (!entry_is_open(e))
            continue;
        reply_object(c->out, e);
        n++;
    }
    reply_list_end(c->out, begin, n);
    return OK;
}

static void reply_client(struct buf *out, const struct client *c)
{
    struct client_figures f;
    figures_of_client(c, &f);
    reply_map(out, 13);
    reply_key_atom(out, "node", f.node);
    reply_key_uint64(out, "since_ms", f.since_ms);
    reply_key_uint64(out, "ops", f.ops);
    reply_key_uint64(out, "errors", f.stats->errors);
    reply_key_uint64(out, "bytes_in", f.bytes_in);
    reply_key_uint64(out, "bytes_out", f.bytes_out);
    reply_latency(out, f.stats);
    reply_key_uint64(out, "handles", f.handles);
    reply_key_uint64(out, "leases", f.leases);
    reply_key_uint64(out, "waiting", f.waiting);
    reply_key_uint64(out, "in_flight", f.in_flight);
    reply_key_uint64(out, "subscribers", f.subscribers);
    reply_key_uint64(out, "idle_ms", f.idle_ms);
}

enum err op_clients(struct call *c)
{
    const size_t begin = reply_list_begin(c->out);
    uint32_t n = 0;
    for (struct client *one = c->server->clients; one != NULL; one = one->next) {
        if (one->gone)
            continue;
        reply_client(c->out, one);
        n++;
    }
    reply_list_end(c->out, begin, n);
    return OK;
}

static void reply_journal(struct buf *out, struct journal *j)
{
    static const char *const states[] = {[JOURNAL_NONE] = "none",
                                         [JOURNAL_READY] = "ready",
                                         [JOURNAL_FAILED] = "failed",
                                         [JOURNAL_LOCKED] = "locked"};
    struct journal_info i;
    journal_look_at(j, &i);
    reply_atom(out, "journal");
    reply_map(out, 9);
    reply_key_atom(out, "state", states[i.state]);
    reply_key_uint64(out, "half_size", i.half_size);
    reply_key_uint64(out, "generation", i.generation);
    reply_key_uint64(out, "objects", i.objects);
    reply_key_uint64(out, "groups", i.groups);
    reply_key_uint64(out, "records", i.records);
    reply_key_uint64(out, "bytes", i.bytes);
    reply_key_uint64(out, "syncs", i.syncs);
    reply_key_uint64(out, "kept", i.kept);
}

static void reply_workers(struct buf *out, const struct node_figures *f)
{
    reply_atom(out, "workers");
    reply_map(out, 2);
    reply_key_uint64(out, "running", f->workers_running);
    reply_key_uint64(out, "waiting", f->workers_waiting);
}

static void reply_limits(struct buf *out, const struct server_options *o)
{
    const struct {
        const char *name;
        uint64_t most;
    } limits[] = {
#define LIMIT(name) {#name, o->name}
        LIMIT(max_objects),     LIMIT(max_object_bytes), LIMIT(max_mapped),
        LIMIT(max_handles),     LIMIT(max_pending),      LIMIT(max_pending_bytes),
        LIMIT(max_leases),      LIMIT(max_waiting),      LIMIT(max_subscribers),
        LIMIT(max_all_handles), LIMIT(max_all_pending),  LIMIT(max_all_pending_bytes),
        LIMIT(max_all_leases),  LIMIT(max_all_waiting),  LIMIT(max_all_subscribers),
        LIMIT(max_frame),       LIMIT(max_unsent),       LIMIT(max_half_open),
        LIMIT(max_connections), LIMIT(max_processes),    LIMIT(reserve_fds),
#undef LIMIT
    };
    const int n = sizeof limits / sizeof limits[0];
    reply_atom(out, "limits");
    reply_map(out, n);
    for (int i = 0; i < n; i++)
        reply_key_uint64(out, limits[i].name, limits[i].most);
}

enum err op_info(struct call *c)
{
    struct server *s = c->server;
    struct buf *out = c->out;
    struct node_figures f;
    figures_of_node(s, &f);
    reply_map(out, 14);
    reply_key_atom(out, "node", s->options.node);
    reply_key_text(out, "version", s->options.version);
    reply_key_uint64(out, "protocol", PROTOCOL);
    reply_key_uint64(out, "os_pid", (uint64_t)getpid());
    reply_key_uint64(out, "uptime_ms", f.uptime_ms);
    reply_key_uint64(out, "objects", f.objects);
    reply_key_uint64(out, "clients", f.clients);
    reply_key_uint64(out, "rss", f.rss);
    reply_key_uint64(out, "mapped", f.mapped);
    reply_key_uint64(out, "fds", f.fds);
    reply_key_uint64(out, "loop_lag_us", f.loop_lag_us);
    reply_journal(out, s->journal);
    reply_workers(out, &f);
    reply_limits(out, &s->options);
    return OK;
}
