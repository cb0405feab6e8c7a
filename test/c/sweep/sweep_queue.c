/* Crash images of the real queue: operations on small files; at their ends, at each store within
 * them, within checkpoints, syncs and recovery images are taken of what a power cut or a kill could
 * have left, and each is opened and held against the model.
 *
 *   sweep_queue images N [SEED]       until N images have been looked at; SEED may be `random`
 *   sweep_queue sequences LENGTH      all sequences of up to so many operations, from three states
 *
 * Prints what it did; on the first violation what is wrong and how to come there again, and exits
 * with 1.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sweep/look.h"
#include "sweep/run.h"
#include "sys/guard.h"
#include "sys/log.h"

static uint64_t look_every; /* so many stores */

/* Within operations, checkpoints, syncs and recovery. */
static void look_within(void)
{
    static bool inside;
    if (inside || run.violated || !one_in(look_every))
        return;
    inside = true;
    look_after_kill();
    look_after_cut();
    look_after_cut();
    inside = false;
}

static void begin(unsigned n)
{
    disk_hook = NULL;
    side_now.now_ms = 1000000000000;
    sides_used = n;
    for (unsigned i = 0; i < n; i++)
        side_begin(&sides[i], (int)i + 1);
    disk_hook = look_within;
}

/* --- at random ---------------------------------------------------------------------------------
 */

/* How often, by the character of a life: growing, busy, busy with checkpoints. */
static const unsigned weights[3][SIDE_OPS] = {
    {[PUSH] = 30,
     [PUSH_BIG] = 2,
     [POP] = 6,
     [TAKE] = 6,
     [ACK] = 4,
     [RELEASE] = 1,
     [DELAY] = 1,
     [UNSEE] = 1,
     [BURY] = 1,
     [KICK] = 1,
     [WAKE] = 1,
     [SYNC] = 3,
     [STEP] = 7,
     [CHECKPOINT] = 0},
    {[PUSH] = 14,
     [PUSH_BIG] = 1,
     [POP] = 20,
     [TAKE] = 6,
     [ACK] = 4,
     [RELEASE] = 1,
     [DELAY] = 1,
     [UNSEE] = 1,
     [BURY] = 2,
     [KICK] = 1,
     [WAKE] = 1,
     [SYNC] = 2,
     [STEP] = 9,
     [CHECKPOINT] = 0},
    {[PUSH] = 20,
     [PUSH_BIG] = 1,
     [POP] = 10,
     [TAKE] = 8,
     [ACK] = 5,
     [RELEASE] = 1,
     [DELAY] = 1,
     [UNSEE] = 1,
     [BURY] = 2,
     [KICK] = 1,
     [WAKE] = 1,
     [SYNC] = 2,
     [STEP] = 8,
     [CHECKPOINT] = 3},
};

static enum side_op choose(const unsigned *weight)
{
    unsigned all = 0;
    if (one_in(200))
        return ERASE;
    if (one_in(60))
        return CONFIGURE;
    for (int i = 0; i < SIDE_OPS; i++)
        all += weight[i];
    uint64_t n = below(all);
    int i = 0;
    for (; n >= weight[i]; i++)
        n -= weight[i];
    return (enum side_op)i;
}

static void look_around(unsigned i)
{
    if (i % 3 == 0)
        look_after_kill();
    for (int k = 0; k < 3; k++)
        look_after_cut();
    if (i % 4 == 0)
        look_at_damage(&sides[below(sides_used)]);
}

static void operate(const unsigned *weight)
{
    struct side *s = &sides[one_in(4) ? sides_used - 1 : 0];
    if (sides_used == SIDES && one_in(6))
        side_move();
    else
        side_do(s, choose(weight));
    for (unsigned i = 0; i < sides_used && run_goes_on(); i++)
        if (sides[i].live.failed)
            side_recover(&sides[i]);
        else
            side_compare(&sides[i]);
}

static bool has_room(void)
{
    for (unsigned i = 0; i < sides_used; i++)
        if (sides[i].model.tail >= MODEL_ITEMS - 50)
            return false;
    return true;
}

