/* The journal's two files: what a writer has left of them at its end, what others have done to
 * them, and how much of it counts. */
#include "store/halves.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/os.h"

static const struct journal_limits small = {
    .page = 512, .half = 16 << 10, .group = 4 << 10, .piece = 1 << 10};

static char *dir;
static int dir_fd;
static struct halves halves;
static char why[JOURNAL_WHY];

static int setup(void **state)
{
    (void)state;
    dir = folder_make();
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    halves = (struct halves){.limits = &small, .dir = dir_fd, .half = {{.fd = -1}, {.fd = -1}}};
    return dir_fd >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    halves_close(&halves);
    close(dir_fd);
    folder_remove(dir);
    return 0;
}

static enum err reopen(void)
{
    halves_close(&halves);
    why[0] = '\0';
    return halves_open(&halves, dir_fd, &small, why);
}

static void make(void)
{
    assert_int_equal(halves_make(&halves), OK);
    assert_int_equal(halves_turn(&halves, 2, 1), OK);
}

/* A group of one record, so long, with this byte. */
static void append(uint64_t number, size_t len)
{
    static uint8_t group[8 << 10];
    const struct entry_fields f = {
        .serial = 7, .kind = ENTRY_WRITE, .offset = number, .len = (uint32_t)len};
    memset(group, (int)number, sizeof group);
    memcpy(group + sizeof(struct group_fields), &f, sizeof f);
    assert_int_equal(halves_append(&halves, group, number, sizeof f + len, 1), OK);
}

static enum err count(void *arg, const struct entry_view *v)
{
    struct {
        uint64_t groups, bytes;
    } *sum = arg;
    assert_true(v->fields.serial == 7 && v->fields.offset == v->group);
    for (size_t i = 0; i < v->data.len; i++)
        assert_int_equal(v->data.at[i], (uint8_t)v->group);
    sum->groups++;
    sum->bytes += v->data.len;
    return OK;
}

/* How many groups count, of all halves; and the check. */
static uint64_t groups(enum err *checked, unsigned *file, uint64_t *offset)
{
    unsigned order[2];
    struct {
        uint64_t groups, bytes;
    } sum = {0, 0};
    const unsigned n = halves_in_order(&halves, order);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(halves_walk(&halves, &halves.half[order[i]], count, &sum), OK);
    *checked = halves_check(&halves, why, file, offset);
    return sum.groups;
}

static void assert_groups(uint64_t n)
{
    enum err checked;
    unsigned file;
    uint64_t offset;
    assert_int_equal(reopen(), OK);
    assert_int_equal(groups(&checked, &file, &offset), n);
    assert_int_equal(checked, OK);
}

