/* Durable objects: what was committed is there after the daemon's end, whatever the files have of
 * it; halves are used again and again; journals that are damaged, foreign or lost. */
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/counter.h"
#include "store/queue.h"
#include "store/region.h"
#include "store/replay.h"
#include "support/check.h"
#include "support/folder.h"
#include "sys/os.h"

/* Small, so that halves are full soon. */
static const struct journal_limits small = {
    .page = 512, .half = 64 << 10, .group = 8 << 10, .piece = 2 << 10};

static char *dir;
static struct paths *paths;
static struct os real;
static struct journal *journal;
static bool with_threads;

static int setup(void **state)
{
    static const char *const none[] = {NULL};
    with_threads = *state != NULL;
    dir = folder_make();
    real = os;
    journal = NULL;
    return paths_open(dir, none, &paths) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    os = real;
    journal_free(journal);
    paths_close(paths);
    folder_remove(dir);
    return 0;
}

static enum err try_start(char why[JOURNAL_WHY])
{
    const struct journal_options options = {
        .data_dir = dir, .paths = paths, .limits = &small, .node = "a@b", .threads = with_threads};
    journal = journal_new(&options);
    assert_non_null(journal);
    return journal_start(journal, why);
}

static void start(void)
{
    char why[JOURNAL_WHY];
    assert_int_equal(try_start(why), OK);
}

/* The daemon's end without a word: descriptors and mappings are left, locks would stay with them.
 */
static void kill_all(struct object *const *objects, size_t n)
{
    struct journal_info info;
    journal_look_at(journal, &info);
    for (size_t i = 0; i < n; i++) {
        map_close(&objects[i]->map);
        objects[i]->kind = OBJECT_CLOSED;
        objects[i]->durable = NULL;
    }
    journal_free(journal);
    journal = NULL;
}

static enum err try_open(struct object *object, const char *name, enum object_kind kind, bool sync)
{
    static const struct queue_change durable = {.given = QUEUE_DURABLE, .to.durable = true};
    static const struct queue_change nothing;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    struct opening o = {.path = path,
                        .kind = kind,
                        .sharing = MAP_OF_FILE,
                        .write = true,
                        .create = true,
                        .any_file_system = true,
                        .mode = 0600,
                        .len = kind == OBJECT_REGION ? 8192 : 0,
                        .n = kind == OBJECT_COUNTERS ? 8 : 0,
                        .queue = sync ? &durable : &nothing,
                        .now_ms = 1000000000000,
                        .journal = journal,
                        .durable = sync && kind != OBJECT_QUEUE,
                        .fd = -1};
    *object = (struct object){.map.fd = -1};
    enum err e = object_find(paths, &o);
    return e != OK ? e : object_attach(object, &o);
}

static void open_durable(struct object *object, const char *name, enum object_kind kind)
{
    assert_int_equal(try_open(object, name, kind, true), OK);
    assert_non_null(object->durable);
}

static void commit(const struct object *object)
{
    assert_int_equal(journal_wait(journal, object_group(object)), OK);
}

static void add(struct object *counters, uint64_t i, int64_t n)
{
    int64_t old;
    assert_int_equal(counter_put(counters, i, WORD_ADD, n, &old), OK);
}

static int64_t value(struct object *counters, uint64_t i)
{
    int64_t v = -1;
    assert_int_equal(counter_get(counters, i, &v), OK);
    return v;
}

/* As a power cut would leave it, had the disk been slow: the file as it was. */
static void overwrite(const char *name, const void *bytes, size_t len, off_t at)
{
    const int fd = open(folder_file(dir, name), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, bytes, len, at) == (ssize_t)len);
    close(fd);
}

static void what_was_committed_is_stored_again(void **state)
{
    (void)state;
    struct object c;
    static const int64_t zero;
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    add(&c, 3, 41);
    add(&c, 3, 1);
    commit(&c);
    kill_all((struct object *[]){&c}, 1);
    overwrite("c", &zero, sizeof zero, 16 + 3 * 8);
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
    const int fd = open(folder_file(dir, "c"), O_RDWR | O_CLOEXEC);
    assert_int_equal(mark_read(fd, &mark), ERR_ENOENT);
    close(fd);
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
    kill_all((struct object *[]){&c, &r, &idle}, 3);
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
    const struct turn t = {.now_ms = 1000000000000, .may_wait = true};
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
    kill_all((struct object *[]){&q}, 1);
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
    kill_all((struct object *[]){&r}, 1);
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
    kill_all((struct object *[]){&r}, 1);
    start();
    open_durable(&r, "r", OBJECT_REGION);
    assert_int_equal(region_read(&r, 0, seen, sizeof seen), OK);
    assert_memory_equal(seen, bytes, sizeof bytes);
    object_close(&r);
}

int main(void)
{
    static int threads;
#define TEST(name)                                                                                 \
    cmocka_unit_test_prestate_setup_teardown(name, setup, teardown, NULL),                         \
        cmocka_unit_test_prestate_setup_teardown(name, setup, teardown, &threads)
    const struct CMUnitTest tests[] = {
        TEST(what_was_committed_is_stored_again),
        TEST(a_closed_object_is_a_plain_file),
        TEST(halves_are_used_again),
        TEST(a_durable_queue_survives),
        TEST(big_writes_pass_the_journal),
        TEST(a_big_write_outlives_what_was_recorded_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
