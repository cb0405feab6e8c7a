/* Aligned lines. */
#include "shell/table.h"

#include "support/check.h"

static const char *const headings[] = {"NAME", "N", NULL};

static const char *printed(const struct table *t, int left, size_t width)
{
    static char text[1024];
    struct buf out;
    buf_init(&out, sizeof text);
    table_print(t, &out, left, width);
    buf_put(&out, "", 1);
    snprintf(text, sizeof text, "%s", (const char *)out.at);
    buf_fini(&out);
    return text;
}

static void put(struct table *t, const char *name, uint64_t n)
{
    table_name(t, span_text(name));
    table_count(t, n);
}

static void columns_are_as_wide_as_what_they_hold(void **state)
{
    (void)state;
    struct table t;
    table_init(&t, headings);
    put(&t, "jobs", 12345);
    put(&t,
        "gr\xc3\xb6\xc3\x9f"
        "e",
        1); /* characters, not bytes */
    assert_string_equal(printed(&t, 1, 80), "NAME       N\n"
                                            "jobs   12345\n"
                                            "gr\xc3\xb6\xc3\x9f"
                                            "e      1\n");
    assert_string_equal(printed(&t, 0, 80), " NAME      N\n"
                                            " jobs  12345\n"
                                            "gr\xc3\xb6\xc3\x9f"
                                            "e      1\n");
    table_fini(&t);
}

static void a_name_that_is_too_long_is_cut(void **state)
{
    (void)state;
    struct table t;
    table_init(&t, headings);
    put(&t, "a/b\xc3\xbc/c\xc3\xbc/queue", 17);
    assert_string_equal(printed(&t, 1, 14), "NAME         N\n"
                                            "...\xc3\xbc/queue  17\n");
    t.keeps_begin = true;
    assert_string_equal(printed(&t, 1, 14), "NAME         N\n"
                                            "a/b\xc3\xbc/c\xc3\xbc...  17\n");
    table_fini(&t);
}

static void controls_are_escaped(void **state)
{
    (void)state;
    struct table t;
    table_init(&t, headings);
    put(&t, "a\n\x1b", 1);
    assert_string_equal(printed(&t, 1, 80), "NAME   N\n"
                                            "a\\n\\e  1\n");
    table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_what_they_hold),
        cmocka_unit_test(a_name_that_is_too_long_is_cut),
        cmocka_unit_test(controls_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
