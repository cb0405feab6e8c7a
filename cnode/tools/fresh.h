/* A file that a tool makes: complete under its name, or not there (store/new_file.h). */
#ifndef TOOLS_FRESH_H
#define TOOLS_FRESH_H

#include <sys/stat.h>

#include "store/new_file.h"
#include "tools/tools.h"

struct fresh {
    const char *path;
    struct new_file file;
};

/* fresh_open gives an empty file that has no name yet, with the mode and, where that may be, the
 * owner of `like`. A name that is taken is refused. TOOL_DONE, or the exit status after the reason
 * has been told; then there is nothing to close. */
int fresh_open(struct fresh *f, const char *path, const struct stat *like);

/* fresh_descriptor is one more of the file, for who fills it and closes what he has. */
enum err fresh_descriptor(const struct fresh *f, int *fd);

/* fresh_keep makes the file durable and gives it its name. fresh_drop lets it go. */
int fresh_keep(struct fresh *f);
void fresh_drop(struct fresh *f);

/* fresh_fail tells what is wrong with the new file. */
int fresh_fail(const char *path, enum err e);

#endif