static void one_life(void)
{
    chance_begin(run.life);
    const unsigned *weight = weights[below(3)];
    begin(one_in(4) ? SIDES : 1);
    for (unsigned i = 0; i < 500 && run_goes_on() && has_room(); i++) {
        operate(weight);
        if (run_goes_on())
            look_around(i);
        if (run_goes_on() && one_in(24))
            side_reopen((enum side_end)below(3));
    }
}

static void at_random(uint64_t images, uint64_t seed)
{
    look_every = 48;
    run.fails_every = 40;
    run.images_most = images;
    for (run.life = seed; run_goes_on(); run.life++)
        one_life();
}

/* --- all sequences -----------------------------------------------------------------------------
 */

/* Beside these a cut of the power and a kill. */
static const enum side_op alphabet[] = {PUSH, PUSH_BIG, POP,  TAKE, ACK,
                                        BURY, KICK,     STEP, SYNC, CHECKPOINT};

enum { OPERATIONS = sizeof alphabet / sizeof alphabet[0], LETTERS = OPERATIONS + 2, STATES = 3 };

static void repeat(enum side_op op, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        side_do(&sides[0], op);
}

/* Nothing; some items, some of them leased or gone; and those after a checkpoint and a crash. */
static void come_to(unsigned state)
{
    begin(1);
    disk_hook = NULL;
    if (state > 0) {
        repeat(PUSH, 6);
        repeat(TAKE, 1);
        repeat(POP, 3);
        repeat(SYNC, 1);
    }
    if (state > 1) {
        repeat(CHECKPOINT, 1);
        repeat(PUSH, 4);
        repeat(BURY, 1);
        repeat(POP, 5);
    }
    disk_hook = look_within;
}

static void letter(uint64_t n)
{
    if (n < OPERATIONS)
        side_do(&sides[0], alphabet[n]);
    else
        side_reopen(n == OPERATIONS ? END_POWER : END_KILL);
    look_after_kill();
    for (int i = 0; i < 4; i++)
        look_after_cut();
}

static void sequence(unsigned state, uint64_t number, unsigned length)
{
    run.sequences++;
    chance_begin(run.sequences);
    come_to(state);
    for (unsigned i = 0; i < length && !run.violated; i++) {
        letter(number % LETTERS);
        number /= LETTERS;
    }
}

static void all_sequences(unsigned most)
{
    look_every = 1;
    run.images_most = UINT64_MAX;
    uint64_t all = 1;
    for (unsigned length = 1; length <= most; length++) {
        all *= LETTERS;
        for (unsigned state = 0; state < STATES; state++)
            for (uint64_t i = 0; i < all && !run.violated; i++)
                sequence(state, i, length);
    }
    printf("%ju sequences: ", (uintmax_t)run.sequences);
}

/* -----------------------------------------------------------------------------------------------
 */

static int usage(void)
{
    fprintf(stderr, "usage: sweep_queue images N [SEED]\n       sweep_queue sequences LENGTH\n");
    return 2;
}

int main(int argc, char **argv)
{
    const bool random = argc >= 3 && strcmp(argv[1], "images") == 0;
    if (!random && (argc != 3 || strcmp(argv[1], "sequences") != 0))
        return usage();
    const uint64_t n = strtoull(argv[2], NULL, 10);
    const uint64_t seed = run_seed(argc > 3 ? argv[3] : NULL);
    guard_install();
    log_set_level(LOG_error);
    log_open("/dev/null");
    run.program = SWEEP_QUEUE;
    disk_begin();
    const double start = run_seconds();
    if (random) {
        printf("seed %ju: ", (uintmax_t)seed);
        at_random(n, seed);
    } else {
        all_sequences((unsigned)n);
    }
    disk_hook = NULL;
    const bool all = run_tell(run_seconds() - start);
    for (unsigned i = 0; i < SIDES; i++)
        side_forget(&sides[i]);
    disk_end();
    if (random && n >= 100000 && !all)
        printf("something was never reached\n");
    return run.violated || (random && n >= 100000 && !all);
}
