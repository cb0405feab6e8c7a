/* Objects join the journal and leave it; what it has of a file that is opened. */
#include <stdlib.h>

#include <utlist.h>

#include "store/failed.h"
#include "store/journal_inside.h"
#include "sys/log.h"
#include "sys/os.h"

/* --- joining and leaving --------------------------------------------------------------------- */

void journal_member_free(struct durable *d)
{
    pthread_mutex_destroy(&d->syncs);
    free(d);
}

static struct durable *member_of(const struct journal *j, uint32_t serial)
{
    struct durable *d = j->members;
    while (d != NULL && d->serial != serial)
        d = d->next;
    return d;
}

static struct durable *member_new(struct journal *j, struct object *o, const char *path)
{
    struct durable *d = calloc(1, sizeof *d + strlen(path) + 1);
    if (d == NULL)
        return NULL;
    d->journal = j;
    d->object = o;
    d->kind = o->kind;
    d->dev = o->dev;
    d->ino = o->ino;
    memcpy(d->name, path, strlen(path) + 1);
    pthread_mutex_init(&d->syncs, NULL);
    pthread_mutex_lock(&j->lock);
    do
        os_random(&d->serial, sizeof d->serial);
    while (d->serial == 0 || member_of(j, d->serial) != NULL);
    pthread_mutex_unlock(&j->lock);
    return d;
}

/* Who reads the list must not meet one that is gone. */
static void take_out(struct durable *d)
{
    struct journal *j = d->journal;
    while (d->pins > 0)
        journal_wait_for_change(j);
    DL_DELETE(j->members, d);
    j->opens -= journal_open_size(d);
}

static enum err enter(struct durable *d)
{
    struct journal *j = d->journal;
    const struct entry_fields f = journal_open_entry(d);
    pthread_mutex_lock(&j->lock);
    enum err e = j->opens + journal_open_size(d) > journal_spare(j) ? ERR_MAX_OBJECTS : OK;
    if (e == OK) {
        DL_APPEND(j->members, d);
        j->opens += journal_open_size(d);
        e = journal_append(d, &f, d->name);
        if (e == OK)
            e = journal_wait_until(j, d->group);
        if (e != OK)
            take_out(d);
    }
    pthread_mutex_unlock(&j->lock);
    return e;
}

static enum err mark(struct durable *d)
{
    const struct journal *j = d->journal;
    struct mark mark = {.serial = d->serial};
    memcpy(mark.uuid, j->halves.uuid, sizeof mark.uuid);
    snprintf(mark.dir, sizeof mark.dir, "%s", j->path);
    return mark_write(d->object->map.fd, &mark);
}

/* It is not durable after all. Its mark must not stay without a journal that knows it. */
static void undo_enter(struct durable *d)
{
    struct journal *j = d->journal;
    const bool is_plain = mark_remove(d->object->map.fd) == OK;
    pthread_mutex_lock(&j->lock);
    while (d->pins > 0)
        journal_wait_for_change(j);
    d->object = NULL;
    if (is_plain)
        take_out(d);
    pthread_mutex_unlock(&j->lock);
    if (is_plain)
        journal_member_free(d);
}

/* The journal knows it before the mark says so: whenever the end comes, the next start can take
 * the mark away. */
enum err journal_join(struct journal *j, struct object *o, const char *path,
                      char owner[JOURNAL_OWNER])
{
    enum err e = journal_prepare(j, owner);
    if (e != OK)
        return e;
    struct durable *d = member_new(j, o, path);
    if (d == NULL)
        return ERR_ENOMEM;
    e = map_sync(&o->map) == OK ? enter(d) : object_sync_failed(o);
    if (e != OK) {
        journal_member_free(d);
        return e;
    }
    e = mark(d);
    if (e == OK)
        o->durable = d;
    else
        undo_enter(d);
    return e;
}

