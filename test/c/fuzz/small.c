#include "fuzz/small.h"

#include <errno.h>
#include <sys/mman.h>

#include "sys/os.h"

enum { FILE_MOST = 4 << 20, MAP_MOST = 16 << 20 };

static struct os real;

static void *map_little(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (len <= MAP_MOST || prot == PROT_NONE) /* address space alone costs nothing */
        return real.map(at, len, prot, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

static int allocate_little(int fd, off_t offset, off_t len)
{
    if (offset <= FILE_MOST && len <= FILE_MOST - offset)
        return real.allocate(fd, offset, len);
    errno = EFBIG;
    return -1;
}

static int truncate_little(int fd, off_t size)
{
    if (size <= FILE_MOST)
        return real.truncate(fd, size);
    errno = EFBIG;
    return -1;
}

static int no_sync(int fd)
{
    (void)fd;
    return 0;
}

static void limit_host(void)
{
    real = os;
    os.map = map_little;
    os.allocate = allocate_little;
    os.truncate = truncate_little;
    os.sync = no_sync;
    os.sync_all = no_sync;
}

static void limit_peers(struct server_options *o)
{
    o->max_objects = 16;
    o->max_object_bytes = (uint64_t)FILE_MOST / 4 * 3;
    o->max_mapped = (uint64_t)FILE_MOST * 3;
    o->max_handles = 8;
    o->max_pending = 8;
    o->max_pending_bytes = SMALL_FRAME;
    o->max_leases = 10;
    o->max_waiting = 4;
    o->max_subscribers = 2;
    o->max_all_handles = 12;
    o->max_all_pending = 12;
    o->max_all_pending_bytes = (size_t)2 * SMALL_FRAME;
    o->max_all_leases = 15;
    o->max_all_waiting = 6;
    o->max_all_subscribers = 3;
    o->max_frame = SMALL_FRAME;
}

void small_open(struct host *h)
{
    limit_host();
    host_init(h);
    limit_peers(&h->options);
    host_open(h);
}

void small_close(struct host *h)
{
    host_close(h);
    os = real;
}
