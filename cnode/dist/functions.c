#include "dist/functions.h"

#include <ei.h>
#include <unistd.h>
#include <utlist.h>
#include <uv.h>

#include "proto/reply.h"
#include "proto/term.h"

/* A function on its way: the arguments that are left, and where the value goes. */
struct calling {
    struct actor *actor;
    const struct mfa *f;
    struct term args;
    uint32_t status_of;
    struct buf *out;
};

/* Their tools ask for a release by number; the protocol that is spoken here is this one's. */
static const char otp_release[] = "25";

enum { TICKTIME_S = 60 };

static enum functions_run raise_badarg(struct calling *c)
{
    buf_cut(c->out, 0);
    reply_atom(c->out, "badarg");
    return FUNCTIONS_RAISE;
}

/* A string of ASCII. */
static void put_string(struct buf *out, const char *text)
{
    const size_t len = strlen(text);
    uint8_t head[] = {ERL_STRING_EXT, 0, 0};
    put_be16(head + 1, (uint16_t)len);
    if (len == 0) {
        reply_nil(out);
        return;
    }
    buf_put(out, head, sizeof head);
    buf_put(out, text, len);
}

static void put_pid(const struct actor *a, uint32_t number, struct buf *out)
{
    uint8_t bytes[SELF_PID_BYTES];
    reply_raw(out, self_pid(a->self, number, bytes));
}

static void put_pair(struct buf *out, const char *key)
{
    reply_tuple(out, 2);
    reply_atom(out, key);
}

/* --- processes ---------------------------------------------------------------------------------
 */

static const struct {
    uint32_t number;
    const char *name;
} fixed[] = {{SELF_EMMAP, "emmap"}, {SELF_NET_KERNEL, "net_kernel"}, {SELF_REX, "rex"}};

enum { FIXED = sizeof fixed / sizeof fixed[0] };

struct listing {
    const struct actor *actor;
    struct buf *out;
    uint32_t n;
};

static void list_pid(void *arg, uint32_t number, const char *name)
{
    struct listing *l = arg;
    (void)name;
    put_pid(l->actor, number, l->out);
    l->n++;
}

static void list_name(void *arg, uint32_t number, const char *name)
{
    struct listing *l = arg;
    (void)number;
    reply_atom(l->out, name);
    l->n++;
}

static void list_named(struct listing *l, void (*put)(void *, uint32_t, const char *))
{
    for (int i = 0; i < FIXED; i++)
        put(l, fixed[i].number, fixed[i].name);
    server_each_process(l->actor->processes->server, put, l);
}

static enum functions_run run_processes(struct calling *c)
{
    struct listing l = {.actor = c->actor, .out = c->out};
    const size_t begin = reply_list_begin(c->out);
    const struct spawned *p;
    list_named(&l, list_pid);
    for (p = c->actor->processes->spawned; p != NULL; p = p->hh.next)
        list_pid(&l, p->number, "");
    reply_list_end(c->out, begin, l.n);
    return FUNCTIONS_VALUE;
}

static enum functions_run run_registered(struct calling *c)
{
    struct listing l = {.actor = c->actor, .out = c->out};
    const size_t begin = reply_list_begin(c->out);
    list_named(&l, list_name);
    reply_list_end(c->out, begin, l.n);
    return FUNCTIONS_VALUE;
}

static bool is_atom(struct span term)
{
    struct term t = term_in(term);
    term_atom_bytes(&t);
    return term_done(&t);
}

static enum functions_run run_whereis(struct calling *c)
{
    const struct span name = term_any(&c->args);
    const uint32_t number = is_atom(name) ? actor_find(c->actor, name) : 0;
    if (!is_atom(name))
        return raise_badarg(c);
    if (number == 0)
        reply_atom(c->out, "undefined");
    else
        put_pid(c->actor, number, c->out);
    return FUNCTIONS_VALUE;
}

/* A pid of this node, of whatever life; *number is 0 where nobody has it any more. */
static bool read_own_pid(struct calling *c, uint32_t *number)
{
    const struct span pid = term_any(&c->args);
    *number = actor_find(c->actor, pid);
    return span_equal(self_node_of_pid(pid), span_text(c->actor->self->name));
}

static enum functions_run run_is_process_alive(struct calling *c)
{
    uint32_t number;
    if (!read_own_pid(c, &number))
        return raise_badarg(c);
    reply_atom(c->out, number != 0 ? "true" : "false");
    return FUNCTIONS_VALUE;
}

/* --- process_info -------------------------------------------------------------------------------
 */

struct naming {
    uint32_t number;
    struct buf *out;
    bool found;
};

