/* Bytes and integers, and arithmetic at its edges. */
#include "sys/bytes.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"

static void big_endian_integers_have_their_bytes(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x81, 0x02, 0xf3, 0x04, 0x85, 0x06, 0xf7, 0x08};
    uint8_t out[8];
    assert_int_equal(get_be16(bytes), 0x8102);
    assert_int_equal(get_be32(bytes), 0x8102f304);
    assert_int_equal(get_be64(bytes), 0x8102f3048506f708);
    put_be16(out, 0x8102);
    assert_memory_equal(out, bytes, 2);
    put_be32(out, 0x8102f304);
    assert_memory_equal(out, bytes, 4);
    put_be64(out, 0x8102f3048506f708);
    assert_memory_equal(out, bytes, 8);
}

static void little_endian_integers_have_their_bytes(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x08, 0xf7, 0x06, 0x85, 0x04, 0xf3, 0x02, 0x81};
    uint8_t out[8];
    assert_int_equal(get_le64(bytes), 0x8102f3048506f708);
    put_le64(out, 0x8102f3048506f708);
    assert_memory_equal(out, bytes, 8);
}

static void sums_and_products_tell_of_overflow(void **state)
{
    (void)state;
    uint64_t to = 0;
    assert_true(add_u64(UINT64_MAX - 1, 1, &to));
    assert_int_equal(to, UINT64_MAX);
    assert_false(add_u64(UINT64_MAX, 1, &to));
    assert_true(mul_u64((uint64_t)1 << 32, UINT32_MAX, &to));
    assert_int_equal(to, 0xffffffff00000000);
    assert_false(mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &to));
}

static void aligning_goes_up_to_the_next_multiple(void **state)
{
    (void)state;
    static const uint64_t rows[][3] = {
        {0, 8, 0},  {1, 8, 8},          {8, 8, 8},
        {9, 8, 16}, {4097, 4096, 8192}, {UINT64_MAX - 4096, 4096, UINT64_MAX - 4095}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(align_up(rows[i][0], rows[i][1]), rows[i][2]);
}

static void spans_are_equal_by_their_bytes(void **state)
{
    (void)state;
    assert_true(span_equal(span_text(""), span_of(NULL, 0)));
    assert_true(span_equal(span_text("abc"), span_of("abcd", 3)));
    assert_true(span_equal(span_of("a\0b", 3), span_of("a\0b", 3)));
    assert_false(span_equal(span_of("a\0b", 3), span_of("a\0c", 3)));
    assert_false(span_equal(span_text("abc"), span_text("abcd")));
}

static void a_broken_must_ends_the_process(void **state)
{
    (void)state;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        must(1 + 1 == 3);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(big_endian_integers_have_their_bytes),
        cmocka_unit_test(little_endian_integers_have_their_bytes),
        cmocka_unit_test(sums_and_products_tell_of_overflow),
        cmocka_unit_test(aligning_goes_up_to_the_next_multiple),
        cmocka_unit_test(spans_are_equal_by_their_bytes),
        cmocka_unit_test(a_broken_must_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
