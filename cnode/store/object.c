#include "store/object.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "store/block.h"
#include "store/convert.h"
#include "store/counter.h"
#include "store/failed.h"
#include "store/journal.h"
#include "store/new_file.h"
#include "store/ownership.h"
#include "store/queue.h"
#include "store/snapshot.h"
#include "sys/guard.h"
#include "sys/os.h"

/* --- a new file: complete under its name or not there ---------------------------------------- */

static uint64_t size_to_make(const struct opening *o)
{
    if (o->kind == OBJECT_QUEUE)
        return 0;
    if (o->kind == OBJECT_COUNTERS)
        return counter_file_size(o->n);
    return o->len > 0 ? o->len : o->size;
}

static enum err fill(const struct opening *o, int fd)
{
    const uint64_t size = size_to_make(o);
    uint8_t header[COUNTER_HEADER];
    if (size > INT64_MAX)
        return ERR_EFBIG;
    if (size > 0 && os.allocate(fd, 0, (off_t)size) != 0)
        return err_last();
    if (o->kind == OBJECT_COUNTERS) {
        counter_header(o->n, header);
        if (os_write_all(fd, header, sizeof header, 0) != 0)
            return err_last();
    }
    return o->kind == OBJECT_QUEUE ? queue_make(fd, &queue_limits, o->queue, o->now_ms) : OK;
}

static enum err may_hold(int fd)
{
    return os_may_hold(fd) ? OK : ERR_RESERVE_FDS;
}

/* The file would be there for nothing if it could not be mapped. */
static enum err admit_new(const struct opening *o)
{
    return map_admit(o->kind == OBJECT_QUEUE ? queue_new_size(&queue_limits) : size_to_make(o));
}

/* ERR_EEXIST: another one was faster. */
static enum err make(const struct paths *paths, struct opening *o)
{
    struct new_file f;
    if (o->offset > size_to_make(o))
        return ERR_BADARG;
    enum err e = admit_new(o);
    if (e == OK)
        e = new_file_begin(&f, paths, o->path, o->mode, o->any_file_system);
    if (e != OK)
        return e;
    e = fill(o, f.fd);
    if (e != OK) {
        new_file_drop(&f);
        return e;
    }
    e = new_file_end(&f);
    if (e == OK) {
        o->fd = f.fd;
        o->exist = false;
    }
    return e;
}

/* --- find ------------------------------------------------------------------------------------ */

static enum err find_existing(const struct paths *paths, struct opening *o)
{
    /* a copy on write needs no right to change the file, unless it is to be truncated */
    const bool write = o->write && (o->sharing == MAP_OF_FILE || o->truncate);
    enum err e = path_open(paths, o->path, write ? O_RDWR : O_RDONLY, &o->fd);
    if (e == ERR_EACCES && o->by_name && o->write) {
        o->write = false;
        e = path_open(paths, o->path, O_RDONLY, &o->fd);
    }
    o->exist = true;
    return e;
}

static enum err find_or_make(const struct paths *paths, struct opening *o)
{
    enum err e = find_existing(paths, o);
    for (int tries = 0; e == ERR_ENOENT && o->create && tries < 8; tries++) {
        e = make(paths, o);
        if (e == ERR_EEXIST)
            e = find_existing(paths, o);
    }
    return e;
}

static enum err identify(struct opening *o)
{
    struct stat st;
    if (os.fstat(o->fd, &st) != 0)
        return err_last();
    if (o->sharing == MAP_OF_FILE) {
        o->dev = st.st_dev;
        o->ino = st.st_ino;
    }
    return OK;
}

static enum err find(const struct paths *paths, struct opening *o)
{
    enum err e = find_or_make(paths, o);
    if (e == OK && !o->any_file_system && !os.is_local(o->fd))
        e = ERR_ENOTSUP;
    if (e == OK && o->exist)
        e = ownership_check(paths, o);
    if (e == OK && o->kind == OBJECT_QUEUE && o->exist)
        e = convert(paths, o);
    if (e == OK)
        e = identify(o);
    if (e != OK)
        object_drop(o);
    return e;
}

