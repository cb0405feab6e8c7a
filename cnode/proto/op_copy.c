#include "proto/call.h"
#include "proto/ops.h"
#include "proto/reply.h"
#include "store/restore.h"
#include "store/snapshot.h"

/* --- snapshots ------------------------------------------------------------------------------- */

/* By the thread that has made one. */
static void tell(void *arg)
{
    struct server *s = arg;
    uv_async_send(&s->copied);
}

enum err op_snapshot(struct call *c)
{
    enum { MODE = 0600 };
    struct server *s = c->server;
    char to[PATH_MAX];
    enum err e = call_path(s, c->args[1].bytes, to);
    if (e != OK)
        return e;
    if (!c->may_wait)
        return ERR_WOULD_BLOCK;
    const struct snapshot_order order = {.paths = s->paths,
                                         .to = to,
                                         .any_file_system = s->options.any_file_system,
                                         .mode = MODE,
                                         .over = tell,
                                         .arg = s};
    e = snapshot_begin(c->object, &order, &c->snapshot);
    return e == OK ? ERR_WAIT : e;
}

enum err op_snapshot_end(struct call *c)
{
    uint64_t size;
    enum err e = snapshot_end(c->object, c->snapshot, &size);
    if (e != OK)
        return e;
    reply_ok(c->out);
    reply_map(c->out, 1);
    reply_key_uint64(c->out, "size", size);
    return OK;
}

/* --- restoring ------------------------------------------------------------------------------- */

static enum err refuse(struct call *c, enum err e, const char *text)
{
    if (text[0] == '\0')
        return e;
    c->refused = true;
    reply_tuple(c->out, 2);
    reply_atom(c->out, "error");
    reply_tuple(c->out, 2);
    reply_atom(c->out, err_atom(e));
    reply_text(c->out, text);
    return OK;
}

static enum err refuse_header(struct call *c, const struct restoring *r)
{
    c->refused = true;
    reply_tuple(c->out, 2);
    reply_atom(c->out, "error");
    reply_tuple(c->out, 2);
    reply_atom(c->out, err_atom(ERR_FILE_HEADER));
    reply_binary(c->out, span_of(r->header, sizeof r->header));
    return OK;
}

static enum err answer(struct call *c, enum err e, const struct restoring *r)
{
    switch (e) {
    case OK: reply_atom(c->out, "ok"); return OK;
    case ERR_DAMAGED: return refuse(c, e, r->why);
    case ERR_LOCKED: return refuse(c, e, r->owner);
    case ERR_NEEDS_JOURNAL: return refuse(c, e, r->needs);
    case ERR_FILE_HEADER: return refuse_header(c, r);
    default: return e;
    }
}

enum err op_restore(struct call *c)
{
    const struct server *s = c->server;
    char to[PATH_MAX];
    char from[PATH_MAX];
    enum err e = call_path(s, c->args[0].bytes, to);
    if (e == OK)
        e = call_path(s, c->args[1].bytes, from);
    if (e != OK)
        return e;
    if (!c->may_wait)
        return ERR_WOULD_BLOCK;
    struct restoring r = {.paths = s->paths,
                          .to = to,
                          .from = from,
                          .any_file_system = s->options.any_file_system,
                          .journal = s->journal,
                          .now_ms = c->now_ms};
    return answer(c, restore(&r), &r);
}
