/* Every system call of a durable object's life fails, one after the other, once or from then on:
 * each step ends with an error or without, nothing is left open, and the next start, with no more
 * on the disk than was synced, shows everything that was acknowledged. */
#include <errno.h>
#include <pthread.h>

#include "durables.h"
#include "store/block.h"
#include "support/faults.h"

static const struct journal_limits tiny = {
    .page = 512, .half = 8 << 10, .group = 2 << 10, .piece = 512};

/* Every call with EIO; every so many-th where it is much the same, and where sanitizers are slow.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { EACH = 13, SOME = 37 };
#else
enum { EACH = 1, SOME = 7 };
#endif

/* --- the disk: what each file had when it was last synced ------------------------------------ */

enum { FILES = 64, LONGEST = 512 << 10 };

static struct shadow {
    ino_t inode;
    size_t len;
    uint8_t *bytes;
} disk[FILES];

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;

static struct shadow *shadow_of(ino_t inode, bool make)
{
    size_t i = 0;
    while (i < FILES && disk[i].inode != inode && (!make || disk[i].inode != 0))
        i++;
    if (i == FILES)
        return NULL;
    disk[i].inode = inode;
    return &disk[i];
}

static void keep_shadow(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return;
    pthread_mutex_lock(&disk_lock);
    struct shadow *s = shadow_of(st.st_ino, true);
    must(s != NULL && st.st_size <= LONGEST);
    s->bytes = realloc(s->bytes, LONGEST);
    s->len = (size_t)st.st_size;
    must(s->bytes != NULL && pread(fd, s->bytes, s->len, 0) == st.st_size);
    pthread_mutex_unlock(&disk_lock);
}

/* This is the disk: the one of the host has not to be waited for. */
static int sync_it(int fd)
{
    keep_shadow(fd);
    return 0;
}

