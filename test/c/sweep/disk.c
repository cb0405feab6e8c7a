#include "sweep/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "store/put.h"
#include "sys/os.h"

enum { FILES = 8, SCRATCH = -7 };

static struct disk_file *files[FILES];
static struct os real;
static uint64_t random_state = 88172645463325252U;

bool disk_fails;
void (*disk_hook)(void);

uint64_t disk_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

void disk_seed(uint64_t seed)
{
    random_state = 88172645463325252U ^ seed * 0x9e3779b97f4a7c15U;
    for (int i = 0; i < 8; i++)
        disk_random();
}

static struct disk_file *file_of(int fd)
{
    for (int i = 0; i < FILES; i++)
        if (files[i] != NULL && files[i]->fd == fd)
            return files[i];
    abort();
}

static void hook(const struct disk_file *f)
{
    if (disk_hook != NULL && f->fd >= 0)
        disk_hook();
}

static void note(struct disk_file *f, uint32_t at, uint64_t value)
{
    if (f->fd < 0)
        return;
    if (f->n == f->cap) {
        f->cap = f->cap == 0 ? 4096 : 2 * f->cap;
        f->words = reallocarray(f->words, f->cap, sizeof *f->words);
        must(f->words != NULL);
    }
    f->words[f->n++] = (struct word){.at = at, .value = value};
}

/* A page that a failed sync has left clean is written whole once a word of it is stored again. */
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

static void note_range(struct disk_file *f, uint64_t at, size_t len)
{
    for (uint64_t word = at & ~UINT64_C(7); word < at + len; word += 8) {
        uint64_t value;
        memcpy(&value, f->seen + word, sizeof value);
        note(f, (uint32_t)word, value);
        if (f->lost[word / DISK_SECTOR])
            note_lost(f, (uint32_t)word / DISK_SECTOR);
    }
    hook(f);
}

static void watch(const struct map *m, uint64_t pos, const void *from, size_t len)
{
    (void)from;
    if (len > 0)
        note_range(file_of(m->fd), pos, len);
}

/* --- the calls ------------------------------------------------------------------------------- */

static void set_size(struct disk_file *f, uint32_t size)
{
    if (size < f->seen_size)
        memset(f->seen + size, 0, f->seen_size - size);
    f->seen_size = size;
    note(f, NO_WORD, size);
    hook(f);
}

static int sim_fstat(int fd, struct stat *st)
{
    *st = (struct stat){.st_size = file_of(fd)->seen_size};
    return 0;
}

static int sim_allocate(int fd, off_t offset, off_t len)
{
    struct disk_file *f = file_of(fd);
    if (offset + len > DISK_CAP) {
        errno = ENOSPC;
        return -1;
    }
    if (offset + len > f->seen_size)
        set_size(f, (uint32_t)(offset + len));
    return 0;
}

static int sim_truncate(int fd, off_t size)
{
    set_size(file_of(fd), (uint32_t)size);
    return 0;
}

static ssize_t sim_write_at(int fd, const void *bytes, size_t n, off_t offset)
{
    struct disk_file *f = file_of(fd);
    memcpy(f->seen + offset, bytes, n);
    note_range(f, (uint64_t)offset, n);
    return (ssize_t)n;
}

static int sim_punch(int fd, off_t offset, off_t len)
{
    struct disk_file *f = file_of(fd);
    memset(f->seen + offset, 0, (size_t)len);
    note_range(f, (uint64_t)offset, (size_t)len);
    return 0;
}

static void end_of_file(uint8_t *bytes, uint32_t size)
{
    memset(bytes + size, 0, DISK_CAP - size);
}

static void apply(const struct word *w, uint8_t *bytes, uint32_t *size)
{
    if (w->at != NO_WORD) {
        memcpy(bytes + w->at, &w->value, sizeof w->value);
        return;
    }
    *size = (uint32_t)w->value;
    end_of_file(bytes, *size);
}

void disk_sync_begin(struct disk_file *f)
{
    f->syncing = true;
    f->mark = f->n;
}

static void complete(struct disk_file *f, bool fails)
{
    for (size_t i = 0; i < f->mark; i++)
        if (!fails || disk_random() % 2 == 0)
            apply(&f->words[i], f->kept, &f->kept_size);
    end_of_file(f->kept, f->kept_size);
    memmove(f->words, f->words + f->mark, (f->n - f->mark) * sizeof *f->words);
    f->n -= f->mark;
    f->syncing = false;
}

void disk_sync_end(struct disk_file *f)
{
    complete(f, false);
}

