#include "tools/tools.h"

#include <stdio.h>
#include <string.h>

static const struct tool {
    const char *name;
    const char *argument;
    int (*run)(const char *argument);
    const char *help;
} tools[] = {
    {"repair-journal", "DATA_DIR", tool_repair_journal,
     "cut a damaged journal where the damage begins"},
    {"forget-journal", "FILE", tool_forget_journal,
     "let a file be opened without the journal that has changes of it"},
};

static int usage(void)
{
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++)
        fprintf(stderr, "%s emmapd %s %s: %s\n", i == 0 ? "usage:" : "      ", tools[i].name,
                tools[i].argument, tools[i].help);
    return TOOL_FAILED;
}

int tools_run(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++)
        if (strcmp(argv[0], tools[i].name) == 0)
            return argc == 2 ? tools[i].run(argv[1]) : usage();
    fprintf(stderr, "emmapd: %.120s: no such subcommand; for options see --help\n", argv[0]);
    return usage();
}
