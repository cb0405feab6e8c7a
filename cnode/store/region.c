#include "store/region.h"

#include "store/failed.h"
#include "sys/guard.h"

static enum err noted(struct object *object, enum err e)
{
    return e == ERR_EIO ? object_page_failed(object) : e;
}

bool region_has(const struct object *object, uint64_t pos, uint64_t len)
{
    return pos <= object->map.size && len <= object->map.size - pos;
}

enum err region_read(struct object *object, uint64_t pos, void *to, size_t len)
{
    must(region_has(object, pos, len));
    return noted(object, guard_copy(to, object->map.at + pos, len) ? OK : ERR_EIO);
}

enum err region_write(struct object *object, uint64_t pos, const void *from, size_t len)
{
    enum err e = object_writable(object);
    if (e != OK)
        return e;
    const bool big = object_pass(object, len);
    e = put_bytes(object, pos, from, len);
    if (big)
        e = object_passed(object, e);
    return noted(object, e);
}

enum err region_word(struct object *object, uint64_t pos, enum word_op op, int64_t expected,
                     int64_t v, int64_t *old)
{
    if (pos % 8 != 0)
        return ERR_ALIGNMENT;
    enum err e = object_writable(object);
    return e != OK ? e : noted(object, put_word(object, pos, op, expected, v, old));
}

struct word_read {
    const int64_t *word;
    int64_t v;
};

static void word_touch(void *arg)
{
    struct word_read *r = arg;
    r->v = __atomic_load_n(r->word, __ATOMIC_SEQ_CST);
}

enum err region_read_word(struct object *object, uint64_t pos, int64_t *v)
{
    if (pos % 8 != 0)
        return ERR_ALIGNMENT;
    must(region_has(object, pos, 8));
    struct word_read r = {.word = (const int64_t *)(const void *)(object->map.at + pos)};
    if (!guard_run(word_touch, &r))
        return noted(object, ERR_EIO);
    *v = r.v;
    return OK;
}

struct search {
    const uint8_t *from;
    size_t len;
    uint8_t byte;
    const uint8_t *found;
};

static void search_touch(void *arg)
{
    struct search *s = arg;
    s->found = memchr(s->from, s->byte, s->len);
}

enum err region_find(struct object *object, uint64_t pos, uint64_t len, uint8_t byte,
                     uint64_t *found)
{
    must(region_has(object, pos, len));
    struct search s = {.from = object->map.at + pos, .len = len, .byte = byte};
    if (!guard_run(search_touch, &s))
        return noted(object, ERR_EIO);
    *found = s.found == NULL ? pos + len : (uint64_t)(s.found - object->map.at);
    return OK;
}
