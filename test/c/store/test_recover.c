/* Opening files that no queue of ours has written: what they say is refused or lost, never
 * believed. */
#include <fcntl.h>
#include <unistd.h>

#include "store/queue_inside.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/queue_file.h"
#include "sys/hash.h"
#include "sys/log.h"
#include "sys/os.h"

/* An item of 8 bytes at the end of the shelf, known in memory as one that was delivered. */
static void shelve(struct queue_file *f, uint64_t seq)
{
    struct queue *q = f->object.queue;
    const uint64_t size = record_size(8);
    uint64_t pos;
    assert_int_equal(record_reserve(&f->object, &f->now, LOG_SHELF, &size, 1), OK);
    const struct draft d = {.kind = RECORD_ITEM,
                            .seq = seq,
                            .time = 1,
                            .state = state_value(STATE_AVAILABLE, 1, 0),
                            .item = span_of("12345678", 8)};
    assert_int_equal(record_append(&f->object, &f->now, LOG_SHELF, &d, &pos), OK);
    assert_true(items_room(&q->items));
    items_set(&q->items, items_add(&q->items, seq, LOG_SHELF, pos, (uint32_t)size), ITEM_READY);
}

static void shelf_items_that_cannot_be_are_lost(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint64_t seqs[2];
        uint64_t believed;
    } shelves[] = {{"twice", {2, 2}, 1},
                   {"behind the frontier", {100, 3}, 0},
                   {"in the main log, too", {1, 2}, 1},
                   {"none", {0, UINT64_MAX}, 0}};
    for (size_t i = 0; i < sizeof shelves / sizeof shelves[0]; i++) {
        struct queue_file f;
        queue_file_make(&f);
        queue_file_push(&f, 10, 3);
        queue_file_take(&f);
        queue_file_pop(&f, 1); /* 1 is leased, 2 is done, 3 is new */
        shelve(&f, shelves[i].seqs[0]);
        shelve(&f, shelves[i].seqs[1]);
        queue_file_checkpoint(&f);
        queue_file_kill(&f);
        queue_file_open(&f);
        const uint64_t believed = shelves[i].believed;
        assert_int_equal(queue_file_look(&f).items, 2 + (i == 2 ? 1 : believed));
        assert_int_equal(queue_file_look(&f).damaged, 2 - believed);
        uint64_t last = 0;
        struct item *item;
        while ((item = queue_file_take(&f)) != NULL)
            last = item->seq;
        assert_int_equal(last, 3);
        while ((item = queue_item_from(&f.object, 0)) != NULL)
            assert_int_equal(queue_ack(&f.object, &f.now, item), OK);
        assert_int_equal(queue_file_look(&f).items, 0);
        queue_file_remove(&f);
    }
}

/* Changes two pages, slots or those of the options, under good hashes. */
static void edit_pages(struct queue_file *f,
                       uint64_t (*place)(const struct queue_limits *limits, uint64_t seq),
                       void (*change)(void *page))
{
    static uint8_t page[4096];
    struct superblock super;
    int fd = open(folder_file(f->dir, "q"), O_RDWR);
    assert_int_equal(pread(fd, &super, sizeof super, 0), sizeof super);
    const struct queue q = {.limits = &queue_limits,
                            .seed = hash_bytes(0, super.uuid, sizeof super.uuid)};
    for (uint64_t i = 0; i < 2; i++) {
        const uint64_t at = place(&queue_limits, i);
        assert_int_equal(pread(fd, page, sizeof page, (off_t)at), sizeof page);
        change(page);
        header_seal(&q, page, at);
        assert_int_equal(pwrite(fd, page, sizeof page, (off_t)at), sizeof page);
    }
    close(fd);
}

static void (*slot_change)(struct slot_fields *slot);

static void change_slot(void *page)
{
    slot_change(page);
}

static void edit_slots(struct queue_file *f, void (*change)(struct slot_fields *slot))
{
    slot_change = change;
    edit_pages(f, header_slot_at, change_slot);
}

static void move(struct slot_fields *slot, uint64_t by)
{
    slot->logs[LOG_MAIN].base += by;
    slot->logs[LOG_MAIN].head += by;
    slot->logs[LOG_MAIN].tail += by;
    slot->front_pos += by;
}

static void positions_near_the_end(struct slot_fields *slot)
{
    move(slot, -(slot->logs[LOG_MAIN].base + 131072));
}

static void positions_too_great(struct slot_fields *slot)
{
    move(slot, UINT64_C(1) << 62);
}

static void numbers_near_the_end(struct slot_fields *slot)
{
    slot->logs[LOG_MAIN].head_seq = slot->front_seq = slot->logs[LOG_MAIN].tail_seq =
        UINT64_MAX - 1;
}

