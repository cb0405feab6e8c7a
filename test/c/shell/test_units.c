/* Numbers as people read them. */
#include "shell/units.h"

#include "support/check.h"

struct row {
    uint64_t n;
    const char *text;
};

static void check(const char *(*write)(char *, uint64_t), const struct row *rows, size_t n)
{
    char text[UNITS_TEXT];
    for (size_t i = 0; i < n; i++)
        assert_string_equal(write(text, rows[i].n), rows[i].text);
}

#define CHECK(write, rows) check(write, rows, sizeof rows / sizeof rows[0])

static void counts_are_plain_up_to_five_digits(void **state)
{
    (void)state;
    static const struct row rows[] = {{0, "0"},          {99999, "99999"},   {100000, "100 k"},
                                      {999499, "999 k"}, {999500, "1.0 M"},  {1500000, "1.5 M"},
                                      {9990000, "10 M"}, {41000000, "41 M"}, {UINT64_MAX, "18 E"}};
    CHECK(units_count, rows);
}

static void bytes_have_binary_units(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {0, "0 B"},          {1023, "1023 B"},     {1024, "1 KiB"},    {1536, "1.5 KiB"},
        {262144, "256 KiB"}, {1048575, "1.0 MiB"}, {1048576, "1 MiB"}, {UINT64_MAX, "16 EiB"}};
    CHECK(units_bytes, rows);
}

static void times_have_the_unit_that_tells_most(void **state)
{
    (void)state;
    static const struct row rows[] = {{0, "0 ms"},           {999, "999 ms"},
                                      {3100, "3.1 s"},       {59999, "59.9 s"},
                                      {60000, "1 min"},      {7199999, "119 min"},
                                      {7200000, "2 h"},      {172799999, "47 h"},
                                      {259200000, "3 days"}, {UINT64_MAX, "213503982334 days"}};
    static const struct row us[] = {{0, "0 us"},      {99, "99 us"},    {100, "0.1 ms"},
                                    {9999, "9.9 ms"}, {10000, "10 ms"}, {3100000, "3.1 s"}};
    CHECK(units_ms, rows);
    CHECK(units_us, us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_plain_up_to_five_digits),
        cmocka_unit_test(bytes_have_binary_units),
        cmocka_unit_test(times_have_the_unit_that_tells_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
