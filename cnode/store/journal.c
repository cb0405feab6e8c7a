#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include <utlist.h>

#include "store/failed.h"
#include "store/replay.h"
#include "sys/guard.h"
#include "sys/log.h"
#include "sys/os.h"

/* Records gather in one buffer while the other is being written; a group is what one commit takes.
 * Numbers of groups rise by one, over halves and lives.
 *
 * A half may be used again when the files of all objects with records in it have been synced after
 * these: it is retired then. An object knows the first group with a record that its file may not
 * have yet (`first`). A sync that began while group G was gathering covers all groups before G.
 *
 * Locks: `lock` guards all fields here and of the objects; `files` the halves, for who reads or
 * writes them, and is taken first. */

const struct journal_limits journal_limits = {
    .page = 4096, .half = 64 << 20, .group = 16 << 20, .piece = 1 << 20};

struct gather {
    uint8_t *at; /* room for the fields of a group, then records */
    uint64_t len;
    uint32_t count;
    uint64_t last; /* where the last record begins, if others may be joined to it; 0: none */
};

struct durable {
    struct durable *next, *prev;
    struct journal *journal;
    struct object *object; /* NULL: closed, and what it has here is kept */
    enum object_kind kind;
    dev_t dev; /* of its file: a copy may bear its mark, too */
    ino_t ino;
    uint32_t serial;
    uint64_t group; /* with its last record */
    uint64_t first; /* with the first that its file may not have; 0: none */
    bool passed;    /* stores are not recorded */
    unsigned pins;  /* who is about to sync its file */
    bool failed;
    pthread_mutex_t syncs; /* one at a time: a failure is told once */
    char name[];
};

struct journal {
    struct journal_options options;
    char *path; /* of the directory */
    pthread_mutex_t lock, files;
    pthread_cond_t changed;
    enum journal_state state;
    enum err why; /* it has failed */
    int dir, lock_fd;
    struct halves halves;
    uint64_t other_last; /* last group of the other half, 0: it may be used */
    struct gather gathers[2];
    unsigned gathering;
    uint64_t generation; /* of the half that is written */
    uint64_t number;     /* of the group that gathers */
    uint64_t durable;
    uint64_t wanted; /* to be committed as soon as can be */
    struct durable *members;
    uint64_t opens; /* bytes of the records that a half begins with */
    bool half_full; /* the other half is to be retired */
    bool stopping;  /* the committer; it may wait for the retirer, which ends after it */
    bool stopped;
    bool has_threads;
    pthread_t committer, retirer;
    uint64_t groups, records, bytes, syncs;
};

static enum err last_error(void)
{
    return err_from_errno(errno);
}

static enum journal_state state_of(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    const enum journal_state state = j->state;
    pthread_mutex_unlock(&j->lock);
    return state;
}

/* --- failure --------------------------------------------------------------------------------- */

static bool has_failed(struct durable *d)
{
    pthread_mutex_lock(&d->journal->lock);
    const bool failed = d->failed;
    pthread_mutex_unlock(&d->journal->lock);
    return failed;
}

/* Who calls has it pinned, or has the object. */
static void fail_object(struct durable *d)
{
    pthread_mutex_lock(&d->journal->lock);
    d->failed = true;
    pthread_mutex_unlock(&d->journal->lock);
    (void)object_sync_failed(d->object);
}

static void fail(struct journal *j, enum err why, const char *what)
{
    struct durable *d;
    pthread_mutex_lock(&j->lock);
    const bool is_first = j->state == JOURNAL_READY;
    if (is_first) {
        j->state = JOURNAL_FAILED;
        j->why = why;
    }
    DL_FOREACH(j->members, d)
    {
        if (d->object != NULL)
            d->object->failed = true;
    }
    pthread_cond_broadcast(&j->changed);
    pthread_mutex_unlock(&j->lock);
    if (is_first)
        log_error("the journal in %s: %s: %s: durable objects are read-only until the daemon "
                  "starts again",
                  j->path, what, err_text(why));
}

static void notify(const struct journal *j)
{
    if (j->options.notify != NULL)
        j->options.notify(j->options.arg);
}

/* --- the files of objects -------------------------------------------------------------------- */

