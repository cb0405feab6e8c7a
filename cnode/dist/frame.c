#include "dist/frame.h"

#include <ei.h>

#include "proto/term.h"

enum { LENGTH = 4, PASS_THROUGH = 112, VERSION = 131 };

/* What each control message holds after its op, a letter an element:
 * f from, a pid      F from, a pid or a name   t to, a pid   n to, a name   T to, a pid or a name
 * a to, a reference  r reference               i id          m function     o list of options
 * e reason of an exit                        - any term that is not looked at. `as` is the op that
 * it is read as. */
static const struct shape {
    uint8_t op;
    uint8_t as;
    const char *elements;
    bool carries;
} shapes[] = {
    {FRAME_LINK, FRAME_LINK, "ft", false},
    {FRAME_SEND, FRAME_SEND, "-t", true},
    {FRAME_EXIT, FRAME_EXIT, "fte", false},
    {FRAME_UNLINK, FRAME_UNLINK, "ft", false},
    {FRAME_NODE_LINK, FRAME_NODE_LINK, "", false},
    {FRAME_REG_SEND, FRAME_REG_SEND, "f-n", true},
    {FRAME_GROUP_LEADER, FRAME_GROUP_LEADER, "ft", false},
    {FRAME_EXIT2, FRAME_EXIT2, "fte", false},
    {12, FRAME_SEND, "-t-", true},
    {13, FRAME_EXIT, "ft-e", false},
    {16, FRAME_REG_SEND, "f-n-", true},
    {18, FRAME_EXIT2, "ft-e", false},
    {FRAME_MONITOR, FRAME_MONITOR, "fTr", false},
    {FRAME_DEMONITOR, FRAME_DEMONITOR, "fTr", false},
    {FRAME_MONITOR_EXIT, FRAME_MONITOR_EXIT, "Ftr-", false},
    {22, FRAME_SEND, "ft", true},
    {23, FRAME_SEND, "ft-", true},
    {24, FRAME_EXIT, "ft", true},
    {25, FRAME_EXIT, "ft-", true},
    {26, FRAME_EXIT2, "ft", true},
    {27, FRAME_EXIT2, "ft-", true},
    {28, FRAME_MONITOR_EXIT, "Ftr", true},
    {FRAME_SPAWN_REQUEST, FRAME_SPAWN_REQUEST, "rf-mo", true},
    {30, FRAME_SPAWN_REQUEST, "rf-mo-", true},
    {FRAME_SPAWN_REPLY, FRAME_SPAWN_REPLY, "rt--", false},
    {32, FRAME_SPAWN_REPLY, "rt---", false},
    {FRAME_ALIAS_SEND, FRAME_ALIAS_SEND, "fa", true},
    {34, FRAME_ALIAS_SEND, "fa-", true},
    {FRAME_UNLINK_ID, FRAME_UNLINK_ID, "ift", false},
    {FRAME_UNLINK_ID_ACK, FRAME_UNLINK_ID_ACK, "ift", false},
};

static const struct shape *shape_of(int64_t op)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (shapes[i].op == op)
            return &shapes[i];
    return NULL;
}

static struct span span_after(struct span s, size_t n)
{
    return span_of(s.at + n, s.len - n);
}

static bool pass_skipped(struct frame_cutter *c, struct span *in)
{
    size_t n = c->skip < in->len ? (size_t)c->skip : in->len;
    *in = span_after(*in, n);
    c->skip -= n;
    return c->skip == 0;
}

enum frame_cut frame_next(struct frame_cutter *c, struct span *in, struct span *frame)
{
    if (!pass_skipped(c, in) || in->len < LENGTH)
        return FRAME_NONE;
    const size_t len = get_be32(in->at);
    const bool is_long = len > c->max;
    const size_t keep = is_long && len > FRAME_HEAD_KEPT ? FRAME_HEAD_KEPT : len;
    if (in->len - LENGTH < keep)
        return FRAME_NONE;
    *frame = span_of(in->at + LENGTH, keep);
    *in = span_after(*in, LENGTH + keep);
    c->skip = len - keep;
    return len == 0 ? FRAME_TICK : is_long ? FRAME_LONG : FRAME_WHOLE;
}

size_t frame_need(const struct frame_cutter *c, struct span in)
{
    if (c->skip > 0 || in.len < LENGTH)
        return 1;
    size_t len = get_be32(in.at);
    if (len > c->max && len > FRAME_HEAD_KEPT)
        len = FRAME_HEAD_KEPT;
    return LENGTH + len > in.len ? LENGTH + len - in.len : 1;
}

static bool is_pid(int tag)
{
    return tag == ERL_NEW_PID_EXT || tag == ERL_PID_EXT;
}

static bool is_name(int tag)
{
    return tag == ERL_ATOM_EXT || tag == ERL_SMALL_ATOM_EXT || tag == ERL_ATOM_UTF8_EXT ||
           tag == ERL_SMALL_ATOM_UTF8_EXT;
}

