/* The order of things, for each page that is changed while the copy is made: whoever changes it
 * saves it under the lock, unless `copied` is past it, and only then stores. The thread reads a
 * piece of the file without the lock; then, under the lock, it puts the saved pages over what it
 * has read and moves `copied` past the piece. If it has read a store, that page was saved before
 * the store, so it is among them; if it did not find a page among them, whoever changes it will see
 * `copied` past it, and has not stored before.
 *
 * The copy is read through the descriptor, not the mapping: that moves and shrinks, and a page that
 * cannot be read is an error here and no signal. */
#include "store/snapshot.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "store/journal.h"
#include "store/new_file.h"
#include "sys/guard.h"
#include "sys/os.h"

enum { PAGE = 4096, PIECE = 64 << 10, PAGES = PIECE / PAGE, WRITE_BACK = 8 << 20 };

/* The pages of a piece that were saved. */
struct piece {
    uint8_t *pages[PAGES];
};

struct snapshot {
    char *to;
    struct new_file file;
    uint64_t size;
    struct journal *journal; /* of a durable object: what is copied has to be committed, */
    uint64_t group;          /* up to this group */
    void (*over)(void *arg);
    void *arg;
    pthread_t thread;
    bool has_thread;
    uint8_t buffer[PIECE]; /* the thread's */

    pthread_mutex_t reading; /* while the object's bytes are read */
    int fd;                  /* the object's; -1: they are at `memory` */
    const uint8_t *memory;

    pthread_mutex_t lock;
    pthread_cond_t moved;        /* `copied` has */
    atomic_uint_fast64_t copied; /* pages before are not saved any more; changed with the lock */
    atomic_uint saved;           /* so many are kept; changed with the lock */
    atomic_int given_up;         /* enum err */
    struct piece **pieces;

    enum err result;
    atomic_bool is_over;
};

static atomic_uint snapshots;

/* --- the copy -------------------------------------------------------------------------------- */

static uint64_t pieces_of(const struct snapshot *s)
{
    return s->size / PIECE + (s->size % PIECE > 0);
}

static enum err given_up(const struct snapshot *s)
{
    return (enum err)s->given_up;
}

/* How much of it there is: the file may be shorter by now, which the saved pages make up for. */
static enum err read_file(struct snapshot *s, uint64_t pos, size_t len, size_t *there)
{
    const ssize_t n = os_read_all(s->fd, s->buffer, len, (off_t)pos);
    if (n < 0)
        return err_last();
    *there = (size_t)n;
    return OK;
}

static enum err read_piece(struct snapshot *s, uint64_t pos, size_t len, size_t *there)
{
    pthread_mutex_lock(&s->reading);
    *there = len;
    enum err e = given_up(s);
    if (e == OK && s->memory == NULL)
        e = read_file(s, pos, len, there);
    else if (e == OK && !guard_copy(s->buffer, s->memory + pos, len))
        e = ERR_EIO;
    pthread_mutex_unlock(&s->reading);
    return e;
}

static void take_pages(struct snapshot *s, struct piece *piece)
{
    for (int i = 0; i < PAGES; i++) {
        if (piece->pages[i] == NULL)
            continue;
        memcpy(s->buffer + (size_t)i * PAGE, piece->pages[i], PAGE);
        free(piece->pages[i]);
        s->saved--;
    }
    free(piece);
}

/* Are the pages saved of what was not there to be read? */
static bool is_made_up(const struct piece *piece, size_t there, size_t len)
{
    for (size_t i = there / PAGE; i * PAGE < len; i++)
        if (piece == NULL || piece->pages[i] == NULL)
            return false;
    return true;
}

/* From here on who changes these pages need not save them. ERR_EIO: another program has cut them
 * off. Other errors: one was changed that could not be saved. */
static enum err pass(struct snapshot *s, uint64_t pos, size_t there, size_t len)
{
    struct piece **piece = &s->pieces[pos / PIECE];
    pthread_mutex_lock(&s->lock);
    enum err e = given_up(s);
    if (e == OK && there < len && !is_made_up(*piece, there, len))
        e = ERR_EIO;
    if (*piece != NULL)
        take_pages(s, *piece);
    *piece = NULL;
    s->copied = pos + PIECE;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
    return e;
}

