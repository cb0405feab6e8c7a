#include "store/nif_blocks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "store/block.h"
#include "sys/os.h"

enum { HEADER = 16, FAN = 64, WINDOW = 1 << 20 };

#define ALL UINT64_MAX

/* --- a window on the tree --------------------------------------------------------------------- */

static enum err fail(struct nif_blocks *f, enum err e, uint64_t at, const char *what)
{
    snprintf(f->why, sizeof f->why, "byte %" PRIu64 ": %s", HEADER + at, what);
    return e;
}

static uint64_t window_size(const struct nif_blocks *f)
{
    return f->size > WINDOW ? f->size : WINDOW;
}

/* The bytes from `at` on, which the file had when it was opened. */
static enum err load(struct nif_blocks *f, uint64_t at, uint64_t len, const uint8_t **bytes)
{
    if (at < f->from || at + len > f->to) {
        const uint64_t left = f->room - at;
        const uint64_t wanted = left < window_size(f) ? left : window_size(f);
        const ssize_t n = os_read_all(f->fd, f->window, (size_t)wanted, (off_t)(HEADER + at));
        f->from = at;
        f->to = at + (n < 0 ? 0 : (uint64_t)n);
        if (n < 0)
            return err_last();
        if ((uint64_t)n < len)
            return fail(f, ERR_DAMAGED, at, "the file has been cut meanwhile");
    }
    *bytes = f->window + (at - f->from);
    return OK;
}

/* --- places ----------------------------------------------------------------------------------- */

static uint64_t masks_len(unsigned level)
{
    return level == 1 ? 8 : 16;
}

static void measure(struct nif_blocks *f)
{
    f->lens[0] = f->size;
    for (unsigned level = 1; level <= f->levels; level++)
        f->lens[level] = masks_len(level) + FAN * f->lens[level - 1];
}

static uint64_t child_at(const struct nif_blocks *f, unsigned level, uint64_t group, uint64_t n)
{
    return group + masks_len(level) + n * f->lens[level - 1];
}

/* Do masks begin there that the file has? */
static bool has_masks(const struct nif_blocks *f, uint64_t at)
{
    uint64_t group = 0;
    unsigned level = f->levels;
    while (at != group) {
        const uint64_t first = child_at(f, level, group, 0);
        if (level == 1 || at < first || (at - first) / f->lens[level - 1] >= FAN)
            return false;
        group = child_at(f, level, group, (at - first) / f->lens[level - 1]);
        level--;
    }
    return at <= f->room && masks_len(level) <= f->room - at;
}

static struct nif_group *group_of(struct nif_blocks *f, unsigned level)
{
    return &f->groups[level - 1];
}

/* The library's addresses have the digits of a place, to the base of 64, the other way round. */
static void name_block(struct nif_blocks *f, struct nif_block *block)
{
    block->place = block->address = 0;
    for (unsigned level = f->levels; level > 0; level--)
        block->place = block->place * FAN + group_of(f, level)->next - 1;
    for (unsigned level = 1; level <= f->levels; level++)
        block->address = block->address * FAN + group_of(f, level)->next - 1;
}

/* --- walking ---------------------------------------------------------------------------------- */

static bool has_bit(uint64_t mask, unsigned n)
{
    return (mask >> n & 1) != 0;
}

static enum err enter(struct nif_blocks *f, unsigned level, uint64_t at)
{
    const uint8_t *masks = f->window;
    enum err e = load(f, at, masks_len(level), &masks);
    if (e != OK)
        return e;
    *group_of(f, level) = (struct nif_group){
        .at = at, .free = get_le64(masks), .used = level == 1 ? 0 : get_le64(masks + 8)};
    f->level = level;
    return OK;
}

/* What the group above says of one that is through. */
static enum err leave(struct nif_blocks *f)
{
    const struct nif_group *g = group_of(f, f->level);
    f->level++;
    if (f->level > f->levels)
        return OK;
    struct nif_group *above = group_of(f, f->level);
    const unsigned n = above->next - 1;
    above->has_blocks |= g->has_blocks;
    if (!f->lowest_only && has_bit(above->used, n) != g->has_blocks)
        return fail(f, ERR_DAMAGED, above->at + 8,
                    "the mask of what is used contradicts the masks beneath it");
    if (!f->lowest_only && has_bit(above->free, n) != (g->free != 0))
        return fail(f, ERR_DAMAGED, above->at,
                    "the mask of what is free contradicts the masks beneath it");
    return OK;
}

