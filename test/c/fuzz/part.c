#include "fuzz/part.h"

#include <ei.h>

#include "proto/term.h"

size_t part_head(struct span term)
{
    switch (term.at[0]) {
    case ERL_SMALL_TUPLE_EXT: return 2;
    case ERL_LARGE_TUPLE_EXT:
    case ERL_LIST_EXT:
    case ERL_MAP_EXT: return 5;
    default: return term_check(term);
    }
}

struct part part_count(struct span term)
{
    switch (term.at[0]) {
    case ERL_SMALL_TUPLE_EXT:
    case ERL_SMALL_ATOM_EXT:
    case ERL_SMALL_ATOM_UTF8_EXT:
    case ERL_SMALL_BIG_EXT: return (struct part){.at = 1, .len = 1};
    case ERL_ATOM_EXT:
    case ERL_ATOM_UTF8_EXT:
    case ERL_STRING_EXT:
    case ERL_NEW_REFERENCE_EXT:
    case ERL_NEWER_REFERENCE_EXT: return (struct part){.at = 1, .len = 2};
    case ERL_LARGE_TUPLE_EXT:
    case ERL_LIST_EXT:
    case ERL_MAP_EXT:
    case ERL_BINARY_EXT:
    case ERL_BIT_BINARY_EXT:
    case ERL_NEW_FUN_EXT:
    case ERL_LARGE_BIG_EXT: return (struct part){.at = 1, .len = 4};
    default: return (struct part){.at = 0, .len = 0};
    }
}

struct part part_pick(struct dice *d, struct span term, bool (*fits)(uint8_t tag))
{
    struct part chosen = {.at = 0, .len = term.len};
    uint64_t met = 0;
    for (size_t at = 0; at < term.len; at += part_head(span_of(term.at + at, term.len - at)))
        if ((fits == NULL || fits(term.at[at])) && dice_one_in(d, ++met))
            chosen.at = at;
    chosen.len = term_check(span_of(term.at + chosen.at, term.len - chosen.at));
    return chosen;
}
