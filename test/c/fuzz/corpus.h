/* Real messages to begin from: what nodes send, each kind of it at least once. */
#ifndef FUZZ_CORPUS_H
#define FUZZ_CORPUS_H

#include "fuzz/dice.h"
#include "sys/bytes.h"

/* A control message, and what it carries; empty where it carries nothing. */
struct said {
    struct span control;
    struct span message;
};

void corpus_open(void);
void corpus_close(void);

/* Any one of them. A term is one of each kind there is, a request, a message, or a part of one. */
struct said corpus_said(struct dice *d);
struct span corpus_term(struct dice *d);
struct span corpus_part(struct dice *d);
struct span corpus_request(struct dice *d);

/* Module, function and a list of arguments, as three terms one behind the other. */
struct span corpus_function(struct dice *d);

/* The tokens of a line typed at a console, and what a request of it may be answered. */
struct span corpus_line(struct dice *d);
struct span corpus_reply(struct dice *d);

/* What the calling side says in a handshake, message behind message. */
struct span corpus_greeting(struct dice *d);

#endif
