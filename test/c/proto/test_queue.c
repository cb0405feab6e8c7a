/* Queues as peers see them: items, leases, those who wait. */
#include <inttypes.h>
#include <pthread.h>

#include "proto/entry.h"
#include "proto/reply.h"
#include "store/put.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "support/peer.h"
#include "sys/guard.h"
#include "sys/os.h"

static struct host host;
static struct peer peer;
static struct peer other;

static int setup(void **state)
{
    (void)state;
    host_init(&host);
    host.options.max_frame = 16 << 20;
    host.options.max_leases = 5;
    host.options.max_waiting = 5;
    host.options.max_subscribers = 2;
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    peer_open(&other, &host, "other@localhost");
    other.pid = 9;
    other.next_ref = 1000;
    return 0;
}

static void reopen_other(void)
{
    peer_close(&other);
    peer_open(&other, &host, "other@localhost");
    other.pid = 9;
    other.next_ref = 1000;
}

static int teardown(void **state)
{
    (void)state;
    peer_close(&peer);
    peer_close(&other);
    host_close(&host);
    return 0;
}

static uint64_t open_queue(struct peer *p, const char *options)
{
    return opened(ask(p, "{open_queue,\"q\",0,[%s]}", options));
}

static void push(uint64_t q, const char *item)
{
    is(ask(&peer, "{push,%" PRIu64 ",%s}", q, item), "ok");
}

static void start(struct peer *p, const char *format, uint64_t q)
{
    call(p, make_term(format, q));
}

static void hears_nothing(struct peer *p)
{
    for (int i = 0; i < 5; i++)
        assert_false(anything(p));
}

/* Until the loop has done what it can without waiting. */
static void settle(void)
{
    for (int i = 0; i < 5; i++)
        uv_run(&host.loop, UV_RUN_NOWAIT);
}

static void ends(struct peer *p)
{
    client_down(p->client, p->monitored);
}

static void items_leave_in_the_order_of_arrival(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "nil");
    push(q, "one");
    push(q, "{two,2}");
    is(ask(&peer, "{push_many,%" PRIu64 ",[three,[4],five]}", q), "ok");
    is(ask(&peer, "{length,%" PRIu64 "}", q), "5");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "one");
    is(ask(&peer, "{pop_wait,%" PRIu64 ",0}", q), "{ok,{two,2}}");
    is(ask(&peer, "{pop_many,%" PRIu64 ",2}", q), "{ok,[three,[4]]}");
    is(ask(&peer, "{pop_many,%" PRIu64 ",2}", q), "{ok,[five]}");
    is(ask(&peer, "{pop_many,%" PRIu64 ",2}", q), "{ok,[]}");
    is(ask(&peer, "{pop_wait,%" PRIu64 ",0}", q), "empty");
}

static void a_list_of_small_numbers_is_many_items(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",\"AB\"}", q), "ok");
    is(ask(&peer, "{pop_many,%" PRIu64 ",9}", q), "{ok,[65,66]}");
    is(ask(&peer, "{push_many,%" PRIu64 ",[]}", q), "ok");
    is(ask(&peer, "{length,%" PRIu64 "}", q), "0");
}

/* Is the request answered before the loop goes on? */
static bool is_answered_here(const char *format, uint64_t q)
{
    start(&peer, format, q);
    const bool here = peer.first != NULL;
    free(hear(&peer));
    return here;
}

static void long_looks_do_not_hold_the_loop(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[one,two,three]}", q), "ok");
    assert_true(is_answered_here("{peek_many,%" PRIu64 ",2000}", q));
    assert_true(is_answered_here("{rpeek_many,%" PRIu64 ",2000}", q));
    assert_true(is_answered_here("{peek_buried,%" PRIu64 ",2000}", q));
    assert_false(is_answered_here("{peek_many,%" PRIu64 ",1000000000}", q));
    assert_false(is_answered_here("{rpeek_many,%" PRIu64 ",1000000000}", q));
    assert_false(is_answered_here("{peek_buried,%" PRIu64 ",1000000000}", q));
    is(ask(&peer, "{peek_many,%" PRIu64 ",1000000000}", q), "{ok,[{1,one},{2,two},{3,three}]}");
    is(ask(&peer, "{rpeek_many,%" PRIu64 ",1000000000}", q), "{ok,[{3,three},{2,two},{1,one}]}");
}

