/* The subcommand convert while any call fails: the new file is there whole or not at all, the old
 * one as it was. What it makes of sound files test/tools_convert_SUITE.erl shows. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/term.h"
#include "quiet.h"
#include "store/block.h"
#include "store/kind.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/guard.h"
#include "sys/os.h"

enum { FILE_MOST = 65536 };

static char *dir;
static char old[PATH_MAX], new[PATH_MAX];
static uint8_t bytes[FILE_MOST]; /* of the old file */
static ssize_t len;
static struct os real;

static void make_directory(void)
{
    dir = folder_make();
    snprintf(old, sizeof old, "%s", folder_file(dir, "old"));
    snprintf(new, sizeof new, "%s", folder_file(dir, "new"));
}

static void begin_anew(void)
{
    folder_remove(dir);
    make_directory();
}

static int setup(void **state)
{
    (void)state;
    real = os;
    guard_install();
    make_directory();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    os = real;
    folder_remove(dir);
    return 0;
}

static void take_old(const char *name)
{
    char from[PATH_MAX];
    snprintf(from, sizeof from, "%s/%s", TEST_DATA, name);
    const int data = open(from, O_RDONLY | O_CLOEXEC);
    len = read(data, bytes, sizeof bytes);
    assert_true(len > 0 && len < FILE_MOST);
    close(data);
    const int fd = open(old, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, bytes, (size_t)len), len);
    close(fd);
}

static void old_is_as_it_was(void)
{
    static uint8_t seen[FILE_MOST];
    const int fd = open(old, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, seen, sizeof seen), len);
    assert_memory_equal(seen, bytes, (size_t)len);
    close(fd);
}

static unsigned names_in_directory(void)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *entry; (entry = readdir(d)) != NULL;)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(d);
    return n;
}

static int run(bool blocks)
{
    char *of_blocks[] = {"convert", "--blocks", "--levels=2", old, new, NULL};
    char *of_queue[] = {"convert", old, new, NULL};
    return quiet_run(blocks ? of_blocks : of_queue, NULL, 0);
}

/* The kind of the new file; of a block store all blocks are there. */
static void is_whole(bool blocks)
{
    char why[BLOCK_WHY];
    struct object o = {.kind = OBJECT_REGION};
    enum file_kind kind;
    struct stat st = {.st_size = 0};
    const int fd = open(new, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(file_kind(fd, term_check, &kind), OK);
    assert_int_equal(kind, blocks ? FILE_BLOCKS : FILE_QUEUE);
    assert_int_equal(map_open(&o.map, fd, (uint64_t)st.st_size, true, MAP_OF_FILE), OK);
    if (blocks) {
        assert_int_equal(block_open(&o, why), OK);
        assert_int_equal(block_used(&o), 70);
    }
    object_close(&o);
}

/* After the new file has its name only the sync of the directory can fail, and what removes the
 * temporary name. */
static void holds(bool blocks, int exit_code, const char *failed)
{
    const bool is_there = access(new, F_OK) == 0;
    old_is_as_it_was();
    if (is_there)
        is_whole(blocks);
    if (exit_code == TOOL_DONE)
        assert_true(is_there);
    else if (is_there)
        assert_string_equal(failed, "sync_all");
    if (failed == NULL || strcmp(failed, "unlink") != 0)
        assert_int_equal(names_in_directory(), is_there ? 2 : 1);
}

static void sweep(const char *name, bool blocks, int number)
{
    const char *failed = "";
    unsigned failures = 0;
    for (unsigned n = 1; failed != NULL; n++) {
        take_old(name);
        faults_begin(n, number);
        const int exit_code = run(blocks);
        failed = faults_end();
        holds(blocks, exit_code, failed);
        failures += exit_code != TOOL_DONE;
        assert_true(failed != NULL || exit_code == TOOL_DONE);
        begin_anew();
    }
    assert_true(failures > 10);
}

static int no_unnamed(int at, mode_t mode)
{
    (void)at;
    (void)mode;
    errno = ENOTSUP;
    return -1;
}

static void every_call_may_fail(void **state)
{
    (void)state;
    sweep("blocks-nif-2", true, EIO);
    sweep("blocks-nif-2", true, ENOSPC);
    sweep("queue-nif-items", false, EIO);
    sweep("queue-nif-items", false, ENOSPC);
}

static void every_call_may_fail_without_unnamed_files(void **state)
{
    (void)state;
    os.open_unnamed = no_unnamed;
    sweep("blocks-nif-2", true, EIO);
    sweep("queue-nif-items", false, EIO);
}

/* It ends before the n-th call; true: it did. */
static bool stop_at(unsigned n, bool blocks)
{
    int status = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        faults_begin(n, 0);
        _exit(run(blocks));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != TOOL_DONE)
        assert_int_equal(WEXITSTATUS(status), FAULTS_STOPPED);
    return WEXITSTATUS(status) != TOOL_DONE;
}

static void sweep_stops(const char *name, bool blocks, unsigned names_most)
{
    bool stopped = true;
    for (unsigned n = 1; stopped; n++) {
        take_old(name);
        stopped = stop_at(n, blocks);
        old_is_as_it_was();
        assert_true(names_in_directory() <= names_most);
        if (access(new, F_OK) == 0)
            is_whole(blocks);
        else
            assert_true(stopped);
        begin_anew();
    }
}

static void it_may_end_at_every_call(void **state)
{
    (void)state;
    sweep_stops("blocks-nif-2", true, 2);
    sweep_stops("queue-nif-items", false, 2);
    os.open_unnamed = no_unnamed; /* then a temporary name may stay */
    sweep_stops("blocks-nif-2", true, 3);
    sweep_stops("queue-nif-items", false, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_call_may_fail),
        TEST(every_call_may_fail_without_unnamed_files),
        TEST(it_may_end_at_every_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
