#include "sys/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "sys/bytes.h"

/* Linux: openat2, O_TMPFILE, OFD locks, sync_file_range, mincore, statfs magic. */

/* A new file has the mode that was asked for, whatever the umask. */
static int with_mode(int fd, mode_t mode)
{
    if (fd < 0 || fchmod(fd, mode) == 0)
        return fd;
    close(fd);
    return -1;
}

static int linux_open_beneath(int dir, const char *name, int flags, mode_t mode)
{
    const bool make = (flags & O_CREAT) != 0;
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC | O_NOCTTY),
        .mode = make ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    /* EAGAIN: somebody has renamed or mounted anything, anywhere, while a `..` was followed */
    enum { TRIES = 1000 };
    int fd = -1;
    errno = EAGAIN;
    for (int i = 0; fd < 0 && errno == EAGAIN && i < TRIES; i++)
        fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
    if (fd < 0 && errno == EAGAIN)
        errno = EBUSY;
    return make ? with_mode(fd, mode) : fd;
}

static int posix_open(int dir, const char *name, int flags, mode_t mode)
{
    return openat(dir, name, flags | O_CLOEXEC | O_NOCTTY, mode);
}

static int linux_open_unnamed(int dir, mode_t mode)
{
    const int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (fd < 0 && (errno == EISDIR || errno == EOPNOTSUPP || errno == EINVAL))
        errno = ENOTSUP;
    return with_mode(fd, mode);
}

static int linux_link_unnamed(int fd, int dir, const char *name)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, dir, name, AT_SYMLINK_FOLLOW);
}

static int posix_link(int dir, const char *from, const char *to)
{
    return linkat(dir, from, dir, to, 0);
}

static int posix_unlink(int dir, const char *name)
{
    return unlinkat(dir, name, 0);
}

/* fallocate would fill the disk before it finds that there is too little, and everybody else
 * would find it full meanwhile. */
static bool has_room(int fd, off_t end)
{
    struct stat st;
    struct statfs fs;
    if (fstat(fd, &st) != 0 || fstatfs(fd, &fs) != 0 || fs.f_blocks == 0)
        return true; /* unknown, or a tmpfs without a limit: let the call itself say */
    return (end - st.st_blocks * 512) / fs.f_bsize <= (int64_t)fs.f_bfree;
}

static int linux_allocate(int fd, off_t offset, off_t len)
{
    int result;
    if (!has_room(fd, offset + len)) {
        errno = ENOSPC;
        return -1;
    }
    do
        result = fallocate(fd, 0, offset, len);
    while (result != 0 && errno == EINTR);
    return result;
}

static int linux_write_back(int fd)
{
    return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int linux_lock_shared(int fd)
{
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &whole);
}

static int linux_lock_exclusive(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &whole);
}

static ssize_t linux_write_direct(int fd, const void *bytes, size_t n, off_t offset)
{
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0)
        return -1;
    const ssize_t written = pwrite(fd, bytes, n, offset);
    const int number = errno;
    (void)fcntl(fd, F_SETFL, flags);
    errno = number;
    return written;
}

static int linux_next_unwritten(int fd, off_t from, off_t *offset, off_t *len)
{
    enum { AT_ONCE = 64 };
    union {
        struct fiemap map;
        uint8_t room[sizeof(struct fiemap) + AT_ONCE * sizeof(struct fiemap_extent)];
    } ask;
    uint64_t at = (uint64_t)from;
    for (;;) {
        memset(&ask, 0, sizeof ask);
        ask.map.fm_start = at;
        ask.map.fm_length = FIEMAP_MAX_OFFSET - at;
        ask.map.fm_extent_count = AT_ONCE;
        if (ioctl(fd, FS_IOC_FIEMAP, &ask.map) != 0) {
            errno = errno == ENOTTY ? ENOTSUP : errno;
            return -1;
        }
        for (uint32_t i = 0; i < ask.map.fm_mapped_extents; i++) {
            const struct fiemap_extent *e = &ask.map.fm_extents[i];
            const uint64_t end = e->fe_logical + e->fe_length;
            const uint64_t begin = e->fe_logical > at ? e->fe_logical : at;
            if ((e->fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0 && begin < end) {
                *offset = (off_t)begin;
                *len = (off_t)(end - begin);
                return 1;
            }
            at = end;
            if ((e->fe_flags & FIEMAP_EXTENT_LAST) != 0)
                return 0;
        }
        if (ask.map.fm_mapped_extents == 0)
            return 0;
    }
}

static int linux_locked(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

static int linux_locked_alone(int fd)
{
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type == F_WRLCK;
}

static int linux_punch(int fd, off_t offset, off_t len)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len);
}

static int posix_rename(int dir, const char *from, const char *to)
{
    return renameat(dir, from, dir, to);
}

