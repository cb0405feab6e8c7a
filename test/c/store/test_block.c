/* Block stores: addresses, what a slot and its bit may say of each other, growth, repair. */
#include "store/block.h"

#include <fcntl.h>
#include <unistd.h>

#include "store/format.h"
#include "store/put.h"
#include "support/check.h"
#include "support/folder.h"
#include "sys/guard.h"
#include "sys/hash.h"

enum { SIZE = 12, SLOT = 8 + 16, HUGE_MOST = 1 << 30 };

static char *dir;
static struct object store;
static char why[BLOCK_WHY];

static void open_file(void)
{
    struct stat st;
    const int fd = open(folder_file(dir, "f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && fstat(fd, &st) == 0);
    store = (struct object){.kind = OBJECT_REGION};
    assert_int_equal(map_open(&store.map, fd, (uint64_t)st.st_size, true, MAP_OF_FILE), OK);
}

static int setup(void **state)
{
    (void)state;
    dir = folder_make();
    open_file();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    object_close(&store);
    folder_remove(dir);
    return 0;
}

static enum err init(uint32_t size)
{
    return block_init(&store, &size, 1, why);
}

/* A store with so many slots. */
static void open_store(uint64_t slots)
{
    assert_int_equal(init(SIZE), OK);
    while (block_capacity(&store) < slots)
        assert_int_equal(block_grow(&store, HUGE_MOST), OK);
}

static void reopen(void)
{
    object_close(&store);
    open_file();
    assert_int_equal(block_open(&store, why), OK);
}

/* The bytes of the n-th block that was ever stored. */
static const uint8_t *bytes_of(uint64_t n)
{
    static uint8_t bytes[SIZE];
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(n >> (i % 8 * 8) ^ (uint64_t)i * 17);
    return bytes;
}

static uint64_t put(uint64_t n)
{
    uint64_t a;
    enum err e = block_find(&store, 1, true, &a);
    if (e == ERR_FULL && (e = block_grow(&store, HUGE_MOST)) == OK)
        e = block_find(&store, 1, true, &a);
    assert_int_equal(e, OK);
    assert_int_equal(block_put(&store, a, bytes_of(n)), OK);
    return a;
}

static void is_there(uint64_t a, uint64_t n)
{
    uint8_t seen[SIZE];
    bool there;
    assert_int_equal(block_read(&store, a, true, seen, &there), OK);
    assert_true(there);
    assert_memory_equal(seen, bytes_of(n), SIZE);
}

static void is_none(uint64_t a)
{
    uint8_t seen[SIZE];
    bool there;
    assert_int_equal(block_read(&store, a, true, seen, &there), OK);
    assert_false(there);
}

static bool freed(uint64_t a)
{
    bool was;
    assert_int_equal(block_free(&store, a, true, &was), OK);
    return was;
}

static uint64_t slot_at(uint64_t a)
{
    return BLOCK_PAGE + a / BLOCK_SLOTS * (BLOCK_PAGE + (uint64_t)BLOCK_SLOTS * SLOT) + BLOCK_PAGE +
           a % BLOCK_SLOTS * SLOT;
}

static uint64_t bit_word_at(uint64_t a)
{
    return BLOCK_PAGE + a / BLOCK_SLOTS * (BLOCK_PAGE + (uint64_t)BLOCK_SLOTS * SLOT) +
           a % BLOCK_SLOTS / 64 * 8;
}

static void flip_bit(uint64_t a)
{
    int64_t old;
    assert_int_equal(
        put_word(&store, bit_word_at(a), WORD_XOR, 0, (int64_t)(UINT64_C(1) << a % 64), &old), OK);
}

static void tear(uint64_t a)
{
    assert_int_equal(put_bytes(&store, slot_at(a) + 8, "\x55", 1), OK);
}

static void a_store_is_made_of_nothing(void **state)
{
    (void)state;
    uint32_t size = 13;
    assert_int_equal(block_open(&store, why), ERR_NOT_BLOCKS);
    assert_int_equal(init(SIZE), OK);
    assert_int_equal(block_size(&store), SIZE);
    assert_int_equal(block_capacity(&store), 0);
    is_none(0);
    assert_false(freed(0));
    const uint64_t a = put(7);
    assert_int_equal(init(SIZE), OK);
    is_there(a, 7);
    assert_int_equal(block_init(&store, &size, 1, why), ERR_BLOCK_SIZE);
    assert_int_equal(size, SIZE);
    reopen();
    size = 13;
    assert_int_equal(block_init(&store, &size, 1, why), ERR_BLOCK_SIZE);
    is_there(a, 7);
}

static void what_is_there_is_not_overwritten(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 7, 8, 63, 64, 4095, 4096, 4097, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(object_resize(&store, 0), OK);
        assert_int_equal(object_resize(&store, sizes[i]), OK);
        assert_int_equal(put_bytes(&store, sizes[i] - 1, "x", 1), OK);
        assert_int_equal(init(SIZE), ERR_NOT_BLOCKS);
        assert_int_equal(store.map.at[sizes[i] - 1], 'x');
        assert_int_equal(put_bytes(&store, sizes[i] - 1, "", 1), OK);
        assert_int_equal(init(SIZE), OK);
        block_close(&store);
    }
}

static void a_harmed_header_is_told(void **state)
{
    (void)state;
    open_store(10);
    put(1);
    for (uint64_t pos = 8; pos < sizeof(struct block_header); pos++) {
        const uint8_t was = store.map.at[pos];
        const uint8_t other = was ^ 1;
        block_close(&store);
        assert_int_equal(put_bytes(&store, pos, &other, 1), OK);
        assert_int_equal(block_open(&store, why), ERR_DAMAGED);
        assert_int_equal(init(SIZE), ERR_DAMAGED);
        assert_int_equal(put_bytes(&store, pos, &was, 1), OK);
        assert_int_equal(block_open(&store, why), OK);
    }
    is_there(0, 1);
    block_close(&store);
    assert_int_equal(object_resize(&store, 20), OK);
    assert_int_equal(block_open(&store, why), ERR_DAMAGED);
    assert_string_equal(why, "header: cut off");
}

static void the_lowest_free_address_comes_first(void **state)
{
    (void)state;
    enum { MANY = 3 * BLOCK_SLOTS + 100 };
    static const uint64_t holes[] = {0, 1, 63, 64, 4095, 4096, 32767, 32768, 65536, MANY - 1};
    open_store(MANY);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(put(i), i);
    assert_int_equal(block_used(&store), MANY);
    const int n = sizeof holes / sizeof holes[0];
    for (int i = n - 1; i >= 0; i--) {
        assert_true(freed(holes[i]));
        assert_false(freed(holes[i]));
        is_none(holes[i]);
    }
    reopen();
    assert_int_equal(block_used(&store), MANY - n);
    uint64_t seen[20];
    assert_int_equal(block_find(&store, (uint32_t)n, false, seen), OK);
    assert_memory_equal(seen, holes, sizeof holes);
    for (int i = 0; i < n; i++)
        assert_int_equal(put(1000 + (uint64_t)i), holes[i]);
    is_there(63, 1002);
    is_there(62, 62);
    is_there(MANY - 1, 1000 + (uint64_t)n - 1);
}

static void slots_are_whole_and_the_file_grows_by_them(void **state)
{
    (void)state;
    assert_int_equal(object_resize(&store, BLOCK_PAGE + BLOCK_PAGE + 5 * SLOT + SLOT - 1), OK);
    assert_int_equal(init(SIZE), OK);
    assert_int_equal(block_capacity(&store), 5);
    uint64_t a[6];
    assert_int_equal(block_find(&store, 6, true, a), ERR_FULL);
    assert_int_equal(block_find(&store, 5, true, a), OK);
    assert_int_equal(block_grow(&store, 1), OK);
    assert_int_equal(block_capacity(&store), 6);
    assert_int_equal(store.map.size, BLOCK_PAGE + BLOCK_PAGE + 6 * SLOT);
    for (uint64_t i = 0; i < 6; i++)
        put(i);
    const uint64_t before = store.map.size;
    assert_int_equal(block_grow(&store, HUGE_MOST), OK);
    assert_true(store.map.size <= 2 * before && store.map.size > 2 * before - SLOT);
    while (block_capacity(&store) < BLOCK_SLOTS)
        assert_int_equal(block_grow(&store, HUGE_MOST), OK);
    for (uint64_t i = 0; i < 6; i++)
        is_there(i, i);
    assert_int_equal(put(77), 6);
}

/* Of another group there may be a part of the map page only, and then there are no slots. */
static void a_piece_of_a_map_page_is_no_group(void **state)
{
    (void)state;
    const uint64_t group = BLOCK_PAGE + (uint64_t)BLOCK_SLOTS * SLOT;
    static const uint64_t more[] = {0, 1, BLOCK_PAGE, BLOCK_PAGE + SLOT - 1};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        assert_int_equal(object_resize(&store, BLOCK_PAGE + group + more[i]), OK);
        assert_int_equal(init(SIZE), OK);
        assert_int_equal(block_capacity(&store), BLOCK_SLOTS);
        block_close(&store);
    }
    assert_int_equal(init(SIZE), OK);
    assert_int_equal(block_grow(&store, 1), OK);
    assert_int_equal(block_capacity(&store), BLOCK_SLOTS + 1);
    assert_int_equal(store.map.size, BLOCK_PAGE + group + BLOCK_PAGE + SLOT);
}

