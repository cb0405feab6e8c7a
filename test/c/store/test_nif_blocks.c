/* Block files of the NIF library: what is stored in them is found, and what none could be is told.
 */
#include "store/nif_blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "store/block.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/nif_blocks_file.h"
#include "sys/os.h"

enum { HEADER = 16, FILE_MOST = 64 << 20 };

static char *dir;
static struct buf file; /* what the next reading finds */
static struct nif_blocks blocks;
static struct os real;

static int setup(void **state)
{
    (void)state;
    real = os;
    dir = folder_make();
    buf_init(&file, FILE_MOST);
    blocks = (struct nif_blocks){.fd = -1};
    return 0;
}

static void close_file(void)
{
    nif_blocks_close(&blocks);
    if (blocks.fd >= 0)
        close(blocks.fd);
    blocks.fd = -1;
}

static int teardown(void **state)
{
    (void)state;
    os = real;
    close_file();
    buf_fini(&file);
    folder_remove(dir);
    return 0;
}

/* Of the bytes in `file`. */
static enum err open_file(unsigned levels)
{
    close_file();
    const int fd = open(folder_file(dir, "f"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, file.at, file.len) == (ssize_t)file.len);
    const enum err e = nif_blocks_open(&blocks, fd, levels);
    blocks.fd = fd;
    return e;
}

static enum err count_blocks(uint64_t *n)
{
    struct nif_block block;
    enum err e;
    *n = 0;
    while ((e = nif_blocks_next(&blocks, &block)) == OK)
        ++*n;
    return e == ERR_EMPTY ? OK : e;
}

static enum err count_in(unsigned levels, bool lowest_only, uint64_t *n)
{
    *n = 0;
    enum err e = open_file(levels);
    blocks.lowest_only = lowest_only;
    return e == OK ? count_blocks(n) : e;
}

/* --- what is stored --------------------------------------------------------------------------- */

static void fill(uint64_t place, uint8_t *bytes)
{
    for (uint32_t i = 0; i < blocks.size; i++)
        bytes[i] = (uint8_t)(place * 37 + place / 64 * 11 + i + 1);
}

static bool some_are_free(uint64_t place)
{
    return place % 7 == 3 || (place >= 64 && place < 128);
}

static void make_file(unsigned levels, uint32_t size, uint64_t stored)
{
    const struct nif_blocks_file f = {
        .levels = levels, .size = size, .stored = stored, .is_free = some_are_free, .fill = fill};
    blocks.size = size;
    buf_cut(&file, 0);
    nif_blocks_file(&f, &file);
}

/* The digits the other way round, one after the other. */
static uint64_t address_of(uint64_t place, unsigned levels)
{
    uint64_t address = 0;
    for (; levels > 0; levels--, place /= 64)
        address = address * 64 + place % 64;
    return address;
}

static void has_all(unsigned levels, uint32_t size, uint64_t stored)
{
    static uint8_t bytes[4 << 20];
    struct nif_block block;
    for (uint64_t place = 0; place < stored; place++) {
        if (some_are_free(place))
            continue;
        assert_int_equal(nif_blocks_next(&blocks, &block), OK);
        assert_int_equal(block.place, place);
        assert_int_equal(block.address, address_of(place, levels));
        assert_int_equal(block.bytes.len, size);
        fill(place, bytes);
        assert_memory_equal(block.bytes.at, bytes, size);
    }
    assert_int_equal(nif_blocks_next(&blocks, &block), ERR_EMPTY);
}

static void every_block_is_found_at_its_place(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 5, 8, 22, 700};
    static const uint64_t stored[] = {0, 1, 4, 63, 64, 65, 128, 129, 4095, 4096, 4097, 8300};
    for (unsigned levels = 1; levels <= 4; levels++)
        for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
            for (unsigned n = 0; n < sizeof stored / sizeof stored[0]; n++) {
                if (stored[n] > (uint64_t)1 << 6 * levels)
                    continue;
                make_file(levels, sizes[s], stored[n]);
                assert_int_equal(open_file(levels), OK);
                has_all(levels, sizes[s], stored[n]);
                nif_blocks_rewind(&blocks);
                has_all(levels, sizes[s], stored[n]);
            }
}

static void blocks_may_be_longer_than_the_window(void **state)
{
    (void)state;
    make_file(1, 3 << 20, 7);
    assert_int_equal(open_file(1), OK);
    has_all(1, 3 << 20, 7);
}