static void restore(void *arg, const char *name)
{
    struct stat st;
    const int fd = openat(*(int *)arg, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    assert_int_equal(fstat(fd, &st), 0);
    const struct shadow *s = shadow_of(st.st_ino, false);
    if (S_ISREG(st.st_mode) && s != NULL) {
        assert_int_equal(ftruncate(fd, (off_t)s->len), 0);
        assert_int_equal(pwrite(fd, s->bytes, s->len, 0), s->len);
    }
    close(fd);
}

static void lose_power(void)
{
    const char *const dirs[] = {dir, folder_file(dir, ".emmap")};
    for (size_t i = 0; i < 2; i++) {
        int fd = open(dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            assert_int_equal(real.list(fd, restore, &fd), 0);
            close(fd);
        }
    }
}

static void forget_disk(void)
{
    for (size_t i = 0; i < FILES; i++)
        free(disk[i].bytes);
    memset(disk, 0, sizeof disk);
}

/* --- four objects, and what was said of them ------------------------------------------------- */

enum { BLOCK = 40, BLOCKS = 256 };

static struct object c, r, q, b;

static struct {
    int64_t count, counted; /* of counter 0: acknowledged, tried */
    uint8_t byte, written;  /* of the first 2 KiB of the region */
    uint64_t items, pushed;
    unsigned tried; /* blocks, each with its number */
    bool stored[BLOCKS], freeing[BLOCKS], freed[BLOCKS];
    uint64_t address[BLOCKS];
} said;

static bool is_open(const struct object *o)
{
    return o->kind != OBJECT_CLOSED;
}

static bool ready(const struct object *o)
{
    return is_open(o) && o->durable != NULL;
}

static enum err wait_for(const struct object *o, enum err e)
{
    return e == OK ? journal_wait(journal, object_group(o)) : e;
}

static void try_add(void)
{
    int64_t old;
    if (!ready(&c))
        return;
    said.counted++;
    if (wait_for(&c, counter_put(&c, 0, WORD_ADD, 1, &old)) == OK)
        said.count = said.counted;
}

static void try_write(size_t len)
{
    uint8_t bytes[2048];
    if (!ready(&r))
        return;
    memset(bytes, ++said.written, sizeof bytes);
    enum err e = OK;
    for (size_t at = 0; e == OK && at < sizeof bytes; at += len)
        e = region_write(&r, at, bytes, len);
    if (wait_for(&r, e) == OK)
        said.byte = said.written;
}

static void try_push(void)
{
    static const struct turn t = {.now_ms = NOW_MS, .may_wait = true};
    static const uint8_t item[300];
    const struct span s = span_of(item, sizeof item);
    uint64_t first;
    if (!ready(&q))
        return;
    said.pushed++;
    if (wait_for(&q, queue_push(&q, &t, &s, 1, &first)) == OK)
        said.items = said.pushed;
}

static const uint8_t *block_of(unsigned i)
{
    static uint8_t bytes[BLOCK];
    for (unsigned k = 0; k < BLOCK; k++)
        bytes[k] = (uint8_t)(i + k / 8 * 31 * (i + 7));
    bytes[0] = (uint8_t)i;
    return bytes;
}

static enum err store_block(unsigned i)
{
    struct store_change made = {.make = true, .size = BLOCK, .now_ms = NOW_MS, .node = "a@b"};
    uint64_t *const a = &said.address[i];
    enum err e = b.blocks == NULL ? object_become_store(&b, &made) : OK;
    while (e == OK && (e = block_find(&b, 1, true, a)) == ERR_FULL)
        e = block_grow(&b, 600);
    return e == OK ? block_put(&b, *a, block_of(i)) : e;
}

static void try_store(void)
{
    if (!ready(&b))
        return;
    must(said.tried < BLOCKS);
    const unsigned i = said.tried++;
    said.stored[i] = wait_for(&b, store_block(i)) == OK;
}

/* Of every two that were stored the former. */
static void try_free(void)
{
    bool was;
    const unsigned i = said.tried / 2;
    if (!ready(&b) || b.blocks == NULL || !said.stored[i] || said.freeing[i])
        return;
    said.freeing[i] = true;
    said.freed[i] = wait_for(&b, block_free(&b, said.address[i], true, &was)) == OK;
}

static void open_all(void)
{
    (void)try_open(&c, "c", OBJECT_COUNTERS, true);
    (void)try_open(&r, "r", OBJECT_REGION, true);
    (void)try_open(&q, "q", OBJECT_QUEUE, true);
    (void)try_open(&b, "b", OBJECT_REGION, true);
}

static void change_all(void)
{
    try_add();
    try_write(64);
    try_push();
    try_store();
    try_add();
    try_free();
}

/* --- steps: what is done before, and what with a fault --------------------------------------- */

static void begin(void)
{
    start();
}

static void begin_open(void)
{
    start();
    open_all();
    assert_true(ready(&c) && ready(&r) && ready(&q) && ready(&b));
    change_all();
}

static void step_join(void)
{
    open_all();
    change_all();
}

static void step_record(void)
{
    change_all();
    change_all();
}

/* Both halves are used again, with records of an object that does nothing since. */
static void step_turn(void)
{
    try_push();
    for (int i = 0; i < 35; i++)
        try_add();
}

static void step_floor(void)
{
    try_write(1024);
    if (ready(&r) && object_resize(&r, 4096) == OK)
        (void)object_resize(&r, REGION);
    try_write(512);
}

static void step_leave(void)
{
    object_close(&c);
    object_close(&q);
    object_close(&b);
    if (object_relax(&r) == OK)
        object_close(&r);
}

static void end_all(void)
{
    struct object *const all[] = {&c, &r, &q, &b};
    stop();
    for (size_t i = 0; i < 4; i++)
        if (is_open(all[i]))
            let_go(all[i]);
}

static void begin_replay(void)
{
    begin_open();
    step_turn();
    change_all();
    end_all();
    lose_power();
}

static void step_replay(void)
{
    char why[JOURNAL_WHY];
    if (try_start(why) == OK)
        open_all();
    change_all();
}

static struct step {
    const char *name;
    void (*before)(void);
    void (*step)(void);
} const steps[] = {
    {"join", begin, step_join},        {"record", begin_open, step_record},
    {"turn", begin_open, step_turn},   {"floor", begin_open, step_floor},
    {"leave", begin_open, step_leave}, {"replay", begin_replay, step_replay},
};

/* --- the sweep ------------------------------------------------------------------------------- */

/* Each once, whole, where it was stored; none that is freed, all that were stored. */
static void assert_blocks(void)
{
    struct store_change made = {.make = true, .size = BLOCK, .now_ms = NOW_MS};
    bool seen[BLOCKS] = {false};
    uint8_t bytes[BLOCK];
    bool there;
    assert_int_equal(object_become_store(&b, &made), OK);
    for (uint64_t a = 0; a < block_capacity(&b); a++) {
        enum err e = block_read(&b, a, true, bytes, &there);
        if (e == ERR_CORRUPT || !there)
            continue; /* none that was told: those have to be seen */
        const unsigned i = bytes[0];
        assert_int_equal(e, OK);
        assert_true(i < said.tried && !seen[i] && !said.freed[i] && said.address[i] == a);
        assert_memory_equal(bytes, block_of(i), BLOCK);
        seen[i] = true;
    }
    for (unsigned i = 0; i < said.tried; i++)
        assert_true(seen[i] || !said.stored[i] || said.freeing[i]);
}

static void assert_said(void)
{
    uint8_t bytes[2048];
    struct queue_info info;
    start();
    open_durable(&c, "c", OBJECT_COUNTERS);
    open_durable(&r, "r", OBJECT_REGION);
    open_durable(&q, "q", OBJECT_QUEUE);
    open_durable(&b, "b", OBJECT_REGION);
    assert_blocks();
    assert_in_range(value(&c, 0), said.count, said.counted);
    assert_int_equal(region_read(&r, 0, bytes, sizeof bytes), OK);
    for (size_t i = 0; i < sizeof bytes; i++)
        if (bytes[i] < said.byte || bytes[i] > said.written)
            fail_msg("byte %zu: %u", i, bytes[i]);
    queue_look(&q, &info);
    assert_in_range(info.items, said.items, said.pushed);
    assert_true(info.damaged == 0);
    object_close(&c);
    object_close(&r);
    object_close(&q);
    object_close(&b);
    assert_int_equal(kept_files(), 0);
    stop();
}

static void clean(void)
{
    static const char *const files[] = {"c", "r", "q", "b"};
    for (size_t i = 0; i < 4; i++)
        unlink(folder_file(dir, files[i]));
    folder_remove(strdup(folder_file(dir, ".emmap")));
    forget_disk();
}

/* The name of the call that failed, NULL: there were not so many. */
static const char *run(const struct step *s, unsigned n, int number, enum faults_how how)
{
    const struct held before = held_now();
    c = r = q = b = (struct object){.map.fd = -1};
    memset(&said, 0, sizeof said);
    os.sync = os.sync_all = sync_it;
    faults_install();
    s->before();
    faults_arm(n, number, how);
    s->step();
    const char *failed = faults_disarm();
    end_all();
    (void)faults_end();
    lose_power();
    assert_said();
    clean();
    if (with_threads)
        assert_int_equal(held_now().descriptors, before.descriptors); /* threads take space */
    else
        held_as(before);
    return failed;
}

static void sweep(int number, enum faults_how how)
{
    const unsigned stride = number == EIO && !with_threads ? EACH : SOME;
    limits = &tiny;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        unsigned n = 1;
        while (run(&steps[i], n, number, how) != NULL)
            n += stride;
        assert_true(n > 1);
        print_message("%s: about %u calls\n", steps[i].name, n - stride);
    }
}

