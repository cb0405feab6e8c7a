/* Frames and control messages of a connected peer; pure: bytes in, bytes out.
 *
 * A frame is `len:32, 112, 131, Control [, 131, Message]`; of length 0 it is a tick. */
#ifndef DIST_FRAME_H
#define DIST_FRAME_H

#include "sys/buf.h"
#include "sys/bytes.h"

enum {
    FRAME_HEAD_KEPT = 4096, /* of a frame that is too long */

    /* Control messages that carry a trace token, a payload or a sender are read as these, too. */
    FRAME_LINK = 1,
    FRAME_SEND = 2,
    FRAME_EXIT = 3,
    FRAME_UNLINK = 4,
    FRAME_NODE_LINK = 5,
    FRAME_REG_SEND = 6,
    FRAME_GROUP_LEADER = 7,
    FRAME_EXIT2 = 8,
    FRAME_MONITOR = 19,
    FRAME_DEMONITOR = 20,
    FRAME_MONITOR_EXIT = 21,
    FRAME_SEND_SENDER = 22,
    FRAME_PAYLOAD_EXIT = 24,
    FRAME_PAYLOAD_MONITOR_EXIT = 28,
    FRAME_SPAWN_REQUEST = 29,
    FRAME_SPAWN_REPLY = 31,
    FRAME_ALIAS_SEND = 33,
    FRAME_UNLINK_ID = 35,
    FRAME_UNLINK_ID_ACK = 36,
};

/* Where a stream of bytes stands between frames. All zero but `max`: at the first one. */
struct frame_cutter {
    size_t max;    /* bytes of a frame after its length */
    uint64_t skip; /* of a frame that was too long, still to be passed */
};

enum frame_cut {
    FRAME_NONE, /* nothing whole is there */
    FRAME_TICK,
    FRAME_WHOLE, /* *frame has its bytes after the length */
    FRAME_LONG   /* it is longer than max: *frame has its first bytes; the rest is passed over */
};

/* frame_next takes the next frame off the front of *in. The span points into *in. */
enum frame_cut frame_next(struct frame_cutter *c, struct span *in, struct span *frame);

/* frame_need: how many bytes must follow those of `in`, which begin with a frame that is not
 * whole, before frame_next can get on; at least 1, and never more than a frame may be. */
size_t frame_need(const struct frame_cutter *c, struct span in);

/* A control message. Terms are spans of raw bytes in the frame, empty where the op has none. */
struct control {
    int op;
    struct span from;          /* who does it: a pid; of MONITOR_EXIT a pid or a name */
    struct span to;            /* whom it concerns: a pid, a name, of ALIAS_SEND a reference */
    struct span ref;           /* of a monitor or a spawn request */
    struct span id;            /* of an unlink: an integer */
    struct span function;      /* of a spawn request: {Module, Function, Arity} */
    struct span spawn_options; /* a list */
    struct span reason;        /* of an exit, where the message does not carry it */
    bool carries;              /* a message or reason follows */
};

enum frame_read {
    FRAME_OK,
    FRAME_UNKNOWN, /* well formed, but no op that we know: to be ignored */
    FRAME_BAD      /* the peer breaks the protocol */
};

/* frame_control reads the control message of a frame, or of the head of one that is too long.
 * *rest is what follows it. */
enum frame_read frame_control(struct span frame, struct control *c, struct span *rest);

/* frame_message checks what follows the control message of a whole frame: exactly one term where
 * `c` carries one (its bytes without version in *message), nothing else. False: it is broken. */
bool frame_message(const struct control *c, struct span rest, struct span *message);

/* A frame to be sent: frame_begin, then the elements of the control tuple after the op as raw
 * bytes by buf_put, then for the ops that carry one frame_put_message and one term, then
 * frame_end. `arity` counts the op. frame_end is false where the buffer has failed: it is cut
 * back to where the frame began. */
size_t frame_begin(struct buf *out, uint8_t op, uint8_t arity);
void frame_put_message(struct buf *out);
bool frame_end(struct buf *out, size_t start);

/* A whole frame of one control message without payload; false as frame_end. */
bool frame_write(struct buf *out, uint8_t op, const struct span *elements, uint8_t n);

void frame_tick(struct buf *out);

/* The empty atom, which stands where an element has no use. */
struct span frame_unused(void);

#endif
