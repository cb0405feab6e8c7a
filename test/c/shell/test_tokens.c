/* An operator's lines become calls, or an error that says what was expected. */
#include "shell/tokens.h"

#include "proto/print.h"
#include "proto/reply.h"
#include "proto/term.h"
#include "support/check.h"
#include "support/scan.h"
#include "support/terms.h"

static char text[65536];

/* What the tokens become: the calls as text, or the error. */
static const char *parsed(struct span tokens)
{
    struct buf calls;
    struct buf out;
    buf_init(&calls, 4096);
    buf_init(&out, sizeof text - 1);
    if (tokens_parse(tokens, &calls, &out)) {
        struct term t = term_in(span_of(calls.at, calls.len));
        assert_int_equal(out.len, 0);
        while (!term_done(&t)) {
            assert_false(t.bad);
            print_text(&out, out.len > 0 ? " " : "");
            print_term(&out, term_any(&t), 0, 4096);
        }
    } else {
        assert_int_equal(calls.len, 0);
        assert_true(out.len > 0);
    }
    buf_put(&out, "", 1);
    snprintf(text, sizeof text, "%s", (const char *)out.at);
    buf_fini(&out);
    buf_fini(&calls);
    return text;
}

static const char *line(const char *typed)
{
    struct buf tokens;
    buf_init(&tokens, 1 << 20);
    scan(typed, &tokens);
    const char *seen = parsed(span_of(tokens.at, tokens.len));
    buf_fini(&tokens);
    return seen;
}

