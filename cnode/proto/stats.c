#include "proto/stats.h"

void stats_note(struct stats *s, uint64_t since_ns, uint64_t now_ns)
{
    const uint64_t ns = now_ns - since_ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns | 1);
    if (power >= STATS_POWERS)
        power = STATS_POWERS - 1;
    s->latency[power]++;
    s->ops++;
    s->last_ns = now_ns;
    if (ns > s->max_ns)
        s->max_ns = ns;
}

uint64_t stats_percentile_us(const struct stats *s, unsigned part)
{
    uint64_t all = 0;
    for (int i = 0; i < STATS_POWERS; i++)
        all += s->latency[i];
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
