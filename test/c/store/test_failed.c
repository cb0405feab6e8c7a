/* What becomes of an object whose disk errs: the mark, the log, the next opening. */
#include "store/failed.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/counter.h"
#include "store/put.h"
#include "store/queue.h"
#include "store/region.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/guard.h"
#include "sys/log.h"
#include "sys/os.h"

enum { LAST = 5 * 4096 }; /* the last byte of the region, on its sixth page */

static char *dir;
static char path[PATH_MAX]; /* of the file that the tests open */
static char log_path[PATH_MAX];
static struct paths *paths;
static struct os real;
static const struct queue_change none;

static int setup(void **state)
{
    (void)state;
    static const char *const nowhere[] = {NULL};
    dir = folder_make();
    real = os;
    snprintf(path, sizeof path, "%s", folder_file(dir, "f"));
    snprintf(log_path, sizeof log_path, "%s", folder_file(dir, "log"));
    must(log_open(log_path));
    return paths_open(dir, nowhere, &paths) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    os = real;
    put_watch = NULL;
    must(log_open(NULL));
    paths_close(paths);
    folder_remove(dir);
    return 0;
}

/* How often the log has these words. */
static unsigned told(const char *words)
{
    char line[1024];
    unsigned n = 0;
    FILE *f = fopen(log_path, "re");
    must(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        n += strstr(line, words) != NULL;
    fclose(f);
    return n;
}

static struct opening opening_of(enum object_kind kind)
{
    return (struct opening){.path = path,
                            .kind = kind,
                            .sharing = MAP_OF_FILE,
                            .write = true,
                            .create = true,
                            .any_file_system = true,
                            .mode = 0600,
                            .len = kind == OBJECT_REGION ? LAST + 1 : 0,
                            .n = kind == OBJECT_COUNTERS ? 1000 : 0,
                            .queue = &none,
                            .now_ms = 1700000000000,
                            .fd = -1};
}

static enum err open_object(struct object *object, struct opening o)
{
    enum err e = object_find(paths, &o);
    if (e == OK)
        e = object_attach(object, &o);
    assert_int_equal(o.fd, -1);
    return e;
}

static struct object opened(enum object_kind kind)
{
    struct object object = {.map.fd = -1};
    guard_install(); /* cmocka has put handlers of its own before each test */
    assert_int_equal(open_object(&object, opening_of(kind)), OK);
    return object;
}

static bool is_marked(void)
{
    return getxattr(path, "user.emmap.failed", NULL, 0) >= 0;
}

/* One change, and one look, of an object of any kind. */
static enum err change(struct object *o)
{
    static const struct turn now = {.now_ms = 1700000000000, .may_wait = true};
    const struct span item = span_text("a\1");
    uint64_t first;
    int64_t old;
    switch (o->kind) {
    case OBJECT_QUEUE: return queue_push(o, &now, &item, 1, &first);
    case OBJECT_COUNTERS: return counter_put(o, 7, WORD_ADD, 1, &old);
    default: return region_write(o, LAST, "x", 1);
    }
}

static int no_set_attribute(int fd, const char *name, const void *value, size_t len)
{
    (void)fd;
    (void)name;
    (void)value;
    (void)len;
    errno = EROFS;
    return -1;
}

/* The object has failed by a sync and is closed. */
static void fail_by_sync(enum object_kind kind, bool markable)
{
    struct object object = opened(kind);
    assert_int_equal(change(&object), OK);
    os.sync = sync_fails;
    if (!markable)
        os.set_attribute = no_set_attribute;
    assert_int_equal(object_sync(&object), ERR_EIO);
    os = real;
    object_close(&object);
}

/* --- failures -------------------------------------------------------------------------------- */

static const struct {
    enum object_kind kind;
    const char *words; /* of the log, before the name */
} rows[] = {
    {OBJECT_REGION, "region \""},
    {OBJECT_COUNTERS, "counters \""},
    {OBJECT_QUEUE, "queue \""},
};

enum { ROWS = sizeof rows / sizeof rows[0] };

static void a_failed_sync_is_told_once_with_object_call_and_errno(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        struct object object = opened(rows[i].kind);
        char line[PATH_MAX + 128];
        os.sync = sync_fails;
        assert_int_equal(object_sync(&object), ERR_EIO);
        os = real;
        assert_int_equal(object_sync(&object), ERR_EIO);
        assert_int_equal(change(&object), ERR_EIO);
        snprintf(line, sizeof line, "%s%s\": fdatasync: Input/output error; read-only",
                 rows[i].words, path);
        assert_int_equal(told(line), 1);
        assert_true(is_marked());
        object_close(&object);
        assert_int_equal(unlink(path), 0);
    }
}

