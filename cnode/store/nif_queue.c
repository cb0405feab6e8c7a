#include "store/nif_queue.h"

#include <errno.h>

#include "store/format.h"
#include "sys/os.h"

enum {
    HEADER = 16,
    SIZES = 8, /* the two around a term */
    LEAST = SIZES + 2,
    VERSION = 131,
    COMPRESSED = 80,
    COMPRESSED_LEAST = 14, /* version, tag, size, and what zlib makes of nothing */
    WINDOW = 1 << 20
};

#define RECORD_MOST (RECORD_LONGEST + SIZES + 8)

/* The beginning of {'$emmap_zip', Binary}. It takes the place of what stands before the term. */
static const uint8_t zip_head[] = {104, 2,   119, 10,  '$', 'e', 'm', 'm',
                                   'a', 'p', '_', 'z', 'i', 'p', 109};

enum { ZIP_HEAD = sizeof zip_head + 4, BEFORE = 16 };
_Static_assert(ZIP_HEAD <= BEFORE + 4, "before the window, and the size that was read");

/* --- a window on the file -------------------------------------------------------------------- */

static uint8_t *at_pos(const struct nif_queue *f)
{
    return f->window.at + BEFORE + (f->pos - f->from);
}

/* Reads until `end`; ERR_NOT_QUEUE: another program has cut the file. */
static enum err fill(struct nif_queue *f, uint64_t end)
{
    while (f->to < end) {
        uint8_t *to = f->window.at + BEFORE + (f->to - f->from);
        const ssize_t n = os.read_at(f->fd, to, (size_t)(end - f->to), (off_t)f->to);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? ERR_NOT_QUEUE : err_last();
        f->to += (uint64_t)n;
    }
    return OK;
}

/* The next `len` bytes, which are not beyond the tail, are in the window. */
static enum err load(struct nif_queue *f, uint64_t len)
{
    if (f->to - f->pos >= len)
        return OK;
    uint64_t n = f->tail - f->pos;
    if (n > WINDOW)
        n = len > WINDOW ? len : WINDOW;
    f->from = f->to = f->pos;
    return buf_grow(&f->window, BEFORE + n) == NULL ? ERR_ENOMEM : fill(f, f->pos + n);
}

/* --- records --------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *at, uint64_t len)
{
    while (len > 0 && at[len - 1] == 0)
        len--;
    return len == 0;
}

/* A compressed term cannot be walked. Two lengths, 4 apart, may need the same room: it is the
 * longer, unless that would end with four zeros, which are padding then. */
static uint64_t compressed_length(const uint8_t *term, uint64_t room)
{
    const uint64_t len = room - room % 8 / 2;
    return is_zero(term + len - 4, 4) ? len - 4 : len;
}

static bool is_compressed(const uint8_t *term)
{
    return term[1] == COMPRESSED;
}

/* The length of the term that stands with its padding in so many bytes; 0: none does. */
static uint64_t length_in(const struct nif_queue *f, const uint8_t *term, uint64_t room)
{
    uint64_t len = 0;
    if (term[0] != VERSION)
        return 0;
    if (!is_compressed(term))
        len = f->length(span_of(term + 1, room - 1)) + 1;
    else if (room >= COMPRESSED_LEAST)
        len = compressed_length(term, room);
    const bool least = len >= (is_compressed(term) ? COMPRESSED_LEAST : 2);
    const bool fits = least && len + len % 8 == room && is_zero(term + len, room - len);
    return fits && !(is_compressed(term) && is_zero(term + len - 4, 4)) ? len : 0;
}

static struct span item_of(uint8_t *term, uint64_t len)
{
    if (!is_compressed(term))
        return span_of(term + 1, len - 1);
    uint8_t *item = term - ZIP_HEAD;
    memcpy(item, zip_head, sizeof zip_head);
    put_be32(item + sizeof zip_head, (uint32_t)len);
    return span_of(item, ZIP_HEAD + len);
}

enum err nif_queue_next(struct nif_queue *f, struct span *item)
{
    const uint64_t left = f->tail - f->pos;
    if (left < LEAST)
        return left == 0 ? ERR_EMPTY : ERR_NOT_QUEUE;
    enum err e = load(f, LEAST);
    if (e != OK)
        return e;
    const uint32_t size = get_be32(at_pos(f));
    if (size < LEAST || size > left)
        return ERR_NOT_QUEUE;
    e = size > RECORD_MOST ? ERR_MAX_FRAME : load(f, size);
    if (e != OK)
        return e;
    uint8_t *record = at_pos(f);
    const uint64_t len = length_in(f, record + 4, size - SIZES);
    if (len == 0 || get_be32(record + size - 4) != size)
        return ERR_NOT_QUEUE;
    *item = item_of(record + 4, len);
    f->pos += size;
    return OK;
}

/* --- the file -------------------------------------------------------------------------------- */

/* Of our files, whatever their kind and version. */
static bool is_ours(const uint8_t *header)
{
    return memcmp(header, "EMMAP", 5) == 0;
}

enum err nif_queue_open(struct nif_queue *f, int fd, term_length *length)
{
    uint8_t header[HEADER];
    struct stat st;
    const ssize_t n = os_read_all(fd, header, sizeof header, 0);
    if (n < 0 || os.fstat(fd, &st) != 0)
        return err_last();
    if (n < HEADER || is_ours(header))
        return ERR_NOT_QUEUE;
    *f = (struct nif_queue){
        .fd = fd, .length = length, .head = get_be32(header + 4), .tail = get_be32(header + 8)};
    if (f->head < HEADER || f->tail < f->head || f->tail > (uint64_t)st.st_size)
        return ERR_NOT_QUEUE;
    buf_init(&f->window, BEFORE + RECORD_MOST);
    nif_queue_rewind(f);
    return OK;
}

/* What is in the window may have been written over: it is read again. */
void nif_queue_rewind(struct nif_queue *f)
{
    f->pos = f->from = f->to = f->head;
}

void nif_queue_close(struct nif_queue *f)
{
    buf_fini(&f->window);
}
