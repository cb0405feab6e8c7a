#include "store/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "store/queue.h"
#include "sys/hash.h"
#include "sys/log.h"
#include "sys/os.h"

/* Until the rename the old file has its name, and from then on the new one, which was durable
 * before it had any name. The old file is locked meanwhile, so that no two convert it; who had to
 * wait for the lock finds that the name leads elsewhere. What a crash leaves of the temporary name
 * the next conversion under the same name removes. */

struct conversion {
    struct place place;
    struct stat old;
    int old_fd;
    struct nif_queue items;
    struct object fresh;
    char kept[PATH_MAX + 4]; /* NAME.nif */
    bool was_kept;           /* by a conversion that was cut off */
    char temporary[32];
    bool is_linked; /* under the temporary name */
    uint64_t count;
};

/* --- names ----------------------------------------------------------------------------------- */

/* ERR_ENOENT; ERR_ELOOP: a link; ERR_EEXIST: another file. */
static enum err leads_to_old(const struct conversion *c, const char *name)
{
    struct stat st;
    const int fd = os.open(c->place.dir, name, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return err_last();
    enum err e = os.fstat(fd, &st) == 0 ? OK : err_last();
    os.close(fd);
    if (e != OK)
        return e;
    if (S_ISLNK(st.st_mode))
        return ERR_ELOOP;
    return st.st_dev == c->old.st_dev && st.st_ino == c->old.st_ino ? OK : ERR_EEXIST;
}

static enum err check_name(const struct conversion *c)
{
    enum err e = leads_to_old(c, c->place.last);
    return e == ERR_ENOENT || e == ERR_EEXIST ? ERR_STALE : e;
}

/* Before anything is made; so that a long work is not done for nothing. */
static enum err check_names(struct conversion *c)
{
    enum err e = check_name(c);
    if (e != OK)
        return e;
    snprintf(c->temporary, sizeof c->temporary, ".emmap-%016jx",
             (uintmax_t)hash_bytes(0, c->place.last, strlen(c->place.last)));
    snprintf(c->kept, sizeof c->kept, "%s.nif", c->place.last);
    e = leads_to_old(c, c->kept);
    c->was_kept = e == OK;
    return e == ERR_ENOENT ? OK : e == ERR_ELOOP ? ERR_EEXIST : e;
}

/* --- the new file ---------------------------------------------------------------------------- */

static enum err make_unnamed(struct conversion *c, int *fd)
{
    const mode_t mode = c->old.st_mode & 0777;
    (void)os.unlink(c->place.dir, c->temporary);
    *fd = os.open_unnamed(c->place.dir, mode);
    if (*fd >= 0 || errno != ENOTSUP)
        return *fd >= 0 ? OK : err_last();
    *fd = os.open_beneath(c->place.dir, c->temporary, O_RDWR | O_CREAT | O_EXCL, mode);
    c->is_linked = *fd >= 0;
    return *fd >= 0 ? OK : err_last();
}

static enum err open_fresh(struct object *fresh, int fd, const char *path, uint64_t now_ms)
{
    static const struct queue_change none;
    struct stat st;
    char why[QUEUE_WHY];
    fresh->map.fd = fd;
    enum err e = os_may_hold(fd) ? queue_make(fd, &queue_limits, &none, now_ms) : ERR_RESERVE_FDS;
    if (e == OK && os.fstat(fd, &st) != 0)
        e = err_last();
    if (e != OK)
        return e;
    e = map_open(&fresh->map, fd, (uint64_t)st.st_size, true, MAP_OF_FILE);
    return e == OK ? queue_open(fresh, &queue_limits, path, now_ms, why) : e;
}

static enum err push_all(struct object *fresh, struct nif_queue *items, uint64_t time_ms,
                         uint64_t *count)
{
    const struct turn t = {.now_ms = time_ms, .may_wait = true};
    struct span item;
    uint64_t seq;
    enum err e;
    while ((e = nif_queue_next(items, &item)) == OK) {
        e = queue_push(fresh, &t, &item, 1, &seq);
        if (e != OK)
            return e;
        ++*count;
    }
    return e == ERR_EMPTY ? OK : e;
}

enum err convert_into(struct object *fresh, int fd, struct nif_queue *items, const char *path,
                      uint64_t time_ms, uint64_t now_ms, uint64_t *count)
{
    *fresh = (struct object){.kind = OBJECT_QUEUE, .map = {.fd = -1}};
    *count = 0;
    enum err e = open_fresh(fresh, fd, path, now_ms);
    if (e != OK)
        return e;
    e = push_all(fresh, items, time_ms, count);
    queue_close(fresh);
    return e == OK && fresh->failed ? ERR_EIO : e;
}

static uint64_t time_of(const struct conversion *c, uint64_t now_ms)
{
    const struct timespec t = c->old.st_mtim;
    const uint64_t ms =
        t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    return ms < now_ms ? ms : now_ms;
}

/* Complete and durable, with owner and mode. Its own time is now, from which delays are counted;
 * that of the items is the old file's. */
static enum err build(struct conversion *c, const struct opening *o)
{
    int fd = -1;
    enum err e = make_unnamed(c, &fd);
    if (e != OK)
        return e;
    nif_queue_rewind(&c->items);
    e = convert_into(&c->fresh, fd, &c->items, o->path, time_of(c, o->now_ms), o->now_ms,
                     &c->count);
    if (e == OK && os.own(fd, c->old.st_uid, c->old.st_gid) != 0)
        e = err_last();
    if (e == OK && os.lock_exclusive(fd) != 0)
        e = err_last();
    return e == OK && os.sync_all(fd) != 0 ? err_last() : e;
}

/* --- one in the place of the other -------------------------------------------------------------
 */

static enum err keep_old(const struct conversion *c)
{
    if (os.link_unnamed(c->old_fd, c->place.dir, c->kept) == 0)
        return OK;
    enum err e = err_last();
    return e == ERR_EEXIST && leads_to_old(c, c->kept) == OK ? OK : e;
}

static enum err exchange(struct conversion *c)
{
    const int dir = c->place.dir;
    if (!c->is_linked && os.link_unnamed(c->fresh.map.fd, dir, c->temporary) != 0)
        return err_last();
    c->is_linked = true;
    enum err e = check_name(c);
    if (e == OK)
        e = keep_old(c);
    if (e != OK)
        return e;
    if (os.rename(dir, c->temporary, c->place.last) != 0) {
        e = err_last();
        if (!c->was_kept)
            (void)os.unlink(dir, c->kept);
        return e;
    }
    c->is_linked = false;
    return os.sync_all(dir) == 0 ? OK : err_last();
}

static enum err replace(struct conversion *c, struct opening *o)
{
    enum err e = check_names(c);
    if (e == OK)
        e = build(c, o);
    if (e == OK)
        e = exchange(c);
    if (c->is_linked)
        (void)os.unlink(c->place.dir, c->temporary);
    if (e == OK) {
        os.close(o->fd);
        o->fd = c->fresh.map.fd;
        c->fresh.map.fd = -1;
        log_notice(
            "\"%s\": was a queue of the NIF library and is converted, with %ju items; the old "
            "file is \"%s\"",
            o->path, (uintmax_t)c->count, c->kept);
    }
    map_close(&c->fresh.map);
    return e;
}

/* --- which files ----------------------------------------------------------------------------- */

static enum err check_items(struct nif_queue *f)
{
    struct span item;
    enum err e;
    do
        e = nif_queue_next(f, &item);
    while (e == OK);
    return e == ERR_EMPTY ? OK : e;
}

static enum err convert_locked(const struct paths *paths, struct opening *o, struct conversion *c)
{
    enum err e = check_items(&c->items);
    if (e == OK && os.fstat(o->fd, &c->old) != 0)
        e = err_last();
    if (e == OK)
        e = path_parent(paths, o->path, &c->place);
    if (e != OK)
        return e;
    e = replace(c, o);
    os.close(c->place.dir);
    return e;
}

enum err convert(const struct paths *paths, struct opening *o)
{
    struct conversion c = {.old_fd = o->fd, .fresh = {.kind = OBJECT_QUEUE, .map = {.fd = -1}}};
    if (o->term_length == NULL)
        return OK;
    enum err e = nif_queue_open(&c.items, o->fd, o->term_length);
    if (e != OK)
        return e == ERR_NOT_QUEUE ? OK : e;
    if (os.lock_exclusive(o->fd) == 0)
        e = convert_locked(paths, o, &c);
    else
        e = err_last();
    nif_queue_close(&c.items);
    o->in_use = e == ERR_LOCKED;
    return e == ERR_LOCKED || e == ERR_NOT_QUEUE ? OK : e;
}
