#include "dist/spawned.h"

#include <ei.h>
#include <utlist.h>

#include "dist/actor.h"
#include "dist/functions.h"
#include "proto/reply.h"
#include "proto/term.h"
#include "shell/console.h"

/* An answer's number, which is that of its reference: by the first bit told from those of the
 * engine's monitors, the count of the request, the process in the last bits. */
#define OF_SPAWNED ((uint64_t)1 << 63)
enum { PROCESS_BITS = 20 };
_Static_assert(SELF_LAST_SPAWNED < 1 << PROCESS_BITS, "a process's number fits");

/* BYTES_EACH: what a process keeps of its request, the processes of a peer on average. Half of all
 * numbers stay free, so that the next one is soon found. */
enum { CONSOLES_MOST = 16, BYTES_EACH = 512, ALL_MOST = 1 << (PROCESS_BITS - 1) };

/* What has to be known of a process that begins. */
struct birth {
    enum spawned_for what_for;
    struct span parent;
    struct span ref;
    struct span tag;
};

/* --- in and out of the tables -----------------------------------------------------------------
 */

struct spawned *spawned_find(const struct processes *all, uint32_t number)
{
    struct spawned *p;
    HASH_FIND(hh, all->spawned, &number, sizeof number, p);
    return p;
}

/* Of what runs at once there is a limit, for each peer and for all. */
static bool may_begin(const struct actor *a)
{
    const struct processes *all = a->processes;
    const uint32_t most = all->most_of_one;
    const bool fits = a->spawned == NULL || a->spawned_bytes <= (size_t)most * BYTES_EACH;
    return fits && a->spawned_count < most && HASH_COUNT(all->spawned) < ALL_MOST;
}

/* Numbers come round: one that is in use is passed over. 0: there are too many processes. */
static uint32_t new_number(const struct actor *a)
{
    struct processes *all = a->processes;
    uint32_t number;
    if (!may_begin(a))
        return 0;
    do
        number = self_new_id(all->self);
    while (spawned_find(all, number) != NULL);
    return number;
}

static struct span keep(uint8_t **end, struct span bytes)
{
    uint8_t *at = *end;
    if (bytes.len > 0)
        memcpy(at, bytes.at, bytes.len);
    *end += bytes.len;
    return span_of(at, bytes.len);
}

static void index_reference(struct spawned *p)
{
    struct actor *a = p->actor;
    struct spawned *other;
    if (p->ref.len == 0)
        return;
    HASH_FIND(by_ref, a->by_ref, p->ref.at, p->ref.len, other);
    if (other != NULL)
        return;
    HASH_ADD_KEYPTR(by_ref, a->by_ref, p->ref.at, p->ref.len, p);
    p->is_indexed = p->by_ref.tbl != NULL;
}

/* NULL without memory. */
static struct spawned *begin(struct actor *a, uint32_t number, const struct birth *b,
                             const struct mfa *f)
{
    struct processes *all = a->processes;
    const size_t len = b->parent.len + b->ref.len + b->tag.len + f->module.len + f->name.len;
    struct spawned *p = calloc(1, sizeof *p + len);
    if (p == NULL)
        return NULL;
    uint8_t *end = p->bytes;
    p->len = len;
    p->actor = a;
    p->number = number;
    p->what_for = b->what_for;
    p->arity = f->arity;
    p->parent = keep(&end, b->parent);
    p->ref = keep(&end, b->ref);
    p->tag = keep(&end, b->tag);
    p->module = keep(&end, f->module);
    p->name = keep(&end, f->name);
    HASH_ADD(hh, all->spawned, number, sizeof p->number, p);
    if (p->hh.tbl == NULL) {
        free(p);
        return NULL;
    }
    DL_APPEND(a->spawned, p);
    a->spawned_count++;
    a->spawned_bytes += len;
    index_reference(p);
    return p;
}

