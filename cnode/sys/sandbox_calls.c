#include "sys/sandbox_calls.h"

#include "sys/bytes.h"

#ifdef SANDBOX_SECCOMP

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const int allowed[] = {
    /* bytes of open files */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2), SCMP_SYS(pwritev2),
    SCMP_SYS(lseek), SCMP_SYS(copy_file_range), SCMP_SYS(sendfile),
    /* their space, and what is on disk */
    SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range), SCMP_SYS(syncfs), SCMP_SYS(fadvise64),
    /* names; where they lead is landlock's business */
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(close), SCMP_SYS(close_range),
    SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(link),
    SCMP_SYS(linkat), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(getcwd),
    /* what a file is, whose, and what is noted on it */
    SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx),
    SCMP_SYS(statfs), SCMP_SYS(fstatfs), SCMP_SYS(access), SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2), SCMP_SYS(fchmod), SCMP_SYS(fchown), SCMP_SYS(fgetxattr),
    SCMP_SYS(fsetxattr), SCMP_SYS(fremovexattr), SCMP_SYS(flistxattr), SCMP_SYS(utimensat),
    /* descriptors: their flags and locks */
    SCMP_SYS(fcntl), SCMP_SYS(flock), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3),
    /* memory; beside mmap and mprotect below */
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mincore), SCMP_SYS(msync),
    SCMP_SYS(mlock), SCMP_SYS(mlock2), SCMP_SYS(munlock), SCMP_SYS(brk), SCMP_SYS(membarrier),
    /* threads, their locks and their end; beside clone below */
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity), SCMP_SYS(gettid), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall), SCMP_SYS(getcpu),
    /* time */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep),
    /* the loop */
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2), SCMP_SYS(pipe2), SCMP_SYS(poll), SCMP_SYS(ppoll),
    /* connections; beside socket below */
    SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept4), SCMP_SYS(accept), SCMP_SYS(connect),
    SCMP_SYS(shutdown), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt), SCMP_SYS(sendto), SCMP_SYS(recvfrom), SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    /* signals that come in, SIGBUS among them; beside tgkill below */
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigpending), SCMP_SYS(sigaltstack),
    /* who and where we are */
    SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
    SCMP_SYS(getegid), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrusage), SCMP_SYS(times),
    SCMP_SYS(getrandom)};

/* Allowed where the argument of that number, of its bits in the mask, has the value. */
static const struct {
    int call;
    unsigned argument;
    uint64_t mask;
    uint64_t value;
} allowed_with[] = {
    {SCMP_SYS(mmap), 2, PROT_EXEC, 0}, /* no new code */
    {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
    {SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD}, /* no new process */
    {SCMP_SYS(socket), 0, UINT32_MAX, AF_INET},
    {SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME},
    {SCMP_SYS(prlimit64), 2, UINT64_MAX, 0}, /* to read limits only */
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FIONBIO},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FIOCLEX},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FIONREAD},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, TCGETS}, /* isatty */
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FICLONE},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FICLONERANGE},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FS_IOC_FIEMAP}, /* what is unwritten after a failed sync */
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FS_IOC_GETFLAGS},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FS_IOC_SETFLAGS},
};

/* No fault of ours leads to one of these. */
static const int deadly[] = {
    /* other programs */
    SCMP_SYS(execve), SCMP_SYS(execveat),
    /* other processes */
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
    /* other users */
    SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid),
    SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(capset),
    /* another view of the file system, or a way around it */
    SCMP_SYS(chroot), SCMP_SYS(pivot_root), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(setns),
    SCMP_SYS(unshare), SCMP_SYS(open_by_handle_at),
    /* the kernel */
    SCMP_SYS(bpf), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(reboot)};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Each step gives 0 or a negative errno. */
static int add_rules(scmp_filter_ctx filter)
{
    int bad = 0;
    for (size_t i = 0; i < COUNT(allowed) && bad == 0; i++)
        bad = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; i < COUNT(allowed_with) && bad == 0; i++)
        bad = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_with[i].call, 1,
                               SCMP_CMP64(allowed_with[i].argument, SCMP_CMP_MASKED_EQ,
                                          allowed_with[i].mask, allowed_with[i].value));
    for (size_t i = 0; i < COUNT(deadly) && bad == 0; i++)
        bad = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    if (bad == 0) /* abort, as `must` does it */
        bad = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                               SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint64_t)getpid()));
    return bad;
}

/* SSB: without this, kernels before 5.16 slow the whole process down for what is of no use here: it
 * keeps no secret from code of its own. OPTIMIZE: as a tree, for there are many rules. */
static int set_attributes(scmp_filter_ctx filter)
{
    int bad = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (bad == 0)
        bad = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    if (bad == 0)
        bad = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    return bad;
}

const char *sandbox_calls_confine(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (filter == NULL)
        return strerror(ENOMEM);
    int bad = set_attributes(filter);
    if (bad == 0)
        bad = add_rules(filter);
    if (bad == 0)
        bad = seccomp_load(filter);
    seccomp_release(filter);
    return bad == 0 ? NULL : strerror(-bad);
}

#else

const char *sandbox_calls_confine(void)
{
    return "built without libseccomp";
}

#endif
