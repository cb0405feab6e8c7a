#include "fuzz/saying.h"

#include "fuzz/corpus.h"
#include "fuzz/mutation.h"
#include "fuzz/target.h"

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

void saying_make(struct dice *d, saying_fill *fill, struct buf *frame)
{
    const struct said said = corpus_said(d);
    struct buf control = copy_of(said.control);
    struct buf message = copy_of(said.message);
    if (fill != NULL)
        fill(d, &control);
    if (fill != NULL && message.len > 0)
        fill(d, &message);
    spoil(d, &control, &message);
    const size_t start = frame->len;
    saying_put(span_of(control.at, control.len), span_of(message.at, message.len), frame);
    if (start == 0 && dice_one_in(d, 40))
        mutation_rough(d, frame);
    buf_fini(&control);
    buf_fini(&message);
}
