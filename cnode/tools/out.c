#include "tools/out.h"

#include <inttypes.h>

#include "proto/print.h"

void out_init(struct out *o, bool json, size_t most)
{
    *o = (struct out){.json = json};
    buf_init(&o->line, most);
}

void out_fini(struct out *o)
{
    buf_fini(&o->line);
}

void out_flush(struct out *o)
{
    fwrite(o->line.at, 1, o->line.len, stdout);
    buf_cut(&o->line, 0);
}

/* --- fields ---------------------------------------------------------------------------------- */

static void put(struct out *o, const char *text)
{
    buf_put(&o->line, text, strlen(text));
}

void out_begin(struct out *o)
{
    o->has_field = false;
    if (o->json)
        put(o, "{");
}

void out_end(struct out *o)
{
    if (o->json)
        put(o, "}\n");
    out_flush(o);
}

static void begin_field(struct out *o, const char *key)
{
    if (o->json)
        print_text(&o->line, "%s\"%s\":", o->has_field ? "," : "", key);
    else
        print_text(&o->line, "%s: ", key);
    o->has_field = true;
}

static void end_field(struct out *o)
{
    if (!o->json)
        put(o, "\n");
}

void out_number(struct out *o, const char *key, uint64_t v)
{
    begin_field(o, key);
    print_text(&o->line, "%" PRIu64, v);
    end_field(o);
}

void out_signed(struct out *o, const char *key, int64_t v)
{
    begin_field(o, key);
    print_text(&o->line, "%" PRId64, v);
    end_field(o);
}

void out_bool(struct out *o, const char *key, bool v)
{
    begin_field(o, key);
    put(o, v ? "true" : "false");
    end_field(o);
}

/* A character as JSON has it; a byte that is no UTF-8 as the code point of its number. */
static size_t put_escaped(struct out *o, struct span rest)
{
    uint32_t c;
    size_t len = print_character(rest, &c);
    const bool text = len > 0;
    if (!text) {
        c = rest.at[0];
        len = 1;
    }
    if (c == '"' || c == '\\')
        print_text(&o->line, "\\%c", (char)c);
    else if (c < ' ' || c == 0x7f || (!text && c >= 0x80))
        print_text(&o->line, "\\u%04x", (unsigned)c);
    else
        buf_put(&o->line, rest.at, len);
    return len;
}

void out_text(struct out *o, const char *key, struct span utf8)
{
    begin_field(o, key);
    if (o->json) {
        put(o, "\"");
        while (utf8.len > 0)
            utf8 = span_from(utf8, put_escaped(o, utf8));
        put(o, "\"");
    } else {
        print_name(&o->line, utf8);
    }
    end_field(o);
}

void out_word(struct out *o, const char *key, const char *word)
{
    out_text(o, key, span_text(word));
}

void out_hex(struct out *o, const char *key, struct span bytes)
{
    begin_field(o, key);
    put(o, o->json ? "\"" : "");
    for (size_t i = 0; i < bytes.len; i++)
        print_text(&o->line, "%02x", bytes.at[i]);
    put(o, o->json ? "\"" : "");
    end_field(o);
}

/* --- findings -------------------------------------------------------------------------------- */

static const char *const things[] = {
    [FILE_REGION] = "byte", [FILE_COUNTERS] = "counter", [FILE_BLOCKS] = "block",
    [FILE_QUEUE] = "item",  [FILE_NIF_QUEUE] = "item",   [FILE_JOURNAL] = "group",
};

void out_finding(struct buf *line, enum file_kind kind, const struct check_finding *f)
{
    const bool has_id = f->id != CHECK_NONE;
    if (has_id)
        print_text(line, "%s%s %" PRIu64, things[kind], f->count > 1 ? "s" : "", f->id);
    if (has_id && f->count > 1)
        print_text(line, " to %" PRIu64, f->id + f->count - 1);
    if (f->offset != CHECK_NONE)
        print_text(line, "%sat byte %" PRIu64, has_id ? " " : "", f->offset);
    print_text(line, "%s%s", has_id || f->offset != CHECK_NONE ? ": " : "", f->what);
}
