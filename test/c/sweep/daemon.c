#include "sweep/daemon.h"

#include <fcntl.h>
#include <stdlib.h>

#include "store/counter.h"
#include "store/failed.h"
#include "store/region.h"
#include "store/replay.h"
#include "sweep/daemon_look.h"
#include "sweep/look.h"
#include "sweep/run.h"
#include "sys/os.h"

enum { COUNTERS = 6, COUNTERS_MOST = 60, REGION = 256, REGION_MOST = 4096 };

const struct journal_limits daemon_limits = {
    .page = 512, .half = 8 << 10, .group = 2 << 10, .piece = 512};

static struct cells counters_model;
static struct cells region_model;
static struct object counters;
static struct object region;
static struct object blocks;
static struct store blocks_model = {.live = &blocks};
static struct disk_file counters_file;
static struct disk_file region_file;
static struct disk_file blocks_file;

struct part parts[DAEMON_PARTS] = {
    {.path = "/d/q", .kind = OBJECT_QUEUE, .side = &sides[0]},
    {.path = "/d/other", .kind = OBJECT_QUEUE, .side = &sides[1]},
    {.path = "/d/c", .kind = OBJECT_COUNTERS, .cells = &counters_model},
    {.path = "/d/r", .kind = OBJECT_REGION, .cells = &region_model},
    {.path = "/d/b", .kind = OBJECT_BLOCKS, .store = &blocks_model},
};

struct journal *daemon_journal;
static struct paths *paths[2]; /* of the tree that lives, of the other */
static bool expects_failure;   /* a sync of the start fails */
static unsigned idle;          /* the one that nobody uses for long */

static const struct attribute *mark_of(const struct part *p)
{
    return tree_mark(&tree_live.nodes[p->disk->fd]);
}

static void must_be(bool is_so, const char *what)
{
    if (!is_so)
        violation("while it runs: %s", what);
}

/* --- what is durable ------------------------------------------------------------------------- */

static uint64_t now_of(const struct part *p)
{
    return p->side != NULL    ? p->side->model.now
           : p->store != NULL ? p->store->slots.now
                              : p->cells->now;
}

static uint64_t tail_of(const struct part *p)
{
    return p->side != NULL ? p->side->model.tail : p->store != NULL ? p->store->slots.capacity : 0;
}

static void durable_until(struct part *p, uint64_t time, uint64_t tail)
{
    if (p->side != NULL)
        model_durable(&p->side->model, time, tail);
    else if (p->store != NULL)
        slots_durable(&p->store->slots, time, tail);
    else
        cells_durable(p->cells, time);
}

static void all_durable(struct part *p)
{
    durable_until(p, now_of(p), tail_of(p));
    p->n_commits = 0;
}

/* The last operation is in this group, or before it. */
static void note_commit(struct part *p)
{
    if (p->live->failed || p->live->durable == NULL)
        return;
    const uint64_t group = object_group(p->live);
    const bool is_same = p->n_commits > 0 && p->commits[p->n_commits - 1].group == group;
    must(is_same || p->n_commits < DAEMON_MARKS);
    p->n_commits += !is_same;
    p->commits[p->n_commits - 1] =
        (struct commit){.group = group, .time = now_of(p), .tail = tail_of(p)};
}

static void settle(struct part *p)
{
    unsigned n = 0;
    while (n < p->n_commits && journal_look(daemon_journal, p->commits[n].group) == OK)
        n++;
    if (n == 0)
        return;
    durable_until(p, p->commits[n - 1].time, p->commits[n - 1].tail);
    p->n_commits -= n;
    memmove(p->commits, p->commits + n, p->n_commits * sizeof p->commits[0]);
}

void daemon_settle(void)
{
    for (unsigned i = 0; i < DAEMON_PARTS && daemon_journal != NULL; i++)
        settle(&parts[i]);
}

/* --- operations on words --------------------------------------------------------------------- */

static void must_work(const struct part *p, enum err e)
{
    must_be(e == OK || (e == ERR_EIO && p->live->failed), err_atom(e));
}

static void add(struct part *p)
{
    const uint64_t i = below(p->live->count);
    const uint64_t word = counter_file_size(i) / 8;
    const uint64_t n = chance_word();
    int64_t old;
    cells_set(p->cells, word, cells_word(p->cells, word) + n);
    must_work(p, counter_put(p->live, i, WORD_ADD, (int64_t)n, &old));
}

