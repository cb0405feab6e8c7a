/* Files of counters: damaged ones, growing ones, ones that fail. */
#include "store/counter.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/guard.h"

static char *dir;
static struct object counters;

static void write_file(const void *bytes, size_t len)
{
    const int fd = open(folder_file(dir, "c"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

static void open_file(bool writable)
{
    struct stat st;
    const int fd = open(folder_file(dir, "c"), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    must(fd >= 0 && fstat(fd, &st) == 0);
    counters = (struct object){.kind = OBJECT_COUNTERS};
    must(map_open(&counters.map, fd, (uint64_t)st.st_size, writable, MAP_OF_FILE) == OK);
}

/* Three counters 10, 20, 30, as the NIF library writes them, and 1000 bytes of something else. */
static void open_three(bool writable)
{
    uint8_t file[1040] = "EMMAP01\n\3";
    memset(file + 40, 0xee, sizeof file - 40);
    for (uint64_t i = 0; i < 3; i++)
        put_le64(file + 16 + 8 * i, 10 * (i + 1));
    write_file(file, sizeof file);
    open_file(writable);
    assert_int_equal(counter_count(&counters.map, &counters.count), OK);
    assert_int_equal(counters.count, 3);
}

static int setup(void **state)
{
    (void)state;
    dir = folder_make();
    counters = (struct object){.map.fd = -1};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    object_close(&counters);
    folder_remove(dir);
    return 0;
}

static int64_t get(uint64_t i)
{
    int64_t v = -1;
    assert_int_equal(counter_get(&counters, i, &v), OK);
    return v;
}

static uint64_t count_in_file(void)
{
    uint8_t n[8];
    const int fd = open(folder_file(dir, "c"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, n, sizeof n, 8), sizeof n);
    close(fd);
    return get_le64(n);
}

static void the_header_is_as_the_format_says(void **state)
{
    (void)state;
    uint8_t header[COUNTER_HEADER];
    counter_header(0x0102030405, header);
    assert_memory_equal(header, "EMMAP01\n\5\4\3\2\1\0\0\0", 16);
    assert_int_equal(counter_file_size(0), 16);
    assert_int_equal(counter_file_size(3), 40);
    assert_int_equal(counter_file_size(COUNTER_MOST), 16 + 8 * COUNTER_MOST);
}

/* What a header says of a file with so many bytes. */
static const struct {
    const char *magic;
    uint64_t n;
    size_t size;
    enum err err;
} headers[] = {
    {"EMMAP01\n", 0, 16, OK},
    {"EMMAP01\n", 0, 17, OK},
    {"EMMAP01\n", 3, 40, OK},
    {"EMMAP01\n", 3, 41, OK},
    {"EMMAP01\n", 2, 40, OK},
    {"EMMAP01\n", 3, 39, ERR_FILE_HEADER},
    {"EMMAP01\n", 4, 40, ERR_FILE_HEADER},
    {"EMMAP01\n", 0, 15, ERR_FILE_HEADER},
    {"EMMAP01\n", 0, 8, ERR_FILE_HEADER},
    {"EMMAP01\n", 0, 1, ERR_FILE_HEADER},
    {"EMMAP01\n", 0, 0, ERR_FILE_HEADER},
    {"EMMAP01\r", 3, 40, ERR_FILE_HEADER},
    {"EMMAP02\n", 3, 40, ERR_FILE_HEADER},
    {"FMMAP01\n", 3, 40, ERR_FILE_HEADER},
    {"emmap01\n", 3, 40, ERR_FILE_HEADER},
    {"EMMAPQ1\n", 3, 40, ERR_FILE_HEADER},
    {"\0\0\0\0\0\0\0\0", 0, 40, ERR_FILE_HEADER},
    {"EMMAP01\n", (uint64_t)1 << 61, 40, ERR_FILE_HEADER}, /* 8 n is 0, or 8, or ... */
    {"EMMAP01\n", ((uint64_t)1 << 61) + 1, 40, ERR_FILE_HEADER},
    {"EMMAP01\n", ((uint64_t)1 << 63) + 3, 40, ERR_FILE_HEADER},
    {"EMMAP01\n", UINT64_MAX, 40, ERR_FILE_HEADER},
    {"EMMAP01\n", UINT64_MAX - 1, 40, ERR_FILE_HEADER},
    {"EMMAP01\n", COUNTER_MOST, 40, ERR_FILE_HEADER},
    {"EMMAP01\n", COUNTER_MOST + 1, 40, ERR_FILE_HEADER},
};

static void damaged_headers_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        uint8_t file[64] = {0};
        uint64_t n = 99;
        memcpy(file, headers[i].magic, 8);
        put_le64(file + 8, headers[i].n);
        write_file(file, headers[i].size);
        open_file(false);
        assert_int_equal(counter_count(&counters.map, &n), headers[i].err);
        assert_int_equal(n, headers[i].err == OK ? headers[i].n : 99);
        object_close(&counters);
    }
}

static void every_byte_of_the_magic_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < 8; i++) {
        uint8_t file[16] = "EMMAP01\n";
        uint64_t n;
        file[i] ^= 0x20;
        write_file(file, sizeof file);
        open_file(false);
        assert_int_equal(counter_count(&counters.map, &n), ERR_FILE_HEADER);
        object_close(&counters);
    }
}

