/* What is said to epmd and understood of its answers. */
#include "dist/epmd.h"
#include "support/check.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_registers_a_hidden_node),
        cmocka_unit_test(the_longest_name_fits),
        cmocka_unit_test(answers_are_understood),
        cmocka_unit_test(the_port_is_that_of_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
