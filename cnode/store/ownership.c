#include "store/ownership.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "sys/os.h"

/* --- links ----------------------------------------------------------------------------------- */

/* Is the other name NAME.nif, which a conversion gives before the new file gets the name? */
static bool is_kept_by_conversion(const struct paths *paths, const struct opening *o,
                                  const struct stat *st)
{
    char kept[PATH_MAX];
    struct stat other;
    int fd;
    const int len = snprintf(kept, sizeof kept, "%s.nif", o->path);
    if (o->kind != OBJECT_QUEUE || st->st_nlink != 2 || len >= (int)sizeof kept ||
        path_open(paths, kept, O_RDONLY | O_NOFOLLOW, &fd) != OK)
        return false;
    const bool same =
        os.fstat(fd, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
    os.close(fd);
    return same;
}

enum err ownership_check(const struct paths *paths, const struct opening *o)
{
    struct stat st;
    if (os.fstat(o->fd, &st) != 0)
        return os_error("fstat");
    if (st.st_nlink <= 1 || st.st_uid == geteuid() || !path_is_confined(paths, o->path) ||
        is_kept_by_conversion(paths, o, &st))
        return OK;
    return ERR_EACCES;
}

/* --- the lock -------------------------------------------------------------------------------- */

/* Node and process: `emmapd@host 1234`. */
static const char attribute[] = "user.emmap.owner";

/* Who shares a file leaves no name, and one that is there is of somebody who was killed. */
void ownership_read(int fd, char owner[OWNER_MOST])
{
    ssize_t n = -1;
    if (os.locked_alone(fd) == 1)
        n = os.get_attribute(fd, attribute, owner, OWNER_MOST - 1);
    owner[n > 0 ? n : 0] = '\0';
    owner[strcspn(owner, " ")] = '\0';
}

bool ownership_is_told(int fd)
{
    char text[OWNER_MOST];
    return os.get_attribute(fd, attribute, text, sizeof text) > 0;
}

static void write_owner(struct opening *o)
{
    char text[sizeof o->owner];
    o->unclean = ownership_is_told(o->fd);
    const int n = snprintf(text, sizeof text, "%s %d", o->node, (int)getpid());
    o->owned = n < (int)sizeof text && os.set_attribute(o->fd, attribute, text, (size_t)n) == 0;
}

enum err ownership_lock(struct opening *o, bool alone)
{
    if (o->sharing != MAP_OF_FILE)
        return OK;
    if ((alone ? os.lock_exclusive : os.lock_shared)(o->fd) != 0) {
        const enum err e = os_error("fcntl");
        if (e == ERR_LOCKED)
            ownership_read(o->fd, o->owner);
        return e;
    }
    if (alone && o->node != NULL)
        write_owner(o);
    return OK;
}

void ownership_end(const struct object *object)
{
    if (object->owned)
        (void)os.remove_attribute(object->map.fd, attribute);
}

void ownership_share(struct object *object)
{
    ownership_end(object);
    object->owned = false;
    (void)os.lock_shared(object->map.fd);
}
