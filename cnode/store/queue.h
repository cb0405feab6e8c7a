/* A queue in a file: FORMAT.md, sections 1 and 2. Who calls has the object for himself, but for
 * checkpoint_run where that says otherwise.
 *
 * An item is at the frontier or before it. Behind the frontier are those that nobody has had yet;
 * they are in the file alone. Those before it that are not done are in memory, too, each with what
 * it is now; of these the ready ones go first. So what comes next is always the least number.
 *
 * Errors that any of these may give: ERR_WOULD_BLOCK (a disk has to be waited for, and the turn
 * does not allow it: nothing is done), ERR_EIO (a page failed, and with it the object), ERR_EACCES
 * and ERR_EIO for changes of an object that cannot be changed. */
#ifndef STORE_QUEUE_H
#define STORE_QUEUE_H

#include "store/object.h"
#include "sys/heap.h"

/* When a call is made, and whether it may wait for disks: this is a worker, then. */
struct turn {
    uint64_t now_ms; /* since 1970 */
    bool may_wait;
};

/* --- what a queue is bound to ---------------------------------------------------------------- */

/* Sizes of the format. A daemon uses queue_limits; crash tests small ones. */
struct queue_limits {
    uint32_t granule;       /* a power of two, at least 256 */
    uint32_t page;          /* of superblock, slots and options; a power of two, at least 512 */
    uint64_t window;        /* before the frontier, until the oldest there go to the shelf */
    uint64_t shelf;         /* the same of the shelf */
    uint64_t shelve_most;   /* bytes copied there by one checkpoint, or one item */
    uint64_t consumption;   /* how far the frontier may be ahead of a durable one */
    uint64_t checkpoint;    /* pushed or consumed bytes that make one due */
    uint64_t checkpoint_ms; /* after a change */
    uint64_t punch_ms;      /* between two punches */
    uint32_t punch_run;     /* granules */
};

extern const struct queue_limits queue_limits;

enum { QUEUE_NAME_MOST = 3000, QUEUE_REGISTERED_MOST = 1020 };

/* What is kept in the file beside the items. 0 and "": none. */
struct queue_options {
    uint64_t max_items;
    uint64_t max_bytes;
    uint64_t lease_ms;
    uint32_t max_attempts; /* at most ATTEMPTS_MOST */
    bool drop_head;
    bool fixed_size;
    bool durable;
    char dead_letter[QUEUE_NAME_MOST + 1]; /* absolute */
    char registered[QUEUE_REGISTERED_MOST + 1];
};

enum queue_option {
    QUEUE_MAX_ITEMS = 1,
    QUEUE_MAX_BYTES = 2,
    QUEUE_LEASE_MS = 4,
    QUEUE_MAX_ATTEMPTS = 8,
    QUEUE_OVERFLOW = 16,
    QUEUE_FIXED_SIZE = 32,
    QUEUE_DEAD_LETTER = 64,
    QUEUE_REGISTERED = 128,
    QUEUE_DURABLE = 256
};

/* Those of `to` that are named in `given` (of enum queue_option) replace what the file has. */
struct queue_change {
    unsigned given;
    struct queue_options to;
};

/* --- a file ---------------------------------------------------------------------------------- */

/* queue_make writes the whole content of a new file into an empty one. ERR_ENAMETOOLONG: the two
 * names do not fit their page. */
enum err queue_make(int fd, const struct queue_limits *limits, const struct queue_change *options,
                    uint64_t now_ms);

/* The length of such a file. */
uint64_t queue_new_size(const struct queue_limits *limits);

/* Does the file begin as a queue of ours does? */
bool queue_is_one(const struct map *m);

/* queue_open recovers what the mapped file holds and makes it durable; the object then has a queue.
 * A file that it refuses is untouched: ERR_DAMAGED, `why` says what is wrong (at most
 * QUEUE_WHY bytes). ERR_EACCES: the mapping cannot be written to. `name` is for the log. Of the
 * limits only the address is kept. May wait. */
enum { QUEUE_WHY = 160 };
enum err queue_open(struct object *o, const struct queue_limits *limits, const char *name,
                    uint64_t now_ms, char why[QUEUE_WHY]);

/* queue_open_to_look finds the same, but stores nothing; the mapping is not to be written to. What
 * is found in it is what queue_open would find, if it were called now. */
