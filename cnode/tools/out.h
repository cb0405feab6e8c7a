/* What tools write to standard output: lines for people, or an object of JSON a line. */
#ifndef TOOLS_OUT_H
#define TOOLS_OUT_H

#include "store/check.h"
#include "sys/buf.h"

/* Bytes that a line may have beside a term. */
enum { OUT_LINE = 32768 };

/* One line at a time; what does not fit into its buffer is left out. */
struct out {
    bool json;
    bool has_field;
    struct buf line;
};

void out_init(struct out *o, bool json, size_t most);
void out_fini(struct out *o);

/* Fields of an object, between out_begin and out_end; in text `key: value` a line each. */
void out_begin(struct out *o);
void out_number(struct out *o, const char *key, uint64_t v);
void out_signed(struct out *o, const char *key, int64_t v);
void out_bool(struct out *o, const char *key, bool v);
void out_text(struct out *o, const char *key, struct span utf8); /* others chose it */
void out_word(struct out *o, const char *key, const char *word);
void out_hex(struct out *o, const char *key, struct span bytes);
void out_end(struct out *o);

/* out_flush writes the line and empties it. */
void out_flush(struct out *o);

/* out_finding: where it is and what is wrong, as "item 17 at byte 131120: ..." */
void out_finding(struct buf *line, enum file_kind kind, const struct check_finding *f);

#endif
