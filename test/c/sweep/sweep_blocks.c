/* Crash images of the real block store: operations on a small one; at their ends, at each store
 * within them, within syncs, repairs and openings images are taken of what a power cut or a kill
 * could have left, and each is opened, read, repaired and held against the model.
 *
 *   sweep_blocks images N [SEED]      until N images have been looked at; SEED may be `random`
 *   sweep_blocks sequences LENGTH     all sequences of up to so many operations, from three states
 *
 * Prints what it did; on the first violation what is wrong and how to come there again, and exits
 * with 1.
 */
#include <stdio.h>
#include <stdlib.h>

#include "store/failed.h"
#include "store/put.h"
#include "sweep/run.h"
#include "sweep/store.h"
#include "sweep/tree.h"
#include "sys/guard.h"
#include "sys/log.h"
#include "sys/os.h"

enum { OPERATIONS = 400, ALL_REACHED_AT = 100000 };

enum end { END_POWER, END_KILL, END_CLOSE };

static const uint32_t sizes[] = {8, 16, 1, 21, 24, 40, 200, 600};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static struct disk_file file;
static struct disk_file scratch; /* an image of it */
static struct object live;
static struct store store = {.live = &live};
static bool made;   /* and that was told */
static bool serves; /* nothing is under way but operations */
static uint64_t look_every;

/* Of another store with blocks of the same size. */
static struct image strangers[SIZES];
static unsigned size_index;

static void must_be(bool is_so, const char *what)
{
    if (!is_so)
        violation("while it runs: %s", what);
}

/* --- images ---------------------------------------------------------------------------------- */

static struct map map_of(const struct image *image)
{
    memcpy(scratch.mapped, image->bytes, scratch.most);
    scratch.seen_size = image->size;
    return disk_map(&scratch);
}

/* What was not told to be made may be half made; then it can be made still. */
static const char *make_it(struct object *o, enum err e)
{
    static char text[BLOCK_WHY + 40];
    char why[BLOCK_WHY] = "";
    uint32_t size = store.slots.size;
    if (made || (e != ERR_NOT_BLOCKS && e != ERR_DAMAGED))
        return err_atom(e);
    run.reached[HALF_MADE] += e == ERR_DAMAGED;
    e = block_init(o, &size, 1, why);
    snprintf(text, sizeof text, "it cannot be made: %s %s", err_atom(e), why);
    return e == OK ? NULL : text;
}

static void look_at(const struct image *image, bool power, bool killed)
{
    char why[BLOCK_WHY];
    struct object o = {.kind = OBJECT_REGION, .map = map_of(image)};
    enum err e = block_open(&o, why);
    const char *wrong = e == OK ? NULL : make_it(&o, e);
    run.images++;
    if (wrong == NULL)
        wrong = slots_refuse(&store.slots, &o, killed);
    if (wrong != NULL)
        violation("after a %s: %s", power ? "power cut" : killed ? "kill" : "failure", wrong);
    block_close(&o);
}

static void look_after_kill(void)
{
    static struct image image;
    disk_kill(&file, &image);
    look_at(&image, false, !live.failed);
}

static void look_after_cut(void)
{
    static struct image image;
    disk_cut(&file, (enum cut)below(CUTS), &image);
    look_at(&image, true, false);
}

/* Always where what is torn is stored over: that is rare. */
static void look_within(void)
{
    static bool inside;
    if (inside || run.violated || !(store.slots.over_torn || one_in(look_every)))
        return;
    inside = true;
    look_after_kill();
    look_after_cut();
    look_after_cut();
    inside = false;
}

/* --- damaged images -------------------------------------------------------------------------- */

static void flip(struct image *image)
{
    for (uint64_t n = 1 + below(8); n > 0; n--)
        image->bytes[below(image->size)] ^= (uint8_t)(1 << below(8));
}

/* A sector, or a slot, that went to the wrong place. */
static void misplace(struct image *image, uint64_t from, uint64_t len)
{
    const uint64_t places = (image->size - from) / len;
    if (image->size < from + 2 * len)
        return;
    memcpy(image->bytes + from + below(places) * len, image->bytes + from + below(places) * len,
           len);
    run.reached[SWAPPED]++;
}

