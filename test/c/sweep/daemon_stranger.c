/* Files that are not what they were when the last daemon ended. */
#include <stdio.h>

#include "sweep/daemon_look.h"
#include "sweep/run.h"

enum change {
    RENAMED,  /* it has another name, which the journal does not know */
    REPLACED, /* an earlier copy is there, without an attribute */
    RESTORED, /* the same with the attribute that it had */
    CHANGES
};

static struct {
    enum change change;
    unsigned node;
    char path[TREE_NAME];
} met;

static bool is_same(const struct disk_file *a, const struct disk_file *b)
{
    return a->seen_size == b->seen_size && memcmp(a->mapped, b->mapped, a->seen_size) == 0;
}

/* One that bears the mark of an object that was closed may open. */
static bool may_be(enum err e)
{
    if (e == ERR_NEEDS_JOURNAL)
        return tree_mark(&tree_image.nodes[met.node])->len > 0;
    return e == OK && (met.change == RESTORED || tree_mark(&tree_image.nodes[met.node])->len == 0);
}

static const char *meet(struct part *p, struct journal *j)
{
    static char why[240];
    char what[QUEUE_WHY];
    struct object o;
    snprintf(why, sizeof why, "%s was changed by the start", met.path);
    if (!is_same(tree_scratch.nodes[met.node].disk, tree_image.nodes[met.node].disk))
        return why;
    enum err e = daemon_attach(p, j, met.path, &o, what);
    snprintf(why, sizeof why, "%s opens with %s %s", met.path, err_atom(e), what);
    daemon_detach(&o);
    return may_be(e) ? NULL : why;
}

/* A copy of an object that the journal still has records of is one that must not be restored. */
static bool is_known(const struct attribute *mark)
{
    const struct names *names = &tree_image.versions[0];
    uint32_t opened[2] = {0, ENTRY_OPEN};
    memcpy(opened, mark->bytes + JOURNAL_UUID, sizeof opened[0]);
    for (unsigned i = 0; i < names->n; i++) {
        const struct disk_file *f = tree_image.nodes[names->list[i].node].disk;
        if (memmem(f->mapped, f->seen_size, opened, sizeof opened) != NULL)
            return true;
    }
    return false;
}

static void put_back(const struct part *p, struct node *n, bool with_mark)
{
    memcpy(n->disk->mapped, p->earlier.image.bytes, n->disk->most);
    n->disk->seen_size = p->earlier.image.size;
    memset(&n->marks[0], 0, sizeof n->marks[0]);
    if (with_mark)
        n->marks[0] = p->earlier.mark;
}

static bool change(unsigned i, enum change how)
{
    const struct part *p = &parts[i];
    struct node *n = &tree_image.nodes[p->disk->fd];
    met.change = how;
    met.node = (unsigned)p->disk->fd;
    snprintf(met.path, sizeof met.path, "%s", how == RENAMED ? "/d/moved" : p->path);
    if (how == RENAMED) {
        snprintf(tree_image.parts[i].text, TREE_NAME, "moved");
        return true;
    }
    if (!p->earlier.is)
        return false;
    if (how == RESTORED && (p->earlier.mark.len == 0 || is_known(&p->earlier.mark)))
        return false;
    put_back(p, n, how == RESTORED);
    return true;
}

void daemon_look_at_strangers(void)
{
    const unsigned i = (unsigned)below(DAEMON_PARTS);
    const enum change how = (enum change)below(CHANGES);
    daemon_settle();
    tree_take(true);
    if (!change(i, how))
        return;
    const char *wrong = daemon_open_image(daemon_inspect, &parts[i], meet);
    run.reached[how == RESTORED ? OLD_COPY : STRANGER]++;
    if (wrong != NULL)
        violation("after a power cut, and a file that was %s: %s",
                  how == RENAMED    ? "renamed"
                  : how == REPLACED ? "replaced"
                                    : "restored",
                  wrong);
}
