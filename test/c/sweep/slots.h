/* What a block store must be: of each address which block is there, and what it has been since the
 * last durable point; whether its bit is set. */
#ifndef SWEEP_SLOTS_H
#define SWEEP_SLOTS_H

#include "store/block.h"
#include "sweep/model.h"

enum { SLOTS = 164, SLOTS_MADE = 128, SLOTS_TEMPTED = 96, SLOT_LONGEST = 1024 };

/* The values of an address; all others stand for blocks, whose bytes follow from them. */
enum { SLOT_FREE, SLOT_TORN, SLOT_BLOCK };

struct slot {
    struct history history;
    bool bit;
    /* The file once ended before it, or within it: so it may begin with what was there. */
    bool remnant;
    /* Of what is torn, and may be completed by what is stored over it until a sync ends that. */
    uint64_t tempted[SLOTS_TEMPTED];
    unsigned n_tempted;
};

struct slots {
    uint32_t size; /* of a block */
    uint64_t now;
    uint64_t capacity, durable_capacity;
    uint64_t last; /* block that was stored */
    bool op_on;    /* something is under way, that began at op_time */
    uint64_t op_time;
    uint64_t storing; /* at this address; SLOTS: nowhere */
    bool over_torn;   /* there what was torn is stored over */
    struct slot slots[SLOTS];
};

void slots_init(struct slots *s, uint32_t size);

/* How long the file may become: whole sectors, for SLOTS_MADE slots or as many as DISK_CAP has room
 * for. */
uint32_t slots_file_most(uint32_t size);

uint64_t slots_value(const struct slots *s, uint64_t a);
bool slots_whole(const struct slots *s, uint64_t a);
uint64_t slots_used(const struct slots *s); /* by the bits */

bool slots_have_free(const struct slots *s); /* one that can be stored at now */

/* Is there room for the versions of one more operation? */
bool slots_have_room(const struct slots *s);

void slots_begin(struct slots *s);
void slots_end(struct slots *s);
void slots_change(struct slots *s, uint64_t a, uint64_t value);

/* The bytes of a block, until the next call. Some differ in a few words only. */
const uint8_t *slots_bytes(const struct slots *s, uint64_t value);

/* The file was cut by somebody: there are only so many slots. */
void slots_cut(struct slots *s, uint64_t capacity);

/* All until this time is durable, and the file is at least so long. */
void slots_durable(struct slots *s, uint64_t time, uint64_t capacity);

/* slots_refuse says what is wrong with the open store of an image; NULL for nothing. It reads and
 * repairs. slots_refuse_damaged: of one that was damaged, there may be less,
 * and what is torn may have become whole. slots_become: that is
 * what there is; the store is as it was. */
const char *slots_refuse(const struct slots *s, struct object *o, bool killed);
const char *slots_refuse_damaged(const struct slots *s, struct object *o);
const char *slots_become(struct slots *s, struct object *o, bool power);

#endif