/* Sectors of another store, but not its first. */
static void mingle(struct image *image)
{
    for (uint32_t at = 2 * 4096; at < image->size; at += DISK_SECTOR)
        if (one_in(2))
            memcpy(image->bytes + at, strangers[size_index].bytes + at,
                   image->size - at < DISK_SECTOR ? image->size - at : DISK_SECTOR);
}

static void damage(struct image *image)
{
    const uint64_t slot = 8 + align_up(store.slots.size, 8);
    switch (below(6)) {
    case 0: misplace(image, 0, DISK_SECTOR); break;
    case 1: misplace(image, 8192, slot); break;
    case 2: mingle(image); break;
    case 3: image->size = (uint32_t)below(image->size); break;
    default: flip(image); break;
    }
    memset(image->bytes + image->size, 0, file.most - image->size);
}

/* Nothing is told that was not stored there. */
static void look_at_damage(void)
{
    static struct image image;
    char why[BLOCK_WHY];
    disk_kill(&file, &image);
    damage(&image);
    struct object o = {.kind = OBJECT_REGION, .map = map_of(&image)};
    enum err e = block_open(&o, why);
    const char *wrong = e == OK ? slots_refuse_damaged(&store.slots, &o) : NULL;
    run.images++;
    run.reached[REFUSAL] += e == ERR_DAMAGED || e == ERR_NOT_BLOCKS;
    if (e != OK && e != ERR_DAMAGED && e != ERR_NOT_BLOCKS)
        wrong = err_atom(e);
    if (wrong != NULL)
        violation("of a damaged file: %s", wrong);
    block_close(&o);
}

/* --- its end, and the next opening ----------------------------------------------------------- */

static void let_sync_fail(void)
{
    file.fails = run.fails_every > 0 && one_in(run.fails_every);
}

/* What the image holds is what there is. */
static bool become(const struct image *image, bool power)
{
    char why[BLOCK_WHY];
    struct object o = {.kind = OBJECT_REGION, .map = map_of(image)};
    enum err e = block_open(&o, why);
    const char *wrong = e == OK ? slots_become(&store.slots, &o, power) : why;
    if (wrong != NULL)
        violation("it does not open again: %s", wrong);
    block_close(&o);
    return wrong == NULL;
}

/* Where a sync has failed every page is stored again first. */
static void open_again(void)
{
    char why[BLOCK_WHY];
    const bool unsynced = tree_live.nodes[file.fd].unsynced;
    file.fails = run.fails_every > 0 && unsynced && one_in(3);
    enum err e = object_mend(&live);
    file.fails = false;
    run.reopenings++;
    if (e != OK) {
        run.reached[FAILED_OPENING]++;
        must_be(e == ERR_EIO && live.failed, err_atom(e));
        return;
    }
    if (unsynced)
        slots_durable(&store.slots, store.slots.now, store.slots.capacity);
    e = block_open(&live, why);
    must_be(e == OK, "it does not open again");
    serves = true;
    if (e == OK)
        store_compare(&store);
}

static void live_on(const struct image *image, bool power)
{
    if (!become(image, power))
        return;
    serves = false;
    block_close(&live);
    disk_become(&file, image, power);
    live = (struct object){.kind = OBJECT_REGION, .map = disk_map(&file)};
    open_again();
}

/* What has failed can be read, and is not changed. */
static void try_in_vain(void)
{
    uint64_t a;
    bool freed;
    const size_t n = file.n;
    if (live.blocks == NULL)
        return;
    must_be(block_find(&live, 1, true, &a) == ERR_EIO, "a failed store takes blocks");
    must_be(block_free(&live, 0, true, &freed) == ERR_EIO, "a failed store frees");
    must_be(block_grow(&live, 1) == ERR_EIO, "a failed store grows");
    must_be(object_sync(&live) == ERR_EIO && file.n == n, "a failed store is synced");
}

