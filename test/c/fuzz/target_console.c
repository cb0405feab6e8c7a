/* A console whose client is not what it seems: answers to what was asked and was not, lines gone
 * wrong, replies that no request has, keys, interrupts. */
#include <ei.h>

#include "fuzz/corpus.h"
#include "fuzz/mutation.h"
#include "fuzz/pieces.h"
#include "fuzz/small.h"
#include "fuzz/target.h"
#include "proto/reply.h"
#include "proto/term.h"
#include "shell/console.h"

enum { OUT_MOST = 4 << 20, PAGE_MOST = 600 << 10, EVENTS_MADE = 12, INPUT_USUAL = 16 * 1024 };

/* What a piece of an input is, by its first byte; a term follows. */
enum kind {
    LINE,      /* the tokens of a line, to the read that is under way */
    ANSWER,    /* anything to that read */
    PAGE,      /* to the page that is shown */
    SIZE,      /* to questions of the terminal's size */
    MESSAGE,   /* anything to the console */
    REPLY,     /* what the engine has answered */
    NO_REPLY,  /* something else instead of it */
    INTERRUPT, /* ^C while nothing is read */
    KINDS
};

static struct host host;
static struct peer peer;
static struct console *console;
static struct buf out;
static uint64_t read_number, page_number, columns_number, rows_number;
static bool waits, left, hurries;
static uint64_t lines, pages, requests, replies, cancels, leavings;

/* --- what the console says -------------------------------------------------------------------- */

/* One page at a time, but for the last words of a console that leaves. */
static void hear_page(struct term *t, uint64_t number)
{
    must(!hurries && term_is_atom(t, "unicode"));
    const struct span text = term_binary(t);
    must(!t->bad && text.len > 0 && text.len < PAGE_MOST);
    must(target_is_text(text, true));
    hurries = page_number != 0;
    page_number = number;
    pages++;
}

static void hear_read(struct term *t, uint64_t number)
{
    must(read_number == 0 && term_is_atom(t, "unicode"));
    read_number = number;
}

static void hear_question(struct term *t, uint64_t number)
{
    char name[TERM_ATOM_BYTES];
    must(term_tuple(t) >= 2);
    term_atom(t, name);
    if (strcmp(name, "put_chars") == 0)
        hear_page(t, number);
    else if (strcmp(name, "get_until") == 0 || strcmp(name, "get_chars") == 0)
        hear_read(t, number);
    else if (strcmp(name, "get_geometry") == 0)
        *(term_is_atom(t, "columns") ? &columns_number : &rows_number) = number;
    else
        must(strcmp(name, "setopts") == 0);
}

static struct buf *port_begin(void *arg)
{
    (void)arg;
    must(out.len == 0 && !left);
    return &out;
}

static void port_end(void *arg)
{
    (void)arg;
    must(!out.failed && target_is_term(span_of(out.at, out.len)));
    struct term t = term_in(span_of(out.at, out.len));
    must(term_tuple(&t) == 4 && term_is_atom(&t, "io_request"));
    must(span_equal(term_any(&t), peer_pid(9)));
    const uint64_t number = term_uint64(&t);
    hear_question(&t, number);
    buf_cut(&out, 0);
}

static void port_request(void *arg, struct span request)
{
    (void)arg;
    must(!waits && target_is_term(request));
    waits = true;
    requests++;
    call(&peer, request);
}

static void port_cancel(void *arg)
{
    (void)arg;
    must(waits);
    client_demonitor(peer.client, peer_ref(peer.next_ref - 1));
    waits = false;
    cancels++;
}

static void port_leave(void *arg)
{
    (void)arg;
    must(!left);
    left = true;
    leavings++;
}

/* --- lives ------------------------------------------------------------------------------------ */

static void open_console(void)
{
    static const struct console_port port = {.begin = port_begin,
                                             .end = port_end,
                                             .request = port_request,
                                             .cancel = port_cancel,
                                             .leave = port_leave};
    read_number = page_number = columns_number = rows_number = 0;
    waits = left = hurries = false;
    console = console_open(host.server, &port, NULL, peer_pid(9));
    must(console != NULL);
    console_start(console);
}

static void begin(void)
{
    small_open(&host);
    peer_open(&peer, &host, "client@localhost");
    buf_init(&out, OUT_MOST);
    ask(&peer, "{open_queue,\"q\",0,[{register,jobs},{max_items,100},{overflow,drop_head}]}");
    ask(&peer, "{open_counters,\"c\",16}");
    ask(&peer, "{open,\"r\",0,4096,[read,write,create,{size,4096}]}");
}

static void end(void)
{
    peer_close(&peer);
    buf_fini(&out);
    small_close(&host);
}

static void come_again(void)
{
    console_close(console);
    open_console();
}

/* --- making ----------------------------------------------------------------------------------- */

static const uint8_t kinds[] = {LINE, LINE,  LINE,  LINE,  PAGE,     PAGE,   PAGE,    SIZE,
                                SIZE, REPLY, REPLY, REPLY, NO_REPLY, ANSWER, MESSAGE, INTERRUPT};

static struct span any_term(struct dice *d, enum kind kind)
{
    switch (kind) {
    case LINE: return corpus_line(d);
    case NO_REPLY: return corpus_reply(d);
    default: return corpus_part(d);
    }
}

/* Most of what is typed is right. */
static void make_event(struct dice *d, struct buf *event)
{
    const enum kind kind = (enum kind)kinds[dice_below(d, sizeof kinds)];
    const uint8_t byte = (uint8_t)kind;
    const struct span term = any_term(d, kind);
    const uint64_t times = kind == LINE && dice_one_in(d, 2) ? 0 : dice_below(d, 4);
    struct buf b;
    buf_init(&b, TARGET_INPUT_MOST);
    buf_put(&b, term.at, term.len);
    for (uint64_t i = 0; i < times; i++)
        mutation_gentle(d, &b);
    buf_put(event, &byte, 1);
    buf_put(event, b.at, b.len);
    buf_fini(&b);
}

