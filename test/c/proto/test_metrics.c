/* The reply to `metrics`: read as a scraper would, line by line, against what was asked before. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/reply.h"
#include "support/check.h"
#include "support/folder.h"
#include "support/peer.h"

enum { SAMPLES_MOST = 20000, FAMILIES_MOST = 200 };

static struct host host;
static struct peer peer;

/* --- the text, read -------------------------------------------------------------------------- */

struct family {
    char name[80];
    char type[16];
};

/* A line in two: name and labels as they stand, the value. */
struct line {
    char *series;
    char *value;
    const struct family *family;
};

static struct {
    char *text;
    size_t len;
    struct family families[FAMILIES_MOST];
    size_t n_families;
    struct line samples[SAMPLES_MOST];
    size_t n;
    size_t notes; /* comments */
} page;

static size_t name_length(const char *at)
{
    size_t n = 0;
    while (isalpha((unsigned char)at[n]) || at[n] == '_' ||
           (n > 0 && isdigit((unsigned char)at[n])))
        n++;
    return n;
}

/* Fails the test where `at` does not begin so; what follows. */
static const char *after(const char *at, const char *text)
{
    if (strncmp(at, text, strlen(text)) != 0)
        fail_msg("no %s: %.100s", text, at);
    return at + strlen(text);
}

static const char *after_name(const char *at)
{
    const size_t n = name_length(at);
    if (n == 0)
        fail_msg("no name: %.100s", at);
    return at + n;
}

/* Behind the closing quote. Control characters and what is no UTF-8 are escaped. */
static const char *after_value(const char *at)
{
    at = after(at, "\"");
    for (; *at != '"'; at++) {
        assert_true(*at != '\0' && *at != '\n');
        if (*at == '\\' && strchr("\\\"n", *++at) == NULL)
            fail_msg("no escape: %.100s", at);
    }
    return at + 1;
}

static const char *after_labels(const char *at)
{
    if (*at != '{')
        return at;
    do
        at = after_value(after(after_name(at + 1), "="));
    while (*at == ',');
    return after(at, "}");
}

static void check_number(const char *text)
{
    const size_t whole = strspn(text, "0123456789");
    const size_t part = text[whole] == '.' ? 1 + strspn(text + whole + 1, "0123456789") : 0;
    if (whole == 0 || part == 1 || text[whole + part] != '\0')
        fail_msg("no number: %s", text);
}

/* "# HELP name text", then "# TYPE name type". */
static void on_head(const char *line)
{
    char help[80];
    if (strncmp(line, "# HELP ", 7) == 0) {
        struct family *f = &page.families[page.n_families++];
        assert_true(page.n_families < FAMILIES_MOST);
        assert_int_equal(sscanf(line, "# HELP %79s %79s", f->name, help), 2);
        for (const struct family *other = page.families; other < f; other++)
            assert_string_not_equal(other->name, f->name);
    } else if (strncmp(line, "# TYPE ", 7) == 0) {
        struct family *f = &page.families[page.n_families - 1];
        assert_int_equal(sscanf(line, "# TYPE %79s %15s", help, f->type), 2);
        assert_string_equal(help, f->name);
    } else {
        page.notes++;
    }
}

/* A sample is of the family whose head came last. */
static void check_family(const struct family *f, const char *line)
{
    static const char *const parts[] = {"_bucket{", "_sum", "_count"};
    const char *rest = after(line, f->name);
    const size_t len = strlen(f->name);
    const bool total = len > 6 && strcmp(f->name + len - 6, "_total") == 0;
    bool is_part = false;
    for (size_t i = 0; i < 3; i++)
        is_part |= strncmp(rest, parts[i], strlen(parts[i])) == 0;
    assert_int_equal(strcmp(f->type, "histogram") == 0, is_part);
    assert_int_equal(strcmp(f->type, "counter") == 0, total);
    assert_true(is_part || name_length(rest) == 0);
}

