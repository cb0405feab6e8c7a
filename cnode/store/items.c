#include "store/items.h"

#include <stdlib.h>
#include <utlist.h>

void items_fini(struct items *all)
{
    for (size_t i = 0; i < all->n; i++)
        free(all->by_seq[i].item);
    struct item *item;
    struct item *next;
    LL_FOREACH_SAFE(all->free, item, next)
    free(item);
    free(all->by_seq);
    heap_fini(&all->ready);
    heap_fini(&all->delayed);
    *all = (struct items){.n = 0};
}

/* Closes the gaps of those that are gone. */
static void close_gaps(struct items *all)
{
    size_t n = 0;
    for (size_t i = all->first; i < all->n; i++)
        if (all->by_seq[i].item != NULL)
            all->by_seq[n++] = all->by_seq[i];
    all->first = 0;
    all->n = n;
}

static bool index_room(struct items *all)
{
    if (all->n < all->cap)
        return true;
    if (all->live < all->n / 2) {
        close_gaps(all);
        return true;
    }
    const size_t cap = all->cap < 32 ? 64 : all->cap * 2;
    struct numbered *by_seq = reallocarray(all->by_seq, cap, sizeof *by_seq);
    if (by_seq == NULL)
        return false;
    all->by_seq = by_seq;
    all->cap = cap;
    return true;
}

bool items_room(struct items *all)
{
    if (!index_room(all) || !heap_reserve(&all->ready, all->live + 1) ||
        !heap_reserve(&all->delayed, all->live + 1))
        return false;
    if (all->free == NULL) {
        struct item *item = calloc(1, sizeof *item);
        if (item == NULL)
            return false;
        LL_PREPEND(all->free, item);
        all->free_count++;
    }
    return true;
}

struct item *items_add(struct items *all, uint64_t seq, unsigned log, uint64_t pos, uint32_t size)
{
    struct item *item = all->free;
    must(item != NULL && all->n < all->cap);
    LL_DELETE(all->free, item);
    all->free_count--;
    *item = (struct item){.seq = seq,
                          .pos = pos,
                          .copy = NO_POSITION,
                          .size = size,
                          .log = log,
                          .state = ITEM_LEASED};
    all->by_seq[all->n++] = (struct numbered){.seq = seq, .item = item};
    all->live++;
    all->leased++;
    all->bytes[log] += size;
    DL_APPEND(all->logs[log], item);
    return item;
}

static int by_number(const void *a, const void *b)
{
    const struct numbered *x = a;
    const struct numbered *y = b;
    if (x->seq != y->seq)
        return x->seq > y->seq ? 1 : -1;
    if (x->item->log != y->item->log)
        return x->item->log > y->item->log ? 1 : -1;
    return (x->item->pos > y->item->pos) - (x->item->pos < y->item->pos);
}

void items_sort(struct items *all)
{
    close_gaps(all);
    if (all->n > 0)
        qsort(all->by_seq, all->n, sizeof *all->by_seq, by_number);
}

/* Out of what its state keeps it in. */
static void leave(struct items *all, struct item *item)
{
    switch (item->state) {
    case ITEM_READY:
        heap_remove(&all->ready, &item->node);
        all->ready_bytes -= item->size;
        break;
    case ITEM_DELAYED: heap_remove(&all->delayed, &item->node); break;
    case ITEM_LEASED: all->leased--; break;
    case ITEM_BURIED: all->buried--; break;
    }
}

void items_set(struct items *all, struct item *item, enum item_state state)
{
    leave(all, item);
    item->state = state;
    switch (state) {
    case ITEM_READY:
        heap_add(&all->ready, &item->node, item->seq);
        all->ready_bytes += item->size;
        break;
    case ITEM_DELAYED: heap_add(&all->delayed, &item->node, item->until); break;
    case ITEM_LEASED: all->leased++; break;
    case ITEM_BURIED: all->buried++; break;
    }
}

static void recycle(struct items *all, struct item *item)
{
    enum { FREE_MOST = 1024 };
    if (all->free_count >= FREE_MOST) {
        free(item);
        return;
    }
    LL_PREPEND(all->free, item);
    all->free_count++;
}

void items_remove(struct items *all, struct item *item)
{
    const size_t place = items_place(all, item->seq);
    must(all->by_seq[place].item == item);
    items_remove_at(all, place);
}

void items_remove_at(struct items *all, size_t place)
{
    struct item *item = all->by_seq[place].item;
    leave(all, item);
    all->by_seq[place].item = NULL;
    all->live--;
    while (all->first < all->n && all->by_seq[all->first].item == NULL)
        all->first++;
    while (all->n > all->first && all->by_seq[all->n - 1].item == NULL)
        all->n--;
    if (all->live == 0)
        all->first = all->n = 0;
    all->bytes[item->log] -= item->size;
    DL_DELETE(all->logs[item->log], item);
    recycle(all, item);
}

void items_shelve(struct items *all, struct item *item, uint64_t pos)
{
    all->bytes[item->log] -= item->size;
    DL_DELETE(all->logs[item->log], item);
    item->log = LOG_SHELF;
    item->pos = pos;
    item->copy = NO_POSITION;
    all->bytes[LOG_SHELF] += item->size;
    DL_APPEND(all->logs[LOG_SHELF], item);
}

size_t items_place(const struct items *all, uint64_t seq)
{
    size_t from = all->first;
    size_t to = all->n;
    while (from < to) {
        const size_t mid = from + (to - from) / 2;
        if (all->by_seq[mid].seq < seq)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

struct item *items_find(const struct items *all, uint64_t seq)
{
    const size_t i = items_place(all, seq);
    return i < all->n && all->by_seq[i].seq == seq ? all->by_seq[i].item : NULL;
}
