/* Those who wait for items while other things happen: batches that go on, workers that have the
 * object, ends and cancels. */
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>

#include "proto/engine.h"
#include "proto/entry.h"
#include "proto/reply.h"
#include "support/check.h"
#include "support/peer.h"
#include "sys/os.h"
#include "sys/work.h"

enum { BIG = 300 << 10 }; /* too long for the loop */

static struct host host;
static struct peer peer;
static struct peer other;
static struct os real;
static pthread_t loop_thread;

static int setup(void **state)
{
    (void)state;
    real = os;
    loop_thread = pthread_self();
    host_init(&host);
    host.options.max_frame = 16 << 20;
    host.options.max_leases = 5;
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    peer_open(&other, &host, "other@localhost");
    other.pid = 9;
    other.next_ref = 1000;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_close(&peer);
    peer_close(&other);
    host_close(&host);
    os = real; /* now that no worker reads it */
    return 0;
}

/* --- what they say -----------------------------------------------------------------------------
 */

static uint64_t open_queue(struct peer *p, const char *options)
{
    return opened(ask(p, "{open_queue,\"q\",0,[%s]}", options));
}

static void hears(struct peer *p, const char *expected)
{
    is(heard(p), expected);
}

/* All that can be done without a worker. */
static void settle(void)
{
    for (int i = 0; i < 20; i++)
        uv_run(&host.loop, UV_RUN_NOWAIT);
}

/* Until no worker is at anything: they read the table of system calls. */
static void quiet(void)
{
    while (work_pending > 0)
        uv_run(&host.loop, UV_RUN_ONCE);
}

static void call_subscribe(struct peer *p, const char *queue, uint64_t ref, uint64_t credit)
{
    struct buf b;
    buf_init(&b, 10000);
    reply_tuple(&b, 4);
    reply_atom(&b, "subscribe");
    reply_text(&b, queue);
    reply_raw(&b, peer_ref(ref));
    reply_uint64(&b, credit);
    call(p, span_of(b.at, b.len));
    buf_fini(&b);
}

/* {batch, [{pop, Q}, {unsubscribe, "q", Ref}]} */
static void call_pop_and_unsubscribe(struct peer *p, uint64_t q, uint64_t ref)
{
    struct buf b;
    buf_init(&b, 10000);
    reply_tuple(&b, 2);
    reply_atom(&b, "batch");
    reply_list(&b, 2);
    reply_tuple(&b, 2);
    reply_atom(&b, "pop");
    reply_uint64(&b, q);
    reply_tuple(&b, 3);
    reply_atom(&b, "unsubscribe");
    reply_text(&b, "q");
    reply_raw(&b, peer_ref(ref));
    reply_nil(&b);
    call(p, span_of(b.at, b.len));
    buf_fini(&b);
}

/* One item that only a worker hands out, and these behind it. */
static void push_big_to(struct peer *p, const char *queue, const char *letters)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    reply_tuple(&b, 3);
    reply_atom(&b, "push_many");
    reply_text(&b, queue);
    reply_list(&b, 1 + (uint32_t)strlen(letters));
    memset(reply_bytes(&b, BIG), 'x', BIG);
    for (const char *c = letters; *c != '\0'; c++)
        reply_atom(&b, (char[]){*c, '\0'});
    reply_nil(&b);
    is(ask_term(p, span_of(b.at, b.len)), "ok");
    buf_fini(&b);
}

static void push_big_and(struct peer *p, const char *letters)
{
    push_big_to(p, "q", letters);
}

static void tell_cancel(struct peer *p, uint64_t ref)
{
    struct buf b;
    buf_init(&b, 10000);
    reply_tuple(&b, 2);
    reply_atom(&b, "$emmap_cancel");
    reply_raw(&b, peer_ref(ref));
    tell(p, span_of(b.at, b.len));
    buf_fini(&b);
}

/* --- a worker at a gate ------------------------------------------------------------------------
 */

