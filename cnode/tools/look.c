#include "tools/look.h"

#include <errno.h>
#include <fcntl.h>

#include "proto/term.h"
#include "store/ownership.h"
#include "sys/log.h"
#include "sys/os.h"

static int fail(const struct look *l, const char *what)
{
    return tool_say(TOOL_FAILED, l->path, what);
}

/* A daemon has the lock of a queue for itself alone: a shared one is of somebody who looks at it,
 * as we do. Of other files daemons share the lock, too, and nobody can tell theirs from ours. */
static bool is_held(const struct look *l)
{
    const bool alone = l->kind == FILE_QUEUE || l->kind == FILE_NIF_QUEUE;
    return (alone ? os.locked_alone : os.locked)(l->fd) == 1;
}

static int refuse(const struct look *l)
{
    char what[256];
    snprintf(what, sizeof what, "%s has it open; --live looks at it all the same",
             l->owner[0] != '\0' ? l->owner : "a daemon or another program");
    return fail(l, what);
}

static int lock(struct look *l, bool live)
{
    l->in_use = is_held(l);
    ownership_read(l->fd, l->owner);
    if (live)
        return TOOL_DONE;
    if (!l->in_use && os.lock_shared(l->fd) != 0) {
        if (errno != EAGAIN)
            return fail(l, strerror(errno));
        l->in_use = true;
        ownership_read(l->fd, l->owner);
    }
    return l->in_use ? refuse(l) : TOOL_DONE;
}

static int identify(struct look *l)
{
    if (os.fstat(l->fd, &l->st) != 0)
        return fail(l, strerror(errno));
    if (!S_ISREG(l->st.st_mode))
        return fail(l, err_text(S_ISDIR(l->st.st_mode) ? ERR_EISDIR : ERR_NOT_REGULAR));
    enum err e = file_kind(l->fd, term_check, &l->kind);
    if (e != OK)
        return fail(l, err_text(e));
    e = mark_read(l->fd, &l->mark);
    l->has_journal = e == OK;
    return e == OK || e == ERR_ENOENT ? TOOL_DONE : fail(l, err_text(e));
}

/* What the engine would write to its log the tools say themselves. */
int look_open(struct look *l, const char *path, bool live)
{
    *l = (struct look){.path = path};
    if (!log_open("/dev/null"))
        return fail(l, strerror(errno));
    /* a FIFO must not be waited for */
    l->fd = os.open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0);
    if (l->fd < 0)
        return fail(l, strerror(errno));
    int exit_code = identify(l);
    if (exit_code == TOOL_DONE)
        exit_code = lock(l, live);
    if (exit_code != TOOL_DONE)
        look_close(l);
    return exit_code;
}

void look_close(struct look *l)
{
    os.close(l->fd);
    l->fd = -1;
}
