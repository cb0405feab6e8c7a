#include "shell/console.h"

#include <ei.h>

#include "proto/engine.h"
#include "proto/print.h"
#include "proto/reply.h"
#include "shell/commands.h"
#include "shell/tokens.h"
#include "shell/view.h"
#include "sys/log.h"

/* What is asked of the group leader and heard from it:
 *
 * - A read is always under way: the next line (get_until), while top() runs any key (get_chars). So
 *   ^C comes as its answer, also while a request waits. What is printed meanwhile the client puts
 *   before the line that is being typed.
 * - At most one page is under way: what is printed meanwhile gathers in `text` until it has been
 *   shown. Nothing is run before that either, nor while there is text to show: a slow terminal
 * slows its operator only, and a long line does not keep the daemon from all others.
 * - Lines that come while a request waits are kept in `lines` and done after it.
 *
 * A line becomes `calls`, one tuple behind the other. go_on does them one by one and returns where
 * one has to wait; what it waits for calls it again. */

enum {
    TEXT_MOST = 256 << 10,
    CUT = 64, /* of these, for what tells that there was more */
    LINES_MOST = 64 << 10,
    CALLS_MOST = 64 << 10,
    PID_MOST = 2048,
    COLUMNS = 80,
    ROWS = 24,
    ERRORS_MOST = 3,
    SECOND_MS = 1000
};

enum read { READ_NOTHING, READ_LINE, READ_KEY };

enum escape { NO_ESCAPE, ESCAPE_BEGUN, ESCAPE_INSIDE };

struct console {
    struct server *server;
    struct console_port port;
    void *arg;
    struct buf self; /* the pid */

    uint64_t number; /* of the last I/O request; those under way, 0: none */
    uint64_t read_number, page_number, columns_number, rows_number;
    enum read read;
    int errors; /* answers to reads, one after the other, that were no lines */
    enum escape escape;
    size_t columns, rows; /* of the terminal; rows 0: nobody knows */

    struct buf text;  /* to be shown */
    struct buf lines; /* lists of tokens */
    struct buf calls; /* of the line that is being done */
    size_t next_call;
    struct buf request; /* the last, with its name in the table */
    struct choice choice;
    bool runs;    /* go_on is at work */
    bool waits;   /* for the reply */
    bool told;    /* that it waits */
    bool tops;    /* top() runs */
    bool due;     /* its next look, once the last page has been shown */
    bool changes; /* unlocked */
    bool begun, left;
    struct samples samples;
    uv_timer_t timer;
};

/* --- saying ---------------------------------------------------------------------------------- */

/* {io_request, Self, Number, Request}, of which the caller appends Request, then calls port.end. */
static struct buf *begin_request(struct console *c, uint64_t *number)
{
    struct buf *out = c->port.begin(c->arg);
    *number = ++c->number;
    reply_tuple(out, 4);
    reply_atom(out, "io_request");
    reply_raw(out, span_of(c->self.at, c->self.len));
    reply_uint64(out, c->number);
    return out;
}

static void ask_geometry(struct console *c, const char *what, uint64_t *number)
{
    if (*number != 0)
        return;
    struct buf *out = begin_request(c, number);
    reply_tuple(out, 2);
    reply_atom(out, "get_geometry");
    reply_atom(out, what);
    c->port.end(c->arg);
}

static void ask_size(struct console *c)
{
    ask_geometry(c, "columns", &c->columns_number);
    ask_geometry(c, "rows", &c->rows_number);
}

/* What did not fit is left out from a line's beginning. */
static void mend_text(struct console *c)
{
    size_t len = c->text.len < TEXT_MOST - CUT ? c->text.len : TEXT_MOST - CUT;
    while (len > 0 && c->text.at[len - 1] != '\n')
        len--;
    buf_cut(&c->text, len);
    print_text(&c->text, "... and more than is shown here\n");
}

static void show_text(struct console *c)
{
    if (c->text.failed)
        mend_text(c);
    struct buf *out = begin_request(c, &c->page_number);
    reply_tuple(out, 3);
    reply_atom(out, "put_chars");
    reply_atom(out, "unicode");
    reply_binary(out, span_of(c->text.at, c->text.len));
    c->port.end(c->arg);
    buf_cut(&c->text, 0);
}

static void flush(struct console *c)
{
    if (c->text.len == 0 || c->page_number != 0)
        return;
    show_text(c);
    ask_size(c);
}

