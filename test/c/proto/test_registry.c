/* Queues that are processes: names, what becomes of them, and the file that keeps them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "proto/reply.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "support/peer.h"
#include "sys/os.h"
#include "sys/work.h"

static struct host host;
static struct peer peer;
static struct peer other;
static struct os real;

static void open_peers(void)
{
    peer_open(&peer, &host, "client@localhost");
    peer_open(&other, &host, "other@localhost");
    other.pid = 9;
    other.next_ref = 1000;
}

static int setup(void **state)
{
    (void)state;
    real = os;
    host_init(&host);
    host_open(&host);
    open_peers();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_close(&peer);
    peer_close(&other);
    host_close(&host);
    os = real;
    return 0;
}

static void stop(void)
{
    peer_close(&peer);
    peer_close(&other);
    host_stop(&host);
}

static void begin_again(void)
{
    host_open(&host);
    open_peers();
}

static void restart(void)
{
    stop();
    begin_again();
}

static uint64_t open_as(const char *file, const char *name)
{
    return opened(ask(&peer, "{open_queue,\"%s\",0,[{register,%s}]}", file, name));
}

static uint32_t process(const char *name)
{
    return client_process(peer.client, make_term("%s", name));
}

/* A call to the process of that name. */
static const char *ask_process(struct peer *p, const char *name, const char *request)
{
    const uint32_t number = client_process(p->client, make_term("%s", name));
    assert_int_not_equal(number, 0);
    call_process(p, number, make_term("%s", request));
    return heard(p);
}

/* Until the loop has done what it can without waiting. */
static void settle(void)
{
    for (int i = 0; i < 5; i++)
        uv_run(&host.loop, UV_RUN_NOWAIT);
}

