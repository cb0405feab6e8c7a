#include "store/recordlog.h"

#include <stdlib.h>

/* --- granules ----------------------------------------------------------------------------------
 */

enum err space_open(struct space *s, uint32_t n)
{
    *s = (struct space){.use = malloc(n), .n = n, .cap = n};
    if (s->use == NULL)
        return ERR_ENOMEM;
    memset(s->use, GRANULE_HOLE, n);
    return OK;
}

void space_close(struct space *s)
{
    free(s->use);
    *s = (struct space){.n = 0};
}

bool space_resize(struct space *s, uint32_t n)
{
    if (n > s->cap) {
        const uint32_t cap = n + n / 2;
        uint8_t *use = realloc(s->use, cap);
        if (use == NULL)
            return false;
        s->use = use;
        s->cap = cap;
    }
    if (n > s->n)
        memset(s->use + s->n, GRANULE_FREE, n - s->n);
    s->n = n;
    return true;
}

void space_mark(struct space *s, uint32_t granule, uint32_t count, enum granule_use use)
{
    must(granule <= s->n && count <= s->n - granule);
    memset(s->use + granule, (int)use, count);
}

static bool is_free(const struct space *s, uint32_t i)
{
    return s->use[i] == GRANULE_FREE || s->use[i] == GRANULE_HOLE;
}

bool space_is_free(const struct space *s, uint32_t granule, uint32_t count)
{
    if (granule > s->n || count > s->n - granule)
        return false;
    for (uint32_t i = granule; i < granule + count; i++)
        if (!is_free(s, i))
            return false;
    return true;
}

static bool is_backed(const struct space *s, uint32_t i)
{
    return s->use[i] == GRANULE_FREE;
}

static bool find(const struct space *s, bool (*fits)(const struct space *s, uint32_t i),
                 uint32_t count, uint32_t *granule)
{
    uint32_t run = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        run = fits(s, i) ? run + 1 : 0;
        if (run == count) {
            *granule = i + 1 - count;
            return true;
        }
    }
    return false;
}

bool space_find(const struct space *s, uint32_t count, uint32_t *granule)
{
    return find(s, is_free, count, granule);
}

bool space_find_backed(const struct space *s, uint32_t count, uint32_t *granule)
{
    return find(s, is_backed, count, granule);
}

uint32_t space_at_end(const struct space *s)
{
    uint32_t n = 0;
    while (n < s->n && is_free(s, s->n - 1 - n))
        n++;
    return n;
}

/* --- logs ------------------------------------------------------------------------------------ */

static uint64_t bytes_of(const struct recordlog *log, const struct extent *e)
{
    return (uint64_t)e->count * log->granule;
}

static const struct extent *extent_of(const struct recordlog *log, uint64_t pos)
{
    uint32_t from = 0;
    uint32_t to = log->n;
    while (to - from > 1) {
        const uint32_t mid = from + (to - from) / 2;
        if (log->table[mid].pos <= pos)
            from = mid;
        else
            to = mid;
    }
    return &log->table[from];
}

uint64_t log_offset(const struct recordlog *log, uint64_t pos, uint64_t *left)
{
    if (log->n == 0 || pos < log->base || pos >= log->end)
        return NO_POSITION;
    const struct extent *last = &log->table[log->n - 1];
    const struct extent *e = pos >= last->pos ? last : extent_of(log, pos);
    *left = e->pos + bytes_of(log, e) - pos;
    return (uint64_t)e->granule * log->granule + (pos - e->pos);
}

bool log_add(struct recordlog *log, uint32_t granule, uint32_t count, uint32_t most)
{
    struct extent *last = log->n > 0 ? &log->table[log->n - 1] : NULL;
    const bool joins = last != NULL && last->granule + last->count == granule;
    must(log->table != NULL);
    if (!joins && log->n >= most)
        return false;
    if (joins)
        last->count += count;
    else
        log->table[log->n++] = (struct extent){.pos = log->end, .granule = granule, .count = count};
    log->end += (uint64_t)count * log->granule;
    return true;
}

static void give_up(struct extent *e, uint32_t count, uint32_t granule_bytes, struct space *space)
{
    if (space != NULL)
        space_mark(space, e->granule, count, GRANULE_FREE);
    e->granule += count;
    e->count -= count;
    e->pos += (uint64_t)count * granule_bytes;
}

void log_trim(struct recordlog *log, uint64_t to, struct space *space)
{
    uint64_t left = (to - log->base) / log->granule;
    uint32_t gone = 0;
    log->base += left * log->granule;
    while (left > 0 && gone < log->n) {
        struct extent *first = &log->table[gone];
        const uint32_t count = first->count <= left ? first->count : (uint32_t)left;
        give_up(first, count, log->granule, space);
        left -= count;
        gone += first->count == 0;
    }
    must(left == 0);
    log->n -= gone;
    memmove(log->table, log->table + gone, log->n * sizeof *log->table);
}
