/* Names, hostile ones among them, against a small tree. */
#include "sys/path.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/os.h"

static char *dir;
static struct paths *paths;

static void make_file(const char *name)
{
    const int fd = open(folder_file(dir, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0);
    close(fd);
}

static void make_dir(const char *name)
{
    must(mkdir(folder_file(dir, name), 0700) == 0);
}

static void make_link(const char *target, const char *name)
{
    must(symlink(target, folder_file(dir, name)) == 0);
}

static void make_tree(void)
{
    static const char *const dirs[] = {"data", "data/sub", "data2", "allowed", "allowed/data"};
    static const char *const files[] = {"data/f", "data/sub/f", "data2/f", "allowed/f", "f"};
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        make_dir(dirs[i]);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        make_file(files[i]);
    make_link("f", "data/in");
    make_link("sub/../f", "data/in_by_dots");
    make_link("sub", "data/sub_in");
    make_link("../f", "data/out");
    make_link("../allowed", "data/dir_out");
    make_link(folder_file(dir, "data/f"), "data/absolute");
    make_link("loop", "data/loop");
    make_link("nowhere", "data/dangling");
    must(mkfifo(folder_file(dir, "data/fifo"), 0600) == 0);
    must(mknod(folder_file(dir, "data/socket"), S_IFSOCK | 0600, 0) == 0);
}

static int setup(void **state)
{
    (void)state;
    dir = folder_make();
    make_tree();
    const char *const allowed[] = {folder_file(dir, "allowed/"), NULL};
    return paths_open(folder_file(dir, "data"), allowed, &paths) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    paths_close(paths);
    folder_remove(dir);
    return 0;
}

/* `@` at the beginning of a name stands for the directory. */
static const char *absolute(const char *name)
{
    return name[0] == '@' ? folder_file(dir, name + 2) : name;
}

static enum err open_name(const char *name, int *fd)
{
    char full[PATH_MAX];
    enum err e = path_resolve(paths, span_text(absolute(name)), full);
    return e != OK ? e : path_open(paths, full, O_RDWR, fd);
}

/* Each name, and the file that it opens or why not. */
static const struct {
    const char *name;
    enum err err;
    const char *file;
} names[] = {
    {"f", OK, "data/f"},
    {"./f", OK, "data/f"},
    {"././/.//f", OK, "data/f"},
    {"f/", OK, "data/f"},
    {"f/.", OK, "data/f"},
    {"sub/f", OK, "data/sub/f"},
    {"sub//f//", OK, "data/sub/f"},
    {"sub/../f", OK, "data/f"},
    {"sub/../sub/./../f", OK, "data/f"},
    {"@/data/f", OK, "data/f"},
    {"@/data//./sub/f", OK, "data/sub/f"},
    {"@/data/../data/f", ERR_EACCES, NULL},
    {"@/allowed/f", OK, "allowed/f"},
    {"@/allowed/data/../f", OK, "allowed/f"},

    {"in", OK, "data/f"},
    {"in_by_dots", OK, "data/f"},
    {"sub_in/f", OK, "data/sub/f"},
    {"sub_in/../f", OK, "data/f"},
    {"out", ERR_EACCES, NULL},
    {"dir_out/f", ERR_EACCES, NULL},
    {"dir_out/../f", ERR_EACCES, NULL},
    {"absolute", ERR_EACCES, NULL},
    {"loop", ERR_ELOOP, NULL},
    {"dangling", ERR_ENOENT, NULL},

    {"..", ERR_EACCES, NULL},
    {"../f", ERR_EACCES, NULL},
    {"../data/f", ERR_EACCES, NULL},
    {"sub/../../f", ERR_EACCES, NULL},
    {"sub/../../../../../../../../etc/passwd", ERR_EACCES, NULL},
    {"@/data2/f", ERR_EACCES, NULL},
    {"@/dat", ERR_EACCES, NULL},
    {"@/data", ERR_EACCES, NULL},
    {"@/data/", ERR_EACCES, NULL},
    {"@/f", ERR_EACCES, NULL},
    {"@/allowed/../f", ERR_EACCES, NULL},
    {"/etc/passwd", ERR_EACCES, NULL},
    {"/proc/self/exe", ERR_EACCES, NULL},

    {"", ERR_BADARG, NULL},
    {"/", ERR_NOT_REGULAR, NULL},
    {"//", ERR_NOT_REGULAR, NULL},
    {"/.", ERR_NOT_REGULAR, NULL},
    {".", ERR_EACCES, NULL},
    {"sub", ERR_NOT_REGULAR, NULL},
    {"sub/.", ERR_NOT_REGULAR, NULL},
    {"sub/..", ERR_NOT_REGULAR, NULL},
    {"fifo", ERR_NOT_REGULAR, NULL},
    {"socket", ERR_NOT_REGULAR, NULL},
    {"none", ERR_ENOENT, NULL},
    {"none/f", ERR_ENOENT, NULL},
    {"f/f", ERR_ENOTDIR, NULL},
    {"~", ERR_ENOENT, NULL},
};

static void names_open_their_files_or_none(void **state)
{
    (void)state;
    const struct held before = held_now();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct stat seen, wanted;
        int fd = -1;
        enum err e = open_name(names[i].name, &fd);
        if (e != names[i].err)
            fail_msg("%s: %s", names[i].name, err_text(e));
        assert_int_equal(fd >= 0, e == OK);
        if (e != OK)
            continue;
        assert_int_equal(fstat(fd, &seen), 0);
        assert_int_equal(stat(folder_file(dir, names[i].file), &wanted), 0);
        assert_int_equal(seen.st_ino, wanted.st_ino);
        close(fd);
    }
    held_as(before);
}

