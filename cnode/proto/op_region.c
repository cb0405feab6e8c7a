#include <fcntl.h>
#include <sys/mman.h>

#include <ei.h>

#include "proto/call.h"
#include "proto/detached.h"
#include "proto/ops.h"
#include "proto/reply.h"
#include "store/region.h"
#include "sys/os.h"

enum { LINE_PIECE = 64 << 10 };

/* May the loop touch these bytes of the file? */
static enum err ready(struct call *c, uint64_t pos, uint64_t len)
{
    const bool at_once = len <= BULK && map_resident(&c->object->map, pos, len);
    return c->may_wait || at_once ? OK : ERR_WOULD_BLOCK;
}

/* Bytes of the region, which begins at c->offset of the file and ends with it. */
static uint64_t region_size(const struct call *c)
{
    const uint64_t size = c->object->map.size;
    return size > c->offset ? size - c->offset : 0;
}

/* The place in the file of len bytes of the region; ERR_BADARG past its end. */
static enum err place(const struct call *c, uint64_t pos, uint64_t len, uint64_t *at)
{
    uint64_t end;
    if (!add_u64(pos, len, &end) || end > region_size(c))
        return ERR_BADARG;
    *at = c->offset + pos;
    return OK;
}

/* --- reading --------------------------------------------------------------------------------- */

/* How much of what is asked for there is; false past the end. */
static bool clip(const struct call *c, uint64_t pos, uint64_t *len)
{
    const uint64_t size = region_size(c);
    if (pos >= size)
        return false;
    if (*len > size - pos)
        *len = size - pos;
    return true;
}

static enum err append_bytes(struct call *c, uint64_t pos, uint64_t len)
{
    uint8_t *to = reply_bytes(c->out, len);
    if (to == NULL)
        return ERR_MAX_FRAME;
    c->bytes_out += len;
    return region_read(c->object, c->offset + pos, to, len);
}

enum err op_pread(struct call *c)
{
    const uint64_t pos = c->args[1].u;
    uint64_t len = c->args[2].u;
    if (!clip(c, pos, &len)) {
        reply_atom(c->out, "eof");
        return OK;
    }
    enum err e = ready(c, c->offset + pos, len);
    if (e != OK)
        return e;
    reply_ok(c->out);
    return append_bytes(c, pos, len);
}

/* The next {Pos, Len} of a list. */
static bool next_piece(struct term *t, uint64_t *pos, uint64_t *len)
{
    if (term_tuple(t) != 2)
        t->bad = true;
    *pos = term_uint64(t);
    *len = term_uint64(t);
    return !t->bad;
}

/* Reads the list once to know that all of it is right and at hand. */
static enum err check_pread_list(struct call *c)
{
    struct term t = term_in(c->args[1].bytes);
    const int n = term_list(&t);
    uint64_t all = 0;
    uint64_t pos;
    uint64_t len;
    for (int i = 0; i < n && next_piece(&t, &pos, &len); i++) {
        if (!clip(c, pos, &len))
            continue;
        enum err e = ready(c, c->offset + pos, len);
        if (e != OK)
            return e;
        all += len;
        if (all > BULK && !c->may_wait)
            return ERR_WOULD_BLOCK;
    }
    if (n > 0)
        term_list_end(&t);
    return t.bad ? ERR_BADARG : OK;
}

enum err op_pread_list(struct call *c)
{
    enum err e = check_pread_list(c);
    if (e != OK)
        return e;
    struct term t = term_in(c->args[1].bytes);
    const int n = term_list(&t);
    reply_ok(c->out);
    reply_list(c->out, (uint32_t)n);
    for (int i = 0; i < n && e == OK; i++) {
        uint64_t pos;
        uint64_t len;
        next_piece(&t, &pos, &len);
        if (clip(c, pos, &len))
            e = append_bytes(c, pos, len);
        else
            reply_atom(c->out, "eof");
    }
    reply_nil(c->out);
    return e;
}

static enum err reply_line(struct call *c, uint64_t pos, uint64_t len)
{
    reply_tuple(c->out, 3);
    reply_atom(c->out, "ok");
    enum err e = append_bytes(c, pos, len);
    reply_uint64(c->out, pos + len);
    return e;
}

enum err op_read_line(struct call *c)
{
    const uint64_t pos = c->args[1].u;
    uint64_t len = c->may_wait ? UINT64_MAX : LINE_PIECE;
    uint64_t found;
    if (!clip(c, pos, &len)) {
        reply_atom(c->out, "eof");
        return OK;
    }
    const uint64_t from = c->offset + pos;
    const bool to_the_end = pos + len == region_size(c);
    enum err e = ready(c, from, len);
    if (e == OK)
        e = region_find(c->object, from, len, '\n', &found);
    if (e != OK)
        return e;
    if (found < from + len)
        return reply_line(c, pos, found + 1 - from);
    return to_the_end ? reply_line(c, pos, len) : ERR_WOULD_BLOCK;
}

