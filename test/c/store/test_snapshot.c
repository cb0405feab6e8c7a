/* Snapshots: whatever is changed before, while and after each piece is copied, the new file is the
 * object as it was at the one instant; and whatever fails, it is that or not there. */
#include "store/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/resource.h>

#include "store/block.h"
#include "store/durables.h"
#include "store/ownership.h"
#include "support/faults.h"
#include "sys/guard.h"

enum { PAGE = 4096, PIECE = 64 << 10, PIECES = 5, SIZE = PIECE * (PIECES - 1) + 3 * PAGE + 100 };

/* --- an object, and what a snapshot of it has to be ------------------------------------------ */

static uint8_t model[17 << 20];
static uint64_t model_size;

static struct opening region_of(uint64_t size)
{
    struct opening o = opening_of(folder_file(dir, "f"), OBJECT_REGION, false);
    o.size = size;
    o.mode = 0640;
    return o;
}

static void open_region(struct object *o, uint64_t size)
{
    struct opening opening = region_of(size);
    *o = (struct object){.map.fd = -1};
    assert_int_equal(try_attach(o, &opening), OK);
}

static uint8_t mark_at(uint64_t pos, unsigned round)
{
    return (uint8_t)(pos / 251 * 31 + pos + (uint64_t)round * 77 + 1);
}

static void store(struct object *o, uint64_t pos, size_t len, unsigned round)
{
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = mark_at(pos + i, round);
    assert_int_equal(region_write(o, pos, bytes, len), OK);
    free(bytes);
}

static enum err try_begin(struct object *o, struct snapshot **s)
{
    const struct snapshot_order order = {
        .paths = paths, .to = folder_file(dir, "to"), .any_file_system = true, .mode = 0600};
    return snapshot_begin(o, &order, s);
}

static struct snapshot *begin(struct object *o)
{
    struct snapshot *s = NULL;
    must(o->map.size <= sizeof model);
    model_size = o->map.size;
    if (model_size > 0)
        memcpy(model, o->map.at, model_size);
    assert_int_equal(try_begin(o, &s), OK);
    return s;
}

static enum err end(struct object *o, struct snapshot *s)
{
    uint64_t size = 0;
    enum err e = snapshot_end(o, s, &size);
    assert_int_equal(size, model_size);
    return e;
}

/* And takes it away, for the next. */
static void copy_is_the_model(void)
{
    static uint8_t bytes[sizeof model + 1];
    const int fd = open(folder_file(dir, "to"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), model_size);
    close(fd);
    assert_memory_equal(bytes, model, model_size);
    assert_int_equal(unlink(folder_file(dir, "to")), 0);
}

/* Names in the directory besides those that tests give, the new one too. */
static unsigned new_names(void)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *entry; (entry = readdir(d)) != NULL;)
        n += strcmp(entry->d_name, "f") != 0 && strcmp(entry->d_name, ".emmap") != 0 &&
             strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(d);
    return n;
}

/* --- the thread, held at a piece ------------------------------------------------------------- */

static struct {
    int fd;     /* reads of this one */
    off_t at;   /* at this position */
    bool later; /* not before, but after the bytes are read */
    sem_t arrived, go;
} gate;

static void stop_at_gate(void)
{
    sem_post(&gate.arrived);
    while (sem_wait(&gate.go) != 0)
        assert_int_equal(errno, EINTR);
}

static ssize_t gated_read(int fd, void *bytes, size_t n, off_t offset)
{
    const bool here = fd == gate.fd && offset == gate.at;
    if (here && !gate.later)
        stop_at_gate();
    const ssize_t result = real.read_at(fd, bytes, n, offset);
    if (here && gate.later)
        stop_at_gate();
    return result;
}

static struct snapshot *begin_gated(struct object *o, unsigned piece, bool later)
{
    sem_init(&gate.arrived, 0, 0);
    sem_init(&gate.go, 0, 0);
    gate.fd = o->map.fd;
    gate.at = (off_t)piece * PIECE;
    gate.later = later;
    os.read_at = gated_read;
    struct snapshot *s = begin(o);
    while (sem_wait(&gate.arrived) != 0)
        assert_int_equal(errno, EINTR);
    return s;
}