static void by_name_it_is_the_same_queue(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    push(q, "one");
    is(ask(&other, "{pop,\"q\"}"), "one");
    is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    is(ask(&other, "{push,\"q\",two}"), "ok");
    is(ask(&other, "{pop,\"q\"}"), "two");
    is(ask(&other, "{push,\"none\",two}"), "{error,enoent}");
}

static void wrong_requests_change_nothing(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    push(q, "one");
    is(ask(&peer, "{push_many,%" PRIu64 ",a}", q), "{error,badarg}");
    is(ask(&peer, "{pop_many,%" PRIu64 ",0}", q), "{error,badarg}");
    is(ask(&peer, "{pop_wait,%" PRIu64 ",-1}", q), "{error,badarg}");
    is(ask(&peer, "{take,%" PRIu64 ",0,0}", q), "{error,badarg}");
    is(ask(&peer, "{ack_many,%" PRIu64 ",[x]}", q), "{error,badarg}");
    is(ask(&peer, "{subscribe,%" PRIu64 ",x,1}", q), "{error,badarg}");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0}", q), "{error,{wrong_kind,queue}}");
    is(ask(&peer, "{batch,[{pop_wait,%" PRIu64 ",1}]}", q), "{ok,[{error,badarg}]}");
    is(ask(&peer, "{length,%" PRIu64 "}", q), "1");
    is(ask(&peer, "{open_queue,\"q\",0,[private]}"), "{error,{bad_option,private}}");
    is(ask(&peer, "{open_queue,\"q\",0,[{max_items,0}]}"), "{error,{bad_option,{max_items,0}}}");
    uint64_t c = opened(ask(&peer, "{open_counters,\"c\",1}"));
    is(ask(&peer, "{push,%" PRIu64 ",a}", c), "{error,{wrong_kind,counters}}");
    is(ask(&peer, "{open_queue,\"c\",0,[]}"), "{error,{wrong_kind,counters}}");
    is(ask(&peer, "{close,%" PRIu64 "}", c), "ok");
    is(ask(&peer, "{open_queue,\"c\",0,[]}"), "{error,{not_a,queue}}");
}

static void options_are_kept_in_the_file(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "{max_items,2}");
    push(q, "one");
    push(q, "two");
    is(ask(&peer, "{push,%" PRIu64 ",three}", q), "{error,full}");
    is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    q = open_queue(&peer, "");
    is(ask(&peer, "{push,%" PRIu64 ",three}", q), "{error,full}");
    q = open_queue(&peer, "{overflow,drop_head}");
    push(q, "three");
    is(ask(&peer, "{pop_many,%" PRIu64 ",9}", q), "{ok,[two,three]}");
}

static void push_many_of_100_bytes(uint64_t q, uint32_t n)
{
    static const uint8_t bytes[100];
    struct buf request;
    buf_init(&request, SIZE_MAX);
    reply_tuple(&request, 3);
    reply_atom(&request, "push_many");
    reply_uint64(&request, q);
    reply_list(&request, n);
    for (uint32_t i = 0; i < n; i++)
        reply_binary(&request, span_of(bytes, sizeof bytes));
    reply_nil(&request);
    is(ask_term(&peer, span_of(request.at, request.len)), "ok");
    buf_fini(&request);
}

static pthread_t loop_thread;
static unsigned stores_of_loop;

static void count_store(const struct map *m, uint64_t pos, const void *from, size_t len)
{
    (void)m;
    (void)pos;
    (void)from;
    (void)len;
    stores_of_loop += pthread_equal(pthread_self(), loop_thread) != 0;
}

static void much_is_dropped_by_workers(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    for (int i = 0; i < 5; i++)
        push_many_of_100_bytes(q, 100000);
    q = open_queue(&peer, "{max_items,1000},{overflow,drop_head}");
    loop_thread = pthread_self();
    stores_of_loop = 0;
    put_watch = count_store;
    push(q, "one");
    put_watch = NULL;
    assert_in_range(stores_of_loop, 1, 5000);
    is(ask(&peer, "{length,%" PRIu64 "}", q), "1000");
    is(ask(&peer, "{peek_many,%" PRIu64 ",1,500001}", q), "{ok,[{500001,one}]}");
}

