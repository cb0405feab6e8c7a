/* Lines of cells, aligned. */
#ifndef SHELL_TABLE_H
#define SHELL_TABLE_H

#include "sys/buf.h"

enum { TABLE_COLUMNS = 10 };

struct table {
    struct buf cells; /* each ends with a zero byte */
    int columns;
    bool keeps_begin; /* of a name that is too long, not its end */
};

/* table_init: headings are the first line; NULL-terminated. */
void table_init(struct table *t, const char *const *headings);
void table_fini(struct table *t);

/* The cells of a line in order, then those of the next: text, a name with control characters
 * escaped, a number in units.h's forms. */
void table_put(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_name(struct table *t, struct span utf8);
void table_count(struct table *t, uint64_t n);
void table_bytes(struct table *t, uint64_t n);
void table_ms(struct table *t, uint64_t ms);
void table_us(struct table *t, uint64_t us);

/* table_print appends the lines: the first `left` columns at the left, the others at the right.
 * Where they are wider than that many characters, the first column is cut. */
void table_print(const struct table *t, struct buf *out, int left, size_t width);

#endif
