/* Functions of the modules emmap and emmap_queue: which request a call is, and its value. */
#include "proto/function.h"

#include <inttypes.h>

#include "support/check.h"
#include "support/peer.h"

static struct host host;
static struct peer peer;

static int setup(void **state)
{
    (void)state;
    host_init(&host);
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_close(&peer);
    host_close(&host);
    return 0;
}

static const char *request_of(const char *module, const char *name, const char *args,
                              enum function_gives *gives)
{
    struct mfa f;
    struct buf request;
    buf_init(&request, 1 << 20);
    assert_true(
        mfa_read(&f, make_term("%s", module), make_term("%s", name), make_term("%s", args)));
    *gives = function_request(host.server, &f, &request);
    const char *text = request.len == 0 ? "" : show_term(span_of(request.at, request.len));
    mfa_fini(&f);
    buf_fini(&request);
    return text;
}

static const struct {
    const char *module, *name, *args;
    const char *request;
    enum function_gives gives;
} calls[] = {
    {"emmap", "ping", "[]", "{ping}", FUNCTION_BARE},
    {"emmap", "info", "[]", "{info}", FUNCTION_BARE},
    {"emmap", "info", "['emmap@localhost']", "info", FUNCTION_BARE},
    {"emmap", "list", "['emmap@localhost']", "list", FUNCTION_BARE},
    {"emmap", "list", "['other@localhost']", "", FUNCTION_BADARG},
    {"emmap", "list", "[7]", "", FUNCTION_BADARG},
    {"emmap", "info", "[\"f\"]", "{info,\"f\"}", FUNCTION_BARE},
    {"emmap", "open", "[\"f\",[write]]", "{open,\"f\",0,0,[write]}", FUNCTION_TAGGED},
    {"emmap", "open", "[\"f\",8,9,[]]", "{open,\"f\",8,9,[]}", FUNCTION_TAGGED},
    {"emmap", "open_counters", "[\"f\"]", "{open_counters,\"f\",1}", FUNCTION_TAGGED},
    {"emmap", "close_counters", "[7]", "{close,7}", FUNCTION_TAGGED},
    {"emmap", "resize", "[7]", "{resize,7,0}", FUNCTION_TAGGED},
    {"emmap", "inc_counter", "[7,1,-5]", "{inc_counter,7,1,-5}", FUNCTION_TAGGED},
    {"emmap", "batch", "[[]]", "{batch,[]}", FUNCTION_TAGGED},
    {"emmap", "push", "[7,x]", "", FUNCTION_NONE},
    {"emmap", "pop", "[jobs]", "", FUNCTION_NONE},
    {"emmap", "nosuch", "[]", "", FUNCTION_NONE},
    {"emmap", "move_in", "[7,u,1,1,x]", "", FUNCTION_NONE},
    {"emmap_queue", "move_in", "[7,u,1,1,x]", "", FUNCTION_NONE},
    {"emmap_queue", "inc_counter", "[7,1]", "", FUNCTION_NONE},
    {"emmap_queue", "ping", "[]", "", FUNCTION_NONE},
    {"emmap_queue", "open", "[\"q\",0,[]]", "{open_queue,\"q\",0,[]}", FUNCTION_TAGGED},
    {"emmap_queue", "push", "[7,x]", "{push,7,x}", FUNCTION_TAGGED},
    {"emmap_queue", "enqueue", "[7,x]", "{push,7,x}", FUNCTION_TAGGED},
    {"emmap_queue", "pop", "[7]", "{pop_wait,7,0}", FUNCTION_ITEM},
    {"emmap_queue", "take", "[7,5,9]", "{take,7,5,9}", FUNCTION_TAGGED},
    {"emmap_queue", "peek_front", "[7]", "{peek_many,7,1}", FUNCTION_FIRST},
    {"emmap_queue", "peek_back", "[7]", "{rpeek_many,7,1}", FUNCTION_FIRST},
    {"emmap_queue", "is_empty", "[7]", "{length,7}", FUNCTION_IS_ZERO},
    {"emmap_queue", "close", "[7]", "{close,7}", FUNCTION_TAGGED},
    {"emmap_queue", "sync", "[7]", "{sync,7}", FUNCTION_TAGGED},
    {"emmap_queue", "length", "[nobody]", "{length,nobody}", FUNCTION_BARE},
    {"lists", "seq", "[1,2]", "", FUNCTION_NONE},
};