static void a_waiter_gets_the_next_item(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    start(&other, "{pop_wait,%" PRIu64 ",infinity}", q2);
    hears_nothing(&other);
    push(q, "late");
    is(heard(&other), "{ok,late}");
    is(ask(&peer, "{length,%" PRIu64 "}", q), "0");
}

static void first_come_first_served(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    start(&other, "{pop_wait,%" PRIu64 ",infinity}", q2);
    start(&other, "{take,%" PRIu64 ",infinity}", q2);
    settle();
    is(ask(&peer, "{push_many,%" PRIu64 ",[one,two,three]}", q), "ok");
    is(heard(&other), "{ok,one}");
    is(heard(&other), "{ok,2,1,two}");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "three");
}

static void a_wait_ends_with_its_time(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{pop_wait,%" PRIu64 ",20}", q), "empty");
    is(ask(&peer, "{take_many,%" PRIu64 ",3,20}", q), "{ok,[]}");
    push(q, "one");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "one");
}

static void who_has_ended_gets_nothing(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    start(&other, "{pop_wait,%" PRIu64 ",infinity}", q2);
    settle();
    assert_int_not_equal(other.monitored, 0);
    ends(&other);
    push(q, "one");
    hears_nothing(&other);
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "one");
}

static void who_takes_back_its_call_gets_nothing(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    start(&other, "{pop_wait,%" PRIu64 ",infinity}", q2);
    settle();
    client_demonitor(other.client, peer_ref(other.next_ref - 1));
    push(q, "one");
    hears_nothing(&other);
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "one");
}

static void an_item_is_leased_until_acked(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    push(q, "job");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,1,job}");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "nil");
    is(ask(&other, "{ack,\"q\",1}"), "{error,not_leased}");
    is(ask(&peer, "{ack,%" PRIu64 ",2}", q), "{error,not_leased}");
    is(ask(&peer, "{ack,%" PRIu64 ",1}", q), "ok");
    is(ask(&peer, "{ack,%" PRIu64 ",1}", q), "{error,not_leased}");
}

static void a_released_item_keeps_its_place(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[one,two,three]}", q), "ok");
    is(ask(&peer, "{take_many,%" PRIu64 ",2}", q), "{ok,[{1,1,one},{2,1,two}]}");
    is(ask(&peer, "{release,%" PRIu64 ",1}", q), "ok");
    is(ask(&peer, "{release_many,%" PRIu64 ",[2,3],unseen}", q), "{error,{not_leased,[3]}}");
    is(ask(&peer, "{take_many,%" PRIu64 ",9}", q), "{ok,[{1,2,one},{2,1,two},{3,1,three}]}");
    is(ask(&peer, "{ack_many,%" PRIu64 ",[3,1,2]}", q), "ok");
    is(ask(&peer, "{length,%" PRIu64 "}", q), "0");
}

static void the_end_of_a_process_gives_its_items_back(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[one,two]}", q), "ok");
    is(ask(&other, "{take_many,%" PRIu64 ",2}", q2), "{ok,[{1,1,one},{2,1,two}]}");
    start(&peer, "{take,%" PRIu64 ",infinity}", q);
    hears_nothing(&peer);
    ends(&other);
    is(heard(&peer), "{ok,1,2,one}");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,2,2,two}");
}

static void the_end_of_a_connection_gives_its_items_back(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    push(q, "one");
    is(ask(&other, "{take,%" PRIu64 "}", q2), "{ok,1,1,one}");
    start(&peer, "{take,%" PRIu64 ",infinity}", q);
    hears_nothing(&peer);
    reopen_other();
    is(heard(&peer), "{ok,1,2,one}");
}

static void a_lease_ends_with_its_time(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "{lease_ms,30}");
    push(q, "one");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,1,one}");
    is(ask(&peer, "{touch,%" PRIu64 ",1}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 ",infinity,infinity}", q), "{ok,1,2,one}");
    is(ask(&peer, "{take,%" PRIu64 ",100}", q), "empty");
    is(ask(&peer, "{release,%" PRIu64 ",1}", q), "ok");
}

