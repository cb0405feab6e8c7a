#include "store/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "sys/os.h"

static enum err open_named(struct new_file *f, mode_t mode)
{
    uint64_t number;
    os_random(&number, sizeof number);
    snprintf(f->temporary, sizeof f->temporary, ".emmap-%016jx", (uintmax_t)number);
    f->fd = os.open_beneath(f->place.dir, f->temporary, O_RDWR | O_CREAT | O_EXCL, mode);
    if (f->fd >= 0)
        return OK;
    f->temporary[0] = '\0';
    return err_last();
}

static enum err open_unnamed(struct new_file *f, mode_t mode)
{
    f->fd = os.open_unnamed(f->place.dir, mode);
    if (f->fd >= 0)
        return OK;
    return errno == ENOTSUP ? open_named(f, mode) : err_last();
}

/* Whatever it is: the link at the end would find out, after all the work. */
static enum err check_free(const struct place *place)
{
    const int fd = os.open(place->dir, place->last, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return errno == ENOENT ? OK : err_last();
    os.close(fd);
    return ERR_EEXIST;
}

enum err new_file_begin_in(struct new_file *f, struct place place, mode_t mode)
{
    *f = (struct new_file){.place = place, .fd = -1};
    enum err e = check_free(&place);
    if (e == OK)
        e = open_unnamed(f, mode);
    if (e == OK && !os_may_hold(f->fd))
        e = ERR_RESERVE_FDS;
    if (e != OK)
        new_file_drop(f);
    return e;
}

enum err new_file_begin(struct new_file *f, const struct paths *paths, const char *full,
                        mode_t mode, bool any)
{
    struct place place;
    enum err e = path_parent(paths, full, &place);
    if (e != OK)
        return e;
    if (any || os.is_local(place.dir))
        return new_file_begin_in(f, place, mode);
    os.close(place.dir);
    return ERR_ENOTSUP;
}

/* The end of the page that begins at `from`. */
static size_t page_end(size_t from, size_t len)
{
    enum { PAGE = 4096 };
    return len - from < PAGE ? len : from + PAGE;
}

static bool is_empty(const uint8_t *bytes, size_t from, size_t len)
{
    const uint8_t *at = bytes + from;
    return at[0] == 0 && memcmp(at, at + 1, page_end(from, len) - from - 1) == 0;
}

enum err new_file_write(const struct new_file *f, const uint8_t *bytes, size_t len, uint64_t pos)
{
    size_t end;
    for (size_t from = 0; from < len; from = end) {
        const bool empty = is_empty(bytes, from, len);
        end = page_end(from, len);
        while (end < len && is_empty(bytes, end, len) == empty)
            end = page_end(end, len);
        if (!empty && os_write_all(f->fd, bytes + from, end - from, (off_t)(pos + from)) != 0)
            return err_last();
    }
    return OK;
}

static int give_name(const struct new_file *f)
{
    const struct place *to = &f->place;
    return f->temporary[0] == '\0' ? os.link_unnamed(f->fd, to->dir, to->last)
                                   : os.link(to->dir, f->temporary, to->last);
}

/* Whether the name would outlive the machine is not known where the directory cannot be synced. */
static enum err appear(struct new_file *f)
{
    if (give_name(f) != 0)
        return err_last();
    if (os.sync_all(f->place.dir) == 0)
        return OK;
    enum err e = err_last();
    os.unlink(f->place.dir, f->place.last);
    return e;
}

enum err new_file_end(struct new_file *f)
{
    enum err e = os.sync_all(f->fd) == 0 ? OK : err_last();
    if (e == OK)
        e = appear(f);
    const int fd = f->fd;
    if (e == OK)
        f->fd = -1;
    new_file_drop(f);
    f->fd = e == OK ? fd : -1;
    return e;
}

void new_file_drop(struct new_file *f)
{
    if (f->temporary[0] != '\0')
        os.unlink(f->place.dir, f->temporary);
    if (f->fd >= 0)
        os.close(f->fd);
    os.close(f->place.dir);
    *f = (struct new_file){.fd = -1};
}
