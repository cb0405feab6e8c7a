/* A queue on a real file: what goes in comes out, and is there after reopening. */
#include "store/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/format.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/guard.h"
#include "sys/os.h"

static struct turn now = {.now_ms = 1700000000000, .may_wait = true};

struct file {
    char *dir;
    struct object object;
};

static void open_file(struct file *f)
{
    char why[QUEUE_WHY];
    int fd = open(folder_file(f->dir, "q"), O_RDWR);
    assert_true(fd >= 0);
    const off_t size = lseek(fd, 0, SEEK_END);
    f->object = (struct object){.kind = OBJECT_QUEUE};
    assert_int_equal(map_open(&f->object.map, fd, (uint64_t)size, true, MAP_OF_FILE), OK);
    assert_int_equal(queue_open(&f->object, &queue_limits, "q", now.now_ms, why), OK);
}

static void reopen(struct file *f)
{
    object_close(&f->object);
    open_file(f);
}

static struct file make_file(void)
{
    static const struct queue_change none;
    struct file f = {.dir = folder_make()};
    guard_install(); /* cmocka has put handlers of its own before each test */
    int fd = open(folder_file(f.dir, "q"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(queue_make(fd, &queue_limits, &none, now.now_ms), OK);
    close(fd);
    open_file(&f);
    return f;
}

static void remove_file(struct file *f)
{
    object_close(&f->object);
    folder_remove(f->dir);
}

static uint64_t push_text(struct file *f, const char *text)
{
    const struct span item = span_text(text);
    uint64_t seq = 0;
    assert_int_equal(queue_push(&f->object, &now, &item, 1, &seq), OK);
    return seq;
}

static void has_text(const struct record *r, const char *text)
{
    assert_int_equal(r->bytes.len, strlen(text));
    assert_memory_equal(r->bytes.at, text, r->bytes.len);
}

static void pops(struct file *f, const char *text)
{
    struct record r;
    assert_int_equal(queue_front(&f->object, &now, &r), OK);
    has_text(&r, text);
    assert_int_equal(queue_pop(&f->object, &now, &r), OK);
}

static void is_empty(struct file *f)
{
    struct record r;
    assert_int_equal(queue_front(&f->object, &now, &r), ERR_EMPTY);
}

static struct item *take(struct file *f, const char *text)
{
    struct record r;
    struct item *item = NULL;
    assert_int_equal(queue_front(&f->object, &now, &r), OK);
    has_text(&r, text);
    assert_int_equal(queue_take(&f->object, &now, &r, &item), OK);
    return item;
}

static struct queue_info look(struct file *f)
{
    struct queue_info info;
    queue_look(&f->object, &info);
    return info;
}

static void items_leave_in_the_order_of_arrival(void **state)
{
    (void)state;
    struct file f = make_file();
    is_empty(&f);
    assert_int_equal(push_text(&f, "one"), 1);
    assert_int_equal(push_text(&f, "two"), 2);
    pops(&f, "one");
    assert_int_equal(push_text(&f, "three"), 3);
    reopen(&f);
    pops(&f, "two");
    pops(&f, "three");
    is_empty(&f);
    reopen(&f);
    is_empty(&f);
    assert_int_equal(look(&f).pushed, 3);
    assert_int_equal(look(&f).popped, 3);
    remove_file(&f);
}

static void an_item_that_comes_back_keeps_its_place(void **state)
{
    (void)state;
    struct file f = make_file();
    push_text(&f, "one");
    push_text(&f, "two");
    struct item *one = take(&f, "one");
    struct item *two = take(&f, "two");
    assert_int_equal(queue_release(&f.object, &now, two, 0), OK);
    assert_int_equal(queue_release(&f.object, &now, one, 0), OK);
    one = take(&f, "one");
    assert_int_equal(one->attempts, 2);
    assert_int_equal(queue_ack(&f.object, &now, one), OK);
    reopen(&f);
    two = take(&f, "two");
    assert_int_equal(two->attempts, 2);
    remove_file(&f);
}

static void a_delay_outlives_the_daemon(void **state)
{
    (void)state;
    struct file f = make_file();
    push_text(&f, "later");
    assert_int_equal(queue_release(&f.object, &now, take(&f, "later"), 1500), OK);
    reopen(&f);
    is_empty(&f);
    assert_int_equal(queue_wakes_at(&f.object), now.now_ms + 2000);
    assert_int_equal(queue_wake(&f.object, now.now_ms + 1999, 9), 0);
    assert_int_equal(queue_wake(&f.object, now.now_ms + 2000, 9), 1);
    pops(&f, "later");
    remove_file(&f);
}

static void buried_items_wait_for_a_kick(void **state)
{
    (void)state;
    struct file f = make_file();
    struct record r;
    push_text(&f, "bad");
    assert_int_equal(queue_bury(&f.object, &now, take(&f, "bad")), OK);
    reopen(&f);
    is_empty(&f);
    assert_int_equal(queue_next_buried(&f.object, &now, 1, &r), OK);
    assert_int_equal(queue_kick(&f.object, &now, r.item), OK);
    assert_int_equal(take(&f, "bad")->attempts, 1);
    remove_file(&f);
}

static void many_are_pushed_all_or_none(void **state)
{
    (void)state;
    struct file f = make_file();
    struct queue_change bound = {.given = QUEUE_MAX_ITEMS, .to = {.max_items = 3}};
    struct span items[4];
    uint64_t first;
    for (int i = 0; i < 4; i++)
        items[i] = span_text("item");
    assert_int_equal(queue_configure(&f.object, &bound), OK);
    reopen(&f);
    assert_int_equal(queue_push(&f.object, &now, items, 4, &first), ERR_FULL);
    assert_int_equal(look(&f).items, 0);
    assert_int_equal(queue_push(&f.object, &now, items, 3, &first), OK);
    assert_int_equal(queue_push(&f.object, &now, items, 1, &first), ERR_FULL);
    bound.given = QUEUE_OVERFLOW;
    bound.to.drop_head = true;
    assert_int_equal(queue_configure(&f.object, &bound), OK);
    assert_int_equal(queue_push(&f.object, &now, items, 2, &first), OK);
    assert_int_equal(look(&f).items, 3);
    assert_int_equal(look(&f).dropped, 2);
    assert_int_equal(look(&f).first_id, 3);
    remove_file(&f);
}

/* Runs the checkpoints that are due, as the loop would. */
static void tend(struct file *f)
{
    enum checkpoint next = checkpoint_go(&f->object, now.now_ms, false);
    while (next != CHECKPOINT_REST) {
        checkpoint_run(&f->object);
        next = checkpoint_go(&f->object, now.now_ms, false);
    }
}

/* 0: no bound. */
static void drop_beyond(struct file *f, uint64_t max_items, uint64_t max_bytes)
{
    const struct queue_change bound = {
        .given = QUEUE_MAX_ITEMS | QUEUE_MAX_BYTES | QUEUE_OVERFLOW,
        .to = {.max_items = max_items, .max_bytes = max_bytes, .drop_head = true}};
    assert_int_equal(queue_configure(&f->object, &bound), OK);
}

static uint8_t mib[1 << 20];

/* Items whose records have 1 MiB each; gives the checkpoints that it took. */
static int push_mibs(struct file *f, size_t n)
{
    struct span items[100];
    uint64_t seq;
    int checkpoints = 0;
    assert_in_range(n, 1, 100);
    for (size_t i = 0; i < n; i++)
        items[i] = span_of(mib, sizeof mib - sizeof(struct record_fields));
    enum err e = queue_push(&f->object, &now, items, n, &seq);
    for (; e == ERR_CHECKPOINT && checkpoints < 10; checkpoints++) {
        tend(f);
        e = queue_push(&f->object, &now, items, n, &seq);
    }
    assert_int_equal(e, OK);
    return checkpoints;
}

static void as_much_is_dropped_as_a_push_needs(void **state)
{
    (void)state;
    struct file f = make_file();
    drop_beyond(&f, 0, 80 << 20);
    push_mibs(&f, 70);
    assert_int_equal(push_mibs(&f, 50), 1); /* 40 MiB and the ends of extents go */
    assert_in_range(look(&f).bytes, 70 << 20, 80 << 20);
    assert_int_equal(look(&f).next_id, 121);
    assert_int_equal(look(&f).items, 120 - look(&f).dropped);
    reopen(&f);
    assert_int_equal(look(&f).items, 120 - look(&f).dropped);
    assert_int_equal(look(&f).first_id, look(&f).dropped + 1);
    remove_file(&f);
}

static void a_lower_bound_is_come_to_by_checkpoints(void **state)
{
    (void)state;
    struct file f = make_file();
    push_mibs(&f, 90);
    reopen(&f);
    drop_beyond(&f, 0, 10 << 20);
    assert_int_equal(push_mibs(&f, 1), 2);
    assert_in_range(look(&f).bytes, 8 << 20, 10 << 20);
    assert_int_equal(look(&f).next_id, 92);
    remove_file(&f);
}

/* What an extent has left at its end counts until it is passed. */
static void what_is_pushed_is_not_dropped_by_that(void **state)
{
    (void)state;
    struct file f = make_file();
    drop_beyond(&f, 0, 1 << 20);
    for (uint64_t n = 1; n <= 20; n++) {
        push_mibs(&f, 1);
        assert_int_equal(look(&f).items, 1);
        assert_int_equal(look(&f).dropped, n - 1);
    }
    drop_beyond(&f, 0, 3 << 20);
    push_mibs(&f, 3);
    assert_int_equal(look(&f).items, 3);
    remove_file(&f);
}

static void nothing_is_dropped_where_that_is_not_enough(void **state)
{
    (void)state;
    struct file f = make_file();
    struct span items[3];
    uint64_t seq;
    for (int i = 0; i < 3; i++)
        items[i] = span_of(mib, sizeof mib);
    assert_int_equal(queue_push(&f.object, &now, items, 3, &seq), OK);
    struct record r;
    struct item *leased;
    assert_int_equal(queue_front(&f.object, &now, &r), OK);
    assert_int_equal(queue_take(&f.object, &now, &r, &leased), OK);
    const struct queue_info before = look(&f);
    drop_beyond(&f, 3, 0);
    assert_int_equal(queue_push(&f.object, &now, items, 3, &seq), ERR_FULL);
    drop_beyond(&f, 0, 4 << 20);
    assert_int_equal(queue_push(&f.object, &now, items, 3, &seq), ERR_FULL);
    assert_int_equal(look(&f).items, before.items);
    assert_int_equal(look(&f).bytes, before.bytes);
    assert_int_equal(queue_release(&f.object, &now, leased, 0), OK);
    assert_int_equal(queue_push(&f.object, &now, items, 3, &seq), OK);
    assert_int_equal(look(&f).dropped, 3);
    remove_file(&f);
}

static void a_turn_of_the_loop_drops_few(void **state)
{
    (void)state;
    struct file f = make_file();
    const struct turn loop = {.now_ms = now.now_ms};
    const struct span item = span_text("item");
    uint64_t seq;
    for (int i = 0; i < 5000; i++)
        push_text(&f, "item");
    drop_beyond(&f, 1000, 0);
    assert_int_equal(queue_push(&f.object, &loop, &item, 1, &seq), ERR_WOULD_BLOCK);
    assert_int_equal(look(&f).items, 5000);
    drop_beyond(&f, 4000, 0);
    assert_int_equal(queue_push(&f.object, &loop, &item, 1, &seq), OK);
    drop_beyond(&f, 1000, 0);
    assert_int_equal(queue_push(&f.object, &now, &item, 1, &seq), OK);
    assert_int_equal(look(&f).items, 1000);
    assert_int_equal(look(&f).dropped, 4002);
    remove_file(&f);
}

static void push_number(struct file *f, uint64_t i)
{
    char text[100];
    memset(text, 'x', sizeof text);
    snprintf(text, sizeof text, "%ju", (uintmax_t)i);
    const struct span item = span_of(text, sizeof text);
    uint64_t seq;
    assert_int_equal(queue_push(&f->object, &now, &item, 1, &seq), OK);
    assert_int_equal(seq, i);
}

static void number_is(const struct record *r, uint64_t i)
{
    assert_int_equal(strtoull((const char *)r->bytes.at, NULL, 10), i);
    assert_int_equal(r->seq, i);
}

static void pop_number(struct file *f, uint64_t i)
{
    struct record r;
    enum err e = queue_front(&f->object, &now, &r);
    if (e == ERR_CHECKPOINT) {
        tend(f);
        e = queue_front(&f->object, &now, &r);
    }
    assert_int_equal(e, OK);
    number_is(&r, i);
    assert_int_equal(queue_pop(&f->object, &now, &r), OK);
}

static void the_file_follows_the_backlog_not_the_traffic(void **state)
{
    (void)state;
    enum { BACKLOG = 10, TRAFFIC = 1000000 };
    struct file f = make_file();
    struct record r;
    struct item *leased;
    push_number(&f, 1);
    push_number(&f, 2);
    assert_int_equal(queue_front(&f.object, &now, &r), OK);
    assert_int_equal(queue_take(&f.object, &now, &r, &leased), OK);
    assert_int_equal(queue_front(&f.object, &now, &r), OK);
    struct item *buried;
    assert_int_equal(queue_take(&f.object, &now, &r, &buried), OK);
    assert_int_equal(queue_bury(&f.object, &now, buried), OK);
    for (uint64_t i = 3; i <= TRAFFIC; i++) {
        push_number(&f, i);
        if (i >= 3 + BACKLOG)
            pop_number(&f, i - BACKLOG);
        if (checkpoint_due(&f.object) == 1)
            tend(&f);
    }
    assert_int_equal(look(&f).items, BACKLOG + 2);
    assert_in_range(f.object.map.size, 0, 64 << 20);
    reopen(&f);
    assert_int_equal(look(&f).items, BACKLOG + 2);
    assert_int_equal(look(&f).buried, 1);
    pop_number(&f, 1);
    for (uint64_t i = TRAFFIC - BACKLOG + 1; i <= TRAFFIC; i++)
        pop_number(&f, i);
    is_empty(&f);
    assert_int_equal(look(&f).damaged, 0);
    remove_file(&f);
}

static void a_long_queue_can_be_looked_through_both_ways(void **state)
{
    (void)state;
    enum { N = 50000 };
    struct file f = make_file();
    struct record r = {.seq = 0};
    for (uint64_t i = 1; i <= N; i++)
        push_number(&f, i);
    reopen(&f);
    for (uint64_t i = 1; i <= N; i++) {
        assert_int_equal(queue_next(&f.object, &now, r.seq + 1, &r), OK);
        number_is(&r, i);
    }
    assert_int_equal(queue_next(&f.object, &now, r.seq + 1, &r), ERR_EMPTY);
    r.seq = UINT64_MAX;
    for (uint64_t i = N; i >= 1; i--) {
        assert_int_equal(queue_previous(&f.object, &now, r.seq - 1, &r), OK);
        number_is(&r, i);
    }
    assert_int_equal(queue_previous(&f.object, &now, r.seq - 1, &r), ERR_EMPTY);
    for (uint64_t i = 1; i <= N; i++)
        pop_number(&f, i);
    is_empty(&f);
    remove_file(&f);
}

static void items_of_all_sizes_pass(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 7, 8, 9, 65535, 65536, 65432, 1 << 20, 40 << 20, 3};
    enum { N = sizeof sizes / sizeof sizes[0] };
    struct file f = make_file();
    uint8_t *bytes = malloc(40 << 20);
    for (size_t i = 0; i < 40 << 20; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 4096);
    for (size_t i = 0; i < N; i++) {
        const struct span item = span_of(bytes + i, sizes[i] < 40 << 20 ? sizes[i] : sizes[i] - i);
        uint64_t seq;
        assert_int_equal(queue_push(&f.object, &now, &item, 1, &seq), OK);
    }
    reopen(&f);
    for (size_t i = 0; i < N; i++) {
        struct record r;
        enum err e = queue_front(&f.object, &now, &r);
        if (e == ERR_CHECKPOINT) {
            tend(&f);
            e = queue_front(&f.object, &now, &r);
        }
        assert_int_equal(e, OK);
        assert_memory_equal(r.bytes.at, bytes + i, r.bytes.len);
        assert_int_equal(queue_pop(&f.object, &now, &r), OK);
    }
    is_empty(&f);
    free(bytes);
    remove_file(&f);
}

static void erase_takes_everything(void **state)
{
    (void)state;
    struct file f = make_file();
    for (int i = 0; i < 1000; i++)
        push_text(&f, "item");
    take(&f, "item");
    assert_int_equal(queue_erase(&f.object, now.now_ms), OK);
    is_empty(&f);
    assert_int_equal(push_text(&f, "new"), 1001);
    reopen(&f);
    pops(&f, "new");
    is_empty(&f);
    assert_int_equal(look(&f).dropped, 1000);
    remove_file(&f);
}

static void a_moved_item_is_itself_again(void **state)
{
    (void)state;
    struct file f = make_file();
    const struct origin from = {.uuid = {1, 2, 3}, .seq = 9, .attempts = 4};
    uint64_t seq;
    assert_int_equal(queue_push_moved(&f.object, &now, &from, span_text("traveller"), &seq), OK);
    reopen(&f);
    pops(&f, "traveller");
    remove_file(&f);
}

/* Damage: bytes of one record are changed in the closed file. */
static void spoil(struct file *f, const char *text, off_t offset)
{
    object_close(&f->object);
    FILE *file = fopen(folder_file(f->dir, "q"), "r+e");
    static char all[1 << 20];
    const size_t n = fread(all, 1, sizeof all, file);
    char *found = memmem(all, n, text, strlen(text));
    assert_non_null(found);
    fseek(file, found - all + offset, SEEK_SET);
    fputc(found[offset] ^ 0x20, file);
    fclose(file);
    open_file(f);
}

static void damage_costs_the_damaged_item_only(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        off_t offset; /* from the payload */
    } places[] = {{"payload", 1}, {"length", -48}, {"seq", -40}, {"hash", -12}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct file f = make_file();
        push_text(&f, "first");
        push_text(&f, "second");
        push_text(&f, "third");
        spoil(&f, "second", places[i].offset);
        pops(&f, "first");
        pops(&f, "third");
        is_empty(&f);
        assert_int_equal(look(&f).damaged, 1);
        assert_int_equal(look(&f).items, 0);
        reopen(&f);
        is_empty(&f);
        assert_int_equal(look(&f).damaged, 1);
        remove_file(&f);
    }
}

