#include "dist/actor.h"

#define HASH_NONFATAL_OOM 1
#include <ei.h>
#include <uthash.h>
#include <utlist.h>

#include "proto/reply.h"
#include "proto/term.h"

/* A process of the peer that the engine watches; in the table, or among the ended. */
struct watch {
    uint64_t number;
    UT_hash_handle hh;
    struct watch *next;
};

/* A monitor or a link of the peer on a process of ours that may end. */
struct tie {
    UT_hash_handle hh; /* by ref */
    struct bundle *bundle;
    struct tie *next, *prev; /* in it */
    bool link;
    struct span to, from, ref; /* of a link `ref` is empty */
    uint8_t bytes[];
};

/* All of one process; there while it has any. */
struct bundle {
    UT_hash_handle hh; /* by process */
    uint32_t process;
    struct tie *ties;
};

/* Beyond that a tie is refused by `system_limit`. */
enum { TIES_MOST = 100000, PID_MOST = 1 + 3 + 255 * 4 + 12 };

static struct span copy_to(uint8_t **end, struct span bytes)
{
    uint8_t *at = *end;
    if (bytes.len > 0)
        memcpy(at, bytes.at, bytes.len);
    *end += bytes.len;
    return span_of(at, bytes.len);
}

static void drop_tie(struct actor *a, struct tie *t);

void actor_init(struct actor *a, struct self *self, struct client *client, struct span peer,
                struct buf *out)
{
    *a = (struct actor){.self = self, .client = client, .peer = peer, .out = out};
}

void actor_fini(struct actor *a)
{
    struct watch *w;
    struct watch *next;
    HASH_ITER(hh, a->watches, w, next)
    {
        HASH_DEL(a->watches, w); /* NOLINT: HASH_ITER has read `next` before */
        free(w);
    }
    LL_FOREACH_SAFE(a->ended, w, next)
    free(w);
    a->ended = NULL;
    while (a->ties != NULL)
        drop_tie(a, a->ties); /* NOLINT: it takes itself out */
}

static void put_signal(struct actor *a, uint8_t op, const struct span *elements, uint8_t n)
{
    if (!frame_write(a->out, op, elements, n))
        a->failed = true;
}

static void end_frame(struct actor *a, size_t start)
{
    if (!frame_end(a->out, start))
        a->failed = true;
}

/* Who is meant by a pid or a name; 0: nobody. Those that come and go are the engine's to know. */
static uint32_t find_name(const struct actor *a, struct span name)
{
    struct term t = term_in(name);
    return term_is_atom(&t, "net_kernel") ? SELF_NET_KERNEL : client_process(a->client, name);
}

static uint32_t find(const struct actor *a, struct span to)
{
    uint32_t id;
    if (self_is_pid(a->self, to, &id))
        return id == SELF_NET_KERNEL || client_has_process(a->client, id) ? id : 0;
    return find_name(a, to);
}

/* The answer to net_adm:ping: {'$gen_call', {Pid, Tag}, {is_auth, Node}} gets yes. */
static bool read_is_auth(struct span message, struct span *pid, struct span *tag)
{
    struct term t = term_in(message);
    if (term_tuple(&t) != 3 || !term_is_atom(&t, "$gen_call") || term_tuple(&t) != 2)
        return false;
    *pid = term_any(&t);
    *tag = term_any(&t);
    if (term_tuple(&t) != 2 || !term_is_atom(&t, "is_auth"))
        return false;
    term_any(&t);
    return term_done(&t);
}

static size_t begin_answer(struct actor *a, struct span pid, struct span alias)
{
    uint8_t own[SELF_PID_BYTES];
    const struct span self = self_pid(a->self, SELF_NET_KERNEL, own);
    const bool to_alias = alias.len > 0;
    const struct span from = to_alias ? self : frame_unused();
    const struct span to = to_alias ? alias : pid;
    const size_t start = frame_begin(a->out, to_alias ? FRAME_ALIAS_SEND : FRAME_SEND, 3);
    buf_put(a->out, from.at, from.len);
    buf_put(a->out, to.at, to.len);
    frame_put_message(a->out);
    return start;
}