static void read_data(const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    buf_cut(&file, 0);
    const ssize_t n = read(fd, buf_grow(&file, 1 << 16), 1 << 16);
    assert_true(n >= 0);
    file.len = (size_t)n;
    close(fd);
}

/* The library's own numbers begin its blocks there. */
static void its_addresses_are_the_librarys(unsigned levels, uint64_t expected)
{
    struct nif_block block;
    uint64_t n = 0;
    assert_int_equal(open_file(levels), OK);
    for (; nif_blocks_next(&blocks, &block) == OK; n++)
        assert_int_equal(block.address, get_be32(block.bytes.at));
    assert_int_equal(n, expected);
    assert_string_equal(blocks.why, "");
}

static void files_of_the_library_are_read(void **state)
{
    (void)state;
    read_data("blocks-nif-3");
    its_addresses_are_the_librarys(3, 4103 - 3 - 64);
    read_data("blocks-nif-2");
    its_addresses_are_the_librarys(2, 70);
    read_data("blocks-nif-new");
    its_addresses_are_the_librarys(3, 0);
}

/* --- what it could not be --------------------------------------------------------------------- */

static void refuses(unsigned levels, enum err why, const char *said)
{
    uint64_t n;
    assert_int_equal(count_in(levels, false, &n), why);
    assert_non_null(strstr(blocks.why, said));
}

static void headers_that_no_such_file_has_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t size, last;
        const char *said;
    } wrong[] = {
        {0, 32, "no size"},
        {BLOCK_LONGEST + 1, 32, "no size"},
        {UINT32_MAX, 32, "no size"},
        {8, 1, "does not fit"},
        {8, 15, "does not fit"},
        {8, 31, "does not fit"},
        {8, 33, "does not fit"},
        {8, 40, "does not fit"},
        {8, 1 << 20, "does not fit"},
        {8, (uint64_t)INT64_MAX, "does not fit"},
        {8, (uint64_t)INT64_MIN, "does not fit"},
        {8, UINT64_MAX - 1, "does not fit"},
        {BLOCK_LONGEST, UINT64_MAX / 2, "does not fit"},
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        for (unsigned levels = 2; levels <= NIF_LEVELS_MOST; levels++) {
            make_file(3, 8, 4);
            put_le64(file.at, wrong[i].size);
            put_le64(file.at + 8, wrong[i].last);
            refuses(levels, ERR_NOT_BLOCKS, wrong[i].said);
        }
}

static void what_pads_the_size_may_be_anything(void **state)
{
    (void)state;
    uint64_t n;
    make_file(3, 8, 4);
    memset(file.at + 4, 0xff, 4);
    assert_int_equal(count_in(3, false, &n), OK);
    assert_int_equal(n, 3);
}

static void our_own_files_are_told(void **state)
{
    (void)state;
    static const char *const magics[] = {"EMMAPB1\n", "EMMAPQ1\n", "EMMAP01\n"};
    for (unsigned i = 0; i < 3; i++) {
        make_file(3, 8, 4);
        memcpy(file.at, magics[i], 8);
        refuses(3, ERR_NOT_BLOCKS, "emmapd's own");
    }
}

static void another_number_of_levels_is_refused(void **state)
{
    (void)state;
    static const uint64_t stored[] = {1, 40, 64};
    uint64_t n;
    for (unsigned levels = 1; levels <= 4; levels++)
        for (unsigned i = 0; i < 3; i++)
            for (unsigned other = 1; other <= NIF_LEVELS_MOST; other++) {
                make_file(levels, 22, stored[i]);
                const enum err e = count_in(other, false, &n);
                assert_true(levels == other ? e == OK : e == ERR_NOT_BLOCKS || e == ERR_DAMAGED);
            }
}

/* --- damage ----------------------------------------------------------------------------------- */

enum { ROOT = HEADER, SECOND = ROOT + 16, LOWEST = SECOND + 16 };

static void flip(size_t word, unsigned bit)
{
    file.at[word + bit / 8] ^= (uint8_t)(1 << bit % 8);
}

static void each_bit_of_the_upper_masks_is_held_against_the_lower(void **state)
{
    (void)state;
    static const size_t words[] = {ROOT, ROOT + 8, SECOND, SECOND + 8};
    uint64_t n;
    uint64_t all;
    make_file(3, 8, 150);
    assert_int_equal(count_in(3, false, &all), OK);
    for (unsigned w = 0; w < 4; w++)
        for (unsigned bit = 0; bit < 64; bit++) {
            flip(words[w], bit);
            refuses(3, ERR_DAMAGED, "byte ");
            assert_int_equal(count_in(3, true, &n), OK);
            assert_int_equal(n, all);
            flip(words[w], bit);
        }
}

