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

void daemon_become_now(struct part *p)
{
    static struct image image;
    char what[QUEUE_WHY];
    struct object o = {.kind = p->kind, .map = disk_map(p->disk), .count = p->live->count};
    const char *wrong = NULL;
    was_power = false;
    if (p->side == NULL) {
        wrong = become(p, &o);
    } else {
        disk_kill(p->disk, &image);
        enum err e = look_open(&o, &image, what);
        wrong = e == OK ? become(p, &o) : what;
        if (e == OK)
            look_close(&o);
    }
    if (wrong != NULL)
        violation("%s is not what it was: %s", p->path, wrong);
}
