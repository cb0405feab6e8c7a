/* Mappings against a plain array, with the file cut and grown by others and with failing calls. */
#include "sys/map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/guard.h"
#include "sys/os.h"

#define PAGE ((size_t)4096)

enum { MOST = 40000 };

static const uint64_t past_the_reservation = (uint64_t)300 << 20;
static const enum map_sharing sharings[] = {MAP_OF_FILE, MAP_COPY, MAP_MEMORY};

static char *dir;
static struct os real;

static int setup(void **state)
{
    (void)state;
    dir = folder_make();
    real = os;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    os = real;
    folder_remove(dir);
    return 0;
}

static const char *name(void)
{
    return folder_file(dir, "f");
}

/* A file of size bytes 'f'. */
static void make_file(uint64_t size)
{
    char bytes[MOST];
    int fd = open(name(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && size <= sizeof bytes);
    memset(bytes, 'f', sizeof bytes);
    must(write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static int open_file(bool writable)
{
    int fd = open(name(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    must(fd >= 0);
    return fd;
}

/* size bytes 'f', in the file or in memory. */
static struct map mapped(uint64_t size, enum map_sharing sharing)
{
    struct map m;
    make_file(size);
    const int fd = sharing == MAP_MEMORY ? -1 : open_file(true);
    assert_int_equal(map_open(&m, fd, size, true, sharing), OK);
    if (sharing == MAP_MEMORY)
        memset(m.at, 'f', size);
    return m;
}

static void file_has(uint64_t size)
{
    struct stat st;
    assert_int_equal(stat(name(), &st), 0);
    assert_int_equal(st.st_size, size);
}

static void all_are(const struct map *m, uint64_t from, uint64_t to, uint8_t byte)
{
    for (uint64_t i = from; i < to; i++)
        if (m->at[i] != byte)
            fail_msg("byte %ju is %d", (uintmax_t)i, m->at[i]);
}

static uint8_t in_file(uint64_t pos)
{
    uint8_t byte;
    const int fd = open_file(false);
    assert_int_equal(pread(fd, &byte, 1, (off_t)pos), 1);
    close(fd);
    return byte;
}

static void stores_go_where_the_sharing_says(void **state)
{
    (void)state;
    static const uint8_t expected[] = {[MAP_OF_FILE] = 'x', [MAP_COPY] = 'f', [MAP_MEMORY] = 'f'};
    for (size_t i = 0; i < 3; i++) {
        struct map m = mapped(5000, sharings[i]);
        m.at[4999] = 'x';
        assert_int_equal(map_write_back(&m), OK);
        assert_int_equal(map_sync(&m), OK);
        assert_int_equal(in_file(4999), expected[sharings[i]]);
        map_close(&m);
        assert_int_equal(m.fd, -1);
    }
}

/* One size after the other: what stays is as it was stored, what is new is zero. */
static void sizes_come_and_go(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {5000,  100,  4095, 4096, 4097,  0,    1,    8192,
                                     8191,  8193, 1,    MOST, 12287, 4097, 4098, 0,
                                     12288, 4096, 8192, 2,    3,     MOST};
    for (size_t s = 0; s < 3; s++) {
        uint8_t model[MOST] = {0};
        struct map m = mapped(0, sharings[s]);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            const uint8_t *at = m.at;
            assert_int_equal(map_resize(&m, sizes[i]), OK);
            assert_ptr_equal(m.at, at);
            assert_int_equal(m.size, sizes[i]);
            memset(model + m.size, 0, MOST - m.size);
            assert_memory_equal(m.at, model, m.size);
            memset(m.at, (int)i + 1, m.size);
            memset(model, (int)i + 1, m.size);
            file_has(sharings[s] == MAP_OF_FILE ? m.size : 0);
        }
        map_close(&m);
    }
}

static void growth_has_its_space_on_the_disk(void **state)
{
    (void)state;
    struct stat st;
    struct map m = mapped(0, MAP_OF_FILE);
    assert_int_equal(map_resize(&m, 1 << 20), OK);
    assert_int_equal(stat(name(), &st), 0);
    assert_true(st.st_blocks * 512 >= 1 << 20);
    map_close(&m);
}

static void a_sparse_file_is_given_its_space(void **state)
{
    (void)state;
    struct stat st;
    make_file(0);
    assert_int_equal(truncate(name(), 1 << 20), 0);
    struct map m;
    assert_int_equal(map_open(&m, open_file(true), 1 << 20, true, MAP_OF_FILE), OK);
    assert_int_equal(map_allocate(&m), OK);
    assert_int_equal(stat(name(), &st), 0);
    assert_true(st.st_blocks * 512 >= 1 << 20);
    file_has(1 << 20);
    map_close(&m);
}

/* Space that is there in name only, so that large files are quick. */
static int allocate_sparse(int fd, off_t offset, off_t len)
{
    return ftruncate(fd, offset + len);
}

static void growth_past_the_reservation_keeps_the_bytes(void **state)
{
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        const struct held before = held_now();
        struct map m = mapped(10000, sharings[s]);
        os.allocate = allocate_sparse;
        memset(m.at, 'm', 5000);
        assert_true(m.reserved < past_the_reservation);
        assert_int_equal(map_resize(&m, past_the_reservation), OK);
        assert_true(m.reserved >= past_the_reservation);
        all_are(&m, 0, 5000, 'm');
        all_are(&m, 5000, 10000, 'f');
        all_are(&m, 10000, 20000, 0);
        m.at[past_the_reservation - 1] = 'z';
        if (sharings[s] == MAP_OF_FILE)
            assert_int_equal(in_file(past_the_reservation - 1), 'z');
        else
            file_has(10000);
        map_close(&m);
        held_as(before);
    }
}

static void a_private_copy_grows_by_zeros_of_its_own(void **state)
{
    (void)state;
    struct map m = mapped(100, MAP_COPY);
    int fd = open_file(true);
    assert_int_equal(pwrite(fd, "other", 5, 200), 5); /* in the page that we see */
    close(fd);
    assert_int_equal(map_resize(&m, 9000), OK);
    all_are(&m, 0, 100, 'f');
    all_are(&m, 100, 9000, 0);
    m.at[8999] = 'x';
    file_has(205);
    map_close(&m);
}

static void a_size_given_by_others_is_followed(void **state)
{
    (void)state;
    guard_install();
    struct map m = mapped(PAGE, MAP_OF_FILE);
    assert_int_equal(truncate(name(), 5 * PAGE + 1), 0);
    assert_int_equal(map_follow(&m, 5 * PAGE + 1), OK);
    assert_int_equal(m.size, 5 * PAGE + 1);
    m.at[5 * PAGE] = 'x';
    assert_int_equal(in_file(5 * PAGE), 'x');
    assert_int_equal(truncate(name(), 10), 0);
    assert_int_equal(map_follow(&m, 10), OK);
    all_are(&m, 0, 10, 'f');
    assert_int_equal(map_follow(&m, 10), OK);
    assert_int_equal(map_resize(&m, 2 * PAGE), OK);
    all_are(&m, 10, 2 * PAGE, 0);
    map_close(&m);
}

static void what_others_appended_outlives_a_failed_growth(void **state)
{
    (void)state;
    struct map m = mapped(PAGE, MAP_OF_FILE);
    int fd = open_file(true);
    assert_int_equal(pwrite(fd, "other", 5, 2 * PAGE), 5);
    close(fd);
    faults_begin(2, ENOSPC);
    assert_int_equal(map_resize(&m, 4 * PAGE), ERR_ENOSPC);
    assert_string_equal(faults_end(), "allocate");
    file_has(2 * PAGE + 5);
    assert_int_equal(in_file(2 * PAGE), 'o');
    map_close(&m);
}

/* Runs out of space half way, as fallocate may. */
static int allocate_half(int fd, off_t offset, off_t len)
{
    must(ftruncate(fd, offset + len / 2) == 0);
    errno = ENOSPC;
    return -1;
}

static void a_full_disk_changes_nothing(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {5001, 8192, 8193, MOST, (uint64_t)300 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct map m = mapped(5000, MAP_OF_FILE);
        os.allocate = allocate_half;
        assert_int_equal(map_resize(&m, sizes[i]), ERR_ENOSPC);
        os = real;
        assert_int_equal(m.size, 5000);
        file_has(5000);
        all_are(&m, 0, 5000, 'f');
        assert_int_equal(map_resize(&m, 6000), OK);
        all_are(&m, 5000, 6000, 0);
        map_close(&m);
    }
}

/* --- limits ---------------------------------------------------------------------------------- */

static void no_limit(void)
{
    map_limit(UINT64_MAX, UINT64_MAX);
}

static void a_map_keeps_to_its_limit(void **state)
{
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        map_limit(10000, UINT64_MAX);
        struct map m = mapped(10000, sharings[s]);
        assert_int_equal(map_admit(10001), ERR_MAX_OBJECT_BYTES);
        assert_int_equal(map_resize(&m, 10001), ERR_MAX_OBJECT_BYTES);
        assert_int_equal(m.size, 10000);
        file_has(10000);
        assert_int_equal(map_resize(&m, 5000), OK);
        assert_int_equal(map_resize(&m, 10000), OK);
        assert_int_equal(map_bytes(), 10000);
        map_close(&m);
        assert_int_equal(map_bytes(), 0);
    }
    no_limit();
}

static void a_file_beyond_the_limit_is_not_opened(void **state)
{
    (void)state;
    const struct held before = held_now();
    struct map m;
    make_file(10001);
    map_limit(10000, UINT64_MAX);
    assert_int_equal(map_open(&m, open_file(true), 10001, true, MAP_OF_FILE), ERR_MAX_OBJECT_BYTES);
    file_has(10001);
    held_as(before);
    assert_int_equal(map_bytes(), 0);
    no_limit();
}

static void all_maps_keep_to_their_limit(void **state)
{
    (void)state;
    struct map b;
    map_limit(UINT64_MAX, 10000);
    struct map a = mapped(6000, MAP_OF_FILE);
    assert_int_equal(map_admit(4000), OK);
    assert_int_equal(map_admit(4001), ERR_MAX_MAPPED);
    assert_int_equal(map_open(&b, -1, 4001, true, MAP_MEMORY), ERR_MAX_MAPPED);
    assert_int_equal(map_open(&b, -1, 3000, true, MAP_MEMORY), OK);
    assert_int_equal(map_resize(&b, 4001), ERR_MAX_MAPPED);
    assert_int_equal(map_resize(&b, 4000), OK);
    assert_int_equal(map_resize(&a, 6001), ERR_MAX_MAPPED);
    file_has(6000);
    assert_int_equal(map_resize(&b, 1000), OK);
    assert_int_equal(map_resize(&a, 9000), OK);
    map_close(&a);
    assert_int_equal(map_bytes(), 1000);
    map_close(&b);
    no_limit();
}

static void a_growth_that_failed_is_not_counted(void **state)
{
    (void)state;
    map_limit(UINT64_MAX, 10000);
    struct map m = mapped(1000, MAP_OF_FILE);
    os.allocate = allocate_half;
    assert_int_equal(map_resize(&m, 9000), ERR_ENOSPC);
    assert_int_equal(map_bytes(), 1000);
    os.allocate = real.allocate;
    assert_int_equal(map_resize(&m, 10000), OK);
    map_close(&m);
    no_limit();
}

static void what_others_made_longer_is_not_followed_beyond(void **state)
{
    (void)state;
    map_limit(10000, UINT64_MAX);
    struct map m = mapped(1000, MAP_OF_FILE);
    assert_int_equal(truncate(name(), 20000), 0);
    assert_int_equal(map_follow(&m, 20000), ERR_MAX_OBJECT_BYTES);
    assert_int_equal(m.size, 1000);
    assert_int_equal(map_bytes(), 1000);
    assert_int_equal(map_follow(&m, 10000), OK);
    assert_int_equal(map_follow(&m, 10), OK);
    assert_int_equal(map_bytes(), 10);
    map_close(&m);
    no_limit();
}

static struct map greedy;
static enum err greedy_got;

static int truncate_beside(int fd, off_t size)
{
    greedy_got = map_resize(&greedy, 9000); /* somebody else wants what seems to be free */
    return real.truncate(fd, size);
}

static void what_is_cleared_keeps_its_room(void **state)
{
    (void)state;
    map_limit(UINT64_MAX, 10000);
    struct map m = mapped(8000, MAP_OF_FILE);
    assert_int_equal(map_open(&greedy, -1, 1000, true, MAP_MEMORY), OK);
    os.truncate = truncate_beside;
    assert_int_equal(map_clear(&m, 7000), OK);
    assert_int_equal(greedy_got, ERR_MAX_MAPPED);
    all_are(&m, 0, 7000, 0);
    file_has(7000);
    assert_int_equal(map_bytes(), 8000);
    os.truncate = real.truncate;
    map_close(&m);
    map_close(&greedy);
    no_limit();
}

static void a_read_only_mapping_has_its_size(void **state)
{
    (void)state;
    struct map m;
    make_file(5000);
    assert_int_equal(map_open(&m, open_file(false), 5000, false, MAP_OF_FILE), OK);
    assert_int_equal(map_resize(&m, 5000), ERR_EACCES);
    assert_int_equal(map_resize(&m, 6000), ERR_EACCES);
    assert_int_equal(map_resize(&m, 0), ERR_EACCES);
    all_are(&m, 0, 5000, 'f');
    file_has(5000);
    map_close(&m);
}

static void writes_can_be_allowed_later(void **state)
{
    (void)state;
    const struct held before = held_now();
    struct map m;
    make_file(5000);
    assert_int_equal(map_open(&m, open_file(false), 5000, false, MAP_OF_FILE), OK);
    const uint8_t *at = m.at;
    assert_int_equal(map_allow_writes(&m, open_file(true)), OK);
    assert_ptr_equal(m.at, at);
    m.at[4999] = 'x';
    assert_int_equal(in_file(4999), 'x');
    assert_int_equal(map_resize(&m, 10000), OK);
    file_has(10000);
    map_close(&m);
    held_as(before);
}

static void sizes_beyond_the_address_space_are_refused(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {((uint64_t)1 << 46) + 1, INT64_MAX, UINT64_MAX};
    const struct held before = held_now();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct map m = mapped(10, MAP_OF_FILE);
        assert_int_equal(map_resize(&m, sizes[i]), ERR_EFBIG);
        file_has(10);
        map_close(&m);
        assert_int_equal(map_open(&m, open_file(true), sizes[i], true, MAP_OF_FILE), ERR_EFBIG);
        assert_int_equal(m.fd, -1);
    }
    held_as(before);
}

/* --- every call fails once ------------------------------------------------------------------- */

static void opening_leaves_nothing_behind(void **state)
{
    (void)state;
    make_file(5000);
    for (size_t s = 0; s < 3; s++) {
        const struct held before = held_now();
        const char *failed;
        for (unsigned n = 1;; n++) {
            struct map m;
            const int fd = sharings[s] == MAP_MEMORY ? -1 : open_file(true);
            faults_begin(n, ENOMEM);
            enum err e = map_open(&m, fd, 5000, true, sharings[s]);
            failed = faults_end();
            assert_int_equal(e, failed == NULL ? OK : ERR_ENOMEM);
            assert_int_equal(m.fd == -1, failed != NULL || sharings[s] == MAP_MEMORY);
            map_close(&m);
            held_as(before);
            if (failed == NULL)
                break;
            assert_string_equal(failed, "map");
        }
    }
}

/* Resizes 5000 bytes with the n-th call failing, for every n. `harmless`: what may do so unseen. */
static void sweep_resize(uint64_t size, enum map_sharing sharing, const char *harmless)
{
    const struct held before = held_now();
    const char *failed = "";
    for (unsigned n = 1; failed != NULL; n++) {
        struct map m = mapped(5000, sharing);
        faults_begin(n, ENOSPC);
        os.allocate = size < past_the_reservation ? os.allocate : allocate_sparse;
        enum err e = map_resize(&m, size);
        failed = faults_end();
        const bool done = failed == NULL || strcmp(failed, harmless) == 0;
        assert_int_equal(e, done ? OK : ERR_ENOSPC);
        assert_int_equal(m.size, done ? size : 5000);
        file_has(done && sharing == MAP_OF_FILE ? size : 5000);
        all_are(&m, 0, m.size < 5000 ? m.size : 5000, 'f');
        assert_int_equal(map_resize(&m, 7000), OK); /* and it works again */
        all_are(&m, m.size < 5000 ? m.size : 5000, 7000, 0);
        map_close(&m);
        held_as(before);
    }
}

static void resizing_is_all_or_nothing(void **state)
{
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        sweep_resize(5001, sharings[s], "");
        sweep_resize(20000, sharings[s], "");
        sweep_resize(past_the_reservation, sharings[s], "unmap");
    }
}

