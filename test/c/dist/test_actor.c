/* Processes of the node as a peer sees them over its connection: registered queues that are called,
 * monitored, linked to, and end. */
#include "support/faults.h"
#include "sys/os.h"
#include "sys/work.h"
#include "town.h"

static struct os real;
static struct caller c;

static int setup(void **state)
{
    (void)state;
    real = os;
    town_init();
    town_open();
    caller_open(&c, "client@localhost");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_leave(&c);
    town_close();
    os = real;
    return 0;
}

/* The connection is sound, and nothing but the answer has come. */
static void pings(void)
{
    caller_call(&c, "emmap", 4711, make_term("ping"));
    is(caller_reply(&c, 4711), "pong");
}

static void open_as(const char *file, const char *name)
{
    caller_call(&c, "emmap", 1, make_term("{open_queue,\"%s\",0,[{register,%s}]}", file, name));
    assert_memory_equal(caller_reply(&c, 1), "{ok,", 4);
}

/* The queue under its name, and without it. The end of the process is heard before the answer. */
static void begin(void)
{
    open_as("q", "jobs");
}

static void end(void)
{
    caller_call(&c, "emmap", 2, make_term("{open_queue,\"q\",0,[{register,none}]}"));
}

static void end_is_answered(void)
{
    assert_memory_equal(caller_reply(&c, 2), "{ok,", 4);
}

static const char *asks(const char *name, const char *request)
{
    caller_call(&c, name, 3, make_term("%s", request));
    return caller_reply(&c, 3);
}

static void say(struct span control)
{
    struct bytes b = {0};
    add_control(&b, control, nothing);
    caller_say(&c, &b);
}

/* The frame that comes next has these elements. */
static void hears(struct span expected)
{
    const size_t whole = 4 + 2 + expected.len;
    caller_pass_ticks(&c);
    until(caller_has(&c, whole));
    assert_int_equal(get_be32(c.heard.at), 2 + expected.len);
    assert_memory_equal(c.heard.at + 6, expected.at, expected.len);
    buf_drop(&c.heard, whole);
}

/* A pid of the node: that of a process which it is asked to spawn, with another number. */
static struct span pid_of_node(uint32_t number)
{
    static uint8_t pid[SELF_PID_BYTES];
    struct bytes b = {0};
    struct control control;
    add_control(&b,
                TUPLE(29, peer_ref(1), peer_pid(1), peer_pid(2), make_term("{lists,seq,2}"),
                      make_term("[]")),
                make_term("[1,x]"));
    caller_say(&c, &b);
    caller_pass_ticks(&c);
    const size_t len = get_be32(c.heard.at);
    const size_t pid_len = 1 + 2 + strlen("emmap@localhost") + 12;
    memcpy(pid, c.heard.at + 4 + len - pid_len, pid_len);
    assert_int_equal(pid[0], ERL_NEW_PID_EXT);
    caller_hear(&c, &control);
    put_be32(pid + pid_len - 12, number);
    return span_of(pid, pid_len);
}

static struct span jobs_pid(void)
{
    return pid_of_node(PROCESS_FIRST_QUEUE);
}

/* ---- requests ---- */

static void calls_and_casts_reach_the_queue(void **state)
{
    (void)state;
    struct bytes b = {0};
    begin();
    is(asks("jobs", "{push,one}"), "ok");
    add_control(&b, TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("jobs")),
                make_term("{'$gen_cast',{push,two}}"));
    add_control(&b, TUPLE(FRAME_SEND, frame_unused(), jobs_pid()),
                make_term("{'$gen_cast',{push,three}}"));
    caller_say(&c, &b);
    is(asks("jobs", "{pop_many,9}"), "{ok,[one,two,three]}");
    is(asks("jobs", "ping"), "{error,{unknown_request,ping}}");
}

