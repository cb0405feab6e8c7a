#include "dist/cookies.h"

struct peer_cookie {
    struct name node;
    struct cookie cookie;
};

bool cookies_add(struct cookies *c, const struct name *node, const char *path, char why[COOKIE_WHY])
{
    struct peer_cookie *longer = realloc(c->peers, (c->count + 1) * sizeof *longer);
    if (longer == NULL) {
        snprintf(why, COOKIE_WHY, "no memory");
        return false;
    }
    c->peers = longer;
    longer[c->count].node = *node;
    if (!cookie_read(&longer[c->count].cookie, path, why))
        return false;
    c->count++;
    return true;
}

void cookies_fini(struct cookies *c)
{
    free(c->peers);
    c->peers = NULL;
    c->count = 0;
}

struct span cookies_of(const struct cookies *c, const char *node)
{
    const struct cookie *its = &c->general;
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->peers[i].node.full, node) == 0)
            its = &c->peers[i].cookie;
    return span_of(its->bytes, its->len);
}
