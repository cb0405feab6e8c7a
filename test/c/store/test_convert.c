/* Queue files of the NIF library: converted whole or not at all, with every call failing, with the
 * daemon ending at every call, with others at the same file, and whatever stands in them. */
#include "store/convert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/term.h"
#include "store/format.h"
#include "store/queue.h"
#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "support/terms.h"
#include "sys/guard.h"
#include "sys/os.h"

static const struct turn now = {.now_ms = 1700000000000, .may_wait = true};

static char *dir;
static char path[PATH_MAX]; /* of the file that the tests open */
static struct paths *paths;
static struct os real;

/* But for the order of things no test depends on the medium. */
static int at_once(int fd)
{
    return fd >= 0 ? 0 : -1;
}

static int setup(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    real = os;
    os.sync = at_once;
    os.sync_all = at_once;
    guard_install(); /* cmocka has put handlers of its own before each test */
    dir = folder_make();
    snprintf(path, sizeof path, "%s", folder_file(dir, "q"));
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

/* --- files ----------------------------------------------------------------------------------- */

/* An old file under construction; a record as FORMAT.md has it. */
struct file {
    uint8_t at[65536];
    size_t len;
};

static struct file begin_file(void)
{
    return (struct file){.len = 16};
}

static void add(struct file *f, const void *term, size_t len)
{
    const size_t pad = (len + 8) % 8;
    const uint32_t size = (uint32_t)(len + 8 + pad);
    must(f->len + size + 8 <= sizeof f->at);
    put_be32(f->at + f->len, size);
    memcpy(f->at + f->len + 4, term, len);
    put_be32(f->at + f->len + size - 4, size);
    f->len += size;
}

static void end_file(struct file *f)
{
    put_be32(f->at, (uint32_t)f->len);
    put_be32(f->at + 4, 16);
    put_be32(f->at + 8, (uint32_t)f->len);
    put_be32(f->at + 12, (uint32_t)f->len);
}

/* The items 0 to n - 1, each a number. */
static struct file of_numbers(unsigned n)
{
    struct file f = begin_file();
    for (unsigned i = 0; i < n; i++)
        add(&f, (const uint8_t[]){131, 97, (uint8_t)i}, 3);
    end_file(&f);
    return f;
}

static void write_to(const char *name, const void *bytes, size_t len)
{
    const int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

static size_t read_from(const char *name, uint8_t *bytes, size_t most)
{
    const int fd = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    const ssize_t n = read(fd, bytes, most);
    assert_true(n >= 0);
    close(fd);
    return (size_t)n;
}

static void put_file(const struct file *f)
{
    write_to(path, f->at, f->len);
}

static bool is_file(const char *name, const struct file *f)
{
    static uint8_t seen[sizeof f->at];
    return read_from(name, seen, sizeof seen) == f->len && memcmp(seen, f->at, f->len) == 0;
}

static const char *kept(void)
{
    return folder_file(dir, "q.nif");
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

static struct file of_data(const char *name)
{
    struct file f;
    char from[PATH_MAX];
    snprintf(from, sizeof from, "%s/%s", TEST_DATA, name);
    f.len = read_from(from, f.at, sizeof f.at);
    return f;
}

/* --- openings -------------------------------------------------------------------------------- */

static struct opening an_opening(void)
{
    static const struct queue_change none;
    return (struct opening){.path = path,
                            .kind = OBJECT_QUEUE,
                            .sharing = MAP_OF_FILE,
                            .write = true,
                            .create = true,
                            .any_file_system = true,
                            .mode = 0640,
                            .queue = &none,
                            .now_ms = now.now_ms,
                            .term_length = term_check,
                            .fd = -1};
}

static enum err open_queue(struct object *object)
{
    struct opening o = an_opening();
    *object = (struct object){.map.fd = -1};
    enum err e = object_find(paths, &o);
    if (e == OK) {
        const ino_t found = o.ino;
        e = object_attach(object, &o);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        if (e == OK)
            assert_true(st.st_ino == found && object->ino == found);
    }
    assert_int_equal(o.fd, -1);
    return e;
}

static enum err try_queue(void)
{
    struct object object;
    enum err e = open_queue(&object);
    object_close(&object);
    return e;
}

static void refuses(const struct file *f, enum err why)
{
    put_file(f);
    assert_int_equal(try_queue(), why);
    assert_true(is_file(path, f));
    assert_int_equal(names_in_directory(), 1);
}

static struct span pop(struct object *object)
{
    struct record r;
    assert_int_equal(queue_front(object, &now, &r), OK);
    assert_int_equal(r.attempts, 0);
    assert_int_equal(queue_pop(object, &now, &r), OK);
    return r.bytes;
}

static void pops(struct object *object, const char *text)
{
    const struct span item = pop(object);
    assert_int_equal(term_check(item), item.len);
    assert_string_equal(show_term(item), text);
}

static void is_empty(struct object *object)
{
    struct record r;
    assert_int_equal(queue_front(object, &now, &r), ERR_EMPTY);
}

/* It opens, with the numbers 0 to n - 1. */
static void has_numbers(unsigned n)
{
    struct object object;
    assert_int_equal(open_queue(&object), OK);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t item[] = {97, (uint8_t)i};
        const struct span seen = pop(&object);
        assert_int_equal(seen.len, sizeof item);
        assert_memory_equal(seen.at, item, sizeof item);
    }
    is_empty(&object);
    object_close(&object);
}

/* --- what is converted ----------------------------------------------------------------------- */

static const char *const items_in_data[] = {"first", "{job,7,\"text\"}", "[1,2.5,-3|tail]",
                                            "#{key=><<\"bin\">>}"};

static void a_file_of_the_library_becomes_a_queue(void **state)
{
    (void)state;
    const struct file f = of_data("queue-nif-items");
    struct object object;
    put_file(&f);
    assert_int_equal(open_queue(&object), OK);
    pops(&object, items_in_data[0]);
    pops(&object, items_in_data[1]);
    for (unsigned i = 2; i < 8; i++) {
        const struct span item = pop(&object);
        assert_int_equal(term_check(item), item.len);
    }
    const struct span zip = pop(&object);
    assert_int_equal(term_check(zip), zip.len);
    assert_memory_equal(zip.at, "h\x02w\x0a$emmap_zipm", 15);
    assert_int_equal(get_be32(zip.at + 15), zip.len - 19);
    assert_memory_equal(zip.at + 19, "\x83P", 2);
    pops(&object, "old");
    for (unsigned i = 10; i < 13; i++) {
        const struct span item = pop(&object);
        assert_int_equal(term_check(item), item.len);
    }
    is_empty(&object);
    object_close(&object);
    assert_true(is_file(kept(), &f));
    assert_int_equal(names_in_directory(), 2);
}

static void a_queue_that_is_empty_is_one(void **state)
{
    (void)state;
    const struct file f = of_data("queue-nif-empty");
    put_file(&f);
    has_numbers(0);
    assert_true(is_file(kept(), &f));
}

static void an_append_that_was_cut_off_is_ignored(void **state)
{
    (void)state;
    const struct file f = of_data("queue-nif-append");
    struct object object;
    put_file(&f);
    assert_int_equal(open_queue(&object), OK);
    pops(&object, items_in_data[0]);
    pops(&object, items_in_data[1]);
    is_empty(&object);
    object_close(&object);
}

static void every_length_of_a_term_is_found(void **state)
{
    (void)state;
    struct file f = begin_file();
    uint8_t term[128] = {131, 109}; /* a binary of zeros */
    struct object object;
    for (uint32_t n = 0; n < 100; n++) {
        put_be32(term + 2, n);
        add(&f, term, 6 + n);
    }
    end_file(&f);
    put_file(&f);
    assert_int_equal(open_queue(&object), OK);
    for (uint32_t n = 0; n < 100; n++)
        assert_int_equal(pop(&object).len, 5 + n);
    is_empty(&object);
    object_close(&object);
}

static void every_length_of_a_compressed_term_is_found(void **state)
{
    (void)state;
    struct file f = begin_file();
    uint8_t term[128] = {131, 80};
    struct object object;
    for (size_t n = 14; n < 100; n++)
        for (size_t zeros = 0; zeros < 4; zeros++) { /* at the end of its checksum */
            memset(term + 2, 0, n - 2);
            term[n - 1 - zeros] = 1;
            add(&f, term, n);
        }
    end_file(&f);
    put_file(&f);
    assert_int_equal(open_queue(&object), OK);
    for (size_t n = 14; n < 100; n++)
        for (size_t zeros = 0; zeros < 4; zeros++) {
            const struct span item = pop(&object);
            assert_int_equal(item.len, 19 + n);
            assert_int_equal(item.at[19 + n - 1 - zeros], 1);
        }
    is_empty(&object);
    object_close(&object);
}

/* Larger than what is read at once, items as well as all of them. */
static void items_may_be_long(void **state)
{
    (void)state;
    enum { LONG = 3 << 20 };
    static uint8_t bytes[16 + 3 * (LONG + 32)];
    size_t at = 16;
    struct object object;
    for (uint32_t i = 0; i < 3; i++) {
        uint8_t *record = bytes + at;
        const uint32_t len = LONG + i, size = len + 8 + len % 8;
        put_be32(record, size);
        memcpy(record + 4, "\x83m", 2);
        put_be32(record + 6, len - 6);
        memset(record + 10, (int)i + 1, len - 6);
        put_be32(record + size - 4, size);
        at += size;
    }
    put_be32(bytes + 4, 16);
    put_be32(bytes + 8, (uint32_t)at);
    write_to(path, bytes, at);
    assert_int_equal(open_queue(&object), OK);
    for (uint32_t i = 0; i < 3; i++) {
        const struct span item = pop(&object);
        assert_int_equal(item.len, LONG + i - 1);
        assert_int_equal(item.at[5], i + 1);
        assert_int_equal(item.at[item.len - 1], i + 1);
    }
    object_close(&object);
}

/* The items are as old as the file; a delay counts from now. */
static void items_have_the_time_of_the_file(void **state)
{
    (void)state;
    const struct file f = of_numbers(2);
    const struct timespec times[] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    struct object object;
    struct record r;
    struct item *item;
    put_file(&f);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_int_equal(open_queue(&object), OK);
    assert_int_equal(queue_front(&object, &now, &r), OK);
    assert_int_equal(r.time, UINT64_C(1000000000000));
    assert_int_equal(queue_take(&object, &now, &r, &item), OK);
    assert_int_equal(queue_release(&object, &now, item, 60000), OK);
    assert_int_equal(queue_wakes_at(&object), now.now_ms + 60000);
    object_close(&object);
}

static struct {
    uid_t user;
    gid_t group;
} owner_seen;

static int note_owner(int fd, uid_t user, gid_t group)
{
    owner_seen.user = user;
    owner_seen.group = group;
    return real.own(fd, user, group);
}

static void mode_and_owner_are_kept(void **state)
{
    (void)state;
    const struct file f = of_numbers(3);
    struct stat before;
    struct stat after;
    put_file(&f);
    assert_int_equal(chmod(path, 0664), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(path, 1234, 5678), 0);
    assert_int_equal(stat(path, &before), 0);
    os.own = note_owner;
    assert_int_equal(try_queue(), OK);
    assert_int_equal(stat(path, &after), 0);
    assert_int_not_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_mode, before.st_mode);
    assert_int_equal(after.st_uid, before.st_uid);
    assert_int_equal(after.st_gid, before.st_gid);
    assert_int_equal(owner_seen.user, before.st_uid);
    assert_int_equal(owner_seen.group, before.st_gid);
}

static int no_unnamed(int at, mode_t mode)
{
    (void)at;
    (void)mode;
    errno = ENOTSUP;
    return -1;
}

static void it_works_without_unnamed_files(void **state)
{
    (void)state;
    const struct file f = of_numbers(5);
    put_file(&f);
    os.open_unnamed = no_unnamed;
    has_numbers(5);
    assert_true(is_file(kept(), &f));
    assert_int_equal(names_in_directory(), 2);
}

static void a_queue_of_ours_is_left_alone(void **state)
{
    (void)state;
    struct stat before;
    struct stat after;
    assert_int_equal(try_queue(), OK); /* made */
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(try_queue(), OK);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(names_in_directory(), 1);
}

/* --- what is not ----------------------------------------------------------------------------- */

static void what_is_no_queue_is_refused(void **state)
{
    (void)state;
    static struct file zeros = {.len = 4096};
    static struct file noise = {.len = 4096};
    struct file head = of_numbers(1);
    uint32_t seed = 1;
    refuses(&(struct file){.len = 0}, ERR_NOT_QUEUE);
    refuses(&(struct file){.at = {1, 2, 3}, .len = 3}, ERR_NOT_QUEUE);
    refuses(&zeros, ERR_NOT_QUEUE);
    for (unsigned round = 0; round < 50; round++) {
        for (size_t i = 0; i < noise.len; i++)
            noise.at[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
        refuses(&noise, ERR_NOT_QUEUE);
        end_file(&noise); /* with a header that could be one */
        refuses(&noise, ERR_NOT_QUEUE);
    }
    put_be32(head.at + 4, 15);
    refuses(&head, ERR_NOT_QUEUE);
    put_be32(head.at + 4, (uint32_t)head.len + 1);
    refuses(&head, ERR_NOT_QUEUE);
}

static void a_file_that_was_cut_is_refused(void **state)
{
    (void)state;
    const struct file whole = of_numbers(10);
    struct file f = whole;
    while (f.len-- > 0)
        refuses(&f, ERR_NOT_QUEUE);
    for (f = whole; f.len > 17; f.len--) { /* and its header says so */
        put_be32(f.at + 8, (uint32_t)f.len - 1);
        if ((f.len - 1 - 16) % 14 != 0)
            refuses(&f, ERR_NOT_QUEUE);
    }
}

static void sizes_that_lead_astray_are_refused(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 2, 4, 8, 10, 12, 13, 15, 16, 28, 1 << 30, UINT32_MAX};
    const struct file whole = of_numbers(10);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t at = 16; at < whole.len; at += 14) {
            struct file f = whole;
            put_be32(f.at + at, sizes[i]);
            refuses(&f, ERR_NOT_QUEUE);
            f = whole;
            put_be32(f.at + at + 10, sizes[i]);
            refuses(&f, ERR_NOT_QUEUE);
            put_be32(f.at + at, sizes[i]);
            refuses(&f, ERR_NOT_QUEUE);
        }
}

