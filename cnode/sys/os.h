/* The system calls that tests must be able to make fail, as one table. Everything that touches a
 * file goes through `os`; each entry behaves as the call of its name (-1 and errno). */
#ifndef SYS_OS_H
#define SYS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "sys/err.h"

struct os {
    /* A file beneath the directory `dir` (a descriptor): never through a symbolic link or `..`
     * that leads out of it. Close-on-exec. O_CREAT comes with O_EXCL, and the new file has the
     * mode whatever the umask. */
    int (*open_beneath)(int dir, const char *name, int flags, mode_t mode);

    int (*open)(int dir, const char *name, int flags, mode_t mode); /* the same, following all */

    /* An unnamed file in the directory, and its name. ENOTSUP where there are no unnamed files. */
    int (*open_unnamed)(int dir, mode_t mode);
    int (*link_unnamed)(int fd, int dir, const char *name);
    int (*link)(int dir, const char *from, const char *to); /* a second name in the directory */

    int (*close)(int fd);
    int (*unlink)(int dir, const char *name);
    int (*fstat)(int fd, struct stat *st);
    ssize_t (*read_at)(int fd, void *bytes, size_t n, off_t offset);        /* pread */
    ssize_t (*write_at)(int fd, const void *bytes, size_t n, off_t offset); /* pwrite */
    int (*allocate)(int fd, off_t offset, off_t len); /* space, and the size where it grows */
    int (*truncate)(int fd, off_t size);
    int (*sync)(int fd);       /* data and size: fdatasync */
    int (*sync_all)(int fd);   /* fsync, also for directories */
    int (*write_back)(int fd); /* begin to write dirty pages; does not wait */
    /* Past the cache: pwrite with O_DIRECT; all three are multiples of 4096. */
    ssize_t (*write_direct)(int fd, const void *bytes, size_t n, off_t offset);

    /* The next range at `from` or behind it that has space, but is zeros for the file system, as
     * nothing was ever written there: 1; 0: none; -1 and errno, ENOTSUP where it cannot tell. */
    int (*next_unwritten)(int fd, off_t from, off_t *offset, off_t *len);
    int (*punch)(int fd, off_t offset, off_t len); /* a hole: zeros, and no space */
    int (*lock_shared)(int fd);    /* EAGAIN: another open file holds it exclusively */
    int (*lock_exclusive)(int fd); /* EAGAIN: another open file holds it */
    int (*locked)(int fd);         /* does another open file hold it? 1 or 0 */
    int (*locked_alone)(int fd);   /* exclusively? */
    int (*rename)(int dir, const char *from, const char *to);
    int (*own)(int fd, uid_t user, gid_t group); /* fchown */
    int (*make_dir)(int dir, const char *name, mode_t mode);

    /* A user attribute of the file; the length read, as fgetxattr. */
    int (*set_attribute)(int fd, const char *name, const void *value, size_t len);
    ssize_t (*get_attribute)(int fd, const char *name, void *value, size_t most);
    int (*remove_attribute)(int fd, const char *name); /* ENODATA: it has none */

    /* Calls each for every name in the directory, in no order. */
    int (*list)(int dir, void (*each)(void *arg, const char *name), void *arg);

    void *(*map)(void *at, size_t len, int prot, int flags, int fd, off_t offset);
    int (*unmap)(void *at, size_t len);
    int (*advise)(void *at, size_t len, int advice);

    /* Are all pages of the range in memory? -1 and errno as mincore. */
    int (*resident)(void *at, size_t len);

    /* Is this one of the local file systems that keep what a sync promises? */
    bool (*is_local)(int fd);
};

/* The calls of this host; a test may put its own in and back. */
extern struct os os;

/* os_error: what errno means, after a call of that name has failed. Name and number are kept for
 * os_failure, the last of this thread. */
struct os_failure {
    const char *call;
    int number;
};
enum err os_error(const char *call);
struct os_failure os_failure(void);

/* The whole of it, however the calls cut it up. os_write_all: -1 and errno, or 0; os_read_all: -1
 * and errno, or how much there is, at most n. */
int os_write_all(int fd, const void *bytes, size_t n, off_t offset);
ssize_t os_read_all(int fd, void *bytes, size_t n, off_t offset);

/* Calls that do not fail. */

/* os_random fills n bytes, at most 256, with what nobody can guess. */
void os_random(void *to, size_t n);

/* os_keep_descriptors: programs that are started get none from `first` on. */
void os_keep_descriptors(unsigned first);

/* os_keep_heap_small, at start: long blocks are mapped one by one, always. Else the allocator puts
 * them into its heap once it has seen some freed, and what lies behind them keeps their space. */
void os_keep_heap_small(void);

/* os_give_memory_back: what was freed goes back to the system. Takes a millisecond for some tens of
 * megabytes. */
void os_give_memory_back(void);

/* os_descriptors counts the open descriptors of this process. */
size_t os_descriptors(void);

/* os_keep_back keeps the last n descriptors that this process may have from objects, or half of all
 * where that is less; so many. Before there are threads. Descriptors are given by number, the least
 * that is free: os_may_hold, may an object have this one? os_is_scarce: it is, or nearly is, the
 * last of those. */
uint64_t os_keep_back(uint64_t n);
bool os_may_hold(int fd);
bool os_is_scarce(int fd);

#endif
