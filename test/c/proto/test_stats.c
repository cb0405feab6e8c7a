/* Times of requests, counted by powers of two. */
#include "proto/stats.h"

#include "support/check.h"

static void note(struct stats *s, uint64_t since_ns, uint64_t now_ns)
{
    const struct sample one = stats_sample(now_ns - since_ns, now_ns, false);
    stats_note(s, &one);
}

static void nothing_noted_is_zero(void **state)
{
    (void)state;
    const struct stats s = {0};
    assert_int_equal(stats_percentile_us(&s, 500), 0);
    assert_int_equal(stats_percentile_us(&s, 999), 0);
    assert_int_equal(stats_percentile_us(&s, 1000), 0);
}

static void what_is_noted_is_counted(void **state)
{
    (void)state;
    struct stats s = {0};
    note(&s, 1000, 1500);
    note(&s, 2000, 2000);
    note(&s, 3000, 10000);
    note(&s, 20000, 20001);
    assert_int_equal(stats_ops(&s), 4);
    assert_int_equal(s.sum_ns, 7501);
    assert_int_equal(s.max_ns, 7000);
    assert_int_equal(s.last_ns, 20001);
    assert_int_equal(s.latency[8], 1);  /* 500 */
    assert_int_equal(s.latency[12], 1); /* 7000 */
    assert_int_equal(s.latency[0], 2);  /* 0 and 1 */
}

static void a_power_has_its_bounds(void **state)
{
    (void)state;
    for (unsigned i = 1; i < STATS_POWERS; i++) {
        struct stats s = {0};
        note(&s, 0, ((uint64_t)1 << i) - 1);
        note(&s, 0, (uint64_t)1 << i);
        assert_int_equal(s.latency[i - 1], 1);
        assert_int_equal(s.latency[i], 1);
    }
}

static void times_beyond_the_last_power_are_of_it(void **state)
{
    (void)state;
    struct stats s = {0};
    note(&s, 0, (uint64_t)1 << STATS_POWERS);
    note(&s, 0, UINT64_MAX);
    assert_int_equal(s.latency[STATS_POWERS - 1], 2);
    assert_int_equal(s.max_ns, UINT64_MAX);
}

static void percentiles_are_the_upper_ends_up_to_the_longest(void **state)
{
    (void)state;
    struct stats s = {0};
    for (int i = 0; i < 980; i++)
        note(&s, 0, 1500); /* up to 2048 ns */
    for (int i = 0; i < 20; i++)
        note(&s, 0, 1500000); /* up to 2097152 ns, but the longest took this */
    assert_int_equal(stats_percentile_us(&s, 0), 3);
    assert_int_equal(stats_percentile_us(&s, 500), 3);
    assert_int_equal(stats_percentile_us(&s, 980), 3);
    assert_int_equal(stats_percentile_us(&s, 981), 1500);
    assert_int_equal(stats_percentile_us(&s, 990), 1500);
    assert_int_equal(stats_percentile_us(&s, 1000), 1500);
}

static void errors_are_counted_apart(void **state)
{
    (void)state;
    struct stats s = {0};
    for (int i = 0; i < 5; i++) {
        const struct sample one = stats_sample(10, 20, i % 2 == 1);
        stats_note(&s, &one);
    }
    assert_int_equal(stats_ops(&s), 5);
    assert_int_equal(s.errors, 2);
}

static void those_of_many_are_added(void **state)
{
    (void)state;
    struct stats one = {.errors = 1, .bytes_in = 2, .bytes_out = 3};
    struct stats many = {0};
    note(&one, 100, 1700);
    stats_add(&many, &one);
    note(&one, 2000, 2001);
    stats_add(&many, &one);
    assert_int_equal(stats_ops(&many), 3);
    assert_int_equal(many.errors, 2);
    assert_int_equal(many.bytes_in, 4);
    assert_int_equal(many.bytes_out, 6);
    assert_int_equal(many.sum_ns, 3201);
    assert_int_equal(many.max_ns, 1600);
    assert_int_equal(many.last_ns, 2001);
    assert_int_equal(many.latency[10], 2);
    assert_int_equal(many.latency[0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_noted_is_zero),
        cmocka_unit_test(what_is_noted_is_counted),
        cmocka_unit_test(a_power_has_its_bounds),
        cmocka_unit_test(times_beyond_the_last_power_are_of_it),
        cmocka_unit_test(errors_are_counted_apart),
        cmocka_unit_test(those_of_many_are_added),
        cmocka_unit_test(percentiles_are_the_upper_ends_up_to_the_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
