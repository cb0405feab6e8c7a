/* Durable objects among clients: nobody is told what is not on the disk, many wait for one commit,
 * and what the journal cannot take is an error for all. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>

#include "proto/entry.h"
#include "proto/reply.h"
#include "store/journal.h"
#include "support/check.h"
#include "support/peer.h"
#include "sys/os.h"
#include "sys/work.h"

static struct host host;
static struct peer peer;
static struct peer other;
static struct os real;

/* Commits stop at a gate while it is shut: syncs of others than the loop. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool shut;
    bool fails;
    ino_t bad_inode; /* the file that cannot be synced, and does not stop; 0: none */
    unsigned syncs;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};

static int sync_at_gate(int fd)
{
    struct stat st;
    const ino_t inode = real.fstat(fd, &st) == 0 ? st.st_ino : 0;
    pthread_mutex_lock(&gate.lock);
    gate.syncs++;
    const bool is_bad = inode != 0 && inode == gate.bad_inode;
    while (gate.shut && !is_bad)
        pthread_cond_wait(&gate.opened, &gate.lock);
    const bool fails = gate.fails || is_bad;
    pthread_mutex_unlock(&gate.lock);
    if (fails)
        errno = EIO;
    return fails ? -1 : real.sync(fd);
}

/* The loop's n-th calloc of one struct has no memory, by the linker's --wrap; 0: there is some. The
 * compiler makes one of bytes from the malloc and memset of uthash, without which nothing goes on.
 */
static _Thread_local unsigned callocs_left;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-*) */
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return n == 1 && callocs_left > 0 && --callocs_left == 0 ? NULL : __real_calloc(n, size);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-*) */

static void set_gate(bool shut, bool fails)
{
    pthread_mutex_lock(&gate.lock);
    gate.shut = shut;
    gate.fails = fails;
    pthread_cond_broadcast(&gate.opened);
    pthread_mutex_unlock(&gate.lock);
}

static void cannot_be_synced(ino_t inode)
{
    pthread_mutex_lock(&gate.lock);
    gate.bad_inode = inode;
    pthread_mutex_unlock(&gate.lock);
}

static unsigned syncs(void)
{
    pthread_mutex_lock(&gate.lock);
    const unsigned n = gate.syncs;
    pthread_mutex_unlock(&gate.lock);
    return n;
}

static int setup(void **state)
{
    (void)state;
    real = os;
    os.sync = sync_at_gate;
    set_gate(false, false);
    host_init(&host);
    host.options.max_frame = 16 << 20;
    host.options.max_leases = 2000;
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
    callocs_left = 0;
    set_gate(false, gate.fails);
    cannot_be_synced(0);
    peer_close(&peer);
    peer_close(&other);
    host_close(&host);
    os = real;
    return 0;
}

/* --- what they say -----------------------------------------------------------------------------
 */

static uint64_t open_counters(struct peer *p)
{
    return opened(ask(p, "{open_counters,\"c\",4,[{durability,sync}]}"));
}

static uint64_t open_queue(struct peer *p)
{
    return opened(ask(p, "{open_queue,\"q\",0,[{durability,sync}]}"));
}

#define CALL(p, ...) call(p, make_term(__VA_ARGS__))

static void hears(struct peer *p, const char *expected)
{
    is(heard(p), expected);
}

/* All that can be done without a commit. */
static void settle(void)
{
    for (int i = 0; i < 20; i++)
        (void)anything(&peer);
    while (work_pending > 0)
        (void)anything(&peer);
    for (int i = 0; i < 20; i++)
        (void)anything(&peer);
}

static void nothing_is_heard(struct peer *p)
{
    settle();
    assert_null(p->first);
}

/* --- answers -----------------------------------------------------------------------------------
 */

static void a_change_is_answered_when_it_is_durable(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    set_gate(true, false);
    CALL(&peer, "{inc_counter,%" PRIu64 ",0,5}", c);
    nothing_is_heard(&peer);
    set_gate(false, false);
    hears(&peer, "{ok,0}");
}

