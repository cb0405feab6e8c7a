/* Operations on a block store under test, each held against what it must be. */
#ifndef SWEEP_STORE_H
#define SWEEP_STORE_H

#include "sweep/slots.h"

struct store {
    struct object *live;
    struct slots slots;
};

enum store_op { STORE, STORE_MANY, READ, FREE, GROW, WALK, REPAIR_PIECE, DRY_RUN, STORE_OPS };

/* A store that has failed in it gives ERR_EIO, and is to be opened again. */
void store_do(struct store *s, enum store_op op);

/* Does the live store tell what the model has? It changes nothing. */
void store_compare(struct store *s);

#endif
