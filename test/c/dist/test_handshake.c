/* The handshake, from recorded and from made-up bytes. */
#include "dist/handshake.h"

#include <sys/stat.h>

#include "hello.h"
#include "support/check.h"
#include "support/folder.h"

static struct cookies cookies = {.general = {.bytes = "secret", .len = 6}};

static const struct handshake_self self = {
    .name = "emmap@localhost",
    .cookies = &cookies,
    .creation = 0x11223344,
};

static const uint8_t random_bytes[HANDSHAKE_RANDOM] = {0xde, 0xad, 0xbe, 0xef, 1, 2,  3,  4,
                                                       5,    6,    7,    8,    9, 10, 11, 12};

static struct handshake h;
static struct buf out;

static int setup(void **state)
{
    (void)state;
    handshake_init(&h, &self, random_bytes);
    buf_init(&out, 4096);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

static enum handshake_result step(const struct bytes *b)
{
    struct span in = bytes_span(b);
    return handshake_step(&h, &in, &out);
}

static bool sent(const char *status)
{
    const size_t len = strlen(status);
    return out.len >= len + 2 && memcmp(out.at + 2, status, len) == 0 && get_be16(out.at) == len;
}

static void digest_is_the_md5_of_cookie_and_digits(void **state)
{
    (void)state;
    static const uint8_t known[16] = {0x8e, 0xe3, 0x28, 0xf7, 0x50, 0xe0, 0x7d, 0x2e,
                                      0xd1, 0x9d, 0x72, 0x98, 0x77, 0xb3, 0x9c, 0xe4};
    uint8_t digest[16];
    handshake_digest(span_text("monster"), 123456789, digest);
    assert_memory_equal(digest, known, sizeof digest);
}

static void a_peer_that_knows_the_cookie_is_let_in(void **state)
{
    (void)state;
    struct bytes name = {0};
    hello_name(&name, HELLO_FLAGS, "a@localhost");
    assert_int_equal(step(&name), HANDSHAKE_MORE);
    assert_true(sent("sok"));
    assert_int_equal(hello_challenge(span_of(out.at, out.len)), 0xdeadbeef);

    struct bytes reply = {0};
    hello_reply(&reply, "secret", 0xdeadbeef);
    out.len = 0;
    assert_int_equal(step(&reply), HANDSHAKE_DONE);
    assert_string_equal(h.peer, "a@localhost");

    uint8_t digest[16];
    handshake_digest(span_text("secret"), 99, digest);
    assert_int_equal(out.len, 2 + 1 + 16);
    assert_int_equal(out.at[2], 'a');
    assert_memory_equal(out.at + 3, digest, sizeof digest);
}

static void our_challenge_tells_what_we_are(void **state)
{
    (void)state;
    struct bytes name = {0};
    struct bytes expected = {0};
    add_u16(&expected, 3);
    add_text(&expected, "sok");
    add_u16(&expected, 1 + 8 + 4 + 4 + 2 + 15);
    add_text(&expected, "N");
    add_u32(&expected, 0x5);
    add_u32(&expected, 0x074f4fbc);
    add_u32(&expected, 0xdeadbeef);
    add_u32(&expected, 0x11223344);
    add_u16(&expected, 15);
    add_text(&expected, "emmap@localhost");
    hello_name(&name, HELLO_FLAGS, "a@localhost");
    step(&name);
    assert_int_equal(out.len, expected.len);
    assert_memory_equal(out.at, expected.at, expected.len);
}

/* The whole of it with frames behind, cut in two at every place. */
static void input_may_be_cut_anywhere(void **state)
{
    (void)state;
    struct bytes all = {0};
    hello_name(&all, HELLO_FLAGS, "a@localhost");
    hello_reply(&all, "secret", 0xdeadbeef);
    const size_t whole = all.len;
    add_text(&all, "frames");
    for (size_t cut = 0; cut <= all.len; cut++) {
        handshake_init(&h, &self, random_bytes);
        struct span in = span_of(all.at, cut);
        out.len = 0;
        assert_int_equal(handshake_step(&h, &in, &out),
                         cut < whole ? HANDSHAKE_MORE : HANDSHAKE_DONE);
        in = span_of(in.at, (size_t)(all.at + all.len - in.at));
        assert_int_equal(handshake_step(&h, &in, &out), HANDSHAKE_DONE);
        assert_true(span_equal(in, span_text("frames")));
    }
}

static void a_peer_that_has_not_asked_epmd_sends_its_flags_in_halves(void **state)
{
    (void)state;
    struct bytes name = {0};
    struct bytes more = {0};
    hello_old_name(&name, HELLO_FLAGS, "a@localhost");
    assert_int_equal(step(&name), HANDSHAKE_MORE);
    assert_true(sent("sok"));
    hello_complement(&more, HELLO_FLAGS);
    hello_reply(&more, "secret", 0xdeadbeef);
    assert_int_equal(step(&more), HANDSHAKE_DONE);
    assert_int_equal(h.flags, HELLO_FLAGS);
}

static void a_nameless_peer_is_given_a_name(void **state)
{
    (void)state;
    struct bytes name = {0};
    struct bytes reply = {0};
    hello_name(&name, HELLO_FLAGS | 1ull << 33, "box");
    assert_int_equal(step(&name), HANDSHAKE_MORE);
    assert_int_equal(strlen(h.peer), 12 + strlen("@box"));
    assert_string_equal(h.peer + 12, "@box");

    const size_t len = get_be16(out.at + 9);
    assert_memory_equal(out.at + 2, "snamed:", 7);
    assert_int_equal(len, strlen(h.peer));
    assert_memory_equal(out.at + 11, h.peer, len);
    assert_true(get_be32(out.at + 11 + len) >= 4);
    const uint8_t *flags = out.at + 2 + get_be16(out.at) + 3;
    assert_int_equal(get_be64(flags), 0x5074f4fbcull | 1ull << 33);

    hello_reply(&reply, "secret", 0xdeadbeef);
    assert_int_equal(step(&reply), HANDSHAKE_DONE);
}

static void another_cookie_is_refused_without_an_answer(void **state)
{
    (void)state;
    struct bytes name = {0};
    struct bytes reply = {0};
    hello_name(&name, HELLO_FLAGS, "a@localhost");
    step(&name);
    out.len = 0;
    hello_reply(&reply, "secrex", 0xdeadbeef);
    assert_int_equal(step(&reply), HANDSHAKE_FAILED);
    assert_int_equal(out.len, 0);
    assert_non_null(strstr(h.why, "cookie"));
}

/* Gives the node a cookie of its own. */
static void add_cookie(const char *dir, const char *node, const char *text)
{
    char why[NAME_WHY + COOKIE_WHY];
    struct name name;
    const char *path = folder_file(dir, "cookie");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(chmod(path, 0600), 0);
    fputs(text, f);
    fclose(f);
    assert_true(name_parse(&name, node, false, why));
    assert_true(cookies_add(&cookies, &name, path, why));
}

/* How a greeting of this node with this cookie ends. */
static enum handshake_result greets(const char *node, const char *cookie)
{
    struct bytes all = {0};
    handshake_init(&h, &self, random_bytes);
    out.len = 0;
    hello_name(&all, HELLO_FLAGS, node);
    hello_reply(&all, cookie, 0xdeadbeef);
    return step(&all);
}

static bool has_answered(const char *cookie)
{
    uint8_t digest[16];
    handshake_digest(span_text(cookie), 99, digest);
    return out.len > 16 && memcmp(out.at + out.len - 16, digest, 16) == 0;
}

static void a_peer_with_a_cookie_of_its_own_proves_that_one(void **state)
{
    (void)state;
    char why[COOKIE_WHY];
    char *dir = folder_make();
    add_cookie(dir, "a@localhost", "of_a");
    add_cookie(dir, "b@localhost", "of_b");
    const struct name none = {.full = "c@localhost"};
    assert_false(cookies_add(&cookies, &none, folder_file(dir, "missing"), why));
    static const struct {
        const char *node, *cookie;
        bool good;
    } rows[] = {
        {"a@localhost", "of_a", true},    {"b@localhost", "of_b", true},
        {"c@localhost", "secret", true},  {"a@localhost", "secret", false},
        {"b@localhost", "of_a", false},   {"c@localhost", "of_a", false},
        {"aa@localhost", "of_a", false},  {"a@localhos", "of_a", false},
        {"aa@localhost", "secret", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(greets(rows[i].node, rows[i].cookie),
                         rows[i].good ? HANDSHAKE_DONE : HANDSHAKE_FAILED);
        assert_int_equal(has_answered(rows[i].cookie), rows[i].good);
    }
    cookies_fini(&cookies);
    folder_remove(dir);
}

static void a_digest_that_is_wrong_in_any_bit_is_refused(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < 128; bit++) {
        struct bytes all = {0};
        handshake_init(&h, &self, random_bytes);
        hello_name(&all, HELLO_FLAGS, "a@localhost");
        hello_reply(&all, "secret", 0xdeadbeef);
        all.at[all.len - 16 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(step(&all), HANDSHAKE_FAILED);
        out.len = 0;
    }
}

static bool only_b_has_place(void *arg, const char *peer)
{
    (*(int *)arg)++;
    return strcmp(peer, "b@localhost") == 0;
}

/* It is told before it has proved anything, and may come again. */
static void who_finds_no_place_is_told_so(void **state)
{
    (void)state;
    int asked = 0;
    const struct handshake_self full = {.name = "emmap@localhost",
                                        .cookies = &cookies,
                                        .creation = 5,
                                        .has_place = only_b_has_place,
                                        .arg = &asked};
    static const char *const names[] = {"a@localhost", "b@localhost"};
    for (int i = 0; i < 2; i++) {
        struct bytes name = {0};
        handshake_init(&h, &full, random_bytes);
        out.len = 0;
        hello_name(&name, HELLO_FLAGS, names[i]);
        assert_int_equal(step(&name), i == 0 ? HANDSHAKE_FAILED : HANDSHAKE_MORE);
        assert_true(sent(i == 0 ? "snot_allowed" : "sok"));
    }
    assert_int_equal(asked, 2);
    struct bytes bad = {0};
    handshake_init(&h, &full, random_bytes);
    out.len = 0;
    hello_name(&bad, HELLO_FLAGS, "no name");
    assert_int_equal(step(&bad), HANDSHAKE_FAILED);
    assert_true(sent("snot_allowed"));
    assert_int_equal(asked, 2);
}

static void each_missing_capability_is_refused(void **state)
{
    (void)state;
    static const uint64_t needed[] = {1ull << 34, 0x2000000};
    static const uint64_t implied[] = {4,     0x10,    0x80,    0x100,   0x200,    0x400,
                                       0x800, 0x10000, 0x20000, 0x40000, 0x1000000};
    const uint64_t digest = 0x4000000; /* all of the implied ones */
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        struct bytes name = {0};
        setup(NULL);
        hello_name(&name, HELLO_FLAGS & ~needed[i], "a@localhost");
        assert_int_equal(step(&name), HANDSHAKE_FAILED);
        assert_true(sent("snot_allowed"));
        buf_fini(&out);
    }
    for (size_t i = 0; i < sizeof implied / sizeof implied[0]; i++) {
        struct bytes without = {0};
        struct bytes with = {0};
        setup(NULL);
        hello_name(&without, HELLO_FLAGS & ~implied[i] & ~digest, "a@localhost");
        assert_int_equal(step(&without), HANDSHAKE_FAILED);
        buf_fini(&out);
        setup(NULL);
        hello_name(&with, (HELLO_FLAGS & ~implied[i]) | digest, "a@localhost");
        assert_int_equal(step(&with), HANDSHAKE_MORE);
        buf_fini(&out);
    }
}

static void a_peer_of_an_older_handshake_is_told_so(void **state)
{
    (void)state;
    struct bytes name = {0};
    hello_old_name(&name, HELLO_FLAGS & ~0x1000000ull, "a@localhost");
    assert_int_equal(step(&name), HANDSHAKE_FAILED);
    assert_true(sent("snot_allowed"));
    assert_non_null(strstr(h.why, "older handshake"));
}

static void names_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "", "a", "a@", "@b", "a@b@c", "a b@c", "a\n@b", "\xff\xff@b", "emmap@localhost"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct bytes name = {0};
        setup(NULL);
        hello_name(&name, HELLO_FLAGS, names[i]);
        assert_int_equal(step(&name), HANDSHAKE_FAILED);
        buf_fini(&out);
    }
}

