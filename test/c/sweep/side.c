#include "sweep/side.h"

#include <stdio.h>
#include <stdlib.h>

#include "sweep/look.h"
#include "sweep/run.h"

struct side sides[SIDES];
unsigned sides_used;
struct turn side_now = {.may_wait = true};

const struct queue_limits side_limits = {.granule = 256,
                                         .page = 512,
                                         .window = 700,
                                         .shelf = 500,
                                         .shelve_most = 4096,
                                         .consumption = 1400,
                                         .checkpoint = 1200,
                                         .checkpoint_ms = 1000,
                                         .punch_ms = 0,
                                         .punch_run = 2};

/* The item that is on its way from the first side to the second, as the daemon keeps it. */
static struct {
    uint64_t seq;   /* 0: none */
    uint64_t there; /* its number in the second; 0: not pushed yet */
    bool durable;   /* there */
} moving;

/* Which syncs of a durable queue's file fail is not for the queue to say. */
static bool is_durable(const struct side *s)
{
    return s->live.durable != NULL;
}

static void let_sync_fail(struct side *s)
{
    if (!is_durable(s))
        s->disk.fails = run.fails_every > 0 && one_in(run.fails_every);
}

static void must_be(bool is_so, const char *what)
{
    if (!is_so)
        violation("while it runs: %s", what);
}

/* With the journal, or its file, a durable queue may fail in the middle of anything. */
static bool has_failed(const struct side *s, enum err e)
{
    return e == ERR_EIO && is_durable(s) && s->live.failed;
}

static void must_work(const struct side *s, enum err e)
{
    must_be(e == OK || has_failed(s, e), err_atom(e));
}

/* --- which items -------------------------------------------------------------------------------
 */

static bool is_ready(const struct model_item *item)
{
    const uint64_t value = history_value(&item->states);
    const bool delayed = state_until(value) > 0 && !item->awake;
    return state_of(value) == STATE_AVAILABLE && !item->leased && !delayed;
}

static bool is_leased(const struct model_item *item)
{
    return item->leased && !item->moving;
}

static bool is_buried(const struct model_item *item)
{
    return state_of(history_value(&item->states)) == STATE_BURIED;
}

/* 0: none that is `from` or more. */
static uint64_t first_ready(const struct model *m, uint64_t from)
{
    for (uint64_t seq = from < m->low ? m->low : from; seq < m->tail; seq++)
        if (is_ready(&m->items[seq]))
            return seq;
    return 0;
}

static uint64_t any_item(const struct model *m, bool (*fits)(const struct model_item *))
{
    uint64_t chosen = 0;
    uint64_t n = 0;
    for (uint64_t seq = m->low; seq < m->tail; seq++)
        if (fits(&m->items[seq]) && history_has_room(&m->items[seq].states) && one_in(++n))
            chosen = seq;
    return chosen;
}

static uint64_t stored(const struct model *m)
{
    uint64_t n = 0;
    for (uint64_t seq = m->low; seq < m->tail; seq++)
        n += history_is_there(&m->items[seq].states);
    return n;
}

void side_compare(struct side *s)
{
    struct queue_info i;
    uint64_t ready = 0;
    uint64_t leased = 0;
    uint64_t buried = 0;
    char why[160];
    if (s->live.failed)
        return;
    for (uint64_t seq = s->model.low; seq < s->model.tail; seq++) {
        ready += is_ready(&s->model.items[seq]);
        leased += s->model.items[seq].leased;
        buried += is_buried(&s->model.items[seq]);
    }
    queue_look(&s->live, &i);
    const uint64_t gone = i.popped + i.acked + i.dropped + i.dead;
    snprintf(why, sizeof why, "%ju items, not %ju; %ju ready, not %ju; %ju leased, %ju buried",
             (uintmax_t)i.items, (uintmax_t)stored(&s->model), (uintmax_t)i.ready, (uintmax_t)ready,
             (uintmax_t)i.leased, (uintmax_t)i.buried);
    must_be(i.items == stored(&s->model) && i.ready == ready && i.leased == leased &&
                i.buried == buried && i.damaged == 0 && i.next_id == s->model.tail &&
                gone + i.items == i.pushed,
            why);
}

