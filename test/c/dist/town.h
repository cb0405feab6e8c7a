/* A node on a loop, the epmd that it registers with, and callers that speak to it from outside, as
 * bytes over sockets. Nobody waits: `turn` lets all go on a step. */
#ifndef DIST_TOWN_H
#define DIST_TOWN_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "dist/epmd.h"
#include "dist/node.h"
#include "hello.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/peer.h"

struct town {
    struct host host;
    struct name name;
    struct cookies cookies;
    struct node_options options;
    struct node *node;

    int epmd_listener;
    int epmd_call;       /* of the node, or -1 */
    uint8_t epmd_result; /* what the node is answered */
    unsigned registrations;
    uint16_t registered_port;

    uint16_t port; /* ready: not 0 */
    bool taken;
    char failed[NAME_WHY];
    bool stopping;
    bool closed;
};

static struct town town;

static inline int listen_somewhere(uint16_t *port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof here;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof here), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&here, &len), 0);
    *port = ntohs(here.sin_port);
    return fd;
}

/* The answer of epmd, and then two bytes more, as some give. */
static inline void epmd_answer_call(void)
{
    uint8_t request[EPMD_REQUEST_MAX];
    const ssize_t n = recv(town.epmd_call, request, sizeof request, MSG_DONTWAIT);
    if (n <= 0)
        return;
    const uint8_t answer[] = {118, town.epmd_result, 0, 0, 0, 1, 0, 0};
    town.registrations++;
    town.registered_port = get_be16(request + 3);
    assert_int_equal(send(town.epmd_call, answer, sizeof answer, 0), sizeof answer);
}

static inline void epmd_turn(void)
{
    if (town.epmd_call < 0)
        town.epmd_call = accept(town.epmd_listener, NULL, NULL);
    if (town.epmd_call >= 0)
        epmd_answer_call();
}

static inline void epmd_hang_up(void)
{
    close(town.epmd_call);
    town.epmd_call = -1;
}

static inline void turn(void)
{
    epmd_turn();
    uv_run(&town.host.loop, UV_RUN_NOWAIT);
}

