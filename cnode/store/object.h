/* An object: a mapped file (or memory), and what its bytes mean. The first two steps of opening
 * wait for disks, as closing and syncing do; who calls them has the object for himself. */
#ifndef STORE_OBJECT_H
#define STORE_OBJECT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "store/nif_queue.h"
#include "sys/map.h"
#include "sys/path.h"

enum object_kind { OBJECT_CLOSED, OBJECT_REGION, OBJECT_COUNTERS, OBJECT_BLOCKS, OBJECT_QUEUE };

struct queue;
struct blocks;
struct queue_change;
struct journal;
struct durable;
struct snapshot;

struct object {
    enum object_kind kind;
    struct map map;
    dev_t dev; /* of a file that is mapped for all; else 0, 0 */
    ino_t ino;
    bool owned;                /* the file's attribute names us */
    bool unclean;              /* and it named somebody else, who did not close the file */
    char *name;                /* for the log; NULL: none */
    atomic_bool failed;        /* a page or a sync failed: read-only until the next opening */
    bool cannot_grow;          /* and the log has told so */
    uint64_t count;            /* counters */
    struct queue *queue;       /* of a queue */
    struct blocks *blocks;     /* of a block store */
    struct durable *durable;   /* NULL: default */
    struct snapshot *snapshot; /* that is being made, or NULL (snapshot.h) */
};

/* What an opening asks for, and what it found out. */
struct opening {
    const char *path; /* as path_resolve made it; unused for memory */
    enum object_kind kind;
    enum map_sharing sharing;
    bool write, create, truncate, fit, populate;
    bool any_file_system;
    bool by_name; /* whatever the header says it is, nothing made; ERR_NOT_OPEN for plain bytes */
    uint64_t offset; /* of the region in the file */
    uint64_t len;    /* size of the file, 0: what it has */
    uint64_t size;   /* of a file that is made without len, or with fit */
    uint64_t n;      /* counters, at least; 0: what it has */
    mode_t mode;
    const struct queue_change *queue; /* options of a queue */
    uint64_t now_ms;                  /* of a queue: since 1970 */
    const char *node;                 /* who has the lock of a queue; NULL: says nothing */
    term_length *term_length;         /* what a term is in files of the NIF library */
    struct journal *journal;          /* of durable objects */
    bool durable;                     /* it is to be one; of a queue its options tell */

    int fd; /* after object_find: the file, until object_attach takes it; -1 for memory */
    bool exist;
    bool in_use; /* a file of the NIF library that somebody else holds: not converted */
    dev_t dev;
    ino_t ino;
    uint64_t actual, wanted; /* with ERR_SIZE_MISMATCH */
    uint8_t header[8];       /* with ERR_FILE_HEADER: the first bytes */
    size_t header_len;
    char why[160];        /* with ERR_DAMAGED */
    char owner[128];      /* with ERR_LOCKED: who holds the file, or the journal; "": unknown */
    bool owned;           /* the lock is exclusive, and the file's attribute tells whose */
    bool unclean;         /* and told of somebody before, who did not close the file */
    char needs[PATH_MAX]; /* with ERR_NEEDS_JOURNAL: which */
};

/* object_find opens the file, or makes it whole. On OK `fd`, `exist`, `dev` and `ino` are set. For
 * a queue a file of the NIF library is converted, then that is the file. */
enum err object_find(const struct paths *paths, struct opening *o);

/* object_attach maps what was found, or, where the object has that file already, fits it to the
 * opening: grown, truncated, made writable. It takes `fd` over, also on failure; then an object
 * that was open stays as it was. */
enum err object_attach(struct object *object, struct opening *o);

/* object_drop closes an opening that is not attached. */
void object_drop(struct opening *o);

void object_close(struct object *object);

/* object_resize: as map_resize, in bytes of the file. object_back: as map_back. object_sync: all
 * stores before are on disk; once it has failed, the object has. ERR_EIO on a failed object. */
enum err object_resize(struct object *object, uint64_t size);
enum err object_back(struct object *object, uint64_t pos, uint64_t len);
enum err object_sync(struct object *object);

/* object_relax: no handle asks any more for the object to be durable. Not of a queue. */
enum err object_relax(struct object *object);

/* object_pass: are stores of so many bytes better not recorded in the journal? Then object_passed
 * follows them, with their result: it makes them durable otherwise. */
bool object_pass(struct object *object, uint64_t len);
enum err object_passed(struct object *object, enum err e);

/* What a region becomes with the first request for blocks. */
struct store_change {
    bool make;        /* where there is none yet */
    uint32_t size;    /* bytes of a block; with ERR_BLOCK_SIZE what the file has */
    uint64_t now_ms;  /* since 1970 */
    const char *node; /* who has the lock; NULL: says nothing */
    char why[80];     /* with ERR_DAMAGED */
    char owner[128];  /* with ERR_LOCKED, "": unknown */
};

/* object_become_store: a region is the block store that its file has, or is made, and the file ours
 * alone. ERR_NOT_BLOCKS: the file has something else. It waits for the disk. */
enum err object_become_store(struct object *object, struct store_change *change);

/* The group of the journal that holds the last change; 0: of none. */
uint64_t object_group(const struct object *object);
struct journal *object_journal(const struct object *object);

/* May the object be changed? ERR_EIO where it has failed, ERR_EACCES where its file is read-only.
 */
enum err object_writable(const struct object *object);

#endif