static void a_bit_without_a_slot_does_not_outlive_a_growth(void **state)
{
    (void)state;
    open_store(200);
    for (uint64_t n = 0; n < 200; n++)
        put(n);
    assert_int_equal(ftruncate(store.map.fd, (off_t)slot_at(70)), 0);
    reopen();
    assert_int_equal(block_used(&store), 70);
    assert_int_equal(block_grow(&store, HUGE_MOST), OK);
    assert_int_equal(block_used(&store), 70);
    assert_int_equal(put(1000), 70);
    is_there(69, 69);
    is_there(70, 1000);
}

static void room_is_made_for_any_address_that_is_known(void **state)
{
    (void)state;
    enum { LAST = 2 * BLOCK_SLOTS + 7 };
    open_store(0);
    assert_int_equal(block_reserve(&store, LAST + 1), OK);
    assert_int_equal(block_capacity(&store), LAST + 1);
    assert_int_equal(store.map.size, slot_at(LAST) + SLOT);
    assert_int_equal(block_put(&store, LAST, bytes_of(5)), OK);
    assert_int_equal(block_put(&store, BLOCK_SLOTS, bytes_of(6)), OK);
    assert_int_equal(block_reserve(&store, 3), OK);
    assert_int_equal(block_capacity(&store), LAST + 1);
    assert_int_equal(block_reserve(&store, UINT64_MAX), ERR_EFBIG);
    assert_int_equal(block_reserve(&store, (uint64_t)INT64_MAX / SLOT + 1), ERR_EFBIG);
    reopen();
    assert_int_equal(block_used(&store), 2);
    is_there(LAST, 5);
    is_there(BLOCK_SLOTS, 6);
    assert_int_equal(put(7), 0);
}

