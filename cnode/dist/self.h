/* Who this node is on the wire: its name and creation, and the pids and references made of them. */
#ifndef DIST_SELF_H
#define DIST_SELF_H

#include "sys/bytes.h"

enum {
    SELF_NAME_MAX = 255,                                    /* bytes: our own name is ASCII */
    SELF_PID_BYTES = 1 + 2 + SELF_NAME_MAX + 12,            /* tag, atom, id, serial, creation */
    SELF_REF_BYTES = 1 + 2 + 2 + SELF_NAME_MAX + 4 + 3 * 4, /* tag, words, atom, creation, id */
};

struct self {
    char name[SELF_NAME_MAX + 1];
    uint32_t creation; /* of this life; at least 4, as epmd would give */
    uint32_t last_id;  /* of a process that was asked to be spawned */
};

/* The processes that are always there. Behind those that were asked to be spawned, which end at
 * once, are the registered queues (PROCESS_FIRST_QUEUE). */
enum {
    SELF_EMMAP = 1,
    SELF_NET_KERNEL = 2,
    SELF_REX = 3,
    SELF_FIRST_SPAWNED = 16,
    SELF_LAST_SPAWNED = (1 << 20) - 1
};

/* self_init takes a random number for the creation. The name has been checked. */
void self_init(struct self *s, const char *name, uint32_t random);

/* self_new_id numbers a process that answers a spawn request. */
uint32_t self_new_id(struct self *s);

/* The bytes of a term in the buffer given, which has SELF_PID_BYTES or SELF_REF_BYTES. */
struct span self_pid(const struct self *s, uint32_t id, uint8_t *to);
struct span self_ref(const struct self *s, uint64_t number, uint8_t *to);

/* Is this pid (this reference) one of ours, of this life? The bytes have passed term_check. */
bool self_is_pid(const struct self *s, struct span pid, uint32_t *id);
bool self_is_ref(const struct self *s, struct span ref, uint64_t *number);

/* The node's name in the bytes of a pid, in any of its forms; empty where it is none. */
struct span self_node_of_pid(struct span pid);

#endif
