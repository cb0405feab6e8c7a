/* What the files of this room share: the server, its clients, the open objects, the handles.
 *
 * A request is one term. Where nothing stands in its way it is done at once and its reply appended
 * to the connection's output. Where it would have to wait for a disk, a worker does it, and has the
 * object for that time: later requests on the same object wait in its line (line.h), in order. All
 * other objects go on. So no object needs a lock. */
#ifndef PROTO_ENGINE_H
#define PROTO_ENGINE_H

#include "proto/op.h"
#include "proto/server.h"
#include "proto/stats.h"
#include "proto/term.h"
#include "store/journal.h"
#include "store/queue.h"
#include "sys/path.h"

/* uthash gives up where memory does: a daemon that cannot hold an index entry cannot go on. */
#include <uthash.h>
#include <utlist.h>

struct pending;
struct batch;
struct deferral;
struct desk;
struct holder;
struct waiter;
struct grant;
struct registry;
struct held;

/* What all clients have together, the daemon's own among them. */
struct totals {
    uint64_t handles, openings;
    uint64_t pending, pending_bytes; /* requests in lines; with what their batches hold */
    uint64_t waiters, subscribers;
    uint64_t leases, credit;
};

struct server {
    uv_loop_t *loop;
    struct server_options options;
    struct paths *paths;
    struct name *names;     /* by path */
    struct inode *inodes;   /* by device and inode */
    struct entry *entries;  /* all, newest first */
    struct handle *handles; /* by id */
    struct watch *watches;  /* by number: monitors of owners */
    struct holder *holders; /* by number: monitors of those who hold or wait for items */
    struct heap due;        /* queues, by the time when they want to be tended */
    struct desk *soon;      /* queues to be tended before the loop waits again */
    uint32_t soon_count;
    struct batch *ready_batches; /* whose next item may be done */
    uv_timer_t due_timer;
    int64_t wall_ms;        /* to be added to the loop's time, for that since 1970 */
    struct client *clients; /* all, newest first */
    bool client_left;       /* one of them is no more: its memory can go back */
    struct client *own;     /* the daemon itself, which moves items; not among them */
    uint32_t entry_count;   /* with an open object, or about to have one */
    uint32_t kept_most;     /* open objects, where descriptors are short */
    struct totals all;
    uint64_t next_id; /* 28 random bits of this life, 31 counted */
    uint64_t next_watch;
    struct registry *registry; /* queues that are processes */
    struct journal *journal;   /* of durable objects */
    struct journal_limits journal_limits;
    uv_async_t journal_told;   /* by its threads */
    uv_async_t copied;         /* by those of snapshots */
    uint32_t copying;          /* requests whose snapshots are being made */
    struct held *held;         /* answers that wait for it */
    uint64_t held_group;       /* of the last of them */
    uint64_t journal_failures; /* that have been seen to */
    uint64_t batch_serial;
    uint64_t count_serial;
    struct buf scratch;       /* replies that nobody reads: those of casts */
    struct client *gathering; /* who has late answers to be sent (gather.h) */
    struct buf late;          /* numbers of an envelope's requests that wait */
    uint64_t started_ms;
    uv_timer_t lag_timer;
    uint64_t lag_due_ns;
    uint64_t loop_lag_us;
    uint64_t unknown_messages;
    struct stats ended[OBJECT_QUEUE + 1]; /* by kind: of objects that are no more */
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* Late answers of this turn (gather.h). */
struct gathered {
    struct client *next; /* of those who have some */
    bool listed;
    uint8_t *by; /* raw pid of the peer's process that hands them out, or NULL */
    size_t by_len;
    struct buf answers; /* {Ref, Reply} each */
    uint32_t count;
};

struct client {
    struct server *server;
    struct client *next, *prev;
    struct outlet outlet;
    void *conn;
    char *node;
    uint64_t since_ms;
    uint64_t first_id; /* ids before it belong to earlier connections */
    struct handle *handles;
    uint32_t handle_count;
    uint32_t opening_count; /* handles to be: openings in lines */
    uint32_t pending_count; /* requests in lines, and their bytes */
    size_t pending_bytes;
    size_t batch_bytes; /* that batches hold, each while an item of it waits */
    uint32_t ready_batches;
    uint32_t yielded;          /* of these, those that have given way to others */
    struct deferral *deferral; /* entries of an envelope that are to be done yet */
    struct pending *waiting;   /* those that can be taken back, by reference */
    struct waiter *waiters;    /* those who wait for items, by reference */
    struct grant *grants;      /* what was leased to a call, by its reference */
    struct holder *holders;    /* by pid */
    struct holder *idle;       /* of these, who neither hold nor wait; the longest idle first */
    uint32_t idle_count;
    uint32_t lease_count;
    uint32_t waiter_count;
    size_t waiter_bytes; /* what those waiting keep of their requests */
    uint32_t subscriber_count;
    uint32_t in_flight; /* of its requests, those that a worker is at */
    struct stats stats;
    uint64_t credit;     /* of all its subscriptions, what they have not used */
    uint32_t held_count; /* its answers and messages that wait for the journal, and their bytes */
    size_t held_bytes;
    bool held_short; /* there was no memory for a message more: until one of them has gone */
    struct gathered gathered;
    uint64_t survey_level_ns; /* what its surveys have taken of the loop, less its share, */
    uint64_t surveyed_ns;     /* at this time; */
    uint64_t pause_end_ns;    /* and when it may go on */
    bool held_up;             /* somebody waits until it reads, or the journal has committed */
    uint64_t count_mark;      /* the last count of clients that has met it */
    bool gone;                /* the peer is; what it sent is still done, then this is freed */
};

/* The peer's structure goes when the last thing of his has. */
void client_release(struct client *c);

/* client_surveyed: a survey for this client (OP_SURVEYS) has taken so long. */
void client_surveyed(struct client *c, uint64_t took_ns);

/* A request on its way. Spans are views of the message. */
struct request {
    struct client *client;
    struct span term;
    struct span from;    /* the caller's pid */
    struct span to;      /* where an answer goes, a pid or a reference; empty: a cast */
    struct span tag;     /* the answer is {tag, Reply} */
    struct batch *batch; /* the answer is an item of this batch */
    bool in_envelope;
};

/* Milliseconds since 1970. */
uint64_t server_now_ms(const struct server *s);

/* The loop's time when so many milliseconds are surely over; false: never. */
bool server_time_after(uint64_t ms, uint64_t *at);

/* The last object may have been closed: goes on with an orderly end. */
void server_rest(struct server *s);

enum outcome { ANSWERED, WAITS };

/* What one message may ask for at once, an envelope or a batch, before others have their turn. */
enum { SLICE_NS = 1000 * 1000 };

/* request_run does what is asked, or puts it into its object's line; then the answer comes later.
 * ANSWERED: the reply (and only that) is appended to out. */
enum outcome request_run(const struct request *r, struct buf *out);

/* request_answer sends {tag, Reply} to whom waits for it; nothing where the peer has gone. */
void request_answer(const struct request *r, struct span reply);

/* request_cast does a request that nobody waits for. */
void request_cast(const struct request *r);

/* cast_done notes the end of a cast, for barrier. `reply` is what a call would have got. */
void cast_done(const struct request *r, struct span reply);

/* batch_run begins a batch; WAITS: its answer comes later. `items` is the raw list. */
enum outcome batch_run(const struct request *r, struct span items, struct buf *out);

/* batch_shows: an item of the batch shows what is durable with this group. */
void batch_shows(struct batch *b, uint64_t group);

/* What the batch holds: its items and the replies so far. */
size_t batch_bytes(const struct batch *b);

/* batch_go_on takes the reply to the item that waited; batch_go_on_all goes on with all that have
 * got theirs. */
void batch_go_on(struct batch *b, struct span reply);
void batch_go_on_all(struct server *s);

#endif
