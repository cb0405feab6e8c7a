/* Snapshots and restoring among clients: who asks for one has it answered when it is there, and the
 * object goes on meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/entry.h"
#include "store/snapshot.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/peer.h"
#include "sys/os.h"

static struct host host;
static struct peer peer;
static struct os real;

/* The threads of snapshots stop before they read anything, while it is shut. */
static struct {
    atomic_bool shut;
    atomic_uint arrived;
    sem_t open;
} gate;

static ssize_t read_at_gate(int fd, void *bytes, size_t n, off_t offset)
{
    if (gate.shut && n > PATH_MAX) {
        gate.arrived++;
        while (sem_wait(&gate.open) != 0)
            assert_int_equal(errno, EINTR);
    }
    return real.read_at(fd, bytes, n, offset);
}

static void shut_gate(void)
{
    gate.arrived = 0;
    gate.shut = true;
}

static void open_gate(unsigned n)
{
    gate.shut = false;
    while (n-- > 0)
        sem_post(&gate.open);
}

static int setup(void **state)
{
    (void)state;
    real = os;
    sem_init(&gate.open, 0, 0);
    gate.shut = false;
    os.read_at = read_at_gate;
    host_init(&host);
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    open_gate(SNAPSHOTS);
    if (peer.client != NULL)
        peer_close(&peer);
    host_close(&host);
    sem_destroy(&gate.open);
    os = real;
    return 0;
}

/* --- what they say -----------------------------------------------------------------------------
 */

static uint64_t open_counters(const char *name)
{
    return opened(ask(&peer, "{open_counters,\"%s\",10000}", name));
}

static void say(const char *format, uint64_t id)
{
    char text[200];
    snprintf(text, sizeof text, format, id); /* NOLINT: of this file */
    call(&peer, make_term("%s", text));
}

/* Hands the request in; its snapshot has begun when this returns, and waits at the gate. */
static void begin(const char *format, uint64_t id)
{
    shut_gate();
    say(format, id);
    while (gate.arrived == 0)
        assert_false(anything(&peer));
    /* the loop has heard of it, too */
    while (host.server->copying == 0)
        assert_false(anything(&peer));
}

static bool is_there(const char *name)
{
    return access(folder_file(host.dir, name), F_OK) == 0;
}

static const char snapshot[] = "{snapshot,%" PRIu64 ",\"to\"}";
static const char size_told[] = "{ok,#{size=>80016}}";

/* --- snapshots ------------------------------------------------------------------------------- */

static void the_object_goes_on_meanwhile(void **state)
{
    (void)state;
    const uint64_t id = open_counters("c");
    is(ask(&peer, "{set_counter,%" PRIu64 ",5,77}", id), "{ok,0}");
    begin(snapshot, id);
    is(ask(&peer, "{inc_counter,%" PRIu64 ",5}", id), "{ok,77}");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",9999}", id), "{ok,0}");
    is(ask(&peer, "{sync,%" PRIu64 "}", id), "ok");
    is(ask(&peer, "{snapshot,%" PRIu64 ",\"another\"}", id), "{error,ebusy}");
    assert_false(is_there("to"));
    open_gate(1);
    is(heard(&peer), size_told);
    assert_true(is_there("to"));
    assert_false(is_there("another"));
    const uint64_t copy = open_counters("to");
    is(ask(&peer, "{read_counter,%" PRIu64 ",5}", copy), "{ok,77}");
    is(ask(&peer, "{read_counter,%" PRIu64 ",9999}", copy), "{ok,0}");
    is(ask(&peer, "{read_counter,%" PRIu64 ",5}", id), "{ok,78}");
    is(ask(&peer, snapshot, id), "{error,eexist}");
    is(ask(&peer, "{snapshot,%" PRIu64 ",\"third\"}", id), size_told);
}

/* Of so much that nothing more can be kept for the copy the next change waits, and only that. */
static void changes_wait_for_room_and_others_do_not(void **state)
{
    (void)state;
    const uint64_t id =
        opened(ask(&peer, "{open,\"big\",0,%d,[create,write]}", (SNAPSHOT_SAVED + 100) * 4096));
    const uint64_t c = open_counters("c");
    begin(snapshot, id);
    for (int page = 0; page < SNAPSHOT_SAVED; page++)
        is(ask(&peer, "{patomic_add,%" PRIu64 ",%d,1}", id, page * 4096), "{ok,0}");
    say("{patomic_add,%" PRIu64 ",16777216,1}", id);
    is(ask(&peer, "{inc_counter,%" PRIu64 ",5}", c), "{ok,0}");
    for (int i = 0; i < 100; i++)
        assert_false(anything(&peer));
    open_gate(1);
    const char *first = heard(&peer);
    const char *second = heard(&peer);
    const bool in_order = strcmp(first, "{ok,0}") == 0;
    is(in_order ? first : second, "{ok,0}");
    is(in_order ? second : first, "{ok,#{size=>17186816}}");
    const uint64_t copy = opened(ask(&peer, "{open,\"to\",0,0,[read]}"));
    for (int page = 0; page <= SNAPSHOT_SAVED; page++)
        is(ask(&peer, "{patomic_read_integer,%" PRIu64 ",%d}", copy, page * 4096), "{ok,0}");
}

