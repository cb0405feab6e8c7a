/* Functions that a peer calls: by spawn requests as spawn, rpc and erpc send them, by messages to
 * rex, and by system messages. */
#include "dist/spawned.h"

#include <inttypes.h>

#include "support/scan.h"
#include "town.h"

static struct caller c;
static struct caller other;

static int setup(void **state)
{
    (void)state;
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
    return 0;
}

/* The daemon watches who waits or holds items, and looks away again; nobody here cares. */
static void skip_watches(void)
{
    for (;;) {
        caller_pass_ticks(&c);
        const int op = c.heard.at[9];
        if (op != FRAME_MONITOR && op != FRAME_DEMONITOR)
            return;
        buf_drop(&c.heard, 4 + get_be32(c.heard.at));
    }
}

static const char *replies(unsigned ref)
{
    skip_watches();
    return caller_reply(&c, ref);
}

static const char *asks(const char *request)
{
    caller_call(&c, "emmap", 3, make_term("%s", request));
    return replies(3);
}

/* The connection is sound, and nothing but the answer has come. */
static void pings(void)
{
    is(asks("ping"), "pong");
}

/* --- what is said ------------------------------------------------------------------------------
 */

static void say(struct span control, struct span message)
{
    struct bytes b = {0};
    add_control(&b, control, message);
    caller_say(&c, &b);
}

static void spawns(unsigned ref, const char *mfa, const char *options, const char *args)
{
    say(TUPLE(FRAME_SPAWN_REQUEST, peer_ref(ref), peer_pid(1), peer_pid(2), make_term("%s", mfa),
              make_term("%s", options)),
        make_term("%s", args));
}

static void calls(unsigned ref, const char *module_function_args)
{
    char args[1000];
    snprintf(args, sizeof args, "[res,%s]", module_function_args);
    spawns(ref, "{erpc,execute_call,4}", "[monitor]", args);
}

/* --- what is heard -----------------------------------------------------------------------------
 */

static uint8_t pid_bytes[512];

/* Element n (from 0, the op) of the next control message, of this op. */
static struct span hears(int op, int n)
{
    static struct bytes kept;
    skip_watches();
    const size_t len = get_be32(c.heard.at);
    kept.len = 0;
    add(&kept, c.heard.at + 6, len - 2);
    buf_drop(&c.heard, 4 + len);
    struct term t = term_in(span_of(kept.at, term_check(bytes_span(&kept))));
    term_tuple(&t);
    assert_int_equal(term_int64(&t), op);
    struct span element = nothing;
    for (int i = 0; i < n; i++)
        element = term_any(&t);
    assert_false(t.bad);
    return element;
}

/* The pid of the process that a request has made. */
static struct span spawned(void)
{
    const struct span pid = hears(FRAME_SPAWN_REPLY, 4);
    memcpy(pid_bytes, pid.at, pid.len);
    return span_of(pid_bytes, pid.len);
}

static const char *down(void)
{
    return show_term(hears(FRAME_MONITOR_EXIT, 4));
}

/* What an erpc call gives. */
static const char *gives(const char *module_function_args)
{
    calls(1, module_function_args);
    spawned();
    return down();
}

/* --- erpc --------------------------------------------------------------------------------------
 */

static void a_call_of_a_request_returns_its_reply(void **state)
{
    (void)state;
    is(gives("emmap,ping,[]"), "{res,return,pong}");
    assert_memory_equal(gives("emmap,open_counters,[\"c\",4]"), "{res,return,{ok,", 16);
    is(gives("emmap,inc_counter,[\"c\",3,5]"), "{res,return,{ok,0}}");
    is(gives("emmap,read_counter,[\"c\",3]"), "{res,return,{ok,5}}");
    is(gives("emmap,read_counter,[\"c\",4]"), "{res,return,{error,badarg}}");
    pings();
}

static void what_is_not_there_is_undefined(void **state)
{
    (void)state;
    is(gives("lists,seq,[1,x]"), "{res,error,undef,[{lists,seq,[1,x],[]}]}");
    is(gives("emmap,pop,[q]"), "{res,error,undef,[{emmap,pop,[q],[]}]}");
    is(gives("erlang,halt,[]"), "{res,error,undef,[{erlang,halt,[],[]}]}");
    pings();
}

