/* Block stores of which any byte may be wrong: refused, untouched, or every answer and every byte
 * of the file afterwards is what FORMAT.md, section 5, makes of the bytes that were there.
 *
 * Input: 8 bytes that say how it is used, then the file. It is too short for a second group. */
#include "fuzz/memory.h"
#include "fuzz/mutation.h"
#include "fuzz/target.h"
#include "store/block.h"
#include "store/format.h"
#include "sys/hash.h"

enum { HEAD = 8, USES_MOST = 30, MAP = BLOCK_PAGE, SLOTS = 2 * BLOCK_PAGE, HEADER = 64 };

/* The file as it must be, and what its header says. */
static struct {
    uint8_t bytes[MEMORY_MOST];
    uint64_t len;
    uint32_t size;
    uint64_t seed;
} model;

static uint64_t refusals, openings, made, stored, corrupt, freed, lost, growths, full;

/* --- the file, as the document has it --------------------------------------------------------- */

static uint64_t stride(void)
{
    return 8 + align_up(model.size, 8);
}

static uint64_t capacity(void)
{
    return model.len < SLOTS ? 0 : (model.len - SLOTS) / stride();
}

static uint8_t *slot(uint64_t a)
{
    return model.bytes + SLOTS + a * stride();
}

static uint64_t word_due(uint64_t a, const uint8_t *data)
{
    const uint64_t hash = hash_bytes(model.seed + a, data, model.size);
    return hash == 0 ? 1 : hash;
}

static bool is_free(uint64_t a)
{
    return a >= capacity() || get_le64(slot(a)) == 0;
}

static bool is_whole(uint64_t a)
{
    return !is_free(a) && get_le64(slot(a)) == word_due(a, slot(a) + 8);
}

static bool bit(uint64_t a)
{
    return a < capacity() && (model.bytes[MAP + a / 8] >> a % 8 & 1) != 0;
}

static void set_bit(uint64_t a, bool on)
{
    uint8_t *byte = &model.bytes[MAP + a / 8];
    *byte = (uint8_t)(on ? *byte | 1U << a % 8 : *byte & ~(1U << a % 8));
}

static uint64_t used(void)
{
    uint64_t n = 0;
    for (uint64_t a = 0; a < capacity(); a++)
        n += bit(a);
    return n;
}

static bool is_zero_from(uint64_t at)
{
    while (at < model.len && model.bytes[at] == 0)
        at++;
    return at >= model.len;
}

static void set_word(uint64_t a, uint64_t word)
{
    put_le64(slot(a), word);
}

/* --- inputs ----------------------------------------------------------------------------------- */

static void put_header(uint8_t *bytes, uint32_t size, uint64_t uuid)
{
    struct block_header h = {.magic = BLOCK_MAGIC, .version = BLOCK_VERSION, .block_size = size};
    memcpy(h.uuid, &uuid, sizeof uuid);
    h.hash = hash_bytes(0, &h, offsetof(struct block_header, hash));
    memcpy(bytes, &h, sizeof h);
    model.size = size;
    model.seed = hash_bytes(0, h.uuid, sizeof h.uuid);
}

static void make_slot(struct dice *d, uint64_t a)
{
    for (uint32_t i = 0; i < model.size; i++)
        slot(a)[8 + i] = (uint8_t)dice_below(d, 4);
    const uint64_t how = dice_below(d, 6);
    if (how > 0)
        set_word(a, word_due(a, slot(a) + 8));
    if (how == 1)
        slot(a)[8 + dice_below(d, model.size)] ^= 1;
    set_bit(a, dice_one_in(d, 8) ? how == 0 : how > 1);
}

/* What a store leaves; some of its blocks torn, some bits lost. */
static void make(struct dice *d, struct buf *input)
{
    const uint64_t how = dice_word(d);
    const uint32_t size = 1 + (uint32_t)dice_below(d, dice_one_in(d, 3) ? 600 : 40);
    memset(model.bytes, 0, sizeof model.bytes);
    put_header(model.bytes, size, dice_word(d));
    model.len = SLOTS + dice_below(d, 80) * stride() + (dice_one_in(d, 2) ? 0 : dice_below(d, 60));
    if (dice_one_in(d, 8))
        model.len = dice_below(d, SLOTS);
    for (uint64_t a = 0; a < capacity(); a++)
        make_slot(d, a);
    if (dice_one_in(d, 16))
        memset(model.bytes, 0, dice_one_in(d, 2) ? model.len : HEADER);
    buf_put(input, &how, HEAD);
    buf_put(input, model.bytes, model.len);
}