/* Whatever byte is another one: a queue, or the file is untouched. */
static void any_byte_may_be_wrong(void **state)
{
    (void)state;
    static const uint8_t flips[] = {1, 0x80, 0xff};
    const struct file whole = of_data("queue-nif-items");
    const uint32_t tail = get_be32(whole.at + 8);
    for (size_t at = 4; at < tail; at++)
        for (size_t i = 0; i < sizeof flips; i++) {
            struct file f = whole;
            f.at[at] ^= flips[i];
            put_file(&f);
            const enum err e = try_queue();
            assert_true(e == OK || e == ERR_NOT_QUEUE);
            assert_true(is_file(e == OK ? kept() : path, &f));
            assert_int_equal(names_in_directory(), e == OK ? 2 : 1);
            unlink(path);
            unlink(kept());
        }
}

static void terms_that_nobody_could_read_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *term;
        size_t len;
    } terms[] = {
        {"\x82\x61\x01", 3},                                              /* another version */
        {"\x83\x44\x61\x01", 4},                                          /* of a distribution */
        {"\x83\x52\x01", 3},                                              /* of an atom cache */
        {"\x83\x79\x00\x61", 4},                                          /* of a node alone */
        {"\x83\x46\x7f\xf0\x00\x00\x00\x00\x00\x00", 10},                 /* infinite */
        {"\x83\x77\x01\xff", 4},                                          /* no UTF-8 */
        {"\x83\x68\x02\x61\x01", 5},                                      /* one element of two */
        {"\x83\x6c\xff\xff\xff\xff\x6a", 7},                              /* ... of very many */
        {"\x83\x6d\x7f\xff\xff\xff", 6},                                  /* a binary without end */
        {"\x83\x61\x01\x00", 4},                                          /* a term and a byte */
        {"\x83\x68\x01\x50\x00\x00\x00\x01\x78\x9c\x01\x01\x01\x01", 14}, /* compressed inside */
        {"\x83\x50\x00\x00\x00\x00", 6}, /* compressed, and nothing */
    };
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        struct file f = begin_file();
        add(&f, "\x83\x61\x01", 3);
        add(&f, terms[i].term, terms[i].len);
        end_file(&f);
        refuses(&f, ERR_NOT_QUEUE);
    }
}

