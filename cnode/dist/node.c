#include "dist/node.h"

#include <arpa/inet.h>
#include <utlist.h>

#include "dist/epmd.h"
#include "sys/log.h"
#include "sys/os.h"

enum {
    BACKLOG = 128,
    WINDOW_MS = 10000,    /* within which ... */
    REPLACEMENTS_MAX = 5, /* ... a name may connect anew so often */
    COMPLAINTS_MAX = 10,  /* ... and as many lines about strangers are logged */
};

/* A connection and what the node keeps of it. */
struct peer {
    struct node *node;
    struct conn *conn;
    bool open;       /* in node->open, else in node->half_open */
    uint64_t window; /* when its name's replacements began to be counted */
    unsigned replacements;
    struct peer *prev;
    struct peer *next;
};

struct node {
    struct node_options options;
    const struct node_events *events;
    void *arg;
    struct self self;
    struct conn_hub hub;
    uv_tcp_t listener;
    uint16_t port;
    struct epmd *epmd;
    struct peer *open;
    struct peer *half_open;
    uint32_t half_opens;
    uint64_t complaints_since;
    unsigned complaints;
    bool stopped;
    bool closing;
};

/* Whoever can connect can fail to: that must not fill the log. */
static bool may_complain(struct node *n)
{
    const uint64_t now = uv_now(n->hub.loop);
    if (now - n->complaints_since > WINDOW_MS) {
        if (n->complaints > COMPLAINTS_MAX)
            log_warning("%u more connections came to nothing", n->complaints - COMPLAINTS_MAX);
        n->complaints_since = now;
        n->complaints = 0;
    }
    return ++n->complaints <= COMPLAINTS_MAX;
}

static void leave_list(struct peer *p)
{
    struct node *n = p->node;
    if (p->open) {
        DL_DELETE(n->open, p);
    } else {
        DL_DELETE(n->half_open, p);
        n->half_opens--;
    }
}

static struct peer *find(struct node *n, const char *name)
{
    struct peer *p;
    DL_FOREACH(n->open, p)
    if (strcmp(conn_peer(p->conn), name) == 0)
        return p;
    return NULL;
}

/* May this peer take the place of the one that bears its name? One that keeps coming anew is two
 * nodes of one name, or out of its mind. */
static bool may_replace(struct peer *p, const struct peer *old)
{
    const uint64_t now = uv_now(p->node->hub.loop);
    const bool fresh = now - old->window > WINDOW_MS;
    p->window = fresh ? now : old->window;
    p->replacements = fresh ? 1 : old->replacements + 1;
    return p->replacements <= REPLACEMENTS_MAX;
}

static bool on_authenticated(void *tag)
{
    struct peer *p = tag;
    struct node *n = p->node;
    struct peer *old = find(n, conn_peer(p->conn));
    if (old != NULL && !may_replace(p, old)) {
        if (may_complain(n))
            log_warning("%s connects again and again, refused", conn_peer(p->conn));
        return false;
    }
    if (old != NULL)
        conn_close(old->conn, "it connected anew");
    leave_list(p);
    p->open = true;
    DL_APPEND(n->open, p);
    log_info("%s connected", conn_peer(p->conn));
    return true;
}

static void end_if_alone(struct node *n);

static void on_closed(void *tag, const char *why)
{
    struct peer *p = tag;
    struct node *n = p->node;
    const char *name = conn_peer(p->conn);
    if (p->open)
        log_info("%s disconnected: %s", name, why);
    else if (may_complain(n))
        log_warning("connection of %s failed: %s", name[0] == '\0' ? "a stranger" : name, why);
    leave_list(p);
    free(p);
    end_if_alone(n);
}

static const struct conn_events conn_events = {
    .authenticated = on_authenticated,
    .closed = on_closed,
};

static void on_connection(uv_stream_t *listener, int status)
{
    struct node *n = listener->data;
    if (status < 0) {
        if (may_complain(n))
            log_warning("cannot accept a connection: %s", uv_strerror(status));
        return;
    }
    if (n->half_opens >= n->options.max_half_open)
        conn_close(n->half_open->conn, "too many are in their handshake");
    struct peer *p = calloc(1, sizeof *p);
    int bad = UV_ENOMEM;
    if (p != NULL)
        p->conn = conn_accept(&n->hub, listener, p, &bad);
    if (p == NULL || p->conn == NULL) {
        free(p);
        log_error("cannot take a connection: %s", uv_strerror(bad));
        return;
    }
    p->node = n;
    n->half_opens++;
    DL_APPEND(n->half_open, p);
}

