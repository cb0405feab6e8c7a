/* Frames and control messages, read and written. */
#include "bytes_written.h"
#include "dist/frame.h"
#include "support/check.h"
#include "support/peer.h"

enum { MAX = 5000 };

static struct frame_cutter cutter;

static int setup(void **state)
{
    (void)state;
    cutter = (struct frame_cutter){.max = MAX};
    return 0;
}

static void add_frame(struct bytes *b, struct span content)
{
    add_u32(b, content.len);
    add_span(b, content);
}

/* The element that a letter stands for. */
static struct span element(char letter)
{
    switch (letter) {
    case 'p': return peer_pid(1);
    case 'q': return peer_pid(2);
    case 'r': return peer_ref(3);
    case 'n': return make_term("emmap");
    case 'i': return make_term("77");
    case 'm': return make_term("{lists,seq,2}");
    case 'o': return make_term("[monitor]");
    case 't': return make_term("{token,1}");
    case 'x': return make_term("{shutdown,[why]}");
    default: return frame_unused();
    }
}

/* A frame's content: the control message {Op, Letters...}, and the message hello where it carries
 * one. */
static struct bytes control(int op, const char *letters, bool carries)
{
    struct bytes b = {0};
    add_u8(&b, 112);
    add_u8(&b, 131);
    add_u8(&b, ERL_SMALL_TUPLE_EXT);
    add_u8(&b, (unsigned)strlen(letters) + 1);
    add_u8(&b, ERL_SMALL_INTEGER_EXT);
    add_u8(&b, (unsigned)op);
    for (; *letters != '\0'; letters++)
        add_span(&b, element(*letters));
    if (carries) {
        add_u8(&b, 131);
        add_span(&b, make_term("hello"));
    }
    return b;
}

/* Every op that a peer may send, what it is read as, and where its elements go. */
static const struct {
    int op;
    const char *letters;
    bool carries;
    int as;
    const char *from, *to, *ref;
} ops[] = {
    {1, "pq", false, FRAME_LINK, "p", "q", ""},
    {2, "-q", true, FRAME_SEND, "", "q", ""},
    {3, "pqx", false, FRAME_EXIT, "p", "q", ""},
    {4, "pq", false, FRAME_UNLINK, "p", "q", ""},
    {5, "", false, FRAME_NODE_LINK, "", "", ""},
    {6, "p-n", true, FRAME_REG_SEND, "p", "n", ""},
    {7, "pq", false, FRAME_GROUP_LEADER, "p", "q", ""},
    {8, "pqx", false, FRAME_EXIT2, "p", "q", ""},
    {12, "-qt", true, FRAME_SEND, "", "q", ""},
    {13, "pqtx", false, FRAME_EXIT, "p", "q", ""},
    {16, "p-nt", true, FRAME_REG_SEND, "p", "n", ""},
    {18, "pqtx", false, FRAME_EXIT2, "p", "q", ""},
    {19, "pnr", false, FRAME_MONITOR, "p", "n", "r"},
    {19, "pqr", false, FRAME_MONITOR, "p", "q", "r"},
    {20, "pqr", false, FRAME_DEMONITOR, "p", "q", "r"},
    {21, "pqrx", false, FRAME_MONITOR_EXIT, "p", "q", "r"},
    {21, "nqrx", false, FRAME_MONITOR_EXIT, "n", "q", "r"},
    {22, "pq", true, FRAME_SEND, "p", "q", ""},
    {23, "pqt", true, FRAME_SEND, "p", "q", ""},
    {24, "pq", true, FRAME_EXIT, "p", "q", ""},
    {25, "pqt", true, FRAME_EXIT, "p", "q", ""},
    {26, "pq", true, FRAME_EXIT2, "p", "q", ""},
    {27, "pqt", true, FRAME_EXIT2, "p", "q", ""},
    {28, "pqr", true, FRAME_MONITOR_EXIT, "p", "q", "r"},
    {29, "rpqmo", true, FRAME_SPAWN_REQUEST, "p", "", "r"},
    {30, "rpqmot", true, FRAME_SPAWN_REQUEST, "p", "", "r"},
    {31, "rqip", false, FRAME_SPAWN_REPLY, "", "q", "r"},
    {32, "rqipt", false, FRAME_SPAWN_REPLY, "", "q", "r"},
    {33, "pr", true, FRAME_ALIAS_SEND, "p", "r", ""},
    {34, "prt", true, FRAME_ALIAS_SEND, "p", "r", ""},
    {35, "ipq", false, FRAME_UNLINK_ID, "p", "q", ""},
    {36, "ipq", false, FRAME_UNLINK_ID_ACK, "p", "q", ""},
};
enum { OPS = sizeof ops / sizeof ops[0] };

static bool is_element(struct span seen, const char *letter)
{
    return letter[0] == '\0' ? seen.len == 0 : span_equal(seen, element(letter[0]));
}

