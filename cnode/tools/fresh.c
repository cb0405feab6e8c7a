#include "tools/fresh.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "sys/bytes.h"
#include "sys/os.h"

static int fail(const struct fresh *f, int number)
{
    return tool_say(number == EEXIST ? TOOL_REFUSED : TOOL_FAILED, f->path, strerror(number));
}

/* 0, or what is wrong with the directory that the name is in. */
static int open_dir(struct fresh *f)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(f->path, '/');
    f->last = slash == NULL ? f->path : slash + 1;
    if (f->last[0] == '\0')
        return EISDIR;
    const size_t len = slash == NULL ? 0 : (size_t)(f->last - f->path);
    if (len >= sizeof dir)
        return ENAMETOOLONG;
    snprintf(dir, sizeof dir, "%.*s", (int)len, f->path);
    f->dir = os.open(AT_FDCWD, len == 0 ? "." : dir, O_RDONLY | O_DIRECTORY, 0);
    return f->dir < 0 ? errno : 0;
}

static bool is_taken(const struct fresh *f)
{
    const int fd = os.open(f->dir, f->last, O_PATH | O_NOFOLLOW, 0);
    if (fd >= 0)
        os.close(fd);
    return fd >= 0;
}

static int make(struct fresh *f, mode_t mode)
{
    int fd = os.open_unnamed(f->dir, mode);
    if (fd >= 0 || errno != ENOTSUP)
        return fd;
    uint64_t number;
    os_random(&number, sizeof number);
    snprintf(f->temporary, sizeof f->temporary, ".emmap-%016" PRIx64, number);
    fd = os.open_beneath(f->dir, f->temporary, O_RDWR | O_CREAT | O_EXCL, mode);
    if (fd < 0)
        f->temporary[0] = '\0';
    return fd;
}

int fresh_open(struct fresh *f, const char *path, const struct stat *like, int *fd)
{
    *f = (struct fresh){.path = path, .dir = -1};
    *fd = -1;
    int number = open_dir(f);
    if (number == 0 && is_taken(f))
        number = EEXIST;
    if (number == 0 && (*fd = make(f, like->st_mode & 0777)) < 0)
        number = errno;
    if (number == 0 && os.own(*fd, like->st_uid, like->st_gid) != 0 && errno != EPERM)
        number = errno;
    if (number == 0)
        return TOOL_DONE;
    if (*fd >= 0)
        os.close(*fd);
    fresh_close(f);
    return fail(f, number);
}

static int name_it(const struct fresh *f, int fd)
{
    return f->temporary[0] == '\0' ? os.link_unnamed(fd, f->dir, f->last)
                                   : os.link(f->dir, f->temporary, f->last);
}

int fresh_keep(struct fresh *f, int fd)
{
    if (os.sync_all(fd) != 0 || name_it(f, fd) != 0 || os.sync_all(f->dir) != 0)
        return fail(f, errno);
    return TOOL_DONE;
}

void fresh_close(struct fresh *f)
{
    if (f->temporary[0] != '\0')
        (void)os.unlink(f->dir, f->temporary);
    if (f->dir >= 0)
        os.close(f->dir);
    f->dir = -1;
    f->temporary[0] = '\0';
}
