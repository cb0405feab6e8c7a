/* What a reply's map has under a key. */
#ifndef SHELL_MAP_H
#define SHELL_MAP_H

#include "proto/term.h"

/* The raw value; empty where there is none, or where it is no map. */
struct span map_get(struct span map, const char *key);

/* 0 where it is no number. */
uint64_t map_number(struct span map, const char *key);

/* The bytes of a binary or the name of an atom. */
struct span map_text(struct span map, const char *key);

bool map_is(struct span map, const char *key, const char *atom);

#endif