static void open_gate(void)
{
    sem_post(&gate.go);
}

static enum err end_gated(struct object *o, struct snapshot *s)
{
    open_gate();
    enum err e = end(o, s);
    os.read_at = real.read_at;
    sem_destroy(&gate.arrived);
    sem_destroy(&gate.go);
    return e;
}

/* --- without changes ------------------------------------------------------------------------- */

static void a_snapshot_is_the_object_with_its_mode(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, PAGE, PAGE + 1, PIECE, PIECE + 1, 3UL * PIECE, SIZE};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct object o;
        struct stat st;
        open_region(&o, sizes[i]);
        if (sizes[i] > 0)
            store(&o, 0, (size_t)sizes[i], 1);
        assert_int_equal(end(&o, begin(&o)), OK);
        assert_int_equal(stat(folder_file(dir, "to"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        copy_is_the_model();
        object_close(&o);
        unlink(folder_file(dir, "f"));
    }
}

static void what_is_empty_stays_a_hole(void **state)
{
    (void)state;
    struct object o;
    struct stat st;
    open_region(&o, sizeof model);
    store(&o, 5 << 20, 3UL * PAGE, 1);
    store(&o, sizeof model - 1, 1, 1);
    assert_int_equal(end(&o, begin(&o)), OK);
    assert_int_equal(stat(folder_file(dir, "to"), &st), 0);
    assert_true(st.st_blocks * 512 <= PIECE); /* of 17 MiB */
    copy_is_the_model();
    object_close(&o);
}

static void what_is_no_file_is_copied_too(void **state)
{
    (void)state;
    struct object o;
    for (int sharing = MAP_COPY; sharing <= MAP_MEMORY; sharing++) {
        struct opening opening = region_of(SIZE);
        opening.sharing = (enum map_sharing)sharing;
        o = (struct object){.map.fd = -1};
        assert_int_equal(try_attach(&o, &opening), OK);
        store(&o, 100, PIECE, 3);
        struct snapshot *s = begin(&o);
        assert_true(snapshot_is_over(s));
        store(&o, 0, PIECE, 4); /* it is too late for this */
        assert_int_equal(end(&o, s), OK);
        copy_is_the_model();
        object_close(&o);
    }
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    struct object o;
    struct snapshot *s;
    open_region(&o, SIZE);
    assert_int_equal(symlink("nowhere", folder_file(dir, "to")), 0);
    assert_int_equal(try_begin(&o, &s), ERR_EEXIST);
    unlink(folder_file(dir, "to"));
    assert_int_equal(mkdir(folder_file(dir, "to"), 0700), 0);
    assert_int_equal(try_begin(&o, &s), ERR_EEXIST);
    rmdir(folder_file(dir, "to"));
    /* nor what has come meanwhile */
    s = begin_gated(&o, 1, false);
    const int fd = open(folder_file(dir, "to"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, "other", 5) == 5);
    close(fd);
    assert_int_equal(end_gated(&o, s), ERR_EEXIST);
    struct stat st;
    assert_int_equal(stat(folder_file(dir, "to"), &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_null(o.snapshot);
    object_close(&o);
}

static void one_at_a_time_of_an_object_and_few_of_all(void **state)
{
    (void)state;
    struct object o;
    struct object others[SNAPSHOTS];
    struct snapshot *s[SNAPSHOTS];
    struct snapshot *more;
    char name[16];
    open_region(&o, SIZE);
    s[0] = begin_gated(&o, 0, false);
    assert_int_equal(try_begin(&o, &more), ERR_EBUSY);
    for (int i = 1; i < SNAPSHOTS; i++) {
        /* they are over, but not ended */
        snprintf(name, sizeof name, "to%d", i);
        struct opening opening = region_of(SIZE);
        opening.sharing = MAP_MEMORY;
        others[i] = (struct object){.map.fd = -1};
        assert_int_equal(try_attach(&others[i], &opening), OK);
        const struct snapshot_order order = {
            .paths = paths, .to = folder_file(dir, name), .any_file_system = true, .mode = 0600};
        assert_int_equal(snapshot_begin(&others[i], &order, &s[i]), OK);
    }
    struct object last = {.map.fd = -1};
    struct opening opening = region_of(SIZE);
    opening.sharing = MAP_MEMORY;
    assert_int_equal(try_attach(&last, &opening), OK);
    assert_int_equal(try_begin(&last, &more), ERR_EBUSY);
    assert_int_equal(end_gated(&o, s[0]), OK);
    copy_is_the_model();
    assert_int_equal(end(&last, begin(&last)), OK);
    for (int i = 1; i < SNAPSHOTS; i++) {
        assert_int_equal(end(&others[i], s[i]), OK);
        object_close(&others[i]);
    }
    object_close(&last);
    object_close(&o);
}

/* --- changes meanwhile ----------------------------------------------------------------------- */

/* Where the changes are: at the edges of pages, of pieces and of the object. */
static const struct {
    uint64_t pos;
    size_t len;
} places[] = {
    {0, 1},
    {PAGE - 4, 8},
    {PIECE - 1, 1},
    {PIECE - 8, 8},
    {PIECE - 4, 8},
    {PIECE, 8},
    {2 * PIECE - PAGE - 1, PAGE + 2},
    {PIECE / 2, 2UL * PIECE},
    {0, SIZE},
    {SIZE - 1, 1},
    {SIZE - 100, 100},
    {SIZE - PAGE, 8},
};
enum { PLACES = sizeof places / sizeof places[0] };

static void changes_at_any_moment_are_not_in_it(void **state)
{
    (void)state;
    struct object o;
    open_region(&o, SIZE);
    store(&o, 0, SIZE, 0);
    for (unsigned piece = 0; piece < PIECES; piece++)
        for (int later = 0; later < 2; later++)
            for (unsigned i = 0; i < PLACES; i++) {
                const uint64_t last = SIZE / 8 * 8 - 8;
                const uint64_t at = places[i].pos / 8 * 8;
                int64_t old;
                store(&o, places[i].pos, places[i].len, piece); /* before: it is */
                struct snapshot *s = begin_gated(&o, piece, later != 0);
                store(&o, places[i].pos, places[i].len, piece + 1);
                store(&o, places[i].pos, places[i].len, piece + 2);
                assert_int_equal(region_word(&o, at < last ? at : last, WORD_ADD, 0, 12345, &old),
                                 OK);
                assert_int_equal(end_gated(&o, s), OK);
                copy_is_the_model();
            }
    object_close(&o);
}

static void clear_it(struct object *o, uint64_t size)
{
    struct opening opening = region_of(size);
    opening.truncate = true;
    assert_int_equal(try_attach(o, &opening), OK);
}

/* Sizes to which it goes, one after the other; and what it gets then. */
static void other_sizes_at_any_moment_are_not_in_it(void **state)
{
    (void)state;
    static const uint64_t sizes[][2] = {{SIZE - 1, SIZE},
                                        {PIECE + 1, SIZE},
                                        {0, SIZE},
                                        {SIZE + 1, SIZE + 2 * PAGE},
                                        {SIZE * 2UL, SIZE / 2},
                                        {2UL * PIECE, 3UL * PIECE - PAGE},
                                        {SIZE + PIECE, 5UL * SIZE}};
    for (unsigned piece = 0; piece < PIECES; piece++)
        for (int later = 0; later < 2; later++)
            for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                struct object o;
                open_region(&o, SIZE);
                store(&o, 0, SIZE, i);
                struct snapshot *s = begin_gated(&o, piece, later != 0);
                for (int j = 0; j < 2; j++) {
                    assert_int_equal(object_resize(&o, sizes[i][j]), OK);
                    if (sizes[i][j] > 0)
                        store(&o, 0, (size_t)sizes[i][j], i + 1);
                }
                clear_it(&o, SIZE);
                assert_int_equal(end_gated(&o, s), OK);
                copy_is_the_model();
                object_close(&o);
                unlink(folder_file(dir, "f"));
            }
}

static void truncation_at_any_moment_is_not_in_it(void **state)
{
    (void)state;
    struct object o;
    open_region(&o, SIZE);
    for (unsigned piece = 0; piece < PIECES; piece++)
        for (int later = 0; later < 2; later++) {
            store(&o, 0, SIZE, piece);
            struct snapshot *s = begin_gated(&o, piece, later != 0);
            clear_it(&o, SIZE);
            assert_int_equal(end_gated(&o, s), OK);
            copy_is_the_model();
        }
    object_close(&o);
}

/* The mapping of a small object moves when it gets longer than was reserved for it. */
static void the_mapping_may_move(void **state)
{
    (void)state;
    struct object o;
    open_region(&o, SIZE);
    store(&o, 0, SIZE, 1);
    struct snapshot *s = begin_gated(&o, 2, false);
    const uint8_t *at = o.map.at;
    assert_int_equal(object_resize(&o, (uint64_t)300 << 20), OK);
    assert_ptr_not_equal(o.map.at, at);
    store(&o, 0, SIZE, 2);
    assert_int_equal(end_gated(&o, s), OK);
    copy_is_the_model();
    object_close(&o);
}

static void the_descriptor_may_be_another(void **state)
{
    (void)state;
    struct object o;
    open_region(&o, SIZE);
    store(&o, 0, SIZE, 1);
    object_close(&o);
    struct opening opening = region_of(SIZE);
    opening.write = opening.create = opening.fit = false;
    opening.size = 0;
    assert_int_equal(try_attach(&o, &opening), OK);
    assert_false(o.map.writable);
    struct snapshot *s = begin(&o);
    opening = region_of(SIZE);
    assert_int_equal(try_attach(&o, &opening), OK);
    assert_true(o.map.writable);
    store(&o, 0, SIZE, 2);
    assert_int_equal(end(&o, s), OK);
    copy_is_the_model();
    object_close(&o);
}

/* Two threads without any gate. */
static void changes_without_end_are_not_in_it(void **state)
{
    (void)state;
    struct object o;
    unsigned changes = 0;
    open_region(&o, sizeof model);
    store(&o, 0, sizeof model, 0);
    srandom(1);
    for (unsigned round = 0; round < 20; round++) {
        struct snapshot *s = begin(&o);
        while (!snapshot_is_over(s)) {
            const uint64_t pos = (uint64_t)random() % (sizeof model - 3UL * PAGE);
            snapshot_wait(&o);
            store(&o, pos, (size_t)random() % (3UL * PAGE) + 1, round);
            changes++;
        }
        assert_int_equal(end(&o, s), OK);
        copy_is_the_model();
    }
    assert_true(changes > 20);
    object_close(&o);
}

/* --- room ------------------------------------------------------------------------------------ */

static void *open_gate_soon(void *arg)
{
    struct object *o = arg;
    while (snapshot_has_room(o)) {
    }
    open_gate();
    return NULL;
}

/* What is stored bit by bit is always saved; who asks, or stores much, waits for the thread. */
static void what_is_saved_is_bounded(void **state)
{
    (void)state;
    struct object o;
    pthread_t opener;
    enum { MUCH = SNAPSHOT_SAVED * PAGE };
    open_region(&o, sizeof model);
    store(&o, 0, sizeof model, 0);
    struct snapshot *s = begin_gated(&o, 0, false);
    for (uint64_t pos = 0; pos < MUCH; pos += PAGE) {
        assert_true(snapshot_has_room(&o));
        store(&o, pos, 1, 1);
    }
    assert_false(snapshot_has_room(&o));
    store(&o, 0, 1, 2); /* nobody waits whose page is saved already */
    assert_int_equal(pthread_create(&opener, NULL, open_gate_soon, &o), 0);
    snapshot_wait(&o);
    assert_true(snapshot_has_room(&o));
    store(&o, 0, sizeof model, 3);
    pthread_join(opener, NULL);
    assert_int_equal(end(&o, s), OK);
    os.read_at = real.read_at;
    copy_is_the_model();
    object_close(&o);
}

static void a_large_store_waits_for_room(void **state)
{
    (void)state;
    struct object o;
    pthread_t opener;
    open_region(&o, sizeof model);
    store(&o, 0, sizeof model, 0);
    struct snapshot *s = begin_gated(&o, 0, true);
    for (uint64_t pos = 0; pos < (uint64_t)SNAPSHOT_SAVED * PAGE; pos += SNAPSHOT_AT_ONCE)
        store(&o, pos, SNAPSHOT_AT_ONCE, 1);
    assert_false(snapshot_has_room(&o));
    assert_int_equal(object_resize(&o, 2 * sizeof model), OK); /* needs none */
    assert_int_equal(pthread_create(&opener, NULL, open_gate_soon, &o), 0);
    assert_int_equal(object_resize(&o, PAGE), OK);
    pthread_join(opener, NULL);
    assert_int_equal(end(&o, s), OK);
    os.read_at = real.read_at;
    copy_is_the_model();
    object_close(&o);
}

/* --- an early end ---------------------------------------------------------------------------- */

static void closing_gives_it_up(void **state)
{
    (void)state;
    for (unsigned piece = 0; piece < PIECES; piece++) {
        const struct held before = held_now();
        struct object o;
        open_region(&o, SIZE);
        store(&o, 0, SIZE, 0);
        /* the thread is held where it reads, and closing waits for that */
        struct snapshot *s = begin(&o);
        snapshot_hold(&o);
        const bool was_copied = snapshot_is_over(s);
        snapshot_let(&o);
        object_close(&o);
        const enum err e = end(&o, s);
        assert_true(e == OK || (e == ERR_CLOSED && !was_copied));
        assert_int_equal(new_names(), e == OK);
        if (e == OK)
            copy_is_the_model();
        held_as(before);
    }
}

static pthread_mutex_t turn_of = PTHREAD_MUTEX_INITIALIZER;

static ssize_t slow_write(int fd, const void *bytes, size_t n, off_t offset)
{
    pthread_mutex_lock(&turn_of);
    const ssize_t result = real.write_at(fd, bytes, n, offset);
    pthread_mutex_unlock(&turn_of);
    return result;
}

static void a_closed_object_is_not_read_any_more(void **state)
{
    (void)state;
    struct object o;
    open_region(&o, SIZE);
    store(&o, 0, SIZE, 0);
    os.write_at = slow_write;
    pthread_mutex_lock(&turn_of); /* the first piece is read, and not written */
    struct snapshot *s = begin(&o);
    object_close(&o);
    pthread_mutex_unlock(&turn_of);
    assert_int_equal(end(&o, s), ERR_CLOSED);
    assert_int_equal(new_names(), 0);
}

static void a_file_that_was_cut_is_the_end_of_it_only(void **state)
{
    (void)state;
    struct object o;
    open_region(&o, SIZE);
    store(&o, 0, SIZE, 0);
    struct snapshot *s = begin_gated(&o, 1, false);
    assert_int_equal(truncate(folder_file(dir, "f"), PIECE + 5), 0);
    assert_int_equal(end_gated(&o, s), ERR_EIO);
    assert_int_equal(new_names(), 0);
    assert_false(o.failed);
    store(&o, 0, PIECE, 1);
    object_close(&o);
}

/* A page that is about to be changed cannot be read: it cannot be stored into, either. */
static void a_page_that_cannot_be_saved_is_the_end_of_it(void **state)
{
    (void)state;
    struct object o;
    guard_install(); /* in the place of cmocka's handler */
    open_region(&o, SIZE);
    store(&o, 0, SIZE, 0);
    struct snapshot *s = begin_gated(&o, 0, false);
    assert_int_equal(truncate(folder_file(dir, "f"), PIECE), 0);
    snapshot_before(&o, 2UL * PIECE, 1);
    assert_true(snapshot_has_room(&o));
    assert_int_equal(truncate(folder_file(dir, "f"), SIZE), 0);
    assert_int_equal(end_gated(&o, s), ERR_EIO);
    assert_int_equal(new_names(), 0);
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

/* What cannot be unlinked stays. */
static bool may_stay(const char *failed, enum faults_how how)
{
    return how == FAULTS_FOR_EVER || (failed != NULL && strcmp(failed, "unlink") == 0);
}

static bool does_not_matter(const char *failed)
{
    return failed == NULL || strcmp(failed, "close") == 0 || strcmp(failed, "unlink") == 0 ||
           strcmp(failed, "write_back") == 0;
}

static void remove_new(void)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *entry; (entry = readdir(d)) != NULL;)
        if (strcmp(entry->d_name, "f") != 0)
            (void)unlink(folder_file(dir, entry->d_name));
    closedir(d);
}

/* The name of the call that failed, or NULL. */
static const char *snapshot_failing(struct object *o, unsigned n, enum faults_how how)
{
    struct snapshot *s = NULL;
    uint64_t size;
    memcpy(model, o->map.at, o->map.size);
    model_size = o->map.size;
    faults_arm(n, ENOSPC, how);
    enum err e = try_begin(o, &s);
    if (e == OK) {
        store(o, SIZE / 2, PAGE, n);
        e = snapshot_end(o, s, &size);
    }
    const char *failed = faults_disarm();
    assert_null(o->snapshot);
    assert_false(o->failed);
    if (how == FAULTS_SHORT)
        assert_int_equal(e, OK);
    else if (how != FAULTS_FOR_EVER || failed == NULL)
        assert_int_equal(e, does_not_matter(failed) ? OK : ERR_ENOSPC);
    if (e == OK) {
        copy_is_the_model();
    } else if (!may_stay(failed, how)) {
        assert_int_equal(new_names(), 0);
    } else {
        assert_true(new_names() <= 2);
    }
    remove_new();
    store(o, 0, SIZE, n);
    return failed;
}

static void whatever_fails_it_is_whole_or_not_there(void **state)
{
    (void)state;
    struct object o;
    open_region(&o, SIZE);
    store(&o, 0, SIZE, 0);
    for (int named = 0; named < 2; named++)
        for (int how = FAULTS_ONCE; how <= FAULTS_SHORT; how++) {
            os.open_unnamed = named ? no_unnamed : real.open_unnamed;
            faults_install();
            unsigned n = 1;
            const struct held before = held_now();
            while (snapshot_failing(&o, n, (enum faults_how)how) != NULL)
                n++;
            assert_true(n > (how >= FAULTS_MOVES ? PIECES : 2 * PIECES));
            assert_int_equal(held_now().descriptors, before.descriptors);
            (void)faults_end();
        }
    object_close(&o);
}

/* --- kinds ----------------------------------------------------------------------------------- */

static void copy_opens(struct object *o, enum object_kind kind)
{
    *o = (struct object){.map.fd = -1};
    struct opening opening = opening_of(folder_file(dir, "to"), kind, false);
    opening.create = opening.fit = false;
    opening.size = opening.n = 0;
    assert_int_equal(try_attach(o, &opening), OK);
}

static void counters_are_all_of_one_time(void **state)
{
    (void)state;
    enum { N = 50000 };
    struct object o;
    struct object copy;
    struct opening opening = opening_of(folder_file(dir, "f"), OBJECT_COUNTERS, false);
    opening.n = N;
    o = (struct object){.map.fd = -1};
    assert_int_equal(try_attach(&o, &opening), OK);
    for (uint64_t i = 0; i < N; i += 100)
        add(&o, i, (int64_t)i);
    struct snapshot *s = begin(&o);
    for (uint64_t i = 0; i < N; i += 100)
        add(&o, i, 1);
    assert_int_equal(counter_grow(&o, 2 * (uint64_t)N), OK);
    add(&o, N, 1);
    assert_int_equal(end(&o, s), OK);
    copy_opens(&copy, OBJECT_COUNTERS);
    assert_int_equal(copy.count, N);
    for (uint64_t i = 0; i < N; i += 100)
        assert_int_equal(value(&copy, i), i);
    object_close(&copy);
    copy_is_the_model();
    object_close(&o);
}

static void blocks_are_all_of_one_time(void **state)
{
    (void)state;
    enum { N = 200, B = 1000 };
    struct object o;
    uint64_t addresses[N];
    uint8_t block[B];
    bool there;
    open_region(&o, 0);
    struct store_change change = {.make = true, .size = B, .now_ms = NOW_MS, .node = "a@b"};
    assert_int_equal(object_become_store(&o, &change), OK);
    while (block_find(&o, N, true, addresses) == ERR_FULL)
        assert_int_equal(block_grow(&o, 64 << 20), OK);
    for (unsigned i = 0; i < N; i += 2) {
        memset(block, (int)i, B);
        assert_int_equal(block_put(&o, addresses[i], block), OK);
    }
    struct snapshot *s = begin_gated(&o, 1, false);
    for (unsigned i = 0; i < N; i++) {
        memset(block, 255, B);
        if (i % 2 == 0)
            assert_int_equal(block_free(&o, addresses[i], true, &there), OK);
        assert_int_equal(block_put(&o, addresses[i], block), OK);
    }
    assert_int_equal(end_gated(&o, s), OK);
    object_close(&o);
    struct object copy;
    copy_opens(&copy, OBJECT_REGION);
    change.make = false;
    assert_int_equal(object_become_store(&copy, &change), OK);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(block_read(&copy, addresses[i], true, block, &there), OK);
        assert_int_equal(there, i % 2 == 0);
        if (there)
            assert_true(block[0] == (uint8_t)i && memcmp(block, block + 1, B - 1) == 0);
    }
    object_close(&copy);
}

