#include "proto/registry.h"

#include <ei.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "proto/entry.h"
#include "proto/registry_file.h"
#include "proto/reply.h"
#include "sys/log.h"
#include "sys/os.h"
#include "sys/work.h"

enum { REGISTERED_MOST = 10000 };

static const char folder[] = ".emmap";
static const char file[] = "registered";

struct registry {
    struct server *server;
    struct process *by_name, *by_number, *by_path;
    uint32_t next_number;
    struct buf strange;     /* lines that make no sense to us */
    enum err unread;        /* the file is there, but could not be read: it is not to be replaced */
    struct saving *waiting; /* for the next writing */
    struct saving *covered; /* by the present one */
    struct buf text;        /* which it writes */
    struct buf known;       /* which was read or written last */
    bool replaced;          /* the file has `text` */
    enum err result;
    struct job job;
};

/* --- processes ------------------------------------------------------------------------------- */

static struct process *named(const struct registry *r, const char *name)
{
    struct process *p;
    HASH_FIND_STR(r->by_name, name, p);
    return p;
}

static struct process *at_path(const struct registry *r, const char *path)
{
    struct process *p;
    HASH_FIND(by_path, r->by_path, path, strlen(path), p);
    return p;
}

static bool text_of_atom(struct span atom, char text[TERM_ATOM_BYTES])
{
    struct term t = term_in(atom);
    struct term raw = t;
    const struct span bytes = term_atom_bytes(&raw);
    term_atom(&t, text);
    return !t.bad && memchr(bytes.at, 0, bytes.len) == NULL;
}

const struct process *registry_named(const struct server *s, struct span name)
{
    char text[TERM_ATOM_BYTES];
    struct process *p = text_of_atom(name, text) ? named(s->registry, text) : NULL;
    return p != NULL && p->number != 0 ? p : NULL;
}

const struct process *registry_numbered(const struct server *s, uint32_t number)
{
    struct process *p;
    HASH_FIND(by_number, s->registry->by_number, &number, sizeof number, p);
    return p;
}

const struct process *registry_first(const struct server *s)
{
    return s->registry->by_name;
}

bool registry_has_path(const struct server *s, const char *path)
{
    return at_path(s->registry, path) != NULL;
}

void registry_each(const struct registry *r,
                   void (*each)(void *arg, uint32_t number, const char *name), void *arg)
{
    const struct process *p;
    for (p = r->by_number; p != NULL; p = p->by_number.next)
        each(arg, p->number, p->name);
}

struct process *registry_of(const struct entry *e)
{
    struct process *p = NULL;
    for (const struct name *n = e->names; n != NULL && p == NULL; n = n->next)
        p = at_path(e->server->registry, n->path);
    return p;
}

/* Not what is there anyway, or what other nodes look for on any node. */
static bool is_allowed(const char *name)
{
    static const char *const taken[] = {
        "emmap", "net_kernel",         "rex",       "erlang", "user",
        "init",  "global_name_server", "undefined", ""};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(name, taken[i]) == 0)
            return false;
    return strlen(name) <= QUEUE_REGISTERED_MOST;
}

bool registry_name(struct span atom, char name[QUEUE_REGISTERED_MOST + 1])
{
    char text[TERM_ATOM_BYTES];
    if (!text_of_atom(atom, text) || !is_allowed(text))
        return false;
    memcpy(name, text, strlen(text) + 1);
    return true;
}

static struct process *add(struct registry *r, const char *name, const char *path)
{
    struct process *p = calloc(1, sizeof *p + strlen(name) + 1);
    char *copy = strdup(path);
    if (p == NULL || copy == NULL) {
        free(p);
        free(copy);
        return NULL;
    }
    p->path = copy;
    memcpy(p->name, name, strlen(name) + 1);
    HASH_ADD_STR(r->by_name, name, p);
    return p;
}

static void number(struct registry *r, struct process *p)
{
    must(r->next_number != 0); /* four thousand million ends of processes */
    p->number = r->next_number++;
    HASH_ADD(by_number, r->by_number, number, sizeof p->number, p);
}

static void come(struct registry *r, struct process *p)
{
    p->state = PROCESS_THERE;
    HASH_ADD_KEYPTR(by_path, r->by_path, p->path, strlen(p->path), p);
    number(r, p);
}

static void drop(struct registry *r, struct process *p)
{
    if (p->number != 0) {
        HASH_DELETE(by_number, r->by_number, p);
        HASH_DELETE(by_path, r->by_path, p);
    }
    HASH_DELETE(hh, r->by_name, p); /* NOLINT: the head is there while a member is */
    free(p->path);
    free(p);
}

static void tell_end(const struct registry *r, uint32_t process, const char *reason)
{
    struct buf term;
    buf_init(&term, 1024);
    reply_atom(&term, reason);
    for (struct client *c = r->server->clients; c != NULL; c = c->next)
        if (!c->gone)
            c->outlet.ended(c->conn, process, span_of(term.at, term.len));
    buf_fini(&term);
}

