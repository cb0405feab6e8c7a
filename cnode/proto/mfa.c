#include "proto/mfa.h"

#include <ei.h>

static bool is_atom(struct span term)
{
    struct term t = term_in(term);
    term_atom_bytes(&t);
    return term_done(&t);
}

/* Bytes, each of which is an integer. */
static bool expand(struct mfa *f, struct term *t)
{
    const struct span bytes = term_string(t);
    for (size_t i = 0; i < bytes.len; i++) {
        const uint8_t integer[] = {ERL_SMALL_INTEGER_EXT, bytes.at[i]};
        buf_put(&f->expanded, integer, sizeof integer);
    }
    f->arity = (int)bytes.len;
    f->elements = span_of(f->expanded.at, f->expanded.len);
    return !f->expanded.failed;
}

static bool read_list(struct mfa *f, struct term *t)
{
    f->arity = term_list(t);
    const uint8_t *from = (const uint8_t *)t->buf + t->index;
    for (int i = 0; i < f->arity; i++)
        term_any(t);
    f->elements = span_of(from, (size_t)((const uint8_t *)t->buf + t->index - from));
    if (f->arity > 0)
        term_list_end(t);
    return term_done(t);
}

bool mfa_read(struct mfa *f, struct span module, struct span name, struct span args)
{
    struct term t = term_in(args);
    *f = (struct mfa){.module = module, .name = name, .args = args};
    buf_init(&f->expanded, SIZE_MAX);
    if (!is_atom(module) || !is_atom(name))
        return false;
    return term_tag(&t) == ERL_STRING_EXT ? expand(f, &t) : read_list(f, &t);
}

void mfa_fini(struct mfa *f)
{
    buf_fini(&f->expanded);
}

struct term mfa_args(const struct mfa *f)
{
    return term_in(f->elements);
}

bool mfa_is(const struct mfa *f, const char *module, const char *name)
{
    struct term m = term_in(f->module);
    struct term n = term_in(f->name);
    return term_is_atom(&m, module) && term_is_atom(&n, name);
}
