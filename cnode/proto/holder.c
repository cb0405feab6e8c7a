#include "proto/holder.h"

#include "proto/lease.h"
#include "proto/waiter.h"

enum { IDLE_MOST = 1000 };

static void holder_free(struct holder *h)
{
    struct client *c = h->client;
    if (h->idle) {
        DL_DELETE(c->idle, h);
        c->idle_count--;
    }
    HASH_DELETE(hh, c->holders, h);
    if (!h->ended)
        HASH_DELETE(by_number, c->server->holders, h);
    if (!h->ended && !c->gone)
        c->outlet.demonitor(c->conn, span_of(h->pid, h->len), h->number);
    free(h);
    client_release(c);
}

static void wake(struct holder *h)
{
    if (!h->idle)
        return;
    h->idle = false;
    DL_DELETE(h->client->idle, h);
    h->client->idle_count--;
}

static struct holder *holder_new(struct client *c, struct span pid)
{
    struct server *s = c->server;
    struct holder *h = calloc(1, sizeof *h + pid.len);
    if (h == NULL)
        return NULL;
    h->client = c;
    h->number = s->next_watch++;
    h->len = pid.len;
    memcpy(h->pid, pid.at, pid.len);
    HASH_ADD_KEYPTR(hh, c->holders, h->pid, h->len, h);
    HASH_ADD(by_number, s->holders, number, sizeof h->number, h);
    c->outlet.monitor(c->conn, pid, h->number);
    return h;
}

struct holder *holder_find(struct client *c, struct span pid)
{
    struct holder *h;
    HASH_FIND(hh, c->holders, pid.at, pid.len, h);
    return h;
}

struct holder *holder_of(struct client *c, struct span pid)
{
    if (pid.len == 0)
        return NULL;
    struct holder *h = holder_find(c, pid);
    if (h == NULL)
        return c->gone ? NULL : holder_new(c, pid);
    if (h->ended)
        return NULL;
    wake(h);
    return h;
}

bool holder_is(const struct holder *h, const struct client *c, struct span pid)
{
    return h->client == c && span_equal(span_of(h->pid, h->len), pid);
}

void holder_rest(struct holder *h)
{
    struct client *c = h->client;
    if (h->leases != NULL || h->waiters != NULL || h->idle || h->ending)
        return;
    if (h->ended) {
        holder_free(h);
        return;
    }
    h->idle = true;
    DL_APPEND(c->idle, h);
    if (++c->idle_count > IDLE_MOST)
        holder_free(c->idle);
}

static void end(struct holder *h)
{
    HASH_DELETE(by_number, h->client->server->holders, h);
    wake(h);
    h->ended = h->ending = true;
    waiter_end_all(h);
    lease_end_all(h);
    h->ending = false;
    holder_rest(h);
}

void holder_down(struct client *c, uint64_t number)
{
    struct holder *h;
    HASH_FIND(by_number, c->server->holders, &number, sizeof number, h);
    if (h != NULL && h->client == c)
        end(h);
}

void holder_down_all(struct client *c)
{
    struct holder *h;
    struct holder *next;
    HASH_ITER(hh, c->holders, h, next)
    {
        if (!h->ended)
            end(h);
    }
}
