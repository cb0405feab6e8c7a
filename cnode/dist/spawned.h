/* Processes of this node that peers have asked for. Each runs one function that is served here;
 * rpc and erpc are spawn requests, too. Most are over at once; some wait for the answer to a
 * request, and some are consoles. What gen_server:call asks of `rex` or by a system message is done
 * by such a process as well. */
#ifndef DIST_SPAWNED_H
#define DIST_SPAWNED_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "dist/frame.h"
#include "dist/self.h"
#include "proto/function.h"
#include "proto/server.h"

struct actor;
struct console;
struct spawned;

/* All of the node. */
struct processes {
    struct self *self;
    struct server *server;
    struct spawned *spawned;      /* by number */
    uint32_t most_of_one;         /* that one peer may have at once */
    struct actor *actors;         /* one a peer */
    uint64_t requests;            /* that they have made */
    const struct spawned *asking; /* its request is being handed to the engine */
};

/* Where the value of the function goes when it is done. */
enum spawned_for {
    SPAWNED_ALONE, /* nowhere; an exception is the reason of its end */
    SPAWNED_ERPC,  /* into the reason of its end: {Res, return, Value} */
    SPAWNED_CALL,  /* {Tag, Value} to who waits for it */
};

struct spawned {
    UT_hash_handle hh;           /* in processes.spawned */
    UT_hash_handle by_ref;       /* in the actor's, where it can be taken back */
    struct spawned *next, *prev; /* of the actor */
    struct actor *actor;
    uint32_t number;
    uint64_t awaits; /* the number of the answer that is to come; 0: none */
    enum spawned_for what_for;
    size_t len; /* of `bytes` */
    bool is_indexed;
    bool is_heard;             /* a console that its parent has linked to */
    bool leaves;               /* a console that has ended, */
    bool answered;             /* or has a reply to hear */
    enum function_gives gives; /* of the request's reply, or */
    uint32_t status_of;        /* what sys:get_status tells of this process */
    int arity;
    struct console *console;
    struct buf reply;
    struct watch *watches;    /* by which the engine is to hear of its end */
    struct span parent;       /* the process that asked for it; raw terms: */
    struct span ref;          /* by which that may take it back; empty: none */
    struct span tag;          /* of the result */
    struct span module, name; /* what it runs */
    uint8_t bytes[];
};

/* NULL: there is no such process. */
struct spawned *spawned_find(const struct processes *all, uint32_t number);

/* spawned_request does what a spawn request asks. False: the peer breaks the protocol. */
bool spawned_request(struct actor *a, const struct control *c, struct span args);

/* Messages to rex: a call of a function, in the two forms that rpc and erl_call use. False: it is
 * none. */
bool spawned_rex(struct actor *a, struct span message);

/* A message of the sys module to a process: get_state and get_status are answered, others refused.
 * False: it is none. */
bool spawned_system(struct actor *a, uint32_t process, struct span message);

/* Is this the reference of an answer to one of the actor's? Then spawned_answer takes
 * {Tag, Reply}; one that nobody awaits any more is dropped. */
bool spawned_awaits(const struct actor *a, struct span ref, uint64_t *number);
void spawned_answer(struct actor *a, uint64_t number, struct span message);

/* Whoever waits under this reference does so no longer. */
void spawned_take_back(struct actor *a, struct span ref);

/* A message, the beginning of a link, an exit signal: one that a link brings kills nobody. */
void spawned_message(struct spawned *p, struct span message);
void spawned_linked(struct spawned *p, struct span by);
void spawned_exit(struct spawned *p, bool by_link, struct span reason);

/* Consoles hear what the engine has answered, which must be at rest: it may be asked the next thing
 * at once. Those that have left end; all of the actor's do. */
void spawned_settle(struct actor *a);
void spawned_end_all(struct actor *a);

#endif
