/* Conversations of operators with the daemon. */
#include "shell/console.h"

#include "terminal.h"

static struct host h;
static struct peer p;
static struct terminal t;

static int set_up(void **state)
{
    (void)state;
    host_init(&h);
    host_open(&h);
    peer_open(&p, &h, "ops@localhost");
    terminal_open(&t, &p, 80);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    terminal_close(&t);
    peer_close(&p);
    host_close(&h);
    return 0;
}

static void make_orders(void)
{
    opened(ask(&p, "{open_queue,\"orders\",0,[]}"));
    assert_string_equal(ask(&p, "{push_many,\"orders\",[{order,1},{order,2}]}"), "ok");
}

static void it_greets_and_asks_for_a_line(void **state)
{
    (void)state;
    const char *text = seen(&t);
    assert_memory_equal(text, "emmapd test on ", 15);
    assert_non_null(strstr(text, ".  help(). for help, quit(). to leave.\n"));
    assert_string_equal(t.prompt, "emmap> ");
    assert_int_not_equal(t.line, 0);
}

static void a_request_of_the_table_gets_its_reply(void **state)
{
    (void)state;
    seen(&t);
    assert_string_equal(type(&t, "ping()."), "pong\n");
    assert_int_not_equal(t.line, 0);
    assert_string_equal(type(&t, "ping(), ping()."), "pong\npong\n");
    assert_string_equal(type(&t, "."), "");
}

static void what_changes_data_needs_unlock(void **state)
{
    (void)state;
    make_orders();
    seen(&t);
    static const char *const changes[] = {
        "push(\"orders\", a).",        "pop(\"orders\").",
        "take(\"orders\").",           "erase(\"orders\").",
        "batch([{pop, \"orders\"}]).", "open(\"new\", 0, 9, [create])."};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const char *text = type(&t, changes[i]);
        assert_memory_equal(text, "error: ", 7);
        assert_non_null(strstr(text, " changes data; enter unlock(). first\n"));
    }
    assert_string_equal(type(&t, "length(\"orders\")."), "2\n");
    assert_string_equal(type(&t, "unlock(), push(\"orders\", c)."), "ok\n");
    assert_string_equal(t.prompt, "emmap! ");
    assert_string_equal(type(&t, "lock(), push(\"orders\", d)."),
                        "error: push changes data; enter unlock(). first\n");
    assert_string_equal(t.prompt, "emmap> ");
    assert_string_equal(type(&t, "length(\"orders\")."), "3\n");
}

