#include "store/replay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include <uthash.h>
#include <utlist.h>

#include "store/failed.h"
#include "sys/log.h"
#include "sys/os.h"

/* In two passes. The first learns of each object how it is called and from which group on its
 * records count: the file was synced with everything before. The second stores them, in order,
 * in each file that bears the object's mark. A file is synced, and loses its mark, before anything
 * else touches it: stores that no journal has would be undone by a second replay. */

/* --- marks ----------------------------------------------------------------------------------- */

enum { MARK_HEAD = JOURNAL_UUID + sizeof(uint32_t) };

enum err mark_read(int fd, struct mark *m)
{
    uint8_t bytes[MARK_HEAD + PATH_MAX];
    const ssize_t n = os.get_attribute(fd, JOURNAL_ATTRIBUTE, bytes, sizeof bytes - 1);
    if (n < 0 && (errno == ENODATA || errno == ENOTSUP))
        return ERR_ENOENT;
    if (n < 0 && errno != ERANGE)
        return err_last();
    *m = (struct mark){.serial = 0};
    if (n < MARK_HEAD)
        return OK; /* of nobody */
    memcpy(m->uuid, bytes, JOURNAL_UUID);
    memcpy(&m->serial, bytes + JOURNAL_UUID, sizeof m->serial);
    memcpy(m->dir, bytes + MARK_HEAD, (size_t)n - MARK_HEAD);
    return OK;
}

enum err mark_write(int fd, const struct mark *m)
{
    uint8_t bytes[MARK_HEAD + PATH_MAX];
    const size_t len = strlen(m->dir);
    memcpy(bytes, m->uuid, JOURNAL_UUID);
    memcpy(bytes + JOURNAL_UUID, &m->serial, sizeof m->serial);
    memcpy(bytes + MARK_HEAD, m->dir, len);
    if (os.set_attribute(fd, JOURNAL_ATTRIBUTE, bytes, MARK_HEAD + len) != 0)
        return err_last();
    return os.sync_all(fd) == 0 ? OK : err_last();
}

enum err mark_remove(int fd)
{
    if (os.remove_attribute(fd, JOURNAL_ATTRIBUTE) != 0 && errno != ENODATA && errno != ENOTSUP)
        return err_last();
    return os.sync_all(fd) == 0 ? OK : err_last();
}

/* --- the objects of the journal -------------------------------------------------------------- */

struct member {
    UT_hash_handle hh; /* by serial */
    uint32_t serial;
    uint64_t floor;  /* records of earlier groups count no more */
    unsigned halves; /* with records of it: a bit each */
    bool closed;
    bool has_writes;
    int fd; /* -1: not opened, or not to be written */
    uint64_t size;
    enum err failed;
    char *name;
};

enum { KEPT_NAME = 64 };

/* A file of groups: a half, or one that was kept for an object. */
struct source {
    struct source *next, *prev;
    struct half file;
    uint32_t only; /* 0: of all objects */
    unsigned bit;  /* of a half */
    char name[KEPT_NAME];
};

struct replay {
    struct halves *halves;
    struct source *sources; /* by generation */
    struct member *members;
    uint32_t only;               /* 0: all */
    const struct source *source; /* that is read */
    uint64_t greatest;
};

static struct member *member_of(struct replay *r, uint32_t serial)
{
    struct member *m;
    HASH_FIND(hh, r->members, &serial, sizeof serial, m);
    return m;
}

static bool concerns(const struct replay *r, uint32_t serial)
{
    const uint32_t only = r->source->only;
    return (r->only == 0 || serial == r->only) && (only == 0 || serial == only);
}

static enum err enter(struct replay *r, uint32_t serial, struct span name)
{
    if (member_of(r, serial) != NULL)
        return OK;
    struct member *m = calloc(1, sizeof *m);
    char *copy = strndup((const char *)name.at, name.len);
    if (m == NULL || copy == NULL) {
        free(m);
        free(copy);
        return ERR_ENOMEM;
    }
    m->serial = serial;
    m->name = copy;
    m->fd = -1;
    HASH_ADD(hh, r->members, serial, sizeof m->serial, m);
    return OK;
}

