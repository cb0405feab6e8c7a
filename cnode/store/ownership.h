/* Whose a file is: its links, its lock, and the attribute that tells who has the lock. */
#ifndef STORE_OWNERSHIP_H
#define STORE_OWNERSHIP_H

#include "store/object.h"

/* ownership_check, of the file that was found under the name: ERR_EACCES where it has several names
 * and belongs to another user. Somebody may have put a link to a file that he must not change where
 * we are asked to change it. Nothing is checked beneath the prefix "/", where everything is
 * allowed; and a file of the NIF library may have the second name that its conversion gave it. */
enum err ownership_check(const struct paths *paths, const struct opening *o);

/* ownership_lock locks the file, exclusively or shared; who has it exclusively is told to others by
 * an attribute; one that is still there is of somebody who did not come to take it back
 * (`unclean`). ERR_LOCKED: `owner` is set, "" where nobody knows. */
enum err ownership_lock(struct opening *o, bool alone);

/* ownership_read: the node that holds the file exclusively; "": nobody does, or nobody knows. */
enum { OWNER_MOST = 128 };
void ownership_read(int fd, char owner[OWNER_MOST]);

/* ownership_is_told: does the file's attribute name somebody? */
bool ownership_is_told(int fd);

/* ownership_share: the lock is a shared one from here on. */
void ownership_share(struct object *object);

/* ownership_end takes the attribute back, before the file is closed. */
void ownership_end(const struct object *object);

#endif
