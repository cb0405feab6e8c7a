#include "dist/conn.h"

#include <ei.h>
#include <unistd.h>
#include <utlist.h>

#include "sys/log.h"
#include "sys/os.h"

enum {
    ROOM = 64 * 1024,   /* read at once, and what one peer may send in a turn of the loop */
    PIECE = 256 * 1024, /* of a long frame */
    KEEP = 64 * 1024,   /* an empty buffer keeps its memory up to this */
    ASIDE_MAX = 16 * 1024 * 1024,
    SLICE_NS = 250 * 1000, /* of a turn of the loop, all together who have much to do; */
    SLICE_LEAST = 20 * 1000,
    SECOND_MS = 1000,
    TICK_MS = 5000,
    FINISH_MS = 5000,
};

struct conn {
    struct conn_hub *hub;
    void *tag;
    enum { GREETING, OPEN, CLOSED } state;
    uv_tcp_t tcp;
    uv_timer_t timer; /* until OPEN the deadline, then each second */
    uv_timer_t pause; /* active: not read for a while, for it has asked for too much */
    int handles;      /* not yet closed */

    struct handshake handshake;
    struct client *client;
    struct actor actor;
    const char *broken; /* why it is to be closed at the end of the turn, or NULL */

    struct buf in; /* the beginning of a frame; frames that wait while the peer is held */
    struct frame_cutter cutter;
    size_t share;      /* bytes read since it last rested */
    uint64_t turn_end; /* uv_hrtime: when it has to rest; what it has sent may be much to do */
    bool reading;
    bool held;    /* not read: too much is unsent */
    bool stopped; /* not read any more */

    struct buf out;     /* gathers */
    struct buf sending; /* is being written */
    struct buf aside;   /* signals that come while a message is under construction in out */
    size_t message;     /* where that begins */
    bool composing;
    bool inward;     /* it is for a process of ours, */
    uint64_t answer; /* which awaits this one */
    bool writing;
    bool finishing;
    bool shut; /* our end of the connection is, or will be when all is written */
    uv_write_t write;
    uv_shutdown_t shutdown;

    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t last_output;   /* ms, as uv_now */
    uint64_t last_progress; /* of a held peer */
    size_t last_queue;

    struct conn *next_dirty;
    bool dirty;
    struct conn *prev_rest;
    struct conn *next_rest;
    bool rests;
};

static uint64_t now(const struct conn *c)
{
    return uv_now(c->hub->loop);
}

static uv_stream_t *stream(struct conn *c)
{
    return (uv_stream_t *)&c->tcp;
}

const char *conn_peer(const struct conn *c)
{
    return c->handshake.peer;
}

/* ---- lists of the hub ---- */

static void mark_dirty(struct conn *c)
{
    if (c->dirty || c->state == CLOSED)
        return;
    c->dirty = true;
    LL_PREPEND2(c->hub->dirty, c, next_dirty);
}

static void break_off(struct conn *c, const char *why)
{
    if (c->broken == NULL)
        c->broken = why;
    mark_dirty(c);
}

static void on_turn(uv_idle_t *turn);

/* The peer goes on in a turn to come, after all others had theirs. */
static void rest(struct conn *c)
{
    uv_read_stop(stream(c));
    c->reading = false;
    if (c->rests)
        return;
    c->rests = true;
    DL_APPEND2(c->hub->rests, c, prev_rest, next_rest);
    uv_idle_start(&c->hub->turn, on_turn);
}

static void leave_rest(struct conn *c)
{
    if (!c->rests)
        return;
    c->rests = false;
    DL_DELETE2(c->hub->rests, c, prev_rest, next_rest);
}

static void leave_dirty(struct conn *c)
{
    if (!c->dirty)
        return;
    c->dirty = false;
    LL_DELETE2(c->hub->dirty, c, next_dirty);
}

