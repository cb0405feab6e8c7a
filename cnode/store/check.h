/* Looking through a file without changing it: everything that is in it, and everything that is
 * wrong with it, by every checksum and invariant of FORMAT.md. What a daemon would deliver from the
 * file is what is found here, and what it would pass over as damaged is told here as damage. */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "store/halves.h"
#include "store/kind.h"
#include "store/queue.h"

#define CHECK_NONE UINT64_MAX

/* One thing that is wrong. Damage: something that was stored is not there any more, or not as it
 * was. Else a note: what a crash may leave, or what was lost and is not needed. */
struct check_finding {
    bool damage;
    uint64_t id;    /* number of the first item, counter or group, address of a block; CHECK_NONE */
    uint64_t count; /* of items, blocks, counters that are lost; 0: none, or nobody knows */
    uint64_t offset; /* in the file; CHECK_NONE: of no one byte */
    const char *what;
};

/* An item as the file has it; its bytes are good until the call returns. */
struct check_item {
    uint64_t seq;
    uint64_t pushed_ms; /* since 1970 */
    unsigned attempts;
    enum item_state state; /* never ITEM_LEASED: leases are in no file */
    uint64_t until_ms;     /* of a delayed one, since 1970; else 0 */
    bool shelved;          /* from the shelf, where numbers have gaps */
    bool moved;            /* it came from another queue: its payload begins with origin_fields */
    struct span payload;
    struct span bytes;
};

struct check_counts {
    enum file_kind kind;
    uint64_t things;  /* items, blocks, counters, groups that are there and whole */
    uint64_t lost;    /* that are not, as far as anybody can tell */
    uint64_t damages; /* findings of damage; so many notes */
    uint64_t notes;
};

/* What to do; every pointer may be NULL. The visitors get what is whole, in order of number or
 * address, with findings before and between them; an error of theirs, any but ERR_DAMAGED, ends it.
 */
struct check {
    term_length *length;        /* what a term is, in files of the NIF library; NULL: these are
                                   regions */
    const enum file_kind *kind; /* it shall be this; NULL: what it says it is */
    bool head;                  /* only what the header says: no visitors but `store` */
    bool behind;                /* also items of a queue that no daemon would find any more: whole
                                   ones behind the end of the records */
    bool in_use;                /* others change it meanwhile */
    bool alone;                 /* without what a journal has of it */
    uint64_t now_ms;            /* since 1970: which delays are over */
    struct check_counts *counts;
    void *arg;
    void (*found)(void *arg, const struct check_finding *f);
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void (*store)(void *arg, struct object *o); /* what a queue or a block store was opened as,
                                                   before what is in it */
    enum err (*item)(void *arg, const struct check_item *item);
    enum err (*counter)(void *arg, uint64_t i, int64_t v);
    enum err (*block)(void *arg, uint64_t a, struct span bytes);
    enum err (*bytes)(void *arg, uint64_t at, struct span bytes); /* of a region, by pieces */
    enum err (*entry)(void *arg, const struct entry_view *entry); /* of a half of the journal */
};

/* check_file looks through the file, which is not changed in any way: neither bytes nor times nor
 * attributes (but the time of the last access). The descriptor need not be writable and stays the
 * caller's. Of a file that is in use something is shown that was there at some time of the call:
 * what is taken meanwhile may be shown or not, and is no damage. OK: nothing is damaged.
 * ERR_DAMAGED: something is, told by `found`. ERR_NEEDS_JOURNAL: a journal has changes of it that
 * cannot be read here. ERR_ENOTSUP: it is of a version that is not known here; ERR_EIO and the
 * like: it cannot be read. */
enum err check_file(int fd, const struct check *c);

/* --- the kinds, for check.c ------------------------------------------------------------------ */

struct checking {
    const struct check *c;
    struct check_counts counts;
    int fd;         /* the caller's */
    struct map map; /* of the file, or a copy on write of it */
};

void check_tell(struct checking *k, const struct check_finding *f);
void check_progress(const struct checking *k, uint64_t done, uint64_t all);

/* check_map maps the file anew: writable, so that stores stay in memory, or not. */
enum err check_map(struct checking *k, bool writable);

/* check_mend_header: the 64 bytes that a queue or a block store begins with are right but for one
 * bit, which it puts right. False: they are not. */
enum { CHECK_HEADER = 64 };
bool check_mend_header(uint8_t header[CHECK_HEADER]);

/* Each gives an error only where it cannot go on; damage has been told. */
enum err check_queue(struct checking *k);
enum err check_blocks(struct checking *k);

#endif
