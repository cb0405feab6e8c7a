#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <time.h>

#include "store/format.h"
#include "sys/bytes.h"
#include "sys/os.h"
#include "tools/tools.h"

/* What a sync costs in a directory, measured on a file without a name: 4 KiB appended and synced,
 * and groups as the journal writes them, over space that was written before. So many callers as
 * share a group are served by its sync together; the journal cannot do better than that, and what
 * the callers' messages take comes on top. */

enum {
    PIECE = 4096,
    SPACE = 16 << 20, /* of the file, over which the writing goes round */
    RECORD = 100,     /* bytes that one caller changes */
    SAMPLES = 200000,
    SECONDS = 3,
    SECONDS_MOST = 3600,
    GROUPS = 4,
    PHASES = GROUPS + 2
};

static const uint32_t callers[GROUPS] = {1, 8, 64, 256};

struct figures {
    size_t n;
    uint64_t median_ns, p99_ns, all_ns;
};

struct bench {
    const char *path;
    int dir, fd;
    bool accepted;
    char file_system[24];
    bool in_memory;
    uint64_t phase_ns;
    uint64_t *samples;
    struct figures fdatasync, fsync, groups[GROUPS];
};

/* --- the file --------------------------------------------------------------------------------- */

static bool can_allocate(int fd)
{
    return os.allocate(fd, 0, SPACE) == 0;
}

static bool can_punch(int fd)
{
    return os.punch(fd, 0, PIECE) == 0;
}

static bool has_attributes(int fd)
{
    return os.set_attribute(fd, "user.emmap.owner", "x", 1) == 0;
}

static bool has_locks(int fd)
{
    return os.lock_exclusive(fd) == 0;
}

static const struct feature {
    const char *key, *name, *without;
    bool (*is_there)(int fd);
    bool needed;
} features[] = {
    {"fallocate", "space can be allocated", "no file can be made", can_allocate, true},
    {"ofd_locks", "files can be locked", "no file can be opened", has_locks, true},
    {"attributes", "files have attributes", "no durable objects, and who holds a file is not told",
     has_attributes, false},
    {"punch", "holes can be punched", "queues do not give their space back", can_punch, false},
};

enum { FEATURES = sizeof features / sizeof features[0] };

struct support {
    bool unnamed;
    bool has[FEATURES];
};

static const struct kind {
    uint32_t magic;
    const char *name;
    bool in_memory;
} kinds[] = {
    {EXT4_SUPER_MAGIC, "ext4", false},         {XFS_SUPER_MAGIC, "xfs", false},
    {F2FS_SUPER_MAGIC, "f2fs", false},         {BTRFS_SUPER_MAGIC, "btrfs", false},
    {OVERLAYFS_SUPER_MAGIC, "overlay", false}, {NFS_SUPER_MAGIC, "nfs", false},
    {FUSE_SUPER_MAGIC, "fuse", false},         {TMPFS_MAGIC, "tmpfs", true},
    {(uint32_t)RAMFS_MAGIC, "ramfs", true},
};

static bool name_file_system(struct bench *b)
{
    struct statfs fs;
    if (fstatfs(b->dir, &fs) != 0)
        return false;
    const uint32_t magic = (uint32_t)fs.f_type;
    snprintf(b->file_system, sizeof b->file_system, "0x%" PRIx32, magic);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].magic == magic) {
            snprintf(b->file_system, sizeof b->file_system, "%s", kinds[i].name);
            b->in_memory = kinds[i].in_memory;
        }
    b->accepted = os.is_local(b->dir);
    return true;
}

