/* What is told of the daemon, of its kinds of objects, its peers and its objects: the same by info,
 * list, clients and metrics. Times are in the unit of their name. */
#ifndef PROTO_FIGURES_H
#define PROTO_FIGURES_H

#include "proto/entry.h"

struct node_figures {
    uint64_t uptime_ms, objects, clients;
    uint64_t rss, mapped, fds; /* bytes, bytes, descriptors */
    uint64_t loop_lag_us;
    uint64_t workers_running, workers_waiting; /* jobs */
    uint64_t ignored;                          /* messages that were no requests */
};

/* Of all objects of a kind; the counts since the daemon began, also of those that are closed. */
struct kind_figures {
    struct stats stats;
    uint64_t ops;
    uint64_t objects, size, handles, waiting, in_flight;
    uint64_t items, ready, leased, delayed, buried; /* of queues */
};

struct client_figures {
    const char *node;
    const struct stats *stats;
    uint64_t ops, bytes_in, bytes_out, since_ms, idle_ms;
    uint64_t handles, leases, waiting, in_flight, subscribers;
};

struct object_figures {
    const char *name;
    enum object_kind kind;
    const struct stats *stats;
    uint64_t ops, size, count, handles, waiting, in_flight, idle_ms, read_only;
    uint64_t detached;
    uint64_t block_size, blocks, free;              /* of a block store */
    uint64_t queue_waiting, subscribers, oldest_ms; /* of a queue */
    struct queue_info queue;
};

/* figures_of_node looks at each object, too. */
void figures_of_node(struct server *s, struct node_figures *f);

/* For each of its kinds, FIGURES_KINDS by number; as the objects were looked at last. */
enum { FIGURES_KINDS = OBJECT_QUEUE + 1 };
void figures_of_kinds(const struct server *s, struct kind_figures f[FIGURES_KINDS]);

void figures_of_client(const struct client *c, struct client_figures *f);

/* What the object is now, or was where a worker has it. */
void figures_of_object(struct entry *e, struct object_figures *f);

#endif
