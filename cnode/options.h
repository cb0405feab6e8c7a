/* The command line: a table of options, read into a struct. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "sys/bytes.h"
#include "sys/log.h"

struct options {
    const char *name; /* long; at most one of the two */
    const char *sname;
    const char *cookie_file;
    const char **peer_cookies; /* NODE=FILE, each NODE once; NULL-terminated */
    const char *data_dir;
    const char **allow_paths; /* NULL-terminated */
    const char *listen;
    const char *log_file;
    enum log_level log_level;
    bool any_file_system;
    bool allow_root;
    bool sandbox;
    bool stop_on_eof;
    uint64_t port;
    uint64_t max_frame;
    uint64_t max_objects;
    uint64_t max_object_bytes;
    uint64_t max_mapped;
    uint64_t max_handles;
    uint64_t max_all_handles;
    uint64_t max_pending;
    uint64_t max_all_pending;
    uint64_t max_pending_bytes;
    uint64_t max_all_pending_bytes;
    uint64_t max_leases;
    uint64_t max_all_leases;
    uint64_t max_waiting;
    uint64_t max_all_waiting;
    uint64_t max_subscribers;
    uint64_t max_all_subscribers;
    uint64_t max_processes;
    uint64_t max_unsent;
    uint64_t unsent_timeout;
    uint64_t max_half_open;
    uint64_t max_connections;
    uint64_t reserve_fds;
    uint64_t handshake_timeout;
    uint64_t journal_size;
    bool adopt_journals;
};

enum option_kind {
    OPTION_TEXT,
    OPTION_NUMBER,
    OPTION_FLAG,
    OPTION_SWITCH, /* on or off */
    OPTION_PATHS,
    OPTION_COOKIES,
    OPTION_LEVEL,
    OPTION_END
};

struct option_row {
    const char *name;
    const char *argument; /* its name in the help, NULL: takes none */
    const char *initial;  /* what holds where it is not given; NULL: nothing */
    enum option_kind kind;
    size_t offset; /* in struct options */
    uint64_t min;
    uint64_t max;
    const char *help;
};

/* All options there are; the last row's name is NULL. */
extern const struct option_row option_rows[];

enum options_result {
    OPTIONS_RUN,
    OPTIONS_HELP,    /* --help was asked for */
    OPTIONS_VERSION, /* --version */
    OPTIONS_BAD      /* `why` names the option, the value and what is wrong */
};

enum { OPTIONS_WHY = 300 };

/* options_read: texts point into argv; options_free frees the rest. */
enum options_result options_read(struct options *o, int argc, char **argv, char why[OPTIONS_WHY]);
void options_free(struct options *o);

void options_help(FILE *to);

#endif
