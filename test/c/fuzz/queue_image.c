#include "fuzz/queue_image.h"

#include "fuzz/memory.h"
#include "fuzz/queue_use.h"
#include "sys/hash.h"

enum { USES_MOST = 60, PLACES = 600, LOG_BYTES = 128, EXTENTS_SEEN = 24 };

void image_make(struct dice *d, struct buf *image)
{
    static const struct queue_change none;
    struct object o;
    char why[QUEUE_WHY];
    memory_set(span_of(NULL, 0));
    must(queue_make(MEMORY_FD, &use_limits, &none, use_now.now_ms) == OK);
    for (uint64_t lives = dice_below(d, 4); lives > 0; lives--) {
        must(use_open(&o, why) == OK);
        use_by_chance(d, &o, dice_below(d, USES_MOST));
        if (dice_one_in(d, 2))
            use_kill(&o);
        else
            use_close(&o);
    }
    buf_put(image, memory_bytes().at, memory_bytes().len);
}

/* --- the file under change -------------------------------------------------------------------- */

struct found {
    unsigned log;
    uint64_t pos;
    size_t at; /* in the file */
};

struct image {
    uint8_t *at;
    size_t len;
    struct queue q; /* limits and seed, for the hashes */
    struct found places[PLACES];
    size_t n;
};

static struct record_fields fields_at(const struct image *m, size_t at)
{
    struct record_fields f;
    memcpy(&f, m->at + at, sizeof f);
    return f;
}

static uint32_t header_hash(const struct image *m, const struct found *p,
                            const struct record_fields *f)
{
    return (uint32_t)hash_bytes(m->q.seed + 2 * p->pos + p->log, f, RECORD_HASHED);
}

static void note_records(struct image *m, unsigned log, uint64_t pos, size_t from, size_t to)
{
    for (size_t at = from; at + sizeof(struct record_fields) <= to && m->n < PLACES; at += 8) {
        const struct found p = {.log = log, .pos = pos + (at - from), .at = at};
        const struct record_fields f = fields_at(m, at);
        if (header_hash(m, &p, &f) == f.header_hash)
            m->places[m->n++] = p;
    }
}

/* What the extents of a slot hold. */
static void note_slot(struct image *m, const uint8_t *page)
{
    struct slot_fields slot;
    memcpy(&slot, page, sizeof slot);
    size_t next = sizeof slot;
    for (unsigned log = 0; log < LOGS; log++) {
        uint64_t pos = slot.logs[log].base;
        for (uint32_t i = 0; i < slot.logs[log].n_extents && i < EXTENTS_SEEN; i++, next += 8) {
            struct extent_fields e;
            memcpy(&e, page + next, sizeof e);
            const uint64_t from = (uint64_t)e.granule * m->q.limits->granule;
            const uint64_t len = (uint64_t)e.count * m->q.limits->granule;
            if (from < m->len && len <= m->len - from)
                note_records(m, log, pos, (size_t)from, (size_t)(from + len));
            pos += len;
        }
    }
}

static size_t page_at(const struct image *m, uint64_t number)
{
    return (size_t)(number * m->q.limits->page);
}

/* --- what is changed -------------------------------------------------------------------------- */

static uint64_t other_word(struct dice *d, uint64_t word)
{
    static const uint64_t known[] = {0,
                                     1,
                                     2,
                                     7,
                                     8,
                                     255,
                                     256,
                                     512,
                                     1 << 20,
                                     1U << 31,
                                     UINT32_MAX,
                                     UINT64_C(1) << 61,
                                     UINT64_C(1) << 62,
                                     UINT64_MAX,
                                     UINT64_MAX - 7};
    switch (dice_below(d, 6)) {
    case 0: return word + 1 + dice_below(d, 64);
    case 1: return word - 1 - dice_below(d, 64);
    case 2: return word + 256 * dice_below(d, 9) - 1024;
    case 3: return word ^ UINT64_C(1) << dice_below(d, 64);
    case 4: return word + 8 * dice_below(d, 64) - 256;
    default: return known[dice_below(d, sizeof known / sizeof known[0])];
    }
}

/* A word of 4 or 8 bytes among the first n bytes: another number, or that of another place. */
static void change_word(struct dice *d, uint8_t *at, size_t n)
{
    const size_t size = dice_one_in(d, 3) ? 4 : 8;
    const size_t to = dice_below(d, n / size) * size;
    const size_t from = dice_below(d, n / size) * size;
    uint64_t word = 0;
    memcpy(&word, at + (dice_one_in(d, 4) ? from : to), size);
    word = other_word(d, word);
    memcpy(at + to, &word, size);
}

static void change_page(struct dice *d, struct image *m, uint64_t number, size_t n)
{
    uint8_t *page = m->at + page_at(m, number);
    for (uint64_t times = 1 + dice_below(d, 3); times > 0; times--)
        change_word(d, page, n);
    header_seal(&m->q, page, page_at(m, number));
}

