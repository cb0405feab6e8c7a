/* A queue that is built anew from what is whole in another. */
#include <fcntl.h>
#include <unistd.h>

#include "store/queue_inside.h"
#include "store/rebuild.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/queue_file.h"
#include "sys/guard.h"
#include "sys/hash.h"
#include "sys/log.h"
#include "sys/os.h"

enum { MOST = 3000 };

static const uint64_t now_ms = 1700000001000;

/* What can be told of each item. */
struct content {
    size_t n;
    struct {
        uint64_t seq;
        uint64_t hash;
    } items[MOST];
};

static enum err add(void *arg, const struct check_item *item)
{
    struct content *c = arg;
    const uint64_t facts[] = {item->seq,      item->pushed_ms,
                              item->attempts, (uint64_t)item->state,
                              item->until_ms, item->moved};
    assert_true(c->n < MOST);
    c->items[c->n].seq = item->seq;
    c->items[c->n++].hash =
        hash_bytes(hash_bytes(0, facts, sizeof facts), item->payload.at, item->payload.len);
    return OK;
}

/* With what stands behind the end, as repair does it. */
static enum err look(const char *path, struct content *c, struct check_counts *counts)
{
    const int fd = open(path, O_RDONLY);
    const struct check check = {
        .now_ms = now_ms, .counts = counts, .arg = c, .item = add, .behind = true};
    c->n = 0;
    const enum err e = check_file(fd, &check);
    close(fd);
    return e;
}

/* --- building -------------------------------------------------------------------------------- */

struct job {
    struct rebuild_plan plan;
    struct rebuild rebuild;
};

static void plan_queue(void *arg, struct object *o)
{
    struct job *j = arg;
    rebuild_plan_for(&j->plan, o);
}

static enum err plan_item(void *arg, const struct check_item *item)
{
    struct job *j = arg;
    rebuild_plan_item(&j->plan, item);
    return OK;
}

static enum err put_item(void *arg, const struct check_item *item)
{
    struct job *j = arg;
    return rebuild_item(&j->rebuild, &j->plan, item);
}

