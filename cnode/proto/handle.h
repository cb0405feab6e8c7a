/* Handles: an id, whose it is, and what it may do with its object. */
#ifndef PROTO_HANDLE_H
#define PROTO_HANDLE_H

#include "proto/engine.h"

struct handle {
    UT_hash_handle hh;
    uint64_t id;
    struct client *client;
    struct handle *next, *prev; /* of the same client */
    struct entry *entry;
    struct handle *next_here, *prev_here; /* of the same entry */
    enum object_kind kind;                /* as what it was opened */
    bool write;
    bool fixed_size;
    bool durable; /* it asked for that; not of a queue */
    uint64_t offset;
    uint64_t max_inc_size;
    struct watch *watch;     /* of its owner, or NULL */
    struct pending *closing; /* made with the handle, so that its end needs no memory */
    struct {
        uint64_t done;
        uint64_t failed;  /* since the last barrier */
        size_t first_len; /* of the first of these: its reason, 0 where that was too long */
        uint8_t first[64];
    } casts;
};

/* A monitor of the process that owns a handle. */
struct watch {
    UT_hash_handle hh;
    uint64_t number;
    struct handle *handle;
    size_t len;
    uint8_t pid[];
};

/* handle_new gives the client a handle of the entry; NULL without memory. */
struct handle *handle_new(struct client *c, struct entry *e, enum object_kind kind, bool write);

/* handle_own closes the handle when the process ends. False without memory. */
bool handle_own(struct handle *h, struct span pid);

void handle_free(struct handle *h);

/* handle_find: ERR_STALE for an id of an earlier connection, another one, or another life of the
 * daemon, ERR_CLOSED for one that this connection had. */
enum err handle_find(struct client *c, uint64_t id, struct handle **found);

#endif
