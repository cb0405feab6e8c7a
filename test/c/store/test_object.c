/* Opening: new files whole or not there, existing ones fitted or untouched, with every call failing
 * and with other programs at the same file. */
#include "store/object.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "store/counter.h"
#include "store/queue.h"
#include "store/region.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/os.h"

static char *dir;
static char path[PATH_MAX]; /* of the file that the tests open */
static struct paths *paths;
static struct os real;

static int setup(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    dir = folder_make();
    real = os;
    snprintf(path, sizeof path, "%s", folder_file(dir, "f"));
    return paths_open(dir, none, &paths) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    os = real;
    paths_close(paths);
    folder_remove(dir);
    return 0;
}

static struct opening a_region(uint64_t len)
{
    return (struct opening){.path = path,
                            .kind = OBJECT_REGION,
                            .sharing = MAP_OF_FILE,
                            .write = true,
                            .create = true,
                            .any_file_system = true,
                            .mode = 0640,
                            .len = len,
                            .fd = -1};
}

static struct opening a_set_of_counters(uint64_t n)
{
    struct opening o = a_region(0);
    o.kind = OBJECT_COUNTERS;
    o.n = n;
    o.create = n > 0;
    return o;
}

static enum err open_object(struct object *object, struct opening *o)
{
    enum err e = object_find(paths, o);
    return e != OK ? e : object_attach(object, o);
}

/* Opens and closes. */
static enum err try_object(struct opening o)
{
    struct object object = {.map.fd = -1};
    enum err e = open_object(&object, &o);
    assert_int_equal(o.fd, -1);
    object_close(&object);
    return e;
}

static void write_file(const void *bytes, size_t len)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

static void file_is(const void *bytes, size_t len)
{
    static char seen[65536];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, seen, sizeof seen), len);
    close(fd);
    assert_memory_equal(seen, bytes, len);
}

static void file_has(uint64_t size)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, size);
}

static unsigned names_in_directory(void)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *entry; (entry = readdir(d)) != NULL;)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(d);
    return n;
}

static bool always_local(int fd)
{
    return fd >= 0;
}

static bool never_local(int fd)
{
    (void)fd;
    return false;
}

static int no_unnamed(int at, mode_t mode)
{
    (void)at;
    (void)mode;
    errno = ENOTSUP;
    return -1;
}

/* --- new files ------------------------------------------------------------------------------- */

static void a_new_region_is_there_with_its_space(struct opening o)
{
    struct object object = {.map.fd = -1};
    struct stat st;
    assert_int_equal(object_find(paths, &o), OK);
    assert_false(o.exist);
    assert_int_equal(stat(path, &st), 0);
    assert_true(o.dev == st.st_dev && o.ino == st.st_ino);
    assert_int_equal(st.st_size, 5000);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_nlink, 1);
    assert_true(st.st_blocks * 512 >= 5000);
    assert_int_equal(object_attach(&object, &o), OK);
    assert_int_equal(o.fd, -1);
    assert_int_equal(object.kind, OBJECT_REGION);
    assert_int_equal(object.map.size, 5000);
    assert_true(object.dev == st.st_dev && object.ino == st.st_ino);
    assert_int_equal(region_write(&object, 4999, "x", 1), OK);
    object_close(&object);
    assert_int_equal(object.kind, OBJECT_CLOSED);
    assert_int_equal(names_in_directory(), 1);
}

static void a_new_region_is_whole(void **state)
{
    (void)state;
    const struct held before = held_now();
    const mode_t mask = umask(077);
    a_new_region_is_there_with_its_space(a_region(5000));
    assert_int_equal(unlink(path), 0);
    os.open_unnamed = no_unnamed; /* and by way of a name for the time being */
    a_new_region_is_there_with_its_space(a_region(5000));
    umask(mask);
    held_as(before);
}

