#include <ei.h>

#include "proto/call.h"
#include "proto/open.h"
#include "proto/ops.h"
#include "proto/reply.h"
#include "store/block.h"

/* Where the object is a region it becomes the store that its file has: by the first request for
 * blocks, which has to wait for that. */

/* {error, {Name, ...}}; the value follows. */
static void begin_refusal(struct call *c, enum err e)
{
    c->refused = true;
    reply_tuple(c->out, 2);
    reply_atom(c->out, "error");
    reply_tuple(c->out, 2);
    reply_atom(c->out, err_atom(e));
}

static enum err refuse_text(struct call *c, enum err e, const char *text)
{
    begin_refusal(c, e);
    reply_text(c->out, text);
    return OK;
}

static enum err refuse_number(struct call *c, enum err e, uint64_t n)
{
    begin_refusal(c, e);
    reply_uint64(c->out, n);
    return OK;
}

/* *refused: the reply says why, and nothing else is to be done. */
static enum err become(struct call *c, struct store_change *change, bool *refused)
{
    enum err e = object_become_store(c->object, change);
    *refused = true;
    switch (e) {
    case ERR_DAMAGED: return refuse_text(c, e, change->why);
    case ERR_LOCKED:
        if (change->owner[0] == '\0')
            return e;
        return refuse_text(c, e, change->owner);
    case ERR_BLOCK_SIZE: return refuse_number(c, e, change->size);
    default: *refused = false; return e;
    }
}

static enum err open_store(struct call *c, bool *refused)
{
    struct store_change change = {.now_ms = c->now_ms, .node = c->server->options.node};
    *refused = false;
    if (c->object->blocks != NULL)
        return OK;
    if (c->offset > 0)
        return ERR_NOT_BLOCKS;
    return c->may_wait ? become(c, &change, refused) : ERR_WOULD_BLOCK;
}

enum err op_init_block_storage(struct call *c)
{
    struct store_change change = {
        .make = true, .now_ms = c->now_ms, .node = c->server->options.node};
    bool refused;
    if (c->args[1].u == 0 || c->args[1].u > BLOCK_LONGEST)
        return ERR_BADARG;
    if (c->offset > 0)
        return ERR_NOT_BLOCKS;
    if (!c->may_wait)
        return ERR_WOULD_BLOCK;
    change.size = (uint32_t)c->args[1].u;
    enum err e = become(c, &change, &refused);
    if (e == OK && !refused)
        reply_atom(c->out, "ok");
    return e;
}

/* --- storing --------------------------------------------------------------------------------- */

/* The addresses of n free slots; the file grows where there are not so many. */
static enum err find(struct call *c, uint32_t n, uint64_t *addresses)
{
    const struct handle *h = c->handle;
    enum err e;
    while ((e = block_find(c->object, n, c->may_wait, addresses)) == ERR_FULL) {
        if (h != NULL && h->fixed_size)
            return ERR_FULL;
        if (!c->may_wait)
            return ERR_WOULD_BLOCK;
        e = block_grow(c->object, h != NULL ? h->max_inc_size : MAX_INC_SIZE_USUAL);
        if (e != OK)
            return e;
    }
    return e;
}

static enum err store(struct call *c, uint64_t a, struct span bytes)
{
    c->bytes_in += bytes.len;
    return block_put(c->object, a, bytes.at);
}

enum err op_store_block(struct call *c)
{
    const struct span bytes = c->args[1].bytes;
    bool refused;
    uint64_t a;
    enum err e = open_store(c, &refused);
    if (e != OK || refused)
        return e;
    if (bytes.len != block_size(c->object))
        return ERR_BADARG;
    e = find(c, 1, &a);
    if (e == OK)
        e = store(c, a, bytes);
    if (e == OK)
        reply_ok_int64(c->out, (int64_t)a);
    return e;
}

static enum err check_blocks(struct call *c, struct term t, int n)
{
    for (int i = 0; i < n && !t.bad; i++) {
        buf_cut(&c->scratch, 0);
        if (term_iodata(&t, &c->scratch).len != block_size(c->object))
            t.bad = true;
    }
    if (n > 0)
        term_list_end(&t);
    return t.bad ? ERR_BADARG : OK;
}

static enum err store_all(struct call *c, struct term t, uint32_t n, const uint64_t *addresses)
{
    enum err e = OK;
    reply_ok(c->out);
    reply_list(c->out, n);
    for (uint32_t i = 0; i < n; i++)
        reply_uint64(c->out, addresses[i]);
    reply_nil(c->out);
    if (c->out->failed)
        return ERR_MAX_FRAME;
    for (uint32_t i = 0; e == OK && i < n; i++) {
        buf_cut(&c->scratch, 0);
        e = store(c, addresses[i], term_iodata(&t, &c->scratch));
    }
    return e;
}

