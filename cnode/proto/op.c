#include "proto/op.h"

#include <ei.h>

#include "proto/engine.h"
#include "proto/ops.h"
#include "proto/reply.h"

/* One row a request and number of arguments, in the order of the help. A name's rows stand
 * together. */
#define OP(name, signature, kind, flags, run, help)                                                \
    {                                                                                              \
#name, signature, OBJECT_##kind, flags, run, NULL, help                                    \
    }

/* With a second half on the loop, RUN_done. */
#define OP_DONE(name, signature, kind, flags, run, help)                                           \
    {                                                                                              \
#name, signature, OBJECT_##kind, flags, run, run##_done, help                              \
    }

#define OBJECT_ANY OBJECT_CLOSED

/* No request of others. */
#define OWN(name, signature, kind, flags, run, help)                                               \
    {                                                                                              \
#name, signature, OBJECT_##kind, OP_OWN | (flags), run, NULL, help                         \
    }

/* clang-format off */
static const struct op rows[] = {
    OP(open, "nuul", REGION, OP_OPENS, NULL, "open a region of a file"),
    OP(open_counters, "nu", COUNTERS, OP_OPENS, NULL, "open N counters"),
    OP(open_counters, "nul", COUNTERS, OP_OPENS, NULL, "open N counters, with options"),
    OP_DONE(close, "c", ANY, OP_ALONE, op_close, "close a handle"),
    OP(pread, "ouu", REGION, 0, op_pread, "bytes from a position on"),
    OP(pread, "ol", REGION, 0, op_pread_list, "bytes from each position on"),
    OP(pwrite, "oub", REGION, OP_CHANGES, op_pwrite, "write bytes at a position"),
    OP(pwrite, "ol", REGION, OP_CHANGES, op_pwrite_list, "write bytes at each position"),
    OP(read_line, "ou", REGION, 0, op_read_line, "a line from a position on"),
    OP(resize, "hu", REGION, OP_CHANGES, op_resize, "another size, 0: double"),
    OP(truncate, "hu", REGION, OP_CHANGES, op_truncate, "cut to a size"),
    OP(allocate, "huu", REGION, OP_CHANGES, op_allocate, "make sure of a size"),
    OP(advise, "huut", REGION, 0, op_advise, "how it will be used"),
    OP(flush, "o", ANY, 0, op_flush, "begin to write back"),
    OP(sync, "o", ANY, 0, op_sync, "write back, and wait for it"),
    OP(datasync, "o", ANY, 0, op_sync, "as sync"),
    OP(patomic_add, "oui", REGION, OP_CHANGES, op_patomic_add, "add to the integer there"),
    OP(patomic_sub, "oui", REGION, OP_CHANGES, op_patomic_sub, "subtract"),
    OP(patomic_and, "oui", REGION, OP_CHANGES, op_patomic_and, "bits and"),
    OP(patomic_or, "oui", REGION, OP_CHANGES, op_patomic_or, "bits or"),
    OP(patomic_xor, "oui", REGION, OP_CHANGES, op_patomic_xor, "bits exclusive or"),
    OP(patomic_xchg, "oui", REGION, OP_CHANGES, op_patomic_xchg, "exchange"),
    OP(patomic_cas, "ouii", REGION, OP_CHANGES, op_patomic_cas, "compare and exchange"),
    OP(patomic_read_integer, "ou", REGION, 0, op_patomic_read_integer, "the integer there"),
    OP(patomic_write_integer, "oui", REGION, OP_CHANGES, op_patomic_write_integer, "store it"),
    OP(inc_counter, "ou", COUNTERS, OP_CHANGES, op_inc_counter, "add 1"),
    OP(inc_counter, "oui", COUNTERS, OP_CHANGES, op_inc_counter, "add"),
    OP(dec_counter, "ou", COUNTERS, OP_CHANGES, op_dec_counter, "subtract 1"),
    OP(dec_counter, "oui", COUNTERS, OP_CHANGES, op_dec_counter, "subtract"),
    OP(set_counter, "oui", COUNTERS, OP_CHANGES, op_set_counter, "set"),
    OP(read_counter, "ou", COUNTERS, 0, op_read_counter, "read"),
    OP(update_counters, "ol", COUNTERS, OP_CHANGES, op_update_counters, "add to many, all or none"),
    OP(read_counters, "o", COUNTERS, 0, op_read_counters, "read all"),
    OP(read_counters, "ol", COUNTERS, 0, op_read_counters, "read these"),
    OP(init_block_storage, "ou", BLOCKS, OP_CHANGES, op_init_block_storage, "make a store of blocks of a size"),
    OP(store_block, "ob", BLOCKS, OP_CHANGES, op_store_block, "store a block, tell its address"),
    OP(store_blocks, "ol", BLOCKS, OP_CHANGES, op_store_blocks, "store blocks, all or none"),
    OP(read_block, "ou", BLOCKS, 0, op_read_block, "the block at an address"),
    OP(read_blocks, "ol", BLOCKS, 0, op_read_blocks, "the blocks at these addresses"),
    OP(read_blocks, "ouu", BLOCKS, 0, op_read_blocks, "blocks that are there, from an address on"),
    OP(free_block, "ou", BLOCKS, OP_CHANGES, op_free_block, "free an address"),
    OP(free_blocks, "ol", BLOCKS, OP_CHANGES, op_free_blocks, "free addresses"),
    OP(repair_block_storage, "ol", BLOCKS, OP_CHANGES, op_repair_block_storage, "put the map right, free torn blocks"),
    OP(open_queue, "nul", QUEUE, OP_OPENS, NULL, "open a queue"),
    OP(push, "ot", QUEUE, OP_CHANGES, op_push, "append an item"),
    OP(push_many, "ol", QUEUE, OP_CHANGES, op_push_many, "append items, all or none"),
    OP(pop, "o", QUEUE, OP_CHANGES | OP_GIVES, op_pop, "take the first item out"),
    OP(pop_wait, "ow", QUEUE, OP_CHANGES | OP_GIVES, op_pop_wait, "take the first item out, or wait for one"),
    OP(pop_many, "ou", QUEUE, OP_CHANGES | OP_GIVES, op_pop_many, "take the first items out"),
    OP(pop_many, "ouw", QUEUE, OP_CHANGES | OP_GIVES, op_pop_many, "take the first items out, or wait"),
    OP(take, "o", QUEUE, OP_CHANGES | OP_GIVES, op_take, "lease the first item"),
    OP(take, "ow", QUEUE, OP_CHANGES | OP_GIVES, op_take, "lease the first item, or wait for one"),
    OP(take, "owm", QUEUE, OP_CHANGES | OP_GIVES, op_take, "lease the first item, for a time"),
    OP(take_many, "ou", QUEUE, OP_CHANGES | OP_GIVES, op_take_many, "lease the first items"),
    OP(take_many, "ouw", QUEUE, OP_CHANGES | OP_GIVES, op_take_many, "lease the first items, or wait"),
    OP(take_many, "ouwm", QUEUE, OP_CHANGES | OP_GIVES, op_take_many, "lease the first items, for a time"),
    OP(ack, "ou", QUEUE, OP_CHANGES, op_ack, "a leased item is done"),
    OP(ack_many, "ol", QUEUE, OP_CHANGES, op_ack_many, "leased items are done"),
    OP(release, "ou", QUEUE, OP_CHANGES, op_release, "a leased item goes back"),
    OP(release, "ouu", QUEUE, OP_CHANGES, op_release, "a leased item goes back after a time"),
    OP(release_many, "ol", QUEUE, OP_CHANGES, op_release_many, "leased items go back"),
    OP(release_many, "olt", QUEUE, OP_CHANGES, op_release_many, "leased items go back unseen"),
    OP(touch, "ou", QUEUE, OP_CHANGES, op_touch, "the time of a lease begins anew"),
    OP(bury, "ou", QUEUE, OP_CHANGES, op_bury, "put a leased item aside"),
    OP(kick, "ou", QUEUE, OP_CHANGES, op_kick, "items that were put aside are ready"),
    OP(peek_many, "ou", QUEUE, 0, op_peek_many, "look at the first items"),
    OP(peek_many, "ouu", QUEUE, 0, op_peek_many, "look at items from one on"),
    OP(rpeek_many, "ou", QUEUE, 0, op_rpeek_many, "look at the last items"),
    OP(rpeek_many, "ouu", QUEUE, 0, op_rpeek_many, "look at items from one back"),
    OP(peek_buried, "ou", QUEUE, 0, op_peek_buried, "look at items that were put aside"),
    OP(length, "o", QUEUE, 0, op_length, "how many items are ready"),
    OP_DONE(erase, "o", QUEUE, OP_CHANGES | OP_ALONE, op_erase, "take everything out"),
    OP(subscribe, "otu", QUEUE, OP_CHANGES | OP_GIVES, op_subscribe, "let items come as messages"),
    OP(unsubscribe, "ot", QUEUE, 0, op_unsubscribe, "no more of them"),
    OP(unsubscribe, "ott", QUEUE, 0, op_unsubscribe, "no more, and keep those that came"),
    OWN(move_in, "hbuut", QUEUE, OP_CHANGES, op_move_in, "append an item of another queue"),
    OP(snapshot, "of", ANY, OP_ALONE | OP_COPIES, op_snapshot, "copy to a new file, as it is now"),
    OP(restore, "ff", ANY, OP_MAKES, op_restore, "make a file of a copy, if that is whole"),
    OP(barrier, "h", ANY, 0, op_barrier, "what became of casts"),
    OP(batch, "l", ANY, OP_HERE | OP_BATCH, NULL, "many requests in order"),
    OP(info, "", ANY, OP_HERE | OP_SURVEYS, op_info, "the daemon"),
    OP(info, "o", ANY, OP_LOOKS, op_info_object, "an object"),
    OP(list, "", ANY, OP_HERE | OP_SURVEYS, op_list, "the open objects"),
    OP(clients, "", ANY, OP_HERE | OP_SURVEYS, op_clients, "the connected nodes"),
    OP(metrics, "", ANY, OP_HERE | OP_SURVEYS, op_metrics, "all figures, as text for Prometheus"),
    OP(ping, "", ANY, OP_HERE, op_ping, "pong"),
};
/* clang-format on */

