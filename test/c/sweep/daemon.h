/* A daemon under test: its journal, and the objects that it has open: two queues, counters, a
 * region, a block store. */
#ifndef SWEEP_DAEMON_H
#define SWEEP_DAEMON_H

#include "store/journal.h"
#include "sweep/cells.h"
#include "sweep/side.h"
#include "sweep/store.h"
#include "sweep/tree.h"

enum { DAEMON_PARTS = TREE_PARTS, DAEMON_MARKS = 8 };

/* When a group is durable, what was so at this time of the model is. The tail: of a queue, or how
 * many slots a store had. */
struct commit {
    uint64_t group;
    uint64_t time, tail;
};

/* A file as it was once. */
struct earlier {
    bool is;
    struct image image;
    struct attribute mark;
};

/* An object. What it must be is in its side (a queue), its store, or its cells. */
struct part {
    const char *path;
    enum object_kind kind;
    struct object *live;
    struct disk_file *disk;
    struct side *side;   /* of a queue, else NULL */
    struct store *store; /* of blocks */
    struct cells *cells; /* of anything else */
    bool durable;        /* it is to be */
    bool open;
    bool busy; /* an operation on it is under way */
    struct commit commits[DAEMON_MARKS];
    unsigned n_commits;
    struct earlier earlier;
};

extern struct part parts[DAEMON_PARTS];
extern struct journal *daemon_journal;
extern const struct journal_limits daemon_limits;

/* daemon_begin: all files are new, and the daemon serves. daemon_forget frees what is left. */
void daemon_begin(void);
void daemon_forget(void);

/* A journal of a daemon in the tree that is used. */
struct journal *daemon_new_journal(void);

/* daemon_attach opens the object of a part by its name, and what the journal has of it is stored.
 * The file is a plain one. daemon_detach forgets it. */
enum err daemon_attach(const struct part *p, struct journal *j, const char *path, struct object *o,
                       char why[QUEUE_WHY]);
void daemon_detach(struct object *o);

/* What has become durable meanwhile. */
void daemon_settle(void);

/* One operation, at random, and what follows from it: objects that have failed are opened again. */
void daemon_operate(void);

/* The daemon's end, as side_reopen, and the next one. */
void daemon_restart(enum side_end end);

/* All that was gathered is durable. */
void daemon_commit(void);

#endif
