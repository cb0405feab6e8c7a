/* Stores into a mapping. */
#include "store/put.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"
#include "sys/guard.h"

enum { SIZE = 12288 };

static char *dir;
static struct object object;
static struct map *const map = &object.map;

static int setup(void **state)
{
    (void)state;
    dir = folder_make();
    const int fd = open(folder_file(dir, "f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && ftruncate(fd, SIZE) == 0);
    return map_open(map, fd, SIZE, true, MAP_OF_FILE) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    map_close(map);
    folder_remove(dir);
    return 0;
}

/* What another program sees. */
static void file_reads(uint64_t pos, const void *expected, size_t len)
{
    char seen[64];
    must(len <= sizeof seen);
    const int fd = open(folder_file(dir, "f"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, seen, len, (off_t)pos), len);
    close(fd);
    assert_memory_equal(seen, expected, len);
}

static void bytes_are_seen_by_others_at_once(void **state)
{
    (void)state;
    assert_int_equal(put_bytes(&object, 4093, "across", 6), OK);
    file_reads(4092, "\0across\0", 8);
    assert_int_equal(put_bytes(&object, SIZE - 3, "end", 3), OK);
    file_reads(SIZE - 3, "end", 3);
    assert_int_equal(put_bytes(&object, SIZE, "", 0), OK);
}

static const struct {
    enum word_op op;
    int64_t before, expected, v, after;
} words[] = {
    {WORD_ADD, 40, 0, 2, 42},
    {WORD_ADD, INT64_MAX, 0, 1, INT64_MIN},
    {WORD_SUB, 40, 0, 50, -10},
    {WORD_SUB, INT64_MIN, 0, 1, INT64_MAX},
    {WORD_SUB, 0, 0, INT64_MIN, INT64_MIN},
    {WORD_AND, 0x0ff0, 0, 0x00ff, 0x00f0},
    {WORD_OR, 0x0ff0, 0, 0x00ff, 0x0fff},
    {WORD_XOR, 0x0ff0, 0, 0x00ff, 0x0f0f},
    {WORD_XCHG, -1, 0, 7, 7},
    {WORD_CAS, 7, 7, 8, 8},
    {WORD_CAS, 7, 6, 8, 7},
    {WORD_CAS, INT64_MIN, INT64_MIN, INT64_MAX, INT64_MAX},
};

static void words_change_and_tell_the_value_before(void **state)
{
    (void)state;
    static const uint64_t places[] = {0, 8, 4088, 4096, SIZE - 8};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
            const uint64_t pos = places[p];
            uint8_t bytes[8];
            int64_t old = 99;
            put_le64(map->at + pos, (uint64_t)words[i].before);
            assert_int_equal(
                put_word(&object, pos, words[i].op, words[i].expected, words[i].v, &old), OK);
            assert_true(old == words[i].before);
            put_le64(bytes, (uint64_t)words[i].after);
            file_reads(pos, bytes, 8);
        }
    }
}

static void a_lost_page_is_an_error(void **state)
{
    (void)state;
    int64_t old = 99;
    guard_install();
    assert_int_equal(truncate(folder_file(dir, "f"), 4096), 0);
    assert_int_equal(put_bytes(&object, 4096, "x", 1), ERR_EIO);
    assert_int_equal(put_bytes(&object, 4090, "0123456789", 10), ERR_EIO);
    for (enum word_op op = WORD_ADD; op <= WORD_CAS; op++)
        assert_int_equal(put_word(&object, 8192, op, 0, 1, &old), ERR_EIO);
    assert_int_equal(old, 99);
    assert_int_equal(put_word(&object, 0, WORD_ADD, 0, 1, &old), OK);
    assert_int_equal(old, 0);
}

enum { ROUNDS = 20000 };

/* Of the mapping that begins at or before `at`, by its bytes in smaps. */
static bool page_is_dirty(const uint8_t *at)
{
    char line[512];
    bool here = false;
    long kb = 0;
    FILE *f = fopen("/proc/self/smaps", "re");
    must(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        char *to;
        const uintptr_t from = strtoull(line, &to, 16);
        const char *dirty = strstr(line, "_Dirty:");
        if (*to == '-')
            here = from <= (uintptr_t)at && (uintptr_t)at < strtoull(to + 1, NULL, 16);
        else if (here && dirty != NULL)
            kb += strtol(dirty + strlen("_Dirty:"), NULL, 10);
    }
    fclose(f);
    return kb > 0;
}

static struct {
    unsigned n;
    uint64_t pos;
    size_t len;
} watched;

static void watch(const struct map *m, uint64_t pos, const void *from, size_t len)
{
    assert_ptr_equal(from, m->at + pos);
    watched.n++;
    watched.pos = pos;
    watched.len = len;
}

static void a_byte_is_stored_again_as_it_is(void **state)
{
    (void)state;
    guard_install();
    assert_int_equal(put_bytes(&object, SIZE - 4, "last", 4), OK);
    put_watch = watch;
    const enum err e = put_again(&object, SIZE - 1);
    put_watch = NULL;
    assert_int_equal(e, OK);
    assert_true(watched.n == 1 && watched.pos == SIZE - 1 && watched.len == 1);
    file_reads(SIZE - 4, "last", 4);
    must(ftruncate(map->fd, 0) == 0);
    assert_int_equal(put_again(&object, SIZE - 1), ERR_EIO);
}

/* A page that is clean is written to the disk again: the kernel counts it among the dirty ones. */
static void a_page_stored_again_is_dirty(void **state)
{
    (void)state;
    assert_int_equal(put_bytes(&object, 4096, "x", 1), OK);
    assert_int_equal(map_sync(map), OK);
    assert_false(page_is_dirty(map->at + 4096));
    assert_int_equal(put_again(&object, 4096), OK);
    assert_true(page_is_dirty(map->at + 4096));
}

static void *add_many(void *arg)
{
    int64_t old;
    for (int i = 0; i < ROUNDS; i++)
        put_word(&object, 64, WORD_ADD, 0, 3, &old);
    return arg;
}

static void no_change_is_lost_among_threads(void **state)
{
    (void)state;
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, add_many, NULL), 0);
    add_many(NULL);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(get_le64(map->at + 64), 2 * 3 * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(bytes_are_seen_by_others_at_once), TEST(words_change_and_tell_the_value_before),
        TEST(a_lost_page_is_an_error),          TEST(a_byte_is_stored_again_as_it_is),
        TEST(a_page_stored_again_is_dirty),     TEST(no_change_is_lost_among_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