static void new_counters_have_their_header(void **state)
{
    (void)state;
    struct object object = {.map.fd = -1};
    struct opening o = a_set_of_counters(2);
    assert_int_equal(open_object(&object, &o), OK);
    assert_false(o.exist);
    assert_int_equal(object.count, 2);
    file_is("EMMAP01\n\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32);
    object_close(&object);
}

static void what_is_not_to_be_made_is_not_there(void **state)
{
    (void)state;
    struct opening o = a_region(100);
    o.create = false;
    assert_int_equal(try_object(o), ERR_ENOENT);
    assert_int_equal(try_object(a_set_of_counters(0)), ERR_ENOENT);
    o = a_region(100);
    o.offset = 101;
    assert_int_equal(try_object(o), ERR_BADARG);
    o = a_region((uint64_t)INT64_MAX + 1);
    assert_int_equal(try_object(o), ERR_EFBIG);
    assert_int_equal(names_in_directory(), 0);
}

/* Is the new file there as a whole? False where it is not there. */
static bool made_whole(const struct opening *o)
{
    uint8_t header[COUNTER_HEADER];
    if (access(path, F_OK) != 0)
        return false;
    file_has(o->kind == OBJECT_COUNTERS ? counter_file_size(o->n) : o->len);
    counter_header(o->n, header);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t seen[COUNTER_HEADER] = {0};
    assert_int_equal(pread(fd, seen, sizeof seen, 0), sizeof seen);
    close(fd);
    if (o->kind == OBJECT_COUNTERS)
        assert_memory_equal(seen, header, sizeof header);
    return true;
}

static void empty_directory(void)
{
    DIR *d = opendir(dir);
    must(d != NULL);
    for (const struct dirent *entry; (entry = readdir(d)) != NULL;)
        (void)unlink(folder_file(dir, entry->d_name));
    closedir(d);
    assert_int_equal(names_in_directory(), 0);
}

static bool is_one_of(const char *name, const char *a, const char *b)
{
    return strcmp(name, a) == 0 || strcmp(name, b) == 0;
}

/* Makes the file with the n-th call failing, for every n. */
static void sweep_making(struct opening what)
{
    const struct held before = held_now();
    const char *failed = "";
    for (unsigned n = 1; failed != NULL; n++) {
        struct opening o = what;
        faults_begin(n, EDQUOT);
        enum err e = object_find(paths, &o);
        failed = faults_end();
        assert_int_equal(o.fd >= 0, e == OK);
        object_drop(&o);
        held_as(before);
        if (failed == NULL || is_one_of(failed, "close", "unlink"))
            assert_int_equal(e, OK);
        else
            assert_int_equal(e, strcmp(failed, "is_local") == 0 ? ERR_ENOTSUP : ERR_EDQUOT);
        const bool there = made_whole(&what);
        assert_true(there || e != OK);
        /* what cannot be unlinked keeps its odd name */
        const bool left = failed != NULL && strcmp(failed, "unlink") == 0;
        assert_int_equal(names_in_directory(), there + left);
        empty_directory();
    }
}

static void a_new_file_is_whole_or_not_there(void **state)
{
    (void)state;
    for (int named = 0; named < 2; named++) {
        struct opening o = a_region(5000);
        os.is_local = always_local;
        os.open_unnamed = named ? no_unnamed : real.open_unnamed;
        o.any_file_system = false;
        sweep_making(o);
        o = a_set_of_counters(1000);
        o.any_file_system = false;
        sweep_making(o);
    }
}

static char steps[16]; /* f: a file was synced, d: a directory, l: a name was given */

static void step(char what)
{
    const size_t n = strlen(steps);
    must(n + 1 < sizeof steps);
    steps[n] = what;
}

static int sync_all_seen(int fd)
{
    struct stat st;
    must(fstat(fd, &st) == 0);
    step(S_ISDIR(st.st_mode) ? 'd' : 'f');
    return real.sync_all(fd);
}

static int link_unnamed_seen(int fd, int at, const char *name)
{
    step('l');
    return real.link_unnamed(fd, at, name);
}

static int link_seen(int at, const char *from, const char *to)
{
    step('l');
    return real.link(at, from, to);
}

static void a_new_file_is_on_disk_before_its_name_is(void **state)
{
    (void)state;
    os.sync_all = sync_all_seen;
    os.link_unnamed = link_unnamed_seen;
    os.link = link_seen;
    for (int named = 0; named < 2; named++) {
        os.open_unnamed = named ? no_unnamed : real.open_unnamed;
        memset(steps, 0, sizeof steps);
        assert_int_equal(try_object(a_region(100)), OK);
        assert_string_equal(steps, "fld");
        assert_int_equal(try_object(a_region(100)), OK); /* it is there */
        assert_string_equal(steps, "fld");
        empty_directory();
    }
}

/* --- two at once ----------------------------------------------------------------------------- */

static unsigned faster;

/* Another program has made the file just before. */
static int link_unnamed_late(int fd, int at, const char *name)
{
    if (faster-- > 0)
        write_file("theirs", 6);
    return real.link_unnamed(fd, at, name);
}

static int link_late(int at, const char *from, const char *to)
{
    if (faster-- > 0)
        write_file("theirs", 6);
    return real.link(at, from, to);
}

static void who_comes_second_finds_the_file_of_the_first(void **state)
{
    (void)state;
    const struct held before = held_now();
    for (int named = 0; named < 2; named++) {
        struct opening o = a_region(5000);
        os.link_unnamed = link_unnamed_late;
        os.link = link_late;
        os.open_unnamed = named ? no_unnamed : real.open_unnamed;
        faster = 1;
        assert_int_equal(object_find(paths, &o), OK);
        assert_true(o.exist);
        object_drop(&o);
        file_is("theirs", 6);
        assert_int_equal(names_in_directory(), 1);
        empty_directory();
    }
    held_as(before);
}

static int link_and_lose(int fd, int at, const char *name)
{
    (void)fd;
    (void)at;
    (void)name;
    faster++;
    errno = EEXIST; /* and who made it has removed it again */
    return -1;
}

static void who_never_finds_it_gives_up(void **state)
{
    (void)state;
    const struct held before = held_now();
    struct opening o = a_region(10);
    os.link_unnamed = link_and_lose;
    faster = 0;
    assert_int_equal(object_find(paths, &o), ERR_ENOENT);
    assert_true(faster > 1);
    assert_int_equal(o.fd, -1);
    held_as(before);
}

/* --- files that are there -------------------------------------------------------------------- */

/* A file of 100 bytes, what is asked of it, and what comes of it. */
static const struct {
    uint64_t len, size, offset;
    bool write, truncate, fit;
    enum map_sharing sharing;
    enum err err;
    uint64_t mapped, file;
} sizes[] = {
    {.write = true, .mapped = 100, .file = 100},
    {.len = 100, .write = true, .mapped = 100, .file = 100},
    {.len = 100, .mapped = 100, .file = 100},
    {.len = 101, .write = true, .err = ERR_SIZE_MISMATCH, .file = 100},
    {.len = 99, .write = true, .err = ERR_SIZE_MISMATCH, .file = 100},
    {.len = 101, .err = ERR_SIZE_MISMATCH, .file = 100},
    {.size = 5000, .write = true, .mapped = 100, .file = 100}, /* of new files only */
    {.len = 5000, .write = true, .fit = true, .mapped = 5000, .file = 5000},
    {.size = 5000, .write = true, .fit = true, .mapped = 5000, .file = 5000},
    {.len = 50, .write = true, .fit = true, .mapped = 100, .file = 100},
    {.len = 5000, .fit = true, .err = ERR_EACCES, .file = 100},
    {.len = 5000, .write = true, .truncate = true, .mapped = 5000, .file = 5000},
    {.len = 50, .write = true, .truncate = true, .mapped = 50, .file = 50},
    {.write = true, .truncate = true, .mapped = 0, .file = 0},
    {.truncate = true, .err = ERR_EACCES, .file = 100},
    {.offset = 100, .write = true, .mapped = 100, .file = 100},
    {.offset = 101, .write = true, .err = ERR_BADARG, .file = 100},
    {.offset = 51, .len = 50, .write = true, .truncate = true, .err = ERR_BADARG, .file = 100},
    {.offset = UINT64_MAX, .write = true, .err = ERR_BADARG, .file = 100},
    {.len = (uint64_t)1 << 60, .write = true, .fit = true, .err = ERR_EFBIG, .file = 100},
    {.len = 5000, .write = true, .fit = true, .sharing = MAP_COPY, .mapped = 5000, .file = 100},
    {.len = 101, .write = true, .sharing = MAP_COPY, .err = ERR_SIZE_MISMATCH, .file = 100},
    {.sharing = MAP_COPY, .mapped = 100, .file = 100},
    {.len = 300, .write = true, .sharing = MAP_MEMORY, .mapped = 300, .file = 100},
    {.offset = 301,
     .len = 300,
     .write = true,
     .sharing = MAP_MEMORY,
     .err = ERR_BADARG,
     .file = 100},
};

static void a_file_is_fitted_or_untouched(void **state)
{
    (void)state;
    const struct held before = held_now();
    char bytes[100];
    memset(bytes, 'f', sizeof bytes);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct object object = {.map.fd = -1};
        struct opening o = a_region(sizes[i].len);
        o.size = sizes[i].size;
        o.offset = sizes[i].offset;
        o.write = sizes[i].write;
        o.truncate = sizes[i].truncate;
        o.fit = sizes[i].fit;
        o.sharing = sizes[i].sharing;
        write_file(bytes, sizeof bytes);
        enum err e = open_object(&object, &o);
        if (e != sizes[i].err)
            fail_msg("row %zu: %s", i, err_text(e));
        assert_int_equal(object.map.size, sizes[i].mapped);
        file_has(sizes[i].file);
        if (e == ERR_SIZE_MISMATCH)
            assert_true(o.actual == 100 && o.wanted == sizes[i].len);
        const bool emptied = sizes[i].truncate || sizes[i].sharing == MAP_MEMORY;
        for (uint64_t at = 0; at < object.map.size; at++)
            assert_int_equal(object.map.at[at], at < 100 && !emptied ? 'f' : 0);
        object_close(&object);
        if (sizes[i].file == 100)
            file_is(bytes, sizeof bytes);
        held_as(before);
    }
}

