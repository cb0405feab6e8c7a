/* Crash images of the real queue: random operations on a small file; at their ends, at stores
 * within them, within checkpoints, syncs and recovery images are taken of what a power cut or a
 * kill could have left, and each is opened and held against the model.
 *
 *   sweep_queue IMAGES [SEED]
 *
 * Prints what it did; on the first violation what is wrong and with which seed, and exits with 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "store/queue_inside.h"
#include "sweep/disk.h"
#include "sweep/model.h"
#include "sys/guard.h"
#include "sys/log.h"

static const struct queue_limits limits = {.granule = 256,
                                           .page = 512,
                                           .window = 700,
                                           .shelf = 500,
                                           .shelve_most = 4096,
                                           .consumption = 1400,
                                           .checkpoint = 1200,
                                           .checkpoint_ms = 1000,
                                           .punch_ms = 0,
                                           .punch_run = 2};

enum { QUEUE_FD = 1 };

static struct disk_file disk;
static struct object live;
static struct model model;
static struct turn now = {.may_wait = true};
static bool pending; /* a step of the checkpoint is to be run */
static uint64_t sync_time, sync_tail;
static bool quiet; /* no kill images: the model is behind */

static struct {
    uint64_t seed;
    uint64_t images_most;
    uint64_t cuts, kills, ops, reopens;
    bool violated;
} run;

static void violation(const char *when, const char *why)
{
    if (!run.violated)
        printf("violation with seed %ju after %ju images, %s: %s\n", (uintmax_t)run.seed,
               (uintmax_t)(run.cuts + run.kills), when, why);
    run.violated = true;
}

/* --- looking at an image --------------------------------------------------------------------- */

static struct sight seen[MODEL_ITEMS];
static char why[200];

static bool same_bytes(const struct record_fields *f, const uint8_t *payload)
{
    uint8_t expected[2048];
    const struct model_item *item = &model.items[f->seq];
    if (f->length != item->len)
        return false;
    model_fill(expected, item->len, item->tag);
    return memcmp(expected, payload, item->len) == 0;
}

static bool see(struct object *o, unsigned log, uint64_t pos, uint64_t tail, uint64_t *next)
{
    struct record_fields f;
    struct spot at;
    snprintf(why, sizeof why, "the record at %ju of log %u is bad", (uintmax_t)pos, log);
    if (record_head(o, &now, log, pos, &f, &at) != OK)
        return false;
    *next = pos + record_size(f.length);
    if (f.kind == RECORD_JUMP)
        return true;
    const uint64_t value = f.state & ((UINT64_C(1) << 40) - 1);
    if (!state_fits(f.header_hash, f.state) || f.seq >= tail || f.seq == 0)
        return false;
    if (state_of(f.state) == STATE_DONE)
        return true;
    snprintf(why, sizeof why, "item %ju: comes back, is there twice, or is not what was pushed",
             (uintmax_t)f.seq);
    if (f.seq < model.low || seen[f.seq].there || record_payload(o, &now, &f, &at) != OK ||
        !same_bytes(&f, o->map.at + at.offset + sizeof f))
        return false;
    seen[f.seq] = (struct sight){.there = true, .value = value};
    return true;
}

/* All that both logs hold; false: something is wrong. */
static bool see_all(struct object *o)
{
    const struct queue *q = o->queue;
    const uint64_t tail = q->logs[LOG_MAIN].tail_seq;
    snprintf(why, sizeof why, "tail %ju is not possible", (uintmax_t)tail);
    if (tail > model.tail)
        return false;
    for (uint64_t seq = model.low; seq < tail; seq++)
        seen[seq].there = false;
    for (unsigned log = 0; log < LOGS; log++)
        for (uint64_t pos = q->logs[log].head; pos < q->logs[log].tail;)
            if (!see(o, log, pos, tail, &pos))
                return false;
    return true;
}

