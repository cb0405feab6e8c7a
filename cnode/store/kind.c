#include "store/kind.h"

#include "store/counter.h"
#include "store/format.h"
#include "sys/os.h"

static const char *const names[] = {
    [FILE_REGION] = "region", [FILE_COUNTERS] = "counters",   [FILE_BLOCKS] = "blocks",
    [FILE_QUEUE] = "queue",   [FILE_NIF_QUEUE] = "nif_queue", [FILE_JOURNAL] = "journal",
};

const char *file_kind_name(enum file_kind kind)
{
    return names[kind];
}

enum { MAGIC = 8 };

static bool by_magic(const uint8_t magic[MAGIC], enum file_kind *kind)
{
    uint8_t counters[COUNTER_HEADER];
    counter_header(0, counters);
    if (memcmp(magic, QUEUE_MAGIC, MAGIC) == 0)
        *kind = FILE_QUEUE;
    else if (memcmp(magic, BLOCK_MAGIC, MAGIC) == 0)
        *kind = FILE_BLOCKS;
    else if (memcmp(magic, JOURNAL_MAGIC, MAGIC) == 0)
        *kind = FILE_JOURNAL;
    else if (memcmp(magic, counters, MAGIC) == 0)
        *kind = FILE_COUNTERS;
    else
        return false;
    return true;
}

/* A record that is longer than ours can be makes it no other kind of file. */
static enum err is_nif_queue(int fd, term_length *length, bool *is)
{
    struct nif_queue f;
    struct span item;
    enum err e = nif_queue_open(&f, fd, length);
    *is = false;
    if (e != OK)
        return e == ERR_NOT_QUEUE ? OK : e;
    do
        e = nif_queue_next(&f, &item);
    while (e == OK);
    nif_queue_close(&f);
    *is = e == ERR_EMPTY || e == ERR_MAX_FRAME;
    return *is || e == ERR_NOT_QUEUE ? OK : e;
}

enum err file_kind(int fd, term_length *length, enum file_kind *kind)
{
    uint8_t magic[MAGIC] = {0};
    bool is = false;
    if (os_read_all(fd, magic, sizeof magic, 0) < 0)
        return err_last();
    *kind = FILE_REGION;
    if (by_magic(magic, kind) || length == NULL)
        return OK;
    enum err e = is_nif_queue(fd, length, &is);
    if (is)
        *kind = FILE_NIF_QUEUE;
    return e;
}