static void calls_have_terms_as_arguments(void **state)
{
    (void)state;
    static const char *const lines[][2] = {
        {"help().", "{help}"},
        {"help(push).", "{help,push}"},
        {".", ""},
        {"info(\"jobs\").", "{info,\"jobs\"}"},
        {"unlock(), kick(\"orders\", 10).", "{unlock} {kick,\"orders\",10}"},
        {"push(\"q\", {a, [], {}, [1, b], -7}).", "{push,\"q\",{a,[],{},[1,b],-7}}"},
        {"push(\"q\", [a, b | c]).", "{push,\"q\",[a,b|c]}"},
        {"push(\"q\", [$a, $b]).", "{push,\"q\",\"ab\"}"},
        {"push(\"q\", [$a | \"bc\"]).", "{push,\"q\",\"abc\"}"},
        {"push(\"q\", [a | \"bc\"]).", "{push,\"q\",[a,98,99]}"},
        {"push(\"q\", [a | [b, c | d]]).", "{push,\"q\",[a,b,c|d]}"},
        {"push(\"q\", [$a | []]).", "{push,\"q\",\"a\"}"},
        {"push(\"q\", #{}).", "{push,\"q\",#{}}"},
        {"push(\"q\", #{a => {1}, \"b\" => #{c => d}}).",
         "{push,\"q\",#{a => {1},\"b\" => #{c => d}}}"},
        {"pwrite(\"f\", 0, <<\"hi\", 0, 255>>).", "{pwrite,\"f\",0,<<104,105,0,255>>}"},
        {"pwrite(\"f\", 0, <<>>).", "{pwrite,\"f\",0,<<>>}"},
        {"push(\"q\", <<\"\xe9\"/utf8>>).", "{push,\"q\",<<\"\xc3\xa9\"/utf8>>}"},
        {"push(\"q\", {1.5, -2.5, -0.0}).", "{push,\"q\",{1.5,-2.5,0.0}}"},
        {"push(\"q\", -9223372036854775808).", "{push,\"q\",-9223372036854775808}"},
        {"push(\"q\", -18446744073709551615).", "{push,\"q\",-16#FFFFFFFFFFFFFFFF}"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_string_equal(line(lines[i][0]), lines[i][1]);
}

static void an_error_says_what_was_expected(void **state)
{
    (void)state;
    static const char *const lines[][2] = {
        {"help.", "expected ( behind the command, not the end"},
        {"emmap:info().", "expected ( behind the command, not :"},
        {"17.", "expected a command such as help(), not 17"},
        {"X.", "expected a command such as help(), not a variable"},
        {"\"jobs\".", "expected a command such as help(), not \"jobs\""},
        {"info(X).", "expected a term, not a variable"},
        {"info(\"a\" \"b\").", "expected , or ), not \"b\""},
        {"inc_counter(1 + 2).", "expected , or ), not +"},
        {"push(\"q\", {a).", "expected , or }, not )"},
        {"push(\"q\", [a).", "expected , or | or ], not )"},
        {"push(\"q\", [a | b, c]).", "expected ], not ,"},
        {"push(\"q\", [|a]).", "expected a term, not |"},
        {"push(\"q\", {a, }).", "expected a term, not }"},
        {"push(\"q\", #a{}).", "expected { behind the #, not a"},
        {"push(\"q\", #{a}).", "expected =>, not }"},
        {"push(\"q\", #{a => }).", "expected a term, not }"},
        {"push(\"q\", #{1 => a, 1 => b}).", "each key of a map was expected once"},
        {"push(\"q\", #{\"a\" => 1, [$a] => 2}).", "each key of a map was expected once"},
        {"push(\"q\", <<256>>).", "expected a byte, 0 to 255, not 256"},
        {"push(\"q\", <<1:8>>).", "expected , or >>, not :"},
        {"push(\"q\", <<a>>).", "expected a string or a byte, not a"},
        {"push(\"q\", -a).", "expected a number behind the minus, not a"},
        {"push(\"q\", a", "expected , or ), not the end"},
        {"info() info().", "expected a comma and another command, or the end, not info"},
        {"info(),.", "expected a command such as help(), not the end"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_string_equal(line(lines[i][0]), lines[i][1]);
}

static void a_call_of_many_arguments_is_whole(void **state)
{
    (void)state;
    char typed[2000] = "push({0";
    for (int i = 1; i < 300; i++)
        snprintf(typed + strlen(typed), sizeof typed - strlen(typed), ",%d", i % 10);
    snprintf(typed + strlen(typed), sizeof typed - strlen(typed), "}).");
    const char *seen = line(typed);
    assert_int_equal(strlen(seen), strlen("{push,{}}") + 300 + 299);
}

static void depth_and_length_are_bounded(void **state)
{
    (void)state;
    char typed[8192] = "push(";
    memset(typed + 5, '{', 200);
    assert_string_equal(line(typed), "a term nested less deep was expected");
    memset(typed, 0, sizeof typed);
    snprintf(typed, sizeof typed, "push(\"%05000d\").", 0);
    assert_string_equal(line(typed), "a shorter line was expected");
}

/* The tokens come from a peer. */
static void what_are_no_tokens_is_refused(void **state)
{
    (void)state;
    static const char *const tokens[] = {
        "[]",
        "[{atom,1,17},{'(',1},{')',1},{dot,1}]",
        "a",
        "[a]",
        "[{}]",
        "[{atom}]",
        "[{atom,1,2,3}]",
        "[{dot,1,2,3,4}]",
        "[{atom,1,{}},{'(',1}]",
        "[{atom,1,a},{'(',1},{integer,1,a}]",
        "[{atom,1,a},{'(',1},{'-',1},{integer,1,a}]",
        "[{atom,1,a},{'(',1},{'<<',1},{string,1,a}]",
        "[{atom,1,a},{'(',1},{'<<',1},{string,1,a},{'/',1},{atom,1,utf8}]"};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        assert_non_null(strstr(parsed(make_term("%s", tokens[i])), "expected"));
}

static void a_mark_that_is_none_is_shown_escaped(void **state)
{
    (void)state;
    struct buf tokens;
    buf_init(&tokens, 1000);
    reply_list(&tokens, 1);
    reply_tuple(&tokens, 2);
    reply_atom(&tokens, "\x1b[2J");
    reply_int64(&tokens, 1);
    reply_nil(&tokens);
    assert_string_equal(parsed(span_of(tokens.at, tokens.len)),
                        "expected a command such as help(), not \\e[2J");
    buf_fini(&tokens);
}

/* Whatever follows what: refused or whole terms, nothing else. */
static void any_mix_of_tokens_is_refused_or_whole(void **state)
{
    (void)state;
    static const char *const some[] = {"a", "(", ")", "{",     "}",  "[",  "]", "|",    "#", "=>",
                                       ",", "-", "1", "\"s\"", "<<", ">>", "/", "utf8", ".", "1.5"};
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char typed[256] = "a(";
        const uint32_t n = 2 + seed % 24;
        for (uint32_t i = 0; i < n; i++) {
            const size_t len = strlen(typed);
            seed = seed * 1664525u + 1013904223u;
            snprintf(typed + len, sizeof typed - len, "%s ",
                     some[(seed >> 16) % (sizeof some / sizeof some[0])]);
        }
        assert_non_null(line(typed));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_have_terms_as_arguments),
        cmocka_unit_test(an_error_says_what_was_expected),
        cmocka_unit_test(a_call_of_many_arguments_is_whole),
        cmocka_unit_test(depth_and_length_are_bounded),
        cmocka_unit_test(what_are_no_tokens_is_refused),
        cmocka_unit_test(a_mark_that_is_none_is_shown_escaped),
        cmocka_unit_test(any_mix_of_tokens_is_refused_or_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