/* Until no worker is at anything: they read the table of system calls. */
static void quiet(void)
{
    settle();
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

static const char *registered_file(void)
{
    return folder_file(host.dir, ".emmap/registered");
}

static void write_registered(const char *text)
{
    FILE *f = fopen(registered_file(), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static bool registered_has(const char *text)
{
    static char content[8192];
    FILE *f = fopen(registered_file(), "r");
    assert_non_null(f);
    content[fread(content, 1, sizeof content - 1, f)] = '\0';
    fclose(f);
    return strstr(content, text) != NULL;
}

/* ---- processes ---- */

static void it_needs_no_handle(void **state)
{
    (void)state;
    const uint64_t q = open_as("q", "jobs");
    call_process(&other, process("jobs"), make_term("{pop_wait,infinity}"));
    settle();
    is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    is(ask_process(&peer, "jobs", "{push,one}"), "ok");
    is(heard(&other), "{ok,one}");
}

static void requests_of_no_queue_are_unknown(void **state)
{
    (void)state;
    open_as("q", "jobs");
    is(ask_process(&peer, "jobs", "ping"), "{error,{unknown_request,ping}}");
    is(ask_process(&peer, "jobs", "{open,\"f\",0,0,[]}"), "{error,{unknown_request,open}}");
    is(ask_process(&peer, "jobs", "{close,1}"), "{error,{unknown_request,close}}");
    is(ask_process(&peer, "jobs", "{batch,[]}"), "{error,{unknown_request,batch}}");
    is(ask_process(&peer, "jobs", "{inc_counter,0}"), "{error,{wrong_kind,queue}}");
    is(ask_process(&peer, "jobs", "{move_in,x,1,1,y}"), "{error,{unknown_request,move_in}}");
    is(ask_process(&peer, "jobs", "length"), "0");
}

static void its_end_is_told_once_and_its_number_is_gone(void **state)
{
    (void)state;
    open_as("q", "jobs");
    const uint32_t number = process("jobs");
    assert_true(client_has_process(peer.client, number));
    open_as("q", "none");
    assert_int_equal(peer.ended, number);
    assert_int_equal(other.ended, number);
    is(peer.reason, "normal");
    assert_int_equal(process("jobs"), 0);
    assert_false(client_has_process(peer.client, number));
    peer.ended = 0;
    open_as("q", "none");
    assert_int_equal(peer.ended, 0);
    open_as("q", "jobs");
    assert_int_not_equal(process("jobs"), number);
}

static void another_name_takes_the_place_of_the_first(void **state)
{
    (void)state;
    open_as("q", "jobs");
    const uint32_t number = process("jobs");
    open_as("q", "work");
    assert_int_equal(peer.ended, number);
    assert_int_equal(process("jobs"), 0);
    is(ask_process(&peer, "work", "{push,one}"), "ok");
    open_as("q2", "jobs");
    restart();
    is(ask_process(&peer, "work", "length"), "1");
    is(ask_process(&peer, "jobs", "length"), "0");
}

static void a_name_has_one_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir(folder_file(host.dir, "d"), 0700), 0);
    open_as("q", "jobs");
    const uint32_t number = process("jobs");
    open_as("q", "jobs");
    open_as("./q", "jobs");
    open_as("d/../q", "jobs");
    assert_int_equal(process("jobs"), number);
    is(ask(&peer, "{open_queue,\"q2\",0,[{register,jobs}]}"), "{error,{already_registered,jobs}}");
    assert_int_not_equal(access(folder_file(host.dir, "q2"), F_OK), 0); /* and it is not made */
    opened(ask(&peer, "{open_queue,\"q2\",0,[]}"));
    is(ask(&peer, "{open_queue,\"q2\",0,[{register,jobs}]}"), "{error,{already_registered,jobs}}");
    assert_int_equal(process("jobs"), number);
}

/* d/../q, d/../d/../q and so on; `n` of them are asked for at once. */
static void open_by_many_names(unsigned n)
{
    char path[2048] = "q";
    for (unsigned i = 0; i < n; i++) {
        memmove(path + 5, path, strlen(path) + 1);
        memcpy(path, "d/../", 5);
        call(&other, make_term("{open_queue,\"%s\",0,[]}", path));
    }
}

static void of_very_many_names_that_of_the_process_stays(void **state)
{
    (void)state;
    enum { N = 90 };
    assert_int_equal(mkdir(folder_file(host.dir, "d"), 0700), 0);
    open_as("q", "jobs");
    const uint32_t number = process("jobs");
    open_by_many_names(N);
    for (int i = 0; i < N; i++)
        opened(heard(&other));
    open_as("d/../q", "work");
    assert_int_equal(peer.ended, number);
    assert_int_equal(process("jobs"), 0);
    open_as("d/../q", "none");
    assert_int_equal(process("work"), 0);
}

static void many_names_come_while_it_is_registered(void **state)
{
    (void)state;
    enum { N = 90 };
    assert_int_equal(mkdir(folder_file(host.dir, "d"), 0700), 0);
    open_as("q", "none");
    call(&peer, make_term("{open_queue,\"q\",0,[{register,jobs}]}"));
    open_by_many_names(N);
    opened(heard(&peer));
    for (int i = 0; i < N; i++)
        opened(heard(&other));
    assert_int_not_equal(process("jobs"), 0);
    open_as("d/../q", "none");
    assert_int_equal(process("jobs"), 0);
}

static void is_bad(const char *name)
{
    char expected[600];
    snprintf(expected, sizeof expected, "{error,{bad_option,{register,%s}}}", name);
    is(ask(&peer, "{open_queue,\"q\",0,[{register,%s}]}", name), expected);
}

static void names_that_are_taken_or_none_are_refused(void **state)
{
    (void)state;
    is_bad("emmap");
    is_bad("net_kernel");
    is_bad("rex");
    is_bad("undefined");
    is_bad("{jobs}");
    is_bad("1");
    assert_int_not_equal(access(folder_file(host.dir, "q"), F_OK), 0);
}

/* A text that ends before the name does would be another's name. */
static void a_zero_byte_is_part_of_a_name(void **state)
{
    (void)state;
    static const uint8_t name[] = {ERL_SMALL_ATOM_UTF8_EXT, 6, 'j', 'o', 'b', 's', 0, 'x'};
    struct buf b;
    open_as("q", "jobs");
    assert_int_equal(client_process(peer.client, span_of(name, sizeof name)), 0);
    buf_init(&b, 1000);
    reply_tuple(&b, 4);
    reply_atom(&b, "open_queue");
    reply_text(&b, "q");
    reply_uint64(&b, 0);
    reply_list(&b, 1);
    reply_tuple(&b, 2);
    reply_atom(&b, "register");
    reply_raw(&b, span_of(name, sizeof name));
    reply_nil(&b);
    const char *reply = ask_term(&peer, span_of(b.at, b.len));
    assert_memory_equal(reply, "{error,{bad_option,", 19);
    buf_fini(&b);
}

/* ---- failure ---- */

static void a_queue_that_fails_ends_with_eio(void **state)
{
    (void)state;
    open_as("q", "jobs");
    const uint32_t number = process("jobs");
    assert_true(client_watch(peer.client, number));
    is(ask_process(&peer, "jobs", "{push,one}"), "ok");
    fail_syncs(sync_fails);
    is(ask_process(&peer, "jobs", "sync"), "{error,eio}");
    for (int i = 0; i < 10000 && peer.ended == 0; i++)
        settle();
    assert_int_equal(peer.ended, number);
    is(peer.reason, "eio");
    assert_false(client_has_process(peer.client, number));
    assert_false(client_watch(peer.client, process("jobs")));
    is(ask_process(&peer, "jobs", "{push,two}"), "{error,eio}");
    heal();
    opened(ask(&peer, "{open_queue,\"q\",0,[]}"));
    is(ask_process(&peer, "jobs", "{push,two}"), "ok");
    assert_true(client_watch(peer.client, process("jobs")));
}

/* ---- over restarts ---- */

static void names_outlive_the_daemon_whatever_is_in_them(void **state)
{
    (void)state;
    static const char *const names[] = {"jobs",          "'a b'",      "'tab\there'", "'\\x41\\'",
                                        "'line\nbreak'", "'\x7f\x01'", "'\xc3\xb6'",  "'a\\\\'"};
    enum { N = sizeof names / sizeof names[0] };
    for (int i = 0; i < N; i++) {
        char file[64];
        snprintf(file, sizeof file, "q%d\t\n\\x0a", i);
        struct buf b;
        buf_init(&b, 4000);
        reply_tuple(&b, 4);
        reply_atom(&b, "open_queue");
        reply_text(&b, file);
        reply_uint64(&b, 0);
        reply_list(&b, 1);
        reply_tuple(&b, 2);
        reply_atom(&b, "register");
        reply_raw(&b, make_term("%s", names[i]));
        reply_nil(&b);
        opened(ask_term(&peer, span_of(b.at, b.len)));
        buf_fini(&b);
        char item[32];
        snprintf(item, sizeof item, "{push,%d}", i);
        is(ask_process(&peer, names[i], item), "ok");
    }
    restart();
    for (int i = 0; i < N; i++) {
        char item[32];
        snprintf(item, sizeof item, "%d", i);
        is(ask_process(&peer, names[i], "pop"), item);
    }
}

static void a_name_given_up_stays_so(void **state)
{
    (void)state;
    open_as("q", "jobs");
    open_as("q2", "work");
    open_as("q", "none");
    restart();
    assert_int_equal(process("jobs"), 0);
    assert_int_not_equal(process("work"), 0);
}

/* All at once, each of them twice, and every third given up. */
static void many_changes_at_once_are_all_kept(void **state)
{
    (void)state;
    enum { N = 24 };
    for (int i = 0; i < N; i++)
        call(&peer, make_term("{open_queue,\"q%d\",0,[{register,n%d}]}", i, i));
    for (int i = 0; i < N; i += 3)
        call(&other, make_term("{open_queue,\"q%d\",0,[{register,none}]}", i));
    for (int i = 0; i < N; i++)
        opened(heard(&peer));
    for (int i = 0; i < N; i += 3)
        opened(heard(&other));
    restart();
    for (int i = 0; i < N; i++) {
        char name[8];
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(process(name) == 0, i % 3 == 0);
    }
}

static void a_monitor_opens_it(void **state)
{
    (void)state;
    open_as("q", "jobs");
    restart();
    is(ask(&peer, "list"), "[]");
    assert_true(client_watch(peer.client, process("jobs")));
    const char *seen = "[]";
    for (int i = 0; i < 10000 && strcmp(seen, "[]") == 0; i++) {
        settle();
        seen = ask(&peer, "list");
    }
    assert_non_null(strstr(seen, "queue"));
}

static void a_file_that_is_gone_ends_nothing(void **state)
{
    (void)state;
    open_as("q", "jobs");
    stop();
    assert_int_equal(unlink(folder_file(host.dir, "q")), 0);
    begin_again();
    assert_true(client_watch(peer.client, process("jobs")));
    is(ask_process(&peer, "jobs", "{push,one}"), "{error,enoent}");
    assert_int_equal(peer.ended, 0);
    opened(ask(&peer, "{open_queue,\"q\",0,[]}"));
    is(ask_process(&peer, "jobs", "{push,one}"), "ok");
}

/* ---- what the file may hold ---- */

/* What another daemon of the directory does, between our changes. */
static void replace_file(const char *text)
{
    FILE *f = fopen(registered_file(), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void file_is(const char *const *lines, size_t n)
{
    char line[4096];
    FILE *f = fopen(registered_file(), "r");
    size_t seen = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        size_t i = 0;
        while (i < n && strncmp(line, lines[i], strlen(lines[i])) != 0)
            i++;
        if (i == n)
            fail_msg("a line too much: %s", line);
        seen++;
    }
    fclose(f);
    assert_int_equal(seen, n);
}

static void lines_of_other_daemons_stay(void **state)
{
    (void)state;
    char text[4096];
    open_as("a", "na");
    open_as("b", "nb");
    snprintf(text, sizeof text, "theirs\t/elsewhere/x\nna\t%s/a\nnb\t%s/b\n", host.dir, host.dir);
    replace_file(text);
    open_as("c", "nc");
    file_is((const char *[]){"theirs\t/elsewhere/x\n", "na\t", "nb\t", "nc\t"}, 4);
    is(ask(&peer, "{open_queue,\"a\",0,[{register,none}]}") != NULL ? "done" : "", "done");
    file_is((const char *[]){"theirs\t/elsewhere/x\n", "nb\t", "nc\t"}, 3);
    snprintf(text, sizeof text, "theirs\t/elsewhere/x\nnb\t%s/b\n", host.dir); /* nc was given up */
    replace_file(text);
    open_as("d", "theirs"); /* who comes last has the name */
    file_is((const char *[]){"theirs\t/", "nb\t"}, 2);
}

static int lock_as_another_daemon(void)
{
    const int fd = open(folder_file(host.dir, ".emmap/registered.lock"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(real.lock_exclusive(fd), 0);
    return fd;
}

static void another_daemon_is_waited_for(void **state)
{
    (void)state;
    open_as("q", "first");
    const int lock = lock_as_another_daemon();
    call(&peer, make_term("{open_queue,\"r\",0,[{register,second}]}"));
    for (int i = 0; i < 1000; i++)
        assert_false(anything(&peer));
    close(lock);
    opened(heard(&peer));
    assert_true(registered_has("second\t"));
}

static void another_daemon_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    open_as("q", "first");
    const int lock = lock_as_another_daemon();
    is(ask(&peer, "{open_queue,\"r\",0,[{register,second}]}"), "{error,{locked,unknown}}");
    close(lock);
    open_as("r", "second");
    assert_true(registered_has("second\t"));
}

static void lines_that_make_no_sense_stay(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "no tab at all",    "x\tnot/absolute", "emmap\t%s/q5",    "\t%s/q6",
        "jobs\t%s/another", "again\t%s/q",     "esc\\x0g\t%s/q7", "esc\\x00\t%s/q8",
        "out\t/etc/passwd", "not\xff\t/utf",   "half\\x4",        "x\t",
        "dots\t%s/./q9",
    };
    enum { N = sizeof lines / sizeof lines[0] };
    char text[8192];
    char *end = text;
    open_as("q", "jobs");
    stop();
    end += snprintf(end, 1000, "jobs\t%s/q\n", host.dir);
    for (int i = 0; i < N; i++) {
        end += snprintf(end, 1000, lines[i], host.dir); // NOLINT
        *end++ = '\n';
    }
    snprintf(end, 1000, "work\t%s/q2", host.dir);
    write_registered(text);
    begin_again();
    is(ask_process(&peer, "jobs", "length"), "0");
    assert_int_equal(process("again"), 0);
    assert_int_equal(process("out"), 0);
    open_as("q3", "fresh");
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, lines[i], host.dir); // NOLINT
        assert_true(registered_has(text));
    }
    restart();
    assert_int_not_equal(process("jobs"), 0);
    assert_int_not_equal(process("work"), 0);
    assert_int_not_equal(process("fresh"), 0);
}