static void put_if_named(void *arg, uint32_t number, const char *name)
{
    struct naming *n = arg;
    if (number != n->number)
        return;
    reply_atom(n->out, name);
    n->found = true;
}

static bool put_name_of(const struct calling *c, uint32_t number)
{
    struct naming n = {.number = number, .out = c->out};
    for (int i = 0; i < FIXED; i++)
        put_if_named(&n, fixed[i].number, fixed[i].name);
    server_each_process(c->actor->processes->server, put_if_named, &n);
    return n.found;
}

static void put_registered_name(const struct calling *c, uint32_t number)
{
    if (!put_name_of(c, number))
        reply_nil(c->out);
}

static void put_queue_len(const struct calling *c, uint32_t number)
{
    reply_uint64(c->out, server_process_waiting(c->actor->processes->server, number));
}

static void put_ties(const struct calling *c, uint32_t number, bool links)
{
    const struct actor *a;
    const size_t begin = reply_list_begin(c->out);
    uint32_t n = 0;
    DL_FOREACH(c->actor->processes->actors, a)
    n += actor_list_ties(a, number, links, c->out);
    reply_list_end(c->out, begin, n);
}

static void put_links(const struct calling *c, uint32_t number)
{
    put_ties(c, number, true);
}

static void put_monitored_by(const struct calling *c, uint32_t number)
{
    put_ties(c, number, false);
}

/* It is `emmap` that watches processes, for all of this node. */
static void put_monitors(const struct calling *c, uint32_t number)
{
    const struct actor *a;
    const size_t begin = reply_list_begin(c->out);
    uint32_t n = 0;
    DL_FOREACH(c->actor->processes->actors, a)
    n += number == SELF_EMMAP ? actor_list_watches(a, c->out) : 0;
    reply_list_end(c->out, begin, n);
}

static void put_status(const struct calling *c, uint32_t number)
{
    (void)number;
    reply_atom(c->out, "waiting");
}

/* Nothing ends those that are registered. */
static void put_trap_exit(const struct calling *c, uint32_t number)
{
    reply_atom(c->out, spawned_find(c->actor->processes, number) == NULL ? "true" : "false");
}

static const struct {
    const char *name;
    void (*put)(const struct calling *c, uint32_t number);
} items[] = {
    {"registered_name", put_registered_name}, /* first: it is left out where there is none */
    {"status", put_status},
    {"message_queue_len", put_queue_len},
    {"links", put_links},
    {"monitors", put_monitors},
    {"monitored_by", put_monitored_by},
    {"trap_exit", put_trap_exit},
};

enum { ITEMS = sizeof items / sizeof items[0] };

/* {Item, Value}; false: no such item is known. */
static bool put_item(const struct calling *c, uint32_t number, struct term *name)
{
    for (int i = 0; i < ITEMS; i++) {
        if (!term_is_atom(name, items[i].name))
            continue;
        put_pair(c->out, items[i].name);
        items[i].put(c, number);
        return true;
    }
    return false;
}

/* A longer list names some twice: a short question could have an answer of any size. */
static bool put_items(const struct calling *c, uint32_t number, struct term *names)
{
    const int n = term_list(names);
    bool good = !names->bad && n <= ITEMS;
    reply_list(c->out, (uint32_t)n);
    for (int i = 0; i < n && good; i++)
        good = put_item(c, number, names);
    reply_nil(c->out);
    return good;
}

/* {registered_name, Name}; false: it has none, and nothing is put. */
static bool put_name_item(const struct calling *c, uint32_t number)
{
    const size_t from = c->out->len;
    put_pair(c->out, items[0].name);
    const bool named = put_name_of(c, number);
    if (!named)
        buf_cut(c->out, from);
    return named;
}

/* The name, where it has one, and all others. */
static void put_all_items(const struct calling *c, uint32_t number)
{
    const size_t begin = reply_list_begin(c->out);
    uint32_t n = put_name_item(c, number);
    for (int i = 1; i < ITEMS; i++) {
        put_pair(c->out, items[i].name);
        items[i].put(c, number);
        n++;
    }
    reply_list_end(c->out, begin, n);
}

/* Asked for alone, a name that is not there is []. */
static bool put_only_item(const struct calling *c, uint32_t number, struct term *name)
{
    if (!term_is_atom(name, items[0].name))
        return put_item(c, number, name);
    if (!put_name_item(c, number))
        reply_nil(c->out);
    return true;
}

