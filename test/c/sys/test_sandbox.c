/* What a confined process may do, and what the kernel refuses it: in children, for there is no way
 * back out of a sandbox. */
#include "sys/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "support/check.h"
#include "support/folder.h"
#include "sys/bytes.h"
#include "sys/log.h"
#include "sys/os.h"

static char *path;
static struct sandbox sandbox;
static const char *allowed[2];

/* --- the world: two directories that are allowed, one of the log, one that is outside ----------
 */

static const char *in(const char *dir, const char *name)
{
    return folder_file(folder_file(path, dir), name);
}

static void put_file(const char *dir, const char *name)
{
    const int fd = open(in(dir, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "bytes", 5), 5);
    close(fd);
}

static int loopback(uint16_t port, struct sockaddr_in *at)
{
    *at = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* A port that was free just now. */
static uint16_t free_port(void)
{
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    const int fd = loopback(0, &at);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static int setup(void **state)
{
    (void)state;
    static const char *const dirs[] = {"data", "allowed", "log", "outside"};
    path = folder_make();
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        assert_int_equal(mkdir(folder_file(path, dirs[i]), 0700), 0);
    put_file("data", "file");
    put_file("allowed", "file");
    put_file("outside", "file");
    put_file("log", "log");
    allowed[0] = strdup(folder_file(path, "allowed"));
    sandbox = (struct sandbox){.data_dir = strdup(folder_file(path, "data")),
                               .allowed = allowed,
                               .log_file = strdup(in("log", "log")),
                               .listen = free_port(),
                               .connect = free_port()};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free((void *)(uintptr_t)sandbox.data_dir);
    free((void *)(uintptr_t)sandbox.log_file);
    free((void *)(uintptr_t)allowed[0]);
    folder_remove(path);
    return 0;
}

/* Enters the sandbox in a child and acts there; its wait status. */
static int confined(int (*act)(void))
{
    static const struct rlimit none = {0};
    int status;
    const pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &none);
        sandbox_no_new_privileges();
        const unsigned held = sandbox_enter(&sandbox);
        _exit(act == NULL ? (int)held : act());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static unsigned held(void)
{
    const int status = confined(NULL);
    assert_true(WIFEXITED(status));
    return (unsigned)WEXITSTATUS(status);
}

#if SANDBOX_SANITIZED

static void a_build_with_sanitizers_has_none(void **state)
{
    (void)state;
    assert_int_equal(held(), 0);
}

#else

static void the_kernel_holds_what_it_can(void **state)
{
    (void)state;
    const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1U);
    unsigned can = abi < 1 ? 0 : abi < 4 ? SANDBOX_FILES : SANDBOX_FILES | SANDBOX_NETWORK;
#ifdef SANDBOX_SECCOMP
    can |= SANDBOX_CALLS;
#endif
    assert_int_equal(held(), can);
}

/* --- what is allowed: 0, or where it failed ----------------------------------------------------
 */

static int result(int failed)
{
    return failed ? errno : 0;
}

static int files_in(const char *name)
{
    char bytes[5];
    const int dir = os.open(AT_FDCWD, folder_file(path, name), O_RDONLY | O_DIRECTORY, 0);
    const int made = os.open_beneath(dir, "made", O_RDWR | O_CREAT | O_EXCL, 0640);
    const int unnamed = os.open_unnamed(dir, 0600);
    const int file = os.open_beneath(dir, "file", O_RDWR, 0);
    return result(
        dir < 0 || made < 0 || unnamed < 0 || file < 0 || os.allocate(made, 0, 8192) != 0 ||
        os.write_at(made, "bytes", 5, 0) != 5 || os.read_at(file, bytes, 5, 0) != 5 ||
        os.truncate(made, 4096) != 0 || os.lock_exclusive(made) != 0 || os.sync(made) != 0 ||
        os.sync_all(dir) != 0 || os.write_back(made) != 0 ||
        os.own(made, getuid(), getgid()) != 0 || os.link_unnamed(unnamed, dir, "linked") != 0 ||
        os.link(dir, "linked", "second") != 0 || os.rename(dir, "second", "renamed") != 0 ||
        os.unlink(dir, "renamed") != 0 || os.make_dir(dir, "dir", 0700) != 0 || !os.is_local(made));
}

static int files_in_the_data_directory(void)
{
    return files_in("data");
}

static int files_in_an_allowed_directory(void)
{
    return files_in("allowed");
}

static int moving_between_them(void)
{
    return result(rename(in("data", "file"), in("allowed", "moved")) != 0);
}

static int maps(void)
{
    const int fd = os.open(AT_FDCWD, in("data", "file"), O_RDWR, 0);
    uint8_t *at = os.map(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    at = os.map(at, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    return result(at == MAP_FAILED || at[0] != 'b' || os.resident(at, 4096) < 0 ||
                  os.advise(at, 4096, MADV_WILLNEED) != 0 || os.unmap(at, 4096) != 0);
}

static int a_new_log(void)
{
    return result(rename(in("log", "log"), in("log", "log.1")) == 0 ||
                  unlink(in("log", "log")) == 0 || !log_open(in("log", "new")));
}

static int figures(void)
{
    size_t rss = 0;
    return result(uv_resident_set_memory(&rss) != 0 || rss == 0 || os_descriptors() < 3);
}

static int randomness(void)
{
    uint8_t bytes[16];
    os_random(bytes, sizeof bytes);
    return 0;
}

static void *of_a_thread(void *unused)
{
    return unused;
}

static int threads(void)
{
    pthread_t thread;
    return result(pthread_create(&thread, NULL, of_a_thread, NULL) != 0 ||
                  pthread_join(thread, NULL) != 0);
}

static void on_job(uv_work_t *work)
{
    *(int *)work->data = files_in("data");
}

static int a_loop_and_its_workers(void)
{
    int done = -1;
    uv_loop_t loop;
    uv_work_t work = {.data = &done};
    if (uv_loop_init(&loop) != 0 || uv_queue_work(&loop, &work, on_job, NULL) != 0)
        return errno;
    uv_run(&loop, UV_RUN_DEFAULT);
    return done;
}

static int listening_at_its_port(void)
{
    struct sockaddr_in at;
    const int fd = loopback(sandbox.listen, &at);
    return result(bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1) != 0);
}

/* That nobody listens there is known only to who may ask. */
static int connecting_to_epmd(void)
{
    struct sockaddr_in at;
    const int fd = loopback(sandbox.connect, &at);
    return result(connect(fd, (struct sockaddr *)&at, sizeof at) == 0 || errno != ECONNREFUSED);
}

static void what_the_daemon_does_is_allowed(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int (*act)(void);
    } rows[] = {
#define ROW(act)                                                                                   \
    {                                                                                              \
#act, act                                                                                  \
    }
        ROW(files_in_the_data_directory),
        ROW(files_in_an_allowed_directory),
        ROW(moving_between_them),
        ROW(maps),
        ROW(a_new_log),
        ROW(figures),
        ROW(randomness),
        ROW(threads),
        ROW(a_loop_and_its_workers),
        ROW(listening_at_its_port),
        ROW(connecting_to_epmd),
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        teardown(state);
        setup(state);
        const int status = confined(rows[i].act);
        if (status != 0)
            fail_msg("%s: status 0x%x", rows[i].name, (unsigned)status);
    }
}

static int aborting(void)
{
    abort();
}

static void it_may_abort(void **state)
{
    (void)state;
    const int status = confined(aborting);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* --- what is refused: the errno ----------------------------------------------------------------
 */

static int reading_outside(void)
{
    return result(open(in("outside", "file"), O_RDONLY | O_CLOEXEC) < 0);
}

static int writing_outside(void)
{
    return result(open(in("outside", "file"), O_WRONLY | O_CLOEXEC) < 0);
}

static int cutting_outside(void)
{
    return result(open(in("outside", "file"), O_WRONLY | O_TRUNC | O_CLOEXEC) < 0);
}

static int making_outside(void)
{
    return result(open(in("outside", "new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0);
}

static int removing_outside(void)
{
    return result(unlink(in("outside", "file")) != 0);
}

static int moving_out(void)
{
    return result(rename(in("data", "file"), in("outside", "moved")) != 0);
}

static int linking_in(void)
{
    return result(link(in("outside", "file"), in("data", "linked")) != 0);
}

static int listing_outside(void)
{
    return result(open(folder_file(path, "outside"), O_RDONLY | O_DIRECTORY | O_CLOEXEC) < 0);
}

static int reading_the_log(void)
{
    return result(open(in("log", "log"), O_RDONLY | O_CLOEXEC) < 0);
}

static int reading_of_other_processes(void)
{
    return result(open("/proc/1/status", O_RDONLY | O_CLOEXEC) < 0);
}

static void *read_outside(void *number)
{
    *(int *)number = reading_outside();
    return NULL;
}

static int reading_outside_in_a_thread(void)
{
    int number = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, read_outside, &number);
    pthread_join(thread, NULL);
    return number;
}

static int listening_elsewhere(void)
{
    struct sockaddr_in at;
    const int fd = loopback(sandbox.connect, &at);
    return result(bind(fd, (struct sockaddr *)&at, sizeof at) != 0);
}

static int connecting_elsewhere(void)
{
    struct sockaddr_in at;
    const int fd = loopback(sandbox.listen, &at);
    return result(connect(fd, (struct sockaddr *)&at, sizeof at) != 0);
}

static int forking(void)
{
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    return result(child < 0);
}

static int local_sockets(void)
{
    return result(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0);
}

static int new_code(void)
{
    return result(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                  MAP_FAILED);
}

static int memory_made_code(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return result(mprotect(at, 4096, PROT_READ | PROT_EXEC) != 0);
}

static int signals_to_others(void)
{
    return result(kill(getppid(), 0) != 0);
}

static int other_limits(void)
{
    static const struct rlimit none = {0};
    return result(setrlimit(RLIMIT_CORE, &none) != 0);
}

static int links_that_lead_away(void)
{
    return result(symlink("/etc", in("data", "link")) != 0);
}

static int keys_for_a_terminal(void)
{
    return result(ioctl(STDIN_FILENO, TIOCSTI, "x") != 0);
}

static void the_rest_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int (*act)(void);
        unsigned by;
        int number;
    } rows[] = {
#define REFUSED(act, by, number)                                                                   \
    {                                                                                              \
#act, act, by, number                                                                      \
    }
        REFUSED(reading_outside, SANDBOX_FILES, EACCES),
        REFUSED(reading_outside_in_a_thread, SANDBOX_FILES, EACCES),
        REFUSED(writing_outside, SANDBOX_FILES, EACCES),
        REFUSED(cutting_outside, SANDBOX_FILES, EACCES),
        REFUSED(making_outside, SANDBOX_FILES, EACCES),
        REFUSED(removing_outside, SANDBOX_FILES, EACCES),
        REFUSED(moving_out, SANDBOX_FILES, EACCES),
        REFUSED(linking_in, SANDBOX_FILES, EXDEV),
        REFUSED(listing_outside, SANDBOX_FILES, EACCES),
        REFUSED(reading_the_log, SANDBOX_FILES, EACCES),
        REFUSED(reading_of_other_processes, SANDBOX_FILES, EACCES),
        REFUSED(listening_elsewhere, SANDBOX_NETWORK, EACCES),
        REFUSED(connecting_elsewhere, SANDBOX_NETWORK, EACCES),
        REFUSED(forking, SANDBOX_CALLS, ENOSYS),
        REFUSED(local_sockets, SANDBOX_CALLS, ENOSYS),
        REFUSED(new_code, SANDBOX_CALLS, ENOSYS),
        REFUSED(memory_made_code, SANDBOX_CALLS, ENOSYS),
        REFUSED(signals_to_others, SANDBOX_CALLS, ENOSYS),
        REFUSED(other_limits, SANDBOX_CALLS, ENOSYS),
        REFUSED(links_that_lead_away, SANDBOX_CALLS, ENOSYS),
        REFUSED(keys_for_a_terminal, SANDBOX_CALLS, ENOSYS),
    };
    const unsigned holds = held();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int status = confined(rows[i].act);
        const bool refused = WIFEXITED(status) && WEXITSTATUS(status) == rows[i].number;
        if (refused != ((holds & rows[i].by) != 0))
            fail_msg("%s: status 0x%x", rows[i].name, (unsigned)status);
        teardown(state);
        setup(state);
    }
}

/* --- what ends the process ---------------------------------------------------------------------
 */

static int another_program(void)
{
    char *args[] = {"true", NULL};
    execv("/bin/true", args);
    return errno;
}

static int tracing(void)
{
    return result(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) != 0);
}