static void allowing_writes_is_all_or_nothing(void **state)
{
    (void)state;
    const struct held before = held_now();
    const char *failed = "";
    make_file(5000);
    for (unsigned n = 1; failed != NULL; n++) {
        struct map m;
        assert_int_equal(map_open(&m, open_file(false), 5000, false, MAP_OF_FILE), OK);
        const int fd = open_file(true);
        faults_begin(n, ENOMEM);
        enum err e = map_allow_writes(&m, fd);
        failed = faults_end();
        const bool done = failed == NULL || strcmp(failed, "close") == 0;
        assert_int_equal(e, done ? OK : ERR_ENOMEM);
        assert_int_equal(map_resize(&m, 5000), done ? OK : ERR_EACCES);
        all_are(&m, 0, 5000, 'f');
        map_close(&m);
        held_as(before);
    }
}

/* A mapping that cannot be taken back is no reason to fail: nobody reaches it. */
static void shrinking_needs_no_more_than_the_file(void **state)
{
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        for (unsigned n = 1; n <= 3; n++) {
            struct map m = mapped(20000, sharings[s]);
            faults_begin(n, EIO);
            enum err e = map_resize(&m, 100);
            const char *failed = faults_end();
            const bool done = failed == NULL || strcmp(failed, "map") == 0;
            assert_int_equal(e, done ? OK : ERR_EIO);
            assert_int_equal(m.size, done ? 100 : 20000);
            file_has(done && sharings[s] == MAP_OF_FILE ? 100 : 20000);
            assert_int_equal(map_resize(&m, 30000), OK);
            all_are(&m, 0, done ? 100 : 20000, 'f');
            all_are(&m, done ? 100 : 20000, 30000, 0);
            map_close(&m);
        }
    }
}