static const struct turn now = {.now_ms = NOW_MS, .may_wait = true};

static void push(struct object *o, unsigned from, unsigned to, size_t len)
{
    uint8_t *bytes = calloc(1, len);
    uint64_t seq;
    assert_non_null(bytes);
    for (unsigned i = from; i < to; i++) {
        memcpy(bytes, &i, sizeof i);
        const struct span item = span_of(bytes, len);
        assert_int_equal(queue_push(o, &now, &item, 1, &seq), OK);
    }
    free(bytes);
}

static void checkpoint(struct object *o)
{
    enum checkpoint next = checkpoint_go(o, now.now_ms + 100000, true);
    while (next != CHECKPOINT_REST) {
        checkpoint_run(o);
        next = checkpoint_go(o, now.now_ms + 100000, false);
    }
}

/* The next item's number. */
static unsigned pop(struct object *o)
{
    struct record r;
    unsigned i;
    enum err e = queue_front(o, &now, &r);
    if (e == ERR_CHECKPOINT) {
        checkpoint(o);
        e = queue_front(o, &now, &r);
    }
    if (e == ERR_EMPTY)
        return UINT32_MAX;
    assert_int_equal(e, OK);
    memcpy(&i, r.bytes.at, sizeof i);
    assert_int_equal(queue_pop(o, &now, &r), OK);
    return i;
}

