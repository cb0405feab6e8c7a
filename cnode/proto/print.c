#include "proto/print.h"

#include <ei.h>
#include <inttypes.h>
#include <stdarg.h>

#include "proto/term.h"

/* A term is printed from its first byte to its last; what is open is kept in `levels`. A line that
 * has become too long is broken at its last comma of those that are inside the fewest levels, and
 * what follows there again, if need be. */

enum kind { TUPLE, LIST, TAIL, KEY, VALUE };

struct level {
    enum kind kind;
    uint32_t left; /* elements, or keys and values */
    size_t indent;
};

struct printer {
    struct buf *out;
    struct term term;
    size_t end; /* no more is begun beyond it */
    size_t columns;
    size_t line;                    /* where the line begins */
    size_t commas[PRINT_DEPTH + 1]; /* behind the last one inside so many levels */
    size_t depth;
    struct level levels[PRINT_DEPTH];
};

/* --- text ------------------------------------------------------------------------------------ */

void print_text(struct buf *out, const char *format, ...)
{
    va_list args;
    char text[512];
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        buf_put(out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

size_t print_character(struct span utf8, uint32_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* by length */
    if (utf8.len == 0)
        return 0;
    const uint8_t lead = utf8.at[0];
    const size_t n = lead < 0x80       ? 1
                     : lead >> 5 == 6  ? 2
                     : lead >> 4 == 14 ? 3
                     : lead >> 3 == 30 ? 4
                                       : 0;
    if (n == 0 || n > utf8.len)
        return 0;
    *c = n == 1 ? lead : lead & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (utf8.at[i] >> 6 != 2)
            return 0;
        *c = *c << 6 | (utf8.at[i] & 0x3fu);
    }
    return *c < least[n] || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000) ? 0 : n;
}

size_t print_width(struct span utf8)
{
    size_t n = 0;
    for (size_t i = 0; i < utf8.len; i++)
        n += utf8.at[i] >> 6 != 2;
    return n;
}

static size_t line_begin(const struct buf *out)
{
    size_t at = out->len;
    while (at > 0 && out->at[at - 1] != '\n')
        at--;
    return at;
}

size_t print_column(const struct buf *out)
{
    const size_t begin = line_begin(out);
    return out->len == begin ? 0 : print_width(span_of(out->at + begin, out->len - begin));
}

void print_code_point(struct buf *out, uint32_t c)
{
    if (c < 0x80)
        print_text(out, "%c", (int)c);
    else if (c < 0x800)
        print_text(out, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 0x3f)));
    else if (c < 0x10000)
        print_text(out, "%c%c%c", (int)(0xe0 | c >> 12), (int)(0x80 | (c >> 6 & 0x3f)),
                   (int)(0x80 | (c & 0x3f)));
    else
        print_text(out, "%c%c%c%c", (int)(0xf0 | c >> 18), (int)(0x80 | (c >> 12 & 0x3f)),
                   (int)(0x80 | (c >> 6 & 0x3f)), (int)(0x80 | (c & 0x3f)));
}

