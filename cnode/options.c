#include "options.h"

#include <getopt.h>

#define AT(field) offsetof(struct options, field)
#define GIB       ((uint64_t)1 << 30)

/* Half of the address space of x86-64: no map can be longer. */
#define MAPPED_MOST ((uint64_t)1 << 46)

const struct option_row option_rows[] = {
    {.name = "name",
     .argument = "NAME",
     .kind = OPTION_TEXT,
     .offset = AT(name),
     .help = "long node name; without @HOST at 127.0.0.1"},
    {.name = "sname",
     .argument = "NAME",
     .kind = OPTION_TEXT,
     .offset = AT(sname),
     .help = "short node name; without @HOST at localhost (emmap@localhost)"},
    {.name = "cookie-file",
     .argument = "FILE",
     .initial = "~/.erlang.cookie",
     .kind = OPTION_TEXT,
     .offset = AT(cookie_file),
     .help = "where the cookie is; - is standard input, up to the end of a line"},
    {.name = "peer-cookie",
     .argument = "NODE=FILE",
     .kind = OPTION_COOKIES,
     .offset = AT(peer_cookies),
     .help = "where the cookie of this one node is, ALIVE@HOST=FILE; may be repeated"},
    {.name = "data-dir",
     .argument = "DIR",
     .initial = "/var/lib/emmap",
     .kind = OPTION_TEXT,
     .offset = AT(data_dir),
     .help = "where relative file names begin; made if missing"},
    {.name = "allow-path",
     .argument = "PREFIX",
     .kind = OPTION_PATHS,
     .offset = AT(allow_paths),
     .help = "absolute path beneath which files may be opened, too; may be repeated"},
    {.name = "listen",
     .argument = "ADDRESS",
     .kind = OPTION_TEXT,
     .offset = AT(listen),
     .help = "IPv4 address to listen at, where the host of the name is not this host's own"},
    {.name = "port",
     .argument = "PORT",
     .initial = "0",
     .kind = OPTION_NUMBER,
     .offset = AT(port),
     .max = 65535,
     .help = "TCP port to listen at; 0 is any"},
    {.name = "any-file-system",
     .kind = OPTION_FLAG,
     .offset = AT(any_file_system),
     .help = "serve files on network and other unproven file systems, too"},
    {.name = "log-file",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .offset = AT(log_file),
     .help = "append the log to this file instead of standard error"},
    {.name = "log-level",
     .argument = "LEVEL",
     .initial = "notice",
     .kind = OPTION_LEVEL,
     .offset = AT(log_level),
     .help = "error, warning, notice, info or debug"},
    {.name = "stop-on-eof",
     .kind = OPTION_FLAG,
     .offset = AT(stop_on_eof),
     .help = "end when standard input is closed"},
    {.name = "allow-root",
     .kind = OPTION_FLAG,
     .offset = AT(allow_root),
     .help = "run also as root"},
    {.name = "sandbox",
     .argument = "on|off",
     .initial = "on",
     .kind = OPTION_SWITCH,
     .offset = AT(sandbox),
     .help = "let the kernel refuse what the daemon never does"},
    {.name = "max-frame",
     .argument = "BYTES",
     .initial = "67108864",
     .kind = OPTION_NUMBER,
     .offset = AT(max_frame),
     .min = 4096,
     .max = GIB,
     .help = "longest message, either way"},
    {.name = "max-objects",
     .argument = "N",
     .initial = "10000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_objects),
     .min = 1,
     .max = UINT32_MAX,
     .help = "files open at once"},
    {.name = "max-object-bytes",
     .argument = "BYTES",
     .initial = "1099511627776",
     .kind = OPTION_NUMBER,
     .offset = AT(max_object_bytes),
     .min = 4096,
     .max = MAPPED_MOST,
     .help = "longest file or memory of one object"},
    {.name = "max-mapped",
     .argument = "BYTES",
     .initial = "17592186044416",
     .kind = OPTION_NUMBER,
     .offset = AT(max_mapped),
     .min = 4096,
     .max = MAPPED_MOST,
     .help = "all objects together"},
    {.name = "max-handles",
     .argument = "N",
     .initial = "100000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_handles),
     .min = 1,
     .max = UINT32_MAX,
     .help = "handles that one node has open at once"},
    {.name = "max-all-handles",
     .argument = "N",
     .initial = "400000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_all_handles),
     .min = 1,
     .max = UINT32_MAX,
     .help = "the same of all nodes together"},
    {.name = "max-pending",
     .argument = "N",
     .initial = "10000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_pending),
     .min = 1,
     .max = UINT32_MAX,
     .help = "requests of one node that wait in line"},
    {.name = "max-all-pending",
     .argument = "N",
     .initial = "40000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_all_pending),
     .min = 1,
     .max = UINT32_MAX,
     .help = "the same of all nodes together"},
    {.name = "max-pending-bytes",
     .argument = "BYTES",
     .initial = "1048576",
     .kind = OPTION_NUMBER,
     .offset = AT(max_pending_bytes),
     .min = 1,
     .max = GIB,
     .help = "bytes of these requests; one is always admitted"},
    {.name = "max-all-pending-bytes",
     .argument = "BYTES",
     .initial = "268435456",
     .kind = OPTION_NUMBER,
     .offset = AT(max_all_pending_bytes),
     .min = 1,
     .max = GIB * 1024,
     .help = "the same of all nodes, with what their batches hold; one request is admitted"},
    {.name = "max-leases",
     .argument = "N",
     .initial = "1000000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_leases),
     .min = 1,
     .max = UINT32_MAX,
     .help = "items that one node holds at once, with the unused credit of its subscriptions"},
    {.name = "max-all-leases",
     .argument = "N",
     .initial = "4000000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_all_leases),
     .min = 1,
     .max = UINT32_MAX,
     .help = "the same of all nodes together"},
    {.name = "max-waiting",
     .argument = "N",
     .initial = "100000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_waiting),
     .min = 1,
     .max = UINT32_MAX,
     .help = "requests of one node that wait for items"},
    {.name = "max-all-waiting",
     .argument = "N",
     .initial = "400000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_all_waiting),
     .min = 1,
     .max = UINT32_MAX,
     .help = "the same of all nodes together"},
    {.name = "max-subscribers",
     .argument = "N",
     .initial = "10000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_subscribers),
     .min = 1,
     .max = UINT32_MAX,
     .help = "subscriptions of one node"},
    {.name = "max-all-subscribers",
     .argument = "N",
     .initial = "40000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_all_subscribers),
     .min = 1,
     .max = UINT32_MAX,
     .help = "the same of all nodes together"},
    {.name = "max-processes",
     .argument = "N",
     .initial = "100000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_processes),
     .min = 1,
     .max = UINT32_MAX,
     .help = "processes that one node has spawned here and that are not over"},
    {.name = "max-unsent",
     .argument = "BYTES",
     .initial = "16777216",
     .kind = OPTION_NUMBER,
     .offset = AT(max_unsent),
     .min = 4096,
     .max = GIB,
     .help = "unsent answers to a node, beyond which it is not read"},
    {.name = "unsent-timeout",
     .argument = "MS",
     .initial = "30000",
     .kind = OPTION_NUMBER,
     .offset = AT(unsent_timeout),
     .min = 100,
     .max = UINT32_MAX,
     .help = "after which such a node is dropped if it reads nothing"},
    {.name = "max-half-open",
     .argument = "N",
     .initial = "64",
     .kind = OPTION_NUMBER,
     .offset = AT(max_half_open),
     .min = 1,
     .max = UINT32_MAX,
     .help = "connections in their handshake; the oldest makes room"},
    {.name = "max-connections",
     .argument = "N",
     .initial = "1000",
     .kind = OPTION_NUMBER,
     .offset = AT(max_connections),
     .min = 1,
     .max = UINT32_MAX,
     .help = "nodes connected at once; another one is refused"},
    {.name = "reserve-fds",
     .argument = "N",
     .initial = "1100",
     .kind = OPTION_NUMBER,
     .offset = AT(reserve_fds),
     .min = 0,
     .max = UINT32_MAX,
     .help = "descriptors that no object gets, of those that the process may have"},
    {.name = "handshake-timeout",
     .argument = "MS",
     .initial = "5000",
     .kind = OPTION_NUMBER,
     .offset = AT(handshake_timeout),
     .min = 10,
     .max = UINT32_MAX,
     .help = "for the whole handshake of a connection"},
    {.name = "journal-size",
     .argument = "BYTES",
     .initial = "67108864",
     .kind = OPTION_NUMBER,
     .offset = AT(journal_size),
     .min = 8 << 20,
     .max = 64 * GIB,
     .help = "each half of the journal of durable objects, made with the first of these"},
    {.name = "adopt-journals",
     .kind = OPTION_FLAG,
     .offset = AT(adopt_journals),
     .help = "replay journals that a daemon elsewhere has left, to open files they are about"},
    {.name = "version",
     .kind = OPTION_END,
     .offset = OPTIONS_VERSION,
     .help = "print the version and end"},
    {.name = "help", .kind = OPTION_END, .offset = OPTIONS_HELP, .help = "print this and end"},
    {.name = NULL},
};