static void set_echo(struct console *c, bool on)
{
    uint64_t unheeded;
    struct buf *out = begin_request(c, &unheeded);
    reply_tuple(out, 2);
    reply_atom(out, "setopts");
    reply_list(out, 1);
    reply_tuple(out, 2);
    reply_atom(out, "echo");
    reply_atom(out, on ? "true" : "false");
    reply_nil(out);
    c->port.end(c->arg);
}

static void read_line(struct console *c)
{
    struct buf *out = begin_request(c, &c->read_number);
    reply_tuple(out, 6);
    reply_atom(out, "get_until");
    reply_atom(out, "unicode");
    reply_text(out, c->changes ? "emmap! " : "emmap> ");
    reply_atom(out, "erl_scan");
    reply_atom(out, "tokens");
    reply_list(out, 1);
    reply_int64(out, 1);
    reply_nil(out);
    c->port.end(c->arg);
    c->read = READ_LINE;
}

/* Without echo a key is read at once. */
static void read_key(struct console *c)
{
    struct buf *out = begin_request(c, &c->read_number);
    reply_tuple(out, 4);
    reply_atom(out, "get_chars");
    reply_atom(out, "unicode");
    reply_text(out, "");
    reply_int64(out, 1);
    c->port.end(c->arg);
    c->read = READ_KEY;
}

static void read_on(struct console *c)
{
    if (c->read != READ_NOTHING)
        return;
    if (c->tops)
        read_key(c);
    else
        read_line(c);
}

static void forget_request(struct console *c)
{
    if (c->waits)
        c->port.cancel(c->arg);
    c->waits = false;
    uv_timer_stop(&c->timer);
}

static void leave(struct console *c)
{
    if (c->left)
        return;
    if (c->text.len > 0)
        show_text(c);
    forget_request(c);
    c->left = true;
    c->port.leave(c->arg);
}

/* --- commands -------------------------------------------------------------------------------- */

static void say_error(struct console *c, struct buf *why)
{
    print_text(&c->text, "error: ");
    buf_put(&c->text, why->at, why->len);
    print_text(&c->text, "\n");
    buf_fini(why);
}

static struct span name_of(struct span call)
{
    struct term t = term_in(call);
    term_tuple(&t);
    return term_atom_bytes(&t);
}

static void show_error(struct console *c, struct view *v, struct span reply)
{
    print_text(&c->text, "error: ");
    view_error(v, reply);
    struct term t = term_in(reply);
    term_tuple(&t);
    term_any(&t);
    if (term_is_atom(&t, "badarg")) {
        print_text(&c->text, "; ");
        const struct command *command = c->choice.command;
        command_usage(&c->text, span_text(command != NULL ? command->name : c->choice.op->name));
    }
    print_text(&c->text, "\n");
}

static void show_reply(struct console *c, struct span reply)
{
    struct view v = {.out = &c->text,
                     .columns = c->columns,
                     .rows = c->rows == 0 ? ROWS : c->rows,
                     .dir = c->server->options.data_dir,
                     .request = span_of(c->request.at, c->request.len),
                     .samples = &c->samples,
                     .now_ms = uv_hrtime() / 1000000};
    if (view_is_error(reply))
        show_error(c, &v, reply);
    else if (c->choice.command != NULL)
        c->choice.command->show(&v, reply);
    else
        view_term(&v, reply);
}

static void on_second(uv_timer_t *timer);

static void request(struct console *c)
{
    c->waits = true;
    c->told = false;
    c->port.request(c->arg, span_of(c->request.at, c->request.len));
    if (c->waits && !c->tops)
        uv_timer_start(&c->timer, on_second, SECOND_MS, 0);
}

/* The call, as a request by its name in the table. */
static bool make_request(struct console *c, struct span call)
{
    struct term t = term_in(call);
    const int arity = term_tuple(&t);
    term_any(&t);
    buf_cut(&c->request, 0);
    reply_tuple(&c->request, arity);
    reply_atom(&c->request, c->choice.op->name);
    buf_put(&c->request, call.at + t.index, call.len - (size_t)t.index);
    return !c->request.failed;
}

/* A terminal whose size is known can be told where to write: at its top, over what is there. (To
 * clear it before would flicker, and fill the history of some.) */
