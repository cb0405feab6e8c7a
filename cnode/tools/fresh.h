/* A file that a tool makes: complete under its name, or not there. */
#ifndef TOOLS_FRESH_H
#define TOOLS_FRESH_H

#include <limits.h>
#include <sys/stat.h>

#include "tools/tools.h"

struct fresh {
    const char *path;
    const char *last; /* within path */
    int dir;
    char temporary[32]; /* where there are no unnamed files, else "" */
};

/* fresh_open gives an empty file that has no name yet, with the mode and, where that may be, the
 * owner of `like`. A name that is taken is refused. TOOL_DONE, or the exit status after the reason
 * has been told; then there is nothing to close. */
int fresh_open(struct fresh *f, const char *path, const struct stat *like, int *fd);

/* fresh_keep makes the file durable and gives it its name. fresh_close lets what has no name go.
 * Who has the descriptor closes it. */
int fresh_keep(struct fresh *f, int fd);
void fresh_close(struct fresh *f);

#endif
