/* A decoded request finds its object. */
#ifndef PROTO_CALL_H
#define PROTO_CALL_H

#include "proto/engine.h"
#include "proto/entry.h"
#include "proto/handle.h"

/* call_resolve sets the handle and the entry that the first argument means; `entry` where the line
 * already knows it, else NULL. A name that nobody has open gets an entry that is closed. */
enum err call_resolve(struct call *c, struct entry *entry);

/* call_path: the absolute name that a term means. ERR_BADARG: it is no name; as path_resolve. */
enum err call_path(const struct server *s, struct span name, char path[PATH_MAX]);

/* call_open_entry: the open object that an id or a name means for this client, or NULL. */
struct entry *call_open_entry(struct client *c, struct span object);

/* Items would be given to somebody who is not there any more. */
bool call_is_in_vain(const struct call *c);

/* call_begin notes when and for whom it is: on the loop, before it is decoded. */
void call_begin(struct call *c);

/* call_do runs the request on its open object, if it is of the right kind and may be changed. On
 * an error the reply is {error, Reason}, but for ERR_WOULD_BLOCK: then nothing is appended. */
enum err call_do(struct call *c);

/* call_checked takes a reply that failed with e, or does not fit, back to where it began: its place
 * is taken by the error. `failed` is what `out` was there: something before it does not fit. */
enum err call_checked(struct buf *out, size_t from, bool failed, enum err e);

/* call_note counts the answered call for its client and, where it has an entry, for that.
 * call_note_later: only its bytes, for the answer is held (held.h). */
void call_note(const struct call *c, enum err result);
void call_note_later(const struct call *c);

/* call_count: the same of a request that is no call any more. */
void call_count(struct client *c, struct entry *e, const struct sample *one);

/* call_refused counts what was answered with an error before it could become a call. */
void call_refused(struct client *c);

#endif