static void a_bare_function_raises(void **state)
{
    (void)state;
    is(gives("emmap_queue,length,[\"none\"]"), "{res,error,enoent,[{emmap_queue,length,1,[]}]}");
    is(gives("emmap,list,[other]"), "{res,error,badarg,[{emmap,list,[other],[]}]}");
    is(gives("erlang,system_info,[nosuch]"),
       "{res,error,badarg,[{erlang,system_info,[nosuch],[]}]}");
    is(gives("sys,get_state,[nosuch]"), "{res,exit,{noproc,{sys,get_state,[nosuch]}}}");
    is(gives("emmap,1,[]"), "{res,error,badarg,[{emmap,1,[],[]}]}");
}

static void a_call_may_wait(void **state)
{
    (void)state;
    assert_memory_equal(asks("{open_queue,\"q\",0,[]}"), "{ok,", 4);
    calls(1, "emmap_queue,pop_wait,[\"q\",infinity]");
    spawned();
    is(asks("{push,\"q\",job}"), "ok");
    is(down(), "{res,return,{ok,job}}");
    pings();
}

static void who_looks_away_gets_nothing(void **state)
{
    (void)state;
    assert_memory_equal(asks("{open_queue,\"q\",0,[]}"), "{ok,", 4);
    calls(1, "emmap_queue,pop_wait,[\"q\",infinity]");
    const struct span pid = spawned();
    say(TUPLE(FRAME_DEMONITOR, peer_pid(1), pid, peer_ref(1)), nothing);
    is(asks("{push,\"q\",job}"), "ok");
    is(asks("{length,\"q\"}"), "1");
    say(TUPLE(FRAME_MONITOR, peer_pid(1), pid, peer_ref(2)), nothing);
    is(down(), "noproc");
}

static void a_lease_is_the_callers(void **state)
{
    (void)state;
    assert_memory_equal(asks("{open_queue,\"q\",0,[]}"), "{ok,", 4);
    is(asks("{push,\"q\",job}"), "ok");
    is(gives("emmap_queue,take,[\"q\"]"), "{res,return,{ok,1,1,job}}");
    is(gives("emmap_queue,ack,[\"q\",1]"), "{res,return,ok}");
    is(asks("{length,\"q\"}"), "0");
}

/* --- spawn -------------------------------------------------------------------------------------
 */

static void a_spawned_function_ends_normally(void **state)
{
    (void)state;
    spawns(1, "{emmap,ping,0}", "[monitor]", "[]");
    spawned();
    is(down(), "normal");
    spawns(2, "{emmap,nosuch,1}", "[monitor]", "[a]");
    spawned();
    is(down(), "{undef,[{emmap,nosuch,[a],[]}]}");
    spawns(3, "{erlang,apply,3}", "[monitor]", "[emmap,ping,[]]");
    spawned();
    is(down(), "normal");
    spawns(4, "{erpc,execute_cast,3}", "[]", "[emmap,ping,[]]");
    spawned();
    pings();
}

static void who_is_linked_hears_the_end(void **state)
{
    (void)state;
    spawns(1, "{emmap,nosuch,0}", "[link]", "[]");
    spawned();
    is(show_term(hears(FRAME_EXIT, 3)), "{undef,[{emmap,nosuch,[],[]}]}");
    pings();
}

static struct span waits(const char *options)
{
    assert_memory_equal(asks("{open_queue,\"q\",0,[]}"), "{ok,", 4);
    spawns(1, "{emmap_queue,pop_wait,2}", options, "[\"q\",infinity]");
    return spawned();
}

static void an_exit_signal_ends_it(void **state)
{
    (void)state;
    const struct span pid = waits("[monitor]");
    say(TUPLE(FRAME_EXIT2, peer_pid(1), pid, make_term("normal")), nothing);
    is(asks("{length,\"q\"}"), "0");
    say(TUPLE(FRAME_EXIT2, peer_pid(1), pid, make_term("kill")), nothing);
    is(down(), "killed");
    is(asks("{push,\"q\",job}"), "ok");
    is(asks("{length,\"q\"}"), "1");
}

static void it_ends_with_whom_it_is_linked_to(void **state)
{
    (void)state;
    const struct span pid = waits("[link]");
    say(TUPLE(FRAME_MONITOR, peer_pid(3), pid, peer_ref(9)), nothing);
    say(TUPLE(FRAME_EXIT, peer_pid(1), pid, make_term("crash")), nothing);
    is(down(), "crash");
    is(asks("{push,\"q\",job}"), "ok");
    is(asks("{length,\"q\"}"), "1");
}