static void on_sample(char *line)
{
    struct line *s = &page.samples[page.n++];
    assert_true(page.n < SAMPLES_MOST);
    s->series = line;
    s->family = &page.families[page.n_families - 1];
    check_family(s->family, line);
    const size_t end = (size_t)(after_labels(after_name(line)) - line);
    assert_int_equal(line[end], ' ');
    line[end] = '\0';
    s->value = line + end + 1;
    check_number(s->value);
}

static int by_series(const void *a, const void *b)
{
    return strcmp(((const struct line *)a)->series, ((const struct line *)b)->series);
}

static void no_series_is_there_twice(void)
{
    qsort(page.samples, page.n, sizeof page.samples[0], by_series);
    for (size_t i = 1; i < page.n; i++)
        if (by_series(&page.samples[i - 1], &page.samples[i]) == 0)
            fail_msg("twice: %s", page.samples[i].series);
}

static void read_lines(void)
{
    page.n = page.n_families = page.notes = 0;
    assert_int_equal(page.text[page.len - 1], '\n');
    for (char *at = page.text; at < page.text + page.len;) {
        char *end = strchr(at, '\n');
        *end = '\0';
        if (*at == '#')
            on_head(at);
        else
            on_sample(at);
        at = end + 1;
    }
    no_series_is_there_twice();
}

/* Asks for the text and reads all of it. */
static void scrape(void)
{
    struct buf scratch;
    call(&peer, make_term("metrics"));
    struct message *m = hear(&peer);
    struct term t = term_in(span_of(m->bytes, m->len));
    buf_init(&scratch, 0);
    assert_int_equal(term_tuple(&t), 2);
    term_any(&t);
    assert_int_equal(term_tag(&t), ERL_BINARY_EXT);
    const struct span text = term_iodata(&t, &scratch);
    assert_true(term_done(&t));
    free(page.text);
    page.text = malloc(text.len + 1);
    page.len = text.len;
    memcpy(page.text, text.at, text.len);
    page.text[text.len] = '\0';
    assert_int_equal(strlen(page.text), text.len);
    free(m);
    read_lines();
}

