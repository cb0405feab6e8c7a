#include "proto/function.h"

#include <ei.h>

#include "proto/engine.h"
#include "proto/op.h"
#include "proto/registry.h"
#include "proto/reply.h"

/* Those that are called otherwise than their request, or give something else. `args` are the
 * request's: a digit, or `a`, the next argument of the call. All other requests are functions of
 * their own name that give the reply. */
static const struct function {
    const char *module;
    const char *name;
    int arity;
    const char *request;
    const char *args;
    enum function_gives gives;
} functions[] = {
    {"emmap", "open", 2, "open", "a00a", FUNCTION_TAGGED},
    {"emmap", "open_counters", 1, "open_counters", "a1", FUNCTION_TAGGED},
    {"emmap", "close_counters", 1, "close", "a", FUNCTION_TAGGED},
    {"emmap", "resize", 1, "resize", "a0", FUNCTION_TAGGED},
    {"emmap", "info", 1, "info", "a", FUNCTION_BARE},
    {"emmap_queue", "open", 3, "open_queue", "aaa", FUNCTION_TAGGED},
    {"emmap_queue", "enqueue", 2, "push", "aa", FUNCTION_TAGGED},
    {"emmap_queue", "pop", 1, "pop_wait", "a0", FUNCTION_ITEM},
    {"emmap_queue", "dequeue", 1, "pop_wait", "a0", FUNCTION_ITEM},
    {"emmap_queue", "pop_and_purge", 1, "pop_wait", "a0", FUNCTION_ITEM},
    {"emmap_queue", "inspect", 1, "peek_many", "a1", FUNCTION_FIRST},
    {"emmap_queue", "peek_front", 1, "peek_many", "a1", FUNCTION_FIRST},
    {"emmap_queue", "peek_back", 1, "rpeek_many", "a1", FUNCTION_FIRST},
    {"emmap_queue", "length", 1, "length", "a", FUNCTION_BARE},
    {"emmap_queue", "is_empty", 1, "length", "a", FUNCTION_IS_ZERO},
    {"emmap_queue", "purge", 1, "length", "a", FUNCTION_IS_ZERO},
    {"emmap_queue", "metadata", 1, "info", "a", FUNCTION_BARE},
    {"emmap_queue", "info", 1, "info", "a", FUNCTION_BARE},
};

static bool is_named(struct span atom, const char *name)
{
    struct term t = term_in(atom);
    return term_is_atom(&t, name);
}

static const struct function *find(const struct mfa *f)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        const struct function *one = &functions[i];
        if (one->arity == f->arity && mfa_is(f, one->module, one->name))
            return one;
    }
    return NULL;
}

/* --- the request ----------------------------------------------------------------------------- */

/* A queue may be called by the name under which it is registered. */
static void put_arg(const struct server *s, const struct mfa *f, struct span arg, int place,
                    struct buf *request)
{
    struct term t = term_in(arg);
    const bool may_be_name = place == 0 && is_named(f->module, "emmap_queue");
    term_atom_bytes(&t);
    const struct process *p = may_be_name && !t.bad ? registry_named(s, arg) : NULL;
    if (p == NULL)
        reply_raw(request, arg);
    else
        reply_text(request, p->path);
}

static void put_request(const struct server *s, const struct mfa *f, const struct function *one,
                        struct buf *request)
{
    struct term args = mfa_args(f);
    int place = 0;
    reply_tuple(request, 1 + (int)strlen(one->args));
    reply_atom(request, one->request);
    for (const char *c = one->args; *c != '\0'; c++) {
        if (*c == 'a')
            put_arg(s, f, term_any(&args), place++, request);
        else
            reply_int64(request, *c - '0');
    }
}

static bool is_of_module(const struct mfa *f, const struct op *op)
{
    const bool on_any = op->kind == OBJECT_CLOSED && (op->args[0] == 'o' || op->args[0] == 'c');
    if (is_named(f->module, "emmap_queue"))
        return op->kind == OBJECT_QUEUE || on_any;
    return is_named(f->module, "emmap") && op->kind != OBJECT_QUEUE;
}

static const struct op *row_of(const struct mfa *f, int arity)
{
    bool known;
    struct term name = term_in(f->name);
    return op_find(term_atom_bytes(&name), arity, &known);
}

/* info(Node), list(Node), ...: of this one, there is no other to ask. */
static bool is_of_node(const struct mfa *f)
{
    struct term node = mfa_args(f);
    term_atom_bytes(&node);
    return f->arity == 1 && is_named(f->module, "emmap") && row_of(f, 0) != NULL &&
           (term_done(&node) || row_of(f, 1) == NULL);
}

static enum function_gives request_of_node(const struct server *s, const struct mfa *f,
                                           struct buf *request)
{
    if (!is_named(f->elements, s->options.node))
        return FUNCTION_BADARG;
    reply_raw(request, f->name);
    return FUNCTION_BARE;
}

static enum function_gives request_of_row(const struct server *s, const struct mfa *f,
                                          struct buf *request)
{
    struct term args = mfa_args(f);
    const struct op *op = row_of(f, f->arity);
    if (op == NULL || (op->flags & OP_OWN) != 0 || !is_of_module(f, op))
        return FUNCTION_NONE;
    reply_tuple(request, 1 + f->arity);
    reply_raw(request, f->name);
    for (int i = 0; i < f->arity; i++)
        put_arg(s, f, term_any(&args), i, request);
    return op->args[0] == '\0' ? FUNCTION_BARE : FUNCTION_TAGGED;
}

enum function_gives function_request(const struct server *s, const struct mfa *f,
                                     struct buf *request)
{
    if (is_of_node(f))
        return request_of_node(s, f, request);
    const struct function *one = find(f);
    if (one == NULL)
        return request_of_row(s, f, request);
    put_request(s, f, one, request);
    return one->gives;
}

/* --- the value ------------------------------------------------------------------------------- */

static bool read_pair(struct span reply, const char *name, struct span *second)
{
    struct term t = term_in(reply);
    if (term_tag(&t) != ERL_SMALL_TUPLE_EXT || term_tuple(&t) != 2 || !term_is_atom(&t, name))
        return false;
    *second = term_any(&t);
    return true;
}

static void put_item(struct span reply, struct buf *out)
{
    struct span item;
    if (read_pair(reply, "ok", &item))
        reply_raw(out, item);
    else
        reply_atom(out, "nil");
}

static void put_first(struct span reply, struct buf *out)
{
    struct span list;
    struct term t = term_in(reply);
    if (read_pair(reply, "ok", &list))
        t = term_in(list);
    if (term_list(&t) == 0 || term_tuple(&t) != 2) {
        reply_atom(out, "nil");
        return;
    }
    term_any(&t);
    reply_raw(out, term_any(&t));
}

bool function_value(enum function_gives gives, struct span reply, struct buf *out)
{
    struct span reason;
    struct term t = term_in(reply);
    if (gives != FUNCTION_TAGGED && read_pair(reply, "error", &reason)) {
        reply_raw(out, reason);
        return false;
    }
    switch (gives) {
    case FUNCTION_ITEM: put_item(reply, out); break;
    case FUNCTION_FIRST: put_first(reply, out); break;
    case FUNCTION_IS_ZERO: reply_atom(out, term_uint64(&t) == 0 ? "true" : "false"); break;
    default: reply_raw(out, reply);
    }
    return true;
}
