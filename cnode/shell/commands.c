#include "shell/commands.h"

#include "proto/print.h"

enum { NAME_MOST = 32, NEAR = 2, HELP_COLUMN = 24 };

static const struct command commands[] = {
    {.name = "help", .args = "", .kind = COMMAND_HELP, .help = "what can be typed"},
    {.name = "help",
     .args = "Command",
     .argc = 1,
     .kind = COMMAND_HELP,
     .help = "what a command takes and does"},
    {.name = "list", .args = "", .request = "list", .show = view_list, .help = "the open objects"},
    {.name = "info", .args = "", .request = "info", .show = view_node, .help = "the daemon"},
    {.name = "info",
     .args = "Obj",
     .argc = 1,
     .request = "info",
     .show = view_object,
     .help = "an object"},
    {.name = "top",
     .args = "",
     .kind = COMMAND_TOP,
     .request = "list",
     .show = view_top,
     .help = "what is busy, each second until a key"},
    {.name = "clients",
     .args = "",
     .request = "clients",
     .show = view_clients,
     .help = "the connected nodes"},
    {.name = "queues",
     .args = "",
     .request = "list",
     .show = view_queues,
     .help = "the queues, with rates since the last look"},
    {.name = "peek",
     .args = "Obj, Max",
     .argc = 2,
     .request = "peek_many",
     .show = view_items,
     .help = "the first items of a queue"},
    {.name = "peek_buried",
     .args = "Obj, Max",
     .argc = 2,
     .request = "peek_buried",
     .show = view_items,
     .help = "the items that were put aside"},
    {.name = "counters",
     .args = "Obj",
     .argc = 1,
     .request = "read_counters",
     .show = view_counters,
     .help = "the values of counters"},
    {.name = "region",
     .args = "Obj, Pos, Len",
     .argc = 3,
     .request = "pread",
     .show = view_region,
     .help = "bytes of a region, in hex and as text"},
    {.name = "log",
     .args = "Level",
     .argc = 1,
     .kind = COMMAND_LOG,
     .help = "the log tells: error, warning, notice, info or debug"},
    {.name = "unlock",
     .args = "",
     .kind = COMMAND_UNLOCK,
     .help = "allow what changes data, in this console"},
    {.name = "lock", .args = "", .kind = COMMAND_LOCK, .help = "refuse it again"},
    {.name = "cancel",
     .args = "",
     .kind = COMMAND_CANCEL,
     .help = "end a request that waits (so does ^C of erl +Bc)"},
    {.name = "quit", .args = "", .kind = COMMAND_QUIT, .help = "leave"},
    {.name = "exit", .args = "", .kind = COMMAND_QUIT, .help = "leave"},
    {.name = "banner", .args = "", .request = "info", .show = view_banner},
    {.name = "sample", .args = "", .request = "list", .show = view_sample},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static bool is_named(const char *name, struct span text)
{
    return span_equal(span_text(name), text);
}

/* --- arguments ------------------------------------------------------------------------------- */

/* By the letters of a signature, op.h. */
static const char *argument_name(char letter)
{
    switch (letter) {
    case 'o': return "Obj";
    case 'h':
    case 'c': return "Id";
    case 'n':
    case 'f': return "Name";
    case 'i': return "Integer";
    case 'u': return "Number";
    case 'b': return "Bytes";
    case 'l': return "List";
    case 'w': return "Timeout";
    case 'm': return "Lease";
    default: return "Term";
    }
}

static void put_arguments(struct buf *out, const char *signature)
{
    for (size_t i = 0; signature[i] != '\0'; i++)
        print_text(out, i > 0 ? ", %s" : "%s", argument_name(signature[i]));
}

static bool is_own(const struct op *op)
{
    return (op->flags & OP_OWN) != 0;
}

/* A command of the console comes before a row of the same name and number of arguments. */
static bool is_covered(const struct op *op)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, op->name) == 0 && commands[i].argc == (int)strlen(op->args))
            return true;
    return false;
}

/* Is it a command of its own? */
static bool is_offered(const struct op *op)
{
    return !is_own(op) && !is_covered(op);
}

/* --- finding --------------------------------------------------------------------------------- */

const char *command_next(size_t *at)
{
    const struct op *op;
    while (*at < COMMANDS) {
        const struct command *c = &commands[(*at)++];
        if (c->help != NULL && (c == commands || strcmp(c->name, c[-1].name) != 0))
            return c->name;
    }
    while ((op = op_row(*at - COMMANDS)) != NULL) {
        const size_t row = (*at)++ - COMMANDS;
        if ((row == 0 || strcmp(op->name, op_row(row - 1)->name) != 0) && is_offered(op))
            return op->name;
    }
    return NULL;
}

