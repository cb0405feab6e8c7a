/* Crash images of the real journal and of durable objects: a daemon with two queues, counters, a
 * region and a block store on simulated files; at the ends of operations, at each store within them
 * and within commits, syncs, turns of halves, starts and replays images are taken of what a power
 * cut or a kill could have left, and on each the next daemon starts and is held against the models.
 *
 *   sweep_journal images N [SEED]     until N images have been looked at; SEED may be `random`
 *
 * Prints what it did; on the first violation what is wrong and how to come there again, and exits
 * with 1.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sweep/daemon_look.h"
#include "sweep/run.h"
#include "sys/guard.h"
#include "sys/log.h"

enum { LOOK_EVERY = 160, OPERATIONS = 600, ALL_REACHED_AT = 100000 };

static void look_within(void)
{
    static bool inside;
    if (inside || run.violated || !one_in(LOOK_EVERY))
        return;
    inside = true;
    daemon_look(!one_in(4));
    inside = false;
}

static void look_around(unsigned i)
{
    daemon_look(true);
    if (i % 3 == 0 && run_goes_on())
        daemon_look(true);
    if (i % 6 == 0 && run_goes_on())
        daemon_look(false);
    if (i % 8 == 0 && run_goes_on())
        daemon_look_at_damage();
    if (i % 8 == 4 && run_goes_on())
        daemon_look_at_strangers();
}

static bool has_room(void)
{
    return sides[0].model.tail < MODEL_ITEMS - 50 && sides[1].model.tail < MODEL_ITEMS - 50;
}

static void one_life(void)
{
    chance_begin(run.life);
    disk_hook = NULL;
    daemon_begin();
    disk_hook = look_within;
    for (unsigned i = 0; i < OPERATIONS && run_goes_on() && has_room(); i++) {
        daemon_operate();
        if (run_goes_on())
            look_around(i);
        if (run_goes_on() && one_in(80))
            daemon_restart((enum side_end)below(3));
    }
    disk_hook = NULL;
    daemon_forget();
}

static int usage(void)
{
    fprintf(stderr, "usage: sweep_journal images N [SEED]\n");
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 3 || strcmp(argv[1], "images") != 0)
        return usage();
    const uint64_t n = strtoull(argv[2], NULL, 10);
    const uint64_t seed = run_seed(argc > 3 ? argv[3] : NULL);
    guard_install();
    log_set_level(LOG_error);
    log_open("/dev/null");
    run.program = SWEEP_JOURNAL;
    run.fails_every = 150;
    run.images_most = n;
    disk_begin();
    tree_begin();
    printf("seed %ju: ", (uintmax_t)seed);
    const double start = run_seconds();
    for (run.life = seed; run_goes_on(); run.life++)
        one_life();
    const bool all = run_tell(run_seconds() - start);
    disk_end();
    if (n >= ALL_REACHED_AT && !all)
        printf("something was never reached\n");
    return run.violated || (n >= ALL_REACHED_AT && !all);
}
