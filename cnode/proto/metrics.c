#include "proto/figures.h"
#include "proto/ops.h"
#include "proto/prom.h"
#include "proto/reply.h"

/* All figures as text for Prometheus, family by family. So that neither the text nor the turn of
 * the loop grows with the number of objects, only so many of them are told of one by one: those
 * that have been open for longest, which stay the same ones from one scrape to the next. All are in
 * the sums by kind, which also keep what closed objects had, and so never fall. */

enum { CLIENTS_MOST = 100, OBJECTS_MOST = 100, TEXT_MOST = 2 << 20, NODE_TEXT = 48 << 10 };

enum unit { COUNT = 0, MILLISECONDS = 3, MICROSECONDS = 6, NANOSECONDS = 9 }; /* decimals */

/* One figure: a member of what the subjects' figures or statistics are. */
struct family {
    const char *name;
    const char *type;
    const char *help;
    enum unit unit;
    enum { OF_FIGURES, OF_STATS } of;
    size_t offset;
};

#define FIGURE(group, member) OF_FIGURES, offsetof(struct group, member)
#define STAT(member)          OF_STATS, offsetof(struct stats, member)

/* clang-format off */
static const struct family node_families[] = {
    {"emmap_uptime_seconds", "gauge", "Time since the daemon began.", MILLISECONDS, FIGURE(node_figures, uptime_ms)},
    {"emmap_open_objects", "gauge", "Objects that are open.", COUNT, FIGURE(node_figures, objects)},
    {"emmap_clients", "gauge", "Connected nodes.", COUNT, FIGURE(node_figures, clients)},
    {"emmap_resident_bytes", "gauge", "Resident memory, of mapped files too.", COUNT, FIGURE(node_figures, rss)},
    {"emmap_mapped_bytes", "gauge", "Bytes of mapped files.", COUNT, FIGURE(node_figures, mapped)},
    {"emmap_open_fds", "gauge", "Open descriptors.", COUNT, FIGURE(node_figures, fds)},
    {"emmap_loop_lag_seconds", "gauge", "How late the loop came to its timer last.", MICROSECONDS, FIGURE(node_figures, loop_lag_us)},
    {"emmap_workers_running", "gauge", "Jobs that workers are at.", COUNT, FIGURE(node_figures, workers_running)},
    {"emmap_workers_waiting", "gauge", "Jobs that wait for a worker.", COUNT, FIGURE(node_figures, workers_waiting)},
    {"emmap_ignored_messages_total", "counter", "Messages that were no requests.", COUNT, FIGURE(node_figures, ignored)},
};

static const struct family kind_families[] = {
    {"emmap_objects", "gauge", "Open objects of a kind.", COUNT, FIGURE(kind_figures, objects)},
    {"emmap_size_bytes", "gauge", "Their mapped bytes.", COUNT, FIGURE(kind_figures, size)},
    {"emmap_handles", "gauge", "Their handles.", COUNT, FIGURE(kind_figures, handles)},
    {"emmap_waiting", "gauge", "Requests on them that are not answered yet.", COUNT, FIGURE(kind_figures, waiting)},
    {"emmap_in_flight", "gauge", "Of these, those that a worker is at.", COUNT, FIGURE(kind_figures, in_flight)},
    {"emmap_requests_total", "counter", "Requests on objects of a kind, closed ones included.", COUNT, FIGURE(kind_figures, ops)},
    {"emmap_request_errors_total", "counter", "Of these, those answered with an error.", COUNT, STAT(errors)},
    {"emmap_received_bytes_total", "counter", "Bytes that they brought.", COUNT, STAT(bytes_in)},
    {"emmap_sent_bytes_total", "counter", "Bytes that they got.", COUNT, STAT(bytes_out)},
};

