/* Regions: bytes and words by position, and what a failing page does to the object. */
#include "store/region.h"

#include <fcntl.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"
#include "sys/guard.h"

enum { SIZE = 9000 };

static char *dir;
static struct object region;

static void open_region(bool writable)
{
    const int fd = open(folder_file(dir, "f"), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    must(fd >= 0);
    region = (struct object){.kind = OBJECT_REGION};
    assert_int_equal(map_open(&region.map, fd, SIZE, writable, MAP_OF_FILE), OK);
}

static int setup(void **state)
{
    (void)state;
    dir = folder_make();
    const int fd = open(folder_file(dir, "f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && ftruncate(fd, SIZE) == 0);
    close(fd);
    open_region(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    object_close(&region);
    folder_remove(dir);
    return 0;
}

static void positions_lie_inside_or_not(void **state)
{
    (void)state;
    static const struct {
        uint64_t pos, len;
        bool inside;
    } rows[] = {{0, 0, true},
                {0, SIZE, true},
                {0, SIZE + 1, false},
                {SIZE, 0, true},
                {SIZE, 1, false},
                {SIZE - 1, 1, true},
                {SIZE - 1, 2, false},
                {SIZE + 1, 0, false},
                {1, UINT64_MAX, false},
                {UINT64_MAX, 1, false},
                {UINT64_MAX, UINT64_MAX, false},
                {UINT64_MAX - 7, 8, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(region_has(&region, rows[i].pos, rows[i].len), rows[i].inside);
}

static void bytes_are_read_as_written(void **state)
{
    (void)state;
    char seen[8] = {0};
    assert_int_equal(region_write(&region, SIZE - 5, "hello", 5), OK);
    assert_int_equal(region_read(&region, SIZE - 6, seen, 6), OK);
    assert_memory_equal(seen, "\0hello", 6);
    assert_int_equal(region_write(&region, SIZE, "", 0), OK);
    assert_int_equal(region_read(&region, SIZE, seen, 0), OK);
}

static void words_stand_at_multiples_of_eight(void **state)
{
    (void)state;
    int64_t v = 99;
    for (uint64_t pos = 1; pos < 8; pos++) {
        assert_int_equal(region_word(&region, pos, WORD_ADD, 0, 1, &v), ERR_ALIGNMENT);
        assert_int_equal(region_read_word(&region, pos, &v), ERR_ALIGNMENT);
    }
    assert_int_equal(v, 99);
    assert_int_equal(region_word(&region, 8, WORD_SUB, 0, 5, &v), OK);
    assert_int_equal(v, 0);
    assert_int_equal(region_read_word(&region, 8, &v), OK);
    assert_true(v == -5);
}

static void a_byte_is_found_or_the_end(void **state)
{
    (void)state;
    uint64_t found;
    assert_int_equal(region_write(&region, 100, "ab\ncd\n", 6), OK);
    static const struct {
        uint64_t pos, len, found;
    } rows[] = {{0, SIZE, 102}, {100, 6, 102}, {102, 1, 102},   {103, 3, 105},
                {100, 2, 102},  {103, 0, 103}, {SIZE, 0, SIZE}, {106, SIZE - 106, SIZE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(region_find(&region, rows[i].pos, rows[i].len, '\n', &found), OK);
        assert_int_equal(found, rows[i].found);
    }
}

static void a_read_only_file_is_read_only(void **state)
{
    (void)state;
    char byte;
    int64_t v;
    object_close(&region);
    open_region(false);
    assert_int_equal(region_write(&region, 0, "x", 1), ERR_EACCES);
    assert_int_equal(region_word(&region, 0, WORD_ADD, 0, 1, &v), ERR_EACCES);
    assert_int_equal(object_resize(&region, 10), ERR_EACCES);
    assert_int_equal(region_read(&region, 0, &byte, 1), OK);
    assert_int_equal(region_read_word(&region, 0, &v), OK);
    assert_int_equal(v, 0);
}

/* Each access that can fail, beyond the end of a file that another program has cut. */
static enum err lost_read(void)
{
    char byte;
    return region_read(&region, 8192, &byte, 1);
}

static enum err lost_write(void)
{
    return region_write(&region, 8192, "x", 1);
}

static enum err lost_word(void)
{
    int64_t v;
    return region_word(&region, 8192, WORD_OR, 0, 1, &v);
}

static enum err lost_read_word(void)
{
    int64_t v;
    return region_read_word(&region, 8192, &v);
}

static enum err lost_find(void)
{
    uint64_t found;
    return region_find(&region, 0, SIZE, 'x', &found);
}

static void a_lost_page_fails_the_object(void **state)
{
    (void)state;
    enum err (*const accesses[])(void) = {lost_read, lost_write, lost_word, lost_read_word,
                                          lost_find};
    guard_install();
    assert_int_equal(truncate(folder_file(dir, "f"), 4096), 0);
    for (size_t i = 0; i < sizeof accesses / sizeof accesses[0]; i++) {
        char byte = 'x';
        int64_t v;
        region.failed = false;
        assert_int_equal(region_write(&region, 0, "y", 1), OK);
        assert_int_equal(accesses[i](), ERR_EIO);
        assert_true(region.failed);
        assert_int_equal(region_read(&region, 0, &byte, 1), OK); /* what is left is read */
        assert_int_equal(byte, 'y');
        assert_int_equal(region_write(&region, 0, "x", 1), ERR_EIO); /* and not changed */
        assert_int_equal(region_word(&region, 0, WORD_ADD, 0, 1, &v), ERR_EIO);
        assert_int_equal(object_resize(&region, SIZE), ERR_EIO);
        assert_int_equal(object_sync(&region), ERR_EIO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(positions_lie_inside_or_not),       TEST(bytes_are_read_as_written),
        TEST(words_stand_at_multiples_of_eight), TEST(a_byte_is_found_or_the_end),
        TEST(a_read_only_file_is_read_only),     TEST(a_lost_page_fails_the_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
