/* Durable objects: what was committed is there after the daemon's end, whatever the files have of
 * it; halves are used again and again; journals that are damaged, foreign or lost. */
#include "store/journal_inside.h"

#include <errno.h>
#include <sys/wait.h>

#include "durables.h"
#include "support/faults.h"
#include "sys/hash.h"

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
    assert_int_equal(region_read(&r, (uint64_t)512 * 15, bytes, sizeof bytes), OK);
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

static void what_was_cut_off_does_not_come_back(void **state)
{
    (void)state;
    struct object r;
    static const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t seen[8];
    start();
    open_durable(&r, "r", OBJECT_REGION);
    assert_int_equal(region_write(&r, 5000, bytes, sizeof bytes), OK);
    assert_int_equal(object_resize(&r, 4096), OK);
    assert_int_equal(object_resize(&r, 8192), OK);
    KILL(&r);
    start();
    open_durable(&r, "r", OBJECT_REGION);
    assert_int_equal(region_read(&r, 5000, seen, sizeof seen), OK);
    assert_memory_equal(seen, ((uint8_t[8]){0}), sizeof seen);
    object_close(&r);
}

/* A later store into a word may be in the file, and is not committed. */
static void a_word_comes_back_as_a_whole(void **state)
{
    (void)state;
    struct object r;
    static const uint8_t bytes[2] = {7, 8};
    int64_t old;
    int64_t v;
    start();
    open_durable(&r, "r", OBJECT_REGION);
    assert_int_equal(region_write(&r, 6, bytes, sizeof bytes), OK);
    commit(&r);
    assert_int_equal(region_read_word(&r, 0, &v), OK);
    assert_int_equal(region_word(&r, 0, WORD_XCHG, 0, -1, &old), OK);
    KILL(&r);
    start();
    open_durable(&r, "r", OBJECT_REGION);
    assert_int_equal(region_read_word(&r, 0, &old), OK);
    assert_true(old == v || old == -1);
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
    int status = 0;
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

/* Pages of the file with this inode of which a byte was stored as it is. */
static ino_t watched_inode;
static size_t pages_again;

static void watch_stores(const struct map *m, uint64_t pos, const void *from, size_t len)
{
    struct stat st;
    (void)from;
    if (pos % 4096 == 0 && len == 1 && real.fstat(m->fd, &st) == 0 && st.st_ino == watched_inode)
        pages_again++;
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

/* The cache calls pages clean that the disk may not have: also those that no record is of. */
static void what_could_not_be_synced_is_written_again_as_a_whole(void **state)
{
    (void)state;
    struct object bad;
    struct object c;
    begin_failing(&bad, &c);
    watched_inode = inode_of("bad");
    assert_int_equal(try_again(&bad, "bad", OBJECT_COUNTERS, true), ERR_EIO);
    bad_inode = 0;
    pages_again = 0;
    put_watch = watch_stores;
    assert_int_equal(try_again(&bad, "bad", OBJECT_COUNTERS, true), OK);
    assert_int_equal(pages_again, 1); /* it has one page */
    add(&bad, 2, 1);
    commit(&bad);
    object_close(&bad);
    pages_again = 0;
    open_durable(&bad, "bad", OBJECT_COUNTERS);
    put_watch = NULL;
    assert_int_equal(pages_again, 0); /* once is enough */
    object_close(&bad);
    object_close(&c);
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
    assert_int_equal(try_open(&bad, "bad", OBJECT_COUNTERS, true), ERR_EIO);
    bad_inode = 0;
    open_durable(&bad, "bad", OBJECT_COUNTERS);
    assert_true(value(&bad, 2) == 33);
    assert_int_equal(kept_files(), 0);
    object_close(&bad);
    object_close(&c);
}

/* A copy bears the mark, too, but is another file. */
static void a_copy_gets_nothing_of_what_was_kept(void **state)
{
    (void)state;
    struct object bad;
    struct object c;
    struct mark m;
    begin_failing(&bad, &c);
    object_close(&bad);
    assert_int_equal(mark_of("bad", &m), OK);
    const int fd = open(folder_file(dir, "copy"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 80) == 0);
    assert_int_equal(mark_write(fd, &m), OK);
    close(fd);
    struct object copy;
    assert_int_equal(try_open(&copy, "copy", OBJECT_REGION, false), ERR_NEEDS_JOURNAL);
    bad_inode = 0;
    open_durable(&bad, "bad", OBJECT_COUNTERS);
    assert_true(value(&bad, 2) == 33);
    object_close(&bad);
    object_close(&c);
}

/* Not durable any more, but not synced either: what was committed is stored by the next opening,
 * which makes it plain, and no later start stores it once more. */
static void what_cannot_be_relaxed_is_reclaimed(void **state)
{
    (void)state;
    struct object c;
    struct mark m;
    int64_t old;
    start_with_bad_syncs();
    open_durable(&c, "c", OBJECT_COUNTERS);
    add(&c, 0, 5);
    bad_inode = inode_of("c");
    assert_int_equal(object_relax(&c), ERR_EIO);
    assert_int_equal(counter_put(&c, 0, WORD_ADD, 1, &old), ERR_EIO);
    lose_counter("c", 0);
    assert_int_equal(try_again(&c, "c", OBJECT_COUNTERS, false), ERR_EIO);
    bad_inode = 0;
    assert_int_equal(try_again(&c, "c", OBJECT_COUNTERS, false), OK);
    assert_true(value(&c, 0) == 5 && c.durable == NULL);
    assert_int_equal(mark_of("c", &m), ERR_ENOENT);
    add(&c, 0, 1);
    KILL(&c);
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    assert_true(value(&c, 0) == 6);
    object_close(&c);
}

/* --- the journal itself fails ---------------------------------------------------------------- */

static atomic_bool halves_bad_sync;
static atomic_bool halves_bad_write;

static bool is_half(int fd)
{
    struct stat st;
    struct stat half;
    if (real.fstat(fd, &st) != 0)
        return false;
    for (int i = 0; i < 2; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/.emmap/j%d", dir, i);
        if (stat(path, &half) == 0 && half.st_ino == st.st_ino)
            return true;
    }
    return false;
}

static int sync_halves(int fd)
{
    if (halves_bad_sync && is_half(fd)) {
        errno = EIO;
        return -1;
    }
    return real.sync(fd);
}

static ssize_t write_halves(int fd, const void *bytes, size_t n, off_t at)
{
    if (halves_bad_write && is_half(fd)) {
        errno = ENOSPC;
        return -1;
    }
    return real.write_at(fd, bytes, n, at);
}

/* Everything that was acknowledged before is there in the next life; nothing was after. */
static void fail_journal(atomic_bool *bad)
{
    struct object c;
    struct object r;
    struct object d;
    struct journal_info info;
    int64_t old;
    os.sync = sync_halves;
    os.write_at = write_halves;
    halves_bad_sync = halves_bad_write = false;
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    open_durable(&r, "r", OBJECT_REGION);
    add(&c, 0, 7);
    commit(&c);
    const uint64_t durable = object_group(&c);
    *bad = true;
    add(&c, 0, 1);
    assert_int_equal(journal_wait(journal, object_group(&c)), ERR_EIO);
    *bad = false;
    assert_int_equal(journal_look(journal, object_group(&c)), ERR_EIO);
    assert_int_equal(journal_look(journal, durable), OK);
    assert_true(journal_failed(journal) && journal_has_room(journal));
    assert_true(c.failed && r.failed);
    assert_int_equal(counter_put(&c, 0, WORD_ADD, 1, &old), ERR_EIO);
    assert_int_equal(region_write(&r, 0, "x", 1), ERR_EIO);
    assert_false(journal_has_lost(r.durable));
    assert_int_equal(put_bytes(&r, 0, "x", 1), ERR_EIO); /* it was asked for just before */
    assert_true(journal_has_lost(r.durable));
    assert_int_equal(object_sync(&c), ERR_EIO);
    assert_int_equal(object_resize(&r, REGION / 2), ERR_EIO);
    assert_int_equal(try_again(&c, "c", OBJECT_COUNTERS, true), ERR_EIO);
    assert_int_equal(try_open(&d, "d", OBJECT_COUNTERS, true), ERR_EIO);
    journal_kick(journal);
    assert_int_equal(object_relax(&r), ERR_EIO);
    object_close(&c);
    object_close(&r);
    assert_int_equal(try_open(&c, "c", OBJECT_COUNTERS, false), ERR_EIO);
    assert_int_equal(try_open(&d, "d", OBJECT_COUNTERS, false), OK);
    object_close(&d);
    journal_look_at(journal, &info);
    assert_true(info.state == JOURNAL_FAILED && info.objects == 0);
    stop();
    lose_counter("c", 0);
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    assert_true(value(&c, 0) == 7 || value(&c, 0) == 8);
    object_close(&c);
}

static void a_half_that_cannot_be_synced_ends_the_journal(void **state)
{
    (void)state;
    fail_journal(&halves_bad_sync);
}

static void a_half_that_cannot_be_written_ends_the_journal(void **state)
{
    (void)state;
    fail_journal(&halves_bad_write);
}

/* --- making, and who has it ------------------------------------------------------------------ */

static void nothing_is_made_before_something_is_durable(void **state)
{
    (void)state;
    struct object c;
    struct stat st;
    struct journal_info info;
    start();
    assert_int_equal(try_open(&c, "c", OBJECT_COUNTERS, false), OK);
    object_close(&c);
    journal_look_at(journal, &info);
    assert_int_equal(info.state, JOURNAL_NONE);
    stop();
    assert_int_equal(stat(folder_file(dir, ".emmap"), &st), -1);
}

static atomic_bool disk_is_full;

static int allocate_some(int fd, off_t offset, off_t len)
{
    if (disk_is_full) {
        errno = ENOSPC;
        return -1;
    }
    return real.allocate(fd, offset, len);
}

static void a_full_disk_makes_no_journal(void **state)
{
    (void)state;
    struct object c;
    struct journal_info info;
    os.allocate = allocate_some;
    disk_is_full = false;
    start();
    assert_int_equal(try_open(&c, "c", OBJECT_COUNTERS, false), OK);
    disk_is_full = true;
    assert_int_equal(try_again(&c, "c", OBJECT_COUNTERS, true), ERR_ENOSPC);
    add(&c, 0, 1);
    journal_look_at(journal, &info);
    assert_true(info.state == JOURNAL_NONE && c.durable == NULL && !c.failed);
    disk_is_full = false;
    assert_int_equal(try_again(&c, "c", OBJECT_COUNTERS, true), OK);
    assert_non_null(c.durable);
    disk_is_full = true; /* halves have their space */
    turn_with(&c);
    turn_with(&c);
    turn_with(&c);
    object_close(&c);
}

static void a_lock_that_was_removed_is_no_lost_journal(void **state)
{
    (void)state;
    struct object c;
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    add(&c, 0, 3);
    commit(&c);
    KILL(&c);
    lose_counter("c", 0);
    assert_int_equal(unlink(folder_file(dir, ".emmap/lock")), 0);
    start();
    assert_int_equal(try_open(&c, "c", OBJECT_COUNTERS, false), OK);
    assert_true(value(&c, 0) == 3);
    object_close(&c);
}

/* Two daemons of one directory: the second has no durable objects until the first has gone. */
static void a_journal_has_one_daemon(void **state)
{
    (void)state;
    struct object c;
    struct object d;
    struct journal_info info;
    char why[JOURNAL_WHY];
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    struct journal *const first = journal;
    journal = journal_in(dir, false);
    assert_int_equal(journal_start(journal, why), ERR_LOCKED);
    journal_look_at(journal, &info);
    assert_int_equal(info.state, JOURNAL_LOCKED);
    for (int sync = 0; sync < 2; sync++) {
        struct opening o = opening_of(folder_file(dir, "c"), OBJECT_COUNTERS, sync);
        d = (struct object){.map.fd = -1};
        assert_int_equal(try_attach(&d, &o), ERR_LOCKED);
        assert_string_equal(o.owner, "a@b");
    }
    struct opening o = opening_of(folder_file(dir, "d"), OBJECT_COUNTERS, true);
    d = (struct object){.map.fd = -1};
    assert_int_equal(try_attach(&d, &o), ERR_LOCKED);
    assert_string_equal(o.owner, "a@b");
    object_close(&c);
    journal_free(first);
    open_durable(&d, "d", OBJECT_COUNTERS);
    open_durable(&c, "c", OBJECT_COUNTERS);
    object_close(&c);
    object_close(&d);
}

/* --- regions --------------------------------------------------------------------------------- */

/* What a resize has cut off does not come back, and what is there now is right. */
static void a_durable_region_is_resized_and_replayed(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    struct object r;
    start();
    open_durable(&r, "r", OBJECT_REGION);
    fill(&r, 0, 1, 1024);
    fill(&r, 6144, 1, 2048);
    assert_int_equal(object_resize(&r, 4096), OK);
    fill(&r, 1024, 2, 8);
    assert_int_equal(object_resize(&r, REGION), OK);
    fill(&r, 4096, 3, 8);
    commit(&r);
    KILL(&r);
    overwrite("r", zeros, 8, 4096);
    start();
    open_durable(&r, "r", OBJECT_REGION);
    assert_filled(&r, 0, 1, 1024);
    assert_filled(&r, 1024, 2, 8);
    assert_filled(&r, 4096, 3, 8);
    assert_filled(&r, 4104, 0, REGION - 4104);
    assert_int_equal(object_resize(&r, 16), OK);
    KILL(&r);
    start();
    assert_int_equal(try_open(&r, "r", OBJECT_REGION, false), OK);
    assert_filled(&r, 0, 1, 16);
    assert_filled(&r, 16, 0, REGION - 16);
    object_close(&r);
}

static void a_region_is_default_then_durable_then_default(void **state)
{
    (void)state;
    static const uint8_t zeros[64];
    struct object r;
    struct mark m;
    start();
    assert_int_equal(try_open(&r, "r", OBJECT_REGION, false), OK);
    fill(&r, 0, 1, 64);
    assert_int_equal(try_again(&r, "r", OBJECT_REGION, true), OK);
    const struct durable *const joined = r.durable;
    assert_non_null(joined);
    assert_int_equal(try_again(&r, "r", OBJECT_REGION, true), OK); /* a second handle */
    assert_int_equal(try_again(&r, "r", OBJECT_REGION, false), OK);
    assert_ptr_equal(r.durable, joined);
    const int fd = open(folder_file(dir, "r"), O_RDWR | O_CLOEXEC);
    assert_int_equal(os.lock_shared(fd), -1);
    fill(&r, 64, 2, 64);
    commit(&r);
    assert_int_equal(object_relax(&r), OK);
    assert_int_equal(object_relax(&r), OK);
    assert_null(r.durable);
    assert_int_equal(os.lock_shared(fd), 0);
    close(fd);
    assert_int_equal(mark_of("r", &m), ERR_ENOENT);
    KILL(&r);
    overwrite("r", zeros, sizeof zeros, 64);
    start();
    open_durable(&r, "r", OBJECT_REGION);
    assert_filled(&r, 64, 0, 64); /* no record of it counts */
    assert_filled(&r, 0, 1, 64);
    object_close(&r);
}

/* Another program has the file open: its stores would be undone. */
static void a_file_that_others_hold_does_not_become_durable(void **state)
{
    (void)state;
    struct object r;
    struct mark m;
    start();
    assert_int_equal(try_open(&r, "r", OBJECT_REGION, false), OK);
    const int fd = open(folder_file(dir, "r"), O_RDWR | O_CLOEXEC);
    assert_int_equal(os.lock_shared(fd), 0);
    assert_int_equal(try_again(&r, "r", OBJECT_REGION, true), ERR_LOCKED);
    assert_null(r.durable);
    assert_int_equal(mark_of("r", &m), ERR_ENOENT);
    fill(&r, 0, 1, 8);
    close(fd);
    assert_int_equal(try_again(&r, "r", OBJECT_REGION, true), OK);
    assert_non_null(r.durable);
    object_close(&r);
}

/* Far more than a buffer holds while nobody waits for a commit; by words and bytes, so that some
 * are joined to one record and some are not. */
static void more_than_a_group_is_recorded_at_once(void **state)
{
    (void)state;
    static const uint8_t zeros[72];
    struct object r;
    uint8_t model[8192] = {0};
    start();
    open_durable(&r, "r", OBJECT_REGION);
    for (unsigned i = 0; i < 5000; i++) {
        const uint64_t pos = i * 8 % 8000;
        const size_t len = i % 7 == 0 ? i % 100 + 1 : 8;
        uint8_t bytes[100];
        memset(bytes, (int)i, len);
        memcpy(model + pos, bytes, len);
        assert_int_equal(region_write(&r, pos, bytes, len), OK);
    }
    commit(&r);
    KILL(&r);
    overwrite("r", zeros, sizeof zeros, 4990 * 8 % 8000); /* the last ones: no half is full since */
    start();
    open_durable(&r, "r", OBJECT_REGION);
    uint8_t seen[8192];
    assert_int_equal(region_read(&r, 0, seen, sizeof seen), OK);
    assert_memory_equal(seen, model, sizeof seen);
    object_close(&r);
}

/* --- queues ---------------------------------------------------------------------------------- */

static const struct turn now = {.now_ms = NOW_MS, .may_wait = true};

static void push(struct object *q, size_t len)
{
    static uint8_t item[100000];
    uint64_t first;
    const struct span s = span_of(item, len);
    assert_int_equal(queue_push(q, &now, &s, 1, &first), OK);
}

static uint64_t items(struct object *q)
{
    struct queue_info info;
    queue_look(q, &info);
    return info.items;
}

static enum err configure(struct object *q, bool durable)
{
    const struct queue_change change = {.given = QUEUE_DURABLE, .to.durable = durable};
    struct opening o = opening_of(folder_file(dir, "q"), OBJECT_QUEUE, false);
    o.queue = &change;
    return try_attach(q, &o);
}

static void a_queue_is_durable_until_its_option_says_otherwise(void **state)
{
    (void)state;
    struct object q;
    struct mark m;
    start();
    assert_int_equal(try_open(&q, "q", OBJECT_QUEUE, false), OK);
    push(&q, 10);
    assert_int_equal(configure(&q, true), OK);
    push(&q, 10);
    assert_int_equal(object_sync(&q), OK);
    KILL(&q);
    start();
    assert_int_equal(try_open(&q, "q", OBJECT_QUEUE, false), OK);
    assert_true(q.durable != NULL && items(&q) == 2);
    push(&q, 10);
    assert_int_equal(configure(&q, false), OK);
    assert_null(q.durable);
    assert_int_equal(mark_of("q", &m), ERR_ENOENT);
    push(&q, 10);
    object_close(&q);
    stop();
    start();
    assert_int_equal(try_open(&q, "q", OBJECT_QUEUE, false), OK);
    assert_true(q.durable == NULL && items(&q) == 4);
    object_close(&q);
}

/* Longer than a record of the journal, than a group, than a half. */
static void big_items_are_pushed_and_survive(void **state)
{
    (void)state;
    struct object q;
    start();
    open_durable(&q, "q", OBJECT_QUEUE);
    for (size_t len = 1000; len <= 100000; len = len * 10)
        push(&q, len);
    assert_int_equal(object_sync(&q), OK);
    KILL(&q);
    start();
    assert_int_equal(try_open(&q, "q", OBJECT_QUEUE, false), OK);
    assert_int_equal(items(&q), 3);
    for (size_t len = 1000; len <= 100000; len = len * 10) {
        struct record r;
        assert_int_equal(queue_front(&q, &now, &r), OK);
        assert_int_equal(r.bytes.len, len);
        assert_int_equal(queue_pop(&q, &now, &r), OK);
    }
    object_close(&q);
}

/* --- damage ---------------------------------------------------------------------------------- */

static void damage_refuses_the_start_and_is_cut_out(void **state)
{
    (void)state;
    struct object c;
    struct halves h;
    char why[JOURNAL_WHY];
    unsigned file;
    uint64_t offset;
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    for (int i = 0; i < 5; i++) {
        add(&c, 0, 1);
        commit(&c);
    }
    KILL(&c);
    lose_counter("c", 0);
    static const uint8_t ones[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    /* groups: the opening's, then one each */
    overwrite(".emmap/j1", ones, sizeof ones, 512 * 4 + 40);
    assert_int_equal(try_start(why), ERR_DAMAGED);
    assert_true(strncmp(why, "j1, offset 2048: ", strlen("j1, offset 2048: ")) == 0);
    stop();
    const int fd = open(folder_file(dir, ".emmap"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(halves_open(&h, fd, &small, why), OK);
    assert_int_equal(halves_walk(&h, &h.half[h.current], NULL, NULL), OK);
    assert_int_equal(halves_check(&h, why, &file, &offset), ERR_DAMAGED);
    assert_int_equal(halves_cut(&h, file, offset), OK);
    halves_close(&h);
    close(fd);
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    assert_true(value(&c, 0) == 2);
    object_close(&c);
}

/* Daemons that had nothing to do stand between: as many as there may be. */
static void a_harmed_header_is_refused_after_quiet_lives(void **state)
{
    (void)state;
    static const uint8_t byte = 0xee;
    for (unsigned lives = 0; lives < 6; lives++) {
        struct object c;
        char why[JOURNAL_WHY];
        start();
        open_durable(&c, "c", OBJECT_COUNTERS);
        object_close(&c);
        stop();
        for (unsigned i = 0; i < lives; i++) {
            start();
            stop();
        }
        start();
        open_durable(&c, "c", OBJECT_COUNTERS);
        add(&c, 0, 1);
        commit(&c);
        const unsigned newer = journal->halves.current;
        KILL(&c);
        overwrite(newer == 0 ? ".emmap/j0" : ".emmap/j1", &byte, 1, 0);
        assert_int_equal(try_start(why), ERR_DAMAGED);
        assert_true(strncmp(why, newer == 0 ? "j0, offset 0: " : "j1, offset 0: ", 14) == 0);
        stop();
        teardown(state);
        setup(state);
    }
}

enum { HALF = 16 << 10 };
static const struct journal_limits tiny = {
    .page = 512, .half = HALF, .group = 4 << 10, .piece = 1 << 10};

/* A half of that generation, under good hashes; at each page, from this one on, a group of the
 * generations from `later` on. */
static void craft_half(const char *name, uint64_t generation, uint64_t first_group, unsigned from,
                       uint64_t later, uint64_t number)
{
    static uint8_t bytes[HALF];
    struct half_fields f = {.version = JOURNAL_VERSION,
                            .uuid = {1, 2, 3},
                            .generation = generation,
                            .size = HALF,
                            .first_group = first_group};
    memset(bytes, 0, sizeof bytes);
    memcpy(f.magic, JOURNAL_MAGIC, sizeof f.magic);
    f.hash = hash_bytes(0, &f, offsetof(struct half_fields, hash));
    memcpy(bytes, &f, sizeof f);
    for (size_t at = (size_t)512 * from; at < HALF; at += 512) {
        const struct entry_fields e = {.serial = 7, .kind = ENTRY_CLOSE};
        struct group_fields g = {.number = number++, .len = sizeof e, .count = 1};
        const uint64_t seed = hash_bytes(later++, f.uuid, sizeof f.uuid) + at;
        g.hash =
            hash_two(seed, span_of(&g, offsetof(struct group_fields, hash)), span_of(&e, sizeof e));
        memcpy(bytes + at, &g, sizeof g);
        memcpy(bytes + at + sizeof g, &e, sizeof e);
    }
    const int fd = open(folder_file(dir, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, sizeof bytes) == sizeof bytes);
    close(fd);
}

static void make_tiny(void)
{
    limits = &tiny;
    assert_int_equal(mkdir(folder_file(dir, ".emmap"), 0700), 0);
}

/* A file of which somebody has made the bytes up may have anything. */
static void groups_of_generations_to_come_never_count(void **state)
{
    (void)state;
    make_tiny();
    craft_half(".emmap/j0", 5, 11, 1, 6, 11);
    craft_half(".emmap/j1", 4, 11, 1, 7, 12);
    for (int lives = 0; lives < 40; lives++) {
        struct object c;
        start();
        if (lives % 3 == 1) {
            open_durable(&c, "c", OBJECT_COUNTERS);
            add(&c, 0, 1);
            commit(&c);
            if (lives % 2 == 0)
                turn_with(&c);
            KILL(&c);
        }
        stop();
    }
    limits = &small;
}

/* As it is where numbers end. */
static void generations_go_round(void **state)
{
    (void)state;
    static const uint64_t lasts[] = {INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof lasts / sizeof lasts[0]; i++) {
        struct object c;
        make_tiny();
        craft_half(".emmap/j0", lasts[i] - 1, 11, HALF / 512, 0, 0);
        craft_half(".emmap/j1", lasts[i], 11, HALF / 512, 0, 0);
        for (int64_t lives = 0; lives < 6; lives++) {
            start();
            open_durable(&c, "c", OBJECT_COUNTERS);
            assert_int_equal(value(&c, 0), lives);
            add(&c, 0, 1);
            commit(&c);
            if (lives == 3)
                turn_with(&c);
            KILL(&c);
            lose_counter("c", 0);
        }
        limits = &small;
        teardown(state);
        setup(state);
    }
}

/* A group whose number would be none any more ends the journal, not what it had. */
static void numbers_of_groups_end(void **state)
{
    (void)state;
    struct object c;
    make_tiny();
    craft_half(".emmap/j1", 5, TOO_FAR - 3, HALF / 512, 0, 0);
    craft_half(".emmap/j0", 4, TOO_FAR - 3, HALF / 512, 0, 0);
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    add(&c, 0, 1);
    commit(&c);
    add(&c, 0, 1);
    commit(&c);
    add(&c, 0, 1);
    assert_int_equal(journal_wait(journal, object_group(&c)), ERR_EIO);
    KILL(&c);
    lose_counter("c", 0);
    for (int lives = 0; lives < 4; lives++) {
        start();
        assert_int_equal(try_open(&c, "c", OBJECT_COUNTERS, false), OK);
        assert_int_equal(value(&c, 0), 2);
        object_close(&c);
        stop();
    }
    limits = &small;
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
        BOTH(what_was_cut_off_does_not_come_back),
        BOTH(a_word_comes_back_as_a_whole),
        BOTH(without_attributes_nothing_is_durable),
        BOTH(what_cannot_be_synced_is_kept_for_its_next_opening),
        BOTH(what_could_not_be_synced_is_written_again_as_a_whole),
        BOTH(what_cannot_be_synced_is_kept_for_the_next_life),
        BOTH(what_cannot_be_synced_when_closed_is_kept),
        BOTH(a_copy_gets_nothing_of_what_was_kept),
        BOTH(what_cannot_be_relaxed_is_reclaimed),
        BOTH(a_half_that_cannot_be_synced_ends_the_journal),
        BOTH(a_half_that_cannot_be_written_ends_the_journal),
        ALONE(nothing_is_made_before_something_is_durable),
        BOTH(a_full_disk_makes_no_journal),
        ALONE(a_lock_that_was_removed_is_no_lost_journal),
        BOTH(a_journal_has_one_daemon),
        BOTH(a_durable_region_is_resized_and_replayed),
        BOTH(a_region_is_default_then_durable_then_default),
        BOTH(a_file_that_others_hold_does_not_become_durable),
        BOTH(more_than_a_group_is_recorded_at_once),
        BOTH(a_queue_is_durable_until_its_option_says_otherwise),
        BOTH(big_items_are_pushed_and_survive),
        ALONE(damage_refuses_the_start_and_is_cut_out),
        BOTH(a_harmed_header_is_refused_after_quiet_lives),
        BOTH(groups_of_generations_to_come_never_count),
        BOTH(generations_go_round),
        BOTH(numbers_of_groups_end),
        ALONE(a_kill_at_any_step_of_opening_leaves_a_file_that_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
