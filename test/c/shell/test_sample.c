/* Rates between two looks. */
#include "shell/sample.h"

#include "proto/reply.h"
#include "support/check.h"

static void put_info(struct buf *out, const char *name, uint64_t ops)
{
    reply_map(out, 4);
    reply_key_text(out, "name", name);
    reply_key_uint64(out, "ops", ops);
    reply_key_uint64(out, "popped", ops);
    reply_key_uint64(out, "acked", ops);
}

static void look(struct samples *s, const char *name, uint64_t ops, uint64_t now_ms)
{
    struct buf list;
    buf_init(&list, 1024);
    reply_list(&list, 1);
    put_info(&list, name, ops);
    reply_nil(&list);
    samples_take(s, span_of(list.at, list.len), now_ms);
    buf_fini(&list);
}

/* A second, or -1 where it is not known. */
static int64_t rate(const struct samples *s, const char *name, enum sample_of what, uint64_t ops,
                    uint64_t now_ms)
{
    struct buf info;
    uint64_t n = 0;
    buf_init(&info, 1024);
    put_info(&info, name, ops);
    const bool known = samples_rate(s, span_of(info.at, info.len), what, now_ms, &n);
    buf_fini(&info);
    return known ? (int64_t)n : -1;
}

static void a_rate_is_since_the_look_before(void **state)
{
    (void)state;
    struct samples s = {.all = NULL};
    assert_int_equal(rate(&s, "jobs", SAMPLE_OPS, 10, 1000), -1);
    look(&s, "jobs", 10, 1000);
    assert_int_equal(rate(&s, "jobs", SAMPLE_OPS, 110, 3000), 50);
    assert_int_equal(rate(&s, "jobs", SAMPLE_POPPED, 110, 3000), 100);
    assert_int_equal(rate(&s, "jobs", SAMPLE_OPS, 110, 1000), -1); /* over no time */
    assert_int_equal(rate(&s, "others", SAMPLE_OPS, 110, 3000), -1);
    look(&s, "jobs", 110, 3000);
    assert_int_equal(rate(&s, "jobs", SAMPLE_OPS, 111, 4000), 1);
    samples_fini(&s);
}

static void what_was_opened_anew_has_no_rate(void **state)
{
    (void)state;
    struct samples s = {.all = NULL};
    look(&s, "jobs", 10, 1000);
    assert_int_equal(rate(&s, "jobs", SAMPLE_OPS, 9, 3000), -1);
    samples_fini(&s);
}

static void a_look_too_soon_is_not_kept(void **state)
{
    (void)state;
    struct samples s = {.all = NULL};
    look(&s, "jobs", 0, 1000);
    look(&s, "jobs", 90, 1100);
    assert_int_equal(rate(&s, "jobs", SAMPLE_OPS, 100, 2000), 100);
    samples_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_since_the_look_before),
        cmocka_unit_test(what_was_opened_anew_has_no_rate),
        cmocka_unit_test(a_look_too_soon_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
