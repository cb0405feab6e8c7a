#include "store/counter.h"

#include "store/region.h"
#include "sys/guard.h"

static const char magic[8] = {'E', 'M', 'M', 'A', 'P', '0', '1', '\n'};

uint64_t counter_file_size(uint64_t n)
{
    must(n <= COUNTER_MOST);
    return COUNTER_HEADER + 8 * n;
}

void counter_header(uint64_t n, uint8_t header[COUNTER_HEADER])
{
    memcpy(header, magic, sizeof magic);
    put_le64(header + sizeof magic, n);
}

enum err counter_count(const struct map *m, uint64_t *n)
{
    uint8_t header[COUNTER_HEADER];
    if (m->size < sizeof header)
        return ERR_FILE_HEADER;
    if (!guard_copy(header, m->at, sizeof header))
        return ERR_EIO;
    uint64_t count = get_le64(header + sizeof magic);
    if (memcmp(header, magic, sizeof magic) != 0 || count > COUNTER_MOST ||
        counter_file_size(count) > m->size)
        return ERR_FILE_HEADER;
    *n = count;
    return OK;
}

/* The values first, and on disk before the number names them: a growth that a power cut undid may
 * have left old values there. */
enum err counter_grow(struct object *object, uint64_t n)
{
    static const uint8_t zeros[4096];
    enum err e = object_writable(object);
    if (e == OK && counter_file_size(n) > object->map.size)
        e = object_resize(object, counter_file_size(n));
    const uint64_t end = e == OK ? counter_file_size(n) : 0;
    for (uint64_t pos = counter_file_size(object->count); e == OK && pos < end;) {
        size_t len = end - pos < sizeof zeros ? (size_t)(end - pos) : sizeof zeros;
        e = put_bytes(object, pos, zeros, len);
        pos += len;
    }
    if (e == OK)
        e = object_sync(object);
    int64_t old;
    if (e == OK)
        e = put_word(object, sizeof magic, WORD_XCHG, 0, (int64_t)n, &old);
    if (e == OK)
        object->count = n;
    return e;
}

static bool has(const struct object *object, uint64_t i)
{
    return i < object->count;
}

/* The file may have been cut since it was opened: then the counter is lost, not wrong. */
static enum err place(const struct object *object, uint64_t i, uint64_t *pos)
{
    if (!has(object, i))
        return ERR_BADARG;
    *pos = counter_file_size(i);
    return region_has(object, *pos, 8) ? OK : ERR_EIO;
}

enum err counter_put(struct object *object, uint64_t i, enum word_op op, int64_t v, int64_t *old)
{
    uint64_t pos;
    enum err e = place(object, i, &pos);
    return e != OK ? e : region_word(object, pos, op, 0, v, old);
}

enum err counter_get(struct object *object, uint64_t i, int64_t *v)
{
    uint64_t pos;
    enum err e = place(object, i, &pos);
    return e != OK ? e : region_read_word(object, pos, v);
}
