/* An operator's terminal: a console of a client, with the group leader's part played here. */
#ifndef TEST_SHELL_TERMINAL_H
#define TEST_SHELL_TERMINAL_H

#include "proto/print.h"
#include "proto/reply.h"
#include "shell/console.h"
#include "support/check.h"
#include "support/peer.h"
#include "support/scan.h"

enum { SCREEN = 1 << 20 };

struct terminal {
    struct peer *peer; /* who asks for it */
    struct console *console;
    struct buf out;
    char screen[SCREEN]; /* what has been shown since it was looked at */
    char prompt[64];
    uint64_t line, key; /* numbers of reads under way; 0: none */
    uint64_t page;      /* one that is not acknowledged; 0: none */
    uint64_t columns_asked, rows_asked;
    size_t columns, rows; /* 0: it does not know */
    bool slow;            /* does not acknowledge pages */
    bool at_once;         /* replies come within the request */
    bool echo;
    bool waiting, cancelled, left;
    int pages;
};

static uint64_t *number_for(struct terminal *t, struct term *request)
{
    static uint64_t unheeded;
    char name[TERM_ATOM_BYTES];
    const int arity = term_tuple(request);
    term_atom(request, name);
    if (strcmp(name, "put_chars") == 0) {
        assert_int_equal(arity, 3);
        assert_true(term_is_atom(request, "unicode"));
        const struct span text = term_binary(request);
        assert_int_equal(t->page, 0); /* one at a time */
        assert_true(strlen(t->screen) + text.len < SCREEN);
        strncat(t->screen, (const char *)text.at, text.len);
        t->pages++;
        return &t->page;
    }
    if (strcmp(name, "get_geometry") == 0)
        return term_is_atom(request, "columns") ? &t->columns_asked : &t->rows_asked;
    if (strcmp(name, "setopts") == 0) {
        assert_int_equal(term_list(request), 1);
        assert_int_equal(term_tuple(request), 2);
        assert_true(term_is_atom(request, "echo"));
        t->echo = term_is_atom(request, "true");
        return &unheeded;
    }
    assert_true(term_is_atom(request, "unicode"));
    const struct span prompt = term_binary(request);
    snprintf(t->prompt, sizeof t->prompt, "%.*s", (int)prompt.len, (const char *)prompt.at);
    assert_true(t->line == 0 && t->key == 0);
    return strcmp(name, "get_until") == 0 ? &t->line : &t->key;
}

static struct buf *terminal_begin(void *arg)
{
    struct terminal *t = arg;
    assert_int_equal(t->out.len, 0);
    return &t->out;
}

static void terminal_end(void *arg)
{
    struct terminal *t = arg;
    const struct span message = span_of(t->out.at, t->out.len);
    assert_false(t->out.failed);
    assert_int_equal(term_check(message), message.len);
    struct term m = term_in(message);
    assert_int_equal(term_tuple(&m), 4);
    assert_true(term_is_atom(&m, "io_request"));
    assert_true(span_equal(term_any(&m), peer_pid(9)));
    const uint64_t number = term_uint64(&m);
    *number_for(t, &m) = number;
    buf_cut(&t->out, 0);
}

static void terminal_take_answer(struct terminal *t)
{
    struct message *m = hear(t->peer);
    struct term message = term_in(span_of(m->bytes, m->len));
    assert_int_equal(term_tuple(&message), 2);
    term_any(&message);
    t->waiting = false;
    console_answer(t->console, term_any(&message));
    free(m);
}

static void terminal_request(void *arg, struct span request)
{
    struct terminal *t = arg;
    assert_false(t->waiting);
    t->waiting = true;
    call(t->peer, request);
    if (t->at_once && t->peer->first != NULL)
        terminal_take_answer(t);
}

static void terminal_cancel(void *arg)
{
    struct terminal *t = arg;
    assert_true(t->waiting);
    client_demonitor(t->peer->client, peer_ref(t->peer->next_ref - 1));
    t->cancelled = true;
    t->waiting = false;
}

static void terminal_leave(void *arg)
{
    ((struct terminal *)arg)->left = true;
}

/* {io_reply, Number, Answer} to the request, which is not under way any more. */
static void terminal_reply(struct terminal *t, uint64_t *number, struct span answer)
{
    struct buf b;
    assert_int_not_equal(*number, 0);
    buf_init(&b, 1 << 20);
    reply_tuple(&b, 3);
    reply_atom(&b, "io_reply");
    reply_uint64(&b, *number);
    reply_raw(&b, answer);
    assert_false(b.failed);
    *number = 0;
    console_message(t->console, span_of(b.at, b.len));
    buf_fini(&b);
}

static void reply_size(struct terminal *t, uint64_t *asked, size_t size)
{
    if (*asked != 0)
        terminal_reply(t, asked, size > 0 ? make_term("%zu", size) : make_term("{error,enotsup}"));
}

static bool has_answer(const struct terminal *t)
{
    return t->waiting && t->peer->first != NULL;
}

/* All that needs no time. */
static void terminal_settle(struct terminal *t)
{
    while (has_answer(t) || (t->page != 0 && !t->slow) || t->columns_asked != 0 ||
           t->rows_asked != 0) {
        if (has_answer(t))
            terminal_take_answer(t);
        if (t->page != 0 && !t->slow)
            terminal_reply(t, &t->page, make_term("ok"));
        reply_size(t, &t->columns_asked, t->columns);
        reply_size(t, &t->rows_asked, t->rows);
    }
}

static void terminal_open(struct terminal *t, struct peer *p, size_t columns)
{
    static const struct console_port port = {.begin = terminal_begin,
                                             .end = terminal_end,
                                             .request = terminal_request,
                                             .cancel = terminal_cancel,
                                             .leave = terminal_leave};
    *t = (struct terminal){
        .peer = p, .columns = columns, .rows = columns == 0 ? 0 : 24, .echo = true};
    buf_init(&t->out, 16 << 20);
    t->console = console_open(p->host->server, &port, t, peer_pid(9));
    assert_non_null(t->console);
    assert_int_equal(t->out.len, 0);
    console_start(t->console);
    terminal_settle(t);
}

static void terminal_close(struct terminal *t)
{
    console_close(t->console);
    buf_fini(&t->out);
}

/* What has been shown since it was asked last. */
static const char *seen(struct terminal *t)
{
    static char text[SCREEN];
    snprintf(text, sizeof text, "%s", t->screen);
    t->screen[0] = '\0';
    return text;
}

/* A line is typed, its end too; what is shown then. */
static const char *type(struct terminal *t, const char *line)
{
    struct buf tokens;
    buf_init(&tokens, 1 << 20);
    reply_tuple(&tokens, 3);
    reply_atom(&tokens, "ok");
    scan(line, &tokens);
    reply_int64(&tokens, 1);
    terminal_reply(t, &t->line, span_of(tokens.at, tokens.len));
    buf_fini(&tokens);
    terminal_settle(t);
    return seen(t);
}

/* The same where the answer takes a worker. */
static const char *type_and_wait(struct terminal *t, const char *line)
{
    const char *text = type(t, line);
    if (!t->waiting)
        return text;
    if (t->waiting)
        terminal_take_answer(t);
    terminal_settle(t);
    return seen(t);
}

#endif
