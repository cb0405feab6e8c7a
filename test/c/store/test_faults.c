/* Each system call fails, for every call of a whole life of an object: the n-th alone, or it and
 * all that follow. Whatever a step was answered, nothing crashes, leaks or hangs; what was
 * acknowledged is there when the disk is well again, and what was not is there whole or not at all.
 */
#include "store/failed.h"

#include <errno.h>
#include <stdio.h>

#include "store/block.h"
#include "store/counter.h"
#include "store/queue_inside.h"
#include "store/region.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/guard.h"
#include "sys/log.h"
#include "sys/os.h"

enum { CHANGES = 16, ITEM = 3000, STRIDE = 8192, SIZE = 65536, MANY = 4 };

/* What is known of a change: the model. */
enum known { UNTRIED, MAYBE, THERE };

static struct {
    enum object_kind kind;
    struct object object;
    enum known made; /* the file */
    enum known change[CHANGES];
    enum known gone[CHANGES]; /* popped from a queue, or freed */
    uint64_t address[CHANGES];
} life;

static char *dir;
static char path[PATH_MAX];
static struct paths *paths;
static const struct turn now = {.now_ms = 1700000000000, .may_wait = true};

/* A block store is a region at first, with hardly any room. */
static struct opening opening_of(uint64_t size)
{
    static const struct queue_change none;
    const bool blocks = life.kind == OBJECT_BLOCKS;
    return (struct opening){.path = path,
                            .kind = blocks ? OBJECT_REGION : life.kind,
                            .sharing = MAP_OF_FILE,
                            .write = true,
                            .create = true,
                            .fit = true,
                            .any_file_system = true,
                            .mode = 0600,
                            .size = blocks ? size / 16 : size,
                            .n = life.kind == OBJECT_COUNTERS ? size / 8 : 0,
                            .queue = &none,
                            .now_ms = now.now_ms,
                            .node = "faults@host",
                            .fd = -1};
}

static enum err open_it(uint64_t size)
{
    struct opening o = opening_of(size);
    enum err e = object_find(paths, &o);
    if (e == OK)
        e = object_attach(&life.object, &o);
    assert_int_equal(o.fd, -1);
    return e;
}

/* --- steps ----------------------------------------------------------------------------------- */

static void note(enum known *what, enum err e)
{
    *what = e == OK ? THERE : MAYBE;
}

/* The file has its size from the beginning, or is fitted to it. */
static void step_open(unsigned i)
{
    (void)i;
    if (life.object.kind == OBJECT_CLOSED && life.made != THERE)
        note(&life.made, open_it(SIZE));
    else
        (void)open_it(SIZE);
}

static void step_grow(unsigned i)
{
    (void)i;
    (void)open_it((uint64_t)SIZE * 4);
}

static struct span item(unsigned i)
{
    static uint8_t bytes[ITEM];
    memset(bytes, (int)i + 1, sizeof bytes);
    return span_of(bytes, sizeof bytes);
}

/* A growth that fails changes nothing. */
static enum err grow_store(struct object *o)
{
    const uint64_t size = o->map.size;
    const uint64_t capacity = block_capacity(o);
    enum err e = block_grow(o, STRIDE);
    assert_int_equal(block_capacity(o) > capacity, e == OK);
    assert_int_equal(o->map.size > size, e == OK);
    assert_true(e != ERR_ENOSPC || !o->failed);
    return e;
}

static enum err find(struct object *o, uint32_t n, uint64_t *addresses)
{
    struct store_change made = {.make = true, .size = ITEM, .now_ms = now.now_ms, .node = "f@host"};
    enum err e = o->blocks == NULL ? object_become_store(o, &made) : OK;
    while (e == OK && (e = block_find(o, n, true, addresses)) == ERR_FULL)
        e = grow_store(o);
    return e;
}

static enum err store_block(unsigned i)
{
    enum err e = find(&life.object, 1, &life.address[i]);
    return e == OK ? block_put(&life.object, life.address[i], item(i).at) : e;
}

