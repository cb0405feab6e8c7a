/* Regions: bytes by position in the file. The caller has checked positions against region_has. */
#ifndef STORE_REGION_H
#define STORE_REGION_H

#include "store/object.h"
#include "store/put.h"

/* Do `len` bytes from pos on lie in the object? */
bool region_has(const struct object *object, uint64_t pos, uint64_t len);

/* ERR_EIO: a page failed, and with it the object. */
enum err region_read(struct object *object, uint64_t pos, void *to, size_t len);
enum err region_write(struct object *object, uint64_t pos, const void *from, size_t len);

/* Atomic changes of the word at pos, see put_word. ERR_ALIGNMENT: pos is no multiple of 8. */
enum err region_word(struct object *object, uint64_t pos, enum word_op op, int64_t expected,
                     int64_t v, int64_t *old);
enum err region_read_word(struct object *object, uint64_t pos, int64_t *v);

/* region_find looks for the byte in len bytes from pos on. *found is its position, or pos + len. */
enum err region_find(struct object *object, uint64_t pos, uint64_t len, uint8_t byte,
                     uint64_t *found);

#endif
