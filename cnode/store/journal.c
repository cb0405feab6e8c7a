#include <stdlib.h>

#include <utlist.h>

#include "store/failed.h"
#include "store/journal_inside.h"
#include "sys/guard.h"
#include "sys/log.h"

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

enum journal_state journal_state_of(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    const enum journal_state state = j->state;
    pthread_mutex_unlock(&j->lock);
    return state;
}

/* --- failure --------------------------------------------------------------------------------- */

bool journal_has_failed(struct durable *d)
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
    pthread_mutex_lock(&d->journal->lock);
    d->journal->failures++;
    pthread_mutex_unlock(&d->journal->lock);
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
    const bool failed = journal_has_failed(d);
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

enum err journal_sync_and_cover(struct durable *d)
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
    return journal_sync_and_cover(d);
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
    enum err e = lost ? keep(j, d) : journal_sync_and_cover(d);
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
void journal_wait_for_change(struct journal *j)
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
        pthread_cond_signal(&j->full);
        journal_wait_for_change(j);
    }
    const bool good = j->state == JOURNAL_READY;
    pthread_mutex_unlock(&j->lock);
    return good;
}

static uint8_t *put_entry(uint8_t *to, const struct entry_fields *f, const void *data)
{
    const uint64_t padded = align_up(f->len, 8);
    memcpy(to, f, sizeof *f);
    if (padded > 0)
        memset(to + sizeof *f + padded - 8, 0, 8);
    if (f->len > 0)
        memcpy(to + sizeof *f, data, f->len);
    return to + sizeof *f + padded;
}

uint64_t journal_open_size(const struct durable *d)
{
    return sizeof(struct entry_fields) + align_up(strlen(d->name), 8);
}

struct entry_fields journal_open_entry(const struct durable *d)
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
        const struct entry_fields f = journal_open_entry(d);
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

void journal_empty(struct gather *g)
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
    journal_empty(g);
    if (e == OK)
        j->durable = number;
    const struct half *f = &j->halves.half[j->halves.current];
    j->generation = f->generation;
    j->half_full = j->other_last > 0 && f->end > f->size / 2;
    if (j->half_full)
        pthread_cond_signal(&j->full);
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
            pthread_cond_wait(&j->due, &j->lock);
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
            pthread_cond_wait(&j->full, &j->lock);
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
        pthread_cond_signal(&j->due);
    }
    if (j->options.threads)
        journal_wait_for_change(j);
    else
        commit(j);
}

enum err journal_wait_until(struct journal *j, uint64_t group)
{
    while (j->durable < group && j->state == JOURNAL_READY)
        wait_for_commit(j, group);
    return j->durable >= group ? OK : ERR_EIO;
}

enum err journal_wait(struct journal *j, uint64_t group)
{
    pthread_mutex_lock(&j->lock);
    enum err e = journal_wait_until(j, group);
    pthread_mutex_unlock(&j->lock);
    return e;
}

void journal_kick(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    if (j->state == JOURNAL_READY && j->gathers[j->gathering].count > 0 && j->wanted < j->number) {
        j->wanted = j->number;
        pthread_cond_signal(&j->due);
    }
    pthread_mutex_unlock(&j->lock);
}

/* --- recording ------------------------------------------------------------------------------- */

/* What the loop may record at once has room for so much before it is asked again. */
uint64_t journal_spare(const struct journal *j)
{
    return j->options.limits->group / 4;
}

bool journal_has_room(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    const bool has = j->state != JOURNAL_READY ||
                     j->gathers[j->gathering].len + journal_spare(j) <= j->options.limits->group;
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

enum err journal_append(struct durable *d, const struct entry_fields *f, const void *data)
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
        e = journal_append(d, &f, from);
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
    d->lost |= e != OK;
    pthread_mutex_unlock(&j->lock);
    return e;
}

void journal_lose(struct durable *d)
{
    pthread_mutex_lock(&d->journal->lock);
    d->lost = true;
    pthread_mutex_unlock(&d->journal->lock);
}

bool journal_has_lost(struct durable *d)
{
    pthread_mutex_lock(&d->journal->lock);
    const bool lost = d->lost;
    pthread_mutex_unlock(&d->journal->lock);
    return lost;
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
    enum err e = journal_wait_until(j, d->group);
    const uint64_t group = j->number;
    pthread_mutex_unlock(&j->lock);
    if (e == OK)
        e = journal_sync_and_cover(d);
    pthread_mutex_lock(&j->lock);
    const struct entry_fields f = {.serial = d->serial, .kind = ENTRY_FLOOR, .offset = group};
    if (e == OK)
        e = journal_append(d, &f, NULL);
    if (e == OK)
        e = journal_wait_until(j, d->group);
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
    return journal_state_of(j) == JOURNAL_FAILED;
}

uint64_t journal_failures(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    const uint64_t failures = j->failures;
    pthread_mutex_unlock(&j->lock);
    return failures;
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

/* --- threads --------------------------------------------------------------------------------- */

static void end_thread(struct journal *j, bool *stop, pthread_t thread)
{
    pthread_mutex_lock(&j->lock);
    *stop = true;
    pthread_cond_signal(&j->due);
    pthread_cond_signal(&j->full);
    pthread_mutex_unlock(&j->lock);
    pthread_join(thread, NULL);
}

enum err journal_start_threads(struct journal *j)
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

void journal_stop_threads(struct journal *j)
{
    if (!j->has_threads)
        return;
    end_thread(j, &j->stopping, j->committer);
    end_thread(j, &j->stopped, j->retirer);
    j->has_threads = false;
}
