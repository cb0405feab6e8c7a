#include "sweep/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "store/replay.h"
#include "sweep/run.h"
#include "sys/os.h"

/* Descriptors: a node's number, a directory's behind all nodes; those of the scratch tree are
 * behind those of the tree that lives. */
enum { DIR_PARTS = TREE_NODES, DIR_JOURNAL, OF_SCRATCH = 64 };

struct tree tree_live;
struct tree tree_image;
struct tree tree_scratch;

static struct tree *used = &tree_live;
static bool frozen;
static struct os disk; /* the calls of files */
static struct disk_file storage[3][TREE_NODES];

static struct tree *tree_of(int fd)
{
    return fd < OF_SCRATCH ? &tree_live : &tree_scratch;
}

static int fd_of(const struct tree *t, unsigned number)
{
    return (int)number + (t == &tree_scratch ? OF_SCRATCH : 0);
}

static bool is_dir(int fd, unsigned which)
{
    return (unsigned)fd % OF_SCRATCH == which;
}

static struct node *node_of(int fd)
{
    return &tree_of(fd)->nodes[fd % OF_SCRATCH];
}

static struct disk_file *storage_of(const struct tree *t, unsigned node)
{
    const unsigned which = t == &tree_live ? 0 : t == &tree_image ? 1 : 2;
    return &storage[which][node];
}

static void hook(const struct tree *t)
{
    if (t == &tree_live && disk_hook != NULL)
        disk_hook();
}

static int fail(int number)
{
    errno = number;
    return -1;
}

static bool is_still(const struct tree *t)
{
    return frozen && t == &tree_live;
}

void tree_freeze(bool is_frozen)
{
    frozen = is_frozen;
}

void tree_use(struct tree *t)
{
    used = t;
}

bool tree_is_used(const struct tree *t)
{
    return used == t;
}

void tree_forgive(void)
{
    for (unsigned node = 1; node < TREE_NODES; node++)
        if (tree_live.nodes[node].disk != NULL)
            tree_live.nodes[node].disk->fails = false;
}

/* --- names ----------------------------------------------------------------------------------- */

static struct names *names_of(struct tree *t)
{
    return &t->versions[t->n_versions - 1];
}

static struct name *find(struct tree *t, const char *text)
{
    struct names *names = names_of(t);
    for (unsigned i = 0; i < names->n; i++)
        if (strcmp(names->list[i].text, text) == 0)
            return &names->list[i];
    return NULL;
}

struct node *tree_find(struct tree *t, const char *name)
{
    const struct name *found = t->has_journal ? find(t, name) : NULL;
    return found == NULL ? NULL : &t->nodes[found->node];
}

/* The names are about to change: what they were is a version. Of too many, one is forgotten. */
static void new_version(struct tree *t)
{
    if (t == &tree_scratch)
        return;
    if (t->n_versions == TREE_VERSIONS) {
        const unsigned gone = 1 + (unsigned)below(TREE_VERSIONS - 2);
        memmove(&t->versions[gone], &t->versions[gone + 1],
                (TREE_VERSIONS - gone - 1) * sizeof t->versions[0]);
        t->n_versions--;
    }
    t->versions[t->n_versions] = t->versions[t->n_versions - 1];
    t->n_versions++;
}

static void add_name(struct tree *t, const char *text, unsigned node)
{
    struct names *names = names_of(t);
    must(names->n < TREE_NAMES);
    struct name *name = &names->list[names->n++];
    snprintf(name->text, sizeof name->text, "%s", text);
    name->node = node;
}

static void remove_name(struct tree *t, struct name *name)
{
    struct names *names = names_of(t);
    *name = names->list[--names->n];
}

static bool names_have(const struct names *names, unsigned node)
{
    for (unsigned i = 0; i < names->n; i++)
        if (names->list[i].node == node)
            return true;
    return false;
}

static bool is_named(const struct tree *t, unsigned node)
{
    for (unsigned i = 0; i < t->n_versions; i++)
        if (names_have(&t->versions[i], node))
            return true;
    for (unsigned i = 0; i < TREE_PARTS; i++)
        if (t->parts[i].node == node)
            return true;
    return false;
}

static unsigned links_of(struct tree *t, unsigned node)
{
    const struct names *names = names_of(t);
    unsigned n = 0;
    for (unsigned i = 0; i < names->n; i++)
        n += names->list[i].node == node;
    return n == 0 ? 1 : n;
}

