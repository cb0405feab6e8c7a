#include "tools/tools.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>

#include "sys/bytes.h"
#include "sys/guard.h"
#include "tools/check.h"

const struct tool tool_rows[] = {
    {.name = "check",
     .arguments = "FILE...",
     .least = 1,
     .run = tool_check,
     .help = "verify every checksum: status 0 sound, 1 damaged, 2 it cannot be read",
     .options =
         {CHECK_LIVE, CHECK_ALONE, CHECK_KIND, {.name = "quiet", .help = "only the exit status"}}},
    {.name = "dump",
     .arguments = "FILE",
     .least = 1,
     .most = 1,
     .run = tool_dump,
     .help = "what is in a file, as Erlang terms, one a line; what is damaged is a comment",
     .options = {CHECK_LIVE,
                 CHECK_ALONE,
                 CHECK_KIND,
                 {.name = "json", .help = "as objects of JSON, one a line"},
                 {.name = "most",
                  .argument = "BYTES",
                  .help = "of one term or binary; the rest is left out (65536)"}}},
    {.name = "info",
     .arguments = "FILE",
     .least = 1,
     .most = 1,
     .run = tool_info,
     .help = "what the header of a file says",
     .options =
         {CHECK_LIVE, CHECK_ALONE, CHECK_KIND, {.name = "json", .help = "as an object of JSON"}}},
    {.name = "repair",
     .arguments = "--to NEW FILE",
     .least = 1,
     .most = 1,
     .run = tool_repair,
     .help = "write what is not damaged into a new file; status 0 when that is done",
     .options = {{.name = "to", .argument = "NEW", .help = "which must not be there yet"},
                 CHECK_ALONE,
                 CHECK_KIND}},
    {.name = "repair-journal",
     .arguments = "DATA_DIR",
     .least = 1,
     .most = 1,
     .run = tool_repair_journal,
     .help = "cut a damaged journal where the damage begins"},
    {.name = "forget-journal",
     .arguments = "FILE",
     .least = 1,
     .most = 1,
     .run = tool_forget_journal,
     .help = "let a file be opened without the journal that has changes of it"},
    {.name = "convert",
     .arguments = "OLD NEW",
     .least = 2,
     .most = 2,
     .run = tool_convert,
     .help = "write a queue of the NIF library emmap as a new file; OLD stays as it is",
     .options = {{"blocks", NULL, "OLD is a block store instead"},
                 {"levels", "N", "with which the library was built (BS_LEVELS); 3 if not given"},
                 {"lowest-only", NULL, "believe only its lowest masks, after a power cut"},
                 {"map", "FILE",
                  "write the old and the new address of each block; - is standard "
                  "output"}}},
    {.name = "bench-disk",
     .arguments = "DIR",
     .least = 1,
     .most = 1,
     .run = tool_bench_disk,
     .help = "measure what durable changes cost in a directory; nothing is left in it",
     .options = {{"seconds", "N", "how long it may take, 1 to 3600; 3 if not given"},
                 {"json", NULL, "one object of JSON instead of text"}}},
    {.name = NULL},
};

int tool_say(int exit_code, const char *name, const char *what)
{
    fprintf(stderr, "emmapd: %s: %s\n", name, what);
    return exit_code;
}

int tool_worse(int a, int b)
{
    return a > b ? a : b;
}

static const struct tool *find(const char *name)
{
    const struct tool *tool = tool_rows;
    while (tool->name != NULL && strcmp(tool->name, name) != 0)
        tool++;
    return tool->name == NULL ? NULL : tool;
}

/* --- help ------------------------------------------------------------------------------------ */

static bool has_options(const struct tool *tool)
{
    return tool->options[0].name != NULL;
}

static void put_usage(FILE *to, const struct tool *tool)
{
    fprintf(to, "emmapd %s%s %s", tool->name, has_options(tool) ? " [OPTION]..." : "",
            tool->arguments);
}

void tools_list(FILE *to)
{
    fputs("subcommands, without a node; `emmapd help SUBCOMMAND` tells more:\n", to);
    for (const struct tool *tool = tool_rows; tool->name != NULL; tool++) {
        fputs("  ", to);
        put_usage(to, tool);
        fprintf(to, ": %s\n", tool->help);
    }
}

static void put_help(FILE *to, const struct tool *tool)
{
    fputs("usage: ", to);
    put_usage(to, tool);
    fprintf(to, "\n%s\n", tool->help);
    for (const struct tool_option *o = tool->options; o->name != NULL; o++) {
        char left[40];
        snprintf(left, sizeof left, "--%s %s", o->name, o->argument != NULL ? o->argument : "");
        fprintf(to, "  %-20s %s\n", left, o->help);
    }
}

