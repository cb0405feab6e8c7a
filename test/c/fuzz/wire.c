#include "fuzz/wire.h"

#include <ei.h>

#include "fuzz/part.h"
#include "fuzz/saying.h"
#include "fuzz/text.h"
#include "proto/term.h"

enum { ROOM = 64 * 1024, ASIDE_MOST = 16 << 20, FIRST_PING = 1 << 20 };

void wire_hub_open(struct wire_hub *hub, struct server *server)
{
    text_self(&hub->self);
    hub->processes = (struct processes){.self = &hub->self, .server = server};
    buf_init(&hub->inward, WIRE_FRAME_MOST + ROOM);
}

void wire_hub_close(struct wire_hub *hub)
{
    must(hub->processes.spawned == NULL && hub->processes.actors == NULL);
    buf_fini(&hub->inward);
}

/* --- what the engine asks of a connection ----------------------------------------------------- */

static struct buf *begin_outward(struct wire *w, struct span to)
{
    uint8_t own[SELF_PID_BYTES];
    const bool to_pid = self_node_of_pid(to).len > 0;
    const struct span from = to_pid ? frame_unused() : self_pid(&w->hub->self, SELF_EMMAP, own);
    w->message = frame_begin(&w->out, to_pid ? FRAME_SEND : FRAME_ALIAS_SEND, 3);
    buf_put(&w->out, from.at, from.len);
    buf_put(&w->out, to.at, to.len);
    frame_put_message(&w->out);
    return &w->out;
}

static struct buf *begin_inward(struct wire *w)
{
    buf_cut(&w->hub->inward, 0);
    return &w->hub->inward;
}

static struct buf *outlet_begin(void *conn, struct span to)
{
    struct wire *w = conn;
    must(!w->composing && to.len > 0);
    w->composing = true;
    w->actor.out = &w->aside;
    w->inward = spawned_awaits(&w->actor, to, &w->answer);
    return w->inward ? begin_inward(w) : begin_outward(w, to);
}

static void composed(struct wire *w)
{
    w->composing = false;
    w->actor.out = &w->out;
    if (w->aside.len > 0 && !buf_put(&w->out, w->aside.at, w->aside.len))
        w->broken = true;
    buf_cut(&w->aside, 0);
}

static void end_inward(struct wire *w)
{
    struct buf message = w->hub->inward;
    buf_init(&w->hub->inward, message.max);
    if (message.failed)
        w->broken = true;
    else
        spawned_answer(&w->actor, w->answer, span_of(message.at, message.len));
    buf_fini(&message);
}

static void outlet_end(void *conn)
{
    struct wire *w = conn;
    must(w->composing);
    if (!w->inward && !frame_end(&w->out, w->message))
        w->broken = true;
    composed(w);
    if (w->inward)
        end_inward(w);
}

static void outlet_undo(void *conn)
{
    struct wire *w = conn;
    must(w->composing);
    if (!w->inward)
        buf_cut(&w->out, w->message);
    composed(w);
}

static void outlet_monitor(void *conn, struct span pid, uint64_t number)
{
    struct wire *w = conn;
    if (!actor_monitor(&w->actor, pid, number) || w->actor.failed)
        w->broken = true;
}

static void outlet_demonitor(void *conn, struct span pid, uint64_t number)
{
    struct wire *w = conn;
    actor_demonitor(&w->actor, pid, number);
}

static void outlet_ended(void *conn, uint32_t process, struct span reason)
{
    struct wire *w = conn;
    actor_ended(&w->actor, process, reason);
    if (w->actor.failed)
        w->broken = true;
}

static bool outlet_has_room(void *conn)
{
    return !wire_is_full(conn);
}