static void a_page_that_fails_is_told_once_and_leaves_no_mark(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        struct object object = opened(rows[i].kind);
        char line[PATH_MAX + 128];
        assert_int_equal(truncate(path, 0), 0);
        assert_int_equal(change(&object), ERR_EIO);
        assert_int_equal(change(&object), ERR_EIO);
        assert_int_equal(object_sync(&object), ERR_EIO);
        snprintf(line, sizeof line, "%s%s\": a page", rows[i].words, path);
        assert_int_equal(told(line), 1);
        assert_false(is_marked());
        object_close(&object);
        assert_int_equal(unlink(path), 0);
    }
}

static int allocate_fails(int fd, off_t offset, off_t len)
{
    (void)fd;
    (void)offset;
    (void)len;
    errno = EDQUOT;
    return -1;
}

static void that_it_cannot_grow_is_told_once_until_it_can(void **state)
{
    (void)state;
    struct object object = opened(OBJECT_REGION);
    for (unsigned times = 1; times <= 2; times++) {
        os.allocate = allocate_fails;
        assert_int_equal(object_resize(&object, 3 << 20), ERR_EDQUOT);
        assert_int_equal(object_resize(&object, 4 << 20), ERR_EDQUOT);
        assert_int_equal(told("fallocate: Disk quota exceeded; it cannot grow"), times);
        os = real;
        assert_int_equal(object_resize(&object, times << 20), OK);
    }
    assert_int_equal(object_resize(&object, UINT64_MAX), ERR_EFBIG);
    assert_int_equal(told("mmap: File too large; it cannot grow"), 1);
    assert_int_equal(change(&object), OK);
    object_close(&object);
}

/* --- the next opening ------------------------------------------------------------------------ */

static char steps[4096]; /* s: a page was stored, f: synced, r: the mark removed */

static void step(char what)
{
    const size_t n = strlen(steps);
    must(n + 1 < sizeof steps);
    steps[n] = what;
}

static void store_seen(const struct map *m, uint64_t pos, const void *from, size_t len)
{
    assert_int_equal(pos % 4096, 0);
    assert_int_equal(len, 1);
    assert_ptr_equal(from, m->at + pos);
    step('s');
}

static int sync_seen(int fd)
{
    step('f');
    return real.sync(fd);
}

static int remove_seen(int fd, const char *name)
{
    step('r');
    return real.remove_attribute(fd, name);
}

/* With a mark on the file, or where it could not be set. */
static void all_is_stored_and_synced_before_the_mark_goes(void **state)
{
    (void)state;
    static const char *const expected[] = {"ssssssfr", "ssfr"}; /* 6 pages, and 2 */
    for (size_t i = 0; i < 4; i++) {
        const bool markable = i < 2;
        fail_by_sync(rows[i % 2].kind, markable);
        assert_int_equal(is_marked(), markable);
        memset(steps, 0, sizeof steps);
        put_watch = store_seen;
        os.sync = sync_seen;
        os.remove_attribute = remove_seen;
        struct object object = opened(rows[i % 2].kind);
        put_watch = NULL;
        os = real;
        assert_string_equal(steps, expected[i % 2]);
        assert_false(is_marked());
        assert_int_equal(change(&object), OK);
        assert_int_equal(object_sync(&object), OK);
        object_close(&object);
        memset(steps, 0, sizeof steps);
        put_watch = store_seen;
        object = opened(rows[i % 2].kind); /* once is enough */
        put_watch = NULL;
        assert_string_equal(steps, "");
        object_close(&object);
        assert_int_equal(unlink(path), 0);
    }
}