enum { ROWS = sizeof rows / sizeof rows[0], BUCKETS = 256 };

/* Names hash to the first of their rows; a bucket holds a row's number + 1. */
static uint8_t buckets[BUCKETS];

static uint32_t hash_of(struct span name)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ name.at[i]) * 16777619u;
    return h ^ h >> 15;
}

static bool has_name(const struct op *row, struct span name)
{
    return span_equal(span_text(row->name), name);
}

__attribute__((constructor)) static void fill_buckets(void)
{
    for (size_t i = ROWS; i-- > 0;) {
        if (i > 0 && strcmp(rows[i].name, rows[i - 1].name) == 0)
            continue;
        uint32_t h = hash_of(span_text(rows[i].name));
        while (buckets[h % BUCKETS] != 0)
            h++;
        buckets[h % BUCKETS] = (uint8_t)(i + 1);
    }
}

const struct op *op_row(size_t i)
{
    return i < ROWS ? &rows[i] : NULL;
}

const struct op *op_find(struct span name, int argc, bool *known)
{
    *known = false;
    for (uint32_t h = hash_of(name); buckets[h % BUCKETS] != 0; h++) {
        size_t i = buckets[h % BUCKETS] - 1u;
        for (; i < ROWS && has_name(&rows[i], name); i++) {
            *known = true;
            if (strlen(rows[i].args) == (size_t)argc)
                return &rows[i];
        }
        if (*known)
            return NULL;
    }
    return NULL;
}

