/* One record: reading and checking it, its state word, and how it comes into the file. */
#include "store/failed.h"
#include "store/queue_inside.h"
#include "sys/guard.h"
#include "sys/hash.h"

/* More than this is a worker's to touch, in memory or not; a worker fetches so much at once. */
enum { BULK = 256 << 10, FETCH = 256 << 10, PREPARE = 1 << 20 };

uint64_t record_size(uint64_t length)
{
    return sizeof(struct record_fields) + align_up(length, 8);
}

bool record_is_item(const struct record_fields *f)
{
    return f->kind == RECORD_ITEM || f->kind == RECORD_MOVED;
}

enum err record_ready(struct object *o, const struct turn *t, uint64_t offset, uint64_t len)
{
    struct map *m = &o->map;
    if (offset > m->size || len > m->size - offset)
        return queue_failed(o); /* cut by another program */
    if ((len <= BULK || t->may_wait) && map_resident(m, offset, len))
        return OK;
    if (!t->may_wait)
        return ERR_WOULD_BLOCK;
    map_fetch(m, offset, len > FETCH ? len : FETCH);
    return OK;
}

/* --- state words ----------------------------------------------------------------------------- */

enum { ATTEMPTS_SHIFT = 2, UNTIL_SHIFT = 12, CHECK_SHIFT = 40 };

#define VALUE_MASK ((UINT64_C(1) << CHECK_SHIFT) - 1)

uint64_t state_word(uint32_t header_hash, uint64_t value)
{
    if (value == 0)
        return 0;
    return value | (hash_bytes(header_hash, &value, sizeof value) & 0xffffff) << CHECK_SHIFT;
}

bool state_fits(uint32_t header_hash, uint64_t word)
{
    return state_word(header_hash, word & VALUE_MASK) == word && state_of(word) != 3;
}

uint64_t state_value(unsigned state, unsigned attempts, uint64_t until)
{
    return state | (uint64_t)attempts << ATTEMPTS_SHIFT | until << UNTIL_SHIFT;
}

unsigned state_of(uint64_t word)
{
    return (unsigned)(word & 3);
}

unsigned state_attempts(uint64_t word)
{
    return (unsigned)(word >> ATTEMPTS_SHIFT & ATTEMPTS_MOST);
}

uint64_t state_until(uint64_t word)
{
    return word >> UNTIL_SHIFT & UNTIL_MOST;
}

/* A page failed under a store. */
static enum err put(struct object *o, uint64_t offset, const void *from, size_t len)
{
    return put_bytes(o, offset, from, len) == OK ? OK : queue_failed(o);
}

enum err record_set_state(struct object *o, const struct turn *t, unsigned log, uint64_t pos,
                          uint64_t value)
{
    uint64_t left;
    uint32_t header_hash;
    const uint64_t offset = log_offset(&o->queue->logs[log], pos, &left);
    must(offset != NO_POSITION);
    enum err e = object_writable(o);
    if (e == OK)
        e = record_ready(o, t, offset, sizeof(struct record_fields));
    if (e != OK)
        return e;
    const uint8_t *record = o->map.at + offset;
    if (!guard_copy(&header_hash, record + RECORD_HASHED, sizeof header_hash))
        return queue_failed(o);
    const uint64_t word = state_word(header_hash, value);
    return put(o, offset + offsetof(struct record_fields, state), &word, sizeof word);
}

/* --- reading --------------------------------------------------------------------------------- */

static uint32_t header_hash_of(const struct queue *q, const struct record_fields *f, unsigned log,
                               uint64_t pos)
{
    return (uint32_t)hash_bytes(q->seed + 2 * pos + log, f, RECORD_HASHED);
}

enum err record_head(struct object *o, const struct turn *t, unsigned log, uint64_t pos,
                     struct record_fields *f, struct spot *at)
{
    uint64_t left;
    const struct queue *q = o->queue;
    const uint64_t tail = q->logs[log].tail;
    const uint64_t offset = log_offset(&q->logs[log], pos, &left);
    if (offset == NO_POSITION || left < sizeof *f)
        return ERR_DAMAGED;
    if (pos < tail && tail - pos < left)
        left = tail - pos; /* what begins before the tail ends there */
    enum err e = record_ready(o, t, offset, sizeof *f);
    if (e != OK)
        return e;
    if (!guard_copy(f, o->map.at + offset, sizeof *f))
        return queue_failed(o);
    const bool known = f->kind == RECORD_JUMP || (record_is_item(f) && f->length <= RECORD_LONGEST);
    if (!known || record_size(f->length) > left || f->header_hash != header_hash_of(q, f, log, pos))
        return ERR_DAMAGED;
    *at = (struct spot){.log = log, .pos = pos, .offset = offset};
    return OK;
}

struct check {
    uint64_t seed;
    const uint8_t *at;
    size_t len;
    uint64_t hash;
};

static void check_touch(void *arg)
{
    struct check *c = arg;
    c->hash = hash_bytes(c->seed, c->at, c->len);
}

