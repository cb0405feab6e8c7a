/* The line of an object: requests that wait for it, in order, and the one that a worker does. */
#ifndef PROTO_LINE_H
#define PROTO_LINE_H

#include "proto/engine.h"
#include "proto/entry.h"
#include "proto/open.h"

/* line_wait copies the request to the end of the line. `open`, where the request opens, is taken
 * over on success. ERR_MAX_PENDING: too many of this client wait; ERR_MAX_HANDLES: with those that
 * are being opened it would have too many; ERR_MAX_ALL_*: all clients; ERR_ENOMEM. */
enum err line_wait(struct entry *e, const struct request *r, struct open *open, uint64_t since_ns);

/* line_begin gives the first in the line to a worker; for one that has just come, to an idle
 * object, and would block. */
void line_begin(struct entry *e);

/* line_take_back frees what waits under this reference and has not begun. */
void line_take_back(struct client *c, struct span ref);

/* line_closing makes the request that will close a handle; NULL without memory. It is freed with
 * the handle, or at its turn in the line. */
struct pending *line_closing(void);
void line_closing_free(struct pending *p);

/* line_close lets the handle be closed after what came before; again and again. */
void line_close(struct handle *h);

/* A worker has given the object back: line_hold, then line_go_on lets the next come. line_go: does
 * what stands in the line until one needs a worker. */
void line_hold(struct entry *e);
void line_go_on(struct entry *e);
void line_go(struct entry *e);

/* line_copied: snapshots are over; those of the object may be among them. */
void line_copied(struct entry *e);

/* line_rest closes the object that nobody uses, and frees the entry. */
void line_rest(struct entry *e);

#endif
