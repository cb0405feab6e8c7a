/* power_cut DIRECTORY SEED: the power of the file system that holds the directory is cut.
 *
 * Prints `armed`. Until a line comes on standard input it has the kernel write back pages of files
 * there, here and there, as a kernel short of memory would: what then is on the disk is no state
 * that the files ever had. With the line the file system is shut down without its log being
 * written: what the page cache and the log's buffers hold is lost, and each further call on it
 * fails. Prints `cut`. A file system that is not on a loop device is somebody's: it is refused. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fuzz/dice.h"

/* The same of ext4 (EXT4_IOC_SHUTDOWN) and xfs (XFS_IOC_GOINGDOWN). */
#define SHUTDOWN    _IOR('X', 125, uint32_t)
#define NO_LOGFLUSH 2U

#define PAGE      4096
#define MAX_PAGES 16

enum { EVERY_MS = 1, OPEN_FILES = 8, MAJOR_OF_LOOP = 7 };

static struct {
    struct dice dice;
    uint64_t seen;
    off_t size;
    char path[PATH_MAX];
} chosen;

/* Each of the files is as likely as any other, however many there are. */
static int choose(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)walk;
    if (flag == FTW_F && S_ISREG(st->st_mode) && dice_one_in(&chosen.dice, ++chosen.seen)) {
        chosen.size = st->st_size;
        snprintf(chosen.path, sizeof chosen.path, "%s", path);
    }
    return 0;
}

/* Files come and go meanwhile: one that has gone is passed over. */
static void write_back_somewhere(const char *directory)
{
    chosen.seen = 0;
    chosen.size = 0;
    nftw(directory, choose, OPEN_FILES, FTW_PHYS);
    if (chosen.size == 0)
        return;
    const int fd = open(chosen.path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    const uint64_t page = dice_below(&chosen.dice, ((uint64_t)chosen.size + PAGE - 1) / PAGE);
    const uint64_t pages = 1 + dice_below(&chosen.dice, MAX_PAGES);
    sync_file_range(fd, (off_t)(page * PAGE), (off_t)(pages * PAGE), SYNC_FILE_RANGE_WRITE);
    close(fd);
}

static int told(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&in, 1, EVERY_MS);
}

static int fail(const char *what)
{
    fprintf(stderr, "power_cut: %s: %s\n", what, strerror(errno));
    return EXIT_FAILURE;
}

static bool is_on_a_loop_device(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && major(st.st_dev) == MAJOR_OF_LOOP;
}

static int cut(const char *directory, int fd)
{
    puts("armed");
    fflush(stdout);
    while (told() == 0)
        write_back_somewhere(directory);
    const uint32_t how = NO_LOGFLUSH;
    if (ioctl(fd, SHUTDOWN, &how) != 0)
        return fail(directory);
    puts("cut");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: power_cut DIRECTORY SEED\n", stderr);
        return EXIT_FAILURE;
    }
    chosen.dice = dice_of(strtoull(argv[2], NULL, 10), 0);
    const int fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(argv[1]);
    if (!is_on_a_loop_device(fd)) {
        fprintf(stderr, "power_cut: %s: not on a loop device\n", argv[1]);
        return EXIT_FAILURE;
    }
    return cut(argv[1], fd);
}
