/* One peer on the loop: bytes in, frames to the actor, answers out, ticks, limits, back-pressure.
 *
 * All connections of a node share a hub: a buffer for reading, the list of those with something to
 * send. What they produce within one turn of the loop leaves by one write each, at its end. */
#ifndef DIST_CONN_H
#define DIST_CONN_H

#include <uv.h>

#include "dist/actor.h"
#include "dist/frame.h"
#include "dist/handshake.h"
#include "dist/self.h"
#include "proto/server.h"

struct conn;

struct conn_limits {
    size_t max_frame;
    uint32_t max_processes;     /* that a peer has spawned at once */
    size_t max_unsent;          /* bytes; beyond them the peer's requests are not read */
    uint64_t unsent_timeout;    /* ms without progress then */
    uint64_t handshake_timeout; /* ms for all of it */
};

/* What a connection tells its node; `tag` is what conn_accept was given. */
struct conn_events {
    /* The peer has proved who it is. False: it is not wanted, and the connection is closed. */
    bool (*authenticated)(void *tag);
    /* It is gone, for whatever reason; `authenticated` may have come before or not. */
    void (*closed)(void *tag, const char *why);
};

struct conn_hub {
    uv_loop_t *loop;
    struct server *server;
    struct self *self;
    struct handshake_self handshake;
    struct conn_limits limits;
    const struct conn_events *events;

    struct processes processes;
    struct buf inward;  /* an answer on its way to a process of ours */
    struct conn *dirty; /* with something to send */
    struct conn *rests; /* that go on in the next turn */
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_idle_t turn;
    uint64_t slice_ns; /* of a turn, for each peer that has much to do */
    uint8_t *room;     /* where connections without a part of a frame read to */
};

/* The caller has filled in everything above `processes`, which stays as it is. False: no memory.
 * conn_hub_close takes the hub off the loop once all connections are closed; conn_hub_free is for
 * when the loop has run. */
bool conn_hub_open(struct conn_hub *hub);
void conn_hub_close(struct conn_hub *hub);
void conn_hub_free(struct conn_hub *hub);

/* conn_accept begins with a connected socket, which it takes over, also on failure. NULL: it
 * cannot; *bad is libuv's error. */
struct conn *conn_accept(struct conn_hub *hub, int socket, void *tag, int *bad);

/* conn_close ends it at once: what the peer owned is undone and `closed` called before this
 * returns; c frees itself later. Never from within the engine. */
void conn_close(struct conn *c, const char *why);

/* conn_stop reads no more requests. conn_finish then sends what there is, and closes. */
void conn_stop(struct conn *c);
void conn_finish(struct conn *c);

/* The peer's name; "" until it has given one. */
const char *conn_peer(const struct conn *c);

#endif
