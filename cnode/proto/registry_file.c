#include "proto/registry_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "sys/os.h"

static const char folder[] = ".emmap";
static const char file[] = "registered";
static const char fresh[] = "registered.new";
static const char lock[] = "registered.lock";

/* --- lines: name, tab, path ------------------------------------------------------------------- */

struct lines {
    struct span *list; /* ascending */
    size_t n;
};

static int compare(struct span a, struct span b)
{
    const int c = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_bytes(const void *a, const void *b)
{
    const struct span *x = a;
    const struct span *y = b;
    return compare(*x, *y);
}

static struct span next_line(struct span *text)
{
    const uint8_t *end = memchr(text->at, '\n', text->len);
    const size_t len = end == NULL ? text->len : (size_t)(end - text->at) + 1;
    const struct span line = span_of(text->at, len);
    *text = span_of(text->at + len, text->len - len);
    return line;
}

static bool split(struct span text, struct lines *lines)
{
    size_t n = 0;
    for (struct span rest = text; rest.len > 0;) {
        next_line(&rest);
        n++;
    }
    lines->list = malloc((n + 1) * sizeof *lines->list);
    if (lines->list == NULL)
        return false;
    for (lines->n = 0; text.len > 0; lines->n++)
        lines->list[lines->n] = next_line(&text);
    if (n > 0)
        qsort(lines->list, n, sizeof *lines->list, by_bytes);
    return true;
}

/* The first that is not less. */
static size_t place(const struct lines *lines, struct span line)
{
    size_t from = 0;
    size_t to = lines->n;
    while (from < to) {
        const size_t mid = from + (to - from) / 2;
        if (compare(lines->list[mid], line) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static bool has(const struct lines *lines, struct span line)
{
    const size_t i = place(lines, line);
    return i < lines->n && compare(lines->list[i], line) == 0;
}

static bool has_name_of(const struct lines *lines, struct span line)
{
    const uint8_t *tab = memchr(line.at, '\t', line.len);
    if (tab == NULL)
        return false;
    const struct span name = span_of(line.at, (size_t)(tab - line.at) + 1);
    const size_t i = place(lines, name);
    return i < lines->n && lines->list[i].len >= name.len &&
           memcmp(lines->list[i].at, name.at, name.len) == 0;
}

static void put_merged(struct buf *to, const struct lines *known, const struct lines *own,
                       const struct lines *now)
{
    for (size_t i = 0; i < own->n; i++) {
        const struct span line = own->list[i];
        if (!has(known, line) || has(now, line))
            buf_put(to, line.at, line.len);
    }
    for (size_t i = 0; i < now->n; i++) {
        const struct span line = now->list[i];
        if (!has(known, line) && !has(own, line) && !has_name_of(own, line))
            buf_put(to, line.at, line.len);
    }
}

static enum err merge(struct buf *to, struct span known_text, struct span own_text,
                      struct span now_text)
{
    struct lines known = {.n = 0};
    struct lines own = {.n = 0};
    struct lines now = {.n = 0};
    const bool good = split(known_text, &known) && split(own_text, &own) && split(now_text, &now);
    if (good)
        put_merged(to, &known, &own, &now);
    free(known.list);
    free(own.list);
    free(now.list);
    return good && !to->failed ? OK : ERR_ENOMEM;
}

/* --- the file ----------------------------------------------------------------------------------
 */

/* The folder, made where it is missing. */
static int open_folder(int data)
{
    int dir = os.open_beneath(data, folder, O_RDONLY | O_DIRECTORY, 0);
    if (dir >= 0 || errno != ENOENT)
        return dir;
    if ((os.make_dir(data, folder, 0700) != 0 && errno != EEXIST) || os.sync_all(data) != 0)
        return -1;
    return os.open_beneath(data, folder, O_RDONLY | O_DIRECTORY, 0);
}

static enum err read_from(int fd, struct buf *text)
{
    struct stat st;
    if (os.fstat(fd, &st) != 0)
        return err_last();
    if (st.st_size == 0)
        return OK;
    uint8_t *to = st.st_size > REGISTRY_FILE_MOST ? NULL : buf_grow(text, (size_t)st.st_size);
    if (to == NULL)
        return ERR_ENOMEM;
    const ssize_t n = os_read_all(fd, to, (size_t)st.st_size, 0);
    if (n < 0)
        return err_last();
    text->len += (size_t)n;
    if (n > 0 && to[n - 1] != '\n') /* changed by hand */
        return buf_put(text, "\n", 1) ? OK : ERR_ENOMEM;
    return OK;
}

/* What is there now; where nothing is, what was. */
static enum err read_now(int dir, struct span known, struct buf *text)
{
    const int fd = os.open_beneath(dir, file, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 && errno != ENOENT)
        return err_last();
    if (fd < 0)
        return buf_put(text, known.at, known.len) ? OK : ERR_ENOMEM;
    const enum err e = read_from(fd, text);
    os.close(fd);
    return e;
}

static enum err replace(int dir, const struct buf *text, bool *replaced)
{
    enum err e = OK;
    os.unlink(dir, fresh);
    int fd = os.open_beneath(dir, fresh, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return err_last();
    *replaced = os_write_all(fd, text->at, text->len, 0) == 0 && os.sync_all(fd) == 0 &&
                os.rename(dir, fresh, file) == 0;
    if (!*replaced || os.sync_all(dir) != 0)
        e = err_last();
    os.close(fd);
    return e;
}

static enum err change(int dir, struct span known, struct span own, bool *replaced)
{
    struct buf now;
    struct buf merged;
    buf_init(&now, SIZE_MAX);
    buf_init(&merged, SIZE_MAX);
    enum err e = read_now(dir, known, &now);
    if (e == OK)
        e = merge(&merged, known, own, span_of(now.at, now.len));
    if (e == OK)
        e = replace(dir, &merged, replaced);
    buf_fini(&now);
    buf_fini(&merged);
    return e;
}

/* A daemon that has been stopped may keep it for ever. */
static enum err wait_for_lock(int fd)
{
    enum { TRIES = 500, EACH_MS = 10 };
    const struct timespec pause = {.tv_nsec = EACH_MS * 1000000L};
    for (int i = 0; os.lock_exclusive(fd) != 0; i++) {
        if (errno != EAGAIN && errno != EINTR)
            return err_last();
        if (i == TRIES)
            return ERR_LOCKED;
        nanosleep(&pause, NULL);
    }
    return OK;
}

/* One daemon after the other. */
static enum err change_alone(int dir, struct span known, struct span own, bool *replaced)
{
    const int fd = os.open_beneath(dir, lock, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return err_last();
    enum err e = wait_for_lock(fd);
    if (e == OK)
        e = change(dir, known, own, replaced);
    os.close(fd);
    return e;
}

enum err registry_file_write(const char *data_dir, struct span known, struct span own,
                             bool *replaced)
{
    *replaced = false;
    int data = os.open(AT_FDCWD, data_dir, O_RDONLY | O_DIRECTORY, 0);
    if (data < 0)
        return err_last();
    int dir = open_folder(data);
    enum err e = dir < 0 ? err_last() : change_alone(dir, known, own, replaced);
    if (dir >= 0)
        os.close(dir);
    os.close(data);
    return e;
}

int registry_file_open(const char *data_dir)
{
    int fd = -1;
    int data = os.open(AT_FDCWD, data_dir, O_RDONLY | O_DIRECTORY, 0);
    int dir = data < 0 ? -1 : os.open_beneath(data, folder, O_RDONLY | O_DIRECTORY, 0);
    if (dir >= 0)
        fd = os.open_beneath(dir, file, O_RDONLY | O_NONBLOCK, 0);
    const int number = errno;
    if (dir >= 0)
        os.close(dir);
    if (data >= 0)
        os.close(data);
    errno = number;
    return fd;
}
