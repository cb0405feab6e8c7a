/* Block files of the NIF library of which any byte may be wrong: each is taken for one exactly
 * where a plain reading of FORMAT.md, section 5.1, does, with the blocks that this finds.
 *
 * Input: 8 bytes that say how it is read, then the file. */
#include "fuzz/memory.h"
#include "fuzz/mutation.h"
#include "fuzz/target.h"
#include "store/nif_blocks.h"
#include "support/nif_blocks_file.h"

enum { HEAD = 8, HEADER = 16, SIZE_MOST = 16 << 20, LOWEST_ONLY = 8 };

static void nothing(void)
{
}

static uint64_t refusals, contradictions, stores, blocks, by_lowest;

static unsigned levels_of(uint64_t how)
{
    return (unsigned)(how % LOWEST_ONLY % NIF_LEVELS_MOST) + 1;
}

/* --- making ----------------------------------------------------------------------------------- */

static uint64_t freed; /* which of the places made are free */

static bool is_free(uint64_t place)
{
    return (place * freed >> 40) % 4 == 0;
}

static void fill(uint64_t place, uint8_t *bytes)
{
    bytes[0] = (uint8_t)place;
}

static void make(struct dice *d, struct buf *input)
{
    const uint64_t how = dice_word(d) % 16;
    const unsigned levels = dice_one_in(d, 8) ? 1 + (unsigned)dice_below(d, 4) : levels_of(how);
    const uint64_t places = (uint64_t)1 << 6 * levels;
    const uint32_t size = 1 + (uint32_t)dice_below(d, dice_one_in(d, 3) ? 200 : 8);
    const uint64_t most = dice_one_in(d, 3) ? 4000 / size : 200;
    freed = dice_one_in(d, 2) ? dice_word(d) | 1 : 1;
    const uint64_t stored = dice_below(d, most + 1);
    const struct nif_blocks_file f = {.levels = levels,
                                      .size = size,
                                      .stored = stored < places ? stored : places,
                                      .is_free = freed == 1 ? NULL : is_free,
                                      .fill = fill};
    buf_put(input, &how, HEAD);
    nif_blocks_file(&f, input);
    const size_t behind = dice_below(d, 100);
    uint8_t *at = buf_grow(input, behind);
    must(at != NULL);
    memset(at, 0, behind);
    input->len += behind;
}

/* A bit anywhere, or where the first masks are. */
static void change(struct dice *d, struct buf *input)
{
    if (input->len <= HEAD || dice_one_in(d, 3)) {
        mutation_rough(d, input);
        return;
    }
    const size_t len = input->len - HEAD;
    const size_t most = dice_one_in(d, 2) && len > HEADER + 64 ? HEADER + 64 : len;
    input->at[HEAD + dice_below(d, most)] ^= (uint8_t)(1 << dice_below(d, 8));
}

/* --- a plain reading -------------------------------------------------------------------------- */

static struct {
    struct span tree;
    unsigned levels;
    uint64_t size;
    int64_t last;
    bool lowest_only;
    bool contradicted;
    struct {
        uint64_t place, address, at;
    } blocks[MEMORY_MOST];
    size_t n;
} plain;

static uint64_t len_of(unsigned level)
{
    uint64_t len = plain.size;
    for (unsigned l = 1; l <= level; l++)
        len = (l == 1 ? 8 : 16) + 64 * len;
    return len;
}

static bool is_group(unsigned level, uint64_t at, uint64_t offset)
{
    if (at == offset)
        return at + (level == 1 ? 8 : 16) <= plain.tree.len;
    for (unsigned i = 0; level > 1 && i < 64; i++) {
        const uint64_t child = at + 16 + i * len_of(level - 1);
        if (offset >= child && offset < child + len_of(level - 1))
            return is_group(level - 1, child, offset);
    }
    return false;
}

static void read_lowest(uint64_t at, uint64_t before, uint64_t weight, uint64_t address)
{
    const uint64_t free_bits = get_le64(plain.tree.at + at);
    for (unsigned i = 0; i < 64; i++) {
        const uint64_t block = at + 8 + i * plain.size;
        if ((free_bits >> i & 1) != 0)
            continue;
        if (block + plain.size > plain.tree.len) {
            plain.contradicted |= !plain.lowest_only;
            continue;
        }
        plain.blocks[plain.n].place = before * 64 + i;
        plain.blocks[plain.n].address = address + i * weight;
        plain.blocks[plain.n++].at = block;
    }
}