static void a_term_may_be_deep(void **state)
{
    (void)state;
    static uint8_t term[20000] = {131};
    size_t len = 1;
    for (unsigned depth = 0; depth < 9000; depth++) {
        term[len++] = 104;
        term[len++] = 1;
    }
    term[len++] = 106;
    struct file f = begin_file();
    add(&f, term, len);
    end_file(&f);
    put_file(&f);
    assert_int_equal(try_queue(), OK);
}

/* --- others at the same file ----------------------------------------------------------------- */

static void another_file_called_nif_is_in_the_way(void **state)
{
    (void)state;
    const struct file f = of_numbers(3);
    const struct file other = of_numbers(1);
    put_file(&f);
    write_to(kept(), other.at, other.len);
    assert_int_equal(try_queue(), ERR_EEXIST);
    assert_true(is_file(path, &f));
    assert_true(is_file(kept(), &other));
    unlink(kept());
    assert_int_equal(symlink(path, kept()), 0);
    assert_int_equal(try_queue(), ERR_EEXIST);
    unlink(kept());
    assert_int_equal(link(path, kept()), 0); /* as a crash can leave it */
    has_numbers(3);
    assert_true(is_file(kept(), &f));
}

static void a_link_is_not_converted(void **state)
{
    (void)state;
    const struct file f = of_numbers(3);
    write_to(folder_file(dir, "real"), f.at, f.len);
    assert_int_equal(symlink("real", path), 0);
    assert_int_equal(try_queue(), ERR_ELOOP);
    assert_true(is_file(folder_file(dir, "real"), &f));
    assert_int_equal(names_in_directory(), 2);
}

