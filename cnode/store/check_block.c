/* A block store: each slot against its word, and the map against the slots. */
#include <stddef.h>

#include "store/block.h"
#include "store/check.h"
#include "store/format.h"
#include "sys/guard.h"

static enum err tell_damage(struct checking *k, uint64_t a, uint64_t offset, const char *what)
{
    check_tell(k, &(struct check_finding){.damage = true,
                                          .id = a,
                                          .count = a == CHECK_NONE ? 0 : 1,
                                          .offset = offset,
                                          .what = what});
    return OK;
}

static void tell_note(struct checking *k, uint64_t a, uint64_t offset, const char *what)
{
    check_tell(k, &(struct check_finding){.id = a, .offset = offset, .what = what});
}

static enum err visit(struct checking *k, const struct object *o, uint64_t a,
                      const struct block_view *v)
{
    k->counts.things++;
    if (!v->bit)
        tell_note(k, a, v->offset, "the map does not know of this block");
    if (k->c->block == NULL)
        return OK;
    return k->c->block(k->c->arg, a, span_of(o->map.at + v->offset + 8, block_size(o)));
}

/* Who stores a block has 0 in its word until it is whole; but between our look at the word and that
 * at the data it may have become another one. */
static enum err view(const struct checking *k, struct object *o, uint64_t a, struct block_view *v)
{
    enum { TRIES = 100 };
    enum err e = block_view(o, a, v);
    for (int i = 0; k->c->in_use && i < TRIES && e == OK && v->state == BLOCK_TORN; i++)
        e = block_view(o, a, v);
    return e;
}

static enum err look_at(struct checking *k, struct object *o, uint64_t a)
{
    struct block_view v;
    const enum err e = view(k, o, a, &v);
    if (e != OK)
        return e;
    switch (v.state) {
    case BLOCK_WHOLE: return visit(k, o, a, &v);
    case BLOCK_TORN: return tell_damage(k, a, v.offset, "the block is not what was stored");
    case BLOCK_FREE: break;
    }
    if (v.bit)
        tell_note(k, a, v.offset, "the map has a block here, and there is none");
    return OK;
}

/* A store only grows: what the map has behind the last slot was cut off. */
static enum err look_behind(struct checking *k, struct object *o)
{
    const uint64_t end = block_bits(o);
    enum err e = OK;
    for (uint64_t a = block_capacity(o); e == OK && a < end; a++) {
        struct block_view v;
        e = block_view(o, a, &v);
        if (e == OK && v.bit)
            tell_damage(k, a, v.offset, "the file is cut: this block was behind its end");
    }
    return e;
}

static enum err walk(struct checking *k, struct object *o)
{
    const uint64_t capacity = block_capacity(o);
    enum err e = OK;
    if (k->c->store != NULL)
        k->c->store(k->c->arg, o);
    if (k->c->head)
        return OK;
    for (uint64_t a = 0; e == OK && a < capacity; a++) {
        if (a % 1024 == 0)
            check_progress(k, a, capacity);
        e = look_at(k, o, a);
    }
    return e == OK ? look_behind(k, o) : e;
}

/* In the copy: one wrong bit of the header, whichever it is. */
static bool mend(struct checking *k)
{
    uint8_t header[CHECK_HEADER];
    return check_map(k, true) == OK && k->map.size >= sizeof header &&
           guard_copy(header, k->map.at, sizeof header) && check_mend_header(header) &&
           guard_copy(k->map.at, header, sizeof header);
}

static bool is_of_another_version(const struct map *m)
{
    struct block_header h;
    return m->size >= sizeof h && guard_copy(&h, m->at, sizeof h) && h.version != BLOCK_VERSION;
}

enum err check_blocks(struct checking *k)
{
    char why[BLOCK_WHY] = "it does not begin as a block store does";
    struct object o = {.kind = OBJECT_BLOCKS, .map = k->map};
    enum err e = block_open(&o, why);
    if (e == ERR_DAMAGED || e == ERR_NOT_BLOCKS) {
        tell_damage(k, CHECK_NONE, 0, why);
        if (strcmp(why, "header: of another version") == 0 && is_of_another_version(&o.map))
            return ERR_ENOTSUP;
        if (!mend(k))
            return OK;
        k->map.writable = false;
        o = (struct object){.kind = OBJECT_BLOCKS, .map = k->map};
        e = block_open(&o, why);
    }
    if (e != OK)
        return e == ERR_DAMAGED || e == ERR_NOT_BLOCKS ? OK : e;
    e = walk(k, &o);
    block_close(&o);
    return e;
}
