/* check FILE...: is everything there that was stored, and as it was? */
#include "tools/check.h"

#include <inttypes.h>
#include <time.h>

#include "proto/print.h"
#include "proto/term.h"
#include "tools/progress.h"

/* --- for all tools that look through a file -------------------------------------------------- */

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool find_kind(const char *word, enum file_kind *kind)
{
    for (enum file_kind k = FILE_REGION; k <= FILE_JOURNAL; k++)
        if (strcmp(word, file_kind_name(k)) == 0) {
            *kind = k;
            return true;
        }
    return false;
}

int check_open(struct look *l, const struct tool_call *call, const char *path, struct check *c)
{
    const char *kind = tool_value(call, "kind");
    *l = (struct look){.fd = -1};
    *c = (struct check){.length = term_check, .now_ms = now_ms()};
    const int exit_code = look_open(l, path, tool_value(call, "live") != NULL);
    if (exit_code != TOOL_DONE)
        return exit_code;
    if (kind != NULL && !find_kind(kind, &l->kind)) {
        look_close(l);
        return tool_say(TOOL_FAILED, kind,
                        "a kind is region, counters, blocks, queue, nif_queue or journal");
    }
    c->kind = &l->kind;
    /* while a daemon has it, the file has all that its journal has */
    c->in_use = l->in_use;
    c->alone = l->in_use || tool_value(call, "alone") != NULL;
    return TOOL_DONE;
}

int check_end(const struct look *l, enum err e)
{
    char what[PATH_MAX + 100];
    switch (e) {
    case OK: return TOOL_DONE;
    case ERR_DAMAGED: return TOOL_REFUSED;
    case ERR_NEEDS_JOURNAL:
        snprintf(what, sizeof what,
                 "the journal in %s has changes of it, and cannot be read; --alone looks at the "
                 "file alone",
                 l->mark.dir);
        return tool_say(TOOL_FAILED, l->path, what);
    case ERR_ENOTSUP:
        return tool_say(TOOL_FAILED, l->path, "it is of a version that is not known here");
    default: return tool_say(TOOL_FAILED, l->path, err_text(e));
    }
}

static void put_path(struct out *out, const struct look *l)
{
    print_name(&out->line, span_text(l->path));
    print_text(&out->line, ": ");
}

void check_line(struct out *out, const struct look *l, const struct check_finding *f)
{
    put_path(out, l);
    print_text(&out->line, f->damage ? "damaged: " : "note: ");
    out_finding(&out->line, l->kind, f);
    print_text(&out->line, "\n");
    out_flush(out);
}

/* --- check ----------------------------------------------------------------------------------- */

struct task {
    struct look look;
    struct progress progress;
    struct out out;
    bool quiet;
};

static void found(void *arg, const struct check_finding *f)
{
    struct task *t = arg;
    if (t->quiet)
        return;
    progress_end(&t->progress);
    check_line(&t->out, &t->look, f);
}

static void progress(void *arg, uint64_t done, uint64_t all)
{
    struct task *t = arg;
    progress_at(&t->progress, done, all);
}

static const char *const names[] = {
    [FILE_COUNTERS] = "counters", [FILE_BLOCKS] = "blocks",  [FILE_QUEUE] = "items",
    [FILE_NIF_QUEUE] = "items",   [FILE_JOURNAL] = "groups", [FILE_REGION] = "bytes",
};

static void sum_up(struct task *t, const struct check_counts *n, enum err e)
{
    struct buf *line = &t->out.line;
    const uint64_t things = n->kind == FILE_REGION ? (uint64_t)t->look.st.st_size : n->things;
    put_path(&t->out, &t->look);
    print_text(line, "%s, %" PRIu64 " %s", file_kind_name(n->kind), things, names[n->kind]);
    if (n->lost > 0)
        print_text(line, ", %" PRIu64 " lost", n->lost);
    print_text(line, e == ERR_DAMAGED         ? ": damaged\n"
                     : n->kind == FILE_REGION ? ": no checksums, nothing to check\n"
                                              : ": sound\n");
    out_flush(&t->out);
}

static int check_one(const struct tool_call *call, const char *path)
{
    struct task t = {.quiet = tool_value(call, "quiet") != NULL};
    struct check c;
    struct check_counts counts;
    const int exit_code = check_open(&t.look, call, path, &c);
    if (exit_code != TOOL_DONE)
        return exit_code;
    out_init(&t.out, false, OUT_LINE);
    progress_begin(&t.progress, path, progress_clock);
    c.arg = &t;
    c.found = found;
    c.progress = progress;
    c.counts = &counts;
    const enum err e = check_file(t.look.fd, &c);
    progress_end(&t.progress);
    if (!t.quiet && (e == OK || e == ERR_DAMAGED))
        sum_up(&t, &counts, e);
    out_fini(&t.out);
    look_close(&t.look);
    return check_end(&t.look, e);
}

int tool_check(const struct tool_call *call)
{
    int exit_code = TOOL_DONE;
    for (int i = 0; i < call->n; i++)
        exit_code = tool_worse(exit_code, check_one(call, call->arguments[i]));
    return exit_code;
}
