#include "sweep/cells.h"

#include <stdio.h>

#include "store/counter.h"

void cells_init(struct cells *c, uint64_t size, uint64_t most)
{
    memset(c, 0, sizeof *c);
    must(most <= CELLS);
    c->now = 1;
    c->least = size;
    c->most = most;
    history_add(&c->size, c->now, size);
    for (uint64_t i = 0; i < CELLS; i++)
        history_add(&c->words[i], c->now, 0);
}

uint64_t cells_size(const struct cells *c)
{
    return history_value(&c->size);
}

uint64_t cells_word(const struct cells *c, uint64_t word)
{
    return history_value(&c->words[word]);
}

bool cells_have_room(const struct cells *c)
{
    for (uint64_t i = 0; i < c->most; i++)
        if (!history_has_room(&c->words[i]))
            return false;
    return history_has_room(&c->size);
}

void cells_begin(struct cells *c)
{
    c->now++;
}

void cells_set(struct cells *c, uint64_t word, uint64_t value)
{
    if (cells_word(c, word) != value)
        history_add(&c->words[word], c->now, value);
}

void cells_write(struct cells *c, uint64_t pos, const uint8_t *bytes, size_t len)
{
    for (uint64_t word = pos / 8; word * 8 < pos + len; word++) {
        uint64_t value = cells_word(c, word);
        for (unsigned i = 0; i < 8; i++) {
            const uint64_t at = word * 8 + i;
            if (at >= pos && at < pos + len)
                ((uint8_t *)&value)[i] = bytes[at - pos];
        }
        cells_set(c, word, value);
    }
}

void cells_resize(struct cells *c, uint64_t size)
{
    for (uint64_t word = size; word < cells_size(c); word++)
        cells_set(c, word, 0);
    if (size != cells_size(c))
        history_add(&c->size, c->now, size);
}

void cells_durable(struct cells *c, uint64_t time)
{
    history_forget(&c->size, time);
    for (uint64_t i = 0; i < c->most; i++)
        history_forget(&c->words[i], time);
}

static bool is_allowed(const struct history *h, uint64_t value)
{
    for (unsigned i = 0; i < h->n; i++)
        if (h->versions[i].value == value)
            return true;
    return false;
}

/* As far as anybody can see them. */
static uint64_t words_of(const struct object *o)
{
    return o->kind == OBJECT_COUNTERS ? counter_file_size(o->count) / 8 : o->map.size / 8;
}

static uint64_t word_of(const struct object *o, uint64_t word)
{
    return get_le64(o->map.at + word * 8);
}

const char *cells_refuse(const struct cells *c, const struct object *o)
{
    static char why[200];
    if (!is_allowed(&c->size, o->map.size / 8)) {
        snprintf(why, sizeof why, "%ju bytes, %ju were last", (uintmax_t)o->map.size,
                 (uintmax_t)(8 * cells_size(c)));
        return why;
    }
    for (uint64_t word = 0; word < words_of(o); word++) {
        const struct history *h = &c->words[word];
        if (is_allowed(h, word_of(o, word)))
            continue;
        snprintf(why, sizeof why, "word %ju is %jx; of %u versions the last is %jx, the first %jx",
                 (uintmax_t)word, (uintmax_t)word_of(o, word), h->n, (uintmax_t)history_value(h),
                 (uintmax_t)h->versions[0].value);
        return why;
    }
    return NULL;
}

void cells_become(struct cells *c, const struct object *o, bool power)
{
    c->now++;
    history_restart(&c->size, c->now, o->map.size / 8, power);
    for (uint64_t word = 0; word < c->most; word++)
        history_restart(&c->words[word], c->now, word < o->map.size / 8 ? word_of(o, word) : 0,
                        power);
}
