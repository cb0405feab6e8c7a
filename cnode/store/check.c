#include "store/check.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>

#include "store/counter.h"
#include "store/format.h"
#include "store/journal.h"
#include "store/replay.h"
#include "sys/guard.h"
#include "sys/hash.h"
#include "sys/os.h"

/* What is looked at is a private mapping of the file. Mostly it is not writable; where the file has
 * to be put right before it can be read, or a journal has changes of it, that is done in a copy on
 * write, of which the file learns nothing. */

/* --- for all kinds --------------------------------------------------------------------------- */

void check_tell(struct checking *k, const struct check_finding *f)
{
    if (f->damage) {
        k->counts.damages++;
        k->counts.lost += f->count;
    } else {
        k->counts.notes++;
    }
    if (k->c->found != NULL)
        k->c->found(k->c->arg, f);
}

void check_progress(const struct checking *k, uint64_t done, uint64_t all)
{
    if (k->c->progress != NULL)
        k->c->progress(k->c->arg, done, all);
}

bool check_mend_header(uint8_t header[CHECK_HEADER])
{
    for (unsigned bit = 0; bit < 8 * CHECK_HEADER; bit++) {
        header[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (get_le64(header + CHECK_HEADER - 8) == hash_bytes(0, header, CHECK_HEADER - 8))
            return true;
        header[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    return false;
}

static void tell(struct checking *k, bool damage, uint64_t id, uint64_t count, uint64_t offset,
                 const char *what)
{
    check_tell(k, &(struct check_finding){
                      .damage = damage, .id = id, .count = count, .offset = offset, .what = what});
}

/* --- the journal ----------------------------------------------------------------------------- */

struct applying {
    const struct map *map;
    bool is_cut; /* there are changes behind the end */
};

static enum err store_here(void *arg, const struct entry_view *v)
{
    struct applying *a = arg;
    const struct map *m = a->map;
    uint64_t end;
    if (!add_u64(v->fields.offset, v->fields.len, &end) || end > m->size) {
        a->is_cut = true;
        return OK;
    }
    return guard_copy(m->at + v->fields.offset, v->data.at, v->data.len) ? OK : ERR_EIO;
}

static enum err apply(struct checking *k, const struct mark *mark, struct halves *h)
{
    unsigned file;
    uint64_t offset;
    char why[JOURNAL_WHY];
    if (memcmp(mark->uuid, h->uuid, sizeof h->uuid) != 0)
        return ERR_NEEDS_JOURNAL;
    if (halves_check(h, why, &file, &offset) != OK) {
        tell(k, true, CHECK_NONE, 0, CHECK_NONE, why);
        return ERR_NEEDS_JOURNAL;
    }
    struct applying a = {.map = &k->map};
    const enum err e = replay_look(h, mark->serial, store_here, &a);
    if (e == OK && a.is_cut)
        tell(k, true, CHECK_NONE, 0, k->map.size,
             "the file is shorter than it was: its journal has changes behind the end");
    return e == ERR_ENOENT ? ERR_NEEDS_JOURNAL : e;
}

/* The daemon whose journal it is would store this in the file before it served it. */
static enum err apply_journal(struct checking *k, const struct mark *mark)
{
    struct halves h;
    char why[JOURNAL_WHY];
    const int dir = os.open(AT_FDCWD, mark->dir, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0)
        return ERR_NEEDS_JOURNAL;
    enum err e = halves_open(&h, dir, &journal_limits, why);
    if (e == OK) {
        e = apply(k, mark, &h);
        halves_close(&h);
    } else {
        e = ERR_NEEDS_JOURNAL;
    }
    os.close(dir);
    return e;
}

enum err check_map(struct checking *k, bool writable)
{
    struct stat st;
    struct mark mark;
    const int fd = fcntl(k->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return err_last();
    if (os.fstat(fd, &st) != 0) {
        const enum err failed = err_last();
        os.close(fd);
        return failed;
    }
    map_close(&k->map);
    enum err e = k->c->alone ? ERR_ENOENT : mark_read(fd, &mark);
    const bool journal = e == OK;
    if (e != OK && e != ERR_ENOENT) {
        os.close(fd);
        return e;
    }
    e = map_open(&k->map, fd, (uint64_t)st.st_size, writable || journal, MAP_COPY);
    if (e == OK && journal)
        e = apply_journal(k, &mark);
    k->map.writable = writable;
    return e;
}

/* --- plain bytes ----------------------------------------------------------------------------- */

/* Nothing can be wrong with them; they are read only for who wants them. */
static enum err visit_region(struct checking *k)
{
    static uint8_t window[1 << 16];
    const struct map *m = &k->map;
    enum err e = OK;
    if (k->c->bytes == NULL || k->c->head)
        return OK;
    for (uint64_t at = 0; at < m->size && e == OK; at += sizeof window) {
        const uint64_t left = m->size - at;
        const size_t n = left < sizeof window ? (size_t)left : sizeof window;
        check_progress(k, at, m->size);
        if (!guard_copy(window, m->at + at, n))
            return ERR_EIO;
        e = k->c->bytes(k->c->arg, at, span_of(window, n));
    }
    return e;
}

/* --- counters -------------------------------------------------------------------------------- */

static enum err visit_counters(struct checking *k, uint64_t n)
{
    enum err e = OK;
    for (uint64_t i = 0; i < n && e == OK; i++) {
        uint8_t word[8];
        if (i % 65536 == 0)
            check_progress(k, i, n);
        if (!guard_copy(word, k->map.at + counter_file_size(i), sizeof word))
            return ERR_EIO;
        if (k->c->counter != NULL)
            e = k->c->counter(k->c->arg, i, (int64_t)get_le64(word));
    }
    return e;
}

static enum err check_counters(struct checking *k)
{
    uint8_t header[COUNTER_HEADER] = {0};
    uint8_t right[COUNTER_HEADER];
    const struct map *m = &k->map;
    const size_t len = m->size < sizeof header ? (size_t)m->size : sizeof header;
    if (!guard_copy(header, m->at, len))
        return ERR_EIO;
    const uint64_t n = get_le64(header + 8);
    counter_header(n, right);
    if (memcmp(header, right, 8) != 0)
        tell(k, true, CHECK_NONE, 0, 0, "it does not begin as a file of counters does");
    const uint64_t room = m->size < COUNTER_HEADER ? 0 : (m->size - COUNTER_HEADER) / 8;
    if (m->size < COUNTER_HEADER)
        tell(k, true, CHECK_NONE, 0, m->size, "the file ends in its header");
    else if (n > COUNTER_MOST)
        tell(k, true, CHECK_NONE, 0, 8, "the header names more counters than there can be");
    else if (n > room)
        tell(k, true, room, n - room, 8,
             "the header names counters that are behind the end of the file");
    k->counts.things = n < room ? n : room;
    return k->c->head ? OK : visit_counters(k, k->counts.things);
}

/* --- one half of the journal ----------------------------------------------------------------- */

static enum err visit_entry(void *arg, const struct entry_view *v)
{
    const struct check *c = arg;
    return c->entry == NULL || c->head ? OK : c->entry(c->arg, v);
}

static void tell_header(struct checking *k, const struct half *f)
{
    struct half_fields h = {.version = 0};
    const bool whole = os_read_all(f->fd, &h, sizeof h, 0) == sizeof h &&
                       h.hash == hash_bytes(0, &h, offsetof(struct half_fields, hash));
    if (whole && h.version != JOURNAL_VERSION)
        tell(k, true, CHECK_NONE, 0, 8, "this version of the journal is not known here");
    else if (whole && h.size != f->size)
        tell(k, true, CHECK_NONE, 0, f->size, "the file has another size than it was made with");
    else
        tell(k, true, CHECK_NONE, 0, 0, "the header of this half of the journal is not whole");
}

static enum err check_half(struct checking *k)
{
    struct halves h = {.limits = &journal_limits};
    struct half f = {.fd = k->map.fd};
    struct check c = *k->c;
    bool later = false;
    enum err e = half_read(&h, &f);
    if (e != OK)
        return e;
    if (f.state != HALF_GOOD) {
        tell_header(k, &f);
        return OK;
    }
    memcpy(h.uuid, f.uuid, sizeof h.uuid);
    e = halves_walk(&h, &f, visit_entry, &c);
    if (e == OK)
        e = half_check(&h, &f, &later);
    k->counts.things = f.last_group + 1 - f.first_group;
    if (e == ERR_DAMAGED)
        tell(k, true, f.last_group + 1, 0, f.end, "a group says what it cannot");
    else if (later)
        tell(k, true, f.last_group + 1, 0, f.end,
             "a group is not whole, and one that came after it is");
    return e == ERR_DAMAGED ? OK : e;
}

/* --- a queue of the NIF library -------------------------------------------------------------- */

static enum err visit_nif(struct checking *k, const struct span *bytes)
{
    const struct check_item item = {
        .seq = ++k->counts.things, .state = ITEM_READY, .payload = *bytes, .bytes = *bytes};
    return k->c->item != NULL && !k->c->head ? k->c->item(k->c->arg, &item) : OK;
}

static enum err check_nif_queue(struct checking *k)
{
    struct nif_queue f;
    struct span bytes;
    enum err e = nif_queue_open(&f, k->map.fd, k->c->length);
    if (e == ERR_NOT_QUEUE)
        tell(k, true, CHECK_NONE, 0, 0, "it does not begin as a queue of the NIF library does");
    if (e != OK)
        return e == ERR_NOT_QUEUE ? OK : e;
    while ((e = nif_queue_next(&f, &bytes)) == OK && (e = visit_nif(k, &bytes)) == OK)
        check_progress(k, f.pos, f.tail);
    if (e == ERR_NOT_QUEUE || e == ERR_MAX_FRAME)
        tell(k, true, k->counts.things + 1, 0, f.pos,
             e == ERR_MAX_FRAME ? "an item is too long for a queue of ours"
                                : "this is no record of one whole term");
    nif_queue_close(&f);
    return e == ERR_EMPTY || e == ERR_NOT_QUEUE || e == ERR_MAX_FRAME ? OK : e;
}

/* --- all of it ------------------------------------------------------------------------------- */

static enum err look(struct checking *k)
{
    switch (k->counts.kind) {
    case FILE_COUNTERS: return check_counters(k);
    case FILE_BLOCKS: return check_blocks(k);
    case FILE_QUEUE: return check_queue(k);
    case FILE_NIF_QUEUE: return check_nif_queue(k);
    case FILE_JOURNAL: return check_half(k);
    case FILE_REGION: break;
    }
    return visit_region(k);
}

enum err check_file(int fd, const struct check *c)
{
    struct checking k = {.c = c, .fd = fd, .map.fd = -1};
    enum err e = OK;
    if (c->kind != NULL)
        k.counts.kind = *c->kind;
    else
        e = file_kind(fd, c->length, &k.counts.kind);
    if (e == OK)
        e = check_map(&k, false);
    if (e == OK)
        e = look(&k);
    map_close(&k.map);
    if (c->counts != NULL)
        *c->counts = k.counts;
    return e == OK && k.counts.damages > 0 ? ERR_DAMAGED : e;
}