static size_t sector_at(uint32_t sector)
{
    return (size_t)sector * DISK_SECTOR;
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
    if (disk_random() % 2 == 0)
        return;
    for (uint32_t s = 0; s < DISK_SECTORS; s++)
        if (!dirty[s] && disk_random() % 4 == 0)
            memcpy(f->seen + sector_at(s), f->kept + sector_at(s), DISK_SECTOR);
    end_of_file(f->seen, f->seen_size);
}

static void mark_lost(struct disk_file *f)
{
    for (uint32_t s = 0; s < DISK_SECTORS; s++)
        f->lost[s] = memcmp(f->seen + sector_at(s), f->kept + sector_at(s), DISK_SECTOR) != 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->words[i].at != NO_WORD)
            f->lost[f->words[i].at / DISK_SECTOR] = true; /* with its page */
}

static int sim_sync(int fd)
{
    struct disk_file *f = fd == SCRATCH ? NULL : file_of(fd);
    if (f == NULL)
        return 0;
    if (!f->syncing) {
        disk_sync_begin(f);
        hook(f);
    }
    const bool fails = disk_fails;
    disk_fails = false;
    complete(f, fails);
    if (!fails) {
        hook(f);
        return 0;
    }
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

static void enter(struct disk_file *f)
{
    for (int i = 0; i < FILES; i++)
        if (files[i] == f)
            return;
    for (int i = 0; i < FILES; i++) {
        if (files[i] == NULL) {
            files[i] = f;
            return;
        }
    }
    abort();
}

void disk_make(struct disk_file *f, int fd)
{
    f->fd = fd;
    f->n = f->mark = 0;
    f->syncing = false;
    f->seen_size = f->kept_size = 0;
    memset(f->seen, 0, sizeof f->seen);
    memset(f->kept, 0, sizeof f->kept);
    memset(f->lost, 0, sizeof f->lost);
    enter(f);
}

struct map disk_map(struct disk_file *f)
{
    return (struct map){.fd = f->fd,
                        .sharing = MAP_OF_FILE,
                        .writable = true,
                        .at = f->seen,
                        .size = f->seen_size,
                        .reserved = DISK_CAP};
}

void disk_kill(const struct disk_file *f, struct image *image)
{
    memcpy(image->bytes, f->seen, sizeof image->bytes);
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
    for (uint32_t s = 0; s < DISK_SECTORS; s++)
        if (c->versions[s] > 0)
            c->touched[c->n++] = (uint16_t)s;
}

static uint16_t any_version(uint16_t versions)
{
    switch (disk_random() % 4) {
    case 0: return 0;
    case 1: return versions;
    default: return (uint16_t)(disk_random() % (versions + 1U));
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
    for (uint64_t left = 1 + disk_random() % 2; left > 0; left--) {
        const uint16_t s = c->touched[disk_random() % c->n];
        const unsigned other = how == CUT_ALL_BUT ? 0 : c->versions[s];
        const uint64_t some = disk_random() % (c->versions[s] + 1U);
        c->kept[s] = (uint16_t)(disk_random() % 2 == 0 ? other : some);
    }
}

/* Sizes reach the medium in order. */
static size_t sizes_kept(const struct disk_file *f)
{
    size_t sizes = 0;
    for (size_t i = 0; i < f->n; i++)
        sizes += f->words[i].at == NO_WORD;
    return sizes == 0 ? 0 : disk_random() % (sizes + 1);
}

void disk_cut(const struct disk_file *f, enum cut how, struct image *image)
{
    static const uint64_t shares[] = {16, 128, 240};
    const uint64_t share = shares[disk_random() % 3];
    struct choice c;
    size_t sizes = sizes_kept(f);
    memcpy(image->bytes, f->kept, sizeof image->bytes);
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
            keep = disk_random() % 256 < share;
        else
            keep = c.versions[w->at / DISK_SECTOR]++ < c.kept[w->at / DISK_SECTOR];
        if (keep)
            apply(w, image->bytes, &image->size);
    }
    end_of_file(image->bytes, image->size);
}

void disk_become(struct disk_file *f, const struct image *image, bool power)
{
    memcpy(f->seen, image->bytes, sizeof f->seen);
    f->seen_size = image->size;
    f->syncing = false;
    if (!power)
        return;
    memcpy(f->kept, image->bytes, sizeof f->kept);
    memset(f->lost, 0, sizeof f->lost);
    f->kept_size = image->size;
    f->n = 0;
}

void disk_scratch(struct disk_file *f, const struct image *image)
{
    f->fd = SCRATCH;
    memcpy(f->seen, image->bytes, sizeof f->seen);
    f->seen_size = image->size;
    enter(f);
}