static void what_is_no_request_is_ignored(void **state)
{
    (void)state;
    static const char *const messages[] = {
        "hello",
        "{'$gen_call',x,y}",
        "{'$gen_cast',{}}",
        "{'$gen_cast',1}",
        "{'$emmap',1,2,[]}",
        "{'$gen_call',{a,b,c},length}",
        "[]",
        "{'$emmap_cancel',x}",
    };
    struct bytes b = {0};
    begin();
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++)
        add_control(&b, TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("jobs")),
                    make_term("%s", messages[i]));
    caller_say(&c, &b);
    is(asks("jobs", "length"), "0");
    pings();
}

static void a_request_too_long_is_an_error_of_its_caller(void **state)
{
    (void)state;
    enum { TAIL = 2 << 20 };
    static uint8_t tail[TAIL];
    struct bytes b = {0};
    begin();
    add_call(&b, "jobs", 3, TUPLE(0, make_term("push"), make_term("1")));
    b.len -= 2; /* in place of the number a binary that goes on and on */
    add_u8(&b, ERL_BINARY_EXT);
    add_u32(&b, TAIL);
    put_be32(b.at, (uint32_t)(b.len - 4 + TAIL));
    caller_say(&c, &b);
    for (size_t sent = 0; sent < TAIL;) {
        const ssize_t n = send(c.fd, tail + sent, TAIL - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        turn();
    }
    is(caller_reply(&c, 3), "{error,{limit,max_frame}}");
    pings();
}

/* ---- monitors ---- */

static void a_monitor_by_name_hears_the_end(void **state)
{
    (void)state;
    const struct span me = peer_pid(1);
    begin();
    say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(9)));
    pings();
    end();
    hears(TUPLE(FRAME_MONITOR_EXIT, make_term("jobs"), me, peer_ref(9), make_term("normal")));
    end_is_answered();
    say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(10)));
    hears(TUPLE(FRAME_MONITOR_EXIT, make_term("jobs"), me, peer_ref(10), make_term("noproc")));
}

static void a_monitor_by_pid_hears_the_end(void **state)
{
    (void)state;
    const struct span me = peer_pid(1);
    begin();
    const struct span jobs = jobs_pid();
    say(TUPLE(FRAME_MONITOR, me, jobs, peer_ref(9)));
    pings();
    end();
    hears(TUPLE(FRAME_MONITOR_EXIT, jobs, me, peer_ref(9), make_term("normal")));
    end_is_answered();
    begin(); /* which is another process */
    say(TUPLE(FRAME_MONITOR, me, jobs, peer_ref(10)));
    hears(TUPLE(FRAME_MONITOR_EXIT, jobs, me, peer_ref(10), make_term("noproc")));
    say(TUPLE(FRAME_MONITOR, me, pid_of_node(PROCESS_FIRST_QUEUE + 1), peer_ref(11)));
    pings();
}

static void a_monitor_taken_back_hears_nothing(void **state)
{
    (void)state;
    const struct span me = peer_pid(1);
    begin();
    say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(9)));
    say(TUPLE(FRAME_DEMONITOR, me, make_term("jobs"), peer_ref(9)));
    say(TUPLE(FRAME_DEMONITOR, me, make_term("jobs"), peer_ref(9)));
    end();
    end_is_answered();
}

static void the_queue_s_failure_is_heard(void **state)
{
    (void)state;
    const struct span me = peer_pid(1);
    begin();
    say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(9)));
    is(asks("jobs", "{push,one}"), "ok");
    until(work_pending == 0);
    os.sync = sync_fails;
    is(asks("jobs", "sync"), "{error,eio}"); /* first the answer */
    hears(TUPLE(FRAME_MONITOR_EXIT, make_term("jobs"), me, peer_ref(9), make_term("eio")));
    say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(10)));
    hears(TUPLE(FRAME_MONITOR_EXIT, make_term("jobs"), me, peer_ref(10), make_term("eio")));
    until(work_pending == 0);
    os = real;
    begin();
    say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(11)));
    is(asks("jobs", "{push,two}"), "ok");
}

/* ---- links ---- */

