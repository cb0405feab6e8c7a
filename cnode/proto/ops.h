/* The handlers behind the table (op.c): `run` of each row. */
#ifndef PROTO_OPS_H
#define PROTO_OPS_H

#include "proto/op.h"

/* More changes at once of a durable object are a worker's: it may wait for room in the journal. */
enum { RECORDED_HERE = 10000 };

/* More bytes than this are a worker's to copy, whether they are in memory or not. */
enum { BULK = 256 << 10 };

/* op_region.c */
enum err op_pread(struct call *c);
enum err op_pread_list(struct call *c);
enum err op_pwrite(struct call *c);
enum err op_pwrite_list(struct call *c);
enum err op_read_line(struct call *c);
enum err op_resize(struct call *c);
enum err op_truncate(struct call *c);
enum err op_allocate(struct call *c);
enum err op_advise(struct call *c);
enum err op_flush(struct call *c);
enum err op_sync(struct call *c);
enum err op_patomic_add(struct call *c);
enum err op_patomic_sub(struct call *c);
enum err op_patomic_and(struct call *c);
enum err op_patomic_or(struct call *c);
enum err op_patomic_xor(struct call *c);
enum err op_patomic_xchg(struct call *c);
enum err op_patomic_cas(struct call *c);
enum err op_patomic_read_integer(struct call *c);
enum err op_patomic_write_integer(struct call *c);

/* op_counter.c */
enum err op_inc_counter(struct call *c);
enum err op_dec_counter(struct call *c);
enum err op_set_counter(struct call *c);
enum err op_read_counter(struct call *c);
enum err op_update_counters(struct call *c);
enum err op_read_counters(struct call *c);

/* op_block.c */
enum err op_init_block_storage(struct call *c);
enum err op_store_block(struct call *c);
enum err op_store_blocks(struct call *c);
enum err op_read_block(struct call *c);
enum err op_read_blocks(struct call *c);
enum err op_free_block(struct call *c);
enum err op_free_blocks(struct call *c);
enum err op_repair_block_storage(struct call *c);

/* op_queue.c */
enum err op_push(struct call *c);
enum err op_push_many(struct call *c);
enum err op_move_in(struct call *c);
enum err op_pop(struct call *c);
enum err op_pop_wait(struct call *c);
enum err op_pop_many(struct call *c);
enum err op_take(struct call *c);
enum err op_take_many(struct call *c);
enum err op_ack(struct call *c);
enum err op_ack_many(struct call *c);
enum err op_release(struct call *c);
enum err op_release_many(struct call *c);
enum err op_touch(struct call *c);
enum err op_bury(struct call *c);
enum err op_kick(struct call *c);
enum err op_peek_many(struct call *c);
enum err op_rpeek_many(struct call *c);
enum err op_peek_buried(struct call *c);
enum err op_length(struct call *c);
enum err op_erase(struct call *c);
void op_erase_done(struct call *c);
enum err op_subscribe(struct call *c);
enum err op_unsubscribe(struct call *c);

/* op_admin.c */
enum err op_close(struct call *c);
void op_close_done(struct call *c);
enum err op_barrier(struct call *c);
enum err op_info(struct call *c);
enum err op_info_object(struct call *c);
enum err op_list(struct call *c);
enum err op_clients(struct call *c);
enum err op_ping(struct call *c);

/* op_copy.c; op_snapshot_end: it is over. */
enum err op_snapshot(struct call *c);
enum err op_snapshot_end(struct call *c);
enum err op_restore(struct call *c);

/* metrics.c */
enum err op_metrics(struct call *c);

#endif