static void only_regular_files_are_opened(void **state)
{
    (void)state;
    const struct held before = held_now();
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(try_object(a_region(100)), ERR_NOT_REGULAR);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(try_object(a_region(100)), ERR_NOT_REGULAR);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_int_equal(try_object(a_region(100)), ERR_ENOENT);
    assert_int_equal(names_in_directory(), 1);
    held_as(before);
}

/* Files that begin as no file of counters does. */
static const struct {
    const char *bytes;
    size_t len;
} damaged[] = {
    {"", 0},
    {"E", 1},
    {"EMMAP01\n", 8},
    {"EMMAP01\n\0\0\0\0\0\0\0", 15},
    {"EMMAP02\n\0\0\0\0\0\0\0\0", 16},
    {"hello, this is a plain file", 27},
    {"EMMAP01\n\2\0\0\0\0\0\0\0valuevaluevalu", 30},
    {"EMMAP01\n\377\377\377\377\377\377\377\377valuevaluevaluev", 32},
    {"EMMAP01\n\0\0\0\0\0\0\0\040valuevaluevaluev", 32}, /* 2^61: 8 n is 0 */
};

static void damaged_counters_are_shown_and_untouched(void **state)
{
    (void)state;
    const struct held before = held_now();
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        static const uint64_t wanted[] = {0, 1, 5000};
        for (size_t k = 0; k < 3; k++) {
            struct object object = {.map.fd = -1};
            struct opening o = a_set_of_counters(wanted[k]);
            write_file(damaged[i].bytes, damaged[i].len);
            assert_int_equal(open_object(&object, &o), ERR_FILE_HEADER);
            assert_int_equal(o.header_len, damaged[i].len < 8 ? damaged[i].len : 8);
            assert_memory_equal(o.header, damaged[i].bytes, o.header_len);
            file_is(damaged[i].bytes, damaged[i].len);
        }
    }
    held_as(before);
}