/* Neither who asks for the value, nor what it is by its name, nor what it was before. */
static void nobody_sees_what_is_not_durable(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    const uint64_t theirs = opened(ask(&other, "{open_counters,\"c\",0}"));
    set_gate(true, false);
    CALL(&peer, "{inc_counter,%" PRIu64 ",0,5}", c);
    CALL(&other, "{read_counter,%" PRIu64 ",0}", theirs);
    CALL(&other, "{read_counter,%" PRIu64 ",3}", theirs);
    CALL(&other, "{batch,[ping,{read_counters,\"c\"}]}");
    nothing_is_heard(&other);
    is(ask(&other, "ping"), "pong");
    set_gate(false, false);
    hears(&peer, "{ok,0}");
    hears(&other, "{ok,5}");
    hears(&other, "{ok,0}");
    hears(&other, "{ok,[pong,{ok,[5,0,0,0]}]}");
}

/* Nor who opens it: the answer tells its length. Workers do the openings in the order in which they
 * come, so that the first would be heard long before the last. */
static void who_opens_sees_what_is_durable(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer);
    set_gate(true, false);
    CALL(&peer, "{push,%" PRIu64 ",item}", q);
    settle();
    CALL(&other, "{open_queue,\"q\",0,[]}");
    for (int i = 0; i < 20; i++)
        (void)opened(ask(&peer, "{open_counters,\"d%d\",1}", i));
    assert_null(other.first);
    set_gate(false, false);
    hears(&peer, "ok");
    struct message *m = hear(&other);
    assert_non_null(strstr(reply_of(m), "length=>1"));
    free(m);
}

static void other_objects_go_on(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    const uint64_t d = opened(ask(&peer, "{open_counters,\"d\",1}"));
    set_gate(true, false);
    CALL(&peer, "{inc_counter,%" PRIu64 ",0,5}", c);
    settle();
    is(ask(&other, "{read_counter,\"d\",0}"), "{ok,0}");
    is(ask(&other, "{inc_counter,\"d\",0,1}"), "{ok,0}");
    (void)d;
    set_gate(false, false);
    hears(&peer, "{ok,0}");
}

/* The commit has come, the loop has not been told yet: the second answer still comes second. */
static void answers_about_an_object_keep_their_order(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    CALL(&peer, "{inc_counter,%" PRIu64 ",0,5}", c);
    const struct object *o = &host.server->entries->object;
    assert_int_equal(journal_wait(host.server->journal, object_group(o)), OK);
    CALL(&peer, "{read_counter,%" PRIu64 ",0}", c);
    hears(&peer, "{ok,0}");
    hears(&peer, "{ok,5}");
    is(ask(&peer, "{read_counter,%" PRIu64 ",0}", c), "{ok,5}");
}

/* While one group is being written the next gathers: all of that with one sync. */
static void many_wait_for_one_commit(void **state)
{
    (void)state;
    enum { MANY = 50 };
    const uint64_t c = open_counters(&peer);
    unsigned before = syncs();
    set_gate(true, false);
    CALL(&peer, "{inc_counter,%" PRIu64 ",1}", c);
    while (syncs() == before)
        settle();
    before = syncs();
    for (int i = 0; i < MANY; i++) {
        CALL(i % 2 == 0 ? &peer : &other, "{inc_counter,%s,0,1}", "\"c\"");
        settle();
    }
    assert_int_equal(syncs(), before);
    set_gate(false, false);
    hears(&peer, "{ok,0}");
    for (int i = 0; i < MANY; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "{ok,%d}", i);
        hears(i % 2 == 0 ? &peer : &other, expected);
    }
    assert_int_equal(syncs(), before + 1);
}

/* {'$emmap_gather', Pid} */
static void gather_for(struct peer *p, uint32_t pid)
{
    struct buf b;
    buf_init(&b, 1000);
    reply_tuple(&b, 2);
    reply_atom(&b, "$emmap_gather");
    reply_raw(&b, peer_pid(pid));
    tell(p, span_of(b.at, b.len));
    buf_fini(&b);
}

/* An envelope of calls, who wait at references from 500 on; all of them late. */
static void tell_calls(struct peer *p, uint32_t n, const char *format, uint64_t id)
{
    static struct enveloped calls[5000];
    must(n <= sizeof calls / sizeof calls[0]);
    const struct span request = make_term(format, id);
    for (uint32_t i = 0; i < n; i++)
        calls[i] = (struct enveloped){.request = request, .ref = 500 + i};
    tell_envelope(p, calls, n);
}

