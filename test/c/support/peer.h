/* The engine with a loop and a directory of its own, tended as by a hub, and peers that talk to it.
 * A peer stands where dist/ does: it hands messages in and keeps those that come back. */
#ifndef SUPPORT_PEER_H
#define SUPPORT_PEER_H

#include "proto/server.h"
#include "support/terms.h"

struct host {
    uv_loop_t loop;
    uv_prepare_t before_waiting;
    uv_idle_t awake;
    char *dir;
    struct server_options options;
    struct server *server;
    bool stopped;
};

struct message {
    struct message *next;
    bool to_alias;
    size_t len;
    uint8_t bytes[];
};

struct peer {
    struct host *host;
    struct client *client;
    struct buf out; /* the message under construction */
    bool to_alias;
    struct message *first, **last;
    uint64_t next_ref;
    uint32_t pid;                    /* the number of the process that calls; 1 */
    uint64_t monitored, demonitored; /* numbers, the last of each; 0: none */
    bool is_full;                    /* it does not read what it is sent */
    uint32_t ended;                  /* the last process of the server's that has; 0: none */
    char reason[64];
};

/* Options may be changed in between. */
void host_init(struct host *h);
void host_open(struct host *h);
void host_close(struct host *h); /* every peer has gone before */

/* The server only, in order; host_open goes on. The same in two steps: between them peers may go,
 * and the loop be run until `stopped`. */
void host_stop(struct host *h);
void host_begin_stop(struct host *h);
void host_end_stop(struct host *h);

void peer_open(struct peer *p, struct host *h, const char *node);
void peer_close(struct peer *p);

/* The raw bytes of a pid, of a reference with this number. */
struct span peer_pid(uint32_t number);
struct span peer_ref(uint64_t number);

/* ask makes a gen_server call of the request (as make_term reads it) and waits for its reply, as
 * text. ask_term: the request as bytes. */
const char *ask(struct peer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *ask_term(struct peer *p, struct span request);

/* The reply in the answer {Tag, Reply} to a call, as text. */
const char *reply_of(const struct message *m);

/* The number behind `ok` in the reply of an opening; fails the test for any other. */
uint64_t opened(const char *reply);

/* tell hands a message in as it is. */
void tell(struct peer *p, struct span message);

/* tell_envelope: {'$emmap', Lane, 5, [{Pid, Ref, Request}]}. */
struct enveloped {
    struct span request;
    uint64_t ref; /* the number of the reference; 0: a cast, with [] for it */
};
void tell_envelope(struct peer *p, const struct enveloped *requests, uint32_t n);

/* call hands a call in and does not wait; hear gives the next message, waiting for it. */
void call(struct peer *p, struct span request);
void call_process(struct peer *p, uint32_t process, struct span request);
struct message *hear(struct peer *p);

/* What hear gives, a reply, as text. */
const char *heard(struct peer *p);

/* Runs the loop once without waiting; is there a message? */
bool anything(struct peer *p);

void is(const char *seen, const char *expected);

#endif