/* ---- closing ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    if (--c->handles > 0)
        return;
    buf_fini(&c->in);
    buf_fini(&c->out);
    buf_fini(&c->sending);
    buf_fini(&c->aside);
    free(c);
}

void conn_close(struct conn *c, const char *why)
{
    if (c->state == CLOSED)
        return;
    c->state = CLOSED;
    leave_rest(c);
    leave_dirty(c);
    if (c->client != NULL) {
        actor_leave(&c->actor);
        client_close(c->client);
        if (c->actor.ignored > 0)
            log_info("%s: %llu messages without use here", conn_peer(c),
                     (unsigned long long)c->actor.ignored);
        actor_fini(&c->actor);
    }
    c->client = NULL;
    c->hub->events->closed(c->tag, why);
    uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->pause, on_handle_closed);
}

/* ---- writing ---- */

static size_t unsent(const struct conn *c)
{
    return c->out.len + uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
}

static void hold_or_release(struct conn *c)
{
    const size_t max = c->hub->limits.max_unsent;
    const size_t n = unsent(c);
    if (!c->held && n > max) {
        c->held = true;
        c->last_progress = now(c);
        uv_read_stop(stream(c));
        c->reading = false;
    } else if (c->held && n <= max / 2) {
        c->held = false;
        rest(c);
    }
    if (n <= max && c->client != NULL)
        client_has_room(c->client);
}

static void on_finished(uv_shutdown_t *shutdown, int status)
{
    (void)shutdown;
    (void)status; /* the peer's end of file, or the deadline, closes */
}

static void finish_if_sent(struct conn *c)
{
    if (!c->finishing || c->shut || c->writing || c->out.len > 0)
        return;
    c->shut = true;
    if (uv_shutdown(&c->shutdown, stream(c), on_finished) != 0)
        conn_close(c, "this node stops");
}

static void on_written(uv_write_t *write, int status)
{
    struct conn *c = write->data;
    c->writing = false;
    buf_cut(&c->sending, 0);
    buf_relax(&c->sending, KEEP);
    if (c->state == CLOSED)
        return;
    if (status < 0) {
        conn_close(c, uv_strerror(status));
        return;
    }
    c->last_output = now(c);
    mark_dirty(c);
}

/* What the socket does not take at once becomes `sending`, and `out` begins anew. */
static int write_rest(struct conn *c, size_t written)
{
    const struct buf full = c->out;
    c->out = c->sending;
    c->sending = full;
    uv_buf_t bytes = uv_buf_init((char *)full.at + written, (unsigned)(full.len - written));
    c->writing = true;
    c->write.data = c;
    return uv_write(&c->write, stream(c), &bytes, 1, on_written);
}

static int write_out(struct conn *c)
{
    if (c->writing || c->out.len == 0)
        return 0;
    uv_buf_t bytes = uv_buf_init((char *)c->out.at, (unsigned)c->out.len);
    int n = uv_try_write(stream(c), &bytes, 1);
    if (n == UV_EAGAIN)
        n = 0;
    if (n < 0)
        return n;
    c->bytes_out += c->out.len;
    if (n > 0)
        c->last_output = now(c);
    if ((size_t)n < c->out.len)
        return write_rest(c, (size_t)n);
    buf_cut(&c->out, 0);
    buf_relax(&c->out, KEEP);
    return 0;
}

static void settle(struct conn *c)
{
    actor_settle(&c->actor);
    if (c->actor.failed)
        break_off(c, "more signals wait unsent than may");
}

/* Not all is in `out` that the peer is to hear, and there is room for it. */
static bool has_more(const struct conn *c)
{
    return c->client != NULL && !c->held && actor_has_more(&c->actor);
}

static void flush(struct conn *c)
{
    if (c->client != NULL && c->broken == NULL)
        settle(c);
    const int bad = write_out(c);
    if (bad < 0)
        conn_close(c, uv_strerror(bad));
    else if (c->broken != NULL)
        conn_close(c, c->broken);
    else
        hold_or_release(c);
    if (has_more(c))
        rest(c);
    if (c->state != CLOSED)
        finish_if_sent(c);
}

static void flush_all(struct conn_hub *hub)
{
    while (hub->dirty != NULL) {
        struct conn *c = hub->dirty;
        leave_dirty(c);
        flush(c);
    }
}

/* ---- what the engine asks of a connection ---- */

