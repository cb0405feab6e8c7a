/* What this process may still do once it has begun: bytes that fool it must not get a foothold. */
#ifndef SYS_SANDBOX_H
#define SYS_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

struct sandbox {
    const char *data_dir;
    const char *const *allowed; /* directories; NULL-terminated */
    const char *log_file;       /* or NULL; its directory may get a new one at any time */
    uint16_t listen;            /* the only port to listen at; 0: any that the kernel chooses */
    uint16_t connect;           /* the only port to connect to */
};

/* What the kernel sees to. */
enum {
    SANDBOX_FILES = 1,   /* only beneath these directories, and never to run one */
    SANDBOX_NETWORK = 2, /* only these ports */
    SANDBOX_CALLS = 4,   /* only the system calls that we use */
};

/* sandbox_no_new_privileges: no program that this process starts gets more rights than it has. */
void sandbox_no_new_privileges(void);

/* sandbox_enter, after that, confines this thread and those that it will start, for ever: to be
 * called before there are others. The result, SANDBOX_*, is what holds from now on; the log has a
 * line of it, a notice where something is missing, with the reason. */
unsigned sandbox_enter(const struct sandbox *s);

#endif
