#include <ei.h>

#include "proto/entry.h"
#include "proto/print.h"
#include "proto/registry.h"
#include "proto/reply.h"
#include "shell/commands.h"
#include "shell/console.h"
#include "sys/log.h"

/* TAB. Where the cursor stands decides what can be meant: a command at the beginning and behind a
 * comma that is inside nothing, an object inside of quotes, a command or a level as the argument of
 * help or log. */

enum { TEXT_MOST = 4096, NAMES_MOST = 64 << 10 };

enum meant { NOTHING, A_COMMAND, A_COMMANDS_NAME, A_LEVEL, AN_OBJECT };

struct cursor {
    enum meant meant;
    struct span prefix; /* what of it is there */
};

struct matches {
    struct span prefix;
    struct buf names; /* each ends with a zero byte */
    uint32_t n;
};

/* --- where the cursor is --------------------------------------------------------------------- */

static bool read_reversed(struct span reversed, struct buf *text)
{
    uint32_t characters[TEXT_MOST];
    size_t n = 0;
    struct buf utf8;
    struct term t = term_in(reversed);
    buf_init(&utf8, (size_t)4 * TEXT_MOST);
    const struct span all = term_name(&t, &utf8);
    bool fits = !t.bad;
    for (size_t i = 0, len; fits && i < all.len; i += len) {
        len = print_character(span_of(all.at + i, all.len - i), &characters[n]);
        fits = len > 0 && ++n < TEXT_MOST;
    }
    while (fits && n > 0)
        print_code_point(text, characters[--n]);
    buf_fini(&utf8);
    return fits && !text->failed;
}

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '@';
}

static size_t word_begin(struct span text)
{
    size_t at = text.len;
    while (at > 0 && is_letter(text.at[at - 1]))
        at--;
    return at;
}

static struct span without_blanks(struct span text)
{
    while (text.len > 0 && text.at[text.len - 1] == ' ')
        text.len--;
    return text;
}

/* How deep in brackets the end of the text is; *quote: where the string that it is in begins, or
 * the text's length. */
static int depth_at_end(struct span text, size_t *quote)
{
    int depth = 0;
    bool quoted = false;
    *quote = text.len;
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = text.at[i];
        if (c == '"')
            *quote = quoted ? text.len : i + 1;
        if (c == '"')
            quoted = !quoted;
        else if (c == '\\' || (c == '$' && !quoted))
            i++; /* whatever comes next is meant as it is */
        else if (!quoted)
            depth += strchr("([{", c) != NULL && c != 0   ? 1
                     : strchr(")]}", c) != NULL && c != 0 ? -1
                                                          : 0;
    }
    if (!quoted)
        *quote = text.len + 1;
    return depth;
}

/* As the argument of `before`, which ends with its bracket. */
static enum meant meant_behind(struct span before)
{
    before = without_blanks(span_of(before.at, before.len - 1));
    const size_t begin = word_begin(before);
    const struct span name = span_from(before, begin);
    if (span_equal(name, span_text("help")))
        return A_COMMANDS_NAME;
    return span_equal(name, span_text("log")) ? A_LEVEL : NOTHING;
}

static struct cursor cursor_of(struct span text)
{
    size_t quote;
    const int depth = depth_at_end(text, &quote);
    if (quote <= text.len)
        return (struct cursor){AN_OBJECT, span_of(text.at + quote, text.len - quote)};
    const size_t begin = word_begin(text);
    const struct span before = without_blanks(span_of(text.at, begin));
    struct cursor p = {NOTHING, span_from(text, begin)};
    const uint8_t last = before.len > 0 ? before.at[before.len - 1] : ',';
    if (depth == 0 && (last == ',' || last == '.'))
        p.meant = A_COMMAND;
    else if (depth == 1 && last == '(')
        p.meant = meant_behind(before);
    return p;
}

/* --- what can be meant ----------------------------------------------------------------------- */

static bool is_there(const struct matches *m, struct span name)
{
    for (size_t at = 0; at < m->names.len;) {
        const struct span other = span_text((const char *)m->names.at + at);
        if (span_equal(other, name))
            return true;
        at += other.len + 1;
    }
    return false;
}

static void match(struct matches *m, struct span name)
{
    const size_t len = m->prefix.len;
    if (name.len < len || (len > 0 && memcmp(name.at, m->prefix.at, len) != 0) || is_there(m, name))
        return;
    const size_t before = m->names.len;
    if (buf_put(&m->names, name.at, name.len) && buf_put(&m->names, "", 1))
        m->n++;
    else
        buf_cut(&m->names, before);
}

