#include <inttypes.h>
#include <stdarg.h>

#include "proto/print.h"
#include "shell/map.h"
#include "shell/table.h"
#include "shell/units.h"
#include "shell/view.h"

/* --- tables of objects ------------------------------------------------------------------------ */

struct row {
    struct span info;
    struct span name;
    uint64_t weight;
};

static struct span shown_name(const struct view *v, struct span info)
{
    const struct span name = map_text(info, "name");
    const size_t dir = strlen(v->dir);
    if (name.len > dir + 1 && memcmp(name.at, v->dir, dir) == 0 && name.at[dir] == '/')
        return span_of(name.at + dir + 1, name.len - dir - 1);
    return name.len > 0 ? name : span_text("(memory)");
}

static uint64_t rate_of(const struct view *v, struct span info, enum sample_of what)
{
    uint64_t rate;
    return samples_rate(v->samples, info, what, v->now_ms, &rate) ? rate : 0;
}

/* The heaviest first, those of equal weight by their names. */
static int compare(const void *a, const void *b)
{
    const struct row *one = a;
    const struct row *other = b;
    if (one->weight != other->weight)
        return one->weight > other->weight ? -1 : 1;
    const size_t len = one->name.len < other->name.len ? one->name.len : other->name.len;
    const int by_name = len == 0 ? 0 : memcmp(one->name.at, other->name.at, len);
    return by_name != 0 ? by_name : one->name.len < other->name.len ? -1 : 1;
}

/* The objects of a list, of one kind unless that is NULL; *n of them. The caller frees. */
static struct row *rows_of(const struct view *v, struct span list, const char *kind, size_t *n)
{
    struct term t = term_in(list);
    const int all = term_list(&t);
    struct row *rows = calloc((size_t)all + 1, sizeof *rows);
    *n = 0;
    for (int i = 0; i < all && rows != NULL; i++) {
        const struct span info = term_any(&t);
        if (kind != NULL && !map_is(info, "kind", kind))
            continue;
        rows[(*n)++] = (struct row){.info = info, .name = shown_name(v, info)};
    }
    return rows;
}

static void sort(struct row *rows, size_t n)
{
    if (n > 0)
        qsort(rows, n, sizeof *rows, compare);
}

static void put_rate(struct table *t, const struct view *v, struct span info, enum sample_of what)
{
    uint64_t rate;
    if (samples_rate(v->samples, info, what, v->now_ms, &rate))
        table_count(t, rate);
    else
        table_put(t, "-");
}

static void list_row(struct table *t, struct span info)
{
    table_name(t, map_text(info, "kind"));
    table_bytes(t, map_number(info, "size"));
    table_count(t, map_number(info, "handles"));
    table_count(t, map_number(info, "ops"));
    table_count(t, map_number(info, "errors"));
    table_us(t, map_number(map_get(info, "latency_us"), "p99"));
    table_ms(t, map_number(info, "idle_ms"));
}

static void nothing_open(struct view *v, const char *what)
{
    print_text(v->out, "no %s is open\n", what);
}

void view_list(struct view *v, struct span reply)
{
    static const char *const headings[] = {"NAME",   "KIND", "SIZE", "HANDLES", "REQUESTS",
                                           "ERRORS", "P99",  "IDLE", NULL};
    size_t n;
    struct table t;
    struct row *rows = rows_of(v, reply, NULL, &n);
    table_init(&t, headings);
    sort(rows, n);
    for (size_t i = 0; i < n; i++) {
        table_name(&t, rows[i].name);
        list_row(&t, rows[i].info);
    }
    if (n == 0)
        nothing_open(v, "object");
    else
        table_print(&t, v->out, 2, v->columns);
    table_fini(&t);
    free(rows);
}

static void queue_row(struct table *t, const struct view *v, struct span info)
{
    const uint64_t oldest = map_number(info, "oldest_ms");
    table_count(t, map_number(info, "items"));
    table_count(t, map_number(info, "leased"));
    table_count(t, map_number(info, "buried"));
    table_count(t, map_number(info, "waiting"));
    if (oldest == 0)
        table_put(t, "-");
    else
        table_ms(t, oldest);
    put_rate(t, v, info, SAMPLE_PUSHED);
    put_rate(t, v, info, SAMPLE_POPPED);
    table_bytes(t, map_number(info, "file_size"));
}

void view_queues(struct view *v, struct span reply)
{
    static const char *const headings[] = {"NAME",   "ITEMS",  "LEASED", "BURIED",  "WAITING",
                                           "OLDEST", "PUSH/S", "POP/S",  "ON DISK", NULL};
    size_t n;
    struct table t;
    struct row *rows = rows_of(v, reply, "queue", &n);
    table_init(&t, headings);
    sort(rows, n);
    for (size_t i = 0; i < n; i++) {
        table_name(&t, rows[i].name);
        queue_row(&t, v, rows[i].info);
    }
    if (n == 0)
        nothing_open(v, "queue");
    else
        table_print(&t, v->out, 1, v->columns);
    table_fini(&t);
    free(rows);
    samples_take(v->samples, reply, v->now_ms);
}

static void top_row(struct table *t, const struct view *v, struct span info)
{
    table_name(t, map_text(info, "kind"));
    put_rate(t, v, info, SAMPLE_OPS);
    put_rate(t, v, info, SAMPLE_IN);
    put_rate(t, v, info, SAMPLE_OUT);
    table_count(t, map_number(info, "waiting"));
    table_us(t, map_number(map_get(info, "latency_us"), "p99"));
}

