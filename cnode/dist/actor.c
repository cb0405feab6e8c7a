#include "dist/actor.h"

#include <ei.h>
#include <utlist.h>

#include "proto/reply.h"
#include "proto/term.h"

/* A process that the engine watches: one of the peer is in the table, one that it has asked for has
 * the watch itself; or it is among the ended. */
struct watch {
    uint64_t number;
    UT_hash_handle hh;
    struct watch *next;
    size_t len;
    uint8_t pid[];
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

/* All of one process; there while it has any. When the process has ended it is no more among those
 * by process, but in the list of what is still to be told. */
struct bundle {
    UT_hash_handle hh; /* by process */
    struct bundle *next, *prev;
    uint32_t process;
    struct tie *ties;
    bool ended;
    struct buf reason;
};

/* Beyond that a tie is refused by `system_limit`. */
enum { TIES_MOST = 100000, PID_MOST = 1 + 3 + 255 * 4 + 12 };

/* So many bytes about ends at once; the rest in the next turn, so that others have theirs. */
enum { TOLD_AT_ONCE = 64 * 1024 };

static struct span copy_to(uint8_t **end, struct span bytes)
{
    uint8_t *at = *end;
    if (bytes.len > 0)
        memcpy(at, bytes.at, bytes.len);
    *end += bytes.len;
    return span_of(at, bytes.len);
}

static void drop_tie(struct actor *a, struct tie *t);

void actor_init(struct actor *a, struct span peer, struct buf *out)
{
    a->peer = peer;
    a->out = out;
    DL_APPEND(a->processes->actors, a);
}

void actor_leave(struct actor *a)
{
    DL_DELETE(a->processes->actors, a);
    spawned_end_all(a);
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

void actor_signal(struct actor *a, uint8_t op, const struct span *elements, uint8_t n)
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
    const uint32_t process = client_process(a->client, name);
    return process != 0                     ? process
           : term_is_atom(&t, "net_kernel") ? SELF_NET_KERNEL
           : term_is_atom(&t, "rex")        ? SELF_REX
                                            : 0;
}

static bool is_there(const struct actor *a, uint32_t number)
{
    return number == SELF_NET_KERNEL || number == SELF_REX ||
           client_has_process(a->client, number) || spawned_find(a->processes, number) != NULL;
}

uint32_t actor_find(const struct actor *a, struct span to)
{
    uint32_t number;
    if (self_is_pid(a->self, to, &number))
        return is_there(a, number) ? number : 0;
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

size_t actor_begin_send(const struct actor *a, struct span from, struct span to)
{
    const bool to_pid = self_node_of_pid(to).len > 0;
    const uint8_t op = !to_pid            ? FRAME_ALIAS_SEND
                       : a->names_senders ? FRAME_SEND_SENDER
                                          : FRAME_SEND;
    const size_t start = frame_begin(a->out, op, 3);
    if (op == FRAME_SEND)
        from = frame_unused();
    buf_put(a->out, from.at, from.len);
    buf_put(a->out, to.at, to.len);
    frame_put_message(a->out);
    return start;
}

static size_t begin_answer(struct actor *a, struct span pid, struct span alias)
{
    uint8_t own[SELF_PID_BYTES];
    const struct span self = self_pid(a->self, SELF_NET_KERNEL, own);
    return actor_begin_send(a, self, alias.len > 0 ? alias : pid);
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

static bool is_spawned(uint32_t process)
{
    return process >= SELF_FIRST_SPAWNED && process <= SELF_LAST_SPAWNED;
}

/* {system, From, Request} of the sys module? A look that costs the other messages little: the atom
 * begins behind three or four bytes. */
static bool may_be_system(struct span message)
{
    static const char name[] = "system";
    const size_t len = sizeof name - 1;
    return message.len > 5 + len && message.at[1] == 3 &&
           (memcmp(message.at + 4, name, len) == 0 || memcmp(message.at + 5, name, len) == 0);
}

static void process_message(struct actor *a, uint32_t process, struct span message)
{
    if (is_spawned(process))
        spawned_message(spawned_find(a->processes, process), message);
    else if (!may_be_system(message) || !spawned_system(a, process, message))
        client_message(a->client, process, message);
}

static void hand_over(struct actor *a, uint32_t process, struct span message)
{
    switch (process) {
    case SELF_NET_KERNEL: net_kernel_message(a, message); break;
    case SELF_REX:
    case 0: a->ignored++; break;
    default: process_message(a, process, message); break;
    }
}

/* {Pid, {sbcast, Name, Message}} of rpc:sbcast. */
static bool read_sbcast(struct span message, struct span *pid, struct span *name, struct span *what)
{
    struct term t = term_in(message);
    if (term_tuple(&t) != 2)
        return false;
    *pid = term_any(&t);
    if (term_tuple(&t) != 3 || !term_is_atom(&t, "sbcast"))
        return false;
    *name = term_any(&t);
    *what = term_any(&t);
    struct term atom = term_in(*name);
    term_atom_bytes(&atom);
    return term_done(&t) && term_done(&atom) && self_node_of_pid(*pid).len > 0;
}

/* A message to a name of this node. {rex, Node, Node} tells that it was sent,
 * {rex, Node, {nonexisting_name, Name}} that there is none. */
static bool sbcast(struct actor *a, struct span message)
{
    struct span pid;
    struct span name;
    struct span what;
    if (!read_sbcast(message, &pid, &name, &what))
        return false;
    const uint32_t process = find_name(a, name);
    hand_over(a, process, what);
    const size_t start = begin_answer(a, pid, span_of(NULL, 0));
    reply_tuple(a->out, 3);
    reply_atom(a->out, "rex");
    reply_atom(a->out, a->self->name);
    if (process == 0) {
        reply_tuple(a->out, 2);
        reply_atom(a->out, "nonexisting_name");
        reply_raw(a->out, name);
    } else {
        reply_atom(a->out, a->self->name);
    }
    end_frame(a, start);
    return true;
}

static void deliver(struct actor *a, uint32_t process, struct span message)
{
    if (process != SELF_REX)
        hand_over(a, process, message);
    else if (!sbcast(a, message) && !spawned_rex(a, message))
        a->ignored++;
}

static bool is_of_peer(const struct actor *a, struct span pid)
{
    return span_equal(self_node_of_pid(pid), a->peer);
}

/* --- who wants to hear of the end of processes that can end --------------------------------------
 */

static bool can_end(uint32_t process)
{
    return process >= PROCESS_FIRST_QUEUE || is_spawned(process);
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
    buf_init(&b->reason, SIZE_MAX);
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
    if (b->ended)
        DL_DELETE(a->endings, b);
    else
        HASH_DEL(a->bundles, b); /* NOLINT: the head is there while a member is */
    buf_fini(&b->reason);
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
static bool keep_tie(struct actor *a, uint32_t process, const struct control *c, bool link)
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

/* Was there one? */
static bool untie_link(struct actor *a, const struct control *c)
{
    uint8_t key[2 * PID_MOST];
    uint8_t *end = key;
    if (c->to.len > PID_MOST || c->from.len > PID_MOST)
        return false;
    copy_to(&end, c->to);
    copy_to(&end, c->from);
    struct tie *t = find_tie(a, span_of(key, (size_t)(end - key)));
    const bool was_tied = t != NULL;
    drop_tie(a, t);
    return was_tied;
}

static void put_end_by_payload(struct actor *a, bool link, const struct span *elements,
                               struct span reason)
{
    const uint8_t n = link ? 2 : 3;
    const size_t start =
        frame_begin(a->out, link ? FRAME_PAYLOAD_EXIT : FRAME_PAYLOAD_MONITOR_EXIT, n + 1);
    for (uint8_t i = 0; i < n; i++)
        buf_put(a->out, elements[i].at, elements[i].len);
    frame_put_message(a->out);
    buf_put(a->out, reason.at, reason.len);
    end_frame(a, start);
}

static void put_end(struct actor *a, bool link, struct span from, struct span to, struct span ref,
                    struct span reason)
{
    const struct span exit[] = {from, to, reason};
    const struct span down[] = {from, to, ref, reason};
    if (a->exits_by_payload)
        put_end_by_payload(a, link, down, reason);
    else if (link)
        actor_signal(a, FRAME_EXIT, exit, 3);
    else
        actor_signal(a, FRAME_MONITOR_EXIT, down, 4);
}

/* True: all of the bundle's ties have been told, and it is no more. */
static bool tell_ties(struct actor *a, struct bundle *b, struct span reason, size_t *told)
{
    struct tie *t = b->ties;
    while (t != NULL && *told < TOLD_AT_ONCE) {
        struct tie *next = t->next; /* NOLINT: of the last there is none */
        const size_t before = a->out->len;
        put_end(a, t->link, t->to, t->from, t->ref, reason);
        *told += a->out->len - before;
        drop_tie(a, t); /* the last takes the bundle along */
        t = next;
    }
    return t == NULL;
}

bool actor_ended(struct actor *a, uint32_t process, struct span reason)
{
    size_t told = 0;
    struct bundle *b = find_bundle(a, process);
    if (b == NULL)
        return false;
    if (tell_ties(a, b, reason, &told))
        return true;
    if (!buf_put(&b->reason, reason.at, reason.len))
        a->failed = true;
    HASH_DEL(a->bundles, b);
    b->ended = true;
    DL_APPEND(a->endings, b);
    return true;
}

/* What the ends of before have left, in their order. */
static void tell_endings(struct actor *a)
{
    size_t told = 0;
    while (a->endings != NULL && a->outlet->has_room(a->conn)) {
        struct bundle *b = a->endings;
        if (!tell_ties(a, b, span_of(b->reason.at, b->reason.len), &told))
            return;
    }
}

bool actor_has_more(const struct actor *a)
{
    return a->endings != NULL;
}

static void refuse_tie(struct actor *a, const struct control *c, bool link, const char *reason)
{
    struct buf atom;
    buf_init(&atom, 256);
    reply_atom(&atom, reason);
    put_end(a, link, c->to, c->from, c->ref, span_of(atom.at, atom.len));
    buf_fini(&atom);
}

bool actor_tie(struct actor *a, uint32_t process, const struct control *c, bool link)
{
    const bool kept = keep_tie(a, process, c, link);
    if (!kept)
        refuse_tie(a, c, link, "system_limit");
    return kept;
}

/* One on a process that never ends before the connection does is kept by the peer alone. */
static void answer_tie(struct actor *a, const struct control *c, bool link)
{
    const uint32_t process = actor_find(a, c->to);
    if (!is_of_peer(a, c->from))
        a->ignored++; /* whoever it is would not be reached from here */
    else if (process == 0)
        refuse_tie(a, c, link, "noproc");
    else if (!can_end(process))
        return;
    else if (!is_spawned(process) && !client_watch(a->client, process))
        refuse_tie(a, c, link, "eio");
    else if (actor_tie(a, process, c, link) && link && is_spawned(process))
        spawned_linked(spawned_find(a->processes, process), c->from);
}

uint32_t actor_list_ties(const struct actor *a, uint32_t process, bool links, struct buf *out)
{
    const struct bundle *b;
    const struct tie *t;
    uint32_t n = 0;
    HASH_FIND(hh, a->bundles, &process, sizeof process, b);
    DL_FOREACH(b == NULL ? NULL : b->ties, t)
    {
        if (t->link != links)
            continue;
        reply_raw(out, t->from);
        n++;
    }
    return n;
}

static void answer_unlink_id(struct actor *a, const struct control *c)
{
    const struct span ack[] = {c->id, c->to, c->from};
    untie_link(a, c);
    actor_signal(a, FRAME_UNLINK_ID_ACK, ack, 3);
}

static void demonitor(struct actor *a, const struct control *c)
{
    drop_tie(a, find_tie(a, c->ref));
    client_demonitor(a->client, c->ref);
    spawned_take_back(a, c->ref);
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

/* Nothing that a peer says ends a process of ours but those that are spawned; these do not trap
 * exits. */
static void exit_signal(struct actor *a, const struct control *c, struct span payload)
{
    const uint32_t process = actor_find(a, c->to);
    if (is_spawned(process))
        spawned_exit(spawned_find(a->processes, process), c->op == FRAME_EXIT,
                     c->reason.len > 0 ? c->reason : payload);
}

bool actor_control(struct actor *a, const struct control *c, struct span message)
{
    switch (c->op) {
    case FRAME_REG_SEND:
    case FRAME_SEND: deliver(a, actor_find(a, c->to), message); return true;
    case FRAME_LINK: answer_tie(a, c, true); return true;
    case FRAME_UNLINK_ID: answer_unlink_id(a, c); return true;
    case FRAME_MONITOR: answer_tie(a, c, false); return true;
    case FRAME_DEMONITOR: demonitor(a, c); return true;
    case FRAME_MONITOR_EXIT: monitor_exit(a, c); return true;
    case FRAME_SPAWN_REQUEST: return spawned_request(a, c, message);
    case FRAME_UNLINK: untie_link(a, c); return true;
    case FRAME_EXIT2: exit_signal(a, c, message); return true;
    case FRAME_EXIT:
        if (untie_link(a, c))
            exit_signal(a, c, message);
        return true;
    default: a->ignored++; return true;
    }
}

void actor_too_long(struct actor *a, const struct control *c, struct span head)
{
    const bool is_message = c->op == FRAME_REG_SEND || c->op == FRAME_SEND;
    const uint32_t process = is_message ? actor_find(a, c->to) : 0;
    if (process == PROCESS_EMMAP || process >= PROCESS_FIRST_QUEUE)
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
    actor_signal(a, op, elements, 3);
}

/* The watches of a process that the peer has asked for, else those of all that have ended. */
static struct watch **watches_of(struct actor *a, struct span pid)
{
    uint32_t process;
    struct spawned *p =
        self_is_pid(a->self, pid, &process) ? spawned_find(a->processes, process) : NULL;
    return p != NULL && p->actor == a ? &p->watches : &a->ended;
}

bool actor_monitor(struct actor *a, struct span pid, uint64_t number)
{
    struct watch *w = calloc(1, sizeof *w + pid.len);
    if (w == NULL)
        return false;
    w->number = number;
    w->len = pid.len;
    memcpy(w->pid, pid.at, pid.len);
    if (!is_of_peer(a, pid)) {
        struct watch **watches = watches_of(a, pid);
        LL_PREPEND(*watches, w);
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

uint32_t actor_list_watches(const struct actor *a, struct buf *out)
{
    const struct watch *w;
    for (w = a->watches; w != NULL; w = w->hh.next) {
        reply_tuple(out, 2);
        reply_atom(out, "process");
        reply_raw(out, span_of(w->pid, w->len));
    }
    return HASH_COUNT(a->watches);
}

static struct watch *take(struct watch **watches, uint64_t number)
{
    struct watch *w;
    LL_SEARCH_SCALAR(*watches, w, number, number);
    if (w != NULL)
        LL_DELETE(*watches, w);
    return w;
}

void actor_demonitor(struct actor *a, struct span pid, uint64_t number)
{
    struct watch *w = find_watch(a, number);
    if (w != NULL) {
        HASH_DEL(a->watches, w);
        signal_watch(a, FRAME_DEMONITOR, pid, number);
    } else {
        w = take(watches_of(a, pid), number);
    }
    free(w);
}

void actor_over(struct actor *a, struct watch *watches)
{
    while (watches != NULL) { /* few; those of before are not walked past */
        struct watch *w = watches;
        LL_DELETE(watches, w);
        LL_PREPEND(a->ended, w);
    }
}

void actor_settle(struct actor *a)
{
    tell_endings(a);
    spawned_settle(a);
    while (a->ended != NULL) {
        struct watch *w = a->ended;
        const uint64_t number = w->number;
        LL_DELETE(a->ended, w);
        free(w);
        client_down(a->client, number);
    }
}