static void build(const char *from, const char *to)
{
    struct job j;
    const int fd = open(from, O_RDONLY);
    const int made = open(to, O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct check c = {
        .now_ms = now_ms, .arg = &j, .store = plan_queue, .item = plan_item, .behind = true};
    (void)check_file(fd, &c);
    rebuild_plan_end(&j.plan);
    c.store = NULL;
    c.item = put_item;
    assert_int_equal(rebuild_open(&j.rebuild, made, &j.plan, now_ms), OK);
    const enum err e = check_file(fd, &c);
    assert_true(e == OK || e == ERR_DAMAGED);
    assert_int_equal(rebuild_close(&j.rebuild, &j.plan), OK);
    rebuild_drop(&j.rebuild);
    close(fd);
}

/* The same items, and nothing is wrong with the new file. */
static void builds_the_same(const char *from, struct check_counts *counts)
{
    static struct content old;
    static struct content fresh;
    struct check_counts sound;
    char to[4096];
    snprintf(to, sizeof to, "%s.new", from);
    (void)look(from, &old, counts);
    build(from, to);
    assert_int_equal(look(to, &fresh, &sound), OK);
    assert_int_equal(sound.lost + sound.notes, 0);
    assert_int_equal(fresh.n, old.n);
    for (size_t i = 0; i < old.n; i++) {
        assert_int_equal(fresh.items[i].seq, old.items[i].seq);
        assert_true(fresh.items[i].hash == old.items[i].hash);
    }
}

/* --- queues ---------------------------------------------------------------------------------- */

static void items_of_every_state_are_kept(void **state)
{
    (void)state;
    struct queue_file f;
    struct check_counts counts;
    queue_file_make(&f);
    queue_file_fill(&f, 200);
    queue_file_kill(&f);
    builds_the_same(folder_file(f.dir, "q"), &counts);
    assert_int_equal(counts.things, 11);
    assert_int_equal(counts.damages, 0);
    queue_file_remove(&f);
}

/* An old item that many passed by is on the shelf. */
static void items_of_the_shelf_are_kept(void **state)
{
    (void)state;
    struct queue_file f;
    struct check_counts counts;
    queue_file_make(&f);
    queue_file_push(&f, 100, 2);
    assert_int_equal(queue_bury(&f.object, &f.now, queue_file_take(&f)), OK);
    queue_file_take(&f);
    for (int i = 0; i < 30; i++) {
        queue_file_push(&f, 1 << 20, 1);
        queue_file_pop(&f, 1);
    }
    queue_file_checkpoint(&f);
    queue_file_push(&f, 50, 3);
    assert_true(f.object.queue->logs[LOG_SHELF].head < f.object.queue->logs[LOG_SHELF].tail);
    queue_file_kill(&f);
    builds_the_same(folder_file(f.dir, "q"), &counts);
    assert_int_equal(counts.things, 5);
    queue_file_remove(&f);
}

static void flip(const char *path, uint64_t at)
{
    uint8_t byte;
    const int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* Far behind what opening looks at, and at both ends of a backlog. */
static void gaps_in_a_long_backlog_are_no_gaps_in_the_new_file(void **state)
{
    (void)state;
    struct queue_file f;
    struct check_counts counts;
    static const uint64_t lost[] = {0, 1, 700, 1400, 1999};
    enum { LOST = sizeof lost / sizeof lost[0], ITEMS = 2000 };
    queue_file_make(&f);
    for (int i = 0; i < ITEMS; i++)
        queue_file_push(&f, 40000, 1);
    queue_file_checkpoint(&f);
    uint64_t offsets[LOST];
    uint64_t i = 0;
    const struct recordlog *log = &f.object.queue->logs[LOG_MAIN];
    for (uint64_t pos = log->head; pos < log->tail;) {
        struct record_fields r;
        struct spot at;
        assert_int_equal(record_head(&f.object, &f.now, LOG_MAIN, pos, &r, &at), OK);
        for (size_t k = 0; k < LOST && record_is_item(&r); k++)
            if (lost[k] == i)
                offsets[k] = at.offset + 8; /* its number */
        i += record_is_item(&r);
        pos += record_size(r.length);
    }
    queue_file_kill(&f);
    for (size_t k = 0; k < LOST; k++)
        flip(folder_file(f.dir, "q"), offsets[k]);
    builds_the_same(folder_file(f.dir, "q"), &counts);
    assert_int_equal(counts.things, ITEMS - LOST);
    assert_int_equal(counts.lost, LOST);
    queue_file_remove(&f);
}

/* Behind the last checkpoint a damaged record is the end of all for the engine; also where the log
 * goes on elsewhere. */
static void items_behind_a_damaged_one_are_kept(void **state)
{
    (void)state;
    struct queue_file f;
    struct check_counts counts;
    char why[QUEUE_WHY];
    queue_file_make(&f);
    queue_file_push(&f, 100, 3);
    queue_file_checkpoint(&f);
    uint64_t left;
    const struct recordlog *log = &f.object.queue->logs[LOG_MAIN];
    const uint64_t at = log_offset(log, log->tail, &left);
    queue_file_push(&f, 20000, 7);
    assert_true(log->n > 0 && log->end - log->base > 65536);
    assert_int_equal(queue_bury(&f.object, &f.now, queue_file_take(&f)), OK);
    for (int i = 0; i < 5; i++)
        queue_file_take(&f);
    queue_file_kill(&f);
    flip(folder_file(f.dir, "q"), at + 100); /* the bytes of item 4 */
    builds_the_same(folder_file(f.dir, "q"), &counts);
    assert_int_equal(counts.things, 9);
    assert_int_equal(counts.notes, 6);
    assert_int_equal(queue_file_try(&f, why), OK);
    assert_int_equal(queue_file_look(&f).items, 3);
    queue_file_remove(&f);
}

/* The engine goes on where the other would have. */
static void the_new_file_is_a_queue_like_the_old(void **state)
{
    (void)state;
    struct queue_file f;
    struct check_counts counts;
    queue_file_make(&f);
    queue_file_fill(&f, 200);
    const struct queue_change change = {.given = QUEUE_MAX_ITEMS, .to = {.max_items = 12}};
    assert_int_equal(queue_configure(&f.object, &change), OK);
    const struct queue_info old = queue_file_look(&f);
    queue_file_kill(&f);
    builds_the_same(folder_file(f.dir, "q"), &counts);
    assert_int_equal(rename(folder_file(f.dir, "q.new"), folder_file(f.dir, "q")), 0);
    queue_file_open(&f);
    const struct queue_info fresh = queue_file_look(&f);
    assert_int_equal(fresh.items, old.items);
    assert_int_equal(fresh.delayed, old.delayed);
    assert_int_equal(fresh.buried, old.buried);
    assert_int_equal(fresh.pushed, old.pushed);
    assert_int_equal(fresh.next_id, old.next_id);
    assert_int_equal(fresh.popped + fresh.acked, old.popped + old.acked);
    assert_int_equal(fresh.damaged, 0);
    assert_int_equal(queue_options(&f.object)->max_items, 12);
    queue_file_push(&f, 10, 1);
    assert_int_equal(queue_file_look(&f).next_id, old.next_id + 1);
    queue_file_remove(&f);
}

static void an_empty_queue_keeps_its_numbers(void **state)
{
    (void)state;
    struct queue_file f;
    struct check_counts counts;
    queue_file_make(&f);
    queue_file_push(&f, 10, 5);
    queue_file_pop(&f, 5);
    queue_file_kill(&f);
    builds_the_same(folder_file(f.dir, "q"), &counts);
    assert_int_equal(rename(folder_file(f.dir, "q.new"), folder_file(f.dir, "q")), 0);
    queue_file_open(&f);
    assert_int_equal(queue_file_look(&f).next_id, 6);
    assert_int_equal(queue_file_look(&f).items, 0);
    queue_file_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_of_every_state_are_kept),
        cmocka_unit_test(items_of_the_shelf_are_kept),
        cmocka_unit_test(gaps_in_a_long_backlog_are_no_gaps_in_the_new_file),
        cmocka_unit_test(items_behind_a_damaged_one_are_kept),
        cmocka_unit_test(the_new_file_is_a_queue_like_the_old),
        cmocka_unit_test(an_empty_queue_keeps_its_numbers),
    };
    log_open("/dev/null");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
