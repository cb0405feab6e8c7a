/* A call of a function as peers ask for it: module, name, and arguments in any form of a list. */
#ifndef PROTO_MFA_H
#define PROTO_MFA_H

#include "proto/term.h"

struct mfa {
    struct span module; /* atoms, raw */
    struct span name;
    struct span args; /* the list as it came */
    int arity;
    struct span elements; /* of the list, one behind the other */
    struct buf expanded;  /* where they stand when it came as a string */
};

/* mfa_read reads three terms, which must outlive f. False: module or name is no atom, or args is
 * no proper list, or there is no memory. mfa_fini either way. */
bool mfa_read(struct mfa *f, struct span module, struct span name, struct span args);
void mfa_fini(struct mfa *f);

/* The arguments, to be read in order. */
struct term mfa_args(const struct mfa *f);

/* Is it a function of this module, of this name? */
bool mfa_is(const struct mfa *f, const char *module, const char *name);

#endif