/* --- pushing -----------------------------------------------------------------------------------
 */

/* Marks what a push of n items will drop. OK, ERR_FULL: it does not fit; ERR_BADARG: the model has
 * no room for that. */
static enum err drop(struct model *m, uint64_t n)
{
    const uint64_t options = history_value(&m->options);
    const uint64_t most = model_most(options);
    const uint64_t after = stored(m) + n;
    uint64_t over = most > 0 && after > most ? after - most : 0;
    uint64_t last = 0;
    if (over > 0 && (!model_drops(options) || n > most))
        return ERR_FULL;
    for (uint64_t left = over; left > 0; left--) {
        last = first_ready(m, last + 1);
        if (last == 0)
            return ERR_FULL;
        if (!history_has_room(&m->items[last].states))
            return ERR_BADARG;
    }
    run.reached[DROP] += over;
    for (; over > 0; over--)
        model_change(m, &m->items[first_ready(m, 0)].states, MODEL_DONE);
    return OK;
}

/* A push has failed: only what it has dropped for the next try stays so. */
static void undo(struct side *s, uint64_t tail, uint64_t dropped)
{
    struct model *m = &s->model;
    m->tail = tail;
    for (uint64_t seq = m->low; seq < tail; seq++) {
        struct history *h = &m->items[seq].states;
        h->n -= h->n > 1 && h->versions[h->n - 1].time == m->now;
    }
    run.reached[DROP_AHEAD] += dropped;
    for (; dropped > 0; dropped--)
        model_change(m, &m->items[first_ready(m, 0)].states, MODEL_DONE);
}

static bool is_no_space(enum err e)
{
    return e == ERR_ENOSPC || e == ERR_CHECKPOINT;
}

enum { AT_ONCE = 4 };

static void push(struct side *s, uint64_t n, uint64_t longest)
{
    uint8_t bytes[AT_ONCE][MODEL_LONGEST];
    struct model *m = &s->model;
    struct span items[AT_ONCE];
    uint64_t first;
    const uint64_t tail = m->tail;
    if (tail + n + 1 >= MODEL_ITEMS)
        return;
    const enum err expected = drop(m, n);
    if (expected == ERR_BADARG)
        return;
    for (uint64_t i = 0; i < n; i++) {
        const struct model_item *item = model_push(m, (uint32_t)below(longest + 1));
        items[i] = span_of(bytes[i], model_payload(&item->content, bytes[i]));
    }
    const uint64_t dropped = s->live.queue->dropped;
    enum err e = queue_push(&s->live, &side_now, items, n, &first);
    if (has_failed(s, e))
        return;
    if (e != OK)
        undo(s, tail, s->live.queue->dropped - dropped);
    run.reached[FULL] += e == ERR_FULL;
    must_be(e == expected || is_no_space(e), e == OK ? "too much fits" : err_atom(e));
    must_be(e != OK || first == tail, "a wrong number");
}

static uint64_t some_length(void)
{
    const uint64_t kind = below(16);
    return kind < 9 ? 64 : kind < 14 ? 260 : 900;
}

/* --- what becomes of items ---------------------------------------------------------------------
 */

static uint64_t once_more(uint64_t value)
{
    return state_value(STATE_AVAILABLE, state_attempts(value) + 1, 0);
}

static bool is_first(struct side *s, uint64_t seq, struct record *r)
{
    char why[80];
    enum err e = queue_front(&s->live, &side_now, r);
    if (e == ERR_CHECKPOINT || has_failed(s, e))
        return false;
    snprintf(why, sizeof why, "item %ju is first, not %ju (%s)", (uintmax_t)(e == OK ? r->seq : 0),
             (uintmax_t)seq, err_atom(e));
    must_be(e == OK ? r->seq == seq && look_same(s, seq, r->bytes) : e == ERR_EMPTY && seq == 0,
            why);
    return e == OK && !run.violated;
}