static void errors_say_what_was_expected(void **state)
{
    (void)state;
    make_orders();
    type(&t, "unlock().");
    static const char *const lines[][2] = {
        {"push(\"orders\").", "error: push takes (Obj, Term)\n"},
        {"help(1, 2).", "error: help takes () or (Command)\n"},
        {"peek(\"orders\").", "error: peek takes (Obj, Max)\n"},
        {"info(1, 2).", "error: info takes () or (Obj)\n"},
        {"psh(\"orders\", a).", "error: there is no command psh; did you mean push?\n"},
        {"zebra().", "error: there is no command zebra; help() shows them\n"},
        {"move_in(1, a, 1, a, a).", "error: there is no command move_in; help() shows them\n"},
        {"log(loud).", "error: log takes error, warning, notice, info or debug\n"},
        {"help(17).", "error: help takes the name of a command: help(push)\n"},
        {"help(zebra).", "error: there is no such command; help() shows them\n"},
        {"peek(orders, 1).", "error: badarg (a wrong argument); peek takes (Obj, Max)\n"},
        {"kick(\"orders\", a).", "error: badarg (a wrong argument); kick takes (Obj, Number)\n"},
        {"ack(\"orders\", 1).", "error: not_leased (the caller does not hold this item)\n"},
        {"read_counter(\"orders\", 1).", "error: {wrong_kind,queue} (the object is a queue)\n"},
        {"push(\"orders\", X).", "error: expected a term, not a variable\n"},
        {"push(\"orders\", a), length(.", "error: expected a term, not the end\n"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_string_equal(type(&t, lines[i][0]), lines[i][1]);
    assert_string_equal(type(&t, "length(\"orders\")."), "2\n"); /* none of a line that is wrong */
    assert_string_equal(type_and_wait(&t, "info(\"missing\")."),
                        "error: enoent (no such file or directory)\n");
}

static void what_the_client_cannot_read_is_told(void **state)
{
    (void)state;
    seen(&t);
    terminal_reply(&t, &t.line, make_term("{error,{1,erl_scan,{illegal,character}},1}"));
    terminal_settle(&t);
    assert_string_equal(seen(&t), "error: the client cannot read this: {illegal,character}\n");
    assert_string_equal(type(&t, "ping()."), "pong\n");
}

static void items_are_shown_in_lines(void **state)
{
    (void)state;
    make_orders();
    seen(&t);
    assert_string_equal(type(&t, "peek(\"orders\", 10)."), "#1  {order,1}\n#2  {order,2}\n");
    assert_memory_equal(ask(&p, "{take,\"orders\"}"), "{ok,1,", 6);
    assert_string_equal(ask(&p, "{bury,\"orders\",1}"), "ok");
    assert_string_equal(type(&t, "peek_buried(\"orders\", 10)."), "#1  attempt 1  {order,1}\n");
    assert_string_equal(type(&t, "unlock(), erase(\"orders\"), peek(\"orders\", 1).") + 0,
                        ""); /* erase takes a worker */
    terminal_take_answer(&t);
    terminal_settle(&t);
    assert_string_equal(seen(&t), "ok\nno items\n");
}

static void counters_are_a_table(void **state)
{
    (void)state;
    opened(ask(&p, "{open_counters,\"hits\",3}"));
    seen(&t);
    assert_string_equal(type(&t, "counters(\"hits\")."), "INDEX  VALUE\n"
                                                         "    0      0\n"
                                                         "    1      0\n"
                                                         "    2      0\n");
    assert_string_equal(ask(&p, "{set_counter,\"hits\",1,-12345678}"), "{ok,0}");
    assert_string_equal(type(&t, "counters(\"hits\")."), "INDEX      VALUE\n"
                                                         "    0          0\n"
                                                         "    1  -12345678\n"
                                                         "    2          0\n");
}

static void a_region_is_hex_and_text(void **state)
{
    (void)state;
    opened(ask(&p, "{open,\"f\",0,40,[create,read,write]}"));
    assert_string_equal(ask(&p, "{pwrite,\"f\",8,\"hello, world\"}"), "ok");
    seen(&t);
    assert_string_equal(
        type(&t, "region(\"f\", 8, 20)."),
        "00000008  68 65 6c 6c 6f 2c 20 77  6f 72 6c 64 00 00 00 00 |hello, world....|\n"
        "00000018  00 00 00 00                                      |....|\n");
    assert_string_equal(type(&t, "region(\"f\", 40, 1)."), "eof\n");
}

static void the_queues_are_a_table(void **state)
{
    (void)state;
    seen(&t);
    assert_string_equal(type(&t, "queues()."), "no queue is open\n");
    make_orders();
    opened(ask(&p, "{open_queue,\"a-very-long-name-of-a-queue-that-has-no-room\",0,[]}"));
    const char *text = type(&t, "queues().");
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1)
        assert_true(strcspn(line, "\n") <= 80);
    assert_memory_equal(text, "NAME ", 5);
    assert_non_null(strstr(text, "ITEMS  LEASED  BURIED  WAITING"));
    assert_non_null(strstr(text, "\n...")); /* its end is what tells most */
    assert_non_null(strstr(text, "has-no-room "));
    assert_non_null(strstr(text, "\norders "));
    assert_non_null(strstr(text, " 128 KiB\n"));
}

static void the_daemon_and_its_objects_are_told(void **state)
{
    (void)state;
    make_orders();
    opened(ask(&p, "{open_counters,\"hits\",8}"));
    opened(ask(&p, "{open,\"f\",0,4096,[create,read,write]}"));
    seen(&t);
    const char *text = type(&t, "info().");
    assert_non_null(strstr(text, "node                      emmap@localhost\n"));
    assert_non_null(strstr(text, "limits max_objects        100\n"));
    text = type(&t, "info(\"hits\").");
    assert_memory_equal(text, "counters  8 x 64 bit, 1 handle from 1 node, ", 43);
    text = type(&t, "info(\"f\").");
    assert_memory_equal(text, "region    4 KiB, 0 B written, ", 30);
    text = type(&t, "info(\"orders\").");
    assert_memory_equal(text, "queue     2 items, 2 ready, ", 28);
    opened(ask(&p, "{open,\"users\",0,16384,[create,read,write]}"));
    assert_string_equal(ask(&p, "{init_block_storage,\"users\",3}"), "ok");
    assert_string_equal(ask(&p, "{store_blocks,\"users\",[\"abc\",\"def\"]}"), "{ok,[0,1]}");
    text = type(&t, "info(\"users\").");
    assert_memory_equal(text, "blocks    2 of 3 bytes, 510 free, 16 KiB, ", 42);
    text = type(&t, "list().");
    assert_memory_equal(text, "NAME    KIND ", 13);
    assert_non_null(strstr(text, "\nhits    counters "));
    text = type(&t, "clients().");
    assert_non_null(strstr(text, "\nops@localhost "));
}

static void help_fits_the_terminal(void **state)
{
    (void)state;
    t.columns = 60;
    type(&t, "ping().");
    const char *text = type(&t, "help().");
    assert_non_null(strstr(text, "\n  peek(Obj, Max)          the first items of a queue\n"));
    assert_non_null(strstr(text, " kick "));
    assert_null(strstr(text, "move_in"));
    assert_null(strstr(text, "banner"));
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1)
        assert_true(strcspn(line, "\n") <= 80);
    assert_string_equal(type(&t, "help(push)."),
                        "  push(Obj, Term)         append an item; unlock() first\n");
    assert_string_equal(type(&t, "help(info)."), "  info()                  the daemon\n"
                                                 "  info(Obj)               an object\n");
}

