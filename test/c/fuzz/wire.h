/* A connection without a socket: it does with frames what dist/conn.c does, and what would leave is
 * looked at: each frame must be sound, each request that was sound must be answered. */
#ifndef FUZZ_WIRE_H
#define FUZZ_WIRE_H

#include "dist/actor.h"
#include "fuzz/dice.h"
#include "fuzz/small.h"

enum {
    WIRE_FRAME_MOST = SMALL_FRAME, /* what is longer is read as too long */
    WIRE_UNSENT_MOST = 256 * 1024,
    WIRE_HEARD = 16,
};

/* What all connections of a node share. */
struct wire_hub {
    struct processes processes;
    struct self self;
    struct buf inward;
};

/* A term that we were told. */
struct heard {
    size_t len;
    uint8_t bytes[64];
};

enum heard_kind { HEARD_PID, HEARD_REF, HEARD_ID, HEARD_KINDS };

struct wire {
    struct wire_hub *hub;
    struct client *client;
    struct actor actor;
    struct buf out, aside;
    size_t message;
    bool composing, inward, broken;
    uint64_t answer;
    uint64_t pings, pongs;
    uint64_t answers; /* messages heard */
    uint64_t signals; /* other frames */
    struct heard heard[HEARD_KINDS][WIRE_HEARD];
    uint64_t heard_count[HEARD_KINDS];
};

void wire_hub_open(struct wire_hub *hub, struct server *server);
void wire_hub_close(struct wire_hub *hub);

void wire_open(struct wire *w, struct wire_hub *hub, const char *peer);
void wire_close(struct wire *w);

/* What follows a frame's length. After it the wire may be `broken`, and is to be closed. */
void wire_frame(struct wire *w, struct span frame);

/* wire_ping asks `emmap` for a pong, which must have come by the next wire_flush. */
void wire_ping(struct wire *w);

/* wire_flush looks at what is to be sent, and forgets it. */
void wire_flush(struct wire *w);
bool wire_is_full(const struct wire *w);

/* Any of the last of its kind; empty: there was none. */
struct span wire_heard(struct wire *w, enum heard_kind kind, struct dice *d);

#endif
