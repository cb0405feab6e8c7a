#include "proto/prom.h"

static void put_text(struct buf *out, const char *text)
{
    buf_put(out, text, strlen(text));
}

void prom_head(struct buf *out, const char *name, const char *type, const char *help)
{
    const char *const parts[] = {"# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        put_text(out, parts[i]);
}

/* --- labels ---------------------------------------------------------------------------------- */

static bool continues(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

/* Bytes of the character of UTF-8 at the beginning of a span that is not empty; 0: it is none. */
static size_t character(struct span s)
{
    const uint8_t a = s.at[0];
    const size_t len = a < 0x80 ? 1 : a < 0xc2 ? 0 : a < 0xe0 ? 2 : a < 0xf0 ? 3 : a < 0xf5 ? 4 : 0;
    if (len == 0 || len > s.len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if (!continues(s.at[i]))
            return 0;
    const bool too_long = (a == 0xe0 && s.at[1] < 0xa0) || (a == 0xf0 && s.at[1] < 0x90);
    const bool beyond = (a == 0xed && s.at[1] > 0x9f) || (a == 0xf4 && s.at[1] > 0x8f);
    return too_long || beyond ? 0 : len;
}

static void put_byte(struct buf *out, uint8_t byte)
{
    static const char hex[] = "0123456789abcdef";
    const char text[] = {'\\', '\\', 'x', hex[byte >> 4], hex[byte & 15]};
    buf_put(out, text, sizeof text);
}

static void put_character(struct buf *out, struct span c)
{
    switch (c.at[0]) {
    case '\\': put_text(out, "\\\\"); break;
    case '"': put_text(out, "\\\""); break;
    case '\n': put_text(out, "\\n"); break;
    default: buf_put(out, c.at, c.len);
    }
}

static void put_escaped(struct buf *out, struct span value)
{
    while (value.len > 0) {
        const size_t len = character(value);
        if (len == 0)
            put_byte(out, value.at[0]);
        else
            put_character(out, span_of(value.at, len));
        const size_t passed = len == 0 ? 1 : len;
        value = span_of(value.at + passed, value.len - passed);
    }
}

void prom_label(struct buf *labels, size_t begin, const char *key, struct span value)
{
    if (labels->len > begin)
        put_text(labels, ",");
    put_text(labels, key);
    put_text(labels, "=\"");
    put_escaped(labels, value);
    put_text(labels, "\"");
}

/* --- samples ---------------------------------------------------------------------------------
 * A text has thousands of lines: each is written at once, into room for the longest. */

static uint8_t *add(uint8_t *to, const void *bytes, size_t n)
{
    memcpy(to, bytes, n);
    return to + n;
}

static uint8_t *add_text(uint8_t *to, const char *text)
{
    return add(to, text, strlen(text));
}

static uint8_t *add_number(uint8_t *to, uint64_t value, unsigned decimals)
{
    char digits[24];
    size_t at = sizeof digits;
    for (unsigned n = 0; value > 0 || n <= decimals; n++) {
        if (n == decimals && n > 0)
            digits[--at] = '.';
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    }
    return add(to, digits + at, sizeof digits - at);
}

static uint8_t *add_labels(uint8_t *to, struct span labels)
{
    if (labels.len == 0)
        return to;
    to = add_text(to, "{");
    to = add(to, labels.at, labels.len);
    return add_text(to, "}");
}

static uint8_t *add_value(uint8_t *to, uint64_t value, unsigned decimals)
{
    to = add_text(to, " ");
    to = add_number(to, value, decimals);
    return add_text(to, "\n");
}

/* `part` belongs to the name. */
static void put_sample(struct buf *out, const char *name, const char *part, struct span labels,
                       uint64_t value, unsigned decimals)
{
    uint8_t *to = buf_grow(out, labels.len + PROM_LINE);
    if (to == NULL)
        return;
    to = add_text(to, name);
    to = add_text(to, part);
    to = add_labels(to, labels);
    to = add_value(to, value, decimals);
    out->len = (size_t)(to - out->at);
}

void prom_sample(struct buf *out, const char *name, struct span labels, uint64_t value,
                 unsigned decimals)
{
    must(strlen(name) <= PROM_NAME);
    put_sample(out, name, "", labels, value, decimals);
}

/* --- histograms ------------------------------------------------------------------------------ */

enum { BOUND = 24 };

/* The bounds as text, by power. */
static char bounds[PROM_LAST_POWER + 1][BOUND];

__attribute__((constructor)) static void write_bounds(void)
{
    for (unsigned i = PROM_FIRST_POWER; i <= PROM_LAST_POWER; i++)
        *add_number((uint8_t *)bounds[i], (uint64_t)2 << i, 9) = '\0';
}

/* All buckets begin alike: the first one's beginning is copied. */
static uint8_t *add_begin(uint8_t *to, const char *name, struct span labels)
{
    to = add_text(to, name);
    to = add_text(to, "_bucket{");
    if (labels.len > 0)
        to = add(to, labels.at, labels.len);
    return add_text(to, labels.len > 0 ? ",le=\"" : "le=\"");
}

static uint8_t *add_end(uint8_t *to, const char *bound, uint64_t count)
{
    to = add_text(to, bound);
    to = add_text(to, "\"}");
    return add_value(to, count, 0);
}

static void put_buckets(struct buf *out, const char *name, struct span labels,
                        const struct stats *s)
{
    uint64_t below = 0;
    uint8_t *to = buf_grow(out, (labels.len + PROM_LINE) * (PROM_HISTOGRAM + 1));
    if (to == NULL)
        return;
    const struct span begin = span_of(to, (size_t)(add_begin(to, name, labels) - to));
    to += begin.len;
    for (unsigned i = 0; i <= PROM_LAST_POWER; i++) {
        below += s->latency[i];
        if (i > PROM_FIRST_POWER)
            to = add(to, begin.at, begin.len);
        if (i >= PROM_FIRST_POWER)
            to = add_end(to, bounds[i], below);
    }
    to = add(to, begin.at, begin.len);
    to = add_end(to, "+Inf", stats_ops(s));
    out->len = (size_t)(to - out->at);
}

void prom_histogram(struct buf *out, const char *name, struct span labels, const struct stats *s)
{
    must(strlen(name) <= PROM_NAME);
    put_buckets(out, name, labels, s);
    put_sample(out, name, "_sum", labels, s->sum_ns, 9);
    put_sample(out, name, "_count", labels, stats_ops(s), 0);
}
