/* Replies: read back as terms, and cut off at every length. */
#include "proto/reply.h"

#include "support/check.h"
#include "support/terms.h"

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

/* The bytes are one whole term, which reads so; the buffer is empty afterwards. */
static void reads(const char *expected)
{
    const struct span term = span_of(out.at, out.len);
    assert_false(out.failed);
    assert_int_equal(term_check(term), out.len);
    assert_string_equal(show_term(term), expected);
    buf_cut(&out, 0);
}

static void simple_terms_read_as_written(void **state)
{
    (void)state;
    reply_atom(&out, "ok");
    reads("ok");
    reply_atom(&out, "gr\xc3\xbc\xc3\x9f");
    reads("gr\xc3\xbc\xc3\x9f");
    reply_text(&out, "text");
    reads("<<\"text\">>");
    reply_binary(&out, span_of("a\0b", 3));
    reads("<<\"a.b\">>");
    reply_binary(&out, span_of(NULL, 0));
    reads("<<\"\">>");
    reply_nil(&out);
    reads("[]");
    reply_raw(&out, make_term("{a,[1,2]}"));
    reads("{a,[1,2]}");
}

static void integers_read_as_written(void **state)
{
    (void)state;
    static const int64_t rows[] = {0, 1, 255, 256, -1, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reply_int64(&out, rows[i]);
        assert_int_equal(term_check(span_of(out.at, out.len)), out.len);
        struct term t = term_in(span_of(out.at, out.len));
        assert_true(term_int64(&t) == rows[i] && term_done(&t));
        buf_cut(&out, 0);
        reply_uint64(&out, (uint64_t)rows[i]);
        t = term_in(span_of(out.at, out.len));
        assert_true(term_uint64(&t) == (uint64_t)rows[i] && term_done(&t));
        buf_cut(&out, 0);
    }
}

static void containers_hold_what_follows(void **state)
{
    (void)state;
    reply_tuple(&out, 0);
    reads("{}");
    reply_tuple(&out, 2);
    reply_list(&out, 2);
    reply_int64(&out, 1);
    reply_atom(&out, "b");
    reply_nil(&out);
    reply_map(&out, 3);
    reply_key_atom(&out, "kind", "region");
    reply_key_uint64(&out, "size", 4096);
    reply_key_text(&out, "name", "f");
    reads("{[1,b],#{kind=>region,size=>4096,name=><<\"f\">>}}");
    reply_list(&out, 0);
    reply_nil(&out);
    reads("[]");
    reply_map(&out, 0);
    reads("#{}");
}

static void a_list_may_learn_its_length_at_its_end(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 3; n++) {
        static const char *const expected[] = {"{[],z}", "{[0],z}", "{[0,1],z}"};
        reply_tuple(&out, 2);
        const size_t begin = reply_list_begin(&out);
        for (uint32_t i = 0; i < n; i++)
            reply_uint64(&out, i);
        reply_list_end(&out, begin, n);
        reply_atom(&out, "z");
        reads(expected[n]);
    }
}

static void bytes_are_filled_in_place(void **state)
{
    (void)state;
    reply_ok(&out);
    uint8_t *to = reply_bytes(&out, 5);
    assert_non_null(to);
    memset(to, 'x', 5);
    reads("{ok,<<\"xxxxx\">>}");
    assert_non_null(reply_bytes(&out, 0));
    reads("<<\"\">>");
    reply_ok_int64(&out, -7);
    reads("{ok,-7}");
}

static void reasons_have_their_shapes(void **state)
{
    (void)state;
    static const struct {
        enum err err;
        const char *text;
    } rows[] = {
        {ERR_BADARG, "{error,badarg}"},
        {ERR_ENOSPC, "{error,enospc}"},
        {ERR_MAX_FRAME, "{error,{limit,max_frame}}"},
        {ERR_NOT_REGULAR, "{error,{not_a,regular_file}}"},
        {ERR_KIND_COUNTERS, "{error,{wrong_kind,counters}}"},
        {ERR_LOCKED, "{error,{locked,unknown}}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reply_error(&out, rows[i].err);
        reads(rows[i].text);
    }
    for (enum err e = OK + 1; e < ERR_COUNT; e++) {
        reply_error(&out, e);
        assert_int_equal(term_check(span_of(out.at, out.len)), out.len);
        buf_cut(&out, 0);
    }
}

static void write_all(struct buf *to)
{
    reply_map(to, 2);
    reply_key_text(to, "a", "text");
    reply_atom(to, "b");
    const size_t begin = reply_list_begin(to);
    reply_error(to, ERR_LOCKED);
    reply_ok_int64(to, INT64_MIN);
    reply_uint64(to, UINT64_MAX);
    reply_bytes(to, 10);
    reply_raw(to, make_term("[raw]"));
    reply_list_end(to, begin, 5);
}

/* What does not fit is failed, once and for all, wherever it ended. */
static void a_reply_is_whole_or_failed(void **state)
{
    (void)state;
    write_all(&out);
    const size_t whole = out.len;
    assert_int_equal(term_check(span_of(out.at, out.len)), whole);
    for (size_t max = 0; max < whole + 64; max++) {
        struct buf b;
        buf_init(&b, max);
        write_all(&b);
        assert_true(b.len <= max);
        assert_true(b.failed || b.len == whole);
        assert_true(max >= whole || b.failed);
        assert_true(max < whole + 32 || !b.failed); /* each term asks for a little more */
        buf_fini(&b);
    }
}

static void what_no_term_can_hold_fails(void **state)
{
    (void)state;
    static char name[2000];
    memset(name, 'a', sizeof name - 1);
    reply_atom(&out, name);
    assert_true(out.failed);
    buf_cut(&out, 0);
    assert_null(reply_bytes(&out, (size_t)UINT32_MAX + 1));
    assert_true(out.failed);
    buf_cut(&out, 0);
    assert_null(reply_bytes(&out, SIZE_MAX));
    assert_true(out.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(simple_terms_read_as_written), TEST(integers_read_as_written),
        TEST(containers_hold_what_follows), TEST(a_list_may_learn_its_length_at_its_end),
        TEST(bytes_are_filled_in_place),    TEST(reasons_have_their_shapes),
        TEST(a_reply_is_whole_or_failed),   TEST(what_no_term_can_hold_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