static void leave(struct registry *r, struct process *p)
{
    const uint32_t process = p->number;
    drop(r, p);
    tell_end(r, process, "normal");
}

void registry_fail(struct entry *e)
{
    struct registry *r = e->server->registry;
    struct process *p = registry_of(e);
    if (p == NULL)
        return;
    const uint32_t process = p->number;
    HASH_DELETE(by_number, r->by_number, p);
    number(r, p);
    tell_end(r, process, "eio");
}

void registry_complain(struct entry *e, enum err why)
{
    struct process *p = registry_of(e);
    if (p == NULL || p->complained)
        return;
    p->complained = true;
    log_error("the registered queue %s, \"%s\", cannot be opened: %s", p->name, p->path,
              err_text(why));
}

/* --- the text of the file -------------------------------------------------------------------- */

/* Bytes that would break a line are \xHH there. */
static void put_escaped(struct buf *to, const char *text)
{
    char hex[5];
    for (; *text != '\0'; text++) {
        const uint8_t byte = (uint8_t)*text;
        if (byte > ' ' && byte != '\\' && byte != 0x7f) {
            buf_put(to, text, 1);
            continue;
        }
        snprintf(hex, sizeof hex, "\\x%02x", byte);
        buf_put(to, hex, 4);
    }
}

static bool hex_digit(char c, unsigned *value)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    if (at == NULL)
        return false;
    *value = *value * 16 + (unsigned)(at - digits);
    return true;
}

/* In place; false: that is no text of ours. */
static bool unescape(char *text)
{
    char *to = text;
    for (; *text != '\0'; text++, to++) {
        unsigned byte = 0;
        *to = *text;
        if (*text != '\\')
            continue;
        if (text[1] != 'x' || !hex_digit(text[2], &byte) || !hex_digit(text[3], &byte) || byte == 0)
            return false;
        *to = (char)byte;
        text += 3;
    }
    *to = '\0';
    return true;
}

static void put_line(struct buf *text, const struct process *p)
{
    put_escaped(text, p->name);
    buf_put(text, "\t", 1);
    put_escaped(text, p->path);
    buf_put(text, "\n", 1);
}

static void put_all(struct registry *r)
{
    struct process *p;
    struct process *next;
    buf_cut(&r->text, 0);
    HASH_ITER(hh, r->by_name, p, next)
    {
        if (p->state == PROCESS_COMING || p->state == PROCESS_THERE)
            put_line(&r->text, p);
    }
    buf_put(&r->text, r->strange.at, r->strange.len);
}

/* --- writing it ------------------------------------------------------------------------------ */

static struct registry *of_job(struct job *job)
{
    return (struct registry *)(void *)((char *)job - offsetof(struct registry, job));
}

static void run_write(struct job *job)
{
    struct registry *r = of_job(job);
    r->result =
        r->unread != OK ? r->unread
        : r->text.failed
            ? ERR_ENOMEM
            : registry_file_write(r->server->options.data_dir, span_of(r->known.at, r->known.len),
                                  span_of(r->text.at, r->text.len), &r->replaced);
}

static void written(struct job *job);

static void write_for_all(struct registry *r)
{
    r->covered = r->waiting;
    r->waiting = NULL;
    put_all(r);
    r->job.run = run_write;
    r->job.done = written;
    work_submit(r->server->loop, &r->job);
}

static void settle(struct registry *r, struct saving *w)
{
    const bool good = r->result == OK;
    if (w->leaves != NULL && good)
        leave(r, w->leaves);
    else if (w->leaves != NULL)
        w->leaves->state = PROCESS_THERE;
    if (w->comes != NULL && good)
        come(r, w->comes);
    else if (w->comes != NULL)
        drop(r, w->comes);
}

static void written(struct job *job)
{
    struct registry *r = of_job(job);
    struct saving *w;
    struct saving *next;
    struct saving *covered = r->covered;
    const enum err result = r->result;
    if (result != OK)
        log_error("%s/%s/%s cannot be written: %s", r->server->options.data_dir, folder, file,
                  err_text(result));
    if (r->replaced) {
        const struct buf before = r->known;
        r->known = r->text;
        r->text = before;
        r->replaced = false;
    }
    LL_FOREACH(covered, w)
    settle(r, w);
    r->covered = NULL;
    if (r->waiting != NULL)
        write_for_all(r);
    LL_FOREACH_SAFE(covered, w, next)
    w->done(w, result);
}

/* --- changes --------------------------------------------------------------------------------- */

enum err registry_claim(struct entry *e, const char *path, const char *name, bool *claimed)
{
    struct registry *r = e->server->registry;
    const struct process *p = named(r, name);
    *claimed = false;
    if (p != NULL)
        return p == registry_of(e) ? OK : ERR_REGISTERED;
    if (HASH_CNT(hh, r->by_name) >= REGISTERED_MOST)
        return ERR_MAX_OBJECTS;
    *claimed = add(r, name, path) != NULL;
    return *claimed ? OK : ERR_ENOMEM;
}

