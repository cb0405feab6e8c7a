/* Erlang terms in the external format: first the bounded check of all bytes, then a cursor.
 * Nothing here trusts a length, recurses, or allocates. */
#ifndef PROTO_TERM_H
#define PROTO_TERM_H

#include "sys/buf.h"
#include "sys/bytes.h"

enum { TERM_IODATA_DEPTH = 256, TERM_ATOM_BYTES = 255 * 4 + 1 };

/* term_check walks one term at `at` without a version byte; its length in bytes, or 0 where it is
 * not whole, has an atom of over 255 characters or that is no UTF-8, is compressed, is of a kind
 * that does not travel (atom cache), or has a float, a bit string, a fun or an export that no
 * Erlang node can read. */
size_t term_check(struct span at);

/* A cursor over bytes that term_check has passed. `bad` sticks: set by the first read that finds
 * another type; reads after it yield zeros and change nothing. */
struct term {
    const char *buf;
    int index;
    int end;
    bool bad;
};

/* The bytes begin with the term, no version byte. */
struct term term_in(struct span checked);

/* The arity of the tuple, list (elements before the tail) or map (pairs); its elements come next.
 * A list's tail comes after them: term_list_end passes a proper one and is bad for any other.
 * term_list takes a list in any form; strings of bytes (STRING_EXT) are told
 * apart by term_tag before. */
int term_tuple(struct term *t);
int term_list(struct term *t);
void term_list_end(struct term *t);
int term_map(struct term *t);

/* term_atom writes the atom as zero-terminated UTF-8 into name[TERM_ATOM_BYTES]; "" where bad. */
void term_atom(struct term *t, char *name);

/* term_is_atom: is the next term this atom? Passes it only then; never bad. */
bool term_is_atom(struct term *t, const char *name);

int64_t term_int64(struct term *t);
uint64_t term_uint64(struct term *t);

/* The bytes of a binary, of a STRING_EXT; the raw bytes of any one term. Views, not copies. */
struct span term_binary(struct term *t);
struct span term_string(struct term *t);
struct span term_any(struct term *t);

/* The bytes of an iolist: a view where they stand together (a binary, a string), else copied to
 * `scratch`. One deeper than TERM_IODATA_DEPTH is bad. */
struct span term_iodata(struct term *t, struct buf *scratch);

/* The UTF-8 bytes of a name: a binary as it is, a string of code points encoded to `scratch`. */
struct span term_name(struct term *t, struct buf *scratch);

/* The raw name bytes of an atom, in whatever encoding it came. */
struct span term_atom_bytes(struct term *t);

/* The reference in the tag [alias|Ref] of a call; empty for any other tag. */
struct span term_alias(struct span tag);

/* The tag byte of the next term (see ei.h: ERL_BINARY_EXT, ...), 0 at the end. */
int term_tag(const struct term *t);

/* Is everything read, and nothing bad? */
bool term_done(const struct term *t);

#endif