static void a_link_brings_kill_as_a_reason(void **state)
{
    (void)state;
    const struct span pid = waits("[link,monitor]");
    say(TUPLE(FRAME_EXIT, peer_pid(1), pid, make_term("kill")), nothing);
    is(down(), "kill");
    pings();
}

/* It does not wait or hold for the process that has asked for it. */
static void what_is_spawned_is_on_its_own(void **state)
{
    (void)state;
    waits("[monitor]");
    assert_int_equal(c.heard.len, 0); /* nobody is watched */
    is(asks("{push,\"q\",job}"), "ok");
    is(down(), "normal");
    is(asks("{push,\"q\",job}"), "ok");
    spawns(1, "{emmap_queue,take,1}", "[monitor]", "[\"q\"]");
    spawned();
    is(down(), "normal");
    is(asks("{take,\"q\",5000}"), "{ok,2,2,job}"); /* once it had ended */
}

static void an_exit_of_a_stranger_is_nothing(void **state)
{
    (void)state;
    const struct span pid = waits("[]");
    say(TUPLE(FRAME_EXIT, peer_pid(4), pid, make_term("crash")), nothing);
    is(asks("{push,\"q\",job}"), "ok");
    is(asks("{length,\"q\"}"), "0");
    pings();
}

/* Also for peers that have not asked for it. */
static void all_peers_see_it(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct control control;
    const struct span pid = waits("[]");
    caller_open(&other, "other@localhost");
    erlang_pid from = {.num = 7, .serial = 1, .creation = 5, .node = "other@localhost"};
    char bytes[64];
    int n = 0;
    assert_int_equal(ei_encode_pid(bytes, &n, &from), 0);
    add_control(&b, TUPLE(FRAME_MONITOR, span_of(bytes, (size_t)n), pid, peer_ref(5)), nothing);
    add_call(&b, "emmap", 6, make_term("ping"));
    caller_say(&other, &b);
    is(caller_reply(&other, 6), "pong");
    caller_leave(&c); /* and with its peer it ends */
    caller_hear(&other, &control);
    assert_int_equal(control.op, FRAME_MONITOR_EXIT);
    caller_leave(&other);
    caller_open(&c, "client@localhost");
    is(asks("{push,\"q\",job}"), "ok");
    is(asks("{length,\"q\"}"), "1");
}

/* --- messages ----------------------------------------------------------------------------------
 */

static void rex_runs_calls(void **state)
{
    (void)state;
    struct control control;
    caller_call(&c, "rex", 1, make_term("{block_call,emmap,ping,[],user}"));
    is(replies(1), "pong");
    caller_call(&c, "rex", 1, make_term("{call,emmap,nosuch,[1,x],user}"));
    is(replies(1), "{badrpc,{EXIT,{undef,[{emmap,nosuch,[1,x],[]}]}}}");
    say(TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("rex")),
        TUPLE(0, peer_pid(1), make_term("{call,emmap,ping,[],user}")));
    is(show_term(caller_hear(&c, &control)), "{rex,pong}");
    assert_int_equal(control.op, FRAME_SEND);
    say(TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("rex")), make_term("odd"));
    pings();
}

static void rex_sends_to_a_name(void **state)
{
    static const struct {
        const char *message, *answer;
    } rows[] = {
        {"{sbcast,emmap,odd}", "{rex,emmap@localhost,emmap@localhost}"},
        {"{sbcast,rex,odd}", "{rex,emmap@localhost,emmap@localhost}"},
        {"{sbcast,nosuch,odd}", "{rex,emmap@localhost,{nonexisting_name,nosuch}}"},
        {"{sbcast,\"emmap\",odd}", NULL},
        {"{sbcast,emmap}", NULL},
    };
    (void)state;
    struct control control;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        say(TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("rex")),
            TUPLE(0, peer_pid(1), make_term("%s", rows[i].message)));
        if (rows[i].answer != NULL)
            is(show_term(caller_hear(&c, &control)), rows[i].answer);
        pings();
    }
}

static void a_call_of_rex_can_be_taken_back(void **state)
{
    (void)state;
    assert_memory_equal(asks("{open_queue,\"q\",0,[]}"), "{ok,", 4);
    caller_call(&c, "rex", 1, make_term("{block_call,emmap_queue,pop_wait,[\"q\",infinity],user}"));
    say(TUPLE(FRAME_DEMONITOR, peer_pid(1), make_term("rex"), peer_ref(1)), nothing);
    is(asks("{push,\"q\",job}"), "ok");
    is(asks("{length,\"q\"}"), "1");
}