static void calls_are_requests(void **state)
{
    (void)state;
    enum function_gives gives;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        assert_string_equal(request_of(calls[i].module, calls[i].name, calls[i].args, &gives),
                            calls[i].request);
        assert_int_equal(gives, calls[i].gives);
    }
}

/* A list of small numbers travels as a string of bytes. */
static void arguments_may_come_as_a_string(void **state)
{
    (void)state;
    static const uint8_t string[] = {ERL_STRING_EXT, 0, 2, 7, 1};
    struct mfa f;
    struct buf request;
    buf_init(&request, 1000);
    assert_true(
        mfa_read(&f, make_term("emmap"), make_term("inc_counter"), span_of(string, sizeof string)));
    assert_int_equal(function_request(host.server, &f, &request), FUNCTION_TAGGED);
    assert_string_equal(show_term(span_of(request.at, request.len)), "{inc_counter,7,1}");
    mfa_fini(&f);
    buf_fini(&request);
}

static void what_is_no_call_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *module, *name, *args;
    } wrong[] = {{"1", "f", "[]"}, {"m", "\"f\"", "[]"}, {"m", "f", "a"}, {"m", "f", "{}"}};
    struct mfa f;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(mfa_read(&f, make_term("%s", wrong[i].module), make_term("%s", wrong[i].name),
                              make_term("%s", wrong[i].args)));
        mfa_fini(&f);
    }
}

static void a_registered_queue_is_called_by_its_name(void **state)
{
    (void)state;
    enum function_gives gives;
    char expected[512];
    opened(ask(&peer, "{open_queue,\"q\",0,[{register,jobs}]}"));
    snprintf(expected, sizeof expected, "{push,<<\"%s/q\">>,jobs}", host.dir);
    assert_string_equal(request_of("emmap_queue", "push", "[jobs,jobs]", &gives), expected);
}

static const struct {
    enum function_gives gives;
    const char *reply, *value;
    bool raised;
} values[] = {
    {FUNCTION_TAGGED, "{ok,5}", "{ok,5}", false},
    {FUNCTION_TAGGED, "{error,closed}", "{error,closed}", false},
    {FUNCTION_BARE, "pong", "pong", false},
    {FUNCTION_BARE, "{error,{wrong_kind,queue}}", "{wrong_kind,queue}", true},
    {FUNCTION_ITEM, "{ok,{error,x}}", "{error,x}", false},
    {FUNCTION_ITEM, "{ok,nil}", "nil", false},
    {FUNCTION_ITEM, "empty", "nil", false},
    {FUNCTION_ITEM, "{error,eio}", "eio", true},
    {FUNCTION_FIRST, "{ok,[]}", "nil", false},
    {FUNCTION_FIRST, "{ok,[{17,{a,b}}]}", "{a,b}", false},
    {FUNCTION_FIRST, "{error,eio}", "eio", true},
    {FUNCTION_IS_ZERO, "0", "true", false},
    {FUNCTION_IS_ZERO, "3", "false", false},
    {FUNCTION_IS_ZERO, "{error,enoent}", "enoent", true},
};

static void replies_are_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct buf out;
        buf_init(&out, 1000);
        const bool good = function_value(values[i].gives, make_term("%s", values[i].reply), &out);
        assert_int_equal(!good, values[i].raised);
        assert_string_equal(show_term(span_of(out.at, out.len)), values[i].value);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(calls_are_requests),         TEST(arguments_may_come_as_a_string),
        TEST(what_is_no_call_is_refused), TEST(a_registered_queue_is_called_by_its_name),
        TEST(replies_are_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
