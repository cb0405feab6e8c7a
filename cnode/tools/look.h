/* A file that a tool looks at: opened for reading only, and left as it was. */
#ifndef TOOLS_LOOK_H
#define TOOLS_LOOK_H

#include <sys/stat.h>

#include "store/kind.h"
#include "store/replay.h"
#include "tools/tools.h"

struct look {
    const char *path;
    int fd;
    struct stat st;
    enum file_kind kind;
    bool in_use;      /* by a daemon or another program: it may change meanwhile */
    char owner[128];  /* with in_use; "": unknown */
    bool has_journal; /* a journal has changes of it that the file may not have */
    struct mark mark; /* with has_journal: which */
};

/* look_open opens a regular file and finds out what it is. A file that somebody holds is refused,
 * unless this is `live`; otherwise no daemon gets it for itself alone before look_close. TOOL_DONE,
 * or the exit status after the reason has been told; then there is nothing to close. */
int look_open(struct look *l, const char *path, bool live);
void look_close(struct look *l);

#endif