static void net_kernel_message(struct actor *a, struct span message)
{
    struct span pid;
    struct span tag;
    if (!read_is_auth(message, &pid, &tag) || self_node_of_pid(pid).len == 0) {
        a->ignored++;
        return;
    }
    const size_t start = begin_answer(a, pid, term_alias(tag));
    reply_tuple(a->out, 2);
    reply_raw(a->out, tag);
    reply_atom(a->out, "yes");
    end_frame(a, start);
}

static void deliver(struct actor *a, uint32_t id, struct span message)
{
    switch (id) {
    case SELF_NET_KERNEL: net_kernel_message(a, message); break;
    case 0: a->ignored++; break;
    default: client_message(a->client, id, message); break;
    }
}

static bool is_of_peer(const struct actor *a, struct span pid)
{
    return span_equal(self_node_of_pid(pid), a->peer);
}

/* --- who wants to hear of the end of processes that can end --------------------------------------
 */

static bool can_end(uint32_t process)
{
    return process >= PROCESS_FIRST_QUEUE;
}

static struct tie *find_tie(struct actor *a, struct span key)
{
    struct tie *t;
    HASH_FIND(hh, a->ties, key.at, key.len, t);
    return t;
}

static struct bundle *find_bundle(struct actor *a, uint32_t process)
{
    struct bundle *b;
    HASH_FIND(hh, a->bundles, &process, sizeof process, b);
    return b;
}

/* NULL without memory. */
static struct bundle *make_bundle(struct actor *a, uint32_t process)
{
    struct bundle *b = find_bundle(a, process);
    if (b != NULL || (b = calloc(1, sizeof *b)) == NULL)
        return b;
    b->process = process;
    HASH_ADD(hh, a->bundles, process, sizeof b->process, b);
    if (b->hh.tbl == NULL) {
        free(b);
        return NULL;
    }
    return b;
}

static void drop_if_empty(struct actor *a, struct bundle *b)
{
    if (b->ties != NULL)
        return;
    HASH_DEL(a->bundles, b); /* NOLINT: the head is there while a member is */
    free(b);
}

static void drop_tie(struct actor *a, struct tie *t)
{
    if (t == NULL)
        return;
    HASH_DEL(a->ties, t);
    a->tie_count--;
    DL_DELETE(t->bundle->ties, t);
    drop_if_empty(a, t->bundle);
    free(t);
}

/* False without memory. */
static bool add_tie(struct actor *a, struct tie *t, uint32_t process, struct span key)
{
    struct bundle *b = make_bundle(a, process);
    if (b == NULL)
        return false;
    HASH_ADD_KEYPTR(hh, a->ties, key.at, key.len, t);
    if (t->hh.tbl == NULL) {
        drop_if_empty(a, b);
        return false;
    }
    t->bundle = b;
    DL_APPEND(b->ties, t);
    a->tie_count++;
    return true;
}

/* A monitor is known by its reference, a link by the two pids; so is its end. False: there are too
 * many. */
static bool tie(struct actor *a, uint32_t process, const struct control *c, bool link)
{
    const size_t len = c->to.len + c->from.len + c->ref.len;
    struct tie *t = a->tie_count < TIES_MOST ? calloc(1, sizeof *t + len) : NULL;
    if (t == NULL)
        return false;
    uint8_t *end = t->bytes;
    t->link = link;
    t->to = copy_to(&end, c->to);
    t->from = copy_to(&end, c->from);
    t->ref = copy_to(&end, c->ref);
    const struct span key = link ? span_of(t->to.at, t->to.len + t->from.len) : t->ref;
    drop_tie(a, find_tie(a, key));
    if (add_tie(a, t, process, key))
        return true;
    free(t);
    return false;
}

static void untie_link(struct actor *a, const struct control *c)
{
    uint8_t key[2 * PID_MOST];
    uint8_t *end = key;
    if (c->to.len > PID_MOST || c->from.len > PID_MOST)
        return;
    copy_to(&end, c->to);
    copy_to(&end, c->from);
    drop_tie(a, find_tie(a, span_of(key, (size_t)(end - key))));
}

