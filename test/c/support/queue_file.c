#include "support/queue_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/queue_inside.h"
#include "support/check.h"
#include "support/folder.h"
#include "sys/guard.h"

void queue_file_make(struct queue_file *f)
{
    static const struct queue_change none;
    *f = (struct queue_file){.dir = folder_make(),
                             .now = {.now_ms = 1700000000000, .may_wait = true}};
    guard_install(); /* cmocka has put handlers of its own before each test */
    int fd = open(folder_file(f->dir, "q"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(queue_make(fd, &queue_limits, &none, f->now.now_ms), OK);
    close(fd);
    queue_file_open(f);
}

enum err queue_file_try(struct queue_file *f, char why[QUEUE_WHY])
{
    int fd = open(folder_file(f->dir, "q"), O_RDWR);
    assert_true(fd >= 0);
    const off_t size = lseek(fd, 0, SEEK_END);
    f->object = (struct object){.kind = OBJECT_QUEUE};
    assert_int_equal(map_open(&f->object.map, fd, (uint64_t)size, true, MAP_OF_FILE), OK);
    enum err e = queue_open(&f->object, &queue_limits, "q", f->now.now_ms, why);
    if (e != OK)
        object_close(&f->object);
    return e;
}

void queue_file_open(struct queue_file *f)
{
    char why[QUEUE_WHY];
    assert_int_equal(queue_file_try(f, why), OK);
}

void queue_file_kill(struct queue_file *f)
{
    struct queue *q = f->object.queue;
    queue_forget(q);
    free(q->name);
    free(q);
    f->object.queue = NULL;
    object_close(&f->object);
}

void queue_file_remove(struct queue_file *f)
{
    if (f->object.kind != OBJECT_CLOSED)
        object_close(&f->object);
    folder_remove(f->dir);
}

void queue_file_push(struct queue_file *f, size_t len, size_t n)
{
    uint8_t *bytes = calloc(1, len + 1);
    struct span *items = calloc(n, sizeof *items);
    uint64_t first;
    for (size_t i = 0; i < n; i++)
        items[i] = span_of(bytes, len);
    assert_int_equal(queue_push(&f->object, &f->now, items, n, &first), OK);
    free(items);
    free(bytes);
}

static enum err front(struct queue_file *f, struct record *r)
{
    enum err e = queue_front(&f->object, &f->now, r);
    if (e != ERR_CHECKPOINT)
        return e;
    queue_file_checkpoint(f);
    return queue_front(&f->object, &f->now, r);
}

struct item *queue_file_take(struct queue_file *f)
{
    struct record r;
    struct item *item = NULL;
    if (front(f, &r) == OK)
        assert_int_equal(queue_take(&f->object, &f->now, &r, &item), OK);
    return item;
}

void queue_file_pop(struct queue_file *f, size_t n)
{
    struct record r;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(front(f, &r), OK);
        assert_int_equal(queue_pop(&f->object, &f->now, &r), OK);
    }
}

void queue_file_checkpoint(struct queue_file *f)
{
    assert_int_equal(checkpoint_whole(&f->object, f->now.now_ms, false), OK);
}

struct queue_info queue_file_look(struct queue_file *f)
{
    struct queue_info info;
    queue_look(&f->object, &info);
    return info;
}

void queue_file_fill(struct queue_file *f, size_t len)
{
    static const struct origin from = {.uuid = {1}, .seq = 5, .attempts = 2};
    uint64_t seq;
    queue_file_push(f, 10, 3);
    assert_int_equal(queue_push_moved(&f->object, &f->now, &from, span_text("moved"), &seq), OK);
    queue_file_push(f, len, 8);
    queue_file_take(f);
    assert_int_equal(queue_bury(&f->object, &f->now, queue_file_take(f)), OK);
    assert_int_equal(queue_release(&f->object, &f->now, queue_file_take(f), 3600000), OK);
    queue_file_take(f);
    queue_file_pop(f, 2);
    queue_file_checkpoint(f);
    queue_file_push(f, 30, 2);
    queue_file_pop(f, 1);
}