/* Of the one kind that has them, so without its name. */
static const struct family queues_families[] = {
    {"emmap_queues_items", "gauge", "Items of all queues.", COUNT, FIGURE(kind_figures, items)},
    {"emmap_queues_ready", "gauge", "Of these, ready ones.", COUNT, FIGURE(kind_figures, ready)},
    {"emmap_queues_leased", "gauge", "Leased ones.", COUNT, FIGURE(kind_figures, leased)},
    {"emmap_queues_delayed", "gauge", "Delayed ones.", COUNT, FIGURE(kind_figures, delayed)},
    {"emmap_queues_buried", "gauge", "Buried ones.", COUNT, FIGURE(kind_figures, buried)},
};

static const struct family client_families[] = {
    {"emmap_client_connected_seconds", "gauge", "Time since the node connected.", MILLISECONDS, FIGURE(client_figures, since_ms)},
    {"emmap_client_idle_seconds", "gauge", "Time since its last request was answered.", MILLISECONDS, FIGURE(client_figures, idle_ms)},
    {"emmap_client_handles", "gauge", "Its handles.", COUNT, FIGURE(client_figures, handles)},
    {"emmap_client_leases", "gauge", "Items that its processes hold.", COUNT, FIGURE(client_figures, leases)},
    {"emmap_client_subscribers", "gauge", "Its subscriptions.", COUNT, FIGURE(client_figures, subscribers)},
    {"emmap_client_waiting", "gauge", "Its requests that are not answered yet.", COUNT, FIGURE(client_figures, waiting)},
    {"emmap_client_in_flight", "gauge", "Of these, those that a worker is at.", COUNT, FIGURE(client_figures, in_flight)},
    {"emmap_client_requests_total", "counter", "Its answered requests.", COUNT, FIGURE(client_figures, ops)},
    {"emmap_client_errors_total", "counter", "Of these, those answered with an error.", COUNT, STAT(errors)},
    {"emmap_client_received_bytes_total", "counter", "Bytes read from it.", COUNT, FIGURE(client_figures, bytes_in)},
    {"emmap_client_sent_bytes_total", "counter", "Bytes written to it.", COUNT, FIGURE(client_figures, bytes_out)},
    {"emmap_client_request_duration_max_seconds", "gauge", "Its longest request.", NANOSECONDS, STAT(max_ns)},
};

static const struct family object_families[] = {
    {"emmap_object_size_bytes", "gauge", "Mapped bytes of the object.", COUNT, FIGURE(object_figures, size)},
    {"emmap_object_handles", "gauge", "Its handles.", COUNT, FIGURE(object_figures, handles)},
    {"emmap_object_waiting", "gauge", "Requests on it that are not answered yet.", COUNT, FIGURE(object_figures, waiting)},
    {"emmap_object_in_flight", "gauge", "Of these, those that a worker is at.", COUNT, FIGURE(object_figures, in_flight)},
    {"emmap_object_idle_seconds", "gauge", "Time since a request on it was answered last.", MILLISECONDS, FIGURE(object_figures, idle_ms)},
    {"emmap_object_detached", "gauge", "1 where its name leads to another file, or to none.", COUNT, FIGURE(object_figures, detached)},
    {"emmap_object_read_only", "gauge", "1 where a failure has made it read-only.", COUNT, FIGURE(object_figures, read_only)},
    {"emmap_object_requests_total", "counter", "Requests on it.", COUNT, FIGURE(object_figures, ops)},
    {"emmap_object_errors_total", "counter", "Of these, those answered with an error.", COUNT, STAT(errors)},
    {"emmap_object_received_bytes_total", "counter", "Bytes that they brought.", COUNT, STAT(bytes_in)},
    {"emmap_object_sent_bytes_total", "counter", "Bytes that they got.", COUNT, STAT(bytes_out)},
    {"emmap_object_request_duration_max_seconds", "gauge", "The longest request.", NANOSECONDS, STAT(max_ns)},
};

