/* A region becomes a block store: whose its file is from then on, and what is done where the one
 * who had it before did not close it. */
#include "store/object.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/block.h"
#include "store/put.h"
#include "store/region.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/os.h"

enum { SIZE = 100, SLOT = 8 + 104 };

static char *dir;
static char path[PATH_MAX];
static struct paths *paths;
static struct os real;
static struct object store;

static int setup(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    dir = folder_make();
    real = os;
    snprintf(path, sizeof path, "%s", folder_file(dir, "f"));
    return paths_open(dir, none, &paths) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    os = real;
    object_close(&store);
    paths_close(paths);
    folder_remove(dir);
    return 0;
}

static enum err open_region(struct object *object, bool write)
{
    struct opening o = {.path = path,
                        .kind = OBJECT_REGION,
                        .sharing = MAP_OF_FILE,
                        .write = write,
                        .create = write,
                        .any_file_system = true,
                        .mode = 0600,
                        .node = "me@here",
                        .fd = -1};
    enum err e = object_find(paths, &o);
    return e != OK ? e : object_attach(object, &o);
}

static enum err become(struct object *object, bool make)
{
    struct store_change change = {.make = make, .size = SIZE, .node = "me@here"};
    return object_become_store(object, &change);
}

static const uint8_t *block_of(uint64_t n)
{
    static uint8_t bytes[SIZE];
    memset(bytes, (int)n + 1, sizeof bytes);
    return bytes;
}

static void put(uint64_t n)
{
    uint64_t a;
    enum err e = block_find(&store, 1, true, &a);
    if (e == ERR_FULL && (e = block_grow(&store, 4096)) == OK)
        e = block_find(&store, 1, true, &a);
    assert_int_equal(e, OK);
    assert_int_equal(a, n);
    assert_int_equal(block_put(&store, a, block_of(n)), OK);
}

/* A store with so many blocks. */
static void make(uint64_t n)
{
    assert_int_equal(open_region(&store, true), OK);
    assert_int_equal(become(&store, true), OK);
    for (uint64_t i = 0; i < n; i++)
        put(i);
}

/* As somebody leaves it who is killed. */
static void leave(void)
{
    store.owned = false;
    block_close(&store);
    object_close(&store);
}

static void open_again(void)
{
    assert_int_equal(open_region(&store, true), OK);
    assert_int_equal(become(&store, false), OK);
}

static bool has_owner(void)
{
    char text[200];
    return getxattr(path, "user.emmap.owner", text, sizeof text) > 0;
}

/* By somebody else, to the file. */
static void overwrite(uint64_t at, uint8_t byte)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(pwrite(fd, &byte, 1, (off_t)at) == 1);
    close(fd);
}

static bool is_there(uint64_t a)
{
    uint8_t seen[SIZE];
    bool there;
    assert_int_equal(block_read(&store, a, true, seen, &there), OK);
    return there;
}

static unsigned walk(void)
{
    unsigned pieces = 0;
    for (; block_walks(&store); pieces++)
        block_walk(&store);
    return pieces;
}

static void who_closes_it_leaves_no_owner(void **state)
{
    (void)state;
    make(10);
    assert_true(has_owner());
    object_close(&store);
    assert_false(has_owner());
    open_again();
    assert_false(block_walks(&store));
}

static void after_an_unclean_end_all_blocks_are_looked_at(void **state)
{
    (void)state;
    make(50);
    leave();
    assert_true(has_owner());
    overwrite(4096, 0);                        /* the map forgets eight */
    overwrite(2 * 4096 + 20 * SLOT + 30, 200); /* a torn one */
    open_again();
    assert_true(block_walks(&store));
    assert_int_equal(block_used(&store), 42);
    assert_int_equal(walk(), 1);
    assert_int_equal(block_used(&store), 49);
    assert_false(is_there(20));
    assert_true(is_there(7));
    put(20);
    object_close(&store);
    assert_false(has_owner());
}

static void a_walk_goes_on_at_the_next_opening(void **state)
{
    (void)state;
    make(30000); /* three pieces */
    leave();
    overwrite(2 * 4096 + 29999 * SLOT + 30, 200);
    open_again();
    block_walk(&store);
    assert_true(block_walks(&store));
    object_close(&store);
    assert_true(has_owner());
    open_again();
    assert_true(block_walks(&store));
    assert_true(walk() > 1);
    assert_int_equal(block_used(&store), 29999);
    object_close(&store);
    assert_false(has_owner());
}

