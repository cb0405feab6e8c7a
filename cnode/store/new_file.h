/* A new file: complete and on the disk under its name, or not there. Until then it has no name, or,
 * where the file system has no unnamed files, one that nobody asks for. */
#ifndef STORE_NEW_FILE_H
#define STORE_NEW_FILE_H

#include "sys/path.h"

struct new_file {
    struct place place; /* `last` is a view of the name that was given */
    int fd;
    char temporary[32]; /* "": it has no name yet */
};

/* new_file_begin makes one that is empty, for `full` as path_resolve made it. ERR_EEXIST: something
 * has that name. ERR_ENOTSUP: the file system does not keep what a sync promises, and `any` does
 * not allow for that. */
enum err new_file_begin(struct new_file *f, const struct paths *paths, const char *full,
                        mode_t mode, bool any);

/* new_file_begin_in: the same for a name in a directory that is open, which is taken over, also on
 * failure; on whatever file system. */
enum err new_file_begin_in(struct new_file *f, struct place place, mode_t mode);

/* new_file_write writes bytes at a position that is a multiple of 4096; pages without anything in
 * them stay holes. The file has its length before. */
enum err new_file_write(const struct new_file *f, const uint8_t *bytes, size_t len, uint64_t pos);

/* new_file_end syncs what has been written and gives it its name. On OK the descriptor is the
 * caller's, else there is no file any more. ERR_EEXIST: another one was faster. */
enum err new_file_end(struct new_file *f);

/* new_file_drop: there shall be none, after new_file_begin. */
void new_file_drop(struct new_file *f);

#endif
