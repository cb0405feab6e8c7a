/* Frames to a node with its engine: a region, counters, a block store and queues are open, a peer
 * that is sound holds them, another says what comes to its mind, the pieces of an input. Now and
 * then it does not read for a while; where it breaks the protocol it comes again. */
#include <ei.h>

#include "fuzz/mutation.h"
#include "fuzz/part.h"
#include "fuzz/pieces.h"
#include "fuzz/saying.h"
#include "fuzz/small.h"
#include "fuzz/target.h"
#include "fuzz/text.h"
#include "fuzz/wire.h"
#include "proto/engine.h"
#include "proto/term.h"

enum { FRAMES_MADE = 8, INPUT_USUAL = 32 * 1024, FRAME_FILLED = 16 * 1024 };

static struct host host;
static struct wire_hub hub;
static struct wire keeper, hostile;
static uint64_t frames, breaks, longs, answers, signals;

/* --- lives ------------------------------------------------------------------------------------ */

static void say(struct wire *w, const char *request)
{
    char text[400];
    struct buf message;
    struct buf control;
    struct buf frame;
    buf_init(&message, 4096);
    buf_init(&control, 4096);
    buf_init(&frame, 8192);
    snprintf(text, sizeof text, "{'$gen_call',{$p1,[alias|$r1]},%s}", request);
    text_term("{6,$p1,'',emmap}", &control);
    text_term(text, &message);
    saying_put(span_of(control.at, control.len), span_of(message.at, message.len), &frame);
    wire_frame(w, span_of(frame.at, frame.len));
    buf_fini(&message);
    buf_fini(&control);
    buf_fini(&frame);
}

static void say_and_hear(struct wire *w, const char *request)
{
    const uint64_t before = w->answers;
    say(w, request);
    for (wire_flush(w); w->answers == before; wire_flush(w))
        uv_run(&host.loop, UV_RUN_ONCE);
}

/* Something opens: its id is heard. */
static void open_thing(struct wire *w, const char *request)
{
    const uint64_t ids = w->heard_count[HEARD_ID];
    say_and_hear(w, request);
    must(w->heard_count[HEARD_ID] > ids);
}

static void begin(void)
{
    small_open(&host);
    wire_hub_open(&hub, host.server);
    wire_open(&keeper, &hub, "keeper@localhost");
    open_thing(&keeper, "{open,\"r\",0,4096,[read,write,create,{size,4096}]}");
    open_thing(&keeper, "{open_counters,\"c\",16}");
    open_thing(&keeper, "{open,\"b\",0,4096,[read,write,create,{size,4096}]}");
    say_and_hear(&keeper, "{init_block_storage,\"b\",8}");
    say_and_hear(&keeper, "{store_block,\"b\",<<\"12345678\">>}");
    open_thing(&keeper, "{open_queue,\"d\",0,[{max_items,50}]}");
    open_thing(&keeper, "{open_queue,\"q\",0,[{register,jobs},{max_bytes,65536},"
                        "{overflow,drop_head},{dead_letter,\"d\"},{lease_ms,500}]}");
}

static void end(void)
{
    wire_flush(&keeper);
    wire_close(&keeper);
    small_close(&host);
    wire_hub_close(&hub);
}

static void come_again(void)
{
    const struct wire old = hostile;
    wire_close(&hostile);
    wire_open(&hostile, &hub, text_peer);
    memcpy(hostile.heard, old.heard, sizeof old.heard);
    memcpy(hostile.heard_count, old.heard_count, sizeof old.heard_count);
    hostile.answers = old.answers;
    hostile.signals = old.signals;
    breaks++;
}

/* --- what the peer has learned ---------------------------------------------------------------- */

static bool is_mark(struct span one)
{
    return one.len >= 5 && (one.at[0] == ERL_INTEGER_EXT || one.at[0] == ERL_NEW_PID_EXT ||
                            one.at[0] == ERL_NEWER_REFERENCE_EXT);
}

static enum heard_kind kind_of(uint8_t tag)
{
    return tag == ERL_INTEGER_EXT ? HEARD_ID : tag == ERL_NEW_PID_EXT ? HEARD_PID : HEARD_REF;
}

static bool holds_mark(struct span one)
{
    uint8_t mark[4];
    put_be32(mark, TEXT_MARK);
    return is_mark(one) && memmem(one.at, one.len, mark, sizeof mark) != NULL;
}

/* Ids, processes and references that the daemon has told, where the corpus leaves them open. */
static void fill(struct dice *d, struct buf *term)
{
    for (size_t at = 0; at < term->len;) {
        const struct span rest = span_of(term->at + at, term->len - at);
        size_t len = part_head(rest);
        must(len > 0);
        if (holds_mark(span_of(rest.at, len))) {
            const struct span told = wire_heard(&hostile, kind_of(rest.at[0]), d);
            if (told.len > 0)
                mutation_put(term, at, len, told);
            len = told.len > 0 ? told.len : len;
        }
        at += len;
    }
}

