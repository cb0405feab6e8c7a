/* Streams of frames, read in one piece and in pieces cut anywhere: both must tell the same, and
 * what a plain reading of the lengths tells. */
#include "dist/frame.h"
#include "fuzz/mutation.h"
#include "fuzz/pieces.h"
#include "fuzz/saying.h"
#include "fuzz/target.h"

enum { MAX = 8000, STREAM_MOST = 64 * 1024 };

static uint64_t ticks, wholes, longs, sound, unknown, broken;

static void begin(void)
{
}

/* --- making ----------------------------------------------------------------------------------- */

static void put_length(struct buf *stream, uint32_t len)
{
    uint8_t bytes[4];
    put_be32(bytes, len);
    buf_put(stream, bytes, sizeof bytes);
}

/* A length that lies moves all that follows. */
static uint32_t lie(struct dice *d, uint32_t len)
{
    static const uint32_t lies[] = {UINT32_MAX, MAX + 1, MAX, 0, 1, INT32_MAX, 1u << 31};
    return dice_one_in(d, 2) ? lies[dice_below(d, sizeof lies / sizeof lies[0])]
                             : len + (uint32_t)dice_below(d, 9) - 4;
}

static void add_frame(struct dice *d, struct buf *stream)
{
    struct buf frame;
    buf_init(&frame, (size_t)TARGET_INPUT_MOST * 3);
    saying_make(d, &frame);
    if (frame.len > STREAM_MOST / 2)
        frame.len = STREAM_MOST / 2;
    const uint32_t len = (uint32_t)frame.len;
    put_length(stream, dice_one_in(d, 30) ? lie(d, len) : len);
    buf_put(stream, frame.at, frame.len);
    buf_fini(&frame);
}

/* One that is too long, by some or by much. */
static void add_long(struct dice *d, struct buf *stream)
{
    const uint8_t byte = (uint8_t)dice_word(d);
    const uint32_t len = MAX + 1 + (uint32_t)dice_below(d, dice_one_in(d, 2) ? 3 : MAX);
    put_length(stream, len);
    uint8_t *at = buf_grow(stream, len);
    must(at != NULL);
    memset(at, byte, len);
    stream->len += len;
}

static void make_frame(struct dice *d, struct buf *frame)
{
    saying_make(d, frame);
}

static void make(struct dice *d, struct buf *input)
{
    const uint64_t n = 1 + dice_below(d, 5);
    for (uint64_t i = 0; i < n && input->len < STREAM_MOST; i++) {
        if (dice_one_in(d, 12))
            put_length(input, 0);
        else if (dice_one_in(d, 30))
            add_long(d, input);
        else
            add_frame(d, input);
    }
    if (dice_one_in(d, 4))
        input->len -= dice_below(d, input->len);
}

/* A stream of frames is one of pieces. */
static void change(struct dice *d, struct buf *input)
{
    if (dice_one_in(d, 4))
        mutation_rough(d, input);
    else
        pieces_change(d, input, make_frame, saying_change);
}

/* --- what is to be seen ----------------------------------------------------------------------- */

struct frame {
    enum frame_cut cut;
    size_t at, len;
};

/* The frame that begins there; *next is where the one after it does. False: it is not whole. */
static bool expect(struct span stream, size_t at, struct frame *f, size_t *next)
{
    if (at > stream.len || stream.len - at < 4)
        return false;
    const size_t len = get_be32(stream.at + at);
    *f = (struct frame){.cut = len == 0    ? FRAME_TICK
                               : len > MAX ? FRAME_LONG
                                           : FRAME_WHOLE,
                        .at = at + 4,
                        .len = len > MAX ? FRAME_HEAD_KEPT : len};
    *next = at + 4 + len;
    return stream.len - at - 4 >= f->len;
}

/* --- what is in a frame ----------------------------------------------------------------------- */

static bool is_within(struct span inner, struct span outer)
{
    return inner.len == 0 || (inner.at >= outer.at && inner.at + inner.len <= outer.at + outer.len);
}

static void check_spans(const struct control *c, struct span frame)
{
    const struct span spans[] = {c->from,          c->to,    c->ref, c->id, c->function,
                                 c->spawn_options, c->reason};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        must(is_within(spans[i], frame));
}

static void read_whole(struct span frame)
{
    struct control c;
    struct span rest;
    struct span message;
    switch (frame_control(frame, &c, &rest)) {
    case FRAME_BAD: broken++; return;
    case FRAME_UNKNOWN: unknown++; return;
    case FRAME_OK: break;
    }
    must(is_within(rest, frame));
    check_spans(&c, frame);
    if (!frame_message(&c, rest, &message)) {
        broken++;
        return;
    }
    must(is_within(message, frame) && (message.len > 0) == c.carries);
    sound++;
}

static void read_frame(enum frame_cut cut, struct span frame)
{
    struct control c;
    struct span rest;
    uint8_t *copy = target_copy(frame);
    ticks += cut == FRAME_TICK;
    wholes += cut == FRAME_WHOLE;
    longs += cut == FRAME_LONG;
    if (cut == FRAME_WHOLE)
        read_whole(span_of(copy, frame.len));
    else if (cut == FRAME_LONG)
        frame_control(span_of(copy, frame.len), &c, &rest);
    free(copy);
}

/* --- reading in pieces ------------------------------------------------------------------------ */

struct reading {
    struct span stream;
    struct frame_cutter cutter;
    size_t next; /* where the next frame has to begin */
    size_t unread, read;
};

static void take_all(struct reading *r, bool look)
{
    uint8_t *copy = target_copy(span_of(r->stream.at + r->unread, r->read - r->unread));
    struct span in = span_of(copy, r->read - r->unread);
    struct span frame;
    enum frame_cut cut;
    while ((cut = frame_next(&r->cutter, &in, &frame)) != FRAME_NONE) {
        struct frame due;
        must(expect(span_of(r->stream.at, r->read), r->next, &due, &r->next));
        must(cut == due.cut && frame.len == due.len);
        must(span_equal(frame, span_of(r->stream.at + due.at, due.len)));
        if (look)
            read_frame(cut, frame);
    }
    must(in.len <= 4 + MAX);
    const size_t need = frame_need(&r->cutter, in);
    must(need >= 1 && need <= 4 + MAX);
    r->unread = r->read - in.len;
    free(copy);
}

static void nothing_is_missing(const struct reading *r)
{
    struct frame due;
    size_t next;
    must(!expect(r->stream, r->next, &due, &next));
}

static size_t piece(struct dice *d, size_t left)
{
    const size_t n = 1 + dice_below(d, dice_one_in(d, 3) ? 8 : 2000);
    return n < left ? n : left;
}

static void run(struct span input)
{
    struct dice d = target_dice(input);
    struct reading at_once = {.stream = input, .cutter.max = MAX, .read = input.len};
    struct reading in_pieces = {.stream = input, .cutter.max = MAX};
    take_all(&at_once, true);
    nothing_is_missing(&at_once);
    while (in_pieces.read < input.len) {
        in_pieces.read += piece(&d, input.len - in_pieces.read);
        take_all(&in_pieces, false);
    }
    nothing_is_missing(&in_pieces);
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("ticks", ticks);
    each("long frames", longs);
    each("whole frames", wholes);
    each("sound", sound);
    each("unknown", unknown);
    each("broken", broken);
}

const struct target target = {.name = "frame",
                              .life = 100000,
                              .begin = begin,
                              .end = begin,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
