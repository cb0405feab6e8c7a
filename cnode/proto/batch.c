#include "proto/held.h"
#include "proto/reply.h"

/* A batch does its items one after the other; after some time others have their turn. While one
 * waits in a line, the batch lives on by itself: the item's pending request points to it, and its
 * reply lets it go on. Not at once: who brings the reply is in the midst of a line of his own,
 * which the next item might change.
 *
 * A last item `sync` becomes one {sync, Obj} for each object that the items before it name. */
struct batch {
    struct batch *next, *prev; /* of those that may go on */
    struct request request;    /* whose the batch as a whole is */
    struct term items;
    int left;       /* items not begun */
    uint64_t group; /* of the journal: what its replies show is durable with that */
    bool yielded;   /* none waits: others have their turn */
    struct buf replies;
    struct {
        bool on;          /* the last item is being done */
        struct term seen; /* the items again, for their objects */
        int left;
        uint64_t serial;
        size_t at;   /* where its one reply begins */
        bool failed; /* that is an error: the first one stays */
    } sync;
    uint8_t bytes[]; /* the message, which the batch outlives */
};

static void batch_free(struct batch *b)
{
    buf_fini(&b->replies);
    free(b);
}

static struct span keep(uint8_t **to, struct span bytes)
{
    const uint8_t *at = *to;
    if (bytes.len > 0)
        memcpy(*to, bytes.at, bytes.len);
    *to += bytes.len;
    return span_of(at, bytes.len);
}

static struct batch *batch_new(const struct request *r, struct span items)
{
    struct batch *b = calloc(1, sizeof *b + items.len + r->from.len + r->to.len + r->tag.len);
    if (b == NULL)
        return NULL;
    uint8_t *end = b->bytes;
    b->items = term_in(keep(&end, items));
    b->request = (struct request){.client = r->client,
                                  .from = keep(&end, r->from),
                                  .to = keep(&end, r->to),
                                  .tag = keep(&end, r->tag),
                                  .in_envelope = r->in_envelope};
    b->left = term_list(&b->items);
    b->sync.seen = b->items;
    b->sync.left = b->left - 1;
    buf_init(&b->replies, r->client->server->options.max_frame);
    reply_list(&b->replies, (uint32_t)b->left);
    return b;
}

void batch_shows(struct batch *b, uint64_t group)
{
    b->group = group > b->group ? group : b->group;
}

size_t batch_bytes(const struct batch *b)
{
    return (size_t)b->items.end + b->replies.cap;
}

static bool is_sync(struct span item)
{
    struct term t = term_in(item);
    return term_is_atom(&t, "sync") && term_done(&t);
}

/* The object that an item names, if it is open; its name. */
static struct entry *object_of(const struct batch *b, struct span item, struct span *name)
{
    struct term t = term_in(item);
    if (term_tuple(&t) < 2)
        return NULL;
    term_atom_bytes(&t);
    *name = term_any(&t);
    return t.bad ? NULL : call_open_entry(b->request.client, *name);
}

static enum outcome run_item(struct batch *b, struct span item)
{
    struct request r = b->request;
    r.term = item;
    r.batch = b;
    return request_run(&r, &b->replies);
}

/* Of the replies to all {sync, Obj} the first error stays, else one `ok`. */
static void fold_sync_reply(struct batch *b)
{
    struct buf *out = &b->replies;
    struct term t = term_in(span_of(out->at + b->sync.at, out->len - b->sync.at));
    if (!out->failed && term_is_atom(&t, "ok"))
        buf_cut(out, b->sync.at);
    else
        b->sync.failed = true;
}