static void grow(struct part *p)
{
    const uint64_t n = p->live->count + below(8);
    if (n > COUNTERS_MOST)
        return;
    if (counter_file_size(n) > p->live->map.size)
        cells_resize(p->cells, counter_file_size(n) / 8);
    cells_set(p->cells, 1, n);
    must_work(p, counter_grow(p->live, n));
}

static void exchange(struct part *p)
{
    const uint64_t word = below(cells_size(p->cells));
    const uint64_t v = chance_word();
    int64_t old;
    cells_set(p->cells, word, v);
    must_work(p, region_word(p->live, word * 8, WORD_XCHG, 0, (int64_t)v, &old));
}

static void write_bytes(struct part *p, uint64_t least, uint64_t most)
{
    uint8_t bytes[2048];
    const uint64_t size = 8 * cells_size(p->cells);
    uint64_t len = least + below(most - least + 1);
    if (len > size)
        len = size;
    for (uint64_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)chance_word();
    const uint64_t pos = below(size - len + 1) & (one_in(2) ? ~UINT64_C(7) : UINT64_MAX);
    cells_write(p->cells, pos, bytes, len);
    enum err e = region_write(p->live, pos, bytes, len);
    must_work(p, e);
    run.reached[BIG_WRITE] += e == OK && len > daemon_limits.piece;
    if (e == OK && len > daemon_limits.piece)
        all_durable(p);
}

static void resize(struct part *p)
{
    const uint64_t size = REGION / 8 + below((REGION_MOST - REGION) / 8 + 1);
    cells_resize(p->cells, size);
    enum err e = object_resize(p->live, size * 8);
    must_work(p, e);
    run.reached[RESIZE] += e == OK;
    if (e != OK)
        return;
    history_forget(&p->cells->size, p->cells->now);
    for (uint64_t word = size; word < p->cells->most; word++)
        history_forget(&p->cells->words[word], p->cells->now);
}

static void change_region(struct part *p)
{
    switch (below(8)) {
    case 0: resize(p); break;
    case 1: write_bytes(p, daemon_limits.piece + 1, 1500); break;
    case 2:
    case 3: exchange(p); break;
    default: write_bytes(p, 1, one_in(3) ? daemon_limits.piece : 40); break;
    }
}

static void change_cells(struct part *p)
{
    if (!cells_have_room(p->cells))
        return;
    cells_begin(p->cells);
    if (p->kind == OBJECT_REGION)
        change_region(p);
    else if (one_in(12))
        grow(p);
    else
        add(p);
    run.ops++;
}

/* --- operations on blocks -------------------------------------------------------------------- */

static void change_store(struct part *p)
{
    static const enum store_op ops[] = {STORE, STORE, STORE, STORE_MANY, FREE,         FREE,
                                        FREE,  FREE,  READ,  GROW,       REPAIR_PIECE, WALK};
    store_do(p->store, ops[below(sizeof ops / sizeof ops[0])]);
}

/* Small ones, where there is room. */
static void store_a_little(struct store *s)
{
    const bool fits = s->slots.size <= 40 && slots_have_free(&s->slots);
    store_do(s, fits && one_in(2) ? STORE : one_in(3) ? READ : FREE);
}

/* --- operations within a sync ---------------------------------------------------------------- */

/* Nothing that waits; where the file itself is being synced nothing that syncs it. */
static void change_a_little(struct part *p, bool syncs)
{
    static const enum side_op ops[] = {POP, TAKE, ACK, BURY, UNSEE, PUSH_SMALL};
    if (p->store != NULL) {
        store_a_little(p->store);
    } else if (p->side != NULL) {
        side_do(p->side, ops[below(syncs ? 5 : 6)]);
    } else if (cells_have_room(p->cells)) {
        cells_begin(p->cells);
        if (p->kind == OBJECT_COUNTERS)
            add(p);
        else
            exchange(p);
    }
    run.reached[BESIDE]++;
}

static void operate_beside(struct disk_file *f)
{
    static bool inside;
    if (inside || run.violated || f->forgets || daemon_journal == NULL || one_in(2))
        return;
    inside = true;
    for (uint64_t n = 1 + below(4); n > 0 && journal_has_room(daemon_journal); n--) {
        struct part *p = &parts[below(DAEMON_PARTS)];
        if (!p->open || p->busy || p->live->failed || p->live->durable == NULL)
            continue;
        change_a_little(p, p->disk == f);
        note_commit(p);
    }
    inside = false;
}

