/* What the journal is made of, for the files that make it: journal, journal_start, journal_join. */
#ifndef STORE_JOURNAL_INSIDE_H
#define STORE_JOURNAL_INSIDE_H

#include <pthread.h>

#include "store/journal.h"
#include "store/replay.h"

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
    bool lost;             /* see journal_lose */
    pthread_mutex_t syncs; /* one at a time: a failure is told once */
    char name[];
};

struct journal {
    struct journal_options options;
    char *path; /* of the directory */
    pthread_mutex_t lock, files;
    pthread_cond_t due, full; /* for the two threads: there is work */
    pthread_cond_t changed;   /* for all others */
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
    uint64_t failures; /* of files of objects */
};

/* --- journal.c: with the lock, but for those that say otherwise ------------------------------- */

void journal_empty(struct gather *g);

/* An entry in the group that gathers; may wait for room. journal_spare: how much there is before
 * the loop is asked to wait. */
enum err journal_append(struct durable *d, const struct entry_fields *f, const void *data);
uint64_t journal_spare(const struct journal *j);

/* What a half says of each object first. */
uint64_t journal_open_size(const struct durable *d);
struct entry_fields journal_open_entry(const struct durable *d);

enum err journal_wait_until(struct journal *j, uint64_t group);
void journal_wait_for_change(struct journal *j);

/* Without the lock. */
enum journal_state journal_state_of(struct journal *j);
bool journal_has_failed(struct durable *d);
enum err journal_sync_and_cover(struct durable *d);
enum err journal_start_threads(struct journal *j);
void journal_stop_threads(struct journal *j);

/* --- journal_start.c ---------------------------------------------------------------------------
 */

/* journal_prepare makes sure that there is a journal to join. journal_adopt replays one that a
 * daemon elsewhere has left. */
enum err journal_prepare(struct journal *j, char owner[JOURNAL_OWNER]);
enum err journal_adopt(const struct journal *j, const char *path);

/* --- journal_join.c ----------------------------------------------------------------------------
 */

void journal_member_free(struct durable *d);

#endif