static void a_delay_is_waited_for(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    push(q, "one");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,1,one}");
    is(ask(&peer, "{release,%" PRIu64 ",1,200}", q), "ok");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "nil");
    is(ask(&peer, "{take,%" PRIu64 ",infinity}", q), "{ok,1,2,one}");
}

static void worn_out_items_are_buried(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "{max_attempts,2}");
    push(q, "bad");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,1,bad}");
    is(ask(&peer, "{release,%" PRIu64 ",1}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,2,bad}");
    is(ask(&peer, "{release,%" PRIu64 ",1}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "empty");
    is(ask(&peer, "{peek_buried,%" PRIu64 ",5}", q), "{ok,[{1,2,bad}]}");
    is(ask(&peer, "{kick,%" PRIu64 ",5}", q), "{ok,1}");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,1,bad}");
    is(ask(&peer, "{bury,%" PRIu64 ",1}", q), "ok");
    is(ask(&other, "{ack,\"q\",1}"), "ok");
    is(ask(&peer, "{peek_buried,%" PRIu64 ",5}", q), "{ok,[]}");
}

/* Until the reply to this is another. */
static const char *changes_from(struct peer *p, const char *request, const char *reply)
{
    const char *seen = reply;
    for (int i = 0; i < 20000 && strcmp(seen, reply) == 0; i++) {
        anything(p); /* lets the loop run */
        seen = ask(p, "%s", request);
    }
    return seen;
}

static uint64_t open_with_dead_letters(const char *name)
{
    return opened(ask(&peer, "{open_queue,\"q\",0,[{max_attempts,1},{dead_letter,\"%s\"}]}", name));
}

static void wear_out(uint64_t q, const char *taken)
{
    is(ask(&peer, "{take,%" PRIu64 "}", q), taken);
    is(ask(&peer, "{release_many,%" PRIu64 ",[%s]}", q, (char[]){taken[4], 0}), "ok");
}

static void worn_out_items_go_to_the_dead_letters(void **state)
{
    (void)state;
    uint64_t q = open_with_dead_letters("dead");
    is(ask(&peer, "{push_many,%" PRIu64 ",[bad,worse,good]}", q), "ok");
    wear_out(q, "{ok,1,1,bad}");
    wear_out(q, "{ok,2,1,worse}");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "good");
    is(changes_from(&other, "{take,\"dead\"}", "{error,enoent}"), "empty");
    is(changes_from(&other, "{take,\"dead\"}", "empty"), "{ok,1,1,bad}");
    is(changes_from(&other, "{take,\"dead\"}", "empty"), "{ok,2,1,worse}");
    is(ask(&peer, "{peek_buried,%" PRIu64 ",9}", q), "{ok,[]}");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "empty");
}

static void dead_letters_can_be_taken_while_they_come(void **state)
{
    (void)state;
    uint64_t q = open_with_dead_letters("dead");
    for (int i = 0; i < 30; i++) {
        is(ask(&peer, "{push,%" PRIu64 ",bad}", q), "ok");
        start(&peer, "{take,%" PRIu64 "}", q);
        free(hear(&peer));
        is(ask(&peer, "{release,%" PRIu64 ",%d}", q, i + 1), "ok");
        const char *seen = "nil";
        for (int k = 0; k < 20000 && strcmp(seen, "bad") != 0; k++) {
            anything(&other);
            seen = ask(&other, "{pop,\"dead\"}");
        }
        is(seen, "bad");
    }
    is(ask(&peer, "{peek_buried,%" PRIu64 ",9}", q), "{ok,[]}");
}

static void where_dead_letters_cannot_go_they_are_buried(void **state)
{
    (void)state;
    static const char *const places[] = {"no/such/directory/dead", "q"};
    uint64_t id = 1;
    for (size_t i = 0; i < 2; i++, id++) {
        char expected[64];
        uint64_t q = open_with_dead_letters(places[i]);
        push(q, "bad");
        is(ask(&peer, "{take,%" PRIu64 "}", q), i == 0 ? "{ok,1,1,bad}" : "{ok,2,1,bad}");
        is(ask(&peer, "{release,%" PRIu64 ",%" PRIu64 "}", q, id), "ok");
        snprintf(expected, sizeof expected, "{ok,[{%" PRIu64 ",1,bad}]}", id);
        is(changes_from(&peer, "{peek_buried,\"q\",9}", "{ok,[]}"), expected);
        is(ask(&peer, "{ack,%" PRIu64 ",%" PRIu64 "}", q, id), "ok");
    }
}