static void make_node(struct tree *t, unsigned number, struct disk_file *f, uint32_t most)
{
    disk_make(f, fd_of(t, number), most);
    f->forgets = t == &tree_scratch;
    t->nodes[number] = (struct node){.disk = f, .n_marks = 1};
}

static unsigned free_node(const struct tree *t)
{
    unsigned node = 1;
    while (node < TREE_NODES && is_named(t, node))
        node++;
    must(node < TREE_NODES);
    return node;
}

/* --- the calls that names are for ------------------------------------------------------------- */

static int sim_open(int dir, const char *name, int flags, mode_t mode)
{
    (void)dir;
    (void)flags;
    (void)mode;
    if (strcmp(name, "/d") == 0)
        return fd_of(used, DIR_PARTS);
    if (strcmp(name, "/d/.emmap") == 0 && used->has_journal)
        return fd_of(used, DIR_JOURNAL);
    return fail(ENOENT);
}

static int create(struct tree *t, const char *text)
{
    enum { CAP = 8 << 10 };
    if (find(t, text) != NULL)
        return fail(EEXIST);
    const unsigned node = free_node(t);
    new_version(t);
    make_node(t, node, storage_of(t, node), CAP);
    add_name(t, text, node);
    hook(t);
    return fd_of(t, node);
}

static int open_part(const struct tree *t, const char *text)
{
    for (unsigned i = 0; i < TREE_PARTS; i++)
        if (t->parts[i].node != 0 && strcmp(t->parts[i].text, text) == 0)
            return fd_of(t, t->parts[i].node);
    return fail(ENOENT);
}

static int sim_open_beneath(int dir, const char *text, int flags, mode_t mode)
{
    struct tree *t = tree_of(dir);
    (void)mode;
    if (is_dir(dir, DIR_PARTS))
        return open_part(t, text);
    const struct name *name = find(t, text);
    if ((flags & O_CREAT) != 0)
        return is_still(t) ? fail(EROFS) : create(t, text);
    return name == NULL ? fail(ENOENT) : fd_of(t, name->node);
}

static int sim_make_dir(int dir, const char *name, mode_t mode)
{
    (void)dir;
    (void)name;
    (void)mode;
    if (used->has_journal)
        return fail(EEXIST);
    used->has_journal = true;
    used->journal_is_durable = false;
    hook(used);
    return 0;
}

static int sim_unlink(int dir, const char *text)
{
    struct tree *t = tree_of(dir);
    if (is_still(t) || find(t, text) == NULL)
        return fail(is_still(t) ? EROFS : ENOENT);
    new_version(t);
    remove_name(t, find(t, text));
    hook(t);
    return 0;
}

static int sim_link(int dir, const char *from, const char *to)
{
    struct tree *t = tree_of(dir);
    if (find(t, from) == NULL || find(t, to) != NULL)
        return fail(find(t, from) == NULL ? ENOENT : EEXIST);
    new_version(t);
    add_name(t, to, find(t, from)->node);
    hook(t);
    return 0;
}

static int sim_rename(int dir, const char *from, const char *to)
{
    struct tree *t = tree_of(dir);
    if (find(t, from) == NULL)
        return fail(ENOENT);
    new_version(t);
    const unsigned node = find(t, from)->node;
    remove_name(t, find(t, from));
    if (find(t, to) != NULL)
        remove_name(t, find(t, to));
    add_name(t, to, node);
    hook(t);
    return 0;
}

static int sim_list(int dir, void (*each)(void *arg, const char *name), void *arg)
{
    const struct names names = *names_of(tree_of(dir));
    for (unsigned i = 0; i < names.n; i++)
        each(arg, names.list[i].text);
    return 0;
}

static int sim_fstat(int fd, struct stat *st)
{
    *st = (struct stat){.st_mode = S_IFREG | 0600,
                        .st_size = node_of(fd)->disk->seen_size,
                        .st_ino = (ino_t)fd,
                        .st_nlink = links_of(tree_of(fd), (unsigned)fd % OF_SCRATCH)};
    return 0;
}

/* --- attributes ------------------------------------------------------------------------------ */

const struct attribute *tree_mark(const struct node *n)
{
    return &n->marks[n->n_marks - 1];
}

