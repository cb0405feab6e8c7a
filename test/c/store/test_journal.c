/* Durable objects: what was committed is there after the daemon's end, whatever the files have of
 * it; halves are used again and again; journals that are damaged, foreign or lost. */
#include "store/journal.h"

#include <errno.h>
#include <sys/wait.h>

#include "durables.h"
#include "support/faults.h"

static void what_was_committed_is_stored_again(void **state)
{
    (void)state;
    struct object c;
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    add(&c, 3, 41);
    add(&c, 3, 1);
    commit(&c);
    KILL(&c);
    lose_counter("c", 3);
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    assert_true(value(&c, 3) == 42);
    object_close(&c);
}

static void a_closed_object_is_a_plain_file(void **state)
{
    (void)state;
    struct object c;
    struct mark mark;
    static const int64_t other = 7;
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    add(&c, 0, 5);
    object_close(&c);
    assert_int_equal(mark_of("c", &mark), ERR_ENOENT);
    overwrite("c", &other, sizeof other, 16);
    journal_free(journal);
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    assert_true(value(&c, 0) == 7);
    object_close(&c);
}

/* Many times the size of a half, with an object that is never touched again. */
static void halves_are_used_again(void **state)
{
    (void)state;
    struct object c;
    struct object r;
    struct object idle;
    uint8_t bytes[512];
    struct journal_info info;
    start();
    open_durable(&idle, "idle", OBJECT_COUNTERS);
    open_durable(&c, "c", OBJECT_COUNTERS);
    open_durable(&r, "r", OBJECT_REGION);
    add(&idle, 0, 9);
    for (int i = 0; i < 2000; i++) {
        memset(bytes, i, sizeof bytes);
        add(&c, 1, 1);
        assert_int_equal(region_write(&r, 512 * (uint64_t)(i % 16), bytes, sizeof bytes), OK);
        commit(&r);
    }
    journal_look_at(journal, &info);
    assert_true(info.generation > 10 && info.objects == 3 && info.kept == 0);
    KILL(&c, &r, &idle);
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    open_durable(&r, "r", OBJECT_REGION);
    open_durable(&idle, "idle", OBJECT_COUNTERS);
    assert_true(value(&c, 1) == 2000 && value(&idle, 0) == 9);
    assert_int_equal(region_read(&r, 512 * 15, bytes, sizeof bytes), OK);
    assert_int_equal(bytes[511], (uint8_t)1999);
    object_close(&c);
    object_close(&r);
    object_close(&idle);
}

static void a_durable_queue_survives(void **state)
{
    (void)state;
    struct object q;
    const struct turn t = {.now_ms = NOW_MS, .may_wait = true};
    static uint8_t item[100];
    uint64_t first;
    struct record r;
    start();
    open_durable(&q, "q", OBJECT_QUEUE);
    for (int i = 0; i < 500; i++) {
        const struct span s = span_of(item, sizeof item);
        assert_int_equal(queue_push(&q, &t, &s, 1, &first), OK);
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(queue_front(&q, &t, &r), OK);
        assert_int_equal(queue_pop(&q, &t, &r), OK);
    }
    commit(&q);
    KILL(&q);
    start();
    assert_int_equal(try_open(&q, "q", OBJECT_QUEUE, false), OK);
    assert_non_null(q.durable); /* its file says so */
    struct queue_info info;
    queue_look(&q, &info);
    assert_int_equal(info.items, 400);
    assert_int_equal(info.first_id, 101);
    object_close(&q);
}

/* More than a record should hold goes past the journal, and is durable all the same. */
static void big_writes_pass_the_journal(void **state)
{
    (void)state;
    struct object r;
    static uint8_t bytes[6000];
    uint8_t seen[6000];
    struct journal_info before;
    struct journal_info after;
    start();
    open_durable(&r, "r", OBJECT_REGION);
    memset(bytes, 1, sizeof bytes);
    assert_int_equal(region_write(&r, 0, bytes, 100), OK);
    commit(&r);
    journal_look_at(journal, &before);
    memset(bytes, 2, sizeof bytes);
    assert_int_equal(region_write(&r, 0, bytes, sizeof bytes), OK);
    journal_look_at(journal, &after);
    assert_true(after.bytes - before.bytes < 100);
    KILL(&r);
    start();
    open_durable(&r, "r", OBJECT_REGION);
    assert_int_equal(region_read(&r, 0, seen, sizeof seen), OK);
    assert_memory_equal(seen, bytes, sizeof bytes);
    object_close(&r);
}

/* What was recorded before, and is in the group that still gathers, must not be stored over it. */
static void a_big_write_outlives_what_was_recorded_before(void **state)
{
    (void)state;
    struct object r;
    static uint8_t bytes[6000];
    uint8_t seen[6000];
    start();
    open_durable(&r, "r", OBJECT_REGION);
    memset(bytes, 1, sizeof bytes);
    assert_int_equal(region_write(&r, 0, bytes, 100), OK);
    memset(bytes, 2, sizeof bytes);
    assert_int_equal(region_write(&r, 0, bytes, sizeof bytes), OK);
    KILL(&r);
    start();
    open_durable(&r, "r", OBJECT_REGION);
    assert_int_equal(region_read(&r, 0, seen, sizeof seen), OK);
    assert_memory_equal(seen, bytes, sizeof bytes);
    object_close(&r);
}

/* In a process of its own: killed before the n-th call of a first durable opening. */
static bool opening_is_killed(unsigned n)
{
    const pid_t child = fork();
    if (child == 0) {
        struct object c;
        start();
        faults_begin(n, 0);
        (void)try_open(&c, "c", OBJECT_COUNTERS, true);
        _exit(0);
    }
    int status;
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status) == FAULTS_STOPPED;
}