/* Also by one who has it open, and his handles go on. */
static void an_object_that_is_open_is_mended(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        struct object object = opened(rows[i].kind);
        os.sync = sync_fails;
        assert_int_equal(object_sync(&object), ERR_EIO);
        assert_int_equal(open_object(&object, opening_of(rows[i].kind)), ERR_EIO);
        assert_int_equal(object_writable(&object), ERR_EIO);
        os = real;
        assert_int_equal(open_object(&object, opening_of(rows[i].kind)), OK);
        assert_false(is_marked());
        assert_int_equal(change(&object), OK);
        assert_int_equal(object_sync(&object), OK);
        object_close(&object);
        assert_int_equal(unlink(path), 0);
    }
}

static void while_the_disk_errs_the_opening_is_refused(void **state)
{
    (void)state;
    const struct held before = held_now();
    for (size_t i = 0; i < ROWS; i++) {
        fail_by_sync(rows[i].kind, true);
        for (int times = 0; times < 3; times++) {
            struct object object = {.map.fd = -1};
            os.sync = sync_fails;
            assert_int_equal(open_object(&object, opening_of(rows[i].kind)), ERR_EIO);
            assert_int_equal(object.kind, OBJECT_CLOSED);
            os = real;
            assert_true(is_marked());
        }
        struct object object = opened(rows[i].kind);
        assert_int_equal(change(&object), OK);
        object_close(&object);
        assert_int_equal(unlink(path), 0);
    }
    held_as(before);
}

static void who_may_not_write_reads_and_gets_no_sync(void **state)
{
    (void)state;
    fail_by_sync(OBJECT_REGION, true);
    struct object object = {.map.fd = -1};
    struct opening reader = opening_of(OBJECT_REGION);
    char byte;
    reader.write = reader.create = false;
    assert_int_equal(open_object(&object, reader), OK);
    assert_int_equal(region_read(&object, LAST, &byte, 1), OK);
    assert_int_equal(byte, 'x');
    assert_int_equal(object_sync(&object), ERR_EIO);
    assert_true(is_marked());
    assert_int_equal(open_object(&object, opening_of(OBJECT_REGION)), OK);
    assert_int_equal(object_sync(&object), OK);
    assert_false(is_marked());
    object_close(&object);
}

static int no_attribute_goes(int fd, const char *name)
{
    (void)fd;
    (void)name;
    errno = EROFS;
    return -1;
}

static void a_mark_that_cannot_be_removed_costs_a_sync(void **state)
{
    (void)state;
    fail_by_sync(OBJECT_REGION, true);
    os.remove_attribute = no_attribute_goes;
    struct object object = opened(OBJECT_REGION);
    os = real;
    assert_int_equal(told("cannot remove its attribute user.emmap.failed: Read-only file system"),
                     1);
    assert_int_equal(object_sync(&object), OK);
    object_close(&object);
    assert_true(is_marked());
}

/* What is stored again is what stands there, whoever stores at the same time. */
static void bytes_stay_as_they_are(void **state)
{
    (void)state;
    static uint8_t before[LAST + 1], after[sizeof before];
    struct object object = opened(OBJECT_REGION);
    for (size_t i = 0; i < sizeof before; i++)
        before[i] = (uint8_t)(i * 31 >> 3);
    assert_int_equal(region_write(&object, 0, before, sizeof before), OK);
    object_close(&object);
    fail_by_sync(OBJECT_REGION, true);
    before[LAST] = 'x';
    object = opened(OBJECT_REGION);
    assert_int_equal(region_read(&object, 0, after, sizeof after), OK);
    assert_memory_equal(after, before, sizeof before);
    object_close(&object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_failed_sync_is_told_once_with_object_call_and_errno),
        TEST(a_page_that_fails_is_told_once_and_leaves_no_mark),
        TEST(that_it_cannot_grow_is_told_once_until_it_can),
        TEST(all_is_stored_and_synced_before_the_mark_goes),
        TEST(an_object_that_is_open_is_mended),
        TEST(while_the_disk_errs_the_opening_is_refused),
        TEST(who_may_not_write_reads_and_gets_no_sync),
        TEST(a_mark_that_cannot_be_removed_costs_a_sync),
        TEST(bytes_stay_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
