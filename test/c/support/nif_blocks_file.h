/* A block file of the NIF library as FORMAT.md, section 5.1, lays it out, made from what is stored
 * in it. */
#ifndef SUPPORT_NIF_BLOCKS_FILE_H
#define SUPPORT_NIF_BLOCKS_FILE_H

#include "sys/buf.h"

struct nif_blocks_file {
    unsigned levels;
    uint32_t size;   /* of a block */
    uint64_t stored; /* so many places have been stored at since the beginning: 0, 1, 2, ... */
    bool (*is_free)(uint64_t place); /* of these: it has been freed; NULL: none */
    void (*fill)(uint64_t place, uint8_t *bytes);
};

/* nif_blocks_file appends it, as short as it can be. */
void nif_blocks_file(const struct nif_blocks_file *f, struct buf *to);

#endif
