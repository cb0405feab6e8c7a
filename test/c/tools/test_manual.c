/* The man page has every subcommand with its options, and no others. */
#include "support/check.h"
#include "sys/bytes.h"
#include "tools/tools.h"

static char manual[65536];
static char *subcommands; /* the section */

static int setup(void **state)
{
    (void)state;
    FILE *f = fopen(MANUAL, "re");
    assert_non_null(f);
    manual[fread(manual, 1, sizeof manual - 1, f)] = '\0';
    fclose(f);
    subcommands = strstr(manual, ".SH SUBCOMMANDS\n");
    assert_non_null(subcommands);
    char *end = strstr(subcommands + 1, "\n.SH ");
    assert_non_null(end);
    end[1] = '\0';
    return 0;
}

/* As the man page writes it; good until the next but one. */
static const char *escaped(const char *text)
{
    static char kept[2][200];
    static unsigned turn;
    char *to = kept[turn++ % 2];
    size_t n = 0;
    for (const char *c = text; *c != '\0'; c++)
        n += (size_t)snprintf(to + n, sizeof kept[0] - n, *c == '-' ? "\\-" : "%c", *c);
    return to;
}

/* Its part of the section, up to the next one's; cut out of the text. */
static const char *part_of(const struct tool *tool)
{
    static char part[8192];
    char head[300];
    snprintf(head, sizeof head, "\n.SS \"%s%s %s\"\n", escaped(tool->name),
             tool->options[0].name != NULL ? " [OPTION]..." : "", escaped(tool->arguments));
    const char *at = strstr(subcommands, head);
    if (at == NULL) {
        fail_msg("the man page has no%s", head);
        return "";
    }
    at += strlen(head);
    const char *end = strstr(at, "\n.SS ");
    const size_t len = end == NULL ? strlen(at) : (size_t)(end - at + 1);
    assert_true(len < sizeof part);
    snprintf(part, sizeof part, "%.*s", (int)len, at);
    return part;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

static void every_subcommand_is_told_and_no_other(void **state)
{
    (void)state;
    unsigned n = 0;
    for (const struct tool *tool = tool_rows; tool->name != NULL; tool++, n++)
        assert_true(strlen(part_of(tool)) > 40);
    assert_int_equal(count(subcommands, "\n.SS "), n);
}

static void every_option_of_each_is_told_and_no_other(void **state)
{
    (void)state;
    for (const struct tool *tool = tool_rows; tool->name != NULL; tool++) {
        const char *part = part_of(tool);
        unsigned n = 0;
        for (; n < TOOL_OPTIONS && tool->options[n].name != NULL; n++) {
            const struct tool_option *o = &tool->options[n];
            char line[300];
            snprintf(line, sizeof line, ".TP\n.B%s \\-\\-%s%s%s%s\n", o->argument ? "I" : "",
                     escaped(o->name), o->argument ? " \" " : "", o->argument ? o->argument : "",
                     o->argument ? "\"" : "");
            if (strstr(part, line) == NULL)
                fail_msg("the man page has no\n%sof %s", line, tool->name);
        }
        assert_int_equal(count(part, ".TP\n"), n);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_subcommand_is_told_and_no_other),
        TEST(every_option_of_each_is_told_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
