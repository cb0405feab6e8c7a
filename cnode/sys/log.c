#include "sys/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {
#define LOG_NAME(name) #name,
    LOG_LEVELS(LOG_NAME)
#undef LOG_NAME
};

static struct {
    pthread_mutex_t lock; /* workers log too */
    int fd;
    char *path;
    enum log_level level;
    unsigned long dropped;
} log_state = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO, .level = LOG_notice};

static void set_nonblocking_pipe(int fd)
{
    /* O_NONBLOCK belongs to the open file, which a terminal shares with others: pipes only. */
    if (lseek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE && !isatty(fd))
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

bool log_open(const char *path)
{
    int fd = STDERR_FILENO;
    char *copy = NULL;
    if (path != NULL) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0)
            return false;
        copy = strdup(path);
    }
    set_nonblocking_pipe(fd);
    pthread_mutex_lock(&log_state.lock);
    if (log_state.fd != STDERR_FILENO)
        close(log_state.fd);
    free(log_state.path);
    log_state.fd = fd;
    log_state.path = copy;
    pthread_mutex_unlock(&log_state.lock);
    return true;
}

bool log_reopen(void)
{
    if (log_state.path == NULL)
        return true;
    char *path = strdup(log_state.path);
    bool opened = path != NULL && log_open(path);
    free(path);
    return opened;
}

void log_set_level(enum log_level level)
{
    log_state.level = level;
}

bool log_level_named(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static size_t stamp(char *line, size_t size)
{
    if (log_state.path == NULL)
        return 0; /* who reads standard error stamps it: journald, Erlang's logger */
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
    return n + (size_t)snprintf(line + n, size - n, ".%03ldZ ", now.tv_nsec / 1000000);
}

static void write_line(const char *line, size_t len)
{
    if (log_state.dropped > 0) {
        char note[64];
        int n = snprintf(note, sizeof note, "warning %lu log lines lost\n", log_state.dropped);
        if (write(log_state.fd, note, (size_t)n) != n) {
            log_state.dropped++;
            return;
        }
        log_state.dropped = 0;
    }
    if (write(log_state.fd, line, len) != (ssize_t)len)
        log_state.dropped++;
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level > log_state.level)
        return;
    char line[1024]; /* below PIPE_BUF: a line is written whole or not at all */
    size_t n = stamp(line, sizeof line);
    n += (size_t)snprintf(line + n, sizeof line - n, "%s ", names[level]);
    va_list args;
    va_start(args, format);
    int text = vsnprintf(line + n, sizeof line - n - 1, format, args);
    va_end(args);
    if (text < 0)
        return;
    size_t room = sizeof line - n - 2;
    n += (size_t)text < room ? (size_t)text : room;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?'; /* names come from peers: one event stays one line */
    line[n++] = '\n';
    pthread_mutex_lock(&log_state.lock);
    write_line(line, n);
    pthread_mutex_unlock(&log_state.lock);
}
