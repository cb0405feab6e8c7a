/* The list of registered queues on disk. Several daemons may serve one directory, each with queues
 * of its own: each changes only its own lines. */
#ifndef PROTO_REGISTRY_FILE_H
#define PROTO_REGISTRY_FILE_H

#include <stdio.h>

#include "sys/buf.h"
#include "sys/err.h"

/* A longer one is none of ours. */
enum { REGISTRY_FILE_MOST = 256 << 20 };

/* registry_file_open opens it for reading; -1 and errno. */
int registry_file_open(const char *data_dir);

/* registry_file_write makes the changes that lead from the lines `known`, as they were read or
 * written last, to the lines `own`; what others have put there or taken out since stays so. On disk
 * afterwards; in a worker. *replaced: the file has the changes, even where an error follows.
 * ERR_LOCKED: another daemon has had it for more than five seconds. */
enum err registry_file_write(const char *data_dir, struct span known, struct span own,
                             bool *replaced);

#endif