static sem_t gate;
static sem_t at_gate;
static bool gated;
static bool for_waiters;

static int resident_behind_gate(void *at, size_t len)
{
    if (!pthread_equal(pthread_self(), loop_thread) &&
        (!for_waiters || host.server->entries->desk.served != NULL) &&
        __atomic_exchange_n(&gated, false, __ATOMIC_SEQ_CST)) {
        sem_post(&at_gate);
        sem_wait(&gate);
    }
    return real.resident(at, len);
}

/* The next worker that touches the file waits: any, or one that looks for something for a waiter.
 */
static void close_gate(bool waiters)
{
    sem_init(&gate, 0, 0);
    sem_init(&at_gate, 0, 0);
    quiet();
    os.resident = resident_behind_gate;
    for_waiters = waiters;
    gated = true;
}

static void run_until_at_gate(void)
{
    while (sem_trywait(&at_gate) != 0)
        uv_run(&host.loop, UV_RUN_NOWAIT);
}

static void open_gate(void)
{
    sem_post(&gate);
    while (host.server->entries->busy)
        uv_run(&host.loop, UV_RUN_ONCE);
    settle();
}

static void is_length(uint64_t q, const char *expected)
{
    is(ask(&peer, "{length,%" PRIu64 "}", q), expected);
}

/* --- batches -----------------------------------------------------------------------------------
 */

static void a_batch_may_end_who_is_next_in_line(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    call_pop_and_unsubscribe(&peer, q, 777);
    call_subscribe(&peer, "q", 777, 5);
    hears(&peer, "ok");
    hears(&peer, "{ok,[nil,ok]}");
    is(ask(&peer, "{push,%" PRIu64 ",a}", q), "ok");
    hears(&other, "{ok,a}");
}

static void a_batch_by_a_closed_handle_may_end_who_is_next(void **state)
{
    (void)state;
    open_queue(&peer, "");
    const uint64_t closed = open_queue(&peer, "");
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    call_pop_and_unsubscribe(&peer, closed, 777);
    call_subscribe(&peer, "q", 777, 5);
    call(&peer, make_term("{close,%" PRIu64 "}", closed));
    hears(&peer, "ok");
    hears(&peer, "ok");
    hears(&peer, "{ok,[{error,closed},ok]}");
}

static unsigned touched_beside_worker;

static int resident_watched(void *at, size_t len)
{
    const struct entry *e = host.server->entries;
    if (pthread_equal(pthread_self(), loop_thread) && e != NULL && e->busy)
        touched_beside_worker++;
    return real.resident(at, len);
}

static void a_batch_may_call_a_worker_while_others_are_served(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    quiet();
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    call(&peer, make_term("{batch,[{pop,%" PRIu64 "},{kick,%" PRIu64 ",9}]}", q, q));
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    call(&peer, make_term("{push_many,%" PRIu64 ",[a,b,c,d]}", q));
    struct entry *e = host.server->entries;
    memset(e->object.map.warm, 0, sizeof e->object.map.warm);
    touched_beside_worker = 0;
    os.resident = resident_watched;
    hears(&other, "{ok,a}");
    hears(&other, "{ok,c}");
    hears(&peer, "ok");
    hears(&peer, "{ok,[b,{ok,0}]}");
    assert_int_equal(touched_beside_worker, 0);
}

/* --- while a worker looks for them -------------------------------------------------------------
 */

static void a_wait_that_ends_meanwhile_gets_the_item(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    call(&other, make_term("{pop_wait,\"q\",50}"));
    settle();
    close_gate(true);
    push_big_and(&peer, "");
    run_until_at_gate();
    const uint64_t end = uv_hrtime() + 100000000;
    while (uv_hrtime() < end)
        uv_run(&host.loop, UV_RUN_NOWAIT);
    assert_null(other.first);
    open_gate();
    struct message *m = hear(&other);
    assert_true(m->len > BIG);
    free(m);
    is_length(q, "0");
}

