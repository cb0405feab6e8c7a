/* The table of requests: one row each, found by name and number of arguments, its arguments
 * decoded by signature. */
#ifndef PROTO_OP_H
#define PROTO_OP_H

#include "store/object.h"
#include "sys/buf.h"

struct server;
struct client;
struct handle;
struct entry;
struct call;
struct lease;
struct snapshot;

enum op_flag {
    OP_HERE = 1,      /* of no object, or of what the loop knows of one: never waits */
    OP_CHANGES = 2,   /* needs a handle that may write */
    OP_OPENS = 4,     /* its first argument is the name of what it opens */
    OP_BATCH = 8,     /* its items are requests */
    OP_LOOKS = 16,    /* tells what the loop knows of an open object: passes by the line */
    OP_OWN = 64,      /* only of the daemon itself */
    OP_GIVES = 128,   /* gives items away: nothing is done where nobody is there */
    OP_SURVEYS = 256, /* tells of all objects or peers: the more of these, the longer it takes */
    OP_ALONE = 32,    /* not while a checkpoint of the object is under way */
    OP_MAKES = 512,  /* its first argument is the name of a file that it makes: nothing is opened */
    OP_COPIES = 1024 /* begins a snapshot (ERR_WAIT), whose end is that of the request, too */
};

/* Letters of a signature: o object (id or name), h id, c id to close, n name, i signed and u
 * unsigned integer of 64 bits, b iodata, l a list, t any term, w a time to wait, m a lease's, f the
 * name of a file that nobody need have open. */
struct op {
    const char *name;
    const char *args;
    enum object_kind kind; /* what the object has to be; OBJECT_CLOSED: any */
    unsigned flags;

    /* run does it and appends the reply, or returns an error and the reply is {error, Reason}.
     * ERR_WOULD_BLOCK: nothing is done; run is called again in a worker that has the object. */
    enum err (*run)(struct call *c);

    /* done, where there is one, follows on the loop once run has returned OK. */
    void (*done)(struct call *c);

    const char *help;
};

enum { OP_ARGS = 5 };

struct arg {
    int64_t i;
    uint64_t u;
    struct span bytes; /* of b, n; the raw term of o, l, t, f */
};

/* What a request asks of a queue. */
enum want_kind { WANT_POP, WANT_POP_WAIT, WANT_POP_MANY, WANT_TAKE, WANT_TAKE_MANY, WANT_MESSAGES };

#define FOREVER     UINT64_MAX
#define LEASE_UNSET (UINT64_MAX - 1) /* what the queue is set to */

struct want {
    enum want_kind kind;
    uint64_t max;        /* items */
    uint64_t timeout_ms; /* for the first of them */
    uint64_t lease_ms;
};

/* A request while it is being done. */
struct call {
    struct server *server;
    struct client *client;
    struct span from; /* the caller's pid */
    const struct op *op;
    int argc;
    struct arg args[OP_ARGS];
    struct handle *handle; /* by id; NULL by name */
    struct entry *entry;
    struct object *object;
    uint64_t offset; /* of the region in its file */
    bool may_wait;   /* this is a worker that has the object */
    bool in_batch;
    bool in_envelope;
    bool refused;                 /* run has returned OK, but its reply is an error */
    uint64_t since_ns;            /* when it came, uv_hrtime */
    uint64_t now_ms;              /* since 1970 */
    uint64_t leases_left;         /* that the client may take, */
    enum err leases_limit;        /* for this allows no more */
    struct span ref;              /* of the call, where a cancel may come */
    struct want want;             /* with ERR_WAIT: what has to be waited for */
    struct snapshot *snapshot;    /* that it has begun */
    struct lease *leased;         /* new ones, and */
    struct lease *ended;          /* those that are over: for call_settle */
    struct buf *out;              /* the reply */
    struct buf scratch;           /* iodata that had to be put together */
    uint64_t bytes_in, bytes_out; /* for the statistics */
};

/* Rows in order, for help and checks; NULL past the last. */
const struct op *op_row(size_t i);

/* op_find: NULL where there is none of this name with so many arguments; *known tells whether
 * there is one with another number. */
const struct op *op_find(struct span name, int argc, bool *known);

/* op_decode finds the row of a request and reads its arguments into the call. On failure the error
 * reply is appended and false returned. */
bool op_decode(struct call *c, struct span request);

/* call_fini frees what decoding has made. */
void call_fini(struct call *c);

#endif