static void a_full_dead_letter_queue_takes_what_it_can(void **state)
{
    (void)state;
    uint64_t dead = opened(ask(&peer, "{open_queue,\"dead\",0,[{max_items,1}]}"));
    uint64_t q = open_with_dead_letters("dead");
    is(ask(&peer, "{push_many,%" PRIu64 ",[bad,worse]}", q), "ok");
    is(ask(&peer, "{take_many,%" PRIu64 ",2}", q), "{ok,[{1,1,bad},{2,1,worse}]}");
    is(ask(&peer, "{release_many,%" PRIu64 ",[1,2]}", q), "ok");
    is(changes_from(&peer, "{peek_buried,\"q\",9}", "{ok,[]}"), "{ok,[{2,1,worse}]}");
    is(ask(&peer, "{pop_many,%" PRIu64 ",9}", dead), "{ok,[bad]}");
}

static void a_request_of_the_daemon_is_unknown_to_others(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{move_in,%" PRIu64 ",\"0123456789abcdef\",1,1,x}", q),
       "{error,{unknown_request,move_in}}");
}

/* A call to a process of that name. */
static const char *ask_process(struct peer *p, const char *name, const char *request)
{
    call_process(p, client_process(p->client, make_term("%s", name)), make_term("%s", request));
    return heard(p);
}

static bool is_there(const char *name)
{
    return client_process(peer.client, make_term("%s", name)) != 0;
}

static void a_registered_queue_is_a_process(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "{register,jobs}");
    assert_true(is_there("jobs"));
    is(ask_process(&other, "jobs", "{push,one}"), "ok");
    is(ask_process(&other, "jobs", "{push,two}"), "ok");
    is(ask_process(&other, "jobs", "pop"), "one");
    is(ask_process(&other, "jobs", "length"), "1");
    is(ask_process(&other, "jobs", "{take,0}"), "{ok,2,1,two}");
    is(ask_process(&other, "jobs", "{ack,2}"), "ok");
    is(ask_process(&other, "jobs", "ping"), "{error,{unknown_request,ping}}");
    is(ask_process(&other, "jobs", "{open_queue,x,0,[]}"), "{error,{unknown_request,open_queue}}");
    is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    is(ask_process(&other, "jobs", "{push,three}"), "ok");
    is(ask_process(&other, "jobs", "pop"), "three");
    is(ask(&peer, "{open_queue,\"q2\",0,[{register,jobs}]}"), "{error,{already_registered,jobs}}");
    is(ask(&peer, "{open_queue,\"q2\",0,[{register,emmap}]}"),
       "{error,{bad_option,{register,emmap}}}");
    open_queue(&peer, "{register,jobs}");
    open_queue(&peer, "{register,none}");
    assert_false(is_there("jobs"));
}

static void names_outlive_the_server(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "{register,'odd name'}");
    push(q, "kept");
    peer_close(&peer);
    peer_close(&other);
    host_stop(&host);
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    peer_open(&other, &host, "other@localhost");
    is(ask_process(&peer, "'odd name'", "pop"), "kept");
}

static void looking_changes_nothing(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[one,two,three]}", q), "ok");
    is(ask(&peer, "{peek_many,%" PRIu64 ",2}", q), "{ok,[{1,one},{2,two}]}");
    is(ask(&peer, "{peek_many,%" PRIu64 ",9,2}", q), "{ok,[{2,two},{3,three}]}");
    is(ask(&peer, "{rpeek_many,%" PRIu64 ",2}", q), "{ok,[{3,three},{2,two}]}");
    is(ask(&peer, "{rpeek_many,%" PRIu64 ",9,1}", q), "{ok,[{1,one}]}");
    is(ask(&peer, "{length,%" PRIu64 "}", q), "3");
}

static const char *next_text(struct peer *p)
{
    struct message *m = hear(p);
    const char *text = show_term(span_of(m->bytes, m->len));
    free(m);
    return text;
}

