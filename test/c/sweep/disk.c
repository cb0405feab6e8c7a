#include "sweep/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "store/put.h"
#include "sweep/run.h"
#include "sys/os.h"

enum { SCRATCH = DISK_FILES - 1 };

static struct disk_file *files[DISK_FILES];
static struct disk_file scratch;
static struct os real;

void (*disk_hook)(void);
void (*disk_beside)(struct disk_file *f);

struct disk_file *disk_file_of(int fd)
{
    must(fd > 0 && fd < DISK_FILES && files[fd] != NULL);
    return files[fd];
}

static void hook(const struct disk_file *f)
{
    if (disk_hook != NULL && !f->forgets)
        disk_hook();
}

static void note(struct disk_file *f, uint32_t at, uint64_t value)
{
    if (f->forgets)
        return;
    if (f->n == f->cap) {
        f->cap = f->cap == 0 ? 4096 : 2 * f->cap;
        f->words = reallocarray(f->words, f->cap, sizeof *f->words);
        must(f->words != NULL);
    }
    f->words[f->n++] = (struct word){.at = at, .value = value};
}

/* A sector that a failed sync has left clean is written whole once a word of it is stored again. */
static void note_lost(struct disk_file *f, uint32_t sector)
{
    const uint32_t at = sector * DISK_SECTOR;
    f->lost[sector] = false;
    for (uint32_t word = at; word < at + DISK_SECTOR; word += 8) {
        uint64_t value;
        memcpy(&value, f->seen + word, sizeof value);
        note(f, word, value);
    }
}

/* The words of the range are in `mapped`; one after the other they are stored. */
static void note_range(struct disk_file *f, uint64_t at, size_t len)
{
    if (f->forgets)
        return;
    for (uint64_t word = at & ~UINT64_C(7); word < at + len; word += 8) {
        uint64_t value;
        memcpy(&value, f->mapped + word, sizeof value);
        memcpy(f->seen + word, &value, sizeof value);
        note(f, (uint32_t)word, value);
        if (f->lost[word / DISK_SECTOR])
            note_lost(f, (uint32_t)word / DISK_SECTOR);
        hook(f);
    }
}

static void watch(const struct map *m, uint64_t pos, const void *from, size_t len)
{
    enum { PAGE = 4096 };
    struct disk_file *f = disk_file_of(m->fd);
    (void)from;
    note_range(f, pos, len);
    if (len != 1 || pos % PAGE != 0 || f->forgets)
        return;
    /* put_again: the page as a whole is written once more */
    for (uint32_t s = (uint32_t)pos / DISK_SECTOR; s < (pos + PAGE) / DISK_SECTOR; s++)
        if (s < f->most / DISK_SECTOR && f->lost[s])
            note_lost(f, s);
}

/* --- the calls ------------------------------------------------------------------------------- */

static void end_of_file(const struct disk_file *f, uint8_t *bytes, uint32_t size)
{
    memset(bytes + size, 0, f->most - size);
}

static void set_size(struct disk_file *f, uint32_t size)
{
    if (!f->forgets)
        run.reached[size < f->seen_size ? SHRINK : GROWTH]++;
    if (size < f->seen_size) {
        end_of_file(f, f->mapped, size);
        end_of_file(f, f->seen, size);
    }
    f->seen_size = size;
    note(f, NO_WORD, size);
    hook(f);
}

static int sim_fstat(int fd, struct stat *st)
{
    *st = (struct stat){.st_size = disk_file_of(fd)->seen_size};
    return 0;
}

static int sim_allocate(int fd, off_t offset, off_t len)
{
    struct disk_file *f = disk_file_of(fd);
    if (offset + len > f->most) {
        errno = ENOSPC;
        return -1;
    }
    if (offset + len > f->seen_size)
        set_size(f, (uint32_t)(offset + len));
    return 0;
}

static int sim_truncate(int fd, off_t size)
{
    set_size(disk_file_of(fd), (uint32_t)size);
    return 0;
}

static ssize_t sim_write_at(int fd, const void *bytes, size_t n, off_t offset)
{
    struct disk_file *f = disk_file_of(fd);
    memcpy(f->mapped + offset, bytes, n);
    note_range(f, (uint64_t)offset, n);
    return (ssize_t)n;
}

static int sim_punch(int fd, off_t offset, off_t len)
{
    struct disk_file *f = disk_file_of(fd);
    memset(f->mapped + offset, 0, (size_t)len);
    note_range(f, (uint64_t)offset, (size_t)len);
    run.reached[HOLE] += !f->forgets;
    return 0;
}

