/* Items before the frontier against a plain array. */
#include "store/items.h"

#include <stdlib.h>

#include "support/check.h"

enum { N = 3000 };

static struct items all;

static struct item *add(uint64_t seq)
{
    assert_true(items_room(&all));
    struct item *item = items_add(&all, seq, LOG_MAIN, seq * 100, 50);
    items_set(&all, item, ITEM_READY);
    return item;
}

static int teardown(void **state)
{
    (void)state;
    items_fini(&all);
    return 0;
}

static void items_are_found_by_number(void **state)
{
    (void)state;
    static bool there[N + 2];
    srandom(2);
    for (uint64_t seq = 1; seq <= N; seq++) {
        add(seq);
        there[seq] = true;
        for (int i = 0; i < 2; i++) {
            const uint64_t other = 1 + (uint64_t)random() % seq;
            struct item *item = items_find(&all, other);
            assert_int_equal(item != NULL, there[other]);
            if (item != NULL && random() % 3 > 0) {
                items_remove(&all, item);
                there[other] = false;
            }
        }
    }
    for (uint64_t seq = 0; seq <= N + 1; seq++)
        assert_int_equal(items_find(&all, seq) != NULL, there[seq]);
    size_t live = 0;
    for (uint64_t seq = 1; seq <= N; seq++)
        live += there[seq];
    assert_int_equal(all.live, live);
    assert_int_equal(all.bytes[LOG_MAIN], live * 50);
    assert_int_equal(all.ready.n, live);
    assert_int_equal(all.ready_bytes, live * 50);
}

static void the_next_place_is_that_of_the_next_number(void **state)
{
    (void)state;
    for (uint64_t seq = 10; seq <= 100; seq += 10)
        add(seq);
    items_remove(&all, items_find(&all, 50));
    assert_int_equal(all.by_seq[items_place(&all, 1)].seq, 10);
    assert_int_equal(all.by_seq[items_place(&all, 41)].seq, 50);
    assert_null(all.by_seq[items_place(&all, 41)].item);
    assert_int_equal(all.by_seq[items_place(&all, 60)].seq, 60);
    assert_int_equal(items_place(&all, 101), all.n);
}

static void each_state_is_counted(void **state)
{
    (void)state;
    struct item *item = add(1);
    add(2);
    items_set(&all, item, ITEM_LEASED);
    assert_int_equal(all.leased, 1);
    assert_int_equal(all.ready.n, 1);
    items_set(&all, item, ITEM_BURIED);
    assert_int_equal(all.leased, 0);
    assert_int_equal(all.buried, 1);
    item->until = 5;
    items_set(&all, item, ITEM_DELAYED);
    assert_int_equal(all.buried, 0);
    assert_int_equal(all.delayed.n, 1);
    items_remove(&all, item);
    assert_int_equal(all.delayed.n, 0);
}

static void the_shelf_keeps_the_order_of_copies(void **state)
{
    (void)state;
    struct item *one = add(1);
    struct item *two = add(2);
    items_shelve(&all, two, 1000);
    items_shelve(&all, one, 2000);
    assert_null(all.logs[LOG_MAIN]);
    assert_ptr_equal(all.logs[LOG_SHELF], two);
    assert_ptr_equal(two->next, one);
    assert_int_equal(all.bytes[LOG_SHELF], 100);
}

static void numbers_may_be_added_out_of_order_and_sorted(void **state)
{
    (void)state;
    add(9);
    add(3);
    add(7);
    items_sort(&all);
    assert_int_equal(items_find(&all, 3)->seq, 3);
    assert_int_equal(all.by_seq[0].seq, 3);
    assert_int_equal(all.by_seq[2].seq, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(items_are_found_by_number, teardown),
        cmocka_unit_test_teardown(the_next_place_is_that_of_the_next_number, teardown),
        cmocka_unit_test_teardown(each_state_is_counted, teardown),
        cmocka_unit_test_teardown(the_shelf_keeps_the_order_of_copies, teardown),
        cmocka_unit_test_teardown(numbers_may_be_added_out_of_order_and_sorted, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
