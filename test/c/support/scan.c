#include "support/scan.h"

#include <ctype.h>
#include <ei.h>

#include "proto/reply.h"

static size_t put_mark(const char *at, struct buf *to)
{
    static const char *const twos[] = {"<<", ">>", "=>"};
    char mark[3] = {at[0]};
    for (size_t i = 0; i < sizeof twos / sizeof twos[0]; i++)
        if (strncmp(at, twos[i], 2) == 0)
            mark[1] = at[1];
    reply_tuple(to, 2);
    reply_atom(to, strcmp(mark, ".") == 0 ? "dot" : mark);
    reply_int64(to, 1);
    return strlen(mark);
}

static void begin_value(struct buf *to, const char *category)
{
    reply_tuple(to, 3);
    reply_atom(to, category);
    reply_int64(to, 1);
}

static size_t put_word(const char *at, struct buf *to)
{
    char word[256] = "";
    size_t n = 0;
    for (; isalnum((unsigned char)at[n]) || at[n] == '_' || at[n] == '@'; n++)
        word[n] = at[n];
    begin_value(to, isupper((unsigned char)at[0]) || at[0] == '_' ? "var" : "atom");
    reply_atom(to, word);
    return n;
}

static size_t put_quoted(const char *at, struct buf *to)
{
    char text[8192];
    size_t n = 0;
    for (at++; at[n] != '"'; n++)
        text[n] = at[n];
    begin_value(to, "string");
    const uint8_t head[] = {ERL_STRING_EXT, (uint8_t)(n >> 8), (uint8_t)n};
    if (n == 0)
        reply_nil(to);
    else if (buf_put(to, head, sizeof head))
        buf_put(to, text, n);
    return n + 2;
}

static size_t put_number(const char *at, struct buf *to)
{
    char *end = NULL;
    const uint64_t whole = strtoull(at, &end, 10);
    if (end[0] != '.' || !isdigit((unsigned char)end[1])) {
        begin_value(to, "integer");
        reply_uint64(to, whole);
        return (size_t)(end - at);
    }
    begin_value(to, "float");
    const double d = strtod(at, &end);
    int index = 0;
    uint8_t *to_at = buf_grow(to, 16);
    ei_encode_double((char *)to_at, &index, d);
    to->len += (size_t)index;
    return (size_t)(end - at);
}

static size_t put_token(const char *at, struct buf *to)
{
    if (isalpha((unsigned char)at[0]) || at[0] == '_')
        return put_word(at, to);
    if (isdigit((unsigned char)at[0]))
        return put_number(at, to);
    if (at[0] == '"')
        return put_quoted(at, to);
    if (at[0] != '$')
        return put_mark(at, to);
    begin_value(to, "char");
    reply_int64(to, at[1]);
    return 2;
}

void scan(const char *text, struct buf *tokens)
{
    const size_t begin = reply_list_begin(tokens);
    uint32_t n = 0;
    while (text[0] != '\0') {
        if (text[0] == ' ') {
            text++;
            continue;
        }
        text += put_token(text, tokens);
        n++;
    }
    reply_list_end(tokens, begin, n);
}