static void a_link_hears_the_end(void **state)
{
    (void)state;
    const struct span me = peer_pid(1);
    begin();
    const struct span jobs = jobs_pid();
    say(TUPLE(FRAME_LINK, me, jobs));
    say(TUPLE(FRAME_LINK, me, jobs)); /* once more is the same link */
    say(TUPLE(FRAME_LINK, peer_pid(5), jobs));
    pings();
    end();
    struct control control;
    for (int i = 0; i < 2; i++) { /* in any order */
        caller_hear(&c, &control);
        assert_int_equal(control.op, FRAME_EXIT);
        assert_true(span_equal(control.from, jobs));
    }
    end_is_answered();
    say(TUPLE(FRAME_LINK, me, jobs));
    hears(TUPLE(FRAME_EXIT, jobs, me, make_term("noproc")));
}

static void a_link_that_is_no_more_hears_nothing(void **state)
{
    (void)state;
    begin();
    const struct span jobs = jobs_pid();
    say(TUPLE(FRAME_LINK, peer_pid(1), jobs));
    say(TUPLE(FRAME_UNLINK_ID, make_term("7"), peer_pid(1), jobs));
    hears(TUPLE(FRAME_UNLINK_ID_ACK, make_term("7"), jobs, peer_pid(1)));
    say(TUPLE(FRAME_LINK, peer_pid(2), jobs));
    say(TUPLE(FRAME_UNLINK, peer_pid(2), jobs));
    say(TUPLE(FRAME_LINK, peer_pid(3), jobs));
    say(TUPLE(FRAME_EXIT, peer_pid(3), jobs, make_term("killed")));
    say(TUPLE(FRAME_LINK, peer_pid(4), jobs));
    say(TUPLE(FRAME_EXIT2, peer_pid(4), jobs, make_term("kill"))); /* which changes nothing */
    is(asks("jobs", "length"), "0");
    end();
    hears(TUPLE(FRAME_EXIT, jobs, peer_pid(4), make_term("normal")));
    end_is_answered();
}

/* ---- peers that break the rules ---- */

static void ties_of_strangers_are_none(void **state)
{
    (void)state;
    begin();
    const struct span jobs = jobs_pid();
    say(TUPLE(FRAME_LINK, jobs, jobs));
    say(TUPLE(FRAME_MONITOR, jobs, make_term("jobs"), peer_ref(9)));
    end();
    end_is_answered();
}

static void a_reference_twice_is_one_monitor(void **state)
{
    (void)state;
    const struct span me = peer_pid(1);
    begin();
    open_as("q2", "work");
    say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(9)));
    say(TUPLE(FRAME_MONITOR, me, make_term("work"), peer_ref(9)));
    end();
    end_is_answered();
    caller_call(&c, "emmap", 2, make_term("{open_queue,\"q2\",0,[{register,none}]}"));
    hears(TUPLE(FRAME_MONITOR_EXIT, make_term("work"), me, peer_ref(9), make_term("normal")));
    end_is_answered();
}

static void an_end_is_told_by_its_own_ties_in_their_order(void **state)
{
    (void)state;
    enum { N = 20 };
    const struct span me = peer_pid(1);
    begin();
    open_as("q2", "work");
    for (unsigned i = 0; i < N; i++) {
        say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(100 + i)));
        say(TUPLE(FRAME_MONITOR, me, make_term("work"), peer_ref(200 + i)));
    }
    for (unsigned i = 0; i < N; i += 3)
        say(TUPLE(FRAME_DEMONITOR, me, make_term("jobs"), peer_ref(100 + i)));
    end();
    for (unsigned i = 0; i < N; i++)
        if (i % 3 != 0)
            hears(TUPLE(FRAME_MONITOR_EXIT, make_term("jobs"), me, peer_ref(100 + i),
                        make_term("normal")));
    end_is_answered();
    say(TUPLE(FRAME_DEMONITOR, me, make_term("work"), peer_ref(200)));
    caller_call(&c, "emmap", 2, make_term("{open_queue,\"q2\",0,[{register,none}]}"));
    for (unsigned i = 1; i < N; i++)
        hears(TUPLE(FRAME_MONITOR_EXIT, make_term("work"), me, peer_ref(200 + i),
                    make_term("normal")));
    end_is_answered();
}

