#include "proto/desk.h"

#include "proto/detached.h"
#include "proto/entry.h"
#include "proto/lease.h"
#include "proto/line.h"
#include "proto/registry.h"
#include "proto/reply.h"
#include "proto/waiter.h"
#include "store/block.h"
#include "store/snapshot.h"

/* So many of a kind at once, then others have their turn. */
enum { AT_ONCE = 1000, KEEP = 65536 };

/* --- when ------------------------------------------------------------------------------------ */

static void start_timer(struct server *s)
{
    const struct heap_node *first = heap_first(&s->due);
    if (first == NULL || s->stopping) {
        uv_timer_stop(&s->due_timer);
        return;
    }
    const uint64_t now = uv_now(s->loop);
    uv_timer_start(&s->due_timer, desk_on_due, first->key > now ? first->key - now : 0, 0);
}

static void set_due(struct entry *e, uint64_t at)
{
    struct server *s = e->server;
    struct desk *d = &e->desk;
    if (d->due.at > 0 ? d->due.key == at : at == UINT64_MAX)
        return;
    heap_remove(&s->due, &d->due);
    if (at != UINT64_MAX)
        heap_add(&s->due, &d->due, at);
    start_timer(s);
}

static struct entry *entry_of_due(struct heap_node *node)
{
    struct desk *d = (void *)((char *)node - offsetof(struct desk, due));
    return (void *)((char *)d - offsetof(struct entry, desk));
}

