/* Requests: what comes as a term is decoded by its signature, or refused with a sound reply; what
 * comes as a function's name and arguments becomes a request, or none. */
#include <ei.h>

#include "fuzz/corpus.h"
#include "fuzz/mutation.h"
#include "fuzz/target.h"
#include "fuzz/text.h"
#include "proto/call.h"
#include "proto/function.h"
#include "proto/op.h"
#include "proto/reply.h"
#include "support/peer.h"

enum { OUT_MOST = 8 << 20 };

static struct host host;
static struct peer peer;
static uint64_t requests, refusals, functions, values;

static void begin(void)
{
    host_init(&host);
    host_open(&host);
    peer_open(&peer, &host, text_peer);
    ask(&peer, "{open_queue,\"q\",0,[{register,jobs}]}");
}

static void end(void)
{
    peer_close(&peer);
    host_close(&host);
}

/* --- making ----------------------------------------------------------------------------------- */

/* What is no term any more reaches nothing. */
static void change(struct dice *d, struct buf *input)
{
    if (target_is_term(span_of(input->at, input->len)))
        mutation_gentle(d, input);
    else
        mutation_rough(d, input);
}

static void make(struct dice *d, struct buf *input)
{
    const bool from_function = dice_one_in(d, 4);
    const struct span term = from_function ? corpus_function(d) : corpus_request(d);
    const uint64_t times = dice_below(d, 5);
    if (from_function)
        reply_tuple(input, 3);
    buf_put(input, term.at, term.len);
    for (uint64_t i = 0; i < times; i++)
        change(d, input);
}

static void is_term(const struct buf *b)
{
    must(!b->failed && target_is_term(span_of(b->at, b->len)));
}

/* --- requests, functions ---------------------------------------------------------------------- */

static void decode_request(struct span term)
{
    struct buf out;
    buf_init(&out, OUT_MOST);
    struct call c = {.server = host.server, .client = peer.client, .out = &out};
    buf_init(&c.scratch, host.options.max_frame);
    if (op_decode(&c, term)) {
        must(c.op != NULL && out.len == 0);
        requests++;
    } else {
        is_term(&out);
        refusals++;
    }
    call_fini(&c);
    buf_fini(&out);
}

static void is_request(const struct buf *request)
{
    is_term(request);
    struct term t = term_in(span_of(request->at, request->len));
    char name[TERM_ATOM_BYTES];
    if (term_tag(&t) == ERL_SMALL_TUPLE_EXT || term_tag(&t) == ERL_LARGE_TUPLE_EXT)
        must(term_tuple(&t) >= 1);
    term_atom(&t, name);
    must(!t.bad);
}

static void call_function(struct span module, struct span name, struct span args)
{
    struct mfa f;
    struct buf request;
    buf_init(&request, OUT_MOST);
    if (mfa_read(&f, module, name, args)) {
        struct term t = mfa_args(&f);
        for (int i = 0; i < f.arity; i++)
            term_any(&t);
        must(term_done(&t));
        const enum function_gives gives = function_request(host.server, &f, &request);
        if (gives != FUNCTION_NONE && gives != FUNCTION_BADARG) {
            is_request(&request);
            functions++;
        }
    }
    mfa_fini(&f);
    buf_fini(&request);
}

/* {Module, Function, Args}, or the arguments of one that there is. */
static void call_functions(struct span term, struct dice *d)
{
    struct term t = term_in(term);
    if (term_tag(&t) == ERL_SMALL_TUPLE_EXT && term_tuple(&t) == 3) {
        const struct span module = term_any(&t);
        const struct span name = term_any(&t);
        call_function(module, name, term_any(&t));
    }
    const struct span known = corpus_function(d);
    const size_t module = term_check(known);
    const struct span rest = span_of(known.at + module, known.len - module);
    call_function(span_of(known.at, module), span_of(rest.at, term_check(rest)), term);
}

static void give_value(struct span reply)
{
    for (int gives = FUNCTION_TAGGED; gives <= FUNCTION_IS_ZERO; gives++) {
        struct buf out;
        buf_init(&out, OUT_MOST);
        values += function_value((enum function_gives)gives, reply, &out);
        is_term(&out);
        buf_fini(&out);
    }
}

/* --- running ---------------------------------------------------------------------------------- */

static void run(struct span input)
{
    struct dice d = target_dice(input);
    if (!target_is_term(input))
        return;
    uint8_t *copy = target_copy(input);
    const struct span term = span_of(copy, input.len);
    decode_request(term);
    call_functions(term, &d);
    give_value(term);
    free(copy);
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("requests", requests);
    each("refusals", refusals);
    each("functions", functions);
    each("values", values);
}

const struct target target = {.name = "decode",
                              .life = 100000,
                              .begin = begin,
                              .end = end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