static enum err sync_file(struct durable *d)
{
    pthread_mutex_lock(&d->syncs);
    const bool failed = has_failed(d);
    enum err e = failed ? ERR_EIO : map_sync(&d->object->map);
    if (e != OK && !failed)
        fail_object(d);
    pthread_mutex_unlock(&d->syncs);
    return e == OK ? OK : ERR_EIO;
}

/* Its file has what was recorded before this group. */
static void cover(struct durable *d, uint64_t group)
{
    if (d->first == 0 || d->first >= group)
        return;
    d->first = d->group >= group ? group : 0;
}

static enum err sync_and_cover(struct durable *d)
{
    struct journal *j = d->journal;
    pthread_mutex_lock(&j->lock);
    const uint64_t group = j->number;
    pthread_mutex_unlock(&j->lock);
    enum err e = sync_file(d);
    pthread_mutex_lock(&j->lock);
    j->syncs++;
    if (e == OK)
        cover(d, group);
    pthread_mutex_unlock(&j->lock);
    return e;
}

enum err journal_sync_file(struct durable *d)
{
    return sync_and_cover(d);
}

/* --- retiring a half ------------------------------------------------------------------------- */

static struct durable *first_within(const struct journal *j, uint64_t last)
{
    struct durable *d = j->members;
    while (d != NULL && (d->first == 0 || d->first > last))
        d = d->next;
    return d;
}

/* What the file cannot take stays in the journal: under another name, for the half is used again.
 */
static enum err keep(struct journal *j, struct durable *d)
{
    pthread_mutex_lock(&j->files);
    enum err e = halves_keep(&j->halves, !j->halves.current, d->serial);
    pthread_mutex_unlock(&j->files);
    return e;
}

/* With the lock, which is given away meanwhile. */
static enum err retire_one(struct journal *j, struct durable *d)
{
    const uint64_t last = j->other_last;
    const bool lost = d->failed || d->object == NULL;
    d->pins++;
    pthread_mutex_unlock(&j->lock);
    enum err e = lost ? keep(j, d) : sync_and_cover(d);
    pthread_mutex_lock(&j->lock);
    d->pins--;
    if (lost && e == OK)
        d->first = d->group > last ? last + 1 : 0;
    pthread_cond_broadcast(&j->changed);
    return lost ? e : OK; /* one that has failed just now is kept in the next round */
}

static void retire(struct journal *j)
{
    enum err e = OK;
    struct durable *d;
    pthread_mutex_lock(&j->lock);
    while (e == OK && (d = first_within(j, j->other_last)) != NULL)
        e = retire_one(j, d);
    if (e == OK)
        j->other_last = 0;
    j->half_full = false;
    pthread_cond_broadcast(&j->changed);
    pthread_mutex_unlock(&j->lock);
    if (e != OK)
        fail(j, e, "a half cannot be kept");
}

/* --- committing ------------------------------------------------------------------------------ */

/* With the lock. */
static void wait_for_change(struct journal *j)
{
    pthread_cond_wait(&j->changed, &j->lock);
}

static bool until_retired(struct journal *j)
{
    if (!j->options.threads)
        retire(j);
    pthread_mutex_lock(&j->lock);
    while (j->other_last > 0 && j->state == JOURNAL_READY) {
        j->half_full = true;
        pthread_cond_broadcast(&j->changed);
        wait_for_change(j);
    }
    const bool good = j->state == JOURNAL_READY;
    pthread_mutex_unlock(&j->lock);
    return good;
}

static uint8_t *put_entry(uint8_t *to, const struct entry_fields *f, const void *data)
{
    const uint64_t padded = align_up(f->len, 8);
    memcpy(to, f, sizeof *f);
    memset(to + sizeof *f + padded - 8 * (padded > 0), 0, 8 * (padded > 0));
    if (f->len > 0)
        memcpy(to + sizeof *f, data, f->len);
    return to + sizeof *f + padded;
}

static uint64_t open_size(const struct durable *d)
{
    return sizeof(struct entry_fields) + align_up(strlen(d->name), 8);
}

static struct entry_fields open_entry(const struct durable *d)
{
    return (struct entry_fields){.serial = d->serial,
                                 .kind = ENTRY_OPEN,
                                 .offset = (uint64_t)d->kind,
                                 .len = (uint32_t)strlen(d->name)};
}

