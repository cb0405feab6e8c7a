/* Text for Prometheus: numbers, labels, histograms. */
#include "proto/prom.h"

#include <stdio.h>

#include "support/check.h"

static struct buf out;

static int setup(void **state)
{
    (void)state;
    buf_init(&out, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

/* What stands in the buffer, which is empty afterwards. */
static void reads(const char *expected)
{
    assert_false(out.failed);
    assert_int_equal(out.len, strlen(expected));
    assert_memory_equal(out.at, expected, out.len);
    buf_cut(&out, 0);
}

static void a_head_names_help_and_type(void **state)
{
    (void)state;
    prom_head(&out, "emmap_x_total", "counter", "All x.");
    reads("# HELP emmap_x_total All x.\n# TYPE emmap_x_total counter\n");
}

static void numbers_have_their_decimals(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        unsigned decimals;
        const char *line;
    } rows[] = {
        {0, 0, "n 0\n"},
        {7, 0, "n 7\n"},
        {UINT64_MAX, 0, "n 18446744073709551615\n"},
        {0, 3, "n 0.000\n"},
        {1, 3, "n 0.001\n"},
        {1000, 3, "n 1.000\n"},
        {12345, 3, "n 12.345\n"},
        {1024, 9, "n 0.000001024\n"},
        {UINT64_MAX, 9, "n 18446744073.709551615\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        prom_sample(&out, "n", span_of(NULL, 0), rows[i].value, rows[i].decimals);
        reads(rows[i].line);
    }
}

static void labels_follow_with_commas(void **state)
{
    (void)state;
    const size_t len = (size_t)snprintf((char *)buf_grow(&out, 10), 10, "before");
    out.len = len;
    prom_label(&out, len, "a", span_text("x"));
    prom_label(&out, len, "b", span_text(""));
    reads("beforea=\"x\",b=\"\"");
    prom_sample(&out, "n", span_text("a=\"x\""), 5, 0);
    reads("n{a=\"x\"} 5\n");
}

static void values_of_labels_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *value, *escaped;
    } rows[] = {
        {"plain /path-1.x", "plain /path-1.x"},
        {"a\"b\\c\nd", "a\\\"b\\\\c\\nd"},
        {"{},=\t", "{},=\t"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xf4\x8f\xbf\xbf\xed\x9f\xbf\xe0\xa0\x80\xc2\x80",
         "\xf4\x8f\xbf\xbf\xed\x9f\xbf\xe0\xa0\x80\xc2\x80"},
        {"a\xff\xfe", "a\\\\xff\\\\xfe"},
        {"\x80z", "\\\\x80z"},
        {"\xc3", "\\\\xc3"},
        {"\xe2\x82", "\\\\xe2\\\\x82"},
        {"\xe2\x82\"", "\\\\xe2\\\\x82\\\""},
        {"\xc0\x80", "\\\\xc0\\\\x80"},                       /* too long */
        {"\xe0\x9f\xbf", "\\\\xe0\\\\x9f\\\\xbf"},            /* too long */
        {"\xf0\x8f\xbf\xbf", "\\\\xf0\\\\x8f\\\\xbf\\\\xbf"}, /* too long */
        {"\xed\xa0\x80", "\\\\xed\\\\xa0\\\\x80"},            /* a surrogate */
        {"\xf4\x90\x80\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80"}, /* beyond the last */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char expected[128];
        snprintf(expected, sizeof expected, "k=\"%s\"", rows[i].escaped);
        prom_label(&out, 0, "k", span_text(rows[i].value));
        reads(expected);
    }
}

/* The count of the bucket with this bound. */
static long bucket(const char *text, const char *le)
{
    char start[64];
    snprintf(start, sizeof start, "h_bucket{a=\"b\",le=\"%s\"} ", le);
    const char *line = strstr(text, start);
    assert_non_null(line);
    return strtol(line + strlen(start), NULL, 10);
}

static void buckets_are_cumulative(void **state)
{
    (void)state;
    struct stats s = {.sum_ns = 1234567890123};
    s.latency[0] = 1; /* below the first bucket's end as well */
    s.latency[PROM_FIRST_POWER] = 2;
    s.latency[PROM_FIRST_POWER + 1] = 4;
    s.latency[PROM_LAST_POWER] = 8;
    s.latency[PROM_LAST_POWER + 1] = 16; /* beyond all buckets but the last */
    prom_histogram(&out, "h", span_text("a=\"b\""), &s);
    buf_put(&out, "", 1);
    const char *text = (const char *)out.at;
    assert_int_equal(bucket(text, "0.000001024"), 3);
    assert_int_equal(bucket(text, "0.000002048"), 7);
    assert_int_equal(bucket(text, "0.000004096"), 7);
    assert_int_equal(bucket(text, "17.179869184"), 7);
    assert_int_equal(bucket(text, "34.359738368"), 15);
    assert_int_equal(bucket(text, "+Inf"), 31);
    assert_non_null(strstr(text, "h_sum{a=\"b\"} 1234.567890123\nh_count{a=\"b\"} 31\n"));
}

static size_t lines_in(const struct buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->len; i++)
        n += b->at[i] == '\n';
    return n;
}

static void a_histogram_has_so_many_lines(void **state)
{
    (void)state;
    const struct stats s = {.sum_ns = UINT64_MAX, .latency = {UINT64_MAX}};
    static const char name[] = "emmap_object_request_duration_seconds";
    prom_histogram(&out, name, span_of(NULL, 0), &s);
    assert_int_equal(lines_in(&out), PROM_HISTOGRAM);
    for (const uint8_t *at = out.at; at < out.at + out.len;) {
        const uint8_t *end = memchr(at, '\n', (size_t)(out.at + out.len - at));
        assert_true(end - at < PROM_LINE);
        at = end + 1;
    }
}

static void a_full_buffer_fails(void **state)
{
    (void)state;
    const struct stats s = {0};
    struct buf small;
    buf_init(&small, 500);
    prom_histogram(&small, "h", span_text("a=\"b\""), &s);
    assert_true(small.failed);
    assert_true(small.len <= 500);
    buf_fini(&small);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_head_names_help_and_type),      TEST(numbers_have_their_decimals),
        TEST(labels_follow_with_commas),       TEST(values_of_labels_are_escaped),
        TEST(buckets_are_cumulative),          TEST(a_histogram_has_so_many_lines),
        cmocka_unit_test(a_full_buffer_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
