#include "store/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/format.h"
#include "store/queue.h"
#include "sys/guard.h"
#include "sys/hash.h"
#include "sys/os.h"

/* --- the old file ---------------------------------------------------------------------------- */

enum { OLD_HEADER = 16, OLD_AROUND = 8, VERSION = 131, COMPRESSED = 80 };

struct old {
    const uint8_t *at;
    uint64_t size;
    uint64_t head;
    uint64_t tail;
    size_t (*term_check)(struct span at);
};

static enum err last_error(void)
{
    return err_from_errno(errno);
}

static uint64_t padding(uint64_t len)
{
    return (len + OLD_AROUND) % 8;
}

static bool is_zero(const uint8_t *at, uint64_t len)
{
    while (len > 0 && at[len - 1] == 0)
        len--;
    return len == 0;
}

/* The lengths of a term that a record's size allows: one or two. */
static bool may_be(uint64_t size, uint64_t len)
{
    return len + OLD_AROUND + padding(len) == size;
}

/* A compressed term cannot be walked; it does not end with four zeros. */
static uint64_t compressed_length(const uint8_t *term, uint64_t size)
{
    for (uint64_t len = size - OLD_AROUND; len > 5 && len + 16 > size; len--)
        if (may_be(size, len) && !is_zero(term + len - 4, 4) &&
            is_zero(term + len, size - OLD_AROUND - len))
            return len;
    return 0;
}

/* The term of the record at pos, with its version byte; false: that is no record. */
static bool read_record(const struct old *f, uint64_t pos, struct span *term, uint64_t *next)
{
    if (f->tail - pos < OLD_AROUND + 2)
        return false;
    const uint64_t size = get_be32(f->at + pos);
    if (size < OLD_AROUND + 2 || size > f->tail - pos || get_be32(f->at + pos + size - 4) != size)
        return false;
    const uint8_t *at = f->at + pos + 4;
    uint64_t len;
    if (at[0] != VERSION)
        return false;
    if (at[1] == COMPRESSED)
        len = compressed_length(at, size);
    else
        len = f->term_check(span_of(at + 1, size - OLD_AROUND - 1)) + 1;
    if (len < 2 || !may_be(size, len) || !is_zero(at + len, size - OLD_AROUND - len))
        return false;
    *term = span_of(at, len);
    *next = pos + size;
    return true;
}

/* Another program may cut the file while it is read: then it is none. */
struct reading {
    const struct old *file;
    uint64_t pos;
    struct span term;
    uint64_t next;
    bool good;
};

static void read_touch(void *arg)
{
    struct reading *r = arg;
    r->good = read_record(r->file, r->pos, &r->term, &r->next);
}

static bool read_guarded(const struct old *f, uint64_t pos, struct span *term, uint64_t *next)
{
    struct reading r = {.file = f, .pos = pos};
    if (!guard_run(read_touch, &r) || !r.good)
        return false;
    *term = r.term;
    *next = r.next;
    return true;
}

static bool has_magic(const uint8_t *at)
{
    return memcmp(at, "EMMAP", 5) == 0;
}

static bool is_old_queue(struct old *f)
{
    struct span term;
    uint8_t header[OLD_HEADER];
    if (f->size < OLD_HEADER || !guard_copy(header, f->at, sizeof header) || has_magic(header))
        return false;
    f->head = get_be32(header + 4);
    f->tail = get_be32(header + 8);
    if (f->head < OLD_HEADER || f->tail < f->head || f->tail > f->size)
        return false;
    for (uint64_t pos = f->head; pos < f->tail;)
        if (!read_guarded(f, pos, &term, &pos))
            return false;
    return true;
}

/* --- the new one ----------------------------------------------------------------------------- */

enum { MANY = 1000, BYTES = 1 << 20 };

struct batch {
    struct span items[MANY];
    uint8_t *copies[MANY];
    size_t n;
    size_t bytes;
};

/* The head of {'$emmap_zip', Binary} */
static const uint8_t zip_head[] = {104, 2,   119, 10,  '$', 'e', 'm', 'm',
                                   'a', 'p', '_', 'z', 'i', 'p', 109};

/* Without the version byte; a compressed term whole, in the marked binary. */
static enum err add(struct batch *b, struct span term)
{
    const bool zipped = term.at[1] == COMPRESSED;
    const size_t head = zipped ? sizeof zip_head + 4 : 0;
    const struct span from = zipped ? term : span_of(term.at + 1, term.len - 1);
    uint8_t *copy = malloc(head + from.len);
    if (copy == NULL)
        return ERR_ENOMEM;
    b->copies[b->n] = copy;
    b->items[b->n++] = span_of(copy, head + from.len);
    b->bytes += head + from.len;
    if (zipped) {
        memcpy(copy, zip_head, sizeof zip_head);
        put_be32(copy + sizeof zip_head, (uint32_t)from.len);
    }
    return guard_copy(copy + head, from.at, from.len) ? OK : ERR_EIO;
}

static void empty(struct batch *b)
{
    while (b->n > 0)
        free(b->copies[--b->n]);
    b->bytes = 0;
}

static enum err push(struct object *queue, struct batch *b, const struct turn *t)
{
    uint64_t first;
    enum err e = queue_push(queue, t, b->items, b->n, &first);
    empty(b);
    return e;
}