static void subscribe(struct peer *p, uint64_t q, uint64_t ref, uint64_t credit)
{
    struct buf b;
    buf_init(&b, 1000);
    reply_tuple(&b, 4);
    reply_atom(&b, "subscribe");
    reply_uint64(&b, q);
    reply_raw(&b, peer_ref(ref));
    reply_uint64(&b, credit);
    is(ask_term(p, span_of(b.at, b.len)), "ok");
    buf_fini(&b);
}

static void has_item(const char *message, const char *item)
{
    if (strstr(message, item) == NULL)
        fail_msg("%s instead of %s", message, item);
}

static void a_subscriber_gets_items_up_to_its_credit(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    subscribe(&other, q2, 77, 2);
    is(ask(&peer, "{push_many,%" PRIu64 ",[one,two,three]}", q), "ok");
    has_item(next_text(&other), ",1,1,one}");
    has_item(next_text(&other), ",2,1,two}");
    hears_nothing(&other);
    is(ask(&other, "{ack,%" PRIu64 ",1}", q2), "ok");
    has_item(next_text(&other), ",3,1,three}");
    ends(&other);
    is(ask(&peer, "{take_many,%" PRIu64 ",9}", q), "{ok,[{2,2,two},{3,2,three}]}");
}

static void who_waits_still_waits_after_erase(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    start(&other, "{take,%" PRIu64 ",infinity}", q2);
    settle();
    is(ask(&peer, "{erase,%" PRIu64 "}", q), "ok");
    push(q, "one");
    is(heard(&other), "{ok,1,1,one}");
}

/* Whatever was leased to whom: who has been without credit longest comes first. */
static void erase_gives_all_credit_back(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    subscribe(&peer, q, 77, 2);
    push(q, "a1");
    has_item(next_text(&peer), ",1,1,a1}");
    subscribe(&other, q2, 78, 1);
    is(ask(&other, "{push_many,%" PRIu64 ",[b2,c3]}", q2), "ok");
    has_item(next_text(&peer), ",2,1,b2}");
    has_item(next_text(&other), ",3,1,c3}");
    is(ask(&peer, "{ack,%" PRIu64 ",1}", q), "ok");
    push(q, "d4");
    has_item(next_text(&peer), ",4,1,d4}");
    is(ask(&peer, "{erase,%" PRIu64 "}", q), "ok");
    push(q, "e5");
    has_item(next_text(&other), ",5,1,e5}");
}

static const char *unsubscribe(struct peer *p, uint64_t q, uint64_t ref)
{
    struct buf b;
    buf_init(&b, 1000);
    reply_tuple(&b, 4);
    reply_atom(&b, "unsubscribe");
    reply_uint64(&b, q);
    reply_raw(&b, peer_ref(ref));
    reply_atom(&b, "keep");
    const char *text = ask_term(p, span_of(b.at, b.len));
    buf_fini(&b);
    return text;
}

static void an_ended_subscription_names_what_it_left(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    subscribe(&peer, q, 77, 5);
    is(unsubscribe(&peer, q, 78), "{error,badarg}");
    is(unsubscribe(&peer, q, 77), "{ok,[]}");
    subscribe(&peer, q, 79, 5);
    push(q, "one");
    has_item(next_text(&peer), ",1,1,one}");
    is(unsubscribe(&peer, q, 79), "{ok,[1]}");
    push(q, "two");
    hears_nothing(&peer);
    is(ask(&peer, "{ack,%" PRIu64 ",1}", q), "ok");
    is(ask(&peer, "{release_many,%" PRIu64 ",[],unseen}", q), "ok");
}

/* What no push lets in. */
static void put_into_file(const char *path, const struct span *items, size_t n)
{
    const struct turn t = {.now_ms = 1000000000000, .may_wait = true};
    const struct queue_change none = {.given = 0};
    struct object o = {.kind = OBJECT_QUEUE};
    char why[QUEUE_WHY];
    uint64_t first;
    const int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(queue_make(fd, &queue_limits, &none, t.now_ms), OK);
    const uint64_t size = (uint64_t)lseek(fd, 0, SEEK_END);
    assert_int_equal(map_open(&o.map, fd, size, true, MAP_OF_FILE), OK);
    assert_int_equal(queue_open(&o, &queue_limits, "q", t.now_ms, why), OK);
    assert_int_equal(queue_push(&o, &t, items, n, &first), OK);
    object_close(&o);
}