/* Can it be typed between quotes as it is? */
static bool is_plain(struct span name)
{
    struct buf shown;
    buf_init(&shown, 8 * name.len + 1);
    print_name(&shown, name);
    const bool plain = name.len > 0 && span_equal(span_of(shown.at, shown.len), name);
    buf_fini(&shown);
    return plain;
}

static void match_path(struct matches *m, const char *dir, const char *path)
{
    const size_t len = strlen(dir);
    const bool beneath = strncmp(path, dir, len) == 0 && path[len] == '/';
    const struct span name = span_text(beneath ? path + len + 1 : path);
    if (is_plain(name))
        match(m, name);
}

static void match_objects(struct matches *m, const struct server *s)
{
    for (const struct entry *e = s->entries; e != NULL; e = e->next)
        if (entry_is_open(e))
            match_path(m, s->options.data_dir, e->path);
    for (const struct process *p = registry_first(s); p != NULL; p = p->hh.next)
        match_path(m, s->options.data_dir, p->path);
}

static void match_commands(struct matches *m)
{
    const char *name;
    for (size_t at = 0; (name = command_next(&at)) != NULL;)
        match(m, span_text(name));
}

static void match_levels(struct matches *m)
{
#define LEVEL(name) match(m, span_text(#name));
    LOG_LEVELS(LEVEL)
#undef LEVEL
}

/* --- the answer ------------------------------------------------------------------------------ */

/* A string of Erlang's: its code points. */
static void put_string(struct buf *out, struct span utf8)
{
    const size_t begin = reply_list_begin(out);
    uint32_t n = 0;
    uint32_t c = 0;
    for (size_t i = 0, len; i < utf8.len; i += len, n++) {
        len = print_character(span_of(utf8.at + i, utf8.len - i), &c);
        if (len == 0)
            break;
        reply_int64(out, c);
    }
    reply_list_end(out, begin, n);
}

/* What all matches go on with. */
static struct span common(const struct matches *m)
{
    struct span first = span_text((const char *)m->names.at);
    for (size_t at = first.len + 1; at < m->names.len;) {
        const struct span other = span_text((const char *)m->names.at + at);
        size_t same = 0;
        while (same < first.len && same < other.len && first.at[same] == other.at[same])
            same++;
        first.len = same;
        at += other.len + 1;
    }
    while (first.len > m->prefix.len && first.at[first.len] >> 6 == 2)
        first.len--; /* whole characters only */
    return span_of(first.at + m->prefix.len, first.len - m->prefix.len);
}

static const char *ending(enum meant meant, struct span name)
{
    switch (meant) {
    case A_COMMAND: return command_takes_nothing(name) ? "()" : "(";
    case AN_OBJECT: return "\"";
    default: return ")";
    }
}

static void put_one(struct buf *out, const struct cursor *p, const struct matches *m)
{
    struct buf rest;
    const struct span name = span_text((const char *)m->names.at);
    const char *end = ending(p->meant, name);
    buf_init(&rest, NAMES_MOST);
    buf_put(&rest, name.at + m->prefix.len, name.len - m->prefix.len);
    buf_put(&rest, end, strlen(end));
    reply_atom(out, "yes");
    put_string(out, span_of(rest.at, rest.len));
    reply_nil(out);
    buf_fini(&rest);
}

static void put_several(struct buf *out, const struct matches *m)
{
    const struct span rest = m->n == 0 ? span_of(NULL, 0) : common(m);
    reply_atom(out, rest.len > 0 ? "yes" : "no");
    put_string(out, rest);
    if (rest.len == 0)
        reply_list(out, m->n);
    for (size_t at = 0; rest.len == 0 && at < m->names.len;) {
        const struct span name = span_text((const char *)m->names.at + at);
        put_string(out, name);
        at += name.len + 1;
    }
    reply_nil(out);
}

static void find(struct matches *m, const struct server *s, const struct cursor *p)
{
    switch (p->meant) {
    case NOTHING: break;
    case A_COMMAND:
    case A_COMMANDS_NAME: match_commands(m); break;
    case A_LEVEL: match_levels(m); break;
    case AN_OBJECT: match_objects(m, s); break;
    }
}

void console_expand(struct server *s, struct span reversed, struct buf *out)
{
    struct buf text;
    struct cursor p = {.meant = NOTHING};
    buf_init(&text, (size_t)4 * TEXT_MOST);
    if (read_reversed(reversed, &text))
        p = cursor_of(span_of(text.at, text.len));
    struct matches m = {.prefix = p.prefix};
    buf_init(&m.names, NAMES_MOST);
    find(&m, s, &p);
    reply_tuple(out, 3);
    if (m.n == 1)
        put_one(out, &p, &m);
    else
        put_several(out, &m);
    buf_fini(&m.names);
    buf_fini(&text);
}