/* All or none: what can be wrong is looked at, and all the room found, before the first is stored.
 */
enum err op_store_blocks(struct call *c)
{
    bool refused;
    struct term t = term_in(c->args[1].bytes);
    enum err e = open_store(c, &refused);
    if (e != OK || refused)
        return e;
    if (term_tag(&t) == ERL_STRING_EXT)
        return ERR_BADARG;
    const int n = term_list(&t);
    e = check_blocks(c, t, n);
    if (e != OK)
        return e;
    if ((n > RECORDED_HERE || (uint64_t)n * block_size(c->object) > BULK) && !c->may_wait)
        return ERR_WOULD_BLOCK;
    uint64_t *addresses = reallocarray(NULL, n > 0 ? (size_t)n : 1, sizeof *addresses);
    if (addresses == NULL)
        return ERR_ENOMEM;
    e = find(c, (uint32_t)n, addresses);
    if (e == OK)
        e = store_all(c, t, (uint32_t)n, addresses);
    free(addresses);
    return e;
}

/* --- reading --------------------------------------------------------------------------------- */

/* The block or `eof`. A binary whose block is not there, or not whole, is taken back. */
static enum err append_block(struct call *c, uint64_t a, bool *there)
{
    const size_t from = c->out->len;
    uint8_t *to = reply_bytes(c->out, block_size(c->object));
    if (to == NULL)
        return ERR_MAX_FRAME;
    enum err e = block_read(c->object, a, c->may_wait, to, there);
    if (e == OK && *there) {
        c->bytes_out += block_size(c->object);
        return OK;
    }
    buf_cut(c->out, from);
    return e;
}

enum err op_read_block(struct call *c)
{
    const size_t from = c->out->len;
    const uint64_t a = c->args[1].u;
    bool refused;
    bool there = false;
    enum err e = open_store(c, &refused);
    if (e != OK || refused)
        return e;
    reply_ok(c->out);
    e = append_block(c, a, &there);
    if (e == OK && there)
        return OK;
    buf_cut(c->out, from);
    if (e == OK)
        reply_atom(c->out, "eof");
    return e == ERR_CORRUPT ? refuse_number(c, e, a) : e;
}

/* The next integer of a list, also of one that came as a string of bytes. */
struct numbers {
    struct term t;
    struct span bytes;
    uint32_t n, i;
};

static struct numbers numbers_of(struct span list)
{
    struct numbers l = {.t = term_in(list)};
    if (term_tag(&l.t) == ERL_STRING_EXT) {
        l.bytes = term_string(&l.t);
        l.n = (uint32_t)l.bytes.len;
    } else {
        l.n = (uint32_t)term_list(&l.t);
    }
    return l;
}

static uint64_t next_number(struct numbers *l)
{
    return l->bytes.at != NULL ? l->bytes.at[l->i++] : term_uint64(&l->t);
}

static bool are_numbers(struct numbers l)
{
    for (uint32_t i = 0; i < l.n && !l.t.bad; i++)
        next_number(&l);
    if (l.n > 0 && l.bytes.at == NULL)
        term_list_end(&l.t);
    return !l.t.bad;
}

static enum err read_listed(struct call *c)
{
    const size_t from = c->out->len;
    struct numbers l = numbers_of(c->args[1].bytes);
    enum err e = are_numbers(l) ? OK : ERR_BADARG;
    if (e == OK && !c->may_wait &&
        (l.n > RECORDED_HERE || (uint64_t)l.n * block_size(c->object) > BULK))
        return ERR_WOULD_BLOCK;
    reply_ok(c->out);
    reply_list(c->out, l.n);
    for (uint32_t i = 0; e == OK && i < l.n; i++) {
        const uint64_t a = next_number(&l);
        bool there = false;
        e = append_block(c, a, &there);
        if (e == OK && !there)
            reply_atom(c->out, "eof");
        if (e == ERR_CORRUPT) {
            buf_cut(c->out, from);
            return refuse_number(c, e, a);
        }
    }
    reply_nil(c->out);
    return e;
}