static void what_is_no_term_is_no_item(void **state)
{
    (void)state;
    const struct span items[] = {span_of("\xff\xff\xff", 3), span_of("w\1a", 3),
                                 span_of("w\1bb", 4),        span_of("l\0\0\0\1w\1a", 8),
                                 span_of("w\1c", 3),         span_of("m\xff\xff\xff\xff", 5)};
    put_into_file(folder_file(host.dir, "q"), items, sizeof items / sizeof items[0]);
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{peek_many,%" PRIu64 ",9}", q), "{ok,[{2,a},{5,c}]}");
    is(ask(&peer, "{rpeek_many,%" PRIu64 ",9}", q), "{ok,[{5,c},{2,a}]}");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,2,1,a}");
    is(ask(&peer, "{pop_many,%" PRIu64 ",9}", q), "{ok,[c]}");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "nil");
    assert_non_null(strstr(ask(&peer, "{info,%" PRIu64 "}", q), "damaged=>4,"));
}

static void limits_are_told(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[1,2,3,4,5,6]}", q), "ok");
    is(ask(&peer, "{take_many,%" PRIu64 ",9}", q),
       "{ok,[{1,1,1},{2,1,2},{3,1,3},{4,1,4},{5,1,5}]}");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{error,{limit,max_leases}}");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "6");
    for (int i = 0; i < 5; i++)
        start(&peer, "{pop_wait,%" PRIu64 ",infinity}", q);
    is(ask(&peer, "{pop_wait,%" PRIu64 ",infinity}", q), "{error,{limit,max_waiting}}");
}

static void closing_answers_those_who_wait(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    start(&peer, "{pop_wait,%" PRIu64 ",infinity}", q);
    settle();
    start(&peer, "{close,%" PRIu64 "}", q);
    const char *first = heard(&peer);
    const char *second = heard(&peer);
    assert_true(strcmp(first, "ok") == 0 || strcmp(second, "ok") == 0);
    assert_true(strcmp(first, "{error,closed}") == 0 || strcmp(second, "{error,closed}") == 0);
}

static void erase_takes_leases_along(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[one,two]}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,1,one}");
    is(ask(&peer, "{erase,%" PRIu64 "}", q), "ok");
    is(ask(&peer, "{ack,%" PRIu64 ",1}", q), "{error,not_leased}");
    is(ask(&peer, "{length,%" PRIu64 "}", q), "0");
    push(q, "three");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,3,1,three}");
}

static void a_failed_queue_tells_everybody(void **state)
{
    (void)state;
    const struct os real = os;
    uint64_t q = open_queue(&peer, "");
    uint64_t q2 = open_queue(&other, "");
    push(q, "one");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,1,one}");
    start(&other, "{pop_wait,%" PRIu64 ",infinity}", q2);
    settle();
    os.sync = sync_fails;
    is(ask(&peer, "{sync,%" PRIu64 "}", q), "{error,eio}");
    is(heard(&other), "{error,eio}");
    is(ask(&peer, "{push,%" PRIu64 ",two}", q), "{error,eio}");
    is(ask(&peer, "{ack,%" PRIu64 ",1}", q), "{error,eio}");
    is(ask(&peer, "{pop_wait,%" PRIu64 ",infinity}", q), "{error,eio}");
    os = real;
    q = open_queue(&peer, "");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,2,one}");
    is(ask(&peer, "{ack,%" PRIu64 ",1}", q), "ok");
}

static void items_of_bulk_go_through_a_worker(void **state)
{
    (void)state;
    enum { BIG = 3 << 20 };
    uint64_t q = open_queue(&peer, "");
    struct buf b;
    buf_init(&b, 64 << 20);
    reply_tuple(&b, 3);
    reply_atom(&b, "push");
    reply_uint64(&b, q);
    memset(reply_bytes(&b, BIG), 'x', BIG);
    is(ask_term(&peer, span_of(b.at, b.len)), "ok");
    is(ask_term(&peer, span_of(b.at, b.len)), "ok");
    buf_fini(&b);
    start(&peer, "{take,%" PRIu64 ",infinity}", q);
    struct message *m = hear(&peer);
    assert_in_range(m->len, BIG, BIG + 200);
    free(m);
    start(&other, "{pop_wait,\"q\",infinity}%.0" PRIu64, q);
    m = hear(&other);
    assert_in_range(m->len, BIG, BIG + 200);
    free(m);
    is(ask(&peer, "{ack,%" PRIu64 ",1}", q), "ok");
}

