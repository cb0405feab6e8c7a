/* Memory for what nobody else may see: locked, so that it is never swapped out, in no core dump,
 * and empty in a child process. */
#ifndef SYS_SECRET_H
#define SYS_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* secret_new gives at least n bytes, all zero, in pages of their own. NULL without memory. */
void *secret_new(size_t n);

/* secret_free wipes them first. NULL is nothing. */
void secret_free(void *at, size_t n);

/* secret_wipe_stack wipes what functions that the caller has called before left behind in 2 KiB of
 * the stack: of a library's copies nothing else can be got hold of. */
void secret_wipe_stack(void);

/* Are there pages that the limit on locked memory forbade to lock? The rest holds for them, too. */
extern bool secret_is_unlocked;

#endif
