/* Whose a file is: links that others have set, locks of others, and who is told to have one. */
#include "store/ownership.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/queue.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/os.h"

static char *dir;
static char path[PATH_MAX]; /* of the file that the tests open */
static char second[PATH_MAX];
static char kept[PATH_MAX];
static struct paths *paths;
static struct paths *everything;
static struct os real;
static const struct queue_change none;

static int setup(void **state)
{
    (void)state;
    static const char *const nowhere[] = {NULL};
    dir = folder_make();
    real = os;
    snprintf(path, sizeof path, "%s", folder_file(dir, "f"));
    snprintf(second, sizeof second, "%s", folder_file(dir, "g"));
    snprintf(kept, sizeof kept, "%s", folder_file(dir, "f.nif"));
    return paths_open(dir, nowhere, &paths) == OK && paths_open("/", nowhere, &everything) == OK
               ? 0
               : -1;
}

static int teardown(void **state)
{
    (void)state;
    os = real;
    paths_close(paths);
    paths_close(everything);
    folder_remove(dir);
    return 0;
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
                            .len = kind == OBJECT_REGION ? 4096 : 0,
                            .n = kind == OBJECT_COUNTERS ? 10 : 0,
                            .queue = &none,
                            .now_ms = 1700000000000,
                            .node = "first@host",
                            .fd = -1};
}

static enum err open_in(const struct paths *where, struct object *object, struct opening *o)
{
    *object = (struct object){.map.fd = -1};
    enum err e = object_find(where, o);
    return e != OK ? e : object_attach(object, o);
}

static struct object opened(enum object_kind kind)
{
    struct object object;
    struct opening o = opening_of(kind);
    assert_int_equal(open_in(paths, &object, &o), OK);
    return object;
}

/* Another description of the file, with this lock (F_RDLCK, F_WRLCK) or a try of it. */
static int other_program(void)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    must(fd >= 0);
    return fd;
}

static int lock(int fd, short type)
{
    struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &whole);
}

/* --- links ----------------------------------------------------------------------------------- */

static int fstat_of_another_user(int fd, struct stat *st)
{
    const int result = real.fstat(fd, st);
    st->st_uid = geteuid() + 1;
    return result;
}

static const struct {
    enum object_kind kind;
    const char *link;
    const char *third;
    bool ours, confined;
    enum err err;
} links[] = {
    {OBJECT_REGION, second, NULL, true, true, OK},
    {OBJECT_REGION, second, NULL, false, true, ERR_EACCES},
    {OBJECT_COUNTERS, second, NULL, false, true, ERR_EACCES},
    {OBJECT_QUEUE, second, NULL, false, true, ERR_EACCES},
    {OBJECT_REGION, second, NULL, false, false, OK},
    {OBJECT_REGION, NULL, NULL, false, true, OK},
    {OBJECT_QUEUE, kept, NULL, false, true, OK}, /* a conversion was cut off */
    {OBJECT_REGION, kept, NULL, false, true, ERR_EACCES},
    {OBJECT_QUEUE, kept, second, false, true, ERR_EACCES},
};

static void a_file_of_others_with_several_names_is_refused(void **state)
{
    (void)state;
    const struct held before = held_now();
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        struct object object = opened(links[i].kind);
        object_close(&object);
        if (links[i].link != NULL)
            assert_int_equal(link(path, links[i].link), 0);
        if (links[i].third != NULL)
            assert_int_equal(link(path, links[i].third), 0);
        struct opening o = opening_of(links[i].kind);
        os.fstat = links[i].ours ? real.fstat : fstat_of_another_user;
        const enum err e = open_in(links[i].confined ? paths : everything, &object, &o);
        os = real;
        if (e != links[i].err)
            fail_msg("row %zu: %s", i, err_text(e));
        assert_int_equal(o.fd, -1);
        object_close(&object);
        (void)unlink(second);
        (void)unlink(kept);
        assert_int_equal(unlink(path), 0);
    }
    held_as(before);
}

/* --- locks ----------------------------------------------------------------------------------- */