enum { ROWS = sizeof option_rows / sizeof option_rows[0] - 1 };

static void *field(struct options *o, const struct option_row *row)
{
    return (char *)o + row->offset;
}

static bool is_digits(const char *text)
{
    return text[0] != '\0' && strlen(text) <= 18 && text[strspn(text, "0123456789")] == '\0';
}

static bool bad(char *why, const struct option_row *row, const char *value, const char *what)
{
    snprintf(why, OPTIONS_WHY, "--%s %.120s: %s", row->name, value[0] == '\0' ? "''" : value, what);
    return false;
}

static bool take_number(struct options *o, const struct option_row *row, const char *text,
                        char *why)
{
    const uint64_t v = is_digits(text) ? strtoull(text, NULL, 10) : UINT64_MAX;
    char what[80];
    snprintf(what, sizeof what, "a number from %llu to %llu is due", (unsigned long long)row->min,
             (unsigned long long)row->max);
    if (v < row->min || v > row->max)
        return bad(why, row, text, what);
    *(uint64_t *)field(o, row) = v;
    return true;
}

static bool take_switch(struct options *o, const struct option_row *row, const char *text,
                        char *why)
{
    const bool on = strcmp(text, "on") == 0;
    if (!on && strcmp(text, "off") != 0)
        return bad(why, row, text, "on or off is due");
    *(bool *)field(o, row) = on;
    return true;
}