static void apply(const struct disk_file *f, const struct word *w, uint8_t *bytes, uint32_t *size)
{
    if (w->at != NO_WORD) {
        memcpy(bytes + w->at, &w->value, sizeof w->value);
        return;
    }
    *size = (uint32_t)w->value;
    end_of_file(f, bytes, *size);
}

void disk_sync_begin(struct disk_file *f)
{
    f->syncing = true;
    f->mark = f->n;
}

static void complete(struct disk_file *f, bool fails)
{
    for (size_t i = 0; i < f->mark; i++)
        if (!fails || one_in(2))
            apply(f, &f->words[i], f->kept, &f->kept_size);
    end_of_file(f, f->kept, f->kept_size);
    memmove(f->words, f->words + f->mark, (f->n - f->mark) * sizeof *f->words);
    f->n -= f->mark;
    f->syncing = false;
}

void disk_settle(struct disk_file *f)
{
    disk_sync_begin(f);
    complete(f, false);
}

static uint8_t *sector_of(uint8_t *bytes, uint32_t sector)
{
    return bytes + (size_t)sector * DISK_SECTOR;
}

/* What counts as written may leave the cache; what has been stored since may not. */
static void drop_some(struct disk_file *f)
{
    bool dirty[DISK_SECTORS] = {false};
    for (size_t i = 0; i < f->n; i++)
        if (f->words[i].at != NO_WORD)
            dirty[f->words[i].at / DISK_SECTOR] = true;
    if (f->kept_size < f->seen_size)
        f->kept_size = f->seen_size;
    if (one_in(2))
        return;
    for (uint32_t s = 0; s < f->most / DISK_SECTOR; s++)
        if (!dirty[s] && one_in(4))
            memcpy(sector_of(f->seen, s), sector_of(f->kept, s), DISK_SECTOR);
    end_of_file(f, f->seen, f->seen_size);
    memcpy(f->mapped, f->seen, f->most);
}

static void mark_lost(struct disk_file *f)
{
    for (uint32_t s = 0; s < f->most / DISK_SECTOR; s++)
        f->lost[s] = memcmp(sector_of(f->seen, s), sector_of(f->kept, s), DISK_SECTOR) != 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->words[i].at != NO_WORD)
            f->lost[f->words[i].at / DISK_SECTOR] = true; /* with its page */
}

static int sim_sync(int fd)
{
    struct disk_file *f = disk_file_of(fd);
    if (f->forgets)
        return 0;
    if (!f->syncing)
        disk_sync_begin(f);
    hook(f);
    if (disk_beside != NULL)
        disk_beside(f);
    const bool fails = f->fails;
    f->fails = false;
    complete(f, fails);
    if (!fails) {
        hook(f);
        return 0;
    }
    run.reached[FAILED_SYNC]++;
    drop_some(f);
    mark_lost(f);
    errno = EIO;
    return -1;
}

static void *sim_map(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    (void)len;
    (void)prot;
    (void)fd;
    (void)offset;
    return flags & MAP_FIXED ? at : MAP_FAILED;
}

static int sim_advise(void *at, size_t len, int advice)
{
    (void)at;
    (void)len;
    (void)advice;
    return 0;
}

static int sim_resident(void *at, size_t len)
{
    (void)at;
    (void)len;
    return 1;
}

static int sim_unmap(void *at, size_t len)
{
    (void)at;
    (void)len;
    return 0;
}

static int sim_close(int fd)
{
    (void)fd;
    return 0;
}

void disk_begin(void)
{
    real = os;
    os.fstat = sim_fstat;
    os.allocate = sim_allocate;
    os.truncate = sim_truncate;
    os.write_at = sim_write_at;
    os.punch = sim_punch;
    os.sync = os.sync_all = sim_sync;
    os.map = sim_map;
    os.unmap = sim_unmap;
    os.advise = sim_advise;
    os.resident = sim_resident;
    os.close = sim_close;
    put_watch = watch;
}

void disk_end(void)
{
    os = real;
    put_watch = NULL;
}

/* --- files and images ------------------------------------------------------------------------ */

void disk_make(struct disk_file *f, int fd, uint32_t most)
{
    must(fd > 0 && fd < DISK_FILES && most <= DISK_CAP);
    f->fd = fd;
    f->most = most;
    f->n = f->mark = 0;
    f->syncing = f->fails = f->forgets = false;
    f->seen_size = f->kept_size = 0;
    memset(f->mapped, 0, most);
    memset(f->seen, 0, most);
    memset(f->kept, 0, most);
    memset(f->lost, 0, sizeof f->lost);
    disk_enter(f);
}