/* Of a map of which the file has a part only. */
static void a_bit_of_a_piece_of_a_map_does_not_outlive_a_growth(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 7, 8, 9, 64, BLOCK_PAGE - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(object_resize(&store, 0), OK);
        open_store(20);
        for (uint64_t n = 0; n < 20; n++)
            put(n);
        assert_int_equal(ftruncate(store.map.fd, (off_t)(BLOCK_PAGE + sizes[i])), 0);
        reopen();
        assert_int_equal(block_capacity(&store), 0);
        assert_int_equal(block_grow(&store, HUGE_MOST), OK);
        assert_int_equal(block_used(&store), 0);
        assert_int_equal(put(1000), 0);
        block_close(&store);
    }
}

/* The file ends within the word, the bytes, or what is behind them. */
static void a_piece_of_a_slot_does_not_come_back(void **state)
{
    (void)state;
    for (uint64_t kept = 1; kept < SLOT; kept++) {
        assert_int_equal(object_resize(&store, 0), OK);
        open_store(5);
        for (uint64_t n = 0; n < 5; n++)
            put(n);
        assert_int_equal(ftruncate(store.map.fd, (off_t)(slot_at(3) + kept)), 0);
        reopen();
        assert_int_equal(block_capacity(&store), 3);
        is_none(3);
        assert_int_equal(block_grow(&store, HUGE_MOST), OK);
        is_there(2, 2);
        is_none(3);
        is_none(4);
        assert_int_equal(put(1000), 3);
        block_close(&store);
    }
}