void view_top(struct view *v, struct span reply)
{
    static const char *const headings[] = {"NAME",  "KIND",    "REQUESTS/S", "BYTES IN/S",
                                           "OUT/S", "WAITING", "P99",        NULL};
    enum { OTHER_LINES = 3 };
    size_t n;
    struct table t;
    struct row *rows = rows_of(v, reply, NULL, &n);
    const size_t room = v->rows > OTHER_LINES ? v->rows - OTHER_LINES : 1;
    for (size_t i = 0; i < n; i++)
        rows[i].weight = rate_of(v, rows[i].info, SAMPLE_OPS);
    table_init(&t, headings);
    sort(rows, n);
    for (size_t i = 0; i < n && i < room; i++) {
        table_name(&t, rows[i].name);
        top_row(&t, v, rows[i].info);
    }
    print_text(v->out, "%zu open objects, the busiest first; a key ends this\n", n);
    table_print(&t, v->out, 2, v->columns);
    table_fini(&t);
    free(rows);
    samples_take(v->samples, reply, v->now_ms);
}

void view_sample(struct view *v, struct span reply)
{
    samples_take(v->samples, reply, v->now_ms);
}

/* --- one object ------------------------------------------------------------------------------ */

/* Parts of a sentence, separated by commas; a line that would be too long goes on in the next. */
static void put_part(struct view *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put_part(struct view *v, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const size_t column = print_column(v->out);
    if (column + strlen(text) + 3 > v->columns)
        print_text(v->out, ",\n          %s", text);
    else
        print_text(v->out, column > 10 ? ", %s" : "%s", text);
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static void put_use(struct view *v, struct span info)
{
    char text[UNITS_TEXT];
    const uint64_t handles = map_number(info, "handles");
    const uint64_t nodes = map_number(info, "clients");
    const uint64_t errors = map_number(info, "errors");
    put_part(v, "%" PRIu64 " handle%s from %" PRIu64 " node%s", handles, plural(handles), nodes,
             plural(nodes));
    put_part(v, "%s operations", units_count(text, map_number(info, "ops")));
    put_part(v, "p99 %s", units_us(text, map_number(map_get(info, "latency_us"), "p99")));
    if (errors > 0)
        put_part(v, "%s errors", units_count(text, errors));
    if (map_is(info, "read_only", "true"))
        put_part(v, "read-only");
    if (map_is(info, "detached", "true"))
        put_part(v, "its file has lost the name");
    print_text(v->out, "\n");
}

static void put_counters(struct view *v, struct span info)
{
    print_text(v->out, "counters  ");
    put_part(v, "%" PRIu64 " x 64 bit", map_number(info, "count"));
}

static void put_blocks(struct view *v, struct span info)
{
    char text[UNITS_TEXT];
    print_text(v->out, "blocks    ");
    put_part(v, "%" PRIu64 " of %" PRIu64 " bytes", map_number(info, "blocks"),
             map_number(info, "block_size"));
    put_part(v, "%" PRIu64 " free", map_number(info, "free"));
    put_part(v, "%s", units_bytes(text, map_number(info, "size")));
}

static void put_region(struct view *v, struct span info)
{
    char text[UNITS_TEXT];
    print_text(v->out, "region    ");
    put_part(v, "%s", units_bytes(text, map_number(info, "size")));
    put_part(v, "%s written", units_bytes(text, map_number(info, "bytes_in")));
    put_part(v, "%s read", units_bytes(text, map_number(info, "bytes_out")));
}

static void put_state(struct view *v, struct span info, const char *key)
{
    const uint64_t n = map_number(info, key);
    if (n > 0)
        put_part(v, "%" PRIu64 " %s", n, key);
}

static void put_queue(struct view *v, struct span info)
{
    static const char *const states[] = {"ready",   "leased", "delayed", "buried",
                                         "waiting", "dead",   "dropped", "damaged"};
    char text[UNITS_TEXT];
    const uint64_t oldest = map_number(info, "oldest_ms");
    print_text(v->out, "queue     ");
    put_part(v, "%" PRIu64 " items", map_number(info, "items"));
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        put_state(v, info, states[i]);
    if (oldest > 0)
        put_part(v, "the oldest %s", units_ms(text, oldest));
    put_part(v, "%s on disk", units_bytes(text, map_number(info, "file_size")));
}

static void put_name_part(struct view *v, struct span info, const char *key)
{
    const struct span name = map_text(info, key);
    if (name.len == 0 || map_is(info, key, "none"))
        return;
    put_part(v, "%s \"", key);
    print_name(v->out, name);
    print_text(v->out, "\"");
}

/* What has been set for the queue; nothing where nothing was. */
static void put_settings(struct view *v, struct span info)
{
    static const char *const bounds[] = {"max_items", "max_bytes", "lease_ms", "max_attempts"};
    const size_t begin = v->out->len;
    print_text(v->out, "          ");
    const size_t head = v->out->len;
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        if (map_number(info, bounds[i]) > 0)
            put_part(v, "%s %" PRIu64, bounds[i], map_number(info, bounds[i]));
    if (map_is(info, "overflow", "drop_head"))
        put_part(v, "overflow drop_head");
    put_name_part(v, info, "registered");
    put_name_part(v, info, "dead_letter");
    if (v->out->len == head && !v->out->failed)
        buf_cut(v->out, begin);
    else
        print_text(v->out, "\n");
}

void view_object(struct view *v, struct span reply)
{
    const bool queue = map_is(reply, "kind", "queue");
    if (queue)
        put_queue(v, reply);
    else if (map_is(reply, "kind", "counters"))
        put_counters(v, reply);
    else if (map_is(reply, "kind", "blocks"))
        put_blocks(v, reply);
    else
        put_region(v, reply);
    if (!map_is(reply, "durability", "default"))
        put_part(v, "durable");
    put_use(v, reply);
    if (queue)
        put_settings(v, reply);
}
