#include "shell/units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

enum { STEPS = 6, PLAIN = 100000 };

/* At most three digits, one of them behind the point where there is only one before it. */
static const char *scaled(char text[UNITS_TEXT], double v, const char *unit)
{
    const bool exact = v == (double)(uint64_t)v;
    snprintf(text, UNITS_TEXT, exact || v >= 9.95 ? "%.0f %s" : "%.1f %s", v, unit);
    return text;
}

const char *units_count(char text[UNITS_TEXT], uint64_t n)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
    double v = (double)n;
    int step = 0;
    snprintf(text, UNITS_TEXT, "%" PRIu64, n);
    if (n < PLAIN)
        return text;
    for (; v >= 999.5 && step < STEPS; step++)
        v /= 1000;
    return scaled(text, v, units[step]);
}

const char *units_bytes(char text[UNITS_TEXT], uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)n;
    int step = 0;
    for (; v >= 1023.5 && step < STEPS; step++)
        v /= 1024;
    return scaled(text, v, units[step]);
}

const char *units_ms(char text[UNITS_TEXT], uint64_t ms)
{
    const uint64_t minutes = ms / 60000;
    const uint64_t days = minutes / 1440;
    if (ms < 1000)
        snprintf(text, UNITS_TEXT, "%" PRIu64 " ms", ms);
    else if (minutes == 0)
        snprintf(text, UNITS_TEXT, "%" PRIu64 ".%" PRIu64 " s", ms / 1000, ms % 1000 / 100);
    else if (minutes < 120)
        snprintf(text, UNITS_TEXT, "%" PRIu64 " min", minutes);
    else if (days < 2)
        snprintf(text, UNITS_TEXT, "%" PRIu64 " h", minutes / 60);
    else
        snprintf(text, UNITS_TEXT, "%" PRIu64 " days", days);
    return text;
}

const char *units_us(char text[UNITS_TEXT], uint64_t us)
{
    if (us < 100)
        snprintf(text, UNITS_TEXT, "%" PRIu64 " us", us);
    else if (us < 10000)
        snprintf(text, UNITS_TEXT, "%" PRIu64 ".%" PRIu64 " ms", us / 1000, us % 1000 / 100);
    else
        units_ms(text, us / 1000);
    return text;
}
