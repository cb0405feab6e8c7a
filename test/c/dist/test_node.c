/* The node among others: callers that keep to the protocol, and callers that do not. */
#include <sys/resource.h>

#include "town.h"

static int setup(void **state)
{
    (void)state;
    town_init();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    town_close();
    return 0;
}

/* The caller's connection is sound: a ping is answered. */
static void pings(struct caller *c)
{
    caller_call(c, "emmap", 4711, make_term("ping"));
    is(caller_reply(c, 4711), "pong");
}

/* ---- epmd ---- */

static void it_is_ready_once_registered(void **state)
{
    (void)state;
    town_open();
    assert_int_equal(town.registrations, 1);
    assert_int_equal(town.registered_port, town.port);
}

static void it_registers_again_when_epmd_has_come_back(void **state)
{
    (void)state;
    town_open();
    epmd_hang_up();
    until(town.registrations == 2);
    town.epmd_result = 1; /* another node was faster */
    epmd_hang_up();
    until(town.registrations == 3);
    struct caller c;
    caller_open(&c, "client@localhost");
    pings(&c);
    caller_leave(&c);
    assert_false(town.taken);
}

static void a_name_in_use_is_told(void **state)
{
    (void)state;
    town.epmd_result = 1;
    town_begin();
    until(town.taken);
    assert_int_equal(town.port, 0);
}

/* ---- what callers ask ---- */

static void a_call_is_answered_to_its_alias(void **state)
{
    (void)state;
    struct caller c;
    town_open();
    caller_open(&c, "client@localhost");
    pings(&c);
    caller_leave(&c);
}

static void net_adm_ping_is_answered(void **state)
{
    (void)state;
    struct caller c;
    town_open();
    caller_open(&c, "client@localhost");
    caller_call(&c, "net_kernel", 5, make_term("{is_auth,client@localhost}"));
    is(caller_reply(&c, 5), "yes");
    caller_leave(&c);
}

/* A whole conversation, one byte at a time. */
static void bytes_may_come_one_by_one(void **state)
{
    (void)state;
    struct caller c;
    struct bytes b = {0};
    town_open();
    caller_open(&c, "client@localhost");
    for (unsigned i = 0; i < 3; i++)
        add_call(&b, "emmap", i, make_term("ping"));
    for (size_t i = 0; i < b.len; i++) {
        assert_int_equal(send(c.fd, b.at + i, 1, MSG_NOSIGNAL), 1);
        turn();
    }
    for (unsigned i = 0; i < 3; i++)
        is(caller_reply(&c, i), "pong");
    caller_leave(&c);
}

/* A frame that comes next, with these elements and this reason. */
static void hears(struct caller *c, struct span expected)
{
    const size_t whole = 4 + 2 + expected.len;
    until(caller_has(c, whole));
    assert_int_equal(get_be32(c->heard.at), 2 + expected.len);
    assert_memory_equal(c->heard.at + 6, expected.at, expected.len);
    buf_drop(&c->heard, whole);
}

static void who_is_not_there_is_noproc(void **state)
{
    (void)state;
    struct caller c;
    struct bytes b = {0};
    const struct span me = peer_pid(1);
    const struct span name = make_term("nobody");
    town_open();
    caller_open(&c, "client@localhost");
    add_control(&b, TUPLE(FRAME_MONITOR, me, name, peer_ref(9)), nothing);
    add_control(&b, TUPLE(FRAME_MONITOR, me, peer_pid(3), peer_ref(10)), nothing);
    add_control(&b, TUPLE(FRAME_LINK, me, peer_pid(3)), nothing);
    caller_say(&c, &b);
    hears(&c, TUPLE(21, name, me, peer_ref(9), make_term("noproc")));
    hears(&c, TUPLE(21, peer_pid(3), me, peer_ref(10), make_term("noproc")));
    hears(&c, TUPLE(3, peer_pid(3), me, make_term("noproc")));
    caller_leave(&c);
}