/* The reference by which a process of the node may wait for an answer. */
static struct span own_ref(uint64_t number)
{
    static uint8_t bytes[SELF_REF_BYTES];
    struct self self;
    spawns(1, "{emmap,ping,0}", "[]", "[]");
    const struct span pid = spawned();
    self_init(&self, "emmap@localhost", get_be32(pid.at + pid.len - 4));
    return self_ref(&self, number, bytes);
}

/* {Pid, [alias|Ref]} */
static struct span caller_with(struct span ref)
{
    struct bytes tag = {0};
    add_u8(&tag, ERL_LIST_EXT);
    add_u32(&tag, 1);
    add_span(&tag, make_term("alias"));
    add_span(&tag, ref);
    return TUPLE(0, peer_pid(1), bytes_span(&tag));
}

/* It would answer itself, for ever. */
static void an_alias_of_the_node_gets_no_answer(void **state)
{
    (void)state;
    own_ref(0);
    const uint32_t next = get_be32(pid_bytes + strlen("emmap@localhost") + 3) + 2;
    const struct span from = caller_with(own_ref((uint64_t)1 << 63 | next));
    say(TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("rex")),
        TUPLE(0, make_term("'$gen_call'"), from, make_term("{call,emmap,ping,[],user}")));
    say(TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("emmap")),
        TUPLE(0, make_term("system"), from, make_term("get_state")));
    pings();
}

static void system_message(const char *name, unsigned ref, const char *request)
{
    struct bytes tag = {0};
    add_u8(&tag, ERL_LIST_EXT);
    add_u32(&tag, 1);
    add_span(&tag, make_term("alias"));
    add_span(&tag, peer_ref(ref));
    say(TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("%s", name)),
        TUPLE(0, make_term("system"), TUPLE(0, peer_pid(1), bytes_span(&tag)),
              make_term("%s", request)));
}

static void a_queue_tells_its_state(void **state)
{
    (void)state;
    assert_memory_equal(asks("{open_queue,\"q\",0,[{register,jobs}]}"), "{ok,", 4);
    system_message("jobs", 1, "get_state");
    assert_non_null(strstr(replies(1), "kind=>queue"));
    system_message("jobs", 2, "get_status");
    assert_memory_equal(replies(2), "{status,", 8);
    assert_non_null(strstr(gives("sys,get_state,[jobs]"), "kind=>queue"));
    system_message("jobs", 3, "suspend");
    is(replies(3), "{error,{unknown_system_msg,suspend}}");
    pings();
}

/* --- limits ------------------------------------------------------------------------------------
 */

static const char *refused_spawn(void)
{
    return show_term(hears(FRAME_SPAWN_REPLY, 4));
}

/* The town has 64 for each peer. */
static void fill(void)
{
    assert_memory_equal(asks("{open_queue,\"q\",0,[{register,jobs}]}"), "{ok,", 4);
    for (unsigned i = 0; i < 64; i++) {
        spawns(100 + i, "{emmap_queue,pop_wait,2}", "[monitor]", "[\"q\",infinity]");
        spawned();
    }
}

static void too_many_processes_are_refused(void **state)
{
    (void)state;
    fill();
    spawns(1, "{emmap,ping,0}", "[monitor,link]", "[]");
    is(refused_spawn(), "system_limit");
    calls(2, "emmap,ping,[]");
    is(refused_spawn(), "system_limit");
    caller_call(&c, "rex", 3, make_term("{call,emmap,ping,[],user}"));
    is(replies(3), "{badrpc,{EXIT,system_limit}}");
    system_message("jobs", 4, "get_state");
    is(replies(4), "{badrpc,{EXIT,system_limit}}");
    say(TUPLE(FRAME_EXIT2, peer_pid(1), span_of(pid_bytes, 3 + strlen("emmap@localhost") + 12),
              make_term("kill")),
        nothing);
    is(down(), "killed");
    is(gives("emmap,ping,[]"), "{res,return,pong}");
}