/* Whoever is tied to the process hears the reason. */
static void tell_end(const struct processes *all, uint32_t number, struct span reason)
{
    struct actor *a;
    DL_FOREACH(all->actors, a)
    a->outlet->ended(a->conn, number, reason);
}

static void end(struct spawned *p, struct span reason)
{
    struct processes *all = p->actor->processes;
    HASH_DELETE(hh, all->spawned, p);
    if (p->is_indexed)
        HASH_DELETE(by_ref, p->actor->by_ref, p);
    DL_DELETE(p->actor->spawned, p);
    p->actor->spawned_count--;
    p->actor->spawned_bytes -= p->len;
    tell_end(all, p->number, reason);
    actor_over(p->actor, p->watches);
    if (p->console != NULL)
        console_close(p->console);
    buf_fini(&p->reply);
    free(p);
}

static void end_by(struct spawned *p, const char *reason)
{
    struct buf atom;
    buf_init(&atom, 64);
    reply_atom(&atom, reason);
    end(p, span_of(atom.at, atom.len));
    buf_fini(&atom);
}

/* --- messages to the peer -----------------------------------------------------------------------
 */

static struct buf *begin_message(struct actor *a, struct span to)
{
    return a->outlet->begin(a->conn, to);
}

static void end_message(struct actor *a)
{
    a->outlet->end(a->conn);
}

static void put_pid(const struct actor *a, uint32_t process, struct buf *out)
{
    uint8_t bytes[SELF_PID_BYTES];
    reply_raw(out, self_pid(a->self, process, bytes));
}

/* --- what became of it --------------------------------------------------------------------------
 */

/* A value, or the reason of an exception; `args` are in the trace of one raised at once. */
struct result {
    enum { VALUE, ERROR, EXIT } class;
    struct span term;
    struct span args;
};

/* [{Module, Function, Arity or Args, []}] */
static void put_trace(const struct spawned *p, const struct result *r, struct buf *out)
{
    reply_list(out, 1);
    reply_tuple(out, 4);
    reply_raw(out, p->module);
    reply_raw(out, p->name);
    if (r->args.len > 0)
        reply_raw(out, r->args);
    else
        reply_int64(out, p->arity);
    reply_nil(out);
    reply_nil(out);
}

/* The reason of the end of who does not catch it. */
static void put_exception(const struct spawned *p, const struct result *r, struct buf *out)
{
    if (r->class == ERROR)
        reply_tuple(out, 2);
    reply_raw(out, r->term);
    if (r->class == ERROR)
        put_trace(p, r, out);
}

/* As rpc gives it. */
static void put_rpc_value(const struct spawned *p, const struct result *r, struct buf *out)
{
    if (r->class == VALUE) {
        reply_raw(out, r->term);
        return;
    }
    reply_tuple(out, 2);
    reply_atom(out, "badrpc");
    reply_tuple(out, 2);
    reply_atom(out, "EXIT");
    put_exception(p, r, out);
}

static void put_erpc_reason(const struct spawned *p, const struct result *r, struct buf *out)
{
    static const char *const classes[] = {[VALUE] = "return", [ERROR] = "error", [EXIT] = "exit"};
    reply_tuple(out, r->class == ERROR ? 4 : 3);
    reply_raw(out, p->tag);
    reply_atom(out, classes[r->class]);
    reply_raw(out, r->term);
    if (r->class == ERROR)
        put_trace(p, r, out);
}

/* {status, Pid, {module, Module}, [[], running, Pid, [], State]} */
static void put_status(const struct spawned *p, struct span state, struct buf *out)
{
    reply_tuple(out, 4);
    reply_atom(out, "status");
    put_pid(p->actor, p->status_of, out);
    reply_tuple(out, 2);
    reply_atom(out, "module");
    reply_atom(out, p->status_of == SELF_EMMAP ? "emmap" : "emmap_queue");
    reply_list(out, 5);
    reply_nil(out);
    reply_atom(out, "running");
    put_pid(p->actor, p->status_of, out);
    reply_nil(out);
    reply_raw(out, state);
    reply_nil(out);
}