/* As a worker does, who holds it for somebody; true: who has gone meanwhile. */
static bool hold_and_let_go(struct side *s, struct record *r)
{
    struct item *held;
    if (!one_in(3))
        return false;
    must_be(queue_hold_front(&s->live, &side_now, r, &held) == OK, "it cannot be held");
    *r = queue_record_of(held);
    if (!one_in(4))
        return false;
    must_be(queue_release(&s->live, &side_now, held, 0) == OK, "it does not go back");
    return true;
}

static void pop(struct side *s, bool take)
{
    struct record r;
    struct item *taken;
    const uint64_t seq = first_ready(&s->model, 0);
    struct model_item *item = &s->model.items[seq];
    if ((seq != 0 && !history_has_room(&item->states)) || !is_first(s, seq, &r))
        return;
    if (hold_and_let_go(s, &r))
        return;
    const uint64_t value = take ? once_more(history_value(&item->states)) : MODEL_DONE;
    must_be(r.attempts == state_attempts(history_value(&item->states)), "wrong attempts");
    model_change(&s->model, &item->states, value);
    enum err e =
        take ? queue_take(&s->live, &side_now, &r, &taken) : queue_pop(&s->live, &side_now, &r);
    must_work(s, e);
    item->leased = take && e == OK;
}

static void change(struct side *s, uint64_t seq, uint64_t value,
                   enum err (*apply)(struct object *, const struct turn *, struct item *))
{
    struct model_item *item = &s->model.items[seq];
    struct item *found = queue_find(&s->live, seq);
    must_be(found != NULL, "an item in memory is missing");
    if (found == NULL)
        return;
    model_change(&s->model, &item->states, value);
    must_work(s, apply(&s->live, &side_now, found));
    item->leased = item->awake = false;
}

static void settle_leased(struct side *s, enum side_op op)
{
    const uint64_t seq = any_item(&s->model, is_leased);
    if (seq == 0)
        return;
    const unsigned attempts = state_attempts(history_value(&s->model.items[seq].states));
    if (op == ACK)
        change(s, seq, MODEL_DONE, queue_ack);
    else if (op == BURY)
        change(s, seq, state_value(STATE_BURIED, attempts, 0), queue_bury);
    else
        change(s, seq, state_value(STATE_AVAILABLE, attempts - 1, 0), queue_unsee);
}

static void release(struct side *s, uint64_t delay_ms)
{
    const uint64_t seq = any_item(&s->model, is_leased);
    struct item *found = seq == 0 ? NULL : queue_find(&s->live, seq);
    if (found == NULL)
        return;
    struct model_item *item = &s->model.items[seq];
    const uint64_t until = (side_now.now_ms - s->live.queue->created + delay_ms + 999) / 1000;
    const unsigned attempts = state_attempts(history_value(&item->states));
    if (delay_ms > 0)
        model_change(&s->model, &item->states, state_value(STATE_AVAILABLE, attempts, until));
    must_work(s, queue_release(&s->live, &side_now, found, delay_ms));
    item->leased = item->awake = false;
}

static void kick(struct side *s)
{
    const uint64_t seq = any_item(&s->model, is_buried);
    if (seq != 0)
        change(s, seq, 0, queue_kick);
}

void side_wake(struct side *s)
{
    run.reached[DELAY_OVER] += queue_wake(&s->live, side_now.now_ms, SIZE_MAX);
    for (uint64_t seq = s->model.low; seq < s->model.tail; seq++) {
        struct model_item *item = &s->model.items[seq];
        const uint64_t until = state_until(history_value(&item->states));
        item->awake = s->live.queue->created + until * 1000 <= side_now.now_ms;
    }
}

/* --- checkpoints, syncs ------------------------------------------------------------------------
 */

static bool is_sync_step(const struct side *s)
{
    const enum checkpoint_step step = s->live.queue->checkpoint.step;
    return step == STEP_SYNC || step == STEP_SLOT;
}

