#include "dist/epmd.h"

#include <unistd.h>

#include "sys/log.h"
#include "sys/os.h"

enum {
    DEFAULT_PORT = 4369,
    FIRST_PAUSE_MS = 50,
    LONGEST_PAUSE_MS = 5000,
    PATIENCE_MS = 10000, /* for the first registration, all in all */
    ANSWER_MS = 5000,    /* for one answer */
};

/* One connection to epmd. It frees itself when closed; `epmd` is NULL from hang_up on. */
struct call {
    struct epmd *epmd;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uint8_t request[EPMD_REQUEST_MAX];
    uint8_t answer[16];
    size_t len;
    bool answered;
};

struct epmd {
    uv_loop_t *loop;
    const struct epmd_events *events;
    void *arg;
    const char *alive;
    uint16_t port;
    uint16_t epmd_port;
    uint64_t since;
    unsigned pause_ms;
    bool registered; /* at least once */
    bool started;    /* one of our own */
    struct call *call;
    uv_process_t *starter;
    uv_timer_t timer;
};

uint16_t epmd_port(const char *text)
{
    if (text == NULL)
        return DEFAULT_PORT;
    char *end;
    const long port = strtol(text, &end, 10);
    return *text != '\0' && *end == '\0' && port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
}

/* length:16, ALIVE2_REQ, port:16, hidden node, TCP over IPv4, highest:16, lowest version:16,
 * length:16, name, no extra:16 */
size_t epmd_request(const char *alive, uint16_t port, uint8_t to[EPMD_REQUEST_MAX])
{
    enum { ALIVE2_REQ = 120, HIDDEN = 72, TCP_IPV4 = 0, VERSION = 6, FIXED = 13 };
    const size_t len = strlen(alive);
    must(len <= 255);
    put_be16(to, (uint16_t)(FIXED + len));
    to[2] = ALIVE2_REQ;
    put_be16(to + 3, port);
    to[5] = HIDDEN;
    to[6] = TCP_IPV4;
    put_be16(to + 7, VERSION);
    put_be16(to + 9, VERSION);
    put_be16(to + 11, (uint16_t)len);
    memcpy(to + 13, alive, len); /* NOLINT(bugprone-not-null-terminated-result): counted */
    put_be16(to + 13 + len, 0);
    return 2 + FIXED + len;
}

/* Either answer has its result in the second byte; the creation that follows is not used. */
enum epmd_answer epmd_answer(struct span bytes)
{
    enum { ALIVE2_X_RESP = 118, ALIVE2_RESP = 121 };
    if (bytes.len > 0 && bytes.at[0] != ALIVE2_X_RESP && bytes.at[0] != ALIVE2_RESP)
        return EPMD_NONSENSE;
    if (bytes.len < 2)
        return EPMD_MORE;
    return bytes.at[1] == 0 ? EPMD_ACCEPTED : EPMD_REFUSED;
}

static void on_pause_over(uv_timer_t *timer);

static void free_call(uv_handle_t *tcp)
{
    free(tcp->data);
}

static void hang_up(struct epmd *e)
{
    if (e->call == NULL)
        return;
    e->call->epmd = NULL;
    uv_close((uv_handle_t *)&e->call->tcp, free_call);
    e->call = NULL;
}

static void try_later(struct epmd *e)
{
    hang_up(e);
    uv_timer_start(&e->timer, on_pause_over, e->pause_ms, 0);
    e->pause_ms = e->pause_ms * 2 < LONGEST_PAUSE_MS ? e->pause_ms * 2 : LONGEST_PAUSE_MS;
}

static void give_up(struct epmd *e, const char *what, const char *reason)
{
    char why[256];
    snprintf(why, sizeof why, "%s (epmd at 127.0.0.1:%u): %s", what, e->epmd_port, reason);
    hang_up(e);
    uv_timer_stop(&e->timer);
    e->events->failed(e->arg, why);
}

/* It did not work this time. Before the first success patience has an end. */
static void failed_once(struct epmd *e, const char *reason)
{
    if (!e->registered && uv_now(e->loop) - e->since > PATIENCE_MS)
        give_up(e, "cannot register", reason);
    else
        try_later(e);
}

static void on_no_answer(uv_timer_t *timer)
{
    failed_once(timer->data, "it does not answer");
}

static void lost(struct epmd *e)
{
    log_warning("epmd has gone; the name is registered again once it is back");
    e->pause_ms = FIRST_PAUSE_MS;
    try_later(e);
}

static void accepted(struct epmd *e)
{
    uv_timer_stop(&e->timer);
    e->call->answered = true;
    e->pause_ms = FIRST_PAUSE_MS;
    if (e->registered) {
        log_notice("registered with epmd again");
        return;
    }
    e->registered = true;
    e->events->registered(e->arg);
}

static void refused(struct epmd *e)
{
    if (e->registered) {
        log_error("epmd refuses the name %s: another node has it", e->alive);
        e->pause_ms = LONGEST_PAUSE_MS;
        try_later(e);
        return;
    }
    hang_up(e);
    uv_timer_stop(&e->timer);
    e->events->taken(e->arg);
}