static enum err push_all(struct object *queue, const struct old *f, const struct turn *t)
{
    struct batch *b = calloc(1, sizeof *b);
    enum err e = b == NULL ? ERR_ENOMEM : OK;
    for (uint64_t pos = f->head; e == OK && pos < f->tail;) {
        struct span term;
        e = read_guarded(f, pos, &term, &pos) ? add(b, term) : ERR_EIO;
        if (e == OK && (b->n == MANY || b->bytes >= BYTES))
            e = push(queue, b, t);
    }
    if (e == OK)
        e = push(queue, b, t);
    if (b != NULL)
        empty(b);
    free(b);
    return e;
}

/* Fills the empty file with a queue of all items, and makes it durable. */
static enum err fill(int fd, const struct old *f, uint64_t time_ms)
{
    static const struct queue_change none;
    const struct turn t = {.now_ms = time_ms, .may_wait = true};
    struct object queue = {.kind = OBJECT_QUEUE};
    struct stat st;
    char why[QUEUE_WHY];
    enum err e = queue_make(fd, &queue_limits, &none, time_ms);
    if (e == OK && os.fstat(fd, &st) != 0)
        e = last_error();
    const int mapped = e == OK ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (e == OK && mapped < 0)
        e = last_error();
    if (e == OK)
        e = map_open(&queue.map, mapped, (uint64_t)st.st_size, true, MAP_OF_FILE);
    if (e != OK)
        return e;
    e = queue_open(&queue, &queue_limits, "conversion", time_ms, why);
    if (e == OK)
        e = push_all(&queue, f, &t);
    object_close(&queue);
    if (e == OK && queue.failed)
        e = ERR_EIO;
    return e == OK && os.sync_all(fd) != 0 ? last_error() : e;
}

/* --- one in the place of the other -------------------------------------------------------------
 */

static bool same_file(int fd, int dir, const char *name)
{
    struct stat a;
    struct stat b;
    const int other = os.open(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (other < 0)
        return false;
    const bool same = os.fstat(fd, &a) == 0 && os.fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
                      a.st_ino == b.st_ino;
    os.close(other);
    return same;
}

static enum err keep_old(int old, const struct place *at)
{
    char name[NAME_MAX + 8];
    const int n = snprintf(name, sizeof name, "%s.nif", at->last);
    if (n >= (int)sizeof name)
        return ERR_ENAMETOOLONG;
    if (os.link(at->dir, at->last, name) == 0)
        return OK;
    return errno == EEXIST && same_file(old, at->dir, name) ? OK : last_error();
}

/* A crash leaves the name old or new; what it leaves of the other name the next conversion removes.
 */
static enum err exchange(int old, int fresh, const struct place *at)
{
    char name[32];
    snprintf(name, sizeof name, ".emmap-%016jx",
             (uintmax_t)hash_bytes(0, at->last, strlen(at->last)));
    os.unlink(at->dir, name);
    enum err e = keep_old(old, at);
    if (e == OK && os.link_unnamed(fresh, at->dir, name) != 0)
        e = last_error();
    if (e == OK && os.rename(at->dir, name, at->last) != 0) {
        e = last_error();
        os.unlink(at->dir, name);
    }
    return e == OK && os.sync_all(at->dir) != 0 ? last_error() : e;
}

static enum err replace(struct opening *o, const struct old *f, const struct place *at)
{
    struct stat st;
    if (os.lock_exclusive(o->fd) != 0 || os.fstat(o->fd, &st) != 0)
        return last_error();
    const uint64_t time_ms =
        (uint64_t)st.st_mtim.tv_sec * 1000 + (uint64_t)st.st_mtim.tv_nsec / 1000000;
    const int fresh = os.open_unnamed(at->dir, st.st_mode & 0777);
    if (fresh < 0)
        return last_error();
    enum err e = fill(fresh, f, time_ms);
    if (e == OK && fchown(fresh, st.st_uid, st.st_gid) != 0)
        e = last_error();
    if (e == OK)
        e = exchange(o->fd, fresh, at);
    if (e != OK) {
        os.close(fresh);
        return e;
    }
    os.close(o->fd);
    o->fd = fresh;
    return OK;
}

static enum err convert(const struct paths *paths, struct opening *o, const struct old *f)
{
    struct place at;
    enum err e = path_parent(paths, o->path, &at);
    if (e != OK)
        return e;
    e = replace(o, f, &at);
    os.close(at.dir);
    return e;
}

enum err convert_queue(const struct paths *paths, struct opening *o)
{
    struct stat st;
    struct map m;
    if (o->term_check == NULL)
        return OK;
    if (os.fstat(o->fd, &st) != 0)
        return last_error();
    const int mapped = fcntl(o->fd, F_DUPFD_CLOEXEC, 3);
    if (mapped < 0)
        return last_error();
    enum err e = map_open(&m, mapped, (uint64_t)st.st_size, false, MAP_OF_FILE);
    if (e != OK)
        return e;
    struct old f = {.at = m.at, .size = m.size, .term_check = o->term_check};
    if (is_old_queue(&f))
        e = convert(paths, o, &f);
    map_close(&m);
    return e;
}