static bool is_reference(int tag)
{
    return tag == ERL_NEWER_REFERENCE_EXT || tag == ERL_NEW_REFERENCE_EXT ||
           tag == ERL_REFERENCE_EXT;
}

static bool is_integer(int tag)
{
    return tag == ERL_SMALL_INTEGER_EXT || tag == ERL_INTEGER_EXT || tag == ERL_SMALL_BIG_EXT;
}

static bool is_list(int tag)
{
    return tag == ERL_LIST_EXT || tag == ERL_NIL_EXT;
}

/* Where the element of this letter goes; NULL where its kind does not fit the letter. */
static struct span *place_of(char letter, int tag, struct control *c, struct span *unseen)
{
    switch (letter) {
    case 'f': return is_pid(tag) ? &c->from : NULL;
    case 'F': return is_pid(tag) || is_name(tag) ? &c->from : NULL;
    case 't': return is_pid(tag) ? &c->to : NULL;
    case 'n': return is_name(tag) ? &c->to : NULL;
    case 'T': return is_pid(tag) || is_name(tag) ? &c->to : NULL;
    case 'a': return is_reference(tag) ? &c->to : NULL;
    case 'r': return is_reference(tag) ? &c->ref : NULL;
    case 'i': return is_integer(tag) ? &c->id : NULL;
    case 'm': return &c->function;
    case 'o': return is_list(tag) ? &c->spawn_options : NULL;
    case 'e': return &c->reason;
    default: return unseen;
    }
}

static enum frame_read read_elements(struct term *t, int arity, struct control *c)
{
    if (arity < 1)
        return FRAME_BAD;
    const int64_t op = term_int64(t);
    const struct shape *shape = shape_of(op);
    if (t->bad)
        return FRAME_BAD;
    if (shape == NULL)
        return FRAME_UNKNOWN;
    if ((size_t)arity != 1 + strlen(shape->elements))
        return FRAME_BAD;
    c->op = shape->as;
    c->carries = shape->carries;
    for (const char *letter = shape->elements; *letter != '\0'; letter++) {
        struct span unseen;
        struct span *place = place_of(*letter, term_tag(t), c, &unseen);
        if (place == NULL)
            return FRAME_BAD;
        *place = term_any(t);
    }
    return FRAME_OK;
}

enum frame_read frame_control(struct span frame, struct control *c, struct span *rest)
{
    if (frame.len < 2 || frame.at[0] != PASS_THROUGH || frame.at[1] != VERSION)
        return FRAME_BAD;
    const struct span terms = span_after(frame, 2);
    const size_t len = term_check(terms);
    if (len == 0)
        return FRAME_BAD;
    *c = (struct control){0};
    *rest = span_after(terms, len);
    struct term t = term_in(span_of(terms.at, len));
    const int arity = term_tuple(&t);
    return t.bad ? FRAME_BAD : read_elements(&t, arity, c);
}

bool frame_message(const struct control *c, struct span rest, struct span *message)
{
    *message = span_of(NULL, 0);
    if (!c->carries)
        return rest.len == 0;
    if (rest.len < 2 || rest.at[0] != VERSION)
        return false;
    *message = span_after(rest, 1);
    return term_check(*message) == message->len;
}

size_t frame_begin(struct buf *out, uint8_t op, uint8_t arity)
{
    const size_t start = out->len;
    const uint8_t head[] = {
        0, 0, 0, 0, PASS_THROUGH, VERSION, ERL_SMALL_TUPLE_EXT, arity, ERL_SMALL_INTEGER_EXT, op};
    buf_put(out, head, sizeof head);
    return start;
}

void frame_put_message(struct buf *out)
{
    const uint8_t version = VERSION;
    buf_put(out, &version, 1);
}

bool frame_end(struct buf *out, size_t start)
{
    const size_t len = out->len - start;
    if (out->failed || len < LENGTH || len - LENGTH > UINT32_MAX) {
        buf_cut(out, start);
        return false;
    }
    put_be32(out->at + start, (uint32_t)(len - LENGTH));
    return true;
}

bool frame_write(struct buf *out, uint8_t op, const struct span *elements, uint8_t n)
{
    const size_t start = frame_begin(out, op, (uint8_t)(n + 1));
    for (uint8_t i = 0; i < n; i++)
        buf_put(out, elements[i].at, elements[i].len);
    return frame_end(out, start);
}

void frame_tick(struct buf *out)
{
    const uint8_t tick[LENGTH] = {0};
    buf_put(out, tick, sizeof tick);
}

struct span frame_unused(void)
{
    static const uint8_t empty[] = {ERL_SMALL_ATOM_UTF8_EXT, 0};
    return span_of(empty, sizeof empty);
}