static void recover(void)
{
    static struct image image;
    while (live.failed && run_goes_on()) {
        try_in_vain();
        disk_kill(&file, &image);
        look_at(&image, false, false);
        if (!run.violated)
            live_on(&image, false);
    }
}

static void reopen(enum end end)
{
    static struct image image;
    if (end == END_POWER)
        disk_cut(&file, (enum cut)below(CUTS), &image);
    else
        disk_kill(&file, &image);
    if (end == END_CLOSE)
        block_close(&live);
    live_on(&image, end == END_POWER);
    recover();
}

/* By somebody else, while nobody had it open. */
static void cut_off(void)
{
    static struct image image;
    const uint64_t slot = 8 + align_up(store.slots.size, 8);
    disk_kill(&file, &image);
    if (image.size <= 2 * 4096)
        return;
    image.size = one_in(4) ? 4096 + (uint32_t)below(image.size - 4096)
                           : 2 * 4096 + (uint32_t)below(image.size - 2 * 4096);
    memset(image.bytes + image.size, 0, file.most - image.size);
    slots_cut(&store.slots, image.size < 2 * 4096 ? 0 : (image.size - 2 * 4096) / slot);
    run.reached[SHRINK]++;
    live_on(&image, true);
    recover();
}

/* --- operations ------------------------------------------------------------------------------ */

static void sync_it(void)
{
    const uint64_t time = store.slots.now;
    const uint64_t capacity = store.slots.capacity;
    let_sync_fail();
    enum err e = object_sync(&live);
    file.fails = false;
    if (e == OK)
        slots_durable(&store.slots, time, capacity);
    must_be(e == OK || (e == ERR_EIO && live.failed), err_atom(e));
    if (e == OK && !run.violated)
        store_compare(&store);
    run.ops++;
}

static void operate_beside(struct disk_file *f)
{
    static const enum store_op ops[] = {STORE, FREE, READ};
    static bool inside;
    if (inside || f->forgets || !serves || run.violated || one_in(2))
        return;
    inside = true;
    for (uint64_t n = 1 + below(3); n > 0; n--)
        store_do(&store, ops[below(sizeof ops / sizeof ops[0])]);
    run.reached[BESIDE]++;
    inside = false;
}

static void operate(enum store_op op)
{
    store_do(&store, op);
    if (!run.violated && !live.failed)
        store_compare(&store);
}

/* --- a new store ----------------------------------------------------------------------------- */

/* Whatever it is, it stays. */
static void make_of_something(void)
{
    char why[BLOCK_WHY];
    uint32_t size = store.slots.size;
    if (live.map.size == 0)
        return;
    const uint64_t at = below(live.map.size);
    must(put_bytes(&live, at, "x", 1) == OK);
    const size_t n = file.n;
    enum err e = block_init(&live, &size, 1, why);
    must_be(e == ERR_NOT_BLOCKS && file.n == n, "a store is made of something");
    must(put_bytes(&live, at, "", 1) == OK);
    disk_settle(&file);
}

/* Until that is told. A sync that fails is the end of the object, not of the file. */
static void make(void)
{
    char why[BLOCK_WHY] = "";
    uint32_t size = store.slots.size;
    for (;;) {
        let_sync_fail();
        enum err e = block_init(&live, &size, 1, why);
        file.fails = false;
        if (e == OK)
            break;
        must_be(e == ERR_EIO && live.failed, "it cannot be made");
        if (run.violated)
            return;
        block_close(&live);
        live = (struct object){.kind = OBJECT_REGION, .map = disk_map(&file)};
        must(object_mend(&live) == OK);
    }
    made = serves = true;
    store.slots.capacity = block_capacity(&live);
    slots_durable(&store.slots, store.slots.now, store.slots.capacity);
}

static void begin(unsigned index)
{
    disk_hook = NULL;
    made = serves = false;
    size_index = index;
    block_close(&live);
    slots_init(&store.slots, sizes[index]);
    tree_clear(&tree_live);
    tree_clear(&tree_scratch);
    tree_add(&tree_live, 0, "b", &file, slots_file_most(sizes[index]));
    tree_add(&tree_scratch, 0, "b", &scratch, file.most);
    must(os.allocate(file.fd, 0, (off_t)below(one_in(4) ? 9 : 9000)) == 0);
    disk_settle(&file);
    live = (struct object){.kind = OBJECT_REGION, .map = disk_map(&file)};
    make_of_something();
    disk_hook = look_within;
    make();
}

