#include "support/faults.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/check.h"
#include "sys/bytes.h"
#include "sys/os.h"

static struct {
    struct os real;
    unsigned left; /* calls until one fails; 0: it has */
    int number;
    const char *failed;
} faults;

static bool fails(const char *name)
{
    if (faults.left == 0 || --faults.left > 0)
        return false;
    faults.failed = name;
    if (faults.number == 0)
        _exit(FAULTS_STOPPED);
    errno = faults.number;
    return true;
}

static int open_beneath(int dir, const char *name, int flags, mode_t mode)
{
    return fails(__func__) ? -1 : faults.real.open_beneath(dir, name, flags, mode);
}

static int open_any(int dir, const char *name, int flags, mode_t mode)
{
    return fails("open") ? -1 : faults.real.open(dir, name, flags, mode);
}

static int open_unnamed(int dir, mode_t mode)
{
    return fails(__func__) ? -1 : faults.real.open_unnamed(dir, mode);
}

static int link_unnamed(int fd, int dir, const char *name)
{
    return fails(__func__) ? -1 : faults.real.link_unnamed(fd, dir, name);
}

static int link_named(int dir, const char *from, const char *to)
{
    return fails("link") ? -1 : faults.real.link(dir, from, to);
}

static int close_it(int fd)
{
    const int result = faults.real.close(fd);
    return fails("close") ? -1 : result;
}

static int unlink_it(int dir, const char *name)
{
    return fails("unlink") ? -1 : faults.real.unlink(dir, name);
}

static int fstat_it(int fd, struct stat *st)
{
    return fails("fstat") ? -1 : faults.real.fstat(fd, st);
}

static ssize_t read_at(int fd, void *bytes, size_t n, off_t offset)
{
    return fails(__func__) ? -1 : faults.real.read_at(fd, bytes, n, offset);
}

static ssize_t write_at(int fd, const void *bytes, size_t n, off_t offset)
{
    return fails(__func__) ? -1 : faults.real.write_at(fd, bytes, n, offset);
}

static int allocate(int fd, off_t offset, off_t len)
{
    return fails(__func__) ? -1 : faults.real.allocate(fd, offset, len);
}

static int truncate_it(int fd, off_t size)
{
    return fails("truncate") ? -1 : faults.real.truncate(fd, size);
}

static int sync_data(int fd)
{
    return fails("sync") ? -1 : faults.real.sync(fd);
}

static int sync_all(int fd)
{
    return fails(__func__) ? -1 : faults.real.sync_all(fd);
}

static int write_back(int fd)
{
    return fails(__func__) ? -1 : faults.real.write_back(fd);
}

static int lock_shared(int fd)
{
    return fails(__func__) ? -1 : faults.real.lock_shared(fd);
}

static int lock_exclusive(int fd)
{
    return fails(__func__) ? -1 : faults.real.lock_exclusive(fd);
}

static int punch(int fd, off_t offset, off_t len)
{
    return fails(__func__) ? -1 : faults.real.punch(fd, offset, len);
}

static int rename_it(int dir, const char *from, const char *to)
{
    return fails("rename") ? -1 : faults.real.rename(dir, from, to);
}

static int make_dir(int dir, const char *name, mode_t mode)
{
    return fails(__func__) ? -1 : faults.real.make_dir(dir, name, mode);
}

static int own(int fd, uid_t user, gid_t group)
{
    return fails(__func__) ? -1 : faults.real.own(fd, user, group);
}

static int set_attribute(int fd, const char *name, const void *value, size_t len)
{
    return fails(__func__) ? -1 : faults.real.set_attribute(fd, name, value, len);
}

static ssize_t get_attribute(int fd, const char *name, void *value, size_t most)
{
    return fails(__func__) ? -1 : faults.real.get_attribute(fd, name, value, most);
}

static int remove_attribute(int fd, const char *name)
{
    return fails(__func__) ? -1 : faults.real.remove_attribute(fd, name);
}

static int list(int dir, void (*each)(void *arg, const char *name), void *arg)
{
    return fails(__func__) ? -1 : faults.real.list(dir, each, arg);
}

static void *map(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    return fails(__func__) ? MAP_FAILED : faults.real.map(at, len, prot, flags, fd, offset);
}

static int unmap(void *at, size_t len)
{
    const int result = faults.real.unmap(at, len);
    return fails(__func__) ? -1 : result;
}

static int advise(void *at, size_t len, int advice)
{
    return fails(__func__) ? -1 : faults.real.advise(at, len, advice);
}

static int resident(void *at, size_t len)
{
    return fails(__func__) ? -1 : faults.real.resident(at, len);
}

static bool is_local(int fd)
{
    return fails(__func__) ? false : faults.real.is_local(fd);
}

void faults_begin(unsigned n, int number)
{
    faults.real = os;
    faults.left = n;
    faults.number = number;
    faults.failed = NULL;
    os = (struct os){.open_beneath = open_beneath,
                     .open = open_any,
                     .open_unnamed = open_unnamed,
                     .link_unnamed = link_unnamed,
                     .link = link_named,
                     .close = close_it,
                     .unlink = unlink_it,
                     .fstat = fstat_it,
                     .read_at = read_at,
                     .write_at = write_at,
                     .allocate = allocate,
                     .truncate = truncate_it,
                     .sync = sync_data,
                     .sync_all = sync_all,
                     .write_back = write_back,
                     .punch = punch,
                     .lock_shared = lock_shared,
                     .lock_exclusive = lock_exclusive,
                     .rename = rename_it,
                     .own = own,
                     .make_dir = make_dir,
                     .set_attribute = set_attribute,
                     .get_attribute = get_attribute,
                     .remove_attribute = remove_attribute,
                     .list = list,
                     .map = map,
                     .unmap = unmap,
                     .advise = advise,
                     .resident = resident,
                     .is_local = is_local};
}

const char *faults_end(void)
{
    os = faults.real;
    return faults.failed;
}

static long address_space(void)
{
    char line[64] = "";
    FILE *f = fopen("/proc/self/statm", "re");
    must(f != NULL && fgets(line, sizeof line, f) != NULL);
    fclose(f);
    return strtol(line, NULL, 10) / 256; /* pages of 4 KiB */
}

struct held held_now(void)
{
    return (struct held){.descriptors = os_descriptors(), .space = address_space()};
}

void held_as(struct held before)
{
    /* the least mapping reserves 256 MiB; the allocator may have taken a little */
    const struct held now = held_now();
    assert_int_equal(now.descriptors, before.descriptors);
    assert_in_range((now.space - before.space) + 128, 0, 256);
}
