#include "tools/fresh.h"

#include <errno.h>
#include <fcntl.h>

#include "sys/os.h"

int fresh_fail(const char *path, enum err e)
{
    return tool_say(e == ERR_EEXIST || e == ERR_DAMAGED ? TOOL_REFUSED : TOOL_FAILED, path,
                    err_text(e));
}

static enum err open_place(const char *path, struct place *place)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    place->last = slash == NULL ? path : slash + 1;
    if (place->last[0] == '\0')
        return ERR_EISDIR;
    const int len = (int)(place->last - path);
    if (snprintf(dir, sizeof dir, "%.*s", len, path) >= (int)sizeof dir)
        return ERR_ENAMETOOLONG;
    place->dir = os.open(AT_FDCWD, len == 0 ? "." : dir, O_RDONLY | O_DIRECTORY, 0);
    return place->dir < 0 ? err_last() : OK;
}

/* Who may not give files away keeps it. */
static enum err own(const struct fresh *f, const struct stat *like)
{
    const bool done = os.own(f->file.fd, like->st_uid, like->st_gid) == 0 || errno == EPERM;
    return done ? OK : err_last();
}

int fresh_open(struct fresh *f, const char *path, const struct stat *like)
{
    struct place place;
    *f = (struct fresh){.path = path, .file.fd = -1};
    enum err e = open_place(path, &place);
    if (e == OK)
        e = new_file_begin_in(&f->file, place, like->st_mode & 0777);
    if (e == OK && (e = own(f, like)) != OK)
        new_file_drop(&f->file);
    return e == OK ? TOOL_DONE : fresh_fail(path, e);
}

enum err fresh_descriptor(const struct fresh *f, int *fd)
{
    *fd = fcntl(f->file.fd, F_DUPFD_CLOEXEC, 0);
    return *fd >= 0 ? OK : err_last();
}

int fresh_keep(struct fresh *f)
{
    const enum err e = new_file_end(&f->file);
    if (e != OK)
        return fresh_fail(f->path, e);
    os.close(f->file.fd);
    f->file.fd = -1;
    return TOOL_DONE;
}

void fresh_drop(struct fresh *f)
{
    if (f->file.fd >= 0)
        new_file_drop(&f->file);
}