/* ---- beginning ---- */

static void on_registered(void *arg)
{
    struct node *n = arg;
    n->events->ready(n->arg, n->port);
}

static void on_taken(void *arg)
{
    struct node *n = arg;
    n->events->taken(n->arg);
}

static void on_epmd_failed(void *arg, const char *why)
{
    struct node *n = arg;
    n->events->failed(n->arg, why);
}

static const struct epmd_events epmd_events = {
    .registered = on_registered,
    .taken = on_taken,
    .failed = on_epmd_failed,
};

static int listen_at(struct node *n)
{
    struct sockaddr_in here = {
        .sin_family = AF_INET, .sin_addr = n->options.listen, .sin_port = htons(n->options.port)};
    int len = sizeof here;
    int bad = uv_tcp_bind(&n->listener, (const struct sockaddr *)&here, 0);
    if (bad == 0)
        bad = uv_listen((uv_stream_t *)&n->listener, BACKLOG, on_connection);
    if (bad == 0)
        bad = uv_tcp_getsockname(&n->listener, (struct sockaddr *)&here, &len);
    n->port = ntohs(here.sin_port);
    return bad;
}

static void fill_hub(struct node *n, uv_loop_t *loop, struct server *server)
{
    const struct node_options *o = &n->options;
    n->hub.loop = loop;
    n->hub.server = server;
    n->hub.self = &n->self;
    n->hub.limits = o->limits;
    n->hub.events = &conn_events;
    n->hub.handshake = (struct handshake_self){
        .name = n->self.name, .cookies = o->cookies, .creation = n->self.creation};
}

static bool begin(struct node *n, char *why)
{
    const struct node_options *o = &n->options;
    const int bad = listen_at(n);
    if (bad != 0) {
        char address[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &o->listen, address, sizeof address);
        snprintf(why, NAME_WHY, "cannot listen at %s:%u: %s", address, o->port, uv_strerror(bad));
        return false;
    }
    n->epmd = epmd_open(n->hub.loop, o->epmd_port, o->name->alive, n->port, &epmd_events, n);
    if (n->epmd == NULL)
        snprintf(why, NAME_WHY, "no memory");
    return n->epmd != NULL;
}

struct node *node_open(uv_loop_t *loop, struct server *server, const struct node_options *options,
                       const struct node_events *events, void *arg, char why[NAME_WHY])
{
    uint32_t random;
    struct node *n = calloc(1, sizeof *n);
    snprintf(why, NAME_WHY, "no memory");
    if (n == NULL)
        return NULL;
    os_random(&random, sizeof random);
    n->options = *options;
    n->events = events;
    n->arg = arg;
    self_init(&n->self, options->name->full, random);
    fill_hub(n, loop, server);
    if (!conn_hub_open(&n->hub)) {
        free(n);
        return NULL;
    }
    why[0] = '\0';
    uv_tcp_init(loop, &n->listener);
    n->listener.data = n;
    if (begin(n, why))
        return n;
    uv_close((uv_handle_t *)&n->listener, NULL);
    conn_hub_close(&n->hub);
    uv_run(loop, UV_RUN_NOWAIT);
    node_free(n);
    return NULL;
}

/* ---- end ---- */

void node_stop(struct node *n)
{
    struct peer *p;
    struct peer *next;
    if (n->stopped)
        return;
    n->stopped = true;
    uv_close((uv_handle_t *)&n->listener, NULL);
    DL_FOREACH_SAFE(n->half_open, p, next)
    conn_close(p->conn, "this node stops");
    DL_FOREACH(n->open, p)
    conn_stop(p->conn);
}

static void end_if_alone(struct node *n)
{
    if (!n->closing || n->open != NULL)
        return;
    n->closing = false;
    epmd_close(n->epmd);
    conn_hub_close(&n->hub);
    n->events->closed(n->arg);
}

void node_close(struct node *n)
{
    struct peer *p;
    struct peer *next;
    must(n->stopped);
    DL_FOREACH_SAFE(n->open, p, next)
    conn_finish(p->conn);
    n->closing = true;
    end_if_alone(n);
}

void node_free(struct node *n)
{
    conn_hub_free(&n->hub);
    free(n);
}
