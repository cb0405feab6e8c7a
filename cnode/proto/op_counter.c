#include <ei.h>

#include "proto/call.h"
#include "proto/ops.h"
#include "proto/reply.h"
#include "store/counter.h"

/* May the loop touch these counters? All that exist of them; the others are refused later. */
static enum err ready(struct call *c, uint64_t first, uint64_t n)
{
    const struct object *o = c->object;
    if (c->may_wait || first >= o->count)
        return OK;
    const uint64_t len = 8 * (n < o->count - first ? n : o->count - first);
    const uint64_t pos = counter_file_size(first);
    if (pos + len > o->map.size)
        return OK;
    return len <= 256 << 10 && map_resident(&c->object->map, pos, len) ? OK : ERR_WOULD_BLOCK;
}

static enum err put(struct call *c, enum word_op op, int64_t v)
{
    int64_t old;
    enum err e = ready(c, c->args[1].u, 1);
    if (e == OK)
        e = counter_put(c->object, c->args[1].u, op, v, &old);
    if (e == OK)
        reply_ok_int64(c->out, old);
    return e;
}

static int64_t amount(const struct call *c)
{
    return c->argc == 3 ? c->args[2].i : 1;
}

enum err op_inc_counter(struct call *c)
{
    return put(c, WORD_ADD, amount(c));
}

enum err op_dec_counter(struct call *c)
{
    return put(c, WORD_SUB, amount(c));
}

enum err op_set_counter(struct call *c)
{
    return put(c, WORD_XCHG, c->args[2].i);
}

enum err op_read_counter(struct call *c)
{
    int64_t v;
    enum err e = ready(c, c->args[1].u, 1);
    if (e == OK)
        e = counter_get(c->object, c->args[1].u, &v);
    if (e == OK)
        reply_ok_int64(c->out, v);
    return e;
}

static bool next_change(struct term *t, uint64_t *i, int64_t *v)
{
    if (term_tuple(t) != 2)
        t->bad = true;
    *i = term_uint64(t);
    *v = term_int64(t);
    return !t->bad;
}

/* The reply may be longer than the request. */
static bool has_room(struct buf *out, int values)
{
    enum { HEAD = 64, VALUE = 11 };
    return buf_grow(out, HEAD + VALUE * (size_t)values) != NULL;
}

/* All or none: everything that can be wrong is looked at before the first change. */
static enum err check_changes(struct call *c)
{
    struct term t = term_in(c->args[1].bytes);
    const int n = term_list(&t);
    if (n > RECORDED_HERE && c->object->durable != NULL && !c->may_wait)
        return ERR_WOULD_BLOCK;
    uint64_t i;
    int64_t v;
    for (int k = 0; k < n && next_change(&t, &i, &v); k++) {
        if (i >= c->object->count)
            return ERR_BADARG;
        enum err e = ready(c, i, 1);
        if (e != OK)
            return e;
    }
    if (n > 0)
        term_list_end(&t);
    if (t.bad)
        return ERR_BADARG;
    return has_room(c->out, n) ? object_writable(c->object) : ERR_MAX_FRAME;
}

enum err op_update_counters(struct call *c)
{
    enum err e = check_changes(c);
    if (e != OK)
        return e;
    struct term t = term_in(c->args[1].bytes);
    const int n = term_list(&t);
    reply_ok(c->out);
    reply_list(c->out, (uint32_t)n);
    for (int k = 0; k < n && e == OK; k++) {
        uint64_t i;
        int64_t v;
        int64_t old = 0;
        next_change(&t, &i, &v);
        e = counter_put(c->object, i, WORD_ADD, v, &old);
        reply_int64(c->out, old);
    }
    reply_nil(c->out);
    return e;
}

static enum err read_all(struct call *c)
{
    const uint64_t n = c->object->count;
    enum err e = ready(c, 0, n);
    if (e != OK)
        return e;
    if (n > c->server->options.max_frame / 2)
        return ERR_MAX_FRAME;
    reply_ok(c->out);
    reply_list(c->out, (uint32_t)n);
    for (uint64_t i = 0; i < n && e == OK && !c->out->failed; i++) {
        int64_t v = 0;
        e = counter_get(c->object, i, &v);
        reply_int64(c->out, v);
    }
    reply_nil(c->out);
    return e;
}

/* A list of small numbers arrives as a string of bytes. */
static enum err append_counter(struct call *c, uint64_t i)
{
    int64_t v;
    enum err e = i < c->object->count ? ready(c, i, 1) : ERR_BADARG;
    if (e == OK)
        e = counter_get(c->object, i, &v);
    if (e == OK)
        reply_int64(c->out, v);
    return e;
}

static enum err read_string(struct call *c, struct span indexes)
{
    enum err e = OK;
    reply_list(c->out, (uint32_t)indexes.len);
    for (size_t i = 0; i < indexes.len && e == OK; i++)
        e = append_counter(c, indexes.at[i]);
    reply_nil(c->out);
    return e;
}

static enum err read_list(struct call *c, struct term *t)
{
    enum err e = OK;
    const int n = term_list(t);
    reply_list(c->out, (uint32_t)n);
    for (int k = 0; k < n && e == OK; k++) {
        uint64_t i = term_uint64(t);
        e = t->bad ? ERR_BADARG : append_counter(c, i);
    }
    if (n > 0)
        term_list_end(t);
    reply_nil(c->out);
    return e == OK && t->bad ? ERR_BADARG : e;
}

enum err op_read_counters(struct call *c)
{
    if (c->argc == 1)
        return read_all(c);
    struct term t = term_in(c->args[1].bytes);
    const size_t from = c->out->len;
    reply_ok(c->out);
    enum err e =
        term_tag(&t) == ERL_STRING_EXT ? read_string(c, term_string(&t)) : read_list(c, &t);
    if (e == ERR_WOULD_BLOCK)
        buf_cut(c->out, from);
    return e;
}
