/* The bytes of queue files, block files and the journal; FORMAT.md, sections 2, 4 and 5, says what
 * they mean. Words in files and in memory are little-endian both (put.c insists). */
#ifndef STORE_FORMAT_H
#define STORE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define QUEUE_MAGIC "EMMAPQ1\n"

enum { QUEUE_VERSION = 1, QUEUE_PAGES = 5 }; /* superblock, two slots, two options pages */

struct superblock {
    char magic[8];
    uint32_t version;
    uint32_t granule;
    uint8_t uuid[16];
    uint64_t created;
    uint8_t zero[16];
    uint64_t hash;
};

struct log_fields {
    uint64_t base;
    uint64_t head;
    uint64_t head_seq;
    uint64_t tail;
    uint64_t tail_seq;
    uint32_t n_extents;
    uint32_t zero;
};

/* A header slot begins so; extents follow, the hash stands in the last word of the page. */
struct slot_fields {
    uint64_t slot_seq;
    uint32_t epoch;
    uint32_t flags;
    uint64_t front_pos;
    uint64_t front_seq;
    struct log_fields logs[2]; /* main, shelf */
    uint64_t last;
    uint64_t zero1[2];
    uint64_t popped;
    uint64_t acked;
    uint64_t dropped;
    uint64_t dead;
    uint64_t damaged;
    uint64_t zero2[8];
};

enum { SLOT_CLOSED_CLEANLY = 1 };

struct extent_fields {
    uint32_t granule;
    uint32_t count;
};

/* An options page begins so; the two names follow, the hash stands in the last word. */
struct options_fields {
    uint64_t opt_seq;
    uint64_t max_items;
    uint64_t max_bytes;
    uint64_t lease_ms;
    uint32_t max_attempts;
    uint32_t overflow;
    uint32_t flags;
    uint16_t dead_letter_len;
    uint16_t registered_len;
};

enum { OPTION_DURABLE = 1, OPTION_FIXED_SIZE = 2 };

struct record_fields {
    uint32_t length;
    uint32_t kind;
    uint64_t seq;
    uint64_t time;
    uint32_t back;
    uint32_t epoch;
    uint32_t payload_hash;
    uint32_t header_hash;
    uint64_t state;
};

enum record_kind { RECORD_ITEM = 1, RECORD_JUMP = 2, RECORD_MOVED = 3 };

/* What stands before the item in the payload of RECORD_MOVED. */
struct origin_fields {
    uint8_t uuid[16];
    uint64_t seq;
    uint64_t attempts;
};

/* The bytes of a record that its header hash covers; what a JUMP takes at the end of an extent. */
enum { RECORD_HASHED = 36, JUMP_BYTES = 56 };

#define RECORD_LONGEST ((1U << 30) + 64)

enum { STATE_AVAILABLE = 0, STATE_DONE = 1, STATE_BURIED = 2 };
enum { ATTEMPTS_MOST = 1023 };

#define UNTIL_MOST ((UINT64_C(1) << 28) - 1)

/* Positions, numbers of items and of groups are less. Nothing comes so far: what is added to them
 * need not be checked for wrapping, as long as nothing is written that is not less, either. */
#define TOO_FAR (UINT64_C(1) << 62)

/* --- blocks ---------------------------------------------------------------------------------- */

#define BLOCK_MAGIC "EMMAPB1\n"

enum { BLOCK_VERSION = 1, BLOCK_PAGE = 4096, BLOCK_SLOTS = 8 * BLOCK_PAGE /* of a group */ };

/* A file begins so; the groups follow at BLOCK_PAGE. */
struct block_header {
    char magic[8];
    uint32_t version;
    uint32_t block_size;
    uint8_t uuid[16];
    uint64_t created;
    uint8_t zero[16];
    uint64_t hash;
};

_Static_assert(sizeof(struct block_header) == 64, "5");
_Static_assert(offsetof(struct block_header, uuid) == 16 &&
                   offsetof(struct block_header, hash) == 56,
               "5");

/* --- the journal ----------------------------------------------------------------------------- */

#define JOURNAL_MAGIC "EMMAPJ1\n"

enum { JOURNAL_VERSION = 1, JOURNAL_UUID = 16 };

/* A half begins so. */
struct half_fields {
    char magic[8];
    uint32_t version;
    uint32_t zero;
    uint8_t uuid[JOURNAL_UUID];
    uint64_t generation;
    uint64_t size;
    uint64_t first_group;
    uint64_t hash;
};

/* A group begins so; its records follow. */
struct group_fields {
    uint64_t number;
    uint64_t len; /* of the records */
    uint32_t count;
    uint32_t zero;
    uint64_t hash;
};

/* A record begins so; its data follow, and zeros to a multiple of 8. */
struct entry_fields {
    uint32_t serial;
    uint32_t kind;
    uint64_t offset;
    uint32_t len;
    uint32_t zero;
};

enum entry_kind { ENTRY_WRITE = 1, ENTRY_OPEN = 2, ENTRY_FLOOR = 3, ENTRY_CLOSE = 4 };

_Static_assert(sizeof(struct half_fields) == 64, "4.2");
_Static_assert(offsetof(struct half_fields, generation) == 32, "4.2");
_Static_assert(sizeof(struct group_fields) == 32, "4.2");
_Static_assert(offsetof(struct group_fields, hash) == 24, "4.2");
_Static_assert(sizeof(struct entry_fields) == 24, "4.2");

_Static_assert(sizeof(struct superblock) == 64, "2.1");
_Static_assert(offsetof(struct superblock, uuid) == 16 && offsetof(struct superblock, hash) == 56,
               "2.1");
_Static_assert(sizeof(struct log_fields) == 48, "2.1");
_Static_assert(offsetof(struct slot_fields, logs) == 32, "2.1");
_Static_assert(offsetof(struct slot_fields, last) == 128, "2.1");
_Static_assert(offsetof(struct slot_fields, popped) == 152, "2.1");
_Static_assert(sizeof(struct slot_fields) == 256, "2.1");
_Static_assert(sizeof(struct extent_fields) == 8, "2.1");
_Static_assert(sizeof(struct options_fields) == 48, "2.1");
_Static_assert(sizeof(struct record_fields) == 48, "2.1");
_Static_assert(offsetof(struct record_fields, header_hash) == RECORD_HASHED, "2.1");
_Static_assert(offsetof(struct record_fields, state) == 40, "2.1");
_Static_assert(sizeof(struct origin_fields) == 32, "2.1");

#endif