static void the_limit_is_each_peers_own(void **state)
{
    (void)state;
    struct control control;
    fill();
    caller_open(&other, "other@localhost");
    caller_call(&other, "rex", 1, make_term("{call,erlang,node,[],user}"));
    caller_pass_ticks(&other);
    struct term t = term_in(caller_hear(&other, &control));
    term_tuple(&t);
    term_any(&t);
    is(show_term(term_any(&t)), "emmap@localhost");
    caller_leave(&other);
}

/* What erpc calls Res comes back with the result: here it is long. */
static void waits_with_long_tag(unsigned ref)
{
    enum { LONG = 15000 };
    static const uint8_t tag[LONG];
    struct bytes args = {0};
    add_u8(&args, ERL_LIST_EXT);
    add_u32(&args, 4);
    add_u8(&args, ERL_BINARY_EXT);
    add_u32(&args, LONG);
    add(&args, tag, LONG);
    add_span(&args, make_term("emmap_queue"));
    add_span(&args, make_term("pop_wait"));
    add_span(&args, make_term("[\"q\",infinity]"));
    add_u8(&args, ERL_NIL_EXT);
    say(TUPLE(FRAME_SPAWN_REQUEST, peer_ref(ref), peer_pid(1), peer_pid(2),
              make_term("{erpc,execute_call,4}"), make_term("[monitor]")),
        bytes_span(&args));
}

/* 64 processes keep 512 bytes each on average. */
static void what_processes_keep_is_bounded(void **state)
{
    (void)state;
    assert_memory_equal(asks("{open_queue,\"q\",0,[]}"), "{ok,", 4);
    for (unsigned i = 1; i <= 3; i++) {
        waits_with_long_tag(i);
        spawned();
    }
    waits_with_long_tag(4);
    is(refused_spawn(), "system_limit");
    say(TUPLE(FRAME_DEMONITOR, peer_pid(1), make_term("any"), peer_ref(1)), nothing);
    is(gives("emmap,ping,[]"), "{res,return,pong}");
}

/* Whoever it is could not be answered. */
static void a_stranger_spawns_nothing(void **state)
{
    (void)state;
    uint8_t pid[512];
    const struct span me = peer_pid(1);
    memcpy(pid, me.at, me.len);
    pid[3] ^= 1;
    assert_memory_equal(asks("{open_counters,\"c\",1}"), "{ok,", 4);
    say(TUPLE(FRAME_SPAWN_REQUEST, peer_ref(1), span_of(pid, me.len), peer_pid(2),
              make_term("{emmap,set_counter,3}"), make_term("[monitor]")),
        make_term("[\"c\",a,b]"));
    is(asks("{read_counter,\"c\",0}"), "{ok,0}");
    pings();
}

/* fun emmap:ping/0 */
static void applies_ping(unsigned ref, const char *args)
{
    struct bytes list = {0};
    struct bytes all = {0};
    add_u8(&list, ERL_LIST_EXT);
    add_u32(&list, 2);
    add_u8(&list, ERL_EXPORT_EXT);
    add_span(&list, make_term("emmap"));
    add_span(&list, make_term("ping"));
    add_span(&list, make_term("0"));
    add_span(&list, make_term("%s", args));
    add_u8(&list, ERL_NIL_EXT);
    add_u8(&all, ERL_LIST_EXT);
    add_u32(&all, 4);
    add_span(&all, make_term("res"));
    add_span(&all, make_term("erlang"));
    add_span(&all, make_term("apply"));
    add_span(&all, bytes_span(&list));
    add_u8(&all, ERL_NIL_EXT);
    say(TUPLE(FRAME_SPAWN_REQUEST, peer_ref(ref), peer_pid(1), peer_pid(2),
              make_term("{erpc,execute_call,4}"), make_term("[monitor]")),
        bytes_span(&all));
    spawned();
}

static void a_fun_takes_its_own_number_of_arguments(void **state)
{
    (void)state;
    applies_ping(1, "[]");
    is(down(), "{res,return,pong}");
    applies_ping(2, "[a]");
    struct term t = term_in(hears(FRAME_MONITOR_EXIT, 4));
    term_tuple(&t);
    term_any(&t);
    assert_true(term_is_atom(&t, "error"));
    assert_int_equal(term_tuple(&t), 2);
    assert_true(term_is_atom(&t, "badarity"));
    assert_int_equal(term_tuple(&t), 2);
    assert_int_equal(term_tag(&t), ERL_EXPORT_EXT);
    term_any(&t);
    is(show_term(term_any(&t)), "[a]");
}

