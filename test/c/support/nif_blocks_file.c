#include "support/nif_blocks_file.h"

/* What is stored decides all: a group is begun if the first of its places was ever stored at. */

static uint64_t places_of(unsigned level)
{
    return (uint64_t)1 << 6 * level;
}

static bool is_stored(const struct nif_blocks_file *f, uint64_t place)
{
    return place < f->stored && (f->is_free == NULL || !f->is_free(place));
}

static uint64_t count(const struct nif_blocks_file *f, uint64_t first, uint64_t n)
{
    uint64_t stored = 0;
    for (uint64_t place = first; place < first + n && place < f->stored; place++)
        stored += is_stored(f, place);
    return stored;
}

static void put_word(struct buf *to, uint64_t word)
{
    uint8_t bytes[8];
    put_le64(bytes, word);
    must(buf_put(to, bytes, sizeof bytes));
}

static void put_block(const struct nif_blocks_file *f, struct buf *to, uint64_t place)
{
    uint8_t *at = buf_grow(to, f->size);
    must(at != NULL);
    memset(at, 0, f->size);
    if (place < f->stored)
        f->fill(place, at);
    to->len += f->size;
}

/* The last offset of masks that were written. */
static uint64_t last_mask;

static void put_group(const struct nif_blocks_file *f, struct buf *to, size_t tree, unsigned level,
                      uint64_t first)
{
    const uint64_t n = places_of(level - 1);
    uint64_t free_bits = 0;
    uint64_t used_bits = 0;
    last_mask = to->len - tree;
    for (unsigned i = 0; i < 64; i++) {
        const uint64_t stored = count(f, first + i * n, n);
        free_bits |= (uint64_t)(stored < n) << i;
        used_bits |= (uint64_t)(stored > 0) << i;
    }
    put_word(to, free_bits);
    if (level > 1)
        put_word(to, used_bits);
    for (unsigned i = 0; i < 64 && first + i * n < f->stored; i++)
        if (level > 1)
            put_group(f, to, tree, level - 1, first + i * n);
        else
            put_block(f, to, first + i);
}

void nif_blocks_file(const struct nif_blocks_file *f, struct buf *to)
{
    const size_t header = to->len;
    put_word(to, f->size);
    put_word(to, UINT64_MAX);
    if (f->stored == 0)
        return;
    put_group(f, to, to->len, f->levels, 0);
    put_le64(to->at + header + 8, last_mask);
}