static enum err learn(void *arg, const struct entry_view *v)
{
    struct replay *r = arg;
    r->greatest = v->group > r->greatest ? v->group : r->greatest;
    if (!concerns(r, v->fields.serial))
        return OK;
    if (v->fields.kind == ENTRY_OPEN) {
        const enum err e = enter(r, v->fields.serial, v->data);
        if (e != OK)
            return e;
    }
    struct member *m = member_of(r, v->fields.serial);
    if (m == NULL)
        return OK;
    m->halves |= r->source->bit;
    if (v->fields.kind == ENTRY_FLOOR && v->fields.offset > m->floor)
        m->floor = v->fields.offset;
    m->closed |= v->fields.kind == ENTRY_CLOSE;
    m->has_writes |= v->fields.kind == ENTRY_WRITE;
    return OK;
}

/* --- their files ----------------------------------------------------------------------------- */

static void fail(struct member *m, enum err why, const char *what)
{
    if (m->failed == OK)
        log_error("\"%s\": what the journal has of it cannot be stored: %s: %s; it is kept",
                  m->name, what, err_text(why));
    m->failed = why;
}

/* ERR_ENOENT: the file is not the object's, it bears another mark or none. */
static enum err check_mark(const struct replay *r, const struct member *m, int fd)
{
    struct mark mark = {.serial = 0};
    enum err e = mark_read(fd, &mark);
    if (e == OK &&
        (mark.serial != m->serial || memcmp(mark.uuid, r->halves->uuid, sizeof mark.uuid) != 0))
        e = ERR_ENOENT;
    return e;
}

/* The file under the name, if it bears the mark of this object. */
static void open_member(struct replay *r, const struct paths *paths, struct member *m)
{
    int fd = -1;
    enum err e = path_open(paths, m->name, O_RDWR, &fd);
    if (e == OK)
        e = check_mark(r, m, fd);
    if (e == OK && os.lock_exclusive(fd) != 0)
        e = err_last();
    if (e == OK) {
        m->fd = fd;
        return;
    }
    if (fd >= 0)
        os.close(fd);
    if (e != ERR_ENOENT && e != ERR_ENOTDIR && e != ERR_NOT_REGULAR)
        fail(m, e, "open");
    else if (!m->closed && m->has_writes)
        log_warning("\"%s\": is not the file any more that the journal has records of; they are "
                    "dropped",
                    m->name);
}

static void measure(struct member *m)
{
    struct stat st;
    if (m->fd < 0)
        return;
    if (os.fstat(m->fd, &st) != 0)
        fail(m, err_last(), "fstat");
    else
        m->size = (uint64_t)st.st_size;
}

static enum err store(void *arg, const struct entry_view *v)
{
    struct replay *r = arg;
    uint64_t end;
    if (v->fields.kind != ENTRY_WRITE || !concerns(r, v->fields.serial))
        return OK;
    struct member *m = member_of(r, v->fields.serial);
    if (m == NULL || m->fd < 0 || m->failed != OK || m->closed || v->group < m->floor)
        return OK;
    if (!add_u64(v->fields.offset, v->fields.len, &end) || end > m->size) {
        fail(m, ERR_EFBIG, "the file is shorter than it was");
        return OK;
    }
    if (os_write_all(m->fd, v->data.at, v->data.len, (off_t)v->fields.offset) != 0)
        fail(m, err_last(), "write");
    return OK;
}

static void settle(struct member *m)
{
    if (m->fd < 0 || m->failed != OK)
        return;
    if (os.sync(m->fd) != 0) {
        fail(m, err_last(), "fdatasync");
        failed_mark(m->fd, "replay: fdatasync");
        return;
    }
    const enum err e = mark_remove(m->fd);
    if (e != OK)
        fail(m, e, "fremovexattr");
}

/* --- the files of groups --------------------------------------------------------------------- */

static int by_generation(const struct source *a, const struct source *b)
{
    const int64_t later = (int64_t)(a->file.generation - b->file.generation);
    return later < 0 ? -1 : later > 0;
}

