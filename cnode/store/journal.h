/* The journal of durable objects (FORMAT.md 4): every store into the mapping of such an object is
 * also recorded here, in order; one sync commits all that was recorded since the last, of all
 * objects. So "its group is durable" stands wherever the file rules say "synced".
 *
 * Groups are written by a thread of the journal's own, so that a commit waits for nothing else;
 * another one syncs the files of the objects before a half is used again. Without threads (crash
 * tests) whoever waits does their work. Any thread may call these, for an object that it has. */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "store/halves.h"
#include "store/object.h"
#include "sys/path.h"

struct journal;
struct durable; /* an object's place in the journal */

extern const struct journal_limits journal_limits;

struct journal_options {
    const char *data_dir; /* the journal is in .emmap there; made with the first durable object */
    const struct paths *paths; /* of the files that it names */
    const struct journal_limits *limits;
    const char *node; /* who has the lock; NULL: says nothing */
    bool adopts;      /* journals of others that nobody holds, to open a file of theirs */
    bool threads;
    void (*notify)(void *arg); /* by a thread: more is durable, or the journal has failed */
    void *arg;
};

/* journal_new makes one that has nothing on the disk yet; NULL without memory. journal_start takes
 * what an earlier daemon has left and replays it. ERR_DAMAGED: `why` says where; ERR_LOCKED:
 * another one has it, and is asked again when a durable object is opened; that is no reason not to
 * serve. journal_free ends it in order: all objects have left. */
struct journal *journal_new(const struct journal_options *options);
enum err journal_start(struct journal *j, char why[JOURNAL_WHY]);
void journal_free(struct journal *j);

/* --- objects --------------------------------------------------------------------------------- */

/* journal_join: from here on the object is durable. Its lock is exclusive and its file synced; path
 * is its absolute name. ERR_LOCKED (`owner` says by whom), ERR_ENOTSUP: no attributes there, and
 * the errors of making the journal. */
enum { JOURNAL_OWNER = 128 };
enum err journal_join(struct journal *j, struct object *o, const char *path,
                      char owner[JOURNAL_OWNER]);

/* journal_leave: the object is a plain file again, everything in it synced. Where that fails its
 * records are kept, and opening it again replays them. */
enum err journal_leave(struct object *o);

/* journal_claim: may a file be opened, as far as journals go? What one of them has of it is stored
 * there first, if that is ours or can be had. ERR_NEEDS_JOURNAL: `dir` has it; ERR_EIO: it is
 * ours, and has failed, or the file has. */
enum err journal_claim(struct journal *j, int fd, char dir[PATH_MAX]);

/* journal_reclaim: the same of an object that failed: it leaves, with what was recorded of it. */
enum err journal_reclaim(struct object *o);

/* journal_record notes what has just been stored. May wait for room. ERR_EIO: the journal has
 * failed, and the object. */
enum err journal_record(struct durable *d, uint64_t pos, const void *from, size_t len);

/* journal_floor: everything stored so far is durable by the file's own sync, and what was recorded
 * of it is void. journal_pass: stores are not recorded from here on, until it is told otherwise;
 * then journal_floor has to follow before anybody is answered. */
enum err journal_floor(struct durable *d);
void journal_pass(struct durable *d, bool on);

/* journal_lose: something was stored, and is neither recorded nor synced. So does a record that
 * fails. journal_has_lost: then the mapping shows what a crash would undo, and nobody may see it.
 */
void journal_lose(struct durable *d);
bool journal_has_lost(struct durable *d);

/* More bytes at once are better passed by. */
uint64_t journal_big(const struct journal *j);

/* journal_sync_file syncs the object's file: what stores need that are to come (space, size). */
enum err journal_sync_file(struct durable *d);

/* --- groups ---------------------------------------------------------------------------------- */

struct journal *journal_of(const struct durable *d);

/* The number of the group that holds the object's last change. */
uint64_t journal_group(const struct durable *d);

/* Is it durable? The journal has failed without that: ERR_EIO. ERR_WAIT: not yet. */
enum err journal_look(struct journal *j, uint64_t group);

/* journal_wait until it is. */
enum err journal_wait(struct journal *j, uint64_t group);

/* journal_kick lets what was gathered be committed as soon as can be. */
void journal_kick(struct journal *j);

/* May so much be recorded without waiting? */
bool journal_has_room(struct journal *j);

/* Has it failed? Nothing becomes durable any more, until the daemon starts again. */
bool journal_failed(struct journal *j);

/* journal_failures: how many objects have failed so far since their files could not be synced; also
 * by a thread of the journal, which then tells of it. */
uint64_t journal_failures(struct journal *j);

enum journal_state { JOURNAL_NONE, JOURNAL_READY, JOURNAL_FAILED, JOURNAL_LOCKED };

struct journal_info {
    enum journal_state state;
    uint64_t half_size, generation;
    uint64_t groups, records, bytes, syncs; /* of this life */
    uint64_t objects;
    uint64_t kept; /* halves that are kept for objects that failed */
};
void journal_look_at(struct journal *j, struct journal_info *info);

#endif