static void who_ends_meanwhile_leaves_the_item(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    settle();
    close_gate(true);
    push_big_and(&peer, "a");
    run_until_at_gate();
    client_down(other.client, other.monitored);
    open_gate();
    is_length(q, "2");
    assert_null(other.first);
}

static void a_cancelled_request_leaves_the_item(void **state)
{
    (void)state;
    static const char *const requests[] = {"{take,\"q\"}", "{pop_wait,\"q\",0}",
                                           "{pop_many,\"q\",9}", "{take_many,\"q\",5}"};
    const uint64_t q = open_queue(&peer, "{max_attempts,1}");
    push_big_and(&peer, "a");
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        close_gate(false);
        tell_envelope(&other, &(struct enveloped){make_term("%s", requests[i]), 555 + i}, 1);
        run_until_at_gate();
        tell_cancel(&other, 555 + i);
        open_gate();
        is_length(q, "2"); /* and no delivery was counted, or it would be put aside */
        while (other.first != NULL)
            free(hear(&other));
    }
}

static void a_cancelled_request_first_in_line_is_not_done(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    call(&peer, make_term("{pop_wait,%" PRIu64 ",infinity}", q));
    settle();
    close_gate(true);
    push_big_and(&other, "a");
    run_until_at_gate(); /* the waiter is served */
    tell_envelope(&other, &(struct enveloped){make_term("{take,\"q\"}"), 556}, 1);
    call(&other, make_term("{pop,\"q\"}"));
    const uint64_t given_up = other.next_ref - 1;
    settle();
    assert_non_null(host.server->entries->first);
    tell_cancel(&other, 556);
    client_demonitor(other.client, peer_ref(given_up));
    open_gate();
    free(hear(&peer));
    is_length(q, "1");
}

static void a_lost_node_takes_nothing(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "{max_attempts,1}");
    call(&peer, make_term("{pop_wait,%" PRIu64 ",infinity}", q));
    settle();
    close_gate(true);
    push_big_and(&peer, "abc");
    run_until_at_gate();
    call(&other, make_term("{pop,\"q\"}"));
    call(&other, make_term("{take,\"q\"}"));
    call(&other, make_term("{push,\"q\",d}"));
    peer_close(&other);
    open_gate();
    peer_open(&other, &host, "other@localhost");
    free(hear(&peer));
    is(ask(&peer, "{pop_many,%" PRIu64 ",9}", q), "{ok,[a,b,c,d]}");
}

/* A plain pop that stands behind others waits as they do. */
static void who_is_lost_in_line_pops_nothing(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    settle();
    other.is_full = true;
    is(ask(&peer, "{push,%" PRIu64 ",a}", q), "ok");
    call(&other, make_term("{pop,\"q\"}"));
    call(&other, make_term("{pop_many,\"q\",9}"));
    settle();
    peer_close(&other);
    settle();
    peer_open(&other, &host, "other@localhost");
    is(ask(&peer, "{push,%" PRIu64 ",b}", q), "ok");
    settle();
    is(ask(&peer, "{pop_many,%" PRIu64 ",9}", q), "{ok,[a,b]}");
}

/* --- limits ------------------------------------------------------------------------------------
 */

static void who_waits_keeps_to_max_leases(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    for (int i = 0; i < 3; i++)
        call(&other, make_term("{take_many,\"q\",3,infinity}"));
    settle();
    is(ask(&peer, "{push_many,%" PRIu64 ",[a,b,c,d,e,f,g,h,i]}", q), "ok");
    for (int i = 0; i < 2; i++) {
        struct message *m = hear(&other);
        assert_non_null(strstr(reply_of(m), "{ok,[{"));
        free(m);
    }
    hears(&other, "{error,{limit,max_leases}}");
    assert_int_equal(other.client->lease_count, 5);
    is_length(q, "4");
}