static int hold(bool shared)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal((shared ? os.lock_shared : os.lock_exclusive)(fd), 0);
    return fd;
}

static void a_file_in_use_is_locked(void **state)
{
    (void)state;
    const struct file f = of_numbers(3);
    put_file(&f);
    for (unsigned shared = 0; shared < 2; shared++) {
        const int fd = hold(shared == 1);
        assert_int_equal(try_queue(), ERR_LOCKED);
        close(fd);
    }
    struct opening o = an_opening();
    struct object object = {.map.fd = -1};
    const int fd = hold(true);
    assert_int_equal(object_find(paths, &o), OK);
    close(fd); /* between the two steps */
    assert_int_equal(object_attach(&object, &o), ERR_LOCKED);
    assert_true(is_file(path, &f));
    assert_int_equal(names_in_directory(), 1);
    has_numbers(3);
}

static unsigned renames;
static void (*meanwhile)(void);

static int count_renames(int at, const char *from, const char *to)
{
    renames++;
    return real.rename(at, from, to);
}

/* Before the first lock that is asked for. */
static int lock_late(int fd)
{
    if (meanwhile != NULL) {
        void (*const act)(void) = meanwhile;
        meanwhile = NULL;
        act();
    }
    return real.lock_exclusive(fd);
}

static void open_once(void)
{
    assert_int_equal(try_queue(), OK);
}