/* NULL: there is none. */
static const char *value_of(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *value_of(const char *format, ...)
{
    char series[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(series, sizeof series, format, args);
    va_end(args);
    const struct line key = {.series = series};
    const struct line *s = bsearch(&key, page.samples, page.n, sizeof page.samples[0], by_series);
    return s == NULL ? NULL : s->value;
}

/* Of the peer, of an object in the folder, of a kind. */
static void client_has(const char *name, const char *value)
{
    is(value_of("emmap_client_%s{client=\"client@localhost\"}", name), value);
}

static void object_has(const char *name, const char *file, const char *kind, const char *value)
{
    is(value_of("emmap_%s{object=\"%s/%s\",kind=\"%s\"}", name, host.dir, file, kind), value);
}

static void kind_has(const char *name, const char *kind, const char *value)
{
    is(value_of("emmap_%s{kind=\"%s\"}", name, kind), value);
}

static size_t series_of(const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < page.n; i++)
        n += strncmp(page.samples[i].series, name, strlen(name)) == 0 &&
             page.samples[i].series[strlen(name)] == '{';
    return n;
}

/* --- tests ----------------------------------------------------------------------------------- */

static int begin(void **state)
{
    (void)state;
    host_init(&host);
    return 0;
}

static int setup(void **state)
{
    begin(state);
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_close(&peer);
    host_close(&host);
    free(page.text);
    page.text = NULL;
    return 0;
}

static uint64_t open_counters(const char *name)
{
    return opened(ask(&peer, "{open_counters,\"%s\",2}", name));
}

static uint64_t open_queue(const char *name)
{
    return opened(ask(&peer, "{open_queue,\"%s\",0,[]}", name));
}

static void an_idle_daemon_tells_of_itself(void **state)
{
    (void)state;
    scrape();
    is(value_of("emmap_info{node=\"emmap@localhost\",version=\"test\"}"), "1");
    is(value_of("emmap_clients"), "1");
    is(value_of("emmap_open_objects"), "0");
    is(value_of("emmap_mapped_bytes"), "0");
    is(value_of("emmap_queues_items"), "0");
    kind_has("requests_total", "region", "0");
    client_has("requests_total", "0");
    client_has("received_bytes_total", "1");
    client_has("sent_bytes_total", "2");
    assert_int_equal(page.notes, 0);
    scrape();
    client_has("requests_total", "1");
}

static void requests_and_errors_are_counted(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits");
    uint64_t f = opened(ask(&peer, "{open,\"f\",0,64,[create,write]}"));
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0}", c), "{ok,0}");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",9}", c), "{error,badarg}");
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"0123456789\"}", f), "ok");
    is(ask(&peer, "{pwrite,%" PRIu64 ",[{0,\"ab\"},{9000,\"c\"}]}", f), "{error,{1,badarg}}");
    is(ask(&peer, "{pread,%" PRIu64 ",0,4}", f), "{ok,<<\"ab23\">>}");
    is(ask(&peer, "{pread,%" PRIu64 ",0,4}", c), "{error,{wrong_kind,counters}}");
    scrape();
    object_has("object_requests_total", "hits", "counters", "3");
    object_has("object_errors_total", "hits", "counters", "2");
    object_has("object_size_bytes", "hits", "counters", "32");
    object_has("object_requests_total", "f", "region", "3");
    object_has("object_errors_total", "f", "region", "1");
    object_has("object_received_bytes_total", "f", "region", "12");
    object_has("object_sent_bytes_total", "f", "region", "4");
    object_has("object_handles", "f", "region", "1");
    object_has("object_request_duration_seconds_count", "f", "region", "3");
    kind_has("requests_total", "counters", "3");
    kind_has("request_errors_total", "region", "1");
    client_has("requests_total", "8");
    client_has("errors_total", "3");
    client_has("request_duration_seconds_count", "8");
}

/* The errors that no object has: each is the peer's. */
static void refused_requests_are_the_peers(void **state)
{
    (void)state;
    static const char *const requests[] = {"nonsense",
                                           "{ping,1}",
                                           "{pread,4711,0,x}",
                                           "{pread,4711,0,1}",
                                           "{batch,x}",
                                           "{open,\"f\",0,0,[foo]}",
                                           "{open,\"none\",0,0,[]}",
                                           "{inc_counter,\"none\",0}",
                                           "{batch,[ping,{batch,[]}]}"};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        char expected[16];
        assert_non_null(strstr(ask(&peer, "%s", requests[i]), "error"));
        scrape();
        snprintf(expected, sizeof expected, "%zu", i + 1);
        client_has("errors_total", expected);
    }
    kind_has("requests_total", "region", "0");
    kind_has("requests_total", "counters", "0");
}

static void late_answers_are_counted(void **state)
{
    (void)state;
    struct peer other;
    uint64_t q = open_queue("q");
    is(ask(&peer, "{push,%" PRIu64 ",a}", q), "ok");
    is(ask(&peer, "{pop_wait,%" PRIu64 ",1}", q), "{ok,a}");
    is(ask(&peer, "{pop_wait,%" PRIu64 ",1}", q), "empty");
    is(ask(&peer, "{ack,%" PRIu64 ",17}", q), "{error,not_leased}");
    is(ask(&peer, "{ack_many,%" PRIu64 ",[17]}", q), "{error,{not_leased,[17]}}");
    peer_open(&other, &host, "other@localhost");
    call(&other, make_term("{pop_wait,\"q\",infinity}"));
    assert_false(anything(&other));
    scrape();
    is(value_of("emmap_client_waiting{client=\"other@localhost\"}"), "1");
    is(value_of("emmap_client_requests_total{client=\"other@localhost\"}"), "0");
    object_has("queue_waiting", "q", "queue", "1");
    object_has("object_requests_total", "q", "queue", "5");
    is(ask(&peer, "{push,%" PRIu64 ",b}", q), "ok");
    free(hear(&other));
    call(&other, make_term("{take,\"q\",infinity}"));
    assert_false(anything(&other));
    is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    scrape();
    is(value_of("emmap_client_waiting{client=\"other@localhost\"}"), "1");
    is(value_of("emmap_client_requests_total{client=\"other@localhost\"}"), "1");
    is(value_of("emmap_client_errors_total{client=\"other@localhost\"}"), "0");
    object_has("object_requests_total", "q", "queue", "8");
    object_has("object_errors_total", "q", "queue", "2");
    client_has("errors_total", "2");
    peer_close(&other);
}

