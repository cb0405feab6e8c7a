#include "sys/map.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "sys/guard.h"
#include "sys/os.h"

enum { PAGE = 4096, WARM_MS = 1000 };

static const uint64_t reserve_least = 256 << 20;
static const uint64_t size_most = (uint64_t)1 << 46; /* half of the address space of x86-64 */

static uint64_t most_of_one = UINT64_MAX;
static uint64_t most_of_all = UINT64_MAX;
static atomic_uint_fast64_t charged_to_all;

/* --- what may be mapped ---------------------------------------------------------------------- */

void map_limit(uint64_t one, uint64_t all)
{
    most_of_one = one;
    most_of_all = all;
}

uint64_t map_bytes(void)
{
    return charged_to_all;
}

static bool has_room(uint64_t has, uint64_t more)
{
    return more <= most_of_all && has <= most_of_all - more;
}

enum err map_admit(uint64_t size)
{
    if (size > most_of_one)
        return ERR_MAX_OBJECT_BYTES;
    return has_room(charged_to_all, size) ? OK : ERR_MAX_MAPPED;
}

/* Before the map gets so long; workers grow several at once. */
static enum err charge(struct map *m, uint64_t size)
{
    if (size > most_of_one)
        return ERR_MAX_OBJECT_BYTES;
    if (size <= m->charged)
        return OK;
    const uint64_t more = size - m->charged;
    uint64_t has = charged_to_all;
    do {
        if (!has_room(has, more))
            return ERR_MAX_MAPPED;
    } while (!atomic_compare_exchange_weak(&charged_to_all, &has, has + more));
    m->charged = size;
    return OK;
}

static void discharge(struct map *m, uint64_t size)
{
    if (m->charged <= size)
        return;
    atomic_fetch_sub(&charged_to_all, m->charged - size);
    m->charged = size;
}

/* --- pages ----------------------------------------------------------------------------------- */