static void takes_of_several_queues_keep_to_max_leases(void **state)
{
    (void)state;
    opened(ask(&peer, "{open_queue,\"r\",0,[]}"));
    const uint64_t q = open_queue(&peer, "");
    push_big_to(&peer, "r", "abc");
    push_big_and(&peer, "def");
    close_gate(false);
    call(&other, make_term("{take_many,\"q\",4}"));
    run_until_at_gate();
    call(&other, make_term("{take_many,\"r\",4}"));
    struct message *m = hear(&other);
    assert_true(m->len > BIG);
    free(m);
    open_gate();
    hears(&other, "{error,{limit,max_leases}}");
    assert_int_equal(other.client->lease_count, 4);
    is_length(q, "4");
}

static void who_waits_for_several_queues_keeps_to_max_leases(void **state)
{
    (void)state;
    opened(ask(&peer, "{open_queue,\"r\",0,[]}"));
    const uint64_t q = open_queue(&peer, "");
    call(&other, make_term("{take_many,\"q\",4,infinity}"));
    settle();
    push_big_to(&peer, "r", "abc");
    close_gate(true);
    push_big_and(&peer, "def");
    run_until_at_gate();
    call(&other, make_term("{take_many,\"r\",4}"));
    struct message *m = hear(&other);
    assert_true(m->len > BIG);
    free(m);
    open_gate();
    hears(&other, "{error,{limit,max_leases}}");
    assert_int_equal(other.client->lease_count, 4);
    is_length(q, "4");
}

static void credits_keep_to_max_leases(void **state)
{
    (void)state;
    open_queue(&peer, "");
    call_subscribe(&other, "q", 5, 6);
    hears(&other, "{error,{limit,max_leases}}");
    call_subscribe(&other, "q", 5, 3);
    hears(&other, "ok");
    call_subscribe(&other, "q", 6, 3);
    hears(&other, "{error,{limit,max_leases}}");
    call_subscribe(&other, "q", 5, 5);
    hears(&other, "ok");
    assert_int_equal(other.client->credit, 5);
}

static void hears_message_of(struct peer *p, uint64_t seq)
{
    struct message *m = hear(p);
    struct term t = term_in(span_of(m->bytes, m->len));
    assert_int_equal(term_tuple(&t), 5);
    assert_true(term_is_atom(&t, "emmap_queue"));
    term_any(&t);
    assert_int_equal(term_uint64(&t), seq);
    free(m);
}

static void call_unsubscribe_and_keep(struct peer *p, const char *queue, uint64_t ref)
{
    struct buf b;
    buf_init(&b, 10000);
    reply_tuple(&b, 4);
    reply_atom(&b, "unsubscribe");
    reply_text(&b, queue);
    reply_raw(&b, peer_ref(ref));
    reply_atom(&b, "keep");
    call(p, span_of(b.at, b.len));
    buf_fini(&b);
}

static void kept_leases_leave_no_room_for_credit(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[a,b,c,d,e,f]}", q), "ok");
    call_subscribe(&other, "q", 7, 4);
    hears(&other, "ok");
    for (uint64_t seq = 1; seq <= 4; seq++)
        hears_message_of(&other, seq);
    assert_int_equal(other.client->credit, 0);
    call_unsubscribe_and_keep(&other, "q", 7);
    hears(&other, "{ok,[1,2,3,4]}");
    call_subscribe(&other, "q", 8, 2);
    hears(&other, "{error,{limit,max_leases}}");
    call_subscribe(&other, "q", 8, 1);
    hears(&other, "ok");
    hears_message_of(&other, 5);
    assert_int_equal(other.client->lease_count, 5);
    is_length(q, "1");
}