enum err object_find(const struct paths *paths, struct opening *o)
{
    o->fd = -1;
    if (o->sharing == MAP_MEMORY)
        return OK;
    enum err e = find(paths, o);
    for (int tries = 0; e == ERR_STALE && tries < 8; tries++)
        e = find(paths, o); /* another one has converted the file meanwhile */
    return e == ERR_STALE ? ERR_EBUSY : e;
}

void object_drop(struct opening *o)
{
    if (o->fd >= 0)
        os.close(o->fd);
    o->fd = -1;
}

/* --- attach ---------------------------------------------------------------------------------- */

/* The size that the object shall have, given what it has. */
static enum err wanted_size(struct opening *o, uint64_t actual, uint64_t *size)
{
    const uint64_t wanted = o->len > 0 ? o->len : o->fit || o->truncate ? o->size : 0;
    const bool any = o->fit || o->truncate || wanted == 0 || o->sharing == MAP_MEMORY;
    if (wanted != actual && !any) {
        o->actual = actual;
        o->wanted = wanted;
        return ERR_SIZE_MISMATCH;
    }
    *size = wanted > actual ? wanted : actual;
    return o->offset > *size ? ERR_BADARG : OK;
}

/* What the file would have to be for this opening: looked at before anything is changed. */
static enum err check_region(const struct object *object, struct opening *o, uint64_t *size)
{
    const uint64_t actual = o->truncate ? 0 : object->map.size;
    *size = actual;
    enum err e = wanted_size(o, actual, size);
    return e == OK && *size != actual && !o->write ? ERR_EACCES : e;
}

static enum err check_counters(struct object *object, struct opening *o)
{
    enum err e = counter_count(&object->map, &object->count);
    if (e == ERR_FILE_HEADER) {
        const uint64_t size = object->map.size;
        o->header_len = size < sizeof o->header ? (size_t)size : sizeof o->header;
        if (!guard_copy(o->header, object->map.at, o->header_len))
            return ERR_EIO;
    }
    return e;
}

static enum err check_by_name(struct object *object, struct opening *o)
{
    if (block_is_store(&object->map)) {
        o->kind = OBJECT_REGION;
        return OK;
    }
    enum err e = counter_count(&object->map, &object->count);
    o->kind = OBJECT_COUNTERS;
    return e == ERR_FILE_HEADER ? ERR_NOT_OPEN : e;
}

static enum err check(struct object *object, struct opening *o, uint64_t *size)
{
    if (o->by_name)
        return check_by_name(object, o);
    return o->kind == OBJECT_COUNTERS ? check_counters(object, o) : check_region(object, o, size);
}

/* As object_resize to nothing, and then to so much. */
static enum err clear(struct object *object, uint64_t size)
{
    enum err e = object_writable(object);
    if (e == OK && object->durable != NULL)
        e = journal_floor(object->durable);
    if (e != OK)
        return e;
    snapshot_before(object, 0, object->map.size);
    e = map_clear(&object->map, size);
    return e == OK && object->durable != NULL ? journal_sync_file(object->durable) : e;
}

/* To truncate, the new size is made sure of first: a full disk must not cost the old bytes. */
static enum err fit_region(struct object *object, const struct opening *o, uint64_t size)
{
    const struct map *m = &object->map;
    enum err e = size > m->size ? object_resize(object, size) : OK;
    return e == OK && o->truncate && m->size > 0 ? clear(object, size) : e;
}

static enum err fit(struct object *object, const struct opening *o, uint64_t size)
{
    if (o->kind == OBJECT_REGION)
        return fit_region(object, o, size);
    return o->n > object->count ? counter_grow(object, o->n) : OK;
}

static enum err populate(struct object *object, const struct opening *o)
{
    const int advice = object->map.writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    if (!o->populate || object->map.size == 0 ||
        os.advise(object->map.at, object->map.size, advice) == 0)
        return OK;
    return errno == EINVAL ? ERR_ENOTSUP : err_last();
}

static enum err settle(struct object *object, struct opening *o)
{
    uint64_t size = 0;
    enum err e = check(object, o, &size);
    if (e == OK && o->write)
        e = map_allocate(&object->map);
    if (e == OK)
        e = object_mend(object);
    if (e == OK)
        e = fit(object, o, size);
    return e == OK ? populate(object, o) : e;
}