static inline int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Lets all go on until the condition holds, for ten seconds at most. */
#define until(condition)                                                                           \
    do {                                                                                           \
        const int64_t deadline = now_ms() + 10000;                                                 \
        while (!(condition)) {                                                                     \
            turn();                                                                                \
            if (now_ms() > deadline)                                                               \
                fail_msg("in vain: %s", #condition);                                               \
        }                                                                                          \
    } while (0)

/* ---- the node ---- */

static inline void town_ready(void *arg, uint16_t port)
{
    (void)arg;
    assert_int_equal(town.port, 0);
    town.port = port;
}

static inline void town_taken(void *arg)
{
    (void)arg;
    town.taken = true;
}

static inline void town_failed(void *arg, const char *why)
{
    (void)arg;
    snprintf(town.failed, sizeof town.failed, "%s", why);
}

static inline void town_closed(void *arg)
{
    (void)arg;
    town.closed = true;
}

/* What is to differ from these options is changed before town_open. */
static inline void town_init(void)
{
    char why[NAME_WHY];
    town = (struct town){.epmd_call = -1};
    host_init(&town.host);
    assert_true(name_parse(&town.name, "emmap@localhost", false, why));
    town.cookies.general = (struct cookie){.bytes = "secret", .len = 6};
    town.options = (struct node_options){.name = &town.name,
                                         .cookies = &town.cookies,
                                         .listen.s_addr = htonl(INADDR_LOOPBACK),
                                         .max_half_open = 64,
                                         .max_connections = 1000,
                                         .limits = {.max_frame = 1 << 20,
                                                    .max_processes = 64,
                                                    .max_unsent = 1 << 20,
                                                    .unsent_timeout = 30000,
                                                    .handshake_timeout = 5000}};
    town.epmd_listener = listen_somewhere(&town.options.epmd_port);
}

static inline void town_begin(void)
{
    static const struct node_events events = {
        .ready = town_ready, .taken = town_taken, .failed = town_failed, .closed = town_closed};
    char why[NAME_WHY] = "";
    host_open(&town.host);
    uv_prepare_stop(&town.host.before_waiting); /* a hub is there */
    town.node = node_open(&town.host.loop, town.host.server, &town.options, &events, NULL, why);
    assert_string_equal(why, "");
}

static inline void town_open(void)
{
    town_begin();
    until(town.port != 0);
}

static inline void town_server_stopped(void *arg)
{
    (void)arg;
    node_close(town.node);
}

static inline void town_stop(void)
{
    town.stopping = true;
    node_stop(town.node);
    server_stop(town.host.server, town_server_stopped, NULL);
}

static inline void town_close(void)
{
    if (!town.stopping)
        town_stop();
    until(town.closed);
    uv_run(&town.host.loop, UV_RUN_DEFAULT);
    server_close(town.host.server);
    town.host.server = NULL;
    node_free(town.node);
    host_close(&town.host);
    if (town.epmd_call >= 0)
        close(town.epmd_call);
    close(town.epmd_listener);
}

/* ---- callers ---- */

struct caller {
    int fd;
    bool lost; /* the node hung up */
    struct buf heard;
};

static inline void caller_connect(struct caller *c)
{
    const struct sockaddr_in there = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                      .sin_port = htons(town.port)};
    *c = (struct caller){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    buf_init(&c->heard, 64 << 20);
    assert_int_equal(connect(c->fd, (const struct sockaddr *)&there, sizeof there), 0);
}

static inline void caller_leave(struct caller *c)
{
    close(c->fd);
    buf_fini(&c->heard);
}

/* Takes what has come; true where the connection has ended. */
static inline bool caller_listen(struct caller *c)
{
    for (;;) {
        uint8_t *room = buf_grow(&c->heard, 65536);
        const ssize_t n = recv(c->fd, room, 65536, MSG_DONTWAIT);
        if (n <= 0) {
            c->lost = c->lost || n == 0 || errno != EAGAIN;
            return c->lost;
        }
        c->heard.len += (size_t)n;
    }
}

static inline bool caller_has(struct caller *c, size_t n)
{
    caller_listen(c);
    return c->heard.len >= n;
}

static inline void caller_say(struct caller *c, const struct bytes *b)
{
    assert_int_equal(send(c->fd, b->at, b->len, MSG_NOSIGNAL), b->len);
}

/* The whole handshake; what has been said in it is forgotten. */
static inline void caller_greet_as(struct caller *c, const char *name, uint64_t flags)
{
    enum { STATUS = 5, CHALLENGE = 2 + 19 + 15, ACKNOWLEDGED = 19 };
    struct bytes b = {0};
    hello_name(&b, flags, name);
    caller_say(c, &b);
    until(caller_has(c, STATUS + CHALLENGE));
    b.len = 0;
    hello_reply(&b, "secret", hello_challenge(span_of(c->heard.at, c->heard.len)));
    caller_say(c, &b);
    until(caller_has(c, STATUS + CHALLENGE + ACKNOWLEDGED));
    buf_drop(&c->heard, STATUS + CHALLENGE + ACKNOWLEDGED);
}

/* As one that offers neither senders nor reasons of their own. */
static inline void caller_greet(struct caller *c, const char *name)
{
    caller_greet_as(c, name, HELLO_FLAGS & ~(HANDSHAKE_SEND_SENDER | HANDSHAKE_EXIT_PAYLOAD));
}

static inline void caller_open(struct caller *c, const char *name)
{
    caller_connect(c);
    caller_greet(c, name);
}

/* A control message, with a message where it has bytes. */
static inline void add_control(struct bytes *b, struct span control, struct span message)
{
    add_u32(b, 2 + control.len + (message.len > 0 ? 1 + message.len : 0));
    add_u8(b, 112);
    add_u8(b, 131);
    add_span(b, control);
    if (message.len > 0)
        add_u8(b, 131);
    add_span(b, message);
}

/* {Op, Elements...} */
static inline struct span tuple(int op, int n, const struct span *elements)
{
    static struct bytes kept[8];
    static unsigned next;
    struct bytes *b = &kept[next++ % 8];
    b->len = 0;
    add_u8(b, ERL_SMALL_TUPLE_EXT);
    add_u8(b, (unsigned)n + (op > 0));
    if (op > 0) {
        add_u8(b, ERL_SMALL_INTEGER_EXT);
        add_u8(b, (unsigned)op);
    }
    for (int i = 0; i < n; i++)
        add_span(b, elements[i]);
    return bytes_span(b);
}

#define TUPLE(op, ...)                                                                             \
    tuple(op, sizeof((struct span[]){__VA_ARGS__}) / sizeof(struct span),                          \
          (struct span[]){__VA_ARGS__})

static const struct span nothing = {.at = NULL, .len = 0};

/* {'$gen_call', {Pid, [alias|Ref]}, Request} to a name. */
static inline void add_call(struct bytes *b, const char *name, unsigned ref, struct span request)
{
    struct bytes tag = {0};
    add_u8(&tag, ERL_LIST_EXT);
    add_u32(&tag, 1);
    add_span(&tag, make_term("alias"));
    add_span(&tag, peer_ref(ref));
    const struct span from = TUPLE(0, peer_pid(1), bytes_span(&tag));
    add_control(b, TUPLE(FRAME_REG_SEND, peer_pid(1), frame_unused(), make_term("%s", name)),
                TUPLE(0, make_term("'$gen_call'"), from, request));
}

static inline void caller_call(struct caller *c, const char *name, unsigned ref,
                               struct span request)
{
    struct bytes b = {0};
    add_call(&b, name, ref, request);
    caller_say(c, &b);
}

static inline bool caller_has_frame(struct caller *c)
{
    return caller_has(c, 4) && c->heard.len >= 4 + (size_t)get_be32(c->heard.at);
}

/* The next frame that is no tick stands first: a slow test hears some. */
static inline void caller_pass_ticks(struct caller *c)
{
    for (;;) {
        until(caller_has_frame(c));
        if (get_be32(c->heard.at) > 0)
            return;
        buf_drop(&c->heard, 4);
    }
}

/* The next frame's control message and the bytes of its message; a tick has op 0. */
static inline struct span caller_hear(struct caller *c, struct control *control)
{
    static struct bytes frame;
    struct span rest;
    struct span message;
    until(caller_has_frame(c));
    frame.len = 0;
    add(&frame, c->heard.at + 4, get_be32(c->heard.at));
    buf_drop(&c->heard, 4 + frame.len);
    *control = (struct control){0};
    if (frame.len == 0)
        return nothing;
    assert_int_equal(frame_control(bytes_span(&frame), control, &rest), FRAME_OK);
    assert_true(frame_message(control, rest, &message));
    return message;
}

/* The reply to a call of this reference, as text, which must come next. */
static inline const char *caller_reply(struct caller *c, unsigned ref)
{
    struct control control;
    caller_pass_ticks(c);
    struct term t = term_in(caller_hear(c, &control));
    assert_int_equal(control.op, FRAME_ALIAS_SEND);
    assert_true(span_equal(control.to, peer_ref(ref)));
    assert_int_equal(term_tuple(&t), 2);
    term_any(&t);
    return show_term(term_any(&t));
}

#endif