static struct buf *begin_outward(struct conn *c, struct span to)
{
    uint8_t own[SELF_PID_BYTES];
    c->message = actor_begin_send(&c->actor, self_pid(c->hub->self, SELF_EMMAP, own), to);
    return &c->out;
}

/* To a process of ours, which has asked. */
static struct buf *begin_inward(struct conn *c)
{
    buf_cut(&c->hub->inward, 0);
    return &c->hub->inward;
}

static struct buf *outlet_begin(void *conn, struct span to)
{
    struct conn *c = conn;
    must(!c->composing);
    c->inward = spawned_awaits(&c->actor, to, &c->answer);
    struct buf *out = c->inward ? begin_inward(c) : begin_outward(c, to);
    c->composing = true;
    c->actor.out = &c->aside;
    return out;
}

static void composed(struct conn *c)
{
    c->composing = false;
    c->actor.out = &c->out;
    if (c->aside.len > 0 && !buf_put(&c->out, c->aside.at, c->aside.len))
        break_off(c, "more answers wait unsent than may");
    buf_cut(&c->aside, 0);
    buf_relax(&c->aside, 0);
    mark_dirty(c);
}

/* The buffer is the next one's as soon as the process has the message. */
static void end_inward(struct conn *c)
{
    struct buf message = c->hub->inward;
    buf_init(&c->hub->inward, message.max);
    if (message.failed)
        break_off(c, "no memory for an answer");
    else
        spawned_answer(&c->actor, c->answer, span_of(message.at, message.len));
    buf_fini(&message);
}

static void outlet_end(void *conn)
{
    struct conn *c = conn;
    must(c->composing);
    if (!c->inward && !frame_end(&c->out, c->message))
        break_off(c, "more answers wait unsent than may");
    composed(c);
    if (c->inward)
        end_inward(c);
}

static void outlet_undo(void *conn)
{
    struct conn *c = conn;
    must(c->composing);
    if (!c->inward)
        buf_cut(&c->out, c->message);
    composed(c);
}

static void outlet_monitor(void *conn, struct span pid, uint64_t number)
{
    struct conn *c = conn;
    if (!actor_monitor(&c->actor, pid, number) || c->actor.failed)
        break_off(c, "no memory for a monitor");
    mark_dirty(c);
}

static void outlet_demonitor(void *conn, struct span pid, uint64_t number)
{
    struct conn *c = conn;
    actor_demonitor(&c->actor, pid, number);
    mark_dirty(c);
}

static void outlet_ended(void *conn, uint32_t process, struct span reason)
{
    struct conn *c = conn;
    if (!actor_ended(&c->actor, process, reason))
        return;
    if (c->actor.failed)
        break_off(c, "more answers wait unsent than may");
    mark_dirty(c);
}

static bool outlet_has_room(void *conn)
{
    const struct conn *c = conn;
    return unsent(c) <= c->hub->limits.max_unsent;
}

static void outlet_traffic(void *conn, uint64_t *in, uint64_t *out)
{
    const struct conn *c = conn;
    *in = c->bytes_in;
    *out = c->bytes_out;
}

static const struct outlet outlet = {
    .begin = outlet_begin,
    .end = outlet_end,
    .undo = outlet_undo,
    .has_room = outlet_has_room,
    .monitor = outlet_monitor,
    .demonitor = outlet_demonitor,
    .ended = outlet_ended,
    .traffic = outlet_traffic,
};

/* ---- frames ---- */

static void on_tick(struct conn *c)
{
    if (unsent(c) == 0) /* bytes on their way are as good as a tick */
        frame_tick(&c->out);
    mark_dirty(c);
}

static void on_frame(struct conn *c, struct span frame)
{
    struct control control;
    struct span after;
    struct span message;
    const enum frame_read read = frame_control(frame, &control, &after);
    if (read == FRAME_UNKNOWN)
        c->actor.ignored++;
    else if (read == FRAME_BAD || !frame_message(&control, after, &message) ||
             !actor_control(&c->actor, &control, message))
        break_off(c, "it broke the protocol");
    if (c->actor.failed)
        break_off(c, "more signals wait unsent than may");
    mark_dirty(c);
}

