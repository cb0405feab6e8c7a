#include "proto/open.h"

#include <ei.h>

#include "proto/engine.h"
#include "proto/registry.h"
#include "proto/reply.h"
#include "store/counter.h"
#include "store/format.h"

/* The options of open, one row each. An atom alone is the same as {Atom, true}. */

enum setting {
    IGNORED,
    READ,
    WRITE,
    CREATE,
    TRUNCATE,
    SHARED,
    PRIVATE,
    ANON,
    FIT,
    FIXED_SIZE,
    AUTO_UNLINK,
    POPULATE,
    REFUSED_HERE, /* a hint that no file of ours can follow */
    SYNC,
    SIZE,
    MAX_INC_SIZE,
    CHMOD,
    DURABILITY,
    OWNER,
    MAX_ITEMS,
    MAX_BYTES,
    LEASE_MS,
    MAX_ATTEMPTS,
    OVERFLOW,
    DEAD_LETTER,
    REGISTER
};

/* Of which openings an option is. */
enum { OF_REGION = 1, OF_COUNTERS = 2, OF_QUEUE = 4, OF_FILES = 7 };

static const struct option {
    const char *name;
    enum setting setting;
    unsigned of;
} options[] = {
    {"read", READ, OF_FILES},
    {"write", WRITE, OF_REGION | OF_QUEUE},
    {"create", CREATE, OF_REGION | OF_QUEUE},
    {"truncate", TRUNCATE, OF_REGION},
    {"shared", SHARED, OF_REGION | OF_QUEUE},
    {"private", PRIVATE, OF_REGION},
    {"anon", ANON, OF_REGION},
    {"fit", FIT, OF_REGION},
    {"fixed_size", FIXED_SIZE, OF_REGION | OF_QUEUE},
    {"auto_unlink", AUTO_UNLINK, OF_FILES},
    {"populate", POPULATE, OF_REGION},
    {"direct", IGNORED, OF_REGION},
    {"nonblock", IGNORED, OF_REGION},
    {"noreserve", IGNORED, OF_REGION},
    {"uninitialized", IGNORED, OF_REGION},
    {"nocache", IGNORED, OF_REGION | OF_QUEUE},
    {"lock", IGNORED, OF_REGION | OF_QUEUE},
    {"nolock", IGNORED, OF_REGION | OF_QUEUE},
    {"debug", IGNORED, OF_REGION | OF_QUEUE},
    {"shared_validate", SHARED, OF_REGION},
    {"hugetlb", REFUSED_HERE, OF_REGION},
    {"huge_2mb", REFUSED_HERE, OF_REGION},
    {"huge_1gb", REFUSED_HERE, OF_REGION},
    {"sync", SYNC, OF_REGION},
    {"size", SIZE, OF_REGION},
    {"max_inc_size", MAX_INC_SIZE, OF_REGION},
    {"chmod", CHMOD, OF_FILES},
    {"durability", DURABILITY, OF_FILES},
    {"owner", OWNER, OF_FILES},
    {"max_items", MAX_ITEMS, OF_QUEUE},
    {"max_bytes", MAX_BYTES, OF_QUEUE},
    {"lease_ms", LEASE_MS, OF_QUEUE},
    {"max_attempts", MAX_ATTEMPTS, OF_QUEUE},
    {"overflow", OVERFLOW, OF_QUEUE},
    {"dead_letter", DEAD_LETTER, OF_QUEUE},
    {"register", REGISTER, OF_QUEUE},
};

static unsigned openings_of(enum object_kind kind)
{
    return kind == OBJECT_COUNTERS ? OF_COUNTERS : kind == OBJECT_QUEUE ? OF_QUEUE : OF_REGION;
}

static const struct option *option_named(const char *name, enum object_kind kind)
{
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (strcmp(options[i].name, name) == 0)
            return options[i].of & openings_of(kind) ? &options[i] : NULL;
    return NULL;
}

static bool is_flag(enum setting setting)
{
    return setting < SIZE;
}

static enum err set_owner(struct open *o, struct term *value)
{
    const int tag = term_tag(value);
    struct span pid = term_any(value);
    if ((tag != ERL_NEW_PID_EXT && tag != ERL_PID_EXT) || pid.len > PATH_MAX)
        return ERR_BADARG;
    memcpy(o->owner, pid.at, pid.len);
    o->owner_len = pid.len;
    return OK;
}

