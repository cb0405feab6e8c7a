#include "store/block.h"

#include <inttypes.h>

#include "store/failed.h"
#include "store/format.h"
#include "store/journal.h"
#include "store/region.h"
#include "sys/guard.h"
#include "sys/hash.h"
#include "sys/log.h"
#include "sys/os.h"

/* Above the map, in memory: a bit for each word of the map says that all of its slots are used, a
 * bit for each word of these that all of its bits are set, and so on to a single word. So the
 * lowest free address is found in a few steps, however many there are. */

#define ALL UINT64_MAX

enum { BITS = 64, LEVELS = 11, BULK = 256 << 10, AHEAD = 4096, WALK = 1 << 20, REPAIR = 64 << 20 };

struct level {
    uint64_t *words;
    uint64_t n;
};

struct blocks {
    uint32_t size;
    uint64_t seed;
    uint64_t capacity;
    uint64_t used;
    unsigned n_levels;
    struct level levels[LEVELS];
    bool walks; /* the file was not closed in order */
    uint64_t walked;
    uint64_t unknown, torn; /* what was met on the way */
};

/* --- places in the file ---------------------------------------------------------------------- */

static uint64_t slot_size(uint32_t size)
{
    return 8 + align_up(size, 8);
}

static uint64_t group_size(uint32_t size)
{
    return BLOCK_PAGE + BLOCK_SLOTS * slot_size(size);
}

static uint64_t capacity_of(uint64_t file_size, uint32_t size)
{
    if (file_size < BLOCK_PAGE)
        return 0;
    const uint64_t groups = (file_size - BLOCK_PAGE) / group_size(size);
    const uint64_t rest = (file_size - BLOCK_PAGE) % group_size(size);
    return groups * BLOCK_SLOTS + (rest < BLOCK_PAGE ? 0 : (rest - BLOCK_PAGE) / slot_size(size));
}

static uint64_t file_size_of(uint64_t capacity, uint32_t size)
{
    const uint64_t rest = capacity % BLOCK_SLOTS;
    return BLOCK_PAGE + capacity / BLOCK_SLOTS * group_size(size) +
           (rest == 0 ? 0 : BLOCK_PAGE + rest * slot_size(size));
}

static uint64_t group_at(const struct blocks *b, uint64_t a)
{
    return BLOCK_PAGE + a / BLOCK_SLOTS * group_size(b->size);
}

static uint64_t slot_at(const struct blocks *b, uint64_t a)
{
    return group_at(b, a) + BLOCK_PAGE + a % BLOCK_SLOTS * slot_size(b->size);
}

/* Where the word of the map is that has the bit of this address. */
static uint64_t word_at(const struct blocks *b, uint64_t a)
{
    return group_at(b, a) + a % BLOCK_SLOTS / BITS * 8;
}

static enum err ready(struct object *o, uint64_t pos, uint64_t len, bool may_wait)
{
    return may_wait || (len <= BULK && map_resident(&o->map, pos, len)) ? OK : ERR_WOULD_BLOCK;
}

/* --- the levels ------------------------------------------------------------------------------ */

/* Bits of the map's word w for which there are no slots: they count as used. */
static uint64_t beyond(const struct blocks *b, uint64_t w)
{
    const uint64_t rest = b->capacity - w * BITS;
    return rest >= BITS ? 0 : ALL << rest;
}

static uint64_t words_of(uint64_t bits)
{
    return bits / BITS + (bits % BITS > 0);
}

static void drop_levels(struct blocks *b)
{
    for (unsigned k = 0; k < b->n_levels; k++)
        free(b->levels[k].words);
    b->n_levels = 0;
}

/* Everything is full at first. */
static enum err make_levels(struct blocks *b)
{
    uint64_t n = words_of(b->capacity);
    do {
        n = words_of(n);
        struct level *l = &b->levels[b->n_levels];
        l->words = malloc((n > 0 ? n : 1) * sizeof *l->words);
        if (l->words == NULL) {
            drop_levels(b);
            return ERR_ENOMEM;
        }
        memset(l->words, 0xff, n * sizeof *l->words);
        l->n = n;
        b->n_levels++;
    } while (n > 1);
    return OK;
}

