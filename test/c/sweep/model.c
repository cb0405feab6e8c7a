#include "sweep/model.h"

#include <stdio.h>
#include <string.h>

#include "store/format.h"
#include "sweep/run.h"

/* --- options -----------------------------------------------------------------------------------
 */

uint64_t model_most(uint64_t value)
{
    return value & 31;
}

bool model_drops(uint64_t value)
{
    return (value >> 5 & 1) != 0;
}

/* Every field follows from the value, so that a page of two halves shows. */
void model_options(uint64_t value, struct queue_options *o)
{
    memset(o, 0, sizeof *o);
    o->max_items = model_most(value);
    o->drop_head = model_drops(value);
    o->lease_ms = value * 7;
    o->max_attempts = (uint32_t)value % 1000;
    const size_t len = value % 200;
    memset(o->dead_letter, 'a' + (int)(value % 23), len);
    memset(o->registered, 'A' + (int)(value % 19), len);
}

static bool same_options(const struct queue_options *a, const struct queue_options *b)
{
    return a->max_items == b->max_items && a->max_bytes == b->max_bytes &&
           a->lease_ms == b->lease_ms && a->max_attempts == b->max_attempts &&
           a->drop_head == b->drop_head && a->fixed_size == b->fixed_size &&
           strcmp(a->dead_letter, b->dead_letter) == 0 && strcmp(a->registered, b->registered) == 0;
}

static bool stands_for(uint64_t value, const struct queue_options *o)
{
    struct queue_options expected;
    if (model_most(value) != o->max_items)
        return false;
    model_options(value, &expected);
    return same_options(&expected, o);
}

/* --- histories ---------------------------------------------------------------------------------
 */

void model_init(struct model *m)
{
    memset(m->items, 0, m->used * sizeof m->items[0]);
    memset(m, 0, offsetof(struct model, items));
    m->low = m->durable_tail = m->tail = 1;
    m->now = 1;
    model_change(m, &m->options, 0);
}

uint64_t history_value(const struct history *h)
{
    return h->versions[h->n - 1].value;
}

static bool is_done(uint64_t value)
{
    return (value & 3) == MODEL_DONE;
}

bool history_is_there(const struct history *h)
{
    return !is_done(history_value(h));
}

bool history_has_room(const struct history *h)
{
    return h->n < MODEL_VERSIONS - 4;
}

bool model_has_room(const struct model *m)
{
    for (uint64_t seq = m->low; seq < m->tail; seq++)
        if (!history_has_room(&m->items[seq].states))
            return false;
    return true;
}

void history_add(struct history *h, uint64_t time, uint64_t value)
{
    h->versions[h->n++] = (struct version){.time = time, .value = value};
}

void model_change(struct model *m, struct history *h, uint64_t value)
{
    history_add(h, m->now, value);
}

struct model_item *model_push(struct model *m, uint32_t len)
{
    struct model_item *item = &m->items[m->tail++];
    m->used = m->tail > m->used ? m->tail : m->used;
    memmove(item->former + 1, item->former, sizeof item->former - sizeof item->former[0]);
    item->former[0] = item->content;
    item->content = (struct content){.tag = (uint32_t)chance_word(), .len = len};
    item->moved_to = 0;
    item->leased = item->moving = item->awake = false;
    item->states.n = 0;
    model_change(m, &item->states, 0);
    return item;
}

/* --- time --------------------------------------------------------------------------------------
 */

void history_forget(struct history *h, uint64_t time)
{
    unsigned first = 0;
    for (unsigned i = 0; i < h->n; i++)
        if (h->versions[i].time <= time)
            first = i;
    if (first == 0)
        return;
    h->n -= first;
    memmove(h->versions, h->versions + first, h->n * sizeof h->versions[0]);
}

void model_durable(struct model *m, uint64_t time, uint64_t tail)
{
    if (tail > m->durable_tail)
        m->durable_tail = tail;
    history_forget(&m->options, time);
    for (uint64_t seq = m->low; seq < m->tail; seq++)
        history_forget(&m->items[seq].states, time);
    while (m->low < m->durable_tail && m->items[m->low].states.n == 1 &&
           !history_is_there(&m->items[m->low].states))
        m->low++;
}

/* Is this version one that may be met? Of a kill only the last, and within an operation the one
 * before it. */
static bool is_open(const struct model *m, const struct history *h, unsigned i, bool killed)
{
    const uint64_t until = m->op.on ? m->op.time : m->now + 1;
    for (unsigned k = i + 1; killed && k < h->n; k++)
        if (h->versions[k].time < until)
            return false;
    return true;
}

static bool matches(const struct sight *s, uint64_t value)
{
    return is_done(value) ? !s->there : s->there && s->value == value;
}

static bool is_allowed(const struct model *m, const struct history *h, const struct sight *s,
                       bool killed)
{
    for (unsigned i = 0; i < h->n; i++)
        if (matches(s, h->versions[i].value) && is_open(m, h, i, killed))
            return true;
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
        const struct history *h = &m->items[seq].states;
        const struct sight *s = &seen[seq];
        if (is_allowed(m, h, s, killed))
            continue;
        snprintf(why, sizeof why, "item %ju is %s with %jx; of %u versions the last is %jx",
                 (uintmax_t)seq, s->there ? "there" : "gone", (uintmax_t)s->value, h->n,
                 (uintmax_t)history_value(h));
        return why;
    }
    return NULL;
}

bool model_allows_options(const struct model *m, const struct queue_options *o, bool killed)
{
    for (unsigned i = 0; i < m->options.n; i++)
        if (stands_for(m->options.versions[i].value, o) && is_open(m, &m->options, i, killed))
            return true;
    return false;
}

void history_restart(struct history *h, uint64_t time, uint64_t value, bool power)
{
    if (power || h->n >= MODEL_VERSIONS - 1)
        h->n = 0;
    history_add(h, time, value);
}

void model_become(struct model *m, const struct sight *seen, uint64_t tail,
                  const struct queue_options *o, bool power)
{
    uint64_t options = 0;
    for (unsigned i = 0; i < m->options.n; i++)
        if (stands_for(m->options.versions[i].value, o))
            options = m->options.versions[i].value;
    m->now++;
    history_restart(&m->options, m->now, options, power);
    for (uint64_t seq = m->low; seq < tail; seq++) {
        struct model_item *item = &m->items[seq];
        item->leased = item->moving = item->awake = false;
        history_restart(&item->states, m->now, seen[seq].there ? seen[seq].value : MODEL_DONE,
                        power);
    }
    m->tail = tail;
    m->op.on = false;
    if (power)
        m->durable_tail = tail;
}

/* --- bytes -------------------------------------------------------------------------------------
 */

static void fill(uint8_t *bytes, uint32_t len, uint32_t tag)
{
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)((uint8_t)(tag * 2654435761U >> (i % 4 * 8)) + i);
}

size_t model_payload(const struct content *content, uint8_t *bytes)
{
    size_t before = 0;
    if (content->origin.seq != 0) {
        struct origin_fields f = {.seq = content->origin.seq, .attempts = content->origin.attempts};
        memcpy(f.uuid, content->origin.uuid, sizeof f.uuid);
        memcpy(bytes, &f, sizeof f);
        before = sizeof f;
    }
    fill(bytes + before, content->len, content->tag);
    return before + content->len;
}
