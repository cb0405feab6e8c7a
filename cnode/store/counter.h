/* Counters: "EMMAP01\n", their number N, N values of 64 bits (FORMAT.md). */
#ifndef STORE_COUNTER_H
#define STORE_COUNTER_H

#include "store/object.h"
#include "store/put.h"

enum { COUNTER_HEADER = 16 };

/* As many as a file can hold. */
#define COUNTER_MOST ((uint64_t)1 << 42)

/* The bytes of a file with n counters; its header. */
uint64_t counter_file_size(uint64_t n);
void counter_header(uint64_t n, uint8_t header[COUNTER_HEADER]);

/* counter_count tells how many counters a mapped file has. ERR_FILE_HEADER: it is no file of
 * counters, or shorter than it says. */
enum err counter_count(const struct map *m, uint64_t *n);

/* counter_grow makes room for n counters, the new ones 0. */
enum err counter_grow(struct object *object, uint64_t n);

/* One change, atomic; the value before. ERR_BADARG: there is no such counter. */
enum err counter_put(struct object *object, uint64_t i, enum word_op op, int64_t v, int64_t *old);
enum err counter_get(struct object *object, uint64_t i, int64_t *v);

#endif