static struct message *hears_message(struct peer *p, const char *expected)
{
    struct message *m = hear(p);
    is(show_term(span_of(m->bytes, m->len)), expected);
    return m;
}

#define INC "{inc_counter,%" PRIu64 ",0}"

static void late_answers_come_together(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    gather_for(&peer, 77);
    set_gate(true, false);
    tell_calls(&peer, 3, INC, c);
    free(hears_message(&peer, "{$emmap,5,[],[0,1,2]}"));
    settle();
    assert_null(peer.first);
    set_gate(false, false);
    struct message *m =
        hears_message(&peer, "{$emmap_late,[{#Ref,{ok,0}},{#Ref,{ok,1}},{#Ref,{ok,2}}]}");
    assert_false(m->to_alias);
    free(m);
    is(ask(&peer, INC, c), "{ok,3}");
    assert_null(peer.first);
}

static void a_late_answer_alone_goes_to_who_waits(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    gather_for(&peer, 77);
    tell_calls(&peer, 1, INC, c);
    free(hears_message(&peer, "{$emmap,5,[],[0]}"));
    struct message *m = hears_message(&peer, "{#Ref,{ok,0}}");
    assert_true(m->to_alias);
    free(m);
}

/* What was not asked to come together, or is long. */
static void other_late_answers_go_to_who_waits(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    const uint64_t f = opened(ask(&peer, "{open,\"f\",0,9000,[create,write,{durability,sync}]}"));
    tell_calls(&peer, 2, INC, c);
    free(hears_message(&peer, "{$emmap,5,[],[0,1]}"));
    free(hears_message(&peer, "{#Ref,{ok,0}}"));
    free(hears_message(&peer, "{#Ref,{ok,1}}"));
    gather_for(&peer, 77);
    is(ask(&peer, "{patomic_add,%" PRIu64 ",0,1}", f), "{ok,0}");
    set_gate(true, false);
    CALL(&peer, "{patomic_add,%" PRIu64 ",0,1}", f);
    tell_calls(&peer, 2, "{pread,%" PRIu64 ",0,9000}", f);
    free(hears_message(&peer, "{$emmap,5,[],[0,1]}"));
    set_gate(false, false);
    hears(&peer, "{ok,1}");
    for (int i = 0; i < 2; i++) {
        struct message *m = hear(&peer);
        assert_true(m->to_alias && m->len > 9000);
        free(m);
    }
}

/* The last process counts; a wrong one is none; and many bytes do not wait for the turn's end. */
static void the_last_process_hands_out(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    const uint64_t c = open_counters(&peer);
    gather_for(&peer, 77);
    gather_for(&peer, 78);
    tell(&peer, make_term("{'$emmap_gather',nobody}"));
    set_gate(true, false);
    tell_calls(&peer, MANY, INC, c);
    free(hear(&peer));
    while (client_is_behind(peer.client))
        client_go_on(peer.client);
    set_gate(false, false);
    uint32_t n = 0;
    unsigned messages = 0;
    for (; n < MANY; messages++) {
        struct message *m = hear(&peer);
        struct term t = term_in(span_of(m->bytes, m->len));
        assert_int_equal(term_tuple(&t), 2);
        assert_true(!m->to_alias && term_is_atom(&t, "$emmap_late"));
        n += (uint32_t)term_list(&t);
        free(m);
    }
    assert_true(n == MANY && messages > 1 && messages < 10);
}

static void who_is_gone_hears_nothing_together(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    const uint64_t same = open_counters(&other);
    gather_for(&other, 77);
    set_gate(true, false);
    tell_calls(&other, 3, INC, same);
    free(hear(&other));
    peer_close(&other);
    set_gate(false, false);
    is(ask(&peer, "{read_counter,%" PRIu64 ",0}", c), "{ok,3}");
    peer_open(&other, &host, "other@localhost");
}

static void a_batch_is_one_commit(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    const unsigned before = syncs();
    is(ask(&peer, "{batch,[{inc_counter,%" PRIu64 ",0,1},{inc_counter,%" PRIu64 ",0,1},sync]}", c,
           c),
       "{ok,[{ok,0},{ok,1},ok]}");
    assert_int_equal(syncs(), before + 1);
    is(ask(&peer, "{sync,%" PRIu64 "}", c), "ok");
    assert_int_equal(syncs(), before + 1); /* it is durable already */
}

