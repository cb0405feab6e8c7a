/* The remote shell of an operator (erl -remsh): a process of this node that talks to the group
 * leader of the client by the Erlang I/O protocol. It reads tokens, which the client makes, does
 * what they ask and prints the answer.
 *
 * Pure of sockets: what it says leaves by a port, what it hears comes in as terms. */
#ifndef SHELL_CONSOLE_H
#define SHELL_CONSOLE_H

#include "proto/server.h"

struct console;

/* How a console reaches the world; `arg` is the owner's. All spans are raw terms. */
struct console_port {
    /* One message to the group leader: begin, one term, end. Where it fails the connection ends. */
    struct buf *(*begin)(void *arg);
    void (*end)(void *arg);

    /* A request of the table, made by the console's operator; its reply comes by console_answer,
     * perhaps within this call. One at a time. */
    void (*request)(void *arg, struct span request);

    /* Nobody waits for that any more; console_answer is not called for it. */
    void (*cancel)(void *arg);

    /* The console is at its end: whoever is linked to it hears `normal`. The owner closes it, not
     * before the call that led here returns. */
    void (*leave)(void *arg);
};

/* console_open begins a console of a client. Nothing is said before console_start: the group leader
 * has linked to it then; if it does so again that changes nothing. `self` is the console's own pid;
 * it is copied. NULL without memory. console_close frees it; the port is not used any more. */
struct console *console_open(struct server *s, const struct console_port *port, void *arg,
                             struct span self);
void console_start(struct console *c);
void console_close(struct console *c);

/* A message to the console's process; the reply of a request; the exit signal `interrupt`, by which
 * ^C comes while nothing is read: it ends what is under way, not the console. */
void console_message(struct console *c, struct span message);
void console_answer(struct console *c, struct span reply);
void console_interrupt(struct console *c);

/* What TAB offers: the answer to edlin_expand:expand of the text before the cursor, which comes
 * reversed: {yes | no, Expansion, Matches} is appended. For a list that is none: {no, [], []}. */
void console_expand(struct server *s, struct span reversed, struct buf *out);

#endif
