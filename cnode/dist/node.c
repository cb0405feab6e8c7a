#include "dist/node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>
#include <utlist.h>

#include "dist/epmd.h"
#include "sys/log.h"
#include "sys/os.h"

enum {
    BACKLOG = 128,
    AT_ONCE = 64,         /* connections, then others have their turn */
    PAUSE_MS = 100,       /* until another is tried, where the host has nothing left for one */
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
    int socket; /* that listens */
    uv_poll_t listener;
    uv_timer_t pause;
    uint16_t port;
    struct epmd *epmd;
    struct peer *open;
    struct peer *half_open;
    uint32_t opens;
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
        n->opens--;
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

/* One that is connected takes its own place. */
static bool has_place(void *arg, const char *name)
{
    struct node *n = arg;
    return n->opens < n->options.max_connections || find(n, name) != NULL;
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
    if (old == NULL && !has_place(n, conn_peer(p->conn)))
        return false; /* others were faster since it was asked for its name */
    if (old != NULL)
        conn_close(old->conn, "it connected anew");
    leave_list(p);
    p->open = true;
    DL_APPEND(n->open, p);
    n->opens++;
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

/* ---- accepting ---- */

static void take(struct node *n, int socket)
{
    if (n->half_opens >= n->options.max_half_open)
        conn_close(n->half_open->conn, "too many are in their handshake");
    struct peer *p = calloc(1, sizeof *p);
    int bad = UV_ENOMEM;
    if (p == NULL)
        close(socket);
    else
        p->conn = conn_accept(&n->hub, socket, p, &bad);
    if (p == NULL || p->conn == NULL) {
        free(p);
        if (may_complain(n))
            log_error("cannot take a connection: %s", uv_strerror(bad));
        return;
    }
    p->node = n;
    n->half_opens++;
    DL_APPEND(n->half_open, p);
}

static void on_connections(uv_poll_t *listener, int status, int events);

static void on_pause_over(uv_timer_t *pause)
{
    struct node *n = pause->data;
    uv_poll_start(&n->listener, UV_READABLE, on_connections);
}

/* Without descriptors or memory the connection stays where it is, and the loop would be called for
 * it again and again. */
static void rest(struct node *n, int why)
{
    if (may_complain(n))
        log_warning("cannot accept a connection for now: %s", uv_strerror(why));
    uv_poll_stop(&n->listener);
    uv_timer_start(&n->pause, on_pause_over, PAUSE_MS, 0);
}

/* One that has gone before it was accepted, and whatever else befell only it. */
static bool is_its_own_fault(int error)
{
    return error != EMFILE && error != ENFILE && error != ENOMEM && error != ENOBUFS;
}

static void on_connections(uv_poll_t *listener, int status, int events)
{
    struct node *n = listener->data;
    (void)events;
    if (status < 0) {
        rest(n, status);
        return;
    }
    for (int i = 0; i < AT_ONCE; i++) {
        const int socket = accept4(n->socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket >= 0)
            take(n, socket);
        else if (errno == EAGAIN)
            return;
        else if (!is_its_own_fault(errno)) {
            rest(n, -errno);
            return;
        }
    }
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

/* 0, or libuv's number of the error. */
static int bind_and_listen(struct node *n)
{
    const int yes = 1;
    struct sockaddr_in here = {
        .sin_family = AF_INET, .sin_addr = n->options.listen, .sin_port = htons(n->options.port)};
    socklen_t len = sizeof here;
    if (setsockopt(n->socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(n->socket, (const struct sockaddr *)&here, len) != 0 ||
        listen(n->socket, BACKLOG) != 0 ||
        getsockname(n->socket, (struct sockaddr *)&here, &len) != 0)
        return -errno;
    n->port = ntohs(here.sin_port);
    return 0;
}

static int listen_at(struct node *n)
{
    n->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int bad = n->socket < 0 ? -errno : bind_and_listen(n);
    if (bad == 0)
        bad = uv_poll_init(n->hub.loop, &n->listener, n->socket);
    if (bad != 0) {
        if (n->socket >= 0)
            close(n->socket);
        return bad;
    }
    uv_timer_init(n->hub.loop, &n->pause);
    n->listener.data = n->pause.data = n;
    return uv_poll_start(&n->listener, UV_READABLE, on_connections);
}

static void listen_no_more(struct node *n)
{
    uv_close((uv_handle_t *)&n->listener, NULL);
    uv_close((uv_handle_t *)&n->pause, NULL);
    close(n->socket);
}

static void fill_hub(struct node *n, uv_loop_t *loop, struct server *server)
{
    const struct node_options *o = &n->options;
    n->hub.loop = loop;
    n->hub.server = server;
    n->hub.self = &n->self;
    n->hub.limits = o->limits;
    n->hub.events = &conn_events;
    n->hub.handshake = (struct handshake_self){.name = n->self.name,
                                               .cookies = o->cookies,
                                               .creation = n->self.creation,
                                               .has_place = has_place,
                                               .arg = n};
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
    if (n->epmd != NULL)
        return true;
    listen_no_more(n);
    snprintf(why, NAME_WHY, "no memory");
    return false;
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
    if (begin(n, why))
        return n;
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
    listen_no_more(n);
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
