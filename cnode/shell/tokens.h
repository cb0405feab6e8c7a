/* What an operator has typed. The client makes tokens of it (erl_scan); here they become calls with
 * arguments. */
#ifndef SHELL_TOKENS_H
#define SHELL_TOKENS_H

#include "sys/buf.h"

enum { TOKENS_DEPTH = 64, TOKENS_KEYS = 256 };

/* tokens_parse appends the calls of one line, separated by commas there, each as a tuple {Name,
 * Argument, ...}. False: `why` gets what was expected instead, and `calls` is unchanged. */
bool tokens_parse(struct span tokens, struct buf *calls, struct buf *why);

#endif
