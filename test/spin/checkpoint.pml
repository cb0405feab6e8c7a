/* Checkpoint and reuse of a queue file (cnode/store/FORMAT.md, 2.3 to 2.9), for SPIN: every order
 * of pushes, acks, steps of a checkpoint, kills and power cuts, and every subset of the unsynced
 * stores that a power cut can leave, within small bounds. scripts/spin runs it.
 *
 * What is modelled. One log; each record and the JUMP behind it fill a granule, so a position, a
 * sequence and a granule of the table go together; position 0 is a record that was done long ago.
 * A push is two changes: the JUMP into a new granule, where the last one has no room, then the
 * record, header last. An ack is one store in the record's state word, in any order of the items.
 * A checkpoint is captured, synced, written to the older slot, synced; only then granules are free
 * again. A file is three planes: what the cache has (a kill keeps it), what the medium has surely,
 * and what the cache had when the sync under way began. A sync that ends makes the third plane the
 * second. A power cut leaves of each word (record, JUMP, state, slot) what the medium had, what it
 * has had since, or, where more than a word was written, something torn, which no hash fits.
 * Recovery takes the newer valid slot, trusts what that names, scans on from its tail while all of
 * R1 fits, and ends with a checkpoint under the next epoch before anything is served.
 *
 * A hash is modelled by identity: a record is known by its number in the order of all pushes, which
 * gives its sequence and epoch; a state word names the record that it is done for. Hence hashes
 * never collide here.
 *
 * What must hold after each recovery (macro CLAIM): what the slot names is whole (4); the pushes
 * form a prefix (2), all of them after a kill, all durable ones after a power cut (3); each item is
 * the one that was pushed under its number, never an old record of a granule that was used again or
 * of a push that was undone (2); nothing that was durably done comes back, after a kill nothing done
 * at all, and nothing is gone that was not done (5, 6).
 *
 * What is not: the shelf (R9), the consumption limit (R8), syncs that fail (R7), other logs and
 * several records a granule; the crash sweep of the engine itself (test/c/sweep) has them.
 *
 * Each of these, when defined, breaks a rule, and the checker must find it:
 *   NOT_R4         a granule is free when the slot that gives it up is written, not when durable
 *   NOT_R5_FIRST   the slot is written without the first sync
 *   NOT_R5_SECOND  what the slot gives up is free without the second sync
 *   NOT_R6         what opening found is served before its checkpoint is durable
 *   NOT_R6_EPOCH   opening keeps the epoch
 *   NOT_R1_EPOCH   the scan does not look at the epoch
 *   NOT_R1_STATE   the check of a state word does not depend on its record
 */

#ifndef GRANULES
#define GRANULES 3
#endif
#ifndef PUSHES
#define PUSHES 4    /* in all, those that are undone with the others */
#endif
#ifndef SLOTS
#define SLOTS 5     /* checkpoints captured in all, the first of the new file with them */
#endif
#ifndef CRASHES
#define CRASHES 2
#endif

#define POSITIONS (PUSHES + 2)
#define BIT(n) (1 << (n))
#define CLAIM(what) assert(what)

#define CACHE 0
#define MEDIUM 1
#define BEGUN 2 /* the cache when the sync under way began */
#define PLANES 3
#define AT(plane, g) ((plane) * GRANULES + (g))

/* --- the file ----------------------------------------------------------------------------------- */

byte rec[PLANES * GRANULES];  /* number of the push; 0: nothing that a hash fits */
byte mark[PLANES * GRANULES]; /* state word: 0 fresh, else done, for this record */
byte jump[PLANES * GRANULES]; /* JUMP_TO; 0: nothing that a hash fits */
byte slot[PLANES * 2];        /* number of the checkpoint; 0: nothing that a hash fits */

#define JUMP_TO(position, epoch, g) (1 + (g) + GRANULES * ((position) + POSITIONS * (epoch)))

/* What stands in a record. */
byte rec_seq[PUSHES + 2];
byte rec_epoch[PUSHES + 2];
byte pushes = 1; /* made so far; the first is position 0 */

/* What stands in a slot: the table has the granules of the positions base to end - 1. */
byte slot_seq[SLOTS + 1];
byte slot_epoch[SLOTS + 1];
byte slot_base[SLOTS + 1];
byte slot_head[SLOTS + 1];
byte slot_tail[SLOTS + 1];
byte slot_end[SLOTS + 1];
byte slot_table[(SLOTS + 1) * POSITIONS];
byte slots = 0; /* captured so far */

#define TABLE(s, position) slot_table[(s) * POSITIONS + (position)]

/* --- the daemon's memory: gone with it ---------------------------------------------------------- */

