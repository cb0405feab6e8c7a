#include "sys/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/bytes.h"
#include "sys/log.h"
#include "sys/sandbox_calls.h"

/* Landlock has no library. What follows is newer than the headers of some systems that we are built
 * on; the kernel says which of it it knows. */
#define FS_TRUNCATE  ((uint64_t)1 << 14) /* from ABI 3 on */
#define FS_IOCTL_DEV ((uint64_t)1 << 15) /* 5 */

enum {
    NET_BIND_TCP = 1, /* 4 */
    NET_CONNECT_TCP = 2,
    SCOPE_ABSTRACT_UNIX_SOCKET = 1, /* 6 */
    SCOPE_SIGNAL = 2,
    RULE_NET_PORT = 2
};

struct ruleset_attr {
    uint64_t files;
    uint64_t network;
    uint64_t scoped;
};

struct net_port_attr {
    uint64_t access;
    uint64_t port;
};

enum { ABI_REFER = 2, ABI_TRUNCATE = 3, ABI_NETWORK = 4, ABI_IOCTL = 5, ABI_SCOPED = 6 };

/* All of it is refused but what a rule allows; nothing allows to run a file. */
static struct ruleset_attr handled_by(int abi)
{
    struct ruleset_attr handled = {
        .files = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                 LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
                 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                 LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
                 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                 LANDLOCK_ACCESS_FS_MAKE_SYM};
    if (abi >= ABI_REFER)
        handled.files |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= ABI_TRUNCATE)
        handled.files |= FS_TRUNCATE;
    if (abi >= ABI_NETWORK)
        handled.network = NET_BIND_TCP | NET_CONNECT_TCP;
    if (abi >= ABI_IOCTL)
        handled.files |= FS_IOCTL_DEV;
    if (abi >= ABI_SCOPED)
        handled.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    return handled;
}

static const uint64_t for_objects = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                    LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                    LANDLOCK_ACCESS_FS_REFER | FS_TRUNCATE;

/* A ruleset while it is made, and the first thing that went wrong. */
struct rules {
    int fd;
    struct ruleset_attr handled;
    const char *what;
    int number;
};

static void failed(struct rules *r, const char *what)
{
    if (r->what == NULL) {
        r->what = what;
        r->number = errno;
    }
}

static void allow_beneath_fd(struct rules *r, int dir, uint64_t access, const char *path)
{
    const struct landlock_path_beneath_attr rule = {.allowed_access = access & r->handled.files,
                                                    .parent_fd = dir};
    if (syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        failed(r, path);
}

static void allow_beneath(struct rules *r, const char *path, uint64_t access)
{
    const int dir = open(path, O_PATH | O_CLOEXEC);
    if (dir < 0) {
        failed(r, path);
        return;
    }
    allow_beneath_fd(r, dir, access, path);
    close(dir);
}

/* Our own figures are there. The descriptor stays open, for the kernel may forget and make anew
 * what nobody holds in /proc, and the new one would have no rule. Where there is no /proc there are
 * just no figures. */
static void allow_own_figures(struct rules *r)
{
    const int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self >= 0)
        allow_beneath_fd(r, self, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
                         "/proc/self");
}

/* The directory, for after a rotation the log is another file; but not that of a device. */
static void allow_log(struct rules *r, const char *log_file)
{
    char dir[PATH_MAX];
    struct stat st;
    if (stat(log_file, &st) == 0 && !S_ISREG(st.st_mode)) {
        allow_beneath(r, log_file, LANDLOCK_ACCESS_FS_WRITE_FILE);
        return;
    }
    const char *slash = strrchr(log_file, '/');
    const int len = slash == NULL ? 0 : (int)(slash - log_file);
    snprintf(dir, sizeof dir, "%.*s", slash == NULL ? 1 : len + 1, slash == NULL ? "." : log_file);
    allow_beneath(r, dir, LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG);
}

static void allow_port(struct rules *r, uint64_t access, uint16_t port)
{
    const struct net_port_attr rule = {.access = access, .port = port};
    if (r->handled.network != 0 &&
        syscall(SYS_landlock_add_rule, r->fd, RULE_NET_PORT, &rule, 0) != 0)
        failed(r, "ports");
}

static void allow_all(struct rules *r, const struct sandbox *s)
{
    allow_beneath(r, s->data_dir, for_objects);
    for (const char *const *path = s->allowed; *path != NULL; path++)
        allow_beneath(r, *path, for_objects);
    allow_own_figures(r);
    if (s->log_file != NULL)
        allow_log(r, s->log_file);
    allow_port(r, NET_BIND_TCP, s->listen);
    allow_port(r, NET_CONNECT_TCP, s->connect);
}

/* What landlock holds from now on; `why` says why not more. */
static unsigned confine_by_landlock(const struct sandbox *s, char *why, size_t size)
{
    const int abi =
        (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct rules r = {.handled = handled_by(abi)};
    const size_t known = sizeof(uint64_t) * (abi >= ABI_SCOPED ? 3 : abi >= ABI_NETWORK ? 2 : 1);
    r.fd = abi < 0 ? -1 : (int)syscall(SYS_landlock_create_ruleset, &r.handled, known, 0);
    if (r.fd < 0)
        failed(&r, "landlock");
    else
        allow_all(&r, s);
    if (r.what == NULL && syscall(SYS_landlock_restrict_self, r.fd, 0) != 0)
        failed(&r, "landlock");
    if (r.fd >= 0)
        close(r.fd);
    if (r.what != NULL)
        snprintf(why, size, " (%s: %s)", r.what, strerror(r.number));
    else if (abi < ABI_NETWORK)
        snprintf(why, size, " (network: the kernel's landlock has it from ABI 4 on, not in %d)",
                 abi);
    return r.what != NULL ? 0 : abi < ABI_NETWORK ? SANDBOX_FILES : SANDBOX_FILES | SANDBOX_NETWORK;
}

static void tell(unsigned held, const char *why_not_landlock, const char *why_not_calls)
{
    const unsigned all = SANDBOX_FILES | SANDBOX_NETWORK | SANDBOX_CALLS;
    log_line((held & all) == all ? LOG_info : LOG_notice,
             "sandbox: files %s, network %s%s, system calls %s%s%s%s",
             held & SANDBOX_FILES ? "on" : "off", held & SANDBOX_NETWORK ? "on" : "off",
             why_not_landlock, held & SANDBOX_CALLS ? "on" : "off",
             why_not_calls == NULL ? "" : " (", why_not_calls == NULL ? "" : why_not_calls,
             why_not_calls == NULL ? "" : ")");
}

/* Landlock first: the calls that make it are not for later. */
unsigned sandbox_enter(const struct sandbox *s)
{
    char why[160] = "";
    if (SANDBOX_SANITIZED) {
        log_notice("sandbox off: this build has sanitizers, which look at more than it allows");
        return 0;
    }
    unsigned held = confine_by_landlock(s, why, sizeof why);
    const char *why_not_calls = sandbox_calls_confine();
    if (why_not_calls == NULL)
        held |= SANDBOX_CALLS;
    tell(held, why, why_not_calls);
    return held;
}

void sandbox_no_new_privileges(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        log_warning("new privileges cannot be ruled out: %s", strerror(errno));
}