/* Does what the queue tells agree with what is in its logs? */
static bool counts_agree(struct object *o)
{
    struct queue_info info;
    uint64_t there = 0;
    queue_look(o, &info);
    for (uint64_t seq = model.low; seq < info.next_id; seq++)
        there += seen[seq].there;
    snprintf(why, sizeof why, "%ju items are told, %ju there, %ju damaged", (uintmax_t)info.items,
             (uintmax_t)there, (uintmax_t)info.damaged);
    return info.items == there && info.damaged == 0;
}

static bool inspect(struct object *o, bool killed)
{
    if (!see_all(o) || !counts_agree(o))
        return false;
    const char *refused = model_refuses(&model, seen, o->queue->logs[LOG_MAIN].tail_seq, killed);
    if (refused != NULL)
        snprintf(why, sizeof why, "%s", refused);
    return refused == NULL;
}

static void check(const struct image *image, bool killed)
{
    static struct disk_file scratch;
    char refused[QUEUE_WHY] = "";
    struct object o = {.kind = OBJECT_QUEUE};
    disk_scratch(&scratch, image);
    o.map = disk_map(&scratch);
    enum err e = queue_open(&o, &limits, "image", now.now_ms, refused);
    if (e != OK)
        snprintf(why, sizeof why, "it does not open: %s %s", err_atom(e), refused);
    if (e != OK || !inspect(&o, killed))
        violation(killed ? "a kill" : "a power cut", why);
    if (e != OK)
        return;
    queue_forget(o.queue);
    free(o.queue->name);
    free(o.queue);
}

static void cut_power(void)
{
    static struct image image;
    disk_cut(&disk, (enum cut)(disk_random() % CUTS), &image);
    check(&image, false);
    run.cuts++;
}

static void kill_it(void)
{
    static struct image image;
    disk_kill(&disk, &image);
    check(&image, true);
    run.kills++;
}

/* Within operations, checkpoints, syncs and recovery. */
static void look_within(void)
{
    static bool inside;
    if (inside || disk_random() % 24 != 0)
        return;
    inside = true;
    if (!quiet && !live.failed)
        kill_it();
    cut_power();
    cut_power();
    inside = false;
}

/* --- operations --------------------------------------------------------------------------------
 */

static bool is_ready(const struct model_item *item)
{
    const uint64_t value = model_value(item);
    const bool delayed = value >> 12 > 0 && !item->awake;
    return (value & 3) == STATE_AVAILABLE && !item->leased && !delayed;
}

/* What pop must give; 0: nothing. */
static uint64_t first_ready(void)
{
    for (uint64_t seq = model.low; seq < model.tail; seq++)
        if (is_ready(&model.items[seq]))
            return seq;
    return 0;
}

static uint64_t any_item(bool (*fits)(const struct model_item *))
{
    uint64_t chosen = 0;
    unsigned n = 0;
    for (uint64_t seq = model.low; seq < model.tail; seq++)
        if (fits(&model.items[seq]) && model_has_room(&model.items[seq]) &&
            disk_random() % ++n == 0)
            chosen = seq;
    return chosen;
}

static bool is_leased(const struct model_item *item)
{
    return item->leased;
}

static bool is_buried(const struct model_item *item)
{
    return (model_value(item) & 3) == STATE_BURIED;
}

static void must_be(bool is_so, const char *what)
{
    if (!is_so)
        violation("an operation", what);
}

static void push(uint32_t len)
{
    uint8_t bytes[2048];
    uint64_t seq;
    if (model.tail + 2 >= MODEL_ITEMS)
        return;
    struct model_item *item = &model.items[model.tail];
    *item = (struct model_item){.tag = (uint32_t)disk_random(), .len = len};
    model_fill(bytes, len, item->tag);
    model.tail++;
    model_change(&model, model.tail - 1, 0);
    const struct span span = span_of(bytes, len);
    enum err e = queue_push(&live, &now, &span, 1, &seq);
    if (e != OK)
        model.tail--;
    else
        must_be(seq == model.tail - 1, "a wrong number");
}

static uint64_t once_more(uint64_t value)
{
    return (((value >> 2) & 1023) + 1) << 2;
}

