/* A block store: blocks of one size by address, in a file (FORMAT.md, section 5). The word of a
 * slot is the truth: whether a block is there, and whole. The map of bits in the file is an index
 * of it, which a power cut may leave wrong; whoever meets a bit that is wrong puts it right.
 *
 * Whoever calls has the object for himself. Errors that any of these may give: ERR_WOULD_BLOCK (a
 * disk has to be waited for, and this is not a worker: nothing is done), ERR_EIO (a page failed,
 * and with it the object), for changes also ERR_EACCES. */
#ifndef STORE_BLOCK_H
#define STORE_BLOCK_H

#include "store/object.h"

enum { BLOCK_LONGEST = 16 << 20 };

/* Does the file begin as a store does? */
bool block_is_store(const struct map *m);

/* block_init makes a store of a region, whose bytes are all 0, or keeps the one that is there.
 * ERR_BLOCK_SIZE: its blocks are of *size bytes. ERR_NOT_BLOCKS: there is something else; then
 * nothing is changed. block_open: the one that is there; ERR_DAMAGED: its header is, `why` says
 * how. Both wait for the disk. */
enum { BLOCK_WHY = 80 };
enum err block_init(struct object *o, uint32_t *size, uint64_t now_ms, char why[BLOCK_WHY]);
enum err block_open(struct object *o, char why[BLOCK_WHY]);

/* block_close frees what the object has in memory of its store. */
void block_close(struct object *o);

/* block_fits: is the file as long as when the store was opened? */
bool block_fits(const struct object *o);

/* Bytes of a block; how many there is room for in the file, and are there, as far as the map knows.
 */
uint32_t block_size(const struct object *o);
uint64_t block_capacity(const struct object *o);
uint64_t block_used(const struct object *o);

/* block_find gives the n lowest addresses that are free, in order. ERR_FULL: there are not so many.
 * block_grow makes room for more: the file is twice as long then, or by `most` bytes longer where
 * that is less, in any case by a slot. block_reserve makes room for the addresses below n, and for
 * no more. Both wait for the disk. ERR_EFBIG: no file can be so long. */
enum err block_find(struct object *o, uint32_t n, bool may_wait, uint64_t *addresses);
enum err block_grow(struct object *o, uint64_t most);
enum err block_reserve(struct object *o, uint64_t n);

/* block_put stores a block at an address that is free, and for which there is room: one that
 * block_find has given, or any in a store that nobody else knows yet. */
enum err block_put(struct object *o, uint64_t a, const void *bytes);

/* block_read copies the block; *there tells whether there is one. ERR_CORRUPT: it is not whole. */
enum err block_read(struct object *o, uint64_t a, bool may_wait, void *to, bool *there);

/* block_free frees the address; *freed tells whether something was there. */
enum err block_free(struct object *o, uint64_t a, bool may_wait, bool *freed);

/* block_next finds the first address from `from` on whose bit is set, but looks only so far ahead
 * that nobody has to wait long: *found tells; if not, *a is where to go on. At the end both are at
 * the capacity. */
enum err block_next(struct object *o, uint64_t from, bool may_wait, uint64_t *a, bool *found);

/* What stands in a slot, and whether its bit says that it is used. An address behind the last slot
 * has a bit only, where the file is long enough for that: block_bits is behind the last of these.
 */
struct block_view {
    enum block_state { BLOCK_FREE, BLOCK_WHOLE, BLOCK_TORN } state;
    bool bit;
    uint64_t offset; /* of the slot in the file */
};
enum err block_view(struct object *o, uint64_t a, struct block_view *v);
uint64_t block_bits(const struct object *o);

/* What a repair has met in the slots from one to another. */
struct block_repair {
    uint64_t blocks;  /* whole ones */
    uint64_t unknown; /* of these, those that the map did not know */
    uint64_t torn;
    uint64_t next;       /* where to go on, or the capacity */
    uint64_t lost[1000]; /* addresses of the torn ones; it ends where there are more */
};

/* block_repair looks at so many slots and, unless it is a dry run, puts the map right and frees
 * what is torn; at most 64 MiB of them. It waits for the disk. Errors: what was repaired so far
 * stands in r. */
enum err block_repair(struct object *o, uint64_t from, uint64_t count, bool dry,
                      struct block_repair *r);

/* block_walks: was the store not closed in order, and is there a part of it that has not been
 * repaired since? block_walk repairs the next piece. It waits for the disk. */
bool block_walks(const struct object *o);
void block_walk(struct object *o);

#endif
