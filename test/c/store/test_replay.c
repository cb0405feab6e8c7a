/* A start with what an earlier daemon has left: files that are no more what they were, kept halves
 * of all sorts, journals elsewhere. */
#include "store/replay.h"

#include <errno.h>
#include <sys/xattr.h>

#include "durables.h"

/* Three counters, the first one of them committed as 41 + 1; on the disk it is lost. */
static void leave(const char *name)
{
    struct object c;
    start();
    open_durable(&c, name, OBJECT_COUNTERS);
    add(&c, 0, 41);
    add(&c, 0, 1);
    commit(&c);
    KILL(&c);
    lose_counter(name, 0);
}

static void assert_first(const char *name, int64_t v)
{
    struct object c;
    assert_int_equal(try_open(&c, name, OBJECT_COUNTERS, false), OK);
    assert_true(value(&c, 0) == v);
    object_close(&c);
}

static void move_file(const char *from, const char *to)
{
    assert_int_equal(rename(folder_file(dir, from), folder_file(dir, to)), 0);
}

static void copy_file(const char *from, const char *to, bool with_mark)
{
    uint8_t bytes[4096];
    struct mark m;
    const int in = open(folder_file(dir, from), O_RDONLY | O_CLOEXEC);
    const int out = open(folder_file(dir, to), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    const ssize_t n = read(in, bytes, sizeof bytes);
    assert_true(n > 0 && write(out, bytes, (size_t)n) == n);
    if (with_mark)
        assert_true(mark_read(in, &m) == OK && mark_write(out, &m) == OK);
    close(in);
    close(out);
}

static void assert_needs(const char *name, const char *wanted)
{
    struct object c = {.map.fd = -1};
    struct opening o = opening_of(folder_file(dir, name), OBJECT_COUNTERS, false);
    assert_int_equal(try_attach(&c, &o), ERR_NEEDS_JOURNAL);
    assert_string_equal(o.needs, wanted);
}

static void the_mark_says_where_the_journal_is(void **state)
{
    (void)state;
    struct mark m;
    leave("c");
    assert_int_equal(mark_of("c", &m), OK);
    assert_string_equal(m.dir, folder_file(dir, ".emmap"));
    assert_true(m.serial != 0);
    start();
    assert_int_equal(mark_of("c", &m), ERR_ENOENT);
    assert_first("c", 42);
}

static void a_second_start_has_nothing_to_do(void **state)
{
    (void)state;
    leave("c");
    start();
    KILL();
    lose_counter("c", 0);
    start();
    assert_first("c", 0);
}

static void a_renamed_file_needs_its_journal(void **state)
{
    (void)state;
    leave("c");
    move_file("c", "d");
    start();
    assert_needs("d", folder_file(dir, ".emmap"));
}

static void a_deleted_file_is_dropped(void **state)
{
    (void)state;
    leave("c");
    assert_int_equal(unlink(folder_file(dir, "c")), 0);
    start();
    assert_first("c", 0); /* a new one */
    assert_int_equal(kept_files(), 0);
}

static void a_replaced_file_is_not_touched(void **state)
{
    (void)state;
    static const int64_t seven = 7;
    leave("c");
    copy_file("c", "new", false);
    move_file("new", "c");
    overwrite("c", &seven, sizeof seven, 16);
    start();
    assert_first("c", 7);
}

/* A directory, or a file where a directory was. */
static void what_is_no_file_any_more_is_dropped(void **state)
{
    (void)state;
    assert_int_equal(mkdir(folder_file(dir, "d"), 0700), 0);
    leave("c");
    leave("d/c");
    assert_int_equal(unlink(folder_file(dir, "c")), 0);
    assert_int_equal(mkdir(folder_file(dir, "c"), 0700), 0);
    assert_int_equal(unlink(folder_file(dir, "d/c")), 0);
    assert_int_equal(rmdir(folder_file(dir, "d")), 0);
    overwrite(".emmap/lock", "", 0, 0);
    assert_int_equal(symlink("/nowhere", folder_file(dir, "d")), 0);
    start();
    assert_int_equal(unlink(folder_file(dir, "d")), 0);
    const int fd = open(folder_file(dir, "d"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    KILL();
    start();
    assert_int_equal(kept_files(), 0);
}

/* The attributes go with a backup that was made with them: with the journal's files, too, it is
 * what it was. */
static void a_file_restored_with_its_mark_gets_its_records(void **state)
{
    (void)state;
    leave("c");
    copy_file("c", "backup", true);
    assert_int_equal(unlink(folder_file(dir, "c")), 0);
    move_file("backup", "c");
    start();
    assert_first("c", 42);
}

static void a_copy_with_the_mark_needs_the_journal(void **state)
{
    (void)state;
    leave("c");
    copy_file("c", "copy", true);
    start();
    assert_needs("copy", folder_file(dir, ".emmap"));
    assert_first("c", 42);
}

static void a_file_that_is_shorter_is_refused_alone(void **state)
{
    (void)state;
    leave("short");
    start();
    assert_first("short", 42);
    struct object c[2];
    open_durable(&c[0], "short", OBJECT_COUNTERS);
    open_durable(&c[1], "good", OBJECT_COUNTERS);
    add(&c[0], 7, 5);
    add(&c[1], 7, 5);
    commit(&c[1]);
    KILL(&c[0], &c[1]);
    lose_counter("good", 7);
    assert_int_equal(truncate(folder_file(dir, "short"), 32), 0);
    for (int i = 0; i < 3; i++) {
        start();
        assert_needs("short", folder_file(dir, ".emmap"));
        assert_int_equal(kept_files(), 1); /* only with what is needed, however many starts */
        KILL();
    }
    assert_int_equal(truncate(folder_file(dir, "short"), 80), 0);
    start();
    assert_int_equal(kept_files(), 0);
    assert_first("short", 42);
    struct object g;
    open_durable(&g, "good", OBJECT_COUNTERS);
    assert_true(value(&g, 7) == 5);
    object_close(&g);
}

static void a_file_that_another_program_holds_is_kept(void **state)
{
    (void)state;
    leave("c");
    const int fd = open(folder_file(dir, "c"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && os.lock_shared(fd) == 0);
    start();
    assert_int_equal(kept_files(), 1);
    assert_needs("c", folder_file(dir, ".emmap"));
    close(fd);
    KILL();
    start();
    assert_first("c", 42);
    assert_int_equal(kept_files(), 0);
}

/* --- kept files ------------------------------------------------------------------------------ */

static void kept_name(void *arg, const char *name)
{
    if (strncmp(name, "kept-", 5) == 0)
        snprintf(arg, NAME_MAX, "%s", name);
}

/* One whose object could not be stored; the name of its kept file in the data directory. */
static const char *leave_kept(void)
{
    static char name[NAME_MAX + 16] = ".emmap/";
    leave("c");
    const int fd = open(folder_file(dir, "c"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && os.lock_shared(fd) == 0);
    start();
    KILL();
    close(fd);
    const int in = open(folder_file(dir, ".emmap"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(os.list(in, kept_name, name + strlen(".emmap/")), 0);
    close(in);
    return name;
}

/* The half that is kept, and the file of that name, are one: no later life writes to it. */
static void kept_files_outlive_starts_and_turns(void **state)
{
    (void)state;
    struct object d;
    (void)leave_kept();
    const int fd = open(folder_file(dir, "c"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && os.lock_shared(fd) == 0);
    for (int i = 0; i < 3; i++) {
        start();
        open_durable(&d, "d", OBJECT_COUNTERS);
        for (int turns = 0; turns < i; turns++)
            turn_with(&d);
        assert_int_equal(kept_files(), 1);
        KILL(&d);
    }
    close(fd);
    start();
    assert_first("c", 42);
    assert_int_equal(kept_files(), 0);
}

/* It is never stored without them, and everybody else is served. */
static void kept_files_that_cannot_be_read_spoil_their_object(void **state)
{
    (void)state;
    static uint8_t bytes[64 << 10];
    const char *name = leave_kept();
    int fd = open(folder_file(dir, name), O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), sizeof bytes);
    close(fd); /* so far it is a half, too */
    assert_int_equal(unlink(folder_file(dir, name)), 0);
    fd = open(folder_file(dir, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
    for (off_t size = 0; size < (off_t)sizeof bytes; size = size * 2 + 200) {
        assert_int_equal(ftruncate(fd, size), 0);
        start();
        assert_needs("c", folder_file(dir, ".emmap"));
        assert_first("other", 0);
        KILL();
        assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
    }
    /* a link, or a directory */
    assert_int_equal(rename(folder_file(dir, name), folder_file(dir, "away")), 0);
    for (int i = 0; i < 2; i++) {
        const char *path = folder_file(dir, name);
        assert_int_equal(i == 0 ? symlink("/nowhere", path) : mkdir(path, 0700), 0);
        start();
        assert_needs("c", folder_file(dir, ".emmap"));
        assert_first("other", 0);
        KILL();
        assert_int_equal(remove(path), 0);
    }
    assert_int_equal(rename(folder_file(dir, "away"), folder_file(dir, name)), 0);
    /* another journal's uuid, or anything */
    for (off_t at = 0; at < 64; at += 4) {
        static const uint8_t ones[4] = {255, 255, 255, 255};
        assert_int_equal(pwrite(fd, ones, sizeof ones, at), sizeof ones);
        leave("d");
        start();
        assert_needs("c", folder_file(dir, ".emmap"));
        assert_first("d", 42);
        assert_int_equal(unlink(folder_file(dir, "d")), 0);
        KILL();
        assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
    }
    close(fd);
    start();
    assert_first("c", 42);
    assert_int_equal(kept_files(), 0);
}

/* Of a journal that was here before: whole, but another uuid. */
static void kept_files_of_another_journal_do_no_harm(void **state)
{
    (void)state;
    const char *name = leave_kept();
    move_file(name, "away");
    folder_remove(strdup(folder_file(dir, ".emmap")));
    leave("d");
    move_file("away", name);
    start();
    assert_first("d", 42);
    assert_needs("c", folder_file(dir, ".emmap"));
}

static void names_that_are_nearly_kept_files_are_passed_by(void **state)
{
    (void)state;
    static const char *const names[] = {"kept-",    "kept-1",     "kept-1-",   "kept-1-2x",
                                        "kept-a-b", "kept-1-2-3", "kept--1-x", "keptt-1-2"};
    leave("c");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        snprintf(path, sizeof path, ".emmap/%s", names[i]);
        const int fd = open(folder_file(dir, path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    start();
    assert_first("c", 42);
}

/* --- marks ----------------------------------------------------------------------------------- */

static void put_mark(const char *name, const void *bytes, size_t len)
{
    const int fd = open(folder_file(dir, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && fsetxattr(fd, JOURNAL_ATTRIBUTE, bytes, len, 0) == 0);
    close(fd);
}

/* Of any length, with no end, of nobody: never a file that is served. */
static void a_mark_of_garbage_is_of_nobody(void **state)
{
    (void)state;
    static uint8_t bytes[3000];
    struct mark m;
    start();
    assert_first("c", 0);
    memset(bytes, 'x', sizeof bytes);
    for (size_t len = 0; len < sizeof bytes; len = len < 64 ? len + 1 : len * 2 - 31) {
        put_mark("c", bytes, len);
        struct object c;
        assert_int_equal(try_open(&c, "c", OBJECT_COUNTERS, false), ERR_NEEDS_JOURNAL);
        assert_int_equal(mark_of("c", &m), OK);
        assert_true(strlen(m.dir) < sizeof m.dir);
    }
}

static void a_mark_of_another_journal_names_its_directory(void **state)
{
    (void)state;
    struct mark m = {.uuid = {1}, .serial = 5, .dir = "/nowhere/at/all"};
    start();
    assert_first("c", 0);
    const int fd = open(folder_file(dir, "c"), O_RDWR | O_CLOEXEC);
    assert_int_equal(mark_write(fd, &m), OK);
    close(fd);
    assert_needs("c", "/nowhere/at/all");
    stop();
    journal = journal_in(dir, true);
    assert_needs("c", "/nowhere/at/all");
}

/* --- journals elsewhere ---------------------------------------------------------------------- */

/* The objects of one directory, the journal of another. */
static const char *leave_elsewhere(void)
{
    struct object c;
    char why[JOURNAL_WHY];
    const char *elsewhere = folder_file(dir, "elsewhere");
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    journal = journal_in(elsewhere, false);
    assert_int_equal(journal_start(journal, why), OK);
    open_durable(&c, "c", OBJECT_COUNTERS);
    add(&c, 0, 42);
    commit(&c);
    KILL(&c);
    lose_counter("c", 0);
    return folder_file(dir, "elsewhere/.emmap");
}

static void a_journal_that_nobody_holds_is_adopted(void **state)
{
    (void)state;
    struct object c;
    (void)leave_elsewhere();
    journal = journal_in(dir, true);
    assert_first("c", 42);
    open_durable(&c, "c", OBJECT_COUNTERS);
    add(&c, 0, 1);
    commit(&c);
    KILL(&c);
    lose_counter("c", 0);
    start();
    assert_first("c", 43);
}

static void only_who_may_adopts(void **state)
{
    (void)state;
    const char *where = leave_elsewhere();
    start();
    assert_needs("c", where);
}

static void a_journal_that_is_held_is_not_adopted(void **state)
{
    (void)state;
    char why[JOURNAL_WHY];
    struct object d;
    const char *where = leave_elsewhere();
    const int lock = open(folder_file(dir, "elsewhere/.emmap/lock"), O_RDWR | O_CLOEXEC);
    assert_true(lock >= 0 && os.lock_exclusive(lock) == 0);
    journal = journal_in(dir, true);
    assert_int_equal(journal_start(journal, why), OK);
    assert_needs("c", where);
    close(lock);
    open_durable(&d, "d", OBJECT_COUNTERS);
    assert_first("c", 42);
    object_close(&d);
}

/* Damaged ones are left as they are. */
static void a_damaged_journal_is_not_adopted(void **state)
{
    (void)state;
    static const char bytes[64] = "?";
    const char *where = leave_elsewhere();
    overwrite("elsewhere/.emmap/j0", bytes, sizeof bytes, 0);
    overwrite("elsewhere/.emmap/j1", bytes, sizeof bytes, 0);
    journal = journal_in(dir, true);
    assert_needs("c", where);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALONE(the_mark_says_where_the_journal_is),
        ALONE(a_second_start_has_nothing_to_do),
        ALONE(a_renamed_file_needs_its_journal),
        ALONE(a_deleted_file_is_dropped),
        ALONE(a_replaced_file_is_not_touched),
        ALONE(what_is_no_file_any_more_is_dropped),
        ALONE(a_file_restored_with_its_mark_gets_its_records),
        ALONE(a_copy_with_the_mark_needs_the_journal),
        ALONE(a_file_that_is_shorter_is_refused_alone),
        ALONE(a_file_that_another_program_holds_is_kept),
        BOTH(kept_files_outlive_starts_and_turns),
        ALONE(kept_files_that_cannot_be_read_spoil_their_object),
        ALONE(kept_files_of_another_journal_do_no_harm),
        ALONE(names_that_are_nearly_kept_files_are_passed_by),
        ALONE(a_mark_of_garbage_is_of_nobody),
        ALONE(a_mark_of_another_journal_names_its_directory),
        BOTH(a_journal_that_nobody_holds_is_adopted),
        ALONE(only_who_may_adopts),
        ALONE(a_journal_that_is_held_is_not_adopted),
        ALONE(a_damaged_journal_is_not_adopted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
