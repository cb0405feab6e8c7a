#include "proto/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#include "proto/reply.h"
#include "sys/log.h"
#include "sys/os.h"

static const char folder[] = ".emmap";

/* --- processes ------------------------------------------------------------------------------- */

const struct process *registry_named(const struct server *s, const char *name)
{
    struct process *p;
    HASH_FIND_STR(s->processes, name, p);
    return p;
}

const struct process *registry_numbered(const struct server *s, uint32_t number)
{
    struct process *p;
    HASH_FIND(by_number, s->processes_by_number, &number, sizeof number, p);
    return p;
}

bool registry_is_allowed(const char *name)
{
    static const char *const taken[] = {
        "emmap", "net_kernel",         "rex",       "erlang", "user",
        "init",  "global_name_server", "undefined", ""};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(name, taken[i]) == 0)
            return false;
    return true;
}

static struct process *process_of(struct server *s, const char *path)
{
    struct process *p;
    struct process *next;
    HASH_ITER(hh, s->processes, p, next)
    {
        if (strcmp(p->path, path) == 0)
            return p;
    }
    return NULL;
}

static void number(struct server *s, struct process *p)
{
    p->number = s->next_process++;
    HASH_ADD(by_number, s->processes_by_number, number, sizeof p->number, p);
}

static enum err add(struct server *s, const char *name, const char *path)
{
    struct process *p = calloc(1, sizeof *p + strlen(name) + 1);
    char *copy = strdup(path);
    if (p == NULL || copy == NULL) {
        free(p);
        free(copy);
        return ERR_ENOMEM;
    }
    p->path = copy;
    memcpy(p->name, name, strlen(name) + 1);
    HASH_ADD_STR(s->processes, name, p);
    number(s, p);
    return OK;
}

static void tell_end(struct server *s, uint32_t ended, const char *reason)
{
    struct buf term;
    buf_init(&term, 1024);
    reply_atom(&term, reason);
    for (struct client *c = s->clients; c != NULL; c = c->next)
        if (!c->gone && c->outlet.ended != NULL)
            c->outlet.ended(c->conn, ended, span_of(term.at, term.len));
    buf_fini(&term);
}

static void drop(struct server *s, struct process *p)
{
    HASH_DELETE(hh, s->processes, p);
    free(p->path);
    free(p);
}

void registry_release(struct server *s, const char *path, const char *reason, bool for_good)
{
    struct process *p = process_of(s, path);
    if (p == NULL)
        return;
    HASH_DELETE(by_number, s->processes_by_number, p);
    tell_end(s, p->number, reason);
    if (for_good)
        drop(s, p);
    else
        number(s, p);
}

/* A file has one name: with another the old one is nobody's. */
enum err registry_claim(struct server *s, const char *name, const char *path, bool *again)
{
    const struct process *p = registry_named(s, name);
    *again = p != NULL;
    if (p != NULL)
        return strcmp(p->path, path) == 0 ? OK : ERR_REGISTERED;
    registry_release(s, path, "normal", true);
    return add(s, name, path);
}

/* --- the file -------------------------------------------------------------------------------- */

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

/* In place; false: that is no text of ours. */
static bool unescape(char *text)
{
    char *to = text;
    for (; *text != '\0'; text++, to++) {
        unsigned byte = 0;
        *to = *text;
        if (*text != '\\')
            continue;
        if (sscanf(text, "\\x%2x", &byte) != 1 || byte == 0)
            return false;
        *to = (char)byte;
        text += 3;
    }
    *to = '\0';
    return true;
}

void registry_text(struct server *s, const char *without, struct registry_text *to)
{
    struct process *p;
    struct process *next;
    static uint64_t serial;
    *to = (struct registry_text){.serial = ++serial, .data_dir = s->options.data_dir};
    buf_init(&to->text, SIZE_MAX);
    HASH_ITER(hh, s->processes, p, next)
    {
        if (without != NULL && strcmp(p->path, without) == 0)
            continue;
        put_escaped(&to->text, p->name);
        buf_put(&to->text, "\t", 1);
        put_escaped(&to->text, p->path);
        buf_put(&to->text, "\n", 1);
    }
}

static enum err replace(int dir, const struct buf *text)
{
    static const char name[] = "registered";
    static const char fresh[] = "registered.new";
    enum err e = OK;
    os.unlink(dir, fresh);
    int fd = os.open(dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    if (os.write_at(fd, text->at, text->len, 0) != (ssize_t)text->len || os.sync_all(fd) != 0 ||
        os.rename(dir, fresh, name) != 0 || os.sync_all(dir) != 0)
        e = err_from_errno(errno);
    os.close(fd);
    return e;
}

static enum err write_text(const struct registry_text *text)
{
    int data = os.open(AT_FDCWD, text->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (data < 0)
        return err_from_errno(errno);
    (void)mkdirat(data, folder, 0700);
    int dir = os.open(data, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    enum err e = dir < 0 ? err_from_errno(errno) : replace(dir, &text->text);
    if (e == OK && os.sync_all(data) != 0)
        e = err_from_errno(errno);
    if (dir >= 0)
        os.close(dir);
    os.close(data);
    return e;
}

enum err registry_write(const struct registry_text *text)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    static uint64_t newest;
    if (text->text.failed)
        return ERR_ENOMEM;
    pthread_mutex_lock(&one);
    enum err e = text->serial < newest ? OK : write_text(text);
    if (e == OK && text->serial > newest)
        newest = text->serial;
    pthread_mutex_unlock(&one);
    return e;
}

static void load_line(struct server *s, char *line)
{
    bool again;
    char *tab = strchr(line, '\t');
    line[strcspn(line, "\n")] = '\0';
    if (tab != NULL)
        *tab = '\0';
    if (tab == NULL || !unescape(line) || !unescape(tab + 1) || tab[1] != '/' ||
        !registry_is_allowed(line) || registry_claim(s, line, tab + 1, &again) != OK)
        log_warning("%s/%s/registered: a line makes no sense and is left out", s->options.data_dir,
                    folder);
}

void registry_load(struct server *s)
{
    char path[PATH_MAX];
    char *line = NULL;
    size_t cap = 0;
    s->next_process = PROCESS_FIRST_QUEUE;
    const int n = snprintf(path, sizeof path, "%s/%s/registered", s->options.data_dir, folder);
    FILE *f = n < (int)sizeof path ? fopen(path, "re") : NULL;
    if (f == NULL)
        return;
    while (getline(&line, &cap, f) > 0)
        load_line(s, line);
    free(line);
    fclose(f);
}

void registry_free(struct server *s)
{
    struct process *p;
    struct process *next;
    HASH_ITER(hh, s->processes, p, next)
    {
        HASH_DELETE(by_number, s->processes_by_number, p); /* NOLINT: it is in both */
        drop(s, p);
    }
}
