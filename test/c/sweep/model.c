#include "sweep/model.h"

#include <stdio.h>
#include <string.h>

void model_init(struct model *m)
{
    memset(m, 0, sizeof *m);
    m->low = m->durable_tail = m->tail = 1;
    m->now = 1;
}

uint64_t model_value(const struct model_item *item)
{
    return item->versions[item->n - 1].value;
}

bool model_has_room(const struct model_item *item)
{
    return item->n < MODEL_VERSIONS - 4;
}

bool model_have_room(const struct model *m)
{
    for (uint64_t seq = m->low; seq < m->tail; seq++)
        if (!model_has_room(&m->items[seq]))
            return false;
    return true;
}

void model_change(struct model *m, uint64_t seq, uint64_t value)
{
    struct model_item *item = &m->items[seq];
    item->versions[item->n++] = (struct version){.time = m->now, .value = value};
}

static bool is_done(uint64_t value)
{
    return (value & 3) == MODEL_DONE;
}

void model_durable(struct model *m, uint64_t time, uint64_t tail)
{
    if (tail > m->durable_tail)
        m->durable_tail = tail;
    for (uint64_t seq = m->low; seq < m->tail; seq++) {
        struct model_item *item = &m->items[seq];
        unsigned first = 0;
        for (unsigned i = 0; i < item->n; i++)
            if (item->versions[i].time <= time)
                first = i;
        memmove(item->versions, item->versions + first,
                (item->n - first) * sizeof item->versions[0]);
        item->n -= first;
    }
    while (m->low < m->durable_tail && m->items[m->low].n == 1 &&
           is_done(model_value(&m->items[m->low])))
        m->low++;
}

static bool matches(const struct sight *s, uint64_t value)
{
    return is_done(value) ? !s->there : s->there && s->value == value;
}

/* Of a kill only the last version counts, and within an operation the one before it. */
static bool is_allowed(const struct model *m, const struct model_item *item, const struct sight *s,
                       bool killed)
{
    const uint64_t until = m->op.on ? m->op.time : m->now + 1;
    for (unsigned i = 0; i < item->n; i++) {
        bool later = false;
        for (unsigned k = i + 1; k < item->n; k++)
            later |= item->versions[k].time < until;
        if ((!killed || !later) && matches(s, item->versions[i].value))
            return true;
    }
    return false;
}

const char *model_refuses(const struct model *m, const struct sight *seen, uint64_t tail,
                          bool killed)
{
    static char why[200];
    const uint64_t least = killed ? (m->op.on ? m->op.tail : m->tail) : m->durable_tail;
    if (tail < least || tail > m->tail) {
        snprintf(why, sizeof why, "tail %ju, at least %ju and at most %ju were pushed",
                 (uintmax_t)tail, (uintmax_t)least, (uintmax_t)m->tail);
        return why;
    }
    for (uint64_t seq = m->low; seq < tail; seq++) {
        const struct model_item *item = &m->items[seq];
        const struct sight *s = &seen[seq];
        if (is_allowed(m, item, s, killed))
            continue;
        snprintf(why, sizeof why, "item %ju is %s with %jx; of %u versions the last is %jx",
                 (uintmax_t)seq, s->there ? "there" : "gone", (uintmax_t)s->value, item->n,
                 (uintmax_t)model_value(item));
        return why;
    }
    return NULL;
}

void model_become(struct model *m, const struct sight *seen, uint64_t tail, bool power)
{
    m->now++;
    for (uint64_t seq = m->low; seq < tail; seq++) {
        struct model_item *item = &m->items[seq];
        if (power || item->n >= MODEL_VERSIONS - 1)
            item->n = 0;
        item->leased = item->awake = false;
        model_change(m, seq, seen[seq].there ? seen[seq].value : MODEL_DONE);
    }
    m->tail = tail;
    m->op.on = false;
    if (power)
        m->durable_tail = tail;
}

void model_fill(uint8_t *bytes, uint32_t len, uint32_t tag)
{
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)((uint8_t)(tag * 2654435761U >> (i % 4 * 8)) + i);
}
