/* The first granule: superblock, slots, options pages. */
#include "store/queue_inside.h"
#include "sys/guard.h"
#include "sys/hash.h"

uint64_t header_slot_at(const struct queue_limits *limits, uint64_t slot_seq)
{
    return limits->page * (1 + (slot_seq & 1));
}

uint64_t header_options_at(const struct queue_limits *limits, uint64_t opt_seq)
{
    return limits->page * (3 + (opt_seq & 1));
}

uint64_t header_next(uint64_t seq)
{
    return seq == UINT64_MAX ? 2 : seq + 1;
}

bool header_is_newer(uint64_t a, uint64_t b)
{
    return a != 0 && (b == 0 || (int64_t)(a - b) > 0);
}

uint32_t header_granules(const struct queue_limits *limits)
{
    return (QUEUE_PAGES * limits->page + limits->granule - 1) / limits->granule;
}

uint32_t header_extents_most(const struct queue_limits *limits)
{
    return (uint32_t)((limits->page - sizeof(struct slot_fields) - 8) /
                      sizeof(struct extent_fields));
}

bool header_read_superblock(const struct map *m, struct superblock *super)
{
    return m->size >= sizeof *super && guard_copy(super, m->at, sizeof *super) &&
           memcmp(super->magic, QUEUE_MAGIC, sizeof super->magic) == 0 &&
           super->hash == hash_bytes(0, super, offsetof(struct superblock, hash));
}

bool queue_is_one(const struct map *m)
{
    char magic[8];
    return m->size >= sizeof magic && guard_copy(magic, m->at, sizeof magic) &&
           memcmp(magic, QUEUE_MAGIC, sizeof magic) == 0;
}

static uint64_t page_hash(const struct queue *q, const uint8_t *page, uint64_t at)
{
    return hash_bytes(q->seed + at, page, q->limits->page - 8);
}

void header_seal(const struct queue *q, uint8_t *page, uint64_t at)
{
    const uint64_t hash = page_hash(q, page, at);
    memcpy(page + q->limits->page - 8, &hash, sizeof hash);
}

bool header_check(const struct queue *q, const uint8_t *page, uint64_t at)
{
    const uint64_t hash = page_hash(q, page, at);
    return memcmp(page + q->limits->page - 8, &hash, sizeof hash) == 0;
}

enum err header_write_options(const struct queue *q, uint64_t opt_seq,
                              const struct queue_options *options, uint8_t *page)
{
    const size_t dead_letter = strlen(options->dead_letter);
    const size_t registered = strlen(options->registered);
    const struct options_fields f = {.opt_seq = opt_seq,
                                     .max_items = options->max_items,
                                     .max_bytes = options->max_bytes,
                                     .lease_ms = options->lease_ms,
                                     .max_attempts = options->max_attempts,
                                     .overflow = options->drop_head,
                                     .flags = (options->fixed_size ? OPTION_FIXED_SIZE : 0U) |
                                              (options->durable ? OPTION_DURABLE : 0U),
                                     .dead_letter_len = (uint16_t)dead_letter,
                                     .registered_len = (uint16_t)registered};
    if (sizeof f + dead_letter + registered > q->limits->page - 8)
        return ERR_ENAMETOOLONG;
    memset(page, 0, q->limits->page);
    memcpy(page, &f, sizeof f);
    memcpy(page + sizeof f, options->dead_letter, dead_letter);
    memcpy(page + sizeof f + dead_letter, options->registered, registered);
    header_seal(q, page, header_options_at(q->limits, opt_seq));
    return OK;
}

/* What does not fit is none: a page with a good hash that we did not write. */
static void read_name(const uint8_t *page, size_t end, size_t from, size_t len, size_t most,
                      char *name)
{
    const bool fits = from <= end && len <= end - from && len <= most;
    if (fits)
        memcpy(name, page + from, len);
    name[fits ? len : 0] = '\0';
}

void header_read_options(const struct queue_limits *limits, const uint8_t *page,
                         struct queue_options *options, uint64_t *opt_seq)
{
    struct options_fields f;
    memcpy(&f, page, sizeof f);
    *options = (struct queue_options){.max_items = f.max_items,
                                      .max_bytes = f.max_bytes,
                                      .lease_ms = f.lease_ms,
                                      .max_attempts = f.max_attempts,
                                      .drop_head = f.overflow == 1,
                                      .fixed_size = (f.flags & OPTION_FIXED_SIZE) != 0,
                                      .durable = (f.flags & OPTION_DURABLE) != 0};
    const size_t end = limits->page - 8;
    read_name(page, end, sizeof f, f.dead_letter_len, QUEUE_NAME_MOST, options->dead_letter);
    read_name(page, end, sizeof f + f.dead_letter_len, f.registered_len, QUEUE_REGISTERED_MOST,
              options->registered);
    *opt_seq = f.opt_seq;
}

void queue_header(const struct object *o, struct queue_header *h)
{
    const struct queue *q = o->queue;
    struct slot_fields f = {.slot_seq = 0};
    const uint64_t at = header_slot_at(q->limits, q->slot_seq);
    *h = (struct queue_header){.version = QUEUE_VERSION,
                               .granule = q->limits->granule,
                               .epoch = q->epoch,
                               .created_ms = q->created,
                               .slot_seq = q->slot_seq,
                               .opt_seq = q->opt_seq,
                               .extents = {q->logs[LOG_MAIN].n, q->logs[LOG_SHELF].n}};
    if (guard_copy(&f, o->map.at + at, sizeof f) && f.slot_seq == q->slot_seq)
        h->clean = (f.flags & SLOT_CLOSED_CLEANLY) != 0;
}