static const struct family queue_families[] = {
    {"emmap_queue_items", "gauge", "Items stored.", COUNT, FIGURE(object_figures, queue.items)},
    {"emmap_queue_ready", "gauge", "Items that a pop could have now.", COUNT, FIGURE(object_figures, queue.ready)},
    {"emmap_queue_leased", "gauge", "Items that somebody holds.", COUNT, FIGURE(object_figures, queue.leased)},
    {"emmap_queue_delayed", "gauge", "Items that are ready after a time.", COUNT, FIGURE(object_figures, queue.delayed)},
    {"emmap_queue_buried", "gauge", "Items put aside.", COUNT, FIGURE(object_figures, queue.buried)},
    {"emmap_queue_bytes", "gauge", "Bytes of the items.", COUNT, FIGURE(object_figures, queue.bytes)},
    {"emmap_queue_waiting", "gauge", "Pops and takes that wait for items.", COUNT, FIGURE(object_figures, queue_waiting)},
    {"emmap_queue_subscribers", "gauge", "Subscriptions.", COUNT, FIGURE(object_figures, subscribers)},
    {"emmap_queue_oldest_age_seconds", "gauge", "Age of the oldest item.", MILLISECONDS, FIGURE(object_figures, oldest_ms)},
    {"emmap_queue_pushed_total", "counter", "Items pushed since the file was made.", COUNT, FIGURE(object_figures, queue.pushed)},
    {"emmap_queue_popped_total", "counter", "Items popped.", COUNT, FIGURE(object_figures, queue.popped)},
    {"emmap_queue_acked_total", "counter", "Items acked.", COUNT, FIGURE(object_figures, queue.acked)},
    {"emmap_queue_dropped_total", "counter", "Items dropped to make room.", COUNT, FIGURE(object_figures, queue.dropped)},
    {"emmap_queue_dead_total", "counter", "Items delivered too often.", COUNT, FIGURE(object_figures, queue.dead)},
    {"emmap_queue_damaged_total", "counter", "Records passed over.", COUNT, FIGURE(object_figures, queue.damaged)},
};

static const struct family blocks_families[] = {
    {"emmap_blocks_block_size_bytes", "gauge", "Bytes of a block.", COUNT, FIGURE(object_figures, block_size)},
    {"emmap_blocks_stored", "gauge", "Blocks that are there.", COUNT, FIGURE(object_figures, blocks)},
    {"emmap_blocks_free", "gauge", "Blocks that there is room for in the file.", COUNT, FIGURE(object_figures, free)},
};
/* clang-format on */

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* --- families of subjects -------------------------------------------------------------------- */

/* Whom samples are of; its labels stand in a buffer that grows. */
struct subject {
    size_t labels_at, labels_len;
    const void *figures;
    const struct stats *stats;
};

struct group {
    const struct buf *labels;
    const struct subject *subjects;
    size_t n;
};

static struct span labels_of(const struct group *g, const struct subject *one)
{
    return span_of(g->labels->at + one->labels_at, one->labels_len);
}

static uint64_t figure(const struct family *f, const struct subject *one)
{
    const char *from = f->of == OF_STATS ? (const void *)one->stats : one->figures;
    uint64_t value;
    must(from != NULL);
    memcpy(&value, from + f->offset, sizeof value);
    return value;
}

static void put_family(struct buf *out, const struct family *f, const struct group *g)
{
    prom_head(out, f->name, f->type, f->help);
    for (size_t i = 0; i < g->n; i++) {
        const struct subject *one = &g->subjects[i];
        prom_sample(out, f->name, labels_of(g, one), figure(f, one), (unsigned)f->unit);
    }
}

static void put_families(struct buf *out, const struct family *rows, size_t n,
                         const struct group *g)
{
    for (size_t i = 0; i < n && g->n > 0; i++)
        put_family(out, &rows[i], g);
}

static void put_histograms(struct buf *out, const char *name, const struct group *g)
{
    if (g->n == 0)
        return;
    prom_head(out, name, "histogram", "Time to answer, without waiting for items.");
    for (size_t i = 0; i < g->n; i++)
        prom_histogram(out, name, labels_of(g, &g->subjects[i]), g->subjects[i].stats);
}