static void answer(const struct spawned *p, const struct result *r)
{
    struct actor *a = p->actor;
    const struct span alias = term_alias(p->tag);
    struct buf *out = begin_message(a, alias.len > 0 ? alias : p->parent);
    reply_tuple(out, 2);
    reply_raw(out, p->tag);
    put_rpc_value(p, r, out);
    end_message(a);
}

static void finish(struct spawned *p, const struct result *r)
{
    struct buf reason;
    buf_init(&reason, SIZE_MAX);
    if (p->what_for == SPAWNED_ERPC)
        put_erpc_reason(p, r, &reason);
    else if (p->what_for == SPAWNED_ALONE && r->class != VALUE)
        put_exception(p, r, &reason);
    else
        reply_atom(&reason, "normal");
    if (p->what_for != SPAWNED_ERPC && p->what_for != SPAWNED_ALONE)
        answer(p, r);
    if (reason.failed)
        end_by(p, "system_limit");
    else
        end(p, span_of(reason.at, reason.len));
    buf_fini(&reason);
}

static void fail(struct spawned *p, const char *reason, struct span args)
{
    struct buf atom;
    buf_init(&atom, 64);
    reply_atom(&atom, reason);
    const struct result r = {.class = ERROR, .term = span_of(atom.at, atom.len), .args = args};
    finish(p, &r);
    buf_fini(&atom);
}

/* --- requests ----------------------------------------------------------------------------------
 */

static struct span own_ref(const struct spawned *p, uint8_t *to)
{
    return self_ref(p->actor->self, p->awaits, to);
}

/* Each answer has a number of its own: a late one is not taken for the next. */
static void await(struct spawned *p)
{
    p->awaits = OF_SPAWNED | (++p->actor->processes->requests << PROCESS_BITS) | p->number;
}

/* Who calls: what is leased to a function of rpc or erpc is leased to who called that. One that was
 * spawned is on its own, and so is one that was cast: it goes on without who asked for it. */
static struct span caller_of(const struct spawned *p, uint8_t *own)
{
    const bool is_own = p->what_for == SPAWNED_ALONE && p->console == NULL;
    return is_own ? self_pid(p->actor->self, p->number, own) : p->parent;
}

/* As a call with an alias of this process. */
static void send_request(struct spawned *p, struct span request)
{
    uint8_t own[SELF_PID_BYTES];
    uint8_t ref[SELF_REF_BYTES];
    struct actor *a = p->actor;
    struct buf call;
    await(p);
    buf_init(&call, SIZE_MAX);
    reply_tuple(&call, 3);
    reply_atom(&call, "$gen_call");
    reply_tuple(&call, 2);
    reply_raw(&call, caller_of(p, own));
    const uint8_t improper[] = {ERL_LIST_EXT, 0, 0, 0, 1};
    buf_put(&call, improper, sizeof improper);
    reply_atom(&call, "alias");
    reply_raw(&call, own_ref(p, ref));
    reply_raw(&call, request);
    a->processes->asking = p;
    if (call.failed)
        fail(p, "system_limit", span_of(NULL, 0));
    else
        client_message(a->client, PROCESS_EMMAP, span_of(call.at, call.len));
    a->processes->asking = NULL;
    buf_fini(&call);
}

/* The engine may be anywhere when it answers what was asked before. */
static void keep_reply(struct spawned *p, struct span reply)
{
    buf_init(&p->reply, SIZE_MAX);
    if (!buf_put(&p->reply, reply.at, reply.len))
        reply_error(&p->reply, ERR_ENOMEM);
    p->answered = true;
    p->actor->one_is_ready = true;
}

