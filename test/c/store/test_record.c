/* How records come into the file: room for them. */
#include "store/queue_inside.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/queue_file.h"
#include "sys/os.h"

static size_t count(const struct space *s, enum granule_use use)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        n += s->use[i] == (int)use;
    return n;
}

/* Holes first, as many granules that have their space behind them. */
static void make_holes(struct space *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->use[i] != GRANULE_USED)
            s->use[i] = n++ < 16 ? GRANULE_HOLE : GRANULE_FREE;
}

static void a_full_disk_leaves_the_space_that_the_file_has(void **state)
{
    (void)state;
    static uint8_t bytes[60000];
    struct queue_file f;
    queue_file_make(&f);
    queue_file_push(&f, 1000000, 3);
    queue_file_pop(&f, 3);
    queue_file_checkpoint(&f);
    const struct space *space = &f.object.queue->space;
    make_holes(&f.object.queue->space);
    const size_t backed = count(space, GRANULE_FREE);
    assert_true(backed > 4);
    const struct os real = os;
    os.allocate = no_space;
    const struct span item = span_of(bytes, sizeof bytes);
    uint64_t seq;
    enum err e = OK;
    size_t n = 0;
    for (; e == OK; n++)
        e = queue_push(&f.object, &f.now, &item, 1, &seq);
    os = real;
    assert_int_equal(e, ERR_ENOSPC);
    assert_int_equal(count(space, GRANULE_FREE), 0);
    assert_in_range(n, backed, backed + 32);
    queue_file_remove(&f);
}

/* As old bytes of a granule that is used again, or the other log's, would be. */
static void a_record_counts_only_where_it_was_put(void **state)
{
    (void)state;
    struct queue_file f;
    struct record_fields r;
    struct spot at;
    uint64_t left;
    queue_file_make(&f);
    queue_file_push(&f, 8, 2);
    const struct recordlog *log = &f.object.queue->logs[LOG_MAIN];
    assert_int_equal(record_head(&f.object, &f.now, LOG_MAIN, log->head, &r, &at), OK);
    const uint64_t size = record_size(r.length);
    uint8_t *there = f.object.map.at + log_offset(log, log->head + size, &left);
    memcpy(there, f.object.map.at + at.offset, size);
    assert_int_equal(record_head(&f.object, &f.now, LOG_MAIN, log->head + size, &r, &at),
                     ERR_DAMAGED);
    queue_file_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_leaves_the_space_that_the_file_has),
        cmocka_unit_test(a_record_counts_only_where_it_was_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