static void shelf_near_the_end(struct slot_fields *slot)
{
    struct log_fields *shelf = &slot->logs[LOG_SHELF];
    shelf->base = shelf->head = shelf->tail = -(uint64_t)65536;
}

static void last_near_the_end(struct slot_fields *slot)
{
    slot->last = -(uint64_t)8;
}

static void tail_without_room_for_a_jump(struct slot_fields *slot)
{
    struct log_fields *log = &slot->logs[LOG_MAIN];
    log->head = log->tail = slot->front_pos = log->base + 65536 - 48;
}

static void frontier_between_words(struct slot_fields *slot)
{
    slot->logs[LOG_MAIN].tail += 64;
    slot->front_pos += 4;
}

static void slots_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static void (*const changes[])(struct slot_fields * slot) = {
        positions_near_the_end, positions_too_great, numbers_near_the_end,
        shelf_near_the_end,     last_near_the_end,   tail_without_room_for_a_jump,
        frontier_between_words};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct queue_file f;
        char why[QUEUE_WHY] = "";
        queue_file_make(&f);
        object_close(&f.object);
        edit_slots(&f, changes[i]);
        assert_int_equal(queue_file_try(&f, why), ERR_DAMAGED);
        assert_string_equal(why, "neither header slot is whole");
        queue_file_remove(&f);
    }
}

/* --- at the end of the numbers --------------------------------------------------------------- */

/* The newer has it, the older the one before. */
static uint64_t last_number;

static void raise_number(void *page)
{
    uint64_t number;
    memcpy(&number, page, sizeof number);
    number = (number & 1) == (last_number & 1) ? last_number : last_number - 1;
    memcpy(page, &number, sizeof number);
}

static const uint64_t last_numbers[] = {TOO_FAR - 2,       TOO_FAR - 1,    (UINT64_C(1) << 63) - 1,
                                        UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX};
enum { LAST_NUMBERS = sizeof last_numbers / sizeof last_numbers[0] };

static void numbers_of_slots_go_round(void **state)
{
    (void)state;
    for (size_t i = 0; i < LAST_NUMBERS; i++) {
        struct queue_file f;
        queue_file_make(&f);
        queue_file_push(&f, 10, 1);
        object_close(&f.object);
        last_number = last_numbers[i];
        edit_pages(&f, header_slot_at, raise_number);
        for (uint64_t life = 1; life < 6; life++) {
            queue_file_open(&f);
            assert_int_equal(queue_file_look(&f).items, life);
            queue_file_push(&f, 10, 1);
            if (life == 3)
                queue_file_checkpoint(&f);
            queue_file_kill(&f);
        }
        queue_file_remove(&f);
    }
}

static void numbers_of_options_go_round(void **state)
{
    (void)state;
    for (size_t i = 0; i < LAST_NUMBERS; i++) {
        struct queue_file f;
        struct queue_change change = {.given = QUEUE_MAX_ITEMS};
        queue_file_make(&f);
        assert_int_equal(queue_configure(&f.object, &change), OK);
        object_close(&f.object);
        last_number = last_numbers[i];
        edit_pages(&f, header_options_at, raise_number);
        for (uint64_t life = 0; life < 5; life++) {
            queue_file_open(&f);
            assert_int_equal(queue_options(&f.object)->max_items, life);
            change.to.max_items = life + 1;
            assert_int_equal(queue_configure(&f.object, &change), OK);
            queue_file_kill(&f);
        }
        queue_file_remove(&f);
    }
}

enum { LAST_GRANULES = 4, MORE_THAN_FIT = 10000 };

static void few_positions_left(struct slot_fields *slot)
{
    move(slot, TOO_FAR - LAST_GRANULES * UINT64_C(65536) - slot->logs[LOG_MAIN].base);
}

static void few_numbers_left(struct slot_fields *slot)
{
    slot->logs[LOG_MAIN].head_seq = slot->front_seq = slot->logs[LOG_MAIN].tail_seq = TOO_FAR - 10;
}

static void no_positions_left(struct slot_fields *slot)
{
    move(slot, TOO_FAR - 65536 - slot->logs[LOG_MAIN].base);
}

/* What no push writes: a record behind the last number. */
static void append_one_more(struct queue_file *f)
{
    const struct draft d = {.kind = RECORD_ITEM, .seq = f->object.queue->logs[LOG_MAIN].tail_seq};
    uint64_t pos;
    assert_int_equal(record_append(&f->object, &f->now, LOG_MAIN, &d, &pos), OK);
}

