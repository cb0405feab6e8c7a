/* The subcommand bench-disk where the file system lacks something, or fails. What it measures
 * test/tools_bench_disk_SUITE.erl looks at. */
#include <errno.h>

#include "quiet.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/os.h"

static char *dir;
static char text[4096];
static struct os real;

static int setup(void **state)
{
    (void)state;
    real = os;
    dir = folder_make();
    return 0;
}

/* A directory with a file in it cannot be removed so. */
static int teardown(void **state)
{
    (void)state;
    os = real;
    assert_int_equal(rmdir(dir), 0);
    folder_remove(dir);
    return 0;
}

static int bench(void)
{
    char *argv[] = {"bench-disk", "--seconds=1", dir, NULL};
    return quiet_run(argv, text, sizeof text);
}

static int no_unnamed(int at, mode_t mode)
{
    (void)at;
    (void)mode;
    errno = ENOTSUP;
    return -1;
}

static void a_file_with_a_name_does_it_too(void **state)
{
    (void)state;
    os.open_unnamed = no_unnamed;
    assert_int_equal(bench(), TOOL_DONE);
    assert_non_null(strstr(text, "files without a name    no\n"));
    assert_non_null(strstr(text, "  256 callers: "));
}

static int not_supported(int fd, off_t offset, off_t len)
{
    (void)fd;
    (void)offset;
    (void)len;
    errno = EOPNOTSUPP;
    return -1;
}

static void what_is_needed_and_is_not_there_is_told(void **state)
{
    (void)state;
    os.allocate = not_supported;
    assert_int_equal(bench(), TOOL_REFUSED);
    assert_non_null(strstr(text, "space can be allocated  no: no file can be made\n"));
    assert_non_null(strstr(text, "  256 callers: "));
}

static void what_can_be_done_without_is_told(void **state)
{
    (void)state;
    os.punch = not_supported;
    assert_int_equal(bench(), TOOL_DONE);
    assert_non_null(strstr(text, "holes can be punched    no: queues do not give"));
}

static bool nowhere(int fd)
{
    (void)fd;
    return false;
}

static void a_file_system_that_is_not_served_is_told(void **state)
{
    (void)state;
    os.is_local = nowhere;
    assert_int_equal(bench(), TOOL_REFUSED);
    assert_non_null(strstr(text, "only with --any-file-system\n"));
}

static void a_failed_sync_ends_it(void **state)
{
    (void)state;
    os.sync = sync_fails;
    assert_int_equal(bench(), TOOL_FAILED);
    assert_string_equal(text, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_with_a_name_does_it_too),
        TEST(what_is_needed_and_is_not_there_is_told),
        TEST(what_can_be_done_without_is_told),
        TEST(a_file_system_that_is_not_served_is_told),
        TEST(a_failed_sync_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