struct kept {
    struct replay *r;
    enum err e;
    uint64_t n;
};

/* kept-GENERATION-SERIAL */
static bool kept_serial(const char *name, uint32_t *serial)
{
    static const char head[] = "kept-";
    char *end;
    if (strncmp(name, head, sizeof head - 1) != 0 || name[sizeof head - 1] < '0' ||
        name[sizeof head - 1] > '9')
        return false;
    (void)strtoull(name + sizeof head - 1, &end, 10);
    if (*end != '-' || end[1] < '0' || end[1] > '9')
        return false;
    const unsigned long long n = strtoull(end + 1, &end, 10);
    *serial = (uint32_t)n;
    return *end == '\0' && n <= UINT32_MAX;
}

/* Without it later records would be stored where its own are missing. */
static enum err spoil(struct replay *r, uint32_t serial, const char *name, enum err why)
{
    log_error("the kept journal %s cannot be read: %s: its object stays as it is", name,
              err_text(why));
    enum err e = enter(r, serial, span_of(name, strlen(name)));
    if (e == OK)
        member_of(r, serial)->failed = ERR_DAMAGED;
    return e;
}

static enum err open_kept(struct replay *r, struct source *s)
{
    bool later = false;
    enum err e = half_open(r->halves, &s->file, s->name);
    if (e == OK && s->file.state == HALF_GOOD)
        e = half_check(r->halves, &s->file, &later);
    if (e == OK && (s->file.state != HALF_GOOD || later))
        e = ERR_DAMAGED;
    if (e != OK && s->file.fd >= 0)
        os.close(s->file.fd);
    return e;
}

static void add_kept(void *arg, const char *name)
{
    struct kept *k = arg;
    uint32_t serial;
    if (k->e != OK || !kept_serial(name, &serial) || (k->r->only != 0 && serial != k->r->only) ||
        strlen(name) >= KEPT_NAME)
        return;
    struct source *s = calloc(1, sizeof *s);
    if (s == NULL) {
        k->e = ERR_ENOMEM;
        return;
    }
    s->only = serial;
    snprintf(s->name, sizeof s->name, "%s", name);
    const enum err e = open_kept(k->r, s);
    if (e == OK) {
        DL_APPEND(k->r->sources, s);
        return;
    }
    free(s);
    k->e = spoil(k->r, serial, name, e);
}

static enum err add_half(struct replay *r, unsigned i)
{
    struct source *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_ENOMEM;
    s->file = r->halves->half[i];
    s->bit = 1U << i;
    DL_APPEND(r->sources, s);
    return OK;
}

static enum err find_sources(struct replay *r)
{
    unsigned order[2];
    struct kept kept = {.r = r};
    const unsigned n = halves_in_order(r->halves, order);
    if (os.list(r->halves->dir, add_kept, &kept) != 0)
        return err_last();
    for (unsigned i = 0; i < n && kept.e == OK; i++)
        kept.e = add_half(r, order[i]);
    /* cppcheck-suppress nullPointer */ /* of an empty list it does nothing */
    DL_SORT(r->sources, by_generation);
    return kept.e;
}

static enum err walk(struct replay *r, entry_visit *visit, void *arg)
{
    struct source *s;
    enum err e = OK;
    DL_FOREACH(r->sources, s)
    {
        r->source = s;
        e = halves_walk(r->halves, &s->file, visit, arg);
        if (e != OK)
            break;
    }
    return e;
}

/* What could not be stored stays: in files of its own, for the halves are used again. */
static enum err keep(struct replay *r, const struct member *m)
{
    unsigned order[2];
    const unsigned n = halves_in_order(r->halves, order);
    enum err e = OK;
    for (unsigned i = 0; i < n && e == OK; i++)
        if ((m->halves & 1U << order[i]) != 0)
            e = halves_keep(r->halves, order[i], m->serial);
    return e;
}