/* --- writing --------------------------------------------------------------------------------- */

static enum err write_bytes(struct call *c, uint64_t pos, struct span bytes)
{
    uint64_t at;
    enum err e = place(c, pos, bytes.len, &at);
    if (e == OK)
        e = object_writable(c->object);
    if (e == OK)
        e = ready(c, at, bytes.len);
    if (e == OK)
        e = region_write(c->object, at, bytes.at, bytes.len);
    if (e == OK)
        c->bytes_in += bytes.len;
    return e;
}

enum err op_pwrite(struct call *c)
{
    enum err e = write_bytes(c, c->args[1].u, c->args[2].bytes);
    if (e == OK)
        reply_atom(c->out, "ok");
    return e;
}

/* The next {Pos, IoData} of a list; the bytes are good until the scratch buffer is cut. */
static bool next_write(struct call *c, struct term *t, uint64_t *pos, struct span *bytes)
{
    if (term_tuple(t) != 2)
        t->bad = true;
    *pos = term_uint64(t);
    *bytes = term_iodata(t, &c->scratch);
    return !t->bad;
}

static enum err check_pwrite_list(struct call *c)
{
    struct term t = term_in(c->args[1].bytes);
    const int n = term_list(&t);
    uint64_t all = 0;
    uint64_t pos;
    uint64_t at;
    struct span bytes;
    if (n > RECORDED_HERE && c->object->durable != NULL && !c->may_wait)
        return ERR_WOULD_BLOCK;
    for (int i = 0; i < n && next_write(c, &t, &pos, &bytes); i++) {
        buf_cut(&c->scratch, 0);
        all += bytes.len;
        if (place(c, pos, bytes.len, &at) == OK &&
            (ready(c, at, bytes.len) != OK || (all > BULK && !c->may_wait)))
            return ERR_WOULD_BLOCK;
    }
    if (n > 0)
        term_list_end(&t);
    return t.bad ? ERR_BADARG : OK;
}

static void reply_partly(struct call *c, int done, enum err e)
{
    c->refused = true;
    reply_tuple(c->out, 2);
    reply_atom(c->out, "error");
    reply_tuple(c->out, 2);
    reply_int64(c->out, done);
    reply_reason(c->out, e);
}

enum err op_pwrite_list(struct call *c)
{
    enum err e = check_pwrite_list(c);
    if (e != OK)
        return e;
    struct term t = term_in(c->args[1].bytes);
    const int n = term_list(&t);
    const bool may_wait = c->may_wait;
    c->may_wait = true; /* checked: from here on nothing is left half done */
    for (int i = 0; i < n; i++) {
        uint64_t pos;
        struct span bytes;
        next_write(c, &t, &pos, &bytes);
        e = write_bytes(c, pos, bytes);
        buf_cut(&c->scratch, 0);
        if (e != OK) {
            reply_partly(c, i, e);
            break;
        }
    }
    c->may_wait = may_wait;
    if (e == OK)
        reply_atom(c->out, "ok");
    return OK;
}

/* --- integers -------------------------------------------------------------------------------- */

static enum err change_word(struct call *c, enum word_op op, int64_t expected, int64_t v,
                            int64_t *old)
{
    uint64_t at;
    enum err e = place(c, c->args[1].u, 8, &at);
    if (e == OK && at % 8 != 0)
        e = ERR_ALIGNMENT;
    if (e == OK)
        e = ready(c, at, 8);
    return e != OK ? e : region_word(c->object, at, op, expected, v, old);
}

static enum err patomic(struct call *c, enum word_op op)
{
    int64_t old;
    enum err e = change_word(c, op, 0, c->args[2].i, &old);
    if (e == OK)
        reply_ok_int64(c->out, old);
    return e;
}

enum err op_patomic_add(struct call *c)
{
    return patomic(c, WORD_ADD);
}

enum err op_patomic_sub(struct call *c)
{
    return patomic(c, WORD_SUB);
}

enum err op_patomic_and(struct call *c)
{
    return patomic(c, WORD_AND);
}

enum err op_patomic_or(struct call *c)
{
    return patomic(c, WORD_OR);
}

enum err op_patomic_xor(struct call *c)
{
    return patomic(c, WORD_XOR);
}

enum err op_patomic_xchg(struct call *c)
{
    return patomic(c, WORD_XCHG);
}

