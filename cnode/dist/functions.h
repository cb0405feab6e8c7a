/* What tools ask of any node: functions of the modules erlang, application, code, net_kernel, sys,
 * os, answered for this one. */
#ifndef DIST_FUNCTIONS_H
#define DIST_FUNCTIONS_H

#include "dist/actor.h"
#include "proto/mfa.h"

enum functions_run {
    FUNCTIONS_NONE,    /* there is no such function */
    FUNCTIONS_VALUE,   /* out has its value */
    FUNCTIONS_RAISE,   /* out has the reason of the error that it raises, */
    FUNCTIONS_EXIT,    /* of its exit */
    FUNCTIONS_REQUEST, /* out has a request; its reply is the value */
};

/* functions_run runs the function for the peer of an actor. *status_of: the reply is the state of
 * this process, and the value what sys:get_status gives. */
enum functions_run functions_run(struct actor *a, const struct mfa *f, uint32_t *status_of,
                                 struct buf *out);

/* The request that tells the state of a process; false: it has none. */
bool functions_state(struct actor *a, uint32_t process, struct buf *request);

/* Is there any function of this module? An atom, raw. */
bool functions_have_module(struct span module);

#endif
