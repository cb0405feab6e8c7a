/* What lives here, as one peer sees it: the process `emmap`, to which all requests go,
 * `net_kernel`, which tells net_adm:ping that we are there, `rex`, and those that peers have asked
 * to be spawned. Links, monitors and exits that concern these or nobody are answered here, and so
 * are the monitors that the engine sets on processes of the peer. */
#ifndef DIST_ACTOR_H
#define DIST_ACTOR_H

#include "dist/frame.h"
#include "dist/self.h"
#include "dist/spawned.h"
#include "proto/server.h"

struct actor {
    struct processes *processes;
    struct self *self;
    struct client *client;
    const struct outlet *outlet; /* of the connection: messages of processes leave by it */
    void *conn;
    bool names_senders;    /* of messages to pids: both sides have offered it, */
    bool exits_by_payload; /* or this for reasons */
    struct span peer;      /* its node name */
    struct buf *out;       /* where signals are written; whoever owns it sends them */
    struct actor *next, *prev;
    struct spawned *spawned; /* what the peer has asked for and is not over */
    struct spawned *by_ref;
    uint32_t spawned_count;
    size_t spawned_bytes;
    bool one_is_ready;      /* one of them for spawned_settle */
    struct watch *watches;  /* hashed by the engine's numbers */
    struct watch *ended;    /* to be told by actor_settle */
    struct tie *ties;       /* monitors and links of the peer on processes that may end */
    struct bundle *bundles; /* the same, by process */
    struct bundle *endings; /* those of processes that have ended, not all told yet */
    uint32_t tie_count;
    uint64_t ignored; /* messages and signals of no use here */
    bool failed;      /* a signal did not fit `out`: the connection cannot go on */
};

/* The caller has filled in everything above `peer`. actor_leave ends what the peer has asked for,
 * before its client is closed; actor_fini follows. */
void actor_init(struct actor *a, struct span peer, struct buf *out);
void actor_leave(struct actor *a);
void actor_fini(struct actor *a);

/* actor_control does what a control message asks. False: the peer breaks the protocol. */
bool actor_control(struct actor *a, const struct control *c, struct span message);

/* A frame that was longer than allowed; head is what was kept of its message. */
void actor_too_long(struct actor *a, const struct control *c, struct span head);

/* actor_find: who is meant by a pid or a name; 0: nobody. */
uint32_t actor_find(const struct actor *a, struct span to);

/* actor_tie keeps a monitor or a link of the peer on a process; false: there are too many, and the
 * peer has been told. */
bool actor_tie(struct actor *a, uint32_t process, const struct control *c, bool link);

/* The processes of the peer that are linked to the process, or monitor it; and those that the
 * engine watches, as {process, Pid}: so many elements are appended. */
uint32_t actor_list_ties(const struct actor *a, uint32_t process, bool links, struct buf *out);
uint32_t actor_list_watches(const struct actor *a, struct buf *out);

/* The head of a message to a pid or an alias of the peer, into `out`; the message is to follow, and
 * frame_end with what this returns. */
size_t actor_begin_send(const struct actor *a, struct span from, struct span to);

/* A control message to the peer. */
void actor_signal(struct actor *a, uint8_t op, const struct span *elements, uint8_t n);

/* For the outlet: a process of ours has ended. False: that is nothing to the peer. Where very many
 * are to hear it, actor_settle tells the rest in the turns to come: actor_has_more. */
bool actor_ended(struct actor *a, uint32_t process, struct span reason);
bool actor_has_more(const struct actor *a);

/* For the outlet: watch a process of the peer, or one that it has asked for. Another one cannot be
 * watched and counts as ended; the engine learns that from actor_settle, never within
 * actor_monitor. False: no memory; the process is not watched, so the connection cannot go on. */
bool actor_monitor(struct actor *a, struct span pid, uint64_t number);
void actor_demonitor(struct actor *a, struct span pid, uint64_t number);
void actor_settle(struct actor *a);

/* actor_over takes the watches of a process that the peer had asked for and that is over. */
void actor_over(struct actor *a, struct watch *watches);

#endif