enum err queue_open_to_look(struct object *o, const struct queue_limits *limits, uint64_t now_ms,
                            char why[QUEUE_WHY]);

/* queue_recover begins anew with what the file has, after the object failed. All items in memory
 * are forgotten. No checkpoint is under way. As queue_open. */
enum err queue_recover(struct object *o, uint64_t now_ms, char why[QUEUE_WHY]);

/* As it was given to queue_open, for the log. */
const char *queue_name(const struct object *o);

/* queue_close ends with a checkpoint, if it can be changed, and frees the queue; the mapping
 * stays. No checkpoint is under way. May wait. */
void queue_close(struct object *o);

/* queue_sync: as object_sync. A request's and that of a checkpoint run one after the other; after
 * one that failed none succeeds. */
enum err queue_sync(struct object *o);

/* queue_configure stores other options, durably; may wait. */
enum err queue_configure(struct object *o, const struct queue_change *change);
const struct queue_options *queue_options(const struct object *o);

/* --- items ----------------------------------------------------------------------------------- */

/* queue_push appends items, all or none. *first: the number of the first; the others follow.
 * ERR_FULL: they do not fit the bounds. ERR_ENOSPC and the like: the disk. ERR_MAX_FRAME: one is
 * longer than a record can be. With drop_head the oldest ready items make room. ERR_CHECKPOINT:
 * only some of these can be dropped before the next checkpoint, and are; nothing is pushed yet. */
enum err queue_push(struct object *o, const struct turn *t, const struct span *items, size_t n,
                    uint64_t *first);

/* An item that comes from another queue: whose it was, and how often it was delivered. */
struct origin {
    uint8_t uuid[16];
    uint64_t seq;
    uint64_t attempts;
};
enum err queue_push_moved(struct object *o, const struct turn *t, const struct origin *from,
                          struct span item, uint64_t *seq);

enum item_state {
    ITEM_READY,
    ITEM_LEASED, /* somebody has it, or it is on its way to another queue */
    ITEM_DELAYED,
    ITEM_BURIED
};

/* An item before the frontier. `user` is the caller's; the queue only forgets it with the item. */
struct item {
    uint64_t seq;
    unsigned attempts; /* deliveries so far */
    enum item_state state;
    void *user;

    /* The queue's own. */
    uint64_t pos;  /* of its record */
    uint64_t copy; /* of the copy that a checkpoint has made on the shelf; NO_POSITION: none */
    uint64_t time;
    uint32_t size; /* of the record */
    unsigned log;
    uint64_t until;           /* seconds; as the record has it */
    struct heap_node node;    /* in the heap of the ready or of the delayed */
    struct item *next, *prev; /* of the same log, by position; of the free ones */
};

/* One item for a reader. Its bytes are a view of the mapping, to be copied under guard, and good
 * until the next change. */
struct record {
    uint64_t seq;
    uint64_t time;     /* when it was pushed, ms since 1970 */
    unsigned attempts; /* deliveries so far */
    struct span bytes;
    struct item *item; /* NULL: at the frontier or behind it */
    uint64_t pos;
    uint32_t size;
};

/* queue_front finds the item that comes next. ERR_EMPTY: none is ready. ERR_CHECKPOINT: only after
 * the next checkpoint. Damaged records on the way are told to the log and passed over. */
enum err queue_front(struct object *o, const struct turn *t, struct record *r);

/* What queue_front has just given: gone; or leased, one delivery more (ERR_ENOMEM); or held, so
 * that nobody else gets it: nothing is stored, it can still be popped, taken or released
 * (ERR_ENOMEM). */
enum err queue_pop(struct object *o, const struct turn *t, const struct record *r);
enum err queue_take(struct object *o, const struct turn *t, const struct record *r,
                    struct item **item);
enum err queue_hold_front(struct object *o, const struct turn *t, const struct record *r,
                          struct item **item);

/* queue_damaged: the bytes of a ready or leased item are not what was pushed, or no item at all. It
 * is gone, told to the log and counted. */
enum err queue_damaged(struct object *o, const struct turn *t, const struct record *r);

/* What is known of an item in memory, without its bytes: for queue_pop and queue_take. */
struct record queue_record_of(struct item *item);

/* Those that are ready, in order, and nothing changed: the least number that is `from` or more,
 * the greatest that is `to` or less. ERR_EMPTY: none. */
