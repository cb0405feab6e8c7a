/* Names, cookies, and the pids that are made of a name. */
#include "dist/name.h"

#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dist/cookie.h"
#include "dist/self.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/peer.h"

static const char *full(const char *text, bool is_long)
{
    static struct name n;
    char why[NAME_WHY];
    return name_parse(&n, text, is_long, why) ? n.full : NULL;
}

static void a_name_without_a_host_is_at_home(void **state)
{
    (void)state;
    assert_string_equal(full("emmap", false), "emmap@localhost");
    assert_string_equal(full("emmap", true), "emmap@127.0.0.1");
}

static void a_dot_tells_long_names_from_short_ones(void **state)
{
    (void)state;
    assert_string_equal(full("a@host", false), "a@host");
    assert_string_equal(full("a@host.domain", true), "a@host.domain");
    assert_null(full("a@host.domain", false));
    assert_null(full("a@host", true));
}

static void what_is_no_name_is_refused(void **state)
{
    (void)state;
    static const char *const none[] = {"",      "@",   "@host", "a@",      "a b",
                                       "a@b@c", "a/b", "a@h/",  "\xc3\xa4"};
    char name[300];
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_null(full(none[i], false));
    memset(name, 'x', sizeof name);
    name[255 - strlen("@localhost")] = '\0';
    assert_non_null(full(name, false));
    name[strlen(name)] = 'x';
    name[256 - strlen("@localhost")] = '\0';
    assert_null(full(name, false));
}

static bool listens_at(const char *text, bool is_long, const char *expected)
{
    struct name n;
    struct in_addr address;
    char seen[INET_ADDRSTRLEN];
    char why[NAME_WHY] = "";
    assert_true(name_parse(&n, text, is_long, why));
    if (!name_address(&n, &address, why)) {
        assert_string_not_equal(why, "");
        return expected == NULL;
    }
    inet_ntop(AF_INET, &address, seen, sizeof seen);
    return expected != NULL && strcmp(seen, expected) == 0;
}

static void peers_find_us_where_the_name_leads(void **state)
{
    (void)state;
    assert_true(listens_at("a@localhost", false, "127.0.0.1"));
    assert_true(listens_at("a@127.0.0.1", true, "127.0.0.1"));
    assert_true(listens_at("a@127.0.1.1", true, "127.0.1.1"));
}

static void other_hosts_must_not_reach_us_unasked(void **state)
{
    (void)state;
    assert_true(listens_at("a@0.0.0.0", true, NULL));
    assert_true(listens_at("a@192.0.2.1", true, NULL));
    assert_true(listens_at("a@128.0.0.1", true, NULL));
}

static char *dir;
static struct cookie cookie;
static char why[COOKIE_WHY];

static bool reads(const char *content, mode_t mode)
{
    const char *path = folder_file(dir, "cookie");
    unlink(path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
    return cookie_read(&cookie, path, why);
}

static bool is_cookie(const char *text)
{
    return span_equal(span_of(cookie.bytes, cookie.len), span_text(text));
}

static void a_cookie_is_the_first_line(void **state)
{
    (void)state;
    assert_true(reads("monster", 0400) && is_cookie("monster"));
    assert_true(reads("monster\n", 0600) && is_cookie("monster"));
    assert_true(reads("monster\r\nmore\n", 0600) && is_cookie("monster"));
}

static void a_cookie_that_others_may_read_is_refused(void **state)
{
    (void)state;
    static const mode_t modes[] = {0440, 0404, 0620, 0602, 0410};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_false(reads("monster", modes[i]));
        assert_null(strstr(why, "monster"));
        assert_int_equal(cookie.len, 0);
    }
}

/* Only root can give a file away: anybody else has just his own, and those of root. */
static void a_cookie_of_another_user_is_refused(void **state)
{
    (void)state;
    const bool root = geteuid() == 0;
    assert_true(reads("monster", 0400));
    assert_int_equal(chown(folder_file(dir, "cookie"), root ? 65534 : geteuid(), (gid_t)-1), 0);
    assert_int_equal(cookie_read(&cookie, folder_file(dir, "cookie"), why), !root);
    if (root)
        assert_non_null(strstr(why, "another user"));
}