/* A size that no store has, under a good hash; slots that change places; anything. */
static void change(struct dice *d, struct buf *input)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 4096, BLOCK_LONGEST, BLOCK_LONGEST + 1};
    const uint64_t len = input->len - HEAD;
    const uint64_t piece = UINT64_C(8) << dice_below(d, 7);
    uint8_t *file = input->at + HEAD;
    if (input->len < HEAD + SLOTS + 2 * piece || dice_one_in(d, 3)) {
        mutation_rough(d, input);
    } else if (dice_one_in(d, 4)) {
        put_header(file, sizes[dice_below(d, 8)], dice_below(d, 3));
    } else if (dice_one_in(d, 2)) {
        file[MAP + dice_below(d, 16)] = (uint8_t)dice_word(d);
    } else {
        const uint64_t places = (len - SLOTS) / piece;
        uint8_t copy[512];
        memcpy(copy, file + SLOTS + dice_below(d, places) * piece, piece);
        memcpy(file + SLOTS + dice_below(d, places) * piece, copy, piece);
    }
}

/* --- what must hold --------------------------------------------------------------------------- */

static void compare(const struct object *o)
{
    must(span_equal(memory_bytes(), span_of(model.bytes, model.len)));
    must(block_capacity(o) == capacity() && block_used(o) == used());
}

static void read_one(struct dice *d, struct object *o, uint64_t a)
{
    static uint8_t bytes[MEMORY_MOST];
    bool there;
    const enum err e = block_read(o, a, dice_one_in(d, 2), bytes, &there);
    must(e == (is_free(a) || is_whole(a) ? OK : ERR_CORRUPT) && there == is_whole(a));
    must(!there || memcmp(bytes, slot(a) + 8, model.size) == 0);
    corrupt += e == ERR_CORRUPT;
    lost += there && !bit(a);
    if (e == OK && a < capacity())
        set_bit(a, there);
}

static void free_one(struct dice *d, struct object *o, uint64_t a)
{
    bool was;
    must(block_free(o, a, dice_one_in(d, 2), &was) == OK && was == !is_free(a));
    freed += was;
    if (a >= capacity())
        return;
    set_word(a, 0);
    set_bit(a, false);
}

/* The lowest without a bit or a whole block. */
static void store_one(struct dice *d, struct object *o)
{
    static uint8_t bytes[MEMORY_MOST];
    uint64_t due = 0;
    uint64_t a;
    if (used() == capacity())
        due = capacity();
    for (; due < capacity() && (bit(due) || is_whole(due)); due++)
        set_bit(due, true);
    const enum err e = block_find(o, 1, dice_one_in(d, 2), &a);
    must(e == (due < capacity() ? OK : ERR_FULL));
    full += e == ERR_FULL;
    if (e != OK)
        return;
    for (uint32_t i = 0; i < model.size; i++)
        bytes[i] = (uint8_t)dice_below(d, 4);
    must(a == due && block_put(o, a, bytes) == OK);
    memcpy(slot(a) + 8, bytes, model.size);
    set_word(a, word_due(a, bytes));
    set_bit(a, true);
    stored++;
}

static void walk(struct dice *d, struct object *o)
{
    uint64_t a = 0;
    bool found;
    for (uint64_t due = 0; due < capacity(); due++) {
        if (!bit(due))
            continue;
        must(block_next(o, a, dice_one_in(d, 2), &a, &found) == OK && found && a == due);
        a++;
    }
    must(block_next(o, a, true, &a, &found) == OK && !found && a == capacity());
}

static void repair(struct dice *d, struct object *o)
{
    const bool dry = dice_one_in(d, 2);
    const uint64_t from = dice_below(d, capacity() + 2);
    const uint64_t count = dice_one_in(d, 2) ? UINT64_MAX : dice_below(d, capacity() + 2);
    struct block_repair due = {.next = from < capacity() ? from : capacity()};
    const uint64_t most = sizeof due.lost / sizeof due.lost[0];
    struct block_repair r;
    for (; due.next < capacity() && due.next - from < count && due.torn < most; due.next++) {
        const uint64_t a = due.next;
        const bool whole = is_whole(a);
        due.blocks += whole;
        due.unknown += whole && !bit(a);
        if (!whole && !is_free(a))
            due.lost[due.torn++] = a;
        if (dry)
            continue;
        if (!whole)
            set_word(a, 0);
        set_bit(a, whole);
    }
    must(block_repair(o, from, count, dry, &r) == OK && memcmp(&r, &due, sizeof r) == 0);
}