static void on_long_frame(struct conn *c, struct span head)
{
    struct control control;
    struct span after;
    if (frame_control(head, &control, &after) == FRAME_OK && control.carries && after.len > 0)
        actor_too_long(&c->actor, &control, span_of(after.at + 1, after.len - 1));
    else
        c->actor.ignored++;
    log_info("%s: a frame over max_frame was passed over", conn_peer(c));
    mark_dirty(c);
}

static bool pauses(const struct conn *c)
{
    return uv_is_active((const uv_handle_t *)&c->pause) != 0;
}

static bool may_go_on(const struct conn *c)
{
    return c->state == OPEN && c->broken == NULL && !c->held && !pauses(c) && !c->stopped &&
           !client_is_behind(c->client);
}

static void on_pause_over(uv_timer_t *timer)
{
    rest(timer->data);
}

static void pause_or_not(struct conn *c)
{
    const uint64_t ms = c->state == OPEN ? client_pause_ms(c->client) : 0;
    if (ms == 0 || pauses(c))
        return;
    uv_read_stop(stream(c));
    c->reading = false;
    uv_timer_start(&c->pause, on_pause_over, ms, 0);
}

static void handle_frames(struct conn *c, struct span *in)
{
    struct span frame;
    while (may_go_on(c)) {
        switch (frame_next(&c->cutter, in, &frame)) {
        case FRAME_NONE: return;
        case FRAME_TICK: on_tick(c); break;
        case FRAME_WHOLE: on_frame(c, frame); break;
        case FRAME_LONG: on_long_frame(c, frame); break;
        }
        hold_or_release(c);
        pause_or_not(c);
        const bool is_over = in->len > 0 && uv_hrtime() >= c->turn_end;
        if (is_over || client_is_behind(c->client)) {
            c->share = ROOM;
            return;
        }
    }
}

static void begin_turn(struct conn *c)
{
    c->turn_end = uv_hrtime() + c->hub->slice_ns;
}

/* ---- from the greeting to the open connection ---- */

static void on_second(uv_timer_t *timer)
{
    struct conn *c = timer->data;
    const size_t queue = uv_stream_get_write_queue_size(stream(c));
    if (queue != c->last_queue)
        c->last_progress = now(c);
    c->last_queue = queue;
    if (c->held && now(c) - c->last_progress >= c->hub->limits.unsent_timeout) {
        conn_close(c, "it does not read its answers");
    } else if (unsent(c) == 0 && now(c) - c->last_output >= TICK_MS) {
        frame_tick(&c->out);
        mark_dirty(c);
    }
}

static void on_deadline(uv_timer_t *timer)
{
    struct conn *c = timer->data;
    conn_close(c, c->state == OPEN ? "this node stops" : "the handshake took too long");
}

static void become_open(struct conn *c)
{
    const struct handshake *h = &c->handshake;
    const struct span peer = span_text(conn_peer(c));
    if (!c->hub->events->authenticated(c->tag)) {
        conn_close(c, "refused");
        return;
    }
    c->client = client_open(c->hub->server, peer, &outlet, c);
    if (c->client == NULL) {
        conn_close(c, "no memory");
        return;
    }
    c->actor = (struct actor){.processes = &c->hub->processes,
                              .self = c->hub->self,
                              .client = c->client,
                              .outlet = &outlet,
                              .conn = c,
                              .names_senders = handshake_agreed(h, HANDSHAKE_SEND_SENDER),
                              .exits_by_payload = handshake_agreed(h, HANDSHAKE_EXIT_PAYLOAD)};
    actor_init(&c->actor, peer, &c->out);
    c->state = OPEN;
    uv_timer_start(&c->timer, on_second, SECOND_MS, SECOND_MS);
}

static void greet(struct conn *c, struct span *in)
{
    switch (handshake_step(&c->handshake, in, &c->out)) {
    case HANDSHAKE_MORE: break;
    case HANDSHAKE_DONE: become_open(c); break;
    case HANDSHAKE_FAILED: break_off(c, c->handshake.why); break;
    }
    mark_dirty(c);
}

/* ---- reading ---- */