static void write_at(const char *name, const void *bytes, size_t len, uint64_t at)
{
    const int fd = open(folder_file(dir, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && pwrite(fd, bytes, len, (off_t)at) == (ssize_t)len);
    close(fd);
}

static void spoil(const char *name, uint64_t at)
{
    uint8_t byte = 0;
    const int fd = open(folder_file(dir, name), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static const char *name_of(unsigned file)
{
    return file == 0 ? "j0" : "j1";
}

static const char *current(void)
{
    return name_of(halves.current);
}

static const char *other(void)
{
    return name_of(!halves.current);
}

/* --- in order -------------------------------------------------------------------------------- */

static void nothing_is_no_journal(void **state)
{
    (void)state;
    assert_int_equal(reopen(), ERR_ENOENT);
    assert_int_equal(halves_make(&halves), OK);
    assert_groups(0);
    make();
    assert_groups(0);
}

static void groups_are_found_again(void **state)
{
    (void)state;
    make();
    uint64_t n = 0;
    for (size_t len = 8; halves_fit(&halves, sizeof(struct entry_fields) + len); len += 8)
        append(++n, len);
    assert_true(n > 10);
    assert_groups(n);
    assert_int_equal(halves.half[halves.current].last_group, n);
}

static void turning_makes_room_and_order(void **state)
{
    (void)state;
    make();
    append(1, 8);
    append(2, 2000);
    assert_int_equal(halves_turn(&halves, 1, 3), OK);
    assert_groups(2);
    (void)reopen();
    assert_groups(2);
    append(3, 8);
    assert_groups(3);
    assert_int_equal(halves_turn(&halves, 1, 4), OK);
    append(4, 16);
    append(5, 16);
    assert_groups(3);
    /* a start: what was before does not count */
    assert_int_equal(halves_turn(&halves, 2, 6), OK);
    assert_groups(0);
    append(6, 8);
    assert_groups(1);
}

static void a_half_that_is_kept_is_replaced(void **state)
{
    (void)state;
    struct half kept;
    struct {
        uint64_t groups, bytes;
    } sum = {0, 0};
    make();
    append(1, 8);
    assert_int_equal(halves_turn(&halves, 1, 2), OK);
    append(2, 8);
    assert_int_equal(halves_keep(&halves, !halves.current, 9), OK);
    assert_int_equal(halves_keep(&halves, !halves.current, 9), OK);
    assert_int_equal(halves_turn(&halves, 1, 3), OK);
    append(3, 8);
    assert_int_equal(half_open(&halves, &kept, "kept-2-9"), OK);
    assert_int_equal(halves_walk(&halves, &kept, count, &sum), OK);
    assert_true(sum.groups == 1 && kept.state == HALF_GOOD);
    os.close(kept.fd);
    assert_groups(2);
}

static void halves_of_another_size_are_replaced_in_turn(void **state)
{
    (void)state;
    static const struct journal_limits larger = {
        .page = 512, .half = 32 << 10, .group = 8 << 10, .piece = 1 << 10};
    struct stat st;
    make();
    append(1, 8);
    halves_close(&halves);
    assert_int_equal(halves_open(&halves, dir_fd, &larger, why), OK);
    assert_int_equal(halves_turn(&halves, 2, 2), OK);
    append(2, 4000);
    append(3, 4000);
    assert_int_equal(halves_turn(&halves, 1, 4), OK);
    append(4, 4000);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(stat(folder_file(dir, name_of(i)), &st), 0);
        assert_int_equal(st.st_size, larger.half);
    }
    halves_close(&halves);
    assert_int_equal(halves_open(&halves, dir_fd, &larger, why), OK);
    enum err checked;
    unsigned file;
    uint64_t offset;
    assert_int_equal(groups(&checked, &file, &offset), 3);
    assert_int_equal(checked, OK);
}

/* --- the end of a writer --------------------------------------------------------------------- */

/* The last group is torn at each of its sectors, and at each byte of its fields. */
static void a_torn_end_is_the_end(void **state)
{
    (void)state;
    make();
    append(1, 100 - 4);
    append(2, 2000);
    const uint64_t end = halves.half[halves.current].end;
    const uint64_t begin = end - halves_size_of(&halves, sizeof(struct entry_fields) + 2000);
    const char *name = current();
    assert_int_equal(begin, 1024);
    for (uint64_t at = begin; at < end - 512; at += at < begin + 60 ? 1 : 97) {
        spoil(name, at);
        assert_groups(1);
        spoil(name, at);
    }
    assert_groups(2);
}

/* Behind the last record there are zeros up to the page that nobody reads. */
static void a_group_counts_by_what_it_holds(void **state)
{
    (void)state;
    make();
    append(1, 8);
    spoil(current(), 1023);
    assert_groups(1);
}

/* While the other half's header was written. */
static void a_torn_header_has_nothing_behind_it(void **state)
{
    (void)state;
    make();
    append(1, 8);
    assert_int_equal(halves_turn(&halves, 1, 2), OK);
    for (unsigned at = 0; at < sizeof(struct half_fields); at++) {
        spoil(current(), at);
        assert_groups(1);
        spoil(other(), at);
        assert_groups(1);
    }
}

/* The same, over groups that still count: those before the current half. */
static void a_torn_header_over_groups_leaves_them(void **state)
{
    (void)state;
    make();
    append(1, 8);
    append(2, 8);
    assert_int_equal(halves_turn(&halves, 1, 3), OK);
    append(3, 8);
    for (unsigned at = 0; at < sizeof(struct half_fields); at++) {
        spoil(other(), at);
        assert_groups(3);
        spoil(other(), at);
    }
}

/* --- damage ---------------------------------------------------------------------------------- */

static void assert_refused(unsigned file, const char *offset)
{
    char begin[64];
    snprintf(begin, sizeof begin, "%s, offset %s: ", name_of(file), offset);
    assert_true(strncmp(why, begin, strlen(begin)) == 0);
}

static void damage_before_the_end_is_told_and_cut(void **state)
{
    (void)state;
    enum err checked;
    unsigned file;
    uint64_t offset;
    make();
    for (uint64_t n = 1; n <= 5; n++)
        append(n, 8);
    spoil(current(), 512 * 3 + 20);
    assert_int_equal(reopen(), OK);
    assert_int_equal(groups(&checked, &file, &offset), 2);
    assert_int_equal(checked, ERR_DAMAGED);
    assert_refused(halves.current, "1536");
    assert_true(file == halves.current && offset == 1536);
    assert_int_equal(halves_cut(&halves, file, offset), OK);
    assert_groups(2);
    append(3, 8);
    assert_groups(3);
}

/* All that is behind it goes, also in the newer half: and does not come back when numbers are used
 * again there. */
static void damage_in_the_older_half_costs_the_newer(void **state)
{
    (void)state;
    enum err checked;
    unsigned file;
    uint64_t offset;
    make();
    append(1, 8);
    append(2, 8);
    assert_int_equal(halves_turn(&halves, 1, 3), OK);
    append(3, 8);
    append(4, 8);
    append(5, 8);
    const unsigned older = !halves.current;
    spoil(other(), 512 + 20);
    assert_int_equal(reopen(), OK);
    (void)groups(&checked, &file, &offset);
    assert_int_equal(checked, ERR_DAMAGED);
    assert_refused(older, "512");
    assert_true(file == older && offset == 512);
    assert_int_equal(halves_cut(&halves, file, offset), OK);
    assert_groups(0);
    append(1, 8);
    append(2, 8);
    assert_int_equal(halves_turn(&halves, 1, 3), OK);
    append(3, 8);
    assert_groups(3);
}

/* A header that the medium has harmed is not a torn one: its groups must not be passed over. With
 * one start between the halves, too. */
static void a_harmed_header_is_refused(void **state)
{
    (void)state;
    for (uint64_t step = 1; step <= 2; step++) {
        make();
        append(1, 8);
        assert_int_equal(halves_turn(&halves, step, 2), OK);
        append(2, 8);
        const unsigned file = halves.current;
        spoil(current(), 40);
        assert_int_equal(reopen(), ERR_DAMAGED);
        assert_refused(file, "0");
        spoil(name_of(!file), 40);
        assert_int_equal(reopen(), ERR_DAMAGED);
        assert_int_equal(halves_open(&halves, dir_fd, &small, why), ERR_DAMAGED);
        assert_int_equal(unlink(folder_file(dir, "j0")), 0);
        assert_int_equal(unlink(folder_file(dir, "j1")), 0);
        halves = (struct halves){.limits = &small, .dir = dir_fd, .half = {{.fd = -1}, {.fd = -1}}};
    }
}

static void a_missing_half_is_refused(void **state)
{
    (void)state;
    make();
    append(1, 8);
    assert_int_equal(halves_turn(&halves, 1, 2), OK);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(rename(folder_file(dir, name_of(i)), folder_file(dir, "away")), 0);
        assert_int_equal(reopen(), ERR_DAMAGED);
        assert_non_null(strstr(why, "missing"));
        assert_int_equal(rename(folder_file(dir, "away"), folder_file(dir, name_of(i))), 0);
    }
    assert_groups(1);
}

/* Whichever half it is, and wherever. */
static void a_half_that_was_cut_is_refused(void **state)
{
    (void)state;
    static uint8_t whole[16 << 10];
    make();
    append(1, 8);
    append(2, 3000);
    assert_int_equal(halves_turn(&halves, 1, 3), OK);
    append(3, 3000);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pread(halves.half[i].fd, whole, sizeof whole, 0), sizeof whole);
        for (off_t size = 0; size < (off_t)sizeof whole; size = size * 2 + 31) {
            assert_int_equal(truncate(folder_file(dir, name_of(i)), size), 0);
            assert_int_equal(reopen(), ERR_DAMAGED);
            assert_non_null(strstr(why, name_of(i)));
            write_at(name_of(i), whole, sizeof whole, 0);
        }
        assert_groups(3);
    }
}

