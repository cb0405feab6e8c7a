/* Replaying the journal (FORMAT.md 4.4): what it has of each object is stored in the object's
 * file. */
#ifndef STORE_REPLAY_H
#define STORE_REPLAY_H

#include "store/halves.h"
#include "sys/path.h"

/* A file's attribute: which journal, which object of it, and where that is. */
#define JOURNAL_ATTRIBUTE "user.emmap.journal"

struct mark {
    uint8_t uuid[JOURNAL_UUID];
    uint32_t serial;
    char dir[PATH_MAX];
};

/* mark_read: ERR_ENOENT: it has none. mark_write and mark_remove are durable when they return. */
enum err mark_read(int fd, struct mark *m);
enum err mark_write(int fd, const struct mark *m);
enum err mark_remove(int fd);

/* replay_all stores everything that counts of all objects; their files are plain afterwards. An
 * object whose file cannot be written keeps its records; one whose file is no more loses them; both
 * are told to the log. `greatest` group number, 0: none. */
enum err replay_all(struct halves *h, const struct paths *paths, uint64_t *greatest);

/* replay_one does that for one object; fd is its file. */
enum err replay_one(struct halves *h, uint32_t serial, int fd);

/* replay_look gives `visit` each record that replay_one would store in the object's file, in order.
 * ERR_ENOENT: the journal does not know the object. */
enum err replay_look(struct halves *h, uint32_t serial, entry_visit *visit, void *arg);

/* How many kept files there are. */
uint64_t replay_kept(const struct halves *h);

#endif