/* The magic is on the disk before the rest, so what was not told to be made can be made still. */
static void what_was_half_made_is_made(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {8, 20, 63, 64, 4095, 4096, 9000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (uint64_t kept = 8; kept < sizeof(struct block_header) && kept <= sizes[i]; kept += 8) {
            struct block_header h = {.magic = BLOCK_MAGIC,
                                     .version = BLOCK_VERSION,
                                     .block_size = 99,
                                     .uuid = "another",
                                     .created = 5};
            assert_int_equal(object_resize(&store, 0), OK);
            assert_int_equal(object_resize(&store, sizes[i]), OK);
            assert_int_equal(put_bytes(&store, 0, &h, kept), OK);
            assert_int_equal(block_open(&store, why), ERR_DAMAGED);
            if (sizes[i] > sizeof h) {
                assert_int_equal(put_bytes(&store, sizes[i] - 1, "x", 1), OK);
                assert_int_equal(init(SIZE), ERR_DAMAGED);
                assert_int_equal(store.map.at[sizes[i] - 1], 'x');
                assert_int_equal(put_bytes(&store, sizes[i] - 1, "", 1), OK);
            }
            assert_int_equal(init(SIZE), OK);
            put(1);
            reopen();
            is_there(0, 1);
            block_close(&store);
        }
    }
}

/* One that we do not know is somebody's, also if there is no block in it. */
static void a_store_of_another_version_stays(void **state)
{
    (void)state;
    struct block_header h;
    open_store(3);
    block_close(&store);
    memcpy(&h, store.map.at, sizeof h);
    h.version++;
    h.hash = hash_bytes(0, &h, offsetof(struct block_header, hash));
    assert_int_equal(put_bytes(&store, 0, &h, sizeof h), OK);
    assert_int_equal(init(SIZE), ERR_DAMAGED);
    assert_memory_equal(store.map.at, &h, sizeof h);
}

static void contact_puts_the_map_right(void **state)
{
    (void)state;
    open_store(10);
    for (uint64_t i = 0; i < 4; i++)
        put(i);
    assert_true(freed(2));
    flip_bit(0); /* there, and not known */
    flip_bit(2); /* known, and not there */
    flip_bit(3);
    reopen();
    assert_int_equal(block_used(&store), 2);
    is_there(0, 0);
    assert_int_equal(block_used(&store), 3);
    is_none(2);
    assert_int_equal(block_used(&store), 2);
    assert_int_equal(put(8), 2); /* 3 is free by the map, and found to be there by the next one */
    assert_int_equal(put(9), 4);
    is_there(3, 3);
    assert_int_equal(block_used(&store), 5);
}

static void what_is_torn_is_never_handed_out(void **state)
{
    (void)state;
    uint8_t seen[SIZE];
    bool there;
    open_store(10);
    for (uint64_t i = 0; i < 4; i++)
        put(i);
    tear(1);
    assert_int_equal(block_read(&store, 1, true, seen, &there), ERR_CORRUPT);
    assert_false(there);
    tear(2);
    flip_bit(2);
    reopen();
    assert_int_equal(block_read(&store, 2, true, seen, &there), ERR_CORRUPT);
    assert_int_equal(put(22), 2); /* its place can be had */
    is_there(2, 22);
    assert_true(freed(1));
    is_none(1);
    /* a block of another address is none here */
    assert_int_equal(put_bytes(&store, slot_at(1), store.map.at + slot_at(0), SLOT), OK);
    assert_int_equal(block_read(&store, 1, true, seen, &there), ERR_CORRUPT);
}

static void repair_goes_by_the_slots(void **state)
{
    (void)state;
    enum { MANY = BLOCK_SLOTS + 50 };
    struct block_repair r;
    uint8_t seen[SIZE];
    bool there;
    open_store(MANY);
    for (uint64_t i = 0; i < MANY; i++)
        put(i);
    assert_true(freed(5));
    flip_bit(5);
    flip_bit(6);
    flip_bit(BLOCK_SLOTS + 1);
    tear(7);
    tear(BLOCK_SLOTS + 2);
    reopen();
    const uint64_t used = block_used(&store);
    assert_int_equal(block_repair(&store, 0, UINT64_MAX, true, &r), OK);
    assert_int_equal(r.blocks, MANY - 3);
    assert_int_equal(r.unknown, 2);
    assert_int_equal(r.torn, 2);
    assert_int_equal(r.lost[0], 7);
    assert_int_equal(r.lost[1], BLOCK_SLOTS + 2);
    assert_int_equal(r.next, block_capacity(&store));
    assert_int_equal(block_used(&store), used);
    assert_int_equal(block_read(&store, 7, true, seen, &there), ERR_CORRUPT);
    assert_int_equal(block_repair(&store, 0, 7, false, &r), OK);
    assert_int_equal(r.unknown, 1);
    assert_int_equal(r.next, 7);
    assert_int_equal(block_repair(&store, r.next, UINT64_MAX, false, &r), OK);
    assert_int_equal(r.unknown, 1);
    assert_int_equal(r.torn, 2);
    assert_int_equal(block_used(&store), MANY - 3);
    is_none(7);
    is_there(BLOCK_SLOTS + 1, BLOCK_SLOTS + 1);
    assert_int_equal(block_repair(&store, UINT64_MAX, UINT64_MAX, false, &r), OK);
    assert_int_equal(r.next, block_capacity(&store));
    assert_int_equal(r.blocks, 0);
}