static void a_barrier_waits_for_casts(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    set_gate(true, false);
    tell(&peer, make_term("{'$gen_cast',{inc_counter,%" PRIu64 ",0,1}}", c));
    CALL(&peer, "{barrier,%" PRIu64 "}", c);
    nothing_is_heard(&peer);
    set_gate(false, false);
    hears(&peer, "{ok,1,0,none}");
}

/* Many small changes at once are more than the journal has room for without waiting. */
static void a_worker_records_what_may_have_to_wait(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct buf request;
    const uint64_t r =
        opened(ask(&peer, "{open,\"r\",0,%d,[create,write,{durability,sync}]}", 16 * MANY));
    buf_init(&request, 1 << 20);
    reply_tuple(&request, 3);
    reply_atom(&request, "pwrite");
    reply_uint64(&request, r);
    reply_list(&request, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        reply_tuple(&request, 2);
        reply_uint64(&request, (uint64_t)16 * i);
        reply_binary(&request, span_text("x"));
    }
    reply_nil(&request);
    is(ask_term(&peer, span_of(request.at, request.len)), "ok"); /* its pages are there then */
    call(&peer, span_of(request.at, request.len));
    buf_fini(&request);
    assert_int_equal(work_pending, 1);
    hears(&peer, "ok");
    is(ask(&peer, "{pread,%" PRIu64 ",%d,1}", r, 16 * (MANY - 1)), "{ok,<<\"x\">>}");
}

/* --- deliveries --------------------------------------------------------------------------------
 */

static void an_item_is_delivered_when_it_is_durable(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer);
    CALL(&other, "{pop_wait,\"q\",60000}");
    settle();
    set_gate(true, false);
    CALL(&peer, "{push,%" PRIu64 ",item}", q);
    nothing_is_heard(&peer);
    nothing_is_heard(&other);
    set_gate(false, false);
    hears(&peer, "ok");
    hears(&other, "{ok,item}");
}

/* To "q", with a credit of a hundred. */
static void subscribe(struct peer *p)
{
    struct buf request;
    buf_init(&request, 4096);
    const struct span head = make_term("{subscribe,\"q\",x,100}");
    const struct span x = make_term("x");
    const struct span credit = make_term("100");
    buf_put(&request, head.at, head.len - x.len - credit.len);
    buf_put(&request, peer_ref(5).at, peer_ref(5).len);
    buf_put(&request, credit.at, credit.len);
    is(ask_term(p, span_of(request.at, request.len)), "ok");
    buf_fini(&request);
}

static void hears_item(struct peer *p, const char *expected)
{
    struct message *m = hear(p);
    assert_non_null(strstr(show_term(span_of(m->bytes, m->len)), expected));
    free(m);
}

static void a_subscriber_hears_what_is_durable(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer);
    subscribe(&other);
    set_gate(true, false);
    CALL(&peer, "{push,%" PRIu64 ",item}", q);
    nothing_is_heard(&other);
    set_gate(false, false);
    hears(&peer, "ok");
    hears_item(&other, ",1,1,item}");
}

/* What waits for a commit is as bounded as what waits for the peer to read. */
static void no_more_is_kept_for_a_subscriber_than_fits(void **state)
{
    (void)state;
    enum { ITEMS = 40, MOST = 2048, ONE = 1024 };
    const uint64_t q = open_queue(&peer);
    subscribe(&other);
    host.server->options.max_frame = MOST;
    set_gate(true, false);
    CALL(&peer,
         "{push_many,%" PRIu64 ",[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,a,b,"
         "c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t]}",
         q);
    nothing_is_heard(&other);
    assert_true(other.client->held_bytes > 0 && other.client->held_bytes <= MOST + ONE);
    set_gate(false, false);
    hears(&peer, "ok");
    for (int i = 1; i <= ITEMS; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, i <= 20 ? ",%d,1,%d}" : ",%d,1,%c}", i,
                 i <= 20 ? i : 'a' + i - 21);
        hears_item(&other, expected);
    }
}

