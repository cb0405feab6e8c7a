#include "shell/console.h"
#include "proto/reply.h"
struct console *console_open(struct server *s, const struct console_port *port, void *arg, struct span self, struct span group) { (void)s;(void)port;(void)arg;(void)self;(void)group; return NULL; }
void console_start(struct console *c) { (void)c; }
void console_close(struct console *c) { (void)c; }
void console_message(struct console *c, struct span m) { (void)c;(void)m; }
void console_answer(struct console *c, struct span m) { (void)c;(void)m; }
void console_expand(struct server *s, struct span r, struct buf *out) { (void)s;(void)r; reply_tuple(out,3); reply_atom(out,"no"); reply_nil(out); reply_nil(out); }
