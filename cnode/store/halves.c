#include "store/halves.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "sys/hash.h"
#include "sys/os.h"

static const char *const names[2] = {"j0", "j1"};

/* --- whole reads and writes ------------------------------------------------------------------ */

/* False where the file ends before, too. */
static bool read_all(int fd, void *to, size_t n, uint64_t at)
{
    const ssize_t got = os_read_all(fd, to, n, (off_t)at);
    if (got >= 0 && got < (ssize_t)n)
        errno = EIO;
    return got == (ssize_t)n;
}

static enum err write_all(int fd, const void *from, size_t n, uint64_t at)
{
    return os_write_all(fd, from, n, (off_t)at) == 0 ? OK : err_last();
}

/* --- the header of a file -------------------------------------------------------------------- */

static uint64_t header_hash(const struct half_fields *f)
{
    return hash_bytes(0, f, offsetof(struct half_fields, hash));
}

static bool is_zero(const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    while (n > 0 && *at == 0) {
        at++;
        n--;
    }
    return n == 0;
}

/* A header that was being written when the power went has no group behind it yet. */
static bool has_data(const struct halves *h, const struct half *f)
{
    struct group_fields group;
    return read_all(f->fd, &group, sizeof group, h->limits->page) && !is_zero(&group, sizeof group);
}

/* The header is whole, but not the file. */
static bool was_cut(const struct half *f, const struct half_fields *fields)
{
    return fields->hash == header_hash(fields) && fields->size != f->size;
}

static enum err read_header(struct halves *h, struct half *f)
{
    struct half_fields fields;
    struct stat st;
    f->state = HALF_BAD;
    f->last_group = 0;
    f->end = h->limits->page;
    if (os.fstat(f->fd, &st) != 0)
        return err_last();
    f->size = (uint64_t)st.st_size;
    f->kept = st.st_nlink > 1;
    if (f->size <= h->limits->page)
        return OK; /* they are made whole */
    if (!read_all(f->fd, &fields, sizeof fields, 0))
        return err_last();
    const bool good = memcmp(fields.magic, JOURNAL_MAGIC, sizeof fields.magic) == 0 &&
                      fields.hash == header_hash(&fields) && fields.version == JOURNAL_VERSION &&
                      fields.size == f->size && fields.first_group > 0 &&
                      fields.first_group <= TOO_FAR;
    if (good) {
        f->state = HALF_GOOD;
        f->generation = fields.generation;
        f->first_group = fields.first_group;
        memcpy(f->uuid, fields.uuid, sizeof f->uuid);
        f->last_group = f->first_group - 1;
    } else if (!was_cut(f, &fields) && !has_data(h, f)) {
        f->state = HALF_NEW;
    }
    return OK;
}

static enum err write_header(struct halves *h, struct half *f)
{
    struct half_fields fields = {.version = JOURNAL_VERSION,
                                 .generation = f->generation,
                                 .size = f->size,
                                 .first_group = f->first_group};
    memcpy(fields.magic, JOURNAL_MAGIC, sizeof fields.magic);
    memcpy(fields.uuid, h->uuid, sizeof fields.uuid);
    fields.hash = header_hash(&fields);
    enum err e = write_all(f->fd, &fields, sizeof fields, 0);
    return e == OK && os.sync(f->fd) != 0 ? err_last() : e;
}

/* --- opening and making ---------------------------------------------------------------------- */

enum err half_read(struct halves *h, struct half *f)
{
    return read_header(h, f);
}

enum err half_open(struct halves *h, struct half *f, const char *name)
{
    *f = (struct half){.fd = os.open_beneath(h->dir, name, O_RDWR | O_NOFOLLOW, 0)};
    if (f->fd < 0)
        return err_last();
    enum err e = read_header(h, f);
    if (e != OK) {
        os.close(f->fd);
        f->fd = -1;
    }
    if (!is_zero(h->uuid, sizeof h->uuid) && memcmp(f->uuid, h->uuid, sizeof h->uuid) != 0)
        f->state = HALF_BAD;
    return e;
}

