/* A queue file of the NIF library saleyn/emmap, read item by item: FORMAT.md, section 3. Everything
 * in it may be wrong. The calls may wait for a disk. */
#ifndef STORE_NIF_QUEUE_H
#define STORE_NIF_QUEUE_H

#include "sys/buf.h"
#include "sys/err.h"

/* The length of the term that begins there, without a version byte; 0: none does. */
typedef size_t term_length(struct span at);

struct nif_queue {
    int fd; /* the caller's */
    term_length *length;
    uint64_t head, tail;
    uint64_t pos;      /* of the next record */
    uint64_t from, to; /* what of the file is in the window */
    struct buf window;
};

/* nif_queue_open looks at the header. ERR_NOT_QUEUE: it is none of the NIF library's. */
enum err nif_queue_open(struct nif_queue *f, int fd, term_length *length);
void nif_queue_close(struct nif_queue *f);

/* nif_queue_next gives the next item as a queue of ours has it, good until the next call: without
 * the version byte, and one that is compressed as {'$emmap_zip', Binary}. ERR_EMPTY: that was the
 * last. ERR_NOT_QUEUE: what comes is no record of one complete term. ERR_MAX_FRAME: it is longer
 * than a record of ours can be. */
enum err nif_queue_next(struct nif_queue *f, struct span *item);

/* nif_queue_rewind: the first item is the next again. */
void nif_queue_rewind(struct nif_queue *f);

#endif
