/* A mapped file, or memory without one. Address space is reserved once, so that growth is in
 * place; space on the disk is allocated before it is mapped, so that a store never finds it full.
 */
#ifndef SYS_MAP_H
#define SYS_MAP_H

#include "sys/bytes.h"
#include "sys/err.h"

enum map_sharing {
    MAP_OF_FILE, /* stores go to the file */
    MAP_COPY,    /* stores stay here (copy on write), the file is never changed */
    MAP_MEMORY   /* no file */
};

struct map {
    int fd; /* ours; -1: none */
    enum map_sharing sharing;
    bool writable;
    uint8_t *at;
    uint64_t size;     /* bytes that may be touched */
    uint64_t reserved; /* address space from `at` on */
    uint64_t charged;  /* what it has of the bytes that may be mapped in all */
    struct {
        uint64_t page; /* page number + 1 */
        int64_t until_ms;
    } warm[8]; /* pages lately seen in memory, by page number modulo 8 */
};

/* map_limit: no map is longer than `one`, all of this process together than `all`; before the first
 * is opened. Without it there is no limit. What is longer is refused, ERR_MAX_OBJECT_BYTES,
 * ERR_MAX_MAPPED, and nothing is changed. */
void map_limit(uint64_t one, uint64_t all);

/* map_admit: might a map of so many bytes be opened now? For what must not be made in vain. */
enum err map_admit(uint64_t size);

/* The bytes of all maps. */
uint64_t map_bytes(void);

/* map_open maps size bytes of the file, which it has. It takes the descriptor over, also on
 * failure. MAP_MEMORY takes fd -1. */
enum err map_open(struct map *m, int fd, uint64_t size, bool writable, enum map_sharing sharing);
void map_close(struct map *m);

/* map_allow_writes exchanges the read-only descriptor for a writable one of the same file. */
enum err map_allow_writes(struct map *m, int fd);

/* map_allocate makes sure that every byte of the file has its space on the disk. */
enum err map_allocate(struct map *m);

/* map_back makes sure that these bytes of the file have their space on the disk. */
enum err map_back(struct map *m, uint64_t pos, uint64_t len);

/* map_fetch brings the pages of a range into memory, as far as that can be done; map_prepare those
 * that will be stored into. Both may wait for the disk. */
void map_fetch(struct map *m, uint64_t pos, uint64_t len);
void map_prepare(struct map *m, uint64_t pos, uint64_t len);

/* map_resize makes the file (or the memory) size bytes long. New bytes are zero. On an error the
 * size and all bytes are what they were. */
enum err map_resize(struct map *m, uint64_t size);

/* map_clear takes all bytes out and makes it size bytes long, at most what it was. In between
 * nobody else gets the bytes that it may have. */
enum err map_clear(struct map *m, uint64_t size);

/* map_follow takes over a size that another program has given the file. */
enum err map_follow(struct map *m, uint64_t size);

/* map_sync: every store made before is on disk. map_write_back only starts that. */
enum err map_sync(struct map *m);
enum err map_write_back(struct map *m);

/* May these bytes be touched without waiting for a disk? */
bool map_resident(struct map *m, uint64_t pos, uint64_t len);

#endif
