#include "proto/entry.h"

#include "proto/held.h"
#include "proto/registry.h"
#include "store/block.h"
#include "sys/log.h"

struct entry *entry_new(struct server *s, const char *path)
{
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->server = s;
    e->object.map.fd = -1;
    e->path = strdup(path == NULL ? "" : path);
    if (e->path == NULL || (path != NULL && !entry_call_also(e, path))) {
        free(e->path);
        free(e);
        return NULL;
    }
    e->stats.last_ns = uv_hrtime();
    DL_PREPEND(s->entries, e);
    return e;
}

struct entry *entry_of_path(struct server *s, const char *path)
{
    struct name *found;
    HASH_FIND_STR(s->names, path, found);
    return found == NULL ? NULL : found->entry;
}

struct entry *entry_of_inode(struct server *s, dev_t dev, ino_t ino)
{
    struct inode_key key;
    struct inode *found;
    memset(&key, 0, sizeof key);
    key.dev = dev;
    key.ino = ino;
    HASH_FIND(hh, s->inodes, &key, sizeof key, found);
    return found == NULL ? NULL
                         : (struct entry *)(void *)((char *)found - offsetof(struct entry, inode));
}

static void unlink_name(struct name *name)
{
    LL_DELETE(name->entry->names, name);
}

static void forget(struct name *name)
{
    unlink_name(name);
    HASH_DEL(name->entry->server->names, name); /* NOLINT: the head is there while a member is */
    free(name);
}

/* A file has names without end (d/../f, d/../d/../f): the one found first goes. It can be found
 * again, on the disk; not that by which the registry knows the file. */
static void forget_one_of_many(struct entry *e)
{
    enum { NAMES_MOST = 64 };
    struct name *name;
    struct name *last = NULL;
    int n;
    LL_COUNT(e->names, name, n);
    if (n <= NAMES_MOST)
        return;
    LL_FOREACH(e->names, name)
    {
        if (!registry_has_path(e->server, name->path))
            last = name;
    }
    if (last != NULL)
        forget(last);
}

bool entry_call_also(struct entry *e, const char *path)
{
    struct name *name;
    HASH_FIND_STR(e->server->names, path, name);
    if (name != NULL) {
        unlink_name(name);
    } else {
        const size_t len = strlen(path);
        name = calloc(1, sizeof *name + len + 1);
        if (name == NULL)
            return false;
        memcpy(name->path, path, len + 1);
        HASH_ADD_STR(e->server->names, path, name);
    }
    name->entry = e;
    LL_PREPEND(e->names, name);
    forget_one_of_many(e);
    return true;
}

void entry_index(struct entry *e, dev_t dev, ino_t ino)
{
    must(e->indexed == NULL);
    memset(&e->inode.key, 0, sizeof e->inode.key);
    e->inode.key.dev = dev;
    e->inode.key.ino = ino;
    struct inode *inode = &e->inode;
    HASH_ADD(hh, e->server->inodes, key, sizeof inode->key, inode);
    e->indexed = inode;
}

void entry_look(struct entry *e)
{
    e->seen.kind = e->object.kind;
    if (e->seen.kind != OBJECT_CLOSED)
        e->seen.was = e->seen.kind;
    e->seen.size = e->object.map.size;
    e->seen.count = e->object.count;
    e->seen.read_only = object_writable(&e->object) != OK;
    e->seen.durable = e->object.durable != NULL;
    if (e->object.kind == OBJECT_BLOCKS) {
        e->seen.block_size = block_size(&e->object);
        e->seen.blocks = block_used(&e->object);
        e->seen.free = block_capacity(&e->object) - e->seen.blocks;
    }
    if (e->object.kind != OBJECT_QUEUE)
        return;
    queue_look(&e->object, &e->seen.queue);
    e->seen.options = *queue_options(&e->object);
}

const char *entry_kind_name(enum object_kind kind)
{
    switch (kind) {
    case OBJECT_COUNTERS: return "counters";
    case OBJECT_BLOCKS: return "blocks";
    case OBJECT_QUEUE: return "queue";
    default: return "region";
    }
}

bool entry_is_open(const struct entry *e)
{
    return (e->busy ? e->seen.kind : e->object.kind) != OBJECT_CLOSED;
}

void entry_end(struct entry *e)
{
    if (e->sync_at_end && object_sync(&e->object) != OK)
        log_error("\"%s\": cannot be synced: changes may be lost with the machine", e->path);
    object_close(&e->object);
}

void entry_closed(struct entry *e)
{
    must(e->object.kind == OBJECT_CLOSED);
    desk_close(e);
    if (e->indexed != NULL)
        HASH_DEL(e->server->inodes, e->indexed);
    e->indexed = NULL;
    if (e->counted)
        e->server->entry_count--;
    e->counted = false;
    e->kept = false;
    e->auto_unlink = false;
    e->detached = false;
}

static void forget_names(struct entry *e)
{
    while (e->names != NULL)
        forget(e->names); /* NOLINT: which takes it out of the list */
}

void entry_free(struct entry *e)
{
    must(e->handle_count == 0 && e->first == NULL && e->copies == NULL && !e->busy);
    entry_closed(e);
    forget_names(e);
    DL_DELETE(e->server->entries, e);
    held_forget(e->server, e);
    stats_add(&e->server->ended[e->seen.was], &e->stats);
    free(e->path);
    free(e);
}

struct entry *entry_idle(struct server *s)
{
    struct entry *oldest = NULL;
    for (struct entry *e = s->entries; e != NULL; e = e->next)
        if (e->kept && e->handle_count == 0 && e->first == NULL && e->copies == NULL && !e->busy &&
            !desk_is_used(e) && (oldest == NULL || e->stats.last_ns < oldest->stats.last_ns))
            oldest = e;
    return oldest;
}