/* A time since 1970 in the loop's; 0: never. */
static uint64_t of_wall(const struct server *s, uint64_t wall_ms)
{
    const uint64_t now = server_now_ms(s);
    if (wall_ms == 0)
        return UINT64_MAX;
    return uv_now(s->loop) + (wall_ms > now ? wall_ms - now : 0);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t key_of(const struct heap *h)
{
    const struct heap_node *first = heap_first(h);
    return first == NULL ? UINT64_MAX : first->key;
}

static void schedule(struct entry *e)
{
    const struct server *s = e->server;
    const struct desk *d = &e->desk;
    uint64_t at = key_of(&d->wait_ends);
    if (!e->busy && e->object.kind == OBJECT_QUEUE && !e->object.failed) {
        at = least(at, key_of(&d->lease_ends));
        at = least(at, of_wall(s, queue_wakes_at(&e->object)));
        at = least(at, move_due(e));
        if (!d->beside_runs)
            at = least(at, of_wall(s, checkpoint_due(&e->object)));
    }
    set_due(e, at);
}

void desk_on_due(uv_timer_t *timer)
{
    struct server *s = timer->data;
    struct heap_node *first = heap_first(&s->due);
    while (first != NULL && first->key <= uv_now(s->loop)) {
        struct entry *e = entry_of_due(first);
        set_due(e, UINT64_MAX);
        desk_tend_soon(e);
        first = heap_first(&s->due);
    }
    start_timer(s);
}

void desk_tend_soon(struct entry *e)
{
    struct server *s = e->server;
    struct desk *d = &e->desk;
    if (d->soon)
        return;
    d->soon = true;
    s->soon_count++;
    DL_APPEND2(s->soon, d, prev_soon, next_soon);
}

static void not_soon(struct server *s, struct desk *d)
{
    if (!d->soon)
        return;
    d->soon = false;
    s->soon_count--;
    DL_DELETE2(s->soon, d, prev_soon, next_soon);
}

void desk_tend_all(struct server *s)
{
    for (uint32_t n = s->soon_count; n > 0 && s->soon != NULL; n--) {
        struct desk *d = s->soon;
        not_soon(s, d);
        desk_tend((void *)((char *)d - offsetof(struct entry, desk)));
    }
}

/* --- a worker with the object ---------------------------------------------------------------- */

static struct entry *of_alone(struct job *job)
{
    return (void *)((char *)job - offsetof(struct entry, desk.alone));
}

static void start_alone(struct entry *e, void (*run)(struct job *), void (*done)(struct job *))
{
    e->busy = true;
    e->desk.alone.run = run;
    e->desk.alone.done = done;
    work_submit(e->server->loop, &e->desk.alone);
}

/* --- giving ---------------------------------------------------------------------------------- */

/* What d->want says. */
static void serve(struct entry *e, bool may_wait)
{
    struct desk *d = &e->desk;
    const struct turn t = {.now_ms = d->now_ms, .may_wait = may_wait};
    buf_cut(&d->reply, 0);
    d->leased = NULL;
    if (may_wait)
        snapshot_wait(&e->object);
    d->result = ERR_WOULD_BLOCK;
    if (may_wait || snapshot_has_room(&e->object))
        d->result = want_serve(&e->object, &t, &d->want, &d->reply, &d->leased);
}

static void run_service(struct job *job)
{
    serve(of_alone(job), true);
}

static void answer_nothing(struct waiter *w)
{
    struct buf reply;
    buf_init(&reply, 256);
    want_nothing(&w->want, &reply);
    waiter_answer(w, span_of(reply.at, reply.len));
    buf_fini(&reply);
}

/* Those who do not wait, once it is known that there is nothing. */
static void answer_impatient(struct desk *d)
{
    struct waiter *w;
    struct waiter *next;
    DL_FOREACH_SAFE(d->first, w, next)
    {
        if (!w->subscription && w->want.timeout_ms == 0 && !w->served)
            answer_nothing(w);
    }
}

/* What serve has found; false: nothing more can be given now. */
static bool give(struct entry *e, struct waiter *w)
{
    struct desk *d = &e->desk;
    switch (d->result) {
    case OK: waiter_give(w, span_of(d->reply.at, d->reply.len), d->leased); return true;
    case ERR_EMPTY: answer_impatient(d); return false;
    case ERR_CHECKPOINT: d->checkpoint_wanted = true; return false;
    case ERR_EIO: return false;
    default: waiter_fail(w, d->result); return true;
    }
}

/* Behind those that are passed over. */
static struct waiter *next_able(const struct desk *d, const struct waiter *passed)
{
    struct waiter *w = d->able == 0 ? NULL : passed == NULL ? d->first : passed->next;
    while (w != NULL && !(waiter_is_able(w) && waiter_has_room(w)))
        w = w->next;
    return w;
}

static void served(struct job *job)
{
    struct entry *e = of_alone(job);
    struct desk *d = &e->desk;
    struct waiter *w = d->served;
    line_hold(e);
    d->served = NULL;
    const bool is_lost = w->request.client->gone;
    const bool waits = waiter_end_service(w);
    if (waits && d->result == OK)
        d->result = lease_fit(w->request.client, d->want.kind, d->leased);
    const enum err settled = want_settle(&e->object, d->now_ms, d->want.kind,
                                         waits && !is_lost && d->result == OK, &d->leased);
    if (d->result == OK)
        d->result = settled;
    if (waits && is_lost)
        waiter_fail(w, ERR_CLOSED);
    else if (waits)
        give(e, w);
    buf_cut(&d->reply, 0);
    buf_relax(&d->reply, KEEP);
    line_go_on(e);
}

static void give_all(struct entry *e)
{
    struct desk *d = &e->desk;
    bool more = true;
    const struct waiter *passed = NULL;
    for (int n = 0; more; n++) {
        struct waiter *w = next_able(d, passed);
        if (w == NULL)
            return;
        passed = w == d->first ? NULL : w->prev;
        if (n >= AT_ONCE) {
            desk_tend_soon(e);
            return;
        }
        const enum err refused = waiter_want(w, &d->want);
        if (refused != OK) {
            waiter_fail(w, refused);
            continue;
        }
        serve(e, false);
        if (d->result == ERR_WOULD_BLOCK) {
            d->served = w;
            waiter_begin_service(w);
            start_alone(e, run_service, served);
            return;
        }
        more = give(e, w);
    }
}

/* --- what is over ------------------------------------------------------------------------------
 */

static void end_waits(struct entry *e)
{
    struct desk *d = &e->desk;
    while (key_of(&d->wait_ends) <= uv_now(e->server->loop)) {
        struct waiter *w =
            (void *)((char *)heap_first(&d->wait_ends) - offsetof(struct waiter, node));
        if (w->served)
            waiter_wait_no_more(w);
        else
            answer_nothing(w);
    }
}

static void end_leases(struct entry *e)
{
    struct desk *d = &e->desk;
    for (int n = 0; key_of(&d->lease_ends) <= uv_now(e->server->loop); n++) {
        if (n >= AT_ONCE) {
            desk_tend_soon(e);
            return;
        }
        lease_return((void *)((char *)heap_first(&d->lease_ends) - offsetof(struct lease, node)),
                     false);
    }
}

static void return_late(struct entry *e)
{
    if (!lease_return_over(e, AT_ONCE))
        desk_tend_soon(e);
}

static void wake(struct entry *e)
{
    if (queue_wake(&e->object, e->desk.now_ms, AT_ONCE) == AT_ONCE)
        desk_tend_soon(e);
}

static void free_all(struct desk *d, bool items_are_there)
{
    while (d->leases != NULL || d->over != NULL) {
        struct lease *l = d->leases != NULL ? d->leases : d->over;
        if (!items_are_there)
            l->item = NULL;
        lease_free(l); /* NOLINT: it takes itself out */
    }
}

void desk_forget_leases(struct entry *e)
{
    waiter_forget_leases(&e->desk);
    desk_tend_soon(e);
    free_all(&e->desk, false);
}

/* Once: whoever waits is told, and what is leased can be decided by nobody any more. */
void desk_fail(struct entry *e)
{
    struct desk *d = &e->desk;
    if (d->failed)
        return;
    d->failed = true;
    waiter_fail_all(d, ERR_EIO);
    registry_fail(e);
    move_forget(e);
    free_all(d, true);
}

/* --- checkpoints ----------------------------------------------------------------------------- */

static struct entry *of_beside(struct job *job)
{
    return (void *)((char *)job - offsetof(struct entry, desk.beside));
}

static void run_beside(struct job *job)
{
    struct entry *e = of_beside(job);
    checkpoint_run(&e->object);
    detached_look(e);
}

static void beside_ran(struct job *job)
{
    struct entry *e = of_beside(job);
    e->desk.beside_runs = false;
    desk_tend_soon(e);
}

static void run_alone(struct job *job)
{
    checkpoint_run(&of_alone(job)->object);
}

static void alone_ran(struct job *job)
{
    struct entry *e = of_alone(job);
    line_hold(e);
    line_go_on(e);
}

static void checkpoint(struct entry *e)
{
    struct desk *d = &e->desk;
    if (d->beside_runs)
        return;
    const bool was_under_way = checkpoint_under_way(&e->object);
    switch (checkpoint_go(&e->object, d->now_ms, d->checkpoint_wanted)) {
    case CHECKPOINT_REST:
        d->stalled = false;
        if (was_under_way)
            desk_tend_soon(e); /* some may have waited for this */
        break;
    case CHECKPOINT_ALONE: start_alone(e, run_alone, alone_ran); break;
    case CHECKPOINT_BESIDE:
        d->beside_runs = true;
        d->beside.run = run_beside;
        d->beside.done = beside_ran;
        work_submit(e->server->loop, &d->beside);
        break;
    }
    d->checkpoint_wanted = false;
}

bool desk_has_leases(const struct entry *e)
{
    return e->desk.leases != NULL || e->desk.over != NULL;
}

bool desk_is_used(const struct entry *e)
{
    return desk_has_leases(e) || e->desk.first != NULL || e->desk.sated != NULL ||
           move_is_under_way(e);
}

/* --- block stores ---------------------------------------------------------------------------- */

static void run_walk(struct job *job)
{
    struct object *o = &of_alone(job)->object;
    snapshot_wait(o);
    block_walk(o);
}

/* A piece of the store is repaired; what waits in the line comes first. */
static void walk(struct entry *e)
{
    if (e->held || e->first != NULL)
        desk_tend_soon(e);
    else
        start_alone(e, run_walk, alone_ran);
}

/* --- all of it ------------------------------------------------------------------------------- */

bool desk_has_work(const struct entry *e)
{
    return e->object.kind == OBJECT_QUEUE || block_walks(&e->object);
}

bool desk_is_under_way(const struct entry *e)
{
    return e->object.kind == OBJECT_QUEUE && checkpoint_under_way(&e->object);
}

void desk_stall(struct entry *e)
{
    e->desk.stalled = true;
    if (!desk_is_under_way(e))
        e->desk.checkpoint_wanted = true;
    if (!e->desk.beside_runs)
        desk_tend_soon(e);
}

bool desk_open(struct entry *e)
{
    struct server *s = e->server;
    e->desk.failed = e->object.failed; /* it may have begun anew */
    if (e->desk.reply.max == 0)
        buf_init(&e->desk.reply, s->options.max_frame);
    return heap_reserve(&s->due, s->entry_count + 1);
}

void desk_tend(struct entry *e)
{
    struct desk *d = &e->desk;
    waiter_fail_closed(d);
    end_waits(e);
    if (!e->busy && block_walks(&e->object))
        walk(e);
    if (e->busy || e->object.kind != OBJECT_QUEUE) {
        schedule(e);
        return;
    }
    d->now_ms = server_now_ms(e->server);
    if (!e->object.failed) {
        d->failed = false;
        return_late(e);
        end_leases(e);
        wake(e);
        give_all(e);
    }
    if (!e->busy && !e->object.failed)
        move_tend(e);
    if (!e->busy)
        checkpoint(e);
    if (e->object.failed && !e->busy)
        desk_fail(e);
    schedule(e);
    line_go(e);
}

void desk_close(struct entry *e)
{
    struct desk *d = &e->desk;
    waiter_fail_all(d, ERR_CLOSED);
    move_forget(e);
    desk_forget_leases(e);
    set_due(e, UINT64_MAX);
    heap_fini(&d->wait_ends);
    heap_fini(&d->lease_ends);
    buf_fini(&d->reply);
    d->stalled = d->failed = d->closes = d->checkpoint_wanted = false;
    not_soon(e->server, d);
}
