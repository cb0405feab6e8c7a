#include "sweep/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct run run;

static uint64_t state;
static uint64_t os_state; /* what the engine gets is its own, and the same again */

static const struct {
    const char *text;
    unsigned programs;
} names[REACHED] = {
    [GROWTH] = {"growths", SWEEP_QUEUE | SWEEP_JOURNAL | SWEEP_BLOCKS},
    [SHRINK] = {"files cut", SWEEP_QUEUE | SWEEP_JOURNAL | SWEEP_BLOCKS},
    [HOLE] = {"holes", SWEEP_QUEUE | SWEEP_JOURNAL},
    [COPY] = {"copies", SWEEP_QUEUE | SWEEP_JOURNAL},
    [DELAY_OVER] = {"delays", SWEEP_QUEUE | SWEEP_JOURNAL},
    [DROP] = {"drops", SWEEP_QUEUE | SWEEP_JOURNAL},
    [DROP_AHEAD] = {"drops ahead", SWEEP_QUEUE | SWEEP_JOURNAL},
    [FULL] = {"full", SWEEP_QUEUE | SWEEP_JOURNAL | SWEEP_BLOCKS},
    [OPTIONS] = {"options", SWEEP_QUEUE | SWEEP_JOURNAL},
    [MOVE] = {"moves", SWEEP_QUEUE | SWEEP_JOURNAL},
    [FAILED_SYNC] = {"failed syncs", SWEEP_QUEUE | SWEEP_JOURNAL | SWEEP_BLOCKS},
    [FAILED_OPENING] = {"failed openings", SWEEP_QUEUE | SWEEP_BLOCKS},
    [LOSS] = {"items damaged", SWEEP_QUEUE},
    [REFUSAL] = {"damaged files refused", SWEEP_QUEUE | SWEEP_JOURNAL | SWEEP_BLOCKS},
    [BESIDE] = {"operations within syncs", SWEEP_JOURNAL | SWEEP_BLOCKS},
    [TURN] = {"turns", SWEEP_JOURNAL},
    [BIG_WRITE] = {"big writes", SWEEP_JOURNAL},
    [RESIZE] = {"sizes", SWEEP_JOURNAL},
    [FAILED_PART] = {"failed objects", SWEEP_JOURNAL},
    [FAILED_JOURNAL] = {"failed journals", SWEEP_JOURNAL},
    [FAILED_START] = {"failed starts", SWEEP_JOURNAL},
    [KEPT] = {"images with kept halves", SWEEP_JOURNAL},
    [RECLAIMED] = {"reclaimed", SWEEP_JOURNAL},
    [REJOINED] = {"rejoined", SWEEP_JOURNAL},
    [STRANGER] = {"renamed and replaced", SWEEP_JOURNAL},
    [OLD_COPY] = {"old copies", SWEEP_JOURNAL},
    [TORN] = {"torn ends", SWEEP_JOURNAL},
    [CUT_AND_STARTED] = {"cut", SWEEP_JOURNAL},
    [TORN_BLOCK] = {"torn blocks", SWEEP_BLOCKS | SWEEP_JOURNAL},
    [LOST_BIT] = {"lost bits", SWEEP_BLOCKS | SWEEP_JOURNAL},
    [REPAIR] = {"repairs", SWEEP_BLOCKS},
    [HALF_MADE] = {"half-made stores", SWEEP_BLOCKS},
    [SWAPPED] = {"blocks elsewhere", SWEEP_BLOCKS},
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
    os_state = state;
}

/* In place of what nobody can guess (sys/os.h), by the linker's --wrap. */
/* NOLINTBEGIN(bugprone-reserved-identifier,cert-*) */
void __real_os_random(void *to, size_t n);
void __wrap_os_random(void *to, size_t n);

void __wrap_os_random(void *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        os_state = os_state * UINT64_C(6364136223846793005) + 1442695040888963407;
        ((uint8_t *)to)[i] = (uint8_t)(os_state >> 56);
    }
}
/* NOLINTEND(bugprone-reserved-identifier,cert-*) */

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
        printf("\nagain: sweep_%s images %ju %ju\n",
               run.program == SWEEP_QUEUE     ? "queue"
               : run.program == SWEEP_JOURNAL ? "journal"
                                              : "blocks",
               (uintmax_t)run.images_most, (uintmax_t)run.life);
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
        if ((names[i].programs & run.program) == 0)
            continue;
        printf(" %s %ju", names[i].text, (uintmax_t)run.reached[i]);
        all &= run.reached[i] > 0;
    }
    printf("\n");
    return all;
}

double run_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

uint64_t run_seed(const char *text)
{
    uint64_t seed;
    if (text == NULL)
        return 1;
    if (strcmp(text, "random") != 0)
        return strtoull(text, NULL, 10);
    __real_os_random(&seed, sizeof seed); /* NOLINT(bugprone-reserved-identifier,cert-*) */
    return seed % 1000000000;
}
