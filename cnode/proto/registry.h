/* Queues that are processes of this node: which name leads to which file. The file
 * DATA_DIR/.emmap/registered tells a daemon that starts (store/FORMAT.md 2.1). */
#ifndef PROTO_REGISTRY_H
#define PROTO_REGISTRY_H

#include "proto/engine.h"

struct process {
    UT_hash_handle hh;        /* by name */
    UT_hash_handle by_number; /* which is another after each of its ends */
    uint32_t number;
    char *path;
    char name[];
};

/* registry_load reads what an earlier daemon has left; lines that make no sense are told to the log
 * and left out. */
void registry_load(struct server *s);
void registry_free(struct server *s);

/* NULL: nobody has this name, this number. */
const struct process *registry_named(const struct server *s, const char *name);
const struct process *registry_numbered(const struct server *s, uint32_t number);

/* May a queue be called so? Not as what is there anyway. */
bool registry_is_allowed(const char *name);

/* registry_claim: the name is this file's from now on. ERR_REGISTERED: it is another's. *again: it
 * was before. registry_release: the file's process ends, for this reason (an atom); `for_good`: and
 * its name is nobody's. */
enum err registry_claim(struct server *s, const char *name, const char *path, bool *again);
void registry_release(struct server *s, const char *path, const char *reason, bool for_good);

/* registry_text makes the content of the file, without the lines of one path; of several texts the
 * one with the greatest serial is the newest. registry_write puts it in place, durably, unless a
 * newer one is there; any thread. */
struct registry_text {
    struct buf text;
    uint64_t serial;
    const char *data_dir;
};
void registry_text(struct server *s, const char *without, struct registry_text *to);
enum err registry_write(const struct registry_text *text);

#endif
