/* emmapd: options, log, cookie, store, node, loop, orderly stop. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dist/epmd.h"
#include "dist/node.h"
#include "options.h"
#include "proto/server.h"
#include "sys/log.h"
#include "sys/os.h"
#include "sys/sandbox.h"
#include "sys/secret.h"
#include "tools/tools.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_TAKEN = 3, EXIT_COOKIE = 4, EXIT_ROOT = 5 };

enum { ON_TERM, ON_INT, ON_HUP, SIGNALS };

struct daemon {
    struct options options;
    struct name name;
    struct cookies *cookies;
    char data_dir[PATH_MAX];
    struct in_addr listen;
    uint16_t epmd_port;
    uv_loop_t loop;
    uv_signal_t signals[SIGNALS];
    uv_poll_t input;
    bool watches_input;
    struct server *server;
    struct node *node;
    bool stopping;
    int exit_code;
};

static int say(int exit_code, const char *why)
{
    fprintf(stderr, "emmapd: %s\n", why);
    return exit_code;
}

/* ---- the end ---- */

static void on_node_closed(void *arg)
{
    struct daemon *d = arg;
    for (int i = 0; i < SIGNALS; i++)
        uv_close((uv_handle_t *)&d->signals[i], NULL);
    if (d->watches_input)
        uv_close((uv_handle_t *)&d->input, NULL);
}

static void on_server_stopped(void *arg)
{
    struct daemon *d = arg;
    node_close(d->node);
}

static void stop(struct daemon *d, int exit_code)
{
    if (d->stopping)
        return;
    d->stopping = true;
    d->exit_code = exit_code;
    node_stop(d->node);
    server_stop(d->server, on_server_stopped, d);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct daemon *d = signal->data;
    if (number != SIGHUP) {
        log_notice("stopping on a signal");
        stop(d, EXIT_SUCCESS);
    } else if (!log_reopen()) {
        log_error("cannot open the log anew: %s", strerror(errno));
    }
}

static void stop_at_end_of_input(struct daemon *d)
{
    log_notice("stopping, for standard input has closed");
    stop(d, EXIT_SUCCESS);
}

static void on_input(uv_poll_t *input, int status, int events)
{
    struct daemon *d = input->data;
    char unused[256];
    (void)events;
    const ssize_t n = status < 0 ? 0 : read(STDIN_FILENO, unused, sizeof unused);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    uv_poll_stop(input);
    stop_at_end_of_input(d);
}

/* ---- what the node tells ---- */

static void on_ready(void *arg, uint16_t port)
{
    const struct daemon *d = arg;
    printf("ready %s %u\n", d->name.full, port);
    fflush(stdout);
    log_notice("%s is ready at port %u, files in %s", d->name.full, port, d->data_dir);
}

static void on_taken(void *arg)
{
    struct daemon *d = arg;
    fprintf(stderr, "emmapd: the name %s is taken: another node of this host has it\n",
            d->name.alive);
    stop(d, EXIT_TAKEN);
}

static void on_failed(void *arg, const char *why)
{
    say(EXIT_FAILED, why);
    stop(arg, EXIT_FAILED);
}

static const struct node_events node_events = {
    .ready = on_ready,
    .taken = on_taken,
    .failed = on_failed,
    .closed = on_node_closed,
};

/* ---- the beginning ---- */

/* Files must never get the numbers 0 to 2; neither a reader that is gone nor a file that must not
 * grow any more (RLIMIT_FSIZE) may end us: these are errors of a call. What has no mode of its own
 * is for nobody else. */
