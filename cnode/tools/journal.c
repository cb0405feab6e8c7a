#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "store/journal.h"
#include "store/replay.h"
#include "sys/os.h"
#include "tools/tools.h"

static int fail(const char *name, const char *what)
{
    return tool_say(TOOL_FAILED, name, what);
}

/* Nobody else may have it. A descriptor, or -1 and errno. */
static int lock_beneath(int dir, const char *name)
{
    const int fd = os.open(dir, name, O_RDWR, 0);
    if (fd < 0 || os.lock_exclusive(fd) == 0)
        return fd;
    const int number = errno;
    os.close(fd);
    errno = number;
    return -1;
}

static const char *reason(void)
{
    return errno == EAGAIN ? "a daemon has it open" : strerror(errno);
}

/* Each damaged place with all that comes after it: after two of them nothing is left. */
static int mend(const char *path, int dir)
{
    enum { MOST = 8 };
    char what[JOURNAL_WHY];
    for (int i = 0; i < MOST; i++) {
        const enum err e = halves_mend(dir, &journal_limits, what);
        if (e == ERR_EMPTY) {
            if (i == 0)
                printf("%s: nothing is damaged\n", path);
            return TOOL_DONE;
        }
        if (e != OK)
            return fail(path, err_text(e));
        printf("%s/%s\n", path, what);
    }
    return fail(path, "it stays damaged");
}

int tool_repair_journal(const struct tool_call *call)
{
    const char *data_dir = call->arguments[0];
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/.emmap", data_dir) >= (int)sizeof path)
        return fail(data_dir, strerror(ENAMETOOLONG));
    const int dir = os.open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    const int lock = dir < 0 ? -1 : lock_beneath(dir, "lock");
    const int exit_code = lock < 0 ? fail(path, reason()) : mend(path, dir);
    if (lock >= 0)
        os.close(lock);
    if (dir >= 0)
        os.close(dir);
    return exit_code;
}

static int forget(const char *file, int fd)
{
    struct mark mark;
    enum err e = mark_read(fd, &mark);
    if (e == ERR_ENOENT) {
        printf("%s: no journal has changes of it\n", file);
        return TOOL_DONE;
    }
    if (e == OK)
        e = mark_remove(fd);
    if (e != OK)
        return fail(file, err_text(e));
    printf("%s: what the journal in %s has of it is void\n", file, mark.dir);
    return TOOL_DONE;
}

int tool_forget_journal(const struct tool_call *call)
{
    const char *file = call->arguments[0];
    const int fd = lock_beneath(AT_FDCWD, file);
    if (fd < 0)
        return fail(file, reason());
    const int exit_code = forget(file, fd);
    os.close(fd);
    return exit_code;
}
