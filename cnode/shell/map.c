#include "shell/map.h"

#include <ei.h>

struct span map_get(struct span map, const char *key)
{
    struct term t = term_in(map);
    const int pairs = term_map(&t);
    for (int i = 0; i < pairs && !t.bad; i++) {
        const bool found = term_is_atom(&t, key);
        if (!found)
            term_any(&t);
        const struct span value = term_any(&t);
        if (found)
            return value;
    }
    return span_of(NULL, 0);
}

uint64_t map_number(struct span map, const char *key)
{
    struct term t = term_in(map_get(map, key));
    return term_uint64(&t);
}

struct span map_text(struct span map, const char *key)
{
    struct term t = term_in(map_get(map, key));
    return term_tag(&t) == ERL_BINARY_EXT ? term_binary(&t) : term_atom_bytes(&t);
}

bool map_is(struct span map, const char *key, const char *atom)
{
    struct term t = term_in(map_get(map, key));
    return term_is_atom(&t, atom);
}
