/* The secret that all nodes share which may talk to each other. It is kept in memory only, and
 * there in one place: where the caller has it, see sys/secret.h. */
#ifndef DIST_COOKIE_H
#define DIST_COOKIE_H

#include "sys/bytes.h"

enum { COOKIE_MAX = 255, COOKIE_WHY = 400 };

struct cookie {
    uint8_t bytes[COOKIE_MAX + 1]; /* one more for the end of the line */
    size_t len;
};

/* cookie_read reads the first line of the file, which must be a regular one of this user's or of
 * root's that only its owner may read; a path that begins with ~/ is beneath HOME. "-": standard
 * input up to the end of the line, and not a byte further. False: `why` says what is wrong, and
 * never what was read, which is wiped. */
bool cookie_read(struct cookie *c, const char *path, char why[COOKIE_WHY]);

#endif
