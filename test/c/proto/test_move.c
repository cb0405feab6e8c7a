/* Items that were delivered too often, on their way to the dead-letter queue. */
#include <errno.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "proto/reply.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/peer.h"
#include "sys/log.h"
#include "sys/os.h"
#include "sys/work.h"

static struct host host;
static struct peer peer;
static struct os real;

static int setup(void **state)
{
    (void)state;
    real = os;
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
    os = real;
    return 0;
}

/* The server ends in order, and another begins. */
static void restart(void)
{
    peer_close(&peer);
    host_stop(&host);
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
}

static uint64_t open_queue(const char *name, const char *options)
{
    return opened(ask(&peer, "{open_queue,\"%s\",0,[%s]}", name, options));
}

static const char with_dead[] = "{max_attempts,1},{dead_letter,\"dead\"}";

/* Asks again and again, until this is the reply. */
static void becomes(const char *request, const char *expected)
{
    const char *seen = "";
    for (int i = 0; i < 100000; i++) {
        anything(&peer); /* lets the loop run */
        seen = ask(&peer, "%s", request);
        if (strcmp(seen, expected) == 0)
            return;
    }
    fail_msg("%s gives %s, never %s", request, seen, expected);
}

/* So many items are pushed, taken and given back: all are worn out. */
static void wear_out(uint64_t q, unsigned n)
{
    struct buf ids;
    buf_init(&ids, 1 << 20);
    for (unsigned i = 1; i <= n; i++)
        is(ask(&peer, "{push,%" PRIu64 ",{item,%u}}", q, i), "ok");
    ask(&peer, "{take_many,%" PRIu64 ",%u}", q, n);
    reply_tuple(&ids, 3);
    reply_atom(&ids, "release_many");
    reply_uint64(&ids, q);
    reply_list(&ids, n);
    for (unsigned i = 1; i <= n; i++)
        reply_uint64(&ids, i);
    reply_nil(&ids);
    is(ask_term(&peer, span_of(ids.at, ids.len)), "ok");
    buf_fini(&ids);
}

static void many_arrive_in_order(void **state)
{
    (void)state;
    enum { N = 300 };
    uint64_t dead = open_queue("dead", "");
    uint64_t q = open_queue("q", with_dead);
    wear_out(q, N);
    becomes("{length,\"dead\"}", "300");
    for (unsigned i = 1; i <= N; i++) {
        char item[32];
        snprintf(item, sizeof item, "{item,%u}", i);
        is(ask(&peer, "{pop,%" PRIu64 "}", dead), item);
    }
    becomes("{peek_buried,\"q\",9}", "{ok,[]}");
}

