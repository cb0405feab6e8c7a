/* info FILE: what its header says. */
#include <stddef.h>

#include "store/block.h"
#include "store/format.h"
#include "store/ownership.h"
#include "sys/guard.h"
#include "sys/os.h"
#include "tools/check.h"

struct info {
    struct look look;
    struct out out;
    struct check_counts counts;
};

static void put_options(struct out *o, const struct queue_options *p)
{
    out_number(o, "max_items", p->max_items);
    out_number(o, "max_bytes", p->max_bytes);
    out_number(o, "lease_ms", p->lease_ms);
    out_number(o, "max_attempts", p->max_attempts);
    out_word(o, "overflow", p->drop_head ? "drop_head" : "reject");
    out_bool(o, "fixed_size", p->fixed_size);
    out_bool(o, "durable", p->durable);
    out_word(o, "dead_letter", p->dead_letter);
    out_word(o, "registered", p->registered);
}

static void put_header(struct out *o, uint32_t version, const uint8_t uuid[16], uint64_t created)
{
    out_number(o, "version", version);
    out_hex(o, "uuid", span_of(uuid, 16));
    out_number(o, "created", created);
}

static void put_queue(struct out *o, struct object *object)
{
    struct queue_header h;
    struct queue_info i;
    queue_header(object, &h);
    queue_look(object, &i);
    put_header(o, h.version, i.uuid, h.created_ms);
    out_bool(o, "closed_cleanly", h.clean);
    out_number(o, "epoch", h.epoch);
    out_number(o, "slot_seq", h.slot_seq);
    out_number(o, "opt_seq", h.opt_seq);
    out_number(o, "extents", h.extents[0]);
    out_number(o, "shelf_extents", h.extents[1]);
    out_number(o, "items", i.items);
    out_number(o, "ready", i.ready);
    out_number(o, "delayed", i.delayed);
    out_number(o, "buried", i.buried);
    out_number(o, "item_bytes", i.bytes);
    out_number(o, "pushed", i.pushed);
    out_number(o, "popped", i.popped);
    out_number(o, "acked", i.acked);
    out_number(o, "dropped", i.dropped);
    out_number(o, "dead", i.dead);
    out_number(o, "damaged", i.damaged);
    out_number(o, "first_id", i.first_id);
    out_number(o, "next_id", i.next_id);
    put_options(o, queue_options(object));
}

static void put_blocks(struct info *i, const struct object *object)
{
    struct out *o = &i->out;
    struct block_header h = {.version = 0};
    if (guard_copy(&h, object->map.at, sizeof h))
        put_header(o, h.version, h.uuid, h.created);
    out_bool(o, "closed_cleanly", !ownership_is_told(i->look.fd));
    out_number(o, "block_size", block_size(object));
    out_number(o, "capacity", block_capacity(object));
    out_number(o, "used", block_used(object));
}

static void put_store(void *arg, struct object *object)
{
    struct info *i = arg;
    if (object->kind == OBJECT_QUEUE)
        put_queue(&i->out, object);
    else
        put_blocks(i, object);
}

static void put_half(struct info *i)
{
    struct half_fields f;
    if (os_read_all(i->look.fd, &f, sizeof f, 0) != sizeof f)
        return;
    out_number(&i->out, "version", f.version);
    out_hex(&i->out, "uuid", span_of(f.uuid, sizeof f.uuid));
    out_number(&i->out, "generation", f.generation);
    out_number(&i->out, "first_group", f.first_group);
    out_number(&i->out, "groups", i->counts.things);
}

/* Errors are for whoever looks, not for what reads the fields. */
static void found(void *arg, const struct check_finding *f)
{
    const struct info *i = arg;
    struct buf line;
    buf_init(&line, 1024);
    out_finding(&line, i->look.kind, f);
    fprintf(stderr, "emmapd: %s: %s%.*s\n", i->look.path,
            f->damage ? "damaged: " : "note: ", (int)line.len, (const char *)line.at);
    buf_fini(&line);
}

static void put_rest(struct info *i)
{
    switch (i->look.kind) {
    case FILE_COUNTERS: out_number(&i->out, "counters", i->counts.things); break;
    case FILE_NIF_QUEUE: out_number(&i->out, "items", i->counts.things); break;
    case FILE_JOURNAL: put_half(i); break;
    default: break;
    }
}

static enum err put_info(struct info *i, struct check *c)
{
    struct out *o = &i->out;
    out_begin(o);
    out_word(o, "file", i->look.path);
    out_word(o, "kind", file_kind_name(i->look.kind));
    out_number(o, "size", (uint64_t)i->look.st.st_size);
    if (i->look.in_use)
        out_word(o, "held_by", i->look.owner[0] != '\0' ? i->look.owner : "unknown");
    if (i->look.has_journal)
        out_word(o, "journal", i->look.mark.dir);
    c->arg = i;
    c->head = true;
    c->found = found;
    c->store = put_store;
    c->counts = &i->counts;
    const enum err e = check_file(i->look.fd, c);
    put_rest(i);
    out_end(o);
    return e;
}

int tool_info(const struct tool_call *call)
{
    struct info i;
    struct check c;
    const int exit_code = check_open(&i.look, call, call->arguments[0], &c);
    if (exit_code != TOOL_DONE)
        return exit_code;
    i.counts = (struct check_counts){.kind = i.look.kind};
    out_init(&i.out, tool_value(call, "json") != NULL, OUT_LINE);
    const enum err e = put_info(&i, &c);
    out_fini(&i.out);
    look_close(&i.look);
    return check_end(&i.look, e);
}
