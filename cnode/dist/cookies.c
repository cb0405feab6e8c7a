#include "dist/cookies.h"

#include "sys/secret.h"

struct peer_cookie {
    struct name node;
    struct cookie cookie;
};

bool cookies_add(struct cookies *c, const struct name *node, const char *path, char why[COOKIE_WHY])
{
    const size_t size = c->count * sizeof *c->peers;
    struct peer_cookie *longer = secret_new(size + sizeof *longer);
    if (longer == NULL) {
        snprintf(why, COOKIE_WHY, "no memory");
        return false;
    }
    longer[c->count].node = *node;
    if (!cookie_read(&longer[c->count].cookie, path, why)) {
        secret_free(longer, size + sizeof *longer);
        return false;
    }
    if (c->count > 0)
        memcpy(longer, c->peers, size);
    secret_free(c->peers, size);
    c->peers = longer;
    c->count++;
    return true;
}

void cookies_fini(struct cookies *c)
{
    secret_free(c->peers, c->count * sizeof *c->peers);
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