static void hear_reply(struct spawned *p)
{
    struct buf reply = p->reply;
    buf_init(&p->reply, SIZE_MAX);
    p->answered = false;
    console_answer(p->console, span_of(reply.at, reply.len));
    buf_fini(&reply);
}

bool spawned_awaits(const struct actor *a, struct span ref, uint64_t *number)
{
    return a->processes->requests > 0 && self_is_ref(a->self, ref, number) &&
           (*number & OF_SPAWNED) != 0;
}

static bool put_value(const struct spawned *p, struct span reply, struct buf *out)
{
    if (p->status_of == 0)
        return function_value(p->gives, reply, out);
    put_status(p, reply, out);
    return true;
}

static void take_value(struct spawned *p, struct span reply)
{
    struct buf value;
    buf_init(&value, SIZE_MAX);
    const bool good = put_value(p, reply, &value);
    if (value.failed) {
        fail(p, "system_limit", span_of(NULL, 0));
    } else {
        const struct result r = {.class = good ? VALUE : ERROR,
                                 .term = span_of(value.at, value.len)};
        finish(p, &r);
    }
    buf_fini(&value);
}

void spawned_answer(struct actor *a, uint64_t number, struct span message)
{
    struct spawned *p = spawned_find(a->processes, number & ((1 << PROCESS_BITS) - 1));
    struct term t = term_in(message);
    if (p == NULL || p->actor != a || p->awaits != number)
        return;
    p->awaits = 0;
    term_tuple(&t);
    term_any(&t);
    const struct span reply = term_any(&t);
    if (p->console == NULL)
        take_value(p, reply);
    else if (p == a->processes->asking)
        console_answer(p->console, reply);
    else
        keep_reply(p, reply);
}

static void cancel(struct spawned *p)
{
    uint8_t ref[SELF_REF_BYTES];
    if (p->awaits != 0)
        client_demonitor(p->actor->client, own_ref(p, ref));
    p->awaits = 0;
    buf_fini(&p->reply);
    p->answered = false;
}

/* --- consoles ----------------------------------------------------------------------------------
 */

static struct buf *console_begin(void *arg)
{
    struct spawned *p = arg;
    return begin_message(p->actor, p->parent);
}

static void console_end(void *arg)
{
    struct spawned *p = arg;
    end_message(p->actor);
}

static void console_request(void *arg, struct span request)
{
    send_request(arg, request);
}

static void console_cancel(void *arg)
{
    cancel(arg);
}

static void console_leave(void *arg)
{
    struct spawned *p = arg;
    p->leaves = true;
    p->actor->one_is_ready = true;
}

static const struct console_port console_port = {.begin = console_begin,
                                                 .end = console_end,
                                                 .request = console_request,
                                                 .cancel = console_cancel,
                                                 .leave = console_leave};

/* Nobody has linked to one: whoever asked for it may be gone. It makes room for the next. */
static bool make_room_for_console(const struct actor *a)
{
    struct spawned *unheard = NULL;
    struct spawned *p;
    unsigned n = 0;
    DL_FOREACH(a->spawned, p)
    {
        n += p->console != NULL;
        if (unheard == NULL && p->console != NULL && !p->is_heard)
            unheard = p;
    }
    if (n >= CONSOLES_MOST && unheard != NULL)
        end_by(unheard, "normal");
    return n < CONSOLES_MOST || unheard != NULL;
}

/* shell:start(): the process that runs this answers the pid of another, the console. */
static void start_console(struct spawned *p, const struct mfa *f)
{
    uint8_t bytes[SELF_PID_BYTES];
    struct actor *a = p->actor;
    const struct birth b = {.what_for = SPAWNED_ALONE, .parent = p->parent};
    const uint32_t number = make_room_for_console(a) ? new_number(a) : 0;
    struct spawned *new = number == 0 ? NULL : begin(a, number, &b, f);
    if (new == NULL) {
        fail(p, "system_limit", f->args);
        return;
    }
    const struct span self = self_pid(a->self, new->number, bytes);
    new->console = console_open(a->processes->server, &console_port, new, self);
    if (new->console == NULL) {
        end_by(new, "enomem");
        fail(p, "system_limit", f->args);
        return;
    }
    const struct result r = {.term = self};
    finish(p, &r);
}