static void one_slot_may_be_damaged(void **state)
{
    (void)state;
    for (int slot = 1; slot <= 2; slot++) {
        struct file f = make_file();
        push_text(&f, "item");
        object_close(&f.object);
        int fd = open(folder_file(f.dir, "q"), O_RDWR);
        assert_int_equal(pwrite(fd, "spoiled", 7, 4096 * slot + 16), 7);
        close(fd);
        open_file(&f);
        pops(&f, "item");
        remove_file(&f);
    }
}

static void without_a_slot_it_is_refused(void **state)
{
    (void)state;
    struct file f = make_file();
    char why[QUEUE_WHY] = "";
    object_close(&f.object);
    int fd = open(folder_file(f.dir, "q"), O_RDWR);
    assert_int_equal(pwrite(fd, "spoiled", 7, 4096 + 16), 7);
    assert_int_equal(pwrite(fd, "spoiled", 7, 8192 + 16), 7);
    f.object = (struct object){.kind = OBJECT_QUEUE};
    assert_int_equal(map_open(&f.object.map, fd, 128 << 10, true, MAP_OF_FILE), OK);
    assert_int_equal(queue_open(&f.object, &queue_limits, "q", now.now_ms, why), ERR_DAMAGED);
    assert_string_equal(why, "neither header slot is whole");
    assert_null(f.object.queue);
    remove_file(&f);
}