static enum outcome sync_next(struct batch *b)
{
    struct span object;
    while (!b->sync.failed && b->sync.left > 0) {
        b->sync.left--;
        struct entry *e = object_of(b, term_any(&b->sync.seen), &object);
        if (e == NULL || e->batch_mark == b->sync.serial)
            continue;
        e->batch_mark = b->sync.serial;
        struct buf request;
        buf_init(&request, SIZE_MAX);
        reply_tuple(&request, 2);
        reply_atom(&request, "sync");
        reply_raw(&request, object);
        enum outcome outcome = run_item(b, span_of(request.at, request.len));
        buf_fini(&request);
        if (outcome == WAITS)
            return WAITS;
        fold_sync_reply(b);
    }
    if (!b->sync.failed)
        reply_atom(&b->replies, "ok");
    return ANSWERED;
}

static void begin_sync(struct batch *b)
{
    b->sync.on = true;
    b->sync.serial = ++b->request.client->server->batch_serial;
    b->sync.at = b->replies.len;
}

static void may_go_on(struct batch *b)
{
    struct client *c = b->request.client;
    DL_APPEND(c->server->ready_batches, b);
    c->ready_batches++;
}

static enum outcome yield(struct batch *b)
{
    b->yielded = true;
    b->request.client->yielded++;
    may_go_on(b);
    return WAITS;
}

/* Does items until one waits, the time is over or none is left. */
static enum outcome go_through(struct batch *b)
{
    const uint64_t end_ns = uv_hrtime() + SLICE_NS;
    while (b->left > 0 && !b->sync.on) {
        struct span item = term_any(&b->items);
        b->left--;
        if (b->left == 0 && is_sync(item)) {
            begin_sync(b);
            break;
        }
        if (run_item(b, item) == WAITS)
            return WAITS;
        if (b->left > 0 && uv_hrtime() > end_ns)
            return yield(b);
    }
    return b->sync.on ? sync_next(b) : ANSWERED;
}

static void reply_all(struct batch *b, struct buf *out)
{
    reply_nil(&b->replies);
    if (b->replies.failed) {
        reply_error(out, ERR_MAX_FRAME);
        call_refused(b->request.client);
        return;
    }
    reply_ok(out);
    reply_raw(out, span_of(b->replies.at, b->replies.len));
}

/* One answer, one commit: of all that its items have changed or shown. */
static enum outcome answer_or_hold(struct batch *b, struct buf *out)
{
    const size_t from = out->len;
    reply_all(b, out);
    const struct held_answer a = {.request = &b->request, .reply = buf_since(out, from)};
    struct journal *j = b->request.client->server->journal;
    if (out->failed || b->group == 0 || b->request.to.len == 0 || journal_look(j, b->group) == OK)
        return ANSWERED;
    const enum err held = held_until(&a, b->group);
    buf_cut(out, from);
    if (held == ERR_WAIT)
        return WAITS;
    reply_error(out, held);
    call_refused(b->request.client);
    return ANSWERED;
}

enum outcome batch_run(const struct request *r, struct span items, struct buf *out)
{
    struct batch *b = batch_new(r, items);
    if (b == NULL || b->items.bad) {
        reply_error(out, b == NULL ? ERR_ENOMEM : ERR_BADARG);
        call_refused(r->client);
        if (b != NULL)
            batch_free(b);
        return ANSWERED;
    }
    if (go_through(b) == WAITS)
        return WAITS;
    const enum outcome outcome = answer_or_hold(b, out);
    batch_free(b);
    return outcome;
}

void batch_go_on(struct batch *b, struct span reply)
{
    reply_raw(&b->replies, reply);
    if (b->sync.on)
        fold_sync_reply(b);
    may_go_on(b);
}

static void go_on(struct batch *b)
{
    if (go_through(b) == WAITS)
        return;
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    if (answer_or_hold(b, &answer) == ANSWERED)
        request_answer(&b->request, span_of(answer.at, answer.len));
    buf_fini(&answer);
    batch_free(b);
}

void batch_go_on_all(struct server *s)
{
    struct batch *list = s->ready_batches;
    s->ready_batches = NULL;
    while (list != NULL) {
        struct batch *b = list;
        struct client *c = b->request.client;
        DL_DELETE(list, b);
        c->yielded -= b->yielded;
        b->yielded = false;
        go_on(b);
        c->ready_batches--;
        client_release(c);
    }
    server_rest(s);
}
