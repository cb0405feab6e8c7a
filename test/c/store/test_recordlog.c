/* Positions of a log and the granules behind them. */
#include "store/recordlog.h"

#include "support/check.h"

enum { MOST = 4 };

#define GRANULE UINT64_C(256)

static struct extent table[MOST];

static struct recordlog empty_log(void)
{
    return (struct recordlog){
        .granule = GRANULE, .base = GRANULE, .head = GRANULE, .end = GRANULE, .table = table};
}

static void a_position_leads_into_its_extent(void **state)
{
    (void)state;
    struct recordlog log = empty_log();
    uint64_t left;
    assert_true(log_add(&log, 10, 2, MOST));
    assert_true(log_add(&log, 5, 1, MOST));
    assert_true(log_add(&log, 20, 3, MOST));
    assert_int_equal(log_offset(&log, GRANULE, &left), 10 * GRANULE);
    assert_int_equal(left, 2 * GRANULE);
    assert_int_equal(log_offset(&log, 3 * GRANULE - 8, &left), 12 * GRANULE - 8);
    assert_int_equal(left, 8);
    assert_int_equal(log_offset(&log, 3 * GRANULE, &left), 5 * GRANULE);
    assert_int_equal(log_offset(&log, 4 * GRANULE + 16, &left), 20 * GRANULE + 16);
    assert_int_equal(left, 3 * GRANULE - 16);
    assert_int_equal(log_offset(&log, 7 * GRANULE, &left), NO_POSITION);
    assert_int_equal(log_offset(&log, GRANULE - 8, &left), NO_POSITION);
}

static void neighbours_are_one_extent(void **state)
{
    (void)state;
    struct recordlog log = empty_log();
    assert_true(log_add(&log, 10, 2, MOST));
    assert_true(log_add(&log, 12, 2, MOST));
    assert_int_equal(log.n, 1);
    assert_int_equal(log.end, 5 * GRANULE);
}

static void a_full_table_takes_no_more(void **state)
{
    (void)state;
    struct recordlog log = empty_log();
    for (uint32_t i = 0; i < MOST; i++)
        assert_true(log_add(&log, 2 * i, 1, MOST));
    assert_false(log_add(&log, 100, 1, MOST));
    assert_int_equal(log.n, MOST);
}

static void what_is_before_the_head_is_given_up(void **state)
{
    (void)state;
    struct recordlog log = empty_log();
    struct space space;
    uint64_t left;
    assert_int_equal(space_open(&space, 30), OK);
    space_mark(&space, 0, 30, GRANULE_USED);
    log_add(&log, 10, 2, MOST);
    log_add(&log, 5, 1, MOST);
    log_add(&log, 20, 3, MOST);
    log_trim(&log, 5 * GRANULE + 100, &space);
    assert_int_equal(log.n, 1);
    assert_int_equal(log.base, 5 * GRANULE);
    assert_int_equal(log_offset(&log, 5 * GRANULE + 100, &left), 21 * GRANULE + 100);
    assert_true(space_is_free(&space, 10, 2));
    assert_true(space_is_free(&space, 5, 1));
    assert_true(space_is_free(&space, 20, 1));
    assert_false(space_is_free(&space, 21, 1));
    space_close(&space);
}

static void the_lowest_run_that_fits_is_found(void **state)
{
    (void)state;
    struct space space;
    uint32_t granule;
    assert_int_equal(space_open(&space, 20), OK);
    space_mark(&space, 0, 20, GRANULE_USED);
    space_mark(&space, 3, 1, GRANULE_FREE);
    space_mark(&space, 7, 1, GRANULE_FREE);
    space_mark(&space, 8, 1, GRANULE_HOLE);
    space_mark(&space, 9, 1, GRANULE_RETIRED);
    space_mark(&space, 18, 2, GRANULE_FREE);
    assert_true(space_find(&space, 1, &granule));
    assert_int_equal(granule, 3);
    assert_true(space_find(&space, 2, &granule));
    assert_int_equal(granule, 7);
    assert_false(space_find(&space, 3, &granule));
    assert_int_equal(space_at_end(&space), 2);
    assert_true(space_resize(&space, 40));
    assert_int_equal(space_at_end(&space), 22);
    assert_false(space_is_free(&space, 39, 2));
    assert_false(space_is_free(&space, UINT32_MAX, 1));
    space_close(&space);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_position_leads_into_its_extent),
        cmocka_unit_test(neighbours_are_one_extent),
        cmocka_unit_test(a_full_table_takes_no_more),
        cmocka_unit_test(what_is_before_the_head_is_given_up),
        cmocka_unit_test(the_lowest_run_that_fits_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
