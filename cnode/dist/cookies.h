/* Which cookie a peer must prove: its own where it has one, else the general one. */
#ifndef DIST_COOKIES_H
#define DIST_COOKIES_H

#include "dist/cookie.h"
#include "dist/name.h"

struct peer_cookie;

/* All zero but `general`: no peer has its own. The peers' cookies are in memory for secrets;
 * whoever has this struct sees to it that so is the general one (sys/secret.h). */
struct cookies {
    struct cookie general;
    struct peer_cookie *peers;
    size_t count;
};

/* cookies_add reads the cookie of one node from a file, as cookie_read does. False: `why` says what
 * is wrong, and nothing has changed. */
bool cookies_add(struct cookies *c, const struct name *node, const char *path,
                 char why[COOKIE_WHY]);

/* cookies_fini wipes those of the peers. */
void cookies_fini(struct cookies *c);

/* Good until the next cookies_add. */
struct span cookies_of(const struct cookies *c, const char *node);

#endif
