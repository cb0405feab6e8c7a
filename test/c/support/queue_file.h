/* A queue in a file of one test's own. Each call fails the test where it does not succeed. */
#ifndef SUPPORT_QUEUE_FILE_H
#define SUPPORT_QUEUE_FILE_H

#include "store/queue.h"

struct queue_file {
    char *dir;
    struct object object;
    struct turn now; /* of all calls; may wait */
};

/* An empty one, open. */
void queue_file_make(struct queue_file *f);
void queue_file_open(struct queue_file *f);

/* As queue_file_open, but queue_open may refuse it; then it is not open. */
enum err queue_file_try(struct queue_file *f, char why[QUEUE_WHY]);

/* Leaves the file as kill -9 would. */
void queue_file_kill(struct queue_file *f);

/* Closes it, where it is open, and removes it. */
void queue_file_remove(struct queue_file *f);

/* n items of len zeros each. */
void queue_file_push(struct queue_file *f, size_t len, size_t n);

/* The next item, leased; with a checkpoint, where that has to be first. NULL: none. */
struct item *queue_file_take(struct queue_file *f);
void queue_file_pop(struct queue_file *f, size_t n);

/* One from the beginning to the end. */
void queue_file_checkpoint(struct queue_file *f);
struct queue_info queue_file_look(struct queue_file *f);

/* Items of all states and of both logs, such as were popped between them, and some that no
 * checkpoint knows of; of the longer items 8 of `len` bytes. */
void queue_file_fill(struct queue_file *f, size_t len);

#endif
