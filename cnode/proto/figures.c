#include "proto/figures.h"

#include "proto/detached.h"
#include "sys/os.h"

static uint64_t connected(const struct server *s)
{
    uint64_t n = 0;
    for (const struct client *c = s->clients; c != NULL; c = c->next)
        n += !c->gone;
    return n;
}

static void look(struct entry *e)
{
    if (!e->busy)
        entry_look(e);
}

static uint64_t mapped_bytes(const struct server *s)
{
    uint64_t sum = 0;
    for (struct entry *e = s->entries; e != NULL; e = e->next) {
        look(e);
        sum += e->seen.size;
    }
    return sum;
}

static void look_at_workers(struct node_figures *f)
{
    const char *set = getenv("UV_THREADPOOL_SIZE");
    const unsigned long threads = set == NULL ? 4 : strtoul(set, NULL, 10);
    f->workers_running = work_pending < threads ? work_pending : threads;
    f->workers_waiting = work_pending - f->workers_running;
}

void figures_of_node(struct server *s, struct node_figures *f)
{
    size_t rss = 0;
    uv_resident_set_memory(&rss);
    *f = (struct node_figures){.uptime_ms = uv_now(s->loop) - s->started_ms,
                               .objects = s->entry_count,
                               .clients = connected(s),
                               .rss = rss,
                               .mapped = mapped_bytes(s),
                               .fds = os_descriptors(),
                               .loop_lag_us = s->loop_lag_us,
                               .ignored = s->unknown_messages};
    look_at_workers(f);
}

/* --- kinds ----------------------------------------------------------------------------------- */

static void add_queue(struct kind_figures *f, const struct queue_info *q)
{
    f->items += q->items;
    f->ready += q->ready;
    f->leased += q->leased;
    f->delayed += q->delayed;
    f->buried += q->buried;
}

static void add_object(struct kind_figures *f, const struct entry *e)
{
    stats_add(&f->stats, &e->stats);
    if (!entry_is_open(e))
        return;
    f->objects++;
    f->size += e->seen.size;
    f->handles += e->handle_count;
    f->waiting += e->waiting + e->desk.waiting;
    f->in_flight += e->in_flight;
    if (e->seen.was == OBJECT_QUEUE)
        add_queue(f, &e->seen.queue);
}

void figures_of_kinds(const struct server *s, struct kind_figures f[FIGURES_KINDS])
{
    for (int i = 0; i < FIGURES_KINDS; i++)
        f[i] = (struct kind_figures){.stats = s->ended[i]};
    for (const struct entry *e = s->entries; e != NULL; e = e->next)
        add_object(&f[e->seen.was], e);
    for (int i = 0; i < FIGURES_KINDS; i++)
        f[i].ops = stats_ops(&f[i].stats);
}

/* --- one of them ----------------------------------------------------------------------------- */

static uint64_t idle_ms(const struct stats *s)
{
    return (uv_hrtime() - s->last_ns) / 1000000;
}

void figures_of_client(const struct client *c, struct client_figures *f)
{
    *f = (struct client_figures){.node = c->node,
                                 .stats = &c->stats,
                                 .ops = stats_ops(&c->stats),
                                 .since_ms = uv_now(c->server->loop) - c->since_ms,
                                 .idle_ms = idle_ms(&c->stats),
                                 .handles = c->handle_count,
                                 .leases = c->lease_count,
                                 .waiting = c->pending_count + c->waiter_count,
                                 .in_flight = c->in_flight,
                                 .subscribers = c->subscriber_count};
    c->outlet.traffic(c->conn, &f->bytes_in, &f->bytes_out);
}

static uint64_t age_ms(const struct entry *e)
{
    const uint64_t now = server_now_ms(e->server);
    const uint64_t then = e->seen.queue.oldest_time;
    return then > 0 && then < now ? now - then : 0;
}

static void look_at_queue(const struct entry *e, struct object_figures *f)
{
    f->queue_waiting = e->desk.waiting;
    f->subscribers = e->desk.subscribers;
    f->oldest_ms = age_ms(e);
    f->queue = e->seen.queue;
}

void figures_of_object(struct entry *e, struct object_figures *f)
{
    look(e);
    *f = (struct object_figures){.name = e->path,
                                 .kind = e->seen.kind,
                                 .stats = &e->stats,
                                 .ops = stats_ops(&e->stats),
                                 .size = e->seen.size,
                                 .count = e->seen.count,
                                 .block_size = e->seen.block_size,
                                 .blocks = e->seen.blocks,
                                 .free = e->seen.free,
                                 .handles = e->handle_count,
                                 .waiting = e->waiting + e->desk.waiting,
                                 .in_flight = e->in_flight,
                                 .idle_ms = idle_ms(&e->stats),
                                 .read_only = e->seen.read_only,
                                 .detached = detached_is(e)};
    if (e->seen.kind == OBJECT_QUEUE)
        look_at_queue(e, f);
}