byte epoch, newest; /* slot_seq of the last one written */
byte base, tail, end, finished; /* finished: bits, of what is done */
byte table[POSITIONS];
byte step;          /* of the checkpoint, see below */
byte captured;      /* the number of it */
bool opening;       /* nothing is served */

#define REST 0
#define FIRST_SYNC 1
#define SLOT 2
#define SECOND_BEGIN 3
#define SECOND_SYNC 4

/* --- what the outer world knows ----------------------------------------------------------------- */

byte pushed[POSITIONS];        /* by sequence: the push, of those that were not undone */
byte all_tail = 1;             /* pushes acknowledged */
byte all_done = BIT(0);        /* acks */
byte durable_tail = 1;         /* before the last durable point */
byte durable_done = BIT(0);
byte begun_tail, begun_done;   /* before the sync under way */
byte crashes = 0;

byte g, p, r, i; /* of loops; 0 in between, so that they make no states */
bool killed;

inline used(granule, is_used)
{
    is_used = false;
    p = base;
    do
    :: p < end -> is_used = is_used || table[p] == granule; p++
    :: else -> break
    od;
    p = 0
}

/* --- syncs --------------------------------------------------------------------------------------- */

inline sync_begin()
{
    g = 0;
    do
    :: g < GRANULES ->
        rec[AT(BEGUN, g)] = rec[AT(CACHE, g)];
        mark[AT(BEGUN, g)] = mark[AT(CACHE, g)];
        jump[AT(BEGUN, g)] = jump[AT(CACHE, g)];
        g++
    :: else -> break
    od;
    g = 0;
    slot[BEGUN * 2] = slot[CACHE * 2];
    slot[BEGUN * 2 + 1] = slot[CACHE * 2 + 1];
    begun_tail = all_tail;
    begun_done = all_done
}

/* The third plane means nothing between syncs: what it says is of no sync that is under way. */
inline forget_begun()
{
    g = 0;
    do
    :: g < GRANULES ->
        rec[AT(BEGUN, g)] = 0;
        mark[AT(BEGUN, g)] = 0;
        jump[AT(BEGUN, g)] = 0;
        g++
    :: else -> break
    od;
    g = 0;
    slot[BEGUN * 2] = 0;
    slot[BEGUN * 2 + 1] = 0;
    begun_tail = 0;
    begun_done = 0
}

inline sync_end()
{
    g = 0;
    do
    :: g < GRANULES ->
        rec[AT(MEDIUM, g)] = rec[AT(BEGUN, g)];
        mark[AT(MEDIUM, g)] = mark[AT(BEGUN, g)];
        jump[AT(MEDIUM, g)] = jump[AT(BEGUN, g)];
        g++
    :: else -> break
    od;
    g = 0;
    slot[MEDIUM * 2] = slot[BEGUN * 2];
    slot[MEDIUM * 2 + 1] = slot[BEGUN * 2 + 1];
    durable_tail = begun_tail;
    durable_done = begun_done;
    forget_begun()
}

/* --- checkpoints (2.5) --------------------------------------------------------------------------- */

/* Head: the first that is not done. The granule of the tail is never given up. */
inline capture()
{
    slots++;
    captured = slots;
    slot_epoch[captured] = epoch;
    p = base;
    do
    :: p < tail && (finished & BIT(p)) != 0 -> p++
    :: else -> break
    od;
    slot_head[captured] = p;
    slot_tail[captured] = tail;
    slot_end[captured] = end;
    slot_base[captured] = (p < end -> p : end - 1);
    p = slot_base[captured];
    do
    :: p < end -> TABLE(captured, p) = table[p]; p++
    :: else -> break
    od;
    p = 0
}

inline give_up()
{
    do
    :: base < slot_base[captured] -> table[base] = 0; base++
    :: else -> break
    od
}

inline write_slot()
{
    newest++;
    slot_seq[captured] = newest;
    slot[CACHE * 2 + newest % 2] = captured
}

/* --- the end, and what it leaves ---------------------------------------------------------------- */

/* Any version that the word has had since the last sync; a record, JUMP or slot may be torn, a state
 * word fresh in between. Words that nobody has stored have no choice. */
#define CUT_WORD(cell, at, width)                                                                  \
    if                                                                                             \
    :: cell[CACHE * width + at] == cell[MEDIUM * width + at] && begun_tail == 0 -> skip            \
    :: else ->                                                                                     \
        if                                                                                         \
        :: skip                                                                                    \
        :: cell[CACHE * width + at] != cell[MEDIUM * width + at] ->                                \
            cell[CACHE * width + at] = cell[MEDIUM * width + at]                                   \
        :: begun_tail != 0 && cell[BEGUN * width + at] != cell[MEDIUM * width + at] ->             \
            cell[CACHE * width + at] = cell[BEGUN * width + at]                                    \
        :: cell[CACHE * width + at] != cell[MEDIUM * width + at] -> cell[CACHE * width + at] = 0   \
        fi                                                                                         \
    fi