/* Who has the file open tells more than whose journal it needs. */
static enum err claim(struct opening *o)
{
    enum err e = journal_claim(o->journal, o->fd, o->needs);
    return e == ERR_NEEDS_JOURNAL && ownership_lock(o, false) == ERR_LOCKED ? ERR_LOCKED : e;
}

/* The kind that an opening by name finds is not known before the file is mapped. */
static enum err map_file(struct object *opened, struct opening *o)
{
    struct stat st = {.st_size = 0};
    enum err e = may_hold(o->fd);
    if (e == OK && o->fd >= 0)
        e = claim(o);
    if (e == OK)
        e = ownership_lock(o, o->kind == OBJECT_QUEUE || o->durable);
    if (e == OK && o->fd >= 0 && os.fstat(o->fd, &st) != 0)
        e = err_last();
    if (e != OK) {
        object_drop(o);
        return e;
    }
    const int fd = o->fd;
    o->fd = -1;
    e = map_open(&opened->map, fd, (uint64_t)st.st_size, o->write, o->sharing);
    if (e != OK || !o->by_name || !queue_is_one(&opened->map))
        return e;
    o->kind = OBJECT_QUEUE;
    o->fd = fd;
    e = ownership_lock(o, true);
    o->fd = -1;
    if (e != OK)
        map_close(&opened->map);
    return e;
}

/* Also when it is closed again nothing more is stored. */
static enum err mend_queue(struct object *object)
{
    const enum err e = object_mend(object);
    if (e != OK)
        object->failed = true;
    return e;
}

/* --- durability ------------------------------------------------------------------------------ */

static enum err join(struct object *object, struct opening *o)
{
    if (object->durable != NULL)
        return OK;
    return journal_join(o->journal, object, o->path, o->owner);
}

static enum err own(struct object *object, struct opening *o)
{
    if (object->owned)
        return OK;
    enum err e = ownership_lock(o, true);
    object->owned = o->owned;
    object->unclean |= o->unclean;
    return e;
}

/* A store that was not closed in order, and has not been looked at since. */
static bool is_unclean_store(const struct object *object)
{
    return object->unclean && object->kind != OBJECT_QUEUE && block_is_store(&object->map);
}

/* A store in use stays ours alone; of one that is not known to be whole the attribute stays. */
static void share(struct object *object)
{
    if (object->blocks != NULL)
        return;
    object->owned &= !is_unclean_store(object);
    ownership_share(object);
}

/* Another program's stores would be undone by a replay. */
static enum err lock_alone(struct object *object, struct opening *o)
{
    const int fd = o->fd;
    o->fd = object->map.fd;
    enum err e = own(object, o);
    o->fd = fd;
    return e;
}

static enum err become_durable(struct object *object, struct opening *o)
{
    if (!o->durable || object->durable != NULL || !object->map.writable ||
        object->map.sharing != MAP_OF_FILE)
        return OK;
    enum err e = lock_alone(object, o);
    if (e != OK)
        return e;
    e = join(object, o);
    if (e != OK)
        share(object);
    return e;
}

enum err object_relax(struct object *object)
{
    if (object->durable == NULL)
        return OK;
    enum err e = object->failed ? ERR_EIO : journal_leave(object);
    if (e == OK)
        share(object);
    return e;
}

/* A queue is durable if its file says so, and is that before the file does. */
static enum err configure(struct object *object, struct opening *o)
{
    const struct queue_change *change = o->queue;
    const bool given = change != NULL && (change->given & QUEUE_DURABLE) != 0;
    const bool durable = given ? change->to.durable : queue_options(object)->durable;
    enum err e = durable ? join(object, o) : OK;
    if (e == OK && change != NULL)
        e = queue_configure(object, change);
    return e == OK && !durable && object->durable != NULL ? journal_leave(object) : e;
}

/* --- attach ---------------------------------------------------------------------------------- */

static enum err settle_queue(struct object *object, struct opening *o)
{
    if (!queue_is_one(&object->map))
        return o->in_use ? ERR_LOCKED : ERR_NOT_QUEUE;
    enum err e = queue_open(object, &queue_limits, o->path, o->now_ms, o->why);
    if (e == OK)
        e = mend_queue(object);
    return e == OK ? configure(object, o) : e;
}

