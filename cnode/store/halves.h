/* The two files of the journal, each a sequence of groups of records (FORMAT.md 4.2): reading,
 * checking, appending. Who calls has them for himself. */
#ifndef STORE_HALVES_H
#define STORE_HALVES_H

#include "store/format.h"
#include "sys/bytes.h"
#include "sys/err.h"

/* Sizes of the format. A daemon uses 4096 and what it is told; crash tests small ones. */
struct journal_limits {
    uint32_t page;  /* groups begin at multiples of it */
    uint64_t half;  /* bytes of a file: a multiple of the page */
    uint64_t group; /* of a group, at most a quarter of a half */
    uint64_t piece; /* of one record; what is longer is better not recorded */
};

enum half_state { HALF_NEW, HALF_GOOD, HALF_BAD };

struct half {
    int fd;
    enum half_state state;
    uint8_t uuid[JOURNAL_UUID];
    uint64_t size;
    uint64_t generation;
    uint64_t first_group;
    uint64_t last_group; /* first_group - 1: none yet. Known after a walk */
    uint64_t end;        /* where the next goes; the same */
    bool torn;           /* its header is not whole; what it said follows from the groups */
    bool kept;           /* it has another name, too: not to be written any more */
};

struct halves {
    const struct journal_limits *limits;
    int dir;
    uint8_t uuid[JOURNAL_UUID];
    struct half half[2];
    unsigned current;      /* the newer */
    unsigned damaged_file; /* with ERR_DAMAGED */
};

enum { JOURNAL_WHY = 200 };

/* halves_open reads the headers of what is in the directory. ERR_ENOENT: there is no journal;
 * ERR_DAMAGED: `why` names file and offset. halves_make makes what is missing of the two, of
 * zeros. halves_close closes what is open. */
enum err halves_open(struct halves *h, int dir, const struct journal_limits *limits,
                     char why[JOURNAL_WHY]);
enum err halves_make(struct halves *h);
void halves_close(struct halves *h);

/* The halves that count, older first: how many. */
unsigned halves_in_order(const struct halves *h, unsigned order[2]);

/* One file of the journal, by name: that of a half, or one that was kept. HALF_BAD, too, where it
 * is no file of this journal. */
enum err half_open(struct halves *h, struct half *f, const char *name);

/* half_read reads the header of a file that is open, as half_open does. */
enum err half_read(struct halves *h, struct half *f);

/* A record as it was read. */
struct entry_view {
    uint64_t group;
    struct entry_fields fields;
    struct span data;
};

/* halves_walk goes through all groups of a file and gives each record to `visit`, until that gives
 * an error; last_group and end are known then. `visit` NULL: none. */
typedef enum err entry_visit(void *arg, const struct entry_view *entry);
enum err halves_walk(const struct halves *h, struct half *f, entry_visit *visit, void *arg);

/* half_check walks to the end of a file: does a later group stand anywhere behind it? */
enum err half_check(const struct halves *h, struct half *f, bool *later);

/* halves_check walks those that count to their ends. ERR_DAMAGED: something is damaged
 * before; `why` names file and offset, *file and *offset are where to cut. */
enum err halves_check(struct halves *h, char why[JOURNAL_WHY], unsigned *file, uint64_t *offset);

/* halves_cut takes everything out from there on. Durable when it returns. */
enum err halves_cut(struct halves *h, unsigned file, uint64_t offset);

/* halves_mend takes one damaged place out of the journal in a directory, with all that comes after
 * it; `what` says what was done. ERR_EMPTY: there is none. */
enum err halves_mend(int dir, const struct journal_limits *limits, char what[JOURNAL_WHY]);

/* Does a group with so many bytes of records fit behind the last one? */
bool halves_fit(const struct halves *h, uint64_t len);

/* halves_append writes the group that stands in `group`, room for its fields first, up to a
 * multiple of a page, and syncs the file. */
enum err halves_append(struct halves *h, uint8_t *group, uint64_t number, uint64_t len,
                       uint32_t count);

/* halves_turn begins the other half, whose content is not needed any more: `step` generations
 * later, its first group will have this number. */
enum err halves_turn(struct halves *h, uint64_t step, uint64_t first_group);

/* halves_store_again writes the header of the newer half as it is. */
enum err halves_store_again(struct halves *h);

/* halves_wipe_later takes out of both halves, of which the newer was just begun, whatever could be
 * taken for a group that is still to come, of any generation: from then on numbers tell what is
 * left there from what is written. */
enum err halves_wipe_later(struct halves *h);

/* halves_keep gives a half the name kept-GENERATION-SERIAL, too, from then on it is not written
 * any more; halves_renew puts an empty file in its place. */
enum err halves_keep(struct halves *h, unsigned file, uint32_t serial);
enum err halves_renew(struct halves *h, unsigned file);

/* Bytes that a group of records takes in the file. */
uint64_t halves_size_of(const struct halves *h, uint64_t len);

#endif
