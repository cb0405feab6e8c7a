#include "shell/tokens.h"

#include <ei.h>

#include "proto/print.h"
#include "proto/reply.h"
#include "proto/term.h"

/* One pass: terms are written as their tokens come, the number of elements when a level is closed.
 * What is open is kept in `levels`, so that no depth of a line matters. */

enum kind { CALL, TUPLE, LIST, TAIL, KEY, VALUE };

enum { HEAD = 5, SHOWN = 40 }; /* bytes of a head: a tag and a number of 32 bits */

struct level {
    enum kind kind;
    uint32_t n;   /* elements, or keys */
    size_t begin; /* of the head in `out` */
    size_t part;  /* of the key, of the tail */
};

struct parser {
    struct term in;
    int left; /* tokens */
    char name[TERM_ATOM_BYTES];
    struct span value; /* of the token; empty for a mark */
    struct buf *out;
    struct buf *why;
    bool failed;
    int depth;
    struct level levels[TOKENS_DEPTH];
};

/* --- tokens ---------------------------------------------------------------------------------- */

/* {Category, Place} or {Category, Place, Value}; "" where there is none. */
static void next(struct parser *p)
{
    p->name[0] = '\0';
    p->value = span_of(NULL, 0);
    if (p->left == 0)
        return;
    p->left--;
    const int arity = term_tuple(&p->in);
    term_atom(&p->in, p->name);
    if (arity == 2 || arity == 3)
        term_any(&p->in);
    if (arity == 3)
        p->value = term_any(&p->in);
    if (arity > 3 || p->in.bad) {
        p->name[0] = '\0';
        p->left = 0;
    }
}

static bool is(const struct parser *p, const char *name)
{
    return strcmp(p->name, name) == 0;
}

static void say_token(struct parser *p)
{
    if (p->name[0] == '\0' || is(p, "dot"))
        print_text(p->why, "the end");
    else if (is(p, "var"))
        print_text(p->why, "a variable");
    else if (p->value.len > 0)
        print_term(p->why, p->value, 0, SHOWN);
    else
        print_name(p->why, span_text(p->name));
}

static bool refuse(struct parser *p, const char *why)
{
    if (!p->failed)
        print_text(p->why, "%s", why);
    p->failed = true;
    return false;
}

static bool expected(struct parser *p, const char *what)
{
    if (p->failed)
        return false;
    print_text(p->why, "expected %s, not ", what);
    say_token(p);
    p->failed = true;
    return false;
}

/* --- levels ---------------------------------------------------------------------------------- */

static bool open_level(struct parser *p, enum kind kind, uint8_t tag)
{
    if (p->depth == TOKENS_DEPTH)
        return refuse(p, "a term nested less deep was expected");
    p->levels[p->depth++] = (struct level){.kind = kind, .begin = p->out->len};
    const uint8_t head[HEAD] = {tag};
    buf_put(p->out, head, sizeof head);
    return true;
}

static void cut_out(struct buf *b, size_t at, size_t n)
{
    memmove(b->at + at, b->at + at + n, b->len - at - n);
    b->len -= n;
}

static void end_tuple(struct parser *p, const struct level *l)
{
    uint8_t *head = p->out->at + l->begin;
    put_be32(head + 1, l->n);
    if (l->n > UINT8_MAX)
        return;
    head[0] = ERL_SMALL_TUPLE_EXT;
    head[1] = (uint8_t)l->n;
    cut_out(p->out, l->begin + 2, HEAD - 2);
}

static bool is_bytes(const struct parser *p, const struct level *l)
{
    const uint8_t *at = p->out->at + l->begin + HEAD;
    bool bytes = l->n <= UINT16_MAX && p->out->len == l->begin + HEAD + 2 * (size_t)l->n;
    for (uint32_t i = 0; bytes && i < l->n; i++)
        bytes = at[2 * (size_t)i] == ERL_SMALL_INTEGER_EXT;
    return bytes;
}

/* As Erlang writes it, so that equal terms are equal bytes. */
static void make_string(struct parser *p, const struct level *l)
{
    uint8_t *at = p->out->at + l->begin;
    for (uint32_t i = 0; i < l->n; i++)
        at[3 + i] = at[HEAD + 2 * (size_t)i + 1];
    at[0] = ERL_STRING_EXT;
    put_be16(at + 1, (uint16_t)l->n);
    buf_cut(p->out, l->begin + 3 + l->n);
}

static void end_list(struct parser *p, const struct level *l)
{
    if (l->n == 0) {
        buf_cut(p->out, l->begin);
        reply_nil(p->out);
    } else if (is_bytes(p, l)) {
        make_string(p, l);
    } else {
        put_be32(p->out->at + l->begin + 1, l->n);
        reply_nil(p->out);
    }
}

static void take_string_in(struct parser *p, struct level *l)
{
    struct buf copy;
    const size_t n = get_be16(p->out->at + l->part + 1);
    buf_init(&copy, n);
    if (!buf_put(&copy, p->out->at + l->part + 3, n))
        p->out->failed = true;
    p->out->len = l->part;
    for (size_t i = 0; i < copy.len; i++)
        reply_int64(p->out, copy.at[i]);
    buf_fini(&copy);
    l->n += (uint32_t)n;
    end_list(p, l);
}