static void a_long_reply_is_broken_at_the_columns(void **state)
{
    (void)state;
    make_orders();
    t.columns = 30;
    type(&t, "ping().");
    assert_string_equal(type(&t, "peek_many(\"orders\", 10)."),
                        "{ok,\n"
                        " [{1,{order,1}},{2,{order,2}}]}\n");
}

static void a_request_that_waits_is_ended_by_control_c(void **state)
{
    (void)state;
    opened(ask(&p, "{open_queue,\"jobs\",0,[]}"));
    type(&t, "unlock().");
    assert_string_equal(type(&t, "pop_wait(\"jobs\", infinity)."), "");
    assert_true(t.waiting);
    assert_int_not_equal(t.line, 0); /* so that ^C is heard */
    terminal_reply(&t, &t.line, make_term("{error,interrupted}"));
    terminal_settle(&t);
    assert_true(t.cancelled);
    assert_string_equal(seen(&t), "\nerror: pop_wait was interrupted\n");
    assert_string_equal(type(&t, "push(\"jobs\", a), length(\"jobs\")."), "ok\n1\n");
}

static void it_says_that_a_request_waits(void **state)
{
    (void)state;
    opened(ask(&p, "{open_queue,\"jobs\",0,[]}"));
    type(&t, "unlock().");
    type(&t, "pop_wait(\"jobs\", infinity).");
    while (t.screen[0] == '\0')
        uv_run(&h.loop, UV_RUN_ONCE);
    terminal_settle(&t);
    assert_string_equal(seen(&t), "pop_wait waits; cancel(). ends it\n");
    assert_string_equal(type(&t, "cancel()."), "error: pop_wait was interrupted\n");
    assert_true(t.cancelled);
    assert_string_equal(type(&t, "cancel()."), "nothing waits\n");
}

static void lines_typed_ahead_follow_in_order(void **state)
{
    (void)state;
    opened(ask(&p, "{open_queue,\"jobs\",0,[]}"));
    type(&t, "unlock().");
    type(&t, "pop_wait(\"jobs\", infinity), ping().");
    assert_string_equal(type(&t, "length(\"jobs\")."), "");
    assert_string_equal(type(&t, "zebra()."), "");
    call(&p, make_term("{push,\"jobs\",a}"));
    free(hear(&p));
    terminal_take_answer(&t);
    terminal_settle(&t);
    assert_string_equal(seen(&t), "{ok,a}\npong\n0\n"
                                  "error: there is no command zebra; help() shows them\n");
}

