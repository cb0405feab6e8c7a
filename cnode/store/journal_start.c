/* The life of a journal: the directory and its lock, what is found there, and its orderly end. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include <utlist.h>

#include "store/journal_inside.h"
#include "sys/log.h"
#include "sys/os.h"

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
    pthread_cond_init(&j->due, NULL);
    pthread_cond_init(&j->full, NULL);
    return j;
}

static const char owner_attribute[] = "user.emmap.owner";

/* Durable when it returns. */
static enum err make_dir(const struct journal_options *o, const char *path)
{
    if (os.make_dir(AT_FDCWD, path, 0700) != 0 && errno != EEXIST)
        return err_last();
    const int fd = os.open(AT_FDCWD, o->data_dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return err_last();
    const enum err e = os.sync_all(fd) == 0 ? OK : err_last();
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
        const enum err e = err_last();
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
        e = err_last();
    if (e == OK) {
        *lock = open_lock(*dir, is_ours);
        e = *lock < 0 ? err_last() : take_lock(*lock, j->options.node, owner);
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
    enum err e = halves_check(h, why, &file, &offset);
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
 * so that nothing of that counts; and never more than two, or a harmed header could not be told
 * from a torn one. Where the newer one has none yet, its header may be in the cache only, if the
 * last daemon could not sync it: it is written again before the other's is touched. */
static enum err begin_anew(struct halves *h, uint64_t greatest)
{
    enum err e = is_empty(h) ? halves_store_again(h) : OK;
    return e == OK ? halves_turn(h, 2, greatest + 1) : e;
}

/* What was found there is stored: nothing of it may count again, nor anything that we did not
 * write. */
static enum err begin_life(struct halves *h, uint64_t greatest)
{
    enum err e = halves_make(h);
    if (e == OK)
        e = begin_anew(h, greatest);
    return e == OK ? halves_wipe_later(h) : e;
}

static enum err make_gathers(struct journal *j)
{
    const uint64_t size = j->options.limits->group + (uint64_t)2 * j->options.limits->page;
    for (int i = 0; i < 2; i++) {
        j->gathers[i].at = malloc(size);
        if (j->gathers[i].at == NULL)
            return ERR_ENOMEM;
        journal_empty(&j->gathers[i]);
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
        e = begin_life(&j->halves, greatest);
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
    return journal_start_threads(j);
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

void journal_free(struct journal *j)
{
    struct durable *d;
    struct durable *next;
    if (j == NULL)
        return;
    journal_stop_threads(j);
    /* an empty half is read in no time by the next daemon */
    if (j->state == JOURNAL_READY && j->members == NULL && !is_empty(&j->halves))
        (void)begin_anew(&j->halves, j->durable);
    DL_FOREACH_SAFE(j->members, d, next)
    journal_member_free(d);
    close_files(j);
    pthread_cond_destroy(&j->changed);
    pthread_cond_destroy(&j->due);
    pthread_cond_destroy(&j->full);
    pthread_mutex_destroy(&j->files);
    pthread_mutex_destroy(&j->lock);
    free(j->path);
    free(j);
}

/* Two openings at once may be the first. */
enum err journal_prepare(struct journal *j, char owner[JOURNAL_OWNER])
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    char why[JOURNAL_WHY] = "";
    owner[0] = '\0';
    pthread_mutex_lock(&one_at_a_time);
    const enum journal_state state = journal_state_of(j);
    enum err e = state == JOURNAL_READY    ? OK
                 : state == JOURNAL_FAILED ? ERR_EIO
                                           : start(j, true, why, owner);
    pthread_mutex_unlock(&one_at_a_time);
    if (e != ERR_DAMAGED)
        return e;
    log_error("the journal in %s: %s", j->path, why);
    return ERR_EIO;
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
            e = begin_life(&h, greatest);
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
enum err journal_adopt(const struct journal *j, const char *path)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one_at_a_time);
    const enum err e = adopt(j, path);
    pthread_mutex_unlock(&one_at_a_time);
    return e;
}