static void a_closed_handle_is_an_error_of_who_waits(void **state)
{
    (void)state;
    uint64_t kept = open_queue("q");
    uint64_t q = open_queue("q");
    call(&peer, make_term("{pop_wait,%" PRIu64 ",infinity}", q));
    assert_false(anything(&peer));
    is(ask(&peer, "{close,%" PRIu64 "}", q), "ok");
    free(hear(&peer));
    scrape();
    object_has("object_errors_total", "q", "queue", "1");
    client_has("errors_total", "1");
    is(ask(&peer, "{close,%" PRIu64 "}", kept), "ok");
}

static void block_stores_have_their_gauges(void **state)
{
    (void)state;
    const uint64_t f = opened(ask(&peer, "{open,\"b\",0,16384,[create,read,write]}"));
    is(ask(&peer, "{init_block_storage,%" PRIu64 ",3}", f), "ok");
    is(ask(&peer, "{store_blocks,%" PRIu64 ",[\"abc\",\"def\"]}", f), "{ok,[0,1]}");
    scrape();
    object_has("blocks_block_size_bytes", "b", "blocks", "3");
    object_has("blocks_stored", "b", "blocks", "2");
    object_has("blocks_free", "b", "blocks", "510");
}

static void queues_have_their_gauges(void **state)
{
    (void)state;
    uint64_t q = open_queue("q");
    is(ask(&peer, "{push_many,%" PRIu64 ",[a,b,c,d,e]}", q), "ok");
    is(ask(&peer, "{pop,%" PRIu64 "}", q), "a");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,2,1,b}");
    is(ask(&peer, "{ack,%" PRIu64 ",2}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,3,1,c}");
    is(ask(&peer, "{bury,%" PRIu64 ",3}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,4,1,d}");
    is(ask(&peer, "{release,%" PRIu64 ",4,100000}", q), "ok");
    is(ask(&peer, "{take,%" PRIu64 "}", q), "{ok,5,1,e}");
    is(ask(&peer, "{push,%" PRIu64 ",f}", q), "ok");
    scrape();
    static const char *const expected[][2] = {
        {"items", "4"},        {"ready", "1"},       {"leased", "1"},      {"delayed", "1"},
        {"buried", "1"},       {"waiting", "0"},     {"subscribers", "0"}, {"pushed_total", "6"},
        {"popped_total", "1"}, {"acked_total", "1"}, {"dead_total", "0"},  {"dropped_total", "0"},
        {"damaged_total", "0"}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "queue_%s", expected[i][0]);
        object_has(name, "q", "queue", expected[i][1]);
    }
    is(value_of("emmap_queues_items"), "4");
    is(value_of("emmap_queues_buried"), "1");
    is(value_of("emmap_client_leases{client=\"client@localhost\"}"), "1");
}