static void a_kill_at_any_step_of_opening_leaves_a_file_that_opens(void **state)
{
    (void)state;
    struct object c;
    bool killed = true;
    for (unsigned n = 1; killed; n++) {
        killed = opening_is_killed(n);
        start();
        assert_int_equal(try_open(&c, "c", OBJECT_COUNTERS, false), OK);
        assert_null(c.durable);
        object_close(&c);
        stop();
        folder_remove(strdup(folder_file(dir, ".emmap")));
        assert_int_equal(unlink(folder_file(dir, "c")), 0);
    }
}

static int no_attributes(int fd, const char *name, const void *bytes, size_t len)
{
    (void)fd;
    (void)name;
    (void)bytes;
    (void)len;
    errno = ENOTSUP;
    return -1;
}

static int nothing_to_remove(int fd, const char *name)
{
    (void)fd;
    (void)name;
    errno = ENOTSUP;
    return -1;
}

static void without_attributes_nothing_is_durable(void **state)
{
    (void)state;
    struct object c;
    struct journal_info info;
    os.set_attribute = no_attributes;
    os.remove_attribute = nothing_to_remove;
    start();
    assert_int_equal(try_open(&c, "c", OBJECT_COUNTERS, true), ERR_ENOTSUP);
    journal_look_at(journal, &info);
    assert_true(info.state == JOURNAL_READY && info.objects == 0 && info.kept == 0);
    assert_int_equal(try_open(&c, "c", OBJECT_COUNTERS, false), OK);
    add(&c, 0, 1);
    object_close(&c);
}

/* --- syncs that fail ------------------------------------------------------------------------- */

/* Of the files with this inode, while it is not 0. */
static _Atomic(ino_t) bad_inode;
static atomic_uint bad_syncs;

static int sync_some(int fd)
{
    struct stat st;
    if (real.fstat(fd, &st) == 0 && st.st_ino == bad_inode) {
        bad_syncs++;
        errno = EIO;
        return -1;
    }
    return real.sync(fd);
}

/* In place before there are threads. */
static void start_with_bad_syncs(void)
{
    bad_inode = 0;
    bad_syncs = 0;
    os.sync = sync_some;
    start();
}

static ino_t inode_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(folder_file(dir, name), &st), 0);
    return st.st_ino;
}

/* An object whose file cannot be synced when a half is to be used again: its records are kept, the
 * others go on, and opening it again, now or in the next life, stores them. */
static void begin_failing(struct object *bad, struct object *c)
{
    start_with_bad_syncs();
    open_durable(bad, "bad", OBJECT_COUNTERS);
    open_durable(c, "c", OBJECT_COUNTERS);
    add(bad, 2, 11);
    turn_with(c);
    add(bad, 2, 22);
    commit(bad);
    bad_inode = inode_of("bad");
    turn_with(c);
    turn_with(c);
    assert_true(bad->failed && !c->failed && bad_syncs == 1 && kept_files() > 0);
    lose_counter("bad", 2);
}

static void what_cannot_be_synced_is_kept_for_its_next_opening(void **state)
{
    (void)state;
    struct object bad;
    struct object c;
    int64_t old;
    begin_failing(&bad, &c);
    assert_int_equal(counter_put(&bad, 2, WORD_ADD, 1, &old), ERR_EIO);
    assert_int_equal(try_again(&bad, "bad", OBJECT_COUNTERS, true), ERR_EIO);
    bad_inode = 0;
    assert_int_equal(try_again(&bad, "bad", OBJECT_COUNTERS, true), OK);
    assert_true(value(&bad, 2) == 33 && !bad.failed);
    assert_int_equal(kept_files(), 0);
    add(&bad, 2, 1);
    commit(&bad);
    KILL(&bad, &c);
    start();
    open_durable(&bad, "bad", OBJECT_COUNTERS);
    assert_true(value(&bad, 2) == 34);
    object_close(&bad);
}

static void what_cannot_be_synced_is_kept_for_the_next_life(void **state)
{
    (void)state;
    struct object bad;
    struct object c;
    begin_failing(&bad, &c);
    KILL(&bad, &c);
    bad_inode = 0;
    start();
    assert_int_equal(kept_files(), 0);
    open_durable(&bad, "bad", OBJECT_COUNTERS);
    assert_true(value(&bad, 2) == 33);
    object_close(&bad);
}

/* Closed meanwhile, too. */
static void what_cannot_be_synced_when_closed_is_kept(void **state)
{
    (void)state;
    struct object bad;
    struct object c;
    struct journal_info info;
    begin_failing(&bad, &c);
    object_close(&bad);
    turn_with(&c);
    journal_look_at(journal, &info);
    assert_true(info.objects == 1 && info.kept == 1);
    assert_int_equal(try_open(&bad, "bad", OBJECT_COUNTERS, true), ERR_NEEDS_JOURNAL);
    bad_inode = 0;
    open_durable(&bad, "bad", OBJECT_COUNTERS);
    assert_true(value(&bad, 2) == 33);
    assert_int_equal(kept_files(), 0);
    object_close(&bad);
    object_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(what_was_committed_is_stored_again),
        BOTH(a_closed_object_is_a_plain_file),
        BOTH(halves_are_used_again),
        BOTH(a_durable_queue_survives),
        BOTH(big_writes_pass_the_journal),
        BOTH(a_big_write_outlives_what_was_recorded_before),
        BOTH(without_attributes_nothing_is_durable),
        BOTH(what_cannot_be_synced_is_kept_for_its_next_opening),
        BOTH(what_cannot_be_synced_is_kept_for_the_next_life),
        BOTH(what_cannot_be_synced_when_closed_is_kept),
        ALONE(a_kill_at_any_step_of_opening_leaves_a_file_that_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
