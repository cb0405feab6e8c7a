/* Queue files of the NIF library saleyn/emmap become queues of ours when they are opened, whole or
 * not at all: FORMAT.md, section 3. */
#ifndef STORE_CONVERT_H
#define STORE_CONVERT_H

#include "store/object.h"

/* convert_into fills the empty file fd with a queue that has all the items still to come, pushed at
 * time_ms, and counts them; it is durable then. The object takes fd over, also on failure, and has
 * no queue any more, but still the map. ERR_NOT_QUEUE, ERR_MAX_FRAME: an item is none of ours.
 * Waits for disks. */
enum err convert_into(struct object *fresh, int fd, struct nif_queue *items, const char *path,
                      uint64_t time_ms, uint64_t now_ms, uint64_t *count);

/* convert looks at the file that the opening has found. Where it is a queue of the NIF library's,
 * a queue of ours with its items takes its name, and `fd` is that one's, locked; the old file is
 * called NAME.nif then. All else is left alone, and OK, also a file that somebody else holds
 * (`in_use`).
 * An error leaves `fd` as it was, and the old file under its name, but where only the sync of the
 * directory failed. ERR_STALE: the name leads to another file by now. ERR_EEXIST: another file is
 * called NAME.nif. ERR_ELOOP: the name is a link. ERR_MAX_FRAME: an item is too long for a queue of
 * ours. ERR_EPERM: its owner cannot be kept. Waits for disks; memory for 1 MiB or one item. */
enum err convert(const struct paths *paths, struct opening *o);

#endif
