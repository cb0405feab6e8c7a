#include "dist/epmd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/log.h"
#include "sys/os.h"

enum {
    DEFAULT_PORT = 4369,
    FIRST_PAUSE_MS = 50,
    LONGEST_PAUSE_MS = 5000,
    PATIENCE_MS = 10000,   /* for the first registration, all in all */
    ANSWER_MS = 5000,      /* for one answer */
    PATIENCE_ASKING_S = 1, /* for a first look whether it is there */
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
    struct call *call;
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

/* ---- starting one ---- */

static struct sockaddr_in address_of(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Asks for the names that it knows, and passes over them: of whoever says nothing epmd complains.
 */
static void be_polite(int fd)
{
    static const uint8_t request[] = {0, 1, 'n'};
    char unused[512];
    const uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_ASKING_S * 1000000000;
    if (write(fd, request, sizeof request) == sizeof request)
        while (read(fd, unused, sizeof unused) > 0 && uv_hrtime() < end)
            continue;
}

/* Only where the host says so plainly: whatever else is wrong, registering will tell. */
static bool nobody_listens(uint16_t port)
{
    const struct sockaddr_in there = address_of(port);
    const struct timeval patience = {.tv_sec = PATIENCE_ASKING_S};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const bool connected = connect(fd, (const struct sockaddr *)&there, sizeof there) == 0;
    const bool refused = !connected && errno == ECONNREFUSED;
    if (connected)
        be_polite(fd);
    close(fd);
    return refused;
}

/* As erl does it. 0 or an errno. The new process gets none of our descriptors, for it outlives us,
 * and SIGPIPE as we found it. */
static int spawn_epmd(pid_t *pid)
{
    char *args[] = {"epmd", "-daemon", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t ignored;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
    os_keep_descriptors(STDERR_FILENO + 1);
    sigemptyset(&ignored);
    sigaddset(&ignored, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &ignored);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    const int bad = posix_spawnp(pid, args[0], &files, &attributes, args, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return bad;
}

static bool has_begun(pid_t pid)
{
    int status;
    pid_t ended;
    do
        ended = waitpid(pid, &status, 0);
    while (ended < 0 && errno == EINTR);
    return ended == pid && status == 0;
}

bool epmd_start(uint16_t epmd_at, char why[EPMD_WHY])
{
    pid_t pid;
    if (!nobody_listens(epmd_at))
        return true;
    const int bad = spawn_epmd(&pid);
    if (bad == 0 && has_begun(pid))
        return true;
    snprintf(why, EPMD_WHY, "none listens, and one cannot be started (epmd at 127.0.0.1:%u): %s",
             epmd_at, bad != 0 ? strerror(bad) : "it ended at once");
    return false;
}

/* ---- what is said ---- */

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

/* ---- registering ---- */

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

static void give_up(struct epmd *e, const char *reason)
{
    char why[EPMD_WHY];
    snprintf(why, sizeof why, "cannot register (epmd at 127.0.0.1:%u): %s", e->epmd_port, reason);
    hang_up(e);
    uv_timer_stop(&e->timer);
    e->events->failed(e->arg, why);
}

/* It did not work this time. Before the first success patience has an end. */
static void failed_once(struct epmd *e, const char *reason)
{
    if (!e->registered && uv_now(e->loop) - e->since > PATIENCE_MS)
        give_up(e, reason);
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

static void on_connected(uv_connect_t *connect, int status)
{
    struct call *c = connect->data;
    struct epmd *e = c->epmd;
    if (e == NULL)
        return;
    if (status == 0)
        ask(e, c);
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
    const struct sockaddr_in there = address_of(e->epmd_port);
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
    uv_close((uv_handle_t *)&e->timer, free_epmd);
}