static void resolved_names_have_no_empty_steps(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"f", "@/data/f"},     {".//a/./b//", "@/data/a/b"}, {"a/../b", "@/data/a/../b"},
        {"...", "@/data/..."}, {".a/b.", "@/data/.a/b."},    {"@/allowed//x/.", "@/allowed/x"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char full[PATH_MAX];
        assert_int_equal(path_resolve(paths, span_text(absolute(rows[i][0])), full), OK);
        assert_string_equal(full, absolute(rows[i][1]));
    }
}

static void a_zero_byte_is_no_part_of_a_name(void **state)
{
    (void)state;
    char full[PATH_MAX];
    static const struct {
        const char *at;
        size_t len;
    } rows[] = {{"\0", 1}, {"f\0", 2}, {"f\0/../../f", 10}, {"\0f", 2}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(path_resolve(paths, span_of(rows[i].at, rows[i].len), full), ERR_BADARG);
}

static void long_names_are_refused(void **state)
{
    (void)state;
    static char name[3 * PATH_MAX];
    char full[PATH_MAX];
    int fd;
    memset(name, 'a', sizeof name);
    assert_int_equal(path_resolve(paths, span_of(name, 256), full), OK);
    assert_int_equal(path_open(paths, full, O_RDWR, &fd), ERR_ENAMETOOLONG);
    const size_t most = PATH_MAX - 1 - strlen(folder_file(dir, "data/"));
    assert_int_equal(path_resolve(paths, span_of(name, most), full), OK);
    assert_int_equal(strlen(full), PATH_MAX - 1);
    static const size_t too_long[] = {1, 2, 3, PATH_MAX, PATH_MAX + 1};
    for (size_t i = 0; i < sizeof too_long / sizeof too_long[0]; i++)
        assert_int_equal(path_resolve(paths, span_of(name, most + too_long[i]), full),
                         ERR_ENAMETOOLONG);
    name[0] = '/';
    assert_int_equal(path_resolve(paths, span_of(name, PATH_MAX), full), ERR_ENAMETOOLONG);
    memset(name, '/', sizeof name - 1); /* long, but of one step */
    name[sizeof name - 1] = 'f';
    assert_int_equal(path_resolve(paths, span_of(name, sizeof name), full), ERR_EACCES);
}

static void a_long_name_has_a_parent_too(void **state)
{
    (void)state;
    static char name[PATH_MAX];
    char full[PATH_MAX];
    struct place place;
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 2 == 0 ? 'a' : '/';
    const size_t most = PATH_MAX - 1 - strlen(folder_file(dir, "data/"));
    for (size_t len = most - 3; len <= most; len++) {
        assert_int_equal(path_resolve(paths, span_of(name, len), full), OK);
        assert_int_equal(path_parent(paths, full, &place), ERR_ENOENT);
    }
}

/* Each name, and the directory and the last step that it has. */
static const struct {
    const char *name;
    enum err err;
    const char *dir;
    const char *last;
} places[] = {
    {"new", OK, "data", "new"},
    {"sub/new", OK, "data/sub", "new"},
    {"sub_in/new", OK, "data/sub", "new"},
    {"sub/../new", OK, "data", "new"},
    {"@/allowed/new", OK, "allowed", "new"},
    {"dir_out/new", ERR_EACCES, NULL, NULL},
    {"../new", ERR_EACCES, NULL, NULL},
    {"sub/..", ERR_NOT_REGULAR, NULL, NULL},
    {"none/new", ERR_ENOENT, NULL, NULL},
    {"f/new", ERR_ENOTDIR, NULL, NULL},
    {"fifo/new", ERR_ENOTDIR, NULL, NULL},
};

static void a_new_file_has_its_place(void **state)
{
    (void)state;
    const struct held before = held_now();
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char full[PATH_MAX];
        struct place place;
        struct stat seen, wanted;
        assert_int_equal(path_resolve(paths, span_text(absolute(places[i].name)), full), OK);
        assert_int_equal(path_parent(paths, full, &place), places[i].err);
        if (places[i].err != OK)
            continue;
        assert_string_equal(place.last, places[i].last);
        assert_int_equal(fstat(place.dir, &seen), 0);
        assert_int_equal(stat(folder_file(dir, places[i].dir), &wanted), 0);
        assert_int_equal(seen.st_ino, wanted.st_ino);
        close(place.dir);
    }
    held_as(before);
}