static void who_is_there_says_nothing_to_monitors(void **state)
{
    (void)state;
    struct caller c;
    struct bytes b = {0};
    const struct span me = peer_pid(1);
    town_open();
    caller_open(&c, "client@localhost");
    add_control(&b, TUPLE(FRAME_MONITOR, me, make_term("emmap"), peer_ref(9)), nothing);
    add_control(&b, TUPLE(FRAME_MONITOR, me, make_term("net_kernel"), peer_ref(10)), nothing);
    add_control(&b, TUPLE(FRAME_DEMONITOR, me, make_term("emmap"), peer_ref(9)), nothing);
    add_control(&b, TUPLE(FRAME_EXIT2, me, peer_pid(1), make_term("kill")), nothing);
    caller_say(&c, &b);
    pings(&c);
    caller_leave(&c);
}

static void an_unlink_is_acknowledged(void **state)
{
    (void)state;
    struct caller c;
    struct bytes b = {0};
    town_open();
    caller_open(&c, "client@localhost");
    add_control(&b, TUPLE(35, make_term("7"), peer_pid(1), peer_pid(2)), nothing);
    caller_say(&c, &b);
    hears(&c, TUPLE(36, make_term("7"), peer_pid(2), peer_pid(1)));
    caller_leave(&c);
}

static void a_spawned_function_is_undefined(void **state)
{
    (void)state;
    struct caller c;
    struct control control;
    struct bytes b = {0};
    town_open();
    caller_open(&c, "client@localhost");
    add_control(&b,
                TUPLE(29, peer_ref(1), peer_pid(1), peer_pid(2), make_term("{lists,seq,2}"),
                      make_term("[monitor,link]")),
                make_term("[1,x]"));
    caller_say(&c, &b);
    caller_hear(&c, &control);
    assert_int_equal(control.op, FRAME_SPAWN_REPLY);
    assert_true(span_equal(control.to, peer_pid(1)));
    assert_true(span_equal(control.ref, peer_ref(1)));

    until(caller_has_frame(&c));
    const uint8_t *frame = c.heard.at + 6;
    const struct span undef = make_term("{undef,[{lists,seq,[1,x],[]}]}");
    const size_t len = get_be32(c.heard.at) - 2;
    assert_int_equal(frame[3], FRAME_MONITOR_EXIT);
    assert_memory_equal(frame + len - undef.len, undef.at, undef.len);
    caller_hear(&c, &control);
    caller_hear(&c, &control);
    assert_int_equal(control.op, FRAME_EXIT);
    caller_leave(&c);
}

/* OTP 25 offers both. */
static void who_offers_it_hears_senders_and_reasons_apart(void **state)
{
    (void)state;
    struct caller c;
    struct control control;
    struct bytes b = {0};
    struct self self;
    uint8_t bytes[SELF_PID_BYTES];
    town_open();
    caller_connect(&c);
    caller_greet_as(&c, "client@localhost", HELLO_FLAGS);
    add_control(&b, TUPLE(FRAME_MONITOR, peer_pid(1), make_term("nosuch"), peer_ref(1)), nothing);
    add_control(&b, TUPLE(FRAME_LINK, peer_pid(1), peer_pid(2)), nothing);
    add_control(&b, TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("emmap")),
                TUPLE(0, make_term("'$gen_call'"), TUPLE(0, peer_pid(1), make_term("tag")),
                      make_term("ping")));
    caller_say(&c, &b);
    until(caller_has_frame(&c));
    assert_int_equal(c.heard.at[9], FRAME_PAYLOAD_MONITOR_EXIT);
    assert_string_equal(show_term(caller_hear(&c, &control)), "noproc");
    assert_true(span_equal(control.ref, peer_ref(1)));
    until(caller_has_frame(&c));
    assert_int_equal(c.heard.at[9], FRAME_PAYLOAD_EXIT);
    assert_string_equal(show_term(caller_hear(&c, &control)), "noproc");
    until(caller_has_frame(&c));
    assert_int_equal(c.heard.at[9], FRAME_SEND_SENDER);
    assert_string_equal(show_term(caller_hear(&c, &control)), "{tag,pong}");
    self_init(&self, "emmap@localhost", 0);
    assert_int_equal(control.from.len, self_pid(&self, SELF_EMMAP, bytes).len);
    caller_leave(&c);
}

