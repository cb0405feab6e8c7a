/* Durable objects in a directory of their own, with a journal whose halves are full soon; and the
 * daemon's end without a word. */
#ifndef STORE_DURABLES_H
#define STORE_DURABLES_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/counter.h"
#include "store/journal.h"
#include "store/queue.h"
#include "store/region.h"
#include "store/replay.h"
#include "support/check.h"
#include "support/folder.h"
#include "sys/os.h"

static const struct journal_limits small = {
    .page = 512, .half = 64 << 10, .group = 8 << 10, .piece = 2 << 10};

static const struct journal_limits *limits = &small;

enum { NOW_MS = 1000000000 };
static const uint64_t REGION = 8192;

static char *dir;
static struct paths *paths;
static struct os real;
static struct journal *journal;
static bool with_threads;

static inline int setup(void **state)
{
    static const char *const none[] = {NULL};
    with_threads = *state != NULL;
    dir = folder_make();
    real = os;
    journal = NULL;
    return paths_open(dir, none, &paths) == OK ? 0 : -1;
}

static inline int teardown(void **state)
{
    (void)state;
    os = real;
    journal_free(journal);
    paths_close(paths);
    folder_remove(dir);
    return 0;
}

/* As a test of its own each: without threads, and with. */
static int threads;
#define ALONE(name)    cmocka_unit_test_prestate_setup_teardown(name, setup, teardown, NULL)
#define THREADED(name) cmocka_unit_test_prestate_setup_teardown(name, setup, teardown, &threads)
#define BOTH(name)     ALONE(name), THREADED(name)

static inline struct journal *journal_in(const char *data_dir, bool adopts)
{
    const struct journal_options options = {.data_dir = data_dir,
                                            .paths = paths,
                                            .limits = limits,
                                            .node = "a@b",
                                            .adopts = adopts,
                                            .threads = with_threads};
    struct journal *j = journal_new(&options);
    assert_non_null(j);
    return j;
}

static inline enum err try_start(char why[JOURNAL_WHY])
{
    journal = journal_in(dir, false);
    return journal_start(journal, why);
}

static inline void start(void)
{
    char why[JOURNAL_WHY];
    assert_int_equal(try_start(why), OK);
}

static inline void stop(void)
{
    journal_free(journal);
    journal = NULL;
}

/* The object is gone as it would be with its daemon: its file is left as it is. */
static inline void let_go(struct object *o)
{
    o->durable = NULL;
    o->failed = true;
    object_close(o);
}

/* The daemon's end without a word; the locks go with its descriptors. */
static inline void kill_all(struct object *const *objects, size_t n)
{
    stop();
    for (size_t i = 0; i < n; i++)
        let_go(objects[i]);
}

#define KILL(...)                                                                                  \
    kill_all((struct object *[]){__VA_ARGS__},                                                     \
             sizeof((struct object *[]){__VA_ARGS__}) / sizeof(struct object *))

static inline enum err try_attach(struct object *object, struct opening *o)
{
    enum err e = object_find(paths, o);
    return e != OK ? e : object_attach(object, o);
}

/* A region has REGION bytes, counters are eight. */
static inline struct opening opening_of(const char *path, enum object_kind kind, bool sync)
{
    static const struct queue_change durable = {.given = QUEUE_DURABLE, .to.durable = true};
    static const struct queue_change nothing;
    return (struct opening){.path = path,
                            .kind = kind,
                            .sharing = MAP_OF_FILE,
                            .write = true,
                            .create = true,
                            .any_file_system = true,
                            .mode = 0600,
                            .fit = kind == OBJECT_REGION,
                            .size = kind == OBJECT_REGION ? REGION : 0,
                            .n = kind == OBJECT_COUNTERS ? 8 : 0,
                            .queue = sync ? &durable : &nothing,
                            .now_ms = NOW_MS,
                            .node = "a@b",
                            .journal = journal,
                            .durable = sync && kind != OBJECT_QUEUE,
                            .fd = -1};
}

static inline enum err try_again(struct object *object, const char *name, enum object_kind kind,
                                 bool sync)
{
    struct opening o = opening_of(folder_file(dir, name), kind, sync);
    return try_attach(object, &o);
}

static inline enum err try_open(struct object *object, const char *name, enum object_kind kind,
                                bool sync)
{
    *object = (struct object){.map.fd = -1};
    return try_again(object, name, kind, sync);
}

static inline void open_durable(struct object *object, const char *name, enum object_kind kind)
{
    assert_int_equal(try_open(object, name, kind, true), OK);
    assert_non_null(object->durable);
}

static inline void commit(const struct object *object)
{
    assert_int_equal(journal_wait(journal, object_group(object)), OK);
}

static inline void add(struct object *counters, uint64_t i, int64_t n)
{
    int64_t old;
    assert_int_equal(counter_put(counters, i, WORD_ADD, n, &old), OK);
}

static inline int64_t value(struct object *counters, uint64_t i)
{
    int64_t v = -1;
    assert_int_equal(counter_get(counters, i, &v), OK);
    return v;
}

static inline void fill(struct object *region, uint64_t pos, int byte, size_t len)
{
    static uint8_t bytes[16384];
    must(len <= sizeof bytes);
    memset(bytes, byte, len);
    assert_int_equal(region_write(region, pos, bytes, len), OK);
}

static inline void assert_filled(struct object *region, uint64_t pos, int byte, size_t len)
{
    static uint8_t seen[16384];
    uint8_t bytes[16384];
    must(len <= sizeof seen);
    memset(bytes, byte, len);
    assert_int_equal(region_read(region, pos, seen, len), OK);
    assert_memory_equal(seen, bytes, len);
}

/* As a power cut would leave it, had the disk been slow: the file as it was. */
static inline void overwrite(const char *name, const void *bytes, size_t len, off_t at)
{
    const int fd = open(folder_file(dir, name), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, bytes, len, at) == (ssize_t)len);
    close(fd);
}

static inline void lose_counter(const char *name, uint64_t i)
{
    static const int64_t zero;
    overwrite(name, &zero, sizeof zero, (off_t)counter_file_size(i));
}

static inline enum err mark_of(const char *name, struct mark *m)
{
    const int fd = open(folder_file(dir, name), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    enum err e = mark_read(fd, m);
    close(fd);
    return e;
}

/* Fills halves until the generation is another one; the object has 8 counters. */
static inline void turn_with(struct object *counters)
{
    struct journal_info before;
    struct journal_info now;
    journal_look_at(journal, &before);
    do {
        add(counters, 7, 1);
        commit(counters);
        journal_look_at(journal, &now);
    } while (now.generation == before.generation);
}

static inline void count_kept(void *arg, const char *name)
{
    *(unsigned *)arg += strncmp(name, "kept-", 5) == 0;
}

static inline unsigned kept_files(void)
{
    unsigned n = 0;
    const int fd = open(folder_file(dir, ".emmap"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0 && real.list(fd, count_kept, &n) == 0);
    close(fd);
    return n;
}

#endif