/* Its kind, or its term. */
static void change_event(struct dice *d, struct buf *event)
{
    struct buf b;
    if (event->len < 2 || !target_is_term(span_of(event->at + 1, event->len - 1))) {
        buf_cut(event, 0);
        make_event(d, event);
        return;
    }
    if (dice_one_in(d, 8)) {
        event->at[0] = kinds[dice_below(d, sizeof kinds)];
        return;
    }
    buf_init(&b, TARGET_INPUT_MOST);
    buf_put(&b, event->at + 1, event->len - 1);
    mutation_gentle(d, &b);
    buf_cut(event, 1);
    buf_put(event, b.at, b.len);
    buf_fini(&b);
}

static void make(struct dice *d, struct buf *input)
{
    const uint64_t n = 1 + dice_below(d, EVENTS_MADE);
    struct buf event;
    buf_init(&event, TARGET_INPUT_MOST);
    for (uint64_t i = 0; i < n && input->len < INPUT_USUAL; i++) {
        buf_cut(&event, 0);
        make_event(d, &event);
        pieces_put(input, span_of(event.at, event.len));
    }
    buf_fini(&event);
}

static void change(struct dice *d, struct buf *input)
{
    pieces_change(d, input, make_event, change_event);
}

/* --- running ---------------------------------------------------------------------------------- */

static void say(struct buf *message)
{
    uint8_t *copy = target_copy(span_of(message->at, message->len));
    console_message(console, span_of(copy, message->len));
    free(copy);
}

/* {io_reply, Number, Answer}, once; of a line {ok, Tokens, 2}. */
static void answer(uint64_t *number, struct span term, bool is_line)
{
    struct buf b;
    if (*number == 0)
        return;
    buf_init(&b, TARGET_INPUT_MOST);
    reply_tuple(&b, 3);
    reply_atom(&b, "io_reply");
    reply_uint64(&b, *number);
    *number = 0;
    if (is_line) {
        reply_tuple(&b, 3);
        reply_atom(&b, "ok");
    }
    reply_raw(&b, term);
    if (is_line)
        reply_int64(&b, 2);
    lines += is_line;
    say(&b);
    buf_fini(&b);
}

static bool is_of_last(struct span tag)
{
    return span_equal(term_alias(tag), peer_ref(peer.next_ref - 1));
}

/* The console gets the answer to what it waits for; what was cancelled may still come. */
static void take_reply(struct message *m)
{
    struct term t = term_in(span_of(m->bytes, m->len));
    if (term_tag(&t) == ERL_SMALL_TUPLE_EXT && term_tuple(&t) == 2) {
        const struct span tag = term_any(&t);
        const struct span reply = term_any(&t);
        if (waits && is_of_last(tag)) {
            waits = false;
            replies++;
            console_answer(console, reply);
        }
    }
    free(m);
}

static void take_replies(void)
{
    while (peer.first != NULL && !left)
        take_reply(hear(&peer));
}

static void give_other_reply(struct span term)
{
    if (!waits)
        return;
    waits = false;
    console_answer(console, term);
}

/* By chance it may be the answer to something. */
static void forget_number(struct span message)
{
    uint64_t *const numbers[] = {&read_number, &page_number, &columns_number, &rows_number};
    struct term t = term_in(message);
    if (term_tag(&t) != ERL_SMALL_TUPLE_EXT || term_tuple(&t) != 3 || !term_is_atom(&t, "io_reply"))
        return;
    const uint64_t number = term_uint64(&t);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (*numbers[i] == number)
            *numbers[i] = 0;
}

static void say_anything(struct span message)
{
    forget_number(message);
    console_message(console, message);
}

static void happen(enum kind kind, struct span term)
{
    switch (kind) {
    case LINE: answer(&read_number, term, true); break;
    case ANSWER: answer(&read_number, term, false); break;
    case PAGE: answer(&page_number, term, false); break;
    case SIZE:
        answer(&columns_number, term, false);
        answer(&rows_number, term, false);
        break;
    case MESSAGE: say_anything(term); break;
    case REPLY: take_replies(); break;
    case NO_REPLY: give_other_reply(term); break;
    default: console_interrupt(console); break;
    }
}

static void run_event(struct span event)
{
    if (event.len < 2 || !target_is_term(span_of(event.at + 1, event.len - 1)))
        return;
    uint8_t *copy = target_copy(span_of(event.at + 1, event.len - 1));
    happen((enum kind)(event.at[0] % KINDS), span_of(copy, event.len - 1));
    free(copy);
    anything(&peer);
    must(left || (read_number != 0 && !hurries)); /* somebody can still type */
    if (left)
        come_again();
}

/* Whoever may hear them: what is still to be said when a console goes. */
static void drop_messages(void)
{
    while (peer.first != NULL)
        free(hear(&peer));
}

static void run(struct span input)
{
    struct span event;
    open_console();
    for (int i = 0; i < PIECES_MOST && pieces_next(&input, &event); i++)
        run_event(event);
    console_close(console);
    buf_cut(&out, 0);
    drop_messages();
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("lines", lines);
    each("pages", pages);
    each("requests", requests);
    each("replies", replies);
    each("cancels", cancels);
    each("leavings", leavings);
}

const struct target target = {.name = "console",
                              .life = 500,
                              .builds = true,
                              .begin = begin,
                              .end = end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
