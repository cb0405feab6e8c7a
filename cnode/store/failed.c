#include "store/failed.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "store/put.h"
#include "store/queue.h"
#include "sys/guard.h"
#include "sys/log.h"
#include "sys/os.h"

static const char *kind_of(const struct object *o)
{
    switch (o->kind) {
    case OBJECT_COUNTERS: return "counters";
    case OBJECT_QUEUE: return "queue";
    default: return "region";
    }
}

static const char *name_of(const struct object *o)
{
    const char *name = o->queue != NULL ? queue_name(o) : o->name;
    return name == NULL ? "" : name;
}

/* --- files of which the disk may not have all --------------------------------------------------
 */

/* The mark is an attribute of the file; where that cannot be set, the file is in this list, as long
 * as the daemon lives. */
static const char mark[] = "user.emmap.failed";

struct marked {
    dev_t dev;
    ino_t ino;
};

static struct {
    pthread_mutex_t mutex;
    struct marked *list;
    size_t n;
} unmarkable = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static size_t place_of(dev_t dev, ino_t ino)
{
    size_t i = 0;
    while (i < unmarkable.n && (unmarkable.list[i].dev != dev || unmarkable.list[i].ino != ino))
        i++;
    return i;
}

static bool add(struct marked file)
{
    struct marked *list = reallocarray(unmarkable.list, unmarkable.n + 1, sizeof *list);
    if (list == NULL)
        return false;
    list[unmarkable.n++] = file;
    unmarkable.list = list;
    return true;
}

static void remember(int fd)
{
    struct stat st;
    bool known = false;
    if (os.fstat(fd, &st) == 0) {
        pthread_mutex_lock(&unmarkable.mutex);
        known = place_of(st.st_dev, st.st_ino) < unmarkable.n ||
                add((struct marked){.dev = st.st_dev, .ino = st.st_ino});
        pthread_mutex_unlock(&unmarkable.mutex);
    }
    if (!known)
        log_error("a file that could not be synced can neither be marked nor remembered");
}

static bool is_remembered(const struct object *o)
{
    pthread_mutex_lock(&unmarkable.mutex);
    const bool is = place_of(o->dev, o->ino) < unmarkable.n;
    pthread_mutex_unlock(&unmarkable.mutex);
    return is;
}

static void forget(const struct object *o)
{
    pthread_mutex_lock(&unmarkable.mutex);
    const size_t i = place_of(o->dev, o->ino);
    if (i < unmarkable.n)
        unmarkable.list[i] = unmarkable.list[--unmarkable.n];
    if (unmarkable.n == 0) {
        free(unmarkable.list);
        unmarkable.list = NULL;
    }
    pthread_mutex_unlock(&unmarkable.mutex);
}

void failed_mark(int fd, const char *why)
{
    if (os.set_attribute(fd, mark, why, strlen(why)) != 0)
        remember(fd);
}

/* An attribute that cannot be read may be there. */
static bool is_marked(const struct object *o)
{
    return is_remembered(o) || os.get_attribute(o->map.fd, mark, NULL, 0) >= 0 ||
           (errno != ENODATA && errno != ENOTSUP);
}

/* The mark that a crash lets stay costs the next opening a sync, no more. */
static void remove_mark(const struct object *o)
{
    forget(o);
    if (os.remove_attribute(o->map.fd, mark) != 0 && errno != ENODATA && errno != ENOTSUP)
        log_warning("%s \"%s\": cannot remove its attribute %s: %s", kind_of(o), name_of(o), mark,
                    strerrordesc_np(errno));
}

/* --- failures ----------------------------------------------------------------------------------
 */

enum err object_page_failed(struct object *o)
{
    if (!atomic_exchange(&o->failed, true))
        log_error(
            "%s \"%s\": a page of the file cannot be used (SIGBUS: the file was cut, the disk "
            "cannot read it or is full); read-only until it is opened again",
            kind_of(o), name_of(o));
    return ERR_EIO;
}

enum err object_sync_failed(struct object *o)
{
    const struct os_failure f = os_failure();
    const char *why = strerrordesc_np(f.number);
    if (o->map.sharing == MAP_OF_FILE)
        failed_mark(o->map.fd, why);
    if (!atomic_exchange(&o->failed, true))
        log_error("%s \"%s\": %s: %s; read-only until it is opened again", kind_of(o), name_of(o),
                  f.call, why);
    return ERR_EIO;
}

