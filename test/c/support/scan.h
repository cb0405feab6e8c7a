/* Erlang's tokens of a text, as erl_scan makes them, as far as an operator's lines need. */
#ifndef SUPPORT_SCAN_H
#define SUPPORT_SCAN_H

#include "sys/buf.h"

/* scan appends the list of tokens; {'.'} at the end of the text is `dot`. */
void scan(const char *text, struct buf *tokens);

#endif