static void a_closed_object_stays_until_its_snapshot_is_there(void **state)
{
    (void)state;
    const uint64_t id = open_counters("c");
    begin(snapshot, id);
    is(ask(&peer, "{close,%" PRIu64 "}", id), "ok");
    is(ask(&peer, "{read_counter,%" PRIu64 ",5}", id), "{error,closed}");
    is(ask(&peer, "{inc_counter,\"c\",5}"), "{ok,0}");
    assert_int_equal(host.server->entry_count, 1);
    open_gate(1);
    is(heard(&peer), size_told);
    while (host.server->entry_count > 0)
        assert_false(anything(&peer));
}

/* The thread may have been faster. */
static void ended_early_or_whole(const char *answer)
{
    const bool early = strcmp(answer, "{error,closed}") == 0;
    is(answer, early ? answer : size_told);
    assert_int_equal(is_there("to"), !early);
}

static void what_goes_with_its_handle_takes_its_snapshot_along(void **state)
{
    (void)state;
    const uint64_t id = opened(ask(&peer, "{open_counters,\"c\",10000,[auto_unlink]}"));
    begin(snapshot, id);
    say("{close,%" PRIu64 "}", id); /* which waits until the thread does not read */
    assert_false(anything(&peer));
    open_gate(1);
    const char *first = heard(&peer);
    const char *second = heard(&peer);
    const bool in_order = strcmp(first, "ok") == 0;
    is(in_order ? first : second, "ok");
    ended_early_or_whole(in_order ? second : first);
    assert_false(is_there("c"));
}

static void who_has_gone_has_it_made_all_the_same(void **state)
{
    (void)state;
    const uint64_t id = open_counters("c");
    begin(snapshot, id);
    peer_close(&peer);
    peer.client = NULL;
    peer_open(&peer, &host, "other@localhost");
    assert_false(is_there("to"));
    open_gate(1);
    while (host.server->entry_count > 0)
        assert_false(anything(&peer));
    assert_true(is_there("to"));
}

static void the_end_of_the_daemon_is_that_of_a_snapshot(void **state)
{
    (void)state;
    const uint64_t id = open_counters("c");
    begin(snapshot, id);
    host_begin_stop(&host);
    for (int i = 0; i < 100; i++)
        assert_false(anything(&peer));
    open_gate(1);
    while (!host.stopped)
        uv_run(&host.loop, UV_RUN_ONCE);
    ended_early_or_whole(heard(&peer));
    peer_close(&peer);
    peer.client = NULL;
    host_end_stop(&host);
    host_open(&host);
}

static void in_a_batch_the_next_waits_for_it(void **state)
{
    (void)state;
    const uint64_t id = open_counters("c");
    begin("{batch,[{inc_counter,\"c\",1},{snapshot,\"c\",\"to\"},"
          "{inc_counter,\"c\",1}]}",
          id);
    is(ask(&peer, "{read_counter,%" PRIu64 ",1}", id), "{ok,1}");
    open_gate(1);
    is(heard(&peer), "{ok,[{ok,0},{ok,#{size=>80016}},{ok,1}]}");
}

