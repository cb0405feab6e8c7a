/* The bytes of queue files: as queues leave them, and as no queue does, under good hashes. */
#ifndef FUZZ_QUEUE_IMAGE_H
#define FUZZ_QUEUE_IMAGE_H

#include "fuzz/dice.h"
#include "sys/buf.h"

/* image_make appends a file as it may be at any moment. It uses the file in memory. */
void image_make(struct dice *d, struct buf *image);

/* image_change changes the bytes from `at` on; hashes that have been good mostly are so after it.
 */
void image_change(struct dice *d, struct buf *image, size_t at);

#endif