/* Its answers are dropped, what it sent is done. */
static void a_peer_goes_while_its_answers_wait(void **state)
{
    (void)state;
    struct peer third;
    peer_open(&third, &host, "third@localhost");
    const uint64_t c = open_counters(&peer);
    set_gate(true, false);
    CALL(&third, "{inc_counter,\"c\",0,7}");
    settle();
    peer_close(&third);
    settle();
    set_gate(false, false);
    is(ask(&peer, "{read_counter,%" PRIu64 ",0}", c), "{ok,7}");
}

/* --- without memory ----------------------------------------------------------------------------
 */

static bool is_heard(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* No commit ends meanwhile, and the loop's n-th calloc fails: was there one? */
static bool strike(unsigned n, struct span request)
{
    set_gate(true, false);
    callocs_left = n;
    call(&peer, request);
    settle();
    const bool struck = callocs_left == 0;
    callocs_left = 0;
    return struck;
}

/* The n-th calloc fails while a call is done of which nothing can be committed; so it gets an error
 * now, or its answer later. False: there were fewer. */
static bool answered_without_memory(unsigned n, const char *request, const char *answer,
                                    unsigned *enomem)
{
    const bool struck = strike(n, make_term("%s", request));
    const bool early = peer.first != NULL;
    set_gate(false, false);
    struct message *m = hear(&peer);
    const char *text = reply_of(m);
    const bool is_answer = is_heard(text, answer);
    assert_true(early ? struck && !is_answer : struck || is_answer);
    assert_true(is_answer || is_heard(text, "{error,enomem}"));
    *enomem += early;
    free(m);
    return struck;
}

static void push_many(const char *queue, unsigned n)
{
    char text[4096];
    int len = snprintf(text, sizeof text, "{push_many,\"%s\",[x", queue);
    for (unsigned i = 1; i < n; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, ",x");
    snprintf(text + len, sizeof text - (size_t)len, "]}");
    is(ask(&peer, "%s", text), "ok");
}

/* At once, in a line behind a worker, of a batch, and of one that a worker has let go on. */
static void what_cannot_be_kept_is_an_error(void **state)
{
    (void)state;
    enum { LONG = 1200 };
    static const struct {
        const char *request;
        const char *answer;
    } calls[] = {{"{inc_counter,\"c\",0,1}", "{ok,"},
                 {"{pop_many,\"q\",1100}", "{ok,[x,x"},
                 {"{batch,[{inc_counter,\"c\",0,1},ping]}", "{ok,[{ok,"},
                 {"{batch,[{pop_many,\"q\",1100},ping]}", "{ok,[{ok,[x,x"}};
    (void)open_counters(&peer);
    (void)open_queue(&peer);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        unsigned enomem = 0;
        unsigned n = 0;
        do
            push_many("q", LONG);
        while (answered_without_memory(++n, calls[i].request, calls[i].answer, &enomem));
        assert_true(enomem > 0);
    }
}

/* One item: who takes it has it once, and what nobody could be told of is there again as if it had
 * never been delivered. */
static void check_taken(struct peer *taker, const char *text)
{
    static const char delivered[] = ",1,item}";
    if (is_heard(text, delivered)) {
        is(ask(taker, "{take,%s}", "\"q\""), "empty");
    } else {
        is(text, "{error,enomem}");
        assert_true(is_heard(ask(taker, "{take,%s}", "\"q\""), delivered));
    }
    is(ask(&peer, "{erase,%s}", "\"q\""), "ok");
}

/* The caller has a lease already: its process is known. */
static void hold_something(struct peer *p)
{
    (void)opened(ask(&peer, "{open_queue,%s,0,[]}", "\"r\""));
    is(ask(&peer, "{push,%s,other}", "\"r\""), "ok");
    assert_true(is_heard(ask(p, "{take,%s}", "\"r\""), "other}"));
}

static void what_nobody_is_told_of_is_not_taken(void **state)
{
    (void)state;
    unsigned enomem = 0;
    (void)open_queue(&peer);
    hold_something(&peer);
    bool struck = true;
    for (unsigned n = 1; struck; n++) {
        is(ask(&peer, "{push,%s,item}", "\"q\""), "ok");
        struck = strike(n, make_term("{take,%s}", "\"q\""));
        const bool early = peer.first != NULL;
        set_gate(false, false);
        struct message *m = hear(&peer);
        const char *text = reply_of(m);
        assert_true(!early || (struck && is_heard(text, "enomem")));
        enomem += is_heard(text, "enomem");
        check_taken(&peer, text);
        free(m);
    }
    assert_true(enomem >= 2); /* for the lease, for the answer */
}