/* Little by little, so that the sync at the end does not hold up those of others. */
static void begin_write_back(const struct snapshot *s, uint64_t pos)
{
    if (pos % WRITE_BACK == 0)
        (void)os.write_back(s->file.fd);
}

static enum err copy(struct snapshot *s)
{
    if (os.truncate(s->file.fd, (off_t)s->size) != 0)
        return err_last();
    for (uint64_t pos = 0; pos < s->size; pos += PIECE) {
        const size_t len = s->size - pos < PIECE ? (size_t)(s->size - pos) : PIECE;
        size_t there;
        enum err e = read_piece(s, pos, len, &there);
        if (e == OK)
            e = pass(s, pos, there, len);
        if (e == OK)
            e = new_file_write(&s->file, s->buffer, len, pos);
        if (e != OK)
            return e;
        begin_write_back(s, pos + PIECE);
    }
    return OK;
}

/* Nothing is saved any more, and what was has been for nothing. */
static void let_all_pass(struct snapshot *s)
{
    pthread_mutex_lock(&s->lock);
    s->copied = UINT64_MAX;
    for (uint64_t i = 0; i < pieces_of(s); i++) {
        if (s->pieces[i] != NULL)
            take_pages(s, s->pieces[i]);
        s->pieces[i] = NULL;
    }
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

static enum err make(struct snapshot *s)
{
    enum err e = copy(s);
    let_all_pass(s);
    if (e == OK && s->journal != NULL)
        e = journal_wait(s->journal, s->group);
    if (e != OK) {
        new_file_drop(&s->file);
        return e;
    }
    e = new_file_end(&s->file);
    if (e == OK)
        os.close(s->file.fd);
    return e;
}

static void *run(void *arg)
{
    struct snapshot *s = arg;
    void (*const over)(void *) = s->over;
    void *const over_arg = s->arg;
    s->result = make(s);
    s->is_over = true;
    if (over != NULL)
        over(over_arg);
    return NULL;
}

/* --- begin and end --------------------------------------------------------------------------- */

static void free_snapshot(struct snapshot *s)
{
    pthread_mutex_destroy(&s->reading);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->moved);
    free(s->pieces);
    free(s->to);
    free(s);
}

static struct snapshot *new_snapshot(const struct object *o, const struct snapshot_order *order)
{
    struct snapshot *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->size = o->map.size;
    s->fd = o->map.fd;
    s->memory = o->map.sharing == MAP_OF_FILE ? NULL : o->map.at;
    s->journal = o->durable == NULL ? NULL : object_journal(o);
    s->group = object_group(o);
    s->over = order->over;
    s->arg = order->arg;
    s->to = strdup(order->to);
    s->pieces = calloc(pieces_of(s) + 1, sizeof(struct piece *));
    pthread_mutex_init(&s->reading, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->moved, NULL);
    if (s->to != NULL && s->pieces != NULL)
        return s;
    free_snapshot(s);
    return NULL;
}

static enum err mode_of(const struct object *o, mode_t *mode)
{
    struct stat st;
    if (o->map.sharing == MAP_MEMORY)
        return OK;
    if (os.fstat(o->map.fd, &st) != 0)
        return err_last();
    *mode = st.st_mode & 0777;
    return OK;
}

static enum err start_thread(struct snapshot *s)
{
    s->has_thread = pthread_create(&s->thread, NULL, run, s) == 0;
    if (s->has_thread)
        return OK;
    new_file_drop(&s->file);
    return ERR_ENOMEM;
}

static enum err begin(struct object *o, const struct snapshot_order *order, struct snapshot **begun)
{
    mode_t mode = order->mode;
    enum err e = mode_of(o, &mode);
    if (e != OK)
        return e;
    struct snapshot *s = new_snapshot(o, order);
    if (s == NULL)
        return ERR_ENOMEM;
    e = new_file_begin(&s->file, order->paths, s->to, mode, order->any_file_system);
    if (e == OK && s->memory != NULL)
        run(s);
    else if (e == OK)
        e = start_thread(s);
    if (e != OK)
        free_snapshot(s);
    else
        *begun = s;
    return e;
}