enum err record_payload(struct object *o, const struct turn *t, const struct record_fields *f,
                        const struct spot *at)
{
    const size_t len = f->kind == RECORD_JUMP ? sizeof(struct extent_fields) : f->length;
    struct check c = {
        .seed = o->queue->seed + f->seq, .at = o->map.at + at->offset + sizeof *f, .len = len};
    enum err e = record_ready(o, t, at->offset + sizeof *f, len);
    if (e != OK)
        return e;
    if (!guard_run(check_touch, &c))
        return queue_failed(o);
    const bool whole = f->kind != RECORD_MOVED || len >= sizeof(struct origin_fields);
    return whole && (uint32_t)c.hash == f->payload_hash ? OK : ERR_DAMAGED;
}

struct span record_item(const struct object *o, const struct record_fields *f,
                        const struct spot *at)
{
    const size_t skip = f->kind == RECORD_MOVED ? sizeof(struct origin_fields) : 0;
    return span_of(o->map.at + at->offset + sizeof *f + skip, f->length - skip);
}

/* --- room ------------------------------------------------------------------------------------ */

static uint32_t granules(const struct queue *q, uint64_t bytes)
{
    return (uint32_t)((bytes + q->limits->granule - 1) / q->limits->granule);
}

/* Grows the file so that it ends with count free granules. */
static enum err grow(struct object *o, uint32_t count, uint32_t *granule)
{
    struct queue *q = o->queue;
    const uint32_t there = space_at_end(&q->space);
    const uint32_t more = count > there ? count - there : 0;
    if (more >= UINT32_MAX - q->space.n) /* opening refuses more */
        return ERR_EFBIG;
    if (!space_resize(&q->space, q->space.n + more))
        return ERR_ENOMEM;
    enum err e = object_resize(o, (uint64_t)q->space.n * q->limits->granule);
    if (e != OK) {
        space_resize(&q->space, q->space.n - more);
        return e;
    }
    *granule = q->space.n - count;
    return OK;
}

static bool is_no_space(enum err e)
{
    return e == ERR_ENOSPC || e == ERR_EDQUOT || e == ERR_EFBIG || e == ERR_MAX_OBJECT_BYTES ||
           e == ERR_MAX_MAPPED;
}

/* Gives holes their space; where the disk has none, a higher run may still have its own. */
static enum err back(struct object *o, uint32_t count, uint32_t *granule)
{
    const struct queue *q = o->queue;
    const uint64_t size = q->limits->granule;
    enum err e = object_back(o, *granule * size, count * size);
    const bool elsewhere = is_no_space(e) && space_find_backed(&q->space, count, granule);
    return object_grown(o, elsewhere ? OK : e);
}

/* Free granules that have their space on the disk. */
static enum err obtain(struct object *o, const struct turn *t, uint32_t count, uint32_t *granule)
{
    struct queue *q = o->queue;
    enum err e = OK;
    const bool found = space_find(&q->space, count, granule);
    const bool backed = found && memchr(q->space.use + *granule, GRANULE_HOLE, count) == NULL;
    if (!backed && !t->may_wait)
        return ERR_WOULD_BLOCK;
    if (!found)
        e = grow(o, count, granule);
    if (e == OK && !backed)
        e = back(o, count, granule);
    if (e != OK)
        return e;
    const uint64_t len = (uint64_t)count * q->limits->granule;
    if (t->may_wait)
        map_prepare(&o->map, (uint64_t)*granule * q->limits->granule,
                    len < PREPARE ? len : PREPARE);
    space_mark(&q->space, *granule, count, GRANULE_USED);
    return OK;
}

/* Each extent is at least an eighth of what is before it, so that their number stays small; where
 * the disk or a limit has no room for that, as much as is needed will do. */
static enum err promise(struct object *o, const struct turn *t, struct recordlog *log,
                        uint64_t bytes)
{
    struct queue *q = o->queue;
    if (bytes > (uint64_t)UINT32_MAX * q->limits->granule / 2)
        return ERR_EFBIG;
    const uint32_t need = granules(q, bytes + JUMP_BYTES);
    const uint64_t eighth = (log->tail - log->head) / 8 / q->limits->granule;
    uint32_t count = eighth > need ? (uint32_t)eighth : need;
    uint32_t granule;
    if (log->next.count >= need)
        return OK;
    if (q->logs[LOG_MAIN].n + q->logs[LOG_SHELF].n + 2 > header_extents_most(q->limits))
        return ERR_ENOSPC;
    if (log->next.count > 0)
        space_mark(&q->space, log->next.granule, log->next.count, GRANULE_FREE);
    log->next.count = 0;
    enum err e = obtain(o, t, count, &granule);
    while (is_no_space(e) && count > need) {
        count = count / 2 > need ? count / 2 : need;
        e = obtain(o, t, count, &granule);
    }
    if (e == OK)
        log->next = (struct extent){.granule = granule, .count = count};
    return e;
}