static void every_op_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPS; i++) {
        const struct bytes b = control(ops[i].op, ops[i].letters, ops[i].carries);
        struct control c;
        struct span rest;
        struct span message;
        assert_int_equal(frame_control(bytes_span(&b), &c, &rest), FRAME_OK);
        assert_int_equal(c.op, ops[i].as);
        assert_true(is_element(c.from, ops[i].from));
        assert_true(is_element(c.to, ops[i].to));
        assert_true(is_element(c.ref, ops[i].ref));
        assert_true(frame_message(&c, rest, &message));
        assert_true(span_equal(message, ops[i].carries ? make_term("hello") : span_of(NULL, 0)));
    }
}

static void an_op_cut_short_anywhere_is_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPS; i++) {
        const struct bytes b = control(ops[i].op, ops[i].letters, ops[i].carries);
        for (size_t len = 0; len < b.len; len++) {
            struct control c;
            struct span rest;
            struct span message;
            if (frame_control(span_of(b.at, len), &c, &rest) == FRAME_OK)
                assert_false(frame_message(&c, rest, &message));
        }
    }
}

static void bytes_behind_an_op_are_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPS; i++) {
        struct bytes b = control(ops[i].op, ops[i].letters, ops[i].carries);
        struct control c;
        struct span rest;
        struct span message;
        add_u8(&b, 0);
        assert_int_equal(frame_control(bytes_span(&b), &c, &rest), FRAME_OK);
        assert_false(frame_message(&c, rest, &message));
    }
}

/* One element more, one less, or an integer where a pid, a name, a reference is due. */
static void elements_of_the_wrong_kind_are_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPS; i++) {
        char letters[16];
        struct control c;
        struct span rest;
        snprintf(letters, sizeof letters, "%si", ops[i].letters);
        struct bytes b = control(ops[i].op, letters, false);
        assert_int_equal(frame_control(bytes_span(&b), &c, &rest), FRAME_BAD);
        for (size_t at = 0; ops[i].letters[at] != '\0'; at++) {
            snprintf(letters, sizeof letters, "%s", ops[i].letters);
            if (strchr("pnqr", letters[at]) == NULL || (ops[i].op == 29 || ops[i].op == 30) ||
                (ops[i].op == 31 || ops[i].op == 32))
                continue; /* looked at by nobody */
            letters[at] = 'i';
            b = control(ops[i].op, letters, false);
            assert_int_equal(frame_control(bytes_span(&b), &c, &rest), FRAME_BAD);
        }
    }
}

static void a_message_where_none_is_due_is_bad_and_the_other_way_round(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPS; i++) {
        const struct bytes b = control(ops[i].op, ops[i].letters, !ops[i].carries);
        struct control c;
        struct span rest;
        struct span message;
        assert_int_equal(frame_control(bytes_span(&b), &c, &rest), FRAME_OK);
        assert_false(frame_message(&c, rest, &message));
    }
}

static void an_unknown_op_is_no_error(void **state)
{
    (void)state;
    static const int unknown[] = {0, 9, 11, 14, 37, 255};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        const struct bytes b = control(unknown[i], "pq", false);
        struct control c;
        struct span rest;
        assert_int_equal(frame_control(bytes_span(&b), &c, &rest), FRAME_UNKNOWN);
    }
}

static void what_is_no_control_message_is_bad(void **state)
{
    (void)state;
    static const struct {
        const char *at;
        size_t len;
    } bad[] = {
        {"", 0},
        {"p", 1},
        {"p\x83", 2},
        {"p\x83h\0", 4},
        {"p\x83j", 3},
        {"p\x83w\1a", 5},
        {"\x83\x44", 2},
        {"q\x83h\1a\5", 6},
        {"p\x82h\1a\5", 6},
        {"p\x83h\1w\1a", 7},
        {"p\x83i\xff\xff\xff\xff\x61\5", 8},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct control c;
        struct span rest;
        assert_int_equal(frame_control(span_of(bad[i].at, bad[i].len), &c, &rest), FRAME_BAD);
    }
}

/* Any one byte of a sound frame changed to any value: read, refused, but nothing worse. What the
 * sanitizers say is the assertion; that none slips through as longer than it is, ours. */
static void damage_is_survived(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPS; i++) {
        const struct bytes sound = control(ops[i].op, ops[i].letters, ops[i].carries);
        for (size_t at = 0; at < sound.len; at++) {
            for (int value = 0; value < 256; value += 5) {
                struct control c;
                struct span rest;
                struct span message;
                uint8_t *exact = malloc(sound.len);
                memcpy(exact, sound.at, sound.len);
                exact[at] = (uint8_t)value;
                if (frame_control(span_of(exact, sound.len), &c, &rest) == FRAME_OK &&
                    frame_message(&c, rest, &message))
                    assert_true(message.len <= sound.len);
                free(exact);
            }
        }
    }
}

