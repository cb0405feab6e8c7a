/* Queues that are processes of this node: which name leads to which file. The file
 * DATA_DIR/.emmap/registered tells a daemon that starts (store/FORMAT.md 2.1). All on the loop; the
 * file is written by a worker, one change after the other. */
#ifndef PROTO_REGISTRY_H
#define PROTO_REGISTRY_H

#include "proto/engine.h"

/* A name is kept for an opening that may still fail, then written to the file; from there on the
 * process is there, until another writing without it is done. */
enum process_state { PROCESS_CLAIMED, PROCESS_COMING, PROCESS_THERE, PROCESS_LEAVING };

struct process {
    UT_hash_handle hh;        /* by name */
    UT_hash_handle by_number; /* which is another after each of its ends */
    UT_hash_handle by_path;
    enum process_state state;
    uint32_t number; /* 0 before it is there */
    bool complained; /* the log knows that its file cannot be opened */
    char *path;
    char name[];
};

/* registry_open reads what an earlier daemon has left. Lines that make no sense are told to the log
 * and stay as they are. NULL without memory. */
struct registry *registry_open(struct server *s);
void registry_free(struct registry *r);

/* NULL: nobody has this name (raw bytes of an atom), this number; the entry is no process. */
const struct process *registry_named(const struct server *s, struct span name);
const struct process *registry_numbered(const struct server *s, uint32_t number);
struct process *registry_of(const struct entry *e);

/* Each process that is there. */
void registry_each(const struct registry *r,
                   void (*each)(void *arg, uint32_t number, const char *name), void *arg);

/* The first of all in no order, by `hh.next` the others; NULL where there is none. */
const struct process *registry_first(const struct server *s);

/* Is the file a process by this name of it? */
bool registry_has_path(const struct server *s, const char *path);

/* registry_name takes the name for a queue out of an atom. False: no queue can be called so, for it
 * is empty, too long, or what something of ours is called. */
bool registry_name(struct span atom, char name[QUEUE_REGISTERED_MOST + 1]);

/* registry_claim keeps the name for a queue that is about to be opened. *claimed: it was free, and
 * registry_change or registry_unclaim is to follow. ERR_REGISTERED: it is another file's;
 * ERR_MAX_OBJECTS: there are too many; ERR_ENOMEM. */
enum err registry_claim(struct entry *e, const char *path, const char *name, bool *claimed);
void registry_unclaim(struct server *s, const char *name);

/* Has another file this name, as far as can be told before this one is open? */
bool registry_has_other(const struct entry *e, const char *name);

/* A change of the file. */
struct saving {
    struct saving *next;
    struct process *comes, *leaves;
    void (*done)(struct saving *w, enum err result);
};

/* registry_change makes `name` ("": none) the name of the opened queue. False: it is that already.
 * True: done is called later, when the file says so; on an error nothing has changed. */
bool registry_change(struct entry *e, const char *name, struct saving *w);

/* registry_fail: the queue has failed, and with it the process; its name has another one now. */
void registry_fail(struct entry *e);

/* registry_complain: it cannot be opened. The log hears of it once. */
void registry_complain(struct entry *e, enum err why);

#endif
