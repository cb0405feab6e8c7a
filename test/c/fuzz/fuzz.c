/* Hostile inputs by the million: fuzz TARGET COUNT [SEED [FIRST]] | fuzz TARGET FILE
 *
 *   TARGET   frame, control, term, handshake, print, console
 *   COUNT    so many executions from the number FIRST (0) on; the same SEED (1) and number give the
 *            same input, but for what the daemon has told by then
 *   FILE     the inputs that a run has left behind, again
 *
 * An execution must break none of the target's rules, nor last more than 50 ms. The inputs of the
 * life that is under way are in a file fuzz-TARGET-PID.inputs, which stays where anything is wrong.
 * Ends with a line about what was done.
 */
#include <inttypes.h>
#include <malloc.h>
#include <sys/resource.h>
#include <time.h>

#include "fuzz/corpus.h"
#include "fuzz/record.h"
#include "fuzz/target.h"
#include "sys/log.h"

enum { LIMIT_US = 50000, TRIES = 4, GROWTH_MOST = 8 << 20 };

static const struct target *const targets[] = {&target_frame,     &target_control, &target_term,
                                               &target_handshake, &target_print,   &target_console};
static const struct target *target;

/* --- time and memory -------------------------------------------------------------------------- */

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
    target->run(input);
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
        fprintf(stderr, "%s: an execution took %" PRId64 " us\n", target->name, least.us);
    must(least.us <= LIMIT_US);
    if (least.us > longest.us)
        longest.us = least.us;
    if (least.wall_us > longest.wall_us)
        longest.wall_us = least.wall_us;
}

/* Of the sanitizer's allocator, where that is there. */
__attribute__((weak)) size_t __sanitizer_get_current_allocated_bytes(void); /* NOLINT */

static size_t heap_in_use(void)
{
    if (__sanitizer_get_current_allocated_bytes != NULL)
        return __sanitizer_get_current_allocated_bytes();
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Between lives nothing is left of what was. */
static void memory_stays(uint64_t life)
{
    static size_t first;
    if (life == 1)
        first = heap_in_use();
    must(life <= 1 || heap_in_use() < first + GROWTH_MOST);
}

/* --- runs ------------------------------------------------------------------------------------- */

static void run_all(uint64_t count, uint64_t seed, uint64_t first)
{
    struct buf input;
    uint64_t lives = 0;
    uint64_t in_life = 0;
    buf_init(&input, (size_t)4 * TARGET_INPUT_MOST);
    for (uint64_t number = first; number < first + count; number++) {
        struct dice d = dice_of(seed, number);
        if (in_life == 0) {
            target->begin();
            record_begin(seed);
        }
        buf_cut(&input, 0);
        target->make(&d, &input);
        must(!input.failed);
        if (!target->builds)
            record_begin(seed);
        const bool goes_on = record_add(number, span_of(input.at, input.len));
        execute(span_of(input.at, input.len));
        if (++in_life == target->life || !goes_on || number + 1 == first + count) {
            target->end();
            memory_stays(++lives);
            in_life = 0;
        }
    }
    buf_fini(&input);
}

static void tell_count(const char *what, uint64_t times)
{
    printf(", %s %" PRIu64, what, times);
}

static void tell(uint64_t count, uint64_t seed, double seconds)
{
    printf("%s: %" PRIu64 " executions in %.0f s, seed %" PRIu64 ", the longest %" PRId64
           " us (%" PRId64 " us by the clock)",
           target->name, count, seconds, seed, longest.us, longest.wall_us);
    target->count(tell_count);
    printf("\n");
}

/* A long run that never came to something proves less than it seems to. */
static void must_be_reached(const char *what, uint64_t times)
{
    if (times == 0)
        fprintf(stderr, "%s: never reached: %s\n", target->name, what);
    must(times > 0);
}

static int run_many(uint64_t count, uint64_t seed, uint64_t first)
{
    enum { MANY = 20000 };
    const int64_t since = us_of(CLOCK_MONOTONIC);
    record_open(target->name);
    run_all(count, seed, first);
    tell(count, seed, (double)(us_of(CLOCK_MONOTONIC) - since) / 1e6);
    if (count >= MANY)
        target->count(must_be_reached);
    record_close();
    return 0;
}

static int run_file(const char *path)
{
    target->begin();
    const bool read = record_each(path, target->name, execute);
    target->end();
    if (!read)
        fprintf(stderr, "%s: no inputs of %s\n", path, target->name);
    return read ? 0 : 2;
}

/* --- arguments -------------------------------------------------------------------------------- */

static bool find_target(const char *name)
{
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++)
        if (strcmp(targets[i]->name, name) == 0)
            target = targets[i];
    return target != NULL;
}

static bool read_number(const char *text, uint64_t *n)
{
    char *end;
    *n = strtoull(text, &end, 10);
    return *text != '\0' && *end == '\0';
}

static int run(int argc, char **argv)
{
    uint64_t count;
    uint64_t seed = 1;
    uint64_t first = 0;
    if (argc == 3 && !read_number(argv[2], &count))
        return run_file(argv[2]);
    if (!read_number(argv[2], &count) || (argc > 3 && !read_number(argv[3], &seed)) ||
        (argc > 4 && !read_number(argv[4], &first)))
        return 2;
    return run_many(count, seed, first);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 5 || !find_target(argv[1])) {
        fprintf(stderr, "fuzz TARGET COUNT [SEED [FIRST]] | fuzz TARGET FILE\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_open("/dev/null");
    corpus_open();
    const int status = run(argc, argv);
    corpus_close();
    return status;
}