static void a_name_opens_counters_and_nothing_else(void **state)
{
    (void)state;
    struct object object = {.map.fd = -1};
    struct opening o = a_region(0);
    o.by_name = true;
    o.create = false;
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        write_file(damaged[i].bytes, damaged[i].len);
        assert_int_equal(try_object(o), ERR_NOT_OPEN);
        file_is(damaged[i].bytes, damaged[i].len);
    }
    write_file("EMMAP01\n\1\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0", 24);
    assert_int_equal(open_object(&object, &o), OK);
    assert_int_equal(object.kind, OBJECT_COUNTERS);
    assert_int_equal(object.count, 1);
    object_close(&object);
}

static void counters_grow_to_what_is_asked_for(void **state)
{
    (void)state;
    static const uint64_t rows[][2] = {{3, 3}, {0, 3}, {2, 3}, {1000, 1000}, {5, 1000}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct object object = {.map.fd = -1};
        struct opening o = a_set_of_counters(rows[i][0]);
        int64_t v;
        assert_int_equal(open_object(&object, &o), OK);
        assert_int_equal(o.exist, i > 0);
        assert_int_equal(object.count, rows[i][1]);
        assert_int_equal(counter_put(&object, 2, WORD_ADD, 1, &v), OK);
        assert_int_equal(v, i);
        object_close(&object);
    }
}

