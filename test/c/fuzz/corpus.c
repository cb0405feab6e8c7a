#include "fuzz/corpus.h"

#include "dist/hello.h"
#include "fuzz/part.h"
#include "fuzz/target.h"
#include "fuzz/text.h"
#include "fuzz/words.h"
#include "proto/term.h"
#include "support/scan.h"

enum { MOST = 4000 };

/* Places in `all`, whose bytes move while it grows. */
struct entry {
    struct part first, second;
};

struct shelf {
    struct entry at[MOST];
    size_t n;
};

static struct buf all;
static struct shelf calls, others, terms, requests, messages, functions, lines, replies, greetings;

static void add_entry(struct shelf *s, struct part first, struct part second)
{
    must(s->n < MOST);
    s->at[s->n++] = (struct entry){.first = first, .second = second};
}

static struct part since(size_t start)
{
    return (struct part){.at = start, .len = all.len - start};
}

static struct span span_at(struct part p)
{
    return span_of(all.at + p.at, p.len);
}

/* --- terms ------------------------------------------------------------------------------------ */

static void add_term(struct shelf *s, const char *text)
{
    const size_t start = all.len;
    must(*text_term(text, &all) == '\0');
    add_entry(s, since(start), since(all.len));
}

static void add_terms(struct shelf *s, const char *const *texts)
{
    for (; *texts != NULL; texts++)
        add_term(s, *texts);
}

static void add_line(const char *text)
{
    const size_t start = all.len;
    scan(text, &all);
    add_entry(&lines, since(start), since(all.len));
}

static void add_function(const char *text)
{
    const size_t start = all.len;
    while (*text != '\0')
        text = text_term(text, &all);
    add_entry(&functions, since(start), since(all.len));
}

/* --- control messages ------------------------------------------------------------------------- */

static void add_said(struct shelf *s, const char *text)
{
    const size_t start = all.len;
    text = text_term(text, &all);
    const struct part control = since(start);
    const size_t middle = all.len;
    if (*text != '\0')
        text = text_term(text, &all);
    must(*text == '\0');
    add_entry(s, control, since(middle));
    add_entry(&messages, control, since(all.len));
    if (all.len > middle)
        add_entry(&messages, since(middle), since(all.len));
}

/* The words stand where the way has a %. */
static void add_call(const char *way, const char *words)
{
    char text[4096];
    size_t n = 0;
    for (; *way != '\0'; way++) {
        must(n + strlen(words) + 1 < sizeof text);
        if (*way == '%')
            n += (size_t)snprintf(text + n, sizeof text - n, "%s", words);
        else
            text[n++] = *way;
    }
    text[n] = '\0';
    add_said(&calls, text);
}

static void add_each_way(const char *const *ways, const char *words)
{
    for (; *ways != NULL; ways++)
        add_call(*ways, words);
}

static void add_all_ways(const char *const *ways, const char *const *words)
{
    for (; *words != NULL; words++)
        add_each_way(ways, *words);
}

/* --- handshakes ------------------------------------------------------------------------------- */

static void add_greeting(const struct bytes *b)
{
    const size_t start = all.len;
    buf_put(&all, b->at, b->len);
    add_entry(&greetings, since(start), since(all.len));
}

static void add_new_greeting(uint64_t flags, const char *name, const char *cookie)
{
    struct bytes b = {0};
    hello_name(&b, flags, name);
    hello_reply(&b, cookie, TARGET_CHALLENGE);
    add_text(&b, "frames");
    add_greeting(&b);
}

static void add_old_greeting(uint64_t flags, const char *name)
{
    struct bytes b = {0};
    hello_old_name(&b, flags, name);
    hello_complement(&b, flags);
    hello_reply(&b, TARGET_COOKIE, TARGET_CHALLENGE);
    add_greeting(&b);
}

static void add_greetings(void)
{
    const uint64_t nameless = HELLO_FLAGS | 1ull << 33;
    add_new_greeting(HELLO_FLAGS, text_peer, TARGET_COOKIE);
    add_new_greeting(HELLO_FLAGS, "a@b", "wrong");
    add_new_greeting(HELLO_FLAGS, "\xc3\xa4\xe2\x82\xac@\xf0\x9f\x98\x80", TARGET_COOKIE);
    add_new_greeting(HELLO_FLAGS, text_node, TARGET_COOKIE);
    add_new_greeting(nameless, "host", TARGET_COOKIE);
    add_new_greeting(nameless & UINT32_MAX, "a@b", TARGET_COOKIE);
    add_old_greeting(HELLO_FLAGS, text_peer);
    add_old_greeting(nameless, "host");
}

/* ---------------------------------------------------------------------------------------------- */

void corpus_open(void)
{
    buf_init(&all, 64 << 20);
    add_terms(&terms, words_terms);
    add_terms(&terms, words_requests);
    add_terms(&requests, words_requests);
    add_terms(&requests, words_queue_requests);
    add_terms(&replies, words_replies);
    for (size_t i = 0; words_lines[i] != NULL; i++)
        add_line(words_lines[i]);
    for (size_t i = 0; words_functions[i] != NULL; i++)
        add_function(words_functions[i]);
    add_all_ways(words_calls, words_requests);
    add_all_ways(words_queue_calls, words_queue_requests);
    add_all_ways(words_function_calls, words_functions);
    for (size_t i = 0; words_others[i] != NULL; i++)
        add_said(&others, words_others[i]);
    add_greetings();
}

void corpus_close(void)
{
    buf_fini(&all);
}

static const struct entry *any_of(struct dice *d, const struct shelf *s)
{
    return &s->at[dice_below(d, s->n)];
}

/* There are many calls of each function, and few of all else. */
struct said corpus_said(struct dice *d)
{
    const struct entry *e = any_of(d, dice_one_in(d, 3) ? &others : &calls);
    return (struct said){.control = span_at(e->first), .message = span_at(e->second)};
}

struct span corpus_term(struct dice *d)
{
    return span_at(any_of(d, dice_one_in(d, 3) ? &messages : &terms)->first);
}

struct span corpus_part(struct dice *d)
{
    for (;;) {
        const struct span term = corpus_term(d);
        if (term_check(term) != term.len)
            continue;
        const struct part p = part_pick(d, term, NULL);
        return span_of(term.at + p.at, p.len);
    }
}

struct span corpus_request(struct dice *d)
{
    return span_at(any_of(d, &requests)->first);
}

struct span corpus_function(struct dice *d)
{
    return span_at(any_of(d, &functions)->first);
}

struct span corpus_line(struct dice *d)
{
    return span_at(any_of(d, &lines)->first);
}

struct span corpus_reply(struct dice *d)
{
    return span_at(any_of(d, &replies)->first);
}

struct span corpus_greeting(struct dice *d)
{
    return span_at(any_of(d, &greetings)->first);
}