static void copy_has_items(unsigned from, unsigned to)
{
    struct object copy;
    copy_opens(&copy, OBJECT_QUEUE);
    for (unsigned i = from; i < to; i++)
        assert_int_equal(pop(&copy), i);
    assert_int_equal(pop(&copy), UINT32_MAX);
    object_close(&copy);
}

/* At each piece: items come and go, and the space of those that have gone is used again. */
static void a_queue_is_of_one_time(void **state)
{
    (void)state;
    enum { ITEMS = 200, LONG = 9000 };
    for (unsigned piece = 0; piece < 24; piece += 3) {
        struct object o;
        assert_int_equal(try_open(&o, "f", OBJECT_QUEUE, false), OK);
        push(&o, 0, ITEMS, LONG);
        for (unsigned i = 0; i < ITEMS / 4; i++)
            assert_int_equal(pop(&o), i);
        checkpoint(&o);
        struct snapshot *s = begin_gated(&o, piece, piece % 2 == 0);
        const uint64_t size = o.map.size;
        for (unsigned i = ITEMS / 4; i < ITEMS; i++) {
            assert_int_equal(pop(&o), i);
            push(&o, ITEMS + i, ITEMS + i + 1, LONG / 2);
            if (i % 20 == 0)
                checkpoint(&o);
        }
        for (unsigned i = ITEMS + ITEMS / 4; i < 2 * ITEMS; i++)
            assert_int_equal(pop(&o), i);
        checkpoint(&o);
        assert_true(o.map.size >= size); /* nothing is cut off */
        assert_int_equal(checkpoint_due(&o), 0);
        assert_int_equal(end_gated(&o, s), OK);
        copy_has_items(ITEMS / 4, ITEMS);
        /* and what was held back is due */
        assert_int_equal(checkpoint_due(&o), 1);
        checkpoint(&o);
        assert_true(o.map.size < size);
        object_close(&o);
        unlink(folder_file(dir, "f"));
        unlink(folder_file(dir, "to"));
    }
}

