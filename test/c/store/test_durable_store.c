/* A durable block store: whose its file is while somebody uses it, and what is left of it where its
 * file was cut. */
#include <errno.h>
#include <sys/xattr.h>

#include "store/block.h"
#include "store/durables.h"
#include "store/ownership.h"
#include "sys/guard.h"

static struct object store;

static bool has_owner(void)
{
    char text[200];
    return getxattr(folder_file(dir, "b"), "user.emmap.owner", text, sizeof text) > 0;
}

static void make(void)
{
    struct store_change change = {.make = true, .size = 100, .node = "a@b"};
    memset(&store, 0, sizeof store);
    start();
    open_durable(&store, "b", OBJECT_REGION);
    assert_int_equal(object_become_store(&store, &change), OK);
}

static void put(int n)
{
    uint8_t bytes[100];
    uint64_t a;
    memset(bytes, n + 1, sizeof bytes);
    enum err e = block_find(&store, 1, true, &a);
    if (e == ERR_FULL && (e = block_grow(&store, 65536)) == OK)
        e = block_find(&store, 1, true, &a);
    assert_int_equal(e, OK);
    assert_int_equal(block_put(&store, a, bytes), OK);
}

/* Those who did not ask for that use it on. */
static void who_closes_the_durable_handle_leaves_the_store_ours(void **state)
{
    (void)state;
    make();
    put(0);
    assert_int_equal(object_relax(&store), OK);
    assert_int_equal(store.kind, OBJECT_BLOCKS);
    put(1);
    assert_true(has_owner());
    const int fd = open(folder_file(dir, "b"), O_RDWR | O_CLOEXEC);
    assert_int_not_equal(os.lock_shared(fd), 0);
    close(fd);
    object_close(&store);
    stop();
}

static void what_was_unclean_stays_so_without_a_request(void **state)
{
    (void)state;
    make();
    put(0);
    assert_int_equal(object_relax(&store), OK);
    object_close(&store);
    assert_false(has_owner());
    assert_int_equal(setxattr(folder_file(dir, "b"), "user.emmap.owner", "x@y 1", 5, 0), 0);
    open_durable(&store, "b", OBJECT_REGION);
    assert_true(store.unclean);
    object_close(&store);
    assert_true(has_owner());
    stop();
}

/* The journal has more than the file could take. */
static void a_store_whose_file_was_cut_is_none_any_more(void **state)
{
    (void)state;
    uint8_t bytes[100];
    bool there;
    guard_install(); /* cmocka has put its own handler there */
    make();
    for (int i = 0; i < 20; i++)
        put(i);
    commit(&store);
    const int fd = open(folder_file(dir, "b"), O_RDWR | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 4096), 0);
    close(fd);
    assert_int_equal(block_read(&store, 3, true, bytes, &there), ERR_EIO);
    assert_true(store.failed);
    (void)try_again(&store, "b", OBJECT_REGION, true);
    assert_null(store.blocks);
    assert_int_equal(store.kind, OBJECT_REGION);
    let_go(&store);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        THREADED(who_closes_the_durable_handle_leaves_the_store_ours),
        THREADED(what_was_unclean_stays_so_without_a_request),
        THREADED(a_store_whose_file_was_cut_is_none_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