/* A queue keeps it in its file, so that it can also be taken back. */
static enum err set_durable(struct open *o, bool durable)
{
    if (o->opening.kind != OBJECT_QUEUE) {
        o->durable = durable;
        return OK;
    }
    o->change->given |= QUEUE_DURABLE;
    o->change->to.durable = durable;
    return OK;
}

static enum err set_durability(struct open *o, struct term *value)
{
    const bool sync = term_is_atom(value, "sync");
    return sync || term_is_atom(value, "default") ? set_durable(o, sync) : ERR_BADARG;
}

static enum err set_number(uint64_t *to, struct term *value, uint64_t least, uint64_t most)
{
    uint64_t v = term_uint64(value);
    if (value->bad || v < least || v > most)
        return ERR_BADARG;
    *to = v;
    return OK;
}

/* A bound: at least 1, or none. */
static enum err set_bound(uint64_t *to, struct term *value, uint64_t most)
{
    *to = 0;
    return term_is_atom(value, "infinity") ? OK : set_number(to, value, 1, most);
}

static enum err set_overflow(struct queue_options *to, struct term *value)
{
    to->drop_head = term_is_atom(value, "drop_head");
    return to->drop_head || term_is_atom(value, "reject") ? OK : ERR_BADARG;
}

/* As the other queue is opened by name later, so is its name settled here. */
static enum err set_dead_letter(struct open *o, struct term *value, const struct paths *paths)
{
    char path[PATH_MAX];
    struct buf scratch;
    o->change->given |= QUEUE_DEAD_LETTER;
    if (term_is_atom(value, "none"))
        return OK;
    buf_init(&scratch, (size_t)PATH_MAX * 4);
    const struct span name = term_name(value, &scratch);
    enum err e = value->bad || scratch.failed ? ERR_BADARG : path_resolve(paths, name, path);
    buf_fini(&scratch);
    if (e == OK && strlen(path) > QUEUE_NAME_MOST)
        e = ERR_ENAMETOOLONG;
    if (e == OK)
        snprintf(o->change->to.dead_letter, sizeof o->change->to.dead_letter, "%.*s",
                 QUEUE_NAME_MOST, path);
    return e;
}

static enum err set_register(struct open *o, struct term *value)
{
    o->change->given |= QUEUE_REGISTERED;
    if (term_is_atom(value, "none"))
        return OK;
    return registry_name(term_any(value), o->change->to.registered) ? OK : ERR_BADARG;
}

static enum err set_queue_value(struct open *o, enum setting setting, struct term *value)
{
    struct queue_options *to = &o->change->to;
    uint64_t attempts = 0;
    enum err e;
    switch (setting) {
    case MAX_ITEMS:
        o->change->given |= QUEUE_MAX_ITEMS;
        return set_bound(&to->max_items, value, INT64_MAX);
    case MAX_BYTES:
        o->change->given |= QUEUE_MAX_BYTES | QUEUE_FIXED_SIZE;
        return set_bound(&to->max_bytes, value, INT64_MAX);
    case LEASE_MS:
        o->change->given |= QUEUE_LEASE_MS;
        return set_bound(&to->lease_ms, value, INT64_MAX);
    case MAX_ATTEMPTS:
        o->change->given |= QUEUE_MAX_ATTEMPTS;
        e = set_bound(&attempts, value, ATTEMPTS_MOST);
        to->max_attempts = (uint32_t)attempts;
        return e;
    case OVERFLOW: o->change->given |= QUEUE_OVERFLOW; return set_overflow(to, value);
    case DEAD_LETTER: return set_dead_letter(o, value, o->paths);
    case REGISTER: return set_register(o, value);
    default: return ERR_BADARG;
    }
}

