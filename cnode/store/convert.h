/* Queue files of the NIF library saleyn/emmap become queues of ours when they are opened, whole or
 * not at all (FORMAT.md 3). */
#ifndef STORE_CONVERT_H
#define STORE_CONVERT_H

#include "store/object.h"

/* convert_queue looks at the file that the opening has found, and, where it is one of the NIF
 * library's, puts a queue of ours in its place; the old file stays as NAME.nif. `fd` is that of the
 * queue then. What is no such file is left alone, and OK. ERR_LOCKED: somebody uses it; ERR_EEXIST:
 * another file is called NAME.nif. */
enum err convert_queue(const struct paths *paths, struct opening *o);

#endif