static void prepare_process(void)
{
    struct rlimit files;
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = dup(fd);
    if (fd >= 0)
        close(fd);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    umask(077);
    os_keep_heap_small();
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static bool find_data_dir(struct daemon *d)
{
    const char *dir = d->options.data_dir;
    struct stat st;
    if ((mkdir(dir, 0700) == 0 || errno == EEXIST) && realpath(dir, d->data_dir) != NULL &&
        stat(d->data_dir, &st) == 0) {
        errno = ENOTDIR;
        /* where nothing may be made, files there and beneath the allowed paths still serve */
        if (S_ISDIR(st.st_mode) && access(d->data_dir, R_OK | X_OK) == 0)
            return true;
    }
    fprintf(stderr, "emmapd: --data-dir %s: %s\n", dir, strerror(errno));
    return false;
}

static bool find_allowed_paths(const struct daemon *d)
{
    struct stat st;
    for (const char **path = d->options.allow_paths; *path != NULL; path++) {
        const bool there = stat(*path, &st) == 0;
        if (there && S_ISDIR(st.st_mode))
            continue;
        fprintf(stderr, "emmapd: --allow-path %s: %s\n", *path, strerror(there ? ENOTDIR : errno));
        return false;
    }
    return true;
}

static bool find_name(struct daemon *d, char *why)
{
    const struct options *o = &d->options;
    const char *text = o->name != NULL ? o->name : o->sname != NULL ? o->sname : "emmap";
    if (!name_parse(&d->name, text, o->name != NULL, why))
        return false;
    if (o->listen == NULL)
        return name_address(&d->name, &d->listen, why);
    snprintf(why, NAME_WHY, "--listen %.80s: no IPv4 address", o->listen);
    return inet_pton(AF_INET, o->listen, &d->listen) == 1;
}

/* NODE=FILE; the exit code, after the reason has been told where it is not EXIT_SUCCESS. */
static int read_peer_cookie(struct daemon *d, const char *option)
{
    enum { TOO_LONG = 300 };
    char node[TOO_LONG];
    struct name peer;
    char why[NAME_WHY];
    char why_no_cookie[COOKIE_WHY];
    const size_t len = strcspn(option, "=");
    snprintf(node, sizeof node, "%.*s", (int)len, option);
    if (!name_parse(&peer, node, d->options.name != NULL, why)) {
        fprintf(stderr, "emmapd: --peer-cookie %s\n", why);
        return EXIT_USAGE;
    }
    if (strcmp(peer.full, d->name.full) == 0) {
        fprintf(stderr, "emmapd: --peer-cookie %s: that is this node itself\n", node);
        return EXIT_USAGE;
    }
    if (cookies_add(d->cookies, &peer, option + len + 1, why_no_cookie))
        return EXIT_SUCCESS;
    fprintf(stderr, "emmapd: --peer-cookie %s: %s\n", node, why_no_cookie);
    return EXIT_COOKIE;
}

static int read_cookies(struct daemon *d)
{
    char why[COOKIE_WHY];
    int exit_code = EXIT_SUCCESS;
    d->cookies = secret_new(sizeof *d->cookies);
    if (d->cookies == NULL)
        return say(EXIT_FAILED, "no memory for the cookie");
    if (!cookie_read(&d->cookies->general, d->options.cookie_file, why))
        return say(EXIT_COOKIE, why);
    for (const char **c = d->options.peer_cookies; *c != NULL && exit_code == EXIT_SUCCESS; c++)
        exit_code = read_peer_cookie(d, *c);
    return exit_code;
}

static void forget_cookies(struct daemon *d)
{
    if (d->cookies != NULL)
        cookies_fini(d->cookies);
    secret_free(d->cookies, sizeof *d->cookies);
}

/* OK, or the exit code after the reason has been told. */
static int settle(struct daemon *d)
{
    char why[NAME_WHY];
    if (!find_name(d, why))
        return say(EXIT_USAGE, why);
    d->epmd_port = epmd_port(getenv("ERL_EPMD_PORT"));
    if (d->epmd_port == 0)
        return say(EXIT_USAGE, "ERL_EPMD_PORT is no port");
    if (geteuid() == 0 && !d->options.allow_root)
        return say(EXIT_ROOT, "it must not run as root, who may do all on this host; start it as "
                              "another user, or with --allow-root");
    const int bad = read_cookies(d);
    if (bad != EXIT_SUCCESS)
        return bad;
    /* the data directory is made, and may hold the log */
    if (!find_data_dir(d) || !find_allowed_paths(d))
        return EXIT_FAILED;
    log_set_level(d->options.log_level);
    if (!log_open(d->options.log_file)) {
        fprintf(stderr, "emmapd: --log-file %s: %s\n", d->options.log_file, strerror(errno));
        return EXIT_FAILED;
    }
    if (secret_is_unlocked)
        log_warning("the cookie's memory cannot be locked and might be swapped out: the limit on "
                    "locked memory (ulimit -l) is too low");
    return EXIT_SUCCESS;
}

static void watch_signals(struct daemon *d)
{
    static const int numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    for (int i = 0; i < SIGNALS; i++) {
        uv_signal_init(&d->loop, &d->signals[i]);
        d->signals[i].data = d;
        uv_signal_start(&d->signals[i], on_signal, numbers[i]);
    }
}

/* A regular file or /dev/null cannot be waited for: it is at its end already. */
static void watch_input(struct daemon *d)
{
    d->watches_input = uv_poll_init(&d->loop, &d->input, STDIN_FILENO) == 0;
    d->input.data = d;
    if (!d->watches_input || uv_poll_start(&d->input, UV_READABLE, on_input) != 0)
        stop_at_end_of_input(d);
}

static bool open_server(struct daemon *d)
{
    const struct options *o = &d->options;
    const struct server_options options = {.node = d->name.full,
                                           .version = EMMAP_VERSION,
                                           .data_dir = d->data_dir,
                                           .allowed = o->allow_paths,
                                           .any_file_system = o->any_file_system,
                                           .max_objects = o->max_objects,
                                           .max_object_bytes = o->max_object_bytes,
                                           .max_mapped = o->max_mapped,
                                           .max_handles = o->max_handles,
                                           .max_pending = o->max_pending,
                                           .max_pending_bytes = o->max_pending_bytes,
                                           .journal_size = o->journal_size,
                                           .adopts_journals = o->adopt_journals,
                                           .max_leases = o->max_leases,
                                           .max_waiting = o->max_waiting,
                                           .max_subscribers = o->max_subscribers,
                                           .max_all_handles = o->max_all_handles,
                                           .max_all_pending = o->max_all_pending,
                                           .max_all_pending_bytes = o->max_all_pending_bytes,
                                           .max_all_leases = o->max_all_leases,
                                           .max_all_waiting = o->max_all_waiting,
                                           .max_all_subscribers = o->max_all_subscribers,
                                           .max_frame = o->max_frame,
                                           .max_unsent = o->max_unsent,
                                           .max_half_open = o->max_half_open,
                                           .max_connections = o->max_connections,
                                           .max_processes = o->max_processes,
                                           .reserve_fds = os_keep_back(o->reserve_fds)};
    char why[SERVER_WHY];
    const enum err bad = server_open(&d->loop, &options, &d->server, why);
    if (bad != OK && why[0] != '\0')
        say(EXIT_FAILED, why);
    else if (bad != OK)
        fprintf(stderr, "emmapd: cannot open %s or an allowed path: %s\n", d->data_dir,
                err_text(bad));
    return bad == OK;
}

static bool open_node(struct daemon *d)
{
    const struct options *o = &d->options;
    const struct node_options options = {.name = &d->name,
                                         .cookies = d->cookies,
                                         .listen = d->listen,
                                         .port = (uint16_t)o->port,
                                         .epmd_port = d->epmd_port,
                                         .max_half_open = o->max_half_open,
                                         .max_connections = o->max_connections,
                                         .limits = {.max_frame = o->max_frame,
                                                    .max_processes = (uint32_t)o->max_processes,
                                                    .max_unsent = o->max_unsent,
                                                    .unsent_timeout = o->unsent_timeout,
                                                    .handshake_timeout = o->handshake_timeout}};
    char why[NAME_WHY];
    d->node = node_open(&d->loop, d->server, &options, &node_events, d, why);
    if (d->node == NULL)
        say(EXIT_FAILED, why);
    return d->node != NULL;
}

/* Nothing that is done later needs more. */
static void confine(const struct daemon *d)
{
    const struct sandbox sandbox = {.data_dir = d->data_dir,
                                    .allowed = d->options.allow_paths,
                                    .log_file = d->options.log_file,
                                    .listen = (uint16_t)d->options.port,
                                    .connect = d->epmd_port};
    sandbox_no_new_privileges();
    if (d->options.sandbox)
        sandbox_enter(&sandbox);
    else
        log_notice("sandbox off, as told");
}

static int run(struct daemon *d)
{
    char why[EPMD_WHY];
    if (!epmd_start(d->epmd_port, why))
        return say(EXIT_FAILED, why);
    confine(d); /* threads inherit it, and the loop has some */
    uv_loop_init(&d->loop);
    if (!open_server(d))
        return EXIT_FAILED;
    if (open_node(d)) {
        watch_signals(d);
        if (d->options.stop_on_eof)
            watch_input(d);
        uv_run(&d->loop, UV_RUN_DEFAULT);
        node_free(d->node);
    } else {
        d->exit_code = EXIT_FAILED;
    }
    server_close(d->server);
    uv_loop_close(&d->loop);
    return d->exit_code;
}

int main(int argc, char **argv)
{
    static struct daemon d;
    char why[OPTIONS_WHY];
    prepare_process();
    if (argc > 1 && argv[1][0] != '-')
        return tools_run(argc - 1, argv + 1);
    switch (options_read(&d.options, argc, argv, why)) {
    case OPTIONS_HELP:
        options_help(stdout);
        fputc('\n', stdout);
        tools_list(stdout);
        return EXIT_SUCCESS;
    case OPTIONS_VERSION: puts("emmapd " EMMAP_VERSION); return EXIT_SUCCESS;
    case OPTIONS_BAD: return say(EXIT_USAGE, why);
    case OPTIONS_RUN: break;
    }
    int exit_code = settle(&d);
    if (exit_code == EXIT_SUCCESS)
        exit_code = run(&d);
    forget_cookies(&d);
    options_free(&d.options);
    return exit_code;
}