static enum err set_value(struct open *o, enum setting setting, struct term *value)
{
    struct opening *f = &o->opening;
    uint64_t mode = 0;
    enum err e;
    switch (setting) {
    case SIZE: return set_number(&f->size, value, 0, INT64_MAX);
    case MAX_INC_SIZE: return set_number(&o->max_inc_size, value, 1, INT64_MAX);
    case CHMOD:
        e = set_number(&mode, value, 0, 0777);
        f->mode = (mode_t)mode;
        return e;
    case DURABILITY: return set_durability(o, value);
    case OWNER: return set_owner(o, value);
    default: return set_queue_value(o, setting, value);
    }
}

static enum err set_flag(struct open *o, enum setting setting)
{
    struct opening *f = &o->opening;
    switch (setting) {
    case READ:
        if (f->kind == OBJECT_COUNTERS)
            f->write = false;
        return OK;
    case WRITE: f->write = true; return OK;
    case CREATE: f->create = true; return OK;
    case TRUNCATE: f->truncate = true; return OK;
    case PRIVATE: f->sharing = MAP_COPY; return OK;
    case ANON: f->sharing = MAP_MEMORY; return OK;
    case FIT: f->fit = true; return OK;
    case FIXED_SIZE: o->fixed_size = true; return OK;
    case AUTO_UNLINK: o->auto_unlink = true; return OK;
    case POPULATE: f->populate = true; return OK;
    case SYNC: return set_durable(o, true);
    case REFUSED_HERE: return ERR_ENOTSUP;
    default: return OK;
    }
}

static enum err set_option(struct open *o, struct term *t)
{
    char name[TERM_ATOM_BYTES];
    const bool pair = term_tag(t) == ERL_SMALL_TUPLE_EXT;
    if (pair && term_tuple(t) != 2)
        return ERR_BADARG;
    term_atom(t, name);
    const struct option *row = option_named(name, o->opening.kind);
    if (t->bad || row == NULL)
        return ERR_BADARG;
    if (!is_flag(row->setting))
        return pair ? set_value(o, row->setting, t) : ERR_BADARG;
    if (pair && term_is_atom(t, "false"))
        return OK;
    if (pair && !term_is_atom(t, "true"))
        return ERR_BADARG;
    return set_flag(o, row->setting);
}

static void reply_bad_option(struct buf *out, struct span option)
{
    reply_tuple(out, 2);
    reply_atom(out, "error");
    reply_tuple(out, 2);
    reply_atom(out, "bad_option");
    reply_raw(out, option);
}

static bool fail(struct call *c, enum err e)
{
    reply_error(c->out, e);
    return false;
}

static bool set_options(struct call *c, struct open *o, struct span list)
{
    struct term t = term_in(list);
    const int n = term_list(&t);
    for (int i = 0; i < n && !t.bad; i++) {
        struct span one = term_any(&t);
        struct term option = term_in(one);
        enum err e = set_option(o, &option);
        if (e == ERR_BADARG)
            reply_bad_option(c->out, one);
        else if (e != OK)
            reply_error(c->out, e);
        if (e != OK)
            return false;
    }
    if (n > 0)
        term_list_end(&t);
    return t.bad ? fail(c, ERR_BADARG) : true;
}

static const char *inconsistent(const struct open *o)
{
    const struct opening *f = &o->opening;
    if (o->durable && f->sharing != MAP_OF_FILE)
        return "durability";
    if (f->write || (!f->create && !f->truncate))
        return NULL;
    return f->create ? "create" : "truncate";
}

/* What makes or changes a file has to be able to write to it; only a file can be durable. */
static bool consistent(struct call *c, const struct open *o)
{
    const char *wrong = inconsistent(o);
    if (wrong == NULL)
        return true;
    reply_tuple(c->out, 2);
    reply_atom(c->out, "error");
    reply_tuple(c->out, 2);
    reply_atom(c->out, "bad_option");
    reply_atom(c->out, wrong);
    return false;
}

/* What `room` holds: the change, which has so many bytes, the path likewise, the owner. */
static void place(struct open *o, size_t change, size_t path)
{
    static struct queue_change none; /* nobody writes to it */
    o->change = change == 0 ? &none : (struct queue_change *)(void *)o->room;
    o->path = o->room + change;
    o->owner = o->path + path;
}

/* A copy of no more than is needed, for many may wait in lines; `o` is no more. NULL without
 * memory. */
