#include "proto/call.h"

#include "proto/lease.h"
#include "proto/reply.h"
#include "store/snapshot.h"

enum err call_path(const struct server *s, struct span name, char path[PATH_MAX])
{
    struct buf scratch;
    struct term t = term_in(name);
    buf_init(&scratch, (size_t)PATH_MAX * 4);
    struct span text = term_name(&t, &scratch);
    enum err e = scratch.failed ? ERR_ENAMETOOLONG
                 : t.bad        ? ERR_BADARG
                                : path_resolve(s->paths, text, path);
    buf_fini(&scratch);
    return e;
}

static bool is_integer(struct span object, uint64_t *id)
{
    struct term t = term_in(object);
    *id = term_uint64(&t);
    return !t.bad;
}

static enum err resolve_name(struct call *c, struct span object)
{
    char path[PATH_MAX];
    enum err e = call_path(c->server, object, path);
    if (e != OK)
        return e;
    c->entry = entry_of_path(c->server, path);
    if (c->entry == NULL)
        c->entry = entry_new(c->server, path);
    return c->entry == NULL ? ERR_ENOMEM : OK;
}

enum err call_resolve(struct call *c, struct entry *entry)
{
    const struct span object = c->args[0].bytes;
    const bool makes = (c->op->flags & OP_MAKES) != 0;
    uint64_t id;
    if (!makes && is_integer(object, &id)) {
        enum err e = handle_find(c->client, id, &c->handle);
        c->entry = e == OK ? c->handle->entry : NULL;
        c->offset = e == OK ? c->handle->offset : 0;
        return e;
    }
    c->entry = entry;
    if (!makes && c->op->args[0] != 'o')
        return ERR_BADARG;
    return entry != NULL ? OK : resolve_name(c, object);
}

struct entry *call_open_entry(struct client *c, struct span object)
{
    char path[PATH_MAX];
    struct handle *h;
    uint64_t id;
    if (is_integer(object, &id))
        return handle_find(c, id, &h) == OK ? h->entry : NULL;
    return call_path(c->server, object, path) == OK ? entry_of_path(c->server, path) : NULL;
}

/* A block store was opened as a region, and can be read as one. */
static enum err permit_kind(const struct call *c)
{
    const enum object_kind is = c->entry->object.kind;
    const enum object_kind has = c->handle != NULL ? c->handle->kind : is;
    const enum object_kind wants = c->op->kind;
    const bool changes = (c->op->flags & OP_CHANGES) != 0;
    if (wants == OBJECT_REGION && is == OBJECT_BLOCKS)
        return changes ? ERR_KIND_BLOCKS : OK;
    if (wants == OBJECT_CLOSED || wants == has || (wants == OBJECT_BLOCKS && has == OBJECT_REGION))
        return OK;
    return has == OBJECT_COUNTERS ? ERR_KIND_COUNTERS
           : has == OBJECT_QUEUE  ? ERR_KIND_QUEUE
           : is == OBJECT_BLOCKS  ? ERR_KIND_BLOCKS
                                  : ERR_KIND_REGION;
}

static enum err permit(const struct call *c)
{
    const struct entry *e = c->entry;
    if ((c->op->flags & OP_LOOKS) != 0)
        return OK; /* a worker may have the object */
    const enum err kind = permit_kind(c);
    if (kind != OK)
        return kind;
    if ((c->op->flags & OP_CHANGES) == 0)
        return OK;
    const bool is_closing = e->object.kind != OBJECT_REGION && e->handle_count == 0;
    const bool may = c->handle != NULL ? c->handle->write : e->writers > 0 || e->kept || is_closing;
    return may ? OK : ERR_EACCES;
}

bool call_is_in_vain(const struct call *c)
{
    return c->client->gone && (c->op->flags & OP_GIVES) != 0;
}

void call_begin(struct call *c)
{
    c->now_ms = server_now_ms(c->server);
    c->leases_left = lease_room(c->client, &c->leases_limit);
}

enum err call_checked(struct buf *out, size_t from, bool failed, enum err e)
{
    if (e == OK && out->failed)
        e = ERR_MAX_FRAME;
    if (e == OK)
        return OK;
    buf_cut(out, from);
    out->failed = failed;
    if (e != ERR_WOULD_BLOCK && e != ERR_WAIT && e != ERR_CHECKPOINT)
        reply_error(out, e);
    return e;
}

/* What did not become durable is shown to nobody any more; what has to be recorded needs room. */
static enum err permit_durable(const struct call *c)
{
    const struct object *o = c->object;
    struct journal *j = object_journal(o);
    const bool hides =
        o->failed && (journal_has_lost(o->durable) || journal_look(j, object_group(o)) == ERR_EIO);
    if (hides && c->op->args[0] != 'c')
        return ERR_EIO;
    const bool changes = (c->op->flags & OP_CHANGES) != 0;
    return changes && !c->may_wait && !journal_has_room(j) ? ERR_WOULD_BLOCK : OK;
}

/* What it changes may have to be saved for a snapshot. */
static enum err permit_to_save(const struct call *c)
{
    if ((c->op->flags & OP_CHANGES) == 0)
        return OK;
    if (c->may_wait)
        snapshot_wait(c->object);
    return snapshot_has_room(c->object) ? OK : ERR_WOULD_BLOCK;
}

enum err call_do(struct call *c)
{
    const size_t from = c->out->len;
    const bool failed = c->out->failed;
    c->object = &c->entry->object;
    c->bytes_in = c->bytes_out = 0;
    c->refused = false;
    enum err e = permit(c);
    if (e == OK && (c->op->flags & OP_LOOKS) == 0 && c->object->durable != NULL)
        e = permit_durable(c);
    if (e == OK)
        e = permit_to_save(c);
    if (e == OK)
        e = c->op->run(c);
    return call_checked(c->out, from, failed, e);
}

void call_count(struct client *c, struct entry *e, const struct sample *one)
{
    stats_note(&c->stats, one);
    if (e != NULL)
        stats_note(&e->stats, one);
}

void call_note(const struct call *c, enum err result)
{
    const uint64_t now_ns = uv_hrtime();
    const struct sample one =
        stats_sample(now_ns - c->since_ns, now_ns, result != OK || c->refused);
    call_count(c->client, c->entry, &one);
    call_note_later(c);
}

void call_note_later(const struct call *c)
{
    if (c->entry == NULL)
        return;
    c->entry->stats.bytes_in += c->bytes_in;
    c->entry->stats.bytes_out += c->bytes_out;
}

void call_refused(struct client *c)
{
    const struct sample one = stats_sample(0, uv_hrtime(), true);
    call_count(c, NULL, &one);
}