static enum err attach_new(struct object *object, struct opening *o)
{
    *object = (struct object){.kind = o->kind, .dev = o->dev, .ino = o->ino, .map.fd = -1};
    enum err e = map_file(object, o);
    object->kind = o->kind; /* by name it is known only now */
    object->owned = o->owned;
    object->unclean = o->unclean;
    if (e == OK && o->sharing != MAP_MEMORY)
        object->name = strdup(o->path);
    if (e == OK)
        e = o->kind == OBJECT_QUEUE ? settle_queue(object, o) : settle(object, o);
    object->kind = o->kind;
    if (e == OK && o->kind != OBJECT_QUEUE)
        e = become_durable(object, o);
    if (e != OK)
        object_close(object);
    return e;
}

/* A queue that failed begins anew with what the file has. */
static enum err settle_queue_again(struct object *object, struct opening *o)
{
    if (o->kind != OBJECT_QUEUE)
        return ERR_KIND_QUEUE;
    if (object->kind != OBJECT_QUEUE)
        return object->kind == OBJECT_COUNTERS ? ERR_KIND_COUNTERS
               : object->kind == OBJECT_BLOCKS ? ERR_KIND_BLOCKS
                                               : ERR_KIND_REGION;
    const bool failed = object->failed;
    enum err e = failed ? queue_recover(object, o->now_ms, o->why) : OK;
    if (e == OK && failed)
        e = mend_queue(object);
    return e == OK ? configure(object, o) : e;
}

/* It is looked at anew by the next request for blocks. */
static void forget_store(struct object *object)
{
    block_close(object);
    object->kind = OBJECT_REGION;
}

static enum err settle_again(struct object *object, struct opening *o)
{
    const bool failed = object->failed;
    object->failed = false;
    enum err e = settle(object, o);
    if (e != OK)
        object->failed |= failed;
    if (e == OK && o->kind == OBJECT_COUNTERS)
        object->kind = OBJECT_COUNTERS;
    object->unclean |= failed;
    if (object->blocks != NULL && (failed || o->truncate || !block_fits(object)))
        forget_store(object);
    return e == OK ? become_durable(object, o) : e;
}

/* The descriptor that had the lock goes. A store that can be changed has to be ours alone. */
static enum err allow_writes(struct object *object, struct opening *o)
{
    const int fd = o->fd;
    enum err e = ownership_lock(o, false);
    if (e != OK)
        return e;
    o->fd = -1;
    if (object->blocks != NULL)
        forget_store(object);
    snapshot_hold(object);
    e = map_allow_writes(&object->map, fd);
    snapshot_let(object);
    return e;
}

/* What the journal has of an object that failed, durable or just not any more. It stores that past
 * a snapshot. */
static enum err reclaim(struct object *object, struct opening *o)
{
    snapshot_leave(object, ERR_EIO);
    if (object->durable == NULL)
        return object->map.fd < 0 ? OK : journal_claim(o->journal, object->map.fd, o->needs);
    o->durable |= object->kind != OBJECT_QUEUE;
    return journal_reclaim(object);
}

/* The file is mapped already; another program may have given it another size since. */
static enum err attach_again(struct object *object, struct opening *o)
{
    struct stat st;
    enum err e = os.fstat(o->fd, &st) == 0 ? OK : err_last();
    if (e == OK)
        e = map_follow(&object->map, (uint64_t)st.st_size);
    if (object->blocks != NULL && !block_fits(object))
        forget_store(object);
    if (e == OK && o->write && !object->map.writable)
        e = allow_writes(object, o);
    object_drop(o);
    if (e == OK && object->failed)
        e = reclaim(object, o);
    if (e != OK)
        return e;
    return object->kind == OBJECT_QUEUE || o->kind == OBJECT_QUEUE ? settle_queue_again(object, o)
                                                                   : settle_again(object, o);
}

enum err object_attach(struct object *object, struct opening *o)
{
    return object->kind == OBJECT_CLOSED ? attach_new(object, o) : attach_again(object, o);
}

/* --- block stores ---------------------------------------------------------------------------- */

