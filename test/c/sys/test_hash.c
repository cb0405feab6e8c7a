/* The hash that files are checked by never changes. */
#include "sys/hash.h"

#include "support/check.h"

/* XXH3, 64 bits, of nothing with seed 0, as its specification has it. */
static void it_is_xxh3(void **state)
{
    (void)state;
    assert_int_equal(hash_bytes(0, "", 0), 0x2d06800538d394c2);
}

static void two_pieces_are_one(void **state)
{
    (void)state;
    uint8_t bytes[1000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 31);
    for (size_t cut = 0; cut <= sizeof bytes; cut += 37)
        assert_int_equal(hash_two(7, span_of(bytes, cut), span_of(bytes + cut, sizeof bytes - cut)),
                         hash_bytes(7, bytes, sizeof bytes));
}

static void the_seed_counts(void **state)
{
    (void)state;
    assert_int_not_equal(hash_bytes(1, "x", 1), hash_bytes(2, "x", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_xxh3),
        cmocka_unit_test(two_pieces_are_one),
        cmocka_unit_test(the_seed_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