static void cast(struct peer *p, struct span request)
{
    struct buf b;
    buf_init(&b, 1000);
    reply_tuple(&b, 2);
    reply_atom(&b, "$gen_cast");
    reply_raw(&b, request);
    tell(p, span_of(b.at, b.len));
    buf_fini(&b);
}

static void casts_and_batches_work(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer,
           "{batch,[{push,%" PRIu64 ",a},{push,%" PRIu64 ",b},{pop_wait,%" PRIu64 ",0},sync]}", q,
           q, q),
       "{ok,[ok,ok,{ok,a},ok]}");
    cast(&peer, make_term("{push,%" PRIu64 ",c}", q));
    is(ask(&peer, "{barrier,%" PRIu64 "}", q), "{ok,1,0,none}");
    is(ask(&peer, "{pop_many,%" PRIu64 ",9}", q), "{ok,[b,c]}");
}

/* It has no sender who could hold an item. */
static void a_cast_leases_nothing(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[a,b]}", q), "ok");
    cast(&peer, make_term("{take,%" PRIu64 "}", q));
    cast(&peer, make_term("{take_many,%" PRIu64 ",2}", q));
    assert_int_equal(peer.monitored, 0);
    is(ask(&peer, "{take_many,%" PRIu64 ",9}", q), "{ok,[{1,1,a},{2,1,b}]}");
}

static void a_lease_outlives_the_handle(void **state)
{
    (void)state;
    uint64_t q = open_queue(&peer, "");
    is(ask(&peer, "{push_many,%" PRIu64 ",[one,two]}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,1,one}");
    is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    q = open_queue(&peer, "");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,2,1,two}"); /* the first is still leased */
    is(ask(&peer, "{ack_many,%" PRIu64 ",[1,2]}", q), "ok");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(items_leave_in_the_order_of_arrival),
        TEST(a_list_of_small_numbers_is_many_items),
        TEST(long_looks_do_not_hold_the_loop),
        TEST(by_name_it_is_the_same_queue),
        TEST(wrong_requests_change_nothing),
        TEST(options_are_kept_in_the_file),
        TEST(much_is_dropped_by_workers),
        TEST(a_waiter_gets_the_next_item),
        TEST(first_come_first_served),
        TEST(a_wait_ends_with_its_time),
        TEST(who_has_ended_gets_nothing),
        TEST(who_takes_back_its_call_gets_nothing),
        TEST(an_item_is_leased_until_acked),
        TEST(a_released_item_keeps_its_place),
        TEST(the_end_of_a_process_gives_its_items_back),
        TEST(the_end_of_a_connection_gives_its_items_back),
        TEST(a_lease_ends_with_its_time),
        TEST(a_delay_is_waited_for),
        TEST(worn_out_items_are_buried),
        TEST(worn_out_items_go_to_the_dead_letters),
        TEST(dead_letters_can_be_taken_while_they_come),
        TEST(where_dead_letters_cannot_go_they_are_buried),
        TEST(a_full_dead_letter_queue_takes_what_it_can),
        TEST(a_request_of_the_daemon_is_unknown_to_others),
        TEST(a_registered_queue_is_a_process),
        TEST(names_outlive_the_server),
        TEST(looking_changes_nothing),
        TEST(a_subscriber_gets_items_up_to_its_credit),
        TEST(who_waits_still_waits_after_erase),
        TEST(erase_gives_all_credit_back),
        TEST(an_ended_subscription_names_what_it_left),
        TEST(what_is_no_term_is_no_item),
        TEST(limits_are_told),
        TEST(closing_answers_those_who_wait),
        TEST(erase_takes_leases_along),
        TEST(a_failed_queue_tells_everybody),
        TEST(items_of_bulk_go_through_a_worker),
        TEST(casts_and_batches_work),
        TEST(a_cast_leases_nothing),
        TEST(a_lease_outlives_the_handle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