static void who_has_a_queue_is_told_by_name(void **state)
{
    (void)state;
    static const enum object_kind kinds[] = {OBJECT_QUEUE, OBJECT_REGION, OBJECT_COUNTERS};
    struct object first = opened(OBJECT_QUEUE);
    char text[64] = "";
    char expected[64];
    snprintf(expected, sizeof expected, "first@host %d", (int)getpid());
    assert_int_equal(getxattr(path, "user.emmap.owner", text, sizeof text - 1), strlen(expected));
    assert_string_equal(text, expected);
    for (size_t i = 0; i < 3; i++) {
        struct object object;
        struct opening o = opening_of(kinds[i]);
        o.node = "second@host";
        assert_int_equal(open_in(paths, &object, &o), ERR_LOCKED);
        assert_string_equal(o.owner, "first@host");
    }
    object_close(&first);
    assert_int_equal(getxattr(path, "user.emmap.owner", NULL, 0), -1);
}

static void an_owner_that_was_killed_is_no_obstacle(void **state)
{
    (void)state;
    struct object object = opened(OBJECT_QUEUE);
    object_close(&object);
    assert_int_equal(setxattr(path, "user.emmap.owner", "dead@host 4", 11, 0), 0);
    object = opened(OBJECT_QUEUE);
    char text[64] = "";
    assert_true(getxattr(path, "user.emmap.owner", text, sizeof text - 1) > 0);
    assert_memory_equal(text, "first@host ", 11);
    object_close(&object);
}

static void who_shares_a_file_has_no_name(void **state)
{
    (void)state;
    struct object object = opened(OBJECT_QUEUE);
    object_close(&object);
    assert_int_equal(setxattr(path, "user.emmap.owner", "dead@host 4", 11, 0), 0);
    const int other = other_program();
    assert_int_equal(lock(other, F_RDLCK), 0);
    struct opening o = opening_of(OBJECT_QUEUE);
    assert_int_equal(open_in(paths, &object, &o), ERR_LOCKED);
    assert_string_equal(o.owner, "");
    close(other);
}

static void regions_and_counters_are_shared_until_one_wants_them_alone(void **state)
{
    (void)state;
    static const enum object_kind kinds[] = {OBJECT_REGION, OBJECT_COUNTERS};
    for (size_t i = 0; i < 2; i++) {
        struct object first = opened(kinds[i]);
        struct object second_one = opened(kinds[i]);
        const int other = other_program();
        assert_int_equal(lock(other, F_RDLCK), 0);
        object_close(&first);
        assert_int_equal(lock(other, F_WRLCK), -1);
        object_close(&second_one);
        assert_int_equal(lock(other, F_WRLCK), 0);
        struct opening o = opening_of(kinds[i]);
        assert_int_equal(open_in(paths, &first, &o), ERR_LOCKED);
        assert_string_equal(o.owner, "");
        close(other);
        assert_int_equal(unlink(path), 0);
    }
}

/* The descriptor is another one then. */
static void a_mapping_that_becomes_writable_stays_locked(void **state)
{
    (void)state;
    struct object object = opened(OBJECT_REGION);
    object_close(&object);
    struct opening o = opening_of(OBJECT_REGION);
    o.write = o.create = false;
    assert_int_equal(open_in(paths, &object, &o), OK);
    o = opening_of(OBJECT_REGION);
    assert_int_equal(object_find(paths, &o), OK);
    assert_int_equal(object_attach(&object, &o), OK);
    assert_int_equal(object_writable(&object), OK);
    const int other = other_program();
    assert_int_equal(lock(other, F_WRLCK), -1);
    object_close(&object);
    assert_int_equal(lock(other, F_WRLCK), 0);
    close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_file_of_others_with_several_names_is_refused),
        TEST(who_has_a_queue_is_told_by_name),
        TEST(an_owner_that_was_killed_is_no_obstacle),
        TEST(who_shares_a_file_has_no_name),
        TEST(regions_and_counters_are_shared_until_one_wants_them_alone),
        TEST(a_mapping_that_becomes_writable_stays_locked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
