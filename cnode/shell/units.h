/* Numbers as people read them: "41 M", "1 MiB", "3.1 s". */
#ifndef SHELL_UNITS_H
#define SHELL_UNITS_H

#include <stdint.h>

enum { UNITS_TEXT = 32 };

/* Each writes to `text` and returns it. */
const char *units_count(char text[UNITS_TEXT], uint64_t n);
const char *units_bytes(char text[UNITS_TEXT], uint64_t n);
const char *units_ms(char text[UNITS_TEXT], uint64_t ms);
const char *units_us(char text[UNITS_TEXT], uint64_t us);

#endif