static void set_full(struct blocks *b, uint64_t w, bool full)
{
    for (unsigned k = 0; k < b->n_levels; k++, w /= BITS) {
        uint64_t *word = &b->levels[k].words[w / BITS];
        const uint64_t before = *word;
        const uint64_t bit = UINT64_C(1) << w % BITS;
        *word = full ? before | bit : before & ~bit;
        if ((before == ALL) == (*word == ALL))
            return;
    }
}

static bool is_full(const struct blocks *b, uint64_t w)
{
    return (b->levels[0].words[w / BITS] >> w % BITS & 1) != 0;
}

/* The first word of the map from w on that is not full. */
static bool next_word(const struct blocks *b, uint64_t w, uint64_t *found)
{
    for (unsigned k = 0; k < b->n_levels; k++) {
        const struct level *l = b->levels;
        if (w / BITS >= l[k].n)
            return false;
        const uint64_t able = ~l[k].words[w / BITS] & ALL << w % BITS;
        if (able == 0) {
            w = w / BITS + 1;
            continue;
        }
        w = w / BITS * BITS + (uint64_t)__builtin_ctzll(able);
        for (; k > 0; k--)
            w = w * BITS + (uint64_t)__builtin_ctzll(~l[k - 1].words[w]);
        *found = w;
        return true;
    }
    return false;
}

/* One page of the map. */
static enum err count_group(struct object *o, uint64_t first)
{
    struct blocks *b = o->blocks;
    uint64_t words[BLOCK_PAGE / 8];
    enum err e = region_read(o, group_at(b, first), words, sizeof words);
    const uint64_t end = first + BLOCK_SLOTS < b->capacity ? first + BLOCK_SLOTS : b->capacity;
    for (uint64_t a = first; e == OK && a < end; a += BITS) {
        const uint64_t v = words[(a - first) / BITS];
        const uint64_t none = beyond(b, a / BITS);
        b->used += (uint64_t)__builtin_popcountll(v & ~none);
        if ((v | none) != ALL)
            set_full(b, a / BITS, false);
    }
    return e;
}

/* For the size that the file has. */
static enum err adopt(struct object *o)
{
    struct blocks *b = o->blocks;
    const struct blocks old = *b;
    b->capacity = capacity_of(o->map.size, b->size);
    b->used = 0;
    b->n_levels = 0;
    enum err e = make_levels(b);
    for (uint64_t a = 0; e == OK && a < b->capacity; a += BLOCK_SLOTS)
        e = count_group(o, a);
    struct blocks gone = e == OK ? old : *b;
    if (e != OK)
        *b = old;
    drop_levels(&gone);
    return e;
}

/* --- slots and bits -------------------------------------------------------------------------- */

static uint64_t word_of(const struct blocks *b, uint64_t a, const void *bytes)
{
    const uint64_t hash = hash_bytes(b->seed + a, bytes, b->size);
    return hash == 0 ? 1 : hash;
}

struct look {
    const struct blocks *blocks;
    const uint8_t *slot;
    uint64_t a;
    enum block_state state;
};

static void look_touch(void *arg)
{
    struct look *l = arg;
    const uint64_t word = get_le64(l->slot);
    l->state = word == 0                                       ? BLOCK_FREE
               : word == word_of(l->blocks, l->a, l->slot + 8) ? BLOCK_WHOLE
                                                               : BLOCK_TORN;
}

static enum err look_at(struct object *o, uint64_t a, struct look *l)
{
    *l = (struct look){.blocks = o->blocks, .slot = o->map.at + slot_at(o->blocks, a), .a = a};
    return guard_run(look_touch, l) ? OK : object_page_failed(o);
}

static enum err bit_of(struct object *o, uint64_t a, bool *set)
{
    int64_t v;
    enum err e = region_read_word(o, word_at(o->blocks, a), &v);
    if (e == OK)
        *set = ((uint64_t)v >> a % BITS & 1) != 0;
    return e;
}

static enum err set_bit(struct object *o, uint64_t a, bool on)
{
    struct blocks *b = o->blocks;
    const uint64_t bit = UINT64_C(1) << a % BITS;
    int64_t old;
    enum err e =
        region_word(o, word_at(b, a), on ? WORD_OR : WORD_AND, 0, (int64_t)(on ? bit : ~bit), &old);
    if (e != OK || (((uint64_t)old & bit) != 0) == on)
        return e;
    const uint64_t now = (uint64_t)old ^ bit;
    b->used = on ? b->used + 1 : b->used - 1;
    set_full(b, a / BITS, (now | beyond(b, a / BITS)) == ALL);
    return OK;
}