static void a_full_disk_refuses_pushes_only(void **state)
{
    (void)state;
    struct file f = make_file();
    const struct os real = os;
    uint64_t seq = 0;
    enum err e = OK;
    uint64_t pushed = 0;
    os.allocate = no_space;
    while (e == OK) {
        const struct span item = span_text("something that takes a little space");
        e = queue_push(&f.object, &now, &item, 1, &seq);
        pushed += e == OK;
    }
    assert_int_equal(e, ERR_ENOSPC);
    assert_in_range(pushed, 100, 2000);
    assert_int_equal(look(&f).items, pushed);
    for (uint64_t i = 0; i < pushed; i++)
        pops(&f, "something that takes a little space");
    os = real;
    push_text(&f, "again");
    pops(&f, "again");
    is_empty(&f);
    remove_file(&f);
}

static void after_a_failed_sync_it_is_read_only_until_recovered(void **state)
{
    (void)state;
    struct file f = make_file();
    const struct os real = os;
    struct record r;
    char why[QUEUE_WHY];
    uint64_t seq;
    const struct span item = span_text("two");
    push_text(&f, "one");
    push_text(&f, "two");
    struct item *one = take(&f, "one");
    os.sync = sync_fails;
    assert_int_equal(checkpoint_go(&f.object, now.now_ms, true), CHECKPOINT_BESIDE);
    checkpoint_run(&f.object);
    assert_int_equal(checkpoint_go(&f.object, now.now_ms, false), CHECKPOINT_REST);
    assert_int_equal(queue_push(&f.object, &now, &item, 1, &seq), ERR_EIO);
    assert_int_equal(queue_ack(&f.object, &now, one), ERR_EIO);
    assert_int_equal(queue_front(&f.object, &now, &r), OK);
    assert_int_equal(queue_pop(&f.object, &now, &r), ERR_EIO);
    assert_int_equal(queue_recover(&f.object, now.now_ms, why), ERR_EIO);
    os = real;
    assert_int_equal(queue_recover(&f.object, now.now_ms, why), OK);
    assert_int_equal(take(&f, "one")->attempts, 2);
    pops(&f, "two");
    is_empty(&f);
    remove_file(&f);
}

