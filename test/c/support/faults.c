#include "support/faults.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/check.h"
#include "sys/bytes.h"
#include "sys/os.h"

static struct {
    struct os real;
    atomic_uint left; /* calls until one fails; 0: none will */
    atomic_int number;
    atomic_int how;
    const char *_Atomic failed;
} faults;

/* Is it this call? Two threads may come at once. */
static bool is_due(void)
{
    unsigned left = faults.left;
    while (left > 0 && !(left == 1 && faults.how == FAULTS_FOR_EVER))
        if (atomic_compare_exchange_weak(&faults.left, &left, left - 1))
            break;
    return left == 1;
}

static bool strikes(const char *name)
{
    if (!is_due())
        return false;
    faults.failed = name;
    if (faults.number == 0 && faults.how == FAULTS_ONCE)
        _exit(FAULTS_STOPPED);
    errno = faults.number;
    return true;
}

static bool fails(const char *name)
{
    return faults.how <= FAULTS_FOR_EVER && strikes(name);
}

/* Of so many bytes: how many are read or written. -1: it fails. */
static ssize_t moves(const char *name, size_t n)
{
    if (!strikes(name))
        return (ssize_t)n;
    return faults.how == FAULTS_SHORT ? (ssize_t)(n + 1) / 2 : -1;
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
    const ssize_t part = moves(__func__, n);
    return part < 0 ? -1 : faults.real.read_at(fd, bytes, (size_t)part, offset);
}

static ssize_t write_at(int fd, const void *bytes, size_t n, off_t offset)
{
    const ssize_t part = moves(__func__, n);
    return part < 0 ? -1 : faults.real.write_at(fd, bytes, (size_t)part, offset);
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

static ssize_t write_direct(int fd, const void *bytes, size_t n, off_t offset)
{
    return fails(__func__) ? -1 : faults.real.write_direct(fd, bytes, n, offset);
}

static int next_unwritten(int fd, off_t from, off_t *offset, off_t *len)
{
    return fails(__func__) ? -1 : faults.real.next_unwritten(fd, from, offset, len);
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

static int locked(int fd)
{
    return fails(__func__) ? 0 : faults.real.locked(fd);
}

static int locked_alone(int fd)
{
    return fails(__func__) ? 0 : faults.real.locked_alone(fd);
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

void faults_install(void)
{
    faults.real = os;
    faults.left = 0;
    faults.how = FAULTS_ONCE;
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
                     .write_direct = write_direct,
                     .next_unwritten = next_unwritten,
                     .punch = punch,
                     .lock_shared = lock_shared,
                     .lock_exclusive = lock_exclusive,
                     .rename = rename_it,
                     .own = own,
                     .make_dir = make_dir,
                     .set_attribute = set_attribute,
                     .get_attribute = get_attribute,
                     .remove_attribute = remove_attribute,
                     .locked = locked,
                     .locked_alone = locked_alone,
                     .list = list,
                     .map = map,
                     .unmap = unmap,
                     .advise = advise,
                     .resident = resident,
                     .is_local = is_local};
}

void faults_arm(unsigned n, int number, enum faults_how how)
{
    faults.number = number;
    faults.how = how;
    faults.failed = NULL;
    faults.left = n;
}

const char *faults_disarm(void)
{
    faults.left = 0;
    return faults.failed;
}

void faults_begin(unsigned n, int number)
{
    faults_install();
    faults_arm(n, number, FAULTS_ONCE);
}

const char *faults_end(void)
{
    os = faults.real;
    return faults_disarm();
}

int sync_fails(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

int no_space(int fd, off_t offset, off_t len)
{
    (void)fd;
    (void)offset;
    (void)len;
    errno = ENOSPC;
    return -1;
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