static int protection(const struct map *m)
{
    return m->writable ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* Maps the pages that begin in [from, to), both multiples of a page, at their place after `at`. */
static enum err map_pages(const struct map *m, uint8_t *at, uint64_t from, uint64_t to, bool file)
{
    if (from >= to)
        return OK;
    const int sharing = file && m->sharing == MAP_OF_FILE ? MAP_SHARED : MAP_PRIVATE;
    const int source = file ? 0 : MAP_ANONYMOUS | MAP_NORESERVE;
    void *mapped = os.map(at + from, to - from, protection(m), sharing | source | MAP_FIXED,
                          file ? m->fd : -1, file ? (off_t)from : 0);
    return mapped == MAP_FAILED ? os_error("mmap") : OK;
}

/* Gives pages back to the reservation: touching them is a fault again. Where the host has no
 * mapping left for that they stay, out of reach, until others are mapped over them. */
static void unmap_pages(const struct map *m, uint64_t from, uint64_t to)
{
    if (from < to)
        (void)os.map(m->at + from, to - from, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

static enum err check_size(uint64_t size)
{
    errno = EFBIG;
    return size > size_most ? os_error("mmap") : OK;
}

static enum err reserve(uint64_t size, uint8_t **at, uint64_t *reserved)
{
    enum err e = check_size(size);
    if (e != OK)
        return e;
    uint64_t len = align_up(size * 4 > reserve_least ? size * 4 : reserve_least, PAGE);
    void *mapped = os.map(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED)
        return os_error("mmap");
    *at = mapped;
    *reserved = len;
    return OK;
}

enum err map_open(struct map *m, int fd, uint64_t size, bool writable, enum map_sharing sharing)
{
    *m = (struct map){.fd = fd, .sharing = sharing, .writable = writable};
    enum err e = charge(m, size);
    if (e == OK)
        e = reserve(size, &m->at, &m->reserved);
    if (e == OK) {
        e = map_pages(m, m->at, 0, align_up(size, PAGE), sharing != MAP_MEMORY);
        m->size = size;
    }
    if (e != OK)
        map_close(m);
    return e;
}

void map_close(struct map *m)
{
    if (m->at != NULL)
        os.unmap(m->at, m->reserved);
    if (m->fd >= 0)
        os.close(m->fd);
    discharge(m, 0);
    *m = (struct map){.fd = -1};
}

enum err map_allow_writes(struct map *m, int fd)
{
    const int old = m->fd;
    m->fd = fd;
    m->writable = true;
    enum err e = map_pages(m, m->at, 0, align_up(m->size, PAGE), true);
    if (e != OK) {
        m->fd = old;
        m->writable = false;
    }
    os.close(e == OK ? old : fd);
    return e;
}

static enum err allocate(const struct map *m, uint64_t from, uint64_t to)
{
    if (from >= to || os.allocate(m->fd, (off_t)from, (off_t)(to - from)) == 0)
        return OK;
    return os_error("fallocate");
}

enum err map_allocate(struct map *m)
{
    struct stat st;
    if (m->sharing != MAP_OF_FILE)
        return OK;
    if (os.fstat(m->fd, &st) != 0)
        return os_error("fstat");
    const bool whole = (uint64_t)st.st_blocks * 512 >= m->size;
    return whole ? OK : allocate(m, 0, m->size);
}

enum err map_back(struct map *m, uint64_t pos, uint64_t len)
{
    return m->sharing == MAP_OF_FILE ? allocate(m, pos, pos + len) : OK;
}

static void populate(const struct map *m, uint64_t pos, uint64_t len, int advice)
{
    const uint64_t from = pos / PAGE * PAGE;
    const uint64_t most = align_up(m->size, PAGE);
    const uint64_t to = align_up(pos + len, PAGE) < most ? align_up(pos + len, PAGE) : most;
    if (from < to)
        (void)os.advise(m->at + from, to - from, advice);
}

void map_fetch(struct map *m, uint64_t pos, uint64_t len)
{
    populate(m, pos, len, MADV_POPULATE_READ);
}

void map_prepare(struct map *m, uint64_t pos, uint64_t len)
{
    populate(m, pos, len, MADV_POPULATE_WRITE);
}

/* A larger reservation elsewhere, with the same bytes. What is no view of the file is copied. */
static enum err move(struct map *m, uint64_t size)
{
    uint8_t *at = NULL;
    uint64_t reserved = 0;
    enum err e = reserve(size, &at, &reserved);
    if (e != OK)
        return e;
    e = map_pages(m, at, 0, align_up(m->size, PAGE), m->sharing == MAP_OF_FILE);
    if (e == OK && m->sharing != MAP_OF_FILE && !guard_copy(at, m->at, m->size))
        e = ERR_EIO;
    os.unmap(e == OK ? m->at : at, e == OK ? m->reserved : reserved);
    if (e == OK) {
        m->at = at;
        m->reserved = reserved;
    }
    return e;
}

static enum err map_more(struct map *m, uint64_t size)
{
    if (size > m->reserved) {
        enum err e = move(m, size);
        if (e != OK)
            return e;
    }
    enum err e = map_pages(m, m->at, align_up(m->size, PAGE), align_up(size, PAGE),
                           m->sharing == MAP_OF_FILE);
    if (e == OK)
        m->size = size;
    return e;
}

static enum err grow_file(struct map *m, uint64_t size)
{
    struct stat st;
    if (os.fstat(m->fd, &st) != 0)
        return os_error("fstat");
    enum err e = allocate(m, m->size, size);
    if (e == OK)
        e = map_more(m, size);
    /* fallocate may have made the file longer before it ran out of space; what another program
     * has put behind our end stays */
    if (e != OK)
        (void)!os.truncate(m->fd, st.st_size);
    return e;
}

struct wipe {
    uint8_t *at;
    size_t len;
};

static void wipe_touch(void *arg)
{
    const struct wipe *w = arg;
    memset(w->at, 0, w->len);
}

/* The rest of the last page holds what was there before a shrink, or what the file got since. */
static enum err grow_memory(struct map *m, uint64_t size)
{
    struct wipe w = {.at = m->at + m->size, .len = align_up(m->size, PAGE) - m->size};
    if (w.len > 0 && !guard_run(wipe_touch, &w))
        return ERR_EIO;
    return map_more(m, size);
}

static enum err grow(struct map *m, uint64_t size)
{
    enum err e = check_size(size);
    if (e == OK)
        e = charge(m, size);
    if (e == OK)
        e = m->sharing == MAP_OF_FILE ? grow_file(m, size) : grow_memory(m, size);
    if (e != OK)
        discharge(m, m->size);
    return e;
}

static void forget(struct map *m, uint64_t size)
{
    unmap_pages(m, align_up(size, PAGE), align_up(m->size, PAGE));
    memset(m->warm, 0, sizeof m->warm);
    m->size = size;
}

static enum err shrink(struct map *m, uint64_t size)
{
    if (m->sharing == MAP_OF_FILE && os.truncate(m->fd, (off_t)size) != 0)
        return os_error("ftruncate");
    forget(m, size);
    return OK;
}

enum err map_resize(struct map *m, uint64_t size)
{
    if (!m->writable)
        return ERR_EACCES;
    if (size == m->size)
        return OK;
    enum err e = size > m->size ? grow(m, size) : shrink(m, size);
    discharge(m, m->size);
    return e;
}

enum err map_clear(struct map *m, uint64_t size)
{
    must(size <= m->size);
    if (!m->writable)
        return ERR_EACCES;
    enum err e = shrink(m, 0);
    if (e == OK && size > 0)
        e = grow(m, size);
    discharge(m, m->size);
    return e;
}

enum err map_follow(struct map *m, uint64_t size)
{
    enum err e = OK;
    if (size > m->size)
        e = charge(m, size);
    if (e == OK && size > m->size)
        e = map_more(m, size);
    if (size < m->size)
        forget(m, size);
    discharge(m, m->size);
    return e;
}

enum err map_sync(struct map *m)
{
    if (m->sharing != MAP_OF_FILE || os.sync(m->fd) == 0)
        return OK;
    return os_error("fdatasync");
}

enum err map_write_back(struct map *m)
{
    if (m->sharing != MAP_OF_FILE || os.write_back(m->fd) == 0)
        return OK;
    return os_error("sync_file_range");
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Asking the kernel costs as much as the rest of a small request. A page that was in memory a
 * moment ago and is touched again is the last that it would drop, so the answer is kept a while. */
bool map_resident(struct map *m, uint64_t pos, uint64_t len)
{
    if (len == 0)
        return true;
    const uint64_t page = pos / PAGE;
    const bool one_page = page == (pos + len - 1) / PAGE;
    if (one_page && m->warm[page % 8].page == page + 1 && m->warm[page % 8].until_ms > now_ms())
        return true;
    if (os.resident(m->at + pos, len) != 1)
        return false;
    if (one_page) {
        m->warm[page % 8].page = page + 1;
        m->warm[page % 8].until_ms = now_ms() + WARM_MS;
    }
    return true;
}
