#include "store/put.h"

#include "store/journal.h"
#include "store/snapshot.h"
#include "sys/guard.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words in files are little-endian");

void (*put_watch)(const struct map *m, uint64_t pos, const void *from, size_t len);

/* The journal has whole words, or a replay could leave one half of a store and half of another: a
 * word that was stored later may be in the file already. */
static enum err record(struct object *o, uint64_t pos, size_t len)
{
    const struct map *m = &o->map;
    const uint64_t from = pos - pos % 8;
    const uint64_t end = align_up(pos + len, 8) < m->size ? align_up(pos + len, 8) : m->size;
    return journal_record(o->durable, from, m->at + from, (size_t)(end - from));
}

static enum err made(struct object *o, uint64_t pos, const void *bytes, size_t len)
{
    if (put_watch != NULL)
        put_watch(&o->map, pos, bytes, len);
    return o->durable == NULL || len == 0 ? OK : record(o, pos, len);
}

enum err put_bytes(struct object *o, uint64_t pos, const void *from, size_t len)
{
    struct map *m = &o->map;
    must(m->writable && pos <= m->size && len <= m->size - pos);
    snapshot_before(o, pos, len);
    if (!guard_copy(m->at + pos, from, len))
        return ERR_EIO;
    return made(o, pos, from, len);
}

/* Compared and exchanged, since adding nothing may be compiled into a load. Where the exchange
 * fails somebody else has stored into the page just now. */
static void again_touch(void *arg)
{
    uint8_t *byte = arg;
    uint8_t v = __atomic_load_n(byte, __ATOMIC_SEQ_CST);
    __atomic_compare_exchange_n(byte, &v, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

enum err put_again(struct object *o, uint64_t pos)
{
    struct map *m = &o->map;
    must(m->writable && pos < m->size);
    if (!guard_run(again_touch, m->at + pos))
        return ERR_EIO;
    if (put_watch != NULL)
        put_watch(m, pos, m->at + pos, 1);
    return OK;
}

struct change {
    int64_t *word;
    enum word_op op;
    int64_t expected;
    int64_t v;
    int64_t old;
    int64_t now;
};

static void change_touch(void *arg)
{
    struct change *c = arg;
    switch (c->op) {
    case WORD_ADD: c->old = __atomic_fetch_add(c->word, c->v, __ATOMIC_SEQ_CST); break;
    case WORD_SUB: c->old = __atomic_fetch_sub(c->word, c->v, __ATOMIC_SEQ_CST); break;
    case WORD_AND: c->old = __atomic_fetch_and(c->word, c->v, __ATOMIC_SEQ_CST); break;
    case WORD_OR: c->old = __atomic_fetch_or(c->word, c->v, __ATOMIC_SEQ_CST); break;
    case WORD_XOR: c->old = __atomic_fetch_xor(c->word, c->v, __ATOMIC_SEQ_CST); break;
    case WORD_XCHG: c->old = __atomic_exchange_n(c->word, c->v, __ATOMIC_SEQ_CST); break;
    case WORD_CAS:
        c->old = c->expected;
        __atomic_compare_exchange_n(c->word, &c->old, c->v, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
        break;
    }
    c->now = __atomic_load_n(c->word, __ATOMIC_SEQ_CST);
}

enum err put_word(struct object *o, uint64_t pos, enum word_op op, int64_t expected, int64_t v,
                  int64_t *old)
{
    const struct map *m = &o->map;
    must(m->writable && pos % 8 == 0 && m->size >= 8 && pos <= m->size - 8);
    struct change c = {
        .word = (int64_t *)(void *)(m->at + pos), .op = op, .expected = expected, .v = v};
    snapshot_before(o, pos, sizeof *c.word);
    if (!guard_run(change_touch, &c))
        return ERR_EIO;
    *old = c.old;
    if (op == WORD_CAS && c.old != expected)
        return OK;
    return made(o, pos, &c.now, sizeof c.now);
}
