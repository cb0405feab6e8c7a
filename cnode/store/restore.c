#include "store/restore.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/block.h"
#include "store/check.h"
#include "store/counter.h"
#include "store/journal.h"
#include "store/new_file.h"
#include "store/ownership.h"
#include "store/queue.h"
#include "sys/guard.h"
#include "sys/os.h"

/* --- the copy -------------------------------------------------------------------------------- */

/* What a journal has of it is stored there first, so it is opened for writing where that can be. */
static enum err open_source(const struct restoring *r, int *fd)
{
    enum err e = path_open(r->paths, r->from, O_RDWR, fd);
    return e == ERR_EACCES || e == ERR_EROFS ? path_open(r->paths, r->from, O_RDONLY, fd) : e;
}

/* Nobody changes it meanwhile who would have to have it alone. */
static enum err hold_source(struct restoring *r, int fd)
{
    struct opening o = {.path = r->from, .kind = OBJECT_REGION, .sharing = MAP_OF_FILE, .fd = fd};
    enum err e = ownership_check(r->paths, &o);
    if (e == OK)
        e = ownership_lock(&o, false);
    memcpy(r->owner, o.owner, sizeof r->owner);
    return e == OK ? journal_claim(r->journal, fd, r->needs) : e;
}

static enum err copy_bytes(int fd, uint64_t size, const struct new_file *to)
{
    uint8_t bytes[64 << 10];
    if (os.truncate(to->fd, (off_t)size) != 0)
        return err_last();
    for (uint64_t pos = 0; pos < size; pos += sizeof bytes) {
        const size_t len = size - pos < sizeof bytes ? (size_t)(size - pos) : sizeof bytes;
        const ssize_t n = os_read_all(fd, bytes, len, (off_t)pos);
        if (n < 0)
            return err_last();
        enum err e = (size_t)n == len ? new_file_write(to, bytes, len, pos) : ERR_EIO;
        if (e != OK)
            return e;
    }
    return OK;
}

/* --- is it whole? ---------------------------------------------------------------------------- */

/* The first that is damaged. */
static void note(void *arg, const struct check_finding *f)
{
    struct restoring *r = arg;
    if (!f->damage || r->why[0] != '\0')
        return;
    if (f->id == CHECK_NONE)
        snprintf(r->why, sizeof r->why, "%s", f->what);
    else
        snprintf(r->why, sizeof r->why, "%" PRIu64 ": %s", f->id, f->what);
}

/* Everything that is in a queue or a block store: an opening would pass damaged items over. What
 * cannot be looked through the opening refuses. */
static enum err look_through(struct restoring *r, int fd)
{
    enum file_kind kind;
    const struct check c = {
        .kind = &kind, .alone = true, .now_ms = r->now_ms, .arg = r, .found = note};
    enum err e = file_kind(fd, NULL, &kind);
    if (e == OK && (kind == FILE_QUEUE || kind == FILE_BLOCKS))
        e = check_file(fd, &c);
    return e == ERR_ENOTSUP ? OK : e;
}

/* Recovered and ended in order, as if it had been opened and closed. */
static enum err try_queue(struct object *o, struct restoring *r)
{
    enum err e = queue_open(o, &queue_limits, r->to, r->now_ms, r->why);
    if (e != OK)
        return e;
    queue_close(o);
    return o->failed ? ERR_EIO : OK;
}

static enum err try_blocks(struct object *o, struct restoring *r)
{
    o->unclean = true; /* so it is walked: a copy does not tell how the store was left */
    enum err e = block_open(o, r->why);
    while (e == OK && block_walks(o))
        block_walk(o);
    if (e == OK && o->unclean)
        e = ERR_EIO;
    block_close(o);
    return e == OK && map_sync(&o->map) != OK ? ERR_EIO : e;
}

/* What does not begin as counters do is bytes. */
static enum err check_bytes(const struct object *o, struct restoring *r)
{
    uint8_t header[COUNTER_HEADER];
    uint64_t n;
    counter_header(0, header);
    if (o->map.size < sizeof r->header)
        return OK;
    if (!guard_copy(r->header, o->map.at, sizeof r->header))
        return ERR_EIO;
    const bool is_counters = memcmp(r->header, header, sizeof r->header) == 0;
    return is_counters ? counter_count(&o->map, &n) : OK;
}

static enum err check(struct restoring *r, struct new_file *f, uint64_t size)
{
    _Static_assert(sizeof r->why >= QUEUE_WHY && sizeof r->why >= BLOCK_WHY, "queue.h, block.h");
    struct object o = {.kind = OBJECT_QUEUE};
    const int fd = f->fd;
    f->fd = -1; /* the map's, and closed where it fails */
    enum err e = map_open(&o.map, fd, size, true, MAP_OF_FILE);
    if (e != OK)
        return e;
    e = queue_is_one(&o.map)     ? try_queue(&o, r)
        : block_is_store(&o.map) ? try_blocks(&o, r)
                                 : check_bytes(&o, r);
    f->fd = o.map.fd;
    o.map.fd = -1;
    map_close(&o.map);
    return e;
}

static enum err make(struct restoring *r, int fd)
{
    struct new_file f;
    struct stat st;
    if (os.fstat(fd, &st) != 0)
        return err_last();
    const uint64_t size = (uint64_t)st.st_size;
    enum err e = new_file_begin(&f, r->paths, r->to, st.st_mode & 0777, r->any_file_system);
    if (e != OK)
        return e;
    e = copy_bytes(fd, size, &f);
    if (e == OK)
        e = look_through(r, f.fd);
    if (e == OK)
        e = check(r, &f, size);
    if (e != OK) {
        new_file_drop(&f);
        return e;
    }
    e = new_file_end(&f);
    if (e == OK)
        os.close(f.fd);
    return e;
}

enum err restore(struct restoring *r)
{
    int fd = -1;
    enum err e = open_source(r, &fd);
    if (e != OK)
        return e;
    e = hold_source(r, fd);
    if (e == OK)
        e = make(r, fd);
    os.close(fd);
    return e;
}
