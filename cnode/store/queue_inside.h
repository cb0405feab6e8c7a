/* What a queue is made of, for the files that make it: header, record, queue, browse, checkpoint,
 * recover. */
#ifndef STORE_QUEUE_INSIDE_H
#define STORE_QUEUE_INSIDE_H

#include <pthread.h>

#include "store/format.h"
#include "store/items.h"
#include "store/put.h"
#include "store/queue.h"
#include "store/recordlog.h"

/* Items that are gone by damage, between head and tail: found again at the next opening. */
struct gap {
    uint64_t pos; /* where it was found */
    uint64_t seq; /* the first of them */
    uint64_t count;
};

/* Those of one log. */
struct gaps {
    struct gap *list; /* by position */
    size_t n;
    size_t cap;
    size_t before;       /* so many of them begin before the frontier */
    uint64_t lost_ahead; /* items of the others */
};

/* What is known of the main log's records between two places: of those of a later life. */
struct lesser {
    uint64_t from, to;
    uint64_t tail;  /* of the log then */
    uint32_t epoch; /* later than this */
    bool over;      /* the last one is of this life: behind it all are in order */
    uint64_t first; /* where the first stands; NO_POSITION: none */
    uint64_t least; /* the least number; UINT64_MAX: none */
    uint64_t least_pos;
};

enum checkpoint_step {
    STEP_REST,
    STEP_SHELVE, /* alone: copies to the shelf are made */
    STEP_SYNC,   /* beside: the first durable point */
    STEP_SLOT,   /* beside: the second, after the slot was written */
    STEP_PUNCH,  /* beside: holes in what is free now */
    STEP_CUT     /* alone: the end of the file goes */
};

struct punch {
    uint32_t granule;
    uint32_t count;
};

enum { PUNCHES = 64 };

struct checkpoint_state {
    enum checkpoint_step step;
    bool ran;            /* checkpoint_run has done the step */
    bool wanted;         /* somebody waits for the end of one */
    bool held_back;      /* space that a snapshot kept from being given back */
    bool clean;          /* it is the last */
    bool opening;        /* it is the first */
    uint64_t changed_ms; /* first change after the last capture; 0: none */
    uint64_t bytes;      /* pushed and consumed after it */
    uint64_t punched_ms;
    uint64_t now_ms;
    uint8_t *page; /* the captured slot */
    uint64_t heads[LOGS];
    uint64_t head_seq;
    uint64_t front_pos;
    struct punch punches[PUNCHES];
    size_t n_punches;
};

/* Where a search through the ready items has come to: a record behind the frontier. */
struct hint {
    uint64_t pos;
    uint64_t seq; /* 0: none */
};

struct queue {
    const struct queue_limits *limits;
    char *name;
    pthread_mutex_t syncs; /* one at a time */
    uint8_t uuid[16];
    uint64_t seed; /* of all hashes of this file */
    uint64_t created;
    uint32_t epoch;
    uint64_t slot_seq;
    uint64_t opt_seq;
    struct queue_options options;
    struct space space;
    struct recordlog logs[LOGS];
    uint64_t front_pos;
    uint64_t front_seq;
    uint64_t front_time; /* when the item there was pushed; 0: not looked at */
    uint64_t durable_front;
    struct items items;
    struct gaps gaps[LOGS];
    struct lesser lesser;
    uint64_t popped, acked, dropped, dead, damaged;
    struct checkpoint_state checkpoint;
    struct hint forward, backward;
    struct extent *tables[2]; /* of the logs; of a capture */
};

/* --- header.c: superblock, slots, options pages ---------------------------------------------- */

uint64_t header_slot_at(const struct queue_limits *limits, uint64_t slot_seq);
uint64_t header_options_at(const struct queue_limits *limits, uint64_t opt_seq);

/* Numbers of slots and of options pages go round, or the greatest would be the last: after it comes
 * 2, for 0 is none and each second one has the same place. header_is_newer: does a come after b? */
uint64_t header_next(uint64_t seq);
bool header_is_newer(uint64_t a, uint64_t b);

uint32_t header_granules(const struct queue_limits *limits); /* before the first of a log */
uint32_t header_extents_most(const struct queue_limits *limits);

/* The superblock of a mapped file, and what follows from it. False: it is none. */
bool header_read_superblock(const struct map *m, struct superblock *super);

/* header_seal writes the hash into the last word of a page that goes to `at`. header_check: does
 * it fit? */