static void a_file_that_cannot_be_read_is_not_replaced(void **state)
{
    (void)state;
    open_as("q", "jobs");
    stop();
    assert_int_equal(unlink(registered_file()), 0);
    assert_int_equal(mkdir(registered_file(), 0700), 0);
    begin_again();
    assert_int_equal(process("jobs"), 0);
    is(ask(&peer, "{open_queue,\"q\",0,[{register,work}]}"), "{error,eisdir}");
    assert_int_equal(process("work"), 0);
    opened(ask(&peer, "{open_queue,\"q\",0,[]}"));
}

static void a_name_whose_file_may_not_be_used_any_more_is_left_alone(void **state)
{
    (void)state;
    char text[PATH_MAX];
    open_as("q", "jobs");
    stop();
    snprintf(text, sizeof text, "jobs\t%s/q\nsecret\t%s/../secret\n", host.dir, host.dir);
    write_registered(text);
    begin_again();
    is(ask_process(&peer, "secret", "length"), "{error,eacces}");
    is(ask_process(&peer, "jobs", "length"), "0");
}

/* ---- calls that fail ---- */

/* `ok` is kept; an error has changed nothing that can be seen. */
static void whatever_fails_the_answer_is_true(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        char name[16];
        char file[16];
        snprintf(name, sizeof name, "n%u", n);
        snprintf(file, sizeof file, "q%u", n);
        quiet();
        faults_begin(n, ENOSPC);
        const char *reply = ask(&peer, "{open_queue,\"%s\",0,[{register,%s}]}", file, name);
        quiet();
        const bool over = faults_end() == NULL;
        const bool good = strncmp(reply, "{ok,", 4) == 0;
        assert_int_equal(process(name) != 0, good);
        if (!good) {
            opened(ask(&peer, "{open_queue,\"%s\",0,[]}", file));
            assert_non_null(strstr(ask(&peer, "{info,\"%s\"}", file), "registered=>none"));
        }
        restart();
        if (good)
            is(ask_process(&peer, name, "length"), "0");
        open_as(file, name);
        is(ask_process(&peer, name, "length"), "0");
        if (over)
            return;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_needs_no_handle),
        TEST(requests_of_no_queue_are_unknown),
        TEST(its_end_is_told_once_and_its_number_is_gone),
        TEST(another_name_takes_the_place_of_the_first),
        TEST(a_name_has_one_file),
        TEST(of_very_many_names_that_of_the_process_stays),
        TEST(many_names_come_while_it_is_registered),
        TEST(names_that_are_taken_or_none_are_refused),
        TEST(a_zero_byte_is_part_of_a_name),
        TEST(a_queue_that_fails_ends_with_eio),
        TEST(names_outlive_the_daemon_whatever_is_in_them),
        TEST(a_name_given_up_stays_so),
        TEST(many_changes_at_once_are_all_kept),
        TEST(a_monitor_opens_it),
        TEST(a_file_that_is_gone_ends_nothing),
        TEST(lines_of_other_daemons_stay),
        TEST(another_daemon_is_waited_for),
        TEST(another_daemon_is_not_waited_for_for_ever),
        TEST(lines_that_make_no_sense_stay),
        TEST(a_file_that_cannot_be_read_is_not_replaced),
        TEST(a_name_whose_file_may_not_be_used_any_more_is_left_alone),
        TEST(whatever_fails_the_answer_is_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
