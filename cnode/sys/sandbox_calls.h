/* The sandbox's system calls: all that the daemon uses, in one table. */
#ifndef SYS_SANDBOX_CALLS_H
#define SYS_SANDBOX_CALLS_H

/* sandbox_calls_confine: NULL, or why it could not be done. From now on a call that is not in the
 * table fails with ENOSYS, as on a kernel that does not have it, for which libraries are prepared;
 * one that only an attack would make ends the process. */
const char *sandbox_calls_confine(void);

#endif
