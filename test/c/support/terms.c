#include "support/terms.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { KEPT = 16, TEXT = 16384 };

struct span make_term(const char *format, ...)
{
    static ei_x_buff kept[KEPT];
    static unsigned next;
    char text[TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ei_x_buff *x = &kept[next++ % KEPT];
    if (x->buff != NULL)
        ei_x_free(x);
    must(ei_x_new(x) == 0);
    must(ei_x_format_wo_ver(x, text) == 0);
    return span_of(x->buff, (size_t)x->index);
}

struct text {
    char *at;
    size_t len;
};

static void put(struct text *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *to, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    to->len += (size_t)vsnprintf(to->at + to->len, TEXT - to->len, format, args);
    va_end(args);
    must(to->len < TEXT);
}

static void put_bytes(struct text *to, const char *open, struct span bytes, const char *close)
{
    put(to, "%s", open);
    for (size_t i = 0; i < bytes.len; i++)
        put(to, "%c", bytes.at[i] == 0 ? '.' : bytes.at[i]);
    put(to, "%s", close);
}

static void show(struct text *to, struct term *t);

static void show_many(struct text *to, struct term *t, int n)
{
    for (int i = 0; i < n; i++) {
        if (i > 0)
            put(to, ",");
        show(to, t);
    }
}

static void show_list(struct text *to, struct term *t)
{
    const int n = term_list(t);
    put(to, "[");
    show_many(to, t, n);
    if (n > 0)
        term_list_end(t);
    put(to, "]");
}

static void show_map(struct text *to, struct term *t)
{
    const int pairs = term_map(t);
    put(to, "#{");
    for (int i = 0; i < pairs; i++) {
        if (i > 0)
            put(to, ",");
        show(to, t);
        put(to, "=>");
        show(to, t);
    }
    put(to, "}");
}

static void show(struct text *to, struct term *t)
{
    char atom[TERM_ATOM_BYTES];
    switch (term_tag(t)) {
    case ERL_SMALL_INTEGER_EXT:
    case ERL_INTEGER_EXT:
    case ERL_SMALL_BIG_EXT: put(to, "%" PRId64, term_int64(t)); break;
    case ERL_SMALL_TUPLE_EXT:
        put(to, "{");
        show_many(to, t, term_tuple(t));
        put(to, "}");
        break;
    case ERL_NIL_EXT:
    case ERL_LIST_EXT: show_list(to, t); break;
    case ERL_MAP_EXT: show_map(to, t); break;
    case ERL_STRING_EXT: put_bytes(to, "\"", term_string(t), "\""); break;
    case ERL_BINARY_EXT: put_bytes(to, "<<\"", term_binary(t), "\">>"); break;
    case ERL_NEWER_REFERENCE_EXT:
        put(to, "#Ref");
        term_any(t);
        break;
    case ERL_NEW_PID_EXT:
        put(to, "#Pid");
        term_any(t);
        break;
    default:
        term_atom(t, atom);
        put(to, "%s", t->bad ? "?" : atom);
        break;
    }
}

const char *show_term(struct span term)
{
    static char kept[KEPT][TEXT];
    static unsigned next;
    struct text to = {.at = kept[next++ % KEPT]};
    struct term t = term_in(term);
    to.at[0] = '\0';
    show(&to, &t);
    return to.at;
}