/* The tail of a list: one that is a list itself goes on where the elements end. */
static void end_tail(struct parser *p, struct level *l)
{
    const uint8_t *tail = p->out->at + l->part;
    if (tail[0] == ERL_STRING_EXT) {
        take_string_in(p, l);
    } else if (tail[0] == ERL_NIL_EXT) {
        p->out->len = l->part;
        end_list(p, l);
    } else {
        if (tail[0] == ERL_LIST_EXT) {
            l->n += get_be32(tail + 1);
            cut_out(p->out, l->part, HEAD);
        }
        put_be32(p->out->at + l->begin + 1, l->n);
    }
}

static void close_level(struct parser *p)
{
    struct level *l = &p->levels[--p->depth];
    if (p->out->failed)
        return;
    switch (l->kind) {
    case CALL:
    case TUPLE: end_tuple(p, l); break;
    case LIST: end_list(p, l); break;
    case TAIL: end_tail(p, l); break;
    default: put_be32(p->out->at + l->begin + 1, l->n); break;
    }
}

/* A map with a key twice is one that no Erlang node can read. */
static bool is_new_key(struct parser *p, const struct level *l)
{
    if (p->out->failed || l->n > TOKENS_KEYS)
        return refuse(p, "a map of at most 256 keys was expected");
    const struct span key = span_of(p->out->at + l->part, p->out->len - l->part);
    const size_t begin = l->begin + HEAD;
    struct term t = term_in(span_of(p->out->at + begin, l->part - begin));
    for (uint32_t i = 0; i < l->n; i++) {
        if (span_equal(term_any(&t), key))
            return refuse(p, "each key of a map was expected once");
        term_any(&t);
    }
    return true;
}

/* --- terms ----------------------------------------------------------------------------------- */

static void put_double(struct buf *out, double d)
{
    uint8_t bytes[9] = {NEW_FLOAT_EXT};
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    put_be64(bytes + 1, bits);
    buf_put(out, bytes, sizeof bytes);
}

/* There is no zero below zero: to some nodes both are the same key. */
static void put_negative_float(struct parser *p)
{
    double d = 0;
    int index = 0;
    ei_decode_double((const char *)p->value.at, &index, &d);
    put_double(p->out, d == 0 ? 0 : -d);
}

static void put_negative_integer(struct parser *p)
{
    struct term t = term_in(p->value);
    const size_t sign = p->value.at[0] == ERL_SMALL_BIG_EXT ? 2 : 5;
    const int64_t i = term_int64(&t);
    const size_t at = p->out->len;
    if (!t.bad && i != INT64_MIN)
        reply_int64(p->out, -i);
    else if (buf_put(p->out, p->value.at, p->value.len))
        p->out->at[at + sign] = 1;
}

static bool is_number(const struct parser *p, int tag)
{
    return is(p, "integer") ? tag == ERL_SMALL_INTEGER_EXT || tag == ERL_INTEGER_EXT ||
                                  tag == ERL_SMALL_BIG_EXT || tag == ERL_LARGE_BIG_EXT
                            : is(p, "float") && (tag == NEW_FLOAT_EXT || tag == ERL_FLOAT_EXT);
}

static bool put_negative(struct parser *p)
{
    next(p);
    if (p->value.len == 0 || !is_number(p, p->value.at[0]))
        return expected(p, "a number behind the minus");
    if (is(p, "integer"))
        put_negative_integer(p);
    else
        put_negative_float(p);
    return true;
}

static bool put_text(struct parser *p)
{
    struct term t = term_in(p->value);
    struct term wide = t;
    const struct span bytes = term_string(&t);
    next(p);
    if (is(p, "/")) {
        next(p);
        struct term type = term_in(p->value);
        if (!is(p, "atom") || !term_is_atom(&type, "utf8"))
            return expected(p, "utf8 behind the /");
        term_name(&wide, p->out);
        next(p);
        return !wide.bad || refuse(p, "characters of Unicode were expected");
    }
    if (t.bad && term_tag(&t) != ERL_NIL_EXT)
        return refuse(p, "bytes were expected; \"...\"/utf8 makes some of all characters");
    buf_put(p->out, bytes.at, bytes.len);
    return true;
}

static bool put_byte(struct parser *p)
{
    struct term t = term_in(p->value);
    const uint64_t value = term_uint64(&t);
    const uint8_t byte = (uint8_t)value;
    if (t.bad || value > UINT8_MAX)
        return expected(p, "a byte, 0 to 255");
    buf_put(p->out, &byte, 1);
    next(p);
    return true;
}

static bool put_segment(struct parser *p)
{
    if (is(p, "string") && p->value.len > 0)
        return put_text(p);
    if ((is(p, "integer") || is(p, "char")) && p->value.len > 0)
        return put_byte(p);
    return expected(p, "a string or a byte");
}