static void a_walk_reaches_what_has_grown_meanwhile(void **state)
{
    (void)state;
    make(30000);
    leave();
    open_again();
    block_walk(&store);
    assert_int_equal(block_grow(&store, 1 << 30), OK);
    walk();
    assert_int_equal(block_used(&store), 30000);
    assert_false(block_walks(&store));
}

static void what_is_not_on_disk_has_not_been_closed(void **state)
{
    (void)state;
    make(1);
    os.sync = sync_fails;
    object_close(&store);
    os = real;
    assert_true(has_owner());
    char text[200];
    assert_true(getxattr(path, "user.emmap.failed", text, sizeof text) > 0);
    open_again();
    assert_true(block_walks(&store));
}

static void without_the_owner_on_disk_nothing_is_stored(void **state)
{
    (void)state;
    assert_int_equal(open_region(&store, true), OK);
    os.sync_all = sync_fails;
    assert_int_equal(become(&store, true), ERR_EIO);
    assert_int_equal(object_writable(&store), ERR_EIO);
    os = real;
    object_close(&store);
    assert_int_equal(open_region(&store, true), OK);
    assert_int_equal(become(&store, true), OK);
}

static void a_store_that_failed_is_looked_at_again(void **state)
{
    (void)state;
    make(5);
    os.sync = sync_fails;
    assert_int_equal(object_sync(&store), ERR_EIO);
    os = real;
    assert_int_equal(open_region(&store, true), OK);
    assert_int_equal(store.kind, OBJECT_REGION);
    assert_int_equal(become(&store, false), OK);
    assert_true(block_walks(&store));
    assert_int_equal(walk(), 1);
    assert_true(is_there(4));
}

static void who_reads_it_only_has_no_lock(void **state)
{
    (void)state;
    make(3);
    object_close(&store);
    struct object other = {.map.fd = -1};
    assert_int_equal(open_region(&store, false), OK);
    assert_int_equal(become(&store, false), OK);
    assert_false(has_owner());
    assert_int_equal(open_region(&other, false), OK);
    assert_int_equal(become(&other, false), OK);

    assert_int_equal(open_region(&store, true), OK); /* writes from now on */
    assert_int_equal(become(&store, false), ERR_LOCKED);
    object_close(&other);
    assert_int_equal(become(&store, false), OK);
    assert_true(has_owner());
    put(3);
}

static enum err make_another_size(void)
{
    struct store_change change = {.make = true, .size = SIZE + 1, .node = "me@here"};
    const enum err e = object_become_store(&store, &change);
    assert_int_equal(change.size, SIZE);
    return e;
}

static void a_wrong_size_takes_nothing_from_a_store_in_use(void **state)
{
    (void)state;
    make(3);
    assert_int_equal(make_another_size(), ERR_BLOCK_SIZE);
    assert_int_equal(store.kind, OBJECT_BLOCKS);
    assert_true(has_owner());
}

static void a_wrong_size_finds_a_store_all_the_same(void **state)
{
    (void)state;
    make(3);
    leave();
    assert_int_equal(open_region(&store, true), OK);
    assert_int_equal(make_another_size(), ERR_BLOCK_SIZE);
    assert_int_equal(store.kind, OBJECT_BLOCKS);
    assert_true(block_walks(&store));
    object_close(&store);
    assert_true(has_owner());
}

static void what_was_unclean_stays_so_without_a_request(void **state)
{
    (void)state;
    make(3);
    leave();
    open_again();
    struct opening o = {.path = path,
                        .kind = OBJECT_REGION,
                        .sharing = MAP_OF_FILE,
                        .write = true,
                        .fit = true,
                        .len = 1 << 20,
                        .any_file_system = true,
                        .node = "me@here",
                        .fd = -1};
    assert_int_equal(object_find(paths, &o), OK);
    assert_int_equal(object_attach(&store, &o), OK);
    assert_int_equal(store.kind, OBJECT_REGION); /* until the next request for blocks */
    object_close(&store);
    assert_true(has_owner());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_closes_it_leaves_no_owner),
        TEST(after_an_unclean_end_all_blocks_are_looked_at),
        TEST(a_walk_goes_on_at_the_next_opening),
        TEST(a_walk_reaches_what_has_grown_meanwhile),
        TEST(what_is_not_on_disk_has_not_been_closed),
        TEST(without_the_owner_on_disk_nothing_is_stored),
        TEST(a_store_that_failed_is_looked_at_again),
        TEST(who_reads_it_only_has_no_lock),
        TEST(a_wrong_size_takes_nothing_from_a_store_in_use),
        TEST(a_wrong_size_finds_a_store_all_the_same),
        TEST(what_was_unclean_stays_so_without_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
