/* Subcommands of emmapd: they need no node and no network. What they find goes to standard output,
 * what is wrong with their doing to standard error. */
#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The exit status of each. */
enum {
    TOOL_DONE = 0,    /* and nothing is damaged */
    TOOL_REFUSED = 1, /* damaged, or it would not do it */
    TOOL_FAILED = 2   /* wrong use, or it cannot be read */
};

struct tool_option {
    const char *name;
    const char *argument; /* its name in the help, NULL: takes none */
    const char *help;
};

enum { TOOL_OPTIONS = 8 };

struct tool;

/* What the command line said. */
struct tool_call {
    const struct tool *tool;
    int n;
    char **arguments;
    const char *values[TOOL_OPTIONS]; /* of the tool's options; NULL: not given */
};

struct tool {
    const char *name;
    const char *arguments; /* as the usage shows them */
    int least, most;       /* how many; most 0: any number */
    int (*run)(const struct tool_call *call);
    const char *help;
    struct tool_option options[TOOL_OPTIONS]; /* up to one without a name */
};

/* All there are; the last row's name is NULL. */
extern const struct tool tool_rows[];

/* tools_run runs the one that argv[0] names; the exit status. */
int tools_run(int argc, char **argv);

/* tools_list writes a line for each. */
void tools_list(FILE *to);

/* tool_value: what was given for the option, "" for one that takes nothing; NULL: not given. */
const char *tool_value(const struct tool_call *call, const char *option);

/* tool_number reads a number that was given; *v stays where none was. False where it is none, or
 * not between the two: that has been told. */
bool tool_number(const struct tool_call *call, const char *option, uint64_t min, uint64_t max,
                 uint64_t *v);

/* tool_misused tells what is wrong with an option or an argument, and the usage. */
int tool_misused(const struct tool_call *call, const char *what, const char *why);

/* tool_say tells what is wrong with this file, or what else the name is of. */
int tool_say(int exit_code, const char *name, const char *what);

/* The worse of two exit states. */
int tool_worse(int a, int b);

/* check.c */
int tool_check(const struct tool_call *call);

/* dump.c */
int tool_dump(const struct tool_call *call);

/* info.c */
int tool_info(const struct tool_call *call);

/* repair.c */
int tool_repair(const struct tool_call *call);

/* journal.c */
int tool_repair_journal(const struct tool_call *call);
int tool_forget_journal(const struct tool_call *call);

/* convert.c, bench_disk.c */
int tool_convert(const struct tool_call *call);
int tool_bench_disk(const struct tool_call *call);

#endif