static void unused_credit_is_not_taken(void **state)
{
    (void)state;
    open_queue(&peer, "");
    opened(ask(&peer, "{open_queue,\"r\",0,[]}"));
    is(ask(&peer, "{push_many,\"r\",[a,b,c,d]}"), "ok");
    call_subscribe(&other, "q", 7, 3);
    hears(&other, "ok");
    call(&other, make_term("{take_many,\"r\",9}"));
    hears(&other, "{ok,[{1,1,a},{2,1,b}]}");
    call(&other, make_term("{take,\"r\"}"));
    hears(&other, "{error,{limit,max_leases}}");
    is(ask(&peer, "{push,\"q\",x}"), "ok");
    hears_message_of(&other, 1);
    assert_int_equal(other.client->lease_count, 3);
    assert_int_equal(other.client->credit, 2);
    call(&other, make_term("{ack,\"q\",1}"));
    hears(&other, "ok");
    assert_int_equal(other.client->credit, 3);
    call_subscribe(&other, "q", 7, 2);
    hears(&other, "ok");
    call(&other, make_term("{take,\"r\"}"));
    hears(&other, "{ok,3,1,c}");
    assert_int_equal(other.client->lease_count + other.client->credit, 5);
}

/* Its credit is all there again, for the leases of the items that are no more are none. */
static void credit_comes_back_with_an_erased_queue(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[a,b,c,d]}", q), "ok");
    call_subscribe(&other, "q", 7, 3);
    hears(&other, "ok");
    for (uint64_t seq = 1; seq <= 3; seq++)
        hears_message_of(&other, seq);
    is(ask(&peer, "{erase,%" PRIu64 "}", q), "ok");
    settle();
    assert_int_equal(other.client->lease_count, 0);
    assert_int_equal(other.client->credit, 3);
    call_unsubscribe_and_keep(&other, "q", 7);
    hears(&other, "{ok,[]}");
    assert_int_equal(other.client->credit, 0);
}

static void what_all_hold_is_limited(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    host.server->options.max_all_leases = 4;
    is(ask(&peer, "{push_many,%" PRIu64 ",[a,b,c,d,e]}", q), "ok");
    is(ask(&peer, "{take_many,%" PRIu64 ",2}", q), "{ok,[{1,1,a},{2,1,b}]}");
    call_subscribe(&other, "q", 7, 3);
    hears(&other, "{error,{limit,max_all_leases}}");
    call_subscribe(&other, "q", 7, 2);
    hears(&other, "ok");
    hears_message_of(&other, 3);
    hears_message_of(&other, 4);
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{error,{limit,max_all_leases}}");
    is(ask(&peer, "{ack,%" PRIu64 ",1}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,5,1,e}");
    assert_int_equal(host.server->all.leases, 4);
}

static void who_waits_meets_what_all_hold(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    host.server->options.max_all_leases = 2;
    call(&other, make_term("{take_many,\"q\",9,infinity}"));
    call(&other, make_term("{take,\"q\",infinity}"));
    settle();
    is(ask(&peer, "{push_many,%" PRIu64 ",[a,b,c]}", q), "ok");
    hears(&other, "{ok,[{1,1,a},{2,1,b}]}");
    hears(&other, "{error,{limit,max_all_leases}}");
    is_length(q, "1");
}

static void all_who_wait_are_limited(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    host.server->options.max_all_waiting = 2;
    host.server->options.max_all_subscribers = 1;
    call(&peer, make_term("{pop_wait,%" PRIu64 ",infinity}", q));
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    is(ask(&peer, "{take,%" PRIu64 ",1000}", q), "{error,{limit,max_all_waiting}}");
    call_subscribe(&other, "q", 7, 1);
    hears(&other, "ok");
    call_subscribe(&peer, "q", 8, 1);
    hears(&peer, "{error,{limit,max_all_subscribers}}");
    call_subscribe(&other, "q", 7, 2);
    hears(&other, "ok");
    is(ask(&peer, "{push,%" PRIu64 ",a}", q), "ok");
    hears(&peer, "{ok,a}");
    call(&peer, make_term("{pop_wait,%" PRIu64 ",infinity}", q));
    settle();
    assert_int_equal(host.server->all.waiters, 2);
    assert_null(peer.first);
}

static void who_does_not_read_is_passed_over(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    settle();
    other.is_full = true;
    is(ask(&peer, "{push_many,%" PRIu64 ",[a,b]}", q), "ok");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "a");
    settle();
    assert_null(other.first);
    other.is_full = false;
    client_has_room(other.client);
    hears(&other, "{ok,b}");
}