static int memory_of_others(void)
{
    char byte;
    struct iovec io = {.iov_base = &byte, .iov_len = 1};
    return result(process_vm_readv(getppid(), &io, 1, &io, 1, 0) != 1);
}

static int another_user(void)
{
    return result(setuid(65534) != 0);
}

static int mounting(void)
{
    return result(mount("none", path, "tmpfs", 0, NULL) != 0);
}

static int another_namespace(void)
{
    return result(unshare(CLONE_NEWUSER) != 0);
}

static void what_only_an_intruder_does_ends_it(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int (*act)(void);
    } rows[] = {
        ROW(another_program), ROW(tracing),  ROW(memory_of_others),
        ROW(another_user),    ROW(mounting), ROW(another_namespace),
    };
    const bool deadly = (held() & SANDBOX_CALLS) != 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int status = confined(rows[i].act);
        if ((WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) != deadly)
            fail_msg("%s: status 0x%x", rows[i].name, (unsigned)status);
    }
}

/* --- where something is missing ----------------------------------------------------------------
 */

/* A directory that is gone cannot get a rule, and the others alone would be of no use. */
static void what_cannot_be_held_is_told(void **state)
{
    (void)state;
    const char *log = in("log", "log");
    char text[1000] = "";
    free((void *)(uintptr_t)sandbox.data_dir);
    sandbox.data_dir = strdup(in("data", "gone"));
    log_set_level(LOG_notice);
    assert_true(log_open(log));
    assert_int_equal(held() & (SANDBOX_FILES | SANDBOX_NETWORK), 0);
    assert_true(log_open(NULL));
    log_set_level(LOG_error);
    FILE *f = fopen(log, "re");
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    assert_non_null(strstr(text, "notice sandbox: files off, network off"));
    assert_non_null(strstr(text, "data/gone: No such file or directory"));
}

#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
#if SANDBOX_SANITIZED
        TEST(a_build_with_sanitizers_has_none),
#else
        TEST(the_kernel_holds_what_it_can),
        TEST(what_the_daemon_does_is_allowed),
        TEST(it_may_abort),
        TEST(the_rest_is_refused),
        TEST(what_only_an_intruder_does_ends_it),
        TEST(what_cannot_be_held_is_told),
#endif
    };
    log_set_level(LOG_error);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
