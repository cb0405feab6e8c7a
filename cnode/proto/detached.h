/* Files that lose their name while they are open: removed, renamed, or another one put in their
 * place. What has the file open goes on with it; the name means what it leads to. */
#ifndef PROTO_DETACHED_H
#define PROTO_DETACHED_H

#include "proto/entry.h"

/* detached_look sees where the entry's name leads, and tells the log once where that is elsewhere;
 * in a worker, which has the object or is beside it. */
void detached_look(struct entry *e);

/* detached_note: it has been seen otherwise that the name leads to another file. */
void detached_note(struct entry *e);

/* detached_is: as it was seen last; that the file has no name at all is seen at once. The loop's.
 */
bool detached_is(struct entry *e);

#endif