/* Who cannot write the file has no exclusive lock of it, and changes nothing. */
static enum err lock_store(struct object *object, struct store_change *change)
{
    struct opening o = {.fd = object->map.fd, .sharing = object->map.sharing, .node = change->node};
    if (!object->map.writable || o.sharing != MAP_OF_FILE)
        return OK;
    enum err e = own(object, &o);
    memcpy(change->owner, o.owner, sizeof change->owner);
    if (e == OK && object->owned && os.sync_all(object->map.fd) != 0)
        return object_sync_failed(object); /* the attribute comes to the disk before any block */
    return e;
}

enum err object_become_store(struct object *object, struct store_change *change)
{
    _Static_assert(sizeof change->why == BLOCK_WHY, "block.h");
    if (!change->make && !block_is_store(&object->map))
        return ERR_NOT_BLOCKS;
    enum err e = lock_store(object, change);
    if (e == OK)
        e = change->make ? block_init(object, &change->size, change->now_ms, change->why)
                         : block_open(object, change->why);
    if (object->blocks != NULL)
        object->kind = OBJECT_BLOCKS;
    if (e != OK && object->owned && object->durable == NULL)
        share(object);
    return e;
}

/* --- afterwards ------------------------------------------------------------------------------ */

/* Only what is on the disk, and known to be whole, has come to an orderly end: else the attribute
 * stays, for the next who opens it. */
static void close_store(struct object *object)
{
    const bool whole = object_writable(object) == OK && !object->unclean &&
                       (object->durable != NULL || object_sync(object) == OK);
    object->owned &= whole;
    block_close(object);
}

void object_close(struct object *object)
{
    snapshot_leave(object, ERR_CLOSED);
    if (object->queue != NULL)
        queue_close(object);
    if (object->blocks != NULL ||
        (object->owned && object->kind == OBJECT_REGION && block_is_store(&object->map)))
        close_store(object);
    if (object->durable != NULL)
        (void)journal_leave(object);
    ownership_end(object);
    map_close(&object->map);
    free(object->name);
    *object = (struct object){.kind = OBJECT_CLOSED, .map.fd = -1};
}

enum err object_writable(const struct object *object)
{
    if (object->failed)
        return ERR_EIO;
    return object->map.writable ? OK : ERR_EACCES;
}

/* What is cut off must not be stored again; what stores need must be there when they are. */
static enum err resize_durable(struct object *object, uint64_t size)
{
    enum err e = size < object->map.size ? journal_floor(object->durable) : OK;
    if (e == OK)
        e = object_grown(object, map_resize(&object->map, size));
    return e == OK ? journal_sync_file(object->durable) : e;
}

enum err object_resize(struct object *object, uint64_t size)
{
    enum err e = object_writable(object);
    if (e != OK)
        return e;
    if (size < object->map.size)
        snapshot_before(object, size, object->map.size - size);
    return object->durable != NULL ? resize_durable(object, size)
                                   : object_grown(object, map_resize(&object->map, size));
}

enum err object_back(struct object *object, uint64_t pos, uint64_t len)
{
    enum err e = map_back(&object->map, pos, len);
    return e == OK && object->durable != NULL ? journal_sync_file(object->durable) : e;
}

enum err object_sync(struct object *object)
{
    if (object->failed)
        return ERR_EIO;
    if (object->durable != NULL)
        return journal_wait(object_journal(object), object_group(object));
    if (object->queue != NULL)
        return queue_sync(object);
    return map_sync(&object->map) == OK ? OK : object_sync_failed(object);
}

bool object_pass(struct object *object, uint64_t len)
{
    const bool big = object->durable != NULL && len > journal_big(object_journal(object));
    if (big)
        journal_pass(object->durable, true);
    return big;
}

enum err object_passed(struct object *object, enum err e)
{
    journal_pass(object->durable, false);
    if (e == OK)
        e = journal_floor(object->durable);
    if (e != OK)
        journal_lose(object->durable);
    return e;
}

uint64_t object_group(const struct object *object)
{
    return object->durable == NULL ? 0 : journal_group(object->durable);
}

struct journal *object_journal(const struct object *object)
{
    return journal_of(object->durable);
}
