/* A node's name, alive@host, and where one of that name listens. */
#ifndef DIST_NAME_H
#define DIST_NAME_H

#include <netinet/in.h>

#include "sys/bytes.h"

enum { NAME_WHY = 400 }; /* bytes of a reason */

struct name {
    char full[256];
    char alive[256];
    char host[256];
};

/* name_parse takes alive or alive@host; without a host it is localhost, of a long name 127.0.0.1.
 * A long name's host has a dot, a short name's has none. False: `why` says what is wrong. */
bool name_parse(struct name *n, const char *text, bool is_long, char why[NAME_WHY]);

/* name_address finds where peers will look for the host: an address in 127.0.0.0/8. False, with
 * the reason, where it is another or none. May ask a name server. */
bool name_address(const struct name *n, struct in_addr *address, char why[NAME_WHY]);

#endif