static void put_end(struct actor *a, bool link, struct span from, struct span to, struct span ref,
                    struct span reason)
{
    const struct span exit[] = {from, to, reason};
    const struct span down[] = {from, to, ref, reason};
    if (link)
        put_signal(a, FRAME_EXIT, exit, 3);
    else
        put_signal(a, FRAME_MONITOR_EXIT, down, 4);
}

void actor_ended(struct actor *a, uint32_t process, struct span reason)
{
    const struct bundle *b = find_bundle(a, process);
    struct tie *t = b == NULL ? NULL : b->ties;
    while (t != NULL) {
        struct tie *next = t->next;
        put_end(a, t->link, t->to, t->from, t->ref, reason);
        drop_tie(a, t); /* the last takes the bundle along */
        t = next;
    }
}

static void refuse_tie(struct actor *a, const struct control *c, bool link, const char *reason)
{
    struct buf atom;
    buf_init(&atom, 256);
    reply_atom(&atom, reason);
    put_end(a, link, c->to, c->from, c->ref, span_of(atom.at, atom.len));
    buf_fini(&atom);
}

/* One on a process that never ends before the connection does is kept by the peer alone. */
static void answer_tie(struct actor *a, const struct control *c, bool link)
{
    const uint32_t process = find(a, c->to);
    if (!is_of_peer(a, c->from))
        a->ignored++; /* whoever it is would not be reached from here */
    else if (process == 0)
        refuse_tie(a, c, link, "noproc");
    else if (!can_end(process))
        return;
    else if (!client_watch(a->client, process))
        refuse_tie(a, c, link, "eio");
    else if (!tie(a, process, c, link))
        refuse_tie(a, c, link, "system_limit");
}

static void answer_unlink_id(struct actor *a, const struct control *c)
{
    const struct span ack[] = {c->id, c->to, c->from};
    untie_link(a, c);
    put_signal(a, FRAME_UNLINK_ID_ACK, ack, 3);
}

static void demonitor(struct actor *a, const struct control *c)
{
    drop_tie(a, find_tie(a, c->ref));
    client_demonitor(a->client, c->ref);
}

static struct watch *find_watch(struct actor *a, uint64_t number)
{
    struct watch *w;
    HASH_FIND(hh, a->watches, &number, sizeof number, w);
    return w;
}

static void monitor_exit(struct actor *a, const struct control *c)
{
    uint64_t number;
    struct watch *w = self_is_ref(a->self, c->ref, &number) ? find_watch(a, number) : NULL;
    if (w == NULL) {
        a->ignored++; /* it crossed our demonitor */
        return;
    }
    HASH_DEL(a->watches, w);
    free(w);
    client_down(a->client, number);
}

/* The flags of a spawn reply: is the new process linked, monitored? */
enum { LINKED = 1, MONITORED = 2 };

static bool read_spawn_options(struct span options, uint8_t *flags)
{
    struct term t = term_in(options);
    const int n = term_list(&t);
    *flags = 0;
    for (int i = 0; i < n && !t.bad; i++) {
        if (term_is_atom(&t, "link"))
            *flags |= LINKED;
        else if (term_is_atom(&t, "monitor"))
            *flags |= MONITORED;
        else
            term_any(&t);
    }
    if (n > 0)
        term_list_end(&t);
    return !t.bad;
}

/* {undef, [{Module, Function, Args, []}]} */
static void put_undef(struct buf *out, struct span module, struct span function, struct span args)
{
    reply_tuple(out, 2);
    reply_atom(out, "undef");
    reply_list(out, 1);
    reply_tuple(out, 4);
    reply_raw(out, module);
    reply_raw(out, function);
    reply_raw(out, args);
    reply_nil(out);
    reply_nil(out);
}

/* The signal of a spawned process that ended because there is no such function. */
static void put_ended(struct actor *a, const struct span *elements, uint8_t n, uint8_t op,
                      const struct span undef[3])
{
    const size_t start = frame_begin(a->out, op, (uint8_t)(n + 2));
    for (uint8_t i = 0; i < n; i++)
        buf_put(a->out, elements[i].at, elements[i].len);
    put_undef(a->out, undef[0], undef[1], undef[2]);
    end_frame(a, start);
}