static void a_queue_is_copied_by_its_name(void **state)
{
    (void)state;
    const uint64_t id = opened(ask(&peer, "{open_queue,\"q\",0,[]}"));
    for (int i = 0; i < 3; i++)
        is(ask(&peer, "{push,%" PRIu64 ",%d}", id, i), "ok");
    begin("{snapshot,\"q\",\"to\"}", id);
    is(ask(&peer, "{pop,%" PRIu64 "}", id), "0");
    is(ask(&peer, "{push,%" PRIu64 ",3}", id), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", id), "{ok,2,1,1}");
    open_gate(1);
    is(heard(&peer), "{ok,#{size=>131072}}");
    const uint64_t copy = opened(ask(&peer, "{open_queue,\"to\",0,[]}"));
    is(ask(&peer, "{pop_many,%" PRIu64 ",10}", copy), "{ok,[0,1,2]}");
    is(ask(&peer, "{length,%" PRIu64 "}", copy), "0");
}

/* Its copy is over when the worker gives the object back. */
static void what_is_no_file_is_copied_too(void **state)
{
    (void)state;
    const uint64_t id = opened(ask(&peer, "{open,\"any\",0,100,[anon,write]}"));
    is(ask(&peer, "{pwrite,%" PRIu64 ",50,\"some\"}", id), "ok");
    is(ask(&peer, snapshot, id), "{ok,#{size=>100}}");
    const uint64_t copy = opened(ask(&peer, "{open,\"to\",0,0,[read]}"));
    is(ask(&peer, "{pread,%" PRIu64 ",50,4}", copy), "{ok,<<\"some\">>}");
    assert_int_equal(host.server->copying, 0);
}

static void a_name_has_to_be_one(void **state)
{
    (void)state;
    const uint64_t id = open_counters("c");
    is(ask(&peer, "{snapshot,%" PRIu64 ",[]}", id), "{error,badarg}");
    is(ask(&peer, "{snapshot,%" PRIu64 ",5}", id), "{error,badarg}");
    is(ask(&peer, "{snapshot,%" PRIu64 ",\"/etc/passwd\"}", id), "{error,eacces}");
    is(ask(&peer, "{snapshot,%" PRIu64 ",\"no/such\"}", id), "{error,enoent}");
    is(ask(&peer, "{snapshot,\"nowhere\",\"to\"}"), "{error,enoent}");
    is(ask(&peer, "{snapshot,12345,\"to\"}"), "{error,stale}");
    is(ask(&peer, "{restore,%" PRIu64 ",\"c\"}", id), "{error,badarg}");
    is(ask(&peer, "{restore,\"r\",%" PRIu64 "}", id), "{error,badarg}");
    is(ask(&peer, "{restore,\"/etc/r\",\"c\"}"), "{error,eacces}");
    is(ask(&peer, "{restore,\"r\",\"/etc/passwd\"}"), "{error,eacces}");
    is(ask(&peer, "{restore,\"r\",\"nowhere\"}"), "{error,enoent}");
    is(ask(&peer, "{restore,\"r\",\".\"}"), "{error,eacces}");
    assert_false(is_there("to") || is_there("r"));
}

/* --- restoring ------------------------------------------------------------------------------- */

static void what_was_copied_is_restored(void **state)
{
    (void)state;
    const uint64_t id = opened(ask(&peer, "{open_queue,\"q\",0,[]}"));
    is(ask(&peer, "{push,%" PRIu64 ",first}", id), "ok");
    is(ask(&peer, snapshot, id), "{ok,#{size=>131072}}");
    is(ask(&peer, "{restore,\"q\",\"to\"}"), "{error,eexist}");
    is(ask(&peer, "{restore,\"r\",\"q\"}"), "{error,{locked,<<\"emmap@localhost\">>}}");
    assert_false(is_there("r"));
    is(ask(&peer, "{restore,[114],[116,111]}"), "ok"); /* "r", "to" */
    is(ask(&peer, "{pop,\"r\"}"), "first");
    is(ask(&peer, "{restore,\"r\",\"to\"}"), "{error,eexist}");
    is(ask(&peer, "{pop,\"q\"}"), "first");
}

/* The name of a file that has been removed is free, though the file is still used. */
static void a_removed_file_is_restored(void **state)
{
    (void)state;
    const uint64_t id = open_counters("c");
    is(ask(&peer, "{set_counter,%" PRIu64 ",5,77}", id), "{ok,0}");
    is(ask(&peer, snapshot, id), size_told);
    is(ask(&peer, "{set_counter,%" PRIu64 ",5,78}", id), "{ok,77}");
    assert_int_equal(unlink(folder_file(host.dir, "c")), 0);
    is(ask(&peer, "{restore,\"c\",\"to\"}"), "ok");
    is(ask(&peer, "{read_counter,%" PRIu64 ",5}", id), "{ok,78}");
    const uint64_t again = open_counters("c");
    is(ask(&peer, "{read_counter,%" PRIu64 ",5}", again), "{ok,77}");
}

static void damage(const char *name, off_t at)
{
    const int fd = open(folder_file(host.dir, name), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, "\377\377\377\377", 4, at) == 4);
    close(fd);
}

static void damage_is_told_and_not_restored(void **state)
{
    (void)state;
    uint64_t id = opened(ask(&peer, "{open_queue,\"q\",0,[]}"));
    is(ask(&peer, snapshot, id), "{ok,#{size=>131072}}");
    for (off_t at = 0; at < 16384; at += 4096)
        damage("to", at + 9);
    const char *reply = ask(&peer, "{restore,\"r\",\"to\"}");
    assert_int_equal(strncmp(reply, "{error,{damaged,<<\"", 19), 0);
    assert_int_equal(unlink(folder_file(host.dir, "to")), 0);
    id = open_counters("c");
    is(ask(&peer, snapshot, id), size_told);
    damage("to", 8); /* more counters than it has */
    is(ask(&peer, "{restore,\"r\",\"to\"}"), "{error,{invalid_file_header,<<\"EMMAP01\n\">>}}");
    assert_false(is_there("r"));
    while (host.server->entry_count > 2)
        assert_false(anything(&peer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_object_goes_on_meanwhile),
        TEST(changes_wait_for_room_and_others_do_not),
        TEST(a_closed_object_stays_until_its_snapshot_is_there),
        TEST(what_goes_with_its_handle_takes_its_snapshot_along),
        TEST(who_has_gone_has_it_made_all_the_same),
        TEST(the_end_of_the_daemon_is_that_of_a_snapshot),
        TEST(in_a_batch_the_next_waits_for_it),
        TEST(a_queue_is_copied_by_its_name),
        TEST(what_is_no_file_is_copied_too),
        TEST(a_name_has_to_be_one),
        TEST(what_was_copied_is_restored),
        TEST(a_removed_file_is_restored),
        TEST(damage_is_told_and_not_restored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