/* --- at random ------------------------------------------------------------------------------- */

static void random_operation(void)
{
    static const enum store_op ops[] = {STORE, STORE,        STORE,   STORE_MANY, FREE,
                                        FREE,  FREE,         FREE,    READ,       WALK,
                                        GROW,  REPAIR_PIECE, DRY_RUN, STORE};
    if (one_in(10))
        sync_it();
    else
        operate(ops[below(sizeof ops / sizeof ops[0])]);
    recover();
}

static void look_around(unsigned i)
{
    if (i % 3 == 0)
        look_after_kill();
    for (int k = 0; k < 3; k++)
        look_after_cut();
    if (i % 4 == 0 && !run.violated)
        look_at_damage();
}

static void one_life(void)
{
    chance_begin(run.life);
    const uint64_t reopen_every = one_in(2) ? 5 : 24; /* what is torn is stored over */
    begin((unsigned)below(SIZES));
    for (unsigned i = 0; i < OPERATIONS && run_goes_on(); i++) {
        random_operation();
        if (run_goes_on())
            look_around(i);
        if (run_goes_on() && one_in(reopen_every))
            reopen((enum end)below(3));
        if (run_goes_on() && one_in(80))
            cut_off();
        if (!slots_have_room(&store.slots) && run_goes_on())
            sync_it();
        recover();
    }
    disk_kill(&file, &strangers[size_index]);
}

static void at_random(uint64_t images, uint64_t seed)
{
    look_every = 16;
    run.fails_every = 24;
    run.images_most = images;
    for (run.life = seed; run_goes_on(); run.life++)
        one_life();
}

/* --- all sequences --------------------------------------------------------------------------- */

/* Beside these a sync, a cut of the power and a kill. */
static const enum store_op alphabet[] = {STORE, STORE_MANY, FREE, READ, GROW, REPAIR_PIECE};

enum { LETTERS = sizeof alphabet / sizeof alphabet[0] + 3, STATES = 3 };

/* Nothing; some blocks; and those after more, some torn, and a crash. */
static void come_to(unsigned state)
{
    disk_hook = NULL;
    if (state > 0) {
        store_do(&store, STORE_MANY);
        store_do(&store, STORE_MANY);
        sync_it();
        store_do(&store, FREE);
        store_do(&store, STORE);
    }
    if (state > 1) {
        store_do(&store, STORE_MANY);
        reopen(END_POWER);
    }
    disk_hook = look_within;
}

static void letter(uint64_t n)
{
    switch (LETTERS - n) {
    case 1: reopen(END_POWER); break;
    case 2: reopen(END_KILL); break;
    case 3: sync_it(); break;
    default: operate(alphabet[n]); break;
    }
    look_after_kill();
    for (int i = 0; i < 4; i++)
        look_after_cut();
}

static void sequence(unsigned state, uint64_t number, unsigned length)
{
    run.sequences++;
    chance_begin(run.sequences);
    begin((unsigned)(run.sequences % SIZES));
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

/* --------------------------------------------------------------------------------------------- */

static int usage(void)
{
    fprintf(stderr, "usage: sweep_blocks images N [SEED]\n       sweep_blocks sequences LENGTH\n");
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
    run.program = SWEEP_BLOCKS;
    disk_begin();
    tree_begin();
    disk_beside = operate_beside;
    const double start = run_seconds();
    if (random) {
        printf("seed %ju: ", (uintmax_t)seed);
        at_random(n, seed);
    } else {
        all_sequences((unsigned)n);
    }
    disk_hook = NULL;
    const bool all = run_tell(run_seconds() - start);
    block_close(&live);
    disk_end();
    if (random && n >= ALL_REACHED_AT && !all)
        printf("something was never reached\n");
    return run.violated || (random && n >= ALL_REACHED_AT && !all);
}