static void what_is_no_cookie_is_refused(void **state)
{
    (void)state;
    char text[258];
    memset(text, 'c', sizeof text);
    text[256] = '\0';
    assert_false(reads("", 0400));
    assert_false(reads("\n", 0400));
    assert_false(reads(text, 0400));
    static const struct cookie wiped;
    assert_memory_equal(&cookie, &wiped, sizeof wiped);
    text[255] = '\0';
    assert_true(reads(text, 0400) && is_cookie(text));
    assert_false(cookie_read(&cookie, folder_file(dir, "missing"), why));
    assert_non_null(strstr(why, "missing"));
    assert_false(cookie_read(&cookie, dir, why));
    assert_int_equal(mkfifo(folder_file(dir, "fifo"), 0600), 0);
    assert_false(cookie_read(&cookie, folder_file(dir, "fifo"), why));
}

static void a_cookie_of_standard_input_takes_its_line_only(void **state)
{
    (void)state;
    int ends[2];
    char rest[16] = "";
    const int old = dup(STDIN_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "secret\nrest", 11), 11);
    dup2(ends[0], STDIN_FILENO);
    assert_true(cookie_read(&cookie, "-", why));
    assert_true(is_cookie("secret"));
    assert_int_equal(read(STDIN_FILENO, rest, sizeof rest), 4);
    assert_string_equal(rest, "rest");
    dup2(old, STDIN_FILENO);
    close(old);
    close(ends[0]);
    close(ends[1]);
}

static int make_dir(void **state)
{
    (void)state;
    dir = folder_make();
    return dir == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    folder_remove(dir);
    return 0;
}

static void our_pids_are_told_from_all_others(void **state)
{
    (void)state;
    struct self us;
    struct self before;
    struct self other;
    uint8_t bytes[SELF_PID_BYTES];
    uint32_t id = 0;
    self_init(&us, "emmap@localhost", 1000);
    self_init(&before, "emmap@localhost", 999);
    self_init(&other, "emmap@localhosu", 1000);
    const struct span pid = self_pid(&us, 5, bytes);
    assert_int_equal(term_check(pid), pid.len);
    assert_true(self_is_pid(&us, pid, &id));
    assert_int_equal(id, 5);
    assert_false(self_is_pid(&before, pid, &id));
    assert_false(self_is_pid(&other, pid, &id));
    assert_false(self_is_pid(&us, peer_pid(5), &id));
    assert_false(self_is_pid(&us, make_term("emmap"), &id));
    assert_true(span_equal(self_node_of_pid(peer_pid(5)), span_text("client@localhost")));
    assert_int_equal(self_node_of_pid(peer_ref(5)).len, 0);
}

static void our_references_carry_their_number(void **state)
{
    (void)state;
    struct self us;
    uint8_t bytes[SELF_REF_BYTES];
    uint64_t number = 0;
    self_init(&us, "emmap@localhost", 2);
    assert_true(us.creation >= 4);
    const struct span ref = self_ref(&us, 0x123456789abcdefull, bytes);
    assert_int_equal(term_check(ref), ref.len);
    assert_true(self_is_ref(&us, ref, &number));
    assert_int_equal(number, 0x123456789abcdefull);
    assert_false(self_is_ref(&us, peer_ref(1), &number));
}

static void the_longest_name_makes_a_pid(void **state)
{
    (void)state;
    struct self us;
    char name[SELF_NAME_MAX + 1];
    uint8_t pid[SELF_PID_BYTES];
    uint8_t ref[SELF_REF_BYTES];
    memset(name, 'x', SELF_NAME_MAX);
    name[SELF_NAME_MAX] = '\0';
    self_init(&us, name, 9);
    assert_true(self_pid(&us, 1, pid).len <= sizeof pid);
    assert_true(self_ref(&us, 1, ref).len <= sizeof ref);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_without_a_host_is_at_home),
        cmocka_unit_test(a_dot_tells_long_names_from_short_ones),
        cmocka_unit_test(what_is_no_name_is_refused),
        cmocka_unit_test(peers_find_us_where_the_name_leads),
        cmocka_unit_test(other_hosts_must_not_reach_us_unasked),
        cmocka_unit_test(a_cookie_is_the_first_line),
        cmocka_unit_test(a_cookie_that_others_may_read_is_refused),
        cmocka_unit_test(a_cookie_of_another_user_is_refused),
        cmocka_unit_test(what_is_no_cookie_is_refused),
        cmocka_unit_test(a_cookie_of_standard_input_takes_its_line_only),
        cmocka_unit_test(our_pids_are_told_from_all_others),
        cmocka_unit_test(our_references_carry_their_number),
        cmocka_unit_test(the_longest_name_makes_a_pid),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