/* It says so, or it counts one block more or less. */
static void a_bit_of_a_lowest_mask_is_a_block(void **state)
{
    (void)state;
    uint64_t n;
    uint64_t all;
    make_file(3, 8, 64);
    assert_int_equal(count_in(3, false, &all), OK);
    for (unsigned bit = 0; bit < 64; bit++) {
        const bool is_free = (get_le64(file.at + LOWEST) >> bit & 1) != 0;
        flip(LOWEST, bit);
        assert_int_equal(count_in(3, false, &n), OK);
        assert_int_equal(n, is_free ? all + 1 : all - 1);
        flip(LOWEST, bit);
    }
}

/* How many it can have, as far as it was not cut. */
static uint64_t whole_in(size_t len, uint64_t stored, uint32_t size)
{
    uint64_t n = 0;
    for (uint64_t place = 0; place < stored; place++)
        n += !some_are_free(place) && LOWEST + 8 + (place + 1) * size <= len;
    return n;
}

static void a_file_cut_anywhere_has_all_or_says_so(void **state)
{
    (void)state;
    uint64_t n;
    make_file(3, 8, 40);
    const size_t whole = file.len;
    const size_t last_byte = LOWEST + 8 + 40 * 8;
    assert_int_equal(whole, last_byte);
    for (size_t len = 0; len <= whole; len++) {
        file.len = len;
        const enum err e = count_in(3, false, &n);
        const bool has_masks = len >= LOWEST + 8;
        const uint64_t kept = has_masks ? whole_in(len, 40, 8) : 0;
        assert_int_equal(e, !has_masks                      ? ERR_NOT_BLOCKS
                            : kept < whole_in(whole, 40, 8) ? ERR_DAMAGED
                                                            : OK);
        if (e == ERR_DAMAGED)
            assert_non_null(strstr(blocks.why, "behind the end"));
        if (!has_masks)
            continue;
        assert_int_equal(count_in(3, true, &n), OK);
        assert_int_equal(n, kept);
    }
}

static void bytes_behind_the_last_mask_are_no_masks(void **state)
{
    (void)state;
    uint64_t n;
    make_file(3, 8, 64);
    const size_t len = file.len;
    memset(buf_grow(&file, 5000), 0, 5000);
    file.len = len + 5000;
    assert_int_equal(count_in(3, false, &n), OK);
    assert_int_equal(n, whole_in(len, 64, 8));
}

static ssize_t no_read(int fd, void *bytes, size_t n, off_t offset)
{
    if (offset >= HEADER) {
        errno = EIO;
        return -1;
    }
    return real.read_at(fd, bytes, n, offset);
}

static void a_disk_that_fails_is_told(void **state)
{
    (void)state;
    uint64_t n;
    make_file(3, 8, 64);
    os.read_at = no_read;
    assert_int_equal(count_in(3, false, &n), ERR_EIO);
}

static void a_file_that_is_cut_meanwhile_is_told(void **state)
{
    (void)state;
    struct nif_block block;
    enum err e;
    make_file(1, 1 << 20, 5);
    assert_int_equal(open_file(1), OK);
    assert_int_equal(nif_blocks_next(&blocks, &block), OK);
    assert_int_equal(ftruncate(blocks.fd, 2 << 20), 0);
    while ((e = nif_blocks_next(&blocks, &block)) == OK)
        ;
    assert_int_equal(e, ERR_DAMAGED);
    assert_non_null(strstr(blocks.why, "cut meanwhile"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_block_is_found_at_its_place),
        TEST(blocks_may_be_longer_than_the_window),
        TEST(files_of_the_library_are_read),
        TEST(headers_that_no_such_file_has_are_refused),
        TEST(what_pads_the_size_may_be_anything),
        TEST(our_own_files_are_told),
        TEST(another_number_of_levels_is_refused),
        TEST(each_bit_of_the_upper_masks_is_held_against_the_lower),
        TEST(a_bit_of_a_lowest_mask_is_a_block),
        TEST(a_file_cut_anywhere_has_all_or_says_so),
        TEST(bytes_behind_the_last_mask_are_no_masks),
        TEST(a_disk_that_fails_is_told),
        TEST(a_file_that_is_cut_meanwhile_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