static struct open *fitted(struct open *o)
{
    const size_t change = o->opening.queue == NULL ? 0 : sizeof *o->change;
    const size_t path = strlen(o->path) + 1;
    struct open *f = malloc(sizeof *f + change + path + o->owner_len);
    if (f != NULL) {
        *f = *o;
        place(f, change, path);
        f->opening.path = f->path;
        f->opening.queue = change == 0 ? NULL : f->change;
        memcpy(f->room, o->change, change);
        memcpy(f->path, o->path, path);
        memcpy(f->owner, o->owner, o->owner_len);
    }
    free(o);
    return f;
}

static struct open *open_new(const struct server *s)
{
    struct open *o = calloc(1, sizeof *o + sizeof *o->change + PATH_MAX + PATH_MAX);
    if (o == NULL)
        return NULL;
    place(o, sizeof *o->change, PATH_MAX);
    o->paths = s->paths;
    o->max_inc_size = MAX_INC_SIZE_USUAL;
    o->opening = (struct opening){.path = o->path,
                                  .kind = OBJECT_REGION,
                                  .sharing = MAP_OF_FILE,
                                  .any_file_system = s->options.any_file_system,
                                  .mode = 0600,
                                  .now_ms = server_now_ms(s),
                                  .node = s->options.node,
                                  .term_length = term_check,
                                  .journal = s->journal,
                                  .fd = -1};
    return o;
}

static void arguments_of_region(struct opening *f, const struct call *c)
{
    f->offset = c->args[1].u;
    f->len = c->args[2].u;
}

static void arguments_of_counters(struct opening *f, const struct call *c)
{
    f->kind = OBJECT_COUNTERS;
    f->n = c->args[1].u;
    f->write = true;
    f->create = f->n > 0;
}

/* Always made where it is missing. */
static void arguments_of_queue(struct open *o)
{
    struct opening *f = &o->opening;
    f->kind = OBJECT_QUEUE;
    f->write = true;
    f->create = true;
    f->queue = o->change;
}

/* Now the size is known to be a bound, or not. */
static bool bound_by_size(struct call *c, struct open *o)
{
    struct queue_options *to = &o->change->to;
    if (!o->fixed_size)
        return true;
    if (c->args[1].u == 0 || c->args[1].u > INT64_MAX)
        return fail(c, ERR_BADARG);
    o->change->given |= QUEUE_MAX_BYTES | QUEUE_OVERFLOW | QUEUE_FIXED_SIZE;
    to->max_bytes = c->args[1].u;
    to->drop_head = false;
    to->fixed_size = true;
    return true;
}

static bool read_arguments(struct call *c, struct open *o)
{
    const bool counters = c->op->kind == OBJECT_COUNTERS;
    if (counters)
        arguments_of_counters(&o->opening, c);
    else if (c->op->kind == OBJECT_QUEUE)
        arguments_of_queue(o);
    else
        arguments_of_region(&o->opening, c);
    if (o->opening.n > COUNTER_MOST || o->opening.len > INT64_MAX)
        return fail(c, ERR_BADARG);
    if (c->op->args[c->argc - 1] == 'l' && !set_options(c, o, c->args[c->argc - 1].bytes))
        return false;
    if (counters && !o->opening.write)
        o->opening.create = false;
    if (o->opening.kind == OBJECT_QUEUE && !bound_by_size(c, o))
        return false;
    if (!consistent(c, o))
        return false;
    if (o->opening.sharing == MAP_MEMORY)
        return true;
    enum err e = path_resolve(c->server->paths, c->args[0].bytes, o->path);
    return e == OK ? true : fail(c, e);
}

bool open_of_call(struct call *c, struct open **made)
{
    struct open *o = open_new(c->server);
    if (o == NULL)
        return fail(c, ERR_ENOMEM);
    if (!read_arguments(c, o)) {
        free(o);
        return false;
    }
    *made = fitted(o);
    return *made != NULL || fail(c, ERR_ENOMEM);
}

struct open *open_of_name(struct server *s, const char *path)
{
    struct open *o = open_new(s);
    if (o == NULL)
        return NULL;
    o->opening.by_name = true;
    o->opening.write = true;
    snprintf(o->path, PATH_MAX, "%s", path);
    return fitted(o);
}
