/* Touching mapped bytes can fail: the file was cut by another program, the disk cannot read a
 * page, a hole finds no space. The kernel says so by SIGBUS; here it becomes a result. */
#ifndef SYS_GUARD_H
#define SYS_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* guard_install takes over SIGBUS, once, at start. A fault outside of the calls below stays what
 * it was: the end of the process. */
void guard_install(void);

/* guard_run calls touch(arg); false where a page failed on the way, touch then ended there. It
 * must own nothing that would leak. Any thread; not nested. */
bool guard_run(void (*touch)(void *arg), void *arg);

/* guard_copy is memcpy under guard; what was copied before a failure stays. */
bool guard_copy(void *to, const void *from, size_t len);

#endif