static void what_a_worker_is_at_is_in_flight(void **state)
{
    (void)state;
    uint64_t f = opened(ask(&peer, "{open,\"f\",0,64,[create,write]}"));
    call(&peer, make_term("{sync,%" PRIu64 "}", f));
    call(&peer, make_term("{pwrite,%" PRIu64 ",0,\"x\"}", f));
    scrape();
    object_has("object_in_flight", "f", "region", "1");
    object_has("object_waiting", "f", "region", "2");
    client_has("in_flight", "1");
    client_has("waiting", "2");
    kind_has("in_flight", "region", "1");
    free(hear(&peer));
    free(hear(&peer));
    scrape();
    object_has("object_in_flight", "f", "region", "0");
    object_has("object_requests_total", "f", "region", "2");
    client_has("in_flight", "0");
    client_has("waiting", "0");
}

static void histograms_add_up(void **state)
{
    (void)state;
    uint64_t c = open_counters("hits");
    for (int i = 0; i < 100; i++)
        ask(&peer, "{inc_counter,%" PRIu64 ",0}", c);
    scrape();
    static const char name[] = "emmap_object_request_duration_seconds";
    uint64_t last = 0;
    for (uint64_t end_ns = 1024; end_ns <= (uint64_t)2 << 34; end_ns *= 2) {
        const char *value = value_of("%s_bucket{object=\"%s/hits\",kind=\"counters\",le=\"%" PRIu64
                                     ".%09" PRIu64 "\"}",
                                     name, host.dir, end_ns / 1000000000, end_ns % 1000000000);
        assert_non_null(value);
        assert_true(strtoull(value, NULL, 10) >= last);
        last = strtoull(value, NULL, 10);
    }
    assert_int_equal(last, 100);
    is(value_of("%s_bucket{object=\"%s/hits\",kind=\"counters\",le=\"+Inf\"}", name, host.dir),
       "100");
    object_has("object_request_duration_seconds_count", "hits", "counters", "100");
    const double sum =
        strtod(value_of("%s_sum{object=\"%s/hits\",kind=\"counters\"}", name, host.dir), NULL);
    assert_true(sum > 0 && sum < 100);
}

/* Counters in a file of this name, any bytes. */
static uint64_t open_named(const char *name)
{
    struct buf b;
    buf_init(&b, 4096);
    reply_tuple(&b, 3);
    reply_atom(&b, "open_counters");
    reply_text(&b, name);
    reply_uint64(&b, 1);
    const uint64_t id = opened(ask_term(&peer, span_of(b.at, b.len)));
    buf_fini(&b);
    return id;
}

/* How it stands in a label. */
static void is_named(const char *name, const char *label)
{
    open_named(name);
    scrape();
    object_has("object_handles", label, "counters", "1");
}

static void names_are_escaped(void **state)
{
    (void)state;
    is_named("a\"b", "a\\\"b");
    is_named("back\\slash", "back\\\\slash");
    is_named("new\nline", "new\\nline");
    is_named("} 1\n# TYPE x", "} 1\\n# TYPE x");
    is_named("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
    is_named("\xff\xc3", "\\\\xff\\\\xc3");
}

static void what_has_no_name_is_in_the_sums(void **state)
{
    (void)state;
    uint64_t a = opened(ask(&peer, "{open,\"\",0,64,[anon,write]}"));
    uint64_t b = opened(ask(&peer, "{open,\"\",0,64,[anon,write]}"));
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"x\"}", a), "ok");
    is(ask(&peer, "{pwrite,%" PRIu64 ",0,\"xy\"}", b), "ok");
    scrape();
    kind_has("objects", "region", "2");
    kind_has("size_bytes", "region", "128");
    kind_has("requests_total", "region", "2");
    kind_has("received_bytes_total", "region", "3");
    assert_int_equal(series_of("emmap_object_handles"), 0);
    assert_int_equal(page.notes, 1);
}

