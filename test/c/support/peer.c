#include "support/peer.h"

#include <inttypes.h>

#include "proto/engine.h"
#include "proto/reply.h"
#include "support/check.h"
#include "support/folder.h"

static const char *const nothing_else[] = {NULL};

void host_init(struct host *h)
{
    h->dir = folder_make();
    h->options = (struct server_options){.node = "emmap@localhost",
                                         .version = "test",
                                         .data_dir = h->dir,
                                         .allowed = nothing_else,
                                         .any_file_system = true,
                                         .max_objects = 100,
                                         .max_object_bytes = (uint64_t)1 << 46,
                                         .max_mapped = (uint64_t)1 << 46,
                                         .max_handles = 100,
                                         .max_pending = 100,
                                         .max_pending_bytes = 1 << 20,
                                         .max_leases = 1000,
                                         .max_waiting = 100,
                                         .max_subscribers = 10,
                                         .journal_size = 8 << 20,
                                         .max_all_handles = 1000,
                                         .max_all_pending = 1000,
                                         .max_all_pending_bytes = 64 << 20,
                                         .max_all_leases = 10000,
                                         .max_all_waiting = 10000,
                                         .max_all_subscribers = 100,
                                         .max_frame = 1 << 20};
    must(uv_loop_init(&h->loop) == 0);
    uv_prepare_init(&h->loop, &h->before_waiting);
    uv_idle_init(&h->loop, &h->awake);
    h->before_waiting.data = h;
}

static void nothing(uv_idle_t *awake)
{
    (void)awake;
}

/* What is said now is heard at once. */
static void before_waiting(uv_prepare_t *prepare)
{
    struct host *h = prepare->data;
    const bool had_some = server_has_more(h->server);
    server_tend(h->server);
    if (!h->stopped && (had_some || server_has_more(h->server)))
        uv_idle_start(&h->awake, nothing);
    else
        uv_idle_stop(&h->awake);
}

void host_open(struct host *h)
{
    char why[SERVER_WHY];
    assert_int_equal(server_open(&h->loop, &h->options, &h->server, why), OK);
    uv_prepare_start(&h->before_waiting, before_waiting);
    h->stopped = false;
}

static void on_stopped(void *arg)
{
    struct host *h = arg;
    uv_prepare_stop(&h->before_waiting);
    uv_idle_stop(&h->awake);
    h->stopped = true;
}

void host_begin_stop(struct host *h)
{
    server_stop(h->server, on_stopped, h);
}

void host_end_stop(struct host *h)
{
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_true(h->stopped);
    const struct totals none = {0};
    assert_memory_equal(&h->server->all, &none, sizeof none);
    assert_int_equal(map_bytes(), 0);
    server_close(h->server);
    h->server = NULL;
}

void host_stop(struct host *h)
{
    host_begin_stop(h);
    host_end_stop(h);
}

void host_close(struct host *h)
{
    if (h->server != NULL && !h->stopped)
        host_begin_stop(h);
    if (h->server != NULL)
        host_end_stop(h);
    uv_close((uv_handle_t *)&h->before_waiting, NULL);
    uv_close((uv_handle_t *)&h->awake, NULL);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    folder_remove(h->dir);
}

static bool peer_has_room(void *conn)
{
    const struct peer *p = conn;
    return !p->is_full;
}

static struct buf *peer_begin(void *conn, struct span to)
{
    struct peer *p = conn;
    must(p->out.len == 0); /* one message at a time */
    p->to_alias = to.at[0] == ERL_NEWER_REFERENCE_EXT;
    buf_put(&p->out, "\x83", 1);
    return &p->out;
}

static void peer_end(void *conn)
{
    struct peer *p = conn;
    must(!p->out.failed);
    const size_t len = p->out.len - 1;
    struct message *m = malloc(sizeof *m + len);
    must(m != NULL && term_check(span_of(p->out.at + 1, len)) == len);
    m->next = NULL;
    m->to_alias = p->to_alias;
    m->len = len;
    memcpy(m->bytes, p->out.at + 1, len);
    *p->last = m;
    p->last = &m->next;
    buf_cut(&p->out, 0);
}

static void peer_undo(void *conn)
{
    struct peer *p = conn;
    buf_cut(&p->out, 0);
}

static void peer_monitor(void *conn, struct span pid, uint64_t number)
{
    (void)pid;
    ((struct peer *)conn)->monitored = number;
}

static void peer_demonitor(void *conn, struct span pid, uint64_t number)
{
    (void)pid;
    ((struct peer *)conn)->demonitored = number;
}

static void peer_ended(void *conn, uint32_t process, struct span reason)
{
    struct peer *p = conn;
    p->ended = process;
    snprintf(p->reason, sizeof p->reason, "%s", show_term(reason));
}

static void peer_traffic(void *conn, uint64_t *in, uint64_t *out)
{
    (void)conn;
    *in = 1;
    *out = 2;
}