/* No function is served: the answer is what a BEAM gives for one that does not exist. */
static bool answer_spawn(struct actor *a, const struct control *c, struct span args)
{
    struct term t = term_in(c->function);
    uint8_t flags;
    if (term_tuple(&t) != 3 || !read_spawn_options(c->spawn_options, &flags))
        return false;
    const struct span module = term_any(&t);
    const struct span undef[] = {module, term_any(&t), args};
    uint8_t bytes[SELF_PID_BYTES];
    const struct span pid = self_pid(a->self, self_new_id(a->self), bytes);
    const uint8_t number[] = {ERL_SMALL_INTEGER_EXT, flags};
    const struct span reply[] = {c->ref, c->from, span_of(number, sizeof number), pid};
    const struct span down[] = {pid, c->from, c->ref};
    put_signal(a, FRAME_SPAWN_REPLY, reply, 4);
    if (flags & MONITORED)
        put_ended(a, down, 3, FRAME_MONITOR_EXIT, undef);
    if (flags & LINKED)
        put_ended(a, down, 2, FRAME_EXIT, undef);
    return true;
}

bool actor_control(struct actor *a, const struct control *c, struct span message)
{
    switch (c->op) {
    case FRAME_REG_SEND:
    case FRAME_SEND: deliver(a, find(a, c->to), message); return true;
    case FRAME_LINK: answer_tie(a, c, true); return true;
    case FRAME_UNLINK_ID: answer_unlink_id(a, c); return true;
    case FRAME_MONITOR: answer_tie(a, c, false); return true;
    case FRAME_DEMONITOR: demonitor(a, c); return true;
    case FRAME_MONITOR_EXIT: monitor_exit(a, c); return true;
    case FRAME_SPAWN_REQUEST: return answer_spawn(a, c, message);
    case FRAME_UNLINK: /* nothing that a peer says ends a process of ours: */
    case FRAME_EXIT: untie_link(a, c); return true;
    case FRAME_EXIT2: return true;
    default: a->ignored++; return true;
    }
}

void actor_too_long(struct actor *a, const struct control *c, struct span head)
{
    const bool is_message = c->op == FRAME_REG_SEND || c->op == FRAME_SEND;
    const uint32_t process = is_message ? find(a, c->to) : 0;
    if (process != 0 && process != SELF_NET_KERNEL)
        client_too_long(a->client, head);
    else
        a->ignored++;
}

static void signal_watch(struct actor *a, uint8_t op, struct span pid, uint64_t number)
{
    uint8_t own[SELF_PID_BYTES];
    uint8_t ref[SELF_REF_BYTES];
    const struct span elements[] = {self_pid(a->self, SELF_EMMAP, own), pid,
                                    self_ref(a->self, number, ref)};
    put_signal(a, op, elements, 3);
}

bool actor_monitor(struct actor *a, struct span pid, uint64_t number)
{
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return false;
    w->number = number;
    if (!is_of_peer(a, pid)) {
        LL_PREPEND(a->ended, w);
        return true;
    }
    HASH_ADD(hh, a->watches, number, sizeof w->number, w);
    if (w->hh.tbl == NULL) {
        free(w);
        return false;
    }
    signal_watch(a, FRAME_MONITOR, pid, number);
    return true;
}

static struct watch *take_ended(struct actor *a, uint64_t number)
{
    struct watch *w;
    LL_SEARCH_SCALAR(a->ended, w, number, number);
    if (w != NULL)
        LL_DELETE(a->ended, w);
    return w;
}

void actor_demonitor(struct actor *a, struct span pid, uint64_t number)
{
    struct watch *w = find_watch(a, number);
    if (w != NULL) {
        HASH_DEL(a->watches, w);
        signal_watch(a, FRAME_DEMONITOR, pid, number);
    } else {
        w = take_ended(a, number);
    }
    free(w);
}

void actor_settle(struct actor *a)
{
    while (a->ended != NULL) {
        struct watch *w = a->ended;
        const uint64_t number = w->number;
        LL_DELETE(a->ended, w);
        free(w);
        client_down(a->client, number);
    }
}