static void a_tick_is_answered(void **state)
{
    (void)state;
    struct caller c;
    struct control control;
    struct bytes tick = {0};
    town_open();
    caller_open(&c, "client@localhost");
    add_u32(&tick, 0);
    caller_say(&c, &tick);
    caller_hear(&c, &control);
    assert_int_equal(control.op, 0);
    pings(&c);
    caller_leave(&c);
}

static void an_owner_is_watched_and_its_end_is_heard(void **state)
{
    (void)state;
    struct caller c;
    struct control monitor;
    struct bytes b = {0};
    struct bytes owner = {0};
    town_open();
    caller_open(&c, "client@localhost");
    add_u8(&owner, ERL_LIST_EXT);
    add_u32(&owner, 2);
    add_span(&owner, TUPLE(0, make_term("owner"), peer_pid(8)));
    add_span(&owner, make_term("auto_unlink"));
    add_u8(&owner, ERL_NIL_EXT);
    caller_call(&c, "emmap", 1,
                TUPLE(0, make_term("open_counters"), make_term("\"hits\""), make_term("1"),
                      bytes_span(&owner)));
    struct span ref = nothing;
    struct span pid = nothing;
    static struct bytes kept;
    for (int i = 0; i < 2; i++) { /* the monitor and the reply, in either order */
        caller_hear(&c, &monitor);
        if (monitor.op != FRAME_MONITOR)
            continue;
        assert_true(span_equal(monitor.to, peer_pid(8)));
        kept.len = 0;
        add_span(&kept, monitor.from);
        add_span(&kept, monitor.ref);
        pid = span_of(kept.at, monitor.from.len);
        ref = span_of(kept.at + monitor.from.len, monitor.ref.len);
    }
    assert_true(ref.len > 0);
    assert_int_equal(access(folder_file(town.host.dir, "hits"), F_OK), 0);
    add_control(&b, TUPLE(21, peer_pid(8), pid, ref, make_term("killed")), nothing);
    add_control(&b, TUPLE(21, peer_pid(8), pid, ref, make_term("killed")), nothing);
    caller_say(&c, &b);
    until(access(folder_file(town.host.dir, "hits"), F_OK) != 0);
    pings(&c);
    caller_leave(&c);
}

/* ---- callers that break the rules ---- */

static void a_broken_frame_costs_its_own_connection_only(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "\0\0\0\1p",        "\0\0\0\2\x83\x44",      "\0\0\0\5p\x83h\1j",
        "\0\0\0\4p\x83h\0", "\0\0\0\x06p\x83h\1a\1",
    };
    static const size_t lens[] = {5, 6, 9, 8, 10};
    struct caller good;
    town_open();
    caller_open(&good, "good@localhost");
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct caller bad;
        struct bytes b = {0};
        caller_open(&bad, "bad@localhost");
        add(&b, broken[i], lens[i]);
        caller_say(&bad, &b);
        until(caller_listen(&bad));
        caller_leave(&bad);
        pings(&good);
    }
    caller_leave(&good);
}

static void an_unknown_op_is_ignored(void **state)
{
    (void)state;
    struct caller c;
    struct bytes b = {0};
    town_open();
    caller_open(&c, "client@localhost");
    add_control(&b, TUPLE(99, peer_pid(1)), nothing);
    add_control(&b, TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("nobody")),
                make_term("hello"));
    add_control(&b, TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("emmap")),
                make_term("hello"));
    caller_say(&c, &b);
    pings(&c);
    caller_leave(&c);
}

