#include "sys/secret.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool secret_is_unlocked;

static size_t whole_pages(size_t n)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (n + page - 1) / page * page;
}

void *secret_new(size_t n)
{
    const size_t len = whole_pages(n);
    void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    if (madvise(at, len, MADV_DONTDUMP) != 0 || madvise(at, len, MADV_WIPEONFORK) != 0) {
        munmap(at, len);
        return NULL;
    }
    if (mlock2(at, len, 0) != 0) /* the sanitizers make nothing of mlock */
        secret_is_unlocked = true;
    return at;
}

void secret_free(void *at, size_t n)
{
    if (at == NULL)
        return;
    explicit_bzero(at, n);
    munmap(at, whole_pages(n));
}

__attribute__((noinline)) void secret_wipe_stack(void)
{
    uint8_t left_behind[2048];
    explicit_bzero(left_behind, sizeof left_behind);
}