/* --- opening --------------------------------------------------------------------------------- */

static bool lives(void)
{
    return tree_is_used(&tree_live);
}

struct journal *daemon_new_journal(void)
{
    const struct journal_options options = {
        .data_dir = "/d", .paths = paths[!lives()], .limits = &daemon_limits};
    struct journal *j = journal_new(&options);
    must(j != NULL);
    return j;
}

static enum err open_plain(const struct part *p, struct object *o, char why[QUEUE_WHY])
{
    _Static_assert((int)QUEUE_WHY >= (int)BLOCK_WHY, "the reason fits");
    switch (p->kind) {
    case OBJECT_QUEUE: return queue_open(o, &side_limits, p->path, side_now.now_ms, why);
    case OBJECT_COUNTERS: return counter_count(&o->map, &o->count);
    case OBJECT_BLOCKS: return block_open(o, why);
    case OBJECT_REGION:
    case OBJECT_CLOSED: break;
    }
    return OK;
}

enum err daemon_attach(const struct part *p, struct journal *j, const char *path, struct object *o,
                       char why[QUEUE_WHY])
{
    char needs[PATH_MAX];
    int fd = -1;
    why[0] = '\0';
    *o = (struct object){.kind = p->kind, .map.fd = -1};
    enum err e = path_open(paths[!lives()], path, O_RDWR, &fd);
    if (e == OK)
        e = journal_claim(j, fd, needs);
    if (e != OK)
        return e;
    o->map = disk_map(disk_file_of(fd));
    e = open_plain(p, o, why);
    return e == OK ? object_mend(o) : e;
}

void daemon_detach(struct object *o)
{
    if (o->queue != NULL)
        look_close(o);
    block_close(o);
    *o = (struct object){.kind = OBJECT_CLOSED, .map.fd = -1};
}

static enum err join(struct part *p)
{
    char owner[JOURNAL_OWNER];
    p->live->ino = (ino_t)p->disk->fd;
    enum err e = p->durable ? journal_join(daemon_journal, p->live, p->path, owner) : OK;
    if (e == OK)
        all_durable(p);
    if (e == OK && p->side != NULL)
        side_wake(p->side);
    p->open = e == OK;
    return e;
}

/* --- its end --------------------------------------------------------------------------------- */

/* Whatever is under way, and in memory only. */
static void drop_all(void)
{
    side_forget_moving();
    for (unsigned i = 0; i < DAEMON_PARTS; i++) {
        daemon_detach(parts[i].live);
        parts[i].open = parts[i].busy = false;
        parts[i].n_commits = 0;
        parts[i].disk->syncing = false;
        if (parts[i].side != NULL)
            parts[i].side->pending = false;
    }
    tree_freeze(true);
    journal_free(daemon_journal);
    tree_freeze(false);
    daemon_journal = NULL;
}

static void close_part(struct part *p)
{
    enum err e = OK;
    const bool was_durable = p->live->durable != NULL;
    if (!p->open) {
        daemon_detach(p->live);
        return;
    }
    side_give_up_moving();
    p->busy = true;
    if (p->side != NULL)
        side_finish_checkpoint(p->side);
    if (p->side != NULL && p->live->failed)
        side_try_in_vain(p->side);
    const bool failed = p->live->failed;
    if (p->live->queue != NULL)
        queue_close(p->live);
    if (was_durable)
        e = journal_leave(p->live);
    p->busy = p->open = false;
    p->earlier.is &= e == OK;
    must_be(e == OK || e == ERR_EIO, err_atom(e));
    if (e == OK && !failed && (was_durable || !p->live->failed))
        all_durable(p);
    must_be(!was_durable || e != OK || mark_of(p)->len == 0, "a closed object has a mark");
    daemon_detach(p->live);
}

static void close_all(void)
{
    for (unsigned i = 0; i < DAEMON_PARTS; i++)
        close_part(&parts[i]);
    daemon_settle();
    journal_free(daemon_journal);
    daemon_journal = NULL;
    for (unsigned i = 0; i < DAEMON_PARTS; i++)
        parts[i].n_commits = 0;
}

/* --- the next one ---------------------------------------------------------------------------- */

