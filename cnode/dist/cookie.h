/* The secret that all nodes share which may talk to each other. It is kept in memory only. */
#ifndef DIST_COOKIE_H
#define DIST_COOKIE_H

#include "sys/bytes.h"

enum { COOKIE_MAX = 255, COOKIE_WHY = 400 };

struct cookie {
    uint8_t bytes[COOKIE_MAX];
    size_t len;
};

/* cookie_read reads the first line of the file, which must be a regular one that only its owner
 * may read; a path that begins with ~/ is beneath HOME. "-": standard input up to the end of the
 * line, and not a byte further. False: `why` says what is wrong, and never what was read. */
bool cookie_read(struct cookie *c, const char *path, char why[COOKIE_WHY]);

#endif
