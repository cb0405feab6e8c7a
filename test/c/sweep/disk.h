/* A disk that forgets: files in memory, what of them is on the medium, and what a power cut or a
 * kill could leave of them. The table `os` leads here while a sweep runs. */
#ifndef SWEEP_DISK_H
#define SWEEP_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "sys/map.h"

enum { DISK_SECTOR = 512, DISK_CAP = 40960, DISK_SECTORS = DISK_CAP / DISK_SECTOR };

/* A word as it was stored, or (at NO_WORD) a size that the file was given. */
struct word {
    uint32_t at;
    uint64_t value;
};

enum { NO_WORD = UINT32_MAX };

struct disk_file {
    int fd;
    uint32_t most; /* bytes that it can have, at most DISK_CAP */
    bool forgets;  /* for looking at images: stores are not noted, and no hook is called */
    uint8_t mapped[DISK_CAP]; /* what the engine sees */
    uint8_t seen[DISK_CAP];   /* the same, as far as the store under way has come */
    uint8_t kept[DISK_CAP];   /* the medium, as of the last sync that was completed */
    uint32_t seen_size;
    uint32_t kept_size;
    struct word *words; /* stored since */
    size_t n, cap;
    size_t mark; /* how many of them the sync under way covers */
    bool syncing;
    bool fails;              /* the next sync does: of what it covers only some is written */
    bool lost[DISK_SECTORS]; /* clean in the cache by a failed sync, and not on the medium */
};

/* Which of the unsynced stores a power cut keeps: of each sector any version; any words; all but a
 * few sectors; only a few sectors. */
enum cut { CUT_SECTOR, CUT_WORDS, CUT_ALL_BUT, CUT_ONLY, CUTS };

struct image {
    uint8_t bytes[DISK_CAP];
    uint32_t size;
};

/* disk_begin directs `os` and the stores of put.h to these files; disk_end takes it back. */
void disk_begin(void);
void disk_end(void);

/* Called after each word that is stored, and before and after each sync. */
extern void (*disk_hook)(void);

/* Called within each sync: what others store now it does not cover. */
extern void (*disk_beside)(struct disk_file *f);

/* An empty file, forgetting what it was. Descriptors are 1 to DISK_FILES - 1. */
enum { DISK_FILES = 128 };
void disk_make(struct disk_file *f, int fd, uint32_t most);

/* The file of a descriptor; disk_enter: of f->fd, it is this one. */
struct disk_file *disk_file_of(int fd);
void disk_enter(struct disk_file *f);

/* The mapping of a file. */
struct map disk_map(struct disk_file *f);

/* A sync that others run beside: it covers what is stored now, and ends with the call of `os`. */
void disk_sync_begin(struct disk_file *f);

/* Everything is on the medium. */
void disk_settle(struct disk_file *f);

/* What is there after a cut of the power, of the daemon's life. */
void disk_cut(const struct disk_file *f, enum cut how, struct image *image);
void disk_kill(const struct disk_file *f, struct image *image);

/* The file is what the image says: after a cut on the medium, too. */
void disk_become(struct disk_file *f, const struct image *image, bool power);

/* The one file for looking at images of one file. */
struct disk_file *disk_scratch(const struct image *image);

#endif
