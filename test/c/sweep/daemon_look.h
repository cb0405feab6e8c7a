/* Looking at what an image of all files holds, by starting the next daemon on it. */
#ifndef SWEEP_DAEMON_LOOK_H
#define SWEEP_DAEMON_LOOK_H

#include "sweep/daemon.h"

/* What a cut of the power, or a kill, leaves at this moment, held against the models. */
void daemon_look(bool power);

/* The same of the image that was taken; then it is what there is. False: it is wrong. */
bool daemon_look_and_become(bool power);

/* The file of a part, as it is now, is what there is. */
void daemon_become_now(struct part *p);

/* A start on the image that was taken. Each part that opens is given to `see`; a stranger, if there
 * is one, to `meet` without being opened. What is wrong, or NULL. */
typedef const char *part_see(struct part *p, struct object *o);
typedef const char *part_meet(struct part *p, struct journal *j);
const char *daemon_open_image(part_see *see, const struct part *stranger, part_meet *meet);

/* Held against its model, as after a cut of the power. */
const char *daemon_inspect(struct part *p, struct object *o);

/* A file that was renamed, replaced or restored from an earlier copy while no daemon ran: what it
 * has stays, and is not taken for what the journal knows. */
void daemon_look_at_strangers(void);

/* A damaged group of the journal is its end if it is the last, else the start is refused; and when
 * that was cut off, everything before it is there. */
void daemon_look_at_damage(void);

#endif
