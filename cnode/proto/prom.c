#include "proto/prom.h"

static void put_text(struct buf *out, const char *text)
{
    buf_put(out, text, strlen(text));
}

static void put_number(struct buf *out, uint64_t value, unsigned decimals)
{
    char digits[24];
    size_t at = sizeof digits;
    for (unsigned n = 0; value > 0 || n <= decimals; n++) {
        if (n == decimals && n > 0)
            digits[--at] = '.';
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    }
    buf_put(out, digits + at, sizeof digits - at);
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

/* --- samples --------------------------------------------------------------------------------- */

static void put_labels(struct buf *out, struct span labels)
{
    if (labels.len == 0)
        return;
    put_text(out, "{");
    buf_put(out, labels.at, labels.len);
    put_text(out, "}");
}

static void put_value(struct buf *out, uint64_t value, unsigned decimals)
{
    put_text(out, " ");
    put_number(out, value, decimals);
    put_text(out, "\n");
}

void prom_sample(struct buf *out, const char *name, struct span labels, uint64_t value,
                 unsigned decimals)
{
    put_text(out, name);
    put_labels(out, labels);
    put_value(out, value, decimals);
}

/* end_ns 0: without end */
static void put_bucket(struct buf *out, const char *name, struct span labels, uint64_t end_ns,
                       uint64_t count)
{
    put_text(out, name);
    put_text(out, "_bucket{");
    buf_put(out, labels.at, labels.len);
    put_text(out, labels.len > 0 ? ",le=\"" : "le=\"");
    if (end_ns == 0)
        put_text(out, "+Inf");
    else
        put_number(out, end_ns, 9);
    put_text(out, "\"}");
    put_value(out, count, 0);
}

static void put_part(struct buf *out, const char *name, const char *part, struct span labels)
{
    put_text(out, name);
    put_text(out, part);
    put_labels(out, labels);
}

void prom_histogram(struct buf *out, const char *name, struct span labels, const struct stats *s)
{
    uint64_t below = 0;
    for (int i = 0; i <= PROM_LAST_POWER; i++) {
        below += s->latency[i];
        if (i >= PROM_FIRST_POWER)
            put_bucket(out, name, labels, (uint64_t)2 << i, below);
    }
    const uint64_t all = stats_ops(s);
    put_bucket(out, name, labels, 0, all);
    put_part(out, name, "_sum", labels);
    put_value(out, s->sum_ns, 9);
    put_part(out, name, "_count", labels);
    put_value(out, all, 0);
}