/* Bytes that were not used stay in c->in. They came from there or from the hub's room. */
static void keep(struct conn *c, struct span all, struct span left, bool in_room)
{
    if (!in_room)
        buf_drop(&c->in, all.len - left.len);
    else if (left.len > 0 && !buf_put(&c->in, left.at, left.len))
        conn_close(c, "no memory");
    buf_relax(&c->in, 0);
}

static void handle_input(struct conn *c, struct span bytes, bool in_room)
{
    struct span left = bytes;
    if (c->state == GREETING && c->broken == NULL)
        greet(c, &left);
    handle_frames(c, &left);
    if (c->state != CLOSED)
        keep(c, bytes, left, in_room);
}

/* A long frame is given room as its bytes arrive, not as its length claims. */
static void give_room(uv_handle_t *tcp, size_t suggested, uv_buf_t *room)
{
    (void)suggested;
    struct conn *c = tcp->data;
    if (c->in.len == 0) {
        *room = uv_buf_init((char *)c->hub->room, ROOM);
        return;
    }
    const size_t need = frame_need(&c->cutter, span_of(c->in.at, c->in.len));
    const size_t piece = c->in.len > PIECE ? c->in.len : PIECE;
    size_t n = c->state == GREETING || need < ROOM ? ROOM : need;
    if (n > piece)
        n = piece;
    *room = uv_buf_init((char *)buf_grow(&c->in, n), (unsigned)n);
    if (room->base == NULL)
        room->len = 0;
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *room)
{
    struct conn *c = tcp->data;
    if (n < 0)
        conn_close(c, n == UV_EOF ? "it hung up" : uv_strerror((int)n));
    if (n <= 0)
        return;
    const bool in_room = room->base == (const char *)c->hub->room;
    c->bytes_in += (uint64_t)n;
    c->share += (size_t)n;
    if (c->stopped)
        return;
    if (!in_room)
        c->in.len += (size_t)n;
    begin_turn(c);
    handle_input(c, in_room ? span_of(room->base, (size_t)n) : span_of(c->in.at, c->in.len),
                 in_room);
    if (c->state != CLOSED && c->share >= ROOM)
        rest(c);
}

/* With what one message has asked for. */
static void go_on(struct conn *c)
{
    if (c->client == NULL || !client_is_behind(c->client) || c->held || pauses(c) || c->stopped)
        return;
    client_go_on(c->client);
    pause_or_not(c);
    mark_dirty(c);
    if (client_is_behind(c->client))
        c->share = ROOM;
}

static void read_on(struct conn *c)
{
    c->share = 0;
    if (has_more(c))
        mark_dirty(c);
    begin_turn(c);
    go_on(c);
    if (c->in.len > 0 && c->state == OPEN && !c->stopped)
        handle_input(c, span_of(c->in.at, c->in.len), false);
    if (c->state == CLOSED || c->reading || c->held || pauses(c) || (c->stopped && !c->finishing))
        return;
    if (c->share >= ROOM) {
        rest(c);
        return;
    }
    c->reading = true;
    const int bad = uv_read_start(stream(c), give_room, on_read);
    if (bad != 0)
        conn_close(c, uv_strerror(bad));
}

static uint64_t slice_of(int resting)
{
    const uint64_t ns = resting > 1 ? (uint64_t)(SLICE_NS / resting) : SLICE_NS;
    return ns < SLICE_LEAST ? SLICE_LEAST : ns;
}

/* One message may take longer than a slice: then the others who rest have theirs in the next turn,
 * and who has little to do waits for one such message, not for all. */
static void on_turn(uv_idle_t *turn)
{
    struct conn_hub *hub = turn->data;
    struct conn *c;
    int n;
    DL_COUNT2(hub->rests, c, n, next_rest);
    hub->slice_ns = slice_of(n);
    const uint64_t end = uv_hrtime() + SLICE_NS;
    for (; n > 0 && hub->rests != NULL && uv_hrtime() < end; n--) {
        c = hub->rests;
        leave_rest(c);
        read_on(c);
    }
    if (hub->rests == NULL)
        uv_idle_stop(turn);
}

/* ---- a connection's beginning and orderly end ---- */

