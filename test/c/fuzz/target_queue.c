/* Queue files of which any byte may be wrong, the hashes with them: opened, used, killed, opened
 * again, emptied, closed. They are refused, untouched and with a reason, or every item that comes
 * out is what its hashes say, comes out once, and the file can be opened again.
 *
 * Input: 8 bytes that say how it is used, then the file. */
#include "fuzz/memory.h"
#include "fuzz/queue_image.h"
#include "fuzz/queue_use.h"
#include "fuzz/target.h"

enum { HEAD = 8, USES_MOST = 40 };

static uint64_t refusals, openings, handed, emptied, losses;

static void put_head(struct dice *d, struct buf *input)
{
    const uint64_t word = dice_word(d);
    buf_cut(input, 0);
    buf_put(input, &word, HEAD);
}

static void make(struct dice *d, struct buf *input)
{
    put_head(d, input);
    image_make(d, input);
    for (uint64_t times = dice_below(d, 4); times > 0; times--)
        image_change(d, input, HEAD);
}

static void change(struct dice *d, struct buf *input)
{
    const uint64_t word = dice_word(d);
    if (input->len < HEAD)
        put_head(d, input);
    if (dice_one_in(d, 8))
        memcpy(input->at, &word, HEAD);
    else
        image_change(d, input, HEAD);
}

/* An own copy of the bytes tells whether they are touched. */
static void is_refused(enum err e, const char *why, struct span file)
{
    must(e == ERR_DAMAGED && why[0] != '\0' && memchr(why, '\0', QUEUE_WHY) != NULL);
    must(span_equal(memory_bytes(), file));
    refusals++;
}

static void open_again(struct object *o)
{
    char why[QUEUE_WHY];
    const enum err e = use_open(o, why);
    if (e != OK)
        fprintf(stderr, "queue: it cannot be opened again: %s\n", why);
    must(e == OK);
}

static void use(struct dice *d, struct object *o)
{
    struct queue_info i;
    queue_look(o, &i);
    losses += i.damaged > 0;
    handed += use_by_chance(d, o, dice_below(d, USES_MOST));
    if (dice_one_in(d, 2))
        use_kill(o);
    else
        use_close(o);
    open_again(o);
    handed += use_drain(o);
    use_close(o);
    open_again(o);
    handed += use_drain(o); /* an epoch that lies can bring back what was undone */
    use_close(o);
    emptied++;
}

static void run(struct span input)
{
    struct object o;
    char why[QUEUE_WHY];
    uint64_t how;
    if (input.len < HEAD || input.len - HEAD > MEMORY_MOST)
        return;
    memcpy(&how, input.at, HEAD);
    struct dice d = dice_of(how, 0);
    const struct span file = span_of(input.at + HEAD, input.len - HEAD);
    memory_set(file);
    const enum err e = use_open(&o, why);
    if (e != OK) {
        is_refused(e, why, file);
        return;
    }
    openings++;
    use(&d, &o);
}

static void count(void (*each)(const char *what, uint64_t times))
{
    each("refused", refusals);
    each("opened", openings);
    each("emptied", emptied);
    each("handed out", handed);
    each("with losses", losses);
}

const struct target target = {.name = "queue",
                              .life = 100000,
                              .begin = memory_begin,
                              .end = memory_end,
                              .make = make,
                              .change = change,
                              .run = run,
                              .count = count};
