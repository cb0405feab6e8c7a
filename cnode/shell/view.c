#include "shell/view.h"

#include <ei.h>
#include <inttypes.h>
#include <uv.h>

#include "proto/print.h"
#include "proto/term.h"
#include "shell/map.h"
#include "shell/table.h"
#include "shell/units.h"
#include "sys/err.h"

enum { TERM_MOST = 16384, ERROR_MOST = 500, KEY_COLUMN = 24 };

void view_term(struct view *v, struct span reply)
{
    print_term(v->out, reply, v->columns, TERM_MOST);
    print_text(v->out, "\n");
}

/* --- errors ---------------------------------------------------------------------------------- */

bool view_is_error(struct span reply)
{
    struct term t = term_in(reply);
    const int tag = term_tag(&t);
    return (tag == ERL_SMALL_TUPLE_EXT || tag == ERL_LARGE_TUPLE_EXT) && term_tuple(&t) == 2 &&
           term_is_atom(&t, "error");
}

/* A reason is an atom, or a tuple that begins with one. */
struct reason {
    bool is_tuple;
    struct span head;
    struct span last; /* of a pair of atoms */
};

static struct reason reason_of(struct term t)
{
    struct reason r = {.is_tuple = term_tag(&t) == ERL_SMALL_TUPLE_EXT};
    if (r.is_tuple)
        term_tuple(&t);
    r.head = term_atom_bytes(&t);
    r.last = term_atom_bytes(&t);
    return r;
}

static bool is_reason(enum err e, const struct reason *r)
{
    static const char *const heads[] = {
        [ERR_LIMIT] = "limit", [ERR_NOT_A] = "not_a", [ERR_WRONG_KIND] = "wrong_kind"};
    const struct span atom = span_text(err_atom(e));
    switch (err_shape(e)) {
    case ERR_PLAIN: return !r->is_tuple && span_equal(r->head, atom);
    case ERR_HELD:
    case ERR_DETAIL: return r->is_tuple && span_equal(r->head, atom);
    default:
        return r->is_tuple && span_equal(r->last, atom) &&
               span_equal(r->head, span_text(heads[err_shape(e)]));
    }
}

void view_error(struct view *v, struct span reply)
{
    struct term t = term_in(reply);
    term_tuple(&t);
    term_any(&t);
    const struct reason r = reason_of(t);
    print_term(v->out, term_any(&t), v->columns, ERROR_MOST);
    for (int e = OK + 1; e < ERR_COUNT; e++)
        if (is_reason((enum err)e, &r))
            print_text(v->out, " (%s)", err_text((enum err)e));
}

/* --- the node -------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    const size_t len = strlen(text);
    return len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}

static void put_number(struct view *v, const char *key, uint64_t n)
{
    char text[UNITS_TEXT];
    const bool bytes = strcmp(key, "rss") == 0 || strcmp(key, "mapped") == 0 ||
                       ends_with(key, "_bytes") || strcmp(key, "max_frame") == 0;
    if (ends_with(key, "_ms"))
        print_text(v->out, "%s", units_ms(text, n));
    else if (ends_with(key, "_us"))
        print_text(v->out, "%s", units_us(text, n));
    else if (bytes)
        print_text(v->out, "%s", units_bytes(text, n));
    else
        print_text(v->out, "%" PRIu64, n);
}

static void put_value(struct view *v, const char *key, struct span value)
{
    struct term t = term_in(value);
    struct term text = t;
    const uint64_t n = term_uint64(&t);
    const struct span bytes = term_binary(&text);
    if (!t.bad)
        put_number(v, key, n);
    else if (!text.bad)
        print_name(v->out, bytes);
    else
        print_term(v->out, value, v->columns, ERROR_MOST);
}

static void put_line(struct view *v, const char *before, const char *key, struct span value)
{
    const size_t unit = ends_with(key, "_ms") || ends_with(key, "_us") ? 3 : 0;
    print_text(v->out, "%s%s%.*s", before, before[0] == '\0' ? "" : " ", (int)(strlen(key) - unit),
               key);
    const size_t column = print_column(v->out);
    print_text(v->out, "%*s  ", (int)(column < KEY_COLUMN ? KEY_COLUMN - column : 0), "");
    put_value(v, key, value);
    print_text(v->out, "\n");
}

/* A map in the map: its name stands before its keys. */
static void put_lines(struct view *v, const char *before, struct span map)
{
    char key[TERM_ATOM_BYTES];
    struct term t = term_in(map);
    const int pairs = term_map(&t);
    for (int i = 0; i < pairs && !t.bad; i++) {
        term_atom(&t, key);
        put_line(v, before, key, term_any(&t));
    }
}

void view_node(struct view *v, struct span reply)
{
    char key[TERM_ATOM_BYTES];
    struct term t = term_in(reply);
    const int pairs = term_map(&t);
    for (int i = 0; i < pairs && !t.bad; i++) {
        term_atom(&t, key);
        const struct span value = term_any(&t);
        if (value.len > 0 && value.at[0] == ERL_MAP_EXT)
            put_lines(v, key, value);
        else
            put_line(v, "", key, value);
    }
}

void view_banner(struct view *v, struct span reply)
{
    char host[256] = "";
    size_t len = sizeof host;
    char text[UNITS_TEXT];
    uv_os_gethostname(host, &len);
    print_text(v->out, "emmapd ");
    print_name(v->out, map_text(reply, "version"));
    print_text(v->out, " on %s, up %s.  help(). for help, quit(). to leave.\n", host,
               units_ms(text, map_number(reply, "uptime_ms")));
}

static void client_row(struct table *t, struct span info)
{
    table_ms(t, map_number(info, "since_ms"));
    table_count(t, map_number(info, "handles"));
    table_count(t, map_number(info, "leases"));
    table_count(t, map_number(info, "waiting"));
    table_count(t, map_number(info, "subscribers"));
    table_bytes(t, map_number(info, "bytes_in"));
    table_bytes(t, map_number(info, "bytes_out"));
}

void view_clients(struct view *v, struct span reply)
{
    static const char *const headings[] = {"NODE", "SINCE", "HANDLES", "LEASES", "WAITING",
                                           "SUBS", "IN",    "OUT",     NULL};
    struct table t;
    struct term list = term_in(reply);
    const int n = term_list(&list);
    table_init(&t, headings);
    t.keeps_begin = true;
    for (int i = 0; i < n; i++) {
        const struct span info = term_any(&list);
        table_name(&t, map_text(info, "node"));
        client_row(&t, info);
    }
    table_print(&t, v->out, 1, v->columns);
    table_fini(&t);
}
