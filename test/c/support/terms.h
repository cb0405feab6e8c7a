/* Terms in tests: written and read as text. */
#ifndef SUPPORT_TERMS_H
#define SUPPORT_TERMS_H

#include <ei.h>

#include "proto/term.h"

/* make_term encodes the text of a term as ei_x_format reads it, with printf's arguments put in
 * before. The bytes, without version byte, are good until 16 more were made. */
struct span make_term(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* show_term writes a term as text: atoms bare, binaries as <<"text">>, strings as "text",
 * zero bytes as dots. Good
 * until 16 more were shown. */
const char *show_term(struct span term);

#endif
