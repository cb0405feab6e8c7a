/* What TAB offers. */
#include "proto/reply.h"
#include "shell/console.h"
#include "support/check.h"
#include "support/peer.h"

static struct host h;
static struct peer p;

static int set_up(void **state)
{
    (void)state;
    host_init(&h);
    host_open(&h);
    peer_open(&p, &h, "ops@localhost");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    peer_close(&p);
    host_close(&h);
    return 0;
}

static const char *offered(struct span reversed)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    console_expand(h.server, reversed, &out);
    assert_false(out.failed);
    assert_int_equal(term_check(span_of(out.at, out.len)), out.len);
    const char *text = show_term(span_of(out.at, out.len));
    buf_fini(&out);
    return text;
}

/* As Erlang sends it: a string of bytes, or the list of characters. */
static const char *tab(const char *before)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    const size_t n = strlen(before);
    reply_list(&b, (uint32_t)n);
    for (size_t i = n; i-- > 0;)
        reply_int64(&b, (uint8_t)before[i]);
    reply_nil(&b);
    const char *text = offered(span_of(b.at, b.len));
    buf_fini(&b);
    return text;
}

#define NOTHING "{no,[],[]}"

static void commands_are_completed(void **state)
{
    (void)state;
    assert_string_equal(tab("queu"), "{yes,[101,115,40,41],[]}"); /* es() */
    assert_string_equal(tab("unlock(), kic"), "{yes,[107,40],[]}");
    assert_string_equal(tab("ping(). kic"), "{yes,[107,40],[]}");
    assert_string_equal(tab("pus"), "{yes,[104],[]}"); /* what both go on with */
    assert_string_equal(tab("push"), "{no,[],[[112,117,115,104],"
                                     "[112,117,115,104,95,109,97,110,121]]}");
    assert_string_equal(tab("help(kic"), "{yes,[107,41],[]}");
    assert_string_equal(tab("log(deb"), "{yes,[117,103,41],[]}");
    assert_string_equal(tab("move_i"), NOTHING);
    assert_string_equal(tab("banne"), NOTHING);
    assert_string_equal(tab("zebra"), NOTHING);
    assert_non_null(strstr(tab(""), "[112,117,115,104],")); /* all of them */
}

static void elsewhere_nothing_is(void **state)
{
    (void)state;
    static const char *const befores[] = {
        "push(pus",         "push(\"a\", pus", "[pus",     "X = pus",
        "push(\"\", #{pus", "$\"pus",          "log(loud", "17 pus"};
    for (size_t i = 0; i < sizeof befores / sizeof befores[0]; i++)
        assert_string_equal(tab(befores[i]), NOTHING);
}

static void names_of_objects_are_completed_in_quotes(void **state)
{
    (void)state;
    opened(ask(&p, "{open_queue,\"jobs\",0,[]}"));
    opened(ask(&p, "{open_counters,\"jokes\",2}"));
    opened(ask(&p, "{open_counters,\"a b\",2}"));
    assert_string_equal(tab("push(\"job"), "{yes,[115,34],[]}");
    assert_string_equal(tab("push(\"j"), "{yes,[111],[]}");
    assert_string_equal(tab("push(\"jo"), "{no,[],[[106,111,107,101,115],[106,111,98,115]]}");
    assert_string_equal(tab("info(\"a "), "{yes,[98,34],[]}");
    assert_string_equal(tab("push(\"jobs\", \"jok"), "{yes,[101,115,34],[]}");
    assert_string_equal(tab("push(\"zebra"), NOTHING);
    assert_string_equal(tab("push(\"a\\\"job"), NOTHING);
}

/* Open or not. */
static void registered_queues_are_completed(void **state)
{
    (void)state;
    const uint64_t id = opened(ask(&p, "{open_queue,\"jobs\",0,[{register,work}]}"));
    assert_int_not_equal(id, 0);
    assert_string_equal(tab("push(\"job"), "{yes,[115,34],[]}");
}

static void names_are_characters(void **state)
{
    (void)state;
    opened(ask(&p, "{open_counters,[103,114,246,223,101],2}")); /* größe */
    assert_string_equal(tab("info(\"gr"), "{yes,[246,223,101,34],[]}");
}

static void what_cannot_be_typed_is_not_offered(void **state)
{
    (void)state;
    opened(ask(&p, "{open_counters,[113,34,113],2}"));
    opened(ask(&p, "{open_counters,[113,27,113],2}"));
    assert_string_equal(tab("info(\"q"), NOTHING);
}

/* It comes from a peer. */
static void what_is_no_text_gets_nothing(void **state)
{
    (void)state;
    static const char *const terms[] = {"a",         "{}",      "[a]",    "[-1]",
                                        "[1114112]", "[[113]]", "[55296]"};
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++)
        assert_string_equal(offered(make_term("%s", terms[i])), NOTHING);
    char *long_one = calloc(1, 10000);
    memset(long_one, 'q', 9999);
    assert_string_equal(tab(long_one), NOTHING);
    free(long_one);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(commands_are_completed),
        CASE(elsewhere_nothing_is),
        CASE(names_of_objects_are_completed_in_quotes),
        CASE(registered_queues_are_completed),
        CASE(names_are_characters),
        CASE(what_cannot_be_typed_is_not_offered),
        CASE(what_is_no_text_gets_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