static bool fits_before_end(const struct recordlog *log, uint64_t bytes)
{
    return log->n > 0 && bytes + JUMP_BYTES <= log->end - log->tail;
}

enum err record_reserve(struct object *o, const struct turn *t, unsigned log, const uint64_t *sizes,
                        size_t n)
{
    struct recordlog *l = &o->queue->logs[log];
    uint64_t here = 0;
    size_t i = 0;
    while (i < n && fits_before_end(l, here + sizes[i]))
        here += sizes[i++];
    uint64_t rest = 0;
    for (; i < n; i++)
        if (!add_u64(rest, sizes[i], &rest))
            return ERR_EFBIG;
    if (rest >= TOO_FAR || l->end + rest >= TOO_FAR || l->tail_seq + n >= TOO_FAR)
        return ERR_EFBIG; /* the next opening would refuse it */
    return rest == 0 ? OK : promise(o, t, l, rest);
}

/* --- writing --------------------------------------------------------------------------------- */

/* Payload, state, then the header: until that is there the record does not exist. */
static enum err put_record(struct object *o, uint64_t offset, struct record_fields *f,
                           const struct draft *d)
{
    static const uint8_t zeros[8];
    const uint64_t payload = offset + sizeof *f;
    const uint64_t end = payload + d->prefix.len + d->item.len;
    enum err e = put(o, payload, d->prefix.at, d->prefix.len);
    if (e == OK)
        e = put(o, payload + d->prefix.len, d->item.at, d->item.len);
    if (e == OK)
        e = put(o, end, zeros, align_up(end, 8) - end);
    if (e == OK)
        e = put(o, offset + offsetof(struct record_fields, state), &f->state, sizeof f->state);
    if (e == OK)
        e = put(o, offset, f, offsetof(struct record_fields, state));
    return e;
}

static void seal(const struct queue *q, struct record_fields *f, unsigned log, uint64_t pos,
                 const struct draft *d)
{
    f->payload_hash = d->payload_hash != NULL
                          ? *d->payload_hash
                          : (uint32_t)hash_two(q->seed + f->seq, d->prefix, d->item);
    f->header_hash = header_hash_of(q, f, log, pos);
    f->state = state_word(f->header_hash, d->state);
}

/* The record at the end of the last extent that tells where the log goes on. */
static enum err put_jump(struct object *o, const struct turn *t, struct recordlog *log)
{
    const struct queue *q = o->queue;
    uint64_t left;
    const uint64_t offset = log_offset(log, log->tail, &left);
    const struct extent_fields to = {.granule = log->next.granule, .count = log->next.count};
    const struct draft d = {.item = span_of(&to, sizeof to)};
    struct record_fields f = {.length = (uint32_t)(left - sizeof f),
                              .kind = RECORD_JUMP,
                              .seq = log->tail_seq,
                              .epoch = q->epoch};
    enum err e = record_ready(o, t, offset, JUMP_BYTES);
    if (e != OK)
        return e;
    seal(q, &f, log->which, log->tail, &d);
    return put_record(o, offset, &f, &d);
}

/* The log goes on in the promised extent. */
static enum err go_on(struct object *o, const struct turn *t, struct recordlog *log)
{
    must(log->next.count > 0);
    const uint64_t end = log->end;
    enum err e = log->n > 0 ? put_jump(o, t, log) : OK;
    if (e != OK)
        return e;
    must(log_add(log, log->next.granule, log->next.count, UINT32_MAX));
    log->next.count = 0;
    log->tail = end;
    return OK;
}

/* Distances of 2^35 bytes and more have no place in their field. */
static uint32_t distance_back(const struct recordlog *log, uint64_t pos)
{
    const uint64_t words = log->last == 0 ? 0 : (pos - log->last) / 8;
    return words > UINT32_MAX ? 0 : (uint32_t)words;
}

enum err record_append(struct object *o, const struct turn *t, unsigned log, const struct draft *d,
                       uint64_t *pos)
{
    const struct queue *q = o->queue;
    struct recordlog *l = &o->queue->logs[log];
    const size_t length = d->prefix.len + d->item.len;
    const uint64_t size = record_size(length);
    uint64_t left;
    enum err e = fits_before_end(l, size) ? OK : go_on(o, t, l);
    const uint64_t offset = e == OK ? log_offset(l, l->tail, &left) : 0;
    if (e == OK)
        e = record_ready(o, t, offset, size);
    if (e != OK)
        return e;
    struct record_fields f = {.length = (uint32_t)length,
                              .kind = d->kind,
                              .seq = d->seq,
                              .time = d->time,
                              .back = distance_back(l, l->tail),
                              .epoch = q->epoch};
    seal(q, &f, log, l->tail, d);
    e = put_record(o, offset, &f, d);
    if (e != OK)
        return e;
    *pos = l->last = l->tail;
    l->tail += size;
    return OK;
}
