/* A queue under test: its file, the engine's object on it, and what it must be. Up to two live in
 * one daemon, so that items move from the first to the second. */
#ifndef SWEEP_SIDE_H
#define SWEEP_SIDE_H

#include "store/queue_inside.h"
#include "sweep/disk.h"
#include "sweep/model.h"

enum { SIDES = 2 };

struct side {
    struct disk_file disk;
    struct object live;
    struct model model;
    uint8_t uuid[16];
    bool pending; /* a step of the checkpoint is to be run beside operations */
    uint64_t sync_time, sync_tail;

    struct sight seen[MODEL_ITEMS]; /* by the last look at an image */
    uint64_t seen_tail;
};

extern struct side sides[SIDES];
extern unsigned sides_used;
extern const struct queue_limits side_limits;
extern struct turn side_now;

void side_begin(struct side *s, int fd);
void side_forget(struct side *s);

enum side_op {
    PUSH,
    PUSH_BIG,
    POP,
    TAKE,
    ACK,
    RELEASE,
    DELAY,
    UNSEE,
    BURY,
    KICK,
    WAKE,
    SYNC,
    STEP, /* the next of the checkpoint, or the first of one */
    CHECKPOINT,
    ERASE,
    CONFIGURE,
    PUSH_SMALL,
    SIDE_OPS
};

void side_do(struct side *s, enum side_op op);

/* What is under way comes to its end; an item that moves stays where it is. */
void side_finish_checkpoint(struct side *s);
void side_give_up_moving(void);
void side_forget_moving(void);

/* The clock has moved, or the queue was opened. */
void side_wake(struct side *s);

/* Does the live queue tell what the model has? */
void side_compare(struct side *s);

/* One step of moving an item from the first side to the second. */
void side_move(void);

/* The daemon's end and new beginning: by a cut, a kill, an orderly close. */
enum side_end { END_POWER, END_KILL, END_CLOSE };
void side_reopen(enum side_end end);

/* A failed queue stays what it is; what was under way has ended. */
void side_try_in_vain(struct side *s);

/* After a failed sync only recovery helps; what the cache has is a version like any other. */
void side_recover(struct side *s);

#endif