static void pop(bool take)
{
    struct record r;
    struct item *taken;
    const uint64_t seq = first_ready();
    if (seq != 0 && !model_has_room(&model.items[seq]))
        return;
    enum err e = queue_front(&live, &now, &r);
    if (e == ERR_CHECKPOINT || e == ERR_EIO)
        return;
    snprintf(why, sizeof why, "item %ju is first, not %ju (%s)", (uintmax_t)(e == OK ? r.seq : 0),
             (uintmax_t)seq, err_atom(e));
    must_be((e == OK) == (seq != 0) && (e != OK || r.seq == seq), why);
    if (e != OK || run.violated)
        return;
    struct model_item *item = &model.items[seq];
    const uint64_t attempts = once_more(model_value(item));
    const uint64_t old = item->n;
    model_change(&model, seq, take ? attempts : MODEL_DONE);
    e = take ? queue_take(&live, &now, &r, &taken) : queue_pop(&live, &now, &r);
    if (e != OK)
        item->n = (unsigned)old;
    else
        item->leased = take;
}

static void change(uint64_t seq, uint64_t value, enum err (*apply)(struct item *))
{
    struct model_item *item = &model.items[seq];
    if (seq == 0)
        return;
    struct item *found = queue_find(&live, seq);
    must_be(found != NULL, "an item in memory is missing");
    if (found == NULL)
        return;
    model_change(&model, seq, value);
    if (apply(found) != OK)
        item->n--;
    else
        item->leased = item->awake = false;
}

static enum err ack(struct item *item)
{
    return queue_ack(&live, &now, item);
}

static enum err unsee(struct item *item)
{
    return queue_unsee(&live, &now, item);
}

static enum err bury(struct item *item)
{
    return queue_bury(&live, &now, item);
}

static enum err kick(struct item *item)
{
    return queue_kick(&live, &now, item);
}

static void release(void)
{
    const uint64_t seq = any_item(is_leased);
    struct item *item = seq == 0 ? NULL : queue_find(&live, seq);
    if (item != NULL && queue_release(&live, &now, item, 0) == OK)
        model.items[seq].leased = false;
}

static void delay(void)
{
    const uint64_t seq = any_item(is_leased);
    struct item *item = seq == 0 ? NULL : queue_find(&live, seq);
    const uint64_t ms = 1000 * (1 + disk_random() % 1000);
    if (item == NULL)
        return;
    const uint64_t until = (now.now_ms - live.queue->created + ms + 999) / 1000;
    model_change(&model, seq, (uint64_t)item->attempts << 2 | until << 12);
    if (queue_release(&live, &now, item, ms) != OK)
        model.items[seq].n--;
    else
        model.items[seq].leased = model.items[seq].awake = false;
}

static void wake(void)
{
    now.now_ms += 1000 * (disk_random() % 100);
    queue_wake(&live, now.now_ms);
    for (uint64_t seq = model.low; seq < model.tail; seq++) {
        const uint64_t until = model_value(&model.items[seq]) >> 12;
        model.items[seq].awake = live.queue->created + until * 1000 <= now.now_ms;
    }
}

/* --- checkpoints -------------------------------------------------------------------------------
 */

static bool is_sync_step(void)
{
    const enum checkpoint_step step = live.queue->checkpoint.step;
    return step == STEP_SYNC || step == STEP_SLOT;
}

/* A sync that runs beside operations begins now and ends later. */
static void go(bool force)
{
    enum checkpoint next = checkpoint_go(&live, now.now_ms, force);
    while (next == CHECKPOINT_ALONE) {
        checkpoint_run(&live);
        next = checkpoint_go(&live, now.now_ms, false);
    }
    pending = next == CHECKPOINT_BESIDE;
    if (!pending || !is_sync_step())
        return;
    sync_time = model.now;
    sync_tail = model.tail;
    disk_sync_begin(&disk);
}

static void finish_step(void)
{
    const bool was_sync = is_sync_step();
    const bool fails = disk_fails;
    if (!pending)
        return;
    checkpoint_run(&live);
    if (was_sync && !fails)
        model_durable(&model, sync_time, sync_tail);
    disk_fails = false;
    go(false);
}