/* Without unnamed files it has its name for a moment. */
static bool make_file(struct bench *b, struct support *s)
{
    char name[32];
    uint64_t number;
    b->fd = os.open_unnamed(b->dir, 0600);
    s->unnamed = b->fd >= 0;
    if (s->unnamed || errno != ENOTSUP)
        return s->unnamed;
    os_random(&number, sizeof number);
    snprintf(name, sizeof name, ".emmap-%016" PRIx64, number);
    b->fd = os.open_beneath(b->dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    return b->fd >= 0 && os.unlink(b->dir, name) == 0;
}

/* --- measuring -------------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static struct figures figures_of(struct bench *b, size_t n)
{
    struct figures f = {.n = n};
    for (size_t i = 0; i < n; i++)
        f.all_ns += b->samples[i];
    qsort(b->samples, n, sizeof *b->samples, compare);
    f.median_ns = b->samples[n / 2];
    f.p99_ns = b->samples[n - 1 - n / 100];
    return f;
}

/* Writes of so many bytes, each followed by its sync, until the time is over; one behind the other,
 * and from the beginning again where `most` bytes are there. With `cut` that is a file that grows.
 */
static bool measure(struct bench *b, size_t len, int (*sync)(int fd), bool cut, struct figures *f)
{
    static uint8_t bytes[64 << 10];
    const uint64_t end = now_ns() + b->phase_ns;
    uint64_t at = 0;
    size_t n = 0;
    must(len <= sizeof bytes);
    do {
        if (at + len > SPACE) {
            at = 0;
            if (cut && (os.truncate(b->fd, 0) != 0 || sync(b->fd) != 0))
                return false;
        }
        memset(bytes, (int)(n % 255) + 1, len);
        const uint64_t begun = now_ns();
        if (os_write_all(b->fd, bytes, len, (off_t)at) != 0 || sync(b->fd) != 0)
            return false;
        b->samples[n++] = now_ns() - begun;
        at += len;
    } while (n < SAMPLES && now_ns() < end);
    *f = figures_of(b, n);
    return true;
}

static size_t group_len(uint32_t n)
{
    const size_t record = sizeof(struct entry_fields) + align_up(RECORD, 8);
    return align_up(sizeof(struct group_fields) + n * record, PIECE);
}

/* As a half of the journal is made: a commit writes no metadata. */
static bool fill(struct bench *b)
{
    static const uint8_t zeros[64 << 10];
    if (os.truncate(b->fd, 0) != 0)
        return false;
    (void)os.allocate(b->fd, 0, SPACE); /* in one piece, where that can be done */
    for (off_t at = 0; at < SPACE; at += (off_t)sizeof zeros)
        if (os_write_all(b->fd, zeros, sizeof zeros, at) != 0)
            return false;
    return os.sync_all(b->fd) == 0;
}

static bool measure_all(struct bench *b)
{
    if (os.truncate(b->fd, 0) != 0 || !measure(b, PIECE, os.sync, true, &b->fdatasync) ||
        os.truncate(b->fd, 0) != 0 || !measure(b, PIECE, os.sync_all, true, &b->fsync) || !fill(b))
        return false;
    for (int i = 0; i < GROUPS; i++)
        if (!measure(b, group_len(callers[i]), os.sync, false, &b->groups[i]))
            return false;
    return true;
}

/* --- telling ---------------------------------------------------------------------------------- */

static double us(uint64_t ns)
{
    return (double)ns / 1000;
}

static double commits(const struct bench *b, int i)
{
    const struct figures *f = &b->groups[i];
    return (double)f->n * callers[i] * 1e9 / (double)(f->all_ns > 0 ? f->all_ns : 1);
}

static void put_sync(const char *name, const struct figures *f)
{
    printf("  append 4 KiB, %-9s  median %8.0f us, p99 %8.0f us (%zu times)\n", name,
           us(f->median_ns), us(f->p99_ns), f->n);
}

enum { SUSPECT_NS = 50000 };

static void put_doubts(const struct bench *b)
{
    if (b->in_memory)
        puts("this file system is in memory: its syncs keep nothing over a power cut");
    else if (b->groups[0].median_ns < SUSPECT_NS)
        puts(
            "a sync is faster than disks flush: either the device keeps what it has without power, "
            "or\nsomething on the way to it does not flush; that cannot be told from here");
}

static void put_text(const struct bench *b, const struct support *s)
{
    printf("%s: %s, %s\n", b->path, b->file_system,
           b->accepted ? "served by emmapd" : "served by emmapd only with --any-file-system");
    for (int i = 0; i < FEATURES; i++)
        printf("  %-22s  %s%s%s\n", features[i].name, s->has[i] ? "yes" : "no",
               s->has[i] ? "" : ": ", s->has[i] ? "" : features[i].without);
    printf("  %-22s  %s\n", "files without a name", s->unnamed ? "yes" : "no");
    put_sync("fdatasync", &b->fdatasync);
    put_sync("fsync", &b->fsync);
    printf("durable changes of %d bytes, the callers of a group sharing its sync; at most, and the "
           "messages come on top:\n",
           RECORD);
    for (int i = 0; i < GROUPS; i++)
        printf("  %3" PRIu32 " callers: %9.0f a second  (median %8.0f us, p99 %8.0f us)\n",
               callers[i], commits(b, i), us(b->groups[i].median_ns), us(b->groups[i].p99_ns));
    put_doubts(b);
}

static void put_figures(const struct figures *f)
{
    printf("\"n\":%zu,\"median_us\":%.1f,\"p99_us\":%.1f}", f->n, us(f->median_ns), us(f->p99_ns));
}

static void put_json(const struct bench *b, const struct support *s)
{
    printf("{\"file_system\":\"%s\",\"served\":%s,\"in_memory\":%s,\"unnamed_files\":%s",
           b->file_system, b->accepted ? "true" : "false", b->in_memory ? "true" : "false",
           s->unnamed ? "true" : "false");
    for (int i = 0; i < FEATURES; i++)
        printf(",\"%s\":%s", features[i].key, s->has[i] ? "true" : "false");
    printf(",\"fdatasync\":{");
    put_figures(&b->fdatasync);
    printf(",\"fsync\":{");
    put_figures(&b->fsync);
    printf(",\"groups\":[");
    for (int i = 0; i < GROUPS; i++) {
        printf("%s{\"callers\":%" PRIu32 ",\"commits_per_second\":%.0f,", i == 0 ? "" : ",",
               callers[i], commits(b, i));
        put_figures(&b->groups[i]);
    }
    printf("]}\n");
}

/* --- the tool --------------------------------------------------------------------------------- */

static bool look_at_features(const struct bench *b, struct support *s)
{
    bool enough = b->accepted;
    for (int i = 0; i < FEATURES; i++) {
        s->has[i] = features[i].is_there(b->fd);
        enough = enough && (s->has[i] || !features[i].needed);
    }
    return enough;
}

static int run(struct bench *b, bool json)
{
    struct support s = {.unnamed = false};
    if (!name_file_system(b) || !make_file(b, &s))
        return tool_say(TOOL_FAILED, b->path, strerror(errno));
    const bool enough = look_at_features(b, &s);
    if (!measure_all(b))
        return tool_say(TOOL_FAILED, b->path, strerror(errno));
    (json ? put_json : put_text)(b, &s);
    return enough ? TOOL_DONE : TOOL_REFUSED;
}

int tool_bench_disk(const struct tool_call *call)
{
    struct bench b = {.path = call->arguments[0], .dir = -1, .fd = -1};
    uint64_t seconds = SECONDS;
    if (!tool_number(call, "seconds", 1, SECONDS_MOST, &seconds))
        return TOOL_FAILED;
    b.phase_ns = seconds * 1000000000 / PHASES;
    b.samples = calloc(SAMPLES, sizeof *b.samples);
    if (b.samples == NULL)
        return tool_say(TOOL_FAILED, b.path, strerror(ENOMEM));
    b.dir = os.open(AT_FDCWD, b.path, O_RDONLY | O_DIRECTORY, 0);
    const int exit_code = b.dir < 0 ? tool_say(TOOL_FAILED, b.path, strerror(errno))
                                    : run(&b, tool_value(call, "json") != NULL);
    if (b.fd >= 0)
        os.close(b.fd);
    if (b.dir >= 0)
        os.close(b.dir);
    free(b.samples);
    return exit_code;
}