/* Contact: the slot says otherwise. Only where that can be done at once and may be; the answer does
 * not hang on it. */
static void put_right(struct object *o, uint64_t a, bool on, bool may_wait)
{
    bool set;
    if (on && is_full(o->blocks, a / BITS))
        return; /* so it is set */
    if (!may_wait && o->durable != NULL && !journal_has_room(object_journal(o)))
        return; /* nor may it wait for that */
    if (object_writable(o) == OK && ready(o, word_at(o->blocks, a), 8, may_wait) == OK &&
        bit_of(o, a, &set) == OK && set != on)
        (void)set_bit(o, a, on);
}

/* --- making and opening ---------------------------------------------------------------------- */

bool block_is_store(const struct map *m)
{
    char magic[8];
    return m->size >= sizeof magic && guard_copy(magic, m->at, sizeof magic) &&
           memcmp(magic, BLOCK_MAGIC, sizeof magic) == 0;
}

static enum err damaged(char why[BLOCK_WHY], const char *what)
{
    snprintf(why, BLOCK_WHY, "header: %s", what);
    return ERR_DAMAGED;
}

static uint64_t header_hash(const struct block_header *h)
{
    return hash_bytes(0, h, offsetof(struct block_header, hash));
}

/* As much as there is of it, and zeros. */
static enum err copy_header(struct object *o, struct block_header *h)
{
    *h = (struct block_header){.version = 0};
    return region_read(o, 0, h, o->map.size < sizeof *h ? o->map.size : sizeof *h);
}

static enum err read_header(struct object *o, struct block_header *h, char why[BLOCK_WHY])
{
    enum err e = copy_header(o, h);
    if (e != OK)
        return e;
    if (memcmp(h->magic, BLOCK_MAGIC, sizeof h->magic) != 0)
        return ERR_NOT_BLOCKS;
    if (o->map.size < sizeof *h)
        return damaged(why, "cut off");
    if (h->hash != header_hash(h))
        return damaged(why, "its hash does not fit");
    if (h->version != BLOCK_VERSION)
        return damaged(why, "of another version");
    return h->block_size > 0 && h->block_size <= BLOCK_LONGEST ? OK
                                                               : damaged(why, "no size of blocks");
}

enum err block_open(struct object *o, char why[BLOCK_WHY])
{
    struct block_header h;
    enum err e = read_header(o, &h, why);
    if (e != OK)
        return e;
    o->blocks = calloc(1, sizeof *o->blocks);
    if (o->blocks == NULL)
        return ERR_ENOMEM;
    o->blocks->size = h.block_size;
    o->blocks->seed = hash_bytes(0, h.uuid, sizeof h.uuid);
    o->blocks->walks = o->unclean;
    e = adopt(o);
    if (e != OK)
        block_close(o);
    return e;
}

void block_close(struct object *o)
{
    if (o->blocks != NULL)
        drop_levels(o->blocks);
    free(o->blocks);
    o->blocks = NULL;
}

struct search {
    const uint8_t *at;
    uint64_t len;
    bool zero;
};

static void search_touch(void *arg)
{
    struct search *s = arg;
    s->zero = s->len == 0 || (s->at[0] == 0 && memcmp(s->at, s->at + 1, s->len - 1) == 0);
}

static enum err is_zero_from(struct object *o, uint64_t pos, bool *zero)
{
    struct search s = {.at = o->map.at + pos, .len = o->map.size - pos};
    if (!guard_run(search_touch, &s))
        return object_page_failed(o);
    *zero = s.zero;
    return OK;
}

/* Zeros; or the magic and, behind a header that is not whole, zeros: it was being made when the
 * power was cut, and nobody was told. */
static enum err is_nothing_yet(struct object *o, bool *is)
{
    struct block_header h;
    *is = false;
    if (!block_is_store(&o->map))
        return is_zero_from(o, 0, is);
    enum err e = copy_header(o, &h);
    if (e != OK || h.hash == header_hash(&h))
        return e;
    return is_zero_from(o, o->map.size < sizeof h ? o->map.size : sizeof h, is);
}

/* The magic first, whole and durably: without it, what a power cut leaves of the rest would be
 * somebody's bytes. */
