#include "sweep/run.h"

#include <stdarg.h>
#include <stdio.h>

struct run run;

static uint64_t state;

static const char *const names[REACHED] = {
    [GROWTH] = "growths",
    [SHRINK] = "files cut",
    [HOLE] = "holes",
    [COPY] = "copies",
    [DELAY_OVER] = "delays",
    [DROP] = "drops",
    [DROP_AHEAD] = "drops ahead",
    [FULL] = "full",
    [OPTIONS] = "options",
    [MOVE] = "moves",
    [FAILED_SYNC] = "failed syncs",
    [FAILED_OPENING] = "failed openings",
    [LOSS] = "items damaged",
    [REFUSAL] = "damaged files refused",
};

uint64_t chance_word(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

uint64_t below(uint64_t n)
{
    return (chance_word() >> 11) % n;
}

bool one_in(uint64_t n)
{
    return below(n) == 0;
}

void chance_begin(uint64_t seed)
{
    state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    for (int i = 0; i < 8; i++)
        chance_word();
}

void violation(const char *format, ...)
{
    va_list args;
    if (run.violated)
        return;
    run.violated = true;
    printf("violation: ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    if (run.sequences > 0)
        printf("\nin sequence %ju\n", (uintmax_t)run.sequences);
    else
        printf("\nagain: sweep_queue images %ju %ju\n", (uintmax_t)run.images_most,
               (uintmax_t)run.life);
}

bool run_goes_on(void)
{
    return !run.violated && run.images < run.images_most;
}

bool run_tell(double seconds)
{
    bool all = true;
    printf("%ju images, %ju operations, %ju reopenings, %.0f images/s;", (uintmax_t)run.images,
           (uintmax_t)run.ops, (uintmax_t)run.reopenings, (double)run.images / seconds);
    for (int i = 0; i < REACHED; i++) {
        printf(" %s %ju", names[i], (uintmax_t)run.reached[i]);
        all &= run.reached[i] > 0;
    }
    printf("\n");
    return all;
}