/* A frame as the peer says it, where it knows what to fill in. */
static void put_filled(struct dice *d, struct span frame, struct buf *filled)
{
    struct span control;
    struct span message;
    struct buf c;
    struct buf m;
    if (frame.len > FRAME_FILLED || !saying_parts(frame, &control, &message)) {
        buf_put(filled, frame.at, frame.len);
        return;
    }
    buf_init(&c, TARGET_INPUT_MOST);
    buf_init(&m, TARGET_INPUT_MOST);
    buf_put(&c, control.at, control.len);
    buf_put(&m, message.at, message.len);
    fill(d, &c);
    fill(d, &m);
    saying_put(span_of(c.at, c.len), span_of(m.at, m.len), filled);
    buf_fini(&c);
    buf_fini(&m);
}

/* --- making ----------------------------------------------------------------------------------- */

static void make_long(struct dice *d, struct buf *input)
{
    const size_t more = WIRE_FRAME_MOST + dice_below(d, 100);
    uint8_t *at = buf_grow(input, more);
    must(at != NULL);
    memset(at, 'x', more);
    input->len += more;
}

static void make_frame(struct dice *d, struct buf *frame)
{
    if (dice_one_in(d, 1000))
        return; /* a tick */
    saying_make(d, frame);
    if (dice_one_in(d, 500))
        make_long(d, frame);
}

static void make(struct dice *d, struct buf *input)
{
    const uint64_t n = 1 + dice_below(d, FRAMES_MADE);
    struct buf frame;
    buf_init(&frame, (size_t)4 * TARGET_INPUT_MOST);
    for (uint64_t i = 0; i < n && input->len < INPUT_USUAL; i++) {
        buf_cut(&frame, 0);
        make_frame(d, &frame);
        pieces_put(input, span_of(frame.at, frame.len));
    }
    buf_fini(&frame);
}

static void change(struct dice *d, struct buf *input)
{
    pieces_change(d, input, make_frame, saying_change);
}

/* --- running ---------------------------------------------------------------------------------- */

/* Nobody is given more than is allowed to him. */
static void check_limits(void)
{
    const struct client *c = hostile.client;
    const struct server_options *o = &host.options;
    must(c->handle_count + c->opening_count <= o->max_handles);
    must(c->pending_count <= o->max_pending);
    must(c->lease_count + c->credit <= o->max_leases);
    must(c->waiter_count <= o->max_waiting);
    must(c->subscriber_count <= o->max_subscribers);
    must(host.server->entry_count <= o->max_objects);
    must(map_bytes() <= o->max_mapped);
    const struct totals *all = &host.server->all;
    const struct client *own = host.server->own; /* which bounds itself */
    must(all->handles + all->openings <=
         o->max_all_handles + own->handle_count + own->opening_count);
    must(all->pending <= o->max_all_pending + own->pending_count);
    must(all->leases + all->credit <= o->max_all_leases);
    must(all->waiters <= o->max_all_waiting);
    must(all->subscribers <= o->max_all_subscribers);
}

static void run_frame(struct dice *d, struct span frame)
{
    uint8_t *copy = target_copy(frame);
    longs += frame.len > WIRE_FRAME_MOST;
    wire_frame(&hostile, span_of(copy, frame.len));
    free(copy);
    uv_run(&host.loop, UV_RUN_NOWAIT);
    check_limits();
    if (!hostile.broken)
        wire_ping(&hostile);
    if (hostile.broken || wire_is_full(&hostile) || !dice_one_in(d, 4))
        wire_flush(&hostile);
    wire_flush(&keeper);
    must(!keeper.broken);
    if (hostile.broken)
        come_again();
    frames++;
}

/* The peer comes, says all that, and goes. */
static void run(struct span input)
{
    struct dice d = target_dice(input);
    struct span frame;
    struct buf filled;
    buf_init(&filled, (size_t)4 * TARGET_INPUT_MOST);
    wire_open(&hostile, &hub, text_peer);
    for (int i = 0; i < PIECES_MOST && pieces_next(&input, &frame); i++) {
        buf_cut(&filled, 0);
        put_filled(&d, frame, &filled);
        run_frame(&d, span_of(filled.at, filled.len));
    }
    answers += hostile.answers;
    signals += hostile.signals;
    wire_close(&hostile);
    wire_flush(&keeper);
    buf_fini(&filled);
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("frames", frames);
    each("too long", longs);
    each("broken off", breaks);
    each("messages heard", answers);
    each("signals heard", signals);
}

const struct target target = {.name = "control",
                              .life = 500,
                              .builds = true,
                              .begin = begin,
                              .end = end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
