/* Snapshots: a copy of an object as it is at one instant, made while it goes on being used. A
 * thread copies from the beginning to the end; who stores into a page that it has not come to yet
 * first saves that page in memory, and the thread takes it from there. So nobody waits for the
 * copy, unless more is saved than there is room for. */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include "store/object.h"

struct snapshot;

/* So many pages are kept at most before changes have to wait; so many snapshots at once. */
enum { SNAPSHOT_SAVED = 4096, SNAPSHOTS = 8 };

struct snapshot_order {
    const struct paths *paths;
    const char *to; /* as path_resolve made it; copied */
    bool any_file_system;
    mode_t mode;             /* where the object has no file whose mode it could have */
    void (*over)(void *arg); /* by the thread, last of all */
    void *arg;
};

/* snapshot_begin: the instant, between two changes of the object; its file is made under the name
 * `to` when it is complete and on the disk, or not at all. Until snapshot_end it is the object's.
 * An object that is memory or a private copy is copied before this returns. By who has the object,
 * may wait. ERR_EEXIST; ERR_EBUSY: there is one already, or too many of others; and errors of
 * making a file. */
enum err snapshot_begin(struct object *o, const struct snapshot_order *order,
                        struct snapshot **begun);

bool snapshot_is_over(const struct snapshot *s);

/* snapshot_end tells how a snapshot that is over has ended, and frees it; by who has the object, or
 * for one that is closed. ERR_CLOSED: the object was closed; ERR_EIO: a page of it cannot be read,
 * or what it shows did not become durable. There is a file only where it is OK. */
enum err snapshot_end(struct object *o, struct snapshot *s, uint64_t *size);

/* --- for who changes the object -------------------------------------------------------------- */

/* snapshot_before: these bytes are about to be changed or cut off; before each change of them. More
 * than this at once may wait until there is room for them. */
enum { SNAPSHOT_AT_ONCE = 256 << 10 };
void snapshot_before(struct object *o, uint64_t pos, uint64_t len);

/* Is there room for what one more change would save? snapshot_wait: until there is. */
bool snapshot_has_room(struct object *o);
void snapshot_wait(struct object *o);

/* snapshot_hold and snapshot_let enclose a change of the object's descriptor. */
void snapshot_hold(struct object *o);
void snapshot_let(struct object *o);

/* snapshot_leave: the object's file is not to be read any more. What was not copied yet makes the
 * snapshot end with this error. */
void snapshot_leave(struct object *o, enum err why);

#endif