/* A sync that runs beside operations begins now and ends later. */
static void go(struct side *s, bool force)
{
    enum checkpoint next = checkpoint_go(&s->live, side_now.now_ms, force);
    while (next == CHECKPOINT_ALONE) {
        const uint64_t tail = s->live.queue->logs[LOG_SHELF].tail;
        checkpoint_run(&s->live);
        run.reached[COPY] += s->live.queue->logs[LOG_SHELF].tail > tail;
        next = checkpoint_go(&s->live, side_now.now_ms, false);
    }
    s->pending = next == CHECKPOINT_BESIDE;
    if (!s->pending || !is_sync_step(s))
        return;
    s->sync_time = s->model.now;
    s->sync_tail = s->model.tail;
    if (!is_durable(s))
        disk_sync_begin(&s->disk);
}

static void finish_step(struct side *s)
{
    const bool was_sync = is_sync_step(s);
    const bool fails = s->disk.fails && !is_durable(s);
    checkpoint_run(&s->live);
    if (was_sync && !fails && !s->live.failed)
        model_durable(&s->model, s->sync_time, s->sync_tail);
    go(s, false);
}

static void step(struct side *s)
{
    if (s->pending && is_sync_step(s))
        let_sync_fail(s);
    if (s->pending)
        finish_step(s);
    else
        go(s, true);
}

void side_finish_checkpoint(struct side *s)
{
    while (s->pending && !s->live.failed)
        finish_step(s);
}

static void give_up_checkpoint(struct side *s)
{
    while (s->pending) {
        checkpoint_run(&s->live);
        go(s, false);
    }
    s->disk.syncing = false; /* what has failed does not ask the disk again */
}

/* A sync of its own, also beside that of a checkpoint, which then has nothing left to do. */
static void sync_all(struct side *s)
{
    const bool under_way = s->disk.syncing;
    s->disk.syncing = false;
    let_sync_fail(s);
    if (object_sync(&s->live) == OK)
        model_durable(&s->model, s->model.now, s->model.tail);
    s->disk.syncing = under_way;
    s->disk.mark = 0;
}

static void erase(struct side *s)
{
    struct model *m = &s->model;
    side_finish_checkpoint(s);
    if (s->live.failed || !model_has_room(m))
        return;
    const uint64_t tail = m->tail;
    for (uint64_t seq = m->low; seq < tail; seq++) {
        struct model_item *item = &m->items[seq];
        if (history_is_there(&item->states))
            model_change(m, &item->states, MODEL_DONE);
        item->leased = item->moving = false;
    }
    if (s == &sides[0])
        moving.seq = 0;
    let_sync_fail(s);
    if (queue_erase(&s->live, side_now.now_ms) == OK)
        model_durable(m, m->now, tail);
}

static void configure(struct side *s)
{
    struct queue_change c = {.given = QUEUE_MAX_ITEMS | QUEUE_LEASE_MS | QUEUE_MAX_ATTEMPTS |
                                      QUEUE_OVERFLOW | QUEUE_DEAD_LETTER | QUEUE_REGISTERED};
    const uint64_t value = below(MODEL_OPTIONS) & (one_in(2) ? ~UINT64_C(31) : UINT64_MAX);
    if (!history_has_room(&s->model.options) || s->disk.syncing)
        return;
    model_options(value, &c.to);
    model_change(&s->model, &s->model.options, value);
    let_sync_fail(s);
    if (queue_configure(&s->live, &c) == OK)
        model_durable(&s->model, s->model.now, s->model.tail);
    run.reached[OPTIONS]++;
}

/* --- one operation -----------------------------------------------------------------------------
 */

static void begin_op(struct side *s)
{
    s->model.now++;
    s->model.op.on = true;
    s->model.op.time = s->model.now;
    s->model.op.tail = s->model.tail;
}

static void end_op(struct side *s)
{
    s->model.op.on = false;
    if (!is_durable(s))
        s->disk.fails = false;
    run.ops++;
}

static void apply(struct side *s, enum side_op op)
{
    switch (op) {
    case PUSH: push(s, one_in(8) ? AT_ONCE : 1, some_length()); break;
    case PUSH_BIG: push(s, 1, 880); break;
    case PUSH_SMALL: push(s, 1, 64); break;
    case POP:
    case TAKE: pop(s, op == TAKE); break;
    case ACK:
    case BURY:
    case UNSEE: settle_leased(s, op); break;
    case RELEASE: release(s, 0); break;
    case DELAY: release(s, 1000 * (1 + below(200))); break;
    case KICK: kick(s); break;
    case WAKE:
        side_now.now_ms += 1000 * below(100);
        for (unsigned i = 0; i < sides_used; i++)
            side_wake(&sides[i]);
        break;
    case SYNC: sync_all(s); break;
    case STEP: step(s); break;
    case CHECKPOINT:
        if (!s->pending)
            go(s, true);
        side_finish_checkpoint(s);
        break;
    case ERASE: erase(s); break;
    case CONFIGURE: configure(s); break;
    case SIDE_OPS: break;
    }
}

