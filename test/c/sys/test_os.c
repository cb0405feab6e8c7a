/* The calls of this host do what the table says. */
#include "sys/os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"
#include "sys/bytes.h"

#define PAGE ((size_t)4096)

static char *path;
static int dir;

static int setup(void **state)
{
    (void)state;
    path = folder_make();
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    close(dir);
    folder_remove(path);
    return 0;
}

static int make(const char *name)
{
    const int fd = os.open_beneath(dir, name, O_RDWR | O_CREAT | O_EXCL, 0640);
    assert_true(fd >= 0);
    return fd;
}

static mode_t mode_of(int fd)
{
    struct stat st;
    assert_int_equal(os.fstat(fd, &st), 0);
    return st.st_mode & 07777;
}

static void fails_with(int number, int result)
{
    const int seen = errno;
    assert_int_equal(result, -1);
    assert_int_equal(seen, number);
}

static void files_are_opened_beneath_the_directory_only(void **state)
{
    (void)state;
    const int f = make("f");
    assert_int_not_equal(fcntl(f, F_GETFD) & FD_CLOEXEC, 0);
    fails_with(EEXIST, os.open_beneath(dir, "f", O_RDWR | O_CREAT | O_EXCL, 0600));
    fails_with(ENOENT, os.open_beneath(dir, "none", O_RDWR, 0));
    fails_with(EXDEV, os.open_beneath(dir, "../f", O_RDWR, 0));
    fails_with(EXDEV, os.open_beneath(dir, folder_file(path, "f"), O_RDWR, 0));
    assert_int_equal(symlinkat(folder_file(path, "f"), dir, "absolute"), 0);
    assert_int_equal(symlinkat("/dev/null", dir, "out"), 0);
    assert_int_equal(symlinkat("f", dir, "in"), 0);
    fails_with(EXDEV, os.open_beneath(dir, "absolute", O_RDWR, 0));
    fails_with(EXDEV, os.open_beneath(dir, "out", O_RDWR, 0));
    const int in = os.open_beneath(dir, "in", O_RDWR, 0);
    const int out = os.open(dir, "out", O_RDWR, 0);
    assert_true(in >= 0 && out >= 0);
    assert_int_not_equal(fcntl(out, F_GETFD) & FD_CLOEXEC, 0);
    os.close(in);
    os.close(out);
    os.close(f);
}