static bool append(struct options *o, const struct option_row *row, const char *text, char *why)
{
    const char ***list = field(o, row);
    size_t n = 0;
    while ((*list)[n] != NULL)
        n++;
    const char **longer = realloc(*list, (n + 2) * sizeof *longer);
    if (longer == NULL)
        return bad(why, row, text, "no memory");
    longer[n] = text;
    longer[n + 1] = NULL;
    *list = longer;
    return true;
}

static bool take_path(struct options *o, const struct option_row *row, const char *text, char *why)
{
    if (text[0] != '/')
        return bad(why, row, text, "an absolute path is due");
    return append(o, row, text, why);
}

static bool take_cookie(struct options *o, const struct option_row *row, const char *text,
                        char *why)
{
    const size_t node = strcspn(text, "=");
    if (memchr(text, '@', node) == NULL || text[node] == '\0' || text[node + 1] == '\0')
        return bad(why, row, text, "ALIVE@HOST=FILE is due");
    for (const char **other = o->peer_cookies; *other != NULL; other++)
        if (strncmp(*other, text, node + 1) == 0)
            return bad(why, row, text, "this node has a cookie already");
    return append(o, row, text, why);
}

static bool take(struct options *o, const struct option_row *row, const char *text, char *why)
{
    switch (row->kind) {
    case OPTION_NUMBER: return take_number(o, row, text, why);
    case OPTION_PATHS: return take_path(o, row, text, why);
    case OPTION_COOKIES: return take_cookie(o, row, text, why);
    case OPTION_FLAG: *(bool *)field(o, row) = true; return true;
    case OPTION_SWITCH: return take_switch(o, row, text, why);
    case OPTION_LEVEL:
        return log_level_named(text, field(o, row)) || bad(why, row, text, row->help);
    case OPTION_TEXT:
        if (text[0] == '\0')
            return bad(why, row, text, "the value is empty");
        *(const char **)field(o, row) = text;
        return true;
    default: return true;
    }
}