static void overwrite(struct buf *text, bool can)
{
    struct buf lines;
    buf_init(&lines, (size_t)2 * TEXT_MOST);
    print_text(&lines, "\x1b[H");
    for (size_t i = 0; i < text->len; i++) {
        if (text->at[i] == '\n') /* what was behind it, or below, goes */
            print_text(&lines, i + 1 < text->len ? "\x1b[K" : "\x1b[J");
        buf_put(&lines, &text->at[i], 1);
    }
    if (can && !text->failed && !lines.failed) {
        buf_cut(text, 0);
        buf_put(text, lines.at, lines.len);
    }
    buf_fini(&lines);
}

static void top_look(struct console *c)
{
    c->due = c->page_number != 0;
    if (!c->due && !c->waits)
        request(c);
}

static void top_begin(struct console *c)
{
    c->tops = true;
    c->escape = NO_ESCAPE;
    if (c->read == READ_NOTHING)
        set_echo(c, false);
    flush(c);
    top_look(c);
    uv_timer_start(&c->timer, on_second, SECOND_MS, SECOND_MS);
}

static void top_end(struct console *c)
{
    c->tops = false;
    forget_request(c);
    set_echo(c, true);
}

static void on_second(uv_timer_t *timer)
{
    struct console *c = timer->data;
    if (c->tops) {
        top_look(c);
    } else if (c->waits && !c->told) {
        c->told = true;
        print_text(&c->text, "%s waits; cancel(). ends it\n", c->choice.op->name);
        flush(c);
    }
}

static void help(struct console *c, struct span call)
{
    struct term t = term_in(call);
    const int arity = term_tuple(&t);
    term_any(&t);
    if (arity == 1) {
        command_help(&c->text, c->columns);
        return;
    }
    const struct span name = term_atom_bytes(&t);
    if (t.bad)
        print_text(&c->text, "error: help takes the name of a command: help(push)\n");
    else if (!command_help_of(&c->text, name))
        print_text(&c->text, "error: there is no such command; help() shows them\n");
}

static void set_log(struct console *c, struct span call)
{
    char name[TERM_ATOM_BYTES];
    enum log_level level;
    struct term t = term_in(call);
    term_tuple(&t);
    term_any(&t);
    term_atom(&t, name);
    if (t.bad || !log_level_named(name, &level)) {
        print_text(&c->text, "error: log takes error, warning, notice, info or debug\n");
        return;
    }
    log_set_level(level);
    print_text(&c->text, "ok\n");
}

static void run_request(struct console *c, struct span call)
{
    if (!c->changes && command_changes(c->choice.op))
        print_text(&c->text, "error: %s changes data; enter unlock(). first\n", c->choice.op->name);
    else if (!make_request(c, call))
        print_text(&c->text, "error: a shorter request was expected\n");
    else if (c->choice.command != NULL && c->choice.command->kind == COMMAND_TOP)
        top_begin(c);
    else
        request(c);
}

static void run(struct console *c, struct span call)
{
    const struct command *command = c->choice.command;
    switch (command == NULL ? COMMAND_REQUEST : command->kind) {
    case COMMAND_HELP: help(c, call); break;
    case COMMAND_LOG: set_log(c, call); break;
    case COMMAND_UNLOCK: c->changes = true; break;
    case COMMAND_LOCK: c->changes = false; break;
    case COMMAND_CANCEL: print_text(&c->text, "nothing waits\n"); break;
    case COMMAND_QUIT: leave(c); break;
    default: run_request(c, call); break;
    }
}

static void run_call(struct console *c, struct span call)
{
    struct buf why;
    struct term t = term_in(call);
    const int argc = term_tuple(&t) - 1;
    buf_init(&why, CALLS_MOST);
    if (!command_find(name_of(call), argc, &c->choice, &why)) {
        say_error(c, &why);
        return;
    }
    buf_fini(&why);
    run(c, call);
}

/* --- going on -------------------------------------------------------------------------------- */

static void drop_calls(struct console *c)
{
    buf_cut(&c->calls, 0);
    c->next_call = 0;
}

/* The first of the lines becomes calls, or an error. */
static void parse_line(struct console *c)
{
    struct buf why;
    struct term t = term_in(span_of(c->lines.at, c->lines.len));
    const struct span tokens = term_any(&t);
    drop_calls(c);
    buf_init(&why, CALLS_MOST);
    if (tokens_parse(tokens, &c->calls, &why))
        buf_fini(&why);
    else
        say_error(c, &why);
    buf_drop(&c->lines, tokens.len);
}