static void unlinking_takes_one_name(void **state)
{
    (void)state;
    char full[PATH_MAX];
    static const struct {
        const char *name;
        enum err err;
    } rows[] = {{"in", OK},      {"in", ERR_ENOENT},   {"out", OK},
                {"f", OK},       {"../f", ERR_EACCES}, {"dir_out/f", ERR_EACCES},
                {"dir_out", OK}, {"sub", ERR_EISDIR}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(path_resolve(paths, span_text(rows[i].name), full), OK);
        assert_int_equal(path_unlink(paths, full), rows[i].err);
    }
    assert_int_equal(access(folder_file(dir, "f"), F_OK), 0); /* where `out` led */
    assert_int_equal(access(folder_file(dir, "allowed/f"), F_OK), 0);
    assert_int_equal(access(folder_file(dir, "data/f"), F_OK), -1);
}

static void everything_is_beneath_the_root(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    char full[PATH_MAX];
    struct paths *root;
    struct place place;
    int fd;
    assert_int_equal(paths_open("/", none, &root), OK);
    assert_int_equal(path_resolve(root, span_text(folder_file(dir, "data/out")), full), OK);
    assert_int_equal(path_open(root, full, O_RDWR, &fd), OK);
    close(fd);
    assert_int_equal(path_resolve(root, span_text("etc/../etc/passwd"), full), OK);
    assert_string_equal(full, "/etc/../etc/passwd");
    assert_int_equal(path_open(root, full, O_RDONLY, &fd), OK);
    close(fd);
    assert_int_equal(path_resolve(root, span_text("/new"), full), OK);
    assert_int_equal(path_parent(root, full, &place), OK);
    assert_string_equal(place.last, "new");
    close(place.dir);
    assert_int_equal(path_resolve(root, span_text("."), full), ERR_NOT_REGULAR);
    paths_close(root);
}