/* TAB: the text before the cursor comes reversed. */
static void expand(struct spawned *p, const struct mfa *f)
{
    struct buf value;
    struct term args = mfa_args(f);
    buf_init(&value, SIZE_MAX);
    console_expand(p->actor->processes->server, term_any(&args), &value);
    const struct result r = {.term = span_of(value.at, value.len)};
    finish(p, &r);
    buf_fini(&value);
}

static bool run_shell(struct spawned *p, const struct mfa *f)
{
    if (mfa_is(f, "shell", "start") && f->arity <= 2)
        start_console(p, f);
    else if (mfa_is(f, "edlin_expand", "expand") && (f->arity == 1 || f->arity == 2))
        expand(p, f);
    else
        return false;
    return true;
}

/* --- running a function -------------------------------------------------------------------------
 */

static void run_request(struct spawned *p, const struct mfa *f)
{
    struct buf request;
    buf_init(&request, SIZE_MAX);
    p->gives = function_request(p->actor->processes->server, f, &request);
    if (p->gives == FUNCTION_NONE)
        fail(p, "undef", f->args);
    else if (p->gives == FUNCTION_BADARG)
        fail(p, "badarg", f->args);
    else
        send_request(p, span_of(request.at, request.len));
    buf_fini(&request);
}

static void run(struct spawned *p, const struct mfa *f)
{
    struct buf out;
    if (run_shell(p, f))
        return;
    buf_init(&out, SIZE_MAX);
    const enum functions_run what = functions_run(p->actor, f, &p->status_of, &out);
    const struct result r = {.class = what == FUNCTIONS_RAISE  ? ERROR
                                      : what == FUNCTIONS_EXIT ? EXIT
                                                               : VALUE,
                             .term = span_of(out.at, out.len),
                             .args = f->args};
    switch (what) {
    case FUNCTIONS_NONE: run_request(p, f); break;
    case FUNCTIONS_VALUE:
    case FUNCTIONS_EXIT:
    case FUNCTIONS_RAISE: finish(p, &r); break;
    case FUNCTIONS_REQUEST: p->gives = FUNCTION_BARE; send_request(p, r.term);
    }
    buf_fini(&out);
}

/* apply(Fun, Args) of an external fun, apply(Module, Function, Args): what is meant by it.
 * OTHER_ARITY: the fun takes another number of arguments. mfa_fini is due in any case. */
enum applied { NOT_APPLIED, APPLIED, OTHER_ARITY };

static enum applied read_applied(const struct mfa *f, struct mfa *inner)
{
    struct term t = mfa_args(f);
    int64_t arity = -1;
    *inner = (struct mfa){.arity = 0};
    if (!mfa_is(f, "erlang", "apply") || (f->arity != 2 && f->arity != 3))
        return NOT_APPLIED;
    if (f->arity == 2 && term_tag(&t) != ERL_EXPORT_EXT)
        return NOT_APPLIED;
    if (f->arity == 2)
        t.index++;
    const struct span module = term_any(&t);
    const struct span name = term_any(&t);
    if (f->arity == 2)
        arity = term_int64(&t);
    if (!mfa_read(inner, module, name, term_any(&t)))
        return NOT_APPLIED;
    return arity < 0 || arity == inner->arity ? APPLIED : OTHER_ARITY;
}

static enum applied unwrap(struct mfa *f)
{
    struct mfa inner;
    const enum applied what = read_applied(f, &inner);
    if (what == APPLIED) {
        mfa_fini(f);
        *f = inner;
    } else {
        mfa_fini(&inner);
    }
    return what;
}