/* Its file has everything, or its records stay. */
static enum err settle_file(struct durable *d)
{
    struct journal *j = d->journal;
    const struct entry_fields f = {.serial = d->serial, .kind = ENTRY_CLOSE};
    enum err e = journal_has_failed(d) || journal_failed(j) ? ERR_EIO : journal_wait(j, d->group);
    if (e == OK)
        e = journal_sync_and_cover(d);
    if (e != OK)
        return e;
    pthread_mutex_lock(&j->lock);
    e = journal_append(d, &f, NULL);
    if (e == OK)
        e = journal_wait_until(j, d->group);
    pthread_mutex_unlock(&j->lock);
    return e == OK ? mark_remove(d->object->map.fd) : e;
}

enum err journal_leave(struct object *o)
{
    struct durable *d = o->durable;
    struct journal *j = d->journal;
    enum err e = settle_file(d);
    pthread_mutex_lock(&j->lock);
    o->durable = NULL;
    while (d->pins > 0)
        journal_wait_for_change(j);
    d->object = NULL;
    if (e == OK)
        take_out(d);
    pthread_mutex_unlock(&j->lock);
    if (e == OK)
        journal_member_free(d);
    else
        log_error("\"%s\": could not be synced when it was closed: its records in the journal are "
                  "kept",
                  d->name);
    return e;
}

/* --- what journals have of a file ------------------------------------------------------------ */

static bool is_file_of(const struct durable *d, int fd)
{
    struct stat st;
    return os.fstat(fd, &st) == 0 && st.st_dev == d->dev && st.st_ino == d->ino;
}

/* Of one that has failed: what was committed is stored, and it is a plain file. */
static enum err reclaim(struct journal *j, uint32_t serial, const struct object *o, int fd)
{
    pthread_mutex_lock(&j->lock);
    struct durable *d = member_of(j, serial);
    const bool is_known = d != NULL && d->object == o && is_file_of(d, fd);
    enum err e = is_known ? journal_wait_until(j, d->group) : ERR_NEEDS_JOURNAL;
    if (j->state != JOURNAL_READY)
        e = ERR_EIO;
    pthread_mutex_unlock(&j->lock);
    if (e != OK)
        return e;
    pthread_mutex_lock(&j->files);
    e = replay_one(&j->halves, serial, fd);
    pthread_mutex_unlock(&j->files);
    if (e != OK)
        return e;
    pthread_mutex_lock(&j->lock);
    take_out(d);
    pthread_mutex_unlock(&j->lock);
    journal_member_free(d);
    return OK;
}

enum err journal_reclaim(struct object *o)
{
    struct durable *d = o->durable;
    enum err e = reclaim(d->journal, d->serial, o, o->map.fd);
    if (e == OK)
        o->durable = NULL;
    return e == ERR_NEEDS_JOURNAL || e == ERR_ENOENT ? ERR_EIO : e;
}

static bool is_of(struct journal *j, const struct mark *m)
{
    const enum journal_state state = journal_state_of(j);
    return (state == JOURNAL_READY || state == JOURNAL_FAILED) &&
           memcmp(m->uuid, j->halves.uuid, sizeof m->uuid) == 0;
}

static enum err reclaim_closed(struct journal *j, uint32_t serial, int fd)
{
    const enum err e = reclaim(j, serial, NULL, fd);
    return e == OK || e == ERR_EIO ? e : ERR_NEEDS_JOURNAL;
}

enum err journal_claim(struct journal *j, int fd, char dir[PATH_MAX])
{
    struct mark mark;
    enum err e = mark_read(fd, &mark);
    if (e != OK)
        return e == ERR_ENOENT ? OK : e;
    snprintf(dir, PATH_MAX, "%s", mark.dir);
    if (j == NULL)
        return ERR_NEEDS_JOURNAL;
    if (is_of(j, &mark))
        return reclaim_closed(j, mark.serial, fd);
    if (!j->options.adopts || strcmp(mark.dir, j->path) == 0 || journal_adopt(j, mark.dir) != OK)
        return ERR_NEEDS_JOURNAL;
    return mark_read(fd, &mark) == ERR_ENOENT ? OK : ERR_NEEDS_JOURNAL;
}
