#include "fuzz/pieces.h"

#include "fuzz/target.h"

bool pieces_next(struct span *rest, struct span *piece)
{
    if (rest->len < 4 || get_be32(rest->at) == PIECES_END)
        return false;
    const size_t left = rest->len - 4;
    const size_t told = get_be32(rest->at);
    const size_t len = told < left ? told : left;
    *piece = span_of(rest->at + 4, len);
    *rest = span_of(rest->at + 4 + len, left - len);
    return true;
}

void pieces_put(struct buf *to, struct span piece)
{
    uint8_t len[4];
    put_be32(len, (uint32_t)piece.len);
    buf_put(to, len, sizeof len);
    buf_put(to, piece.at, piece.len);
}

struct list {
    struct span at[PIECES_MOST];
    size_t n;
};

static struct list list_of(struct span input)
{
    struct list l = {.n = 0};
    while (l.n < PIECES_MOST && pieces_next(&input, &l.at[l.n]))
        l.n++;
    return l;
}

static void insert(struct list *l, size_t at, struct span piece)
{
    if (l->n == PIECES_MOST)
        l->n--;
    if (at > l->n)
        at = l->n;
    memmove(l->at + at + 1, l->at + at, (l->n - at) * sizeof l->at[0]);
    l->at[at] = piece;
    l->n++;
}

static void leave_out(struct list *l, size_t at)
{
    memmove(l->at + at, l->at + at + 1, (l->n - at - 1) * sizeof l->at[0]);
    l->n--;
}

/* `fresh` is where a piece is made. */
static void change_list(struct dice *d, struct list *l, struct buf *fresh, pieces_make *make,
                        pieces_make *change)
{
    const size_t at = dice_below(d, l->n);
    const struct span piece = l->at[at];
    switch (dice_below(d, 8)) {
    case 0:
    case 1:
        make(d, fresh);
        insert(l, dice_below(d, l->n + 1), span_of(fresh->at, fresh->len));
        break;
    case 2: leave_out(l, at); break;
    case 3: insert(l, dice_below(d, l->n + 1), piece); break;
    case 4:
        leave_out(l, at);
        insert(l, dice_below(d, l->n + 1), piece);
        break;
    default:
        buf_put(fresh, piece.at, piece.len);
        change(d, fresh);
        l->at[at] = span_of(fresh->at, fresh->len);
    }
}

void pieces_change(struct dice *d, struct buf *input, pieces_make *make, pieces_make *change)
{
    struct buf fresh;
    struct buf changed;
    struct list l = list_of(span_of(input->at, input->len));
    buf_init(&fresh, (size_t)4 * TARGET_INPUT_MOST);
    buf_init(&changed, (size_t)8 * TARGET_INPUT_MOST);
    if (l.n > 0) {
        change_list(d, &l, &fresh, make, change);
    } else {
        make(d, &fresh);
        l.at[l.n++] = span_of(fresh.at, fresh.len);
    }
    for (size_t i = 0; i < l.n; i++)
        pieces_put(&changed, l.at[i]);
    buf_cut(input, 0);
    buf_put(input, changed.at, changed.len);
    buf_fini(&changed);
    buf_fini(&fresh);
}