/* From << to >>. */
static bool put_binary(struct parser *p)
{
    const size_t begin = p->out->len;
    const uint8_t head[HEAD] = {ERL_BINARY_EXT};
    buf_put(p->out, head, sizeof head);
    next(p);
    while (!is(p, ">>")) {
        if (p->out->failed || !put_segment(p))
            return false;
        if (is(p, ",")) {
            next(p);
            if (is(p, ">>"))
                return expected(p, "a string or a byte");
        } else if (!is(p, ">>")) {
            return expected(p, ", or >>");
        }
    }
    if (!p->out->failed)
        put_be32(p->out->at + begin + 1, (uint32_t)(p->out->len - begin - HEAD));
    return true;
}

static bool is_value(const struct parser *p)
{
    return p->value.len > 0 && (is(p, "atom") || is(p, "integer") || is(p, "float") ||
                                is(p, "string") || is(p, "char"));
}

/* A term, or its beginning. */
static bool begin_term(struct parser *p)
{
    if (is_value(p))
        return buf_put(p->out, p->value.at, p->value.len);
    if (is(p, "-"))
        return put_negative(p);
    if (is(p, "<<"))
        return put_binary(p);
    if (is(p, "{"))
        return open_level(p, TUPLE, ERL_LARGE_TUPLE_EXT);
    if (is(p, "["))
        return open_level(p, LIST, ERL_LIST_EXT);
    if (!is(p, "#"))
        return expected(p, "a term");
    next(p);
    return is(p, "{") ? open_level(p, KEY, ERL_MAP_EXT) : expected(p, "{ behind the #");
}

static const char *closing(enum kind kind)
{
    return kind == CALL ? ")" : kind == LIST || kind == TAIL ? "]" : "}";
}

/* What may come behind an element. True: another one has to follow. */
static bool separate(struct parser *p, struct level *l)
{
    static const char *const marks[] = {
        [CALL] = ", or )", [TUPLE] = ", or }", [LIST] = ", or | or ]",
        [TAIL] = "]",      [KEY] = "=>",       [VALUE] = ", or }"};
    if (l->kind == KEY ? is(p, "=>") && is_new_key(p, l) : is(p, ",") && l->kind != TAIL) {
        l->kind = l->kind == KEY ? VALUE : l->kind == VALUE ? KEY : l->kind;
        return true;
    }
    if (l->kind == LIST && is(p, "|")) {
        l->kind = TAIL;
        return true;
    }
    return expected(p, marks[l->kind]);
}

/* The levels that end here, up to the mark behind which another term has to follow. */
static bool end_terms(struct parser *p)
{
    while (p->depth > 0) {
        struct level *l = &p->levels[p->depth - 1];
        l->n += l->kind != KEY && l->kind != TAIL;
        next(p);
        if (!is(p, closing(l->kind)) || l->kind == KEY)
            return separate(p, l);
        close_level(p);
    }
    return true;
}

/* Nothing between a bracket and its end. */
static bool is_empty_level(const struct parser *p)
{
    const struct level *l = &p->levels[p->depth - 1];
    const uint32_t none = l->kind == CALL ? 1 : 0;
    return is(p, closing(l->kind)) && l->n == none && l->kind != TAIL;
}

static bool parse_arguments(struct parser *p)
{
    bool opened = true;
    while (p->depth > 0 && !p->failed && !p->out->failed) {
        const int depth = p->depth;
        next(p);
        if (opened && is_empty_level(p)) {
            close_level(p);
            opened = false;
            end_terms(p);
            continue;
        }
        p->levels[p->depth - 1].part = p->out->len;
        if (!begin_term(p))
            break;
        opened = p->depth > depth;
        if (!opened)
            end_terms(p);
    }
    return !p->failed && !p->out->failed;
}

static bool is_command(const struct parser *p)
{
    struct term t = term_in(p->value);
    term_atom_bytes(&t);
    return is(p, "atom") && term_done(&t);
}

static bool parse_call(struct parser *p)
{
    if (!is_command(p))
        return expected(p, "a command such as help()");
    open_level(p, CALL, ERL_LARGE_TUPLE_EXT);
    buf_put(p->out, p->value.at, p->value.len);
    p->levels[0].n = 1;
    next(p);
    return is(p, "(") ? parse_arguments(p) : expected(p, "( behind the command");
}

static bool parse_line(struct parser *p)
{
    next(p);
    if (is(p, "dot"))
        return true; /* nothing was typed */
    while (parse_call(p)) {
        next(p);
        if (is(p, "dot"))
            return true;
        if (!is(p, ","))
            return expected(p, "a comma and another command, or the end");
        next(p);
    }
    return false;
}

bool tokens_parse(struct span tokens, struct buf *calls, struct buf *why)
{
    const size_t begin = calls->len;
    struct parser p = {.in = term_in(tokens), .out = calls, .why = why};
    p.left = term_list(&p.in);
    const bool parsed = parse_line(&p) && !calls->failed;
    if (!parsed && !p.failed)
        print_text(why, "a shorter line was expected");
    if (!parsed)
        buf_cut(calls, begin);
    return parsed;
}
