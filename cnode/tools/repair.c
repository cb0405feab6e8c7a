/* repair --to NEW FILE: a new file with all that is whole in FILE, which stays as it is. NEW is
 * written without a name, looked through as any file, synced, and only then linked: it is there
 * complete, or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "proto/print.h"
#include "store/block.h"
#include "store/counter.h"
#include "store/format.h"
#include "store/journal.h"
#include "store/rebuild.h"
#include "sys/guard.h"
#include "sys/os.h"
#include "tools/check.h"
#include "tools/fresh.h"
#include "tools/progress.h"

struct repair {
    struct look look;
    struct check check;
    struct check_counts counts;
    struct progress progress;
    struct out out;

    const char *to;
    struct fresh fresh;

    struct rebuild_plan plan;
    struct rebuild rebuild;
    struct object store;  /* blocks */
    enum err failed;      /* to make it */
    uint64_t made;        /* things in the new file */
    uint8_t buffer[4096]; /* of counters */
    size_t buffered;
    uint64_t written;
    bool opened; /* a store was found to repair */
};

/* --- what is found on the way ---------------------------------------------------------------- */

static void found(void *arg, const struct check_finding *f)
{
    struct repair *r = arg;
    progress_end(&r->progress);
    check_line(&r->out, &r->look, f);
}

static void progress(void *arg, uint64_t done, uint64_t all)
{
    struct repair *r = arg;
    progress_at(&r->progress, done, all);
}

/* --- a queue --------------------------------------------------------------------------------- */

static void plan_queue(void *arg, struct object *o)
{
    struct repair *r = arg;
    r->opened = true;
    rebuild_plan_for(&r->plan, o);
}

static enum err plan_item(void *arg, const struct check_item *item)
{
    struct repair *r = arg;
    rebuild_plan_item(&r->plan, item);
    return OK;
}

static enum err put_item(void *arg, const struct check_item *item)
{
    struct repair *r = arg;
    const enum err e = rebuild_item(&r->rebuild, &r->plan, item);
    r->made += e == OK;
    return e;
}

/* Damage has been told by the first look. */
static enum err look_again(struct repair *r, struct check *c)
{
    c->found = NULL;
    c->counts = NULL;
    const enum err e = check_file(r->look.fd, c);
    return e == ERR_DAMAGED && r->counts.damages > 0 ? OK : e;
}

static enum err repair_queue(struct repair *r)
{
    struct check c = r->check;
    int fd = -1;
    c.item = put_item;
    rebuild_plan_end(&r->plan);
    enum err e = fresh_descriptor(&r->fresh, &fd);
    if (e == OK)
        e = rebuild_open(&r->rebuild, fd, &r->plan, c.now_ms);
    if (e == OK)
        e = look_again(r, &c);
    if (e == OK)
        e = rebuild_close(&r->rebuild, &r->plan);
    if (fd >= 0)
        rebuild_drop(&r->rebuild);
    return e;
}

/* --- blocks ---------------------------------------------------------------------------------- */

static enum err put_block(void *arg, uint64_t a, struct span bytes)
{
    struct repair *r = arg;
    const enum err e = r->failed == OK ? block_put(&r->store, a, bytes.at) : r->failed;
    r->made += e == OK;
    return e;
}

static void copy_header(void *arg, struct object *o)
{
    struct repair *r = arg;
    struct block_header h = {.created = 0};
    uint32_t size = block_size(o);
    char why[BLOCK_WHY];
    (void)guard_copy(&h, o->map.at, sizeof h);
    r->failed = block_init(&r->store, &size, h.created, why);
}

static void note_store(void *arg, struct object *o)
{
    struct repair *r = arg;
    (void)o;
    r->opened = true;
}

static enum err repair_blocks(struct repair *r)
{
    struct check c = r->check;
    int fd = -1;
    const uint64_t size = (uint64_t)r->look.st.st_size;
    enum err e = os.allocate(r->fresh.file.fd, 0, (off_t)size) == 0
                     ? fresh_descriptor(&r->fresh, &fd)
                     : err_last();
    if (e == OK)
        e = map_open(&r->store.map, fd, size, true, MAP_OF_FILE);
    if (e != OK)
        return e;
    r->store.kind = OBJECT_BLOCKS;
    c.store = copy_header;
    c.block = put_block;
    e = look_again(r, &c);
    object_close(&r->store);
    return e;
}

/* --- counters and plain bytes ---------------------------------------------------------------- */

static enum err write_buffered(struct repair *r)
{
    const size_t n = r->buffered;
    r->buffered = 0;
    if (os_write_all(r->fresh.file.fd, r->buffer, n, (off_t)r->written) != 0)
        return err_last();
    r->written += n;
    return OK;
}