static void let_start_fail(bool may)
{
    expects_failure = may && one_in(8);
    if (!expects_failure)
        return;
    struct node *half = tree_find(&tree_live, one_in(2) ? "j0" : "j1");
    struct disk_file *f = one_in(3) && half != NULL ? half->disk : parts[below(DAEMON_PARTS)].disk;
    f->fails = true;
}

static bool bring_up_part(struct part *p)
{
    char why[QUEUE_WHY];
    enum err e = daemon_attach(p, daemon_journal, p->path, p->live, why);
    if (e == OK)
        e = join(p);
    if (e != OK && !(expects_failure && (e == ERR_EIO || e == ERR_NEEDS_JOURNAL)))
        violation("%s does not open again: %s %s", p->path, err_atom(e), why);
    return e == OK;
}

static bool bring_up(bool may_fail)
{
    char why[JOURNAL_WHY];
    let_start_fail(may_fail);
    struct journal *j = daemon_new_journal();
    enum err e = journal_start(j, why);
    daemon_journal = j;
    if (e != OK && !(expects_failure && e == ERR_EIO))
        violation("the next daemon does not start: %s %s", err_atom(e), why);
    for (unsigned i = 0; i < DAEMON_PARTS && e == OK && run_goes_on(); i++)
        if (!bring_up_part(&parts[i]))
            e = ERR_EIO;
    run.reopenings++;
    run.reached[FAILED_START] += e != OK;
    return e == OK;
}

/* What the image holds is what there is. */
void daemon_restart(enum side_end end)
{
    bool up = false;
    for (unsigned tries = 0; !up && run_goes_on(); tries++) {
        const bool power = tries == 0 && end == END_POWER;
        if (tries == 0 && end == END_CLOSE)
            close_all();
        daemon_settle();
        tree_take(power);
        if (daemon_journal != NULL)
            drop_all();
        if (!daemon_look_and_become(power))
            return;
        tree_become(power);
        tree_forgive();
        up = bring_up(tries == 0);
        tree_forgive();
    }
}

/* --- objects that failed --------------------------------------------------------------------- */

static void try_in_vain(struct part *p)
{
    int64_t old;
    const size_t n = p->disk->n;
    if (p->side != NULL)
        side_try_in_vain(p->side);
    else
        must_be(region_word(p->live, 0, WORD_XCHG, 0, 1, &old) == ERR_EIO && p->disk->n == n,
                "a failed object is changed");
}

/* The handles that it has stay. */
static bool reclaim(struct part *p)
{
    char why[QUEUE_WHY] = "";
    p->busy = true;
    enum err e = journal_reclaim(p->live);
    run.reached[RECLAIMED] += e == OK;
    if (e == OK)
        daemon_become_now(p);
    if (e == OK && p->side != NULL)
        e = queue_recover(p->live, side_now.now_ms, why);
    p->live->failed = e != OK;
    if (e == OK)
        e = object_mend(p->live);
    if (e == OK && p->kind == OBJECT_COUNTERS)
        e = counter_count(&p->live->map, &p->live->count);
    block_close(p->live);
    if (e == OK && p->kind == OBJECT_BLOCKS)
        e = block_open(p->live, why);
    if (e == OK)
        e = join(p);
    p->busy = false;
    return e == OK;
}

/* What the journal has kept of it is stored, and what is there then is what there is. */
static bool open_again(struct part *p)
{
    char why[QUEUE_WHY] = "";
    char needs[PATH_MAX];
    p->busy = true;
    enum err e = journal_claim(daemon_journal, p->disk->fd, needs);
    if (e == OK)
        daemon_become_now(p);
    if (e == OK)
        e = daemon_attach(p, daemon_journal, p->path, p->live, why);
    if (e == OK)
        e = join(p);
    p->busy = false;
    if (e != OK && e != ERR_EIO && e != ERR_NEEDS_JOURNAL)
        violation("%s does not open again: %s %s", p->path, err_atom(e), why);
    run.reached[REJOINED] += e == OK;
    return e == OK;
}

/* The last handle is closed. */
static bool rejoin(struct part *p)
{
    if (p->live->queue != NULL)
        look_close(p->live);
    block_close(p->live);
    p->open = false;
    must_be(journal_leave(p->live) == ERR_EIO, "a failed object is synced");
    return open_again(p);
}