inline power_cut()
{
    g = 0;
    do
    :: g < GRANULES ->
        CUT_WORD(rec, g, GRANULES);
        CUT_WORD(mark, g, GRANULES);
        CUT_WORD(jump, g, GRANULES);
        g++
    :: else -> break
    od;
    CUT_WORD(slot, 0, 2);
    CUT_WORD(slot, 1, 2);
    g = 0;
    do
    :: g < GRANULES ->
        rec[AT(MEDIUM, g)] = rec[AT(CACHE, g)];
        mark[AT(MEDIUM, g)] = mark[AT(CACHE, g)];
        jump[AT(MEDIUM, g)] = jump[AT(CACHE, g)];
        g++
    :: else -> break
    od;
    g = 0;
    slot[MEDIUM * 2] = slot[CACHE * 2];
    slot[MEDIUM * 2 + 1] = slot[CACHE * 2 + 1]
}

inline forget_memory()
{
    forget_begun();
    p = 0;
    do
    :: p < POSITIONS -> table[p] = 0; p++
    :: else -> break
    od;
    p = 0;
    epoch = 0;
    newest = 0;
    base = 0;
    tail = 0;
    end = 0;
    finished = 0;
    step = REST;
    captured = 0
}

/* --- opening and recovery (2.7) ------------------------------------------------------------------ */

#ifdef NOT_R1_EPOCH
#define EPOCH_FITS(e) true
#else
#define EPOCH_FITS(e) ((e) == epoch)
#endif
#ifdef NOT_R1_STATE
#define STATE_FITS(g) true
#define IS_DONE(g) (mark[AT(CACHE, g)] != 0)
#else
#define STATE_FITS(g) (mark[AT(CACHE, g)] == 0 || mark[AT(CACHE, g)] == rec[AT(CACHE, g)])
#define IS_DONE(g) (mark[AT(CACHE, g)] == rec[AT(CACHE, g)])
#endif

inline choose_slot()
{
    captured = slot[CACHE * 2];
    r = slot[CACHE * 2 + 1];
    if
    :: captured == 0 || (r != 0 && slot_seq[r] > slot_seq[captured]) -> captured = r
    :: else -> skip
    fi;
    r = 0;
    CLAIM(captured != 0);
    epoch = slot_epoch[captured];
    newest = slot_seq[captured];
    base = slot_base[captured];
    tail = slot_tail[captured];
    end = slot_end[captured];
    p = base;
    do
    :: p < end -> table[p] = TABLE(captured, p); p++
    :: else -> break
    od;
    p = 0
}

inline note_done(position)
{
    if
    :: IS_DONE(table[position]) -> finished = finished | BIT(position)
    :: else -> skip
    fi
}

/* What the slot names. All before its head is done. */
inline read_trusted()
{
    finished = BIT(slot_head[captured]) - 1;
    i = slot_head[captured];
    do
    :: i < tail ->
        r = rec[AT(CACHE, table[i])];
        CLAIM(r != 0 && rec_seq[r] == i);
        CLAIM(STATE_FITS(table[i]));
        note_done(i);
        i++
    :: else -> break
    od;
    i = 0;
    r = 0
}

/* Behind the tail a JUMP and a record count if everything fits. */
inline follow_jump()
{
    g = GRANULES;
    i = 0;
    do
    :: i < GRANULES ->
        e = 0;
        do
        :: e <= epoch + 1 ->
            if
            :: jump[AT(CACHE, table[end - 1])] == JUMP_TO(end, e, i) && EPOCH_FITS(e) -> g = i
            :: else -> skip
            fi;
            e++
        :: else -> break
        od;
        e = 0;
        i++
    :: else -> break
    od;
    i = 0;
    is_used = true;
    if
    :: g < GRANULES -> used(g, is_used)
    :: else -> skip
    fi;
    if
    :: !is_used -> table[end] = g; end++
    :: else -> skip
    fi;
    g = 0
}

inline find_tail()
{
    goes_on = true;
    do
    :: goes_on && tail < POSITIONS - 1 ->
        if
        :: end == tail -> follow_jump()
        :: else -> skip
        fi;
        is_used = false;
        r = (end > tail -> rec[AT(CACHE, table[tail])] : 0);
        goes_on = r != 0 && rec_seq[r] == tail && EPOCH_FITS(rec_epoch[r]) && STATE_FITS(table[tail]);
        if
        :: goes_on -> note_done(tail); tail++
        :: else -> skip
        fi;
        r = 0
    :: else -> break
    od;
    goes_on = false
}

