/* Counts and times of one object. */
#ifndef PROTO_STATS_H
#define PROTO_STATS_H

#include <stdint.h>

enum { STATS_POWERS = 40 };

struct stats {
    uint64_t ops;
    uint64_t errors;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t max_ns;
    uint64_t last_ns;               /* when it was used last, uv_hrtime */
    uint32_t latency[STATS_POWERS]; /* requests that took 2^i to 2^(i+1) ns */
};

/* One request is done: it took from since_ns to now_ns. */
void stats_note(struct stats *s, uint64_t since_ns, uint64_t now_ns);

/* The upper end, in microseconds, of the power of two in which the part (of 1000) of all requests
 * lies, but at most the longest; 0 where there were none. */
uint64_t stats_percentile_us(const struct stats *s, unsigned part);

#endif