static void what_a_worker_took_in_vain_goes_back(void **state)
{
    (void)state;
    enum { ITEMS = 1200 };
    unsigned enomem = 0;
    (void)open_queue(&peer);
    hold_something(&peer);
    bool struck = true;
    for (unsigned n = 1; struck; n++) {
        push_many("q", ITEMS);
        struck = strike(n, make_term("{take_many,%s,1100}", "\"q\""));
        const bool early = peer.first != NULL;
        set_gate(false, false);
        struct message *m = hear(&peer);
        assert_true(!early || (struck && is_heard(reply_of(m), "enomem")));
        enomem += early;
        is(ask(&peer, "{length,%s}", "\"q\""), is_heard(reply_of(m), "enomem") ? "1200" : "100");
        is(ask(&peer, "{erase,%s}", "\"q\""), "ok");
        free(m);
    }
    assert_true(enomem > 0);
}

static void who_waits_takes_nothing_that_it_is_not_told_of(void **state)
{
    (void)state;
    unsigned enomem = 0;
    (void)open_queue(&peer);
    bool struck = true;
    for (unsigned n = 1; struck; n++) {
        CALL(&other, "{take,%s,infinity}", "\"q\"");
        settle();
        struck = strike(n, make_term("{push,%s,item}", "\"q\""));
        const bool early = other.first != NULL;
        set_gate(false, false);
        struct message *m = hear(&other);
        assert_true(!early || (struck && is_heard(reply_of(m), "{error,enomem}")));
        enomem += early;
        free(hear(&peer));
        check_taken(&other, reply_of(m));
        free(m);
    }
    assert_true(enomem > 0);
}

/* An item that a subscriber cannot be sent yet is there for it later; where nothing else is kept
 * for it, it is told of its end, and all is there for others. */
static void a_subscriber_misses_nothing_for_want_of_memory(void **state)
{
    (void)state;
    enum { ITEMS = 4 };
    unsigned ends = 0;
    unsigned waits = 0;
    (void)open_queue(&peer);
    bool struck = true;
    for (unsigned n = 1; struck; n++) {
        subscribe(&other);
        struck = strike(n, make_term("{push_many,%s,[a,b,c,d]}", "\"q\""));
        const bool over = other.first != NULL;
        if (over)
            hears_item(&other, "{error,enomem}}");
        const unsigned kept = other.client->held_count;
        assert_true(over || kept == ITEMS || other.client->held_short);
        ends += over && kept == 0;
        waits += !over && kept > 0 && kept < ITEMS;
        set_gate(false, false);
        for (unsigned i = 0; i < (over ? kept : ITEMS); i++) {
            char expected[16];
            snprintf(expected, sizeof expected, ",1,%c}", 'a' + (int)i);
            hears_item(&other, expected);
        }
        free(hear(&peer));
        char left[32];
        snprintf(left, sizeof left, "%u", over ? ITEMS - kept : 0);
        is(ask(&peer, "{length,%s}", "\"q\""), left);
        is(ask(&peer, "{erase,%s}", "\"q\""), "ok");
    }
    assert_true(ends > 0 && waits == ITEMS - 1);
}

/* --- failure -----------------------------------------------------------------------------------
 */

static void what_cannot_be_committed_is_an_error_for_all(void **state)
{
    (void)state;
    const uint64_t c = open_counters(&peer);
    const uint64_t q = open_queue(&peer);
    is(ask(&peer, "{push,%" PRIu64 ",there}", q), "ok");
    set_gate(true, true);
    CALL(&peer, "{inc_counter,%" PRIu64 ",0,5}", c);
    CALL(&other, "{read_counter,\"c\",0}");
    CALL(&other, "{batch,[ping,{inc_counter,\"c\",0,1}]}");
    CALL(&other, "{take,\"q\",60000}");
    CALL(&other, "{take,\"q\",60000}");
    settle();
    set_gate(false, true);
    hears(&peer, "{error,eio}");
    for (int i = 0; i < 4; i++)
        hears(&other, "{error,eio}");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0,1}", c), "{error,eio}");
    is(ask(&peer, "{read_counter,%" PRIu64 ",0}", c), "{error,eio}");
    is(ask(&peer, "{sync,%" PRIu64 "}", c), "{error,eio}");
    is(ask(&peer, "{push,%" PRIu64 ",x}", q), "{error,eio}");
    is(ask(&other, "{open_counters,\"new\",1,[{durability,sync}]}"), "{error,eio}");
    set_gate(false, false);
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0,1}", c), "{error,eio}"); /* it does not heal */
    is(ask(&peer, "{open_counters,\"c\",4,[]}"), "{error,eio}");
    const uint64_t d = opened(ask(&other, "{open_counters,\"d\",1}"));
    is(ask(&other, "{inc_counter,%" PRIu64 ",0,1}", d), "{ok,0}"); /* others are well */
}

