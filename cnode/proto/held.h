/* Answers that tell what is not on disk yet: each waits until the group of the journal that has
 * the object's last change is durable. So nobody is told what a power cut could undo. */
#ifndef PROTO_HELD_H
#define PROTO_HELD_H

#include "proto/call.h"

struct held_answer {
    const struct request *request;
    struct entry *entry; /* whose statistics count it when it is sent; NULL: it is counted */
    uint64_t since_ns;
    bool failed; /* the answer is an error */
    struct span reply;
};

/* held_answer: may an answer go that shows the object as it is now? While no worker has the object.
 * OK: it may; a cast has none, and that of a batch's item goes when that of the batch may.
 * ERR_WAIT: it is kept until what it shows is durable; where that fails it is {error, eio}.
 * ERR_ENOMEM: it cannot be kept and must not go: that is the answer, whatever was done. */
enum err held_answer(const struct held_answer *a);

/* held_until keeps the answer of a batch (entry NULL) until the group is durable: ERR_WAIT, or
 * ERR_ENOMEM, as above. */
enum err held_until(const struct held_answer *a, uint64_t group);

/* Does a message that shows the object now have to wait? *group: for what. Also behind one that
 * waits: what is told of an object is told in order. While no worker has the object. */
bool held_must(const struct entry *e, uint64_t *group);

/* held_message keeps a message of the object to a process of the client: dropped where that fails.
 * False without memory. */
bool held_message(struct client *c, struct entry *e, struct span to, struct span term,
                  uint64_t group);

/* held_has_room: may the client have an answer more kept? If not, client_has_room tells. */
bool held_has_room(const struct client *c);

/* held_release sends what may go; before it the journal has told of something. */
void held_release(struct server *s);

/* held_forget: the entry is no more. */
void held_forget(struct server *s, const struct entry *e);

#endif