void tree_set_mark(struct node *n, const struct attribute *mark)
{
    if (n->n_marks == TREE_VERSIONS)
        n->n_marks--;
    n->marks[n->n_marks++] = *mark;
}

static bool is_the_mark(const char *name)
{
    return strcmp(name, JOURNAL_ATTRIBUTE) == 0;
}

static bool is_of_failures(const char *name)
{
    return strcmp(name, "user.emmap.failed") == 0;
}

static int sim_set_attribute(int fd, const char *name, const void *value, size_t len)
{
    struct attribute mark = {.len = (uint32_t)len};
    if (is_of_failures(name)) {
        node_of(fd)->unsynced = true;
        return 0;
    }
    if (!is_the_mark(name))
        return fail(ENOTSUP);
    must(len <= sizeof mark.bytes);
    memcpy(mark.bytes, value, len);
    tree_set_mark(node_of(fd), &mark);
    hook(tree_of(fd));
    return 0;
}

static ssize_t sim_get_attribute(int fd, const char *name, void *value, size_t most)
{
    const struct attribute *mark = tree_mark(node_of(fd));
    if (is_of_failures(name))
        return node_of(fd)->unsynced ? 1 : fail(ENODATA);
    if (!is_the_mark(name) || mark->len == 0)
        return fail(ENODATA);
    must(most >= mark->len);
    memcpy(value, mark->bytes, mark->len);
    return (ssize_t)mark->len;
}

static int sim_remove_attribute(int fd, const char *name)
{
    static const struct attribute none;
    if (is_of_failures(name)) {
        node_of(fd)->unsynced = false;
        return 0;
    }
    if (!is_the_mark(name) || tree_mark(node_of(fd))->len == 0)
        return fail(ENODATA);
    tree_set_mark(node_of(fd), &none);
    hook(tree_of(fd));
    return 0;
}

/* --- the others ------------------------------------------------------------------------------ */

static void sync_names(struct tree *t)
{
    t->versions[0] = *names_of(t);
    t->n_versions = 1;
}

static int sim_sync(int fd)
{
    return is_still(tree_of(fd)) ? fail(EROFS) : disk.sync(fd);
}

static int sim_sync_all(int fd)
{
    struct tree *t = tree_of(fd);
    if (is_dir(fd, DIR_PARTS))
        t->journal_is_durable = t->has_journal;
    else if (is_dir(fd, DIR_JOURNAL))
        sync_names(t);
    if (is_dir(fd, DIR_PARTS) || is_dir(fd, DIR_JOURNAL)) {
        hook(t);
        return 0;
    }
    if (sim_sync(fd) != 0)
        return -1;
    struct node *n = node_of(fd);
    n->marks[0] = *tree_mark(n);
    n->n_marks = 1;
    return 0;
}

static ssize_t sim_read_at(int fd, void *bytes, size_t n, off_t offset)
{
    const struct disk_file *f = node_of(fd)->disk;
    if (offset >= f->seen_size)
        return 0;
    const size_t left = f->seen_size - (size_t)offset;
    memcpy(bytes, f->mapped + offset, n < left ? n : left);
    return (ssize_t)(n < left ? n : left);
}

static ssize_t sim_write_at(int fd, const void *bytes, size_t n, off_t offset)
{
    return is_still(tree_of(fd)) ? fail(EROFS) : disk.write_at(fd, bytes, n, offset);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): as the table has it */
static int sim_next_unwritten(int fd, off_t from, off_t *offset, off_t *len)
{
    (void)fd;
    (void)from;
    (void)offset;
    (void)len;
    return 0;
}

static int sim_lock(int fd)
{
    (void)fd;
    return 0;
}

void tree_begin(void)
{
    disk = os;
    os.open = sim_open;
    os.open_beneath = sim_open_beneath;
    os.make_dir = sim_make_dir;
    os.unlink = sim_unlink;
    os.link = sim_link;
    os.rename = sim_rename;
    os.list = sim_list;
    os.fstat = sim_fstat;
    os.set_attribute = sim_set_attribute;
    os.get_attribute = sim_get_attribute;
    os.remove_attribute = sim_remove_attribute;
    os.sync = sim_sync;
    os.sync_all = sim_sync_all;
    os.read_at = sim_read_at;
    os.write_at = sim_write_at;
    os.next_unwritten = sim_next_unwritten;
    os.lock_shared = os.lock_exclusive = os.locked_alone = sim_lock;
}