static bool set_initial(struct options *o, char *why)
{
    *o = (struct options){.allow_paths = calloc(1, sizeof *o->allow_paths),
                          .peer_cookies = calloc(1, sizeof *o->peer_cookies)};
    if (o->allow_paths == NULL || o->peer_cookies == NULL) {
        snprintf(why, OPTIONS_WHY, "no memory");
        return false;
    }
    for (int i = 0; i < ROWS; i++)
        if (option_rows[i].initial != NULL)
            must(take(o, &option_rows[i], option_rows[i].initial, why));
    return true;
}

static bool is_whole(const struct options *o, int argc, char **argv, char *why)
{
    if (optind < argc)
        snprintf(why, OPTIONS_WHY, "%.120s: no such argument", argv[optind]);
    else if (o->name != NULL && o->sname != NULL)
        snprintf(why, OPTIONS_WHY, "--name %.80s --sname %.80s: only one of the two", o->name,
                 o->sname);
    else
        return true;
    return false;
}

/* What getopt_long answers for row 0. A number for each row, so that it takes the beginning of a
 * name only where that is one option. */
enum { FIRST_ROW = 256 };

static enum options_result read_all(struct options *o, int argc, char **argv, char *why)
{
    struct option longs[ROWS + 1] = {{0}};
    int found;
    for (int i = 0; i < ROWS; i++)
        longs[i] = (struct option){.name = option_rows[i].name,
                                   .has_arg = option_rows[i].argument != NULL,
                                   .val = FIRST_ROW + i};
    optind = 0; /* also resets getopt, for a second reading in one process */
    opterr = 0;
    while ((found = getopt_long(argc, argv, ":", longs, NULL)) >= FIRST_ROW) {
        const struct option_row *row = &option_rows[found - FIRST_ROW];
        if (row->kind == OPTION_END)
            return (enum options_result)row->offset;
        if (!take(o, row, optarg, why))
            return OPTIONS_BAD;
    }
    if (found == ':' || found == '?') {
        snprintf(why, OPTIONS_WHY, "%.120s: %s", argv[optind - 1],
                 found == ':' ? "a value is missing"
                              : "no option, more than one, or not with a value; see --help");
        return OPTIONS_BAD;
    }
    return is_whole(o, argc, argv, why) ? OPTIONS_RUN : OPTIONS_BAD;
}

enum options_result options_read(struct options *o, int argc, char **argv, char why[OPTIONS_WHY])
{
    return set_initial(o, why) ? read_all(o, argc, argv, why) : OPTIONS_BAD;
}

void options_free(struct options *o)
{
    free(o->allow_paths);
    free(o->peer_cookies);
    o->allow_paths = NULL;
    o->peer_cookies = NULL;
}

void options_help(FILE *to)
{
    fputs("usage: emmapd [OPTION]...\n"
          "       emmapd SUBCOMMAND [OPTION]... [ARGUMENT]...\n"
          "A hidden Erlang node that owns memory-mapped files.\n\n",
          to);
    for (int i = 0; i < ROWS; i++) {
        const struct option_row *row = &option_rows[i];
        char left[40];
        snprintf(left, sizeof left, "--%s %s", row->name, row->argument ? row->argument : "");
        fprintf(to, "  %-25s %s", left, row->help);
        if (row->initial != NULL)
            fprintf(to, " (%s)", row->initial);
        fputc('\n', to);
    }
}
