/* Answers that tell what is not on disk yet: each waits until the group of the journal that has
 * the object's last change is durable. So nobody is told what a power cut could undo. */
#ifndef PROTO_HELD_H
#define PROTO_HELD_H

#include "proto/call.h"

/* Does an answer that shows the object now have to wait? *group: for what. Also behind one that
 * waits: what is told of an object is told in order. While no worker has the object. */
bool held_must(const struct entry *e, uint64_t *group);

/* held_answer keeps an answer to a request, or of a batch (entry NULL), until the group is durable.
 * Where that fails the answer is {error, eio}. False without memory. */
struct held_answer {
    const struct request *request;
    struct entry *entry; /* whose statistics count it then; NULL: it is counted */
    uint64_t since_ns;
    bool failed; /* the answer is an error */
    struct span reply;
};
bool held_answer(const struct held_answer *a, uint64_t group);

/* held_message keeps a message of the object to a process of the client: dropped where that fails.
 * False without memory. */
bool held_message(struct client *c, struct entry *e, struct span to, struct span term,
                  uint64_t group);

/* held_has_room: may the client have an answer more kept? */
bool held_has_room(const struct client *c);

/* held_release sends what may go; before it the journal has told of something. */
void held_release(struct server *s);

/* held_forget: the entry is no more. */
void held_forget(struct server *s, const struct entry *e);

#endif