/* --- whole trees ------------------------------------------------------------------------------ */

void tree_clear(struct tree *t)
{
    memset(t, 0, sizeof *t);
    t->n_versions = 1;
}

void tree_add(struct tree *t, unsigned part, const char *name, struct disk_file *f, uint32_t most)
{
    const unsigned node = free_node(t);
    make_node(t, node, f, most);
    snprintf(t->parts[part].text, TREE_NAME, "%s", name);
    t->parts[part].node = node;
}

static void copy_to(struct tree *t, unsigned node, const uint8_t *bytes, uint32_t size,
                    uint32_t most)
{
    struct disk_file *f = storage_of(t, node);
    const uint32_t was = f->seen_size;
    f->fd = fd_of(t, node);
    f->most = most;
    f->forgets = true;
    f->fails = f->syncing = false;
    memcpy(f->mapped, bytes, size);
    if (was > size)
        memset(f->mapped + size, 0, was - size);
    f->seen_size = size;
    t->nodes[node].disk = f;
    t->nodes[node].n_marks = 1;
}

static void take_node(unsigned number, bool power)
{
    static struct image image;
    const struct node *n = &tree_live.nodes[number];
    if (power)
        disk_cut(n->disk, (enum cut)below(CUTS), &image);
    else
        disk_kill(n->disk, &image);
    copy_to(&tree_image, number, image.bytes, image.size, n->disk->most);
    tree_image.nodes[number].unsynced = n->unsynced && (!power || one_in(2));
    tree_image.nodes[number].marks[0] = power ? n->marks[below(n->n_marks)] : *tree_mark(n);
}

void tree_take(bool power)
{
    const struct tree *t = &tree_live;
    const unsigned version = power ? (unsigned)below(t->n_versions) : t->n_versions - 1;
    const bool lost = power && !t->journal_is_durable && one_in(2);
    tree_image.has_journal = tree_image.journal_is_durable = t->has_journal && !lost;
    tree_image.n_versions = 1;
    tree_image.versions[0] = t->versions[version];
    if (!tree_image.has_journal)
        tree_image.versions[0].n = 0;
    memcpy(tree_image.parts, t->parts, sizeof t->parts);
    for (unsigned node = 1; node < TREE_NODES; node++) {
        tree_image.nodes[node].disk = NULL;
        if (is_named(&tree_image, node))
            take_node(node, power);
    }
}

void tree_open(void)
{
    const struct tree *from = &tree_image;
    struct tree *to = &tree_scratch;
    to->has_journal = to->journal_is_durable = from->has_journal;
    to->n_versions = 1;
    to->versions[0] = from->versions[0];
    memcpy(to->parts, from->parts, sizeof from->parts);
    for (unsigned node = 1; node < TREE_NODES; node++) {
        const struct disk_file *f = from->nodes[node].disk;
        to->nodes[node].disk = NULL;
        if (f == NULL)
            continue;
        copy_to(to, node, f->mapped, f->seen_size, f->most);
        to->nodes[node].marks[0] = from->nodes[node].marks[0];
        to->nodes[node].unsynced = from->nodes[node].unsynced;
        disk_enter(to->nodes[node].disk);
    }
}

void tree_become(bool power)
{
    static struct image image;
    struct tree *t = &tree_live;
    for (unsigned node = 1; node < TREE_NODES; node++) {
        const struct disk_file *f = tree_image.nodes[node].disk;
        if (f == NULL)
            continue;
        memset(image.bytes, 0, f->most);
        memcpy(image.bytes, f->mapped, f->seen_size);
        image.size = f->seen_size;
        disk_become(t->nodes[node].disk, &image, power);
        if (power)
            t->nodes[node].n_marks = 1;
        t->nodes[node].unsynced = tree_image.nodes[node].unsynced;
        if (power)
            t->nodes[node].marks[0] = tree_image.nodes[node].marks[0];
    }
    if (!power)
        return;
    t->has_journal = t->journal_is_durable = tree_image.has_journal;
    t->versions[0] = tree_image.versions[0];
    t->n_versions = 1;
    if (!t->has_journal)
        t->versions[0].n = 0;
}