/* `before`: the places before it, in units of its own length. The digits so far make `address`. */
static void read_group(unsigned level, uint64_t at, uint64_t before, uint64_t weight,
                       uint64_t address)
{
    if (level == 1) {
        read_lowest(at, before, weight, address);
        return;
    }
    const uint64_t free_bits = get_le64(plain.tree.at + at);
    const uint64_t used_bits = get_le64(plain.tree.at + at + 8);
    for (unsigned i = 0; i < 64; i++) {
        const uint64_t child = at + 16 + i * len_of(level - 1);
        const size_t n = plain.n;
        bool has_room = true;
        if (plain.last >= 0 && child <= (uint64_t)plain.last) {
            read_group(level - 1, child, before * 64 + i, weight * 64, address + i * weight);
            has_room = get_le64(plain.tree.at + child) != 0;
        }
        const bool agrees =
            (free_bits >> i & 1) == has_room && (used_bits >> i & 1) == (plain.n > n);
        plain.contradicted |= !plain.lowest_only && !agrees;
    }
}

/* False: by its header it is none. */
static bool read_plainly(struct span file)
{
    plain.n = 0;
    plain.contradicted = false;
    if (file.len < HEADER || memcmp(file.at, "EMMAP", 5) == 0)
        return false;
    plain.size = get_le64(file.at) & UINT32_MAX;
    plain.last = (int64_t)get_le64(file.at + 8);
    plain.tree = span_from(file, HEADER);
    if (plain.size < 1 || plain.size > SIZE_MOST || plain.last < -1)
        return false;
    if (plain.last == -1)
        return true;
    if (!is_group(plain.levels, 0, (uint64_t)plain.last))
        return false;
    read_group(plain.levels, 0, 0, 1, 0);
    return true;
}

/* --- what must hold --------------------------------------------------------------------------- */

static void read_once(struct nif_blocks *f)
{
    struct nif_block block;
    size_t n = 0;
    enum err e;
    for (; (e = nif_blocks_next(f, &block)) == OK; n++) {
        must(n < plain.n && block.bytes.len == plain.size);
        must(block.place == plain.blocks[n].place && block.address == plain.blocks[n].address);
        must(memcmp(block.bytes.at, plain.tree.at + plain.blocks[n].at, block.bytes.len) == 0);
    }
    must(e == (plain.contradicted ? ERR_DAMAGED : ERR_EMPTY));
    must(plain.contradicted ? f->why[0] != '\0' : n == plain.n);
}

static void run(struct span input)
{
    struct nif_blocks f;
    uint64_t how;
    if (input.len < HEAD || input.len - HEAD > MEMORY_MOST)
        return;
    memcpy(&how, input.at, HEAD);
    const struct span file = span_from(input, HEAD);
    plain.levels = levels_of(how);
    plain.lowest_only = (how & LOWEST_ONLY) != 0;
    const bool is_store = read_plainly(file);
    memory_begin();
    memory_set(file);
    const enum err e = nif_blocks_open(&f, MEMORY_FD, plain.levels);
    must(e == (is_store ? OK : ERR_NOT_BLOCKS));
    must(is_store || f.why[0] != '\0');
    f.lowest_only = plain.lowest_only;
    if (is_store) {
        read_once(&f);
        nif_blocks_rewind(&f);
        read_once(&f);
    }
    nif_blocks_close(&f);
    must(span_equal(memory_bytes(), file));
    memory_end();
    refusals += !is_store;
    contradictions += is_store && plain.contradicted;
    stores += is_store && !plain.contradicted && plain.n > 0;
    blocks += is_store && !plain.contradicted ? plain.n : 0;
    by_lowest += is_store && plain.lowest_only && plain.n > 0;
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("refused", refusals);
    each("contradictory", contradictions);
    each("stores", stores);
    each("blocks", blocks);
    each("by the lowest masks", by_lowest);
}

const struct target target = {.name = "nif_blocks",
                              .life = 10000,
                              .begin = nothing,
                              .end = nothing,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
