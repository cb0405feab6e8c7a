#include "fuzz/record.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/pieces.h"

enum { HEAD = 128, SIZE = 64 << 20, RESERVE = 4 << 20 };

static struct {
    char path[PATH_MAX];
    uint8_t *at;
    size_t len;
} record;

static void put_head(const char *target, char head[HEAD])
{
    memset(head, ' ', HEAD);
    const int n = snprintf(head, HEAD, "fuzz %s", target);
    head[n] = '\n';
}

void record_open(const char *target)
{
    snprintf(record.path, sizeof record.path, "fuzz-%s-%d.inputs", target, (int)getpid());
    const int fd = open(record.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    must(fd >= 0 && ftruncate(fd, SIZE) == 0);
    record.at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(record.at != MAP_FAILED);
    close(fd);
    put_head(target, (char *)record.at);
}

void record_close(void)
{
    munmap(record.at, SIZE);
    unlink(record.path);
}

void record_begin(void)
{
    record.len = HEAD;
}

bool record_add(struct span input)
{
    must(input.len <= RESERVE / 2);
    put_be32(record.at + record.len, (uint32_t)input.len);
    if (input.len > 0)
        memcpy(record.at + record.len + 4, input.at, input.len);
    record.len += 4 + input.len;
    put_be32(record.at + record.len, PIECES_END);
    return record.len < SIZE - RESERVE;
}

bool record_is(struct span file, const char *target)
{
    char head[HEAD];
    put_head(target, head);
    return file.len >= HEAD && memcmp(file.at, head, HEAD) == 0;
}

void record_each(struct span file, void (*each)(struct span input))
{
    struct span rest = span_of(file.at + HEAD, file.len - HEAD);
    struct span piece;
    while (pieces_next(&rest, &piece))
        each(piece);
}