/* What is open, and durable, may have failed; so may the journal. */
static void mend(struct part *p)
{
    if (!p->open || !p->live->failed || !run_goes_on())
        return;
    try_in_vain(p);
    if (p->live->durable == NULL) {
        side_recover(p->side);
        return;
    }
    run.reached[FAILED_PART]++;
    p->earlier.is = false; /* its records may outlive what is opened again */
    const uint64_t how = below(4);
    const bool mended = how == 0 ? reclaim(p) : how == 1 ? rejoin(p) : false;
    if (!mended && run_goes_on())
        daemon_restart((enum side_end)below(3));
}

/* Nothing more is acknowledged. */
static void look_at_failed_journal(void)
{
    run.reached[FAILED_JOURNAL]++;
    for (unsigned i = 0; i < DAEMON_PARTS; i++) {
        const struct part *p = &parts[i];
        if (!p->open || p->live->durable == NULL)
            continue;
        must_be(p->live->failed, "an object outlives its journal");
        must_be(p->n_commits == 0 || journal_look(daemon_journal, p->commits[0].group) == ERR_EIO,
                "a failed journal keeps somebody waiting");
    }
    for (unsigned i = 0; i < DAEMON_PARTS; i++)
        if (parts[i].open && parts[i].live->durable != NULL)
            try_in_vain(&parts[i]);
}

static void mend_all(void)
{
    daemon_settle();
    if (journal_failed(daemon_journal)) {
        look_at_failed_journal();
        if (run_goes_on())
            daemon_restart((enum side_end)below(3));
        return;
    }
    for (unsigned i = 0; i < DAEMON_PARTS; i++)
        mend(&parts[i]);
}

/* --- operations ------------------------------------------------------------------------------ */

/* One sync in so many fails: of an object's file, rarely of the journal. */
static void let_sync_fail(void)
{
    if (!one_in(run.fails_every))
        return;
    struct node *half = tree_find(&tree_live, one_in(2) ? "j0" : "j1");
    struct part *p = &parts[below(DAEMON_PARTS)];
    if (one_in(6) && half != NULL)
        half->disk->fails = true;
    else if (p->live->durable != NULL)
        p->disk->fails = true;
}

void daemon_commit(void)
{
    uint64_t group = 0;
    for (unsigned i = 0; i < DAEMON_PARTS; i++)
        if (parts[i].open && object_group(parts[i].live) > group)
            group = object_group(parts[i].live);
    enum err e = journal_wait(daemon_journal, group);
    must_be(e == OK || journal_failed(daemon_journal), "a group is not committed");
    daemon_settle();
}

static enum side_op some_op(void)
{
    static const enum side_op ops[] = {PUSH, PUSH, PUSH, PUSH, PUSH, PUSH_BIG, POP,   POP,
                                       POP,  TAKE, TAKE, ACK,  ACK,  RELEASE,  DELAY, UNSEE,
                                       BURY, KICK, WAKE, STEP, STEP, STEP,     STEP,  SYNC};
    return one_in(200)  ? ERASE
           : one_in(60) ? CONFIGURE
           : one_in(20) ? CHECKPOINT
                        : ops[below(sizeof ops / sizeof ops[0])];
}

static void change(struct part *p)
{
    p->busy = true;
    if (p->cells != NULL)
        change_cells(p);
    else if (p->store != NULL)
        change_store(p);
    else
        side_do(p->side, some_op());
    p->busy = false;
    note_commit(p);
}

static void move(void)
{
    parts[0].busy = parts[1].busy = true;
    side_move();
    parts[0].busy = parts[1].busy = false;
    note_commit(&parts[0]);
    note_commit(&parts[1]);
}

/* An object that somebody closes while the daemon serves. */
static void close_and_open(struct part *p)
{
    if (p->live->durable == NULL || journal_failed(daemon_journal))
        return;
    close_part(p);
    daemon_settle();
    if (journal_failed(daemon_journal) || !run_goes_on())
        return;
    if (!open_again(p) && run_goes_on())
        daemon_restart((enum side_end)below(3));
}

static void remember(struct part *p)
{
    p->earlier.is = true;
    disk_kill(p->disk, &p->earlier.image);
    p->earlier.mark = *mark_of(p);
}

static void count_turns(void)
{
    static uint64_t generation;
    struct journal_info info;
    journal_look_at(daemon_journal, &info);
    run.reached[TURN] += info.generation == generation + 1;
    generation = info.generation;
}

