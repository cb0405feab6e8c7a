/* What open and open_counters ask for: the options, and what becomes of them. */
#ifndef PROTO_OPEN_H
#define PROTO_OPEN_H

#include "proto/op.h"
#include "store/queue.h"

/* Where a file grows by doubling, by so much at most unless it is opened with another number. */
enum { MAX_INC_SIZE_USUAL = 64 << 20 };

struct open {
    struct opening opening; /* for the engine */
    bool fixed_size;
    bool auto_unlink;
    bool durable; /* asked for; of a queue in `change` */
    uint64_t max_inc_size;
    bool claimed; /* the name under which it is to be registered is kept for it */
    bool taken;   /* it belongs to another file, unless this is found to be the same */
    const struct paths *paths;
    struct queue_change *change; /* options of a queue */
    size_t owner_len;            /* of the raw pid; 0: none */
    char *owner;
    char *path;
    _Alignas(struct queue_change) char room[]; /* where these are */
};

/* open_of_call reads an OP_OPENS call. False: the error reply is appended. Freed by free(). */
bool open_of_call(struct call *c, struct open **o);

/* open_of_name is the opening of an object that a request only names. NULL without memory. */
struct open *open_of_name(struct server *s, const char *path);

#endif
