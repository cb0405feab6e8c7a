#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#include "proto/term.h"
#include "store/block.h"
#include "store/convert.h"
#include "store/nif_blocks.h"
#include "sys/os.h"
#include "tools/fresh.h"
#include "tools/look.h"
#include "tools/progress.h"

/* A file of the NIF library is read twice: once to see whether it is one, then for a new file of
 * ours beside it, which gets its name last. The old one is only read. */

enum { LEVELS = 3 /* as the library is built if nobody asks for another number */ };

static uint64_t ms_of(struct timespec t)
{
    return t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ms_of(t);
}

/* It may not change meanwhile. Only programs that lock what they use can be told from none. */
static int open_old(struct look *l, const char *path)
{
    char what[200];
    const int exit_code = look_open(l, path, true);
    if (exit_code != TOOL_DONE)
        return exit_code;
    if (!l->in_use && os.lock_shared(l->fd) == 0)
        return TOOL_DONE;
    if (!l->in_use && errno != EAGAIN)
        snprintf(what, sizeof what, "%s", strerror(errno));
    else
        snprintf(what, sizeof what, "%s has it open; close it there first",
                 l->owner[0] != '\0' ? l->owner : "a daemon or another program");
    look_close(l);
    return tool_say(TOOL_FAILED, path, what);
}

/* --- queues ----------------------------------------------------------------------------------- */

static const char *why_no_queue(const struct look *l)
{
    switch (l->kind) {
    case FILE_COUNTERS:
        return "counters of the NIF library are such as ours already: open them as they are";
    case FILE_REGION:
        return "no queue of the NIF library; its block stores need --blocks, regions are such as "
               "ours already";
    default: return "it is one of emmapd's own files already";
    }
}

static int fill_queue(const struct look *old, const char *path, int fd, uint64_t *n)
{
    const uint64_t now = now_ms();
    const uint64_t changed = ms_of(old->st.st_mtim);
    struct object queue;
    struct nif_queue items;
    enum err e = nif_queue_open(&items, old->fd, term_check);
    if (e != OK) {
        os.close(fd);
        return tool_say(TOOL_FAILED, old->path, err_text(e));
    }
    e = convert_into(&queue, fd, &items, path, changed < now ? changed : now, now, n);
    nif_queue_close(&items);
    map_close(&queue.map);
    if (e != OK)
        return tool_say(e == ERR_MAX_FRAME ? TOOL_REFUSED : TOOL_FAILED, path, err_text(e));
    return TOOL_DONE;
}

static int convert_queue(const struct look *old, const char *path)
{
    struct fresh f;
    uint64_t n = 0;
    int fd;
    if (old->kind != FILE_NIF_QUEUE)
        return tool_say(TOOL_REFUSED, old->path, why_no_queue(old));
    int exit_code = fresh_open(&f, path, &old->st);
    if (exit_code != TOOL_DONE)
        return exit_code;
    const enum err e = fresh_descriptor(&f, &fd);
    exit_code = e == OK ? fill_queue(old, path, fd, &n) : fresh_fail(path, e);
    if (exit_code == TOOL_DONE)
        exit_code = fresh_keep(&f);
    fresh_drop(&f);
    if (exit_code == TOOL_DONE)
        printf("%s: a queue of %" PRIu64 " items\n", path, n);
    return exit_code;
}

/* --- blocks ----------------------------------------------------------------------------------- */

struct blocks_job {
    const struct look *old;
    const char *path;
    struct nif_blocks blocks;
    struct object store;
    uint64_t places; /* as far as blocks are stored */
    uint64_t count;
    struct progress progress;
    const char *map_path; /* NULL: none */
    FILE *map;
};

static int fail_old(const struct blocks_job *j, enum err e)
{
    const bool known = e == ERR_NOT_BLOCKS || e == ERR_DAMAGED;
    char what[200];
    if (!known)
        return tool_say(TOOL_FAILED, j->old->path, err_text(e));
    snprintf(what, sizeof what, "no block store of the NIF library with %u levels: %s",
             j->blocks.levels, j->blocks.why);
    return tool_say(TOOL_REFUSED, j->old->path, what);
}

/* The first reading. */
static int measure(struct blocks_job *j)
{
    struct nif_block block;
    enum err e;
    while ((e = nif_blocks_next(&j->blocks, &block)) == OK) {
        j->places = block.place + 1;
        j->count++;
    }
    return e == ERR_EMPTY ? TOOL_DONE : fail_old(j, e);
}

static enum err store_one(struct blocks_job *j, const struct nif_block *block)
{
    progress_at(&j->progress, block->place, j->places);
    if (j->map != NULL)
        fprintf(j->map, "%" PRIu64 " %" PRIu64 "\n", block->address, block->place);
    return block_put(&j->store, block->place, block->bytes.at);
}