static void no_space_once(void **state)
{
    (void)state;
    sweep(ENOSPC, FAULTS_ONCE);
}

static void no_space_for_ever(void **state)
{
    (void)state;
    sweep(ENOSPC, FAULTS_FOR_EVER);
}

static void no_disk_once(void **state)
{
    (void)state;
    sweep(EIO, FAULTS_ONCE);
}

static void no_disk_for_ever(void **state)
{
    (void)state;
    sweep(EIO, FAULTS_FOR_EVER);
}

static void no_memory_once(void **state)
{
    (void)state;
    sweep(ENOMEM, FAULTS_ONCE);
}

/* The step itself is as good as without. */
static void assert_unharmed(int number, enum faults_how how)
{
    limits = &tiny;
    for (size_t i = 1; i < sizeof steps / sizeof *steps; i++)
        for (unsigned n = 1; run(&steps[i], n, number, how) != NULL; n += SOME) {
            assert_int_equal(said.count, said.counted);
            assert_int_equal(said.byte, said.written);
            assert_int_equal(said.items, said.pushed);
        }
}

static void reads_and_writes_are_interrupted(void **state)
{
    (void)state;
    assert_unharmed(EINTR, FAULTS_MOVES);
}

static void reads_and_writes_are_short(void **state)
{
    (void)state;
    assert_unharmed(0, FAULTS_SHORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(no_disk_once),
        BOTH(no_disk_for_ever),
        ALONE(no_space_once),
        BOTH(no_space_for_ever),
        ALONE(no_memory_once),
        ALONE(reads_and_writes_are_interrupted),
        ALONE(reads_and_writes_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