static enum err write_header(struct object *o, uint32_t size, uint64_t now_ms)
{
    struct block_header h = {
        .magic = BLOCK_MAGIC, .version = BLOCK_VERSION, .block_size = size, .created = now_ms};
    os_random(h.uuid, sizeof h.uuid);
    h.hash = header_hash(&h);
    const bool short_file = o->map.size < sizeof h.magic;
    enum err e = o->map.size < BLOCK_PAGE ? object_resize(o, BLOCK_PAGE) : object_writable(o);
    if (e == OK && short_file)
        e = object_sync(o);
    if (e == OK)
        e = region_write(o, 0, h.magic, sizeof h.magic);
    if (e == OK)
        e = object_sync(o);
    if (e == OK)
        e = region_write(o, 0, &h, sizeof h);
    return e == OK ? object_sync(o) : e;
}

static enum err make_store(struct object *o, enum err found, uint32_t size, uint64_t now_ms,
                           char why[BLOCK_WHY])
{
    bool is;
    enum err e = is_nothing_yet(o, &is);
    if (e == OK && !is)
        return found;
    if (e == OK)
        e = write_header(o, size, now_ms);
    return e == OK ? block_open(o, why) : e;
}

enum err block_init(struct object *o, uint32_t *size, uint64_t now_ms, char why[BLOCK_WHY])
{
    must(*size > 0 && *size <= BLOCK_LONGEST);
    enum err e = o->blocks == NULL ? block_open(o, why) : OK;
    if (e == ERR_NOT_BLOCKS || e == ERR_DAMAGED)
        return make_store(o, e, *size, now_ms, why);
    if (e != OK || o->blocks->size == *size)
        return e;
    *size = o->blocks->size;
    return ERR_BLOCK_SIZE;
}

bool block_fits(const struct object *o)
{
    return o->blocks->capacity == capacity_of(o->map.size, o->blocks->size);
}

uint32_t block_size(const struct object *o)
{
    return o->blocks->size;
}

uint64_t block_capacity(const struct object *o)
{
    return o->blocks->capacity;
}

uint64_t block_used(const struct object *o)
{
    return o->blocks->used;
}

/* --- storing --------------------------------------------------------------------------------- */

/* The first clear bit from `from` on. */
static enum err next_clear(struct object *o, uint64_t from, bool may_wait, uint64_t *a)
{
    const struct blocks *b = o->blocks;
    uint64_t mask = ALL << from % BITS;
    int64_t v;
    for (uint64_t w = from / BITS; next_word(b, w, &w); w++) {
        if (w != from / BITS)
            mask = ALL;
        enum err e = ready(o, word_at(b, w * BITS), 8, may_wait);
        if (e == OK)
            e = region_read_word(o, word_at(b, w * BITS), &v);
        if (e != OK)
            return e;
        const uint64_t able = ~((uint64_t)v | beyond(b, w)) & mask;
        if (able == 0)
            continue;
        *a = w * BITS + (uint64_t)__builtin_ctzll(able);
        return OK;
    }
    return ERR_FULL;
}

/* A whole block at a clear bit: the bit was lost in a power cut. */
static enum err is_free(struct object *o, uint64_t a, bool may_wait, bool *is)
{
    struct look l;
    enum err e = ready(o, slot_at(o->blocks, a), slot_size(o->blocks->size), may_wait);
    if (e == OK)
        e = look_at(o, a, &l);
    if (e != OK)
        return e;
    *is = l.state != BLOCK_WHOLE;
    return *is ? OK : set_bit(o, a, true);
}

enum err block_find(struct object *o, uint32_t n, bool may_wait, uint64_t *addresses)
{
    uint64_t a = 0;
    enum err e = object_writable(o);
    if (e == OK && n > o->blocks->capacity - o->blocks->used)
        return ERR_FULL;
    for (uint32_t i = 0; e == OK && i < n; a++) {
        bool is = false;
        e = next_clear(o, a, may_wait, &a);
        if (e == OK)
            e = is_free(o, a, may_wait, &is);
        if (e == OK && is)
            addresses[i++] = a;
    }
    return e;
}

/* Bits for which there are no slots yet: of a file that was cut by somebody, or of a growth that a
 * power cut has undone. Of the page of the map there may be a part only. */
