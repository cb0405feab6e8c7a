/* Text for Prometheus (exposition format 0.0.4), appended to a buffer. A family of samples is its
 * head, then all of its samples; each sample has labels of its own, written once for all families.
 */
#ifndef PROTO_PROM_H
#define PROTO_PROM_H

#include "proto/stats.h"
#include "sys/buf.h"

/* The longest name, line apart from its labels, and head. */
enum { PROM_NAME = 60, PROM_LINE = 120, PROM_HEAD = 240 };

/* Lines of a histogram: powers of two from a microsecond to half a minute, and what they sum to. */
enum { PROM_FIRST_POWER = 9, PROM_LAST_POWER = 34 };
enum { PROM_HISTOGRAM = PROM_LAST_POWER - PROM_FIRST_POWER + 1 + 3 };

void prom_head(struct buf *out, const char *name, const char *type, const char *help);

/* prom_label appends key="value" to the labels that begin at `begin`. The value may hold any byte:
 * what is no UTF-8 becomes \xff as text. */
void prom_label(struct buf *labels, size_t begin, const char *key, struct span value);

/* The value is divided by 10^decimals: milliseconds, 3 decimals, are told as seconds. */
void prom_sample(struct buf *out, const char *name, struct span labels, uint64_t value,
                 unsigned decimals);

/* Latencies in seconds. */
void prom_histogram(struct buf *out, const char *name, struct span labels, const struct stats *s);

#endif
