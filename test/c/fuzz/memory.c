#include "fuzz/memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sys/os.h"

#if defined(__SANITIZE_ADDRESS__)
#define IS_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_WATCHED 1
#endif
#endif

#ifdef IS_WATCHED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, len)   ((void)(at), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#endif

static _Alignas(4096) uint8_t file[MEMORY_MOST];
static size_t size;
static struct os real;

/* New bytes are zeros. */
static void set_size(size_t to)
{
    ASAN_UNPOISON_MEMORY_REGION(file, MEMORY_MOST);
    if (to > size)
        memset(file + size, 0, to - size);
    ASAN_POISON_MEMORY_REGION(file + to, MEMORY_MOST - to);
    size = to;
}

static bool fits(off_t offset, off_t len)
{
    return offset >= 0 && len >= 0 && offset <= MEMORY_MOST && len <= MEMORY_MOST - offset;
}

static int memory_fstat(int fd, struct stat *st)
{
    must(fd == MEMORY_FD);
    *st = (struct stat){.st_size = (off_t)size, .st_blocks = (blkcnt_t)(size / 512 + 1)};
    return 0;
}

static int memory_allocate(int fd, off_t offset, off_t len)
{
    must(fd == MEMORY_FD);
    if (!fits(offset, len)) {
        errno = ENOSPC;
        return -1;
    }
    if ((size_t)(offset + len) > size)
        set_size((size_t)(offset + len));
    return 0;
}

static int memory_truncate(int fd, off_t to)
{
    must(fd == MEMORY_FD);
    if (!fits(0, to)) {
        errno = EFBIG;
        return -1;
    }
    set_size((size_t)to);
    return 0;
}

static ssize_t memory_read_at(int fd, void *bytes, size_t n, off_t offset)
{
    must(fd == MEMORY_FD && offset >= 0);
    const size_t left = (size_t)offset < size ? size - (size_t)offset : 0;
    const size_t len = n < left ? n : left;
    if (len > 0)
        memcpy(bytes, file + offset, len);
    return (ssize_t)len;
}

static ssize_t memory_write_at(int fd, const void *bytes, size_t n, off_t offset)
{
    if (memory_allocate(fd, offset, (off_t)n) != 0)
        return -1;
    memcpy(file + offset, bytes, n);
    return (ssize_t)n;
}

static int memory_punch(int fd, off_t offset, off_t len)
{
    must(fd == MEMORY_FD && fits(offset, len) && (size_t)(offset + len) <= size);
    memset(file + offset, 0, (size_t)len);
    return 0;
}

static int memory_sync(int fd)
{
    must(fd == MEMORY_FD);
    return 0;
}

static void *memory_map_at(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    (void)len;
    (void)prot;
    (void)fd;
    (void)offset;
    return flags & MAP_FIXED ? at : MAP_FAILED;
}

static int memory_unmap(void *at, size_t len)
{
    (void)at;
    (void)len;
    return 0;
}

static int memory_advise(void *at, size_t len, int advice)
{
    (void)at;
    (void)len;
    (void)advice;
    return 0;
}

static int memory_resident(void *at, size_t len)
{
    (void)at;
    (void)len;
    return 1;
}

static int memory_close(int fd)
{
    must(fd == MEMORY_FD);
    return 0;
}

void memory_begin(void)
{
    real = os;
    os.fstat = memory_fstat;
    os.allocate = memory_allocate;
    os.truncate = memory_truncate;
    os.read_at = memory_read_at;
    os.write_at = memory_write_at;
    os.punch = memory_punch;
    os.sync = os.sync_all = memory_sync;
    os.map = memory_map_at;
    os.unmap = memory_unmap;
    os.advise = memory_advise;
    os.resident = memory_resident;
    os.close = memory_close;
    set_size(0);
}

void memory_end(void)
{
    os = real;
}

void memory_set(struct span bytes)
{
    must(bytes.len <= MEMORY_MOST);
    set_size(0);
    set_size(bytes.len);
    if (bytes.len > 0)
        memcpy(file, bytes.at, bytes.len);
}

struct span memory_bytes(void)
{
    return span_of(file, size);
}

struct map memory_map(void)
{
    return (struct map){.fd = MEMORY_FD,
                        .sharing = MAP_OF_FILE,
                        .writable = true,
                        .at = file,
                        .size = size,
                        .reserved = MEMORY_MOST};
}