/* --- consoles ----------------------------------------------------------------------------------
 */

static struct span starts_console(void)
{
    calls(1, "shell,start,[]");
    spawned();
    struct term t = term_in(hears(FRAME_MONITOR_EXIT, 4));
    term_tuple(&t);
    assert_true(term_is_atom(&t, "res") && term_is_atom(&t, "return"));
    const struct span pid = term_any(&t);
    memcpy(pid_bytes, pid.at, pid.len);
    return span_of(pid_bytes, pid.len);
}

static void replies_to_console(struct span pid, unsigned number, struct span answer)
{
    struct bytes message = {0};
    add_span(&message, TUPLE(0, make_term("io_reply"), make_term("%u", number), answer));
    say(TUPLE(FRAME_SEND, frame_unused(), pid), bytes_span(&message));
}

static void types(struct span pid, unsigned number, const char *line)
{
    struct buf tokens;
    buf_init(&tokens, 65536);
    scan(line, &tokens);
    replies_to_console(pid, number,
                       TUPLE(0, make_term("ok"), span_of(tokens.at, tokens.len), make_term("1")));
    buf_fini(&tokens);
}

static void interrupts(struct span pid)
{
    say(TUPLE(FRAME_EXIT2, peer_pid(1), pid, make_term("interrupt")), nothing);
}

/* The next page of a console. */
static struct span shown(void)
{
    struct control control;
    for (;;) {
        struct term t = term_in(caller_hear(&c, &control));
        assert_int_not_equal(control.op, 0); /* a tick: nothing else comes */
        if (control.op != FRAME_SEND)
            continue;
        term_tuple(&t);
        for (int i = 0; i < 3; i++)
            term_any(&t);
        if (term_tuple(&t) == 3 && term_is_atom(&t, "put_chars")) {
            term_any(&t);
            return term_binary(&t);
        }
    }
}

static void shows(const char *text)
{
    char page[1000];
    const struct span seen = shown();
    snprintf(page, sizeof page, "%.*s", (int)seen.len, (const char *)seen.at);
    is(page, text);
}

/* The requests of the console to its group leader, however many. */
static unsigned skip_messages(void)
{
    unsigned n = 0;
    for (skip_watches(); c.heard.at[9] == FRAME_SEND || c.heard.at[9] == FRAME_SEND_SENDER; n++) {
        buf_drop(&c.heard, 4 + get_be32(c.heard.at));
        skip_watches();
    }
    return n;
}

static void pings_past_messages(void)
{
    caller_call(&c, "emmap", 3, make_term("ping"));
    do
        skip_messages();
    while (strcmp(caller_reply(&c, 3), "pong") != 0);
}

static void a_console_speaks_once_it_is_linked_to(void **state)
{
    (void)state;
    const struct span pid = starts_console();
    pings(); /* nothing has come */
    say(TUPLE(FRAME_LINK, peer_pid(1), pid), nothing);
    say(TUPLE(FRAME_EXIT2, peer_pid(1), pid, make_term("kill")), nothing);
    assert_true(skip_messages() > 0);
    is(show_term(hears(FRAME_EXIT, 3)), "killed");
    pings();
}

/* Sixteen at most; those that nobody has linked to make room, the oldest first. */
static void a_console_that_nobody_hears_makes_room(void **state)
{
    (void)state;
    uint8_t oldest[SELF_PID_BYTES];
    const struct span first = starts_console();
    const size_t len = first.len;
    memcpy(oldest, first.at, len);
    for (int i = 1; i < 16; i++)
        starts_console();
    say(TUPLE(FRAME_MONITOR, peer_pid(1), span_of(oldest, len), peer_ref(9)), nothing);
    pings();
    calls(1, "shell,start,[]");
    const uint32_t after = get_be32(spawned().at + len - 12); /* and the console's is next */
    is(show_term(hears(FRAME_MONITOR_EXIT, 4)), "normal");
    hears(FRAME_MONITOR_EXIT, 4);
    for (uint32_t number = after - 1, n = 0; n < 15; number -= 2, n++) {
        put_be32(oldest + len - 12, number);
        say(TUPLE(FRAME_LINK, peer_pid(1), span_of(oldest, len)), nothing);
    }
    put_be32(oldest + len - 12, after + 1);
    say(TUPLE(FRAME_LINK, peer_pid(1), span_of(oldest, len)), nothing);
    pings_past_messages();
    calls(1, "shell,start,[]");
    spawned();
    assert_memory_equal(down(), "{res,error,system_limit,", 24);
}