/* Times beyond what the loop can count are no times. */
static uint64_t wait_ms(struct term *t)
{
    const uint64_t ms = term_uint64(t);
    t->bad |= ms > INT64_MAX;
    return ms;
}

/* 0: without end */
static uint64_t lease_ms(struct term *t)
{
    if (term_is_atom(t, "infinity"))
        return 0;
    if (term_is_atom(t, "default"))
        return LEASE_UNSET;
    const uint64_t ms = wait_ms(t);
    t->bad |= ms == 0;
    return ms;
}

static void decode_arg(struct call *c, char letter, struct term *t, struct arg *arg)
{
    const int tag = term_tag(t);
    switch (letter) {
    case 'i': arg->i = term_int64(t); break;
    case 'u': arg->u = term_uint64(t); break;
    case 'w': arg->u = term_is_atom(t, "infinity") ? FOREVER : wait_ms(t); break;
    case 'm': arg->u = lease_ms(t); break;
    case 'b': arg->bytes = term_iodata(t, &c->scratch); break;
    case 'n': arg->bytes = term_name(t, &c->scratch); break;
    case 'l':
        t->bad |= tag != ERL_LIST_EXT && tag != ERL_NIL_EXT && tag != ERL_STRING_EXT;
        arg->bytes = term_any(t);
        break;
    default: arg->bytes = term_any(t); break;
    }
}

static bool reply_unknown(struct buf *out, struct span name)
{
    reply_tuple(out, 2);
    reply_atom(out, "error");
    reply_tuple(out, 2);
    reply_atom(out, "unknown_request");
    reply_raw(out, name);
    return false;
}

static bool reply_badarg(struct buf *out)
{
    reply_error(out, ERR_BADARG);
    return false;
}

bool op_decode(struct call *c, struct span request)
{
    struct term t = term_in(request);
    bool known;
    const int tag = term_tag(&t);
    const bool is_tuple = tag == ERL_SMALL_TUPLE_EXT || tag == ERL_LARGE_TUPLE_EXT;
    const int arity = is_tuple ? term_tuple(&t) : 1;
    struct term raw = t;
    const struct span name = term_atom_bytes(&t);
    if (t.bad || arity < 1)
        return reply_badarg(c->out);
    c->argc = arity - 1;
    c->op = op_find(name, c->argc, &known);
    if (c->op != NULL && (c->op->flags & OP_OWN) != 0 && c->client != c->server->own)
        c->op = NULL;
    if (c->op == NULL)
        return reply_unknown(c->out, term_any(&raw));
    for (int i = 0; i < c->argc; i++)
        decode_arg(c, c->op->args[i], &t, &c->args[i]);
    return t.bad || c->scratch.failed ? reply_badarg(c->out) : true;
}

void call_fini(struct call *c)
{
    buf_fini(&c->scratch);
}
