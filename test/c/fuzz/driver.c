#include "fuzz/driver.h"

#include <inttypes.h>
#include <malloc.h>
#include <sys/resource.h>
#include <time.h>

#include "fuzz/corpus.h"
#include "fuzz/record.h"
#include "fuzz/target.h"
#include "sys/log.h"

enum { LIMIT_US = 50000, TRIES = 4, GROWTH_MOST = 8 << 20 };

static uint64_t executions;
static uint64_t in_life;
static bool alive, replaying;

/* --- time ------------------------------------------------------------------------------------- */

/* What counts: the CPU's time, and that of waiting where the execution has waited for anything.
 * That others had the CPU meanwhile says nothing about it. */
struct took {
    int64_t us;
    int64_t wall_us;
};

static struct took longest;

static int64_t us_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static long waits_so_far(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

static struct took time_run(struct span input)
{
    const long waits = waits_so_far();
    const int64_t wall = us_of(CLOCK_MONOTONIC);
    const int64_t cpu = us_of(CLOCK_THREAD_CPUTIME_ID);
    target.run(input);
    const int64_t cpu_us = us_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
    const int64_t wall_us = us_of(CLOCK_MONOTONIC) - wall;
    return (struct took){.us = waits_so_far() > waits ? wall_us : cpu_us, .wall_us = wall_us};
}

/* One that is long once may have had bad luck; one that stays so is long. */
static void execute(struct span input)
{
    struct took least = time_run(input);
    for (int i = 1; i < TRIES && least.us > LIMIT_US; i++) {
        const struct took again = time_run(input);
        if (again.us < least.us)
            least = again;
    }
    if (least.us > LIMIT_US)
        fprintf(stderr, "%s: an execution took %" PRId64 " us\n", target.name, least.us);
    must(least.us <= LIMIT_US);
    if (least.us > longest.us)
        longest.us = least.us;
    if (least.wall_us > longest.wall_us)
        longest.wall_us = least.wall_us;
    executions++;
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Of the sanitizer's allocator, where that is there. */
__attribute__((weak)) size_t __sanitizer_get_current_allocated_bytes(void); /* NOLINT */

static size_t heap_in_use(void)
{
    if (__sanitizer_get_current_allocated_bytes != NULL)
        return __sanitizer_get_current_allocated_bytes();
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* What the target has taken and not given back; a fuzzer's own memory grows in between. */
static size_t held;

/* Between lives nothing is left of what was, but what is there from the first one on. */
static void memory_stays(void)
{
    static uint64_t lives;
    static size_t first;
    if (lives++ == 0)
        first = held;
    must((int64_t)(held - first) < GROWTH_MOST);
}

/* --- lives ------------------------------------------------------------------------------------ */

static void begin_life(void)
{
    target.begin();
    alive = true;
    in_life = 0;
    if (target.builds && !replaying)
        record_begin();
}

static void end_life(void)
{
    target.end();
    alive = false;
}

static void run_one(struct span input)
{
    if (!alive)
        begin_life();
    const bool goes_on = !target.builds || replaying || record_add(input);
    execute(input);
    if (++in_life == target.life || !goes_on)
        end_life();
}

/* A whole life, as it was. */
static void run_record(struct span record)
{
    if (alive)
        end_life();
    replaying = true;
    record_each(record, run_one);
    if (alive)
        end_life();
    replaying = false;
}

void driver_run(struct span input)
{
    const size_t before = heap_in_use();
    if (record_is(input, target.name))
        run_record(input);
    else
        run_one(input);
    held += heap_in_use() - before;
    if (!alive)
        memory_stays();
}

/* --- from the first to the last --------------------------------------------------------------- */

void driver_begin(void)
{
    log_open("/dev/null");
    corpus_open();
    if (target.builds)
        record_open(target.name);
}

uint64_t driver_executions(void)
{
    return executions;
}

static void tell_count(const char *what, uint64_t times)
{
    printf(", %s %" PRIu64, what, times);
}

/* A run that never came to something proves less than it seems to. */
static void must_be_reached(const char *what, uint64_t times)
{
    if (times == 0)
        fprintf(stderr, "%s: never reached: %s\n", target.name, what);
    must(times > 0);
}

void driver_end(bool all)
{
    if (alive)
        end_life();
    printf("%s: %" PRIu64 " executions, the longest %" PRId64 " us (%" PRId64 " us by the clock)",
           target.name, executions, longest.us, longest.wall_us);
    target.count(tell_count);
    printf("\n");
    fflush(stdout);
    if (all)
        target.count(must_be_reached);
    if (target.builds)
        record_close();
    corpus_close();
}