static void a_slow_terminal_has_one_page_under_way(void **state)
{
    (void)state;
    seen(&t);
    t.slow = true;
    assert_string_equal(type(&t, "ping()."), "pong\n");
    for (int i = 0; i < 100; i++)
        assert_string_equal(type(&t, "ping()."), "");
    t.slow = false;
    terminal_settle(&t);
    assert_int_equal(strlen(seen(&t)), 100 * strlen("pong\n"));
}

/* Or the daemon would be one operator's until the end of the line. */
static void a_long_line_is_done_page_by_page(void **state)
{
    (void)state;
    seen(&t);
    t.at_once = t.slow = true;
    assert_string_equal(type(&t, "unlock(), ping(), zebra(), ping()."), "pong\n");
    terminal_reply(&t, &t.page, make_term("ok"));
    assert_string_equal(seen(&t), "error: there is no command zebra; help() shows them\n");
    terminal_reply(&t, &t.page, make_term("ok"));
    assert_string_equal(seen(&t), "pong\n");
}

static void top_is_ended_by_a_key(void **state)
{
    (void)state;
    make_orders();
    seen(&t);
    type(&t, "ping().");
    const char *text = type(&t, "top().");
    assert_memory_equal(text, "\x1b[H1 open objects", 16);
    assert_non_null(strstr(text, "\x1b[K\norders  queue "));
    assert_int_equal(t.line, 0);
    assert_false(t.echo);
    while (!t.waiting) /* the next look */
        uv_run(&h.loop, UV_RUN_ONCE);
    terminal_settle(&t);
    assert_memory_equal(seen(&t), "\x1b[H1 open objects", 16);
    static const char *const keys[] = {"[27]", "[91]"}; /* an arrow's, up to its last */
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        terminal_reply(&t, &t.key, make_term("%s", keys[i]));
        assert_int_not_equal(t.key, 0);
    }
    terminal_reply(&t, &t.key, make_term("\"A\""));
    terminal_settle(&t);
    assert_true(t.echo);
    assert_string_equal(type(&t, "ping()."), "pong\n");
}

static void a_key_may_come_before_the_next_look(void **state)
{
    (void)state;
    type(&t, "top().");
    while (!t.waiting)
        uv_run(&h.loop, UV_RUN_ONCE);
    terminal_reply(&t, &t.key, make_term("\"q\""));
    assert_true(t.cancelled);
    free(hear(&p)); /* which is taken back */
    terminal_settle(&t);
    seen(&t);
    assert_string_equal(type(&t, "ping()."), "pong\n");
}

static void replies_may_come_at_once(void **state)
{
    (void)state;
    t.at_once = true;
    make_orders();
    seen(&t);
    assert_string_equal(type(&t, "ping(), length(\"orders\"), ping()."), "pong\n2\npong\n");
    assert_memory_equal(type(&t, "top()."), "\x1b[H1 open objects", 16);
    terminal_reply(&t, &t.key, make_term("\"q\""));
    terminal_settle(&t);
    assert_string_equal(type(&t, "ping(), quit()."), "pong\n");
}

static void top_is_ended_by_control_c(void **state)
{
    (void)state;
    type(&t, "top(), ping().");
    seen(&t);
    terminal_reply(&t, &t.key, make_term("{error,interrupted}"));
    terminal_settle(&t);
    assert_string_equal(seen(&t), "\n");
    assert_true(t.echo);
    assert_int_not_equal(t.line, 0);
}

static void a_terminal_of_unknown_size_gets_no_escapes(void **state)
{
    (void)state;
    terminal_close(&t);
    terminal_open(&t, &p, 0);
    seen(&t);
    assert_null(strchr(type(&t, "top()."), 0x1b));
}

static void it_leaves_when_told_and_at_the_end_of_input(void **state)
{
    (void)state;
    static const char *const ends[] = {"{eof,1}", "eof", "{error,terminated}"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        terminal_reply(&t, &t.line, make_term("%s", ends[i]));
        assert_true(t.left);
        terminal_close(&t);
        terminal_open(&t, &p, 80);
    }
    seen(&t);
    assert_string_equal(type(&t, "ping(), quit(), ping()."), "pong\n");
    assert_true(t.left);
    console_message(t.console, make_term("{io_reply,1,ok}"));
}

static void errors_of_the_client_do_not_go_on_for_ever(void **state)
{
    (void)state;
    int n = 0;
    for (; !t.left && n < 10; n++)
        terminal_reply(&t, &t.line, make_term("{error,enotsup}"));
    assert_int_equal(n, 3);
}

