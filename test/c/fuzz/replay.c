/* The corpus that is kept, again: replay_TARGET DIRECTORY|FILE... It must come to all that the
 * target counts, or it is worth too little. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/driver.h"
#include "fuzz/target.h"

static bool run_file(const char *path)
{
    struct stat st;
    struct buf input;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return false;
    buf_init(&input, (size_t)st.st_size + 1);
    uint8_t *at = buf_grow(&input, (size_t)st.st_size + 1);
    const bool done = at != NULL && read(fd, at, (size_t)st.st_size) == st.st_size;
    close(fd);
    if (done)
        driver_run(span_of(at, (size_t)st.st_size));
    buf_fini(&input);
    return done;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* In the order of their names: what executions build on is the same each time. */
static bool run_directory(const char *path)
{
    char file[PATH_MAX];
    struct dirent **entries;
    const int n = scandir(path, &entries, is_input, by_name);
    bool done = n > 0;
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        done = run_file(file) && done;
        free(entries[i]);
    }
    if (n >= 0)
        free((void *)entries);
    return done;
}

static bool run(const char *path)
{
    struct stat st;
    const bool is_directory = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    return is_directory ? run_directory(path) : run_file(path);
}

int main(int argc, char **argv)
{
    bool all = false;
    driver_begin();
    for (int i = 1; i < argc; i++) {
        struct stat st;
        all = all || (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode));
        if (!run(argv[i])) {
            fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 2;
        }
    }
    driver_end(all);
    return argc > 1 ? 0 : 2;
}
