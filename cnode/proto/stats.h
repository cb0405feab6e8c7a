/* Counts and times of one object, or of one peer. */
#ifndef PROTO_STATS_H
#define PROTO_STATS_H

#include <stdbool.h>
#include <stdint.h>

enum { STATS_POWERS = 40 };

struct stats {
    uint64_t errors;
    uint64_t bytes_in; /* of an object's; a peer's are its connection's */
    uint64_t bytes_out;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t last_ns;               /* when it was used last, uv_hrtime */
    uint64_t latency[STATS_POWERS]; /* requests that took 2^i to 2^(i+1) ns */
};

/* One request that has been answered. */
struct sample {
    uint64_t ns; /* what it took */
    uint64_t now_ns;
    unsigned power; /* its place in `latency` */
    bool failed;    /* the answer was an error */
};

static inline struct sample stats_sample(uint64_t ns, uint64_t now_ns, bool failed)
{
    unsigned power = 63 - (unsigned)__builtin_clzll(ns | 1);
    if (power >= STATS_POWERS)
        power = STATS_POWERS - 1;
    return (struct sample){.ns = ns, .now_ns = now_ns, .power = power, .failed = failed};
}

/* stats_note counts it, here and wherever else it belongs. */
static inline void stats_note(struct stats *s, const struct sample *one)
{
    s->latency[one->power]++;
    s->errors += one->failed;
    s->sum_ns += one->ns;
    s->last_ns = one->now_ns;
    if (one->ns > s->max_ns)
        s->max_ns = one->ns;
}

/* All that were noted. */
uint64_t stats_ops(const struct stats *s);

/* stats_add adds the counts and times of one to those of many. */
void stats_add(struct stats *many, const struct stats *one);

/* The upper end, in microseconds, of the power of two in which the part (of 1000) of all requests
 * lies, but at most the longest; 0 where there were none. */
uint64_t stats_percentile_us(const struct stats *s, unsigned part);

/* The longest, in microseconds. */
uint64_t stats_max_us(const struct stats *s);

#endif