static enum err clear_beyond(struct object *o)
{
    static const uint8_t zeros[BLOCK_PAGE];
    const struct blocks *b = o->blocks;
    const uint64_t end = align_up(b->capacity + 1, BLOCK_SLOTS);
    const uint64_t page = group_at(b, b->capacity);
    int64_t v;
    if (page + BLOCK_PAGE > o->map.size)
        return page < o->map.size ? region_write(o, page, zeros, o->map.size - page) : OK;
    enum err e = OK;
    for (uint64_t w = b->capacity / BITS; e == OK && w * BITS < end; w++) {
        const uint64_t keep = w * BITS < b->capacity ? ~beyond(b, w) : 0;
        e = region_read_word(o, word_at(b, w * BITS), &v);
        if (e == OK && ((uint64_t)v & ~keep) != 0)
            e = region_word(o, word_at(b, w * BITS), WORD_AND, 0, (int64_t)keep, &v);
    }
    return e;
}

/* Of a slot that the file has not all of: the rest of its word, or it would come back. */
static enum err clear_piece(struct object *o)
{
    static const uint8_t zeros[8];
    const uint64_t pos = slot_at(o->blocks, o->blocks->capacity);
    if (pos >= o->map.size)
        return OK;
    const uint64_t len = o->map.size - pos < sizeof zeros ? o->map.size - pos : sizeof zeros;
    return region_write(o, pos, zeros, len);
}

static enum err grow_to(struct object *o, uint64_t capacity)
{
    enum err e = clear_beyond(o);
    if (e == OK)
        e = clear_piece(o);
    if (e == OK)
        e = object_resize(o, file_size_of(capacity, o->blocks->size));
    return e == OK ? adopt(o) : e;
}

enum err block_grow(struct object *o, uint64_t most)
{
    const struct blocks *b = o->blocks;
    const uint64_t size = o->map.size;
    uint64_t wanted;
    if (!add_u64(size, size < most ? size : most, &wanted) || wanted > INT64_MAX)
        return ERR_EFBIG;
    const uint64_t capacity = capacity_of(wanted, b->size);
    return grow_to(o, capacity == b->capacity ? capacity + 1 : capacity);
}

enum err block_reserve(struct object *o, uint64_t n)
{
    if (n <= o->blocks->capacity)
        return OK;
    return n > capacity_of(INT64_MAX, o->blocks->size) ? ERR_EFBIG : grow_to(o, n);
}

enum err block_put(struct object *o, uint64_t a, const void *bytes)
{
    const struct blocks *b = o->blocks;
    const uint64_t pos = slot_at(b, a);
    int64_t word;
    must(a < b->capacity);
    enum err e = region_read_word(o, pos, &word);
    if (e == OK && word != 0) /* torn: what is under construction is no block yet */
        e = region_word(o, pos, WORD_XCHG, 0, 0, &word);
    if (e == OK)
        e = region_write(o, pos + 8, bytes, b->size);
    if (e == OK)
        e = region_word(o, pos, WORD_XCHG, 0, (int64_t)word_of(b, a, bytes), &word);
    return e == OK ? set_bit(o, a, true) : e;
}

/* --- reading and freeing --------------------------------------------------------------------- */

enum err block_read(struct object *o, uint64_t a, bool may_wait, void *to, bool *there)
{
    const struct blocks *b = o->blocks;
    int64_t word;
    *there = false;
    if (a >= b->capacity)
        return OK;
    const uint64_t pos = slot_at(b, a);
    enum err e = ready(o, pos, slot_size(b->size), may_wait);
    if (e == OK)
        e = region_read_word(o, pos, &word);
    if (e == OK && word != 0)
        e = region_read(o, pos + 8, to, b->size);
    if (e != OK)
        return e;
    *there = word != 0 && (uint64_t)word == word_of(b, a, to);
    if (word != 0 && !*there)
        return ERR_CORRUPT;
    put_right(o, a, *there, may_wait);
    return OK;
}

enum err block_free(struct object *o, uint64_t a, bool may_wait, bool *freed)
{
    const struct blocks *b = o->blocks;
    int64_t word;
    *freed = false;
    enum err e = object_writable(o);
    if (e != OK || a >= b->capacity)
        return e;
    const uint64_t pos = slot_at(b, a);
    e = ready(o, pos, 8, may_wait);
    if (e == OK)
        e = ready(o, word_at(b, a), 8, may_wait);
    if (e == OK)
        e = region_read_word(o, pos, &word);
    if (e == OK && word != 0)
        e = region_word(o, pos, WORD_XCHG, 0, 0, &word);
    if (e == OK)
        e = set_bit(o, a, false);
    *freed = e == OK && word != 0;
    return e;
}