static void whole_checkpoint(void)
{
    if (!pending)
        go(true);
    while (pending && !live.failed)
        finish_step();
}

static void sync_all(void)
{
    if (disk.syncing)
        return;
    sync_time = model.now;
    sync_tail = model.tail;
    if (object_sync(&live) == OK)
        model_durable(&model, sync_time, sync_tail);
}

static void erase(void)
{
    while (pending && !live.failed)
        finish_step();
    if (live.failed || !model_have_room(&model))
        return;
    model.now++;
    model.op.time = model.now;
    const uint64_t tail = model.tail;
    for (uint64_t seq = model.low; seq < tail; seq++)
        if ((model_value(&model.items[seq]) & 3) != MODEL_DONE) {
            model_change(&model, seq, MODEL_DONE);
            model.items[seq].leased = false;
        }
    quiet = true; /* until the slot is written nothing is gone; then all is */
    if (queue_erase(&live, now.now_ms) == OK)
        model_durable(&model, model.now, tail);
    quiet = false;
}

/* --- the end of a life -------------------------------------------------------------------------
 */

static void forget_live(void)
{
    if (live.queue == NULL)
        return;
    queue_forget(live.queue);
    free(live.queue->name);
    free(live.queue);
    live.queue = NULL;
}

/* The file is what the image says; recovery is looked into as everything else is. */
static void live_on(const struct image *image, bool power)
{
    static struct disk_file scratch;
    char refused[QUEUE_WHY] = "";
    struct object o = {.kind = OBJECT_QUEUE};
    disk_scratch(&scratch, image);
    o.map = disk_map(&scratch);
    if (queue_open(&o, &limits, "image", now.now_ms, refused) != OK || !see_all(&o)) {
        violation("reopening", refused);
        return;
    }
    model_become(&model, seen, o.queue->logs[LOG_MAIN].tail_seq, power);
    queue_forget(o.queue);
    free(o.queue->name);
    free(o.queue);
    forget_live();
    disk_become(&disk, image, power);
    live = (struct object){.kind = OBJECT_QUEUE, .map = disk_map(&disk)};
    pending = false;
    quiet = true;
    if (queue_open(&live, &limits, "live", now.now_ms, refused) != OK)
        violation("reopening", refused);
    else
        model_durable(&model, model.now, model.tail);
    quiet = false;
    wake();
    run.reopens++;
}

static void reopen(bool power)
{
    static struct image image;
    if (power)
        disk_cut(&disk, (enum cut)(disk_random() % CUTS), &image);
    else
        disk_kill(&disk, &image);
    live_on(&image, power);
}

/* After a failed sync only opening again helps; what the cache has is a version like any other. */
static void recover_from_failure(void)
{
    static struct image image;
    disk_kill(&disk, &image);
    check(&image, false);
    if (!run.violated)
        live_on(&image, false);
}

/* --- a run -------------------------------------------------------------------------------------
 */

static uint32_t some_length(void)
{
    const uint64_t kind = disk_random() % 16;
    const uint64_t most = kind < 9 ? 64 : kind < 14 ? 260 : 900;
    return (uint32_t)(1 + disk_random() % most);
}

static void begin(void)
{
    static const struct queue_change none;
    char refused[QUEUE_WHY] = "";
    disk_hook = NULL;
    forget_live();
    now.now_ms = 1000000000000;
    disk_make(&disk, QUEUE_FD);
    queue_make(QUEUE_FD, &limits, &none, now.now_ms);
    disk_sync_begin(&disk);
    disk_sync_end(&disk);
    live = (struct object){.kind = OBJECT_QUEUE, .map = disk_map(&disk)};
    pending = false;
    disk_fails = false;
    must(queue_open(&live, &limits, "live", now.now_ms, refused) == OK);
    model_init(&model);
    disk_hook = look_within;
}