static void frames_are_cut_wherever_reads_end(void **state)
{
    (void)state;
    struct bytes all = {0};
    add_frame(&all, span_text("one"));
    add_frame(&all, span_text(""));
    add_frame(&all, span_text("three"));
    for (size_t cut = 0; cut <= all.len; cut++) {
        struct span in = span_of(all.at, cut);
        struct span frame;
        char seen[64] = "";
        for (int part = 0; part < 2; part++) {
            enum frame_cut kind;
            while ((kind = frame_next(&cutter, &in, &frame)) != FRAME_NONE)
                snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s%.*s,",
                         kind == FRAME_TICK ? "tick" : "", (int)frame.len, (const char *)frame.at);
            if (part == 0)
                assert_true(frame_need(&cutter, in) >= 1);
            in = span_of(in.at, (size_t)(all.at + all.len - in.at));
        }
        assert_string_equal(seen, "one,tick,three,");
    }
}

static void a_long_frame_leaves_its_head_and_is_passed_over(void **state)
{
    (void)state;
    static uint8_t all[4 + MAX + 1 + 4 + 5];
    put_be32(all, MAX + 1);
    all[4] = 'h';
    put_be32(all + 4 + MAX + 1, 5);
    memcpy(all + 4 + MAX + 1 + 4, "after", 5);
    for (size_t piece = 1; piece <= sizeof all; piece = piece * 2 + 1) {
        struct span in = span_of(all, 0);
        int longs = 0;
        int wholes = 0;
        while (in.at + in.len < all + sizeof all) {
            struct span frame;
            const size_t left = (size_t)(all + sizeof all - in.at) - in.len;
            in.len += piece < left ? piece : left;
            for (enum frame_cut k; (k = frame_next(&cutter, &in, &frame)) != FRAME_NONE;) {
                if (k == FRAME_LONG) {
                    longs++;
                    assert_int_equal(frame.len, FRAME_HEAD_KEPT);
                    assert_int_equal(frame.at[0], 'h');
                } else {
                    wholes++;
                    assert_true(span_equal(frame, span_text("after")));
                }
            }
            assert_true(in.len <= 4 + FRAME_HEAD_KEPT);
        }
        assert_int_equal(longs, 1);
        assert_int_equal(wholes, 1);
    }
}

static void the_longest_frame_is_whole(void **state)
{
    (void)state;
    static uint8_t all[4 + MAX];
    struct span in = span_of(all, sizeof all);
    struct span frame;
    put_be32(all, MAX);
    assert_int_equal(frame_next(&cutter, &in, &frame), FRAME_WHOLE);
    assert_int_equal(frame.len, MAX);
}

static void need_tells_what_is_missing(void **state)
{
    (void)state;
    struct bytes b = {0};
    add_frame(&b, span_text("0123456789"));
    assert_int_equal(frame_need(&cutter, span_of(b.at, 0)), 1);
    assert_int_equal(frame_need(&cutter, span_of(b.at, 4)), 10);
    assert_int_equal(frame_need(&cutter, span_of(b.at, 13)), 1);
    put_be32(b.at, UINT32_MAX);
    assert_int_equal(frame_need(&cutter, span_of(b.at, 14)), FRAME_HEAD_KEPT - 10);
}

static void a_message_is_written_as_the_documents_have_it(void **state)
{
    (void)state;
    struct buf out;
    struct bytes expected = {0};
    const struct bytes content = control(FRAME_SEND, "-p", true);
    buf_init(&out, 4096);
    const size_t start = frame_begin(&out, FRAME_SEND, 3);
    const struct span unused = frame_unused();
    const struct span pid = peer_pid(1);
    const struct span hello = make_term("hello");
    buf_put(&out, unused.at, unused.len);
    buf_put(&out, pid.at, pid.len);
    frame_put_message(&out);
    buf_put(&out, hello.at, hello.len);
    assert_true(frame_end(&out, start));
    add_frame(&expected, bytes_span(&content));
    assert_true(span_equal(span_of(out.at, out.len), bytes_span(&expected)));
    buf_fini(&out);
}

static void a_frame_that_does_not_fit_leaves_nothing(void **state)
{
    (void)state;
    struct buf out;
    const struct span elements[] = {peer_pid(1), peer_pid(2)};
    buf_init(&out, 100);
    assert_true(frame_write(&out, FRAME_LINK, elements, 2));
    const size_t len = out.len;
    assert_false(frame_write(&out, FRAME_LINK, elements, 2));
    assert_int_equal(out.len, len);
    assert_false(out.failed);
    buf_fini(&out);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_op_is_read),
        TEST(an_op_cut_short_anywhere_is_bad),
        TEST(bytes_behind_an_op_are_bad),
        TEST(elements_of_the_wrong_kind_are_bad),
        TEST(a_message_where_none_is_due_is_bad_and_the_other_way_round),
        TEST(an_unknown_op_is_no_error),
        TEST(what_is_no_control_message_is_bad),
        TEST(damage_is_survived),
        TEST(frames_are_cut_wherever_reads_end),
        TEST(a_long_frame_leaves_its_head_and_is_passed_over),
        TEST(the_longest_frame_is_whole),
        TEST(need_tells_what_is_missing),
        TEST(a_message_is_written_as_the_documents_have_it),
        TEST(a_frame_that_does_not_fit_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
