/* Halves of a journal of which any byte may be wrong, with the file of one object beside: a start
 * refuses them, or stores in that file what they have of it, nowhere else, and can be repeated.
 *
 * Input: 8 bytes that say what the object is, the two halves, then its file. */
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fuzz/mutation.h"
#include "fuzz/target.h"
#include "store/journal.h"
#include "store/replay.h"
#include "support/folder.h"
#include "sys/hash.h"
#include "sys/os.h"

static const struct journal_limits limits = {
    .page = 512, .half = 4096, .group = 1024, .piece = 256};

enum { HEAD = 8, HALF = 4096, FILE_MOST = 2048, SERIAL = 7, PAGES = HALF / 512 };

static const uint8_t uuid[JOURNAL_UUID] = {1, 2, 3};
static const char name_of_file[] = "/emmap-fuzz/f"; /* the same in each run: it leads to dir */

static char *dir;
static struct os real;
static struct paths *paths;
static uint64_t refusals, starts, stored, untouched, mended;

static int open_file(int at, const char *name, int flags, mode_t mode)
{
    const bool is_it = strcmp(name, name_of_file + 1) == 0;
    return real.open(at, is_it ? folder_file(dir, "f") : name, flags, mode);
}

static void begin(void)
{
    static const char *const all[] = {"/", NULL};
    dir = folder_make();
    must(paths_open(dir, all, &paths) == OK);
    real = os;
    os.open = open_file;
    must(os.make_dir(AT_FDCWD, folder_file(dir, ".emmap"), 0700) == 0);
    const int lock = open(folder_file(dir, ".emmap/lock"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    must(lock >= 0 && close(lock) == 0);
}

static void end(void)
{
    os = real;
    paths_close(paths);
    folder_remove(dir);
}

/* --- making ----------------------------------------------------------------------------------- */

static void seal_header(uint8_t *half)
{
    struct half_fields f;
    memcpy(&f, half, sizeof f);
    f.hash = hash_bytes(0, &f, offsetof(struct half_fields, hash));
    memcpy(half, &f, sizeof f);
}

/* The group at an offset fits its place again, where its length can be one. */
static void seal_group(uint8_t *half, size_t at)
{
    struct half_fields h;
    struct group_fields g;
    memcpy(&h, half, sizeof h);
    memcpy(&g, half + at, sizeof g);
    if (g.len > HALF - at - sizeof g)
        return;
    const uint64_t seed = hash_bytes(h.generation, h.uuid, sizeof h.uuid) + at;
    g.hash = hash_two(seed, span_of(&g, offsetof(struct group_fields, hash)),
                      span_of(half + at + sizeof g, g.len));
    memcpy(half + at, &g, sizeof g);
}

static size_t put_entry(uint8_t *to, enum entry_kind kind, uint64_t offset, struct span data)
{
    const struct entry_fields f = {
        .serial = SERIAL, .kind = (uint32_t)kind, .offset = offset, .len = (uint32_t)data.len};
    memcpy(to, &f, sizeof f);
    memcpy(to + sizeof f, data.at, data.len);
    return sizeof f + align_up(data.len, 8);
}

static void make_group(struct dice *d, uint8_t *half, size_t at, uint64_t number, bool opens)
{
    struct group_fields g = {.number = number};
    uint8_t *records = half + at + sizeof g;
    uint8_t bytes[64];
    memset(bytes, (int)number, sizeof bytes);
    if (opens) {
        g.len += put_entry(records, ENTRY_OPEN, 1, span_text(name_of_file));
        g.count++;
    }
    for (uint64_t n = 1 + dice_below(d, 3); n > 0; n--) {
        const uint64_t kind = dice_below(d, 12);
        const struct span data = span_of(bytes, kind < 10 ? 1 + dice_below(d, sizeof bytes) : 0);
        g.len += put_entry(records + g.len,
                           kind < 10    ? ENTRY_WRITE
                           : kind == 10 ? ENTRY_FLOOR
                                        : ENTRY_CLOSE,
                           kind == 10 ? number : 8 * dice_below(d, 64), data);
        g.count++;
    }
    memcpy(half + at, &g, sizeof g);
    seal_group(half, at);
}

static uint64_t make_half(struct dice *d, uint8_t *half, uint64_t generation, uint64_t first)
{
    struct half_fields f = {
        .version = JOURNAL_VERSION, .generation = generation, .size = HALF, .first_group = first};
    const uint64_t groups = dice_below(d, PAGES);
    memcpy(f.magic, JOURNAL_MAGIC, sizeof f.magic);
    memcpy(f.uuid, uuid, sizeof f.uuid);
    memcpy(half, &f, sizeof f);
    seal_header(half);
    for (uint64_t i = 0; i < groups; i++)
        make_group(d, half, (size_t)(512 * (1 + i)), first + i, i == 0);
    return first + groups;
}

static void make(struct dice *d, struct buf *input)
{
    uint8_t halves[2][HALF] = {{0}};
    uint8_t file[FILE_MOST] = {0};
    const uint64_t how = dice_word(d);
    const unsigned older = (unsigned)dice_below(d, 2);
    const uint64_t next = make_half(d, halves[older], 5, 1 + dice_below(d, 9));
    if (!dice_one_in(d, 4))
        make_half(d, halves[!older], dice_one_in(d, 6) ? 7 : 6, next);
    buf_put(input, &how, HEAD);
    buf_put(input, halves, sizeof halves);
    buf_put(input, file, 512 + dice_below(d, FILE_MOST - 512));
}

/* Mostly within one group, whose hash fits again then. */
static void change(struct dice *d, struct buf *input)
{
    if (input->len < HEAD + 2 * HALF || dice_one_in(d, 5)) {
        mutation_rough(d, input);
        return;
    }
    uint8_t *half = input->at + HEAD + HALF * dice_below(d, 2);
    const size_t page = 512 * (size_t)dice_below(d, PAGES);
    half[page + dice_below(d, page == 0 ? 64 : 160)] ^= (uint8_t)(1U << dice_below(d, 8));
    if (dice_one_in(d, 4))
        return;
    if (page == 0)
        seal_header(half);
    else
        seal_group(half, page);
}

/* --- running ---------------------------------------------------------------------------------- */

static void write_file(const char *name, struct span bytes)
{
    const int fd = open(folder_file(dir, name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, bytes.at, bytes.len) == (ssize_t)bytes.len && close(fd) == 0);
}

static size_t read_file(const char *name, uint8_t *to, size_t most)
{
    const int fd = open(folder_file(dir, name), O_RDONLY | O_CLOEXEC);
    must(fd >= 0);
    const ssize_t n = read(fd, to, most);
    must(n >= 0 && close(fd) == 0);
    return (size_t)n;
}

static void mark_file(void)
{
    struct mark m = {.serial = SERIAL};
    const int fd = open(folder_file(dir, "f"), O_RDWR | O_CLOEXEC);
    memcpy(m.uuid, uuid, sizeof m.uuid);
    must(fd >= 0 && mark_write(fd, &m) == OK && close(fd) == 0);
}

static enum err start(void)
{
    char why[JOURNAL_WHY] = "";
    const struct journal_options options = {
        .data_dir = dir, .paths = paths, .limits = &limits, .node = "a@b"};
    struct journal *j = journal_new(&options);
    must(j != NULL);
    const enum err e = journal_start(j, why);
    if (e != OK && (e != ERR_DAMAGED || why[0] == '\0'))
        fprintf(stderr, "%s: %s\n", err_text(e), why);
    must(e == OK || (e == ERR_DAMAGED && why[0] != '\0'));
    journal_free(j);
    return e;
}

/* By hand, place after place, until it starts. */
static void mend(void)
{
    char what[JOURNAL_WHY];
    const int fd = open(folder_file(dir, ".emmap"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err e = OK;
    for (int i = 0; i < 8 && e == OK; i++)
        e = halves_mend(fd, &limits, what);
    must(e == ERR_EMPTY && close(fd) == 0);
    mended++;
}

static void remove_names(void *unused, const char *name)
{
    (void)unused;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/.emmap/%s", dir, name);
    if (name[0] != '.' && strcmp(name, "lock") != 0)
        must(unlink(path) == 0);
}

static void clean(void)
{
    const int fd = open(folder_file(dir, ".emmap"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(fd >= 0 && os.list(fd, remove_names, NULL) == 0 && close(fd) == 0);
    (void)unlink(folder_file(dir, "f"));
}

static void run(struct span input)
{
    uint8_t after[FILE_MOST + 1];
    if (input.len < HEAD + 2 * HALF || input.len > HEAD + 2 * HALF + FILE_MOST)
        return;
    const struct span file =
        span_of(input.at + HEAD + (size_t)2 * HALF, input.len - HEAD - 2 * (size_t)HALF);
    write_file(".emmap/j0", span_of(input.at + HEAD, HALF));
    write_file(".emmap/j1", span_of(input.at + HEAD + HALF, HALF));
    write_file("f", file);
    mark_file();
    enum err e = start();
    refusals += e != OK;
    if (e != OK) {
        mend();
        e = start();
    }
    must(e == OK && read_file("f", after, sizeof after) == file.len);
    const bool same = span_equal(file, span_of(after, file.len));
    starts++;
    stored += !same;
    untouched += same;
    /* and again: nothing is left to be done, of whatever generation groups stood there */
    for (int i = 0; i < 3; i++)
        must(start() == OK);
    must(read_file("f", after, sizeof after) == file.len);
    clean();
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("refused", refusals);
    each("mended", mended);
    each("started", starts);
    each("stored", stored);
    each("untouched", untouched);
}

const struct target target = {.name = "journal",
                              .life = 20000,
                              .begin = begin,
                              .end = end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
