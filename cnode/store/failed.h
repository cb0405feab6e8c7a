/* What becomes of an object whose disk errs: FORMAT.md, section 8. The log tells of each failure
 * once, with the object, the call and the errno. */
#ifndef STORE_FAILED_H
#define STORE_FAILED_H

#include "store/object.h"

/* The object has failed: it is read-only until it is opened again. Both give ERR_EIO; any thread.
 * object_page_failed: a page of the mapping cannot be used. object_sync_failed: after map_sync. A
 * file is marked, since nobody knows which of its pages the disk has. */
enum err object_page_failed(struct object *o);
enum err object_sync_failed(struct object *o);

/* failed_mark marks a file whose fdatasync has failed, before it is an object. */
void failed_mark(int fd, const char *why);

/* object_grown is told how a growth of the file ended, and gives that back. */
enum err object_grown(struct object *o, enum err e);

/* object_mend, before the object serves, of a queue after its recovery: where the file is marked
 * every page is stored again, as it is, and brought to the disk; then the mark goes. What cannot be
 * written to is read-only from the start, as if it had failed just now. ERR_EIO: the disk errs
 * still, the mark stays. May wait. */
enum err object_mend(struct object *o);

#endif