static void who_comes_second_finds_it_converted(void **state)
{
    (void)state;
    const struct file f = of_numbers(9);
    put_file(&f);
    renames = 0;
    os.rename = count_renames;
    os.lock_exclusive = lock_late;
    meanwhile = open_once;
    has_numbers(9);
    assert_int_equal(renames, 1);
    assert_true(is_file(kept(), &f));
    assert_int_equal(names_in_directory(), 2);
}

static int sync_late(int fd)
{
    if (meanwhile != NULL) {
        void (*const act)(void) = meanwhile;
        meanwhile = NULL;
        act();
    }
    return real.sync_all(fd);
}

static void put_another(void)
{
    const struct file other = of_numbers(2);
    write_to(folder_file(dir, "other"), other.at, other.len);
    assert_int_equal(rename(folder_file(dir, "other"), path), 0);
}

static void a_file_that_takes_the_name_meanwhile_is_not_lost(void **state)
{
    (void)state;
    const struct file f = of_numbers(9);
    const struct file other = of_numbers(2);
    put_file(&f);
    os.sync_all = sync_late;
    meanwhile = put_another;
    has_numbers(2);
    assert_true(is_file(kept(), &other));
}

/* --- a crash, a fault, the power ------------------------------------------------------------- */

enum { NUMBERS = 20 };

/* Old or new, whole; of other names only those that a conversion makes. */
static void is_old_or_new(const struct file *f)
{
    uint8_t magic[8];
    assert_int_equal(read_from(path, magic, sizeof magic), sizeof magic);
    const bool new = memcmp(magic, QUEUE_MAGIC, sizeof magic) == 0;
    if (new)
        assert_true(is_file(kept(), f));
    else
        assert_true(is_file(path, f));
    assert_in_range(names_in_directory(), 1, 3);
}

static void then_it_converts(const struct file *f)
{
    is_old_or_new(f);
    has_numbers(NUMBERS);
    assert_true(is_file(kept(), f));
    assert_int_equal(names_in_directory(), 2); /* what was left behind is gone */
    unlink(path);
    unlink(kept());
}

