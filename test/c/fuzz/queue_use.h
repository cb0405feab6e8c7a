/* A queue in the file in memory (fuzz/memory.h), with small limits, used in any way that callers
 * may. What is handed out is checked against the bytes of its record. */
#ifndef FUZZ_QUEUE_USE_H
#define FUZZ_QUEUE_USE_H

#include "fuzz/dice.h"
#include "store/queue_inside.h"

extern const struct queue_limits use_limits;
extern const struct turn use_now;

/* use_open opens what the memory has; what queue_open says. use_kill forgets it as it is, use_close
 * closes it in order. */
enum err use_open(struct object *o, char why[QUEUE_WHY]);
void use_kill(struct object *o);
void use_close(struct object *o);

/* Any operations, so many; what was handed out. */
uint64_t use_by_chance(struct dice *d, struct object *o, uint64_t times);

/* Takes everything out; how many. Nothing must be left, unless there is damage: how many items that
 * is may be told wrong where the hashes lie. */
uint64_t use_drain(struct object *o);

#endif