void peer_open(struct peer *p, struct host *h, const char *node)
{
    static const struct outlet outlet = {.begin = peer_begin,
                                         .has_room = peer_has_room,
                                         .end = peer_end,
                                         .undo = peer_undo,
                                         .monitor = peer_monitor,
                                         .demonitor = peer_demonitor,
                                         .ended = peer_ended,
                                         .traffic = peer_traffic};
    *p = (struct peer){.host = h, .next_ref = 1, .pid = 1};
    p->last = &p->first;
    buf_init(&p->out, 64 << 20);
    p->client = client_open(h->server, span_text(node), &outlet, p);
    assert_non_null(p->client);
}

void peer_close(struct peer *p)
{
    client_close(p->client);
    while (p->first != NULL)
        free(hear(p));
    buf_fini(&p->out);
}

struct span peer_pid(uint32_t number)
{
    static char kept[16][64];
    static unsigned next;
    erlang_pid pid = {.num = number, .serial = 1, .creation = 77};
    char *to = kept[next++ % 16];
    int n = 0;
    snprintf(pid.node, sizeof pid.node, "client@localhost");
    must(ei_encode_pid(to, &n, &pid) == 0);
    return span_of(to, (size_t)n);
}

struct span peer_ref(uint64_t number)
{
    static char kept[16][64];
    static unsigned next;
    erlang_ref ref = {
        .len = 3, .n = {(uint32_t)number, (uint32_t)(number >> 32), 9}, .creation = 77};
    char *to = kept[next++ % 16];
    int n = 0;
    snprintf(ref.node, sizeof ref.node, "client@localhost");
    must(ei_encode_ref(to, &n, &ref) == 0);
    return span_of(to, (size_t)n);
}

void tell(struct peer *p, struct span message)
{
    must(term_check(message) == message.len);
    client_message(p->client, PROCESS_EMMAP, message);
}

void tell_envelope(struct peer *p, const struct enveloped *requests, uint32_t n)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    reply_tuple(&b, 4);
    reply_atom(&b, "$emmap");
    reply_raw(&b, peer_pid(50));
    reply_uint64(&b, 5);
    reply_list(&b, n);
    for (uint32_t i = 0; i < n; i++) {
        reply_tuple(&b, 3);
        reply_raw(&b, peer_pid(p->pid));
        if (requests[i].ref == 0)
            reply_nil(&b);
        else
            reply_raw(&b, peer_ref(requests[i].ref));
        reply_raw(&b, requests[i].request);
    }
    reply_nil(&b);
    tell(p, span_of(b.at, b.len));
    buf_fini(&b);
}

void call_process(struct peer *p, uint32_t process, struct span request)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    reply_tuple(&b, 3);
    reply_atom(&b, "$gen_call");
    reply_tuple(&b, 2);
    reply_raw(&b, peer_pid(p->pid));
    const uint8_t head[] = {ERL_LIST_EXT, 0, 0, 0, 1};
    buf_put(&b, head, sizeof head);
    reply_atom(&b, "alias");
    reply_raw(&b, peer_ref(p->next_ref++));
    reply_raw(&b, request);
    const struct span message = span_of(b.at, b.len);
    assert_int_equal(term_check(message), message.len);
    client_message(p->client, process, message);
    buf_fini(&b);
}

void call(struct peer *p, struct span request)
{
    call_process(p, PROCESS_EMMAP, request);
}

struct message *hear(struct peer *p)
{
    for (int i = 0; p->first == NULL && i < 1000; i++)
        uv_run(&p->host->loop, UV_RUN_ONCE);
    struct message *m = p->first;
    assert_non_null(m);
    p->first = m->next;
    if (p->first == NULL)
        p->last = &p->first;
    return m;
}

bool anything(struct peer *p)
{
    uv_run(&p->host->loop, UV_RUN_NOWAIT);
    return p->first != NULL;
}

const char *reply_of(const struct message *m)
{
    struct term t = term_in(span_of(m->bytes, m->len));
    assert_true(m->to_alias);
    assert_int_equal(term_tuple(&t), 2);
    term_any(&t);
    const char *text = show_term(term_any(&t));
    assert_true(term_done(&t));
    return text;
}

const char *heard(struct peer *p)
{
    struct message *m = hear(p);
    const char *text = reply_of(m);
    free(m);
    return text;
}

const char *ask_term(struct peer *p, struct span request)
{
    call(p, request);
    return heard(p);
}

const char *ask(struct peer *p, const char *format, ...)
{
    char text[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return ask_term(p, make_term("%s", text));
}

uint64_t opened(const char *reply)
{
    static const char ok[] = "{ok,";
    char *end = NULL;
    if (strncmp(reply, ok, strlen(ok)) != 0)
        fail_msg("not opened: %s", reply);
    const uint64_t id = strtoull(reply + strlen(ok), &end, 10);
    assert_int_equal(*end, ',');
    return id;
}

void is(const char *seen, const char *expected)
{
    assert_non_null(seen);
    assert_string_equal(seen, expected);
}