enum err queue_next(struct object *o, const struct turn *t, uint64_t from, struct record *r);
enum err queue_previous(struct object *o, const struct turn *t, uint64_t to, struct record *r);

/* The same of the buried. */
enum err queue_next_buried(struct object *o, const struct turn *t, uint64_t from, struct record *r);

/* How many are ready. */
uint64_t queue_ready_items(const struct object *o);

/* NULL: no such item before the frontier. */
struct item *queue_find(const struct object *o, uint64_t seq);

/* The item before the frontier with the least number that is seq or more. NULL: none. */
struct item *queue_item_from(const struct object *o, uint64_t seq);

/* queue_read shows an item before the frontier. ERR_DAMAGED: its bytes are not what was pushed; the
 * item is gone. */
enum err queue_read(struct object *o, const struct turn *t, struct item *item, struct record *r);

/* Changes of an item. Afterwards a done one is no more.
 * queue_ack: done. queue_dead: done, for another queue has it. queue_release: ready again at its
 * old place, or after a delay, rounded up to a second. queue_unsee: ready, and the last delivery
 * does not count. queue_bury. queue_kick: ready, with no deliveries. */
enum err queue_ack(struct object *o, const struct turn *t, struct item *item);
enum err queue_dead(struct object *o, const struct turn *t, struct item *item);
enum err queue_release(struct object *o, const struct turn *t, struct item *item,
                       uint64_t delay_ms);
enum err queue_unsee(struct object *o, const struct turn *t, struct item *item);
enum err queue_bury(struct object *o, const struct turn *t, struct item *item);
enum err queue_kick(struct object *o, const struct turn *t, struct item *item);

/* May the item be changed without waiting for a disk? OK, or ERR_WOULD_BLOCK. */
enum err queue_ready(struct object *o, const struct turn *t, const struct item *item);

/* queue_hold takes a ready item away from everybody, without a delivery. */
void queue_hold(struct object *o, struct item *item);

/* queue_wake makes those ready whose delay is over, but so many at most; how many. queue_wakes_at:
 * when the next is over, ms since 1970, 0 without any. Any turn. */
size_t queue_wake(struct object *o, uint64_t now_ms, size_t most);
uint64_t queue_wakes_at(const struct object *o);

/* queue_erase takes all items out, whatever they are, durably. No checkpoint is under way; items
 * in memory are forgotten. May wait. */
enum err queue_erase(struct object *o, uint64_t now_ms);

/* What the first granule says of an open queue. */
struct queue_header {
    uint32_t version, granule, epoch;
    uint64_t created_ms, slot_seq, opt_seq;
    bool clean;          /* the slot that serves was written at a clean close */
    uint64_t extents[2]; /* of the main log, of the shelf */
};
void queue_header(const struct object *o, struct queue_header *h);

/* What can be told at any time, in constant time. */
struct queue_info {
    uint64_t items, ready, leased, delayed, buried;
    uint64_t bytes;
    uint64_t pushed, popped, acked, dropped, dead, damaged;
    uint64_t oldest_time;       /* ms since 1970; 0: unknown, or there is none */
    uint64_t first_id, next_id; /* of the least that is there, or next_id; of the next push */
    uint64_t head, tail;        /* positions */
    uint64_t file_size;
    uint8_t uuid[16];
};
void queue_look(struct object *o, struct queue_info *info);

/* --- checkpoints ----------------------------------------------------------------------------- */

enum checkpoint {
    CHECKPOINT_REST,  /* nothing to do before checkpoint_due */
    CHECKPOINT_ALONE, /* checkpoint_run in a worker that has the object */
    CHECKPOINT_BESIDE /* checkpoint_run in a worker while others use the object */
};

/* checkpoint_go does the next quick steps, with the object, and says what has to be run then;
 * after that checkpoint_go again. `force`: one is wanted now. */
enum checkpoint checkpoint_go(struct object *o, uint64_t now_ms, bool force);
void checkpoint_run(struct object *o);

/* Between CHECKPOINT_ALONE or CHECKPOINT_BESIDE and the next CHECKPOINT_REST. */
bool checkpoint_under_way(const struct object *o);

/* When the next is due, ms since 1970; 0: nothing has changed, none. */
uint64_t checkpoint_due(const struct object *o);

#endif