/* What the root allows is allowed, whatever the data directory alone would say of links. */
static void the_widest_prefix_decides(void **state)
{
    (void)state;
    static const char *const all[] = {"/", NULL};
    char full[PATH_MAX];
    struct paths *wide;
    int fd;
    assert_int_equal(paths_open(folder_file(dir, "data"), all, &wide), OK);
    static const char *const rows[] = {"out", "absolute", "../f", "dir_out/f", "f"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(path_resolve(wide, span_text(rows[i]), full), OK);
        assert_int_equal(path_open(wide, full, O_RDWR, &fd), OK);
        close(fd);
    }
    paths_close(wide);
}

static void only_beneath_the_root_nothing_is_confined(void **state)
{
    (void)state;
    struct paths *p = NULL;
    static const char *const root[] = {"/", NULL};
    assert_true(path_is_confined(paths, folder_file(dir, "data/f")));
    assert_true(path_is_confined(paths, folder_file(dir, "allowed/f")));
    assert_true(path_is_confined(paths, "/elsewhere"));
    assert_int_equal(paths_open(folder_file(dir, "data"), root, &p), OK);
    assert_false(path_is_confined(p, folder_file(dir, "data/f")));
    assert_false(path_is_confined(p, "/elsewhere"));
    paths_close(p);
}

static void prefixes_have_to_be_there(void **state)
{
    (void)state;
    const struct held before = held_now();
    struct paths *p = NULL;
    const char *const rows[][3] = {{folder_file(dir, "none"), NULL, NULL},
                                   {folder_file(dir, "f"), NULL, NULL},
                                   {folder_file(dir, "data"), "/none", NULL}};
    static const enum err errs[] = {ERR_ENOENT, ERR_ENOTDIR, ERR_ENOENT};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(paths_open(rows[i][0], rows[i] + 1, &p), errs[i]);
        assert_null(p);
    }
    held_as(before);
}

static void a_failing_call_leaves_no_descriptor(void **state)
{
    (void)state;
    const struct held before = held_now();
    char full[PATH_MAX];
    const char *failed = "";
    assert_int_equal(path_resolve(paths, span_text("f"), full), OK);
    for (unsigned n = 1; failed != NULL; n++) {
        int fd = -1;
        faults_begin(n, EMFILE);
        enum err e = path_open(paths, full, O_RDWR, &fd);
        failed = faults_end();
        assert_int_equal(e, failed == NULL ? OK : ERR_EMFILE);
        if (e == OK)
            close(fd);
        held_as(before);
    }
    failed = "";
    for (unsigned n = 1; failed != NULL; n++) {
        faults_begin(n, EROFS);
        enum err e = path_unlink(paths, full);
        failed = faults_end();
        held_as(before);
        if (failed != NULL && strcmp(failed, "close") != 0)
            assert_int_equal(e, ERR_EROFS);
        assert_int_equal(access(folder_file(dir, "data/f"), F_OK), e == OK ? -1 : 0);
        make_file("data/f");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(names_open_their_files_or_none),   TEST(resolved_names_have_no_empty_steps),
        TEST(a_zero_byte_is_no_part_of_a_name), TEST(long_names_are_refused),
        TEST(a_long_name_has_a_parent_too),     TEST(a_new_file_has_its_place),
        TEST(unlinking_takes_one_name),         TEST(everything_is_beneath_the_root),
        TEST(the_widest_prefix_decides),        TEST(only_beneath_the_root_nothing_is_confined),
        TEST(prefixes_have_to_be_there),        TEST(a_failing_call_leaves_no_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