/* What follows the answer is drained. */
static void give_room(uv_handle_t *tcp, size_t suggested, uv_buf_t *room)
{
    (void)suggested;
    struct call *c = tcp->data;
    if (c->answered)
        c->len = 0;
    *room = uv_buf_init((char *)c->answer + c->len, (unsigned)(sizeof c->answer - c->len));
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *room)
{
    (void)room;
    struct call *c = tcp->data;
    struct epmd *e = c->epmd;
    if (n < 0 && c->answered)
        lost(e);
    else if (n < 0)
        failed_once(e, "it hung up");
    if (n <= 0 || c->answered)
        return;
    c->len += (size_t)n;
    switch (epmd_answer(span_of(c->answer, c->len))) {
    case EPMD_MORE: break;
    case EPMD_ACCEPTED: accepted(e); break;
    case EPMD_REFUSED: refused(e); break;
    case EPMD_NONSENSE: failed_once(e, "what listens there is no epmd"); break;
    }
}

static void on_written(uv_write_t *write, int status)
{
    (void)write;
    (void)status; /* where it fails, so does the read */
}

static void ask(struct epmd *e, struct call *c)
{
    const size_t len = epmd_request(e->alive, e->port, c->request);
    uv_buf_t bytes = uv_buf_init((char *)c->request, (unsigned)len);
    uv_stream_t *stream = (uv_stream_t *)&c->tcp;
    uv_timer_start(&e->timer, on_no_answer, ANSWER_MS, 0);
    int bad = uv_read_start(stream, give_room, on_read);
    if (bad == 0)
        bad = uv_write(&c->write, stream, &bytes, 1, on_written);
    if (bad != 0)
        failed_once(e, uv_strerror(bad));
}

static void free_starter(uv_handle_t *starter)
{
    free(starter);
}

static void forget_starter(struct epmd *e)
{
    if (e->starter != NULL)
        uv_close((uv_handle_t *)e->starter, free_starter);
    e->starter = NULL;
}

static void on_started(uv_process_t *starter, int64_t status, int signal)
{
    struct epmd *e = starter->data;
    forget_starter(e);
    if (status != 0 || signal != 0)
        give_up(e, "none listens, and one cannot be started", "it ended at once");
    else
        try_later(e);
}

/* As erl does it. The new process gets none of our descriptors, for it outlives us. */
static void start_epmd(struct epmd *e)
{
    char *args[] = {"epmd", "-daemon", NULL};
    uv_stdio_container_t none[] = {
        {.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_IGNORE}};
    const uv_process_options_t options = {
        .file = args[0], .args = args, .stdio = none, .stdio_count = 3, .exit_cb = on_started};
    hang_up(e);
    e->started = true;
    e->starter = calloc(1, sizeof *e->starter);
    if (e->starter == NULL) {
        failed_once(e, "out of memory");
        return;
    }
    e->starter->data = e;
    os_keep_descriptors(3);
    const int bad = uv_spawn(e->loop, e->starter, &options);
    if (bad != 0) {
        forget_starter(e);
        give_up(e, "none listens, and one cannot be started", uv_strerror(bad));
    }
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct call *c = connect->data;
    struct epmd *e = c->epmd;
    if (e == NULL)
        return;
    if (status == 0)
        ask(e, c);
    else if (status == UV_ECONNREFUSED && !e->registered && !e->started)
        start_epmd(e);
    else
        failed_once(e, uv_strerror(status));
}

static void try_now(struct epmd *e)
{
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL) {
        failed_once(e, "out of memory");
        return;
    }
    struct sockaddr_in there;
    uv_ip4_addr("127.0.0.1", e->epmd_port, &there);
    uv_tcp_init(e->loop, &c->tcp);
    c->epmd = e;
    c->tcp.data = c;
    c->connect.data = c;
    e->call = c;
    const int bad =
        uv_tcp_connect(&c->connect, &c->tcp, (const struct sockaddr *)&there, on_connected);
    if (bad != 0)
        failed_once(e, uv_strerror(bad));
}

static void on_pause_over(uv_timer_t *timer)
{
    try_now(timer->data);
}

struct epmd *epmd_open(uv_loop_t *loop, uint16_t epmd_at, const char *alive, uint16_t port,
                       const struct epmd_events *events, void *arg)
{
    struct epmd *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    *e = (struct epmd){.loop = loop,
                       .events = events,
                       .arg = arg,
                       .alive = alive,
                       .port = port,
                       .epmd_port = epmd_at,
                       .since = uv_now(loop),
                       .pause_ms = FIRST_PAUSE_MS};
    uv_timer_init(loop, &e->timer);
    e->timer.data = e;
    try_now(e);
    return e;
}

static void free_epmd(uv_handle_t *timer)
{
    free(timer->data);
}

void epmd_close(struct epmd *e)
{
    hang_up(e);
    forget_starter(e);
    uv_close((uv_handle_t *)&e->timer, free_epmd);
}