/* The second. A file that has changed since the first is refused as any that does not fit. */
static int store_all(struct blocks_job *j)
{
    struct nif_block block;
    enum err bad = OK;
    enum err e;
    nif_blocks_rewind(&j->blocks);
    progress_begin(&j->progress, j->path, progress_clock);
    while ((e = nif_blocks_next(&j->blocks, &block)) == OK && bad == OK)
        bad = block.place < j->places ? store_one(j, &block) : ERR_STALE;
    progress_end(&j->progress);
    if (bad == ERR_STALE)
        return tool_say(TOOL_FAILED, j->old->path, "it changes meanwhile; stop what uses it");
    if (bad != OK)
        return tool_say(TOOL_FAILED, j->path, err_text(bad));
    return e == ERR_EMPTY ? TOOL_DONE : fail_old(j, e);
}

static enum err open_store(struct blocks_job *j, int fd)
{
    char why[BLOCK_WHY];
    uint32_t size = j->blocks.size;
    j->store = (struct object){.kind = OBJECT_BLOCKS};
    enum err e = map_open(&j->store.map, fd, 0, true, MAP_OF_FILE);
    if (e == OK)
        e = block_init(&j->store, &size, now_ms(), why);
    return e == OK ? block_reserve(&j->store, j->places) : e;
}

static int open_map(struct blocks_job *j)
{
    if (j->map_path == NULL)
        return TOOL_DONE;
    const bool to_output = strcmp(j->map_path, "-") == 0;
    j->map = to_output ? stdout : fopen(j->map_path, "wxe");
    if (j->map != NULL)
        return TOOL_DONE;
    return tool_say(errno == EEXIST ? TOOL_REFUSED : TOOL_FAILED, j->map_path, strerror(errno));
}

/* Complete, before the new file has its name; without the new file there is no map of it, either.
 */
static int close_map(struct blocks_job *j, int exit_code)
{
    if (j->map == NULL)
        return exit_code;
    bool bad = fflush(j->map) != 0 || ferror(j->map) != 0;
    if (j->map != stdout)
        bad = fclose(j->map) != 0 || bad;
    if (bad && exit_code == TOOL_DONE)
        exit_code = tool_say(TOOL_FAILED, j->map_path, strerror(errno));
    return exit_code;
}

static void drop_map(const struct blocks_job *j)
{
    if (j->map != NULL && j->map != stdout)
        (void)os.unlink(AT_FDCWD, j->map_path);
}

static int fill_store(struct blocks_job *j, int fd)
{
    enum err e = open_store(j, fd);
    if (e != OK)
        return tool_say(TOOL_FAILED, j->path, err_text(e));
    int exit_code = open_map(j);
    if (exit_code != TOOL_DONE)
        return exit_code;
    exit_code = store_all(j);
    if (exit_code == TOOL_DONE && object_sync(&j->store) != OK)
        exit_code = tool_say(TOOL_FAILED, j->path, err_text(ERR_EIO));
    return close_map(j, exit_code);
}

static int make_store(struct blocks_job *j)
{
    struct fresh f;
    int fd;
    int exit_code = fresh_open(&f, j->path, &j->old->st);
    if (exit_code != TOOL_DONE)
        return exit_code;
    const enum err e = fresh_descriptor(&f, &fd);
    exit_code = e == OK ? fill_store(j, fd) : fresh_fail(j->path, e);
    object_close(&j->store);
    if (exit_code == TOOL_DONE)
        exit_code = fresh_keep(&f);
    if (exit_code != TOOL_DONE)
        drop_map(j);
    fresh_drop(&f);
    if (exit_code == TOOL_DONE && j->map != stdout)
        printf("%s: a block store with %" PRIu64 " blocks of %" PRIu32 " bytes\n"
               "the old addresses, with their digits to the base of 64 in reverse order, are the "
               "new ones\n",
               j->path, j->count, j->blocks.size);
    return exit_code;
}

static int convert_blocks(struct blocks_job *j, unsigned levels, bool lowest_only)
{
    enum err e = nif_blocks_open(&j->blocks, j->old->fd, levels);
    j->blocks.lowest_only = lowest_only;
    int exit_code = e == OK ? measure(j) : fail_old(j, e);
    if (exit_code == TOOL_DONE)
        exit_code = make_store(j);
    nif_blocks_close(&j->blocks);
    return exit_code;
}

/* --- the tool --------------------------------------------------------------------------------- */

static bool is_for_blocks(const struct tool_call *call)
{
    static const char *const options[] = {"levels", "lowest-only", "map"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (tool_value(call, options[i]) != NULL)
            return true;
    return false;
}

int tool_convert(const struct tool_call *call)
{
    const char *path = call->arguments[1];
    const bool blocks = tool_value(call, "blocks") != NULL;
    uint64_t levels = LEVELS;
    struct look old;
    if (!tool_number(call, "levels", 1, NIF_LEVELS_MOST, &levels))
        return TOOL_FAILED;
    if (!blocks && is_for_blocks(call))
        return tool_say(TOOL_FAILED, "convert", "the other options are for --blocks");
    int exit_code = open_old(&old, call->arguments[0]);
    if (exit_code != TOOL_DONE)
        return exit_code;
    struct blocks_job j = {
        .old = &old, .path = path, .store.map.fd = -1, .map_path = tool_value(call, "map")};
    exit_code = blocks
                    ? convert_blocks(&j, (unsigned)levels, tool_value(call, "lowest-only") != NULL)
                    : convert_queue(&old, path);
    look_close(&old);
    return exit_code;
}