static bool is_of_the_disk(enum err e)
{
    return e == ERR_ENOSPC || e == ERR_EDQUOT || e == ERR_EFBIG || e == ERR_EIO || e == ERR_EROFS;
}

enum err object_grown(struct object *o, enum err e)
{
    const struct os_failure f = os_failure();
    if (is_of_the_disk(e) && !o->cannot_grow && !o->failed)
        log_warning("%s \"%s\": %s: %s; it cannot grow", kind_of(o), name_of(o), f.call,
                    strerrordesc_np(f.number));
    o->cannot_grow = is_of_the_disk(e);
    return e;
}

/* --- the next opening ------------------------------------------------------------------------- */

enum { PAGE = 4096, PIECE = 1 << 20 };

/* A queue has stored again what it trusts. */
static enum err store_again(struct object *o)
{
    enum err e = OK;
    for (uint64_t pos = 0; o->kind != OBJECT_QUEUE && e == OK && pos < o->map.size; pos += PAGE)
        e = put_again(o, pos);
    return e == OK ? OK : object_page_failed(o);
}

/* One piece of the mapping, up to the end of its last page, past the cache. What others store
 * meanwhile makes its page dirty, and that page then stays and is written later. */
static enum err write_past_cache(struct object *o, uint64_t pos, size_t len, void *buffer)
{
    if (!guard_copy(buffer, o->map.at + pos, len))
        return object_page_failed(o);
    if (os.write_direct(o->map.fd, buffer, len, (off_t)pos) != (ssize_t)len) {
        (void)os_error("pwrite");
        return object_sync_failed(o);
    }
    if (pos + len > o->map.size && os.truncate(o->map.fd, (off_t)o->map.size) != 0)
        return os_error("ftruncate");
    return OK;
}

/* The next range within the mapping; 0 without, or where the file system does not know such. */
static int next_unwritten(const struct object *o, uint64_t from, uint64_t *pos, uint64_t *len)
{
    const uint64_t end = align_up(o->map.size, PAGE);
    off_t at;
    off_t n;
    const int found = os.next_unwritten(o->map.fd, (off_t)from, &at, &n);
    if (found <= 0 || (uint64_t)at >= end)
        return found < 0 && errno != ENOTSUP ? -1 : 0;
    *pos = (uint64_t)at;
    *len = (uint64_t)n < end - *pos ? (uint64_t)n : end - *pos;
    return 1;
}

static enum err write_range(struct object *o, uint64_t pos, uint64_t len, void *buffer)
{
    enum err e = OK;
    for (uint64_t done = 0; e == OK && done < len; done += PIECE)
        e = write_past_cache(o, pos + done, len - done < PIECE ? (size_t)(len - done) : PIECE,
                             buffer);
    return e;
}

/* ext4 forgets, where the first write of an allocated block has failed, that it is unwritten still:
 * a later one through the cache goes to the disk, but the file keeps saying zeros there. After the
 * sync nothing that was stored is unwritten, unless that has happened. */
static enum err write_unwritten(struct object *o, bool *any)
{
    uint64_t pos = 0;
    uint64_t len = 0;
    int found = 0;
    enum err e = OK;
    void *buffer = aligned_alloc(PAGE, PIECE);
    if (buffer == NULL)
        return ERR_ENOMEM;
    while (e == OK && (found = next_unwritten(o, pos + len, &pos, &len)) > 0) {
        *any = true;
        e = write_range(o, pos, len, buffer);
    }
    if (e == OK && found < 0)
        e = os_error("FS_IOC_FIEMAP");
    free(buffer);
    return e;
}

static enum err store_on_disk(struct object *o)
{
    bool any = false;
    enum err e = store_again(o);
    if (e == OK && map_sync(&o->map) != OK)
        e = object_sync_failed(o);
    if (e == OK)
        e = write_unwritten(o, &any);
    if (e == OK && any && map_sync(&o->map) != OK)
        e = object_sync_failed(o);
    if (e == OK && any) {
        any = false;
        e = write_unwritten(o, &any);
    }
    return e == OK && any ? ERR_EIO : e;
}

enum err object_mend(struct object *o)
{
    if (o->map.sharing != MAP_OF_FILE || !is_marked(o))
        return OK;
    if (!o->map.writable) {
        o->failed = true;
        return OK;
    }
    enum err e = store_on_disk(o);
    if (e == OK)
        remove_mark(o);
    return e;
}
