/* This node among the others: it listens, is known to epmd, and keeps the set of its peers. */
#ifndef DIST_NODE_H
#define DIST_NODE_H

#include "dist/conn.h"
#include "dist/name.h"

struct node;

struct node_options {
    const struct name *name;
    const struct cookies *cookies;
    struct in_addr listen;
    uint16_t port; /* 0: any */
    uint16_t epmd_port;
    uint64_t max_half_open;   /* connections in their handshake */
    uint64_t max_connections; /* that have come through it */
    struct conn_limits limits;
};

struct node_events {
    void (*ready)(void *arg, uint16_t port);    /* registered; once */
    void (*taken)(void *arg);                   /* the name is in use */
    void (*failed)(void *arg, const char *why); /* it cannot go on */
    void (*closed)(void *arg);                  /* after node_close: all has been sent */
};

/* node_open listens and begins to register. Options and what they point to must outlive it.
 * NULL: `why` has the reason. */
struct node *node_open(uv_loop_t *loop, struct server *server, const struct node_options *options,
                       const struct node_events *events, void *arg, char why[NAME_WHY]);

/* node_stop accepts nobody and reads nothing any more. node_close then sends what has been
 * answered, closes all connections, leaves epmd and calls `closed`. node_free, once the loop has
 * run down. */
void node_stop(struct node *n);
void node_close(struct node *n);
void node_free(struct node *n);

#endif