enum err block_next(struct object *o, uint64_t from, bool may_wait, uint64_t *a, bool *found)
{
    const struct blocks *b = o->blocks;
    uint64_t mask = ALL << from % BITS;
    int64_t v = 0;
    *found = false;
    for (uint64_t w = from / BITS; w * BITS < b->capacity; w++, mask = ALL) {
        *a = w * BITS < from ? from : w * BITS;
        if (w - from / BITS >= AHEAD && !may_wait)
            return OK;
        enum err e = ready(o, word_at(b, w * BITS), 8, may_wait);
        if (e == OK)
            e = region_read_word(o, word_at(b, w * BITS), &v);
        if (e != OK)
            return e;
        const uint64_t set = (uint64_t)v & ~beyond(b, w) & mask;
        if (set == 0)
            continue;
        *found = true;
        *a = w * BITS + (uint64_t)__builtin_ctzll(set);
        return OK;
    }
    *a = b->capacity;
    return OK;
}

enum err block_view(struct object *o, uint64_t a, struct block_view *v)
{
    struct look l = {.state = BLOCK_FREE};
    enum err e = a < o->blocks->capacity ? look_at(o, a, &l) : OK;
    if (e == OK)
        e = bit_of(o, a, &v->bit);
    v->state = l.state;
    v->offset = slot_at(o->blocks, a);
    return e;
}

/* The last page of the map, if all of it is in the file. */
uint64_t block_bits(const struct object *o)
{
    const struct blocks *b = o->blocks;
    const bool has_page = group_at(b, b->capacity) + BLOCK_PAGE <= o->map.size;
    return has_page ? align_up(b->capacity + 1, BLOCK_SLOTS) : b->capacity;
}

/* --- repair ---------------------------------------------------------------------------------- */

static enum err repair_one(struct object *o, uint64_t a, bool dry, struct block_repair *r)
{
    struct look l;
    bool set = false;
    int64_t word;
    enum err e = look_at(o, a, &l);
    if (e == OK)
        e = bit_of(o, a, &set);
    if (e != OK)
        return e;
    if (l.state == BLOCK_TORN && !dry)
        e = region_word(o, slot_at(o->blocks, a), WORD_XCHG, 0, 0, &word);
    if (e == OK && !dry && set != (l.state == BLOCK_WHOLE))
        e = set_bit(o, a, l.state == BLOCK_WHOLE);
    if (e != OK)
        return e;
    r->blocks += l.state == BLOCK_WHOLE;
    r->unknown += l.state == BLOCK_WHOLE && !set;
    if (l.state == BLOCK_TORN)
        r->lost[r->torn++] = a;
    return OK;
}

enum err block_repair(struct object *o, uint64_t from, uint64_t count, bool dry,
                      struct block_repair *r)
{
    const uint64_t capacity = o->blocks->capacity;
    const uint64_t begin = from < capacity ? from : capacity;
    const uint64_t at_once = REPAIR / slot_size(o->blocks->size) + 1;
    const uint64_t wanted = count < at_once ? count : at_once;
    const uint64_t end = wanted < capacity - begin ? begin + wanted : capacity;
    const uint64_t most = sizeof r->lost / sizeof r->lost[0];
    *r = (struct block_repair){.next = begin};
    enum err e = dry ? OK : object_writable(o);
    for (; e == OK && r->next < end && r->torn < most; r->next += e == OK)
        e = repair_one(o, r->next, dry, r);
    return e;
}

/* --- after an unclean end -------------------------------------------------------------------- */

bool block_walks(const struct object *o)
{
    return o->blocks != NULL && o->blocks->walks && object_writable(o) == OK;
}

static void tell(const struct object *o)
{
    const struct blocks *b = o->blocks;
    if (b->unknown + b->torn > 0)
        log_warning("\"%s\": it was not closed in order; %" PRIu64
                    " blocks were not in its map, %" PRIu64 " torn ones are freed",
                    o->name != NULL ? o->name : "", b->unknown, b->torn);
}

void block_walk(struct object *o)
{
    struct blocks *b = o->blocks;
    struct block_repair r;
    const uint64_t slots = WALK / slot_size(b->size) + 1;
    enum err e = block_repair(o, b->walked, slots, false, &r);
    b->walked = r.next;
    b->unknown += r.unknown;
    b->torn += r.torn;
    b->walks = e == OK && r.next < b->capacity;
    if (e == OK && !b->walks) {
        tell(o);
        o->unclean = false;
    }
}