static enum err change(unsigned i)
{
    const uint8_t byte = (uint8_t)(i + 1);
    const struct span it = item(i);
    struct object *o = &life.object;
    uint64_t first;
    int64_t old;
    switch (life.kind) {
    case OBJECT_QUEUE: return queue_push(o, &now, &it, 1, &first);
    case OBJECT_COUNTERS: return counter_put(o, i * STRIDE / 64, WORD_XCHG, byte, &old);
    case OBJECT_BLOCKS: return store_block(i);
    default: return region_write(o, (uint64_t)i * STRIDE / 4, &byte, 1);
    }
}

static void step_change(unsigned i)
{
    if (life.object.kind != OBJECT_CLOSED)
        note(&life.change[i], change(i));
}

/* Whose item it is, its bytes tell. */
static void step_pop(unsigned i)
{
    struct record r;
    uint8_t byte;
    (void)i;
    if (life.object.kind != OBJECT_QUEUE || queue_front(&life.object, &now, &r) != OK ||
        !guard_copy(&byte, r.bytes.at, 1))
        return;
    assert_in_range(byte, 1, CHANGES);
    note(&life.gone[byte - 1], queue_pop(&life.object, &now, &r));
}

/* All of them or none. */
static void step_many(unsigned i)
{
    uint64_t addresses[MANY];
    if (life.object.kind == OBJECT_CLOSED)
        return;
    if (find(&life.object, MANY, addresses) != OK)
        return;
    for (unsigned k = 0; k < MANY; k++) {
        life.address[i + k] = addresses[k];
        assert_int_equal(block_put(&life.object, addresses[k], item(i + k).at), OK);
        life.change[i + k] = THERE;
    }
}

static void step_free(unsigned i)
{
    bool freed;
    if (life.object.blocks == NULL || life.change[i] != THERE)
        return;
    enum err e = block_free(&life.object, life.address[i], true, &freed);
    if (e == OK)
        assert_true(freed);
    note(&life.gone[i], e);
}

/* Also of what has failed. */
static void step_read(unsigned i)
{
    uint8_t bytes[ITEM];
    bool there;
    if (life.object.blocks == NULL || life.change[i] != THERE || life.gone[i] != UNTRIED)
        return;
    assert_int_equal(block_read(&life.object, life.address[i], true, bytes, &there), OK);
    assert_true(there);
    assert_memory_equal(bytes, item(i).at, ITEM);
}

static void step_repair(unsigned i)
{
    struct block_repair r;
    if (life.object.blocks == NULL)
        return;
    enum err e = block_repair(&life.object, i, UINT64_MAX, false, &r);
    assert_int_equal(e, object_writable(&life.object));
    assert_true(r.unknown == 0 && r.torn == 0);
}

/* After one that failed none is ok. */
static void step_sync(unsigned i)
{
    (void)i;
    if (life.object.kind == OBJECT_CLOSED)
        return;
    const bool failed = object_sync(&life.object) != OK;
    if (failed)
        assert_int_equal(object_sync(&life.object), ERR_EIO);
}

static void step_checkpoint(unsigned i)
{
    (void)i;
    if (life.object.kind != OBJECT_QUEUE)
        return;
    const bool failed = checkpoint_whole(&life.object, now.now_ms, false) != OK;
    if (failed)
        assert_int_equal(object_sync(&life.object), ERR_EIO);
}

static void step_close(unsigned i)
{
    (void)i;
    object_close(&life.object);
}

/* --- lives ----------------------------------------------------------------------------------- */

struct step {
    void (*run)(unsigned i);
    unsigned i;
};

static const struct step whole_life[] = {
    {step_open, 0}, {step_change, 0}, {step_change, 1},     {step_sync, 0},   {step_pop, 0},
    {step_grow, 0}, {step_change, 2}, {step_checkpoint, 0}, {step_change, 3}, {step_sync, 0},
    {step_open, 0}, {step_change, 4}, {step_close, 0},      {step_open, 0},   {step_change, 5},
    {step_pop, 0},  {step_sync, 0},   {step_change, 6},     {step_close, 0},
};

