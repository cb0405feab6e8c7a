/* A block file of the NIF library saleyn/emmap, read block by block: FORMAT.md, section 5.1.
 * Everything in it may be wrong. The calls may wait for a disk. */
#ifndef STORE_NIF_BLOCKS_H
#define STORE_NIF_BLOCKS_H

#include "sys/bytes.h"
#include "sys/err.h"

enum { NIF_LEVELS_MOST = 5, NIF_BLOCKS_WHY = 120 };

struct nif_blocks {
    int fd; /* the caller's */
    unsigned levels;
    bool lowest_only;                   /* nothing but the lowest masks is believed */
    uint32_t size;                      /* bytes of a block */
    uint64_t room;                      /* bytes behind the header, where the tree is */
    uint64_t end;                       /* masks that begin here or later have never been written */
    uint64_t lens[NIF_LEVELS_MOST + 1]; /* of a group of each level; 0: of a block */

    /* The groups that the next block is in, the lowest first, and what of each is done. */
    struct nif_group {
        uint64_t at, free, used;
        unsigned next;
        bool has_blocks;
    } groups[NIF_LEVELS_MOST];
    unsigned level; /* of the one at work; more than `levels`: none is left */

    uint8_t *window;
    uint64_t from, to; /* what of the tree is in the window */
    char why[NIF_BLOCKS_WHY];
};

struct nif_block {
    uint64_t place;   /* how many places for blocks are before it in the file */
    uint64_t address; /* what the library calls it */
    struct span bytes;
};

/* nif_blocks_open looks at the header of a file that has 1 to NIF_LEVELS_MOST levels.
 * ERR_NOT_BLOCKS: it can be none of the NIF library's; `why` tells. nif_blocks_close also after an
 * error. */
enum err nif_blocks_open(struct nif_blocks *f, int fd, unsigned levels);
void nif_blocks_close(struct nif_blocks *f);

/* nif_blocks_next gives the next block, in order of their places, good until the next call.
 * ERR_EMPTY: that was the last. ERR_DAMAGED: two masks, or a mask and the end of the file,
 * contradict each other; `why` tells where. With `lowest_only` that is no error: what the lowest
 * mask says and the file has counts. */
enum err nif_blocks_next(struct nif_blocks *f, struct nif_block *block);

/* nif_blocks_rewind: the first block is the next again. */
void nif_blocks_rewind(struct nif_blocks *f);

#endif