static int linux_set_attribute(int fd, const char *name, const void *value, size_t len)
{
    return fsetxattr(fd, name, value, len, 0);
}

static int posix_list(int dir, void (*each)(void *arg, const char *name), void *arg)
{
    const int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d == NULL) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    const struct dirent *entry;
    while (errno = 0, (entry = readdir(d)) != NULL)
        each(arg, entry->d_name);
    const int number = errno;
    closedir(d);
    errno = number;
    return number == 0 ? 0 : -1;
}

static int linux_resident(void *at, size_t len)
{
    enum { PIECE = 256 };
    static const size_t PAGE = 4096;
    unsigned char in[PIECE];
    uint8_t *page = (uint8_t *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1));
    const uint8_t *end = (uint8_t *)at + len;
    while (page < end) {
        const size_t left = (size_t)(end - page), most = (size_t)PIECE * PAGE;
        const size_t n = left < most ? left : most;
        if (mincore(page, n, in) != 0)
            return -1;
        for (size_t i = 0; i < (n + PAGE - 1) / PAGE; i++)
            if ((in[i] & 1) == 0)
                return 0;
        page += n;
    }
    return 1;
}

static bool linux_is_local(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return false;
    switch ((uint32_t)fs.f_type) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
    case OVERLAYFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case (uint32_t)RAMFS_MAGIC:
    case HUGETLBFS_MAGIC: return true;
    default: return false;
    }
}

struct os os = {
    .open_beneath = linux_open_beneath,
    .open = posix_open,
    .open_unnamed = linux_open_unnamed,
    .link_unnamed = linux_link_unnamed,
    .link = posix_link,
    .close = close,
    .unlink = posix_unlink,
    .fstat = fstat,
    .read_at = pread,
    .write_at = pwrite,
    .allocate = linux_allocate,
    .truncate = ftruncate,
    .sync = fdatasync,
    .sync_all = fsync,
    .write_back = linux_write_back,
    .write_direct = linux_write_direct,
    .next_unwritten = linux_next_unwritten,
    .punch = linux_punch,
    .lock_shared = linux_lock_shared,
    .lock_exclusive = linux_lock_exclusive,
    .locked = linux_locked,
    .locked_alone = linux_locked_alone,
    .rename = posix_rename,
    .own = fchown,
    .make_dir = mkdirat,
    .set_attribute = linux_set_attribute,
    .get_attribute = fgetxattr,
    .remove_attribute = fremovexattr,
    .list = posix_list,
    .map = mmap,
    .unmap = munmap,
    .advise = madvise,
    .resident = linux_resident,
    .is_local = linux_is_local,
};

int os_write_all(int fd, const void *bytes, size_t n, off_t offset)
{
    const uint8_t *from = bytes;
    while (n > 0) {
        const ssize_t written = os.write_at(fd, from, n, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written == 0)
            errno = EIO; /* a disk that takes nothing and gives no reason */
        if (written <= 0)
            return -1;
        from += written;
        offset += written;
        n -= (size_t)written;
    }
    return 0;
}

ssize_t os_read_all(int fd, void *bytes, size_t n, off_t offset)
{
    size_t all = 0;
    while (all < n) {
        const ssize_t got = os.read_at(fd, (uint8_t *)bytes + all, n - all, offset + (off_t)all);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        all += (size_t)got;
    }
    return (ssize_t)all;
}

static _Thread_local struct os_failure last;

enum err os_error(const char *call)
{
    last = (struct os_failure){.call = call, .number = errno};
    return err_last();
}

struct os_failure os_failure(void)
{
    return last;
}

void os_random(void *to, size_t n)
{
    ssize_t got;
    do
        got = getrandom(to, n, 0);
    while (got < 0 && errno == EINTR);
    must(got == (ssize_t)n);
}

void os_keep_descriptors(unsigned first)
{
    must(close_range(first, ~0U, CLOSE_RANGE_CLOEXEC) == 0);
}

static int for_objects = INT_MAX; /* numbers below it */

uint64_t os_keep_back(uint64_t n)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur > INT_MAX)
        files.rlim_cur = INT_MAX;
    const uint64_t kept = n < files.rlim_cur / 2 ? n : files.rlim_cur / 2;
    for_objects = (int)(files.rlim_cur - kept);
    return kept;
}

bool os_may_hold(int fd)
{
    return fd < for_objects;
}

bool os_is_scarce(int fd)
{
    enum { SCARCE = 16 };
    return fd >= for_objects - SCARCE;
}

void os_keep_heap_small(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 512 << 10);
}

void os_give_memory_back(void)
{
    malloc_trim(0);
}

/* Linux 6.2 and later tell the number; before it was 0, and they have to be counted. */
size_t os_descriptors(void)
{
    struct stat st;
    size_t n = 0;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
        return (size_t)st.st_size;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 3; /* `.`, `..` and the descriptor of this very look */
}