/* ^C, where it reads nothing. */
static void an_interrupt_does_not_end_a_console(void **state)
{
    (void)state;
    const struct span pid = starts_console();
    say(TUPLE(FRAME_LINK, peer_pid(1), pid), nothing);
    say(TUPLE(FRAME_EXIT2, peer_pid(1), pid, make_term("interrupt")), nothing);
    say(TUPLE(FRAME_EXIT2, peer_pid(1), pid, make_term("shutdown")), nothing);
    skip_messages();
    is(show_term(hears(FRAME_EXIT, 3)), "shutdown");
    pings();
}

/* What a worker does goes on, but its answer is none to what is asked next. */
static void a_late_answer_is_none_to_the_next(void **state)
{
    (void)state;
    struct control control;
    assert_memory_equal(asks("{open_counters,\"c\",4}"), "{ok,", 4);
    assert_memory_equal(asks("{open_queue,\"q\",0,[]}"), "{ok,", 4);
    const struct span pid = starts_console();
    say(TUPLE(FRAME_LINK, peer_pid(1), pid), nothing);
    shown();
    replies_to_console(pid, 1, make_term("ok"));
    types(pid, 4, "unlock(), sync(\"c\").");
    interrupts(pid);
    replies_to_console(pid, 6, make_term("ok"));
    types(pid, 5, "sync(\"c\").");
    interrupts(pid);
    replies_to_console(pid, 8, make_term("ok"));
    types(pid, 7, "pop_wait(\"q\", infinity).");
    shows("\nerror: sync was interrupted\n");
    shows("\nerror: sync was interrupted\n");
    caller_call(&c, "emmap", 3, make_term("{sync,\"c\"}")); /* behind the others */
    do
        caller_hear(&c, &control);
    while (control.op != FRAME_ALIAS_SEND);
    caller_call(&c, "emmap", 3, make_term("{push,\"q\",job}"));
    shows("{ok,job}\n");
    say(TUPLE(FRAME_EXIT2, peer_pid(1), pid, make_term("kill")), nothing);
}

static void a_console_ends_with_its_group_leader(void **state)
{
    (void)state;
    const struct span pid = starts_console();
    say(TUPLE(FRAME_LINK, peer_pid(1), pid), nothing);
    say(TUPLE(FRAME_MONITOR, peer_pid(3), pid, peer_ref(9)), nothing);
    say(TUPLE(FRAME_EXIT, peer_pid(1), pid, make_term("interrupt")), nothing);
    skip_messages();
    is(down(), "interrupt");
    pings();
}

/* Only the first link of its group leader begins it. */
static void links_do_not_fill_a_console(void **state)
{
    (void)state;
    struct bytes link = {0};
    const struct span pid = starts_console();
    interrupts(pid); /* nor does this */
    pings();
    add_control(&link, TUPLE(FRAME_LINK, peer_pid(1), pid), nothing);
    for (int i = 0; i < 5000; i++) {
        caller_say(&c, &link);
        turn();
    }
    shown();
    replies_to_console(pid, 1, make_term("ok"));
    say(TUPLE(FRAME_EXIT2, peer_pid(1), pid, make_term("kill")), nothing);
    skip_messages();
    is(show_term(hears(FRAME_EXIT, 3)), "killed");
    pings();
}

static uint64_t opens_queue(void)
{
    return opened(asks("{open_queue,\"q\",0,[]}"));
}

/* The engine walks along those who wait when the console is answered, and the next thing that the
 * console does takes one of these away. */
static void a_console_goes_on_when_the_engine_rests(void **state)
{
    (void)state;
    char line[100];
    const uint64_t one = opens_queue();
    const uint64_t other_one = opens_queue();
    opens_queue(); /* and it stays open */
    const struct span pid = starts_console();
    say(TUPLE(FRAME_LINK, peer_pid(1), pid), nothing);
    shown();
    replies_to_console(pid, 1, make_term("ok"));
    snprintf(line, sizeof line, "unlock(), pop_wait(%" PRIu64 ", infinity), close(%" PRIu64 ").",
             one, other_one);
    types(pid, 4, line);
    caller_call(&c, "emmap", 3,
                TUPLE(0, make_term("subscribe"), make_term("%" PRIu64, other_one), peer_ref(7),
                      make_term("5")));
    caller_call(&c, "emmap", 4, make_term("{close,%" PRIu64 "}", one));
    shows("error: closed (the handle is closed)\n");
    replies_to_console(pid, 6, make_term("ok"));
    shows("ok\n");
    say(TUPLE(FRAME_EXIT2, peer_pid(1), pid, make_term("kill")), nothing);
    skip_messages();
    is(show_term(hears(FRAME_EXIT, 3)), "killed");
}

