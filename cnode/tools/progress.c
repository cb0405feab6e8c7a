#include "tools/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_MS = 1000, EACH_MS = 200 };

int64_t progress_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, const char *name, int64_t (*clock_ms)(void))
{
    *p = (struct progress){.name = name, .clock_ms = clock_ms, .shows = isatty(STDERR_FILENO) == 1};
    if (p->shows)
        p->next_ms = clock_ms() + FIRST_MS;
}

void progress_at(struct progress *p, uint64_t done, uint64_t all)
{
    if (!p->shows || p->clock_ms() < p->next_ms)
        return;
    p->next_ms = p->clock_ms() + EACH_MS;
    p->shown = true;
    const uint64_t percent = all == 0 ? 100 : (uint64_t)((double)done * 100 / (double)all);
    fprintf(stderr, "\r\033[K%.60s: %" PRIu64 " %%", p->name, percent > 100 ? 100 : percent);
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}
