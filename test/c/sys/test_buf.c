/* A buffer against what was put in, up to its maximum. */
#include "sys/buf.h"

#include "support/check.h"

static void bytes_come_out_as_they_were_put_in(void **state)
{
    (void)state;
    struct buf b;
    uint8_t model[6000];
    size_t len = 0;
    buf_init(&b, sizeof model);
    for (size_t n = 0; len + n <= sizeof model; n += 7) {
        memset(model + len, (int)n, n);
        assert_true(buf_put(&b, model + len, n));
        len += n;
        assert_int_equal(b.len, len);
        assert_true(len == 0 || memcmp(b.at, model, len) == 0);
    }
    assert_true(len > 5000 && !b.failed);
    buf_fini(&b);
}

static void nothing_can_be_put_anywhere(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    assert_true(buf_put(&b, NULL, 0));
    assert_true(buf_put(&b, "12345678", 8));
    assert_true(buf_put(&b, NULL, 0));
    assert_false(b.failed);
    buf_fini(&b);
}

static void the_maximum_is_reached_and_not_passed(void **state)
{
    (void)state;
    static const size_t maxima[] = {1, 2, 511, 512, 1023, 1024, 1025, 5000};
    for (size_t i = 0; i < sizeof maxima / sizeof maxima[0]; i++) {
        struct buf b;
        buf_init(&b, maxima[i]);
        for (size_t n = 0; n < maxima[i]; n++)
            assert_true(buf_put(&b, "x", 1));
        assert_false(b.failed);
        assert_false(buf_put(&b, "x", 1));
        assert_true(b.failed);
        assert_int_equal(b.len, maxima[i]);
        assert_true(b.cap <= maxima[i]);
        buf_fini(&b);
    }
}

static void what_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    static const size_t too_much[] = {8, 9, SIZE_MAX - 3, SIZE_MAX};
    for (size_t i = 0; i < sizeof too_much / sizeof too_much[0]; i++) {
        struct buf b;
        buf_init(&b, 10);
        assert_true(buf_put(&b, "abc", 3));
        assert_null(buf_grow(&b, too_much[i]));
        assert_true(b.failed);
        assert_int_equal(b.len, 3);
        assert_true(buf_put(&b, "d", 1)); /* and what fits goes in, but the failure stays */
        assert_true(b.failed);
        assert_memory_equal(b.at, "abcd", 4);
        buf_cut(&b, 2);
        assert_false(b.failed);
        assert_int_equal(b.len, 2);
        buf_fini(&b);
    }
}

static void growing_makes_room_and_no_bytes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    uint8_t *to = buf_grow(&b, 3000);
    assert_non_null(to);
    assert_int_equal(b.len, 0);
    memset(to, 1, 3000);
    b.len += 3000;
    assert_ptr_equal(buf_grow(&b, 0), b.at + 3000);
    buf_fini(&b);
    assert_null(b.at);
    assert_int_equal(b.max, 1 << 20);
}

static void what_is_dropped_leaves_the_rest(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_true(buf_put(&b, "0123456789", 10));
    buf_drop(&b, 0);
    assert_int_equal(b.len, 10);
    buf_drop(&b, 4);
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.at, "456789", 6);
    buf_drop(&b, 6);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void an_empty_buffer_gives_memory_back(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_non_null(buf_grow(&b, 10000));
    b.len = 1;
    buf_relax(&b, 1024);
    assert_true(b.cap >= 10000); /* not empty */
    buf_drop(&b, 1);
    buf_relax(&b, 1 << 20);
    assert_true(b.cap >= 10000); /* not over what is to be kept */
    buf_relax(&b, 1024);
    assert_int_equal(b.cap, 0);
    assert_true(buf_put(&b, "x", 1));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_were_put_in),
        cmocka_unit_test(nothing_can_be_put_anywhere),
        cmocka_unit_test(the_maximum_is_reached_and_not_passed),
        cmocka_unit_test(what_does_not_fit_changes_nothing),
        cmocka_unit_test(growing_makes_room_and_no_bytes),
        cmocka_unit_test(what_is_dropped_leaves_the_rest),
        cmocka_unit_test(an_empty_buffer_gives_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