/* --- the node ----------------------------------------------------------------------------------
 */

static void it_answers_what_tools_ask(void **state)
{
    (void)state;
    is(gives("erlang,node,[]"), "{res,return,emmap@localhost}");
    is(gives("erlang,system_info,[otp_release]"), "{res,return,\"25\"}");
    is(gives("erlang,registered,[]"), "{res,return,[emmap,net_kernel,rex]}");
    is(gives("erlang,whereis,[nosuch]"), "{res,return,undefined}");
    is(gives("application,get_env,[stdlib,x,default]"), "{res,return,default}");
    is(gives("code,ensure_loaded,[shell]"), "{res,return,{module,shell}}");
    is(gives("code,ensure_loaded,[lists]"), "{res,return,{error,nofile}}");
    is(gives("net_kernel,get_net_ticktime,[]"), "{res,return,60}");
    assert_memory_equal(gives("erlang,memory,[]"), "{res,return,[{total,", 20);
    is(gives("erlang,is_process_alive,[a]"),
       "{res,error,badarg,[{erlang,is_process_alive,[a],[]}]}");
}

/* A few bytes do not ask for gigabytes. */
static void process_info_takes_each_item_once(void **state)
{
    (void)state;
    struct bytes args = {0};
    const struct span pid = starts_console();
    const char *const lists[] = {
        "[status,trap_exit,links,monitors,monitored_by,message_queue_len,status]",
        "[status,trap_exit,links,monitors,monitored_by,message_queue_len,status,status]"};
    for (int i = 0; i < 2; i++) {
        args.len = 0;
        add_u8(&args, ERL_LIST_EXT);
        add_u32(&args, 2);
        add_span(&args, pid);
        add_span(&args, make_term("%s", lists[i]));
        add_u8(&args, ERL_NIL_EXT);
        say(TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("rex")),
            TUPLE(0, make_term("'$gen_call'"), caller_with(peer_ref(1)),
                  TUPLE(0, make_term("call"), make_term("erlang"), make_term("process_info"),
                        bytes_span(&args), make_term("user"))));
        assert_memory_equal(replies(1), i == 0 ? "[{status,waiting}" : "{badrpc,{EXIT,{b", 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_call_of_a_request_returns_its_reply),
        TEST(what_is_not_there_is_undefined),
        TEST(a_bare_function_raises),
        TEST(a_call_may_wait),
        TEST(who_looks_away_gets_nothing),
        TEST(a_lease_is_the_callers),
        TEST(a_spawned_function_ends_normally),
        TEST(who_is_linked_hears_the_end),
        TEST(an_exit_signal_ends_it),
        TEST(it_ends_with_whom_it_is_linked_to),
        TEST(a_link_brings_kill_as_a_reason),
        TEST(what_is_spawned_is_on_its_own),
        TEST(an_exit_of_a_stranger_is_nothing),
        TEST(all_peers_see_it),
        TEST(rex_runs_calls),
        TEST(rex_sends_to_a_name),
        TEST(a_call_of_rex_can_be_taken_back),
        TEST(an_alias_of_the_node_gets_no_answer),
        TEST(a_queue_tells_its_state),
        TEST(too_many_processes_are_refused),
        TEST(the_limit_is_each_peers_own),
        TEST(what_processes_keep_is_bounded),
        TEST(a_stranger_spawns_nothing),
        TEST(a_fun_takes_its_own_number_of_arguments),
        TEST(a_console_speaks_once_it_is_linked_to),
        TEST(a_console_that_nobody_hears_makes_room),
        TEST(an_interrupt_does_not_end_a_console),
        TEST(a_late_answer_is_none_to_the_next),
        TEST(a_console_ends_with_its_group_leader),
        TEST(links_do_not_fill_a_console),
        TEST(a_console_goes_on_when_the_engine_rests),
        TEST(it_answers_what_tools_ask),
        TEST(process_info_takes_each_item_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
