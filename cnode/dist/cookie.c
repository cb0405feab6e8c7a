#include "dist/cookie.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static bool fail(char *why, const char *path, const char *what)
{
    snprintf(why, COOKIE_WHY, "%.300s: %s", path, what);
    return false;
}

/* One byte at a time, for what follows on standard input is not ours; and into its place at once,
 * so that no buffer keeps a copy. */
static bool read_line(int fd, struct cookie *c, const char *path, char *why)
{
    c->len = 0;
    for (;;) {
        const ssize_t n = read(fd, c->bytes + c->len, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(why, path, strerror(errno));
        if (n == 0 || c->bytes[c->len] == '\n')
            break;
        if (c->len == COOKIE_MAX)
            return fail(why, path, "the cookie is longer than 255 characters");
        c->len++;
    }
    if (c->len > 0 && c->bytes[c->len - 1] == '\r')
        c->len--;
    return c->len > 0 || fail(why, path, "it holds no cookie");
}

static bool is_private(int fd, const char *path, char *why)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fail(why, path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(why, path, "not a regular file");
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return fail(why, path, "it belongs to another user, neither to this one nor to root");
    if (st.st_mode & 077)
        return fail(why, path, "others than its owner may read or write it (chmod 400 it)");
    return true;
}

static bool expand(const char *path, char *full, char *why)
{
    const char *home = "";
    if (strncmp(path, "~/", 2) == 0) {
        home = getenv("HOME");
        path++;
        if (home == NULL)
            return fail(why, "~/.erlang.cookie", "HOME is not set; use --cookie-file");
    }
    return snprintf(full, PATH_MAX, "%s%s", home, path) < PATH_MAX ||
           fail(why, path, strerror(ENAMETOOLONG));
}

static bool read_file(struct cookie *c, const char *path, char *why)
{
    char full[PATH_MAX];
    if (!expand(path, full, why))
        return false;
    const int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(why, full, strerror(errno));
    const bool good = is_private(fd, full, why) && read_line(fd, c, full, why);
    close(fd);
    return good;
}

bool cookie_read(struct cookie *c, const char *path, char why[COOKIE_WHY])
{
    const bool good = strcmp(path, "-") == 0 ? read_line(STDIN_FILENO, c, "standard input", why)
                                             : read_file(c, path, why);
    if (!good)
        explicit_bzero(c, sizeof *c);
    return good;
}