static void a_file_that_is_cut_fails_and_nothing_else_does(void **state)
{
    (void)state;
    struct file f = make_file();
    struct record r;
    uint64_t seq;
    const struct span item = span_text("item");
    push_text(&f, "item");
    assert_int_equal(truncate(folder_file(f.dir, "q"), 4096), 0);
    assert_int_equal(queue_front(&f.object, &now, &r), ERR_EIO);
    assert_int_equal(queue_push(&f.object, &now, &item, 1, &seq), ERR_EIO);
    remove_file(&f);
}

/* Pushes, takes and checkpoints until something fails; what was pushed and not done. */
static uint64_t work(struct file *f, uint64_t *acknowledged)
{
    struct record r;
    struct item *taken;
    uint64_t done = 0;
    static uint8_t big[100 << 10];
    for (int i = 0; i < 12; i++) {
        const struct span item = span_of(big, i % 3 == 0 ? sizeof big : 50);
        uint64_t seq;
        if (queue_push(&f->object, &now, &item, 1, &seq) == OK)
            *acknowledged = seq;
        if (i % 4 == 3 && queue_front(&f->object, &now, &r) == OK &&
            queue_take(&f->object, &now, &r, &taken) == OK &&
            queue_ack(&f->object, &now, taken) == OK)
            done = r.seq;
        now.now_ms += 2000;
        tend(f);
    }
    return done;
}