/* Bits beyond the last slot, and the word of what follows it, are not to be trusted. */
static void grow(struct dice *d, struct object *o)
{
    const uint64_t before = capacity();
    const enum err e = block_grow(o, 1 + dice_below(d, 4000));
    for (uint64_t a = before; a < BLOCK_SLOTS; a++)
        if (MAP + a / 8 < model.len)
            set_bit(a, false);
    for (uint64_t at = SLOTS + before * stride(); at < SLOTS + before * stride() + 8; at++)
        if (at < model.len)
            model.bytes[at] = 0;
    must(e == OK || e == ERR_ENOSPC);
    const uint64_t len = memory_bytes().len;
    must(e == OK ? len > model.len && (len - SLOTS) % stride() == 0 : len == model.len);
    memset(model.bytes + model.len, 0, len - model.len);
    model.len = len;
    must(e != OK || capacity() > before);
    growths += e == OK;
}

static void use(struct dice *d, struct object *o)
{
    for (uint64_t times = dice_below(d, USES_MOST); times > 0; times--) {
        const uint64_t a = dice_one_in(d, 40) ? dice_word(d) : dice_below(d, capacity() + 2);
        switch (dice_below(d, 9)) {
        case 0: grow(d, o); break;
        case 1: repair(d, o); break;
        case 2: walk(d, o); break;
        case 3:
        case 4: free_one(d, o, a); break;
        case 5:
        case 6: store_one(d, o); break;
        default: read_one(d, o, a);
        }
    }
    compare(o);
}

/* --- running ---------------------------------------------------------------------------------- */

static enum err due_of(const struct block_header *h)
{
    if (memcmp(h->magic, BLOCK_MAGIC, sizeof h->magic) != 0)
        return ERR_NOT_BLOCKS;
    if (model.len < HEADER || h->hash != hash_bytes(0, h, offsetof(struct block_header, hash)))
        return ERR_DAMAGED;
    return h->version == BLOCK_VERSION && h->block_size > 0 && h->block_size <= BLOCK_LONGEST
               ? OK
               : ERR_DAMAGED;
}

/* Untouched, unless there is nothing in it: then it can be made one. */
static void refuse(struct object *o, const struct block_header *h, enum err e)
{
    char why[BLOCK_WHY];
    uint32_t size = 24;
    const bool fits = h->hash == hash_bytes(0, h, offsetof(struct block_header, hash));
    const bool nothing = e == ERR_NOT_BLOCKS ? is_zero_from(0) : !fits && is_zero_from(HEADER);
    must(block_init(o, &size, 1, why) == (nothing ? OK : e));
    must(nothing || span_equal(memory_bytes(), span_of(model.bytes, model.len)));
    refusals++;
    made += nothing;
}

static void run(struct span input)
{
    struct object o = {.kind = OBJECT_REGION};
    struct block_header h = {.version = 0};
    char why[BLOCK_WHY];
    uint64_t how;
    if (input.len < HEAD || input.len - HEAD > MEMORY_MOST)
        return;
    memcpy(&how, input.at, HEAD);
    struct dice d = dice_of(how, 0);
    model.len = input.len - HEAD;
    memcpy(model.bytes, input.at + HEAD, model.len);
    memcpy(&h, model.bytes, model.len < HEADER ? model.len : HEADER);
    model.size = h.block_size;
    model.seed = hash_bytes(0, h.uuid, sizeof h.uuid);
    memory_set(span_of(model.bytes, model.len));
    o.map = memory_map();
    const enum err e = block_open(&o, why);
    must(e == due_of(&h));
    if (e == OK) {
        openings++;
        compare(&o);
        use(&d, &o);
    } else {
        refuse(&o, &h, e);
    }
    block_close(&o);
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("refused", refusals);
    each("opened", openings);
    each("made", made);
    each("stored", stored);
    each("corrupt", corrupt);
    each("freed", freed);
    each("lost", lost);
    each("growths", growths);
    each("full", full);
}

const struct target target = {.name = "blocks",
                              .life = 100000,
                              .begin = memory_begin,
                              .end = memory_end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
