/* What an operator's console makes of terms: text, calls of the tokens of a line, what TAB offers.
 */
#include <ei.h>

#include "fuzz/corpus.h"
#include "fuzz/mutation.h"
#include "fuzz/small.h"
#include "fuzz/target.h"
#include "proto/print.h"
#include "proto/term.h"
#include "shell/console.h"
#include "shell/tokens.h"

/* `A little more`: an atom of 255 characters, each escaped, and all that is to be closed. */
enum { TEXT_MOST = 1 << 20, CALLS_MOST = 64 << 10, LITTLE = 4096 };

static struct host host;
static uint64_t printed, cut, parsed, refused, expanded;

static void begin(void)
{
    small_open(&host);
}

static void end(void)
{
    small_close(&host);
}

static void make(struct dice *d, struct buf *input)
{
    const bool is_line = dice_one_in(d, 2);
    const struct span term = is_line ? corpus_line(d) : corpus_part(d);
    const uint64_t times = dice_below(d, 5);
    buf_put(input, term.at, term.len);
    for (uint64_t i = 0; i < times; i++)
        mutation_gentle(d, input);
}

static void change(struct dice *d, struct buf *input)
{
    if (target_is_term(span_of(input->at, input->len)))
        mutation_gentle(d, input);
    else
        mutation_rough(d, input);
}

static void print(struct span term, struct dice *d)
{
    static const size_t widths[] = {0, 1, 20, 80};
    static const size_t mosts[] = {0, 10, 80, 2000, 20000};
    struct buf out;
    const size_t most = mosts[dice_below(d, 5)];
    buf_init(&out, TEXT_MOST);
    print_text(&out, "so far");
    print_term(&out, term, widths[dice_below(d, 4)], most);
    must(!out.failed && out.len <= most + LITTLE);
    must(target_is_text(span_of(out.at, out.len), false));
    printed++;
    cut += memmem(out.at, out.len, "...", 3) != NULL;
    buf_fini(&out);
}

/* Each call is a tuple, of a name first. */
static void are_calls(struct span calls)
{
    while (calls.len > 0) {
        const size_t len = term_check(calls);
        must(len > 0);
        struct term t = term_in(span_of(calls.at, len));
        must(term_tag(&t) == ERL_SMALL_TUPLE_EXT && term_tuple(&t) >= 1);
        term_atom_bytes(&t);
        must(!t.bad);
        calls = span_of(calls.at + len, calls.len - len);
    }
}

static void parse(struct span tokens)
{
    struct buf calls;
    struct buf why;
    buf_init(&calls, CALLS_MOST);
    buf_init(&why, TEXT_MOST);
    if (tokens_parse(tokens, &calls, &why)) {
        are_calls(span_of(calls.at, calls.len));
        parsed++;
    } else {
        must(calls.len == 0 && why.len > 0 && why.len < LITTLE);
        must(target_is_text(span_of(why.at, why.len), false));
        refused++;
    }
    buf_fini(&calls);
    buf_fini(&why);
}

static void expand(struct span reversed)
{
    struct buf out;
    buf_init(&out, TEXT_MOST);
    console_expand(host.server, reversed, &out);
    must(!out.failed && target_is_term(span_of(out.at, out.len)));
    struct term t = term_in(span_of(out.at, out.len));
    must(term_tuple(&t) == 3);
    expanded += term_is_atom(&t, "yes");
    buf_fini(&out);
}

static void run(struct span input)
{
    struct dice d = target_dice(input);
    if (!target_is_term(input))
        return;
    uint8_t *copy = target_copy(input);
    const struct span term = span_of(copy, input.len);
    print(term, &d);
    parse(term);
    expand(term);
    free(copy);
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("printed", printed);
    each("cut", cut);
    each("lines parsed", parsed);
    each("refused", refused);
    each("expanded", expanded);
}

const struct target target = {.name = "print",
                              .life = 100000,
                              .begin = begin,
                              .end = end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