enum err snapshot_begin(struct object *o, const struct snapshot_order *order,
                        struct snapshot **begun)
{
    if (o->snapshot != NULL)
        return ERR_EBUSY;
    enum err e = atomic_fetch_add(&snapshots, 1) < SNAPSHOTS ? begin(o, order, begun) : ERR_EBUSY;
    if (e == OK)
        o->snapshot = *begun;
    else
        snapshots--;
    return e;
}

bool snapshot_is_over(const struct snapshot *s)
{
    return s->is_over;
}

enum err snapshot_end(struct object *o, struct snapshot *s, uint64_t *size)
{
    if (s->has_thread)
        pthread_join(s->thread, NULL);
    if (o->snapshot == s)
        o->snapshot = NULL;
    enum err e = s->result;
    *size = s->size;
    free_snapshot(s);
    snapshots--;
    return e;
}

/* --- who changes the object ------------------------------------------------------------------ */

static void give_up(struct snapshot *s, enum err why)
{
    int none = OK;
    atomic_compare_exchange_strong(&s->given_up, &none, (int)why);
}

static bool is_full(const struct snapshot *s)
{
    return s->saved >= SNAPSHOT_SAVED && s->copied < s->size && given_up(s) == OK;
}

/* With the lock. */
static void wait_for_room(struct snapshot *s)
{
    while (is_full(s))
        pthread_cond_wait(&s->moved, &s->lock);
}

static bool must_be_saved(const struct snapshot *s, uint64_t page)
{
    if (page < s->copied || given_up(s) != OK)
        return false;
    const struct piece *piece = s->pieces[page / PIECE];
    return piece == NULL || piece->pages[page % PIECE / PAGE] == NULL;
}

/* With the lock. What cannot be saved is the end of the snapshot, not of the change. */
static void save(struct snapshot *s, const uint8_t *at, uint64_t page)
{
    struct piece **piece = &s->pieces[page / PIECE];
    if (*piece == NULL)
        *piece = calloc(1, sizeof **piece);
    uint8_t *bytes = *piece == NULL ? NULL : malloc(PAGE);
    if (bytes == NULL || !guard_copy(bytes, at + page, PAGE)) {
        give_up(s, bytes == NULL ? ERR_ENOMEM : ERR_EIO);
        free(bytes);
        return;
    }
    (*piece)->pages[page % PIECE / PAGE] = bytes;
    s->saved++;
}

static void save_page(struct snapshot *s, const uint8_t *at, uint64_t page, bool may_wait)
{
    pthread_mutex_lock(&s->lock);
    if (may_wait && must_be_saved(s, page))
        wait_for_room(s);
    if (must_be_saved(s, page))
        save(s, at, page);
    pthread_mutex_unlock(&s->lock);
}

void snapshot_before(struct object *o, uint64_t pos, uint64_t len)
{
    struct snapshot *s = o->snapshot;
    if (s == NULL || s->memory != NULL || len == 0)
        return;
    const uint64_t end = pos + len < s->size ? pos + len : s->size;
    uint64_t page = pos / PAGE * PAGE;
    while (page < end) {
        const uint64_t copied = s->copied;
        if (page >= copied)
            save_page(s, o->map.at, page, len > SNAPSHOT_AT_ONCE);
        page = page >= copied ? page + PAGE : copied < end ? copied : end;
    }
}

bool snapshot_has_room(struct object *o)
{
    return o->snapshot == NULL || !is_full(o->snapshot);
}

void snapshot_wait(struct object *o)
{
    struct snapshot *s = o->snapshot;
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    wait_for_room(s);
    pthread_mutex_unlock(&s->lock);
}

void snapshot_hold(struct object *o)
{
    if (o->snapshot != NULL)
        pthread_mutex_lock(&o->snapshot->reading);
}

void snapshot_let(struct object *o)
{
    struct snapshot *s = o->snapshot;
    if (s == NULL)
        return;
    s->fd = o->map.fd;
    pthread_mutex_unlock(&s->reading);
}

void snapshot_leave(struct object *o, enum err why)
{
    struct snapshot *s = o->snapshot;
    if (s == NULL)
        return;
    if (s->copied < s->size)
        give_up(s, why);
    pthread_mutex_lock(&s->reading); /* it may be at it */
    pthread_mutex_unlock(&s->reading);
    o->snapshot = NULL;
}
