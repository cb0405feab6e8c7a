/* Pages that fail under a copy: the end of a file that another program has cut. */
#include "sys/guard.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"
#include "sys/bytes.h"

#define PAGE ((size_t)4096)

static char *dir;
static uint8_t *mapped; /* three pages 'a', of which only the first is left in the file */

static int setup(void **state)
{
    (void)state;
    static char bytes[3 * PAGE];
    memset(bytes, 'a', sizeof bytes);
    dir = folder_make();
    int fd = open(folder_file(dir, "cut"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, bytes, sizeof bytes) == sizeof bytes);
    mapped = mmap(NULL, sizeof bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(mapped != MAP_FAILED && ftruncate(fd, PAGE) == 0);
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    munmap(mapped, 3 * PAGE);
    folder_remove(dir);
    return 0;
}

/* cmocka takes SIGBUS for itself at the beginning of each test, so each installs the guard. */

static void copying_tells_of_a_failing_page(void **state)
{
    (void)state;
    uint8_t to[2 * PAGE] = {0};
    guard_install();
    assert_true(guard_copy(to, mapped, PAGE));
    assert_false(guard_copy(to, mapped + PAGE, 1));
    assert_false(guard_copy(mapped + 2 * PAGE, to, 1));
    assert_true(guard_copy(to, mapped + 2 * PAGE, 0));
    memset(to, 0, sizeof to);
    assert_true(guard_copy(to, mapped, PAGE)); /* as if nothing had been */
    assert_int_equal(to[PAGE - 1], 'a');
    assert_true(guard_copy(mapped, "b", 1));
    assert_int_equal(mapped[0], 'b');
}

struct steps {
    int done;
    const volatile uint8_t *at;
};

static void two_steps(void *arg)
{
    struct steps *s = arg;
    s->done = 1;
    if (*s->at == 'a')
        s->done = 2;
}

static void a_run_ends_where_the_page_fails(void **state)
{
    (void)state;
    struct steps good = {.at = mapped};
    struct steps bad = {.at = mapped + PAGE};
    guard_install();
    for (int i = 0; i < 3; i++) {
        assert_true(guard_run(two_steps, &good));
        assert_int_equal(good.done, 2);
        assert_false(guard_run(two_steps, &bad));
        assert_int_equal(bad.done, 1);
    }
}

static void *fail_and_copy(void *arg)
{
    uint8_t byte = 0;
    bool as_expected = true;
    for (int i = 0; i < 200; i++)
        as_expected &= !guard_copy(&byte, mapped + PAGE, 1) && guard_copy(&byte, mapped, 1);
    *(bool *)arg = as_expected && byte == 'a';
    return NULL;
}

static void every_thread_has_a_guard_of_its_own(void **state)
{
    (void)state;
    pthread_t threads[3];
    bool good[3] = {false};
    bool mine = false;
    guard_install();
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_and_copy, &good[i]), 0);
    fail_and_copy(&mine);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(good[i]);
    }
    assert_true(mine);
}

static void a_fault_elsewhere_ends_the_process(void **state)
{
    (void)state;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        guard_install();
        uint8_t byte;
        if (guard_copy(&byte, mapped + PAGE, 1))
            _exit(1);
        _exit(*(volatile uint8_t *)(mapped + PAGE));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(copying_tells_of_a_failing_page, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_ends_where_the_page_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(every_thread_has_a_guard_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fault_elsewhere_ends_the_process, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
