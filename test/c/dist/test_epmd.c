/* What is said to epmd and understood of its answers. */
#include "dist/epmd.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"

static void the_request_registers_a_hidden_node(void **state)
{
    (void)state;
    static const uint8_t expected[] = {0, 18, 120, 0x12, 0x34, 72,  0,   0,   6, 0,
                                       6, 0,  5,   'e',  'm',  'm', 'a', 'p', 0, 0};
    uint8_t request[EPMD_REQUEST_MAX];
    assert_int_equal(epmd_request("emmap", 0x1234, request), sizeof expected);
    assert_memory_equal(request, expected, sizeof expected);
}

static void the_longest_name_fits(void **state)
{
    (void)state;
    char name[256];
    uint8_t request[EPMD_REQUEST_MAX];
    memset(name, 'n', 255);
    name[255] = '\0';
    assert_int_equal(epmd_request(name, 1, request), EPMD_REQUEST_MAX);
}

static const struct {
    const char *at;
    size_t len;
    enum epmd_answer answer;
} answers[] = {
    {"", 0, EPMD_MORE},
    {"v", 1, EPMD_MORE},
    {"y", 1, EPMD_MORE},
    {"v\0", 2, EPMD_ACCEPTED},
    {"v\0\1\2\3\4", 6, EPMD_ACCEPTED},
    {"y\0\1\2", 4, EPMD_ACCEPTED},
    {"v\1\0\0\0\0", 6, EPMD_REFUSED},
    {"y\1\0\0", 4, EPMD_REFUSED},
    {"y\xff", 2, EPMD_REFUSED},
    {"HTTP/1.1 400", 12, EPMD_NONSENSE},
    {"\0", 1, EPMD_NONSENSE},
};

static void answers_are_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        assert_int_equal(epmd_answer(span_of(answers[i].at, answers[i].len)), answers[i].answer);
}

static void the_port_is_that_of_the_environment(void **state)
{
    (void)state;
    assert_int_equal(epmd_port(NULL), 4369);
    assert_int_equal(epmd_port("4370"), 4370);
    assert_int_equal(epmd_port("65535"), 65535);
    static const char *const none[] = {
        "", "0", "-1", "65536", "4369x", "x", "99999999999999999999"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(epmd_port(none[i]), 0);
}

/* ---- starting one: a program of its name on a PATH of the test's own ---- */

static char *dir;
static char *old_path;

static int make_path(void **state)
{
    (void)state;
    dir = folder_make();
    const char *old = getenv("PATH");
    if (old == NULL)
        return -1;
    old_path = strdup(old);
    return setenv("PATH", dir, 1);
}

static int remove_path(void **state)
{
    (void)state;
    setenv("PATH", old_path, 1);
    free(old_path);
    folder_remove(dir);
    return 0;
}

static void put_program(const char *script)
{
    const char *path = folder_file(dir, "epmd");
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\nPATH=%s\ncd %s\n%s\n", old_path, dir, script);
    fclose(f);
    assert_int_equal(chmod(path, 0700), 0);
}

static const char *result(void)
{
    static char text[200];
    FILE *f = fopen(folder_file(dir, "result"), "re");
    if (f == NULL)
        return NULL;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

/* A socket at some port of 127.0.0.1, where it listens or does not. */
static int at_some_port(bool listens, uint16_t *port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof here;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&here, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&here, &len), 0);
    assert_int_equal(listens ? listen(fd, 1) : 0, 0);
    *port = ntohs(here.sin_port);
    return fd;
}

static void one_is_started_where_none_listens(void **state)
{
    (void)state;
    char why[EPMD_WHY];
    uint16_t port;
    const int nobody = at_some_port(false, &port);
    const int inherited = dup(nobody);
    assert_int_equal(fcntl(inherited, F_SETFD, 0), 0);
    put_program("echo \"$@\" $(readlink /proc/$$/fd/[0-2]) >result\n"
                "for fd in /proc/$$/fd/*; do case $(readlink $fd) in socket*) echo $fd >>result;; "
                "esac; done");
    assert_true(epmd_start(port, why));
    assert_string_equal(result(), "-daemon /dev/null /dev/null /dev/null\n");
    close(inherited);
    close(nobody);
}

static void none_is_started_where_one_listens(void **state)
{
    (void)state;
    char why[EPMD_WHY];
    uint16_t port;
    const int listener = at_some_port(true, &port);
    put_program("echo started >result");
    assert_true(epmd_start(port, why));
    assert_null(result());
    close(listener);
}

static void what_cannot_be_started_is_told(void **state)
{
    (void)state;
    char why[EPMD_WHY] = "";
    uint16_t port;
    const int nobody = at_some_port(false, &port);
    assert_false(epmd_start(port, why));
    assert_non_null(strstr(why, "No such file"));
    put_program("exit 1");
    assert_false(epmd_start(port, why));
    assert_non_null(strstr(why, "ended at once"));
    close(nobody);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_registers_a_hidden_node),
        cmocka_unit_test(the_longest_name_fits),
        cmocka_unit_test(answers_are_understood),
        cmocka_unit_test(the_port_is_that_of_the_environment),
        cmocka_unit_test_setup_teardown(one_is_started_where_none_listens, make_path, remove_path),
        cmocka_unit_test_setup_teardown(none_is_started_where_one_listens, make_path, remove_path),
        cmocka_unit_test_setup_teardown(what_cannot_be_started_is_told, make_path, remove_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