/* What a terminal shows as itself: no controls, no marks that change the direction of text. */
static bool is_shown(uint64_t c)
{
    const bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    const bool direction = (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
                           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
    const bool none = (c >= 0xd800 && c < 0xe000) || c > 0x10ffff;
    return !control && !direction && !none;
}

static const char *escape_of(uint64_t c)
{
    switch (c) {
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case 27: return "\\e";
    default: return NULL;
    }
}

static bool is_text(uint64_t c)
{
    return is_shown(c) || escape_of(c) != NULL;
}

static void put_escaped(struct buf *out, uint32_t c, char quote)
{
    const char *escape = escape_of(c);
    if (escape != NULL)
        print_text(out, "%s", escape);
    else if (c == (uint32_t)quote || c == '\\')
        print_text(out, "\\%c", (int)c);
    else if (is_shown(c))
        print_code_point(out, c);
    else
        print_text(out, "\\x{%" PRIx32 "}", c);
}

static void put_quoted(struct buf *out, struct span utf8, char quote)
{
    for (size_t i = 0; i < utf8.len;) {
        uint32_t c = utf8.at[i];
        const size_t n = print_character(span_of(utf8.at + i, utf8.len - i), &c);
        if (n > 0)
            put_escaped(out, c, quote);
        else
            print_text(out, "\\x{%x}", utf8.at[i]);
        i += n > 0 ? n : 1;
    }
}

void print_name(struct buf *out, struct span utf8)
{
    put_quoted(out, utf8, '"');
}

/* --- what has no parts ----------------------------------------------------------------------- */

static bool is_full(const struct printer *p)
{
    return p->out->failed || p->out->len >= p->end;
}

static bool is_word(const char *name)
{
    static const char *const reserved[] = {
        "after", "and",   "andalso", "band",   "begin",   "bnot", "bor", "bsl",  "bsr", "bxor",
        "case",  "catch", "cond",    "div",    "else",    "end",  "fun", "if",   "let", "maybe",
        "not",   "of",    "or",      "orelse", "receive", "rem",  "try", "when", "xor"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (strcmp(name, reserved[i]) == 0)
            return false;
    static const char more[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@";
    return name[0] >= 'a' && name[0] <= 'z' && strspn(name, more) == strlen(name);
}

static void put_atom(struct printer *p)
{
    char name[TERM_ATOM_BYTES];
    term_atom(&p->term, name);
    if (is_word(name)) {
        print_text(p->out, "%s", name);
        return;
    }
    print_text(p->out, "'");
    put_quoted(p->out, span_text(name), '\'');
    print_text(p->out, "'");
}

/* A big integer: its bytes, the least first. */
static void put_hex(struct printer *p, struct span digits, bool negative)
{
    size_t n = digits.len;
    while (n > 1 && digits.at[n - 1] == 0)
        n--;
    print_text(p->out, "%s16#%X", negative ? "-" : "", n == 0 ? 0 : digits.at[n - 1]);
    while (n > 1 && !is_full(p))
        print_text(p->out, "%02X", digits.at[--n - 1]);
    if (n > 1)
        print_text(p->out, "...");
}

static void put_integer(struct printer *p)
{
    struct term as_signed = p->term;
    struct term as_unsigned = p->term;
    const int64_t i = term_int64(&as_signed);
    const uint64_t u = term_uint64(&as_unsigned);
    const struct span raw = term_any(&p->term);
    const size_t head = raw.at[0] == ERL_SMALL_BIG_EXT ? 3 : 6;
    if (!as_signed.bad)
        print_text(p->out, "%" PRId64, i);
    else if (!as_unsigned.bad)
        print_text(p->out, "%" PRIu64, u);
    else
        put_hex(p, span_of(raw.at + head, raw.len - head), raw.at[head - 1] != 0);
}

/* As few digits as give the same number again, and always a point. */
static void put_float(struct printer *p)
{
    double d = 0;
    char text[64];
    ei_decode_double(p->term.buf, &p->term.index, &d);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    const size_t whole = strcspn(text, ".e");
    if (text[whole] == '.')
        print_text(p->out, "%s", text);
    else
        print_text(p->out, "%.*s.0%s", (int)whole, text, text + whole);
}

static void put_bytes(struct printer *p, struct span bytes, const char *close)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (is_full(p)) {
            print_text(p->out, ",...");
            break;
        }
        print_text(p->out, i > 0 ? ",%u" : "%u", bytes.at[i]);
    }
    print_text(p->out, "%s", close);
}

static bool is_latin_text(struct span bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        if (!is_text(bytes.at[i]))
            return false;
    return true;
}

static void put_string(struct printer *p)
{
    const struct span bytes = term_string(&p->term);
    if (!is_latin_text(bytes)) {
        print_text(p->out, "[");
        put_bytes(p, bytes, "]");
        return;
    }
    size_t i = 0;
    print_text(p->out, "\"");
    for (; i < bytes.len && !is_full(p); i++)
        put_escaped(p->out, bytes.at[i], '"');
    print_text(p->out, i < bytes.len ? "...\"" : "\"");
}

/* Is it text that somebody wrote? *wide: there is more than ASCII in it. */
static bool is_utf8_text(struct span bytes, bool *wide)
{
    for (size_t i = 0; i < bytes.len;) {
        uint32_t c;
        const size_t n = print_character(span_of(bytes.at + i, bytes.len - i), &c);
        if (n == 0 || !is_text(c))
            return false;
        *wide |= n > 1;
        i += n;
    }
    return true;
}

static void put_binary(struct printer *p)
{
    const struct span bytes = term_binary(&p->term);
    bool wide = false;
    if (bytes.len == 0 || !is_utf8_text(bytes, &wide)) {
        print_text(p->out, "<<");
        put_bytes(p, bytes, ">>");
        return;
    }
    size_t i = 0;
    print_text(p->out, "<<\"");
    while (i < bytes.len && !is_full(p)) {
        uint32_t c = 0;
        i += print_character(span_of(bytes.at + i, bytes.len - i), &c);
        put_escaped(p->out, c, '"');
    }
    print_text(p->out, "%s\"%s>>", i < bytes.len ? "..." : "", wide ? "/utf8" : "");
}

/* The last byte, if there is one, holds so many bits, the high ones. */
static void put_bits(struct printer *p)
{
    const struct span raw = term_any(&p->term);
    const unsigned bits = raw.at[5];
    print_text(p->out, "<<");
    if (bits == 0) {
        print_text(p->out, ">>");
        return;
    }
    put_bytes(p, span_of(raw.at + 6, raw.len - 7), "");
    print_text(p->out, "%s%u:%u>>", raw.len > 7 ? "," : "", raw.at[raw.len - 1] >> (8 - bits),
               bits);
}

static void put_pid(struct printer *p)
{
    static erlang_pid pid; /* as the next: over a KB */
    ei_decode_pid(p->term.buf, &p->term.index, &pid);
    print_text(p->out, "#Pid<");
    print_name(p->out, span_text(pid.node));
    print_text(p->out, ".%u.%u>", pid.num, pid.serial);
}

static void put_reference(struct printer *p)
{
    static erlang_ref ref;
    ei_decode_ref(p->term.buf, &p->term.index, &ref);
    print_text(p->out, "#Ref<");
    print_name(p->out, span_text(ref.node));
    for (int i = ref.len; i-- > 0;)
        print_text(p->out, ".%u", ref.n[i]);
    print_text(p->out, ">");
}

static void put_other(struct printer *p)
{
    const int tag = term_tag(&p->term);
    term_any(&p->term);
    switch (tag) {
    case ERL_FUN_EXT:
    case ERL_NEW_FUN_EXT:
    case ERL_EXPORT_EXT: print_text(p->out, "#Fun<>"); break;
    default: print_text(p->out, "#Port<>"); break;
    }
}

static void put_plain(struct printer *p)
{
    switch (term_tag(&p->term)) {
    case ERL_SMALL_INTEGER_EXT:
    case ERL_INTEGER_EXT:
    case ERL_SMALL_BIG_EXT:
    case ERL_LARGE_BIG_EXT: put_integer(p); break;
    case ERL_FLOAT_EXT:
    case NEW_FLOAT_EXT: put_float(p); break;
    case ERL_ATOM_EXT:
    case ERL_SMALL_ATOM_EXT:
    case ERL_ATOM_UTF8_EXT:
    case ERL_SMALL_ATOM_UTF8_EXT: put_atom(p); break;
    case ERL_STRING_EXT: put_string(p); break;
    case ERL_BINARY_EXT: put_binary(p); break;
    case ERL_BIT_BINARY_EXT: put_bits(p); break;
    case ERL_PID_EXT:
    case ERL_NEW_PID_EXT: put_pid(p); break;
    case ERL_REFERENCE_EXT:
    case ERL_NEW_REFERENCE_EXT:
    case ERL_NEWER_REFERENCE_EXT: put_reference(p); break;
    default: put_other(p); break;
    }
}

/* --- what has parts -------------------------------------------------------------------------- */

static size_t column(const struct printer *p)
{
    return print_width(span_of(p->out->at + p->line, p->out->len - p->line));
}

/* What stands behind the comma moves: by `by` bytes, to another column. */
static void move_rest(struct printer *p, size_t depth, size_t by, size_t from, size_t to)
{
    const size_t comma = p->commas[depth];
    for (size_t i = depth; i < p->depth; i++)
        p->levels[i].indent = p->levels[i].indent + to - from;
    for (size_t i = depth + 1; i <= PRINT_DEPTH; i++)
        p->commas[i] += p->commas[i] > comma ? by : 0;
}

static void break_line(struct printer *p, size_t depth)
{
    const size_t indent = p->levels[depth - 1].indent;
    const size_t comma = p->commas[depth];
    if (buf_grow(p->out, indent + 1) == NULL)
        return;
    uint8_t *at = p->out->at + comma;
    const size_t was = print_width(span_of(p->out->at + p->line, comma - p->line));
    move_rest(p, depth, indent + 1, was, indent);
    memmove(at + indent + 1, at, p->out->len - comma);
    memset(at, ' ', indent + 1);
    at[0] = '\n';
    p->out->len += indent + 1;
    p->line = comma + 1;
}

static bool is_too_long(const struct printer *p)
{
    return p->columns > 0 && !p->out->failed && column(p) + 1 > p->columns;
}

static void keep_width(struct printer *p)
{
    for (size_t depth = 1; depth <= PRINT_DEPTH && is_too_long(p); depth++)
        if (p->commas[depth] > p->line)
            break_line(p, depth);
}

static void open_level(struct printer *p, enum kind kind, uint32_t left, const char *text)
{
    print_text(p->out, "%s", text);
    p->levels[p->depth].kind = kind;
    p->levels[p->depth].left = left;
    p->levels[p->depth].indent = p->out->failed ? 0 : column(p);
    p->depth++;
}

static void begin_list(struct printer *p)
{
    const int n = term_list(&p->term);
    if (n == 0)
        print_text(p->out, "[]");
    else
        open_level(p, LIST, (uint32_t)n, "[");
}

static void begin_map(struct printer *p)
{
    const int pairs = term_map(&p->term);
    if (pairs == 0)
        print_text(p->out, "#{}");
    else
        open_level(p, KEY, 2 * (uint32_t)pairs, "#{");
}

static void begin_tuple(struct printer *p)
{
    const int arity = term_tuple(&p->term);
    if (arity == 0)
        print_text(p->out, "{}");
    else
        open_level(p, TUPLE, (uint32_t)arity, "{");
}

static bool has_parts(int tag)
{
    return tag == ERL_LIST_EXT || tag == ERL_NIL_EXT || tag == ERL_MAP_EXT ||
           tag == ERL_SMALL_TUPLE_EXT || tag == ERL_LARGE_TUPLE_EXT;
}

/* The next term, or its beginning. */
static void begin_term(struct printer *p)
{
    const int tag = term_tag(&p->term);
    if (!has_parts(tag)) {
        put_plain(p);
    } else if (p->depth == PRINT_DEPTH && tag != ERL_NIL_EXT) {
        term_any(&p->term);
        print_text(p->out, "...");
    } else if (tag == ERL_LIST_EXT || tag == ERL_NIL_EXT) {
        begin_list(p);
    } else if (tag == ERL_MAP_EXT) {
        begin_map(p);
    } else {
        begin_tuple(p);
    }
}

static void close_level(struct printer *p)
{
    const enum kind kind = p->levels[--p->depth].kind;
    print_text(p->out, kind == LIST || kind == TAIL ? "]" : "}");
}

static void put_comma(struct printer *p)
{
    print_text(p->out, ",");
    p->commas[p->depth] = p->out->len;
}

/* What stands behind a part of a level. True: it was the last, and the level itself is a part that
 * has ended. */
static bool end_part(struct printer *p)
{
    struct level *l = &p->levels[p->depth - 1];
    if (--l->left == 0 && l->kind == LIST && term_tag(&p->term) != ERL_NIL_EXT) {
        print_text(p->out, "|");
        l->kind = TAIL;
        l->left = 1;
    } else if (l->left == 0) {
        if (l->kind == LIST)
            term_list_end(&p->term);
        close_level(p);
        return true;
    } else if (l->kind == KEY) {
        print_text(p->out, " => ");
        l->kind = VALUE;
    } else {
        put_comma(p);
        l->kind = l->kind == VALUE ? KEY : l->kind;
    }
    return false;
}

void print_term(struct buf *out, struct span term, size_t columns, size_t most)
{
    struct printer p = {.out = out, .term = term_in(term), .columns = columns};
    p.end = out->len + most;
    p.line = line_begin(out);
    do {
        const size_t depth = p.depth;
        begin_term(&p);
        keep_width(&p);
        bool ended = p.depth == depth;
        while (ended && p.depth > 0 && !is_full(&p))
            ended = end_part(&p);
    } while (p.depth > 0 && !is_full(&p));
    if (p.depth > 0)
        print_text(out, "...");
    while (p.depth > 0)
        close_level(&p);
}