/* The n-th call, for every n. */
static void sweep_faults(int number)
{
    const struct file f = of_numbers(NUMBERS);
    const char *failed;
    unsigned n = 0;
    do {
        put_file(&f);
        const struct held before = held_now();
        faults_begin(++n, number);
        const enum err e = try_queue();
        failed = faults_end();
        held_as(before);
        if (failed == NULL)
            assert_int_equal(e, OK);
        then_it_converts(&f);
    } while (failed != NULL);
    assert_in_range(n, 40, 400);
}

static void every_call_may_fail(void **state)
{
    (void)state;
    sweep_faults(EIO);
    sweep_faults(ENOSPC);
}

static void every_call_may_fail_without_unnamed_files(void **state)
{
    (void)state;
    os.open_unnamed = no_unnamed;
    sweep_faults(EIO);
}

/* The daemon ends before the n-th call; true: it did. */
static bool stop_at(unsigned n)
{
    int status = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        faults_begin(n, 0);
        _exit(try_queue() == OK ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0)
        assert_int_equal(WEXITSTATUS(status), FAULTS_STOPPED);
    return WEXITSTATUS(status) != 0;
}

static void sweep_stops(void)
{
    const struct file f = of_numbers(NUMBERS);
    unsigned n = 0;
    bool stopped;
    do {
        put_file(&f);
        stopped = stop_at(++n);
        then_it_converts(&f);
    } while (stopped);
    assert_in_range(n, 40, 400);
}

static void the_daemon_may_end_at_every_call(void **state)
{
    (void)state;
    sweep_stops();
    os.open_unnamed = no_unnamed;
    sweep_stops();
}

/* What is durable of the new file, and of which directory entries. */
static struct {
    ino_t file;
    uint8_t bytes[1 << 20];
    ssize_t len;
    bool renamed;
    bool entries;
} durable;

static int note_sync(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    if (S_ISDIR(st.st_mode)) {
        durable.entries = durable.renamed;
    } else {
        durable.file = st.st_ino;
        durable.len = pread(fd, durable.bytes, sizeof durable.bytes, 0);
        assert_int_equal(durable.len, st.st_size);
    }
    return real.sync_all(fd);
}

static int note_rename(int at, const char *from, const char *to)
{
    static uint8_t bytes[sizeof durable.bytes];
    struct stat st;
    assert_int_equal(fstatat(at, from, &st, 0), 0);
    assert_true(st.st_ino == durable.file);
    const int fd = openat(at, from, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), durable.len);
    assert_memory_equal(bytes, durable.bytes, (size_t)durable.len);
    close(fd);
    durable.renamed = true;
    return real.rename(at, from, to);
}

static void the_new_file_is_durable_before_it_has_the_name(void **state)
{
    (void)state;
    const struct file f = of_numbers(NUMBERS);
    struct opening o = an_opening();
    put_file(&f);
    durable.renamed = durable.entries = false;
    os.sync_all = note_sync;
    os.rename = note_rename;
    assert_int_equal(object_find(paths, &o), OK);
    assert_true(durable.entries);
    object_drop(&o);
    os = real;
    has_numbers(NUMBERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_file_of_the_library_becomes_a_queue),
        TEST(a_queue_that_is_empty_is_one),
        TEST(an_append_that_was_cut_off_is_ignored),
        TEST(every_length_of_a_term_is_found),
        TEST(every_length_of_a_compressed_term_is_found),
        TEST(items_may_be_long),
        TEST(items_have_the_time_of_the_file),
        TEST(mode_and_owner_are_kept),
        TEST(it_works_without_unnamed_files),
        TEST(a_queue_of_ours_is_left_alone),
        TEST(what_is_no_queue_is_refused),
        TEST(a_file_that_was_cut_is_refused),
        TEST(sizes_that_lead_astray_are_refused),
        TEST(any_byte_may_be_wrong),
        TEST(terms_that_nobody_could_read_are_refused),
        TEST(a_term_may_be_deep),
        TEST(another_file_called_nif_is_in_the_way),
        TEST(a_link_is_not_converted),
        TEST(a_file_in_use_is_locked),
        TEST(who_comes_second_finds_it_converted),
        TEST(a_file_that_takes_the_name_meanwhile_is_not_lost),
        TEST(every_call_may_fail),
        TEST(every_call_may_fail_without_unnamed_files),
        TEST(the_daemon_may_end_at_every_call),
        TEST(the_new_file_is_durable_before_it_has_the_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
