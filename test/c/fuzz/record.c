#include "fuzz/record.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 128, SIZE = 64 << 20, RESERVE = 4 << 20 };

static struct {
    char path[PATH_MAX];
    const char *target;
    uint64_t seed;
    uint8_t *at;
    size_t len;
} record;

void record_open(const char *target)
{
    snprintf(record.path, sizeof record.path, "fuzz-%s-%d.inputs", target, (int)getpid());
    const int fd = open(record.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    must(fd >= 0 && ftruncate(fd, SIZE) == 0);
    record.target = target;
    record.at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(record.at != MAP_FAILED);
    close(fd);
}

void record_close(void)
{
    munmap(record.at, SIZE);
    unlink(record.path);
}

void record_begin(uint64_t seed)
{
    record.seed = seed;
    record.len = HEAD;
}

bool record_add(uint64_t number, struct span input)
{
    must(input.len <= RESERVE / 2);
    memset(record.at, ' ', HEAD);
    snprintf((char *)record.at, HEAD, "fuzz %s seed %" PRIu64 " execution %" PRIu64 "\n",
             record.target, record.seed, number);
    put_be32(record.at + record.len, (uint32_t)input.len);
    if (input.len > 0)
        memcpy(record.at + record.len + 4, input.at, input.len);
    record.len += 4 + input.len;
    put_be32(record.at + record.len, UINT32_MAX); /* the end */
    return record.len < SIZE - RESERVE;
}

static void each_input(struct span file, void (*each)(struct span input))
{
    size_t at = HEAD;
    while (file.len - at >= 4 && get_be32(file.at + at) <= file.len - at - 4) {
        const size_t len = get_be32(file.at + at);
        each(span_of(file.at + at + 4, len));
        at += 4 + len;
    }
}

bool record_each(const char *path, const char *target, void (*each)(struct span input))
{
    char head[64];
    struct stat st;
    const int n = snprintf(head, sizeof head, "fuzz %s ", target);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool good = fstat(fd, &st) == 0 && st.st_size > HEAD;
    const size_t len = good ? (size_t)st.st_size : HEAD;
    const uint8_t *at = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    must(at != MAP_FAILED);
    const bool ours = good && memcmp(at, head, (size_t)n) == 0;
    if (ours)
        each_input(span_of(at, len), each);
    munmap((void *)at, len);
    return ours;
}