/* --- who is told of one by one --------------------------------------------------------------- */

/* Everything that is taken before the first line is written. */
struct sheet {
    struct buf labels;
    size_t room; /* bytes of text that are left */
    struct node_figures node;
    struct kind_figures kinds[FIGURES_KINDS];
    struct client_figures clients[CLIENTS_MOST];
    struct object_figures objects[OBJECTS_MOST];
    struct subject of_kinds[FIGURES_KINDS], of_clients[CLIENTS_MOST], of_objects[OBJECTS_MOST];
    struct subject of_queues[OBJECTS_MOST], of_blocks[OBJECTS_MOST];
    size_t n_kinds, n_clients, n_objects, n_queues, n_blocks;
    size_t all_clients, all_objects;
};

static struct subject label_all(struct sheet *s, size_t begin, const void *figures,
                                const struct stats *stats)
{
    return (struct subject){.labels_at = begin,
                            .labels_len = s->labels.len - begin,
                            .figures = figures,
                            .stats = stats};
}

/* Is there room for so many lines with these labels? If not, they are taken back. */
static bool admit(struct sheet *s, size_t begin, size_t lines)
{
    const size_t bytes = lines * (s->labels.len - begin + PROM_LINE);
    const bool fits = !s->labels.failed && bytes <= s->room;
    if (fits)
        s->room -= bytes;
    else
        buf_cut(&s->labels, begin);
    return fits;
}

static void add_kinds(struct sheet *s)
{
    for (enum object_kind kind = OBJECT_REGION; kind <= OBJECT_QUEUE; kind++) {
        const size_t begin = s->labels.len;
        prom_label(&s->labels, begin, "kind", span_text(entry_kind_name(kind)));
        s->of_kinds[s->n_kinds++] = label_all(s, begin, &s->kinds[kind], &s->kinds[kind].stats);
    }
}

static void add_client(struct sheet *s, const struct client *c)
{
    const size_t begin = s->labels.len;
    s->all_clients++;
    if (s->n_clients == CLIENTS_MOST)
        return;
    prom_label(&s->labels, begin, "client", span_text(c->node));
    if (!admit(s, begin, LENGTH(client_families) + PROM_HISTOGRAM))
        return;
    struct client_figures *f = &s->clients[s->n_clients];
    figures_of_client(c, f);
    s->of_clients[s->n_clients++] = label_all(s, begin, f, f->stats);
}

static void add_clients(struct sheet *s, const struct server *server)
{
    struct client *first = server->clients;
    struct client *c = first == NULL ? NULL : first->prev;
    for (; c != NULL; c = c == first ? NULL : c->prev)
        if (!c->gone)
            add_client(s, c);
}

/* Of two that were opened under one name, the later one has it. */
static bool has_own_name(const struct entry *e)
{
    return e->path[0] != '\0' && entry_of_path(e->server, e->path) == e;
}

static void add_object(struct sheet *s, struct entry *e)
{
    const size_t begin = s->labels.len;
    const bool queue = e->seen.kind == OBJECT_QUEUE;
    const bool blocks = e->seen.kind == OBJECT_BLOCKS;
    s->all_objects++;
    if (s->n_objects == OBJECTS_MOST || !has_own_name(e))
        return;
    prom_label(&s->labels, begin, "object", span_text(e->path));
    prom_label(&s->labels, begin, "kind", span_text(entry_kind_name(e->seen.kind)));
    if (!admit(s, begin,
               LENGTH(object_families) + PROM_HISTOGRAM +
                   (queue    ? LENGTH(queue_families)
                    : blocks ? LENGTH(blocks_families)
                             : 0)))
        return;
    struct object_figures *f = &s->objects[s->n_objects];
    figures_of_object(e, f);
    s->of_objects[s->n_objects++] = label_all(s, begin, f, f->stats);
    if (queue)
        s->of_queues[s->n_queues++] = label_all(s, begin, f, f->stats);
    if (blocks)
        s->of_blocks[s->n_blocks++] = label_all(s, begin, f, f->stats);
}

