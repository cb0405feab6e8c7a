/* What can be typed: the console's own commands, and every row of the table of requests. */
#ifndef SHELL_COMMANDS_H
#define SHELL_COMMANDS_H

#include "proto/op.h"
#include "shell/view.h"

enum command_kind {
    COMMAND_REQUEST, /* a request under another name, or with a view of its own */
    COMMAND_HELP,
    COMMAND_TOP,
    COMMAND_LOG,
    COMMAND_UNLOCK,
    COMMAND_LOCK,
    COMMAND_CANCEL,
    COMMAND_QUIT
};

struct command {
    const char *name;
    const char *args; /* as the help shows them */
    int argc;
    enum command_kind kind;
    const char *request; /* the row's name */
    void (*show)(struct view *v, struct span reply);
    const char *help; /* NULL: not for operators */
};

/* What a call is: the command, unless it is NULL, and the row of the request that it makes. */
struct choice {
    const struct command *command;
    const struct op *op;
};

/* command_find: false where there is no such command, or none with so many arguments; `why` tells
 * what there is. */
bool command_find(struct span name, int argc, struct choice *found, struct buf *why);

/* Does it change data? */
bool command_changes(const struct op *op);

/* "push takes (Obj, Term)" */
void command_usage(struct buf *out, struct span name);

/* Everything there is; all forms of one command. False: there is none, and `out` is unchanged. */
void command_help(struct buf *out, size_t columns);
bool command_help_of(struct buf *out, struct span name);

/* The names in order, each once: the next from *at on, which is 0 at first; NULL past the last. */
const char *command_next(size_t *at);

/* Does it take no arguments in any form? */
bool command_takes_nothing(struct span name);

/* The nearest name, if it is near enough to be a slip of the finger; NULL else. */
const char *command_nearest(struct span name);

#endif