void side_do(struct side *s, enum side_op op)
{
    begin_op(s);
    apply(s, op);
    end_op(s);
}

/* --- moves -------------------------------------------------------------------------------------
 */

void side_give_up_moving(void)
{
    struct model_item *item = &sides[0].model.items[moving.seq];
    struct object *o = &sides[0].live;
    if (moving.seq == 0)
        return;
    struct item *found = o->queue == NULL ? NULL : queue_find(o, moving.seq);
    if (found != NULL)
        queue_release(o, &side_now, found, 0);
    item->moving = item->leased = false;
    moving.seq = 0;
}

/* A ready item is held without a delivery, as that is which has been delivered too often. */
static void begin_moving(void)
{
    struct side *from = &sides[0];
    const bool ready = one_in(2);
    const uint64_t seq = any_item(&from->model, ready ? is_ready : is_leased);
    struct item *item = seq == 0 ? NULL : queue_find(&from->live, seq);
    if (item == NULL)
        return;
    if (ready)
        queue_hold(&from->live, item);
    from->model.items[seq].leased = from->model.items[seq].moving = true;
    moving.seq = seq;
    moving.there = 0;
    moving.durable = false;
}

static void push_moved(struct side *to)
{
    const struct model_item *old = &sides[0].model.items[moving.seq];
    uint8_t bytes[MODEL_LONGEST];
    uint64_t seq;
    const uint64_t tail = to->model.tail;
    const uint64_t value = history_value(&old->states);
    if (tail + 2 >= MODEL_ITEMS || old->content.origin.seq != 0 || drop(&to->model, 1) != OK) {
        side_give_up_moving();
        return;
    }
    struct content *c = &model_push(&to->model, old->content.len)->content;
    c->tag = old->content.tag;
    const size_t len = model_payload(c, bytes);
    c->origin = (struct origin){.seq = moving.seq, .attempts = state_attempts(value)};
    memcpy(c->origin.uuid, sides[0].uuid, sizeof c->origin.uuid);
    const uint64_t dropped = to->live.queue->dropped;
    enum err e = queue_push_moved(&to->live, &side_now, &c->origin, span_of(bytes, len), &seq);
    must_be(e == OK ? seq == tail : is_no_space(e) || has_failed(to, e), err_atom(e));
    moving.there = seq;
    if (e == OK)
        return;
    if (!has_failed(to, e))
        undo(to, tail, to->live.queue->dropped - dropped);
    side_give_up_moving();
}

/* Only what is durable there is done here. */
static void end_moving(void)
{
    struct side *from = &sides[0];
    const uint64_t seq = moving.seq;
    from->model.items[seq].moved_to = moving.there;
    from->model.items[seq].moving = false;
    moving.seq = 0;
    change(from, seq, MODEL_DONE, queue_dead);
    run.reached[MOVE]++;
}

static void move_on(void)
{
    struct side *to = &sides[1];
    if (moving.there == 0) {
        begin_op(to);
        push_moved(to);
        end_op(to);
    } else if (!moving.durable) {
        begin_op(to);
        sync_all(to);
        moving.durable = !to->live.failed;
        end_op(to);
    } else {
        begin_op(&sides[0]);
        end_moving();
        end_op(&sides[0]);
    }
}

void side_move(void)
{
    if (moving.seq != 0)
        move_on();
    else
        begin_moving();
}

/* --- lives -------------------------------------------------------------------------------------
 */

void side_forget_moving(void)
{
    moving.seq = 0;
}

void side_forget(struct side *s)
{
    if (s->live.queue != NULL)
        look_close(&s->live);
}

