#include <ei.h>
#include <inttypes.h>

#include "proto/print.h"
#include "proto/term.h"
#include "shell/table.h"
#include "shell/view.h"

enum { ITEM_MOST = 2000, HEX_LINE = 16 };

/* {ok, V}: moves to V. */
static bool is_ok(struct term *t)
{
    return term_tuple(t) == 2 && term_is_atom(t, "ok");
}

/* {Id, Item} or {Id, Attempt, Item}. */
static void put_item(struct view *v, struct term *t)
{
    const int arity = term_tuple(t);
    print_text(v->out, "#%" PRIu64 "  ", term_uint64(t));
    if (arity == 3)
        print_text(v->out, "attempt %" PRIu64 "  ", term_uint64(t));
    print_term(v->out, term_any(t), v->columns, ITEM_MOST);
    print_text(v->out, "\n");
}

void view_items(struct view *v, struct span reply)
{
    struct term t = term_in(reply);
    if (!is_ok(&t)) {
        view_term(v, reply);
        return;
    }
    const int n = term_list(&t);
    for (int i = 0; i < n && !t.bad && !v->out->failed; i++)
        put_item(v, &t);
    if (n == 0)
        print_text(v->out, "no items\n");
}

/* Values below 256 come as a string of bytes. */
static int64_t next_value(struct term *t, struct span bytes, int i)
{
    return bytes.at != NULL ? bytes.at[i] : term_int64(t);
}

void view_counters(struct view *v, struct span reply)
{
    static const char *const headings[] = {"INDEX", "VALUE", NULL};
    struct table table;
    struct term t = term_in(reply);
    struct span bytes = {.at = NULL};
    if (!is_ok(&t)) {
        view_term(v, reply);
        return;
    }
    if (term_tag(&t) == ERL_STRING_EXT)
        bytes = term_string(&t);
    const int n = bytes.at != NULL ? (int)bytes.len : term_list(&t);
    table_init(&table, headings);
    for (int i = 0; i < n && !table.cells.failed; i++) {
        table_put(&table, "%d", i);
        table_put(&table, "%" PRId64, next_value(&t, bytes, i));
    }
    table_print(&table, v->out, 0, v->columns);
    table_fini(&table);
}

static void put_hex_line(struct buf *out, uint64_t position, struct span bytes)
{
    print_text(out, "%08" PRIx64 "  ", position);
    for (size_t i = 0; i < HEX_LINE; i++) {
        if (i < bytes.len)
            print_text(out, i == 7 ? "%02x  " : "%02x ", bytes.at[i]);
        else
            print_text(out, i == 7 ? "    " : "   ");
    }
    print_text(out, "|");
    for (size_t i = 0; i < bytes.len; i++)
        print_text(out, "%c", bytes.at[i] >= ' ' && bytes.at[i] < 0x7f ? bytes.at[i] : '.');
    print_text(out, "|\n");
}

static uint64_t position_of(struct span request)
{
    struct term t = term_in(request);
    term_tuple(&t);
    term_any(&t);
    term_any(&t);
    return term_uint64(&t);
}

void view_region(struct view *v, struct span reply)
{
    struct term t = term_in(reply);
    const uint64_t position = position_of(v->request);
    if (term_tag(&t) != ERL_SMALL_TUPLE_EXT || !is_ok(&t)) {
        view_term(v, reply);
        return;
    }
    const struct span bytes = term_binary(&t);
    for (size_t i = 0; i < bytes.len && !v->out->failed; i += HEX_LINE) {
        const size_t n = bytes.len - i < HEX_LINE ? bytes.len - i : HEX_LINE;
        put_hex_line(v->out, position + i, span_of(bytes.at + i, n));
    }
}