/* The file cannot be synced, but the journal has what was recorded before: that is answered even if
 * the daemon stops first. */
static void what_waits_is_answered_before_the_end(void **state)
{
    (void)state;
    const uint64_t r = opened(ask(&peer, "{open,\"r\",0,8,[create,write,{durability,sync}]}"));
    const struct object *o = &host.server->entries->object;
    const unsigned before = syncs();
    set_gate(true, false);
    CALL(&peer, "{patomic_add,%" PRIu64 ",0,5}", r);
    while (syncs() == before)
        settle();
    cannot_be_synced(o->ino);
    CALL(&peer, "{resize,%" PRIu64 ",65536}", r);
    settle();
    assert_true(o->failed);
    host_begin_stop(&host);
    nothing_is_heard(&peer);
    set_gate(false, false);
    hears(&peer, "{ok,0}");
    hears(&peer, "{error,eio}");
    peer_close(&peer);
    peer_close(&other);
    host_end_stop(&host);
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    peer_open(&other, &host, "other@localhost");
}

/* A write too large for the journal stands in the mapping when its sync fails: nobody sees it. */
static void what_passed_the_journal_in_vain_is_not_seen(void **state)
{
    (void)state;
    enum { BIG = 2 << 20 };
    struct buf request;
    const uint64_t r =
        opened(ask(&peer, "{open,\"r\",0,%d,[create,write,{durability,sync}]}", BIG));
    const struct object *o = &host.server->entries->object;
    uint8_t *bytes = calloc(1, BIG);
    buf_init(&request, 2 * (size_t)BIG);
    reply_tuple(&request, 4);
    reply_atom(&request, "pwrite");
    reply_uint64(&request, r);
    reply_uint64(&request, 0);
    reply_binary(&request, span_of(memset(bytes, 'x', BIG), BIG));
    cannot_be_synced(o->ino);
    is(ask_term(&peer, span_of(request.at, request.len)), "{error,eio}");
    is(ask(&other, "{pread,%s,0,4}", "\"r\""), "{error,eio}");
    cannot_be_synced(0);
    is(ask(&peer, "{close,%" PRIu64 "}", r), "ok");
    buf_fini(&request);
    free(bytes);
}

/* A thread of the journal finds, when a half is to be used again, that a queue's file cannot be
 * synced: nobody asks for the queue, and who waits is told. */
static void who_waits_is_told_that_a_queue_has_failed(void **state)
{
    (void)state;
    enum { BIG = 1 << 20, HALVES = 16 };
    struct buf request;
    const uint64_t r =
        opened(ask(&peer, "{open,\"r\",0,%d,[create,write,{durability,sync}]}", BIG));
    (void)open_queue(&peer);
    const struct object *o = &host.server->entries->object;
    CALL(&other, "{pop_wait,%s,infinity}", "\"q\"");
    settle();
    cannot_be_synced(o->ino);
    uint8_t *bytes = calloc(1, BIG);
    buf_init(&request, 2 * (size_t)BIG);
    reply_tuple(&request, 4);
    reply_atom(&request, "pwrite");
    reply_uint64(&request, r);
    reply_uint64(&request, 0);
    reply_binary(&request, span_of(bytes, BIG));
    for (int i = 0; i < HALVES; i++)
        is(ask_term(&peer, span_of(request.at, request.len)), "ok");
    buf_fini(&request);
    free(bytes);
    hears(&other, "{error,eio}");
    cannot_be_synced(0);
}

/* --- which objects -----------------------------------------------------------------------------
 */

