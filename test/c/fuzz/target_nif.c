/* Queue files of the NIF library of which any byte may be wrong: each is taken for one exactly
 * where a plain reading of FORMAT.md, section 3, does, with the items that this finds. A part of
 * them is opened as the daemon does: converted with all items, or left alone.
 *
 * Input: 8 bytes that say how it is read, then the file. */
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "fuzz/corpus.h"
#include "fuzz/memory.h"
#include "fuzz/mutation.h"
#include "fuzz/target.h"
#include "proto/term.h"
#include "store/nif_queue.h"
#include "store/queue.h"
#include "support/folder.h"
#include "sys/guard.h"
#include "sys/os.h"

enum { HEAD = 8, HEADER = 16, ITEMS_MOST = MEMORY_MOST / 10, ZIP_LEAST = 14, ZIP_HEAD = 19 };

static char *dir;
static struct paths *paths;
static uint64_t refusals, queues, items, compressed, converted, left_alone;

static int at_once(int fd)
{
    (void)fd;
    return 0;
}

static struct os real;

static void begin(void)
{
    static const char *const none[] = {NULL};
    real = os;
    os.sync = at_once;
    os.sync_all = at_once;
    dir = folder_make();
    must(paths_open(dir, none, &paths) == OK);
}

static void end(void)
{
    paths_close(paths);
    folder_remove(dir);
    os = real;
}

/* --- making ----------------------------------------------------------------------------------- */

static void put_word(struct buf *to, size_t word)
{
    uint8_t bytes[4];
    put_be32(bytes, (uint32_t)word);
    buf_put(to, bytes, sizeof bytes);
}

static void put_zeros(struct buf *to, size_t n)
{
    static const uint8_t zeros[4096];
    buf_put(to, zeros, n < sizeof zeros ? n : sizeof zeros);
}

/* `len` bytes of a record's term are at the end of the buffer, its size before them. */
static void end_record(struct buf *to, size_t len)
{
    const size_t pad = (len + 8) % 8;
    const size_t size = len + 8 + pad;
    put_zeros(to, pad);
    put_be32(to->at + to->len - pad - len - 4, (uint32_t)size);
    put_word(to, size);
}

static void put_compressed(struct dice *d, struct buf *to)
{
    const uint8_t head[] = {131, 80, 0, 0, 0, 9};
    const size_t more = 6 + dice_below(d, 12);
    put_word(to, 0);
    buf_put(to, head, sizeof head);
    for (size_t i = 0; i < more; i++) {
        const uint8_t byte = (uint8_t)(dice_one_in(d, 3) ? 0 : dice_word(d));
        buf_put(to, &byte, 1);
    }
    end_record(to, sizeof head + more);
}

static void put_record(struct dice *d, struct buf *to)
{
    static const uint8_t version = 131;
    const struct span term = corpus_part(d);
    if (dice_one_in(d, 8)) {
        put_compressed(d, to);
        return;
    }
    put_word(to, 0);
    buf_put(to, &version, 1);
    buf_put(to, term.at, term.len);
    end_record(to, 1 + term.len);
}

static void make(struct dice *d, struct buf *input)
{
    const uint64_t how = dice_word(d);
    const size_t head = HEADER + 2 * dice_below(d, 20);
    buf_put(input, &how, HEAD);
    put_zeros(input, head);
    for (uint64_t n = dice_below(d, 8); n > 0 && input->len < MEMORY_MOST / 4; n--)
        put_record(d, input);
    const size_t tail = input->len - HEAD;
    put_zeros(input, dice_below(d, 200));
    uint8_t *at = input->at + HEAD;
    put_be32(at, (uint32_t)(input->len - HEAD));
    put_be32(at + 4, (uint32_t)head);
    put_be32(at + 8, (uint32_t)tail);
    put_be32(at + 12, (uint32_t)(dice_one_in(d, 3) ? dice_word(d) : tail));
}

static void change(struct dice *d, struct buf *input)
{
    if (input->len < HEAD + HEADER || dice_one_in(d, 2)) {
        mutation_rough(d, input);
        return;
    }
    uint8_t *word = input->at + HEAD + 4 * dice_below(d, (input->len - HEAD) / 4);
    if (dice_one_in(d, 2))
        word = input->at + HEAD + 4 * (1 + dice_below(d, 2));
    put_be32(word, get_be32(word) + (uint32_t)dice_below(d, 33) - 16);
}

/* --- a plain reading -------------------------------------------------------------------------- */

static struct {
    struct span terms[ITEMS_MOST]; /* with their version bytes */
    size_t n;
} plain;

static bool all_zeros(struct span bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        if (bytes.at[i] != 0)
            return false;
    return true;
}

/* Can the term that stands there have this length? */
static bool can_be(struct span room, size_t len)
{
    return len <= room.len && len + (len + 8) % 8 == room.len &&
           all_zeros(span_of(room.at + len, room.len - len));
}

/* Of a compressed term's two lengths the one that does not end with four zeros, the longer where
 * neither does. */
static size_t compressed_length(struct span room)
{
    for (size_t len = room.len; len + 8 > room.len && len >= ZIP_LEAST; len--)
        if (can_be(room, len) && !all_zeros(span_of(room.at + len - 4, 4)))
            return len;
    return 0;
}

static size_t length_in(struct span room)
{
    if (room.len < 2 || room.at[0] != 131)
        return 0;
    if (room.at[1] == 80)
        return compressed_length(room);
    const size_t len = term_check(span_of(room.at + 1, room.len - 1));
    return len > 0 && can_be(room, len + 1) ? len + 1 : 0;
}