/* What is pushed can be opened again, whatever the last push needs. */
static void nothing_is_pushed_too_far(void **state)
{
    (void)state;
    static void (*const changes[])(struct slot_fields * slot) = {
        few_positions_left, few_numbers_left, no_positions_left};
    static const size_t lengths[] = {10, 3000, 65000, 100000};
    static uint8_t bytes[100000];
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        for (size_t j = 0; j < sizeof lengths / sizeof lengths[0]; j++) {
            struct queue_file f;
            const struct span item = span_of(bytes, lengths[j]);
            uint64_t n = 0;
            uint64_t first;
            enum err e = OK;
            queue_file_make(&f);
            object_close(&f.object);
            edit_slots(&f, changes[i]);
            queue_file_open(&f);
            while (e == OK && n < MORE_THAN_FIT) {
                e = queue_push(&f.object, &f.now, &item, 1, &first);
                n += e == OK;
            }
            assert_int_equal(e, ERR_EFBIG);
            assert_true(i == 2 ? n == 0 : n > 0);
            if (i == 1 && j == 0)
                append_one_more(&f);
            for (int life = 0; life < 3; life++) {
                queue_file_kill(&f);
                queue_file_open(&f);
                assert_int_equal(queue_file_look(&f).items, n);
                assert_int_equal(queue_push(&f.object, &f.now, &item, 1, &first), ERR_EFBIG);
                queue_file_checkpoint(&f);
            }
            queue_file_pop(&f, n);
            queue_file_remove(&f);
        }
    }
}

static void last_room_for_a_jump(struct slot_fields *slot)
{
    struct log_fields *log = &slot->logs[LOG_MAIN];
    log->head = log->tail = slot->front_pos = log->base + 65536 - JUMP_BYTES;
}

static void a_tail_with_room_for_a_jump_goes_on(void **state)
{
    (void)state;
    struct queue_file f;
    queue_file_make(&f);
    object_close(&f.object);
    edit_slots(&f, last_room_for_a_jump);
    queue_file_open(&f);
    queue_file_push(&f, 10, 1);
    queue_file_kill(&f);
    queue_file_open(&f);
    queue_file_pop(&f, 1);
    queue_file_remove(&f);
}

/* Three records of 64 bytes are there. */
static void lesser_tail_seq(struct slot_fields *slot)
{
    slot->logs[LOG_MAIN].tail_seq = 2;
    slot->front_seq = slot->logs[LOG_MAIN].head_seq = 1;
    slot->front_pos = slot->logs[LOG_MAIN].head;
}

static void lesser_tail(struct slot_fields *slot)
{
    struct log_fields *log = &slot->logs[LOG_MAIN];
    log->tail -= 16;
    log->head_seq = slot->front_seq = 1;
    slot->front_pos = log->head;
}

static void records_beyond_the_tail_are_not_believed(void **state)
{
    (void)state;
    static const struct {
        void (*change)(struct slot_fields *slot);
        uint64_t items, next;
    } slots[] = {{lesser_tail_seq, 1, 2}, {lesser_tail, 2, 4}};
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        struct queue_file f;
        queue_file_make(&f);
        queue_file_push(&f, 16, 3);
        object_close(&f.object);
        edit_slots(&f, slots[i].change);
        queue_file_open(&f);
        assert_int_equal(queue_file_look(&f).items, slots[i].items);
        assert_int_equal(queue_file_look(&f).next_id, slots[i].next);
        queue_file_pop(&f, slots[i].items);
        assert_null(queue_file_take(&f));
        assert_int_equal(queue_file_look(&f).items, 0);
        queue_file_remove(&f);
    }
}

enum { LONG_EXTENT = (1 << 14) + 2 };

static void long_extent(struct slot_fields *slot)
{
    struct log_fields *log = &slot->logs[LOG_MAIN];
    struct extent_fields *extent = (void *)(slot + 1);
    extent->count = LONG_EXTENT;
    log->head = log->tail = slot->front_pos =
        log->base + LONG_EXTENT * UINT64_C(65536) - (JUMP_BYTES + record_size(RECORD_LONGEST) - 8);
}

static int pretend(int fd, off_t at, off_t len)
{
    (void)fd;
    (void)at;
    (void)len;
    return 0;
}

/* The JUMP before an item of the greatest length, which just did not fit. */
static void a_jump_may_be_longer_than_the_longest_item(void **state)
{
    (void)state;
    struct queue_file f;
    struct record_fields read;
    struct spot at;
    uint64_t left;
    queue_file_make(&f);
    object_close(&f.object);
    edit_slots(&f, long_extent);
    assert_int_equal(truncate(folder_file(f.dir, "q"), (LONG_EXTENT + 1) * (off_t)65536), 0);
    const struct os real = os;
    os.allocate = pretend; /* the file stays a hole */
    queue_file_open(&f);
    const struct queue *q = f.object.queue;
    const uint64_t pos = q->logs[LOG_MAIN].tail;
    const uint64_t offset = log_offset(&q->logs[LOG_MAIN], pos, &left);
    struct record_fields jump = {
        .length = (uint32_t)(left - sizeof jump), .kind = RECORD_JUMP, .seq = 1};
    assert_true(jump.length > RECORD_LONGEST);
    jump.header_hash = (uint32_t)hash_bytes(q->seed + 2 * pos, &jump, RECORD_HASHED);
    memcpy(f.object.map.at + offset, &jump, sizeof jump);
    assert_int_equal(record_head(&f.object, &f.now, LOG_MAIN, pos, &read, &at), OK);
    assert_int_equal(read.length, jump.length);
    os = real;
    queue_file_kill(&f);
    queue_file_remove(&f);
}