static void the_strongest_handle_counts(void **state)
{
    (void)state;
    const uint64_t plain = opened(ask(&peer, "{open_counters,\"c\",4}"));
    const uint64_t durable = open_counters(&other);
    const unsigned before = syncs();
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0,1}", plain), "{ok,0}");
    assert_int_equal(syncs(), before + 1);
    is(ask(&other, "{close,%" PRIu64 "}", durable), "ok");
    const unsigned after = syncs();
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0,1}", plain), "{ok,1}");
    assert_int_equal(syncs(), after);
}

static void a_queue_keeps_it_until_it_is_told_otherwise(void **state)
{
    (void)state;
    const uint64_t q = open_queue(&peer);
    is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    unsigned before = syncs();
    is(ask(&peer, "{push,\"q\",a}"), "ok"); /* by its name */
    assert_true(syncs() > before);
    opened(ask(&peer, "{open_queue,\"q\",0,[{durability,default}]}"));
    before = syncs();
    is(ask(&peer, "{push,\"q\",b}"), "ok");
    assert_int_equal(syncs(), before);
}

static void a_durable_object_is_alone(void **state)
{
    (void)state;
    static const struct option {
        const char *text;
        const char *answer;
    } refused[] = {
        {"{open,\"f\",0,8,[create,write,private,{durability,sync}]}",
         "{error,{bad_option,durability}}"},
        {"{open,\"\",0,8,[anon,write,sync]}", "{error,{bad_option,durability}}"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        is(ask(&peer, "%s", refused[i].text), refused[i].answer);
    struct host second;
    struct peer stranger;
    const uint64_t f = opened(ask(&peer, "{open,\"f\",0,8,[create,write,{durability,sync}]}"));
    host_init(&second);
    second.options.data_dir = host.dir;
    second.options.node = "second@localhost";
    host_open(&second);
    peer_open(&stranger, &second, "stranger@localhost");
    is(ask(&stranger, "{open,\"f\",0,8,[write]}"), "{error,{locked,<<\"emmap@localhost\">>}}");
    is(ask(&stranger, "{open,\"g\",0,8,[create,write,{durability,sync}]}"),
       "{error,{locked,<<\"emmap@localhost\">>}}");
    is(ask(&peer, "{close,%" PRIu64 "}", f), "ok");
    is(ask(&stranger, "{patomic_read_integer,%" PRIu64 ",0}",
           opened(ask(&stranger, "{open,\"f\",0,8,[write]}"))),
       "{ok,0}");
    peer_close(&stranger);
    host_close(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_change_is_answered_when_it_is_durable),
        TEST(nobody_sees_what_is_not_durable),
        TEST(who_opens_sees_what_is_durable),
        TEST(other_objects_go_on),
        TEST(answers_about_an_object_keep_their_order),
        TEST(many_wait_for_one_commit),
        TEST(late_answers_come_together),
        TEST(a_late_answer_alone_goes_to_who_waits),
        TEST(other_late_answers_go_to_who_waits),
        TEST(the_last_process_hands_out),
        TEST(who_is_gone_hears_nothing_together),
        TEST(a_batch_is_one_commit),
        TEST(a_barrier_waits_for_casts),
        TEST(a_worker_records_what_may_have_to_wait),
        TEST(an_item_is_delivered_when_it_is_durable),
        TEST(a_subscriber_hears_what_is_durable),
        TEST(no_more_is_kept_for_a_subscriber_than_fits),
        TEST(a_peer_goes_while_its_answers_wait),
        TEST(what_cannot_be_kept_is_an_error),
        TEST(what_nobody_is_told_of_is_not_taken),
        TEST(what_a_worker_took_in_vain_goes_back),
        TEST(who_waits_takes_nothing_that_it_is_not_told_of),
        TEST(a_subscriber_misses_nothing_for_want_of_memory),
        TEST(what_cannot_be_committed_is_an_error_for_all),
        TEST(what_waits_is_answered_before_the_end),
        TEST(what_passed_the_journal_in_vain_is_not_seen),
        TEST(who_waits_is_told_that_a_queue_has_failed),
        TEST(the_strongest_handle_counts),
        TEST(a_queue_keeps_it_until_it_is_told_otherwise),
        TEST(a_durable_object_is_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
