#include "fuzz/saying.h"

#include "fuzz/corpus.h"
#include "fuzz/mutation.h"
#include "fuzz/target.h"
#include "proto/term.h"

void saying_put(struct span control, struct span message, struct buf *frame)
{
    const uint8_t head[] = {112, 131};
    buf_put(frame, head, sizeof head);
    buf_put(frame, control.at, control.len);
    if (message.len > 0)
        buf_put(frame, head + 1, 1);
    buf_put(frame, message.at, message.len);
}

static void go_wrong(struct dice *d, void (*mutate)(struct dice *, struct buf *), struct buf *b)
{
    const uint64_t times = 1 + dice_below(d, 3);
    for (uint64_t i = 0; i < times && b->len > 0; i++)
        mutate(d, b);
}

/* Mostly what is inside of the message: the rest soon breaks the connection. */
static void spoil(struct dice *d, struct buf *control, struct buf *message)
{
    const bool in_control = message->len == 0 || dice_one_in(d, 6);
    struct buf *b = in_control ? control : message;
    switch (dice_below(d, in_control ? 16 : 8)) {
    case 0: go_wrong(d, mutation_rough, b); break;
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6: go_wrong(d, mutation_gentle, b); break;
    default: break;
    }
}

static struct buf copy_of(struct span bytes)
{
    struct buf b;
    buf_init(&b, TARGET_INPUT_MOST);
    buf_put(&b, bytes.at, bytes.len);
    return b;
}

static void put_spoilt(struct dice *d, struct span control, struct span message, struct buf *frame)
{
    struct buf c = copy_of(control);
    struct buf m = copy_of(message);
    spoil(d, &c, &m);
    saying_put(span_of(c.at, c.len), span_of(m.at, m.len), frame);
    buf_fini(&c);
    buf_fini(&m);
}

void saying_make(struct dice *d, struct buf *frame)
{
    const struct said said = corpus_said(d);
    const size_t start = frame->len;
    put_spoilt(d, said.control, said.message, frame);
    if (start == 0 && dice_one_in(d, 40))
        mutation_rough(d, frame);
}

/* One of the corpus takes its place, its message, or its control message now and then. */
void saying_change(struct dice *d, struct buf *frame)
{
    struct span control;
    struct span message;
    struct buf old = copy_of(span_of(frame->at, frame->len));
    if (!saying_parts(span_of(old.at, old.len), &control, &message) || dice_one_in(d, 20)) {
        mutation_rough(d, frame);
    } else {
        const struct said said = corpus_said(d);
        const uint64_t other = dice_below(d, 8);
        buf_cut(frame, 0);
        put_spoilt(d, other == 0 ? said.control : control, other == 1 ? said.message : message,
                   frame);
    }
    buf_fini(&old);
}

bool saying_parts(struct span frame, struct span *control, struct span *message)
{
    if (frame.len < 3 || frame.at[0] != 112 || frame.at[1] != 131)
        return false;
    const struct span rest = span_of(frame.at + 2, frame.len - 2);
    const size_t n = term_check(rest);
    *control = span_of(rest.at, n);
    *message = span_of(NULL, 0);
    if (n == 0 || n == rest.len)
        return n > 0;
    *message = span_of(rest.at + n + 1, rest.len - n - 1);
    return rest.at[n] == 131 && term_check(*message) == message->len;
}
