/* What check finds in a file is what the engine would deliver from it, whatever is damaged; and the
 * file does not notice. */
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/block.h"
#include "store/check.h"
#include "store/counter.h"
#include "store/queue_inside.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/queue_file.h"
#include "sys/guard.h"
#include "sys/hash.h"
#include "sys/log.h"
#include "sys/os.h"

/* --- what is in a file ----------------------------------------------------------------------- */

enum { MOST = 300 };

struct content {
    size_t n;
    struct {
        uint64_t seq;
        uint64_t hash; /* of the bytes, and of the deliveries */
    } items[MOST];
};

static void add(struct content *c, uint64_t seq, unsigned attempts, struct span bytes)
{
    size_t i = c->n++;
    assert_true(c->n <= MOST);
    for (; i > 0 && c->items[i - 1].seq > seq; i--)
        c->items[i] = c->items[i - 1];
    c->items[i].seq = seq;
    c->items[i].hash = hash_bytes(attempts, bytes.at, bytes.len);
}

static enum err add_item(void *arg, const struct check_item *item)
{
    add(arg, item->seq, item->attempts, item->bytes);
    return OK;
}

static enum err check_path(const char *path, struct content *c, struct check_counts *counts)
{
    const int fd = open(path, O_RDONLY);
    const struct check check = {.now_ms = 1000, .counts = counts, .arg = c, .item = add_item};
    static const enum file_kind kind = FILE_QUEUE;
    struct check as = check;
    as.kind = &kind;
    *c = (struct content){.n = 0};
    const enum err e = check_file(fd, &as);
    close(fd);
    return e;
}

static void read_items(struct queue_file *f, struct content *c)
{
    struct item *item = queue_item_from(&f->object, 0);
    while (item != NULL) {
        struct record r;
        const uint64_t next = item->seq + 1;
        if (item->state != ITEM_READY && queue_read(&f->object, &f->now, item, &r) == OK)
            add(c, r.seq, r.attempts, r.bytes);
        item = queue_item_from(&f->object, next);
    }
}

static void drain(struct queue_file *f, struct content *c)
{
    struct record r;
    enum err e;
    *c = (struct content){.n = 0};
    read_items(f, c);
    while ((e = queue_front(&f->object, &f->now, &r)) != ERR_EMPTY) {
        if (e == ERR_CHECKPOINT) {
            queue_file_checkpoint(f);
            continue;
        }
        assert_int_equal(e, OK);
        add(c, r.seq, r.attempts, r.bytes);
        assert_int_equal(queue_pop(&f->object, &f->now, &r), OK);
    }
}

/* --- files ----------------------------------------------------------------------------------- */

struct image {
    uint8_t *at;
    size_t len;
};

static struct image load(const char *path)
{
    struct stat st;
    const int fd = open(path, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    struct image image = {.at = malloc((size_t)st.st_size), .len = (size_t)st.st_size};
    assert_int_equal(read(fd, image.at, image.len), image.len);
    close(fd);
    return image;
}

static void save(const char *path, const struct image *image, size_t len)
{
    const int fd = open(path, O_WRONLY);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    assert_int_equal(pwrite(fd, image->at, len, 0), len);
    close(fd);
}

static void same(const struct content *a, const struct content *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_int_equal(a->items[i].seq, b->items[i].seq);
        assert_true(a->items[i].hash == b->items[i].hash);
    }
}

/* --- a queue --------------------------------------------------------------------------------- */

static void a_sound_queue_is_sound(void **state)
{
    (void)state;
    struct queue_file f;
    struct content seen;
    struct content there;
    struct check_counts counts;
    queue_file_make(&f);
    queue_file_fill(&f, 40);
    queue_file_kill(&f);
    assert_int_equal(check_path(folder_file(f.dir, "q"), &seen, &counts), OK);
    assert_int_equal(counts.kind, FILE_QUEUE);
    assert_int_equal(counts.things, 11);
    assert_int_equal(counts.lost + counts.damages + counts.notes, 0);
    queue_file_open(&f);
    drain(&f, &there);
    same(&seen, &there);
    assert_int_equal(seen.n, 11);
    queue_file_remove(&f);
}

