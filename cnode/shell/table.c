#include "shell/table.h"

#include <stdarg.h>

#include "proto/print.h"
#include "shell/units.h"

enum { CELLS_MOST = 1 << 20, GAP = 2, NAME_LEAST = 8 };

void table_init(struct table *t, const char *const *headings)
{
    *t = (struct table){.columns = 0};
    buf_init(&t->cells, CELLS_MOST);
    for (; headings[t->columns] != NULL; t->columns++)
        table_put(t, "%s", headings[t->columns]);
    must(t->columns <= TABLE_COLUMNS);
}

void table_fini(struct table *t)
{
    buf_fini(&t->cells);
}

void table_put(struct table *t, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_put(&t->cells, text, strlen(text) + 1);
}

void table_name(struct table *t, struct span utf8)
{
    print_name(&t->cells, utf8);
    buf_put(&t->cells, "", 1);
}

void table_count(struct table *t, uint64_t n)
{
    char text[UNITS_TEXT];
    table_put(t, "%s", units_count(text, n));
}

void table_bytes(struct table *t, uint64_t n)
{
    char text[UNITS_TEXT];
    table_put(t, "%s", units_bytes(text, n));
}

void table_ms(struct table *t, uint64_t ms)
{
    char text[UNITS_TEXT];
    table_put(t, "%s", units_ms(text, ms));
}

void table_us(struct table *t, uint64_t us)
{
    char text[UNITS_TEXT];
    table_put(t, "%s", units_us(text, us));
}

static struct span next_cell(const struct table *t, size_t *at)
{
    const struct span cell = span_text((const char *)t->cells.at + *at);
    *at += cell.len + 1;
    return cell;
}

static void measure(const struct table *t, size_t widths[TABLE_COLUMNS])
{
    size_t at = 0;
    for (int i = 0; at < t->cells.len; i = (i + 1) % t->columns) {
        const size_t width = print_width(next_cell(t, &at));
        if (width > widths[i])
            widths[i] = width;
    }
}

static void keep_width(const struct table *t, size_t widths[TABLE_COLUMNS], size_t width)
{
    size_t others = 0;
    for (int i = 1; i < t->columns; i++)
        others += widths[i] + GAP;
    const size_t room = width > others + NAME_LEAST ? width - others : NAME_LEAST;
    if (widths[0] > room)
        widths[0] = room;
}

static void put_spaces(struct buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_put(out, " ", 1);
}

/* Where its n-th character begins. */
static size_t character_at(struct span cell, size_t n)
{
    size_t at = 0;
    for (; n > 0; n--)
        do
            at++;
        while (at < cell.len && cell.at[at] >> 6 == 2);
    return at;
}

static void put_cut(struct buf *out, struct span cell, size_t width, bool keeps_begin)
{
    static const char dots[] = "...";
    const size_t has = print_width(cell);
    const size_t kept = width - strlen(dots);
    const size_t at = character_at(cell, keeps_begin ? kept : has - kept);
    if (keeps_begin)
        buf_put(out, cell.at, at);
    print_text(out, "%s", dots);
    if (!keeps_begin)
        buf_put(out, cell.at + at, cell.len - at);
}

static void put_padded(struct buf *out, struct span cell, size_t width, bool at_left)
{
    const size_t pad = width - print_width(cell);
    if (!at_left)
        put_spaces(out, pad);
    buf_put(out, cell.at, cell.len);
    if (at_left)
        put_spaces(out, pad);
}

void table_print(const struct table *t, struct buf *out, int left, size_t width)
{
    size_t widths[TABLE_COLUMNS] = {0};
    size_t at = 0;
    measure(t, widths);
    keep_width(t, widths, width);
    for (int i = 0; at < t->cells.len; i = (i + 1) % t->columns) {
        const bool is_last = i == t->columns - 1;
        const struct span cell = next_cell(t, &at);
        if (print_width(cell) > widths[i])
            put_cut(out, cell, widths[i], t->keeps_begin);
        else
            put_padded(out, cell, widths[i], i < left);
        if (is_last)
            buf_put(out, "\n", 1);
        else
            put_spaces(out, GAP);
    }
}
