/* Checkpoints: what goes to the shelf, when one is due, and syncs that fail beside requests. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store/queue_inside.h"
#include "support/check.h"
#include "support/queue_file.h"
#include "sys/os.h"

/* An old item that somebody has, and so much behind it that the next checkpoint shelves it. */
static struct item *old_item(struct queue_file *f)
{
    queue_file_push(f, 100, 1);
    queue_file_push(f, 1000000, 10);
    struct item *item = queue_file_take(f);
    queue_file_pop(f, 10);
    return item;
}

static uint8_t *record_of(struct queue_file *f, const struct item *item)
{
    uint64_t left;
    const uint64_t offset = log_offset(&f->object.queue->logs[item->log], item->pos, &left);
    assert_true(offset != NO_POSITION);
    return f->object.map.at + offset;
}

static void a_damaged_state_word_does_not_reach_the_shelf(void **state)
{
    (void)state;
    struct queue_file f;
    queue_file_make(&f);
    struct item *item = old_item(&f);
    assert_int_equal(queue_bury(&f.object, &f.now, item), OK);
    record_of(&f, item)[offsetof(struct record_fields, state)] ^= 3; /* buried: done */
    queue_file_checkpoint(&f);
    assert_int_equal(item->log, LOG_SHELF);
    queue_file_kill(&f);
    queue_file_open(&f);
    assert_int_equal(queue_file_look(&f).buried, 1);
    assert_int_equal(queue_file_look(&f).damaged, 0);
    assert_int_equal(queue_find(&f.object, 1)->attempts, 1);
    queue_file_remove(&f);
}

static void a_shelved_item_keeps_its_delay(void **state)
{
    (void)state;
    struct queue_file f;
    queue_file_make(&f);
    struct item *item = old_item(&f);
    assert_int_equal(queue_release(&f.object, &f.now, item, 5000), OK);
    queue_file_checkpoint(&f);
    assert_int_equal(item->log, LOG_SHELF);
    queue_file_kill(&f);
    queue_file_open(&f);
    assert_int_equal(queue_wakes_at(&f.object), f.now.now_ms + 5000);
    queue_file_remove(&f);
}

static struct os real;
static int cut_fd;

static int allocate_and_cut(int fd, off_t at, off_t len)
{
    const int result = real.allocate(fd, at, len);
    return ftruncate(cut_fd, 8192) == 0 ? result : -1;
}

/* In a process of its own: a SIGBUS that nobody expects would end the test. */
static void a_file_that_is_cut_while_items_are_shelved_fails(void **state)
{
    (void)state;
    struct queue_file f;
    queue_file_make(&f);
    old_item(&f);
    assert_int_equal(checkpoint_go(&f.object, f.now.now_ms, true), CHECKPOINT_ALONE);
    const pid_t child = fork();
    if (child == 0) {
        real = os;
        cut_fd = f.object.map.fd;
        os.allocate = allocate_and_cut;
        checkpoint_run(&f.object);
        _exit(f.object.failed ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    queue_file_kill(&f);
    queue_file_remove(&f);
}

static atomic_int syncs;
static sem_t first_sync, second_sync;

static void wait_for(sem_t *event, int deadline_ms)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += deadline_ms % 1000 * 1000000L;
    end.tv_sec += deadline_ms / 1000 + end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    while (sem_timedwait(event, &end) != 0 && errno == EINTR)
        continue;
}

/* As Linux has it: the first that asks is told, and here takes its time to say so. */
static int told_once(int fd)
{
    (void)fd;
    if (syncs++ > 0) {
        sem_post(&second_sync);
        return 0;
    }
    sem_post(&first_sync);
    wait_for(&second_sync, 100);
    errno = EIO;
    return -1;
}

static void *run_checkpoint(void *object)
{
    checkpoint_run(object);
    return NULL;
}

static void no_sync_succeeds_after_one_beside_has_failed(void **state)
{
    (void)state;
    struct queue_file f;
    pthread_t worker;
    queue_file_make(&f);
    queue_file_push(&f, 10, 1);
    assert_int_equal(checkpoint_go(&f.object, f.now.now_ms, true), CHECKPOINT_BESIDE);
    real = os;
    os.sync = told_once;
    syncs = 0;
    sem_init(&first_sync, 0, 0);
    sem_init(&second_sync, 0, 0);
    assert_int_equal(pthread_create(&worker, NULL, run_checkpoint, &f.object), 0);
    wait_for(&first_sync, 10000);
    assert_int_equal(object_sync(&f.object), ERR_EIO);
    assert_int_equal(object_writable(&f.object), ERR_EIO);
    pthread_join(worker, NULL);
    os = real;
    assert_int_equal(syncs, 1); /* no second try */
    assert_int_equal(checkpoint_go(&f.object, f.now.now_ms, false), CHECKPOINT_REST);
    queue_file_remove(&f);
}

static void one_is_due_when_the_clock_was_set_back(void **state)
{
    (void)state;
    struct queue_file f;
    queue_file_make(&f);
    queue_file_push(&f, 10, 1);
    const uint64_t now = f.now.now_ms;
    assert_int_equal(checkpoint_due(&f.object), now + 1000);
    assert_int_equal(checkpoint_go(&f.object, now + 999, false), CHECKPOINT_REST);
    assert_int_equal(checkpoint_go(&f.object, now - 3600000, false), CHECKPOINT_BESIDE);
    while (checkpoint_under_way(&f.object)) {
        checkpoint_run(&f.object);
        checkpoint_go(&f.object, now - 3600000, false);
    }
    assert_int_equal(checkpoint_due(&f.object), 0);
    queue_file_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_state_word_does_not_reach_the_shelf),
        cmocka_unit_test(a_shelved_item_keeps_its_delay),
        cmocka_unit_test(a_file_that_is_cut_while_items_are_shelved_fails),
        cmocka_unit_test(no_sync_succeeds_after_one_beside_has_failed),
        cmocka_unit_test(one_is_due_when_the_clock_was_set_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
