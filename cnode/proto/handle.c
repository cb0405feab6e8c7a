#include "proto/handle.h"

#include "proto/entry.h"
#include "proto/line.h"

struct handle *handle_new(struct client *c, struct entry *e, enum object_kind kind, bool write)
{
    struct server *s = c->server;
    struct handle *h = calloc(1, sizeof *h);
    struct pending *closing = line_closing();
    if (h == NULL || closing == NULL) {
        free(h);
        free(closing);
        return NULL;
    }
    h->id = s->next_id++;
    h->client = c;
    h->entry = e;
    h->kind = kind;
    h->write = write;
    h->closing = closing;
    HASH_ADD(hh, s->handles, id, sizeof h->id, h);
    DL_PREPEND(c->handles, h);
    DL_PREPEND2(e->handles, h, prev_here, next_here);
    c->handle_count++;
    s->all.handles++;
    e->handle_count++;
    e->writers += write;
    return h;
}

bool handle_own(struct handle *h, struct span pid)
{
    struct server *s = h->client->server;
    struct watch *w = calloc(1, sizeof *w + pid.len);
    if (w == NULL)
        return false;
    w->number = s->next_watch++;
    w->handle = h;
    w->len = pid.len;
    memcpy(w->pid, pid.at, pid.len);
    HASH_ADD(hh, s->watches, number, sizeof w->number, w);
    h->watch = w;
    h->client->outlet.monitor(h->client->conn, pid, w->number);
    return true;
}

static void unwatch(struct handle *h)
{
    struct watch *w = h->watch;
    if (w == NULL)
        return;
    if (!h->client->gone)
        h->client->outlet.demonitor(h->client->conn, span_of(w->pid, w->len), w->number);
    HASH_DEL(h->client->server->watches, w);
    free(w);
    h->watch = NULL;
}

void handle_free(struct handle *h)
{
    struct client *c = h->client;
    unwatch(h);
    HASH_DEL(c->server->handles, h);
    DL_DELETE(c->handles, h);
    DL_DELETE2(h->entry->handles, h, prev_here, next_here);
    h->entry->handle_count--;
    h->entry->writers -= h->write;
    h->entry->durables -= h->durable;
    c->handle_count--;
    c->server->all.handles--;
    line_closing_free(h->closing);
    free(h);
    client_release(c);
}

enum err handle_find(struct client *c, uint64_t id, struct handle **found)
{
    struct handle *h;
    HASH_FIND(hh, c->server->handles, &id, sizeof id, h);
    if (h != NULL && h->client == c) {
        *found = h;
        return OK;
    }
    const bool ours = h == NULL && id >= c->first_id && id < c->server->next_id;
    return ours ? ERR_CLOSED : ERR_STALE;
}
