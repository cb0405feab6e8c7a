/* The table of options, the help and the man page say the same. */
#include "options.h"
#include "support/check.h"

static struct options o;
static char why[OPTIONS_WHY];

static enum options_result given(const char *first, const char *second)
{
    char *argv[] = {"emmapd", (char *)(uintptr_t)first, (char *)(uintptr_t)second, NULL};
    const int argc = 1 + (first != NULL) + (second != NULL);
    options_free(&o);
    why[0] = '\0';
    return options_read(&o, argc, argv, why);
}

static int teardown(void **state)
{
    (void)state;
    options_free(&o);
    return 0;
}

static void without_options_the_defaults_hold(void **state)
{
    (void)state;
    assert_int_equal(given(NULL, NULL), OPTIONS_RUN);
    assert_null(o.name);
    assert_null(o.sname);
    assert_string_equal(o.cookie_file, "~/.erlang.cookie");
    assert_string_equal(o.data_dir, "/var/lib/emmap");
    assert_null(o.allow_paths[0]);
    assert_null(o.peer_cookies[0]);
    assert_int_equal(o.log_level, LOG_notice);
    assert_false(o.stop_on_eof || o.any_file_system || o.allow_root);
    assert_true(o.sandbox);
    assert_int_equal(o.max_frame, 64 * 1024 * 1024);
    assert_int_equal(o.max_processes, 100000);
    assert_int_equal(o.max_unsent, 16 * 1024 * 1024);
    assert_int_equal(o.unsent_timeout, 30000);
    assert_int_equal(o.max_half_open, 64);
    assert_int_equal(o.max_connections, 1000);
    assert_int_equal(o.reserve_fds, 1100);
    assert_int_equal(o.handshake_timeout, 5000);
    assert_int_equal(o.max_objects, 10000);
    assert_int_equal(o.max_object_bytes, (uint64_t)1 << 40);
    assert_int_equal(o.max_mapped, (uint64_t)1 << 44);
    assert_int_equal(o.max_handles, 100000);
    assert_int_equal(o.max_pending, 10000);
    assert_int_equal(o.max_all_handles, 400000);
    assert_int_equal(o.max_all_pending, 40000);
    assert_int_equal(o.max_all_pending_bytes, 256 * 1024 * 1024);
    assert_int_equal(o.max_all_leases, 4000000);
    assert_int_equal(o.max_all_waiting, 400000);
    assert_int_equal(o.max_all_subscribers, 40000);
    assert_int_equal(o.max_pending_bytes, 1024 * 1024);
}

static void values_are_taken(void **state)
{
    (void)state;
    assert_int_equal(given("--max-frame", "5000"), OPTIONS_RUN);
    assert_int_equal(o.max_frame, 5000);
    assert_int_equal(given("--port=80", "--stop-on-eof"), OPTIONS_RUN);
    assert_int_equal(o.port, 80);
    assert_true(o.stop_on_eof);
    assert_int_equal(given("--log-level", "debug"), OPTIONS_RUN);
    assert_int_equal(o.log_level, LOG_debug);
    assert_int_equal(given("--allow-path=/a", "--allow-path=/b"), OPTIONS_RUN);
    assert_string_equal(o.allow_paths[0], "/a");
    assert_string_equal(o.allow_paths[1], "/b");
    assert_null(o.allow_paths[2]);
    assert_int_equal(given("--peer-cookie=a@b=/c", "--peer-cookie=ab@b==x"), OPTIONS_RUN);
    assert_string_equal(o.peer_cookies[0], "a@b=/c");
    assert_string_equal(o.peer_cookies[1], "ab@b==x");
    assert_null(o.peer_cookies[2]);
    assert_int_equal(given("--sandbox=off", "--allow-root"), OPTIONS_RUN);
    assert_true(!o.sandbox && o.allow_root);
    assert_int_equal(given("--sandbox=off", "--sandbox=on"), OPTIONS_RUN);
    assert_true(o.sandbox);
    assert_int_equal(given("--max-fr", "5000"), OPTIONS_RUN);
    assert_int_equal(o.max_frame, 5000);
}

static void help_and_version_are_no_errors(void **state)
{
    (void)state;
    assert_int_equal(given("--help", NULL), OPTIONS_HELP);
    assert_int_equal(given("--version", NULL), OPTIONS_VERSION);
}