/* Until it is told to end, by the file `end`. */
static void *rename_without_end(void *arg)
{
    unsigned long *renamed = arg;
    while (faccessat(dir, "end", F_OK, 0) != 0) {
        assert_int_equal(renameat(dir, "a", dir, "b"), 0);
        assert_int_equal(renameat(dir, "b", dir, "a"), 0);
        __atomic_add_fetch(renamed, 2, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* What others rename meanwhile, anywhere, is no reason not to find a file by a name with `..`. */
static void files_are_opened_while_others_are_renamed(void **state)
{
    (void)state;
    enum { ENOUGH = 20000 };
    unsigned long renamed = 0;
    pthread_t other;
    os.close(make("a"));
    os.close(make("f"));
    assert_int_equal(mkdirat(dir, "d", 0700), 0);
    assert_int_equal(pthread_create(&other, NULL, rename_without_end, &renamed), 0);
    while (__atomic_load_n(&renamed, __ATOMIC_RELAXED) < ENOUGH) {
        const int fd = os.open_beneath(dir, "d/../d/../d/../d/../f", O_RDONLY, 0);
        assert_true(fd >= 0);
        os.close(fd);
    }
    os.close(make("end"));
    assert_int_equal(pthread_join(other, NULL), 0);
}

static void an_unnamed_file_gets_its_name(void **state)
{
    (void)state;
    const mode_t before = umask(077);
    const int f = os.open_unnamed(dir, 0644);
    const int g = make("g");
    umask(before);
    assert_true(f >= 0);
    assert_int_equal(mode_of(f), 0644); /* as asked for, whatever the umask */
    assert_int_equal(mode_of(g), 0640);
    assert_int_not_equal(fcntl(f, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_equal(os.write_at(f, "text", 4, 2), 4);
    assert_int_equal(faccessat(dir, "f", F_OK, 0), -1);
    fails_with(EEXIST, os.link_unnamed(f, dir, "g"));
    assert_int_equal(os.link_unnamed(f, dir, "f"), 0);
    struct stat st;
    assert_int_equal(fstatat(dir, "f", &st, 0), 0);
    assert_int_equal(st.st_size, 6);
    os.close(f);
    os.close(g);
}

/* /proc has no unnamed files. */
static void missing_unnamed_files_are_not_supported(void **state)
{
    (void)state;
    const int proc = os.open(AT_FDCWD, "/proc/self/fdinfo", O_RDONLY | O_DIRECTORY, 0);
    assert_true(proc >= 0);
    const int f = os.open_unnamed(proc, 0600);
    const int number = errno;
    os.close(proc);
    assert_int_equal(f, -1);
    assert_int_equal(number, ENOTSUP);
}

static void names_come_and_go(void **state)
{
    (void)state;
    const int f = make("f");
    assert_int_equal(os.link(dir, "f", "g"), 0);
    fails_with(EEXIST, os.link(dir, "f", "g"));
    assert_int_equal(os.unlink(dir, "f"), 0);
    fails_with(ENOENT, os.unlink(dir, "f"));
    assert_int_equal(faccessat(dir, "g", F_OK, 0), 0);
    os.close(f);
    fails_with(EBADF, os.close(f));
}

static void space_is_allocated_and_the_file_grows(void **state)
{
    (void)state;
    struct stat st;
    const int f = make("f");
    assert_int_equal(os.allocate(f, 1000, 100000), 0);
    assert_int_equal(os.fstat(f, &st), 0);
    assert_int_equal(st.st_size, 101000);
    assert_true(st.st_blocks * 512 >= 100000);
    assert_int_equal(os.truncate(f, 10), 0);
    assert_int_equal(os.fstat(f, &st), 0);
    assert_int_equal(st.st_size, 10);
    fails_with(EINVAL, os.allocate(f, 0, 0));
    assert_int_equal(os.sync(f), 0);
    assert_int_equal(os.sync_all(f), 0);
    assert_int_equal(os.sync_all(dir), 0);
    assert_int_equal(os.write_back(f), 0);
    os.close(f);
}

static void an_exclusive_lock_of_others_is_seen(void **state)
{
    (void)state;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const int f = make("f");
    const int other = os.open_beneath(dir, "f", O_RDWR, 0);
    const int reader = os.open_beneath(dir, "f", O_RDONLY, 0);
    assert_int_equal(fcntl(other, F_OFD_SETLK, &whole), 0);
    fails_with(EAGAIN, os.lock_shared(f));
    os.close(other);
    assert_int_equal(os.lock_shared(f), 0);
    assert_int_equal(os.lock_shared(reader), 0); /* shared among many */
    assert_int_equal(os.lock_shared(reader), 0);
    os.close(reader);
    os.close(f);
}

static void who_holds_a_file_alone_is_seen(void **state)
{
    (void)state;
    const int f = make("f");
    const int g = os.open_beneath(dir, "f", O_RDWR, 0);
    assert_int_equal(os.locked_alone(g), 0);
    assert_int_equal(os.lock_shared(f), 0);
    assert_int_equal(os.locked_alone(g), 0);
    assert_int_equal(os.lock_exclusive(f), 0);
    assert_int_equal(os.locked_alone(g), 1);
    os.close(f);
    os.close(g);
}

static struct os real;
static unsigned calls;

/* One byte at a time, with interruptions, up to 10 in all. */
static ssize_t write_little(int fd, const void *bytes, size_t n, off_t offset)
{
    errno = EINTR;
    if (calls++ % 2 == 1)
        return -1;
    return offset >= 10 ? 0 : real.write_at(fd, bytes, n > 0, offset);
}

static ssize_t read_little(int fd, void *bytes, size_t n, off_t offset)
{
    errno = EINTR;
    return calls++ % 2 == 1 ? -1 : real.read_at(fd, bytes, n > 0, offset);
}

static void what_the_calls_cut_up_is_done_whole(void **state)
{
    (void)state;
    char seen[16];
    const int f = make("f");
    real = os;
    os.write_at = write_little;
    os.read_at = read_little;
    const int good = os_write_all(f, "0123456789", 10, 0);
    fails_with(EIO, os_write_all(f, "0123456789x", 11, 0));
    const ssize_t n = os_read_all(f, seen, sizeof seen, 2);
    os = real;
    assert_int_equal(good, 0);
    assert_int_equal(n, 8);
    assert_memory_equal(seen, "23456789", 8);
    os.close(f);
    fails_with(EBADF, os_write_all(f, "x", 1, 0));
    fails_with(EBADF, (int)os_read_all(f, seen, 1, 0));
}

static void an_error_keeps_its_call_and_number(void **state)
{
    (void)state;
    errno = EMEDIUMTYPE; /* which has no row of its own */
    assert_int_equal(os_error("fdatasync"), ERR_EIO);
    errno = 0;
    assert_string_equal(os_failure().call, "fdatasync");
    assert_int_equal(os_failure().number, EMEDIUMTYPE);
}

static void residency_is_told_for_every_page(void **state)
{
    (void)state;
    enum { PAGES = 1000 }; /* more than one question to the kernel */
    uint8_t *at = os.map(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(at != MAP_FAILED);
    assert_int_equal(os.advise(at, PAGES * PAGE, MADV_NOHUGEPAGE), 0);
    assert_int_equal(os.resident(at, PAGES * PAGE), 0);
    memset(at, 1, (PAGES - 1) * PAGE);
    assert_int_equal(os.resident(at, PAGES * PAGE), 0);
    assert_int_equal(os.resident(at, (PAGES - 1) * PAGE), 1);
    assert_int_equal(os.resident(at + 5, (PAGES - 1) * PAGE - 5), 1);
    assert_int_equal(os.resident(at + 5, (PAGES - 1) * PAGE - 4), 0);
    memset(at, 1, PAGES * PAGE);
    assert_int_equal(os.resident(at, PAGES * PAGE), 1);
    assert_int_equal(os.unmap(at, PAGES * PAGE), 0);
    fails_with(ENOMEM, os.resident(at, PAGE));
}

static void file_systems_of_the_kernel_are_not_local(void **state)
{
    (void)state;
    const int proc = os.open(AT_FDCWD, "/proc/self/stat", O_RDONLY, 0);
    const int memory = memfd_create("local", MFD_CLOEXEC);
    assert_true(proc >= 0 && memory >= 0);
    assert_false(os.is_local(proc));
    assert_true(os.is_local(memory)); /* tmpfs */
    assert_false(os.is_local(-1));
    os.close(proc);
    os.close(memory);
}

static void random_bytes_differ(void **state)
{
    (void)state;
    uint8_t first[32] = {0}, second[32] = {0};
    os_random(first, sizeof first);
    os_random(second, sizeof second);
    assert_memory_not_equal(first, second, sizeof first);
}

static void open_descriptors_are_counted(void **state)
{
    (void)state;
    const size_t before = os_descriptors();
    const int f = make("f");
    assert_int_equal(os_descriptors(), before + 1);
    os.close(f);
    assert_int_equal(os_descriptors(), before);
}

/* In a child, that what runs the tests keeps its own. */
static void kept_descriptors_do_not_reach_other_programs(void **state)
{
    (void)state;
    const int f = make("f");
    const int g = make("g");
    assert_true(f < g);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        must(fcntl(f, F_SETFD, 0) == 0 && fcntl(g, F_SETFD, 0) == 0);
        os_keep_descriptors((unsigned)g);
        _exit(fcntl(f, F_GETFD) != 0 || fcntl(g, F_GETFD) != FD_CLOEXEC);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    os.close(f);
    os.close(g);
}

/* Half of all at most. */
static void descriptors_are_kept_from_objects(void **state)
{
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit few = {.rlim_cur = 100, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(os_keep_back(30), 30);
    assert_true(os_may_hold(69) && !os_may_hold(70));
    assert_true(os_is_scarce(69) && !os_is_scarce(50));
    assert_int_equal(os_keep_back(1000), 50);
    assert_true(os_may_hold(49) && !os_may_hold(50));
    assert_int_equal(os_keep_back(0), 0);
    assert_true(os_may_hold(99));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    os_keep_back(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(files_are_opened_beneath_the_directory_only),
        TEST(files_are_opened_while_others_are_renamed),
        TEST(an_unnamed_file_gets_its_name),
        TEST(missing_unnamed_files_are_not_supported),
        TEST(names_come_and_go),
        TEST(space_is_allocated_and_the_file_grows),
        TEST(an_exclusive_lock_of_others_is_seen),
        TEST(who_holds_a_file_alone_is_seen),
        TEST(what_the_calls_cut_up_is_done_whole),
        TEST(an_error_keeps_its_call_and_number),
        TEST(residency_is_told_for_every_page),
        TEST(file_systems_of_the_kernel_are_not_local),
        TEST(random_bytes_differ),
        TEST(open_descriptors_are_counted),
        TEST(kept_descriptors_do_not_reach_other_programs),
        TEST(descriptors_are_kept_from_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
