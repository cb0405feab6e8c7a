/* An operator's console: whatever a client answers to it, tokens that no scanner makes among them;
 * what it offers for TAB, and any term in print. */
#include "fuzz/corpus.h"
#include "fuzz/mutation.h"
#include "fuzz/target.h"
#include "proto/print.h"
#include "proto/reply.h"
#include "proto/term.h"
#include "shell/console.h"
#include "support/peer.h"
#include "support/scan.h"

enum { OUT_MOST = 4 << 20, PRINT_MOST = 4096, TOKENS_MOST = 64 << 10 };

static struct host host;
static struct peer peer;
static struct console *console;
static struct buf out;
static uint64_t asked, line, page; /* numbers: of the last request, of a read, of what was shown */
static bool waits, has_left;
static uint64_t answers, requests, ends;

/* What an operator types. */
static const char *const typed[] = {
    "help().",
    "help(push).",
    "list().",
    "info().",
    "info(\"q\").",
    "queues().",
    "clients().",
    "peek(\"q\", 3).",
    "counters(\"c\").",
    "region(\"r\", 0, 64).",
    "log(notice).",
    "top().",
    "unlock(), push(\"q\", {a, [1, -2, $c | 3.5], \"text\", <<\"x\", 7>>, #{k => v}}).",
    "lock().",
    "take(\"q\"), ack(\"q\", 1).",
    "pop_wait(\"q\", infinity).",
    "cancel().",
    "inc_counter(\"c\", 1, 5).",
    "batch([ping, {push, \"q\", x}]).",
    "psuh(1).",
    "{a.",
    "X = 1.",
    "metrics().",
    "pread(\"r\", 0, 100000).",
    "subscribe(\"q\", a, 5).",
    "quit().",
};

/* --- the client ------------------------------------------------------------------------------- */

static struct buf *begin_message(void *arg)
{
    (void)arg;
    must(out.len == 0);
    return &out;
}

/* {io_request, Self, Number, Request} */
static void end_message(void *arg)
{
    (void)arg;
    must(!out.failed);
    must(term_check(span_of(out.at, out.len)) == out.len);
    struct term t = term_in(span_of(out.at, out.len));
    must(term_tuple(&t) == 4 && term_is_atom(&t, "io_request"));
    term_any(&t);
    asked = term_uint64(&t);
    term_tuple(&t);
    if (term_is_atom(&t, "put_chars"))
        page = asked;
    else if (term_is_atom(&t, "get_until") || term_is_atom(&t, "get_chars"))
        line = asked;
    must(!t.bad);
    buf_cut(&out, 0);
}

static void on_request(void *arg, struct span request)
{
    (void)arg;
    must(!waits);
    waits = true;
    requests++;
    call(&peer, request);
}

static void on_cancel(void *arg)
{
    (void)arg;
    must(waits);
    waits = false;
}

static void on_leave(void *arg)
{
    (void)arg;
    must(!has_left);
    has_left = true;
}

static const struct console_port port = {.begin = begin_message,
                                         .end = end_message,
                                         .request = on_request,
                                         .cancel = on_cancel,
                                         .leave = on_leave};

static void open_console(void)
{
    has_left = waits = false;
    page = line = 0;
    console = console_open(host.server, &port, NULL, peer_pid(9));
    must(console != NULL);
    console_start(console);
}

static void forget_messages(void)
{
    while (peer.first != NULL)
        free(hear(&peer));
}

static void begin(void)
{
    host_init(&host);
    host.options.max_frame = TARGET_INPUT_MOST;
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    buf_init(&out, OUT_MOST);
    opened(ask(&peer, "{open,\"r\",0,4096,[read,write,create,{size,4096}]}"));
    opened(ask(&peer, "{open_counters,\"c\",16}"));
    opened(ask(&peer, "{open_queue,\"q\",0,[{max_items,50},{overflow,drop_head}]}"));
    open_console();
}

static void end(void)
{
    console_close(console);
    forget_messages();
    peer_close(&peer);
    host_close(&host);
    buf_fini(&out);
}

/* --- inputs ----------------------------------------------------------------------------------- */

static void make_answer(struct dice *d, struct buf *input)
{
    const struct span term = corpus_term(d);
    if (dice_one_in(d, 5) && term_check(term) == term.len) {
        reply_raw(input, term);
        return;
    }
    reply_tuple(input, 3);
    reply_atom(input, dice_one_in(d, 20) ? "error" : "ok");
    scan(typed[dice_below(d, sizeof typed / sizeof typed[0])], input);
    reply_int64(input, 1);
}

static void make(struct dice *d, struct buf *input)
{
    make_answer(d, input);
    for (uint64_t n = dice_below(d, 4); n > 0; n--)
        mutation_gentle(d, input);
}

/* --- running ---------------------------------------------------------------------------------- */

static void answer(uint64_t number, struct span term)
{
    struct buf b;
    buf_init(&b, (size_t)2 * TARGET_INPUT_MOST);
    reply_tuple(&b, 3);
    reply_atom(&b, "io_reply");
    reply_uint64(&b, number);
    reply_raw(&b, term);
    uint8_t *copy = target_copy(span_of(b.at, b.len));
    console_message(console, span_of(copy, b.len));
    free(copy);
    buf_fini(&b);
    answers++;
}

/* Mostly that the page has been seen and the line is this; but also anything to anything. */
static void answer_some(struct dice *d, struct span term)
{
    static const uint8_t ok[] = {'w', 2, 'o', 'k'};
    if (!dice_one_in(d, 10) && page != 0)
        answer(page, span_of(ok, sizeof ok));
    if (dice_one_in(d, 10))
        answer(dice_below(d, asked + 2), term);
    else
        answer(line, term);
}

static void take_reply(void)
{
    uv_run(&host.loop, UV_RUN_NOWAIT);
    if (peer.first == NULL)
        return;
    struct message *m = hear(&peer);
    struct term t = term_in(span_of(m->bytes, m->len));
    if (waits && term_tuple(&t) == 2) {
        term_any(&t);
        waits = false;
        console_answer(console, term_any(&t));
    }
    free(m);
}

static void expand_and_print(struct dice *d, struct span term)
{
    struct buf b;
    buf_init(&b, TOKENS_MOST);
    console_expand(host.server, term, &b);
    must(!b.failed && term_check(span_of(b.at, b.len)) == b.len);
    buf_cut(&b, 0);
    print_term(&b, term, 1 + dice_below(d, 200), dice_below(d, PRINT_MOST));
    must(!b.failed);
    buf_fini(&b);
}

static void run(struct span input)
{
    struct dice d = target_dice(input);
    if (term_check(input) != input.len)
        return;
    if (dice_one_in(&d, 10))
        console_message(console, input);
    answer_some(&d, input);
    take_reply();
    expand_and_print(&d, input);
    if (dice_one_in(&d, 20))
        console_interrupt(console);
    if (!has_left)
        return;
    console_close(console);
    forget_messages();
    ends++;
    open_console();
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("answers", answers);
    each("requests", requests);
    each("ends", ends);
}

const struct target target_console = {.name = "console",
                                      .life = 5000,
                                      .builds = true,
                                      .begin = begin,
                                      .end = end,
                                      .make = make,
                                      .run = run,
                                      .count = count};
