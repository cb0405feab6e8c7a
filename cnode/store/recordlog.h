/* The two logs of a queue file (FORMAT.md 2.1, 2.4): where a position of a log is in the file, and
 * which granules of the file are free. */
#ifndef STORE_RECORDLOG_H
#define STORE_RECORDLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "sys/err.h"
#include "sys/map.h"

enum { LOG_MAIN, LOG_SHELF, LOGS };

#define NO_POSITION UINT64_MAX

/* --- granules ----------------------------------------------------------------------------------
 */

enum granule_use {
    GRANULE_FREE,   /* and it has its space on the disk */
    GRANULE_HOLE,   /* free, perhaps without space */
    GRANULE_USED,   /* of the head of the file, of a log, or promised to one */
    GRANULE_RETIRED /* free as soon as a hole has been made of it */
};

struct space {
    uint8_t *use; /* of each granule of the file */
    uint32_t n;
    uint32_t cap;
};

/* space_open: n granules, all holes. */
enum err space_open(struct space *s, uint32_t n);
void space_close(struct space *s);

/* space_resize: new granules are free and have their space. False without memory. */
bool space_resize(struct space *s, uint32_t n);
void space_mark(struct space *s, uint32_t granule, uint32_t count, enum granule_use use);

/* Are these granules in the file, and are all free? */
bool space_is_free(const struct space *s, uint32_t granule, uint32_t count);

/* space_find gives the lowest run of free granules that is long enough; false without one. */
bool space_find(const struct space *s, uint32_t count, uint32_t *granule);

/* The same of those that have their space on the disk. */
bool space_find_backed(const struct space *s, uint32_t count, uint32_t *granule);

/* Free granules at the end of the file. */
uint32_t space_at_end(const struct space *s);

/* --- logs ------------------------------------------------------------------------------------ */

struct extent {
    uint64_t pos; /* where it begins in the log */
    uint32_t granule;
    uint32_t count;
};

struct recordlog {
    unsigned which;
    uint32_t granule; /* bytes of one */
    uint64_t base, head, head_seq, tail, tail_seq;
    uint64_t last;        /* position of the last item record; 0: none known */
    uint64_t end;         /* of the last extent */
    struct extent *table; /* has room for all extents of both logs */
    uint32_t n;
    struct extent next; /* promised: what comes after the last; count 0: none */
};

/* log_offset: where in the file a position is; NO_POSITION beyond the extents. *left: bytes from
 * there to the end of its extent. */
uint64_t log_offset(const struct recordlog *log, uint64_t pos, uint64_t *left);

/* log_add: the log goes on in these granules; false where no table has room for `most` extents. */
bool log_add(struct recordlog *log, uint32_t granule, uint32_t count, uint32_t most);

/* log_trim gives up the whole granules before the position. Their use becomes FREE, unless `space`
 * is NULL. */
void log_trim(struct recordlog *log, uint64_t to, struct space *space);

#endif