static void halves_of_two_journals_are_refused(void **state)
{
    (void)state;
    make();
    append(1, 8);
    assert_int_equal(halves_turn(&halves, 1, 2), OK);
    assert_int_equal(rename(folder_file(dir, "j0"), folder_file(dir, "away")), 0);
    assert_int_equal(unlink(folder_file(dir, "j1")), 0);
    halves_close(&halves);
    halves = (struct halves){.limits = &small, .dir = dir_fd, .half = {{.fd = -1}, {.fd = -1}}};
    make();
    assert_int_equal(halves_turn(&halves, 1, 1), OK);
    assert_int_equal(rename(folder_file(dir, "away"), folder_file(dir, "j0")), 0);
    assert_int_equal(reopen(), ERR_DAMAGED);
    assert_refused(1, "0");
}

/* What nobody has written as a journal. */
static void garbage_is_refused(void **state)
{
    (void)state;
    static uint8_t bytes[16 << 10];
    for (unsigned fill = 1; fill < 256; fill += 50) {
        memset(bytes, (int)fill, sizeof bytes);
        for (size_t len = 0; len <= sizeof bytes; len = len * 2 + 500) {
            write_at("j0", bytes, len, 0);
            write_at("j1", bytes, sizeof bytes - len, 0);
            assert_int_equal(reopen(), ERR_DAMAGED);
            assert_true(why[0] != '\0');
            assert_int_equal(unlink(folder_file(dir, "j0")), 0);
            assert_int_equal(unlink(folder_file(dir, "j1")), 0);
        }
    }
}