static enum functions_run run_process_info(struct calling *c)
{
    uint32_t number;
    bool good = true;
    if (!read_own_pid(c, &number))
        return raise_badarg(c);
    const int tag = term_tag(&c->args);
    if (number == 0)
        reply_atom(c->out, "undefined");
    else if (c->f->arity == 1)
        put_all_items(c, number);
    else if (tag == ERL_LIST_EXT || tag == ERL_NIL_EXT)
        good = put_items(c, number, &c->args);
    else
        good = put_only_item(c, number, &c->args);
    return good ? FUNCTIONS_VALUE : raise_badarg(c);
}

/* --- the node ----------------------------------------------------------------------------------
 */

static enum functions_run run_node(struct calling *c)
{
    reply_atom(c->out, c->actor->self->name);
    return FUNCTIONS_VALUE;
}

static void put_release(const struct calling *c)
{
    put_string(c->out, otp_release);
}

static void put_version(const struct calling *c)
{
    char text[128];
    snprintf(text, sizeof text, "emmapd %s, a node in C\n",
             server_version(c->actor->processes->server));
    put_string(c->out, text);
}

static void put_machine(const struct calling *c)
{
    put_string(c->out, "emmapd");
}

static void put_process_count(const struct calling *c)
{
    struct buf list;
    buf_init(&list, SIZE_MAX);
    struct listing l = {.actor = c->actor, .out = &list};
    list_named(&l, list_pid);
    reply_uint64(c->out, l.n + HASH_COUNT(c->actor->processes->spawned));
    buf_fini(&list);
}

static void put_process_limit(const struct calling *c)
{
    reply_uint64(c->out, SELF_LAST_SPAWNED);
}

static void put_zero(const struct calling *c)
{
    reply_uint64(c->out, 0);
}

static void put_one(const struct calling *c)
{
    reply_uint64(c->out, 1);
}

static void put_word_bytes(const struct calling *c)
{
    reply_uint64(c->out, sizeof(void *));
}

static void put_creation(const struct calling *c)
{
    reply_uint64(c->out, c->actor->self->creation);
}

static const struct {
    const char *name;
    void (*put)(const struct calling *c);
} facts[] = {
    {"otp_release", put_release},
    {"system_version", put_version},
    {"machine", put_machine},
    {"process_count", put_process_count},
    {"process_limit", put_process_limit},
    {"port_count", put_zero},
    {"schedulers", put_one},
    {"schedulers_online", put_one},
    {"wordsize", put_word_bytes},
    {"creation", put_creation},
};

static enum functions_run run_system_info(struct calling *c)
{
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (!term_is_atom(&c->args, facts[i].name))
            continue;
        facts[i].put(c);
        return FUNCTIONS_VALUE;
    }
    return raise_badarg(c);
}

/* What the operating system says; a BEAM's own kinds of memory are not here. */
static const char *const memory_kinds[] = {
    "total", "processes", "processes_used", "system", "atom", "atom_used", "binary", "code", "ets"};

enum { MEMORY_KINDS = sizeof memory_kinds / sizeof memory_kinds[0] };

static uint64_t memory_of(const char *kind)
{
    size_t rss = 0;
    uv_resident_set_memory(&rss);
    return strcmp(kind, "total") == 0 || strcmp(kind, "system") == 0 ? rss : 0;
}

static enum functions_run run_memory(struct calling *c)
{
    reply_list(c->out, MEMORY_KINDS);
    for (int i = 0; i < MEMORY_KINDS; i++) {
        put_pair(c->out, memory_kinds[i]);
        reply_uint64(c->out, memory_of(memory_kinds[i]));
    }
    reply_nil(c->out);
    return FUNCTIONS_VALUE;
}

static enum functions_run run_memory_of(struct calling *c)
{
    for (int i = 0; i < MEMORY_KINDS; i++) {
        if (!term_is_atom(&c->args, memory_kinds[i]))
            continue;
        reply_uint64(c->out, memory_of(memory_kinds[i]));
        return FUNCTIONS_VALUE;
    }
    return raise_badarg(c);
}

static enum functions_run run_pid_of_os(struct calling *c)
{
    char text[24];
    snprintf(text, sizeof text, "%ld", (long)getpid());
    put_string(c->out, text);
    return FUNCTIONS_VALUE;
}

/* No application has a configuration here. */
static enum functions_run run_get_env(struct calling *c)
{
    if (!is_atom(term_any(&c->args)) || !is_atom(term_any(&c->args)))
        return raise_badarg(c);
    if (c->f->arity == 3)
        reply_raw(c->out, term_any(&c->args));
    else
        reply_atom(c->out, "undefined");
    return FUNCTIONS_VALUE;
}