static void outlet_traffic(void *conn, uint64_t *in, uint64_t *out)
{
    const struct wire *w = conn;
    *in = w->pings;
    *out = w->answers;
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

/* --- from its beginning to its end ------------------------------------------------------------ */

void wire_open(struct wire *w, struct wire_hub *hub, const char *peer)
{
    *w = (struct wire){.hub = hub};
    buf_init(&w->out, WIRE_UNSENT_MOST + WIRE_FRAME_MOST + ROOM);
    buf_init(&w->aside, ASIDE_MOST);
    w->client = client_open(hub->processes.server, span_text(peer), &outlet, w);
    must(w->client != NULL);
    w->actor = (struct actor){.processes = &hub->processes,
                              .self = &hub->self,
                              .client = w->client,
                              .outlet = &outlet,
                              .conn = w};
    actor_init(&w->actor, span_text(peer), &w->out);
}

void wire_close(struct wire *w)
{
    actor_leave(&w->actor);
    client_close(w->client);
    actor_fini(&w->actor);
    buf_fini(&w->out);
    buf_fini(&w->aside);
}

/* --- inwards ---------------------------------------------------------------------------------- */

static void on_frame(struct wire *w, struct span frame)
{
    struct control control;
    struct span after;
    struct span message;
    const enum frame_read read = frame_control(frame, &control, &after);
    if (read == FRAME_UNKNOWN)
        w->actor.ignored++;
    else if (read == FRAME_BAD || !frame_message(&control, after, &message) ||
             !actor_control(&w->actor, &control, message))
        w->broken = true;
}

static void on_long_frame(struct wire *w, struct span head)
{
    struct control control;
    struct span after;
    if (frame_control(head, &control, &after) == FRAME_OK && control.carries && after.len > 0)
        actor_too_long(&w->actor, &control, span_of(after.at + 1, after.len - 1));
    else
        w->actor.ignored++;
}

/* A connection would read no further for now; here that is as good as never. */
static bool is_left_unread(struct wire *w)
{
    client_go_on(w->client);
    return client_is_behind(w->client) || client_pause_ms(w->client) > 0;
}

void wire_frame(struct wire *w, struct span frame)
{
    if (is_left_unread(w))
        return;
    if (frame.len == 0)
        frame_tick(&w->out);
    else if (frame.len > WIRE_FRAME_MOST)
        on_long_frame(w, span_of(frame.at, FRAME_HEAD_KEPT));
    else
        on_frame(w, frame);
    if (w->actor.failed)
        w->broken = true;
}

void wire_ping(struct wire *w)
{
    char text[100];
    struct buf b;
    struct buf frame;
    const unsigned ref = (unsigned)(FIRST_PING + w->pings++);
    snprintf(text, sizeof text, "{'$gen_call',{$p1,[alias|$r%u]},ping}", ref);
    buf_init(&b, 1000);
    buf_init(&frame, 1000);
    text_term("{6,$p1,'',emmap}", &b);
    const size_t middle = b.len;
    text_term(text, &b);
    saying_put(span_of(b.at, middle), span_of(b.at + middle, b.len - middle), &frame);
    on_frame(w, span_of(frame.at, frame.len));
    buf_fini(&b);
    buf_fini(&frame);
}

/* --- outwards --------------------------------------------------------------------------------- */

static void note(struct wire *w, enum heard_kind kind, struct span term)
{
    struct heard *h = &w->heard[kind][w->heard_count[kind]++ % WIRE_HEARD];
    h->len = term.len;
    memcpy(h->bytes, term.at, term.len);
}

/* Pids, references and large integers in it. */
static void hear_all(struct wire *w, struct span term)
{
    for (size_t at = 0, n = 0; at < term.len && n < 200; n++) {
        const struct span rest = span_of(term.at + at, term.len - at);
        const struct span one = span_of(rest.at, part_head(rest));
        const uint8_t tag = one.at[0];
        at += one.len;
        if (one.len > sizeof w->heard[0][0].bytes)
            continue;
        if (tag == ERL_NEW_PID_EXT)
            note(w, HEARD_PID, one);
        else if (tag == ERL_NEWER_REFERENCE_EXT)
            note(w, HEARD_REF, one);
        else if (tag == ERL_SMALL_BIG_EXT)
            note(w, HEARD_ID, one);
    }
}

static bool is_pong(struct span message)
{
    struct term t = term_in(message);
    if (term_tag(&t) != ERL_SMALL_TUPLE_EXT || term_tuple(&t) != 2)
        return false;
    term_any(&t);
    return term_is_atom(&t, "pong") && term_done(&t);
}

/* Is it the answer that is due next, to its very alias? */
static bool is_due(const struct wire *w, const struct control *c)
{
    struct buf ref;
    char text[30];
    buf_init(&ref, 100);
    snprintf(text, sizeof text, "$r%u", (unsigned)(FIRST_PING + w->pongs));
    text_term(text, &ref);
    const bool due = c->op == FRAME_ALIAS_SEND && span_equal(c->to, span_of(ref.at, ref.len));
    buf_fini(&ref);
    return due;
}

static void look_at_frame(struct wire *w, struct span frame)
{
    struct control c;
    struct span rest;
    struct span message;
    must(frame_control(frame, &c, &rest) == FRAME_OK);
    must(frame_message(&c, rest, &message));
    w->pongs += w->pongs < w->pings && is_pong(message) && is_due(w, &c);
    w->answers += message.len > 0;
    w->signals += message.len == 0;
    const struct span inside = message.len > 0 ? message : span_of(frame.at + 2, frame.len - 2);
    hear_all(w, inside);
}

static void look_at_all(struct wire *w)
{
    struct span out = span_of(w->out.at, w->out.len);
    while (out.len > 0) {
        must(out.len >= 4);
        const size_t len = get_be32(out.at);
        must(len <= out.len - 4);
        uint8_t *copy = malloc(len + 1);
        must(copy != NULL);
        memcpy(copy, out.at + 4, len);
        if (len > 0)
            look_at_frame(w, span_of(copy, len));
        free(copy);
        out = span_of(out.at + 4 + len, out.len - 4 - len);
    }
}

bool wire_is_full(const struct wire *w)
{
    return w->out.len > WIRE_UNSENT_MOST;
}

void wire_flush(struct wire *w)
{
    must(!w->composing && w->aside.len == 0);
    if (!w->broken)
        actor_settle(&w->actor);
    look_at_all(w);
    must(w->broken || w->pongs == w->pings);
    buf_cut(&w->out, 0);
    client_has_room(w->client);
}

struct span wire_heard(struct wire *w, enum heard_kind kind, struct dice *d)
{
    const uint64_t n = w->heard_count[kind] < WIRE_HEARD ? w->heard_count[kind] : WIRE_HEARD;
    if (n == 0)
        return span_of(NULL, 0);
    const struct heard *h = &w->heard[kind][dice_below(d, n)];
    return span_of(h->bytes, h->len);
}