enum err op_patomic_cas(struct call *c)
{
    const int64_t expected = c->args[2].i;
    int64_t old;
    enum err e = change_word(c, WORD_CAS, expected, c->args[3].i, &old);
    if (e != OK)
        return e;
    reply_tuple(c->out, 2);
    reply_atom(c->out, old == expected ? "true" : "false");
    reply_int64(c->out, old);
    return OK;
}

enum err op_patomic_write_integer(struct call *c)
{
    int64_t old;
    enum err e = change_word(c, WORD_XCHG, 0, c->args[2].i, &old);
    if (e == OK)
        reply_atom(c->out, "ok");
    return e;
}

enum err op_patomic_read_integer(struct call *c)
{
    uint64_t at;
    int64_t v;
    enum err e = place(c, c->args[1].u, 8, &at);
    if (e == OK && at % 8 != 0)
        e = ERR_ALIGNMENT;
    if (e == OK)
        e = ready(c, at, 8);
    if (e == OK)
        e = region_read_word(c->object, at, &v);
    if (e == OK)
        reply_ok_int64(c->out, v);
    return e;
}

/* --- the whole region ------------------------------------------------------------------------ */

static enum err resize_file(struct call *c, uint64_t size)
{
    uint64_t whole;
    if (c->handle->fixed_size)
        return ERR_FIXED_SIZE;
    if (!add_u64(size, c->offset, &whole))
        return ERR_BADARG;
    return c->may_wait ? object_resize(c->object, whole) : ERR_WOULD_BLOCK;
}

static uint64_t doubled(const struct call *c)
{
    enum { PAGE = 4096 };
    const uint64_t size = region_size(c);
    const uint64_t most = c->handle->max_inc_size;
    const uint64_t more = size > 0 ? size : PAGE;
    return size + (more < most ? more : most);
}

enum err op_resize(struct call *c)
{
    const uint64_t size = c->args[1].u > 0 ? c->args[1].u : doubled(c);
    enum err e = resize_file(c, size);
    if (e == OK) {
        reply_ok(c->out);
        reply_uint64(c->out, size);
    }
    return e;
}

enum err op_truncate(struct call *c)
{
    const uint64_t size = c->args[1].u;
    enum err e = size < region_size(c) ? resize_file(c, size) : OK;
    if (e == OK)
        reply_atom(c->out, "ok");
    return e;
}

enum err op_allocate(struct call *c)
{
    uint64_t size;
    if (!add_u64(c->args[1].u, c->args[2].u, &size))
        return ERR_BADARG;
    enum err e = size > region_size(c) ? resize_file(c, size) : OK;
    if (e == OK)
        reply_atom(c->out, "ok");
    return e;
}

static bool advice_named(struct span term, int *advice)
{
    static const struct {
        const char *name;
        int advice;
    } rows[] = {
        {"normal", MADV_NORMAL},   {"sequential", MADV_SEQUENTIAL}, {"random", MADV_RANDOM},
        {"no_reuse", MADV_NORMAL}, {"will_need", MADV_WILLNEED},    {"dont_need", MADV_DONTNEED},
    };
    struct term t = term_in(term);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (term_is_atom(&t, rows[i].name)) {
            *advice = rows[i].advice;
            return true;
        }
    }
    return false;
}

/* What is private must not be advised away: there `dont_need` means "lose it". */
enum err op_advise(struct call *c)
{
    int advice;
    uint64_t len = c->args[2].u;
    if (!advice_named(c->args[3].bytes, &advice))
        return ERR_BADARG;
    if (!c->may_wait)
        return ERR_WOULD_BLOCK;
    const struct map *m = &c->object->map;
    const bool harmless = advice != MADV_DONTNEED || m->sharing == MAP_OF_FILE;
    if (len == 0)
        len = UINT64_MAX;
    if (harmless && clip(c, c->args[1].u, &len)) {
        const uint64_t at = (c->offset + c->args[1].u) & ~(uint64_t)4095;
        os.advise(m->at + at, c->offset + c->args[1].u + len - at, advice);
    }
    reply_atom(c->out, "ok");
    return OK;
}

enum err op_flush(struct call *c)
{
    if (!c->may_wait)
        return ERR_WOULD_BLOCK;
    enum err e = map_write_back(&c->object->map);
    if (e == OK)
        reply_atom(c->out, "ok");
    return e;
}

/* The answer about a durable object waits for the journal, as any does. */
enum err op_sync(struct call *c)
{
    const bool durable = c->object->durable != NULL && !c->object->failed;
    if (durable) {
        reply_atom(c->out, "ok");
        return OK;
    }
    if (!c->may_wait)
        return ERR_WOULD_BLOCK;
    enum err e = object_sync(c->object);
    detached_look(c->entry);
    if (e == OK)
        reply_atom(c->out, "ok");
    return e;
}