static bool next_call(struct console *c, struct span *call)
{
    while (c->next_call == c->calls.len && c->lines.len > 0)
        parse_line(c);
    if (c->next_call == c->calls.len)
        return false;
    struct term t = term_in(span_of(c->calls.at + c->next_call, c->calls.len - c->next_call));
    *call = term_any(&t);
    c->next_call += call->len;
    return true;
}

static bool is_free(const struct console *c)
{
    return !c->left && !c->waits && !c->tops && c->page_number == 0 && c->text.len == 0;
}

static void go_on(struct console *c)
{
    struct span call;
    if (c->runs)
        return;
    c->runs = true;
    while (is_free(c) && next_call(c, &call))
        run_call(c, call);
    c->runs = false;
    if (c->left)
        return;
    flush(c);
    read_on(c);
}

/* Nothing of what was typed before goes on. */
static void interrupt(struct console *c)
{
    if (c->tops)
        top_end(c);
    if (c->waits)
        print_text(&c->text, "error: %s was interrupted\n", c->choice.op->name);
    forget_request(c);
    drop_calls(c);
    buf_cut(&c->lines, 0);
    go_on(c);
}

/* --- hearing --------------------------------------------------------------------------------- */

/* Is the line this command alone? */
static bool is_only(struct span tokens, const char *name)
{
    struct buf line;
    struct buf why;
    buf_init(&line, CALLS_MOST);
    buf_init(&why, CALLS_MOST);
    const bool parsed = tokens_parse(tokens, &line, &why) && line.len > 0;
    struct term t = term_in(span_of(line.at, line.len));
    const bool only = parsed && term_tuple(&t) == 1 && term_is_atom(&t, name) && term_done(&t);
    buf_fini(&why);
    buf_fini(&line);
    return only;
}

static void hear_tokens(struct console *c, struct span tokens)
{
    if (c->tops)
        top_end(c);
    const size_t len = c->lines.len;
    if (c->waits && is_only(tokens, "cancel")) {
        interrupt(c);
        return;
    }
    if (!buf_put(&c->lines, tokens.at, tokens.len)) {
        buf_cut(&c->lines, len);
        print_text(&c->text, "error: too much was typed ahead\n");
    }
    go_on(c);
}

/* What the client could not read: {Place, erl_scan, Reason}. */
static void hear_mistake(struct console *c, struct span info)
{
    struct term t = term_in(info);
    struct span reason = info;
    if (term_tag(&t) == ERL_SMALL_TUPLE_EXT && term_tuple(&t) == 3) {
        term_any(&t);
        term_any(&t);
        reason = term_any(&t);
    }
    print_text(&c->text, "error: the client cannot read this: ");
    print_term(&c->text, reason, c->columns, COLUMNS);
    print_text(&c->text, "\n");
    go_on(c);
}

/* The keys of a terminal that are not letters come as an escape and more. True: it goes on. */
static bool is_within_escape(struct console *c, uint32_t key)
{
    const bool begins = key == '[' || key == 'O';
    const bool final = key >= '@' && key <= '~';
    if (c->escape == NO_ESCAPE)
        c->escape = key == 0x1b ? ESCAPE_BEGUN : NO_ESCAPE;
    else if (c->escape == ESCAPE_BEGUN)
        c->escape = begins ? ESCAPE_INSIDE : NO_ESCAPE;
    else
        c->escape = final ? NO_ESCAPE : ESCAPE_INSIDE;
    return c->escape != NO_ESCAPE;
}

static void hear_key(struct console *c, struct span key)
{
    struct buf scratch;
    struct term t = term_in(key);
    uint32_t character = 0;
    buf_init(&scratch, LINES_MOST);
    const struct span utf8 = term_name(&t, &scratch);
    const bool known = !t.bad && print_character(utf8, &character) > 0;
    if (c->tops && !(known && is_within_escape(c, character)))
        top_end(c);
    buf_fini(&scratch);
    go_on(c);
}

/* ^C: the line that was being typed ends here. */
void console_interrupt(struct console *c)
{
    if (c->left || !c->begun)
        return;
    print_text(&c->text, "\n");
    interrupt(c);
}