static void a_name_has_at_most_255_characters(void **state)
{
    (void)state;
    char name[300];
    memset(name, 'x', sizeof name);
    memcpy(name, "a@", 2);
    for (size_t len = 255; len <= 256; len++) {
        struct bytes b = {0};
        setup(NULL);
        name[len] = '\0';
        hello_name(&b, HELLO_FLAGS, name);
        assert_int_equal(step(&b), len == 255 ? HANDSHAKE_MORE : HANDSHAKE_FAILED);
        buf_fini(&out);
        name[len] = 'x';
    }
}

static void lengths_that_lie_are_refused(void **state)
{
    (void)state;
    struct bytes inner = {0};
    hello_name(&inner, HELLO_FLAGS, "a@localhost");
    put_be16(inner.at + 15, 200); /* of the name: beyond the message */
    assert_int_equal(step(&inner), HANDSHAKE_FAILED);

    static const uint8_t outer[][2] = {{0, 0}, {0xff, 0xff}, {HANDSHAKE_IN_MAX >> 8, 0}};
    for (size_t i = 0; i < sizeof outer / sizeof outer[0]; i++) {
        struct span in = span_of(outer[i], 2);
        handshake_init(&h, &self, random_bytes);
        assert_int_equal(handshake_step(&h, &in, &out), HANDSHAKE_FAILED);
    }
}