/* Its process may be sent anything. */
static void what_it_does_not_know_is_ignored(void **state)
{
    (void)state;
    static const char *const messages[] = {"a",
                                           "[]",
                                           "{}",
                                           "{io_reply,a,b}",
                                           "{io_reply,0,ok}",
                                           "{io_reply,-1,ok}",
                                           "{io_reply}",
                                           "{'EXIT',a,b}",
                                           "{io_reply,999,ok}",
                                           "\"text\"",
                                           "{io_reply,1,ok,more}"};
    seen(&t);
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++)
        console_message(t.console, make_term("%s", messages[i]));
    terminal_settle(&t);
    assert_string_equal(seen(&t), "");
    console_answer(t.console, make_term("ok"));
    console_interrupt(t.console);
    terminal_settle(&t);
    assert_string_equal(seen(&t), "\n");
    assert_string_equal(type(&t, "ping()."), "pong\n");
}

static void answers_to_a_read_may_be_anything(void **state)
{
    (void)state;
    static const char *const answers[] = {"{ok,a,1}",       "{ok,[{}],1}", "{ok,{},1}",
                                          "{ok,\"abc\",1}", "{error,a,1}", "{ok,[],1}"};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        terminal_reply(&t, &t.line, make_term("%s", answers[i]));
        terminal_settle(&t);
        assert_memory_equal(t.line != 0 ? seen(&t) : "left", "error: ", i == 0 ? 0 : 7);
        seen(&t);
    }
    assert_false(t.left);
}

static void more_than_a_page_is_cut_at_a_line(void **state)
{
    (void)state;
    opened(ask(&p, "{open_counters,\"hits\",100000}"));
    seen(&t);
    const char *text = type_and_wait(&t, "counters(\"hits\").");
    const size_t len = strlen(text);
    assert_true(len > 200000 && len < 300000);
    assert_string_equal(text + len - 33, "\n... and more than is shown here\n");
    assert_string_equal(type(&t, "ping()."), "pong\n");
}

static void two_operators_do_not_meet(void **state)
{
    (void)state;
    struct terminal *other = calloc(1, sizeof *other);
    terminal_open(other, &p, 80);
    type(other, "unlock().");
    seen(&t);
    make_orders();
    assert_string_equal(type(other, "push(\"orders\", a)."), "ok\n");
    assert_memory_equal(type(&t, "push(\"orders\", a)."), "error: ", 7);
    terminal_close(other);
    free(other);
}

static void the_log_has_another_level(void **state)
{
    (void)state;
    seen(&t);
    assert_string_equal(type(&t, "log(debug)."), "ok\n");
    assert_string_equal(type(&t, "log(notice)."), "ok\n");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_greets_and_asks_for_a_line),
        CASE(a_request_of_the_table_gets_its_reply),
        CASE(what_changes_data_needs_unlock),
        CASE(errors_say_what_was_expected),
        CASE(what_the_client_cannot_read_is_told),
        CASE(items_are_shown_in_lines),
        CASE(counters_are_a_table),
        CASE(a_region_is_hex_and_text),
        CASE(the_queues_are_a_table),
        CASE(the_daemon_and_its_objects_are_told),
        CASE(help_fits_the_terminal),
        CASE(a_long_reply_is_broken_at_the_columns),
        CASE(a_request_that_waits_is_ended_by_control_c),
        CASE(it_says_that_a_request_waits),
        CASE(lines_typed_ahead_follow_in_order),
        CASE(a_slow_terminal_has_one_page_under_way),
        CASE(a_long_line_is_done_page_by_page),
        CASE(top_is_ended_by_a_key),
        CASE(a_key_may_come_before_the_next_look),
        CASE(replies_may_come_at_once),
        CASE(top_is_ended_by_control_c),
        CASE(a_terminal_of_unknown_size_gets_no_escapes),
        CASE(it_leaves_when_told_and_at_the_end_of_input),
        CASE(errors_of_the_client_do_not_go_on_for_ever),
        CASE(what_it_does_not_know_is_ignored),
        CASE(answers_to_a_read_may_be_anything),
        CASE(more_than_a_page_is_cut_at_a_line),
        CASE(two_operators_do_not_meet),
        CASE(the_log_has_another_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