/* --- other programs -------------------------------------------------------------------------- */

static void what_another_program_holds_is_locked(void **state)
{
    (void)state;
    const struct held before = held_now();
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct opening copy = a_region(0);
    struct opening reader = a_region(0);
    copy.sharing = MAP_COPY;
    reader.write = reader.create = false;
    write_file("theirs", 6);
    const int other = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fcntl(other, F_OFD_SETLK, &whole), 0);
    assert_int_equal(try_object(a_region(0)), ERR_LOCKED);
    assert_int_equal(try_object(reader), ERR_LOCKED);
    assert_int_equal(try_object(a_set_of_counters(2)), ERR_LOCKED);
    assert_int_equal(try_object(copy), OK);
    file_is("theirs", 6);
    close(other);
    assert_int_equal(try_object(a_region(0)), OK);
    held_as(before);
}

static void our_files_are_held_against_others(void **state)
{
    (void)state;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct object first = {.map.fd = -1}, second = {.map.fd = -1};
    struct opening o = a_region(100);
    assert_int_equal(open_object(&first, &o), OK);
    o = a_region(100);
    assert_int_equal(open_object(&second, &o), OK); /* shared among ourselves */
    object_close(&second);
    const int other = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fcntl(other, F_OFD_SETLK, &whole), -1);
    object_close(&first);
    assert_int_equal(fcntl(other, F_OFD_SETLK, &whole), 0);
    close(other);
}

static void file_systems_that_promise_nothing_are_refused(void **state)
{
    (void)state;
    struct opening o = a_region(100);
    os.is_local = never_local;
    o.any_file_system = false;
    assert_int_equal(try_object(o), ERR_ENOTSUP);
    assert_int_equal(names_in_directory(), 0);
    write_file("here", 4);
    assert_int_equal(try_object(o), ERR_ENOTSUP);
    file_is("here", 4);
    o.any_file_system = true;
    o.len = 0;
    assert_int_equal(try_object(o), OK);
}

/* --- the same file once more ----------------------------------------------------------------- */

static struct object opened(struct opening o)
{
    struct object object = {.map.fd = -1};
    assert_int_equal(open_object(&object, &o), OK);
    return object;
}