static void the_file_is_left_as_it_was(void **state)
{
    (void)state;
    struct queue_file f;
    struct content seen;
    struct stat before;
    struct stat after;
    queue_file_make(&f);
    queue_file_fill(&f, 40);
    queue_file_kill(&f);
    const char *path = folder_file(f.dir, "q");
    struct image image = load(path);
    image.at[20] ^= 1; /* to be put right in the copy */
    save(path, &image, image.len);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(check_path(path, &seen, NULL), ERR_DAMAGED);
    assert_int_equal(seen.n, 11);
    assert_int_equal(stat(path, &after), 0);
    const struct image now = load(path);
    assert_int_equal(now.len, image.len);
    assert_memory_equal(now.at, image.at, now.len);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
    assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
    assert_int_equal(before.st_blocks, after.st_blocks);
    assert_int_equal(listxattr(path, NULL, 0), 0);
    free(image.at);
    free(now.at);
    queue_file_remove(&f);
}

/* Both of them on the same bytes; how many items are lost. */
static uint64_t compare(struct queue_file *f, const struct image *image, size_t at)
{
    struct content seen;
    struct content there;
    struct check_counts counts;
    char why[QUEUE_WHY];
    const char *path = folder_file(f->dir, "q");
    save(path, image, image->len);
    const enum err e = check_path(path, &seen, &counts);
    assert_true(e == OK || e == ERR_DAMAGED);
    assert_int_equal(e == OK, counts.damages == 0);
    if (queue_file_try(f, why) != OK) {
        assert_int_equal(e, ERR_DAMAGED);
        return counts.lost;
    }
    drain(f, &there);
    if (seen.n != there.n || counts.lost != queue_file_look(f).damaged)
        print_message("byte %zu: check sees %zu items and %ju lost, the engine %zu and %ju\n", at,
                      seen.n, (uintmax_t)counts.lost, there.n,
                      (uintmax_t)queue_file_look(f).damaged);
    same(&seen, &there);
    assert_int_equal(counts.lost, queue_file_look(f).damaged);
    queue_file_kill(f);
    return counts.lost;
}

static void each_flipped_bit_is_seen_as_the_engine_sees_it(void **state)
{
    (void)state;
    struct queue_file f;
    queue_file_make(&f);
    queue_file_fill(&f, 40);
    const size_t end = (2U << 16) + (size_t)(f.object.queue->logs[LOG_MAIN].tail & 0xffff);
    queue_file_kill(&f);
    struct image image = load(folder_file(f.dir, "q"));
    const size_t ranges[][2] = {{0, 64},        {4096, 4400},   {8184, 8500},
                                {12280, 12340}, {16376, 16440}, {65536, end - 65536 + 64}};
    uint64_t lost = 0;
    for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++)
        for (size_t at = ranges[r][0]; at < ranges[r][1]; at++) {
            const uint8_t bit = (uint8_t)(1U << at % 8);
            image.at[at] ^= bit;
            lost += compare(&f, &image, at);
            image.at[at] ^= bit;
        }
    assert_true(lost > 500);
    free(image.at);
    queue_file_remove(&f);
}

enum { PAGE = 4096 };

