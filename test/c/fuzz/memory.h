/* A file in memory, one at a time: the table `os` leads there. What lies behind its end may not be
 * touched; a sanitizer sees it. */
#ifndef FUZZ_MEMORY_H
#define FUZZ_MEMORY_H

#include "sys/map.h"

enum { MEMORY_FD = 1 << 20, MEMORY_MOST = 64 * 1024 };

/* memory_begin: an empty file. memory_end: `os` is what it was. */
void memory_begin(void);
void memory_end(void);

/* The file has these bytes now, at most MEMORY_MOST. */
void memory_set(struct span bytes);
struct span memory_bytes(void);

/* As map_open would give it, writable. */
struct map memory_map(void);

#endif