/* {ok, [{A, Bin}], Next | eof}, in order. What is not whole is left out. */
static enum err read_some(struct call *c)
{
    const uint64_t count = c->args[2].u;
    uint64_t a = c->args[1].u;
    uint64_t bytes = 0;
    uint32_t n = 0;
    bool found = true;
    enum err e = OK;
    reply_tuple(c->out, 3);
    reply_atom(c->out, "ok");
    const size_t begin = reply_list_begin(c->out);
    while (n < count && bytes <= BULK) {
        const size_t from = c->out->len;
        bool there = false;
        e = block_next(c->object, a, c->may_wait, &a, &found);
        if (e != OK || !found)
            break;
        reply_tuple(c->out, 2);
        reply_uint64(c->out, a);
        e = append_block(c, a, &there);
        if (e != OK && e != ERR_CORRUPT)
            break;
        if (there) {
            n++;
            bytes += block_size(c->object);
        } else {
            buf_cut(c->out, from);
        }
        a++;
    }
    reply_list_end(c->out, begin, n);
    if (a < block_capacity(c->object))
        reply_uint64(c->out, a);
    else
        reply_atom(c->out, "eof");
    return e == ERR_CORRUPT ? OK : e;
}

enum err op_read_blocks(struct call *c)
{
    bool refused;
    enum err e = open_store(c, &refused);
    if (e != OK || refused)
        return e;
    return c->argc == 2 ? read_listed(c) : read_some(c);
}

/* --- freeing, repair ------------------------------------------------------------------------- */

enum err op_free_block(struct call *c)
{
    bool refused;
    bool freed = false;
    enum err e = open_store(c, &refused);
    if (e != OK || refused)
        return e;
    e = block_free(c->object, c->args[1].u, c->may_wait, &freed);
    if (e != OK)
        return e;
    reply_ok(c->out);
    reply_atom(c->out, freed ? "true" : "false");
    return OK;
}

/* Each by itself: what has been freed when one fails stays so. */
enum err op_free_blocks(struct call *c)
{
    bool refused;
    enum err e = open_store(c, &refused);
    if (e != OK || refused)
        return e;
    struct numbers l = numbers_of(c->args[1].bytes);
    if (!are_numbers(l))
        return ERR_BADARG;
    if (!c->may_wait)
        return ERR_WOULD_BLOCK; /* or what was freed before one that has to wait would be told false
                                 */
    reply_ok(c->out);
    reply_list(c->out, l.n);
    for (uint32_t i = 0; e == OK && i < l.n; i++) {
        bool freed = false;
        e = block_free(c->object, next_number(&l), true, &freed);
        reply_atom(c->out, freed ? "true" : "false");
    }
    reply_nil(c->out);
    return e;
}

struct repair_options {
    uint64_t from, count;
    bool dry;
};

static bool read_options(struct span list, struct repair_options *o)
{
    struct term t = term_in(list);
    *o = (struct repair_options){.count = UINT64_MAX};
    const int n = term_list(&t);
    for (int i = 0; i < n && !t.bad; i++) {
        if (term_is_atom(&t, "dry_run")) {
            o->dry = true;
        } else if (term_tag(&t) == ERL_SMALL_TUPLE_EXT && term_tuple(&t) == 2) {
            const bool from = term_is_atom(&t, "from");
            if (!from && !term_is_atom(&t, "count"))
                t.bad = true;
            *(from ? &o->from : &o->count) = term_uint64(&t);
        } else {
            t.bad = true;
        }
    }
    if (n > 0)
        term_list_end(&t);
    return !t.bad;
}

enum err op_repair_block_storage(struct call *c)
{
    struct repair_options o;
    struct block_repair r;
    bool refused;
    if (!read_options(c->args[1].bytes, &o))
        return ERR_BADARG;
    enum err e = open_store(c, &refused);
    if (e != OK || refused)
        return e;
    if (!c->may_wait)
        return ERR_WOULD_BLOCK;
    e = block_repair(c->object, o.from, o.count, o.dry, &r);
    if (e != OK)
        return e;
    reply_ok(c->out);
    reply_map(c->out, 4);
    reply_key_uint64(c->out, "blocks", r.blocks);
    reply_atom(c->out, "lost");
    reply_list(c->out, (uint32_t)r.torn);
    for (uint64_t i = 0; i < r.torn; i++)
        reply_uint64(c->out, r.lost[i]);
    reply_nil(c->out);
    reply_key_uint64(c->out, "freed", o.dry ? 0 : r.torn);
    reply_atom(c->out, "next");
    if (r.next < block_capacity(c->object))
        reply_uint64(c->out, r.next);
    else
        reply_atom(c->out, "eof");
    return OK;
}