/* Every message cut short by any number of bytes, with a length that fits. */
static void messages_cut_short_are_refused(void **state)
{
    (void)state;
    struct bytes name = {0};
    hello_name(&name, HELLO_FLAGS, "a@localhost");
    for (size_t len = 1; len < name.len - 2; len++) {
        struct bytes cut = {0};
        add_u16(&cut, len);
        add(&cut, name.at + 2, len);
        handshake_init(&h, &self, random_bytes);
        assert_int_equal(step(&cut), HANDSHAKE_FAILED);
        out.len = 0;
    }
}

static void messages_out_of_order_are_refused(void **state)
{
    (void)state;
    static const char *const first[] = {"r", "c", "s", "a", "G"};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        struct bytes b = {0};
        add_u16(&b, 1);
        add_text(&b, first[i]);
        handshake_init(&h, &self, random_bytes);
        assert_int_equal(step(&b), HANDSHAKE_FAILED);
    }
    struct bytes twice = {0};
    hello_name(&twice, HELLO_FLAGS, "a@localhost");
    hello_name(&twice, HELLO_FLAGS, "a@localhost");
    handshake_init(&h, &self, random_bytes);
    assert_int_equal(step(&twice), HANDSHAKE_FAILED);
}

static void what_failed_stays_failed(void **state)
{
    (void)state;
    struct bytes wrong = {0};
    struct bytes right = {0};
    add_u16(&wrong, 0);
    assert_int_equal(step(&wrong), HANDSHAKE_FAILED);
    hello_name(&right, HELLO_FLAGS, "a@localhost");
    hello_reply(&right, "secret", 0xdeadbeef);
    assert_int_equal(step(&right), HANDSHAKE_FAILED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(digest_is_the_md5_of_cookie_and_digits),
        TEST(a_peer_that_knows_the_cookie_is_let_in),
        TEST(our_challenge_tells_what_we_are),
        TEST(input_may_be_cut_anywhere),
        TEST(a_peer_that_has_not_asked_epmd_sends_its_flags_in_halves),
        TEST(a_nameless_peer_is_given_a_name),
        TEST(another_cookie_is_refused_without_an_answer),
        TEST(a_peer_with_a_cookie_of_its_own_proves_that_one),
        TEST(a_digest_that_is_wrong_in_any_bit_is_refused),
        TEST(who_finds_no_place_is_told_so),
        TEST(each_missing_capability_is_refused),
        TEST(a_peer_of_an_older_handshake_is_told_so),
        TEST(names_that_are_none_are_refused),
        TEST(a_name_has_at_most_255_characters),
        TEST(lengths_that_lie_are_refused),
        TEST(messages_cut_short_are_refused),
        TEST(messages_out_of_order_are_refused),
        TEST(what_failed_stays_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