static void wrong_values_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value;
    } wrong[] = {
        {"--port", "65536"},       {"--port", "-1"},
        {"--port", "x"},           {"--port", "1 "},
        {"--max-frame", "4095"},   {"--max-frame", "18446744073709551616"},
        {"--allow-path", "a"},     {"--log-level", "loud"},
        {"--max-objects", "0"},    {"--sandbox", "maybe"},
        {"--max-frame", "64k"},    {"--peer-cookie", "a@b"},
        {"--peer-cookie", "a@b="}, {"--peer-cookie", "a=b@c"},
        {"--peer-cookie", "=a@b"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(given(wrong[i].option, wrong[i].value), OPTIONS_BAD);
        assert_non_null(strstr(why, wrong[i].option));
        assert_non_null(strstr(why, wrong[i].value));
    }
}

static void what_is_no_option_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second, *named;
    } wrong[] = {
        {"--nonsense", NULL, "--nonsense"},
        {"stray", NULL, "stray"},
        {"--name", NULL, "--name"},
        {"--help=yes", NULL, "--help"},
        {"-x", NULL, "-x"},
        {"--name=a", "--sname=b", "--sname b"},
        {"--max", "5000", "--max"},
        {"--port", "", "--port ''"},
        {"--peer-cookie=a@b=c", "--peer-cookie=a@b=d", "--peer-cookie a@b=d"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(given(wrong[i].first, wrong[i].second), OPTIONS_BAD);
        assert_non_null(strstr(why, wrong[i].named));
    }
}

static char *text_of(FILE *f)
{
    static char text[65536];
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static void the_help_has_every_option(void **state)
{
    (void)state;
    FILE *f = tmpfile();
    assert_non_null(f);
    options_help(f);
    const char *help = text_of(f);
    for (const struct option_row *row = option_rows; row->name != NULL; row++) {
        char line[400];
        snprintf(line, sizeof line, "--%s %s", row->name, row->argument ? row->argument : "");
        assert_non_null(strstr(help, line));
        assert_non_null(strstr(help, row->help));
    }
}

/* How the man page writes an option: .BI "\-\-a\-b" " ARGUMENT", or .B without argument. */
static void manual_line(const struct option_row *row, char *line, size_t size)
{
    size_t n = (size_t)snprintf(line, size, ".B%s \\-\\-", row->argument ? "I" : "");
    for (const char *c = row->name; *c != '\0'; c++)
        n += (size_t)snprintf(line + n, size - n, *c == '-' ? "\\-" : "%c", *c);
    if (row->argument != NULL)
        snprintf(line + n, size - n, " \" %s\"\n", row->argument);
    else
        snprintf(line + n, size - n, "\n");
}

static void the_manual_has_every_option_and_no_other(void **state)
{
    (void)state;
    FILE *f = fopen(MANUAL, "r");
    assert_non_null(f);
    char *manual = text_of(f);
    char *subcommands = strstr(manual, ".SH SUBCOMMANDS");
    assert_non_null(subcommands);
    *subcommands = '\0'; /* these have options of their own, see tools/test_manual.c */
    size_t rows = 0;
    for (const struct option_row *row = option_rows; row->name != NULL; row++, rows++) {
        char line[100];
        char initial[100];
        manual_line(row, line, sizeof line);
        const char *at = strstr(manual, line);
        assert_non_null(at);
        if (row->initial == NULL)
            continue;
        const char *end = strstr(at + 1, "\n.TP");
        snprintf(initial, sizeof initial, "Default: %s.\n", row->initial);
        const char *told = strstr(at, initial);
        assert_true(told != NULL && told < end + 1);
    }
    for (const char *at = manual; (at = strstr(at, ".TP\n.B")) != NULL; at++)
        rows -= strncmp(at + strcspn(at + 5, " ") + 5, " \\-\\-", 5) == 0;
    assert_int_equal(rows, 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_options_the_defaults_hold),
        TEST(values_are_taken),
        TEST(help_and_version_are_no_errors),
        TEST(wrong_values_are_named),
        TEST(what_is_no_option_is_named),
        TEST(the_help_has_every_option),
        TEST(the_manual_has_every_option_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