static void a_failed_sync_is_told(void **state)
{
    (void)state;
    enum err (*const calls[])(struct map *) = {map_sync, map_write_back, map_allocate};
    for (size_t i = 0; i < 3; i++) {
        struct map m = mapped(100, MAP_OF_FILE);
        faults_begin(1, EIO);
        assert_int_equal(calls[i](&m), ERR_EIO);
        assert_non_null(faults_end());
        assert_int_equal(calls[i](&m), OK);
        map_close(&m);
        m = mapped(100, MAP_COPY);
        faults_begin(1, EIO);
        assert_int_equal(calls[i](&m), OK); /* it asks the disk for nothing */
        assert_null(faults_end());
        map_close(&m);
    }
}

/* --- pages in memory ------------------------------------------------------------------------- */

static void pages_are_resident_once_touched(void **state)
{
    (void)state;
    struct map m;
    assert_int_equal(map_open(&m, -1, 64 * PAGE, true, MAP_MEMORY), OK);
    assert_true(map_resident(&m, 0, 0));
    assert_false(map_resident(&m, 0, 1));
    m.at[0] = 1;
    m.at[PAGE] = 1;
    assert_true(map_resident(&m, 0, 1));
    assert_true(map_resident(&m, 100, 2 * PAGE - 100));
    assert_false(map_resident(&m, 100, 2 * PAGE - 99));
    assert_false(map_resident(&m, 63 * PAGE, PAGE));
    memset(m.at, 1, 64 * PAGE);
    assert_true(map_resident(&m, 0, 64 * PAGE));
    map_close(&m);
}