static int start(struct conn *c, int socket)
{
    uint8_t random[HANDSHAKE_RANDOM];
    os_random(random, sizeof random);
    handshake_init(&c->handshake, &c->hub->handshake, random);
    const int bad = uv_tcp_open(&c->tcp, socket);
    if (bad != 0) {
        close(socket);
        return bad;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_timer_start(&c->timer, on_deadline, c->hub->limits.handshake_timeout, 0);
    c->reading = true;
    return uv_read_start(stream(c), give_room, on_read);
}

struct conn *conn_accept(struct conn_hub *hub, int socket, void *tag, int *bad)
{
    const struct conn_limits *limits = &hub->limits;
    struct conn *c = calloc(1, sizeof *c);
    *bad = UV_ENOMEM;
    if (c == NULL) {
        close(socket);
        return NULL;
    }
    c->hub = hub;
    c->tag = tag;
    c->cutter.max = limits->max_frame;
    buf_init(&c->in, limits->max_frame + 4 + ROOM);
    buf_init(&c->out, limits->max_unsent + limits->max_frame + ROOM);
    buf_init(&c->sending, limits->max_unsent + limits->max_frame + ROOM);
    buf_init(&c->aside, ASIDE_MAX);
    uv_tcp_init(hub->loop, &c->tcp);
    uv_timer_init(hub->loop, &c->timer);
    uv_timer_init(hub->loop, &c->pause);
    c->handles = 3;
    c->tcp.data = c;
    c->timer.data = c;
    c->pause.data = c;
    *bad = start(c, socket);
    if (*bad == 0)
        return c;
    c->state = CLOSED;
    uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->pause, on_handle_closed);
    return NULL;
}

void conn_stop(struct conn *c)
{
    c->stopped = true;
    leave_rest(c);
    uv_read_stop(stream(c));
    c->reading = false;
}

/* What the peer still sends is read and thrown away: closing a socket that holds unread bytes
 * would take our last answers back. */
void conn_finish(struct conn *c)
{
    must(c->stopped);
    if (c->state == GREETING) {
        conn_close(c, "this node stops");
        return;
    }
    c->finishing = true;
    c->held = false;
    uv_timer_stop(&c->pause);
    uv_timer_start(&c->timer, on_deadline, FINISH_MS, 0);
    buf_cut(&c->in, 0);
    mark_dirty(c);
    read_on(c);
}

/* ---- the hub ---- */

/* What a connection that the flush closes gives back to those who wait leaves at once. For what is
 * left then the loop does not sleep. */
static void on_before_poll(uv_prepare_t *prepare)
{
    struct conn_hub *hub = prepare->data;
    for (int i = 0; i < 2; i++) {
        server_tend(hub->server);
        flush_all(hub);
    }
    if (server_has_more(hub->server))
        uv_idle_start(&hub->turn, on_turn);
}

static void on_after_poll(uv_check_t *check)
{
    flush_all(check->data);
}

bool conn_hub_open(struct conn_hub *hub)
{
    hub->dirty = NULL;
    hub->rests = NULL;
    hub->slice_ns = SLICE_NS;
    hub->room = malloc(ROOM);
    if (hub->room == NULL)
        return false;
    hub->processes = (struct processes){
        .self = hub->self, .server = hub->server, .most_of_one = hub->limits.max_processes};
    buf_init(&hub->inward, hub->limits.max_frame + ROOM);
    uv_prepare_init(hub->loop, &hub->before_poll);
    uv_check_init(hub->loop, &hub->after_poll);
    uv_idle_init(hub->loop, &hub->turn);
    hub->before_poll.data = hub;
    hub->after_poll.data = hub;
    hub->turn.data = hub;
    uv_prepare_start(&hub->before_poll, on_before_poll);
    uv_check_start(&hub->after_poll, on_after_poll);
    return true;
}

void conn_hub_close(struct conn_hub *hub)
{
    uv_close((uv_handle_t *)&hub->before_poll, NULL);
    uv_close((uv_handle_t *)&hub->after_poll, NULL);
    uv_close((uv_handle_t *)&hub->turn, NULL);
}

void conn_hub_free(struct conn_hub *hub)
{
    free(hub->room);
    hub->room = NULL;
    buf_fini(&hub->inward);
}