void daemon_operate(void)
{
    struct part *p = &parts[below(DAEMON_PARTS)];
    if (one_in(100))
        idle = (unsigned)below(DAEMON_PARTS * UINT64_C(2));
    let_sync_fail();
    if (one_in(50))
        remember(p);
    if (one_in(5))
        daemon_commit();
    else if (one_in(12))
        move();
    else if (one_in(80))
        close_and_open(p);
    else if (p != &parts[idle % DAEMON_PARTS] || idle >= DAEMON_PARTS)
        change(p);
    if (run_goes_on())
        mend_all();
    count_turns();
    for (unsigned i = 0; i < DAEMON_PARTS && run_goes_on(); i++) {
        if (parts[i].side != NULL && parts[i].open)
            side_compare(parts[i].side);
        if (parts[i].store != NULL && parts[i].open)
            store_compare(parts[i].store);
    }
}

/* --- its life -------------------------------------------------------------------------------- */

static void make_cells(struct part *p, struct object *o, uint64_t size, uint64_t most)
{
    const int fd = p->disk->fd;
    must(os.allocate(fd, 0, (off_t)size) == 0);
    *o = (struct object){.kind = p->kind, .map = disk_map(p->disk), .count = COUNTERS};
    cells_init(p->cells, size / 8, most / 8);
    if (p->kind == OBJECT_COUNTERS) {
        uint8_t header[COUNTER_HEADER];
        counter_header(COUNTERS, header);
        cells_write(p->cells, 0, header, sizeof header);
        must(os.write_at(fd, header, sizeof header, 0) == sizeof header);
    }
    disk_settle(p->disk);
}

static void make_store(struct part *p)
{
    char why[BLOCK_WHY];
    uint32_t size = p->store->slots.size;
    *p->live = (struct object){.kind = p->kind, .map = disk_map(p->disk)};
    must(block_init(p->live, &size, 1, why) == OK);
    p->store->slots.capacity = block_capacity(p->live);
    disk_settle(p->disk);
}

static uint32_t most_of(const struct part *p)
{
    return p->side != NULL    ? DISK_CAP
           : p->store != NULL ? slots_file_most(p->store->slots.size)
                              : 4096;
}

static void make_files(void)
{
    static const uint32_t sizes[] = {8, 40, 40, 200, 600};
    slots_init(&blocks_model.slots, sizes[below(sizeof sizes / sizeof sizes[0])]);
    parts[0].live = &sides[0].live;
    parts[1].live = &sides[1].live;
    parts[2].live = &counters;
    parts[3].live = &region;
    parts[4].live = &blocks;
    parts[0].disk = &sides[0].disk;
    parts[1].disk = &sides[1].disk;
    parts[2].disk = &counters_file;
    parts[3].disk = &region_file;
    parts[4].disk = &blocks_file;
    sides_used = SIDES;
    for (unsigned i = 0; i < DAEMON_PARTS; i++) {
        struct part *p = &parts[i];
        tree_add(&tree_live, i, p->path + sizeof "/d", p->disk, most_of(p));
        if (p->side != NULL)
            side_begin(p->side, p->disk->fd);
    }
    make_cells(&parts[2], &counters, counter_file_size(COUNTERS), counter_file_size(COUNTERS_MOST));
    make_cells(&parts[3], &region, 1024, REGION_MOST);
    make_store(&parts[4]);
}

void daemon_begin(void)
{
    char why[JOURNAL_WHY];
    disk_hook = NULL;
    disk_beside = NULL;
    daemon_forget();
    idle = 0;
    side_now.now_ms = 1000000000000;
    tree_clear(&tree_live);
    tree_use(&tree_scratch);
    static const char *const none[] = {NULL};
    if (paths[1] == NULL)
        must(paths_open("/d", none, &paths[1]) == OK);
    tree_use(&tree_live);
    if (paths[0] == NULL)
        must(paths_open("/d", none, &paths[0]) == OK);
    make_files();
    daemon_journal = daemon_new_journal();
    must(journal_start(daemon_journal, why) == OK);
    for (unsigned i = 0; i < DAEMON_PARTS; i++) {
        parts[i].durable = i != 1 || one_in(2);
        parts[i].n_commits = 0;
        parts[i].busy = parts[i].earlier.is = false;
        must(join(&parts[i]) == OK);
    }
    disk_beside = operate_beside;
}

void daemon_forget(void)
{
    if (daemon_journal == NULL)
        return;
    drop_all();
}