void side_begin(struct side *s, int fd)
{
    static struct queue_change c;
    char refused[QUEUE_WHY];
    side_forget(s);
    moving.seq = 0;
    disk_make(&s->disk, fd, DISK_CAP);
    model_options(0, &c.to);
    must(queue_make(fd, &side_limits, &c, side_now.now_ms) == OK);
    disk_settle(&s->disk);
    s->live = (struct object){.kind = OBJECT_QUEUE, .map = disk_map(&s->disk)};
    s->pending = false;
    must(queue_open(&s->live, &side_limits, "live", side_now.now_ms, refused) == OK);
    memcpy(s->uuid, s->live.queue->uuid, sizeof s->uuid);
    model_init(&s->model);
}

/* What the image holds is what there is. */
static bool become(struct side *s, const struct image *image, bool power)
{
    char refused[QUEUE_WHY];
    struct object o;
    enum err e = look_open(&o, image, refused);
    const char *wrong = e == OK ? look_see(s, &o) : refused;
    if (wrong == NULL)
        model_become(&s->model, s->seen, s->seen_tail, queue_options(&o), power);
    else
        violation("it does not open again: %s", wrong);
    if (e == OK)
        look_close(&o);
    return wrong == NULL;
}

/* Recovery is looked into as everything else is; its syncs may fail, too. */
static void live_on(struct side *s, const struct image *image, bool power, bool in_place)
{
    char refused[QUEUE_WHY] = "";
    if (!become(s, image, power))
        return;
    enum err e;
    s->pending = false;
    let_sync_fail(s);
    if (in_place) {
        e = queue_recover(&s->live, side_now.now_ms, refused);
    } else {
        side_forget(s);
        disk_become(&s->disk, image, power);
        s->live = (struct object){.kind = OBJECT_QUEUE, .map = disk_map(&s->disk)};
        e = queue_open(&s->live, &side_limits, "live", side_now.now_ms, refused);
    }
    s->disk.fails = false;
    run.reopenings++;
    if (e == OK)
        model_durable(&s->model, s->model.now, s->model.tail);
    else if (e == ERR_EIO && s->live.failed)
        run.reached[FAILED_OPENING]++;
    else
        violation("it does not open again: %s %s", err_atom(e), refused);
}

/* What has failed can be read, and is not changed. */
void side_try_in_vain(struct side *s)
{
    const struct span item = span_of("x", 1);
    uint64_t seq;
    const size_t n = s->disk.n;
    must_be(queue_push(&s->live, &side_now, &item, 1, &seq) == ERR_EIO && s->disk.n == n,
            "a failed queue takes items");
    must_be(object_sync(&s->live) == ERR_EIO, "a failed queue can be synced");
    side_give_up_moving();
    give_up_checkpoint(s);
}

void side_recover(struct side *s)
{
    static struct image image;
    if (s->live.queue != NULL)
        side_try_in_vain(s);
    while (s->live.failed && run_goes_on()) {
        disk_kill(&s->disk, &image);
        look_at(s, &image, false);
        if (!run.violated)
            live_on(s, &image, false, s->live.queue != NULL && one_in(2));
    }
    if (!run.violated)
        side_wake(s);
}

static void close_it(struct side *s)
{
    static struct image image;
    side_finish_checkpoint(s);
    if (!s->live.failed) {
        queue_close(&s->live);
        model_durable(&s->model, s->model.now, s->model.tail);
    }
    disk_kill(&s->disk, &image);
    live_on(s, &image, false, false);
}

void side_reopen(enum side_end end)
{
    static struct image image;
    side_forget_moving();
    for (unsigned i = 0; i < sides_used && run_goes_on(); i++) {
        struct side *s = &sides[i];
        if (end == END_POWER)
            disk_cut(&s->disk, (enum cut)below(CUTS), &image);
        else
            disk_kill(&s->disk, &image);
        if (end == END_CLOSE)
            close_it(s);
        else
            live_on(s, &image, end == END_POWER, false);
        if (s->live.failed)
            side_recover(s);
    }
    for (unsigned i = 0; i < sides_used && !run.violated; i++)
        side_wake(&sides[i]);
}