/* A read that failed: by ^C, or for good. */
static void hear_failure(struct console *c, struct term reason)
{
    if (term_is_atom(&reason, "interrupted"))
        console_interrupt(c);
    else if (term_is_atom(&reason, "terminated") || ++c->errors == ERRORS_MOST)
        leave(c);
    else
        go_on(c);
}

static void hear_tuple(struct console *c, struct span answer)
{
    struct term t = term_in(answer);
    const int arity = term_tuple(&t);
    if (arity == 3 && term_is_atom(&t, "ok")) {
        c->errors = 0;
        hear_tokens(c, term_any(&t));
    } else if (arity == 3 && term_is_atom(&t, "error")) {
        c->errors = 0;
        hear_mistake(c, term_any(&t));
    } else if (arity == 2 && term_is_atom(&t, "error")) {
        hear_failure(c, t);
    } else {
        leave(c); /* {eof, Place} */
    }
}

static void hear_answer(struct console *c, struct span answer)
{
    struct term t = term_in(answer);
    const enum read read = c->read;
    c->read = READ_NOTHING;
    c->read_number = 0;
    if (term_tag(&t) == ERL_SMALL_TUPLE_EXT)
        hear_tuple(c, answer);
    else if (read == READ_KEY && !term_is_atom(&t, "eof"))
        hear_key(c, answer);
    else
        leave(c);
}

static void hear_size(size_t *size, struct term t)
{
    const uint64_t n = term_uint64(&t);
    if (!t.bad && n >= 10 && n <= 1000)
        *size = n;
}

static void hear_reply(struct console *c, uint64_t number, struct term answer)
{
    if (number == c->page_number) {
        c->page_number = 0;
        if (c->tops && c->due)
            top_look(c);
        go_on(c);
    } else if (number == c->columns_number) {
        c->columns_number = 0;
        hear_size(&c->columns, answer);
    } else if (number == c->rows_number) {
        c->rows_number = 0;
        hear_size(&c->rows, answer);
    } else if (number == c->read_number) {
        hear_answer(c, term_any(&answer));
    }
}

void console_message(struct console *c, struct span message)
{
    struct term t = term_in(message);
    const bool is_reply =
        term_tag(&t) == ERL_SMALL_TUPLE_EXT && term_tuple(&t) == 3 && term_is_atom(&t, "io_reply");
    const uint64_t number = is_reply ? term_uint64(&t) : 0;
    if (!c->left && !t.bad && number != 0)
        hear_reply(c, number, t);
}

void console_answer(struct console *c, struct span reply)
{
    if (!c->waits)
        return;
    c->waits = false;
    if (!c->tops)
        uv_timer_stop(&c->timer);
    show_reply(c, reply);
    if (c->tops)
        overwrite(&c->text, c->rows > 0);
    go_on(c);
}

/* --- a console's life ------------------------------------------------------------------------ */

static void init_bufs(struct console *c)
{
    buf_init(&c->self, PID_MOST);
    buf_init(&c->text, TEXT_MOST);
    buf_init(&c->lines, LINES_MOST);
    buf_init(&c->calls, CALLS_MOST);
    buf_init(&c->request, (size_t)2 * CALLS_MOST);
}

static void free_console(struct console *c)
{
    buf_fini(&c->self);
    buf_fini(&c->text);
    buf_fini(&c->lines);
    buf_fini(&c->calls);
    buf_fini(&c->request);
    samples_fini(&c->samples);
    free(c);
}

struct console *console_open(struct server *s, const struct console_port *port, void *arg,
                             struct span self)
{
    struct console *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    *c = (struct console){.server = s, .port = *port, .arg = arg, .columns = COLUMNS};
    init_bufs(c);
    if (!buf_put(&c->self, self.at, self.len)) {
        free_console(c);
        return NULL;
    }
    uv_timer_init(s->loop, &c->timer);
    c->timer.data = c;
    return c;
}

static void call_without_arguments(struct console *c, const char *name)
{
    reply_tuple(&c->calls, 1);
    reply_atom(&c->calls, name);
}

void console_start(struct console *c)
{
    if (c->begun)
        return;
    c->begun = true;
    call_without_arguments(c, "banner");
    call_without_arguments(c, "sample");
    go_on(c);
}

static void on_closed(uv_handle_t *timer)
{
    free_console(timer->data);
}

void console_close(struct console *c)
{
    c->left = true;
    uv_close((uv_handle_t *)&c->timer, on_closed);
}