/* --- durable --------------------------------------------------------------------------------- */

/* What it shows has been acknowledged by then, or nobody hears of it. */
static void a_snapshot_shows_only_what_is_durable(void **state)
{
    (void)state;
    struct object o;
    struct mark mark;
    start();
    open_durable(&o, "f", OBJECT_COUNTERS);
    add(&o, 3, 7);
    const uint64_t group = object_group(&o);
    assert_int_equal(journal_look(journal, group), ERR_WAIT);
    assert_int_equal(end(&o, begin(&o)), OK);
    assert_int_equal(journal_look(journal, group), OK);
    assert_int_equal(mark_of("f", &mark), OK);
    assert_int_equal(mark_of("to", &mark), ERR_ENOENT); /* it is a plain file */
    struct object copy;
    copy_opens(&copy, OBJECT_COUNTERS);
    assert_null(copy.durable);
    assert_int_equal(value(&copy, 3), 7);
    object_close(&copy);
    copy_is_the_model();
    object_close(&o);
}

static void nobody_sees_what_did_not_become_durable(void **state)
{
    (void)state;
    struct object o;
    start();
    open_durable(&o, "f", OBJECT_COUNTERS);
    add(&o, 3, 7);
    os.sync = sync_fails;
    assert_int_equal(end(&o, begin(&o)), ERR_EIO);
    os.sync = real.sync;
    assert_int_equal(new_names(), 0);
    let_go(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALONE(a_snapshot_is_the_object_with_its_mode),
        ALONE(what_is_empty_stays_a_hole),
        ALONE(what_is_no_file_is_copied_too),
        ALONE(nothing_is_overwritten),
        ALONE(one_at_a_time_of_an_object_and_few_of_all),
        ALONE(changes_at_any_moment_are_not_in_it),
        ALONE(other_sizes_at_any_moment_are_not_in_it),
        ALONE(truncation_at_any_moment_is_not_in_it),
        ALONE(the_mapping_may_move),
        ALONE(the_descriptor_may_be_another),
        ALONE(changes_without_end_are_not_in_it),
        ALONE(what_is_saved_is_bounded),
        ALONE(a_large_store_waits_for_room),
        ALONE(closing_gives_it_up),
        ALONE(a_closed_object_is_not_read_any_more),
        ALONE(a_file_that_was_cut_is_the_end_of_it_only),
        ALONE(a_page_that_cannot_be_saved_is_the_end_of_it),
        ALONE(whatever_fails_it_is_whole_or_not_there),
        ALONE(counters_are_all_of_one_time),
        ALONE(blocks_are_all_of_one_time),
        ALONE(a_queue_is_of_one_time),
        BOTH(a_snapshot_shows_only_what_is_durable),
        BOTH(nobody_sees_what_did_not_become_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