/* {badarity, {Fun, Args}} */
static void fail_by_arity(struct spawned *p, const struct mfa *f)
{
    struct term t = mfa_args(f);
    struct buf reason;
    buf_init(&reason, SIZE_MAX);
    reply_tuple(&reason, 2);
    reply_atom(&reason, "badarity");
    reply_tuple(&reason, 2);
    reply_raw(&reason, term_any(&t));
    reply_raw(&reason, term_any(&t));
    const struct result r = {
        .class = ERROR, .term = span_of(reason.at, reason.len), .args = f->args};
    if (reason.failed)
        fail(p, "system_limit", f->args);
    else
        finish(p, &r);
    buf_fini(&reason);
}

/* Terms of a call that are no function and arguments. */
static struct mfa no_function(struct span module, struct span name, struct span args)
{
    return (struct mfa){.module = module, .name = name, .args = args};
}

struct call {
    struct span module, name, args;
};

/* False without memory. */
static bool start(struct actor *a, uint32_t number, const struct birth *b, const struct call *c)
{
    struct mfa f;
    const bool good = mfa_read(&f, c->module, c->name, c->args);
    const struct mfa bad = no_function(c->module, c->name, c->args);
    const enum applied applied = good ? unwrap(&f) : NOT_APPLIED;
    struct spawned *p = begin(a, number, b, good ? &f : &bad);
    const bool born = p != NULL;
    if (born && applied == OTHER_ARITY)
        fail_by_arity(p, &f);
    else if (born && good)
        run(p, &f);
    else if (born)
        fail(p, "badarg", c->args);
    mfa_fini(&f);
    return born;
}

/* --- spawn requests ----------------------------------------------------------------------------
 */

enum { LINKED = 1, MONITORED = 2 };

static bool read_options(struct span options, uint8_t *flags)
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

/* erpc:execute_call(Res, M, F, A) and erpc:execute_cast(M, F, A) are what they run. */
static bool read_erpc(struct span module, struct span name, struct span args, struct birth *b,
                      struct call *c)
{
    struct mfa f;
    bool good = mfa_read(&f, module, name, args);
    const bool is_call = good && f.arity == 4 && mfa_is(&f, "erpc", "execute_call");
    const bool is_cast = good && f.arity == 3 && mfa_is(&f, "erpc", "execute_cast");
    struct term t = term_in(args);
    good = (is_call || is_cast) && term_tag(&t) == ERL_LIST_EXT;
    if (good) {
        term_list(&t);
        if (is_call)
            b->tag = term_any(&t);
        b->what_for = is_call ? SPAWNED_ERPC : SPAWNED_ALONE;
        c->module = term_any(&t);
        c->name = term_any(&t);
        c->args = term_any(&t);
    }
    mfa_fini(&f);
    return good;
}

static void tie_to_parent(struct actor *a, uint32_t number, uint8_t flags, const struct control *c,
                          struct span pid)
{
    const struct control monitor = {.to = pid, .from = c->from, .ref = c->ref};
    const struct control link = {.to = pid, .from = c->from};
    if (flags & MONITORED)
        actor_tie(a, number, &monitor, false);
    if (flags & LINKED)
        actor_tie(a, number, &link, true);
}

static void put_spawn_reply(struct actor *a, const struct control *c, uint8_t flags,
                            struct span pid)
{
    const uint8_t number[] = {ERL_SMALL_INTEGER_EXT, flags};
    const struct span reply[] = {c->ref, c->from, span_of(number, sizeof number), pid};
    actor_signal(a, FRAME_SPAWN_REPLY, reply, 4);
}

static void refuse_spawn(struct actor *a, const struct control *c)
{
    struct buf atom;
    buf_init(&atom, 64);
    reply_atom(&atom, "system_limit");
    put_spawn_reply(a, c, 0, span_of(atom.at, atom.len));
    buf_fini(&atom);
}