/* Changes a byte of every second item's record, or of every one's, and leaves the file so. */
static void damage(struct queue_file *f, size_t every, size_t byte)
{
    const struct recordlog *log = &f->object.queue->logs[LOG_MAIN];
    struct record_fields r;
    struct spot at;
    size_t n = 0;
    for (uint64_t pos = log->head; pos < log->tail; pos += record_size(r.length)) {
        assert_int_equal(record_head(&f->object, &f->now, LOG_MAIN, pos, &r, &at), OK);
        if (record_is_item(&r) && n++ % every == 0)
            f->object.map.at[at.offset + byte] ^= 0x5a;
    }
    queue_file_kill(f);
}

/* A search of the whole log for each of them would take minutes. */
static void much_damage_is_passed_over_in_time(void **state)
{
    (void)state;
    enum { N = 60000, LIMIT_S = 20 };
    struct queue_file f;
    struct record r;
    const struct turn loop = {.now_ms = 1700000000000, .may_wait = false};
    assert_true(log_open("/dev/null"));
    queue_file_make(&f);
    queue_file_push(&f, 8, N);
    object_close(&f.object);
    queue_file_open(&f); /* the records are those of an earlier life */
    damage(&f, 2, offsetof(struct record_fields, time));
    alarm(LIMIT_S);
    queue_file_open(&f);
    assert_int_equal(queue_file_look(&f).items, N / 2);
    assert_int_equal(queue_file_look(&f).damaged, N / 2);
    queue_file_pop(&f, N / 2);
    assert_null(queue_file_take(&f));
    queue_file_push(&f, 8, N);
    queue_file_checkpoint(&f);
    damage(&f, 1, offsetof(struct record_fields, state));
    queue_file_open(&f);
    assert_int_equal(queue_file_look(&f).items, 0);
    assert_int_equal(queue_front(&f.object, &loop, &r), ERR_WOULD_BLOCK);
    assert_int_equal(queue_file_look(&f).items, 0);
    assert_int_equal(queue_front(&f.object, &f.now, &r), ERR_EMPTY);
    assert_int_equal(queue_file_look(&f).items, 0);
    assert_int_equal(queue_file_look(&f).damaged, N / 2 + N);
    alarm(0);
    queue_file_remove(&f);
}

static void promise_of_five(struct slot_fields *slot)
{
    struct log_fields *log = &slot->logs[LOG_MAIN];
    log->tail -= 64; /* the third stands behind it */
    log->tail_seq = 6;
    log->head_seq = slot->front_seq = 1;
    slot->front_pos = log->head;
}

/* A record behind the tail is none, even where a slot promises one with its number. */
static void items_that_are_only_promised_are_lost(void **state)
{
    (void)state;
    struct queue_file f;
    queue_file_make(&f);
    queue_file_push(&f, 16, 3);
    object_close(&f.object);
    edit_slots(&f, promise_of_five);
    queue_file_open(&f);
    queue_file_pop(&f, 2);
    assert_null(queue_file_take(&f));
    assert_int_equal(queue_file_look(&f).items, 0);
    assert_int_equal(queue_file_look(&f).damaged, 3);
    queue_file_checkpoint(&f);
    queue_file_push(&f, 16, 1);
    object_close(&f.object);
    queue_file_open(&f);
    assert_int_equal(queue_file_take(&f)->seq, 6);
    queue_file_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shelf_items_that_cannot_be_are_lost),
        cmocka_unit_test(slots_that_cannot_be_are_refused),
        cmocka_unit_test(numbers_of_slots_go_round),
        cmocka_unit_test(numbers_of_options_go_round),
        cmocka_unit_test(nothing_is_pushed_too_far),
        cmocka_unit_test(a_tail_with_room_for_a_jump_goes_on),
        cmocka_unit_test(records_beyond_the_tail_are_not_believed),
        cmocka_unit_test(items_that_are_only_promised_are_lost),
        cmocka_unit_test(a_jump_may_be_longer_than_the_longest_item),
        cmocka_unit_test(much_damage_is_passed_over_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