static void so_many_torn_ones_end_a_repair(void **state)
{
    (void)state;
    enum { MANY = 2500 };
    struct block_repair r;
    open_store(MANY);
    for (uint64_t i = 0; i < MANY; i++)
        put(1);
    for (uint64_t i = 0; i < MANY; i++)
        tear(i);
    uint64_t next = 0;
    for (uint64_t pieces = 0; pieces < 3; pieces++, next = r.next) {
        assert_int_equal(block_repair(&store, next, UINT64_MAX, false, &r), OK);
        assert_int_equal(r.torn, pieces < 2 ? 1000 : 500);
        assert_int_equal(r.lost[0], pieces * 1000);
    }
    assert_int_equal(next, block_capacity(&store));
    assert_int_equal(block_used(&store), 0);
}

static void those_that_are_there_are_found_in_order(void **state)
{
    (void)state;
    enum { MANY = 2 * BLOCK_SLOTS };
    uint64_t a = 0;
    bool found;
    open_store(MANY);
    assert_int_equal(block_next(&store, 0, true, &a, &found), OK);
    assert_false(found);
    assert_int_equal(a, block_capacity(&store));
    for (uint64_t i = 0; i < MANY; i++)
        put(i);
    for (uint64_t i = 0; i < MANY; i++)
        if (i % 1000 != 17)
            assert_true(freed(i));
    uint64_t n = 0;
    for (a = 0; block_next(&store, a, true, &a, &found) == OK && found; a++)
        assert_int_equal(a, 1000 * n++ + 17);
    assert_int_equal(n, block_used(&store));
}

/* Chance that is the same each time. */
static uint64_t below(uint64_t n)
{
    static uint64_t state;
    state = state * 6364136223846793005 + 1442695040888963407;
    return (state >> 33) % n;
}

/* Random operations beside an array, opened again now and then. */
static void it_does_as_an_array_does(void **state)
{
    (void)state;
    enum { STEPS = 200000, MOST = 3000 };
    static uint64_t model[2 * MOST]; /* which block is there; 0: none */
    uint64_t n = 0;
    uint64_t used = 0;
    memset(model, 0, sizeof model);
    assert_int_equal(init(SIZE), OK);
    for (int i = 0; i < STEPS; i++) {
        const uint64_t a = below(MOST);
        const uint64_t what = below(1000);
        if (what == 0) {
            reopen();
        } else if (what < 400 && used < MOST) {
            uint64_t lowest = 0;
            while (model[lowest] != 0)
                lowest++;
            assert_int_equal(put(++n), lowest);
            model[lowest] = n;
            used++;
        } else if (what < 700) {
            assert_int_equal(freed(a), model[a] != 0);
            used -= model[a] != 0;
            model[a] = 0;
        } else if (model[a] != 0) {
            is_there(a, model[a]);
        } else {
            is_none(a);
        }
        assert_int_equal(block_used(&store), used);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_store_is_made_of_nothing),
        TEST(what_is_there_is_not_overwritten),
        TEST(a_harmed_header_is_told),
        TEST(the_lowest_free_address_comes_first),
        TEST(slots_are_whole_and_the_file_grows_by_them),
        TEST(a_piece_of_a_map_page_is_no_group),
        TEST(a_bit_without_a_slot_does_not_outlive_a_growth),
        TEST(room_is_made_for_any_address_that_is_known),
        TEST(a_bit_of_a_piece_of_a_map_does_not_outlive_a_growth),
        TEST(a_piece_of_a_slot_does_not_come_back),
        TEST(what_was_half_made_is_made),
        TEST(a_store_of_another_version_stays),
        TEST(contact_puts_the_map_right),
        TEST(what_is_torn_is_never_handed_out),
        TEST(repair_goes_by_the_slots),
        TEST(so_many_torn_ones_end_a_repair),
        TEST(those_that_are_there_are_found_in_order),
        TEST(it_does_as_an_array_does),
    };
    guard_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