void disk_enter(struct disk_file *f)
{
    files[f->fd] = f;
}

struct map disk_map(struct disk_file *f)
{
    return (struct map){.fd = f->fd,
                        .sharing = MAP_OF_FILE,
                        .writable = true,
                        .at = f->mapped,
                        .size = f->seen_size,
                        .reserved = f->most};
}

void disk_kill(const struct disk_file *f, struct image *image)
{
    memcpy(image->bytes, f->seen, f->most);
    image->size = f->seen_size;
}

/* How many of its versions each sector has, and how many of them are kept. */
struct choice {
    uint16_t versions[DISK_SECTORS];
    uint16_t kept[DISK_SECTORS];
    uint16_t touched[DISK_SECTORS];
    unsigned n;
};

static void count_versions(const struct disk_file *f, struct choice *c)
{
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < f->n; i++)
        if (f->words[i].at != NO_WORD)
            c->versions[f->words[i].at / DISK_SECTOR]++;
    for (uint32_t s = 0; s < f->most / DISK_SECTOR; s++)
        if (c->versions[s] > 0)
            c->touched[c->n++] = (uint16_t)s;
}

static uint16_t any_version(uint16_t versions)
{
    switch (below(4)) {
    case 0: return 0;
    case 1: return versions;
    default: return (uint16_t)below(versions + 1U);
    }
}

static void choose(struct choice *c, enum cut how)
{
    for (unsigned i = 0; i < c->n; i++) {
        const uint16_t s = c->touched[i];
        c->kept[s] = how == CUT_SECTOR    ? any_version(c->versions[s])
                     : how == CUT_ALL_BUT ? c->versions[s]
                                          : 0;
    }
    if (how == CUT_SECTOR || c->n == 0)
        return;
    for (uint64_t left = 1 + below(2); left > 0; left--) {
        const uint16_t s = c->touched[below(c->n)];
        const unsigned other = how == CUT_ALL_BUT ? 0 : c->versions[s];
        c->kept[s] = (uint16_t)(one_in(2) ? other : below(c->versions[s] + 1U));
    }
}

/* Sizes reach the medium in order. */
static size_t sizes_kept(const struct disk_file *f)
{
    size_t sizes = 0;
    for (size_t i = 0; i < f->n; i++)
        sizes += f->words[i].at == NO_WORD;
    return sizes == 0 ? 0 : below(sizes + 1);
}

void disk_cut(const struct disk_file *f, enum cut how, struct image *image)
{
    static const uint64_t shares[] = {16, 128, 240};
    const uint64_t share = shares[below(3)];
    struct choice c;
    size_t sizes = sizes_kept(f);
    memcpy(image->bytes, f->kept, f->most);
    image->size = f->kept_size;
    if (how != CUT_WORDS) {
        count_versions(f, &c);
        choose(&c, how);
        memset(c.versions, 0, sizeof c.versions);
    }
    for (size_t i = 0; i < f->n; i++) {
        const struct word *w = &f->words[i];
        bool keep;
        if (w->at == NO_WORD)
            keep = sizes > 0 && sizes-- > 0;
        else if (how == CUT_WORDS)
            keep = (chance_word() >> 11 & 255) < share;
        else
            keep = c.versions[w->at / DISK_SECTOR]++ < c.kept[w->at / DISK_SECTOR];
        if (keep)
            apply(f, w, image->bytes, &image->size);
    }
    end_of_file(f, image->bytes, image->size);
}

void disk_become(struct disk_file *f, const struct image *image, bool power)
{
    memcpy(f->mapped, image->bytes, f->most);
    memcpy(f->seen, image->bytes, f->most);
    f->seen_size = image->size;
    f->syncing = false;
    if (!power)
        return;
    memcpy(f->kept, image->bytes, f->most);
    memset(f->lost, 0, sizeof f->lost);
    f->kept_size = image->size;
    f->n = 0;
}

struct disk_file *disk_scratch(const struct image *image)
{
    scratch.fd = SCRATCH;
    scratch.most = DISK_CAP;
    scratch.forgets = true;
    disk_enter(&scratch);
    memcpy(scratch.mapped, image->bytes, DISK_CAP);
    scratch.seen_size = image->size;
    return &scratch;
}
