/* Damage of the journal: in one group of an image. What there is then is found by plain rules. */
#include <stdio.h>

#include "store/replay.h"
#include "sweep/daemon_look.h"
#include "sweep/run.h"
#include "sys/os.h"

/* A group that counts. */
struct group_place {
    unsigned file;
    uint64_t at;
    uint64_t number;
    uint64_t len; /* of its records */
};

enum { PLACES = 80 };

static struct group_place places[PLACES];
static unsigned n_places;

static const char *const names[2] = {"j0", "j1"};

static const uint8_t *bytes_of(const struct group_place *p)
{
    return tree_find(&tree_image, names[p->file])->disk->mapped + p->at;
}

/* --- which groups there are ------------------------------------------------------------------ */

static void note_groups(unsigned file, const struct half *f)
{
    for (uint64_t at = daemon_limits.page; at < f->end;) {
        struct group_fields g;
        struct group_place *p = &places[n_places];
        must(n_places < PLACES);
        *p = (struct group_place){.file = file, .at = at};
        memcpy(&g, bytes_of(p), sizeof g);
        p->number = g.number;
        p->len = g.len;
        n_places++;
        at += align_up(sizeof g + g.len, daemon_limits.page);
    }
}

/* A header that was being written is no header to rely on. */
static bool has_header(unsigned file, const struct half *f)
{
    struct half_fields fields;
    const struct node *n = tree_find(&tree_image, names[file]);
    memcpy(&fields, n->disk->mapped, sizeof fields);
    return f->state == HALF_GOOD && fields.generation == f->generation &&
           fields.first_group == f->first_group;
}

static bool find_groups(int dir)
{
    struct halves h;
    char why[JOURNAL_WHY];
    unsigned order[2];
    bool whole = true;
    n_places = 0;
    if (halves_open(&h, dir, &daemon_limits, why) != OK)
        return false;
    const unsigned n = halves_in_order(&h, order);
    for (unsigned i = 0; i < n && whole; i++) {
        struct half *f = &h.half[order[i]];
        whole = has_header(order[i], f) && halves_walk(&h, f, NULL, NULL) == OK;
        if (whole)
            note_groups(order[i], f);
    }
    whole &= replay_kept(&h) == 0;
    halves_close(&h);
    return whole && n_places > 0;
}

/* --- what the groups before a damaged one make of a file -------------------------------------- */

struct reading {
    uint32_t serial;
    uint64_t number; /* records of this group and later ones are gone */
    bool known, closed, too_long;
    uint64_t floor;
    uint8_t *bytes;
    uint32_t size;
};

static void learn(struct reading *r, const struct group_place *p, const struct entry_fields *f,
                  const uint8_t *data)
{
    (void)p;
    (void)data;
    r->known |= f->kind == ENTRY_OPEN;
    r->closed |= f->kind == ENTRY_CLOSE;
    if (f->kind == ENTRY_FLOOR && f->offset > r->floor)
        r->floor = f->offset;
}

static void apply(struct reading *r, const struct group_place *p, const struct entry_fields *f,
                  const uint8_t *data)
{
    if (f->kind != ENTRY_WRITE || r->closed || !r->known || p->number < r->floor)
        return;
    r->too_long |= f->offset + f->len > r->size;
    if (!r->too_long)
        memcpy(r->bytes + f->offset, data, f->len);
}

static void read_group(struct reading *r, const struct group_place *p,
                       void (*visit)(struct reading *, const struct group_place *,
                                     const struct entry_fields *, const uint8_t *data))
{
    const uint8_t *at = bytes_of(p) + sizeof(struct group_fields);
    for (const uint8_t *end = at + p->len; at < end;) {
        struct entry_fields f; /* nothing here is aligned */
        memcpy(&f, at, sizeof f);
        if (f.serial == r->serial)
            visit(r, p, &f, at + sizeof f);
        at += sizeof f + align_up(f.len, 8);
    }
}

static void read_all(struct reading *r)
{
    for (unsigned i = 0; i < n_places && places[i].number < r->number; i++)
        read_group(r, &places[i], learn);
    for (unsigned i = 0; i < n_places && places[i].number < r->number; i++)
        read_group(r, &places[i], apply);
}

static bool is_as_read(const struct part *p, uint64_t number)
{
    static uint8_t bytes[DISK_CAP];
    const struct node *before = &tree_image.nodes[p->disk->fd];
    const struct disk_file *after = tree_scratch.nodes[p->disk->fd].disk;
    struct reading r = {.number = number, .bytes = bytes, .size = before->disk->seen_size};
    memcpy(bytes, before->disk->mapped, r.size);
    if (before->marks[0].len > 0) {
        memcpy(&r.serial, before->marks[0].bytes + JOURNAL_UUID, sizeof r.serial);
        read_all(&r);
    }
    return r.too_long || (after->seen_size == r.size && memcmp(after->mapped, bytes, r.size) == 0);
}

static void compare(uint64_t number)
{
    for (unsigned i = 0; i < DAEMON_PARTS; i++)
        if (!is_as_read(&parts[i], number))
            violation("after damage of group %ju %s is not what the groups before it say",
                      (uintmax_t)number, parts[i].path);
}

/* --- doing harm ------------------------------------------------------------------------------ */

static void harm(const struct group_place *p)
{
    uint8_t *bytes = tree_find(&tree_image, names[p->file])->disk->mapped + p->at;
    bytes[below(sizeof(struct group_fields) + p->len)] ^= (uint8_t)(1U << below(8));
}

static enum err start(char why[JOURNAL_WHY])
{
    struct journal *j = daemon_new_journal();
    enum err e = journal_start(j, why);
    run.images++;
    journal_free(j);
    return e;
}

static bool names_place(const struct group_place *p, const char *why)
{
    char expected[48];
    snprintf(expected, sizeof expected, "%s, offset %ju:", names[p->file], (uintmax_t)p->at);
    return strncmp(why, expected, strlen(expected)) == 0;
}

/* The torn end, or a reason not to start before somebody has said what is to be done. */
static void look_at_harmed(const struct group_place *p, bool is_last, int dir)
{
    char why[JOURNAL_WHY];
    enum err e = start(why);
    run.reached[is_last ? TORN : REFUSAL]++;
    if (is_last ? e != OK : e != ERR_DAMAGED || !names_place(p, why)) {
        violation("after damage of %s, offset %ju, the start gives %s %s", names[p->file],
                  (uintmax_t)p->at, err_atom(e), why);
        return;
    }
    if (!is_last) {
        e = halves_mend(dir, &daemon_limits, why);
        if (e == OK)
            e = start(why);
        if (e != OK)
            violation("after a repair the start gives %s %s", err_atom(e), why);
        run.reached[CUT_AND_STARTED]++;
    }
    compare(p->number);
}

void daemon_look_at_damage(void)
{
    daemon_settle();
    tree_take(true);
    tree_open();
    tree_use(&tree_scratch);
    const int dir = os.open(0, "/d/.emmap", 0, 0);
    if (dir >= 0 && find_groups(dir)) {
        const unsigned i = (unsigned)below(n_places);
        harm(&places[i]);
        tree_open();
        look_at_harmed(&places[i], i == n_places - 1, dir);
    }
    tree_use(&tree_live);
}