/* The first group of a half says of each object how it is called. NULL without memory. */
static uint8_t *with_opens(struct journal *j, const struct gather *g, uint64_t *len,
                           uint32_t *count)
{
    struct durable *d;
    pthread_mutex_lock(&j->lock);
    *len = g->len + j->opens;
    uint8_t *group = malloc(halves_size_of(&j->halves, *len));
    uint8_t *to = group == NULL ? NULL : group + sizeof(struct group_fields);
    *count = g->count;
    DL_FOREACH(j->members, d)
    {
        const struct entry_fields f = open_entry(d);
        if (group != NULL)
            to = put_entry(to, &f, d->name);
        (*count)++;
    }
    pthread_mutex_unlock(&j->lock);
    if (group != NULL)
        memcpy(to, g->at + sizeof(struct group_fields), g->len);
    return group;
}

/* The group does not fit: it begins the other half. */
static enum err turn(struct journal *j, const struct gather *g, uint64_t number)
{
    uint64_t len;
    uint32_t count;
    if (!until_retired(j))
        return j->why;
    uint8_t *group = with_opens(j, g, &len, &count);
    if (group == NULL)
        return ERR_ENOMEM;
    pthread_mutex_lock(&j->files);
    const uint64_t last = j->halves.half[j->halves.current].last_group;
    enum err e = halves_turn(&j->halves, 1, number);
    if (e == OK)
        e = halves_append(&j->halves, group, number, len, count);
    pthread_mutex_unlock(&j->files);
    free(group);
    pthread_mutex_lock(&j->lock);
    j->other_last = last;
    pthread_mutex_unlock(&j->lock);
    return e;
}

static enum err write_group(struct journal *j, const struct gather *g, uint64_t number)
{
    if (!halves_fit(&j->halves, g->len))
        return turn(j, g, number);
    pthread_mutex_lock(&j->files);
    enum err e = halves_append(&j->halves, g->at, number, g->len, g->count);
    pthread_mutex_unlock(&j->files);
    return e;
}

static void empty(struct gather *g)
{
    g->len = g->last = 0;
    g->count = 0;
}

/* With the lock, which is given away meanwhile. */
static void commit(struct journal *j)
{
    struct gather *g = &j->gathers[j->gathering];
    const uint64_t number = j->number;
    j->gathering = !j->gathering;
    j->number++;
    pthread_mutex_unlock(&j->lock);
    enum err e = write_group(j, g, number);
    if (e != OK)
        fail(j, e, "a group cannot be written");
    pthread_mutex_lock(&j->lock);
    j->groups++;
    j->syncs++;
    j->records += g->count;
    j->bytes += g->len;
    empty(g);
    if (e == OK)
        j->durable = number;
    const struct half *f = &j->halves.half[j->halves.current];
    j->generation = f->generation;
    j->half_full = j->other_last > 0 && f->end > f->size / 2;
    pthread_cond_broadcast(&j->changed);
}

static bool is_due(const struct journal *j)
{
    return j->state == JOURNAL_READY && j->gathers[j->gathering].count > 0 &&
           j->wanted >= j->number;
}

