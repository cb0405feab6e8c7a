/* What a file is, by its first bytes. */
#ifndef STORE_KIND_H
#define STORE_KIND_H

#include "store/nif_queue.h"

enum file_kind {
    FILE_REGION, /* whatever is nothing else */
    FILE_COUNTERS,
    FILE_BLOCKS,
    FILE_QUEUE,
    FILE_NIF_QUEUE, /* of the NIF library: not yet converted */
    FILE_JOURNAL    /* a half of the journal */
};

/* file_kind reads the beginning, of what might be a queue of the NIF library all of it: that has no
 * magic, so each record has to fit. Without `length` it is a region. A file that cannot be read is
 * an error, ERR_EIO and the like. */
enum err file_kind(int fd, term_length *length, enum file_kind *kind);

/* A word for people and programs: "queue". */
const char *file_kind_name(enum file_kind kind);

#endif