bool registry_has_other(const struct entry *e, const char *name)
{
    const struct process *p = named(e->server->registry, name);
    return p != NULL && p != registry_of(e);
}

void registry_unclaim(struct server *s, const char *name)
{
    struct process *p = named(s->registry, name);
    must(p != NULL && p->state == PROCESS_CLAIMED);
    drop(s->registry, p);
}

bool registry_change(struct entry *e, const char *name, struct saving *w)
{
    struct registry *r = e->server->registry;
    w->leaves = registry_of(e);
    w->comes = name[0] == '\0' ? NULL : named(r, name);
    if (w->comes == w->leaves)
        return false;
    if (w->leaves != NULL)
        w->leaves->state = PROCESS_LEAVING;
    if (w->comes != NULL)
        w->comes->state = PROCESS_COMING;
    LL_APPEND(r->waiting, w);
    if (r->covered == NULL)
        write_for_all(r);
    return true;
}

/* --- at the start ---------------------------------------------------------------------------- */

/* Characters of UTF-8; 0: it is none. */
static size_t characters(const char *text)
{
    struct buf atom;
    size_t n = 0;
    buf_init(&atom, 4096);
    reply_atom(&atom, text);
    const bool good = !atom.failed && term_check(span_of(atom.at, atom.len)) == atom.len;
    for (; good && *text != '\0'; text++)
        n += ((uint8_t)*text & 0xc0) != 0x80;
    buf_fini(&atom);
    return n;
}

static bool read_line(struct registry *r, char *line)
{
    char full[PATH_MAX];
    const struct paths *paths = r->server->paths;
    char *path = strchr(line, '\t');
    if (path == NULL)
        return false;
    *path++ = '\0';
    if (!unescape(line) || !unescape(path) || path[0] != '/' || !is_allowed(line) ||
        characters(line) == 0 || path_resolve(paths, span_text(path), full) != OK ||
        strcmp(path, full) != 0 || named(r, line) != NULL || at_path(r, path) != NULL)
        return false;
    struct process *p = add(r, line, path);
    if (p != NULL)
        come(r, p);
    return p != NULL;
}

static bool take_line(struct registry *r, const char *line, size_t len)
{
    const struct span raw = span_of(line, len);
    char *copy = strndup(line, len);
    const bool whole = memchr(line, '\0', len) == NULL;
    if (copy != NULL)
        copy[strcspn(copy, "\n")] = '\0';
    const bool good = copy != NULL && whole && read_line(r, copy);
    if (!good)
        buf_put(&r->strange, raw.at, raw.len);
    if (!good && raw.at[raw.len - 1] != '\n')
        buf_put(&r->strange, "\n", 1);
    free(copy);
    return good;
}

static bool read_all(struct registry *r, FILE *f)
{
    struct stat st;
    char *line = NULL;
    size_t cap = 0;
    unsigned strange = 0;
    ssize_t n;
    if (os.fstat(fileno(f), &st) != 0)
        return false;
    errno = EFBIG;
    if (st.st_size > REGISTRY_FILE_MOST)
        return false;
    while ((n = getline(&line, &cap, f)) > 0) {
        buf_put(&r->known, line, (size_t)n);
        if (line[n - 1] != '\n') /* changed by hand */
            buf_put(&r->known, "\n", 1);
        strange += !take_line(r, line, (size_t)n);
    }
    free(line);
    if (strange > 0)
        log_error("%s/%s/%s: %u lines make no sense, and stay as they are",
                  r->server->options.data_dir, folder, file, strange);
    return !ferror(f) && !r->strange.failed && !r->known.failed;
}

static void load(struct registry *r)
{
    const int fd = registry_file_open(r->server->options.data_dir);
    if (fd < 0 && errno == ENOENT)
        return;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    if (f == NULL || !read_all(r, f)) {
        r->unread = err_last();
        log_error("%s/%s/%s cannot be read, and stays as it is: %s", r->server->options.data_dir,
                  folder, file, err_text(r->unread));
    }
    if (f != NULL)
        fclose(f);
    else if (fd >= 0)
        os.close(fd);
}

struct registry *registry_open(struct server *s)
{
    struct registry *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->server = s;
    r->next_number = PROCESS_FIRST_QUEUE;
    buf_init(&r->strange, SIZE_MAX);
    buf_init(&r->text, SIZE_MAX);
    buf_init(&r->known, SIZE_MAX);
    load(r);
    return r;
}

void registry_free(struct registry *r)
{
    struct process *p;
    struct process *next;
    if (r == NULL)
        return;
    HASH_ITER(hh, r->by_name, p, next)
    drop(r, p); /* NOLINT: HASH_ITER has read `next` before */
    buf_fini(&r->strange);
    buf_fini(&r->text);
    buf_fini(&r->known);
    free(r);
}
