/* What lives here, as one peer sees it: the process `emmap`, to which all requests go, and
 * `net_kernel`, which tells net_adm:ping that we are there. Links, monitors, exits and spawn
 * requests that concern these two or nobody are answered here, and so are the monitors that the
 * engine sets on processes of the peer. */
#ifndef DIST_ACTOR_H
#define DIST_ACTOR_H

#include "dist/frame.h"
#include "dist/self.h"
#include "proto/server.h"

struct actor {
    struct self *self;
    struct client *client;
    struct span peer;       /* its node name */
    struct buf *out;        /* where signals are written; whoever owns it sends them */
    struct watch *watches;  /* hashed by the engine's numbers */
    struct watch *ended;    /* to be told by actor_settle */
    struct tie *ties;       /* monitors and links of the peer on processes that may end */
    struct bundle *bundles; /* the same, by process */
    uint32_t tie_count;
    uint64_t ignored; /* messages and signals of no use here */
    bool failed;      /* a signal did not fit `out`: the connection cannot go on */
};

void actor_init(struct actor *a, struct self *self, struct client *client, struct span peer,
                struct buf *out);
void actor_fini(struct actor *a);

/* actor_control does what a control message asks. False: the peer breaks the protocol. */
bool actor_control(struct actor *a, const struct control *c, struct span message);

/* A frame that was longer than allowed; head is what was kept of its message. */
void actor_too_long(struct actor *a, const struct control *c, struct span head);

/* For the outlet: a process of ours has ended. */
void actor_ended(struct actor *a, uint32_t process, struct span reason);

/* For the outlet: watch a process of the peer. One of another node cannot be watched and counts as
 * ended; the engine learns that from actor_settle, never within actor_monitor. False: no memory;
 * the process is not watched, so the connection cannot go on. */
bool actor_monitor(struct actor *a, struct span pid, uint64_t number);
void actor_demonitor(struct actor *a, struct span pid, uint64_t number);
void actor_settle(struct actor *a);

#endif