static void *run_committer(void *arg)
{
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    while (!j->stopping) {
        if (!is_due(j)) {
            wait_for_change(j);
            continue;
        }
        commit(j);
        pthread_mutex_unlock(&j->lock);
        notify(j);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

static void *run_retirer(void *arg)
{
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    while (!j->stopped) {
        if (!j->half_full || j->state != JOURNAL_READY) {
            wait_for_change(j);
            continue;
        }
        pthread_mutex_unlock(&j->lock);
        retire(j);
        notify(j);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* With the lock: something more becomes durable. */
static void wait_for_commit(struct journal *j, uint64_t group)
{
    if (j->wanted < group) {
        j->wanted = group;
        pthread_cond_broadcast(&j->changed);
    }
    if (j->options.threads)
        wait_for_change(j);
    else
        commit(j);
}

static enum err wait_until(struct journal *j, uint64_t group)
{
    while (j->durable < group && j->state == JOURNAL_READY)
        wait_for_commit(j, group);
    return j->durable >= group ? OK : ERR_EIO;
}

enum err journal_wait(struct journal *j, uint64_t group)
{
    pthread_mutex_lock(&j->lock);
    enum err e = wait_until(j, group);
    pthread_mutex_unlock(&j->lock);
    return e;
}

void journal_kick(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    if (j->state == JOURNAL_READY && j->gathers[j->gathering].count > 0 && j->wanted < j->number) {
        j->wanted = j->number;
        pthread_cond_broadcast(&j->changed);
    }
    pthread_mutex_unlock(&j->lock);
}

/* --- recording ------------------------------------------------------------------------------- */

/* What the loop may record at once has room for so much before it is asked again. */
static uint64_t spare(const struct journal *j)
{
    return j->options.limits->group / 4;
}

bool journal_has_room(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    const bool has = j->state != JOURNAL_READY ||
                     j->gathers[j->gathering].len + spare(j) <= j->options.limits->group;
    pthread_mutex_unlock(&j->lock);
    return has;
}

/* With the lock: a place for an entry in the group that gathers. */
static enum err make_room(struct journal *j, uint64_t size)
{
    while (j->state == JOURNAL_READY &&
           j->gathers[j->gathering].len + size > j->options.limits->group)
        wait_for_commit(j, j->number);
    return j->state == JOURNAL_READY ? OK : ERR_EIO;
}

static void note(struct durable *d)
{
    d->group = d->journal->number;
    if (d->first == 0)
        d->first = d->group;
}

static uint8_t *end_of(const struct gather *g)
{
    return g->at + sizeof(struct group_fields) + g->len;
}

static enum err append(struct durable *d, const struct entry_fields *f, const void *data)
{
    struct journal *j = d->journal;
    const uint64_t size = sizeof *f + align_up(f->len, 8);
    enum err e = make_room(j, size);
    if (e != OK)
        return e;
    struct gather *g = &j->gathers[j->gathering];
    uint8_t *at = end_of(g);
    memset(at + size - 8, 0, 8);
    memcpy(at, f, sizeof *f);
    if (f->len > 0 && !guard_copy(at + sizeof *f, data, f->len))
        return ERR_EIO;
    g->last = f->kind == ENTRY_WRITE && f->len % 8 == 0 ? g->len + sizeof(struct group_fields) : 0;
    g->len += size;
    g->count++;
    if (f->kind == ENTRY_WRITE)
        note(d);
    else
        d->group = j->number;
    return OK;
}

/* What follows the last store without a gap is joined to it. */
static bool join(struct durable *d, uint64_t pos, const void *from, size_t len)
{
    const struct journal *j = d->journal;
    struct gather *g = (struct gather *)&j->gathers[j->gathering];
    struct entry_fields f;
    if (g->last == 0 || len % 8 != 0 || g->len + len > j->options.limits->group)
        return false;
    memcpy(&f, g->at + g->last, sizeof f);
    if (f.serial != d->serial || f.offset + f.len != pos ||
        f.len + len > j->options.limits->piece || !guard_copy(end_of(g), from, len))
        return false;
    f.len += (uint32_t)len;
    memcpy(g->at + g->last, &f, sizeof f);
    g->len += len;
    return true;
}

static enum err record(struct durable *d, uint64_t pos, const uint8_t *from, size_t len)
{
    const uint64_t piece = d->journal->options.limits->piece;
    enum err e = OK;
    if (join(d, pos, from, len))
        return OK;
    while (e == OK && len > 0) {
        const size_t n = len < piece ? len : (size_t)piece;
        const struct entry_fields f = {
            .serial = d->serial, .kind = ENTRY_WRITE, .offset = pos, .len = (uint32_t)n};
        e = append(d, &f, from);
        pos += n;
        from += n;
        len -= n;
    }
    return e;
}

enum err journal_record(struct durable *d, uint64_t pos, const void *from, size_t len)
{
    struct journal *j = d->journal;
    if (d->passed || len == 0)
        return OK;
    pthread_mutex_lock(&j->lock);
    enum err e = j->state == JOURNAL_READY && !d->failed ? record(d, pos, from, len) : ERR_EIO;
    pthread_mutex_unlock(&j->lock);
    return e;
}

void journal_pass(struct durable *d, bool on)
{
    d->passed = on;
}

/* What was recorded so far must be in earlier groups than the floor names: else it would be stored
 * again over what was not recorded. */
enum err journal_floor(struct durable *d)
{
    struct journal *j = d->journal;
    pthread_mutex_lock(&j->lock);
    enum err e = wait_until(j, d->group);
    const uint64_t group = j->number;
    pthread_mutex_unlock(&j->lock);
    if (e == OK)
        e = sync_and_cover(d);
    pthread_mutex_lock(&j->lock);
    const struct entry_fields f = {.serial = d->serial, .kind = ENTRY_FLOOR, .offset = group};
    if (e == OK)
        e = append(d, &f, NULL);
    if (e == OK)
        e = wait_until(j, d->group);
    pthread_mutex_unlock(&j->lock);
    return e;
}

/* --- what is known --------------------------------------------------------------------------- */

uint64_t journal_big(const struct journal *j)
{
    return j->options.limits->piece;
}

struct journal *journal_of(const struct durable *d)
{
    return d->journal;
}

uint64_t journal_group(const struct durable *d)
{
    pthread_mutex_lock(&d->journal->lock);
    const uint64_t group = d->group;
    pthread_mutex_unlock(&d->journal->lock);
    return group;
}

enum err journal_look(struct journal *j, uint64_t group)
{
    pthread_mutex_lock(&j->lock);
    enum err e = j->durable >= group ? OK : j->state == JOURNAL_READY ? ERR_WAIT : ERR_EIO;
    pthread_mutex_unlock(&j->lock);
    return e;
}

bool journal_failed(struct journal *j)
{
    return state_of(j) == JOURNAL_FAILED;
}

void journal_look_at(struct journal *j, struct journal_info *info)
{
    const struct durable *d;
    pthread_mutex_lock(&j->lock);
    *info = (struct journal_info){.state = j->state,
                                  .half_size = j->options.limits->half,
                                  .generation = j->generation,
                                  .groups = j->groups,
                                  .records = j->records,
                                  .bytes = j->bytes,
                                  .syncs = j->syncs};
    DL_FOREACH(j->members, d)
    {
        info->objects += d->object != NULL;
        info->kept += d->object == NULL || d->failed;
    }
    pthread_mutex_unlock(&j->lock);
}

/* --- its life -------------------------------------------------------------------------------- */

struct journal *journal_new(const struct journal_options *options)
{
    struct journal *j = calloc(1, sizeof *j);
    if (j == NULL)
        return NULL;
    j->options = *options;
    j->dir = j->lock_fd = -1;
    j->halves.half[0].fd = j->halves.half[1].fd = -1;
    const size_t len = strlen(options->data_dir) + sizeof "/.emmap";
    j->path = malloc(len);
    if (j->path == NULL) {
        free(j);
        return NULL;
    }
    snprintf(j->path, len, "%s/.emmap", options->data_dir);
    pthread_mutex_init(&j->lock, NULL);
    pthread_mutex_init(&j->files, NULL);
    pthread_cond_init(&j->changed, NULL);
    return j;
}

static const char owner_attribute[] = "user.emmap.owner";

/* Durable when it returns. */
static enum err make_dir(const struct journal_options *o, const char *path)
{
    if (os.make_dir(AT_FDCWD, path, 0700) != 0 && errno != EEXIST)
        return last_error();
    const int fd = os.open(AT_FDCWD, o->data_dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return last_error();
    const enum err e = os.sync_all(fd) == 0 ? OK : last_error();
    os.close(fd);
    return e;
}

static int open_lock(int dir, bool make)
{
    int fd = os.open_beneath(dir, "lock", O_RDWR | O_NOFOLLOW, 0);
    if (fd < 0 && errno == ENOENT && make)
        fd = os.open_beneath(dir, "lock", O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 && errno == EEXIST) /* another one was faster */
        fd = os.open_beneath(dir, "lock", O_RDWR | O_NOFOLLOW, 0);
    return fd;
}

static enum err take_lock(int lock, const char *node, char owner[JOURNAL_OWNER])
{
    if (os.lock_exclusive(lock) != 0) {
        const enum err e = last_error();
        const ssize_t n = os.get_attribute(lock, owner_attribute, owner, JOURNAL_OWNER - 1);
        owner[n > 0 ? n : 0] = '\0';
        return e;
    }
    if (node != NULL)
        (void)os.set_attribute(lock, owner_attribute, node, strlen(node));
    return OK;
}

/* The directory and the lock, which is made where somebody has removed it from a journal of ours.
 * ERR_ENOENT: there is no journal; with `make` there is a directory for it then. */
static enum err lock_dir(const struct journal *j, const char *path, bool make, int *dir, int *lock,
                         char owner[JOURNAL_OWNER])
{
    const bool is_ours = strcmp(path, j->path) == 0;
    owner[0] = '\0';
    *lock = -1;
    enum err e = make ? make_dir(&j->options, path) : OK;
    *dir = e == OK ? os.open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0) : -1;
    if (e == OK && *dir < 0)
        e = last_error();
    if (e == OK) {
        *lock = open_lock(*dir, is_ours);
        e = *lock < 0 ? last_error() : take_lock(*lock, j->options.node, owner);
    }
    if (e != OK) {
        if (*lock >= 0)
            os.close(*lock);
        if (*dir >= 0)
            os.close(*dir);
        *dir = *lock = -1;
    }
    return e;
}

/* What the halves have is stored where it belongs; then they are as good as empty. */
static enum err replay_halves(struct halves *h, const struct paths *paths, char why[JOURNAL_WHY],
                              uint64_t *greatest)
{
    unsigned order[2];
    unsigned file;
    uint64_t offset;
    const unsigned n = halves_in_order(h, order);
    enum err e = OK;
    for (unsigned i = 0; i < n && e == OK; i++)
        e = halves_walk(h, &h->half[order[i]], NULL, NULL);
    if (e == OK)
        e = halves_check(h, why, &file, &offset);
    if (e == OK)
        e = replay_all(h, paths, greatest);
    if (n > 0 && h->half[order[n - 1]].last_group > *greatest)
        *greatest = h->half[order[n - 1]].last_group;
    return e;
}

static bool is_empty(const struct halves *h)
{
    const struct half *f = &h->half[h->current];
    return f->state == HALF_GOOD && f->end == h->limits->page;
}

/* From here on groups go to a half that has none: its generation is not one more than the other's,
 * so that nothing of that counts. Where the newer one has none yet, its header may be in the cache
 * only, if the last daemon could not sync it: it is written again before the other's is touched. */
static enum err begin_anew(struct halves *h, uint64_t greatest)
{
    const struct half *f = &h->half[h->current];
    if (is_empty(h) && f->size == h->limits->half && !f->kept)
        return halves_begin_again(h, greatest + 1);
    return halves_turn(h, 2, greatest + 1);
}

static void end_thread(struct journal *j, bool *stop, pthread_t thread)
{
    pthread_mutex_lock(&j->lock);
    *stop = true;
    pthread_cond_broadcast(&j->changed);
    pthread_mutex_unlock(&j->lock);
    pthread_join(thread, NULL);
}

static enum err start_threads(struct journal *j)
{
    j->stopping = j->stopped = false;
    if (!j->options.threads)
        return OK;
    if (pthread_create(&j->committer, NULL, run_committer, j) != 0)
        return ERR_ENOMEM;
    if (pthread_create(&j->retirer, NULL, run_retirer, j) == 0) {
        j->has_threads = true;
        return OK;
    }
    end_thread(j, &j->stopping, j->committer);
    return ERR_ENOMEM;
}

static enum err make_gathers(struct journal *j)
{
    const uint64_t size = j->options.limits->group + 2 * j->options.limits->page;
    for (int i = 0; i < 2; i++) {
        j->gathers[i].at = malloc(size);
        if (j->gathers[i].at == NULL)
            return ERR_ENOMEM;
        empty(&j->gathers[i]);
    }
    return OK;
}

static void close_files(struct journal *j)
{
    halves_close(&j->halves);
    if (j->lock_fd >= 0)
        os.close(j->lock_fd);
    if (j->dir >= 0)
        os.close(j->dir);
    j->dir = j->lock_fd = -1;
    for (int i = 0; i < 2; i++) {
        free(j->gathers[i].at);
        j->gathers[i].at = NULL;
    }
}

static enum err start_locked(struct journal *j, bool make, char why[JOURNAL_WHY])
{
    uint64_t greatest = 0;
    enum err e = halves_open(&j->halves, j->dir, j->options.limits, why);
    const bool fresh = e == ERR_ENOENT;
    if (fresh && !make)
        return e;
    if (e == OK)
        e = replay_halves(&j->halves, j->options.paths, why, &greatest);
    if (e == OK || fresh)
        e = halves_make(&j->halves);
    if (e == OK)
        e = begin_anew(&j->halves, greatest);
    if (e == OK)
        e = make_gathers(j);
    if (e != OK)
        return e;
    const struct half *f = &j->halves.half[j->halves.current];
    pthread_mutex_lock(&j->lock);
    j->generation = f->generation;
    j->number = f->first_group;
    j->durable = j->wanted = j->number - 1;
    j->other_last = 0;
    j->gathering = 0;
    pthread_mutex_unlock(&j->lock);
    return start_threads(j);
}

static enum err start(struct journal *j, bool make, char why[JOURNAL_WHY],
                      char owner[JOURNAL_OWNER])
{
    enum err e = lock_dir(j, j->path, make, &j->dir, &j->lock_fd, owner);
    if (e == OK)
        e = start_locked(j, make, why);
    if (e != OK)
        close_files(j);
    pthread_mutex_lock(&j->lock);
    j->state = e == OK ? JOURNAL_READY : e == ERR_LOCKED ? JOURNAL_LOCKED : JOURNAL_NONE;
    pthread_mutex_unlock(&j->lock);
    return e;
}

enum err journal_start(struct journal *j, char why[JOURNAL_WHY])
{
    char owner[JOURNAL_OWNER];
    why[0] = '\0';
    enum err e = start(j, false, why, owner);
    if (e == ERR_LOCKED)
        log_warning("the journal in %s belongs to %s: no durable objects here", j->path,
                    owner[0] != '\0' ? owner : "another program");
    return e == ERR_ENOENT ? OK : e;
}

static void stop_threads(struct journal *j)
{
    if (!j->has_threads)
        return;
    end_thread(j, &j->stopping, j->committer);
    end_thread(j, &j->stopped, j->retirer);
    j->has_threads = false;
}

static void member_free(struct durable *d)
{
    pthread_mutex_destroy(&d->syncs);
    free(d);
}

void journal_free(struct journal *j)
{
    struct durable *d;
    struct durable *next;
    if (j == NULL)
        return;
    stop_threads(j);
    /* an empty half is read in no time by the next daemon */
    if (j->state == JOURNAL_READY && j->members == NULL && !is_empty(&j->halves))
        (void)begin_anew(&j->halves, j->durable);
    DL_FOREACH_SAFE(j->members, d, next)
    member_free(d);
    close_files(j);
    pthread_cond_destroy(&j->changed);
    pthread_mutex_destroy(&j->files);
    pthread_mutex_destroy(&j->lock);
    free(j->path);
    free(j);
}

/* --- joining and leaving --------------------------------------------------------------------- */

/* Two openings at once may be the first. */
static enum err prepare(struct journal *j, char owner[JOURNAL_OWNER])
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    char why[JOURNAL_WHY] = "";
    owner[0] = '\0';
    pthread_mutex_lock(&one_at_a_time);
    const enum journal_state state = state_of(j);
    enum err e = state == JOURNAL_READY    ? OK
                 : state == JOURNAL_FAILED ? ERR_EIO
                                           : start(j, true, why, owner);
    pthread_mutex_unlock(&one_at_a_time);
    if (e != ERR_DAMAGED)
        return e;
    log_error("the journal in %s: %s", j->path, why);
    return ERR_EIO;
}

static bool has_serial(const struct journal *j, uint32_t serial)
{
    const struct durable *d = j->members;
    while (d != NULL && d->serial != serial)
        d = d->next;
    return d != NULL;
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
    while (d->serial == 0 || has_serial(j, d->serial));
    pthread_mutex_unlock(&j->lock);
    return d;
}

/* Who reads the list must not meet one that is gone. */
static void take_out(struct durable *d)
{
    struct journal *j = d->journal;
    while (d->pins > 0)
        wait_for_change(j);
    DL_DELETE(j->members, d);
    j->opens -= open_size(d);
}

static enum err enter(struct durable *d)
{
    struct journal *j = d->journal;
    const struct entry_fields f = open_entry(d);
    pthread_mutex_lock(&j->lock);
    enum err e = j->opens + open_size(d) > spare(j) ? ERR_MAX_OBJECTS : OK;
    if (e == OK) {
        DL_APPEND(j->members, d);
        j->opens += open_size(d);
        e = append(d, &f, d->name);
        if (e == OK)
            e = wait_until(j, d->group);
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
        wait_for_change(j);
    d->object = NULL;
    if (is_plain)
        take_out(d);
    pthread_mutex_unlock(&j->lock);
    if (is_plain)
        member_free(d);
}

/* The journal knows it before the mark says so: whenever the end comes, the next start can take
 * the mark away. */
enum err journal_join(struct journal *j, struct object *o, const char *path,
                      char owner[JOURNAL_OWNER])
{
    enum err e = prepare(j, owner);
    if (e != OK)
        return e;
    struct durable *d = member_new(j, o, path);
    if (d == NULL)
        return ERR_ENOMEM;
    e = map_sync(&o->map) == OK ? enter(d) : object_sync_failed(o);
    if (e != OK) {
        member_free(d);
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
    enum err e = has_failed(d) || journal_failed(j) ? ERR_EIO : journal_wait(j, d->group);
    if (e == OK)
        e = sync_and_cover(d);
    if (e != OK)
        return e;
    pthread_mutex_lock(&j->lock);
    e = append(d, &f, NULL);
    if (e == OK)
        e = wait_until(j, d->group);
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
        wait_for_change(j);
    d->object = NULL;
    if (e == OK)
        take_out(d);
    pthread_mutex_unlock(&j->lock);
    if (e == OK)
        member_free(d);
    else
        log_error("\"%s\": could not be synced when it was closed: its records in the journal are "
                  "kept",
                  d->name);
    return e;
}

/* --- what journals have of a file ------------------------------------------------------------ */

static struct durable *member_of(const struct journal *j, uint32_t serial)
{
    struct durable *d = j->members;
    while (d != NULL && d->serial != serial)
        d = d->next;
    return d;
}

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
    enum err e = is_known ? wait_until(j, d->group) : ERR_NEEDS_JOURNAL;
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
    member_free(d);
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

/* The journal of a daemon that is no more. */
static enum err adopt(const struct journal *j, const char *path)
{
    struct halves h;
    char why[JOURNAL_WHY] = "";
    char owner[JOURNAL_OWNER];
    uint64_t greatest = 0;
    int dir;
    int lock;
    enum err e = lock_dir(j, path, false, &dir, &lock, owner);
    if (e != OK)
        return e;
    e = halves_open(&h, dir, j->options.limits, why);
    if (e == OK) {
        e = replay_halves(&h, j->options.paths, why, &greatest);
        if (e == OK)
            e = halves_make(&h);
        if (e == OK)
            e = begin_anew(&h, greatest);
        halves_close(&h);
    }
    if (e == OK)
        log_notice("the journal in %s was left behind: what it had is stored", path);
    else
        log_error("the journal in %s was left behind and cannot be replayed: %s", path,
                  why[0] != '\0' ? why : err_text(e));
    os.close(lock);
    os.close(dir);
    return e;
}

/* Two openings at once may meet the same journal. */
static enum err adopt_alone(const struct journal *j, const char *path)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one_at_a_time);
    const enum err e = adopt(j, path);
    pthread_mutex_unlock(&one_at_a_time);
    return e;
}

static bool is_of(struct journal *j, const struct mark *m)
{
    const enum journal_state state = state_of(j);
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
    if (!j->options.adopts || strcmp(mark.dir, j->path) == 0 || adopt_alone(j, mark.dir) != OK)
        return ERR_NEEDS_JOURNAL;
    return mark_read(fd, &mark) == ERR_ENOENT ? OK : ERR_NEEDS_JOURNAL;
}