static void a_frame_too_long_is_an_error_of_its_caller(void **state)
{
    (void)state;
    struct caller c;
    struct bytes b = {0};
    static uint8_t rest[64 * 1024];
    town.options.limits.max_frame = 16384;
    town.host.options.max_frame = 16384;
    town_open();
    caller_open(&c, "client@localhost");
    add_call(&b, "emmap", 3, TUPLE(0, make_term("pwrite"), make_term("1"), make_term("0")));
    b.at[b.len - 6] = 4; /* four elements, the last of them a binary that goes on and on */
    const size_t tail = sizeof rest;
    add_u8(&b, ERL_BINARY_EXT);
    add_u32(&b, tail);
    put_be32(b.at, (uint32_t)(b.len - 4 + tail));
    caller_say(&c, &b);
    for (size_t sent = 0; sent < tail;) {
        const ssize_t n = send(c.fd, rest + sent, tail - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        turn();
    }
    is(caller_reply(&c, 3), "{error,{limit,max_frame}}");
    pings(&c);
    caller_leave(&c);
}

static void a_handshake_has_a_deadline_however_it_drips(void **state)
{
    (void)state;
    struct caller c;
    struct bytes name = {0};
    char long_name[250];
    town.options.limits.handshake_timeout = 60;
    town_open();
    memset(long_name, 'x', sizeof long_name);
    memcpy(long_name, "a@", 2);
    long_name[sizeof long_name - 1] = '\0';
    hello_name(&name, HELLO_FLAGS, long_name);
    caller_connect(&c);
    const int64_t begin = now_ms();
    size_t sent = 0;
    until((sent < name.len - 1 && send(c.fd, name.at + sent++, 1, MSG_NOSIGNAL) < 0) ||
          caller_listen(&c));
    assert_true(now_ms() - begin < 5000);
    caller_leave(&c);
}

static void the_oldest_half_open_connection_makes_room(void **state)
{
    (void)state;
    enum { MAX = 3, ALL = 5 };
    struct caller c[ALL];
    town.options.max_half_open = MAX;
    town_open();
    for (int i = 0; i < ALL; i++) {
        caller_connect(&c[i]);
        turn();
    }
    until(caller_listen(&c[0]) && caller_listen(&c[1]));
    for (int i = 2; i < ALL; i++) {
        char name[20];
        snprintf(name, sizeof name, "c%d@localhost", i);
        caller_greet(&c[i], name);
        pings(&c[i]);
    }
    for (int i = 0; i < ALL; i++)
        caller_leave(&c[i]);
}

static void a_wrong_cookie_is_shut_out(void **state)
{
    (void)state;
    struct caller c;
    struct bytes b = {0};
    town_open();
    caller_connect(&c);
    hello_name(&b, HELLO_FLAGS, "client@localhost");
    hello_reply(&b, "wrong", 1);
    caller_say(&c, &b);
    until(caller_listen(&c));
    caller_leave(&c);
}

static void the_second_of_a_name_takes_the_place_of_the_first(void **state)
{
    (void)state;
    struct caller first;
    struct caller second;
    town_open();
    caller_open(&first, "client@localhost");
    pings(&first);
    caller_connect(&second); /* which alone changes nothing */
    turn();
    pings(&first);
    caller_greet(&second, "client@localhost");
    until(caller_listen(&first));
    pings(&second);
    caller_leave(&first);
    caller_leave(&second);
}

static void a_name_that_keeps_coming_anew_is_refused(void **state)
{
    (void)state;
    enum { ALLOWED = 5 };
    struct caller c[ALLOWED + 1];
    struct caller last;
    struct bytes b = {0};
    town_open();
    for (int i = 0; i <= ALLOWED; i++)
        caller_open(&c[i], "client@localhost");
    caller_connect(&last);
    hello_name(&b, HELLO_FLAGS, "client@localhost");
    caller_say(&last, &b);
    until(caller_has(&last, 41));
    b.len = 0;
    hello_reply(&b, "secret", hello_challenge(span_of(last.heard.at, last.heard.len)));
    caller_say(&last, &b);
    until(caller_listen(&last));
    pings(&c[ALLOWED]);
    for (int i = 0; i <= ALLOWED; i++)
        caller_leave(&c[i]);
    caller_leave(&last);
}

/* ---- too many ---- */

static void say_name(struct caller *c, const char *name)
{
    struct bytes b = {0};
    hello_name(&b, HELLO_FLAGS, name);
    caller_connect(c);
    caller_say(c, &b);
}

static bool is_alone(struct caller *c)
{
    static unsigned ref = 1000;
    caller_call(c, "emmap", ++ref, make_term("info"));
    return strstr(caller_reply(c, ref), "clients=>1,") != NULL;
}

static void one_too_many_is_told_so(void **state)
{
    (void)state;
    struct caller first;
    struct caller second;
    struct caller third;
    town.options.max_connections = 2;
    town_open();
    caller_open(&first, "c1@localhost");
    caller_open(&second, "c2@localhost");
    say_name(&third, "c3@localhost");
    until(caller_listen(&third));
    assert_int_equal(third.heard.len, 2 + strlen("snot_allowed"));
    assert_memory_equal(third.heard.at + 2, "snot_allowed", strlen("snot_allowed"));
    caller_leave(&third);
    struct caller again; /* one that has its place keeps it */
    caller_open(&again, "c2@localhost");
    pings(&again);
    pings(&first);
    caller_leave(&second);
    caller_leave(&again);
    until(is_alone(&first));
    caller_open(&third, "c3@localhost");
    pings(&third);
    caller_leave(&third);
    caller_leave(&first);
}

/* Both find the place free when they say their names. */
static void who_proves_himself_last_finds_the_place_taken(void **state)
{
    (void)state;
    enum { STATUS_AND_CHALLENGE = 5 + 2 + 19 + 15 };
    struct caller c[2];
    struct bytes b = {0};
    town.options.max_connections = 1;
    town_open();
    say_name(&c[0], "c0@localhost");
    say_name(&c[1], "c1@localhost");
    until(caller_has(&c[0], STATUS_AND_CHALLENGE) && caller_has(&c[1], STATUS_AND_CHALLENGE));
    for (int i = 0; i < 2; i++) {
        b.len = 0;
        hello_reply(&b, "secret", hello_challenge(span_of(c[i].heard.at, c[i].heard.len)));
        buf_drop(&c[i].heard, STATUS_AND_CHALLENGE);
        caller_say(&c[i], &b);
        if (i == 0)
            until(caller_has(&c[0], 19));
    }
    until(caller_listen(&c[1]));
    buf_drop(&c[0].heard, 19);
    pings(&c[0]);
    caller_leave(&c[0]);
    caller_leave(&c[1]);
}

/* No descriptor is left for who connects: it waits, the loop sleeps, others are served. */
static void without_a_descriptor_a_connection_waits(void **state)
{
    (void)state;
    enum { FOR_MS = 500, TURNS_MOST = 200 };
    struct caller first;
    struct caller second;
    struct rlimit all;
    town_open();
    caller_open(&first, "c1@localhost");
    caller_connect(&second);
    const int next = dup(first.fd);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
    const struct rlimit few = {.rlim_cur = (rlim_t)next, .rlim_max = all.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    const int64_t end = now_ms() + FOR_MS;
    int turns = 0;
    for (; now_ms() < end; turns++)
        uv_run(&town.host.loop, UV_RUN_ONCE);
    assert_true(turns < TURNS_MOST);
    pings(&first);
    assert_false(caller_listen(&second));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
    caller_greet(&second, "c2@localhost");
    pings(&second);
    caller_leave(&first);
    caller_leave(&second);
}

/* ---- too much ---- */

/* A region of 64 KiB, all of it in memory, and how often a caller reads it at once. */
enum { REGION = 65536, READS = 60 };

static void open_region(struct caller *c)
{
    caller_call(c, "emmap", 1, make_term("{open,\"f\",0,%d,[create,read,write]}", REGION));
    caller_reply(c, 1);
    caller_call(c, "emmap", 1, make_term("{pread,\"f\",0,%d}", REGION));
    until(caller_has_frame(c));
    buf_drop(&c->heard, 4 + get_be32(c->heard.at));
}

static void add_reads(struct bytes *b)
{
    for (unsigned i = 0; i < READS; i++)
        add_call(b, "emmap", i, make_term("{pread,\"f\",0,%d}", REGION));
}

static void answers_that_nobody_reads_stop_the_reading_of_requests(void **state)
{
    (void)state;
    struct caller c;
    struct bytes b = {0};
    town.options.limits.max_unsent = (size_t)4 * REGION;
    town.options.limits.unsent_timeout = 300;
    town_open();
    caller_open(&c, "client@localhost");
    const int small = 4096;
    setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    open_region(&c);
    add_reads(&b);
    for (int i = 0; i < 20; i++)
        if (send(c.fd, b.at, b.len, MSG_DONTWAIT | MSG_NOSIGNAL) < (ssize_t)b.len)
            break;
    const int64_t begin = now_ms();
    struct pollfd gone = {.fd = c.fd, .events = POLLRDHUP};
    until(poll(&gone, 1, 0) == 1 && (gone.revents & (POLLHUP | POLLERR | POLLRDHUP)) != 0);
    assert_true(now_ms() - begin >= 300);
    caller_leave(&c);
}

static void a_slow_reader_gets_all_its_answers(void **state)
{
    (void)state;
    struct caller c;
    struct bytes b = {0};
    size_t answers = 0;
    town.options.limits.max_unsent = (size_t)4 * REGION;
    town_open();
    caller_open(&c, "client@localhost");
    open_region(&c);
    add_reads(&b);
    caller_say(&c, &b);
    while (answers < READS) {
        until(caller_has_frame(&c));
        const size_t len = 4 + get_be32(c.heard.at);
        assert_true(len > REGION);
        buf_drop(&c.heard, len);
        answers++;
    }
    pings(&c);
    caller_leave(&c);
}

/* How many turns the loop makes until a quiet caller has its answer, beside one that sends as much
 * as its socket takes. */
static void a_flood_does_not_starve_others(void **state)
{
    (void)state;
    struct caller flood;
    struct caller quiet;
    struct bytes b = {0};
    town_open();
    caller_open(&flood, "flood@localhost");
    caller_open(&quiet, "quiet@localhost");
    while (b.len < 8000)
        add_control(&b, TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("emmap")),
                    make_term("{'$gen_cast',ping}"));
    size_t at = 0;
    for (int round = 0; round < 50; round++) {
        int turns = 0;
        caller_call(&quiet, "emmap", 1, make_term("ping"));
        do {
            for (ssize_t n = 0; n >= 0; at = (at + (size_t)n) % b.len)
                if ((n = send(flood.fd, b.at + at, b.len - at, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0)
                    break;
            turn();
            assert_true(++turns < 5);
        } while (!caller_has_frame(&quiet));
        is(caller_reply(&quiet, 1), "pong");
    }
    caller_leave(&flood);
    caller_leave(&quiet);
}

/* A few bytes that ask for much: what they ask for is not done all at once, either. */
static void much_to_do_does_not_starve_others(void **state)
{
    (void)state;
    enum { OBJECTS = 100, LISTS = 500, EACH = 50 };
    struct caller busy;
    struct caller quiet;
    struct bytes b = {0};
    unsigned lists = 0;
    town.options.limits.max_unsent = (size_t)256 << 20;
    town_open();
    caller_open(&busy, "busy@localhost");
    caller_open(&quiet, "quiet@localhost");
    for (unsigned i = 0; i < OBJECTS; i++) {
        caller_call(&busy, "emmap", 1, make_term("{open_counters,\"c%u\",1}", i));
        assert_memory_equal(caller_reply(&busy, 1), "{ok,", 4);
    }
    for (unsigned i = 0; i < EACH; i++)
        add_call(&b, "emmap", i, make_term("list"));
    for (unsigned i = 0; i < LISTS; i += EACH)
        caller_say(&busy, &b);
    caller_call(&quiet, "emmap", 1, make_term("ping"));
    until(caller_has_frame(&quiet));
    is(caller_reply(&quiet, 1), "pong");
    while (caller_has_frame(&busy)) {
        buf_drop(&busy.heard, 4 + get_be32(busy.heard.at));
        lists++;
    }
    assert_true(lists < LISTS / 2);
    caller_leave(&busy);
    caller_leave(&quiet);
}

/* It pauses between its answers, and gets them all; who pauses may leave, and the node may stop. */
static void who_surveys_without_end_gets_his_answers_by_and_by(void **state)
{
    (void)state;
    enum { OBJECTS = 100, SURVEYS = 100 };
    struct caller busy;
    struct caller other;
    struct bytes b = {0};
    town_open();
    caller_open(&busy, "busy@localhost");
    caller_open(&other, "other@localhost");
    for (unsigned i = 0; i < OBJECTS; i++) {
        caller_call(&busy, "emmap", 1, make_term("{open_counters,\"c%u\",1}", i));
        assert_memory_equal(caller_reply(&busy, 1), "{ok,", 4);
    }
    for (unsigned i = 0; i < SURVEYS; i++)
        add_call(&b, "emmap", i, make_term("metrics"));
    const int64_t begin = now_ms();
    caller_say(&busy, &b);
    for (unsigned i = 0; i < SURVEYS; i++) {
        until(caller_has_frame(&busy));
        buf_drop(&busy.heard, 4 + get_be32(busy.heard.at));
    }
    pings(&busy);
    assert_true(now_ms() - begin >= 100);
    caller_say(&busy, &b);
    caller_say(&other, &b);
    until(caller_has_frame(&busy) && caller_has_frame(&other));
    caller_leave(&other);
    town_stop();
    until(caller_listen(&busy));
    caller_leave(&busy);
}

/* ---- the end ---- */

static void what_is_under_way_is_answered_before_the_end(void **state)
{
    (void)state;
    struct caller c;
    town_open();
    caller_open(&c, "client@localhost");
    open_region(&c);
    caller_call(&c, "emmap", 2, make_term("{sync,\"f\"}"));
    turn(); /* it is read, and a worker has it */
    town_stop();
    is(caller_reply(&c, 2), "ok");
    until(caller_listen(&c));
    assert_int_equal(c.heard.len, 0);
    caller_leave(&c);
}

static void the_end_does_not_wait_for_strangers(void **state)
{
    (void)state;
    struct caller c;
    town_open();
    caller_connect(&c);
    turn();
    town_stop();
    until(town.closed);
    assert_true(caller_listen(&c));
    caller_leave(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_ready_once_registered),
        TEST(it_registers_again_when_epmd_has_come_back),
        TEST(a_name_in_use_is_told),
        TEST(a_call_is_answered_to_its_alias),
        TEST(net_adm_ping_is_answered),
        TEST(bytes_may_come_one_by_one),
        TEST(who_is_not_there_is_noproc),
        TEST(who_is_there_says_nothing_to_monitors),
        TEST(an_unlink_is_acknowledged),
        TEST(a_spawned_function_is_undefined),
        TEST(who_offers_it_hears_senders_and_reasons_apart),
        TEST(a_tick_is_answered),
        TEST(an_owner_is_watched_and_its_end_is_heard),
        TEST(a_broken_frame_costs_its_own_connection_only),
        TEST(an_unknown_op_is_ignored),
        TEST(a_frame_too_long_is_an_error_of_its_caller),
        TEST(a_handshake_has_a_deadline_however_it_drips),
        TEST(the_oldest_half_open_connection_makes_room),
        TEST(a_wrong_cookie_is_shut_out),
        TEST(the_second_of_a_name_takes_the_place_of_the_first),
        TEST(a_name_that_keeps_coming_anew_is_refused),
        TEST(one_too_many_is_told_so),
        TEST(who_proves_himself_last_finds_the_place_taken),
        TEST(without_a_descriptor_a_connection_waits),
        TEST(answers_that_nobody_reads_stop_the_reading_of_requests),
        TEST(a_slow_reader_gets_all_its_answers),
        TEST(a_flood_does_not_starve_others),
        TEST(much_to_do_does_not_starve_others),
        TEST(who_surveys_without_end_gets_his_answers_by_and_by),
        TEST(what_is_under_way_is_answered_before_the_end),
        TEST(the_end_does_not_wait_for_strangers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
