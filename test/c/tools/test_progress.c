/* The line that tells how far a long run has come, on a terminal and elsewhere. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "tools/progress.h"

static int64_t time_ms;

static int64_t test_clock(void)
{
    return time_ms;
}

/* Standard error while a test runs; what was written there can be read at `other`. */
struct said {
    int kept;
    int other;
};

static struct said redirect(int end, int other)
{
    const struct said s = {.kept = dup(STDERR_FILENO), .other = other};
    assert_true(dup2(end, STDERR_FILENO) == STDERR_FILENO);
    close(end);
    return s;
}

static struct said terminal(void)
{
    const int other = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(other >= 0);
    assert_int_equal(grantpt(other), 0);
    assert_int_equal(unlockpt(other), 0);
    const int end = open(ptsname(other), O_RDWR | O_NOCTTY);
    assert_true(end >= 0);
    return redirect(end, other);
}

/* All that was written, and standard error as it was. */
static void restore(const struct said *s, char *text, size_t most)
{
    size_t n = 0;
    ssize_t got;
    assert_true(dup2(s->kept, STDERR_FILENO) == STDERR_FILENO);
    close(s->kept);
    while ((got = read(s->other, text + n, most - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(s->other);
}

static void run(struct progress *p)
{
    time_ms = 5000;
    progress_begin(p, "jobs", test_clock);
    progress_at(p, 10, 100);
    time_ms += 999;
    progress_at(p, 20, 100);
    time_ms += 1;
    progress_at(p, 30, 100); /* the first */
    time_ms += 100;
    progress_at(p, 40, 100);
    time_ms += 100;
    progress_at(p, 50, 100); /* the second */
    progress_end(p);
    progress_end(p);
}

static void a_terminal_shows_a_long_run(void **state)
{
    (void)state;
    char text[200];
    struct progress p;
    const struct said s = terminal();
    run(&p);
    restore(&s, text, sizeof text);
    assert_string_equal(text, "\r\033[Kjobs: 30 %\r\033[Kjobs: 50 %\r\033[K");
}

static void elsewhere_nothing_is_written(void **state)
{
    (void)state;
    char text[200];
    struct progress p;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const struct said s = redirect(ends[1], ends[0]);
    run(&p);
    restore(&s, text, sizeof text);
    assert_string_equal(text, "");
}

static void odd_sizes_are_no_more_than_all(void **state)
{
    (void)state;
    char text[200];
    struct progress p;
    const struct said s = terminal();
    time_ms = 0;
    progress_begin(&p, "jobs", test_clock);
    time_ms = 1000;
    progress_at(&p, 0, 0);
    time_ms = 2000;
    progress_at(&p, 7, 5);
    time_ms = 3000;
    progress_at(&p, UINT64_MAX / 2, UINT64_MAX);
    restore(&s, text, sizeof text);
    assert_string_equal(text, "\r\033[Kjobs: 100 %\r\033[Kjobs: 100 %\r\033[Kjobs: 50 %");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_terminal_shows_a_long_run),
        cmocka_unit_test(elsewhere_nothing_is_written),
        cmocka_unit_test(odd_sizes_are_no_more_than_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
