#include "fuzz/queue_use.h"

#include "fuzz/memory.h"
#include "sys/hash.h"

const struct queue_limits use_limits = {.granule = 256,
                                        .page = 512,
                                        .window = 700,
                                        .shelf = 500,
                                        .shelve_most = 4096,
                                        .consumption = 1400,
                                        .checkpoint = 1200,
                                        .checkpoint_ms = 1000,
                                        .punch_ms = 0,
                                        .punch_run = 2};
const struct turn use_now = {.now_ms = 1700000000000, .may_wait = true};

enum { DONE_MOST = 4096, ITEM_USUAL = 120, ITEM_LONG = 1200, CHECKPOINTS_MOST = 200 };

/* Those that have been handed out for good since the opening. */
static struct {
    uint64_t seqs[DONE_MOST];
    size_t n;
} done;

/* --- what must hold --------------------------------------------------------------------------- */

/* Nothing here fails but by the bytes. */
static enum err sound(enum err e)
{
    must(e != ERR_EIO && e != ERR_WOULD_BLOCK && e != ERR_EACCES && e != ERR_ENOMEM);
    return e;
}

/* The record is what its hashes say, wherever the engine has it from. */
static void is_whole(const struct object *o, const struct record *r)
{
    const struct queue *q = o->queue;
    const unsigned log = r->item != NULL ? r->item->log : LOG_MAIN;
    struct record_fields f;
    uint64_t left = 0;
    const uint64_t offset = log_offset(&q->logs[log], r->pos, &left);
    must(offset != NO_POSITION && left >= sizeof f);
    must(offset <= o->map.size && o->map.size - offset >= sizeof f);
    memcpy(&f, o->map.at + offset, sizeof f);
    must(f.length <= left - sizeof f && f.length <= o->map.size - offset - sizeof f);
    const uint8_t *payload = o->map.at + offset + sizeof f;
    const size_t before = f.kind == RECORD_MOVED ? sizeof(struct origin_fields) : 0;
    must(f.kind == RECORD_ITEM || f.kind == RECORD_MOVED);
    must((uint32_t)hash_bytes(q->seed + 2 * r->pos + log, &f, RECORD_HASHED) == f.header_hash);
    must((uint32_t)hash_bytes(q->seed + f.seq, payload, f.length) == f.payload_hash);
    must(f.seq == r->seq && r->bytes.at == payload + before && r->bytes.len == f.length - before);
}

static void is_new(uint64_t seq)
{
    for (size_t i = 0; i < done.n; i++)
        must(done.seqs[i] != seq);
}

static void check(const struct object *o, const struct record *r)
{
    is_whole(o, r);
    is_new(r->seq);
}

static void note_done(uint64_t seq)
{
    must(done.n < DONE_MOST);
    done.seqs[done.n++] = seq;
}

static void check_figures(struct object *o)
{
    struct queue_info i;
    queue_look(o, &i);
    must(i.ready + i.leased + i.delayed + i.buried == i.items);
    must(i.first_id <= i.next_id && i.head <= i.tail);
}

/* --- checkpoints ------------------------------------------------------------------------------ */

static bool step(struct object *o, bool force)
{
    if (checkpoint_go(o, use_now.now_ms, force) == CHECKPOINT_REST)
        return false;
    checkpoint_run(o);
    return true;
}

static void settle(struct object *o)
{
    while (checkpoint_under_way(o))
        step(o, false);
}

static void checkpoint(struct object *o)
{
    settle(o);
    must(checkpoint_whole(o, use_now.now_ms, false) == OK);
}

/* --- items ------------------------------------------------------------------------------------ */

static struct span any_item(struct dice *d, uint8_t bytes[ITEM_LONG])
{
    const size_t len = dice_below(d, dice_one_in(d, 20) ? ITEM_LONG : ITEM_USUAL);
    memset(bytes, (int)dice_below(d, 256), len);
    return span_of(bytes, len);
}

static void push(struct dice *d, struct object *o)
{
    uint8_t bytes[ITEM_LONG];
    struct span items[3];
    uint64_t first;
    const uint64_t n = 1 + dice_below(d, 3);
    for (uint64_t i = 0; i < n; i++)
        items[i] = any_item(d, bytes);
    for (uint64_t i = 0; i < n; i++)
        items[i] = items[n - 1];
    sound(queue_push(o, &use_now, items, n, &first));
}

static void push_moved(struct dice *d, struct object *o)
{
    const struct origin from = {.seq = dice_below(d, 100), .attempts = dice_below(d, 5)};
    uint8_t bytes[ITEM_LONG];
    uint64_t seq;
    sound(queue_push_moved(o, &use_now, &from, any_item(d, bytes), &seq));
}