/* What is there against what was pushed and acknowledged. */
inline compare()
{
    CLAIM(tail <= all_tail);
    CLAIM(tail >= durable_tail);
    CLAIM(!killed || tail == all_tail);
    p = 0;
    do
    :: p < tail ->
        if
        :: (finished & BIT(p)) != 0 -> CLAIM((all_done & BIT(p)) != 0)
        :: else ->
            CLAIM((durable_done & BIT(p)) == 0);
            CLAIM(!killed || (all_done & BIT(p)) == 0);
            CLAIM(rec[AT(CACHE, table[p])] == pushed[p])
        fi;
        p++
    :: else -> break
    od;
    p = 0
}

/* What a power cut has undone has never been; what it has left is durable. */
inline agree()
{
    p = tail;
    do
    :: p < POSITIONS -> pushed[p] = 0; p++
    :: else -> break
    od;
    p = 0;
    all_tail = tail;
    all_done = finished;
    if
    :: !killed -> durable_tail = tail; durable_done = finished
    :: else -> skip
    fi;
    killed = false
}

inline recover()
{
    choose_slot();
    read_trusted();
    find_tail();
    compare();
    agree();
    captured = 0;
#ifndef NOT_R6_EPOCH
    epoch++;
#endif
#ifndef NOT_R6
    opening = true
#endif
}

/* --- changes (2.3) ------------------------------------------------------------------------------- */

inline extend()
{
    g = 0;
    do
    :: g < GRANULES ->
        used(g, is_used);
        if
        :: !is_used -> break
        :: else -> g++
        fi
    :: else -> break
    od;
    is_used = false;
    if
    :: g < GRANULES ->
        jump[AT(CACHE, table[end - 1])] = JUMP_TO(end, epoch, g);
        table[end] = g;
        end++
    :: else -> skip /* no space: nothing is stored */
    fi;
    g = 0
}

inline append()
{
    pushes++;
    rec_seq[pushes] = tail;
    rec_epoch[pushes] = epoch;
    mark[AT(CACHE, table[tail])] = 0;
    rec[AT(CACHE, table[tail])] = pushes;
    pushed[tail] = pushes;
    tail++;
    all_tail = tail
}

inline ack(position)
{
    mark[AT(CACHE, table[position])] = rec[AT(CACHE, table[position])];
    finished = finished | BIT(position);
    all_done = all_done | BIT(position)
}

#define IS_LIVE(position) (tail > (position) && base <= (position) && (finished & BIT(position)) == 0)
#define SERVED (!opening)

/* --- a new file, and all that can happen to it --------------------------------------------------- */

inline make_file()
{
    rec_seq[1] = 0;
    pushed[0] = 1;
    epoch = 1;
    tail = 1;
    end = 1;
    finished = BIT(0);
    rec[AT(CACHE, 0)] = 1;
    mark[AT(CACHE, 0)] = 1;
    capture();
    write_slot();
    sync_begin();
    sync_end();
    captured = 0
}

active proctype daemon()
{
    byte e = 0;
    bool is_used = false;
    bool goes_on = false;
    d_step { make_file() }
end_served:
    do
    :: d_step { SERVED && end == tail && tail < POSITIONS - 1 && pushes <= PUSHES -> extend() }
    :: d_step { SERVED && end > tail && pushes <= PUSHES -> append() }
    :: d_step { SERVED && IS_LIVE(1) -> ack(1) }
    :: d_step { SERVED && IS_LIVE(2) -> ack(2) }
    :: d_step { SERVED && IS_LIVE(3) -> ack(3) }
#if PUSHES > 3
    :: d_step { SERVED && IS_LIVE(4) -> ack(4) }
#endif

    :: d_step { step == REST && slots < SLOTS ->
                capture();
#ifdef NOT_R5_FIRST
                step = SLOT }
#else
                sync_begin(); step = FIRST_SYNC }
#endif
    :: d_step { step == FIRST_SYNC -> sync_end(); step = SLOT }
    :: d_step { step == SLOT ->
                write_slot();
#ifdef NOT_R4
                give_up();
#endif
                step = SECOND_BEGIN }
    :: d_step { step == SECOND_BEGIN ->
#ifdef NOT_R5_SECOND
                give_up(); captured = 0; opening = false; step = REST }
#else
                sync_begin(); step = SECOND_SYNC }
#endif
    :: d_step { step == SECOND_SYNC ->
                sync_end(); give_up(); captured = 0; opening = false; step = REST }

    :: d_step { crashes < CRASHES ->
                crashes++; killed = true; opening = false; forget_memory(); recover() }
    :: atomic { crashes < CRASHES ->
                crashes++; opening = false;
                power_cut();
                d_step { forget_memory(); recover() } }
    od
}
