/* The least comes first, whatever joins and leaves. */
#include "sys/heap.h"

#include <stdlib.h>

#include "support/check.h"

enum { N = 500 };

static uint64_t least(const struct heap_node *nodes)
{
    uint64_t key = UINT64_MAX;
    for (int i = 0; i < N; i++)
        if (nodes[i].at > 0 && nodes[i].key < key)
            key = nodes[i].key;
    return key;
}

static void the_least_comes_first(void **state)
{
    (void)state;
    struct heap h = {.n = 0};
    struct heap_node nodes[N] = {{.at = 0}};
    assert_null(heap_first(&h));
    assert_true(heap_reserve(&h, N));
    srandom(1);
    for (int step = 0; step < 20000; step++) {
        struct heap_node *node = &nodes[random() % N];
        if (node->at > 0)
            heap_remove(&h, node);
        else
            heap_add(&h, node, (uint64_t)random() % 1000);
        const struct heap_node *first = heap_first(&h);
        assert_true(first == NULL ? h.n == 0 : first->key == least(nodes));
    }
    heap_fini(&h);
}

static void who_is_in_no_heap_can_be_removed(void **state)
{
    (void)state;
    struct heap h = {.n = 0};
    struct heap_node node = {.at = 0};
    heap_remove(&h, &node);
    assert_int_equal(h.n, 0);
    heap_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_comes_first),
        cmocka_unit_test(who_is_in_no_heap_can_be_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
