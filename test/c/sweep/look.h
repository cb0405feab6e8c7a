/* Looking at what an image holds, by opening it as the daemon does. */
#ifndef SWEEP_LOOK_H
#define SWEEP_LOOK_H

#include "sweep/side.h"

/* look_open opens an image in the scratch file, one at a time. */
enum err look_open(struct object *o, const struct image *image, char refused[QUEUE_WHY]);
void look_close(struct object *o);

/* look_see takes note in s->seen of all that the opened queue holds: each once, and as it was
 * pushed. NULL, or what is wrong. */
const char *look_see(struct side *s, struct object *o);

/* look_inspect: the same, held against the model. look_compare_sides: the last looks at both. */
const char *look_inspect(struct side *s, struct object *o, bool killed);
void look_compare_sides(void);

/* look_at opens an image and holds it against the model. */
void look_at(struct side *s, const struct image *image, bool killed);

/* The bytes of an item, as a consumer gets them: are they those that were pushed? */
bool look_same(const struct side *s, uint64_t seq, struct span bytes);

/* Are they those of a push of this number that was undone? */
bool look_former(const struct side *s, uint64_t seq, struct span bytes);

/* Images of all sides at this moment. */
void look_after_cut(void);
void look_after_kill(void);

/* A legal image, and damage in it: nothing corrupt comes out, nothing is lost that is whole. */
void look_at_damage(struct side *s);

#endif