/* The next one for good, or leased. */
static uint64_t front(struct object *o, bool for_good)
{
    struct record r;
    struct item *item;
    enum err e = ERR_CHECKPOINT;
    for (unsigned times = 0; e == ERR_CHECKPOINT; times++) {
        must(times < CHECKPOINTS_MOST);
        if (times > 0)
            checkpoint(o);
        e = sound(queue_front(o, &use_now, &r));
    }
    if (e != OK)
        return 0;
    check(o, &r);
    if (for_good)
        note_done(r.seq);
    e = for_good ? queue_pop(o, &use_now, &r) : queue_take(o, &use_now, &r, &item);
    must(sound(e) == OK);
    return 1;
}

static void look_around(struct dice *d, struct object *o)
{
    struct record r;
    if (sound(queue_next(o, &use_now, dice_below(d, 200), &r)) == OK)
        is_whole(o, &r);
    if (sound(queue_previous(o, &use_now, dice_below(d, 200), &r)) == OK)
        is_whole(o, &r);
    if (sound(queue_next_buried(o, &use_now, dice_below(d, 200), &r)) == OK)
        is_whole(o, &r);
}

/* What may be done with a leased one. */
static enum err end_lease(struct dice *d, struct object *o, struct item *item)
{
    switch (dice_below(d, 6)) {
    case 0: return queue_release(o, &use_now, item, 0);
    case 1: return queue_release(o, &use_now, item, 1 + dice_below(d, 5000));
    case 2: return queue_unsee(o, &use_now, item);
    case 3: return queue_bury(o, &use_now, item);
    case 4: note_done(item->seq); return queue_dead(o, &use_now, item);
    default: note_done(item->seq); return queue_ack(o, &use_now, item);
    }
}

static void change_item(struct dice *d, struct object *o)
{
    const uint64_t any = dice_one_in(d, 2) ? 0 : dice_below(d, 200);
    struct item *item = queue_item_from(o, any);
    if (item == NULL)
        return;
    if (item->state == ITEM_LEASED)
        must(sound(end_lease(d, o, item)) == OK);
    else if (item->state == ITEM_BURIED)
        must(sound(queue_kick(o, &use_now, item)) == OK);
    else if (item->state == ITEM_READY)
        queue_hold(o, item);
}

/* --- the whole queue -------------------------------------------------------------------------- */

static void configure(struct dice *d, struct object *o)
{
    struct queue_change change = {.given = QUEUE_MAX_ITEMS | QUEUE_OVERFLOW | QUEUE_REGISTERED};
    change.to.max_items = dice_below(d, 30);
    change.to.drop_head = dice_one_in(d, 2);
    memcpy(change.to.registered, "jobs", dice_below(d, 5));
    settle(o);
    must(sound(queue_configure(o, &change)) == OK);
}

static void erase(struct object *o)
{
    settle(o);
    must(sound(queue_erase(o, use_now.now_ms)) == OK);
}

static uint64_t any_use(struct dice *d, struct object *o)
{
    switch (dice_below(d, 20)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: push(d, o); break;
    case 5: push_moved(d, o); break;
    case 6:
    case 7:
    case 8: return front(o, true);
    case 9:
    case 10:
    case 11: return front(o, false);
    case 12:
    case 13:
    case 14: change_item(d, o); break;
    case 15: checkpoint(o); break;
    case 16: step(o, true); break;
    case 17: look_around(d, o); break;
    case 18: queue_wake(o, use_now.now_ms + dice_below(d, 10000), 10); break;
    default:
        if (dice_one_in(d, 4))
            erase(o);
        else
            configure(d, o);
    }
    return 0;
}

uint64_t use_by_chance(struct dice *d, struct object *o, uint64_t times)
{
    uint64_t handed = 0;
    for (uint64_t i = 0; i < times; i++) {
        handed += any_use(d, o);
        check_figures(o);
    }
    return handed;
}

/* --- from its opening to its end -------------------------------------------------------------- */

enum err use_open(struct object *o, char why[QUEUE_WHY])
{
    done.n = 0;
    *o = (struct object){.kind = OBJECT_QUEUE, .map = memory_map()};
    why[0] = '\0';
    return queue_open(o, &use_limits, "q", use_now.now_ms, why);
}

void use_kill(struct object *o)
{
    queue_forget(o->queue);
    free(o->queue->name);
    free(o->queue);
    o->queue = NULL;
}

void use_close(struct object *o)
{
    settle(o);
    queue_close(o);
}

/* Leased, delayed, buried, or ready and not whole. */
static uint64_t drain_behind(struct object *o)
{
    uint64_t n = 0;
    struct item *item;
    while ((item = queue_item_from(o, 0)) != NULL) {
        struct record r;
        const enum err e = sound(queue_read(o, &use_now, item, &r));
        must(e == OK || e == ERR_DAMAGED);
        if (e == ERR_DAMAGED)
            continue;
        check(o, &r);
        note_done(r.seq);
        must(sound(queue_ack(o, &use_now, item)) == OK);
        n++;
    }
    return n;
}

uint64_t use_drain(struct object *o)
{
    struct queue_info i;
    uint64_t n = 0;
    while (front(o, true) > 0)
        n++;
    n += drain_behind(o);
    queue_look(o, &i);
    must(i.items == 0 || i.damaged > 0);
    return n;
}