enum op {
    PUSH,
    POP,
    TAKE,
    ACK,
    RELEASE,
    DELAY,
    UNSEE,
    BURY,
    KICK,
    WAKE,
    SYNC,
    STEP,
    CHECKPOINT,
    BIG_PUSH,
    ERASE,
    OPS
};

/* How often, by the character of a run: growing, busy, busy with checkpoints. */
static const unsigned weights[3][OPS] = {
    {30, 6, 6, 4, 1, 1, 1, 1, 1, 1, 3, 7, 0, 2, 0},
    {14, 20, 6, 4, 1, 1, 1, 2, 1, 1, 2, 9, 0, 1, 0},
    {20, 10, 8, 5, 1, 1, 1, 2, 1, 1, 2, 8, 3, 1, 0},
};

static enum op choose(unsigned character)
{
    unsigned all = 0;
    if (disk_random() % 200 == 0)
        return ERASE;
    for (int i = 0; i < OPS; i++)
        all += weights[character][i];
    uint64_t n = disk_random() % all;
    int i = 0;
    for (; n >= weights[character][i]; i++)
        n -= weights[character][i];
    return (enum op)i;
}

static void operate(enum op op)
{
    model.now++;
    model.op.on = true;
    model.op.time = model.now;
    model.op.tail = model.tail;
    switch (op) {
    case PUSH: push(some_length()); break;
    case POP: pop(false); break;
    case TAKE: pop(true); break;
    case ACK: change(any_item(is_leased), MODEL_DONE, ack); break;
    case RELEASE: release(); break;
    case DELAY: delay(); break;
    case UNSEE: {
        const uint64_t seq = any_item(is_leased);
        const uint64_t value = seq == 0 ? 0 : model_value(&model.items[seq]);
        change(seq, ((value >> 2 & 1023) - 1) << 2, unsee);
        break;
    }
    case BURY: {
        const uint64_t seq = any_item(is_leased);
        const uint64_t value = seq == 0 ? 0 : model_value(&model.items[seq]);
        change(seq, (value & 0xffc) | STATE_BURIED, bury);
        break;
    }
    case KICK: change(any_item(is_buried), 0, kick); break;
    case WAKE: wake(); break;
    case SYNC: sync_all(); break;
    case STEP:
        disk_fails = pending && is_sync_step() && disk_random() % 40 == 0;
        pending ? finish_step() : go(true);
        break;
    case CHECKPOINT: whole_checkpoint(); break;
    case BIG_PUSH: push((uint32_t)(500 + disk_random() % 380)); break;
    case ERASE: erase(); break;
    case OPS: break;
    }
    model.op.on = false;
    run.ops++;
}

static bool goes_on(void)
{
    return !run.violated && run.cuts + run.kills < run.images_most;
}

static void one_life(void)
{
    const unsigned character = (unsigned)(disk_random() % 3);
    begin();
    for (int i = 0; i < 500 && goes_on() && model.tail < MODEL_ITEMS - 50; i++) {
        operate(choose(character));
        if (live.failed && goes_on()) {
            recover_from_failure();
            continue;
        }
        if (i % 3 == 0 && goes_on())
            kill_it();
        for (int k = 0; k < 3 && goes_on(); k++)
            cut_power();
        const uint64_t end = disk_random() % 60;
        if (end < 2 && goes_on())
            reopen(end == 0);
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: sweep_queue IMAGES [SEED]\n");
        return 2;
    }
    run.images_most = strtoull(argv[1], NULL, 10);
    run.seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    guard_install();
    log_set_level(LOG_error);
    log_open("/dev/null");
    disk_seed(run.seed);
    disk_begin();
    const double start = seconds();
    while (goes_on())
        one_life();
    const double took = seconds() - start;
    disk_hook = NULL;
    forget_live();
    disk_end();
    printf("seed %ju: %ju power cuts, %ju kills, %ju operations, %ju reopenings, %.0f images/s\n",
           (uintmax_t)run.seed, (uintmax_t)run.cuts, (uintmax_t)run.kills, (uintmax_t)run.ops,
           (uintmax_t)run.reopens, (double)(run.cuts + run.kills) / took);
    return run.violated;
}