static unsigned asked;

static int resident_counted(void *at, size_t len)
{
    asked++;
    return real.resident(at, len);
}

static void a_page_lately_seen_is_not_asked_for_again(void **state)
{
    (void)state;
    struct map m = mapped(20000, MAP_MEMORY);
    os.resident = resident_counted;
    asked = 0;
    for (int i = 0; i < 10; i++)
        assert_true(map_resident(&m, 100, 100));
    assert_true(asked <= 2); /* two where the second ended in between */
    asked = 0;
    assert_true(map_resident(&m, 4000, 200)); /* two pages */
    assert_true(map_resident(&m, PAGE, 1));   /* another */
    assert_int_equal(asked, 2);
    assert_int_equal(map_resize(&m, 50), OK);
    assert_int_equal(map_resize(&m, 20000), OK);
    assert_false(map_resident(&m, PAGE, 1)); /* a new page in its place */
    map_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(stores_go_where_the_sharing_says),
        TEST(sizes_come_and_go),
        TEST(growth_has_its_space_on_the_disk),
        TEST(a_sparse_file_is_given_its_space),
        TEST(growth_past_the_reservation_keeps_the_bytes),
        TEST(a_private_copy_grows_by_zeros_of_its_own),
        TEST(a_size_given_by_others_is_followed),
        TEST(what_others_appended_outlives_a_failed_growth),
        TEST(a_map_keeps_to_its_limit),
        TEST(a_file_beyond_the_limit_is_not_opened),
        TEST(all_maps_keep_to_their_limit),
        TEST(a_growth_that_failed_is_not_counted),
        TEST(what_others_made_longer_is_not_followed_beyond),
        TEST(what_is_cleared_keeps_its_room),
        TEST(a_full_disk_changes_nothing),
        TEST(a_read_only_mapping_has_its_size),
        TEST(writes_can_be_allowed_later),
        TEST(sizes_beyond_the_address_space_are_refused),
        TEST(opening_leaves_nothing_behind),
        TEST(resizing_is_all_or_nothing),
        TEST(allowing_writes_is_all_or_nothing),
        TEST(shrinking_needs_no_more_than_the_file),
        TEST(a_failed_sync_is_told),
        TEST(pages_are_resident_once_touched),
        TEST(a_page_lately_seen_is_not_asked_for_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
