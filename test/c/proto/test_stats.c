/* Times of requests, counted by powers of two. */
#include "proto/stats.h"

#include "support/check.h"

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
    stats_note(&s, 1000, 1500);
    stats_note(&s, 2000, 2000);
    stats_note(&s, 3000, 10000);
    stats_note(&s, 20000, 20001);
    assert_int_equal(s.ops, 4);
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
        stats_note(&s, 0, ((uint64_t)1 << i) - 1);
        stats_note(&s, 0, (uint64_t)1 << i);
        assert_int_equal(s.latency[i - 1], 1);
        assert_int_equal(s.latency[i], 1);
    }
}

static void times_beyond_the_last_power_are_of_it(void **state)
{
    (void)state;
    struct stats s = {0};
    stats_note(&s, 0, (uint64_t)1 << STATS_POWERS);
    stats_note(&s, 0, UINT64_MAX);
    assert_int_equal(s.latency[STATS_POWERS - 1], 2);
    assert_int_equal(s.max_ns, UINT64_MAX);
}

static void percentiles_are_the_upper_ends_up_to_the_longest(void **state)
{
    (void)state;
    struct stats s = {0};
    for (int i = 0; i < 980; i++)
        stats_note(&s, 0, 1500); /* up to 2048 ns */
    for (int i = 0; i < 20; i++)
        stats_note(&s, 0, 1500000); /* up to 2097152 ns, but the longest took this */
    assert_int_equal(stats_percentile_us(&s, 0), 3);
    assert_int_equal(stats_percentile_us(&s, 500), 3);
    assert_int_equal(stats_percentile_us(&s, 980), 3);
    assert_int_equal(stats_percentile_us(&s, 981), 1500);
    assert_int_equal(stats_percentile_us(&s, 990), 1500);
    assert_int_equal(stats_percentile_us(&s, 1000), 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_noted_is_zero),
        cmocka_unit_test(what_is_noted_is_counted),
        cmocka_unit_test(a_power_has_its_bounds),
        cmocka_unit_test(times_beyond_the_last_power_are_of_it),
        cmocka_unit_test(percentiles_are_the_upper_ends_up_to_the_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