static void who_reads_again_is_first_again(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    for (int i = 0; i < 3; i++)
        call(&other, make_term("{pop_wait,\"q\",infinity}"));
    call(&peer, make_term("{pop_wait,\"q\",infinity}"));
    call(&peer, make_term("{pop_wait,\"q\",infinity}"));
    settle();
    other.is_full = true;
    call(&peer, make_term("{push_many,%" PRIu64 ",[a,b,c]}", q));
    hears(&peer, "ok");
    hears(&peer, "{ok,a}");
    hears(&peer, "{ok,b}");
    other.is_full = false;
    client_has_room(other.client);
    call(&peer, make_term("{pop_wait,\"q\",infinity}"));
    hears(&other, "{ok,c}");
    is(ask(&other, "{push_many,\"q\",[d,e,f]}"), "ok");
    hears(&other, "{ok,d}");
    hears(&other, "{ok,e}");
    hears(&peer, "{ok,f}");
}

/* What is left after a turn's share keeps the loop awake. */
static void many_who_wait_are_served_in_turns(void **state)
{
    enum { MANY = 1500 };
    (void)state;
    open_queue(&peer, "");
    host.server->options.max_waiting = MANY;
    for (int i = 0; i < MANY; i++)
        call(&other, make_term("{pop_wait,\"q\",infinity}"));
    settle();
    struct buf b;
    buf_init(&b, 64 << 20);
    reply_tuple(&b, 3);
    reply_atom(&b, "push_many");
    reply_text(&b, "q");
    reply_list(&b, MANY);
    for (int i = 0; i < MANY; i++)
        reply_int64(&b, i);
    reply_nil(&b);
    call(&peer, span_of(b.at, b.len));
    buf_fini(&b);
    hears(&peer, "ok");
    assert_true(server_has_more(host.server));
    for (int i = 0; i < MANY; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "{ok,%d}", i);
        hears(&other, expected);
    }
    assert_false(server_has_more(host.server));
}

/* --- by name -----------------------------------------------------------------------------------
 */

static void who_waits_by_name_outlives_the_handle_of_another(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer, "");
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    settle();
    is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    settle();
    assert_null(other.first);
    is(ask(&peer, "{push,\"q\",a}"), "ok");
    hears(&other, "{ok,a}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_batch_may_end_who_is_next_in_line),
        TEST(a_batch_by_a_closed_handle_may_end_who_is_next),
        TEST(a_batch_may_call_a_worker_while_others_are_served),
        TEST(a_wait_that_ends_meanwhile_gets_the_item),
        TEST(who_ends_meanwhile_leaves_the_item),
        TEST(a_cancelled_request_leaves_the_item),
        TEST(a_cancelled_request_first_in_line_is_not_done),
        TEST(a_lost_node_takes_nothing),
        TEST(who_is_lost_in_line_pops_nothing),
        TEST(who_waits_keeps_to_max_leases),
        TEST(takes_of_several_queues_keep_to_max_leases),
        TEST(who_waits_for_several_queues_keeps_to_max_leases),
        TEST(credits_keep_to_max_leases),
        TEST(kept_leases_leave_no_room_for_credit),
        TEST(unused_credit_is_not_taken),
        TEST(credit_comes_back_with_an_erased_queue),
        TEST(what_all_hold_is_limited),
        TEST(who_waits_meets_what_all_hold),
        TEST(all_who_wait_are_limited),
        TEST(who_reads_again_is_first_again),
        TEST(many_who_wait_are_served_in_turns),
        TEST(who_does_not_read_is_passed_over),
        TEST(who_waits_by_name_outlives_the_handle_of_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
