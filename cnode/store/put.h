/* The one way to store into a mapping. Nothing else in the engine writes to mapped bytes. What is
 * stored into a durable object is recorded in the journal, too. */
#ifndef STORE_PUT_H
#define STORE_PUT_H

#include "store/object.h"

/* put_bytes copies; only aligned words within are atomic. ERR_EIO: a page failed, bytes before it
 * may be stored; or the journal has. The range lies in the mapping, which is writable. */
enum err put_bytes(struct object *o, uint64_t pos, const void *from, size_t len);

enum word_op { WORD_ADD, WORD_SUB, WORD_AND, WORD_OR, WORD_XOR, WORD_XCHG, WORD_CAS };

/* put_word does one atomic change of the aligned 8 bytes at pos, also towards other programs that
 * map the file, and gives the value before. Sums wrap. CAS stores `v` where `expected` stands. */
enum err put_word(struct object *o, uint64_t pos, enum word_op op, int64_t expected, int64_t v,
                  int64_t *old);

/* put_again stores the byte at pos once more, as it is: its page is to be written to the disk. One
 * atomic operation, also towards other programs. */
enum err put_again(struct object *o, uint64_t pos);

/* Tests may watch every store, as it is made: bytes at a position of a mapping. */
extern void (*put_watch)(const struct map *m, uint64_t pos, const void *from, size_t len);

#endif
