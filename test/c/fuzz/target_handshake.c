/* Greetings of calling nodes, whole and cut anywhere: both must end the same way, and nobody is let
 * in who has not shown that he knows the cookie. */
#include "dist/handshake.h"
#include "fuzz/corpus.h"
#include "fuzz/mutation.h"
#include "fuzz/target.h"
#include "fuzz/text.h"

enum { OUT_MOST = 4096, STREAM_MOST = 16 * 1024, DIGEST = 16 };

static uint64_t let_in, refused, more, nameless;

static void begin(void)
{
}

/* --- making ----------------------------------------------------------------------------------- */

/* A message whose length fits what it has become. */
static void spoil_message(struct dice *d, struct buf *stream, size_t at)
{
    struct buf b;
    uint8_t head[2];
    const size_t len = get_be16(stream->at + at);
    if (len == 0 || len > stream->len - at - 2)
        return;
    buf_init(&b, TARGET_INPUT_MOST);
    buf_put(&b, stream->at + at + 2, len);
    mutation_rough(d, &b);
    put_be16(head, (uint16_t)b.len);
    mutation_put(stream, at + 2, len, span_of(b.at, b.len));
    mutation_put(stream, at, 2, span_of(head, sizeof head));
    buf_fini(&b);
}

static void spoil(struct dice *d, struct buf *stream)
{
    size_t at = 0;
    while (dice_one_in(d, 2) && at + 2 + get_be16(stream->at + at) + 2 < stream->len)
        at += 2u + get_be16(stream->at + at);
    if (stream->len >= at + 2)
        spoil_message(d, stream, at);
}

static void make(struct dice *d, struct buf *input)
{
    const struct span greeting = corpus_greeting(d);
    const uint64_t times = dice_below(d, 4);
    buf_put(input, greeting.at, greeting.len);
    for (uint64_t i = 0; i < times && input->len > 2 && input->len < STREAM_MOST; i++) {
        if (dice_one_in(d, 4))
            mutation_rough(d, input);
        else
            spoil(d, input);
    }
}

static void change(struct dice *d, struct buf *input)
{
    if (dice_one_in(d, 4) || input->len < 4)
        mutation_rough(d, input);
    else
        spoil(d, input);
}

/* --- what must hold --------------------------------------------------------------------------- */

static bool holds(struct span bytes, const uint8_t *digest)
{
    return memmem(bytes.at, bytes.len, digest, DIGEST) != NULL;
}

/* Messages of kinds that are ours to send, one behind the other. */
static void check_answers(struct span out)
{
    while (out.len > 0) {
        must(out.len > 2);
        const size_t len = get_be16(out.at);
        must(len >= 1 && len <= out.len - 2);
        must(strchr("sNa", out.at[2]) != NULL);
        out = span_of(out.at + 2 + len, out.len - 2 - len);
    }
}

static void check_end(const struct handshake *h, enum handshake_result result, struct span input)
{
    uint8_t digest[DIGEST];
    handshake_digest(span_of(TARGET_COOKIE, sizeof TARGET_COOKIE - 1), h->challenge, digest);
    must(memchr(h->peer, '\0', sizeof h->peer) != NULL);
    must(memchr(h->why, '\0', sizeof h->why) != NULL);
    must((result == HANDSHAKE_FAILED) == (h->why[0] != '\0'));
    if (result != HANDSHAKE_DONE)
        return;
    must(holds(input, digest));
    must(strchr(h->peer, '@') != NULL && strcmp(h->peer, text_node) != 0);
}

static void what_has_ended_stays_so(struct handshake *h, enum handshake_result result)
{
    struct buf out;
    struct span in = span_of("\0\1r", 3);
    if (result == HANDSHAKE_MORE)
        return;
    buf_init(&out, OUT_MOST);
    must(handshake_step(h, &in, &out) == result && out.len == 0);
    buf_fini(&out);
}

/* --- running ---------------------------------------------------------------------------------- */

static const struct cookies cookies = {
    .general = {.bytes = TARGET_COOKIE, .len = sizeof TARGET_COOKIE - 1}};
static const struct handshake_self self = {
    .name = "emmap@localhost",
    .cookies = &cookies,
    .creation = 4711,
};

struct reading {
    struct handshake h;
    enum handshake_result result;
    struct span input;
    size_t read, unread;
    struct buf out;
};

static void reading_begin(struct reading *r, struct span input)
{
    uint8_t random[HANDSHAKE_RANDOM];
    memset(random, TARGET_CHALLENGE & 0xff, sizeof random);
    *r = (struct reading){.result = HANDSHAKE_MORE, .input = input};
    handshake_init(&r->h, &self, random);
    buf_init(&r->out, OUT_MOST);
}

static void step(struct reading *r)
{
    uint8_t *copy = target_copy(span_of(r->input.at + r->unread, r->read - r->unread));
    struct span in = span_of(copy, r->read - r->unread);
    r->result = handshake_step(&r->h, &in, &r->out);
    must(!r->out.failed && in.len <= r->read - r->unread);
    must(r->result != HANDSHAKE_MORE || in.len < 2 + HANDSHAKE_IN_MAX);
    r->unread = r->read - in.len;
    free(copy);
}

static void read_in_pieces(struct reading *r, struct dice *d, size_t largest)
{
    while (r->read < r->input.len && r->result == HANDSHAKE_MORE) {
        const size_t left = r->input.len - r->read;
        const size_t n = 1 + dice_below(d, largest);
        r->read += n < left ? n : left;
        step(r);
    }
    check_answers(span_of(r->out.at, r->out.len));
    check_end(&r->h, r->result, r->input);
}

static void run(struct span input)
{
    struct dice d = target_dice(input);
    struct reading whole;
    struct reading cut;
    reading_begin(&whole, input);
    reading_begin(&cut, input);
    whole.read = input.len;
    step(&whole);
    check_end(&whole.h, whole.result, input);
    read_in_pieces(&cut, &d, dice_one_in(&d, 2) ? 3 : 60);
    must(whole.result == cut.result && whole.unread == cut.unread);
    must(strcmp(whole.h.peer, cut.h.peer) == 0 && strcmp(whole.h.why, cut.h.why) == 0);
    must(span_equal(span_of(whole.out.at, whole.out.len), span_of(cut.out.at, cut.out.len)));
    what_has_ended_stays_so(&cut.h, cut.result);
    let_in += whole.result == HANDSHAKE_DONE;
    refused += whole.result == HANDSHAKE_FAILED;
    more += whole.result == HANDSHAKE_MORE;
    nameless += whole.result == HANDSHAKE_DONE && (whole.h.offered & 1ull << 33) != 0;
    buf_fini(&whole.out);
    buf_fini(&cut.out);
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("let in", let_in);
    each("given a name", nameless);
    each("refused", refused);
    each("unfinished", more);
}

const struct target target = {.name = "handshake",
                              .life = 100000,
                              .begin = begin,
                              .end = begin,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
