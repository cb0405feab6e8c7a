/* Terms written as text, with what no Erlang source can write: pids, references, any bytes.
 *
 *   atom 'atom' 12 "bytes" <<"binary">> {..} [..] [..|Tail] #{k=>v}
 *   $pN   a process of the peer          $rN   a reference of the peer's
 *   $eN   a process of ours              $mN   a reference of ours
 *   $i    an id, $s a process, $k a reference that we have told the peer of: to be filled in
 *   $<hex digits> these bytes */
#ifndef FUZZ_TEXT_H
#define FUZZ_TEXT_H

#include "dist/self.h"
#include "sys/buf.h"

/* Numbers that stand for what is to be filled in. */
enum { TEXT_MARK = 987654321 };

/* The node of all fuzzers. */
extern const char *const text_node;
extern const char *const text_peer;
void text_self(struct self *self);

/* text_term appends one term and returns what follows it in the text, without white space. */
const char *text_term(const char *text, struct buf *out);

#endif
