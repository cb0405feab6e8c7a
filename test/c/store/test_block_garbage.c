/* Files that are no block stores, or were: random bytes, random bytes behind a good header, a store
 * with bits flipped, pieces elsewhere, of another store, or cut off. Whatever is asked of them ends
 * with an answer; no block is told that was not stored at that address; after a repair everything
 * works. */
#include <fcntl.h>
#include <unistd.h>

#include "store/block.h"
#include "store/format.h"
#include "support/check.h"
#include "support/folder.h"
#include "sys/guard.h"
#include "sys/hash.h"

enum { LONGEST = 200, SEED = 20260, FILE_MOST = 4 << 20, OURS = 1, STRANGERS = 2 };
enum { SLOTS_AT = 2 * BLOCK_PAGE };

/* Ends of pages, of the map, of slots, of groups (of blocks of 8 bytes). */
static const uint32_t file_sizes[] = {
    0,    1,    7,    8,     63,    64,    65,     4095,   4096,   4097,   8191,    8192,
    8193, 8200, 8208, 12288, 20480, 65536, 532479, 532480, 532481, 536576, 1064960, 1200000,
};
static const uint32_t block_sizes[] = {1, 8, 13, 24, 100, LONGEST};

#define N(array) (sizeof(array) / sizeof(array)[0])

static char *dir;
static struct object store;
static char why[BLOCK_WHY];
static uint8_t ours[FILE_MOST], strangers[FILE_MOST], file[FILE_MOST];
static uint32_t size; /* of a block */
static uint64_t chance = SEED;

static uint64_t below(uint64_t n)
{
    chance = chance * 6364136223846793005 + 1442695040888963407;
    return (chance >> 33) % n;
}

static void fill(uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)below(256);
}

