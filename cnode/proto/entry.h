/* The open objects: each with the names and the inode it is known by, its handles, its line. */
#ifndef PROTO_ENTRY_H
#define PROTO_ENTRY_H

#include "proto/desk.h"
#include "sys/work.h"

/* An absolute path under which requests find an object; of links there may be several. */
struct name {
    UT_hash_handle hh;
    struct entry *entry;
    struct name *next; /* of the same entry */
    char path[];
};

struct inode_key {
    dev_t dev;
    ino_t ino;
};

struct inode {
    UT_hash_handle hh;
    struct inode_key key;
};

struct entry {
    struct entry *next, *prev;
    struct server *server;
    struct object object; /* a worker's while busy, else the loop's */
    bool busy;
    bool held;    /* its line is being worked through */
    bool counted; /* in entry_count */
    bool kept;    /* opened by a name: stays open without handles while there is room */
    bool auto_unlink;
    atomic_bool detached; /* its name leads to another file, or to none */
    bool sync_at_end;     /* the daemon stops: on disk before it is closed */
    struct name *names;
    char *path;         /* as it was opened; "" for memory */
    struct job resting; /* closes what nobody uses any more */
    struct inode inode;
    struct inode *indexed; /* &inode while it is in the index */
    struct handle *handles;
    uint32_t handle_count;
    uint32_t writers;       /* handles that may write */
    uint32_t durables;      /* handles that ask for a durable region or counters */
    struct pending *first;  /* the line */
    struct pending *copies; /* those whose snapshots are being made, beside the line */
    uint32_t waiting;
    uint32_t in_flight;  /* requests that a worker is at */
    uint64_t batch_mark; /* the batch whose sync has met it */
    struct desk desk;    /* of a queue */
    uint32_t held_count; /* answers and messages that wait for the journal */
    struct stats stats;

    /* What of the object can be told while a worker has it. */
    struct {
        enum object_kind kind;
        enum object_kind was; /* when it was open last */
        uint64_t size, count;
        uint64_t block_size, blocks, free; /* of a block store */
        bool read_only;
        bool durable;
        struct queue_info queue;
        struct queue_options options;
    } seen;
};

/* entry_new makes one that is closed; known by the path unless that is NULL (memory, private
 * copies). NULL without memory. */
struct entry *entry_new(struct server *s, const char *path);

struct entry *entry_of_path(struct server *s, const char *path);
struct entry *entry_of_inode(struct server *s, dev_t dev, ino_t ino);

/* entry_call_also makes the path a name of the entry; another one's before, it is no more. Of very
 * many names the entry forgets the oldest, but none that is in the registry. False without memory.
 */
bool entry_call_also(struct entry *e, const char *path);

/* entry_index makes the entry findable by its object's inode. */
void entry_index(struct entry *e, dev_t dev, ino_t ino);

/* entry_look notes what can be told of the object later; only while no worker has it. */
void entry_look(struct entry *e);

const char *entry_kind_name(enum object_kind kind);

/* entry_is_open: as it was seen last where a worker has the object. */
bool entry_is_open(const struct entry *e);

/* entry_end closes the object; in a worker, which has it. */
void entry_end(struct entry *e);

/* entry_closed: the object has been closed; its names may lead to it again. */
void entry_closed(struct entry *e);

/* entry_free: closed, without handles, its line empty. */
void entry_free(struct entry *e);

/* The entry without handles that was used longest ago, NULL where there is none. */
struct entry *entry_idle(struct server *s);

#endif
