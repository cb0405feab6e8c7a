/* Our entry in epmd, the host's directory of Erlang nodes. It lasts as long as the connection, so
 * the connection is kept and watched, and made anew whenever epmd comes back. */
#ifndef DIST_EPMD_H
#define DIST_EPMD_H

#include <uv.h>

#include "sys/bytes.h"

struct epmd;

struct epmd_events {
    void (*registered)(void *arg); /* once, the first time */
    void (*taken)(void *arg);      /* the first time it was refused: the name is in use */
    void (*failed)(void *arg, const char *why); /* the first time it could not be done at all */
};

/* epmd_start starts one where none listens at 127.0.0.1:epmd_at, and waits until it has gone its
 * own way; before the loop runs, and before this process may start no program any more. False:
 * there is none, and none can be started, `why` says why not. */
enum { EPMD_WHY = 256 };
bool epmd_start(uint16_t epmd_at, char why[EPMD_WHY]);

/* epmd_open begins to register `alive` (the part of the name before the @) as a hidden node that
 * listens at `port`. After `taken` or `failed` nothing more is tried. NULL without memory. `alive`
 * must outlive it. */
struct epmd *epmd_open(uv_loop_t *loop, uint16_t epmd_at, const char *alive, uint16_t port,
                       const struct epmd_events *events, void *arg);

/* epmd_close takes the entry out and frees e once the loop has run its handles down. */
void epmd_close(struct epmd *e);

/* The request that registers, and what its answer says. Pure. */
enum { EPMD_REQUEST_MAX = 2 + 13 + 255 };
size_t epmd_request(const char *alive, uint16_t port, uint8_t to[EPMD_REQUEST_MAX]);

enum epmd_answer { EPMD_MORE, EPMD_ACCEPTED, EPMD_REFUSED, EPMD_NONSENSE };
enum epmd_answer epmd_answer(struct span bytes);

/* Where epmd listens as ERL_EPMD_PORT tells: 4369 where the text is NULL; 0 where it is no port. */
uint16_t epmd_port(const char *text);

#endif