static void change_superblock(struct dice *d, struct image *m)
{
    struct superblock super;
    change_word(d, m->at, offsetof(struct superblock, hash));
    memcpy(&super, m->at, sizeof super);
    super.hash = hash_bytes(0, &super, offsetof(struct superblock, hash));
    memcpy(m->at, &super, sizeof super);
}

/* A slot or an options page takes the place of the other. */
static void repeat_page(struct dice *d, struct image *m)
{
    const uint64_t from = 1 + dice_below(d, 4);
    const uint64_t to = 1 + ((from - 1) ^ 1);
    uint8_t *page = m->at + page_at(m, to);
    uint64_t number;
    memcpy(page, m->at + page_at(m, from), m->q.limits->page);
    memcpy(&number, page, sizeof number);
    number += dice_one_in(d, 2) ? 1 : (uint64_t)-1;
    memcpy(page, &number, sizeof number);
    header_seal(&m->q, page, page_at(m, to));
}

/* Good hashes and a good state word again, as far as the record lies in the file. */
static void seal_record(const struct image *m, const struct found *p)
{
    struct record_fields f = fields_at(m, p->at);
    const size_t left = m->len - p->at - sizeof f;
    if (f.length <= left)
        f.payload_hash =
            (uint32_t)hash_bytes(m->q.seed + f.seq, m->at + p->at + sizeof f, f.length);
    f.header_hash = header_hash(m, p, &f);
    if (f.state != 0)
        f.state = state_word(f.header_hash, f.state & ((UINT64_C(1) << 40) - 1));
    memcpy(m->at + p->at, &f, sizeof f);
}

static void change_record(struct dice *d, const struct image *m)
{
    const struct found *p = &m->places[dice_below(d, m->n)];
    const size_t left = m->len - p->at - sizeof(struct record_fields);
    if (dice_one_in(d, 4) && left >= 8)
        change_word(d, m->at + p->at + sizeof(struct record_fields), 8);
    else
        change_word(d, m->at + p->at, sizeof(struct record_fields));
    seal_record(m, p);
}

/* A record stands where another one, or nothing, was. */
static void copy_record(struct dice *d, const struct image *m)
{
    const struct found *from = &m->places[dice_below(d, m->n)];
    struct found to = m->places[dice_below(d, m->n)];
    const struct record_fields f = fields_at(m, from->at);
    const size_t size = (size_t)record_size(f.length < 4096 ? f.length : 0);
    if (dice_one_in(d, 2)) {
        const uint64_t on = record_size(fields_at(m, to.at).length);
        to.at += (size_t)on;
        to.pos += on;
    }
    if (to.at > m->len || size > m->len - to.at || size > m->len - from->at)
        return;
    memmove(m->at + to.at, m->at + from->at, size);
    if (dice_one_in(d, 2))
        change_word(d, m->at + to.at, sizeof f);
    seal_record(m, &to);
}

static void change_sealed(struct dice *d, struct image *m)
{
    m->q.seed = hash_bytes(0, m->at + offsetof(struct superblock, uuid), 16);
    m->n = 0;
    for (uint64_t slot = 1; slot <= 2; slot++)
        note_slot(m, m->at + page_at(m, slot));
    const uint64_t way = dice_below(d, m->n > 0 ? 16 : 8);
    if (way == 0)
        change_superblock(d, m);
    else if (way == 1)
        change_page(d, m, 3 + dice_below(d, 2), sizeof(struct options_fields));
    else if (way == 2)
        repeat_page(d, m);
    else if (way < 8)
        change_page(d, m, 1 + dice_below(d, 2), sizeof(struct slot_fields) + LOG_BYTES);
    else if (way < 13)
        change_record(d, m);
    else
        copy_record(d, m);
}

static void change_size(struct dice *d, struct buf *image, size_t at)
{
    const size_t more = 256 * dice_below(d, 5) + dice_below(d, 2) * dice_below(d, 256);
    if (dice_one_in(d, 2)) {
        image->len = at + dice_below(d, image->len - at + 1);
    } else if (image->len - at + more <= MEMORY_MOST && buf_grow(image, more) != NULL) {
        memset(image->at + image->len, 0, more);
        image->len += more;
    }
}

void image_change(struct dice *d, struct buf *image, size_t at)
{
    struct image m = {.at = image->at + at, .len = image->len - at, .q.limits = &use_limits};
    if (m.len < (size_t)QUEUE_PAGES * use_limits.page) {
        buf_cut(image, at);
        image_make(d, image);
    } else if (dice_one_in(d, 16)) {
        change_size(d, image, at);
    } else {
        change_sealed(d, &m);
    }
}