bool spawned_request(struct actor *a, const struct control *c, struct span args)
{
    struct term t = term_in(c->function);
    struct birth b = {.what_for = SPAWNED_ALONE, .parent = c->from, .ref = c->ref};
    uint8_t bytes[SELF_PID_BYTES];
    uint8_t flags;
    if (term_tuple(&t) != 3 || !read_options(c->spawn_options, &flags))
        return false;
    if (!span_equal(self_node_of_pid(c->from), a->peer)) {
        a->ignored++; /* whoever it is would not be reached from here */
        return true;
    }
    const struct span module = term_any(&t);
    struct call call = {.module = module, .name = term_any(&t), .args = args};
    const uint32_t number = new_number(a);
    if (number == 0) {
        refuse_spawn(a, c);
        return true;
    }
    const struct span pid = self_pid(a->self, number, bytes);
    put_spawn_reply(a, c, flags, pid);
    tie_to_parent(a, number, flags, c, pid);
    if (!read_erpc(module, call.name, args, &b, &call))
        b.ref = span_of(NULL, 0); /* whoever spawns a process does not end it by looking away */
    if (!start(a, number, &b, &call))
        tell_end(a->processes, number, frame_unused()); /* no memory, not even for a reason */
    return true;
}

/* --- messages ----------------------------------------------------------------------------------
 */

/* {Form, Module, Function, Args, GroupLeader}, read in place. */
static bool read_call(struct term *t, const char *form, struct call *c)
{
    if (term_tag(t) != ERL_SMALL_TUPLE_EXT || term_tuple(t) != 5 || !term_is_atom(t, form))
        return false;
    c->module = term_any(t);
    c->name = term_any(t);
    c->args = term_any(t);
    term_any(t);
    return true;
}

/* {badrpc, {'EXIT', system_limit}} */
static void refuse_call(struct actor *a, const struct birth *b)
{
    struct buf atom;
    buf_init(&atom, 64);
    reply_atom(&atom, "system_limit");
    const struct spawned nobody = {.actor = a, .parent = b->parent, .tag = b->tag};
    const struct result r = {.class = EXIT, .term = span_of(atom.at, atom.len)};
    answer(&nobody, &r);
    buf_fini(&atom);
}

static void start_for(struct actor *a, const struct birth *b, const struct call *c)
{
    const uint32_t number = new_number(a);
    if (number == 0 || !start(a, number, b, c))
        refuse_call(a, b);
}

/* {Pid, {call, M, F, A, GroupLeader}}: answered by {rex, Value}. */
static bool rex_message(struct actor *a, struct span message)
{
    static const uint8_t rex[] = {ERL_SMALL_ATOM_UTF8_EXT, 3, 'r', 'e', 'x'};
    struct call c;
    struct term t = term_in(message);
    struct birth b = {.what_for = SPAWNED_CALL, .tag = span_of(rex, sizeof rex)};
    if (term_tag(&t) != ERL_SMALL_TUPLE_EXT || term_tuple(&t) != 2)
        return false;
    b.parent = term_any(&t);
    if (self_node_of_pid(b.parent).len == 0 || !read_call(&t, "call", &c))
        return false;
    start_for(a, &b, &c);
    return true;
}

/* {Form, {Pid, Tag}, Request}; *t stands before the request. An alias of this node is nobody's: an
 * answer to it would be another answer, or the same again. */
static bool read_from(const struct actor *a, struct term *t, const char *form, struct birth *b)
{
    uint64_t own;
    if (term_tag(t) != ERL_SMALL_TUPLE_EXT || term_tuple(t) != 3 || !term_is_atom(t, form) ||
        term_tag(t) != ERL_SMALL_TUPLE_EXT || term_tuple(t) != 2)
        return false;
    b->parent = term_any(t);
    b->tag = term_any(t);
    b->ref = term_alias(b->tag);
    return self_node_of_pid(b->parent).len > 0 && !self_is_ref(a->self, b->ref, &own);
}

