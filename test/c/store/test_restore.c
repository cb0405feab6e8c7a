/* A file made of a copy: only of one that is whole, and whole or not there, with every call
 * failing. */
#include "store/restore.h"

#include <dirent.h>
#include <errno.h>

#include "store/block.h"
#include "store/durables.h"
#include "support/faults.h"

enum { SIZE = 200000 };

static struct restoring restoring;

static enum err try_restore(const char *to, const char *from)
{
    restoring = (struct restoring){.paths = paths,
                                   .to = folder_file(dir, to),
                                   .from = folder_file(dir, from),
                                   .any_file_system = true,
                                   .journal = journal,
                                   .now_ms = NOW_MS};
    return restore(&restoring);
}

static bool is_there(const char *name)
{
    return access(folder_file(dir, name), F_OK) == 0;
}

/* Takes away what is none of the tests'; so many. */
static unsigned remove_strangers(void)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *entry; (entry = readdir(d)) != NULL;)
        n += strncmp(entry->d_name, ".emmap-", 7) == 0 &&
             unlink(folder_file(dir, entry->d_name)) == 0;
    closedir(d);
    return n;
}

static void make_bytes(const char *name, const void *bytes, size_t len)
{
    const int fd = open(folder_file(dir, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_true(fd >= 0 && fchmod(fd, 0640) == 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

static void make_any_bytes(const char *name)
{
    static uint8_t bytes[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000);
    memset(bytes + 70000, 0, 50000);
    make_bytes(name, bytes, SIZE);
}

static void are_equal(const char *a, const char *b)
{
    static uint8_t bytes[2][SIZE + 1];
    ssize_t n[2];
    for (int i = 0; i < 2; i++) {
        const int fd = open(folder_file(dir, i == 0 ? a : b), O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        n[i] = read(fd, bytes[i], sizeof bytes[i]);
        close(fd);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], (size_t)n[0]);
}

static void bytes_are_restored_with_their_mode(void **state)
{
    (void)state;
    struct stat st;
    make_any_bytes("from");
    assert_int_equal(try_restore("to", "from"), OK);
    are_equal("to", "from");
    assert_int_equal(stat(folder_file(dir, "to"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_true(st.st_blocks * 512 < SIZE); /* a hole where it has nothing */
    make_bytes("nothing", "", 0);
    assert_int_equal(try_restore("nothing2", "nothing"), OK);
    are_equal("nothing", "nothing2");
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    make_any_bytes("from");
    make_bytes("to", "other", 5);
    make_bytes("other", "other", 5);
    assert_int_equal(try_restore("to", "from"), ERR_EEXIST);
    are_equal("to", "other");
    assert_int_equal(try_restore("from", "from"), ERR_EEXIST);
    assert_int_equal(try_restore("new", "no such"), ERR_ENOENT);
    assert_int_equal(try_restore("no/such", "from"), ERR_ENOENT);
    assert_false(is_there("new"));
}

static void counters_have_to_be_there_all(void **state)
{
    (void)state;
    uint8_t header[COUNTER_HEADER + 80] = {0};
    counter_header(10, header);
    make_bytes("c", header, sizeof header);
    assert_int_equal(try_restore("c2", "c"), OK);
    are_equal("c", "c2");
    make_bytes("c", header, sizeof header - 1);
    assert_int_equal(try_restore("c3", "c"), ERR_FILE_HEADER);
    assert_memory_equal(restoring.header, "EMMAP01\n", 8);
    assert_false(is_there("c3"));
}

static void make_store(void)
{
    struct object o;
    const uint8_t block[100] = {1};
    uint64_t a;
    struct store_change change = {.make = true, .size = 100, .now_ms = NOW_MS, .node = "a@b"};
    struct opening opening = opening_of(folder_file(dir, "b"), OBJECT_REGION, false);
    opening.size = 0;
    o = (struct object){.map.fd = -1};
    assert_int_equal(try_attach(&o, &opening), OK);
    assert_int_equal(object_become_store(&o, &change), OK);
    while (block_find(&o, 1, true, &a) == ERR_FULL)
        assert_int_equal(block_grow(&o, 1 << 20), OK);
    assert_int_equal(block_put(&o, a, block), OK);
    assert_int_equal(try_restore("b2", "b"), ERR_LOCKED);
    assert_string_equal(restoring.owner, "a@b");
    object_close(&o);
}

static void stores_of_blocks_need_their_header(void **state)
{
    (void)state;
    make_store();
    assert_int_equal(try_restore("b2", "b"), OK);
    are_equal("b", "b2");
    overwrite("b2", "\377", 1, 2 * 4096 + 8);
    assert_int_equal(try_restore("b3", "b2"), ERR_DAMAGED);
    assert_memory_equal(restoring.why, "0: ", 3);
    assert_false(is_there("b3"));
    overwrite("b", "\377\377\377\377", 4, 12);
    assert_int_equal(try_restore("b3", "b"), ERR_DAMAGED);
    assert_true(strlen(restoring.why) > 0);
    assert_false(is_there("b3"));
}

static const struct turn now = {.now_ms = NOW_MS, .may_wait = true};

static void push(struct object *q, const char *text)
{
    const struct span item = span_text(text);
    uint64_t seq;
    assert_int_equal(queue_push(q, &now, &item, 1, &seq), OK);
}

static void a_queue_is_recovered(void **state)
{
    (void)state;
    struct object q;
    struct record r;
    assert_int_equal(try_open(&q, "q", OBJECT_QUEUE, false), OK);
    push(&q, "first");
    push(&q, "second");
    assert_int_equal(try_restore("q2", "q"), ERR_LOCKED);
    q.failed = true; /* as kill -9 would leave it */
    object_close(&q);
    assert_int_equal(try_restore("q2", "q"), OK);
    assert_int_equal(try_open(&q, "q2", OBJECT_QUEUE, false), OK);
    assert_int_equal(queue_front(&q, &now, &r), OK);
    assert_true(span_equal(r.bytes, span_text("first")));
    object_close(&q);
    overwrite("q2", "F", 1, 65536 + 48);
    assert_int_equal(try_restore("q3", "q2"), ERR_DAMAGED);
    assert_memory_equal(restoring.why, "1: ", 3);
    assert_false(is_there("q3"));
    for (off_t at = 0; at < 16384; at += 4096)
        overwrite("q", "\377\377\377\377", 4, at + 9);
    assert_int_equal(try_restore("q3", "q"), ERR_DAMAGED);
    assert_true(strlen(restoring.why) > 0);
    assert_false(is_there("q3"));
}

/* --- durable objects -------------------------------------------------------------------------- */

static void what_the_journal_has_is_stored_first(void **state)
{
    (void)state;
    struct object o;
    struct mark mark;
    start();
    open_durable(&o, "c", OBJECT_COUNTERS);
    add(&o, 3, 7);
    commit(&o);
    assert_int_equal(try_restore("c2", "c"), ERR_LOCKED);
    KILL(&o);
    lose_counter("c", 3);
    /* a daemon that knows nothing of it */
    assert_int_equal(try_restore("c2", "c"), ERR_NEEDS_JOURNAL);
    assert_string_equal(restoring.needs, folder_file(dir, ".emmap"));
    assert_false(is_there("c2"));
    start();
    assert_int_equal(try_restore("c2", "c"), OK);
    assert_int_equal(mark_of("c2", &mark), ERR_ENOENT);
    assert_int_equal(try_open(&o, "c2", OBJECT_COUNTERS, false), OK);
    assert_int_equal(value(&o, 3), 7);
    object_close(&o);
}

/* --- with each call failing ------------------------------------------------------------------- */

static int no_unnamed(int at, mode_t mode)
{
    (void)at;
    (void)mode;
    errno = ENOTSUP;
    return -1;
}

static void make_queue(void)
{
    struct object q;
    assert_int_equal(try_open(&q, "q", OBJECT_QUEUE, false), OK);
    push(&q, "first");
    q.failed = true;
    object_close(&q);
}

static void opens_with_its_item(const char *name)
{
    struct object q;
    struct record r;
    assert_int_equal(try_open(&q, name, OBJECT_QUEUE, false), OK);
    assert_int_equal(queue_front(&q, &now, &r), OK);
    assert_true(span_equal(r.bytes, span_text("first")));
    object_close(&q);
}

static void whatever_fails_it_is_whole_or_not_there(void **state)
{
    (void)state;
    make_queue();
    for (int named = 0; named < 2; named++)
        for (int how = FAULTS_ONCE; how <= FAULTS_SHORT; how++) {
            const struct held before = held_now();
            const char *failed = "";
            os.open_unnamed = named ? no_unnamed : real.open_unnamed;
            faults_install();
            for (unsigned n = 1; failed != NULL; n++) {
                faults_arm(n, ENOSPC, (enum faults_how)how);
                enum err e = try_restore("to", "q");
                failed = faults_disarm();
                held_as(before);
                assert_true(e == OK || failed != NULL);
                assert_true(how != FAULTS_SHORT || e == OK);
                const bool unlinks =
                    how != FAULTS_FOR_EVER && (failed == NULL || strcmp(failed, "unlink") != 0);
                const unsigned strangers = remove_strangers();
                assert_true(!unlinks || (is_there("to") == (e == OK) && strangers == 0));
                if (is_there("to"))
                    opens_with_its_item("to");
                (void)unlink(folder_file(dir, "to"));
                assert_true(n < 1000);
            }
            (void)faults_end();
        }
    opens_with_its_item("q");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALONE(bytes_are_restored_with_their_mode),
        ALONE(nothing_is_overwritten),
        ALONE(counters_have_to_be_there_all),
        ALONE(stores_of_blocks_need_their_header),
        ALONE(a_queue_is_recovered),
        BOTH(what_the_journal_has_is_stored_first),
        ALONE(whatever_fails_it_is_whole_or_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
