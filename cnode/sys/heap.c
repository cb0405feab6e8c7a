#include "sys/heap.h"

#include <stdlib.h>

#include "sys/bytes.h"

bool heap_reserve(struct heap *h, size_t n)
{
    if (n <= h->cap)
        return true;
    const size_t cap = n < 16 ? 16 : n * 2;
    struct heap_node **nodes = reallocarray(h->nodes, cap, sizeof(struct heap_node *));
    if (nodes == NULL)
        return false;
    h->nodes = nodes;
    h->cap = cap;
    return true;
}

void heap_fini(struct heap *h)
{
    free(h->nodes);
    *h = (struct heap){.n = 0};
}

static void place(struct heap *h, struct heap_node *node, size_t i)
{
    h->nodes[i] = node;
    node->at = i + 1;
}

static void rise(struct heap *h, struct heap_node *node, size_t i)
{
    while (i > 0 && node->key < h->nodes[(i - 1) / 2]->key) {
        place(h, h->nodes[(i - 1) / 2], i);
        i = (i - 1) / 2;
    }
    place(h, node, i);
}

static void sink(struct heap *h, struct heap_node *node, size_t i)
{
    for (size_t child = 2 * i + 1; child < h->n; child = 2 * i + 1) {
        if (child + 1 < h->n && h->nodes[child + 1]->key < h->nodes[child]->key)
            child++;
        if (node->key <= h->nodes[child]->key)
            break;
        place(h, h->nodes[child], i);
        i = child;
    }
    place(h, node, i);
}

void heap_add(struct heap *h, struct heap_node *node, uint64_t key)
{
    must(node->at == 0 && h->n < h->cap);
    node->key = key;
    rise(h, node, h->n++);
}

void heap_remove(struct heap *h, struct heap_node *node)
{
    if (node->at == 0)
        return;
    const size_t i = node->at - 1;
    struct heap_node *last = h->nodes[--h->n];
    node->at = 0;
    if (last == node)
        return;
    if (last->key < node->key)
        rise(h, last, i);
    else
        sink(h, last, i);
}

struct heap_node *heap_first(const struct heap *h)
{
    return h->n > 0 ? h->nodes[0] : NULL;
}