static void zeroed_and_swapped_pages_are_seen_as_the_engine_sees_them(void **state)
{
    (void)state;
    struct queue_file f;
    uint8_t kept[PAGE];
    queue_file_make(&f);
    queue_file_fill(&f, 40);
    queue_file_kill(&f);
    struct image image = load(folder_file(f.dir, "q"));
    for (size_t i = 0; i < image.len / PAGE; i++) {
        uint8_t *page = image.at + i * PAGE;
        memcpy(kept, page, PAGE);
        memset(page, 0, PAGE);
        compare(&f, &image, i * PAGE);
        memcpy(page, kept, PAGE);
        for (size_t j = 0; j < 5 && j < i; j++) {
            memcpy(page, image.at + j * PAGE, PAGE);
            memcpy(image.at + j * PAGE, kept, PAGE);
            compare(&f, &image, i * PAGE + j);
            memcpy(image.at + j * PAGE, page, PAGE);
            memcpy(page, kept, PAGE);
        }
    }
    free(image.at);
    queue_file_remove(&f);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Some places at once: bits, runs of zeros, and bytes from elsewhere in the file. */
static void damage(struct image *image, size_t end, uint64_t *state)
{
    const size_t most = end - 65536;
    for (uint64_t n = 1 + next_random(state) % 4; n > 0; n--) {
        const size_t at = 65536 + next_random(state) % most;
        const size_t from = 65536 + next_random(state) % most;
        const size_t len = 8 + next_random(state) % 200;
        switch (next_random(state) % 4) {
        case 0: image->at[at] ^= (uint8_t)(1U << next_random(state) % 8); break;
        case 1: memset(image->at + at, 0, len); break;
        case 2: memmove(image->at + at / 8 * 8, image->at + from / 8 * 8, len); break;
        default: image->at[4096 + next_random(state) % 12288] ^= 1; break;
        }
    }
}

static void damage_by_chance_is_seen_as_the_engine_sees_it(void **state)
{
    (void)state;
    struct queue_file f;
    uint64_t chance = 0x9e3779b97f4a7c15;
    uint64_t lost = 0;
    queue_file_make(&f);
    queue_file_fill(&f, 40);
    const size_t end = (size_t)f.object.queue->logs[LOG_MAIN].tail;
    queue_file_kill(&f);
    struct image image = load(folder_file(f.dir, "q"));
    uint8_t *sound = malloc(image.len);
    memcpy(sound, image.at, image.len);
    for (size_t i = 0; i < 1000; i++) {
        damage(&image, end, &chance);
        lost += compare(&f, &image, i);
        memcpy(image.at, sound, image.len);
    }
    assert_true(lost > 500);
    free(sound);
    free(image.at);
    queue_file_remove(&f);
}

/* What is left of the items can be told, though the engine refuses the file. */
static void a_file_that_was_cut_shows_what_is_left(void **state)
{
    (void)state;
    struct queue_file f;
    struct content seen;
    struct check_counts counts;
    uint8_t bytes[1000]; /* no zeros: those are what is missing */
    uint64_t seq;
    const struct span item = span_of(memset(bytes, 7, sizeof bytes), sizeof bytes);
    queue_file_make(&f);
    for (int i = 0; i < 50; i++)
        assert_int_equal(queue_push(&f.object, &f.now, &item, 1, &seq), OK);
    queue_file_checkpoint(&f);
    queue_file_kill(&f);
    const char *path = folder_file(f.dir, "q");
    const struct image image = load(path);
    for (size_t len = 1; len < image.len; len += len < PAGE ? 7 : 1009) {
        char why[QUEUE_WHY];
        save(path, &image, len);
        assert_int_equal(check_path(path, &seen, &counts), ERR_DAMAGED);
        const size_t whole = len < 65536 ? 0 : (len - 65536) / 1048;
        assert_int_equal(seen.n, whole < 50 ? whole : 50);
        if (len >= (size_t)3 * PAGE)
            assert_int_equal(counts.lost, 50 - seen.n);
        assert_int_equal(queue_file_try(&f, why), ERR_DAMAGED);
    }
    free(image.at);
    queue_file_remove(&f);
}

static void another_version_cannot_be_read(void **state)
{
    (void)state;
    struct queue_file f;
    struct content seen;
    queue_file_make(&f);
    queue_file_kill(&f);
    const char *path = folder_file(f.dir, "q");
    const struct image image = load(path);
    struct superblock super;
    memcpy(&super, image.at, sizeof super);
    super.version = 2;
    super.hash = hash_bytes(0, &super, offsetof(struct superblock, hash));
    memcpy(image.at, &super, sizeof super);
    save(path, &image, image.len);
    assert_int_equal(check_path(path, &seen, NULL), ERR_ENOTSUP);
    free(image.at);
    queue_file_remove(&f);
}

static void blocks_of_another_version_cannot_be_read(void **state)
{
    (void)state;
    char *dir = folder_make();
    uint8_t bytes[2 * PAGE + 160] = {0};
    struct block_header h = {.magic = BLOCK_MAGIC, .version = 2, .block_size = 8};
    const struct check check = {.now_ms = 1000};
    h.hash = hash_bytes(0, &h, offsetof(struct block_header, hash));
    memcpy(bytes, &h, sizeof h);
    const int fd = open(folder_file(dir, "b"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(check_file(fd, &check), ERR_ENOTSUP);
    close(fd);
    folder_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_queue_is_sound),
        cmocka_unit_test(the_file_is_left_as_it_was),
        cmocka_unit_test(each_flipped_bit_is_seen_as_the_engine_sees_it),
        cmocka_unit_test(zeroed_and_swapped_pages_are_seen_as_the_engine_sees_them),
        cmocka_unit_test(damage_by_chance_is_seen_as_the_engine_sees_it),
        cmocka_unit_test(a_file_that_was_cut_shows_what_is_left),
        cmocka_unit_test(another_version_cannot_be_read),
        cmocka_unit_test(blocks_of_another_version_cannot_be_read),
    };
    guard_install();
    log_open("/dev/null");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