static void a_second_opening_changes_the_first_mapping(void **state)
{
    (void)state;
    const struct held before = held_now();
    struct opening o = a_region(0);
    char byte = 'x';
    write_file("0123456789", 10);
    o.write = o.create = false;
    struct object object = opened(o);
    const uint8_t *at = object.map.at;
    assert_int_equal(object_writable(&object), ERR_EACCES);

    o = a_region(5000);
    o.fit = true;
    assert_int_equal(open_object(&object, &o), OK);
    assert_ptr_equal(object.map.at, at);
    assert_int_equal(object.map.size, 5000);
    assert_int_equal(object_writable(&object), OK);
    assert_memory_equal(object.map.at, "0123456789\0", 11);

    o = a_region(20);
    o.truncate = true;
    assert_int_equal(open_object(&object, &o), OK);
    assert_int_equal(object.map.size, 20);
    assert_int_equal(region_read(&object, 0, &byte, 1), OK);
    assert_int_equal(byte, 0);
    assert_int_equal(truncate(path, 3000), 0); /* by another program */
    o = a_region(0);
    assert_int_equal(open_object(&object, &o), OK);
    assert_int_equal(object.map.size, 3000);
    object_close(&object);
    held_as(before);
}

static void a_refused_second_opening_changes_nothing(void **state)
{
    (void)state;
    const struct held before = held_now();
    struct object object = opened(a_region(100));
    struct opening o = a_region(101);
    object.failed = true;
    assert_int_equal(open_object(&object, &o), ERR_SIZE_MISMATCH);
    assert_true(object.failed); /* until an opening has worked */
    o = a_set_of_counters(5);
    assert_int_equal(open_object(&object, &o), ERR_FILE_HEADER);
    assert_int_equal(object.kind, OBJECT_REGION);
    assert_int_equal(object.map.size, 100);
    assert_true(object.failed);
    o = a_region(100);
    assert_int_equal(open_object(&object, &o), OK);
    assert_false(object.failed);
    object_close(&object);
    held_as(before);
}

/* Attaches with the n-th call failing, for every n, to an object that is open or not. The first
 * 100 bytes of the file are its bytes whatever happens. */
static void sweep_attaching(struct opening what, bool open_before)
{
    const struct held before = held_now();
    const char *failed = "";
    char bytes[100];
    memset(bytes, 'f', sizeof bytes);
    for (unsigned n = 1; failed != NULL; n++) {
        struct opening o = a_region(0), again = what;
        struct object object = {.map.fd = -1};
        write_file(bytes, sizeof bytes);
        o.write = o.create = false;
        if (open_before)
            assert_int_equal(open_object(&object, &o), OK);
        assert_int_equal(object_find(paths, &again), OK);
        faults_begin(n, ENOSPC);
        enum err e = object_attach(&object, &again);
        failed = faults_end();
        assert_int_equal(again.fd, -1);
        const bool harmless = failed == NULL || strcmp(failed, "close") == 0;
        /* whether a journal has to be asked must be known; whether a sync has failed need not: all
         * is stored once more */
        if (failed != NULL && strcmp(failed, "get_attribute") == 0)
            assert_true(e == ERR_ENOSPC || e == OK);
        else
            assert_int_equal(e, harmless ? OK : ERR_ENOSPC);
        assert_int_equal(object.kind, e == OK || open_before ? OBJECT_REGION : OBJECT_CLOSED);
        assert_int_equal(object.map.size, e == OK ? 5000 : open_before ? 100 : 0);
        if (object.map.size > 0)
            assert_memory_equal(object.map.at, bytes, 100);
        file_has(e == OK ? 5000 : 100);
        object_close(&object);
        held_as(before);
    }
}

static void attaching_is_all_or_nothing(void **state)
{
    (void)state;
    struct opening o = a_region(5000);
    o.fit = true;
    sweep_attaching(o, false);
    sweep_attaching(o, true);
}

/* --- memory, syncs, pages -------------------------------------------------------------------- */

