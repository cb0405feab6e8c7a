/* dump FILE: what is in it, one thing a line, as Erlang terms or as objects of JSON. What is
 * damaged stands between them as a comment, or as an object of its own. A line is bounded, and only
 * one is in memory, however long the file is. */
#include <ei.h>
#include <inttypes.h>
#include <unistd.h>

#include "proto/print.h"
#include "proto/term.h"
#include "store/block.h"
#include "tools/check.h"
#include "tools/progress.h"

enum { MOST = 65536, PIECE = 64 };

static const uint64_t longest = UINT64_C(1) << 30;

struct dump {
    struct look look;
    struct progress progress;
    struct out out;
    struct buf text;   /* a term as text, for JSON */
    struct buf binary; /* bytes as a term */
    size_t most;       /* bytes of a term's text */
};

/* --- terms ----------------------------------------------------------------------------------- */

static struct span as_binary(struct dump *d, struct span bytes)
{
    uint8_t head[5] = {ERL_BINARY_EXT};
    put_be32(head + 1, (uint32_t)bytes.len);
    buf_cut(&d->binary, 0);
    buf_put(&d->binary, head, sizeof head);
    buf_put(&d->binary, bytes.at, bytes.len);
    return span_of(d->binary.at, d->binary.len);
}

/* No term: it was not pushed by any node, and is shown as the bytes that it is. As many are looked
 * at as can be shown. */
static struct span shown_term(struct dump *d, struct span bytes)
{
    if (bytes.len > 0 && term_check(bytes) == bytes.len)
        return bytes;
    return as_binary(d, span_of(bytes.at, bytes.len < d->most ? bytes.len : d->most));
}

static void put_field(struct dump *d, const char *key, struct span term)
{
    buf_cut(&d->text, 0);
    print_term(&d->text, term, 0, d->most);
    out_text(&d->out, key, span_of(d->text.at, d->text.len));
}

static void begin(struct dump *d)
{
    progress_end(&d->progress);
    out_begin(&d->out);
}

static void put_text(struct dump *d, const char *from, struct span term)
{
    struct buf *line = &d->out.line;
    progress_end(&d->progress);
    print_text(line, "%s", from);
    print_term(line, term, 0, d->most);
    print_text(line, "}.\n");
    out_flush(&d->out);
}

/* --- one thing ------------------------------------------------------------------------------- */

static void put_item_json(struct dump *d, const struct check_item *item, const char *state)
{
    begin(d);
    out_number(&d->out, "seq", item->seq);
    out_number(&d->out, "pushed", item->pushed_ms);
    out_number(&d->out, "attempts", item->attempts);
    out_word(&d->out, "state", state);
    if (item->until_ms > 0)
        out_number(&d->out, "until", item->until_ms);
    put_field(d, "term", shown_term(d, item->bytes));
    out_end(&d->out);
}

static enum err put_item(void *arg, const struct check_item *item)
{
    static const char *const states[] = {[ITEM_READY] = "ready",
                                         [ITEM_LEASED] = "leased",
                                         [ITEM_DELAYED] = "delayed",
                                         [ITEM_BURIED] = "buried"};
    struct dump *d = arg;
    const char *state = states[item->state];
    char head[128];
    if (d->out.json) {
        put_item_json(d, item, state);
        return OK;
    }
    const int n = snprintf(head, sizeof head, "{%" PRIu64 ",%" PRIu64 ",%u,", item->seq,
                           item->pushed_ms, item->attempts);
    if (item->until_ms > 0)
        snprintf(head + n, sizeof head - (size_t)n, "{delayed,%" PRIu64 "},", item->until_ms);
    else
        snprintf(head + n, sizeof head - (size_t)n, "%s,", state);
    put_text(d, head, shown_term(d, item->bytes));
    return OK;
}

static enum err put_counter(void *arg, uint64_t i, int64_t v)
{
    struct dump *d = arg;
    progress_end(&d->progress);
    if (d->out.json) {
        begin(d);
        out_number(&d->out, "index", i);
        out_signed(&d->out, "value", v);
        out_end(&d->out);
    } else {
        print_text(&d->out.line, "{%" PRIu64 ",%" PRId64 "}.\n", i, v);
        out_flush(&d->out);
    }
    return OK;
}

static void put_bytes(struct dump *d, const char *key, uint64_t at, struct span bytes)
{
    char head[32];
    const struct span shown = span_of(bytes.at, bytes.len < d->most ? bytes.len : d->most);
    if (d->out.json) {
        begin(d);
        out_number(&d->out, key, at);
        out_number(&d->out, "size", bytes.len);
        out_hex(&d->out, "bytes", shown);
        out_end(&d->out);
        return;
    }
    snprintf(head, sizeof head, "{%" PRIu64 ",", at);
    put_text(d, head, as_binary(d, shown));
}