/* Growth, granule by granule of a queue. */
static const struct step much[] = {
    {step_open, 0},    {step_change, 0},  {step_change, 1},  {step_change, 2},  {step_change, 3},
    {step_change, 4},  {step_grow, 0},    {step_change, 5},  {step_change, 6},  {step_change, 7},
    {step_change, 8},  {step_change, 9},  {step_change, 10}, {step_pop, 0},     {step_pop, 0},
    {step_change, 11}, {step_change, 12}, {step_change, 13}, {step_change, 14}, {step_change, 15},
    {step_pop, 0},     {step_sync, 0},    {step_close, 0},
};

/* The same of blocks, and what only they have; growth slot by slot. */
static const struct step blocks[] = {
    {step_open, 0},  {step_change, 0}, {step_sync, 0},   {step_many, 1},  {step_read, 3},
    {step_free, 2},  {step_repair, 0}, {step_change, 5}, {step_grow, 0},  {step_change, 6},
    {step_sync, 0},  {step_open, 0},   {step_many, 7},   {step_free, 0},  {step_repair, 1},
    {step_close, 0}, {step_open, 0},   {step_many, 11},  {step_read, 11}, {step_free, 12},
    {step_sync, 0},  {step_read, 13},  {step_repair, 0}, {step_close, 0},
};

static const struct scenario {
    const char *name;
    enum object_kind kind;
    const struct step *steps;
    size_t n;
} scenarios[] = {
#define ROW(kind, steps)                                                                           \
    {                                                                                              \
#kind " " #steps, kind, steps, sizeof steps / sizeof steps[0]                              \
    }
    ROW(OBJECT_REGION, whole_life), ROW(OBJECT_REGION, much),      ROW(OBJECT_COUNTERS, whole_life),
    ROW(OBJECT_COUNTERS, much),     ROW(OBJECT_QUEUE, whole_life), ROW(OBJECT_QUEUE, much),
    ROW(OBJECT_BLOCKS, whole_life), ROW(OBJECT_BLOCKS, much),      ROW(OBJECT_BLOCKS, blocks),
#undef ROW
};

enum { SHORT = 0 }; /* reads and writes do a part of what they are asked to */
static const int numbers[] = {ENOSPC, EIO, ENOMEM, EINTR, SHORT};

/* --- afterwards: everything as the model has it ------------------------------------------------
 */

static uint8_t seen_of(unsigned i)
{
    uint8_t byte = 0;
    int64_t v = 0;
    if (life.kind == OBJECT_COUNTERS) {
        assert_int_equal(counter_get(&life.object, i * STRIDE / 64, &v), OK);
        return (uint8_t)v;
    }
    assert_int_equal(region_read(&life.object, (uint64_t)i * STRIDE / 4, &byte, 1), OK);
    return byte;
}

static void compare_values(void)
{
    for (unsigned i = 0; i < CHANGES; i++) {
        const uint8_t seen = seen_of(i);
        if (life.change[i] == THERE)
            assert_int_equal(seen, i + 1);
        else
            assert_true(seen == 0 || (seen == i + 1 && life.change[i] == MAYBE));
    }
}

/* In their order, whole, each once; none that is gone, all that are there. */
static void compare_items(void)
{
    struct record r;
    unsigned next = 0;
    enum err e;
    while ((e = queue_front(&life.object, &now, &r)) == OK) {
        const unsigned i = r.bytes.at[0] - 1U;
        const struct span expected = item(i);
        assert_in_range(i, next, CHANGES - 1);
        assert_int_equal(r.bytes.len, expected.len);
        assert_memory_equal(r.bytes.at, expected.at, expected.len);
        for (; next < i; next++)
            assert_true(life.change[next] != THERE || life.gone[next] != UNTRIED);
        assert_true(life.change[i] != UNTRIED && life.gone[i] != THERE);
        assert_int_equal(queue_pop(&life.object, &now, &r), OK);
        next = i + 1;
    }
    assert_int_equal(e, ERR_EMPTY);
    for (; next < CHANGES; next++)
        assert_true(life.change[next] != THERE || life.gone[next] != UNTRIED);
}