/* Kept files of objects that have got what was theirs, or are no more. */
static void drop_kept(struct replay *r)
{
    struct source *s;
    DL_FOREACH(r->sources, s)
    {
        const struct member *m = s->only == 0 ? NULL : member_of(r, s->only);
        if (m != NULL && m->failed == OK)
            (void)os.unlink(r->halves->dir, s->name);
    }
}

static void replay_fini(struct replay *r)
{
    struct source *s;
    struct source *next_source;
    struct member *m;
    struct member *next;
    DL_FOREACH_SAFE(r->sources, s, next_source)
    {
        if (s->only != 0)
            os.close(s->file.fd);
        free(s);
    }
    HASH_ITER(hh, r->members, m, next)
    {
        HASH_DEL(r->members, m); /* NOLINT: the head is there while a member is */
        free(m->name);
        free(m);
    }
}

/* --- all of it ------------------------------------------------------------------------------- */

static enum err settle_all(struct replay *r)
{
    struct member *m;
    struct member *next;
    enum err e = OK;
    HASH_ITER(hh, r->members, m, next)
    {
        settle(m);
        if (m->failed != OK && e == OK)
            e = keep(r, m);
        if (m->fd >= 0)
            os.close(m->fd);
        m->fd = -1;
    }
    if (e == OK)
        drop_kept(r);
    return e;
}

enum err replay_all(struct halves *h, const struct paths *paths, uint64_t *greatest)
{
    struct replay r = {.halves = h};
    struct member *m;
    struct member *next;
    enum err e = find_sources(&r);
    if (e == OK)
        e = walk(&r, learn, &r);
    HASH_ITER(hh, r.members, m, next)
    {
        if (e == OK && m->failed == OK)
            open_member(&r, paths, m);
        measure(m);
    }
    if (e == OK)
        e = walk(&r, store, &r);
    if (e == OK)
        e = settle_all(&r);
    *greatest = r.greatest;
    HASH_ITER(hh, r.members, m, next)
    {
        if (m->fd >= 0)
            os.close(m->fd);
    }
    replay_fini(&r);
    return e;
}

enum err replay_one(struct halves *h, uint32_t serial, int fd)
{
    struct replay r = {.halves = h, .only = serial};
    enum err e = find_sources(&r);
    if (e == OK)
        e = walk(&r, learn, &r);
    struct member *m = e == OK ? member_of(&r, serial) : NULL;
    if (e == OK && m == NULL)
        e = ERR_ENOENT;
    if (e == OK) {
        m->fd = fd;
        measure(m);
        e = walk(&r, store, &r);
    }
    if (e == OK) {
        settle(m);
        e = m->failed;
    }
    if (e == OK)
        drop_kept(&r);
    replay_fini(&r);
    return e;
}

struct looking {
    struct replay *r;
    const struct member *member;
    entry_visit *visit;
    void *arg;
};

static enum err look(void *arg, const struct entry_view *v)
{
    const struct looking *l = arg;
    const bool counts = v->fields.kind == ENTRY_WRITE && concerns(l->r, v->fields.serial) &&
                        v->group >= l->member->floor;
    return counts ? l->visit(l->arg, v) : OK;
}

enum err replay_look(struct halves *h, uint32_t serial, entry_visit *visit, void *arg)
{
    struct replay r = {.halves = h, .only = serial};
    struct looking l = {.r = &r, .visit = visit, .arg = arg};
    enum err e = find_sources(&r);
    if (e == OK)
        e = walk(&r, learn, &r);
    l.member = e == OK ? member_of(&r, serial) : NULL;
    if (e == OK && l.member == NULL)
        e = ERR_ENOENT;
    if (e == OK)
        e = l.member->failed;
    if (e == OK && !l.member->closed)
        e = walk(&r, look, &l);
    replay_fini(&r);
    return e;
}

static void count_kept(void *arg, const char *name)
{
    uint32_t serial;
    *(uint64_t *)arg += kept_serial(name, &serial);
}

uint64_t replay_kept(const struct halves *h)
{
    uint64_t n = 0;
    (void)os.list(h->dir, count_kept, &n);
    return n;
}
