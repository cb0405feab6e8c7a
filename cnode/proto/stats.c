#include "proto/stats.h"

uint64_t stats_ops(const struct stats *s)
{
    uint64_t all = 0;
    for (int i = 0; i < STATS_POWERS; i++)
        all += s->latency[i];
    return all;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void stats_add(struct stats *many, const struct stats *one)
{
    many->errors += one->errors;
    many->bytes_in += one->bytes_in;
    many->bytes_out += one->bytes_out;
    many->sum_ns += one->sum_ns;
    many->max_ns = larger(many->max_ns, one->max_ns);
    many->last_ns = larger(many->last_ns, one->last_ns);
    for (int i = 0; i < STATS_POWERS; i++)
        many->latency[i] += one->latency[i];
}

uint64_t stats_percentile_us(const struct stats *s, unsigned part)
{
    const uint64_t all = stats_ops(s);
    uint64_t below = 0;
    for (int i = 0; i < STATS_POWERS; i++) {
        below += s->latency[i];
        if (below > 0 && below * 1000 >= all * part) {
            const uint64_t end_ns = (uint64_t)2 << i;
            return ((end_ns < s->max_ns ? end_ns : s->max_ns) + 999) / 1000;
        }
    }
    return 0;
}

uint64_t stats_max_us(const struct stats *s)
{
    return s->max_ns / 1000 + (s->max_ns % 1000 != 0);
}
