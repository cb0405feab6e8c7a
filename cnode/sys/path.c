#include "sys/path.h"

#include <errno.h>
#include <fcntl.h>

#include "sys/os.h"

struct prefix {
    int dir;
    char *path; /* "" for "/" */
};

struct paths {
    char *data_dir;
    size_t count;
    struct prefix prefixes[];
};

static enum err prefix_open(struct prefix *prefix, const char *path)
{
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    prefix->dir = os.open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
    if (prefix->dir < 0)
        return err_last();
    prefix->path = strndup(path, len);
    return prefix->path == NULL ? ERR_ENOMEM : OK;
}

enum err paths_open(const char *data_dir, const char *const *allowed, struct paths **opened)
{
    size_t most = 1;
    while (allowed[most - 1] != NULL)
        most++;
    struct paths *p = calloc(1, sizeof *p + most * sizeof p->prefixes[0]);
    if (p == NULL)
        return ERR_ENOMEM;
    enum err e = OK;
    for (size_t i = 0; i < most && e == OK; i++, p->count++)
        e = prefix_open(&p->prefixes[i], i == 0 ? data_dir : allowed[i - 1]);
    if (e == OK)
        p->data_dir = p->prefixes[0].path;
    if (e != OK)
        paths_close(p);
    else
        *opened = p;
    return e;
}

void paths_close(struct paths *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->count; i++) {
        if (p->prefixes[i].dir >= 0)
            os.close(p->prefixes[i].dir);
        free(p->prefixes[i].path);
    }
    free(p);
}

static bool is_beneath(const struct prefix *prefix, const char *full)
{
    size_t len = strlen(prefix->path);
    return strncmp(prefix->path, full, len) == 0 && full[len] == '/';
}

/* The widest prefix decides: what it allows is allowed, whatever a narrower one says of links. */
static const struct prefix *prefix_of(const struct paths *p, const char *full)
{
    const struct prefix *widest = NULL;
    for (size_t i = 0; i < p->count; i++) {
        const struct prefix *prefix = &p->prefixes[i];
        if (is_beneath(prefix, full) &&
            (widest == NULL || strlen(prefix->path) < strlen(widest->path)))
            widest = prefix;
    }
    return widest;
}

bool path_is_confined(const struct paths *p, const char *full)
{
    const struct prefix *prefix = prefix_of(p, full);
    return prefix == NULL || prefix->path[0] != '\0';
}

/* Appends the steps of name, each after a slash, to full[0..len). */
static enum err append_steps(struct span name, char full[PATH_MAX], size_t len)
{
    for (size_t i = 0; i < name.len;) {
        const uint8_t *step = name.at + i;
        const uint8_t *slash = memchr(step, '/', name.len - i);
        size_t n = slash == NULL ? name.len - i : (size_t)(slash - step);
        i += n + 1;
        if (n == 0 || (n == 1 && step[0] == '.'))
            continue;
        if (len + 1 + n >= PATH_MAX)
            return ERR_ENAMETOOLONG;
        full[len++] = '/';
        memcpy(full + len, step, n);
        len += n;
    }
    full[len] = '\0';
    return len == 0 ? ERR_NOT_REGULAR : OK;
}

enum err path_resolve(const struct paths *p, struct span name, char full[PATH_MAX])
{
    if (name.len == 0 || memchr(name.at, 0, name.len) != NULL)
        return ERR_BADARG;
    size_t len = name.at[0] == '/' ? 0 : strlen(p->data_dir);
    memcpy(full, p->data_dir, len);
    enum err e = append_steps(name, full, len);
    if (e == OK && prefix_of(p, full) == NULL)
        e = ERR_EACCES;
    return e;
}

static int open_in(const struct prefix *prefix, const char *full, int flags)
{
    const char *rest = full + strlen(prefix->path) + 1;
    return prefix->path[0] == '\0' ? os.open(prefix->dir, rest, flags, 0)
                                   : os.open_beneath(prefix->dir, rest, flags, 0);
}

enum err path_open(const struct paths *p, const char *full, int flags, int *fd)
{
    const struct prefix *prefix = prefix_of(p, full);
    struct stat st;
    if (prefix == NULL)
        return ERR_EACCES;
    /* O_NONBLOCK: a FIFO must not hold us until fstat has told what it is */
    int opened = open_in(prefix, full, flags | O_NONBLOCK);
    if (opened < 0)
        return errno == ENXIO || errno == EISDIR ? ERR_NOT_REGULAR : err_last();
    enum err e = os.fstat(opened, &st) != 0 ? err_last()
                 : S_ISREG(st.st_mode)      ? OK
                                            : ERR_NOT_REGULAR;
    if (e != OK)
        os.close(opened);
    else
        *fd = opened;
    return e;
}

enum err path_parent(const struct paths *p, const char *full, struct place *place)
{
    const struct prefix *prefix = prefix_of(p, full);
    if (prefix == NULL)
        return ERR_EACCES;
    char parent[PATH_MAX + 2];
    const char *slash = strrchr(full, '/');
    const size_t len = (size_t)(slash - full);
    memcpy(parent, full, len);
    memcpy(parent + len, "/.", 3); /* "/." also where the parent is the prefix itself */
    if (strcmp(slash, "/..") == 0)
        return ERR_NOT_REGULAR;
    int dir = open_in(prefix, parent, O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return err_last();
    *place = (struct place){.dir = dir, .last = slash + 1};
    return OK;
}

enum err path_unlink(const struct paths *p, const char *full)
{
    struct place place = {.dir = -1};
    enum err e = path_parent(p, full, &place);
    if (e != OK)
        return e;
    if (os.unlink(place.dir, place.last) != 0)
        e = err_last();
    os.close(place.dir);
    return e;
}