static enum err damaged(struct halves *h, char why[JOURNAL_WHY], unsigned file, uint64_t offset,
                        const char *what)
{
    h->damaged_file = file;
    snprintf(why, JOURNAL_WHY, "%s, offset %" PRIu64 ": %s", names[file], offset, what);
    return ERR_DAMAGED;
}

/* Generations go round: each start counts on. */
static bool is_newer(const struct half *a, const struct half *b)
{
    return a->state == HALF_GOOD &&
           (b->state != HALF_GOOD || (int64_t)(a->generation - b->generation) > 0);
}

static uint64_t first_group_in(const struct halves *h, const struct half *f, uint64_t generation);

/* Where one header is bad, the groups tell what it was. One that was being written when the power
 * went: the half before the good one, which still can be replayed. Groups of a generation after
 * the good one must not be passed over: the next one, or where a start came between the one after
 * it. */
static enum err settle_bad(struct halves *h, unsigned i, char why[JOURNAL_WHY])
{
    struct half *bad = &h->half[i];
    const struct half *good = &h->half[!i];
    if (bad->size != h->limits->half && (good->state != HALF_GOOD || bad->size != good->size))
        return damaged(h, why, i, bad->size, "the file has another size than it was made with");
    if (good->state != HALF_GOOD || first_group_in(h, bad, good->generation + 1) != 0 ||
        first_group_in(h, bad, good->generation + 2) != 0)
        return damaged(h, why, i, 0, "the header is not whole, and there are groups behind it");
    bad->generation = good->generation - 1;
    bad->first_group = first_group_in(h, bad, bad->generation);
    bad->state = bad->first_group > 0 ? HALF_GOOD : HALF_NEW;
    bad->torn = true;
    return OK;
}

static enum err settle_uuid(struct halves *h, char why[JOURNAL_WHY])
{
    const struct half *f = h->half;
    if (f[0].state == HALF_GOOD && f[1].state == HALF_GOOD &&
        memcmp(f[0].uuid, f[1].uuid, sizeof f[0].uuid) != 0)
        return damaged(h, why, 1, 0, "it is of another journal than j0");
    for (unsigned i = 0; i < 2; i++)
        if (f[i].state == HALF_GOOD)
            memcpy(h->uuid, f[i].uuid, sizeof h->uuid);
    return OK;
}

enum err halves_open(struct halves *h, int dir, const struct journal_limits *limits,
                     char why[JOURNAL_WHY])
{
    *h = (struct halves){.limits = limits, .dir = dir, .half = {{.fd = -1}, {.fd = -1}}};
    enum err found[2];
    enum err e = OK;
    for (unsigned i = 0; i < 2 && e == OK; i++) {
        found[i] = half_open(h, &h->half[i], names[i]);
        e = found[i] == ERR_ENOENT ? OK : found[i];
    }
    if (e == OK && found[0] == ERR_ENOENT && found[1] == ERR_ENOENT)
        return ERR_ENOENT;
    for (unsigned i = 0; i < 2 && e == OK; i++)
        if (found[i] == ERR_ENOENT && h->half[!i].state != HALF_NEW)
            e = damaged(h, why, i, 0, "the file is missing");
    if (e == OK)
        e = settle_uuid(h, why);
    for (unsigned i = 0; i < 2 && e == OK; i++)
        if (found[i] == OK && h->half[i].state == HALF_BAD)
            e = settle_bad(h, i, why);
    h->current = is_newer(&h->half[1], &h->half[0]);
    if (e != OK)
        halves_close(h);
    return e;
}

void halves_close(struct halves *h)
{
    for (unsigned i = 0; i < 2; i++) {
        if (h->half[i].fd >= 0)
            os.close(h->half[i].fd);
        h->half[i].fd = -1;
    }
}