static void add_objects(struct sheet *s, const struct server *server)
{
    struct entry *first = server->entries;
    struct entry *e = first == NULL ? NULL : first->prev;
    for (; e != NULL; e = e == first ? NULL : e->prev)
        if (entry_is_open(e))
            add_object(s, e);
}

static void fill(struct sheet *s, struct server *server)
{
    const size_t frame = server->options.max_frame;
    const size_t most = frame < TEXT_MOST ? frame : TEXT_MOST;
    buf_init(&s->labels, SIZE_MAX);
    s->room = most > NODE_TEXT ? most - NODE_TEXT : 0;
    figures_of_node(server, &s->node);
    figures_of_kinds(server, s->kinds);
    add_kinds(s);
    add_clients(s, server);
    add_objects(s, server);
}

/* --- the text -------------------------------------------------------------------------------- */

static void put_text(struct buf *out, const char *text)
{
    buf_put(out, text, strlen(text));
}

/* The numbers stand in comments only where somebody is left out. */
static void put_left_out(struct buf *out, const char *what, size_t told, size_t all)
{
    char line[160];
    if (told == all)
        return;
    snprintf(line, sizeof line, "# %zu of %zu open %s are told of one by one.\n", told, all, what);
    put_text(out, line);
}

static void put_info(struct buf *out, const struct server *s)
{
    struct buf labels;
    buf_init(&labels, 4096);
    prom_head(out, "emmap_info", "gauge", "The daemon: node and version.");
    prom_label(&labels, 0, "node", span_text(s->options.node));
    prom_label(&labels, 0, "version", span_text(s->options.version));
    prom_sample(out, "emmap_info", span_of(labels.at, labels.len), 1, COUNT);
    buf_fini(&labels);
}

static void put_node(struct buf *out, const struct sheet *s, const struct server *server)
{
    const struct subject node = {.figures = &s->node};
    const struct subject queues = {.figures = &s->kinds[OBJECT_QUEUE]};
    const struct group kinds = {&s->labels, s->of_kinds, s->n_kinds};
    put_info(out, server);
    put_families(out, node_families, LENGTH(node_families), &(struct group){&s->labels, &node, 1});
    put_families(out, kind_families, LENGTH(kind_families), &kinds);
    put_histograms(out, "emmap_request_duration_seconds", &kinds);
    put_families(out, queues_families, LENGTH(queues_families),
                 &(struct group){&s->labels, &queues, 1});
}

static void put_clients(struct buf *out, const struct sheet *s)
{
    const struct group clients = {&s->labels, s->of_clients, s->n_clients};
    put_left_out(out, "connections", s->n_clients, s->all_clients);
    put_families(out, client_families, LENGTH(client_families), &clients);
    put_histograms(out, "emmap_client_request_duration_seconds", &clients);
}

static void put_objects(struct buf *out, const struct sheet *s)
{
    const struct group objects = {&s->labels, s->of_objects, s->n_objects};
    const struct group queues = {&s->labels, s->of_queues, s->n_queues};
    const struct group blocks = {&s->labels, s->of_blocks, s->n_blocks};
    put_left_out(out, "objects", s->n_objects, s->all_objects);
    put_families(out, object_families, LENGTH(object_families), &objects);
    put_histograms(out, "emmap_object_request_duration_seconds", &objects);
    put_families(out, queue_families, LENGTH(queue_families), &queues);
    put_families(out, blocks_families, LENGTH(blocks_families), &blocks);
}

enum err op_metrics(struct call *c)
{
    struct sheet *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_ENOMEM;
    fill(s, c->server);
    const size_t begin = reply_bytes_begin(c->out);
    put_node(c->out, s, c->server);
    put_clients(c->out, s);
    put_objects(c->out, s);
    reply_bytes_end(c->out, begin);
    buf_fini(&s->labels);
    free(s);
    return c->out->len - begin <= c->server->options.max_frame ? OK : ERR_MAX_FRAME;
}