static void open_file(const uint8_t *bytes, size_t n)
{
    const int fd = open(folder_file(dir, "f"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    store = (struct object){.kind = OBJECT_REGION};
    assert_int_equal(map_open(&store.map, fd, n, true, MAP_OF_FILE), OK);
}

static const uint8_t *bytes_of(uint64_t store_of, uint64_t a)
{
    static uint8_t bytes[LONGEST];
    const uint64_t mixed = hash_bytes(store_of, &a, sizeof a);
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(mixed >> (i * 13 % 57));
    return bytes;
}

static bool put_one(uint64_t store_of)
{
    uint64_t a;
    enum err e = block_find(&store, 1, true, &a);
    if (e == OK)
        assert_int_equal(block_put(&store, a, bytes_of(store_of, a)), OK);
    else
        assert_int_equal(e, ERR_FULL);
    return e == OK;
}

/* --- what is asked --------------------------------------------------------------------------- */

/* What there is at the address is ours, nothing, or corrupt. */
static bool look(uint64_t a)
{
    uint8_t bytes[LONGEST];
    bool there;
    enum err e = block_read(&store, a, below(2) == 0, bytes, &there);
    if (e == ERR_WOULD_BLOCK)
        e = block_read(&store, a, true, bytes, &there);
    assert_true(e == OK || (e == ERR_CORRUPT && !there));
    if (there)
        assert_memory_equal(bytes, bytes_of(OURS, a), size);
    return there;
}

static uint64_t look_at_all(void)
{
    uint64_t n = 0;
    for (uint64_t a = 0; a < block_capacity(&store) + 3; a++)
        n += look(a);
    assert_false(look(UINT64_MAX));
    assert_true(block_used(&store) <= block_capacity(&store));
    return n;
}

static uint64_t walk(void)
{
    uint64_t a = 0;
    uint64_t n = 0;
    uint64_t from = 0;
    bool found;
    while (block_next(&store, from, true, &a, &found) == OK && found) {
        assert_true(a >= from && a < block_capacity(&store));
        from = a + 1;
        n++;
    }
    assert_int_equal(a, block_capacity(&store));
    assert_int_equal(n, block_used(&store));
    return n;
}

static void change_some(void)
{
    for (int i = 0; i < 20; i++) {
        const uint64_t a = below(block_capacity(&store) + 2);
        bool freed;
        if (below(2) == 0 && put_one(OURS))
            continue;
        assert_int_equal(block_free(&store, a, true, &freed), OK);
        assert_false(look(a));
    }
    if (block_capacity(&store) < 100000)
        assert_int_equal(block_grow(&store, 1 + below(10000)), OK);
    walk();
}

/* In pieces, where more is torn than one can tell. */
static uint64_t repair_all(void)
{
    static struct block_repair dry, r;
    uint64_t blocks = 0;
    for (uint64_t from = 0; from < block_capacity(&store); from = r.next) {
        assert_int_equal(block_repair(&store, from, UINT64_MAX, true, &dry), OK);
        assert_int_equal(block_repair(&store, from, UINT64_MAX, false, &r), OK);
        assert_memory_equal(&r, &dry, sizeof r);
        assert_true(r.next > from && r.next <= block_capacity(&store));
        blocks += r.blocks;
    }
    return blocks;
}

static void repair(void)
{
    const uint64_t blocks = repair_all();
    assert_int_equal(walk(), blocks);
    assert_int_equal(look_at_all(), blocks);
    uint64_t lowest;
    if (block_find(&store, 1, true, &lowest) == OK)
        for (uint64_t a = 0; a < lowest; a++)
            assert_true(look(a));
    else
        assert_int_equal(blocks, block_capacity(&store));
}

/* Refused it stays what it is; or there was nothing in it. */
static void refuse(const uint8_t *bytes, size_t n, enum err e)
{
    uint32_t asked = size;
    assert_true(e == ERR_NOT_BLOCKS || e == ERR_DAMAGED);
    e = block_init(&store, &asked, 1, why);
    if (e == OK)
        assert_int_equal(look_at_all(), 0);
    else
        assert_true(memcmp(store.map.at, bytes, n) == 0 && store.map.size == n);
    assert_true(e == OK || e == ERR_NOT_BLOCKS || e == ERR_DAMAGED);
}

/* Half of the times it is changed before anybody has looked. True: it is a store. */
static bool ask_all(const uint8_t *bytes, size_t n)
{
    open_file(bytes, n);
    const enum err e = block_open(&store, why);
    if (e == OK && block_size(&store) == size) {
        walk();
        if (below(2) == 0)
            look_at_all();
        change_some();
        if (below(2) == 0)
            look_at_all();
        repair();
        change_some();
        look_at_all();
    } else if (e != OK) {
        refuse(bytes, n, e);
    }
    object_close(&store);
    return e == OK;
}

/* --- what there is --------------------------------------------------------------------------- */

static void put_header(uint8_t *bytes, size_t n)
{
    struct block_header h = {.magic = BLOCK_MAGIC, .version = BLOCK_VERSION, .block_size = size};
    fill(h.uuid, sizeof h.uuid);
    h.hash = hash_bytes(0, &h, offsetof(struct block_header, hash));
    memcpy(bytes, &h, n < sizeof h ? n : sizeof h);
}

/* A store in a file of so many bytes, most of it used. */
static void make(uint8_t *bytes, size_t n, uint64_t store_of)
{
    memset(bytes, 0, FILE_MOST);
    put_header(bytes, n);
    open_file(bytes, n);
    assert_int_equal(block_open(&store, why), OK);
    const uint64_t blocks = block_capacity(&store) - block_capacity(&store) / 8;
    for (uint64_t i = 0; i < blocks; i++)
        assert_true(put_one(store_of));
    for (uint64_t i = 0; i < blocks / 8; i++) {
        bool freed;
        assert_int_equal(block_free(&store, below(blocks), true, &freed), OK);
    }
    memcpy(bytes, store.map.at, n);
    object_close(&store);
}

static void flip_some(size_t n)
{
    for (uint64_t i = 1 + below(n / 64 + 1); i > 0; i--)
        file[below(n)] ^= (uint8_t)(1U << below(8));
}

/* A piece of one place, of this store or of another, at another place; from `at` on. */
static void misplace(const uint8_t *from, size_t n, size_t at, uint64_t piece)
{
    if (n < at + 2 * piece)
        return;
    const uint64_t places = (n - at) / piece;
    for (uint64_t i = 1 + below(8); i > 0; i--)
        memcpy(file + at + below(places) * piece, from + at + below(places) * piece, piece);
}

static void mingle(size_t n)
{
    for (size_t at = BLOCK_PAGE; at + 512 <= n; at += 512)
        if (below(2) == 0)
            memcpy(file + at, strangers + at, 512);
}

static size_t harm(unsigned how, size_t n)
{
    const uint64_t slot = 8 + align_up(size, 8);
    switch (how) {
    case 0: flip_some(n); break;
    case 1: misplace(ours, n, 0, 4096); break;
    case 2: misplace(ours, n, 0, 512); break;
    case 3: misplace(ours, n, SLOTS_AT, slot); break;
    case 4: misplace(strangers, n, BLOCK_PAGE, 4096); break;
    case 5: mingle(n); break;
    case 6: memcpy(file, strangers, n < 64 ? n : 64); break;
    case 7: return below(n + 1);
    case 8: fill(file + BLOCK_PAGE, n > SLOTS_AT ? BLOCK_PAGE : 0); break;
    default: memset(file + BLOCK_PAGE, how == 9 ? 0xff : 0, n > SLOTS_AT ? BLOCK_PAGE : 0);
    }
    return n;
}

enum { HARMS = 11 };

static int setup(void **state)
{
    (void)state;
    dir = folder_make();
    guard_install();
    print_message("seed %d\n", SEED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(dir);
    return 0;
}

static void random_bytes_are_no_store(void **state)
{
    (void)state;
    for (size_t i = 0; i < N(file_sizes); i++) {
        const size_t n = file_sizes[i];
        size = block_sizes[i % N(block_sizes)];
        fill(file, n);
        assert_false(ask_all(file, n));
        memcpy(file, BLOCK_MAGIC, n < 8 ? n : 8);
        assert_false(ask_all(file, n));
    }
}

static void behind_a_good_header_may_be_anything(void **state)
{
    (void)state;
    for (size_t i = 0; i < N(file_sizes); i++)
        for (size_t k = 0; k < N(block_sizes); k++) {
            const size_t n = file_sizes[i];
            size = block_sizes[k];
            fill(file, n);
            put_header(file, n);
            assert_int_equal(ask_all(file, n), n >= sizeof(struct block_header));
            memset(file + 64, below(2) == 0 ? 0 : 0xff, sizeof file - 64);
            assert_int_equal(ask_all(file, n), n >= sizeof(struct block_header));
        }
}

static void of_a_harmed_store_no_other_block_is_told(void **state)
{
    (void)state;
    unsigned stores = 0;
    for (size_t i = 0; i < N(file_sizes); i++) {
        const size_t n = file_sizes[i];
        if (n < BLOCK_PAGE)
            continue;
        size = n > 100000 ? 8 : block_sizes[i % N(block_sizes)];
        make(strangers, n, STRANGERS);
        make(ours, n, OURS);
        for (unsigned how = 0; how < (n > 100000 ? 1 : 4) * HARMS; how++) {
            memcpy(file, ours, n);
            stores += ask_all(file, harm(how % HARMS, n));
        }
    }
    assert_true(stores > 100);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(random_bytes_are_no_store),
        TEST(behind_a_good_header_may_be_anything),
        TEST(of_a_harmed_store_no_other_block_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