static enum err put_block(void *arg, uint64_t a, struct span bytes)
{
    put_bytes(arg, "address", a, bytes);
    return OK;
}

static const char *const kinds[] = {[ENTRY_WRITE] = "write",
                                    [ENTRY_OPEN] = "open",
                                    [ENTRY_FLOOR] = "floor",
                                    [ENTRY_CLOSE] = "close"};

static enum err put_entry(void *arg, const struct entry_view *v)
{
    struct dump *d = arg;
    const uint32_t kind = v->fields.kind;
    const char *word = kind >= ENTRY_WRITE && kind <= ENTRY_CLOSE ? kinds[kind] : "unknown";
    if (d->out.json) {
        begin(d);
        out_number(&d->out, "group", v->group);
        out_number(&d->out, "serial", v->fields.serial);
        out_word(&d->out, "record", word);
        out_number(&d->out, "offset", v->fields.offset);
        out_number(&d->out, "size", v->fields.len);
        if (kind == ENTRY_OPEN)
            out_text(&d->out, "name", v->data);
        out_end(&d->out);
        return OK;
    }
    progress_end(&d->progress);
    print_text(&d->out.line, "{%" PRIu64 ",%" PRIu32 ",%s,%" PRIu64 ",", v->group, v->fields.serial,
               word, v->fields.offset);
    if (kind == ENTRY_OPEN)
        print_term(&d->out.line, as_binary(d, v->data), 0, d->most);
    else
        print_text(&d->out.line, "%" PRIu32, v->fields.len);
    print_text(&d->out.line, "}.\n");
    out_flush(&d->out);
    return OK;
}

/* --- what is damaged ------------------------------------------------------------------------- */

static void found(void *arg, const struct check_finding *f)
{
    struct dump *d = arg;
    struct buf *line = &d->out.line;
    progress_end(&d->progress);
    if (!d->out.json) {
        print_text(line, "%%%% %s: ", f->damage ? "damaged" : "note");
        out_finding(line, d->look.kind, f);
        print_text(line, "\n");
        out_flush(&d->out);
        return;
    }
    begin(d);
    out_word(&d->out, f->damage ? "damaged" : "note", f->what);
    if (f->id != CHECK_NONE)
        out_number(&d->out, "id", f->id);
    if (f->count > 0)
        out_number(&d->out, "count", f->count);
    if (f->offset != CHECK_NONE)
        out_number(&d->out, "offset", f->offset);
    out_end(&d->out);
}

static void progress(void *arg, uint64_t done, uint64_t all)
{
    struct dump *d = arg;
    progress_at(&d->progress, done, all);
}

/* --- a region -------------------------------------------------------------------------------- */

static bool is_zero(struct span bytes)
{
    while (bytes.len > 0 && bytes.at[bytes.len - 1] == 0)
        bytes.len--;
    return bytes.len == 0;
}

/* Pieces that are zeros are left out. */
static enum err put_region(void *arg, uint64_t at, struct span bytes)
{
    struct dump *d = arg;
    for (size_t i = 0; i < bytes.len; i += PIECE) {
        const size_t left = bytes.len - i;
        const struct span piece = span_of(bytes.at + i, left < PIECE ? left : PIECE);
        if (!is_zero(piece))
            put_bytes(d, "offset", at + i, piece);
    }
    return OK;
}

/* --- all of it ------------------------------------------------------------------------------- */

static enum err dump(struct dump *d, struct check *c)
{
    c->arg = d;
    c->found = found;
    c->progress = progress;
    c->item = put_item;
    c->counter = put_counter;
    c->block = put_block;
    c->bytes = put_region;
    c->entry = put_entry;
    return check_file(d->look.fd, c);
}

int tool_dump(const struct tool_call *call)
{
    struct dump d = {.most = MOST};
    struct check c;
    uint64_t most = MOST;
    if (!tool_number(call, "most", 1, longest, &most))
        return TOOL_FAILED;
    const int exit_code = check_open(&d.look, call, call->arguments[0], &c);
    if (exit_code != TOOL_DONE)
        return exit_code;
    d.most = (size_t)most;
    out_init(&d.out, tool_value(call, "json") != NULL, 6 * d.most + OUT_LINE);
    buf_init(&d.text, d.most + 1024);
    buf_init(&d.binary, BLOCK_LONGEST + 1024);
    progress_begin(&d.progress, d.look.path, progress_clock);
    d.progress.shows &= isatty(STDOUT_FILENO) != 1;
    const enum err e = dump(&d, &c);
    progress_end(&d.progress);
    out_fini(&d.out);
    buf_fini(&d.text);
    buf_fini(&d.binary);
    look_close(&d.look);
    return check_end(&d.look, e);
}