static void counters_are_changed_by_number(void **state)
{
    (void)state;
    int64_t old = 99;
    open_three(true);
    assert_int_equal(counter_put(&counters, 0, WORD_ADD, 5, &old), OK);
    assert_int_equal(old, 10);
    assert_int_equal(counter_put(&counters, 2, WORD_XCHG, INT64_MAX, &old), OK);
    assert_int_equal(old, 30);
    assert_int_equal(counter_put(&counters, 2, WORD_ADD, 1, &old), OK);
    assert_true(get(0) == 15 && get(1) == 20 && get(2) == INT64_MIN);
    static const uint64_t none[] = {3, 4, (uint64_t)1 << 61, UINT64_MAX};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        old = 99;
        assert_int_equal(counter_put(&counters, none[i], WORD_ADD, 1, &old), ERR_BADARG);
        assert_int_equal(counter_get(&counters, none[i], &old), ERR_BADARG);
        assert_int_equal(old, 99);
    }
}

static void a_file_to_read_is_not_changed(void **state)
{
    (void)state;
    int64_t old;
    open_three(false);
    assert_int_equal(counter_put(&counters, 0, WORD_ADD, 1, &old), ERR_EACCES);
    assert_int_equal(counter_grow(&counters, 4), ERR_EACCES);
    assert_int_equal(get(0), 10);
    assert_int_equal(count_in_file(), 3);
}

/* Bytes behind the values are ignored, and no new counter begins with them. */
static void new_counters_are_zero(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {4, 100, 128, 1000, 5000};
    open_three(true);
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
        assert_int_equal(counter_grow(&counters, numbers[k]), OK);
        assert_int_equal(counters.count, numbers[k]);
        assert_int_equal(count_in_file(), numbers[k]);
        assert_true(counters.map.size >= counter_file_size(numbers[k]));
        for (uint64_t i = 0; i < numbers[k]; i++)
            assert_int_equal(get(i), i < 3 ? 10 * (i + 1) : 0);
    }
}

static void growing_is_all_or_nothing(void **state)
{
    (void)state;
    static const int numbers[] = {ENOSPC, EIO};
    for (size_t k = 0; k < 2; k++) {
        const char *failed = "";
        for (unsigned n = 1; failed != NULL; n++) {
            const struct held before = held_now();
            open_three(true);
            faults_begin(n, numbers[k]);
            enum err e = counter_grow(&counters, 1000);
            failed = faults_end();
            assert_int_equal(e == OK, failed == NULL);
            assert_int_equal(counters.count, e == OK ? 1000 : 3);
            assert_int_equal(count_in_file(), e == OK ? 1000 : 3);
            assert_int_equal(counters.failed, failed != NULL && strcmp(failed, "sync") == 0);
            assert_true(get(0) == 10 && get(2) == 30);
            object_close(&counters);
            held_as(before);
        }
    }
}

/* A power cut may leave any of the stores of a growth but those after the sync. */
static void the_number_is_stored_after_the_values_are_on_disk(void **state)
{
    (void)state;
    int64_t old;
    open_three(true);
    for (unsigned n = 1;; n++) {
        faults_begin(n, EIO);
        enum err e = counter_grow(&counters, 1000);
        const char *failed = faults_end();
        assert_non_null(failed);
        if (strcmp(failed, "sync") != 0)
            continue;
        assert_int_equal(e, ERR_EIO);
        break;
    }
    assert_int_equal(count_in_file(), 3);
    assert_int_equal(counter_put(&counters, 0, WORD_ADD, 1, &old), ERR_EIO);
    assert_int_equal(counter_grow(&counters, 4), ERR_EIO);
    assert_int_equal(get(0), 10);
}

static void counters_of_a_cut_file_are_lost_not_wrong(void **state)
{
    (void)state;
    int64_t v = 99;
    uint64_t n = 99;
    guard_install();
    open_three(true);
    assert_int_equal(counter_grow(&counters, 2000), OK);
    assert_int_equal(truncate(folder_file(dir, "c"), 24), 0);
    assert_int_equal(get(0), 10); /* its page is there still */
    assert_int_equal(counter_get(&counters, 1999, &v), ERR_EIO);
    assert_int_equal(counter_put(&counters, 0, WORD_ADD, 1, &v), ERR_EIO);
    assert_int_equal(map_follow(&counters.map, 24), OK);
    assert_int_equal(counter_get(&counters, 1, &v), ERR_EIO);
    assert_int_equal(counter_get(&counters, 2000, &v), ERR_BADARG);
    assert_int_equal(v, 99);
    assert_int_equal(counter_count(&counters.map, &n), ERR_FILE_HEADER);
    assert_int_equal(truncate(folder_file(dir, "c"), 0), 0);
    assert_int_equal(counter_count(&counters.map, &n), ERR_EIO);
    assert_int_equal(n, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_header_is_as_the_format_says),
        TEST(damaged_headers_are_refused),
        TEST(every_byte_of_the_magic_counts),
        TEST(counters_are_changed_by_number),
        TEST(a_file_to_read_is_not_changed),
        TEST(new_counters_are_zero),
        TEST(growing_is_all_or_nothing),
        TEST(the_number_is_stored_after_the_values_are_on_disk),
        TEST(counters_of_a_cut_file_are_lost_not_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
