/* The requests of all peers and what they own. dist/ brings checked messages and takes replies;
 * sockets, frames and control messages are its own affair. PROTOCOL.md has the messages.
 *
 * One loop thread calls everything here. */
#ifndef PROTO_SERVER_H
#define PROTO_SERVER_H

#include <uv.h>

#include "sys/buf.h"
#include "sys/bytes.h"
#include "sys/err.h"

struct server;
struct client;

struct server_options {
    const char *node;           /* our full node name, for info */
    const char *version;        /* "1.0.0" */
    const char *data_dir;       /* relative names are beneath it; absolute path, exists */
    const char *const *allowed; /* absolute prefixes; NULL-terminated */
    bool any_file_system;       /* also network file systems and such */
    uint64_t journal_size;      /* of a half of it */
    bool adopts_journals;       /* that nobody holds, to open files that they have changes of */
    uint64_t max_objects;       /* open at the same time */
    uint64_t max_object_bytes;  /* of the file or memory of one */
    uint64_t max_mapped;        /* of all of them */
    uint64_t max_handles;       /* of one client */
    uint64_t max_pending;       /* requests of one client that wait in lines */
    uint64_t max_pending_bytes; /* and their bytes; one request is always admitted */
    uint64_t max_leases;        /* items that one client holds, or may be given as credit */
    uint64_t max_waiting;       /* requests of one client that wait for items */
    uint64_t max_subscribers;   /* of one client */
    uint64_t max_all_handles;   /* the same of all clients together */
    uint64_t max_all_pending;
    uint64_t max_all_pending_bytes;
    uint64_t max_all_leases;
    uint64_t max_all_waiting;
    uint64_t max_all_subscribers;
    uint64_t max_frame; /* a reply, too, fits a frame */

    /* Of others, who see to them: told by info. */
    uint64_t max_unsent, max_half_open, max_connections, max_processes, reserve_fds;
};

/* What the engine needs of a connection. All are called on the loop thread, for a client that is
 * open, within a call into the engine or later (an answer that had to wait). */
struct outlet {
    /* begin starts a message to a pid or an alias: `to` holds the raw bytes of a pid (answered by
     * SEND) or of a reference (answered by ALIAS_SEND). The buffer returned already ends with the
     * message's version byte; the engine appends one term, then calls end. undo takes all bytes
     * since begin back. Bytes leave the process some time after end, several messages at once. */
    struct buf *(*begin)(void *conn, struct span to);
    void (*end)(void *conn);
    void (*undo)(void *conn);

    /* monitor watches a process of the peer under a number of the engine's: its end is told by
     * client_down, once, unless demonitor came before. */
    void (*monitor)(void *conn, struct span pid, uint64_t number);
    void (*demonitor)(void *conn, struct span pid, uint64_t number);

    /* A process of ours (server_process) has ended: `reason` is a raw term. Whoever of the peer
     * has linked to it or monitors it is to hear that. */
    void (*ended)(void *conn, uint32_t process, struct span reason);

    /* Is less unsent than may be? If not, client_has_room follows once it is. */
    bool (*has_room)(void *conn);

    /* Bytes read from and written to the peer so far. */
    void (*traffic)(void *conn, uint64_t *in, uint64_t *out);
};

/* server_open replays what an earlier daemon has left in the journal. It fails where the data
 * directory or an allowed prefix cannot be opened, memory is out, or the journal is damaged: `why`
 * says where then, else it is "". The options' strings must outlive the server. */
enum { SERVER_WHY = 400 };
enum err server_open(uv_loop_t *loop, const struct server_options *options, struct server **opened,
                     char why[SERVER_WHY]);

/* server_tend gives out what those who wait for items can have now: whoever sends the answers calls
 * it before the loop waits. server_has_more: something is left for the next turn, so that the loop
 * must not wait. */
void server_tend(struct server *s);
bool server_has_more(const struct server *s);

/* server_stop begins the orderly end: lines are finished, objects written back and closed, then
 * `stopped` is called. Answers of requests that were under way are sent before. */
void server_stop(struct server *s, void (*stopped)(void *arg), void *arg);

/* server_close frees everything; only after `stopped`, or where nothing has run yet. */
void server_close(struct server *s);

/* A peer has connected and authenticated; `node` is its name. NULL without memory. */
struct client *client_open(struct server *s, struct span node, const struct outlet *outlet,
                           void *conn);

/* The peer is gone: its handles are closed, what waits for it is forgotten. The outlet is not
 * called any more. */
void client_close(struct client *c);

/* Processes of ours, by number: `emmap`, and those of registered queues, whose numbers are never
 * used again. client_process: 0 where nobody has this name (raw bytes of an atom).
 * client_has_process: is it there (still)? */
enum { PROCESS_EMMAP = 1, PROCESS_FIRST_QUEUE = 1 << 20 };
uint32_t client_process(const struct client *c, struct span name);
bool client_has_process(const struct client *c, uint32_t process);

/* Each process of a registered queue; by what the engine is asked for its state, and so many of its
 * requests wait. False: there is no such process. */
void server_each_process(const struct server *s,
                         void (*each)(void *arg, uint32_t process, const char *name), void *arg);
bool server_state_request(const struct server *s, uint32_t process, struct buf *request);
uint64_t server_process_waiting(struct server *s, uint32_t process);

const char *server_version(const struct server *s);

/* client_watch: the peer links to a process that is there, or monitors it; a queue is opened then.
 * False: it has ended already, with `eio`. */
bool client_watch(struct client *c, uint32_t process);

/* A message to a process of ours, without version byte, that has passed term_check. Whatever is no
 * request of PROTOCOL.md is counted and ignored. The span is good during the call. */
void client_message(struct client *c, uint32_t process, struct span message);

/* client_is_behind: the last message asked for so much that the rest of it is left for the turns to
 * come. What follows it is handed in when client_go_on, once a turn, has done that. */
bool client_is_behind(const struct client *c);
void client_go_on(struct client *c);

/* client_pause_ms: so long nothing more of this client is to be handed in, for it has looked at all
 * objects or peers more often than there is time for beside others. */
uint64_t client_pause_ms(const struct client *c);

/* A message that was longer than a frame may be: its first bytes, cut anywhere. The caller gets
 * {error, {limit, max_frame}} where these tell who it is. */
void client_too_long(struct client *c, struct span head);

/* The peer has taken back the monitor of a call (DEMONITOR): raw bytes of its reference. What
 * still waits under that reference leaves its line. */
void client_demonitor(struct client *c, struct span ref);

/* has_room is true again. */
void client_has_room(struct client *c);

/* The process that the engine monitors under this number has ended. */
void client_down(struct client *c, uint64_t number);

#endif