static void items_of_an_earlier_life_go_when_the_queue_opens(void **state)
{
    (void)state;
    uint64_t q = open_queue("q", "{max_attempts,2}");
    is(ask(&peer, "{push_many,%" PRIu64 ",[bad,good]}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,1,1,bad}");
    restart();
    q = open_queue("q", with_dead); /* nobody asks for items */
    becomes("{peek_many,\"dead\",9}", "{ok,[{1,bad}]}");
    is(ask(&peer, "{peek_many,%" PRIu64 ",9}", q), "{ok,[{2,good}]}");
}

static void dead_letters_of_dead_letters_go_on(void **state)
{
    (void)state;
    open_queue("dead", "{max_attempts,1},{dead_letter,\"dead2\"}");
    wear_out(open_queue("q", with_dead), 1);
    becomes("{take,\"dead\"}", "{ok,1,1,{item,1}}");
    is(ask(&peer, "{release,\"dead\",1}"), "ok");
    becomes("{peek_many,\"dead2\",9}", "{ok,[{1,{item,1}}]}");
    becomes("{length,\"dead\"}", "0");
}

/* An item, taken and given back for the last time. */
static void wear_out_one(uint64_t q, const char *item)
{
    char *end = NULL;
    is(ask(&peer, "{push,%" PRIu64 ",%s}", q, item), "ok");
    const char *taken = ask(&peer, "{take,%" PRIu64 "}", q);
    const unsigned long id = strtoul(taken + strlen("{ok,"), &end, 10);
    is(ask(&peer, "{release,%" PRIu64 ",%lu}", q, id), "ok");
}

static void turn_loop(int turns)
{
    for (int i = 0; i < turns; i++)
        anything(&peer);
}

static bool is_open(const char *name)
{
    char text[PATH_MAX];
    snprintf(text, sizeof text, "\"%s\"", folder_file(host.dir, name));
    return strstr(ask(&peer, "list"), text) != NULL;
}

static void until_closed(const char *name)
{
    for (int i = 0; i < 100000; i++) {
        anything(&peer);
        if (!is_open(name))
            return;
    }
    fail_msg("\"%s\" stays open", name);
}

/* Whatever is still to come comes before `next`. */
static void has_got(uint64_t q, const char *items, unsigned n)
{
    char length[16];
    char expected[64];
    snprintf(length, sizeof length, "%u", n + 1);
    snprintf(expected, sizeof expected, "{ok,[%s,next]}", items);
    wear_out_one(q, "next");
    becomes("{length,\"dead\"}", length);
    is(ask(&peer, "{pop_many,\"dead\",9}"), expected);
    is(ask(&peer, "{length,%" PRIu64 "}", q), "0");
    is(ask(&peer, "{peek_buried,%" PRIu64 ",9}", q), "{ok,[]}");
}

/* The item is here until it is there, durably; never nowhere, and there once. */
static void the_end_of_the_queue_neither_loses_nor_doubles(void **state)
{
    (void)state;
    for (int turns = 0; turns < 60; turns++) {
        char item[32];
        uint64_t q = open_queue("q", with_dead);
        snprintf(item, sizeof item, "%d", turns);
        wear_out_one(q, item);
        turn_loop(turns);
        is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
        until_closed("q");
        q = open_queue("q", with_dead);
        has_got(q, item, 1);
        is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    }
}

static void who_opens_it_meanwhile_finds_it_open(void **state)
{
    (void)state;
    for (int turns = 0; turns < 30; turns++) {
        uint64_t q = open_queue("q", with_dead);
        wear_out_one(q, "bad");
        turn_loop(turns);
        is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
        turn_loop(turns % 5);
        q = open_queue("q", with_dead);
        becomes("{pop_many,\"dead\",9}", "{ok,[bad]}");
        is(ask(&peer, "{push,%" PRIu64 ",good}", q), "ok");
        is(ask(&peer, "{pop,%" PRIu64 "}", q), "good");
        is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
        until_closed("q");
        is(ask(&peer, "{pop_many,\"dead\",9}"), "{ok,[]}");
    }
}

static void a_stopping_server_neither_buries_nor_doubles(void **state)
{
    (void)state;
    for (int turns = 0; turns < 40; turns++) {
        uint64_t q = open_queue("q", with_dead);
        is(ask(&peer, "{erase,%" PRIu64 "}", q), "ok");
        is(ask(&peer, "{push_many,%" PRIu64 ",[a,b,c]}", q), "ok");
        const char *taken = ask(&peer, "{take_many,%" PRIu64 ",3}", q);
        const unsigned long first = strtoul(taken + strlen("{ok,[{"), NULL, 10);
        is(ask(&peer, "{release_many,%" PRIu64 ",[%lu,%lu,%lu]}", q, first, first + 1, first + 2),
           "ok");
        turn_loop(turns);
        restart();
        has_got(open_queue("q", ""), "a,b,c", 3);
    }
}

/* Each holds the other open. */
static void a_server_stops_while_two_queues_move_to_each_other(void **state)
{
    (void)state;
    for (int turns = 0; turns < 20; turns++) {
        uint64_t a = open_queue("a", "{max_attempts,1},{dead_letter,\"b\"}");
        uint64_t b = open_queue("b", "{max_attempts,1},{dead_letter,\"a\"}");
        wear_out_one(a, "of_a");
        wear_out_one(b, "of_b");
        turn_loop(turns);
        restart();
        open_queue("a", "");
        open_queue("b", "");
        becomes("{pop_many,\"a\",9}", "{ok,[of_b]}");
        becomes("{pop_many,\"b\",9}", "{ok,[of_a]}");
    }
}

static void erase_takes_those_along_that_are_on_their_way(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        uint64_t q = open_queue("q", with_dead);
        is(ask(&peer, "{push_many,%" PRIu64 ",[a,b,c]}", q), "ok");
        ask(&peer, "{take_many,%" PRIu64 ",3}", q);
        const unsigned first = (unsigned)turns * 4 + 1;
        is(ask(&peer, "{release_many,%" PRIu64 ",[%u,%u,%u]}", q, first, first + 1, first + 2),
           "ok");
        for (int i = 0; i < turns; i++)
            anything(&peer);
        is(ask(&peer, "{erase,%" PRIu64 "}", q), "ok");
        is(ask(&peer, "{push,%" PRIu64 ",after}", q), "ok");
        becomes("{peek_buried,\"q\",9}", "{ok,[]}");
        is(ask(&peer, "{pop,%" PRIu64 "}", q), "after");
    }
}