bool command_takes_nothing(struct span name)
{
    const struct op *op;
    for (size_t i = 0; i < COMMANDS; i++)
        if (is_named(commands[i].name, name) && commands[i].argc > 0)
            return false;
    for (size_t i = 0; (op = op_row(i)) != NULL; i++)
        if (is_named(op->name, name) && op->args[0] != '\0')
            return false;
    return true;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters have to be changed, put in or taken out. */
static size_t distance(struct span a, struct span b)
{
    size_t row[NAME_MOST + 1];
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 0; i < a.len; i++) {
        size_t before = row[0]++;
        for (size_t j = 0; j < b.len; j++) {
            const size_t changed = before + (a.at[i] != b.at[j]);
            before = row[j + 1];
            row[j + 1] = least(changed, least(before, row[j]) + 1);
        }
    }
    return row[b.len];
}

const char *command_nearest(struct span name)
{
    const char *nearest = NULL;
    const char *other;
    size_t best = least(NEAR, name.len / 2) + 1;
    for (size_t at = 0; name.len <= NAME_MOST && (other = command_next(&at)) != NULL;) {
        const size_t d = distance(name, span_text(other));
        if (d >= best)
            continue;
        best = d;
        nearest = other;
    }
    return nearest;
}

static bool is_known(struct span name)
{
    const char *other;
    for (size_t at = 0; (other = command_next(&at)) != NULL;)
        if (is_named(other, name))
            return true;
    return false;
}

static const struct command *own_command(struct span name, int argc)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].argc == argc && is_named(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static void put_unknown(struct buf *why, struct span name)
{
    const char *nearest = command_nearest(name);
    print_text(why, "there is no command ");
    print_name(why, name);
    if (nearest != NULL)
        print_text(why, "; did you mean %s?", nearest);
    else
        print_text(why, "; help() shows them");
}

bool command_find(struct span name, int argc, struct choice *found, struct buf *why)
{
    bool known = false;
    const struct command *c = own_command(name, argc);
    const struct span row = c != NULL && c->request != NULL ? span_text(c->request) : name;
    *found = (struct choice){.command = c, .op = op_find(row, argc, &known)};
    if (c != NULL || (found->op != NULL && !is_own(found->op)))
        return true;
    if (is_known(name))
        command_usage(why, name);
    else
        put_unknown(why, name);
    return false;
}

bool command_changes(const struct op *op)
{
    return (op->flags & (OP_CHANGES | OP_GIVES | OP_OPENS | OP_BATCH | OP_ALONE)) != 0;
}

/* --- help ------------------------------------------------------------------------------------ */

void command_usage(struct buf *out, struct span name)
{
    const char *between = " takes (";
    const struct op *op;
    print_name(out, name);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (!is_named(commands[i].name, name))
            continue;
        print_text(out, "%s%s)", between, commands[i].args);
        between = " or (";
    }
    for (size_t i = 0; (op = op_row(i)) != NULL; i++) {
        if (!is_named(op->name, name) || !is_offered(op))
            continue;
        print_text(out, "%s", between);
        put_arguments(out, op->args);
        print_text(out, ")");
        between = " or (";
    }
}

/* Spaces up to the column in which all help lines begin. */
static void put_gap(struct buf *out)
{
    const size_t column = print_column(out);
    print_text(out, "%*s  ", (int)(column < HELP_COLUMN ? HELP_COLUMN - column : 0), "");
}

static void put_command(struct buf *out, const struct command *c)
{
    print_text(out, "  %s(%s)", c->name, c->args);
    put_gap(out);
    print_text(out, "%s\n", c->help);
}

static void put_row(struct buf *out, const struct op *op)
{
    print_text(out, "  %s(", op->name);
    put_arguments(out, op->args);
    print_text(out, ")");
    put_gap(out);
    print_text(out, "%s%s\n", op->help, command_changes(op) ? "; unlock() first" : "");
}

/* The names of the rows that change data, or of those that do not. */
static void put_names(struct buf *out, bool change, size_t columns)
{
    const char *last = "";
    const struct op *op;
    for (size_t i = 0; (op = op_row(i)) != NULL; i++) {
        if (!is_offered(op) || command_changes(op) != change || strcmp(op->name, last) == 0)
            continue;
        last = op->name;
        if (print_column(out) + strlen(op->name) + 2 > columns)
            print_text(out, "\n");
        print_text(out, print_column(out) == 0 ? "  %s" : " %s", op->name);
    }
    print_text(out, "\n");
}

void command_help(struct buf *out, size_t columns)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].help != NULL)
            put_command(out, &commands[i]);
    print_text(out, "Requests; help(Command) tells what one takes:\n");
    put_names(out, false, columns);
    print_text(out, "Requests that change data, after unlock():\n");
    put_names(out, true, columns);
    print_text(out, "Obj is a name, \"jobs\", or the id that an open request has given. Several\n"
                    "commands on a line: unlock(), kick(\"jobs\", 10).\n");
}

bool command_help_of(struct buf *out, struct span name)
{
    const struct op *op;
    const size_t begin = out->len;
    for (size_t i = 0; i < COMMANDS; i++)
        if (is_named(commands[i].name, name) && commands[i].help != NULL)
            put_command(out, &commands[i]);
    for (size_t i = 0; (op = op_row(i)) != NULL; i++)
        if (is_named(op->name, name) && is_offered(op))
            put_row(out, op);
    return out->len > begin;
}