/* So many monitors of `jobs`, by references from 1000 on. Now and then all that was said has to be
 * heard: a socket holds only so much, and a slow node does little in a turn. */
static void monitor_often(unsigned n)
{
    enum { EACH = 50, UNHEARD_MOST = 1000 };
    for (unsigned i = 0; i < n; i += EACH) {
        struct bytes b = {0};
        for (unsigned k = 0; k < EACH; k++)
            add_control(
                &b, TUPLE(FRAME_MONITOR, peer_pid(1), make_term("jobs"), peer_ref(1000 + i + k)),
                nothing);
        caller_say(&c, &b);
        turn();
        if (i % UNHEARD_MOST == 0)
            pings();
    }
    pings();
}

static void too_many_ties_are_refused(void **state)
{
    (void)state;
    enum { MOST = 100000 };
    const struct span me = peer_pid(1);
    begin();
    monitor_often(MOST);
    say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(9)));
    hears(TUPLE(FRAME_MONITOR_EXIT, make_term("jobs"), me, peer_ref(9), make_term("system_limit")));
    say(TUPLE(FRAME_DEMONITOR, me, make_term("jobs"), peer_ref(1000)));
    say(TUPLE(FRAME_MONITOR, me, make_term("jobs"), peer_ref(9)));
    pings();
}

static void very_many_hear_an_end_in_many_turns(void **state)
{
    (void)state;
    enum { N = 20000, A_TURN = 256 * 1024 };
    size_t before = 0;
    unsigned turns = 0;
    begin();
    monitor_often(N);
    end();
    say(TUPLE(FRAME_DEMONITOR, peer_pid(1), make_term("jobs"), peer_ref(1000 + N - 1)));
    say(TUPLE(FRAME_MONITOR, peer_pid(1), make_term("jobs"), peer_ref(9)));
    for (const int64_t begun = now_ms(); before < (size_t)(N - 1) * 70 && now_ms() < begun + 10000;
         turns++) {
        turn();
        caller_listen(&c);
        assert_true(c.heard.len - before < A_TURN);
        before = c.heard.len;
    }
    assert_true(turns > 5);
    unsigned told = 0;
    unsigned others = 0;
    while (told < N - 1 || others < 2) { /* the answer, and the one that came too late */
        struct control control;
        caller_pass_ticks(&c);
        caller_hear(&c, &control);
        if (control.op == FRAME_MONITOR_EXIT && span_equal(control.ref, peer_ref(1000 + told)))
            told++;
        else
            others++;
    }
    assert_int_equal(others, 2);
    pings();
}

static void who_hangs_up_leaves_no_ties(void **state)
{
    (void)state;
    struct caller gone;
    struct bytes b = {0};
    begin();
    caller_open(&gone, "gone@localhost");
    add_control(&b, TUPLE(FRAME_MONITOR, peer_pid(1), make_term("jobs"), peer_ref(9)), nothing);
    caller_say(&gone, &b);
    turn();
    caller_leave(&gone);
    turn();
    end();
    end_is_answered();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(calls_and_casts_reach_the_queue),
        TEST(what_is_no_request_is_ignored),
        TEST(a_request_too_long_is_an_error_of_its_caller),
        TEST(a_monitor_by_name_hears_the_end),
        TEST(a_monitor_by_pid_hears_the_end),
        TEST(a_monitor_taken_back_hears_nothing),
        TEST(the_queue_s_failure_is_heard),
        TEST(a_link_hears_the_end),
        TEST(a_link_that_is_no_more_hears_nothing),
        TEST(ties_of_strangers_are_none),
        TEST(a_reference_twice_is_one_monitor),
        TEST(an_end_is_told_by_its_own_ties_in_their_order),
        TEST(very_many_hear_an_end_in_many_turns),
        TEST(too_many_ties_are_refused),
        TEST(who_hangs_up_leaves_no_ties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