static enum err fill(int fd, uint64_t size)
{
    enum { PIECE = 1 << 20 };
    if (os.allocate(fd, 0, (off_t)size) != 0)
        return err_last();
    uint8_t *zeros = calloc(1, PIECE);
    enum err e = zeros == NULL ? ERR_ENOMEM : OK;
    for (uint64_t at = 0; e == OK && at < size; at += PIECE)
        e = write_all(fd, zeros, size - at < PIECE ? size - at : PIECE, at);
    free(zeros);
    return e == OK && os.sync_all(fd) != 0 ? err_last() : e;
}

/* Complete under its name or not there. */
static enum err make(struct halves *h, unsigned i, int *made)
{
    static const char *const fresh[2] = {"j0.new", "j1.new"};
    (void)os.unlink(h->dir, fresh[i]);
    const int fd = os.open_beneath(h->dir, fresh[i], O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return err_last();
    enum err e = fill(fd, h->limits->half);
    if (e == OK && os.rename(h->dir, fresh[i], names[i]) != 0)
        e = err_last();
    if (e == OK && os.sync_all(h->dir) != 0)
        e = err_last();
    if (e == OK) {
        *made = fd;
        return OK;
    }
    os.close(fd);
    (void)os.unlink(h->dir, fresh[i]);
    return e;
}

enum err halves_renew(struct halves *h, unsigned file)
{
    struct half *f = &h->half[file];
    int fd = -1;
    enum err e = make(h, file, &fd);
    if (e != OK)
        return e;
    if (f->fd >= 0)
        os.close(f->fd);
    *f = (struct half){.fd = fd, .size = h->limits->half, .end = h->limits->page};
    return OK;
}

enum err halves_make(struct halves *h)
{
    enum err e = OK;
    if (h->half[0].state != HALF_GOOD && h->half[1].state != HALF_GOOD)
        os_random(h->uuid, sizeof h->uuid);
    for (unsigned i = 0; i < 2 && e == OK; i++)
        if (h->half[i].fd < 0)
            e = halves_renew(h, i);
    return e;
}

unsigned halves_in_order(const struct halves *h, unsigned order[2])
{
    const struct half *newer = &h->half[h->current];
    const struct half *older = &h->half[!h->current];
    unsigned n = 0;
    if (newer->state == HALF_GOOD && older->state == HALF_GOOD &&
        older->generation + 1 == newer->generation)
        order[n++] = !h->current;
    if (newer->state == HALF_GOOD)
        order[n++] = h->current;
    return n;
}

/* --- groups ---------------------------------------------------------------------------------- */

uint64_t halves_size_of(const struct halves *h, uint64_t len)
{
    return align_up(sizeof(struct group_fields) + len, h->limits->page);
}

static uint64_t seed_of(const struct halves *h, uint64_t generation, uint64_t at)
{
    return hash_bytes(generation, h->uuid, sizeof h->uuid) + at;
}

static uint64_t group_hash(const struct halves *h, uint64_t generation, uint64_t at,
                           const struct group_fields *g, const uint8_t *records)
{
    return hash_two(seed_of(h, generation, at), span_of(g, offsetof(struct group_fields, hash)),
                    span_of(records, g->len));
}

/* Each record of a group, as far as they fit. ERR_DAMAGED: they do not, whatever the hash says. */
static enum err visit_group(const struct group_fields *g, const uint8_t *records,
                            entry_visit *visit, void *arg)
{
    uint64_t at = 0;
    enum err e = OK;
    for (uint32_t i = 0; i < g->count && e == OK; i++) {
        struct entry_view v = {.group = g->number};
        if (g->len - at < sizeof v.fields)
            return ERR_DAMAGED;
        memcpy(&v.fields, records + at, sizeof v.fields);
        at += sizeof v.fields;
        if (align_up(v.fields.len, 8) > g->len - at)
            return ERR_DAMAGED;
        v.data = span_of(records + at, v.fields.len);
        at += align_up(v.fields.len, 8);
        e = visit == NULL ? OK : visit(arg, &v);
    }
    return e;
}

/* Whatever the hash says. */
static bool can_be_group(const struct half *f, uint64_t at, const struct group_fields *g)
{
    return g->number > 0 && g->number < TOO_FAR && g->len > 0 &&
           g->len <= f->size - at - sizeof *g && g->len % 8 == 0 && g->zero == 0 &&
           g->count <= g->len / sizeof(struct entry_fields);
}

/* The records of the group at a place; ERR_EMPTY: there is none of this generation. */
static enum err read_group(const struct halves *h, const struct half *f, uint64_t generation,
                           uint64_t at, struct group_fields *g, uint8_t **records)
{
    if (at + sizeof *g > f->size)
        return ERR_EMPTY;
    if (!read_all(f->fd, g, sizeof *g, at))
        return err_last();
    if (!can_be_group(f, at, g))
        return ERR_EMPTY;
    uint8_t *bytes = malloc(g->len);
    if (bytes == NULL)
        return ERR_ENOMEM;
    enum err e = OK;
    if (!read_all(f->fd, bytes, g->len, at + sizeof *g))
        e = err_last();
    else if (g->hash != group_hash(h, generation, at, g, bytes))
        e = ERR_EMPTY;
    else
        e = visit_group(g, bytes, NULL, NULL);
    if (e == OK)
        *records = bytes;
    else
        free(bytes);
    return e;
}

/* 0: none of this generation. */
static uint64_t first_group_in(const struct halves *h, const struct half *f, uint64_t generation)
{
    struct group_fields g;
    uint8_t *records;
    if (read_group(h, f, generation, h->limits->page, &g, &records) != OK)
        return 0;
    free(records);
    return g.number;
}

enum err halves_walk(const struct halves *h, struct half *f, entry_visit *visit, void *arg)
{
    enum err e = OK;
    f->last_group = f->first_group - 1;
    f->end = h->limits->page;
    while (e == OK) {
        struct group_fields g;
        uint8_t *records = NULL;
        e = read_group(h, f, f->generation, f->end, &g, &records);
        if (e != OK)
            break;
        if (g.number != f->last_group + 1)
            e = ERR_EMPTY;
        else if (visit != NULL)
            e = visit_group(&g, records, visit, arg);
        free(records);
        if (e != OK)
            break;
        f->last_group = g.number;
        f->end += halves_size_of(h, g.len);
    }
    return e == ERR_EMPTY ? OK : e;
}

/* Does a whole group of this generation, later than the last, stand anywhere behind it? */
static enum err find_later(const struct halves *h, const struct half *f, bool *found)
{
    enum err e = OK;
    *found = false;
    for (uint64_t at = f->end; e == OK && !*found && at < f->size; at += h->limits->page) {
        struct group_fields g;
        uint8_t *records = NULL;
        e = read_group(h, f, f->generation, at, &g, &records);
        free(records);
        *found = (e == OK || e == ERR_DAMAGED) && g.number > f->last_group;
        e = e == ERR_EMPTY || e == ERR_DAMAGED ? OK : e;
    }
    return e;
}

enum err half_check(const struct halves *h, struct half *f, bool *later)
{
    enum err e = halves_walk(h, f, NULL, NULL);
    return e == OK ? find_later(h, f, later) : e;
}

/* A group that is whole, but not made as it should be, is no end. */
static enum err walk_to_end(struct halves *h, char why[JOURNAL_WHY], unsigned file)
{
    struct half *f = &h->half[file];
    enum err e = halves_walk(h, f, NULL, NULL);
    return e == ERR_DAMAGED ? damaged(h, why, file, f->end, "a group says what it cannot") : e;
}

enum err halves_check(struct halves *h, char why[JOURNAL_WHY], unsigned *file, uint64_t *offset)
{
    unsigned order[2];
    const unsigned n = halves_in_order(h, order);
    bool later = false;
    enum err e = OK;
    for (unsigned i = 0; i < n && e == OK; i++) {
        *file = order[i];
        e = walk_to_end(h, why, order[i]);
        *offset = h->half[order[i]].end;
    }
    if (n == 0 || e != OK)
        return e;
    const struct half *older = &h->half[order[0]];
    const struct half *newer = &h->half[order[n - 1]];
    if (n == 2 && older->last_group + 1 != newer->first_group) {
        *file = order[0];
        *offset = older->end;
        return damaged(h, why, *file, *offset,
                       "a group is damaged, and later ones stand behind it");
    }
    e = find_later(h, newer, &later);
    return later ? damaged(h, why, *file, *offset, "a group is damaged, and later ones are not")
                 : e;
}

/* Zeros over the fields of each group from there on, or they would be found again. */
static enum err wipe_groups(const struct halves *h, const struct half *f, uint64_t offset)
{
    static const uint8_t zeros[sizeof(struct group_fields)];
    enum err e = OK;
    for (uint64_t at = offset; e == OK && at + sizeof zeros <= f->size; at += h->limits->page)
        e = write_all(f->fd, zeros, sizeof zeros, at);
    return e == OK && os.sync(f->fd) != 0 ? err_last() : e;
}

/* In an older half the newer one goes, too: first, for with its header it would be missed. */
enum err halves_cut(struct halves *h, unsigned file, uint64_t offset)
{
    static const uint8_t zeros[sizeof(struct half_fields)];
    const struct half *newer = &h->half[h->current];
    enum err e = OK;
    if (file != h->current) {
        e = wipe_groups(h, newer, h->limits->page);
        if (e == OK)
            e = write_all(newer->fd, zeros, sizeof zeros, 0);
        if (e == OK && os.sync(newer->fd) != 0)
            e = err_last();
    }
    return e == OK ? wipe_groups(h, &h->half[file], offset) : e;
}

/* --- mending ---------------------------------------------------------------------------------- */

/* A file that cannot be read at all: it stays beside, and an empty one takes its place. */
static enum err put_aside(struct halves *h, unsigned file, char what[JOURNAL_WHY])
{
    static const char *const aside[2] = {"j0.damaged", "j1.damaged"};
    int fd = -1;
    if (os.rename(h->dir, names[file], aside[file]) != 0 && errno != ENOENT)
        return err_last();
    enum err e = make(h, file, &fd);
    if (e != OK)
        return e;
    os.close(fd);
    snprintf(what, JOURNAL_WHY, "%s: what it had is lost; it is %s now", names[file], aside[file]);
    return OK;
}

static enum err cut_at_damage(struct halves *h, char what[JOURNAL_WHY])
{
    unsigned file = 0;
    uint64_t offset = 0;
    char why[JOURNAL_WHY];
    enum err e = halves_check(h, why, &file, &offset);
    if (e != ERR_DAMAGED)
        return e == OK ? ERR_EMPTY : e;
    snprintf(what, JOURNAL_WHY, "%s: cut at offset %" PRIu64, names[file], offset);
    return halves_cut(h, file, offset);
}

enum err halves_mend(int dir, const struct journal_limits *limits, char what[JOURNAL_WHY])
{
    struct halves h;
    char why[JOURNAL_WHY];
    enum err e = halves_open(&h, dir, limits, why);
    if (e == ERR_DAMAGED)
        return put_aside(&h, h.damaged_file, what);
    if (e != OK)
        return e;
    e = cut_at_damage(&h, what);
    halves_close(&h);
    return e;
}

bool halves_fit(const struct halves *h, uint64_t len)
{
    const struct half *f = &h->half[h->current];
    return halves_size_of(h, len) <= f->size - f->end;
}

enum err halves_append(struct halves *h, uint8_t *group, uint64_t number, uint64_t len,
                       uint32_t count)
{
    struct half *f = &h->half[h->current];
    struct group_fields g = {.number = number, .len = len, .count = count};
    const uint64_t size = halves_size_of(h, len);
    must(!f->kept && halves_fit(h, len) && number == f->last_group + 1);
    if (number >= TOO_FAR)
        return ERR_EFBIG; /* it would not be found again */
    memset(group + sizeof g + len, 0, size - sizeof g - len);
    g.hash = group_hash(h, f->generation, f->end, &g, group + sizeof g);
    memcpy(group, &g, sizeof g);
    enum err e = write_all(f->fd, group, size, f->end);
    if (e == OK && os.sync(f->fd) != 0)
        e = err_last();
    if (e != OK)
        return e;
    f->last_group = number;
    f->end += size;
    return OK;
}

enum err halves_turn(struct halves *h, uint64_t step, uint64_t first_group)
{
    struct half *f = &h->half[!h->current];
    enum err e = f->kept || f->size != h->limits->half ? halves_renew(h, !h->current) : OK;
    if (e != OK)
        return e;
    f->generation = h->half[h->current].generation + step;
    f->first_group = first_group;
    f->last_group = first_group - 1;
    f->end = h->limits->page;
    e = write_header(h, f);
    f->state = e == OK ? HALF_GOOD : HALF_BAD;
    f->torn = false;
    if (e == OK)
        h->current = !h->current;
    return e;
}

enum err halves_store_again(struct halves *h)
{
    struct half *f = &h->half[h->current];
    must(f->state == HALF_GOOD);
    return write_header(h, f);
}

/* Pieces of a file, each with pages of its own. */
enum { WIPE_PIECE = 1 << 20 };

static enum err wipe_piece(const struct halves *h, const struct half *f, uint64_t from,
                           uint8_t *bytes, uint64_t first, bool *wiped)
{
    static const uint8_t zeros[sizeof(struct group_fields)];
    const uint64_t len = f->size - from < WIPE_PIECE ? f->size - from : WIPE_PIECE;
    enum err e = read_all(f->fd, bytes, len, from) ? OK : err_last();
    for (uint64_t at = 0; e == OK && at + sizeof zeros <= len; at += h->limits->page) {
        struct group_fields g;
        memcpy(&g, bytes + at, sizeof g);
        if (!can_be_group(f, from + at, &g) || g.number < first)
            continue;
        e = write_all(f->fd, zeros, sizeof zeros, from + at);
        *wiped = true;
    }
    return e;
}

static enum err wipe_later(const struct halves *h, const struct half *f, uint64_t first)
{
    bool wiped = false;
    uint8_t *bytes = malloc(WIPE_PIECE);
    enum err e = bytes == NULL ? ERR_ENOMEM : OK;
    for (uint64_t at = h->limits->page; e == OK && at < f->size; at += WIPE_PIECE)
        e = wipe_piece(h, f, at, bytes, first, &wiped);
    free(bytes);
    return e == OK && wiped && os.sync(f->fd) != 0 ? err_last() : e;
}

enum err halves_wipe_later(struct halves *h)
{
    const uint64_t first = h->half[h->current].first_group;
    enum err e = OK;
    for (unsigned i = 0; e == OK && i < 2; i++)
        if (!h->half[i].kept && h->half[i].size == h->limits->half)
            e = wipe_later(h, &h->half[i], first);
    return e;
}

/* Under its new name nothing but the header tells what it is. */
enum err halves_keep(struct halves *h, unsigned file, uint32_t serial)
{
    char name[64];
    enum err e = h->half[file].torn ? write_header(h, &h->half[file]) : OK;
    if (e != OK)
        return e;
    h->half[file].torn = false;
    snprintf(name, sizeof name, "kept-%" PRIu64 "-%" PRIu32, h->half[file].generation, serial);
    if (os.link(h->dir, names[file], name) != 0 && errno != EEXIST)
        return err_last();
    h->half[file].kept = true;
    return os.sync_all(h->dir) == 0 ? OK : err_last();
}
