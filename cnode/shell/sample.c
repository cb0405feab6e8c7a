#include "shell/sample.h"

#include "shell/map.h"
#include "sys/hash.h"

enum { LEAST_MS = 900 }; /* the timer of top() is not exact */

struct sample {
    uint64_t key;
    uint64_t counts[SAMPLE_COUNTS];
};

static const char *const keys[SAMPLE_COUNTS] = {"ops", "bytes_in", "bytes_out", "pushed", NULL};

void samples_fini(struct samples *s)
{
    free(s->all);
    *s = (struct samples){.all = NULL};
}

static uint64_t count_of(struct span info, enum sample_of what)
{
    return what == SAMPLE_POPPED ? map_number(info, "popped") + map_number(info, "acked")
                                 : map_number(info, keys[what]);
}

static uint64_t key_of(struct span info)
{
    const struct span name = map_get(info, "name");
    return hash_bytes(0, name.at, name.len);
}

static int compare(const void *a, const void *b)
{
    const struct sample *one = a;
    const struct sample *other = b;
    return one->key < other->key ? -1 : one->key > other->key;
}

bool samples_rate(const struct samples *s, struct span info, enum sample_of what, uint64_t now_ms,
                  uint64_t *rate)
{
    const struct sample key = {.key = key_of(info)};
    const struct sample *then =
        s->n == 0 ? NULL : bsearch(&key, s->all, s->n, sizeof *s->all, compare);
    const uint64_t now = count_of(info, what);
    if (then == NULL || now < then->counts[what] || now_ms <= s->ms)
        return false; /* new, or opened anew since then */
    *rate = (now - then->counts[what]) * 1000 / (now_ms - s->ms);
    return true;
}

void samples_take(struct samples *s, struct span list, uint64_t now_ms)
{
    struct term t = term_in(list);
    const int n = term_list(&t);
    if (s->all != NULL && now_ms < s->ms + LEAST_MS)
        return;
    struct sample *all = calloc((size_t)n + 1, sizeof *all);
    if (all == NULL || t.bad) {
        free(all);
        return;
    }
    for (int i = 0; i < n; i++) {
        const struct span info = term_any(&t);
        all[i].key = key_of(info);
        for (int what = 0; what < SAMPLE_COUNTS; what++)
            all[i].counts[what] = count_of(info, (enum sample_of)what);
    }
    qsort(all, (size_t)n, sizeof *all, compare);
    free(s->all);
    *s = (struct samples){.all = all, .n = (size_t)n, .ms = now_ms};
}
