/* A heap: of all members the one with the least key comes first. Members live in what they belong
 * to. Space is asked for beforehand, so that joining never fails. */
#ifndef SYS_HEAP_H
#define SYS_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    uint64_t key;
    size_t at; /* 0: in no heap, else its place + 1 */
};

struct heap {
    struct heap_node **nodes;
    size_t n;
    size_t cap;
};

/* All zeros is an empty heap. heap_reserve makes room for n members; false without memory. */
bool heap_reserve(struct heap *h, size_t n);
void heap_fini(struct heap *h);

/* The node is in no heap, and there is room. */
void heap_add(struct heap *h, struct heap_node *node, uint64_t key);

/* Nothing happens where the node is in no heap. */
void heap_remove(struct heap *h, struct heap_node *node);

/* NULL: it is empty. */
struct heap_node *heap_first(const struct heap *h);

#endif