/* The next group of the one at work, above the lowest level. */
static enum err descend(struct nif_blocks *f)
{
    struct nif_group *g = group_of(f, f->level);
    const unsigned n = g->next++;
    const uint64_t at = child_at(f, f->level, g->at, n);
    if (at < f->end)
        return enter(f, f->level - 1, at);
    if (!f->lowest_only && (has_bit(g->used, n) || !has_bit(g->free, n)))
        return fail(f, ERR_DAMAGED, g->at, "the masks know a group that was never written");
    return OK;
}

/* The next place of the group at work, of the lowest level. */
static enum err look(struct nif_blocks *f, struct nif_block *block, bool *found)
{
    struct nif_group *g = group_of(f, 1);
    const unsigned n = g->next++;
    const uint64_t at = child_at(f, 1, g->at, n);
    const uint8_t *bytes = f->window;
    if (has_bit(g->free, n))
        return OK;
    if (at > f->room || f->size > f->room - at)
        return f->lowest_only ? OK
                              : fail(f, ERR_DAMAGED, g->at,
                                     "the mask knows a block behind the end of the file");
    enum err e = load(f, at, f->size, &bytes);
    if (e != OK)
        return e;
    g->has_blocks = *found = true;
    name_block(f, block);
    block->bytes = span_of(bytes, f->size);
    return OK;
}

enum err nif_blocks_next(struct nif_blocks *f, struct nif_block *block)
{
    bool found = false;
    enum err e = OK;
    while (e == OK && !found) {
        if (f->level > f->levels)
            return ERR_EMPTY;
        if (f->level == 0)
            e = enter(f, f->levels, 0);
        else if (group_of(f, f->level)->next == FAN)
            e = leave(f);
        else if (f->level > 1)
            e = descend(f);
        else
            e = look(f, block, &found);
    }
    return e;
}

/* --- the file --------------------------------------------------------------------------------- */

static enum err no_blocks(struct nif_blocks *f, const char *what)
{
    snprintf(f->why, sizeof f->why, "%s", what);
    return ERR_NOT_BLOCKS;
}

static enum err take_header(struct nif_blocks *f, const uint8_t *header)
{
    const uint64_t size = get_le64(header) & UINT32_MAX; /* what pads it may be anything */
    const uint64_t last = get_le64(header + 8);
    if (memcmp(header, "EMMAP", 5) == 0)
        return no_blocks(f, "it is one of emmapd's own files");
    if (size == 0 || size > BLOCK_LONGEST)
        return no_blocks(f, "the header has no size that blocks can have");
    f->size = (uint32_t)size;
    measure(f);
    f->end = last + 1; /* of a store that has never been used it is -1 */
    return last == ALL || has_masks(f, last)
               ? OK
               : no_blocks(f, "the header does not fit a file of so many levels");
}

enum err nif_blocks_open(struct nif_blocks *f, int fd, unsigned levels)
{
    uint8_t header[HEADER];
    struct stat st;
    must(levels >= 1 && levels <= NIF_LEVELS_MOST);
    *f = (struct nif_blocks){.fd = fd, .levels = levels};
    const ssize_t n = os_read_all(fd, header, sizeof header, 0);
    if (n < 0 || os.fstat(fd, &st) != 0)
        return err_last();
    if (n < HEADER || st.st_size < HEADER)
        return no_blocks(f, "it is shorter than a header");
    f->room = (uint64_t)st.st_size - HEADER;
    enum err e = take_header(f, header);
    if (e != OK)
        return e;
    f->window = malloc(window_size(f));
    nif_blocks_rewind(f);
    return f->window == NULL ? ERR_ENOMEM : OK;
}

void nif_blocks_rewind(struct nif_blocks *f)
{
    f->from = f->to = 0; /* it may have been written over: it is read again */
    f->level = f->end == 0 ? f->levels + 1 : 0;
}

void nif_blocks_close(struct nif_blocks *f)
{
    free(f->window);
    f->window = NULL;
}