void header_seal(const struct queue *q, uint8_t *page, uint64_t at);
bool header_check(const struct queue *q, const uint8_t *page, uint64_t at);

/* ERR_ENAMETOOLONG: the names do not fit. */
enum err header_write_options(const struct queue *q, uint64_t opt_seq,
                              const struct queue_options *options, uint8_t *page);
void header_read_options(const struct queue_limits *limits, const uint8_t *page,
                         struct queue_options *options, uint64_t *opt_seq);

/* --- record.c: one record ----------------------------------------------------------------------
 */

/* Where a record stands. */
struct spot {
    unsigned log;
    uint64_t pos;
    uint64_t offset; /* in the file */
};

/* May these bytes of the file be touched in this turn? ERR_WOULD_BLOCK; in a worker they are
 * brought in, with what probably is wanted next. */
enum err record_ready(struct object *o, const struct turn *t, uint64_t offset, uint64_t len);

/* record_head reads the fields and checks them. ERR_DAMAGED: no record begins there. */
enum err record_head(struct object *o, const struct turn *t, unsigned log, uint64_t pos,
                     struct record_fields *f, struct spot *at);

/* ERR_DAMAGED: the payload is not what was stored. */
enum err record_payload(struct object *o, const struct turn *t, const struct record_fields *f,
                        const struct spot *at);

uint64_t record_size(uint64_t length);
bool record_is_item(const struct record_fields *f);

/* The item within the payload, a view of the mapping. */
struct span record_item(const struct object *o, const struct record_fields *f,
                        const struct spot *at);

/* State words: a value and its check. */
uint64_t state_word(uint32_t header_hash, uint64_t value);
bool state_fits(uint32_t header_hash, uint64_t word);
uint64_t state_value(unsigned state, unsigned attempts, uint64_t until);
unsigned state_of(uint64_t word);
unsigned state_attempts(uint64_t word);
uint64_t state_until(uint64_t word);

/* record_set_state stores a state word of a record. */
enum err record_set_state(struct object *o, const struct turn *t, unsigned log, uint64_t pos,
                          uint64_t value);

/* A record to be. */
struct draft {
    enum record_kind kind;
    uint64_t seq;
    uint64_t time;
    uint64_t state; /* value */
    struct span prefix;
    struct span item;
    const uint32_t *payload_hash; /* of a copy: what its original has; NULL: not known */
};

/* record_reserve makes room for n more records of these sizes, in the last extent or in one that is
 * promised. Nothing is stored in the file. ERR_EFBIG, too: they would come TOO_FAR. */
enum err record_reserve(struct object *o, const struct turn *t, unsigned log, const uint64_t *sizes,
                        size_t n);

/* record_append stores it where there is room for it: header last. The log's tail moves on, but
 * not its tail_seq. */
enum err record_append(struct object *o, const struct turn *t, unsigned log, const struct draft *d,
                       uint64_t *pos);

/* --- queue.c -----------------------------------------------------------------------------------
 */

/* The object has failed: nothing of it is to be trusted. Gives ERR_EIO. */
enum err queue_failed(struct object *o);

/* A change of so many bytes was made. */
void queue_changed(struct queue *q, const struct turn *t, uint64_t bytes);

/* The frontier is here now. */
void queue_move_front(struct queue *q, uint64_t pos, uint64_t seq);

/* queue_resync finds the next record of an item, seq or more, after a damaged place of a log.
 * ERR_EMPTY: none before the tail. */
enum err queue_resync(struct object *o, const struct turn *t, unsigned log, uint64_t seq,
                      uint64_t *pos, struct record_fields *f, struct spot *at);

/* Items seq to seq + count - 1 are lost at this position; told once. Number 0: unknown which. */
void queue_lost(struct queue *q, unsigned log, uint64_t pos, uint64_t seq, uint64_t count);

/* What was lost before the heads of the logs is told nobody any more. */
void queue_forget_lost(struct queue *q);

/* What the caller sees of a record. */
void queue_fill(const struct object *o, const struct record_fields *f, const struct spot *at,
                struct item *item, struct record *r);

/* --- checkpoint.c ------------------------------------------------------------------------------
 */

/* checkpoint_whole does one from the beginning to the end, in a worker. */
enum err checkpoint_whole(struct object *o, uint64_t now_ms, bool clean);

/* --- recover.c ---------------------------------------------------------------------------------
 */

enum err recover(struct object *o, uint64_t now_ms, char why[QUEUE_WHY]);
void queue_forget(struct queue *q); /* what recover made: items, tables, space */

#endif
