/* A file made of a copy, such as snapshots are: first it is seen whether that is whole. */
#ifndef STORE_RESTORE_H
#define STORE_RESTORE_H

#include "store/object.h"

struct restoring {
    const struct paths *paths;
    const char *to, *from; /* as path_resolve made them */
    bool any_file_system;
    struct journal *journal; /* which may have changes of `from` */
    uint64_t now_ms;         /* since 1970 */

    char why[160];        /* with ERR_DAMAGED */
    char owner[128];      /* with ERR_LOCKED, "": unknown */
    char needs[PATH_MAX]; /* with ERR_NEEDS_JOURNAL */
    uint8_t header[8];    /* with ERR_FILE_HEADER */
};

/* restore makes `to`, with the bytes and the mode of `from`; a queue among them is recovered as at
 * an opening. There is no file unless it is OK. ERR_EEXIST: there is one; ERR_LOCKED: who has
 * `from` open may change it; ERR_DAMAGED: an item or a block of it is, or its header (`why` has
 * what was met first; `emmapd repair` keeps all else); ERR_FILE_HEADER: these are no counters. May
 * wait. */
enum err restore(struct restoring *r);

#endif