static void compare_block(uint64_t a, bool *seen)
{
    uint8_t bytes[ITEM];
    bool there;
    assert_int_equal(block_read(&life.object, a, true, bytes, &there), OK);
    assert_true(there);
    const unsigned i = bytes[0] - 1U;
    assert_in_range(i, 0, CHANGES - 1);
    assert_memory_equal(bytes, item(i).at, ITEM);
    assert_true(!seen[i] && life.change[i] != UNTRIED && life.gone[i] != THERE);
    assert_true(life.change[i] != THERE || life.address[i] == a);
    seen[i] = true;
}

/* What was half made can be made. */
static void compare_blocks(void)
{
    bool seen[CHANGES] = {false};
    struct block_repair r;
    uint64_t a = 0;
    bool found;
    assert_int_equal(find(&life.object, 1, &a), OK);
    for (a = 0; block_next(&life.object, a, true, &a, &found) == OK && found; a++)
        compare_block(a, seen);
    assert_int_equal(a, block_capacity(&life.object));
    for (unsigned i = 0; i < CHANGES; i++)
        assert_true(seen[i] || life.change[i] != THERE || life.gone[i] != UNTRIED);
    assert_int_equal(block_repair(&life.object, 0, UINT64_MAX, false, &r), OK);
    assert_true(r.unknown == 0 && r.torn == 0 && r.blocks == block_used(&life.object));
}

static void all_is_as_it_must_be(void)
{
    assert_int_equal(open_it((uint64_t)SIZE * 4), OK);
    assert_int_equal(object_writable(&life.object), OK);
    if (life.kind == OBJECT_QUEUE)
        compare_items();
    else if (life.kind == OBJECT_BLOCKS)
        compare_blocks();
    else
        compare_values();
    assert_int_equal(object_sync(&life.object), OK);
    object_close(&life.object);
}

/* --- the sweep ------------------------------------------------------------------------------- */

static void begin(const struct scenario *s)
{
    static const char *const none[] = {NULL};
    memset(&life, 0, sizeof life);
    life.kind = s->kind;
    life.object.map.fd = -1;
    dir = folder_make();
    snprintf(path, sizeof path, "%s", folder_file(dir, "object"));
    assert_int_equal(paths_open(dir, none, &paths), OK);
}

static void end(void)
{
    paths_close(paths);
    folder_remove(dir);
}

/* Did the fault come? */
static bool live(const struct scenario *s, unsigned n, int number, bool for_ever)
{
    begin(s);
    const struct held before = held_now();
    faults_install();
    faults_arm(n, number,
               for_ever          ? FAULTS_FOR_EVER
               : number == SHORT ? FAULTS_SHORT
                                 : FAULTS_ONCE);
    for (size_t i = 0; i < s->n; i++)
        s->steps[i].run(s->steps[i].i);
    const bool came = faults_end() != NULL;
    assert_int_equal(life.object.kind, OBJECT_CLOSED);
    held_as(before);
    all_is_as_it_must_be();
    held_as(before);
    end();
    return came;
}

static unsigned sweep(const struct scenario *s, int number, bool for_ever)
{
    unsigned n = 1;
    while (live(s, n, number, for_ever))
        n++;
    return n - 1;
}

static void sweep_all(bool for_ever)
{
    guard_install(); /* cmocka has put handlers of its own before each test */
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        for (size_t k = 0; k < (for_ever ? 2 : sizeof numbers / sizeof numbers[0]); k++) {
            const unsigned lives = sweep(&scenarios[i], numbers[k], for_ever);
            print_message("%s, %d: %u calls\n", scenarios[i].name, numbers[k], lives);
            if (numbers[k] != SHORT)
                assert_true(lives > 20);
        }
}

static void each_call_fails_once(void **state)
{
    (void)state;
    sweep_all(false);
}

static void each_call_fails_and_all_that_follow(void **state)
{
    (void)state;
    sweep_all(true);
}

/* No power is cut here: a sync need not wait for the disk. */
static int sync_at_once(int fd)
{
    (void)fd;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_fails_once),
        cmocka_unit_test(each_call_fails_and_all_that_follow),
    };
    must(log_open("/dev/null"));
    os.sync = os.sync_all = sync_at_once;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