static void a_private_copy_leaves_the_file_alone(void **state)
{
    (void)state;
    struct opening o = a_region(0);
    write_file("0123456789", 10);
    o.sharing = MAP_COPY;
    struct object object = opened(o);
    assert_true(object.dev == 0 && object.ino == 0); /* nobody else's */
    assert_int_equal(region_write(&object, 0, "private", 7), OK);
    assert_int_equal(object_resize(&object, 20), OK);
    assert_int_equal(object_sync(&object), OK);
    assert_memory_equal(object.map.at, "private789\0\0", 12);
    object_close(&object);
    file_is("0123456789", 10);
}

static void memory_has_no_file(void **state)
{
    (void)state;
    struct opening o = a_region(3000);
    o.sharing = MAP_MEMORY;
    struct object object = opened(o);
    assert_int_equal(object.map.size, 3000);
    assert_int_equal(region_write(&object, 2999, "x", 1), OK);
    assert_int_equal(object_resize(&object, 6000), OK);
    assert_int_equal(object.map.at[2999], 'x');
    assert_int_equal(object_sync(&object), OK);
    object_close(&object);
    assert_int_equal(names_in_directory(), 0);
}

static void after_a_failed_sync_an_object_is_read_only(void **state)
{
    (void)state;
    static const int numbers[] = {EIO, ENOSPC};
    for (size_t i = 0; i < 2; i++) {
        struct object object = opened(a_region(100));
        struct opening o = a_region(100);
        char byte;
        faults_begin(1, numbers[i]);
        assert_int_equal(object_sync(&object), ERR_EIO);
        assert_string_equal(faults_end(), "sync");
        assert_int_equal(object_sync(&object), ERR_EIO); /* no second try */
        assert_int_equal(object_writable(&object), ERR_EIO);
        assert_int_equal(object_resize(&object, 200), ERR_EIO);
        assert_int_equal(region_read(&object, 0, &byte, 1), OK);
        assert_int_equal(open_object(&object, &o), OK);
        assert_int_equal(object_writable(&object), OK);
        object_close(&object);
    }
}

static int advised;

static int advise_seen(void *at, size_t len, int advice)
{
    advised = advice;
    return real.advise(at, len, advice);
}

static int advise_unknown(void *at, size_t len, int advice)
{
    (void)at;
    (void)len;
    (void)advice;
    errno = EINVAL;
    return -1;
}

static void pages_are_populated_where_asked_for(void **state)
{
    (void)state;
    struct opening o = a_region(20000);
    o.populate = true;
    os.advise = advise_seen;
    struct object object = opened(o);
    assert_int_equal(advised, MADV_POPULATE_WRITE);
    assert_true(map_resident(&object.map, 0, 20000));
    object_close(&object);
    o.write = o.create = false;
    object = opened(o);
    assert_int_equal(advised, MADV_POPULATE_READ);
    object_close(&object);
    os.advise = advise_unknown; /* a kernel before 5.14 */
    assert_int_equal(try_object(o), ERR_ENOTSUP);
}

/* --- descriptors ----------------------------------------------------------------------------- */

static struct rlimit descriptors;

/* Objects get so many of those that are free, then none. */
static void keep_back_all_but(unsigned n)
{
    const int next = dup(STDIN_FILENO);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &descriptors), 0);
    const struct rlimit few = {.rlim_cur = 2 * ((rlim_t)next + n),
                               .rlim_max = descriptors.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(os_keep_back(UINT64_MAX), (rlim_t)next + n);
}

static void keep_back_none(void)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &descriptors), 0);
    os_keep_back(0);
}

static void the_last_descriptors_are_not_for_objects(void **state)
{
    (void)state;
    const struct held before = held_now();
    struct object first = {.map.fd = -1};
    write_file("12345678", 8);
    keep_back_all_but(1);
    struct opening o = a_region(0);
    assert_int_equal(open_object(&first, &o), OK);
    o = a_region(0);
    struct object second = {.map.fd = -1};
    assert_int_equal(open_object(&second, &o), ERR_RESERVE_FDS);
    assert_int_equal(o.fd, -1);
    o = a_region(16); /* the object has its descriptor already */
    o.fit = true;
    assert_int_equal(open_object(&first, &o), OK);
    assert_int_equal(first.map.size, 16);
    object_close(&first);
    assert_int_equal(try_object(a_region(0)), OK);
    keep_back_none();
    held_as(before);
}