/* Fields that say more than there is, with a hash that fits: lengths, counts, names. */
static enum err walk_crafted(uint64_t len, uint32_t n, struct entry_fields f)
{
    static uint8_t group[1024];
    enum err e;
    struct {
        uint64_t groups, bytes;
    } sum = {0, 0};
    memset(group, 0, sizeof group);
    memcpy(group + sizeof(struct group_fields), &f, sizeof f);
    make();
    assert_int_equal(halves_append(&halves, group, 1, len, n), OK);
    e = halves_walk(&halves, &halves.half[halves.current], count, &sum);
    assert_int_equal(sum.groups, 0);
    return e;
}

static void fields_that_say_too_much_are_damage(void **state)
{
    (void)state;
    const struct entry_fields longest = {.serial = 7, .kind = ENTRY_OPEN, .len = UINT32_MAX};
    const struct entry_fields longer = {.serial = 7, .kind = ENTRY_OPEN, .len = 1};
    assert_int_equal(walk_crafted(24, 1, longest), ERR_DAMAGED);
    assert_int_equal(walk_crafted(24, 1, longer), ERR_DAMAGED);
    assert_int_equal(walk_crafted(16, 1, longer), OK); /* no group at all */
    assert_int_equal(walk_crafted(24, UINT32_MAX, longer), OK);
}

/* --- calls that fail ------------------------------------------------------------------------- */

/* Made or not, and the next try makes them; nothing is left open. */
static void making_fails_at_any_call(void **state)
{
    (void)state;
    static const int numbers[] = {ENOSPC, EIO, EMFILE};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const char *failed = "";
        for (unsigned n = 1; failed != NULL; n++) {
            const struct held before = held_now();
            faults_begin(n, numbers[i]);
            enum err e = halves_make(&halves);
            if (e == OK)
                e = halves_turn(&halves, 2, 1);
            failed = faults_end();
            assert_true(failed != NULL || e == OK);
            halves_close(&halves);
            held_as(before);
            e = reopen();
            assert_true(e == OK || e == ERR_ENOENT);
            make();
            append(1, 8);
            assert_groups(1);
            halves_close(&halves);
            assert_int_equal(unlink(folder_file(dir, "j0")), 0);
            assert_int_equal(unlink(folder_file(dir, "j1")), 0);
            halves =
                (struct halves){.limits = &small, .dir = dir_fd, .half = {{.fd = -1}, {.fd = -1}}};
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_no_journal),
        TEST(groups_are_found_again),
        TEST(turning_makes_room_and_order),
        TEST(a_half_that_is_kept_is_replaced),
        TEST(halves_of_another_size_are_replaced_in_turn),
        TEST(a_torn_end_is_the_end),
        TEST(a_group_counts_by_what_it_holds),
        TEST(a_torn_header_has_nothing_behind_it),
        TEST(a_torn_header_over_groups_leaves_them),
        TEST(damage_before_the_end_is_told_and_cut),
        TEST(damage_in_the_older_half_costs_the_newer),
        TEST(a_harmed_header_is_refused),
        TEST(a_missing_half_is_refused),
        TEST(a_half_that_was_cut_is_refused),
        TEST(halves_of_two_journals_are_refused),
        TEST(garbage_is_refused),
        TEST(fields_that_say_too_much_are_damage),
        TEST(making_fails_at_any_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