/* False: it is no queue of the NIF library's. */
static bool read_plainly(struct span file)
{
    plain.n = 0;
    if (file.len < HEADER || memcmp(file.at, "EMMAP", 5) == 0)
        return false;
    const size_t head = get_be32(file.at + 4);
    const size_t tail = get_be32(file.at + 8);
    if (head < HEADER || head > tail || tail > file.len)
        return false;
    for (size_t at = head; at < tail;) {
        const size_t left = tail - at;
        const size_t size = left >= 8 ? get_be32(file.at + at) : 0;
        if (size < 8 || size > left || get_be32(file.at + at + size - 4) != size)
            return false;
        const struct span room = span_of(file.at + at + 4, size - 8);
        const size_t len = length_in(room);
        if (len == 0)
            return false;
        plain.terms[plain.n++] = span_of(room.at, len);
        at += size;
    }
    return true;
}

/* --- what must hold --------------------------------------------------------------------------- */

/* A compressed one is a binary in a tuple. */
static void is_item(struct span item, struct span term)
{
    must(target_is_term(item));
    if (term.at[1] != 80) {
        must(span_equal(item, span_of(term.at + 1, term.len - 1)));
        return;
    }
    compressed++;
    must(item.len == ZIP_HEAD + term.len);
    must(span_equal(span_of(item.at + ZIP_HEAD, term.len), term));
}

static bool read_once(struct nif_queue *f)
{
    struct span item;
    size_t n = 0;
    enum err e;
    while ((e = nif_queue_next(f, &item)) == OK) {
        if (n < plain.n)
            is_item(item, plain.terms[n]);
        n++;
    }
    must(e == ERR_EMPTY || e == ERR_NOT_QUEUE);
    must(e != ERR_EMPTY || n == plain.n);
    return e == ERR_EMPTY;
}

static bool read_in_memory(struct span file)
{
    struct nif_queue f;
    memory_begin();
    memory_set(file);
    enum err e = nif_queue_open(&f, MEMORY_FD, term_check);
    must(e == OK || e == ERR_NOT_QUEUE);
    bool is_queue = e == OK;
    if (e == OK) {
        is_queue = read_once(&f);
        nif_queue_rewind(&f);
        must(read_once(&f) == is_queue);
        nif_queue_close(&f);
    }
    must(span_equal(memory_bytes(), file));
    memory_end();
    return is_queue;
}

/* --- as the daemon opens it ------------------------------------------------------------------- */

static const struct turn now = {.now_ms = 1700000000000, .may_wait = true};

static void write_file(struct span file)
{
    const int fd = open(folder_file(dir, "q"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, file.at, file.len) == (ssize_t)file.len);
    close(fd);
}

static bool has_file(const char *name, struct span file)
{
    static uint8_t seen[MEMORY_MOST + 1];
    const int fd = open(folder_file(dir, name), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const ssize_t n = read(fd, seen, sizeof seen);
    close(fd);
    return n == (ssize_t)file.len && memcmp(seen, file.at, file.len) == 0;
}

static enum err open_file(struct object *object)
{
    static const struct queue_change none;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", folder_file(dir, "q"));
    struct opening o = {.path = path,
                        .kind = OBJECT_QUEUE,
                        .sharing = MAP_OF_FILE,
                        .write = true,
                        .any_file_system = true,
                        .mode = 0600,
                        .queue = &none,
                        .now_ms = now.now_ms,
                        .term_length = term_check,
                        .fd = -1};
    *object = (struct object){.map.fd = -1};
    const enum err e = object_find(paths, &o);
    return e == OK ? object_attach(object, &o) : e;
}

static void has_all(struct object *object)
{
    struct record r;
    for (size_t i = 0; i < plain.n; i++) {
        must(queue_front(object, &now, &r) == OK && r.seq == i + 1);
        is_item(r.bytes, plain.terms[i]);
        must(queue_pop(object, &now, &r) == OK);
    }
    must(queue_front(object, &now, &r) == ERR_EMPTY);
}

static void open_really(struct span file, bool is_queue)
{
    struct object object;
    guard_install();
    write_file(file);
    const enum err e = open_file(&object);
    must((e == OK) == is_queue);
    if (is_queue)
        has_all(&object);
    must(has_file(is_queue ? "q.nif" : "q", file));
    object_close(&object);
    unlink(folder_file(dir, "q"));
    unlink(folder_file(dir, "q.nif"));
    converted += is_queue;
    left_alone += !is_queue;
}

/* A queue of ours with the right magic is target_queue's. */
static bool is_ours(struct span file)
{
    return file.len >= 5 && memcmp(file.at, "EMMAP", 5) == 0;
}

static void run(struct span input)
{
    uint64_t how;
    if (input.len < HEAD || input.len - HEAD > MEMORY_MOST)
        return;
    memcpy(&how, input.at, HEAD);
    const struct span file = span_of(input.at + HEAD, input.len - HEAD);
    const bool is_queue = read_plainly(file);
    must(read_in_memory(file) == is_queue);
    queues += is_queue;
    refusals += !is_queue;
    items += is_queue ? plain.n : 0;
    if (how % 16 == 0 && !is_ours(file) && file.len > 0)
        open_really(file, is_queue);
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("refused", refusals);
    each("queues", queues);
    each("items", items);
    each("compressed", compressed);
    each("converted", converted);
    each("left alone", left_alone);
}

const struct target target = {.name = "nif",
                              .life = 10000,
                              .begin = begin,
                              .end = end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