static void a_file_put_in_another_s_place_is_listed_once(void **state)
{
    (void)state;
    uint64_t first = open_counters("c");
    assert_int_equal(unlink(folder_file(host.dir, "c")), 0);
    uint64_t second = open_counters("c");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0}", first), "{ok,0}");
    is(ask(&peer, "{inc_counter,%" PRIu64 ",0}", second), "{ok,0}");
    scrape();
    kind_has("objects", "counters", "2");
    assert_int_equal(series_of("emmap_object_handles"), 1);
}

static void the_sums_keep_what_closed_objects_had(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        uint64_t c = open_counters("hits");
        is(ask(&peer, "{read_counter,%" PRIu64 ",9}", c), "{error,badarg}");
        is(ask(&peer, "{close,%" PRIu64 "}", c), "ok");
    }
    scrape();
    kind_has("objects", "counters", "0");
    kind_has("requests_total", "counters", "6");
    kind_has("request_errors_total", "counters", "3");
    kind_has("request_duration_seconds_count", "counters", "6");
}

static void open_many(size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        char numbered[256];
        snprintf(numbered, sizeof numbered, "%s%zu", name, i);
        uint64_t c = open_named(numbered);
        is(ask(&peer, "{set_counter,%" PRIu64 ",0,0}", c), "{ok,0}");
    }
}

static void the_oldest_of_many_are_told_of_one_by_one(void **state)
{
    (void)state;
    host.options.max_objects = host.options.max_handles = 300;
    host.options.max_frame = 8 << 20;
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    open_many(100, "c");
    scrape();
    assert_int_equal(series_of("emmap_object_handles"), 100);
    assert_int_equal(page.notes, 0);
    open_many(100, "later");
    scrape();
    assert_int_equal(series_of("emmap_object_handles"), 100);
    assert_int_equal(page.notes, 1);
    object_has("object_requests_total", "c0", "counters", "1");
    object_has("object_requests_total", "c99", "counters", "1");
    kind_has("objects", "counters", "200");
    kind_has("requests_total", "counters", "200");
}

/* Names as long as they may be, of bytes that take five in the text. */
static void the_text_fits_a_frame(void **state)
{
    (void)state;
    static const size_t frames[] = {48 << 10, 64 << 10, 128 << 10, 1 << 20};
    char name[200];
    memset(name, 0xff, sizeof name);
    name[sizeof name - 1] = '\0';
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        host.options.max_frame = frames[i];
        host_open(&host);
        peer_open(&peer, &host, "client@localhost");
        open_many(40, name);
        scrape();
        assert_true(page.len <= frames[i]);
        kind_has("objects", "counters", "40");
        kind_has("requests_total", "counters", "40");
        assert_true(series_of("emmap_object_handles") < 40);
        assert_true(i < 3 || series_of("emmap_object_handles") > 5);
        peer_close(&peer);
        host_stop(&host);
    }
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
}

static void a_frame_too_small_for_the_daemon_is_refused(void **state)
{
    (void)state;
    host.options.max_frame = 4096;
    host_open(&host);
    peer_open(&peer, &host, "client@localhost");
    is(ask(&peer, "metrics"), "{error,{limit,max_frame}}");
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_OPENS(name) cmocka_unit_test_setup_teardown(name, begin, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_daemon_tells_of_itself),
        TEST(requests_and_errors_are_counted),
        TEST(refused_requests_are_the_peers),
        TEST(late_answers_are_counted),
        TEST(a_closed_handle_is_an_error_of_who_waits),
        TEST(queues_have_their_gauges),
        TEST(block_stores_have_their_gauges),
        TEST(what_a_worker_is_at_is_in_flight),
        TEST(histograms_add_up),
        TEST(names_are_escaped),
        TEST(what_has_no_name_is_in_the_sums),
        TEST(a_file_put_in_another_s_place_is_listed_once),
        TEST(the_sums_keep_what_closed_objects_had),
        TEST_OPENS(the_oldest_of_many_are_told_of_one_by_one),
        TEST_OPENS(the_text_fits_a_frame),
        TEST_OPENS(a_frame_too_small_for_the_daemon_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
