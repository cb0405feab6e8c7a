/* Late answers to requests of envelopes. A peer may name a process of its own that hands them out:
 * then those that come due in the same turn of the loop travel together, for a message of many
 * answers costs a BEAM much less than many messages. One alone goes to who waits for it. */
#ifndef PROTO_GATHER_H
#define PROTO_GATHER_H

#include "proto/engine.h"

void gather_begin(struct client *c);

/* gather_for: from now on by this process, a raw pid. Without memory all stays as it is. */
void gather_for(struct client *c, struct span pid);

/* gather_answer takes an answer for the end of the turn. False: it has to travel alone. */
bool gather_answer(const struct request *r, struct span reply);

/* gather_send: the turn is at its end. */
void gather_send(struct server *s);

/* gather_forget: the peer is gone. */
void gather_forget(struct client *c);

#endif
