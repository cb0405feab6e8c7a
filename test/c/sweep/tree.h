/* Names and attributes of the simulated files: the directory /d, where the objects are, and
 * /d/.emmap with the journal; what of them is on the medium. The rest of the table `os`. */
#ifndef SWEEP_TREE_H
#define SWEEP_TREE_H

#include "sweep/disk.h"

enum { TREE_NODES = 48, TREE_NAMES = 24, TREE_NAME = 40, TREE_VERSIONS = 12, TREE_PARTS = 5 };

/* The journal's. Length 0: none. */
struct attribute {
    uint32_t len;
    uint8_t bytes[48];
};

/* A file. Descriptors of it have its number. */
struct node {
    struct disk_file *disk;
    struct attribute marks[TREE_VERSIONS]; /* the first is on the medium, the last is now */
    unsigned n_marks;
    bool unsynced; /* the other attribute: a sync has failed */
};

struct name {
    char text[TREE_NAME];
    unsigned node;
};

/* What is in /d/.emmap. */
struct names {
    unsigned n;
    struct name list[TREE_NAMES];
};

struct tree {
    bool has_journal, journal_is_durable; /* the directory itself */
    struct names versions[TREE_VERSIONS]; /* as those of a mark */
    unsigned n_versions;
    struct name parts[TREE_PARTS]; /* what is in /d */
    struct node nodes[TREE_NODES]; /* 0 is none */
};

/* That which lives; an image; a copy of it to be opened. */
extern struct tree tree_live, tree_image, tree_scratch;

/* tree_begin directs `os` here, after disk_begin. tree_clear: nothing is there. */
void tree_begin(void);
void tree_clear(struct tree *t);

/* A file in /d of a tree that is clear; it is given its descriptor. */
void tree_add(struct tree *t, unsigned part, const char *name, struct disk_file *f, uint32_t most);

/* Which tree names are looked up in. */
void tree_use(struct tree *t);
bool tree_is_used(const struct tree *t);

/* Nothing of the tree that lives can be changed: its daemon is no more. */
void tree_freeze(bool is_frozen);

/* No sync of the journal's files is to fail any more. */
void tree_forgive(void);

/* tree_take: tree_image is what a cut of the power, or of the daemon's life, leaves of the one that
 * lives. tree_open: tree_scratch is a copy of it. tree_become: it is the one that lives. */
void tree_take(bool power);
void tree_open(void);
void tree_become(bool power);

/* By its name in /d/.emmap; NULL: no such file. */
struct node *tree_find(struct tree *t, const char *name);

const struct attribute *tree_mark(const struct node *n);
void tree_set_mark(struct node *n, const struct attribute *mark);

#endif