/* [{Name, Description, Version}] */
static enum functions_run run_which_applications(struct calling *c)
{
    reply_list(c->out, 1);
    reply_tuple(c->out, 3);
    reply_atom(c->out, "emmap");
    put_string(c->out, "persistent shared state");
    put_string(c->out, server_version(c->actor->processes->server));
    reply_nil(c->out);
    return FUNCTIONS_VALUE;
}

static enum functions_run run_ensure_loaded(struct calling *c)
{
    const struct span module = term_any(&c->args);
    if (!is_atom(module))
        return raise_badarg(c);
    const bool is_here = functions_have_module(module);
    reply_tuple(c->out, 2);
    reply_atom(c->out, is_here ? "module" : "error");
    if (is_here)
        reply_raw(c->out, module);
    else
        reply_atom(c->out, "nofile");
    return FUNCTIONS_VALUE;
}

static enum functions_run run_get_net_ticktime(struct calling *c)
{
    reply_uint64(c->out, TICKTIME_S);
    return FUNCTIONS_VALUE;
}

/* --- sys ---------------------------------------------------------------------------------------
 */

bool functions_state(struct actor *a, uint32_t process, struct buf *request)
{
    return process != 0 && server_state_request(a->processes->server, process, request);
}

/* It is a call of who is not there. */
static enum functions_run exit_noproc(struct calling *c)
{
    reply_tuple(c->out, 2);
    reply_atom(c->out, "noproc");
    reply_tuple(c->out, 3);
    reply_raw(c->out, c->f->module);
    reply_raw(c->out, c->f->name);
    reply_raw(c->out, c->f->args);
    return FUNCTIONS_EXIT;
}

static enum functions_run run_get_state(struct calling *c)
{
    const uint32_t process = actor_find(c->actor, term_any(&c->args));
    return functions_state(c->actor, process, c->out) ? FUNCTIONS_REQUEST : exit_noproc(c);
}

static enum functions_run run_get_status(struct calling *c)
{
    c->status_of = actor_find(c->actor, term_any(&c->args));
    return functions_state(c->actor, c->status_of, c->out) ? FUNCTIONS_REQUEST : exit_noproc(c);
}

/* --- the table ---------------------------------------------------------------------------------
 */

static const struct function {
    const char *module;
    const char *name;
    int arity;
    enum functions_run (*run)(struct calling *c);
} functions[] = {
    {"erlang", "node", 0, run_node},
    {"erlang", "processes", 0, run_processes},
    {"erlang", "registered", 0, run_registered},
    {"erlang", "whereis", 1, run_whereis},
    {"erlang", "is_process_alive", 1, run_is_process_alive},
    {"erlang", "process_info", 1, run_process_info},
    {"erlang", "process_info", 2, run_process_info},
    {"erlang", "system_info", 1, run_system_info},
    {"erlang", "memory", 0, run_memory},
    {"erlang", "memory", 1, run_memory_of},
    {"os", "getpid", 0, run_pid_of_os},
    {"application", "get_env", 2, run_get_env},
    {"application", "get_env", 3, run_get_env},
    {"application", "which_applications", 0, run_which_applications},
    {"code", "ensure_loaded", 1, run_ensure_loaded},
    {"net_kernel", "get_net_ticktime", 0, run_get_net_ticktime},
    {"emmap", "which_node", 0, run_node},
    {"sys", "get_state", 1, run_get_state},
    {"sys", "get_state", 2, run_get_state},
    {"sys", "get_status", 1, run_get_status},
    {"sys", "get_status", 2, run_get_status},
};

enum { FUNCTIONS = sizeof functions / sizeof functions[0] };

bool functions_have_module(struct span module)
{
    static const char *const others[] = {"emmap_queue", "erpc", "shell", "edlin_expand"};
    struct term t = term_in(module);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (term_is_atom(&t, others[i]))
            return true;
    }
    for (int i = 0; i < FUNCTIONS; i++) {
        if (term_is_atom(&t, functions[i].module))
            return true;
    }
    return false;
}

enum functions_run functions_run(struct actor *a, const struct mfa *f, uint32_t *status_of,
                                 struct buf *out)
{
    struct calling c = {.actor = a, .f = f, .args = mfa_args(f), .out = out};
    for (int i = 0; i < FUNCTIONS; i++) {
        if (functions[i].arity != f->arity || !mfa_is(f, functions[i].module, functions[i].name))
            continue;
        const enum functions_run what = functions[i].run(&c);
        *status_of = c.status_of;
        return what;
    }
    return FUNCTIONS_NONE;
}
