/* The log in a file, and in a pipe that nobody reads. */
#include "sys/log.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "support/check.h"
#include "support/faults.h"
#include "support/folder.h"
#include "sys/bytes.h"

static char *dir;

static const char *name(void)
{
    return folder_file(dir, "log");
}

static int setup(void **state)
{
    (void)state;
    dir = folder_make();
    log_set_level(LOG_debug);
    return log_open(name()) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    log_open(NULL);
    log_set_level(LOG_notice);
    folder_remove(dir);
    return 0;
}

/* All that the file has. Good until the next call. */
static const char *text_of(const char *path)
{
    static char text[65536];
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    return text;
}

static unsigned lines_in(const char *text)
{
    unsigned n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static void names_of_levels_are_those_of_erlang(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum log_level level;
    } rows[] = {{"error", LOG_error},
                {"warning", LOG_warning},
                {"notice", LOG_notice},
                {"info", LOG_info},
                {"debug", LOG_debug}};
    enum log_level level;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(log_level_named(rows[i].name, &level));
        assert_int_equal(level, rows[i].level);
    }
    assert_false(log_level_named("Error", &level));
    assert_false(log_level_named("", &level));
    assert_false(log_level_named("errors", &level));
}

static void a_level_lets_the_weightier_through(void **state)
{
    (void)state;
    for (enum log_level level = LOG_error; level <= LOG_debug; level++) {
        assert_int_equal(truncate(name(), 0), 0);
        log_set_level(level);
        log_error("one");
        log_warning("two");
        log_notice("three");
        log_info("four");
        log_debug("five");
        assert_int_equal(lines_in(text_of(name())), level + 1);
    }
}

static void a_line_has_time_level_and_text(void **state)
{
    (void)state;
    log_warning("disk %s is %d%% full", "a", 97);
    static const char expected[] = "####-##-##T##:##:##.###Z warning disk a is 97% full\n";
    const char *text = text_of(name());
    assert_int_equal(strlen(text), strlen(expected));
    for (size_t i = 0; expected[i] != '\0'; i++)
        assert_true(expected[i] == '#' ? isdigit((unsigned char)text[i]) : text[i] == expected[i]);
}

/* Names come from peers. */
static void an_event_is_one_line_whatever_it_says(void **state)
{
    (void)state;
    log_error("a\nerror b\r\tc\033[2Jd\177e");
    const char *text = text_of(name());
    assert_int_equal(lines_in(text), 1);
    assert_non_null(strstr(text, " error a?error b??c?[2Jd?e\n"));
    char all[256];
    for (int i = 0; i < 255; i++)
        all[i] = (char)(i + 1);
    all[255] = '\0';
    log_error("%s", all);
    text = text_of(name());
    assert_int_equal(lines_in(text), 2);
    for (; *text != '\0'; text++)
        assert_true(*text == '\n' || ((unsigned char)*text >= ' ' && *text != 0x7f));
}

static void long_lines_are_cut(void **state)
{
    (void)state;
    static char much[5000];
    memset(much, 'm', sizeof much - 1);
    for (int n = 900; n < 1100; n++) {
        assert_int_equal(truncate(name(), 0), 0);
        log_error("%.*s", n, much);
        log_error("next");
        const char *text = text_of(name());
        assert_int_equal(lines_in(text), 2);
        const size_t first = strcspn(text, "\n");
        assert_true(first < 1024 && first >= 900);
        assert_non_null(strstr(text + first, " error next\n"));
    }
    log_error("%s", much);
    assert_int_equal(lines_in(text_of(name())), 3);
}

static void reopening_follows_the_name(void **state)
{
    (void)state;
    const struct held before = held_now();
    const char *old = folder_file(dir, "log.1");
    log_error("before");
    assert_int_equal(rename(name(), old), 0);
    log_error("between");
    assert_true(log_reopen());
    log_error("after");
    assert_int_equal(lines_in(text_of(old)), 2);
    assert_int_equal(lines_in(text_of(name())), 1);
    assert_non_null(strstr(text_of(name()), " error after\n"));
    held_as(before);
}

static void a_file_that_cannot_be_opened_changes_nothing(void **state)
{
    (void)state;
    assert_false(log_open(folder_file(dir, "none/log")));
    assert_int_equal(errno, ENOENT);
    assert_false(log_open(dir));
    assert_int_equal(errno, EISDIR);
    log_error("still here");
    assert_int_equal(lines_in(text_of(name())), 1);
    assert_true(log_open(name())); /* and it appends */
    log_error("here");
    assert_int_equal(lines_in(text_of(name())), 2);
}

/* --- standard error is a pipe ---------------------------------------------------------------- */

static int standard_error, reading;

static void pipe_begin(void)
{
    int ends[2];
    must(pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
    standard_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    must(standard_error >= 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    close(ends[1]);
    reading = ends[0];
    must(fcntl(reading, F_SETFL, O_NONBLOCK) == 0 && log_open(NULL));
}

static void pipe_end(void)
{
    must(dup2(standard_error, STDERR_FILENO) == STDERR_FILENO);
    close(standard_error);
    close(reading);
}

/* Takes all out of the pipe. */
static const char *piped(void)
{
    static char text[65536];
    size_t len = 0;
    for (;;) {
        const ssize_t n = read(reading, text + len, sizeof text - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    return text;
}

static void standard_error_has_no_times(void **state)
{
    (void)state;
    char text[64];
    pipe_begin();
    log_error("hello");
    snprintf(text, sizeof text, "%.63s", piped());
    assert_true(log_reopen()); /* nothing to do */
    log_info("again");
    const bool again = strcmp(piped(), "info again\n") == 0;
    pipe_end();
    assert_string_equal(text, "error hello\n");
    assert_true(again);
}

static void a_full_pipe_loses_lines_and_tells_how_many(void **state)
{
    (void)state;
    enum { WRITTEN = 500 };
    char text[64];
    pipe_begin();
    for (int i = 0; i < WRITTEN; i++)
        log_error("line %04d of many that are written to nobody", i);
    const unsigned kept = lines_in(piped());
    log_error("next");
    snprintf(text, sizeof text, "%.63s", piped());
    log_error("last");
    const bool told_once = strcmp(piped(), "error last\n") == 0;
    pipe_end();
    char *end;
    assert_true(kept > 10 && kept < WRITTEN);
    assert_int_equal(strncmp(text, "warning ", 8), 0);
    assert_int_equal(kept + strtoul(text + 8, &end, 10), WRITTEN);
    assert_string_equal(end, " log lines lost\nerror next\n");
    assert_true(told_once);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(names_of_levels_are_those_of_erlang),
        TEST(a_level_lets_the_weightier_through),
        TEST(a_line_has_time_level_and_text),
        TEST(an_event_is_one_line_whatever_it_says),
        TEST(long_lines_are_cut),
        TEST(reopening_follows_the_name),
        TEST(a_file_that_cannot_be_opened_changes_nothing),
        TEST(standard_error_has_no_times),
        TEST(a_full_pipe_loses_lines_and_tells_how_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
