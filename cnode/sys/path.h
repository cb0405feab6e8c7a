/* Names from outside to files: confined to the data directory and the allowed prefixes. */
#ifndef SYS_PATH_H
#define SYS_PATH_H

#include <limits.h>
#include <sys/stat.h>

#include "sys/bytes.h"
#include "sys/err.h"

struct paths;

/* paths_open: the directory relative names are beneath, and absolute prefixes (NULL-terminated).
 * A prefix "/" allows everything. A prefix that cannot be opened is an error; NULL without memory
 * or with errno. */
enum err paths_open(const char *data_dir, const char *const *allowed, struct paths **opened);
void paths_close(struct paths *p);

/* path_resolve writes the absolute name without empty and `.` steps. Two names of one file may
 * still differ (`..`, links). ERR_BADARG: empty, or a zero byte inside. ERR_EACCES: beneath no
 * allowed directory. */
enum err path_resolve(const struct paths *p, struct span name, char full[PATH_MAX]);

/* Is the name beneath a prefix that keeps links inside? Not so beneath "/". */
bool path_is_confined(const struct paths *p, const char *full);

/* A place for a new file: a directory, open, and the last step of the name (within `full`). */
struct place {
    int dir;
    const char *last;
};

/* These take what path_resolve gave. A link that is absolute, or leads out of its
 * prefix: ERR_EACCES, unless the prefix is "/".
 * ERR_NOT_REGULAR: neither file nor link to one. Any thread. */
enum err path_open(const struct paths *p, const char *full, int flags, int *fd);
enum err path_parent(const struct paths *p, const char *full, struct place *place);
enum err path_unlink(const struct paths *p, const char *full);

#endif
