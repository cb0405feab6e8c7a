#include "sys/guard.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "sys/bytes.h"

static _Thread_local sigjmp_buf *volatile landing;

static void on_sigbus(int number)
{
    sigjmp_buf *const to = landing;
    if (to != NULL)
        siglongjmp(*to, 1);
    signal(number, SIG_DFL); /* the fault comes again on return, and ends us */
}

void guard_install(void)
{
    /* SA_NODEFER: we leave the handler by a jump that restores no mask */
    struct sigaction action = {.sa_handler = on_sigbus, .sa_flags = SA_NODEFER};
    sigemptyset(&action.sa_mask);
    must(sigaction(SIGBUS, &action, NULL) == 0);
}

bool guard_run(void (*touch)(void *arg), void *arg)
{
    sigjmp_buf here;
    must(landing == NULL);
    if (sigsetjmp(here, 0) != 0) {
        landing = NULL;
        return false;
    }
    landing = &here;
    touch(arg);
    landing = NULL;
    return true;
}

struct copy {
    void *to;
    const void *from;
    size_t len;
};

static void copy_touch(void *arg)
{
    const struct copy *c = arg;
    memcpy(c->to, c->from, c->len);
}

bool guard_copy(void *to, const void *from, size_t len)
{
    struct copy c = {.to = to, .from = from, .len = len};
    return len == 0 || guard_run(copy_touch, &c);
}