static int help(int argc, char **argv)
{
    if (argc == 1) {
        tools_list(stdout);
        return TOOL_DONE;
    }
    const struct tool *tool = find(argv[1]);
    if (tool == NULL || argc > 2) {
        fprintf(stderr, "emmapd: help %.120s: no such subcommand\n", argv[1]);
        return TOOL_FAILED;
    }
    put_help(stdout, tool);
    return TOOL_DONE;
}

/* --- the command line ------------------------------------------------------------------------ */

static int misused(const struct tool *tool, const char *what, const char *why)
{
    fprintf(stderr, "emmapd: %s%s%.120s: %s\nusage: ", tool->name, what[0] == '\0' ? "" : " ", what,
            why);
    put_usage(stderr, tool);
    fputc('\n', stderr);
    return TOOL_FAILED;
}

/* What getopt_long answers for row 0; the last is --help. */
enum { FIRST_ROW = 256, HELP = FIRST_ROW + TOOL_OPTIONS };

static void long_options(const struct tool *tool, struct option longs[TOOL_OPTIONS + 2])
{
    int n = 0;
    memset(longs, 0, (TOOL_OPTIONS + 2) * sizeof *longs);
    for (; n < TOOL_OPTIONS && tool->options[n].name != NULL; n++)
        longs[n] = (struct option){.name = tool->options[n].name,
                                   .has_arg = tool->options[n].argument != NULL,
                                   .val = FIRST_ROW + n};
    longs[n] = (struct option){.name = "help", .val = HELP};
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct option longs[TOOL_OPTIONS + 2];
    struct tool_call call = {.tool = tool};
    int found;
    long_options(tool, longs);
    optind = 0; /* also resets getopt, for a second tool in one process */
    opterr = 0;
    while ((found = getopt_long(argc, argv, ":", longs, NULL)) >= FIRST_ROW) {
        if (found == HELP) {
            put_help(stdout, tool);
            return TOOL_DONE;
        }
        call.values[found - FIRST_ROW] = optarg == NULL ? "" : optarg;
    }
    if (found != -1)
        return misused(tool, argv[optind - 1],
                       found == ':' ? "a value is missing" : "no such option, or more than one");
    call.n = argc - optind;
    call.arguments = argv + optind;
    if (call.n < tool->least)
        return misused(tool, "", "an argument is missing");
    if (tool->most > 0 && call.n > tool->most)
        return misused(tool, call.arguments[tool->most], "one argument too many");
    return tool->run(&call);
}

/* A reader of standard output that is gone ends us, as it ends other programs. */
int tools_run(int argc, char **argv)
{
    const struct tool *tool = find(argv[0]);
    int exit_code = TOOL_FAILED;
    signal(SIGPIPE, SIG_DFL);
    guard_install();
    if (tool != NULL) {
        exit_code = run(tool, argc, argv);
    } else if (strcmp(argv[0], "help") == 0) {
        exit_code = help(argc, argv);
    } else {
        fprintf(stderr, "emmapd: %.120s: no such subcommand; for options see --help\n", argv[0]);
        tools_list(stderr);
    }
    if (fflush(stdout) == 0 && !ferror(stdout))
        return exit_code;
    return tool_say(TOOL_FAILED, "standard output", strerror(errno));
}

int tool_misused(const struct tool_call *call, const char *what, const char *why)
{
    return misused(call->tool, what, why);
}

const char *tool_value(const struct tool_call *call, const char *option)
{
    const struct tool_option *o = call->tool->options;
    for (int i = 0; i < TOOL_OPTIONS && o[i].name != NULL; i++)
        if (strcmp(o[i].name, option) == 0)
            return call->values[i];
    return NULL;
}

bool tool_number(const struct tool_call *call, const char *option, uint64_t min, uint64_t max,
                 uint64_t *v)
{
    const char *text = tool_value(call, option);
    char why[100];
    if (text == NULL)
        return true;
    const bool digits =
        text[0] != '\0' && strlen(text) <= 18 && text[strspn(text, "0123456789")] == '\0';
    const uint64_t n = digits ? strtoull(text, NULL, 10) : 0;
    if (digits && n >= min && n <= max) {
        *v = n;
        return true;
    }
    snprintf(why, sizeof why, "--%s: a number from %ju to %ju is due", option, (uintmax_t)min,
             (uintmax_t)max);
    misused(call->tool, text, why);
    return false;
}