static void without_descriptors_no_file_is_made(void **state)
{
    (void)state;
    const struct held before = held_now();
    keep_back_all_but(1); /* which the directory has for that time */
    struct opening queue = a_region(0);
    static const struct queue_change none;
    queue.kind = OBJECT_QUEUE;
    queue.queue = &none;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(try_object(a_region(8)), ERR_RESERVE_FDS);
        assert_int_equal(try_object(a_set_of_counters(8)), ERR_RESERVE_FDS);
        assert_int_equal(try_object(queue), ERR_RESERVE_FDS);
        assert_int_equal(names_in_directory(), 0);
        os.open_unnamed = no_unnamed;
    }
    keep_back_none();
    held_as(before);
}

/* --- limits ---------------------------------------------------------------------------------- */

static void beyond_a_limit_no_file_is_made(void **state)
{
    (void)state;
    struct opening queue = a_region(0);
    static const struct queue_change none;
    queue.kind = OBJECT_QUEUE;
    queue.queue = &none;
    map_limit(1000, UINT64_MAX);
    assert_int_equal(try_object(a_region(1001)), ERR_MAX_OBJECT_BYTES);
    assert_int_equal(try_object(a_set_of_counters(124)), ERR_MAX_OBJECT_BYTES);
    assert_int_equal(try_object(queue), ERR_MAX_OBJECT_BYTES);
    map_limit(UINT64_MAX, 1000);
    assert_int_equal(try_object(a_region(1001)), ERR_MAX_MAPPED);
    assert_int_equal(try_object(queue), ERR_MAX_MAPPED);
    assert_int_equal(names_in_directory(), 0);
    assert_int_equal(try_object(a_set_of_counters(123)), OK);
    map_limit(UINT64_MAX, UINT64_MAX);
}

static void truncation_beyond_a_limit_keeps_the_old_bytes(void **state)
{
    (void)state;
    write_file("12345678", 8);
    map_limit(10, UINT64_MAX);
    struct opening o = a_region(11);
    o.truncate = true;
    assert_int_equal(try_object(o), ERR_MAX_OBJECT_BYTES);
    file_is("12345678", 8);
    o.len = 10;
    assert_int_equal(try_object(o), OK);
    file_is("\0\0\0\0\0\0\0\0\0", 10);
    map_limit(UINT64_MAX, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_new_region_is_whole),
        TEST(new_counters_have_their_header),
        TEST(what_is_not_to_be_made_is_not_there),
        TEST(a_new_file_is_whole_or_not_there),
        TEST(a_new_file_is_on_disk_before_its_name_is),
        TEST(who_comes_second_finds_the_file_of_the_first),
        TEST(who_never_finds_it_gives_up),
        TEST(a_file_is_fitted_or_untouched),
        TEST(only_regular_files_are_opened),
        TEST(damaged_counters_are_shown_and_untouched),
        TEST(a_name_opens_counters_and_nothing_else),
        TEST(counters_grow_to_what_is_asked_for),
        TEST(what_another_program_holds_is_locked),
        TEST(our_files_are_held_against_others),
        TEST(file_systems_that_promise_nothing_are_refused),
        TEST(a_second_opening_changes_the_first_mapping),
        TEST(a_refused_second_opening_changes_nothing),
        TEST(attaching_is_all_or_nothing),
        TEST(a_private_copy_leaves_the_file_alone),
        TEST(memory_has_no_file),
        TEST(after_a_failed_sync_an_object_is_read_only),
        TEST(pages_are_populated_where_asked_for),
        TEST(the_last_descriptors_are_not_for_objects),
        TEST(without_descriptors_no_file_is_made),
        TEST(beyond_a_limit_no_file_is_made),
        TEST(truncation_beyond_a_limit_keeps_the_old_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
