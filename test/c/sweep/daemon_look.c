#include "sweep/daemon_look.h"

#include <stdio.h>

#include "store/replay.h"
#include "sweep/look.h"
#include "sweep/run.h"

static char why[300];

static const char *refused(const struct part *p, enum err e, const char *what)
{
    snprintf(why, sizeof why, "%s does not open: %s %s", p->path, err_atom(e), what);
    return why;
}

static const char *look_at_part(struct part *p, struct journal *j, part_see *see)
{
    static char told[sizeof why];
    char what[QUEUE_WHY];
    struct object o;
    enum err e = daemon_attach(p, j, p->path, &o, what);
    if (e != OK)
        return refused(p, e, what);
    const char *wrong = see(p, &o);
    if (wrong != NULL)
        snprintf(told, sizeof told, "%s: %s", p->path, wrong);
    daemon_detach(&o);
    return wrong == NULL ? NULL : told;
}

static void count_kept(struct tree *t)
{
    const struct names *names = &t->versions[0];
    for (unsigned i = 0; i < names->n; i++) {
        if (strncmp(names->list[i].text, "kept-", 5) == 0) {
            run.reached[KEPT]++;
            return;
        }
    }
}

const char *daemon_open_image(part_see *see, const struct part *stranger, part_meet *meet)
{
    char what[JOURNAL_WHY];
    const char *wrong = NULL;
    tree_open();
    tree_use(&tree_scratch);
    count_kept(&tree_scratch);
    struct journal *j = daemon_new_journal();
    enum err e = journal_start(j, what);
    run.images++;
    if (e != OK) {
        snprintf(why, sizeof why, "the next daemon does not start: %s %s", err_atom(e), what);
        wrong = why;
    }
    for (unsigned i = 0; i < DAEMON_PARTS && wrong == NULL; i++)
        wrong = &parts[i] == stranger ? meet(&parts[i], j) : look_at_part(&parts[i], j, see);
    journal_free(j);
    tree_use(&tree_live);
    return wrong;
}

/* --- against the models ---------------------------------------------------------------------- */

static bool killed; /* the image of a default object has everything */

static const char *inspect(struct part *p, struct object *o)
{
    if (p->store != NULL)
        return slots_refuse(&p->store->slots, o, false);
    if (p->side == NULL)
        return cells_refuse(p->cells, o);
    return look_inspect(p->side, o, killed && !p->durable && p->open && !p->live->failed);
}

const char *daemon_inspect(struct part *p, struct object *o)
{
    killed = false;
    return inspect(p, o);
}

static bool fits(bool power)
{
    killed = !power;
    const char *wrong = daemon_open_image(inspect, NULL, NULL);
    if (wrong != NULL)
        violation("after a %s: %s", power ? "power cut" : "kill", wrong);
    else
        look_compare_sides();
    return !run.violated;
}

void daemon_look(bool power)
{
    daemon_settle();
    tree_take(power);
    (void)fits(power);
}

/* --- what there is --------------------------------------------------------------------------- */

static bool was_power;

static const char *become(struct part *p, struct object *o)
{
    if (p->store != NULL)
        return slots_become(&p->store->slots, o, was_power);
    if (p->side == NULL) {
        cells_become(p->cells, o, was_power);
        return NULL;
    }
    const char *wrong = look_see(p->side, o);
    if (wrong == NULL)
        model_become(&p->side->model, p->side->seen, p->side->seen_tail, queue_options(o),
                     was_power);
    return wrong;
}

bool daemon_look_and_become(bool power)
{
    if (!fits(power))
        return false;
    was_power = power;
    const char *wrong = daemon_open_image(become, NULL, NULL);
    if (wrong != NULL)
        violation("the second time: %s", wrong);
    return wrong == NULL;
}

static const char *become_queue(struct part *p, const struct image *image)
{
    static char what[QUEUE_WHY];
    struct object o;
    if (look_open(&o, image, what) != OK)
        return what;
    const char *wrong = become(p, &o);
    look_close(&o);
    return wrong;
}

static const char *become_store(struct part *p, const struct image *image)
{
    static char what[BLOCK_WHY];
    struct object o = {.kind = p->kind, .map = disk_map(disk_scratch(image))};
    if (block_open(&o, what) != OK)
        return what;
    const char *wrong = become(p, &o);
    block_close(&o);
    return wrong;
}

void daemon_become_now(struct part *p)
{
    static struct image image;
    struct object o = {.kind = p->kind, .map = disk_map(p->disk), .count = p->live->count};
    was_power = false;
    if (p->cells == NULL)
        disk_kill(p->disk, &image);
    const char *wrong = p->store != NULL  ? become_store(p, &image)
                        : p->side != NULL ? become_queue(p, &image)
                                          : become(p, &o);
    if (wrong != NULL)
        violation("%s is not what it was: %s", p->path, wrong);
}