/* Until no worker is at anything: they read the table of system calls. */
static void quiet(void)
{
    while (work_pending > 0)
        uv_run(&host.loop, UV_RUN_ONCE);
}

static void fail_syncs(int (*sync)(int fd))
{
    quiet();
    os.sync = sync;
}

static void heal(void)
{
    quiet();
    os = real;
}

static ino_t failing;

static int sync_fails_there(int fd)
{
    struct stat st;
    if (real.fstat(fd, &st) != 0 || st.st_ino != failing)
        return real.sync(fd);
    errno = EIO;
    return -1;
}

static void what_cannot_be_made_durable_there_is_buried_here(void **state)
{
    (void)state;
    struct stat st;
    open_queue("dead", "");
    uint64_t q = open_queue("q", with_dead);
    assert_int_equal(stat(folder_file(host.dir, "dead"), &st), 0);
    failing = st.st_ino;
    fail_syncs(sync_fails_there);
    wear_out(q, 1);
    becomes("{peek_buried,\"q\",9}", "{ok,[{1,1,{item,1}}]}");
    heal();
    is(ask(&peer, "{push,%" PRIu64 ",next}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,2,1,next}");
    is(ask(&peer, "{release,%" PRIu64 ",2}", q), "ok"); /* which opens the other one anew */
    becomes("{rpeek_many,\"dead\",1}", "{ok,[{2,next}]}");
}

static unsigned opens;

static int count_opens(int dir, const char *path, int flags, mode_t mode)
{
    __atomic_fetch_add(&opens, strstr(path, "nest") != NULL, __ATOMIC_RELAXED);
    return real.open_beneath(dir, path, flags, mode);
}

static unsigned lines_of(const char *file, const char *with)
{
    char line[1000];
    unsigned n = 0;
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        n += strstr(line, with) != NULL;
    fclose(f);
    return n;
}

/* A file is where its directory should be. */
static void one_that_cannot_be_opened_is_tried_once_a_second(void **state)
{
    (void)state;
    enum { N = 100 };
    static const char *const log = "log";
    uint64_t q = open_queue("q", "{max_attempts,1},{dead_letter,\"nest/dead\"}");
    open_queue("nest", "");
    assert_true(log_open(folder_file(host.dir, log)));
    quiet();
    os.open_beneath = count_opens;
    opens = 0;
    const uint64_t begun_ms = uv_now(&host.loop);
    for (int i = 0; i < N; i++) {
        wear_out_one(q, "bad");
        becomes("{kick,\"q\",9}", "{ok,1}"); /* it was buried */
        is(ask(&peer, "{pop,%" PRIu64 "}", q), "bad");
    }
    quiet();
    const unsigned seconds = (unsigned)((uv_now(&host.loop) - begun_ms) / 1000);
    heal();
    assert_in_range(opens, 1, 2 * (seconds + 1)); /* the directory, the file in it */
    assert_int_equal(lines_of(folder_file(host.dir, log), "items are buried"), 1);
    open_queue("q", "{dead_letter,\"dead\"}"); /* at once */
    wear_out_one(q, "good");
    becomes("{pop_many,\"dead\",9}", "{ok,[good]}");
    open_queue("q", "{dead_letter,\"nest/dead\"}");
    wear_out_one(q, "bad");
    becomes("{kick,\"q\",9}", "{ok,1}");
    assert_true(log_open(NULL));
    assert_int_equal(lines_of(folder_file(host.dir, log), "items are buried"), 2);
}

static void a_full_one_is_told_of_once_until_it_takes_items_again(void **state)
{
    (void)state;
    static const char *const log = "log";
    open_queue("dead", "{max_items,1}");
    uint64_t q = open_queue("q", with_dead);
    assert_true(log_open(folder_file(host.dir, log)));
    for (unsigned i = 1; i <= 2; i++) {
        wear_out_one(q, "first");
        becomes("{length,\"dead\"}", "1");
        for (int k = 0; k < 10; k++) {
            wear_out_one(q, "second");
            becomes("{kick,\"q\",9}", "{ok,1}");
            is(ask(&peer, "{pop,%" PRIu64 "}", q), "second");
        }
        assert_int_equal(lines_of(folder_file(host.dir, log), "items are buried"), i);
        is(ask(&peer, "{pop_many,\"dead\",9}"), "{ok,[first]}");
    }
    assert_true(log_open(NULL));
}

static sem_t at_sync;
static sem_t go_on;
static atomic_bool waited;

/* Once. */
static int sync_waits_there(int fd)
{
    struct stat st;
    if (real.fstat(fd, &st) == 0 && st.st_ino == failing && !atomic_exchange(&waited, true)) {
        sem_post(&at_sync);
        sem_wait(&go_on);
    }
    return real.sync(fd);
}

static void what_is_being_sent_when_the_server_stops_arrives_once(void **state)
{
    (void)state;
    struct stat st;
    open_queue("dead", "");
    uint64_t q = open_queue("q", with_dead);
    assert_int_equal(stat(folder_file(host.dir, "dead"), &st), 0);
    failing = st.st_ino;
    wear_out_one(q, "first"); /* so that it has the other one open */
    becomes("{pop_many,\"dead\",9}", "{ok,[first]}");
    sem_init(&at_sync, 0, 0);
    sem_init(&go_on, 0, 0);
    waited = false;
    fail_syncs(sync_waits_there);
    wear_out_one(q, "bad");
    while (sem_trywait(&at_sync) != 0)
        anything(&peer);
    peer_close(&peer);
    host_begin_stop(&host);
    sem_post(&go_on);
    host_end_stop(&host);
    heal();
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    has_got(open_queue("q", ""), "bad", 1);
}

static void another_dead_letter_queue_gets_the_next(void **state)
{
    (void)state;
    uint64_t q = open_queue("q", with_dead);
    wear_out(q, 1);
    becomes("{length,\"dead\"}", "1");
    open_queue("q", "{dead_letter,\"dead2\"}");
    is(ask(&peer, "{push,%" PRIu64 ",next}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,2,1,next}");
    is(ask(&peer, "{release,%" PRIu64 ",2}", q), "ok");
    becomes("{peek_many,\"dead2\",9}", "{ok,[{1,next}]}");
    is(ask(&peer, "{length,\"dead\"}"), "1");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(many_arrive_in_order),
        TEST(items_of_an_earlier_life_go_when_the_queue_opens),
        TEST(dead_letters_of_dead_letters_go_on),
        TEST(the_end_of_the_queue_neither_loses_nor_doubles),
        TEST(who_opens_it_meanwhile_finds_it_open),
        TEST(a_stopping_server_neither_buries_nor_doubles),
        TEST(a_server_stops_while_two_queues_move_to_each_other),
        TEST(erase_takes_those_along_that_are_on_their_way),
        TEST(what_cannot_be_made_durable_there_is_buried_here),
        TEST(what_is_being_sent_when_the_server_stops_arrives_once),
        TEST(one_that_cannot_be_opened_is_tried_once_a_second),
        TEST(a_full_one_is_told_of_once_until_it_takes_items_again),
        TEST(another_dead_letter_queue_gets_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