static enum err write_some(struct repair *r, const void *bytes, size_t n)
{
    enum err e = r->buffered + n > sizeof r->buffer ? write_buffered(r) : OK;
    memcpy(r->buffer + r->buffered, bytes, n);
    r->buffered += n;
    return e;
}

static enum err put_counter(void *arg, uint64_t i, int64_t v)
{
    struct repair *r = arg;
    uint8_t word[8];
    (void)i;
    put_le64(word, (uint64_t)v);
    r->made++;
    return write_some(r, word, sizeof word);
}

static enum err put_region(void *arg, uint64_t at, struct span bytes)
{
    const struct repair *r = arg;
    return new_file_write(&r->fresh.file, bytes.at, bytes.len, at);
}

static enum err copy(struct repair *r)
{
    struct check c = r->check;
    uint8_t header[COUNTER_HEADER];
    enum err e = OK;
    c.counter = put_counter;
    c.bytes = put_region;
    counter_header(r->counts.things, header);
    if (r->look.kind == FILE_COUNTERS)
        e = write_some(r, header, sizeof header);
    else if (os.truncate(r->fresh.file.fd, r->look.st.st_size) != 0)
        e = err_last();
    if (e == OK)
        e = look_again(r, &c);
    return e == OK ? write_buffered(r) : e;
}

/* --- all of it ------------------------------------------------------------------------------- */

static enum err fill(struct repair *r)
{
    switch (r->look.kind) {
    case FILE_QUEUE: return repair_queue(r);
    case FILE_BLOCKS: return repair_blocks(r);
    default: return copy(r);
    }
}

/* It is what we say, or it gets no name. */
static enum err verify(const struct repair *r)
{
    struct check_counts counts = {.things = 0};
    const struct check c = {.length = r->check.length,
                            .kind = &r->look.kind,
                            .now_ms = r->check.now_ms,
                            .counts = &counts};
    const enum err e = check_file(r->fresh.file.fd, &c);
    const bool same = counts.things == r->counts.things && r->made == r->counts.things;
    return e == OK && !same ? ERR_EIO : e;
}

static int make(struct repair *r)
{
    enum err e = fill(r);
    if (e == OK)
        e = verify(r);
    const int exit_code = e == OK ? fresh_keep(&r->fresh) : fresh_fail(r->to, e);
    progress_end(&r->progress);
    if (exit_code != TOOL_DONE)
        return exit_code;
    print_name(&r->out.line, span_text(r->to));
    print_text(
        &r->out.line, ": %s, %" PRIu64 " kept, %" PRIu64 " lost\n", file_kind_name(r->look.kind),
        r->look.kind == FILE_REGION ? (uint64_t)r->look.st.st_size : r->made, r->counts.lost);
    out_flush(&r->out);
    return TOOL_DONE;
}

/* What is to be had: told, and counted. */
static int survey(struct repair *r)
{
    struct check *c = &r->check;
    struct check first;
    c->arg = r;
    c->found = found;
    c->progress = progress;
    c->behind = true;
    c->counts = &r->counts;
    first = *c;
    first.store = r->look.kind == FILE_QUEUE ? plan_queue : note_store;
    first.item = plan_item;
    const enum err e = check_file(r->look.fd, &first);
    progress_end(&r->progress);
    if (e != OK && e != ERR_DAMAGED)
        return check_end(&r->look, e);
    const bool is_store = r->look.kind == FILE_QUEUE || r->look.kind == FILE_BLOCKS;
    if (is_store && !r->opened)
        return tool_say(TOOL_REFUSED, r->look.path, "nothing of it can be read any more");
    return TOOL_DONE;
}

static int run(struct repair *r)
{
    if (r->look.kind == FILE_JOURNAL)
        return tool_say(TOOL_FAILED, r->look.path, "for a journal there is repair-journal");
    if (r->look.kind == FILE_NIF_QUEUE)
        return tool_say(TOOL_FAILED, r->look.path,
                        "a queue of the NIF library is converted, not repaired");
    int exit_code = fresh_open(&r->fresh, r->to, &r->look.st);
    if (exit_code == TOOL_DONE)
        exit_code = survey(r);
    if (exit_code == TOOL_DONE)
        exit_code = make(r);
    fresh_drop(&r->fresh);
    return exit_code;
}

int tool_repair(const struct tool_call *call)
{
    struct repair r = {.to = tool_value(call, "to"), .fresh.file.fd = -1, .store.map.fd = -1};
    if (r.to == NULL)
        return tool_misused(call, "--to", "the new file is missing");
    int exit_code = check_open(&r.look, call, call->arguments[0], &r.check);
    if (exit_code != TOOL_DONE)
        return exit_code;
    out_init(&r.out, false, OUT_LINE);
    progress_begin(&r.progress, r.look.path, progress_clock);
    exit_code = run(&r);
    progress_end(&r.progress);
    out_fini(&r.out);
    look_close(&r.look);
    return exit_code;
}
