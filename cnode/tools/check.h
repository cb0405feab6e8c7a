/* What check, dump, info and repair have in common: the file, the options, how it ends. */
#ifndef TOOLS_CHECK_H
#define TOOLS_CHECK_H

#include "tools/look.h"
#include "tools/out.h"

/* The options that check_open reads, as rows of a tool. */
#define CHECK_LIVE                                                                                 \
    {                                                                                              \
        .name = "live", .help = "look also at a file that a daemon has open, as it is just now"    \
    }
#define CHECK_ALONE                                                                                \
    {                                                                                              \
        .name = "alone", .help = "without what a journal has of the file"                          \
    }
#define CHECK_KIND                                                                                 \
    {                                                                                              \
        .name = "kind", .argument = "KIND",                                                        \
        .help = "the file shall be this: queue, blocks, counters, region, nif_queue, journal"      \
    }

/* check_open opens the file as the options say, and begins `c`. TOOL_DONE, or the exit status. */
int check_open(struct look *l, const struct tool_call *call, const char *path, struct check *c);

/* check_end gives the exit status for what check_file gave; what has not been told yet it tells. */
int check_end(const struct look *l, enum err e);

/* check_line writes a finding to standard output, "FILE: damaged: ..." */
void check_line(struct out *out, const struct look *l, const struct check_finding *f);

#endif