static void any_call_may_fail_and_nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    static const int numbers[] = {EIO, ENOSPC, ENOMEM};
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
        const char *failed = "";
        for (unsigned n = 1; failed != NULL; n++) {
            struct file f = make_file();
            uint64_t pushed = 0;
            faults_begin(n, numbers[k]);
            const uint64_t done = work(&f, &pushed);
            object_close(&f.object);
            failed = faults_end();
            open_file(&f);
            assert_int_equal(look(&f).damaged, 0);
            for (uint64_t seq = done + 1; seq <= pushed; seq++) {
                struct record r;
                assert_int_equal(queue_front(&f.object, &now, &r), OK);
                assert_int_equal(r.seq, seq);
                assert_int_equal(queue_pop(&f.object, &now, &r), OK);
            }
            assert_true(look(&f).pushed >= pushed);
            remove_file(&f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_leave_in_the_order_of_arrival),
        cmocka_unit_test(an_item_that_comes_back_keeps_its_place),
        cmocka_unit_test(a_delay_outlives_the_daemon),
        cmocka_unit_test(buried_items_wait_for_a_kick),
        cmocka_unit_test(many_are_pushed_all_or_none),
        cmocka_unit_test(as_much_is_dropped_as_a_push_needs),
        cmocka_unit_test(a_lower_bound_is_come_to_by_checkpoints),
        cmocka_unit_test(what_is_pushed_is_not_dropped_by_that),
        cmocka_unit_test(nothing_is_dropped_where_that_is_not_enough),
        cmocka_unit_test(a_turn_of_the_loop_drops_few),
        cmocka_unit_test(the_file_follows_the_backlog_not_the_traffic),
        cmocka_unit_test(a_long_queue_can_be_looked_through_both_ways),
        cmocka_unit_test(items_of_all_sizes_pass),
        cmocka_unit_test(erase_takes_everything),
        cmocka_unit_test(a_moved_item_is_itself_again),
        cmocka_unit_test(damage_costs_the_damaged_item_only),
        cmocka_unit_test(one_slot_may_be_damaged),
        cmocka_unit_test(without_a_slot_it_is_refused),
        cmocka_unit_test(a_full_disk_refuses_pushes_only),
        cmocka_unit_test(after_a_failed_sync_it_is_read_only_until_recovered),
        cmocka_unit_test(a_file_that_is_cut_fails_and_nothing_else_does),
        cmocka_unit_test(any_call_may_fail_and_nothing_acknowledged_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