bool spawned_rex(struct actor *a, struct span message)
{
    struct birth b = {.what_for = SPAWNED_CALL};
    struct call c;
    struct term t = term_in(message);
    if (rex_message(a, message))
        return true;
    if (!read_from(a, &t, "$gen_call", &b))
        return false;
    struct term again = t;
    if (!read_call(&t, "block_call", &c) && !read_call(&again, "call", &c))
        return false;
    start_for(a, &b, &c);
    return true;
}

/* As sys refuses what it does not know, so that nobody waits for an answer to suspend or terminate:
 * {error, {unknown_system_msg, Request}}. */
static void refuse_system(struct actor *a, const struct birth *b, struct span request)
{
    struct buf *out = begin_message(a, b->ref.len > 0 ? b->ref : b->parent);
    reply_tuple(out, 2);
    reply_raw(out, b->tag);
    reply_tuple(out, 2);
    reply_atom(out, "error");
    reply_tuple(out, 2);
    reply_atom(out, "unknown_system_msg");
    reply_raw(out, request);
    end_message(a);
}

bool spawned_system(struct actor *a, uint32_t process, struct span message)
{
    struct term t = term_in(message);
    struct birth b = {.what_for = SPAWNED_CALL};
    if (!read_from(a, &t, "system", &b))
        return false;
    const bool status = term_is_atom(&t, "get_status");
    if (!status && !term_is_atom(&t, "get_state")) {
        refuse_system(a, &b, term_any(&t));
        return true;
    }
    struct buf request;
    buf_init(&request, SIZE_MAX);
    const struct mfa nothing = {.arity = 0};
    const uint32_t number = functions_state(a, process, &request) ? new_number(a) : 0;
    struct spawned *p = number == 0 ? NULL : begin(a, number, &b, &nothing);
    if (p != NULL) {
        p->gives = FUNCTION_BARE;
        p->status_of = status ? process : 0;
        send_request(p, span_of(request.at, request.len));
    } else {
        refuse_call(a, &b);
    }
    buf_fini(&request);
    return true;
}

void spawned_message(struct spawned *p, struct span message)
{
    if (p->console != NULL)
        console_message(p->console, message);
}

void spawned_linked(struct spawned *p, struct span by)
{
    if (p->console == NULL || !span_equal(by, p->parent))
        return;
    p->is_heard = true;
    console_start(p->console);
}

/* --- ends --------------------------------------------------------------------------------------
 */

void spawned_take_back(struct actor *a, struct span ref)
{
    struct spawned *p;
    HASH_FIND(by_ref, a->by_ref, ref.at, ref.len, p);
    if (p == NULL)
        return;
    cancel(p);
    end_by(p, "normal");
}

void spawned_exit(struct spawned *p, bool by_link, struct span reason)
{
    struct term t = term_in(reason);
    if (term_is_atom(&t, "normal") && p->console == NULL)
        return;
    if (!by_link && term_is_atom(&t, "interrupt") && p->console != NULL) {
        console_interrupt(p->console);
        return;
    }
    cancel(p);
    if (!by_link && term_is_atom(&t, "kill"))
        end_by(p, "killed");
    else
        end(p, reason);
}

static struct spawned *first_ready(const struct actor *a)
{
    struct spawned *p = a->spawned;
    while (p != NULL && !p->leaves && !p->answered) /* NOLINT: who has ended is not among them */
        p = p->next;
    return p;
}

void spawned_settle(struct actor *a)
{
    struct spawned *p;
    if (!a->one_is_ready)
        return;
    while ((p = first_ready(a)) != NULL) {
        if (p->leaves)
            end_by(p, "normal");
        else
            hear_reply(p);
    }
    a->one_is_ready = false;
}

void spawned_end_all(struct actor *a)
{
    while (a->spawned != NULL)
        end_by(a->spawned, "noconnection"); /* NOLINT: it takes itself out */
}
