/* Terms as Erlang text, UTF-8, for people. As in Erlang's shell a list of bytes that are text reads
 * as a string, one with greater numbers does not. Bounded in length and in depth, whatever the term
 * is; where something is left out stand three dots. */
#ifndef PROTO_PRINT_H
#define PROTO_PRINT_H

#include "sys/buf.h"

enum { PRINT_DEPTH = 32 };

/* print_term appends a checked term, `most` bytes of it and a little more. Where a line would be
 * longer than `columns` characters it is broken after a comma; 0: never. */
void print_term(struct buf *out, struct span term, size_t columns, size_t most);

/* print_name appends text that others chose: control characters and what is no UTF-8 are written
 * as \x{..}, a quote and a backslash with a backslash before. */
void print_name(struct buf *out, struct span utf8);

void print_text(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

void print_code_point(struct buf *out, uint32_t c);

/* How many characters a text has: code points. */
size_t print_width(struct span utf8);

/* The characters since the last line's end. */
size_t print_column(const struct buf *out);

/* print_character reads the character that text begins with and its length in bytes; 0 where the
 * text is empty or begins with what is no UTF-8. */
size_t print_character(struct span utf8, uint32_t *c);

#endif
