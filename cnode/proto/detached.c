#include "proto/detached.h"

#include "sys/log.h"
#include "sys/os.h"

void detached_note(struct entry *e)
{
    if (!atomic_exchange(&e->detached, true))
        log_warning("%s \"%s\": the name leads to another file by now, or to none; who has it open "
                    "goes on with the old file",
                    entry_kind_name(e->object.kind), e->path);
}

/* Memory and private copies are no file of a name. */
static bool has_file(const struct entry *e)
{
    return e->object.ino != 0;
}

static bool leads_elsewhere(const struct entry *e)
{
    int fd;
    struct stat st;
    const enum err e_open = path_open(e->server->paths, e->path, 0, &fd);
    if (e_open != OK)
        return e_open == ERR_ENOENT || e_open == ERR_NOT_REGULAR;
    const bool other =
        os.fstat(fd, &st) == 0 && (st.st_dev != e->object.dev || st.st_ino != e->object.ino);
    os.close(fd);
    return other;
}

void detached_look(struct entry *e)
{
    if (!has_file(e))
        return;
    if (leads_elsewhere(e))
        detached_note(e);
    else
        e->detached = false;
}

bool detached_is(struct entry *e)
{
    struct stat st;
    if (!e->busy && !e->detached && e->object.kind != OBJECT_CLOSED && has_file(e) &&
        os.fstat(e->object.map.fd, &st) == 0 && st.st_nlink == 0)
        detached_note(e);
    return e->detached;
}
