/* Terms as text: what an operator reads. */
#include "proto/print.h"

#include "proto/reply.h"
#include "support/check.h"
#include "support/terms.h"

static char text[65536];

static const char *printed(struct span term, size_t columns, size_t most)
{
    struct buf out;
    buf_init(&out, sizeof text - 1);
    print_term(&out, term, columns, most);
    assert_false(out.failed);
    memcpy(text, out.at, out.len);
    text[out.len] = '\0';
    buf_fini(&out);
    return text;
}

static const char *shown(const char *term)
{
    return printed(make_term("%s", term), 0, 1000);
}

static struct span raw(const char *bytes, size_t len)
{
    const struct span term = span_of(bytes, len);
    assert_int_equal(term_check(term), len);
    return term;
}

#define RAW(bytes) raw(bytes, sizeof bytes - 1)

static void a_term_reads_as_in_erlang(void **state)
{
    (void)state;
    static const char *const same[] = {
        "a", "{a,-1,[]}", "{}", "[{ok,[1,a]},2]", "{ok,[{17,1,{order,4}}]}", "1.5"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_string_equal(shown(same[i]), same[i]);
    assert_string_equal(printed(RAW("t\0\0\0\2w\1aa\1h\1w\1bt\0\0\0\0"), 0, 99),
                        "#{a => 1,{b} => #{}}");
    assert_string_equal(printed(RAW("l\0\0\0\1a\1w\1c"), 0, 99), "[1|c]");
    assert_string_equal(shown("'a b'"), "'a b'");
    assert_string_equal(shown("'end'"), "'end'");
    assert_string_equal(shown("{\"text\"}"), "{\"text\"}");
    assert_string_equal(printed(RAW("m\0\0\0\2hi"), 0, 99), "<<\"hi\">>");
    assert_string_equal(printed(RAW("m\0\0\0\2\xc3\xa9"), 0, 99), "<<\"\xc3\xa9\"/utf8>>");
    assert_string_equal(printed(RAW("m\0\0\0\2\xff\1"), 0, 99), "<<255,1>>");
    assert_string_equal(printed(RAW("m\0\0\0\0"), 0, 99), "<<>>");
    assert_string_equal(printed(RAW("M\0\0\0\2\3\xff\xa0"), 0, 99), "<<255,5:3>>");
    assert_string_equal(printed(RAW("M\0\0\0\1\3\xa0"), 0, 99), "<<5:3>>");
    assert_string_equal(printed(RAW("M\0\0\0\0\0"), 0, 99), "<<>>");
    assert_string_equal(printed(RAW("k\0\2\x01\x02"), 0, 99), "[1,2]");
    assert_string_equal(printed(RAW("k\0\2\xe9\n"), 0, 99), "\"\xc3\xa9\\n\"");
}

static void numbers_keep_their_value(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    reply_uint64(&b, UINT64_MAX);
    assert_string_equal(printed(span_of(b.at, b.len), 0, 99), "18446744073709551615");
    buf_cut(&b, 0);
    reply_int64(&b, INT64_MIN);
    assert_string_equal(printed(span_of(b.at, b.len), 0, 99), "-9223372036854775808");
    buf_fini(&b);
    assert_string_equal(printed(RAW("n\x09\1\0\0\0\0\0\0\0\0\x1f"), 0, 99),
                        "-16#1F0000000000000000");
    assert_string_equal(printed(RAW("F\x3f\xb9\x99\x99\x99\x99\x99\x9a"), 0, 99), "0.1");
    assert_string_equal(printed(RAW("F\x44\xb5\x2d\x02\xc7\xe1\x4a\xf6"), 0, 99), "1.0e+23");
    assert_string_equal(printed(RAW("F\x40\0\0\0\0\0\0\0"), 0, 99), "2.0");
}

/* An operator's terminal does only what we tell it. */
static void controls_are_escaped(void **state)
{
    (void)state;
    assert_string_equal(printed(RAW("m\0\0\0\4a\x1b[J"), 0, 99), "<<\"a\\e[J\">>");
    assert_string_equal(printed(RAW("w\3a\x1b\x07"), 0, 99), "'a\\e\\x{7}'");
    struct buf b;
    buf_init(&b, 100);
    const uint8_t right_to_left[] = {0xe2, 0x80, 0xae};
    reply_binary(&b, span_of(right_to_left, sizeof right_to_left));
    assert_string_equal(printed(span_of(b.at, b.len), 0, 99), "<<226,128,174>>");
    buf_cut(&b, 0);
    print_name(&b, span_text("a\"\\\n\xff\x9b"));
    buf_put(&b, "", 1);
    assert_string_equal((const char *)b.at, "a\\\"\\\\\\n\\x{ff}\\x{9b}");
    buf_fini(&b);
}

static void a_long_term_is_broken_after_commas(void **state)
{
    (void)state;
    const char *term = "{orders,[first,second,third],{fourth,fifth}}";
    assert_string_equal(printed(make_term("%s", term), 20, 1000), "{orders,\n"
                                                                  " [first,second,\n"
                                                                  "  third],\n"
                                                                  " {fourth,fifth}}");
}

static void what_is_too_long_ends_in_dots(void **state)
{
    (void)state;
    assert_string_equal(printed(make_term("{a,[b,c,d,e]}"), 0, 7), "{a,[b,c...]}");
    assert_string_equal(printed(make_term("\"abcdefgh\""), 0, 5), "\"abcd...\"");
    assert_string_equal(printed(RAW("m\0\0\0\6\1\2\3\4\5\6"), 0, 5), "<<1,2,...>>");
    assert_string_equal(printed(RAW("l\0\0\0\2b\0\0\x20\xac"
                                    "aAj"),
                                0, 99),
                        "[8364,65]");
}

/* A peer may nest as deep as a frame is long. */
static void depth_is_bounded(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < DEEP; i++)
        reply_tuple(&b, 1);
    reply_nil(&b);
    const char *seen = printed(span_of(b.at, b.len), 80, 1000);
    assert_int_equal(strlen(seen), 2 * PRINT_DEPTH + 3);
    assert_memory_equal(seen + PRINT_DEPTH, "...}", 4);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_term_reads_as_in_erlang),
        cmocka_unit_test(numbers_keep_their_value),
        cmocka_unit_test(controls_are_escaped),
        cmocka_unit_test(a_long_term_is_broken_after_commas),
        cmocka_unit_test(what_is_too_long_ends_in_dots),
        cmocka_unit_test(depth_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
